"""DSSE envelopes: who says what, in bytes that cannot be changed without notice.

DSSE v1 (https://github.com/secure-systems-lab/dsse): the signature covers the payload's type and exact bytes,
so nothing is ever re-serialised before it is verified. Only one written form of an envelope is accepted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from . import wire
from .errors import SealError, WireError
from .keys import PublicKey, SigningKey

EVENT = "application/cloudevents+json"
RECEIPT = "application/vnd.ullage.receipt.v1+json"
DOWN = "application/vnd.ullage.down.v1+json"
MANIFEST = "application/vnd.ullage.manifest.v1+json"


@dataclass(frozen=True, slots=True)
class Sealed:
    """An envelope taken apart, not yet verified."""

    payload_type: str
    payload: bytes
    keyid: str
    signature: bytes

    def verify(self, key: PublicKey, *, payload_type: str) -> bytes:
        """The payload, if ``key`` signed it as ``payload_type``; SealError otherwise."""
        if self.payload_type != payload_type:
            raise SealError(f"envelope carries {self.payload_type[:80]!r} where {payload_type!r} belongs")
        if self.keyid != key.keyid:
            raise SealError(f"envelope names the key {self.keyid[:40]}, not {key.keyid}")
        if not key.verifies(self.signature, _pae(self.payload_type, self.payload)):
            raise SealError("signature does not fit the payload: it was changed, or another key signed it")
        return self.payload


def seal(payload: bytes, payload_type: str, key: SigningKey, *, limit: int = wire.MAX_BYTES) -> bytes:
    """The envelope's canonical bytes around ``payload``, signed by ``key``.

    Raises SealError where the envelope would be larger than ``limit`` bytes: nobody would ever accept it.
    """
    raw = _write(Sealed(payload_type, payload, key.keyid, key.sign(_pae(payload_type, payload))))
    if len(raw) > limit:
        raise SealError(f"envelope of {len(raw)} bytes is larger than the {limit} that receivers accept; say less")
    return raw


def unseal(raw: bytes, *, limit: int = wire.MAX_BYTES) -> Sealed:
    """Takes an envelope apart. Raises SealError on any form but the one that ``seal`` writes."""
    try:
        body = wire.decode(raw, limit=limit, what="envelope")
    except WireError as exc:
        raise SealError(str(exc)) from exc
    if set(body) != {"payload", "payloadType", "signatures"}:
        raise SealError("envelope must hold exactly payload, payloadType and signatures")
    payload_type, signatures = body["payloadType"], body["signatures"]
    if not isinstance(payload_type, str) or not isinstance(signatures, list) or len(signatures) != 1:
        raise SealError("envelope must hold a payloadType and one signature")
    entry = signatures[0]
    if not isinstance(entry, dict) or set(entry) != {"keyid", "sig"} or not isinstance(entry["keyid"], str):
        raise SealError("signature must hold exactly keyid and sig")
    sealed = Sealed(payload_type, _unbase64(body["payload"]), entry["keyid"], _unbase64(entry["sig"]))
    if _write(sealed) != raw:
        raise SealError("envelope is not in canonical form")
    return sealed


def digest(payload: bytes) -> str:
    """SHA-256 of a payload's exact bytes, in hex: the head that the next record names."""
    return hashlib.sha256(payload).hexdigest()


def _write(sealed: Sealed) -> bytes:
    return wire.encode(
        {
            "payload": base64.b64encode(sealed.payload).decode(),
            "payloadType": sealed.payload_type,
            "signatures": [{"keyid": sealed.keyid, "sig": base64.b64encode(sealed.signature).decode()}],
        }
    )


def _pae(payload_type: str, payload: bytes) -> bytes:
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _unbase64(text: object) -> bytes:
    if not isinstance(text, str):
        raise SealError("envelope holds a field that is not text")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise SealError(f"envelope holds a field that is not base64: {exc}") from exc

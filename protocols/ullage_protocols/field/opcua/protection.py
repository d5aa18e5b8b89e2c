"""Signs and seals the chunks of a secured channel, and opens the server's. Any flaw is a HostileError."""

from __future__ import annotations

import hmac
import struct
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from ullage_protocols.field.errors import FieldError, HostileError

from . import security
from .wire import DecodeError, Reader, byte_string, string

_BLOCK = 16


class TokenKeys(NamedTuple):
    """The keys of one token: ours to send with, the server's to receive with."""

    mine: security.Keys
    theirs: security.Keys


class Protection:
    """One policy and mode between our certificate and the one trusted server certificate."""

    def __init__(self, policy: str, mode: str, certificate: Path, key: Path, server: bytes, now: datetime) -> None:
        self.policy = security.POLICIES[policy]
        self.seals = mode == "SignAndEncrypt"
        self.certificate = security.load_certificate_file(certificate)
        self.key = security.load_key(key)
        self.server = security.load_certificate(server, "the trusted server certificate")
        if security.public(self.certificate).public_numbers() != self.key.public_key().public_numbers():
            raise FieldError(f"key {key} does not belong to certificate {certificate}; give the pair")
        security.within_validity(self.certificate, now, "the agent's own")
        security.within_validity(self.server, now, "the server's")
        self.own, self.trusted = security.der(self.certificate), security.der(self.server)
        self.uri = security.policy_uri(policy)
        self.mode = 3 if self.seals else 2

    def is_trusted(self, shown: bytes) -> bool:
        """Whether ``shown`` is the trusted certificate, alone or at the head of its chain."""
        return shown.startswith(self.trusted)

    # --- opening the channel -------------------------------------------------------------------------------------

    def seal_open(self, channel: int, plain: bytes) -> bytes:
        """The chunk of an OpenSecureChannel request; ``plain`` is sequence header and body."""
        header = string(self.uri) + byte_string(self.own) + byte_string(security.thumbprint(self.server))
        size = security.public(self.server).key_size // 8
        block, signature = size - self.policy.overhead, self.key.key_size // 8
        extra = size > 256
        pad = -(len(plain) + 1 + extra + signature) % block
        plain += bytes([pad & 0xFF]) * (pad + 1) + (bytes([pad >> 8]) if extra else b"")
        sealed = (len(plain) + signature) // block * size
        head = struct.pack("<4sII", b"OPNF", 12 + len(header) + sealed, channel) + header
        signed = security.sign(self.policy, self.key, head + plain)
        return head + security.seal(self.policy, self.server, plain + signed)

    def open_opened(self, chunk: bytes) -> bytes:
        """Sequence header and body of the server's answer, after every check."""
        reader = Reader(chunk, 12)
        uri, sender, thumb = reader.text(), reader.bytes_(65536) or b"", reader.bytes_(20)
        if uri != self.uri:
            raise HostileError(f"the server answered under policy {uri[-60:]!r} instead of {self.policy.name}")
        if not self.is_trusted(sender):
            raise HostileError(
                "the server shows another certificate than the trusted one; if it was renewed, see and trust the new"
                " one with `ullage-agent trust`"
            )
        if thumb != security.thumbprint(self.certificate):
            raise HostileError("the server answered to another certificate than the agent's")
        plain = security.unseal(self.policy, self.key, chunk[reader.at :])
        size = security.public(self.server).key_size // 8
        end = len(plain) - size
        security.verify(
            self.policy, self.server, plain[max(end, 0) :], chunk[: reader.at] + plain[: max(end, 0)], "the channel"
        )
        return _unpadded(plain[:end], extra=self.key.key_size > 2048)

    def keys(self, mine: bytes, theirs: bytes) -> TokenKeys:
        """The keys of a token from both nonces."""
        if len(theirs) != security.NONCE:
            raise HostileError(f"a server nonce of {len(theirs)} bytes instead of {security.NONCE}")
        return TokenKeys(security.derive(self.policy, theirs, mine), security.derive(self.policy, mine, theirs))

    # --- messages ------------------------------------------------------------------------------------------------

    def room(self, chunk: int) -> int:
        """Bytes of sequence header and body that a chunk of ``chunk`` bytes carries."""
        inside = chunk - 16
        if not self.seals:
            return inside - security.SIGNATURE
        return inside // _BLOCK * _BLOCK - security.SIGNATURE - 1

    def protect(self, keys: TokenKeys, kind: bytes, channel: int, token: int, plain: bytes) -> bytes:
        if self.seals:
            pad = -(len(plain) + 1 + security.SIGNATURE) % _BLOCK
            plain += bytes([pad]) * (pad + 1)
        head = struct.pack("<4sIII", kind, 16 + len(plain) + security.SIGNATURE, channel, token)
        plain += hmac.digest(keys.mine.sign, head + plain, "sha256")
        return head + (security.aes(keys.mine, plain, seal=True) if self.seals else plain)

    def unprotect(self, keys: TokenKeys, chunk: bytes) -> bytes:
        """Sequence header and body of a message chunk, after its signature held."""
        plain = chunk[16:]
        if self.seals:
            if len(plain) % _BLOCK:
                raise HostileError(f"{len(plain)} sealed bytes are no whole blocks")
            plain = security.aes(keys.theirs, plain, seal=False)
        end = len(plain) - security.SIGNATURE
        expected = hmac.digest(keys.theirs.sign, chunk[:16] + plain[: max(end, 0)], "sha256")
        if end < 0 or not hmac.compare_digest(expected, plain[end:]):
            raise HostileError("a message whose signature does not hold")
        return _unpadded(plain[:end], extra=False) if self.seals else plain[:end]

    # --- the session ---------------------------------------------------------------------------------------------

    def signature(self, server_certificate: bytes, server_nonce: bytes) -> tuple[str, bytes]:
        """Our proof of who we are: algorithm and signature."""
        return self.policy.signature_uri, security.sign(self.policy, self.key, server_certificate + server_nonce)

    def verify_session(self, signature: bytes, client_nonce: bytes) -> None:
        """The server's proof of who it is. The policy says how it is signed, not what the server calls it: names of
        one algorithm differ between servers, and another algorithm's signature would not fit."""
        security.verify(self.policy, self.server, signature, self.own + client_nonce, "the session")


def _unpadded(plain: bytes, *, extra: bool) -> bytes:
    if len(plain) < 9:
        raise DecodeError(f"a sealed chunk of {len(plain)} bytes")
    size = plain[-2] | plain[-1] << 8 if extra else plain[-1]
    end = len(plain) - size - (2 if extra else 1)
    fill = plain[end : len(plain) - (1 if extra else 0)]
    if end < 8 or fill != bytes([size & 0xFF]) * (size + 1):
        raise DecodeError("a sealed chunk whose padding is none")
    return plain[:end]

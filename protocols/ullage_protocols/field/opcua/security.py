"""What the security policies mean: which primitives of ``cryptography`` protect a channel. Nothing is computed here
that the library computes; it is imported only where a connection is secured."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ullage_protocols.field.errors import FieldError, HostileError

URI = "http://opcfoundation.org/UA/SecurityPolicy#"
_SHA1, _SHA256 = hashes.SHA1(), hashes.SHA256()  # noqa: S303 - OAEP with SHA-1 is what these policies say
_PKCS1 = padding.PKCS1v15()
_PSS = padding.PSS(padding.MGF1(_SHA256), 32)
_OAEP1 = padding.OAEP(padding.MGF1(_SHA1), _SHA1, None)
_OAEP256 = padding.OAEP(padding.MGF1(_SHA256), _SHA256, None)
_RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"


@dataclass(frozen=True, slots=True)
class Policy:
    """``key`` bytes of the symmetric key, ``overhead`` bytes that OAEP takes of each block."""

    name: str
    signing: padding.PKCS1v15 | padding.PSS
    sealing: padding.OAEP
    key: int
    overhead: int
    signature_uri: str
    sealing_uri: str


POLICIES = {
    policy.name: policy
    for policy in (
        Policy("Basic256Sha256", _PKCS1, _OAEP1, 32, 42, _RSA_SHA256, "http://www.w3.org/2001/04/xmlenc#rsa-oaep"),
        Policy("Aes128Sha256RsaOaep", _PKCS1, _OAEP1, 16, 42, _RSA_SHA256, "http://www.w3.org/2001/04/xmlenc#rsa-oaep"),
        Policy(
            "Aes256Sha256RsaPss", _PSS, _OAEP256, 32, 66,
            "http://opcfoundation.org/UA/security/rsa-pss-sha2-256",
            "http://opcfoundation.org/UA/security/rsa-oaep-sha2-256",
        ),
    )
}  # fmt: skip
_SPELLED = {"Aes128Sha256RsaOaep": "Aes128_Sha256_RsaOaep", "Aes256Sha256RsaPss": "Aes256_Sha256_RsaPss"}
NONCE = 32
SIGNATURE = 32
"""Bytes of a nonce and of a message signature, in all three policies."""


def policy_uri(name: str) -> str:
    """The URI of a policy, which spells two of them differently; "None" too."""
    return URI + _SPELLED.get(name, name)


def policy_of(uri: str) -> Policy | None:
    return next((policy for name, policy in POLICIES.items() if policy_uri(name) == uri), None)


class Keys(NamedTuple):
    """One side's keys of a token."""

    sign: bytes
    seal: bytes
    start: bytes


def derive(policy: Policy, secret: bytes, seed: bytes) -> Keys:
    """P_SHA256 of TLS 1.2, as Part 6, 6.7.5 asks."""
    length = SIGNATURE + policy.key + 16
    found, a = b"", seed
    while len(found) < length:
        a = hmac.digest(secret, a, "sha256")
        found += hmac.digest(secret, a + seed, "sha256")
    return Keys(found[:SIGNATURE], found[SIGNATURE : SIGNATURE + policy.key], found[SIGNATURE + policy.key : length])


def aes(keys: Keys, data: bytes, *, seal: bool) -> bytes:
    cipher = Cipher(algorithms.AES(keys.seal), modes.CBC(keys.start))
    turn = cipher.encryptor() if seal else cipher.decryptor()
    return turn.update(data) + turn.finalize()


def sign(policy: Policy, key: rsa.RSAPrivateKey, data: bytes) -> bytes:
    return key.sign(data, policy.signing, _SHA256)


def verify(policy: Policy, certificate: x509.Certificate, signature: bytes, data: bytes, what: str) -> None:
    """Raises HostileError where ``signature`` is not that of the certificate's key."""
    try:
        public(certificate).verify(signature, data, policy.signing, _SHA256)
    except InvalidSignature as exc:
        raise HostileError(f"{what} carries a signature that is not the trusted server's") from exc


def seal(policy: Policy, certificate: x509.Certificate, data: bytes) -> bytes:
    """``data``, in blocks, for the owner of ``certificate`` only."""
    key = public(certificate)
    size = key.key_size // 8 - policy.overhead
    return b"".join(key.encrypt(data[at : at + size], policy.sealing) for at in range(0, len(data), size))


def unseal(policy: Policy, key: rsa.RSAPrivateKey, data: bytes) -> bytes:
    size = key.key_size // 8
    if not data or len(data) % size:
        raise HostileError(f"{len(data)} sealed bytes are no whole blocks of {size}")
    try:
        return b"".join(key.decrypt(data[at : at + size], policy.sealing) for at in range(0, len(data), size))
    except ValueError as exc:
        raise HostileError("a sealed answer that this key does not open") from exc


def public(certificate: x509.Certificate) -> rsa.RSAPublicKey:
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or not 2048 <= key.key_size <= 8192:
        raise FieldError("a certificate without an RSA key of 2048 to 8192 bits; make the device a stronger one")
    return key


def load_certificate(data: bytes, what: str) -> x509.Certificate:
    """From DER or PEM. Raises FieldError."""
    try:
        pem = b"-----BEGIN" in data
        found = x509.load_pem_x509_certificate(data) if pem else x509.load_der_x509_certificate(data)
        public(found)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise FieldError(f"{what} is no certificate that can be read ({exc}); check the file") from exc
    return found


def load_certificate_file(path: Path) -> x509.Certificate:
    return load_certificate(_read(path), str(path))


def load_key(path: Path) -> rsa.RSAPrivateKey:
    """From a PEM or DER file without a password. Raises FieldError."""
    data = _read(path)
    try:
        load = serialization.load_pem_private_key if b"-----BEGIN" in data else serialization.load_der_private_key
        key = load(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise FieldError(f"{path} is no private key that can be read without a password; check the file") from exc
    if not isinstance(key, rsa.RSAPrivateKey) or not 2048 <= key.key_size <= 8192:
        raise FieldError(f"{path} is no RSA key of 2048 to 8192 bits; make one with `ullage-agent trust --own`")
    return key


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(65536)
    except OSError as exc:
        raise FieldError(f"{path} cannot be read ({exc.strerror}); check the path") from exc


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def thumbprint(certificate: x509.Certificate) -> bytes:
    return certificate.fingerprint(_SHA1)


def application_uri(certificate: x509.Certificate) -> str:
    """The URI that a certificate names; servers want to hear the same one in the session."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ""
    return next(iter(names.get_values_for_type(x509.UniformResourceIdentifier)), "")


def within_validity(certificate: x509.Certificate, now: datetime, whose: str) -> None:
    """Raises FieldError where ``certificate`` is not valid at ``now``."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not start <= now.astimezone(UTC) <= end:
        word = "expired on" if now > end else "is valid only from"
        when = (end if now > end else start).isoformat()
        raise FieldError(f"{whose} certificate {word} {when}; renew it and trust the new one, or mend the clock")

"""Ed25519 keys: made where they are used, kept in files that nobody else can read, named by their hash."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from .errors import KeyFileError
from .small_file import read_small

_PREFIX = "ed25519"
_LONGEST = 16_384
"""Bytes that a key file may have."""
_BEGIN, _END = b"-----BEGIN PRIVATE KEY-----", b"-----END PRIVATE KEY-----"
_PKCS8 = bytes.fromhex("302e020100300506032b657004220420")
"""What stands before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410, 7)."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """32 raw bytes of an Ed25519 public key."""

    raw: bytes

    @property
    def keyid(self) -> str:
        """The first 32 hex digits of SHA-256 over the raw key."""
        return hashlib.sha256(self.raw).hexdigest()[:32]

    def verifies(self, signature: bytes, message: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def to_text(self) -> str:
        """``ed25519:<base64>``, the one written form."""
        return f"{_PREFIX}:{base64.b64encode(self.raw).decode()}"

    @classmethod
    def from_text(cls, text: str) -> PublicKey:
        kind, _, body = text.strip().partition(":")
        try:
            raw = base64.b64decode(body, validate=True)
        except ValueError as exc:  # binascii.Error, or text that is not ASCII
            raise KeyFileError(f"public key is not base64: {exc}; expected 'ed25519:<44 characters>'") from exc
        key = cls(raw)
        if kind != _PREFIX or len(raw) != 32 or key.to_text() != text.strip():
            raise KeyFileError("not a public key; expected 'ed25519:<44 characters>' as printed by `ullage-agent key`")
        return key

    @classmethod
    def from_file(cls, path: Path) -> PublicKey:
        try:
            return cls.from_text(read_small(path, _LONGEST).decode("utf-8"))
        except (OSError, UnicodeDecodeError) as exc:
            raise KeyFileError(f"public key {path} cannot be read: {exc}; check the path in the configuration") from exc
        except KeyFileError as exc:
            raise KeyFileError(f"{path}: {exc}") from exc


class SigningKey:
    """An Ed25519 private key. Its bytes never appear in repr, logs or messages."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = PublicKey(private.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"SigningKey({self.public.keyid})"

    @property
    def keyid(self) -> str:
        return self.public.keyid

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)

    @classmethod
    def generate(cls) -> SigningKey:
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """A key from 32 given bytes, for golden tests."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def from_file(cls, path: Path) -> SigningKey:
        try:
            mode = path.stat().st_mode
            body = read_small(path, _LONGEST)
        except OSError as exc:
            raise KeyFileError(f"key {path} cannot be read: {exc}; check the path and its owner") from exc
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise KeyFileError(f"key {path} can be read by others; run: chmod 600 {path}")
        if (seed := _seed(body)) is not None:
            return cls.from_seed(seed)
        # Another form than the one written here. The library that knows them all costs 3 MB: only who needs it pays.
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(body, password=None)
        except (ValueError, TypeError) as exc:
            raise KeyFileError(f"key {path} is not an unencrypted PEM private key: {exc}") from exc
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyFileError(f"key {path} is not an Ed25519 key; remove it to have a new one made")
        return cls(key)

    @classmethod
    def load_or_create(cls, path: Path) -> SigningKey:
        """The key in ``path``; made there (mode 0600, with its ``.pub`` beside it) when the file is missing."""
        if path.exists():
            return cls.from_file(path)
        key = cls.generate()
        body = base64.b64encode(_PKCS8 + key._private.private_bytes_raw())
        pem = _BEGIN + b"\n" + body + b"\n" + _END + b"\n"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Written whole under another name and linked into place, so that a crash or a second process
            # can leave neither half a key nor two.
            handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
            with os.fdopen(handle, "wb") as file:
                file.write(pem)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(part, path)
            except FileExistsError:
                return cls.from_file(path)
            finally:
                os.unlink(part)
            path.with_name(path.name + ".pub").write_text(key.public.to_text() + "\n", "utf-8")
        except OSError as exc:
            raise KeyFileError(f"key {path} cannot be made: {exc}; make the folder writable") from exc
        return key


def _seed(pem: bytes) -> bytes | None:
    """The key's 32 bytes, if ``pem`` is of the very form that is written here."""
    lines = pem.split()
    if len(lines) != 7 or pem.strip().splitlines()[0] != _BEGIN or pem.strip().splitlines()[-1] != _END:
        return None
    try:
        der = base64.b64decode(lines[3], validate=True)
    except ValueError:
        return None
    return der[len(_PKCS8) :] if len(der) == len(_PKCS8) + 32 and der.startswith(_PKCS8) else None

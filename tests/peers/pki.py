"""Certificates for the tests, made anew each run: authorities, and keys that they vouch for."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files; ``der`` and ``pem`` are the same certificate."""

    pem: Path
    der: Path
    key: Path


class Authority:
    """Signs certificates and puts them in ``folder``."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._key = rsa.generate_private_key(65537, 2048)
        subject = _named(name)
        now = datetime.now(UTC)
        self._certificate = (
            _begun(subject, subject, self._key, now - timedelta(days=1), now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(True, None), True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = _written(folder / f"{name}.pem", self._certificate.public_bytes(serialization.Encoding.PEM))

    def vouch(self, name: str, *, host: str = "127.0.0.1", ends: timedelta = timedelta(days=20)) -> Pair:
        """A certificate for ``host`` (a name or an address) that is valid until ``ends`` from now."""
        key = rsa.generate_private_key(65537, 2048)
        now = datetime.now(UTC)
        try:
            alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            alternative = x509.DNSName(host)
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            _begun(_named(name), self._certificate.subject, key, min(now, now + ends) - timedelta(days=1), now + ends)
            .add_extension(x509.SubjectAlternativeName([alternative]), False)
            .add_extension(x509.ExtendedKeyUsage(usages), False)
            .add_extension(x509.BasicConstraints(False, None), True)
            .sign(self._key, hashes.SHA256())
        )
        return _pair(self._folder, f"{self._name}-{name}", certificate, key)


def self_signed(folder: Path, name: str, uri: str) -> Pair:
    """An OPC UA application's own certificate, made out to ``uri``."""
    key = rsa.generate_private_key(65537, 2048)
    now = datetime.now(UTC)
    usage = x509.KeyUsage(True, True, True, True, False, True, False, False, False)
    names = [x509.UniformResourceIdentifier(uri), x509.DNSName("localhost")]
    names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        _begun(_named(name), _named(name), key, now - timedelta(days=1), now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), False)
        .add_extension(usage, True)
        .add_extension(x509.ExtendedKeyUsage(usages), False)
        .add_extension(x509.BasicConstraints(False, None), True)
        .sign(key, hashes.SHA256())
    )
    return _pair(folder, name, certificate, key)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _begun(
    subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    return builder.serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(ends)


def _pair(folder: Path, name: str, certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> Pair:
    plain = serialization.NoEncryption()
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return Pair(
        _written(folder / f"{name}.pem", certificate.public_bytes(serialization.Encoding.PEM)),
        _written(folder / f"{name}.der", certificate.public_bytes(serialization.Encoding.DER)),
        _written(folder / f"{name}.key", secret),
    )


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path

"""``ullage-agent trust``: which OPC UA server certificates the agent trusts, decided by a person who compared them.

Nothing is ever stored without the fingerprint having been said: by ``--accept``, or by a yes at a terminal.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from ullage_protocols.field.errors import FieldError
from ullage_protocols.field.opcua.browse import fetch_certificate
from ullage_protocols.field.opcua.spec import OpcuaDevice

from .config import Config
from .config.opcua import trusted_file
from .errors import AgentError
from .files import whole_file

_OWN_YEARS = 5
_BITS = 2048


@dataclass(frozen=True, slots=True)
class Shown:
    """A server certificate as it was shown just now, and what the agent thinks of it."""

    device: str
    url: str
    subject: str
    issuer: str
    valid_from: str
    valid_until: str
    sha256: str
    file: str
    state: str
    endpoints: tuple[str, ...]


def trust(config: Config, device: str | None, *, accept: str | None, as_json: bool) -> int:
    """Shows the certificate of each OPC UA device (or of ``device``); stores the one whose fingerprint is ``accept``.

    0 when every certificate shown is trusted and valid, else 1. Raises AgentError.
    """
    found = [spec for spec in (one.spec for one in config.devices) if isinstance(spec, OpcuaDevice)]
    chosen = [spec for spec in found if device in (None, spec.name)]
    if not chosen:
        names = ", ".join(spec.name for spec in found) or "none"
        raise AgentError(f"no OPC UA device {device or ''} in {config.path}; those there: {names}")
    if accept is not None and len(chosen) != 1:
        raise AgentError("--accept goes with the name of one device; add it")
    shown = [_one(config, spec, accept, ask=not as_json and sys.stdin.isatty()) for spec in chosen]
    if as_json:
        print(json.dumps([asdict(one) for one in shown], ensure_ascii=False))
    else:
        print("\n\n".join(map(_told, shown)))
    return 0 if all(one.state == "trusted" for one in shown) else 1


def pinned_file(config: Config, spec: OpcuaDevice) -> Path:
    """Where the trusted certificate of a device lies."""
    return spec.trusted or trusted_file(config.state / "trust", spec.name)


def _one(config: Config, spec: OpcuaDevice, accept: str | None, *, ask: bool) -> Shown:
    path = pinned_file(config, spec)
    try:
        data, ways = fetch_certificate(spec.url, max(spec.timeout, 5.0))
    except FieldError as exc:
        raise AgentError(f"device {spec.name}: {spec.url}: {exc}; check url and network") from exc
    endpoints = tuple(f"{way.policy} {way.mode} ({', '.join(way.logins)})" for way in ways)
    if not data:
        return Shown(spec.name, spec.url, "", "", "", "", "", str(path), "none shown", endpoints)
    try:
        certificate = x509.load_der_x509_certificate(_leaf(data))
    except ValueError as exc:
        raise AgentError(
            f"device {spec.name} shows a certificate that cannot be read ({exc}); mend the server"
        ) from exc
    leaf = certificate.public_bytes(serialization.Encoding.DER)
    fingerprint = hashlib.sha256(leaf).hexdigest()
    shown = Shown(
        spec.name,
        spec.url,
        _name(certificate.subject),
        _name(certificate.issuer),
        certificate.not_valid_before_utc.isoformat(),
        certificate.not_valid_after_utc.isoformat(),
        fingerprint,
        str(path),
        _state(path, leaf, certificate),
        endpoints,
    )
    if accept is not None:
        if _bare(accept) != fingerprint:
            raise AgentError(
                f"device {spec.name} shows {fingerprint}, not the fingerprint given with --accept; nothing was stored"
            )
    elif shown.state == "trusted" or not ask or not _yes(shown):
        return shown
    _store(path, leaf)
    return Shown(**{**asdict(shown), "endpoints": endpoints, "state": _state(path, leaf, certificate)})


def _state(path: Path, leaf: bytes, certificate: x509.Certificate) -> str:
    try:
        held = path.read_bytes()[:65536]
    except FileNotFoundError:
        return "not trusted"
    except OSError as exc:
        raise AgentError(f"{path} cannot be read ({exc.strerror}); check the path") from exc
    if b"-----BEGIN" in held:
        try:
            held = x509.load_pem_x509_certificate(held).public_bytes(serialization.Encoding.DER)
        except ValueError:
            held = b""
    if held != leaf:
        return "another certificate is trusted"
    now = datetime.now(UTC)
    if now > certificate.not_valid_after_utc:
        return "trusted, but expired"
    return "trusted" if now >= certificate.not_valid_before_utc else "trusted, but not valid yet"


def _yes(shown: Shown) -> bool:
    print(_told(shown))
    answer = input("Compare the fingerprint with the one that the server itself displays. Trust it? [yes/no] ")
    return answer.strip().lower() == "yes"


def _store(path: Path, leaf: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise AgentError(f"{path.parent} cannot be made ({exc.strerror}); check the state folder") from exc
    with whole_file(path, "wb") as file:
        file.write(leaf)  # type: ignore[arg-type]


def _told(shown: Shown) -> str:
    fingerprint = " ".join(shown.sha256[at : at + 4] for at in range(0, len(shown.sha256), 4))
    lines = [f"{shown.device}  {shown.url}  {shown.state}"]
    if shown.sha256:
        lines += [
            f"  subject      {shown.subject}",
            f"  issuer       {shown.issuer}",
            f"  valid        {shown.valid_from} to {shown.valid_until}",
            f"  SHA-256      {fingerprint}",
        ]
        if shown.state != "trusted":
            lines.append(f"  to trust it  ullage-agent trust {shown.device!r} --accept {shown.sha256}")
    lines += [f"  offers       {way}" for way in shown.endpoints]
    return "\n".join(lines)


def _leaf(data: bytes) -> bytes:
    """The first certificate of a chain."""
    if len(data) > 4 and data[:2] == b"\x30\x82":
        return data[: 4 + int.from_bytes(data[2:4], "big")]
    return data


def _name(name: x509.Name) -> str:
    text = name.rfc4514_string()
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:300]


def _bare(fingerprint: str) -> str:
    return fingerprint.replace(":", "").replace(" ", "").lower()


# --- the agent's own certificate -----------------------------------------------------------------------------------


def own(config: Config, *, as_json: bool) -> int:
    """Shows the agent's own application certificate, which servers are to trust; makes it where there is none."""
    certificate_file, key_file = own_files(config.state)
    if not certificate_file.exists() and not key_file.exists():
        _make(config.agent, certificate_file, key_file)
    try:
        certificate = x509.load_der_x509_certificate(certificate_file.read_bytes())
    except (OSError, ValueError) as exc:
        raise AgentError(
            f"{certificate_file} cannot be read as a certificate; remove it and {key_file} to make new ones"
        ) from exc
    told = {
        "certificate": str(certificate_file),
        "key": str(key_file),
        "subject": _name(certificate.subject),
        "valid_until": certificate.not_valid_after_utc.isoformat(),
        "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
    }
    print(json.dumps(told) if as_json else "\n".join(f"{word:<12} {text}" for word, text in told.items()))
    return 0


def own_files(state: Path) -> tuple[Path, Path]:
    """Certificate and key of the agent as an OPC UA application."""
    return state / "trust" / "agent.der", state / "trust" / "agent.pem"


def _make(agent: str, certificate_file: Path, key_file: Path) -> None:
    key = rsa.generate_private_key(65537, _BITS)
    uri = f"urn:ullage:agent:{agent}"
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Ullage"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"Ullage agent {agent}"[:64]),
        ]
    )
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=365 * _OWN_YEARS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, content_commitment=True, key_encipherment=True, data_encipherment=True,
                key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        key_file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
    except OSError as exc:
        raise AgentError(f"{key_file} cannot be written ({exc.strerror}); check the state folder") from exc
    with whole_file(certificate_file, "wb") as out:
        out.write(certificate.public_bytes(serialization.Encoding.DER))  # type: ignore[arg-type]

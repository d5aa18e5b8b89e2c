"""Brokers for tests: nats-server from its wheel, and mosquitto with or without TLS where Debian has it."""

from __future__ import annotations

import datetime as dt
import getpass
import ipaddress
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from ullage_plant.demo.processes import Child, Children, free_port, wait_for

ACCESS_LIST = Path(__file__).parents[2] / "docker" / "mosquitto" / "acl"
"""The access list that the images ship."""


def need(program: str) -> str:
    """The program's path; without it the test is skipped, which CI counts as a failure."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip(f"{program} is not here: apt-get install {program}")
    return path


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
    except OSError:
        return False
    return True


class Mosquitto:
    """mosquitto on loopback; with ``tls`` it demands client certificates and takes the user name from them."""

    def __init__(self, folder: Path, *, tls: Authority | None = None) -> None:
        self.folder, self.port, self.tls = folder, free_port(), tls

    def start(self, children: Children) -> Child:
        lines = [
            f"listener {self.port} 127.0.0.1",
            "persistence false",
            "max_queued_messages 0",
            f"user {getpass.getuser()}",
        ]
        if self.tls is None:
            lines.append("allow_anonymous true")
        else:
            server = self.tls.issue(self.folder, "broker")
            lines += [
                f"cafile {self.tls.ca}", f"certfile {server[0]}", f"keyfile {server[1]}",
                "require_certificate true", "use_identity_as_username true", f"acl_file {ACCESS_LIST}",
            ]  # fmt: skip
        config = self.folder / "mosquitto.conf"
        config.write_text("\n".join(lines) + "\n")
        child = children.start("mosquitto", [need("mosquitto"), "-c", str(config)], cwd=self.folder)
        wait_for(lambda: answers(self.port), 10, f"mosquitto on port {self.port}: {child.tail()}")
        return child


class Authority:
    """A certificate authority for one test."""

    def __init__(self, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
        certificate = self._build(self._name, self._key.public_key(), ca=True)
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Paths of a certificate for ``name`` (and loopback) and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate, key_file = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(self._build(subject, key.public_key()).public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        key_file.chmod(0o600)
        return certificate, key_file

    def _build(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, ca: bool = False) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        names = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        )
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(names, critical=False)
            # Python 3.13 verifies strictly: it wants to know which key signed, and that a CA may sign.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(_usage(ca), critical=True)
            .sign(self._key, hashes.SHA256())
        )


def _usage(ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=ca, crl_sign=ca, encipher_only=False, decipher_only=False,
    )  # fmt: skip


class Box:
    """Collects what arrives, for observing with a bound."""

    def __init__(self) -> None:
        self.items: list[object] = []
        self._changed = threading.Condition()

    def put(self, item: object) -> None:
        with self._changed:
            self.items.append(item)
            self._changed.notify_all()

    def wait(self, done: Callable[[list[object]], bool], timeout: float = 10.0) -> bool:
        deadline = time.monotonic() + timeout
        with self._changed:
            while not done(self.items):
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
            return True

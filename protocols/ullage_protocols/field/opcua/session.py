"""A session on an open channel: who we are, who the server is, and what it offered held against what was asked."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import NamedTuple

from ullage_protocols.field.errors import FieldError, HostileError

from . import services
from .channel import MESSAGE, NONE_URI
from .link import Link
from .nodeids import NodeId, pack_nodeid, read_nodeid
from .services import Login, Offer, Request
from .wire import array, byte_string, string

_ANONYMOUS, _USER, _CERTIFICATE = 0, 1, 2
_TOKENS = {_ANONYMOUS: 321, _USER: 324, _CERTIFICATE: 327}
_WORDS = {_ANONYMOUS: "an anonymous login", _USER: "a user name", _CERTIFICATE: "a certificate login"}
LIFETIME = 120_000.0
"""Asked lifetime of a session without any request, in ms."""
_STRONG = ("#Basic256Sha256", "#Aes128_Sha256_RsaOaep", "#Aes256_Sha256_RsaPss")
PRODUCT = "urn:ullage:agent"


class Who(NamedTuple):
    """How to log in. ``trusted`` is the pinned server certificate (DER), empty where there is none.

    ``clear``: the password may travel where no trusted certificate protects it.
    """

    user: str = ""
    password: str = ""
    certificate: str = ""
    key: str = ""
    trusted: bytes = b""
    clear: bool = False

    @property
    def kind(self) -> int:
        return _CERTIFICATE if self.certificate else _USER if self.user else _ANONYMOUS


class Session:
    """Opens a session on ``link``; afterwards ``link`` asks under it. Raises FieldError or HostileError."""

    def __init__(self, link: Link, who: Who, name: str) -> None:
        self._link, self._who = link, who
        self.lifetime = LIFETIME / 1000
        protection = link.protection
        nonce = os.urandom(32) if protection else b""
        reader = link.ask(self._create(nonce, name))
        read_nodeid(reader)
        start = reader.at
        read_nodeid(reader)
        token = reader.data[start : reader.at]
        self.lifetime = reader.f64() / 1000
        self._nonce = reader.bytes_(4096) or b""
        self._certificate = reader.bytes_(65536) or b""
        offered = services.offers(reader)
        reader.array(lambda: (reader.bytes_(65536), reader.bytes_(65536)), 8)
        _, signature = reader.text(), reader.bytes_(4096) or b""
        reader.u32()
        reader.done()
        if protection:
            if not protection.is_trusted(self._certificate):
                raise HostileError("the session shows another certificate than the trusted one")
            protection.verify_session(signature, nonce)
            if len(self._nonce) < 32:
                raise HostileError(f"a server nonce of {len(self._nonce)} bytes in the session")
        login = self._login(offered)
        link.session = token
        self._activate(login)

    def _create(self, nonce: bytes, name: str) -> Request:
        protection = self._link.protection
        uri, certificate = PRODUCT, b""
        if protection:
            from .security import application_uri

            uri, certificate = application_uri(protection.certificate) or PRODUCT, protection.own
        client = string(uri) + string(PRODUCT) + b"\x02" + string("Ullage agent") + struct.pack("<I", 1)
        client += string(None) + string(None) + array([])
        body = client + string(None) + string(self._link.url) + string(name)
        body += byte_string(nonce or None) + byte_string(certificate or None) + struct.pack("<dI", LIFETIME, MESSAGE)
        return Request(services.CREATE_SESSION, body)

    def _login(self, offered: list[Offer]) -> Login:
        """The login policy to use, from the endpoint that was asked for."""
        protection = self._link.protection
        uri, mode = (protection.uri, protection.mode) if protection else (NONE_URI, 1)
        fitting = [offer for offer in offered if (offer.policy, offer.mode) == (uri, mode)]
        if not fitting:
            if protection or offered:
                raise HostileError(
                    f"the session offers no endpoint with the policy and mode of its own channel ({uri[-30:]})"
                )
            return Login("", self._who.kind, "")
        # The session has shown its certificate already; here the standard lets the server leave it out.
        shown = [offer.certificate for offer in fitting if offer.certificate]
        if protection and shown and not any(map(protection.is_trusted, shown)):
            raise HostileError("the endpoint that was asked for shows another certificate than the trusted one")
        logins = [login for offer in fitting for login in offer.logins if login.type == self._who.kind]
        if not logins:
            taken = {login.type for offer in fitting for login in offer.logins}
            words = ", ".join(word for kind, word in _WORDS.items() if kind in taken) or "none that this agent knows"
            raise FieldError(f"the server takes no {_WORDS[self._who.kind].partition(' ')[2]} there, only {words}")
        return max(logins, key=lambda login: _strength(login.policy or uri))

    def _activate(self, login: Login) -> None:
        link, protection = self._link, self._link.protection
        name, signature = ("", b"")
        if protection:
            name, signature = protection.signature(self._certificate, self._nonce)
        token, proof = self._token(login)
        number = _TOKENS[login.type]
        identity = pack_nodeid(NodeId(0, number)) + b"\x01" + byte_string(token)
        body = string(name or None) + byte_string(signature or None) + array([]) + array([]) + identity + proof
        reader = link.ask(Request(services.ACTIVATE_SESSION, body))
        nonce = reader.bytes_(4096) or b""
        reader.array(reader.u32, 4)
        services.end(reader)
        if protection and (len(nonce) < 32 or nonce == self._nonce):
            raise HostileError("the server did not renew its nonce")

    def _token(self, login: Login) -> tuple[bytes, bytes]:
        """The identity token's body, and the signature that goes with it."""
        no_proof = string(None) + byte_string(None)
        if login.type == _ANONYMOUS:
            return string(login.id), no_proof
        protection = self._link.protection
        uri = login.policy or (protection.uri if protection else NONE_URI)
        if login.type == _USER and uri == NONE_URI:
            if not (self._who.clear or (protection and protection.seals)):
                raise FieldError(
                    "the server takes the password in clear only; secure the connection, or write"
                    " allow_clear_password = true where that network is yours alone"
                )
            return string(login.id) + string(self._who.user) + byte_string(self._who.password.encode()) + string(
                None
            ), no_proof
        return self._sealed(login, uri)

    def _sealed(self, login: Login, uri: str) -> tuple[bytes, bytes]:
        from . import security

        policy = security.policy_of(uri)
        if policy is None:
            raise FieldError(f"the server wants the login under policy {uri[-60:]!r}, which is unknown or weak")
        if login.type == _CERTIFICATE:
            certificate = security.load_certificate_file(Path(self._who.certificate))
            proof = security.sign(policy, security.load_key(Path(self._who.key)), self._certificate + self._nonce)
            body = string(login.id) + byte_string(security.der(certificate))
            return body, string(policy.signature_uri) + byte_string(proof)
        trusted = self._who.trusted
        if not (trusted and self._certificate.startswith(trusted)) and not self._who.clear:
            raise FieldError(
                "the server's certificate, which would protect the password, is not the trusted one; see and trust it"
                " with `ullage-agent trust`"
            )
        server = security.load_certificate(self._certificate, "the server's certificate")
        secret = self._who.password.encode() + self._nonce
        sealed = security.seal(policy, server, struct.pack("<I", len(secret)) + secret)
        body = string(login.id) + string(self._who.user) + byte_string(sealed) + string(policy.sealing_uri)
        return body, string(None) + byte_string(None)


def _strength(uri: str) -> int:
    """How well a policy protects a secret: one that is known, none, one that is weak or unknown."""
    return 2 if any(uri.endswith(name) for name in _STRONG) else uri == NONE_URI


def namespaces(link: Link) -> list[str]:
    """The server's namespace URIs in order."""
    ((value, _),) = services.values(link.ask(services.read([NodeId(0, 2255)])))
    return [str(text) for text in value] if isinstance(value, list) else []


def limits(link: Link, nodes: list[int]) -> list[int]:
    """Whole numbers that the server tells at ``nodes`` of namespace 0, such as its limits; 0 where it tells none."""
    found = services.values(link.ask(services.read([NodeId(0, node) for node in nodes])))
    if len(found) != len(nodes):
        raise HostileError(f"{len(found)} values for {len(nodes)} nodes")
    return [value if isinstance(value, int) and not status >> 30 and value > 0 else 0 for value, status in found]

"""What to read from an OPC UA server: devices, nodes, and how the connection is secured."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

from ullage_protocols.field.errors import SpecError

from .nodeids import parse_nodeid, parse_path

Policy = Literal["Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss"]
Mode = Literal["Sign", "SignAndEncrypt"]


@dataclass(frozen=True, slots=True)
class OpcuaTag:
    """One named point, at ``node`` (such as ``ns=2;s=tank.level``, ``nsu=urn:plant;i=7``, ``i=2258``) or at ``path``
    (such as ``/Objects/2:Machine/2:Level``).

    In a subscription: ``sampling`` seconds between looks (None: as often as reports are sent), ``queue`` of looks kept
    between reports; ``deadband`` in the tag's own units, or with ``percent`` in percent of its range, below which a
    change is none.
    """

    name: str
    node: str = ""
    group: int = 0
    path: str = ""
    sampling: float | None = None
    queue: int = 10
    deadband: float = 0.0
    percent: bool = False

    def __post_init__(self) -> None:
        if not self.name:
            raise SpecError("an OPC UA tag has no name; give it one")
        if bool(self.node) and bool(self.path):
            raise SpecError(f"tag {self.name!r}: 'node' and 'path' both say where it is; give one")
        try:
            if self.path:
                parse_path(self.path)
            else:
                parse_nodeid(self.node)
        except SpecError as exc:
            raise SpecError(f"tag {self.name!r}: {exc}") from exc
        if self.sampling is not None and not 0 <= self.sampling <= 86_400:
            raise SpecError(f"tag {self.name!r}: sampling must be 0 to 86400 seconds, not {self.sampling!r}")
        if not 1 <= self.queue <= 10_000:
            raise SpecError(f"tag {self.name!r}: queue must be 1 to 10000, not {self.queue!r}")
        if not 0 <= self.deadband <= (100 if self.percent else 1e300):
            raise SpecError(f"tag {self.name!r}: deadband {self.deadband!r} is no width (in percent: 0 to 100)")


@dataclass(frozen=True, slots=True)
class OpcuaSecurity:
    """Signed or encrypted connection: own certificate and key, and the one server certificate trusted.

    The paths lead to DER or PEM files. The server certificate is never taken from the network.
    """

    policy: Policy
    mode: Mode
    certificate: Path
    key: Path
    server_certificate: Path

    def __post_init__(self) -> None:
        for word, value, known in (
            ("policy", self.policy, get_args(Policy)),
            ("mode", self.mode, get_args(Mode)),
        ):
            if value not in known:
                raise SpecError(f"OPC UA security: {word} {value!r} is unknown; one of {', '.join(known)}")


@dataclass(frozen=True, slots=True)
class OpcuaSubscription:
    """The server reports changes every ``publishing`` seconds, and that it lives every ``keepalive`` without any."""

    publishing: float = 0.5
    keepalive: float = 5.0

    def __post_init__(self) -> None:
        if not 0.01 <= self.publishing <= 3600:
            raise SpecError(f"OPC UA subscription: publishing must be 0.01 to 3600 seconds, not {self.publishing!r}")
        if not 0.1 <= self.keepalive <= 3600:
            raise SpecError(f"OPC UA subscription: keepalive must be 0.1 to 3600 seconds, not {self.keepalive!r}")


@dataclass(frozen=True, slots=True)
class OpcuaDevice:
    """One server endpoint. ``timeout`` (seconds) bounds the connect and each request.

    Login: ``user`` with ``password``, or ``user_certificate`` with ``user_key``, or neither: anonymous. A password is
    sent only where the trusted certificate protects it, that of ``security`` or ``server_certificate``, unless
    ``allow_clear_password``. With ``subscription`` the tags are reported by the server instead of read.
    """

    name: str
    url: str
    timeout: float = 2.0
    security: OpcuaSecurity | None = None
    user: str | None = None
    password: str | None = None
    tags: tuple[OpcuaTag, ...] = ()
    user_certificate: Path | None = None
    user_key: Path | None = None
    server_certificate: Path | None = None
    allow_clear_password: bool = False
    subscription: OpcuaSubscription | None = None

    def __post_init__(self) -> None:
        where = f"device {self.name!r}"
        if not self.name:
            raise SpecError("an OPC UA device has no name; give it one")
        if not usable_url(self.url):
            raise SpecError(f"{where}: url {self.url!r} is not of the form opc.tcp://host:port")
        if urlsplit(self.url).username is not None:
            raise SpecError(f"{where}: the url carries a user name; give it as 'user' and 'password' instead")
        if not math.isfinite(self.timeout) or self.timeout <= 0:
            raise SpecError(f"{where}: timeout must be a positive number of seconds, not {self.timeout!r}")
        if (self.user is None) != (self.password is None):
            raise SpecError(f"{where}: 'user' and 'password' go together; give both or neither")
        if (self.user_certificate is None) != (self.user_key is None):
            raise SpecError(f"{where}: 'user_certificate' and 'user_key' go together; give both or neither")
        if self.user is not None and self.user_certificate is not None:
            raise SpecError(f"{where}: 'user' and 'user_certificate' are two logins; give one")
        if not self.tags:
            raise SpecError(f"{where}: no tag is configured; give it at least one")
        names = Counter(tag.name for tag in self.tags)
        if twice := [name for name, count in names.items() if count > 1]:
            raise SpecError(f"{where}: tag name {twice[0]!r} is used twice; names are unique within a device")

    @property
    def trusted(self) -> Path | None:
        """The file of the server certificate that is trusted; None where none is asked for."""
        return self.security.server_certificate if self.security else self.server_certificate


def usable_url(url: str) -> bool:
    """Whether ``url`` names the host and port of an OPC UA server."""
    try:
        parts = urlsplit(url)
        return parts.scheme == "opc.tcp" and bool(parts.hostname) and bool(parts.port) and len(url) <= 4096
    except ValueError:
        return False

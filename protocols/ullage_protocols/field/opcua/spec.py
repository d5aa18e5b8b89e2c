"""What to read from an OPC UA server: devices, nodes, and how the connection is secured."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

from ullage_protocols.field.errors import SpecError

Policy = Literal["Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss"]
Mode = Literal["Sign", "SignAndEncrypt"]
_BASE64 = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)"
_GUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_NODE = re.compile(
    r"(?:ns=(?P<ns>[0-9]{1,5});)?"
    rf"(?:i=(?P<number>[0-9]{{1,10}})|s=[^\x00-\x1f\x7f]{{1,4096}}|g={_GUID}|b={_BASE64})"
)


@dataclass(frozen=True, slots=True)
class OpcuaTag:
    """One named point; ``node`` is a node id such as ``ns=2;s=tank.level`` or ``i=2258``."""

    name: str
    node: str
    group: int = 0

    def __post_init__(self) -> None:
        if not self.name:
            raise SpecError("an OPC UA tag has no name; give it one")
        found = _NODE.fullmatch(self.node)
        if not found or int(found["ns"] or 0) > 0xFFFF or int(found["number"] or 0) > 0xFFFFFFFF:
            raise SpecError(
                f"tag {self.name!r}: {self.node!r} is no node id; write ns=2;s=text, ns=2;i=number,"
                " ns=2;g=guid or ns=2;b=base64 (ns=0 may be left out)"
            )


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
class OpcuaDevice:
    """One server endpoint. ``timeout`` (seconds) bounds the whole connect and each request."""

    name: str
    url: str
    timeout: float = 2.0
    security: OpcuaSecurity | None = None
    user: str | None = None
    password: str | None = None
    tags: tuple[OpcuaTag, ...] = ()

    def __post_init__(self) -> None:
        where = f"device {self.name!r}"
        if not self.name:
            raise SpecError("an OPC UA device has no name; give it one")
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme == "opc.tcp" and bool(parts.hostname) and bool(parts.port)
            private = parts.username is not None
        except ValueError:
            usable = private = False
        if not usable:
            raise SpecError(f"{where}: url {self.url!r} is not of the form opc.tcp://host:port")
        if private:
            raise SpecError(f"{where}: the url carries a user name; give it as 'user' and 'password' instead")
        if not math.isfinite(self.timeout) or self.timeout <= 0:
            raise SpecError(f"{where}: timeout must be a positive number of seconds, not {self.timeout!r}")
        if (self.user is None) != (self.password is None):
            raise SpecError(f"{where}: 'user' and 'password' go together; give both or neither")
        if not self.tags:
            raise SpecError(f"{where}: no tag is configured; give it at least one")
        names = Counter(tag.name for tag in self.tags)
        if twice := [name for name, count in names.items() if count > 1]:
            raise SpecError(f"{where}: tag name {twice[0]!r} is used twice; names are unique within a device")

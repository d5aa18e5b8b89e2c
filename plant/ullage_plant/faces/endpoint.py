"""Addresses given on the command line, and whether they can be taken."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from ..errors import PlantError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Host and port; port 0 means that a free one is chosen."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(text: str) -> Endpoint:
    """``HOST:PORT`` or ``opc.tcp://HOST:PORT``. Raises ``PlantError``."""
    host, colon, port = text.removeprefix("opc.tcp://").rstrip("/").rpartition(":")
    host = host.strip("[]")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise PlantError(f"{text!r} is not an address: give HOST:PORT with a port from 0 to 65535")
    return Endpoint(host, int(port))


def claim(wanted: Endpoint, what: str) -> Endpoint:
    """An endpoint that can be listened on now, with its port chosen. Raises ``PlantError`` if it is taken."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            wanted.host, wanted.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
            return Endpoint(wanted.host, int(probe.getsockname()[1]))
    except OSError as fault:
        why = fault.strerror or str(fault)
        raise PlantError(
            f"cannot listen on {wanted} for {what}: {why}; stop what uses it or give another address (port 0 chooses a "
            "free one)"
        ) from fault

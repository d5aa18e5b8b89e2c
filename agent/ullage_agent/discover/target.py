"""What is to be looked at, from the address that a person gives. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from ullage_protocols.field.errors import SpecError
from ullage_protocols.field.modbus.spec import ModbusDevice, ModbusTag

from ..errors import AgentError

SHAPES = (
    "modbus://host[:port][/unit], modbus+rtu:///dev/ttyUSB0[?baud=19200&parity=even&stop_bits=1&unit=1], "
    "modbus+rtu+tcp://host[:port][/unit], opc.tcp://host:port"
)
_PROTOCOLS = {"modbus": "modbus-tcp", "modbus+rtu": "modbus-rtu", "modbus+rtu+tcp": "modbus-rtu-tcp"}
USUAL_UNITS = (*range(1, 11), 247)
_PLACEHOLDER = (ModbusTag("first", "holding", 0),)
"""A device has at least one tag; this one is never read."""


@dataclass(frozen=True, slots=True)
class ModbusTarget:
    """How the units are reached (``device`` of any of them), and which to try."""

    device: ModbusDevice
    units: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OpcuaTarget:
    url: str


def target(url: str, units: str = "", timeout: float = 1.0) -> ModbusTarget | OpcuaTarget:
    """``units`` such as "1,5,10-20" in place of the usual ones. AgentError where either cannot be understood."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise AgentError(f"{url[:200]!r} is no address ({exc}); write {SHAPES}") from exc
    if parts.scheme == "opc.tcp" and parts.hostname:
        return OpcuaTarget(url if port else f"opc.tcp://{parts.netloc}:4840{parts.path}")
    if parts.scheme not in _PROTOCOLS or parts.username is not None:
        raise AgentError(f"{url[:200]!r} is no address that can be looked at; write {SHAPES}")
    protocol = _PROTOCOLS[parts.scheme]
    try:
        given = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        wanted = units or given.pop("unit", "")
        if protocol != "modbus-rtu":
            wanted = units or parts.path.strip("/") or wanted
        way = _line(parts, given) if protocol == "modbus-rtu" else {"host": parts.hostname or "", "port": port or 502}
        if given:
            raise AgentError(f"{url[:200]!r}: {', '.join(sorted(given))[:100]} is unknown; write {SHAPES}")
        chosen = _units(wanted) if wanted else USUAL_UNITS
        device = ModbusDevice("device", unit=chosen[0], timeout=timeout, tags=_PLACEHOLDER, protocol=protocol, **way)  # type: ignore[arg-type]
        for unit in chosen:
            replace(device, unit=unit)
    except (SpecError, ValueError) as exc:
        raise AgentError(f"{url[:200]!r}: {exc}; write {SHAPES}") from exc
    return ModbusTarget(device, chosen)


def _line(parts: SplitResult, given: dict[str, str]) -> dict[str, Any]:
    way: dict[str, Any] = {"serial": parts.path, "parity": given.pop("parity", "even")}
    for key, default in (("baud", 19200), ("stop_bits", 1)):
        way[key] = int(given.pop(key, default))
    return way


def _units(text: str) -> tuple[int, ...]:
    found: list[int] = []
    for piece in text.split(","):
        first, _, last = piece.partition("-")
        low, high = int(first), int(last or first)
        if not 0 <= low <= high <= 255:
            raise ValueError(f"units {text[:60]!r} are not from 0 to 255, such as 1,5,10-20")
        found += range(low, high + 1)
    return tuple(dict.fromkeys(found))

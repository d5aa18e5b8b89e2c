"""The keys of a Modbus device and its tags."""

from __future__ import annotations

import re
from typing import Any, cast

from ullage_protocols.field.errors import SpecError
from ullage_protocols.field.modbus.spec import (
    MAX_IN_FLIGHT,
    MAX_REGISTERS,
    PARITIES,
    ModbusDevice,
    ModbusTag,
    Protocol,
    tag_at,
)  # fmt: skip

from .names import NAME, NAME_SHAPE
from .table import Table

_KEYS = (
    "address", "table", "none", "enum", "length", "byte", "bit", "order", "scale", "offset", "type",
    "unit", "in_flight", "share", "max_registers", "port", "host", "serial",
)  # fmt: skip
"""Keys that a fault may speak of, the more telling first."""

PORTS = {"modbus-tls": 802}
"""Where the port of a protocol is not 502."""


def device(table: Table, name: str, points: list[ModbusTag], protocol: str, files: bool) -> ModbusDevice | None:
    """One unit. ``files``: whether the files of TLS are looked for."""
    given: dict[str, Any] = {
        "unit": table.whole("unit", 1, 0, 255),
        "timeout": table.duration("timeout", 1.0, 0.01, 60),
        "max_registers": table.whole("max_registers", MAX_REGISTERS, 4, MAX_REGISTERS),
        "max_gap": table.whole("max_gap", 8, 0, MAX_REGISTERS),
    }
    if protocol == "modbus-rtu":
        given["serial"] = place = table.text("serial", required='serial = "/dev/ttyUSB0"')
        given["baud"] = table.whole("baud", 19200, 300, 4_000_000)
        given["parity"] = table.one_of("parity", PARITIES, "even")
        given["stop_bits"] = table.whole("stop_bits", 1, 1, 2)
    else:
        shape = "a host name or address"
        given["host"] = place = table.text("host", required='host = "192.0.2.10"', form=r"\S{1,255}", shape=shape)
        given["port"] = table.whole("port", PORTS.get(protocol, 502), 1, 65535)
        if protocol != "modbus-rtu-tcp":
            given["in_flight"] = table.whole("in_flight", 1, 1, MAX_IN_FLIGHT)
            given["share"] = table.truth("share", False)
    if protocol == "modbus-tls":
        for key in ("ca", "certificate", "key"):
            given[key] = file = table.file(key, required=f'{key} = "file.pem"')
            place = place if file else ""
            if files and file is not None and not file.is_file():
                table.fault(key, f"{key} {file} does not exist; check the path")
        given["server_name"] = table.text("server_name")
    if not points or not place:
        return None
    try:
        return ModbusDevice(name, **given, tags=tuple(points), protocol=cast(Protocol, protocol))
    except SpecError as exc:
        _told(table, exc)
        return None


def tag(table: Table) -> ModbusTag | None:
    """One tag."""
    name = table.text("name", required='name = "line.count"', form=NAME, shape=NAME_SHAPE)
    address = table.text("address", required='address = "holding:0" (or "40001")')
    given: dict[str, Any] = {
        "type": table.text("type") or None,
        "table": table.text("table"),
        "order": table.text("order", "ABCD"),
        "bit": table.whole("bit", 0, 0, 15) if table.has("bit") else None,
        "scale": table.number("scale", 1.0),
        "offset": table.number("offset", 0.0),
        "byte": table.text("byte", "low"),
        "length": table.whole("length", 0, 1, MAX_REGISTERS),
        "unit": table.text("unit", form=r".{0,32}", shape="a unit of measure of at most 32 characters"),
        "none": table.whatever("none", ()),
        "enum": _names(table),
    }
    if not name or not address:
        return None
    try:
        return tag_at(name, address, **given)
    except SpecError as exc:
        _told(table, exc)
        return None


def _names(table: Table) -> dict[str, str]:
    names = table.whatever("enum", {})
    if not isinstance(names, dict) or not all(isinstance(label, str) for label in names.values()):
        table.fault("enum", 'enum is not numbers with their names; write it as enum = {0 = "stopped", 1 = "running"}')
        return {}
    return names


def _told(table: Table, exc: SpecError) -> None:
    """The fault, at the line of the key that it speaks of."""
    words = set(re.findall(r"\w+", str(exc)))
    table.fault(next((key for key in _KEYS if key in words and table.has(key)), ""), str(exc))

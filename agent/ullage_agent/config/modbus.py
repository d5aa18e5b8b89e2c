"""The keys of a Modbus device and its tags."""

from __future__ import annotations

from typing import Any

from ullage_protocols.field.errors import SpecError
from ullage_protocols.field.modbus.spec import ModbusDevice, ModbusTag, tag_at

from .names import NAME, NAME_SHAPE
from .table import Table


def device(table: Table, name: str, points: list[ModbusTag]) -> ModbusDevice | None:
    given: dict[str, Any] = {
        "host": table.text("host", required='host = "192.0.2.10"', form=r"\S{1,255}", shape="a host name or address"),
        "port": table.whole("port", 502, 1, 65535),
        "unit": table.whole("unit", 1, 0, 255),
        "timeout": table.duration("timeout", 1.0, 0.01, 60),
        "max_registers": table.whole("max_registers", 125, 4, 125),
        "max_gap": table.whole("max_gap", 8, 0, 125),
    }
    if not points or not given["host"]:
        return None
    try:
        return ModbusDevice(name, **given, tags=tuple(points))
    except SpecError as exc:
        table.fault("", f"{exc}")
        return None


def tag(table: Table) -> ModbusTag | None:
    name = table.text("name", required='name = "line.count"', form=NAME, shape=NAME_SHAPE)
    address = table.text("address", required='address = "holding:0" (or "40001")')
    kind = table.text("type") or None
    order = table.text("order", "ABCD")
    bit = table.whole("bit", 0, 0, 15) if table.has("bit") else None
    scale, offset = table.number("scale", 1.0), table.number("offset", 0.0)
    if not name or not address:
        return None
    try:
        return tag_at(name, address, kind, order=order, bit=bit, scale=scale, offset=offset)
    except SpecError as exc:
        key = next((word for word in ("address", "type", "order", "bit", "scale") if f"{word} " in str(exc)), "")
        table.fault(key if table.has(key) else "", str(exc))
        return None

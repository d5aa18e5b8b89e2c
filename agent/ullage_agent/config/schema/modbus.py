"""The keys of Modbus devices, protocol by protocol, and of their tags; as ``config/modbus.py`` reads them."""

from __future__ import annotations

from ullage_protocols.field.modbus.spec import ORDERS, TYPES

from .parts import Json, choice, duration, number, text, whole

SAYS = "One Modbus unit."
_UNIT: dict[str, Json] = {
    "unit": whole("Its unit number.", 0, 255, 1),
    "timeout": duration("Bounds the connect and every request.", "1s"),
    "max_registers": whole("Most registers in one request.", 4, 125, 125),
    "max_gap": whole("Unasked registers that a merged request may span.", 0, 125, 8),
}
_TCP: dict[str, Json] = {
    "host": text("Name or address.", form=r"^\S{1,255}$", example="192.0.2.10"),
    "port": whole("Its port.", 1, 65535, 502),
}
DEVICES: dict[str, dict[str, Json]] = {"modbus-tcp": {**_TCP, **_UNIT}}
NEEDS: dict[str, tuple[str, ...]] = {"modbus-tcp": ("host",)}

TAG: dict[str, Json] = {
    "address": text(
        "Where it stands: zero-based as holding:0, input:3, coil:1, discrete:2, holding:0x10; one-based as 40001, "
        "400001, 30001, 10001, 00001, 4x0001.",
        form="^.", example="holding:0",
    ),
    "type": choice("How the registers are read; default: bit where one bit is addressed, else uint16.", TYPES),
    "order": choice("Order of the bytes as they arrive, the most significant first being ABCD.", ORDERS, "ABCD"),
    "bit": whole("One bit of a register, 0 the least significant.", 0, 15, example=3),
    "scale": number("value = raw * scale + offset", 1.0),
    "offset": number("value = raw * scale + offset", 0.0),
}  # fmt: skip
TAG_NEEDS = ("address",)

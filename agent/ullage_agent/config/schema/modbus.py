"""The keys of Modbus devices, protocol by protocol, and of their tags; as ``config/modbus.py`` reads them."""

from __future__ import annotations

from typing import get_args

from ullage_protocols.field.modbus.addresses import Table
from ullage_protocols.field.modbus.spec import MAX_IN_FLIGHT, ORDERS, PARITIES, TYPES, Half

from ...config.schema.parts import Json, anything, choice, duration, file, number, text, truth, whole

SAYS = "One Modbus unit."
_UNIT: dict[str, Json] = {
    "unit": whole("Its unit number.", 0, 255, 1),
    "timeout": duration("Bounds the connect and every request.", "1s"),
    "max_registers": whole("Most registers in one request.", 4, 125, 125),
    "max_gap": whole("Unasked registers that a merged request may span.", 0, 125, 8),
}
_HOST = text("Name or address.", form=r"^\S{1,255}$", example="192.0.2.10")
_NET: dict[str, Json] = {"host": _HOST, "port": whole("Its port.", 1, 65535, 502)}
_OWN: dict[str, Json] = {
    "in_flight": whole("Requests that may be out at once.", 1, MAX_IN_FLIGHT, 1),
    "share": truth("Whether units behind one gateway share its connection, asked in turn.", False),
}
_SERIAL: dict[str, Json] = {
    "serial": text("The serial port.", form="^.", example="/dev/ttyUSB0"),
    "baud": whole("Bits a second.", 300, 4_000_000, 19200),
    "parity": choice("Parity of each byte.", PARITIES, "even"),
    "stop_bits": whole("Stop bits of each byte.", 1, 2, 1),
}
_SECURED: dict[str, Json] = {
    "host": _HOST,
    "port": whole("Its port.", 1, 65535, 802),
    "ca": file("Certificates to trust (PEM).", example="plant-ca.pem"),
    "certificate": file("The gateway's certificate (PEM).", example="gateway.pem"),
    "key": file("The gateway's private key (PEM).", example="gateway.key"),
    "server_name": text("What the device's certificate is made out to; default: the host."),
}
DEVICES: dict[str, dict[str, Json]] = {
    "modbus-tcp": {**_NET, **_OWN, **_UNIT},
    "modbus-rtu": {**_SERIAL, **_UNIT},
    "modbus-rtu-tcp": {**_NET, **_UNIT},
    "modbus-tls": {**_SECURED, **_OWN, **_UNIT},
}
NEEDS: dict[str, tuple[str, ...]] = {
    "modbus-tcp": ("host",),
    "modbus-rtu": ("serial",),
    "modbus-rtu-tcp": ("host",),
    "modbus-tls": ("host", "ca", "certificate", "key"),
}
_RAW: Json = {"type": ["string", "integer"]}

TAG: dict[str, Json] = {
    "address": text(
        "Where it stands: zero-based as holding:0, input:3, coil:1, discrete:2, holding:0x10; one-based as 40001, "
        "400001, 30001, 10001, 00001, 4x0001; or a number such as 0x10 with table.",
        form="^.", example="holding:0",
    ),
    "table": choice("The table of an address that is a bare number.", get_args(Table)),
    "type": choice("How the registers are read; default: bit where one bit is addressed, else uint16.", TYPES),
    "order": choice("Order of the bytes as they arrive, the most significant first being ABCD.", ORDERS, "ABCD"),
    "bit": whole("One bit of a register, 0 the least significant.", 0, 15, example=3),
    "byte": choice("Which byte of the register an 8-bit type is.", get_args(Half), "low"),
    "length": whole("Registers that a text takes.", 1, 125, example=8),
    "scale": number("value = raw * scale + offset", 1.0),
    "offset": number("value = raw * scale + offset", 0.0),
    "unit": text("The unit of measure.", form=r"^.{0,32}$", example="kWh"),
    "none": anything(
        "Raw values by which the device says that it has none, each a number or text such as 0x8000.",
        {"anyOf": [_RAW, {"type": "array", "items": _RAW}]}, example=["0x8000"],
    ),
    "enum": anything(
        'Names of the values, such as { 0 = "stopped" }.',
        {"type": "object", "additionalProperties": {"type": "string"}}, example={"0": "stopped"},
    ),
}  # fmt: skip
TAG_NEEDS = ("address",)

"""From registers and bits to values, pure. What cannot be a value comes back as the reason why not."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from ullage_protocols.field.modbus.spec import BIT_TABLES, ModbusTag
from ullage_protocols.sample import Value

_FORMATS = {
    "int16": ">h",
    "uint16": ">H",
    "int32": ">i",
    "uint32": ">I",
    "int64": ">q",
    "uint64": ">Q",
    "float32": ">f",
    "float64": ">d",
}


def decode(tag: ModbusTag, words: Sequence[int]) -> tuple[Value | None, str]:
    """The value of ``tag`` from exactly its ``width`` registers (0..65535) or bits: ``(value, "")``,
    or ``(None, reason)``.
    """
    if len(words) != tag.width:
        return None, f"{len(words)} of {tag.width} registers arrived"
    if tag.table in BIT_TABLES:
        return bool(words[0]), ""
    raw = ordered_bytes(words, tag.order)
    if tag.type == "bit":
        return bool(int.from_bytes(raw, "big") >> (tag.bit or 0) & 1), ""
    number: int | float = struct.unpack(_FORMATS[tag.type], raw)[0]
    if tag.scale != 1 or tag.offset != 0:
        number = number * tag.scale + tag.offset
    if not math.isfinite(number):
        return None, f"not a finite {tag.type}: registers {' '.join(f'{word:04x}' for word in words)}"
    return number, ""


def ordered_bytes(words: Sequence[int], order: str) -> bytes:
    """The bytes of ``words``, most significant first, as ``order`` says that they arrive."""
    arranged = words if order in ("ABCD", "BADC") else tuple(reversed(words))
    return struct.pack(f"{'>' if order in ('ABCD', 'CDAB') else '<'}{len(words)}H", *arranged)

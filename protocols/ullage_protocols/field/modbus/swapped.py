"""Whether a number was read in the wrong byte order, judged by what numbers of a plant look like. Pure.

For each order the same registers give another number. How much it looks like one of a plant is a score: the natural
logarithm of a rough likelihood. A wrong order makes the exponent of a float out of its mantissa, and a huge integer out
of a small one. An order is only suggested where the present one gives what no plant has, so that a plausible value is
never doubted.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ullage_protocols.field.modbus.spec import ORDERS, ModbusDevice, ModbusTag, Order

WIDTHS = {"float32": 2, "float64": 4, "int32": 2, "uint32": 2, "int64": 4, "uint64": 4}
"""The types whose order can be judged, and their registers."""
NEVER = -12.0
"""The score of what no plant measures."""
_FORMS = {"float32": ">f", "float64": ">d", "int32": ">i", "uint32": ">I", "int64": ">q", "uint64": ">Q"}
_BANDS = ((1e-1, 1e5, 0.0), (1e-2, 1e6, -1.0), (1e-4, 1e9, -4.0), (1e-9, 1e12, -8.0))
"""Magnitudes from, to and their score; what lies outside all of them gets ``NEVER``."""
_NEGATIVE = -1.5
_SHORT, _SHORTER = 2.0, 4.0
"""What a float gains by having at most 6, or 5, decimal digits: few bit patterns have, many settings and scaled
readings do."""
_PLAUSIBLE_FLOAT = -0.5
_LARGE = 2**26
"""Integers from here on may be doubted."""
_ALONE, _TOGETHER = 4.0, 1.0
"""How much better another order must be, for one tag alone and where other tags of the device agree on it."""
_WORDS = 2.0
"""Words out of turn are met more often than bytes: what an order gains by differing from the present in words only."""
_APART = 0.25
"""This part of it is how much better than the next best an order must be."""
_RAW = "=raw"
_SWAPS: dict[Order, tuple[bool, bool]] = {
    "ABCD": (False, False), "CDAB": (True, False), "BADC": (False, True), "DCBA": (True, True),
}  # fmt: skip
"""Whether an order has its words, and the bytes in each, the other way round."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """``order`` would read ``value`` (scaled as the tag is), where ``present`` reads what no plant has."""

    present: Order
    order: Order
    value: float | int

    @property
    def told(self) -> str:
        """One sentence for a person."""
        words, octets = (a != b for a, b in zip(_SWAPS[self.present], _SWAPS[self.order], strict=True))
        how = "word- and byte-swapped" if words and octets else "word-swapped" if words else "byte-swapped"
        shown = f"{self.value:.7g}" if isinstance(self.value, float) else str(self.value)
        return f'value looks {how}: order = "{self.order}" would read {shown}'


def decode(raw: bytes, type: str, order: Order) -> float | int:
    """The number in the registers ``raw``, as they arrived, read in ``order``."""
    words, octets = _SWAPS[order]
    pairs = [raw[at : at + 2] for at in range(0, len(raw), 2)]
    if words:
        pairs.reverse()
    found: float | int = struct.unpack(_FORMS[type], b"".join(pair[::-1] if octets else pair for pair in pairs))[0]
    return found


def score(value: float | int, type: str) -> float:
    """How much ``value`` looks like one of a plant: 0 and above for the usual, ``NEVER`` for the impossible."""
    return _float_score(value, type) if type.startswith("float") else _integer_score(int(value))


def with_raw(device: ModbusDevice) -> ModbusDevice:
    """``device`` with one more tag for each that can be judged: its registers as they are, as ``raw_of`` gives them.

    They lie where the tags lie, so that reading them takes no further request.
    """
    more = [
        ModbusTag(tag.name + _RAW, tag.table, tag.address, "uint32" if tag.width == 2 else "uint64", group=tag.group)
        for tag in device.tags
        if tag.type in WIDTHS
    ]
    return replace(device, tags=(*device.tags, *more))


def raw_of(tag: ModbusTag, values: dict[str, object]) -> bytes | None:
    """The registers of ``tag`` out of the values by name that a device ``with_raw`` gave; None where it gave none."""
    value = values.get(tag.name + _RAW)
    return value.to_bytes(tag.width * 2, "big") if isinstance(value, int) and tag.type in WIDTHS else None


def is_raw(name: str) -> bool:
    """Whether a row of this name was added by ``with_raw``; no configured name holds "="."""
    return name.endswith(_RAW)


def suggestions(read: Sequence[tuple[ModbusTag, bytes]]) -> dict[str, Suggestion]:
    """By name the tags of one device that look read in the wrong order. ``read`` gives their registers as they arrived.

    One that stands in doubt alone is told where others of the same type and order point the same way.
    """
    first = {tag.name: found for tag, raw in read if (found := _best(tag, raw, _ALONE)) is not None}
    agreeing = Counter((tag.type[-2:], tag.order, first[tag.name].order) for tag, _ in read if tag.name in first)
    for tag, raw in read:
        found = None if tag.name in first else _best(tag, raw, _TOGETHER)
        if found is not None and agreeing[tag.type[-2:], tag.order, found.order] >= 2:
            first[tag.name] = found
    return first


def _best(tag: ModbusTag, raw: bytes, margin: float) -> Suggestion | None:
    if tag.type not in WIDTHS or len(raw) != 2 * tag.width or _says_nothing(raw, tag):
        return None
    if _plausible(decode(raw, tag.type, tag.order), tag.type, 8 * len(raw)):
        return None
    scored = sorted(
        (
            (score(decode(raw, tag.type, order), tag.type) + (_WORDS if _words_only(tag.order, order) else 0.0), order)
            for order in _orders()
            if order != tag.order
        ),
        reverse=True,
    )
    best, order = scored[0]
    value = decode(raw, tag.type, order)
    present = score(decode(raw, tag.type, tag.order), tag.type)
    if best - present < margin or best - scored[1][0] < _APART * margin or score(value, tag.type) < _least(tag.type):
        return None
    scaled = value if tag.scale == 1 and tag.offset == 0 else value * tag.scale + tag.offset
    return Suggestion(tag.order, order, scaled)


def _orders() -> Sequence[Order]:
    return tuple(_SWAPS)


def _least(type: str) -> float:
    """The lowest score of a reading that is worth to be suggested."""
    return _NEGATIVE - 1.0 if type.startswith("float") else -math.inf


def _words_only(present: Order, order: Order) -> bool:
    return _SWAPS[present][1] == _SWAPS[order][1]


def _says_nothing(raw: bytes, tag: ModbusTag) -> bool:
    """All zeros and all ones are the same in every order; and some patterns say that there is no value."""
    bits = 8 * len(raw)
    nothing = {0, (1 << bits) - 1, 1 << bits - 1, (1 << bits - 1) - 1, *tag.none}
    if tag.type.startswith("float"):
        nothing |= {0x7FC00000, 0xFFC00000, 0x7FA00000} if bits == 32 else {0x7FF8 << 48, 0xFFF8 << 48, 0x7FF4 << 48}
    unsigned = "uint32" if bits == 32 else "uint64"
    return any(decode(raw, unsigned, order) in nothing for order in (tag.order, "ABCD"))


def _plausible(value: float | int, type: str, bits: int) -> bool:
    if type.startswith("float"):
        return _float_score(value, type) >= _PLAUSIBLE_FLOAT
    # A small number moved up by whole words leaves nothing but zeros (or, negative, ones) below it.
    low = int(value) & 0xFFFF
    return abs(value) < _LARGE and not (value and low == 0) and not (value < 0 and low == 0xFFFF and value != -1)


def _float_score(value: float, type: str) -> float:
    if value == 0:
        return -1.0
    if not math.isfinite(value):
        return NEVER
    size = abs(value)
    found = next((score for low, high, score in _BANDS if low <= size < high), NEVER)
    if found == NEVER:
        return NEVER
    digits = _digits(value, type)
    return found + (_NEGATIVE if value < 0 else 0.0) + (_SHORTER if digits <= 5 else _SHORT if digits == 6 else 0.0)


def _digits(value: float, type: str) -> int:
    """The decimal digits that tell ``value`` from its neighbours, when they are few; else 7."""
    for digits in (5, 6):
        text = f"{value:.{digits - 1}e}"
        same = float(text) == value if type == "float64" else struct.pack(">f", float(text)) == struct.pack(">f", value)
        if same:
            return digits
    return 7


def _integer_score(value: int) -> float:
    """Every magnitude is as likely as every other, so that a number is the less likely the larger it is."""
    return -math.log(abs(value) + 1) + (_NEGATIVE if value < 0 else 0.0)


assert set(_SWAPS) == set(ORDERS)  # noqa: S101 - two tables of the same thing

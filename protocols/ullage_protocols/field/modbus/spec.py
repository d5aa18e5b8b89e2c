"""What to read from a Modbus unit: devices, tags, and the address notations people have on paper."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal, cast, get_args

from ullage_protocols.field.errors import SpecError

Table = Literal["coil", "discrete", "holding", "input"]
TagType = Literal["bit", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
Order = Literal["ABCD", "CDAB", "BADC", "DCBA"]

TABLES: tuple[str, ...] = get_args(Table)
TYPES: tuple[str, ...] = get_args(TagType)
ORDERS: tuple[str, ...] = get_args(Order)
BIT_TABLES = frozenset({"coil", "discrete"})
LAST_ADDRESS = 0xFFFF
MAX_REGISTERS = 125
"""The most registers one read request may ask for (Modbus Application Protocol V1.1b3, 6.3 and 6.4)."""
MAX_BITS = 2000
"""The most coils or discrete inputs one read request may ask for (the same, 6.1 and 6.2)."""

_WIDTHS = {"bit": 1, "int16": 1, "uint16": 1, "int32": 2, "uint32": 2, "float32": 2}
_TABLE_DIGITS: dict[str, Table] = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}
_NAMED = re.compile(r"(?P<table>[a-z]+):(?P<number>0x[0-9a-f]{1,4}|[0-9]{1,5})", re.ASCII)
_DIGITS = re.compile(r"(?P<table>[0-9])(?P<x>x?)(?P<number>[0-9]{4,5})", re.ASCII)
NOTATIONS = (
    "zero-based: holding:0, input:3, coil:1, discrete:2, hexadecimal holding:0x10; "
    "one-based: 40001 or 400001 (holding), 30001 (input), 10001 (discrete), 00001 (coil), 4x0001"
)


def parse_address(text: str) -> tuple[Table, int]:
    """The table and zero-based address that ``text`` names.

    Raises SpecError, which lists the known notations.

    >>> parse_address("holding:0x10"), parse_address("40017"), parse_address("3x0001")
    (('holding', 16), ('holding', 16), ('input', 0))
    """
    if not isinstance(text, str):
        raise SpecError(f"address {text!r} is not text: write it in quotes; known notations are {NOTATIONS}")
    folded = text.strip().lower()
    named, digits = _NAMED.fullmatch(folded), _DIGITS.fullmatch(folded)
    if named and named["table"] in TABLES:
        table, address = cast(Table, named["table"]), int(named["number"], 0) if "x" in folded else int(named["number"])
    elif digits and digits["table"] in _TABLE_DIGITS:
        table, address = _TABLE_DIGITS[digits["table"]], int(digits["number"]) - 1
    else:
        raise SpecError(f"address {text!r} is in no known notation; known are {NOTATIONS}")
    if not 0 <= address <= LAST_ADDRESS:
        raise SpecError(
            f"address {text!r} lies outside the table (zero-based 0 to {LAST_ADDRESS}, one-based 1 to"
            f" {LAST_ADDRESS + 1}); known notations are {NOTATIONS}"
        )
    return table, address


@dataclass(frozen=True, slots=True)
class ModbusTag:
    """One named point.

    ``address`` is zero-based. ``order`` names the bytes as they arrive, most significant first being ABCD;
    CDAB swaps words, BADC swaps the bytes within each word, DCBA both (64-bit types alike). ``bit`` picks one
    bit (0 is the least significant) of a register and goes with type "bit". The value is
    ``raw * scale + offset``; with 1 and 0 an integer stays an integer.
    """

    name: str
    table: Table
    address: int
    type: TagType = "uint16"
    order: Order = "ABCD"
    bit: int | None = None
    scale: float = 1.0
    offset: float = 0.0
    group: int = 0

    def __post_init__(self) -> None:
        where = f"tag {self.name!r}"
        if not self.name:
            raise SpecError("a Modbus tag has no name; give it one")
        for word, value, known in (
            ("table", self.table, TABLES),
            ("type", self.type, TYPES),
            ("order", self.order, ORDERS),
        ):
            if value not in known:
                raise SpecError(f"{where}: {word} {value!r} is unknown; one of {', '.join(known)}")
        if not _is_int(self.address) or not 0 <= self.address <= LAST_ADDRESS - self.width + 1:
            raise SpecError(
                f"{where}: address {self.address!r} with {self.width} register(s) does not fit the table"
                f" (zero-based 0 to {LAST_ADDRESS})"
            )
        self._check_bit(where)
        if not math.isfinite(self.scale) or not math.isfinite(self.offset) or self.scale == 0:
            raise SpecError(f"{where}: scale must be finite and not 0, offset finite")
        if self.type == "bit" and (self.scale != 1 or self.offset != 0):
            raise SpecError(f"{where}: a bit has neither scale nor offset; remove them")

    def _check_bit(self, where: str) -> None:
        if self.table in BIT_TABLES:
            if self.type != "bit" or self.bit is not None:
                raise SpecError(f"{where}: a {self.table} is one bit; give it type 'bit' and no 'bit' number")
        elif self.type == "bit":
            if not _is_int(self.bit) or not 0 <= cast(int, self.bit) <= 15:
                raise SpecError(f"{where}: type 'bit' in a register needs 'bit' from 0 (least significant) to 15")
        elif self.bit is not None:
            raise SpecError(f"{where}: 'bit' goes with type 'bit', not {self.type!r}")

    @property
    def width(self) -> int:
        """How many registers (or bits, in the bit tables) the tag takes."""
        return _WIDTHS.get(self.type, 4)


def tag_at(
    name: str,
    address: str,
    type: str | None = None,
    *,
    order: str = "ABCD",
    bit: int | None = None,
    scale: float = 1.0,
    offset: float = 0.0,
) -> ModbusTag:
    """A tag from configuration text. Without ``type``: bit where a bit is addressed, else uint16."""
    try:
        table, number = parse_address(address)
    except SpecError as error:
        raise SpecError(f"tag {name!r}: {error}") from None
    if type is None:
        type = "bit" if table in BIT_TABLES or bit is not None else "uint16"
    return ModbusTag(name, table, number, cast(TagType, type), cast(Order, order), bit, scale, offset)


@dataclass(frozen=True, slots=True)
class ModbusDevice:
    """One unit behind one TCP endpoint.

    ``timeout`` (seconds) bounds the connect and each request. ``max_registers`` and ``max_gap`` (registers)
    bound a merged read; a device that dislikes merged reads gets ``max_gap=0``.
    """

    name: str
    host: str
    port: int = 502
    unit: int = 1
    timeout: float = 1.0
    max_registers: int = MAX_REGISTERS
    max_gap: int = 8
    tags: tuple[ModbusTag, ...] = ()

    def __post_init__(self) -> None:
        where = f"device {self.name!r}"
        if not self.name or not self.host:
            raise SpecError(f"{where}: a Modbus device needs a name and a host")
        for word, value, low, high in (
            ("port", self.port, 1, 65535),
            ("unit", self.unit, 0, 255),
            ("max_registers", self.max_registers, 4, MAX_REGISTERS),
            ("max_gap", self.max_gap, 0, MAX_REGISTERS),
        ):
            if not _is_int(value) or not low <= value <= high:
                raise SpecError(f"{where}: {word} must be a whole number from {low} to {high}, not {value!r}")
        if not math.isfinite(self.timeout) or self.timeout <= 0:
            raise SpecError(f"{where}: timeout must be a positive number of seconds, not {self.timeout!r}")
        if not self.tags:
            raise SpecError(f"{where}: no tag is configured; give it at least one")
        names = Counter(tag.name for tag in self.tags)
        if twice := [name for name, count in names.items() if count > 1]:
            raise SpecError(f"{where}: tag name {twice[0]!r} is used twice; names are unique within a device")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)

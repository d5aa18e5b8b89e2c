"""The address notations that people have on paper, each said plainly to count from zero or from one."""

from __future__ import annotations

import re
from typing import Literal, cast, get_args

from ullage_protocols.field.errors import SpecError

Table = Literal["coil", "discrete", "holding", "input"]
TABLES: tuple[str, ...] = get_args(Table)
BIT_TABLES = frozenset({"coil", "discrete"})
LAST_ADDRESS = 0xFFFF

_DIGIT: dict[str, Table] = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}
_HEXADECIMAL = r"0x[0-9a-f]{1,4}|[0-9a-f]{1,4}h"
_NAMED = re.compile(rf"(?P<table>[a-z]+):(?P<number>{_HEXADECIMAL}|[0-9]{{1,5}})", re.ASCII)
_BARE = re.compile(rf"{_HEXADECIMAL}|[0-9]{{1,5}}", re.ASCII)
_DIGITS = re.compile(r"(?P<table>[0-9])(?P<x>x?)(?P<number>[0-9]{4,5})", re.ASCII)
NOTATIONS = (
    "zero-based: holding:0, input:3, coil:1, discrete:2, hexadecimal holding:0x10; "
    "one-based: 40001 or 400001 (holding), 30001 (input), 10001 (discrete), 00001 (coil), 4x0001"
)


def parse_address(text: str, table: str = "") -> tuple[Table, int]:
    """The table and zero-based address that ``text`` names.

    With ``table`` given apart, ``text`` is a zero-based number alone. Raises SpecError, which lists the notations.

    >>> parse_address("holding:0x10"), parse_address("40017"), parse_address("10h", "holding")
    (('holding', 16), ('holding', 16), ('holding', 16))
    """
    if not isinstance(text, str):
        raise SpecError(f"address {text!r} is not text: write it in quotes; known notations are {NOTATIONS}")
    folded = text.strip().lower()
    if table:
        return _in_table(text, folded, table)
    named, digits = _NAMED.fullmatch(folded), _DIGITS.fullmatch(folded)
    if named and named["table"] in TABLES:
        return cast(Table, named["table"]), _bounded(text, _number(named["number"]))
    if digits and digits["table"] in _DIGIT:
        return _DIGIT[digits["table"]], _bounded(text, int(digits["number"]) - 1)
    hint = '; a bare number needs table = "holding" (or coil, discrete, input)' if _BARE.fullmatch(folded) else ""
    raise SpecError(f"address {text!r} is in no known notation; known are {NOTATIONS}{hint}")


def one_based(table: Table, address: int) -> str:
    """The same point as paper often has it.

    >>> one_based("holding", 16)
    '400017'
    """
    digit = next(digit for digit, name in _DIGIT.items() if name == table)
    return f"{digit}{address + 1:05d}"


def _in_table(text: str, folded: str, table: str) -> tuple[Table, int]:
    if table not in TABLES:
        raise SpecError(f"table {table!r} is unknown; one of {', '.join(TABLES)}")
    if not _BARE.fullmatch(folded):
        raise SpecError(
            f"address {text!r} names its table already, or no number: with table = {table!r} it is a zero-based number"
            " alone, such as 16, 0x10 or 10h"
        )
    return cast(Table, table), _bounded(text, _number(folded))


def _number(text: str) -> int:
    return int(text[:-1], 16) if text.endswith("h") else int(text, 16) if text.startswith("0x") else int(text)


def _bounded(text: str, address: int) -> int:
    if not 0 <= address <= LAST_ADDRESS:
        raise SpecError(
            f"address {text!r} lies outside the table (zero-based 0 to {LAST_ADDRESS}, one-based 1 to"
            f" {LAST_ADDRESS + 1}); known notations are {NOTATIONS}"
        )
    return address

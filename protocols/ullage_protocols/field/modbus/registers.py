"""From the bytes of replies to the columns of a scan, pure: how is worked out once for a layout, then done in bulk.

Replies lie side by side in ``Layout.raw``, each at its block's offset. For every kind of value a layout knows where
in ``raw`` the bytes of its rows are, most significant first, so that a kind costs a few numpy calls whatever its
byte order and number of rows. What cannot be a value becomes a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ullage_protocols.field.modbus.addresses import BIT_TABLES
from ullage_protocols.field.modbus.blocks import Block
from ullage_protocols.field.modbus.frames import Question, read_question
from ullage_protocols.field.modbus.spec import ModbusTag
from ullage_protocols.field.scan import BAD, FLOAT, INTEGER, LARGEST_EXACT, TRUTH, Codes, Floats

_DTYPES = {
    "int8": "i1", "uint8": "u1", "int16": ">i2", "uint16": ">u2", "int32": ">i4", "uint32": ">u4",
    "int64": ">i8", "uint64": ">u8", "float32": ">f4", "float64": ">f8",
}  # fmt: skip
_UNSIGNED = {1: "u1", 2: ">u2", 4: ">u4", 8: ">u8"}
NOT_IMPLEMENTED = "not implemented"
"""The reason of a row whose raw value is one of its tag's sentinels."""

Raw = NDArray[np.uint8]
Rows = NDArray[np.intp] | slice
Put = Callable[[Floats, "dict[int, str]", "dict[int, int | str]"], None]
"""Puts the values of some rows where they belong, and what is no number into reasons and exact values."""


class Layout:
    """How the rows of ``tags`` come from the replies to ``blocks`` (whose ``tags`` are rows)."""

    def __init__(self, tags: Sequence[ModbusTag], blocks: Sequence[Block], unit: int) -> None:
        self.tags, self.blocks = tags, tuple(blocks)
        self.places: dict[int, int] = {}
        """Where in ``raw`` a row begins: a byte, or for bit tables a bit."""
        questions: list[Question] = []
        size = 0
        for block in self.blocks:
            question = read_question(unit, block.table, block.address, block.count, size)
            bits = block.table in BIT_TABLES
            for row in block.tags:
                away = tags[row].address - block.address
                self.places[row] = size * 8 + away if bits else size + 2 * away
            questions.append(question)
            size += question.size + question.size % 2
        self.questions = tuple(questions)
        self.raw = bytearray(size)
        self.forms = bytes(map(_form, tags))
        self._bytes: Raw = np.frombuffer(self.raw, np.uint8)
        self._good: Codes = np.zeros(len(tags), np.uint8)
        self._good.setflags(write=False)
        self._parts = tuple(self._plan())

    def decode(self, failed: Mapping[int, str]) -> tuple[Floats, Codes, dict[int, str], dict[int, int | str]]:
        """Values, qualities, reasons and exact values of all rows; ``failed`` says by block why it has none."""
        values = np.empty(len(self.tags))
        reasons: dict[int, str] = {}
        exact: dict[int, int | str] = {}
        for put in self._parts:
            put(values, reasons, exact)
        for index, reason in failed.items():
            for row in self.blocks[index].tags:
                reasons[row] = reason
        if not reasons:
            return values, self._good, reasons, exact
        rows = list(reasons)
        values[rows] = np.nan
        quality = np.zeros(len(self.tags), np.uint8)
        quality[rows] = BAD
        for row in rows:
            exact.pop(row, None)
        return values, quality, reasons, exact

    def registers(self, row: int) -> str:
        """The registers of ``row`` as they arrived, in hexadecimal."""
        place = self.places[row]
        return self.raw[place : place + 2 * self.tags[row].width].hex(" ", 2)

    def _plan(self) -> Iterable[Put]:
        kinds: dict[tuple[str, bool], list[int]] = {}
        for row, tag in enumerate(self.tags):
            kind: str = "coil" if tag.table in BIT_TABLES else tag.type
            kinds.setdefault((kind, tag.scale != 1 or tag.offset != 0), []).append(row)
        for (kind, scaled), rows in kinds.items():
            if kind == "coil":
                yield self._coils(rows)
            elif kind == "string":
                yield self._texts(rows)
            elif kind == "bit":
                yield self._bits(rows)
            elif kind in ("bcd16", "bcd32"):
                yield self._decimals(rows)
            else:
                yield self._numbers(kind, rows, scaled)
        for width in (1, 2, 4, 8):
            if rows := [row for row, tag in enumerate(self.tags) if tag.none and tag.bits == 8 * width]:
                yield self._sentinels(rows, width)

    def _places(self, row: int) -> list[int]:
        """The bytes of ``row`` in ``raw``, most significant first."""
        tag, start = self.tags[row], self.places[row]
        words = range(tag.width) if tag.order in ("ABCD", "BADC") else reversed(range(tag.width))
        first, second = (0, 1) if tag.order in ("ABCD", "CDAB") else (1, 0)
        places = [start + 2 * word + half for word in words for half in (first, second)]
        if tag.bits == 8:
            return places[1:] if tag.byte == "low" else places[:1]
        return places

    def _source(self, rows: Sequence[int], dtype: str) -> Callable[[], NDArray[Any]]:
        """Gives the raw values of ``rows``: without a copy where their bytes lie in order, else gathered."""
        index = np.array([self._places(row) for row in rows], np.intp).ravel()
        start = int(index[0])
        if np.array_equal(index, np.arange(start, start + len(index))):
            view = self._bytes[start : start + len(index)].view(dtype)
            return lambda: view
        gathered = np.empty(len(index), np.uint8)
        view, source = gathered.view(dtype), self._bytes

        def gather() -> NDArray[Any]:
            source.take(index, out=gathered, mode="clip")
            return view

        return gather

    def _numbers(self, kind: str, rows: Sequence[int], scaled: bool) -> Put:
        source, where = self._source(rows, _DTYPES[kind]), _rows(rows)
        scale = np.array([self.tags[row].scale for row in rows])
        offset = np.array([self.tags[row].offset for row in rows])

        def whole(values: Floats, _reasons: dict[int, str], _exact: dict[int, int | str]) -> None:
            values[where] = source()

        def large(values: Floats, _reasons: dict[int, str], exact: dict[int, int | str]) -> None:
            raw = source()
            values[where] = raw
            for at in np.flatnonzero(
                (raw > LARGEST_EXACT) | (raw < -LARGEST_EXACT if kind == "int64" else False)
            ).tolist():
                exact[rows[at]] = int(raw[at])

        def real(values: Floats, reasons: dict[int, str], _exact: dict[int, int | str]) -> None:
            with np.errstate(all="ignore"):
                found = source().astype(np.float64)
                if scaled:
                    found = found * scale + offset
            values[where] = found
            finite = np.isfinite(found)
            if not finite.all():
                for at in np.flatnonzero(~finite).tolist():
                    row = rows[at]
                    reasons[row] = f"not a finite {kind}: registers {self.registers(row)}"

        if scaled or kind.startswith("float"):
            return real
        return large if kind in ("int64", "uint64") else whole

    def _bits(self, rows: Sequence[int]) -> Put:
        source, where = self._source(rows, ">u2"), _rows(rows)
        shift = np.array([self.tags[row].bit for row in rows], np.uint16)

        def put(values: Floats, _reasons: dict[int, str], _exact: dict[int, int | str]) -> None:
            values[where] = (source() >> shift) & 1

        return put

    def _coils(self, rows: Sequence[int]) -> Put:
        where = _rows(rows)
        places = np.array([self.places[row] for row in rows], np.intp)
        first, last = int(places.min()) // 8, int(places.max()) // 8 + 1
        area, index = self._bytes[first:last], places - first * 8

        def put(values: Floats, _reasons: dict[int, str], _exact: dict[int, int | str]) -> None:
            values[where] = np.unpackbits(area, bitorder="little")[index]

        return put

    def _decimals(self, rows: Sequence[int]) -> Put:
        width = self.tags[rows[0]].bits // 8
        source, where = self._source(rows, "u1"), _rows(rows)
        weights = 100.0 ** np.arange(width - 1, -1, -1)
        scale = np.array([self.tags[row].scale for row in rows])
        offset = np.array([self.tags[row].offset for row in rows])

        def put(values: Floats, reasons: dict[int, str], _exact: dict[int, int | str]) -> None:
            pairs = source().reshape(-1, width)
            high, low = pairs >> 4, pairs & 15
            with np.errstate(all="ignore"):
                values[where] = found = ((high * 10.0 + low) @ weights) * scale + offset
            for at in np.flatnonzero(((high > 9) | (low > 9)).any(axis=1) | ~np.isfinite(found)).tolist():
                reasons[rows[at]] = f"not binary coded decimal: registers {self.registers(rows[at])}"

        return put

    def _texts(self, rows: Sequence[int]) -> Put:
        sources = [(row, self._source([row], "u1")) for row in rows]

        def put(values: Floats, reasons: dict[int, str], exact: dict[int, int | str]) -> None:
            for row, source in sources:
                values[row] = np.nan
                text = _text(source().tobytes())
                if text is None:
                    reasons[row] = f"not text: registers {self.registers(row)}"
                else:
                    exact[row] = text

        return put

    def _sentinels(self, rows: Sequence[int], width: int) -> Put:
        source = self._source(rows, _UNSIGNED[width])
        most = max(len(self.tags[row].none) for row in rows)
        none = np.array(
            [(self.tags[row].none + self.tags[row].none[-1:] * most)[:most] for row in rows], _UNSIGNED[width]
        )

        def put(_values: Floats, reasons: dict[int, str], _exact: dict[int, int | str]) -> None:
            for at in np.flatnonzero((source()[:, None] == none).any(axis=1)).tolist():
                reasons[rows[at]] = NOT_IMPLEMENTED

        return put


def _rows(rows: Sequence[int]) -> Rows:
    if list(rows) == list(range(rows[0], rows[0] + len(rows))):
        return slice(rows[0], rows[0] + len(rows))
    return np.array(rows, np.intp)


def _form(tag: ModbusTag) -> int:
    if tag.type == "bit":
        return TRUTH
    scaled = tag.scale != 1 or tag.offset != 0
    return FLOAT if scaled or tag.type.startswith("float") else INTEGER


def _text(raw: bytes) -> str | None:
    """The text up to the first NUL without trailing blanks, None where it is not printable UTF-8."""
    try:
        text = raw.split(b"\0", 1)[0].decode("utf-8").rstrip()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None

"""Arrays of data values, decoded fast.

Replies to the same question mostly have the same layout: each record begins with the same two bytes (which fields
there are, which type the value has), and these tell its length. So the layout of the last reply is compared at those
bytes only, at the speed of C; where they agree, the columns are cut out of the reply whole. Where one byte differs,
every record is read again, strictly, one by one. Both ways give the same rows.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple

from .variants import FLOAT, NAN, NOTHING, NUMBERS, TOLD, WIDE, read_datavalue, row_of
from .wire import DecodeError, Reader

MIXED = 0xFF
"""In place of a form: the rows differ, a column tells."""


class Column(NamedTuple):
    """Where in a block a column stands: struct letter ("" where there is no such column), first byte, stride."""

    letter: str = ""
    first: int = 0
    stride: int = 0


class Block(NamedTuple):
    """``n`` rows in ``data``. Columns in the order of ``COLUMNS``; ``form`` of all numbers, or MIXED.

    ``exact`` values and ``reasons`` by row. Times are OPC UA's ticks, 0 where there is none.
    """

    n: int
    columns: tuple[Column, ...]
    data: bytes | memoryview
    form: int
    exact: dict[int, int | str]
    reasons: dict[int, str]


COLUMNS = ("handle", "value", "status", "source", "server", "form")


class Shape(NamedTuple):
    """How one record of fixed size lies: its struct, and which field is what (negative: none, a default)."""

    size: int
    layout: str
    fields: int
    value: int
    status: int
    source: int
    server: int
    form: int
    kind: int
    offsets: tuple[int, int, int, int]


_DEFAULTS = (NAN, 0, 0)
_NO_VALUE, _NO_STATUS, _NO_TIME = -3, -2, -1


@cache
def shape_of(mask: int, kind: int) -> Shape | None:
    """The shape of records that begin with ``mask`` and, where they have a value, ``kind``; None: not fixed."""
    if mask & 0xC0:
        return None
    layout, size, fields, form = "x", 1, 0, NOTHING
    value, status, source, server = _NO_VALUE, _NO_STATUS, _NO_TIME, _NO_TIME
    offsets = [-1, -1, -1, -1]
    if mask & 1:
        layout, size = "xx", 2
        if kind in NUMBERS:
            letter, form = NUMBERS[kind]
            value, offsets[0], fields = 0, size, 1
            layout += letter
            size += struct.calcsize("<" + letter)
        elif kind != 0:
            return None
    if mask & 2:
        status, offsets[1], fields = fields, size, fields + 1
        layout, size = layout + "I", size + 4
    if mask & 4:
        source, offsets[2], fields = fields, size, fields + 1
        layout, size = layout + "q", size + 8
    if mask & 16:
        layout, size = layout + "xx", size + 2
    if mask & 8:
        server, offsets[3], fields = fields, size, fields + 1
        layout, size = layout + "q", size + 8
    if mask & 32:
        layout, size = layout + "xx", size + 2
    return Shape(size, layout, fields, value, status, source, server, form, kind, tuple(offsets))  # type: ignore[arg-type]


@cache
def _record(mask: int, kind: int) -> tuple[Shape, struct.Struct] | None:
    shape = shape_of(mask, kind)
    return (shape, struct.Struct("<" + shape.layout)) if shape else None


class Decoder:
    """Decodes arrays of DataValue, or with ``handles`` of MonitoredItemNotification."""

    def __init__(self, *, handles: bool = False) -> None:
        self._prefix = 4 if handles else 0
        self._keys = b""
        self._fast: Callable[[Reader, int], Block | None] | None = None
        self.hits = 0

    def decode(self, reader: Reader) -> Block:
        """The rows of the array at ``reader``. Raises DecodeError."""
        n = reader.count(1 + self._prefix, charged=False)
        if self._fast:
            block = self._fast(reader, n)
            if block:
                self.hits += 1
                return block
            self._fast = None
        block, keys = self._slow(reader, n)
        if keys and keys == self._keys:
            self._fast = _compiled(keys, self._prefix)
        self._keys = keys
        return block

    def _slow(self, reader: Reader, n: int) -> tuple[Block, bytes]:
        """Record by record; and the first two bytes of each, or nothing where one is not of fixed size."""
        data, prefix = reader.data, self._prefix
        handles, values, status = array("I"), array("d"), array("I")
        source, server, forms = array("q"), array("q"), bytearray()
        exact: dict[int, int | str] = {}
        reasons: dict[int, str] = {}
        keys: list[bytes] = []
        fixed = True
        for row in range(n):
            if prefix:
                handles.append(reader.u32())
            at = reader.at
            if reader.end - at < 2:
                raise DecodeError(f"{n} data values claimed; the reply ends in number {row + 1}")
            record = _record(data[at], data[at + 1])
            if record and reader.end - at >= record[0].size:
                shape, form = record
                fields = form.unpack_from(data, at) + _DEFAULTS
                reader.at = at + shape.size
                number = fields[shape.value]
                values.append(number)
                forms.append(shape.form)
                status.append(fields[shape.status])
                source.append(fields[shape.source])
                server.append(fields[shape.server])
                if shape.kind in WIDE and number == number and abs(number) > 2**53:
                    exact[row] = number
                keys.append(data[at : at + 2] if data[at] & 1 else data[at : at + 1] + b"\xff")
                continue
            fixed = False
            found = read_datavalue(reader)
            number, what, whole, reason = row_of(found.value)
            values.append(number)
            forms.append(what)
            status.append(found.status)
            source.append(found.source)
            server.append(found.server)
            if whole is not None:
                exact[row] = whole
            if reason:
                reasons[row] = reason
        block = _block(n, handles, values, status, source, server, bytes(forms), exact, reasons)
        return block, b"".join(keys) if fixed else b""


def _block(
    n: int,
    handles: array[int],
    values: array[float],
    status: array[int] | None,
    source: array[int] | None,
    server: array[int] | None,
    forms: bytes,
    exact: dict[int, int | str],
    reasons: dict[int, str],
) -> Block:
    """Columns one after the other; those that say nothing are left out."""
    form = forms[0] if n and forms.count(forms[0]) == n and forms[0] != TOLD else MIXED if n else FLOAT
    parts: list[bytes] = []
    columns: list[Column] = []
    at = 0
    for letter, column in (
        ("I", handles), ("d", values), ("I", status), ("q", source), ("q", server),
        ("B", array("B", forms) if form == MIXED else None),
    ):  # fmt: skip
        if column is None or not len(column):
            columns.append(Column())
            continue
        columns.append(Column(letter, at, column.itemsize))
        parts.append(column.tobytes())
        at += len(parts[-1])
    return Block(n, tuple(columns), b"".join(parts), form, exact, reasons)


def _compiled(keys: bytes, prefix: int) -> Callable[[Reader, int], Block | None]:
    """What decodes a reply whose records begin with ``keys``, two bytes each, or gives None where it is another."""
    shapes = [shape_of(keys[at], keys[at + 1]) for at in range(0, len(keys), 2)]
    fixed = [shape for shape in shapes if shape]
    return _uniform(fixed[0], keys, prefix) if keys == keys[:2] * len(fixed) else _mixed(fixed, keys, prefix)


def _uniform(shape: Shape, keys: bytes, prefix: int) -> Callable[[Reader, int], Block | None]:
    """All records alike: nothing is taken apart here, the columns are strides through the reply."""
    n, stride = len(keys) // 2, shape.size + prefix
    masks, kinds = keys[::2], keys[1::2]
    letters = (NUMBERS[shape.kind][0].replace("?", "B") if shape.value >= 0 else "", "I", "q", "q")
    columns = (
        Column("I", 0, stride) if prefix else Column(),
        *(
            Column(letter, prefix + offset, stride) if offset >= 0 else Column()
            for letter, offset in zip(letters, shape.offsets, strict=True)
        ),
        Column(),
    )
    has_value = keys[0] & 1

    def fast(reader: Reader, asked: int) -> Block | None:
        data, at = reader.data, reader.at + prefix
        end = reader.at + n * stride
        if asked != n or end > reader.end or data[at:end:stride] != masks:
            return None
        if has_value and data[at + 1 : end : stride] != kinds:
            return None
        block = Block(n, columns, memoryview(data)[reader.at : end], shape.form, {}, {})
        reader.at = end
        return block

    return fast


def _mixed(shapes: list[Shape], keys: bytes, prefix: int) -> Callable[[Reader, int], Block | None]:
    """Records of several fixed sizes: one struct takes the whole reply apart."""
    n = len(shapes)
    whole = struct.Struct("<" + "".join(("I" if prefix else "") + shape.layout for shape in shapes))
    marks, places, starts = bytearray(), [], []
    at = field = 0
    for row, shape in enumerate(shapes):
        at += prefix
        marks.append(keys[2 * row])
        places.append(at)
        if keys[2 * row] & 1:
            marks.append(keys[2 * row + 1])
            places.append(at + 1)
        at += shape.size
        starts.append(field + (1 if prefix else 0))
        field += shape.fields + (1 if prefix else 0)
    expected = bytes(marks)
    # One more than needed: an itemgetter of one gives no tuple.
    at_places = itemgetter(*places, places[0])

    def getter(of: Callable[[Shape], int]) -> itemgetter[tuple[Any, ...]] | None:
        found = [of(shape) for shape in shapes]
        if all(index < 0 for index in found):
            return None
        indices = [start + index if index >= 0 else index for start, index in zip(starts, found, strict=True)]
        return itemgetter(*indices, _NO_TIME)

    handles = itemgetter(*(start - 1 for start in starts), _NO_TIME) if prefix else None
    columns = [getter(of) for of in (lambda s: s.value, lambda s: s.status, lambda s: s.source, lambda s: s.server)]
    forms = bytes(shape.form for shape in shapes)
    wide = [(row, start + shape.value) for row, (start, shape) in enumerate(zip(starts, shapes, strict=True))
            if shape.kind in WIDE and shape.value >= 0]  # fmt: skip

    def column(letter: str, found: itemgetter[tuple[Any, ...]] | None, fields: tuple[Any, ...]) -> array[Any]:
        return array(letter, found(fields)[:-1] if found else ())

    def fast(reader: Reader, asked: int) -> Block | None:
        if asked != n or reader.end - reader.at < whole.size:
            return None
        cut = reader.data[reader.at : reader.at + whole.size]
        if bytes(at_places(cut)[:-1]) != expected:
            return None
        reader.at += whole.size
        fields = whole.unpack(cut) + _DEFAULTS
        value, status, source, server = (
            column(letter, found, fields) for letter, found in zip("dIqq", columns, strict=True)
        )
        if not value:
            value = array("d", [NAN]) * n
        exact: dict[int, int | str] = {row: int(fields[index]) for row, index in wide if abs(fields[index]) > 2**53}
        return _block(n, column("I", handles, fields), value, status, source, server, forms, exact, {})

    return fast


def told_block(reasons: list[str], handles: array[int] | None = None) -> Block:
    """Rows without a value, each with its reason."""
    n = len(reasons)
    values = array("d", [NAN]) * n
    told = dict(enumerate(reasons))
    return _block(n, handles or array("I"), values, None, None, None, bytes([TOLD]) * n, {}, told)

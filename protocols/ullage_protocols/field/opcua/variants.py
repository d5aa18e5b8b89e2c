"""One Variant, read in full: slow and strict. What is no number, truth, text or list of texts is only named."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from .nodeids import read_name, read_nodeid
from .wire import MAX_DEPTH, DecodeError, Reader

FLOAT, INTEGER, TRUTH, NOTHING, TOLD = 0, 1, 2, 3, 4
"""What a row's number is: as in a Scan; no value at all; or what stands in ``exact`` or ``reasons``."""
MAX_VALUE_TEXT = 1024
"""The longest text value, in characters, that is taken as a value."""
NUMBERS = {
    1: ("?", TRUTH), 2: ("b", INTEGER), 3: ("B", INTEGER), 4: ("h", INTEGER), 5: ("H", INTEGER), 6: ("i", INTEGER),
    7: ("I", INTEGER), 8: ("q", INTEGER), 9: ("Q", INTEGER), 10: ("f", FLOAT), 11: ("d", FLOAT),
}  # fmt: skip
"""Built-in types that are one number or truth: struct letter and what the number is."""
WIDE = (8, 9)
"""Built-in types whose numbers a float64 may not carry."""
NAMES = (
    "Null", "Boolean", "SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64", "Float", "Double",
    "String", "DateTime", "Guid", "ByteString", "XmlElement", "NodeId", "ExpandedNodeId", "StatusCode",
    "QualifiedName", "LocalizedText", "ExtensionObject", "DataValue", "Variant", "DiagnosticInfo",
)  # fmt: skip
_STRING, _LOCALIZED, _VARIANT = 12, 21, 24
_SIZES = {kind: struct.calcsize("<" + letter) for kind, (letter, _) in NUMBERS.items()} | {13: 8, 14: 16, 19: 4}
_NUMBER = {kind: struct.Struct("<" + letter) for kind, (letter, _) in NUMBERS.items()}


class Other(NamedTuple):
    """A value of another kind, such as ``an array of 3 Double``; ``body`` of an extension object, with its type."""

    words: str
    type: int = 0
    body: bytes = b""


class Text(NamedTuple):
    """A String as it came: bytes, for none of it may be good text."""

    raw: bytes

    def __str__(self) -> str:
        return self.raw.decode("utf-8", "replace")


Scalar = float | int | bool | Text | Other | None
Found = Scalar | list[Text]


def read_variant(reader: Reader, depth: int = 0) -> Found:
    """A value as Scalar, or a list of texts. Raises DecodeError."""
    if depth > MAX_DEPTH:
        raise DecodeError(f"values nested deeper than {MAX_DEPTH}")
    mask = reader.u8()
    kind = mask & 0x3F
    if mask & 0x80:
        found = _array(reader, kind, depth)
        if mask & 0x40:
            reader.skip(4 * reader.count(4, charged=False))
        return found
    if mask & 0x40 or kind > 31:
        raise DecodeError(f"a variant of form {mask}")
    return _scalar(reader, kind, depth)


def _scalar(reader: Reader, kind: int, depth: int) -> Scalar:
    if kind == 0:
        return None
    if form := _NUMBER.get(kind):
        (number,) = form.unpack_from(reader.data, reader.skip(form.size))
        return number  # type: ignore[no-any-return]
    if kind == _STRING:
        return Text(reader.bytes_() or b"")
    if kind == 22:
        number, body = reader.extension()
        return Other("an ExtensionObject", number, body)
    if kind == _LOCALIZED:
        return Text(reader.localized().encode())
    _step(reader, kind, depth)
    return Other(_a(kind))


def _array(reader: Reader, kind: int, depth: int) -> Found:
    if kind == 0 or kind > 31:
        raise DecodeError(f"an array of built-in type {kind}")
    if size := _SIZES.get(kind):
        length = reader.count(size, charged=False)
        reader.skip(length * size)
    elif kind == _STRING:
        return [Text(reader.bytes_() or b"") for _ in range(reader.count(4))]
    else:
        length = reader.count()
        for _ in range(length):
            _step(reader, kind, depth)
    return Other(f"an array of {length} {NAMES[kind] if kind < len(NAMES) else 'unknown'}")


def _step(reader: Reader, kind: int, depth: int) -> None:
    """Steps over one scalar of variable size."""
    if size := _SIZES.get(kind):
        reader.skip(size)
        return
    steps: dict[int, Callable[[], object]] = {
        17: lambda: read_nodeid(reader),
        18: lambda: read_nodeid(reader),
        20: lambda: read_name(reader),
        21: reader.localized,
        22: reader.extension,
        23: lambda: read_datavalue(reader, depth + 1),
        24: lambda: read_variant(reader, depth + 1),
        25: lambda: reader.diagnostics(depth + 1),
    }
    steps.get(kind, reader.bytes_)()


def _a(kind: int) -> str:
    name = NAMES[kind] if kind < len(NAMES) else "value of an unknown type"
    return f"{'an' if name[0] in 'AEIO' else 'a'} {name}"


class DataValue(NamedTuple):
    """Times in OPC UA's ticks, 0 where there is none."""

    value: Found
    status: int
    source: int
    server: int


def read_datavalue(reader: Reader, depth: int = 0) -> DataValue:
    mask = reader.u8()
    if mask & 0xC0:
        raise DecodeError(f"a data value of form {mask}")
    value = read_variant(reader, depth) if mask & 1 else None
    status = reader.u32() if mask & 2 else 0
    source = reader.i64() if mask & 4 else 0
    if mask & 16:
        reader.skip(2)
    server = reader.i64() if mask & 8 else 0
    if mask & 32:
        reader.skip(2)
    return DataValue(value, status, source, server)


def row_of(value: Found) -> tuple[float, int, int | str | None, str]:
    """Number, form, exact value, and reason why it is none, of a value in a row of a scan."""
    if value is None:
        return NAN, NOTHING, None, ""
    if isinstance(value, bool):
        return float(value), TRUTH, None, ""
    if isinstance(value, int):
        return float(value), INTEGER, (value if abs(value) > 2**53 else None), ""
    if isinstance(value, float):
        return value, FLOAT, None, ""
    if isinstance(value, Text):
        try:
            text = value.raw.decode("utf-8")
        except UnicodeDecodeError:
            return NAN, TOLD, None, "text that is not UTF-8"
        if len(text) > MAX_VALUE_TEXT:
            return NAN, TOLD, None, f"text of {len(text)} characters, over {MAX_VALUE_TEXT}"
        return NAN, TOLD, text, ""
    words = f"an array of {len(value)} String" if isinstance(value, list) else value.words
    return NAN, TOLD, None, f"{words} where one number, truth or text is needed"


NAN = float("nan")

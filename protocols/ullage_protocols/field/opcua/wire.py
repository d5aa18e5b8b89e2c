"""OPC UA binary primitives. Bytes from a server are read with every length held against what is really there.

Nothing is allocated for a length that a peer merely claims; nested values are followed ``MAX_DEPTH`` deep, and one
message gives at most ``MAX_ELEMENTS`` elements of variable size, so that no reply costs more than a moment.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TypeVar

from ullage_protocols.field.errors import HostileError

T = TypeVar("T")
MAX_DEPTH = 12
MAX_ELEMENTS = 200_000
MAX_TEXT = 65_535
"""Longest name or text, in bytes, that is decoded outside a tag's value."""
EPOCH = 116_444_736_000_000_000
"""1970-01-01 in OPC UA's ticks of 100 ns since 1601."""
NO_STRING = b"\xff\xff\xff\xff"


class DecodeError(HostileError):
    """Bytes that are not the structure they claim to be."""


class Reader:
    """Reads ``data`` from ``at`` on. Every method raises DecodeError where the bytes do not suffice."""

    __slots__ = ("at", "data", "elements", "end")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at, self.end = data, at, len(data)
        self.elements = MAX_ELEMENTS

    def skip(self, count: int) -> int:
        """Steps over ``count`` bytes; gives where they began."""
        at = self.at
        if count < 0 or count > self.end - at:
            raise DecodeError(f"{count} bytes claimed at byte {at} of {self.end}")
        self.at = at + count
        return at

    def take(self, count: int) -> bytes:
        at = self.skip(count)
        return self.data[at : at + count]

    def u8(self) -> int:
        return self.data[self.skip(1)]

    def _number(self, form: struct.Struct) -> int:
        return int(form.unpack_from(self.data, self.skip(form.size))[0])

    def u16(self) -> int:
        return self._number(_U16)

    def u32(self) -> int:
        return self._number(_U32)

    def i32(self) -> int:
        return self._number(_I32)

    def i64(self) -> int:
        return self._number(_I64)

    def f64(self) -> float:
        return float(_F64.unpack_from(self.data, self.skip(8))[0])

    def bytes_(self, most: int = 1 << 30) -> bytes | None:
        """A ByteString of at most ``most`` bytes; None where it is null."""
        length = self.i32()
        if length < 0:
            return None
        if length > most:
            raise DecodeError(f"{length} bytes claimed where at most {most} are taken")
        return self.take(length)

    def text(self, most: int = MAX_TEXT) -> str:
        """A String; empty where it is null."""
        try:
            return (self.bytes_(most) or b"").decode("utf-8")
        except UnicodeDecodeError as exc:
            raise DecodeError(f"text that is not UTF-8 before byte {self.at}") from exc

    def count(self, smallest: int = 1, *, charged: bool = True) -> int:
        """The length of an array whose elements take at least ``smallest`` bytes each; 0 where it is null.

        ``charged``: the elements are read one by one, and so count towards ``MAX_ELEMENTS``.
        """
        length = max(self.i32(), 0)
        if length * smallest > self.end - self.at:
            raise DecodeError(f"an array of {length} elements in {self.end - self.at} bytes")
        self.elements -= length if charged else 0
        if self.elements < 0:
            raise DecodeError(f"more than {MAX_ELEMENTS} elements in one message")
        return length

    def array(self, element: Callable[[], T], smallest: int = 1) -> list[T]:
        return [element() for _ in range(self.count(smallest))]

    def localized(self) -> str:
        """A LocalizedText: its text."""
        mask = self.u8()
        if mask & 1:
            self.text()
        return self.text() if mask & 2 else ""

    def extension(self) -> tuple[int, bytes]:
        """An ExtensionObject: the number of its type in namespace 0 (else 0), and its body."""
        from .nodeids import read_nodeid

        kind = read_nodeid(self)
        encoding = self.u8()
        if encoding > 2:
            raise DecodeError(f"extension object with encoding {encoding}")
        body = (self.bytes_() or b"") if encoding else b""
        number = kind.key if kind.namespace == 0 and isinstance(kind.key, int) else 0
        return (number if encoding == 1 else 0), body

    def diagnostics(self, depth: int = 0) -> None:
        """Steps over a DiagnosticInfo."""
        if depth > MAX_DEPTH:
            raise DecodeError(f"diagnostics nested deeper than {MAX_DEPTH}")
        mask = self.u8()
        self.skip(4 * (mask & 15).bit_count())
        if mask & 16:
            self.text()
        if mask & 32:
            self.skip(4)
        if mask & 64:
            self.diagnostics(depth + 1)

    def done(self) -> None:
        """Raises where bytes are left over: a structure that is longer than it should be is another one."""
        if self.at != self.end:
            raise DecodeError(f"{self.end - self.at} bytes more than the structure has")


def string(text: str | None) -> bytes:
    """A String; None is null."""
    return byte_string(None if text is None else text.encode())


def byte_string(data: bytes | None) -> bytes:
    """A ByteString; None is null."""
    return NO_STRING if data is None else len(data).to_bytes(4, "little") + data


def array(items: Sequence[bytes]) -> bytes:
    """An array of encoded elements."""
    return len(items).to_bytes(4, "little") + b"".join(items)


def ticks(seconds: float) -> int:
    """POSIX seconds as OPC UA's time."""
    return int(seconds * 1e7) + EPOCH


_U16, _U32, _I32 = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<i")
_I64, _F64 = struct.Struct("<q"), struct.Struct("<d")

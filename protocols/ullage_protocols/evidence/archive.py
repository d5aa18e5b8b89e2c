"""The bundle's container: a zip that any tool opens, of which exactly one form exists for given contents.

Members are stored (never compressed), sorted by name, lie end to end and carry fixed times and attributes, with
no extra field and no comment. So every byte outside the contents is known beforehand, and a change in one is found.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from ..errors import WireError

MAX_ARCHIVE = 512 * 1024 * 1024
MAX_MEMBERS = 10_000
MAX_LOCATE = 4 * 1024 * 1024
"""Largest member, in bytes, in which a single changed byte is searched for."""

_LOCAL = struct.Struct("<4s5H3L2H")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_VERSION, _MADE_BY, _DATE, _FILE_MODE = 20, 0x0314, 0x0021, 0o100644 << 16
_NAME = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
_LOCAL_CRC, _ENTRY_CRC = 14, 16


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside the archive: its content lies at ``start``, ``size`` bytes long."""

    name: str
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the members lie. ``broken`` is the byte after which nothing more could be read, and ``why``."""

    members: tuple[Member, ...]
    broken: int | None = None
    why: str = ""


def check_name(name: str) -> str:
    """``name`` if it is safe on every system; WireError otherwise."""
    if len(name) > 120 or not _NAME.fullmatch(name) or any(not part.strip(".") for part in name.split("/")):
        raise WireError(f"member name {name[:120]!r} is not allowed; use A-Z a-z 0-9 . _ - in relative paths")
    return name


def pack(files: Mapping[str, bytes]) -> bytes:
    """The one archive that holds ``files``. WireError on a bad name or more than fits."""
    if len(files) > MAX_MEMBERS or len({name.lower() for name in files}) != len(files):
        raise WireError(f"a bundle holds at most {MAX_MEMBERS} members, no two alike but for case")
    bodies, entries, position = [], [], 0
    for name in sorted(map(check_name, files)):
        content = files[name]
        head, crc = _local(name, len(content), zlib.crc32(content)), zlib.crc32(content)
        bodies += [head, content]
        entries.append(_entry(name, len(content), crc, position))
        position += len(head) + len(content)
        if position > MAX_ARCHIVE:
            raise WireError(f"the bundle is larger than {MAX_ARCHIVE} bytes at {name}; export a shorter window")
    directory = b"".join(entries)
    return b"".join([*bodies, directory, _end(len(entries), len(directory), position)])


def layouts(raw: bytes, *, limit: int = MAX_ARCHIVE) -> list[Layout]:
    """The readings of the archive, by its directory and by its headers; one where both agree.

    Raises WireError where neither finds a member: then it is no bundle, or outside the limits.
    """
    if len(raw) > limit:
        raise WireError(f"the file of {len(raw)} bytes is larger than the {limit} allowed")
    listed, walked = _read_directory(raw), _read_headers(raw)
    if not listed and not walked.members:
        raise WireError(f"not an evidence bundle: {walked.why or 'it is empty'} (byte {walked.broken})")
    if listed == walked.members or not listed:
        return [walked]
    return [Layout(listed), walked] if walked.broken is None else [Layout(listed)]


def deviations(raw: bytes, members: tuple[Member, ...]) -> Iterator[tuple[int, str, str]]:
    """Where the bytes outside the contents differ from the canonical archive: byte, member or "", reason.

    A content that does not fit its checksum is told at the checksum's byte, with the reason CHECKSUM.
    """
    for one, other in pairwise(members):
        if one.name >= other.name:
            yield one.end, other.name, f"stands after {one.name}, but members are sorted by name"
    position, listed = 0, members[-1].end if members else 0
    entries: list[tuple[int, str, bytes]] = []
    for member in members:
        crc = zlib.crc32(memoryview(raw)[member.start : member.end])
        noted = noted_checksum(raw, member)
        if crc not in (noted, _number(raw, listed + _ENTRY_CRC)):
            yield position + _LOCAL_CRC, member.name, CHECKSUM
            crc = noted
        at = _difference(raw, position, _local(member.name, member.size, crc))
        if at is not None:
            yield at, member.name, "the header is not in canonical form"
        entry = _entry(member.name, member.size, crc, position)
        entries.append((listed, member.name, entry))
        listed, position = listed + len(entry), member.end
    size = sum(len(entry) for _, _, entry in entries)
    entries.append((listed, "", _end(len(members), size, position)))
    for place, name, expected in entries:
        at = _difference(raw, place, expected)
        if at is not None:
            yield at, name, f"the {'directory' if name else 'end record'} is not in canonical form"
            if len(raw) != listed + _END.size:
                break  # bytes came or went: whatever follows is shifted and would only repeat this
    if len(raw) > listed + _END.size:
        yield listed + _END.size, "", f"{len(raw) - listed - _END.size} bytes follow the end of the archive"


def noted_checksum(raw: bytes, member: Member) -> int:
    """The CRC-32 that the member's own header holds."""
    return _number(raw, member.start - len(member.name) - _LOCAL.size + _LOCAL_CRC)


def locate_change(content: bytes, crc: int) -> tuple[int, int] | None:
    """The offset and the former value of the one byte whose change explains that ``content`` misses ``crc``.

    None where no single byte does. CRC-32 is linear: the difference of two checksums depends only on which
    bits differ and how far they lie from the end, so it is stepped back until it is that of one byte.
    """
    state = zlib.crc32(content) ^ crc
    if not state:
        return None
    for offset in range(len(content) - 1, -1, -1):
        if state in _OF_BYTE:
            return offset, content[offset] ^ _OF_BYTE[state]
        index = _BY_TOP[state >> 24]
        state = ((state ^ _TABLE[index]) << 8 | index) & 0xFFFFFFFF
    return None


CHECKSUM = "the content does not fit its checksum"
_TABLE = [zlib.crc32(bytes([index])) ^ zlib.crc32(b"\0") for index in range(256)]
_BY_TOP = {value >> 24: index for index, value in enumerate(_TABLE)}
_OF_BYTE = {value: index for index, value in enumerate(_TABLE) if index}


def _local(name: str, size: int, crc: int) -> bytes:
    return _LOCAL.pack(b"PK\3\4", _VERSION, 0, 0, 0, _DATE, crc, size, size, len(name), 0) + name.encode()


def _entry(name: str, size: int, crc: int, position: int) -> bytes:
    fields = (_MADE_BY, _VERSION, 0, 0, 0, _DATE, crc, size, size, len(name), 0, 0, 0, 0, _FILE_MODE, position)
    return _ENTRY.pack(b"PK\1\2", *fields) + name.encode()


def _end(count: int, size: int, position: int) -> bytes:
    return _END.pack(b"PK\5\6", 0, 0, count, count, size, position, 0)


def _number(raw: bytes, at: int) -> int:
    return int.from_bytes(raw[at : at + 4], "little")


def _difference(raw: bytes, at: int, expected: bytes) -> int | None:
    found = raw[at : at + len(expected)]
    if found == expected:
        return None
    pairs = enumerate(zip(found, expected, strict=False))
    return at + next((index for index, (one, other) in pairs if one != other), len(found))


def _read_directory(raw: bytes) -> tuple[Member, ...]:
    """The members that the directory lists, laid end to end; none where it cannot be followed."""
    at = len(raw) - _END.size
    if at < 0 or raw[at : at + 4] != b"PK\5\6":
        return ()
    count, size, place = _END.unpack_from(raw, at)[4:7]
    if place + size != at or count > MAX_MEMBERS:
        return ()
    members: list[Member] = []
    seen: set[str] = set()
    position, start = 0, place
    while place + _ENTRY.size <= at and len(members) < count:
        fields = _ENTRY.unpack_from(raw, place)
        member = _member(raw, place + _ENTRY.size, fields[10], position, fields[9], seen)
        if member is None:
            return ()
        members.append(member)
        place, position = place + _ENTRY.size + fields[10], member.end
    return tuple(members) if (place, position) == (at, start) else ()


def _read_headers(raw: bytes) -> Layout:
    """The members as they follow one another from the first byte on, as far as that goes."""
    members: list[Member] = []
    seen: set[str] = set()
    position = 0
    while raw[position : position + 4] == b"PK\3\4" and position + _LOCAL.size <= len(raw):
        fields = _LOCAL.unpack_from(raw, position)
        member = _member(raw, position + _LOCAL.size, fields[9], position, fields[8], seen)
        why = "this member's header is malformed, or its name not allowed"
        if fields[3]:
            why = "a member is compressed; a bundle stores its members plainly"
        elif member is not None and member.end > len(raw):
            why = f"the file ends inside {member.name}"
        elif member is not None and len(members) < MAX_MEMBERS:
            members.append(member)
            position = member.end
            continue
        return Layout(tuple(members), position, why)
    whole = raw[position : position + 4] == b"PK\1\2"
    return Layout(tuple(members)) if whole else Layout(tuple(members), position, "neither a member nor the directory")


def _member(raw: bytes, at: int, length: int, position: int, size: int, seen: set[str]) -> Member | None:
    try:
        name = check_name(raw[at : at + min(length, 200)].decode("ascii"))
    except (UnicodeDecodeError, WireError):
        return None
    if name.lower() in seen or len(name) != length:
        return None
    seen.add(name.lower())
    return Member(name, position + _LOCAL.size + length, size)

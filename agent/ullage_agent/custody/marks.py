"""The high-water mark: the last sequence and its hash, in a tiny file beside the outbox.

It is written (and synced) after each commit and before anything of that commit is published. So even when the
database is lost, the sequence goes on after the last record that anyone may have seen, and never back.
Two slots are overwritten in turn, in place: a torn write leaves the other one, and a full disk does not matter.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

_SLOT = 512


@dataclass(frozen=True, slots=True)
class Mark:
    """``sequence`` and ``head`` of the last sealed record (0 and empty: none), of which agent."""

    agent: str
    sequence: int
    head: str


class MarkFile:
    """The file with the mark. OSError from ``write`` when the disk does not take it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = 0

    def read(self) -> Mark | None:
        """The newest whole mark, or None where there is none."""
        try:
            raw = self._path.read_bytes()
        except OSError:
            return None
        found = [(_parse(raw[start : start + _SLOT]), slot) for slot, start in enumerate((0, _SLOT))]
        whole = [(mark, slot) for mark, slot in found if mark is not None]
        if not whole:
            return None
        mark, slot = max(whole, key=lambda pair: pair[0].sequence)
        self._next = 1 - slot
        return mark

    def write(self, mark: Mark) -> None:
        body = json.dumps({"agent": mark.agent, "sequence": mark.sequence, "head": mark.head}).encode()
        line = b"%08x %s" % (zlib.crc32(body), body)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_size < 2 * _SLOT:
                os.pwrite(fd, b"\n" * (2 * _SLOT), 0)
            os.pwrite(fd, line.ljust(_SLOT - 1) + b"\n", self._next * _SLOT)
            os.fsync(fd)
        finally:
            os.close(fd)
        self._next = 1 - self._next


def _parse(slot: bytes) -> Mark | None:
    check, _, body = slot.strip().partition(b" ")
    try:
        if int(check, 16) != zlib.crc32(body):
            return None
        fields = json.loads(body)
        mark = Mark(str(fields["agent"]), int(fields["sequence"]), str(fields["head"]))
    except (ValueError, KeyError, TypeError):
        return None
    return mark if mark.sequence >= 0 and len(mark.head) in (0, 64) else None

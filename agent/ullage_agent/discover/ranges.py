"""Which registers can be read at all, found with few requests. Pure: it says what to ask and is told the answer.

Devices refuse a request that touches an address they do not have. From every readable place the range around it is felt
out, twice as far each time and then by halves; beyond its end the next one is looked for, in steps that widen. Places
where devices often begin are tried besides. A range that is narrower than the steps where it lies can be missed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator
from typing import NamedTuple

STARTS = (0, 1, 100, 256, 512, 1000, 2000, 3000, 4000, 5000, 8192, 10000, 20000, 30000, 40000, 50000)
_DISTANCES: tuple[int, ...] = (
    *range(1, 5),
    *range(6, 33, 2),
    *range(36, 65, 4),
    *range(72, 129, 8),
    *range(144, 257, 16),
)
"""From the end of a range to where the next one is looked for."""
_FIRST = 4
LAST = 0x10000
MOST = 5000
"""Registers (bits) after which a range is taken for granted: some devices answer at every address."""


class Range(NamedTuple):
    """Addresses from ``start`` to before ``end``."""

    start: int
    end: int


Asking = Generator[tuple[int, int], bool, None]
"""Gives address and count, and is sent whether the device answered with values."""


class Search:
    """``found`` grows while ``run`` is answered, which may be stopped at any time. ``chunk`` is a request's most."""

    def __init__(self, chunk: int, most: int = MOST) -> None:
        self.found: list[Range] = []
        self._chunk, self._most = chunk, most
        self._read = 0

    @property
    def enough(self) -> bool:
        """Whether it ended before the end of the table, because so much could be read."""
        return self._read >= self._most

    def run(self) -> Asking:
        """All questions of one table."""
        first = yield from self._next(-1)
        yield from self._islands(first)
        for start in STARTS:
            if not self.enough and not self._knows(start) and (yield start, 1):
                yield from self._islands(start)

    def _islands(self, at: int) -> Asking:
        """The range around ``at``, which can be read (-1: none), and those that follow it."""
        while at >= 0:
            start = yield from self._down(at)
            end = yield from self._up(at + 1)
            self._note(Range(start, end))
            at = yield from self._next(end)

    def _next(self, end: int) -> Generator[tuple[int, int], bool, int]:
        """A place not far beyond ``end`` that can be read, -1 where there is none or it is known already."""
        for distance in _DISTANCES:
            at = end + distance
            if at >= LAST or self.enough or self._knows(at):
                break
            if (yield at, 1):
                return at
        return -1

    def _up(self, end: int) -> Generator[tuple[int, int], bool, int]:
        """The first address from ``end`` on that cannot be read."""
        size = _FIRST
        while end < LAST and not self.enough:
            size = min(size, self._chunk, LAST - end)
            if (yield end, size):
                end, size = end + size, size * 2
                self._read += size // 2
                continue
            beyond = end + size
            while beyond - end > 1:
                size = (beyond - end) // 2
                if (yield end, size):
                    end += size
                    self._read += size
                else:
                    beyond = end + size
            break
        return end

    def _down(self, start: int) -> Generator[tuple[int, int], bool, int]:
        """The first address of what can be read down from ``start``."""
        size, low = _FIRST, max((known.end for known in self.found if known.end <= start), default=0)
        while start > low and not self.enough:
            size = min(size, self._chunk, start - low)
            if (yield start - size, size):
                start, size = start - size, size * 2
                self._read += size // 2
                continue
            below = start - size
            while start - below > 1:
                size = (start - below) // 2
                if (yield start - size, size):
                    start -= size
                    self._read += size
                else:
                    below = start - size
            break
        return start

    def _knows(self, address: int) -> bool:
        at = bisect_right(self.found, Range(address, LAST + 1))
        return at > 0 and self.found[at - 1].end > address

    def _note(self, new: Range) -> None:
        merged: list[Range] = []
        for one in sorted([*self.found, new]):
            if merged and one.start <= merged[-1].end:
                merged[-1] = Range(merged[-1].start, max(merged[-1].end, one.end))
            else:
                merged.append(one)
        self.found = merged

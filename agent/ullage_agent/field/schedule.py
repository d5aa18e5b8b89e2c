"""When which group of a device's tags is due. Pure; the time is an argument, in seconds of any steady clock."""

from __future__ import annotations

from collections.abc import Sequence


class Schedule:
    """Fixed rates without drift: a slot that was missed is left out, never made up in a burst.

    >>> schedule = Schedule([1.0, 0.4], start=100.0)
    >>> [schedule.next() for _ in range(2)]
    [(0, 100.0), (0, 100.0)]
    >>> schedule.done(0, 100.1), schedule.done(1, 100.2), schedule.next()
    (0, 0, (1, 100.4))
    >>> schedule.done(1, 101.3), schedule.next()
    (2, (0, 101.0))
    """

    def __init__(self, scans: Sequence[float], start: float) -> None:
        """``scans``: seconds between two reads of each group; all are due at ``start``."""
        self._scans, self._start = tuple(scans), start
        self._slots = [0] * len(self._scans)
        self._due = [start] * len(self._scans)

    def next(self) -> tuple[int, float]:
        """The group that is due first, and when."""
        due = self._due
        if len(due) == 1:
            return 0, due[0]
        first = min(range(len(due)), key=due.__getitem__)
        return first, due[first]

    def done(self, group: int, now: float) -> int:
        """``group`` was read, the read ending ``now``; how many of its slots were missed."""
        scan, before = self._scans[group], self._slots[group]
        slot = max(before + 1, int((now - self._start) / scan) + 1)
        self._slots[group] = slot
        self._due[group] = self._start + slot * scan
        return slot - before - 1

    def resume(self, now: float) -> None:
        """The device came back: every group is read at once, then in its own slots again."""
        for group, scan in enumerate(self._scans):
            self._due[group] = now
            self._slots[group] = max(self._slots[group], int((now - self._start) / scan))

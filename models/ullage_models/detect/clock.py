"""Rows in time: which row follows which, where data are missing, and what a clock that jumps does to them."""

from __future__ import annotations

import enum
from datetime import datetime, timedelta

RESYNC_ROWS = 3


class Step(enum.StrEnum):
    """What a row's time says: ``next`` follows, ``gap`` follows after missing rows, ``first`` opens a stretch,
    ``duplicate`` repeats the time before, ``back`` lies before it, ``resync`` accepts a clock that was set back."""

    FIRST = "first"
    NEXT = "next"
    GAP = "gap"
    DUPLICATE = "duplicate"
    BACK = "back"
    RESYNC = "resync"


FOLLOWS = frozenset({Step.FIRST, Step.NEXT, Step.GAP, Step.RESYNC})
"""Steps whose row may be judged."""

BREAKS = frozenset({Step.FIRST, Step.GAP, Step.RESYNC})
"""Steps after which earlier rows say nothing about this one."""


class RowClock:
    """Classifies each row's time against the rows before it.

    A clock that jumps back is not believed at once: one wrong row would otherwise make all later ones look
    late. After ``RESYNC_ROWS`` rows that follow each other on the earlier clock, it is.

    >>> from datetime import datetime, timedelta, timezone
    >>> clock, start = RowClock(longest_step=30.0), datetime(2026, 1, 1, tzinfo=timezone.utc)
    >>> [str(clock.step(start + timedelta(seconds=s))) for s in (0, 10, 10, 20, 90, 30, 40, 50, 60)]
    ['first', 'next', 'duplicate', 'next', 'gap', 'back', 'back', 'resync', 'next']
    """

    def __init__(self, longest_step: float) -> None:
        """``longest_step``: seconds between rows beyond which rows are missing."""
        self._longest = timedelta(seconds=longest_step) if longest_step < 1e9 else timedelta.max
        self._last: datetime | None = None
        self._late: datetime | None = None
        self._late_rows = 0

    def step(self, time: datetime) -> Step:
        """Classify the next row's time (timezone-aware)."""
        if self._last is None:
            self._last = time
            return Step.FIRST
        if time > self._last:
            step = Step.GAP if time - self._last > self._longest else Step.NEXT
            self._last, self._late, self._late_rows = time, None, 0
            return step
        if time == self._last:
            return Step.DUPLICATE
        follows = self._late is not None and time > self._late
        self._late_rows = self._late_rows + 1 if follows else 1
        self._late = time
        if self._late_rows < RESYNC_ROWS:
            return Step.BACK
        self._last, self._late, self._late_rows = time, None, 0
        return Step.RESYNC

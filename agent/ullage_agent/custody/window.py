"""The publisher's sliding window: which records to hand to the broker now. Pure; time is an argument.

    base      the last receipted record; all beyond it is held in the outbox
    next      the record to hand over next: base < next <= base + size + 1
    deadline  when, without a receipt, sending starts again from base + 1

A handed-over record is only on its way: the broker may lose it. So there is one rule of recovery for everything
(lost record, lost receipt, restarted broker, silent refusal): when ``timeout`` passes without progress, go back to
the first unreceipted record. Each time in vain doubles the timeout, up to ``cap``; a receipt restores it. A request
to resend goes back at once, but not more often than every quarter of a timeout.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """``size`` records on their way at most; ``timeout`` and ``cap`` in seconds."""

    size: int = 500
    timeout: float = 2.0
    cap: float = 30.0


class Window:
    """Starts with everything after ``base`` unsent. ``now`` is any clock that never goes back, in seconds."""

    def __init__(self, base: int, pace: Pace = Pace()) -> None:
        self._pace = pace
        self._base, self._next = base, base + 1
        self._timeout = pace.timeout
        self._deadline: float | None = None
        self._resent: float | None = None

    @property
    def base(self) -> int:
        return self._base

    @property
    def on_the_way(self) -> int:
        """Records handed over and not receipted."""
        return self._next - 1 - self._base

    def due(self, now: float, last: int) -> tuple[int, int]:
        """After which sequence to send, and how many, when ``last`` is the last sealed; (n, 0) for nothing."""
        if self._deadline is not None and now >= self._deadline:
            self._timeout = min(self._timeout * 2, self._pace.cap)
            self._rewind(self._base + 1, now)
        room = self._base + self._pace.size - (self._next - 1)
        return self._next - 1, max(0, min(room, last - (self._next - 1)))

    def sent(self, through: int, now: float) -> None:
        """The broker took every record through ``through``."""
        if through < self._next or through > self._base + self._pace.size:
            return
        self._next = through + 1
        if self._deadline is None:
            self._deadline = now + self._timeout

    def receipt(self, through: int, now: float) -> bool:
        """A receipt covers through ``through``; True when that is progress."""
        if through <= self._base:
            return False
        self._base, self._next = through, max(self._next, through + 1)
        self._timeout = self._pace.timeout
        self._deadline = now + self._timeout if self.on_the_way else None
        return True

    def resend(self, start: int, now: float) -> bool:
        """The scorer asks for everything from ``start`` on; True when the window goes back for it."""
        if not self._base < start < self._next:
            return False
        if self._resent is not None and now < self._resent + self._pace.timeout / 4:
            return False
        self._resent = now
        self._rewind(start, now)
        return True

    def lost(self) -> None:
        """The connection is gone and with it all that was on its way."""
        self._next = self._base + 1
        self._deadline = None

    def wake(self) -> float | None:
        """When to ask ``due`` again without being told of anything; None: not by time alone."""
        return self._deadline

    def _rewind(self, start: int, now: float) -> None:
        self._next = start
        self._deadline = now + self._timeout if self.on_the_way else None

"""The gateway's time: it never goes back, whatever is done to the wall clock.

Time runs with the monotonic clock from where the wall clock stood. When the wall clock is found ahead, its time
is taken at once (a gateway without a battery starts in the past). When it is found behind, time goes on forward,
slower by ``SLEW``, until the wall clock has caught up. Steps beyond ``TOLD`` seconds are told once, in ``notes``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

SLEW = 0.0005
"""How much slower time runs while it waits for a wall clock that was set back (500 parts in a million)."""
TOLD = 1.0


class Clock:
    """``now`` gives aware UTC, never before ``floor`` and never back; ``monotonic`` seconds since any moment."""

    def __init__(
        self,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        floor: datetime | None = None,
    ) -> None:
        self._wall, self._steady = wall, steady
        self._lock = threading.Lock()
        self._last = steady()
        self.started = self._last
        self._time = wall()
        self._notes: list[str] = []
        self._behind_told = False
        if floor is not None:
            self.not_before(floor)

    def not_before(self, floor: datetime) -> None:
        """From now on no time before ``floor`` (the last time that was sealed) is given."""
        with self._lock:
            if self._time < floor.timestamp():
                back = floor.timestamp() - self._time
                if back > TOLD:
                    self._note(f"the clock stands {back:.0f} s before the last sealed record; time goes on from there")
                    self._behind_told = True
                self._time = floor.timestamp()

    def monotonic(self) -> float:
        return self._steady()

    def now(self) -> datetime:
        with self._lock:
            steady, wall = self._steady(), self._wall()
            ran = max(0.0, steady - self._last)
            self._last = steady
            # A whole microsecond at least, so that two moments are never equal.
            expected = self._time + max(ran, 1e-6)
            if wall >= expected:
                if wall - expected > TOLD:
                    self._note(f"the clock was set forward by {wall - expected:.0f} s")
                self._time, self._behind_told = wall, False
            else:
                if expected - wall > TOLD and not self._behind_told:
                    self._note(f"the clock was set back by {expected - wall:.0f} s; time goes on forward")
                    self._behind_told = True
                self._time += max(ran * (1 - SLEW), 1e-6)
            return datetime.fromtimestamp(self._time, UTC)

    def notes(self) -> tuple[str, ...]:
        """What was done to the clock since this was last asked."""
        with self._lock:
            found, self._notes = tuple(self._notes), []
            return found

    def _note(self, text: str) -> None:
        if len(self._notes) < 8:
            self._notes.append(text)

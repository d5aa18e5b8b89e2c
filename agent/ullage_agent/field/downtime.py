"""From a device that is lost to a sealed interval: told at once, closed when it answers steadily again. Pure.

    state | lost    answered, steady for ``patience`` or not
    ------+-------------------------------------------------
    up    | down*   up
    down  | down    back
    back  | down    up**  (once steady), else back

* opens the interval at the last good reading; ** closes it at the first reading of the steady stretch. So a device that
comes and goes is one interval, with the number of comings told, and not a flood of records.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from ullage_protocols import wire
from ullage_protocols.errors import WireError
from ullage_protocols.messages import Downtime

_LONGEST_REASON = 1000


class DowntimeMeter:
    """One device's downtime. ``kept`` is what ``persist`` gave an earlier run."""

    def __init__(self, device: str, patience: float, kept: str | None = None) -> None:
        self._device, self.patience = device, patience
        self._good: datetime | None = None
        self._open: Downtime | None = None
        self._back: datetime | None = None
        self._times = 0
        if kept:
            try:
                self._open = Downtime.from_json(json.loads(kept))
            except (ValueError, WireError):
                self._open = None

    @property
    def open(self) -> Downtime | None:
        """The interval that is open."""
        return self._open

    def saw(self, at: datetime) -> None:
        """A reading of a device that is up."""
        self._good = at

    def answered(self, at: datetime) -> list[Downtime]:
        """The device gave a reading."""
        self._good = at
        if self._open is None:
            return []
        self._back = self._back or at
        if at - self._back < timedelta(seconds=self.patience):
            return []
        came = f"; it came and went {self._times} times in between" if self._times else ""
        closed = Downtime(
            self._device, "close", self._open.start, max(self._open.start, self._back), self._open.cause,
            (self._open.reason + came)[:_LONGEST_REASON],
        )  # fmt: skip
        self._open, self._back, self._times = None, None, 0
        return [closed]

    def lost(self, at: datetime, cause: str, reason: str) -> list[Downtime]:
        """The device went away, or is still away."""
        if self._open is not None:
            if self._back is not None:
                self._back, self._times = None, self._times + 1
            return []
        self._open = Downtime(self._device, "open", self._good or at, None, cause, reason[:_LONGEST_REASON])
        return [self._open]

    def end(self, at: datetime, reason: str) -> list[Downtime]:
        """Nobody looks at the device any more: an open interval ends, and says why."""
        if self._open is None:
            return []
        told = f"{self._open.reason}; {reason}"[:_LONGEST_REASON]
        closed = Downtime(self._device, "close", self._open.start, max(self._open.start, at), self._open.cause, told)
        self._open = self._back = None
        return [closed]

    def persist(self) -> str:
        return "" if self._open is None else wire.encode(self._open.to_json()).decode()

"""How a device answers, with hysteresis. Pure; the time is an argument."""

from __future__ import annotations

from datetime import datetime

from ullage_protocols.field.scan import BAD, Scan
from ullage_protocols.messages import DeviceState

from ..config import DeviceConfig

_LONGEST_REASON = 500


class DeviceHealth:
    """Lost only after ``patience`` seconds without an answer; degraded while some of its tags are bad.

    ``scans``, ``rows`` and ``bad_rows`` count since the start, ``losses`` how often the device went away,
    ``reconnects`` how often it closed a connection that could be had back; ``trip`` is
    the time of the last read in seconds, ``missed`` how many scan intervals passed without a read because the one
    before took too long.
    """

    def __init__(self, device: DeviceConfig, now: datetime) -> None:
        self._device = device
        self._since: datetime | None = now
        self._never = True
        self._reason = "not reached yet"
        self._bad: dict[int | None, int] = {}
        self._held: dict[int, str] = {}
        self._good = self._all = 0
        self.scans = self.rows = self.bad_rows = self.losses = self.missed = self.reconnects = 0
        self.trip: float | None = None
        self.good_at: datetime | None = None

    def answered(self, group: int | None, scan: Scan, trip: float | None = None) -> None:
        """One scan of ``group``; None: a report of changes."""
        if self._since is not None or self._bad:
            self._since, self._never, self._reason = None, False, ""
        bad = scan.bad
        if group is None:
            self._changed(scan)
        elif bad:
            self._bad[group] = bad
            row = int((scan.quality == BAD).argmax())
            self._reason = _told(scan, row)
        elif group in self._bad:
            del self._bad[group]
        rows = len(scan)
        self._good += rows - bad
        self._all += rows
        self.scans += 1
        self.rows += rows
        self.bad_rows += bad
        self.trip = trip
        if bad < rows or not rows:
            self.good_at = scan.seen

    def _changed(self, scan: Scan) -> None:
        """A bad tag stays bad until the server reports another value of it."""
        for row, position in enumerate(scan.columns.positions):
            if scan.quality[row] == BAD:
                self._held[position] = _told(scan, row)
            else:
                self._held.pop(position, None)
        self._bad.pop(None, None)
        if self._held:
            self._bad[None] = len(self._held)
            self._reason = next(iter(self._held.values()))

    @property
    def degraded(self) -> bool:
        """Whether it answers, but with bad tags among its readings."""
        return bool(self._bad)

    def failed(self, now: datetime, reason: str) -> None:
        if self._since is None:
            self.losses += 1
        self._since = self._since or now
        self._reason = reason
        self._all += len(self._device.tags)
        self.trip = None

    def lost(self, now: datetime) -> bool:
        return self._since is not None and (now - self._since).total_seconds() > self._device.patience

    def state(self, now: datetime, *, reset: bool = False) -> DeviceState:
        """For the heartbeat; ``reset`` starts the observed share anew."""
        away = self._since is not None
        name = "lost" if away and (self._never or self.lost(now)) else "degraded" if away or self._bad else "good"
        share = self._good / self._all if self._all else 0.0
        if reset:
            self._good = self._all = 0
        return DeviceState(self._device.name, name, round(share, 6), self._reason[:_LONGEST_REASON])


def _told(scan: Scan, row: int) -> str:
    return f"{scan.columns.names[row]}: {scan.reasons.get(row, 'bad')}"

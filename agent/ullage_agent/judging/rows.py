"""Latest values, and the rows that detection judges. Pure; the time is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from ullage_protocols.field.scan import BAD, Scan

from ..config import Config, patience
from ..field.health import DeviceHealth

Floats = NDArray[np.float64]
Places = slice | NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """``values`` of the watched tags in configured order, NaN where there is none; ``missing`` says why a tag has none,
    once that has lasted."""

    time: datetime
    values: Floats
    missing: Mapping[str, str]

    @property
    def share(self) -> float:
        """The share (0-1) of tags with a value."""
        return float(np.count_nonzero(self.values == self.values)) / max(1, len(self.values))


class Rows:
    """Gathers scans; gives a row of the watched tags.

    A value older than its tag's patience is no value. A tag without one is told as missing only once it has
    been without for that long: one missed poll is no finding.
    """

    def __init__(self, config: Config, before: Rows | None = None, anew: frozenset[str] = frozenset()) -> None:
        """``before``: the rows of an earlier configuration, whose tags keep what is known of them, but for those of
        devices that start ``anew``."""
        tags = [(device, tag) for device in config.devices for tag in device.tags]
        self._index = {tag.name: at for at, (_, tag) in enumerate(tags)}
        self._names = [tag.name for _, tag in tags]
        self._device = [device.name for device, _ in tags]
        self._patience = np.array([patience(tag.scan or device.scan) for device, tag in tags])
        self._watched = np.array([at for at, (_, tag) in enumerate(tags) if tag.watch], np.intp)
        self._value = np.full(len(tags), np.nan)
        self._bad = np.ones(len(tags), bool)
        self._good = np.full(len(tags), -np.inf)
        self._why: dict[int, str] = {}
        self._first: float | None = None
        self._span: dict[str, slice] = {}
        self._places: dict[tuple[str, int], Places] = {}
        start = 0
        for device in config.devices:
            self._span[device.name] = slice(start, start + len(device.tags))
            start += len(device.tags)
        if before is not None:
            self._inherit(before, anew)

    def _inherit(self, before: Rows, anew: frozenset[str]) -> None:
        self._first = before._first
        for name, at in self._index.items():
            old = before._index.get(name)
            if old is not None and before._device[old] == self._device[at] and self._device[at] not in anew:
                self._value[at], self._bad[at], self._good[at] = before._value[old], before._bad[old], before._good[old]
                if old in before._why:
                    self._why[at] = before._why[old]

    def take(self, device: str, group: int | None, scan: Scan) -> None:
        """One scan of a group of ``device``; a report of changes (None) lets all else of it hold until then."""
        seen = scan.seen.timestamp()
        self._first = seen if self._first is None else self._first
        if group is None:
            span = self._span[device]
            np.copyto(self._good[span], seen, where=~self._bad[span])
        if not len(scan):
            return
        at = self._place(device, group, scan)
        self._value[at] = scan.values
        bad = scan.quality == BAD
        if not bad.any():
            self._good[at] = seen
            self._bad[at] = False
            return
        self._bad[at] = bad
        # Of a tag that stands in several rows the last one counts, as it does in the assignments above.
        where = np.arange(len(self._names))[at]
        self._good[where[~bad]] = seen
        self._why |= {int(where[row]): reason for row, reason in scan.reasons.items()}

    def lose(self, device: str, reason: str) -> None:
        """The device went away: no value of its tags holds any more."""
        span = self._span[device]
        self._bad[span] = True
        self._value[span] = np.nan
        self._why |= dict.fromkeys(range(span.start, span.stop), reason)

    def _place(self, device: str, group: int | None, scan: Scan) -> Places:
        key = None if group is None else (device, group)
        if key is not None and key in self._places:
            return self._places[key]
        positions, start = scan.columns.positions, self._span[device].start
        first, run = positions[0], positions == tuple(range(positions[0], positions[0] + len(positions)))
        place: Places = np.array(positions, np.intp) + start
        if run:
            place = slice(start + first, start + first + len(positions))
        if key is not None:
            self._places[key] = place
        return place

    def value(self, tag: str) -> float | None:
        """The latest value, however old; None where the last reading was bad or no number."""
        number = float(self._value[self._index[tag]])
        return number if number == number else None

    def fresh(self, tag: str, now: datetime) -> bool:
        at = self._index[tag]
        return bool(now.timestamp() - self._good[at] <= self._patience[at])

    def row(self, now: datetime, health: Mapping[str, DeviceHealth]) -> Row:
        at, moment = self._watched, now.timestamp()
        ages = moment - self._good[at]
        stale = ~(ages <= self._patience[at])
        values = np.where(stale | self._bad[at], np.nan, self._value[at])
        missing: dict[str, str] = {}
        if self._first is not None and stale.any():
            never = ~np.isfinite(ages)
            since = np.where(never, moment - self._first, ages)
            for place in at[stale & (since > self._patience[at])].tolist():
                missing[self._names[place]] = self._reason(place, now, health)
        return Row(now, values, missing)

    def _reason(self, place: int, now: datetime, health: Mapping[str, DeviceHealth]) -> str:
        state = health[self._device[place]].state(now)
        why = state.reason if state.state == "lost" else ""
        return why or (self._why.get(place, "") if self._bad[place] else "") or "no recent value"

"""What one line makes, cut into intervals that abut. Pure: time comes with each reading.

An interval's count is a difference of two readings; nothing is interpolated. It ends:

* when ``interval`` seconds have passed;
* at once when the running tag changes, midway between the two readings that saw it change, with what was made in
  between shared evenly; without such a tag, when the counter stands still much longer than its
  usual spacing (then at the last reading that moved), and when it moves again (then at the last that stood);
* where a blind stretch (no reading for more than ``patience`` seconds) starts and ends, so that what was seen and
  what was not are apart. The blind interval's count is exact all the same: counters go on counting unseen.

What was made is floored to whole units and the rest carried over, so the counts of all intervals sum to what the
counter did. ``persist`` is to be stored together with the sealed intervals; a meter restored from it goes on where the
last one ended, and what lies between is a blind stretch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ullage_protocols import wire
from ullage_protocols.messages import Production

from .counter import Pace, advance, energy_used

_MOST_NOTES = 6
_MOST_CUTS = 20
"""So often an interval is cut because the line stopped or started, before one must run its full length again."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of one line at ``time``; None: not read, or bad. ``sure`` is false for uncertain quality."""

    time: datetime
    count: float | None = None
    running: bool | None = None
    energy: float | None = None
    sure: bool = True


@dataclass(frozen=True, slots=True)
class LineConfig:
    """A line's meter: which roles it has, when it cuts (seconds), and where its counter rolls over."""

    name: str
    roles: frozenset[str]
    interval: float
    patience: float
    modulus: float | None = None

    @property
    def principal(self) -> str:
        """The role whose readings make the meter's time."""
        return next(role for role in ("count", "running", "energy") if role in self.roles)


@dataclass(slots=True)
class _Open:
    """The interval being gathered; ``count`` and ``energy`` are the readings at its start."""

    start: datetime
    count: float | None = None
    energy: float | None = None
    made: float = 0.0
    known: bool = True
    ran: float = 0.0
    seen: float = 0.0
    used: float = 0.0
    metered: bool = False
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Point:
    """An earlier reading, and what had been gathered by then."""

    time: datetime
    seen: float
    ran: float
    used: float
    energy: float | None


class Meter:
    """One line's meter. ``take``, ``tick`` and ``finish`` give the intervals that ended, in order."""

    def __init__(self, config: LineConfig, state: Mapping[str, Any] | None = None) -> None:
        self._config = config
        self._open: _Open | None = None
        self._last: datetime | None = None
        self._count: float | None = None
        self._energy: float | None = None
        self._running: bool | None = None
        self._running_time: datetime | None = None
        self._cut_due = False
        self._cuts = 0
        self._carry = 0.0
        self._pace = Pace()
        self._moving: bool | None = None
        self._move: _Point | None = None
        self._before: _Point | None = None
        self._spacing: float | None = None
        if state is not None:
            self._restore(state)

    @property
    def running(self) -> bool | None:
        """Whether the line runs, as far as is known."""
        return self._moving if "running" not in self._config.roles else self._running

    def take(self, reading: Reading, *, stretch: float = 1.0) -> list[Production]:
        """One reading. ``stretch`` lengthens the interval (an outbox that fills up), which is told in its note."""
        config = self._config
        if getattr(reading, config.principal) is None:
            self._note_running(reading, reading.time)
            self._meter_energy(reading)
            return []
        if self._open is None or self._last is None:
            self._begin(reading)
            return []
        time = max(reading.time, self._last)
        ended: list[Production] = []
        seconds = (time - self._last).total_seconds()
        blind = seconds > config.patience
        if blind:
            ended += self._seal(self._last)
            self._note(f"not seen for {seconds:.1f} s")
        moved = self._integrate(reading, seconds, blind)
        if "running" not in config.roles and "count" in config.roles:
            ended += self._movement(moved, time, blind)
        if not blind and self._flips(reading) and self._may_cut(stretch):
            ended += self._flip(moved, seconds, time)
        self._last, self._before = time, self._point(time)
        changed = self._note_running(reading, time)
        if changed and not ended and stretch == 1 and self._cuts < _MOST_CUTS:
            self._cut_due = True
        length = (time - self._open.start).total_seconds()
        if stretch > 1 and config.interval <= length < config.interval * stretch:
            self._note(f"interval lengthened up to {stretch:g} times: the outbox fills up")
        if length >= config.interval * stretch:
            self._cuts = 0
        if blind or self._cut_due or length >= config.interval * stretch:
            ended += self._seal(time)
        return ended

    def tick(self, now: datetime) -> list[Production]:
        """Time passes without a reading: what was seen before a blind stretch is sealed without waiting for its end."""
        if self._last is None or (now - self._last).total_seconds() <= self._config.patience:
            return []
        return self._seal(self._last)

    def finish(self) -> list[Production]:
        """The meter stops: the open interval ends with its last reading."""
        return [] if self._last is None else self._seal(self._last)

    def persist(self) -> wire.Json | None:
        """What a restored meter needs: the end of the last interval and the readings there."""
        if self._open is None:
            return None
        pace = self._pace
        return {
            "start": wire.format_time(self._open.start), "count": self._open.count, "energy": self._open.energy,
            "carry": self._carry, "moving": self._moving, "spacing": self._spacing,
            "pace": [pace.peak, pace.steady, pace.block, pace.made],
        }  # fmt: skip

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._last = wire.parse_time(state["start"])
        self._count, self._energy = state["count"], state["energy"]
        self._open = _Open(self._last, self._count, self._energy)
        self._carry, self._moving, self._spacing = float(state["carry"]), state["moving"], state["spacing"]
        self._pace = Pace(*(float(part) for part in state["pace"]))

    def _begin(self, reading: Reading) -> None:
        self._open = _Open(reading.time, reading.count, reading.energy)
        self._last = reading.time
        self._count, self._energy = reading.count, reading.energy
        self._note_running(reading, reading.time)

    def _integrate(self, reading: Reading, seconds: float, blind: bool) -> float:
        """Adds what happened since the last reading; gives the units made (0 where unknown)."""
        current = self._opened
        if not blind and reading.sure:
            current.seen += seconds
        if not blind and self._ran(reading):
            current.ran += seconds
        self._meter_energy(reading)
        if reading.count is None:
            return 0.0
        made: float | None = 0.0
        if self._count is not None:
            made, note = advance(
                self._count, reading.count, seconds, pace=self._pace, modulus=self._config.modulus, seen=not blind
            )
            self._note(note)
        self._count = reading.count
        if made is None:
            # The highest rate known did not fit; it is learned anew, so that a faster line is not misread for good.
            current.known, self._pace = False, Pace(self._pace.peak)
            return 0.0
        current.made += made
        self._pace = Pace(self._pace.peak, self._pace.steady) if blind else self._pace.plus(made, seconds)
        return made

    def _meter_energy(self, reading: Reading) -> None:
        """Energy may be read at another rate than the count."""
        if reading.energy is None:
            return
        if self._energy is not None and self._open is not None:
            used, note = energy_used(self._energy, reading.energy)
            self._open.used += used
            self._note(note)
            self._open.metered = True
        self._energy = reading.energy

    def _ran(self, reading: Reading) -> bool:
        if "running" in self._config.roles:
            known = self._running_time is not None and (
                (reading.time - self._running_time).total_seconds() <= self._config.patience
            )
            return bool(self._running) and known
        return bool(self._moving)

    def _note_running(self, reading: Reading, time: datetime) -> bool:
        """Takes the running state; True when it changed."""
        if reading.running is None:
            return False
        changed = self._running is not None and reading.running != self._running
        self._running, self._running_time = reading.running, time
        if changed and self._config.principal != "running" and reading.count is None and self._cuts < _MOST_CUTS:
            self._cuts += 1
            self._cut_due = True
        return changed

    def _may_cut(self, stretch: float) -> bool:
        """A line that stops and starts without end must not fill the ledger: then its intervals run their length, with
        what was made and the time that it ran still in them."""
        if stretch > 1 or self._cuts >= _MOST_CUTS:
            self._note("running changes too often for an interval each")
            return False
        self._cuts += 1
        return True

    def _starts(self, made_after: float) -> bool:
        """Whether the line runs after a split: by its running tag, which still has its old value, or by its counter."""
        return self._running is False if "running" in self._config.roles else made_after > 0

    def _flips(self, reading: Reading) -> bool:
        return reading.running is not None and self._running is not None and reading.running != self._running

    def _flip(self, made: float, seconds: float, time: datetime) -> list[Production]:
        """The line stopped or started somewhere between two readings: cut midway, where the error is least.

        What the counter made in between is shared evenly, in whole units: lines coast, and start before they say so.
        """
        current, half = self._opened, seconds / 2
        at = time - timedelta(seconds=half)
        if at <= current.start:
            return []
        stopped = bool(self._running)
        ran = current.ran - half if stopped else current.ran
        point = _Point(at, current.seen - half, ran, current.used, self._energy)
        return self._split(point, made - math.floor(made / 2), time)

    def _movement(self, made: float, time: datetime, blind: bool) -> list[Production]:
        """Start and stop of a line without a running tag, by its counter."""
        ended: list[Production] = []
        current = self._opened
        if made > 0:
            if self._moving is False and not blind and self._before and self._before.time > current.start:
                ended = self._split(self._before, made, time)
            elif self._move is not None and self._moving and not blind:
                gap = (time - self._move.time).total_seconds()
                self._spacing = gap if self._spacing is None else self._spacing + 0.2 * (gap - self._spacing)
            self._moving = True
        elif self._moving and self._move is not None:
            still = (time - self._move.time).total_seconds()
            if still > max(5 * (self._spacing or 0.0), self._config.patience):
                self._moving = False
                if self._move.time > current.start:
                    ended = self._split(self._move, 0.0, time)
        elif self._moving is None:
            self._moving = False
        if made > 0 or self._move is None:
            self._move = self._point(time)
        return ended

    def _point(self, time: datetime) -> _Point:
        current = self._opened
        return _Point(time, current.seen, current.ran, current.used, self._energy)

    def _split(self, at: _Point, made_after: float, time: datetime) -> list[Production]:
        """Ends the interval at an earlier reading; what came after it belongs to the next one."""
        current = self._opened
        after_seen = max(0.0, min(current.seen - at.seen, (time - at.time).total_seconds()))
        after_used = max(0.0, current.used - at.used)
        current.made -= made_after
        current.seen, current.ran, current.used = current.seen - after_seen, min(current.ran, at.ran), at.used
        count, energy = self._count, self._energy
        if made_after:
            self._count = None if self._count is None else self._count - made_after
            if self._config.modulus and self._count is not None and self._count < 0:
                self._count += self._config.modulus
        self._energy = at.energy
        ended = self._seal(at.time)
        self._count, self._energy = count, energy
        opened = self._opened
        opened.made, opened.seen, opened.used = made_after, after_seen, after_used
        opened.ran, opened.metered = after_seen if self._starts(made_after) else 0.0, energy is not None
        return ended

    def _seal(self, end: datetime) -> list[Production]:
        current = self._opened
        self._cut_due = False
        length = (end - current.start).total_seconds()
        if length <= 0:
            return []
        whole = math.floor(current.made + self._carry + 1e-6)
        counted = "count" in self._config.roles and current.known and self._count is not None
        if counted:
            self._carry = max(0.0, current.made + self._carry - whole)
        sealed = Production(
            line=self._config.name, start=current.start, end=end, count=whole if counted else None,
            running=round(min(current.ran, length), 6),
            energy=round(current.used, 9) if current.metered else None,
            observed=round(min(1.0, current.seen / length), 6), note="; ".join(current.notes),
        )  # fmt: skip
        self._open = _Open(end, self._count, self._energy)
        return [sealed]

    @property
    def _opened(self) -> _Open:
        assert self._open is not None  # noqa: S101 - for the type checker
        return self._open

    def _note(self, text: str) -> None:
        notes = self._opened.notes
        if text and text not in notes and len(notes) < _MOST_NOTES:
            notes.append(text)

"""When a line was out, by a rule that can be read.

* An outage starts at the start of the first judged interval whose rate lies below ``start_below`` of standard.
* It ends at the start of the first interval back at ``end_at`` of standard or more, once that has held for
  ``recovery_hold``; a relapse before that belongs to the same outage.
* In between every interval counts, with its sign: output above standard inside the outage makes good part of
  the shortage, and the shortage of a whole outage is never below zero. Make-up after its end is a fact of the
  claim, not of the outage.
* Blind time (no count, or seen for less than ``min_observed``) neither starts nor ends an outage. Inside one,
  a known count is used; an unknown one adds nothing to the shortage, and the most it could be is told apart.
* A hole between intervals is blind time. An interval that starts before the last one ended is refused and told.

``OutageWatch`` is the same rule one interval at a time: state and interval in, state and events out.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Self

from ..money import exact, number, plain, rounded
from .errors import ClaimError
from .production import HOUR, Interval, Standard, joined, remember, seconds, standard_output

ZERO = Decimal(0)
_UNIT_PLACES = 15
"""Decimals of a tally of units: absorbs the last digit where an interval is clipped, so that cuts change nothing."""


@dataclass(frozen=True, slots=True)
class OutageRule:
    """The figures of the rule, which stand in the policy. Shares are of standard output."""

    start_below: Decimal = Decimal("0.5")
    end_at: Decimal = Decimal("0.9")
    recovery_hold: timedelta = timedelta(seconds=2)
    window: timedelta = timedelta(hours=8)
    declared_rate: Decimal | None = None
    min_measured: timedelta = timedelta(seconds=30)
    min_observed: Decimal = Decimal("0.5")

    def __post_init__(self) -> None:
        if not 0 < self.start_below <= self.end_at <= 1:
            raise ClaimError(
                f"outage rule: start_below {self.start_below} and end_at {self.end_at} must satisfy "
                "0 < start_below <= end_at <= 1"
            )
        if not 0 < self.min_observed <= 1:
            raise ClaimError(f"outage rule: min_observed {self.min_observed} must lie above 0 and not above 1")
        if self.window <= timedelta(0) or min(self.recovery_hold, self.min_measured) < timedelta(0):
            raise ClaimError("outage rule: window must be above zero, recovery_hold and min_measured zero or more")
        if self.declared_rate is not None and not (self.declared_rate.is_finite() and self.declared_rate > 0):
            raise ClaimError(f"outage rule: declared_rate {self.declared_rate} units an hour must be above zero")

    def to_json(self) -> dict[str, Any]:
        return {
            "start_below": str(self.start_below), "end_at": str(self.end_at),
            "recovery_hold": str(seconds(self.recovery_hold)), "window": str(seconds(self.window)),
            "declared_rate": None if self.declared_rate is None else str(self.declared_rate),
            "min_measured": str(seconds(self.min_measured)), "min_observed": str(self.min_observed),
        }  # fmt: skip

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """From ``to_json``'s form; durations in seconds; an absent field has its default."""
        given: dict[str, Any] = {}
        for name, value in body.items():
            if name in ("recovery_hold", "window", "min_measured"):
                given[name] = span(value)
            elif name in ("start_below", "end_at", "min_observed"):
                given[name] = number(value)
            elif name == "declared_rate":
                given[name] = None if value is None else number(value)
            else:
                raise ClaimError(f"outage rule: field {name[:40]!r} is not known")
        return cls(**given)


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums over part of an outage: seconds in all, seconds whose count is known, units made, seconds seen."""

    seconds: Decimal = ZERO
    known_seconds: Decimal = ZERO
    made_units: Decimal = ZERO
    observed_seconds: Decimal = ZERO

    @exact
    def plus(self, interval: Interval | None) -> Tally:
        if interval is None:
            return self
        length = interval.length
        return Tally(
            self.seconds + length,
            self.known_seconds + (ZERO if interval.count is None else length),
            rounded(self.made_units + (interval.count or ZERO), _UNIT_PLACES),
            self.observed_seconds + interval.observed * length,
        )

    @exact
    def shortage(self, standard: Standard, *, at_most: bool = False) -> Decimal:
        """Units short, never below zero; ``at_most`` counts time without a known count as wholly lost."""
        length = self.seconds if at_most else self.known_seconds
        return max(ZERO, standard.units(length) - self.made_units)

    def to_json(self) -> dict[str, str]:
        return {name: plain(getattr(self, name)) for name in _TALLY}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        return cls(*(number(body[name]) for name in _TALLY))


_TALLY = ("seconds", "known_seconds", "made_units", "observed_seconds")


@dataclass(frozen=True, slots=True)
class Outage:
    """A stretch of output below standard. ``end`` is None while it lasts; ``through`` is how far it is known.

    ``whole`` tallies all of it inside the indemnity period, ``after_waiting`` the part after ``waiting_ends``.
    """

    start: datetime
    end: datetime | None
    through: datetime
    standard: Standard
    waiting_ends: datetime
    indemnity_ends: datetime | None
    whole: Tally
    after_waiting: Tally

    @property
    def standard_units(self) -> Decimal:
        return self.standard.units(self.whole.known_seconds)

    @property
    def made_units(self) -> Decimal:
        return self.whole.made_units

    @property
    def shortage(self) -> Decimal:
        """Units proven short in the whole outage."""
        return self.whole.shortage(self.standard)

    @property
    def shortage_after_waiting(self) -> Decimal:
        return self.after_waiting.shortage(self.standard)

    @property
    def shortage_at_most(self) -> Decimal:
        """Units short if nothing was made while nothing was known."""
        return self.whole.shortage(self.standard, at_most=True)

    @property
    def duration(self) -> timedelta:
        return (self.end or self.through) - self.start

    @property
    def waiting_over(self) -> bool:
        """The outage has lasted longer than the waiting period."""
        return self.through > self.waiting_ends

    @property
    @exact
    def observed(self) -> Decimal:
        """Share (0-1) of the outage that was seen."""
        return self.whole.observed_seconds / self.whole.seconds if self.whole.seconds else ZERO

    def plus(self, interval: Interval) -> Outage:
        stop = interval.end if self.indemnity_ends is None else self.indemnity_ends
        return replace(
            self,
            through=interval.end,
            whole=self.whole.plus(interval.part(self.start, stop)),
            after_waiting=self.after_waiting.plus(interval.part(self.waiting_ends, stop)),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "start": self.start.isoformat(), "end": _iso(self.end), "through": self.through.isoformat(),
            "standard": self.standard.to_json(), "waiting_ends": self.waiting_ends.isoformat(),
            "indemnity_ends": _iso(self.indemnity_ends), "whole": self.whole.to_json(),
            "after_waiting": self.after_waiting.to_json(),
        }  # fmt: skip

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        try:
            return cls(
                datetime.fromisoformat(body["start"]), _time(body["end"]), datetime.fromisoformat(body["through"]),
                Standard.from_json(body["standard"]), datetime.fromisoformat(body["waiting_ends"]),
                _time(body["indemnity_ends"]), Tally.from_json(body["whole"]),
                Tally.from_json(body["after_waiting"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as exc:
            raise ClaimError(f"a stored outage cannot be read ({exc!r}); rebuild it from the ledger") from exc


class Happened(enum.StrEnum):
    """What one more interval brought to light."""

    STARTED = "started"
    WAITING_ENDED = "waiting_ended"
    UPDATED = "updated"
    ENDED = "ended"
    GAP = "gap"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class OutageEvent:
    """``outage`` is as it stands after the event, None where there is none; ``note`` says what was decided."""

    kind: Happened
    at: datetime
    outage: Outage | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class OutageWatch:
    """Follows one line. Build it from the policy's rule and waiting period, then ``step`` every interval.

    ``given`` fixes the standard; otherwise it is measured by ``standard_output`` on the history before each
    interval, and the last one measured stands in while the history is too thin (after a long outage).
    """

    rule: OutageRule
    waiting: timedelta
    indemnity_period: timedelta | None = None
    given: Standard | None = None
    last_end: datetime | None = None
    standard: Standard | None = None
    outage: Outage | None = None
    history: tuple[Interval, ...] = ()
    recovering: tuple[Interval, ...] = ()

    def step(self, interval: Interval) -> tuple[OutageWatch, tuple[OutageEvent, ...]]:
        """The state after one more interval of the line, and what happened, in order."""
        if self.last_end is not None and interval.start < self.last_end:
            note = (
                f"production from {interval.start} to {interval.end} begins before {self.last_end}, where the last "
                "interval ended; it is not counted twice and was left out"
            )
            return self, (OutageEvent(Happened.REFUSED, interval.start, self.outage, note),)
        if self.last_end is None or interval.start == self.last_end:
            return self._take(interval)
        gap = Interval(self.last_end, interval.start, None, None, ZERO)
        note = f"no production is known from {gap.start} to {gap.end}; nothing is assumed for it"
        watch, first = self._take(gap)
        watch, then = watch._take(interval)
        return watch, (OutageEvent(Happened.GAP, gap.start, self.outage, note), *first, *then)

    def _take(self, interval: Interval) -> tuple[OutageWatch, tuple[OutageEvent, ...]]:
        watch = replace(self, last_end=interval.end)
        judged = interval.count is not None and interval.observed >= self.rule.min_observed
        if self.outage is None:
            standard = self.given or self._measured(interval.start) or self.standard
            watch = replace(watch, standard=standard)
            if standard is None or not judged or not _below(interval, standard, self.rule.start_below):
                return replace(watch, history=remember(self.history, interval, self.rule.window)), ()
            opened = self._open(interval.start, standard)
            return watch._extend(opened, (interval,), (OutageEvent(Happened.STARTED, interval.start, opened),))
        if not judged or _below(interval, self.outage.standard, self.rule.end_at):
            return replace(watch, recovering=())._extend(self.outage, (*self.recovering, interval), ())
        recovering = joined(self.recovering, interval)
        begin = recovering[0].start
        if interval.end - begin < self.rule.recovery_hold:
            return replace(watch, recovering=recovering), ()
        ended = replace(self.outage, end=begin)
        history = self.history
        for piece in recovering:
            history = remember(history, piece, self.rule.window)
        return (
            replace(watch, outage=None, recovering=(), history=history),
            (OutageEvent(Happened.ENDED, begin, ended),),
        )

    def _measured(self, before: datetime) -> Standard | None:
        rule = self.rule
        return standard_output(
            self.history, before, rule.window, declared_rate=rule.declared_rate, min_measured=rule.min_measured,
            min_observed=rule.min_observed,
        )  # fmt: skip

    def _open(self, start: datetime, standard: Standard) -> Outage:
        ends = None if self.indemnity_period is None else start + self.indemnity_period
        return Outage(start, None, start, standard, start + self.waiting, ends, Tally(), Tally())

    def _extend(
        self, outage: Outage, intervals: Iterable[Interval], before: tuple[OutageEvent, ...]
    ) -> tuple[OutageWatch, tuple[OutageEvent, ...]]:
        was_over = outage.waiting_over
        for interval in intervals:
            outage = outage.plus(interval)
        events = [*before]
        if outage.waiting_over and not was_over:
            events.append(OutageEvent(Happened.WAITING_ENDED, outage.waiting_ends, outage))
        events.append(OutageEvent(Happened.UPDATED, outage.through, outage))
        return replace(self, outage=outage), tuple(events)

    def to_json(self) -> dict[str, Any]:
        """All state as JSON; ``from_json`` gives an equal watch."""
        return {
            "rule": self.rule.to_json(), "waiting": str(seconds(self.waiting)),
            "indemnity_period": None if self.indemnity_period is None else str(seconds(self.indemnity_period)),
            "given": None if self.given is None else self.given.to_json(), "last_end": _iso(self.last_end),
            "standard": None if self.standard is None else self.standard.to_json(),
            "outage": None if self.outage is None else self.outage.to_json(),
            "history": [i.to_json() for i in self.history], "recovering": [i.to_json() for i in self.recovering],
        }  # fmt: skip

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        try:
            return cls(
                OutageRule.from_json(body["rule"]), span(body["waiting"]),
                None if body["indemnity_period"] is None else span(body["indemnity_period"]),
                None if body["given"] is None else Standard.from_json(body["given"]), _time(body["last_end"]),
                None if body["standard"] is None else Standard.from_json(body["standard"]),
                None if body["outage"] is None else Outage.from_json(body["outage"]),
                tuple(Interval.from_json(i) for i in body["history"]),
                tuple(Interval.from_json(i) for i in body["recovering"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise ClaimError(f"a stored outage watch cannot be read ({exc!r}); rebuild it from the ledger") from exc


def find_outages(
    intervals: Iterable[Interval],
    standard: Standard | None,
    rule: OutageRule,
    *,
    waiting: timedelta = timedelta(0),
    indemnity_period: timedelta | None = None,
) -> list[Outage]:
    """All outages of a line, oldest first; the last one has no end where the line is still out.

    The standard is the one given, or measured on the intervals before each outage where it is None. Raises
    ClaimError on intervals that overlap.
    """
    watch = OutageWatch(rule, waiting, indemnity_period, standard)
    found: list[Outage] = []
    for interval in intervals:
        watch, events = watch.step(interval)
        for event in events:
            if event.kind is Happened.REFUSED:
                raise ClaimError(event.note)
            if event.kind is Happened.ENDED and event.outage is not None:
                found.append(event.outage)
    return found if watch.outage is None else [*found, watch.outage]


@exact
def span(value: Decimal | int | float | str) -> timedelta:
    """A duration from seconds as text or number. Raises ClaimError outside what a duration can hold."""
    micro = number(value) * 1_000_000
    if abs(micro) > Decimal(86_400_000_000) * 365_000:
        raise ClaimError(f"a duration of {value} seconds is longer than 1,000 years; check its unit")
    return timedelta(microseconds=int(micro))


@exact
def _below(interval: Interval, standard: Standard, share: Decimal) -> bool:
    # Compared as products, because a quotient would be rounded.
    return interval.count is not None and interval.count * HOUR < share * standard.rate * interval.length


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)

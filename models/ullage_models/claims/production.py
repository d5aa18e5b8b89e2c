"""What a line made, interval by interval, and the standard it is measured against.

An ``Interval`` says that from ``start`` to ``end`` the line made ``count`` units. Its rate is taken as constant
inside; that is why cutting an interval in two at the same rate never changes a result. An interval with no
count, or seen for less than ``min_observed`` of its time, is *blind*: it is never used to judge whether the
line runs. A count in a blind interval is still exact, because counters go on counting unseen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Self

from ..money import exact, number, plain, rounded
from .errors import ClaimError

HOUR: Final = Decimal(3600)
KEPT: Final = 240
"""Intervals of history that a watch keeps at most; equal neighbours count as one."""


def seconds(span: timedelta) -> Decimal:
    """A duration as exact decimal seconds. Built from text, because a constructor rounds in no context."""
    whole = span.days * 86_400 + span.seconds
    return Decimal(f"{whole * 1_000_000 + span.microseconds}E-6") if span.microseconds else Decimal(whole)


@dataclass(frozen=True, slots=True)
class Interval:
    """Production of one line between two aware times.

    ``count`` in units, None where the counter could not be read; ``running_seconds`` of the interval, None where
    no running state is known; ``observed`` share (0-1) of the interval covered by good samples.
    """

    start: datetime
    end: datetime
    count: Decimal | None
    running_seconds: Decimal | None
    observed: Decimal

    def __post_init__(self) -> None:
        where = f"production interval from {self.start}"
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ClaimError(f"{where}: times must be timezone-aware")
        if self.end <= self.start:
            raise ClaimError(f"{where}: its end {self.end} must lie after its start")
        for name in ("count", "running_seconds", "observed"):
            value = getattr(self, name)
            if value is not None and (not value.is_finite() or value < 0):
                raise ClaimError(f"{where}: {name} {value} must be a finite number, zero or more")
        if self.observed > 1:
            raise ClaimError(f"{where}: observed share {self.observed} must lie between 0 and 1")

    @classmethod
    def of(
        cls,
        start: datetime,
        end: datetime,
        count: Decimal | int | float | None,
        running_seconds: Decimal | int | float | None = None,
        observed: Decimal | int | float = 1,
    ) -> Self:
        """From the plain numbers of a message; a float stands for its shortest text."""
        return cls(
            start, end, None if count is None else number(count),
            None if running_seconds is None else number(running_seconds), number(observed),
        )  # fmt: skip

    @property
    def length(self) -> Decimal:
        """Seconds from start to end."""
        return seconds(self.end - self.start)

    @exact
    def rate(self) -> Decimal | None:
        """Units per hour, None where the count is not known."""
        return None if self.count is None else self.count * HOUR / self.length

    def part(self, start: datetime, end: datetime) -> Self | None:
        """The part of the interval inside a window, at its own rate; None where they do not meet."""
        start, end = max(start, self.start), min(end, self.end)
        if start >= end:
            return None
        return self if (start, end) == (self.start, self.end) else self._clipped(start, end)

    @exact
    def _clipped(self, start: datetime, end: datetime) -> Self:
        kept, whole = seconds(end - start), self.length
        return replace(
            self, start=start, end=end, count=None if self.count is None else self.count * kept / whole,
            running_seconds=None if self.running_seconds is None else self.running_seconds * kept / whole,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        return {
            "start": self.start.isoformat(), "end": self.end.isoformat(),
            "count": None if self.count is None else plain(self.count),
            "running_seconds": None if self.running_seconds is None else plain(self.running_seconds),
            "observed": plain(self.observed),
        }  # fmt: skip

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        try:
            return cls.of(
                datetime.fromisoformat(body["start"]), datetime.fromisoformat(body["end"]), body["count"],
                body["running_seconds"], body["observed"],
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as exc:
            raise ClaimError(
                f"a stored production interval cannot be read ({exc!r}); rebuild it from the ledger"
            ) from exc


@dataclass(frozen=True, slots=True)
class Standard:
    """Standard output: what the line makes when it runs as usual.

    ``rate`` in units per hour; ``basis`` says in words where it comes from; ``observed`` share (0-1) of the
    measured time that was seen; ``measured_seconds`` of normal running behind it (0 for a declared rate).
    """

    rate: Decimal
    basis: str
    observed: Decimal
    measured_seconds: Decimal

    def __post_init__(self) -> None:
        if not self.rate.is_finite() or self.rate <= 0:
            raise ClaimError(
                f"standard output {self.rate} an hour must be above zero; declare a rate or measure longer"
            )

    @exact
    def units(self, length: Decimal) -> Decimal:
        """Standard units in ``length`` seconds."""
        return self.rate * length / HOUR

    def to_json(self) -> dict[str, Any]:
        return {
            "rate": str(self.rate), "basis": self.basis, "observed": str(self.observed),
            "measured_seconds": str(self.measured_seconds),
        }  # fmt: skip

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        try:
            return cls(
                number(body["rate"]), str(body["basis"]), number(body["observed"]), number(body["measured_seconds"])
            )
        except (KeyError, TypeError) as exc:
            raise ClaimError(f"a stored standard cannot be read ({exc!r}); rebuild it from the ledger") from exc


@exact
def standard_output(
    intervals: Sequence[Interval],
    before: datetime,
    window: timedelta,
    *,
    declared_rate: Decimal | None = None,
    min_measured: timedelta = timedelta(seconds=30),
    min_observed: Decimal = Decimal("0.5"),
) -> Standard | None:
    """The standard output at ``before``, measured over the ``window`` that ends there.

    Rule: take the time-weighted median rate of the intervals that made something; normal running is every
    interval within a tenth of it; the standard is the sum of their counts over the sum of their time. Stops,
    ramps and misread counters so fall away by themselves. A declared rate (units per hour) caps what was
    measured, and stands in where less than ``min_measured`` was. None where there is neither.
    """
    parts = [p for i in intervals if (p := i.part(before - window, before)) is not None]
    timed = [(p.count, p.length, p.observed) for p in parts if p.count and p.observed >= min_observed]
    seen = sorted((count / length, length, count, observed) for count, length, observed in timed)
    half, so_far, median = sum((length for _, length, _, _ in seen), Decimal(0)) / 2, Decimal(0), Decimal(0)
    for pace, length, _, _ in seen:
        so_far, median = so_far + length, pace
        if so_far >= half:
            break
    normal = [row for row in seen if median * 9 <= row[0] * 10 <= median * 11]
    measured = sum((length for _, length, _, _ in normal), Decimal(0))
    if measured < seconds(min_measured) or not measured:
        if declared_rate is None:
            return None
        return Standard(declared_rate, "declared in the policy; too little normal running was measured", Decimal(0),
                        Decimal(0))  # fmt: skip
    made = sum((count for _, _, count, _ in normal), Decimal(0))
    rate = rounded(made * HOUR / measured, 6)
    if not rate:
        return None
    watched = sum((observed * length for _, length, _, observed in normal), Decimal(0)) / measured
    basis = f"{plain(rounded(made, 3))} units in {plain(measured)} s of normal running before {before.isoformat()}"
    if declared_rate is not None and declared_rate < rate:
        return Standard(declared_rate, f"declared in the policy, below the measured rate ({basis})", watched, measured)
    return Standard(rate, f"measured: {basis}", watched, measured)


def joined(history: tuple[Interval, ...], interval: Interval) -> tuple[Interval, ...]:
    """History with one more interval; neighbours that abut at the same rate become one."""
    if history and _alike(history[-1], interval):
        return (*history[:-1], _union(history[-1], interval))
    return (*history, interval)


def remember(history: tuple[Interval, ...], interval: Interval, window: timedelta) -> tuple[Interval, ...]:
    """``joined``, without what has left the window and with the newest KEPT at most."""
    begin = interval.end - window
    return tuple(i for i in joined(history, interval) if i.end > begin)[-KEPT:]


@exact
def _alike(a: Interval, b: Interval) -> bool:
    if a.end != b.start or a.observed != b.observed:
        return False
    for x, y in ((a.count, b.count), (a.running_seconds, b.running_seconds)):
        if (x is None) != (y is None) or (x is not None and y is not None and x * b.length != y * a.length):
            return False
    return True


@exact
def _union(a: Interval, b: Interval) -> Interval:
    def plus(x: Decimal | None, y: Decimal | None) -> Decimal | None:
        return None if x is None or y is None else x + y

    return Interval(a.start, b.end, plus(a.count, b.count), plus(a.running_seconds, b.running_seconds), a.observed)

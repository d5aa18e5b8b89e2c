"""Gross profit by time, and hours of outage set against a waiting period."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from ..money import Money, exact, total
from .cover import WaitingKind
from .errors import ClaimError
from .production import HOUR, seconds


@dataclass(frozen=True, slots=True)
class Slot:
    """Gross profit per hour, constant between two aware times."""

    start: datetime
    end: datetime
    per_hour: Money

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None or self.end <= self.start:
            raise ClaimError(f"profile slot from {self.start} to {self.end}: aware times, the end after the start")


def hourly(start: datetime, per_hour: Sequence[Money]) -> tuple[Slot, ...]:
    """Consecutive slots of one hour each."""
    hour = timedelta(hours=1)
    return tuple(Slot(start + hour * i, start + hour * (i + 1), each) for i, each in enumerate(per_hour))


def opening_hours(
    start: datetime, end: datetime, *, open_days: Collection[int], open_from: int, open_to: int, per_open_hour: Money
) -> tuple[Slot, ...]:
    """Hour slots from start to end: ``per_open_hour`` on open days (0 is Monday) between two hours, else nothing."""
    closed = Money.zero(per_open_hour.currency)
    found: list[Slot] = []
    at = start
    while at < end:
        until = min(end, at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1))
        is_open = at.weekday() in open_days and open_from <= at.hour < open_to
        found.append(Slot(at, until, per_open_hour if is_open else closed))
        at = until
    return tuple(found)


@exact
def gross_profit_between(slots: Sequence[Slot], begin: datetime, end: datetime, currency: str) -> Money:
    """The gross profit of a profile between two times. Raises ClaimError on slots that overlap or leave holes."""
    for before, after in pairwise(slots):
        if before.end != after.start:
            raise ClaimError(f"profile: the slot after {before.end} must start there, not at {after.start}")
    return total(
        (
            slot.per_hour.times(seconds(min(end, slot.end) - max(begin, slot.start)) / HOUR)
            for slot in slots
            if max(begin, slot.start) < min(end, slot.end)
        ),
        currency,
    )


@exact
def payable_hours(
    outages: Sequence[tuple[Decimal, Decimal]],
    waiting_hours: Decimal,
    kind: WaitingKind,
    *,
    merge_gap_hours: Decimal | None = None,
) -> Decimal:
    """Down hours that count, from outages as (start, end) in hours, in order.

    Outages closer than ``merge_gap_hours`` are one event (None: each is its own). The waiting period is consumed
    once an event, on down hours. Raises ClaimError where outages overlap.
    """
    events: list[Decimal] = []
    last: Decimal | None = None
    for start, end in outages:
        if end <= start or (last is not None and start < last):
            raise ClaimError(f"outage from hour {start} to {end}: it must end after it starts and not overlap another")
        if last is not None and merge_gap_hours is not None and start - last < merge_gap_hours:
            events[-1] += end - start
        else:
            events.append(end - start)
        last = end
    beyond = [down for down in events if down > waiting_hours]
    excess = kind is WaitingKind.EXCESS
    return sum((down - waiting_hours if excess else down for down in beyond), Decimal(0))

"""Indemnity moves as the contract says, cutting intervals changes nothing, and a claim's life keeps to its table."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from ullage_models.claims.cover import Cover, WaitingKind
from ullage_models.claims.indemnity import Extras, UnitLoss, indemnify
from ullage_models.claims.lifecycle import TABLE, Event, LifecycleError, Role, State, advance, possible
from ullage_models.claims.outage import Outage, OutageRule, OutageWatch, find_outages
from ullage_models.claims.production import Interval, Standard, standard_output
from ullage_models.money import Money

D = Decimal
T0 = datetime(2026, 11, 23, 8, tzinfo=UTC)
STANDARD = Standard(D(36000), "declared", D(0), D(0))
RULE = OutageRule(window=timedelta(minutes=5), min_measured=timedelta(seconds=5))


def cny(amount: int) -> Money:
    return Money(D(amount), "CNY")


pieces = st.lists(
    st.tuples(
        st.integers(1, 40),
        st.one_of(st.none(), st.sampled_from([0, 0, 1, 4, 5, 8, 9, 10, 11])),
        st.sampled_from([D(1), D(1), D("0.7"), D("0.2")]),
    ),
    min_size=1, max_size=12,
)  # fmt: skip


def line(parts: list[tuple[int, int | None, Decimal]]) -> list[Interval]:
    """Abutting intervals from (seconds, units a second, observed share)."""
    found, at = [], T0
    for seconds, rate, observed in parts:
        end = at + timedelta(seconds=seconds)
        found.append(Interval(at, end, None if rate is None else D(rate * seconds), None, observed))
        at = end
    return found


def cut(intervals: list[Interval], marks: list[int]) -> list[Interval]:
    """Every interval cut in two at a quarter, half or three quarters of it, where its mark says so."""
    found: list[Interval] = []
    for place, interval in enumerate(intervals):
        quarters = marks[place % len(marks)] if marks else 0
        middle = interval.start + (interval.end - interval.start) * quarters / 4
        halves = [interval.part(interval.start, middle), interval.part(middle, interval.end)]
        found.extend(half for half in halves if half is not None)
    return found


@given(pieces, st.lists(st.integers(0, 3), max_size=12), st.integers(0, 60), st.booleans())
def test_cutting_intervals_at_the_same_rate_changes_nothing(
    parts: list[tuple[int, int | None, Decimal]], marks: list[int], waiting: int, given_standard: bool
) -> None:
    whole, split = line(parts), cut(line(parts), marks)
    standard = STANDARD if given_standard else None
    terms = {"waiting": timedelta(seconds=waiting), "indemnity_period": timedelta(seconds=90)}
    assert find_outages(split, standard, RULE, **terms) == find_outages(whole, standard, RULE, **terms)
    before = whole[-1].end
    assert standard_output(split, before, RULE.window) == standard_output(whole, before, RULE.window)


@given(pieces, st.integers(0, 12))
def test_a_watch_interrupted_and_stored_sees_the_same(parts: list[tuple[int, int | None, Decimal]], stop: int) -> None:
    intervals = line(parts)
    watch = OutageWatch(RULE, timedelta(seconds=5))
    found: list[Outage | None] = []
    for place, interval in enumerate(intervals):
        if place == stop:
            watch = OutageWatch.from_json(watch.to_json())
        watch, events = watch.step(interval)
        found.extend(e.outage for e in events if e.kind == "ended")
    expected = find_outages(intervals, None, RULE, waiting=timedelta(seconds=5))
    assert [*found, *([watch.outage] if watch.outage else [])] == expected


@given(pieces)
def test_an_outage_is_never_short_of_less_than_nothing_nor_of_more_than_all(
    parts: list[tuple[int, int | None, Decimal]],
) -> None:
    for outage in find_outages(line(parts), STANDARD, RULE, waiting=timedelta(seconds=7)):
        assert 0 <= outage.shortage <= outage.shortage_at_most <= STANDARD.units(outage.whole.seconds)
        assert outage.shortage_after_waiting <= STANDARD.units(outage.after_waiting.known_seconds)
        assert 0 <= outage.observed <= 1


def down(seconds: int, cover: Cover, made: int = 0) -> Outage:
    end = T0 + timedelta(seconds=seconds)
    (outage,) = find_outages([Interval.of(T0, end, made)], STANDARD, cover.rule, waiting=cover.waiting)
    return outage


covers = st.builds(
    lambda limit, waiting, kind, deductible, insured: Cover(
        "CNY", cny(limit), timedelta(seconds=waiting), kind, deductible=cny(deductible), contribution_per_unit=cny(3),
        rate_of_gross_profit=D("0.5"), sum_insured=cny(insured), gross_profit_at_risk=cny(1000),
    ),
    st.integers(1, 20_000), st.integers(0, 300), st.sampled_from(WaitingKind), st.integers(0, 500),
    st.integers(1, 1500),
)  # fmt: skip
extras = st.builds(
    lambda icow, saved, savings, units, cost: Extras(cny(icow), cny(saved), cny(savings), D(units), cny(cost)),
    st.integers(0, 500), st.integers(0, 500), st.integers(0, 500), st.integers(0, 500), st.integers(0, 5),
)  # fmt: skip


def paid(cover: Cover, seconds: int, more: Extras) -> Decimal:
    return indemnify(UnitLoss(cover, down(seconds, cover), more)).amount.amount


@given(covers, extras, st.integers(1, 600), st.integers(1, 600), st.integers(0, 300), st.integers(1, 20_000))
def test_a_longer_outage_or_higher_limit_never_pays_less_and_a_longer_wait_never_more(
    cover: Cover, more: Extras, seconds: int, longer: int, waiting: int, limit: int
) -> None:
    amount = paid(cover, seconds, more)
    assert 0 <= amount <= cover.limit.amount
    assert amount <= paid(cover, seconds + longer, more)
    assert amount <= paid(replace(cover, limit=cover.limit + cny(limit)), seconds, more)
    assert amount >= paid(replace(cover, waiting=cover.waiting + timedelta(seconds=waiting)), seconds, more)


@given(covers, extras, st.integers(1, 600))
def test_a_trigger_never_pays_less_than_an_excess(cover: Cover, more: Extras, seconds: int) -> None:
    excess, trigger = (paid(replace(cover, waiting_kind=kind), seconds, more) for kind in
                       (WaitingKind.EXCESS, WaitingKind.TRIGGER))  # fmt: skip
    assert excess <= trigger


class ClaimLife(RuleBasedStateMachine):
    """Anybody tries anything; the table decides, and telemetry alone never leaves the draft."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State.DRAFT
        self.touched = False

    @rule(event=st.sampled_from(Event), role=st.sampled_from(Role))
    def someone_tries(self, event: Event, role: Role) -> None:
        allowed = role in possible(self.state).get(event, frozenset())
        if not allowed:
            with pytest.raises(LifecycleError):
                advance(self.state, event, role)
            return
        after = advance(self.state, event, role)
        assert after == TABLE[self.state][event][0]
        if after is State.PAID:
            assert self.state is State.AGREED
        if after is State.AGREED:
            assert role is Role.SUPERVISOR
        self.touched |= role is not Role.TELEMETRY
        self.state = after

    @invariant()
    def telemetry_alone_stays_in_the_draft(self) -> None:
        assert self.touched or self.state is State.DRAFT


TestClaimLife = ClaimLife.TestCase

"""Premiums move the way an underwriter expects, and no history of anomalies prices below none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st
from ullage_models.money import Money
from ullage_models.rating.plan import plan_in_force, shipped_plans
from ullage_models.rating.premium import Submission, quote
from ullage_models.rating.relativity import after_silence, dampen, schedule_factor
from ullage_models.rating.score import AnomalyEvent, risk_score, telemetry_relativity

D = Decimal
PLAN = plan_in_force(shipped_plans(), date(2026, 6, 1), market="cn")
START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)

submissions = st.builds(
    lambda sector, profit, limit, waiting, credit: Submission(
        "an insured", sector, Money(D(profit), "CNY"), Money(D(limit), "CNY"), waiting, schedule={"recovery": credit}
    ),
    st.sampled_from(sorted(PLAN.sectors)), st.integers(100_000, 10**10), st.integers(100_000, 5 * 10**8),
    st.decimals(0, 720, places=3), st.decimals("-0.1", "0.1", places=3),
)  # fmt: skip


ONE = D(1)


def net(submission: Submission, telemetry: Decimal = ONE) -> Decimal:
    return quote(PLAN, submission, telemetry).net.amount


@given(submissions, st.integers(100_000, 10**10), st.integers(100_000, 5 * 10**8))
def test_more_gross_profit_or_a_higher_limit_never_costs_less(one: Submission, profit: int, limit: int) -> None:
    sizes = sorted((one.annual_gross_profit, Money(D(profit), "CNY")))
    limits = sorted((one.limit, Money(D(limit), "CNY")))
    assert net(replace(one, annual_gross_profit=sizes[0])) <= net(replace(one, annual_gross_profit=sizes[1]))
    assert net(replace(one, limit=limits[0])) <= net(replace(one, limit=limits[1]))


@given(submissions, st.decimals(0, 720, places=3))
def test_a_longer_waiting_period_never_costs_more(one: Submission, hours: Decimal) -> None:
    short, long = sorted((one.waiting_hours, hours))
    assert net(replace(one, waiting_hours=short)) >= net(replace(one, waiting_hours=long))


@given(submissions, st.decimals("0.75", "1.25", places=4), st.decimals("0.75", "1.25", places=4))
def test_hazard_and_telemetry_never_lower_the_premium_as_they_rise(one: Submission, a: Decimal, b: Decimal) -> None:
    low, high = sorted((a, b))
    assert net(one, low) <= net(one, high)
    ranked = sorted(PLAN.sectors, key=lambda sector: PLAN.sectors[sector].value)
    premiums = [net(replace(one, sector=sector)) for sector in ranked]
    assert premiums == sorted(premiums)


@given(submissions)
def test_net_and_tax_are_the_gross_and_the_minimum_holds(one: Submission) -> None:
    found = quote(PLAN, one)
    assert found.net + found.tax == found.gross
    assert found.net.amount >= PLAN.minimum_premium.at(one.limit.amount)
    assert found.gross.to_minor() == found.net.to_minor() + found.tax.to_minor()


events = st.builds(
    lambda hours, kind, severity, episode, tag: AnomalyEvent(
        START + timedelta(hours=hours), kind, severity, episode, (tag,), ("T0836",)
    ),
    st.floats(-2000, 8000), st.sampled_from(["process", "integrity", "comms", "new"]), st.decimals(0, 1, places=3),
    st.sampled_from(["", "a", "b", "c"]), st.sampled_from(["level", "speed"]),
)  # fmt: skip


@given(st.lists(events, max_size=8), events, st.floats(0, 8700))
@settings(max_examples=150)
def test_telemetry_never_lies_below_one_and_another_event_never_lowers_it(
    history: list[AnomalyEvent], more: AnomalyEvent, hours: float
) -> None:
    at = START + timedelta(hours=hours)
    before = telemetry_relativity(PLAN, history, at, START, END)
    after = telemetry_relativity(PLAN, [*history, more], at, START, END)
    assert 1 <= before.indicated <= after.indicated
    assert after.score <= before.score <= 600
    assert len(after.reasons) <= 4
    assert all(reason.share > 0 for reason in after.reasons)
    assert telemetry_relativity(PLAN, [more, *reversed(history)], at, START, END).indicated == after.indicated


@given(st.lists(st.decimals("0.1", "10", places=4), min_size=1, max_size=6))
def test_points_add_up_exactly_to_the_score(relativities: list[Decimal]) -> None:
    found = risk_score({str(place): each for place, each in enumerate(relativities)})
    assert found.value == 600 + sum(found.points.values())


@given(st.decimals("0.75", "1.25", places=4), st.decimals("0.01", "50", places=4), st.decimals(0, 1, places=3))
def test_a_charged_relativity_stays_within_bounds_and_steps(now: Decimal, indicated: Decimal, weight: Decimal) -> None:
    found = dampen(now, indicated, credibility=weight, low=D("0.75"), high=D("1.25"), max_step=D("0.05"))
    assert D("0.75") <= found.relativity <= D("1.25")
    assert abs(found.relativity - now) <= D("0.05")
    assert abs(found.relativity - found.target) <= abs(now - found.target)


@given(st.decimals("0.5", "2", places=4), st.decimals(0, 5000, places=2), st.decimals(0, 5000, places=2))
def test_silence_never_pays_and_never_recovers(last: Decimal, a: Decimal, b: Decimal) -> None:
    early, late = (after_silence(last, h, class_mean=D(1), half_life_hours=D(72)) for h in sorted((a, b)))
    assert last <= early <= late <= max(last, D(1))


@given(st.lists(st.decimals("-1", "1", places=3), max_size=6))
def test_a_schedule_stays_within_its_cap(credits_: list[Decimal]) -> None:
    assert D("0.75") <= schedule_factor(credits_, D("0.25")) <= D("1.25")

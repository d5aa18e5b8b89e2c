"""Premium, score and relativity: traces that can be redone, reasons that can be read, refusals that name the field."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

import pytest
from ullage_models.money import Money
from ullage_models.rating.errors import RatingError, SubmissionError
from ullage_models.rating.ilf import layered, limited_expected_value, normal
from ullage_models.rating.plan import plan_in_force, shipped_plans
from ullage_models.rating.premium import Submission, quote
from ullage_models.rating.relativity import after_silence, dampen, midterm, poisson_gamma
from ullage_models.rating.score import AnomalyEvent, Telemetry, risk_score, telemetry_relativity

D = Decimal
PLAN = plan_in_force(shipped_plans(), date(2026, 6, 1), market="cn")
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def cny(text: str | int) -> Money:
    return Money(D(text), "CNY")


FORM = Submission("Yangtze Bottling", "industrial_internet", cny(10_000_000), cny(2_000_000), D(12), cny(100_000),
                  "networked_industrial", {"segmentation": D("-0.10"), "upkeep": D("0.05")}, D(3), 1)  # fmt: skip


def test_the_trace_can_be_redone_with_a_pencil() -> None:
    found = quote(PLAN, FORM, D("1.05"))
    running = D(found.steps[0].result)
    for step in found.steps[1:-3]:
        running = (running * D(step.value)).quantize(D("0.000001"), ROUND_HALF_UP)
        assert running == D(step.result), step.name
    assert [s.name for s in found.steps[1:-3]] == list(found.relativities)
    assert found.net.text() == str(running.quantize(D("0.01"), ROUND_HALF_UP))
    assert found.net + found.tax == found.gross
    assert all(step.source for step in found.steps if step.name != "rounding")
    assert json.dumps(found.to_json()) == json.dumps(quote(PLAN, FORM, D("1.05")).to_json())


def test_the_minimum_premium_binds_and_a_short_period_is_by_the_day() -> None:
    small = replace(FORM, annual_gross_profit=cny(100_000), waiting_hours=D(720))
    assert quote(PLAN, small).net == cny(5000)
    year, half = quote(PLAN, FORM).net, quote(PLAN, replace(FORM, days=73)).net
    assert abs(year.amount / 5 - half.amount) < D("0.01")


def test_seconds_of_waiting_can_be_priced() -> None:
    demo = replace(FORM, waiting_hours=D(10) / D(3600))
    assert quote(PLAN, demo).relativities["waiting period"] == D("1.249896")


def test_a_submission_is_refused_with_all_faults_in_the_words_of_the_form() -> None:
    usd = Money(D(5), "USD")
    bad = Submission(" ", "moon_mining", usd, cny(0), D(-1), cny(-5), "x", {"luck": D(1)}, D("NaN"), -1, 0)
    with pytest.raises(SubmissionError) as caught:
        quote(PLAN, bad, D("9"))
    paths = {fault.path for fault in caught.value.faults}
    assert paths >= {"insured", "sector", "annual_gross_profit", "limit", "deductible", "waiting_hours",
                     "experience_years",
                     "experience_claims", "days", "schedule.luck", "telemetry"}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        ({"limit": cny(900_000_000)}, "limit", "refer to an underwriter"),
        ({"waiting_hours": D(721)}, "waiting_hours", "lies outside 0 to 720"),
        ({"deductible": cny(2_000_000)}, "deductible", "must lie below the limit"),
        ({"deductible": cny(1_900_000)}, "deductible", "lies outside 0 to 0.5"),
        ({"sub_type": "energy"}, "sub_type", "not a sub-type of industrial_internet"),
        ({"schedule": {"segmentation": D("-0.11")}}, "schedule.segmentation", "outside -0.1 to 0.1"),
        ({"experience_years": D(0)}, "experience_years", "although claims are given"),
        ({"annual_gross_profit": Money(D(5_000_000), "USD")}, "limit", "give all in one currency"),
        ({"days": 400}, "days", "1 to 366"),
    ],
)  # fmt: skip
def test_one_fault_is_named_alone(change: dict[str, object], path: str, said: str) -> None:
    faults = replace(FORM, **change).faults(PLAN)  # type: ignore[arg-type]
    assert [fault.path for fault in faults] == [path]
    assert said in faults[0].what


def test_another_currency_than_the_plan_is_refused() -> None:
    usd = replace(
        FORM, annual_gross_profit=Money(D(10_000_000), "USD"), limit=Money(D(2_000_000), "USD"), deductible=None
    )
    assert "currency of plan" in usd.faults(PLAN)[0].what


# --- score and reasons -------------------------------------------------------------------------------------


def event(
    days: float, kind: str = "process", episode: str = "", severity: str = "1", tag: str = "tank.level"
) -> AnomalyEvent:
    return AnomalyEvent(NOW - timedelta(days=days), kind, D(severity), episode, (tag,), ("T0836",))


def rate(*events: AnomalyEvent, at: datetime = NOW) -> Telemetry:
    return telemetry_relativity(PLAN, events, at, datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


def test_no_anomaly_leaves_the_relativity_at_one() -> None:
    found = rate()
    assert (found.indicated, found.spot, found.score, found.reasons) == (D(1), D(1), D(600), ())


def test_an_episode_counts_once_whatever_is_said_of_it() -> None:
    once = rate(event(1, episode="a", severity="0.8"))
    assert rate(event(2, episode="a", severity="0.5"), event(1, episode="a", severity="0.8"),
                event(0.5, episode="a", severity="0.1")).indicated == once.indicated  # fmt: skip
    assert rate(event(1, severity="0.8"), event(1, severity="0.8")).indicated > once.indicated


def test_half_the_severity_is_half_the_surplus() -> None:
    assert rate(event(1, severity="0.5")).indicated - 1 == pytest.approx(
        (rate(event(1)).indicated - 1) / 2, abs=D("0.000001")
    )


def test_a_clock_ahead_counts_as_new_and_an_unknown_kind_as_other() -> None:
    assert rate(event(-3)).indicated == rate(event(0)).indicated
    assert rate(event(1, kind="sorcery")).indicated == rate(event(1, kind="other")).indicated


def test_reasons_are_at_most_four_and_add_up() -> None:
    events = [event(n, tag=f"tag{n}", episode=f"e{n}") for n in range(6)]
    found = rate(*events)
    assert [reason.tag for reason in found.reasons] == ["tag0", "tag1", "tag2", "tag3"]
    few = rate(*events[:3])
    assert sum(r.share for r in few.reasons) == pytest.approx(few.indicated - 1, abs=D("0.000002"))
    assert sum(r.points for r in few.reasons) == pytest.approx(few.points["telemetry"], abs=D("0.002"))
    without = rate(*events[1:3])
    assert few.indicated - without.indicated == pytest.approx(few.reasons[0].share, abs=D("0.000001"))


def test_a_reason_is_a_sentence_in_both_languages() -> None:
    (reason,) = rate(event(0), event(1)).reasons
    assert reason.text["en"].startswith(
        "Abnormal process behaviour at tank.level, 2 times, last on 2026-06-01 12:00:00 UTC, resembling T0836, adds "
    )
    assert "Restore the setpoint" in reason.text["en"]
    assert "halves every 7 days" in reason.text["en"]
    for part in ("tank.level", "2026-06-01 12:00:00", "T0836", "恢复设定值", "每 7 天减半"):
        assert part in reason.text["zh"]
    assert json.loads(json.dumps(reason.to_json()))["tag"] == "tank.level"


def test_other_relativities_count_in_the_score() -> None:
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    found = telemetry_relativity(PLAN, [], NOW, start, end, relativities={"sector": D("1.15"), "schedule": D("0.8353")})
    assert found.points == {"sector": D("-10.082"), "schedule": D("12.982"), "telemetry": 0}
    assert found.score == D("602.900")


def test_before_the_period_its_whole_length_is_priced_and_after_it_nothing_is() -> None:
    early = rate(event(0), at=datetime(2025, 12, 1, tzinfo=UTC))
    assert 1 < early.indicated < rate(event(0)).indicated + 1
    with pytest.raises(RatingError, match="no term remains"):
        rate(at=datetime(2027, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("severity", ["1.01", "-0.1", "NaN"])
def test_a_severity_outside_its_range_is_refused(severity: str) -> None:
    with pytest.raises(RatingError, match="between 0 and 1"):
        rate(event(0, severity=severity))


def test_times_without_a_timezone_are_refused() -> None:
    with pytest.raises(RatingError, match="timezone"):
        rate(at=NOW.replace(tzinfo=None))
    with pytest.raises(RatingError, match="timezone"):
        rate(replace(event(0), at=NOW.replace(tzinfo=None)))


# --- small formulas refuse nonsense -------------------------------------------------------------------------


def test_small_formulas_refuse_nonsense() -> None:
    terms = {"credibility": D("0.4"), "low": D("0.75"), "high": D("1.25"), "max_step": D("0.05")}
    for change in ({"credibility": D(2)}, {"low": D(0)}, {"max_step": D(-1)}):
        with pytest.raises(RatingError, match="dampening"):
            dampen(D(1), D(1), **{**terms, **change})
    with pytest.raises(RatingError, match="above zero"):
        dampen(D(1), D(0), **terms)
    with pytest.raises(RatingError, match="silence"):
        after_silence(D(1), D(-1), class_mean=D(1), half_life_hours=D(72))
    with pytest.raises(RatingError, match="mid-term"):
        midterm(cny(1), days=0, from_relativity=D(1), to_relativity=D(1), decided_day=0, notice_days=0)
    with pytest.raises(RatingError, match="experience"):
        poisson_gamma(D(0), D(1), claims=0, years=D(1))
    with pytest.raises(RatingError, match="above zero"):
        risk_score({"x": D(0)})
    with pytest.raises(RatingError, match="layer"):
        layered(D(1), upper=D(1), lower=D(2), hazard=D(1), multiplier=D(1))
    with pytest.raises(RatingError, match="increased limits"):
        limited_expected_value(D(0), median=D(1), sigma=D(1))


def test_a_change_after_the_period_costs_nothing() -> None:
    due = midterm(cny(120_000), days=365, from_relativity=D(1), to_relativity=D("1.1"), decided_day=350, notice_days=30)
    assert due == cny(0)


@pytest.mark.parametrize(
    ("z", "p"), [("0", "0.5"), ("1.959963984540054", "0.975"), ("-1", "0.158655253931457"), ("20", "1"), ("-20", "0")]
)
def test_the_normal_distribution(z: str, p: str) -> None:
    assert abs(normal(D(z)) - D(p)) < D("1e-14")

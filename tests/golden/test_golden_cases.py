"""Worked cases with their sources, one sentence each; the figures may not be changed to fit the code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from ullage_models.claims.cover import Cover, WaitingKind
from ullage_models.claims.indemnity import (
    Extras,
    Indemnity,
    ProfileLoss,
    TurnoverLoss,
    UnitLoss,
    average,
    coinsurance,
    indemnify,
    monthly_limit,
)
from ullage_models.claims.outage import find_outages
from ullage_models.claims.production import Interval, Standard
from ullage_models.claims.profile import hourly, opening_hours, payable_hours
from ullage_models.money import Money
from ullage_models.rating.ilf import layered, lognormal_ilf
from ullage_models.rating.plan import AnomalyKind, plan_in_force, shipped_plans
from ullage_models.rating.premium import Submission, quote
from ullage_models.rating.relativity import after_silence, dampen, midterm, poisson_gamma, schedule_factor
from ullage_models.rating.score import AnomalyEvent, risk_score, telemetry_relativity
from ullage_models.rating.tables import Points

D = Decimal
CASES = Path(__file__).parent / "cases"
Given = dict[str, Any]
PLAN = plan_in_force(shipped_plans(), date(2026, 6, 1), market="cn")
HUGE = "1000000000000"


def money(given: Given, name: str) -> Money | None:
    return Money(D(given[name]), given["currency"]) if name in given else None


def sure(given: Given, name: str) -> Money:
    return Money(D(given[name]), given["currency"])


def cover(given: Given, **terms: Any) -> Cover:
    return Cover(
        given["currency"], Money(D(given.get("limit", HUGE)), given["currency"]),
        timedelta(hours=given.get("waiting_hours", 0)), WaitingKind(given.get("kind", "excess")),
        rate_of_gross_profit=D(given["rate"]) if "rate" in given else None, sum_insured=money(given, "sum_insured"),
        gross_profit_at_risk=money(given, "gross_profit_at_risk"), economic_limit=given.get("economic_limit", True),
        **terms,
    )  # fmt: skip


# --- claims: each method gives the amount as text and the steps by name -------------------------------------


def by_coinsurance(given: Given) -> Indemnity:
    return coinsurance(
        sure(given, "loss"), limit=sure(given, "limit"), annual_basis=sure(given, "annual_basis"),
        share=D(given["share"]), deductible=money(given, "deductible"),
    )  # fmt: skip


def by_month(given: Given) -> Indemnity:
    losses = tuple(Money(D(loss), given["currency"]) for loss in given["losses"])
    return monthly_limit(losses, limit=sure(given, "limit"), fraction=D(given["fraction"]))


def by_turnover(given: Given) -> Indemnity:
    extras = Extras(money(given, "icow"), money(given, "turnover_saved_by_icow"), money(given, "savings"))
    return indemnify(
        TurnoverLoss(
            cover(given), sure(given, "standard_turnover"), sure(given, "actual_turnover"),
            indemnity_months=D(given.get("indemnity_months", "12")), extras=extras,
        )
    )  # fmt: skip


def by_average(given: Given) -> Indemnity:
    amount, step = average(sure(given, "loss"), sure(given, "sum_insured"), sure(given, "at_risk"))
    return Indemnity(amount.rounded(), (step,), amount)


def by_profile(given: Given) -> Indemnity:
    start = datetime.fromisoformat(given["start"])
    slots = hourly(start, [Money(D(each), given["currency"]) for each in given["hourly"]])
    return indemnify(ProfileLoss(cover(given), slots, timedelta(hours=given["down_hours"])))


def by_opening_hours(given: Given) -> Indemnity:
    start, end = datetime.fromisoformat(given["start"]), datetime.fromisoformat(given["end"])
    slots = opening_hours(
        start, end, open_days=given["open_days"], open_from=given["open_from"], open_to=given["open_to"],
        per_open_hour=sure(given, "per_open_hour"),
    )  # fmt: skip
    return indemnify(ProfileLoss(cover(given), slots, end - start))


def by_units(given: Given) -> Indemnity:
    start, hour = datetime(2026, 3, 2, 6, tzinfo=UTC), timedelta(hours=1)
    standard = Standard(D(given["units_per_hour"]), "declared", D(0), D(0))
    down, partial = start + hour * given["down_hours"], start + hour * (given["down_hours"] + given["partial_hours"])
    made = D(given["units_per_hour"]) * D(given["partial_rate"]) * given["partial_hours"]
    back = D(given["units_per_hour"]) * 10
    intervals = [Interval.of(start, down, 0), Interval.of(down, partial, made),
                 Interval.of(partial, partial + hour * 10, back)]  # fmt: skip
    terms = cover(given, contribution_per_unit=sure(given, "contribution"))
    (outage,) = find_outages(intervals, standard, terms.rule, waiting=terms.waiting)
    extras = Extras(
        savings=money(given, "savings"), makeup_units=D(given["makeup_units"]),
        makeup_extra_cost_per_unit=money(given, "makeup_extra_cost"),
    )  # fmt: skip
    return indemnify(UnitLoss(terms, outage, extras))


CLAIMS: dict[str, Callable[[Given], Indemnity]] = {
    "coinsurance": by_coinsurance, "monthly_limit": by_month, "turnover": by_turnover, "average": by_average,
    "hourly_profile": by_profile, "opening_hours": by_opening_hours, "plant_units": by_units,
}  # fmt: skip


def by_waiting_hours(given: Given) -> Decimal:
    outages = [(D(start), D(end)) for start, end in given["outages"]]
    gap = D(given["merge_gap_hours"]) if "merge_gap_hours" in given else None
    return payable_hours(outages, D(given["waiting_hours"]), WaitingKind(given["kind"]), merge_gap_hours=gap)


# --- rating: each method gives a list of numbers -----------------------------------------------------------


def by_lognormal(given: Given) -> list[Decimal]:
    basic, median, sigma = D(given["basic"]), D(given["median"]), D(given["sigma"])
    return [lognormal_ilf(D(limit), basic=basic, median=median, sigma=sigma) for limit in given["limits"]]


def by_layer(given: Given) -> list[Decimal]:
    base = Points("base", "USD", "USD", tuple((D(at), D(value)) for at, value in given["base"]), "")
    found = layered(
        base.at(D(given["size"])), upper=D(given["upper"]), lower=D(given["lower"]), hazard=D(given["hazard"]),
        multiplier=D(given["multiplier"]),
    )  # fmt: skip
    return [Money(found, "USD").rounded().amount]


def by_experience(given: Given) -> list[Decimal]:
    mean, shape = D(given["prior_mean"]), D(given["shape"])
    return [poisson_gamma(mean, shape, claims=n, years=D(years))[1] for n, years in given["cases"]]


def by_schedule(given: Given) -> list[Decimal]:
    factor = schedule_factor([D(each) for each in given["credits"]], D(given["cap"]))
    return [Money(D(given["manual"]), "USD").times(D(given["experience"])).times(factor).rounded().amount]


def by_midterm(given: Given) -> list[Decimal]:
    due = midterm(
        Money(D(given["annual"]), "CNY"), days=given["days"], from_relativity=D(given["from"]),
        to_relativity=D(given["to"]), decided_day=given["decided_day"], notice_days=given["notice_days"],
    )  # fmt: skip
    return [due.amount]


def by_dampening(given: Given) -> list[Decimal]:
    found, current = [], D(given["current"])
    for _ in range(given["periods"]):
        current = dampen(
            current, D(given["indicated"]), credibility=D(given["credibility"]), low=D(given["low"]),
            high=D(given["high"]), max_step=D(given["max_step"]),
        ).relativity  # fmt: skip
        found.append(current)
    return found


def by_silence(given: Given) -> list[Decimal]:
    mean, half_life = D(given["class_mean"]), D(given["half_life_hours"])
    return [after_silence(D(given["last"]), D(h), class_mean=mean, half_life_hours=half_life) for h in given["hours"]]


def by_telemetry(given: Given) -> list[Decimal]:
    kind = AnomalyKind(D(given["mass"]), D(given["half_life_days"]), {"en": "x", "zh": "x"}, {"en": "x", "zh": "x"})
    terms = replace(PLAN.telemetry, base_intensity=D(given["base"]), kinds={"other": kind})
    now = datetime(2026, 4, 11, tzinfo=UTC)
    events = [AnomalyEvent(now - timedelta(days=age), "process", D(1), f"episode {age}") for age in given["ages_days"]]
    end = now + timedelta(days=given["term_days"])
    found = telemetry_relativity(replace(PLAN, telemetry=terms), events, now, end - timedelta(days=365), end)
    return [found.indicated, found.spot]


def by_score(given: Given) -> list[Decimal]:
    found = risk_score({f"r{place}": D(each) for place, each in enumerate(given["relativities"])})
    return [found.value, *found.points.values()]


def by_quote(given: Given) -> list[Decimal]:
    submission = Submission(
        "an insured", given["sector"], Money(D(given["annual_gross_profit"]), "CNY"), Money(D(given["limit"]), "CNY"),
        D(given["waiting_hours"]), Money(D(given["deductible"]), "CNY") if "deductible" in given else None,
        schedule={name: D(each) for name, each in given.get("schedule", {}).items()},
        experience_years=D(given.get("years", 0)), experience_claims=given.get("claims", 0),
    )  # fmt: skip
    found = quote(PLAN, submission, D(given.get("telemetry", "1")))
    return [found.net.amount, found.tax.amount, found.gross.amount]


RATING: dict[str, Callable[[Given], list[Decimal]]] = {
    "lognormal_ilf": by_lognormal, "layered_ilf": by_layer, "poisson_gamma": by_experience, "schedule": by_schedule,
    "midterm": by_midterm, "dampen": by_dampening, "silence": by_silence, "telemetry": by_telemetry,
    "score": by_score, "quote": by_quote,
}  # fmt: skip


def cases(name: str) -> list[Any]:
    body = yaml.safe_load((CASES / name).read_text("utf-8"))
    return [pytest.param(case, id=sentence) for sentence, case in body.items()]


@pytest.mark.parametrize("case", cases("indemnity.yaml"))
def test_indemnity(case: dict[str, Any]) -> None:
    assert case["source"]
    if case["method"] == "waiting_hours":
        assert by_waiting_hours(case["given"]) == D(case["answer"])
        return
    found = CLAIMS[case["method"]]({**case["given"], "currency": case["currency"]})
    assert found.amount.text() == case["answer"]
    results = {step.name: step.result for step in found.steps}
    for name, result in case.get("steps", {}).items():
        assert results[name] == result


@pytest.mark.parametrize("case", cases("rating.yaml"))
def test_rating(case: dict[str, Any]) -> None:
    assert case["source"]
    found = RATING[case["method"]](case["given"])
    wanted = [D(each) for each in (case["answer"] if isinstance(case["answer"], list) else [case["answer"]])]
    tolerance = D(case.get("tolerance", "0"))
    assert len(found) == len(wanted)
    for got, want in zip(found, wanted, strict=True):
        assert abs(got - want) <= tolerance, f"{got} is not {want}"

"""Indemnity: the trace can be redone, and what is missing or contradictory is named."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from ullage_models.claims.cover import Cover, WaitingKind
from ullage_models.claims.errors import ClaimError, MissingFact
from ullage_models.claims.indemnity import Extras, ProfileLoss, TurnoverLoss, UnitLoss, coinsurance, indemnify
from ullage_models.claims.outage import Outage, OutageRule, find_outages
from ullage_models.claims.production import Interval, Standard
from ullage_models.claims.profile import Slot, gross_profit_between, hourly, payable_hours
from ullage_models.money import Money

D = Decimal
T0 = datetime(2026, 11, 23, 8, tzinfo=UTC)
STANDARD = Standard(D(36000), "declared", D(0), D(0))


def cny(text: str | int) -> Money:
    return Money(D(text), "CNY")


COVER = Cover("CNY", cny(100000), timedelta(seconds=10), contribution_per_unit=cny("2.5"), deductible=cny(100))


def outage(cover: Cover = COVER, *, down: int = 45, hole: int = 0) -> Outage:
    def piece(start: int, end: int, count: int) -> Interval:
        return Interval.of(T0 + timedelta(seconds=start), T0 + timedelta(seconds=end), count)

    intervals = [
        piece(0, 60, 600),
        piece(60, 60 + down, 0),
        piece(60 + down + hole, 80 + down + hole, 1 if hole else 200),
    ]
    (found,) = find_outages(
        intervals, STANDARD, cover.rule, waiting=cover.waiting, indemnity_period=cover.indemnity_period
    )
    return found


def amount(cover: Cover = COVER, extras: Extras | None = None, down: int = 45) -> str:
    return indemnify(UnitLoss(cover, outage(cover, down=down), extras or Extras())).amount.text()


def test_units_lost_after_the_waiting_period_are_paid() -> None:
    assert amount() == "775.00"  # 35 s x 10 x 2.50 - 100
    assert amount(replace(COVER, waiting_kind=WaitingKind.TRIGGER)) == "1025.00"
    assert amount(replace(COVER, limit=cny(500))) == "500.00"
    assert (
        amount(replace(COVER, contribution_per_unit=None, unit_price=cny(5), rate_of_gross_profit=D("0.5"))) == "775.00"
    )


def test_an_outage_within_the_waiting_period_pays_nothing_at_all() -> None:
    icow = Extras(icow=cny(50), turnover_saved_by_icow=cny(500))
    for kind in WaitingKind:
        cover = replace(COVER, waiting_kind=kind, rate_of_gross_profit=D("0.5"), deductible=None)
        found = indemnify(UnitLoss(cover, outage(cover, down=10), icow))
        assert found.amount.text() == "0.00"
        assert "nothing is payable" in found.steps[0].note


def test_each_step_starts_from_the_result_before_it() -> None:
    cover = replace(COVER, sum_insured=cny(80), gross_profit_at_risk=cny(100), rate_of_gross_profit=D("0.5"))
    extras = Extras(cny(50), cny(60), cny(5), D(50), cny(1))
    found = indemnify(UnitLoss(cover, outage(cover), extras))
    assert [step.name for step in found.steps] == [
        "waiting period", "standard output", "actual output", "lost units", "loss of gross profit",
        "extra cost of make-up", "increased cost of working", "savings in standing charges", "average", "deductible",
        "limit", "rounding",
    ]  # fmt: skip
    results = [step.result for step in found.steps[3:]]
    assert results == [
        "300", "750.00 CNY", "800.00 CNY", "830.00 CNY", "825.00 CNY", "660.00 CNY", "560.00 CNY", "560.00 CNY",
        "560.00 CNY",
    ]  # fmt: skip
    assert json.loads(json.dumps(found.to_json()))["amount"] == {"amount": "560.00", "currency": "CNY"}


def test_unseen_time_is_told_apart_and_not_paid() -> None:
    found = indemnify(UnitLoss(COVER, outage(hole=20)))
    assert found.amount < found.at_most
    assert found.at_most - found.amount == cny(500)
    assert {step.name: step.inputs for step in found.steps}["actual output"]["seconds_without_count"] == "20"


@pytest.mark.parametrize(
    ("cover", "extras", "missing"),
    [
        ({"contribution_per_unit": None}, Extras(), "unit_price and rate_of_gross_profit"),
        ({"contribution_per_unit": None, "unit_price": cny(5)}, Extras(), "rate_of_gross_profit of the cover"),
        ({"rate_of_gross_profit": D("0.5")}, Extras(icow=cny(5)), "turnover_saved_by_icow"),
        ({}, Extras(icow=cny(5), turnover_saved_by_icow=cny(5)), "rate_of_gross_profit of the cover"),
        ({}, Extras(makeup_units=D(5)), "makeup_extra_cost_per_unit"),
    ],
)
def test_a_missing_fact_is_named(cover: dict[str, object], extras: Extras, missing: str) -> None:
    terms = replace(COVER, **cover)  # type: ignore[arg-type]
    with pytest.raises(MissingFact, match=missing):
        indemnify(UnitLoss(terms, outage(), extras))


def test_all_faults_are_named_at_once() -> None:
    usd = Money(D(1), "USD")
    cover = replace(COVER, limit=usd, rate_of_gross_profit=D(2), sum_insured=cny(1), waiting=timedelta(seconds=9))
    with pytest.raises(ClaimError) as caught:
        indemnify(UnitLoss(cover, outage(), Extras(savings=usd, icow=cny(-1))))
    for said in ("limit: 1.00 USD", "rate_of_gross_profit: 2", "gross_profit_at_risk", "savings", "icow", "tallied"):
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"currency": "XXX"}, "currency"), ({"limit": cny(0)}, "limit"), ({"deductible": cny(-1)}, "deductible"),
        ({"waiting": timedelta(seconds=-1)}, "waiting"),
        ({"indemnity_period": timedelta(seconds=10)}, "indemnity_period"),
        ({"rate_of_gross_profit": D(0)}, "rate_of_gross_profit"), ({"unit_price": cny(0)}, "unit_price"),
    ],
)  # fmt: skip
def test_faults_of_a_cover(terms: dict[str, object], said: str) -> None:
    assert any(fault.startswith(said) for fault in replace(COVER, **terms).faults())  # type: ignore[arg-type]
    assert COVER.faults() == ()


def test_a_cover_survives_json_and_refuses_what_it_does_not_know() -> None:
    full = replace(
        COVER, unit_price=cny(5), rate_of_gross_profit=D("0.4"), sum_insured=cny(8), gross_profit_at_risk=cny(9),
        indemnity_period=timedelta(days=365), waiting_kind=WaitingKind.TRIGGER, economic_limit=False,
        rule=OutageRule(declared_rate=D(36000), window=timedelta(minutes=3)),
    )  # fmt: skip
    for cover in (COVER, full):
        assert Cover.from_json(json.loads(json.dumps(cover.to_json()))) == cover
    body = {"currency": "CNY", "limit": cny(1).to_json(), "waiting": "10"}
    assert Cover.from_json(body).waiting == timedelta(seconds=10)
    for bad in ({}, {**body, "colour": 1}, {**body, "waiting_kind": "maybe"}, {**body, "waiting_clock": "operating"},
                {**body, "rule": {"x": 1}}, {**body, "waiting": "1e30"}):  # fmt: skip
        with pytest.raises(ClaimError):
            Cover.from_json(bad)


def test_more_than_a_year_raises_the_gross_profit_at_risk_in_proportion() -> None:
    cover = replace(COVER, rate_of_gross_profit=D("0.2"), sum_insured=cny(300), gross_profit_at_risk=cny(400),
                    deductible=None)  # fmt: skip
    year = TurnoverLoss(cover, cny(2000), cny(500))
    assert indemnify(year).amount.text() == "225.00"  # 300 x 300/400
    longer = TurnoverLoss(cover, cny(2000), cny(500), indemnity_months=D(15))
    assert indemnify(longer).amount.text() == "240.00"  # 400 x 300/500
    with pytest.raises(ClaimError, match="indemnity_months"):
        indemnify(replace(year, indemnity_months=D(0)))


def test_a_profile_that_is_too_short_or_has_holes_is_refused() -> None:
    slots = hourly(T0, [cny(100)] * 4)
    cover = replace(COVER, waiting=timedelta(minutes=90), deductible=None)
    assert indemnify(ProfileLoss(cover, slots, timedelta(hours=4))).amount.text() == "250.00"
    with pytest.raises(MissingFact, match="the profile of gross profit from"):
        indemnify(ProfileLoss(cover, slots, timedelta(hours=5)))
    with pytest.raises(MissingFact, match="a profile"):
        indemnify(ProfileLoss(cover, (), timedelta(hours=5)))
    with pytest.raises(MissingFact, match="lost units"):
        indemnify(
            ProfileLoss(cover, slots, timedelta(hours=4), Extras(makeup_units=D(1), makeup_extra_cost_per_unit=cny(1)))
        )
    with pytest.raises(ClaimError, match="must start there"):
        gross_profit_between([slots[0], slots[2]], T0, T0 + timedelta(hours=3), "CNY")
    with pytest.raises(ClaimError, match="end after the start"):
        Slot(T0, T0, cny(1))


def test_an_outage_in_hours_must_not_overlap() -> None:
    with pytest.raises(ClaimError, match="not overlap"):
        payable_hours([(D(0), D(5)), (D(4), D(9))], D(1), WaitingKind.EXCESS)


def test_a_coinsurance_share_outside_its_bounds_is_refused() -> None:
    with pytest.raises(ClaimError, match="coinsurance share"):
        coinsurance(cny(1), limit=cny(1), annual_basis=cny(1), share=D(0))


def test_average_never_raises_a_loss() -> None:
    cover = replace(COVER, sum_insured=cny(200), gross_profit_at_risk=cny(100))
    assert amount(cover) == "775.00"


def test_make_up_is_paid_up_to_the_gross_profit_it_saves() -> None:
    dear = Extras(makeup_units=D(50), makeup_extra_cost_per_unit=cny(9))
    assert amount(extras=dear) == "775.00"  # (350 - 50) x 2.50 + 50 x 2.50 - 100
    assert amount(replace(COVER, economic_limit=False), dear) == "1100.00"

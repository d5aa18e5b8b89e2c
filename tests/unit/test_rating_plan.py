"""Rating plans: the shipped one holds, and a spoilt copy is refused with all its faults at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from importlib import resources

import pytest
from ullage_models.catalogue import catalogue
from ullage_models.rating.errors import PlanError, RatingError
from ullage_models.rating.plan import check_dates, load_plan, plan_in_force, shipped_plans

TEXT = (resources.files("ullage_models.rating") / "plans" / "cn-industrial-2026.yaml").read_text("utf-8")


def spoilt(*changes: tuple[str, str]) -> PlanError:
    text = TEXT
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    with pytest.raises(PlanError) as caught:
        load_plan(text, name="spoilt.yaml")
    return caught.value


def test_the_shipped_plan_is_complete() -> None:
    plan = plan_in_force(shipped_plans(), date(2026, 11, 23), market="cn")
    assert plan.id == "cn-industrial-2026"
    assert plan.waiting.low == 0
    assert set(plan.sectors) == {sector.id for sector in catalogue().sectors}
    assert plan.schedule_cap == Decimal("0.25")
    assert plan.sources
    assert plan.assumptions


@pytest.mark.parametrize(
    ("old", "new", "path", "said"),
    [
        ("    - {at: 0, value: 1.25}\n", "", "waiting.points", "leaves a gap: must start at 0"),
        ("- {at: 4, value: 1.10}", "- {at: 0, value: 1.10}", "waiting.points[1].at", "overlaps"),
        ("- {at: 12, value: 0.9774}", "- {at: 7, value: 0.9774}", "waiting.points[3].at", "rows must rise"),
        ("- {at: 4, value: 1.10}", "- {at: 4, value: 1.30}", "waiting.points[1].value", "is not falling"),
        ("value: 0.1478", "value: 0.01", "waiting.points[11].value", "outside its bounds"),
        ("  unit: hours of waiting period, excess kind\n", "", "waiting.unit", "is missing"),
        ("  value_unit: factor\n", "", "limit.value_unit", "is missing"),
        ("source: recovery_shares", "source: hearsay", "waiting.source", "not among"),
        ("direction: falling", "direction: any", "waiting.reason", "is missing"),
        ("direction: falling", "direction: up", "waiting.direction", "must be one of"),
        ("{from: 2_000_000, to: 1", "{from: 3_000_000, to: 1", "minimum_premium.bands[1].from", "leaves a gap from"),
        ("{from: 2_000_000, to: 1", "{from: 1_000_000, to: 1", "minimum_premium.bands[1].from", "overlaps"),
        ("to: null, value: 20_000", "to: 90_000_000, value: 20_000", "minimum_premium.bands", "leaves a gap above"),
        ("to: null, value: 20_000", "to: null, value: 2_000", "minimum_premium.bands[2].value", "is not rising"),
        ("from: 2026-01-01", "from: 2026-13-01", "in_force.from", "date"),
        ("from: 2026-01-01", "from: tomorrow", "in_force.from", "must be a date"),
        ("to: null\n\nsources", "to: 2025-01-01\n\nsources", "in_force.to", "lies before"),
        ("currency: CNY", "currency: XXX", "currency", "not known"),
        ("    other_sectors: {value: 1.20, source: hazard}\n", "", "sectors.factors.other_sectors", "leaves a gap"),
        ("other_sectors: {value", "moon_mining: {value", "sectors.factors.moon_mining", "not a sector"),
        ("vehicles: {value: 1.15", "vehicles: {value: 2.15", "sectors.factors.connected_vehicles.value", "outside"),
        ("bounds: [-0.10, 0.10]", "bounds: [-0.30, 0.10]", "schedule.criteria.segmentation.bounds", "within the cap"),
        ("credibility: 0.40", "credibility: 1.40", "telemetry.credibility", "outside its bounds"),
        ("base_intensity: 0.0343", "base_intensity: 0", "telemetry.base_intensity", "outside its bounds"),
        ("base_intensity: 0.0343", "base_intensity: .nan", "telemetry.base_intensity", "not a plain finite"),
        ("half_life_days: 14", "half_life_days: soon", "telemetry.kinds.integrity.half_life_days", "must be a number"),
        ("    other:\n", "    others:\n", "telemetry.kinds", "needs 'other'"),
        ("premium: half_up_minor_unit", "premium: down", "rounding.premium", "the one rule"),
        ("tax:\n", "taxes:\n", "tax", "is missing"),
        ("market: cn", "market: cn\nmarkets: cn", "markets", "is not known here"),
        ("market: cn", "market: cn\nmarket: us", "market", "second time"),
        ("zh: 工业网络安全营业中断保险费率方案（中国，2026）", "fr: x", "title.zh", "is missing"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_path_and_line(old: str, new: str, path: str, said: str) -> None:
    error = spoilt((old, new))
    found = [fault for fault in error.faults if fault.path == path and said in fault.what]
    assert found, str(error)
    assert found[0].line is not None
    assert f"spoilt.yaml:{found[0].line}: {path}" in str(error)


def test_all_faults_are_told_at_once_in_the_order_of_the_file() -> None:
    error = spoilt(("currency: CNY", "currency: XXX"), ("value: 1.10}", "value: 1.30}"),
                   ("credibility: 0.40", "credibility: 4"),
                   ("rate: 0.06", "rate: six"))  # fmt: skip
    assert [fault.path for fault in error.faults] == [
        "currency", "waiting.points[1].value", "telemetry.credibility", "tax.rate",
    ]  # fmt: skip
    assert "4 fault(s)" in str(error)


def test_a_table_that_is_not_monotone_needs_a_reason() -> None:
    text = TEXT.replace("- {at: 4, value: 1.10}", "- {at: 4, value: 1.30}")
    text = text.replace("direction: falling", "direction: any\n  reason: filed so in 2026", 1)
    assert load_plan(text, name="x").waiting.at(Decimal(4)) == Decimal("1.30")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must be a mapping"), ("- 1", "must be a mapping"), ("a: [", "not YAML"), ("a: &x 1\nb: *x", "aliases"),
        ("a: " + "[" * 40 + "]" * 40, "nested deeper"), ("a: " + "x" * 1_000_001, "larger than"),
        ("a: \x00", "not YAML"),
        ("!!python/object/apply:os.system [x]", "must be a mapping"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_plan_is_refused(text: str, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        load_plan(text, name="hostile.yaml")


def test_plans_of_one_market_must_not_overlap() -> None:
    (plan,) = shipped_plans()
    later = replace(plan, id="cn-industrial-2027", in_force_from=date(2027, 1, 1))
    with pytest.raises(PlanError, match="both in force in cn on 2027-01-01"):
        check_dates([plan, later])
    ended = replace(plan, in_force_to=date(2026, 12, 31))
    check_dates([ended, later])
    check_dates([plan, replace(later, market="us")])
    with pytest.raises(PlanError, match="names two plans"):
        check_dates([ended, replace(later, id=plan.id)])
    assert plan_in_force([ended, later], date(2026, 12, 31), market="cn") == ended
    assert plan_in_force([ended, later], date(2027, 1, 1), market="cn") == later


def test_no_plan_for_a_day_or_market_says_what_there_is() -> None:
    with pytest.raises(
        RatingError, match=r"no rating plan is in force in market 'cn' on 2025-12-31; there is cn-industrial-2026"
    ):
        plan_in_force(shipped_plans(), date(2025, 12, 31), market="cn")
    with pytest.raises(RatingError, match="market 'mars'"):
        plan_in_force(shipped_plans(), date(2026, 6, 1), market="mars")

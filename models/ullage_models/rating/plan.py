"""A dated rating plan: read from YAML with all its faults at once, shipped as package data, chosen by date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from importlib import resources

from ..catalogue import catalogue
from ..money import MINOR_UNITS, plain
from .errors import Fault, PlanError, RatingError
from .reading import Section, read
from .tables import Bands, Points, bounds_of, read_bands, read_points, source_of

ONE = Decimal(1)


@dataclass(frozen=True, slots=True)
class Factor:
    """One relativity with its titles by language and its source."""

    value: Decimal
    title: Mapping[str, str]
    source: str


@dataclass(frozen=True, slots=True)
class Criterion:
    """A schedule criterion: a credit (below zero) or debit (above zero) between ``low`` and ``high``."""

    low: Decimal
    high: Decimal
    title: Mapping[str, str]
    source: str


@dataclass(frozen=True, slots=True)
class Experience:
    """Poisson-gamma experience rating; its relativity is held between ``low`` and ``high``."""

    prior_mean: Decimal
    shape: Decimal
    low: Decimal
    high: Decimal
    source: str


@dataclass(frozen=True, slots=True)
class AnomalyKind:
    """How one kind of anomaly excites the intensity: ``mass`` expected events at severity 1, half-life in days."""

    mass: Decimal
    half_life_days: Decimal
    title: Mapping[str, str]
    undo: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TelemetryTerms:
    """Intensity and the way from the indicated to the charged relativity.

    ``base_intensity`` events a year; ``credibility`` 0-1; ``low`` and ``high`` bound what is charged;
    ``max_step`` bounds one change; ``class_mean`` and ``silence_half_life_hours`` rule a silent agent.
    """

    base_intensity: Decimal
    kinds: Mapping[str, AnomalyKind]
    credibility: Decimal
    low: Decimal
    high: Decimal
    max_step: Decimal
    class_mean: Decimal
    silence_half_life_hours: Decimal
    source: str


@dataclass(frozen=True, slots=True)
class RatingPlan:
    """Everything a premium is computed from. Values are as the file states them; see the shipped YAML for units."""

    id: str
    market: str
    currency: str
    title: Mapping[str, str]
    in_force_from: date
    in_force_to: date | None
    sources: Mapping[str, str]
    assumptions: Mapping[str, str]
    size: Points
    limit: Points
    waiting: Points
    deductible: Points
    sectors: Mapping[str, Factor]
    schedule: Mapping[str, Criterion]
    schedule_cap: Decimal
    experience: Experience
    telemetry: TelemetryTerms
    minimum_premium: Bands
    tax_rate: Decimal
    tax_note: str
    tax_source: str

    def in_force(self, on: date) -> bool:
        return self.in_force_from <= on and (self.in_force_to is None or on <= self.in_force_to)


def load_plan(text: str, *, name: str) -> RatingPlan:
    """A plan from YAML text. Raises PlanError with every fault, its path and line; ``name`` names the file."""
    faults: list[Fault] = []
    top = read(text, faults)
    plan = None if top is None else _plan(top)
    if faults or plan is None:
        order = {fault: place for place, fault in enumerate(faults)}
        raise PlanError(name, tuple(sorted(order, key=lambda f: (f.line or 0, order[f]))))
    return plan


@cache
def shipped_plans() -> tuple[RatingPlan, ...]:
    """The plans that come with the package, by id. Raises PlanError where one is faulty or two overlap."""
    folder = resources.files(__package__) / "plans"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    plans = tuple(load_plan(f.read_text("utf-8"), name=f.name) for f in files)
    check_dates(plans)
    return plans


def check_dates(plans: Sequence[RatingPlan]) -> None:
    """Raises PlanError where two plans of one market are in force on the same day, or share an id."""
    faults: list[Fault] = []
    for place, a in enumerate(plans):
        for b in plans[place + 1 :]:
            if a.id == b.id:
                faults.append(Fault("id", f"{a.id} names two plans"))
            elif (
                a.market == b.market
                and a.in_force(max(a.in_force_from, b.in_force_from))
                and b.in_force(max(a.in_force_from, b.in_force_from))
            ):
                day = max(a.in_force_from, b.in_force_from)
                faults.append(Fault("in_force", f"{a.id} and {b.id} are both in force in {a.market} on {day}"))
    if faults:
        raise PlanError("plans", tuple(faults))


def plan_in_force(plans: Sequence[RatingPlan], on: date, *, market: str) -> RatingPlan:
    """The one plan of a market in force on a day. Raises RatingError, naming what there is instead."""
    found = [plan for plan in plans if plan.market == market and plan.in_force(on)]
    if len(found) == 1:
        return found[0]
    have = "; ".join(
        f"{p.id} for {p.market} from {p.in_force_from} to {p.in_force_to or 'further notice'}" for p in plans
    )
    count = "no rating plan is" if not found else f"{len(found)} rating plans are"
    raise RatingError(f"{count} in force in market {market!r} on {on}; there is {have or 'none at all'}")


def _plan(top: Section) -> RatingPlan:
    plan_id, market, currency = top.text("id"), top.text("market"), top.text("currency")
    if currency and currency not in MINOR_UNITS:
        top.fault("currency", f"{currency!r} is not known; use one of {', '.join(MINOR_UNITS)}")
    force = top.sub("in_force")
    begin, end = force.day("from"), force.day("to", optional=True)
    if begin and end and end < begin:
        force.fault("to", f"{end} lies before {begin}")
    force.close()
    sources, assumptions = _texts(top.sub("sources")), _texts(top.sub("assumptions"))
    for both in sorted(set(sources) & set(assumptions)):
        top.fault("assumptions", f"{both} stands among the sources too")
    known = set(sources) | set(assumptions)
    size, limit = (
        read_points(top.sub("size"), "size", sources=known),
        read_points(top.sub("limit"), "limit", sources=known),
    )
    waiting = read_points(top.sub("waiting"), "waiting", sources=known, starts_at=Decimal(0))
    deductible = read_points(top.sub("deductible"), "deductible", sources=known, starts_at=Decimal(0))
    schedule, cap = _schedule(top.sub("schedule"), known)
    tax = top.sub("tax")
    rate, note, tax_source = tax.decimal("rate", 0, ONE), tax.text("note"), source_of(tax, known)
    tax.text("unit")
    tax.close()
    plan = RatingPlan(
        plan_id, market, currency, _title(top, "title"), begin or date.min, end, sources, assumptions, size, limit,
        waiting, deductible, _sectors(top.sub("sectors"), known), schedule, cap,
        _experience(top.sub("experience"), known), _telemetry(top.sub("telemetry"), known),
        read_bands(top.sub("minimum_premium"), "minimum_premium", sources=known), rate, note, tax_source,
    )  # fmt: skip
    rounding = top.sub("rounding")
    if (said := rounding.text("premium")) and said != "half_up_minor_unit":
        rounding.fault("premium", f"{said!r} is not known; the one rule is half_up_minor_unit")
    if (said := rounding.text("steps")) and said != "half_up_6_decimals":
        rounding.fault("steps", f"{said!r} is not known; the one rule is half_up_6_decimals")
    rounding.close()
    top.close()
    return plan


def _texts(section: Section) -> dict[str, str]:
    return {key: section.text(key) for key in list(section.body)}


def _title(section: Section, key: str) -> dict[str, str]:
    titles = section.sub(key)
    found = {language: titles.text(language) for language in ("en", "zh")}
    titles.close()
    return found


def _sectors(section: Section, known: set[str]) -> dict[str, Factor]:
    section.text("unit")
    low, high = bounds_of(section)
    table = section.sub("factors")
    found: dict[str, Factor] = {}
    expected = {sector.id: sector for sector in catalogue().sectors}
    for key, row in table.parts():
        found[key] = Factor(row.decimal("value", low, high), expected[key].name if key in expected else {},
                            source_of(row, known))  # fmt: skip
        row.close()
        if key not in expected:
            table.fault(key, f"is not a sector of the catalogue; sectors are {', '.join(expected)}")
    for key in expected:
        if key not in found:
            table.fault(key, "leaves a gap: every sector of the catalogue needs a factor")
    section.close()
    return found


def _schedule(section: Section, known: set[str]) -> tuple[dict[str, Criterion], Decimal]:
    section.text("unit")
    cap = section.decimal("cap", 0, Decimal("0.5"))
    found: dict[str, Criterion] = {}
    for key, row in section.sub("criteria").parts():
        low, high = bounds_of(row)
        if not -cap <= low <= 0 <= high <= cap:
            row.fault("bounds", f"must lie within the cap of ±{plain(cap)} and include 0")
        found[key] = Criterion(low, high, _title(row, "title"), source_of(row, known))
        row.close()
    section.close()
    return found, cap


def _experience(section: Section, known: set[str]) -> Experience:
    section.text("unit")
    low, high = bounds_of(section)
    if not 0 < low <= 1 <= high:
        section.fault("bounds", "must be above 0 and include 1")
    found = Experience(section.decimal("prior_mean", Decimal("0.000001"), 10), section.decimal("shape",
                       Decimal("0.000001"), 1000), low, high, source_of(section, known))  # fmt: skip
    section.close()
    return found


def _telemetry(section: Section, known: set[str]) -> TelemetryTerms:
    section.text("unit")
    low, high = bounds_of(section)
    if not 0 < low <= 1 <= high:
        section.fault("bounds", "must be above 0 and include 1")
    kinds: dict[str, AnomalyKind] = {}
    for key, row in section.sub("kinds").parts():
        row.text("unit")
        kinds[key] = AnomalyKind(
            row.decimal("mass", 0, 1), row.decimal("half_life_days", Decimal("0.001"), 3650), _title(row, "title"),
            _title(row, "undo"),
        )  # fmt: skip
        row.close()
    if "other" not in kinds:
        section.fault("kinds", "leaves a gap: needs 'other', for a kind that the plan does not name")
    found = TelemetryTerms(
        section.decimal("base_intensity", Decimal("0.000001"), 100), kinds, section.decimal("credibility", 0, 1), low,
        high, section.decimal("max_step", 0, 1), section.decimal("class_mean", Decimal("0.01"), 100),
        section.decimal("silence_half_life_hours", Decimal("0.01"), 100_000), source_of(section, known),
    )  # fmt: skip
    section.close()
    return found

"""The premium of a submission under a plan, with a trace that can be redone with a pencil.

Order: size base premium × limit × waiting period × deductible × sector × schedule × experience × telemetry, then
pro rata for a short period, minimum premium, rounding, tax. Factors are half up to six decimals and the running
premium is too after each step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from ..catalogue import catalogue
from ..money import Money, exact, plain, rounded
from ..trace import Step
from .errors import Fault, SubmissionError
from .plan import RatingPlan
from .relativity import ONE, ZERO, poisson_gamma, schedule_factor
from .tables import FACTOR_PLACES, Points


@dataclass(frozen=True, slots=True)
class Submission:
    """What is asked to be insured. Money in the plan's currency.

    ``waiting_hours`` decimal hours, 0 or more; ``schedule`` criterion to credit (below zero) or debit as a share;
    ``experience_years`` with ``experience_claims``, both zero where nothing is known; ``days`` of the period.
    """

    insured: str
    sector: str
    annual_gross_profit: Money
    limit: Money
    waiting_hours: Decimal
    deductible: Money | None = None
    sub_type: str | None = None
    schedule: Mapping[str, Decimal] = field(default_factory=dict)
    experience_years: Decimal = ZERO
    experience_claims: int = 0
    days: int = 365

    def faults(self, plan: RatingPlan | None = None) -> tuple[Fault, ...]:
        """Everything wrong at once, by field; with a plan also what that plan cannot rate."""
        found: list[Fault] = []

        def fault(path: str, what: str) -> None:
            found.append(Fault(path, what))

        if not self.insured.strip():
            fault("insured", "is empty; name the insured")
        sectors = {sector.id: sector for sector in catalogue().sectors}
        if self.sector not in sectors:
            fault("sector", f"{self.sector!r} is not known; use one of {', '.join(sectors)}")
        elif self.sub_type is not None and self.sub_type not in {s.id for s in sectors[self.sector].sub_types}:
            fault("sub_type", f"{self.sub_type!r} is not a sub-type of {self.sector}")
        for name in ("annual_gross_profit", "limit"):
            amount: Money = getattr(self, name)
            if amount.amount <= 0:
                fault(name, f"{amount} must be above zero")
        if self.deductible is not None and self.deductible.amount < 0:
            fault("deductible", f"{self.deductible} must not be negative")
        for name in ("waiting_hours", "experience_years"):
            value: Decimal = getattr(self, name)
            if not value.is_finite() or value < 0:
                fault(name, f"{value} must be zero or more")
        if self.experience_claims < 0:
            fault("experience_claims", f"{self.experience_claims} must be zero or more")
        if self.experience_claims and not self.experience_years:
            fault("experience_years", "is zero although claims are given; give the years they fell in")
        if not 1 <= self.days <= 366:
            fault("days", f"{self.days} must be 1 to 366 days")
        currencies = {m.currency for m in (self.annual_gross_profit, self.limit, self.deductible) if m is not None}
        if len(currencies) > 1:
            fault("limit", f"amounts are in {' and '.join(sorted(currencies))}; give all in one currency")
        elif self.deductible is not None and self.deductible >= self.limit:
            fault("deductible", f"{self.deductible} must lie below the limit {self.limit}")
        return tuple(found) if plan is None else (*found, *self._beyond(plan, found))

    def _beyond(self, plan: RatingPlan, known: list[Fault]) -> tuple[Fault, ...]:
        found: list[Fault] = []
        bad = {fault.path for fault in known}

        def within(path: str, value: Decimal, table: Points) -> None:
            if path not in bad and not table.low <= value <= table.high:
                span = f"{plain(table.low)} to {plain(table.high)}"
                found.append(Fault(path, f"{plain(value)} lies outside {span} {table.unit}; refer to an underwriter"))

        if self.limit.currency != plan.currency:
            found.append(Fault("limit", f"{self.limit} is not in the currency of plan {plan.id}, {plan.currency}"))
        within("annual_gross_profit", self.annual_gross_profit.amount, plan.size)
        within("limit", self.limit.amount, plan.limit)
        within("waiting_hours", self.waiting_hours, plan.waiting)
        if self.deductible is not None and not bad & {"deductible", "limit"}:
            within("deductible", self.deductible.over(self.limit), plan.deductible)
        for name, share in self.schedule.items():
            criterion = plan.schedule.get(name)
            if criterion is None:
                found.append(Fault(f"schedule.{name}", f"is not a criterion; known are {', '.join(plan.schedule)}"))
            elif not share.is_finite() or not criterion.low <= share <= criterion.high:
                bounds = f"{plain(criterion.low)} to {plain(criterion.high)}"
                found.append(Fault(f"schedule.{name}", f"{share} lies outside {bounds}"))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Premium:
    """``net`` + ``tax`` = ``gross``, all in minor units exactly. ``relativities`` are the factors around 1 by name."""

    plan: str
    net: Money
    tax: Money
    gross: Money
    steps: tuple[Step, ...]
    relativities: Mapping[str, Decimal]

    def to_json(self) -> dict[str, Any]:
        return {
            "plan": self.plan, "net": self.net.to_json(), "tax": self.tax.to_json(), "gross": self.gross.to_json(),
            "steps": [step.to_json() for step in self.steps],
            "relativities": {name: plain(value) for name, value in self.relativities.items()},
        }  # fmt: skip


@exact
def quote(plan: RatingPlan, submission: Submission, telemetry: Decimal = ONE) -> Premium:
    """The premium; ``telemetry`` is the charged relativity. Raises SubmissionError with every fault of the form."""
    faults = list(submission.faults(plan))
    if not telemetry.is_finite() or not plan.telemetry.low <= telemetry <= plan.telemetry.high:
        bounds = f"{plain(plan.telemetry.low)} to {plain(plan.telemetry.high)}"
        faults.append(Fault("telemetry", f"{telemetry} lies outside what plan {plan.id} charges, {bounds}"))
    if faults:
        raise SubmissionError(tuple(faults))
    steps: list[Step] = []
    relativities: dict[str, Decimal] = {}
    profit, limit = submission.annual_gross_profit, submission.limit
    running = plan.size.at(profit.amount)
    steps.append(
        Step("size base premium", {"annual_gross_profit": str(profit), "rows": plan.size.rows_text(profit.amount)},
             plain(running), plain(running), f"straight line between rows; {plan.size.value_unit}", plan.size.source)
    )  # fmt: skip

    def factor(name: str, value: Decimal, inputs: dict[str, str], note: str, source: str) -> None:
        nonlocal running
        value = rounded(value, FACTOR_PLACES)
        running = rounded(running * value, FACTOR_PLACES)
        relativities[name] = value
        steps.append(Step(name, inputs, plain(value), plain(running), note, source))

    def table(name: str, points: Points, at: Decimal, key: str) -> None:
        inputs = {key: plain(at), "rows": points.rows_text(at)}
        factor(name, points.at(at), inputs, f"straight line between rows; {points.unit}", points.source)

    table("limit", plan.limit, limit.amount, "limit")
    table("waiting period", plan.waiting, submission.waiting_hours, "waiting_hours")
    share = ZERO if submission.deductible is None else rounded(submission.deductible.over(limit), FACTOR_PLACES)
    table("deductible", plan.deductible, share, "share_of_limit")
    sector = plan.sectors[submission.sector]
    factor("sector", sector.value, {"sector": submission.sector}, sector.title.get("en", ""), sector.source)
    credits_ = dict(sorted(submission.schedule.items()))
    factor(
        "schedule",
        schedule_factor(list(credits_.values()), plan.schedule_cap),
        {**{name: plain(value) for name, value in credits_.items()}, "cap": plain(plan.schedule_cap)},
        "1 + sum of credits and debits, held within ± cap",
        "; ".join(sorted({c.source for c in plan.schedule.values()})),
    )
    _experience(plan, submission, factor)
    note = "charged relativity of the site's telemetry, to six places as every factor"
    factor("telemetry", telemetry, {"charged": plain(telemetry)}, note, plan.telemetry.source)
    return _close(plan, submission, running, steps, relativities)


def _experience(plan: RatingPlan, submission: Submission, factor: Any) -> None:  # noqa: ANN401 - a local function
    terms = plan.experience
    if not submission.experience_years:
        factor("experience", ONE, {"years": "0"}, "no years of experience are given", terms.source)
        return
    posterior, relativity = poisson_gamma(
        terms.prior_mean, terms.shape, claims=submission.experience_claims, years=submission.experience_years
    )
    held = max(terms.low, min(terms.high, relativity))
    inputs = {
        "claims": str(submission.experience_claims), "years": plain(submission.experience_years),
        "prior_mean": plain(terms.prior_mean), "shape": plain(terms.shape), "posterior": plain(rounded(posterior, 6)),
        "low": plain(terms.low), "high": plain(terms.high),
    }  # fmt: skip
    note = "(shape + claims) / (shape / prior mean + years) / prior mean, within bounds"
    factor("experience", held, inputs, note, terms.source)


def _close(
    plan: RatingPlan, submission: Submission, running: Decimal, steps: list[Step], relativities: dict[str, Decimal]
) -> Premium:
    """Short period, minimum, rounding and tax."""
    if submission.days < 365:
        running = rounded(running * submission.days / 365, FACTOR_PLACES)
        steps.append(Step("short period", {"days": str(submission.days)}, f"{submission.days}/365", plain(running),
                          "by the day"))  # fmt: skip
    least = plan.minimum_premium.at(submission.limit.amount)
    row = plan.minimum_premium.row_text(submission.limit.amount)
    running = max(running, least)
    steps.append(Step("minimum premium", {"limit": str(submission.limit), "row": row}, plain(least), plain(running),
                      plan.minimum_premium.value_unit, plan.minimum_premium.source))  # fmt: skip
    net = Money(rounded(running, FACTOR_PLACES), plan.currency).rounded()
    steps.append(Step("rounding", {"premium": plain(running)}, str(net), str(net), "half up to the minor unit"))
    tax = net.times(plan.tax_rate).rounded()
    gross = net + tax
    steps.append(Step("tax", {"net": str(net), "rate": plain(plan.tax_rate)}, str(tax), str(gross), plan.tax_note,
                      plan.tax_source))  # fmt: skip
    return Premium(plan.id, net, tax, gross, tuple(steps), relativities)

"""From lost output to an amount of money, on the gross-profit basis, every step kept.

Order of the rules: waiting clock, standard, actual, lost output net of make-up, rate of gross profit, increased
cost of working up to its economic limit, savings, average, deductible, limit, rounding. Quantities are rounded
half up to six decimals where a step shows them and are carried on as shown, so that a reader who redoes a step
from its inputs gets its result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from ..money import Money, exact, plain, rounded, total
from ..trace import Step
from .cover import Cover, WaitingKind
from .errors import ClaimError, MissingFact
from .outage import Outage
from .production import seconds
from .profile import Slot, gross_profit_between

ZERO = Decimal(0)
_GP_BASIS = "gross-profit basis"


@dataclass(frozen=True, slots=True)
class Extras:
    """Facts of the claim beside lost output, all after the waiting period.

    ``icow``: increased cost of working; ``turnover_saved_by_icow`` what sales it kept (needed for its economic
    limit); ``savings``: standing charges that ceased. ``makeup_units`` were made later to replace lost ones, each
    at ``makeup_extra_cost_per_unit`` more than usual.
    """

    icow: Money | None = None
    turnover_saved_by_icow: Money | None = None
    savings: Money | None = None
    makeup_units: Decimal = ZERO
    makeup_extra_cost_per_unit: Money | None = None


@dataclass(frozen=True, slots=True)
class UnitLoss:
    """Loss from the units an outage cost a line."""

    cover: Cover
    outage: Outage
    extras: Extras = Extras()


@dataclass(frozen=True, slots=True)
class ProfileLoss:
    """Loss from a profile of gross profit by time, with the line wholly out for ``down`` from the first slot on."""

    cover: Cover
    slots: tuple[Slot, ...]
    down: timedelta
    extras: Extras = Extras()


@dataclass(frozen=True, slots=True)
class TurnoverLoss:
    """Loss from accounts. ``standard_turnover`` is that of ``standard_months`` (12 for a year's figure).

    ``actual_turnover`` is that of the ``indemnity_months`` after the waiting period; ``trend`` a share, 0 for none.
    Where ``indemnity_months`` exceeds 12, the gross profit at risk grows in proportion before average.
    """

    cover: Cover
    standard_turnover: Money
    actual_turnover: Money
    standard_months: Decimal = Decimal(12)
    indemnity_months: Decimal = Decimal(12)
    trend: Decimal = ZERO
    extras: Extras = Extras()


@dataclass(frozen=True, slots=True)
class Indemnity:
    """What the policy answers for, with the steps that lead there. ``at_most`` is the amount if all time of which
    nothing is known had been lost entirely; it equals ``amount`` where everything was counted."""

    amount: Money
    steps: tuple[Step, ...]
    at_most: Money

    def to_json(self) -> dict[str, Any]:
        return {
            "amount": self.amount.to_json(), "at_most": self.at_most.to_json(),
            "steps": [step.to_json() for step in self.steps],
        }  # fmt: skip


Facts = UnitLoss | ProfileLoss | TurnoverLoss


@exact
def indemnify(facts: Facts) -> Indemnity:
    """The indemnity for one outage. Raises MissingFact or ClaimError, naming what is missing or contradictory."""
    _check(facts)
    if isinstance(facts, UnitLoss):
        amount, steps = _from_units(facts, at_most=False)
        most = amount
        if facts.outage.whole.known_seconds != facts.outage.whole.seconds:
            most, _ = _from_units(facts, at_most=True)
        return Indemnity(amount, tuple(steps), max(amount, most))
    amount, steps = _from_profile(facts) if isinstance(facts, ProfileLoss) else _from_turnover(facts)
    return Indemnity(amount, tuple(steps), amount)


def _check(facts: Facts) -> None:
    faults = list(facts.cover.faults())
    amounts: dict[str, Money | None] = {
        "icow": facts.extras.icow, "turnover_saved_by_icow": facts.extras.turnover_saved_by_icow,
        "savings": facts.extras.savings, "makeup_extra_cost_per_unit": facts.extras.makeup_extra_cost_per_unit,
    }  # fmt: skip
    if isinstance(facts, TurnoverLoss):
        amounts |= {"standard_turnover": facts.standard_turnover, "actual_turnover": facts.actual_turnover}
        months = {"standard_months": facts.standard_months, "indemnity_months": facts.indemnity_months}
        faults += [f"{name}: {value} must be above zero" for name, value in months.items() if value <= 0]
        if facts.trend <= -1:
            faults.append(f"trend: {facts.trend} must lie above -1")
    for name, amount in amounts.items():
        if amount is not None and amount.currency != facts.cover.currency:
            faults.append(f"{name}: {amount} is not in the cover's currency {facts.cover.currency}")
        if amount is not None and amount.amount < 0:
            faults.append(f"{name}: {amount} must not be negative")
    if facts.extras.makeup_units < 0:
        faults.append(f"makeup_units: {facts.extras.makeup_units} must not be negative")
    if isinstance(facts, UnitLoss):
        cover, outage = facts.cover, facts.outage
        ends = None if cover.indemnity_period is None else outage.start + cover.indemnity_period
        if outage.waiting_ends != outage.start + cover.waiting or outage.indemnity_ends != ends:
            faults.append(
                "outage: it was tallied with another waiting or indemnity period than the cover's; tally it again "
                "from the production intervals"
            )
    if faults:
        raise ClaimError("the indemnity cannot be computed: " + "; ".join(faults))
    _check_missing(facts)


def _check_missing(facts: Facts) -> None:
    extras = facts.extras
    missing: list[str] = []
    if isinstance(facts, UnitLoss):
        try:
            facts.cover.value_of_unit()
        except MissingFact as exc:
            missing.extend(exc.facts)
    if extras.icow and facts.cover.economic_limit and extras.turnover_saved_by_icow is None:
        missing.append("turnover_saved_by_icow (the cover pays increased cost of working up to its economic limit)")
    needs_rate = isinstance(facts, TurnoverLoss) or (extras.icow and facts.cover.economic_limit)
    if needs_rate and facts.cover.rate_of_gross_profit is None:
        missing.append("rate_of_gross_profit of the cover")
    if extras.makeup_units and extras.makeup_extra_cost_per_unit is None:
        missing.append("makeup_extra_cost_per_unit (zero is an answer)")
    if extras.makeup_units and not isinstance(facts, UnitLoss):
        missing.append("lost units (make-up in units can only be set against lost units)")
    if missing:
        raise MissingFact(tuple(missing))


def _from_units(facts: UnitLoss, *, at_most: bool) -> tuple[Money, list[Step]]:
    cover, outage, extras = facts.cover, facts.outage, facts.extras
    value = cover.value_of_unit()
    payable, steps = _waiting(cover, outage.duration)
    tally = outage.after_waiting if cover.waiting_kind is WaitingKind.EXCESS else outage.whole
    counted = rounded(tally.seconds if at_most else tally.known_seconds, 6)
    rate = outage.standard.rate
    standard = rounded(outage.standard.units(counted), 6) if payable else ZERO
    made = rounded(tally.made_units, 6) if payable else ZERO
    steps.append(
        Step("standard output", {"rate_per_hour": plain(rate), "seconds": plain(counted)}, plain(standard),
             plain(standard), f"units that the line would have made; {outage.standard.basis}")
    )  # fmt: skip
    blind = plain(rounded(tally.seconds - tally.known_seconds, 6))
    steps.append(
        Step("actual output", {"counted": plain(made), "seconds_without_count": blind}, plain(made), plain(made),
             "time without a count adds neither standard nor actual output; the most it could add is told apart")
    )  # fmt: skip
    lost = max(ZERO, standard - made)
    made_up = min(extras.makeup_units, lost)
    net = lost - made_up
    steps.append(
        Step("lost units", {"standard": plain(standard), "actual": plain(made), "made_up_later": plain(made_up)},
             plain(net), plain(net), "standard less actual, never below zero, less units made up later")
    )  # fmt: skip
    loss = value.times(net)
    basis: dict[str, str] = {"lost_units": plain(net), "value_of_unit": str(value)}
    if cover.contribution_per_unit is None and cover.unit_price is not None:
        basis |= {
            "unit_price": str(cover.unit_price),
            "rate_of_gross_profit": plain(cover.rate_of_gross_profit or ZERO),
        }
    steps.append(Step("loss of gross profit", basis, str(loss), str(loss), "lost units × gross profit of a unit"))
    if made_up and extras.makeup_extra_cost_per_unit is not None:
        cost, saved = extras.makeup_extra_cost_per_unit.times(made_up), value.times(made_up)
        allowed = min(cost, saved) if cover.economic_limit else cost
        loss = loss + allowed
        steps.append(
            Step("extra cost of make-up",
                 {"units": plain(made_up), "cost": str(cost), "gross_profit_saved": str(saved)}, str(allowed),
                 str(loss), "paid up to the gross profit it saves")
        )  # fmt: skip
    return _settle(cover, extras, loss, steps, payable=payable, at_risk=cover.gross_profit_at_risk)


def _from_profile(facts: ProfileLoss) -> tuple[Money, list[Step]]:
    cover = facts.cover
    if not facts.slots:
        raise MissingFact(("a profile of gross profit by time",))
    start = facts.slots[0].start
    end = start + facts.down
    if facts.slots[-1].end < end:
        raise MissingFact((f"the profile of gross profit from {facts.slots[-1].end} to {end}",))
    payable, steps = _waiting(cover, facts.down)
    begin = start + cover.waiting if cover.waiting_kind is WaitingKind.EXCESS else start
    if cover.indemnity_period is not None:
        end = min(end, start + cover.indemnity_period)
    loss = gross_profit_between(facts.slots, begin, end, cover.currency) if payable else Money.zero(cover.currency)
    steps.append(
        Step("loss of gross profit", {"from": begin.isoformat(), "to": max(begin, end).isoformat()}, str(loss),
             str(loss), "summed hour by hour over the profile, never as an average")
    )  # fmt: skip
    return _settle(cover, facts.extras, loss, steps, payable=payable, at_risk=cover.gross_profit_at_risk)


def _from_turnover(facts: TurnoverLoss) -> tuple[Money, list[Step]]:
    cover, rate = facts.cover, facts.cover.rate_of_gross_profit or ZERO
    months = rounded(facts.indemnity_months / facts.standard_months, 12)
    standard = facts.standard_turnover.times(months).times(1 + facts.trend)
    steps = [
        Step("standard turnover",
             {"turnover": str(facts.standard_turnover), "of_months": plain(facts.standard_months),
              "indemnity_months": plain(facts.indemnity_months), "trend": plain(facts.trend)},
             str(standard), str(standard), "turnover × indemnity months / its months × (1 + trend)"),
    ]  # fmt: skip
    short = max(standard - facts.actual_turnover, Money.zero(cover.currency))
    steps.append(
        Step("reduction in turnover", {"standard": str(standard), "actual": str(facts.actual_turnover)}, str(short),
             str(short), "standard less actual, never below zero")
    )  # fmt: skip
    loss = short.times(rate)
    steps.append(
        Step("loss of gross profit", {"reduction": str(short), "rate_of_gross_profit": plain(rate)}, str(loss),
             str(loss), "reduction in turnover × rate of gross profit")
    )  # fmt: skip
    at_risk = cover.gross_profit_at_risk
    if at_risk is not None and facts.indemnity_months > 12:
        at_risk = at_risk.times(rounded(facts.indemnity_months / 12, 12))
    return _settle(cover, facts.extras, loss, steps, payable=True, at_risk=at_risk)


def _waiting(cover: Cover, lasted: timedelta) -> tuple[bool, list[Step]]:
    over = lasted > cover.waiting
    inputs = {
        "lasted_seconds": plain(seconds(lasted)), "waiting_seconds": plain(seconds(cover.waiting)),
        "kind": str(cover.waiting_kind), "clock": str(cover.waiting_clock),
    }  # fmt: skip
    excess = cover.waiting_kind is WaitingKind.EXCESS
    left = max(timedelta(0), lasted - cover.waiting) if excess else (lasted if over else timedelta(0))
    note = "only time after the waiting period counts" if excess else "once it is over, all time from the start counts"
    if not over:
        note = "the outage did not outlast the waiting period; nothing is payable"
    shown = plain(seconds(left))
    return over, [Step("waiting period", inputs, shown, shown, note, "terms of the cover")]


def _settle(
    cover: Cover, extras: Extras, loss: Money, steps: list[Step], *, payable: bool, at_risk: Money | None
) -> tuple[Money, list[Step]]:
    """Steps from the loss of gross profit to the amount, the same for every way of measuring it."""
    zero = Money.zero(cover.currency)
    if payable and extras.icow:
        allowed, inputs, note = (
            extras.icow,
            {"icow": str(extras.icow)},
            "paid in full: the cover sets no economic limit",
        )
        if cover.economic_limit and extras.turnover_saved_by_icow is not None:
            saved = extras.turnover_saved_by_icow.times(cover.rate_of_gross_profit or ZERO)
            inputs |= {"turnover_saved": str(extras.turnover_saved_by_icow), "gross_profit_saved": str(saved)}
            allowed, note = min(extras.icow, saved), "paid up to the gross profit it saved"
        loss = loss + allowed
        steps.append(Step("increased cost of working", inputs, str(allowed), str(loss), note))
    if payable and extras.savings:
        loss = max(zero, loss - extras.savings)
        steps.append(
            Step("savings in standing charges", {"savings": str(extras.savings)}, str(extras.savings), str(loss),
                 "charges that ceased; the loss is never below zero")
        )  # fmt: skip
    if cover.sum_insured is not None and at_risk is not None:
        loss, step = average(loss, cover.sum_insured, at_risk)
        steps.append(step)
    if cover.deductible:
        loss = max(zero, loss - cover.deductible)
        steps.append(
            Step("deductible", {"deductible": str(cover.deductible)}, str(cover.deductible), str(loss),
                 "after average, never below zero")
        )  # fmt: skip
    limited = min(loss, cover.limit)
    steps.append(Step("limit", {"limit": str(cover.limit)}, str(cover.limit), str(limited), "the most the cover pays"))
    amount = limited.rounded()
    steps.append(
        Step(
            "rounding",
            {"amount": str(limited)},
            str(amount),
            str(amount),
            "half up to the minor unit, once, at the end",
        )
    )
    return amount, steps


@exact
def average(loss: Money, sum_insured: Money, at_risk: Money) -> tuple[Money, Step]:
    """Average (underinsurance): the loss × sum insured / value at risk, where that is below one."""
    share = min(Decimal(1), rounded(sum_insured.over(at_risk), 12))
    borne = loss.times(share)
    inputs: Mapping[str, str] = {
        "loss": str(loss),
        "sum_insured": str(sum_insured),
        "gross_profit_at_risk": str(at_risk),
    }
    return borne, Step("average", inputs, plain(share), str(borne), "loss × sum insured / at risk, at most 1")


@exact
def coinsurance(
    loss: Money, *, limit: Money, annual_basis: Money, share: Decimal, deductible: Money | None = None
) -> Indemnity:
    """US coinsurance: loss × limit / (share × 12 months of net income and operating expenses), deductible, limit."""
    if not 0 < share <= Decimal("1.25"):
        raise ClaimError(f"coinsurance share {share} must lie above 0 and not above 1.25")
    required = annual_basis.times(share)
    ratio = min(Decimal(1), rounded(limit.over(required), 12))
    borne = loss.times(ratio)
    less = max(Money.zero(loss.currency), borne - deductible) if deductible else borne
    amount = min(less, limit).rounded()
    steps = (
        Step("required limit", {"annual_basis": str(annual_basis), "share": plain(share)}, str(required),
             str(required)),
        Step("coinsurance", {"loss": str(loss), "limit": str(limit), "required": str(required)}, plain(ratio),
             str(borne), "loss × limit / required, at most 1; before the deductible"),
        Step("deductible", {"deductible": str(deductible or Money.zero(loss.currency))}, str(less), str(less)),
        Step("limit", {"limit": str(limit)}, str(amount), str(amount)),
    )  # fmt: skip
    return Indemnity(amount, steps, amount)


@exact
def monthly_limit(losses: tuple[Money, ...], *, limit: Money, fraction: Decimal) -> Indemnity:
    """US monthly limit of indemnity: each 30 consecutive days pay at most limit × fraction, all together the limit."""
    cap = limit.times(fraction)
    paid = [min(loss, cap) for loss in losses]
    amount = min(total(paid, limit.currency), limit).rounded()
    steps = (
        Step("monthly cap", {"limit": str(limit), "fraction": plain(fraction)}, str(cap), str(cap)),
        *(
            Step(f"month {place}", {"loss": str(loss), "cap": str(cap)}, str(each), str(each))
            for place, (loss, each) in enumerate(zip(losses, paid, strict=True), 1)
        ),
        Step("limit", {"limit": str(limit)}, str(amount), str(amount)),
    )
    return Indemnity(amount, steps, amount)

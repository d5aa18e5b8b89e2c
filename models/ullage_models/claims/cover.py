"""The business-interruption cover of a policy: what the indemnity needs to know of the contract."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, Self

from ..money import MINOR_UNITS, Money, exact, number
from .errors import ClaimError, MissingFact
from .outage import OutageRule, OutageWatch, span
from .production import seconds


class WaitingKind(enum.StrEnum):
    """Excess: only what is lost after the waiting period. Trigger: once it is over, all from the start."""

    EXCESS = "excess"
    TRIGGER = "trigger"


class WaitingClock(enum.StrEnum):
    """Which hours the waiting period counts."""

    CALENDAR = "calendar"


@dataclass(frozen=True, slots=True)
class Cover:
    """Business interruption on the gross-profit basis. All money is in ``currency``.

    A lost unit is worth ``contribution_per_unit``, or else ``unit_price`` × ``rate_of_gross_profit`` (a share of
    turnover, 0-1). Average applies where ``sum_insured`` is given and needs ``gross_profit_at_risk``, both for
    the same period. ``economic_limit``: increased cost of working is paid up to the gross profit it saves.
    """

    currency: str
    limit: Money
    waiting: timedelta
    waiting_kind: WaitingKind = WaitingKind.EXCESS
    waiting_clock: WaitingClock = WaitingClock.CALENDAR
    deductible: Money | None = None
    rate_of_gross_profit: Decimal | None = None
    unit_price: Money | None = None
    contribution_per_unit: Money | None = None
    sum_insured: Money | None = None
    gross_profit_at_risk: Money | None = None
    indemnity_period: timedelta | None = None
    economic_limit: bool = True
    rule: OutageRule = field(default_factory=OutageRule)

    def faults(self) -> tuple[str, ...]:
        """Everything wrong with the cover at once; empty where it can be used."""
        found: list[str] = []
        if self.currency not in MINOR_UNITS:
            found.append(f"currency: {self.currency!r} is not known; use one of {', '.join(MINOR_UNITS)}")
        for name in _MONEY:
            amount: Money | None = getattr(self, name)
            if amount is None:
                continue
            if amount.currency != self.currency:
                found.append(f"{name}: {amount} is not in the cover's currency {self.currency}")
            if amount.amount < 0 or (name not in ("deductible",) and not amount):
                found.append(f"{name}: {amount} must be above zero" if name != "deductible" else
                             f"deductible: {amount} must be zero or more")  # fmt: skip
        if self.waiting < timedelta(0):
            found.append("waiting: a waiting period cannot be negative; give zero or more")
        if self.indemnity_period is not None and self.indemnity_period <= self.waiting:
            found.append("indemnity_period: it must be longer than the waiting period, or nothing can be paid")
        rate = self.rate_of_gross_profit
        if rate is not None and not (rate.is_finite() and 0 < rate <= 1):
            found.append(f"rate_of_gross_profit: {rate} must be a share above 0 and up to 1")
        if self.sum_insured is not None and self.gross_profit_at_risk is None:
            found.append("gross_profit_at_risk: needed for average, because a sum insured is given")
        return tuple(found)

    @exact
    def value_of_unit(self) -> Money:
        """What one lost unit costs the insured. Raises MissingFact."""
        if self.contribution_per_unit is not None:
            return self.contribution_per_unit
        if self.unit_price is not None and self.rate_of_gross_profit is not None:
            return self.unit_price.times(self.rate_of_gross_profit)
        missing = [name for name in ("unit_price", "rate_of_gross_profit") if getattr(self, name) is None]
        raise MissingFact((f"{' and '.join(missing)} of the cover (or contribution_per_unit)",))

    def watch(self) -> OutageWatch:
        """An outage watch with the terms of this cover, for one line."""
        return OutageWatch(self.rule, self.waiting, self.indemnity_period)

    def to_json(self) -> dict[str, Any]:
        return {
            "currency": self.currency,
            **{name: _json(getattr(self, name)) for name in _MONEY},
            "waiting": str(seconds(self.waiting)), "waiting_kind": str(self.waiting_kind),
            "waiting_clock": str(self.waiting_clock),
            "rate_of_gross_profit": None if self.rate_of_gross_profit is None else str(self.rate_of_gross_profit),
            "indemnity_period": None if self.indemnity_period is None else str(seconds(self.indemnity_period)),
            "economic_limit": self.economic_limit, "rule": self.rule.to_json(),
        }  # fmt: skip

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """From ``to_json``'s form: durations in seconds, money as objects; what has a default may be absent."""
        if unknown := sorted(set(body) - _FIELDS):
            raise ClaimError(f"cover: {', '.join(unknown)} not known; known are {', '.join(sorted(_FIELDS))}")
        if missing := [name for name in ("currency", "limit", "waiting") if body.get(name) is None]:
            raise ClaimError(f"cover: {', '.join(missing)} missing")
        given: dict[str, Any] = {"currency": body["currency"], "waiting": span(body["waiting"])}
        for name in _MONEY:
            if body.get(name) is not None:
                given[name] = Money.from_json(body[name])
        try:
            given["waiting_kind"] = WaitingKind(body.get("waiting_kind", "excess"))
            given["waiting_clock"] = WaitingClock(body.get("waiting_clock", "calendar"))
        except ValueError as exc:
            raise ClaimError(f"cover: {exc}; waiting_kind is excess or trigger, waiting_clock is calendar") from None
        if body.get("rate_of_gross_profit") is not None:
            given["rate_of_gross_profit"] = number(body["rate_of_gross_profit"])
        if body.get("indemnity_period") is not None:
            given["indemnity_period"] = span(body["indemnity_period"])
        if "economic_limit" in body:
            given["economic_limit"] = bool(body["economic_limit"])
        if body.get("rule") is not None:
            given["rule"] = OutageRule.from_json(body["rule"])
        return cls(**given)


_MONEY = ("limit", "deductible", "unit_price", "contribution_per_unit", "sum_insured", "gross_profit_at_risk")
_FIELDS = {
    *_MONEY, "currency", "waiting", "waiting_kind", "waiting_clock", "rate_of_gross_profit", "indemnity_period",
    "economic_limit", "rule",
}  # fmt: skip


def _json(amount: Money | None) -> dict[str, Any] | None:
    return None if amount is None else amount.to_json()

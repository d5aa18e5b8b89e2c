"""The terms of a policy as they are asked for, checked, and kept: one canonical document."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BeforeValidator, Field
from ullage_models.claims.cover import Cover
from ullage_models.money import Money, number, rounded
from ullage_models.rating.plan import RatingPlan, plan_in_force, shipped_plans
from ullage_models.rating.premium import Submission
from ullage_protocols import wire
from ullage_protocols.errors import WireError

from ..errors import CommandError
from ..web import NAME, Strict

LAW_MODES = ("renewal", "decrease", "agreed")


def _moment(value: object) -> object:
    if isinstance(value, datetime):
        return value
    try:
        return wire.parse_time(value)
    except WireError as exc:
        raise ValueError(str(exc)) from exc


Amount = Annotated[
    str,
    Field(pattern=r"^\d{1,15}(\.\d{1,12})?$", description='An amount in the policy\'s currency as text: "1250.50".'),
]
Share = Annotated[str, Field(pattern=r"^-?\d{1,3}(\.\d{1,12})?$", description='A number as text: "0.35".')]
Moment = Annotated[AwareDatetime, BeforeValidator(_moment), Field(strict=False, description="RFC 3339 with a zone.")]
Seconds = Annotated[float, Field(ge=0, le=86400 * 366 * 10, description="Seconds.")]
Name = Annotated[str, Field(pattern=NAME)]


class OutageRuleTerms(Strict):
    """How a stop is recognised. Shares are of standard output; absent fields have the model's defaults."""

    start_below: Share | None = None
    end_at: Share | None = None
    recovery_hold_seconds: Seconds | None = None
    window_seconds: Seconds | None = None
    declared_rate: Share | Amount | None = None
    min_measured_seconds: Seconds | None = None
    min_observed: Share | None = None


class CoverTerms(Strict):
    """Business interruption on the gross-profit basis.

    A lost unit is worth ``contribution_per_unit``, or ``unit_price`` times ``rate_of_gross_profit``.
    """

    limit: Amount
    waiting_seconds: Seconds
    waiting_kind: Literal["excess", "trigger"] = "excess"
    waiting_clock: Literal["calendar"] = "calendar"
    deductible: Amount | None = None
    rate_of_gross_profit: Share | None = None
    unit_price: Amount | None = None
    contribution_per_unit: Amount | None = None
    sum_insured: Amount | None = None
    gross_profit_at_risk: Amount | None = None
    indemnity_period_seconds: Seconds | None = None
    standard_output: OutageRuleTerms = Field(default_factory=OutageRuleTerms)


class RatingTerms(Strict):
    """What the premium is computed from beside the cover. ``schedule``: criterion to credit or debit, as text."""

    annual_gross_profit: Amount
    sub_type: Annotated[str, Field(max_length=64)] | None = None
    schedule: Annotated[dict[str, Share], Field(max_length=50)] = Field(default_factory=dict)
    experience_years: Share = "0"
    experience_claims: Annotated[int, Field(ge=0, le=1000)] = 0


class PolicyRequest(Strict):
    """A policy to quote or bind. Without ``id`` the policy is named after its terms, so that binding the same
    terms twice gives one policy. Without ``plan`` the plan in force on the first day is taken."""

    id: Name | None = None
    site: Name
    insured: Annotated[str, Field(min_length=1, max_length=200)]
    sector: Annotated[str, Field(min_length=1, max_length=64)]
    lines: Annotated[list[Annotated[str, Field(min_length=1, max_length=120)]], Field(max_length=100)] = Field(
        default_factory=list, description="Lines covered; empty is every line of the site."
    )
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    start: Moment
    end: Moment
    market: Annotated[str, Field(max_length=16)] = "cn"
    plan: Annotated[str, Field(max_length=64)] | None = None
    law_mode: Annotated[
        Literal["renewal", "decrease", "agreed"],
        Field(description="Mid-term changes: never before renewal, only downwards, or both ways as agreed."),
    ] = "agreed"
    cover: CoverTerms
    rating: RatingTerms


def plan_named(name: str) -> RatingPlan:
    """A shipped rating plan by id; CommandError otherwise."""
    for plan in shipped_plans():
        if plan.id == name:
            return plan
    raise CommandError(f"rating plan {name!r} is unknown; there is {', '.join(p.id for p in shipped_plans())}")


def document(request: PolicyRequest, tenant: str) -> dict[str, Any]:
    """The terms to keep, in one form for equal terms. CommandError or ModelError on what cannot be insured."""
    if request.end <= request.start:
        raise CommandError("the period of insurance must end after it starts")
    if request.plan is None:
        plan = plan_in_force(shipped_plans(), request.start.date(), market=request.market)
    else:
        plan = plan_named(request.plan)
    cover = _cover(request.cover, request.currency)
    if faults := cover.faults():
        raise CommandError("the cover cannot be bound: " + "; ".join(faults))
    rating = request.rating
    body: dict[str, Any] = {
        "tenant": tenant, "site": request.site, "insured": request.insured, "sector": request.sector,
        "lines": sorted(set(request.lines)), "currency": request.currency, "start": wire.format_time(request.start),
        "end": wire.format_time(request.end), "plan": plan.id, "law_mode": request.law_mode, "cover": cover.to_json(),
        "rating": {
            "annual_gross_profit": Money(Decimal(rating.annual_gross_profit), request.currency).to_json(),
            "sub_type": rating.sub_type, "schedule": dict(sorted(rating.schedule.items())),
            "experience_years": rating.experience_years, "experience_claims": rating.experience_claims,
        },
    }  # fmt: skip
    name = hashlib.sha256(wire.encode(body)).hexdigest()[:12]
    return {"id": request.id or f"policy-{name}", **body}


def _cover(terms: CoverTerms, currency: str) -> Cover:
    body: dict[str, Any] = {
        "currency": currency, "waiting": str(number(terms.waiting_seconds)), "waiting_kind": terms.waiting_kind,
        "waiting_clock": terms.waiting_clock, "rate_of_gross_profit": terms.rate_of_gross_profit,
    }  # fmt: skip
    for name in ("limit", "deductible", "unit_price", "contribution_per_unit", "sum_insured", "gross_profit_at_risk"):
        value = getattr(terms, name)
        if value is not None:
            body[name] = {"amount": value, "currency": currency}
    if terms.indemnity_period_seconds is not None:
        body["indemnity_period"] = str(number(terms.indemnity_period_seconds))
    rule = {
        name.removesuffix("_seconds"): value if isinstance(value, str) else str(number(value))
        for name, value in terms.standard_output.model_dump().items()
        if value is not None
    }
    if rule:
        body["rule"] = rule
    return Cover.from_json(body)


def submission(terms: Mapping[str, Any]) -> Submission:
    """What the rating plan asks of kept terms."""
    cover, rating = Cover.from_json(terms["cover"]), terms["rating"]
    period = wire.parse_time(terms["end"]) - wire.parse_time(terms["start"])
    days = -(-period // timedelta(days=1))
    hours = rounded(number(terms["cover"]["waiting"]) / 3600, 6)
    return Submission(
        insured=terms["insured"], sector=terms["sector"],
        annual_gross_profit=Money.from_json(rating["annual_gross_profit"]), limit=cover.limit, waiting_hours=hours,
        deductible=cover.deductible, sub_type=rating["sub_type"],
        schedule={name: number(value) for name, value in rating["schedule"].items()},
        experience_years=number(rating["experience_years"]), experience_claims=rating["experience_claims"], days=days,
    )  # fmt: skip


def digest(terms: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical terms."""
    return hashlib.sha256(wire.encode(terms)).hexdigest()

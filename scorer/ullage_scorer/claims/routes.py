"""HTTP of claims, stops and evidence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field
from sqlalchemy import Connection, Row
from ullage_models.claims import lifecycle
from ullage_protocols import wire

from ..db.scope import Scope
from ..errors import NotFoundError
from ..web import AfterId, AfterName, Caller, Home, Limit, Shown, Strict, problems
from . import evidence, planned, service, store

router = APIRouter(prefix="/api/v1", tags=["claims"])
Site = Annotated[str | None, Query(max_length=64, description="Only this site.")]


class PlannedStopShown(Shown):
    """A planned stop that was declared for some of a claim's outage; ``line`` is empty where it was the whole site.

    ``retroactive``: it was declared afterwards. It is on record beside the claim and changes no amount.
    """

    agent: str
    id: str
    line: str
    reason: str
    by: str
    start: datetime
    planned_end: datetime | None
    end: datetime | None
    declared_at: datetime
    retroactive: bool


class ClaimShown(Shown):
    """A claim. Quantities are units as text; ``indemnity`` is money in ``currency``, before any person's decision.

    ``final`` is true once the stop has ended. ``at_most`` counts time of which nothing is known as wholly lost.
    ``missing`` names the facts without which no amount can be computed.
    """

    id: str
    position: int
    tenant: str
    site: str
    policy: str
    line: str
    state: str
    outage_start: datetime
    outage_end: datetime | None
    final: bool
    standard_rate: str
    standard_basis: str
    standard_units: str
    made_units: str
    shortage: str
    shortage_after_waiting: str
    shortage_at_most: str
    observed: str
    currency: str
    indemnity: str
    at_most: str | None
    missing: list[str]
    causes: list[dict[str, Any]]
    planned_stops: list[PlannedStopShown]
    updated_at: datetime


class ClaimPage(Shown):
    """``next`` is what to pass as ``after``; null at the end."""

    items: list[ClaimShown]
    next: int | None


class Moment(Shown):
    """One entry of a claim's timeline, with the ledger position that it came from."""

    position: int
    at: datetime
    kind: str
    detail: dict[str, Any]


class ClaimDetail(Shown):
    """A claim with the steps of its computation, its timeline, and what can be done next by whom."""

    claim: ClaimShown
    worksheet: list[dict[str, Any]]
    timeline: list[Moment]
    possible: dict[str, list[str]]
    agents: dict[str, int]


class TransitionRequest(Strict):
    """A person's step: the event, the role in which it is taken, and a note."""

    event: Annotated[str, Field(max_length=40)]
    role: Literal["insured", "handler", "supervisor"]
    note: Annotated[str, Field(max_length=1000)] = ""


class StopShown(Shown):
    """A stop of a line and what became of it: waiting, claim, no claim, not covered, or no policy."""

    id: str
    site: str
    line: str
    policy: str
    start: datetime
    end: datetime | None
    decision: str
    reason: str
    shortage: str


class StopPage(Shown):
    """``next`` is what to pass as ``after``; null at the end."""

    items: list[StopShown]
    next: str | None


@router.get("/claims", responses=problems(), summary="Claims")
def list_claims(
    scope: Caller,
    home: Home,
    after: AfterId = 0,
    limit: Limit = 100,
    site: Site = None,
    policy: Annotated[str | None, Query(max_length=64, description="Only this policy.")] = None,
) -> ClaimPage:
    """In the order in which they were opened."""
    with home.db.read() as conn:
        rows = store.claims_of(conn, scope, site=site, policy=policy, after=after, limit=limit)
        declared = {name: planned.of_site(conn, scope, name) for name in {row.site for row in rows}}
    return ClaimPage(
        items=[_claim(row, declared[row.site]) for row in rows], next=rows[-1].opened if len(rows) == limit else None
    )


@router.get("/claims/{claim}", responses=problems(), summary="One claim with its computation")
def get_claim(claim: str, scope: Caller, home: Home) -> ClaimDetail:
    """Every step of the worksheet can be redone from its inputs."""
    with home.db.read() as conn:
        return _detail(conn, scope, claim)


@router.post("/claims/{claim}/transitions", responses=problems(409), summary="Take a step with a claim")
def take_step(claim: str, body: TransitionRequest, scope: Caller, home: Home) -> ClaimDetail:
    """Policyholders act as insured, insurers as handler or supervisor. Which steps are possible stands in the claim."""
    home.submit(
        service.TRANSITION,
        lambda conn: service.prepare_transition(
            conn, scope, claim=claim, event=body.event, role=body.role, note=body.note
        ),
    )
    return get_claim(claim, scope, home)


@router.get(
    "/claims/{claim}/evidence",
    responses={**problems(), 200: {"content": {"application/zip": {}}, "description": "The signed bundle."}},
    response_class=Response,
    summary="The evidence bundle of a claim",
)
def get_evidence(claim: str, scope: Caller, home: Home) -> Response:
    """A file that `ullage-verify` checks without any network."""
    with home.db.read() as conn:
        row = store.claim(conn, scope, claim)
        if row is None:
            raise NotFoundError
        shown = _detail(conn, scope, claim).model_dump(mode="json")
        body = evidence.bundle(conn, scope, row, home.key, shown)
    return Response(
        body, media_type="application/zip", headers={"content-disposition": f'attachment; filename="{row.id}.zip"'}
    )


@router.get("/stops", responses=problems(), summary="Stops of lines, with or without a claim")
def list_stops(scope: Caller, home: Home, after: AfterName = "", limit: Limit = 100, site: Site = None) -> StopPage:
    """Every stop that was recognised and the decision about it, by id."""
    with home.db.read() as conn:
        rows = store.stops_of(conn, scope, site=site, after=after, limit=limit)
    items = [
        StopShown(
            id=r.id, site=r.site, line=r.line, policy=r.policy, start=wire.parse_time(r.start),
            end=None if r.end is None else wire.parse_time(r.end), decision=r.decision, reason=r.reason,
            shortage=json.loads(r.document)["shortage"],
        )
        for r in rows
    ]  # fmt: skip
    return StopPage(items=items, next=rows[-1].id if len(rows) == limit else None)


def _detail(conn: Connection, scope: Scope, claim: str) -> ClaimDetail:
    row = store.claim(conn, scope, claim)
    if row is None:
        raise NotFoundError
    document = json.loads(row.document)
    timeline = [
        Moment(position=r.position, at=wire.parse_time(r.at), kind=r.kind, detail=json.loads(r.document))
        for r in store.log_of(conn, scope, claim)
    ]
    possible = {str(event): sorted(map(str, roles)) for event, roles in lifecycle.possible(row.state).items()}
    return ClaimDetail(
        claim=_claim(row, planned.of_site(conn, scope, row.site)), worksheet=document["worksheet"]["steps"],
        timeline=timeline, possible=possible, agents=document["agents"],
    )  # fmt: skip


def _claim(row: Row[Any], declared: Sequence[planned.PlannedStop]) -> ClaimShown:
    said = json.loads(row.document)
    start, end = wire.parse_time(row.outage_start), None if row.outage_end is None else wire.parse_time(row.outage_end)
    most = said["worksheet"].get("at_most")
    standard = said["outage"]["standard"]
    return ClaimShown(
        id=row.id, position=row.opened, tenant=row.tenant, site=row.site, policy=row.policy, line=row.line,
        state=row.state, outage_start=start, outage_end=end, final=said["final"],
        standard_rate=standard["rate"], standard_basis=standard["basis"], standard_units=said["standard_units"],
        made_units=said["made_units"], shortage=said["shortage"],
        shortage_after_waiting=said["shortage_after_waiting"], shortage_at_most=said["shortage_at_most"],
        observed=said["observed"], currency=row.currency, indemnity=row.indemnity,
        at_most=None if most is None else most["amount"], missing=said["worksheet"]["missing"], causes=said["causes"],
        planned_stops=[_planned(stop) for stop in planned.beside(declared, row.line, start, end)],
        updated_at=wire.parse_time(row.updated_at),
    )  # fmt: skip


def _planned(stop: planned.PlannedStop) -> PlannedStopShown:
    return PlannedStopShown(
        agent=stop.agent, id=stop.id, line=stop.line, reason=stop.reason, by=stop.by, start=stop.start,
        planned_end=stop.planned_end, end=stop.end, declared_at=stop.declared_at, retroactive=stop.retroactive,
    )  # fmt: skip

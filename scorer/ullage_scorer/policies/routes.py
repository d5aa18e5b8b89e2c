"""HTTP of sites and policies."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field
from sqlalchemy import Connection, Row
from ullage_models.rating.premium import quote
from ullage_protocols import wire

from ..db.scope import Scope
from ..errors import CommandError, NotFoundError
from ..web import NAME, AfterName, Caller, Home, Limit, Shown, Strict, problems
from . import service, store, terms

router = APIRouter(prefix="/api/v1", tags=["policies"])


class SiteRequest(Strict):
    """A site. ``tenant`` is needed only for a key that reaches every tenant."""

    id: Annotated[str, Field(pattern=NAME)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    tenant: Annotated[str, Field(pattern=NAME)] | None = None


class LineShown(Shown):
    """The last production interval of a line. ``count`` in units, ``running`` in seconds, ``energy`` in kWh,
    ``observed`` the share (0-1) of the interval that was seen."""

    line: str
    agent: str
    state: Literal["running", "stopped", "unknown"]
    start: datetime
    end: datetime
    count: int | None
    running: float
    energy: float | None
    observed: float
    note: str


class SiteShown(Shown):
    """A site and its live state; unknown when nothing was heard for 35 s."""

    id: str
    tenant: str
    name: str
    created_at: datetime
    state: Literal["running", "stopped", "unknown"]
    lines: list[LineShown]


class SitePage(Shown):
    """``next`` is what to pass as ``after``; null at the end."""

    items: list[SiteShown]
    next: str | None


class Quote(Shown):
    """A premium with every step of its computation; nothing is stored."""

    terms: dict[str, Any]
    premium: dict[str, Any]


class PolicyShown(Shown):
    """A bound policy. ``terms`` is the document whose SHA-256 is ``digest``; ``state`` is upcoming, in force or
    expired at the time of the request."""

    id: str
    tenant: str
    site: str
    state: Literal["upcoming", "in force", "expired"]
    start: datetime
    end: datetime
    bound_at: datetime
    position: int
    digest: str
    terms: dict[str, Any]
    premium: dict[str, Any]


class PolicyPage(Shown):
    """``next`` is what to pass as ``after``; null at the end."""

    items: list[PolicyShown]
    next: str | None


@router.post("/sites", status_code=201, responses=problems(409), tags=["sites"], summary="Create a site")
def create_site(body: SiteRequest, scope: Caller, home: Home, response: Response) -> SiteShown:
    """Creating the same site again answers 200."""
    scope.needs("admin", "insurer")
    tenant = body.tenant or scope.tenant
    if tenant is None:
        raise CommandError("name the tenant: this key reaches every tenant")
    at = home.submit(
        service.CREATE_SITE,
        lambda conn: service.prepare_site(conn, scope, site=body.id, tenant=tenant, name=body.name),
    )
    if at is None:
        response.status_code = 200
    return get_site(body.id, scope, home)


@router.get("/sites", responses=problems(), tags=["sites"], summary="Sites and whether they run")
def list_sites(scope: Caller, home: Home, after: AfterName = "", limit: Limit = 100) -> SitePage:
    """Every site in the caller's scope, by name."""
    with home.db.read() as conn:
        rows = store.sites_of(conn, scope, after=after, limit=limit)
        items = [_site(conn, scope, row, home.clock()) for row in rows]
    return SitePage(items=items, next=rows[-1].id if len(rows) == limit else None)


@router.get("/sites/{site}", responses=problems(), tags=["sites"], summary="One site")
def get_site(site: str, scope: Caller, home: Home) -> SiteShown:
    """A site's lines with their last production."""
    with home.db.read() as conn:
        row = store.site(conn, scope, site)
        if row is None:
            raise NotFoundError
        return _site(conn, scope, row, home.clock())


@router.post("/policies/quote", responses=problems(), summary="Quote a policy")
def quote_policy(body: terms.PolicyRequest, scope: Caller, home: Home) -> Quote:
    """The premium that these terms would cost, with its trace. Nothing is stored."""
    with home.db.read() as conn:
        tenant = service.tenant_of(conn, scope, body.site)
    scope.needs("admin", "insurer")
    kept = terms.document(body, tenant)
    return Quote(terms=kept, premium=_premium(kept))


@router.post("/policies", status_code=201, responses=problems(409), summary="Bind a policy")
def bind(body: terms.PolicyRequest, scope: Caller, home: Home, response: Response) -> PolicyShown:
    """Puts a policy in force. Binding the same terms again answers 200 with the policy that is there."""
    with home.db.read() as conn:
        tenant = service.tenant_of(conn, scope, body.site)
    scope.needs("admin", "insurer")
    kept = terms.document(body, tenant)
    at = home.submit(service.BIND, lambda conn: service.prepare_bind(conn, scope, body))
    if at is None:
        response.status_code = 200
    return get_policy(kept["id"], scope, home)


@router.get("/policies", responses=problems(), summary="Policies")
def list_policies(
    scope: Caller,
    home: Home,
    after: AfterName = "",
    limit: Limit = 100,
    site: Annotated[str | None, Query(max_length=64, description="Only this site.")] = None,
) -> PolicyPage:
    """Every policy in the caller's scope, by name."""
    with home.db.read() as conn:
        rows = store.policies_of(conn, scope, site_name=site, after=after, limit=limit)
    now = home.clock()
    return PolicyPage(items=[_policy(row, now) for row in rows], next=rows[-1].id if len(rows) == limit else None)


@router.get("/policies/{policy}", responses=problems(), summary="One policy")
def get_policy(policy: str, scope: Caller, home: Home) -> PolicyShown:
    """Terms and the premium at bind; later premiums stand under /premiums."""
    with home.db.read() as conn:
        row = store.policy(conn, scope, policy)
    if row is None:
        raise NotFoundError
    return _policy(row, home.clock())


def _premium(kept: dict[str, Any]) -> dict[str, Any]:
    return quote(terms.plan_named(kept["plan"]), terms.submission(kept)).to_json()


def _policy(row: Row[Any], now: datetime) -> PolicyShown:
    kept, at = json.loads(row.terms), wire.format_time(now)
    return PolicyShown(
        id=row.id, tenant=row.tenant, site=row.site,
        state="upcoming" if at < row.start else "expired" if at >= row.end else "in force",
        start=wire.parse_time(row.start), end=wire.parse_time(row.end), bound_at=wire.parse_time(row.bound_at),
        position=row.position, digest=row.digest, terms=kept, premium=_premium(kept),
    )  # fmt: skip


def _site(conn: Connection, scope: Scope, row: Row[Any], now: datetime) -> SiteShown:
    lines = list(store.lines_of(conn, scope, row.id))
    heard = {a.id: wire.parse_time(a.last_seen) for a in store.heard_of(conn, scope, row.id)}
    shown = []
    for each in lines:
        said = json.loads(each.document)
        shown.append(LineShown(
            line=each.line, agent=each.agent, state=_state(service.line_state(each, heard, now)),
            start=wire.parse_time(said["start"]), end=wire.parse_time(said["end"]), count=said["count"],
            running=said["running"], energy=said["energy"], observed=said["observed"], note=said["note"],
        ))  # fmt: skip
    return SiteShown(
        id=row.id, tenant=row.tenant, name=row.name, created_at=wire.parse_time(row.created_at),
        state=_state(service.live_state(lines, heard, now)), lines=shown,
    )  # fmt: skip


def _state(text: str) -> Literal["running", "stopped", "unknown"]:
    return "running" if text == "running" else "stopped" if text == "stopped" else "unknown"

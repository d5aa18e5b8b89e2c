"""HTTP of agents and of what was refused."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field
from sqlalchemy import Row
from ullage_protocols import wire

from ..errors import NotFoundError
from ..web import NAME, AfterId, AfterName, Caller, Home, Limit, Shown, Strict, problems
from . import devices, state, store

router = APIRouter(prefix="/api/v1", tags=["agents"])
SILENT_AFTER = timedelta(seconds=35)
"""Two heartbeats of 15 s and 5 s of grace."""


class Enrolment(Strict):
    """An agent, its site, and the public key that `ullage-agent key` prints."""

    id: Annotated[str, Field(pattern=NAME, description="The agent's name, unique among all agents.")]
    site: Annotated[str, Field(pattern=NAME)]
    public_key: Annotated[str, Field(min_length=50, max_length=60, description="ed25519:<44 characters>")]


class Revocation(Strict):
    """Why an agent's key is revoked."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]


class EndpointShown(Shown):
    """One way in that a device offers."""

    url: str
    policy: str
    mode: str
    logins: list[str]


class ChangeShown(Shown):
    """A field of a device's inventory that changed, when the agent saw it, before and after."""

    at: datetime
    field: str
    before: str
    after: str


class InventoryShown(Shown):
    """What a device says it is and how it is exposed, as of ``at``; texts are the device's own."""

    at: datetime
    protocol: str
    vendor: str
    product: str
    model: str
    firmware: str
    serial: str
    state: str
    endpoints: list[EndpointShown]
    anonymous: bool | None
    encrypted: bool
    certificate: str
    certificate_expires: datetime | None
    changes: list[ChangeShown]


class DowntimeShown(Shown):
    """A stretch in which a device could not be read, from its last good reading; ``end`` is null while it lasts."""

    start: datetime
    end: datetime | None
    cause: str
    reason: str


class DeviceShown(Shown):
    """How one device answers; ``observed`` is the share (0-1) of good samples in the last heartbeat's span.

    ``inventory`` is null until the device has told what it is; ``downtime`` holds the last few, oldest first.
    """

    name: str
    state: str
    observed: float
    reason: str
    inventory: InventoryShown | None
    downtime: list[DowntimeShown]


class MaintenanceShown(Shown):
    """A planned stop that was declared; ``line`` is empty for the whole site, ``retroactive``: declared afterwards."""

    id: str
    line: str
    reason: str
    by: str
    start: datetime
    planned_end: datetime | None
    end: datetime | None
    declared_at: datetime
    retroactive: bool


class AgentShown(Shown):
    """An agent: custody (sequence, head, state), and what it last said of itself.

    ``state`` is enrolled, forked or revoked. ``silent_since`` is set once nothing was heard for 35 s: silence
    says nothing about the plant, neither good nor bad.
    """

    id: str
    tenant: str
    site: str
    public_key: str
    state: Literal["enrolled", "forked", "revoked"]
    enrolled_at: datetime
    revoked_at: datetime | None
    sequence: int
    head: str
    last_seen: datetime | None
    silent_since: datetime | None
    bootid: str
    version: str
    baseline: str
    devices: list[DeviceShown]
    maintenance: list[MaintenanceShown]
    outbox_share: float | None
    pending: int | None
    episode_open: bool
    notes: list[str]
    quarantined: int


class AgentPage(Shown):
    """``next`` is what to pass as ``after``; null at the end."""

    items: list[AgentShown]
    next: str | None


class Quarantined(Shown):
    """A refused message: why, how often, and its first bytes in hex."""

    id: int
    agent: str
    code: str
    reason: str
    topic: str
    digest: str
    size: int
    count: int
    first_at: datetime
    last_at: datetime
    first_bytes: str


class QuarantinePage(Shown):
    """``next`` is what to pass as ``after``; null at the end."""

    items: list[Quarantined]
    next: int | None


@router.post("/agents", status_code=201, responses=problems(409), summary="Enrol an agent")
def enrol(body: Enrolment, scope: Caller, home: Home, response: Response) -> AgentShown:
    """Makes an agent's key known. Enrolling the same agent with the same key again answers 200."""
    scope.needs("admin", "insurer")
    with home.db.read() as conn:
        tenant = state.tenant_of_site(conn, scope, body.site)
    at = home.submit(
        state.ENROL,
        lambda conn: state.prepare_enrol(
            conn, scope, agent=body.id, tenant=tenant, site=body.site, public_key=body.public_key, at=home.clock()
        ),
    )
    if at is None:
        response.status_code = 200
    return get_agent(body.id, scope, home)


@router.get("/agents", responses=problems(), summary="Agents and how they are")
def list_agents(
    scope: Caller,
    home: Home,
    after: AfterName = "",
    limit: Limit = 100,
    site: Annotated[str | None, Query(max_length=64, description="Only this site.")] = None,
) -> AgentPage:
    """Every agent in the caller's scope, by name."""
    now = home.clock()
    with home.db.read() as conn:
        rows = store.agents_of(conn, scope, after=after, limit=limit, site=site)
    return AgentPage(items=[_shown(row, now) for row in rows], next=rows[-1].id if len(rows) == limit else None)


@router.get("/agents/{agent}", responses=problems(), summary="One agent")
def get_agent(agent: str, scope: Caller, home: Home) -> AgentShown:
    """Custody and last word of one agent."""
    with home.db.read() as conn:
        rows = store.agents_of(conn, scope, name=agent, limit=1)
    if not rows:
        raise NotFoundError
    return _shown(rows[0], home.clock())


@router.post("/agents/{agent}/revoke", responses=problems(), summary="Revoke an agent's key")
def revoke(agent: str, body: Revocation, scope: Caller, home: Home) -> AgentShown:
    """From now on nothing that this key signs is taken. It cannot be undone; enrol a new name with a new key."""
    before = get_agent(agent, scope, home)
    scope.needs("admin", "insurer")
    home.submit(state.REVOKE, lambda conn: state.prepare_revoke(conn, scope, before.id, body.reason, home.clock()))
    return get_agent(agent, scope, home)


@router.get("/quarantine", responses=problems(), summary="What was refused")
def quarantine(
    scope: Caller,
    home: Home,
    after: AfterId = 0,
    limit: Limit = 100,
    agent: Annotated[str | None, Query(max_length=64, description="Only this agent.")] = None,
) -> QuarantinePage:
    """Refused messages, oldest first. At most 1,000 are kept; the counts of agents go on beyond that."""
    with home.db.read() as conn:
        rows = store.quarantined(conn, scope, after=after, limit=limit, agent=agent)
    items = [
        Quarantined(
            id=r.id, agent=r.agent, code=r.code, reason=r.reason, topic=r.topic, digest=r.digest, size=r.size,
            count=r.times, first_at=wire.parse_time(r.first_at), last_at=wire.parse_time(r.last_at),
            first_bytes=r.first_bytes.hex(),
        )
        for r in rows
    ]  # fmt: skip
    return QuarantinePage(items=items, next=rows[-1].id if len(rows) == limit else None)


def _shown(row: Row[Any], now: datetime) -> AgentShown:
    said: dict[str, Any] = {} if row.document is None else json.loads(row.document)
    last_seen = None if row.last_seen is None else wire.parse_time(row.last_seen)
    silent = last_seen if last_seen is not None and now - last_seen > SILENT_AFTER else None
    return AgentShown(
        id=row.id, tenant=row.tenant, site=row.site, public_key=row.public_key, state=row.state,
        enrolled_at=wire.parse_time(row.enrolled_at),
        revoked_at=None if row.revoked_at is None else wire.parse_time(row.revoked_at), sequence=row.sequence,
        head=row.head, last_seen=last_seen, silent_since=silent, bootid=row.bootid or "",
        version=said.get("version", ""), baseline=said.get("baseline", ""),
        devices=_devices(said),
        maintenance=[_planned(stop) for stop in said.get("maintenance", [])], outbox_share=said.get("outbox_share"),
        pending=said.get("pending"), episode_open=bool(said.get("episode_open")), notes=said.get("notes", []),
        quarantined=row.refused,
    )  # fmt: skip


def _devices(said: dict[str, Any]) -> list[DeviceShown]:
    inventory, downtime = said.get("inventory", {}), said.get("downtime", {})
    return [
        DeviceShown(
            **device, inventory=_inventory(inventory.get(device["name"])),
            downtime=[
                DowntimeShown(
                    start=wire.parse_time(d["start"]), end=_time(d["end"]), cause=d["cause"], reason=d["reason"]
                )
                for d in downtime.get(device["name"], [])
            ],
        )
        for device in devices.of(said)
    ]  # fmt: skip


def _inventory(body: dict[str, Any] | None) -> InventoryShown | None:
    if body is None:
        return None
    changes = [ChangeShown(**{**change, "at": wire.parse_time(change["at"])}) for change in body["changes"]]
    return InventoryShown(
        **{
            **body, "at": wire.parse_time(body["at"]), "certificate_expires": _time(body["certificate_expires"]),
            "changes": changes, "endpoints": [EndpointShown(**endpoint) for endpoint in body["endpoints"]],
        }
    )  # fmt: skip


def _planned(stop: dict[str, Any]) -> MaintenanceShown:
    return MaintenanceShown(
        id=stop["id"], line=stop["line"], reason=stop["reason"], by=stop["by"], start=wire.parse_time(stop["start"]),
        planned_end=_time(stop["planned_end"]), end=_time(stop["end"]),
        declared_at=wire.parse_time(stop["declared_at"]), retroactive=stop["retroactive"],
    )  # fmt: skip


def _time(text: str | None) -> datetime | None:
    return None if text is None else wire.parse_time(text)

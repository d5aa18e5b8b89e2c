"""HTTP of the ledger: its envelopes, decoded, in order."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import Row
from ullage_protocols import envelope, wire
from ullage_protocols.errors import WireError

from ..db.entry import OPAQUE
from ..web import AfterId, Caller, Home, Limit, Shown, problems
from . import store

router = APIRouter(prefix="/api/v1", tags=["events"])


class EventShown(Shown):
    """One record of an agent as it stands in the ledger. ``readable`` is false for a message of another version."""

    position: int
    agent: str
    site: str
    sequence: int
    type: str
    received_at: datetime
    digest: str
    hash: str
    readable: bool
    event: dict[str, Any]


class EventPage(Shown):
    """``next`` is what to pass as ``after`` for the items behind these; null at the end."""

    items: list[EventShown]
    next: int | None


class LedgerTip(Shown):
    """Length and hash of the ledger, and the scorer's public key that signs receipts."""

    position: int
    chain: str
    key: str


@router.get("/events", responses=problems(), summary="Records of agents in ledger order")
def events(
    scope: Caller,
    home: Home,
    after: AfterId = 0,
    limit: Limit = 100,
    site: Annotated[str | None, Query(max_length=64, description="Only this site.")] = None,
    agent: Annotated[str | None, Query(max_length=64, description="Only this agent.")] = None,
    type: Annotated[
        str | None, Query(max_length=120, description="Only this type: org.ullage.anomaly.v1, or just anomaly.")
    ] = None,
    newest: Annotated[bool, Query(description="The newest first instead; `next` is then null.")] = False,
) -> EventPage:
    """What agents said, decoded; the exact signed bytes are in a claim's evidence."""
    type_ = f"org.ullage.{type}.v1" if type is not None and "." not in type else type
    with home.db.read() as conn:
        rows = store.events(conn, scope, after=after, limit=limit, site=site, agent=agent, type_=type_, newest=newest)
    more = len(rows) == limit and not newest
    return EventPage(items=[_shown(row) for row in rows], next=rows[-1].position if more else None)


@router.get("/ledger", responses=problems(), summary="Length and hash of the ledger")
def ledger_tip(scope: Caller, home: Home) -> LedgerTip:
    """Write these down to be able to show later that nothing before was changed."""
    del scope
    with home.db.read() as conn:
        tip = store.tip(conn)
    return LedgerTip(position=tip.position, chain=tip.chain, key=home.key.public.to_text())


def _shown(row: Row[Any]) -> EventShown:
    payload = envelope.unseal(row.body).payload
    return EventShown(
        position=row.position, agent=row.agent, site=row.site, sequence=row.sequence, type=row.type,
        received_at=wire.parse_time(row.received_at), digest=row.digest, hash=row.hash, readable=row.kind != OPAQUE,
        event=_decoded(payload),
    )  # fmt: skip


def _decoded(payload: bytes) -> dict[str, Any]:
    try:
        return wire.decode(payload, what="event")
    except WireError:
        return {"base64": base64.b64encode(payload).decode()}

"""SQL of ingest: agents and their custody state, the bounded quarantine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from ullage_protocols import wire
from ullage_protocols.keys import PublicKey

from ..db.put import put
from ..db.schema import agent_state, agents, quarantine, refusals
from ..db.scope import Scope
from .admit import Known, Refuse

MAX_ROWS = 1000
FIRST_BYTES = 256
"""The quarantine keeps at most this many rows, and this many bytes of each refused message."""


def known(conn: Connection, agent: str) -> Known | None:
    row = conn.execute(select(agents).where(agents.c.id == agent)).first()
    if row is None:
        return None
    return Known(row.id, row.tenant, row.public_key, row.revoked_at is not None, row.sequence, row.head)


def owner_of(conn: Connection, keyid: str) -> Known | None:
    """The agent whose public key has this id."""
    name = conn.execute(select(agents.c.id).where(agents.c.keyid == keyid).limit(1)).scalar()
    return None if name is None else known(conn, name)


def insert_agent(conn: Connection, *, agent: str, tenant: str, site: str, public_key: str, at: str) -> None:
    keyid = PublicKey.from_text(public_key).keyid
    conn.execute(
        insert(agents).values(
            id=agent, tenant=tenant, site=site, public_key=public_key, keyid=keyid, enrolled_at=at, state="enrolled",
            sequence=0, head="",
        )
    )  # fmt: skip


def mark(conn: Connection, agent: str, *, state: str, revoked_at: str | None = None) -> None:
    values: dict[str, Any] = {"state": state}
    if revoked_at is not None:
        values["revoked_at"] = revoked_at
    conn.execute(update(agents).where(agents.c.id == agent).values(**values))


def refuse(conn: Connection, verdict: Refuse, topic: str, raw: bytes, at: datetime) -> None:
    """Keeps a refused message's reason and first bytes; equal messages are counted, old rows make room."""
    now = wire.format_time(at)
    row = {
        "agent": verdict.agent, "code": verdict.code, "reason": verdict.reason[:500], "topic": topic[:200],
        "digest": hashlib.sha256(raw).hexdigest(), "size": len(raw), "first_bytes": raw[:FIRST_BYTES], "count": 1,
        "first_at": now, "last_at": now,
    }  # fmt: skip
    statement = upsert(quarantine).values(**row)
    conn.execute(
        statement.on_conflict_do_update(
            index_elements=["agent", "code", "digest"], set_={"count": quarantine.c.count + 1, "last_at": now}
        )
    )
    tally = upsert(refusals).values(agent=verdict.agent, code=verdict.code, count=1, last_at=now)
    conn.execute(
        tally.on_conflict_do_update(
            index_elements=["agent", "code"], set_={"count": refusals.c.count + 1, "last_at": now}
        )
    )


def trim(conn: Connection) -> None:
    """Drops the oldest quarantine rows beyond the bound; the counts in ``refusals`` stay."""
    last = conn.execute(select(quarantine.c.id).order_by(quarantine.c.id.desc()).offset(MAX_ROWS).limit(1)).scalar()
    if last is not None:
        conn.execute(delete(quarantine).where(quarantine.c.id <= last))


def quarantined(conn: Connection, scope: Scope, *, after: int, limit: int, agent: str | None) -> Sequence[Row[Any]]:
    """Quarantine rows of the scope's agents; those of no known agent are for callers of every tenant."""
    query = select(quarantine, quarantine.c.count.label("times")).outerjoin(agents, agents.c.id == quarantine.c.agent)
    query = query.where(quarantine.c.id > after, *scope.rows(agents.c.tenant, agents.c.site))
    if agent is not None:
        query = query.where(quarantine.c.agent == agent)
    return conn.execute(query.order_by(quarantine.c.id).limit(limit)).all()


def agents_of(
    conn: Connection,
    scope: Scope,
    *,
    after: str = "",
    limit: int = 500,
    site: str | None = None,
    name: str | None = None,
) -> Sequence[Row[Any]]:
    """Agents with their projected state and the number of messages refused."""
    refused = (
        select(func.coalesce(func.sum(refusals.c.count), 0))
        .where(refusals.c.agent == agents.c.id)
        .scalar_subquery()
        .label("refused")
    )
    query = select(agents, refused, agent_state.c.document, agent_state.c.event_at, agent_state.c.bootid).outerjoin(
        agent_state, agent_state.c.agent == agents.c.id
    )
    query = query.where(agents.c.id > after, *scope.rows(agents.c.tenant, agents.c.site))
    if site is not None:
        query = query.where(agents.c.site == site)
    if name is not None:
        query = query.where(agents.c.id == name)
    return conn.execute(query.order_by(agents.c.id).limit(limit)).all()


def heads(conn: Connection) -> Sequence[Row[Any, Any, Any]]:
    """Agent, sequence and head of every agent that has sent something and is not revoked."""
    query = select(agents.c.id, agents.c.sequence, agents.c.head)
    return conn.execute(query.where(agents.c.sequence > 0, agents.c.revoked_at.is_(None))).all()


def put_state(conn: Connection, row: dict[str, Any]) -> None:
    put(conn, agent_state, row)


def state_of(conn: Connection, agent: str) -> str | None:
    return conn.execute(select(agent_state.c.document).where(agent_state.c.agent == agent)).scalar()

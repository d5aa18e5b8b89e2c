"""SQL of the ledger: append with the hash chain, read in order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, and_, func, insert, select, update
from ullage_protocols import wire

from ..db.schema import agents, ledger, receipts
from ..db.scope import Scope


@dataclass(frozen=True, slots=True)
class Tip:
    """Length and hash of the ledger."""

    position: int
    chain: str


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry to be appended. ``digest`` is the SHA-256 of an envelope's payload or of a command's body."""

    kind: str
    tenant: str
    agent: str
    sequence: int | None
    type: str
    body: bytes
    digest: str


def tip(conn: Connection) -> Tip:
    row = conn.execute(select(ledger.c.position, ledger.c.hash).order_by(ledger.c.position.desc()).limit(1)).first()
    return Tip(0, "") if row is None else Tip(row.position, row.hash)


def chain_hash(position: int, draft: Draft, received_at: str, prev: str) -> str:
    """SHA-256 over an entry's every field and the hash before it, in canonical JSON."""
    return hashlib.sha256(
        wire.encode(
            {
                "position": position, "kind": draft.kind, "tenant": draft.tenant, "agent": draft.agent,
                "sequence": draft.sequence, "type": draft.type, "received_at": received_at,
                "body": hashlib.sha256(draft.body).hexdigest(), "digest": draft.digest, "prev": prev,
            }
        )
    ).hexdigest()  # fmt: skip


def append(conn: Connection, drafts: Sequence[Draft], at: datetime) -> Tip:
    """Appends in order inside the caller's transaction; returns the new tip."""
    last = tip(conn)
    received = wire.format_time(at)
    rows = []
    for draft in drafts:
        position = last.position + 1
        now = chain_hash(position, draft, received, last.chain)
        rows.append(
            {
                "position": position, "kind": draft.kind, "tenant": draft.tenant, "agent": draft.agent,
                "sequence": draft.sequence, "type": draft.type, "received_at": received, "body": draft.body,
                "digest": draft.digest, "prev": last.chain, "hash": now,
            }
        )  # fmt: skip
        last = Tip(position, now)
    if rows:
        conn.execute(insert(ledger), rows)
    return last


def digest_at(conn: Connection, agent: str, sequence: int) -> str | None:
    """Payload hash of the record held at a sequence, None when there is none."""
    return conn.execute(select(ledger.c.digest).where(ledger.c.agent == agent, ledger.c.sequence == sequence)).scalar()


def after(conn: Connection, position: int, limit: int) -> Sequence[Row[tuple[object, ...]]]:
    """Entries behind ``position`` in order, each with the site of its agent."""
    return conn.execute(
        select(ledger, func.coalesce(agents.c.site, "").label("site"))
        .outerjoin(agents, agents.c.id == ledger.c.agent)
        .where(ledger.c.position > position)
        .order_by(ledger.c.position)
        .limit(limit)
    ).all()


def events(
    conn: Connection, scope: Scope, *, after: int, limit: int, site: str | None, agent: str | None, type_: str | None,
    newest: bool,
) -> Sequence[Row[tuple[object, ...]]]:  # fmt: skip
    """Envelopes inside the scope, oldest first behind ``after`` (or the newest ``limit``, newest first)."""
    query = select(ledger, agents.c.site).join(agents, agents.c.id == ledger.c.agent)
    query = query.where(ledger.c.position > after, *scope.rows(agents.c.tenant, agents.c.site))
    if site is not None:
        query = query.where(agents.c.site == site)
    if agent is not None:
        query = query.where(ledger.c.agent == agent)
    if type_ is not None:
        query = query.where(ledger.c.type == type_)
    order = ledger.c.position.desc() if newest else ledger.c.position
    return conn.execute(query.order_by(order).limit(limit)).all()


def records(conn: Connection, agent: str, through: int) -> Iterator[bytes]:
    """The exact envelopes of one agent from sequence 1 through ``through``."""
    query = select(ledger.c.body).where(and_(ledger.c.agent == agent, ledger.c.sequence <= through))
    for row in conn.execute(query.order_by(ledger.c.sequence)).yield_per(500):
        yield row.body


def save_receipt(conn: Connection, agent: str, through: int, position: int, at: datetime, sealed: bytes) -> None:
    conn.execute(
        insert(receipts).values(agent=agent, through=through, position=position, at=wire.format_time(at), sealed=sealed)
    )


def receipts_of(conn: Connection, agent: str) -> list[bytes]:
    """Every stored receipt of an agent, in order."""
    query = select(receipts.c.sealed).where(receipts.c.agent == agent).order_by(receipts.c.through)
    return [row.sealed for row in conn.execute(query)]


def advance(conn: Connection, agent: str, sequence: int, head: str, at: datetime) -> None:
    conn.execute(
        update(agents).where(agents.c.id == agent).values(sequence=sequence, head=head, last_seen=wire.format_time(at))
    )

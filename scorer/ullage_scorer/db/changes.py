"""The feed of changes that projections write and the page reads: numbered by the ledger's order alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select
from ullage_protocols import wire

from .entry import Entry
from .schema import changes
from .scope import Scope


def note(conn: Connection, entry: Entry, *, site: str, kind: str, at: datetime, document: Mapping[str, Any]) -> None:
    """Records one change: ``kind`` is anomaly, score, premium, claim, site, agent, policy or fault."""
    number = (conn.execute(select(func.max(changes.c.id))).scalar() or 0) + 1
    conn.execute(
        insert(changes).values(
            id=number, position=entry.position, tenant=entry.tenant, site=site, kind=kind, at=wire.format_time(at),
            document=wire.encode(document).decode(),
        )
    )  # fmt: skip


def after(conn: Connection, scope: Scope, position: int, limit: int) -> Sequence[Row[Any]]:
    query = select(changes).where(changes.c.id > position, *scope.rows(changes.c.tenant, changes.c.site))
    return conn.execute(query.order_by(changes.c.id).limit(limit)).all()


def newest(conn: Connection) -> int:
    return conn.execute(select(func.max(changes.c.id))).scalar() or 0

"""SQL of the page. It reads only, and every read takes the caller's scope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, select

from ..db.entry import ENVELOPE
from ..db.schema import agents, claims, cursor, episodes, ledger, lines, outages, premiums, stops
from ..db.scope import Scope

PRODUCTION = "org.ullage.production.v1"


def projected(conn: Connection) -> int:
    """How far the projections have come: the page shows the ledger up to here."""
    return conn.execute(select(cursor.c.position).where(cursor.c.name == "projector")).scalar() or 0


def open_episodes(conn: Connection, scope: Scope) -> dict[str, int]:
    """Number of open episodes by site; sites without one are absent."""
    query = select(episodes.c.site, func.count().label("open")).where(
        episodes.c.end.is_(None), *scope.rows(episodes.c.tenant, episodes.c.site)
    )
    return {row.site: row.open for row in conn.execute(query.group_by(episodes.c.site))}


def newest_episodes(conn: Connection, scope: Scope, site: str, limit: int) -> Sequence[Row[Any]]:
    """Newest first."""
    query = select(episodes).where(episodes.c.site == site, *scope.rows(episodes.c.tenant, episodes.c.site))
    return conn.execute(query.order_by(episodes.c.start.desc(), episodes.c.opened.desc()).limit(limit)).all()


def newest_production(conn: Connection, scope: Scope, site: str, limit: int) -> list[bytes]:
    """The newest envelopes with production of a site, oldest first."""
    query = (
        select(ledger.c.body)
        .join(agents, agents.c.id == ledger.c.agent)
        .where(
            ledger.c.type == PRODUCTION, ledger.c.kind == ENVELOPE, agents.c.site == site,
            *scope.rows(agents.c.tenant, agents.c.site),
        )
        .order_by(ledger.c.position.desc())
        .limit(limit)
    )  # fmt: skip
    return [row.body for row in conn.execute(query)][::-1]


def all_lines(conn: Connection, scope: Scope) -> Sequence[Row[Any]]:
    query = select(lines).where(*scope.rows(lines.c.tenant, lines.c.site))
    return conn.execute(query.order_by(lines.c.site, lines.c.line)).all()


def watches(conn: Connection, scope: Scope) -> Sequence[Row[Any]]:
    """The outage watch of every line, one row a policy that covers it; the one that saw the newest entry last."""
    query = select(outages).where(*scope.rows(outages.c.tenant, outages.c.site))
    return conn.execute(query.order_by(outages.c.position, outages.c.policy)).all()


def newest_stops(conn: Connection, scope: Scope, site: str, limit: int) -> Sequence[Row[Any]]:
    query = select(stops).where(stops.c.site == site, *scope.rows(stops.c.tenant, stops.c.site))
    return conn.execute(query.order_by(stops.c.start.desc(), stops.c.id).limit(limit)).all()


def newest_premiums(conn: Connection, scope: Scope, policy: str, limit: int) -> list[Row[Any]]:
    """The newest premiums of a policy, oldest first."""
    query = select(premiums).where(premiums.c.policy == policy, *scope.rows(premiums.c.tenant, premiums.c.site))
    return list(conn.execute(query.order_by(premiums.c.position.desc()).limit(limit)).all())[::-1]


def newest_claims(conn: Connection, scope: Scope, site: str, limit: int) -> Sequence[Row[Any]]:
    """Newest first, each with the time at which the ledger entry that opened it was received."""
    query = (
        select(claims, ledger.c.received_at.label("opened_at"))
        .outerjoin(ledger, ledger.c.position == claims.c.opened)
        .where(claims.c.site == site, *scope.rows(claims.c.tenant, claims.c.site))
    )
    return conn.execute(query.order_by(claims.c.opened.desc(), claims.c.id).limit(limit)).all()

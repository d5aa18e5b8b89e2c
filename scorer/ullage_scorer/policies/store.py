"""SQL of sites, the live state of their lines, and policies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from ..db.put import put
from ..db.schema import agents, lines, policies, sites
from ..db.scope import Scope


def site(conn: Connection, scope: Scope, name: str) -> Row[Any] | None:
    query = select(sites).where(sites.c.id == name, *scope.rows(sites.c.tenant, sites.c.id))
    return conn.execute(query).first()


def sites_of(conn: Connection, scope: Scope, *, after: str, limit: int) -> Sequence[Row[Any]]:
    query = select(sites).where(sites.c.id > after, *scope.rows(sites.c.tenant, sites.c.id))
    return conn.execute(query.order_by(sites.c.id).limit(limit)).all()


def put_site(conn: Connection, row: dict[str, Any]) -> None:
    conn.execute(insert(sites).values(**row))


def lines_of(conn: Connection, scope: Scope, site_name: str) -> Sequence[Row[Any]]:
    query = select(lines).where(lines.c.site == site_name, *scope.rows(lines.c.tenant, lines.c.site))
    return conn.execute(query.order_by(lines.c.line)).all()


def line(conn: Connection, scope: Scope, site_name: str, name: str) -> Row[Any] | None:
    query = select(lines).where(lines.c.site == site_name, lines.c.line == name)
    return conn.execute(query.where(*scope.rows(lines.c.tenant, lines.c.site))).first()


def put_line(conn: Connection, row: dict[str, Any]) -> None:
    put(conn, lines, row)


def policy(conn: Connection, scope: Scope, name: str) -> Row[Any] | None:
    query = select(policies).where(policies.c.id == name, *scope.rows(policies.c.tenant, policies.c.site))
    return conn.execute(query).first()


def policies_of(
    conn: Connection, scope: Scope, *, site_name: str | None = None, after: str = "", limit: int = 500
) -> Sequence[Row[Any]]:
    """Policies by name; of one site if it is given."""
    query = select(policies).where(policies.c.id > after, *scope.rows(policies.c.tenant, policies.c.site))
    if site_name is not None:
        query = query.where(policies.c.site == site_name)
    return conn.execute(query.order_by(policies.c.id).limit(limit)).all()


def put_policy(conn: Connection, row: dict[str, Any]) -> None:
    conn.execute(insert(policies).values(**row))


def heard_of(conn: Connection, scope: Scope, site_name: str) -> Sequence[Row[Any, Any]]:
    """When something was last received from each agent of a site."""
    query = select(agents.c.id, agents.c.last_seen).where(agents.c.site == site_name, agents.c.last_seen.is_not(None))
    return conn.execute(query.where(*scope.rows(agents.c.tenant, agents.c.site))).all()

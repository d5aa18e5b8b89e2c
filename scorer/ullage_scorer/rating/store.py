"""SQL of episodes, scores and premiums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from ..db.put import put
from ..db.schema import episodes, policies, premiums, scores
from ..db.scope import Scope


def policies_of_site(conn: Connection, scope: Scope, site: str) -> Sequence[Row[Any]]:
    query = select(policies).where(policies.c.site == site, *scope.rows(policies.c.tenant, policies.c.site))
    return conn.execute(query.order_by(policies.c.start, policies.c.id)).all()


def policy(conn: Connection, scope: Scope, name: str) -> Row[Any] | None:
    query = select(policies).where(policies.c.id == name, *scope.rows(policies.c.tenant, policies.c.site))
    return conn.execute(query).first()


def episode(conn: Connection, scope: Scope, agent: str, name: str) -> Row[Any] | None:
    query = select(episodes).where(episodes.c.agent == agent, episodes.c.episode == name)
    return conn.execute(query.where(*scope.rows(episodes.c.tenant, episodes.c.site))).first()


def put_episode(conn: Connection, row: dict[str, Any]) -> None:
    put(conn, episodes, row)


def episodes_of_site(
    conn: Connection, scope: Scope, site: str | None, *, after: int = 0, limit: int | None = None
) -> Sequence[Row[Any]]:
    """Episodes in the order in which they were first told, by that ledger position."""
    query = select(episodes).where(episodes.c.opened > after, *scope.rows(episodes.c.tenant, episodes.c.site))
    if site is not None:
        query = query.where(episodes.c.site == site)
    return conn.execute(query.order_by(episodes.c.opened, episodes.c.agent, episodes.c.episode).limit(limit)).all()


def add_score(conn: Connection, row: dict[str, Any]) -> None:
    conn.execute(insert(scores).values(**row))


def add_premium(conn: Connection, row: dict[str, Any]) -> None:
    conn.execute(insert(premiums).values(**row))


def last_score(conn: Connection, scope: Scope, policy_name: str) -> Row[Any] | None:
    query = select(scores).where(scores.c.policy == policy_name, *scope.rows(scores.c.tenant, scores.c.site))
    return conn.execute(query.order_by(scores.c.position.desc()).limit(1)).first()


def last_premium(conn: Connection, scope: Scope, policy_name: str) -> Row[Any] | None:
    query = select(premiums).where(premiums.c.policy == policy_name, *scope.rows(premiums.c.tenant, premiums.c.site))
    return conn.execute(query.order_by(premiums.c.position.desc()).limit(1)).first()


def scores_of(
    conn: Connection, scope: Scope, *, site: str | None, policy_name: str | None, after: int, limit: int
) -> Sequence[Row[Any]]:
    query = select(scores).where(scores.c.position > after, *scope.rows(scores.c.tenant, scores.c.site))
    if site is not None:
        query = query.where(scores.c.site == site)
    if policy_name is not None:
        query = query.where(scores.c.policy == policy_name)
    return conn.execute(query.order_by(scores.c.position, scores.c.policy).limit(limit)).all()


def premiums_of(
    conn: Connection, scope: Scope, *, site: str | None, policy_name: str | None, after: int, limit: int
) -> Sequence[Row[Any]]:
    query = select(premiums).where(premiums.c.position > after, *scope.rows(premiums.c.tenant, premiums.c.site))
    if site is not None:
        query = query.where(premiums.c.site == site)
    if policy_name is not None:
        query = query.where(premiums.c.policy == policy_name)
    return conn.execute(query.order_by(premiums.c.position, premiums.c.policy).limit(limit)).all()

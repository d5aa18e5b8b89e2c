"""SQL of outages and claims."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from ..db.entry import ENVELOPE
from ..db.put import put
from ..db.schema import agent_state, agents, claim_log, claims, episodes, ledger, outages, policies, premiums, stops
from ..db.scope import Scope

PRODUCTION = "org.ullage.production.v1"


def policies_of_site(conn: Connection, scope: Scope, site: str) -> Sequence[Row[Any]]:
    query = select(policies).where(policies.c.site == site, *scope.rows(policies.c.tenant, policies.c.site))
    return conn.execute(query.order_by(policies.c.start, policies.c.id)).all()


def watch(conn: Connection, scope: Scope, site: str, line: str, policy: str) -> str | None:
    """The stored outage watch of one line under one policy (empty: under none), as JSON text."""
    query = select(outages.c.state).where(outages.c.site == site, outages.c.line == line, outages.c.policy == policy)
    return conn.execute(query.where(*scope.rows(outages.c.tenant, outages.c.site))).scalar()


def put_watch(conn: Connection, row: dict[str, Any]) -> None:
    put(conn, outages, row)


def production_before(conn: Connection, scope: Scope, site: str, position: int, limit: int) -> list[bytes]:
    """The last envelopes with production of a site before a ledger position, oldest first."""
    query = (
        select(ledger.c.body)
        .join(agents, agents.c.id == ledger.c.agent)
        .where(
            ledger.c.type == PRODUCTION, ledger.c.kind == ENVELOPE, ledger.c.position < position,
            agents.c.site == site, *scope.rows(agents.c.tenant, agents.c.site),
        )
        .order_by(ledger.c.position.desc())
        .limit(limit)
    )  # fmt: skip
    return [row.body for row in conn.execute(query)][::-1]


def stop(conn: Connection, scope: Scope, id_: str) -> Row[Any] | None:
    query = select(stops).where(stops.c.id == id_, *scope.rows(stops.c.tenant, stops.c.site))
    return conn.execute(query).first()


def put_stop(conn: Connection, row: dict[str, Any]) -> None:
    put(conn, stops, row)


def stops_of(conn: Connection, scope: Scope, *, site: str | None, after: str, limit: int) -> Sequence[Row[Any]]:
    query = select(stops).where(stops.c.id > after, *scope.rows(stops.c.tenant, stops.c.site))
    if site is not None:
        query = query.where(stops.c.site == site)
    return conn.execute(query.order_by(stops.c.id).limit(limit)).all()


def claim(conn: Connection, scope: Scope, id_: str) -> Row[Any] | None:
    query = select(claims).where(claims.c.id == id_, *scope.rows(claims.c.tenant, claims.c.site))
    return conn.execute(query).first()


def claims_of(
    conn: Connection, scope: Scope, *, site: str | None = None, policy: str | None = None, after: int = 0,
    limit: int = 500,
) -> Sequence[Row[Any]]:  # fmt: skip
    """Claims in the order in which they were opened, by the ledger position that opened them."""
    query = select(claims).where(claims.c.opened > after, *scope.rows(claims.c.tenant, claims.c.site))
    if site is not None:
        query = query.where(claims.c.site == site)
    if policy is not None:
        query = query.where(claims.c.policy == policy)
    return conn.execute(query.order_by(claims.c.opened, claims.c.id).limit(limit)).all()


def put_claim(conn: Connection, row: dict[str, Any]) -> None:
    put(conn, claims, row)


def change_claim(conn: Connection, id_: str, **values: Any) -> None:  # noqa: ANN401 - column values
    conn.execute(update(claims).where(claims.c.id == id_).values(**values))


def add_log(conn: Connection, *, claim_id: str, position: int, at: str, kind: str, document: str) -> None:
    last = conn.execute(
        select(func.max(claim_log.c.step)).where(claim_log.c.claim == claim_id, claim_log.c.position == position)
    ).scalar()
    conn.execute(
        insert(claim_log).values(
            claim=claim_id, position=position, step=0 if last is None else last + 1, at=at, kind=kind,
            document=document,
        )
    )  # fmt: skip


def log_of(conn: Connection, scope: Scope, claim_id: str) -> Sequence[Row[Any]]:
    query = select(claim_log).join(claims, claims.c.id == claim_log.c.claim)
    query = query.where(claim_log.c.claim == claim_id, *scope.rows(claims.c.tenant, claims.c.site))
    return conn.execute(query.order_by(claim_log.c.position, claim_log.c.step)).all()


def episodes_between(conn: Connection, scope: Scope, site: str, begin: str, end: str) -> Sequence[Row[Any]]:
    """Episodes of a site that touch the time from begin to end, oldest first."""
    query = select(episodes).where(
        episodes.c.site == site, episodes.c.start <= end, func.coalesce(episodes.c.end, end) >= begin,
        *scope.rows(episodes.c.tenant, episodes.c.site),
    )  # fmt: skip
    return conn.execute(query.order_by(episodes.c.start, episodes.c.agent, episodes.c.episode)).all()


def agent_documents(conn: Connection, scope: Scope, site: str) -> Sequence[Row[Any, Any]]:
    """What each agent of a site last said of itself: agent and document."""
    query = select(agent_state.c.agent, agent_state.c.document).join(agents, agents.c.id == agent_state.c.agent)
    query = query.where(agents.c.site == site, *scope.rows(agents.c.tenant, agents.c.site))
    return conn.execute(query.order_by(agent_state.c.agent)).all()


def policy(conn: Connection, scope: Scope, name: str) -> Row[Any] | None:
    query = select(policies).where(policies.c.id == name, *scope.rows(policies.c.tenant, policies.c.site))
    return conn.execute(query).first()


def last_premium(conn: Connection, scope: Scope, policy_name: str) -> str | None:
    """The policy's latest premium with its trace, as JSON text."""
    query = select(premiums.c.document).where(
        premiums.c.policy == policy_name, *scope.rows(premiums.c.tenant, premiums.c.site)
    )
    return conn.execute(query.order_by(premiums.c.position.desc()).limit(1)).scalar()


def public_key(conn: Connection, scope: Scope, agent: str) -> str:
    query = select(agents.c.public_key).where(agents.c.id == agent, *scope.rows(agents.c.tenant, agents.c.site))
    return str(conn.execute(query).scalar_one())


def received_at(conn: Connection, position: int) -> str:
    """When the entry at a ledger position was received."""
    return str(conn.execute(select(ledger.c.received_at).where(ledger.c.position == position)).scalar_one())

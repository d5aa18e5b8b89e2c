"""SQL of access: API keys, login links and sessions. Tokens themselves are never stored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from ..db.schema import keys, sessions
from ..db.scope import Scope


def add_key(
    conn: Connection, *, id_: str, hash_: str, tenant: str, role: str, sites: Sequence[str] | None, note: str, at: str
) -> None:
    conn.execute(
        insert(keys).values(
            id=id_, hash=hash_, tenant=tenant, role=role, sites=None if sites is None else json.dumps(sorted(sites)),
            note=note, created_at=at,
        )
    )  # fmt: skip


def key_by_hash(conn: Connection, hash_: str) -> Row[Any] | None:
    """A live key. Called before any scope exists: this is where a scope comes from."""
    return conn.execute(select(keys).where(keys.c.hash == hash_, keys.c.revoked_at.is_(None))).first()


def add_session(conn: Connection, *, hash_: str, kind: str, key_id: str, expires: str) -> None:
    conn.execute(insert(sessions).values(hash=hash_, kind=kind, key_id=key_id, expires_at=expires))


def session(conn: Connection, hash_: str, kind: str, now: str) -> Row[Any] | None:
    """The live key behind a login link ("link") or session ("session") that has not run out."""
    query = select(keys).join(sessions, sessions.c.key_id == keys.c.id)
    return conn.execute(
        query.where(
            sessions.c.hash == hash_, sessions.c.kind == kind, sessions.c.expires_at > now, keys.c.revoked_at.is_(None)
        )
    ).first()


def drop_session(conn: Connection, hash_: str) -> int:
    return conn.execute(delete(sessions).where(sessions.c.hash == hash_)).rowcount


def drop_expired(conn: Connection, now: str) -> None:
    conn.execute(delete(sessions).where(sessions.c.expires_at <= now))


def list_keys(conn: Connection, scope: Scope) -> Sequence[Row[Any]]:
    return conn.execute(select(keys).where(*scope.rows(keys.c.tenant)).order_by(keys.c.id)).all()


def revoke(conn: Connection, scope: Scope, id_: str, at: str) -> bool:
    query = update(keys).where(keys.c.id == id_, keys.c.revoked_at.is_(None), *scope.rows(keys.c.tenant))
    return conn.execute(query.values(revoked_at=at)).rowcount == 1

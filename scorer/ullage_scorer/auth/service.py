"""Decides who a caller is. A token is 256 random bits, shown once; only its SHA-256 is kept."""

from __future__ import annotations

import hashlib
import json
import secrets
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row
from ullage_protocols import topics, wire
from ullage_protocols.errors import TopicError

from ..db.engine import Database
from ..db.scope import ROLES, Scope
from ..errors import CommandError
from . import store

LINK_LIFE = timedelta(minutes=15)
SESSION_LIFE = timedelta(hours=12)
EVERY_TENANT = "*"


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def create_key(
    db: Database, *, tenant: str, role: str, sites: list[str] | None, note: str, now: datetime
) -> tuple[str, str]:
    """Makes an API key; returns its id and its token, which cannot be read again. CommandError on bad input."""
    if role not in ROLES:
        raise CommandError(f"role {role[:40]!r} is unknown; use one of {', '.join(ROLES)}")
    if tenant == EVERY_TENANT and role != "admin":
        raise CommandError("only the role admin may reach every tenant ('*'); name one tenant")
    try:
        if tenant != EVERY_TENANT:
            topics.check_name(tenant, what="tenant")
        for site in sites or []:
            topics.check_name(site, what="site")
    except TopicError as exc:
        raise CommandError(str(exc)) from exc
    token = "ullage_" + secrets.token_urlsafe(32)
    id_ = "key-" + _hash(token)[:12]
    with db.write() as conn:
        store.add_key(
            conn, id_=id_, hash_=_hash(token), tenant=tenant, role=role, sites=sites, note=note[:200],
            at=wire.format_time(now),
        )  # fmt: skip
    return id_, token


def _scope(row: Row[Any]) -> Scope:
    tenant = None if row.tenant == EVERY_TENANT else row.tenant
    return Scope(row.role, tenant, None if row.sites is None else frozenset(json.loads(row.sites)), row.id)


def authenticate(db: Database, bearer: str, session: str, now: datetime) -> Scope | None:
    """The scope of an API token or of a session's token; None when neither is valid."""
    with db.read() as conn:
        if bearer:
            row = store.key_by_hash(conn, _hash(bearer))
            return None if row is None else _scope(row)
        row = store.session(conn, _hash(session), "session", wire.format_time(now))
        return None if row is None else _scope(row)


def make_link(db: Database, scope: Scope, now: datetime) -> tuple[str, datetime]:
    """A one-time token for the page, with the caller's own scope, and when it runs out."""
    token, expires = secrets.token_urlsafe(32), now + LINK_LIFE
    with db.write() as conn:
        store.drop_expired(conn, wire.format_time(now))
        store.add_session(conn, hash_=_hash(token), kind="link", key_id=scope.actor, expires=wire.format_time(expires))
    return token, expires


def open_session(db: Database, *, link: str = "", api_token: str = "", now: datetime) -> tuple[str, Scope] | None:
    """Trades a login link (once) or an API token for a session token; None when it is not valid."""
    stamp = wire.format_time(now)
    with db.write() as conn:
        if link:
            row = store.session(conn, _hash(link), "link", stamp)
            if row is None or store.drop_session(conn, _hash(link)) != 1:
                return None
        else:
            row = store.key_by_hash(conn, _hash(api_token))
            if row is None:
                return None
        token = secrets.token_urlsafe(32)
        store.add_session(
            conn, hash_=_hash(token), kind="session", key_id=row.id, expires=wire.format_time(now + SESSION_LIFE)
        )
        return token, _scope(row)


def close_session(db: Database, session: str) -> None:
    with db.write() as conn:
        store.drop_session(conn, _hash(session))

"""What each agent last said of itself, of its devices and of planned stops; enrolment as commands."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from ullage_protocols import topics, wire
from ullage_protocols.errors import ProtocolError
from ullage_protocols.keys import PublicKey
from ullage_protocols.messages import Anomaly, Heartbeat, Hello

from ..db import changes
from ..db.entry import COMMAND, Entry
from ..db.scope import Scope
from ..errors import CommandError, NotFoundError
from ..policies import store as policies
from . import devices, store

ENROL = "agent.enrol"
REVOKE = "agent.revoke"


def apply(conn: Connection, entry: Entry) -> None:
    """Projects one entry of the ledger."""
    if entry.kind == COMMAND and entry.type in (f"org.ullage.command.{n}.v1" for n in (ENROL, REVOKE)):
        kind = "enrolled" if ENROL in entry.type else "revoked"
        changes.note(
            conn, entry, site=entry.body["site"], kind="agent", at=entry.received_at,
            document={"agent": entry.body["agent"], "state": kind},
        )  # fmt: skip
        return
    event = entry.event
    if event is None:
        return
    stored = store.state_of(conn, entry.agent)
    document: dict[str, Any] = {} if stored is None else json.loads(stored)
    match event.message:
        case Hello() as hello:
            document |= {
                "version": hello.version, "baseline": hello.baseline, "tags": list(hello.tags),
                "watched": list(hello.devices), "baseline_rows": hello.baseline_rows, "hello_notes": list(hello.notes),
                "hello_reason": hello.reason,
            }  # fmt: skip
        case Heartbeat() as beat:
            document |= {
                "devices": [
                    {"name": d.name, "state": d.state, "observed": d.observed, "reason": d.reason} for d in beat.devices
                ],
                "outbox_share": beat.outbox_share, "pending": beat.pending, "uptime": beat.uptime,
                "episode_open": beat.episode_open, "notes": list(beat.notes),
                "heartbeat_at": wire.format_time(event.time),
            }  # fmt: skip
        case Anomaly() as anomaly:
            document["episode_open"] = anomaly.phase != "close"
        case _:
            devices.fold(document, event)
    if (brief := devices.brief(event)) is not None:
        changes.note(conn, entry, site=entry.site, kind="agent", at=event.time, document=brief)
    store.put_state(
        conn,
        {
            "agent": entry.agent, "position": entry.position, "event_at": wire.format_time(event.time),
            "received_at": wire.format_time(entry.received_at), "bootid": event.bootid,
            "document": wire.encode(document).decode(),
        },
    )  # fmt: skip


def prepare_enrol(
    conn: Connection, scope: Scope, *, agent: str, tenant: str, site: str, public_key: str, at: datetime
) -> tuple[str, dict[str, Any]] | None:
    """Checks and writes an enrolment; None when exactly this one is on record. The site must exist."""
    try:
        topics.check_name(agent, what="agent")
        key = PublicKey.from_text(public_key)
    except ProtocolError as exc:
        raise CommandError(str(exc)) from exc
    if not scope.allows(tenant, site) or policies.site(conn, scope, site) is None:
        raise NotFoundError
    held = store.known(conn, agent)
    if held is not None:
        rows = store.agents_of(conn, scope, name=agent, limit=1)
        if rows and held.public_key == key.to_text() and rows[0].site == site and not held.revoked:
            return None
        raise CommandError(
            f"the name {agent!r} is taken by an agent with another key, site or state; choose another name", 409
        )
    other = store.owner_of(conn, key.keyid)
    if other is not None:
        raise CommandError("this public key is enrolled under another name; every agent has its own key", 409)
    store.insert_agent(conn, agent=agent, tenant=tenant, site=site, public_key=key.to_text(), at=wire.format_time(at))
    body = {"agent": agent, "site": site, "public_key": key.to_text(), "actor": scope.actor}
    return tenant, body


def prepare_revoke(
    conn: Connection, scope: Scope, agent: str, reason: str, at: datetime
) -> tuple[str, dict[str, Any]] | None:
    """Checks and writes a revocation; None when the agent is revoked already."""
    rows = store.agents_of(conn, scope, name=agent, limit=1)
    if not rows:
        raise NotFoundError
    if rows[0].revoked_at is not None:
        return None
    store.mark(conn, agent, state="revoked", revoked_at=wire.format_time(at))
    return rows[0].tenant, {"agent": agent, "site": rows[0].site, "reason": reason, "actor": scope.actor}


def tenant_of_site(conn: Connection, scope: Scope, site: str) -> str:
    """The tenant that a site belongs to; NotFoundError outside the scope."""
    row = policies.site(conn, scope, site)
    if row is None:
        raise NotFoundError
    return str(row.tenant)

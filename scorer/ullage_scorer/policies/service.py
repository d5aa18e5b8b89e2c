"""Decides about sites and policies, and projects both, with the live state of each line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row
from ullage_protocols import topics, wire
from ullage_protocols.errors import TopicError
from ullage_protocols.messages import Production

from ..db import changes
from ..db.entry import COMMAND, Entry
from ..db.scope import SYSTEM, Scope
from ..errors import CommandError, NotFoundError
from ..web import Prepare
from . import store, terms

CREATE_SITE = "site.create"
BIND = "policy.bind"
STALE = timedelta(seconds=35)
"""A line of which nothing was heard for this long is unknown, not stopped."""


def apply(conn: Connection, entry: Entry) -> None:
    """Projects one entry of the ledger."""
    if entry.kind == COMMAND:
        match entry.type:
            case "org.ullage.command.site.create.v1":
                _site(conn, entry)
            case "org.ullage.command.policy.bind.v1":
                _bind(conn, entry)
            case _:
                pass
        return
    message = None if entry.event is None else entry.event.message
    if isinstance(message, Production):
        _line(conn, entry, message)


def _site(conn: Connection, entry: Entry) -> None:
    body, at = entry.body, wire.format_time(entry.received_at)
    store.put_site(
        conn,
        {
            "id": body["site"], "tenant": entry.tenant, "name": body["name"], "position": entry.position,
            "created_at": at,
        },
    )  # fmt: skip
    changes.note(conn, entry, site=body["site"], kind="site", at=entry.received_at, document={"created": body["site"]})


def _bind(conn: Connection, entry: Entry) -> None:
    kept = entry.body["terms"]
    store.put_policy(
        conn,
        {
            "id": kept["id"], "tenant": entry.tenant, "site": kept["site"], "start": kept["start"], "end": kept["end"],
            "position": entry.position, "bound_at": wire.format_time(entry.received_at), "digest": terms.digest(kept),
            "terms": wire.encode(kept).decode(), "state": "bound",
        },
    )  # fmt: skip
    changes.note(
        conn, entry, site=kept["site"], kind="policy", at=entry.received_at,
        document={"policy": kept["id"], "state": "bound", "insured": kept["insured"]},
    )  # fmt: skip


def state_of(message: Production) -> str:
    """What an interval says of its line: running, stopped, or unknown where too little was seen."""
    if message.observed < 0.5 or (message.count is None and message.running == 0):
        return "unknown"
    return "running" if message.running > 0 or (message.count or 0) > 0 else "stopped"


def _line(conn: Connection, entry: Entry, message: Production) -> None:
    before = store.line(conn, SYSTEM, entry.site, message.line)
    end = wire.format_time(message.end)
    if before is not None and end <= before.last_end:
        return
    state = state_of(message)
    store.put_line(
        conn,
        {
            "site": entry.site, "line": message.line, "agent": entry.agent, "tenant": entry.tenant, "state": state,
            "last_end": end, "position": entry.position, "document": wire.encode(message.to_json()).decode(),
        },
    )  # fmt: skip
    if before is None or before.state != state:
        changes.note(
            conn, entry, site=entry.site, kind="site", at=message.end,
            document={"line": message.line, "state": state, "count": message.count},
        )  # fmt: skip


def prepare_site(
    conn: Connection, scope: Scope, *, site: str, tenant: str, name: str
) -> tuple[str, dict[str, Any]] | None:
    """Checks a new site; None when exactly this one exists. Names of sites are unique among all tenants."""
    try:
        topics.check_name(site, what="site")
        topics.check_name(tenant, what="tenant")
    except TopicError as exc:
        raise CommandError(str(exc)) from exc
    if not scope.allows(tenant, site):
        raise NotFoundError
    held = store.site(conn, SYSTEM, site)
    if held is not None:
        if held.tenant == tenant and held.name == name:
            return None
        raise CommandError(f"the name {site!r} is taken by another site; choose another", 409)
    return tenant, {"site": site, "name": name, "actor": scope.actor}


def ensure_site(submit: Callable[[str, Prepare], int | None], scope: Scope, *, site: str, tenant: str) -> None:
    """Makes a site under its own name unless the tenant has it already."""

    def prepare(conn: Connection) -> tuple[str, Mapping[str, Any]] | None:
        held = store.site(conn, SYSTEM, site)
        if held is not None and held.tenant == tenant:
            return None
        return prepare_site(conn, scope, site=site, tenant=tenant, name=site)

    submit(CREATE_SITE, prepare)


def tenant_of(conn: Connection, scope: Scope, site: str) -> str:
    """The tenant of a site; NotFoundError outside the scope."""
    row = store.site(conn, scope, site)
    if row is None:
        raise NotFoundError
    return str(row.tenant)


def prepare_bind(conn: Connection, scope: Scope, request: terms.PolicyRequest) -> tuple[str, dict[str, Any]] | None:
    """Checks a policy to be bound; None when exactly this one is bound already, 409 for other terms."""
    tenant = tenant_of(conn, scope, request.site)
    kept = terms.document(request, tenant)
    held = store.policy(conn, SYSTEM, kept["id"])
    if held is not None:
        if held.tenant == tenant and held.digest == terms.digest(kept):
            return None
        raise CommandError(f"the policy {kept['id']!r} exists with other terms; an endorsement changes it", 409)
    overlapping = [
        row.id
        for row in store.policies_of(conn, SYSTEM, site_name=request.site)
        if row.start < kept["end"] and kept["start"] < row.end and _share_a_line(json.loads(row.terms), kept)
    ]
    if overlapping:
        raise CommandError(
            f"policy {overlapping[0]!r} covers the same line of {request.site} in the same time; a stop must not be "
            "paid twice, choose another period or other lines", 409,
        )  # fmt: skip
    return tenant, {"terms": kept, "actor": scope.actor}


def _share_a_line(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return not a["lines"] or not b["lines"] or bool(set(a["lines"]) & set(b["lines"]))


def live_state(rows: list[Row[Any]], heard: Mapping[str, datetime], now: datetime) -> str:
    """The state of a site from its lines: running if any runs, stopped if all stand, else unknown."""
    states = {line_state(row, heard, now) for row in rows}
    if "running" in states:
        return "running"
    return "stopped" if states == {"stopped"} else "unknown"


def line_state(row: Row[Any], heard: Mapping[str, datetime], now: datetime) -> str:
    """A line's last state, unknown once its agent has been silent."""
    last = heard.get(row.agent)
    return row.state if last is not None and now - last <= STALE else "unknown"

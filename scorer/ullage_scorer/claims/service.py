"""From production to claims: outages watched line by line, drafts opened, losses updated, causes linked.

Everything here follows event times. Rules that are stated once:

* Each line of a site is watched once for every policy that covers it, with that policy's waiting period and
  rule; without a policy it is watched by the default rule, so that the stop is on record.
* A stop belongs to the policy in whose period it began. One that began before or after is on record, no claim.
* An interval that overlaps what was already counted (a late, repeated or second report) is left out and told.
* A watch that is new starts from the production of the line that the ledger already holds, so that the
  standard is known on the first day and a stop older than the policy is seen as such.
* An episode of the site that overlaps the stop, or ended less than ten minutes before it, is linked as a
  possible cause; it changes no amount.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row
from ullage_models.claims import lifecycle
from ullage_models.claims.cover import Cover
from ullage_models.claims.errors import MissingFact
from ullage_models.claims.indemnity import UnitLoss, indemnify
from ullage_models.claims.outage import Happened, Outage, OutageEvent, OutageRule, OutageWatch
from ullage_models.claims.production import Interval
from ullage_models.money import plain, rounded
from ullage_protocols import envelope, wire
from ullage_protocols.errors import ProtocolError
from ullage_protocols.event import decode_event
from ullage_protocols.messages import Anomaly, Production

from ..db import changes
from ..db.entry import COMMAND, Entry
from ..db.scope import SYSTEM, Scope
from ..errors import CommandError, ForbiddenError, NotFoundError
from . import store

TRANSITION = "claim.transition"
CAUSE_BEFORE = timedelta(minutes=10)
_SEED = 2000
_ROLES = {
    "policyholder": ("insured",),
    "insurer": ("handler", "supervisor"),
    "admin": ("insured", "handler", "supervisor"),
}


def apply(conn: Connection, entry: Entry) -> None:
    """Projects one entry of the ledger."""
    if entry.kind == COMMAND:
        if entry.type == f"org.ullage.command.{TRANSITION}.v1":
            _transition(conn, entry)
        return
    message = None if entry.event is None else entry.event.message
    if isinstance(message, Production):
        _production(conn, entry, message)
    elif isinstance(message, Anomaly):
        _relink(conn, entry)


def _production(conn: Connection, entry: Entry, message: Production) -> None:
    interval = _interval(message)
    covering = [
        row for row in store.policies_of_site(conn, SYSTEM, entry.site) if covers(json.loads(row.terms), message.line)
    ]
    live = [row for row in covering if not _spent(conn, entry, message.line, row, interval, covering)]
    for policy in live:
        _step(conn, entry, message.line, policy, interval)
    if not live:
        _step(conn, entry, message.line, None, interval)


def covers(terms: Mapping[str, Any], line: str) -> bool:
    """Whether a policy covers a line; a policy that names no lines covers all of its site."""
    return not terms["lines"] or line in terms["lines"]


def _interval(message: Production) -> Interval:
    return Interval.of(message.start, message.end, message.count, message.running, message.observed)


def _spent(
    conn: Connection, entry: Entry, line: str, policy: Row[Any], interval: Interval, covering: list[Row[Any]]
) -> bool:
    """Whether a policy has run out, has no stop open, and another one is in force."""
    begin = wire.format_time(interval.start)
    if policy.end > begin or not any(p.start <= begin < p.end for p in covering):
        return False
    state = store.watch(conn, SYSTEM, entry.site, line, policy.id)
    return state is None or json.loads(state)["outage"] is None


def _step(conn: Connection, entry: Entry, line: str, policy: Row[Any] | None, interval: Interval) -> None:
    name = "" if policy is None else policy.id
    stored = store.watch(conn, SYSTEM, entry.site, line, name)
    if stored is not None:
        watch = OutageWatch.from_json(json.loads(stored))
    else:
        watch = _seeded(conn, entry, line, policy, interval)
    watch, events = watch.step(interval)
    for event in events:
        _happened(conn, entry, line, policy, event)
    store.put_watch(
        conn,
        {
            "site": entry.site, "line": line, "policy": name, "tenant": entry.tenant, "position": entry.position,
            "state": wire.encode(watch.to_json()).decode(),
        },
    )  # fmt: skip


def _seeded(conn: Connection, entry: Entry, line: str, policy: Row[Any] | None, interval: Interval) -> OutageWatch:
    """A new watch that has seen the line's production of the rule's window before ``interval``."""
    if policy is None:
        watch = OutageWatch(OutageRule(), timedelta(0))
    else:
        watch = Cover.from_json(json.loads(policy.terms)["cover"]).watch()
    begin = interval.start - watch.rule.window
    for raw in store.production_before(conn, SYSTEM, entry.site, entry.position, _SEED):
        try:
            message = decode_event(envelope.unseal(raw).payload).message
        except ProtocolError:
            continue
        if isinstance(message, Production) and message.line == line and message.end > begin:
            watch, _ = watch.step(_interval(message))
    return watch


def stop_id(site: str, line: str, policy: str, outage: Outage) -> str:
    """The same for the same stop in every replay: from site, line, policy and start."""
    text = "|".join((site, line, policy, wire.format_time(outage.start)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _happened(conn: Connection, entry: Entry, line: str, policy: Row[Any] | None, event: OutageEvent) -> None:
    if event.kind is Happened.REFUSED:
        changes.note(
            conn, entry, site=entry.site, kind="fault", at=event.at,
            document={"position": entry.position, "line": line, "reason": event.note},
        )  # fmt: skip
        return
    outage = event.outage
    if outage is None or event.kind is Happened.GAP:
        return
    id_ = stop_id(entry.site, line, "" if policy is None else policy.id, outage)
    row = store.stop(conn, SYSTEM, id_)
    decision, reason = (row.decision, row.reason) if row is not None else _decide(policy, outage)
    if event.kind is Happened.WAITING_ENDED and decision == "waiting":
        decision, reason = "claim", "the stop outlasted the waiting period"
    if event.kind is Happened.ENDED and decision == "waiting":
        decision, reason = "no claim", "the stop ended within the waiting period"
    store.put_stop(
        conn,
        {
            "id": f"{id_}", "tenant": entry.tenant, "site": entry.site, "line": line,
            "policy": "" if policy is None else policy.id, "start": wire.format_time(outage.start),
            "end": None if outage.end is None else wire.format_time(outage.end), "decision": decision,
            "reason": reason, "position": entry.position, "document": wire.encode(_figures(outage)).decode(),
        },
    )  # fmt: skip
    if event.kind is Happened.STARTED:
        changes.note(
            conn, entry, site=entry.site, kind="site", at=outage.start,
            document={"line": line, "outage": id_, "decision": decision, "reason": reason},
        )  # fmt: skip
    if decision == "claim" and policy is not None:
        _claim(conn, entry, line, policy, id_, event)


def _decide(policy: Row[Any] | None, outage: Outage) -> tuple[str, str]:
    if policy is None:
        return "no policy", "no policy covers this line of the site"
    start = wire.format_time(outage.start)
    if start < policy.start:
        return "not covered", f"the stop began before the period of insurance, which starts {policy.start}"
    if start >= policy.end:
        return "not covered", f"the stop began after the period of insurance, which ended {policy.end}"
    return "waiting", "the waiting period runs"


def _figures(outage: Outage) -> dict[str, Any]:
    shown = {
        "standard_units": outage.standard_units, "made_units": outage.made_units, "shortage": outage.shortage,
        "shortage_after_waiting": outage.shortage_after_waiting, "shortage_at_most": outage.shortage_at_most,
        "observed": outage.observed,
    }  # fmt: skip
    return {
        "outage": outage.to_json(), "seconds": outage.duration.total_seconds(), "final": outage.end is not None,
        **{name: plain(rounded(value, 6)) for name, value in shown.items()},
    }  # fmt: skip


def _claim(conn: Connection, entry: Entry, line: str, policy: Row[Any], id_: str, event: OutageEvent) -> None:
    outage = event.outage
    if outage is None:
        return
    claim_id = f"claim-{id_}"
    row = store.claim(conn, SYSTEM, claim_id)
    terms = json.loads(policy.terms)
    document: dict[str, Any] = {} if row is None else json.loads(row.document)
    agents = {**document.get("agents", {}), **_spoke(entry)}
    worksheet, amount = _worksheet(Cover.from_json(terms["cover"]), outage)
    document = {
        **document, **_figures(outage), "worksheet": worksheet, "agents": agents, "policy_digest": policy.digest,
        "causes": _causes(conn, entry.site, outage),
    }  # fmt: skip
    for cause in document["causes"]:
        agents[cause["agent"]] = max(agents.get(cause["agent"], 0), cause["sequence"])
    at = outage.end or outage.through
    store.put_claim(
        conn,
        {
            "id": claim_id, "tenant": entry.tenant, "site": entry.site, "policy": policy.id, "line": line,
            "state": str(lifecycle.State.DRAFT) if row is None else row.state,
            "outage_start": wire.format_time(outage.start),
            "outage_end": None if outage.end is None else wire.format_time(outage.end),
            "currency": terms["cover"]["currency"], "indemnity": amount,
            "opened": entry.position if row is None else row.opened, "position": entry.position,
            "updated_at": wire.format_time(at), "document": wire.encode(document).decode(),
        },
    )  # fmt: skip
    kind = "opened" if row is None else "ended" if event.kind is Happened.ENDED else "updated"
    brief = {
        "claim": claim_id, "line": line, "state": "draft" if row is None else row.state, "phase": kind,
        "shortage": document["shortage"], "indemnity": amount, "currency": terms["cover"]["currency"],
    }  # fmt: skip
    if kind != "updated":
        _log(conn, entry, claim_id, wire.format_time(at), kind, {"actor": "telemetry", **brief})
    changes.note(conn, entry, site=entry.site, kind="claim", at=at, document=brief)


def _spoke(entry: Entry) -> dict[str, int]:
    return {} if entry.event is None else {entry.agent: entry.event.sequence}


def _worksheet(cover: Cover, outage: Outage) -> tuple[dict[str, Any], str]:
    """The computation with every step, and the amount; what is missing where it cannot be computed."""
    try:
        found = indemnify(UnitLoss(cover, outage))
    except MissingFact as exc:
        return {"amount": None, "missing": list(exc.facts), "steps": []}, "0"
    return {**found.to_json(), "missing": []}, found.amount.text()


def _causes(conn: Connection, site: str, outage: Outage) -> list[dict[str, Any]]:
    begin = wire.format_time(outage.start - CAUSE_BEFORE)
    end = wire.format_time(outage.end or outage.through)
    return [
        {
            "episode": row.episode, "agent": row.agent, "kind": row.kind, "start": row.start, "end": row.end,
            "severity": row.severity, "relation": _relation(row.end or end, wire.format_time(outage.start)),
            **_explained(row),
        }
        for row in store.episodes_between(conn, SYSTEM, site, begin, end)
    ]  # fmt: skip


def _relation(ended: str, stopped: str) -> str:
    return "overlaps the stop" if ended >= stopped else "ended shortly before the stop"


def _explained(row: Row[Any]) -> dict[str, Any]:
    said = json.loads(row.document)
    return {
        "tags": [t["tag"] for t in said["tags"]][:5],
        "techniques": said["techniques"],
        "sequence": said["sequence"],
    }


def _relink(conn: Connection, entry: Entry) -> None:
    """Links an anomaly that came after its claim was opened."""
    for row in store.claims_of(conn, SYSTEM, site=entry.site):
        document = json.loads(row.document)
        outage = Outage.from_json(document["outage"])
        causes = _causes(conn, entry.site, outage)
        if causes == document["causes"]:
            continue
        agents = document["agents"]
        for cause in causes:
            agents[cause["agent"]] = max(agents.get(cause["agent"], 0), cause["sequence"])
        new = [c["episode"] for c in causes if c["episode"] not in {k["episode"] for k in document["causes"]}]
        document["causes"] = causes
        store.change_claim(conn, row.id, document=wire.encode(document).decode(), position=entry.position)
        if new and entry.event is not None:
            _log(
                conn,
                entry,
                row.id,
                wire.format_time(entry.event.time),
                "linked",
                {"actor": "telemetry", "episodes": new},
            )


def _log(conn: Connection, entry: Entry, claim: str, at: str, kind: str, document: Mapping[str, Any]) -> None:
    store.add_log(
        conn, claim_id=claim, position=entry.position, at=at, kind=kind, document=wire.encode(document).decode()
    )


def prepare_transition(
    conn: Connection, scope: Scope, *, claim: str, event: str, role: str, note: str
) -> tuple[str, dict[str, Any]]:
    """Checks a person's step. NotFoundError outside the scope, 403 for a role that the key may not take, 409
    where the claim's state does not allow the step."""
    row = store.claim(conn, scope, claim)
    if row is None:
        raise NotFoundError
    if role not in _ROLES.get(scope.role, ()):
        raise ForbiddenError(scope.role, tuple(key for key, roles in _ROLES.items() if role in roles))
    try:
        after = lifecycle.advance(row.state, event, role)
    except lifecycle.LifecycleError as exc:
        raise CommandError(str(exc), 409) from exc
    body = {
        "claim": claim, "site": row.site, "event": event, "role": role, "note": note, "actor": scope.actor,
        "before": row.state, "after": str(after),
    }  # fmt: skip
    return row.tenant, body


def _transition(conn: Connection, entry: Entry) -> None:
    body, at = entry.body, wire.format_time(entry.received_at)
    row = store.claim(conn, SYSTEM, body["claim"])
    if row is None:
        raise NotFoundError
    after = str(lifecycle.advance(row.state, body["event"], body["role"]))
    store.change_claim(conn, row.id, state=after, position=entry.position, updated_at=at)
    _log(conn, entry, row.id, at, body["event"], {k: body[k] for k in ("actor", "role", "note", "before", "after")})
    changes.note(
        conn, entry, site=row.site, kind="claim", at=entry.received_at,
        document={
            "claim": row.id, "line": row.line, "state": after, "phase": "step", "indemnity": row.indemnity,
            "currency": row.currency,
        },
    )  # fmt: skip

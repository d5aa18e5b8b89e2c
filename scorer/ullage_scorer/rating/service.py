"""From anomalies to relativity, score and premium: one row whenever something changed.

What the model indicates moves with every anomaly; what the policy pays (charged) moves only by an endorsement.
The indicated premium is the one at the relativity that the indication leads to after credibility and bounds.
Episodes count with the times at which the agent told them, inside the period of insurance.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row
from ullage_models.money import Money, number, plain
from ullage_models.rating.plan import RatingPlan
from ullage_models.rating.premium import Premium, Submission, quote
from ullage_models.rating.relativity import ONE, Charged, dampen, midterm
from ullage_models.rating.score import AnomalyEvent, Telemetry, telemetry_relativity
from ullage_protocols import wire
from ullage_protocols.messages import Anomaly

from ..db import changes
from ..db.entry import COMMAND, Entry
from ..db.scope import SYSTEM, Scope
from ..errors import CommandError, NotFoundError
from ..policies import terms
from . import store

ENDORSE = "policy.endorse"
_KEPT_TAGS = 10


def apply(conn: Connection, entry: Entry) -> None:
    """Projects one entry of the ledger."""
    if entry.kind == COMMAND:
        match entry.type:
            case "org.ullage.command.policy.bind.v1":
                _bound(conn, entry)
            case "org.ullage.command.policy.endorse.v1":
                _endorsed(conn, entry)
            case _:
                pass
        return
    message = None if entry.event is None else entry.event.message
    if isinstance(message, Anomaly):
        _episode(conn, entry, message)
        at = wire.format_time(entry.event.time) if entry.event is not None else ""
        for policy in store.policies_of_site(conn, SYSTEM, entry.site):
            if policy.start <= at < policy.end:
                _rate(conn, entry, policy, wire.parse_time(at), "anomaly")


def _episode(conn: Connection, entry: Entry, message: Anomaly) -> None:
    event = entry.event
    if event is None:
        return
    known = store.episode(conn, SYSTEM, entry.agent, message.episode)
    told = [] if known is None else json.loads(known.document)["told"]
    at, severity = wire.format_time(event.time), str(number(message.severity))
    told = _weighty(told, at, severity)
    tags = sorted(message.tags, key=lambda t: (-t.share, t.tag))[:_KEPT_TAGS]
    document = {
        "told": told, "sequence": event.sequence, "threshold": message.threshold, "reasons": list(message.reasons),
        "tags": [
            {"tag": t.tag, "share": t.share, "value": t.value, "expected": t.expected, "reason": t.reason} for t in tags
        ],
        "techniques": [{"id": t.id, "name": t.name, "reason": t.reason} for t in message.techniques],
    }  # fmt: skip
    store.put_episode(
        conn,
        {
            "agent": entry.agent, "episode": message.episode, "tenant": entry.tenant, "site": entry.site,
            "kind": message.kind, "phase": message.phase, "start": wire.format_time(message.start),
            "end": None if message.end is None else wire.format_time(message.end), "severity": severity,
            "score": str(number(message.score)), "position": entry.position,
            "opened": entry.position if known is None else known.opened,
            "document": wire.encode(document).decode(),
        },
    )  # fmt: skip
    changes.note(
        conn, entry, site=entry.site, kind="anomaly", at=event.time,
        document={
            "agent": entry.agent, "episode": message.episode, "phase": message.phase, "anomaly": message.kind,
            "severity": message.severity, "score": message.score, "threshold": message.threshold,
            "start": wire.format_time(message.start), "tags": [t.tag for t in tags],
            "techniques": [t.id for t in message.techniques],
        },
    )  # fmt: skip


def _weighty(told: list[list[str]], at: str, severity: str) -> list[list[str]]:
    """The tellings of an episode that can count: none that another one equals or exceeds in time and severity."""
    if any(t[0] >= at and Decimal(t[1]) >= Decimal(severity) for t in told):
        return told
    return [*(t for t in told if t[0] > at or Decimal(t[1]) > Decimal(severity)), [at, severity]]


def _events(rows: Sequence[Row[Any]], start: str, end: str) -> list[AnomalyEvent]:
    found: list[AnomalyEvent] = []
    for row in rows:
        said = json.loads(row.document)
        found.extend(
            AnomalyEvent(
                wire.parse_time(at), row.kind, number(severity), f"{row.agent}/{row.episode}",
                _named_first(said), tuple(t["id"] for t in said["techniques"]),
            )
            for at, severity in said["told"]
            if start <= at < end
        )  # fmt: skip
    return found


def _named_first(said: Mapping[str, Any]) -> tuple[str, ...]:
    """Tags by share, but first those that a technique's reason names: the cause before what followed from it."""
    reasons = " ".join(technique["reason"] for technique in said["techniques"])

    def unnamed(tag: str) -> bool:
        return re.search(rf"(?<![\w.]){re.escape(tag)}(?!\w|\.\w)", reasons) is None

    return tuple(sorted((t["tag"] for t in said["tags"]), key=unnamed))


def _bound(conn: Connection, entry: Entry) -> None:
    policy = store.policy(conn, SYSTEM, entry.body["terms"]["id"])
    if policy is None:
        raise NotFoundError
    events = _events(store.episodes_of_site(conn, SYSTEM, policy.site), policy.start, policy.end)
    at = max([wire.parse_time(policy.start), *(event.at for event in events)])
    _rate(conn, entry, policy, at, "bound")


def _rate(conn: Connection, entry: Entry, policy: Row[Any], at: datetime, reason: str) -> None:
    kept = json.loads(policy.terms)
    plan, asked = terms.plan_named(kept["plan"]), terms.submission(kept)
    events = _events(store.episodes_of_site(conn, SYSTEM, policy.site), policy.start, policy.end)
    base = quote(plan, asked)
    found = telemetry_relativity(
        plan, events, at, wire.parse_time(policy.start), wire.parse_time(policy.end),
        relativities={k: v for k, v in base.relativities.items() if k != "telemetry"},
    )  # fmt: skip
    counted = sorted([e.episode, wire.format_time(e.at), str(e.severity)] for e in events)
    basis = hashlib.sha256(wire.encode({"events": counted})).hexdigest()
    last = store.last_score(conn, SYSTEM, policy.id)
    if last is not None and json.loads(last.document)["basis"] == basis:
        return
    store.add_score(
        conn,
        {
            "policy": policy.id, "position": entry.position, "tenant": policy.tenant, "site": policy.site,
            "at": wire.format_time(at), "score": plain(found.score), "relativity": plain(found.indicated),
            "document": wire.encode({**found.to_json(), "basis": basis}).decode(),
        },
    )  # fmt: skip
    before = store.last_premium(conn, SYSTEM, policy.id)
    charged = ONE if before is None else number(before.relativity_charged)
    _premium(conn, entry, policy, at, reason, plan=plan, asked=asked, base=base, found=found, charged=charged)
    changes.note(
        conn, entry, site=policy.site, kind="score", at=at,
        document={
            "policy": policy.id, "score": plain(found.score), "relativity": plain(found.indicated),
            "reasons": [reason.text["en"] for reason in found.reasons],
        },
    )  # fmt: skip


def _towards(plan: RatingPlan, current: Decimal, indicated: Decimal) -> Charged:
    t = plan.telemetry
    return dampen(current, indicated, credibility=t.credibility, low=t.low, high=t.high, max_step=t.max_step)


def _premium(
    conn: Connection, entry: Entry, policy: Row[Any], at: datetime, reason: str, *, plan: RatingPlan,
    asked: Submission, base: Premium, found: Telemetry, charged: Decimal,
    extra: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    way = _towards(plan, charged, found.indicated)
    indicated, paid = quote(plan, asked, way.target), quote(plan, asked, charged)
    document = {
        "base": base.to_json(), "indicated": indicated.to_json(), "charged": paid.to_json(),
        "indicated_relativity": plain(found.indicated), "target": plain(way.target), "next": plain(way.relativity),
        "dampening": [step.to_json() for step in way.steps], "endorsement": dict(extra or {}),
    }  # fmt: skip
    store.add_premium(
        conn,
        {
            "policy": policy.id, "position": entry.position, "tenant": policy.tenant, "site": policy.site,
            "at": wire.format_time(at), "reason": reason, "currency": base.net.currency, "base": base.net.text(),
            "indicated": indicated.net.text(), "charged": paid.net.text(),
            "relativity_indicated": plain(found.indicated), "relativity_charged": plain(charged),
            "document": wire.encode(document).decode(),
        },
    )  # fmt: skip
    changes.note(
        conn, entry, site=policy.site, kind="premium", at=at,
        document={
            "policy": policy.id, "currency": base.net.currency, "base": base.net.text(),
            "indicated": indicated.net.text(), "charged": paid.net.text(), "reason": reason,
        },
    )  # fmt: skip


def prepare_endorsement(
    conn: Connection, scope: Scope, *, policy: str, name: str, effective: datetime, note: str
) -> tuple[str, dict[str, Any]] | None:
    """Checks a mid-term change of the charged relativity; None when this one is on record.

    409 where the law mode of the policy forbids it, or where nothing would change.
    """
    row = store.policy(conn, scope, policy)
    last = store.last_premium(conn, scope, policy)
    score = store.last_score(conn, scope, policy)
    if row is None or last is None or score is None:
        raise NotFoundError
    at = wire.format_time(effective)
    body = {"policy": policy, "name": name, "effective": at, "note": note}
    for held in store.premiums_of(conn, scope, site=None, policy_name=policy, after=0, limit=100_000):
        was = json.loads(held.document)["endorsement"]
        if was.get("name") == name:
            if all(was[key] == body[key] for key in ("effective", "note")):
                return None
            raise CommandError(f"the endorsement {name!r} exists with other terms; choose another name", 409)
    kept = json.loads(row.terms)
    if not row.start <= at < row.end:
        raise CommandError(f"the endorsement must take effect in the period of insurance, {row.start} to {row.end}")
    current, indicated = number(last.relativity_charged), number(score.relativity)
    way = _towards(terms.plan_named(kept["plan"]), current, indicated)
    if way.relativity == current:
        raise CommandError("the charged relativity stands where the indication leads; there is nothing to change", 409)
    if kept["law_mode"] == "renewal":
        raise CommandError("the policy allows no change of premium before renewal (law mode renewal)", 409)
    if kept["law_mode"] == "decrease" and way.relativity > current:
        raise CommandError("the policy allows only decreases before renewal (law mode decrease)", 409)
    return row.tenant, {**body, "site": row.site, "relativity": plain(way.relativity), "actor": scope.actor}


def _endorsed(conn: Connection, entry: Entry) -> None:
    body = entry.body
    policy = store.policy(conn, SYSTEM, body["policy"])
    last = store.last_premium(conn, SYSTEM, body["policy"])
    if policy is None or last is None:
        raise NotFoundError
    kept, at = json.loads(policy.terms), wire.parse_time(body["effective"])
    plan, asked = terms.plan_named(kept["plan"]), terms.submission(kept)
    events = _events(store.episodes_of_site(conn, SYSTEM, policy.site), policy.start, policy.end)
    base = quote(plan, asked)
    start, end = wire.parse_time(policy.start), wire.parse_time(policy.end)
    found = telemetry_relativity(plan, events, at, start, end)
    before, charged = number(last.relativity_charged), number(body["relativity"])
    due = midterm(
        base.net, days=asked.days, from_relativity=before, to_relativity=charged,
        decided_day=(at - start) // timedelta(days=1), notice_days=0,
    )  # fmt: skip
    extra = {
        "name": body["name"], "effective": body["effective"], "note": body["note"], "from": plain(before),
        "to": plain(charged), "due": Money.to_json(due), "actor": body["actor"],
    }  # fmt: skip
    _premium(
        conn, entry, policy, at, "endorsement", plan=plan, asked=asked, base=base, found=found, charged=charged,
        extra=extra,
    )  # fmt: skip

"""Fills the page in from one snapshot of the database. It decides nothing that moves money."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row
from ullage_models.money import Money, number
from ullage_protocols import wire

from ..claims import planned
from ..db.scope import Scope
from ..ingest import store as ingest
from ..ledger import store as ledger
from ..policies import service as policies
from ..policies import store as policies_store
from ..rating import store as rating
from . import devices, production, store
from .view import (
    RUNNING,
    SILENT,
    STOPPED,
    UNKNOWN,
    AgentView,
    AnomalyView,
    ClaimView,
    LineView,
    PageView,
    PolicyView,
    PremiumView,
    ReasonView,
    ScoreView,
    SiteView,
)  # fmt: skip

MOST_SITES, MOST_ANOMALIES, MOST_CLAIMS, MOST_PREMIUMS, MOST_PLANNED = 200, 30, 20, 400, 20
_WORST_FIRST = {STOPPED: 0, SILENT: 1, RUNNING: 2, UNKNOWN: 3}


def page(conn: Connection, scope: Scope, site: str, language: str, now: datetime) -> PageView:
    """The whole page for a caller. ``site`` that is empty or not the caller's shows the one most in need."""
    tip = ledger.tip(conn)
    base = PageView(now, tip.position, store.projected(conn), tip.chain)
    rows = policies_store.sites_of(conn, scope, after="", limit=MOST_SITES)
    if not rows:
        return base
    agents, opened = _agents(conn, scope, now), store.open_episodes(conn, scope)
    lines, watches = store.all_lines(conn, scope), production.standards(store.watches(conn, scope))
    silent = {name: agent.silent for each in agents.values() for name, agent in each.items()}

    def shown(row: Row[Any], views: tuple[LineView, ...], *, selected: bool = False) -> SiteView:
        return _site(row, views, agents.get(row.id, {}), opened.get(row.id, 0), selected=selected)

    sites = [
        shown(row, production.glances([each for each in lines if each.site == row.id], watches, silent)) for row in rows
    ]
    place = _choose(sites, site)
    chosen = sites[place].id
    episodes = store.newest_episodes(conn, scope, chosen, MOST_ANOMALIES)
    charts = production.charts(
        [row for row in lines if row.site == chosen], watches, store.newest_stops(conn, scope, chosen, 50),
        production.intervals(store.newest_production(conn, scope, chosen, production.MOST)),
        [wire.parse_time(row.start) for row in episodes], silent, now,
    )  # fmt: skip
    sites[place] = shown(rows[place], charts, selected=True)
    policy = _in_force(rating.policies_of_site(conn, scope, chosen), now)
    anomalies = tuple(_anomaly(row) for row in episodes)
    starts = [each.start for each in anomalies]
    declared = planned.of_site(conn, scope, chosen)
    return PageView(
        now, tip.position, base.projected, tip.chain, tuple(sites), sites[place], charts,
        None if policy is None else _policy(policy),
        None if policy is None else _premium(store.newest_premiums(conn, scope, policy.id, MOST_PREMIUMS), starts, now),
        None if policy is None else _score(rating.last_score(conn, scope, policy.id), language),
        anomalies, tuple(_claim(row, declared) for row in store.newest_claims(conn, scope, chosen, MOST_CLAIMS)),
        devices.shown(ingest.agents_of(conn, scope, site=chosen), now), devices.planned(declared[:MOST_PLANNED]),
    )  # fmt: skip


def _agents(conn: Connection, scope: Scope, now: datetime) -> dict[str, dict[str, AgentView]]:
    found: dict[str, dict[str, AgentView]] = {}
    for row in ingest.agents_of(conn, scope):
        said: dict[str, Any] = {} if row.document is None else json.loads(row.document)
        seen = None if row.last_seen is None else wire.parse_time(row.last_seen)
        found.setdefault(row.site, {})[row.id] = AgentView(
            row.id, seen, seen is None or now - seen > policies.STALE, row.revoked_at is not None,
            row.state == "forked", said.get("pending"), row.refused,
        )  # fmt: skip
    return found


def _choose(sites: Sequence[SiteView], asked: str) -> int:
    """The place of the site asked for; else of the one most in need: open episodes, then the worst state."""
    for place, site in enumerate(sites):
        if site.id == asked:
            return place
    return min(range(len(sites)), key=lambda n: (not sites[n].open_episodes, _WORST_FIRST[sites[n].state], n))


def _site(
    row: Row[Any], charts: tuple[LineView, ...], agents: Mapping[str, AgentView], opened: int, *, selected: bool
) -> SiteView:
    states = {line.state for line in charts}
    if not states:
        silent = bool(agents) and all(a.silent for a in agents.values() if not a.revoked)
        heard = any(a.last_seen is not None for a in agents.values())
        state = SILENT if silent and heard else UNKNOWN
    elif RUNNING in states:
        state = RUNNING
    else:
        state = min(states, key=lambda name: _WORST_FIRST[name])
    rates = [line.rate for line in charts if line.rate is not None]
    standards = [line.standard for line in charts if line.standard is not None]
    return SiteView(
        row.id, row.name, state, sum(rates, Decimal(0)) if rates and state != SILENT else None,
        sum(standards, Decimal(0)) if standards else None, tuple(agents.values()), opened, selected,
    )  # fmt: skip


def _in_force(rows: Sequence[Row[Any]], now: datetime) -> Row[Any] | None:
    """The policy in force, else the one that starts next, else the one that ended last."""
    at = wire.format_time(now)
    for row in rows:
        if row.start <= at < row.end:
            return row
    coming = [row for row in rows if row.start > at]
    return coming[0] if coming else (rows[-1] if rows else None)


def _policy(row: Row[Any]) -> PolicyView:
    terms = json.loads(row.terms)
    cover = terms["cover"]
    return PolicyView(
        row.id, terms["insured"], str(Money.from_json(cover["limit"])), number(cover["waiting"]),
        cover.get("waiting_kind", ""), wire.parse_time(row.start), wire.parse_time(row.end), terms["plan"],
    )  # fmt: skip


def _premium(rows: Sequence[Row[Any]], opened: Sequence[datetime], now: datetime) -> PremiumView | None:
    if not rows:
        return None
    last = rows[-1]
    times = [wire.parse_time(row.at).timestamp() for row in rows]
    # The last values hold until now; the chart begins shortly before the first change, not at the policy's start.
    end = max(now.timestamp(), times[-1])
    marks = [moment.timestamp() for moment in sorted(opened) if moment.timestamp() <= end]
    change = min([times[1], *(t for t in marks if t > times[0])]) if len(times) > 1 else end - 3600
    begin = max(times[0], min(change - 0.25 * (end - change), end - 60))
    plot = {
        "time": [max(begin, times[0]), *times[1:], end], "from": begin, "to": end,
        "indicated": [float(row.relativity_indicated) for row in (*rows, last)],
        "charged": [float(row.relativity_charged) for row in (*rows, last)],
        "marks": [t for t in marks if t >= begin],
    }  # fmt: skip
    return PremiumView(
        f"{last.base} {last.currency}", f"{last.indicated} {last.currency}", f"{last.charged} {last.currency}",
        number(last.relativity_indicated), number(last.relativity_charged), plot,
    )  # fmt: skip


def _score(row: Row[Any] | None, language: str) -> ScoreView | None:
    if row is None:
        return None
    reasons = json.loads(row.document)["reasons"]
    return ScoreView(
        number(row.score), tuple(ReasonView(reason[language], number(reason["points"])) for reason in reasons)
    )


def _anomaly(row: Row[Any]) -> AnomalyView:
    said = json.loads(row.document)
    return AnomalyView(
        f"{row.agent}/{row.episode}", row.agent, row.kind, row.end is None, float(row.severity), float(row.score),
        said["threshold"], wire.parse_time(row.start), None if row.end is None else wire.parse_time(row.end),
        tuple(said["tags"][:5]), tuple(said["techniques"][:2]), tuple(said["reasons"][:2]),
    )  # fmt: skip


def _claim(row: Row[Any], declared: Sequence[planned.PlannedStop]) -> ClaimView:
    said = json.loads(row.document)
    sheet, amount = said["worksheet"], f"{row.indemnity} {row.currency}"
    most = None if sheet.get("at_most") is None else str(Money.from_json(sheet["at_most"]))
    start, end = wire.parse_time(row.outage_start), None if row.outage_end is None else wire.parse_time(row.outage_end)
    return ClaimView(
        row.id, row.state, row.line, None if row.opened_at is None else wire.parse_time(row.opened_at), start, end,
        number(said["shortage"]), str(Money.from_json({"amount": row.indemnity, "currency": row.currency})),
        most if most is not None and most != str(Money.parse(amount)) else "", tuple(sheet["missing"]),
        tuple(sheet["steps"]), devices.planned(planned.beside(declared, row.line, start, end)),
    )  # fmt: skip

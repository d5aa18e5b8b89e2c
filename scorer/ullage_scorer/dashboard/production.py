"""Output against standard, line by line: what the charts and the sentences beside them say. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Row
from ullage_models.claims.outage import Outage
from ullage_models.money import number
from ullage_protocols import envelope
from ullage_protocols.errors import ProtocolError
from ullage_protocols.event import decode_event
from ullage_protocols.messages import Production

from ..policies import service as policies
from .view import RUNNING, SILENT, STOPPED, UNKNOWN, LineView, OutageView

MOST = 300
"""Production intervals read for one page."""
WINDOW = timedelta(hours=1)
_NOW = timedelta(seconds=10)
_MINUTE = Decimal(60)


@dataclass(frozen=True, slots=True)
class Watched:
    """What the outage watch of a line knows: its standard (units a minute, and in words) and the stop it is in."""

    standard: Decimal | None
    basis: str
    outage: Outage | None


def standards(rows: Iterable[Row[Any]]) -> dict[tuple[str, str], Watched]:
    """By site and line, from the watch that saw the newest entry."""
    found = {}
    for row in rows:
        state = json.loads(row.state)
        outage = None if state["outage"] is None else Outage.from_json(state["outage"])
        standard = state["standard"] or state["given"] if outage is None else outage.standard.to_json()
        rate = None if standard is None else number(standard["rate"]) / 60
        found[row.site, row.line] = Watched(rate, "" if standard is None else standard["basis"], outage)
    return found


def intervals(envelopes: Iterable[bytes]) -> dict[str, list[Production]]:
    """Production by line, in order; overlaps and what cannot be read are left out."""
    found: dict[str, list[Production]] = {}
    for raw in envelopes:
        try:
            message = decode_event(envelope.unseal(raw).payload).message
        except ProtocolError:
            continue
        if not isinstance(message, Production):
            continue
        known = found.setdefault(message.line, [])
        if not known or known[-1].end <= message.start:
            known.append(message)
    return found


def glances(
    lines: Sequence[Row[Any]], watches: Mapping[tuple[str, str], Watched], silent: Mapping[str, bool]
) -> tuple[LineView, ...]:
    """Lines with their last interval only, for sites whose charts are not shown."""
    found = []
    for row in lines:
        last = Production.from_json(json.loads(row.document))
        watched = watches.get((row.site, row.line), Watched(None, "", None))
        state = _state(row, silent)
        rate = None if state == SILENT else _rate(last)
        found.append(LineView(row.line, state, rate, watched.standard, watched.basis, None, None))
    return tuple(found)


def charts(
    lines: Sequence[Row[Any]], watches: Mapping[tuple[str, str], Watched], stops: Sequence[Row[Any]],
    made: Mapping[str, Sequence[Production]], marks: Sequence[datetime], silent: Mapping[str, bool], now: datetime,
) -> tuple[LineView, ...]:  # fmt: skip
    """The lines of one site with their charts."""
    found = []
    for row in lines:
        watched = watches.get((row.site, row.line), Watched(None, "", None))
        state = _state(row, silent)
        known = [m for m in made.get(row.line, ()) if m.end > now - WINDOW] or list(made.get(row.line, ()))[-1:]
        outage = _outage(watched, [stop for stop in stops if stop.line == row.line])
        rate = None if state == SILENT else _recent(known)
        plot = {"now": None if rate is None else float(rate), **_plot(known, watched.standard, outage, marks, now)}
        found.append(
            LineView(
                row.line, state, rate, watched.standard, watched.basis, _short(known, watched.standard), outage, plot
            )
        )  # fmt: skip
    return tuple(found)


def _state(row: Row[Any], silent: Mapping[str, bool]) -> str:
    if silent.get(row.agent, True):
        return SILENT
    return row.state if row.state in (RUNNING, STOPPED) else UNKNOWN


def _seconds(message: Production) -> Decimal:
    return Decimal(str((message.end - message.start).total_seconds()))


def _blind(message: Production) -> bool:
    return message.count is None or message.observed < 0.5


def _rate(message: Production) -> Decimal | None:
    return None if message.count is None else message.count * _MINUTE / _seconds(message)


def _recent(known: Sequence[Production]) -> Decimal | None:
    """Units a minute now: over the last ten seconds of the present run or stop, so that short intervals, which
    count few units, do not make the figure dance."""
    if not known or known[-1].count is None:
        return None
    still, count, length = not known[-1].count, 0, Decimal(0)
    for message in reversed(known):
        if message.count is None or (not message.count) != still or message.end < known[-1].end - _NOW:
            break
        count, length = count + message.count, length + _seconds(message)
    return count * _MINUTE / length


def _short(known: Sequence[Production], standard: Decimal | None) -> Decimal | None:
    """Units short over the time shown; output above standard makes good, time without a count adds nothing."""
    if standard is None:
        return None
    seen = [m for m in known if m.count is not None]
    due = sum((standard * _seconds(m) / _MINUTE for m in seen), Decimal(0))
    return max(Decimal(0), due - sum(m.count for m in seen if m.count is not None))


def _outage(watched: Watched, stops: Sequence[Row[Any]]) -> OutageView | None:
    outage, shortage = watched.outage, None if watched.outage is None else watched.outage.shortage
    if outage is None and stops:
        document = json.loads(stops[0].document)
        outage, shortage = Outage.from_json(document["outage"]), number(document["shortage"])
    if outage is None or shortage is None:
        return None
    return OutageView(outage.start, outage.end, outage.waiting_ends, outage.waiting_over, shortage)


def _plot(
    known: Sequence[Production], standard: Decimal | None, outage: OutageView | None, marks: Sequence[datetime],
    now: datetime,
) -> dict[str, Any]:  # fmt: skip
    """Stretches with their rate (units a minute, None where not observed), and what is marked; times in seconds
    since 1970. Holes become stretches that were not observed; so does a silence that has lasted."""
    pieces: list[tuple[float, float, float | None]] = []
    for message in known:
        start, end = message.start.timestamp(), message.end.timestamp()
        if pieces and start > pieces[-1][1]:
            pieces.append((pieces[-1][1], start, None))
        rate = None if _blind(message) else _rate(message)
        pieces.append((start, end, None if rate is None else round(float(rate), 2)))
    begin = pieces[0][0] if pieces else now.timestamp() - 60
    last = pieces[-1][1] if pieces else begin
    to = max(last, min(now.timestamp(), last + max(60.0, 0.15 * (last - begin))))
    if pieces and now.timestamp() - last > policies.STALE.total_seconds():
        pieces.append((last, to, None))
    waiting = None
    if outage is not None and (outage.end is None or outage.end > outage.waiting_ends):
        ends = outage.waiting_ends.timestamp()
        waiting = ends if begin < ends < to else None
    return {
        "start": [p[0] for p in pieces], "end": [p[1] for p in pieces], "rate": [p[2] for p in pieces],
        "standard": None if standard is None else round(float(standard), 2), "from": begin, "to": to,
        "marks": [t for t in (mark.timestamp() for mark in marks) if begin < t < to], "waiting": waiting,
        "blind": any(p[2] is None for p in pieces),
    }  # fmt: skip

"""Planned stops that were declared at a site, beside its outages. They are on record and shown; they move no money."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection
from ullage_protocols import wire

from ..db.scope import Scope
from . import store


@dataclass(frozen=True, slots=True)
class PlannedStop:
    """One declared stop of ``line`` (empty: the whole site). ``end`` is when it was ended, ``planned_end`` what was
    planned; ``retroactive``: declared afterwards. ``sequence`` is the agent's last record about it."""

    agent: str
    sequence: int
    id: str
    line: str
    reason: str
    by: str
    start: datetime
    planned_end: datetime | None
    end: datetime | None
    declared_at: datetime
    retroactive: bool

    @property
    def until(self) -> datetime | None:
        """Where it ended or was to end; None while it is open without a plan."""
        return self.end or self.planned_end

    @property
    def called_off(self) -> bool:
        return self.end == self.start

    def overlaps(self, line: str, start: datetime, end: datetime | None) -> bool:
        """Whether it was declared for some of the time from ``start`` to ``end`` (None: still lasting) of a line."""
        if self.line not in ("", line) or self.called_off:
            return False
        return (end is None or self.start < end) and (self.until is None or self.until > start)


def of_site(conn: Connection, scope: Scope, site: str) -> tuple[PlannedStop, ...]:
    """What the agents of a site declared, the newest start first."""
    found = [
        PlannedStop(
            row.agent, said["sequence"], said["id"], said["line"], said["reason"], said["by"],
            wire.parse_time(said["start"]), _time(said["planned_end"]), _time(said["end"]),
            wire.parse_time(said["declared_at"]), said["retroactive"],
        )
        for row in store.agent_documents(conn, scope, site)
        for said in json.loads(row.document).get("maintenance", [])
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda stop: (stop.start, stop.agent, stop.id), reverse=True))


def beside(planned: Sequence[PlannedStop], line: str, start: datetime, end: datetime | None) -> tuple[PlannedStop, ...]:
    """Those that overlap an outage of a line."""
    return tuple(stop for stop in planned if stop.overlaps(line, start, end))


def _time(text: str | None) -> datetime | None:
    return None if text is None else wire.parse_time(text)

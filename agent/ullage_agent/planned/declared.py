"""Planned stops that were declared: what an ask becomes, and which are open. Pure; time is an argument.

A stop of a line (or of the whole site) is open from its start until somebody ends it. One whose planned end lies in
the past when it is declared is told whole and never open. One that has outlasted its planned end makes room for the
next of its line. One that is ended before it began was called off: its end is its start.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self

from ullage_protocols import wire
from ullage_protocols.checked import Fields, time_text
from ullage_protocols.errors import WireError
from ullage_protocols.messages import Maintenance
from ullage_protocols.messages.stops import GRACE

from ..errors import AgentError

KEPT = "maintenance"
"""The name under which the outbox keeps this state."""
_MOST_OPEN, _REMEMBERED = 100, 50
_FAR = timedelta(days=366)


class DeclineError(AgentError):
    """A declaration that contradicts itself or what was declared before."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What somebody wants to declare. Without ``start`` (or, of a stop, ``end``) the moment of asking is meant."""

    id: str
    phase: str
    line: str
    reason: str
    by: str
    start: datetime | None
    end: datetime | None
    asked_at: datetime

    def to_json(self) -> wire.Json:
        return {
            "request": "maintenance", "id": self.id, "phase": self.phase, "line": self.line, "reason": self.reason,
            "by": self.by, "start": time_text(self.start), "end": time_text(self.end),
            "asked_at": time_text(self.asked_at),
        }  # fmt: skip

    @classmethod
    def from_json(cls, body: wire.Json) -> Self:
        f = Fields(body, "request")
        f.one_of("request", ("maintenance",))
        for name in ("id", "line", "reason", "by"):
            if not f.text(name).isprintable():
                raise WireError(
                    f"request: {name!r} holds characters that cannot be printed; write it in one plain line"
                )
        return cls(
            f.text("id", limit=64), f.one_of("phase", ("start", "stop")), f.text("line", limit=120),
            f.text("reason", limit=1000), f.text("by", limit=200), f.optional_time("start"), f.optional_time("end"),
            f.time("asked_at"),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Declared:
    """``open`` holds the start of each stop that nobody has ended, ``past`` the last word about those that are over,
    ``asked`` the ids of the last asks, so that one that is found twice is sealed once."""

    open: tuple[Maintenance, ...] = ()
    past: tuple[Maintenance, ...] = ()
    asked: tuple[str, ...] = ()

    def declare(self, ask: Ask, now: datetime) -> tuple[Maintenance, Declared]:
        """The message to be sealed at ``now``, and what is declared then. Raises DeclineError."""
        moment = now if timedelta(0) <= now - ask.asked_at <= GRACE else ask.asked_at
        message = self._start(ask, moment, now) if ask.phase == "start" else self._stop(ask, moment, now)
        try:
            Maintenance.from_json(message.to_json())
        except WireError as exc:
            raise DeclineError(f"{exc}; nothing was declared") from exc
        for told in (message.start, message.end or message.start):
            if abs(told - now) > _FAR:
                raise DeclineError(f"{wire.format_time(told)} is more than a year away; check the time that was given")
        asked = (*self.asked, ask.id)[-_REMEMBERED:]
        if message.phase == "start" and message.end is not None and message.end <= now:
            return message, Declared(self.open, (*self.past, message)[-_REMEMBERED:], asked)
        stays = tuple(m for m in self.open if m.line != message.line)
        if message.phase == "start":
            outlasted = tuple(m for m in self.open if m.line == message.line)
            return message, Declared((*stays, message), (*self.past, *outlasted)[-_REMEMBERED:], asked)
        return message, Declared(stays, (*self.past, message)[-_REMEMBERED:], asked)

    def _start(self, ask: Ask, moment: datetime, now: datetime) -> Maintenance:
        start = ask.start or moment
        over = ask.end is not None and ask.end <= now
        for m in self.open:
            if m.line == ask.line and not over and not (m.end and m.end <= start):
                raise DeclineError(
                    f"{_place(m.line)} already has a planned stop, {m.id} since {wire.format_time(m.start)} "
                    f"({m.reason[:80]}); end it first with `maintenance stop`"
                )
        if len(self.open) >= _MOST_OPEN:
            raise DeclineError(f"{_MOST_OPEN} planned stops are open, which is the most; end those that are over")
        return Maintenance.declared(ask.id, "start", ask.line, ask.reason, ask.by, start, ask.end, now)

    def _stop(self, ask: Ask, moment: datetime, now: datetime) -> Maintenance:
        if ask.start is not None:
            raise DeclineError("a stop is ended at an --end; its start was declared when it began")
        found = next((m for m in self.open if m.line == ask.line), None)
        if found is None:
            raise DeclineError(
                f"{_place(ask.line)} has no planned stop that is open; what is over and was never declared is "
                "declared whole with `maintenance start --start … --end …`"
            )
        end, reason = ask.end or max(moment, found.start), ask.reason or found.reason
        if end > max(now + GRACE, found.start):
            raise DeclineError(f"the end {wire.format_time(end)} is still to come; end the stop when it is over")
        message = Maintenance.declared(found.id, "stop", found.line, reason, ask.by, found.start, end, now)
        return replace(message, retroactive=message.retroactive or found.retroactive)

    def persist(self) -> str:
        stops = {"open": [m.to_json() for m in self.open], "past": [m.to_json() for m in self.past]}
        return json.dumps({**stops, "asked": self.asked})

    @classmethod
    def restored(cls, kept: str | None) -> Self:
        """What ``persist`` gave. Raises WireError where it cannot be read."""
        if not kept:
            return cls()
        try:
            body: dict[str, Any] = json.loads(kept)
            open_, past = (tuple(Maintenance.from_json(m) for m in body[name]) for name in ("open", "past"))
            return cls(open_, past, tuple(map(str, body["asked"])))
        except (ValueError, KeyError, TypeError) as exc:
            raise WireError(f"the declared stops cannot be read: {exc!r}") from exc


def _place(line: str) -> str:
    return f"line {line!r}" if line else "the whole site"

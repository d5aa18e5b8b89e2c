"""Stops that are told: a planned one that somebody declares, and a device that cannot be read.

Neither is an outage: an outage is output below standard, and production alone tells of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from ullage_protocols import wire
from ullage_protocols.checked import Fields, time_text
from ullage_protocols.errors import WireError

CAUSES = ("closed", "refused", "silent", "hostile", "stopped")
"""Why a device is lost: it closed the connection, refused it, answers nothing, sent what no honest device sends; or
the agent itself was stopped."""
GRACE = timedelta(minutes=1)
"""A moment that lies longer than this before its declaration was declared afterwards."""


def afterwards(told: datetime, declared_at: datetime) -> bool:
    """Whether a moment was over and done with when it was declared."""
    return declared_at - told > GRACE


@dataclass(frozen=True, slots=True)
class Maintenance:
    """A planned stop of ``line`` (empty: of the whole site), declared ``by`` somebody for a ``reason``.

    Phase "start" declares it: from ``start`` to the planned ``end``, if one is planned. Phase "stop" ends the one with
    the same ``id`` at ``end``; one that was called off ends as it starts. ``declared_at`` is when the agent took the
    declaration up. ``retroactive`` is true where the moment that this phase tells (``start`` of a start, ``end`` of a
    stop) lies more than a minute before that, and of a stop whose start was; a record that hides it is refused.
    """

    NAME: ClassVar[str] = "maintenance"
    id: str
    phase: str
    line: str
    reason: str
    by: str
    start: datetime
    end: datetime | None
    declared_at: datetime
    retroactive: bool

    @classmethod
    def declared(
        cls, id_: str, phase: str, line: str, reason: str, by: str, start: datetime, end: datetime | None, at: datetime
    ) -> Self:
        """The declaration made ``at`` a moment, which settles whether it is retroactive."""
        told = end if phase == "stop" and end is not None else start
        return cls(id_, phase, line, reason, by, start, end, at, afterwards(told, at))

    def to_json(self) -> wire.Json:
        return {
            "id": self.id, "phase": self.phase, "line": self.line, "reason": self.reason, "by": self.by,
            "start": time_text(self.start), "end": time_text(self.end), "declared_at": time_text(self.declared_at),
            "retroactive": self.retroactive,
        }  # fmt: skip

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        f = Fields(body, cls.NAME)
        found = cls(
            f.text("id", limit=64), f.one_of("phase", ("start", "stop")), f.text("line", limit=120),
            f.text("reason", limit=1000), f.text("by", limit=200), f.time("start"), f.optional_time("end"),
            f.time("declared_at"), f.truth("retroactive"),
        )  # fmt: skip
        if not found.id or not found.reason:
            raise WireError("maintenance: 'id' and 'reason' must not be empty")
        if found.phase == "stop" and found.end is None:
            raise WireError("maintenance: the phase stop tells its 'end'")
        if found.end is not None and (found.end < found.start or (found.end == found.start and found.phase == "start")):
            raise WireError("maintenance: 'end' must lie after 'start' (a stop that was called off ends as it starts)")
        told = found.end if found.phase == "stop" and found.end is not None else found.start
        late = afterwards(told, found.declared_at)
        if found.retroactive != late and (late or found.phase == "start"):
            raise WireError("maintenance: 'retroactive' does not fit the times: it is computed, never chosen")
        return found


@dataclass(frozen=True, slots=True)
class Downtime:
    """A device was lost (phase "open") or came back ("close", with its ``end``); ``start`` is its last good reading."""

    NAME: ClassVar[str] = "downtime"
    device: str
    phase: str
    start: datetime
    end: datetime | None
    cause: str
    reason: str = ""

    def to_json(self) -> wire.Json:
        return {
            "device": self.device, "phase": self.phase, "start": time_text(self.start), "end": time_text(self.end),
            "cause": self.cause, "reason": self.reason,
        }  # fmt: skip

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        f = Fields(body, cls.NAME)
        found = cls(
            f.text("device", limit=200), f.one_of("phase", ("open", "close")), f.time("start"), f.optional_time("end"),
            f.one_of("cause", CAUSES), f.text("reason"),
        )  # fmt: skip
        if (found.phase == "close") != (found.end is not None):
            raise WireError("downtime: 'end' belongs to the phase close, and only to it")
        if found.end is not None and found.end < found.start:
            raise WireError("downtime: 'end' must not lie before 'start'")
        return found

"""All that an agent may ever say. Raw samples are not among it: they never leave the plant.

Each message is a frozen dataclass with ``NAME`` (its part of the CloudEvents type), ``to_json`` and
``from_json``. A field that this version does not know is ignored here and kept in the ledger, which stores
the payload's exact bytes; an unknown major version is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self

from . import wire
from .checked import Fields
from .errors import WireError

KINDS = ("process", "integrity", "comms")
PHASES = ("open", "update", "close")
DEVICE_STATES = ("good", "degraded", "lost")


@dataclass(frozen=True, slots=True)
class Hello:
    """First record after every start: who speaks, what it watches, against which baseline.

    ``reason`` is "start", "baseline" (a new baseline came into force) or "repair" (the outbox was mended).
    """

    NAME: ClassVar[str] = "hello"
    version: str
    reason: str
    devices: tuple[str, ...]
    tags: tuple[str, ...]
    baseline: str
    baseline_from: datetime | None
    baseline_to: datetime | None
    baseline_rows: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> wire.Json:
        return {
            "version": self.version, "reason": self.reason, "devices": list(self.devices), "tags": list(self.tags),
            "baseline": self.baseline, "baseline_from": _time(self.baseline_from),
            "baseline_to": _time(self.baseline_to), "baseline_rows": self.baseline_rows, "notes": list(self.notes),
        }  # fmt: skip

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        f = Fields(body, cls.NAME)
        return cls(
            f.text("version", limit=80), f.one_of("reason", ("start", "baseline", "repair")), f.texts("devices"),
            f.texts("tags"), f.hash_or_empty("baseline"), f.optional_time("baseline_from"),
            f.optional_time("baseline_to"), f.integer("baseline_rows", low=0), f.texts("notes"),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeviceState:
    """How one device answers. ``observed`` is the share (0-1) of good samples since the last heartbeat."""

    name: str
    state: str
    observed: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The agent lives; how full its outbox is (share 0-1) and how its devices answer."""

    NAME: ClassVar[str] = "heartbeat"
    uptime: float
    pending: int
    outbox_share: float
    episode_open: bool
    devices: tuple[DeviceState, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> wire.Json:
        return {
            "uptime": self.uptime, "pending": self.pending, "outbox_share": self.outbox_share,
            "episode_open": self.episode_open, "notes": list(self.notes),
            "devices": [
                {"name": d.name, "state": d.state, "observed": d.observed, "reason": d.reason} for d in self.devices
            ],
        }  # fmt: skip

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        f = Fields(body, cls.NAME)
        devices = tuple(
            DeviceState(
                d.text("name", limit=200), d.one_of("state", DEVICE_STATES), d.number("observed", low=0, high=1),
                d.text("reason"),
            )
            for d in f.objects("devices")
        )  # fmt: skip
        if not isinstance(f.body.get("episode_open"), bool):
            raise WireError("heartbeat: 'episode_open' must be true or false")
        return cls(
            f.number("uptime", low=0), f.integer("pending", low=0), f.number("outbox_share", low=0),
            bool(f.body["episode_open"]), devices, f.texts("notes"),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class TagShare:
    """One tag's part in an anomaly: its share (0-1) of the score, what was read and what was expected."""

    tag: str
    share: float
    value: float | None
    expected: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Technique:
    """A candidate technique of ATT&CK for ICS and why the finding resembles it."""

    id: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Anomaly:
    """An episode opened, changed or closed. ``severity`` 0-1; ``score`` is judged against ``threshold``."""

    NAME: ClassVar[str] = "anomaly"
    episode: str
    phase: str
    kind: str
    severity: float
    score: float
    threshold: float
    start: datetime
    end: datetime | None
    tags: tuple[TagShare, ...]
    techniques: tuple[Technique, ...]
    reasons: tuple[str, ...] = ()

    def to_json(self) -> wire.Json:
        return {
            "episode": self.episode, "phase": self.phase, "kind": self.kind, "severity": self.severity,
            "score": self.score, "threshold": self.threshold, "start": _time(self.start), "end": _time(self.end),
            "tags": [
                {"tag": t.tag, "share": t.share, "value": t.value, "expected": t.expected, "reason": t.reason}
                for t in self.tags
            ],
            "techniques": [{"id": t.id, "name": t.name, "reason": t.reason} for t in self.techniques],
            "reasons": list(self.reasons),
        }  # fmt: skip

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        f = Fields(body, cls.NAME)
        tags = tuple(
            TagShare(
                t.text("tag", limit=200), t.number("share", low=0, high=1), t.optional_number("value"),
                t.optional_number("expected"), t.text("reason"),
            )
            for t in f.objects("tags", limit=50)
        )  # fmt: skip
        techniques = tuple(
            Technique(t.text("id", limit=16), t.text("name", limit=200), t.text("reason"))
            for t in f.objects("techniques", limit=20)
        )
        anomaly = cls(
            f.text("episode", limit=120), f.one_of("phase", PHASES), f.one_of("kind", KINDS),
            f.number("severity", low=0, high=1), f.number("score", low=0), f.number("threshold", low=0),
            f.time("start"), f.optional_time("end"), tags, techniques, f.texts("reasons", limit=20),
        )  # fmt: skip
        if (anomaly.phase == "close") != (anomaly.end is not None):
            raise WireError("anomaly: 'end' belongs to the phase close, and only to it")
        return anomaly


@dataclass(frozen=True, slots=True)
class Production:
    """What one line made from ``start`` to ``end``. Intervals of a line abut: each starts where the last ended.

    ``count`` is the difference of the unrolled counter (None where it could not be read); ``running`` the
    seconds that the line ran; ``energy`` in kWh; ``observed`` the share (0-1) of the interval covered by
    good samples. An interval that spans a blind stretch is still exact in count, but not in its shape.
    ``note`` tells what was resolved (rollover, reset, gap).
    """

    NAME: ClassVar[str] = "production"
    line: str
    start: datetime
    end: datetime
    count: int | None
    running: float
    energy: float | None
    observed: float
    note: str = ""

    def to_json(self) -> wire.Json:
        return {
            "line": self.line, "start": _time(self.start), "end": _time(self.end), "count": self.count,
            "running": self.running, "energy": self.energy, "observed": self.observed, "note": self.note,
        }  # fmt: skip

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        f = Fields(body, cls.NAME)
        count = None if f.body.get("count") is None else f.integer("count", low=0, high=2**53)
        message = cls(
            f.text("line", limit=120), f.time("start"), f.time("end"), count, f.number("running", low=0),
            f.optional_number("energy"), f.number("observed", low=0, high=1), f.text("note"),
        )  # fmt: skip
        if message.end <= message.start:
            raise WireError("production: 'end' must lie after 'start'")
        return message


Message = Hello | Heartbeat | Anomaly | Production
_KNOWN: dict[str, type[Message]] = {cls.NAME: cls for cls in (Hello, Heartbeat, Anomaly, Production)}


def type_of(message: Message) -> str:
    """The CloudEvents type of a message, e.g. ``org.ullage.anomaly.v1``."""
    return f"org.ullage.{message.NAME}.v1"


def read_message(event_type: str, body: object) -> Message:
    """The message in an event's data; WireError for an unknown name, an unknown major version or a bad field."""
    prefix, _, rest = event_type.partition("org.ullage.")
    name, _, version = rest.rpartition(".")
    if prefix or name not in _KNOWN or version != "v1":
        raise WireError(f"message type {event_type[:120]!r} is unknown to this version; update the receiver")
    if not isinstance(body, Mapping):
        raise WireError(f"{name}: data must be an object")
    return _KNOWN[name].from_json(body)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else wire.format_time(moment)

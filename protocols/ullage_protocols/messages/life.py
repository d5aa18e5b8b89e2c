"""That the agent lives: its first word after a start, and its heartbeat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self

from ullage_protocols import wire
from ullage_protocols.checked import Fields, time_text

HELLO_REASONS = ("start", "baseline", "repair", "reload")
DEVICE_STATES = ("good", "degraded", "lost")


@dataclass(frozen=True, slots=True)
class Hello:
    """First record after every start: who speaks, what it watches, against which baseline.

    ``reason`` is "start", "baseline" (a new baseline came into force), "repair" (the outbox was
    mended) or "reload" (the configuration was read anew while it ran).
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
            "baseline": self.baseline, "baseline_from": time_text(self.baseline_from),
            "baseline_to": time_text(self.baseline_to), "baseline_rows": self.baseline_rows, "notes": list(self.notes),
        }  # fmt: skip

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        f = Fields(body, cls.NAME)
        return cls(
            f.text("version", limit=80), f.one_of("reason", HELLO_REASONS), f.texts("devices"),
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
        return cls(
            f.number("uptime", low=0), f.integer("pending", low=0), f.number("outbox_share", low=0),
            f.truth("episode_open"), devices, f.texts("notes"),
        )  # fmt: skip

"""What was abnormal: an episode opens, changes and closes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self

from ullage_protocols import wire
from ullage_protocols.checked import Fields, time_text
from ullage_protocols.errors import WireError

KINDS = ("process", "integrity", "comms")
PHASES = ("open", "update", "close")


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
            "score": self.score, "threshold": self.threshold, "start": time_text(self.start),
            "end": time_text(self.end),
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

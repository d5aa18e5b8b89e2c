"""What a line made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self

from ullage_protocols import wire
from ullage_protocols.checked import Fields, time_text
from ullage_protocols.errors import WireError


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
            "line": self.line, "start": time_text(self.start), "end": time_text(self.end), "count": self.count,
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

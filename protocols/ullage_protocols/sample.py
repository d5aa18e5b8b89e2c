"""One measured value and how far it can be trusted. Everything above a field bus speaks in these."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

Value = float | int | bool | str


class Quality(enum.StrEnum):
    """Whether a value may be used. A bad sample carries no value, only its reason."""

    GOOD = "good"
    UNCERTAIN = "uncertain"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Sample:
    """A tag's value at a moment.

    ``source_time`` is the device's own time where it gives one (OPC UA), else the time of the reply;
    ``seen_time`` is the gateway's. Both are timezone-aware. ``reason`` says why quality is not good.
    """

    tag: str
    value: Value | None
    quality: Quality
    source_time: datetime
    seen_time: datetime
    reason: str = ""

    def __post_init__(self) -> None:
        if self.quality is Quality.BAD and self.value is not None:
            raise ValueError(f"sample of {self.tag}: a bad sample carries no value; drop it and keep the reason")
        if self.source_time.tzinfo is None or self.seen_time.tzinfo is None:
            raise ValueError(f"sample of {self.tag}: times must be timezone-aware")

    @property
    def number(self) -> float | None:
        """The value as a float (booleans as 0 and 1), or None where it is bad, text, or absent."""
        if self.value is None or isinstance(self.value, str):
            return None
        return float(self.value)

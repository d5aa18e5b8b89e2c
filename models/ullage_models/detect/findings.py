"""What a detector says about one row."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Code(enum.StrEnum):
    """What was found, in the order in which it explains an episode: the first one found gives the episode its kind, and
    the candidate techniques come in this order."""

    SETPOINT = "setpoint"
    COMMAND = "command"
    COUNTER_BACK = "counter-back"
    STOPPED = "stopped"
    COUNTER_STILL = "counter-still"
    STATE = "state"
    RANGE = "range"
    FROZEN = "frozen"
    LOST = "lost"
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class Finding:
    """A tag, what was found about it, and a sentence that says why.

    ``severity`` is 0-1 (see `episode.severity_of`); 0 is a remark that opens no episode by itself. ``value``
    and ``expected`` are in the tag's own unit, None where there is none."""

    code: Code
    tag: str
    severity: float
    value: float | None
    expected: float | None
    reason: str

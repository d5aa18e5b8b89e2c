"""What a baseline knows about each tag: its role, its kind, where and how it normally moves."""

from __future__ import annotations

import enum
from dataclasses import dataclass

ROLES = ("measurement", "setpoint", "command", "running", "state", "count", "energy", "ignore")
"""Roles that a user may give a tag. ``measurement`` is what a tag is when no role is given; ``ignore`` leaves it
unwatched."""

COUNTER_ROLES = ("count", "energy")


class Kind(enum.StrEnum):
    """How a tag behaves; learned, unless its role says it.

    ``measured`` moves freely; ``state`` takes two values; ``counter`` only climbs (and rolls over), so that its
    rate is looked at, never its reading; ``constant`` never moved; ``setpoint`` is watched by rule only;
    ``unusable`` had no numbers, or is to be ignored.
    """

    MEASURED = "measured"
    STATE = "state"
    COUNTER = "counter"
    CONSTANT = "constant"
    SETPOINT = "setpoint"
    UNUSABLE = "unusable"


@dataclass(frozen=True, slots=True)
class TagProfile:
    """One tag in normal running.

    ``low``/``high``: the range seen, in the tag's own unit. ``resolution``: the smallest step seen between two
    different readings, same unit, 0 if it never moved. ``moves``: share (0-1) of rows on which it changed.
    ``still_rows``: the longest stretch of rows without a change. ``off_rows``: for two-valued tags, the longest
    stretch at the lower value (0 if never there). ``levels``: the values seen, where they are few (at most 32).
    ``observed``: share (0-1) of rows on which it had a value. ``margin``: how far beyond the range seen a reading is
    still credible, in widths of that range; wide where the window showed few independent readings.
    """

    name: str
    role: str
    kind: Kind
    low: float
    high: float
    resolution: float
    moves: float
    still_rows: int
    off_rows: int
    levels: tuple[float, ...]
    observed: float
    margin: float

    @property
    def span(self) -> float:
        """Width of the range seen, in the tag's own unit."""
        return self.high - self.low

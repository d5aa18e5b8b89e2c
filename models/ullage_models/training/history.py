"""A recorded history as arrays, and its rows put in order of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from ullage_models.detect.clock import BREAKS, FOLLOWS, RowClock, Step

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """``tags``: names; ``times`` (n,): seconds since 1970 UTC, in the order recorded; ``values`` (n, tags):
    readings in the tags' own units, NaN where unknown."""

    tags: tuple[str, ...]
    times: Floats
    values: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Ordered:
    """Rows whose time follows. ``stretch`` (n,): number of the unbroken stretch that a row belongs to;
    ``interval``: usual seconds between rows; ``longest_step``: seconds beyond which rows are missing;
    ``dropped``: rows left out by reason."""

    times: Floats
    values: Floats
    stretch: NDArray[np.int64]
    interval: float
    longest_step: float
    dropped: dict[str, int]

    @property
    def gaps(self) -> int:
        """Number of places at which rows are missing."""
        return int(self.stretch[-1]) if len(self.stretch) else 0


def order(history: History) -> Ordered:
    """Put a history's rows in order: repeated times and rows of a clock that jumped back are left out and counted."""
    times = history.times
    steps = np.diff(times)
    forward = steps[steps > 0]
    interval = float(np.median(forward)) if len(forward) else 1.0
    longest = max(3.0 * interval, 2.0 * float(np.quantile(forward, 0.99))) if len(forward) else 3.0
    if len(forward) == len(steps):
        stretch = np.concatenate([[0], np.cumsum(steps > longest)]).astype(np.int64)
        return Ordered(times, history.values, stretch[: len(times)], interval, longest, {})
    keep = np.zeros(len(times), dtype=bool)
    breaks = np.zeros(len(times), dtype=np.int64)
    dropped: dict[str, int] = {}
    clock = RowClock(longest)
    for n, seconds in enumerate(times.tolist()):
        step = clock.step(datetime.fromtimestamp(seconds, UTC))
        keep[n] = step in FOLLOWS
        breaks[n] = step in BREAKS and step is not Step.FIRST
        if step not in FOLLOWS:
            reason = "time repeated" if step is Step.DUPLICATE else "time before the row before"
            dropped[reason] = dropped.get(reason, 0) + 1
    return Ordered(times[keep], history.values[keep], np.cumsum(breaks)[keep], interval, longest, dropped)

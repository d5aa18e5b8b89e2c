"""A straight line through what was seen, and how sure its slope is. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Trend:
    """``slope`` a second with its standard error; ``last`` is the last value. Fewer than three points: no slope."""

    slope: float
    error: float
    last: float


def trend(points: Sequence[tuple[float, float]]) -> Trend:
    """Least squares over (seconds, value). Neighbouring looks at one process are alike, which the error allows for
    by the correlation of neighbouring remainders."""
    last = points[-1][1] if points else 0.0
    if len(points) < 3:
        return Trend(0.0, math.inf, last)
    count = len(points)
    middle, level = (sum(point[axis] for point in points) / count for axis in (0, 1))
    spread = sum((time - middle) ** 2 for time, _ in points)
    if spread == 0:
        return Trend(0.0, math.inf, last)
    slope = sum((time - middle) * (value - level) for time, value in points) / spread
    rest = [value - level - slope * (time - middle) for time, value in points]
    squares = sum(one * one for one in rest)
    error = math.sqrt(squares / (count - 2) / spread)
    alike = sum(one * other for one, other in pairwise(rest)) / squares if squares else 0.0
    alike = min(0.95, max(0.0, alike))
    return Trend(slope, error * math.sqrt((1 + alike) / (1 - alike)), last)

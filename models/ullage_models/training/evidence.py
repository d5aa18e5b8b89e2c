"""How much a stretch of rows can show: readings that resemble their neighbours are not independent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STEADY = 20.0
"""Independent readings that a window must show of a signal before its mean is believed to hold beyond the window."""

PARTS = (5, 10, 20)
LEAST_PART = 8


def independent(column: Floats) -> float:
    """Number of independent readings that a series (n,) is worth, between 1 and n; NaN are left out.

    The lesser of two counts. By batch means: were readings independent, the means of parts of the series would
    scatter by the variance of a reading divided by the part's length; they scatter more where it wanders. By
    memory: two lags at which the autocorrelation of readings, averaged over short stretches, has fallen to 1/e
    make one independent reading.

    >>> import numpy as np
    >>> independent(np.tile([0.0, 1.0], 50)), round(independent(np.linspace(0.0, 1.0, 100)), 1)
    (100.0, 2.3)
    """
    known = column[~np.isnan(column)]
    n = len(known)
    power = float(known.var()) if n else 0.0
    if power <= 0.0:
        return float(max(n, 1))
    count = float(n)
    for parts in PARTS:
        if n >= parts * LEAST_PART or parts == PARTS[0]:
            scatter = (
                float(np.var([part.mean() for part in np.array_split(known, min(parts, n))], ddof=1)) if n > 1 else 0.0
            )
            count = min(count, parts * power / scatter) if scatter > 0.0 else count
    return max(1.0, min(count, _by_memory(known)))


def _by_memory(known: Floats) -> float:
    """Readings are averaged over short stretches first, or noise would hide that they wander."""
    count = float(len(known))
    for length in (1, LEAST_PART):
        means = known[: len(known) // length * length].reshape(-1, length).mean(axis=1)
        if len(means) < 3 or means.var() <= 0.0:
            continue
        if length > 1 and means.var() <= 2.0 * known.var() / length:
            continue  # the averages scatter no more than those of independent readings would
        centred = means - means.mean()
        lag = _memory(centred)
        if lag > 1:
            count = min(count, len(known) / (length * (2.0 * lag - 1.0)))
    return count


def _memory(centred: Floats) -> int:
    """The first lag at which the autocorrelation is at most 1/e, found by doubling and halving."""
    power = float(centred @ centred)

    def holds(lag: int) -> bool:
        return float(centred[:-lag] @ centred[lag:]) / power > 1 / np.e

    low, high = 0, 1
    while high < len(centred) - 1 and holds(high):
        low, high = high, min(2 * high, len(centred) - 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return high


def widening(count: float) -> float:
    """Factor by which limits learned from so many independent readings must be widened.

    Far out in its tail, Student's t with v degrees of freedom is about 1 + 5 / v times as wide as the normal
    distribution (at a probability of 1e-5: 2.2 for v = 5, 1.5 for 10, 1.15 for 30).

    >>> [round(widening(n), 2) for n in (1, 6, 101)]
    [11.0, 2.0, 1.05]
    """
    return 1.0 + 5.0 / max(count - 1.0, 0.5)

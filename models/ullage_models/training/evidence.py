"""How much a stretch of rows can show: readings that resemble their neighbours are not independent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PARTS = (5, 10, 20)
LEAST_PART = 8


def independent(column: Floats) -> float:
    """Number of independent readings that a series (n,) is worth, between 1 and n; NaN are left out.

    By batch means: were readings independent, the means of parts of the series would scatter by the variance of a
    reading divided by the part's length; they scatter more where it wanders. The least over a few ways of
    cutting counts.

    >>> import numpy as np
    >>> independent(np.tile([0.0, 1.0], 50)), round(independent(np.linspace(0.0, 1.0, 100)), 1)
    (100.0, 4.2)
    """
    known = column[~np.isnan(column)]
    n = len(known)
    power = float(known.var()) if n else 0.0
    if power <= 0.0:
        return float(max(n, 1))
    count = float(n)
    for parts in PARTS:
        if n >= parts * LEAST_PART or parts == PARTS[0]:
            scatter = float(np.var([part.mean() for part in np.array_split(known, min(parts, n))], ddof=1)) if n > 1 else 0.0
            count = min(count, parts * power / scatter) if scatter > 0.0 else count
    return max(1.0, count)


def widening(count: float) -> float:
    """Factor by which limits learned from so many independent readings must be widened.

    Far out in its tail, Student's t with v degrees of freedom is about 1 + 5 / v times as wide as the normal
    distribution (at a probability of 1e-5: 2.2 for v = 5, 1.5 for 10, 1.15 for 30).

    >>> [round(widening(n), 2) for n in (1, 6, 101)]
    [11.0, 2.0, 1.05]
    """
    return 1.0 + 5.0 / max(count - 1.0, 0.5)

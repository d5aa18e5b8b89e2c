"""The threshold, from scores of normal rows that the model had not learned from. Labels are never seen here."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ullage_models.detect.calibration import SMOOTHING, Calibration, Smoother, combine, count_episodes

from .evidence import independent, widening

Floats = NDArray[np.float64]

BUDGET_PER_DAY = 0.01
"""Episodes a day that held-back normal rows may open: a tenth of what is allowed in service, for the months to come are
never quite like the window."""

PERSISTENCE = 2
RECOVERY = 13
RELEASE = 0.9
DRIFT = 3.0
DRIFT_ROWS = 1000
"""The threshold needs at least this many rows, and a day, to follow the level of the scores by the factor ``DRIFT``."""
LEAST_ROOM = 5.0
"""The scale of surprises is read off the same rows as the threshold, so that the scores of new rows lie higher, by a
share that shrinks with the root of the rows: room that the threshold leaves at least, for one row."""

DAY = 86_400.0


def scores_of(surprise: Floats, breaks: NDArray[np.bool_], start: float) -> Floats:
    """Smoothed scores (n,) of rows of surprises (n, p); ``breaks`` (n,) are rows before which rows are missing."""
    smoother = Smoother(SMOOTHING, start)
    scores = np.empty(len(surprise))
    for n, row in enumerate(combine(surprise).tolist()):
        if breaks[n]:
            smoother.reset()
        scores[n] = smoother.update(row)
    return scores


def calibrate(surprise: Floats, breaks: NDArray[np.bool_], interval: float) -> Calibration:
    """The calibration from held-back rows (n, p) of a window, ``interval`` seconds apart."""
    if not surprise.size:
        return Calibration(SMOOTHING, 4.0, RELEASE, PERSISTENCE, RECOVERY, 1.0, 1.0, DRIFT_ROWS, 0.0)
    middle = float(np.median(combine(surprise)))
    scores = scores_of(surprise, breaks, middle)
    days = len(scores) * interval / DAY
    typical = max(float(np.median(scores)), 1e-6)
    threshold = typical + widening(independent(scores)) * (_threshold(scores, days) - typical)
    threshold = max(threshold, typical * (1.0 + LEAST_ROOM / math.sqrt(len(scores))))
    return Calibration(
        SMOOTHING, threshold, RELEASE, PERSISTENCE, RECOVERY, typical, DRIFT, max(DRIFT_ROWS, round(DAY / interval)),
        _expected(scores, days, threshold),
    )  # fmt: skip


def _episodes(scores: Floats, threshold: float) -> int:
    return count_episodes(scores, threshold, PERSISTENCE, RECOVERY, RELEASE)


def _tail(scores: Floats) -> float:
    """Mean excess of the largest tenth: how fast scores thin out beyond what was seen."""
    edge = float(np.quantile(scores, 0.9))
    over = scores[scores > edge]
    return float(np.mean(over - edge)) if len(over) else 0.05 * edge


def _threshold(scores: Floats, days: float) -> float:
    allowed = BUDGET_PER_DAY * days
    top = float(scores.max())
    if allowed < 1.0:
        return top + _tail(scores) * math.log(1.0 / allowed)
    low, high = float(np.median(scores)), top
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if _episodes(scores, middle) <= allowed else (middle, high)
    return high


def _expected(scores: Floats, days: float, threshold: float) -> float:
    """Episodes a day that the held-back rows imply at this threshold."""
    top = float(scores.max())
    if threshold <= top:
        return max(_episodes(scores, threshold), 1) / days
    return math.exp(-(threshold - top) / _tail(scores)) / days

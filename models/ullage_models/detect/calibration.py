"""From surprises to one score and a threshold that holds in normal life.

The score is a moving average (EWMA) over rows of the mean over signals of surprise ** POWER. With a power of 1
(Fisher's combination) a fault of one signal among many drowns; the maximum over signals is ruled by whichever
signal is least well described; 1.5 lies between. The threshold is read off scores of normal rows that the model
had not learned from: the smallest that would have opened no more episodes than the budget allows, continued
beyond the largest score by an exponential tail where the window is too short to show even one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

POWER = 1.5
SMOOTHING = 0.15
"""Weight of the newest row in the moving average: a memory of about 12 rows."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """``smoothing`` 0-1 per row; ``threshold`` in units of the score; ``release``: share (0-1) of the threshold
    below which a row counts as recovered; ``persistence``/``recovery``: rows in a row above / below before an
    episode opens / closes; ``typical``: median score of normal rows; ``drift``: the largest factor by which the
    threshold may follow the recent normal level (1: frozen); ``drift_rows``: rows in which it may at most
    follow from one end to the other; ``false_per_day``: expected episodes in a day of normal running."""

    smoothing: float
    threshold: float
    release: float
    persistence: int
    recovery: int
    typical: float
    drift: float
    drift_rows: int
    false_per_day: float


class Smoother:
    """The moving average of the score; starts at the first row's own level, bounded by ``start``.

    >>> smoother = Smoother(0.5, start=1.0)
    >>> [smoother.update(v) for v in (9.0, 3.0, 1.0)]
    [5.0, 4.0, 2.5]
    """

    def __init__(self, smoothing: float, start: float) -> None:
        self._weight = smoothing
        self._start = start
        self._level = start

    def reset(self) -> None:
        """Start anew at the typical level: what was before the missing rows says nothing about now."""
        self._level = self._start

    def update(self, value: float) -> float:
        """The smoothed value after one more row."""
        self._level += self._weight * (value - self._level)
        return self._level


def combine(surprise: Floats) -> Floats:
    """Unsmoothed scores (n,) of rows of surprises (n, p): the mean of surprise ** POWER over the known signals.

    >>> import numpy as np
    >>> combine(np.array([[1.0, 4.0, np.nan]]))
    array([4.5])
    """
    scores: Floats = np.nanmean(surprise**POWER, axis=-1)
    return scores


class MovingThreshold:
    """The threshold: frozen while normal running looks as it did, following it once it does not.

    A running median of the score (steps of one size, up or down) tells the recent level. While that level
    stays below the geometric middle of the typical level and the threshold, nothing moves. Beyond, the
    threshold rises in proportion, so that an alarm cannot stand for ever because the plant has aged. The level
    moves by at most a factor of ``drift`` in ``drift_rows`` rows, whatever the scores, and never beyond that
    factor: an attacker can teach it neither faster nor further. It falls back at the same pace.

    >>> c = Calibration(0.15, 4.0, 0.9, 2, 12, 1.0, 4.0, 100, 0.1)
    >>> threshold = MovingThreshold(c)
    >>> for _ in range(40): threshold.update(3.0)
    >>> threshold.value
    4.0
    >>> for _ in range(1000): threshold.update(3.0)
    >>> 5.9 < threshold.value < 6.1
    True
    >>> for _ in range(1000): threshold.update(100.0)
    >>> threshold.value
    8.0
    """

    def __init__(self, calibration: Calibration) -> None:
        self._frozen = calibration.threshold
        self._typical = calibration.typical
        self._limit = calibration.typical * calibration.drift
        self._middle = math.sqrt(calibration.typical * calibration.threshold)
        self._step = calibration.drift ** (1.0 / calibration.drift_rows)
        self._level = calibration.typical
        self.value = calibration.threshold
        """The threshold now, in units of the score."""

    def update(self, score: float) -> None:
        """Take one more row's score into account; it moves the threshold of later rows only."""
        if score > self._level:
            self._level = min(self._level * self._step, self._limit)
        else:
            self._level = max(self._level / self._step, self._typical)
        self.value = self._frozen * max(1.0, self._level / self._middle)


def count_episodes(scores: Floats, threshold: float, persistence: int, recovery: int, release: float) -> int:
    """Episodes that scores of rows in order would open (NaN: a row that could not be judged).

    >>> import numpy as np
    >>> count_episodes(np.array([0, 2, 2, 0, 2, 2, 0, 0, 0, 2, 2, 2.0]), 1.0, 2, 3, 0.8)
    2
    """
    episodes, over, under, is_open = 0, 0, 0, False
    for score in scores[~np.isnan(scores)].tolist():
        if is_open:
            under = under + 1 if score <= threshold * release else 0
            if under >= recovery:
                is_open, over = False, 0
        else:
            over = over + 1 if score > threshold else 0
            if over >= persistence:
                is_open, under, episodes = True, 0, episodes + 1
    return episodes

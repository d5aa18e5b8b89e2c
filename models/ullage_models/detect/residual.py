"""Linear cross-tag residual: does each tag still agree with the others and with its own recent past?

Every signal is predicted by ridge regression from the present values of the other signals and from the last
``lags`` values of all of them. All predictions come from one matrix: with C the covariance of the stacked
values and P the inverse of C plus a ridge on its diagonal, the coefficients that predict signal i are -P[i, j]
/ P[i, i] (the partial regressions of a Gaussian graphical model; Lauritzen, Graphical Models, 1996, ch. 5). The
residual's surprise is conformal: the negative logarithm of the share of normal, out-of-sample residuals that
were at least as large, so that signals of any distribution speak in one unit and none can speak without bound.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

Z_LIMIT = 8.0
"""Standardised values are held within this, so that one wild reading does not drown its neighbours."""

_CACHED_BYTES = 1_000_000
"""So much is kept of how missing signals are filled in; beyond it the patterns used longest ago are forgotten."""


@dataclass(frozen=True, slots=True, eq=False)
class LinearModel:
    """p signals, L lags, G grid points.

    ``columns`` (p,) the tags of the baseline that are signals; ``mean``, ``scale`` (p,) standardise them, in
    their own units; ``recall`` (p,) is 0 where a signal is measured from ``mean``, and otherwise the weight of
    the newest row in the moving level that it is measured from (a signal that wandered through the whole window
    has no mean that would hold); ``weights`` (p, p * (L + 1)) turn stacked standardised values [now, 1 row ago,
    ...] into residuals; ``grid`` (p, G) ascending sizes of residuals, the noise floor included, at which the
    surprise is ``levels`` (G,), ascending from 0, in nats."""

    columns: NDArray[np.int64]
    lags: int
    mean: Floats
    scale: Floats
    recall: Floats
    weights: Floats
    grid: Floats
    levels: Floats

    @property
    def signals(self) -> int:
        """Number of signals, p."""
        return len(self.columns)


class SurpriseTable:
    """Sizes of residuals to surprises, by straight lines between the grid's points.

    >>> import numpy as np
    >>> table = SurpriseTable(np.array([[0.0, 0.1, 1.0]]), np.array([0.0, 2.0, 8.0]))
    >>> [float(table.of(np.array([r]))[0]) for r in (0.05, -0.1, 0.55, 7.0)]
    [1.0, 2.0, 5.0, 8.0]
    """

    def __init__(self, grid: Floats, levels: Floats) -> None:
        """``grid`` (p, G), ``levels`` (G,) as in `LinearModel`."""
        p = len(grid)
        self._most = float(grid.max()) + 1.0 if p else 1.0
        # One sorted list for all signals: signal i's grid is shifted by i times more than any size, so that a
        # single search places a whole row.
        self._shift = np.arange(p) * (2.0 * self._most)
        self._points = (grid + self._shift[:, None]).ravel()
        width = np.diff(grid, axis=1)
        steep = np.where(width > 0, np.diff(levels) / np.where(width > 0, width, 1.0), 0.0)
        self._slope = np.concatenate([steep, np.zeros((p, 1))], axis=1).ravel()
        self._base = (levels - grid * self._slope.reshape(grid.shape)).ravel()

    def of(self, residual: Floats) -> Floats:
        """Surprises in nats of residuals (..., p), without NaN."""
        size = np.minimum(np.abs(residual), self._most)
        place = self._points.searchsorted(size + self._shift, side="right") - 1
        surprise: Floats = self._base[place] + self._slope[place] * size
        return surprise


@dataclass(frozen=True, slots=True, eq=False)
class Residual:
    """One judged row: ``value`` (p,) residuals in standard deviations, ``surprise`` (p,) in nats; NaN in both
    for the ``missing`` signals that had no value, for what is unknown is neither normal nor abnormal."""

    value: Floats
    surprise: Floats
    missing: int


class ResidualDetector:
    """Judges one row at a time. Holds the last L rows only.

    Two signals that move together, no lags; the second one leaves the first:

    >>> import numpy as np
    >>> model = LinearModel(np.array([0, 1]), 0, np.zeros(2), np.ones(2), np.zeros(2),
    ...                     np.array([[1.0, -1.0], [-1.0, 1.0]]),
    ...                     np.array([[0.0, 0.1, 1.0]] * 2), np.array([0.0, 2.0, 8.0]))
    >>> detector = ResidualDetector(model)
    >>> detector.update(np.array([1.0, 1.0])).surprise
    array([0., 0.])
    >>> detector.update(np.array([1.0, 3.0])).surprise
    array([8., 8.])
    >>> detector.update(np.array([1.0, np.nan])).surprise
    array([ 0., nan])
    >>> detector.update(np.array([np.nan, np.nan])) is None
    True
    """

    def __init__(self, model: LinearModel) -> None:
        self._model = model
        self._p = model.signals
        self._stack = np.zeros(self._p * (model.lags + 1))
        self._inverse = 1.0 / model.scale
        self._table = SurpriseTable(model.grid, model.levels)
        self._filled = 0
        self._level = model.mean.copy()
        self._wanders = model.recall > 0.0
        self._wandering = bool(self._wanders.any())
        self._lost = self._wanders.copy()
        self._patterns: OrderedDict[bytes, Floats] = OrderedDict()
        self._kept = 0

    def reset(self) -> None:
        """Forget the rows before: they say nothing about the next one."""
        self._filled = 0
        self._lost = self._wanders.copy()

    def update(self, values: Floats) -> Residual | None:
        """Judge the signals' values (p,), NaN where unknown.

        None while the L rows before are not there, or where more than half of the signals have no value: such a
        row cannot be judged, and neither can those that would look back on it.
        """
        model, p = self._model, self._p
        if not p:
            return None
        if self._wandering:
            self._find_level(values)
        z = (values - self._level) * self._inverse
        unknown = z != z
        missing = int(np.count_nonzero(unknown))
        if missing * 2 > p:
            self.reset()
            return None
        if self._wandering:
            self._level += np.where(unknown, 0.0, model.recall * (values - self._level))
        np.minimum(z, Z_LIMIT, out=z)
        np.maximum(z, -Z_LIMIT, out=z)
        stack = self._stack
        stack[p:] = stack[:-p]
        if missing:
            z[unknown] = 0.0
        stack[:p] = z
        if missing and self._filled >= model.lags:
            stack[:p][unknown] = self._expected(unknown)
        if self._filled < model.lags:
            self._filled += 1
            return None
        value = model.weights @ stack
        surprise = self._table.of(value)
        if missing:
            value[unknown] = np.nan
            surprise[unknown] = np.nan
        return Residual(value, surprise, missing)

    def _find_level(self, values: Floats) -> None:
        """Where no level is known, the first value is it."""
        found = self._lost & (values == values)
        if found.any():
            self._level[found] = values[found]
            self._lost &= ~found

    def _expected(self, unknown: Mask) -> Floats:
        """What the model expects of the unknown signals, given all others (unknown places hold 0 here).

        It only stands in for them in their neighbours' predictions; the unknown signals themselves are not
        judged.
        """
        weights, p = self._model.weights, self._p
        key = unknown.tobytes()
        solver = self._patterns.get(key)
        if solver is None:
            solver = np.asarray(-np.linalg.pinv(weights[:, :p][np.ix_(unknown, unknown)]), dtype=np.float64)
            self._patterns[key] = solver
            self._kept += solver.nbytes
            while self._kept > _CACHED_BYTES and len(self._patterns) > 1:
                self._kept -= self._patterns.popitem(last=False)[1].nbytes
        else:
            self._patterns.move_to_end(key)
        return np.clip(solver @ (weights[unknown] @ self._stack), -Z_LIMIT, Z_LIMIT)

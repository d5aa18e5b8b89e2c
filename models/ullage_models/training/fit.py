"""Fit the linear cross-tag model, and judge normal rows by models that had not seen them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ullage_models.detect.residual import Z_LIMIT, LinearModel, SurpriseTable

from .evidence import STEADY, independent, widening

Floats = NDArray[np.float64]

RIDGE = 0.2
"""Added to each standardised signal's variance: no reading is believed to better than this share of its own
movement, so that relations which hold only to the last digit of one window are not leant on."""

MOST_LAGS = 4
MOST_SIGNALS = 1000
MOST_FEATURES = 2000
MOST_ROWS = 200_000
MOST_WORK = 4e10
"""Rows times features squared; longer histories are sampled in unbroken stretches, evenly over the window."""

FOLDS = 5
LEVELS = 28
CAP = 12.0
"""Surprise beyond which a residual is no more surprising, in nats: about one row in 160,000."""

ACCURACY = 0.001
"""Share of a reading to which a sensor is believed at best: the noise floor of residuals."""

MEMORY = 20
"""A signal that wandered is measured from a level with a memory of this part of the window."""

_CHUNK = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """``model``, and ``surprise`` (n, p) of the rows ``at`` (n,), each judged by a model that had not seen its part of
    the window."""

    model: LinearModel
    surprise: Floats
    at: NDArray[np.int64]


def choose_lags(rows: int, signals: int) -> int:
    """Lags that the window can bear: at most 4, fewer where rows are few or signals many."""
    if signals == 0:
        return 0
    return max(0, min(MOST_LAGS, rows // (2 * signals) - 1, MOST_FEATURES // signals - 1))


def fit(
    columns: NDArray[np.int64], signals: Floats, stretch: NDArray[np.int64], resolution: Floats,
    progress: Callable[[str, float], None],
) -> Fitted:  # fmt: skip
    """Fit the signals (n, p), NaN where unknown, of rows in order; ``stretch`` (n,) numbers unbroken stretches.

    ``columns`` (p,) are the signals' places among the tags, ``resolution`` (p,) their smallest steps.
    """
    n, p = signals.shape
    lags = choose_lags(n, p)
    mean = np.nanmean(signals, axis=0)
    recall = np.where([independent(column) < STEADY for column in signals.T], 1.0 / max(8, n // MEMORY), 0.0)
    offset = _from_level(signals, stretch, mean, recall)
    scale = np.nanstd(offset, axis=0)
    floor = np.maximum(resolution / 2, ACCURACY * np.nanquantile(np.abs(signals), 0.99, axis=0))
    scale = np.where(scale > 0, scale, np.maximum(floor, 1e-9))
    z = np.nan_to_num(np.clip(offset / scale, -Z_LIMIT, Z_LIMIT), nan=0.0)
    whole = ~np.isnan(signals)
    at = _usable(whole, stretch, lags)
    at = _sample(at, p * (lags + 1))
    folds = np.minimum(np.arange(len(at)) * FOLDS // max(len(at), 1), FOLDS - 1)
    moments = np.zeros((FOLDS, p * (lags + 1), p * (lags + 1)))
    for k in range(FOLDS):
        progress("reading how the tags move together", k / FOLDS)
        for block in _blocks(at[folds == k]):
            stacked = _stack(z, block, lags)
            moments[k] += stacked.T @ stacked
    total, count = moments.sum(axis=0), len(at)
    residual = np.empty((len(at), p))
    for k in range(FOLDS):
        progress("judging rows that were held back", k / FOLDS)
        held = folds == k
        weights = _weights(total - moments[k], count - int(held.sum()), p)
        done = np.flatnonzero(held)
        for part in _blocks(done):
            residual[part] = _stack(z, at[part], lags) @ weights.T
    residual[~whole[at]] = np.nan
    levels, grid = _grid(residual, floor / scale)
    grid *= np.array([widening(independent(column)) for column in residual.T])[:, None]
    model = LinearModel(columns, lags, mean, scale, recall, _weights(total, count, p), grid, levels)
    surprise = SurpriseTable(grid, levels).of(np.nan_to_num(residual))
    surprise[np.isnan(residual)] = np.nan
    return Fitted(model, surprise, at)


def _from_level(signals: Floats, stretch: NDArray[np.int64], mean: Floats, recall: Floats) -> Floats:
    """The signals (n, p) measured from their means, or from their moving levels as the detector does it."""
    offset: Floats = signals - mean
    wanders = np.flatnonzero(recall > 0)
    if not len(wanders):
        return offset
    weight = recall[wanders]
    level = np.full(len(wanders), np.nan)
    for n, row in enumerate(signals[:, wanders]):
        if n and stretch[n] != stretch[n - 1]:
            level = np.full(len(wanders), np.nan)
        level = np.where(np.isnan(level), row, level)
        off = row - level
        offset[n, wanders] = off
        level = level + weight * np.nan_to_num(off)
    return offset


def _usable(whole: NDArray[np.bool_], stretch: NDArray[np.int64], lags: int) -> NDArray[np.int64]:
    """Rows with the rows before them in the same stretch and, where most rows are so, every signal known in all."""
    n = len(stretch)
    at: NDArray[np.int64] = np.arange(lags, n, dtype=np.int64)
    at = at[stretch[at] == stretch[at - lags]]
    full: NDArray[np.bool_] = np.asarray(whole.all(axis=1))
    complete: NDArray[np.int64] = at[_all_of(full, at, lags)]
    if len(complete) * 2 >= len(at):
        return complete
    half: NDArray[np.bool_] = np.asarray(whole.mean(axis=1) >= 0.5)
    return np.compress(_all_of(half, at, lags), at)


def _all_of(fit_rows: NDArray[np.bool_], at: NDArray[np.int64], lags: int) -> NDArray[np.bool_]:
    """Whether the rows ``at`` and the ``lags`` rows before each of them are all fit."""
    fit_all = np.ones(len(at), dtype=np.bool_)
    for lag in range(lags + 1):
        fit_all &= fit_rows[at - lag]
    return fit_all


def _sample(at: NDArray[np.int64], features: int) -> NDArray[np.int64]:
    most = min(max(int(MOST_WORK / max(features, 1) ** 2), 2000), MOST_ROWS)
    if len(at) <= most:
        return at
    parts = np.array_split(at, 40)
    return np.concatenate([part[: most // 40] for part in parts])


def _blocks(at: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [at[i : i + _CHUNK] for i in range(0, len(at), _CHUNK)]


def _stack(z: Floats, at: NDArray[np.int64], lags: int) -> Floats:
    return np.concatenate([z[at - k] for k in range(lags + 1)], axis=1)


def _weights(moment: Floats, count: int, p: int) -> Floats:
    covariance = moment / max(count, 1)
    covariance[np.diag_indices_from(covariance)] += RIDGE
    precision = np.linalg.inv(covariance)[:p]
    weights: Floats = precision / np.diagonal(precision)[:, None]
    return weights


def _grid(residual: Floats, floor: Floats) -> tuple[Floats, Floats]:
    """Sizes of residuals at evenly spaced surprises up to what the rows can show, and one more far beyond.

    Where a signal's normal residuals are smaller than its noise floor, the grid is moved out to the floor.
    """
    size = np.abs(residual)
    shown = min(float(np.log(np.count_nonzero(~np.isnan(size), axis=0).min() + 1)), CAP - 2)
    levels = np.concatenate([np.linspace(0.0, shown, LEVELS), [CAP]])
    grid = np.nanquantile(size, 1.0 - np.exp(-levels[:-1]), axis=0).T
    slope = (grid[:, -1] - np.nanquantile(size, 1.0 - np.exp(-shown / 2), axis=0)) / (shown / 2)
    tail = grid[:, -1] + np.maximum(slope, 1e-6) * (CAP - shown)
    grid = np.concatenate([grid, tail[:, None]], axis=1)
    grid += np.maximum(floor - np.nanmedian(size, axis=0), 0.0)[:, None]
    grid[:, 0] = 0.0
    return levels, np.maximum.accumulate(grid, axis=1)

"""From a history of normal running to a baseline.

Limits: at least 30 rows in order; at most 1,000 signals in the linear model (the rest are watched by rules
alone); long histories are sampled, so that learning takes seconds to a minute whatever their length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from ullage_models.detect.baseline import MAX_TAGS, Baseline
from ullage_models.detect.residual import LinearModel
from ullage_models.detect.tags import ROLES, Kind, TagProfile
from ullage_models.errors import LearningError

from .fit import MOST_SIGNALS, Fitted, fit
from .history import History, Ordered, order
from .profile import profile
from .threshold import calibrate

Floats = NDArray[np.float64]
Progress = Callable[[str, float], None]

LEAST_ROWS = 30
LEAST_OBSERVED = 0.5


def learn(history: History, roles: Mapping[str, str] | None = None, progress: Progress | None = None) -> Baseline:
    """Learn a baseline.

    ``roles``: a role of `detect.tags.ROLES` for tags that have one. ``progress``: told (what is being done,
    share 0-1 of it). LearningError where there is nothing to learn from, or where roles name tags that do not
    exist."""
    tell = progress or (lambda _what, _share: None)
    given = dict(roles or {})
    _check(history, given)
    tell("putting rows in order", 0.0)
    rows = order(history)
    if len(rows.times) < LEAST_ROWS:
        raise LearningError(
            f"{len(rows.times)} rows are in order of time, at least {LEAST_ROWS} are needed; give a longer history"
        )
    tell("looking at each tag", 0.0)
    tags, notes = profile(rows, history.tags, given)
    if all(t.kind is Kind.UNUSABLE for t in tags):
        raise LearningError("no tag holds numbers; give a history with at least one column of numbers")
    columns, left_out = _signals(tags)
    notes = _window_notes(rows) + notes + left_out
    signals, resolution = _readings(rows, tags, columns)
    if len(columns):
        fitted = fit(columns, signals, rows.stretch, resolution, tell)
    else:
        fitted = _nothing()
        notes.append("no tag moves enough for the linear model: only rules watch")
    breaks = np.concatenate([[True], np.diff(rows.stretch[fitted.at]) != 0]) if len(fitted.at) else np.zeros(0, bool)
    tell("setting the threshold", 0.0)
    calibration = calibrate(fitted.surprise, breaks, rows.interval)
    notes += _regime_notes(fitted)
    return Baseline(
        tuple(tags), fitted.model, calibration, _time(float(rows.times[0])), _time(float(rows.times[-1])),
        len(rows.times), rows.interval, rows.longest_step, tuple(notes[:200]),
    )  # fmt: skip


def _check(history: History, roles: Mapping[str, str]) -> None:
    n, p = history.values.shape
    if len(history.times) != n or len(history.tags) != p or not 0 < p <= MAX_TAGS:
        raise LearningError(
            f"the history has {p} columns and {len(history.tags)} tags; between 1 and {MAX_TAGS} are possible"
        )
    faults = [f"tag {tag!r} is not in the history" for tag in roles if tag not in history.tags]
    faults += [
        f"role {role!r} of tag {tag!r} is none of {', '.join(ROLES)}"
        for tag, role in roles.items()
        if role not in ROLES
    ]
    if faults:
        raise LearningError("; ".join(faults))


def _signals(tags: list[TagProfile]) -> tuple[NDArray[np.int64], list[str]]:
    """The tags that enter the linear model: those that move, the liveliest first where they are too many."""
    kinds = (Kind.MEASURED, Kind.STATE, Kind.COUNTER)
    usable = [i for i, t in enumerate(tags) if t.kind in kinds and t.observed >= LEAST_OBSERVED and t.moves > 0]
    if len(usable) <= MOST_SIGNALS:
        return np.array(usable, dtype=np.int64), []
    usable.sort(key=lambda i: (-tags[i].moves, tags[i].name))
    note = f"{len(usable)} tags move, {MOST_SIGNALS} are in the linear model; the others are watched by rules alone"
    return np.array(sorted(usable[:MOST_SIGNALS]), dtype=np.int64), [note]


def _readings(rows: Ordered, tags: list[TagProfile], columns: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """The signals (n, p) of all rows, counters as their rate per usual row, and their resolutions (p,)."""
    signals = rows.values[:, columns].copy()
    for i, column in enumerate(columns):
        if tags[column].kind is Kind.COUNTER:
            signals[:, i] = _rate(signals[:, i], rows)
    return signals, np.array([tags[c].resolution for c in columns])


def _rate(readings: Floats, rows: Ordered) -> Floats:
    known = np.flatnonzero(~np.isnan(readings))
    rise, seconds = np.diff(readings[known]), np.diff(rows.times[known])
    rate = np.where(rise >= 0, rise * rows.interval / seconds, np.nan)
    rate[np.diff(rows.stretch[known]) != 0] = np.nan
    out = np.full(len(readings), np.nan)
    out[known[1:]] = rate
    return out


def _nothing() -> Fitted:
    empty = np.zeros((0, 0))
    model = LinearModel(
        np.zeros(0, np.int64), 0, np.zeros(0), np.zeros(0), np.zeros(0), empty, np.zeros((0, 2)), np.array([0.0, 1.0])
    )
    return Fitted(model, empty, np.zeros(0, np.int64))


def _window_notes(rows: Ordered) -> list[str]:
    notes = [f"{count} rows left out: {reason}" for reason, count in rows.dropped.items()]
    if rows.gaps:
        notes.append(f"rows are missing in {rows.gaps} places")
    return notes


def _regime_notes(fitted: Fitted) -> list[str]:
    """Say so where a part of the window is not described by the others: it may hold two ways of running."""
    if len(fitted.surprise) < 100:
        return ["the window is short: thresholds are wide until a longer one is learned"]
    means = [float(np.nanmean(part)) for part in np.array_split(fitted.surprise, 5)]
    worst = max(range(5), key=lambda k: means[k])
    if means[worst] <= 2.0 * float(np.median(means)) or not math.isfinite(means[worst]):
        return []
    return [f"part {worst + 1} of 5 of the window runs unlike the others: it may hold two ways of running"]


def _time(seconds: float) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)

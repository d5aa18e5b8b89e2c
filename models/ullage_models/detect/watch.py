"""The whole detection over one row at a time: the same object judges live and in a backtest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ullage_protocols.messages import Anomaly

from ullage_models.errors import BaselineError

from .baseline import Baseline
from .calibration import MovingThreshold, Smoother
from .clock import BREAKS, FOLLOWS, RowClock
from .episode import EpisodeMachine, JudgedRow, Part, State, score_for
from .findings import Finding
from .residual import Residual, ResidualDetector
from .rules import Rules
from .tags import Kind

Floats = NDArray[np.float64]

EXPECTED_PART = math.gamma(2.5)
"""Mean of surprise ** 1.5 of a normal signal (the surprise of a continuous one is exponential with mean 1)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user may set; None leaves it to the baseline. ``persistence`` and ``recovery`` in rows;
    ``update_every``: the least time between two messages about an open episode, by default 20 rows and at least
    5 s."""

    persistence: int | None = None
    recovery: int | None = None
    update_every: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """``score`` (None: the row could not be judged; ``note`` says why) is abnormal where it exceeds ``threshold``."""

    time: datetime
    score: float | None
    threshold: float
    findings: tuple[Finding, ...] = ()
    events: tuple[Anomaly, ...] = ()
    note: str = ""

    @property
    def abnormal(self) -> bool:
        """Whether the score exceeds the threshold."""
        return self.score is not None and self.score > self.threshold


class Watch:
    """Judges rows in the order in which they come. Holds a bounded number of numbers, whatever comes.

    The score of a row is the larger of the residual's score and what the most severe finding of a rule stands
    for (`episode.score_for`); one threshold judges both.
    """

    def __init__(self, baseline: Baseline, settings: Settings | None = None) -> None:
        chosen = settings or Settings()
        calibration = baseline.calibration
        self._baseline = baseline
        self._names = baseline.names
        self._place = {name: i for i, name in enumerate(self._names)}
        self._clock = RowClock(baseline.longest_step)
        self._signals = Signals(baseline)
        self._detector = ResidualDetector(baseline.model)
        self._rules = Rules(baseline.tags, baseline.rows, calibration.drift_rows)
        self._smoothing = calibration.smoothing
        self._smoother = Smoother(calibration.smoothing, calibration.typical)
        self._threshold = MovingThreshold(calibration)
        self._parts = np.full(baseline.model.signals, EXPECTED_PART)
        self._machine = EpisodeMachine(
            chosen.persistence or calibration.persistence, chosen.recovery or calibration.recovery, calibration.release,
            chosen.update_every or timedelta(seconds=max(20 * baseline.interval, 5.0)), baseline.digest[:8],
            frozenset(t.name for t in baseline.tags if t.role in ("command", "setpoint")),
        )  # fmt: skip

    @property
    def state(self) -> State:
        """Where the episode machine stands."""
        return self._machine.state

    def row(self, values: Mapping[str, float | None]) -> Floats:
        """Values by name as an array in the baseline's tag order; NaN where absent or None, other names ignored."""
        row = np.full(len(self._names), np.nan)
        for name, value in values.items():
            place = self._place.get(name)
            if place is not None and value is not None:
                row[place] = value
        return row

    def update(
        self,
        time: datetime,
        values: Mapping[str, float | None] | NDArray[Any],
        missing: Mapping[str, str] | None = None,
    ) -> Judgement:
        """Judge one row.

        ``time`` is timezone-aware; ``values`` by tag name, or an array in the baseline's tag order with NaN for
        unknown; ``missing`` says why a tag that should have a value has none. BaselineError if an array has
        another length."""
        row = self.row(values) if isinstance(values, Mapping) else np.array(values, dtype=np.float64)
        if row.shape != (len(self._names),):
            raise BaselineError(
                f"a row has {row.size} values, the baseline {len(self._names)} tags; give them in its order"
            )
        row[np.abs(row) == np.inf] = np.nan
        step = self._clock.step(time)
        threshold = self._threshold.value
        if step not in FOLLOWS:
            return Judgement(time, None, threshold, note=f"time: {step}")
        if step in BREAKS:
            self._forget()
        signals = self._signals.update(time, row)
        residual = self._detector.update(signals)
        score = None if residual is None else self._score(residual)
        if residual is None:
            self._smoother.reset()
        findings = self._rules.update(row, missing or {})
        worst = max((f.severity for f in findings), default=0.0)
        fused = max(score or 0.0, score_for(worst, threshold)) if worst > 0.0 else score
        judged = JudgedRow(time, fused, threshold, findings, self._explain(row, signals, residual, score, threshold))
        events = self._machine.update(judged)
        if score is not None:
            self._threshold.update(score)
        note = "" if fused is not None else "too few values, or rows before it missing"
        return Judgement(time, fused, threshold, tuple(findings), tuple(events), note)

    def _forget(self) -> None:
        self._detector.reset()
        self._signals.reset()
        self._rules.reset()
        self._smoother.reset()
        self._parts.fill(EXPECTED_PART)

    def _score(self, residual: Residual) -> float:
        surprise = residual.surprise
        parts = surprise * np.sqrt(surprise)
        known = len(parts) - residual.missing
        if residual.missing:
            unknown = parts != parts
            parts[unknown] = 0.0
            score = float(np.add.reduce(parts)) / known
            parts[unknown] = EXPECTED_PART
        else:
            score = float(np.add.reduce(parts)) / known
        parts -= self._parts
        parts *= self._smoothing
        self._parts += parts
        return self._smoother.update(score)

    def _explain(
        self, row: Floats, signals: Floats, residual: Residual | None, score: float | None, threshold: float
    ) -> list[Part]:
        """Each signal's part in a broken relation, in thresholds; nothing while the relation holds."""
        if residual is None or score is None or score <= threshold * self._baseline.calibration.release:
            return []
        model = self._baseline.model
        weights = (self._parts - EXPECTED_PART) / (model.signals * threshold)
        parts = []
        for i in np.flatnonzero(weights > 0.0):
            tag = self._baseline.tags[model.columns[i]]
            off = float(residual.value[i] * model.scale[i])
            value = float(signals[i]) if tag.kind is Kind.COUNTER else float(row[model.columns[i]])
            known = not math.isnan(value) and not math.isnan(off)
            parts.append(Part(tag.name, float(weights[i]), value if known else None, value - off if known else None))
        return parts


class Signals:
    """From tags to the linear model's signals: readings as they are, counters as their rate per usual row. A counter's
    first reading, and the one after a fall, give no rate: it is unknown there.
    """

    def __init__(self, baseline: Baseline) -> None:
        self._columns = baseline.model.columns
        self._interval = baseline.interval
        self._counters = [(i, int(c)) for i, c in enumerate(self._columns) if baseline.tags[c].kind is Kind.COUNTER]
        self._last: dict[int, tuple[datetime, float]] = {}

    def reset(self) -> None:
        """Forget the counters' readings before."""
        self._last.clear()

    def update(self, time: datetime, row: Floats) -> Floats:
        """The signals (p,) of one row of tags; NaN where unknown."""
        signals = row[self._columns]
        for i, column in self._counters:
            value = float(row[column])
            if math.isnan(value):
                continue
            before = self._last.get(i)
            self._last[i] = (time, value)
            signals[i] = math.nan if before is None else self._rate(before, time, value)
        return signals

    def _rate(self, before: tuple[datetime, float], time: datetime, value: float) -> float:
        if value < before[1]:
            return math.nan
        return (value - before[1]) * self._interval / (time - before[0]).total_seconds()

"""Rules that need no model: out of range, frozen, setpoint changed, stopped, counter at rest or backwards, lost.

Each rule learned its limits from normal running (the tags' profiles). A value that is unknown is never judged:
it neither starts nor ends a standstill.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .findings import Code, Finding
from .tags import COUNTER_ROLES, Kind, TagProfile

Floats = NDArray[np.float64]

SETPOINT_SEVERITY = 0.6
STOPPED_SEVERITY = 0.6
BACKWARDS_SEVERITY = 0.5
STATE_SEVERITY = 0.5
FROZEN_SEVERITY = 0.4
LOST_SEVERITY = 0.4
RANGE_SEVERITY = 0.3

LOST_ROWS = 5
HOLD_ROWS = 5
ROLLOVERS = tuple(float(m) for m in (10**4, 10**5, 10**6, 10**7, 10**8, 10**9, 2**15, 2**16, 2**31, 2**32))


class RangeRule:
    """A reading outside the range seen by more than the tag's margin.

    Seasons move ranges. While a reading stays outside, its limit gives way, by one margin in ``yield_rows``
    rows and by ten in all: a plant that has slowly moved on does not stand in alarm for ever, and nobody can
    teach a far reading quickly.

    >>> import numpy as np
    >>> level = TagProfile("level", "measurement", Kind.MEASURED, 1.0, 3.0, 0.01, 1.0, 2, 0, (), 1.0, 0.5)
    >>> rule = RangeRule([level], yield_rows=1000)
    >>> [f.severity for f in rule.update(np.array([3.9]))], rule.update(np.array([float("nan")]))
    ([], [])
    >>> [finding] = rule.update(np.array([6.0]))
    >>> round(finding.severity, 2), finding.reason
    (0.62, 'level reads 6, outside 1 to 3 seen in learning by 1.5 times that range')
    """

    def __init__(self, tags: Sequence[TagProfile], yield_rows: int) -> None:
        self._tags = tags
        watched = [t.kind is Kind.MEASURED and t.span > 0 for t in tags]
        margin = np.array([t.margin * t.span if w else 0.0 for t, w in zip(tags, watched, strict=True)])
        self._step = margin / yield_rows
        self._low = np.array([t.low - t.margin * t.span if w else -np.inf for t, w in zip(tags, watched, strict=True)])
        self._lowest = self._low - 9.0 * margin
        self._high = np.array([t.high + t.margin * t.span if w else np.inf for t, w in zip(tags, watched, strict=True)])

        self._highest = self._high + 9.0 * margin

    def update(self, values: Floats) -> list[Finding]:
        """Findings of one row; ``values`` in the baseline's tag order, NaN where unknown."""
        above, below = values > self._high, values < self._low
        out = above | below
        if not out.any():
            return []
        findings = [self._finding(int(i), float(values[i])) for i in np.flatnonzero(out)]
        self._high = np.where(above, np.minimum(self._high + self._step, self._highest), self._high)
        self._low = np.where(below, np.maximum(self._low - self._step, self._lowest), self._low)
        return findings

    def _finding(self, i: int, value: float) -> Finding:
        tag = self._tags[i]
        nearest = tag.high if value > tag.high else tag.low
        spans = abs(value - nearest) / tag.span
        beyond = abs(value - (self._high[i] if value > tag.high else self._low[i])) / tag.span
        severity = RANGE_SEVERITY + 0.5 * (1.0 - math.exp(-beyond))
        reason = (
            f"{tag.name} reads {value:g}, outside {tag.low:g} to {tag.high:g} seen in learning "
            f"by {spans:.3g} times that range"
        )
        return Finding(Code.RANGE, tag.name, severity, value, nearest, reason)


class StillRule:
    """A tag that always moved stands still for much longer than it ever did: frozen, or a counter at rest.

    >>> import numpy as np
    >>> flow = TagProfile("flow", "measurement", Kind.MEASURED, 0.0, 9.0, 0.1, 0.9, 2, 0, (), 1.0, 0.5)
    >>> rule = StillRule([flow], rows=1000)
    >>> seen = [rule.update(np.array([4.5])) for _ in range(40)]
    >>> next(n for n, findings in enumerate(seen) if findings)
    21
    >>> seen[-1][0].reason
    'flow has stood still at 4.5 for 39 rows; the longest in learning was 2'
    >>> rule.update(np.array([4.6]))
    []
    """

    def __init__(self, tags: Sequence[TagProfile], rows: int) -> None:
        """``rows``: rows of the learning window; few rows make the rule wait longer."""
        self._tags = tags
        factor = 3.0 + 20.0 / math.sqrt(max(rows, 1))
        self._limit = np.array([_still_limit(t, rows, factor) for t in tags])
        self._last = np.full(len(tags), np.nan)
        self._still = np.zeros(len(tags))

    def reset(self) -> None:
        """Forget the standstills: after missing rows nobody knows what happened between."""
        self._last.fill(np.nan)
        self._still.fill(0)

    def update(self, values: Floats) -> list[Finding]:
        """Findings of one row; ``values`` in the baseline's tag order, NaN where unknown."""
        known = values == values
        self._still += known
        self._still *= (values == self._last) | ~known
        np.copyto(self._last, values, where=known)
        out = self._still > self._limit
        return [self._finding(int(i), float(self._last[i])) for i in np.flatnonzero(out & known)] if out.any() else []

    def _finding(self, i: int, value: float) -> Finding:
        tag = self._tags[i]
        counter = tag.kind is Kind.COUNTER
        reason = (
            f"{tag.name} has stood still at {value:g} for {self._still[i]:.0f} rows; "
            f"the longest in learning was {tag.still_rows}"
        )
        code = Code.COUNTER_STILL if counter else Code.FROZEN
        return Finding(code, tag.name, FROZEN_SEVERITY, value, None, reason)


def _still_limit(tag: TagProfile, rows: int, factor: float) -> float:
    moving = tag.kind in (Kind.MEASURED, Kind.COUNTER) and tag.moves >= 0.05 and tag.still_rows * 10 <= rows
    return max(factor * tag.still_rows, tag.still_rows + 10.0, 20.0) if moving else math.inf


class SettingRule:
    """A setpoint, or a command or state of few values, stands where it never stood in learning.

    >>> import numpy as np
    >>> setpoint = TagProfile("level_sp", "setpoint", Kind.SETPOINT, 60.0, 60.0, 0.0, 0.0, 0, 0, (60.0,), 1.0, 0.5)
    >>> rule = SettingRule([setpoint])
    >>> rule.update(np.array([60.0]))
    []
    >>> [finding] = rule.update(np.array([85.0]))
    >>> str(finding.code), finding.reason
    ('setpoint', 'setpoint level_sp reads 85; in learning it was 60')
    """

    def __init__(self, tags: Sequence[TagProfile]) -> None:
        self._watched = [(i, t) for i, t in enumerate(tags) if t.kind is Kind.SETPOINT or _few(t)]

    def update(self, values: Floats) -> list[Finding]:
        """Findings of one row; ``values`` in the baseline's tag order, NaN where unknown."""
        return [f for i, tag in self._watched if (f := self._check(tag, float(values[i]))) is not None]

    def _check(self, tag: TagProfile, value: float) -> Finding | None:
        if math.isnan(value):
            return None
        slack = max(tag.resolution / 2, 1e-6 * max(abs(tag.low), abs(tag.high)))
        if tag.levels:
            nearest = min(tag.levels, key=lambda level: abs(level - value))
            was = " or ".join(f"{level:g}" for level in tag.levels[:4])
        else:
            nearest = min(max(value, tag.low), tag.high)
            was = f"{tag.low:g} to {tag.high:g}"
        if abs(value - nearest) <= slack:
            return None
        code, severity = _SETTINGS[tag.role]
        reason = f"{tag.role} {tag.name} reads {value:g}; in learning it was {was}"
        return Finding(code, tag.name, severity, value, nearest, reason)


_SETTINGS = {
    "setpoint": (Code.SETPOINT, SETPOINT_SEVERITY),
    "command": (Code.COMMAND, SETPOINT_SEVERITY),
    "state": (Code.STATE, STATE_SEVERITY),
}


def _few(tag: TagProfile) -> bool:
    return tag.role in ("command", "state") and bool(tag.levels) and tag.kind is not Kind.UNUSABLE


class RunningRule:
    """The running signal stays off for longer than it ever did in learning.

    >>> import numpy as np
    >>> line = TagProfile("running", "running", Kind.CONSTANT, 1.0, 1.0, 0.0, 0.0, 0, 0, (1.0,), 1.0, 0.5)
    >>> rule = RunningRule([line])
    >>> [len(rule.update(np.array([v]))) for v in (1.0, 0.0, 0.0, 0.0, 1.0)]
    [0, 0, 0, 1, 0]
    """

    def __init__(self, tags: Sequence[TagProfile]) -> None:
        self._watched = [
            (i, t, t.low if t.span > 0 else 0.0, 3 * t.off_rows + 2)
            for i, t in enumerate(tags)
            if t.role == "running" and t.kind is not Kind.UNUSABLE and t.high > 0
        ]
        self._off = dict.fromkeys((i for i, *_ in self._watched), 0)

    def reset(self) -> None:
        """Forget how long it has been off."""
        self._off = dict.fromkeys(self._off, 0)

    def update(self, values: Floats) -> list[Finding]:
        """Findings of one row; ``values`` in the baseline's tag order, NaN where unknown."""
        findings = []
        for i, tag, off, limit in self._watched:
            value = float(values[i])
            if math.isnan(value):
                continue
            self._off[i] = self._off[i] + 1 if value <= off else 0
            if self._off[i] > limit:
                reason = f"{tag.name} has been off for {self._off[i]} rows; the longest in learning was {tag.off_rows}"
                findings.append(Finding(Code.STOPPED, tag.name, STOPPED_SEVERITY, value, tag.high, reason))
        return findings


class CounterRule:
    """A counter goes backwards without having rolled over or having been set to zero.

    >>> import numpy as np
    >>> bottles = TagProfile("bottles", "count", Kind.COUNTER, 0.0, 65535.0, 1.0, 1.0, 1, 0, (), 1.0, 0.5)
    >>> rule = CounterRule([bottles])
    >>> [len(rule.update(np.array([float(v)]))) for v in (65530, 65534, 3, 9, 5)]
    [0, 0, 0, 0, 1]
    """

    def __init__(self, tags: Sequence[TagProfile]) -> None:
        self._watched = [(i, t) for i, t in enumerate(tags) if t.kind is Kind.COUNTER]
        self._last: dict[int, float] = {}
        self._held: dict[int, tuple[int, Finding]] = {}

    def reset(self) -> None:
        """Forget the readings before."""
        self._last.clear()

    def update(self, values: Floats) -> list[Finding]:
        """Findings of one row; a step back stays a finding for ``HOLD_ROWS`` rows."""
        findings = []
        for i, tag in self._watched:
            value = float(values[i])
            if math.isnan(value):
                continue
            last = self._last.get(i, value)
            self._last[i] = value
            if value < last and not rolled_over(last, value):
                reason = f"counter {tag.name} went back from {last:g} to {value:g} without rolling over"
                self._held[i] = (
                    HOLD_ROWS,
                    Finding(Code.COUNTER_BACK, tag.name, BACKWARDS_SEVERITY, value, last, reason),
                )
            held = self._held.get(i)
            if held is not None:
                findings.append(held[1])
                self._held[i] = (held[0] - 1, held[1])
                if held[0] <= 1:
                    del self._held[i]
        return findings


def rolled_over(before: float, after: float) -> bool:
    """Whether a fall from ``before`` to ``after`` is a rollover at a usual modulus, or a reset to about zero.

    >>> rolled_over(65530, 12), rolled_over(500, 0), rolled_over(500, 480)
    (True, True, False)
    """
    if after <= 0.01 * abs(before):
        return True
    return any(0.9 * m <= before < m and after < 0.1 * m for m in ROLLOVERS)


class LostRule:
    """A tag's device does not answer: its value is missing for a stated reason, ``LOST_ROWS`` rows running.

    A hole without a reason (an empty cell of a history) is unknown and nothing more.

    >>> level = TagProfile("level", "measurement", Kind.MEASURED, 1.0, 3.0, 0.01, 1.0, 2, 0, (), 1.0, 0.5)
    >>> rule = LostRule([level])
    >>> [len(rule.update({"level": "timeout"})) for _ in range(6)]
    [0, 0, 0, 0, 1, 1]
    >>> rule.update({})
    []
    """

    def __init__(self, tags: Sequence[TagProfile]) -> None:
        self._names = {t.name for t in tags if t.role != "ignore"}
        self._rows: dict[str, int] = {}

    def update(self, missing: Mapping[str, str]) -> list[Finding]:
        """Findings of one row; ``missing`` gives the reason for each tag that should have a value and has none."""
        if not missing and not self._rows:
            return []
        self._rows = {tag: self._rows.get(tag, 0) + 1 for tag in missing if tag in self._names}
        return [
            Finding(
                Code.LOST, tag, LOST_SEVERITY, None, None, f"{tag} has had no value for {rows} rows: {missing[tag]}"
            )
            for tag, rows in self._rows.items()
            if rows >= LOST_ROWS
        ]


class MovedRule:
    """A tag that never moved in learning begins to move. A remark, made once: it opens no episode, for nothing
    says what is normal.

    >>> import numpy as np
    >>> pump = TagProfile("spare_pump", "measurement", Kind.CONSTANT, 0.0, 0.0, 0.0, 0.0, 0, 0, (0.0,), 1.0, 0.5)
    >>> MovedRule([pump]).update(np.array([1.0]))[0].reason
    'spare_pump reads 1; in learning it never left 0'
    """

    def __init__(self, tags: Sequence[TagProfile]) -> None:
        self._tags = tags
        watched = [
            t.kind is Kind.CONSTANT and t.role not in ("running", "command", "state", *COUNTER_ROLES) for t in tags
        ]
        self._level = np.array([t.low if w else np.nan for t, w in zip(tags, watched, strict=True)])
        self._slack = np.array([1e-6 * abs(t.low) for t in tags])
        self._told = np.zeros(len(tags), dtype=bool)

    def update(self, values: Floats) -> list[Finding]:
        """Findings of one row; ``values`` in the baseline's tag order, NaN where unknown."""
        moved = np.abs(values - self._level) > self._slack
        new = moved & ~self._told
        self._told = moved
        if not new.any():
            return []
        return [
            Finding(
                Code.MOVED, self._tags[i].name, 0.0, float(values[i]), self._tags[i].low,
                f"{self._tags[i].name} reads {values[i]:g}; in learning it never left {self._tags[i].low:g}",
            )
            for i in np.flatnonzero(new).tolist()
        ]  # fmt: skip


class Rules:
    """All rules over one row."""

    def __init__(self, tags: Sequence[TagProfile], rows: int, yield_rows: int) -> None:
        """``rows``: rows of the learning window; ``yield_rows``: rows in which a range gives way by one margin."""
        self._range = RangeRule(tags, yield_rows)
        self._still = StillRule(tags, rows)
        self._setting = SettingRule(tags)
        self._running = RunningRule(tags)
        self._counter = CounterRule(tags)
        self._lost = LostRule(tags)
        self._moved = MovedRule(tags)

    def reset(self) -> None:
        """Rows are missing: what leans on the rows before starts anew; what stands in one row stays judged."""
        self._still.reset()
        self._running.reset()
        self._counter.reset()

    def update(self, values: Floats, missing: Mapping[str, str]) -> list[Finding]:
        """Findings of one row; ``values`` in the baseline's tag order, NaN where unknown."""
        findings = self._setting.update(values)
        findings += self._running.update(values)
        findings += self._counter.update(values)
        findings += self._range.update(values)
        findings += self._still.update(values)
        findings += self._lost.update(missing)
        findings += self._moved.update(values)
        return findings

"""How good a detection was, from labels, after the event. No point adjustment anywhere.

Point-adjusted scores count a whole event as found when one of its rows is; random scores then look excellent
(Kim et al., Towards a rigorous evaluation of time-series anomaly detection, AAAI 2022). Here a row is a row, an
event is an event, and normal time in alarm is reported as a share."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Measures:
    """``events``: runs of labelled rows, ``found``: those with a row in alarm; ``delay``: mean time in seconds
    from an event's first row to its first alarm, over those found; ``false_per_day``: runs of alarm that touch
    no event, per day of the record; ``normal_in_alarm``: share (0-1) of judged normal rows in alarm;
    ``recall``: share of labelled rows in alarm; ``batadal_s``: see `batadal_s`; ``average_precision``,
    ``vus_pr``: of the scores alone (None where there is no event, or no scikit-learn for the former)."""

    events: int
    found: int
    delay: float | None
    false_per_day: float
    normal_in_alarm: float
    recall: float | None
    batadal_s: float | None
    average_precision: float | None
    vus_pr: float | None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For a terminal."""
        lines = [
            f"  events found             {self.found} of {self.events}",
            f"  false alarms a day       {self.false_per_day:.3f}",
            f"  normal time in alarm     {100 * self.normal_in_alarm:.2f}%",
        ]
        if self.delay is not None:
            lines.insert(1, f"  mean delay               {self.delay:.0f} s")
        for name, value in (
            ("rows of events in alarm", self.recall), ("BATADAL S", self.batadal_s),
            ("average precision", self.average_precision), ("VUS-PR (window 100)", self.vus_pr),
        ):  # fmt: skip
            if value is not None:
                lines.append(f"  {name:<25}{value:.3f}")
        return lines


def measure(times: Floats, scores: Floats, thresholds: Floats, labels: Floats) -> Measures | None:
    """Compare alarms (score > threshold) with labels. Arrays (n,): times in seconds (NaN: none), scores (NaN:
    not judged), labels 0, 1 or NaN (unlabelled: left out). None where no row is labelled."""
    labelled = ~np.isnan(labels)
    if not labelled.any():
        return None
    truth = labels[labelled] > 0
    judged = ~np.isnan(scores[labelled])
    score = np.where(judged, scores[labelled], 0.0)
    alarm = judged & (score > thresholds[labelled])
    time = times[labelled]
    known = time[~np.isnan(time)]
    days = max(float(known.max() - known.min()) / DAY, 1e-9) if len(known) else 1e-9
    events = runs(truth)
    found = [(a, a + int(np.argmax(alarm[a:b]))) for a, b in events if alarm[a:b].any()]
    delays = [float(time[at] - time[a]) for a, at in found]
    false = sum(1 for a, b in runs(alarm) if not truth[a:b].any())
    normal = judged & ~truth
    return Measures(
        len(events), len(found), float(np.nanmean(delays)) if delays else None, false / days,
        float(alarm[normal].mean()) if normal.any() else 0.0, float(alarm[truth].mean()) if events else None,
        batadal_s(truth, alarm) if events else None, average_precision(truth, score) if events else None,
        vus_pr(truth, score) if events else None,
    )  # fmt: skip


def runs(flags: Flags) -> list[tuple[int, int]]:
    """Runs of True as (first, one past the last).

    >>> import numpy as np
    >>> runs(np.array([0, 1, 1, 0, 1], dtype=bool))
    [(1, 3), (4, 5)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def batadal_s(truth: Flags, alarm: Flags) -> float:
    """Score of the BATADAL contest (Taormina et al., J. Water Resour. Plann. Manage. 144(8), 2018): half for
    time to detection, half for the mean of true positive and true negative rates, by rows.

    >>> import numpy as np
    >>> truth = np.array([0, 0, 1, 1, 1, 1, 0, 0], dtype=bool)
    >>> batadal_s(truth, truth), batadal_s(truth, ~truth), batadal_s(truth, np.zeros(8, dtype=bool))
    (1.0, 0.0, 0.25)
    """
    late = [float(np.argmax(alarm[a:b])) / (b - a) if alarm[a:b].any() else 1.0 for a, b in runs(truth)]
    in_time = 1.0 - float(np.mean(late)) if late else 0.0
    positive = float(alarm[truth].mean()) if truth.any() else 0.0
    negative = float((~alarm[~truth]).mean()) if (~truth).any() else 1.0
    return 0.5 * in_time + 0.25 * (positive + negative)


def average_precision(truth: Flags, score: Floats) -> float | None:
    """Area under the precision-recall steps, by scikit-learn; None where the extra [train] is not installed.

    >>> import numpy as np
    >>> average_precision(np.array([1, 0, 1, 0], dtype=bool), np.array([4.0, 3.0, 2.0, 1.0]))
    0.8333333333333333
    """
    try:
        # Imported late: it takes a second, and a gateway that only learns and watches does without it.
        from sklearn.metrics import average_precision_score
    except ImportError:
        return None
    return float(average_precision_score(truth, score))


def vus_pr(truth: Flags, score: Floats, window: int = 100, thresholds: int = 250) -> float:
    """Volume under the precision-recall surface (Paparrizos et al., PVLDB 15(11), 2022; the "opt" form of
    TSB-AD): precision and recall over `thresholds` ranks of the score, with labels that fade out over 0 ..
    ``window`` rows around each event, averaged over that width."""
    events = runs(truth)
    n, positive = len(truth), int(truth.sum())
    if not events:
        return 0.0
    ranked = -np.sort(-score)
    cuts = ranked[np.linspace(0, n - 1, thresholds).astype(int)]
    reach = _reach(events, window, n)
    alarms = np.stack([score[reach] >= cut for cut in cuts]).astype(np.float32)
    counts = np.array([np.count_nonzero(score >= cut) for cut in cuts])
    volume = 0.0
    for width in range(window + 1):
        label = _fading(truth, events, width)
        caught = alarms @ label[reach]
        faded = alarms @ np.where(truth, 0.0, label)[reach].astype(np.float32)
        recall = np.minimum(caught / ((2 * positive + faded) / 2), 1.0) * _existence(alarms, reach, events, width, n)
        steps = np.diff(np.concatenate([[0.0], recall]))
        volume += float(np.sum(steps * caught / counts))
    return volume / (window + 1)


def _reach(events: list[tuple[int, int]], window: int, n: int) -> NDArray[np.int64]:
    """The rows that any label can reach, in order."""
    near = np.zeros(n, dtype=bool)
    for a, b in events:
        near[max(a - window // 2, 0) : b + window // 2] = True
    return np.flatnonzero(near)


def _fading(truth: Flags, events: list[tuple[int, int]], width: int) -> NDArray[np.float32]:
    label = truth.astype(np.float32)
    if width:
        fade = np.sqrt(1.0 - np.arange(1, width // 2 + 1) / width).astype(np.float32)
        for a, b in events:
            after = label[b : b + width // 2]
            after += fade[: len(after)]
            before = label[max(a - width // 2, 0) : a]
            before += fade[: len(before)][::-1]
    return np.minimum(label, 1.0)


def _existence(
    alarms: NDArray[np.float32], reach: NDArray[np.int64], events: list[tuple[int, int]], width: int, n: int
) -> Floats:
    """Share of events, widened and merged where they meet, in which each threshold raises an alarm."""
    groups, start = [], max(events[0][0] - width // 2, 0)
    for (_, end), (following, _) in itertools.pairwise(events):
        if end - 1 + width // 2 < following - width // 2:
            groups.append((start, end + width // 2))
            start = following - width // 2
    groups.append((start, min(events[-1][1] + width // 2, n)))
    hit = [alarms[:, np.searchsorted(reach, a) : np.searchsorted(reach, b)].any(axis=1) for a, b in groups]
    share: Floats = np.asarray(np.array(hit, dtype=np.float64).mean(axis=0))
    return share

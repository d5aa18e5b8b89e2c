"""A short window of a plant that wanders slowly shows little: what it did not show must not be taken for abnormal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from ullage_models.detect.watch import Watch
from ullage_models.training.history import History
from ullage_models.training.learn import learn
from ullage_models.training.metrics import vus_pr

START = datetime(2026, 1, 1, tzinfo=UTC)


def watched(seed: int) -> tuple[int, bool]:
    """Episodes opened in minutes of normal wandering, and whether a jump after it is seen."""
    random = np.random.default_rng(seed)
    wander = np.zeros((1500, 4))
    for n in range(1, len(wander)):
        wander[n] = 0.99 * wander[n - 1] + 0.14 * random.normal(size=4)
    values = np.array([50.0, 6.0, 260.0, 3.0]) + wander * np.array([1.0, 0.1, 5.0, 0.05])
    watch = Watch(learn(History(("a", "b", "c", "d"), 0.25 * np.arange(160.0), values[:160])))
    times = [START + timedelta(seconds=0.25 * n) for n in range(len(values) - 160)]
    events = [e for time, row in zip(times, values[160:], strict=True) for e in watch.update(time, row).events]
    jumped = values[-1] + np.array([15.0, 1.5, 0.0, 0.0])
    later = [watch.update(times[-1] + timedelta(seconds=0.25 * n), jumped) for n in range(1, 9)]
    return sum(e.phase == "open" for e in events), any(j.abnormal for j in later)


def test_slow_wandering_beyond_a_short_window_is_quiet() -> None:
    """Ten plants, 55 minutes in all: one passing episode at most, and every jump is seen."""
    found = [watched(seed) for seed in range(10)]
    assert sum(opened for opened, _ in found) <= 1
    assert all(seen for _, seen in found)


def test_volume_under_the_surface_ranks_detectors() -> None:
    truth = np.zeros(2000, dtype=bool)
    truth[500:600] = truth[1500:1560] = True
    noise = np.random.default_rng(1).random(2000)
    good, late, blind = truth + 0.5 * noise, np.roll(truth, 40) + 0.5 * noise, noise
    volumes = [vus_pr(truth, s) for s in (good, late, blind)]
    assert volumes[0] > 0.95
    assert volumes == sorted(volumes, reverse=True)
    assert volumes[2] < 0.3

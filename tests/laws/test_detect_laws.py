"""Laws that detection obeys whatever the plant: scale, order, no look-ahead, determinism, bounds, monotone severity."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray
from ullage_models.detect.baseline import Baseline
from ullage_models.detect.episode import score_for, severity_of
from ullage_models.detect.watch import Judgement, Watch
from ullage_models.training.history import History
from ullage_models.training.learn import learn

Floats = NDArray[np.float64]
START = datetime(2026, 1, 1, tzinfo=UTC)
TAGS = ("level", "flow", "speed", "power", "valve")


def plant(rows: int, seed: int) -> Floats:
    """Five tags that hang together, with noise of their own."""
    random = np.random.default_rng(seed)
    hidden = np.zeros((rows, 2))
    for n in range(1, rows):
        hidden[n] = 0.9 * hidden[n - 1] + random.normal(size=2)
    mixing = np.array([[1.0, 0.2, 0.0, 0.7, -0.5], [0.0, 1.0, 0.8, -0.3, 0.4]])
    return hidden @ mixing + 0.3 * random.normal(size=(rows, 5)) + np.array([40.0, 12.0, 30.0, 25.0, 50.0])


def taught(values: Floats, tags: tuple[str, ...] = TAGS) -> Baseline:
    return learn(History(tags, START.timestamp() + np.arange(len(values), dtype=float), values))


def judged(baseline: Baseline, values: Floats) -> list[Judgement]:
    watch = Watch(baseline)
    return [watch.update(START + timedelta(days=1, seconds=n), row) for n, row in enumerate(values)]


def scores(judgements: list[Judgement]) -> Floats:
    return np.array([np.nan if j.score is None else j.score for j in judgements])


@pytest.fixture(scope="module")
def normal() -> Floats:
    return plant(1500, 1)


@pytest.fixture(scope="module")
def later() -> Floats:
    values = plant(300, 2)
    values[150:200, 1] += 6.0
    return values


@pytest.fixture(scope="module")
def baseline(normal: Floats) -> Baseline:
    return taught(normal)


def test_the_fault_is_seen_and_normal_rows_are_quiet(baseline: Baseline, later: Floats) -> None:
    judgements = judged(baseline, later)
    assert any(j.abnormal for j in judgements[150:160])
    assert not any(j.abnormal for j in judgements[:150])
    assert not any(j.abnormal for j in judgements[250:])


def test_units_do_not_matter(baseline: Baseline, normal: Floats, later: Floats) -> None:
    factor, offset = np.array([1000.0, 0.01, 1.8, 1.0, 7.5]), np.array([0.0, 0.0, 32.0, 0.0, -20.0])
    in_other_units = judged(taught(normal * factor + offset), later * factor + offset)
    np.testing.assert_allclose(scores(in_other_units), scores(judged(baseline, later)), rtol=1e-6)


def test_the_order_of_tags_does_not_matter(baseline: Baseline, normal: Floats, later: Floats) -> None:
    order = [3, 0, 4, 2, 1]
    turned = taught(normal[:, order], tuple(TAGS[i] for i in order))
    np.testing.assert_allclose(scores(judged(turned, later[:, order])), scores(judged(baseline, later)), rtol=1e-9)


def test_no_look_ahead(baseline: Baseline, later: Floats) -> None:
    assert judged(baseline, later)[:170] == judged(baseline, later[:170])


def test_the_same_rows_give_the_same_judgements(baseline: Baseline, normal: Floats, later: Floats) -> None:
    assert taught(normal).to_bytes() == baseline.to_bytes()
    assert judged(baseline, later) == judged(baseline, later)


def test_memory_is_bounded_whatever_comes(baseline: Baseline) -> None:
    random = np.random.default_rng(3)
    watch = Watch(baseline)
    sizes = []
    for n in range(6000):
        row = random.normal(size=5) * 100.0
        row[random.random(5) < 0.3] = np.nan
        watch.update(START + timedelta(seconds=n), row)
        if n in (999, 5999):
            sizes.append(len(pickle.dumps(watch)))
    assert sizes[1] < sizes[0] + 4000


def test_a_larger_fault_is_never_less_severe(baseline: Baseline, later: Floats) -> None:
    peaks = []
    for size in (0.0, 2.0, 4.0, 8.0, 16.0, 32.0):
        values = later.copy()
        values[150:200, 1] += size
        peaks.append(max(severity_of(j.score, j.threshold) for j in judged(baseline, values) if j.score is not None))
    assert peaks == sorted(peaks)
    assert peaks[-1] > peaks[0]


@pytest.mark.parametrize("severity", [0.0, 0.1, 0.5, 0.9])
def test_severity_and_score_are_two_ways_to_say_one_thing(severity: float) -> None:
    assert severity_of(score_for(severity, 3.7), 3.7) == pytest.approx(severity)


def test_an_unknown_tag_is_neither_normal_nor_abnormal(baseline: Baseline, later: Floats) -> None:
    holes = later.copy()
    holes[:, 3] = np.nan
    judgements = judged(baseline, holes)
    assert not any(j.abnormal for j in judgements[:150])
    assert any(j.abnormal for j in judgements[150:165])
    assert not any(tag.tag == "power" for j in judgements for e in j.events for tag in e.tags)


def test_a_row_without_values_has_no_score(baseline: Baseline, later: Floats) -> None:
    holes = later.copy()
    holes[100:110] = np.nan
    judgements = judged(baseline, holes)
    assert all(j.score is None and j.note for j in judgements[100:110])
    assert judgements[120].score is not None


def test_missing_values_in_learning_are_borne(normal: Floats, later: Floats) -> None:
    holes = normal.copy()
    holes[np.random.default_rng(4).random(holes.shape) < 0.05] = np.nan
    judgements = judged(taught(holes), later)
    assert any(j.abnormal for j in judgements[150:165])
    assert sum(j.abnormal for j in judgements[:150]) == 0

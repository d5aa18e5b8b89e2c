"""The watch on a small plant: setpoint, stop, standstill, lost device, gaps, drift; and its episodes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray
from ullage_models.detect.baseline import Baseline
from ullage_models.detect.episode import State
from ullage_models.detect.residual import LinearModel, ResidualDetector
from ullage_models.detect.watch import Judgement, Watch
from ullage_models.errors import BaselineError
from ullage_models.training.history import History
from ullage_models.training.learn import learn
from ullage_protocols.messages import Anomaly

Floats = NDArray[np.float64]
START = datetime(2026, 1, 1, tzinfo=UTC)
TAGS = ("level", "inflow", "outflow", "setpoint", "running", "count")
ROLES = {"setpoint": "setpoint", "running": "running", "count": "count"}
STEP = 0.25


def plant(rows: int, seed: int, first_count: int = 65000) -> Floats:
    random = np.random.default_rng(seed)
    wander = np.zeros(rows)
    for n in range(1, rows):
        wander[n] = 0.95 * wander[n - 1] + 0.1 * random.normal()
    level = 60.0 + 0.5 * wander + 0.05 * random.normal(size=rows)
    inflow = 6.0 - 0.2 * wander + 0.02 * random.normal(size=rows)
    outflow = 6.0 + 0.1 * wander + 0.02 * random.normal(size=rows)
    count = (first_count + np.cumsum(random.integers(2, 4, rows))) % 65536
    return np.column_stack([level, inflow, outflow, np.full(rows, 60.0), np.ones(rows), count])


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    return learn(History(TAGS, START.timestamp() + STEP * np.arange(200.0), plant(200, 1)), ROLES)


def run(baseline: Baseline, values: Floats, start: datetime = START) -> tuple[list[Judgement], list[Anomaly]]:
    watch = Watch(baseline)
    judgements = [watch.update(start + timedelta(seconds=STEP * n), row) for n, row in enumerate(values)]
    return judgements, [e for j in judgements for e in j.events]


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_minutes_of_normal_running_are_quiet(baseline: Baseline, seed: int) -> None:
    judgements, events = run(baseline, plant(1500, seed))
    assert events == []
    assert sum(j.score is None for j in judgements) == baseline.model.lags


def test_a_changed_setpoint_opens_within_three_rows_and_closes_after_it_is_put_back(baseline: Baseline) -> None:
    values = plant(400, 5)
    values[100:150, 3] = 85.0
    judgements, events = run(baseline, values)
    assert [e.phase for e in events] == ["open", "close"]
    opened, closed = events
    assert any(e.phase == "open" for j in judgements[100:103] for e in j.events)
    assert (opened.kind, opened.techniques[0].id, opened.tags[0].tag) == ("integrity", "T0836", "setpoint")
    assert (opened.tags[0].value, opened.tags[0].expected) == (85.0, 60.0)
    assert closed.start == opened.start == START + timedelta(seconds=STEP * 100)
    assert closed.end == START + timedelta(seconds=STEP * 149)
    assert opened.score > opened.threshold


def test_a_stopped_line_is_seen_and_named(baseline: Baseline) -> None:
    values = plant(400, 6)
    values[100:200, 4] = 0.0
    values[100:200, 2] = 0.0
    values[100:200, 5] = values[99, 5]
    _, events = run(baseline, values)
    assert {"T0826", "T0828"} <= {t.id for e in events for t in e.techniques}
    assert events[-1].phase == "close"
    assert START + timedelta(seconds=STEP * 198) <= (events[-1].end or START) <= START + timedelta(seconds=STEP * 260)


def test_a_counter_that_rolls_over_is_normal(baseline: Baseline) -> None:
    values = plant(400, 7, first_count=65400)
    assert (np.diff(values[:, 5]) < 0).any()
    assert run(baseline, values)[1] == []


def test_a_frozen_tag_is_an_integrity_finding(baseline: Baseline) -> None:
    values = plant(300, 8)
    values[100:, 0] = values[99, 0]
    judgements, _ = run(baseline, values)
    assert any(str(f.code) == "frozen" and f.tag == "level" for f in judgements[-1].findings)


def test_a_lost_device_is_of_kind_comms_and_needs_a_reason(baseline: Baseline) -> None:
    values = plant(60, 9)
    values[20:, 1] = np.nan
    for missing, kinds in (({"inflow": "timeout"}, ["comms"]), ({}, [])):
        watch = Watch(baseline)
        events = []
        for n, row in enumerate(values):
            lost = missing if n >= 20 else {}
            events += watch.update(START + timedelta(seconds=STEP * n), row, lost).events
        assert [e.kind for e in events] == kinds
        assert all(e.techniques[0].id == "T0814" for e in events)


def test_a_gap_is_unknown_and_ends_nothing(baseline: Baseline) -> None:
    values = plant(60, 10)
    values[20:, 3] = 85.0
    watch = Watch(baseline)
    for n, row in enumerate(values[:40]):
        watch.update(START + timedelta(seconds=STEP * n), row)
    assert watch.state is State.ANOMALOUS
    later = START + timedelta(hours=3)
    for n in range(50):
        judged = watch.update(later + timedelta(seconds=STEP * n), np.full(6, np.nan))
        assert judged.score is None
        assert judged.events == ()
    assert watch.state is State.ANOMALOUS


def test_repeated_and_late_rows_are_not_judged(baseline: Baseline) -> None:
    watch = Watch(baseline)
    rows = plant(20, 11)
    for n in range(10):
        watch.update(START + timedelta(seconds=STEP * n), rows[n])
    repeated = watch.update(START + timedelta(seconds=STEP * 9), rows[10])
    late = watch.update(START, rows[11])
    assert (repeated.score, repeated.note) == (None, "time: duplicate")
    assert (late.score, late.note) == (None, "time: back")
    assert watch.update(START + timedelta(seconds=STEP * 10), rows[12]).score is not None


def test_updates_are_bounded_in_rate(baseline: Baseline) -> None:
    values = plant(600, 12)
    values[100:, 3] = 85.0
    values[100:, 0] += np.linspace(0.0, 200.0, 500)
    _, events = run(baseline, values)
    updates = [e for e in events if e.phase == "update"]
    assert 1 <= len(updates) <= 500 * STEP / 5.0
    severities = [e.severity for e in events]
    assert severities == sorted(severities)


def test_values_by_name_and_by_place_say_the_same(baseline: Baseline) -> None:
    by_name, by_place = Watch(baseline), Watch(baseline)
    for n, row in enumerate(plant(50, 13)):
        time = START + timedelta(seconds=STEP * n)
        named = {**dict(zip(TAGS, row.tolist(), strict=True)), "stranger": 1.0}
        assert by_name.update(time, named) == by_place.update(time, row)


def test_a_row_of_another_length_is_refused(baseline: Baseline) -> None:
    with pytest.raises(BaselineError, match="a row has 2 values, the baseline 6 tags"):
        Watch(baseline).update(START, np.zeros(2))


def test_an_infinite_reading_is_unknown(baseline: Baseline) -> None:
    values = plant(100, 14)
    values[50, 0] = np.inf
    judgements, events = run(baseline, values)
    assert events == []
    assert judgements[50].score is not None


def test_events_are_messages_that_survive_the_wire(baseline: Baseline) -> None:
    values = plant(200, 15)
    values[100:, 3] = 85.0
    for event in run(baseline, values)[1]:
        assert Anomaly.from_json(event.to_json()) == event


def test_what_is_kept_of_missing_patterns_is_bounded() -> None:
    """Devices that come and go in every combination must not fill the memory; what is judged stays the same."""
    p, rng = 120, np.random.default_rng(7)
    weights = np.eye(p) + 0.01 * rng.standard_normal((p, p))
    model = LinearModel(
        np.arange(p), 0, np.zeros(p), np.ones(p), np.zeros(p), weights, np.array([[0.0, 0.1, 1.0]] * p),
        np.array([0.0, 2.0, 8.0]),
    )  # fmt: skip
    detector = ResidualDetector(model)
    rows = rng.standard_normal((100, p))
    rows[rng.random((100, p)) < 0.3] = np.nan
    for row in rows:
        found, alone = detector.update(row), ResidualDetector(model).update(row)
        assert found is not None
        assert alone is not None
        np.testing.assert_array_equal(found.value, alone.value)
    kept = sum(solver.nbytes for solver in detector._patterns.values())
    assert 0 < kept == detector._kept <= 1_000_000
    assert len(detector._patterns) > 5

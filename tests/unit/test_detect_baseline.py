"""The baseline artefact: exact round trip, and refusal of every damaged or hostile file."""

from __future__ import annotations

import contextlib
import io
import zipfile

import numpy as np
import pytest
from ullage_models.detect.baseline import Baseline
from ullage_models.errors import BaselineError, LearningError, ModelError
from ullage_models.training.history import History
from ullage_models.training.learn import learn


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    random = np.random.default_rng(5)
    values = random.normal(size=(400, 3)) + np.array([1.0, 2.0, 3.0])
    values[:, 2] = 60.0
    return learn(History(("a", "b", "sp"), np.arange(400.0), values), {"sp": "setpoint"})


def test_round_trip_is_exact(baseline: Baseline) -> None:
    content = baseline.to_bytes()
    again = Baseline.from_bytes(content)
    assert again.to_bytes() == content
    assert again.tags == baseline.tags
    assert again.calibration == baseline.calibration
    assert again.digest == baseline.digest
    assert np.array_equal(again.model.weights, baseline.model.weights)


def test_every_flipped_byte_is_refused_or_changes_the_digest(baseline: Baseline) -> None:
    content = bytearray(baseline.to_bytes())
    for at in range(0, len(content), 97):
        content[at] ^= 0x10
        with contextlib.suppress(ModelError):
            assert Baseline.from_bytes(bytes(content)).digest != baseline.digest
        content[at] ^= 0x10


@pytest.mark.parametrize("content", [b"", b"PK", b"\x00" * 1000, b"time,a\n1,2\n"])
def test_what_is_no_baseline_is_refused(content: bytes) -> None:
    with pytest.raises(BaselineError, match="learn it again"):
        Baseline.from_bytes(content)


def test_every_truncation_is_refused(baseline: Baseline) -> None:
    content = baseline.to_bytes()
    for end in range(0, len(content), 211):
        with pytest.raises(BaselineError):
            Baseline.from_bytes(content[:end])


def test_a_pickle_inside_is_never_loaded(baseline: Baseline) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(baseline.to_bytes())) as old, zipfile.ZipFile(out, "w") as new:
        for member in old.namelist():
            body = old.read(member)
            if member == "mean.npy":
                hostile = io.BytesIO()
                np.save(hostile, np.array([{"a": 1}], dtype=object), allow_pickle=True)
                body = hostile.getvalue()
            new.writestr(member, body)
    with pytest.raises(BaselineError, match="allow_pickle"):
        Baseline.from_bytes(out.getvalue())


def test_a_bomb_is_refused_unread(baseline: Baseline) -> None:
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(baseline.to_bytes())) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for member in old.namelist():
            new.writestr(member, bytes(10**7) if member == "weights.npy" else old.read(member))
    with pytest.raises(BaselineError, match="compressed or too large"):
        Baseline.from_bytes(out.getvalue())


@pytest.mark.parametrize(
    ("rows", "roles", "why"),
    [
        (10, {}, "at least 30"),
        (100, {"x": "setpoint"}, "'x' is not in the history"),
        (100, {"a": "sepoint"}, "'sepoint' of tag 'a' is none of"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(rows: int, roles: dict[str, str], why: str) -> None:
    values = np.random.default_rng(6).normal(size=(rows, 1))
    with pytest.raises(LearningError, match=why):
        learn(History(("a",), np.arange(float(rows)), values), roles)


def test_a_history_without_numbers_is_refused() -> None:
    with pytest.raises(LearningError, match="no tag holds numbers"):
        learn(History(("a",), np.arange(50.0), np.full((50, 1), np.nan)))


@pytest.mark.parametrize("tags", [1, 3, 300])
def test_any_number_of_tags_learns(tags: int) -> None:
    values = np.random.default_rng(7).normal(size=(120, tags))
    learned = learn(History(tuple(f"t{i}" for i in range(tags)), np.arange(120.0), values))
    assert learned.model.signals == tags
    assert learned.calibration.threshold > learned.calibration.typical


def test_clock_jumps_and_duplicates_are_left_out_and_told() -> None:
    times = np.arange(200.0)
    times[50] = 49.0
    times[100] = 3.0
    learned = learn(History(("a", "b"), times, np.random.default_rng(8).normal(size=(200, 2))))
    assert learned.rows == 198
    assert "1 rows left out: time repeated" in learned.notes
    assert "1 rows left out: time before the row before" in learned.notes


def test_kinds_are_recognised() -> None:
    n = 300
    random = np.random.default_rng(9)
    counter = (65000 + np.cumsum(random.integers(1, 9, n))) % 65536
    values = np.column_stack(
        [random.normal(size=n), random.random(n) > 0.5, np.full(n, 7.0), counter, np.full(n, np.nan)]
    )
    learned = learn(History(("m", "s", "c", "n", "u"), np.arange(float(n)), values.astype(float)))
    assert [str(t.kind) for t in learned.tags] == ["measured", "state", "constant", "counter", "unusable"]
    assert any("c never moved" in note for note in learned.notes)

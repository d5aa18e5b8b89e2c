"""The truth log and the host of a plant, on a given clock."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ullage_plant.errors import PlantError, RefusedWriteError
from ullage_plant.host import PlantHost
from ullage_plant.process import Plant
from ullage_plant.tags import BY_NAME
from ullage_plant.truth import TruthLog

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
LEVEL = BY_NAME["tank.level"].number


def host_of(path: Path | None, seed: int = 1, speed: float = 1.0) -> PlantHost:
    return PlantHost(Plant(seed=seed, settle=5.0), TruthLog(path), start=START, speed=speed, about={"seed": seed})


def records(path: Path, kind: str | None = None) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row for row in rows if kind in (None, row["kind"])]


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.integers(3, 200), st.sampled_from([1.0, 4.0]))
def test_lost_units_are_standard_less_made_and_add_up(
    tmp_path_factory: pytest.TempPathFactory, seed: int, still: int, speed: float
) -> None:
    path = tmp_path_factory.mktemp("truth") / "truth.jsonl"
    host = host_of(path, seed, speed)
    host.advance(1.0)
    host.command("line.run", 0, "test")
    host.advance(1.0 + still / 10)
    host.command("line.run", 1, "test")
    host.advance(30.0 + still / 10)
    host.stop()
    (outage,) = records(path, "outage")
    assert outage["lost_units"] == outage["standard_units"] - outage["made_units"]
    length = (datetime.fromisoformat(outage["end"]) - datetime.fromisoformat(outage["start"])).total_seconds()
    assert outage["standard_units"] == pytest.approx(10.0 * speed * length, abs=0.02 * speed)
    (stop,) = records(path, "stop")
    assert stop["standard"] - stop["made"] == pytest.approx(outage["lost_units"], abs=1e-6)
    assert stop["open_outage"] is None
    assert outage["start"] == "2026-01-01T12:00:01.000Z"


def test_the_log_has_start_commands_trip_states_and_a_total_each_second(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    host = host_of(path)
    host.advance(1.0)
    host.command("tank.level_setpoint", 95.0, "modbus 192.0.2.7:50000")
    host.advance(40.0)
    host.stop()
    (start,) = records(path, "start")
    assert (start["seed"], start["nominal_rate"], start["time"]) == (1, 10.0, "2026-01-01T12:00:00.000Z")
    (command,) = records(path, "command")
    assert (command["who"], command["tag"]) == ("modbus 192.0.2.7:50000", "tank.level_setpoint")
    assert (command["old"], command["new"], command["time"]) == (60.0, 95.0, "2026-01-01T12:00:01.000Z")
    (trip,) = records(path, "trip")
    assert trip["cause"] == "high-high level"
    (state,) = records(path, "state")
    assert (state["old"], state["new"], state["time"]) == ("running", "tripped", trip["time"])
    totals = records(path, "total")
    assert sorted({total["elapsed"] for total in totals} - {trip["elapsed"]}) == [float(second) for second in range(41)]
    (left,) = [total for total in totals if total["elapsed"] == trip["elapsed"]]
    assert left["made"] == left["standard"]
    assert totals[10]["made"] == totals[10]["standard"] == 100.0
    assert records(path, "stop")[0]["open_outage"] == trip["time"]
    assert [row["time"] for row in records(path)] == sorted(row["time"] for row in records(path))


def test_a_speed_below_nominal_is_an_outage_although_the_line_runs(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    host = host_of(path)
    host.command("line.speed_setpoint", 300.0, "test")
    host.advance(20.0)
    host.command("line.speed_setpoint", 600.0, "test")
    host.advance(30.0)
    (outage,) = records(path, "outage")
    assert outage["lost_units"] == pytest.approx(100.0, abs=5.0)
    assert records(path, "state") == []


def test_after_a_stall_the_host_catches_up_in_portions() -> None:
    host = host_of(None)
    assert host.advance(1000.0) is False
    for _ in range(10):
        if host.advance(1000.0):
            break
    assert host.plant.elapsed == 1000.0


def test_forces_change_the_report_and_not_the_process(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    host, free = host_of(path), host_of(None)
    host.force(LEVEL, 1, 33.0, "test")
    host.force(BY_NAME["line.power"].number, 2, 0.0, "test")
    frozen = host.report()["line.power"]
    host.advance(5.0)
    free.advance(5.0)
    assert host.report()["tank.level"] == 33.0
    assert host.report()["line.power"] == frozen != free.report()["line.power"]
    assert host.plant.readings == free.plant.readings
    host.force(LEVEL, 0, 0.0, "test")
    assert host.report()["tank.level"] == free.report()["tank.level"]
    host.clear_forces("test")
    assert host.report() == free.report()
    assert [row["mode"] for row in records(path, "force")] == ["value", "freeze", "release", "release"]


@pytest.mark.parametrize(("number", "mode", "value"), [(0, 1, 1.0), (LEVEL, 3, 1.0), (LEVEL, 1, float("nan"))])
def test_a_force_that_is_not_valid_is_refused(number: int, mode: int, value: float) -> None:
    host = host_of(None)
    with pytest.raises(RefusedWriteError):
        host.force(number, mode, value, "test")
    assert len(host.forces) == 0


def test_silence_lasts_as_long_as_was_said() -> None:
    host = host_of(None, speed=4.0)
    host.keep_silent(3, "test")
    host.advance(2.9)
    assert host.silent()
    host.advance(3.0)
    assert not host.silent()


def test_a_full_disk_is_told_in_a_sentence() -> None:
    with (
        pytest.raises(PlantError, match=r"cannot write the truth log .*make room"),
        TruthLog(Path("/dev/full")) as truth,
    ):
        truth.write(START, 0.0, "total", {})

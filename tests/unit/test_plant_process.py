"""The physics of the plant on a given clock."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ullage_plant.errors import RefusedWriteError
from ullage_plant.process import HIGH_HIGH, NOMINAL_RATE, STEP, Plant
from ullage_plant.tags import TAGS, LineState


def quick(seed: int = 1, count_start: int = 64900) -> Plant:
    return Plant(seed=seed, count_start=count_start, settle=10.0)


def until(plant: Plant, state: LineState, most: float = 60.0) -> float:
    began = plant.elapsed
    while plant.state is not state:
        assert plant.elapsed - began < most, f"not {state.name} within {most} s"
        plant.step(STEP)
    return plant.elapsed - began


def tripped(seed: int = 1) -> Plant:
    plant = quick(seed)
    plant.write("tank.level_setpoint", 95.0, "test")
    until(plant, LineState.TRIPPED)
    return plant


@settings(max_examples=10, deadline=None)
@given(st.integers(), st.lists(st.sampled_from([0.05, 0.1, 0.13, 0.5]), min_size=1, max_size=20))
def test_same_seed_same_steps_same_trajectory_bit_for_bit(seed: int, steps: list[float]) -> None:
    def trajectory() -> list[dict[str, float]]:
        plant = Plant(seed=seed, settle=2.0)
        rows = []
        for place, dt in enumerate(steps):
            if place == 3:
                plant.write("tank.level_setpoint", 80.0, "test")
            plant.step(dt)
            rows.append(dict(plant.readings))
        return rows

    assert trajectory() == trajectory()


def test_another_seed_is_another_trajectory() -> None:
    assert quick(1).readings != quick(2).readings


@given(st.lists(st.floats(min_value=0.0, max_value=0.4), max_size=40))
@settings(max_examples=20, deadline=None)
def test_step_gathers_what_is_left_of_an_inner_step(parts: list[float]) -> None:
    plant = Plant(seed=1, settle=0.0)
    for part in parts:
        plant.step(part)
    assert abs(plant.elapsed - sum(parts)) <= STEP + 1e-6


@pytest.mark.parametrize("dt", [-1.0, math.nan, math.inf])
def test_time_that_is_no_time_is_refused(dt: float) -> None:
    with pytest.raises(RefusedWriteError, match="finite"):
        quick().step(dt)


@pytest.mark.parametrize("seed", range(4))
def test_the_count_is_the_integral_of_the_speed(seed: int) -> None:
    plant = tripped(seed)
    plant.step(20.0)
    plant.write("tank.level_setpoint", 60.0, "test")
    plant.write("line.reset", 1, "test")
    plant.write("line.run", 1, "test")
    before, integral = plant.made, 0.0
    for _ in range(200):
        plant.step(STEP)
        integral += plant.speed / 60.0 * STEP
    assert plant.speed > 0
    assert plant.made - before == pytest.approx(integral, abs=1e-9)
    assert plant.bottles == int(plant.made)


@pytest.mark.parametrize("seed", range(4))
def test_the_level_is_the_mass_balance_of_the_flows(seed: int) -> None:
    plant = quick(seed)
    plant.write("tank.level_setpoint", 40.0, "test")
    before, litres = plant.level, 0.0
    for _ in range(1200):
        plant.step(STEP)
        inlet, outlet = plant.flows
        assert inlet >= 0
        assert outlet >= 0
        litres += (inlet - outlet) * STEP
    assert plant.level < before - 15
    assert plant.level - before == pytest.approx(litres / 500.0 * 100.0, abs=1e-6)


def test_normal_running_is_nominal_lively_and_stationary() -> None:
    plant = quick()
    rows = []
    for _ in range(6000):
        plant.step(0.1)
        rows.append(plant.readings)
    assert plant.made == pytest.approx(NOMINAL_RATE * 600.0, abs=1e-6)
    level = [row["tank.level"] for row in rows]
    assert 0.02 < statistics.pstdev(level) < 0.3
    assert statistics.mean(level[:3000]) == pytest.approx(statistics.mean(level[3000:]), abs=0.1)
    speed = [row["line.speed"] for row in rows]
    assert statistics.pstdev(speed) / statistics.mean(speed) == pytest.approx(0.003, rel=0.2)
    inlet, valve = [row["tank.inlet_flow"] for row in rows], [row["tank.inlet_valve"] for row in rows]
    assert abs(statistics.correlation(inlet, [row["tank.outlet_flow"] for row in rows])) > 0.5
    assert statistics.pstdev(valve) > 0.2
    assert all(statistics.pstdev([row[f"tank.{tag}"] for row in rows]) > 0 for tag in ("temperature", "heater_power"))


def test_readings_carry_every_tag_and_the_energy_meter_never_goes_back() -> None:
    plant = tripped()
    last = plant.readings["line.energy"]
    for _ in range(100):
        plant.step(0.1)
        assert plant.readings["line.energy"] > last
        last = plant.readings["line.energy"]
    assert set(plant.readings) == {tag.name for tag in TAGS}


@pytest.mark.parametrize("seed", range(6))
def test_a_raised_level_setpoint_trips_the_line_within_20_to_25_seconds(seed: int) -> None:
    plant = quick(seed)
    plant.write("tank.level_setpoint", 95.0, "test")
    assert 20.0 < until(plant, LineState.TRIPPED) < 25.0
    assert plant.level >= HIGH_HIGH
    plant.step(1.0)
    assert plant.speed == 0.0
    assert plant.flows[0] == 0.0


def test_a_reset_needs_a_level_within_its_limits_and_a_run_command() -> None:
    plant = tripped()
    plant.write("line.reset", 1, "test")
    plant.write("line.run", 1, "test")
    assert plant.state is LineState.TRIPPED
    assert [event.kind for event in plant.drain()].count("refused") == 2
    plant.step(15.0)
    plant.write("tank.level_setpoint", 60.0, "test")
    plant.write("line.reset", 1, "test")
    assert plant.state is LineState.STOPPED
    plant.step(5.0)
    assert plant.speed == 0.0
    plant.write("line.run", 1, "test")
    plant.step(2.0)
    assert plant.speed == 600.0
    plant.step(60.0)
    assert plant.state is LineState.RUNNING
    assert plant.level == pytest.approx(60.0, abs=1.0)


def test_an_emptied_tank_trips_the_line_and_can_be_filled_again() -> None:
    plant = quick()
    plant.write("tank.level_setpoint", 0.0, "test")
    until(plant, LineState.TRIPPED, 120.0)
    plant.write("tank.level_setpoint", 60.0, "test")
    plant.step(20.0)
    plant.write("line.reset", 1, "test")
    assert plant.state is LineState.STOPPED


def test_the_counter_rolls_over_at_16_bits() -> None:
    plant = quick(count_start=65530)
    plant.step(0.5)
    assert plant.count == 65535
    plant.step(0.1)
    assert plant.count == 0
    assert plant.bottles == 6


@pytest.mark.parametrize(
    ("tag", "value"),
    [("nope", 1.0), ("tank.level", 50.0), ("tank.level_setpoint", 101.0), ("line.speed_setpoint", math.nan)],
)
def test_a_write_that_is_not_valid_changes_nothing(tag: str, value: float) -> None:
    plant = quick()
    before = dict(plant.setpoints)
    with pytest.raises(RefusedWriteError):
        plant.write(tag, value, "test")
    assert plant.setpoints == before
    assert plant.drain() == []

"""Physics of a tank that feeds a filling line, on a clock that is given: no wall clock, no shared randomness.

A buffer tank of 500 litres is filled through a valve under level control, heated under temperature control, and
emptied by a pump that feeds the line (half a litre a bottle) and by a small rinse loop that goes on by gravity.
Supply pressure, rinse demand, fill volume and inlet temperature wander as Ornstein-Uhlenbeck processes, so that normal
running is lively, stationary, and correlated across tags. What the line makes carries no noise; what is reported does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Any

from .errors import RefusedWriteError
from .tags import BY_NAME, LineState

STEP = 0.05  # s, fixed inner step
_STEPS_PER_SECOND = 20  # the same step as a divisor, so that plant time does not gather rounding
NOMINAL_SPEED = 600.0  # bottles/min
NOMINAL_RATE = NOMINAL_SPEED / 60.0  # bottles/s
HIGH_HIGH = 90.0  # %, trips the line and shuts the inlet
LOW_LOW = 5.0  # %, trips the line before the pump runs dry

_VOLUME = 500.0  # L
_FULL_FLOW = 12.9  # L/s through the open valve at nominal pressure
_PRESSURE = 3.0  # bar
_RINSE = 1.0  # L/s
_FILL = 0.5  # L a bottle
_DUMP = 5.0  # L/s back to the buffer store through the valve that the high-high interlock opens
_DUMP_UNTIL = 64.0  # %
_INLET_TEMPERATURE = 55.0  # degC
_AMBIENT = 22.0  # degC
_HEATER_FULL = 600.0  # kW
_HEAT_CAPACITY = 4.18  # kJ/(L K), product taken as water
_LOSS = 0.15  # kW/K to the surroundings
_VALVE_STROKE = 25.0  # %/s under control
_VALVE_SLAM = 150.0  # %/s when the interlock shuts it
_RAMP_UP = NOMINAL_SPEED / 2.0  # bottles/min per s
_RAMP_DOWN = NOMINAL_SPEED / 0.8
_LEVEL_GAIN, _LEVEL_INTEGRAL = 10.0, 25.0  # % valve per % level, s
_HEAT_GAIN, _HEAT_INTEGRAL = 60.0, 25.0  # kW per K, s


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at ``at`` seconds of plant time, for the truth log."""

    at: float
    kind: str
    fields: dict[str, Any]


class _Wander:
    """An Ornstein-Uhlenbeck process around zero, started in its stationary state."""

    def __init__(self, random: Random, deviation: float, time_constant: float) -> None:
        self._random = random
        self._pull = STEP / time_constant
        self._kick = deviation * math.sqrt(2.0 * self._pull)
        self.value = random.gauss(0.0, deviation)

    def step(self) -> float:
        self.value += self._random.gauss(0.0, self._kick) - self.value * self._pull
        return self.value


def _towards(present: float, wanted: float, most: float) -> float:
    return wanted if abs(wanted - present) <= most else present + math.copysign(most, wanted - present)


class Plant:
    """The plant. Same seed, same steps, same writes at the same steps: the same trajectory, bit for bit.

    ``count_start`` is the first value of the 16-bit counter, ``energy_start`` (kWh) of the energy meter; ``settle``
    is how many seconds run before the records start, so that a run starts in normal running.
    """

    def __init__(
        self, *, seed: int, count_start: int = 64900, energy_start: float = 1250.0, settle: float = 60.0
    ) -> None:
        self._random = random = Random(seed)
        self._pressure = _Wander(random, 0.08, 10.0)
        self._rinse = _Wander(random, 0.08, 6.0)
        self._fill = _Wander(random, 0.004, 8.0)
        self._inlet = _Wander(random, 0.5, 15.0)
        self.setpoints = {
            name: float(BY_NAME[name].default or 0.0)
            for name in ("line.speed_setpoint", "tank.level_setpoint", "tank.temperature_setpoint")
        }
        self.run = True
        self.state = LineState.RUNNING
        self.speed = NOMINAL_SPEED
        self.level = self.setpoints["tank.level_setpoint"]
        self.temperature = self.setpoints["tank.temperature_setpoint"]
        self.made = 0.0
        self._energy = energy_start
        self._count_start = count_start
        self._seen_level = self.level
        self._level_sum = 100.0 * (NOMINAL_RATE * _FILL + _RINSE) / _FULL_FLOW
        self._heat_sum = 260.0
        self._valve = self._level_sum
        self._heat = self._heat_sum
        self._in = self._out = NOMINAL_RATE * _FILL + _RINSE
        self._high_high = self._below = self._inlet_shut = self._dumping = False
        self._left_over = 0.0
        self._events: list[Event] = []
        self.readings: dict[str, float] = {}
        self._steps = 0
        for _ in range(round(settle / STEP)):
            self._step()
        self._steps, self.made, self._energy = 0, 0.0, energy_start
        self._events.clear()
        self._measure()

    @property
    def elapsed(self) -> float:
        """Seconds of plant time since the start; a multiple of the inner step."""
        return self._steps / _STEPS_PER_SECOND

    @property
    def bottles(self) -> int:
        """Whole bottles made since the start, not rolled over."""
        return int(self.made)

    @property
    def count(self) -> int:
        """The 16-bit bottle counter."""
        return (self._count_start + self.bottles) % 65536

    @property
    def standard(self) -> float:
        """Bottles that the line would have made at nominal speed since the start."""
        return NOMINAL_RATE * self.elapsed

    @property
    def flows(self) -> tuple[float, float]:
        """Inlet and outlet flow (L/s) of the last inner step, without sensor noise."""
        return self._in, self._out

    def drain(self) -> list[Event]:
        """Events since the last call, oldest first."""
        events, self._events = self._events, []
        return events

    def step(self, dt: float) -> None:
        """Let ``dt`` seconds pass; what is left of an inner step is kept for the next call."""
        if not (math.isfinite(dt) and dt >= 0):
            raise RefusedWriteError(f"time cannot move by {dt!r} s: give a finite number of seconds >= 0")
        self._left_over += dt
        # A hair of tolerance, so that 0.1 twice is four steps whatever the rounding of the sum.
        while self._left_over >= STEP - 1e-9:
            self._left_over -= STEP
            self._step()

    def write(self, name: str, value: float, who: str) -> None:
        """Carry out a command at the present step; ``RefusedWriteError`` (nothing changed) if it is not valid."""
        tag = BY_NAME.get(name)
        if tag is None or tag.lowest is None or tag.highest is None:
            raise RefusedWriteError(f"{name!r} is not a tag that can be written: see the register map")
        if not (math.isfinite(value) and tag.lowest <= value <= tag.highest):
            raise RefusedWriteError(f"{name} = {value!r} is outside {tag.lowest:g} to {tag.highest:g} {tag.unit}")
        old = self._command(name)
        self._note("command", who=who, tag=name, old=old, new=float(value))
        if name == "line.run":
            self._run(bool(value))
        elif name == "line.reset":
            if value:
                self._reset()
        else:
            self.setpoints[name] = float(value)
        # A controller shows what it was told at once, before its next cycle.
        running = self.state is LineState.RUNNING
        self.readings.update(self.setpoints)
        self.readings.update({"line.run": int(self.run), "line.state": int(self.state), "line.running": int(running)})

    def _command(self, name: str) -> float:
        if name == "line.run":
            return float(self.run)
        return self.setpoints.get(name, 0.0)

    def _note(self, kind: str, **fields: float | str) -> None:
        self._events.append(Event(self.elapsed, kind, fields))

    def _enter(self, state: LineState, cause: str) -> None:
        if state is not self.state:
            self._note("state", old=self.state.name.lower(), new=state.name.lower(), cause=cause)
            self.state = state

    def _run(self, wanted: bool) -> None:
        if self.state is LineState.TRIPPED:
            if wanted:
                self._note("refused", what="line.run", why="the line is tripped: reset it first")
            return
        self.run = wanted
        self._enter(LineState.RUNNING if wanted else LineState.STOPPED, "run command")

    def _reset(self) -> None:
        if self.state is not LineState.TRIPPED:
            return
        if self._high_high or self.level <= LOW_LOW:
            self._note("refused", what="line.reset", why=f"level {self.level:.1f}% is still outside its limits")
            return
        self._inlet_shut = False
        self._enter(LineState.STOPPED, "trip reset")

    def _trip(self, cause: str) -> None:
        self._note("trip", cause=cause, level=self.level)
        self.run = False
        self._enter(LineState.TRIPPED, cause)

    def _step(self) -> None:
        """One inner step: interlocks, line, flows, tank, then what the sensors see."""
        self._high_high = self.level >= HIGH_HIGH
        if self.state is not LineState.TRIPPED:
            if self._high_high:
                self._inlet_shut = self._dumping = True
                self._trip("high-high level")
            elif self.level <= LOW_LOW and self.state is LineState.RUNNING:
                self._trip("low-low level")
        self._move_line()
        self._move_tank()
        self._steps += 1
        self._measure()

    def _move_line(self) -> None:
        wanted = self.setpoints["line.speed_setpoint"] if self.state is LineState.RUNNING else 0.0
        most = (_RAMP_UP if wanted > self.speed else _RAMP_DOWN) * STEP
        self.speed = _towards(self.speed, wanted, most)
        below = self.speed < NOMINAL_SPEED
        if below is not self._below:
            self._below = below
            self._note("below_standard" if below else "standard_again", made=self.made, standard=self.standard)
        self.made += self.speed / 60.0 * STEP

    def _move_tank(self) -> None:
        self._seen_level += (self.level + self._random.gauss(0.0, 0.06) - self._seen_level) * STEP / 0.4
        error = self.setpoints["tank.level_setpoint"] - self._seen_level
        wanted = _LEVEL_GAIN * error + self._level_sum
        if 0.0 < wanted < 100.0 and self.state is LineState.RUNNING:
            self._level_sum += _LEVEL_GAIN * error / _LEVEL_INTEGRAL * STEP
        if self._inlet_shut:
            wanted = 0.0
        stroke = (_VALVE_SLAM if self._inlet_shut else _VALVE_STROKE) * STEP
        self._valve = _towards(self._valve, min(100.0, max(0.0, wanted)), stroke)

        pressure = _PRESSURE + self._pressure.step()
        rinse = max(0.0, _RINSE + self._rinse.step())
        fill = _FILL + self._fill.step()
        room = (100.0 - self.level) / 100.0 * _VOLUME
        held = self.level / 100.0 * _VOLUME
        self._in = min(_FULL_FLOW * self._valve / 100.0 * math.sqrt(pressure / _PRESSURE), room / STEP)
        self._dumping = self._dumping and self.level > _DUMP_UNTIL
        dump = _DUMP if self._dumping else 0.0
        self._out = min(self.speed / 60.0 * fill + rinse + dump, held / STEP + self._in)

        heat_error = self.setpoints["tank.temperature_setpoint"] - self.temperature
        wanted_heat = _HEAT_GAIN * heat_error + self._heat_sum
        if 0.0 < wanted_heat < _HEATER_FULL:
            self._heat_sum += _HEAT_GAIN * heat_error / _HEAT_INTEGRAL * STEP
        self._heat += (min(_HEATER_FULL, max(0.0, wanted_heat)) - self._heat) * STEP / 1.5
        inlet = _INLET_TEMPERATURE + self._inlet.step()
        gain = self._heat + self._in * _HEAT_CAPACITY * (inlet - self.temperature)
        gain -= _LOSS * (self.temperature - _AMBIENT)
        self.temperature += gain / (_HEAT_CAPACITY * max(held, 25.0)) * STEP
        self.level += (self._in - self._out) / _VOLUME * 100.0 * STEP

    def _measure(self) -> None:
        gauss = self._random.gauss
        pump = self.speed > 0.0
        share = self.speed / NOMINAL_SPEED
        current = (6.0 + 5.5 * share + 0.02 * (60.0 - self.level)) if pump else 0.0
        power = 3.0 + 38.0 * share + 0.4 * current
        if self._steps:
            self._energy += power * STEP / 3600.0
        self.readings = {
            "line.speed": max(0.0, self.speed * (1.0 + gauss(0.0, 0.003))),
            "line.state": int(self.state),
            "line.count": self.count,
            "line.energy": self._energy,
            "line.power": max(0.0, power + gauss(0.0, 0.25)),
            "line.run": int(self.run),
            "line.reset": 0,
            "line.running": int(self.state is LineState.RUNNING),
            "tank.high_high": int(self.level >= HIGH_HIGH),
            "tank.level": self._seen_level,
            "tank.temperature": self.temperature + gauss(0.0, 0.03),
            "tank.inlet_valve": self._valve,
            "tank.inlet_flow": max(0.0, self._in * (1.0 + gauss(0.0, 0.004))),
            "tank.outlet_flow": max(0.0, self._out * (1.0 + gauss(0.0, 0.004))),
            "tank.supply_pressure": _PRESSURE + self._pressure.value + gauss(0.0, 0.004),
            "tank.heater_power": self._heat,
            "tank.pump_current": max(0.0, current + gauss(0.0, 0.04)) if pump else 0.0,
            "tank.pump_running": int(pump),
            **self.setpoints,
        }

"""One plant, its forces and its truth log on one given clock; both faces read and command it here."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from .errors import RefusedWriteError
from .forces import Forces
from .process import NOMINAL_RATE, STEP, Plant
from .tags import BY_NAME
from .truth import Outages, TruthLog

MOST_STEPS = 4000  # taken at once after a stall, so that a long one does not keep the faces from answering


class PlantHost:
    """Drives ``plant`` along ``start + elapsed / speed`` and writes down what happens.

    ``speed`` is seconds of plant time per second; all times that leave the host are times of the outside clock.
    """

    def __init__(
        self, plant: Plant, truth: TruthLog, *, start: datetime, speed: float = 1.0, about: dict[str, Any] | None = None
    ) -> None:
        self.plant = plant
        self.forces = Forces()
        self._truth = truth
        self._start = start
        self._speed = speed
        self._outages = Outages(self.time_at)
        self._steps = 0
        self._steps_per_total = max(1, round(speed / STEP))
        self._write("start", {**(about or {}), "nominal_rate": NOMINAL_RATE, "speed": speed})
        self._totals()

    @property
    def now(self) -> datetime:
        """Time of the last physics step."""
        return self.time_at(self.plant.elapsed)

    def time_at(self, elapsed: float) -> datetime:
        """The outside time of ``elapsed`` seconds of plant time."""
        return self._start + timedelta(seconds=elapsed / self._speed)

    def advance(self, seconds: float) -> bool:
        """Run the plant up to ``seconds`` after the start (outside clock); False if it has not caught up yet."""
        due = int(seconds * self._speed / STEP + 1e-9)
        last = min(due, self._steps + MOST_STEPS)
        while self._steps < last:
            self.plant.step(STEP)
            self._steps += 1
            self.note_events()
            if self._steps % self._steps_per_total == 0:
                self._totals()
        return self._steps >= due

    def report(self) -> dict[str, float]:
        """What both devices report now, by tag name."""
        return self.forces.over(self.plant.readings)

    def silent(self) -> bool:
        """Whether the Modbus device keeps silent now."""
        return self.plant.elapsed < self.forces.silent_until

    def command(self, name: str, value: float, who: str) -> None:
        """Write a setpoint or a coil. Raises ``RefusedWriteError``."""
        self.plant.write(name, value, who)
        self.note_events()

    def force(self, number: int, mode: int, value: float, who: str) -> None:
        """Set or release a force: mode 0 releases, 1 reports ``value``, 2 freezes the present report."""
        name = next((tag.name for tag in BY_NAME.values() if tag.number == number), None)
        if name is None or mode not in (0, 1, 2):
            raise RefusedWriteError(f"force of tag {number}, mode {mode}: no such tag or mode, see the register map")
        if mode == 0:
            self.forces.release(name)
        elif mode == 1:
            if value != value or abs(value) == float("inf"):
                raise RefusedWriteError(f"force of {name}: the value must be a finite number")
            self.forces.hold(name, value)
        else:
            value = self.report()[name]
            self.forces.hold(name, value)
        modes = ("release", "value", "freeze")
        self._write("force", {"who": who, "tag": name, "mode": modes[mode], "value": value if mode else None})

    def clear_forces(self, who: str) -> None:
        """Release every force."""
        self.forces.clear()
        self._write("force", {"who": who, "tag": None, "mode": "release", "value": None})

    def keep_silent(self, seconds: float, who: str) -> None:
        """Let the Modbus device not answer for ``seconds`` of the outside clock."""
        self.forces.silent_until = self.plant.elapsed + seconds * self._speed
        self._write("silence", {"who": who, "seconds": seconds})

    def stop(self) -> None:
        """Write the closing record."""
        plant = self.plant
        fields = {"bottles": plant.bottles, "made": plant.made, "standard": plant.standard}
        self._write("stop", {**fields, "open_outage": self._outages.open_since})

    def note_events(self) -> None:
        """Write what the plant reported since the last call."""
        for event in self.plant.drain():
            time, fields = self.time_at(event.at), event.fields
            outage = self._outages.take(event)
            if event.kind in ("below_standard", "standard_again"):
                # A total at the very moment, so that the totals are exact on both sides of it.
                fields = {"bottles": int(fields["made"]), **fields}
                self._truth.write(time, event.at, "total", fields)
            else:
                self._truth.write(time, event.at, event.kind, fields)
            if outage is not None:
                self._truth.write(time, event.at, "outage", outage)

    def _totals(self) -> None:
        plant = self.plant
        self._write("total", {"bottles": plant.bottles, "made": plant.made, "standard": plant.standard})

    def _write(self, kind: str, fields: dict[str, Any]) -> None:
        self._truth.write(self.now, self.plant.elapsed, kind, fields)

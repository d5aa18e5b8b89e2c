"""What an attacker on the plant network does, named by ATT&CK for ICS technique, as a table of Modbus writes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from .errors import PlantError
from .faces.line_image import float_words
from .tags import BY_NAME, FORCE_TAG, SILENCE, PlantTag

Does = Literal["set", "spoof", "freeze", "silence"]


@dataclass(frozen=True, slots=True)
class Write:
    """One write request: registers or coils from ``address`` on."""

    table: Literal["holding", "coil"]
    address: int
    values: tuple[int, ...]
    means: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """``tag`` and ``value`` are what is used unless the command line says otherwise."""

    name: str
    technique: str
    technique_name: str
    meaning: str
    does: Does
    tag: str | None = None
    value: float | None = None


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "modify-parameter",
        "T0836",
        "Modify Parameter",
        "raises the level setpoint above the high-high interlock; the tank fills and the line trips",
        "set",
        "tank.level_setpoint",
        95.0,
    ),
    Scenario(
        "spoof-reading",
        "T0856",
        "Spoof Reporting Message",
        "makes the controllers report a level that is not the level",
        "spoof",
        "tank.level",
        75.0,
    ),
    Scenario(
        "stop-line",
        "T0855",
        "Unauthorized Command Message",
        "sends the stop command to the line controller",
        "set",
        "line.run",
        0.0,
    ),
    Scenario(
        "freeze-value",
        "T0835",
        "Manipulate I/O Image",
        "freezes a reported value by a force in the controller's image",
        "freeze",
        "tank.inlet_flow",
    ),
    Scenario(
        "device-gone",
        "T0814",
        "Denial of Service",
        "makes the line controller accept connections and answer nothing for a while (value: seconds)",
        "silence",
        None,
        20.0,
    ),
)

BY_SCENARIO = {scenario.name: scenario for scenario in SCENARIOS}


def writes(scenario: Scenario, tag: str | None = None, value: float | None = None) -> list[Write]:
    """The writes of a scenario. Raises ``PlantError`` for an unknown tag or a value that cannot be written."""
    value = scenario.value if value is None else value
    if scenario.does == "silence":
        if tag is not None:
            raise PlantError(f"{scenario.name} concerns the whole device: leave out --tag")
        if value is None or not 1 <= value <= 65535:
            raise PlantError(f"{scenario.name}: --value is the number of seconds, from 1 to 65535")
        return [Write("holding", SILENCE, (int(value),), f"silence for {int(value)} s")]
    target = _tag(scenario, tag or scenario.tag)
    if scenario.does == "freeze":
        return [Write("holding", FORCE_TAG, (target.number, 2), f"freeze {target.name}")]
    if value is None or not math.isfinite(value):
        raise PlantError(f"{scenario.name}: give a finite number as --value")
    if scenario.does == "spoof":
        return [
            Write("holding", FORCE_TAG, (target.number, 1, *float_words(value)), f"report {target.name} = {value:g}")
        ]
    return [setting(target, value)]


def setting(tag: PlantTag, value: float) -> Write:
    """The write that sets a setpoint or a coil. Raises ``PlantError`` if the tag does not take it."""
    if tag.register is None or tag.lowest is None or tag.highest is None:
        allowed = ", ".join(one.name for one in BY_NAME.values() if one.writable)
        raise PlantError(f"{tag.name} cannot be written; what can: {allowed}")
    if not tag.lowest <= value <= tag.highest:
        raise PlantError(f"{tag.name} takes {tag.lowest:g} to {tag.highest:g}, not {value:g}")
    means = f"{tag.name} = {value:g}"
    if tag.register.table == "coil":
        return Write("coil", tag.register.address, (int(value),), means)
    return Write("holding", tag.register.address, tuple(float_words(value)), means)


def _tag(scenario: Scenario, name: str | None) -> PlantTag:
    tag = BY_NAME.get(name or "")
    if tag is None:
        raise PlantError(f"{scenario.name}: no tag is called {name!r}; the tags are {', '.join(BY_NAME)}")
    return tag

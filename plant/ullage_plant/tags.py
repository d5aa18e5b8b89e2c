"""The one table of tags: both faces, the commands and the register map in plant/README.md derive from it.

Two devices share the plant. The line controller speaks Modbus TCP, the tank controller OPC UA; a few tags are seen on
both. Modbus addresses are zero-based PDU addresses; a float32 takes two registers, big end first (ABCD).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

Table = Literal["holding", "coil", "discrete"]
Kind = Literal["float32", "uint16", "bool"]
OpcKind = Literal["Double", "Int32", "Int64", "Boolean"]


class LineState(IntEnum):
    """What the filling line's controller says about the line."""

    STOPPED = 0
    RUNNING = 1
    TRIPPED = 2


@dataclass(frozen=True, slots=True)
class Register:
    """Where a tag lies in the Modbus map."""

    table: Table
    address: int
    kind: Kind

    @property
    def width(self) -> int:
        """Registers (or bits) that the value takes."""
        return 2 if self.kind == "float32" else 1


@dataclass(frozen=True, slots=True)
class PlantTag:
    """One named, measured or commanded point; ``number`` is what the engineering block calls it."""

    number: int
    name: str
    unit: str
    meaning: str
    register: Register | None = None
    node: OpcKind | None = None
    lowest: float | None = None
    highest: float | None = None
    default: float | None = None

    @property
    def writable(self) -> bool:
        """Whether a command may set it (then it has limits)."""
        return self.lowest is not None and self.highest is not None


def _holding(address: int, kind: Kind) -> Register:
    return Register("holding", address, kind)


TAGS: tuple[PlantTag, ...] = (
    PlantTag(1, "line.speed", "bottles/min", "speed of the filling line", _holding(0, "float32")),
    PlantTag(
        2,
        "line.speed_setpoint",
        "bottles/min",
        "wanted speed",
        _holding(2, "float32"),
        lowest=0,
        highest=900,
        default=600,
    ),
    PlantTag(3, "line.state", "", "0 stopped, 1 running, 2 tripped", _holding(4, "uint16"), node="Int32"),
    PlantTag(4, "line.count", "bottles", "bottle counter, rolls over at 65536", _holding(5, "uint16"), node="Int32"),
    PlantTag(5, "line.energy", "kWh", "energy meter of the line", _holding(6, "float32")),
    PlantTag(6, "line.power", "kW", "electrical power of the line", _holding(8, "float32")),
    PlantTag(
        7,
        "tank.level_setpoint",
        "%",
        "wanted level",
        _holding(10, "float32"),
        lowest=0,
        highest=100,
        default=60,
    ),
    PlantTag(
        8,
        "tank.temperature_setpoint",
        "degC",
        "wanted product temperature",
        _holding(12, "float32"),
        lowest=0,
        highest=120,
        default=65,
    ),
    PlantTag(9, "line.run", "", "run command", Register("coil", 0, "bool"), lowest=0, highest=1, default=1),
    PlantTag(
        10,
        "line.reset",
        "",
        "trip reset, falls back by itself",
        Register("coil", 1, "bool"),
        lowest=0,
        highest=1,
        default=0,
    ),
    PlantTag(11, "line.running", "", "the line runs", Register("discrete", 0, "bool")),
    PlantTag(12, "tank.high_high", "", "level above the interlock", Register("discrete", 1, "bool")),
    PlantTag(13, "tank.level", "%", "level", node="Double"),
    PlantTag(14, "tank.temperature", "degC", "product temperature", node="Double"),
    PlantTag(15, "tank.inlet_valve", "%", "inlet valve position", node="Double"),
    PlantTag(16, "tank.inlet_flow", "L/s", "inlet flow", node="Double"),
    PlantTag(17, "tank.outlet_flow", "L/s", "flow to the line, the rinse loop and the dump valve", node="Double"),
    PlantTag(18, "tank.supply_pressure", "bar", "supply pressure before the valve", node="Double"),
    PlantTag(19, "tank.heater_power", "kW", "heat given to the product", node="Double"),
    PlantTag(20, "tank.pump_current", "A", "current of the line pump", node="Double"),
    PlantTag(21, "tank.pump_running", "", "the line pump runs", node="Boolean"),
)

BY_NAME: dict[str, PlantTag] = {tag.name: tag for tag in TAGS}
BY_NUMBER: dict[int, PlantTag] = {tag.number: tag for tag in TAGS}

# The engineering block: forces, as a programming tool sets them in a real controller. They act on what is reported,
# on both faces, never on the process itself.
FORCE_TAG = 100  # uint16: number of the tag in the table above
FORCE_MODE = 101  # uint16: 0 release, 1 report the value of 102-103, 2 freeze the present report; a write here acts
FORCE_VALUE = 102  # float32
SILENCE = 104  # uint16: the Modbus device stays silent for so many seconds (connections stay open)
CLEAR_FORCES = 105  # uint16: write 1 to release every force
FORCE_COUNT = 106  # uint16, read only: forces in effect
ENGINEERING = range(FORCE_TAG, FORCE_COUNT + 1)

UNIT = 1
TICK = 0.1  # s between two updates of the OPC UA nodes
NAMESPACE = "urn:ullage:plant"


def register_map() -> list[tuple[str, str, str, str, str, str]]:
    """Rows of the Modbus map: address, type, tag, unit of measure, access, meaning (for documents)."""
    rows: list[tuple[str, str, str, str, str, str]] = []
    for tag in TAGS:
        if tag.register is None:
            continue
        access = "read, write" if tag.writable else "read"
        address = f"{tag.register.table}:{tag.register.address}"
        rows.append((address, tag.register.kind, tag.name, tag.unit, access, tag.meaning))
    return rows


def node_list() -> list[tuple[str, str, str, str]]:
    """Rows of the OPC UA node list: node id, type, unit of measure, meaning (for documents)."""
    return [(f"ns=2;s={tag.name}", tag.node, tag.unit, tag.meaning) for tag in TAGS if tag.node]

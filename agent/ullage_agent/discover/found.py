"""What a look at a network address brings to light."""

from __future__ import annotations

from dataclasses import dataclass, field

from ullage_protocols.field.base import Identity
from ullage_protocols.field.modbus.spec import ModbusDevice

from .guess import Guess
from .ranges import Range
from .sunspec import Model


@dataclass
class UnitFound:
    """A Modbus unit: ``ranges`` by table, ``whole`` False where there may be more."""

    device: ModbusDevice
    identity: Identity = field(default_factory=Identity)
    ranges: dict[str, list[Range]] = field(default_factory=dict)
    whole: bool = True
    models: list[Model] = field(default_factory=list)
    guesses: list[Guess] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class NodeFound:
    """A variable of an OPC UA server. ``meaning`` as a companion specification has it; ``role`` is a guess; ``sure``
    False: to be written down, but commented out."""

    path: str
    node: str
    name: str
    type: str
    value: float | int | bool | str | None
    meaning: str
    role: str
    sure: bool


@dataclass
class ServerFound:
    """An OPC UA server: what it says it is (as ``browse.survey`` has it), and its variables."""

    url: str
    told: dict[str, object]
    nodes: list[NodeFound]
    whole: bool

"""The agent's configuration: what it holds once it has been found whole. ``read`` makes it from TOML."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ullage_protocols.field.modbus.spec import ModbusDevice
from ullage_protocols.field.opcua.spec import OpcuaDevice
from ullage_protocols.keys import PublicKey
from ullage_protocols.mqtt import BrokerSettings

ROLES = ("count", "running", "energy", "setpoint", "command", "state", "measurement")
LINE_ROLES = ("count", "running", "energy")
"""Roles that say what a line makes; such a tag names its line."""


@dataclass(frozen=True, slots=True)
class TagConfig:
    """One tag, read every ``scan`` seconds (0: as often as its device).

    ``modulus`` is where a counter starts over at 0, in the tag's own units; None: nowhere.
    ``watch`` tells whether the tag is part of the rows that detection judges.
    """

    name: str
    role: str
    line: str
    watch: bool
    modulus: float | None = None
    scan: float = 0.0


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """One device: how it is reached (``spec``), how often (``scan`` seconds, where a tag has no interval of its own),
    and its tags in order. ``identify`` tells whether it is asked what it is."""

    name: str
    scan: float
    spec: ModbusDevice | OpcuaDevice
    tags: tuple[TagConfig, ...]
    identify: bool = True

    @property
    def protocol(self) -> str:
        """The protocol's name in the configuration."""
        return "opcua" if isinstance(self.spec, OpcuaDevice) else self.spec.protocol

    @property
    def encrypted(self) -> bool:
        """Whether nobody on the way can read what passes."""
        if isinstance(self.spec, OpcuaDevice):
            return self.spec.security is not None and self.spec.security.mode == "SignAndEncrypt"
        return self.spec.protocol == "modbus-tls"

    @property
    def scans(self) -> tuple[float, ...]:
        """The scan interval of each group of tags, in the order of the client's groups."""
        return tuple(dict.fromkeys(tag.scan or self.scan for tag in self.tags))

    @property
    def patience(self) -> float:
        """Seconds without a good reading after which a value is stale and a stretch is blind."""
        return patience(min(self.scans, default=self.scan))


def patience(scan: float) -> float:
    """Seconds without a good reading after which a value read every ``scan`` seconds is stale."""
    return max(3.0 * scan, 2.0)


@dataclass(frozen=True, slots=True)
class Address:
    """Where the agent answers on loopback: host and port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Config:
    """Everything, with durations in seconds, sizes in bytes and absolute paths.

    ``scorer`` is the key in ``scorer_file``, None where it was not to be read.
    ``listen`` is where metrics and health are answered, None: nowhere; ``log`` is "text" or "json".
    """

    path: Path
    agent: str
    state: Path
    heartbeat: float
    broker: BrokerSettings
    scorer: PublicKey | None
    baseline: Path
    learn: float
    trigger: str
    interval: float
    production: float
    outbox: int
    listen: Address | None
    log: str
    devices: tuple[DeviceConfig, ...]
    scorer_file: Path | None = None

    @property
    def key(self) -> Path:
        """The agent's private key."""
        return self.state / "agent.key"

    @property
    def tags(self) -> tuple[TagConfig, ...]:
        return tuple(tag for device in self.devices for tag in device.tags)

    @property
    def watched(self) -> tuple[str, ...]:
        """Names of the tags that make up a row, in configured order."""
        return tuple(tag.name for tag in self.tags if tag.watch)

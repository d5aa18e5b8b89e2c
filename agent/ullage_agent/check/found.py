"""What a check finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ullage_protocols.sample import Quality, Value


@dataclass(frozen=True, slots=True)
class TagFound:
    """One tag as it was read: ``age`` seconds of the device's own time, ``trip`` seconds of the read it was part of.

    ``text`` is the value as a person reads it, with unit and name; ``order`` and ``order_value`` the byte order that
    would read a likelier value, and that value.
    """

    device: str
    tag: str
    value: Value | None
    text: str
    unit: str
    named: str
    quality: str
    age: float | None
    trip: float | None
    reason: str
    order: str = ""
    order_value: float | int | None = None
    spared: bool = False

    @property
    def good(self) -> bool:
        return self.spared or self.quality == Quality.GOOD


@dataclass(frozen=True, slots=True)
class DeviceFound:
    """One device: what it says it is, and how it is reached. ``anonymous``: whether its server lets anybody in, None
    where it does not say; ``certificate_expires`` in ISO 8601; ``clock_ahead`` seconds that its clock is before ours.
    """

    device: str
    protocol: str
    where: str
    vendor: str
    product: str
    model: str
    firmware: str
    state: str
    encrypted: bool
    anonymous: bool | None
    certificate: str
    certificate_expires: str
    clock_ahead: float | None
    good: bool
    told: str


@dataclass(frozen=True, slots=True)
class PartFound:
    """One other part: agent, state folder, keys, baseline, trust, clock, broker."""

    part: str
    good: bool
    told: str


@dataclass(frozen=True, slots=True)
class Found:
    """Everything."""

    tags: tuple[TagFound, ...]
    devices: tuple[DeviceFound, ...]
    parts: tuple[PartFound, ...]

    @property
    def good(self) -> bool:
        return not self.faults

    @property
    def faults(self) -> int:
        """How many are not as they should be."""
        return sum(not good for good in self._each())

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self.tags) + len(self.devices) + len(self.parts)

    def _each(self) -> Iterator[bool]:
        yield from (tag.good for tag in self.tags)
        yield from (device.good for device in self.devices)
        yield from (part.good for part in self.parts)

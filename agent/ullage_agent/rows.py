"""Latest samples, and the rows that detection judges. Pure; the time is an argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ullage_protocols.sample import Quality, Sample

from .config import Config
from .poll import DeviceHealth


@dataclass(frozen=True, slots=True)
class Row:
    """Values by tag at ``time``; ``missing`` says why a tag has none, once that has lasted."""

    time: datetime
    values: Mapping[str, float | None]
    missing: Mapping[str, str]

    @property
    def share(self) -> float:
        """The share (0-1) of tags with a value."""
        return sum(value is not None for value in self.values.values()) / max(1, len(self.values))


class Rows:
    """Gathers samples; gives a row of the watched tags.

    A value older than its device's patience is no value. A tag without one is told as missing only once it has
    been without for that long: one missed poll is no finding.
    """

    def __init__(self, config: Config) -> None:
        self._patience = {tag.name: device.patience for device in config.devices for tag in device.tags}
        self._device = {tag.name: device.name for device in config.devices for tag in device.tags}
        self._names = config.watched
        self._latest: dict[str, Sample] = {}
        self._good: dict[str, datetime] = {}
        self._first: datetime | None = None

    def take(self, samples: Iterable[Sample]) -> None:
        for sample in samples:
            self._latest[sample.tag] = sample
            self._first = self._first or sample.seen_time
            if sample.quality is not Quality.BAD:
                self._good[sample.tag] = sample.seen_time

    def value(self, tag: str) -> float | None:
        """The latest value, however old."""
        sample = self._latest.get(tag)
        return None if sample is None else sample.number

    def fresh(self, tag: str, now: datetime) -> bool:
        good = self._good.get(tag)
        return good is not None and (now - good).total_seconds() <= self._patience[tag]

    def row(self, now: datetime, health: Mapping[str, DeviceHealth]) -> Row:
        values: dict[str, float | None] = {}
        missing: dict[str, str] = {}
        for tag in self._names:
            sample = self._latest.get(tag)
            values[tag] = sample.number if sample is not None and self.fresh(tag, now) else None
            since = self._good.get(tag, self._first)
            if values[tag] is None and since is not None and (now - since).total_seconds() > self._patience[tag]:
                state = health[self._device[tag]].state(now)
                why = state.reason if state.state == "lost" else ""
                missing[tag] = why or (sample.reason if sample is not None and sample.reason else "no recent value")
        return Row(now, values, missing)

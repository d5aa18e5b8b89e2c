"""The production meters of all lines: from polled samples to sealed intervals, and their state over a restart."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from ullage_protocols.errors import WireError
from ullage_protocols.messages import Production
from ullage_protocols.sample import Quality, Sample

from .config import LINE_ROLES, Config, DeviceConfig, TagConfig
from .outbox import Draft
from .production import LineConfig, Meter, Reading

Sealing = tuple[list[Draft], dict[str, str]]
"""Drafts, and what must be kept in the same transaction."""


class Lines:
    """``kept`` gives what an earlier run kept under a name."""

    def __init__(self, config: Config, kept: Callable[[str], str | None]) -> None:
        self.notes: list[str] = []
        self._meters: dict[str, Meter] = {}
        self._identity: dict[str, str] = {}
        tags: dict[str, dict[str, TagConfig]] = {}
        patience: dict[str, float] = {}
        for device in config.devices:
            for tag in device.tags:
                if tag.role in LINE_ROLES:
                    tags.setdefault(tag.line, {})[tag.role] = tag
                    patience[tag.line] = max(patience.get(tag.line, 0.0), device.patience)
        for line, by_role in tags.items():
            modulus = by_role["count"].modulus if "count" in by_role else None
            self._identity[line] = json.dumps([[role, tag.name, tag.modulus] for role, tag in sorted(by_role.items())])
            settings = LineConfig(line, frozenset(by_role), config.production, patience[line], modulus)
            self._meters[line] = self._meter(settings, kept(f"meter.{line}"))

    def _meter(self, settings: LineConfig, kept: str | None) -> Meter:
        if kept:
            try:
                body = json.loads(kept)
                if body["of"] == self._identity[settings.name]:
                    return Meter(settings, body["state"])
                self.notes.append(f"line {settings.name} has other tags than before; its intervals start anew")
            except (ValueError, KeyError, TypeError, WireError) as exc:
                self.notes.append(f"the meter of line {settings.name} cannot be restored ({exc}); it starts anew")
        return Meter(settings)

    def take(self, device: DeviceConfig, samples: Sequence[Sample], stretch: float) -> Iterator[Sealing]:
        """One poll of a device; what it ended, line by line."""
        by_line: dict[str, dict[str, Sample]] = {}
        for tag, sample in zip(device.tags, samples, strict=True):
            if tag.role in LINE_ROLES:
                by_line.setdefault(tag.line, {})[tag.role] = sample
        for line, found in by_line.items():
            ended = self._meters[line].take(_reading(found, device.scan), stretch=stretch)
            if ended:
                yield self._sealing(line, ended)

    def tick(self, now: datetime) -> Iterator[Sealing]:
        for line, meter in self._meters.items():
            if ended := meter.tick(now):
                yield self._sealing(line, ended)

    def finish(self) -> Iterator[Sealing]:
        for line, meter in self._meters.items():
            if ended := meter.finish():
                yield self._sealing(line, ended)

    def _sealing(self, line: str, ended: Sequence[Production]) -> Sealing:
        state = json.dumps({"of": self._identity[line], "state": self._meters[line].persist()})
        return [Draft(interval, line) for interval in ended], {f"meter.{line}": state}


def _reading(found: dict[str, Sample], scan: float) -> Reading:
    def number(role: str) -> float | None:
        return found[role].number if role in found else None

    running = number("running")
    first = next(found[role] for role in LINE_ROLES if role in found)
    # A device's own time is nearer to the event than the poll; but an old one only says when the value last changed.
    age = first.seen_time - first.source_time
    time = first.source_time if timedelta(0) <= age <= timedelta(seconds=scan) else first.seen_time
    sure = all(sample.quality is Quality.GOOD for sample in found.values())
    return Reading(time, number("count"), None if running is None else running != 0, number("energy"), sure)

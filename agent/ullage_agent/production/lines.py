"""The production meters of all lines: from scans to sealed intervals, and their state over a restart."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ullage_protocols.errors import WireError
from ullage_protocols.field.modbus.spec import ModbusTag
from ullage_protocols.field.opcua.spec import OpcuaTag
from ullage_protocols.field.scan import BAD, GOOD, Scan
from ullage_protocols.messages import Production

from ..config import LINE_ROLES, Config, DeviceConfig, TagConfig, patience
from ..custody.outbox import Draft, Sealing
from .meter import LineConfig, Meter, Reading


@dataclass(frozen=True, slots=True)
class _Found:
    """A tag's last reading: its number (None: bad, or no number) and whether it is surely good."""

    number: float | None
    sure: bool


class Lines:
    """``kept`` gives what an earlier run kept under a name."""

    def __init__(self, config: Config, kept: Callable[[str], str | None], before: Lines | None = None) -> None:
        """``before``: the lines of an earlier configuration, which is not used any more. Lines that are the same go on
        without a cut; the intervals of the others end, in ``ended``, and what is measured by the same tags goes on from
        there."""
        self.notes: list[str] = []
        self.ended: list[Sealing] = []
        self._meters: dict[str, Meter] = {}
        self._settings: dict[str, LineConfig] = {}
        self._identity: dict[str, str] = {}
        self._roles = {
            device.name: {p: (tag.line, tag.role) for p, tag in enumerate(device.tags) if tag.role in LINE_ROLES}
            for device in config.devices
        }
        self._rows: dict[tuple[str, int], tuple[tuple[str, tuple[tuple[str, int], ...]], ...]] = {}
        self._held: dict[str, dict[str, _Found]] = {}
        self._scan = {device.name: min(device.scans, default=device.scan) for device in config.devices}
        tags: dict[str, dict[str, TagConfig]] = {}
        places: dict[str, str] = {}
        patiences: dict[str, float] = {}
        for device in config.devices:
            for position, tag in enumerate(device.tags):
                if tag.role in LINE_ROLES:
                    places[tag.name] = f"{device.name} {_place(device.spec.tags[position])}"
                    tags.setdefault(tag.line, {})[tag.role] = tag
                    slow = patience(tag.scan or device.scan)
                    patiences[tag.line] = max(patiences.get(tag.line, 0.0), slow)
        for line, by_role in tags.items():
            modulus = by_role["count"].modulus if "count" in by_role else None
            # Where it is read counts too: another register under the same name is another counter.
            self._identity[line] = json.dumps(
                [[role, tag.name, tag.modulus, places[tag.name]] for role, tag in sorted(by_role.items())]
            )
            settings = LineConfig(line, frozenset(by_role), config.production, patiences[line], modulus)
            self._settings[line] = settings
            if before is not None and before._settings.get(line) == settings and before._same(self, line):
                self._meters[line] = before._meters[line]
                self._held[line] = before._held.get(line, {})
            elif before is not None and line in before._meters:
                self.ended += before._end(line)
                self._meters[line] = self._meter(settings, before._state(line))
            else:
                self._meters[line] = self._meter(settings, kept(f"meter.{line}"))
        if before is not None:
            self.ended += [sealing for line in before._meters.keys() - tags.keys() for sealing in before._end(line)]

    def _same(self, other: Lines, line: str) -> bool:
        return self._identity[line] == other._identity[line]

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

    def take(self, device: DeviceConfig, group: int | None, scan: Scan, stretch: float) -> Iterator[Sealing]:
        """One scan of a device; what it ended, line by line. A report of changes (None) lets all else hold."""
        roles = self._roles[device.name]
        if not roles:
            return
        if group is None:
            yield from self._changes(device, roles, scan, stretch)
            return
        rows = self._rows.get((device.name, group))
        if rows is None:
            found: dict[str, list[tuple[str, int]]] = {}
            for row, position in enumerate(scan.columns.positions):
                if position in roles:
                    line, role = roles[position]
                    found.setdefault(line, []).append((role, row))
            rows = tuple((line, tuple(places)) for line, places in found.items())
            self._rows[device.name, group] = rows
        for line, places in rows:
            readings = {role: _found(scan, row) for role, row in places}
            first = min(LINE_ROLES.index(role) for role, _ in places)
            row = next(row for role, row in places if role == LINE_ROLES[first])
            yield from self._reading(line, readings, self._time(scan, row, device.name), stretch)

    def _changes(
        self, device: DeviceConfig, roles: Mapping[int, tuple[str, str]], scan: Scan, stretch: float
    ) -> Iterator[Sealing]:
        for row, position in enumerate(scan.columns.positions):
            if position not in roles:
                continue
            line, role = roles[position]
            held = self._held.setdefault(line, {})
            held[role] = _found(scan, row)
            yield from self._reading(line, {role: held[role]}, self._time(scan, row, device.name), stretch)
        for line in dict.fromkeys(line for line, _ in roles.values()):
            mine = {role for of, role in roles.values() if of == line}
            held = {role: found for role, found in self._held.get(line, {}).items() if role in mine}
            if held:
                yield from self._reading(line, held, scan.seen, stretch)

    def _time(self, scan: Scan, row: int, device: str) -> datetime:
        # A device's own time is nearer to the event than the poll; an old one only says when the value last changed.
        if scan.source is not None:
            source = float(scan.source[row])
            if 0 <= scan.seen.timestamp() - source <= self._scan[device]:
                return datetime.fromtimestamp(source, UTC)
        return scan.seen

    def _reading(self, line: str, found: Mapping[str, _Found], time: datetime, stretch: float) -> Iterator[Sealing]:
        def number(role: str) -> float | None:
            return found[role].number if role in found else None

        running = number("running")
        sure = all(one.sure for one in found.values())
        reading = Reading(time, number("count"), None if running is None else running != 0, number("energy"), sure)
        if ended := self._meters[line].take(reading, stretch=stretch):
            yield self._sealing(line, ended)

    def tick(self, now: datetime) -> Iterator[Sealing]:
        for line, meter in self._meters.items():
            if ended := meter.tick(now):
                yield self._sealing(line, ended)

    def finish(self) -> Iterator[Sealing]:
        """The open intervals end with their last readings."""
        for line in self._meters:
            yield from self._end(line)

    def _end(self, line: str) -> Iterator[Sealing]:
        if ended := self._meters[line].finish():
            yield self._sealing(line, ended)

    def _state(self, line: str) -> str:
        return json.dumps({"of": self._identity[line], "state": self._meters[line].persist()})

    def _sealing(self, line: str, ended: Sequence[Production]) -> Sealing:
        return [Draft(interval, line) for interval in ended], {f"meter.{line}": self._state(line)}


def _place(tag: ModbusTag | OpcuaTag) -> str:
    """Where a tag is read, and as what."""
    if isinstance(tag, OpcuaTag):
        return tag.node or tag.path
    return f"{tag.table}:{tag.address} {tag.type} {tag.order} {tag.bit} {tag.byte} {tag.scale} {tag.offset}"


def _found(scan: Scan, row: int) -> _Found:
    quality, number = scan.quality[row], float(scan.values[row])
    return _Found(None if quality == BAD or number != number else number, bool(quality == GOOD))

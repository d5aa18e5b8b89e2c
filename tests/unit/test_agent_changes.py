"""Reports of changes (subscriptions): what is not told anew still holds, as long as the server says that it lives."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
from ullage_agent.config import Config
from ullage_agent.config.read import read
from ullage_agent.field.health import DeviceHealth
from ullage_agent.judging.rows import Rows
from ullage_agent.production.lines import Lines
from ullage_protocols.field.scan import BAD, GOOD, Columns, Scan
from ullage_protocols.keys import SigningKey
from ullage_protocols.messages import Production

TEXT = """
agent = {id = "gw"}
broker = {host = "127.0.0.1"}
scorer = {public_key = "scorer.pub"}
production = {interval = "10s"}
[[device]]
name = "line"
protocol = "opcua"
url = "opc.tcp://127.0.0.1:4840"
mode = "subscribe"
scan = "1s"
  [[device.tag]]
  name = "count"
  node = "ns=2;s=count"
  role = "count"
  line = "l"
  [[device.tag]]
  name = "running"
  node = "ns=2;s=running"
  role = "running"
  line = "l"
  [[device.tag]]
  name = "level"
  node = "ns=2;s=level"
"""
NAMES = ("count", "running", "level")
START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def config(folder: Path) -> Config:
    (folder / "scorer.pub").write_text(SigningKey.generate().public.to_text())
    return read(TEXT, folder / "agent.toml")


def report(seconds: float, *changes: tuple[int, float | None]) -> Scan:
    """Tags by position with their new values, None: bad; in the order in which they changed."""
    positions = tuple(position for position, _ in changes)
    values = np.array([np.nan if value is None else value for _, value in changes])
    quality = np.array([BAD if value is None else GOOD for _, value in changes], np.uint8)
    reasons = {row: "sensor failed" for row, (_, value) in enumerate(changes) if value is None}
    columns = Columns(positions, tuple(NAMES[position] for position in positions))
    return Scan(columns, values, quality, at(seconds), reasons=reasons)


def test_a_value_holds_while_the_server_lives_and_no_longer(tmp_path: Path) -> None:
    settings = config(tmp_path)
    rows, device = Rows(settings), settings.devices[0]
    health = {"line": DeviceHealth(device, at(0))}

    def take(scan: Scan) -> None:
        rows.take("line", None, scan)
        health["line"].answered(None, scan)

    def row(seconds: float) -> list[float]:
        return rows.row(at(seconds), health).values.tolist()

    take(report(0, (0, 5.0), (1, 1.0), (2, 50.0), (2, 51.0)))
    assert row(0.5) == [5.0, 1.0, 51.0], "of a tag that stands in several rows the last one counts"
    for second in (2, 4, 6, 8):
        take(report(second))
    assert row(8.5) == [5.0, 1.0, 51.0], "nothing changed, and the server said so"
    take(report(9, (2, None)))
    assert np.isnan(row(9.5)[2])
    take(report(12))
    assert np.isnan(row(12.5)[2]), "a bad value does not become good by nothing being said of it"
    assert rows.row(at(13), health).missing == {"level": "sensor failed"}
    assert health["line"].state(at(13)).state == "degraded", "nor does its device become well"
    assert np.isnan(row(60)).all(), "the server fell silent"


def test_a_line_is_measured_from_changes_alone(tmp_path: Path) -> None:
    settings = config(tmp_path)
    device, lines = settings.devices[0], Lines(settings, lambda _: None)
    found: list[Production] = []

    def take(scan: Scan) -> None:
        for drafts, _ in lines.take(device, None, scan, 1.0):
            found.extend(one.message for one in drafts if isinstance(one.message, Production))

    take(report(0, (0, 100.0), (1, 1.0)))
    for second in range(1, 21):
        take(report(second, (0, 100.0 + 2 * second)))
    take(report(20.5, (1, 0.0)))
    for second in range(21, 41):
        take(report(second))
    found.extend(_messages(list(lines.finish())))
    assert sum(one.count or 0 for one in found) == 40
    assert all(a.end == b.start for a, b in pairwise(found))
    assert all(one.observed > 0.99 for one in found), "what holds is seen"
    assert 20 <= sum(one.running for one in found) <= 21
    assert found[-1].count == 0


def _messages(sealings: Sequence[tuple[list[object], dict[str, str]]]) -> list[Production]:
    return [one.message for drafts, _ in sealings for one in drafts if isinstance(one.message, Production)]  # type: ignore[attr-defined]


SLOW_ENERGY = """
agent = {id = "gw"}
broker = {host = "127.0.0.1"}
scorer = {public_key = "scorer.pub"}
production = {interval = "20s"}
[[device]]
name = "plc"
protocol = "modbus-tcp"
host = "127.0.0.1"
scan = "1s"
  [[device.tag]]
  name = "count"
  address = "holding:REGISTER"
  role = "count"
  line = "l"
  [[device.tag]]
  name = "energy"
  address = "holding:2"
  role = "energy"
  line = "l"
  scan = "5s"
"""


def slow_energy(folder: Path, register: int = 0) -> Config:
    (folder / "scorer.pub").write_text(SigningKey.generate().public.to_text())
    return read(SLOW_ENERGY.replace("REGISTER", str(register)), folder / "agent.toml")


def group(number: int, name: str, value: float, seconds: float) -> Scan:
    return Scan(Columns((number,), (name,)), np.array([value]), np.zeros(1, np.uint8), at(seconds))


def test_energy_that_is_read_more_seldom_than_the_count_is_metered(tmp_path: Path) -> None:
    settings = slow_energy(tmp_path)
    device, lines = settings.devices[0], Lines(settings, lambda _: None)
    found = []
    for second in range(44):
        found += _messages(list(lines.take(device, 0, group(0, "count", float(second), second), 1.0)))
        if second % 5 == 0:
            found += _messages(list(lines.take(device, 1, group(1, "energy", second / 10, second), 1.0)))
    found += _messages(list(lines.finish()))
    assert sum(one.count or 0 for one in found) == 43
    assert abs(sum(one.energy or 0.0 for one in found) - 4.0) < 1e-9


def test_another_register_under_the_same_name_is_another_counter(tmp_path: Path) -> None:
    kept: dict[str, str] = {}
    settings = slow_energy(tmp_path)
    lines = Lines(settings, kept.get)
    for second in range(41):
        for _, state in lines.take(settings.devices[0], 0, group(0, "count", float(second), second), 1.0):
            kept |= state
    for _, state in lines.finish():
        kept |= state
    moved = slow_energy(tmp_path, register=100)
    later = Lines(moved, kept.get)
    assert later.notes == ["line l has other tags than before; its intervals start anew"]
    found = []
    for second in range(50, 60):
        found += _messages(list(later.take(moved.devices[0], 0, group(0, "count", 500_000.0 + second, second), 1.0)))
    found += _messages(list(later.finish()))
    assert sum(one.count or 0 for one in found) == 9

"""Clock, device health, rows and episodes: the agent's small machines, each on a given time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from ullage_agent.clock import Clock
from ullage_agent.config import Config, DeviceConfig
from ullage_agent.config.read import read
from ullage_agent.config.sample import SAMPLE
from ullage_agent.field.health import DeviceHealth
from ullage_agent.judging.episodes import Episodes
from ullage_agent.judging.rows import Rows
from ullage_protocols.field.base import bad_sample
from ullage_protocols.field.scan import Scan, columns_of, scan_of
from ullage_protocols.keys import SigningKey
from ullage_protocols.messages import Anomaly
from ullage_protocols.sample import Quality, Sample

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class Hands:
    """A wall clock and a steady clock that a test moves."""

    def __init__(self) -> None:
        self.wall, self.steady = 1_000_000.0, 50.0

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


def test_a_wall_clock_set_back_never_takes_time_back_and_spoils_no_duration() -> None:
    hands = Hands()
    clock = Clock(wall=lambda: hands.wall, steady=lambda: hands.steady)
    before = clock.now()
    hands.wall -= 3600
    moments = [clock.now()]
    for _ in range(100):
        hands.pass_by(1.0)
        moments.append(clock.now())
    assert all(b > a for a, b in zip([before, *moments], moments, strict=False))
    assert abs((moments[-1] - moments[0]).total_seconds() - 100) < 0.06
    assert clock.notes() == ("the clock was set back by 3600 s; time goes on forward",)
    assert clock.notes() == ()


def test_a_wall_clock_set_forward_is_believed_at_once() -> None:
    hands = Hands()
    clock = Clock(wall=lambda: hands.wall, steady=lambda: hands.steady)
    clock.now()
    hands.wall += 86_400
    assert clock.now().timestamp() == hands.wall
    assert clock.notes() == ("the clock was set forward by 86400 s",)


def config(folder: Path) -> Config:
    (folder / "scorer.pub").write_text(SigningKey.generate().public.to_text())
    return read(SAMPLE, folder / "agent.toml")


def good(tag: str, value: float, t: float) -> Sample:
    return Sample(tag, value, Quality.GOOD, at(t), at(t))


def scan(device: DeviceConfig, samples: list[Sample]) -> Scan:
    (columns,) = columns_of((tag.name, 0) for tag in device.tags)
    return scan_of(columns, samples)


def all_good(device: DeviceConfig, t: float) -> Scan:
    return scan(device, [good(tag.name, 7.0, t) for tag in device.tags])


def test_a_device_is_lost_only_after_its_patience(tmp_path: Path) -> None:
    device = config(tmp_path).devices[1]
    health = DeviceHealth(device, at(0))
    assert health.state(at(0)).state == "lost", "a device that never answered is not well"
    health.answered(0, all_good(device, 1))
    assert health.state(at(1)).state == "good"
    health.failed(at(2), "no reply")
    assert (health.state(at(2)).state, health.state(at(2)).reason) == ("degraded", "no reply")
    assert health.state(at(4.5)).state == "lost"
    assert health.state(at(4.5), reset=True).observed == 0.5
    mixed = [good("tank.level", 1.0, 5), bad_sample("tank.level_setpoint", "refused", at(5))]
    health.answered(0, scan(device, mixed))
    assert (health.state(at(5)).state, health.state(at(5)).reason) == ("degraded", "tank.level_setpoint: refused")


def test_one_missed_poll_is_no_finding_and_a_lost_device_is(tmp_path: Path) -> None:
    settings = config(tmp_path)
    rows = Rows(settings)
    health = {device.name: DeviceHealth(device, at(0)) for device in settings.devices}
    line, tank = settings.devices
    for device in (line, tank):
        rows.take(device.name, 0, all_good(device, 0))
        health[device.name].answered(0, all_good(device, 0))
    whole = rows.row(at(0.5), health)
    assert (whole.share, whole.missing) == (1.0, {})
    health[tank.name].failed(at(1), "no reply")
    rows.lose(tank.name, "no reply")
    rows.take(line.name, 0, all_good(line, 1.4))
    missed = rows.row(at(1.5), health)
    places = {name: place for place, name in enumerate(settings.watched)}
    assert np.isnan(missed.values[places["tank.level"]])
    assert missed.missing == {}
    rows.take(line.name, 0, all_good(line, 3.5))
    lost = rows.row(at(3.6), health)
    assert lost.missing == {"tank.level": "no reply", "tank.level_setpoint": "no reply"}
    assert lost.values[places["line.count"]] == 7.0
    assert np.isnan(rows.row(at(9), health).values[places["line.count"]]), "a stale value is no value"


def anomaly(phase: str, start: float, end: float | None = None) -> Anomaly:
    return Anomaly(
        "raw", phase, "process", 0.5, 2.0, 1.0, at(start), None if end is None else at(end), (), (), ("because",)
    )


def test_an_episode_keeps_its_name_and_is_closed_after_a_restart() -> None:
    first = Episodes("gw", "abcdef0123456789", None)
    [opened] = first.take([anomaly("open", 1)], at(2))
    [updated] = first.take([anomaly("update", 1)], at(5))
    assert opened.episode == updated.episode == "gw-abcdef01-1"
    second = Episodes("gw", "0123", first.persist())
    assert second.open
    [closed] = second.end("agent restarted", at(60))
    assert (closed.episode, closed.phase, closed.end) == ("gw-abcdef01-1", "close", at(5))
    assert closed.reasons == ("agent restarted", "because")
    assert (second.persist(), second.end("again", at(61))) == ("", [])
    assert second.take([anomaly("open", 70)], at(71))[0].episode == "gw-0123-1"


def test_a_closed_episode_is_closed_once() -> None:
    episodes = Episodes("gw", "0123", "not JSON")
    assert not episodes.open
    episodes.take([anomaly("open", 1)], at(1))
    assert [event.phase for event in episodes.take([anomaly("close", 1, 3)], at(4))] == ["close"]
    assert episodes.take([anomaly("update", 1)], at(5)) == []
    assert not episodes.open

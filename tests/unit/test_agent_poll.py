"""How a device is polled: rates, losses, what it is asked, and what its neighbours notice of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
from ullage_agent.config import DeviceConfig
from ullage_agent.config.read import read
from ullage_agent.field.downtime import DowntimeMeter
from ullage_agent.field.poll import Poller
from ullage_agent.field.schedule import Schedule
from ullage_protocols.field.base import FieldError, Identity, RefusedError, SilentError
from ullage_protocols.field.scan import Columns, Scan, columns_of
from ullage_protocols.keys import SigningKey

TEXT = """
agent = {{id = "gw"}}
broker = {{host = "127.0.0.1"}}
scorer = {{public_key = "scorer.pub"}}
[[device]]
name = "plc"
protocol = "modbus-tcp"
host = "127.0.0.1"
scan = "{scan}"
{more}
  [[device.tag]]
  name = "fast"
  address = "holding:0"
  [[device.tag]]
  name = "slow"
  address = "holding:1"
  scan = "{slow}"
  [[device.tag]]
  name = "fast-2"
  address = "holding:2"
"""


def device(folder: Path, scan: str = "20ms", slow: str = "100ms", more: str = "") -> DeviceConfig:
    (folder / "scorer.pub").write_text(SigningKey.generate().public.to_text())
    return read(TEXT.format(scan=scan, slow=slow, more=more), folder / "agent.toml").devices[0]


class Client:
    """A FieldClient that does what ``act`` says, and writes down what was asked of it."""

    def __init__(self, config: DeviceConfig) -> None:
        self.on_lost: Callable[[], None] | None = None
        self.groups: tuple[Columns, ...] = columns_of((tag.name, tag.group) for tag in config.spec.tags)
        self.name = config.name
        self.asked: list[str] = []
        self.act: Callable[[str], Awaitable[None]] | None = None

    async def _done(self, what: str) -> None:
        self.asked.append(what)
        if self.act is not None:
            await self.act(what)

    async def connect(self) -> None:
        await self._done("connect")

    async def read(self, group: int = 0) -> Scan:
        await self._done(f"read {group}")
        n = len(self.groups[group])
        return Scan(self.groups[group], np.ones(n), np.zeros(n, np.uint8), datetime.now(UTC))

    async def identify(self) -> Identity:
        await self._done("identify")
        return Identity(product="PLC-9")

    async def close(self) -> None:
        self.asked.append("close")


class Notes:
    """A Taker that keeps what it is told."""

    def __init__(self) -> None:
        self.scans: list[int | None] = []
        self.errors: list[FieldError] = []
        self.identities: list[Identity] = []

    def scan(self, device: DeviceConfig, group: int | None, scan: Scan) -> None:
        self.scans.append(group)

    def lost(self, device: DeviceConfig, error: FieldError) -> None:
        self.errors.append(error)

    def identity(self, device: DeviceConfig, identity: Identity) -> None:
        self.identities.append(identity)


async def so(done: Callable[[], bool]) -> None:
    """Until it is so; whoever calls bounds the time."""
    while not done():  # noqa: ASYNC110 - what is polled tells nobody
        await asyncio.sleep(0.005)


def poll(
    config: DeviceConfig,
    until: Callable[[Client, Notes], bool],
    act: Callable[[str], Awaitable[None]] | None = None,
    meddle: Callable[[Client], Awaitable[None]] | None = None,
) -> tuple[Client, Notes, Poller]:
    """Polls until it is so, at most 10 seconds."""
    client, notes = Client(config), Notes()
    client.act = act

    async def scene() -> Poller:
        poller = Poller(config, client, lambda: datetime.now(UTC), notes)
        task = asyncio.create_task(poller.run())
        try:
            async with asyncio.timeout(10):
                if meddle is not None:
                    await meddle(client)
                await so(lambda: until(client, notes))
        finally:
            task.cancel()
            await asyncio.wait([task])
        return poller

    return client, notes, asyncio.run(scene())


def test_tags_are_read_at_their_own_intervals(tmp_path: Path) -> None:
    config = device(tmp_path)
    assert config.scans == (0.02, 0.1)
    assert [tag.group for tag in config.spec.tags] == [0, 1, 0]
    client, notes, _ = poll(config, lambda _, notes: notes.scans.count(1) >= 4)
    fast, slow = notes.scans.count(0), notes.scans.count(1)
    assert 3 <= fast / slow <= 6, (fast, slow)
    assert client.groups[0].names == ("fast", "fast-2")


def test_a_device_is_asked_what_it_is_once_it_has_answered(tmp_path: Path) -> None:
    client, notes, _ = poll(device(tmp_path), lambda _, notes: len(notes.scans) > 5)
    assert client.asked[:3] == ["connect", "read 0", "identify"]
    assert client.asked.count("identify") == len(notes.identities) == 1
    silent, _, _ = poll(device(tmp_path, more="identify = false"), lambda _, notes: len(notes.scans) > 5)
    assert "identify" not in silent.asked


def test_a_device_that_falls_over_the_question_is_spared_it(tmp_path: Path) -> None:
    async def act(what: str) -> None:
        if what == "identify":
            raise SilentError("no reply")

    client, notes, _ = poll(device(tmp_path), lambda c, n: len(n.scans) > 80 and c.asked.count("connect") > 1, act)
    assert client.asked.count("identify") <= 2
    assert notes.identities == []
    assert notes.errors == [], "it answers reads, so it is not lost"


def test_a_closed_connection_that_can_be_had_back_at_once_is_no_loss(tmp_path: Path) -> None:
    async def meddle(client: Client) -> None:
        await so(lambda: "read 0" in client.asked)
        assert client.on_lost is not None
        client.on_lost()

    _, notes, poller = poll(
        device(tmp_path, scan="60s", slow="60s"), lambda c, _: c.asked.count("connect") == 2, meddle=meddle
    )
    assert notes.errors == []
    assert poller.health.losses == 0


def test_a_cut_is_known_at_once_though_the_next_read_is_far_away(tmp_path: Path) -> None:
    gone = False

    async def act(what: str) -> None:
        if gone and what == "connect":
            raise RefusedError("connection refused")

    async def meddle(client: Client) -> None:
        nonlocal gone
        await so(lambda: "read 0" in client.asked)
        gone = True
        assert client.on_lost is not None
        client.on_lost()

    _, notes, poller = poll(device(tmp_path, scan="60s", slow="60s"), lambda _, n: bool(n.errors), act, meddle)
    assert notes.errors[0].cause == "refused"
    assert poller.health.losses == 1


def test_attempts_to_reach_a_dead_device_grow_rare(tmp_path: Path) -> None:
    times: list[float] = []

    async def act(what: str) -> None:
        times.append(asyncio.get_running_loop().time())
        raise SilentError("no reply")

    poll(device(tmp_path), lambda c, _: c.asked.count("connect") >= 4, act)
    first, second, third = (b - a for a, b in pairwise(times[:4]))
    assert 0.15 < first < second < third
    assert second > 0.35
    assert third > 0.75


def test_a_slot_that_was_missed_is_left_out() -> None:
    schedule = Schedule([0.1], start=0.0)
    assert [schedule.done(0, now) for now in (0.05, 0.12, 0.75)] == [0, 0, 5]
    group, due = schedule.next()
    assert (group, round(due, 6)) == (0, 0.8)
    schedule.resume(5.03)
    assert schedule.next() == (0, 5.03)
    schedule.done(0, 5.04)
    assert round(schedule.next()[1], 6) == 5.1


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(1_700_000_000 + seconds, UTC)


def test_a_device_that_comes_and_goes_is_one_downtime() -> None:
    meter = DowntimeMeter("plc", patience=3.0)
    meter.saw(moment(0))
    [opened] = meter.lost(moment(1), "silent", "no reply")
    assert (opened.start, opened.phase) == (moment(0), "open")
    assert meter.lost(moment(2), "silent", "no reply") == []
    assert meter.answered(moment(3)) == []
    assert meter.lost(moment(4), "silent", "no reply") == []
    assert [meter.answered(moment(second)) for second in (5, 6, 7.9)] == [[], [], []]
    [closed] = meter.answered(moment(8))
    assert (closed.phase, closed.start, closed.end) == ("close", moment(0), moment(5))
    assert closed.reason == "no reply; it came and went 1 times in between"
    assert meter.open is None


def test_an_open_downtime_outlives_the_agent() -> None:
    first = DowntimeMeter("plc", patience=3.0)
    [opened] = first.lost(moment(1), "refused", "nobody listens")
    second = DowntimeMeter("plc", patience=3.0, kept=first.persist())
    assert second.open == opened
    assert second.lost(moment(9), "refused", "nobody listens") == [], "it was told before"
    assert DowntimeMeter("plc", patience=3.0, kept="{}").open is None


def test_a_device_that_closes_after_every_read_is_read_no_more_often_for_it(tmp_path: Path) -> None:
    """The honest rate would be 50 a second; a connection a second is all that such a device gets."""

    async def meddle(client: Client) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + 2.5

        async def act(what: str) -> None:
            since = client.asked[::-1].index("connect")
            if what.startswith("read") and since > 1:
                raise FieldError("connection closed by the device")

        client.act = act
        await so(lambda: loop.time() >= end)

    client, notes, poller = poll(device(tmp_path, more="identify = false"), lambda _c, _n: True, meddle=meddle)
    assert client.asked.count("connect") <= 5
    assert len(notes.scans) <= 20
    assert poller.health.reconnects >= 1
    assert notes.errors == [], "it is not lost either"

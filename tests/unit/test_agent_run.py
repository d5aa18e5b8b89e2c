"""The agent as a whole over its real outbox: simulated devices below, a scorer in memory above."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from ullage_agent.clock import Clock
from ullage_agent.config import Config, DeviceConfig
from ullage_agent.config.read import read
from ullage_agent.custody.outbox import Outbox
from ullage_agent.errors import AgentError, StateError
from ullage_agent.planned.declared import Ask
from ullage_agent.planned.requests import answer, put
from ullage_agent.run import Agent
from ullage_protocols import envelope, topics
from ullage_protocols.event import Event, decode_event
from ullage_protocols.field.base import FieldError, HostileError, Identity, RefusedError, SilentError
from ullage_protocols.field.scan import Columns, Scan, columns_of, scan_of
from ullage_protocols.keys import SigningKey
from ullage_protocols.messages import Anomaly, Downtime, Heartbeat, Hello, Inventory, Maintenance, Production
from ullage_protocols.mqtt import Incoming
from ullage_protocols.receipt import Down, Receipt
from ullage_protocols.sample import Quality, Sample

CONFIG = """
[agent]
id = "gw"
heartbeat = "300ms"
[broker]
host = "127.0.0.1"
[scorer]
public_key = "scorer.pub"
[baseline]
learn = "{learn}"
[production]
interval = "400ms"
[outbox]
limit = "{limit}"
[[device]]
name = "plc"
protocol = "modbus-tcp"
host = "127.0.0.1"
scan = "20ms"
  [[device.tag]]
  name = "line.count"
  address = "holding:0"
  role = "count"
  line = "line-1"
  [[device.tag]]
  name = "line.running"
  address = "coil:0"
  role = "running"
  line = "line-1"
  [[device.tag]]
  name = "level.setpoint"
  address = "holding:1"
  role = "setpoint"
[[device]]
name = "gone"
protocol = "modbus-tcp"
host = "127.0.0.1"
scan = "20ms"
  [[device.tag]]
  name = "gone.level"
  address = "holding:0"
  watch = false
"""


class World:
    """What the devices would say."""

    def __init__(self) -> None:
        self.count = 65_500
        self.running = True
        self.setpoint = 60.0
        self.firmware = "1.0"
        self.broken: FieldError | None = None
        self.reads = 0


class Device:
    """A FieldClient over a World; the device ``gone`` never answers."""

    def __init__(self, config: DeviceConfig, clock: Clock, world: World) -> None:
        self._config, self._clock, self._world = config, clock, world
        self.on_lost: Callable[[], None] | None = None

    @property
    def name(self) -> str:
        return self._config.name

    @property
    def groups(self) -> tuple[Columns, ...]:
        return columns_of((tag.name, 0) for tag in self._config.tags)

    async def connect(self) -> None:
        if self.name == "gone":
            raise RefusedError("device gone: cannot connect")

    async def identify(self) -> Identity:
        return Identity(vendor="ACME", product="PLC-9", firmware=self._world.firmware)

    async def read(self, group: int = 0) -> Scan:
        if self._world.broken:
            raise self._world.broken
        world, now = self._world, self._clock.now()
        if world.running:
            world.count += 1
        values = {
            "line.count": world.count % 65536, "line.running": world.running, "level.setpoint": world.setpoint
        }  # fmt: skip
        self._world.reads += 1
        samples = [Sample(tag.name, values[tag.name], Quality.GOOD, now, now) for tag in self._config.tags]
        return scan_of(self.groups[group], samples)

    async def close(self) -> None:
        return


class Scorer:
    """Admits what fits the chain and signs for it. ``drop`` says which publishes the broker loses."""

    def __init__(self) -> None:
        self.key = SigningKey.generate()
        self.events: list[Event] = []
        self.head = ""
        self.drop: Callable[[int], bool] = lambda number: False
        self.mute = False
        self.published = 0
        self.changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def link(self, _settings: object, **given: Any) -> Link:
        self._loop = asyncio.get_running_loop()
        return Link(self, given["on_message"], given["on_state"])

    def take(self, raw: bytes, answer: Callable[[Incoming], None]) -> None:
        self.published += 1
        if self.drop(self.published):
            return
        payload = envelope.unseal(raw).payload
        event = decode_event(payload)
        if event.sequence == len(self.events) + 1:
            assert event.prevhash == self.head
            self.events.append(event)
            self.head = envelope.digest(payload)
        elif event.sequence > len(self.events) + 1:
            ask = Down("gw", "resend", len(self.events) + 1, datetime.now(UTC))
            answer(Incoming(topics.down("gw"), ask.seal(self.key), None))
        if not self.mute:
            held = len(self.events)
            receipt = Receipt("gw", held, self.head, held, "", datetime.now(UTC))
            answer(Incoming(topics.receipt("gw"), receipt.seal(self.key), None))
        self.changed.set()

    def said(self, kind: type) -> list[Any]:
        return [event.message for event in self.events if isinstance(event.message, kind)]

    async def until(self, done: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
        async with asyncio.timeout(seconds):
            while not done():
                self.changed.clear()
                await self.changed.wait()
        assert done(), what


class Link:
    """The link's interface, looped back to a Scorer."""

    def __init__(self, scorer: Scorer, on_message: Callable[[Incoming], None], on_state: Callable[..., None]) -> None:
        self._scorer, self._on_message, self._on_state = scorer, on_message, on_state
        self.connected = False

    def start(self) -> None:
        self.connected = True
        self._on_state(True, "connected")

    def stop(self) -> None:
        self.connected = False

    def publish(self, topic: str, payload: bytes) -> bool:
        assert topic == "ullage/v1/gw/up"
        self._scorer.take(payload, self._on_message)
        return True

    def ack(self, incoming: Incoming) -> None:
        return


def config_in(folder: Path, scorer: Scorer, *, learn: str = "1h", limit: str = "10MB") -> Config:
    (folder / "scorer.pub").write_text(scorer.key.public.to_text())
    return read(CONFIG.format(learn=learn, limit=limit), folder / "agent.toml")


class Running:
    """An agent that runs inside ``async with``; ``kill`` leaves it without a goodbye."""

    def __init__(self, config: Config, scorer: Scorer, world: World) -> None:
        self.agent = Agent(
            config, make_client=lambda device, clock: Device(device, clock, world), make_link=scorer.link
        )
        self.task: asyncio.Task[None]

    async def __aenter__(self) -> Running:
        self.task = asyncio.create_task(self.agent.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])
        if not self.task.cancelled() and (fault := self.task.exception()):
            raise fault


def check_production(found: list[Production], first: int, last: int) -> None:
    for a, b in pairwise(found):
        assert a.end == b.start
    assert sum(interval.count or 0 for interval in found) == last - first


def test_production_is_exact_over_losses_and_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        scorer, world = Scorer(), World()
        scorer.drop = lambda number: number % 3 == 0
        config = config_in(tmp_path, scorer)
        async with Running(config, scorer, world):
            await scorer.until(lambda: len(scorer.said(Production)) >= 3 and len(scorer.said(Heartbeat)) >= 1, "both")
        scorer.drop = lambda number: False
        async with Running(config, scorer, world) as second:
            await scorer.until(lambda: len(scorer.said(Hello)) == 2, "a second hello")
            count = len(scorer.said(Production))
            world.running = False
            await scorer.until(lambda: len(scorer.said(Production)) >= count + 3, "the stop")
        assert second.agent.outbox.pending <= 2
        found = scorer.said(Production)
        check_production(found, 65_501, world.count)
        assert any("rolled over" in interval.note for interval in found)
        assert found[-1].count == 0
        beat = scorer.said(Heartbeat)[-1]
        assert [(d.name, d.state) for d in beat.devices] == [("plc", "good"), ("gone", "lost")]
        assert beat.devices[1].reason == "device gone: cannot connect"
        assert "learning a baseline" in beat.notes[-1]
        boots = {event.bootid for event in scorer.events}
        assert len(boots) == 2

    asyncio.run(story())


def test_a_silent_scorer_fills_the_outbox_which_then_pauses_and_resumes(tmp_path: Path) -> None:
    async def story() -> None:
        scorer, world = Scorer(), World()
        scorer.mute = True
        config = config_in(tmp_path, scorer, limit="100KB")
        object.__setattr__(config, "outbox", 6_000)
        async with Running(config, scorer, world) as running:
            agent = running.agent
            async with asyncio.timeout(20):
                while not agent.sealer.held:  # noqa: ASYNC110 - the agent tells nobody but its terminal
                    await asyncio.sleep(0.02)
            held, sealed = world.count, agent.outbox.sequence
            assert agent.outbox.share <= 1.0
            scorer.mute = False
            await scorer.until(lambda: len(scorer.events) >= sealed + 4, "the stream going on")
            assert not agent.sealer.held
            assert world.count > held
        check_production(scorer.said(Production), 65_501, 65_501 + sum(i.count or 0 for i in scorer.said(Production)))
        notes = [note for beat in scorer.said(Heartbeat) for note in beat.notes]
        assert any("acquisition paused" in note for note in notes)
        assert any("the outbox is" in note for note in notes)
        assert any("lengthened" in interval.note for interval in scorer.said(Production))

    asyncio.run(story())


def test_it_learns_live_finds_the_attack_and_closes_the_episode_after_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        scorer, world = Scorer(), World()
        config = config_in(tmp_path, scorer, learn="2s")
        async with Running(config, scorer, world):
            await scorer.until(lambda: any(h.baseline for h in scorer.said(Hello)), "a baseline", 40)
            assert not scorer.said(Anomaly)
            world.setpoint = 95.0
            await scorer.until(lambda: bool(scorer.said(Anomaly)), "the anomaly")
        [opened] = scorer.said(Anomaly)[:1]
        assert (opened.phase, opened.kind, opened.tags[0].tag) == ("open", "integrity", "level.setpoint")
        assert "T0836" in {technique.id for technique in opened.techniques}
        assert opened.episode.startswith("gw-")
        world.setpoint = 60.0
        async with Running(config, scorer, world):
            await scorer.until(lambda: any(a.phase == "close" for a in scorer.said(Anomaly)), "the close")
            await scorer.until(lambda: len(scorer.said(Heartbeat)) > 2, "more")
        closed = scorer.said(Anomaly)[-1]
        assert (closed.phase, closed.episode, closed.reasons[0]) == ("close", opened.episode, "agent restarted")
        assert closed.end >= closed.start
        hello = scorer.said(Hello)[-1]
        assert (hello.reason, hello.baseline) == ("start", scorer.said(Hello)[1].baseline)
        assert hello.baseline_rows > 50

    asyncio.run(story())


def test_a_strangers_receipt_lets_nothing_go(tmp_path: Path) -> None:
    async def story() -> None:
        scorer, world = Scorer(), World()
        config = config_in(tmp_path, scorer)
        scorer.key = SigningKey.generate()
        async with Running(config, scorer, world) as running:
            await scorer.until(lambda: len(scorer.said(Heartbeat)) >= 2, "heartbeats")
            assert running.agent.outbox.through == 0
        notes = [note for beat in scorer.said(Heartbeat) for note in beat.notes]
        assert any("refused on ullage/v1/gw/receipt" in note for note in notes)

    asyncio.run(story())


def test_a_baseline_of_other_tags_is_refused_by_name(tmp_path: Path) -> None:
    async def story() -> None:
        scorer, world = Scorer(), World()
        config = config_in(tmp_path, scorer, learn="1s")
        async with Running(config, scorer, world):
            await scorer.until(lambda: any(h.baseline for h in scorer.said(Hello)), "a baseline", 40)
        other = CONFIG.format(learn="1s", limit="10MB").replace("level.setpoint", "level.wanted")
        with pytest.raises(AgentError) as caught:
            Agent(read(other, tmp_path / "agent.toml"), make_link=scorer.link)
        assert "not configured (or not watched): level.setpoint" in str(caught.value)
        assert "not in the baseline: level.wanted" in str(caught.value)

    asyncio.run(story())


def test_a_second_agent_on_the_folder_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        scorer, world = Scorer(), World()
        config = config_in(tmp_path, scorer)
        async with Running(config, scorer, world):
            await scorer.until(lambda: bool(scorer.said(Production)), "production")
            with pytest.raises(StateError, match="in use by another agent"):
                Agent(config, make_link=scorer.link)
        outbox = Outbox(
            config.state, agent="gw", key=SigningKey.from_file(config.key), clock=Clock(), limit=config.outbox
        )
        assert outbox.notes == []
        assert json.loads(outbox.kept("meter.line-1") or "")["state"]["count"] is not None

    asyncio.run(story())


def test_a_lost_device_is_a_sealed_downtime_told_at_once_and_closed_when_it_is_steady(tmp_path: Path) -> None:
    async def story() -> None:
        scorer, world = Scorer(), World()
        config = config_in(tmp_path, scorer)
        async with Running(config, scorer, world):
            await scorer.until(lambda: world.reads > 5, "reads")
            told = [one for one in scorer.said(Downtime) if one.device == "gone"]
            assert [(one.phase, one.cause) for one in told] == [("open", "refused")]
            world.broken = SilentError("device plc: no reply from unit 1 within 1 s")
            await scorer.until(lambda: any(one.device == "plc" for one in scorer.said(Downtime)), "the loss")
            world.broken = None
            await scorer.until(lambda: any(one.phase == "close" for one in scorer.said(Downtime)), "the return")
        opened, closed = [one for one in scorer.said(Downtime) if one.device == "plc"]
        assert (opened.phase, opened.cause, opened.reason) == ("open", "silent", str(SilentError(opened.reason)))
        assert (closed.phase, closed.start) == ("close", opened.start)
        assert opened.start < closed.end

    asyncio.run(story())


def test_what_no_honest_device_sends_and_another_firmware_are_integrity_events(tmp_path: Path) -> None:
    async def story() -> None:
        scorer, world = Scorer(), World()
        config = config_in(tmp_path, scorer)
        async with Running(config, scorer, world):
            await scorer.until(lambda: bool(scorer.said(Inventory)), "an inventory")
            world.broken = HostileError("device plc: bytes arrived that nothing had asked for")
            await scorer.until(lambda: len(scorer.said(Anomaly)) == 2, "the event")
            world.broken = None
        world.firmware = "1.1"
        async with Running(config, scorer, world):
            await scorer.until(lambda: len(scorer.said(Inventory)) == 2, "the changed inventory")
            await scorer.until(lambda: len(scorer.said(Anomaly)) == 4, "its event")
        first, second = scorer.said(Inventory)
        assert (first.first, first.firmware, second.first) == (True, "1.0", False)
        assert [(c.field, c.before, c.after) for c in second.changes] == [("firmware", "1.0", "1.1")]
        hostile, _, changed, closed = scorer.said(Anomaly)
        assert (hostile.kind, hostile.phase, hostile.techniques[0].id) == ("integrity", "open", "T0830")
        assert (changed.techniques[0].id, closed.phase, closed.end) == ("T0857", "close", changed.start)
        assert "firmware changed from '1.0' to '1.1'" in changed.reasons[0]
        assert len({hostile.episode, changed.episode}) == 2

    asyncio.run(story())


def test_reloading_touches_only_what_was_changed(tmp_path: Path) -> None:
    """Reads of the device that stays are a number a read: none is missing from the production, and no gap is cut."""

    async def story() -> None:
        scorer, world = Scorer(), World()
        config = config_in(tmp_path, scorer)
        text = CONFIG.format(learn="1h", limit="10MB")
        file = tmp_path / "agent.toml"
        async with Running(config, scorer, world) as running:
            agent = running.agent
            await scorer.until(lambda: len(scorer.said(Production)) >= 1, "production")
            poller = agent.pollers["plc"]
            file.write_text(text.replace('name = "gone"', 'name = "gone-2"').replace('"gone.level"', '"gone-2.level"'))
            await agent.reload()
            assert agent.pollers["plc"] is poller
            assert sorted(agent.pollers) == ["gone-2", "plc"]
            file.write_text(text.replace("scan =", "skan ="))
            await agent.reload()
            assert sorted(agent.pollers) == ["gone-2", "plc"], "what cannot be used leaves everything as it is"
            file.write_text(text.replace('heartbeat = "300ms"', 'heartbeat = "200ms"'))
            await agent.reload()
            await scorer.until(lambda: len([h for h in scorer.said(Hello) if h.reason == "reload"]) == 2, "hellos")
            done = len(scorer.said(Production))
            await scorer.until(lambda: len(scorer.said(Production)) >= done + 2, "more production")
        check_production(scorer.said(Production), 65_501, world.count)
        assert not any("not seen" in interval.note for interval in scorer.said(Production))
        reloads = [hello for hello in scorer.said(Hello) if hello.reason == "reload"]
        assert reloads[0].notes == ("devices added: gone-2", "devices removed: gone")
        assert reloads[1].devices == ("plc", "gone")
        notes = [note for beat in scorer.said(Heartbeat) for note in beat.notes]
        assert any("the configuration was not reloaded" in note and "did you mean 'scan'" in note for note in notes)

    asyncio.run(story())


def test_a_declared_stop_is_sealed_by_the_running_agent(tmp_path: Path) -> None:
    async def story() -> None:
        scorer, world = Scorer(), World()
        config = config_in(tmp_path, scorer)
        async with Running(config, scorer, world):
            await scorer.until(lambda: bool(scorer.said(Production)), "production")
            ask = Ask("m-1", "start", "line-1", "filters changed", "shift lead", None, None, datetime.now(UTC))
            name = put(config.state, ask.to_json())
            await scorer.until(lambda: bool(scorer.said(Maintenance)), "the declaration")
            told = answer(config.state, name)
        [declared] = scorer.said(Maintenance)
        assert (declared.phase, declared.line, declared.reason, declared.retroactive) == (
            "start", "line-1", "filters changed", False
        )  # fmt: skip
        assert told is not None
        assert told["state"] == "sealed"

    asyncio.run(story())


def test_a_reload_that_changes_a_lines_settings_counts_nothing_twice(tmp_path: Path) -> None:
    async def story() -> None:
        scorer, world = Scorer(), World()
        config = config_in(tmp_path, scorer)
        file, text = tmp_path / "agent.toml", CONFIG.format(learn="1h", limit="10MB")
        async with Running(config, scorer, world) as running:
            await scorer.until(lambda: len(scorer.said(Production)) >= 2, "production")
            for interval, scan in (("900ms", "20ms"), ("300ms", "30ms"), ("500ms", "20ms")):
                file.write_text(
                    text.replace('interval = "400ms"', f'interval = "{interval}"').replace(
                        'host = "127.0.0.1"\nscan = "20ms"', f'host = "127.0.0.1"\nscan = "{scan}"', 1
                    )
                )
                await running.agent.reload()
                done = len(scorer.said(Production))
                await scorer.until(lambda done=done: len(scorer.said(Production)) >= done + 2, "more")  # type: ignore[misc]
        check_production(scorer.said(Production), 65_501, world.count)

    asyncio.run(story())


def test_a_removed_device_leaves_no_downtime_open(tmp_path: Path) -> None:
    async def story() -> None:
        scorer, world = Scorer(), World()
        config = config_in(tmp_path, scorer)
        file, text = tmp_path / "agent.toml", CONFIG.format(learn="1h", limit="10MB")
        async with Running(config, scorer, world) as running:
            await scorer.until(lambda: bool(scorer.said(Downtime)), "the loss")
            file.write_text(text[: text.rindex("[[device]]")])
            await running.agent.reload()
            await scorer.until(lambda: len(scorer.said(Downtime)) == 2, "its end")
            assert running.agent.outbox.kept("downtime.gone") == ""
        opened, closed = scorer.said(Downtime)
        assert (closed.device, closed.phase, closed.start) == ("gone", "close", opened.start)
        assert closed.reason.endswith("no longer configured")

    asyncio.run(story())


def test_name_lookups_that_hang_keep_nothing_from_being_sealed(tmp_path: Path) -> None:
    async def story() -> None:
        scorer, world = Scorer(), World()
        config = config_in(tmp_path, scorer)
        release = threading.Event()
        async with Running(config, scorer, world) as running:
            loop = asyncio.get_running_loop()
            stuck = [loop.run_in_executor(None, release.wait, 20) for _ in range(40)]
            sealed = running.agent.outbox.sequence
            async with asyncio.timeout(10):
                while running.agent.outbox.sequence < sealed + 3:  # noqa: ASYNC110 - the outbox tells nobody
                    await asyncio.sleep(0.02)
            release.set()
            await asyncio.gather(*stuck)

    asyncio.run(story())


def test_while_records_are_held_it_is_known_what_was_read(tmp_path: Path) -> None:
    """What is lost during a hold was lost then, and no tag is missing for not having been sealed."""

    async def story() -> None:
        scorer, world = Scorer(), World()
        config = config_in(tmp_path, scorer)
        async with Running(config, scorer, world) as running:
            agent = running.agent
            await scorer.until(lambda: world.reads > 5, "reads")
            agent.sealer.held = "full"
            began = datetime.now(UTC)
            reads = world.reads
            async with asyncio.timeout(10):
                while world.reads < reads + 10:  # noqa: ASYNC110 - the world tells nobody
                    await asyncio.sleep(0.02)
            world.broken = SilentError("device plc: no reply")
            async with asyncio.timeout(10):
                while agent.downtimes["plc"].open is None:  # noqa: ASYNC110 - nor do they
                    await asyncio.sleep(0.02)
            opened = agent.downtimes["plc"].open
            assert opened.start > began
            agent.sealer.held = ""

    asyncio.run(story())

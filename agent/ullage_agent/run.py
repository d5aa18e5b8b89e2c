"""The running agent: pollers, judgement, meters, heartbeat and publisher on one event loop.

Everything that is to be said becomes a draft in one queue; one task seals what has gathered, in order, in one
transaction. When nothing can be sealed (full disk, full outbox) acquisition pauses, the queue is kept, and both go on
by themselves. The field is never written to.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Callable, Iterable
from importlib import metadata

from ullage_models.detect.baseline import Baseline
from ullage_models.detect.watch import Watch
from ullage_models.errors import ModelError
from ullage_protocols.errors import ProtocolError
from ullage_protocols.field.base import FieldClient
from ullage_protocols.keys import SigningKey
from ullage_protocols.messages import Anomaly, Heartbeat, Hello
from ullage_protocols.mqtt import Link
from ullage_protocols.sample import Sample

from .baseline import LiveLearning, load_baseline
from .clock import Clock
from .config import Config, DeviceConfig
from .episodes import Episodes
from .errors import AgentError, OutboxFull
from .lines import Lines, Sealing
from .lock import FolderLock
from .outbox import Draft, Outbox
from .poll import Poller, client_for
from .publish import Publisher
from .rows import Row, Rows
from .say import say
from .window import Pace

_TICK = 0.5
_RETRY = 1.0
"""Seconds between two tries to seal while the outbox takes nothing."""
_GOODBYE = 2.0
"""Seconds that connections get to close."""
_MOST_NAMES = 100_000
"""Bytes of tag names in one message, which is bounded as a whole by the wire."""
_TIGHT = ((0.9, 16.0), (0.75, 4.0))
"""From which share of the outbox on production intervals and heartbeats are lengthened, and how many times."""

MakeClient = Callable[[DeviceConfig, Clock], FieldClient]


def _client(device: DeviceConfig, clock: Clock) -> FieldClient:
    return client_for(device, clock.now)


class Agent:
    """One agent over one configuration and one state folder, which is locked while the agent lives."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        make_client: MakeClient = _client,
        make_link: Callable[..., Link] = Link,
        pace: Pace | None = None,
    ) -> None:
        if config.scorer is None:
            raise AgentError("the scorer's public key was not read; load the configuration with its files")
        self._config = config
        self._clock = clock or Clock()
        self._lock = FolderLock(config.state)
        try:
            self.key = SigningKey.load_or_create(config.key)
            baseline = load_baseline(config)
            self._outbox = Outbox(
                config.state, agent=config.agent, key=self.key, clock=self._clock, limit=config.outbox
            )
            self._learning = None if baseline else LiveLearning(config)
            self._pollers = [
                Poller(device, make_client(device, self._clock), self._clock.now, self._samples)
                for device in config.devices
            ]
        except BaseException:
            self._lock.release()
            raise
        self._health = {poller.device.name: poller.health for poller in self._pollers}
        self._publisher = Publisher(
            self._outbox, config.broker, agent=config.agent, scorer=config.scorer, pace=pace, make_link=make_link
        )
        self._rows = Rows(config)
        self._lines = Lines(config, self._outbox.kept)
        self._episodes = Episodes(config.agent, self._outbox.bootid, self._outbox.kept("episode"))
        self._baseline: Baseline | None = None
        self._watch: Watch | None = None
        self._device_of = {tag.name: device.name for device in config.devices for tag in device.tags}
        self._queue: list[Sealing] = []
        self._queued = asyncio.Event()
        self._sealing = False
        self._held = ""
        self._notes: list[str] = []
        self._trigger: float | None = None
        self._greet(baseline)

    # -- life --

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Until SIGTERM or SIGINT (or cancelled). A fault that no part can handle ends it with AgentError."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, stop.set)
        parts = [self._publisher.run(), self._seal_on(), self._beat_on(), self._judge_on(), self._tick_on()]
        parts += [poller.run() for poller in self._pollers]
        tasks = [asyncio.create_task(part) for part in parts]
        waiting = asyncio.create_task(stop.wait())
        await asyncio.sleep(0)
        ready()
        try:
            done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            await self._end(tasks)
        for task in done - {waiting}:
            if fault := task.exception():
                raise AgentError(f"the agent stopped on a fault of its own: {type(fault).__name__}: {fault}") from fault

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        if self._learning is not None:
            self._learning.stop()
        for task in tasks:
            task.cancel()
        _, late = await asyncio.wait(tasks, timeout=_GOODBYE)
        for sealing in self._lines.finish():
            self._queue.append(sealing)
        try:
            # A batch that a slow disk still has in hand must not be sealed a second time.
            if not self._sealing or not late:
                self._append(*self._gathered())
        except (OutboxFull, ProtocolError) as exc:
            say("not-sealed", why=str(exc))
        self._outbox.close()
        self._lock.release()
        say("stopped", pending=self._outbox.pending)

    def _greet(self, baseline: Baseline | None) -> None:
        notes = [*self._outbox.notes, *self._lines.notes]
        for note in notes:
            say("start", note=note)
        now = self._clock.now()
        self._put(Draft(self._hello("repair" if self._outbox.repaired else "start", baseline, notes)))
        self._anomalies(self._episodes.end("agent restarted", now))
        if baseline is not None:
            self._take_baseline(baseline)

    def _hello(self, reason: str, baseline: Baseline | None, notes: Iterable[str] = ()) -> Hello:
        return Hello(
            version=metadata.version("ullage-agent"),
            reason=reason,
            devices=tuple(device.name for device in self._config.devices),
            tags=_fitting([tag.name for tag in self._config.tags]),
            baseline=baseline.digest if baseline else "",
            baseline_from=baseline.start if baseline else None,
            baseline_to=baseline.end if baseline else None,
            baseline_rows=baseline.rows if baseline else 0,
            notes=tuple(note[:1000] for note in (*notes, *(baseline.notes if baseline else ())))[:50],
        )

    # -- sealing --

    def _put(self, draft: Draft, keep: dict[str, str] | None = None) -> None:
        self._queue.append(([draft], keep or {}))
        self._queued.set()

    def _gathered(self) -> Sealing:
        drafts: list[Draft] = []
        keep: dict[str, str] = {}
        for more, state in self._queue:
            drafts += more
            keep |= state
        return drafts, keep

    def _append(self, drafts: list[Draft], keep: dict[str, str]) -> None:
        if drafts or keep:
            self._outbox.append(drafts, keep)

    async def _seal_on(self) -> None:
        while True:
            await self._queued.wait()
            self._queued.clear()
            count = len(self._queue)
            sealing = self._gathered()
            # Shielded: a batch that is being committed is waited for, so that it is never sealed twice.
            work = asyncio.ensure_future(asyncio.to_thread(self._append, *sealing))
            self._sealing = True
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError:
                with contextlib.suppress(OutboxFull, ProtocolError):
                    await work
                    del self._queue[:count]
                self._sealing = False
                raise
            except ProtocolError as exc:
                self._sealing = False
                self._sort_out(str(exc))
                self._queued.set()
                continue
            except OutboxFull as exc:
                self._sealing = False
                if not self._held:
                    say("holding", why=f"{exc}; acquisition pauses, nothing that is held is dropped")
                    self._note(f"acquisition paused: {exc}")
                self._held = str(exc)
                await asyncio.sleep(_RETRY)
                self._queued.set()
                continue
            self._sealing = False
            del self._queue[:count]
            if self._held:
                self._held = ""
                say("resumed")
                self._note("acquisition resumed")
            self._publisher.nudge()

    def _sort_out(self, reason: str) -> None:
        """Leaves out drafts that cannot be written at all, so that they do not hold up the others for good."""
        say("not-sealable", why=reason)
        self._note(f"a message could not be written and is left out: {reason}")
        self._queue = [
            ([draft for draft in drafts if self._outbox.writable(draft)], keep) for drafts, keep in self._queue
        ]

    # -- acquisition --

    def _samples(self, device: DeviceConfig, samples: list[Sample]) -> None:
        if self._held:
            return
        self._rows.take(samples)
        for sealing in self._lines.take(device, samples, self._stretch):
            self._queue.append(sealing)
            self._queued.set()
        trigger = self._config.trigger
        if trigger and self._device_of[trigger] == device.name:
            value = self._rows.value(trigger)
            if value is not None and value != self._trigger:
                self._trigger = value
                self._judge()

    @property
    def _stretch(self) -> float:
        share = self._outbox.share
        return next((factor for limit, factor in _TIGHT if share >= limit), 1.0)

    async def _tick_on(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            if not self._held:
                for sealing in self._lines.tick(self._clock.now()):
                    self._queue.append(sealing)
                    self._queued.set()

    # -- judgement --

    async def _judge_on(self) -> None:
        """A row an interval; with a trigger, only while the trigger itself has no value."""
        loop = asyncio.get_running_loop()
        start, slot, interval = loop.time(), 0, self._config.interval
        while True:
            slot = max(slot + 1, int((loop.time() - start) / interval) + 1)
            await asyncio.sleep(start + slot * interval - loop.time())
            trigger = self._config.trigger
            if not self._held and (not trigger or not self._rows.fresh(trigger, self._clock.now())):
                self._judge()
            if self._learning is not None and self._learning.enough:
                await self._learn(self._learning)

    def _judge(self) -> None:
        row = self._rows.row(self._clock.now(), self._health)
        if self._watch is not None:
            self._judge_row(self._watch, row)
        elif self._learning is not None:
            self._learning.take(row)

    def _judge_row(self, watch: Watch, row: Row) -> None:
        try:
            judgement = watch.update(row.time, row.values, row.missing)
        except ModelError as exc:
            self._note(f"a row could not be judged: {exc}")
            return
        if judgement.events:
            self._anomalies(self._episodes.take(judgement.events, row.time))

    def _anomalies(self, events: list[Anomaly]) -> None:
        for event in events:
            tag = event.tags[0].tag if event.tags else ""
            say("episode", phase=event.phase, episode=event.episode, kind=event.kind, severity=event.severity, tag=tag)
            self._put(Draft(event, self._device_of.get(tag, "")), {"episode": self._episodes.persist()})

    async def _learn(self, learning: LiveLearning) -> None:
        baseline = await learning.learn()
        if baseline is not None:
            self._learning = None
            self._put(Draft(self._hello("baseline", baseline)))
            self._take_baseline(baseline)

    def _take_baseline(self, baseline: Baseline) -> None:
        self._anomalies(self._episodes.end("a new baseline came into force", self._clock.now()))
        self._baseline, self._watch = baseline, Watch(baseline)
        say("baseline", digest=baseline.digest[:16], rows=baseline.rows)

    # -- heartbeat --

    async def _beat_on(self) -> None:
        beat = 0
        while True:
            await asyncio.sleep(self._config.heartbeat)
            beat += 1
            if not self._held and beat % round(self._stretch) == 0:
                self._put(Draft(self._heartbeat()))

    def _heartbeat(self) -> Heartbeat:
        now = self._clock.now()
        faults, self._publisher.faults = self._publisher.faults, []
        notes = [*self._clock.notes(), *self._notes, *faults]
        self._notes = []
        if self._learning is not None:
            notes.append(self._learning.status)
        if self._outbox.share >= _TIGHT[-1][0]:
            notes.append(f"the outbox is {self._outbox.share:.0%} full; intervals are lengthened")
        return Heartbeat(
            uptime=round(self._clock.monotonic() - self._clock.started, 3),
            pending=self._outbox.pending,
            outbox_share=round(self._outbox.share, 6),
            episode_open=self._episodes.open,
            devices=tuple(health.state(now, reset=True) for health in self._health.values()),
            notes=tuple(note[:1000] for note in notes[:20]),
        )

    def _note(self, text: str) -> None:
        if text not in self._notes and len(self._notes) < 10:
            self._notes.append(text)


def _fitting(names: list[str]) -> tuple[str, ...]:
    """As many names as a message can carry; the last entry tells how many more there are."""
    size = 0
    for position, name in enumerate(names):
        size += len(name.encode()) + 3
        if size > _MOST_NAMES:
            return (*names[:position], f"and {len(names) - position} more")
    return tuple(names)


def run(config: Config) -> int:
    """Runs an agent to its end; 0 when it was asked to stop."""
    agent = Agent(config)

    def ready() -> None:
        line = {"ready": True, "agent": config.agent, "key": agent.key.public.to_text()}
        with contextlib.suppress(OSError):
            print(json.dumps(line), flush=True)

    asyncio.run(agent.run(ready))
    return 0

"""The running agent: pollers, judgement, meters, heartbeat and publisher on one event loop.

Everything that is to be said goes through one ``Sealer``. The field is never written to.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterable, Sequence
from importlib import metadata
from typing import Any

from ullage_models.detect.baseline import Baseline
from ullage_protocols.errors import ProtocolError
from ullage_protocols.field.base import FieldClient, FieldError, Identity
from ullage_protocols.field.scan import Scan
from ullage_protocols.keys import SigningKey
from ullage_protocols.messages import Anomaly, Downtime, Heartbeat, Hello
from ullage_protocols.mqtt import Link

from .clock import Clock
from .config import Config, DeviceConfig
from .custody.outbox import Draft, Outbox
from .custody.publish import Publisher
from .custody.seal import Sealer
from .custody.window import Pace
from .errors import AgentError, ConfigError
from .field.clients import Clients
from .field.downtime import DowntimeMeter
from .field.integrity import IntegrityEvents
from .field.inventory import Inventories, broken, reasons
from .field.poll import Poller
from .judging.baseline import LiveLearning, load_baseline
from .judging.episodes import Episodes
from .judging.judge import Judge
from .judging.rows import Rows
from .lock import FolderLock
from .planned.declarations import Declarations
from .production.lines import Lines
from .reload import Change, change
from .say import say
from .tasks import Tasks

_TICK = 0.5
_GOODBYE = 2.0
"""Seconds that connections get to close."""
_NAMES_SIZE, _NAMES_COUNT = 100_000, 4000
"""Bytes and number of tag names in one message, which is bounded as a whole by the wire."""
_RECENT = 10

MakeClient = Callable[[DeviceConfig, Clock], FieldClient]
Side = Callable[[], Coroutine[Any, Any, None]]


class Agent:
    """One agent over one configuration and one state folder, which is locked while the agent lives."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        make_client: MakeClient | None = None,
        make_link: Callable[..., Link] = Link,
        pace: Pace | None = None,
    ) -> None:
        if config.scorer is None:
            raise AgentError("the scorer's public key was not read; load the configuration with its files")
        self.config = config
        self.clock = clock or Clock()
        self._make_client = make_client or Clients().client_for
        self._lock = FolderLock(config.state)
        try:
            self.key = SigningKey.load_or_create(config.key)
            baseline = load_baseline(config)
            self.outbox = Outbox(config.state, agent=config.agent, key=self.key, clock=self.clock, limit=config.outbox)
            self.pollers = {device.name: self._poller(device) for device in config.devices}
        except BaseException:
            self._lock.release()
            raise
        self.publisher = Publisher(
            self.outbox, config.broker, agent=config.agent, scorer=config.scorer, pace=pace, make_link=make_link
        )
        self.sealer = Sealer(self.outbox, self._note, self.publisher.nudge)
        self.episodes = Episodes(config.agent, self.outbox.bootid, self.outbox.kept("episode"))
        self.declarations = Declarations(config.state, self.outbox, self.clock)
        self._inventories = Inventories(self.outbox.kept)
        self._integrity = IntegrityEvents(config.agent, self.outbox.bootid)
        self.recent: list[Anomaly] = []
        self._notes: list[str] = []
        self.on_reload: tuple[Callable[[], None], Callable[[], None]] = (lambda: None, lambda: None)
        self._reloading = asyncio.Lock()
        self._tasks = Tasks()
        self._poll_tasks: dict[str, asyncio.Task[None]] = {}
        self._judging: asyncio.Task[None] | None = None
        self.downtimes = {device.name: self._downtime(device) for device in config.devices}
        self._rows = Rows(config)
        self._lines = Lines(config, self.outbox.kept)
        self.judge = self._judge()
        self._greet(baseline)

    # -- parts --

    def _poller(self, device: DeviceConfig) -> Poller:
        return Poller(device, self._make_client(device, self.clock), self.clock.now, self)

    def _downtime(self, device: DeviceConfig) -> DowntimeMeter:
        return DowntimeMeter(device.name, device.patience, self.outbox.kept(f"downtime.{device.name}"))

    def _judge(self) -> Judge:
        health = {name: poller.health for name, poller in self.pollers.items()}
        judge = Judge(
            self.config, self._rows, health, self.episodes, self.clock,
            on_anomalies=self._anomalies, on_baseline=self._new_baseline, note=self._note,
        )  # fmt: skip
        judge.paused = lambda: bool(self.sealer.held)
        return judge

    # -- life --

    async def run(self, ready: Callable[[], None] = lambda: None, beside: Sequence[Side] = ()) -> None:
        """Until SIGTERM or SIGINT (or cancelled); SIGHUP reads the configuration anew. What is ``beside`` runs as long.
        A fault that no part can handle ends it with AgentError."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for ending in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(ending, stop.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._tasks.start(self.reload()))
        for part in (self.publisher.run(), self.sealer.run(), self._beat_on(), self._tick_on()):
            self._tasks.start(part)
        for side in beside:
            self._tasks.start(side())
        self._judging = self._tasks.start(self.judge.run())
        for name, poller in self.pollers.items():
            self._poll_tasks[name] = self._tasks.start(poller.run())
        await asyncio.sleep(0)
        ready()
        try:
            await self._tasks.until(stop)
        finally:
            await self._end()
        if fault := self._tasks.fault:
            raise AgentError(f"the agent stopped on a fault of its own: {type(fault).__name__}: {fault}") from fault

    async def _end(self) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
        self.judge.stop()
        late = await self._tasks.end(_GOODBYE)
        self.sealer.add(self._lines.finish())
        self.sealer.finish(late)
        self.outbox.close()
        self._lock.release()
        say("stopped", pending=self.outbox.pending)

    def _greet(self, baseline: Baseline | None) -> None:
        notes = [*self.outbox.notes, *self._lines.notes, *self.declarations.notes]
        for note in notes:
            say("start", note=note)
        now = self.clock.now()
        self.sealer.put(Draft(self._hello("repair" if self.outbox.repaired else "start", baseline, notes)))
        self._anomalies(self.episodes.end("agent restarted", now))
        self.judge.begin(baseline)

    def _hello(self, reason: str, baseline: Baseline | None, notes: Iterable[str] = ()) -> Hello:
        return Hello(
            version=metadata.version("ullage-agent"),
            reason=reason,
            devices=tuple(device.name for device in self.config.devices),
            tags=_fitting([tag.name for tag in self.config.tags]),
            baseline=baseline.digest if baseline else "",
            baseline_from=baseline.start if baseline else None,
            baseline_to=baseline.end if baseline else None,
            baseline_rows=baseline.rows if baseline else 0,
            notes=tuple(note[:1000] for note in (*notes, *(baseline.notes if baseline else ())))[:50],
        )

    # -- acquisition: what a Poller tells --

    def scan(self, device: DeviceConfig, group: int | None, scan: Scan) -> None:
        downtime = self.downtimes[device.name]
        if downtime.open is None:
            downtime.saw(scan.seen)
        else:
            self._downtimes(device, downtime.answered(scan.seen))
        self._rows.take(device.name, group, scan)
        if self.sealer.held:
            return
        self.sealer.add(self._lines.take(device, group, scan, self.sealer.stretch))
        self.judge.arrived(device.name)

    def lost(self, device: DeviceConfig, error: FieldError) -> None:
        now = self.clock.now()
        self._downtimes(device, self.downtimes[device.name].lost(now, error.cause, str(error)))
        if error.cause == "hostile":
            self._anomalies(self._integrity.hostile(device.name, str(error), now), device.name)
        self._rows.lose(device.name, str(error))
        self.judge.arrived(device.name)

    def identity(self, device: DeviceConfig, identity: Identity) -> None:
        taken = self._inventories.take(device, identity, device.encrypted)
        if taken is None:
            return
        found, draft, keep = taken
        self.sealer.put(draft, keep)
        say("inventory", device=device.name, product=found.product, firmware=found.firmware, first=found.first)
        if fields := broken(found):
            self._anomalies(self._integrity.identity(fields, reasons(found), self.clock.now()), device.name)

    def _downtimes(self, device: DeviceConfig, found: list[Downtime]) -> None:
        for one in found:
            keep = {f"downtime.{device.name}": self.downtimes[device.name].persist()}
            self.sealer.put(Draft(one, device.name), keep)

    async def _tick_on(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            if not self.sealer.held:
                self.sealer.add(self._lines.tick(self.clock.now()))
            if self.declarations.waiting:
                await asyncio.to_thread(self._declare)

    def _declare(self) -> None:
        if self.declarations.take():
            self.publisher.nudge()

    # -- judgement --

    def _anomalies(self, events: Sequence[Anomaly], device: str = "") -> None:
        for event in events:
            tag = event.tags[0].tag if event.tags else ""
            say("episode", phase=event.phase, episode=event.episode, kind=event.kind, severity=event.severity, tag=tag)
            about = device or self._device_of(tag)
            self.sealer.put(Draft(event, about), {} if device else {"episode": self.episodes.persist()})
            self.recent = [event, *(one for one in self.recent if one.episode != event.episode)][:_RECENT]

    def _device_of(self, tag: str) -> str:
        return next((d.name for d in self.config.devices if any(t.name == tag for t in d.tags)), "")

    def _new_baseline(self, baseline: Baseline) -> None:
        self.sealer.put(Draft(self._hello("baseline", baseline)))

    # -- heartbeat --

    async def _beat_on(self) -> None:
        beat = 0
        while True:
            await asyncio.sleep(self.config.heartbeat)
            beat += 1
            if not self.sealer.held and beat % round(self.sealer.stretch) == 0:
                self.sealer.put(Draft(self._heartbeat()))

    def _heartbeat(self) -> Heartbeat:
        now = self.clock.now()
        faults, self.publisher.faults = self.publisher.faults, []
        notes = [*self.clock.notes(), *self._notes, *faults, *self.declarations.notes]
        self.declarations.notes.clear()
        self._notes = []
        if self.judge.learning is not None:
            notes.append(self.judge.learning.status)
        if self.sealer.tight:
            notes.append(f"the outbox is {self.outbox.share:.0%} full; intervals are lengthened")
        return Heartbeat(
            uptime=round(self.clock.monotonic() - self.clock.started, 3),
            pending=self.outbox.pending,
            outbox_share=round(self.outbox.share, 6),
            episode_open=self.episodes.open,
            devices=tuple(poller.health.state(now, reset=True) for poller in self.pollers.values()),
            notes=tuple(note[:1000] for note in notes[:20]),
        )

    def _note(self, text: str) -> None:
        if text not in self._notes and len(self._notes) < 10:
            self._notes.append(text)

    # -- reload --

    async def reload(self) -> None:
        """Reads the configuration file anew. Devices whose part of it is the same are not touched: not a sample of
        theirs is lost. What cannot be used leaves everything as it is, and says so."""
        async with self._reloading:
            before, after = self.on_reload
            before()
            await self._reload()
            after()

    async def _reload(self) -> None:
        try:
            after = change(self.config)
            baseline = load_baseline(after.config) if after.watch else None
        except (AgentError, ConfigError) as exc:
            why = "; ".join(exc.faults[:3]) if isinstance(exc, ConfigError) else str(exc)
            say("not-reloaded", why=why)
            self._note(f"the configuration was not reloaded: {why}"[:1000])
            return
        if not after.anything:
            say("reloaded", changed="nothing")
            return
        try:
            fresh = {device.name: self._poller(device) for device in after.started}
            learning = self.judge.prepare(after.config) if after.watch and baseline is None else None
        except (AgentError, ProtocolError) as exc:
            say("not-reloaded", why=str(exc))
            self._note(f"the configuration was not reloaded: {exc}"[:1000])
            return
        await self._end_pollers(after)
        self._apply(after, baseline, fresh, learning)

    async def _end_pollers(self, after: Change) -> None:
        ended = [task for name in after.ended if (task := self._poll_tasks.pop(name, None)) is not None]
        for task in ended:
            task.cancel()
        if ended:
            await asyncio.wait(ended, timeout=_GOODBYE)

    def _apply(
        self, after: Change, baseline: Baseline | None, fresh: dict[str, Poller], learning: LiveLearning | None
    ) -> None:
        names = {device.name for device in after.config.devices}
        for device in self.config.devices:
            if device.name not in names:
                reason = "no longer configured"
                self._downtimes(device, self.downtimes[device.name].end(self.clock.now(), reason))
        self.config = after.config
        self.pollers = {d.name: fresh.get(d.name) or self.pollers[d.name] for d in after.config.devices}
        self.downtimes = {d.name: self.downtimes.get(d.name) or self._downtime(d) for d in after.config.devices}
        for device in after.config.devices:
            self.downtimes[device.name].patience = device.patience
        self._lines = Lines(after.config, self.outbox.kept, self._lines)
        self.sealer.add(self._lines.ended)
        self._rows = Rows(after.config, self._rows, anew=frozenset(fresh))
        if after.watch:
            self._rejudge(baseline, learning)
        else:
            health = {name: poller.health for name, poller in self.pollers.items()}
            self.judge.follow(self._rows, health, self.config)
        for name, poller in fresh.items():
            self._poll_tasks[name] = self._tasks.start(poller.run())
        self.sealer.put(Draft(self._hello("reload", self.judge.baseline, (*after.told, *self._lines.notes))))
        say("reloaded", changed="; ".join(after.told))

    def _rejudge(self, baseline: Baseline | None, learning: LiveLearning | None) -> None:
        self.judge.stop()
        if self._judging is not None:
            self._tasks.drop(self._judging)
        self._anomalies(self.episodes.end("the watched tags were changed", self.clock.now()))
        self.judge = self._judge()
        self.judge.begin(baseline, learning)
        self._judging = self._tasks.start(self.judge.run())


def _fitting(names: list[str]) -> tuple[str, ...]:
    """As many names as a message can carry; the last entry tells how many more there are."""
    size = 0
    for position, name in enumerate(names):
        size += len(name.encode()) + 3
        if size > _NAMES_SIZE or position >= _NAMES_COUNT:
            return (*names[:position], f"and {len(names) - position} more")
    return tuple(names)

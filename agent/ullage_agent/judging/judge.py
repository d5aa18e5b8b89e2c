"""Judges rows: learns a baseline where there is none, then watches against it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import numpy as np
from ullage_models.detect.baseline import Baseline
from ullage_models.detect.watch import Watch
from ullage_models.errors import ModelError
from ullage_protocols.messages import Anomaly

from ..clock import Clock
from ..config import Config
from ..field.health import DeviceHealth
from ..say import say
from .baseline import LiveLearning
from .episodes import Episodes
from .rows import Row, Rows

OnAnomalies = Callable[[Sequence[Anomaly]], None]


class Judge:
    """A row an interval; or, with a trigger, each time that the trigger tag changes."""

    def __init__(
        self,
        config: Config,
        rows: Rows,
        health: Mapping[str, DeviceHealth],
        episodes: Episodes,
        clock: Clock,
        *,
        on_anomalies: OnAnomalies,
        on_baseline: Callable[[Baseline], None],
        note: Callable[[str], None],
    ) -> None:
        self._config, self._rows, self._health, self._episodes, self._clock = config, rows, health, episodes, clock
        self._on_anomalies, self._on_baseline, self._note = on_anomalies, on_baseline, note
        self._device_of = {tag.name: device.name for device in config.devices for tag in device.tags}
        self._trigger: float | None = None
        self._order = np.zeros(0, np.intp)
        self._watch: Watch | None = None
        self.baseline: Baseline | None = None
        self.learning: LiveLearning | None = None
        self.paused: Callable[[], bool] = lambda: False
        self.judged = 0

    @staticmethod
    def prepare(config: Config) -> LiveLearning:
        """The learning of a baseline, ready to begin. AgentError where its file cannot be used."""
        return LiveLearning(config)

    def begin(self, baseline: Baseline | None, learning: LiveLearning | None = None) -> None:
        """Watches against ``baseline``, or learns one."""
        if baseline is None:
            self.learning = learning or self.prepare(self._config)
        else:
            self._take(baseline)

    def follow(self, rows: Rows, health: Mapping[str, DeviceHealth], config: Config) -> None:
        """Goes on over other rows of the same watched tags: devices or tags beside them were changed."""
        self._config, self._rows, self._health = config, rows, health
        self._device_of = {tag.name: device.name for device in config.devices for tag in device.tags}

    def arrived(self, device: str) -> None:
        """New readings of ``device``."""
        trigger = self._config.trigger
        if trigger and self._device_of[trigger] == device:
            value = self._rows.value(trigger)
            if value is not None and value != self._trigger:
                self._trigger = value
                self._judge()

    async def run(self) -> None:
        """Until cancelled. With a trigger, rows come by interval only while the trigger itself has no value."""
        loop = asyncio.get_running_loop()
        start, slot, interval = loop.time(), 0, self._config.interval
        while True:
            slot = max(slot + 1, int((loop.time() - start) / interval) + 1)
            await asyncio.sleep(start + slot * interval - loop.time())
            trigger = self._config.trigger
            if not self.paused() and (not trigger or not self._rows.fresh(trigger, self._clock.now())):
                self._judge()
            if self.learning is not None and self.learning.enough:
                await self._learn(self.learning)

    def stop(self) -> None:
        if self.learning is not None:
            self.learning.stop()

    def _judge(self) -> None:
        row = self._rows.row(self._clock.now(), self._health)
        if self._watch is not None:
            self._judge_row(self._watch, row)
        elif self.learning is not None:
            self.learning.take(row)

    def _judge_row(self, watch: Watch, row: Row) -> None:
        try:
            judgement = watch.update(row.time, row.values[self._order], row.missing)
        except ModelError as exc:
            self._note(f"a row could not be judged: {exc}")
            return
        self.judged += 1
        if judgement.events:
            self._tell(judgement.events, row.time)

    def _tell(self, events: Sequence[Anomaly], now: datetime) -> None:
        self._on_anomalies(self._episodes.take(events, now))

    async def _learn(self, learning: LiveLearning) -> None:
        baseline = await learning.learn()
        if baseline is not None:
            self.learning = None
            self._on_baseline(baseline)
            self._take(baseline)

    def _take(self, baseline: Baseline) -> None:
        self._on_anomalies(self._episodes.end("a new baseline came into force", self._clock.now()))
        places = {name: at for at, name in enumerate(self._config.watched)}
        self._order = np.array([places[name] for name in baseline.names], np.intp)
        self.baseline, self._watch = baseline, Watch(baseline)
        say("baseline", digest=baseline.digest[:16], rows=baseline.rows)

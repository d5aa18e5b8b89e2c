"""One contender with its plant and broker, set up and taken down. The contender has a core of its own."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from ullage_plant.demo.processes import Child, Children

from .broker import Broker, Observer
from .contenders import Contender, Feed, Load
from .plant import BlackHole, Plant
from .tree import Cost, cost

DEVICES, REGISTERS = 20, 500


def cores() -> tuple[int, int]:
    """The core of the contender, and the one of everything else; the same where there is but one."""
    have = sorted(os.sched_getaffinity(0))
    return have[0], have[-1]


class Rig:
    """``start`` begins the contender; everything ends with the ``with`` block, by process id."""

    def __init__(
        self, contender: Contender, folder: Path, *, scan: float, store: bool = False, prompt: bool = False,
        tell: bool = False, hole: bool = False, devices: int = DEVICES, registers: int = REGISTERS,
    ) -> None:  # fmt: skip
        self.contender, self.folder, self.feed = contender, folder, Feed()
        self._wishes = (scan, store, prompt, tell, hole, devices, registers)
        self._children = Children()
        self._ends = contextlib.ExitStack()
        self.hole: BlackHole | None = None
        self.child: Child
        self.started = 0.0

    def __enter__(self) -> Rig:
        scan, store, prompt, tell, hole, devices, registers = self._wishes
        self.folder.mkdir(parents=True)
        mine, others = cores()
        self._ends.enter_context(self._children)
        try:
            self.plant = Plant(self._children, self.folder, devices, registers, cpu=others)
            self.broker = Broker(self._children, self.folder, cpu=others)
            observer = Observer(self._children, self.folder, self.broker.port, self._hear, cpu=others)
            self._ends.callback(observer.stop)
            port = self.broker.port
            if hole:
                self.hole = BlackHole(self._children, self.folder, port, cpu=others)
                port = self.hole.port
            load = Load(self.folder, self.plant.base, devices, registers, port, scan, store, prompt, tell)
            argv, self._env = self.contender.prepare(load)
            self._argv = ["taskset", "-c", str(mine), *argv]
            self._ends.callback(self.contender.attend(self.feed, self.broker.port))
        except BaseException:
            self._ends.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()

    def _hear(self, when: float, topic: str, payload: bytes) -> None:
        self.feed.bytes += len(payload)
        self.feed.messages += 1
        self.contender.hear(self.feed, when, topic, payload)

    def start(self) -> None:
        self.started = time.time()
        self.child = self._children.start(self.contender.name, self._argv, cwd=self.folder, env=self._env)

    def kill(self) -> None:
        """As a power cut would. ``start`` begins it again in the same folder."""
        self.child.kill()
        self._children.forget(self.child)

    def cost(self) -> Cost:
        return cost(self.child.process.pid)

    def wait(self, seen: Callable[[], bool], seconds: float) -> bool:
        """Whether it was seen in time; RuntimeError when the contender ended meanwhile."""
        deadline = time.monotonic() + seconds
        while not seen():
            if time.monotonic() > deadline:
                return False
            if not self.child.alive:
                raise RuntimeError(f"{self.contender.name} ended by itself: {self.child.tail(5)}")
            time.sleep(0.02)
        return True

    def steady(self, seconds: float) -> None:
        """First data at the broker, and some polls more."""
        if not self.wait(lambda: self.feed.first is not None, 60):
            raise RuntimeError(f"{self.contender.name}: nothing at the broker within 60 s: {self.child.tail(5)}")
        time.sleep(seconds)

"""The tasks of the running agent: they come and go, and a fault in one of them ends the whole."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Tasks:
    """``fault`` is what the first task that failed failed with."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._failed = asyncio.Event()
        self.fault: BaseException | None = None

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def drop(self, task: asyncio.Task[None]) -> None:
        """Ends one task; its end is nobody's concern."""
        task.cancel()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self.fault = self.fault or fault
            self._failed.set()

    async def until(self, stop: asyncio.Event) -> None:
        """Until ``stop`` is set or a task failed."""
        waiting = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(self._failed.wait())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()

    async def end(self, seconds: float) -> bool:
        """Ends all tasks; True when some are late."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        return bool(tasks) and bool((await asyncio.wait(tasks, timeout=seconds))[1])

"""``ullage-agent run``: an agent with all that belongs to its process: log, local door, service manager."""

from __future__ import annotations

import asyncio
import contextlib
import json

from .config import Config
from .local.door import LocalDoor
from .local.notify import Notifier
from .memory import give_back
from .run import Agent
from .say import speak


def serve(config: Config) -> int:
    """Runs an agent to its end; 0 when it was asked to stop."""
    speak(config.log)
    agent, notifier = Agent(config), Notifier()
    give_back()
    door = LocalDoor(agent)

    def ready() -> None:
        line = {"ready": True, "agent": config.agent, "key": agent.key.public.to_text()}
        with contextlib.suppress(OSError):
            print(json.dumps(line), flush=True)
        notifier.ready(f"reading {len(config.devices)} devices")

    async def watchdog() -> None:
        # That the loop turns is the proof of life. A full outbox is no reason to be killed: a restart makes no room.
        await notifier.run()

    agent.on_reload = notifier.reloading, lambda: notifier.ready(f"reading {len(agent.config.devices)} devices")

    async def live() -> None:
        await door.open()
        try:
            await agent.run(ready, beside=(watchdog,))
        finally:
            notifier.stopping()
            door.close()

    asyncio.run(live())
    return 0

"""Whether the broker lets the agent in and grants what it subscribes to."""

from __future__ import annotations

import asyncio

from ullage_protocols import topics
from ullage_protocols.mqtt import Link

from ..config import Config
from .found import PartFound

_WAIT = 12.0
_AGAIN = 2.0


async def reached(config: Config) -> PartFound:
    """Connects under a name of its own, so that a running agent keeps its connection."""
    settled = asyncio.Event()
    loop = asyncio.get_running_loop()
    told: list[tuple[bool, str]] = []

    def on_state(connected: bool, sentence: str) -> None:
        told.append((connected, sentence))
        loop.call_soon_threadsafe(settled.set)

    link = Link(
        config.broker,
        client_id=f"ullage-check-{config.agent}",
        subscribe=[topics.receipt(config.agent), topics.down(config.agent)],
        on_message=lambda incoming: None,
        on_state=on_state,
    )
    link.start()
    try:
        # The first word may be that the broker lacks MQTT 5, after which 3.1.1 is tried.
        deadline = loop.time() + _WAIT
        while not any(connected for connected, _ in told) and len(told) < 3 and loop.time() < deadline:
            settled.clear()
            try:
                await asyncio.wait_for(settled.wait(), min(_AGAIN, deadline - loop.time()))
            except TimeoutError:
                if told:
                    break
    finally:
        await asyncio.to_thread(link.stop)
    where = f"{config.broker.host}:{config.broker.port}"
    good = next((sentence for connected, sentence in told if connected), "")
    if good:
        return PartFound("broker", True, good)
    why = told[-1][1] if told else f"no answer from the broker at {where}"
    return PartFound("broker", False, f"{why}; check host, port, certificates and login under [broker]")

"""``ullage-plant run``: the plant on the wall clock behind both faces, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .faces.endpoint import Endpoint, claim
from .faces.line_image import LineImage
from .faces.modbus import ModbusFace
from .faces.opcua import OpcUaFace
from .host import PlantHost
from .process import Plant
from .tags import TAGS, TICK, UNIT
from .truth import TruthLog


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What ``run`` was asked for; ``speed`` is seconds of plant time per second."""

    modbus: Endpoint
    opcua: Endpoint
    truth: Path | None
    seed: int
    speed: float
    count_start: int


def stop_event() -> asyncio.Event:
    """An event of the running loop that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    return stop


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait, but not beyond ``stop``."""
    try:
        await asyncio.wait_for(stop.wait(), max(0.0, seconds))
    except TimeoutError:
        return


def say(record: dict[str, object]) -> None:
    """One JSON line on stdout, at once."""
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


async def run(options: RunOptions) -> int:
    """Serve the plant. Raises ``PlantError`` before it is ready if an address or the truth log cannot be had."""
    stop = stop_event()
    claim(options.modbus, "Modbus TCP")
    claim(options.opcua, "OPC UA")
    plant = Plant(seed=options.seed, count_start=options.count_start)
    nodes = [(tag.name, tag.node) for tag in TAGS if tag.node]
    opcua = OpcUaFace("plant", nodes, options.opcua)
    with TruthLog(options.truth) as truth:
        try:
            await opcua.start()
            began = time.monotonic()
            about = {"seed": options.seed, "count_start": options.count_start}
            host = PlantHost(plant, truth, start=datetime.now(UTC), speed=options.speed, about=about)
            modbus = ModbusFace(LineImage(host, lambda: host.advance(time.monotonic() - began)), options.modbus, UNIT)
            try:
                await modbus.start()
                await _publish(opcua, host)
                say({"ready": True, "modbus": str(modbus.endpoint), "opcua": opcua.url})
                due = began
                while not stop.is_set():
                    caught_up = host.advance(time.monotonic() - began)
                    await _publish(opcua, host)
                    due = max(due + TICK, time.monotonic() - TICK)
                    await pause(stop, due - time.monotonic() if caught_up else 0.0)
                host.stop()
            finally:
                await modbus.stop()
        finally:
            await opcua.stop()
    return 0


async def _publish(face: OpcUaFace, host: PlantHost) -> None:
    report = host.report()
    await face.publish([(tag.name, report[tag.name]) for tag in TAGS if tag.node], host.now)

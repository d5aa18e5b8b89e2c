"""``ullage-agent check``: everything that ``run`` needs, tried once, and told in a table. It changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ..clock import Clock
from ..config import Config
from ..config.read import load
from ..field.clients import Clients
from ..progress import Progress
from . import broker, clock, files, trust
from .devices import Look, look, place, spared
from .found import Found
from .shown import as_json as found_json
from .shown import as_text

_QUIET = 1.0
"""Seconds after which a terminal is told who is waited for."""


def check(path: Path, *, as_json: bool) -> int:
    """Prints what was found (JSON with ``as_json``); 0 when every tag is good and every part is well, else 1.

    A missing scorer key is one of the parts, so that the devices of a new configuration can be tried at once.
    ConfigError where the configuration cannot be used at all.
    """
    config = load(path, scorer=False)
    found = asyncio.run(_check(config))
    print(found_json(found) if as_json else as_text(found))
    return 0 if found.good else 1


async def _check(config: Config) -> Found:
    now = datetime.now(UTC)
    at_work = files.running(config)
    lines = spared(config, at_work) if at_work is not None else frozenset()
    clients, time = Clients(), Clock()
    waiting = {device.name for device in config.devices}

    async def one(looking: Look) -> None:
        await look(looking, clients, time, sharing[place(looking.device)])
        waiting.discard(looking.device.name)

    seen = [Look(device, spared=device.name in lines) for device in config.devices]
    sharing = Counter(map(place, config.devices))
    async with _told(waiting, len(seen)):
        reaching = asyncio.create_task(broker.reached(config))
        await asyncio.gather(*map(one, seen))
        told = await reaching
    parts = [
        *files.parts(config, at_work),
        *trust.parts(config, now),
        clock.part(config, now, [(one.device.name, one.ahead) for one in seen if one.ahead is not None]),
        told,
    ]
    return Found(tuple(tag for one in seen for tag in one.tags), tuple(one.found(now) for one in seen), tuple(parts))


@contextlib.asynccontextmanager
async def _told(waiting: set[str], total: int) -> AsyncIterator[None]:
    """At a terminal, whom it waits for when that takes long."""
    progress = Progress(sys.stderr)

    async def tell() -> None:
        await asyncio.sleep(_QUIET)
        while True:
            progress.show(f"waiting for {_listed(sorted(waiting)) or 'the broker'}", 1 - len(waiting) / max(total, 1))
            await asyncio.sleep(0.2)

    task = asyncio.create_task(tell()) if sys.stderr.isatty() else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            progress.end()


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"

"""``ullage-agent check``: everything that ``run`` needs, tried once, and told in a table."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict, dataclass

from ullage_protocols import topics
from ullage_protocols.field.base import FieldError
from ullage_protocols.keys import SigningKey
from ullage_protocols.mqtt import Link
from ullage_protocols.sample import Quality, Sample

from .baseline import load_baseline
from .clients import Clients
from .clock import Clock
from .config import Config, DeviceConfig
from .errors import AgentError

_BROKER_WAIT = 12.0


@dataclass(frozen=True, slots=True)
class TagCheck:
    """One tag as it was read: ``age`` seconds of the device's own time, ``trip`` seconds of the whole read."""

    device: str
    tag: str
    value: str
    quality: str
    age: float | None
    trip: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class PartCheck:
    """One other part: key, scorer key, baseline, broker."""

    part: str
    good: bool
    told: str


def check(config: Config, *, as_json: bool) -> int:
    """Prints the table (or JSON); 0 when every tag is good and every part is well, else 1."""
    tags, parts = asyncio.run(_check(config))
    good = all(part.good for part in parts) and all(tag.quality == Quality.GOOD for tag in tags)
    if as_json:
        print(
            json.dumps(
                {"good": good, "tags": [asdict(tag) for tag in tags], "parts": [asdict(part) for part in parts]},
                ensure_ascii=False,
            )
        )
    else:
        print(_table(tags, parts, good))
    return 0 if good else 1


async def _check(config: Config) -> tuple[list[TagCheck], list[PartCheck]]:
    clock = Clock()
    *read, broker = await asyncio.gather(*(_device(device, clock) for device in config.devices), _broker(config))
    tags = [tag for found in read if isinstance(found, list) for tag in found]
    parts = [*_files(config), *([broker] if isinstance(broker, PartCheck) else [])]
    return tags, parts


async def _device(device: DeviceConfig, clock: Clock) -> list[TagCheck]:
    try:
        client = Clients().client_for(device, clock)
        try:
            await client.connect()
            start = time.perf_counter()
            samples = list(await client.read())
            trip = time.perf_counter() - start
        finally:
            await client.close()
    except (FieldError, AgentError) as exc:
        return [TagCheck(device.name, tag.name, "", "bad", None, None, str(exc)) for tag in device.tags]
    return [_tag(device, sample, trip) for sample in samples]


def _tag(device: DeviceConfig, sample: Sample, trip: float) -> TagCheck:
    age = (sample.seen_time - sample.source_time).total_seconds()
    value = (
        "" if sample.value is None else f"{sample.value:g}" if isinstance(sample.value, float) else str(sample.value)
    )
    return TagCheck(
        device.name, sample.tag, value[:60], str(sample.quality), round(age, 6), round(trip, 6), sample.reason
    )


async def _broker(config: Config) -> PartCheck:
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
        deadline = loop.time() + _BROKER_WAIT
        while not any(connected for connected, _ in told) and len(told) < 3 and loop.time() < deadline:
            settled.clear()
            try:
                await asyncio.wait_for(settled.wait(), min(2.0, deadline - loop.time()))
            except TimeoutError:
                if told:
                    break
    finally:
        await asyncio.to_thread(link.stop)
    where = f"{config.broker.host}:{config.broker.port}"
    good = next((sentence for connected, sentence in told if connected), "")
    return PartCheck("broker", bool(good), good or (told[-1][1] if told else f"no answer from the broker at {where}"))


def _files(config: Config) -> list[PartCheck]:
    parts = []
    if config.key.exists():
        key = SigningKey.from_file(config.key)
        parts.append(PartCheck("key", True, f"{key.public.to_text()} (id {key.keyid})"))
    else:
        parts.append(PartCheck("key", True, f"{config.key} is made at the first run, or by `ullage-agent key`"))
    if config.scorer is not None:
        parts.append(PartCheck("scorer", True, f"receipts count when signed by key id {config.scorer.keyid}"))
    try:
        baseline = load_baseline(config)
        told = (
            f"{baseline.rows} rows, {baseline.start.isoformat()} to {baseline.end.isoformat()}, {baseline.digest[:16]}"
            if baseline
            else f"{config.baseline} is missing: it is learned from the first {config.learn:g} s of running"
        )
        parts.append(PartCheck("baseline", True, told))
    except AgentError as exc:
        parts.append(PartCheck("baseline", False, str(exc)))
    return parts


def _table(tags: list[TagCheck], parts: list[PartCheck], good: bool) -> str:
    rows = [("device", "tag", "value", "quality", "age", "trip", "")]
    for tag in tags:
        age = "" if tag.age is None else f"{tag.age:.3f} s"
        trip = "" if tag.trip is None else f"{tag.trip * 1000:.1f} ms"
        rows.append((tag.device, tag.tag, tag.value, tag.quality, age, trip, tag.reason))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    lines = [
        "  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[6])) for row in rows
    ]
    lines = [line.rstrip() for line in lines]
    lines.append("")
    lines += [f"{part.part:<9} {'good' if part.good else 'BAD '}  {part.told}" for part in parts]
    bad = sum(tag.quality != Quality.GOOD for tag in tags) + sum(not part.good for part in parts)
    lines.append("all is well" if good else f"{bad} of {len(tags) + len(parts)} not as they should be")
    return "\n".join(lines)

"""One device read once: every group, or the first report of a subscription, and what the device says it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from ullage_protocols.field.base import FieldClient, FieldError, Identity, Subscribed
from ullage_protocols.field.modbus.spec import ModbusDevice, ModbusTag
from ullage_protocols.field.modbus.swapped import Suggestion, is_raw, raw_of, suggestions, with_raw
from ullage_protocols.field.opcua.spec import OpcuaDevice, OpcuaTag
from ullage_protocols.field.scan import Scan
from ullage_protocols.sample import Sample, Value

from ..clock import Clock
from ..config import Config, DeviceConfig
from ..errors import AgentError
from ..field.clients import Clients
from .files import AtWork
from .found import DeviceFound, TagFound

_TIMEOUTS, _LEAST = 20, 15.0
"""A device has so many of its timeouts, and at least so many seconds, for everything it is asked."""
_CLOCK = "clock=server"
"""The row that tells a server's time; no configured name holds "="."""
_SERVER_TIME = "i=2258"
_OLD = 60.0
_LONGEST = 60
_SOON = timedelta(days=30)


@dataclass
class Look:
    """One device and what is seen of it. ``spared``: the running agent holds its line, so it is not touched.

    ``ahead`` is by how many seconds the clock of its server is before ours.
    """

    device: DeviceConfig
    spared: bool = False
    tags: list[TagFound] = field(default_factory=list)
    identity: Identity = field(default_factory=Identity)
    ahead: float | None = None
    fault: str = ""

    def found(self, now: datetime) -> DeviceFound:
        """The device's own line."""
        device, told, expires = self.device, self.identity, self.identity.certificate_expires
        logins = {login.lower() for endpoint in told.endpoints for login in endpoint.logins}
        fault = self.fault
        if not fault and device.encrypted and expires is not None and expires < now:
            fault = f"its certificate expired on {expires:%Y-%m-%d}; have it renewed, then `ullage-agent trust`"
        return DeviceFound(
            device.name, device.protocol, _where(device), told.vendor, told.product, told.model, told.firmware,
            told.state, device.encrypted, "anonymous" in logins if told.endpoints else None, told.certificate,
            expires.isoformat() if expires else "", None if self.ahead is None else round(self.ahead, 3),
            not fault, fault or _remark(expires, now),
        )  # fmt: skip


def place(device: DeviceConfig) -> str:
    """Where a device is reached; units on one line have one place."""
    return device.spec.url if isinstance(device.spec, OpcuaDevice) else device.spec.where


def spared(config: Config, at_work: AtWork) -> frozenset[str]:
    """The devices on serial lines, which one process at a time can use: while an agent runs they are its own."""
    serial = {one.name for one in config.devices if isinstance(one.spec, ModbusDevice) and one.spec.serial}
    return frozenset(serial if at_work.devices is None else serial & set(at_work.devices))


async def look(looking: Look, clients: Clients, clock: Clock, sharing: int) -> None:
    """Reads the device of ``looking``; whatever goes wrong is part of what is seen. ``sharing`` devices have its place,
    and may each hold it up."""
    device = looking.device
    if looking.spared:
        reason = "not read: the running agent uses this serial line; see `ullage-agent status`"
        looking.tags = [replace(_bad(device, tag.name, reason), quality="", spared=True) for tag in device.tags]
        return
    seconds = max(_LEAST, _TIMEOUTS * device.spec.timeout) * sharing
    try:
        async with asyncio.timeout(seconds):
            await _read(looking, clients, clock)
    except (FieldError, AgentError) as exc:
        looking.fault = str(exc)
    except TimeoutError:
        looking.fault = f"device {device.name}: not done within {seconds:g} s; is it overloaded, or the network slow?"
    # What was read before a fault stands; the rest is bad for it.
    read = {tag.tag for tag in looking.tags}
    looking.tags += [_bad(device, tag.name, looking.fault) for tag in device.tags if tag.name not in read]
    order = {tag.name: position for position, tag in enumerate(device.tags)}
    looking.tags.sort(key=lambda tag: order[tag.tag])


async def _read(looking: Look, clients: Clients, clock: Clock) -> None:
    device = looking.device
    client = clients.client_for(replace(device, spec=_asked(device)), clock)
    try:
        await client.connect()
        seen: list[tuple[Scan, float | None]] = []
        if isinstance(client, Subscribed) and client.subscribed:
            seen.append((await client.changes(), None))
        else:
            for group in range(len(client.groups)):
                start = time.perf_counter()
                scan = await client.read(group)
                seen.append((scan, time.perf_counter() - start))
                looking.tags = list(_tags(looking, seen))
        looking.tags = list(_tags(looking, seen))
        if device.identify:
            looking.identity = await _identity(looking, client)
    finally:
        await client.close()


async def _identity(looking: Look, client: FieldClient) -> Identity:
    """A device that falls over the question what it is has answered its reads all the same."""
    try:
        return await client.identify()
    except FieldError as exc:
        looking.fault = f"{exc}; it answers reads, but not what it is: with identify = false it is spared the question"
        return Identity()


def _asked(device: DeviceConfig) -> ModbusDevice | OpcuaDevice:
    """The device with the rows that the check needs beside its tags."""
    spec = device.spec
    if isinstance(spec, ModbusDevice):
        return with_raw(spec)
    return replace(spec, tags=(*spec.tags, OpcuaTag(_CLOCK, _SERVER_TIME)))


def _tags(looking: Look, seen: list[tuple[Scan, float | None]]) -> Iterator[TagFound]:
    """One a tag, its newest value."""
    device, rows = looking.device, dict[str, tuple[Sample, float | None]]()
    values: dict[str, object] = {}
    for scan, trip in seen:
        for sample in scan:
            if sample.tag == _CLOCK:
                continue
            if is_raw(sample.tag):
                values[sample.tag] = sample.value
            else:
                rows[sample.tag] = (sample, trip)
    if isinstance(device.spec, OpcuaDevice):
        looking.ahead = _ahead(seen)
    swapped = _swapped(device, values)
    return (_tag(device, *rows[name], swapped.get(name)) for name in rows)


def _ahead(seen: list[tuple[Scan, float | None]]) -> float | None:
    """By how much the server's clock is before ours: by its own word, else by the newest of its times, where that is
    no old one, which would only say that nothing changed since."""
    newest: float | None = None
    for scan, trip in seen:
        for row, name in enumerate(scan.columns.names):
            if scan.source is None or scan.source[row] != scan.source[row]:
                continue
            ahead = float(scan.source[row]) - scan.seen.timestamp() + (trip or 0.0) / 2
            if name == _CLOCK:
                return ahead
            newest = ahead if newest is None else max(newest, ahead)
    return newest if newest is not None and newest > -_OLD else None


def _swapped(device: DeviceConfig, values: dict[str, object]) -> dict[str, Suggestion]:
    spec = device.spec
    if not isinstance(spec, ModbusDevice):
        return {}
    return suggestions([(tag, raw) for tag in spec.tags if (raw := raw_of(tag, values)) is not None])


def _tag(device: DeviceConfig, sample: Sample, trip: float | None, swapped: Suggestion | None) -> TagFound:
    spec = next(tag for tag in device.spec.tags if tag.name == sample.tag)
    unit, named = (spec.unit, spec.named(sample.value)) if isinstance(spec, ModbusTag) else ("", "")
    reasons = [sample.reason] if sample.reason else []
    if swapped is not None:
        reasons.append(swapped.told)
    return TagFound(
        device.name, sample.tag, sample.value, _text(sample.value, unit, named), unit, named, str(sample.quality),
        round((sample.seen_time - sample.source_time).total_seconds(), 6),
        None if trip is None else round(trip, 6), "; ".join(reasons),
        swapped.order if swapped else "", swapped.value if swapped else None,
    )  # fmt: skip


def _where(device: DeviceConfig) -> str:
    return place(device) + (f" unit {device.spec.unit}" if isinstance(device.spec, ModbusDevice) else "")


def _bad(device: DeviceConfig, tag: str, reason: str) -> TagFound:
    return TagFound(device.name, tag, None, "", "", "", "bad", None, None, reason)


def _text(value: Value | None, unit: str, named: str) -> str:
    """As a person reads it: a truth as true or false, a text in quotes and bounded, a number with its unit or name."""
    if value is None:
        return ""
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, str):
        text = f'"{"".join(letter if letter.isprintable() else "?" for letter in value)}"'
        text = text if len(text) <= _LONGEST else f'{text[: _LONGEST - 4]}..."'
    else:
        text = f"{value:.7g}" if isinstance(value, float) else str(value)
    return " ".join(word for word in (text, unit, f"({named[:_LONGEST]})" if named else "") if word)


def _remark(expires: datetime | None, now: datetime) -> str:
    if expires is None or expires - now > _SOON:
        return ""
    if expires < now:
        return f"its certificate expired on {expires:%Y-%m-%d}; have it renewed"
    return f"its certificate expires on {expires:%Y-%m-%d}; have it renewed, then `ullage-agent trust`"

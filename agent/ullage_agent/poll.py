"""Reads one device at its own fixed rate, and comes back when it was lost. A task a device: none waits for another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from ullage_protocols.field.base import Clock, FieldClient, FieldError
from ullage_protocols.field.modbus.spec import ModbusDevice
from ullage_protocols.field.opcua.spec import OpcuaDevice
from ullage_protocols.field.scan import Columns, bad_scan
from ullage_protocols.messages import DeviceState
from ullage_protocols.sample import Quality, Sample

from .config import DeviceConfig
from .errors import AgentError
from .say import say

_BACKOFF = (0.25, 10.0)
_LONGEST_READ = 60.0
"""Seconds after which a read that its own timeouts should have ended is given up."""


def client_for(device: DeviceConfig, clock: Clock) -> FieldClient:
    """The field client of a device. Its library is imported here, so an agent carries only what it uses.

    The libraries' own logs are silenced: every fault reaches the agent's as an exception.
    """
    if isinstance(device.spec, OpcuaDevice):
        try:
            from ullage_protocols.field.opcua.client import OpcuaClient
        except ImportError as exc:
            raise AgentError(
                f"device {device.name} speaks OPC UA, whose library is missing ({exc}); install ullage-agent[opcua]"
            ) from exc
        logging.getLogger("asyncua").setLevel(logging.CRITICAL)
        return OpcuaClient(device.spec, clock)
    from ullage_protocols.field.modbus.client import ModbusClient

    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    assert isinstance(device.spec, ModbusDevice)  # noqa: S101 - the other of two
    return ModbusClient(device.spec, clock)


class DeviceHealth:
    """How a device answers, with hysteresis: lost only after ``patience`` seconds without an answer. Pure."""

    def __init__(self, device: DeviceConfig, now: datetime) -> None:
        self._device = device
        self._since: datetime | None = now
        self._never = True
        self._reason = "not reached yet"
        self._bad_tags = 0
        self._good = self._all = 0

    def answered(self, samples: Sequence[Sample]) -> None:
        bad = [sample for sample in samples if sample.quality is Quality.BAD]
        self._since, self._never = None, False
        self._bad_tags = len(bad)
        self._reason = f"{bad[0].tag}: {bad[0].reason}" if bad else ""
        self._good += len(samples) - len(bad)
        self._all += len(samples)

    def failed(self, now: datetime, reason: str) -> None:
        self._since = self._since or now
        self._reason = reason
        self._all += len(self._device.tags)

    def lost(self, now: datetime) -> bool:
        return self._since is not None and (now - self._since).total_seconds() > self._device.patience

    def state(self, now: datetime, *, reset: bool = False) -> DeviceState:
        """For the heartbeat; ``reset`` starts the observed share anew."""
        away = self._since is not None
        name = "lost" if away and (self._never or self.lost(now)) else "degraded" if away or self._bad_tags else "good"
        share = self._good / self._all if self._all else 0.0
        if reset:
            self._good = self._all = 0
        return DeviceState(self._device.name, name, round(share, 6), self._reason[:500])


class Poller:
    """Polls ``device`` until cancelled; ``on_samples`` gets every poll's samples, bad ones when the device is away."""

    def __init__(
        self,
        device: DeviceConfig,
        client: FieldClient,
        clock: Clock,
        on_samples: Callable[[DeviceConfig, list[Sample]], None],
    ) -> None:
        self.device, self._client, self._clock, self._on_samples = device, client, clock, on_samples
        self.health = DeviceHealth(device, clock())
        self._columns = Columns(tuple(range(len(device.tags))), tuple(tag.name for tag in device.tags))
        self._told = ""

    async def run(self) -> None:
        delay = _BACKOFF[0]
        try:
            while True:
                try:
                    await self._client.connect()
                    await self._read_on()
                except FieldError as exc:
                    if self.health.state(self._clock()).state != "lost":
                        delay = _BACKOFF[0]
                    self._away(str(exc))
                await asyncio.sleep(delay)
                delay = min(delay * 2, _BACKOFF[1])
        finally:
            await self._client.close()

    async def _read_on(self) -> None:
        """Fixed rate without drift: a slot that was missed is left out, never made up in a burst."""
        loop = asyncio.get_running_loop()
        start, slot = loop.time(), 0
        while True:
            try:
                async with asyncio.timeout(_LONGEST_READ):
                    samples = list(await self._client.read())
            except TimeoutError as exc:
                raise FieldError(f"device {self.device.name}: a read took longer than {_LONGEST_READ:g} s") from exc
            self.health.answered(samples)
            self._tell("good" if self.health.state(self._clock()).state == "good" else "degraded")
            self._on_samples(self.device, samples)
            slot = max(slot + 1, int((loop.time() - start) / self.device.scan) + 1)
            await asyncio.sleep(start + slot * self.device.scan - loop.time())

    def _away(self, reason: str) -> None:
        now = self._clock()
        self.health.failed(now, reason)
        self._tell("lost", reason)
        self._on_samples(self.device, list(bad_scan(self._columns, reason, now)))

    def _tell(self, state: str, reason: str = "") -> None:
        # A state is told when it changes, not at every attempt.
        if state != self._told:
            self._told = state
            why = reason or self.health.state(self._clock()).reason
            say("device", device=self.device.name, state=state, **({"why": why} if why else {}))

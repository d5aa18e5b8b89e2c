"""Reads one device at its own fixed rates, and comes back when it was lost. A task a device: none waits for another."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Protocol

from ullage_protocols.field.base import Clock, FieldClient, FieldError, HostileError, Identity, SilentError, Subscribed
from ullage_protocols.field.scan import Scan

from ..config import DeviceConfig
from ..say import say
from .health import DeviceHealth
from .schedule import Schedule

_BACKOFF = (0.25, 10.0)
_JITTER = 0.2
"""Up to this part of a wait is left out at random, so that devices lost together do not come back in one burst."""
_BACK_AGAIN = 1.0
"""Seconds between two connections to a device that closes them."""
_LONGEST_READ = 600.0
"""Seconds after which a read that its own timeouts should have ended is given up; on a crowded serial line many units
take their turns meanwhile."""
_IDENTIFY_AGAIN = (60.0, 3600.0)
"""Seconds after which a device is asked again what it is: after a new connection, and on one that stayed."""
_OFFENCES = 2
"""So often a device may answer reads but fall over the question what it is, before it is no longer asked."""


class Taker(Protocol):
    """Who gets what was read."""

    def scan(self, device: DeviceConfig, group: int | None, scan: Scan) -> None:
        """A scan of ``group``; None: a report of changes, perhaps empty, after which everything else still holds."""

    def lost(self, device: DeviceConfig, error: FieldError) -> None:
        """The device went away, or another attempt to reach it failed."""

    def identity(self, device: DeviceConfig, identity: Identity) -> None:
        """What the device says it is."""


class Poller:
    """Polls ``device`` until cancelled (or waits for its reports), telling ``taker``."""

    def __init__(self, device: DeviceConfig, client: FieldClient, clock: Clock, taker: Taker) -> None:
        self.device, self._client, self._clock, self._taker = device, client, clock, taker
        self.health = DeviceHealth(device, clock())
        self._schedule: Schedule | None = None
        self._gone = asyncio.Event()
        self._proven = self._fresh = self._lost = False
        self._back_at = -_BACK_AGAIN
        self._offences = 0 if device.identify else _OFFENCES
        self._asked: float | None = None
        self._told = ""

    async def run(self) -> None:
        delay = _BACKOFF[0]
        self._client.on_lost = self._gone.set
        try:
            while True:
                try:
                    await self._client.connect()
                    await self._serve()
                except FieldError as error:
                    if self._proven:
                        delay = _BACKOFF[0]
                        if error.cause == "closed":
                            await self._again()
                            continue
                    self._proven, self._lost = False, True
                    self._away(error)
                # The early part of a wait is spread, never its bound.
                await asyncio.sleep(delay * (1 - _JITTER * random.random()))
                delay = min(delay * 2, _BACKOFF[1])
        finally:
            self._client.on_lost = None
            await self._client.close()

    async def _again(self) -> None:
        """Devices close idle connections: only one that cannot be had back at once is a loss. One that does so after
        every read is read no more often for it, and connected to no more than once a second."""
        now = asyncio.get_running_loop().time()
        wait = self._back_at + _BACK_AGAIN - now
        if wait > 0:
            await asyncio.sleep(wait)
        self._back_at = now + max(0.0, wait)
        self._proven = False
        self.health.reconnects += 1

    async def _serve(self) -> None:
        self._gone.clear()
        loop = asyncio.get_running_loop()
        if self._schedule is None:
            self._schedule = Schedule(self.device.scans, loop.time())
        elif self._lost:
            self._schedule.resume(loop.time())
        self._lost = False
        self._fresh = True
        client = self._client
        if isinstance(client, Subscribed) and client.subscribed:
            await self._follow(client)
        await self._read_on(self._schedule)

    async def _read_on(self, schedule: Schedule) -> None:
        loop, client, device = asyncio.get_running_loop(), self._client, self.device
        while True:
            group, due = schedule.next()
            start = loop.time()
            if due > start:
                await self._pause(due - start)
                start = loop.time()
            try:
                async with asyncio.timeout(_LONGEST_READ):
                    scan = await client.read(group)
            except TimeoutError as exc:
                raise SilentError(f"device {device.name}: a read took longer than {_LONGEST_READ:g} s") from exc
            now = loop.time()
            self.health.missed += schedule.done(group, now)
            self._take(group, scan, now - start)
            if self._curious(now):
                await self._identify(now)

    async def _follow(self, client: Subscribed) -> None:
        while True:
            self._take(None, await client.changes(), None)
            now = asyncio.get_running_loop().time()
            if self._curious(now):
                await self._identify(now)

    def _take(self, group: int | None, scan: Scan, trip: float | None) -> None:
        self._proven = True
        self.health.answered(group, scan, trip)
        self._tell("degraded" if self.health.degraded else "good")
        self._taker.scan(self.device, group, scan)

    async def _pause(self, seconds: float) -> None:
        """Until the next slot. A connection that the peer closes meanwhile ends it at once."""
        if not self._gone.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._gone.wait()
        if self._gone.is_set():
            raise FieldError(f"device {self.device.name}: connection closed by the device")

    def _curious(self, now: float) -> bool:
        """Whether to ask what the device is: at first, after a new connection, and seldom on one that stays."""
        fresh, self._fresh = self._fresh, False
        if self._offences >= _OFFENCES:
            return False
        return self._asked is None or now - self._asked > _IDENTIFY_AGAIN[0 if fresh else 1]

    async def _identify(self, now: float) -> None:
        """Asks what the device is. One that falls over the question, having just answered a read, is spared it."""
        self._asked = now
        try:
            async with asyncio.timeout(_LONGEST_READ):
                identity = await self._client.identify()
        except (FieldError, TimeoutError) as exc:
            self._offences += 1
            say("identify", device=self.device.name, why=str(exc), again=self._offences < _OFFENCES)
            if isinstance(exc, HostileError):
                raise
            # It has just answered a read, so this is no loss of it: it is one if a fresh connection cannot be had.
            raise FieldError(f"device {self.device.name}: asked what it is, it did not answer: {exc}") from exc
        self._offences = 0
        self._taker.identity(self.device, identity)

    def _away(self, error: FieldError) -> None:
        self.health.failed(self._clock(), str(error))
        self._tell("lost", str(error))
        self._taker.lost(self.device, error)

    def _tell(self, state: str, reason: str = "") -> None:
        # A state is told when it changes, not at every attempt.
        if state != self._told:
            self._told = state
            why = reason or self.health.state(self._clock()).reason
            say("device", device=self.device.name, state=state, **({"why": why} if why else {}))

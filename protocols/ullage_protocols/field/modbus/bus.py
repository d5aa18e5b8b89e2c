"""Who may ask when: a device with a connection of its own at any time, units that share one in turn.

Build one ``BusPool`` in a process and give it to every ``ModbusClient``: it knows which of them share.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from ullage_protocols.field.errors import FieldError, SilentError
from ullage_protocols.field.modbus.exchange import Exchange, Link
from ullage_protocols.field.modbus.frames import Kind, Question, mark_question
from ullage_protocols.field.modbus.spec import ModbusDevice
from ullage_protocols.field.modbus.ways import open_link

_MOST_GIVEN_UP = 100
_PAUSE = 1.0
"""Seconds for which a connection that failed to open is not tried again, however many units want it."""


class Way(Protocol):
    """How one device is reached."""

    on_lost: Callable[[], None] | None
    """Called when the peer closes a connection that is this device's own."""

    @property
    def link(self) -> Link | None:
        """The open connection."""
        ...

    async def open(self) -> None:
        """Makes it ready to ask. Raises FieldError."""
        ...

    async def ask(self, questions: Sequence[Question], raw: bytearray) -> Exchange:
        """All ``questions`` answered or refused. Raises FieldError when the connection or the unit is gone."""
        ...

    def close(self) -> None:
        """Gives it up, any number of times."""
        ...


class BusPool:
    """The connections of one process, by place."""

    def __init__(self) -> None:
        self._buses: dict[str, Bus] = {}

    def way(self, device: ModbusDevice) -> Way:
        """How ``device`` is reached: by the bus of its place where that is shared, else by itself."""
        if not device.shared:
            return Own(device)
        return Seat(self._buses.setdefault(device.where, Bus()), device)


class Own:
    """A connection for one device. Whatever goes wrong ends it: a late reply has nowhere to arrive."""

    def __init__(self, device: ModbusDevice) -> None:
        self.link: Link | None = None
        self.on_lost: Callable[[], None] | None = None
        self._device = device

    async def open(self) -> None:
        """A fresh connection."""
        self.close()
        self.link = await open_link(self._device)
        self.link.on_lost = self.on_lost

    async def ask(self, questions: Sequence[Question], raw: bytearray) -> Exchange:
        """Several questions at once where the device takes them."""
        link, device = self.link, self._device
        if link is None:
            raise _unconnected(device)
        exchange = link.start(questions, raw, device.timeout, device.in_flight)
        try:
            await exchange.done
        except BaseException as error:
            # Also when cancelled: a reply still under way must never meet the next question.
            self.close()
            raise _told(device, error) from error
        return exchange

    def close(self) -> None:
        """Drops the connection."""
        link, self.link = self.link, None
        if link is not None:
            link.drop(FieldError("connection closed"))


class Bus:
    """A connection that units share: one request at a time, turns in the order in which they were wanted."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.users: set[str] = set()
        self._turn = asyncio.Lock()
        self._failure = ""
        self._failed_at = 0.0
        self._mute_since = 0.0
        self._given_up: dict[int, set[Kind]] = {}

    async def ready(self, device: ModbusDevice) -> None:
        """Opens the connection where it is not open. Raises FieldError."""
        async with self._turn:
            await self._ready(device)

    async def _ready(self, device: ModbusDevice) -> Link:
        if self.link is not None and self.link.broken is None:
            return self.link
        now = asyncio.get_running_loop().time()
        if self._failure and now < self._failed_at + _PAUSE:
            raise FieldError(f"{self._failure} (tried {now - self._failed_at:.1f} s ago, for all who share it)")
        self._failure = ""
        try:
            self.link = await open_link(device)
        except FieldError as error:
            self._failure, self._failed_at = str(error), asyncio.get_running_loop().time()
            raise
        return self.link

    async def ask(self, device: ModbusDevice, question: Question, raw: bytearray) -> Exchange:
        """One question in its turn. A unit that does not answer has held the others up for its timeout, once."""
        async with self._turn:
            link = await self._ready(device)
            if device.rtu and device.unit in self._given_up:
                await self._resync(link, device, question)
            exchange = link.start((question,), raw, device.timeout, 1)
            await self._wait(link, device, exchange)
            if isinstance(exchange.failed.get(0), str):
                # A reply that fits no question may be another's, and the one to this question still to come.
                self._give_up(device, question)
            return exchange

    async def _resync(self, link: Link, device: ModbusDevice, question: Question) -> None:
        """A reply on a serial line names no request. After one stayed out, a read is answered first whose reply can be
        told from that one: what was asked before it has then been answered too, or never will be."""
        mark = mark_question(question, self._given_up[device.unit], device.max_gap)
        exchange = link.start((mark,), bytearray(mark.size), device.timeout, 1)
        exchange.only_fitting = True
        await self._wait(link, device, exchange)
        del self._given_up[device.unit]

    def _give_up(self, device: ModbusDevice, question: Question) -> None:
        given_up = self._given_up.setdefault(device.unit, set())
        if len(given_up) < _MOST_GIVEN_UP:
            given_up.add(question.kind)

    async def _wait(self, link: Link, device: ModbusDevice, exchange: Exchange) -> None:
        asked_at = asyncio.get_running_loop().time()
        try:
            await exchange.done
        except BaseException as error:
            link.forget()
            self._give_up(device, exchange.questions[0])
            if isinstance(error, TimeoutError):
                self._silent(link, device, asked_at)
            raise _told(device, error) from error

    def _silent(self, link: Link, device: ModbusDevice, asked_at: float) -> None:
        """Silence twice running, of whichever units, may be the connection's: the next turn opens a fresh one."""
        if not device.serial and self._mute_since and link.heard <= self._mute_since:
            link.drop(FieldError("nothing answers on it"))
        self._mute_since = 0.0 if link.broken else asked_at

    def leave(self, name: str) -> None:
        """``name`` uses it no more; the last one closes it."""
        self.users.discard(name)
        if not self.users and self.link is not None:
            self.link.drop(FieldError("connection closed"))
            self.link = None


class Seat:
    """One unit's place on a ``Bus``."""

    def __init__(self, bus: Bus, device: ModbusDevice) -> None:
        self.on_lost: Callable[[], None] | None = None
        self._bus, self._device = bus, device

    @property
    def link(self) -> Link | None:
        """The shared connection."""
        return self._bus.link

    async def open(self) -> None:
        """Joins; the connection is opened if it is not open."""
        self.close_seat()
        await self._bus.ready(self._device)
        self._bus.users.add(self._device.name)

    def close_seat(self) -> None:
        """Stands up without closing what others may be about to use."""
        self._bus.users.discard(self._device.name)

    async def ask(self, questions: Sequence[Question], raw: bytearray) -> Exchange:
        """One question a turn, so that no unit waits for more than one question of each other unit."""
        if self._device.name not in self._bus.users:
            raise _unconnected(self._device)
        whole = Exchange(questions, raw, asyncio.get_running_loop().create_future())
        try:
            for index, question in enumerate(questions):
                one = await self._bus.ask(self._device, question, raw)
                if one.failed:
                    whole.failed[index] = one.failed[0]
                whole.times[index] = whole.last = one.last
                whole.first = whole.first or one.last
        except BaseException:
            self.close_seat()
            raise
        return whole

    def close(self) -> None:
        """Leaves; the last to leave closes the connection."""
        self._bus.leave(self._device.name)


def _unconnected(device: ModbusDevice) -> FieldError:
    return FieldError(f"device {device.name}: not connected; call connect() first")


def _told(device: ModbusDevice, error: BaseException) -> BaseException:
    """``error`` with the device's name, as the caller shall see it."""
    if isinstance(error, TimeoutError):
        return SilentError(f"device {device.name}: no reply from unit {device.unit} within {device.timeout:g} s")
    if isinstance(error, FieldError):
        return type(error)(f"device {device.name}: {error}; the connection is dropped")
    return error

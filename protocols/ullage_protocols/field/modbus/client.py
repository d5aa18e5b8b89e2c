"""The Modbus client: plans, asks, decodes, learns what a device refuses. How it is reached is a ``Way``'s affair."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from ullage_protocols.field.base import Clock, FieldError, Identity, SilentError
from ullage_protocols.field.modbus import identity
from ullage_protocols.field.modbus.blocks import Block, plan
from ullage_protocols.field.modbus.bus import BusPool
from ullage_protocols.field.modbus.exchange import Exchange
from ullage_protocols.field.modbus.frames import identify_question, read_question, refusal_text
from ullage_protocols.field.modbus.holes import SPLITTING, Hole, Holes
from ullage_protocols.field.modbus.registers import Layout
from ullage_protocols.field.modbus.spec import ModbusDevice, ModbusTag
from ullage_protocols.field.scan import Columns, Floats, Scan, columns_of

_SEARCH, _ROUNDS = 32, 3
"""A search for the registers that are to blame for refusals has so many requests; a scan has so many searches."""
_SPREAD = 0.05
"""Seconds from a scan's first reply to its last, above which each row tells the time of its own."""


class _Group:
    """The tags of one scan interval and how they are asked for now: ``asked`` are indexes of blocks."""

    __slots__ = ("asked", "columns", "layout", "missing", "questions", "tags", "version")

    def __init__(self, columns: Columns, device: ModbusDevice) -> None:
        self.columns = columns
        self.tags: tuple[ModbusTag, ...] = tuple(device.tags[position] for position in columns.positions)
        self.version = -1

    def arrange(self, device: ModbusDevice, holes: Holes, now: float) -> None:
        blocks = plan(self.tags, max_registers=device.max_registers, max_gap=device.max_gap, apart=holes.apart)
        self.layout = Layout(self.tags, blocks, device.unit)
        self.missing = {
            index: refusal_text(code)
            for index, block in enumerate(blocks)
            if (code := holes.missing(block, now)) is not None
        }
        if len(self.missing) == len(blocks):
            # Where nothing is left to ask, asking all the same is how the device is known to be there.
            self.missing = {}
        self.asked = [index for index in range(len(blocks)) if index not in self.missing]
        self.questions = tuple(self.layout.questions[index] for index in self.asked)
        self.version = holes.version


class ModbusClient:
    """A FieldClient for one ``ModbusDevice``; ``clock`` gives the gateway's time, timezone-aware.

    Devices that share a line need the same ``pool``. ``holes`` are those that an earlier client found.
    """

    def __init__(
        self, device: ModbusDevice, clock: Clock, pool: BusPool | None = None, holes: Iterable[Hole] = ()
    ) -> None:
        self._device, self._clock = device, clock
        self._way = (pool or BusPool()).way(device)
        self._groups = tuple(
            _Group(columns, device) for columns in columns_of((tag.name, tag.group) for tag in device.tags)
        )
        self._columns = tuple(group.columns for group in self._groups)
        self._known = tuple(holes)
        self._holes = Holes()
        self._nameless = False
        self._mute = False

    @property
    def name(self) -> str:
        """The device's configured name."""
        return self._device.name

    @property
    def on_lost(self) -> Callable[[], None] | None:
        """Called when the device closes a connection of its own that nobody is reading from."""
        return self._way.on_lost

    @on_lost.setter
    def on_lost(self, call: Callable[[], None] | None) -> None:
        self._way.on_lost = call

    @property
    def groups(self) -> tuple[Columns, ...]:
        """The tags of each group."""
        return self._columns

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The read requests that the tags take, group by group, with the holes that are known."""
        device, holes = self._device, self._holes
        return tuple(
            block
            for group in self._groups
            for block in plan(
                group.tags, max_registers=device.max_registers, max_gap=device.max_gap, apart=holes.apart
            )
        )  # fmt: skip

    def holes(self) -> tuple[Hole, ...]:
        """What the device has refused to give; a later client for it may start from there."""
        return self._holes.known() or self._known

    async def connect(self) -> None:
        """Opens the connection within the device's timeout; over TLS, proven by a first answer. Raises FieldError."""
        if self._known:
            self._holes = Holes(self._known, asyncio.get_running_loop().time())
            self._known = ()
        self._nameless = False
        await self._way.open()
        if self._device.protocol == "modbus-tls":
            await self._prove()

    async def _prove(self) -> None:
        """A device that refuses our certificate says so only after the handshake, when something is asked."""
        first = self.blocks[0]
        question = read_question(self._device.unit, first.table, first.address, first.count)
        try:
            await self._way.ask((question,), bytearray(question.size))
        except FieldError as error:
            raise type(error)(
                f"{error}: TLS was agreed on, but the first read was not answered; does the device trust certificate"
                f" {self._device.certificate}, and does its role allow reading?"
            ) from error

    async def read(self, group: int = 0) -> Scan:
        """One row per tag of ``group``. Raises FieldError when the connection is gone.

        A block that the device refuses with "illegal address" or "illegal value" is asked in parts, at once, until
        a hole costs only the tags that lie in it; then the scan is read anew.
        """
        state, holes = self._groups[group], self._holes
        now = asyncio.get_running_loop().time()
        holes.due(now)
        if state.version != holes.version:
            state.arrange(self._device, holes, now)
        exchange = await self._way.ask(state.questions, state.layout.raw)
        for _ in range(_ROUNDS):
            if not (exchange.failed or holes.version) or not await self._learn(state, exchange, now):
                break
            state.arrange(self._device, holes, now)
            exchange = await self._way.ask(state.questions, state.layout.raw)
        return self._scan(state, exchange)

    async def _learn(self, state: _Group, exchange: Exchange, now: float) -> bool:
        """Finds what is to blame for refusals; whether that makes it worth to read the scan anew."""
        parts: deque[Block] = deque()
        for index, asked in enumerate(state.asked):
            block, answer = state.layout.blocks[asked], exchange.failed.get(index)
            if answer is None:
                self._holes.answered(block)
            elif answer in SPLITTING and isinstance(answer, int):
                parts.extend(self._holes.refused(block, state.tags, answer, now))
        if not parts:
            return False
        for _ in range(_SEARCH):
            if not parts:
                break
            block = parts.popleft()
            if self._holes.missing(block, now) is None:
                question = read_question(self._device.unit, block.table, block.address, block.count)
                answer = (await self._way.ask((question,), bytearray(question.size))).failed.get(0)
                if answer in SPLITTING and isinstance(answer, int):
                    parts.extend(self._holes.refused(block, state.tags, answer, now))
        return True

    def _scan(self, state: _Group, exchange: Exchange) -> Scan:
        failed = state.missing
        if exchange.failed:
            failed = dict(failed)
            for index, answer in exchange.failed.items():
                failed[state.asked[index]] = refusal_text(answer) if isinstance(answer, int) else str(answer)
        values, quality, reasons, exact = state.layout.decode(failed)
        seen = self._clock()
        source = self._times(state, exchange, seen) if exchange.last - exchange.first > _SPREAD else None
        return Scan(state.columns, values, quality, seen, source, reasons, exact, state.layout.forms)

    def _times(self, state: _Group, exchange: Exchange, seen: datetime) -> Floats:
        """When each row's reply came, where they came far apart."""
        times = np.full(len(state.columns), np.nan)
        for index, asked in enumerate(state.asked):
            ago = exchange.last - exchange.times[index]
            times[list(state.layout.blocks[asked].tags)] = seen.timestamp() - ago
        return times

    async def identify(self) -> Identity:
        """What the device says it is (43/14), empty where it does not take that function; over TLS its certificate.

        A device that refuses is not asked again on this connection, one that answers nothing never again.
        """
        found = Identity() if self._nameless or self._mute else identity.identity_of(await self._objects())
        link = self._way.link
        shown = link.guard.certificate() if link is not None and link.guard is not None else None
        if shown is None:
            return found
        der, ends = shown
        expires = datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC) if ends else None
        return replace(found, certificate=hashlib.sha256(der).hexdigest(), certificate_expires=expires)

    async def _objects(self) -> dict[int, str]:
        objects: dict[int, str] = {}
        level, first = identity.BASIC, 0
        for _ in range(identity.MAX_REPLIES):
            question = identify_question(self._device.unit, level, first)
            try:
                answer = (await self._way.ask((question,), bytearray())).failed[0]
            except SilentError:
                self._mute = True
                raise
            part = identity.parse(answer) if isinstance(answer, bytes) else None
            if part is None:
                self._nameless = not objects
                break
            objects.update(part.objects)
            if part.more is not None and part.more > first:
                first = part.more
            elif level == identity.BASIC and part.level >= identity.REGULAR:
                level, first = identity.REGULAR, 3
            else:
                break
        return objects

    async def close(self) -> None:
        """Drops the connection; safe to call at any time, any number of times."""
        self._way.close()

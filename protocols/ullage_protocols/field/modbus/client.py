"""The Modbus/TCP client, and the only importer of pymodbus.

pymodbus connects, builds the requests and decodes the replies. It checks little of what comes back, so every
incoming frame is judged by ``frames`` before pymodbus sees it, and every outgoing one before the socket does.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import cast

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.transaction import TransactionManager

from ullage_protocols.field.base import Clock, FieldError, Identity, bad_sample
from ullage_protocols.field.modbus import frames
from ullage_protocols.field.modbus.blocks import Block, plan, split
from ullage_protocols.field.modbus.registers import decode
from ullage_protocols.field.modbus.spec import BIT_TABLES, ModbusDevice
from ullage_protocols.field.scan import Columns, Scan, scan_of
from ullage_protocols.sample import Quality, Sample

_SPLITTING = frozenset({2, 3})
"""Exceptions that a hole in a merged block can cause: illegal address, illegal value."""


class ReadOnlyTransport(asyncio.Transport):
    """A socket transport that carries single read requests and nothing else."""

    def __init__(self, inner: asyncio.Transport) -> None:
        super().__init__()
        self._inner = inner

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends one read request; raises SendRefused, with nothing sent, for anything else."""
        frames.require_read_request(bytes(data))
        self._inner.write(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """The same for pieces, judged as the whole that they make."""
        self.write(b"".join(bytes(piece) for piece in list_of_data))

    def close(self) -> None:
        """Drops the connection at once: nothing unsent is worth flushing to a device."""
        self._inner.abort()

    def abort(self) -> None:
        """The same as close."""
        self._inner.abort()

    def is_closing(self) -> bool:
        """Whether the connection is being or has been dropped."""
        return self._inner.is_closing()


class StrictTransaction(TransactionManager):
    """pymodbus's transaction layer behind the guard: only reads go out, only exact replies come in."""

    def __init__(self, client: AsyncModbusTcpClient) -> None:
        super().__init__(
            client.comm_params,
            FramerSocket(DecodePDU(False)),
            retries=0,
            is_server=False,
            trace_packet=None,
            trace_pdu=None,
            trace_connect=None,
        )
        self.broken: FieldError | None = None
        self._question: frames.Question | None = None
        self._reply = b""

    async def connect(self) -> bool:
        """Connects within the timeout. Raises OSError or TimeoutError with the cause, never gives False."""
        self.is_closing = False
        transport, _ = await asyncio.wait_for(self.call_create(), timeout=self.comm_params.timeout_connect)
        self.transport = ReadOnlyTransport(transport)
        return True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio: pymodbus never holds any transport but the guarded one."""
        super().connection_made(ReadOnlyTransport(cast(asyncio.Transport, transport)))

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio: whoever waits for a reply learns it at once, not at the timeout."""
        super().connection_lost(exc)
        self._break(FieldError(f"connection closed by the device{f' ({exc})' if exc else ''}"))

    def getNextTID(self) -> int:
        """An unpredictable transaction id, never 0: a stale or guessed reply does not match."""
        return secrets.randbelow(0xFFFF) + 1

    def pdu_send(self, pdu: ModbusPDU, addr: tuple[str, int] | None = None) -> None:
        """Sends one request and keeps what its reply must look like."""
        if self.broken:
            raise self.broken
        self._question = frames.Question(pdu.transaction_id, pdu.dev_id, pdu.function_code, pdu.count)
        self._reply = b""
        super().pdu_send(pdu, addr)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio: gathers bytes until they are exactly one whole reply to the question."""
        if self.broken:
            return
        if self._question is None:
            self._break(frames.BrokenStream("bytes arrived that nothing had asked for"))
            return
        self._reply += data
        try:
            if not frames.complete(self._question, self._reply):
                return
            question, self._question = self._question, None
            if fault := frames.fault_of(question, self._reply):
                self._fail(frames.ReplyFault(fault))
            else:
                super().data_received(self._reply)
        except frames.BrokenStream as error:
            self._break(error)
        except ModbusException as error:
            self._break(frames.BrokenStream(f"reply that cannot be decoded: {error}"))

    def _break(self, error: FieldError) -> None:
        self.broken = self.broken or error
        self._fail(self.broken)
        self.close()

    def _fail(self, error: Exception) -> None:
        if not self.response_future.done():
            self.response_future.set_exception(error)
            self.response_future.exception()  # marked as seen: nobody may be waiting


class ModbusClient:
    """A FieldClient for one ``ModbusDevice``; ``clock`` gives the moment of each reply, timezone-aware."""

    def __init__(self, device: ModbusDevice, clock: Clock) -> None:
        self._device = device
        self._clock = clock
        self._blocks = plan(device.tags, max_registers=device.max_registers, max_gap=device.max_gap)
        self._columns = Columns(tuple(range(len(device.tags))), tuple(tag.name for tag in device.tags))
        self._client: AsyncModbusTcpClient | None = None
        self._strict: StrictTransaction | None = None

    @property
    def name(self) -> str:
        """The device's configured name."""
        return self._device.name

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The read requests of the next poll; holes found so far have split some of them."""
        return self._blocks

    async def connect(self) -> None:
        """Opens a fresh connection within the device's timeout. Raises FieldError with the cause."""
        await self.close()
        device = self._device
        client = AsyncModbusTcpClient(
            device.host, port=device.port, timeout=device.timeout, retries=0, reconnect_delay=0
        )
        client.ctx = strict = StrictTransaction(client)
        try:
            await client.connect()
        except BaseException as error:
            client.close()
            if not isinstance(error, OSError | ValueError):
                raise
            cause = "no connection within the timeout" if isinstance(error, TimeoutError) else str(error)
            raise FieldError(
                f"device {device.name}: cannot connect to {device.host}:{device.port}: {cause};"
                " check address, port and network"
            ) from error
        self._client, self._strict = client, strict

    @property
    def groups(self) -> tuple[Columns, ...]:
        """One group: all tags."""
        return (self._columns,)

    async def identify(self) -> Identity:
        """Nothing yet."""
        return Identity()

    async def read(self, group: int = 0) -> Scan:
        """One sample per tag, in configured order. Raises FieldError when the connection is gone.

        A block that the device refuses with "illegal address" or "illegal value" is asked in two halves
        from the next read on, until a hole costs only the tags that lie in it.
        """
        samples: list[Sample | None] = [None] * len(self._device.tags)
        blocks: list[Block] = []
        for block in self._blocks:
            try:
                answer = await self._ask(block)
            except BaseException:
                # Also when cancelled: a reply still under way must never meet the next question.
                await self.close()
                raise
            seen = self._clock()
            if isinstance(answer, int) and answer in _SPLITTING:
                blocks.extend(split(block, self._device.tags))
            else:
                blocks.append(block)
            for position, sample in zip(block.tags, self._samples(block, answer, seen), strict=True):
                samples[position] = sample
        self._blocks = tuple(blocks)
        return scan_of(self._columns, cast(list[Sample], samples))

    async def close(self) -> None:
        """Drops the connection; safe to call at any time, any number of times."""
        client, self._client, self._strict = self._client, None, None
        if client is not None:
            client.close()

    async def _ask(self, block: Block) -> Sequence[int] | int | str:
        """The registers or bits of ``block``, or the device's exception code, or why the reply is unusable."""
        if self._client is None or self._strict is None:
            raise FieldError(f"device {self.name}: not connected; call connect() first")
        calls = {
            "coil": self._client.read_coils,
            "discrete": self._client.read_discrete_inputs,
            "holding": self._client.read_holding_registers,
            "input": self._client.read_input_registers,
        }
        unit = self._device.unit
        try:
            reply = await calls[block.table](block.address, count=block.count, device_id=unit)
        except frames.ReplyFault as fault:
            return str(fault)
        except FieldError as error:
            raise type(error)(f"device {self.name}: {error}") from error
        except (ModbusException, OSError) as error:
            cause = self._strict.broken or f"no reply from unit {unit} within {self._device.timeout:g} s"
            raise FieldError(f"device {self.name}: {cause}; the connection is dropped") from error
        if reply.isError():
            return reply.exception_code
        bits = block.table in BIT_TABLES
        values: Sequence[int] = reply.bits if bits else reply.registers
        whole = (block.count + 7) // 8 * 8 if bits else block.count
        if reply.dev_id != unit or len(values) != whole:
            return f"reply of unit {reply.dev_id} with {len(values)} values, asked unit {unit} for {whole}"
        return values[: block.count]

    def _samples(self, block: Block, answer: Sequence[int] | int | str, seen: datetime) -> list[Sample]:
        tags = [self._device.tags[position] for position in block.tags]
        if isinstance(answer, int):
            answer = frames.refusal_text(answer)
        if isinstance(answer, str):
            return [bad_sample(tag.name, answer, seen) for tag in tags]
        samples = []
        for tag in tags:
            start = tag.address - block.address
            value, reason = decode(tag, answer[start : start + tag.width])
            quality = Quality.GOOD if value is not None else Quality.BAD
            samples.append(Sample(tag.name, value, quality, seen, seen, reason))
        return samples

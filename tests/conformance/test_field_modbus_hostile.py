"""The Modbus client against a device that lies, stammers, falls silent or answers too late.

Whatever it sends, the outcome is the true values, bad samples with a reason, or FieldError, in bounded time, and
an honest device read afterwards gives the true values.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import pytest
from ullage_protocols.field.base import FieldError, SendRefused
from ullage_protocols.field.modbus.client import ModbusClient
from ullage_protocols.field.modbus.spec import ModbusDevice, tag_at
from ullage_protocols.sample import Quality, Sample

TIMEOUT = 0.5
TRUE = [11, 22]
TRUTH = bytes([3, 4, 0, 11, 0, 22])
LIE = bytes([3, 4, 0, 99, 0, 99])
Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


def frame(request: bytes, pdu: bytes, **bent: int) -> bytes:
    """A reply to ``request``; ``bent`` replaces header fields (``tid_shift`` moves the transaction id)."""
    (tid,) = struct.unpack_from(">H", request)
    tid = bent.get("tid", (tid + bent.get("tid_shift", 0)) & 0xFFFF)
    length = bent.get("length", len(pdu) + 1)
    return struct.pack(">HHHB", tid, bent.get("protocol", 0), length, bent.get("unit", request[6])) + pdu


async def honest(request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(frame(request, TRUTH))


class Device:
    """A raw TCP server on a free port that hands every request to ``answer`` and keeps all it received."""

    def __init__(self, answer: Answer, greeting: bytes = b"") -> None:
        self.answer = answer
        self.greeting = greeting
        self.received = b""
        self.writers: list[asyncio.StreamWriter] = []
        self.gone = asyncio.Event()

    async def __aenter__(self) -> Device:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in self.writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            writer.write(self.greeting)
            while request := await reader.readexactly(12):
                self.received += request
                await self.answer(request, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            self.received += getattr(error, "partial", b"")
            self.gone.set()

    def client(self, **device: Any) -> ModbusClient:
        port = self._server.sockets[0].getsockname()[1]
        tags = (tag_at("a", "holding:0"), tag_at("b", "holding:1"))
        wanted = {"name": "plc", "host": "127.0.0.1", "port": port, "timeout": TIMEOUT, "tags": tags, **device}
        return ModbusClient(ModbusDevice(**wanted), lambda: datetime.now(UTC))


def sends(*pieces: Callable[[bytes], bytes]) -> Answer:
    """An answer of ``pieces`` in one go."""

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(piece(request) for piece in pieces))

    return answer


def pdu(*values: int, **bent: int) -> Callable[[bytes], bytes]:
    return lambda request: frame(request, bytes(values), **bent)


def truth(**bent: int) -> Callable[[bytes], bytes]:
    return pdu(*TRUTH, **bent)


def lie(**bent: int) -> Callable[[bytes], bytes]:
    return pdu(*LIE, **bent)


def raw(data: bytes) -> Callable[[bytes], bytes]:
    return lambda _request: data


async def silent(_request: bytes, _writer: asyncio.StreamWriter) -> None:
    return


async def hang_up(_request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def half_close(request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(frame(request, LIE)[:9])
    writer.write_eof()


async def outcome(client: ModbusClient) -> list[Sample] | FieldError:
    started = time.monotonic()
    try:
        return (await client.read()).samples()
    except FieldError as error:
        return error
    finally:
        assert time.monotonic() - started < TIMEOUT + 1


BAD_SAMPLES: dict[str, tuple[Answer, str]] = {
    "another read function": (sends(pdu(4, 4, 0, 99, 0, 99)), "function code 4, asked with 3"),
    "coils instead of registers": (sends(pdu(1, 1, 3)), "function code 1, asked with 3"),
    "reply to a single write": (sends(pdu(6, 0, 0, 0, 99)), "function code 6, asked with 3"),
    "reply to a multiple write": (sends(pdu(16, 0, 0, 0, 2)), "function code 16, asked with 3"),
    "an unknown function": (sends(pdu(100, 4, 0, 99, 0, 99)), "function code 100, asked with 3"),
    "the request as an echo": (lambda request, writer: sends(raw(request))(request, writer), "counts 0 bytes"),
    "another unit": (sends(lie(unit=2)), "reply of unit 2, asked unit 1"),
    "unit 0": (sends(lie(unit=0)), "reply of unit 0, asked unit 1"),
    "too few registers": (sends(pdu(3, 2, 0, 99)), "reply of 2 bytes, asked for 4"),
    "too many registers": (sends(pdu(3, 6, 0, 99, 0, 99, 0, 99)), "reply of 6 bytes, asked for 4"),
    "no registers": (sends(pdu(3, 0)), "reply of 0 bytes, asked for 4"),
    "count above what follows": (sends(pdu(3, 6, 0, 99, 0, 99)), "counts 6 bytes and carries 4"),
    "count below what follows": (sends(pdu(3, 2, 0, 99, 0, 99)), "counts 2 bytes and carries 4"),
    "an odd count": (sends(pdu(3, 3, 0, 99, 0)), "reply of 3 bytes, asked for 4"),
    "a refusal with an odd code": (sends(pdu(0x83, 0x7F)), "exception 127 (unknown code)"),
    "a refusal with code 0": (sends(pdu(0x83, 0)), "exception 0 (unknown code)"),
    "a refusal as a busy device": (sends(pdu(0x83, 6)), "exception 6 (device busy)"),
    "a refusal that is too long": (sends(pdu(0x83, 2, 0, 99)), "exception reply of 11 bytes"),
    "a refusal of another function": (sends(pdu(0x84, 2)), "function code 132, asked with 3"),
}

LOST: dict[str, tuple[Answer, str]] = {
    "wrong protocol id": (sends(lie(protocol=1)), "protocol id 1"),
    "wrong transaction id": (sends(lie(tid_shift=1)), "transaction id"),
    "transaction id 0": (sends(lie(tid=0)), "transaction id 0"),
    "forged first, then the real one": (sends(lie(tid_shift=-1), truth()), "transaction id"),
    "two answers to one question": (sends(lie(), truth()), "bytes follow the reply"),
    "the same answer twice": (sends(truth(), truth()), "bytes follow the reply"),
    "trailing bytes": (sends(truth(), raw(b"\0")), "bytes follow the reply"),
    "length short of the reply": (sends(truth(length=5)), "bytes follow the reply"),
    "length beyond the reply": (sends(lie(length=9)), "no reply from unit 1 within 0.5 s"),
    "length 0": (sends(lie(length=0)), "claims 0 bytes"),
    "length 2": (sends(pdu(0x83)), "claims 2 bytes"),
    "length 65535": (sends(lie(length=65535)), "claims 65535 bytes"),
    "oversize, then the real one": (sends(raw(bytes(300)), truth()), "transaction id 0"),
    "garbage": (sends(raw(b"\xde\xad\xbe\xef" * 5)), "transaction id 57005"),
    "another protocol": (sends(raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")), "transaction id 18516"),
    "serial framing": (sends(raw(b"\x01\x03\x04\x00\x63\x00\x63\xca\x11")), "transaction id 259"),
    "a truncated reply": (sends(lambda request: frame(request, LIE)[:-1]), "no reply from unit 1 within"),
    "one byte": (sends(lambda request: frame(request, LIE)[:1]), "no reply from unit 1 within"),
    "half a reply, half closed": (half_close, "closed by the device"),
    "a hang-up": (hang_up, "connection closed"),
    "silence": (silent, "no reply from unit 1 within 0.5 s"),
}


async def read_after_recovery(device: Device, client: ModbusClient) -> None:
    device.answer = honest
    await client.connect()
    assert [sample.value for sample in await client.read()] == TRUE
    await client.close()


@pytest.mark.parametrize("name", BAD_SAMPLES)
def test_a_reply_that_is_not_what_was_asked_is_bad_samples(name: str) -> None:
    answer, reason = BAD_SAMPLES[name]

    async def scene() -> None:
        async with Device(answer) as device:
            client = device.client()
            await client.connect()
            samples = await outcome(client)
            assert isinstance(samples, list), samples
            assert [(sample.tag, sample.value) for sample in samples] == [("a", None), ("b", None)]
            assert all(sample.quality is Quality.BAD and reason in sample.reason for sample in samples), samples
            device.answer = honest
            assert [sample.value for sample in await client.read()] == TRUE, "the connection stayed in step"
            await read_after_recovery(device, client)

    asyncio.run(scene())


@pytest.mark.parametrize("name", LOST)
def test_a_stream_out_of_step_is_a_lost_connection(name: str) -> None:
    answer, reason = LOST[name]

    async def scene() -> None:
        async with Device(answer) as device:
            client = device.client()
            await client.connect()
            error = await outcome(client)
            assert isinstance(error, FieldError), error
            assert "device plc" in str(error)
            assert reason in str(error)
            with pytest.raises(FieldError, match="not connected"):
                await client.read()
            await read_after_recovery(device, client)

    asyncio.run(scene())


def test_a_reply_byte_by_byte_is_a_good_reply() -> None:
    async def drip(request: bytes, writer: asyncio.StreamWriter) -> None:
        for byte in frame(request, TRUTH):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.001)

    async def scene() -> None:
        async with Device(drip) as device:
            client = device.client()
            await client.connect()
            samples = await client.read()
            assert [sample.value for sample in samples] == TRUE
            assert all(sample.quality is Quality.GOOD for sample in samples)
            await client.close()

    asyncio.run(scene())


def test_a_late_reply_never_answers_the_next_question() -> None:
    late: list[bytes] = []

    async def keep(request: bytes, _writer: asyncio.StreamWriter) -> None:
        late.append(frame(request, LIE))

    async def late_then_true(request: bytes, writer: asyncio.StreamWriter) -> None:
        for old in device.writers:
            if not old.is_closing():
                old.write(late[0])
        writer.write(frame(request, TRUTH))

    device: Device

    async def scene() -> None:
        nonlocal device
        async with Device(keep) as device:
            client = device.client()
            await client.connect()
            with pytest.raises(FieldError, match="no reply"):
                await client.read()
            await asyncio.wait_for(device.gone.wait(), 1)
            device.writers.pop().write(late[0])
            await read_after_recovery(device, client)
            device.answer = late_then_true
            await client.connect()
            assert isinstance(await outcome(client), FieldError)

    asyncio.run(scene())


def test_a_cancelled_read_drops_the_connection() -> None:
    async def scene() -> None:
        asked = asyncio.Event()

        async def keep(_request: bytes, _writer: asyncio.StreamWriter) -> None:
            asked.set()

        async with Device(keep) as device:
            client = device.client(timeout=5.0)
            await client.connect()
            reading = asyncio.create_task(client.read())
            await asyncio.wait_for(asked.wait(), 1)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            await asyncio.wait_for(device.gone.wait(), 1)
            await read_after_recovery(device, client)

    asyncio.run(scene())


def test_a_second_answer_between_polls_costs_the_connection_not_the_truth() -> None:
    async def scene() -> None:
        async with Device(honest) as device:
            client = device.client()
            await client.connect()
            assert [sample.value for sample in await client.read()] == TRUE
            device.writers[0].write(frame(device.received[-12:], LIE))
            await asyncio.wait_for(device.gone.wait(), 1)
            error = await outcome(client)
            assert isinstance(error, FieldError)
            assert "nothing had asked" in str(error)
            await read_after_recovery(device, client)

    asyncio.run(scene())


def test_a_device_that_talks_first_is_not_believed() -> None:
    async def scene() -> None:
        async with Device(honest, greeting=frame(b"\0\1\0\0\0\6\1", LIE)) as device:
            client = device.client()
            await client.connect()
            error = await outcome(client)
            assert isinstance(error, FieldError)
            device.greeting = b""
            await read_after_recovery(device, client)

    asyncio.run(scene())


def test_transaction_ids_cannot_be_foretold() -> None:
    async def scene() -> None:
        async with Device(honest) as device:
            client = device.client()
            await client.connect()
            for _ in range(20):
                await client.read()
            await client.close()
            ids = [device.received[at : at + 2] for at in range(0, len(device.received), 12)]
            assert len(set(ids)) > 15
            assert b"\0\0" not in ids
            steps = {int.from_bytes(b, "big") - int.from_bytes(a, "big") for a, b in itertools.pairwise(ids)}
            assert len(steps) > 15

    asyncio.run(scene())


def test_nobody_there_is_a_lost_connection_with_its_cause() -> None:
    async def scene() -> None:
        async with Device(honest) as device:
            client = device.client()
        with pytest.raises(FieldError, match=r"device plc: cannot connect to 127\.0\.0\.1:\d+: .*; check"):
            await client.connect()
        with pytest.raises(FieldError, match="not connected"):
            await client.read()
        await client.close()
        await client.close()

    asyncio.run(scene())


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".b", "127.0.0.1:502", " "])
def test_a_host_that_cannot_be_resolved_is_a_lost_connection(host: str) -> None:
    async def scene() -> None:
        device = ModbusDevice("plc", host, timeout=TIMEOUT, tags=(tag_at("a", "holding:0"),))
        with pytest.raises(FieldError, match="device plc: cannot connect to"):
            await ModbusClient(device, lambda: datetime.now(UTC)).connect()

    asyncio.run(scene())


WRITES: dict[str, bytes] = {
    "one coil": bytes([5, 0, 0, 0xFF, 0]),
    "one register": bytes([6, 0, 0, 0, 99]),
    "exception status": bytes([7]),
    "a restart": bytes([8, 0, 1, 0, 0]),
    "coils": bytes([15, 0, 0, 0, 1, 1, 1]),
    "registers": bytes([16, 0, 0, 0, 1, 2, 0, 99]),
    "a file record": bytes([21, 9, 6, 0, 4, 0, 7, 0, 1, 0, 99]),
    "a mask": bytes([22, 0, 0, 0, 0xFF, 0, 0]),
    "read and write": bytes([23, 0, 0, 0, 1, 0, 0, 0, 1, 2, 0, 99]),
    "another encapsulation": bytes([43, 13, 0, 0]),
    "a vendor's own": bytes([90, 0, 1]),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_planted_write_is_refused_and_never_arrives(name: str) -> None:
    """Sent through the very object that the link sends its reads through, alone and beside reads."""

    async def scene() -> None:
        async with Device(honest) as device:
            client = device.client()
            await client.connect()
            link = client._way.link
            assert link is not None
            assert link.guard is not None
            write = frame(b"\0\1\0\0\0\0\1", WRITES[name])
            read = frame(b"\0\2\0\0\0\0\1", bytes([3, 0, 0, 0, 2]))
            for planted in (write, read + write, write + read, read[:-1] + write, write + b"\0"):
                with pytest.raises(SendRefused, match="nothing was sent"):
                    link.guard.ask(planted)
            assert [sample.value for sample in await client.read()] == TRUE
            await client.close()
            await asyncio.wait_for(device.gone.wait(), 1)
            assert len(device.received) == 12
            assert device.received[7] == 3

    asyncio.run(scene())


def test_nothing_but_the_guard_can_reach_the_socket() -> None:
    async def scene() -> None:
        async with Device(honest) as device:
            client = device.client()
            await client.connect()
            link = client._way.link
            held = [value for name in ("guard", "broken", *vars(link)) if (value := getattr(link, name, None))]
            assert not [value for value in held if isinstance(value, asyncio.BaseTransport)]
            verbs = {name for name in dir(link.guard) if not name.startswith("_")}  # type: ignore[union-attr]
            assert verbs == {"ask", "drop", "certificate"}
            await client.close()

    asyncio.run(scene())

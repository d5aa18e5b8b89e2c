"""Several requests in flight: replies in any order, each exactly once, and a device that abuses it."""

from __future__ import annotations

import asyncio
import itertools
import random
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from ullage_protocols.field.base import FieldError, HostileError, Identity
from ullage_protocols.field.modbus.client import ModbusClient
from ullage_protocols.field.modbus.spec import ModbusDevice, tag_at

TAGS = tuple(tag_at(f"r{at}", f"holding:{at}") for at in range(32))
TRUE = list(range(32))
Batch = Callable[[list[bytes]], list[bytes | float]]
"""What is sent for the requests that came together, and how long is waited in between."""


def reply(request: bytes, pdu: bytes | None = None, **bent: int) -> bytes:
    address, count = struct.unpack_from(">HH", request, 8)
    true = bytes([3, 2 * count]) + struct.pack(f">{count}H", *range(address, address + count))
    body = true if pdu is None else pdu
    tid = bent.get("tid", int.from_bytes(request[:2], "big"))
    return struct.pack(">HHHB", tid, bent.get("protocol", 0), bent.get("length", len(body) + 1), request[6]) + body


def lie(request: bytes) -> bytes:
    count = request[11]
    return reply(request, bytes([3, 2 * count]) + b"\x63\x63" * count)


class Peer:
    """``most`` is the largest number of requests that were unanswered at once."""

    def __init__(self, answer: Batch) -> None:
        self.answer = answer
        self.most = 0
        self.ids: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(4096):
                requests = [data[at : at + 12] for at in range(0, len(data), 12)]
                self.most = max(self.most, len(requests))
                self.ids += [request[:2] for request in requests]
                for piece in self.answer(requests):
                    if isinstance(piece, float):
                        await asyncio.sleep(piece)
                    else:
                        writer.write(piece)
                        await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def connected(answer: Batch, **more: Any) -> AsyncIterator[tuple[ModbusClient, Peer]]:
    peer = Peer(answer)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    wanted = {"timeout": 0.5, "max_registers": 4, "in_flight": 4, "tags": TAGS, **more}
    port = server.sockets[0].getsockname()[1]
    client = ModbusClient(ModbusDevice("plc", "127.0.0.1", port=port, **wanted), lambda: datetime.now(UTC))
    await client.connect()
    try:
        yield client, peer
    finally:
        await client.close()
        server.close()


def in_order(requests: list[bytes]) -> list[bytes | float]:
    return [b"".join(map(reply, requests))]


def backwards(requests: list[bytes]) -> list[bytes | float]:
    return [b"".join(map(reply, reversed(requests)))]


def shuffled(requests: list[bytes]) -> list[bytes | float]:
    return [reply(request) for request in random.sample(requests, len(requests))]


def dripping(requests: list[bytes]) -> list[bytes | float]:
    return [piece for byte in b"".join(map(reply, requests)) for piece in (bytes([byte]), 0.0)]


def torn(requests: list[bytes]) -> list[bytes | float]:
    whole = b"".join(map(reply, reversed(requests)))
    return [whole[:5], 0.01, whole[5:20], 0.01, whole[20:]]


@pytest.mark.parametrize("in_flight", range(1, 17))
@pytest.mark.parametrize("answer", [in_order, backwards, shuffled, dripping, torn])
def test_replies_find_their_requests_in_any_order_and_any_pieces(answer: Batch, in_flight: int) -> None:
    async def scene() -> None:
        async with connected(answer, in_flight=in_flight) as (client, peer):
            for _ in range(3):
                assert [sample.value for sample in await client.read()] == TRUE
            assert peer.most <= in_flight
            assert peer.most == min(in_flight, 8)
            assert b"\0\0" not in peer.ids

    asyncio.run(scene())


def spoilt(spoil: Callable[[list[bytes]], list[bytes | float]]) -> Batch:
    """``spoil`` for the first batch, the truth from then on."""
    turns = iter([spoil])
    return lambda requests: next(turns, in_order)(requests)


ROWS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "too few registers": (lambda request: reply(request, bytes([3, 2, 0, 99])), "reply of 2 bytes, asked for 8"),
    "another function": (lambda request: reply(request, bytes([4, 8]) + bytes(8)), "function code 4, asked with 3"),
    "a write's reply": (lambda request: reply(request, bytes([16, 0, 0, 0, 4])), "function code 16, asked with 3"),
    "another unit": (lambda request: reply(request)[:6] + b"\x09" + reply(request)[7:], "reply of unit 9"),
    "a busy device": (lambda request: reply(request, bytes([0x83, 6])), "exception 6 (device busy)"),
    "the longest frame": (lambda request: reply(request, bytes([3, 251]) + bytes(251)), "reply of 251 bytes"),
}


@pytest.mark.parametrize("name", ROWS)
def test_one_wrong_reply_among_several_is_the_bad_rows_of_its_own_request(name: str) -> None:
    bend, reason = ROWS[name]

    async def scene() -> None:
        spoil = spoilt(lambda requests: [b"".join([reply(requests[0]), bend(requests[1]), *map(reply, requests[2:])])])
        async with connected(spoil) as (client, _):
            scan = (await client.read()).samples()
            assert [sample.value for sample in scan] == [*TRUE[:4], *[None] * 4, *TRUE[8:]]
            assert all(reason in sample.reason for sample in scan[4:8]), scan[4].reason
            assert [sample.value for sample in await client.read()] == TRUE

    asyncio.run(scene())


LOST: dict[str, tuple[Callable[[list[bytes]], list[bytes | float]], str]] = {
    "one answered twice": (lambda asked: [reply(asked[0]) + lie(asked[0]) + b"".join(map(reply, asked[1:]))], "id"),
    "the last answered twice": (lambda asked: [b"".join(map(reply, asked)) + lie(asked[-1])], "17 bytes follow"),
    "an unknown id": (lambda asked: [reply(asked[0], tid=0) + b"".join(map(reply, asked))], "transaction id 0"),
    "one id for all": (
        lambda asked: [b"".join(reply(request, tid=asked[0][0] << 8 | asked[0][1]) for request in asked)],
        "transaction id",
    ),
    "another protocol id": (lambda asked: [reply(asked[0], protocol=5)], "protocol id 5"),
    "a huge length": (lambda asked: [reply(asked[1], length=65535)], "claims 65535 bytes"),
    "a length of nothing": (lambda asked: [reply(asked[1], length=0)], "claims 0 bytes"),
    "a length that hides the next": (lambda asked: [reply(asked[0], length=11 + 17) + reply(asked[1])], "no reply"),
    "one left out": (lambda asked: [b"".join(map(reply, asked[1:]))], "no reply from unit 1"),
    "all but a byte": (lambda asked: [b"".join(map(reply, asked))[:-1]], "transaction id"),
    "an endless trickle": (
        lambda asked: [piece for byte in reply(asked[0])[:-1] * 9 for piece in (bytes([byte]), 0.05)],
        "no reply from unit 1",
    ),
    "a flood": (lambda asked: [b"".join(map(reply, asked)) + b"\xff" * 100_000], "bytes follow the reply"),
}


async def read_twice(client: ModbusClient) -> None:
    """What follows a whole scan is met at the latest by the next one."""
    async with asyncio.timeout(3):
        await client.read()
        await client.read()


@pytest.mark.parametrize("name", LOST)
def test_a_stream_out_of_step_is_a_lost_connection_whatever_came_before(name: str) -> None:
    spoil, reason = LOST[name]

    async def scene() -> None:
        async with connected(spoilt(spoil)) as (client, _):
            with pytest.raises(FieldError, match=reason) as caught:
                await read_twice(client)
            assert isinstance(caught.value, HostileError) == ("no reply" not in reason)
            await client.connect()
            assert [sample.value for sample in await client.read()] == TRUE

    asyncio.run(scene())


def test_a_slow_device_has_its_timeout_for_each_reply() -> None:
    def slow(requests: list[bytes]) -> list[bytes | float]:
        return [piece for request in requests for piece in (0.06, reply(request))]

    async def scene() -> None:
        async with connected(slow, timeout=0.3) as (client, _):
            scan = await client.read()
            assert scan.bad == 0
            assert scan.source is not None, "replies came far apart: each row has its own time"
            assert all(a <= b for a, b in itertools.pairwise(scan.source))
            assert 0.2 < scan.source[-1] - scan.source[0] < 3
            assert abs(scan.source[-1] - scan.seen.timestamp()) < 0.5

    asyncio.run(scene())


# --- who the device says it is ------------------------------------------------------------------------------


def told(request: bytes, objects: dict[int, bytes], level: int = 1, more: int | None = None, count: int = -1) -> bytes:
    body = bytes(
        [43, 14, request[9], level, 0 if more is None else 255, more or 0, len(objects) if count < 0 else count]
    )
    body += b"".join(bytes([number, len(text)]) + text for number, text in objects.items())
    return struct.pack(">2sHHB", request[:2], 0, len(body) + 1, request[6]) + body


async def identified(answer: Callable[[bytes], bytes]) -> tuple[Identity, int]:
    """The identity, and how often it was asked for in two identifications; a read afterwards is true."""
    asked = 0

    def both(requests: list[bytes]) -> list[bytes | float]:
        nonlocal asked
        if requests[0][7] != 43:
            return in_order(requests)
        asked += 1
        return [answer(requests[0])]

    async with connected(both) as (client, _):
        identity = await client.identify()
        assert await client.identify() == identity
        assert [sample.value for sample in await client.read()] == TRUE
        return identity, asked


def test_all_objects_are_gathered_over_several_replies() -> None:
    def answer(request: bytes) -> bytes:
        level, first = request[9], request[10]
        if level == 1:
            if first == 0:
                return told(request, {0: b"Maker", 1: b"P-1"}, level=0x82, more=2)
            return told(request, {2: b"V1.2"}, level=0x82)
        return told(request, {4: b"Filler", 5: b"F-100", 6: b"\xff\x07"}, level=0x82)

    identity, asked = asyncio.run(identified(answer))
    assert identity == Identity("Maker", "Filler", "F-100", "V1.2")
    assert asked == 6


def test_a_device_that_refuses_is_not_asked_again() -> None:
    refusal = asyncio.run(identified(lambda request: struct.pack(">2sHHBBB", request[:2], 0, 3, 1, 0xAB, 1)))
    assert refusal == (Identity(), 1)


@pytest.mark.parametrize("answer", [
    lambda request: told(request, {0: b"x"}, count=200),
    lambda request: told(request, {0: b"x"}, count=0),
    lambda request: told(request, {})[:-1].replace(b"\0\x08\1", b"\0\x07\1"),
    lambda request: struct.pack(">2sHHB", request[:2], 0, 5, 1) + bytes([43, 13, 1, 1]),
    lambda request: struct.pack(">2sHHB", request[:2], 0, 3, 1) + bytes([43, 14]),
], ids=["too many", "too few", "no count", "another kind", "nothing"])  # fmt: skip
def test_an_identification_that_does_not_add_up_says_nothing(answer: Callable[[bytes], bytes]) -> None:
    assert asyncio.run(identified(answer)) == (Identity(), 1)


def test_endless_objects_are_bounded() -> None:
    step = itertools.count(1)
    identity, asked = asyncio.run(
        identified(lambda request: told(request, {0: b"Maker" * 40}, more=next(step) % 250 + 1))
    )
    assert identity.vendor == ("Maker" * 40)[:128]
    assert asked <= 32
    looping, asked = asyncio.run(identified(lambda request: told(request, {0: b"Maker"}, more=0)))
    assert (looping.vendor, asked) == ("Maker", 2)


def test_a_device_that_ignores_the_question_is_asked_once_and_never_again() -> None:
    asked = 0

    def deaf(requests: list[bytes]) -> list[bytes | float]:
        nonlocal asked
        asked += requests[0][7] == 43
        return [] if requests[0][7] == 43 else in_order(requests)

    async def scene() -> None:
        async with connected(deaf, timeout=0.2) as (client, _):
            with pytest.raises(FieldError, match="no reply"):
                await client.identify()
            await client.connect()
            assert await client.identify() == Identity()
            assert asked == 1

    asyncio.run(scene())

"""Whatever a device sends: a reading, a reason, or HostileError; no other exception, no value that nobody sent.

Bounded by count, the same each run. Replies start from good ones, so that mutations reach far into the readers.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from ullage_protocols.field.errors import FieldError, HostileError
from ullage_protocols.field.modbus import frames, identity, rtu
from ullage_protocols.field.modbus.tcp_link import TcpLink
from ullage_protocols.field.opcua import services, wire
from ullage_protocols.field.opcua.channel import Channel
from ullage_protocols.field.opcua.values import Decoder
from ullage_protocols.field.opcua.variants import read_datavalue

ROUNDS = 20_000
QUESTION = frames.read_question(1, "holding", 0, 3)
VALUES = bytes(range(0x11, 0x17))
TCP = struct.pack(">HHHBBB", 7, 0, 9, 1, 3, 6) + VALUES
RTU = bytes((1, 3, 6)) + VALUES
NAMED = bytes((1, 1, 0, 0, 3, 0, 4)) + b"ACME" + bytes((1, 2)) + b"X1" + bytes((2, 3)) + b"1.0"
DOUBLE = bytes((0x0D, 11)) + struct.pack("<dqq", 21.5, 133_000_000_000_000_000, 133_000_000_000_000_000)
TEXT = bytes((0x01, 12)) + struct.pack("<i", 5) + b"ready"
BLOCK = struct.pack("<i", 3) + DOUBLE + TEXT + DOUBLE
CHUNKS = (
    b"ACKF" + struct.pack("<IIIIII", 28, 0, 65536, 65536, 16_000_000, 256),
    b"ERRF" + struct.pack("<IIi", 20, 0x80010000, 4) + b"gone",
    b"MSGF" + struct.pack("<IIIII", 24, 1, 1, 1, 1),
    b"OPNF" + struct.pack("<II", 24, 1) + bytes(12),
)


def mutated(seed: bytes, rng: random.Random) -> bytes:
    """``seed`` with a few bytes changed, cut, doubled or put in."""
    data = bytearray(seed)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[at % len(data)] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF))
            case 2:
                del data[at:]
            case 3:
                data[at:at] = rng.randbytes(rng.randint(1, 9))
            case 4:
                data[at:at] = data[: rng.randrange(len(data) + 1)]
            case _:
                data[at : at + 4] = struct.pack("<I", rng.choice((0, 0x7FFFFFFF, 0xFFFFFFFF, 0x10000, 255)))
    return bytes(data)


def pieces(data: bytes, rng: random.Random) -> Iterator[bytes]:
    while data:
        size = rng.randint(1, len(data))
        yield data[:size]
        data = data[size:]


class Transport(asyncio.Transport):
    """Takes what is sent and drops it."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        return

    def abort(self) -> None:
        return

    def close(self) -> None:
        return


def test_a_modbus_connection_gives_what_was_sent_or_nothing() -> None:
    async def scene() -> None:
        loop, rng = asyncio.get_running_loop(), random.Random(1)
        good = bad = dropped = 0
        for _ in range(ROUNDS):
            link = TcpLink(loop)
            link.connection_made(Transport())
            raw = bytearray(QUESTION.size)
            exchange = link.start((QUESTION,), raw, 60.0, 1)
            (transaction,) = link._waiting
            reply = transaction.to_bytes(2, "big") + TCP[2:]
            reply = mutated(reply, rng) if rng.random() < 0.95 else reply
            for piece in pieces(reply, rng):
                view = link.get_buffer(-1)
                view[: len(piece)] = piece
                link.buffer_updated(len(piece))
            if exchange.done.done() and exchange.done.exception() is None and not exchange.failed:
                good += 1
                head = transaction.to_bytes(2, "big") + TCP[2:9]
                assert reply.startswith(head), "a value that nobody sent"
                assert raw == reply[9:15]
            elif link.broken is not None:
                dropped += 1
                assert isinstance(link.broken, FieldError)
            else:
                bad += 1
            link.drop(FieldError("done"))
        assert min(good, bad, dropped) > ROUNDS // 50, (good, bad, dropped)

    asyncio.run(scene())


@pytest.mark.parametrize("look", [rtu.judge, rtu.find])
def test_a_serial_line_gives_what_its_checksum_covers(look: Callable[..., tuple[frames.Answer | None, bytes]]) -> None:
    rng, good = random.Random(2), 0
    whole = RTU + rtu.checksum(RTU)
    for number in range(ROUNDS):
        received = whole if number % 50 == 0 else mutated(whole, rng)
        if number % 7 == 0 and len(received) > 4:
            received = received[:-2] + rtu.checksum(received[:-2])
        answer, rest = look(QUESTION, received)
        assert len(rest) <= len(received)
        if isinstance(answer, bytes):
            good += 1
            frame = RTU[:3] + answer
            assert frame + rtu.checksum(frame) in received
    assert good >= ROUNDS // 50


def test_what_a_device_says_it_is_stays_within_bounds() -> None:
    rng, named = random.Random(3), 0
    assert identity.parse(NAMED) is not None
    for _ in range(ROUNDS):
        part = identity.parse(mutated(NAMED, rng))
        if part is not None:
            named += 1
            found = identity.identity_of(dict(part.objects))
            assert all(len(text) <= 256 for text in (found.vendor, found.product, found.firmware))
    assert named > ROUNDS // 50


def test_opcua_values_are_read_whole_or_refused() -> None:
    rng, read, refused = random.Random(4), 0, 0
    decoder = Decoder()
    decoder.decode(wire.Reader(BLOCK))
    for _ in range(ROUNDS):
        data = mutated(BLOCK, rng)
        try:
            block = decoder.decode(wire.Reader(data))
        except HostileError:
            refused += 1
            continue
        read += 1
        assert block.n <= len(data) - 4, "more rows than bytes could hold"
    assert min(read, refused) > ROUNDS // 50, (read, refused)


def test_the_fast_way_reads_what_the_slow_way_reads() -> None:
    """A decoder that has seen the layout and one that has not must agree on every mutation."""
    rng = random.Random(5)
    seasoned = Decoder()
    for _ in range(3):
        seasoned.decode(wire.Reader(BLOCK))
    for _ in range(ROUNDS // 4):
        data = mutated(BLOCK, rng)
        results = []
        for decoder in (seasoned, Decoder()):
            try:
                results.append(repr(decoder.decode(wire.Reader(data))))
            except HostileError:
                results.append("refused")
        assert results[0] == results[1], data.hex()


@pytest.mark.parametrize(
    "decode",
    [
        services.translated, services.browsed, services.granted, services.created_items, services.report,
        services.message, services.endpoints, services.values, read_datavalue,
    ],
)  # fmt: skip
def test_every_reader_of_a_reply_ends_in_a_result_or_a_refusal(decode: Callable[[wire.Reader], object]) -> None:
    rng = random.Random(6)
    seeds = (BLOCK, DOUBLE, TEXT, bytes(64), b"\xff" * 64, struct.pack("<I", 2) + bytes(80), rng.randbytes(80))
    for _ in range(ROUNDS // 10):
        try:
            decode(wire.Reader(mutated(rng.choice(seeds), rng)))
        except FieldError:
            continue


def test_a_channel_takes_no_message_that_it_did_not_ask_for() -> None:
    rng, refused = random.Random(7), 0
    for _ in range(ROUNDS // 4):
        channel = Channel("opc.tcp://h:1")
        channel.hello()
        data = b"".join(mutated(rng.choice(CHUNKS), rng) for _ in range(rng.randint(1, 3)))
        try:
            for piece in pieces(data, rng):
                assert channel.feed(piece, 0.0) == []
        except FieldError:
            refused += 1
    assert refused > ROUNDS // 20


def test_random_bytes_are_nothing() -> None:
    rng = np.random.default_rng(8)
    for size in rng.integers(0, 300, 2000):
        data = rng.bytes(int(size))
        answer, _ = rtu.judge(QUESTION, data)
        assert not isinstance(answer, bytes)

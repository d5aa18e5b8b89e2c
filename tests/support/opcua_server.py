"""A small OPC UA server made of bytes, that answers what it is told to: honest by default, else as a test wants it.

It speaks without security, knows no node, and gives 1.5 for every one.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

OPEN, CREATE, ACTIVATE, READ, ENDPOINTS = 446, 461, 467, 631, 428
SUBSCRIBE, ITEMS, PUBLISH, REPUBLISH, TRANSLATE = 787, 751, 826, 832, 554
NULL = b"\xff\xff\xff\xff"
GOOD_VALUE = b"\x0d\x0b" + struct.pack("<dqq", 1.5, 134_000_000_000_000_000, 134_000_000_000_000_000)
"""A DataValue: the double 1.5, source and server time."""
_COUNT = 45
"""Where in a ReadRequest of this client the number of nodes stands."""


def response(kind: int, handle: int, body: bytes, status: int = 0) -> bytes:
    """A response to a request of ``kind``."""
    number = 397 if status else kind + 3
    return struct.pack("<BBHqIIB", 1, 0, number, 0, handle, status, 0) + NULL + b"\x00\x00\x00" + body


def array(*items: bytes) -> bytes:
    return struct.pack("<i", len(items)) + b"".join(items)


def report(sequence: int, rows: dict[int, float] | None, *, available: tuple[int, ...] = ()) -> bytes:
    """The body of a publish response of subscription 7: ``rows`` by handle, or a keep-alive."""
    notifications = array()
    if rows is not None:
        items = [struct.pack("<I", handle) + b"\x01\x0b" + struct.pack("<d", value) for handle, value in rows.items()]
        data = array(*items) + NULL
        notifications = array(b"\x01\x00" + struct.pack("<H", 811) + b"\x01" + struct.pack("<i", len(data)) + data)
    listed = array(*(struct.pack("<I", one) for one in available))
    return struct.pack("<I", 7) + listed + b"\x00" + message(sequence, notifications) + array() + NULL


def message(sequence: int, notifications: bytes) -> bytes:
    return struct.pack("<Iq", sequence, 0) + notifications


Answer = Callable[["Peer", int, bytes], Awaitable[None]]


@dataclass
class Peer:
    """One connection. ``answers`` by request number take the place of the honest ones."""

    writer: asyncio.StreamWriter
    answers: dict[int, Answer]
    channel: int = 99
    token: int = 5
    sequence: int = 0
    asked: list[int] = field(default_factory=list)

    def chunk(self, handle: int, body: bytes, kind: bytes = b"MSGF", **other: int) -> bytes:
        self.sequence += 1
        channel, token = other.get("channel", self.channel), other.get("token", self.token)
        sequence = other.get("sequence", self.sequence)
        size = other.get("size", 24 + len(body))
        return struct.pack("<4sIIIII", kind, size, channel, token, sequence, handle) + body

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self, kind: int, handle: int, body: bytes, status: int = 0) -> None:
        await self.say(self.chunk(handle, response(kind, handle, body, status)))

    async def serve(self, reader: asyncio.StreamReader) -> None:
        while True:
            head = await reader.readexactly(8)
            kind, size = struct.unpack("<4sI", head)
            body = await reader.readexactly(size - 8)
            if kind == b"HELF":
                await self.say(struct.pack("<4sI5I", b"ACKF", 28, 0, 65536, 65536, 0, 0))
            elif kind == b"OPNF":
                await self._opened(int.from_bytes(body[-_after_open(body) :][:4], "little"))
            elif kind == b"CLOF":
                return
            else:
                handle = int.from_bytes(body[12:16], "little")
                number = int.from_bytes(body[18:20], "little")
                self.asked.append(number)
                await self.answers.get(number, _HONEST.get(number, _nothing))(self, handle, body[16:])

    async def _opened(self, handle: int) -> None:
        policy = b"http://opcfoundation.org/UA/SecurityPolicy#None"
        header = struct.pack("<i", len(policy)) + policy + NULL + NULL
        self.sequence += 1
        token = struct.pack("<IIIqI", 0, self.channel, self.token, 0, 600_000) + NULL
        plain = struct.pack("<II", self.sequence, handle) + response(OPEN, handle, token)
        size = 12 + len(header) + len(plain)
        await self.say(struct.pack("<4sII", b"OPNF", size, self.channel) + header + plain)


def _after_open(body: bytes) -> int:
    """Bytes of an OPN body from its request number on."""
    policy = int.from_bytes(body[4:8], "little")
    return len(body) - (4 + 4 + policy + 8 + 4)


async def _create(peer: Peer, handle: int, _: bytes) -> None:
    session = b"\x00\x01\x00\x02" + struct.pack("<d", 120_000.0) + NULL * 2 + array() + NULL * 3 + bytes(4)
    await peer.reply(CREATE, handle, session)


async def _activate(peer: Peer, handle: int, _: bytes) -> None:
    await peer.reply(ACTIVATE, handle, NULL * 3)


async def _read(peer: Peer, handle: int, body: bytes) -> None:
    n = int.from_bytes(body[_COUNT : _COUNT + 4], "little")
    await peer.reply(READ, handle, array(*[GOOD_VALUE] * n) + NULL)


async def _subscribe(peer: Peer, handle: int, _: bytes) -> None:
    await peer.reply(SUBSCRIBE, handle, struct.pack("<IdII", 7, 100.0, 30, 5))


async def _items(peer: Peer, handle: int, body: bytes) -> None:
    n = int.from_bytes(body[41:45], "little")
    item = struct.pack("<IIdI", 0, 1, 100.0, 10) + b"\x00\x00\x00"
    await peer.reply(ITEMS, handle, array(*[item] * n) + NULL)


async def _nothing(_peer: Peer, _handle: int, _body: bytes) -> None:
    """No answer."""


_HONEST: dict[int, Answer] = {
    CREATE: _create, ACTIVATE: _activate, READ: _read, SUBSCRIBE: _subscribe, ITEMS: _items,
}  # fmt: skip


@asynccontextmanager
async def server(answers: dict[int, Answer] | None = None) -> AsyncIterator[tuple[int, list[Peer]]]:
    """Port and the connections so far."""
    peers: list[Peer] = []
    tasks: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(writer, answers if answers is not None else {})
        peers.append(peer)
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        try:
            await peer.serve(reader)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1], peers
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

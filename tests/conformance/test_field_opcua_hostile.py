"""Servers that no honest maker would build. Each costs its own connection: the agent stays small and quick, its other
devices are read on, and what is hostile is told apart from what is merely gone."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.opcua_server import (
    ACTIVATE,
    CREATE,
    ENDPOINTS,
    GOOD_VALUE,
    NULL,
    PUBLISH,
    READ,
    Answer,
    Peer,
    array,
    report,
    response,
    server,
)  # fmt: skip
from ullage_protocols.field.errors import FieldError, HostileError
from ullage_protocols.field.opcua import child, frames
from ullage_protocols.field.opcua.client import OpcuaClient
from ullage_protocols.field.opcua.spec import OpcuaDevice, OpcuaSubscription, OpcuaTag
from ullage_protocols.sample import Quality

TIMEOUT = 1.5
MOST_GROWTH = 20_000_000
LONGEST_STALL = 1.0
"""A bound against hangs: no attack may hold the event loop for so long."""


def client_of(port: int, tags: int = 3, **more: Any) -> OpcuaClient:
    points = tuple(OpcuaTag(f"t{tag}", f"i={tag}") for tag in range(tags))
    url = f"opc.tcp://127.0.0.1:{port}"
    return OpcuaClient(OpcuaDevice("rogue", url, timeout=TIMEOUT, tags=points, **more), lambda: datetime.now(UTC))


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def endless_chunks(peer: Peer, handle: int, _: bytes) -> None:
    while True:
        await peer.say(peer.chunk(handle, bytes(60_000), b"MSGC"))


async def endless_empty_chunks(peer: Peer, handle: int, _: bytes) -> None:
    while True:
        await peer.say(peer.chunk(handle, b"", b"MSGC"))


async def huge_chunk(peer: Peer, handle: int, _: bytes) -> None:
    await peer.say(peer.chunk(handle, b"", size=0x7FFFFFFF))
    while True:
        await peer.say(bytes(65536))


async def tiny_chunk(peer: Peer, handle: int, _: bytes) -> None:
    await peer.say(peer.chunk(handle, b"", size=3))


async def sequence_repeated(peer: Peer, handle: int, _: bytes) -> None:
    await peer.say(peer.chunk(handle, response(READ, handle, b""), sequence=peer.sequence))


async def sequence_skipped(peer: Peer, handle: int, _: bytes) -> None:
    await peer.say(peer.chunk(handle, response(READ, handle, b""), sequence=peer.sequence + 2))


async def other_token(peer: Peer, handle: int, _: bytes) -> None:
    await peer.say(peer.chunk(handle, response(READ, handle, b""), token=6))


async def other_channel(peer: Peer, handle: int, _: bytes) -> None:
    await peer.say(peer.chunk(handle, response(READ, handle, b""), channel=1))


async def other_request(peer: Peer, handle: int, _: bytes) -> None:
    await peer.say(peer.chunk(handle + 1000, response(READ, handle, b"")))


async def answered_twice(peer: Peer, handle: int, _: bytes) -> None:
    good = response(READ, handle, array(*[GOOD_VALUE] * 3) + NULL)
    await peer.say(peer.chunk(handle, good) + peer.chunk(handle, good))


async def other_response(peer: Peer, handle: int, _: bytes) -> None:
    await peer.say(peer.chunk(handle, response(PUBLISH, handle, bytes(40))))


async def no_response(peer: Peer, handle: int, _: bytes) -> None:
    await peer.say(peer.chunk(handle, b"\x01\x00\x7a\x02"))


async def unknown_kind(peer: Peer, handle: int, _: bytes) -> None:
    await peer.say(peer.chunk(handle, b"", b"XYZF"))


async def unasked_opening(peer: Peer, handle: int, _: bytes) -> None:
    await peer._opened(handle)


async def bottomless_strings(peer: Peer, handle: int, _: bytes) -> None:
    """A response header whose string table claims two thousand million texts."""
    head = struct.pack("<BBHqIIBi", 1, 0, READ + 3, 0, handle, 0, 0, 0x7FFFFFFF)
    await peer.say(peer.chunk(handle, head + bytes(100)))


async def deep_diagnostics(peer: Peer, handle: int, _: bytes) -> None:
    head = struct.pack("<BBHqII", 1, 0, READ + 3, 0, handle, 0)
    await peer.say(peer.chunk(handle, head + b"\x40" * 60_000))


HOSTILE: dict[str, Answer] = {
    found.__name__: found
    for found in (
        endless_chunks, endless_empty_chunks, huge_chunk, tiny_chunk, sequence_repeated, sequence_skipped, other_token,
        other_channel, other_request, answered_twice, other_response, no_response, unknown_kind, unasked_opening,
        bottomless_strings, deep_diagnostics,
    )
}  # fmt: skip


async def attacked(answer: Answer, act: Callable[[OpcuaClient], Awaitable[object]], kind: int = READ) -> FieldError:
    """What ``act`` says on a client whose server turns hostile; with an honest neighbour read on meanwhile."""
    answers: dict[int, Answer] = {}
    stalls: list[float] = []
    polls = 0

    async def heart() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            stalls.append(time.monotonic() - before)

    async def neighbour(port: int) -> None:
        nonlocal polls
        client = client_of(port)
        await client.connect()
        try:
            while True:
                scan = await client.read()
                assert scan.bad == 0
                polls += 1
                await asyncio.sleep(0.01)
        finally:
            await client.close()

    async with server(answers) as (port, _), server() as (honest, _):
        client = client_of(port)
        others = [asyncio.create_task(heart()), asyncio.create_task(neighbour(honest))]
        try:
            await client.connect()
            assert (await client.read()).bad == 0
            while not polls:  # noqa: ASYNC110 - a count has no event
                await asyncio.sleep(0.01)
            before = resident()
            seen = polls
            answers[kind] = answer
            with pytest.raises(FieldError) as caught:
                await act(client)
            while polls < seen + 3:  # noqa: ASYNC110 - a count has no event
                await asyncio.sleep(0.01)
            assert not any(task.done() for task in others)
            assert resident() - before < MOST_GROWTH
            assert max(stalls) < LONGEST_STALL
            answers.clear()
            await client.connect()
            assert (await client.read()).bad == 0
        finally:
            await client.close()
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
    return caught.value


async def reads(client: OpcuaClient) -> None:
    for _ in range(3):
        await client.read()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_is_an_integrity_event_and_costs_this_connection_only(name: str) -> None:
    error = asyncio.run(attacked(HOSTILE[name], reads))
    assert isinstance(error, HostileError), error
    assert "device rogue" in str(error)


async def trickle(peer: Peer, handle: int, _: bytes) -> None:
    for byte in peer.chunk(handle, response(READ, handle, array(*[GOOD_VALUE] * 3) + NULL)):
        await peer.say(bytes([byte]))
        await asyncio.sleep(0.1)


async def silence(_peer: Peer, _handle: int, _: bytes) -> None:
    return


async def farewell(peer: Peer, _handle: int, _: bytes) -> None:
    peer.writer.transport.abort()


async def error_message(peer: Peer, _handle: int, _: bytes) -> None:
    await peer.say(struct.pack("<4sIIi", b"ERRF", 16, 0x80800000, -1))


async def refusal(peer: Peer, handle: int, _: bytes) -> None:
    await peer.reply(READ, handle, b"", 0x80250000)


async def abandoned(peer: Peer, handle: int, _: bytes) -> None:
    await peer.say(peer.chunk(handle, struct.pack("<Ii", 0x80070000, -1), b"MSGA"))


LOST: dict[str, Answer] = {
    found.__name__: found for found in (trickle, silence, farewell, error_message, refusal, abandoned)
}


@pytest.mark.parametrize("name", LOST)
def test_what_is_merely_gone_is_no_integrity_event(name: str) -> None:
    error = asyncio.run(attacked(LOST[name], reads))
    assert not isinstance(error, HostileError), error


async def many_logins(peer: Peer, handle: int, _: bytes) -> None:
    """The most that fits a message: endpoints with a hundred thousand logins."""
    login = NULL + bytes(4) + NULL * 3
    logins = struct.pack("<i", 150_000) + login * 150_000
    application = NULL * 2 + b"\x00" + bytes(4) + NULL * 3
    offer = NULL + application + NULL + struct.pack("<I", 1) + NULL + logins + NULL + b"\x00"
    body = response(ENDPOINTS, handle, array(offer))
    pieces = [body[at : at + 65_000] for at in range(0, len(body), 65_000)]
    for piece in pieces:
        await peer.say(peer.chunk(handle, piece, b"MSGF" if piece is pieces[-1] else b"MSGC"))


async def every_way_in_alike(peer: Peer, handle: int, _: bytes) -> None:
    """Forty thousand endpoints, each of them empty."""
    application = NULL * 2 + b"\x00" + bytes(4) + NULL * 3
    offer = NULL + application + NULL + struct.pack("<I", 1) + NULL + array() + NULL + b"\x00"
    body = response(ENDPOINTS, handle, struct.pack("<i", 70_000) + offer * 70_000)
    for at in range(0, len(body), 65_000):
        await peer.say(peer.chunk(handle, body[at : at + 65_000], b"MSGC" if at + 65_000 < len(body) else b"MSGF"))


@pytest.mark.parametrize("answer", [many_logins, every_way_in_alike])
def test_a_reply_of_the_greatest_size_costs_the_reader_only(answer: Answer) -> None:
    async def act(client: OpcuaClient) -> None:
        before = resident()
        found = await client.identify()
        assert len(found.endpoints) <= 64
        assert resident() - before < MOST_GROWTH
        raise FieldError("as meant")

    asyncio.run(attacked(answer, act, ENDPOINTS))


VALUES = {
    "five bytes that claim two thousand million nulls": b"\x01\x80\xff\xff\xff\x7f",
    "a text without an end": b"\x01\x0c\xff\xff\xff\x7f",
    "an extension object without an end": b"\x01\x16\x00\x00\x01\xff\xff\xff\x7f",
    "variants in variants": b"\x01" + b"\x98\x01\x00\x00\x00" * 5000,
    "data values in data values": b"\x01" + b"\x17\x01" * 5000,
    "no value at all": b"",
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_that_cannot_be_decoded_is_a_bad_row(name: str) -> None:
    async def broken(peer: Peer, handle: int, body: bytes) -> None:
        n = int.from_bytes(body[45:49], "little")
        values = [GOOD_VALUE] * n
        if n == 3 or body[49:51] == b"\x00\x01":
            values[-2 if n == 3 else 0] = VALUES[name]
        await peer.reply(READ, handle, array(*values) + NULL)

    async def scene() -> None:
        answers: dict[int, Answer] = {}
        async with server(answers) as (port, _):
            client = client_of(port)
            await client.connect()
            answers[READ] = broken
            for _ in range(3):
                samples = (await client.read()).samples()
                assert [sample.quality for sample in samples] == [Quality.GOOD, Quality.BAD, Quality.GOOD]
                assert "cannot be decoded" in samples[1].reason
            await client.close()

    asyncio.run(scene())


def test_many_values_that_cannot_be_decoded_are_no_accident() -> None:
    async def broken(peer: Peer, handle: int, body: bytes) -> None:
        n = int.from_bytes(body[45:49], "little")
        await peer.reply(READ, handle, array(*[VALUES["a text without an end"]] * n) + NULL)

    async def scene() -> FieldError:
        answers: dict[int, Answer] = {}
        async with server(answers) as (port, _):
            client = client_of(port, 100)
            await client.connect()
            answers[READ] = broken
            with pytest.raises(HostileError) as caught:
                await client.read()
            return caught.value

    assert "more than 64 nodes" in str(asyncio.run(scene()))


@pytest.mark.parametrize("count", [0, 1, 4, -1, 2**31 - 1])
def test_another_number_of_values_than_asked_for_makes_every_row_bad(count: int) -> None:
    async def other(peer: Peer, handle: int, _: bytes) -> None:
        await peer.reply(READ, handle, struct.pack("<i", count) + GOOD_VALUE * min(max(count, 0), 10) + NULL)

    async def scene() -> None:
        answers: dict[int, Answer] = {}
        async with server(answers) as (port, _):
            client = client_of(port)
            await client.connect()
            answers[READ] = other
            scan = await client.read()
            assert scan.bad == 3
            assert f"gave {count} values, asked for 3" in scan[0].reason
            await client.close()

    asyncio.run(scene())


async def a_stranger(peer: Peer, handle: int, _: bytes) -> None:
    """A session that offers an encrypted endpoint only, on a channel in clear."""
    application = NULL * 2 + b"\x00" + bytes(4) + NULL * 3
    uri = b"http://opcfoundation.org/UA/SecurityPolicy#Basic256Sha256"
    offer = NULL + application + NULL + struct.pack("<Ii", 3, len(uri)) + uri + array() + NULL + b"\x00"
    session = b"\x00\x01\x00\x02" + struct.pack("<d", 1e5) + NULL * 2 + array(offer) + NULL * 3 + bytes(4)
    await peer.reply(CREATE, handle, session)


@pytest.mark.parametrize("policy", [b"", b"http://opcfoundation.org/UA/SecurityPolicy#None"])
@pytest.mark.parametrize("allowed", [False, True])
def test_a_password_goes_in_clear_only_where_that_is_allowed(policy: bytes, allowed: bool) -> None:
    heard: list[bytes] = []

    async def session(peer: Peer, handle: int, _: bytes) -> None:
        application = NULL * 2 + b"\x00" + bytes(4) + NULL * 3
        uri = b"http://opcfoundation.org/UA/SecurityPolicy#None"
        login = NULL + struct.pack("<I", 1) + NULL * 2 + struct.pack("<i", len(policy)) + policy
        offer = NULL + application + NULL + struct.pack("<Ii", 1, len(uri)) + uri + array(login) + NULL + b"\x00"
        body = b"\x00\x01\x00\x02" + struct.pack("<d", 1e5) + NULL * 2 + array(offer) + NULL * 3 + bytes(4)
        await peer.reply(CREATE, handle, body)

    async def activate(peer: Peer, handle: int, body: bytes) -> None:
        heard.append(body)
        await peer.reply(ACTIVATE, handle, NULL * 3)

    async def scene() -> None:
        async with server({CREATE: session, ACTIVATE: activate}) as (port, _):
            client = client_of(port, user="reader", password="hushhush", allow_clear_password=allowed)
            if allowed:
                await client.connect()
                await client.close()
                return
            with pytest.raises(FieldError, match="in clear only"):
                await client.connect()

    asyncio.run(scene())
    assert [b"hushhush" in body for body in heard] == ([True] if allowed else [])


@pytest.mark.parametrize(("kind", "answer"), [(CREATE, a_stranger), (ACTIVATE, endless_chunks), (CREATE, no_response)])
def test_a_server_hostile_from_the_start_is_told_as_such(kind: int, answer: Answer) -> None:
    async def scene() -> None:
        async with server({kind: answer}) as (port, _):
            client = client_of(port)
            with pytest.raises(HostileError, match="cannot connect"):
                await client.connect()
            assert client.process is None

    asyncio.run(scene())


async def flood(peer: Peer, handle: int, _: bytes) -> None:
    """Every question for a report is answered at once with all that fits."""
    sequence = len([one for one in peer.asked if one == PUBLISH])
    await peer.reply(PUBLISH, handle, report(sequence, dict.fromkeys(range(3), 1.0)))


def test_a_flood_of_reports_leaves_the_agent_its_breath() -> None:
    async def scene() -> None:
        async with server({PUBLISH: flood}) as (port, peers), server() as (honest, _):
            client = client_of(port, subscription=OpcuaSubscription(0.1))
            other = client_of(honest)
            await client.connect()
            await other.connect()
            before = resident()
            reports = asyncio.create_task(drain(client))
            began, asked = time.monotonic(), peers[0].asked.count(PUBLISH)
            for _ in range(20):
                assert (await other.read()).bad == 0
                await asyncio.sleep(0.02)
            assert not reports.done()
            # Four questions an interval, and no more, however fast the answers come.
            assert 1 <= peers[0].asked.count(PUBLISH) - asked <= 20 + 40 * (time.monotonic() - began) + 1
            assert resident() - before < MOST_GROWTH
            reports.cancel()
            await asyncio.gather(reports, return_exceptions=True)
            await client.close()
            await other.close()

    async def drain(client: OpcuaClient) -> None:
        while True:
            await client.changes()

    asyncio.run(scene())


@pytest.mark.parametrize(
    "reports",
    [
        [report(1, {0: 1.0, 1: 1.0, 2: 1.0}), report(2, {9: 1.0})],  # of a tag that nobody watches
        [report(1, {0: 1.0, 1: 1.0, 2: 1.0}), report(2, {0: 1.0})[:-9]],
        [report(1, {0: 1.0, 1: 1.0, 2: 1.0}), b"\x08" + report(2, {0: 1.0})[1:]],  # of another subscription
        [report(1, {0: 1.0, 1: 1.0, 2: 1.0}), report(0, {0: 1.0})],  # out of turn
    ],
)
def test_a_hostile_report_is_an_integrity_event(reports: list[bytes]) -> None:
    async def scene() -> None:
        waiting: list[int] = []

        async def publish(peer: Peer, handle: int, _: bytes) -> None:
            waiting.append(handle)
            if len(waiting) == 1:
                await peer.reply(PUBLISH, handle, reports[0])

        async with server({PUBLISH: publish}) as (port, peers):
            client = client_of(port, subscription=OpcuaSubscription(0.1))
            await client.connect()
            assert len(await client.changes()) >= 3
            await peers[0].reply(PUBLISH, waiting[1], reports[1])
            with pytest.raises(HostileError):
                await client.changes()
            assert client.process is None

    asyncio.run(scene())


# --- the reading process -----------------------------------------------------------------------------------------


def test_the_reader_cannot_grow_beyond_its_limit() -> None:
    program = (
        "from ullage_protocols.field.opcua import child\n"
        "child._confine()\n"
        "try:\n    bytearray(child.MARGIN + 1_000_000)\n"
        "except MemoryError:\n    print('refused')\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "refused\n"


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (MemoryError(), frames.HOSTILE),
        (KeyError("x"), frames.HOSTILE),
        (HostileError("x"), frames.HOSTILE),
        (FieldError("x"), frames.LOST),
        (OSError(5, "x"), frames.LOST),
    ],
)
def test_however_the_reader_fails_the_agent_is_told(
    fault: Exception, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, theirs = socket.socketpair()

    def fail(_: socket.socket) -> None:
        raise fault

    monkeypatch.setattr(child, "_harden", lambda: None)
    monkeypatch.setattr(child, "_run", fail)
    monkeypatch.setattr(os, "dup", lambda _: theirs.detach())
    thread = threading.Thread(target=child.main)
    thread.start()
    thread.join(5)
    length, number = frames.HEAD.unpack(agent.recv(frames.HEAD.size))
    assert number == frames.FAULT
    assert frames.unpack_json(agent.recv(length))["kind"] == kind
    agent.close()


def test_the_reader_ends_with_the_agent() -> None:
    async def scene() -> int:
        async with server() as (port, _):
            client = client_of(port)
            await client.connect()
            pid = client.process
            assert pid is not None
            held = client._child
            assert held is not None
            held._socket.close()  # as when the agent is killed
            end = time.monotonic() + 5
            while held._process.poll() is None and time.monotonic() < end:  # noqa: ASYNC110 - nor has a process
                await asyncio.sleep(0.01)
            code = held._process.poll()
            assert code is not None
            return code

    assert asyncio.run(scene()) == 0


def test_a_reader_that_dies_is_a_lost_connection() -> None:
    async def scene() -> None:
        async with server() as (port, _):
            client = client_of(port)
            await client.connect()
            assert client.process is not None
            os.kill(client.process, 9)
            with pytest.raises(FieldError, match="its reader ended"):
                await client.read()
            await client.connect()
            assert (await client.read()).bad == 0
            await client.close()

    asyncio.run(scene())


def test_a_reader_that_is_stuck_is_ended() -> None:
    async def scene() -> None:
        async with server() as (port, _):
            client = client_of(port)
            await client.connect()
            pid = client.process
            assert pid is not None
            os.kill(pid, 19)
            with pytest.raises(FieldError, match="gave no answer"):
                await client.read()
            assert client.process is None
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)

    asyncio.run(scene())

"""Subscriptions: proven alive before they count, a lost report asked for again or told, silence noticed."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from asyncua import Server, ua
from support.opcua_server import (
    ITEMS,
    NULL,
    PUBLISH,
    READ,
    REPUBLISH,
    SUBSCRIBE,
    Answer,
    Peer,
    array,
    message,
    report,
    server,
)  # fmt: skip
from ullage_protocols.field.base import FieldError, Subscribed
from ullage_protocols.field.opcua.client import OpcuaClient
from ullage_protocols.field.opcua.spec import OpcuaDevice, OpcuaSubscription, OpcuaTag
from ullage_protocols.sample import Quality, Sample

TIMEOUT = 1.0
QUICK = OpcuaSubscription(publishing=0.1, keepalive=0.5)


def client_of(port: int, *tags: OpcuaTag, timeout: float = TIMEOUT) -> OpcuaClient:
    points = tags or tuple(OpcuaTag(f"t{tag}", f"i={tag}") for tag in range(3))
    url = f"opc.tcp://127.0.0.1:{port}"
    device = OpcuaDevice("tank", url, timeout=timeout, tags=points, subscription=QUICK)
    return OpcuaClient(device, lambda: datetime.now(UTC))


def told(samples: Iterable[Sample]) -> list[tuple[str, object]]:
    return [(sample.tag, sample.value) for sample in samples]


class Publisher:
    """Holds the questions for reports until a test wants them answered; the first at once, with ``first``."""

    def __init__(self, first: bytes) -> None:
        self.waiting: list[int] = []
        self.acknowledged: list[int] = []
        self._first = first
        self._asked = asyncio.Event()

    async def __call__(self, peer: Peer, handle: int, body: bytes) -> None:
        n = int.from_bytes(body[33:37], "little")
        self.acknowledged += [struct.unpack_from("<I", body, 37 + 8 * at + 4)[0] for at in range(n)]
        if self._first:
            first, self._first = self._first, b""
            await peer.reply(PUBLISH, handle, first)
            return
        self.waiting.append(handle)
        self._asked.set()

    async def answer(self, peer: Peer, body: bytes, status: int = 0) -> None:
        while not self.waiting:
            self._asked.clear()
            await asyncio.wait_for(self._asked.wait(), 2)
        await peer.reply(PUBLISH, self.waiting.pop(0), body, status)


ALL = report(1, {0: 1.0, 1: 2.0, 2: 3.0})


def test_the_first_report_holds_every_tag_and_later_ones_what_changed() -> None:
    async def scene() -> None:
        publisher = Publisher(ALL)
        async with server({PUBLISH: publisher}) as (port, peers):
            client = client_of(port)
            assert isinstance(client, Subscribed)
            assert client.subscribed
            await client.connect()
            first = await client.changes()
            # Reported first, then read: as new as can be, and no tag without a row.
            assert told(first)[:3] == [("t0", 1.0), ("t1", 2.0), ("t2", 3.0)]
            assert {sample.tag for sample in first} == {"t0", "t1", "t2"}
            await publisher.answer(peers[0], report(2, {2: 4.0, 0: 5.0}))
            assert told(await client.changes()) == [("t2", 4.0), ("t0", 5.0)]
            await publisher.answer(peers[0], report(3, None))
            assert told(await client.changes()) == []
            await publisher.answer(peers[0], report(3, {1: 6.0, 2: 7.0}))
            assert told(await client.changes()) == [("t1", 6.0), ("t2", 7.0)]
            assert publisher.acknowledged[:2] == [1, 2]
            await client.close()

    asyncio.run(scene())


def test_a_subscription_that_gives_no_sign_is_not_assumed_to_live() -> None:
    async def scene() -> None:
        async with server() as (port, _):
            client = client_of(port)
            with pytest.raises(FieldError, match="no sign of life"):
                await client.connect()

    asyncio.run(scene())


def test_a_keep_alive_and_a_read_prove_what_has_not_been_reported() -> None:
    async def scene() -> None:
        async with server({PUBLISH: Publisher(report(1, None))}) as (port, _):
            client = client_of(port)
            await client.connect()
            assert told(await client.changes()) == [("t0", 1.5), ("t1", 1.5), ("t2", 1.5)]
            await client.close()

    asyncio.run(scene())


def test_an_item_that_is_never_reported_does_not_hold_up_the_others() -> None:
    async def scene() -> None:
        async with server({PUBLISH: Publisher(report(1, {0: 1.0}))}) as (port, _):
            client = client_of(port, timeout=20.0)
            await asyncio.wait_for(client.connect(), 10)
            assert told(await client.changes()) == [("t0", 1.0), ("t0", 1.5), ("t1", 1.5), ("t2", 1.5)]
            await client.close()

    asyncio.run(scene())


def test_reports_that_come_while_something_else_is_asked_are_not_left_lying() -> None:
    async def read(peer: Peer, handle: int, body: bytes) -> None:
        n = int.from_bytes(body[45:49], "little")
        if n == 3 and publisher.waiting:
            await publisher.answer(peer, report(2, {0: 9.0}))
        await peer.reply(READ, handle, array(*[b"\x01\x0b" + struct.pack("<d", 1.5)] * n) + NULL)

    publisher = Publisher(b"")

    async def scene() -> None:
        nonlocal publisher
        publisher = Publisher(ALL)
        async with server({PUBLISH: publisher, READ: read}) as (port, _):
            client = client_of(port)
            await client.connect()
            await client.changes()
            # Well before the next report, or the keep-alive, could bring it up.
            assert told(await asyncio.wait_for(client.changes(), 0.4)) == [("t0", 9.0)]
            await client.close()

    asyncio.run(scene())


def test_reports_that_stop_are_a_lost_subscription() -> None:
    async def scene() -> None:
        async with server({PUBLISH: Publisher(ALL)}) as (port, _):
            client = client_of(port)
            await client.connect()
            await client.changes()
            with pytest.raises(FieldError, match="no report within"):
                await asyncio.wait_for(client.changes(), 10)
            assert client.process is None

    asyncio.run(scene())


def test_a_report_that_did_not_come_is_asked_for_again() -> None:
    async def again(peer: Peer, handle: int, body: bytes) -> None:
        sequence = struct.unpack_from("<I", body, 37)[0]
        data = array(struct.pack("<I", 0) + b"\x01\x0b" + struct.pack("<d", 10.0 * sequence)) + NULL
        item = b"\x01\x00" + struct.pack("<H", 811) + b"\x01" + struct.pack("<i", len(data)) + data
        await peer.reply(REPUBLISH, handle, message(sequence, array(item)))

    async def scene() -> None:
        publisher = Publisher(ALL)
        async with server({PUBLISH: publisher, REPUBLISH: again}) as (port, peers):
            client = client_of(port)
            await client.connect()
            await client.changes()
            await publisher.answer(peers[0], report(4, {0: 40.0}, available=(2, 3, 4)))
            assert told(await client.changes()) == [("t0", 20.0), ("t0", 30.0), ("t0", 40.0)]
            await client.close()

    asyncio.run(scene())


def test_a_report_that_is_gone_for_good_leaves_a_visible_gap() -> None:
    async def gone(peer: Peer, handle: int, _: bytes) -> None:
        await peer.reply(REPUBLISH, handle, b"", 0x807B0000)

    async def scene() -> None:
        publisher = Publisher(ALL)
        async with server({PUBLISH: publisher, REPUBLISH: gone}) as (port, peers):
            client = client_of(port)
            await client.connect()
            await client.changes()
            await publisher.answer(peers[0], report(5, {0: 50.0}))
            samples = (await client.changes()).samples()
            assert [sample.quality for sample in samples[:3]] == [Quality.BAD] * 3
            assert all("reports 2 to 4 were lost" in sample.reason for sample in samples[:3])
            assert told(samples[3:]) == [("t0", 50.0), ("t0", 1.5), ("t1", 1.5), ("t2", 1.5)]
            await publisher.answer(peers[0], report(6, {1: 60.0}))
            assert told(await client.changes()) == [("t1", 60.0)]
            await client.close()

    asyncio.run(scene())


def test_a_server_that_takes_fewer_questions_is_asked_fewer() -> None:
    async def scene() -> None:
        publisher = Publisher(ALL)
        async with server({PUBLISH: publisher}) as (port, peers):
            client = client_of(port)
            await client.connect()
            await client.changes()
            await publisher.answer(peers[0], b"", 0x80780000)
            for sequence in range(2, 8):
                await publisher.answer(peers[0], report(sequence, {0: 1.0}))
                assert told(await client.changes()) == [("t0", 1.0)]
                assert len(publisher.waiting) <= 2
            await client.close()

    asyncio.run(scene())


@pytest.mark.parametrize(("status", "word"), [(0x80790000, "BadNoSubscription"), (0x80250000, "BadSessionIdInvalid")])
def test_a_refused_question_is_a_lost_subscription(status: int, word: str) -> None:
    async def scene() -> None:
        publisher = Publisher(ALL)
        async with server({PUBLISH: publisher}) as (port, peers):
            client = client_of(port)
            await client.connect()
            await client.changes()
            await publisher.answer(peers[0], b"", status)
            with pytest.raises(FieldError, match=word):
                await client.changes()

    asyncio.run(scene())


def test_the_end_of_the_subscription_is_told() -> None:
    ended = struct.pack("<I", 0x800A0000) + NULL
    item = b"\x01\x00" + struct.pack("<H", 820) + b"\x01" + struct.pack("<i", len(ended)) + ended
    body = struct.pack("<I", 7) + array() + b"\x00" + message(2, array(item)) + array() + NULL

    async def scene() -> None:
        publisher = Publisher(ALL)
        async with server({PUBLISH: publisher}) as (port, peers):
            client = client_of(port)
            await client.connect()
            await client.changes()
            await publisher.answer(peers[0], body)
            with pytest.raises(FieldError, match="ended by the server: BadTimeout"):
                await client.changes()

    asyncio.run(scene())


def test_what_is_asked_of_an_item_is_what_the_tag_says() -> None:
    asked: list[bytes] = []

    async def items(peer: Peer, handle: int, body: bytes) -> None:
        asked.append(body)
        n = int.from_bytes(body[41:45], "little")
        # The server knows no percent deadband: the item is then asked for without one.
        statuses = [0x808E0000 if b"\x02\x00\x00\x00" + struct.pack("<d", 5.0) in body else 0] * n
        item = [struct.pack("<IIdI", status, 1, 100.0, 10) + b"\x00\x00\x00" for status in statuses]
        await peer.reply(ITEMS, handle, array(*item) + NULL)

    async def scene() -> None:
        async with server({PUBLISH: Publisher(report(1, {0: 1.0})), ITEMS: items}) as (port, _):
            client = client_of(port, OpcuaTag("t0", "i=0", sampling=0.25, queue=7, deadband=5.0, percent=True))
            await client.connect()
            await client.close()

    asyncio.run(scene())
    assert len(asked) == 2
    assert struct.pack("<Id", 0, 250.0) in asked[0]
    assert struct.pack("<IId", 1, 2, 5.0) in asked[0]
    assert asked[0].endswith(struct.pack("<I?", 7, True))
    assert struct.pack("<Id", 0, 250.0) + b"\x00\x00\x00" + struct.pack("<I?", 7, True) in asked[1]


def test_the_intervals_asked_for_are_the_configured_ones() -> None:
    asked: list[bytes] = []

    async def subscribe(peer: Peer, handle: int, body: bytes) -> None:
        asked.append(body[33:])
        await peer.reply(SUBSCRIBE, handle, struct.pack("<IdII", 7, 100.0, 30, 5))

    async def scene() -> None:
        async with server({PUBLISH: Publisher(ALL), SUBSCRIBE: subscribe}) as (port, _):
            client = client_of(port)
            await client.connect()
            await client.close()

    asyncio.run(scene())
    interval, lifetime, keepalive = struct.unpack_from("<dII", asked[0])
    assert (interval, keepalive) == (100.0, 5)
    assert lifetime >= 3 * keepalive


def test_an_item_that_the_server_refuses_to_watch_is_a_row_all_the_same() -> None:
    async def items(peer: Peer, handle: int, _: bytes) -> None:
        item = [struct.pack("<IIdI", status, 1, 100.0, 10) + b"\x00\x00\x00" for status in (0, 0x80340000, 0)]
        await peer.reply(ITEMS, handle, array(*item) + NULL)

    async def read(peer: Peer, handle: int, body: bytes) -> None:
        n = int.from_bytes(body[45:49], "little")
        good, unknown = b"\x01\x0b" + struct.pack("<d", 1.5), b"\x02" + struct.pack("<I", 0x80340000)
        await peer.reply(READ, handle, array(*[unknown if at == 1 else good for at in range(n)]) + NULL)

    async def scene() -> None:
        answers: dict[int, Answer] = {PUBLISH: Publisher(report(1, {0: 1.0, 2: 1.0})), ITEMS: items, READ: read}
        async with server(answers) as (port, _):
            client = client_of(port)
            await client.connect()
            rows = (await client.changes()).samples()
            refused = [sample for sample in rows if sample.tag == "t1"][-1]
            assert (refused.quality, refused.value) == (Quality.BAD, None)
            assert "refused to watch it: BadNodeIdUnknown" in refused.reason
            await client.close()

    asyncio.run(scene())


# --- a server that nobody here wrote ------------------------------------------------------------------------------


async def plant(port: int = 0) -> tuple[Server, Any, Any]:
    running = Server()
    await running.init()
    running.set_endpoint(f"opc.tcp://127.0.0.1:{port}/plant")
    running.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    level = await running.nodes.objects.add_variable(ua.NodeId("level", 2), "level", 1.5)
    count = await running.nodes.objects.add_variable(ua.NodeId("count", 2), "count", 7)
    await running.start()
    return running, level, count


def port_of(running: Server) -> int:
    assert running.bserver is not None
    assert running.bserver._server is not None
    return int(running.bserver._server.sockets[0].getsockname()[1])


def test_a_subscription_survives_the_servers_restart_and_is_proven_anew() -> None:
    async def until(client: OpcuaClient, wanted: tuple[str, object]) -> None:
        async with asyncio.timeout(5):
            while wanted not in told(await client.changes()):
                pass

    async def scene() -> None:
        running, level, _ = await plant()
        port = port_of(running)
        client = client_of(port, OpcuaTag("level", "ns=2;s=level"), OpcuaTag("count", "ns=2;s=count"), timeout=3.0)
        await client.connect()
        assert {("level", 1.5), ("count", 7)} <= set(told(await client.changes()))
        await level.write_value(2.5)
        await until(client, ("level", 2.5))
        await running.stop()
        with pytest.raises(FieldError):
            await until(client, ("level", None))
        running, level, _ = await plant(port)
        await client.connect()
        assert {("level", 1.5), ("count", 7)} <= set(told(await client.changes()))
        await level.write_value(3.5)
        await until(client, ("level", 3.5))
        # And a read in between, of all tags, does not disturb the reports.
        assert told(await client.read()) == [("level", 3.5), ("count", 7)]
        await level.write_value(4.5)
        await until(client, ("level", 4.5))
        await client.close()
        await running.stop()

    asyncio.run(scene())

"""The OPC UA client against asyncua's server, directly and through a wire that cuts, counts and bends bytes."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from asyncua import Server, ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.crypto.truststore import TrustStore
from asyncua.crypto.validator import CertificateValidator, CertificateValidatorOptions
from asyncua.ua.ua_binary import struct_to_binary
from cryptography.x509.oid import ExtendedKeyUsageOID
from ullage_protocols.field.base import FieldClient, FieldError, SendRefused
from ullage_protocols.field.opcua import services
from ullage_protocols.field.opcua.client import OpcuaClient
from ullage_protocols.field.opcua.link import Link
from ullage_protocols.field.opcua.nodeids import parse_nodeid
from ullage_protocols.field.opcua.services import Request
from ullage_protocols.field.opcua.session import Session, Who
from ullage_protocols.field.opcua.spec import OpcuaDevice, OpcuaSecurity, OpcuaTag
from ullage_protocols.sample import Quality, Sample

TIMEOUT = 2.0
SHORT = 0.5
THEN = datetime(2026, 1, 1, tzinfo=UTC)
READ_REQUEST = b"\x01\x00\x77\x02"
"""The encoded type id of a ReadRequest (i=631), once in each such message."""
READ_RESPONSE = b"\x01\x00\x7a\x02"
"""The encoded type id of a ReadResponse (i=634); 12 bytes on stands its service result."""
POISON = "POISONPOISON"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logger = logging.getLogger("asyncua")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(before)


def port_of(server: Server) -> int:
    assert server.bserver is not None
    listening = server.bserver._server
    assert listening is not None
    return int(listening.sockets[0].getsockname()[1])


@asynccontextmanager
async def plant(port: int = 0) -> AsyncIterator[Server]:
    """A server with one node of each kind."""
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/plant")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    objects = server.nodes.objects

    async def add(name: str, value: Any, code: int = ua.StatusCodes.Good, source: datetime | None = THEN) -> None:
        node = await objects.add_variable(ua.NodeId(name, 2), name, value)
        status = ua.StatusCode(ua.UInt32(code))
        await node.write_value(ua.DataValue(ua.Variant(value), StatusCode=status, SourceTimestamp=source))

    await add("level", 1.5)
    await add("count", 7)
    await add("running", True)
    await add("name", "filler")
    await add("stale", 2.5, ua.StatusCodes.UncertainLastUsableValue)
    await add("broken", 3.5, ua.StatusCodes.BadSensorFailure)
    await add("array", [1.0, 2.0])
    await add("nan", float("nan"))
    await add("undated", 4.5, source=None)
    await add("poison", POISON)
    for number in range(20):
        await add(f"n{number}", float(number))
    async with server:
        yield server


class Shared:
    """One plant for many tests, in a thread of its own: a server takes seconds to come up."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._plant = plant()
        self.server = self.do(self._plant.__aenter__())
        self.port = port_of(self.server)

    def do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def limit(self, nodes: int) -> None:
        """Sets MaxNodesPerRead; 0 means no limit."""
        node = self.server.get_node(ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead)
        self.do(node.write_value(ua.DataValue(ua.Variant(nodes, ua.VariantType.UInt32))))

    def stop(self) -> None:
        self.do(self._plant.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Shared]:
    logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)
    running = Shared()
    yield running
    running.stop()


def client_of(port: int, *names: str, timeout: float = TIMEOUT, **more: Any) -> OpcuaClient:
    tags = tuple(OpcuaTag(name, f"ns=2;s={name}") for name in names)
    device = OpcuaDevice("tank", f"opc.tcp://127.0.0.1:{port}/plant", timeout=timeout, tags=tags, **more)
    return OpcuaClient(device, lambda: datetime.now(UTC))


@dataclass
class Wire:
    """A TCP relay to ``target`` that can count, bend and stop what passes."""

    target: int
    bend: Callable[[bytes], bytes] = bytes
    stopped: bool = False
    upstream: bytes = b""
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        self.writers += [writer, back]

        async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter, up: bool) -> None:
            while chunk := await source.read(65536):
                if up:
                    self.upstream += chunk
                    self.asked.set()
                if not self.stopped:
                    sink.write(chunk if up else self.bend(chunk))
                    await sink.drain()
            sink.close()

        await asyncio.gather(pass_on(reader, back, True), pass_on(there, writer, False), return_exceptions=True)


@asynccontextmanager
async def wire(target: int) -> AsyncIterator[tuple[Wire, int]]:
    relay = Wire(target)
    listening = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    try:
        yield relay, listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for writer in relay.writers:
            writer.transport.abort()


async def lost(act: Awaitable[object], within: float) -> FieldError:
    started = time.monotonic()
    with pytest.raises(FieldError) as caught:
        await act
    assert time.monotonic() - started < within
    return caught.value


def values(samples: Iterable[Sample]) -> list[object]:
    return [sample.value for sample in samples]


def test_every_kind_of_node_becomes_a_sample_in_configured_order(shared: Shared) -> None:
    async def scene() -> None:
        names = ("level", "broken", "unknown", "stale", "array", "nan", "count", "running", "name", "undated")
        client: FieldClient = client_of(shared.port, *names)
        await client.connect()
        samples = (await client.read()).samples()
        await client.close()
        assert tuple(sample.tag for sample in samples) == names
        by_tag = {sample.tag: sample for sample in samples}
        good = {"level": 1.5, "count": 7, "running": True, "name": "filler", "undated": 4.5}
        for tag, value in good.items():
            assert (by_tag[tag].value, by_tag[tag].quality, by_tag[tag].reason) == (value, Quality.GOOD, "")
            assert type(by_tag[tag].value) is type(value)
        assert (by_tag["stale"].value, by_tag["stale"].quality) == (2.5, Quality.UNCERTAIN)
        assert "UncertainLastUsableValue" in by_tag["stale"].reason
        for tag, reason in {
            "broken": "BadSensorFailure",
            "unknown": "BadNodeIdUnknown",
            "array": "an array of 2 Double where",
            "nan": "not a finite number",
        }.items():
            assert (by_tag[tag].value, by_tag[tag].quality) == (None, Quality.BAD)
            assert reason in by_tag[tag].reason
        assert by_tag["level"].source_time == THEN
        assert by_tag["undated"].source_time.tzinfo is not None
        assert abs((by_tag["undated"].source_time - by_tag["level"].seen_time).total_seconds()) < 60

    asyncio.run(scene())


@pytest.mark.parametrize(("limit", "requests"), [(0, 1), (6, 4), (20, 1), (19, 2)])
def test_the_servers_limit_of_nodes_per_read_is_kept(shared: Shared, limit: int, requests: int) -> None:
    async def scene() -> None:
        async with wire(shared.port) as (relay, port):
            client = client_of(port, *(f"n{number}" for number in range(20)))
            await client.connect()
            relay.upstream = b""
            assert values(await client.read()) == [float(number) for number in range(20)]
            assert relay.upstream.count(READ_REQUEST) == requests
            await client.close()

    shared.limit(limit)
    try:
        asyncio.run(scene())
    finally:
        shared.limit(0)


def test_one_undecodable_node_costs_itself_only_and_is_remembered(shared: Shared) -> None:
    head = len(POISON).to_bytes(4, "little")

    def bend(chunk: bytes) -> bytes:
        return chunk.replace(head + POISON.encode(), b"\xff\xff\xff\x7f" + POISON.encode())

    async def scene() -> None:
        names = [f"n{number}" for number in range(20)]
        names.insert(13, "poison")
        async with wire(shared.port) as (relay, port):
            client = client_of(port, *names)
            await client.connect()
            assert POISON in values(await client.read())
            relay.bend = bend
            for poll, most in enumerate((12, 2)):
                relay.upstream = b""
                samples = (await client.read()).samples()
                assert relay.upstream.count(READ_REQUEST) <= most, f"poll {poll}"
                assert [sample.tag for sample in samples] == names
                poison = samples.pop(13)
                assert (poison.value, poison.quality) == (None, Quality.BAD)
                assert "cannot be decoded" in poison.reason
                assert values(samples) == [float(number) for number in range(20)]
            relay.bend = bytes
            assert (await client.read())[13].value == POISON
            await client.close()

    asyncio.run(scene())


def test_a_server_that_hangs_in_mid_session_is_a_lost_connection_within_the_timeout(shared: Shared) -> None:
    async def scene() -> None:
        async with wire(shared.port) as (relay, port):
            client = client_of(port, "level", timeout=1.0)
            await client.connect()
            relay.stopped = True
            error = await lost(client.read(), 1.5)
            assert "no reply within 1 s" in str(error)
            assert "not connected" in str(await lost(client.read(), 0.1))
            await lost(client.connect(), 1.5)
            relay.stopped = False
            await client.connect()
            assert values(await client.read()) == [1.5]
            relay.stopped = True
            started = time.monotonic()
            await client.close()
            assert time.monotonic() - started < 1.5

    asyncio.run(scene())


def test_a_server_killed_in_mid_session_is_a_lost_connection_and_its_return_is_found() -> None:
    async def scene() -> None:
        async with plant() as server:
            port = port_of(server)
            client = client_of(port, "level")
            await client.connect()
            assert values(await client.read()) == [1.5]
        assert "device tank" in str(await lost(client.read(), TIMEOUT + 0.5))
        assert "cannot connect" in str(await lost(client.connect(), TIMEOUT + 0.5))
        async with plant(port):
            await client.connect()
            assert values(await client.read()) == [1.5]
            await client.close()
            await client.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not [task for task in left if "asyncua/client" in str(task.get_coro())]

    asyncio.run(scene())


def test_a_cut_wire_while_reading_is_a_lost_connection_at_once(shared: Shared) -> None:
    async def scene() -> None:
        async with wire(shared.port) as (relay, port):
            client = client_of(port, "level")
            await client.connect()
            relay.stopped = True
            relay.asked.clear()
            reading = asyncio.create_task(client.read())
            await asyncio.wait_for(relay.asked.wait(), 1)
            relay.writers[0].transport.abort()
            assert "connection lost" in str(await lost(reading, 0.5))

    asyncio.run(scene())


def refuse(code: int, longer_than: int = 0) -> Callable[[bytes], bytes]:
    """Turns read responses of more than ``longer_than`` bytes into refusals with ``code``."""

    def bend(chunk: bytes) -> bytes:
        at = chunk.find(READ_RESPONSE) + len(READ_RESPONSE) + 12
        if READ_RESPONSE not in chunk or len(chunk) <= longer_than:
            return chunk
        return chunk[:at] + code.to_bytes(4, "little") + chunk[at + 4 :]

    return bend


def test_a_server_that_finds_a_read_too_large_is_asked_for_less(shared: Shared) -> None:
    async def scene() -> None:
        async with wire(shared.port) as (relay, port):
            client = client_of(port, *(f"n{number}" for number in range(20)))
            await client.connect()
            relay.bend = refuse(ua.StatusCodes.BadTooManyOperations, longer_than=250)
            counts = []
            for _ in range(2):
                relay.upstream = b""
                assert values(await client.read()) == [float(number) for number in range(20)]
                counts.append(relay.upstream.count(READ_REQUEST))
            assert counts[0] > counts[1] == 4
            await client.close()

    asyncio.run(scene())


@pytest.mark.parametrize("code", [ua.StatusCodes.BadSessionIdInvalid, ua.StatusCodes.BadTooManyOperations])
def test_a_server_that_refuses_every_read_is_a_lost_connection(shared: Shared, code: int) -> None:
    async def scene() -> None:
        async with wire(shared.port) as (relay, port):
            client = client_of(port, "level", "count")
            await client.connect()
            relay.bend = refuse(code)
            assert "server refused to read" in str(await lost(client.read(), 1))
            relay.bend = bytes
            await client.connect()
            assert values(await client.read()) == [1.5, 7]
            await client.close()

    asyncio.run(scene())


WRITES: dict[str, tuple[int, Callable[[], Any]]] = {
    "a value": (
        ua.ObjectIds.WriteRequest_Encoding_DefaultBinary,
        lambda: ua.WriteParameters(
            NodesToWrite=[
                ua.WriteValue(ua.NodeId("count", 2), ua.AttributeIds.Value, Value=ua.DataValue(ua.Variant(9)))
            ]
        ),
    ),
    "a method": (
        ua.ObjectIds.CallRequest_Encoding_DefaultBinary,
        lambda: ua.CallParameters([ua.CallMethodRequest()]),
    ),
    "a new node": (
        ua.ObjectIds.AddNodesRequest_Encoding_DefaultBinary,
        lambda: ua.AddNodesParameters([ua.AddNodesItem()]),
    ),
    "a deletion": (
        ua.ObjectIds.DeleteNodesRequest_Encoding_DefaultBinary,
        lambda: ua.DeleteNodesParameters([ua.DeleteNodesItem(ua.NodeId("count", 2))]),
    ),
    "history": (ua.ObjectIds.HistoryUpdateRequest_Encoding_DefaultBinary, ua.HistoryUpdateParameters),
}
"""What a planted defect would have to ask for, encoded by asyncua, since nothing here can."""


@pytest.mark.parametrize("name", WRITES)
def test_a_planted_write_is_refused_and_never_leaves(shared: Shared, name: str) -> None:
    async def scene() -> None:
        async with wire(shared.port) as (relay, port):
            link = Link(f"opc.tcp://127.0.0.1:{port}/plant", TIMEOUT)
            await asyncio.to_thread(link.open)
            await asyncio.to_thread(Session, link, Who(), "test")
            before = len(relay.upstream)
            kind, parameters = WRITES[name]
            with pytest.raises(SendRefused, match="is no read"):
                await asyncio.to_thread(link.ask, Request(kind, struct_to_binary(parameters())))
            assert len(relay.upstream) == before
            node = services.read([parse_nodeid("ns=2;s=count")])
            assert services.values(await asyncio.to_thread(link.ask, node)) == [(7, 0)]
            link.close()

    asyncio.run(scene())


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(64), b"\xff" * 64])
def test_what_is_no_opcua_server_is_refused_in_time(greeting: bytes) -> None:
    async def scene() -> None:
        writers = []

        async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            writer.write(greeting)

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        client = client_of(listening.sockets[0].getsockname()[1], "level", timeout=SHORT)
        assert "cannot connect" in str(await lost(client.connect(), SHORT + 0.5))
        listening.close()
        for writer in writers:
            writer.close()

    asyncio.run(scene())


async def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key, cert = folder / f"{name}.pem", folder / f"{name}.der"
    use = ExtendedKeyUsageOID.SERVER_AUTH if name != "agent" else ExtendedKeyUsageOID.CLIENT_AUTH
    await setup_self_signed_certificate(key, cert, f"urn:test:{name}", "localhost", [use], {})
    return cert, key


def test_an_encrypted_session_trusts_the_configured_server_and_no_other(tmp_path: Path) -> None:
    async def scene() -> None:
        cert, key = await certificate(tmp_path, "agent")
        server_cert, server_key = await certificate(tmp_path, "server")
        other_cert, _ = await certificate(tmp_path, "other")
        trusted = tmp_path / "trusted"
        trusted.mkdir()
        (trusted / "agent.der").write_bytes(cert.read_bytes())
        server = Server()
        await server.init()
        await server.set_application_uri("urn:test:server")
        server.set_endpoint("opc.tcp://127.0.0.1:0/plant")
        server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
        await server.load_certificate(str(server_cert))
        await server.load_private_key(str(server_key))
        store = TrustStore([trusted], [])
        await store.load()
        server.set_certificate_validator(CertificateValidator(CertificateValidatorOptions.TRUSTED_VALIDATION, store))
        await server.nodes.objects.add_variable(ua.NodeId("level", 2), "level", 1.5)
        async with server:
            port = port_of(server)
            security = OpcuaSecurity("Basic256Sha256", "SignAndEncrypt", cert, key, server_cert)
            client = client_of(port, "level", timeout=5.0, security=security)
            await client.connect()
            assert values(await client.read()) == [1.5]
            await client.close()
            wrong = OpcuaSecurity("Basic256Sha256", "SignAndEncrypt", cert, key, other_cert)
            await lost(client_of(port, "level", security=wrong).connect(), TIMEOUT + 0.5)
            await lost(client_of(port, "level").connect(), TIMEOUT + 0.5)
            gone = OpcuaSecurity("Basic256Sha256", "SignAndEncrypt", tmp_path / "gone.der", key, server_cert)
            error = await lost(client_of(port, "level", security=gone).connect(), TIMEOUT + 0.5)
            assert "gone.der" in str(error)

    asyncio.run(scene())

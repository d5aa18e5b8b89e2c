"""The Modbus client over TLS, serial lines and RTU over TCP, against pymodbus's servers; units that share."""

from __future__ import annotations

import asyncio
import os
import ssl
import tty
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pymodbus import ModbusDeviceIdentification
from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer, ModbusTlsServer
from pymodbus.simulator import DataType, SimData, SimDevice
from support.brokers import Authority
from ullage_protocols.field.base import FieldError, HostileError, SendRefused
from ullage_protocols.field.modbus import rtu
from ullage_protocols.field.modbus.bus import BusPool
from ullage_protocols.field.modbus.client import ModbusClient
from ullage_protocols.field.modbus.spec import ModbusDevice, tag_at
from ullage_protocols.field.modbus.ways import trust
from ullage_protocols.sample import Quality

TAGS = (
    tag_at("coil", "coil:2"),
    tag_at("discrete", "discrete:3"),
    tag_at("register", "holding:1"),
    tag_at("float", "holding:10", "float32"),
    tag_at("input", "input:0", "int32"),
    tag_at("hole", "holding:20"),
)
VALUES = [True, True, 2, 1.5, -70000, None]


def unit(number: int) -> SimDevice:
    return SimDevice(
        number,
        simdata=(
            [SimData(0, values=[True, False] * 5, datatype=DataType.BITS)],
            [SimData(0, values=[False, True] * 5, datatype=DataType.BITS)],
            [
                SimData(0, values=[number, 2, 0x0008], datatype=DataType.REGISTERS),
                SimData(10, values=[1.5], datatype=DataType.FLOAT32),
            ],
            [SimData(0, values=[-70000], datatype=DataType.INT32)],
        ),
    )


def client(pool: BusPool | None = None, **device: Any) -> ModbusClient:
    wanted = {"name": "plc", "tags": TAGS, "timeout": 2.0, **device}
    return ModbusClient(ModbusDevice(**wanted), lambda: datetime.now(UTC), pool)


@asynccontextmanager
async def serving(server: Any) -> AsyncIterator[int]:
    await server.serve_forever(background=True)
    try:
        sockets = getattr(server.transport, "sockets", None)
        yield sockets[0].getsockname()[1] if sockets else 0
    finally:
        await server.shutdown()


@asynccontextmanager
async def line(dead: int = 0) -> AsyncIterator[tuple[str, str]]:
    """A serial line: two pseudo-terminals whose ends outside are joined. Requests to unit ``dead`` reach nobody."""
    loop = asyncio.get_running_loop()
    ends = [os.openpty() for _ in range(2)]
    outer = [end[0] for end in ends]
    for outside, inside in ends:
        tty.setraw(inside)
        os.set_blocking(outside, False)

    def carry(source: int, target: int) -> None:
        data = os.read(source, 4096)
        if data[0] != dead:
            os.write(target, data)

    loop.add_reader(outer[0], carry, outer[0], outer[1])
    loop.add_reader(outer[1], carry, outer[1], outer[0])
    try:
        yield os.ttyname(ends[0][1]), os.ttyname(ends[1][1])
    finally:
        for descriptor in outer:
            loop.remove_reader(descriptor)
        for outside, inside in ends:
            os.close(outside)
            os.close(inside)


async def reads_everything(reader: ModbusClient) -> None:
    await reader.connect()
    try:
        for _ in range(3):
            scan = (await reader.read()).samples()
            assert [sample.value for sample in scan] == VALUES
            assert scan[-1].reason == "device refused: exception 2 (illegal address)"
    finally:
        await reader.close()


def test_a_serial_line_is_read() -> None:
    async def scene() -> None:
        async with line() as (mine, theirs):
            server = ModbusSerialServer(unit(1), framer=FramerType.RTU, port=theirs, baudrate=19200)
            async with serving(server):
                reader = client(protocol="modbus-rtu", parity="none", serial=mine)
                await reads_everything(reader)
                await reader.connect()
                guard = reader._way.link.guard  # type: ignore[union-attr]
                body = bytes([1, 6, 0, 0, 0, 9])
                with pytest.raises(SendRefused):
                    guard.ask(body + rtu.checksum(body))  # type: ignore[union-attr]
                await reader.close()

    asyncio.run(scene())


def test_units_on_one_serial_line_are_asked_in_turn_and_a_dead_one_costs_its_timeout() -> None:
    async def scene() -> None:
        async with line(dead=7) as (mine, theirs):
            server = ModbusSerialServer([unit(1), unit(2)], framer=FramerType.RTU, port=theirs, baudrate=19200)
            async with serving(server):
                pool, tags = BusPool(), (tag_at("who", "holding:0"), tag_at("two", "input:1"))
                readers = [
                    client(
                        pool,
                        name=f"unit {n}",
                        protocol="modbus-rtu",
                        parity="none",
                        serial=mine,
                        unit=n,
                        tags=tags,
                        timeout=0.5,
                    )
                    for n in (1, 2, 7)
                ]
                for reader in readers:
                    await reader.connect()
                link = readers[0]._way.link
                for _ in range(3):
                    first, second, dead = await asyncio.gather(
                        *(reader.read() for reader in readers), return_exceptions=True
                    )
                    assert isinstance(dead, FieldError)
                    assert "no reply from unit 7 within 0.5 s" in str(dead)
                    assert [first[0].value, second[0].value] == [1, 2]  # type: ignore[index]
                    await readers[2].connect()
                assert readers[0]._way.link is link, "nobody's port was opened anew"
                for reader in readers:
                    await reader.close()

    asyncio.run(scene())


def test_a_serial_port_that_is_not_there_says_so() -> None:
    async def scene() -> None:
        with pytest.raises(FieldError, match=r"device plc: cannot open /dev/no-such-port: .*; check the port's name"):
            await client(protocol="modbus-rtu", serial="/dev/no-such-port").connect()

    asyncio.run(scene())


def test_rtu_over_tcp_is_read() -> None:
    async def scene() -> None:
        identity = ModbusDeviceIdentification(info_name={"VendorName": "Maker", "MajorMinorRevision": "3.1"})
        server = ModbusTcpServer(unit(1), framer=FramerType.RTU, address=("127.0.0.1", 0), identity=identity)
        async with serving(server) as port:
            reader = client(protocol="modbus-rtu-tcp", host="127.0.0.1", port=port)
            await reads_everything(reader)
            await reader.connect()
            found = await reader.identify()
            assert (found.vendor, found.firmware) == ("Maker", "3.1")
            await reader.close()

    asyncio.run(scene())


def tls_server(authority: Authority, folder: Path, *, highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> Any:
    certificate, key = authority.issue(folder, "device")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(authority.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = highest
    return ModbusTlsServer(unit(1), framer=FramerType.SOCKET, address=("127.0.0.1", 0), sslctx=context)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_with_certificates_on_both_sides_is_read(tmp_path: Path, version: ssl.TLSVersion) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue(tmp_path, "agent")

    async def scene() -> None:
        async with serving(tls_server(authority, tmp_path, highest=version)) as port:
            reader = client(
                protocol="modbus-tls", host="127.0.0.1", port=port, ca=authority.ca, certificate=certificate, key=key
            )
            await reads_everything(reader)
            await reader.connect()
            identity = await reader.identify()
            assert len(identity.certificate) == 64
            assert identity.certificate_expires is not None
            assert identity.certificate_expires > datetime.now(UTC)
            with pytest.raises(SendRefused):
                reader._way.link.guard.ask(b"\0\1\0\0\0\6\1\6\0\0\0\1")  # type: ignore[union-attr]
            await reader.close()

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("stranger", r"cannot connect to|does the device trust certificate"),
        ("authority", r"cannot connect to .*certificate verify failed.*; check certificates, server name and clock"),
        ("name", r"cannot connect to .*(mismatch|not valid for).*; check certificates"),
        ("files", r"certificate .*no\.pem with key .* cannot be used"),
    ],
)
def test_tls_that_cannot_be_trusted_fails_at_connect(tmp_path: Path, which: str, message: str) -> None:
    """Connected means that a first read was answered: a certificate is refused after the handshake only."""
    folders = [tmp_path / name for name in ("ours", "theirs")]
    for folder in folders:
        folder.mkdir()
    ours, theirs = (Authority(folder) for folder in folders)
    stranger = which == "stranger"
    certificate, key = (ours if not stranger else theirs).issue(folders[0], "agent")

    async def scene() -> None:
        async with serving(tls_server(ours, folders[0])) as port:
            reader = client(
                protocol="modbus-tls",
                host="127.0.0.1",
                port=port,
                ca=theirs.ca if which == "authority" else ours.ca,
                certificate=tmp_path / "no.pem" if which == "files" else certificate,
                key=key,
                server_name="other.example" if which == "name" else "",
            )
            with pytest.raises(FieldError, match=message):
                await reader.connect()

    asyncio.run(scene())


def test_nothing_below_tls_1_2_and_no_stranger_is_believed(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue(tmp_path, "agent")
    device = ModbusDevice(
        "plc", "plc", tags=TAGS, protocol="modbus-tls", ca=authority.ca, certificate=certificate, key=key
    )
    context = trust(device)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


# --- a line that lies ---------------------------------------------------------------------------------------

GOOD = bytes([3, 4, 0, 11, 0, 22])
LIE = bytes([3, 4, 0, 99, 0, 99])
PAIR = (tag_at("a", "holding:0"), tag_at("b", "holding:1"))


def framed(pdu: bytes, number: int = 1) -> bytes:
    body = bytes([number]) + pdu
    return body + rtu.checksum(body)


@asynccontextmanager
async def gateway(answer: Callable[[bytes], list[bytes | float]]) -> AsyncIterator[tuple[int, list[bytes]]]:
    """RTU over TCP: ``answer`` gives what is sent for a request, and how long is waited in between."""
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = await reader.readexactly(8)
                received.append(request)
                for piece in answer(request):
                    if isinstance(piece, float):
                        await asyncio.sleep(piece)
                    else:
                        writer.write(piece)
                        await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], received
    finally:
        server.close()


BAD_FRAMES: dict[str, tuple[list[bytes | float], str]] = {
    "a wrong checksum": ([framed(LIE)[:-1] + b"\0"], "wrong checksum"),
    "another function": ([framed(bytes([4, 4, 0, 99, 0, 99]))], "function code 4, asked with 3"),
    "a write's reply": ([framed(bytes([6, 0, 0, 0, 99]))], "function code 6, asked with 3"),
    "too few registers": ([framed(bytes([3, 2, 0, 99]))], "reply of 2 bytes, asked for 4"),
    "too many registers": ([framed(bytes([3, 6, 0, 99, 0, 99, 0, 99]))], "reply of 6 bytes, asked for 4"),
    "a huge length": ([bytes([1, 3, 255, 0, 0])], "claims 260 bytes"),
    "two replies": ([framed(LIE) + framed(GOOD)], "bytes follow the reply"),
    "trailing bytes": ([framed(LIE) + b"\0"], "bytes follow the reply"),
    "a Modbus/TCP frame": ([b"\0\1\0\0\0\7\1" + LIE], "wrong checksum"),
    "another protocol": ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "function code 84"),
    "a refusal": ([framed(bytes([0x83, 6]))], "exception 6 (device busy)"),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_a_frame_that_is_not_what_was_asked_is_bad_rows_and_the_next_is_true(name: str) -> None:
    pieces, reason = BAD_FRAMES[name]
    turns = iter([pieces])

    def answer(request: bytes) -> list[bytes | float]:
        """The lie first; then the truth, in the size that is asked for."""
        size = 2 * int.from_bytes(request[4:6], "big")
        return next(turns, [framed(bytes([3, size]) + GOOD[2 : 2 + size])])

    async def scene() -> None:
        async with gateway(answer) as (port, _):
            reader = client(protocol="modbus-rtu-tcp", host="127.0.0.1", port=port, tags=PAIR, timeout=0.5)
            await reader.connect()
            scan = await reader.read()
            assert [sample.value for sample in scan] == [None, None]
            assert all(reason in sample.reason for sample in scan), scan.reasons
            assert [sample.value for sample in await reader.read()] == [11, 22]
            await reader.close()

    asyncio.run(scene())


@pytest.mark.parametrize(
    "pieces",
    [[], [framed(LIE)[:-1]], [framed(LIE)[:1]], [framed(LIE, 2)], [framed(LIE, 2)[:-2]], [b"\x01\x2b\x0e"]],
    ids=["silence", "a byte short", "one byte", "another unit", "half of another unit", "another kind's start"],
)
def test_what_never_becomes_a_reply_ends_at_the_timeout(pieces: list[bytes | float]) -> None:
    turns = iter([pieces])

    async def scene() -> None:
        async with gateway(lambda _: next(turns, [framed(GOOD)])) as (port, _):
            reader = client(protocol="modbus-rtu-tcp", host="127.0.0.1", port=port, tags=PAIR, timeout=0.3)
            await reader.connect()
            with pytest.raises(FieldError, match=r"no reply from unit 1 within 0\.3 s"):
                await reader.read()
            with pytest.raises(FieldError, match="not connected"):
                await reader.read()

    asyncio.run(scene())


def test_a_reply_byte_by_byte_on_a_line_is_a_good_reply() -> None:
    async def scene() -> None:
        drip = [piece for byte in framed(GOOD) for piece in (bytes([byte]), 0.001)]
        async with gateway(lambda _: drip) as (port, _):
            reader = client(protocol="modbus-rtu-tcp", host="127.0.0.1", port=port, tags=PAIR)
            await reader.connect()
            assert [sample.value for sample in await reader.read()] == [11, 22]
            await reader.close()

    asyncio.run(scene())


def test_endless_frames_of_another_unit_are_hostile() -> None:
    async def scene() -> None:
        async with gateway(lambda _: [framed(LIE, 2) * 100] * 10) as (port, _):
            reader = client(protocol="modbus-rtu-tcp", host="127.0.0.1", port=port, tags=PAIR)
            await reader.connect()
            with pytest.raises(HostileError, match="more than 4096 bytes"):
                await reader.read()

    asyncio.run(scene())


def test_a_late_reply_on_a_line_never_answers_the_next_question() -> None:
    """A device that answers the first question after the second one was asked: its values are never mixed up."""
    first: list[bytes] = []

    def answer(request: bytes) -> list[bytes | float]:
        count = int.from_bytes(request[4:6], "big")
        address = int.from_bytes(request[2:4], "big")
        true = framed(bytes([3, 2 * count]) + b"".join(bytes([0, address + at]) for at in range(count)))
        if not first:
            first.append(true)
            return []
        late, first[0] = first[0], b""
        return [piece for piece in (late, true) if piece]

    async def scene() -> None:
        async with gateway(answer) as (port, received):
            pool = BusPool()
            wanted = {"protocol": "modbus-rtu-tcp", "host": "127.0.0.1", "port": port, "timeout": 0.3, "max_gap": 1}
            tags = tuple(tag_at(f"r{at}", f"holding:{at}") for at in (1, 2, 51, 52))
            other = client(pool, **{**wanted, "name": "keeps the line open", "tags": PAIR})
            reader = client(pool, **{**wanted, "tags": tags})
            await other.connect()
            await reader.connect()
            with pytest.raises(FieldError, match="no reply"):
                await reader.read()
            for _ in range(4):
                await reader.connect()
                scan = await reader.read()
                for sample, true in zip(scan, (1, 2, 51, 52), strict=True):
                    assert sample.value in (None, true)
            assert [sample.quality for sample in scan] == [Quality.GOOD] * 4
            assert received[1][4:6] == b"\0\1", "a read of another size came in between"
            await reader.close()
            await other.close()

    asyncio.run(scene())


# --- units that share a connection --------------------------------------------------------------------------


class Gateway:
    """Modbus/TCP: several units behind one connection; ``silent`` ones do not answer, ``late`` ones too late."""

    def __init__(self) -> None:
        self.silent: set[int] = set()
        self.late: list[tuple[int, bytes]] = []
        self.connections = 0
        self.busy = 0
        self.most = 0
        self.order: list[int] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                request = await reader.readexactly(12)
                self.busy += 1
                self.most = max(self.most, self.busy)
                self.order.append(request[6])
                await asyncio.sleep(0.005)
                reply = request[:4] + b"\0\7" + request[6:7] + bytes([3, 4, 0, request[6], 0, 1])
                self.busy -= 1
                if request[6] in self.silent:
                    self.late.append((request[6], reply))
                    continue
                writer.write(b"".join(old for _, old in self.late) + reply)
                self.late.clear()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()


def sharing(port: int, units: tuple[int, ...], **more: Any) -> list[ModbusClient]:
    pool = BusPool()
    return [
        client(pool, name=f"unit {n}", host="127.0.0.1", port=port, unit=n, share=True, tags=PAIR, timeout=0.3, **more)
        for n in units
    ]


def test_units_behind_one_gateway_share_its_connection_one_request_at_a_time() -> None:
    async def scene() -> None:
        behind = Gateway()
        async with behind.running() as port:
            readers = sharing(port, (1, 2, 3))
            await asyncio.gather(*(reader.connect() for reader in readers))
            for _ in range(5):
                scans = await asyncio.gather(*(reader.read() for reader in readers))
                assert [scan[0].value for scan in scans] == [1, 2, 3]
            assert (behind.connections, behind.most) == (1, 1)
            assert behind.order == [1, 2, 3] * 5, "in turn"
            for reader in readers:
                await reader.close()

    asyncio.run(scene())


def test_a_dead_unit_costs_its_neighbours_one_timeout_and_no_connection() -> None:
    async def scene() -> None:
        behind = Gateway()
        behind.silent.add(2)
        async with behind.running() as port:
            readers = sharing(port, (1, 2, 3))
            for _ in range(3):
                await asyncio.gather(*(reader.connect() for reader in readers))
                one, dead, three = await asyncio.gather(*(r.read() for r in readers), return_exceptions=True)
                assert isinstance(dead, FieldError)
                assert not isinstance(dead, HostileError), "a late reply was passed over"
                assert (one[0].value, three[0].value) == (1, 3)  # type: ignore[index]
            assert behind.order.count(2) == 3, "asked once a period"
            assert behind.connections == 1
            behind.silent.clear()
            await readers[1].connect()
            assert (await readers[1].read())[0].value == 2
            for reader in readers:
                await reader.close()

    asyncio.run(scene())


def test_a_connection_on_which_nobody_answers_is_opened_anew() -> None:
    async def scene() -> None:
        behind = Gateway()
        behind.silent |= {1, 2}
        async with behind.running() as port:
            readers = sharing(port, (1, 2))
            await asyncio.gather(*(reader.connect() for reader in readers))
            await asyncio.gather(*(reader.read() for reader in readers), return_exceptions=True)
            behind.silent.clear()
            behind.late.clear()
            for reader in readers:
                await reader.connect()
                assert (await reader.read()).bad == 0
            assert behind.connections == 2
            for reader in readers:
                await reader.close()

    asyncio.run(scene())


def test_many_units_behind_nothing_try_once_for_all() -> None:
    async def scene() -> None:
        behind = Gateway()
        async with behind.running() as port:
            pass
        readers = sharing(port, tuple(range(1, 20)))
        errors = await asyncio.gather(*(reader.connect() for reader in readers), return_exceptions=True)
        assert all(isinstance(error, FieldError) for error in errors)
        assert sum("for all who share it" in str(error) for error in errors) == 18

    asyncio.run(scene())


def test_a_cancelled_read_leaves_the_neighbours_their_connection() -> None:
    async def scene() -> None:
        behind = Gateway()
        behind.silent.add(2)
        async with behind.running() as port:
            readers = sharing(port, (1, 2))
            await asyncio.gather(*(reader.connect() for reader in readers))
            reading = asyncio.create_task(readers[1].read())
            await asyncio.sleep(0.05)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            assert (await readers[0].read())[0].value == 1
            assert behind.connections == 1
            for reader in readers:
                await reader.close()

    asyncio.run(scene())

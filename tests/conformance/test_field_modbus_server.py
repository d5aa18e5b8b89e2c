"""The Modbus client against pymodbus's server, a server it shares no reading code with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from pymodbus import ModbusDeviceIdentification
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from ullage_protocols.field.base import FieldClient
from ullage_protocols.field.modbus.client import ModbusClient
from ullage_protocols.field.modbus.holes import Hole
from ullage_protocols.field.modbus.spec import ModbusDevice, ModbusTag, tag_at
from ullage_protocols.sample import Quality

START = datetime(2026, 1, 1, tzinfo=UTC)
IDENTITY = ModbusDeviceIdentification(
    info_name={
        "VendorName": "Pymodbus",
        "ProductCode": "SIM",
        "MajorMinorRevision": "3.1",
        "ProductName": "Simulator",
        "ModelName": "Bench",
    }
)


def ticking() -> Callable[[], datetime]:
    """A clock that is one second further at every look."""
    seconds = iter(range(10**6))
    return lambda: START + timedelta(seconds=next(seconds))


@asynccontextmanager
async def server() -> AsyncIterator[int]:
    """Coils 0..9 and registers with holes, on unit 1 of a free port."""
    device = SimDevice(
        1,
        simdata=(
            [SimData(0, values=[True, False] * 5, datatype=DataType.BITS)],
            [SimData(0, values=[False, True] * 5, datatype=DataType.BITS)],
            [
                SimData(0, values=[1, 2, 0x0008], datatype=DataType.REGISTERS),
                SimData(10, values=[1.5], datatype=DataType.FLOAT32),
                SimData(14, values=[-70000], datatype=DataType.INT32),
                SimData(100, values=list(range(200)), datatype=DataType.REGISTERS),
            ],
            [SimData(0, values=[float("nan")], datatype=DataType.FLOAT32)],
        ),
    )
    running = ModbusTcpServer(device, address=("127.0.0.1", 0), identity=IDENTITY)
    await running.serve_forever(background=True)
    try:
        assert isinstance(running.transport, asyncio.Server)
        yield running.transport.sockets[0].getsockname()[1]
    finally:
        await running.shutdown()


def run(tags: tuple[ModbusTag, ...], act: Callable[[ModbusClient], Awaitable[None]], **device: int) -> None:
    async def scene() -> None:
        async with server() as port:
            wanted = ModbusDevice("plc", "127.0.0.1", port=port, timeout=2.0, tags=tags, **device)
            client = ModbusClient(wanted, ticking())
            await client.connect()
            try:
                await act(client)
            finally:
                await client.close()

    asyncio.run(scene())


def test_every_table_and_type_is_read_in_configured_order() -> None:
    tags = (
        tag_at("float", "holding:10", "float32"),
        tag_at("first", "40001"),
        tag_at("coil", "coil:2"),
        tag_at("discrete", "discrete:3"),
        tag_at("bit", "holding:2", bit=3),
        tag_at("scaled", "holding:1", scale=0.5, offset=1.0),
        tag_at("negative", "holding:14", "int32"),
        tag_at("nan", "input:0", "float32"),
    )

    async def act(client: FieldClient) -> None:
        samples = (await client.read()).samples()
        assert [sample.tag for sample in samples] == [tag.name for tag in tags]
        assert [sample.value for sample in samples] == [1.5, 1, True, True, True, 2.0, -70000, None]
        assert [sample.quality for sample in samples] == [Quality.GOOD] * 7 + [Quality.BAD]
        assert samples[-1].reason.startswith("not a finite float32: registers 7fc0")

    run(tags, act, max_gap=0)


def test_a_scan_is_seen_when_it_is_whole_and_modbus_has_no_time_of_its_own() -> None:
    tags = (tag_at("a", "holding:0"), tag_at("b", "holding:1"), tag_at("c", "coil:0"))

    async def act(client: FieldClient) -> None:
        scan = await client.read()
        assert (scan.seen, scan.source) == (START, None)
        assert {sample.source_time for sample in scan} == {START}
        assert (await client.read()).seen == START + timedelta(seconds=1)

    run(tags, act)


def test_a_hole_costs_only_its_own_tags_from_the_first_scan_on() -> None:
    tags = tuple(tag_at(f"r{at}", f"holding:{at}") for at in (0, 1, 2, 5, 100, 101, 102))

    async def act(client: ModbusClient) -> None:
        for _ in range(3):
            scan = (await client.read()).samples()
            assert [sample.value for sample in scan] == [1, 2, 8, None, 0, 1, 2]
            assert scan[3].reason == "device refused: exception 2 (illegal address)"
        assert sorted(block.count for block in client.blocks) == [1, 3, 3]
        assert Hole("holding", 5, 1, 2) in client.holes()

    run(tags, act)


def test_a_device_full_of_holes_is_learned_in_few_scans() -> None:
    there = {0, 1, 2, 10, 11, 14, 15}
    tags = tuple(tag_at(f"r{at}", f"holding:{at}") for at in range(18))

    async def act(client: ModbusClient) -> None:
        for _ in range(3):
            scan = await client.read()
        assert {at for at, sample in enumerate(scan) if sample.quality is Quality.GOOD} == there

    run(tags, act)


def test_groups_are_read_apart() -> None:
    tags = (tag_at("a", "holding:0"), tag_at("b", "holding:1", group=1), tag_at("c", "holding:2"))

    async def act(client: ModbusClient) -> None:
        assert [columns.names for columns in client.groups] == [("a", "c"), ("b",)]
        assert [[sample.value for sample in await client.read(group)] for group in (0, 1)] == [[1, 8], [2]]

    run(tags, act)


def test_the_server_says_who_it_is() -> None:
    async def act(client: ModbusClient) -> None:
        identity = await client.identify()
        assert (identity.vendor, identity.product, identity.model) == ("Pymodbus", "Simulator", "Bench")
        assert identity.firmware == "3.1"
        assert [sample.value for sample in await client.read()] == [1]

    run((tag_at("a", "holding:0"),), act)


def test_many_registers_take_several_requests() -> None:
    tags = tuple(tag_at(f"r{at}", f"holding:{at}") for at in range(100, 300))

    async def act(client: ModbusClient) -> None:
        assert [block.count for block in client.blocks] == [60, 60, 60, 20]
        assert [sample.value for sample in await client.read()] == list(range(200))

    run(tags, act, max_registers=60)


def test_a_unit_that_does_not_exist_is_bad_samples_with_the_servers_reason() -> None:
    async def scene() -> None:
        async with server() as port:
            device = ModbusDevice("plc", "127.0.0.1", port=port, unit=9, timeout=0.5, tags=(tag_at("a", "holding:0"),))
            client = ModbusClient(device, ticking())
            await client.connect()
            (sample,) = await client.read()
            assert sample.quality is Quality.BAD
            assert sample.reason.startswith("device refused")
            await client.close()

    asyncio.run(scene())

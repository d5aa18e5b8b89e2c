"""modbus-serial: one address that is never answered, one that is answered after 1.5 s, late and out of turn."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from peers.kit import Peers
from peers.reading import connected, read, registers, values
from peers.referee import Referee
from ullage_protocols.field.base import FieldError
from ullage_protocols.field.modbus.bus import BusPool
from ullage_protocols.field.modbus.spec import ModbusDevice, ModbusTag, tag_at

NEVER, LATE = tag_at("never", "holding:66"), tag_at("late", "holding:77")


@pytest.fixture(scope="module")
def port(peers: Peers, referee: Referee) -> int:
    return referee.speaks(peers.node("modbus_serial.js"), "mbtcp")


def plc(port: int, *tags: ModbusTag, **more: float) -> ModbusDevice:
    return ModbusDevice("plc", "127.0.0.1", port=port, tags=tags, **more)


def test_all_four_tables(port: int) -> None:
    tags = (*registers(0, 60), *registers(0, 125, "input"), *(tag_at(f"c{at}", f"coil:{at}") for at in range(19)))
    tags += tuple(tag_at(f"d{at}", f"discrete:{at}") for at in range(19))
    wanted = [1000 + at for at in range(60)] + [100 + at for at in range(125)]
    assert values(read(plc(port, *tags))) == wanted + [at % 2 == 0 for at in range(19)] + [
        at % 2 == 1 for at in range(19)
    ]


def test_an_address_that_is_never_answered_costs_the_timeout_not_more(port: int) -> None:
    async def scene() -> None:
        async with asyncio.timeout(10), connected(plc(port, NEVER, timeout=0.4)) as client:
            before = asyncio.get_running_loop().time()
            with pytest.raises(FieldError, match="no reply"):
                await client.read()
            assert 0.3 < asyncio.get_running_loop().time() - before < 2

    asyncio.run(scene())


def test_patience_gets_the_late_value(port: int) -> None:
    assert values(read(plc(port, LATE, timeout=4.0))) == [1077]


@pytest.mark.parametrize("share", [False, True])
def test_a_reply_that_comes_after_the_timeout_never_becomes_a_value_of_the_next_request(port: int, share: bool) -> None:
    """The late register holds 1077, the others 1000 + their own address: any mix-up shows.

    Shared, the connection outlives the timeout: the late reply arrives while the neighbour waits for register 88,
    which also takes 1.5 s.
    """

    async def scene() -> None:
        pool = BusPool()
        slow = plc(port, LATE, timeout=0.4, share=share)
        around = replace(slow, name="near", timeout=4.0, tags=(tag_at("near", "holding:88"),))
        async with asyncio.timeout(20), connected(slow, pool) as late, connected(around, pool) as near:
            for _ in range(3):
                with pytest.raises(FieldError, match="no reply"):
                    await late.read()
                assert values(list(await near.read())) == [1088]
                await late.connect()

    asyncio.run(scene())


def test_after_a_timeout_the_same_client_reads_on_with_right_values_only(port: int) -> None:
    async def scene() -> None:
        tags = (tag_at("before", "holding:1"), LATE, tag_at("after", "holding:150"))
        seen: list[object] = []
        async with asyncio.timeout(20), connected(plc(port, *tags, timeout=0.5, max_gap=0)) as client:
            for _ in range(6):
                try:
                    seen += [(sample.tag, sample.value) for sample in await client.read() if sample.value is not None]
                except FieldError:
                    await client.connect()
        assert set(seen) <= {("before", 1001), ("after", 1150)}

    asyncio.run(scene())

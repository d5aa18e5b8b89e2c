"""modbus-tk over TCP: silent for units it does not have."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from peers.kit import SERVERS, Peers, free_port, python_of
from peers.reading import connected, read, registers, values
from peers.referee import Referee
from ullage_protocols.field.base import FieldError
from ullage_protocols.field.modbus.spec import ModbusDevice, tag_at


@pytest.fixture(scope="module")
def plc(peers: Peers, referee: Referee) -> ModbusDevice:
    port = referee.speaks(free_port(), "mbtcp")
    peers.start(python_of("modbus-tk"), SERVERS / "modbus_tk_slave.py", str(port), says="ready")
    return ModbusDevice("plc", "127.0.0.1", port=port, tags=registers(0, 60))


def test_all_four_tables(plc: ModbusDevice) -> None:
    assert values(read(plc)) == list(range(500, 560))
    tags = (
        *registers(10, 10, "input"),
        *(tag_at(f"{table}{at}", f"{table}:{at}") for table in ("coil", "discrete") for at in range(10)),
    )
    coils = [bool(bit) for bit in (1, 0, 0, 1, 1, 0, 0, 0, 0, 1)]
    discrete = [bool(bit) for bit in (0, 1, 1, 0, 0, 1, 1, 1, 1, 0)]
    assert values(read(replace(plc, tags=tags))) == [65535 - at for at in range(10)] + coils + discrete


def test_a_merged_request_that_leaves_the_table_is_refused_and_learned(plc: ModbusDevice) -> None:
    wanted = replace(plc, tags=registers(57, 5))
    assert values(read(wanted, times=4)) == [557, 558, 559, None, None]


def test_a_silent_unit_is_no_connection_within_the_timeout_and_its_neighbour_is_read(plc: ModbusDevice) -> None:
    async def scene() -> None:
        silent = replace(plc, name="silent", unit=2, timeout=0.4, tags=registers(0, 1))
        async with asyncio.timeout(10), connected(plc) as speaking, connected(silent) as mute:
            for _ in range(2):
                with pytest.raises(FieldError, match="no reply"):
                    await mute.read()
                assert values(list(await speaking.read())) == list(range(500, 560))
                await mute.connect()

    asyncio.run(scene())

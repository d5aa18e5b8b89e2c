"""Several requests out at once, against every Modbus/TCP stack: each value still belongs to its own register."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from peers.kit import SERVERS, Peers, free_port, python_of
from peers.reading import connected, read, registers, values
from peers.referee import Referee
from peers.test_libmodbus import compiled
from peers.test_mbtool import start as mbtool
from ullage_protocols.field.base import FieldError
from ullage_protocols.field.modbus.spec import ModbusDevice, tag_at

COUNT = 60
WIDTH = 10
"""Registers a request: six requests a poll."""
VALUES: dict[str, Callable[[int], int]] = {
    "pymodbustcp": lambda at: at * 3 + 1,
    "umodbus": lambda at: 1000 + at,
    "modbus-tk": lambda at: 500 + at,
    "modbus-serial": lambda at: 1000 + at,
    "libmodbus": lambda at: 1000 + at,
    "mbtool": lambda at: 100 + at,
}
ONE_AT_A_TIME = {"mbtool"}
"""pymodbus, on which mbtool's plain server stands, answers only the first of several requests that come together."""
ADDRESSES = {"umodbus": [at for at in range(30) if at not in (5, 6, 17)]}


@pytest.fixture(scope="module", params=sorted(VALUES))
def peer(
    request: pytest.FixtureRequest, peers: Peers, referee: Referee, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, int]:
    """A stack and the port where it serves."""
    name, port = request.param, free_port()
    if name == "pymodbustcp":
        peers.serve(name, "pymodbustcp.py", "200", port=port)
    elif name == "umodbus":
        peers.serve(name, "umodbus_tcp.py", port=port)
    elif name == "modbus-tk":
        peers.start(python_of(name), SERVERS / "modbus_tk_slave.py", str(port), says="ready")
    elif name == "modbus-serial":
        port = peers.node("modbus_serial.js")
    elif name == "libmodbus":
        peers.start(compiled(tmp_path_factory), str(port), says="ready")
    else:
        mbtool(peers, port, "tcp", faults=False)
    return name, referee.speaks(port, "mbtcp")


def plc(name: str, port: int, in_flight: int) -> ModbusDevice:
    tags = tuple(registers(at, 1)[0] for at in ADDRESSES.get(name, range(COUNT)))
    return ModbusDevice(
        name, "127.0.0.1", port=port, tags=tags, max_registers=WIDTH, max_gap=0, in_flight=in_flight, timeout=3.0
    )


@pytest.mark.parametrize("in_flight", [1, 4, 16])
def test_every_value_is_its_own(peer: tuple[str, int], in_flight: int) -> None:
    name, port = peer
    wanted = [VALUES[name](at) for at in ADDRESSES.get(name, range(COUNT))]

    async def scene() -> None:
        async with asyncio.timeout(30), connected(plc(name, port, in_flight)) as client:
            for _ in range(30):
                assert values(list(await client.read())) == wanted

    if name in ONE_AT_A_TIME and in_flight > 1:
        with pytest.raises(FieldError, match="no reply"):
            asyncio.run(scene())
    else:
        asyncio.run(scene())


def test_replies_out_of_turn_are_each_their_own_requests(peers: Peers, referee: Referee) -> None:
    """modbus-serial answers register 77 after 1.5 s, the others at once and so before it."""
    port = referee.speaks(peers.node("modbus_serial.js"), "mbtcp")
    tags = (tag_at("late", "holding:77"), *(tag_at(f"r{at}", f"holding:{at}") for at in (1, 150, 300)))
    device = ModbusDevice("plc", "127.0.0.1", port=port, tags=tags, max_gap=0, in_flight=4, timeout=4.0)
    assert values(read(device)) == [1077, 1001, 1150, 1300]


def test_one_that_never_answers_spoils_no_other_that_is_out(peers: Peers, referee: Referee) -> None:
    """What was answered may be given or given up with the connection, but never be another register's value."""
    port = referee.speaks(peers.node("modbus_serial.js"), "mbtcp")
    tags = (tag_at("never", "holding:66"), *(tag_at(f"r{at}", f"holding:{at}") for at in (1, 77, 150, 300)))
    device = ModbusDevice("plc", "127.0.0.1", port=port, tags=tags, max_gap=0, in_flight=5, timeout=0.5)
    right = [None, 1001, 1077, 1150, 1300]

    async def scene() -> None:
        async with asyncio.timeout(20), connected(device) as client:
            for _ in range(4):
                try:
                    found = values(list(await client.read()))
                except FieldError:
                    await client.connect()
                else:
                    assert all(value in (None, own) for value, own in zip(found, right, strict=True))

    asyncio.run(scene())

"""uModbus: refuses what it does not route, breaks requests that touch a hole, answers one unit as another."""

from __future__ import annotations

import pytest
from peers.kit import Peers
from peers.reading import identity, read, registers, values
from peers.referee import Referee
from ullage_protocols.field.base import Identity
from ullage_protocols.field.modbus.spec import ModbusDevice, ModbusTag, tag_at

HOLES = {5, 6, 17}
NO_ADDRESS = "device refused: exception 2 (illegal address)"


@pytest.fixture(scope="module")
def port(peers: Peers, referee: Referee) -> int:
    return referee.speaks(peers.serve("umodbus", "umodbus_tcp.py"), "mbtcp")


def plc(port: int, *tags: ModbusTag, unit: int = 1, **more: int) -> ModbusDevice:
    return ModbusDevice("plc", "127.0.0.1", port=port, unit=unit, tags=tags, **more)


@pytest.mark.parametrize("unit", [1, 7])
@pytest.mark.parametrize("table", ["holding", "input"])
def test_holes_are_found_and_cost_only_themselves(port: int, unit: int, table: str) -> None:
    found = read(plc(port, *registers(0, 30, table), unit=unit), times=8)
    assert values(found) == [None if at in HOLES else unit * 1000 + at for at in range(30)]
    assert {sample.reason for at, sample in enumerate(found) if at in HOLES} == {NO_ADDRESS}


def test_a_gap_that_the_device_refuses_is_not_asked_for_in_the_end(port: int) -> None:
    tags = (tag_at("before", "holding:4"), tag_at("after", "holding:7"))
    assert values(read(plc(port, *tags), times=4)) == [1004, 1007]


def test_without_gaps_nothing_is_ever_lost(port: int) -> None:
    tags = (tag_at("before", "holding:4"), tag_at("after", "holding:7"))
    assert values(read(plc(port, *tags, max_gap=0))) == [1004, 1007]


def test_bits_across_byte_bounds(port: int) -> None:
    tags = [tag_at(f"{table}{at}", f"{table}:{at}") for table in ("coil", "discrete") for at in range(20)]
    assert values(read(plc(port, *tags))) == [at in (0, 7, 8, 15, 16) for at in range(20)] * 2


def test_a_unit_that_nobody_routes_is_refused(port: int) -> None:
    (found,) = read(plc(port, tag_at("a", "holding:0"), unit=9))
    assert (found.value, found.reason) == (None, NO_ADDRESS)


def test_a_failing_device_says_so_and_its_neighbours_are_read(port: int) -> None:
    tags = (tag_at("broken", "holding:40"), tag_at("whole", "holding:20"))
    broken, whole = read(plc(port, *tags, max_gap=0))
    assert (broken.value, broken.reason) == (None, "device refused: exception 4 (device failure)")
    assert whole.value == 1020


def test_a_device_that_knows_no_identity_has_none(port: int) -> None:
    """This stack closes the connection, or answers exception 1 or 4, when asked who it is."""
    assert identity(plc(port, tag_at("a", "holding:0"))) == Identity()

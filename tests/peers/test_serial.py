"""RTU over serial lines (pseudo terminals), against three stacks; every line passes the referee on its way."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from peers.kit import SERVERS, Peers, free_port, python_of
from peers.reading import connected, identity, read, registers, values
from peers.referee import Referee
from peers.test_libmodbus import BUSY, ONE_FOR_TWO, compiled
from peers.test_mbtool import BAD_CRC, COUNT, DELAY, DROP, EXCEPTION, MBTOOL, PLAIN, SHAPE, polls, start
from ullage_protocols.field.base import FieldError
from ullage_protocols.field.modbus.bus import BusPool
from ullage_protocols.field.modbus.spec import ModbusDevice, tag_at
from ullage_protocols.sample import Quality


def line(path: object, **more: Any) -> ModbusDevice:
    """A unit at the end of a serial line."""
    fixed: dict[str, Any] = {"baud": 115200, "parity": "none", "timeout": 0.5, "tags": (PLAIN,), "max_gap": 0}
    return ModbusDevice("unit", serial=str(path), protocol="modbus-rtu", **{**fixed, **more})


@pytest.fixture(scope="module")
def modbus_tk(peers: Peers, referee: Referee) -> ModbusDevice:
    far, near = peers.line(referee.speaks(free_port(), "mbrtu"))
    peers.start(python_of("modbus-tk"), SERVERS / "modbus_tk_slave.py", far, says="ready")
    return line(near, max_gap=8)


@pytest.fixture(scope="module")
def libmodbus(peers: Peers, referee: Referee, tmp_path_factory: pytest.TempPathFactory) -> ModbusDevice:
    far, near = peers.line(referee.speaks(free_port(), "mbrtu"))
    peers.start(compiled(tmp_path_factory), far, says="ready")
    return line(near)


@pytest.fixture(scope="module")
def packer(peers: Peers, referee: Referee) -> int:
    """mbtool's faulty packer behind a gateway that speaks RTU over TCP. Gives its port."""
    return start(peers, referee.speaks(free_port(), "mbrtu"), "rtu-tcp")


@pytest.fixture(params=["line", "gateway"])
def faulty(request: pytest.FixtureRequest, peers: Peers, packer: int) -> ModbusDevice:
    """The faulty packer at the end of a serial line, and reached as RTU over TCP."""
    if request.param == "line":
        return line(peers.line_to(packer))
    return ModbusDevice(
        "unit", "127.0.0.1", port=packer, protocol="modbus-rtu-tcp", timeout=0.5, max_gap=0, tags=(PLAIN,)
    )


def beside(device: ModbusDevice, address: int) -> ModbusDevice:
    """PLAIN, then the faulty register in a request of its own."""
    return replace(device, tags=(PLAIN, tag_at("faulty", f"holding:{address}")))


def test_all_tables_of_modbus_tk(modbus_tk: ModbusDevice) -> None:
    bits = tuple(tag_at(f"{table}{at}", f"{table}:{at}") for table in ("coil", "discrete") for at in range(10))
    found = values(read(replace(modbus_tk, tags=(*registers(0, 60), *registers(10, 10, "input"), *bits)), times=3))
    coils = [bool(bit) for bit in (1, 0, 0, 1, 1, 0, 0, 0, 0, 1)]
    discrete = [bool(bit) for bit in (0, 1, 1, 0, 0, 1, 1, 1, 1, 0)]
    assert found == [*range(500, 560), *(65535 - at for at in range(10)), *coils, *discrete]


def test_all_tables_of_libmodbus(libmodbus: ModbusDevice) -> None:
    bits = tuple(tag_at(f"{table}{at}", f"{table}:{at}") for table in ("coil", "discrete") for at in range(400))
    tags = (*registers(0, 290), *registers(0, 400, "input"), *bits)
    found = values(read(replace(libmodbus, tags=tags, max_gap=8), times=2))
    numbers = [1000 + at for at in range(290)] + [2000 + at for at in range(400)]
    assert found == numbers + [at % 3 == 0 for at in range(400)] * 2


def test_one_register_where_two_were_asked_and_a_busy_device(libmodbus: ModbusDevice) -> None:
    tags = (
        tag_at("short", f"holding:{ONE_FOR_TWO}", "uint32"),
        tag_at("plain", "holding:10"),
        tag_at("busy", f"holding:{BUSY}"),
    )
    for times in (1, 3):
        short, plain, busy = read(replace(libmodbus, tags=tags), times=times)
        assert (short.value, short.quality, bool(short.reason)) == (None, Quality.BAD, True)
        assert (plain.value, plain.quality) == (1010, Quality.GOOD)
        assert busy.reason == "device refused: exception 6 (device busy)"


def test_a_packer_on_pymodbus_own_serial_server(peers: Peers, referee: Referee) -> None:
    far, near = peers.line(referee.speaks(free_port(), "mbrtu"))
    peers.start(MBTOOL, "--slave", "-m", "rtu", "-p", far, "-b", "115200", "-a", "3", says="server started")
    unit = line(near, unit=3, timeout=3.0, tags=(*registers(0, 10), *registers(0, 10, "input")))
    found = values(read(unit))
    assert found[:10] == [100 * (at + 1) for at in range(10)]
    assert found[10:] == [1234, 5678, 9012, 3456, 7890, 1111, 2222, 3333, 4444, 5555]


def test_both_units_and_the_identity(faulty: ModbusDevice) -> None:
    for unit in (1, 5):
        wanted = replace(faulty, unit=unit, max_gap=8, tags=registers(80, 40))
        assert values(read(wanted, times=3)) == [100 + at for at in range(80, 120)]
    who = identity(faulty)
    assert (who.vendor, who.product, who.firmware) == ("Acme", "PK-3", "1.9")


def test_units_on_one_line_are_asked_in_turn(peers: Peers, packer: int) -> None:
    """Two clients of the same line, read at the same time: neither ever hears the other's reply."""
    path, pool = peers.line_to(packer), BusPool()

    async def scene() -> None:
        one = line(path, unit=1, tags=registers(80, 10))
        other = replace(one, name="other", unit=5, tags=registers(90, 10))
        async with asyncio.timeout(20), connected(one, pool) as first, connected(other, pool) as second:
            for _ in range(10):
                here, there = await asyncio.gather(first.read(), second.read())
                assert values(list(here)) == [100 + at for at in range(80, 90)]
                assert values(list(there)) == [100 + at for at in range(90, 100)]

    asyncio.run(scene())


def test_a_silent_unit_costs_its_timeout_and_its_neighbour_is_read(peers: Peers, packer: int) -> None:
    path, pool = peers.line_to(packer), BusPool()

    async def scene() -> None:
        speaking, silent = line(path), replace(line(path), name="silent", unit=9)
        async with asyncio.timeout(20), connected(speaking, pool) as here, connected(silent, pool) as gone:
            for _ in range(2):
                with pytest.raises(FieldError, match="no reply"):
                    await gone.read()
                assert values(list(await here.read())) == [100]
                await gone.connect()

    asyncio.run(scene())


def test_an_exception_is_the_devices_own_word(faulty: ModbusDevice) -> None:
    plain, busy = read(beside(faulty, EXCEPTION))
    assert (plain.value, busy.value) == (100, None)
    assert busy.reason == "device refused: exception 6 (device busy)"


def test_a_dropped_request_costs_its_poll_and_no_other(faulty: ModbusDevice) -> None:
    """One of every three requests is dropped."""
    found = asyncio.run(polls(beside(faulty, DROP), 6))
    assert [poll == [100, 100 + DROP] for poll in found].count(False) == 2
    assert all(poll in ([100, 100 + DROP], [100, None]) or "no reply" in str(poll) for poll in found)


@pytest.mark.parametrize("address", [BAD_CRC, SHAPE, COUNT])
def test_a_wrong_checksum_function_or_byte_count_is_never_a_value(faulty: ModbusDevice, address: int) -> None:
    """The last two carry a valid checksum over the wrong bytes."""
    for poll in asyncio.run(polls(beside(faulty, address), 4)):
        assert isinstance(poll, str) or poll == [100, None]


def test_a_late_reply_of_the_same_unit_and_size_never_becomes_the_next_value(faulty: ModbusDevice) -> None:
    """An RTU reply names nothing but unit, function and size. The delayed one (0.9 s, timeout 0.5 s) holds 130."""

    async def scene() -> list[object]:
        late = replace(faulty, tags=(tag_at("late", f"holding:{DELAY}"), PLAIN))
        seen: list[object] = []
        async with asyncio.timeout(25), connected(late) as client:
            for _ in range(6):
                try:
                    seen.append(values(list(await client.read())))
                except FieldError:
                    await client.connect()
        return seen

    for poll in asyncio.run(scene()):
        assert poll in ([None, 100], [None, None], [100 + DELAY, 100])


@pytest.mark.parametrize("max_gap", [0, 8])
def test_a_late_reply_on_a_shared_line_never_becomes_a_neighbours_value(
    peers: Peers, packer: int, max_gap: int
) -> None:
    """The same unit configured twice: what one no longer waits for must not answer the other."""
    path, pool = peers.line_to(packer), BusPool()

    async def scene() -> None:
        late = line(path, tags=(tag_at("late", f"holding:{DELAY}"),), max_gap=max_gap)
        plain = replace(line(path, max_gap=max_gap), name="plain")
        good = 0
        async with asyncio.timeout(25), connected(late, pool) as slow, connected(plain, pool) as quick:
            for _ in range(4):
                with pytest.raises(FieldError):
                    await slow.read()
                for _ in range(3):
                    try:
                        assert values(list(await quick.read())) in ([100], [None])
                        good += 1
                    except FieldError:
                        await quick.connect()
                await slow.connect()
        assert good

    asyncio.run(scene())

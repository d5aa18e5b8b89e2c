"""libmodbus: right values, the ways in which its test server misbehaves, and mbpoll (its master) as an oracle."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from peers.kit import SERVERS, Peers, free_port, installed, output_of
from peers.reading import connected, read, registers, values
from peers.referee import Referee
from ullage_protocols.field.base import FieldError, HostileError
from ullage_protocols.field.modbus.spec import ModbusDevice, tag_at
from ullage_protocols.sample import Quality

WRONG_TRANSACTION, BYTE_BY_BYTE, ONE_FOR_TWO, WRONG_UNIT, BUSY, TWICE, LESS = 300, 310, 320, 330, 340, 350, 360
PLAIN = tag_at("plain", "holding:10")


def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C server, compiled against Debian's libmodbus."""
    built = tmp_path_factory.mktemp("libmodbus") / "server"
    source = SERVERS / "libmodbus.c"
    if not Path("/usr/include/modbus/modbus.h").exists():
        pytest.skip("libmodbus-dev is not installed; run tools/peers.sh")
    output_of(installed("gcc"), "-Wall", "-I/usr/include/modbus", "-o", built, source, "-lmodbus")
    return built


@pytest.fixture(scope="module")
def port(peers: Peers, referee: Referee, tmp_path_factory: pytest.TempPathFactory) -> int:
    free = referee.speaks(free_port(), "mbtcp")
    peers.start(compiled(tmp_path_factory), str(free), says="ready")
    return free


@pytest.fixture(scope="module")
def plc(port: int) -> ModbusDevice:
    return ModbusDevice("plc", "127.0.0.1", port=port, tags=registers(0, 290))


def wide(plc: ModbusDevice, address: int, **more: float) -> ModbusDevice:
    """Reads two registers, at ``address``, as one number; PLAIN before it."""
    tags = (PLAIN, tag_at("wide", f"holding:{address}", "uint32"))
    return replace(plc, tags=tags, max_gap=0, **more)


def test_all_four_tables(plc: ModbusDevice) -> None:
    bits = tuple(tag_at(f"{table}{at}", f"{table}:{at}") for table in ("coil", "discrete") for at in range(400))
    found = values(read(replace(plc, tags=(*registers(0, 290), *registers(0, 400, "input"), *bits))))
    numbers = [1000 + at for at in range(290)] + [2000 + at for at in range(400)]
    assert found == numbers + [at % 3 == 0 for at in range(400)] * 2


def test_a_reply_that_dribbles_in_byte_by_byte_is_whole(plc: ModbusDevice) -> None:
    assert values(read(wide(plc, BYTE_BY_BYTE), times=3)) == [1010, 1310 << 16 | 1311]


def test_one_register_where_two_were_asked_is_bad_and_never_shifts_what_follows(plc: ModbusDevice) -> None:
    tags = (tag_at("short", f"holding:{ONE_FOR_TWO}", "uint32"), PLAIN)
    for found in (read(replace(plc, tags=tags, max_gap=0), times=times) for times in (1, 3)):
        assert [sample.quality for sample in found] == [Quality.BAD, Quality.GOOD]
        assert (found[0].value, found[1].value) == (None, 1010)
        assert found[0].reason


@pytest.mark.parametrize("address", [WRONG_TRANSACTION, WRONG_UNIT, TWICE, LESS])
def test_a_wrong_reply_is_never_a_value(plc: ModbusDevice, address: int) -> None:
    """A bad sample with its reason, or a connection given up: the two that a strict reader may choose from."""

    async def scene() -> None:
        given_up = bad = 0
        async with asyncio.timeout(20), connected(wide(plc, address)) as client:
            for _ in range(4):
                try:
                    plain, forged = await client.read()
                except HostileError:
                    given_up += 1
                    await client.connect()
                except FieldError:
                    await client.connect()
                else:
                    assert plain.value == 1010
                    if address == TWICE and forged.value == 1350 << 16 | 1351:
                        continue
                    bad += 1
                    assert (forged.value, forged.quality) == (None, Quality.BAD)
                    assert forged.reason
        assert given_up + bad >= (1 if address == TWICE else 4)

    asyncio.run(scene())


def test_a_busy_device_says_so(plc: ModbusDevice) -> None:
    plain, busy = read(wide(plc, BUSY))
    assert (plain.value, busy.value) == (1010, None)
    assert busy.reason == "device refused: exception 6 (device busy)"


def test_beyond_the_last_register(plc: ModbusDevice) -> None:
    found = read(replace(plc, tags=registers(396, 6)), times=4)
    assert values(found) == [1396, 1397, 1398, 1399, None, None]


@dataclass(frozen=True)
class Oracle:
    """mbpoll reads the same server through a door of its own."""

    door: int

    def read(self, table: str, kind: str, address: int, count: int) -> list[str]:
        """Values as mbpoll prints them; ``table`` and ``kind`` as its -t option names them."""
        said = output_of(
            *("mbpoll", "-m", "tcp", "-p", self.door, "-a", 1, "-0", "-r", address, "-c", count, "-1", "-q"),
            *("-t", f"{table}{kind}", "127.0.0.1"),
        )
        return re.findall(r"^\[\d+\]:\s+(\S+)", said, re.MULTILINE)


@pytest.fixture(scope="module")
def oracle(peers: Peers, port: int) -> Oracle:
    installed("mbpoll")
    return Oracle(peers.from_others(port))


@pytest.mark.parametrize(
    ("table", "kind", "mbpoll"),
    [("holding", "uint16", "4"), ("input", "uint16", "3"), ("coil", "bit", "0"), ("discrete", "bit", "1")],
)
def test_mbpoll_reads_the_same(plc: ModbusDevice, oracle: Oracle, table: str, kind: str, mbpoll: str) -> None:
    tags = tuple(tag_at(f"{table}{at}", f"{table}:{at}", kind) for at in range(50, 90))
    assert [str(int(value)) for value in values(read(replace(plc, tags=tags)))] == oracle.read(mbpoll, "", 50, 40)


@pytest.mark.parametrize(("kind", "mbpoll"), [("int32", ":int"), ("float32", ":float")])
def test_mbpoll_reads_the_same_wide_numbers(plc: ModbusDevice, oracle: Oracle, kind: str, mbpoll: str) -> None:
    """mbpoll expects the low word first unless it is told otherwise."""
    tags = tuple(tag_at(f"n{at}", f"holding:{at}", kind, order="CDAB") for at in range(50, 90, 2))
    theirs = [float(number) for number in oracle.read("4", mbpoll, 50, 20)]
    assert values(read(replace(plc, tags=tags))) == pytest.approx(theirs, rel=1e-4)

"""pyModbusTCP: every table, every width in both word orders, identity, refusals, many connections."""

from __future__ import annotations

import asyncio

import pytest
from peers.kit import Peers
from peers.reading import connected, identity, read, registers, values
from peers.referee import Referee
from ullage_protocols.field.base import FieldError
from ullage_protocols.field.modbus.spec import ModbusDevice, ModbusTag, tag_at
from ullage_protocols.sample import Quality

SIZE = 300


@pytest.fixture(scope="module")
def port(peers: Peers, referee: Referee) -> int:
    return referee.speaks(peers.serve("pymodbustcp", "pymodbustcp.py", str(SIZE)), "mbtcp")


def plc(port: int, *tags: ModbusTag, **more: float) -> ModbusDevice:
    return ModbusDevice("plc", "127.0.0.1", port=port, tags=tags, **more)


def test_every_register_of_both_tables_over_request_bounds(port: int) -> None:
    holding = [at for at in range(SIZE) if not 100 <= at < 140]
    tags = [tag_at(f"h{at}", f"holding:{at}") for at in holding] + list(registers(0, SIZE, "input"))
    found = read(plc(port, *tags))
    assert {sample.quality for sample in found} == {Quality.GOOD}
    assert values(found) == [at * 3 + 1 for at in holding] + [at * 257 % 65536 for at in range(SIZE)]


def test_every_coil_and_discrete_input(port: int) -> None:
    tags = [tag_at(f"{table}{at}", f"{table}:{at}") for table in ("coil", "discrete") for at in range(40)]
    wanted = [at % 3 == 0 for at in range(40)] + [at % 3 == 1 for at in range(40)]
    found = values(read(plc(port, *tags)))
    assert found == wanted
    assert {type(value) for value in found} == {bool}


@pytest.mark.parametrize(("start", "order"), [(100, "ABCD"), (120, "CDAB")])
def test_wide_numbers_as_this_stack_encodes_them(port: int, start: int, order: str) -> None:
    at = iter((start, start + 2, start + 4, start + 8))
    kinds = ("float32", "uint32", "float64", "uint64")
    tags = [tag_at(kind, f"holding:{next(at)}", kind, order=order) for kind in kinds]
    found = read(plc(port, *tags))
    assert values(found) == [21.5, 3_000_000_000, -1234.5678, 12_345_678_901_234_567_890]
    assert [type(value) for value in values(found)] == [float, int, float, int]


def test_beyond_the_last_register_is_refused_and_costs_its_own_tags_only(port: int) -> None:
    tags = registers(SIZE - 5, 8)
    found = read(plc(port, *tags), times=5)
    assert values(found) == [at * 3 + 1 for at in range(SIZE - 5, SIZE)] + [None] * 3
    assert {sample.reason for sample in found[5:]} == {"device refused: exception 2 (illegal address)"}


def test_identity(port: int) -> None:
    who = identity(plc(port, tag_at("a", "holding:0")))
    assert (who.vendor, who.product, who.model, who.firmware) == ("Acme", "Filler", "F7", "2.4.1")


def test_twelve_at_once_each_have_their_own_values_or_no_connection(port: int) -> None:
    async def one(number: int) -> list[object] | None:
        try:
            async with connected(plc(port, *registers(number * 8, 8), timeout=5.0)) as client:
                return [value for _ in range(20) for value in values(list(await client.read()))]
        except FieldError:
            return None

    async def scene() -> list[list[object] | None]:
        async with asyncio.timeout(60):
            return await asyncio.gather(*(one(number) for number in range(12)))

    found = asyncio.run(scene())
    wanted = [[at * 3 + 1 for at in range(number * 8, number * 8 + 8)] * 20 for number in range(12)]
    assert all(got in (None, want) for got, want in zip(found, wanted, strict=True))
    assert sum(got is not None for got in found) >= 6

"""The pure parts of discovery: addresses, the search for ranges, guesses, SunSpec, roles, the configuration."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ullage_agent.config.read import read
from ullage_agent.discover import sunspec
from ullage_agent.discover.found import NodeFound, ServerFound, UnitFound
from ullage_agent.discover.guess import Guess, counts_up, guesses
from ullage_agent.discover.opcua import role_of
from ullage_agent.discover.ranges import Range, Search
from ullage_agent.discover.starting import configuration
from ullage_agent.discover.target import USUAL_UNITS, ModbusTarget, OpcuaTarget, target
from ullage_agent.errors import AgentError
from ullage_protocols.field.modbus.spec import ModbusDevice, ModbusTag


def modbus(url: str, units: str = "") -> ModbusTarget:
    found = target(url, units)
    assert isinstance(found, ModbusTarget)
    return found


def test_addresses_name_the_way_and_the_units() -> None:
    usual = modbus("modbus://plc")
    assert (usual.device.protocol, usual.device.host, usual.device.port) == ("modbus-tcp", "plc", 502)
    assert usual.units == USUAL_UNITS
    assert modbus("modbus://plc:5020/7").units == (7,)
    assert modbus("modbus://plc", "3,5-7,5").units == (3, 5, 6, 7)
    line = modbus("modbus+rtu:///dev/ttyUSB0?baud=9600&parity=none&stop_bits=2&unit=4")
    assert (line.device.serial, line.device.baud, line.device.parity, line.device.stop_bits) == (
        "/dev/ttyUSB0", 9600, "none", 2,
    )  # fmt: skip
    assert line.units == (4,)
    assert modbus("modbus+rtu+tcp://gw:4001/1").device.protocol == "modbus-rtu-tcp"
    assert target("opc.tcp://tank") == OpcuaTarget("opc.tcp://tank:4840")


@pytest.mark.parametrize(
    "url",
    ["", "plc", "http://plc", "modbus://", "modbus://plc:99999", "modbus://plc/x", "modbus://plc/256", "opc.tcp://",
     "modbus+rtu:///dev/x?baud=fast", "modbus+rtu:///dev/x?speed=1", "modbus+rtu:///dev/x?unit=0", "modbus://u:p@plc",
     "modbus://[::1"],
)  # fmt: skip
def test_what_is_no_address_is_told_with_the_shapes(url: str) -> None:
    with pytest.raises(AgentError, match="write modbus://host"):
        target(url)


def searched(readable: list[Range], chunk: int = 125, most: int = 5000) -> tuple[Search, int]:
    search = Search(chunk, most)
    running, asked = search.run(), 0
    try:
        at, count = next(running)
        while True:
            asked += 1
            assert 1 <= count <= chunk
            assert 0 <= at <= at + count <= 0x10000
            at, count = running.send(any(one.start <= at and at + count <= one.end for one in readable))
    except StopIteration:
        return search, asked


def test_ranges_are_found_to_the_register_with_few_requests() -> None:
    true = [Range(0, 14), Range(17, 20), Range(100, 107), Range(990, 1450), Range(40000, 40200), Range(65500, 65536)]
    search, asked = searched(true)
    assert search.found == true[:-1], "the last begins nowhere near a usual place"
    assert asked < 400


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(1, 400)), max_size=6), st.sampled_from([4, 125, 2000]))
@settings(max_examples=200)
def test_nothing_is_found_that_cannot_be_read_and_each_range_ends_where_it_does(
    given_: list[tuple[int, int]], chunk: int
) -> None:
    cells = {at for start, size in given_ for at in range(start, min(start + size, 0x10000))}
    edges = sorted(at for at in cells if at - 1 not in cells)
    true = [
        Range(start, next(at for at in range(start, 0x10002) if at not in cells)) for start in edges
    ]  # fmt: skip
    search, asked = searched(true, chunk)
    assert set(search.found) <= set(true)
    assert all(one in search.found for one in true if any(one.start <= at < one.end for at in (0, 1, 100, 40000)))
    assert asked < 3000


def test_a_device_that_answers_everywhere_is_not_read_to_the_end() -> None:
    search, asked = searched([Range(0, 0x10000)])
    assert search.enough
    assert asked < 80


@pytest.mark.parametrize(
    ("values", "counts"),
    [([1, 2, 3], True), ([65534, 65535, 2], True), ([5, 5, 6, 8], True), ([1, 2], True), ([3, 2, 4], False),
     ([7, 7, 7], False), ([1, 1, 2], False), ([100, 5100, 10100], False), ([4], False)],
)  # fmt: skip
def test_a_count_only_goes_up_in_steps(values: list[int], counts: bool) -> None:
    assert counts_up(values, 65536) is counts


def registers(values: list[float], order: str) -> list[dict[int, int]]:
    """Passes of one float at address 10, with a count at 12, a still one at 13, a toggling bit at 14, zeros at 15."""
    passes = []
    for number, value in enumerate(values):
        high, low = struct.unpack(">HH", struct.pack(">f", value))
        pair = (high, low) if order == "ABCD" else (low, high)
        passes.append({10: pair[0], 11: pair[1], 12: 500 + 3 * number, 13: 7, 14: 0x100 * (number % 2), 15: 0})
    return passes


@pytest.mark.parametrize("order", ["ABCD", "CDAB"])
def test_what_moves_is_guessed_by_how_it_moves(order: str) -> None:
    found = guesses("holding", registers([23.456, 23.511, 23.398, 23.402, 23.441], order))
    assert [(guess.address, guess.type, guess.order, guess.role, guess.bit, guess.sure) for guess in found] == [
        (10, "float32", order, "measurement", None, True),
        (12, "uint16", "ABCD", "count", None, True),
        (13, "uint16", "ABCD", "measurement", None, False),
        (14, "bit", "ABCD", "state", 8, True),
    ]
    assert found[0].value == pytest.approx(23.441)


def test_a_register_is_part_of_one_float_only() -> None:
    passes = [{10: 0x4290, 11: 0x4291 + step, 12: 0x4416, 13: 0x4417 + step, 14: 0x4418} for step in range(4)]
    found = [guess.address for guess in guesses("holding", passes) if guess.type == "float32"]
    assert found in ([10, 12], [11, 13])


def test_bits_that_stood_at_zero_are_left_out() -> None:
    found = guesses("coil", [{0: 0, 1: 1, 2: 0}, {0: 0, 1: 1, 2: 1}])
    assert [(guess.address, guess.sure) for guess in found] == [(1, False), (2, True)]


def walked(cells: dict[int, int]) -> list[sunspec.Model]:
    walking = sunspec.walk()
    try:
        at, count = next(walking)
        while True:
            there = all(at + n in cells for n in range(count))
            at, count = walking.send(
                b"".join(cells[at + n].to_bytes(2, "big") for n in range(count)) if there else None
            )
    except StopIteration as end:
        return list(end.value)


def placed(base: int, models: list[tuple[int, bytes]]) -> dict[int, int]:
    raw = b"SunS" + b"".join(struct.pack(">HH", id, len(body) // 2) + body for id, body in models) + b"\xff\xff\0\0"
    return {base + at // 2: int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2)}


@pytest.mark.parametrize("base", [0, 40000, 50000])
def test_sunspec_models_are_walked_from_each_base(base: int) -> None:
    cells = placed(base, [(1, bytes(132)), (103, bytes(100)), (64999, bytes(6))])
    assert [(model.id, model.address - base, model.length) for model in walked(cells)] == [
        (1, 2, 66), (103, 70, 50), (64999, 122, 3),
    ]  # fmt: skip


def test_a_sunspec_map_without_end_is_left() -> None:
    assert len(walked({at: (0x5375, 0x6E53)[at] if at < 2 else 0 for at in range(5000)})) == sunspec.MOST_MODELS
    assert walked({40000: 0x5375, 40001: 0x6E53, 40002: 1, 40003: 0xFFFF}) == []
    assert walked({}) == []


def test_sunspec_points_are_scaled_and_those_not_implemented_left_out() -> None:
    body = bytearray(struct.pack(">HH", 103, 50) + b"\x80\x00" * 50)
    struct.pack_into(">h", body, 2 * 14, -120)
    struct.pack_into(">h", body, 2 * 15, 1)
    struct.pack_into(">I", body, 2 * 24, 123456)
    struct.pack_into(">h", body, 2 * 26, 0)
    struct.pack_into(">hh", body, 2 * 36, 301, -1)
    model = sunspec.Model(103, 40070, 50)
    found = {guess.name: guess for guess in sunspec.tags([model], {model: bytes(body)})}
    assert (found["s103.W"].value, found["s103.W"].scale, found["s103.W"].unit) == (-1200, 10.0, "W")
    assert (found["s103.W"].address, found["s103.W"].none) == (40084, (0x8000,))
    assert (found["s103.WH"].value, found["s103.WH"].type) == (123456, "uint32")
    assert found["s103.TmpOt"].value == pytest.approx(30.1)
    assert "s103.TmpCab" not in found, "it is not implemented, though its scale is"
    assert "s103.Hz" not in found, "its scale is not implemented"


def test_every_point_lies_in_its_model_and_makes_a_tag() -> None:
    lengths = {1: 66, 101: 50, 111: 60, 201: 105, 211: 124}
    for id, length in lengths.items():
        for point in sunspec.POINTS[id]:
            width = {"string": 8, "float32": 2, "acc32": 2}.get(point.type, 1)
            assert point.at >= 2
            assert point.at + width <= length + 2
            assert point.factor <= length + 1


@pytest.mark.parametrize(
    ("name", "meaning", "value", "role"),
    [("StateCurrent", "PackML StateCurrent", 6, "state"), ("MachSpeed", "PackML MachSpeed", 1.0, "setpoint"),
     ("ProdProcessedCount", "PackML ProdProcessedCount", 3, "count"), ("pump_running", "", True, "running"),
     ("alarm", "", False, "state"), ("bottle_count", "", 7, "count"), ("bottle_count", "", 7.5, "measurement"),
     ("level_setpoint", "", 5.0, "setpoint"),
     ("total_energy", "", 5.0, "energy"), ("level", "", 5.0, "measurement")],
)  # fmt: skip
def test_names_let_expect_a_role(name: str, meaning: str, value: object, role: str) -> None:
    assert role_of(name, f"/Objects/2:{name}", meaning, value) == role


@given(st.text(max_size=40), st.text(max_size=60), st.text(max_size=60))
@settings(max_examples=150)
def test_whatever_a_server_calls_its_nodes_the_configuration_is_whole(name: str, path: str, meaning: str) -> None:
    node = NodeFound(path, "ns=2;s=a b", name, "Double", 1.5, meaning, "count", True)
    text = configuration("opc.tcp://h:1", server=ServerFound("opc.tcp://h:1", {}, [node, node, node], True))
    config = read(text, Path("a.toml"), files=False)
    assert len({tag.name for tag in config.tags}) == 3
    assert [tag.role for tag in config.tags] == ["count", "measurement", "measurement"], "a line has one count"


def test_units_make_devices_and_what_is_unsure_a_comment() -> None:
    way = ModbusDevice("unit-1", "plc", unit=1, tags=(ModbusTag("x", "holding", 0),), share=True)
    first = UnitFound(way, guesses=[
        Guess("holding", 1, "float32", 2.5, "moves", "CDAB"),
        Guess("holding", 3, "uint16", 9, "stands still", sure=False),
        Guess("holding", 9, "string", "ACME", "SunSpec", length=4, name="s1.Mn"),
    ])  # fmt: skip
    other = ModbusDevice("unit-2", "plc", unit=2, tags=(ModbusTag("x", "holding", 0),), share=True)
    second = UnitFound(other, guesses=[Guess("holding", 1, "uint16", 9, "stands still", sure=False)])
    text = configuration("modbus://plc", [first, second])
    config = read(text, Path("a.toml"), files=False)
    assert [[tag.name for tag in device.tags] for device in config.devices] == [
        ["u1.holding.1", "u1.s1.Mn"], ["u2.holding.1"],
    ]  # fmt: skip
    assert '# name = "u1.holding.3"' in text
    assert config.watched == ("u1.holding.1", "u2.holding.1")
    assert configuration("modbus://plc", [UnitFound(way)]) == ""

"""pysunspec2's IEEE 1547 device, 614 registers at 40000; its own client says what each point is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from peers.kit import SERVERS, Peers, output_of, python_of
from peers.reading import read
from peers.referee import Referee
from ullage_protocols.field.modbus.spec import ModbusDevice, ModbusTag, tag_at
from ullage_protocols.sample import Quality, Sample

BASE = 40000
KINDS = {"enum16": "uint16", "bitfield16": "uint16", "bitfield32": "uint32", "sunssf": "int16"}
NOT_IMPLEMENTED = {"int16": 0x8000, "uint16": 0xFFFF, "int32": 0x80000000, "uint32": 0xFFFFFFFF, "uint64": 2**64 - 1}
"""What the SunSpec information model (2.10) writes where a point is not implemented."""


def tag_of(point: dict[str, Any]) -> ModbusTag:
    kind = KINDS.get(point["type"], point["type"])
    where = f"holding:{point['address']}"
    if kind == "string":
        return tag_at(point["name"], where, "string", length=point["length"])
    scale = 10.0 ** point["exponent"]
    return tag_at(point["name"], where, kind, scale=scale, none=NOT_IMPLEMENTED[kind])


@pytest.fixture(scope="module")
def port(peers: Peers, referee: Referee) -> int:
    python = python_of("pysunspec2")
    words = peers.folder / "words.json"
    words.write_text(output_of(python, SERVERS / "sunspec_oracle.py", "registers"))
    assert len(json.loads(words.read_text())) == 614
    return referee.speaks(peers.serve("pymodbustcp", "pymodbustcp_words.py", str(BASE), str(words)), "mbtcp")


@pytest.fixture(scope="module")
def points(peers: Peers, port: int) -> list[dict[str, Any]]:
    """Every point as pysunspec2's client reads it, through a door of its own."""
    door = peers.from_others(port)
    return json.loads(output_of(python_of("pysunspec2"), SERVERS / "sunspec_oracle.py", "points", str(door)))


@pytest.fixture(scope="module")
def samples(port: int, points: list[dict[str, Any]]) -> list[Sample]:
    return read(ModbusDevice("inverter", "127.0.0.1", port=port, tags=tuple(tag_of(point) for point in points)))


def test_the_device_is_what_it_says_it_is(points: list[dict[str, Any]]) -> None:
    assert len({point["name"].split(".")[0] for point in points}) == 14
    assert len(points) > 300
    assert sum(point["value"] is None for point in points) > 40


def test_every_implemented_point_has_the_oracles_value(points: list[dict[str, Any]], samples: list[Sample]) -> None:
    for point, sample in zip(points, samples, strict=True):
        if point["value"] is not None:
            assert sample.quality is Quality.GOOD, (point, sample)
            wanted = point["scaled"]
            near = wanted if isinstance(wanted, str) else pytest.approx(wanted, rel=1e-12, abs=0)
            assert sample.value == near, (point, sample)


def test_every_point_that_is_not_implemented_is_bad_and_says_so(
    points: list[dict[str, Any]], samples: list[Sample]
) -> None:
    """But text, for which SunSpec has no sign other than that it is empty."""
    for point, sample in zip(points, samples, strict=True):
        if point["value"] is None and point["type"] == "string":
            assert sample.value == "", (point, sample)
        elif point["value"] is None:
            assert (sample.value, sample.quality) == (None, Quality.BAD), (point, sample)
            assert "not implemented" in sample.reason


def test_what_a_person_would_look_at(points: list[dict[str, Any]], samples: list[Sample]) -> None:
    found = {sample.tag: sample.value for sample in samples}
    assert (found["1.Mn"], found["1.Md"], found["1.SN"]) == ("SunSpecTest", "Test-1547-1", "sn-123456789")
    assert found["701.W"] == 9800
    assert found["701.Hz"] == pytest.approx(60.01)
    assert found["701.TotWhInj"] == pytest.approx(150_000)
    assert found["701.VL3"] is None

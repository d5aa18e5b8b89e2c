"""OPC UA without a server: what a configuration may say, and how an answer becomes a sample."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ullage_protocols.field.base import SpecError
from ullage_protocols.field.opcua.spec import OpcuaDevice, OpcuaSecurity, OpcuaTag
from ullage_protocols.field.opcua.values import to_sample
from ullage_protocols.sample import Quality, Sample

SEEN = datetime(2026, 5, 1, 12, tzinfo=UTC)


def sample(value: object, status: int = 0, **more: Any) -> Sample:
    times = {"source": None, "server": None, "seen": SEEN, **more}
    return to_sample("t", value, status, "Name", **times)


@pytest.mark.parametrize(
    "node",
    [
        "i=2258",
        "ns=2;i=1",
        "ns=2;s=tank.level",
        "ns=3;s=a;b=c d",
        "ns=1;b=aGk=",
        "g=12345678-1234-1234-1234-123456789aBc",
    ],
)
def test_node_ids_that_can_be_read(node: str) -> None:
    assert OpcuaTag("t", node).node == node


@pytest.mark.parametrize(
    "node",
    [
        "",
        "tank.level",
        "ns=2",
        "ns=2;",
        "ns=2;i=x",
        "ns=70000;i=1",
        "i=4294967296",
        "s=",
        "ns=2;g=12",
        "nsu=x;i=1",
        "ns=2;b=a",
        "NS=2;i=1",
        "ns=2;s=a\nb",
        "ns=٢;i=1",
        "i=1;ns=2",
    ],
)
def test_node_ids_that_cannot(node: str) -> None:
    with pytest.raises(SpecError, match="is no node id"):
        OpcuaTag("t", node)


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        ({"name": ""}, "has no name"),
        ({"url": "http://h:1"}, "is not of the form"),
        ({"url": "opc.tcp://h"}, "is not of the form"),
        ({"url": "opc.tcp://h:99999"}, "is not of the form"),
        ({"url": "opc.tcp://user:secret@h:1"}, "carries a user name"),
        ({"timeout": 0.0}, "timeout must be"),
        ({"timeout": float("nan")}, "timeout must be"),
        ({"user": "u"}, "go together"),
        ({"tags": ()}, "no tag"),
        ({"tags": (OpcuaTag("t", "i=1"), OpcuaTag("t", "i=2"))}, "'t' is used twice"),
    ],
)
def test_a_faulty_device_is_refused(faulty: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        OpcuaDevice(**{"name": "d", "url": "opc.tcp://h:4840", "tags": (OpcuaTag("t", "i=1"),), **faulty})


def test_weak_or_unknown_security_is_refused() -> None:
    path = Path("x")
    for policy, mode in (("Basic128Rsa15", "Sign"), ("None", "Sign"), ("Basic256Sha256", "None")):
        with pytest.raises(SpecError, match="is unknown"):
            OpcuaSecurity(policy, mode, path, path, path)  # type: ignore[arg-type]


@given(st.integers(0, 2**32 - 1), st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.text())
def test_quality_is_the_two_top_bits(status: int, value: object) -> None:
    found = sample(value, status)
    top = f"{status:032b}"[:2]
    assert found.quality is {"00": Quality.GOOD, "01": Quality.UNCERTAIN}.get(top, Quality.BAD)
    assert (found.value is None) == (found.quality is Quality.BAD)
    assert (found.reason == "") == (found.quality is Quality.GOOD)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no value where"),
        ([1.0], "a list where"),
        (b"x", "a bytes where"),
        (datetime(2026, 1, 1, tzinfo=UTC), "a datetime where"),
        (float("nan"), "not a finite number: nan"),
        (float("-inf"), "not a finite number: -inf"),
        ("x" * 1025, "text of 1025 characters"),
    ],
)
@pytest.mark.parametrize("status", [0, 0x40000000])
def test_what_is_no_single_value_is_bad(value: object, reason: str, status: int) -> None:
    found = sample(value, status)
    assert (found.value, found.quality) == (None, Quality.BAD)
    assert reason in found.reason


@pytest.mark.parametrize("value", [1.5, -3, True, "text", "", "x" * 1024])
def test_one_number_truth_or_text_is_a_value(value: object) -> None:
    assert sample(value).value == value
    assert sample(value).quality is Quality.GOOD


def test_source_time_then_server_time_then_seen_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")  # a naive time is UTC, wherever the gateway stands
    time.tzset()
    naive, early = datetime(2026, 5, 1, 11), datetime(2026, 5, 1, 10)  # noqa: DTZ001 - what asyncua gives
    aware = naive.replace(tzinfo=UTC)
    assert sample(1, source=naive, server=early).source_time == aware
    assert sample(1, server=naive).source_time == aware
    assert sample(1).source_time == SEEN
    assert sample(1, source=naive).seen_time == SEEN
    monkeypatch.undo()
    time.tzset()
    east = datetime(2026, 5, 1, 13, tzinfo=timezone(timedelta(hours=2)))
    assert sample(1, source=east).source_time == aware


@pytest.mark.parametrize("year", [1601, 1969, 9999])
def test_the_standards_way_of_saying_no_time_is_no_time(year: int) -> None:
    assert sample(1, source=datetime(year, 1, 1)).source_time == SEEN  # noqa: DTZ001 - what asyncua gives

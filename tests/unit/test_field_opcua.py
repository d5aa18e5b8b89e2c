"""OPC UA without a server: what a configuration may say, and how an answer becomes samples.

Answers are encoded by asyncua, which had no part in the decoder.
"""

from __future__ import annotations

import math
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import nodeid_to_binary, struct_to_binary, variant_to_binary
from hypothesis import given
from hypothesis import strategies as st
from ullage_protocols.field.base import SpecError
from ullage_protocols.field.opcua import nodeids
from ullage_protocols.field.opcua.frames import CHANGE, HEAD, Part, pack_part, unpack_part
from ullage_protocols.field.opcua.nodeids import NodeId, pack_nodeid, parse_nodeid, parse_path, read_nodeid
from ullage_protocols.field.opcua.scans import Gatherer, scan_of_changes
from ullage_protocols.field.opcua.spec import OpcuaDevice, OpcuaSecurity, OpcuaSubscription, OpcuaTag
from ullage_protocols.field.opcua.values import Block, Decoder
from ullage_protocols.field.opcua.wire import DecodeError, Reader
from ullage_protocols.field.scan import Columns
from ullage_protocols.sample import Quality, Sample

SEEN = datetime(2026, 5, 1, 12, tzinfo=UTC)
NO_DIAGNOSTICS = b"\xff\xff\xff\xff"


def encoded(*values: ua.DataValue, handles: list[int] | None = None) -> bytes:
    """An array of data values, or of notifications, as a server sends it."""
    rows = [struct_to_binary(value) for value in values]
    if handles is not None:
        rows = [struct.pack("<I", handle) + row for handle, row in zip(handles, rows, strict=True)]
    return struct.pack("<i", len(rows)) + b"".join(rows)


def columns(n: int) -> Columns:
    return Columns(tuple(range(n)), tuple(f"t{row}" for row in range(n)))


def crossed(block: Block) -> Part:
    """``block`` as the agent gets it from the reading process."""
    frame = b"".join(pack_part(CHANGE, Part(0, True, 0, block)))
    return unpack_part(frame[HEAD.size :])


def samples_of(block: Block) -> list[Sample]:
    gatherer = Gatherer(columns(block.n))
    gatherer.add(crossed(block))
    return gatherer.scan(SEEN).samples()


def samples(*values: ua.DataValue) -> list[Sample]:
    return samples_of(Decoder().decode(Reader(encoded(*values))))


def sample(value: object, status: int = 0, *, kind: ua.VariantType | None = None, **times: Any) -> Sample:
    return samples(data_value(value, status, kind=kind, **times))[0]


def data_value(
    value: object,
    status: int = 0,
    *,
    kind: ua.VariantType | None = None,
    source: datetime | None = None,
    server: datetime | None = None,
) -> ua.DataValue:
    code = ua.StatusCode(ua.UInt32(status))
    return ua.DataValue(ua.Variant(value, kind), code, SourceTimestamp=source, ServerTimestamp=server)


# --- what a configuration may say ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "node",
    [
        "i=2258",
        "ns=2;i=1",
        "ns=2;s=tank.level",
        "ns=3;s=a;b=c d",
        "ns=1;b=aGk=",
        "g=12345678-1234-1234-1234-123456789abc",
        "nsu=http://plant.example/ua;s=level",
    ],
)
def test_node_ids_that_can_be_read(node: str) -> None:
    assert OpcuaTag("t", node).node == node
    assert str(parse_nodeid(node)) == node


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
        "nsu=;i=1",
        "nsu=a b;i=1",
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


def test_a_browse_path_is_its_steps() -> None:
    assert parse_path("/Objects/2:Machine/2:Level") == ((0, "Objects"), (2, "Machine"), (2, "Level"))
    assert parse_path("/Objects/2:a&/b&&c") == ((0, "Objects"), (2, "a/b&c"))


@pytest.mark.parametrize("path", ["Objects", "/", "//", "/70000:x", "/2:", "/a//b", "/" + "/".join("a" * 65)])
def test_what_is_no_browse_path(path: str) -> None:
    with pytest.raises(SpecError, match="is no browse path"):
        OpcuaTag("t", path=path)


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        ({"path": "/Objects"}, "both say where"),
        ({"sampling": -1.0}, "sampling must"),
        ({"queue": 0}, "queue must"),
        ({"deadband": math.nan}, "is no width"),
        ({"deadband": 101.0, "percent": True}, "is no width"),
    ],
)
def test_a_faulty_tag_is_refused(faulty: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        OpcuaTag("t", "i=1", **faulty)


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
        ({"user_key": Path("k")}, "go together"),
        ({"user": "u", "password": "p", "user_key": Path("k"), "user_certificate": Path("c")}, "two logins"),
        ({"tags": ()}, "no tag"),
        ({"tags": (OpcuaTag("t", "i=1"), OpcuaTag("t", "i=2"))}, "'t' is used twice"),
    ],
)
def test_a_faulty_device_is_refused(faulty: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        OpcuaDevice(**{"name": "d", "url": "opc.tcp://h:4840", "tags": (OpcuaTag("t", "i=1"),), **faulty})


@pytest.mark.parametrize(
    ("faulty", "word"), [({"publishing": 0.0}, "publishing"), ({"keepalive": math.inf}, "keepalive")]
)
def test_a_faulty_subscription_is_refused(faulty: dict[str, float], word: str) -> None:
    with pytest.raises(SpecError, match=word):
        OpcuaSubscription(**faulty)


def test_weak_or_unknown_security_is_refused() -> None:
    path = Path("x")
    for policy, mode in (("Basic128Rsa15", "Sign"), ("None", "Sign"), ("Basic256Sha256", "None")):
        with pytest.raises(SpecError, match="is unknown"):
            OpcuaSecurity(policy, mode, path, path, path)  # type: ignore[arg-type]


# --- from an answer to samples ---------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.text())
def test_quality_is_the_two_top_bits(status: int, value: object) -> None:
    found = sample(value, status)
    top = f"{status:032b}"[:2]
    assert found.quality is {"00": Quality.GOOD, "01": Quality.UNCERTAIN}.get(top, Quality.BAD)
    assert (found.value is None) == (found.quality is Quality.BAD)
    assert (found.reason == "") == (found.quality is Quality.GOOD)


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        (None, None, "no value where"),
        ([1.0], None, "an array of 1 Double where"),
        (["a", "b"], None, "an array of 2 String where"),
        (b"x", None, "a ByteString where"),
        (datetime(2026, 1, 1), ua.VariantType.DateTime, "a DateTime where"),  # noqa: DTZ001 - as asyncua has it
        (UUID(int=7), ua.VariantType.Guid, "a Guid where"),
        (float("nan"), None, "not a finite number: nan"),
        (float("-inf"), None, "not a finite number: -inf"),
        ("x" * 1025, None, "text of 1025 characters"),
    ],
)
@pytest.mark.parametrize("status", [0, 0x40000000])
def test_what_is_no_single_value_is_bad(value: object, kind: ua.VariantType | None, reason: str, status: int) -> None:
    found = sample(value, status, kind=kind)
    assert (found.value, found.quality) == (None, Quality.BAD)
    assert reason in found.reason


@pytest.mark.parametrize("value", [1.5, -3, True, "text", "", "x" * 1024, 2**53 + 1, -(2**62)])
def test_one_number_truth_or_text_is_a_value(value: object) -> None:
    found = sample(value)
    assert found.value == value
    assert type(found.value) is type(value)
    assert found.quality is Quality.GOOD


def test_a_localized_text_is_its_text() -> None:
    """States and manufacturers of companion specifications are told in this form."""
    found = sample(ua.LocalizedText("Execute", "en"))
    assert (found.value, found.quality) == ("Execute", Quality.GOOD)


def test_source_time_then_server_time_then_seen_time() -> None:
    naive, early = datetime(2026, 5, 1, 11), datetime(2026, 5, 1, 10)  # noqa: DTZ001 - what asyncua takes
    aware = naive.replace(tzinfo=UTC)
    assert sample(1, source=naive, server=early).source_time == aware
    assert sample(1, server=naive).source_time == aware
    assert sample(1).source_time == SEEN
    assert sample(1, source=naive).seen_time == SEEN


@pytest.mark.parametrize("year", [1601, 1969, 9999])
def test_the_standards_way_of_saying_no_time_is_no_time(year: int) -> None:
    there = datetime(2026, 5, 1, 11)  # noqa: DTZ001 - what asyncua takes
    outside = datetime(year, 1, 1)  # noqa: DTZ001 - what asyncua takes
    assert sample(1, source=outside).source_time == SEEN
    assert sample(1, source=outside, server=there).source_time == there.replace(tzinfo=UTC)


# --- fast equals slow, and both equal asyncua -------------------------------------------------------------------

NUMBERS = {
    ua.VariantType.Boolean: st.booleans(),
    ua.VariantType.SByte: st.integers(-128, 127),
    ua.VariantType.Byte: st.integers(0, 255),
    ua.VariantType.Int16: st.integers(-(2**15), 2**15 - 1),
    ua.VariantType.UInt16: st.integers(0, 2**16 - 1),
    ua.VariantType.Int32: st.integers(-(2**31), 2**31 - 1),
    ua.VariantType.UInt32: st.integers(0, 2**32 - 1),
    ua.VariantType.Int64: st.integers(-(2**63), 2**63 - 1),
    ua.VariantType.UInt64: st.integers(0, 2**64 - 1),
    ua.VariantType.Float: st.floats(width=32),
    ua.VariantType.Double: st.floats(),
}
MOMENTS = st.none() | st.datetimes(datetime(1950, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001
STATUSES = st.sampled_from([0, 0x40000000, 0x40900000, 0x80340000, 0xC0000000, 0x00000480])


@st.composite
def data_values(draw: st.DrawFn, kinds: list[ua.VariantType] | None = None) -> ua.DataValue:
    kind = draw(st.sampled_from(kinds or [*NUMBERS, ua.VariantType.String, ua.VariantType.Null]))
    value: object = None
    if kind == ua.VariantType.String:
        value = draw(st.text(max_size=20))
    elif kind != ua.VariantType.Null:
        value = draw(NUMBERS[kind])
    return data_value(value, draw(STATUSES), kind=kind, source=draw(MOMENTS), server=draw(MOMENTS))


def expected(row: int, value: ua.DataValue) -> Sample:
    """What the README's table makes of a data value, written down once more and independently."""
    code, held = value.StatusCode.value, value.Value.Value
    moments = [moment for moment in (value.SourceTimestamp, value.ServerTimestamp) if moment and moment.year >= 1970]
    time = moments[0].replace(tzinfo=UTC) if moments else SEEN
    known = ua.StatusCode(ua.UInt32(code & 0xFFFF0000)).name
    name = "Bad" if code == 0xC0000000 else known
    told = f"server says {name} (0x{code:08X})"
    if code >> 30 >= 2:
        return Sample(f"t{row}", None, Quality.BAD, time, SEEN, told)
    if held is None:
        reason = "no value where one number, truth or text is needed"
        return Sample(f"t{row}", None, Quality.BAD, time, SEEN, reason)
    if isinstance(held, float) and not math.isfinite(held):
        return Sample(f"t{row}", None, Quality.BAD, time, SEEN, f"not a finite number: {held}")
    quality = Quality.UNCERTAIN if code >> 30 else Quality.GOOD
    return Sample(f"t{row}", held, quality, time, SEEN, told if code >> 30 else "")


def same(found: list[Sample], wanted: list[Sample]) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert abs(one.source_time - other.source_time) <= timedelta(microseconds=2)
        rest = (one.tag, one.value, type(one.value), one.quality, one.seen_time, one.reason)
        assert rest == (other.tag, other.value, type(other.value), other.quality, other.seen_time, other.reason)


@given(st.lists(data_values(), max_size=12))
def test_the_decoder_agrees_with_asyncua(values: list[ua.DataValue]) -> None:
    same(samples(*values), [expected(row, value) for row, value in enumerate(values)])


@given(st.data(), st.booleans(), st.booleans())
def test_the_fast_way_gives_the_same_as_the_slow_way(data: st.DataObject, alike: bool, handles: bool) -> None:
    """Three replies of one layout, the third by the fast way; then one of another layout in between."""
    n = data.draw(st.integers(1, 8))
    kinds = [data.draw(st.sampled_from(list(NUMBERS)))] * n if alike else data.draw(
        st.lists(st.sampled_from([*NUMBERS, ua.VariantType.Null]), min_size=n, max_size=n)
    )  # fmt: skip
    fields = st.sampled_from([0, 1, 2, 3])
    shape = [data.draw(fields)] * n if alike else data.draw(st.lists(fields, min_size=n, max_size=n))

    def reply() -> list[ua.DataValue]:
        return [
            data_value(
                data.draw(NUMBERS[kind]) if kind in NUMBERS else None,
                data.draw(STATUSES),
                kind=kind,
                source=data.draw(MOMENTS.filter(bool)) if fields & 1 else None,
                server=data.draw(MOMENTS.filter(bool)) if fields & 2 else None,
            )
            for kind, fields in zip(kinds, shape, strict=True)
        ]

    decoder = Decoder(handles=handles)
    numbers = list(range(n)) if handles else None
    replies = [reply() for _ in range(4)]
    broken = [*reply()[:-1], data_value("text")]
    for turn, values in enumerate([*replies, broken, *replies]):
        before = decoder.hits
        body = encoded(*values, handles=numbers) + NO_DIAGNOSTICS
        reader = Reader(body)
        block = decoder.decode(reader)
        assert body[reader.at :] == NO_DIAGNOSTICS
        if turn in (2, 3, 7, 8):
            assert decoder.hits == before + 1, f"turn {turn} took the slow way"
        if values is broken:
            assert decoder.hits == before
        wanted = [expected(row, value) for row, value in enumerate(values)]
        if handles:
            same(scan_of_changes(columns(n), [crossed(block)], SEEN, {}).samples(), wanted)
        else:
            same(samples_of(block), wanted)


@given(st.lists(data_values(list(NUMBERS)), min_size=1, max_size=6), st.data())
def test_a_bent_reply_is_never_taken_for_another(values: list[ua.DataValue], data: st.DataObject) -> None:
    """After the layout is known, any changed byte gives what a decoder without memory makes of it."""
    body = encoded(*values)
    warm = Decoder()
    for _ in range(3):
        warm.decode(Reader(body))
    bent = bytearray(body)
    bent[data.draw(st.integers(0, len(bent) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(bent[: data.draw(st.integers(0, len(bent)))] if data.draw(st.booleans()) else bent)
    assert outcome(warm, cut) == outcome(Decoder(), cut)


@pytest.mark.parametrize("others", [ua.VariantType.Double, ua.VariantType.Int32])
@pytest.mark.parametrize("place", [0, 1, 26, 27])
def test_no_other_first_bytes_of_a_record_pass_for_the_known_ones(others: ua.VariantType, place: int) -> None:
    moment = datetime(2026, 5, 1)  # noqa: DTZ001 - what asyncua takes
    records = [data_value(1.5, source=moment), data_value(2, kind=others, source=moment)]
    records.append(data_value(2.5, source=moment))
    body = encoded(*[ua.DataValue(one.Value, None, SourceTimestamp=one.SourceTimestamp) for one in records])
    place = 4 + place - (8 if place >= 26 else 0)
    assert body[place] in (5, 11, 6)
    for byte in range(256):
        warm = Decoder()
        for _ in range(3):
            warm.decode(Reader(body))
        assert warm.hits == 1
        bent = body[:place] + bytes([byte]) + body[place + 1 :]
        assert outcome(warm, bent) == outcome(Decoder(), bent)


def outcome(decoder: Decoder, body: bytes) -> object:
    reader = Reader(body)
    try:
        block = decoder.decode(reader)
    except DecodeError:
        return "undecodable"
    return reader.at, [repr(sample) for sample in samples_of(block)]


@given(st.binary(max_size=200))
def test_no_bytes_lead_anywhere_but_to_a_decode_error(body: bytes) -> None:
    outcome(Decoder(), struct.pack("<i", 1 + len(body) // 40) + body)


@pytest.mark.parametrize(
    "hostile",
    [
        b"\x01\x80\xff\xff\xff\x7f",  # an array of 2**31 - 1 nulls in five bytes
        b"\x01\x98\xff\xff\xff\x7f",  # of variants
        b"\x01\x8b\xff\xff\xff\x7f",  # of doubles
        b"\x01\x8c\xff\xff\xff\x7f",  # of strings
        b"\x01\x0c\xff\xff\xff\x7f",  # one string
        b"\x01\x16\x00\x00\x01\xff\xff\xff\x7f",  # an extension object
        b"\x01" + b"\x98\x01\x00\x00\x00" * 40 + b"\x00",  # variants in variants
        b"\x01" + b"\x17\x01" * 40 + b"\x00",  # data values in data values
        b"\x01\x19" + b"\x40" * 40 + b"\x00",  # diagnostics in diagnostics
        b"\xff\x0b",  # a mask with reserved bits
        b"\x01\x3f",  # a type that does not exist
        b"\x01",
        b"",
    ],
)
def test_hostile_values_are_refused_before_anything_is_made_of_them(hostile: bytes) -> None:
    with pytest.raises(DecodeError):
        Decoder().decode(Reader(struct.pack("<i", 1) + hostile))


def test_an_array_is_not_longer_than_its_bytes() -> None:
    with pytest.raises(DecodeError, match="elements"):
        Decoder().decode(Reader(struct.pack("<i", 2**31 - 1) + bytes(100)))


@given(st.integers(0, 2**31) | st.text(max_size=30) | st.uuids() | st.binary(max_size=30), st.integers(0, 65535))
def test_node_ids_go_over_the_wire_as_asyncuas_do(key: Any, namespace: int) -> None:
    if isinstance(key, int):
        theirs = nodeid_to_binary(ua.NodeId(ua.UInt32(key), ua.Int16(namespace)))
    else:
        theirs = nodeid_to_binary(ua.NodeId(key, ua.Int16(namespace)))
    assert read_nodeid(Reader(theirs)) == NodeId(namespace, key)
    assert read_nodeid(Reader(pack_nodeid(NodeId(namespace, key)))) == NodeId(namespace, key)


def test_a_namespace_uri_is_looked_up() -> None:
    node = parse_nodeid("nsu=urn:plant;i=7")
    assert nodeids.resolve(node, ["http://opcfoundation.org/UA/", "urn:x", "urn:plant"]) == NodeId(2, 7)
    assert nodeids.resolve(node, ["urn:x"]) is None


# --- frames between agent and reader ---------------------------------------------------------------------------


@given(st.binary(max_size=120))
def test_a_frame_of_anything_is_rows_or_refused(body: bytes) -> None:
    gatherer = Gatherer(columns(3))
    try:
        gatherer.add(unpack_part(body))
        found = gatherer.scan(SEEN)
    except (ValueError, TypeError, IndexError, OverflowError):
        return
    assert len(found) == 3


@given(st.lists(data_values(list(NUMBERS)), min_size=1, max_size=5), st.data())
def test_a_bent_frame_gives_rows_of_the_asked_number_or_is_refused(
    values: list[ua.DataValue], data: st.DataObject
) -> None:
    frame = bytearray(b"".join(pack_part(CHANGE, Part(0, True, 0, Decoder().decode(Reader(encoded(*values)))))))
    at = data.draw(st.integers(HEAD.size, len(frame) - 1))
    frame[at] = data.draw(st.integers(0, 255))
    gatherer = Gatherer(columns(len(values)))
    try:
        gatherer.add(unpack_part(bytes(frame[HEAD.size :])))
        found = gatherer.scan(SEEN)
    except (ValueError, TypeError, IndexError, OverflowError):
        return
    assert len(found) == len(found.values) == len(values)


def test_asyncua_is_the_oracle_it_is_meant_to_be() -> None:
    assert variant_to_binary(ua.Variant(1.0))[0] == 11

"""Decoding in bulk, held against struct tag by tag, and against pymodbus where it knows the type."""

from __future__ import annotations

import math
import struct
import warnings
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client.mixin import ModbusClientMixin
from ullage_protocols.field.modbus.blocks import plan
from ullage_protocols.field.modbus.registers import NOT_IMPLEMENTED, Layout
from ullage_protocols.field.modbus.spec import ORDERS, TYPES, ModbusTag
from ullage_protocols.field.scan import BAD, Columns, Scan
from ullage_protocols.sample import Quality, Sample

FORMATS = {
    "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q", "float32": "f",
    "float64": "d",
}  # fmt: skip
SEEN = datetime(2026, 1, 1, tzinfo=UTC)
BITS = ("coil", "discrete")


def ordered(words: list[int], order: str) -> bytes:
    """The bytes of ``words``, most significant first."""
    raw = [struct.pack(">H" if order in ("ABCD", "CDAB") else "<H", word) for word in words]
    return b"".join(raw if order in ("ABCD", "BADC") else reversed(raw))


def oracle(tag: ModbusTag, words: list[int]) -> tuple[Any, str]:
    """Value and reason, the straightforward way."""
    if tag.table in BITS:
        return bool(words[0]), ""
    raw, arrived = ordered(words, tag.order), " ".join(f"{word:04x}" for word in words)
    if tag.bits == 8:
        raw = raw[1:] if tag.byte == "low" else raw[:1]
    if int.from_bytes(raw, "big") in tag.none:
        return None, NOT_IMPLEMENTED
    if tag.type == "bit":
        return bool(int.from_bytes(raw, "big") >> (tag.bit or 0) & 1), ""
    if tag.type == "string":
        try:
            text = raw.split(b"\0")[0].decode().rstrip()
        except UnicodeDecodeError:
            text = "\n"
        return (text, "") if text.isprintable() else (None, f"not text: registers {arrived}")
    if tag.type.startswith("bcd"):
        if not raw.hex().isdigit():
            return None, f"not binary coded decimal: registers {arrived}"
        number: int | float = int(raw.hex())
    elif tag.bits == 8:
        number = int.from_bytes(raw, "big", signed=tag.type == "int8")
    else:
        number = struct.unpack(f">{FORMATS[tag.type]}", raw)[0]
    if tag.scale != 1 or tag.offset != 0:
        number = number * tag.scale + tag.offset
    return (number, "") if math.isfinite(number) else (None, f"not a finite {tag.type}: registers {arrived}")


def read(tags: list[ModbusTag], image: dict[str, list[int]], failed: dict[int, str] | None = None) -> list[Sample]:
    """What a device that holds ``image`` comes to through plan, replies and layout."""
    blocks = plan(tags, max_registers=125, max_gap=3)
    layout = Layout(tags, blocks, 1)
    for block, question in zip(blocks, layout.questions, strict=True):
        words = image[block.table][block.address : block.end]
        if block.table in BITS:
            sent = np.packbits(words, bitorder="little").tobytes()
        else:
            sent = struct.pack(f">{len(words)}H", *words)
        layout.raw[question.offset : question.offset + question.size] = sent
    columns = Columns(tuple(range(len(tags))), tuple(tag.name for tag in tags))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values, quality, reasons, exact = layout.decode(failed or {})
    return Scan(columns, values, quality, SEEN, None, reasons, exact, layout.forms).samples()


def one(tag: ModbusTag, *words: int) -> Sample:
    return read([tag], {tag.table: [0] * tag.address + list(words)})[0]


SIZE = 40
SPECIAL = st.sampled_from(
    [0, 1, 0x7FC0, 0x7F80, 0xFF80, 0x7FF0, 0x8000, 0xFFFF, 0x7FA0, 0x1234, 0x0020, 0x4142, 0x6100]
)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[ModbusTag], dict[str, list[int]]]:
    tags = []
    for number in range(draw(st.integers(1, 25))):
        table = draw(st.sampled_from(["holding"] * 4 + ["input", "coil", "discrete"]))
        type_ = "bit" if table in BITS else draw(st.sampled_from(TYPES))
        more: dict[str, Any] = {}
        if type_ == "string":
            more["length"] = draw(st.integers(1, 5))
        elif type_ == "bit":
            more["bit"] = None if table in BITS else draw(st.integers(0, 15))
        else:
            more["scale"] = draw(st.sampled_from([1.0, 1.0, 0.1, -2.0, 1e300]))
            more["offset"] = draw(st.sampled_from([0.0, 0.0, 5.5]))
            more["byte"] = draw(st.sampled_from(["low", "high"])) if type_ in ("int8", "uint8") else "low"
            width = 1 if "8" in type_ else int(type_.strip("abcdefghijklmnopqrstuvwxyz")) // 8
            none = st.integers(0, 256**width - 1) | st.just(256**width - 1) | st.just(0)
            more["none"] = tuple(draw(st.lists(none, max_size=3)))
        order = draw(st.sampled_from(ORDERS))
        tags.append(ModbusTag(f"t{number}", table, draw(st.integers(0, SIZE - 6)), type_, order, **more))  # type: ignore[arg-type]
    image: dict[str, list[int]] = {
        table: draw(st.lists(st.integers(0, 1 if table in BITS else 0xFFFF) if table in BITS else
                             st.integers(0, 0xFFFF) | SPECIAL, min_size=SIZE, max_size=SIZE))
        for table in ("holding", "input", *BITS)
    }  # fmt: skip
    return tags, image


@given(layouts())
def test_every_layout_decodes_as_struct_does_tag_by_tag(drawn: tuple[list[ModbusTag], dict[str, list[int]]]) -> None:
    tags, image = drawn
    for tag, sample in zip(tags, read(tags, image), strict=True):
        value, reason = oracle(tag, image[tag.table][tag.address : tag.address + tag.width])
        assert (sample.value, sample.reason) == (value, reason), tag
        assert type(sample.value) is type(value), tag
        assert sample.quality is (Quality.BAD if reason else Quality.GOOD)


@given(st.sampled_from(sorted(FORMATS)), st.booleans(), st.lists(st.integers(0, 0xFFFF), min_size=4, max_size=4))
def test_pymodbus_gives_the_same_number(type_: str, swapped: bool, words: list[int]) -> None:
    tag = ModbusTag("t", "holding", 0, type_, "CDAB" if swapped else "ABCD")  # type: ignore[arg-type]
    sample = one(tag, *words[: tag.width])
    kind = ModbusClientMixin.DATATYPE[type_.upper()]
    theirs = ModbusClientMixin.convert_from_registers(
        words[: tag.width], kind, word_order="little" if swapped else "big"
    )
    assert sample.value == (theirs if isinstance(theirs, int | float) and math.isfinite(theirs) else None)


def test_pymodbus_gives_the_same_text_and_bits() -> None:
    words = [0x4142, 0x4300]
    text = ModbusClientMixin.convert_from_registers(words, ModbusClientMixin.DATATYPE.STRING)
    assert one(ModbusTag("t", "holding", 0, "string", length=2), *words).value == text == "ABC"
    bits = ModbusClientMixin.convert_from_registers([0xA005], ModbusClientMixin.DATATYPE.BITS)
    mine = [one(ModbusTag("t", "holding", 0, "bit", bit=at), 0xA005).value for at in range(16)]
    assert mine == bits[8:] + bits[:8], "pymodbus counts from the register's first byte, we from its lowest bit"


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ("ABCD", [0x1234, 0x5678]),
        ("CDAB", [0x5678, 0x1234]),
        ("BADC", [0x3412, 0x7856]),
        ("DCBA", [0x7856, 0x3412]),
    ],
)
def test_the_four_orders_by_hand(order: Any, words: list[int]) -> None:
    assert one(ModbusTag("t", "holding", 0, "uint32", order), *words).value == 0x12345678
    assert one(ModbusTag("t", "holding", 0, "bcd32", order), *words).value == 12345678
    text = one(ModbusTag("t", "holding", 0, "string", order, length=2), *[word + 0x0 for word in words])
    assert text.value is None
    assert text.reason.startswith("not text: registers"), "0x12 is no printable sign"


@pytest.mark.parametrize(
    ("type_", "byte", "word", "value"),
    [
        ("int8", "low", 0x01FF, -1),
        ("int8", "high", 0x80FF, -128),
        ("uint8", "low", 0x01FE, 254),
        ("uint8", "high", 0x01FE, 1),
    ],
)
def test_half_a_register(type_: Any, byte: Any, word: int, value: int) -> None:
    assert one(ModbusTag("t", "holding", 0, type_, byte=byte), word).value == value


@pytest.mark.parametrize("order", ORDERS)
def test_half_a_register_is_chosen_after_order(order: Any) -> None:
    tag = ModbusTag("t", "holding", 0, "uint8", order, byte="high")
    assert one(tag, 0x0102).value == (1 if order in ("ABCD", "CDAB") else 2)


def test_integers_beyond_a_double_stay_whole() -> None:
    for type_, number in (("uint64", 2**64 - 1), ("int64", -(2**63)), ("int64", 2**53 + 1), ("uint64", 2**53)):
        words = struct.unpack(">4H", (number % 2**64).to_bytes(8, "big"))
        assert one(ModbusTag("t", "holding", 0, type_), *words).value == number  # type: ignore[arg-type]


def test_scale_and_offset() -> None:
    assert one(ModbusTag("t", "holding", 0, "int16", scale=0.5, offset=-3.0), 0xFFFE).value == -4.0


def test_a_scaled_value_out_of_range_is_bad() -> None:
    words = struct.unpack(">4H", struct.pack(">d", 1e308))
    sample = one(ModbusTag("t", "holding", 0, "float64", scale=1e10), *words)
    assert sample.value is None
    assert sample.reason.startswith("not a finite float64: registers 7fe1")


@pytest.mark.parametrize("words", [(0x7FC0, 0), (0x7FA0, 1), (0xFF80, 0)])
def test_nan_and_infinity_are_bad_with_their_registers(words: tuple[int, int]) -> None:
    sample = one(ModbusTag("t", "holding", 0, "float32"), *words)
    assert sample.reason == f"not a finite float32: registers {words[0]:04x} {words[1]:04x}"


def test_an_invalid_nibble_is_no_number() -> None:
    assert one(ModbusTag("t", "holding", 0, "bcd16"), 0x12A4).reason == "not binary coded decimal: registers 12a4"


def test_text_is_cut_at_its_end_and_must_be_text() -> None:
    tag = ModbusTag("t", "holding", 0, "string", length=3)
    assert one(tag, 0x4869, 0x2020, 0x0041).value == "Hi"
    assert one(tag, 0, 0, 0).value == ""
    assert one(tag, 0xC3A9, 0, 0).value == "é"
    assert one(tag, 0xFF41, 0, 0).reason == "not text: registers ff41 0000 0000"
    assert one(tag, 0x410A, 0x4100, 0).quality is Quality.BAD


def test_a_failed_block_gives_its_reason_and_nothing_of_what_the_buffer_held() -> None:
    tags = [ModbusTag("a", "holding", 0, "uint64"), ModbusTag("b", "holding", 20, "string", length=1)]
    image = {"holding": [0xFFFF] * 4 + [0] * 16 + [0x4141]}
    a, b = read(tags, image, {0: "refused"})
    assert (a.value, a.reason, b.value) == (None, "refused", "AA")


def test_bad_rows_hold_no_number_and_no_text_even_for_those_who_read_columns() -> None:
    tags = [ModbusTag("a", "holding", 0, "uint64", none=(2**64 - 1,)), ModbusTag("b", "holding", 4, "string", length=1)]
    layout = Layout(tags, plan(tags, max_registers=125, max_gap=0), 1)
    layout.raw[:] = b"\xff" * 8 + b"AA"
    for failed, bad in (({}, [True, False]), ({0: "refused"}, [True, True])):
        values, quality, reasons, exact = layout.decode(failed)
        assert list(quality == BAD) == bad
        assert np.isnan(values).all()
        assert list(exact) == ([] if bad[1] else [1])
        assert len(reasons) == sum(bad)


def test_the_qualities_of_good_scans_are_one_array_that_nobody_can_change() -> None:
    layout = Layout(
        [ModbusTag("a", "holding", 0)], plan([ModbusTag("a", "holding", 0)], max_registers=125, max_gap=0), 1
    )
    first, second = layout.decode({}), layout.decode({})
    assert first[1] is second[1]
    assert first[0] is not second[0], "values belong to their scan"
    with pytest.raises(ValueError, match="read-only"):
        first[1][0] = BAD

"""The judgement of byte orders, on values that plants have: seldom wrong where the order is right, and the reverse."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ullage_protocols.field.modbus.spec import ORDERS, ModbusDevice, ModbusTag
from ullage_protocols.field.modbus.swapped import decode, is_raw, raw_of, suggestions, with_raw

FORMS = {"float32": ">f", "float64": ">d", "int32": ">i", "uint32": ">I", "int64": ">q", "uint64": ">Q"}


def encoded(value: float | int, type: str, order: str) -> bytes:
    """Written the other way round than ``decode`` reads: by places, not by swaps."""
    plain = struct.pack(FORMS[type], value)
    n = len(plain)
    places = {
        "ABCD": list(range(n)),
        "DCBA": list(range(n))[::-1],
        "BADC": [at ^ 1 for at in range(n)],
        "CDAB": [n - 2 - at + 2 * (at % 2) for at in range(n)],
    }
    return bytes(plain[at] for at in places[order])


def plant_value(chance: random.Random, type: str) -> float | int:
    """Settings and scaled readings of few digits, measurements of many, counts of every size; some below zero."""
    if not type.startswith("float"):
        count = int(10 ** chance.uniform(0, 7))
        return -count if type.startswith("int") and chance.random() < 0.2 else count
    if chance.random() < 0.5:
        low = -40.0 if chance.random() < 0.2 else 0.0
        return round(chance.uniform(low, 10 ** chance.uniform(0, 4.5)), chance.choice([0, 1, 2]))
    return chance.gauss(1, 0.05) * 10 ** chance.uniform(-0.5, 4.5) * (-1 if chance.random() < 0.1 else 1)


def told(type: str, configured: str, true: str, devices: int, tags: int) -> tuple[float, float]:
    """The shares of tags with a suggestion, and with the right one."""
    chance = random.Random(f"{type} {configured} {true}")
    some = right = 0
    for _ in range(devices):
        read = [
            (ModbusTag(f"t{n}", "holding", 0, type, configured), encoded(plant_value(chance, type), type, true))  # type: ignore[arg-type]
            for n in range(tags)
        ]
        found = suggestions(read)
        some += len(found)
        right += sum(one.order == true for one in found.values())
    return some / devices / tags, right / devices / tags


@pytest.mark.parametrize("type", FORMS)
@pytest.mark.parametrize("order", ORDERS)
def test_a_right_order_is_left_alone(type: str, order: str) -> None:
    assert told(type, order, order, 1250, 4)[0] <= 0.001


@pytest.mark.parametrize("type", FORMS)
@pytest.mark.parametrize(("configured", "true"), [("ABCD", "CDAB"), ("CDAB", "ABCD")])
def test_swapped_words_are_told_with_the_right_order(type: str, configured: str, true: str) -> None:
    assert told(type, configured, true, 1250, 4)[1] >= 0.95


@given(st.data())
@settings(max_examples=300)
def test_every_order_is_read_as_it_is_written(data: st.DataObject) -> None:
    type, order = data.draw(st.sampled_from(sorted(FORMS))), data.draw(st.sampled_from(ORDERS))
    raw = data.draw(st.binary(min_size=struct.calcsize(FORMS[type]), max_size=struct.calcsize(FORMS[type])))
    assert encoded(decode(raw, type, order), type, order) == raw or decode(raw, type, order) != decode(raw, type, order)  # type: ignore[arg-type]


@given(
    st.sampled_from(sorted(FORMS)), st.sampled_from(ORDERS), st.lists(st.binary(min_size=8, max_size=8), max_size=8)
)  # fmt: skip
def test_whatever_the_registers_hold_a_suggestion_is_another_order_and_a_number(
    type: str, order: str, raws: list[bytes]
) -> None:
    size = struct.calcsize(FORMS[type])
    read = [(ModbusTag(f"t{n}", "holding", 0, type, order), raw[:size]) for n, raw in enumerate(raws)]  # type: ignore[arg-type]
    for name, found in suggestions(read).items():
        assert found.order != order
        assert found.value == decode({tag.name: raw for tag, raw in read}[name], type, found.order)


@pytest.mark.parametrize("type", FORMS)
@pytest.mark.parametrize("order", ORDERS)
def test_what_says_that_there_is_no_value_is_no_swapped_value(type: str, order: str) -> None:
    bits = 8 * struct.calcsize(FORMS[type])
    patterns = [0, 2**bits - 1, 2 ** (bits - 1), 2 ** (bits - 1) - 1]
    if type.startswith("float"):
        patterns += [0x7FC00000, 0xFFC00000] if bits == 32 else [0x7FF8 << 48, 0xFFF8 << 48]
    for pattern in patterns:
        tag = ModbusTag("t", "holding", 0, type, order)  # type: ignore[arg-type]
        assert suggestions([(tag, pattern.to_bytes(bits // 8, "big"))]) == {}, hex(pattern)


def test_the_sentence_says_what_to_write() -> None:
    level = ModbusTag("level", "holding", 0, "float32")
    assert suggestions([(level, bytes.fromhex("000041bc"))])["level"].told == (
        'value looks word-swapped: order = "CDAB" would read 23.5'
    )
    count = ModbusTag("count", "holding", 0, "uint32", "CDAB", scale=0.1)
    assert suggestions([(count, bytes.fromhex("00003039"))])["count"].told == (
        'value looks word-swapped: order = "ABCD" would read 1234.5'
    )


def test_the_raw_registers_cost_no_request_and_no_name() -> None:
    tags = (ModbusTag("a", "holding", 4, "float32", "CDAB"), ModbusTag("b", "holding", 6, "uint16"))
    more = with_raw(ModbusDevice("plc", "h", tags=tags))
    assert more.tags[:2] == tags
    assert [(tag.address, tag.width, tag.order) for tag in more.tags[2:]] == [(4, 2, "ABCD")]
    assert [is_raw(tag.name) for tag in more.tags] == [False, False, True]
    assert raw_of(tags[0], {more.tags[2].name: 0x000041BC}) == bytes.fromhex("000041bc")
    assert raw_of(tags[0], {more.tags[2].name: None}) is None

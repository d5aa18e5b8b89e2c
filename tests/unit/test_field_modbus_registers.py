"""Decoding, held against struct: what a device packs is what comes out, and nothing else does."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ullage_protocols.field.modbus.registers import decode
from ullage_protocols.field.modbus.spec import ORDERS, ModbusTag

PACKED: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "int16": ("h", st.integers(-(2**15), 2**15 - 1)),
    "uint16": ("H", st.integers(0, 2**16 - 1)),
    "int32": ("i", st.integers(-(2**31), 2**31 - 1)),
    "uint32": ("I", st.integers(0, 2**32 - 1)),
    "int64": ("q", st.integers(-(2**63), 2**63 - 1)),
    "uint64": ("Q", st.integers(0, 2**64 - 1)),
    "float32": ("f", st.floats(width=32)),
    "float64": ("d", st.floats()),
}


def as_sent(raw: bytes, order: str) -> list[int]:
    """Registers as a device of byte order ``order`` sends the value ``raw`` (most significant byte first)."""
    words = [raw[at : at + 2] for at in range(0, len(raw), 2)]
    if order in ("CDAB", "DCBA"):
        words.reverse()
    if order in ("BADC", "DCBA"):
        words = [word[::-1] for word in words]
    return [int.from_bytes(word, "big") for word in words]


def tag(type_: str, order: str = "ABCD", **more: Any) -> ModbusTag:
    return ModbusTag("t", "holding", 0, type_, order, **more)  # type: ignore[arg-type]


@given(st.data(), st.sampled_from(sorted(PACKED)), st.sampled_from(ORDERS))
def test_every_value_survives_every_order(data: st.DataObject, type_: str, order: str) -> None:
    code, values = PACKED[type_]
    sent = data.draw(values)
    value, reason = decode(tag(type_, order), as_sent(struct.pack(f">{code}", sent), order))
    if math.isfinite(sent):
        assert (value, reason) == (sent, "")
        assert type(value) is type(sent)
    else:
        assert value is None
        assert "not a finite" in reason


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ("ABCD", [0x1234, 0x5678]),
        ("CDAB", [0x5678, 0x1234]),
        ("BADC", [0x3412, 0x7856]),
        ("DCBA", [0x7856, 0x3412]),
    ],
)
def test_the_four_orders_by_hand(order: str, words: list[int]) -> None:
    assert decode(tag("uint32", order), words) == (0x12345678, "")


@given(st.integers(0, 0xFFFF), st.integers(0, 15))
def test_a_bit_of_a_register(word: int, bit: int) -> None:
    assert decode(tag("bit", bit=bit), [word]) == (f"{word:016b}"[15 - bit] == "1", "")


def test_a_coil_is_a_truth() -> None:
    assert decode(ModbusTag("c", "coil", 0, "bit"), [True]) == (True, "")
    assert decode(ModbusTag("c", "discrete", 0, "bit"), [False]) == (False, "")


def test_scale_and_offset() -> None:
    assert decode(tag("int16", scale=0.5, offset=-3.0), [0xFFFE]) == (-4.0, "")


def test_a_scaled_value_out_of_range_is_bad() -> None:
    value, reason = decode(tag("float64", scale=1e10), as_sent(struct.pack(">d", 1e308), "ABCD"))
    assert value is None
    assert reason.startswith("not a finite float64: registers 7fe1")


@pytest.mark.parametrize("words", [[], [1], [1, 2, 3]])
def test_a_wrong_number_of_registers_is_bad(words: list[int]) -> None:
    assert decode(tag("uint32"), words) == (None, f"{len(words)} of 2 registers arrived")

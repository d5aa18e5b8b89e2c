"""Modbus addresses and tags: every notation on paper, and every fault told before anything is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ullage_protocols.field.base import SpecError
from ullage_protocols.field.modbus.addresses import TABLES, one_based, parse_address
from ullage_protocols.field.modbus.spec import ModbusDevice, ModbusTag, line_faults, tag_at


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("holding:0", ("holding", 0)),
        ("input:3", ("input", 3)),
        ("coil:1", ("coil", 1)),
        ("discrete:2", ("discrete", 2)),
        ("holding:65535", ("holding", 65535)),
        ("holding:0x10", ("holding", 16)),
        ("holding:0xFFFF", ("holding", 65535)),
        ("holding:010", ("holding", 10)),
        ("holding:10h", ("holding", 16)),
        ("input:0Fh", ("input", 15)),
        (" Holding:7 ", ("holding", 7)),
        ("40001", ("holding", 0)),
        ("49999", ("holding", 9998)),
        ("400001", ("holding", 0)),
        ("465536", ("holding", 65535)),
        ("30001", ("input", 0)),
        ("10001", ("discrete", 0)),
        ("00001", ("coil", 0)),
        ("4x0001", ("holding", 0)),
        ("0x0001", ("coil", 0)),
        ("3X00017", ("input", 16)),
    ],
)
def test_every_notation_is_read(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", "0", "4001", "40000", "400000", "465537", "20001", "50001", "4x0000", "x0001", "4001x"),
        *("holding", "holding:", "holding:-1", "holding:65536", "holding:1.5", "holding:0x", "holding:0x10000"),
        *("register:1", "holding 1", "holding:1:2", "holding:٣", "٤٠٠٠١", "4000001", "hr:1"),
    ],
)
def test_what_is_no_address_is_refused_and_the_notations_are_told(text: str) -> None:
    with pytest.raises(SpecError, match=r"holding:0.*40001.*4x0001"):
        parse_address(text)


def test_a_number_is_refused_because_its_notation_is_unknown() -> None:
    with pytest.raises(SpecError, match="write it in quotes"):
        parse_address(40001)  # type: ignore[arg-type]


@given(st.sampled_from(TABLES), st.integers(0, 65535))
def test_zero_based_and_one_based_name_the_same_point(table: str, address: int) -> None:
    digit = {"coil": 0, "discrete": 1, "input": 3, "holding": 4}[table]
    expected = (table, address)
    assert parse_address(f"{table}:{address}") == expected
    assert parse_address(f"{table}:{address:#x}") == expected
    assert parse_address(f"{digit}{address + 1:05d}") == expected
    assert parse_address(f"{digit}x{address + 1:05d}") == expected
    if address < 9999:
        assert parse_address(f"{digit}{address + 1:04d}") == expected


@given(st.text(max_size=12))
def test_any_text_is_an_address_or_a_refusal(text: str) -> None:
    try:
        table, address = parse_address(text)
    except SpecError:
        return
    assert table in TABLES
    assert 0 <= address <= 65535


def test_types_follow_from_the_address_where_none_is_given() -> None:
    assert tag_at("a", "coil:1").type == "bit"
    assert tag_at("a", "40001").type == "uint16"
    assert tag_at("a", "40001", bit=3).type == "bit"
    assert tag_at("a", "40001", "float64").width == 4


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        ({"name": ""}, "no name"),
        ({"table": "register"}, "table 'register' is unknown"),
        ({"type": "int24"}, "type 'int24' is unknown"),
        ({"order": "ACBD"}, "order 'ACBD' is unknown"),
        ({"address": -1}, "does not fit"),
        ({"address": 65536}, "does not fit"),
        ({"address": 65535, "type": "int32"}, "does not fit"),
        ({"address": True}, "does not fit"),
        ({"table": "coil"}, "is one bit"),
        ({"table": "coil", "type": "bit", "bit": 1}, "is one bit"),
        ({"type": "bit"}, "needs 'bit'"),
        ({"type": "bit", "bit": 16}, "needs 'bit'"),
        ({"bit": 1}, "goes with type 'bit'"),
        ({"scale": 0.0}, "scale must be finite"),
        ({"scale": float("nan")}, "scale must be finite"),
        ({"offset": float("inf")}, "scale must be finite"),
        ({"type": "bit", "bit": 1, "scale": 2.0}, "neither scale nor offset"),
        ({"type": "string"}, "needs 'length'"),
        ({"type": "string", "length": 126}, "needs 'length'"),
        ({"type": "string", "length": 2, "scale": 2.0}, "neither scale nor offset"),
        ({"type": "string", "length": 2, "none": (0,)}, "nor 'none'"),
        ({"type": "string", "length": 2, "enum": ((0, "x"),)}, "enum names numbers"),
        ({"type": "string", "length": 2, "address": 65535}, "does not fit"),
        ({"length": 2}, "goes with type 'string'"),
        ({"byte": "high"}, "'byte' goes with"),
        ({"byte": "middle", "type": "int8"}, "byte 'middle' is unknown"),
        ({"none": (0x10000,)}, "does not fit the 16 bits"),
        ({"type": "uint8", "none": (256,)}, "does not fit the 8 bits"),
    ],
)
def test_a_faulty_tag_is_refused_with_its_name_and_what_is_wrong(faulty: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        ModbusTag(**{"name": "a", "table": "holding", "address": 0, **faulty})


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        ({"name": ""}, "needs a name and a host"),
        ({"host": ""}, "needs a name and a host"),
        ({"protocol": "profinet"}, "protocol 'profinet' is unknown"),
        ({"serial": "/dev/ttyS0"}, "no serial port"),
        ({"protocol": "modbus-rtu"}, "needs a name and a serial port"),
        ({"protocol": "modbus-rtu", "serial": "/dev/ttyS0", "host": "h"}, "and no host"),
        ({"protocol": "modbus-rtu", "serial": "/dev/ttyS0", "host": "", "unit": 0}, "unit 0 is the broadcast"),
        ({"protocol": "modbus-rtu", "serial": "/dev/ttyS0", "host": "", "baud": 0}, "baud must be"),
        ({"protocol": "modbus-rtu", "serial": "/dev/ttyS0", "host": "", "parity": "mark"}, "parity 'mark'"),
        ({"protocol": "modbus-rtu-tcp", "in_flight": 2}, "in_flight over 1"),
        ({"share": True, "in_flight": 2}, "in_flight over 1"),
        ({"in_flight": 0}, "in_flight must be"),
        ({"in_flight": 17}, "in_flight must be"),
        ({"protocol": "modbus-tls"}, "needs ca, certificate and key"),
        ({"ca": Path("ca.pem")}, "go with modbus-tls"),
        ({"server_name": "plc"}, "go with modbus-tls"),
        ({"max_registers": 4, "tags": (tag_at("a", "40001", "string", length=5),)}, "takes 5 registers"),
        ({"port": 0}, "port must be"),
        ({"unit": 256}, "unit must be"),
        ({"unit": True}, "unit must be"),
        ({"timeout": 0.0}, "timeout must be"),
        ({"timeout": float("inf")}, "timeout must be"),
        ({"max_registers": 126}, "max_registers must be"),
        ({"max_registers": 3}, "max_registers must be"),
        ({"max_gap": -1}, "max_gap must be"),
        ({"tags": ()}, "no tag"),
        ({"tags": (tag_at("a", "40001"), tag_at("a", "40002"))}, "'a' is used twice"),
    ],
)
def test_a_faulty_device_is_refused(faulty: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        ModbusDevice(**{"name": "d", "host": "h", "tags": (tag_at("a", "40001"),), **faulty})


@pytest.mark.parametrize(("text", "address"), [("0", 0), ("16", 16), ("0x10", 16), ("10h", 16), (" 0XFFFF ", 65535)])
def test_a_bare_number_goes_with_its_table_and_counts_from_zero(text: str, address: int) -> None:
    assert parse_address(text, "holding") == ("holding", address)
    if address:
        with pytest.raises(SpecError, match=r"no known notation.*zero-based.*one-based"):
            parse_address(text)


@pytest.mark.parametrize(("text", "table", "message"), [
    ("holding:1", "holding", "names its table already"), ("4x0001", "holding", "names its table already"),
    ("40001", "register", "table 'register' is unknown"), ("65536", "input", "lies outside the table"),
])  # fmt: skip
def test_a_table_given_twice_or_wrongly_is_refused(text: str, table: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_address(text, table)


@given(st.sampled_from(TABLES), st.integers(0, 65535))
def test_the_one_based_form_leads_back(table: Any, address: int) -> None:
    assert parse_address(one_based(table, address)) == (table, address)


def test_sentinels_are_raw_values_as_they_stand_in_the_registers() -> None:
    assert tag_at("a", "40001", "int16", none="0x8000").none == (0x8000,)
    assert tag_at("a", "40001", "int16", none=-32768).none == (0x8000,)
    assert tag_at("a", "40001", "uint32", none=["0xFFFFFFFF", 7]).none == (0xFFFFFFFF, 7)
    for wrong in ("eight", 1.5, True, "0x" + "1" * 40, -32769):
        with pytest.raises(SpecError, match="none"):
            tag_at("a", "40001", "int16", none=wrong)  # type: ignore[arg-type]


def test_an_enumeration_names_values_and_leaves_others_nameless() -> None:
    tag = tag_at("a", "40001", enum={"0": "stopped", "1": "running"})
    assert [tag.named(value) for value in (0, 1, 1.0, 2, None)] == ["stopped", "running", "running", "", ""]
    with pytest.raises(SpecError, match="enum"):
        tag_at("a", "40001", enum={"x": "stopped"})


def test_devices_on_one_line_must_agree_about_it() -> None:
    def unit(name: str, number: int, **more: Any) -> ModbusDevice:
        tags = (tag_at("a", "40001"),)
        return ModbusDevice(name, unit=number, protocol="modbus-rtu", serial="/dev/ttyS0", tags=tags, **more)

    assert line_faults([unit("a", 1), None, unit("b", 2)]) == []
    ((position, fault),) = line_faults([unit("a", 1), None, unit("b", 2, baud=9600)])
    assert position == 2
    assert fault == "devices 'a' and 'b' share /dev/ttyS0 and differ in baud: 19200 and 9600; give both the same"


def test_a_tag_fault_in_an_address_names_the_tag() -> None:
    with pytest.raises(SpecError, match=r"tag 'line\.count'.*nowhere"):
        tag_at("line.count", "nowhere")

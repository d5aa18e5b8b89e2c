"""Frames judged in isolation: which bytes may leave, and which bytes are a reply."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ullage_protocols.field.base import SendRefused
from ullage_protocols.field.modbus import frames


def adu(pdu: bytes, *, tid: int = 7, unit: int = 1, protocol: int = 0, length: int | None = None) -> bytes:
    return struct.pack(">HHHB", tid, protocol, len(pdu) + 1 if length is None else length, unit) + pdu


@pytest.mark.parametrize("function", range(256))
def test_only_read_functions_leave(function: int) -> None:
    forms = [adu(bytes([function, 0, 0, 0, 1])), adu(bytes([function, 14, 1, 0])), adu(bytes([function]) * 9)]
    for form in forms:
        fits = (function in (1, 2, 3, 4) and len(form) == 12) or (function == 43 and len(form) == 11)
        if fits:
            frames.require_read_request(form)
        else:
            with pytest.raises(SendRefused, match="nothing was sent"):
                frames.require_read_request(form)


READ = adu(bytes([3, 0, 0, 0, 1]))
WRITE = adu(bytes([6, 0, 0, 0, 1]))


@pytest.mark.parametrize(
    "outgoing",
    [
        b"",
        READ[:7],
        READ[:-1],
        READ + b"\0",
        READ + WRITE,
        READ + READ,
        adu(bytes([3, 0, 0, 0, 1]), protocol=1),
        adu(bytes([3, 0, 0, 0, 1]), length=7),
        adu(bytes([3, 0, 0, 0, 1, 6, 0, 0, 0, 1])),
        adu(bytes([43, 13, 1, 0])),
    ],
)
def test_a_write_cannot_hide_behind_a_read(outgoing: bytes) -> None:
    with pytest.raises(SendRefused, match="nothing was sent"):
        frames.require_read_request(outgoing)


@given(st.binary(max_size=40))
def test_any_bytes_that_leave_are_one_read_request(outgoing: bytes) -> None:
    try:
        frames.require_read_request(outgoing)
    except SendRefused:
        return
    assert outgoing[7] in (1, 2, 3, 4, 43)
    assert len(outgoing) in (11, 12)


QUESTION = frames.Question(transaction=7, unit=1, function=3, count=2)
REPLY = adu(bytes([3, 4, 0, 11, 0, 22]))


def test_every_prefix_of_a_reply_waits_for_the_rest() -> None:
    for end in range(len(REPLY)):
        assert frames.complete(QUESTION, REPLY[:end]) is False
    assert frames.complete(QUESTION, REPLY) is True
    assert frames.fault_of(QUESTION, REPLY) == ""


@given(st.integers(0, len(REPLY) - 1), st.integers(1, 255))
def test_one_changed_byte_outside_the_values_is_never_a_good_reply(at: int, change: int) -> None:
    bent = bytearray(REPLY)
    bent[at] ^= change
    try:
        whole = frames.complete(QUESTION, bytes(bent))
    except frames.BrokenStream:
        return
    if at >= 9:
        assert whole
        assert frames.fault_of(QUESTION, bytes(bent)) == ""
    elif whole:
        assert frames.fault_of(QUESTION, bytes(bent)) != ""


@given(st.binary(max_size=300), st.sampled_from([1, 2, 3, 4]), st.integers(1, 125))
def test_any_bytes_are_judged_as_the_specification_says(tail: bytes, function: int, count: int) -> None:
    question = frames.Question(7, 1, function, count)
    carried = count * 2 if function > 2 else (count + 7) // 8
    received = b"\0\7\0\0" + tail
    try:
        good = (
            frames.complete(question, received)
            and not frames.fault_of(question, received)
            and frames.refusal_of(question, received) is None
        )
    except frames.BrokenStream:
        good = False
    head = struct.pack(">HBBB", carried + 3, 1, function, carried)
    assert good == (tail[:5] == head and len(tail) == 5 + carried)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 2000])
def test_bits_come_in_whole_bytes(count: int) -> None:
    size = (count + 7) // 8
    question = frames.Question(7, 1, 1, count)
    assert frames.fault_of(question, adu(bytes([1, size]) + bytes(size))) == ""
    assert "asked for" in frames.fault_of(question, adu(bytes([1, size + 1]) + bytes(size + 1)))


def test_a_refusal_is_told_by_number_and_name() -> None:
    reply = adu(bytes([0x83, 2]))
    assert frames.complete(QUESTION, reply)
    assert frames.refusal_of(QUESTION, reply) == 2
    assert frames.refusal_text(2) == "device refused: exception 2 (illegal address)"
    assert frames.refusal_text(0x7F) == "device refused: exception 127 (unknown code)"

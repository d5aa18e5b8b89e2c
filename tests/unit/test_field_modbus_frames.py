"""Frames judged in isolation: which bytes may leave, and which bytes are a reply."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ullage_protocols.field.base import SendRefused
from ullage_protocols.field.modbus import frames, rtu


def adu(pdu: bytes, *, tid: int = 7, unit: int = 1, protocol: int = 0, length: int | None = None) -> bytes:
    return struct.pack(">HHHB", tid, protocol, len(pdu) + 1 if length is None else length, unit) + pdu


def line(pdu: bytes, unit: int = 1) -> bytes:
    body = bytes([unit]) + pdu
    return body + rtu.checksum(body)


def let_out(outgoing: bytes) -> None:
    if not frames.READS.fullmatch(outgoing):
        frames.refuse(outgoing)


def let_out_on_a_line(outgoing: bytes) -> None:
    if not rtu.is_read_frame(outgoing):
        rtu.refuse(outgoing)


READ = adu(bytes([3, 0, 0, 0, 1]))
IDENTIFY = adu(bytes([43, 14, 1, 0]))
WRITE = adu(bytes([6, 0, 0, 0, 1]))


@pytest.mark.parametrize("outgoing", [READ, IDENTIFY, READ * 16, IDENTIFY + READ])
def test_whole_reads_leave(outgoing: bytes) -> None:
    let_out(outgoing)


@pytest.mark.parametrize(
    "outgoing",
    [
        b"",
        READ[:7],
        READ[:-1],
        READ + b"\0",
        READ + WRITE,
        WRITE + READ,
        READ + READ[:-1],
        adu(bytes([3, 0, 0, 0, 1]), protocol=1),
        adu(bytes([3, 0, 0, 0, 1]), length=7),
        adu(bytes([3, 0, 0, 0, 1, 6, 0, 0, 0, 1])),
        adu(bytes([43, 13, 1, 0])),
        adu(bytes([3, 0, 0, 0]), length=6) + WRITE,
    ],
)
def test_a_write_cannot_hide_behind_a_read(outgoing: bytes) -> None:
    with pytest.raises(SendRefused, match="nothing was sent"):
        let_out(outgoing)


@given(st.lists(st.sampled_from([READ, IDENTIFY, WRITE]) | st.binary(max_size=14), max_size=4).map(b"".join))
def test_any_bytes_that_leave_are_reads_as_a_device_would_take_them_apart(outgoing: bytes) -> None:
    try:
        let_out(outgoing)
    except SendRefused:
        return
    while outgoing:
        end = 6 + int.from_bytes(outgoing[4:6], "big")
        assert outgoing[2:4] == b"\0\0"
        assert (outgoing[7] in (1, 2, 3, 4) and end == 12) or (outgoing[7:9] == b"\x2b\x0e" and end == 11)
        assert len(outgoing) >= end
        outgoing = outgoing[end:]


@pytest.mark.parametrize("outgoing", [
    b"", line(bytes([3, 0, 0, 0, 1]))[:-1], line(bytes([3, 0, 0, 0, 1])) + b"\0", line(bytes([3, 0, 0, 0, 1]), unit=0),
    line(bytes([3, 0, 0, 0, 1])) * 2, line(bytes([6, 0, 0, 0, 1])), bytes([1, 3, 0, 0, 0, 1, 0, 0]),
    line(bytes([43, 13, 1, 0])),
])  # fmt: skip
def test_on_a_line_only_one_whole_read_leaves(outgoing: bytes) -> None:
    let_out_on_a_line(line(bytes([3, 0, 0, 0, 1])))
    with pytest.raises(SendRefused, match="nothing was sent"):
        let_out_on_a_line(outgoing)


QUESTION = frames.read_question(1, "holding", 0, 2)
GOOD = bytes([0, 11, 0, 22])
REPLY = adu(bytes([3, 4]) + GOOD)


def judged(question: frames.Question, received: bytes) -> frames.Answer | None:
    end = frames.whole_frame(received, {7})
    assert end in (0, len(received))
    return frames.answer_of(question, received[6], received[7:]) if end else None


def test_a_question_knows_how_its_good_reply_begins() -> None:
    assert REPLY[2:9] == QUESTION.head
    assert adu(QUESTION.pdu)[2:] == QUESTION.tail
    assert rtu.request(QUESTION) == line(QUESTION.pdu)


def test_every_prefix_of_a_reply_waits_for_the_rest() -> None:
    for end in range(len(REPLY)):
        assert frames.whole_frame(REPLY[:end], {7}) == 0
    assert judged(QUESTION, REPLY) == GOOD


@given(st.integers(0, len(REPLY) - 1), st.integers(1, 255))
def test_one_changed_byte_outside_the_values_is_never_a_good_reply(at: int, change: int) -> None:
    bent = bytearray(REPLY)
    bent[at] ^= change
    try:
        whole = frames.whole_frame(bytes(bent), {7})
    except frames.BrokenStream:
        return
    answer = frames.answer_of(QUESTION, bent[6], bytes(bent[7:whole])) if whole else None
    assert isinstance(answer, bytes) == (at >= 9)


@given(st.binary(max_size=300), st.sampled_from([1, 2, 3, 4]), st.integers(1, 125))
def test_any_bytes_are_judged_as_the_specification_says(tail: bytes, function: int, count: int) -> None:
    question = frames.read_question(1, ("coil", "discrete", "holding", "input")[function - 1], 0, count)  # type: ignore[arg-type]
    carried = count * 2 if function > 2 else (count + 7) // 8
    received = b"\0\7\0\0" + tail
    head = struct.pack(">HBBB", carried + 3, 1, function, carried)
    try:
        end = frames.whole_frame(received, {7})
    except frames.BrokenStream:
        assert not tail.startswith(head)
        return
    good = bool(end) and isinstance(frames.answer_of(question, received[6], received[7:end]), bytes)
    assert good == (tail[:5] == head and len(tail) >= 5 + carried)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 2000])
def test_bits_come_in_whole_bytes(count: int) -> None:
    size = (count + 7) // 8
    question = frames.read_question(1, "coil", 0, count)
    assert judged(question, adu(bytes([1, size]) + bytes(size))) == bytes(size)
    assert "asked for" in str(judged(question, adu(bytes([1, size + 1]) + bytes(size + 1))))


def test_a_refusal_is_told_by_number_and_name() -> None:
    assert judged(QUESTION, adu(bytes([0x83, 2]))) == 2
    assert frames.refusal_text(2) == "device refused: exception 2 (illegal address)"
    assert frames.refusal_text(0x7F) == "device refused: exception 127 (unknown code)"


@pytest.mark.parametrize(
    ("table", "count", "reach", "expected"),
    [
        ("holding", 10, 0, 9), ("holding", 1, 8, 2), ("input", 2, 0, 1),
        ("coil", 16, 0, 8), ("coil", 8, 1, 16), ("coil", 3, 1, 11),
    ],
)  # fmt: skip
def test_a_mark_has_another_size_and_asks_no_further_than_it_may(
    table: str, count: int, reach: int, expected: int
) -> None:
    question = frames.read_question(1, table, 7, count)  # type: ignore[arg-type]
    mark = frames.mark_question(question, [question.kind], reach)
    assert int.from_bytes(mark.pdu[3:], "big") == expected
    assert (mark.size != question.size, mark.pdu[:3]) == (True, question.pdu[:3])


@pytest.mark.parametrize("question", [
    frames.read_question(1, "holding", 7, 1), frames.read_question(1, "discrete", 7, 3),
    frames.read_question(1, "input", 65535, 1), frames.identify_question(1, 1, 0),
])  # fmt: skip
def test_a_mark_is_like_nothing_that_was_given_up(question: frames.Question) -> None:
    given_up: set[frames.Kind] = {question.kind}
    for number in range(40):
        mark = frames.mark_question(question, given_up, 0)
        assert mark.kind not in given_up
        if number < 3:
            assert mark.function not in {function for function, _ in given_up}, "so that no refusal is like it either"
        frames.require_read(mark.pdu)
        assert int.from_bytes(mark.pdu[1:3], "big") + int.from_bytes(mark.pdu[3:], "big") <= 65536
        given_up.add(mark.kind)


LINE_REPLY = line(bytes([3, 4]) + GOOD)


def test_the_checksum_is_the_one_of_the_specification() -> None:
    assert rtu.checksum(bytes.fromhex("0207")) == bytes.fromhex("4112")  # V1.02, 6.2.2: the example of its appendix


def test_every_prefix_of_a_reply_on_a_line_waits_for_the_rest() -> None:
    for end in range(len(LINE_REPLY)):
        assert rtu.judge(QUESTION, LINE_REPLY[:end]) == (None, LINE_REPLY[:end])
    assert rtu.judge(QUESTION, LINE_REPLY) == (GOOD, b"")


@given(st.integers(0, len(LINE_REPLY) - 1), st.integers(1, 255))
def test_one_changed_byte_on_a_line_is_never_a_good_reply(at: int, change: int) -> None:
    bent = bytearray(LINE_REPLY)
    bent[at] ^= change
    answer, _ = rtu.judge(QUESTION, bytes(bent))
    assert not isinstance(answer, bytes | int)


@pytest.mark.parametrize(
    ("received", "answer"),
    [
        (line(bytes([3, 4, 0, 99, 0, 99]), unit=2) + LINE_REPLY, GOOD),
        (line(bytes([3, 4, 0, 99, 0, 99]), unit=2), None),
        (line(bytes([0x83, 2]), unit=2) + line(bytes([0x83, 2])), 2),
        (line(bytes([4, 4, 0, 99, 0, 99])), "function code 4, asked with 3"),
        (line(bytes([6, 0, 0, 0, 99])), "function code 6, asked with 3"),
        (line(bytes([3, 2, 0, 99])), "reply of 2 bytes, asked for 4"),
        (line(bytes([3, 6, 0, 99, 0, 99, 0, 99])), "reply of 6 bytes, asked for 4"),
        (bytes([1, 3, 250]), "reply of 250 bytes, asked for 4"),
        (bytes([1, 3, 255]), "claims 260 bytes"),
        (LINE_REPLY + b"\0", "1 bytes follow"),
        (LINE_REPLY * 2, "9 bytes follow"),
        (LINE_REPLY[:-2] + b"\0\0", "wrong checksum"),
        (rtu.request(QUESTION), "reply of 0 bytes, asked for 4"),
        (b"\0" * 300, "function code 0"),
        (b"HTTP/1.1 400", "function code 84"),
    ],
)
def test_frames_of_a_line(received: bytes, answer: frames.Answer | None) -> None:
    found, _ = rtu.judge(QUESTION, received)
    if isinstance(answer, str):
        assert isinstance(found, str)
        assert answer in found or (received[:2] == b"\1\3" and "wrong checksum" in found), found
    else:
        assert found == answer


@given(st.binary(max_size=600))
def test_any_bytes_on_a_line_are_judged_without_a_hitch(received: bytes) -> None:
    answer, rest = rtu.judge(QUESTION, received)
    assert len(rest) <= len(received)
    if isinstance(answer, bytes):
        assert received.endswith(line(bytes([3, 4]) + answer))

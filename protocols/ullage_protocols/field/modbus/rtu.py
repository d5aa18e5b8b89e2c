"""Frames of a serial line, pure: unit, what is asked or answered, checksum; a frame's kind says where it ends."""

from __future__ import annotations

import re
from typing import NoReturn

from ullage_protocols.field.errors import SendRefused
from ullage_protocols.field.modbus.frames import (
    IDENTIFY,
    READ_BITS,
    READ_REGISTERS,
    Answer,
    Question,
    answer_of,
    require_read,
)  # fmt: skip

MAX_FRAME = 256
_READ = re.compile(rb"[^\0](?:[\x01-\x04]....|\x2b\x0e..)..", re.DOTALL)
"""A unit, a read (function, address, count) or 43/14 (level, object), a checksum."""


def _table() -> tuple[int, ...]:
    entries = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
        entries.append(crc)
    return tuple(entries)


_CRC = _table()


def checksum(frame: bytes) -> bytes:
    """The CRC that follows ``frame`` on the wire (Modbus over Serial Line V1.02, 6.2.2).

    >>> checksum(bytes.fromhex("010300000001")).hex()
    '840a'
    """
    crc = 0xFFFF
    for byte in frame:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")


def request(question: Question) -> bytes:
    """The whole frame that asks ``question``."""
    body = bytes((question.unit,)) + question.pdu
    return body + checksum(body)


def is_read_frame(data: bytes) -> bool:
    """Whether ``data`` is exactly one read request with its checksum, to one unit."""
    return _READ.fullmatch(data) is not None and data[-2:] == checksum(data[:-2])


def refuse(data: bytes) -> NoReturn:
    """Raises SendRefused with what is wrong with bytes that are no such frame."""
    if len(data) >= 4 and data[-2:] == checksum(data[:-2]) and data[0]:
        require_read(data[1:-2])
    raise SendRefused("the outgoing bytes are not one whole request to one unit; nothing was sent")


def silence(baud: int) -> float:
    """Seconds of silence between frames: 3.5 characters of 11 bits, 1.75 ms above 19,200 baud (2.5.1.1).

    >>> round(silence(9600) * 1000, 2), silence(115200)
    (4.01, 0.00175)
    """
    return 38.5 / baud if baud <= 19200 else 0.00175


def judge(question: Question, received: bytes) -> tuple[Answer | None, bytes]:
    """The answer that ``received`` holds, None while it is still to come, and the bytes left to go on with.

    Whole frames of other units are late replies to others: they are passed over. A frame that is not right, or that
    something follows, is a fault: a text.
    """
    while len(received) >= 3:
        end = _length(received)
        if end < 0:
            return f"reply with function code {received[1]}, asked with {question.function}", b""
        if end > MAX_FRAME:
            return f"reply that claims {end} bytes; a frame has at most {MAX_FRAME}", b""
        if not end or len(received) < end:
            # Of the unit that was asked, more bytes than were asked for need not be waited for.
            if question.size >= 0 and received[0] == question.unit and end > question.size + 5:
                return f"reply of {end - 5} bytes, asked for {question.size}", b""
            return None, received
        frame, rest = received[:end], received[end:]
        if checksum(frame[:-2]) != frame[-2:]:
            return f"reply with a wrong checksum: {frame[:8].hex(' ')}{' …' if end > 8 else ''}", b""
        if frame[0] != question.unit:
            received = rest
            continue
        if rest:
            return f"{len(rest)} bytes follow the reply; one request has one reply", b""
        return answer_of(question, frame[0], frame[1:-2]), b""
    return None, received


def find(question: Question, received: bytes) -> tuple[Answer | None, bytes]:
    """As ``judge``, but whatever does not fit ``question`` is passed over: the answer is never a fault.

    What is no frame at all spoils what came with it.
    """
    while len(received) >= 3:
        end = _length(received)
        if end < 0 or end > MAX_FRAME:
            return None, b""
        if not end or len(received) < end:
            return None, received
        frame, received = received[:end], received[end:]
        if checksum(frame[:-2]) != frame[-2:]:
            return None, b""
        if frame[0] == question.unit and not isinstance(answer := answer_of(question, frame[0], frame[1:-2]), str):
            return answer, received
    return None, received


def _length(received: bytes) -> int:
    """Where the frame that begins here ends; 0 while that cannot be told, -1 where it is no read's reply."""
    function = received[1]
    if function & 0x80:
        return 5
    if function in READ_BITS or function in READ_REGISTERS:
        return received[2] + 5
    if function != IDENTIFY:
        return -1
    at, left = 8, received[7] if len(received) > 7 else -1
    while left > 0:
        if len(received) < at + 2:
            return 0
        at, left = at + 2 + received[at + 1], left - 1
        if at > MAX_FRAME:
            return at
    return at + 2 if left == 0 else 0

"""Modbus/TCP frames judged byte by byte, pure: what may go out, and whether what came in answers it."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ullage_protocols.field.errors import HostileError, SendRefused

HEADER = 7
"""Bytes before the function code: transaction id, protocol id, length, unit."""
MAX_ADU = 260
READ_BITS = frozenset({1, 2})
READ_REGISTERS = frozenset({3, 4})
IDENTIFY = 43
IDENTIFY_MEI = 14
REFUSALS = {
    1: "illegal function",
    2: "illegal address",
    3: "illegal value",
    4: "device failure",
    5: "acknowledge",
    6: "device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target does not respond",
}


class BrokenStream(HostileError):
    """What arrived cannot be a reply to what was asked: nothing after it on this connection can be trusted."""


class ReplyFault(Exception):
    """A whole reply frame that does not carry what was asked. The connection itself is still in step."""


@dataclass(frozen=True, slots=True)
class Question:
    """The request that is out: transaction id, unit, function code, count of registers or bits."""

    transaction: int
    unit: int
    function: int
    count: int


def require_read_request(adu: bytes) -> None:
    """Raises SendRefused unless ``adu`` is exactly one read request (functions 1 to 4, or 43/14)."""
    if len(adu) <= HEADER:
        raise SendRefused(f"{len(adu)} bytes are no Modbus/TCP request; nothing was sent")
    protocol, length = struct.unpack_from(">HH", adu, 2)
    function = adu[HEADER]
    if protocol != 0 or length != len(adu) - 6:
        raise SendRefused("the outgoing bytes are not exactly one Modbus/TCP request; nothing was sent")
    if function in READ_BITS | READ_REGISTERS:
        whole = len(adu) == HEADER + 5
    elif function == IDENTIFY:
        whole = len(adu) == HEADER + 4 and adu[HEADER + 1] == IDENTIFY_MEI
    else:
        raise SendRefused(f"function code {function} is no read; this connection only reads, nothing was sent")
    if not whole:
        raise SendRefused(f"function code {function} is not in the form of a read request; nothing was sent")


def complete(question: Question, received: bytes) -> bool:
    """Whether ``received`` (all bytes since the question went out) is one whole reply frame to it.

    False while bytes are still missing. Raises BrokenStream as soon as they cannot become that reply.
    """
    if len(received) >= 2:
        transaction = int.from_bytes(received[:2], "big")
        if transaction != question.transaction:
            raise BrokenStream(f"reply with transaction id {transaction}, asked with {question.transaction}")
    if len(received) >= 4 and received[2:4] != b"\0\0":
        raise BrokenStream(f"reply with protocol id {int.from_bytes(received[2:4], 'big')}, Modbus has 0")
    if len(received) < 6:
        return False
    length = int.from_bytes(received[4:6], "big")
    if not 3 <= length <= MAX_ADU - 6:
        raise BrokenStream(f"reply that claims {length} bytes; a reply has 3 to {MAX_ADU - 6}")
    if len(received) > 6 + length:
        raise BrokenStream(f"{len(received) - 6 - length} bytes follow the reply; one request has one reply")
    return len(received) == 6 + length


def fault_of(question: Question, adu: bytes) -> str:
    """Why a whole reply frame carries no usable values; empty where it carries exactly what was asked.

    A refusal by the device (exception reply) is not a fault here: see ``refusal_of``.
    """
    unit = adu[HEADER - 1]
    function = adu[HEADER]
    if unit != question.unit:
        return f"reply of unit {unit}, asked unit {question.unit}"
    if refusal_of(question, adu) is not None:
        return "" if len(adu) == HEADER + 2 else f"exception reply of {len(adu)} bytes, it has {HEADER + 2}"
    if function != question.function:
        return f"reply with function code {function}, asked with {question.function}"
    wanted = question.count * 2 if function in READ_REGISTERS else (question.count + 7) // 8
    carried = len(adu) - HEADER - 2
    if adu[HEADER + 1] != carried:
        return f"reply that counts {adu[HEADER + 1]} bytes and carries {carried}"
    if carried != wanted:
        return f"reply of {carried} bytes, asked for {wanted}"
    return ""


def refusal_of(question: Question, adu: bytes) -> int | None:
    """The exception code where ``adu`` is the device's refusal of this question, else None."""
    return adu[HEADER + 1] if adu[HEADER] == question.function | 0x80 else None


def refusal_text(code: int) -> str:
    """The reason a bad sample carries for exception ``code``."""
    return f"device refused: exception {code} ({REFUSALS.get(code, 'unknown code')})"

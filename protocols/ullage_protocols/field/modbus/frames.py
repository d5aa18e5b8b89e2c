"""Requests and replies judged byte by byte, pure: what may go out, and whether what came in answers it.

Here is the only encoder of the room, and it knows the functions that read: 1 to 4, and 43/14.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NoReturn

from ullage_protocols.field.errors import HostileError, SendRefused
from ullage_protocols.field.modbus.addresses import LAST_ADDRESS, Table

HEADER = 7
"""Bytes before the function code: transaction id, protocol id, length, unit."""
MAX_ADU = 260
READ_FUNCTIONS: dict[Table, int] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
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

READS = re.compile(rb"(?:..\0\0(?:\0\x06.[\x01-\x04]....|\0\x05.\x2b\x0e..))+", re.DOTALL)
"""One or more whole Modbus/TCP requests, each of them a read and nothing else: transaction id, protocol id 0, length,
unit, then a function that reads with address and count, or 43/14 with level and object."""

Answer = bytes | int | str
"""What a whole reply comes to: the bytes asked for, the device's exception code, or why it is unusable."""


class BrokenStream(HostileError):
    """What arrived cannot be a reply to what was asked: nothing after it on this connection can be trusted."""


Kind = tuple[int, int]
"""What tells one serial reply from another: its function and the size of its values."""
_MOST_MARKS = 32


@dataclass(frozen=True, slots=True)
class Question:
    """One read request of ``unit``: ``pdu`` is what is asked, without transaction id, unit or checksum.

    ``size`` bytes of values are the one right answer (-1: any, for 43/14); they belong at ``offset`` to ``end`` of the
    reader's buffer. ``tail`` is the Modbus/TCP request after its transaction id, ``head`` bytes 2 to 9 of the good
    reply.
    """

    unit: int
    pdu: bytes
    size: int
    offset: int = 0
    end: int = field(init=False)
    function: int = field(init=False)
    kind: Kind = field(init=False)
    tail: bytes = field(init=False)
    head: bytes = field(init=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "end", self.offset + self.size)
        put(self, "function", self.pdu[0])
        put(self, "kind", (self.pdu[0], self.size))
        put(self, "tail", struct.pack(">HHB", 0, len(self.pdu) + 1, self.unit) + self.pdu)
        known = struct.pack(">HHBBB", 0, self.size + 3, self.unit, self.pdu[0], self.size) if self.size >= 0 else b""
        put(self, "head", known)


def read_question(unit: int, table: Table, address: int, count: int, offset: int = 0) -> Question:
    """Asks for ``count`` registers or bits of ``table`` from the zero-based ``address``."""
    size = (count + 7) // 8 if READ_FUNCTIONS[table] in READ_BITS else count * 2
    return Question(unit, struct.pack(">BHH", READ_FUNCTIONS[table], address, count), size, offset)


def identify_question(unit: int, level: int, first: int) -> Question:
    """Asks who the device is (43/14): ``level`` 1 basic, 2 regular, from object ``first`` on."""
    return Question(unit, bytes((IDENTIFY, IDENTIFY_MEI, level, first)), -1)


def mark_question(question: Question, given_up: Collection[Kind], reach: int) -> Question:
    """A read whose reply can be no late one to what was ``given_up``, nor be taken for the one to ``question``.

    First choice is what ``question`` asks in another size, from within it or going on for at most ``reach`` registers:
    a device answers that. Else another table at the same address, which it may refuse: a refusal names its function
    and answers as well. Where every function was given up, a size that was not.
    """
    address, taken = 0, {*given_up, (question.function, question.size)}
    if question.function != IDENTIFY:
        function, address, count = struct.unpack(">BHH", question.pdu)
        table = next(table for table, code in READ_FUNCTIONS.items() if code == function)
        step, reach = (8, reach * 16) if function in READ_BITS else (1, reach)
        further = count + step if reach >= step and address + count + step <= LAST_ADDRESS + 1 else 0
        for other in (count - step, further):
            if other > 0 and (mark := read_question(question.unit, table, address, other)).kind not in taken:
                return mark
    functions = {function for function, _ in taken}
    fresh = [table for table in READ_FUNCTIONS if READ_FUNCTIONS[table] not in functions]
    for table in (*fresh, *READ_FUNCTIONS):
        for units in range(1, _MOST_MARKS):
            count = units * 8 if READ_FUNCTIONS[table] in READ_BITS else units
            mark = read_question(question.unit, table, min(address, LAST_ADDRESS + 1 - count), count)
            if mark.kind not in taken:
                return mark
    return mark


def refuse(data: bytes) -> NoReturn:
    """Raises SendRefused with what is wrong with bytes that ``READS`` does not match."""
    if HEADER < len(data) == int.from_bytes(data[4:6], "big") + 6 and data[2:4] == b"\0\0":
        require_read(data[HEADER:])
    raise SendRefused("the outgoing bytes are not whole Modbus/TCP requests to read; nothing was sent")


def require_read(pdu: bytes) -> None:
    """Raises SendRefused unless ``pdu`` is exactly one read request (functions 1 to 4, or 43/14)."""
    function = pdu[0] if pdu else 0
    if 1 <= function <= 4:
        whole = len(pdu) == 5
    elif function == IDENTIFY:
        whole = len(pdu) == 4 and pdu[1] == IDENTIFY_MEI
    else:
        raise SendRefused(f"function code {function} is no read; this connection only reads, nothing was sent")
    if not whole:
        raise SendRefused(f"function code {function} is not in the form of a read request; nothing was sent")


def whole_frame(received: bytes | bytearray, waiting: Collection[int]) -> int:
    """The length of the Modbus/TCP reply that ``received`` begins with; 0 while bytes of it are missing.

    ``waiting`` are the transaction ids whose replies are due. Raises BrokenStream as soon as the bytes cannot become
    one of those replies.
    """
    if not waiting:
        raise BrokenStream(f"{len(received)} bytes follow the reply; one request has one reply")
    if len(received) >= 2:
        transaction = int.from_bytes(received[:2], "big")
        if transaction not in waiting:
            asked = ", ".join(str(known) for known in list(waiting)[:4])
            raise BrokenStream(f"reply with transaction id {transaction}, asked with {asked}")
    if len(received) >= 4 and received[2:4] != b"\0\0":
        raise BrokenStream(f"reply with protocol id {int.from_bytes(received[2:4], 'big')}, Modbus has 0")
    if len(received) < 6:
        return 0
    length = int.from_bytes(received[4:6], "big")
    if not 3 <= length <= MAX_ADU - 6:
        raise BrokenStream(f"reply that claims {length} bytes; a reply has 3 to {MAX_ADU - 6}")
    return 6 + length if len(received) >= 6 + length else 0


def answer_of(question: Question, unit: int, pdu: bytes) -> Answer:
    """What the whole reply ``pdu`` (two bytes or more) of ``unit`` comes to."""
    function = pdu[0]
    if unit != question.unit:
        return f"reply of unit {unit}, asked unit {question.unit}"
    if function == question.function | 0x80:
        return pdu[1] if len(pdu) == 2 else f"exception reply of {len(pdu) + HEADER} bytes, it has {HEADER + 2}"
    if function != question.function:
        return f"reply with function code {function}, asked with {question.function}"
    if function == IDENTIFY:
        return pdu[2:] if pdu[1] == IDENTIFY_MEI else f"reply of kind {pdu[1]} to an identification of 14"
    carried = len(pdu) - 2
    if pdu[1] != carried:
        return f"reply that counts {pdu[1]} bytes and carries {carried}"
    if carried != question.size:
        return f"reply of {carried} bytes, asked for {question.size}"
    return pdu[2:]


def refusal_text(code: int) -> str:
    """The reason a bad row carries for exception ``code``."""
    return f"device refused: exception {code} ({REFUSALS.get(code, 'unknown code')})"

"""What passes between the agent and the process that reads one server: frames of a length, a kind and a body.

The agent asks in JSON; rows come back as columns, the few things that are no numbers as JSON behind them.
"""

from __future__ import annotations

import json
import struct
from typing import Any, NamedTuple

from .values import Block, Column

HEAD = struct.Struct("<IB")
MAX_FRAME = 8_000_000
"""Longest frame, in bytes, that either side takes."""

CONNECT, READ, IDENTIFY = 1, 2, 3
READY, PART, CHANGE, IDENTITY, FAULT = 16, 17, 18, 19, 20
LOST, HOSTILE, REFUSED, SILENT, CLOSED = "lost", "hostile", "refused", "silent", "closed"
"""Kinds of FAULT: FieldError, HostileError, SendRefused, SilentError, RefusedError (nobody listens there)."""

_PART = struct.Struct("<IBIIB" + "cIH" * 6)


class Part(NamedTuple):
    """``block`` holds the rows from ``first`` on of the answer to question ``serial``; ``last``: none follow."""

    serial: int
    last: bool
    first: int
    block: Block


class FrameError(ValueError):
    """A frame that the other side should never have made."""


def pack_json(kind: int, body: object) -> bytes:
    data = json.dumps(body, ensure_ascii=True, separators=(",", ":")).encode()
    return HEAD.pack(len(data), kind) + data


def unpack_json(body: bytes | memoryview) -> dict[str, Any]:
    """Raises FrameError."""
    try:
        found = json.loads(bytes(body))
    except (ValueError, RecursionError) as exc:
        raise FrameError(f"not JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise FrameError("not a JSON object")
    return found


def pack_part(kind: int, part: Part) -> list[bytes | memoryview]:
    """In pieces, to be sent one after the other."""
    block = part.block
    columns = [
        item for column in block.columns for item in (column.letter.encode() or b" ", column.first, column.stride)
    ]
    head = _PART.pack(part.serial, part.last, part.first, block.n, block.form, *columns)
    tail = b""
    if block.exact or block.reasons:
        tail = json.dumps([list(block.exact.items()), list(block.reasons.items())], separators=(",", ":")).encode()
    length = len(head) + 4 + len(block.data) + len(tail)
    return [HEAD.pack(length, kind) + head + len(block.data).to_bytes(4, "little"), block.data, tail]


def unpack_part(body: bytes | memoryview) -> Part:
    """The columns' places are not checked here: numpy refuses those that leave the data. Raises FrameError."""
    try:
        serial, last, first, n, form, *columns = _PART.unpack_from(body)
        size = int.from_bytes(body[_PART.size : _PART.size + 4], "little")
        start = _PART.size + 4
        data = memoryview(body)[start : start + size]
        tail = json.loads(bytes(body[start + size :])) if start + size < len(body) else [[], []]
        exact, reasons = ({int(row): item for row, item in pairs} for pairs in tail)
    except (struct.error, ValueError, TypeError, RecursionError) as exc:
        raise FrameError(f"not rows: {exc}") from exc
    kept = tuple(
        Column(columns[at].decode("latin-1").strip(), columns[at + 1], columns[at + 2]) for at in range(0, 18, 3)
    )
    return Part(serial, bool(last), first, Block(n, kept, data, form, exact, reasons))

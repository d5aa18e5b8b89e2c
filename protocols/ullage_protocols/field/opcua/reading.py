"""Cyclic reads of groups of nodes: in as few requests as the server allows, each encoded once."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

from ullage_protocols.field.errors import FieldError, HostileError

from . import services
from .channel import TooLarge
from .link import Link
from .nodeids import NodeId
from .services import ServiceFault
from .values import Block, Column, Decoder, told_block
from .wire import DecodeError

TOO_MUCH = frozenset({0x80100000, 0x80080000, 0x80B90000, 0x80B80000})
"""BadTooManyOperations, -EncodingLimitsExceeded, -ResponseTooLarge, -RequestTooLarge: less at once may pass."""
MOST_APART = 64
"""More nodes than this whose values cannot be decoded are no accident."""


class Batch:
    """Some rows of a group, read by one request. ``handles`` are needed where the rows do not follow one another."""

    def __init__(self, rows: Sequence[int], nodes: Sequence[NodeId]) -> None:
        self.rows, self.nodes = list(rows), list(nodes)
        self.request = services.read(nodes)
        self.decoder = Decoder()
        following = list(range(rows[0], rows[0] + len(rows)))
        self.handles = b"" if self.rows == following else array("I", rows).tobytes()

    def placed(self, block: Block) -> Block:
        """``block`` with its rows' places, where it needs them."""
        if not self.handles:
            return block
        data = bytes(block.data)
        columns = (Column("I", len(data), 4), *block.columns[1:])
        return block._replace(columns=columns, data=data + self.handles)

    def halves(self) -> list[Batch]:
        middle = len(self.rows) // 2
        return [
            Batch(self.rows[:middle], self.nodes[:middle]),
            Batch(self.rows[middle:], self.nodes[middle:]),
        ]


class Group:
    """Nodes that are read together; a node of None has a reason in ``missing`` why it has no place on the server."""

    def __init__(self, link: Link, nodes: Sequence[NodeId | None], missing: dict[int, str], limit: int) -> None:
        self._link, self._limit = link, limit
        self._nodes = nodes
        self.n = len(nodes)
        self._missing = missing
        self.apart: set[int] = set()
        self._batches = self._plan()

    def read(self) -> Iterator[tuple[int, Block]]:
        """First row and rows, block by block; every row once. Raises FieldError."""
        if self._missing:
            rows = sorted(self._missing)
            block = told_block([self._missing[row] for row in rows])
            data = bytes(block.data)
            columns = (Column("I", len(data), 4), *block.columns[1:])
            yield 0, block._replace(columns=columns, data=data + array("I", rows).tobytes())
        again = False
        queue = list(reversed(self._batches))
        while queue:
            batch = queue.pop()
            if found := self._ask(batch):
                yield (0 if batch.handles else batch.rows[0]), batch.placed(found)
            else:
                again = True
                queue += reversed(batch.halves())
        if again:
            self._batches = self._plan()

    def _plan(self) -> list[Batch]:
        together = [row for row, node in enumerate(self._nodes) if node is not None and row not in self.apart]
        size = self._limit or len(together) or 1
        rows = [together[at : at + size] for at in range(0, len(together), size)]
        rows += [[row] for row in sorted(self.apart)]
        return [Batch(some, [node for row in some if (node := self._nodes[row]) is not None]) for some in rows]

    def _ask(self, batch: Batch) -> Block | None:
        """The rows of ``batch``; None where it is to be asked for in halves."""
        alone = len(batch.rows) == 1
        try:
            reader = self._link.ask(batch.request)
        except (ServiceFault, TooLarge) as fault:
            if alone or (isinstance(fault, ServiceFault) and fault.status not in TOO_MUCH):
                raise FieldError(f"server refused to read: {fault}") from fault
            self._limit = len(batch.rows) // 2
            return None
        n = int.from_bytes(reader.data[reader.at : reader.at + 4], "little", signed=True)
        if n != len(batch.rows):
            return told_block([f"server gave {n} values, asked for {len(batch.rows)}"] * len(batch.rows))
        try:
            block = batch.decoder.decode(reader)
            services.end(reader)
        except DecodeError as fault:
            if not alone:
                return None
            self.apart.add(batch.rows[0])
            if len(self.apart) > MOST_APART:
                raise HostileError(f"the values of more than {MOST_APART} nodes cannot be decoded: {fault}") from fault
            return told_block([f"value cannot be decoded: {fault}"])
        return block

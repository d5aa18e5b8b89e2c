"""Read planning, pure: neighbouring tags share a request, and a refused request falls apart by halves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ullage_protocols.field.modbus.addresses import BIT_TABLES, TABLES, Table
from ullage_protocols.field.modbus.spec import MAX_BITS, ModbusTag


@dataclass(frozen=True, slots=True)
class Block:
    """One read request: ``count`` registers (or bits) of ``table`` from ``address`` (zero-based).

    ``tags`` are positions in the tags that were planned, by ascending address.
    """

    table: Table
    address: int
    count: int
    tags: tuple[int, ...]

    @property
    def end(self) -> int:
        """The address after the last one asked for."""
        return self.address + self.count


def plan(
    tags: Sequence[ModbusTag],
    *,
    max_registers: int,
    max_gap: int,
    apart: Callable[[str, int, int], bool] = lambda _table, _start, _end: False,
) -> tuple[Block, ...]:
    """The fewest blocks that merging neighbours gives, every tag in exactly one of them.

    Two neighbours merge when at most ``max_gap`` unasked registers (or bits, 16 to a register) lie between
    them, the block stays within ``max_registers`` (2000 bits for coils and discrete inputs), and ``apart`` does not
    say that its table, start and end may not be asked for in one request.
    """
    blocks: list[Block] = []
    for table in TABLES:
        limit, gap = (MAX_BITS, max_gap * 16) if table in BIT_TABLES else (max_registers, max_gap)
        order = sorted(
            (position for position, tag in enumerate(tags) if tag.table == table),
            key=lambda position: (tags[position].address, position),
        )
        run: list[int] = []
        start = end = 0
        for position in order:
            tag = tags[position]
            reach = max(end, tag.address + tag.width)
            if run and (tag.address - end > gap or reach - start > limit or apart(table, start, reach)):
                blocks.append(_block(tags, run))
                run = []
            if not run:
                start, reach = tag.address, tag.address + tag.width
            run.append(position)
            end = reach
        if run:
            blocks.append(_block(tags, run))
    return tuple(blocks)


def split(block: Block, tags: Sequence[ModbusTag]) -> tuple[Block, ...]:
    """``block`` in two, at its widest gap, the one nearest the middle among equals.

    A block of one tag stays as it is: the hole is that tag's own.
    """
    if len(block.tags) < 2:
        return (block,)
    middle = len(block.tags) / 2
    ends: list[int] = []
    for position in block.tags:
        end = tags[position].address + tags[position].width
        ends.append(max(end, ends[-1]) if ends else end)
    cut = max(
        range(1, len(block.tags)),
        key=lambda at: (max(tags[block.tags[at]].address - ends[at - 1], 0), -abs(at - middle)),
    )
    return _block(tags, block.tags[:cut]), _block(tags, block.tags[cut:])


def _block(tags: Sequence[ModbusTag], positions: Sequence[int]) -> Block:
    first = tags[positions[0]]
    end = max(tags[position].address + tags[position].width for position in positions)
    return Block(first.table, first.address, end - first.address, tuple(positions))

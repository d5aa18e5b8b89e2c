"""What a device refuses to give, learned from its refusals and remembered; pure, time is an argument.

A refused block of several tags is asked in two parts. A refused block of one tag is a hole. Where two parts are
answered that were refused as one, the seam between them is a cut: registers between that do not exist, or a device
that dislikes long requests. A cut that a hole beside it explains is healed. Holes and cuts are tried again, seldom.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ullage_protocols.field.modbus.addresses import Table
from ullage_protocols.field.modbus.blocks import Block, split
from ullage_protocols.field.modbus.spec import ModbusTag

SPLITTING = frozenset({2, 3})
"""Exceptions that a hole in a merged block can cause: illegal address, illegal value."""
RETRY_HOLE = 60.0
"""Seconds until a refused tag is asked again."""
RETRY_CUT = 3600.0
"""Seconds until what was refused as one is asked as one again."""


@dataclass(frozen=True, slots=True)
class Hole:
    """``count`` registers or bits from ``address`` that were refused with exception ``code``.

    ``cut`` tells that not they are missing but that a request over ``cut`` is refused; it is the address where the
    second part begins. None for a hole of its own.
    """

    table: Table
    address: int
    count: int
    code: int
    cut: int | None = None

    @property
    def end(self) -> int:
        """The address after its last one."""
        return self.address + self.count


class Holes:
    """The holes of one device. Times are seconds of any one steady clock."""

    def __init__(self, known: Iterable[Hole] = (), now: float = 0.0) -> None:
        self._until: dict[Hole, float] = {hole: now + _pause(hole) for hole in known}
        self.version = 0
        """Moves on whenever a plan made before is no longer the best."""

    def known(self) -> tuple[Hole, ...]:
        """All of them, to be given to ``Holes`` again after a restart."""
        return tuple(self._until)

    def refused(self, block: Block, tags: Sequence[ModbusTag], code: int, now: float) -> tuple[Block, ...]:
        """Learns that ``block`` was refused; the parts to ask instead, none where it is a hole of its own."""
        parts = split(block, tags)
        whole = (block.address, block.count)
        asked = tuple(part for part in parts if (part.address, part.count) != whole)
        if len(asked) < 2:
            self._remember(Hole(block.table, *whole, code), now)
        else:
            self._remember(Hole(block.table, *whole, code, parts[1].address), now)
        return asked

    def answered(self, block: Block) -> None:
        """Learns that a hole on trial was answered: it is none, and the cuts that it explained are healed."""
        hole = self._hole(block)
        if hole is not None:
            self.version += 1
            del self._until[hole]
            for cut in [known for known in self._until if known.cut is not None and _inside(hole, known)]:
                if not self._explained(cut):
                    del self._until[cut]

    def missing(self, block: Block, now: float) -> int | None:
        """The exception code of a block that is a hole of its own and not yet to be tried again, else None."""
        hole = self._hole(block)
        return None if hole is None or self._until[hole] <= now else hole.code

    def due(self, now: float) -> None:
        """Holes whose time has come go on trial: ``missing`` no longer holds them back. Cuts are forgotten."""
        if not self._until:
            return
        for hole in [hole for hole, until in self._until.items() if until <= now]:
            self.version += 1
            if hole.cut is not None:
                del self._until[hole]

    def apart(self, table: str, start: int, end: int) -> bool:
        """Whether addresses ``start`` to ``end`` of ``table`` may not be asked for in one request."""
        return any(
            hole.table == table
            and (
                hole.address < end and start < hole.end
                if hole.cut is None
                else start < hole.cut < end and not self._explained(hole)
            )
            for hole in self._until
        )

    def _hole(self, block: Block) -> Hole | None:
        span = (block.table, block.address, block.count, None)
        return next((hole for hole in self._until if (hole.table, hole.address, hole.count, hole.cut) == span), None)

    def _remember(self, hole: Hole, now: float) -> None:
        twin = next((known for known in self._until if replace(known, code=hole.code) == hole), None)
        if twin is None or twin.code != hole.code or self._until[twin] <= now:
            self.version += 1
        if twin is not None:
            del self._until[twin]
        self._until[hole] = now + _pause(hole)

    def _explained(self, cut: Hole) -> bool:
        """Whether a hole inside the refused stretch is reason enough for its refusal."""
        return any(hole.cut is None and _inside(hole, cut) for hole in self._until)


def _inside(hole: Hole, cut: Hole) -> bool:
    return hole.table == cut.table and cut.address <= hole.address and hole.end <= cut.end


def _pause(hole: Hole) -> float:
    return RETRY_HOLE if hole.cut is None else RETRY_CUT

"""What registers seem to hold, from a few readings of them some time apart. Pure; every answer is a guess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from ullage_protocols.field.modbus.addresses import BIT_TABLES, Table
from ullage_protocols.field.modbus.spec import Order
from ullage_protocols.field.modbus.swapped import decode, score

Words = Mapping[int, int]
"""What stands at each address."""
_ORDERS: tuple[Order, ...] = ("ABCD", "CDAB", "BADC", "DCBA")
_LIKELY = -2.0
"""The mean score from which on two registers may be a float."""
_SETTING = 3.0
"""The score of a float that stands still: a number of few digits, as settings are."""
_STEP = 2000
"""A count goes up by less than this between two readings."""


@dataclass(frozen=True, slots=True)
class Guess:
    """A tag: ``type`` and ``order`` as in a configuration. ``sure`` False: to be written down, but commented out."""

    table: Table
    address: int
    type: str
    value: float | int | bool | str
    why: str
    order: str = "ABCD"
    role: str = "measurement"
    bit: int | None = None
    sure: bool = True
    name: str = ""
    scale: float = 1.0
    unit: str = ""
    none: tuple[int, ...] = ()
    length: int = 0


class _Chain(NamedTuple):
    """Pairs that do not overlap, the last one first, and what they are worth together."""

    worth: float
    at: int
    before: _Chain | None


def guesses(table: Table, passes: Sequence[Words], taken: frozenset[int] = frozenset()) -> list[Guess]:
    """In order of address; ``taken`` are addresses whose meaning is known already.

    What stood at 0 all the time is left out: most of a device's places hold nothing.
    """
    addresses = sorted(set.intersection(*(set(one) for one in passes)) - taken) if passes else []
    if table in BIT_TABLES:
        bits = (_bit(table, at, [one[at] for one in passes]) for at in addresses)
        return [guess for guess in bits if guess.sure or guess.value]
    floats = _floats(table, addresses, passes)
    inside = {guess.address + half for guess in floats for half in (0, 1)}
    found = floats + [
        guess
        for at in addresses
        if at not in inside and (guess := _whole(table, at, [one[at] for one in passes])) is not None
    ]
    return sorted(found, key=lambda guess: guess.address)


def counts_up(values: Sequence[int], modulus: int) -> bool:
    """Whether ``values`` only ever go up, at least twice, or once of two; starting over at ``modulus`` is allowed."""
    steps = [(b - a) % modulus for a, b in pairwise(values)]
    ups = sum(step > 0 for step in steps)
    return bool(steps) and all(step < _STEP for step in steps) and ups >= min(2, len(steps))


def _bit(table: Table, at: int, values: Sequence[int]) -> Guess:
    moves = len(set(values)) > 1
    return Guess(table, at, "bit", bool(values[-1]), "toggled" if moves else "stood still", role="state", sure=moves)


def _floats(table: Table, addresses: Sequence[int], passes: Sequence[Words]) -> list[Guess]:
    """Pairs of registers that read as floats, in the one order for which most of them do."""
    there = set(addresses)
    pairs = [at for at in addresses if at + 1 in there]
    chosen: list[tuple[int, list[float]]] = []
    most, order = 0.0, _ORDERS[0]
    for one in _ORDERS:
        rated = {at: found for at in pairs if (found := _rated(at, one, passes)) is not None}
        worth, places = _apart({at: score for at, (score, _) in rated.items()})
        if worth > most:
            most, order, chosen = worth, one, [(at, rated[at][1]) for at in places]
    return [_float(table, at, values, order) for at, values in chosen]


def _apart(rated: Mapping[int, float]) -> tuple[float, list[int]]:
    """Those of the pairs at these addresses that do not overlap and are worth the most together."""
    done, before_last, last = _Chain(0.0, -1, None), _Chain(0.0, -1, None), -2
    for at in sorted(rated):
        # The pair one register before shares one with this: then what is best without it counts.
        before = before_last if at == last + 1 else done
        found = _Chain(before.worth + rated[at] - _LIKELY + 1.0, at, before)
        before_last, last = done, at
        done = found if found.worth > done.worth else done
    worth, places = done.worth, []
    while done.before is not None:
        places.append(done.at)
        done = done.before
    return worth, places[::-1]


def _float(table: Table, at: int, values: list[float], order: Order) -> Guess:
    moves = len(set(values)) > 1
    rises = moves and all(b >= a for a, b in pairwise(values)) and values[0] >= 0
    why = "only rises: an energy meter or a total?" if rises else "moves" if moves else "stands still: a setting?"
    return Guess(table, at, "float32", values[-1], why, order)


def _rated(at: int, order: Order, passes: Sequence[Words]) -> tuple[float, list[float]] | None:
    values = [
        float(decode(one[at].to_bytes(2, "big") + one[at + 1].to_bytes(2, "big"), "float32", order)) for one in passes
    ]
    if any(value == 0 for value in values):
        return None
    rated = sum(score(value, "float32") for value in values) / len(values)
    if len(set(values)) == 1:
        return (rated, values) if rated >= _SETTING else None
    spread = max(map(abs, values)) / min(map(abs, values))
    return (rated, values) if rated >= _LIKELY and spread < 100 and len({value > 0 for value in values}) == 1 else None


def _whole(table: Table, at: int, values: Sequence[int]) -> Guess | None:
    last = values[-1]
    if len(set(values)) == 1:
        return Guess(table, at, "uint16", last, "stands still", sure=False) if last else None
    if counts_up(values, 0x10000):
        return Guess(table, at, "uint16", last, "only counts up", role="count")
    changed = 0
    for a, b in pairwise(values):
        changed |= a ^ b
    if changed.bit_count() <= 2 and max(values) - min(values) > 2:
        bit = changed.bit_length() - 1
        return Guess(table, at, "bit", bool(last >> bit & 1), f"bit {bit} toggled", role="state", bit=bit)
    signed = any(value >= 0x8000 for value in values) and any(value < 0x8000 for value in values)
    return Guess(
        table, at, "int16" if signed else "uint16", last - 0x10000 if signed and last >= 0x8000 else last, "moves"
    )

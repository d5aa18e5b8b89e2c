"""What was found, as a person reads it and as a script does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ullage_protocols.field.base import Identity

from ..table_text import columns
from .found import ServerFound, UnitFound
from .guess import Guess
from .modbus import spans
from .opcua import usable
from .starting import shown

_LINES = 200


def as_json(units: Sequence[UnitFound], server: ServerFound | None) -> str:
    """One object: ``units``, or ``server``."""
    told: dict[str, Any] = {"units": [_unit(unit) for unit in units]} if server is None else {"server": asdict(server)}
    return json.dumps(told, ensure_ascii=False, default=str)


def _unit(unit: UnitFound) -> dict[str, Any]:
    identity = unit.identity
    return {
        "unit": unit.device.unit,
        "vendor": identity.vendor,
        "product": identity.product,
        "model": identity.model,
        "firmware": identity.firmware,
        "ranges": {table: [list(one) for one in ranges] for table, ranges in unit.ranges.items()},
        "whole": unit.whole,
        "sunspec": [{**one._asdict(), "name": one.name} for one in unit.models],
        "tags": [asdict(guess) for guess in unit.guesses],
        "notes": unit.notes,
    }


def units_text(units: Sequence[UnitFound]) -> str:
    """Each unit with its identity, ranges, models, and what its registers may hold."""
    if not units:
        return "no unit answers; try others with --units, or a longer --timeout"
    return "\n\n".join("\n".join(_unit_lines(unit)) for unit in units)


def _unit_lines(unit: UnitFound) -> Iterator[str]:
    yield f"unit {unit.device.unit} at {unit.device.where}: {_identity(unit.identity)}"
    for table, ranges in unit.ranges.items():
        count = sum(one.end - one.start for one in ranges)
        yield f"  {table:<9} {spans(ranges)} ({count} readable)" if count else f"  {table:<9} none readable"
    for model in unit.models:
        yield f"  SunSpec   {model.id} {model.name}, at holding:{model.address}, {model.length} registers"
    for note in unit.notes:
        yield f"  note      {note}"
    likely = [guess for guess in unit.guesses if guess.sure]
    if likely:
        yield ""
        rows = [("address", "type", "order", "role", "value", ""), *map(_row, likely[:_LINES])]
        yield from (f"  {line}" for line in columns(rows))
        if len(likely) > _LINES:
            yield f"  and {len(likely) - _LINES} more; see --json or --out"
    if still := sum(not guess.sure for guess in unit.guesses):
        yield f"  {still} more hold a value but stood still; --out writes them as comments"


def _row(guess: Guess) -> tuple[str, ...]:
    order = guess.order if guess.type.startswith("float") else ""
    place = f"{guess.table}:{guess.address}" + (f" bit {guess.bit}" if guess.bit is not None else "")
    return place, guess.type, order, guess.role, f"{shown(guess.value)} {guess.unit}".strip(), guess.why


def _identity(identity: Identity) -> str:
    said = (identity.vendor, identity.product, identity.model, identity.firmware)
    return " ".join(text for text in said if text) or "does not say what it is"


def server_text(server: ServerFound) -> str:
    """The server's identity, ways in and variables."""
    told = server.told
    said = " ".join(str(told[key]) for key in ("vendor", "product", "model", "firmware", "state") if told.get(key))
    lines = [f"{server.url}: {said or 'does not say what it is'}"]
    endpoints = told.get("endpoints")
    offers = endpoints if isinstance(endpoints, list) else []
    lines += [f"  offers    {way[1]} {way[2]} ({', '.join(way[3])})" for way in offers]
    nodes = usable(server.nodes)
    lines.append(
        f"  variables {len(server.nodes)}, {len(nodes)} of them numbers, truths or texts"
        + ("" if server.whole else "; there are more")
    )
    rows = [
        (node.node, node.type, node.role, shown(node.value), node.meaning or node.path)
        for node in nodes[:_LINES]
    ]  # fmt: skip
    lines += ["", *(f"  {line}" for line in columns([("node", "type", "role", "value", ""), *rows]))]
    if len(nodes) > _LINES:
        lines.append(f"  and {len(nodes) - _LINES} more; see --json or --out")
    return "\n".join(lines)

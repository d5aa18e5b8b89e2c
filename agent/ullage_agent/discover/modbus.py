"""Looks at Modbus units: who answers, what can be read, what moves. One request at a time, and only so many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import cast, get_args

from ullage_protocols.field.base import FieldError, HostileError, SilentError
from ullage_protocols.field.modbus.addresses import BIT_TABLES, Table
from ullage_protocols.field.modbus.bus import BusPool
from ullage_protocols.field.modbus.client import ModbusClient
from ullage_protocols.field.modbus.frames import read_question
from ullage_protocols.field.modbus.spec import MAX_BITS, MAX_REGISTERS, ModbusDevice

from .found import UnitFound
from .guess import Words, guesses
from .ranges import Range, Search
from .sunspec import Model, tags, walk
from .target import ModbusTarget

_TABLES = ("holding", "input", "coil", "discrete")
_NO_FUNCTION = 1
_NOBODY = frozenset({4, 10, 11})
"""Exceptions by which servers and gateways say that there is no such unit; a unit itself would name what it lacks."""
_SILENCES = 3
"""So many questions running may stay without an answer before a table is given up."""
_SEARCH, _WATCH = 0.6, 5
"""The part of a unit's requests that the search for ranges may take, and the most readings of what was found."""

Tell = Callable[[str, float], None]
"""Told what is being done and the share of the requests that is spent."""
Told = bytes | int | str
"""Values, an exception code, or why there are neither."""


class Spent(Exception):
    """The requests are used up."""


class Asker:
    """Asks one unit after another over what they share. ``most`` requests in all, ``pause`` seconds after each."""

    def __init__(self, most: int, pause: float, tell: Tell) -> None:
        self.pool = BusPool()
        self.asked, self.most = 0, most
        self._pause, self._tell = pause, tell

    @property
    def left(self) -> int:
        return self.most - self.asked

    async def ask(self, device: ModbusDevice, table: Table, address: int, count: int, limit: int = 0) -> Told:
        """Raises Spent after ``limit`` requests in all (0: the agreed most), FieldError where nobody is there."""
        if self.asked >= (limit or self.most):
            raise Spent
        self.asked += 1
        self._tell(f"unit {device.unit}", self.asked / self.most)
        way = self.pool.way(device)
        question = read_question(device.unit, table, address, count)
        raw = bytearray(question.size)
        await way.open()
        try:
            answer = (await way.ask((question,), raw)).failed.get(0)
        except SilentError:
            answer = "silent"
        except HostileError as exc:
            answer = str(exc)
        except FieldError as exc:
            if exc.cause != "closed":
                raise
            answer = str(exc)
        await asyncio.sleep(self._pause)
        return bytes(raw) if answer is None else answer


async def look(target: ModbusTarget, most: int, pause: float, watch: float, tell: Tell) -> list[UnitFound]:
    """Every unit of ``target`` that answers. FieldError where the place itself cannot be reached."""
    asker = Asker(most, pause, tell)
    shared = target.device.protocol == "modbus-tcp"
    answers: dict[ModbusDevice, Told] = {}
    for unit in target.units:
        device = replace(target.device, name=f"unit-{unit}", unit=unit, share=shared)
        answer = await asker.ask(device, "holding", 0, 1)
        if not isinstance(answer, str) and (answer not in _NOBODY or len(target.units) == 1):
            answers[device] = answer
    devices, notes = list(answers), []
    if shared and len(target.units) > 2 and len(devices) == len(target.units) and len(set(answers.values())) == 1:
        notes = [f"it answers whatever unit is asked, in the same way; unit {devices[0].unit} stands for all"]
        devices = devices[:1]
    found = []
    for position, device in enumerate(devices):
        share = asker.asked + asker.left // (len(devices) - position)
        found.append(await _unit(asker, device, share, watch))
        found[-1].notes = notes + found[-1].notes
    return found


async def _unit(asker: Asker, device: ModbusDevice, limit: int, watch: float) -> UnitFound:
    found = UnitFound(device)
    client = ModbusClient(device, lambda: datetime.now(UTC), asker.pool)
    try:
        await client.connect()
        found.identity = await client.identify()
    except FieldError as exc:
        found.notes.append(f"it does not say what it is: {exc}")
    finally:
        await client.close()
    stop = asker.asked + int((limit - asker.asked) * _SEARCH)
    try:
        await _models(asker, found, stop)
        for table in _TABLES:
            await _search(asker, found, cast(Table, table), stop)
    except Spent:
        found.whole = False
        found.notes.append("the search has used up its requests, there may be more: give it a larger --max-requests")
    await _watch(asker, found, limit, watch)
    return found


async def _models(asker: Asker, found: UnitFound, stop: int) -> None:
    walking, answer = walk(), None
    bodies: dict[Model, bytes] = {}
    try:
        at, count = next(walking)
        while True:
            told = await asker.ask(found.device, "holding", at, count, stop)
            answer = told if isinstance(told, bytes) else None
            at, count = walking.send(answer)
    except StopIteration as end:
        found.models = end.value
    for model in found.models:
        told = await asker.ask(
            found.device, "holding", model.address, min(model.length + 2, MAX_REGISTERS), stop
        )  # fmt: skip
        bodies[model] = told if isinstance(told, bytes) else b""
    found.guesses += tags(found.models, bodies)


async def _search(asker: Asker, found: UnitFound, table: Table, stop: int) -> None:
    search = Search(MAX_BITS if table in BIT_TABLES else MAX_REGISTERS)
    running, silent = search.run(), 0
    found.ranges[table] = search.found
    try:
        at, count = next(running)
        while True:
            told = await asker.ask(found.device, table, at, count, stop)
            if told == _NO_FUNCTION:
                break
            silent = silent + 1 if told == "silent" else 0
            if silent >= _SILENCES:
                found.notes.append(f"{table}: {_SILENCES} questions running stayed without an answer; given up")
                break
            at, count = running.send(isinstance(told, bytes))
    except StopIteration:
        pass
    finally:
        found.ranges[table] = search.found
    if search.enough:
        found.whole = False
        found.notes.append(f"{table}: so much can be read that the search ended early")


async def _watch(asker: Asker, found: UnitFound, limit: int, seconds: float) -> None:
    """Reads what was found several times, as often as there are requests for, and guesses what it holds."""
    blocks = [
        (cast(Table, table), at, min(size, one.end - at))
        for table, ranges in found.ranges.items()
        for size in (MAX_BITS if table in BIT_TABLES else MAX_REGISTERS,)
        for one in ranges
        for at in range(one.start, one.end, size)
    ]
    left = limit - asker.asked
    if not blocks or left < 2:
        return
    if len(blocks) > left // 2:
        found.notes.append(f"only {left // 2} of {len(blocks)} blocks are watched; give it a larger --max-requests")
        blocks = blocks[: left // 2]
    times = min(_WATCH, left // len(blocks))
    passes: list[dict[str, dict[int, int]]] = []
    for number in range(times):
        if number:
            await asyncio.sleep(seconds / (times - 1))
        passes.append({table: {} for table in get_args(Table)})
        for table, at, count in blocks:
            told = await asker.ask(found.device, table, at, count)
            if isinstance(told, bytes):
                passes[-1][table].update(_words(table, at, count, told))
    known = frozenset(
        address for model in found.models for address in range(model.address - 2, model.address + model.length + 4)
    )
    for name in _TABLES:
        seen: list[Words] = [one[name] for one in passes]
        found.guesses += guesses(cast(Table, name), seen, known if name == "holding" else frozenset())


def _words(table: str, at: int, count: int, raw: bytes) -> dict[int, int]:
    if table in BIT_TABLES:
        return {at + bit: raw[bit // 8] >> bit % 8 & 1 for bit in range(count)}
    return {at + word: int.from_bytes(raw[2 * word : 2 * word + 2], "big") for word in range(count)}


def spans(ranges: list[Range]) -> str:
    """Ranges as a person reads them: first and last address."""
    shown = [f"{one.start}-{one.end - 1}" if one.end - one.start > 1 else str(one.start) for one in ranges]
    return ", ".join(shown[:12]) + (f" and {len(shown) - 12} more" if len(shown) > 12 else "")

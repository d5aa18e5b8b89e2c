"""The line controller's registers over a ``PlantHost``: the table of ``tags`` read and written as Modbus registers."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

from ..errors import RefusedWriteError
from ..host import PlantHost
from ..tags import (
    CLEAR_FORCES,
    ENGINEERING,
    FORCE_COUNT,
    FORCE_MODE,
    FORCE_TAG,
    FORCE_VALUE,
    SILENCE,
    TAGS,
    PlantTag,
    Register,
    Table,
)


def _on(table: Table) -> dict[int, PlantTag]:
    return {tag.register.address: tag for tag in TAGS if tag.register and tag.register.table == table}


def float_words(value: float) -> list[int]:
    """A float32 as two registers, big end first; what does not fit becomes NaN."""
    try:
        return list(struct.unpack(">HH", struct.pack(">f", value)))
    except OverflowError:
        return [0x7FC0, 0]


def words_float(words: list[int]) -> float:
    """Two registers, big end first, as a float."""
    value: float = struct.unpack(">f", struct.pack(">HH", *words))[0]
    return value


def encode(value: float, register: Register) -> list[int]:
    """A reported value as the words of its register; beyond the range of a uint16 it is held at the end."""
    if register.kind == "float32":
        return float_words(value)
    return [min(65535, max(0, math.floor(value)))]


class LineImage:
    """Image of the line controller, unit 1; ``refresh`` brings the plant up to the present."""

    def __init__(self, host: PlantHost, refresh: Callable[[], object] = bool) -> None:
        self._host = host
        self._refresh = refresh
        self._coils, self._discretes, self._holding = _on("coil"), _on("discrete"), _on("holding")
        self.coils, self.discretes = len(self._coils), len(self._discretes)
        last = self._holding[max(self._holding)].register
        self._process = range(last.address + last.width if last else 0)
        self.holding = (self._process, ENGINEERING)
        self._block = [0] * len(ENGINEERING)

    def refresh(self) -> None:
        """Bring the plant up to the present."""
        self._refresh()

    def silent(self) -> bool:
        """Whether the device leaves requests without an answer."""
        return self._host.silent()

    def read_coils(self) -> list[bool]:
        """Run command and trip reset."""
        report = self._host.report()
        return [bool(report[tag.name]) for _, tag in sorted(self._coils.items())]

    def read_discretes(self) -> list[bool]:
        """Running and high-high level."""
        report = self._host.report()
        return [bool(report[tag.name]) for _, tag in sorted(self._discretes.items())]

    def read_holding(self, block: range) -> list[int]:
        """The process block or the engineering block."""
        if block is ENGINEERING:
            self._block[FORCE_COUNT - FORCE_TAG] = len(self._host.forces)
            return list(self._block)
        report = self._host.report()
        words = [0] * len(block)
        for address, tag in self._holding.items():
            if tag.register is not None:
                words[address : address + tag.register.width] = encode(report[tag.name], tag.register)
        return words

    def write_coils(self, address: int, values: list[bool], who: str) -> None:
        """Run command and trip reset, in order of address."""
        for offset, value in enumerate(values):
            tag = self._coils.get(address + offset)
            if tag is None:
                raise RefusedWriteError(f"coil {address + offset} does not exist")
            self._host.command(tag.name, float(value), who)

    def write_holding(self, address: int, values: list[int], who: str) -> None:
        """Setpoints as whole float32 values, or the engineering block. Checked before anything is changed."""
        if address in ENGINEERING:
            self._engineer(address, values, who)
            return
        writes: list[tuple[str, float]] = []
        offset = 0
        while offset < len(values):
            tag = self._holding.get(address + offset)
            if tag is None or tag.register is None or not tag.writable or offset + tag.register.width > len(values):
                raise RefusedWriteError(
                    f"holding register {address + offset} cannot be written so: see the register map"
                )
            value = words_float(values[offset : offset + 2])
            if tag.lowest is None or tag.highest is None or not tag.lowest <= value <= tag.highest:
                raise RefusedWriteError(f"{tag.name} = {value!r} is out of range")
            writes.append((tag.name, value))
            offset += tag.register.width
        for name, value in writes:
            self._host.command(name, value, who)

    def _engineer(self, address: int, values: list[int], who: str) -> None:
        written = range(address, address + len(values))
        if written.stop > FORCE_COUNT:
            raise RefusedWriteError(f"holding register {FORCE_COUNT} is read only")
        before = list(self._block)
        self._block[address - FORCE_TAG : written.stop - FORCE_TAG] = values
        block = self._block
        try:
            if FORCE_MODE in written:
                value = words_float(block[FORCE_VALUE - FORCE_TAG : FORCE_VALUE - FORCE_TAG + 2])
                self._host.force(block[0], block[FORCE_MODE - FORCE_TAG], value, who)
        except RefusedWriteError:
            self._block = before
            raise
        if SILENCE in written and block[SILENCE - FORCE_TAG]:
            self._host.keep_silent(block[SILENCE - FORCE_TAG], who)
        if CLEAR_FORCES in written and block[CLEAR_FORCES - FORCE_TAG]:
            self._host.clear_forces(who)
        # Pulses: they read 0 again.
        block[SILENCE - FORCE_TAG] = block[CLEAR_FORCES - FORCE_TAG] = 0

"""What is compared: how each is configured for the same load, and how its messages are read.

Every contender reads ``Load.devices`` Modbus TCP devices with ``Load.registers`` holding registers each, every one of
them a named tag, once a scan interval. Register 1 counts its own reads (``plcsim``), so the values that arrive under
its tag say which polls arrived.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Load:
    """``scan`` in seconds, 0 for as fast as it goes; ``store`` asks for the store-and-forward that there is."""

    folder: Path
    base: int
    devices: int
    registers: int
    broker: int
    scan: float
    store: bool = False
    prompt: bool = False
    """What is measured is the first sample, so nothing should wait to be gathered."""
    tell: bool = False
    """What is measured is how soon a lost device is told, so whatever helps that is switched on."""


@dataclass(slots=True)
class Feed:
    """What has arrived at the broker. Written by one thread, read by the harness.

    ``tags`` counts named values, ``delivered`` the values of register 1 by device, ``told`` the first time and the
    words in which each device was said to be away.
    """

    first: float | None = None
    tags: int = 0
    bytes: int = 0
    messages: int = 0
    delivered: dict[int, set[int]] = field(default_factory=dict)
    told: dict[int, tuple[float, str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def sample(self, when: float, tags: int, device: int | None = None, serial: int | None = None) -> None:
        with self.lock:
            if self.first is None and tags:
                self.first = when
            self.tags += tags
            if device is not None and serial is not None:
                self.delivered.setdefault(device, set()).add(serial)

    def tell(self, when: float, device: int, words: str) -> None:
        with self.lock:
            self.told.setdefault(device, (when, words))


class Contender(Protocol):
    """``name`` is the word for it on the command line; ``does`` says what its messages carry beyond a value.

    ``paces`` are the scan intervals (s) that are tried for the most that one core sustains; 0 is as fast as it goes.
    """

    name: str
    does: str
    paces: tuple[float, ...]

    def missing(self) -> str:
        """What has to be installed first; empty when it can run."""
        ...

    def prepare(self, load: Load) -> tuple[list[str], dict[str, str]]:
        """Writes its configuration into ``load.folder``; gives command line and environment."""
        ...

    def attend(self, feed: Feed, port: int) -> Callable[[], None]:
        """Starts what must answer it at the broker on ``port``; gives what stops that."""
        ...

    def hear(self, feed: Feed, when: float, topic: str, payload: bytes) -> None:
        """Takes one message from the broker into ``feed``."""
        ...


def device_name(number: int) -> str:
    return f"d{number:02d}"


def device_number(name: str) -> int:
    """ValueError for what is no device's name."""
    if not name.startswith("d"):
        raise ValueError(name)
    return int(name[1:])


def blocks(registers: int) -> list[tuple[int, int]]:
    """Address and count of the reads that cover all registers."""
    return [(start, min(125, registers - start)) for start in range(0, registers, 125)]

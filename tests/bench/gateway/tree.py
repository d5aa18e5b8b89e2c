"""What a process and all its descendants cost, as the kernel tells it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """``cpu`` in seconds, with that of descendants that have ended; memory in MB; ``files`` open handles."""

    cpu: float
    rss: float
    pss: float
    files: int


def stat_fields(text: str) -> tuple[int, float]:
    """Parent and CPU seconds (own and of waited-for children) from a line of ``/proc/PID/stat``.

    >>> stat_fields("7 (a) b) S 3 7 7 0 -1 0 0 0 0 0 10 20 30 40 20 0 1 0")[0]
    3
    """
    fields = text.rpartition(")")[2].split()
    return int(fields[1]), sum(int(part) for part in fields[11:15]) / _TICK


def family(pid: int) -> list[int]:
    """``pid`` and its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                parent, _ = stat_fields(Path("/proc", entry, "stat").read_text())
                children.setdefault(parent, []).append(int(entry))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def cost(pid: int) -> Cost:
    """The cost of the whole tree now; what ends while it is looked at is left out."""
    cpu = rss = pss = 0.0
    files = 0
    for one in family(pid):
        with contextlib.suppress(OSError, ValueError, IndexError):
            cpu += stat_fields(Path(f"/proc/{one}/stat").read_text())[1]
            memory = _kilobytes(Path(f"/proc/{one}/smaps_rollup").read_text().splitlines())
            rss, pss = rss + memory["Rss"] / 1000, pss + memory["Pss"] / 1000
            files += len(os.listdir(f"/proc/{one}/fd"))
    return Cost(cpu, rss, pss, files)


def _kilobytes(lines: Iterable[str]) -> dict[str, float]:
    parts = (line.split() for line in lines)
    return {part[0].rstrip(":"): float(part[1]) * 1.024 for part in parts if len(part) == 3 and part[2] == "kB"}

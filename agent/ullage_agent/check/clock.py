"""Whether the gateway's clock can be right: not before what has happened already, and not far from the servers'."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from ullage_protocols import wire
from ullage_protocols.errors import WireError

from .. import __file__ as _installed
from ..config import Config
from ..errors import AgentError
from ..judging.baseline import load_baseline
from .found import PartFound

FAR = 60.0
"""Seconds between two clocks from which on one of them is wrong."""
NEAR = 2.0
_SET = "set it, best by a time server: `timedatectl set-ntp true`"


def part(config: Config, now: datetime, ahead: Sequence[tuple[str, float]]) -> PartFound:
    """``ahead`` are by how many seconds the clock of each OPC UA server is before ours."""
    return judged(now, list(_happened(config)), ahead)


def judged(now: datetime, happened: Sequence[tuple[str, datetime]], ahead: Sequence[tuple[str, float]]) -> PartFound:
    """``happened`` is what cannot lie in the future, and when it was. Pure."""
    faults = [
        f"it stands {_span((at - now).total_seconds())} before {what} ({at:%Y-%m-%d %H:%M:%S} UTC); {_SET}"
        for what, at in sorted(happened, key=lambda one: one[1])[-1:]
        if (at - now).total_seconds() > NEAR
    ]
    far = [(name, by) for name, by in ahead if abs(by) > FAR]
    if far:
        apart = ", ".join(f"{name} is {_span(abs(by))} {'ahead' if by > 0 else 'behind'}" for name, by in far[:4])
        right = f"if the gateway's is wrong, {_SET}; else have that of the device set"
        faults.append(f"clocks disagree: {apart}; {right}")
    told = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if faults:
        return PartFound("clock", False, f"{told}: {'; '.join(faults)}")
    if ahead:
        widest = max(ahead, key=lambda one: abs(one[1]))
        told += f"; {widest[0]} differs by {widest[1]:+.3f} s" + (", the most of all" if len(ahead) > 1 else "")
    return PartFound("clock", True, told)


def _happened(config: Config) -> Iterator[tuple[str, datetime]]:
    yield "this program was installed", datetime.fromtimestamp(Path(_installed).stat().st_mtime, UTC)
    try:
        baseline = load_baseline(config)
    except AgentError:
        baseline = None
    if baseline is not None:
        yield "the end of the baseline", baseline.end
    if (sealed := _sealed(config.state / "outbox.db")) is not None:
        yield "the last sealed record", sealed


def _sealed(path: Path) -> datetime | None:
    """When the last record was sealed, without touching the outbox; None where none was or it cannot be read."""
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)) as db:
            row = db.execute("SELECT value FROM kept WHERE name = 'time'").fetchone()
        return None if row is None else wire.parse_time(str(row[0]))
    except (sqlite3.Error, WireError, ValueError):
        return None


def _span(seconds: float) -> str:
    days, hours = int(seconds) // 86400, int(seconds) // 3600
    return f"{days} days" if days > 1 else f"{hours} h" if hours > 1 else f"{seconds:.0f} s"

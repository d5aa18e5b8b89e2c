"""What lies on the gateway's own disk: the state folder, keys, baseline; and whether an agent is at work there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ullage_protocols.errors import KeyFileError
from ullage_protocols.keys import PublicKey, SigningKey

from ..config import Config
from ..errors import AgentError, StateError
from ..judging.baseline import load_baseline
from ..local.door import ask
from ..lock import holder
from .found import PartFound

_SPARE = 10_000_000
"""Bytes that an outbox needs beside its records: journal, history, baseline."""


@dataclass(frozen=True, slots=True)
class AtWork:
    """The agent that runs on the state folder: its process and its devices' names, None where it says none."""

    process: int
    devices: tuple[str, ...] | None


def running(config: Config) -> AtWork | None:
    """The agent at work on the state folder, asked for its status only."""
    process = holder(config.state)
    if process is None:
        return None
    try:
        status = ask(config.state) or {}
        listed = status.get("devices")
        names = tuple(str(one["name"]) for one in listed) if isinstance(listed, list) else None
    except (StateError, KeyError, TypeError):
        names = None
    return AtWork(process, names)


def parts(config: Config, at_work: AtWork | None) -> Iterator[PartFound]:
    """Agent, state folder, key, scorer's key, baseline."""
    if at_work is not None:
        yield PartFound("agent", True, f"one is at work here (process {at_work.process}); it was not disturbed")
    yield _state(config)
    yield _key(config)
    yield _scorer(config)
    yield _baseline(config)


def _state(config: Config) -> PartFound:
    folder = config.state
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return PartFound("state", False, f"{there} is no folder; name another with state under [agent]")
    if not os.access(there, os.W_OK | os.X_OK):
        return PartFound("state", False, f"{there} cannot be written to by this user; mend its owner or mode")
    free, held = shutil.disk_usage(there).free, _size(folder / "outbox.db")
    wanted = max(config.outbox - held, 0) + _SPARE
    told = f"{folder}: {_bytes(free)} free on its disk, the outbox may take {_bytes(config.outbox)}"
    if free < wanted:
        return PartFound("state", False, f"{told}: too little room; make some, or lower limit under [outbox]")
    return PartFound("state", True, told if there == folder else f"{told}; the folder is made at the first run")


def _key(config: Config) -> PartFound:
    if not config.key.exists():
        return PartFound("key", True, f"{config.key} is made at the first run, or by `ullage-agent key`")
    try:
        key = SigningKey.from_file(config.key)
    except KeyFileError as exc:
        return PartFound("key", False, str(exc))
    return PartFound("key", True, f"{key.public.to_text()} (id {key.keyid})")


def _scorer(config: Config) -> PartFound:
    if config.scorer_file is None:
        return PartFound("scorer", False, "no public_key under [scorer]; `ullage-scorer enrol` prints it")
    try:
        key = PublicKey.from_file(config.scorer_file)
    except KeyFileError as exc:
        return PartFound("scorer", False, f"{exc}; `ullage-scorer enrol` prints the scorer's key, save it there")
    return PartFound("scorer", True, f"receipts count when signed by key id {key.keyid}")


def _baseline(config: Config) -> PartFound:
    try:
        baseline = load_baseline(config)
    except AgentError as exc:
        return PartFound("baseline", False, str(exc))
    if baseline is None:
        told = f"{config.baseline} is missing: it is learned from the first {config.learn:g} s of running"
        return PartFound("baseline", True, told)
    span = f"{baseline.start.isoformat()} to {baseline.end.isoformat()}"
    return PartFound("baseline", True, f"{baseline.rows} rows, {span}, {baseline.digest[:16]}")


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"

"""``ullage-agent maintenance``: declares planned stops while the agent runs or not, and lists them.

The declaration counts from when the agent takes it up: only then can anybody vouch for it. So a start that lies more
than a minute before that is on record as declared afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import re
import secrets
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ullage_protocols import wire
from ullage_protocols.errors import ProtocolError
from ullage_protocols.messages import Maintenance

from ..config import Config
from ..errors import AgentError
from ..lock import holder
from ..progress import Progress
from . import requests
from .declared import KEPT, Ask, Declared, DeclineError

_PATIENCE, _ABSENT, _EVERY = 15.0, 1.5, 0.1
"""Seconds that the command waits for a running agent, and where none is seen; between two looks."""
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def command(config: Config, args: argparse.Namespace) -> int:
    """Carries the command out; 0 done or left for the next start, 1 not sealed in time. AgentError where refused."""
    if args.action == "list":
        return _list(config, as_json=args.json)
    now = datetime.now(UTC)
    ask = _ask(config, args, now)
    declared, _ = _foreseen(config.state)
    expected, _ = declared.declare(ask, now)
    name = requests.put(config.state, ask.to_json())
    running = holder(config.state) is not None
    told = _wait(lambda: requests.answer(config.state, name), _PATIENCE if running else _ABSENT)
    if told is not None and told["state"] == "refused":
        raise DeclineError(str(told.get("reason", "")))
    if told is None:
        told = {"state": "pending", **expected.to_json()}
    print(json.dumps(told, ensure_ascii=False) if args.json else _sentence(told, expected, running))
    return 1 if told["state"] == "pending" and running else 0


def _ask(config: Config, args: argparse.Namespace, now: datetime) -> Ask:
    lines = sorted({tag.line for tag in config.tags if tag.line})
    if args.line and args.line not in lines:
        raise AgentError(f"line {args.line!r} is not configured; known are {', '.join(lines) or 'none'}")
    if args.action == "start" and not args.reason.strip():
        raise AgentError('a planned stop needs a reason; add --reason "…"')
    start = None if args.start is None else moment(args.start, now)
    end = None if args.end is None else moment(args.end, now, after=start or now)
    by = args.by.strip() or _user()
    return Ask(
        f"m-{secrets.token_hex(6)}", args.action, args.line, args.reason.strip(), by, start, end, now
    )  # fmt: skip


def moment(text: str, now: datetime, *, after: datetime | None = None) -> datetime:
    """The moment in ``2026-11-23T08:00+01:00``, ``2026-11-23 08:00`` or ``08:00`` (today), the latter two in the
    gateway's time zone; with ``after`` also in ``+90m``, ``+2h`` or ``+1d``. Raises AgentError."""
    found = re.fullmatch(r"\+(\d{1,5})([mhd])", text)
    if found and after is not None:
        return after + timedelta(**{_UNITS[found[2]]: int(found[1])})
    try:
        if re.fullmatch(r"\d{1,2}:\d{2}", text):
            hour, minute = text.split(":")
            return now.astimezone().replace(hour=int(hour), minute=int(minute), second=0, microsecond=0).astimezone(UTC)
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        more = " or +2h" if after is not None else ""
        raise AgentError(
            f'time {text[:60]!r} is not understood; write it as "2026-11-23 08:00", "08:00"{more}'
        ) from exc


def _foreseen(state: Path) -> tuple[Declared, set[str]]:
    """What is declared once everything that waits has been taken up, and the ids that wait."""
    declared, pending = _on_record(state), set()
    for request in requests.waiting(state):
        try:
            ask = Ask.from_json(request.body)
            if ask.id not in declared.asked:
                message, declared = declared.declare(ask, ask.asked_at)
                pending.add(message.id)
        except (DeclineError, ProtocolError):
            continue
    return declared, pending


def _on_record(state: Path) -> Declared:
    path = state / "outbox.db"
    if not path.exists():
        return Declared()
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)) as db:
            row = db.execute("SELECT value FROM kept WHERE name = ?", (f"state.{KEPT}",)).fetchone()
    except sqlite3.Error as exc:
        if "no such table" in str(exc):
            return Declared()  # an agent that is just starting for the first time
        raise AgentError(f"{path} cannot be read ({exc}); run this as the user that the agent runs as") from exc
    return Declared.restored(None if row is None else str(row[0]))


def _wait(look: Callable[[], wire.Json | None], seconds: float) -> wire.Json | None:
    progress, start = Progress(sys.stderr), time.monotonic()
    try:
        while True:
            if (found := look()) is not None or (waited := time.monotonic() - start) >= seconds:
                return found
            if waited > 1.0:
                progress.show("waiting for the agent to seal it", waited / seconds)
            time.sleep(_EVERY)
    finally:
        progress.end()


def _sentence(told: wire.Json, expected: Maintenance, running: bool) -> str:
    where = f"line {expected.line}" if expected.line else "the whole site"
    what = f"planned stop {expected.id} of {where}, {_span(expected)}"
    if told["state"] == "pending":
        if running:
            return f"{what}: the agent has not sealed it yet (its outbox may be full); it will as soon as it can"
        return f"{what}: no agent is running here; it is sealed at the next start, and counts as declared then"
    sequence = told.get("sequence")
    sealed = f"{what}: sealed" + (f" as record {sequence}" if sequence else "")
    return sealed + (" - on record as declared afterwards" if told.get("retroactive") else "")


def _span(message: Maintenance) -> str:
    if message.phase == "stop" and message.end == message.start:
        return f"planned from {_local(message.start)}, called off"
    if message.phase == "stop" and message.end is not None:
        return f"{_local(message.start)} to {_local(message.end)}, ended"
    return f"from {_local(message.start)}" + (f", planned to end {_local(message.end)}" if message.end else "")


def _local(at: datetime) -> str:
    return at.astimezone().isoformat(sep=" ", timespec="seconds")


def _list(config: Config, *, as_json: bool) -> int:
    declared, pending = _foreseen(config.state)
    rows = [("open", m) for m in declared.open] + [("over", m) for m in declared.past[::-1]]
    if as_json:
        shown = [{"state": state, "pending": m.id in pending, **m.to_json()} for state, m in rows]
        print(json.dumps({"stops": shown, "pending": len(pending)}, ensure_ascii=False))
        return 0
    print(_table(rows, pending) if rows else "no planned stop has been declared")
    return 0


def _table(rows: Sequence[tuple[str, Maintenance]], pending: set[str]) -> str:
    lines = [("state", "id", "line", "start", "end", "by", "reason", "")]
    for state, m in rows:
        remark = ", ".join(
            word
            for word, holds in (("declared afterwards", m.retroactive), ("not sealed yet", m.id in pending))
            if holds
        )
        lines.append(
            (state, m.id, m.line or "(site)", _local(m.start), _local(m.end) if m.end else "", m.by, m.reason, remark)
        )
    widths = [max(len(line[column]) for line in lines) for column in range(8)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"

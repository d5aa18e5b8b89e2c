"""The projector: reads the ledger in order and derives everything that is derived.

One cursor, one transaction a batch, a fixed order of rooms: policies, agents, rating, claims. What it writes
depends on the ledger alone (positions, event times, receive times that stand in the ledger), so that replaying
the ledger gives the same bytes. An entry that cannot be projected leaves no half-written rows: it is noted as
a fault in the feed of changes, and the entries behind it go on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection, select
from sqlalchemy import exc as sa_exc
from ullage_models.errors import ModelError

from .claims import service as claims
from .db import changes
from .db.engine import Database, explain
from .db.entry import Entry
from .db.put import put
from .db.schema import cursor
from .errors import ScorerError
from .ingest import state as agents
from .ledger import service as ledger
from .ledger import store as ledger_store
from .policies import service as policies
from .rating import service as rating
from .web import Prepare

_log = logging.getLogger(__name__)
_ROOMS: tuple[Callable[[Connection, Entry], None], ...] = (
    policies.apply, agents.apply, rating.apply, claims.apply
)  # fmt: skip
_BATCH = 200
_NAME = "projector"
_POLL = 0.5


def position(conn: Connection) -> int:
    """How far the projections have come."""
    return conn.execute(select(cursor.c.position).where(cursor.c.name == _NAME)).scalar() or 0


def project(conn: Connection, limit: int, *, strict_from: int | None = None) -> int:
    """Applies up to ``limit`` entries in the caller's transaction; returns how many there were.

    From position ``strict_from`` on a fault is raised instead of noted, so that a command which cannot be
    projected is never written.
    """
    entries = ledger.entries_after(conn, position(conn), limit)
    for entry in entries:
        strict = strict_from is not None and entry.position >= strict_from
        try:
            with conn.begin_nested():
                for room in _ROOMS:
                    room(conn, entry)
        except sa_exc.OperationalError:
            raise
        except (ModelError, ScorerError, ArithmeticError, LookupError, TypeError, ValueError) as exc:
            if strict:
                raise
            _log.exception("ledger position %d could not be projected", entry.position)
            changes.note(
                conn, entry, site=entry.site, kind="fault", at=entry.received_at,
                document={
                    "position": entry.position, "type": entry.type, "reason": f"{type(exc).__name__}: {exc}"[:500],
                },
            )  # fmt: skip
    if entries:
        row = {"name": _NAME, "position": entries[-1].position}
        put(conn, cursor, row)
    return len(entries)


class Worker:
    """Keeps the projections at the ledger's tip, and carries commands out."""

    def __init__(self, db: Database, *, clock: Callable[[], datetime]) -> None:
        self._db = db
        self._clock = clock
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)
        self.fault = ""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2.0)

    def wake(self) -> None:
        self._wake.set()

    def catch_up(self) -> int:
        """Projects until the tip; returns the number of entries applied."""
        done = 0
        while not self._stopping.is_set():
            with self._db.read() as conn:
                if position(conn) >= ledger_store.tip(conn).position:
                    return done
            with self._db.write() as conn:
                done += project(conn, _BATCH)
        return done

    def submit(self, name: str, prepare: Prepare) -> int | None:
        """Checks, appends and projects a command in one transaction; its position, or None if nothing was to do."""
        self.catch_up()
        with self._db.write() as conn:
            while project(conn, _BATCH):
                pass
            prepared = prepare(conn)
            if prepared is None:
                return None
            tenant, body = prepared
            at = ledger.append_command(conn, name, tenant, body, self._clock()).position
            project(conn, 1, strict_from=at)
            return at

    def lag(self, conn: Connection) -> int:
        """Entries that the projections are behind the ledger."""
        return ledger_store.tip(conn).position - position(conn)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(_POLL)
            self._wake.clear()
            try:
                self.catch_up()
            except sa_exc.DBAPIError as exc:
                sentence = explain(exc, self._db.path)
                if sentence != self.fault:
                    _log.error("projections wait: %s", sentence)
                self.fault = sentence
            else:
                self.fault = ""

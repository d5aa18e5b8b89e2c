"""Sealed records, kept until the scorer has signed for them.

``append`` seals a batch and stores it in one transaction that also advances sequence and head and keeps what must
move with them (the production meters' state, an open episode). WAL with ``synchronous=FULL``: what ``append``
returned is on the disk. A record leaves only when a receipt covers it whose hash is the hash sealed here.

Covered: SIGKILL and power loss at any moment; a torn or damaged database (set aside, never deleted, the stream goes
on after the high-water mark of ``marks``, and the break is told); a full disk and a full outbox (nothing is sealed,
nothing is dropped). Not covered: records that only a damaged database held are not mended from it; losing database
and mark together starts at sequence 1 again, which the scorer reports as a fork, as it does a restored backup.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ullage_protocols import envelope, event, wire
from ullage_protocols.errors import ProtocolError
from ullage_protocols.event import Event, decode_event
from ullage_protocols.keys import SigningKey
from ullage_protocols.messages import Message
from ullage_protocols.receipt import Receipt

from ..clock import Clock
from ..errors import OutboxFull, StateError
from .marks import Mark, MarkFile

_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (sequence INTEGER PRIMARY KEY, head TEXT NOT NULL, envelope BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS kept (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to be sealed, and about which device or line (``subject``; empty: the agent itself)."""

    message: Message
    subject: str = ""


Sealing = tuple[list[Draft], dict[str, str]]
"""Drafts, and what must be kept in the same transaction."""


class Outbox:
    """One agent's outbox in ``folder``. Methods may be called from any thread, one at a time runs.

    ``notes`` tells what was found at the start; ``repaired`` is true when records may have been lost.
    """

    def __init__(self, folder: Path, *, agent: str, key: SigningKey, clock: Clock, limit: int) -> None:
        self._path, self._marks = folder / "outbox.db", MarkFile(folder / "outbox.mark")
        self._agent, self._key, self._clock, self._limit = agent, key, clock, limit
        self._lock = threading.Lock()
        self._db: sqlite3.Connection
        self._sequence = self._through = self._marked = 0
        self._count = self._bytes = 0
        self._head = ""
        self.bootid = secrets.token_hex(8)
        self.notes: list[str] = []
        self.repaired = False
        self._open()

    # -- what is held --

    @property
    def sequence(self) -> int:
        """The last sealed sequence; 0 before the first."""
        return self._sequence

    @property
    def through(self) -> int:
        """The sequence that receipts cover."""
        return self._through

    @property
    def pending(self) -> int:
        """How many records wait for a receipt."""
        return self._count

    @property
    def share(self) -> float:
        """How full the outbox is, 0-1 of its limit."""
        return self._bytes / self._limit

    def kept(self, name: str) -> str | None:
        """What an ``append`` kept under ``name``."""
        with self._lock:
            row = self._db.execute("SELECT value FROM kept WHERE name = ?", (f"state.{name}",)).fetchone()
        return None if row is None else str(row[0])

    def unreceipted(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Up to ``limit`` records beyond ``after``: sequence and envelope, in order; none beyond the mark."""
        with self._lock:
            self._mark()
            rows = self._db.execute(
                "SELECT sequence, envelope FROM record WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?",
                (after, self._marked, limit),
            ).fetchall()
        return [(int(sequence), bytes(raw)) for sequence, raw in rows]

    # -- sealing --

    def append(self, drafts: Sequence[Draft], keep: Mapping[str, str] | None = None) -> list[Event]:
        """Seals ``drafts`` in order and keeps ``keep``, all or nothing. OutboxFull where there is no room; WireError or
        SealError, and nothing done, where one of them cannot be sealed."""
        with self._lock:
            events, rows, head, size = [], [], self._head, 0
            moment, monotonic = self._clock.now(), round((self._clock.monotonic() - self._clock.started) * 1e9)
            for number, draft in enumerate(drafts, self._sequence + 1):
                record = Event(
                    self._agent, number, self.bootid, max(0, monotonic), head, moment, draft.subject, draft.message
                )
                raw, head = self._seal(record)
                events.append(record)
                rows.append((number, head, raw))
                size += len(raw)
            if self._bytes + size > self._limit:
                raise OutboxFull(
                    f"the outbox holds {self._bytes} of {self._limit} bytes and takes no more until the scorer "
                    "receipts some; check the broker and the scorer, or raise [outbox] limit"
                )
            self._commit(rows, head, keep or {})
            self._bytes += size
            self._count += len(rows)
            return events

    def writable(self, draft: Draft) -> bool:
        """Whether a draft can be sealed at all; one that cannot would hold up all behind it for good."""
        record = Event(
            self._agent, self._sequence + 1, self.bootid, 0, self._head, self._clock.now(), draft.subject, draft.message
        )
        try:
            self._seal(record)
        except ProtocolError:
            return False
        return True

    def _seal(self, record: Event) -> tuple[bytes, str]:
        """The envelope and the new head. WireError or SealError for what a receiver would refuse."""
        payload = record.encode()
        decode_event(payload)  # what our own reader refuses must never get a place in the chain
        return envelope.seal(payload, envelope.EVENT, self._key), envelope.digest(payload)

    def _commit(self, rows: list[tuple[int, str, bytes]], head: str, keep: Mapping[str, str]) -> None:
        sequence = rows[-1][0] if rows else self._sequence
        values = [("sequence", str(sequence)), ("head", head), ("time", wire.format_time(self._clock.now()))]
        values += [(f"state.{name}", value) for name, value in keep.items()]
        try:
            with self._transaction():
                self._db.executemany("INSERT INTO record VALUES (?, ?, ?)", rows)
                self._db.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?)", values)
        except sqlite3.OperationalError as exc:
            raise OutboxFull(f"the outbox {self._path} cannot be written ({exc}); make room on its disk") from exc
        self._sequence, self._head = sequence, head
        self._mark()

    def _mark(self) -> None:
        # A mark that the disk refuses does not undo the commit: what lies beyond the mark is held back instead.
        if self._marked == self._sequence:
            return
        with contextlib.suppress(OSError):
            self._marks.write(Mark(self._agent, self._sequence, self._head))
            self._marked = self._sequence

    # -- receipts --

    def receipt(self, receipt: Receipt) -> int:
        """Forgets what ``receipt`` covers; gives how many records. StateError when it does not fit what was sealed."""
        with self._lock:
            if receipt.through <= self._through:
                return 0
            if receipt.through > self._sequence:
                raise StateError(
                    f"the scorer holds records through {receipt.through}, this outbox ends at {self._sequence}: the "
                    "state folder was restored or copied; enrol this gateway as a new agent"
                )
            row = self._db.execute("SELECT head FROM record WHERE sequence = ?", (receipt.through,)).fetchone()
            if row is None or row[0] != receipt.head:
                raise StateError(
                    f"the receipt through {receipt.through} names another record than the one sealed here; "
                    "nothing was forgotten; two agents may share this name"
                )
            size, count = self._db.execute(
                "SELECT sum(length(envelope)), count(*) FROM record WHERE sequence <= ?", (receipt.through,)
            ).fetchone()
            try:
                with self._transaction():
                    self._db.execute("DELETE FROM record WHERE sequence <= ?", (receipt.through,))
                    self._db.executemany(
                        "INSERT OR REPLACE INTO kept VALUES (?, ?)",
                        [("through", str(receipt.through)), ("through_head", receipt.head)],
                    )
            except sqlite3.OperationalError as exc:
                raise OutboxFull(f"the outbox {self._path} cannot be written ({exc}); make room on its disk") from exc
            self._through = receipt.through
            self._bytes -= int(size)
            self._count -= int(count)
            return int(count)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # -- opening --

    def _open(self) -> None:
        mark = self._marks.read()
        if mark is not None and mark.agent != self._agent:
            raise StateError(
                f"the state folder {self._path.parent} belongs to agent {mark.agent!r}, not {self._agent!r}; "
                "give every agent a state folder of its own"
            )
        existed = self._path.exists()
        try:
            self._connect()
            fault = self._check()
        except (ValueError, ProtocolError) as exc:
            fault = f"its own notes cannot be read: {exc}"
        except sqlite3.DatabaseError as exc:
            if isinstance(exc, sqlite3.OperationalError) and "malformed" not in str(exc):
                raise StateError(
                    f"the outbox {self._path} cannot be opened ({exc}); check the folder and its disk"
                ) from exc
            fault = str(exc)
        if not fault and existed and mark is not None and mark.sequence > self._sequence:
            fault = f"it ends at {self._sequence}, before the last published record {mark.sequence}"
        if fault:
            self._set_aside(fault)
        elif not existed and mark is not None and mark.sequence:
            self.repaired = True
            self.notes.append(f"the outbox database was missing; the stream goes on after record {mark.sequence}")
        if mark is not None and mark.sequence > self._sequence:
            self._sequence, self._head = mark.sequence, mark.head
            self._through = mark.sequence
            with self._transaction():
                self._db.executemany(
                    "INSERT OR REPLACE INTO kept VALUES (?, ?)",
                    [("sequence", str(mark.sequence)), ("head", mark.head), ("through", str(mark.sequence)),
                     ("through_head", mark.head)],
                )  # fmt: skip
            self._marked = mark.sequence
        self._mark()

    def _connect(self) -> None:
        self._sequence = self._through = self._count = self._bytes = self._marked = 0
        self._head = ""
        self._db = sqlite3.connect(self._path, timeout=5.0, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=500", "cache_size=-256"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(_SCHEMA)

    def _check(self) -> str:
        """What is wrong with the database, empty when all of it holds: pages, chain, and every signature."""
        found = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if found[0] != "ok":
            return f"damaged pages: {' '.join(str(found[0]).split())}"
        kept = dict(self._db.execute("SELECT name, value FROM kept WHERE name NOT LIKE 'state.%'").fetchall())
        self._sequence, self._head = int(kept.get("sequence", 0)), kept.get("head", "")
        self._through = int(kept.get("through", 0))
        if "time" in kept:
            self._clock.not_before(wire.parse_time(kept["time"]))
        expected, head = self._through + 1, kept.get("through_head", "")
        for sequence, stored, raw in self._db.execute("SELECT sequence, head, envelope FROM record ORDER BY sequence"):
            try:
                payload = envelope.unseal(raw).verify(self._key.public, payload_type=envelope.EVENT)
                agent, number, previous = event.sequence_of(payload)
            except ProtocolError as exc:
                return f"record {sequence}: {exc}"
            if (agent, number, previous, number) != (self._agent, expected, head, sequence):
                return f"record {sequence} does not follow record {expected - 1}"
            head = envelope.digest(payload)
            if head != stored:
                return f"record {sequence} is not the one that was sealed"
            expected, self._count, self._bytes = expected + 1, self._count + 1, self._bytes + len(raw)
        if (expected - 1, head) != (self._sequence, self._head):
            return f"its records end at {expected - 1}, sealed were {self._sequence}"
        return ""

    def _set_aside(self, fault: str) -> None:
        last = self._sequence
        with contextlib.suppress(sqlite3.Error, AttributeError):
            self._db.close()
        stamp = self._clock.now().strftime("%Y%m%dT%H%M%S")
        for suffix in ("", "-wal", "-shm"):
            file = self._path.with_name(self._path.name + suffix)
            if file.exists():
                file.rename(file.with_name(f"outbox.damaged-{stamp}.db{suffix}"))
        self.repaired = True
        self.notes.append(
            f"the outbox was damaged ({fault}) and is set aside as outbox.damaged-{stamp}.db; records that only it "
            f"held (up to {last or 'unknown'}) are not sent until it is mended"
        )
        self._connect()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise

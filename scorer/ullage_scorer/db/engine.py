"""SQLite behind SQLAlchemy: WAL, synchronous=FULL, one writer at a time, clear sentences for a bad file."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy import exc as sa_exc

from ..errors import DatabaseError

_PREFIX = "sqlite:///"


def path_of(url: str) -> Path:
    """The file in ``sqlite:///path``; DatabaseError on any other URL."""
    if not url.startswith(_PREFIX) or len(url) == len(_PREFIX) or "?" in url:
        raise DatabaseError(f"database {url!r} is not supported; give sqlite:///path/to/file.db")
    return Path(url[len(_PREFIX) :])


class Database:
    """An engine and the rule that this process writes one transaction at a time."""

    def __init__(self, url: str, *, pragmas: tuple[str, ...] = ()) -> None:
        self.url = url
        self.path = path_of(url)
        self._lock = threading.RLock()
        if not self.path.parent.is_dir():
            raise DatabaseError(f"the folder {self.path.parent} of the database does not exist; make it first")
        self.engine: Engine = create_engine(
            url, connect_args={"check_same_thread": False, "timeout": 10.0, "isolation_level": None}, pool_size=8,
            max_overflow=24,
        )  # fmt: skip
        self._pragmas = pragmas
        event.listen(self.engine, "connect", self._connected)
        event.listen(self.engine, "begin", _begin)

    def _connected(self, raw: sqlite3.Connection, _record: object) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", *self._pragmas):
            raw.execute(f"PRAGMA {pragma}").fetchall()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A write transaction: committed at the end of the block, rolled back on any exception."""
        with self._lock, self.engine.connect() as plain:
            conn = plain.execution_options(ullage_write=True)
            with conn.begin():
                yield conn

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read transaction over one snapshot."""
        with self.engine.connect() as conn, conn.begin():
            yield conn

    def check(self) -> None:
        """Raises DatabaseError with a clear sentence if the file cannot be opened or is damaged."""
        try:
            with self.read() as conn:
                found = conn.execute(text("PRAGMA quick_check(1)")).scalar()
        except sa_exc.DBAPIError as exc:
            raise DatabaseError(explain(exc, self.path)) from exc
        if found != "ok":
            raise DatabaseError(
                f"database {self.path} is damaged ({str(found)[:120]}); restore it from a copy, or move it away and "
                "start with a new file: agents send again what no receipt covers"
            )

    def close(self) -> None:
        self.engine.dispose()


def _begin(conn: Connection) -> None:
    # BEGIN IMMEDIATE takes the write lock at once, so that a read-then-write cannot be refused half-way.
    write = conn.get_execution_options().get("ullage_write", False)
    conn.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def is_full(exc: BaseException) -> bool:
    """Whether a failed statement means that the disk (or the file's limit) is full."""
    text_of = str(exc).lower()
    return "database or disk is full" in text_of or "disk i/o error" in text_of or "no space left" in text_of


def explain(exc: Exception, path: Path) -> str:
    """A sentence for a database fault: what happened, where, what to do."""
    cause = str(getattr(exc, "orig", exc))
    if "not a database" in cause or "malformed" in cause:
        return f"database {path} is damaged ({cause}); restore it from a copy, or move it away to start afresh"
    if "unable to open" in cause:
        return f"database {path} cannot be opened ({cause}); check that its folder exists and is writable"
    if "readonly" in cause:
        return f"database {path} cannot be written ({cause}); check its owner and permissions"
    if "locked" in cause:
        return f"database {path} is locked by another program ({cause}); stop that program or wait"
    if is_full(exc):
        return f"the disk under {path} is full ({cause}); make room, the scorer goes on by itself"
    return f"database {path}: {cause}; if this persists, check it with `sqlite3 {path} 'PRAGMA integrity_check'`"


class ProcessLock:
    """Keeps a second server or a rebuild away from a database. The file goes when the holder ends well."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".lock")
        self._file: Any = None

    def take(self, who: str) -> None:
        """Raises DatabaseError if another process holds it."""
        try:
            file = self._path.open("a+")
        except OSError as exc:
            raise DatabaseError(f"{self._path} cannot be made ({exc}); make the folder writable") from exc
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read(80).strip() or "another program"
            file.close()
            raise DatabaseError(
                f"the database is in use by {holder} (lock {self._path}); stop it first and try again"
            ) from None
        file.truncate(0)
        file.write(f"{who}, process {os.getpid()}")
        file.flush()
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

"""Brings a database to this program's version, and refuses one that is older or newer."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect
from sqlalchemy import exc as sa_exc

from ..errors import DatabaseError
from .engine import Database, explain


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return config


def newest() -> str:
    """The revision that this program works with."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise DatabaseError("this installation carries no migration scripts; install the package again")
    return head


def revision_of(conn: Connection) -> str | None:
    return MigrationContext.configure(conn).get_current_revision()


def migrate(db: Database) -> tuple[str | None, str]:
    """Upgrades in one transaction; returns the revisions before and after. DatabaseError if that is impossible."""
    db.check()
    try:
        with db.write() as conn:
            before = revision_of(conn)
            _refuse_foreign(conn, before, db.path)
            config = _config()
            config.attributes["connection"] = conn
            command.upgrade(config, "head")
            after = revision_of(conn)
    except sa_exc.DBAPIError as exc:
        raise DatabaseError(explain(exc, db.path)) from exc
    return before, after or ""


def require_current(db: Database) -> str:
    """Raises DatabaseError unless the database is of this program's version. An empty file is brought up to it.

    Returns "created" or "current".
    """
    db.check()
    try:
        with db.read() as conn:
            before = revision_of(conn)
            empty = not inspect(conn).get_table_names()
            _refuse_foreign(conn, before, db.path)
    except sa_exc.DBAPIError as exc:
        raise DatabaseError(explain(exc, db.path)) from exc
    if empty:
        migrate(db)
        return "created"
    if before != newest():
        raise DatabaseError(
            f"database {db.path} is at version {before}, this program needs {newest()}; make a copy of the file, then "
            f"run: ullage-scorer migrate --database {db.url}"
        )
    return "current"


def _refuse_foreign(conn: Connection, before: str | None, path: Path) -> None:
    if before is None:
        names = inspect(conn).get_table_names()
        if names:
            raise DatabaseError(
                f"database {path} holds tables ({', '.join(names[:3])}) but no version of the scorer; "
                "it belongs to another program, give another file"
            )
        return
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if before not in known:
        raise DatabaseError(
            f"database {path} is at version {before}, which is newer than this program ({newest()}); "
            "install the newer scorer"
        )

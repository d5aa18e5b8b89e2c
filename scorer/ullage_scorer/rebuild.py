"""Replays the ledger into empty projections, and says whether scores, premiums and claims are the same bytes.

What differs is evidence: of a changed program, or of somebody who changed a row. It is kept as it was unless the
caller asks to replace it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, select
from ullage_protocols import wire

from .db.engine import Database
from .db.schema import MONEY, PROJECTIONS, metadata
from .ledger import service as ledger
from .worker import project


@dataclass(frozen=True, slots=True)
class Report:
    """Digests (SHA-256) before and after, the ledger's tip, and the first row that differs, empty if none."""

    before: str
    after: str
    rows: int
    position: int
    chain: str
    difference: str
    replaced: bool

    @property
    def same(self) -> bool:
        return not self.difference and self.before == self.after


def dump(conn: Connection) -> Iterator[bytes]:
    """Every row of policies, scores, premiums, stops and claims in canonical JSON, in the order of their keys."""
    for table in MONEY:
        for row in conn.execute(select(table).order_by(*table.primary_key.columns)).mappings():
            yield wire.encode({"table": table.name, **row})


def digest(conn: Connection) -> str:
    """SHA-256 of the dump, one row a line."""
    found = hashlib.sha256()
    for line in dump(conn):
        found.update(line + b"\n")
    return found.hexdigest()


class _KeepError(Exception):
    """Rolls the replay back."""


def rebuild(db: Database, *, replace: bool = False) -> Report:
    """Replays the whole ledger in one transaction, which is kept if it gave the same bytes, or on ``replace``.

    Raises DatabaseError if the ledger's chain does not hold.
    """
    report: Report | None = None
    with contextlib.suppress(_KeepError), db.write() as conn:
        report = _replay(conn, replace)
        if not report.same and not replace:
            raise _KeepError
    assert report is not None  # noqa: S101 - for the type checker
    return report


def _replay(conn: Connection, replace: bool) -> Report:
    tip = ledger.verify_chain(conn)
    while project(conn, 500):
        pass
    old = list(dump(conn))
    before = digest(conn)
    for table in PROJECTIONS:
        conn.execute(delete(table))
    while project(conn, 500):
        pass
    new = list(dump(conn))
    after = digest(conn)
    difference = _difference(old, new)
    replaced = replace and (before != after)
    return Report(before, after, len(new), tip.position, tip.chain, difference, replaced)


def _difference(old: list[bytes], new: list[bytes]) -> str:
    """The first row that differs: its table and key, and each column with what stood there and what was replayed."""
    for index in range(max(len(old), len(new))):
        was = json.loads(old[index]) if index < len(old) else {}
        now = json.loads(new[index]) if index < len(new) else {}
        if was == now:
            continue
        if not was or not now or _key(was) != _key(now):
            return f"stored {_key(was)}, replayed {_key(now)}"
        columns = [name for name in now if was.get(name) != now[name]]
        shown = "; ".join(
            f"{name} stored {str(was[name])[:200]!r}, replayed {str(now[name])[:200]!r}" for name in columns
        )
        return f"{_key(now)}: {shown}"
    return ""


def _key(row: dict[str, Any]) -> str:
    if not row:
        return "no row"
    table = metadata.tables[row["table"]]
    return f"{table.name} " + ", ".join(f"{c.name} {row[c.name]}" for c in table.primary_key.columns)

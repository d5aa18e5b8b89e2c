"""Drops every projection, replays the ledger, and says whether scores, premiums and claims are the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select
from ullage_protocols import wire

from .db.engine import Database
from .db.schema import MONEY, PROJECTIONS
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


def rebuild(db: Database) -> Report:
    """Replays the whole ledger in one transaction. Raises DatabaseError if the ledger's chain does not hold."""
    with db.write() as conn:
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
    return Report(before, after, len(new), tip.position, tip.chain, _difference(old, new))


def _difference(old: list[bytes], new: list[bytes]) -> str:
    for index in range(max(len(old), len(new))):
        was = old[index] if index < len(old) else b"(no row)"
        now = new[index] if index < len(new) else b"(no row)"
        if was != now:
            return f"row {index + 1}: stored {was.decode()[:600]} | replayed {now.decode()[:600]}"
    return ""

"""Decides what an entry is: commands in, decoded entries out, and whether the chain holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row
from ullage_protocols import envelope, wire
from ullage_protocols.errors import ProtocolError
from ullage_protocols.event import decode_event

from ..db.entry import COMMAND, ENVELOPE, Entry
from ..errors import DatabaseError
from . import store


def append_command(conn: Connection, name: str, tenant: str, body: Mapping[str, Any], at: datetime) -> store.Tip:
    """Writes a command (for example ``policy.bind``) with its canonical body; returns the ledger's tip."""
    raw = wire.encode(body)
    draft = store.Draft(COMMAND, tenant, "", None, f"org.ullage.command.{name}.v1", raw, envelope.digest(raw))
    return store.append(conn, [draft], at)


def read_entry(row: Row[Any]) -> Entry:
    """The entry in a ledger row. An envelope that this version cannot read is returned as opaque."""
    received = wire.parse_time(row.received_at)
    common = (row.tenant, row.site, row.agent, row.type, received)
    if row.kind == COMMAND:
        return Entry(row.position, COMMAND, *common, body=wire.decode(row.body, limit=2**24, what="command"))
    if row.kind == ENVELOPE:
        try:
            event = decode_event(envelope.unseal(row.body).payload)
        except ProtocolError:
            return Entry(row.position, "opaque", *common)
        return Entry(row.position, ENVELOPE, *common, event=event)
    return Entry(row.position, row.kind, *common)


def entries_after(conn: Connection, position: int, limit: int) -> list[Entry]:
    return [read_entry(row) for row in store.after(conn, position, limit)]


def verify_chain(conn: Connection) -> store.Tip:
    """Recomputes every hash; DatabaseError names the first position that does not fit."""
    last = store.Tip(0, "")
    for row in _all(conn):
        draft = store.Draft(row.kind, row.tenant, row.agent, row.sequence, row.type, row.body, row.digest)
        expected = store.chain_hash(last.position + 1, draft, row.received_at, last.chain)
        if row.position != last.position + 1 or row.prev != last.chain or row.hash != expected:
            raise DatabaseError(
                f"the ledger's hash chain breaks at position {row.position}: an entry was changed, added or removed; "
                "restore the database from a copy"
            )
        last = store.Tip(row.position, row.hash)
    return last


def _all(conn: Connection) -> Iterator[Row[Any]]:
    position = 0
    while rows := store.after(conn, position, 1000):
        yield from rows
        position = rows[-1].position

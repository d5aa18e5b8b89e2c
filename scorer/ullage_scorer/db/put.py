"""Insert a row or replace it whole: one prepared statement a table, because projections do little else."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects.sqlite import Insert, insert


@cache
def _statement(table: Table) -> Insert:
    statement = insert(table)
    keys = [column.name for column in table.primary_key.columns]
    changed = {column.name: statement.excluded[column.name] for column in table.columns if not column.primary_key}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)


def put(conn: Connection, table: Table, row: dict[str, Any]) -> None:
    """Writes ``row``, which names every column, over the row with its primary key, if there is one."""
    conn.execute(_statement(table), row)

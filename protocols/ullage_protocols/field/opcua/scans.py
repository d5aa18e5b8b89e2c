"""From the rows that a reading process sends to Scans."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from ullage_protocols.field.scan import BAD, Columns, Scan

from .frames import Part
from .rows import Rows, rows_of

_KEPT = 16
"""How many different sets of changed tags are remembered by their columns."""


class Gatherer:
    """Puts the parts of one read together. Raises ValueError where they do not fit the tags that were asked for."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._reasons: dict[int, str] = {}
        self._exact: dict[int, int | str] = {}
        self._rows: Rows | None = None
        self._filled = 0

    def add(self, part: Part) -> None:
        n = len(self._columns)
        self._filled += part.block.n
        if self._filled > n:
            raise ValueError(f"{self._filled} rows for {n} tags")
        rows = rows_of(part.block)
        if rows.handles is None and part.first == 0 and len(rows) == n:
            self._rows = rows
            return
        places = part.first + np.arange(len(rows)) if rows.handles is None else rows.handles.astype(np.int64)
        if len(places) and int(places.max()) >= n:
            raise ValueError(f"row {int(places.max())} of {n}")
        if self._rows is None:
            quality, forms = np.full(n, BAD, np.uint8), bytearray(n)
            nothing = np.full(n, np.nan)
            self._rows = Rows(None, nothing, quality, nothing.copy(), forms, self._reasons, self._exact)
        whole = self._rows
        whole.values[places], whole.source[places], whole.quality[places] = rows.values, rows.source, rows.quality
        if rows.forms:
            np.frombuffer(whole.forms, np.uint8)[places] = np.frombuffer(rows.forms, np.uint8)
        self._reasons.update((int(places[row]), reason) for row, reason in rows.reasons.items())
        self._exact.update((int(places[row]), item) for row, item in rows.exact.items())

    def scan(self, seen: datetime) -> Scan:
        if self._filled != len(self._columns):
            raise ValueError(f"{self._filled} rows for {len(self._columns)} tags")
        rows = self._rows
        if rows is None:
            raise ValueError("no rows at all")
        return _scan(self._columns, rows, seen)


def scan_of_changes(columns: Columns, parts: Sequence[Part], seen: datetime, known: dict[bytes, Columns]) -> Scan:
    """The rows of one report one after the other; ``known`` keeps columns by the tags that they are of.

    Raises ValueError, or IndexError where a row is of no tag.
    """
    found = [rows_of(part.block) for part in parts]
    rows = found[0] if len(found) == 1 else _joined(parts, found)
    if rows.handles is None:
        handles = np.arange(parts[0].first, parts[0].first + len(rows), dtype=np.uint32)
    else:
        handles = np.ascontiguousarray(rows.handles)
    key = handles.tobytes()
    of = known.get(key)
    if of is None:
        of = Columns(tuple(handles.tolist()), tuple(columns.names[handle] for handle in handles.tolist()))
        if len(known) >= _KEPT:
            known.pop(next(iter(known)))
        known[key] = of
    return _scan(of, rows, seen)


def _joined(parts: Sequence[Part], found: Sequence[Rows]) -> Rows:
    handles, forms = [], []
    reasons: dict[int, str] = {}
    exact: dict[int, int | str] = {}
    at = 0
    for part, rows in zip(parts, found, strict=True):
        n = len(rows)
        handles.append(np.arange(part.first, part.first + n, dtype=np.uint32) if rows.handles is None else rows.handles)
        forms.append(rows.forms or bytes(n))
        reasons.update((at + row, reason) for row, reason in rows.reasons.items())
        exact.update((at + row, item) for row, item in rows.exact.items())
        at += n
    return Rows(
        np.concatenate(handles),
        np.concatenate([rows.values for rows in found]),
        np.concatenate([rows.quality for rows in found]),
        np.concatenate([rows.source for rows in found]),
        b"".join(forms),
        reasons,
        exact,
    )


def _scan(columns: Columns, rows: Rows, seen: datetime) -> Scan:
    forms = bytes(rows.forms) if any(rows.forms) else b""
    return Scan(columns, rows.values, rows.quality, seen, rows.source, rows.reasons, rows.exact, forms)

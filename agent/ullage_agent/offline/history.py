"""Recorded histories: CSV or CSV.gz, first column ``time``, then tags, optionally ``label``. Tolerant, streaming.

Whatever a file holds, reading it yields rows or a `HistoryError` with a sentence that says what to do. What
could not be used is counted and told, never silently made up: a cell without a number is unknown."""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import HistoryError

Floats = NDArray[np.float64]

MAX_LINE = 1_000_000
"""Characters in one line."""

MAX_COLUMNS = 20_000
LABEL = "label"
_EMPTY = frozenset({"", "nan", "na", "n/a", "null", "none", "-"})


@dataclass(frozen=True, slots=True)
class Row:
    """``time`` is None where the cell held none (``time_text`` is what it held); ``values`` in the order of the
    tags, NaN where unknown; ``label`` is only for judging a detection afterwards, None where there is none."""

    time: datetime | None
    time_text: str
    values: Floats
    label: bool | None


@dataclass(slots=True)
class Summary:
    """What was read and what could not be used."""

    rows: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str, by: int = 1) -> None:
        """Add to what is told."""
        self.counts[what] = self.counts.get(what, 0) + by

    def sentences(self) -> list[str]:
        """One sentence for each kind of thing that was out of the ordinary."""
        return [f"{count} {what}" for what, count in sorted(self.counts.items())]


class HistoryFile:
    """An opened history. ``tags`` are its columns but time and label; iterate `rows` once."""

    def __init__(self, path: Path) -> None:
        """Open and read the header; HistoryError if the file is missing, empty, unreadable or has no time column."""
        self.path = path
        self.summary = Summary()
        self._raw: BinaryIO | None = None
        try:
            self._size = path.stat().st_size
            self._raw = path.open("rb")
            packed = self._raw.read(2) == b"\x1f\x8b"
            self._raw.seek(0)
        except OSError as fault:
            raise HistoryError(
                f"{path}: cannot be opened ({fault.strerror}); give the path of a CSV or CSV.gz file"
            ) from fault
        source: BinaryIO = cast("BinaryIO", gzip.GzipFile(fileobj=self._raw)) if packed else self._raw
        self._text = io.TextIOWrapper(source, encoding="utf-8-sig", errors="replace", newline="")
        self._lines = self._bounded()
        self._reader = csv.reader(self._lines)
        self.tags: tuple[str, ...] = ()
        self._label: int | None = None
        self._columns: list[int] = []
        try:
            self._header(next(self._reader, []))
        except (HistoryError, OSError, EOFError, zlib.error, csv.Error) as fault:
            self.close()
            raise fault if isinstance(fault, HistoryError) else self._broken(fault) from fault

    def close(self) -> None:
        """Close the file."""
        if self._raw is not None:
            self._raw.close()

    @property
    def share(self) -> float:
        """Share (0-1) of the file's bytes that has been read."""
        return min(1.0, self._raw.tell() / self._size) if self._raw is not None and self._size else 1.0

    def rows(self) -> Iterator[Row]:
        """Each row, in the order of the file. A file that breaks off yields what came before, and says so in
        the summary."""
        while True:
            try:
                cells = next(self._reader, None)
            except (OSError, EOFError, zlib.error) as fault:
                self.summary.count(f"place where the file breaks off ({fault}): the rest is not read")
                return
            except csv.Error:
                self.summary.count("lines that are not CSV: left out")
                continue
            if cells is None:
                return
            if cells:
                self.summary.rows += 1
                yield self._row(cells)

    def _bounded(self) -> Iterator[str]:
        while True:
            line = self._text.readline(MAX_LINE + 1)
            if not line:
                return
            if len(line) > MAX_LINE:
                while line and not line.endswith("\n"):
                    line = self._text.readline(MAX_LINE)
                self.summary.count(f"lines longer than {MAX_LINE} characters: left out")
                continue
            if "\0" in line:
                self.summary.count("lines with NUL bytes: the bytes were left out")
                line = line.replace("\0", "")
            yield line

    def _header(self, cells: list[str]) -> None:
        if not cells:
            raise HistoryError(f"{self.path}: is empty; give a CSV file whose first line names its columns")
        names = [c.strip() for c in cells]
        if names[0].lower() != "time":
            raise HistoryError(
                f"{self.path}: the first column is {names[0][:60]!a}, not 'time'; "
                "name the columns in the first line, time first"
            )
        if len(names) > MAX_COLUMNS:
            raise HistoryError(f"{self.path}: has {len(names)} columns, more than {MAX_COLUMNS}; split it")
        seen: set[str] = set()
        tags = []
        for i, name in enumerate(names[1:], start=1):
            if name.lower() == LABEL and self._label is None:
                self._label = i
            elif not name or len(name) > 200 or name in seen:
                self.summary.count("columns without a name of their own (1 to 200 characters): left out")
            else:
                seen.add(name)
                tags.append(name)
                self._columns.append(i)
        if not tags:
            raise HistoryError(f"{self.path}: has no column of readings beside time; give at least one tag")
        self.tags = tuple(tags)
        self._width = len(names)
        self._straight = self._columns == list(range(1, len(tags) + 1))

    def _row(self, cells: list[str]) -> Row:
        if len(cells) != self._width:
            self.summary.count(
                "rows with another number of cells than the header: missing ones are unknown, others left out"
            )
            cells = (cells + [""] * self._width)[: self._width]
        text = cells[0].strip()
        time = read_time(text)
        if time is None:
            self.summary.count("rows without a readable time: not judged")
        wanted = cells[1 : len(self._columns) + 1] if self._straight else [cells[i] for i in self._columns]
        try:
            values = np.array(list(map(float, wanted)))
        except ValueError:
            values = np.array([self._number(c) for c in wanted])
        wild = np.isinf(values)
        if wild.any():
            self.summary.count("infinite numbers: unknown", int(wild.sum()))
            values[wild] = np.nan
        label = None if self._label is None else _label(cells[self._label])
        return Row(time, text, values, label)

    def _number(self, cell: str) -> float:
        try:
            return float(cell)
        except ValueError:
            text = cell.strip().lower()
            if text in ("true", "false"):
                return float(text == "true")
            self.summary.count(
                "empty cells: unknown" if text in _EMPTY else "cells with text instead of a number: unknown"
            )
            return math.nan

    def _broken(self, fault: Exception) -> HistoryError:
        return HistoryError(f"{self.path}: cannot be read ({fault}); give an undamaged CSV or CSV.gz file")


def read_time(text: str) -> datetime | None:
    """A time from ISO 8601 or seconds since 1970; without a zone it is taken as UTC. None if it is neither.

    >>> read_time("2026-01-01 10:00:00"), read_time("2026-01-01T12:00:00+02:00").hour, read_time("soon")
    (datetime.datetime(2026, 1, 1, 10, 0, tzinfo=datetime.timezone.utc), 10, None)
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        try:
            return datetime.fromtimestamp(float(text), UTC)
        except (ValueError, OverflowError, OSError):
            return None
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:
        return None


def _label(cell: str) -> bool | None:
    try:
        return float(cell) > 0
    except ValueError:
        return None

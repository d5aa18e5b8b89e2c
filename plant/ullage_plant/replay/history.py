"""Reads a recorded history row by row: first column ``time``, then one column per tag, optionally ``label``.

Nothing in a file makes this raise anything but ``PlantError``: a hole is None, a time that cannot be read is None, and
what cannot be read as rows of a table at all is refused with a sentence that says where.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from ..errors import PlantError

LONGEST_LINE = 1_000_000  # bytes
MOST_TAGS = 5_000
_FLOAT32_MAX = 3.4028234663852886e38


@dataclass(frozen=True, slots=True)
class Row:
    """``number`` counts data rows of the file from 1; ``values`` follow the columns, None where there is a hole.

    ``labelled`` is the label column's truth; ``holes`` counts the empty, textual or not finite cells.
    """

    number: int
    time: datetime | None
    values: tuple[float | None, ...]
    labelled: bool
    holes: int
    misshapen: bool


def parse_time(text: str) -> datetime | None:
    """A time as files write it (``YYYY-MM-DD HH:MM:SS`` or ISO 8601; without a zone: UTC), None if it is none."""
    try:
        time = datetime.fromisoformat(text.strip())
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


class History:
    """A file whose header has been read. ``tags`` are the columns that are served, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _open(path) as stream:
            header = next(self._records(stream), None)
        if header is None:
            raise PlantError(f"{path} is empty: give a CSV whose first line names the columns time, tag, tag, ...")
        names = [name.strip() for name in header[1]]
        if len(names) < 2:
            raise PlantError(f"{path} has one column: give 'time' and at least one tag, separated by commas")
        if names[0].lower() != "time":
            raise PlantError(f"{path}: the first column is {names[0][:40]!r}, it must be 'time'")
        seen: set[str] = set()
        for place, name in enumerate(names, start=1):
            if not name or any(ord(sign) < 32 or ord(sign) == 127 for sign in name):
                raise PlantError(f"{path}: column {place} has no readable name; name every column in the first line")
            if name in seen:
                raise PlantError(f"{path}: two columns are called {name[:40]!r}; give every column its own name")
            seen.add(name)
        self._width = len(names)
        self._label = names.index("label") if "label" in names else None
        self._columns = [place for place in range(1, len(names)) if place != self._label]
        self.tags = tuple(names[place] for place in self._columns)
        if not self.tags:
            raise PlantError(f"{path} has no tag besides 'time' and 'label'")
        if "replay.row" in seen or len(self.tags) > MOST_TAGS:
            raise PlantError(f"{path}: a replay serves at most {MOST_TAGS} tags, and none called replay.row")

    def rows(self) -> Iterator[Row]:
        """All rows in order. Raises ``PlantError`` where the file is damaged."""
        with _open(self.path) as stream:
            records = self._records(stream)
            next(records, None)
            number = 0
            for _, cells in records:
                if not cells:
                    continue
                number += 1
                yield self._row(number, cells)

    def _row(self, number: int, cells: list[str]) -> Row:
        values = tuple(_value(cells[place]) if place < len(cells) else None for place in self._columns)
        label = cells[self._label] if self._label is not None and self._label < len(cells) else ""
        return Row(
            number,
            parse_time(cells[0]),
            values,
            bool(_value(label)),
            sum(value is None for value in values),
            len(cells) != self._width,
        )

    def _records(self, stream: IO[bytes]) -> Iterator[tuple[int, list[str]]]:
        for number, line in enumerate(_lines(self.path, stream), start=1):
            # Line by line: a stray quote then spoils one row, not all that follow.
            try:
                cells = next(csv.reader([line]), [])
            except csv.Error as fault:
                raise PlantError(f"{self.path}, line {number}: {fault}; repair the line") from fault
            yield number, cells


def _value(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    # NaN, infinities and what a float32 register cannot hold are holes.
    return value if abs(value) <= _FLOAT32_MAX else None


def _open(path: Path) -> IO[bytes]:
    try:
        with path.open("rb") as stream:
            zipped = stream.read(2) == b"\x1f\x8b"
        return io.BufferedReader(gzip.GzipFile(path, "rb")) if zipped else path.open("rb")
    except OSError as fault:
        raise PlantError(f"cannot read {path}: {fault.strerror or fault}; give a CSV file, gzipped or not") from fault


def _lines(path: Path, stream: IO[bytes]) -> Iterator[str]:
    number = 0
    while True:
        number += 1
        try:
            line = stream.readline(LONGEST_LINE + 1)
        except (OSError, EOFError, zlib.error) as fault:
            raise PlantError(f"{path} breaks off or is damaged at line {number} ({fault}); restore the file") from fault
        if not line:
            return
        if len(line) > LONGEST_LINE:
            raise PlantError(f"{path}, line {number} is longer than {LONGEST_LINE} bytes: this is not a table of rows")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as fault:
            raise PlantError(f"{path}, line {number} is not text in UTF-8: give a CSV file, gzipped or not") from fault
        if "\0" in text:
            raise PlantError(f"{path}, line {number} has zero bytes: give a CSV file, gzipped or not")
        yield text

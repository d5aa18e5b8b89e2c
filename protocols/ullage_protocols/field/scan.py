"""What one read of a device gives, column by column: at thousands of tags an object a value would be the cost.

A ``Scan`` is n rows of the same device: value, quality, times. ``for sample in scan`` gives ``Sample`` objects for
those who read a few. Numbers are float64; what a float64 cannot carry (text, integers beyond 2**53) stands in
``exact``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from ullage_protocols.sample import Quality, Sample, Value

Floats = NDArray[np.float64]
Codes = NDArray[np.uint8]

GOOD, UNCERTAIN, BAD = 0, 1, 2
"""Qualities as they stand in ``Scan.quality``."""
QUALITIES = (Quality.GOOD, Quality.UNCERTAIN, Quality.BAD)
FLOAT, INTEGER, TRUTH = 0, 1, 2
"""As what a row's number is meant, as it stands in ``Scan.forms``."""
LARGEST_EXACT = 2**53
"""Integers up to this size are the same number as a float64."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which tags the rows of a scan belong to; made once a group and shared by its scans.

    ``positions`` (n,) in the device's tag order, ``names`` (n,) of the tags.
    """

    positions: tuple[int, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.positions) != len(self.names):
            raise ValueError(f"{len(self.positions)} positions for {len(self.names)} names")

    def __len__(self) -> int:
        return len(self.positions)


def columns_of(tags: Iterable[tuple[str, int]]) -> tuple[Columns, ...]:
    """The groups of a device's tags, each given as name and group number (0, 1, ... without a hole).

    >>> columns_of([("a", 0), ("b", 1), ("c", 0)])
    (Columns(positions=(0, 2), names=('a', 'c')), Columns(positions=(1,), names=('b',)))
    """
    found: dict[int, list[tuple[int, str]]] = {}
    for position, (name, group) in enumerate(tags):
        found.setdefault(group, []).append((position, name))
    if sorted(found) != list(range(len(found))):
        raise ValueError(f"groups {sorted(found)} are not numbered 0, 1, ...")
    return tuple(
        Columns(tuple(position for position, _ in found[group]), tuple(name for _, name in found[group]))
        for group in range(len(found))
    )


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """n rows. ``values`` (n,) float64, NaN where there is no number; ``quality`` (n,) uint8 of GOOD, UNCERTAIN, BAD.

    ``seen`` is the gateway's time, timezone-aware. ``source`` (n,) POSIX seconds UTC, NaN where the device gives no
    time; None where it gives none at all. ``reasons`` by row says why a row is not good. ``exact`` by row holds the
    value that a float64 cannot carry. ``forms`` (n bytes) says as what the numbers are meant; empty: all FLOAT.
    In a scan of changes (subscriptions) a tag may stand in several rows, oldest first, or in none.
    """

    columns: Columns
    values: Floats
    quality: Codes
    seen: datetime
    source: Floats | None = None
    reasons: Mapping[int, str] = field(default_factory=dict)
    exact: Mapping[int, int | str] = field(default_factory=dict)
    forms: bytes = b""

    def __len__(self) -> int:
        return len(self.columns)

    def __iter__(self) -> Iterator[Sample]:
        return (self[row] for row in range(len(self)))

    def samples(self) -> list[Sample]:
        """All rows as Samples."""
        return list(self)

    def __getitem__(self, row: int) -> Sample:
        """Row ``row`` as a Sample."""
        quality = QUALITIES[self.quality[row]]
        time = self.seen
        if self.source is not None and self.source[row] == self.source[row]:
            time = datetime.fromtimestamp(float(self.source[row]), UTC)
        value = None if quality is Quality.BAD else self.value(row)
        return Sample(self.columns.names[row], value, quality, time, self.seen, self.reasons.get(row, ""))

    def value(self, row: int) -> Value | None:
        """The value of ``row``, None where it has none."""
        if row in self.exact:
            return self.exact[row]
        number = float(self.values[row])
        if number != number:
            return None
        form = self.forms[row] if self.forms else FLOAT
        return bool(number) if form == TRUTH else int(number) if form == INTEGER else number

    @property
    def bad(self) -> int:
        """How many rows are bad."""
        return int(np.count_nonzero(self.quality == BAD))


def bad_scan(columns: Columns, reason: str, seen: datetime) -> Scan:
    """Every row bad for one reason: what a lost connection means for all of a device's tags."""
    n = len(columns)
    return Scan(columns, np.full(n, np.nan), np.full(n, BAD, np.uint8), seen, reasons=dict.fromkeys(range(n), reason))


def scan_of(columns: Columns, samples: Sequence[Sample]) -> Scan:
    """A scan from one Sample a row, in order; the slow way, for few tags and for tests."""
    if len(samples) != len(columns):
        raise ValueError(f"{len(samples)} samples for {len(columns)} tags")
    values = np.full(len(samples), np.nan)
    quality = np.array([QUALITIES.index(sample.quality) for sample in samples], np.uint8)
    forms = bytearray(len(samples))
    exact: dict[int, int | str] = {}
    for row, sample in enumerate(samples):
        value = sample.value
        if isinstance(value, str):
            exact[row] = value
        elif value is not None:
            values[row] = value
            forms[row] = TRUTH if isinstance(value, bool) else INTEGER if isinstance(value, int) else FLOAT
            if forms[row] == INTEGER and abs(value) > LARGEST_EXACT:
                exact[row] = int(value)
    source = np.array([sample.source_time.timestamp() for sample in samples])
    seen = max((sample.seen_time for sample in samples), default=datetime.fromtimestamp(0, UTC))
    reasons = {row: sample.reason for row, sample in enumerate(samples) if sample.reason}
    return Scan(columns, values, quality, seen, source, reasons, exact, bytes(forms))

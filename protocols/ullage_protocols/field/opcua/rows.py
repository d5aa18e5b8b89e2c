"""From blocks of decoded data values to the rows of a Scan: vectors in, vectors out, no loop over good values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ullage_protocols.field.scan import BAD, LARGEST_EXACT, TRUTH, Codes, Floats

from .statuses import told
from .values import MIXED, Block, Column
from .variants import FLOAT, NOTHING, TOLD
from .wire import EPOCH

_QUALITY = np.array([0, 1, 2, 2], np.uint8)
"""By the two top bits of a status: good, uncertain, bad, and reserved, which counts as bad."""
_LETTERS = frozenset("bBhHiIqQfd")
_LATEST = EPOCH + 2_533_707_648_000_000_000
"""Year 9999: from there on a time is OPC UA's way of saying that there is none, as is one before 1970."""
_MOST = 1_000_000
"""Rows that a block may claim."""
_NO_VALUE = "no value where one number, truth or text is needed"


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Columns as in a Scan. ``handles`` says whose row each is; None: they follow one another."""

    handles: NDArray[np.uint32] | None
    values: Floats
    quality: Codes
    source: Floats
    forms: bytes | bytearray
    reasons: Mapping[int, str] = field(default_factory=dict)
    exact: Mapping[int, int | str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)


def rows_of(block: Block) -> Rows:
    """The rows of ``block``. Raises ValueError where its columns do not lie in its data.

    A status decides first; then what is no single value is bad; then what is no finite number.
    """
    n = block.n
    if n > min(len(block.data), _MOST):
        raise ValueError(f"{n} rows in {len(block.data)} bytes")
    handles, value, status, source, server, form = (_column(block, column) for column in block.columns)
    if value is None:
        raw = values = np.full(n, np.nan)
    else:
        raw = value
        values = (raw != 0).astype(np.float64) if block.form == TRUTH else raw.astype(np.float64)
    exact = {row: item for row, item in block.exact.items() if 0 <= row < n}
    if raw.dtype.kind in "iu" and raw.dtype.itemsize == 8:
        exact.update((int(row), int(raw[row])) for row in np.flatnonzero(np.abs(values) >= LARGEST_EXACT))
    forms = _forms(block, form)
    quality = np.zeros(n, np.uint8) if status is None else _QUALITY[status >> 30]
    reasons: dict[int, str] = {}
    if status is not None and quality.any():
        reasons = {int(row): f"server says {told(int(status[row]))}" for row in np.flatnonzero(quality)}
    bad = quality == BAD
    if not np.isfinite(values).all() or form is not None or bad.any() or block.reasons:
        quality = quality.copy()
        _judge(block, values, quality, forms, exact, reasons)
    kept = b"" if forms is None else np.where(forms > TRUTH, FLOAT, forms).astype(np.uint8).tobytes()
    return Rows(handles, values, quality, _times(n, source, server), kept, reasons, exact)


def _judge(
    block: Block,
    values: Floats,
    quality: Codes,
    forms: Codes | None,
    exact: dict[int, int | str],
    reasons: dict[int, str],
) -> None:
    """Sets bad what is no single finite value, in place."""
    for row in np.flatnonzero((quality != BAD) & ~np.isfinite(values)):
        at = int(row)
        kind = FLOAT if forms is None else int(forms[at])
        if kind == TOLD and at in exact:
            continue
        number = f"not a finite number: {float(values[at])}"
        quality[at] = BAD
        reasons[at] = block.reasons.get(at, _NO_VALUE) if kind in (NOTHING, TOLD) else number
    gone = quality == BAD
    values[gone] = np.nan
    for at in [at for at in exact if gone[at]]:
        del exact[at]


def _column(block: Block, column: Column) -> NDArray[Any] | None:
    if not column.letter:
        return None
    if column.letter not in _LETTERS or column.stride < 1:
        raise ValueError(f"a column of {column.letter!r} every {column.stride} bytes")
    return np.ndarray((block.n,), f"<{np.dtype(column.letter).str[1:]}", block.data, column.first, (column.stride,))


def _forms(block: Block, column: NDArray[Any] | None) -> Codes | None:
    """None where all numbers are floats."""
    if block.form == MIXED:
        if column is None:
            raise ValueError("mixed rows without a column of forms")
        return column.astype(np.uint8)
    return None if block.form == FLOAT else np.full(block.n, block.form, np.uint8)


def _times(n: int, source: NDArray[Any] | None, server: NDArray[Any] | None) -> Floats:
    """POSIX seconds: the source's time, else the server's, else NaN. Outside 1970 to 9998 there is none."""
    found: Floats | None = None
    for column in (source, server):
        if column is None:
            continue
        # Subtracted first, so that times before 1970 turn into large ones and one comparison tells both ends.
        since = np.subtract(column, EPOCH, dtype=np.int64).view(np.uint64)
        there = since < _LATEST - EPOCH
        whole = bool(there.all())
        seconds = since / 1e7 if whole else np.where(there, since / 1e7, np.nan)
        found = seconds if found is None else np.where(np.isnan(found), seconds, found)
        if whole:
            return found
    return np.full(n, np.nan) if found is None else found

"""Rows of words as columns of text."""

from __future__ import annotations

from collections.abc import Sequence


def printable(text: str) -> str:
    """``text`` without what would move a terminal's cursor or turn its words around."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line a row, the columns aligned, the last one as long as it likes.

    >>> columns([("tag", "value", ""), ("level", "1.5", "why")])
    ['tag    value', 'level  1.5    why']
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return [
        "  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1])).rstrip()
        for row in rows
    ]

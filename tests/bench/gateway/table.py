"""Results as text: a row a figure, a column a contender, and beside ours the ratio to the best peer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Results = Mapping[str, Mapping[str, Mapping[str, Any]]]

_ROWS: tuple[tuple[str, str, str, bool], ...] = (
    ("CPU-s per million tags, 10,000 tags/s", "cost", "cpu_per_million", False),
    ("CPU-s per million tags, one core full", "sustained", "cpu_per_million", False),
    ("sustained on one core, tags/s", "sustained", "kept_per_s", True),
    ("of it arrived at the broker", "sustained", "arrived", True),
    ("RSS of all processes, MB", "cost", "rss", False),
    ("PSS of all processes, MB", "cost", "pss", False),
    ("first value at the broker, s", "start", "first", False),
    ("first message at the broker, s", "start", "hello", False),
    ("killed device told after, s", "told-kill", "told", False),
    ("hung device told after, s", "told-hang", "told", False),
    ("lost, broker stopped", "loss-stopped", "lost", False),
    ("lost, broker frozen", "loss-frozen", "lost", False),
    ("lost, broker black-holed", "loss-black-holed", "lost", False),
    ("lost, stopped and agent killed", "loss-killed", "lost", False),
)


def ratio(ours: float | None, theirs: list[float], *, more: bool) -> float | None:
    """How many times better than the best of ``theirs`` (above 1: better).

    >>> ratio(0.5, [2.0, 4.0], more=False)
    4.0
    >>> ratio(100.0, [400.0], more=True)
    0.25
    """
    if not ours or not theirs or not all(theirs):
        return None
    return ours / max(theirs) if more else min(theirs) / ours


def table(results: Results, does: Mapping[str, str]) -> str:
    names = list(results)
    peers = [name for name in names if not name.startswith("ullage")]
    lines = [["", *names]]
    for title, step, key, more in _ROWS:
        if not any(key in results[name].get(step, {}) for name in names):
            continue
        row = [title]
        for name in names:
            found = results[name].get(step, {})
            cell = _cell(found, key)
            if name not in peers and key not in ("lost", "arrived", "hello", "told"):
                theirs = [float(results[peer].get(step, {}).get(key) or 0) for peer in peers]
                better = ratio(found.get(key), [value for value in theirs if value], more=more)
                cell += f" ({better:.2g}x)" if better else ""
            row.append(cell)
        lines.append(row)
    widths = [max(len(line[column]) for line in lines) for column in range(len(names) + 1)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    text += ["", "(2x): twice as good as the best peer in the same run"]
    text += [f"{name}: {does[name]}" for name in names]
    return "\n".join(text)


def _cell(found: Mapping[str, Any], key: str) -> str:
    if "failed" in found:
        return "failed"
    if key not in found:
        return "-"
    value = found[key]
    if key == "lost":
        return f"{'more than 0' if value is None else value} of {found['acquired']}"
    if value is None:
        return "not told" if key == "told" else "never"
    if key == "told" and found.get("words"):
        return f"{value:.1f} ({found['words']})"
    if key == "arrived":
        return f"{value:.0%}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"

"""What each tag is and how it normally moves, from its readings alone unless a role says it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ullage_models.detect.rules import rolled_over
from ullage_models.detect.tags import COUNTER_ROLES, Kind, TagProfile

from .evidence import STEADY, independent, widening
from .history import Ordered

Floats = NDArray[np.float64]

ACCURACY = 0.001
"""Share of its largest reading by which a tag must move to count as moving."""

BASE_MARGIN = 1.0
"""How far beyond its range a tag may read, in widths of that range, when the window shows it well. Twice that where it
wandered: a few readings seldom show the ends of a range."""

MOST_LEVELS = 32
COUNTER_LEVELS = 20


def profile(rows: Ordered, tags: tuple[str, ...], roles: Mapping[str, str]) -> tuple[list[TagProfile], list[str]]:
    """Each tag's profile, and notes on those that are out of the ordinary."""
    profiles, notes = [], []
    for i, name in enumerate(tags):
        tag = _profile(name, roles.get(name, "measurement"), rows.values[:, i], rows.stretch)
        profiles.append(tag)
        notes += _notes(tag, guessed=name not in roles)
    return profiles, notes


def _profile(name: str, role: str, column: Floats, stretch: NDArray[np.int64]) -> TagProfile:
    known = ~np.isnan(column)
    observed = float(known.mean()) if len(column) else 0.0
    values = column[known]
    if role == "ignore" or len(values) < 2:
        return TagProfile(name, role, Kind.UNUSABLE, 0.0, 0.0, 0.0, 0.0, 0, 0, (), observed, 0.0)
    levels = np.unique(values)
    low, high = float(levels[0]), float(levels[-1])
    moved = np.diff(values) != 0
    kind = _kind(role, values, levels, moved)
    accuracy = 0.0 if kind is Kind.COUNTER else ACCURACY * max(abs(low), abs(high))
    steps = np.diff(levels)
    steps = steps[steps > 1e-9 * max(high - low, 1e-300)]
    few = tuple(float(v) for v in levels) if len(levels) <= MOST_LEVELS else ()
    together = np.diff(stretch[known]) == 0
    still = _longest_still(values, together, accuracy)
    lively = float(_moved(values, accuracy).mean())
    off = _longest(values == low) if kind is Kind.STATE else 0
    return TagProfile(
        name, role, kind, low, high, float(steps.min()) if len(steps) else 0.0, lively, still, off, few,
        observed, _margin(independent(values)),
    )  # fmt: skip


def _margin(count: float) -> float:
    """Margin in widths of the range, from the number of independent readings that showed the range."""
    return BASE_MARGIN * widening(count) * (2.0 if count < STEADY else 1.0)


def _kind(role: str, values: Floats, levels: Floats, moved: NDArray[np.bool_]) -> Kind:
    if role == "setpoint":
        return Kind.SETPOINT
    if role in COUNTER_ROLES:
        return Kind.COUNTER
    if len(levels) == 1:
        return Kind.CONSTANT
    if len(levels) == 2:
        return Kind.STATE
    return Kind.COUNTER if role == "measurement" and _climbs(values, levels, moved) else Kind.MEASURED


def _climbs(values: Floats, levels: Floats, moved: NDArray[np.bool_]) -> bool:
    """Whether a tag climbs in many steps and falls only as a counter does: rarely, and all the way."""
    if len(levels) < COUNTER_LEVELS:
        return False
    falls = np.flatnonzero(np.diff(values) < 0)
    if len(falls) > 0.005 * moved.sum():
        return False
    return all(rolled_over(float(values[f]), float(values[f + 1])) for f in falls)


def _moved(values: Floats, accuracy: float, shift: float = 0.0) -> NDArray[np.bool_]:
    """Whether each reading differs from the one before by more than rounding to the accuracy hides."""
    rounded = np.floor(values / accuracy + shift) if accuracy > 0 else values
    moved: NDArray[np.bool_] = np.diff(rounded) != 0
    return moved


def _longest_still(values: Floats, together: NDArray[np.bool_], accuracy: float) -> int:
    """Longest standstill in rows, as an instrument of this accuracy would show it: what moves by less may come to rest
    when the same plant is read with fewer digits."""
    return max(_longest(~_moved(values, accuracy, shift) & together) for shift in (0.0, 0.5))


def _longest(flags: NDArray[np.bool_]) -> int:
    """Length of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return int((edges[1::2] - edges[::2]).max()) if len(edges) else 0


def _notes(tag: TagProfile, guessed: bool) -> list[str]:
    if tag.role == "ignore":
        return []
    notes = []
    if tag.kind is Kind.UNUSABLE:
        notes.append(f"tag {tag.name} had no numbers and is not watched")
    elif tag.kind is Kind.CONSTANT:
        notes.append(f"tag {tag.name} never moved: it stood at {tag.low:g}")
    elif tag.kind is Kind.COUNTER and guessed:
        notes.append(f"tag {tag.name} only climbs and is taken for a counter: its rate is watched")
    elif tag.kind is Kind.SETPOINT and tag.moves > 0:
        notes.append(f"setpoint {tag.name} moved while learning: the values that it took count as normal")
    if tag.kind is not Kind.UNUSABLE and tag.observed < 0.8:
        notes.append(f"tag {tag.name} had a value on only {100 * tag.observed:.0f}% of the rows")
    return notes

"""Tables of a rating plan: interpolated points and bands, each checked when it is read."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from ..money import exact, plain, rounded
from .errors import RatingError
from .reading import Section

FACTOR_PLACES = 6
_DIRECTIONS = ("rising", "falling", "any")


@dataclass(frozen=True, slots=True)
class Points:
    """A table read by straight lines between its points; outside them nothing is known and it raises RatingError."""

    name: str
    unit: str
    value_unit: str
    rows: tuple[tuple[Decimal, Decimal], ...]
    source: str

    @property
    def low(self) -> Decimal:
        return self.rows[0][0]

    @property
    def high(self) -> Decimal:
        return self.rows[-1][0]

    @exact
    def at(self, x: Decimal) -> Decimal:
        """The value at ``x``, half up to six decimals."""
        (x0, y0), (x1, y1) = self.around(x)
        return y0 if x == x0 else rounded(y0 + (y1 - y0) * (x - x0) / (x1 - x0), FACTOR_PLACES)

    def around(self, x: Decimal) -> tuple[tuple[Decimal, Decimal], tuple[Decimal, Decimal]]:
        """The two rows that ``x`` lies between (twice the same row at the last point)."""
        if not self.low <= x <= self.high:
            raise RatingError(
                f"table {self.name}: {plain(x)} {self.unit} lies outside {plain(self.low)} to {plain(self.high)}; "
                "refer to an underwriter"
            )
        for before, after in pairwise(self.rows):
            if x < after[0]:
                return before, after
        return self.rows[-1], self.rows[-1]

    def rows_text(self, x: Decimal) -> str:
        """The rows used, as a trace shows them: ``8 -> 1; 12 -> 0.97``."""
        pair = self.around(x)
        used = pair[:1] if pair[0] == pair[1] or x == pair[0][0] else pair
        return "; ".join(f"{plain(at)} -> {plain(value)}" for at, value in used)


@dataclass(frozen=True, slots=True)
class Bands:
    """A table of steps: each value holds from ``low`` up to, not including, ``high`` (None: without end)."""

    name: str
    unit: str
    value_unit: str
    rows: tuple[tuple[Decimal, Decimal | None, Decimal], ...]
    source: str

    def at(self, x: Decimal) -> Decimal:
        for low, high, value in self.rows:
            if low <= x and (high is None or x < high):
                return value
        raise RatingError(f"table {self.name}: {plain(x)} {self.unit} lies in no band; refer to an underwriter")

    def row_text(self, x: Decimal) -> str:
        for low, high, value in self.rows:
            if low <= x and (high is None or x < high):
                return f"{plain(low)} to {'any' if high is None else plain(high)} -> {plain(value)}"
        return ""


def read_points(section: Section, name: str, *, sources: set[str], starts_at: Decimal | None = None) -> Points:
    unit, value_unit, source, bounds, direction = _head(section, sources)
    rows: list[tuple[Decimal, Decimal]] = []
    for point in section.subs("points", "a list of {at, value}"):
        at = point.decimal("at", 0, Decimal(10) ** 15)
        value = point.decimal("value", *bounds)
        point.close()
        if rows and at == rows[-1][0]:
            point.fault("at", f"{plain(at)} overlaps the row before, which stands at the same place")
        elif rows and at < rows[-1][0]:
            point.fault("at", f"{plain(at)} lies before the row above; rows must rise")
        elif rows and _wrong_way(direction, rows[-1][1], value):
            point.fault("value", f"{plain(value)} after {plain(rows[-1][1])} is not {direction}; if that is meant, "
                        "write direction: any and the reason")  # fmt: skip
        rows.append((at, value))
    if len(rows) < 2:
        section.fault("points", "needs two rows at least")
        rows = [(Decimal(0), Decimal(1)), (Decimal(1), Decimal(1))]
    if starts_at is not None and rows[0][0] != starts_at:
        section.fault("points", f"leaves a gap: must start at {plain(starts_at)}, not at {plain(rows[0][0])}")
    section.close()
    return Points(name, unit, value_unit, tuple(rows), source)


def read_bands(section: Section, name: str, *, sources: set[str]) -> Bands:
    unit, value_unit, source, bounds, direction = _head(section, sources)
    rows: list[tuple[Decimal, Decimal | None, Decimal]] = []
    for band in section.subs("bands", "a list of {from, to, value}"):
        low = band.decimal("from", 0, Decimal(10) ** 15)
        endless = band.body.get("to", 0) is None
        band.used.add("to")
        high = None if endless else band.decimal("to", 0, Decimal(10) ** 15)
        value = band.decimal("value", *bounds)
        band.close()
        if high is not None and high <= low:
            band.fault("to", f"{plain(high)} must lie above {plain(low)}")
        if not rows and low:
            band.fault("from", f"leaves a gap from 0 to {plain(low)}")
        if rows:
            before = rows[-1][1]
            if before is None or low < before:
                band.fault("from", f"{plain(low)} overlaps the band before")
            elif low > before:
                band.fault("from", f"leaves a gap from {plain(before)} to {plain(low)}")
            if _wrong_way(direction, rows[-1][2], value):
                band.fault("value", f"{plain(value)} after {plain(rows[-1][2])} is not {direction}; if that is meant, "
                           "write direction: any and the reason")  # fmt: skip
        rows.append((low, high, value))
    if not rows:
        section.fault("bands", "needs one row at least")
    elif rows[-1][1] is not None:
        section.fault("bands", f"leaves a gap above {plain(rows[-1][1])}; the last band must end at null")
    section.close()
    return Bands(name, unit, value_unit, tuple(rows), source)


def source_of(section: Section, sources: set[str]) -> str:
    """The key of a source or assumption listed at the top of the plan."""
    source = section.text("source")
    if source and source not in sources:
        section.fault("source", f"{source!r} is not among the plan's sources and assumptions")
    return source


def bounds_of(section: Section) -> tuple[Decimal, Decimal]:
    """The two numbers of ``bounds``, lower first."""
    found = [value for _, value in section.items("bounds", "two numbers, lower and upper")]
    if len(found) != 2 or not all(isinstance(v, Decimal) for v in found) or found[0] > found[1]:
        if section.has("bounds"):
            section.fault("bounds", "must be two numbers, the lower first")
        return Decimal(-(10**15)), Decimal(10**15)
    return found[0], found[1]


def _head(section: Section, sources: set[str]) -> tuple[str, str, str, tuple[Decimal, Decimal], str]:
    unit, value_unit, source = section.text("unit"), section.text("value_unit"), source_of(section, sources)
    direction = section.text("direction")
    if direction and direction not in _DIRECTIONS:
        section.fault("direction", f"{direction!r} must be one of {', '.join(_DIRECTIONS)}")
    if direction == "any":
        section.text("reason")
    return unit, value_unit, source, bounds_of(section), direction


def _wrong_way(direction: str, before: Decimal, after: Decimal) -> bool:
    return (direction == "rising" and after < before) or (direction == "falling" and after > before)

"""Increased limits: what a limit or a layer costs, relative to a basic limit."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from ..money import exact
from .errors import RatingError

PI: Final = Decimal("3.14159265358979323846264338327950288")
_FAR: Final = Decimal(12)
"""Beyond 12 standard deviations the normal distribution is 0 or 1 to 30 digits."""


@exact
def normal(z: Decimal) -> Decimal:
    """The standard normal distribution function, by its series: at least 12 digits within ± 12."""
    if abs(z) > _FAR:
        return Decimal(1) if z > 0 else Decimal(0)
    term = total = z
    odd = 1
    while abs(term) > Decimal("1e-40"):
        odd += 2
        term = term * z * z / odd
        total += term
    return Decimal("0.5") + total * (-z * z / 2).exp() / (2 * PI).sqrt()


@exact
def limited_expected_value(limit: Decimal, *, median: Decimal, sigma: Decimal) -> Decimal:
    """Expected cost of a lognormal loss below a limit."""
    if min(limit, median, sigma) <= 0:
        raise RatingError("increased limits: limit, median and sigma must be above zero")
    mu, spread = median.ln(), sigma * sigma
    z = (limit.ln() - mu) / sigma
    return (mu + spread / 2).exp() * normal(z - sigma) + limit * (1 - normal(z))


@exact
def lognormal_ilf(limit: Decimal, *, basic: Decimal, median: Decimal, sigma: Decimal) -> Decimal:
    """Increased limits factor of a limit against the basic limit, for a lognormal severity."""
    return limited_expected_value(limit, median=median, sigma=sigma) / limited_expected_value(
        basic, median=median, sigma=sigma
    )


@exact
def layered(base: Decimal, *, upper: Decimal, lower: Decimal, hazard: Decimal, multiplier: Decimal) -> Decimal:
    """Premium of a layer: base × (ILF(limit + retention) - ILF(retention)) × hazard × loss-cost multiplier."""
    if upper < lower:
        raise RatingError(f"layer: its upper factor {upper} must not lie below its lower factor {lower}")
    return base * (upper - lower) * hazard * multiplier

"""Money is closed, exact and one-to-one with its texts."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from ullage_models.money import MINOR_UNITS, Money, total

CURRENCY = st.sampled_from(sorted(MINOR_UNITS))
UNITS = st.integers(-(10**28), 10**28)
FACTOR = st.decimals(-1000, 1000, places=8)


def money(pico: int, currency: str = "CNY") -> Money:
    return Money(Decimal(pico).scaleb(-12) if abs(pico) < 10**28 else Decimal(0), currency)


def fraction(amount: Money) -> Fraction:
    return Fraction(amount.amount)


@given(UNITS, UNITS, CURRENCY, st.integers(2, 20))
def test_sums_are_exact_in_any_ambient_context(a: int, b: int, currency: str, precision: int) -> None:
    x, y = money(a, currency), money(b, currency)
    with localcontext() as ambient:
        ambient.prec = precision
        found, back = x + y, (x + y) - y
    assert fraction(found) == fraction(x) + fraction(y)
    assert back == x
    assert total([x, y, -x], currency) == y


@given(UNITS, FACTOR)
def test_a_product_is_the_nearest_amount_of_twelve_decimals(a: int, factor: Decimal) -> None:
    x = money(a // 10**4)
    exact = fraction(x) * Fraction(factor)
    assert abs(fraction(x.times(factor)) - exact) <= Fraction(1, 2 * 10**12)


@given(UNITS, CURRENCY)
def test_rounding_is_to_the_nearest_minor_unit_and_odd(a: int, currency: str) -> None:
    x = money(a, currency)
    step = Fraction(1, 10 ** MINOR_UNITS[currency])
    assert abs(fraction(x.rounded()) - fraction(x)) <= step / 2
    assert (-x).rounded() == -(x.rounded())
    assert Money.from_minor(x.rounded().to_minor(), currency) == x.rounded()
    assert x.rounded().rounded() == x.rounded()


@given(UNITS, CURRENCY)
def test_texts_lead_back(a: int, currency: str) -> None:
    x = money(a, currency)
    assert Money.parse(str(x)) == x
    assert Money.from_json(x.to_json()) == x
    assert hash(Money.from_json(x.to_json())) == hash(x)

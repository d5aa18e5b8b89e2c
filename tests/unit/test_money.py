"""Money: exact, one currency at a time, one rounding rule."""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal, getcontext, localcontext

import pytest
from ullage_models.money import Money, MoneyError, number, plain, rounded, total

D = Decimal


def cny(text: str) -> Money:
    return Money(D(text), "CNY")


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [("0.005", "CNY", 1), ("-0.005", "CNY", -1), ("0.004999999999", "CNY", 0), ("2.675", "USD", 268),
     ("0.5", "JPY", 1), ("-2.5", "JPY", -3), ("1.015", "EUR", 102)],
)  # fmt: skip
def test_a_tie_moves_away_from_zero(text: str, currency: str, minor: int) -> None:
    assert Money(D(text), currency).rounded().to_minor() == minor


def test_minor_units_go_both_ways_and_a_fraction_of_one_is_refused() -> None:
    assert Money.from_minor(12345, "CNY") == cny("123.45")
    assert Money.from_minor(12345, "JPY") == Money(D(12345), "JPY")
    with pytest.raises(MoneyError, match="round it first"):
        cny("0.001").to_minor()


@pytest.mark.parametrize(
    ("text", "shown"),
    [("1234.5 CNY", "1,234.50 CNY"), ("-1,234,567 JPY", "-1,234,567 JPY"), ("0.0375 CNY", "0.0375 CNY"),
     ("0 EUR", "0.00 EUR"), ("-0 EUR", "0.00 EUR"), ("999 USD", "999.00 USD"), ("-0.10 USD", "-0.10 USD")],
)  # fmt: skip
def test_text_and_back(text: str, shown: str) -> None:
    amount = Money.parse(text)
    assert str(amount) == shown
    assert Money.parse(shown) == amount
    assert Money.from_json(amount.to_json()) == amount


@pytest.mark.parametrize(
    "text", ["", "12", "CNY", "12,34 CNY", "1e5 CNY", "NaN CNY", "12 XXX", "1.2.3 CNY", "١٢ CNYY", "12 CNY 3"]
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(MoneyError):
        Money.parse(text)


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        {"amount": "1"},
        {"amount": 1, "currency": "CNY"},
        {"amount": 1.5, "currency": "CNY"},
        {"amount": "1", "currency": "CNY", "x": 1},
        {"amount": "Infinity", "currency": "CNY"},
    ],
)
def test_json_that_is_no_money_is_refused(body: object) -> None:
    with pytest.raises(MoneyError, match="money"):
        Money.from_json(body)


def test_json_form() -> None:
    assert cny("123.450").to_json() == {"amount": "123.45", "currency": "CNY"}
    assert Money(D("1E+3"), "JPY").to_json() == {"amount": "1000", "currency": "JPY"}


@pytest.mark.parametrize("amount", [1.5, True, "1", D("NaN"), D("Infinity"), D(10) ** 18, D("1E-13")])
def test_an_amount_that_is_not_exact_is_refused(amount: object) -> None:
    with pytest.raises(MoneyError):
        Money(amount, "CNY")  # type: ignore[arg-type]


def test_currencies_never_mix() -> None:
    euro = Money(D(1), "EUR")
    for mix in (lambda: cny("1") + euro, lambda: cny("1") - euro, lambda: cny("1") < euro, lambda: cny("1").over(euro)):
        with pytest.raises(MoneyError, match="convert one of them first"):
            mix()
    assert cny("1") != euro
    with pytest.raises(MoneyError, match="not money"):
        cny("1") + 1  # type: ignore[operator]


def test_a_float_never_multiplies_money() -> None:
    with pytest.raises(MoneyError, match="Decimal or an int"):
        cny("1").times(0.1)  # type: ignore[arg-type]


def test_the_ambient_context_changes_nothing() -> None:
    a, b = cny("123456789012345.678901"), cny("0.000000000001")
    expected, product = a + b, a.times(D("1.23456789"))
    with localcontext() as ambient:
        ambient.prec, ambient.rounding = 3, ROUND_DOWN
        assert a + b == expected
        assert a.times(D("1.23456789")) == product
        assert Money.from_minor(123456789, "CNY").to_minor() == 123456789
        assert Money(D("123456.785"), "CNY").rounded() == cny("123456.79")
        assert getcontext().prec == 3


def test_division_by_nothing_is_refused() -> None:
    assert cny("1").over(cny("4")) == D("0.25")
    with pytest.raises(MoneyError, match="cannot be divided"):
        cny("1").over(cny("0"))


def test_numbers_from_json() -> None:
    assert number(0.1) == D("0.1")
    assert number("12.50") == D("12.5")
    assert plain(D("1.50E+3")) == "1500"
    assert plain(D("-0.00")) == "0"
    assert rounded(D("0.5"), 0) == 1
    for bad in (True, "x", "NaN", float("inf")):
        with pytest.raises(MoneyError):
            number(bad)


def test_a_sum_of_nothing_is_zero() -> None:
    assert total([], "CNY") == cny("0")
    assert total([cny("1"), cny("2.5")], "CNY") == cny("3.50")

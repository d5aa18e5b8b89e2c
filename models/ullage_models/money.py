"""Money is an exact decimal amount of one currency. Sums never mix currencies and never pass through a float.

Two rules hold wherever money is computed:

* arithmetic runs in ``CONTEXT`` (34 significant digits), never in the ambient decimal context, so that every
  machine gives the same digits;
* there is one rounding rule, half up (a tie moves away from zero), to the minor unit of the currency. It is the
  rule printed on invoices, and it treats a refund as the mirror image of the charge it undoes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal, DivisionByZero, InvalidOperation, Overflow, localcontext
from functools import wraps
from typing import Any, Final, ParamSpec, Self, TypeVar

from .errors import ModelError

CONTEXT: Final = Context(
    prec=34, rounding=ROUND_HALF_UP, Emin=-6143, Emax=6144, traps=[InvalidOperation, DivisionByZero, Overflow]
)
"""The only context in which money, factors and quantities are computed (the precision of IEEE decimal128)."""

MINOR_UNITS: Final[Mapping[str, int]] = {
    "CNY": 2, "EUR": 2, "GBP": 2, "HKD": 2, "INR": 2, "JPY": 0, "USD": 2,
}  # fmt: skip
"""Decimal places of the minor unit by ISO 4217 code."""

PLACES: Final = 12
"""Decimal places that an amount may carry before it is rounded to minor units (unit prices, running products)."""

LARGEST: Final = Decimal(10) ** 18
"""No amount reaches this; sums of amounts below it are exact in CONTEXT."""

P = ParamSpec("P")
R = TypeVar("R")
_NUMBER = re.compile(r"(-?)(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?")


class MoneyError(ModelError):
    """An amount, a currency, or a sum across currencies that is refused."""


def exact(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function in CONTEXT, whatever decimal context the caller has set."""

    @wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        with localcontext(CONTEXT):
            return function(*args, **kwargs)

    return inside


def number(value: Decimal | int | float | str) -> Decimal:
    """A finite decimal from what JSON carries; a float stands for its shortest text. Raises MoneyError."""
    if isinstance(value, bool):
        raise MoneyError(f"{value} is not a number; give digits such as 12.5")
    try:
        found = Decimal(value) if isinstance(value, Decimal | int) else Decimal(str(value).strip())
    except InvalidOperation:
        raise MoneyError(f"{str(value)[:40]!r} is not a number; give digits such as 12.5") from None
    if not found.is_finite():
        raise MoneyError(f"{found} is not a finite number; give digits such as 12.5")
    return found


@exact
def rounded(value: Decimal, places: int) -> Decimal:
    """``value`` half up to ``places`` decimals: the one rounding rule."""
    try:
        return value.quantize(Decimal(1).scaleb(-places))
    except InvalidOperation:
        raise MoneyError(f"{value:.6E} has too many digits to be rounded to {places} decimals") from None


def plain(value: Decimal) -> str:
    """A number as text without an exponent and without idle zeros: what traces show and people retype."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


@dataclass(frozen=True, slots=True)
class Money:
    """An exact amount in one currency. ``amount`` has at most 12 decimals and lies within ±10^18.

    Addition and comparison demand equal currencies and are exact. ``times`` rounds half up to 12 decimals;
    ``rounded`` goes to the minor unit and is called where a sum is charged or paid.
    """

    amount: Decimal
    currency: str

    @exact
    def __post_init__(self) -> None:
        if self.currency not in MINOR_UNITS:
            known = ", ".join(MINOR_UNITS)
            raise MoneyError(f"currency {str(self.currency)[:12]!r} is not known; use one of {known}")
        if isinstance(self.amount, bool) or not isinstance(self.amount, Decimal | int):
            raise MoneyError(f"amount {self.amount!r} must be a Decimal; a float is not exact, give it as text")
        amount = Decimal(self.amount)
        if not amount.is_finite():
            raise MoneyError(f"amount {amount} {self.currency} is not finite; give digits such as 12.50")
        if abs(amount) >= LARGEST:
            raise MoneyError(f"amount {amount:.3E} {self.currency} is beyond ±10^18; check the unit of the amount")
        exponent = amount.as_tuple().exponent
        if isinstance(exponent, int) and exponent < -PLACES and amount != rounded(amount, PLACES):
            raise MoneyError(f"amount {amount} {self.currency} has more than {PLACES} decimals; round it first")
        shown = max(MINOR_UNITS[self.currency], -exponent if isinstance(exponent, int) else 0)
        object.__setattr__(self, "amount", rounded(amount, min(PLACES, shown)) + 0)

    @classmethod
    def zero(cls, currency: str) -> Self:
        return cls(Decimal(0), currency)

    @classmethod
    @exact
    def from_minor(cls, minor: int, currency: str) -> Self:
        """``from_minor(12345, "CNY")`` is 123.45 CNY."""
        if isinstance(minor, bool) or not isinstance(minor, int):
            raise MoneyError(f"minor units must be a whole number, not {minor!r}")
        if abs(minor) >= 10**21:
            raise MoneyError(f"{minor} minor units of {currency} are beyond ±10^18; check the unit of the amount")
        return cls(Decimal(minor).scaleb(-_places(currency)), currency)

    @classmethod
    def parse(cls, text: str) -> Self:
        """``"1,234.50 CNY"`` or ``"1234.5 CNY"``; the inverse of ``str``. Raises MoneyError."""
        parts = text.split()
        matched = _NUMBER.fullmatch(parts[0]) if len(parts) == 2 else None
        if matched is None:
            raise MoneyError(f"{text[:60]!r} is not an amount; write it as '1,234.50 CNY'")
        return cls(Decimal(parts[0].replace(",", "")), parts[1])

    @classmethod
    def from_json(cls, body: object) -> Self:
        """From ``{"amount": "123.45", "currency": "CNY"}``; the amount must be text. Raises MoneyError."""
        if not isinstance(body, Mapping) or set(body) != {"amount", "currency"}:
            raise MoneyError('money must be an object such as {"amount": "123.45", "currency": "CNY"}')
        amount, currency = body["amount"], body["currency"]
        if not isinstance(amount, str) or not isinstance(currency, str) or not _NUMBER.fullmatch(amount):
            raise MoneyError(f'money amount {str(amount)[:40]!r} must be text such as "123.45", with its currency')
        return cls(Decimal(amount.replace(",", "")), currency)

    def to_json(self) -> dict[str, Any]:
        return {"amount": self.text(), "currency": self.currency}

    def text(self) -> str:
        """The amount alone, with at least the decimals of the minor unit and no idle ones beyond."""
        places = MINOR_UNITS[self.currency]
        digits = plain(self.amount)
        whole, _, part = digits.partition(".")
        part = part.ljust(places, "0")
        return f"{whole}.{part}" if part else whole

    def __str__(self) -> str:
        whole, dot, part = self.text().partition(".")
        sign = "-" if whole.startswith("-") else ""
        return f"{sign}{int(whole.lstrip('-')):,}{dot}{part} {self.currency}"

    @exact
    def to_minor(self) -> int:
        """Whole minor units. Raises MoneyError where the amount has a fraction of one: call ``rounded`` first."""
        if self.rounded().amount != self.amount:
            raise MoneyError(f"{self} is not a whole number of minor units; round it first")
        return int(self.amount.scaleb(MINOR_UNITS[self.currency]))

    def rounded(self) -> Self:
        """Half up to the minor unit of the currency."""
        return type(self)(rounded(self.amount, MINOR_UNITS[self.currency]), self.currency)

    @exact
    def __add__(self, other: Money) -> Money:
        return Money(self.amount + self._same(other, "added to"), self.currency)

    @exact
    def __sub__(self, other: Money) -> Money:
        return Money(self.amount - self._same(other, "subtracted from"), self.currency)

    @exact
    def __neg__(self) -> Money:
        return Money(-self.amount, self.currency)

    @exact
    def times(self, factor: Decimal | int) -> Money:
        """The product, half up to 12 decimals; not yet rounded to minor units."""
        if isinstance(factor, bool) or not isinstance(factor, Decimal | int):
            raise MoneyError(f"money is multiplied by a Decimal or an int, not by {factor!r}")
        return Money(rounded(self.amount * number(factor), PLACES), self.currency)

    @exact
    def over(self, other: Money) -> Decimal:
        """The ratio of two amounts of one currency. Raises MoneyError where ``other`` is zero."""
        if not other.amount:
            raise MoneyError(f"{self} cannot be divided by {other}")
        return self.amount / self._same(other, "divided by")

    def __lt__(self, other: Money) -> bool:
        return self.amount < self._same(other, "compared with")

    def __le__(self, other: Money) -> bool:
        return self.amount <= self._same(other, "compared with")

    def __gt__(self, other: Money) -> bool:
        return self.amount > self._same(other, "compared with")

    def __ge__(self, other: Money) -> bool:
        return self.amount >= self._same(other, "compared with")

    def __bool__(self) -> bool:
        return bool(self.amount)

    def _same(self, other: Money, deed: str) -> Decimal:
        if not isinstance(other, Money):
            raise MoneyError(f"{other!r} cannot be {deed} {self}: it is not money; give an amount in {self.currency}")
        if other.currency != self.currency:
            raise MoneyError(f"{other} cannot be {deed} {self}: convert one of them first, at a rate on record")
        return other.amount


def total(amounts: Iterable[Money], currency: str) -> Money:
    """The exact sum of amounts that are all in ``currency`` (zero for none)."""
    found = Money.zero(currency)
    for amount in amounts:
        found = found + amount
    return found


def _places(currency: str) -> int:
    if currency not in MINOR_UNITS:
        raise MoneyError(f"currency {str(currency)[:12]!r} is not known; use one of {', '.join(MINOR_UNITS)}")
    return MINOR_UNITS[currency]

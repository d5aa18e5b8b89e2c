"""Reads the fields of a decoded JSON object, each with its type, bound and name in the error."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from . import wire
from .errors import WireError

_HASH = re.compile(r"[0-9a-f]{64}")
MAX_TEXT = 2000
MAX_ITEMS = 4096


class Fields:
    """One object being read; ``what`` names it in errors."""

    def __init__(self, body: object, what: str) -> None:
        if not isinstance(body, Mapping):
            raise WireError(f"{what} must be an object")
        self.body: Mapping[str, Any] = body
        self.what = what

    def _get(self, name: str) -> Any:  # noqa: ANN401 - the value is checked by the caller
        if name not in self.body:
            raise WireError(f"{self.what} lacks {name!r}")
        return self.body[name]

    def _wrong(self, name: str, expected: str) -> WireError:
        return WireError(f"{self.what}: {name!r} must be {expected}")

    def text(self, name: str, *, limit: int = MAX_TEXT) -> str:
        value = self._get(name)
        if not isinstance(value, str) or len(value) > limit:
            raise self._wrong(name, f"text of at most {limit} characters")
        return value

    def one_of(self, name: str, allowed: tuple[str, ...]) -> str:
        value = self.text(name)
        if value not in allowed:
            raise self._wrong(name, "one of " + ", ".join(allowed))
        return value

    def integer(self, name: str, *, low: int = -(2**63), high: int = 2**63 - 1) -> int:
        value = self._get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self._wrong(name, f"an integer from {low} to {high}")
        return value

    def decimal_text(self, name: str, *, low: int = 0) -> int:
        """A 64-bit integer written as text, as CloudEvents needs for anything beyond 32 bits."""
        value = self._get(name)
        if not isinstance(value, str) or not re.fullmatch(r"0|[1-9][0-9]{0,18}", value):
            raise self._wrong(name, "a decimal integer as text")
        number = int(value)
        if not low <= number < 2**63:
            raise self._wrong(name, f"at least {low} and below 2^63")
        return number

    def number(self, name: str, *, low: float = -math.inf, high: float = math.inf) -> float:
        value = self._get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self._wrong(name, f"a number from {low} to {high}")
        return float(value)

    def optional_number(self, name: str, *, low: float = -math.inf, high: float = math.inf) -> float | None:
        return None if self.body.get(name) is None else self.number(name, low=low, high=high)

    def truth(self, name: str) -> bool:
        value = self._get(name)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def optional_truth(self, name: str) -> bool | None:
        return None if self.body.get(name) is None else self.truth(name)

    def time(self, name: str) -> datetime:
        return wire.parse_time(self._get(name), what=f"{self.what}: {name!r}")

    def optional_time(self, name: str) -> datetime | None:
        return None if self.body.get(name) is None else self.time(name)

    def hash_or_empty(self, name: str) -> str:
        value = self.text(name, limit=64)
        if value and not _HASH.fullmatch(value):
            raise self._wrong(name, "64 hex digits or empty")
        return value

    def objects(self, name: str, *, limit: int = MAX_ITEMS) -> list[Fields]:
        value = self._get(name)
        if not isinstance(value, list) or len(value) > limit:
            raise self._wrong(name, f"a list of at most {limit}")
        return [Fields(item, f"{self.what}: {name}[{index}]") for index, item in enumerate(value)]

    def texts(self, name: str, *, limit: int = MAX_ITEMS) -> tuple[str, ...]:
        value = self._get(name)
        if not isinstance(value, list) or len(value) > limit:
            raise self._wrong(name, f"a list of at most {limit}")
        if not all(isinstance(item, str) and len(item) <= MAX_TEXT for item in value):
            raise self._wrong(name, "a list of texts")
        return tuple(value)


def time_text(moment: datetime | None) -> str | None:
    """A time as it stands in a field, null where there is none."""
    return None if moment is None else wire.format_time(moment)

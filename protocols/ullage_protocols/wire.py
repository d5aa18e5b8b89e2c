"""Strict JSON between bytes and values: limits first, then parsing, then one canonical form.

A message is refused before it is parsed when it is too large or too deep; duplicate keys, NaN, infinities and
integers beyond 64 bits are refused while parsing. The canonical form (sorted keys, no spaces, UTF-8) is the
only one that is ever sealed, so equal values have equal bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from .errors import WireError

MAX_BYTES = 256 * 1024
"""Largest envelope on the wire, in bytes."""
MAX_DEPTH = 16
_MAX_INT = 2**63

Json = dict[str, Any]


def encode(value: Mapping[str, Any]) -> bytes:
    """Canonical bytes of a JSON object. Raises WireError on what JSON cannot carry (NaN, foreign types)."""
    try:
        text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return text.encode()
    except (TypeError, ValueError, UnicodeEncodeError) as exc:
        raise WireError(f"cannot be written as JSON: {exc}; send finite numbers, text, lists and objects") from exc


def decode(raw: bytes, *, limit: int = MAX_BYTES, what: str = "message") -> Json:
    """The JSON object in ``raw``. Raises WireError naming ``what`` and the reason."""
    if len(raw) > limit:
        raise WireError(f"{what} of {len(raw)} bytes is larger than the {limit} allowed")
    _check_depth(raw, what)
    try:
        value = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_int64,
            parse_float=_finite,
        )  # fmt: skip
    except UnicodeDecodeError as exc:
        raise WireError(f"{what} is not UTF-8 (byte {exc.start})") from exc
    except (json.JSONDecodeError, RecursionError) as exc:
        raise WireError(f"{what} is not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise WireError(f"{what} is a JSON {type(value).__name__}, not an object")
    if b"\\u" in raw:
        encode(value)  # half of a surrogate pair is no text: no database, page or log could ever write it
    return value


def _check_depth(raw: bytes, what: str) -> None:
    # Counts brackets outside strings, so that nesting is bounded before any parser recurses.
    depth, in_string, escaped = 0, False, False
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return
    for byte in raw:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in (0x5B, 0x7B):
            depth += 1
            if depth > MAX_DEPTH:
                raise WireError(f"{what} is nested deeper than {MAX_DEPTH} levels")
        elif byte in (0x5D, 0x7D):
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    value = dict(pairs)
    if len(value) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise WireError(f"the key {twice[:80]!r} stands twice in one object")
    return value


def _no_constant(name: str) -> float:
    raise WireError(f"{name} is not a number that JSON allows")


def _int64(text: str) -> int:
    if len(text) > 20 or not -_MAX_INT <= int(text) < _MAX_INT:
        raise WireError(f"the integer {text[:24]} does not fit 64 bits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")) or len(text) > 64:
        raise WireError(f"the number {text[:24]} is out of range")
    return number


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds, one form only: ``2026-11-23T08:00:00.000000Z``."""
    if moment.tzinfo is None:
        raise WireError(f"time {moment.isoformat()} has no time zone; pass an aware datetime")
    # Not strftime, which writes years before 1000 with fewer than four digits.
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_time(text: object, *, what: str = "time") -> datetime:
    """The moment in an RFC 3339 text that carries a zone; WireError otherwise."""
    if not isinstance(text, str) or not 20 <= len(text) <= 40:
        raise WireError(f"{what} is not an RFC 3339 time with a zone")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise WireError(f"{what} {text!r} is not an RFC 3339 time") from exc
    if moment.tzinfo is None:
        raise WireError(f"{what} {text!r} has no time zone")
    try:
        return moment.astimezone(UTC)
    except OverflowError as exc:
        raise WireError(f"{what} {text!r} is out of range") from exc

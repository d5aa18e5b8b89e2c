"""Numbers, durations and times as people read them. Filters of the templates; all give plain text."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from markupsafe import Markup, escape

from .words import Words

_DASH = "–"
_MEASURED = re.compile(
    r"(.*)measured: ([0-9.]+) units in ([0-9.]+) s of normal running before (\d{4}-\d\d-\d\dT[0-9:.+]{8,24})(.*)"
)


def number(value: Decimal | float | int | None, places: int = 0) -> str:
    """With thousands separators and at most ``places`` decimals; a dash for what is not known."""
    if value is None:
        return _DASH
    text = f"{value:,.{places}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def figure(value: float | None) -> str:
    """A measured value with about four digits, whatever its size."""
    if value is None:
        return _DASH
    if value != 0 and not 1e-4 <= abs(value) < 1e9:
        return f"{value:.3g}"
    size = abs(value)
    return number(value, 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 1 else 4)


def grouped(text: str) -> str:
    """A decimal text, as it stands in a worksheet, with thousands separators; other text as it is."""
    whole, dot, part = text.partition(".")
    sign = "-" if whole.startswith("-") else ""
    digits = whole.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or (dot and not part.isdigit()):
        return text
    return f"{sign}{int(digits):,}{dot}{part}"


def percent(share: Decimal | float | None, places: int = 0) -> str:
    return _DASH if share is None else f"{float(share) * 100:.{places}f}%"


def span(length: timedelta, words: Words) -> str:
    """A duration in its two largest units: 2 h 5 min, 40 s."""
    total = max(0, int(length.total_seconds()))
    days, rest = divmod(total, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, seconds = divmod(rest, 60)
    units = ("天", "小时", "分", "秒") if words.language == "zh" else ("d", "h", "min", "s")
    parts = [f"{n} {unit}" for n, unit in zip((days, hours, minutes, seconds), units, strict=True) if n]
    return " ".join(parts[:2]) or f"0 {units[3]}"


def ago(moment: datetime | None, now: datetime, words: Words) -> str:
    if moment is None:
        return words("never")
    length = span(now - moment, words)
    return f"{length}前" if words.language == "zh" else f"{length} ago"


def moment(value: datetime | None, form: str = "time") -> Markup:
    """A ``<time>`` element: UTC as written here, made local by the page's script; UTC stays in its title.

    ``form`` is "time" (clock), "both" (date and clock) or "date".
    """
    if value is None:
        return escape(_DASH)
    utc = value.astimezone(UTC)
    shapes = {"time": "%H:%M:%S UTC", "both": "%Y-%m-%d %H:%M UTC", "date": "%Y-%m-%d"}
    return Markup('<time datetime="{}" title="{}" data-form="{}">{}</time>').format(
        utc.isoformat().replace("+00:00", "Z"), utc.strftime("%Y-%m-%d %H:%M:%S UTC"), form, utc.strftime(shapes[form])
    )


def money(text: str) -> Markup:
    """``1,234.50 CNY`` with the currency set smaller."""
    amount, _, currency = text.rpartition(" ")
    if not amount:
        return escape(text)
    return Markup('{}&nbsp;<span class="unit">{}</span>').format(grouped(amount.replace(",", "")), currency)


def basis(text: str, words: Words) -> Markup:
    """Where a standard comes from, in the page's language where it was measured; else as it stands on record."""
    found = _MEASURED.fullmatch(text)
    if found is None:
        return escape(text)
    before, made, seconds, until, after = found.groups()
    told = escape(
        words("basis_measured", made="\0", length=span(timedelta(seconds=float(seconds)), words), before="\1")
    )
    shown = told.replace("\0", escape(grouped(made))).replace("\1", moment(datetime.fromisoformat(until)))
    return escape(before) + shown + escape(after)

"""Templates, static files and the headers that every page carries."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from . import form
from .words import Words

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": CSP, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin", "cache-control": "no-store",
}  # fmt: skip
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Static:
    """One file as it is served; ``version`` is part of its address, so that browsers may keep it for ever."""

    body: bytes
    media_type: str
    version: str


def _read(folder: Traversable, prefix: str = "") -> dict[str, Static]:
    found: dict[str, Static] = {}
    for entry in folder.iterdir():
        name = prefix + entry.name
        suffix = "." + entry.name.rpartition(".")[2]
        if entry.is_dir():
            found |= _read(entry, name + "/")
        elif suffix in _TYPES:
            body = entry.read_bytes()
            found[name] = Static(body, f"{_TYPES[suffix]}; charset=utf-8", hashlib.sha256(body).hexdigest()[:12])
    return found


STATIC: Final = _read(files(__package__) / "static")

# Characters that change the direction of text around them, and controls: shown, never obeyed.
_UNSEEN = (
    *range(9), 11, 12, *range(14, 32), 127, 0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)
)  # fmt: skip
_HARMLESS = dict.fromkeys(_UNSEEN, "\ufffd")


def _finalize(value: Any) -> Any:  # noqa: ANN401 - whatever an expression of a template gives
    return value.translate(_HARMLESS) if isinstance(value, str) and not isinstance(value, Markup) else value


def _address(name: str) -> str:
    return f"/static/{name}?v={STATIC[name].version}"


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _span(seconds: Decimal | None, words: Words) -> str:
    return "–" if seconds is None else form.span(timedelta(seconds=float(seconds)), words)


def _environment() -> Environment:
    env = Environment(
        loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=_finalize,
    )  # fmt: skip
    env.globals["static"] = _address
    env.filters |= {
        "number": form.number, "figure": form.figure, "grouped": form.grouped, "percent": form.percent,
        "fixed": lambda value, places: f"{value:,.{places}f}", "ago": form.ago, "moment": form.moment,
        "money": form.money, "span": _span, "length": form.span, "iso": _iso, "utc": _utc,
        "basis": form.basis, "until": lambda end, now, words: form.span(end - now, words),
    }  # fmt: skip
    return env


_ENVIRONMENT: Final = _environment()


def render(name: str, **values: Any) -> str:  # noqa: ANN401 - what the template shows
    """A template's HTML. Every value is escaped; a name that the template does not get is an error."""
    return _ENVIRONMENT.get_template(name).render(**values)

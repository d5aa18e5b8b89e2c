"""What the agent says on its own terminal: one short line an event on standard error, ``key=value`` or JSON."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

_LONGEST = 400
_FORMATS = ("text", "json")
_chosen = ["text"]
"""The format, chosen once by the process that speaks."""


def speak(format: str) -> None:
    """Chooses "text" or "json" for this process."""
    if format not in _FORMATS:
        raise ValueError(f"format {format!r} is none of {', '.join(_FORMATS)}")
    _chosen[0] = format


def say(what: str, **fields: object) -> None:
    """Writes one line: time, what happened, then the fields. In text, values with spaces are quoted."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if _chosen[0] == "json":
        told = {name: _bounded(value) for name, value in fields.items()}
        line = json.dumps({"time": stamp, "event": what, **told}, ensure_ascii=False)
    else:
        line = " ".join([stamp, what, *(f"{name}={_shown(value)}" for name, value in fields.items())])
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        # A terminal that went away must not stop the measuring.
        return


def _bounded(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    return _cut(" ".join(str(value).split()))


def _shown(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    text = _cut(" ".join(text.split()))
    # Quoted so that no value can end its quotes and pass for another field.
    return json.dumps(text, ensure_ascii=False) if not text or any(c in text for c in ' "=\\') else text


def _cut(text: str) -> str:
    text = "".join(c if c.isprintable() else "\ufffd" for c in text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."

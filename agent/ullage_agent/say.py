"""What the agent says on its own terminal: one short line an event, ``key=value``, on standard error."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

_LONGEST = 400


def say(what: str, **fields: object) -> None:
    """Writes one line: time, what happened, then the fields. Values with spaces are quoted."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    parts = [stamp, what, *(f"{name}={_shown(value)}" for name, value in fields.items())]
    try:
        print(" ".join(parts), file=sys.stderr, flush=True)
    except (OSError, ValueError):
        # A terminal that went away must not stop the measuring.
        return


def _shown(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    text = " ".join(text.split())
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
    return f'"{text}"' if not text or " " in text else text

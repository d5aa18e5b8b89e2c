"""The kinds of values that the reader knows, as JSON Schema. ``example`` shows one where there is no default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]
DURATION = r"^[0-9]{1,9}(\.[0-9]{1,6})?(ms|s|m|h|d)$"
SIZE = r"^[0-9]{1,9}(KB|MB|GB)$"


def _value(kind: str, says: str, default: object, example: object, **more: Any) -> Json:  # noqa: ANN401 - JSON
    found: Json = {"type": kind, "description": says, **more}
    if default is not None:
        found["default"] = default
    elif example is not None:
        found["examples"] = [example]
    return found


def text(says: str, *, form: str = "", example: str | None = None, default: str | None = None) -> Json:
    return _value("string", says, default, example, **({"pattern": form} if form else {}))


def choice(says: str, known: Sequence[str], default: str | None = None) -> Json:
    return _value("string", says, default, None, enum=list(known))


def file(says: str, default: str | None = None, *, example: str | None = None) -> Json:
    return _value("string", f"{says} A relative path starts at this file's folder.", default, example)


def whole(says: str, low: int, high: int, default: int | None = None, *, example: int | None = None) -> Json:
    return _value("integer", says, default, example, minimum=low, maximum=high)


def number(says: str, default: float) -> Json:
    return _value("number", says, default, None)


def truth(says: str, default: bool) -> Json:
    return _value("boolean", says, default, None)


def duration(says: str, default: str | None = None) -> Json:
    return _value("string", f'{says} Written as "250ms", "5s", "1m" or "2h".', default, "1s", pattern=DURATION)


def size(says: str, default: str) -> Json:
    return _value("string", f'{says} Written as "256MB" or "1GB".', default, None, pattern=SIZE)


def table(title: str, says: str, keys: Mapping[str, Json], needed: Sequence[str] = ()) -> Json:
    """A table that knows these keys and no other."""
    found: Json = {
        "title": title, "description": says, "type": "object", "properties": dict(keys), "additionalProperties": False
    }  # fmt: skip
    return {**found, "required": list(needed)} if needed else found


def anything(says: str, shape: Json, *, example: object) -> Json:
    """A value of a shape of its own."""
    return {"description": says, **shape, "examples": [example]}


def array(says: str, items: Json) -> Json:
    return {"type": "array", "description": says, "items": items, "minItems": 1}

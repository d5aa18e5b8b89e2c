"""Strict YAML: numbers become Decimals, every key knows its line, and faults are gathered instead of raised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import yaml

from .errors import Fault

K = TypeVar("K")
MAX_BYTES = 1_000_000
MAX_DEPTH = 20


@dataclass(slots=True)
class Section:
    """A mapping of the file that remembers which keys were asked for; ``close`` tells of all others.

    The readers return a harmless value where they record a fault, so that one pass finds everything.
    """

    path: str
    body: dict[str, Any]
    lines: dict[str, int]
    faults: list[Fault]
    used: set[str] = field(default_factory=set)

    def fault(self, key: str, what: str) -> None:
        path = self._path(key) if key else self.path
        self.faults.append(Fault(path, what, self.lines.get(path) or self.lines.get(self.path)))

    def has(self, key: str) -> bool:
        return key in self.body

    def _path(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def _take(self, key: str, kind: type[K], what: str) -> K | None:
        self.used.add(key)
        if key not in self.body:
            self.fault(key, f"is missing; give {what}")
            return None
        value = self.body[key]
        if not isinstance(value, kind) or (isinstance(value, str) and not value.strip()):
            self.fault(key, f"must be {what}, not {_shown(value)}")
            return None
        return value

    def text(self, key: str) -> str:
        return str(self._take(key, str, "text") or "")

    def decimal(self, key: str, low: Decimal | int, high: Decimal | int) -> Decimal:
        value = self._take(key, Decimal, f"a number from {low} to {high}")
        if value is None:
            return Decimal(max(low, min(1, high)))
        if not low <= value <= high:
            self.fault(key, f"{value} is outside its bounds {low} to {high}")
            return Decimal(low) if value < low else Decimal(high)
        return Decimal(value)

    def day(self, key: str, *, optional: bool = False) -> date | None:
        if optional and self.body.get(key, 0) is None:
            self.used.add(key)
            return None
        return self._take(key, date, "a date such as 2026-01-01" + (" or null" if optional else ""))

    def sub(self, key: str) -> Section:
        body = self._take(key, dict, "a mapping")
        return Section(self._path(key), body or {}, self.lines, self.faults)

    def items(self, key: str, what: str) -> Iterator[tuple[str, Any]]:
        """(path, value) of each entry of a list."""
        for place, value in enumerate(self._take(key, list, what) or []):
            yield f"{self._path(key)}[{place}]", value

    def subs(self, key: str, what: str) -> Iterator[Section]:
        """Each entry of a list of mappings as a section."""
        for path, value in self.items(key, what):
            if isinstance(value, dict):
                yield Section(path, value, self.lines, self.faults)
            else:
                self.faults.append(Fault(path, f"must be a mapping, not {_shown(value)}", self.lines.get(path)))

    def parts(self) -> Iterator[tuple[str, Section]]:
        """Each key of this mapping whose value is itself a mapping."""
        for key in self.body:
            yield key, self.sub(key)

    def close(self) -> None:
        for key in self.body:
            if key not in self.used:
                known = ", ".join(sorted(self.used))
                self.fault(key, f"is not known here; known are {known}")


def read(text: str, faults: list[Fault]) -> Section | None:
    """The file as a section, or None where it is not readable at all (faults say why)."""
    if len(text.encode()) > MAX_BYTES:
        faults.append(Fault("file", f"is larger than {MAX_BYTES} bytes"))
        return None
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                faults.append(Fault("file", "aliases (*name) are not allowed; write the values out", _line(event)))
                return None
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                faults.append(Fault("file", f"is nested deeper than {MAX_DEPTH}", _line(event)))
                return None
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        problem = getattr(exc, "problem", None) or str(exc)
        faults.append(Fault("file", f"is not YAML: {problem}", mark.line + 1 if mark else None))
        return None
    lines: dict[str, int] = {}
    body = None if node is None else _value(node, "", lines, faults)
    if not isinstance(body, dict):
        faults.append(Fault("file", "must be a mapping of keys to values"))
        return None
    return Section("", body, lines, faults)


def _line(event: yaml.Event) -> int | None:
    return event.start_mark.line + 1 if event.start_mark else None


def _value(node: yaml.Node, path: str, lines: dict[str, int], faults: list[Fault]) -> Any:  # noqa: ANN401 - YAML
    line = node.start_mark.line + 1
    lines.setdefault(path, line)
    if isinstance(node, yaml.MappingNode):
        body: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            inner = f"{path}.{key}" if path else key
            if key in body:
                faults.append(Fault(inner, "stands here a second time", key_node.start_mark.line + 1))
                continue
            lines[inner] = key_node.start_mark.line + 1
            body[key] = _value(value_node, inner, lines, faults)
        return body
    if isinstance(node, yaml.SequenceNode):
        return [_value(each, f"{path}[{place}]", lines, faults) for place, each in enumerate(node.value)]
    kind = node.tag.rpartition(":")[2]
    text = str(node.value)
    if kind in ("int", "float"):
        try:
            found = Decimal(text.replace("_", ""))
        except InvalidOperation:
            found = Decimal("NaN")
        if found.is_finite():
            return found
        faults.append(Fault(path, f"{text!r} is not a plain finite decimal number", line))
        return Decimal(0)
    if kind == "timestamp":
        try:
            return date.fromisoformat(text)
        except ValueError:
            faults.append(Fault(path, f"{text!r} is not a date such as 2026-01-01", line))
            return None
    if kind == "bool":
        return text.lower() in ("yes", "true", "on")
    return None if kind == "null" else text


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return "nothing" if value is None else repr(value)[:60]

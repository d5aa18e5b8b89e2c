"""One TOML table being read: each key with its type and bounds, every fault gathered with its line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ullage_protocols.small_file import read_small

from .places import Path as KeyPath
from .places import Places

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST = 1000
"""Characters of a fault; a value that a fault quotes may be of any length."""
_MOST_UNKNOWN = 20
"""Unknown keys of one table that are told one by one."""
_LONGEST_SECRET = 4096
_SIZES = {"KB": 10**3, "MB": 10**6, "GB": 10**9}


class Faults:
    """Gathers faults as ``file:line: sentence``, in the order of lines; ``text`` is what stands in the file."""

    def __init__(self, file: Path, text: str) -> None:
        self._file, self._text = file, text
        self._places: Places | None = None
        self._found: dict[tuple[int, str], None] = {}

    def add(self, path: KeyPath, sentence: str) -> None:
        whole = sentence if len(sentence) <= _LONGEST else sentence[:_LONGEST] + "..."
        if self._places is None:  # a file without faults, however long, is not searched for lines
            self._places = Places(self._text)
        self._found.setdefault((self._places.line(path), whole))

    def __bool__(self) -> bool:
        return bool(self._found)

    def listed(self) -> list[str]:
        return [f"{self._file}:{line}: {sentence}" for line, sentence in sorted(self._found, key=lambda f: f[0])]


class Table:
    """Reads the keys of one table. A wrong value adds a fault and gives the default, so that reading goes on."""

    def __init__(self, body: object, path: KeyPath, faults: Faults, folder: Path) -> None:
        self.path, self.faults, self._folder = path, faults, folder
        self._asked: set[str] = set()
        if isinstance(body, dict):
            self._body: dict[str, Any] = body
        else:
            self._body = {}
            self.fault("", f"{self.name} must be a table; write it as a [{self.name}] section")

    @property
    def name(self) -> str:
        return ".".join(str(part) for part in self.path if isinstance(part, str))

    def has(self, key: str) -> bool:
        return key in self._body

    def fault(self, key: str, sentence: str) -> None:
        self.faults.add((*self.path, key) if key else self.path, sentence)

    def _get(self, key: str, required: str) -> Any:  # noqa: ANN401 - the value is checked by the caller
        self._asked.add(key)
        if key not in self._body and required:
            where = f"[{self.name}]" if self.name else "the file"
            self.fault("", f"{where} lacks {key}; add {required}")
        return self._body.get(key)

    def text(self, key: str, default: str = "", *, required: str = "", form: str = "", shape: str = "") -> str:
        """Text, whole and matching the regular expression ``form`` (``shape`` says it in words)."""
        value = self._get(key, required)
        if value is None:
            return default
        if not isinstance(value, str) or (form and not re.fullmatch(form, value)) or (required and not value):
            self.fault(key, f"{key} {_shown(value)} is not {shape or 'text in quotes'}; change it")
            return default
        return value

    def one_of(self, key: str, known: Sequence[str], default: str = "", *, required: str = "") -> str:
        value = self.text(key, default, required=required)
        if value and value not in known and self._body.get(key) == value:
            near = difflib.get_close_matches(value, known, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            self.fault(key, f"{key} {value!r} is unknown; {hint}use one of {', '.join(known)}")
            return default
        return value

    def whole(self, key: str, default: int, low: int, high: int, *, required: str = "") -> int:
        value = self._get(key, required)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.fault(key, f"{key} {_shown(value)} is not a whole number from {low} to {high}; change it")
            return default
        return value

    def number(self, key: str, default: float) -> float:
        value = self._get(key, "")
        if value is None:
            return default
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e300:
            self.fault(key, f"{key} {_shown(value)} is not a number; change it")
            return default
        return float(value)

    def truth(self, key: str, default: bool) -> bool:
        value = self._get(key, "")
        if value is None:
            return default
        if not isinstance(value, bool):
            self.fault(key, f"{key} {_shown(value)} is not true or false; write it without quotes")
            return default
        return value

    def duration(self, key: str, default: float, low: float, high: float) -> float:
        """Seconds from text such as "250ms", "5s", "1m" or "2h"."""
        value = self._get(key, "")
        if value is None:
            return default
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h|d)", value) if isinstance(value, str) else None
        if found is None:
            self.fault(key, f'{key} {_shown(value)} is not a duration; write it as "250ms", "5s", "1m" or "2h"')
            return default
        seconds = float(found[1]) * _UNITS[found[2]]
        if not low <= seconds <= high:
            self.fault(key, f"{key} {_shown(value)} is out of range; use {low:g} s to {high:g} s")
            return default
        return seconds

    def size(self, key: str, default: int, low: int) -> int:
        """Bytes from text such as "256MB"."""
        value = self._get(key, "")
        if value is None:
            return default
        found = re.fullmatch(r"(\d{1,9})(KB|MB|GB)", value) if isinstance(value, str) else None
        if found is None:
            self.fault(key, f'{key} {_shown(value)} is not a size; write it as "256MB" or "1GB"')
            return default
        if int(found[1]) * _SIZES[found[2]] < low:
            self.fault(key, f"{key} {_shown(value)} is too small; use at least {low // 1000} KB")
            return default
        return int(found[1]) * _SIZES[found[2]]

    def whatever(self, key: str, default: object) -> Any:  # noqa: ANN401 - the caller checks it
        """A value of any type."""
        value = self._get(key, "")
        return default if value is None else value

    def file(self, key: str, default: str | None = None, *, required: str = "") -> Path | None:
        """An absolute path; relative ones start at the configuration's folder."""
        value = self.text(key, default or "", required=required)
        return (self._folder / value).absolute() if value else None

    def tables(self, key: str, *, required: str = "") -> list[Table]:
        """The tables of an array such as ``[[device]]``."""
        value = self._get(key, required)
        if value is None:
            return []
        if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            name = ".".join((*_names(self.path), key))
            self.fault(key, f"{key} must be an array of tables; write each as a [[{name}]]")
            return []
        return [Table(item, (*self.path, key, n), self.faults, self._folder) for n, item in enumerate(value)]

    def table(self, key: str) -> Table:
        """A table inside this one; empty where it is missing."""
        self._asked.add(key)
        return Table(self._body.get(key, {}), (*self.path, key), self.faults, self._folder)

    def unknown(self, also: Sequence[str] = ()) -> None:
        """Adds a fault for every key that nobody asked for."""
        known = sorted(self._asked | set(also))
        unknown = [key for key in self._body if key not in known]
        for number, key in enumerate(unknown):
            if number == _MOST_UNKNOWN:
                self.fault(key, f"and {len(unknown) - number} more unknown keys in [{self.name or 'the file'}]")
                break
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            self.fault(key, f"unknown key {key!r} in [{self.name or 'the file'}]; {hint}")


def secret(table: Table, key: str, file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return read_small(file, _LONGEST_SECRET).decode("utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "not UTF-8"
        table.fault(key, f"{key} {file} cannot be read ({reason}); check the path")
        return ""


def _names(path: KeyPath) -> tuple[str, ...]:
    return tuple(part for part in path if isinstance(part, str))


def _shown(value: object) -> str:
    try:
        text = f'"{value}"' if isinstance(value, str) else str(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits
        return "(a value beyond all bounds)"
    return text if len(text) <= 60 else text[:57] + "..."

"""Where in a TOML file each key stands, so that a fault can name its line.

``tomllib`` gives values without places. This reads the same text once more, headers and keys only: strings and
brackets that span lines are stepped over. A key path such as ``("device", 0, "tag", 2, "type")`` leads to a line.
"""

from __future__ import annotations

import re

Path = tuple[str | int, ...]
_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")


class Places:
    """Lines (from 1) of every table and key in ``text``."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Path, int] = {(): 1}
        self._counts: dict[Path, int] = {}
        self._read(text)

    def line(self, path: Path) -> int:
        """The line of ``path``, or of the nearest table around it that has one."""
        while path not in self._lines:
            path = path[:-1]
        return self._lines[path]

    def _read(self, text: str) -> None:
        table: Path = ()
        depth, quote = 0, ""
        for number, line in enumerate(text.splitlines(), 1):
            if not quote and depth == 0:
                if header := _HEADER.match(line):
                    table = self._table(header[2], array=header[1] == "[[")
                    self._lines.setdefault(table, number)
                    continue
                if key := _KEY.match(line):
                    self._lines.setdefault(table + _parts(key[1]), number)
            depth, quote = _skip(line, depth, quote)

    def _table(self, name: str, *, array: bool) -> Path:
        path: Path = ()
        parts = _parts(name)
        for position, part in enumerate(parts):
            path = (*path, part)
            if array and position == len(parts) - 1:
                self._counts[path] = self._counts.get(path, 0) + 1
            if path in self._counts:
                path = (*path, self._counts[path] - 1)
        return path


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(text))


def _skip(line: str, depth: int, quote: str) -> tuple[int, str]:
    """Bracket depth and open multi-line quote after ``line``."""
    position = 0
    while position < len(line):
        rest = line[position:]
        if quote:
            if quote == '"""' and rest.startswith("\\"):
                position += 2
            elif rest.startswith(quote):
                position, quote = position + 3, ""
            else:
                position += 1
        elif rest.startswith(('"""', "'''")):
            position, quote = position + 3, rest[:3]
        elif rest[0] in "\"'":
            closing = re.match(r'"(?:[^"\\]|\\.)*"' if rest[0] == '"' else r"'[^']*'", rest)
            position += closing.end() if closing else 1
        elif rest[0] == "#":
            break
        else:
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(rest[0], 0)
            position += 1
    return max(depth, 0), quote

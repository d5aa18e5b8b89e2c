"""The catalogue of the Chinese pilot: lines, heads of loss, sectors, scenarios, product and service types.

Every entry has an ``id`` and a ``name`` by language (``en``, ``zh``). ``open`` is true where the source ends its
list with "etc.": the list is then not exhaustive, and what lies beyond it needs an underwriter's recorded yes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, TypeVar

import yaml

from ..errors import ModelError


class CatalogueError(ModelError):
    """An id that the catalogue does not have, or a catalogue file that is damaged."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An id with its name by language (``en``, ``zh``)."""

    id: str
    name: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Head(Entry):
    """A head of loss; ``line`` is the id of the line of insurance it belongs to."""

    line: str


@dataclass(frozen=True, slots=True)
class Line(Entry):
    open: bool
    heads: tuple[Head, ...]


@dataclass(frozen=True, slots=True)
class Scenario(Entry):
    """A risk scenario of a sector; ``techniques`` are ATT&CK for ICS ids of our own mapping, not the source's."""

    sector: str
    techniques: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sector(Entry):
    """An enterprise sector. ``covers`` are ids of heads or extra covers; empty where the source leaves them open."""

    open: bool
    sub_types: tuple[Entry, ...]
    causes: tuple[Entry, ...]
    causes_open: bool
    scenarios: tuple[Scenario, ...]
    covers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Product(Entry):
    """A product or service type and what its insurance answers for."""

    insures: Mapping[str, str]


E = TypeVar("E", bound=Entry)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The whole catalogue. ``source`` tells the instrument, issuer, date and address."""

    source: Mapping[str, Any]
    lines: tuple[Line, ...]
    extra_covers: tuple[Entry, ...]
    sectors: tuple[Sector, ...]
    products: tuple[Product, ...]

    @property
    def heads(self) -> tuple[Head, ...]:
        return tuple(head for line in self.lines for head in line.heads)

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        return tuple(scenario for sector in self.sectors for scenario in sector.scenarios)

    def line(self, id_: str) -> Line:
        return _find(self.lines, id_, "line of insurance")

    def head(self, id_: str) -> Head:
        """Raises CatalogueError for an unknown id, naming the known ones; so do the others."""
        return _find(self.heads, id_, "head of loss")

    def sector(self, id_: str) -> Sector:
        return _find(self.sectors, id_, "sector")

    def scenario(self, id_: str) -> Scenario:
        return _find(self.scenarios, id_, "scenario")

    def product(self, id_: str) -> Product:
        return _find(self.products, id_, "product or service type")


@cache
def catalogue() -> Catalogue:
    """The shipped catalogue, read once. Raises CatalogueError where the package's file is damaged."""
    text = (resources.files(__package__) / "pilot.yaml").read_text("utf-8")
    try:
        body = yaml.safe_load(text)
        return _build(body)
    except (yaml.YAMLError, KeyError, TypeError) as exc:
        raise CatalogueError(f"catalogue file pilot.yaml is damaged ({exc!r}); install the package again") from exc


def _build(body: Mapping[str, Any]) -> Catalogue:
    lines = tuple(
        Line(
            row["id"], _name(row), row["open"],
            tuple(Head(head["id"], _name(head), row["id"]) for head in row["heads"]),
        )
        for row in body["lines"]
    )  # fmt: skip
    sectors = tuple(
        Sector(
            row["id"], _name(row), row["open"], _entries(row["sub_types"]), _entries(row["causes"]), row["causes_open"],
            tuple(Scenario(s["id"], _name(s), row["id"], tuple(s["techniques"])) for s in row["scenarios"]),
            tuple(row["covers"]),
        )
        for row in body["sectors"]
    )  # fmt: skip
    products = tuple(Product(row["id"], _name(row), dict(row["insures"])) for row in body["products"])
    found = Catalogue(body["source"], lines, _entries(body["extra_covers"]), sectors, products)
    known = {head.id for head in found.heads} | {extra.id for extra in found.extra_covers}
    for sector in found.sectors:
        if unknown := set(sector.covers) - known:
            raise CatalogueError(f"catalogue: sector {sector.id} names unknown covers {sorted(unknown)}")
    return found


def _name(row: Mapping[str, Any]) -> dict[str, str]:
    return {"en": row["en"], "zh": row["zh"]}


def _entries(rows: Iterable[Mapping[str, Any]]) -> tuple[Entry, ...]:
    return tuple(Entry(row["id"], _name(row)) for row in rows)


def _find(entries: tuple[E, ...], id_: str, what: str) -> E:
    for entry in entries:
        if entry.id == id_:
            return entry
    known = ", ".join(entry.id for entry in entries)
    raise CatalogueError(f"{str(id_)[:60]!r} is not a {what} of the catalogue; known are {known}")

"""The catalogue holds the whole of the pilot, in both languages, with its open lists marked."""

from __future__ import annotations

import pytest
from ullage_models.catalogue import CatalogueError, Entry, catalogue


def entries() -> list[Entry]:
    whole = catalogue()
    nested = [e for s in whole.sectors for e in (*s.sub_types, *s.causes, *s.scenarios)]
    return [*whole.lines, *whole.heads, *whole.extra_covers, *whole.sectors, *whole.products, *nested]


def test_its_parts_are_all_there() -> None:
    whole = catalogue()
    assert {line.id: len(line.heads) for line in whole.lines} == {"property": 7, "liability": 5}
    assert [s.id for s in whole.sectors] == [
        "telecom_internet", "industrial_internet", "key_manufacturing", "connected_vehicles", "other_sectors",
    ]  # fmt: skip
    assert [len(s.scenarios) for s in whole.sectors] == [2, 3, 3, 2, 4]
    assert [len(s.sub_types) for s in whole.sectors] == [0, 3, 4, 0, 3]
    assert [p.id for p in whole.products] == ["cybersecurity_product", "cybersecurity_service", "it_product"]


def test_every_entry_has_a_name_in_both_languages() -> None:
    for entry in entries():
        assert entry.name["en"].isascii(), entry.id
        assert entry.name["en"].strip(), entry.id
        assert any("\u4e00" <= sign <= "\u9fff" for sign in entry.name["zh"]), entry.id


def test_open_lists_are_marked() -> None:
    whole = catalogue()
    assert all(line.open for line in whole.lines)
    assert all(sector.open for sector in whole.sectors)
    assert [s.id for s in whole.sectors if s.causes_open] == ["connected_vehicles", "other_sectors"]


def test_covers_are_heads_of_loss_or_the_extra_cover() -> None:
    assert "business_interruption" in catalogue().sector("industrial_internet").covers
    assert catalogue().sector("other_sectors").covers == ()
    assert catalogue().head("business_interruption").line == "property"


def test_scenarios_carry_techniques_of_our_own_mapping() -> None:
    assert catalogue().scenario("line_stop").techniques == ("T0826", "T0828", "T0816", "T0881")
    assert "Our own" in catalogue().source["techniques"]
    assert all(t.startswith("T0") for s in catalogue().scenarios for t in s.techniques)


@pytest.mark.parametrize("part", ["line", "head", "sector", "scenario", "product"])
def test_an_unknown_id_is_refused_with_the_known_ones(part: str) -> None:
    with pytest.raises(CatalogueError, match="known are"):
        getattr(catalogue(), part)("nothing")

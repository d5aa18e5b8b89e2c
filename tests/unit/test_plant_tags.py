"""The one table of tags, the attack scenarios, and the document that is derived from them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ullage_plant.errors import PlantError
from ullage_plant.faces.endpoint import Endpoint, parse
from ullage_plant.scenarios import BY_SCENARIO, SCENARIOS, writes
from ullage_plant.tags import BY_NAME, BY_NUMBER, ENGINEERING, TAGS, node_list, register_map

README = Path(__file__).parents[2] / "plant" / "README.md"


def test_names_numbers_and_addresses_are_unique_and_do_not_overlap() -> None:
    assert len(BY_NAME) == len(BY_NUMBER) == len(TAGS)
    taken: list[tuple[str, int]] = []
    for tag in TAGS:
        assert tag.register or tag.node, tag.name
        if tag.register:
            taken.extend((tag.register.table, tag.register.address + word) for word in range(tag.register.width))
    assert len(set(taken)) == len(taken)
    assert not any(table == "holding" and address in ENGINEERING for table, address in taken)


def test_the_readme_shows_exactly_this_map() -> None:
    text = README.read_text()
    for row in [*register_map(), *node_list()]:
        assert "| " + " | ".join(row) + " |\n" in text
    for scenario in SCENARIOS:
        assert f"| {scenario.name} | {scenario.technique} {scenario.technique_name} | {scenario.meaning} |" in text
    words = " ".join(text.split())
    assert ", ".join(f"{tag.number} {tag.name}" for tag in TAGS) in words


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_each_scenario_is_a_write_to_the_map(scenario: object) -> None:
    (write,) = writes(BY_SCENARIO[scenario.name])  # type: ignore[attr-defined]
    known = {(tag.register.table, tag.register.address) for tag in TAGS if tag.register and tag.writable}
    assert (write.table, write.address) in known or (write.table == "holding" and write.address in ENGINEERING)
    assert all(0 <= value <= 65535 for value in write.values)


def test_another_tag_and_value_can_be_chosen() -> None:
    (write,) = writes(BY_SCENARIO["modify-parameter"], "line.speed_setpoint", 300.0)
    assert (write.table, write.address, write.values) == ("holding", 2, (0x4396, 0))
    (write,) = writes(BY_SCENARIO["freeze-value"], "tank.level")
    assert write.values == (13, 2)
    with pytest.raises(PlantError, match="finite number"):
        writes(BY_SCENARIO["spoof-reading"], None, float("nan"))


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("127.0.0.1:5020", Endpoint("127.0.0.1", 5020)),
        ("opc.tcp://plant:4840/", Endpoint("plant", 4840)),
        ("[::1]:0", Endpoint("::1", 0)),
    ],
)
def test_addresses(text: str, endpoint: Endpoint) -> None:
    assert parse(text) == endpoint
    assert parse(str(endpoint)) == endpoint


@pytest.mark.parametrize("text", ["", "5020", ":5020", "host:", "host:-1", "host:65536", "host:²", "host:http"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(PlantError, match="is not an address"):
        parse(text)

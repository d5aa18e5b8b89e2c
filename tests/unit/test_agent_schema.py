"""The JSON Schema for editors knows exactly the keys that the reader knows, and refuses what the reader refuses."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ullage_agent.__main__ import main
from ullage_agent.config import read as reader
from ullage_agent.config.sample import SAMPLE
from ullage_agent.config.schema import PROTOCOLS, device, schema
from ullage_agent.config.table import Faults, Table

SCHEMA = schema()
JUDGE = jsonschema.Draft202012Validator(SCHEMA)
Body = dict[str, Any]


def faults(body: Body) -> list[str]:
    """What the reader finds, other files aside."""
    found = Faults(Path("agent.toml"), "")
    reader._config(Table(body, (), found, Path.cwd()), Path("agent.toml"), False)
    return found.listed()


def complete(protocol: str) -> Body:
    """A configuration with every key that the schema knows."""
    body: Body = _filled({key: value for key, value in SCHEMA["properties"].items() if key != "device"})
    body["device"] = [{**_filled(device(protocol)["properties"]), "protocol": protocol}]
    body["device"][0]["tag"][0]["role"] = "count"
    return body


def _filled(properties: Body) -> Body:
    found: Body = {}
    for key, says in properties.items():
        if "type" not in says or ("examples" in says and says["type"] == "object"):
            found[key] = says["examples"][0]
        elif says["type"] == "object":
            found[key] = _filled(says["properties"])
        elif says["type"] == "array":
            found[key] = [_filled(says["items"]["properties"])]
        elif "default" in says or "examples" in says:
            found[key] = says["default"] if "default" in says else says["examples"][0]
        else:
            found[key] = says["enum"][0] if "enum" in says else "x"
    return found


def keys(protocol: str) -> dict[str, set[str]]:
    """Each table's keys by the schema."""
    found: dict[str, set[str]] = {}

    def walk(name: str, says: Body) -> None:
        found[name] = set(says["properties"])
        assert says["additionalProperties"] is False, name
        for key, value in says["properties"].items():
            inner = value["items"] if value.get("type") == "array" else value
            if "properties" in inner and key != "device":
                walk(f"{name}.{key}".strip("."), inner)

    walk("", SCHEMA)
    walk("device", device(protocol))
    return found


def asked(protocol: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Each table's keys as the reader asked for them, those included that it only looks for."""
    tables: list[Table] = []
    honest_init, honest_has = Table.__init__, Table.has

    def init(self: Table, *given: Any) -> None:
        honest_init(self, *given)
        tables.append(self)

    def has(self: Table, key: str) -> bool:
        self._asked.add(key)
        return honest_has(self, key)

    with monkeypatch.context() as patch:
        patch.setattr(Table, "__init__", init)
        patch.setattr(Table, "has", has)
        faults(complete(protocol))
    found: dict[str, set[str]] = {}
    for each in tables:
        found.setdefault(each.name, set()).update(each._asked)
    return found


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_schema_has_the_keys_that_the_reader_asks_for_and_no_other(
    protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_schema, by_reader = keys(protocol), asked(protocol, monkeypatch)
    missing = {name: sorted(by_reader[name] - by_schema.get(name, set())) for name in by_reader}
    extra = {name: sorted(by_schema[name] - by_reader.get(name, set())) for name in by_schema}
    assert {k: v for k, v in missing.items() if v} == {}, "keys of the reader that config/schema lacks"
    assert {k: v for k, v in extra.items() if v} == {}, "keys of config/schema that the reader does not know"


def test_both_know_the_same_protocols() -> None:
    assert set(PROTOCOLS) == set(reader._PROTOCOLS)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_has_every_key_is_valid(protocol: str) -> None:
    assert [error.message for error in JUDGE.iter_errors(complete(protocol))] == []


def test_the_schema_is_one_and_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA


def test_the_sample_is_valid_also_with_every_comment_taken_away() -> None:
    assert [error.message for error in JUDGE.iter_errors(tomllib.loads(SAMPLE))] == []
    lines = []
    for line in SAMPLE.splitlines():
        bare = line.strip().removeprefix("# ")
        commented = line.strip().startswith("# ") and (bare.startswith("[") or " = " in bare.split("#")[0])
        lines.append(bare if commented else line)
    body = tomllib.loads("\n".join(lines))
    assert "security" in body["device"][1]
    assert [error.message for error in JUDGE.iter_errors(body)] == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_key_says_what_it_is_and_a_default_is_of_its_own_kind(protocol: str) -> None:
    def walk(says: Body, name: str) -> None:
        assert says.get("description"), name
        for shown in (*says.get("examples", ()), *([says["default"]] if "default" in says else ())):
            assert [e.message for e in jsonschema.Draft202012Validator(says).iter_errors(shown)] == [], name
        for key, value in says.get("properties", {}).items():
            if key != "device":
                walk(value, f"{name}.{key}")
        if isinstance(says.get("items"), dict):
            walk(says["items"], name)

    walk(SCHEMA, "")
    walk(device(protocol), "device")


def places(body: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every key and every table of a body."""
    if path:
        yield path
    items = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def changed(body: Body, path: tuple[str | int, ...], value: Any) -> Body:
    found = copy.deepcopy(body)
    inner: Any = found
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return found


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_value_of_another_type_is_refused_by_both(protocol: str) -> None:
    body, tried = complete(protocol), 0
    known = set(faults(body))
    for path in places(body):
        for wrong in (3, 1.5, True, [], {"a": 1}, [3], "", "not that"):
            other = changed(body, path, wrong)
            new = [fault for fault in faults(other) if fault not in known]
            told = any(" is not " in fault or "must be" in fault or "is unknown" in fault for fault in new)
            if told and not isinstance(wrong, str):
                assert not JUDGE.is_valid(other), (path, wrong, new)
                tried += 1
    assert tried > 150


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("agent", "id"), "Filler GW"), (("agent", "heartbeat"), "15"), (("agent", "heartbeat"), "5 s"),
        (("broker", "port"), 0), (("broker", "port"), 65536), (("broker", "protocol"), "4"), (("broker", "host"), ""),
        (("broker", "host"), "two words"), (("outbox", "limit"), "1 MB"), (("production", "interval"), "1w"),
        (("device", 0, "protocol"), "profinet"), (("device", 0, "scan"), "1"), (("device", 0, "tag"), []),
        (("device", 0, "tag", 0, "role"), "counter"), (("device", 0, "tag", 0, "line"), "a b"),
        (("device", 0, "tag", 0, "rollover"), 1), (("device", 0, "tag", 0, "role"), "state"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_value_out_of_form_is_refused_by_both(protocol: str, path: tuple[str | int, ...], value: Any) -> None:
    other = changed(complete(protocol), path, value)
    assert faults(other)
    assert not JUDGE.is_valid(other)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_missing_key_that_is_needed_is_refused_by_both(protocol: str) -> None:
    body = complete(protocol)
    known = set(faults(body))
    needed = 0
    for path in places(body):
        other = copy.deepcopy(body)
        inner: Any = other
        for part in path[:-1]:
            inner = inner[part]
        del inner[path[-1]]
        lacking = [fault for fault in faults(other) if fault not in known and " lacks " in fault]
        if lacking:
            needed += 1
            assert not JUDGE.is_valid(other), (path, lacking)
    assert needed >= 8


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_unknown_key_in_any_table_is_refused_by_both_and_the_reader_names_the_nearest(protocol: str) -> None:
    body = complete(protocol)
    tables = [()] + [path for path in places(body) if isinstance(_at(body, path), dict) and path[-1] != "enum"]
    assert len(tables) >= 10
    for path in tables:
        first = next(iter(_at(body, path)))
        typo = first[:-1] + "_" if len(first) > 3 else first + "s"
        other = changed(body, (*path, typo), 3)
        told = [fault for fault in faults(other) if "unknown key" in fault and repr(typo) in fault]
        assert len(told) == 1, (path, typo)
        assert "did you mean" in told[0], told
        assert not JUDGE.is_valid(other), path


def _at(body: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        body = body[part]
    return body


@pytest.mark.parametrize("needed", ["host", "url", "address", "name", "public_key", "policy"])
def test_a_needed_text_that_is_empty_is_a_fault(needed: str) -> None:
    told = 0
    for protocol in PROTOCOLS:
        body = complete(protocol)
        for path in places(body):
            if path[-1] == needed and isinstance(_at(body, path), str):
                told += 1
                assert any(fault.split(": ")[1].startswith(f"{needed} ") for fault in faults(changed(body, path, "")))
    assert told

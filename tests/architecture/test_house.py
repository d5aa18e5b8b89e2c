"""Rules of the house that import contracts cannot say. Each is shown to catch a planted breach."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("protocols", "models", "agent", "scorer", "plant")

Rule = Callable[[str, ast.Module], Iterator[str]]


def sources(folder: str) -> list[tuple[str, str]]:
    found = [(str(path.relative_to(ROOT)), path.read_text("utf-8")) for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found, f"nothing to check under {folder}"
    return found


def breaches(rule: Rule, folders: tuple[str, ...], *, exempt: Callable[[str], bool] = lambda _: False) -> list[str]:
    return [
        f"{name}: {fault}"
        for folder in folders
        for name, text in sources(folder)
        if not exempt(name)
        for fault in rule(name, ast.parse(text))
    ]


def imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module, node.lineno


# --- one door each -----------------------------------------------------------------------------------------

DOORS = {
    "pymodbus": ("protocols/ullage_protocols/field/modbus/", "plant/"),
    "asyncua": ("plant/",),
    "paho": ("protocols/ullage_protocols/mqtt.py",),
    "sklearn": ("models/ullage_models/training/",),
    "fastapi": ("scorer/ullage_scorer/",),
    "numpy": (
        "models/ullage_models/detect/",
        "models/ullage_models/training/",
        "agent/ullage_agent/",
        "protocols/ullage_protocols/field/",
    ),
}


def door_rule(name: str, tree: ast.Module) -> Iterator[str]:
    for module, line in imports(tree):
        library = module.split(".")[0]
        doors = DOORS.get(library)
        if doors and not name.startswith(doors):
            yield f"line {line} imports {library}, whose only door is {' or '.join(doors)}"


def test_each_library_has_one_door() -> None:
    assert breaches(door_rule, PACKAGES) == []


@pytest.mark.parametrize("library", sorted(DOORS))
def test_a_second_door_is_seen(library: str) -> None:
    assert list(door_rule("agent/ullage_agent_x/other.py", ast.parse(f"import {library}.client")))


# --- time is an argument -----------------------------------------------------------------------------------

CLOCKS = {"now", "utcnow", "today", "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter"}


def clock_rule(_name: str, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS:
            owner = ast.unparse(node.func.value)
            if owner in ("datetime", "dt.datetime", "datetime.datetime", "date", "time"):
                yield f"line {node.lineno} reads a clock ({owner}.{node.func.attr}); in models time is an argument"


def test_models_read_no_clock() -> None:
    assert breaches(clock_rule, ("models",)) == []


@pytest.mark.parametrize("call", ["datetime.now(UTC)", "time.monotonic()", "date.today()"])
def test_a_clock_in_models_is_seen(call: str) -> None:
    assert list(clock_rule("models/x.py", ast.parse(f"a = {call}")))


# --- whose rows may be read --------------------------------------------------------------------------------

UNSCOPED_STORES = ("ledger/", "ingest/", "auth/")
"""Custody and access come before any scope exists; their stores serve the writer and the door, not readers."""


def scope_rule(_name: str, tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and re.match(r"(list|get|find|read|page)", node.name):
            named = [ast.unparse(a.annotation) for a in (*node.args.args, *node.args.kwonlyargs) if a.annotation]
            if not any("Scope" in text for text in named):
                yield f"line {node.lineno} {node.name}() reads rows without a Scope: whose rows may be read?"


def test_every_read_of_rows_takes_a_scope() -> None:
    stores = [
        (name, text)
        for name, text in sources("scorer")
        if name.endswith("/store.py") and not any(room in name for room in UNSCOPED_STORES)
    ]
    assert len(stores) >= 3
    assert [f"{name}: {fault}" for name, text in stores for fault in scope_rule(name, ast.parse(text))] == []


def test_a_read_without_a_scope_is_seen() -> None:
    assert list(scope_rule("store.py", ast.parse("def list_claims(db: Connection) -> list[Row]: ...")))


# --- configuration is read at the door ---------------------------------------------------------------------


def environment_rule(_name: str, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.environ", "os.getenv"):
            yield f"line {node.lineno} reads the environment; settings come from the configuration file"


SERVICE_MANAGER = "agent/ullage_agent/local/notify.py"
"""The service manager says by the environment where it listens: its interface, no setting of ours."""


def test_the_environment_is_not_a_hidden_configuration() -> None:
    folders = ("protocols", "models", "agent", "scorer")
    assert breaches(environment_rule, folders, exempt=lambda name: name == SERVICE_MANAGER) == []


def test_a_hidden_setting_is_seen() -> None:
    assert list(environment_rule("x.py", ast.parse("import os\na = os.environ['X']")))


# --- errors are not swallowed ------------------------------------------------------------------------------


def swallow_rule(_name: str, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
            if broad and all(isinstance(child, ast.Pass | ast.Continue) for child in node.body):
                yield f"line {node.lineno} swallows every exception"


def test_no_error_is_swallowed_whole() -> None:
    assert breaches(swallow_rule, PACKAGES) == []


def test_a_swallowed_error_is_seen() -> None:
    assert list(swallow_rule("x.py", ast.parse("try:\n    f()\nexcept Exception:\n    pass")))

"""Only when named: these tests need peers that tools/peers.sh installs. A referee watches the whole run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from peers.kit import HERE, Peers
from peers.referee import Referee


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A plain ``pytest`` leaves this folder out; ``make peers`` names it."""
    named = (Path(argument.split("::")[0]).resolve() for argument in config.args)
    return None if any(path == HERE or HERE in path.parents for path in named) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The referee speaks last."""
    items.sort(key=lambda item: item.path.name == "test_referee.py")


@pytest.fixture(scope="session", autouse=True)
def referee(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Referee]:
    """Captures what passes between this run and its peers."""
    watching = Referee(tmp_path_factory.mktemp("referee"))
    yield watching
    watching.stop()


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    """The peers of one module."""
    started = Peers(tmp_path_factory.mktemp("peers"))
    yield started
    started.close()

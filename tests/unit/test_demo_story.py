"""The demo tells the truth about itself: a step that was not seen is named, and the yardstick is read rightly."""

from __future__ import annotations

import argparse
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ullage_plant.demo.screen import Screen
from ullage_plant.demo.story import Story, _tell
from ullage_plant.demo.truth import Truth
from ullage_plant.errors import PlantError

STEPS = ("bind", "normal", "attack", "trip", "recover", "evidence")


class Nobody:
    """Stands for the world: nothing runs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.truth_file, self.scorer_key = folder, folder / "truth.jsonl", "ed25519:x"
        self.children = self

    def start(self) -> None:
        return None

    def dead(self) -> list[Any]:
        return []


class Played(Story):
    """A story whose steps are all seen, but for one."""

    def __init__(self, folder: Path, unseen: str) -> None:
        super().__init__(Nobody(folder), Screen())  # type: ignore[arg-type]
        for name in STEPS:
            setattr(self, name, self._fails if name == unseen else lambda: self.screen.seen("s", "w", 1))

    def _fails(self) -> None:
        raise PlantError("the sky is blue")

    def page(self) -> str:
        return "http://127.0.0.1:1/"


ARGS = argparse.Namespace(picture=None, exit=True)


@pytest.mark.parametrize("number", range(1, 7))
def test_a_step_that_was_not_seen_is_named(number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _tell(Played(tmp_path, STEPS[number - 1]), ARGS) == 1
    told = capsys.readouterr().out
    assert f"step {number} was not seen" in told
    assert "the sky is blue" in told
    assert "What happened" not in told


def test_a_story_that_was_seen_whole_ends_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _tell(Played(tmp_path, ""), ARGS) == 0
    assert "What happened" in capsys.readouterr().out


def test_what_was_truly_lost_after_the_waiting_period(tmp_path: Path) -> None:
    """10 units/s; the line stands from second 5 to 25. After a waiting period of 7.5 s, 12.5 s are lost: 125 units."""
    start = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
    path = tmp_path / "truth.jsonl"
    lines = []
    for second in range(31):
        made = 10 * min(second, 5) + 10 * max(0, second - 25)
        at = (start + timedelta(seconds=second)).isoformat()
        lines.append({"time": at, "kind": "total", "made": made, "standard": 10 * second})
    lines.append(
        {
            "time": lines[-1]["time"], "kind": "outage", "start": (start + timedelta(seconds=5)).isoformat(),
            "end": (start + timedelta(seconds=25)).isoformat(), "lost_units": 200.0,
        }
    )  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"half a li')
    truth = Truth(path)
    outage = truth.outage()
    assert outage is not None
    assert truth.lost_after(outage, timedelta(seconds=7.5)) == pytest.approx(125.0)
    assert truth.lost_after(outage, timedelta(seconds=30)) == pytest.approx(0.0)

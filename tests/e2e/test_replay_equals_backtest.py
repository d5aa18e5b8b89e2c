"""One history, two ways: judged offline from the file, and read live over Modbus from a replay of it."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from ullage_plant.demo.processes import Child, Children, command, wait_for
from ullage_protocols.keys import SigningKey

ROWS_PER_SECOND = 25
TAGS = ("level", "inflow", "outflow", "pressure", "power", "temperature")


@pytest.fixture
def children() -> Iterator[Children]:
    with Children() as started:
        yield started


def history(path: Path, rows: int, seed: int, attack: slice | None) -> None:
    """A small process of six related tags; in the attack the level is reported higher than it is."""
    rng = np.random.default_rng(seed)
    demand = np.sin(np.arange(rows) / 17) + 0.3 * rng.standard_normal(rows)
    level = 50 + 4 * np.convolve(demand, np.ones(5) / 5, mode="same")
    columns = np.stack(
        [level, 20 + 2 * demand, 19 + 2 * np.roll(demand, 1), 3 + level / 40, 8 + demand, 60 + np.cos(demand)], axis=1
    )
    columns += 0.02 * rng.standard_normal(columns.shape)
    if attack is not None:
        columns[attack, 0] += 6
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("time", *TAGS))
        # Registers hold 32-bit floats, so the file does too: both ways then see the same numbers.
        for n, row in enumerate(columns.astype(np.float32)):
            writer.writerow(((start + timedelta(minutes=n)).isoformat(), *(repr(float(value)) for value in row)))


def run(folder: Path, *argv: str) -> None:
    done = subprocess.run(
        [*command(argv[0]), *argv[1:]], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def told(agent: Child, phase: str) -> list[float]:
    text = agent.log.read_text()
    return [float(s) for s in re.findall(rf"episode phase={phase} .*?severity=(\S+)", text)]


@pytest.mark.e2e
def test_a_replayed_history_is_judged_as_the_file_is(tmp_path: Path, children: Children) -> None:
    history(tmp_path / "normal.csv", 1500, 1, None)
    history(tmp_path / "watched.csv", 300, 2, slice(150, 190))
    run(tmp_path, "ullage-agent", "learn", "--from", "normal.csv", "--out", "baseline.npz")
    run(
        tmp_path, "ullage-agent", "backtest", "--baseline", "baseline.npz", "--from", "watched.csv",
        "--episodes", "episodes.jsonl", "--scores", "scores.csv",
    )  # fmt: skip
    offline = [json.loads(line) for line in (tmp_path / "episodes.jsonl").read_text().splitlines()]
    assert any(e["tags"][0]["tag"] == "level" and e["start"] >= "2026-01-01T02:30" for e in offline)

    plant = children.start(
        "replay",
        [
            *command("ullage-plant"), "replay", "watched.csv", "--modbus", "127.0.0.1:0", "--wait-for-reader",
            "--rows-per-second", str(ROWS_PER_SECOND), "--agent-config", "agent.toml",
        ],
        cwd=tmp_path,
    )  # fmt: skip
    plant.line(30)
    (tmp_path / "scorer.pub").write_text(SigningKey.generate().public.to_text() + "\n")
    agent = children.start("agent", [*command("ullage-agent"), "run", "--config", "agent.toml"], cwd=tmp_path)
    agent.line(30)
    closed = [e for e in offline if e["end"] is not None]
    wait_for(lambda: len(told(agent, "close")) >= len(closed), 60, f"{len(closed)} episodes closed:\n{agent.tail()}")
    live = told(agent, "close")
    assert live == pytest.approx([e["severity"] for e in closed], rel=1e-4)
    # No broker was there: everything sealed waits on disk, and the agent says so instead of failing.
    assert "cannot be reached" in agent.log.read_text()
    assert agent.stop() == 0

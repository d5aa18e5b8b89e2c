"""The offline commands over real files: learn, then backtest; and their refusals."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from ullage_agent.offline import backtest, learn
from ullage_models.detect.baseline import Baseline

START = datetime(2026, 1, 1, tzinfo=UTC)


def write(path: Path, rows: int, seed: int, *, attack: bool) -> Path:
    random = np.random.default_rng(seed)
    hidden = random.normal(size=rows)
    with path.open("w", newline="") as text:
        table = csv.writer(text)
        table.writerow(["time", "a", "b", "c", "sp", "label"])
        for n in range(rows):
            bad = attack and 200 <= n < 260
            a, b, c = hidden[n] + 0.1 * random.normal(size=3) + (0.0, 5.0 if bad else 0.0, 1.0)
            table.writerow([(START + timedelta(minutes=n)).isoformat(), a, b, c, 70 if bad else 50, int(bad)])
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("offline")
    normal = write(folder / "normal.csv", 800, 1, attack=False)
    write(folder / "attack.csv", 400, 2, attack=True)
    assert learn.main(["--from", str(normal), "--out", str(folder / "b.npz"), "--roles", "sp=setpoint"]) == 0
    return folder


def judge(folder: Path, source: Path, *more: str) -> int:
    return backtest.main(
        ["--baseline", str(folder / "b.npz"), "--from", str(source), "--episodes", str(folder / "e.jsonl"),
         "--scores", str(folder / "s.csv"), *more]
    )  # fmt: skip


def test_the_baseline_can_be_read_and_knows_its_roles(folder: Path) -> None:
    baseline = Baseline.from_bytes((folder / "b.npz").read_bytes())
    assert {t.name: t.role for t in baseline.tags}["sp"] == "setpoint"
    assert "label" not in baseline.names


def test_every_row_has_a_line_and_alarms_follow_from_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert judge(folder, folder / "attack.csv", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    rows = list(csv.DictReader((folder / "s.csv").open()))
    assert len(rows) == report["rows"] == 400
    alarm = [n for n, r in enumerate(rows) if r["score"] and float(r["score"]) > float(r["threshold"])]
    assert alarm[0] == 200
    assert rows[0]["score"] == ""
    assert rows[0]["time"] == START.isoformat()
    assert report["measures"]["found"] == report["measures"]["events"] == 1
    (episode,) = [json.loads(line) for line in (folder / "e.jsonl").read_text().splitlines()]
    assert episode["start"].startswith("2026-01-01T03:20:00")
    assert episode["kind"] == "integrity"
    assert episode["tags"][0]["tag"] == "b"
    assert "sp" in {t["tag"] for t in episode["tags"]}
    assert episode["techniques"][0]["id"] == "T0836"


def test_labels_are_never_fed_to_detection(folder: Path) -> None:
    assert judge(folder, folder / "attack.csv") == 0
    with_labels = (folder / "s.csv").read_bytes()
    lines = (folder / "attack.csv").read_text().splitlines()
    bare = folder / "bare.csv"
    bare.write_text("\n".join(line.rsplit(",", 1)[0] for line in lines) + "\n")
    assert judge(folder, bare) == 0
    assert (folder / "s.csv").read_bytes() == with_labels


def test_bad_rows_keep_their_line_with_an_empty_score(folder: Path) -> None:
    lines = (folder / "attack.csv").read_text().splitlines()
    lines[50] = "whenever," + lines[50].split(",", 1)[1]
    lines[60] = lines[59]
    bad = folder / "bad.csv"
    bad.write_text("\n".join(lines) + "\n")
    assert judge(folder, bad) == 0
    rows = list(csv.reader((folder / "s.csv").open()))
    assert len(rows) == len(lines)
    assert rows[50][:2] == ["whenever", ""]
    assert rows[60][1] == ""
    assert rows[61][1] != ""


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["--from", "{f}/none.csv", "--out", "{f}/x"], "cannot be opened"),
        (["--from", "{f}/normal.csv", "--out", "{f}/no/x"], "cannot be written"),
        (["--from", "{f}/normal.csv", "--out", "{f}/x", "--roles", "zz=setpoint"], "'zz' is not in the history"),
        (["--from", "{f}/normal.csv", "--out", "{f}/x", "--roles", "setpoint"], "not of the form tag=role"),
    ],
)
def test_learn_refuses_with_a_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: list[str], why: str
) -> None:
    assert learn.main([a.replace("{f}", str(folder)) for a in argv]) == 2
    assert why in capsys.readouterr().err
    assert not (folder / "x").exists()


def test_backtest_refuses_with_a_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = folder / "other.csv"
    other.write_text("time,z\n2026-01-01,1\n")
    assert judge(folder, other) == 2
    assert "none of the baseline's tags" in capsys.readouterr().err
    broken = folder / "broken"
    broken.mkdir(exist_ok=True)
    (broken / "b.npz").write_bytes(b"rubbish")
    assert judge(broken, folder / "attack.csv") == 2
    assert "learn it again" in capsys.readouterr().err
    assert list(broken.iterdir()) == [broken / "b.npz"]

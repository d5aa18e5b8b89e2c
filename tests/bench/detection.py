"""Measures detection on recorded histories: ``python tests/bench/detection.py FOLDER [--json]``.

FOLDER holds one folder for each set; what a set is follows from its files alone:

- ``normal`` and ``attacks``: learn on the one, judge the other by its labels (and, with ``attacks.csv``, whether
  the three tags with the largest shares of an episode touch what was attacked, by name);
- ``*_tr`` and several ``*_te``: learn on the first, take the score's 99th percentile on the normal test file as
  threshold, report the share of rows above it after the first 160;
- many files of one plant: learn on the first 400 rows of each, judge the rest, points pooled;
- one file: learn on the first tenth, judge the rest.

Thresholds are the baseline's own except where a set's protocol prescribes one. No point adjustment anywhere.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ullage_agent.offline.history import HistoryFile
from ullage_models.detect.watch import Watch
from ullage_models.training.history import History
from ullage_models.training.learn import learn
from ullage_models.training.metrics import measure, runs

Floats = NDArray[np.float64]


class Series:
    """A recorded history with its labels."""

    def __init__(self, path: Path) -> None:
        source = HistoryFile(path)
        rows = [r for r in source.rows() if r.time is not None]
        source.close()
        self.tags = source.tags
        self.times = np.array([r.time.timestamp() for r in rows if r.time is not None])
        self.values = np.array([r.values for r in rows])
        self.labels = np.array([np.nan if r.label is None else float(r.label) for r in rows])

    def part(self, start: int, end: int | None) -> History:
        return History(self.tags, self.times[start:end], self.values[start:end])


class Judged:
    """Scores of every row, what the episodes said, and what it cost."""

    def __init__(self, learned: History, judged: History, labels: Floats) -> None:
        began = time.perf_counter()
        self.baseline = learn(learned)
        self.learn_seconds = time.perf_counter() - began
        watch = Watch(self.baseline)
        moments = [datetime.fromtimestamp(t, UTC) for t in judged.times.tolist()]
        place = [judged.tags.index(t) for t in self.baseline.names]
        began = time.perf_counter()
        judgements = [watch.update(m, row[place]) for m, row in zip(moments, judged.values, strict=True)]
        self.microseconds = (time.perf_counter() - began) / max(len(moments), 1) * 1e6
        self.scores = np.array([np.nan if j.score is None else j.score for j in judgements])
        self.thresholds = np.array([j.threshold for j in judgements])
        self.events = [e for j in judgements for e in j.events]
        self.measures = measure(judged.times, self.scores, self.thresholds, labels)

    @property
    def alarm(self) -> NDArray[np.bool_]:
        return np.nan_to_num(self.scores) > self.thresholds

    def row(self) -> dict[str, Any]:
        found = self.measures.to_json() if self.measures else {}
        days = max(self.baseline.interval * len(self.scores) / 86400, 1e-9)
        opened = sum(e.phase == "open" for e in self.events)
        return {
            **found, "episodes_per_day": opened / days,
            "expected_false_per_day": self.baseline.calibration.false_per_day,
            "learn_seconds": self.learn_seconds, "us_per_row": self.microseconds, "tags": len(self.baseline.tags),
        }  # fmt: skip


def attacked(folder: Path, judged: Judged) -> dict[str, Any]:
    """How often the top three tags of an episode touch what an attack of ``attacks.csv`` touched."""
    path = folder / "attacks.csv"
    if not path.exists():
        return {}
    with path.open() as text:
        attacks = list(csv.DictReader(text))
    touched = 0
    for attack in attacks:
        start, end = (datetime.fromisoformat(attack[k]).replace(tzinfo=UTC) for k in ("start", "end"))
        parts = set(attack["component_and_neighbours"].split())
        parts |= {near for hub, near in NEIGHBOURS if hub in parts}
        top = {
            tag.tag.split("_")[-1]
            for e in judged.events
            if e.phase == "close" and e.start <= end and e.end is not None and e.end >= start
            for tag in e.tags[:3]
        }
        touched += bool(top & parts)
    return {"top3": f"{touched}/{len(attacks)}"}


_BESIDE = {
    "J280 J269": "PU1 PU2 PU3", "J300 J256": "PU4 PU5", "J289 J415": "PU6 PU7", "J302 J306 J307": "PU10 PU11",
    "J317": "PU8 PU9", "J422 J14": "V2",
}  # fmt: skip
NEIGHBOURS = [(hub, near) for nears, hubs in _BESIDE.items() for hub in hubs.split() for near in nears.split()]
"""Pressures count for the pump or valve beside them."""


def two_stretches(folder: Path) -> dict[str, Any]:
    normal, attacks = Series(folder / "normal.csv.gz"), Series(folder / "attacks.csv.gz")
    judged = Judged(normal.part(0, None), attacks.part(0, None), attacks.labels)
    return {**judged.row(), **attacked(folder, judged)}


def fault_files(folder: Path) -> dict[str, Any]:
    (learned,) = folder.glob("*_tr.csv.gz")
    normal = Series(folder / learned.name.replace("_tr", "_te"))
    base = Series(learned).part(0, None)
    quiet = Judged(base, normal.part(0, None), normal.labels)
    cut = float(np.nanquantile(quiet.scores, 0.99))
    rates = {}
    for path in sorted(folder.glob("*_te.csv.gz")):
        series = Series(path)
        judged = Judged(base, series.part(0, None), series.labels)
        rates[path.name.split("_")[0]] = float(np.mean(np.nan_to_num(judged.scores[160:]) > cut))
    normal_rate = rates.pop(learned.name.split("_")[0])
    hard = {k: v for k, v in rates.items() if k in ("d03", "d09", "d15")}
    easy = [v for k, v in rates.items() if k not in hard]
    return {
        "false_rate": normal_rate, "own_threshold_false_rate": float(quiet.alarm.mean()),
        "mean_fdr": float(np.mean(easy)),
        "mean_fdr_hard": float(np.mean(list(hard.values()))) if hard else None, "us_per_row": quiet.microseconds,
        "learn_seconds": quiet.learn_seconds, "fdr": rates,
    }  # fmt: skip


def many_files(folder: Path) -> dict[str, Any]:
    alarms, labels = [], []
    for path in sorted(folder.glob("*.csv.gz")):
        series = Series(path)
        if not np.nansum(series.labels):
            continue
        judged = Judged(series.part(0, 400), series.part(400, None), series.labels[400:])
        alarms.append(judged.alarm)
        labels.append(series.labels[400:] > 0)
    alarm, truth = np.concatenate(alarms), np.concatenate(labels)
    hits = int((alarm & truth).sum())
    return {
        "files": len(alarms), "f1": 2 * hits / max(int(alarm.sum() + truth.sum()), 1),
        "far": float(alarm[~truth].mean()),
        "mar": float((~alarm[truth]).mean()), "events": sum(len(runs(t)) for t in labels),
    }  # fmt: skip


def one_file(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("*.csv.gz")
    series = Series(path)
    cut = len(series.times) // 10
    return Judged(series.part(0, cut), series.part(cut, None), series.labels[cut:]).row()


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure detection on recorded histories.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", nargs="*", default=[], help="names of sets")
    args = parser.parse_args()
    table = {}
    for folder in sorted(p for p in args.folder.iterdir() if p.is_dir()):
        if args.only and folder.name not in args.only:
            continue
        files = sorted(p.name for p in folder.glob("*.csv.gz"))
        if {"normal.csv.gz", "attacks.csv.gz"} <= set(files):
            table[folder.name] = two_stretches(folder)
        elif any("_tr." in f for f in files):
            table[folder.name] = fault_files(folder)
        elif len(files) > 1:
            table[folder.name] = many_files(folder)
        elif files:
            table[folder.name] = one_file(folder)
        print(f"measured {folder.name}", file=sys.stderr)
    if args.json:
        print(json.dumps(table))
        return 0
    for name, row in table.items():
        print(name)
        for what, value in row.items():
            print(f"  {what:<26}{value if not isinstance(value, float) else format(value, '.4g')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

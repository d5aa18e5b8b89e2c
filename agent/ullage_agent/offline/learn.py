"""``ullage-agent learn``: from a recorded history of normal running to a baseline file."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ullage_models.detect.baseline import Baseline
from ullage_models.errors import ModelError
from ullage_models.training.history import History
from ullage_models.training.learn import learn

from ..errors import AgentError, HistoryError
from ..files import whole_file
from ..progress import Progress
from .history import HistoryFile

MAX_CELLS = 400_000_000
"""Readings that are held while learning (8 bytes each)."""

_BLOCK = 4096


def read_history(path: Path, progress: Progress) -> tuple[History, list[str]]:
    """The whole history of a file and what was out of the ordinary in it; rows without a time are left out."""
    source = HistoryFile(path)
    blocks: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = []
    rows, times = [], []
    try:
        for row in source.rows():
            if row.time is None:
                continue
            times.append(row.time.timestamp())
            rows.append(row.values)
            if len(rows) == _BLOCK:
                blocks.append(np.array(rows))
                rows = []
                progress.show("reading", source.share)
            if len(times) * len(source.tags) > MAX_CELLS:
                raise HistoryError(f"{path}: holds more than {MAX_CELLS} readings; learn from a part of it")
    finally:
        source.close()
    blocks.append(np.array(rows).reshape(len(rows), len(source.tags)))
    return History(source.tags, np.array(times), np.concatenate(blocks)), source.summary.sentences()


def read_roles(pairs: Sequence[str]) -> dict[str, str]:
    """Roles from ``tag=role`` arguments; AgentError for one of another form."""
    roles = {}
    for pair in pairs:
        tag, equals, role = pair.rpartition("=")
        if not equals or not tag or not role:
            raise AgentError(f"--roles {pair!r} is not of the form tag=role")
        roles[tag] = role
    return roles


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 if the baseline was written, 2 with a sentence on stderr otherwise."""
    parser = argparse.ArgumentParser(
        "ullage-agent learn", description="Learn a baseline from a history of normal running."
    )
    parser.add_argument(
        "--from", dest="source", required=True, type=Path, metavar="FILE", help="CSV or CSV.gz: time, then tags"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="BASELINE", help="the baseline file to write")
    parser.add_argument(
        "--roles",
        nargs="+",
        action="extend",
        default=[],
        metavar="TAG=ROLE",
        help="roles of tags, e.g. level_sp=setpoint",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    args = parser.parse_args(argv)
    progress = Progress(sys.stderr)
    try:
        history, told = read_history(args.source, progress)
        baseline = learn(history, read_roles(args.roles), progress.show)
        with whole_file(args.out, "wb") as out:
            out.write(baseline.to_bytes())  # type: ignore[arg-type]
    except (AgentError, ModelError) as fault:
        progress.end()
        where = "" if isinstance(fault, AgentError) else f"{args.source}: "
        print(f"ullage-agent learn: {where}{fault}", file=sys.stderr)
        return 2
    progress.end()
    _report(baseline, told, args.out, as_json=args.json)
    return 0


def _report(baseline: Baseline, told: list[str], out: Path, *, as_json: bool) -> None:
    calibration = baseline.calibration
    signals = [baseline.tags[c].name for c in baseline.model.columns]
    if as_json:
        report = {
            "baseline": str(out), "digest": baseline.digest, "from": baseline.start.isoformat(),
            "to": baseline.end.isoformat(),
            "rows": baseline.rows, "interval": baseline.interval, "threshold": calibration.threshold,
            "expected_false_per_day": calibration.false_per_day, "signals": signals,
            "tags": {t.name: {"role": t.role, "kind": str(t.kind)} for t in baseline.tags},
            "notes": [*told, *baseline.notes],
        }  # fmt: skip
        print(json.dumps(report, ensure_ascii=False))
        return
    print(
        f"learned {baseline.rows} rows of {len(baseline.tags)} tags, "
        f"{baseline.start} to {baseline.end}, every {baseline.interval:g} s"
    )
    print(f"{len(signals)} tags in the linear model; expected false episodes: {calibration.false_per_day:.3g} a day")
    for note in [*told, *baseline.notes]:
        print(f"note: {note}")
    print(f"baseline {out}, sha256 {baseline.digest}")

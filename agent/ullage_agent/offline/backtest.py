"""``ullage-agent backtest``: the running agent's detection over a recorded history, faster than real time.

Labels, where the file has them, are read past detection: only after the last row has been judged are they compared.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
from ullage_models.detect.baseline import MAX_BYTES, Baseline
from ullage_models.detect.watch import Watch
from ullage_models.errors import ModelError
from ullage_models.training.metrics import Measures, measure
from ullage_protocols.messages import Anomaly

from ..errors import AgentError
from ..files import whole_file
from ..progress import Progress
from .history import HistoryFile


@dataclass(slots=True)
class Run:
    """What a backtest found: one entry for each row of the file, in its order."""

    times: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)
    labels: list[float] = field(default_factory=list)
    episodes: int = 0
    unjudged: int = 0
    told: list[str] = field(default_factory=list)


def read_baseline(path: Path) -> Baseline:
    """The baseline in a file; AgentError where it cannot be opened, BaselineError where it cannot be used."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise AgentError(f"{path}: is larger than a baseline may be ({MAX_BYTES} bytes); learn it again")
        return Baseline.from_bytes(path.read_bytes())
    except OSError as fault:
        raise AgentError(f"{path}: cannot be opened ({fault.strerror}); give the path of a baseline") from fault


def backtest(baseline: Baseline, source: HistoryFile, episodes: IO[Any], scores: IO[Any], progress: Progress) -> Run:
    """Judge every row of ``source``; write episodes as JSON Lines and the score of every row as CSV."""
    known = [t for t in baseline.names if t in set(source.tags)]
    if not known:
        raise AgentError(f"{source.path}: has none of the baseline's tags; give a history of the same plant")
    run = Run()
    _tell_tags(run, baseline, source, known)
    here = {tag: i for i, tag in enumerate(source.tags)}
    place = np.array([here.get(tag, len(source.tags)) for tag in baseline.names])
    watch = Watch(baseline)
    table = csv.writer(scores, lineterminator="\n")
    table.writerow(("time", "score", "threshold"))
    last: Anomaly | None = None
    threshold = baseline.calibration.threshold
    for row in source.rows():
        score: float | None = None
        if row.time is not None:
            judged = watch.update(row.time, np.append(row.values, np.nan)[place])
            score, threshold = judged.score, judged.threshold
            for event in judged.events:
                last = _episode(run, event, episodes)
        table.writerow((_shown(row.time, row.time_text), "" if score is None else repr(score), repr(threshold)))
        run.unjudged += score is None
        run.times.append(np.nan if row.time is None else row.time.timestamp())
        run.scores.append(np.nan if score is None else score)
        run.thresholds.append(threshold)
        run.labels.append(np.nan if row.label is None else float(row.label))
        if source.summary.rows % 2000 == 0:
            progress.show("judging", source.share)
    if last is not None and last.phase != "close":
        _write(episodes, last, still_open=True)
        run.episodes += 1
    if run.unjudged:
        run.told.append(f"{run.unjudged} rows could not be judged: their score is empty")
    run.told += source.summary.sentences()
    return run


def _tell_tags(run: Run, baseline: Baseline, source: HistoryFile, known: list[str]) -> None:
    missing = [t for t in baseline.names if t not in known]
    new = [t for t in source.tags if t not in set(baseline.names)]
    if missing:
        run.told.append(
            f"{len(missing)} tags of the baseline are not in the history and stay unknown: {_some(missing)}"
        )
    if new:
        run.told.append(f"{len(new)} tags of the history are not in the baseline and are not watched: {_some(new)}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _shown(time: datetime | None, text: str) -> str:
    """The row's time as the file gave it; text that is no time is quoted harmlessly."""
    return text if time is not None else text[:80].lstrip("=+-@\t\r")


def _episode(run: Run, event: Anomaly, out: IO[Any]) -> Anomaly:
    if event.phase == "close":
        _write(out, event, still_open=False)
        run.episodes += 1
    return event


def _write(out: IO[Any], event: Anomaly, *, still_open: bool) -> None:
    body = event.to_json()
    body.pop("phase", None)
    body["open"] = still_open
    out.write(json.dumps(body, ensure_ascii=False) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 if both files were written, 2 with a sentence on stderr otherwise."""
    parser = argparse.ArgumentParser(
        "ullage-agent backtest", description="Judge a recorded history as the agent would."
    )
    parser.add_argument("--baseline", required=True, type=Path, metavar="BASELINE", help="a file written by learn")
    parser.add_argument(
        "--from", dest="source", required=True, type=Path, metavar="FILE", help="CSV or CSV.gz: time, then tags"
    )
    parser.add_argument(
        "--episodes", required=True, type=Path, metavar="OUT.jsonl", help="episodes, one JSON object a line"
    )
    parser.add_argument(
        "--scores", required=True, type=Path, metavar="OUT.csv", help="time, score, threshold of every row"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    args = parser.parse_args(argv)
    progress = Progress(sys.stderr)
    try:
        baseline = read_baseline(args.baseline)
        source = HistoryFile(args.source)
        try:
            with whole_file(args.episodes) as episodes, whole_file(args.scores) as scores:
                run = backtest(baseline, source, episodes, scores, progress)
        finally:
            source.close()
    except (AgentError, ModelError) as fault:
        progress.end()
        where = f"{args.baseline}: " if isinstance(fault, ModelError) else ""
        print(f"ullage-agent backtest: {where}{fault}", file=sys.stderr)
        return 2
    progress.end()
    found = measure(np.array(run.times), np.array(run.scores), np.array(run.thresholds), np.array(run.labels))
    _report(run, found, as_json=args.json)
    return 0


def _report(run: Run, found: Measures | None, *, as_json: bool) -> None:
    if as_json:
        report = {"rows": len(run.scores), "unjudged": run.unjudged, "episodes": run.episodes, "notes": run.told}
        print(json.dumps({**report, "measures": None if found is None else found.to_json()}, ensure_ascii=False))
        return
    print(f"{len(run.scores)} rows judged, {run.episodes} episodes")
    for note in run.told:
        print(f"note: {note}")
    for line in _lines(found):
        print(line)


def _lines(found: Measures | None) -> Iterator[str]:
    if found is not None:
        yield "compared with the labels, after detection:"
        yield from found.lines()

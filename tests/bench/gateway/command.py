"""Runs the measurements, interleaved: each figure of all contenders in turn, then the next figure."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from ullage_plant.errors import PlantError

from . import measure
from .collectd import Collectd
from .contenders import Contender
from .install import install
from .nodered import NodeRed
from .plant import compiled
from .table import table
from .thingsboard import ThingsBoard
from .ullage import Ullage

CONTENDERS: dict[str, Callable[[], Contender]] = {
    "ullage": lambda: Ullage("ullage", None),
    "ullage-200": lambda: Ullage("ullage-200", 10),
    "node-red": NodeRed,
    "collectd": Collectd,
    "thingsboard": ThingsBoard,
    "thingsboard-single": lambda: ThingsBoard(single=True),
}
_DEFAULT = ("ullage", "ullage-200", "node-red", "collectd", "thingsboard")
_STEPS = ("cost", "sustained", "start", "told-kill", "told-hang", *(f"loss-{fault}" for fault in measure.FAULTS))


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGINT):  # a shell's background job would ignore SIGINT otherwise
        signal.signal(number, signal.default_int_handler)
    names, steps = _chosen(args.contenders, CONTENDERS), _chosen(args.only, _STEPS)
    try:
        if not args.no_install:
            _say("installing what is not there yet (.bench/)")
            install(set(names))
        compiled()
    except (subprocess.SubprocessError, OSError) as exc:
        _say(f"installation failed: {exc}; what is there is measured")
    contenders = []
    for name in names:
        contender = CONTENDERS[name]()
        if lack := contender.missing():
            _say(f"{name} is left out: {lack} is not installed")
        else:
            contenders.append(contender)
    results: dict[str, dict[str, Any]] = {contender.name: {} for contender in contenders}
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        try:
            for contender in contenders:
                if isinstance(contender, Ullage):
                    _say(f"{contender.name} learns a baseline, about a minute")
                    _one(contender, "learn", Path(folder, contender.name, "learn"), args)
            for step in steps:
                for contender in contenders:
                    results[contender.name][step] = _one(contender, step, Path(folder, contender.name, step), args)
        except KeyboardInterrupt:
            _say("interrupted; what was measured so far:")
    took = time.monotonic() - began
    if args.json:
        print(json.dumps({"seconds": round(took), "results": results}, indent=1))
    else:
        print(table(results, {contender.name: contender.does for contender in contenders}))
        print(f"\n{took:.0f} s in all")
    return 0


def _one(contender: Contender, step: str, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    began = time.monotonic()
    word, _, how = step.partition("-")
    measures: dict[str, Callable[[], measure.Figures]] = {
        "learn": lambda: measure.learn(cast(Ullage, contender), folder),
        "cost": lambda: measure.cost(contender, folder, args.seconds),
        "sustained": lambda: measure.sustained(contender, folder, args.seconds),
        "start": lambda: measure.start(contender, folder),
        "told": lambda: measure.told(contender, folder, how, args.patience),
        "loss": lambda: measure.loss(contender, folder, how),
    }
    try:
        found = measures[word]()
    except (RuntimeError, PlantError, OSError, ValueError) as exc:
        found = {"failed": str(exc)[:500]}
    shown = {key: round(value, 3) if isinstance(value, float) else value for key, value in found.items()}
    _say(f"{contender.name:<18} {step:<16} {time.monotonic() - began:5.1f} s  {json.dumps(shown)}")
    return found


def _chosen(given: str, known: Sequence[str] | dict[str, Any]) -> list[str]:
    names = [name.strip() for name in given.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise SystemExit(f"{name!r} is unknown; known are {', '.join(known)}")
    return names


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "bench-gateway", description="The agent and other gateways under the same load, each figure in the same run."
    )
    parser.add_argument("--contenders", default=",".join(_DEFAULT), help=f"of {', '.join(CONTENDERS)}")
    parser.add_argument("--only", default=",".join(_STEPS), help=f"of {', '.join(_STEPS)}")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of a window of cost or sustained (15)")
    parser.add_argument("--patience", type=float, default=30.0, help="how long a lost device may stay untold (30)")
    parser.add_argument("--no-install", action="store_true", help="measure what is there")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout instead of the table")
    return parser

"""``python tests/bench/soak.py --minutes 60``: the agent for a long time among devices that misbehave.

Of the requests 2.5% each meet a reset connection, a late reply, an exception or silence, and now and then the broker
goes away. Every ten seconds the agent's memory and open handles are read. Exit status 1 where memory grows by more than
the bound, handles grow, a sequence is missing, a count is wrong, or a write reached a device.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.gateway.rig import Rig
from bench.gateway.trend import Trend, trend
from bench.gateway.ullage import Ullage

_EVERY = 10.0
_SETTLE = 60.0
_STEP = 0.5
"""MB: less than this is not told from the steps in which memory is taken."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at the agent: seconds since the start, MB, open handles."""

    time: float
    rss: float
    files: int


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    contender = Ullage("agent", args.watched, interval="10s")
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as folder,
        Rig(contender, Path(folder, "rig"), scan=args.scan, devices=args.devices, registers=args.registers) as rig,
    ):
        rig.start()
        rig.steady(1)
        share = round(args.faults * 100 / 4)
        # Late within the timeout of a second: slow is not lost.
        rig.plant.ask(f"faults {share} {share} {share} {share} 400")
        rig.plant.ask("count on")
        seen = _watch(rig, args)
        rig.plant.ask("faults 0 0 0 0 0")
        rig.plant.ask("count off")
        return _judge(rig, contender, seen, args)


def _watch(rig: Rig, args: argparse.Namespace) -> list[Seen]:
    dice, began = random.Random(args.seed), time.monotonic()
    outage = began + 60
    seen: list[Seen] = []
    while (now := time.monotonic()) < began + args.minutes * 60:
        if not rig.child.alive:
            raise SystemExit(f"soak: the agent ended by itself:\n{rig.child.tail()}")
        found = rig.cost()
        seen.append(Seen(now - began, found.rss, found.files))
        print(f"soak: {now - began:6.0f} s  {found.rss:6.1f} MB  {found.files} handles", file=sys.stderr, flush=True)
        if now > outage:
            rig.broker.stop()
            time.sleep(dice.uniform(1, 5))
            rig.broker.start()
            outage = time.monotonic() + dice.uniform(60, 180)
        time.sleep(max(0.0, min(_EVERY, began + args.minutes * 60 - time.monotonic())))
    return seen


def _judge(rig: Rig, contender: Ullage, seen: list[Seen], args: argparse.Namespace) -> int:
    receiver, stats = contender.receiver, rig.plant.stats()
    assert receiver is not None
    counted = stats["count"] * args.devices
    rig.wait(lambda: sum(contender.made.values()) >= counted, _SETTLE)
    made = sum(contender.made.values())
    warm = [one for one in seen if one.time >= args.warm_up * 60]
    memory = trend([(one.time, one.rss) for one in warm])
    handles = trend([(one.time, float(one.files)) for one in warm])
    span = warm[-1].time - warm[0].time if warm else 0.0
    faults = _faults(memory, handles, args.bound, span)
    if made != counted or contender.unknown:
        faults.append(f"the intervals hold {made} units ({contender.unknown} of unknown count), counted were {counted}")
    if receiver.refused:
        faults.append(f"{len(receiver.refused)} records were refused, first: {receiver.refused[0]}")
    if stats["writes"]:
        faults.append(f"{stats['writes']} writes reached a device")
    injected = {name: stats[name] for name in ("requests", "resets", "delays", "exceptions", "silences")}
    print(json.dumps({
        "minutes": args.minutes, "memory_mb_per_day": round(memory.slope * 86400, 2),
        "memory_error_mb_per_day": round(memory.error * 86400, 2), "memory_mb": round(memory.last, 1),
        "handles_per_day": round(handles.slope * 86400, 2), "handles": seen[-1].files if seen else None,
        "records": receiver.through, "repeated": receiver.repeated, "units": made, "writes": stats["writes"],
        "injected": injected, "faults": faults,
    }))  # fmt: skip
    return 1 if faults else 0


def _faults(memory: Trend, handles: Trend, bound: float, span: float) -> list[str]:
    """A slope counts when it is beyond its own uncertainty and came to more, over ``span`` seconds, than the steps in
    which memory is taken: minutes cannot tell a megabyte a day from noise."""
    faults = []
    if (memory.slope - 2 * memory.error) * 86400 > bound and memory.slope * span > _STEP:
        faults.append(f"memory grows by {memory.slope * 86400:.1f} MB a day (± {memory.error * 86400:.1f})")
    if handles.slope - 2 * handles.error > 0 and handles.slope * span > 1:
        faults.append(f"open handles grow by {handles.slope * 3600:.1f} an hour")
    return faults


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "soak", description="The agent among misbehaving devices: memory, handles, custody."
    )
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--warm-up", type=float, default=2.0, help="minutes that are left out of the fit (2)")
    parser.add_argument("--bound", type=float, default=1.0, help="MB a day that memory may grow (1)")
    parser.add_argument("--faults", type=float, default=10.0, help="percent of requests that meet a fault (10)")
    parser.add_argument("--scan", type=float, default=0.5, help="seconds between two polls of a device (0.5)")
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--registers", type=int, default=100, help="tags a device (100)")
    parser.add_argument("--watched", type=int, default=10, help="of them judged by detection (10)")
    parser.add_argument("--seed", type=int, default=1)
    return parser


if __name__ == "__main__":
    sys.exit(main())

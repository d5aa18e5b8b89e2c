"""The measurements. Each sets up a rig of its own, so that none inherits the warmth or the backlog of another."""

from __future__ import annotations

import contextlib
import statistics
import time
from pathlib import Path
from typing import Any

from .contenders import Contender
from .rig import Rig
from .ullage import Ullage

Figures = dict[str, Any]
FAULTS = ("stopped", "frozen", "black-holed", "killed")
_OUTAGE = 8.0
"""Seconds for which the broker is away."""
_SETTLE = 30.0
"""Seconds after which what has not arrived is taken to be lost."""
_VICTIM = 7


def learn(contender: Ullage, folder: Path) -> Figures:
    """A baseline from the load itself, for all later measurements of this contender."""
    with Rig(contender, folder, scan=1.0) as rig:
        rig.start()
        began = time.monotonic()
        file = folder / "baseline.npz"
        if not rig.wait(file.exists, 180):
            raise RuntimeError(f"no baseline within 180 s: {rig.child.tail(5)}")
        contender.baseline = file.read_bytes()
        return {"learned": time.monotonic() - began}


def cost(contender: Contender, folder: Path, seconds: float) -> Figures:
    """CPU and memory at the reference load, a scan a second."""
    with Rig(contender, folder, scan=1.0) as rig:
        rig.start()
        rig.steady(3)
        return _window(rig, seconds)


def sustained(contender: Contender, folder: Path, seconds: float) -> Figures:
    """The most values a second, read and (for the peers) arrived at the broker, that one core sustains.

    Of the contender's ``paces`` the best counts: one that is asked for too much may read a lot and deliver little.
    """
    best: Figures = {"kept_per_s": 0.0}
    for number, pace in enumerate(contender.paces):
        with Rig(contender, folder / str(number), scan=pace) as rig:
            rig.start()
            rig.steady(2)
            found = _window(rig, seconds)
        found |= {"scan": pace, "kept_per_s": found["tags_per_s"] * min(1.0, found.get("arrived") or 1.0)}
        if "arrived" in found and not found["arrived"]:
            found["kept_per_s"] = 0.0
        best = max(best, found, key=lambda one: float(one["kept_per_s"]))
    return best


def _window(rig: Rig, seconds: float) -> Figures:
    before, began, cost, arrived = rig.plant.stats(), time.monotonic(), rig.cost(), rig.feed.tags
    rss, pss = cost.rss, cost.pss
    while (left := began + seconds - time.monotonic()) > 0:
        time.sleep(min(1.0, left))
        now = rig.cost()
        rss, pss = max(rss, now.rss), max(pss, now.pss)
    after, took, end = rig.plant.stats(), time.monotonic() - began, rig.cost()
    tags = after["registers"] - before["registers"]
    figures: Figures = {
        "tags": tags,
        "tags_per_s": tags / took,
        "requests_per_s": (after["requests"] - before["requests"]) / took,
        "cpu": end.cpu - cost.cpu,
        "cpu_per_million": (end.cpu - cost.cpu) / tags * 1e6 if tags else None,
        "core": (end.cpu - cost.cpu) / took,
        "rss": rss,
        "pss": pss,
        "writes": after["writes"],
    }
    contender = rig.contender
    if isinstance(contender, Ullage):
        figures["judging"] = contender.baseline is not None
    else:
        figures["arrived"] = (rig.feed.tags - arrived) / tags if tags else None
    return figures


def start(contender: Contender, folder: Path, times: int = 3) -> Figures:
    """Seconds from the start of the process to the first value (ours: the first sealed interval) at the broker."""
    found, hello = [], []
    for number in range(times):
        with Rig(contender, folder / str(number), scan=1.0, prompt=True) as rig:
            rig.start()
            if rig.wait(lambda rig=rig: rig.feed.first is not None, 60) and rig.feed.first:
                found.append(rig.feed.first - rig.started)
            if isinstance(contender, Ullage) and contender.records:
                hello.append(contender.records[0].arrived - rig.started)
    figures: Figures = {"first": statistics.median(found) if found else None}
    if hello:
        figures["hello"] = statistics.median(hello)
    return figures


def told(contender: Contender, folder: Path, how: str, patience: float) -> Figures:
    """Seconds until a message says that a device is away: ``how`` is "kill" or "hang". None: not within patience."""
    with Rig(contender, folder, scan=1.0, tell=True) as rig:
        rig.start()
        rig.steady(4)
        rig.feed.told.clear()
        rig.plant.ask(f"{how} {_VICTIM}")
        since = time.time()
        rig.wait(lambda: _VICTIM in rig.feed.told, patience)
        others = rig.plant.stats()["serials"]
        found = rig.feed.told.get(_VICTIM)
        falsely = sorted(set(rig.feed.told) - {_VICTIM})
        return {
            "told": found[0] - since if found else None,
            "words": found[1] if found else "",
            "falsely": falsely,
            "polls": min(others[:_VICTIM] + others[_VICTIM + 1 :]),
        }


def loss(contender: Contender, folder: Path, fault: str) -> Figures:
    """What was acquired and never arrived, when the broker is away for some seconds and comes back."""
    with Rig(contender, folder, scan=1.0, store=True, hole=fault == "black-holed") as rig:
        rig.start()
        rig.steady(3)
        rig.plant.ask("count on")
        time.sleep(3)
        _away(rig, fault)
        time.sleep(5)
        rig.plant.ask("count off")
        return _ours(rig, contender) if isinstance(contender, Ullage) else _theirs(rig)


def _away(rig: Rig, fault: str) -> None:
    if fault in ("stopped", "killed"):
        rig.broker.stop()
        time.sleep(_OUTAGE / 2)
        if fault == "killed":
            rig.kill()
        time.sleep(_OUTAGE / 2)
        rig.broker.start()
        if fault == "killed":
            rig.start()
    elif fault == "frozen":
        rig.broker.freeze(True)
        time.sleep(_OUTAGE)
        rig.broker.freeze(False)
    elif rig.hole is not None:
        rig.hole.swallow(True)
        time.sleep(_OUTAGE)
        rig.hole.swallow(False)


def _theirs(rig: Rig) -> Figures:
    """Polls whose value of register 1 never arrived; its reads are numbered from 1 by the simulator."""
    acquired = rig.plant.stats()["serials"]

    def missing() -> int:
        with rig.feed.lock:
            arrived = [rig.feed.delivered.get(device, set()) for device in range(len(acquired))]
            return sum(len(set(range(1, last + 1)) - found) for last, found in zip(acquired, arrived, strict=True))

    with contextlib.suppress(RuntimeError):
        rig.wait(lambda: missing() == 0, _SETTLE)
    return {"acquired": sum(acquired), "lost": missing()}


def _ours(rig: Rig, contender: Ullage) -> Figures:
    """Sealed records by their sequence, and the production counts against the simulator's own counter."""
    receiver = contender.receiver
    assert receiver is not None
    stats = rig.plant.stats()
    counted = stats["count"] * len(stats["serials"])

    def settled() -> bool:
        return sum(contender.made.values()) == counted

    with contextlib.suppress(RuntimeError):
        rig.wait(settled, _SETTLE)
    time.sleep(1)
    return {
        "acquired": receiver.through,
        "lost": 0 if settled() else None,
        "counted": counted,
        "sealed": sum(contender.made.values()),
        "unknown": contender.unknown,
        "repeated": receiver.repeated,
        "refused": len(receiver.refused),
        "writes": stats["writes"],
    }

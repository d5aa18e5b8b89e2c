"""A status snapshot in the text format that Prometheus reads (version 0.0.4). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

_STATES = ("good", "degraded", "lost")
_DEVICE = (
    ("scans_total", "counter", "Scans of the device that ended with readings.", "scans"),
    ("samples_total", "counter", "Samples read from the device, bad ones included.", "samples"),
    ("bad_samples_total", "counter", "Samples of bad quality.", "bad_samples"),
    ("missed_scans_total", "counter", "Scan intervals without a read because the read before took too long.", "missed"),
    ("reconnects_total", "counter", "Connections that the device closed and gave back at once.", "reconnects"),
    ("losses_total", "counter", "How often the device went away.", "losses"),
    ("lag_seconds", "gauge", "Age of the last good scan.", "lag"),
    ("round_trip_seconds", "gauge", "Time that the last scan took.", "round_trip"),
)


def exposition(status: dict[str, Any]) -> str:
    """The metrics of one agent."""
    return "\n".join(_lines(status)) + "\n"


def _lines(status: dict[str, Any]) -> Iterator[str]:
    outbox, broker, baseline = status["outbox"], status["broker"], status["baseline"]
    version = f'{{agent="{_escaped(status["agent"])}",version="{_escaped(status["version"])}"}}'
    yield from _metric("info", "gauge", "Which agent this is.", [(version, 1)])
    for name, kind, text, value in (
        ("uptime_seconds", "gauge", "Time since the start.", status["uptime"]),
        ("sealed_total", "counter", "Records sealed, over all starts.", outbox["sequence"]),
        ("receipted_total", "counter", "Records that the scorer has signed for, over all starts.", outbox["receipted"]),
        ("outbox_pending", "gauge", "Records that wait for a receipt.", outbox["pending"]),
        ("outbox_used_ratio", "gauge", "How full the outbox is.", outbox["share"]),
        ("holding", "gauge", "1 while nothing can be sealed and acquisition pauses.", int(bool(status["holding"]))),
        ("broker_connected", "gauge", "1 while the broker is connected.", int(broker["connected"])),
        ("watching", "gauge", "1 while a baseline is in force.", int(baseline["state"] == "watching")),
        ("rows_judged", "gauge", "Rows judged against the baseline in force.", status["judged"]),
        ("episode_open", "gauge", "1 while an episode is open.", int(status["episode_open"])),
    ):
        yield from _metric(name, kind, text, [("", value)])
    devices = [(_escaped(one["name"]), one) for one in status["devices"]]
    for name, kind, text, key in _DEVICE:
        values = [(f'{{device="{label}"}}', one[key]) for label, one in devices if one[key] is not None]
        yield from _metric(f"device_{name}", kind, text, values)
    states = [
        (f'{{device="{label}",state="{state}"}}', int(one["state"] == state))
        for label, one in devices
        for state in _STATES
    ]
    yield from _metric("device_state", "gauge", "1 for the state that the device is in.", states)


def _metric(name: str, kind: str, text: str, values: Sequence[tuple[str, float]]) -> Iterator[str]:
    whole = f"ullage_agent_{name}"
    yield f"# HELP {whole} {text}"
    yield f"# TYPE {whole} {kind}"
    for labels, value in values:
        yield f"{whole}{labels} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

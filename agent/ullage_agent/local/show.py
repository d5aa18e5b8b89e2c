"""``ullage-agent status``: what the running agent says of itself, as a person reads it."""

from __future__ import annotations

import json
from typing import Any

from ..config import Config
from ..errors import StateError
from ..table_text import columns
from .door import ask


def show(config: Config, *, as_json: bool) -> int:
    """Prints the status; 0 when the agent runs and all is well, 1 when it does not run, holds, or a device is lost."""
    status: dict[str, Any] | None = ask(config.state)
    if status is None:
        if as_json:
            print(json.dumps({"running": False}))
        else:
            print(f"no agent runs on {config.state}; start it with `ullage-agent run --config {config.path}`")
        return 1
    if as_json:
        print(json.dumps({"running": True, **status}, ensure_ascii=False))
    else:
        try:
            print(_text(status))
        except (KeyError, TypeError, ValueError) as exc:
            raise StateError(f"the running agent is of another version ({exc}); restart it, or use --json") from exc
    well = not status.get("holding") and all(device.get("state") != "lost" for device in status.get("devices", ()))
    return 0 if well else 1


def _text(status: dict[str, Any]) -> str:
    outbox, broker = status["outbox"], status["broker"]
    lines = [
        f"agent {status['agent']} {status['version']}, up {_duration(status['uptime'])}, key id {status['keyid']}",
        f"broker   {'connected' if broker['connected'] else 'AWAY'}: {broker['told']}",
        f"outbox   {outbox['pending']} of {outbox['sequence']} records wait for a receipt, {outbox['share']:.1%} full; "
        f"receipted through {outbox['receipted']}" + (f" at {broker['receipt_at']}" if broker["receipt_at"] else ""),
        f"baseline {_baseline(status['baseline'])}",
    ]
    if status["holding"]:
        lines.append(f"HOLDING  acquisition pauses: {status['holding']}")
    rows = [("device", "protocol", "state", "lag", "trip", "samples", "bad", "missed", "losses", "")]
    rows += [
        (
            one["name"], one["protocol"], one["state"], _seconds(one["lag"]), _seconds(one["round_trip"]),
            str(one["samples"]), str(one["bad_samples"]), str(one["missed"]), str(one["losses"]),
            one["reason"] or (f"down since {one['down_since']}" if one["down_since"] else ""),
        )
        for one in status["devices"]
    ]  # fmt: skip
    lines += ["", *columns(rows), ""]
    lines.append("an episode is open" if status["episode_open"] else "no episode is open")
    lines += [
        f"  {one['start']}  {one['kind']:<9} {one['severity']:.2f} {one['phase']:<6} {one['reason']}"
        for one in status["anomalies"][:5]
    ]
    return "\n".join(lines)


def _baseline(baseline: dict[str, Any]) -> str:
    if baseline["state"] != "watching":
        return baseline["told"] or "none"
    return f"{baseline['rows']} rows, {baseline['from']} to {baseline['to']}, {baseline['digest'][:16]}"


def _duration(seconds: float) -> str:
    minutes, hours, days = int(seconds) // 60, int(seconds) // 3600, int(seconds) // 86400
    return f"{days} d {hours % 24} h" if days else f"{hours} h {minutes % 60} min" if hours else f"{seconds:.0f} s"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"

"""What a running agent says of itself: one snapshot, for ``ullage-agent status``, for health and for metrics."""

from __future__ import annotations

from datetime import datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

from ullage_protocols import wire

if TYPE_CHECKING:
    from ..run import Agent

Json = dict[str, Any]


def snapshot(agent: Agent) -> Json:
    """Everything, as JSON values. Times are RFC 3339 texts, durations seconds, shares 0-1."""
    now = agent.clock.now()
    return {
        "agent": agent.config.agent,
        "version": metadata.version("ullage-agent"),
        "time": wire.format_time(now),
        "uptime": round(agent.clock.monotonic() - agent.clock.started, 3),
        "keyid": agent.key.public.keyid,
        "holding": agent.sealer.held,
        "devices": [_device(agent, name, now) for name in agent.pollers],
        "outbox": {
            "sequence": agent.outbox.sequence, "receipted": agent.outbox.through, "pending": agent.outbox.pending,
            "share": round(agent.outbox.share, 6),
        },
        "broker": {
            "connected": agent.publisher.connected, "told": agent.publisher.told,
            "receipt_at": _time(agent.publisher.receipt_at),
        },
        "baseline": _baseline(agent),
        "episode_open": agent.episodes.open,
        "anomalies": [
            {
                "episode": one.episode, "phase": one.phase, "kind": one.kind, "severity": one.severity,
                "start": _time(one.start), "end": _time(one.end), "reason": one.reasons[0] if one.reasons else "",
            }
            for one in agent.recent
        ],
        "judged": agent.judge.judged,
        "waiting_requests": agent.declarations.waiting,
    }  # fmt: skip


def unwell(agent: Agent) -> list[str]:
    """Why the agent cannot do its work; empty: it can. A device or a broker that is away is not its fault."""
    reasons = []
    if agent.sealer.held:
        reasons.append(f"nothing can be sealed: {agent.sealer.held}")
    return reasons


def _device(agent: Agent, name: str, now: datetime) -> Json:
    poller = agent.pollers[name]
    health, state = poller.health, poller.health.state(now)
    down = agent.downtimes[name].open
    return {
        "name": name, "protocol": poller.device.protocol, "state": state.state, "reason": state.reason,
        "tags": len(poller.device.tags), "lag": None if health.good_at is None else _since(health.good_at, now),
        "round_trip": None if health.trip is None else round(health.trip, 6), "scans": health.scans,
        "samples": health.rows, "bad_samples": health.bad_rows, "missed": health.missed, "losses": health.losses,
        "reconnects": health.reconnects,
        "down_since": None if down is None else _time(down.start),
    }  # fmt: skip


def _baseline(agent: Agent) -> Json:
    if agent.judge.learning is not None:
        return {"state": "learning", "told": agent.judge.learning.status}
    baseline = agent.judge.baseline
    if baseline is None:
        return {"state": "none", "told": ""}
    return {
        "state": "watching", "digest": baseline.digest, "rows": baseline.rows, "from": _time(baseline.start),
        "to": _time(baseline.end),
    }  # fmt: skip


def _since(then: datetime, now: datetime) -> float:
    return round(max(0.0, (now - then).total_seconds()), 3)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else wire.format_time(moment)

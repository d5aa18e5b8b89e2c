"""The devices of a site and its planned stops, as the page shows them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row
from ullage_protocols import wire

from ..claims.planned import PlannedStop
from ..ingest import devices
from .view import DeviceView, PlannedView

EXPIRES_SOON = timedelta(days=60)
_MOST_CHANGES = 3


def shown(agents: Iterable[Row[Any]], now: datetime) -> tuple[DeviceView, ...]:
    """Every device of these agents that are not revoked, in the order in which they tell them."""
    found = []
    for row in agents:
        if row.document is not None and row.revoked_at is None:
            said = json.loads(row.document)
            found += [_device(row.id, said, device, now) for device in devices.of(said)]
    return tuple(found)


def planned(stops: Sequence[PlannedStop]) -> tuple[PlannedView, ...]:
    return tuple(
        PlannedView(
            s.id, s.agent, s.line, s.reason, s.by, s.start, s.planned_end, s.end, s.declared_at, s.retroactive,
            s.called_off,
        )
        for s in stops
    )  # fmt: skip


def _device(agent: str, said: dict[str, Any], device: dict[str, Any], now: datetime) -> DeviceView:
    inventory = said.get("inventory", {}).get(device["name"], {})
    stretches = [
        (wire.parse_time(d["start"]), None if d["end"] is None else wire.parse_time(d["end"]), d["cause"], d["reason"])
        for d in said.get("downtime", {}).get(device["name"], [])
    ]
    last = stretches[-1] if stretches else None
    changes = [
        (wire.parse_time(c["at"]), c["field"], c["before"], c["after"])
        for c in inventory.get("changes", [])[-_MOST_CHANGES:]
    ]
    return DeviceView(
        agent, device["name"], device["state"],
        " ".join(inventory[name] for name in ("vendor", "product", "model") if inventory.get(name)),
        inventory.get("firmware", ""), inventory.get("protocol", ""), tuple(_remarks(inventory, now)),
        tuple(changes[::-1]), last[0] if last and last[1] is None else None,
        (last[0], last[1]) if last and last[1] is not None else None, last[2] if last else "",
        device["reason"] or (last[3] if last and last[1] is None else ""),
    )  # fmt: skip


def _remarks(inventory: dict[str, Any], now: datetime) -> Iterable[tuple[str, dict[str, Any]]]:
    """What of its exposure a person should look at: text keys with what fills them in."""
    if not inventory:
        return
    if inventory["anonymous"]:
        yield "posture_anonymous", {}
    if not inventory["encrypted"]:
        yield "posture_plain", {}
    if inventory["certificate_expires"] is not None:
        left = wire.parse_time(inventory["certificate_expires"]) - now
        if left < timedelta(0):
            yield "posture_expired", {"n": -left.days}
        elif left < EXPIRES_SOON:
            yield "posture_expires", {"n": left.days}

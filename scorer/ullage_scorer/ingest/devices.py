"""Inventory, downtime and planned stops in an agent's state document. Pure: what it held, and the next event."""

from __future__ import annotations

from typing import Any

from ullage_protocols import wire
from ullage_protocols.event import Event
from ullage_protocols.messages import Downtime, Inventory, Maintenance

MOST_CHANGES, MOST_DOWNTIMES, MOST_PLANNED, MOST_DEVICES = 10, 5, 100, 500
"""So many are kept of a device (changes, downtimes) and of an agent (planned stops, devices); the ledger has all."""


def fold(document: dict[str, Any], event: Event) -> None:
    """Takes one message into the document; others than these three leave it alone."""
    match event.message:
        case Inventory() as inventory:
            _inventory(document.setdefault("inventory", {}), inventory, wire.format_time(event.time))
        case Downtime() as downtime:
            _downtime(document.setdefault("downtime", {}), downtime)
        case Maintenance() as maintenance:
            document["maintenance"] = _planned(document.get("maintenance", []), maintenance, event)
        case _:
            pass


def brief(event: Event) -> dict[str, Any] | None:
    """What the feed of changes says about such a message; None for the others, and for a first inventory."""
    match event.message:
        case Inventory(changes=changes, device=device) if changes:
            return {"agent": event.agent, "device": device, "inventory": [change.field for change in changes]}
        case Downtime() as down:
            return {"agent": event.agent, "device": down.device, "downtime": down.phase, "cause": down.cause}
        case Maintenance() as stop:
            return {
                "agent": event.agent, "line": stop.line, "maintenance": stop.phase, "id": stop.id,
                "retroactive": stop.retroactive,
            }  # fmt: skip
        case _:
            return None


def of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The devices of a document as its last heartbeat told them, then those that only an inventory or a downtime has
    told of since the agent's start. A downtime that is open outweighs the heartbeat, which may be older."""
    downtime: dict[str, Any] = document.get("downtime", {})
    told = [dict(device) for device in document.get("devices", [])]
    known = {*document.get("inventory", {}), *downtime} & set(document.get("watched", []))
    unheard = sorted(known - {device["name"] for device in told})
    told += [{"name": name, "state": "unknown", "observed": 0.0, "reason": ""} for name in unheard]
    for device in told:
        stretches = downtime.get(device["name"], [])
        if stretches and stretches[-1]["end"] is None:
            device |= {"state": "lost", "reason": device["reason"] or stretches[-1]["reason"]}
    return told


def _inventory(held: dict[str, Any], inventory: Inventory, at: str) -> None:
    if inventory.device not in held and len(held) >= MOST_DEVICES:
        return
    before = held.get(inventory.device, {}).get("changes", [])
    body = inventory.to_json()
    new = [{"at": at, **change} for change in body.pop("changes")]
    del body["device"], body["first"]
    held[inventory.device] = {**body, "at": at, "changes": (before + new)[-MOST_CHANGES:]}


def _downtime(held: dict[str, Any], downtime: Downtime) -> None:
    if downtime.device not in held and len(held) >= MOST_DEVICES:
        return
    stretch = {k: v for k, v in downtime.to_json().items() if k in ("start", "end", "cause", "reason")}
    # The close takes the place of its open: one device is lost once at a time.
    ended = [each for each in held.get(downtime.device, []) if each["end"] is not None]
    held[downtime.device] = [*ended, stretch][-MOST_DOWNTIMES:]


def _planned(held: list[dict[str, Any]], message: Maintenance, event: Event) -> list[dict[str, Any]]:
    before = next((each for each in held if each["id"] == message.id), None)
    said = message.to_json()
    stop = {
        "id": message.id, "line": message.line, "reason": said["reason"], "by": said["by"], "start": said["start"],
        "planned_end": None if before is None else before["planned_end"], "end": None,
        "declared_at": said["declared_at"] if before is None else before["declared_at"],
        "retroactive": message.retroactive or (before is not None and before["retroactive"]),
        "sequence": event.sequence,
    }  # fmt: skip
    if message.phase == "start":
        stop["planned_end"] = said["end"]
    else:
        stop["end"] = said["end"]
        if before is not None:
            stop["start"], stop["reason"], stop["by"] = before["start"], before["reason"], before["by"]
    return [*(each for each in held if each["id"] != message.id), stop][-MOST_PLANNED:]

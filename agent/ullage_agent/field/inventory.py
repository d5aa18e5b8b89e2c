"""What each device is and how it is exposed: told once, and again when something of it is no longer the same.

A changed firmware, product, serial number, operating mode or certificate is somebody's doing and an integrity event.
A changed posture (endpoints, anonymous login, encryption, expiry) is on record without being one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from ullage_protocols import wire
from ullage_protocols.errors import WireError
from ullage_protocols.field.base import Identity
from ullage_protocols.messages import Change, Endpoint, Inventory
from ullage_protocols.messages.inventory import MAX_ENDPOINTS, MAX_LOGINS

from ..config import DeviceConfig
from ..custody.outbox import Draft

INTEGRITY = ("vendor", "product", "model", "firmware", "serial", "state", "certificate")
"""Fields whose change is an integrity event."""
POSTURE = ("protocol", "endpoints", "anonymous", "encrypted", "certificate_expires")
_CALLED = {"serial": "serial number", "state": "operating mode"}
_TEXT, _URL, _POLICY, _WORD, _WHOLE = 200, 300, 120, 40, 2000


def inventory(device: DeviceConfig, identity: Identity, encrypted: bool, before: Inventory | None) -> Inventory | None:
    """What is to be sealed of ``device``: its first inventory, or one with the changes since ``before``; None where
    nothing changed. An identity that says nothing at all (a device that was not in the mood) changes nothing of it.
    """
    found = _shown(device, identity, encrypted)
    if before is None:
        return replace(found, first=True)
    if identity == Identity():
        same = {name: getattr(before, name) for name in (*INTEGRITY, "endpoints", "anonymous", "certificate_expires")}
        found = replace(found, **same)
    changes = tuple(
        Change(name, _text(getattr(before, name)), _text(getattr(found, name)))
        for name in (*INTEGRITY, *POSTURE)
        if getattr(before, name) != getattr(found, name)
    )
    return replace(found, changes=changes) if changes else None


def reasons(found: Inventory) -> tuple[str, ...]:
    """A sentence for each change that is an integrity event. A field that is told for the first time is none."""
    return tuple(
        f"device {found.device}: {_CALLED.get(change.field, change.field)} changed from {change.before[:200]!r} to "
        f"{change.after[:200]!r}"
        if change.after
        else f"device {found.device} no longer tells its {_CALLED.get(change.field, change.field)}, which was "
        f"{change.before[:200]!r}"
        for change in _broken(found)
    )


def broken(found: Inventory) -> tuple[str, ...]:
    """The fields that ``reasons`` speaks of, in the same order."""
    return tuple(change.field for change in _broken(found))


def _broken(found: Inventory) -> list[Change]:
    return [change for change in found.changes if change.field in INTEGRITY and change.before]


class Inventories:
    """The last inventory of each device that was sealed. ``kept`` gives what an earlier run kept under a name."""

    def __init__(self, kept: Callable[[str], str | None]) -> None:
        self._kept = kept
        self._last: dict[str, Inventory] = {}

    def take(
        self, device: DeviceConfig, identity: Identity, encrypted: bool
    ) -> tuple[Inventory, Draft, dict[str, str]] | None:
        """What ``identify`` told just now: the inventory, its draft, and what must be kept with it; None where nothing
        changed."""
        name = f"inventory.{device.name}"
        if device.name not in self._last and (before := _restored(self._kept(name))) is not None:
            self._last[device.name] = before
        found = inventory(device, identity, encrypted, self._last.get(device.name))
        if found is None:
            return None
        self._last[device.name] = found
        return found, Draft(found, device.name), {name: json.dumps(found.to_json())}


def _restored(kept: str | None) -> Inventory | None:
    try:
        return Inventory.from_json(json.loads(kept)) if kept else None
    except (ValueError, WireError):
        return None


def _shown(device: DeviceConfig, identity: Identity, encrypted: bool) -> Inventory:
    offered = (
        Endpoint(
            _clean(e.url, _URL), _clean(e.policy, _POLICY), _clean(e.mode, _WORD),
            tuple(sorted(_clean(login, _WORD) for login in e.logins)[:MAX_LOGINS]),
        )
        for e in identity.endpoints
    )  # fmt: skip
    endpoints = tuple(sorted(offered, key=lambda e: (e.url, e.policy, e.mode, e.logins))[:MAX_ENDPOINTS])
    logins = {login.lower() for endpoint in identity.endpoints for login in endpoint.logins}
    return Inventory(
        device=device.name,
        protocol=device.protocol,
        vendor=_clean(identity.vendor, _TEXT),
        product=_clean(identity.product, _TEXT),
        model=_clean(identity.model, _TEXT),
        firmware=_clean(identity.firmware, _TEXT),
        serial=_clean(identity.serial, _TEXT),
        state=_clean(identity.state, _TEXT),
        endpoints=endpoints,
        anonymous="anonymous" in logins if endpoints else None,
        encrypted=encrypted,
        certificate=identity.certificate,
        certificate_expires=identity.certificate_expires,
    )


def _clean(text: str, limit: int) -> str:
    """A device's own words, without what no page or log should carry."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text[:limit]).strip()


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return wire.format_time(value)
    if isinstance(value, tuple):
        return "; ".join(f"{e.url} {e.policy} {e.mode} ({', '.join(e.logins)})" for e in value)[:_WHOLE]
    return "" if value is None else str(value)

"""A check as a person reads it, and as a script does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from ..table_text import columns
from .found import DeviceFound, Found


def as_json(found: Found) -> str:
    """Everything, as one object; ``good`` is what the exit status says."""
    told = {
        "good": found.good,
        "tags": [asdict(tag) for tag in found.tags],
        "devices": [asdict(device) for device in found.devices],
        "parts": [asdict(part) for part in found.parts],
    }
    return json.dumps(told, ensure_ascii=False)


def as_text(found: Found) -> str:
    """Tags, devices and parts in aligned tables, and a last line that sums them up."""
    rows = [("device", "tag", "value", "quality", "age", "trip", "")]
    for tag in found.tags:
        age = "" if tag.age is None else f"{tag.age:.3f} s"
        trip = "" if tag.trip is None else f"{tag.trip * 1000:.1f} ms"
        rows.append((tag.device, tag.tag, tag.text, tag.quality, age, trip, tag.reason))
    lines = [*columns(rows), ""]
    lines += columns([("device", "", "reached at", "encrypted", "identity"), *map(_device, found.devices)])
    lines += ["", *columns([(part.part, "good" if part.good else "BAD", part.told) for part in found.parts])]
    lines.append("all is well" if found.good else f"{found.faults} of {found.total} not as they should be")
    return "\n".join(lines)


def _device(device: DeviceFound) -> tuple[str, ...]:
    return (
        device.device,
        "good" if device.good else "BAD",
        device.where,
        "yes" if device.encrypted else "no",
        "; ".join(_words(device)),
    )


def _words(device: DeviceFound) -> Iterator[str]:
    said = (device.vendor, device.product, device.model, device.firmware, device.state)
    yield " ".join(text for text in said if text) or "does not say what it is"
    if device.anonymous is not None:
        yield "anonymous login allowed" if device.anonymous else "no anonymous login"
    if device.certificate_expires:
        yield f"certificate until {device.certificate_expires[:10]}"
    if device.told:
        yield device.told

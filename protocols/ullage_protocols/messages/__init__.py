"""All that an agent may ever say. Raw samples are not among it: they never leave the plant.

Each message is a frozen dataclass with ``NAME`` (its part of the CloudEvents type), ``to_json`` and
``from_json``. A field that this version does not know is ignored here and kept in the ledger, which stores
the payload's exact bytes; an unknown major version is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from ullage_protocols.errors import WireError

from .anomaly import KINDS, PHASES, Anomaly, TagShare, Technique
from .inventory import Change, Endpoint, Inventory
from .life import DEVICE_STATES, DeviceState, Heartbeat, Hello
from .production import Production
from .stops import CAUSES, Downtime, Maintenance

__all__ = [
    "CAUSES", "DEVICE_STATES", "KINDS", "PHASES", "Anomaly", "Change", "DeviceState", "Downtime", "Endpoint",
    "Heartbeat", "Hello", "Inventory", "Maintenance", "Message", "Production", "TagShare", "Technique",
    "read_message", "type_of",
]  # fmt: skip

Message = Hello | Heartbeat | Anomaly | Production | Inventory | Maintenance | Downtime
_KNOWN: dict[str, type[Message]] = {
    cls.NAME: cls for cls in (Hello, Heartbeat, Anomaly, Production, Inventory, Maintenance, Downtime)
}


def type_of(message: Message) -> str:
    """The CloudEvents type of a message, e.g. ``org.ullage.anomaly.v1``."""
    return f"org.ullage.{message.NAME}.v1"


def read_message(event_type: str, body: object) -> Message:
    """The message in an event's data; WireError for an unknown name, an unknown major version or a bad field."""
    prefix, _, rest = event_type.partition("org.ullage.")
    name, _, version = rest.rpartition(".")
    if prefix or name not in _KNOWN or version != "v1":
        raise WireError(f"message type {event_type[:120]!r} is unknown to this version; update the receiver")
    if not isinstance(body, Mapping):
        raise WireError(f"{name}: data must be an object")
    return _KNOWN[name].from_json(body)

"""One entry of the ledger, as the projections read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ullage_protocols.event import Event

ENVELOPE = "envelope"
OPAQUE = "opaque"
COMMAND = "command"


@dataclass(frozen=True, slots=True)
class Entry:
    """``event`` is set for envelopes, ``body`` for commands; an opaque entry has neither.

    ``received_at`` was written when the entry was appended; nothing derived from the ledger reads a clock.
    """

    position: int
    kind: str
    tenant: str
    site: str
    agent: str
    type: str
    received_at: datetime
    event: Event | None = None
    body: dict[str, Any] = field(default_factory=dict)

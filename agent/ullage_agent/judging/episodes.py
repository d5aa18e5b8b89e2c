"""Names episodes and keeps the open one, so that a restart neither forgets it nor leaves it open at the scorer.

After a restart the open episode is closed with the reason "agent restarted": what happened while nobody watched is
not known, and detection starts without a memory of it. What is still abnormal opens a new episode within seconds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from ullage_protocols import wire
from ullage_protocols.errors import WireError
from ullage_protocols.messages import Anomaly


class Episodes:
    """``agent`` and ``bootid`` make names unique over all starts: ``{agent}-{boot}-{n}``."""

    def __init__(self, agent: str, bootid: str, kept: str | None) -> None:
        self._prefix = f"{agent}-{bootid[:8]}"
        self._number = 0
        self._open: Anomaly | None = None
        self._at: datetime | None = None
        if kept:
            try:
                body = json.loads(kept)
                self._open = Anomaly.from_json(body["anomaly"])
                self._at = wire.parse_time(body["at"])
            except (ValueError, KeyError, TypeError, WireError):
                self._open = None

    @property
    def open(self) -> bool:
        return self._open is not None

    def take(self, events: Sequence[Anomaly], now: datetime) -> list[Anomaly]:
        """The detection's events under this agent's names."""
        named = []
        for event in events:
            if event.phase == "open":
                self._number += 1
                named.extend(self.end("another episode opened", now))
                event = replace(event, episode=f"{self._prefix}-{self._number}")
            elif self._open is None:
                continue
            else:
                event = replace(event, episode=self._open.episode)
            self._open, self._at = (None if event.phase == "close" else event), now
            named.append(event)
        return named

    def end(self, reason: str, now: datetime) -> list[Anomaly]:
        """Closes what is open, at the last time that it was told; nothing when nothing is open."""
        if self._open is None:
            return []
        end = max(self._open.start, min(self._at or now, now))
        closed = replace(self._open, phase="close", end=end, reasons=(reason, *self._open.reasons[:19]))
        self._open = self._at = None
        return [closed]

    def persist(self) -> str:
        if self._open is None or self._at is None:
            return ""
        return json.dumps({"anomaly": self._open.to_json(), "at": wire.format_time(self._at)})

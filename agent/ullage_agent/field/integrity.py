"""Integrity events that the field itself shows: a device that is another than before, or that sends what none should.

Each is an anomaly of kind integrity that opens and closes at one moment: it is a fact, not a stretch. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from ullage_models.detect.techniques import technique
from ullage_protocols.messages import Anomaly, Technique

IDENTITY_SEVERITY = 0.6
HOSTILE_SEVERITY = 0.7
_BY_FIELD = {"firmware": "T0857", "state": "T0858", "certificate": "T0830", "serial": "T0830"}
_AGAIN = timedelta(hours=1)
"""A device that keeps sending such things is told once in this time."""
_MOST_REASONS = 12


class IntegrityEvents:
    """Names are unique over all starts: ``{agent}-{boot}-i{n}``."""

    def __init__(self, agent: str, bootid: str) -> None:
        self._prefix = f"{agent}-{bootid[:8]}-i"
        self._number = 0
        self._told: dict[str, datetime] = {}

    def identity(self, fields: Sequence[str], reasons: Sequence[str], now: datetime) -> list[Anomaly]:
        """``fields`` of a device's identity changed; ``reasons`` says how, a sentence each."""
        found = {_BY_FIELD.get(field, "T0830"): reason for field, reason in zip(fields, reasons, strict=True)}
        techniques = tuple(technique(id_, reason) for id_, reason in found.items())
        return self._pair(IDENTITY_SEVERITY, tuple(reasons), techniques, now)

    def hostile(self, device: str, reason: str, now: datetime) -> list[Anomaly]:
        """A device sent what no honest device sends; nothing where that was told of it not long ago."""
        if device in self._told and now - self._told[device] < _AGAIN:
            return []
        self._told[device] = now
        techniques = (technique("T0830", reason), technique("T0856", reason))
        return self._pair(HOSTILE_SEVERITY, (reason,), techniques, now)

    def _pair(
        self, severity: float, reasons: tuple[str, ...], techniques: tuple[Technique, ...], now: datetime
    ) -> list[Anomaly]:
        self._number += 1
        name = f"{self._prefix}{self._number}"
        score = 1.0 / (1.0 - severity)

        def anomaly(phase: str, end: datetime | None) -> Anomaly:
            return Anomaly(
                name, phase, "integrity", severity, score, 1.0, now, end, (), techniques, reasons[:_MOST_REASONS]
            )

        return [anomaly("open", None), anomaly("close", now)]

"""Reads the plant's own record of truth: what was made and what would have been made, second by second."""

from __future__ import annotations

import bisect
import contextlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class TrueOutage:
    """An outage as the plant itself knows it: from the trip until the line is back at nominal speed."""

    start: datetime
    end: datetime
    lost_units: float


class Truth:
    """The truth log as it stands now; read anew for each question."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def records(self, kind: str) -> list[dict[str, Any]]:
        found = []
        with contextlib.suppress(FileNotFoundError):
            for line in self._path.read_text("utf-8").splitlines():
                with contextlib.suppress(ValueError):  # the last line may be half written
                    record = json.loads(line)
                    if record.get("kind") == kind:
                        found.append(record)
        return found

    def outage(self) -> TrueOutage | None:
        """The last outage that has ended."""
        ended = self.records("outage")
        if not ended:
            return None
        last = ended[-1]
        return TrueOutage(_time(last["start"]), _time(last["end"]), float(last["lost_units"]))

    def lost_after(self, outage: TrueOutage, waiting: timedelta) -> float:
        """Units lost from the end of the waiting period to the end of the outage."""
        return max(0.0, outage.lost_units - (self._gap(outage.start + waiting) - self._gap(outage.start)))

    def _gap(self, moment: datetime) -> float:
        """Units that were not made until ``moment``, between the two nearest records on a straight line."""
        times, gaps = [], []
        for record in self.records("total"):
            times.append(_time(record["time"]))
            gaps.append(float(record["standard"]) - float(record["made"]))
        if not times:
            return 0.0
        at = bisect.bisect_left(times, moment)
        if at == 0 or at == len(times):
            return gaps[0 if at == 0 else -1]
        share = (moment - times[at - 1]) / (times[at] - times[at - 1])
        return gaps[at - 1] + share * (gaps[at] - gaps[at - 1])


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)

"""The plant's own record of what truly happened, as JSON Lines: the yardstick for claims that others compute.

Every record has ``time`` (RFC 3339, UTC, milliseconds), ``elapsed`` (s of plant time) and ``kind``:

========== ===========================================================================================================
start      seed, nominal_rate (bottles/s of plant time), speed (s of plant time per s), count_start
command    who, tag, old, new: a register or coil was written
refused    what, why: a command that was not carried out
force      who, tag, mode, value: a report is overridden, or released (tag null: all)
silence    who, seconds: the Modbus device does not answer for so long
state      old, new, cause: the line's state changed
trip       cause, level
total      bottles (whole, not rolled over), made, standard (bottles at nominal speed since start); every second, and
           at the moments at which nominal speed is left and regained
outage     start, end, standard_units, made_units, lost_units, from the first loss of speed to nominal speed again
stop       bottles, made, standard, open_outage (start of an outage that had not ended, or null)
========== ===========================================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from .errors import PlantError
from .process import Event


def rfc3339(time: datetime) -> str:
    """UTC with milliseconds and a final Z."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TruthLog:
    """Appends records to ``path`` (None: nowhere); each line is flushed before the call returns."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        try:
            self._stream = path.open("a", encoding="utf-8") if path is not None else None
        except OSError as fault:
            raise PlantError(f"cannot open the truth log {path}: {fault.strerror}; choose another --truth") from fault

    def __enter__(self) -> TruthLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            # Closing flushes once more what a full disk has already refused, and that has been reported.
            with suppress(OSError):
                self._stream.close()

    def write(self, time: datetime, elapsed: float, kind: str, fields: dict[str, Any]) -> None:
        """Append one record. Raises ``PlantError`` if the file cannot take it."""
        if self._stream is None:
            return
        record = {"time": rfc3339(time), "elapsed": elapsed, "kind": kind, **fields}
        try:
            self._stream.write(json.dumps(record) + "\n")
            self._stream.flush()
        except OSError as fault:
            raise PlantError(
                f"cannot write the truth log {self._path}: {fault.strerror}; make room or choose another --truth"
            ) from fault


class Outages:
    """Turns the events of leaving and regaining nominal speed into outage records."""

    def __init__(self, clock: Callable[[float], datetime]) -> None:
        self._clock = clock
        self._began: Event | None = None

    @property
    def open_since(self) -> str | None:
        """Start of the outage that goes on, if one does."""
        return rfc3339(self._clock(self._began.at)) if self._began else None

    def take(self, event: Event) -> dict[str, Any] | None:
        """The fields of an outage record if ``event`` ends one, otherwise None."""
        if event.kind == "below_standard":
            self._began = event
        if event.kind != "standard_again" or self._began is None:
            return None
        began, self._began = self._began, None
        standard = event.fields["standard"] - began.fields["standard"]
        made = event.fields["made"] - began.fields["made"]
        return {
            "start": rfc3339(self._clock(began.at)),
            "end": rfc3339(self._clock(event.at)),
            "standard_units": standard,
            "made_units": made,
            "lost_units": standard - made,
        }

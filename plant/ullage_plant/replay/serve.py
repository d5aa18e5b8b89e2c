"""``ullage-plant replay``: serves a recorded history over Modbus TCP and OPC UA at a chosen speed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..errors import PlantError
from ..faces.endpoint import Endpoint, claim
from ..faces.modbus import ModbusFace
from ..faces.opcua import OpcUaFace, Value
from ..run import pause, say, stop_event
from ..tags import OpcKind
from ..truth import rfc3339
from .history import History, Row
from .image import ROW_TAG, ReplayImage, agent_config
from .pace import Pace

PROGRESS_EVERY = 5.0  # s
MOST_WARNINGS = 10  # told one by one; the summary counts them all


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What ``replay`` was asked for; at least one of ``modbus`` and ``opcua`` is given."""

    file: Path
    modbus: Endpoint | None
    opcua: Endpoint | None
    speed: float = 1.0
    rows_per_second: float | None = None
    since: datetime | None = None
    until: datetime | None = None
    loop: bool = False
    wait_for_reader: bool = False
    hold: float = 1.0
    stamp_rows: bool = True
    agent_config: Path | None = None


@dataclass(slots=True)
class _Tally:
    rows: int = 0
    holes: int = 0
    warnings: int = 0
    labelled: int = 0
    loops: int = 0
    first: datetime | None = None
    last: datetime | None = None


class _Replay:
    def __init__(self, options: ReplayOptions) -> None:
        self._options = options
        self._history = History(options.file)
        self._image = ReplayImage(self._history.tags)
        self._modbus = ModbusFace(self._image, options.modbus) if options.modbus else None
        nodes: list[tuple[str, OpcKind]] = [(tag, "Double") for tag in self._history.tags]
        self._opcua = OpcUaFace("replay", [*nodes, (ROW_TAG, "Int64")], options.opcua) if options.opcua else None
        self._tally = _Tally()
        self._pace = Pace(options.speed, options.rows_per_second)
        self._stop = stop_event()

    async def run(self) -> int:
        options = self._options
        async with AsyncExitStack() as stack:
            if self._opcua:
                stack.push_async_callback(self._opcua.stop)
                await self._opcua.start()
                await self._opcua.publish([(tag, None) for tag in self._history.tags], datetime.now(UTC))
            if self._modbus:
                stack.push_async_callback(self._modbus.stop)
                await self._modbus.start()
            self._write_config()
            say(
                {
                    "ready": True,
                    "modbus": str(self._modbus.endpoint) if self._modbus else None,
                    "opcua": self._opcua.url if self._opcua else None,
                    "map": self._image.map,
                }
            )
            while options.wait_for_reader and not self._stop.is_set() and not self._read():
                await pause(self._stop, 0.02)
            began = time.monotonic()
            await self._serve()
            seconds = time.monotonic() - began
            if not self._stop.is_set():
                await pause(self._stop, options.hold)
        tally = self._tally
        say(
            {
                "done": not self._stop.is_set(),
                "file": str(options.file),
                "rows": tally.rows,
                "holes": tally.holes,
                "warnings": tally.warnings,
                "labelled": tally.labelled,
                "loops": tally.loops,
                "first": rfc3339(tally.first) if tally.first else None,
                "last": rfc3339(tally.last) if tally.last else None,
                "seconds": round(seconds, 3),
            }
        )
        return 0

    def _read(self) -> bool:
        return bool((self._modbus and self._modbus.reads) or (self._opcua and self._opcua.reads))

    def _write_config(self) -> None:
        target = self._options.agent_config
        if target is None:
            return
        if self._modbus is None:
            raise PlantError("--agent-config describes the Modbus side: give --modbus too")
        endpoint = self._modbus.endpoint
        rate = self._options.rows_per_second or 0.0
        # Two scans a row at least, so that no row is missed.
        scan = 50 if rate <= 10 else max(1, int(500 / rate))
        text = agent_config(self._image, endpoint.host, endpoint.port, scan)
        part = target.with_name(target.name + ".part")
        try:
            part.write_text(text, encoding="utf-8")
            os.replace(part, target)
        except OSError as fault:
            part.unlink(missing_ok=True)
            raise PlantError(f"cannot write {target}: {fault.strerror}; choose another --agent-config") from fault

    def _chosen(self) -> Iterator[Row]:
        """Rows between --from and --to; a row without a readable time belongs with the row before it."""
        since, until = self._options.since, self._options.until
        inside = since is None
        for row in self._history.rows():
            if row.time is not None:
                inside = (since is None or row.time >= since) and (until is None or row.time <= until)
            if inside:
                yield row

    async def _serve(self) -> None:
        due = told = time.monotonic()
        while not self._stop.is_set():
            before = self._tally.rows
            for row in self._chosen():
                wait = self._pace.wait(row.time)
                if self._tally.loops and self._tally.rows == before:
                    # The first row of a new round: the jump back is the loop's own.
                    self._pace.warning, wait = None, self._pace.usual
                # A replay that falls behind goes on from where it is, so that no row is hurried past its readers.
                due = max(due + wait, time.monotonic() - 0.05)
                await pause(self._stop, due - time.monotonic())
                if self._stop.is_set():
                    return
                await self._show(row)
                if time.monotonic() - told >= PROGRESS_EVERY:
                    told = time.monotonic()
                    _tell(f"row {row.number}, {rfc3339(row.time) if row.time else 'time unknown'}")
            if self._tally.rows == before:
                if not before:
                    raise PlantError(
                        f"{self._options.file} has no row to serve: it is empty below the header, or none lies between "
                        "--from and --to"
                    )
                return
            if not self._options.loop:
                return
            self._tally.loops += 1

    async def _show(self, row: Row) -> None:
        tally = self._tally
        tally.rows += 1
        tally.holes += row.holes
        tally.labelled += row.labelled
        if row.time is not None:
            tally.first = tally.first or row.time
            tally.last = row.time
        for warning in (self._pace.warning, "it has more or fewer cells than the header" if row.misshapen else None):
            if warning:
                tally.warnings += 1
                if tally.warnings <= MOST_WARNINGS:
                    _tell(f"row {row.number}: {warning}; served all the same")
        self._image.show(row.number, row.values)
        if self._opcua:
            stamp = row.time if self._options.stamp_rows and row.time else datetime.now(UTC)
            values: list[tuple[str, Value]] = list(zip(self._history.tags, row.values, strict=True))
            await self._opcua.publish([*values, (ROW_TAG, row.number)], stamp)


def _tell(text: str) -> None:
    sys.stderr.write(f"replay: {text}\n")
    sys.stderr.flush()


async def replay(options: ReplayOptions) -> int:
    """Serve the history to its end. Raises ``PlantError`` for a file, address or configuration that cannot be used."""
    if options.modbus is not None:
        claim(options.modbus, "Modbus TCP")
    if options.opcua is not None:
        claim(options.opcua, "OPC UA")
    return await _Replay(options).run()

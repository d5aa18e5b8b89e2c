"""The OPC UA client as the agent sees it. The server is spoken to by a process of its own (``child.py``): what a rogue
server does to its reader, it does not do to the agent, which takes columns of numbers in frames of bounded size."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from ullage_protocols.field.base import Clock, Endpoint, Identity
from ullage_protocols.field.errors import FieldError, HostileError, RefusedError, SendRefused, SilentError
from ullage_protocols.field.scan import Columns, Scan, columns_of

from . import frames
from .frames import FrameError, Part
from .keeper import Child
from .scans import Gatherer, scan_of_changes
from .spec import OpcuaDevice
from .task import task_of

_START = 5.0
"""Seconds that the process may take to come up, beyond the timeout of its connection."""
_GRACE = 1.0
"""Seconds that the process may be late itself, before it is taken to be stuck."""
_FAREWELL = 0.5
"""Seconds that the process is given to close its session in good manners."""
_QUEUED = 1000
_FAULTS = {
    frames.HOSTILE: HostileError, frames.REFUSED: SendRefused, frames.SILENT: SilentError, frames.CLOSED: RefusedError,
}  # fmt: skip
_Told = dict[str, Any]
_G = TypeVar("_G")
_T = TypeVar("_T")


class OpcuaClient:
    """A FieldClient for one ``OpcuaDevice``; ``clock`` gives the moment of each reply, timezone-aware."""

    def __init__(self, device: OpcuaDevice, clock: Clock) -> None:
        self._device, self._clock = device, clock
        self.on_lost: Callable[[], None] | None = None
        if device.subscription:
            self._groups = columns_of((tag.name, 0) for tag in device.tags)
        else:
            self._groups = columns_of((tag.name, tag.group) for tag in device.tags)
        self._child: Child | None = None
        self._serial = 0
        self._changes: deque[Part] = deque()
        self._silence = 0.0
        self._columns: dict[bytes, Columns] = {}

    @property
    def name(self) -> str:
        """The device's configured name."""
        return self._device.name

    @property
    def groups(self) -> tuple[Columns, ...]:
        """The tags of each group; of a subscribed device one group of all tags."""
        return self._groups

    @property
    def subscribed(self) -> bool:
        """Whether the server reports changes (``changes``)."""
        return self._device.subscription is not None

    @property
    def process(self) -> int | None:
        """The number of the process that speaks to the server; None while not connected."""
        return self._child.pid if self._child else None

    async def connect(self) -> None:
        """Starts a fresh process and connection, dropping earlier ones. Raises FieldError when that fails."""
        await self._drop()
        self._changes.clear()
        self._serial = 0
        self._child = Child()
        try:
            await self._child.send(frames.pack_json(frames.CONNECT, task_of(self._device)._asdict()))
            told = await self._until(frames.READY, _START + 3 * self._device.timeout)
            self._silence = _number(told, "silence")
        except FieldError as exc:
            raise type(exc)(
                f"device {self.name}: cannot connect to {self._device.url}: {_bare(exc, self.name)};"
                " check url, network, certificates and login"
            ) from exc

    async def read(self, group: int = 0) -> Scan:
        """One row per tag of ``group``, in configured order. Raises FieldError when the connection is gone."""
        columns = self._groups[group]
        serial = await self._question(frames.READ, group=group)
        gatherer = Gatherer(columns)
        while True:
            part = await self._part(frames.PART, self._device.timeout + _GRACE)
            if part.serial != serial:
                continue
            await self._taken(gatherer.add, part)
            if part.last:
                return gatherer.scan(self._clock())

    async def changes(self) -> Scan:
        """Rows of tags that changed, oldest first; none where the server only says that it lives.

        Raises FieldError when the reports have stopped, or the connection is gone.
        """
        # Reports that come faster than they are taken in would otherwise never let anyone else have a turn.
        await asyncio.sleep(0)
        parts: list[Part] = []
        while not parts or not parts[-1].last:
            if self._changes:
                parts.append(self._changes.popleft())
                continue
            parts.append(await self._part(frames.CHANGE, self._silence + self._device.timeout + _GRACE))
        return await self._taken(self._scan, parts)

    async def identify(self) -> Identity:
        """What the server says it is. Raises FieldError only when the connection is gone."""
        await self._question(frames.IDENTIFY)
        told = await self._until(frames.IDENTITY, 3 * self._device.timeout + _GRACE)
        try:
            return _identity(told)
        except (KeyError, TypeError, ValueError) as exc:
            raise await self._fault(HostileError(f"an identity that is none ({type(exc).__name__})")) from exc

    async def close(self) -> None:
        """Closes session and connection, waiting but a moment; safe at any time, any number of times."""
        await self._drop(_FAREWELL)

    def _scan(self, parts: Sequence[Part]) -> Scan:
        return scan_of_changes(self._groups[0], parts, self._clock(), self._columns)

    async def _question(self, kind: int, **more: int) -> int:
        if self._child is None:
            raise FieldError(f"device {self.name}: not connected; call connect() first")
        self._serial += 1
        try:
            async with asyncio.timeout(_GRACE):
                await self._child.send(frames.pack_json(kind, {"serial": self._serial, **more}))
        except (OSError, TimeoutError):
            # What became of it is told by what it last said, or by its end.
            await self._until(frames.READY, _GRACE)
        return self._serial

    async def _part(self, kind: int, patience: float) -> Part:
        while True:
            found, body = await self._frame(patience)
            if found == kind or found == frames.CHANGE:
                part = await self._taken(frames.unpack_part, body)
                if found == kind:
                    return part
                await self._queue(part)

    async def _until(self, kind: int, patience: float) -> _Told:
        """The next frame of ``kind``; reports before it are kept, answers to old questions dropped."""
        while True:
            found, body = await self._frame(patience)
            if found == kind:
                return await self._taken(frames.unpack_json, body)
            if found == frames.CHANGE:
                await self._queue(await self._taken(frames.unpack_part, body))

    async def _queue(self, part: Part) -> None:
        if len(self._changes) >= _QUEUED:
            raise await self._fault(HostileError(f"more than {_QUEUED} reports at once"))
        self._changes.append(part)

    async def _frame(self, patience: float) -> tuple[int, bytes]:
        """The process's next word. It is ended where it has none within ``patience`` seconds."""
        child = self._child
        if child is None:
            raise FieldError(f"device {self.name}: not connected; call connect() first")
        try:
            async with asyncio.timeout(patience):
                kind, body = await child.frame()
        except TimeoutError as exc:
            raise await self._fault(
                SilentError(f"its reader gave no answer within {patience:g} s and was ended")
            ) from exc
        except FrameError as exc:
            raise await self._fault(HostileError(f"its reader sent {exc}")) from exc
        except OSError as exc:
            raise await self._fault(await child.end()) from exc
        if kind == frames.FAULT:
            told = await self._taken(frames.unpack_json, body)
            family = _FAULTS.get(str(told.get("kind")), FieldError)
            raise await self._fault(family(str(told.get("why"))[:500]))
        return kind, body

    async def _taken(self, take: Callable[[_G], _T], given: _G) -> _T:
        """What ``take`` makes of what the process sent; it is ended where that is nothing it should have sent."""
        try:
            return take(given)
        except (ValueError, TypeError, IndexError, OverflowError) as exc:
            raise await self._fault(HostileError(f"its reader sent what is no answer ({exc})"[:300])) from exc

    async def _fault(self, fault: FieldError) -> FieldError:
        """``fault`` as this device's, after its process is gone."""
        await self._drop()
        return type(fault)(f"device {self.name}: {fault}")

    async def _drop(self, farewell: float = 0.0) -> None:
        child, self._child = self._child, None
        if child is not None:
            await child.stop(farewell)


def _number(told: _Told, key: str) -> float:
    found = told.get(key)
    return float(found) if isinstance(found, int | float) else 0.0


def _bare(exc: FieldError, name: str) -> str:
    return str(exc).removeprefix(f"device {name}: ")


def _identity(told: _Told) -> Identity:
    shown = bytes.fromhex(told["certificate"])
    return Identity(
        vendor=str(told["vendor"]),
        product=str(told["product"]),
        model=str(told["model"]),
        firmware=str(told["firmware"]),
        state=str(told["state"]),
        endpoints=tuple(Endpoint(url, policy, mode, tuple(logins)) for url, policy, mode, logins in told["endpoints"]),
        certificate=hashlib.sha256(shown).hexdigest() if shown else "",
        certificate_expires=_expiry(shown),
    )


def _expiry(certificate: bytes) -> datetime | None:
    from cryptography import x509

    try:
        return x509.load_der_x509_certificate(certificate).not_valid_after_utc
    except ValueError:
        return None

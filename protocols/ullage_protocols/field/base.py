"""What every field client is: connect, read, close. There is no fourth verb, so nothing above can write."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol

from ullage_protocols.errors import ProtocolError
from ullage_protocols.sample import Quality, Sample

Clock = Callable[[], datetime]
"""Gives the present moment, timezone-aware. The process on top chooses it."""


class FieldError(ProtocolError):
    """The connection to a device is gone (or never came up). ``connect()`` may be called again."""


class SendRefused(FieldError):
    """Something other than a read was about to leave for a device; not one byte of it did."""


class SpecError(ProtocolError):
    """A device or tag described in a way that cannot be read: a configuration fault, never a wire fault."""


class FieldClient(Protocol):
    """One device, read cyclically by one task at a time."""

    @property
    def name(self) -> str:
        """The device's configured name."""
        ...

    async def connect(self) -> None:
        """Opens a fresh connection, dropping any earlier one. Raises FieldError when that fails."""
        ...

    async def read(self) -> list[Sample]:
        """Reads every configured tag once.

        Gives exactly one Sample per tag, in configured order. A tag that the device refuses or answers
        wrongly is a bad sample with its reason. Raises FieldError only when the connection is gone.
        """
        ...

    async def close(self) -> None:
        """Drops the connection; safe to call at any time, any number of times."""
        ...


def bad_sample(tag: str, reason: str, seen: datetime) -> Sample:
    """A sample without a value: ``reason`` says why. ``seen`` stands for both times."""
    return Sample(tag, None, Quality.BAD, seen, seen, reason)


def bad_samples(tags: Iterable[str], reason: str, seen: datetime) -> list[Sample]:
    """One bad sample per tag name, in order: what a lost connection means for all of a device's tags."""
    return [bad_sample(tag, reason, seen) for tag in tags]

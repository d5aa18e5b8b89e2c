"""What every field client is: connect, read, identify, close. There is no verb that writes, so nothing above can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from ullage_protocols.field.errors import FieldError, HostileError, RefusedError, SendRefused, SilentError, SpecError
from ullage_protocols.field.scan import Columns, Scan
from ullage_protocols.sample import Quality, Sample

__all__ = [
    "Clock", "Endpoint", "FieldClient", "FieldError", "HostileError", "Identity", "RefusedError", "SendRefused",
    "SilentError", "SpecError", "Subscribed", "bad_sample",
]  # fmt: skip

Clock = Callable[[], datetime]
"""Gives the present moment, timezone-aware. The process on top chooses it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One way in that a server offers: its security policy and mode, and the logins it takes."""

    url: str
    policy: str
    mode: str
    logins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """What a device says it is; empty where it does not say. Texts are the device's own, bounded, unchecked.

    ``state`` is its operating mode where it tells one. ``certificate`` is the SHA-256 of the certificate that it
    showed, in hex; ``certificate_expires`` timezone-aware.
    """

    vendor: str = ""
    product: str = ""
    model: str = ""
    firmware: str = ""
    serial: str = ""
    state: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    certificate: str = ""
    certificate_expires: datetime | None = None


class FieldClient(Protocol):
    """One device, used by one task at a time. Tags that share a scan interval form a group, numbered from 0."""

    on_lost: Callable[[], None] | None
    """Called when the peer closes a connection that nobody is reading from, so that a cut is known at once."""

    @property
    def name(self) -> str:
        """The device's configured name."""
        ...

    @property
    def groups(self) -> tuple[Columns, ...]:
        """The tags of each group; every tag in exactly one."""
        ...

    async def connect(self) -> None:
        """Opens a fresh connection, dropping any earlier one. Raises FieldError when that fails."""
        ...

    async def read(self, group: int = 0) -> Scan:
        """Reads every tag of ``group`` once: one row a tag, in the order of ``groups[group]``.

        A tag that the device refuses or answers wrongly is a bad row with its reason. Raises FieldError only when
        the connection is gone.
        """
        ...

    async def identify(self) -> Identity:
        """What the device says it is. Raises FieldError only when the connection is gone."""
        ...

    async def close(self) -> None:
        """Drops the connection; safe to call at any time, any number of times."""
        ...


@runtime_checkable
class Subscribed(Protocol):
    """A FieldClient whose server reports changes by itself is read by waiting for them."""

    @property
    def subscribed(self) -> bool:
        """Whether this client's tags arrive through ``changes`` instead of ``read``."""
        ...

    async def changes(self) -> Scan:
        """Waits for the next report: rows of tags that changed, none where the server only says that nothing did.

        The first report after ``connect`` holds every tag. Raises FieldError when the reports have stopped for longer
        than they may (so a subscription is never assumed to be alive) or the connection is gone.
        """
        ...


def bad_sample(tag: str, reason: str, seen: datetime) -> Sample:
    """A sample without a value: ``reason`` says why. ``seen`` stands for both times."""
    return Sample(tag, None, Quality.BAD, seen, seen, reason)

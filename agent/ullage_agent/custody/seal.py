"""One queue of what is to be said, sealed in order by one task: what has gathered goes in one transaction.

When nothing can be sealed (full disk, full outbox) the queue is kept, ``held`` says so, and acquisition pauses until it
can again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from ullage_protocols.errors import ProtocolError

from ..errors import OutboxFull
from ..say import say
from .outbox import Draft, Outbox, Sealing

_RETRY = 1.0
"""Seconds between two tries to seal while the outbox takes nothing."""
_TIGHT = ((0.9, 16.0), (0.75, 4.0))
"""From which share of the outbox on production intervals and heartbeats are lengthened, and how many times."""


class Sealer:
    """``note`` takes sentences for the next heartbeat; ``sealed`` is called after each commit."""

    def __init__(self, outbox: Outbox, note: Callable[[str], None], sealed: Callable[[], None]) -> None:
        self._outbox, self._note, self._sealed = outbox, note, sealed
        self._queue: list[Sealing] = []
        self._queued = asyncio.Event()
        self._busy, self._in_hand = False, 0
        # Of its own: name lookups that hang in the shared threads must not keep anything from being sealed.
        self._disk = ThreadPoolExecutor(1, "seal")
        self.held = ""

    @property
    def stretch(self) -> float:
        """How many times longer intervals are while the outbox fills up."""
        share = self._outbox.share
        return next((factor for limit, factor in _TIGHT if share >= limit), 1.0)

    @property
    def tight(self) -> bool:
        """Whether the outbox is so full that intervals are lengthened."""
        return self._outbox.share >= _TIGHT[-1][0]

    def put(self, draft: Draft, keep: dict[str, str] | None = None) -> None:
        self.add([([draft], keep or {})])

    def add(self, sealings: Iterable[Sealing]) -> None:
        before = len(self._queue)
        self._queue.extend(sealings)
        if len(self._queue) > before:
            self._queued.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._queued.wait()
            self._queued.clear()
            count = len(self._queue)
            sealing = self._gathered()
            # Shielded: a batch that is being committed is waited for, so that it is never sealed twice.
            work = asyncio.get_running_loop().run_in_executor(self._disk, self._append, *sealing)
            self._busy, self._in_hand = True, count
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError:
                with contextlib.suppress(OutboxFull, ProtocolError):
                    await work
                    del self._queue[:count]
                self._busy = False
                raise
            except ProtocolError as exc:
                self._busy = False
                self._sort_out(str(exc))
                self._queued.set()
                continue
            except OutboxFull as exc:
                self._busy = False
                self._hold(str(exc))
                await asyncio.sleep(_RETRY)
                self._queued.set()
                continue
            self._busy = False
            del self._queue[:count]
            if self.held:
                self.held = ""
                say("resumed")
                self._note("acquisition resumed")
            self._sealed()

    def finish(self, late: bool) -> None:
        """Seals what is left, at the end; ``late`` when the task did not end in time."""
        try:
            if self._busy and late:
                # A batch that a slow disk still has in hand must not be sealed a second time; what came after it must.
                del self._queue[: self._in_hand]
            self._append(*self._gathered())
        except (OutboxFull, ProtocolError) as exc:
            say("not-sealed", why=str(exc))

    def _gathered(self) -> Sealing:
        drafts: list[Draft] = []
        keep: dict[str, str] = {}
        for more, state in self._queue:
            drafts += more
            keep |= state
        return drafts, keep

    def _append(self, drafts: list[Draft], keep: dict[str, str]) -> None:
        if drafts or keep:
            self._outbox.append(drafts, keep)

    def _hold(self, reason: str) -> None:
        if not self.held:
            say("holding", why=f"{reason}; acquisition pauses, nothing that is held is dropped")
            self._note(f"acquisition paused: {reason}")
        self.held = reason

    def _sort_out(self, reason: str) -> None:
        """Leaves out drafts that cannot be written at all, so that they do not hold up the others for good."""
        say("not-sealable", why=reason)
        self._note(f"a message could not be written and is left out: {reason}")
        self._queue = [
            ([draft for draft in drafts if self._outbox.writable(draft)], keep) for drafts, keep in self._queue
        ]

"""The running agent takes declarations of planned stops up and seals them."""

from __future__ import annotations

from pathlib import Path

from ullage_protocols.errors import ProtocolError
from ullage_protocols.event import Event

from ..clock import Clock
from ..custody.outbox import Draft, Outbox
from ..errors import OutboxFull
from .declared import KEPT, Ask, Declared, DeclineError
from .requests import Requests


class Declarations:
    """What was asked, sealed. ``take`` writes to the disk: call it in a thread.

    ``notes`` is what the next heartbeat should tell; the caller empties it.
    """

    def __init__(self, state: Path, outbox: Outbox, clock: Clock) -> None:
        self._requests, self._outbox, self._clock = Requests(state), outbox, clock
        self.notes = self._requests.notes
        try:
            self._declared = Declared.restored(outbox.kept(KEPT))
        except ProtocolError as exc:
            self._declared = Declared()
            self.notes.append(f"{exc}; what is on record stays so, open stops are to be ended at the scorer")

    @property
    def waiting(self) -> bool:
        """Whether something was asked that is not sealed yet."""
        return self._requests.any

    def take(self) -> list[Event]:
        """Seals what waits, one record an ask; the sealed records. A full outbox leaves the rest waiting."""
        sealed: list[Event] = []
        for request in self._requests.take():
            try:
                ask = Ask.from_json(request.body)
                if ask.id in self._declared.asked:
                    self._requests.settle(request, {"state": "sealed", "id": ask.id, "sequence": None})
                    continue
                message, after = self._declared.declare(ask, self._clock.now())
                events = self._outbox.append([Draft(message, message.line)], {KEPT: after.persist()})
            except OutboxFull:
                break
            except (DeclineError, ProtocolError) as exc:
                self._requests.settle(request, {"state": "refused", "reason": str(exc)[:1000]})
                continue
            self._declared = after
            sealed += events
            self._requests.settle(request, {"state": "sealed", "sequence": events[0].sequence, **message.to_json()})
        return sealed

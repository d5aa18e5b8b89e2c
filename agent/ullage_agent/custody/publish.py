"""Carries the outbox to the broker and receipts back. What the broker acknowledges means nothing here."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from datetime import datetime

from ullage_protocols import topics
from ullage_protocols.errors import ProtocolError
from ullage_protocols.keys import PublicKey
from ullage_protocols.mqtt import BrokerSettings, Incoming, Link
from ullage_protocols.receipt import Down, Receipt

from ..errors import AgentError
from ..say import say
from .outbox import Outbox
from .window import Pace, Window

_BATCH = 100
_INBOX = 1000
_BUSY = 0.05
"""Seconds to wait when the link takes no more at the moment."""


class Publisher:
    """Drives a ``Window`` over an ``Outbox`` through a ``Link``. One task: ``run``.

    Receipts and requests count only when sealed by the scorer's pinned key and made out to this agent.
    """

    def __init__(
        self,
        outbox: Outbox,
        settings: BrokerSettings,
        *,
        agent: str,
        scorer: PublicKey,
        pace: Pace | None = None,
        make_link: Callable[..., Link] = Link,
    ) -> None:
        self._outbox, self._agent, self._scorer = outbox, agent, scorer
        self._window = Window(outbox.through, pace or Pace())
        self._topic = topics.up(agent)
        self._receipts, self._downs = topics.receipt(agent), topics.down(agent)
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._receipted = False
        self._inbox: list[Incoming] = []
        self._told: dict[str, float] = {}
        self.faults: list[str] = []
        self.told = "not connected yet"
        self.receipt_at: datetime | None = None
        self.link = make_link(
            settings,
            client_id=f"ullage-agent-{agent}",
            subscribe=[self._receipts, self._downs],
            on_message=self._from_link,
            on_state=self._state_from_link,
        )

    @property
    def connected(self) -> bool:
        return self.link.connected

    def nudge(self) -> None:
        """New records were sealed."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        self._loop = loop = asyncio.get_running_loop()
        self.link.start()
        try:
            while True:
                self._wake.clear()
                await self._take_all()
                busy = await self._send(loop.time()) if self.link.connected else False
                deadline = self._window.wake()
                wait = _BUSY if busy else None if deadline is None else max(_BUSY, deadline - loop.time())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._wake.wait()
        finally:
            # A thread of its own: a connection attempt that hangs must not hold up the end of the process.
            goodbye = threading.Thread(target=self.link.stop, name="mqtt-goodbye", daemon=True)
            goodbye.start()
            for _ in range(100):
                if not goodbye.is_alive():
                    break
                await asyncio.sleep(0.01)

    async def _send(self, now: float) -> bool:
        """Hands over what is due; True when the link is busy and should be asked again soon."""
        loop = asyncio.get_running_loop()
        while True:
            after, count = self._window.due(now, self._outbox.sequence)
            if not count:
                return False
            rows = await asyncio.to_thread(self._outbox.unreceipted, after, min(count, _BATCH))
            if not rows:
                return True
            for sequence, raw in rows:
                if sequence <= self._window.base:
                    continue
                if not self.link.publish(self._topic, raw):
                    return True
                self._window.sent(sequence, loop.time())
            now = loop.time()

    # -- from the link's thread --

    def _from_link(self, incoming: Incoming) -> None:
        # Acknowledged at once: a receipt that is lost here comes again with the next one.
        self.link.ack(incoming)
        self._call(self._take, incoming)

    def _state_from_link(self, connected: bool, sentence: str) -> None:
        self._call(self._state, connected, sentence)

    def _call(self, what: Callable[..., None], *args: object) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(what, *args)

    # -- on the loop --

    def _state(self, connected: bool, sentence: str) -> None:
        self.told = sentence
        say("broker", state="connected" if connected else "away", why=sentence)
        if not connected:
            self._receipted = False
            self._window.lost()
        self._wake.set()

    def _take(self, incoming: Incoming) -> None:
        if len(self._inbox) < _INBOX:
            self._inbox.append(incoming)
        self._wake.set()

    async def _take_all(self) -> None:
        taken, self._inbox = self._inbox, []
        newest: Receipt | None = None
        for incoming in taken:
            try:
                if incoming.topic == self._receipts:
                    receipt = Receipt.open(incoming.payload, self._scorer)
                    if receipt.agent != self._agent:
                        self._tell(f"a receipt made out to agent {receipt.agent} came to this one; refused")
                    elif newest is None or receipt.through > newest.through:
                        newest = receipt
                elif incoming.topic == self._downs:
                    self._down(Down.open(incoming.payload, self._scorer))
            except (ProtocolError, AgentError) as exc:
                self._tell(f"refused on {incoming.topic}: {exc}")
        if newest is not None:
            try:
                await self._receipt(newest)
            except (ProtocolError, AgentError) as exc:
                self._tell(str(exc))

    async def _receipt(self, receipt: Receipt) -> None:
        await asyncio.to_thread(self._outbox.receipt, receipt)
        self.receipt_at = receipt.time
        progress = self._window.receipt(receipt.through, asyncio.get_running_loop().time())
        if progress and not self._receipted:
            self._receipted = True
            say("receipt", through=receipt.through, pending=self._outbox.pending)

    def _down(self, request: Down) -> None:
        if request.agent != self._agent:
            self._tell(f"a request made out to agent {request.agent} came to this one; refused")
        elif request.start <= self._outbox.through:
            self._tell(
                f"the scorer asks for records from {request.start} on, but its receipts (or a lost outbox) let "
                f"go of those through {self._outbox.through}; it must restore its ledger"
            )
        elif self._window.resend(request.start, asyncio.get_running_loop().time()):
            say("resend", start=request.start)
            self._wake.set()

    def _tell(self, sentence: str) -> None:
        """Says a fault once a minute, and keeps it for the next heartbeat."""
        now = asyncio.get_running_loop().time()
        if now < self._told.get(sentence, now - 1):
            return
        if len(self._told) > 100:
            self._told.clear()
        self._told[sentence] = now + 60
        say("refused", why=sentence)
        if len(self.faults) < 8:
            self.faults.append(sentence)

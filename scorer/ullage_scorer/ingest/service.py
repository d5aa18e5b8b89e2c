"""The writer: takes messages from the broker in batches, commits, then acknowledges and sends receipts.

One thread owns the way into the ledger. The broker's acknowledgement follows the commit; the receipt, which is
what lets the agent forget, is stored in the same transaction and published after it. When the database cannot
be written (full disk) the batch is kept and tried again; nothing is acknowledged meanwhile.

A forked agent stays visible as ``forked``; what continues the chain that is held is still taken, because
refusing it would let a clone silence the honest gateway.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from sqlalchemy import Connection
from sqlalchemy import exc as sa_exc
from ullage_protocols import topics
from ullage_protocols.keys import SigningKey
from ullage_protocols.mqtt import Incoming
from ullage_protocols.receipt import Down, Receipt

from ..db.engine import Database, explain
from ..db.entry import ENVELOPE, OPAQUE
from ..ledger import store as ledger
from . import store
from .admit import Ahead, Append, Known, Refuse, Repeat, Verdict, admit

_log = logging.getLogger(__name__)
QUEUE = 5000
BATCH = 500
HELD_EACH = 500
HELD_BYTES = 32 * 1024 * 1024
"""Records that arrived early are held up to this many an agent, and this many bytes in all."""
_RESEND_EVERY = 1.0
_RETRY_EVERY = 0.5


class Outlet(Protocol):
    """The way back to the broker."""

    def publish(self, topic: str, payload: bytes) -> bool: ...

    def ack(self, incoming: Incoming) -> None: ...


@dataclass(slots=True)
class _Outcome:
    """What one batch led to, before and after its commit."""

    drafts: list[ledger.Draft] = field(default_factory=list)
    known: dict[str, Known] = field(default_factory=dict)
    digests: dict[tuple[str, int], str] = field(default_factory=dict)
    advanced: set[str] = field(default_factory=set)
    repeated: set[str] = field(default_factory=set)
    early: dict[str, dict[int, Incoming]] = field(default_factory=dict)
    refused: int = 0
    out: list[tuple[str, bytes]] = field(default_factory=list)


class Ingest:
    """``offer`` runs on the link's thread, everything else on the writer's (or the caller's, in ``handle``)."""

    def __init__(
        self, db: Database, key: SigningKey, *, clock: Callable[[], datetime], committed: Callable[[], None]
    ) -> None:
        self._db = db
        self._key = key
        self._clock = clock
        self._committed = committed
        self._queue: queue.Queue[Incoming] = queue.Queue(QUEUE)
        self._held: dict[str, dict[int, Incoming]] = {}
        self._asked: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ingest", daemon=True)
        self.outlet: Outlet | None = None
        self.fault = ""
        self.taken = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2.0)

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    def offer(self, incoming: Incoming) -> None:
        """Takes a message from the broker. When the queue stays full the message is let go, unacknowledged in
        custody: the agent keeps it and sends it again."""
        try:
            self._queue.put(incoming, timeout=2.0)
        except queue.Full:
            if self.outlet is not None and not self.fault:
                self.outlet.ack(incoming)

    def greet(self) -> None:
        """Publishes where every agent's chain stands, after a (re)connection to the broker."""
        try:
            with self._db.read() as conn:
                tip = ledger.tip(conn)
                rows = store.heads(conn)
        except sa_exc.DBAPIError as exc:
            _log.warning("receipts after the connection were left out: %s", explain(exc, self._db.path))
            return
        for row in rows:
            receipt = Receipt(row.id, row.sequence, row.head, tip.position, tip.chain, self._clock())
            self._send(topics.receipt(row.id), receipt.seal(self._key))

    def _run(self) -> None:
        while not self._stopping.is_set():
            batch = self._collect()
            while batch and not self._stopping.is_set():
                try:
                    self.handle(batch)
                except sa_exc.DBAPIError as exc:
                    self._fail(explain(exc, self._db.path))
                except Exception:
                    _log.exception("a batch of %d messages failed; it is tried again one by one", len(batch))
                    self._one_by_one(batch)
                    break
                else:
                    if self.fault:
                        _log.warning("the ledger can be written again")
                        self.fault = ""
                    break

    def _collect(self) -> list[Incoming]:
        try:
            batch = [self._queue.get(timeout=0.2)]
        except queue.Empty:
            return []
        while len(batch) < BATCH:
            try:
                batch.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return batch

    def _fail(self, sentence: str) -> None:
        if sentence != self.fault:
            _log.error("nothing is acknowledged: %s", sentence)
        self.fault = sentence
        self._stopping.wait(_RETRY_EVERY)

    def _one_by_one(self, batch: Sequence[Incoming]) -> None:
        for incoming in batch:
            try:
                self.handle([incoming])
            except Exception:
                # A fault of this program, not of the message: it stays with the agent and nothing is lost.
                _log.exception("one message on %s could not be handled", incoming.topic[:120])

    def handle(self, batch: Sequence[Incoming]) -> None:
        """Judges and commits one batch, then acknowledges it and publishes what is owed."""
        at = self._clock()
        with self._db.write() as conn:
            outcome = _Outcome()
            for incoming in batch:
                self._judge(conn, outcome, incoming, at)
            tip = ledger.append(conn, outcome.drafts, at)
            for agent in sorted(outcome.advanced | outcome.repeated):
                known = outcome.known[agent]
                sealed = Receipt(agent, known.sequence, known.head, tip.position, tip.chain, at).seal(self._key)
                if agent in outcome.advanced:
                    ledger.advance(conn, agent, known.sequence, known.head, at)
                    ledger.save_receipt(conn, agent, known.sequence, tip.position, at, sealed)
                outcome.out.append((topics.receipt(agent), sealed))
            if outcome.refused:
                store.trim(conn)
        self._settle(batch, outcome, at)

    def _settle(self, batch: Sequence[Incoming], outcome: _Outcome, at: datetime) -> None:
        for agent, early in outcome.early.items():
            self._hold(agent, early)
        for agent in outcome.known:
            held = self._held.get(agent, {})
            for sequence in [s for s in held if s <= outcome.known[agent].sequence]:
                del held[sequence]
        if self.outlet is not None:
            for incoming in batch:
                self.outlet.ack(incoming)
        for topic, sealed in outcome.out:
            self._send(topic, sealed)
        for agent, early in outcome.early.items():
            if early:
                self._ask(outcome.known[agent], at)
        self.taken += len(outcome.drafts)
        if outcome.drafts:
            self._committed()

    def _judge(self, conn: Connection, outcome: _Outcome, incoming: Incoming, at: datetime) -> None:
        todo: Incoming | None = incoming
        while todo is not None:
            verdict = self._verdict(conn, outcome, todo)
            match verdict:
                case Append(known, sequence, digest, type_, event, refusal):
                    kind = OPAQUE if event is None else ENVELOPE
                    outcome.drafts.append(
                        ledger.Draft(kind, known.tenant, known.agent, sequence, type_, todo.payload, digest)
                    )
                    outcome.known[known.agent] = replace(known, sequence=sequence, head=digest)
                    outcome.digests[known.agent, sequence] = digest
                    outcome.advanced.add(known.agent)
                    if event is None:
                        self._refuse(conn, outcome, Refuse("message", refusal, known.agent), todo, at)
                    todo = self._next_held(outcome, known.agent, sequence + 1)
                case Repeat(known):
                    outcome.repeated.add(known.agent)
                    todo = None
                case Ahead(known, sequence):
                    outcome.early.setdefault(known.agent, {})[sequence] = todo
                    todo = None
                case Refuse():
                    self._refuse(conn, outcome, verdict, todo, at)
                    todo = None

    def _verdict(self, conn: Connection, outcome: _Outcome, incoming: Incoming) -> Verdict:
        def find(name: str) -> Known | None:
            if name not in outcome.known:
                found = store.known(conn, name)
                if found is None:
                    return None
                outcome.known[name] = found
            return outcome.known[name]

        def held(agent: str, sequence: int) -> str | None:
            return outcome.digests.get((agent, sequence)) or ledger.digest_at(conn, agent, sequence)

        return admit(
            incoming.topic, incoming.payload, find=find, owner=lambda keyid: store.owner_of(conn, keyid), held=held
        )

    def _next_held(self, outcome: _Outcome, agent: str, sequence: int) -> Incoming | None:
        early = outcome.early.get(agent, {})
        if sequence in early:
            return early.pop(sequence)
        return self._held.get(agent, {}).get(sequence)

    def _refuse(self, conn: Connection, outcome: _Outcome, verdict: Refuse, incoming: Incoming, at: datetime) -> None:
        store.refuse(conn, verdict, incoming.topic, incoming.payload, at)
        if verdict.fork:
            store.mark(conn, verdict.agent, state="forked")
            # Only the agent's own key gets this far: it is told where the held chain stands, so that it can say so too.
            outcome.repeated.add(verdict.agent)
        outcome.refused += 1
        _log.warning("refused (%s) on %s: %s", verdict.code, incoming.topic[:120], verdict.reason[:300])

    def _hold(self, agent: str, early: dict[int, Incoming]) -> None:
        held = self._held.setdefault(agent, {})
        size = sum(len(i.payload) for each in self._held.values() for i in each.values())
        for sequence, incoming in sorted(early.items()):
            size += len(incoming.payload)
            # What does not fit is let go: the agent keeps it until a receipt covers it.
            if len(held) >= HELD_EACH or size > HELD_BYTES:
                break
            held[sequence] = replace(incoming, token=None)

    def _ask(self, known: Known, at: datetime) -> None:
        now = time.monotonic()
        if now - self._asked.get(known.agent, -_RESEND_EVERY) < _RESEND_EVERY:
            return
        self._asked[known.agent] = now
        request = Down(known.agent, "resend", known.sequence + 1, at)
        self._send(topics.down(known.agent), request.seal(self._key))
        _log.info("asked %s to send again from %d", known.agent, known.sequence + 1)

    def _send(self, topic: str, payload: bytes) -> None:
        # A receipt that cannot be sent is not lost: the agent sends again and gets a fresh one.
        if self.outlet is not None:
            self.outlet.publish(topic, payload)

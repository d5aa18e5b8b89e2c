"""The least that a scorer may be: verifies every envelope, keeps the order, and signs receipts. Nothing is stored.

Receipts go out every ``pause`` seconds, so the harness does not pay for one each record. A record that arrives again is
counted and passed over; one that is out of order waits for the agent to send what lies before it, as it does by itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ullage_protocols import envelope, topics, wire
from ullage_protocols.errors import ProtocolError
from ullage_protocols.event import sequence_of
from ullage_protocols.keys import PublicKey, SigningKey
from ullage_protocols.mqtt import BrokerSettings, Incoming, Link
from ullage_protocols.receipt import Receipt


@dataclass(frozen=True, slots=True)
class Record:
    """One accepted record: when it arrived (Unix seconds), and what it says."""

    arrived: float
    sequence: int
    kind: str
    subject: str
    data: dict[str, Any]


class Receiver:
    """``through`` is the last sequence of an unbroken chain from 1; ``refused`` says what was not accepted."""

    def __init__(
        self, port: int, *, agent: str, agent_key: PublicKey, key: SigningKey,
        on_record: Callable[[Record], None] = lambda record: None, pause: float = 0.05,
    ) -> None:  # fmt: skip
        self.through, self.repeated, self.ahead = 0, 0, 0
        self.refused: list[str] = []
        self._head, self._receipted = "", -1
        self._agent, self._agent_key, self._key, self._on_record = agent, agent_key, key, on_record
        self._pause = pause
        self._stopping = threading.Event()
        self._link = Link(
            BrokerSettings("127.0.0.1", port, protocol="5"), client_id="bench-receiver", subscribe=[topics.up(agent)],
            on_message=self._take, on_state=self._state,
        )  # fmt: skip
        self._sender = threading.Thread(target=self._send, name="receipts", daemon=True)

    def start(self) -> None:
        self._link.start()
        self._sender.start()

    def stop(self) -> None:
        self._stopping.set()
        self._link.stop()
        self._sender.join(timeout=5)

    @property
    def connected(self) -> bool:
        return self._link.connected

    def _state(self, connected: bool, _sentence: str) -> None:
        if connected:
            self._receipted = -1  # whoever lost the connection with us may have missed the last one

    def _take(self, incoming: Incoming) -> None:
        arrived = time.time()
        try:
            payload = envelope.unseal(incoming.payload).verify(self._agent_key, payload_type=envelope.EVENT)
            agent, sequence, previous = sequence_of(payload)
        except ProtocolError as exc:
            self.refused.append(str(exc))
        else:
            if agent != self._agent:
                self.refused.append(f"a record of {agent}")
            elif sequence == self.through + 1 and previous != self._head:
                self.refused.append(f"record {sequence} names another predecessor")
            elif sequence <= self.through:
                self.repeated += 1
                self._receipted = -1
            elif sequence > self.through + 1:
                self.ahead += 1
            else:
                body = wire.decode(payload, what="event")
                self.through, self._head = sequence, envelope.digest(payload)
                kind = str(body["type"]).removeprefix("org.ullage.").partition(".")[0]
                self._on_record(Record(arrived, sequence, kind, str(body["subject"]), body["data"]))
        self._link.ack(incoming)

    def _send(self) -> None:
        while not self._stopping.wait(self._pause):
            through, head = self.through, self._head
            if through != self._receipted and self._link.connected:
                receipt = Receipt(self._agent, through, head, through, "", datetime.now(UTC))
                if self._link.publish(topics.receipt(self._agent), receipt.seal(self._key)):
                    self._receipted = through

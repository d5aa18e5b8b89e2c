"""What the scorer says back: receipts (custody taken through n) and requests to send again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from . import envelope, topics, wire
from .checked import Fields
from .errors import WireError
from .keys import PublicKey, SigningKey


@dataclass(frozen=True, slots=True)
class Receipt:
    """The scorer holds every record of ``agent`` through ``through``; ``head`` is that record's hash.

    ``position`` and ``chain`` are the ledger's length and hash after the commit. ``through`` 0 and an empty
    head mean that nothing is held yet.
    """

    agent: str
    through: int
    head: str
    position: int
    chain: str
    time: datetime

    def seal(self, key: SigningKey) -> bytes:
        body = {
            "agent": self.agent, "through": self.through, "head": self.head,
            "position": self.position, "chain": self.chain, "time": wire.format_time(self.time),
        }  # fmt: skip
        return envelope.seal(wire.encode(body), envelope.RECEIPT, key)

    @classmethod
    def open(cls, raw: bytes, key: PublicKey) -> Receipt:
        """The receipt in an envelope that ``key`` sealed; SealError or WireError otherwise."""
        payload = envelope.unseal(raw).verify(key, payload_type=envelope.RECEIPT)
        f = Fields(wire.decode(payload, what="receipt"), "receipt")
        return cls(
            topics.check_name(f.text("agent"), what="agent"), f.integer("through", low=0), f.hash_or_empty("head"),
            f.integer("position", low=0), f.hash_or_empty("chain"), f.time("time"),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Down:
    """A request to the agent. ``resend``: send every record from sequence ``start`` on once more."""

    agent: str
    request: str
    start: int
    time: datetime

    def seal(self, key: SigningKey) -> bytes:
        body = {
            "agent": self.agent, "request": self.request, "start": self.start, "time": wire.format_time(self.time)
        }  # fmt: skip
        return envelope.seal(wire.encode(body), envelope.DOWN, key)

    @classmethod
    def open(cls, raw: bytes, key: PublicKey) -> Down:
        payload = envelope.unseal(raw).verify(key, payload_type=envelope.DOWN)
        f = Fields(wire.decode(payload, what="request"), "request")
        request = f.text("request")
        if request != "resend":
            raise WireError(f"request {request[:40]!r} is unknown to this version; only 'resend' is")
        return cls(
            topics.check_name(f.text("agent"), what="agent"),
            request,
            f.integer("start", low=1),
            f.time("time"),
        )

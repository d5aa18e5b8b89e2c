"""One record of an agent's stream: a CloudEvents 1.0 object with its place in the chain.

https://github.com/cloudevents/spec (v1.0.2). Extensions: ``sequence`` (64 bit, from 1, never reset),
``bootid``, ``monotonic`` (ns since the agent's start) and ``prevhash`` (SHA-256 of the previous payload's
exact bytes; empty for the first). 64-bit numbers travel as text because CloudEvents integers have 32 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from . import topics, wire
from .checked import Fields
from .errors import WireError
from .messages import Message, read_message, type_of


@dataclass(frozen=True, slots=True)
class Event:
    """``subject`` is the device or line that the message is about; empty for the agent itself."""

    agent: str
    sequence: int
    bootid: str
    monotonic: int
    prevhash: str
    time: datetime
    subject: str
    message: Message

    def encode(self) -> bytes:
        """The payload: canonical JSON."""
        return wire.encode(
            {
                "specversion": "1.0",
                "id": f"{self.agent}/{self.sequence}",
                "source": f"urn:ullage:agent:{self.agent}",
                "type": type_of(self.message),
                "time": wire.format_time(self.time),
                "subject": self.subject or self.agent,
                "datacontenttype": "application/json",
                "sequence": str(self.sequence),
                "bootid": self.bootid,
                "monotonic": str(self.monotonic),
                "prevhash": self.prevhash,
                "data": self.message.to_json(),
            }
        )


def decode_event(payload: bytes) -> Event:
    """The event in a verified payload; WireError with the first fault otherwise."""
    f = Fields(wire.decode(payload, what="event"), "event")
    if f.text("specversion") != "1.0":
        raise WireError("event is not CloudEvents 1.0")
    source = f.text("source")
    prefix = "urn:ullage:agent:"
    if not source.startswith(prefix):
        raise WireError(f"event source {source[:120]!r} does not start with {prefix}")
    agent = topics.check_name(source.removeprefix(prefix), what="agent")
    sequence = f.decimal_text("sequence", low=1)
    if f.text("id") != f"{agent}/{sequence}":
        raise WireError("event id is not its agent and sequence")
    if (f.body["prevhash"] == "" if "prevhash" in f.body else False) != (sequence == 1):
        raise WireError("only the first record may, and must, have an empty prevhash")
    subject = f.text("subject", limit=200)
    return Event(
        agent, sequence, f.text("bootid", limit=64), f.decimal_text("monotonic"), f.hash_or_empty("prevhash"),
        f.time("time"), "" if subject == agent else subject, read_message(f.text("type"), f.body.get("data")),
    )  # fmt: skip


def sequence_of(payload: bytes) -> tuple[str, int, str]:
    """Agent, sequence and prevhash of a payload whose message may be unknown. WireError if even these fail."""
    f = Fields(wire.decode(payload, what="event"), "event")
    agent = topics.check_name(f.text("source").removeprefix("urn:ullage:agent:"), what="agent")
    return agent, f.decimal_text("sequence", low=1), f.hash_or_empty("prevhash")

"""Whether bytes from the broker may enter the ledger. Pure: what is known comes in as arguments.

The order of the checks is the order of their cost and of what they reveal: size, form, signer, signature,
meaning, place in the chain. A record that is correctly signed and correctly chained but whose message this
version cannot read (unknown type, unknown major version, a field out of range) is taken into the ledger as
*opaque*: the agent's chain goes on, nothing is derived from the record, and its refusal is on record in
quarantine. Refusing it outright would stop the agent's stream for ever at one bad record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ullage_protocols import envelope, topics, wire
from ullage_protocols.errors import KeyFileError, ProtocolError
from ullage_protocols.event import Event, decode_event, sequence_of
from ullage_protocols.keys import PublicKey


@dataclass(frozen=True, slots=True)
class Known:
    """What the scorer knows of an agent: its key and how far its chain is held."""

    agent: str
    tenant: str
    public_key: str
    revoked: bool
    sequence: int
    head: str


@dataclass(frozen=True, slots=True)
class Append:
    """The next record of its chain. ``refusal`` is empty, or why the message cannot be read (opaque)."""

    known: Known
    sequence: int
    digest: str
    type: str
    event: Event | None
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Repeat:
    """A record that is held already, byte for byte: answered with a fresh receipt."""

    known: Known


@dataclass(frozen=True, slots=True)
class Ahead:
    """A good record whose predecessors are missing."""

    known: Known
    sequence: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Not taken. ``agent`` is empty unless the topic names a known one; ``fork`` marks two histories."""

    code: str
    reason: str
    agent: str = ""
    fork: bool = False


Verdict = Append | Repeat | Ahead | Refuse


def admit(
    topic: str,
    raw: bytes,
    *,
    find: Callable[[str], Known | None],
    owner: Callable[[str], Known | None],
    held: Callable[[str, int], str | None],
) -> Verdict:
    """Judges one message.

    ``find`` gives the agent of a name, ``owner`` the agent whose key has an id, ``held`` the payload hash of
    an agent's record at a sequence.
    """
    if len(raw) > wire.MAX_BYTES:
        return Refuse("size", f"{len(raw)} bytes are more than the {wire.MAX_BYTES} allowed", _named(topic, find))
    try:
        name = topics.agent_of(topic)
    except ProtocolError as exc:
        return Refuse("topic", str(exc))
    known = find(name)
    agent = "" if known is None else name
    try:
        sealed = envelope.unseal(raw)
    except ProtocolError as exc:
        return Refuse("form", str(exc), agent)
    if known is None:
        return Refuse("stranger", f"agent {name!r} is not enrolled; enrol it with its public key")
    if known.revoked:
        return Refuse("revoked", f"the key of agent {name!r} is revoked", agent)
    try:
        key = PublicKey.from_text(known.public_key)
    except KeyFileError as exc:
        return Refuse("signer", f"the enrolled key of {name!r} cannot be read: {exc}", agent)
    if sealed.keyid != key.keyid:
        return _wrong_signer(known, owner(sealed.keyid))
    try:
        payload = sealed.verify(key, payload_type=envelope.EVENT)
    except ProtocolError as exc:
        return Refuse("signature", str(exc), agent)
    return _place(known, payload, held)


def _named(topic: str, find: Callable[[str], Known | None]) -> str:
    try:
        name = topics.agent_of(topic)
    except ProtocolError:
        return ""
    return "" if find(name) is None else name


def _wrong_signer(known: Known, owner: Known | None) -> Refuse:
    if owner is None:
        return Refuse("signer", f"signed by a key that is not that of agent {known.agent!r}", known.agent)
    if owner.tenant != known.tenant:
        return Refuse("tenant", f"signed by an agent of another tenant on the topic of {known.agent!r}", known.agent)
    return Refuse("signer", f"signed by agent {owner.agent!r} on the topic of {known.agent!r}", known.agent)


def _place(known: Known, payload: bytes, held: Callable[[str, int], str | None]) -> Verdict:
    try:
        agent, sequence, prev = sequence_of(payload)
    except ProtocolError as exc:
        return Refuse("event", str(exc), known.agent)
    if agent != known.agent:
        return Refuse("agent", f"the event names agent {agent!r}, its topic and key {known.agent!r}", known.agent)
    digest = envelope.digest(payload)
    if sequence <= known.sequence:
        if held(agent, sequence) == digest:
            return Repeat(known)
        return Refuse(
            "fork", f"record {sequence} differs from the one that is held: a cloned or restored gateway", agent, True
        )
    if sequence > known.sequence + 1:
        return Ahead(known, sequence)
    if prev != known.head:
        return Refuse(
            "fork", f"record {sequence} does not follow the held record {known.sequence}: a cloned or restored gateway",
            agent, True,
        )  # fmt: skip
    try:
        event = decode_event(payload)
    except ProtocolError as exc:
        return Append(known, sequence, digest, _type_of(payload), None, str(exc))
    return Append(known, sequence, digest, _type_of(payload), event)


def _type_of(payload: bytes) -> str:
    value = wire.decode(payload, what="event").get("type")
    return value[:120] if isinstance(value, str) else ""

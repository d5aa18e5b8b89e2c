"""Whatever comes from the broker: an envelope, event or message is read whole, or refused by WireError or SealError.

Mutations start from the golden messages, so that they reach far into the readers. Bounded by count, the same each run.
"""

from __future__ import annotations

import base64
import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
from ullage_protocols import envelope, wire
from ullage_protocols.errors import SealError, WireError
from ullage_protocols.event import decode_event, sequence_of
from ullage_protocols.keys import SigningKey
from ullage_protocols.messages import read_message
from ullage_protocols.receipt import Down, Receipt

GOLDEN = sorted(
    path for path in (Path(__file__).parents[1] / "golden" / "messages").glob("*.json") if path.stem != "keys"
)
CASES = {path.stem: json.loads(path.read_text("utf-8")) for path in GOLDEN}
EVENTS = [name for name, case in CASES.items() if "head" in case]
KEY = SigningKey.from_seed(bytes(range(32)))
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**53, 2**63 - 1, -(2**63), 0.5, -0.0, 1e308, 5e-324, "", "x", "x" * 3000, "\0",
    "\u202e", "9" * 19, "0" * 64, "g" * 64, "0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999-23:59",
    "2026-11-23T12:00:00Z", "2026-11-23T12:00:00", "start", "stop", "open", "close", [], {}, [None], [[]], [{}],
    {"a": 1}, ["x"] * 60, [0.5],
)  # fmt: skip
RAW = (
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b"\\",
    b",",
    b":",
    b"\\ud800",
    b"\xff",
    b"\x00",
    b"NaN",
    b"1e999",
    b"9" * 30,
    b"-0",
    b" ",
)


def walk(body: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a JSON value."""
    items = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    return [path, *(inner for key, value in items for inner in walk(value, (*path, key)))]


def change(source: random.Random, body: Any) -> Any:
    """A JSON object with a few of its values put to something odd, left out, doubled or moved."""
    body = json.loads(json.dumps(body))
    for _ in range(source.randint(1, 3)):
        places = [path for path in walk(body) if path]
        if not places:
            break
        path = source.choice(places)
        inner = body
        for part in path[:-1]:
            inner = inner[part]
        match source.randrange(5):
            case 0:
                del inner[path[-1]]
            case 1 if isinstance(inner, list):
                inner.extend(copy.deepcopy(inner[:1]) * source.choice((1, 60)))
            case 2:
                other: Any = body
                for part in source.choice(places):
                    other = other[part] if isinstance(other, dict | list) else other
                inner[path[-1]] = json.loads(json.dumps(other))
            case _:
                inner[path[-1]] = copy.deepcopy(source.choice(ODD))
    return body


def damage(source: random.Random, raw: bytes) -> bytes:
    """Bytes with a few small changes."""
    for _ in range(source.randint(1, 3)):
        at = source.randrange(len(raw) + 1)
        match source.randrange(4):
            case 0:
                raw = raw[:at] + source.choice(RAW) + raw[at:]
            case 1:
                raw = raw[:at] + raw[at + source.randint(1, 20) :]
            case 2:
                raw = raw[:at] + source.randbytes(source.randint(1, 4)) + raw[at + 1 :]
            case _:
                raw = raw[:at] + raw[source.randrange(len(raw) + 1) :][:100] + raw[at:]
    return raw


@pytest.mark.parametrize("name", EVENTS)
def test_a_changed_message_is_read_whole_or_refused(name: str) -> None:
    event = json.loads(CASES[name]["payload"])
    source, read = random.Random(name), 0
    for _ in range(300):
        body = change(source, event["data"])
        try:
            message = read_message(event["type"], body)
        except WireError as exc:
            assert str(exc)  # noqa: PT017 - both outcomes are right, a silent one is not
            continue
        read += 1
        again = wire.decode(wire.encode(message.to_json()), limit=2**22)
        assert read_message(event["type"], again) == message
    assert 0 < read < 300


@pytest.mark.parametrize("name", EVENTS)
def test_a_changed_event_is_read_whole_or_refused(name: str) -> None:
    event = json.loads(CASES[name]["payload"])
    source = random.Random(name)
    for _ in range(250):
        try:
            payload = wire.encode(change(source, event))
            found = decode_event(payload)
        except WireError:
            continue
        assert decode_event(found.encode()) == found
        assert sequence_of(payload)[:2] == (found.agent, found.sequence)


@pytest.mark.parametrize("name", EVENTS)
def test_damaged_payload_bytes_are_read_whole_or_refused(name: str) -> None:
    source, payload = random.Random(name), CASES[name]["payload"].encode()
    for _ in range(250):
        raw = damage(source, payload)
        for read in (decode_event, sequence_of):
            try:
                read(raw)
            except WireError as exc:
                assert str(exc)  # noqa: PT017


@pytest.mark.parametrize("name", CASES)
def test_a_damaged_envelope_never_opens(name: str) -> None:
    source, raw = random.Random(name), CASES[name]["envelope"].encode()
    kinds = (envelope.EVENT, envelope.RECEIPT, envelope.DOWN)
    for _ in range(250):
        changed = damage(source, raw)
        if changed == raw:
            continue
        with pytest.raises(SealError):
            envelope.unseal(changed).verify(KEY.public, payload_type=source.choice(kinds))


@pytest.mark.parametrize("name", [name for name in CASES if name not in EVENTS])
def test_a_reply_whose_signed_body_was_changed_is_read_whole_or_refused(name: str) -> None:
    source, kind = random.Random(name), Down if name == "resend" else Receipt
    body = json.loads(base64.b64decode(json.loads(CASES[name]["envelope"])["payload"]))
    for _ in range(250):
        try:
            raw = envelope.seal(
                wire.encode(change(source, body)), envelope.DOWN if kind is Down else envelope.RECEIPT, KEY
            )
            found = kind.open(raw, KEY.public)
        except (WireError, SealError):
            continue
        assert kind.open(found.seal(KEY), KEY.public) == found


@pytest.mark.parametrize("depth", [15, 16, 17, 1000, 100_000])
def test_nesting_is_bounded_before_it_is_parsed(depth: int) -> None:
    raw = b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1)
    if depth <= wire.MAX_DEPTH:
        assert wire.decode(raw)
        return
    with pytest.raises(WireError):
        wire.decode(raw)

"""The wire as it was published: each message's exact payload and envelope, under fixed keys.

Whoever turns one of these red has changed what agents and scorers in the field say to each other. That needs a
new major version of the message and both forms read for a while; the cases here are never rewritten, only added.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ullage_protocols import envelope
from ullage_protocols.event import Event, decode_event
from ullage_protocols.keys import SigningKey
from ullage_protocols.messages import (
    Anomaly,
    Change,
    DeviceState,
    Downtime,
    Endpoint,
    Heartbeat,
    Hello,
    Inventory,
    Maintenance,
    Message,
    Production,
    TagShare,
    Technique,
)  # fmt: skip
from ullage_protocols.receipt import Down, Receipt

CASES = Path(__file__).parent / "messages"
AGENT = SigningKey.from_seed(bytes(range(32)))
SCORER = SigningKey.from_seed(bytes(range(32, 64)))
NOON = datetime(2026, 11, 23, 12, 0, 0, 250_000, tzinfo=UTC)
HEAD = "ab" * 32


def _event(sequence: int, subject: str, message: Message) -> Event:
    head = "" if sequence == 1 else HEAD
    return Event("gw-cellar", sequence, "boot-7", 1_500_000_000, head, NOON, subject, message)


_TAGS = (
    TagShare("level", 0.75, 81.5, 60.0, "far above what valve and pump explain"),
    TagShare("pump", 0.25, None, None),
)
EVENTS = {
    "hello-first": _event(1, "", Hello("0.1.0", "start", ("plc-1",), ("level", "pump"), "", None, None, 0)),
    "hello-baseline": _event(
        2, "", Hello("0.1.0", "baseline", ("plc-1",), ("level",), HEAD, NOON - timedelta(days=1), NOON, 86_400, ("ok",))
    ),
    "heartbeat": _event(
        3, "", Heartbeat(60.5, 12, 0.125, True, (DeviceState("plc-1", "degraded", 0.5, "no answer in 1 s"),), ("é",))
    ),
    "anomaly-open": _event(
        4, "tank-1",
        Anomaly(
            "gw-cellar-boot-7-1", "open", "process", 0.5, 12.5, 4.0, NOON, None, _TAGS,
            (Technique("T0836", "Modify Parameter", "a setpoint moved without an order"),), ("level rose",),
        ),
    ),
    "anomaly-close": _event(
        5, "tank-1",
        Anomaly("gw-cellar-boot-7-1", "close", "integrity", 0.0, 0.0, 4.0, NOON, NOON + timedelta(minutes=5), (), ()),
    ),
    "production": _event(
        2**63 - 1, "line-1", Production("line-1", NOON, NOON + timedelta(seconds=10), 42, 9.5, 0.25, 1.0)
    ),
    "production-blind": _event(
        7, "line-1", Production("line-1", NOON, NOON + timedelta(seconds=10), None, 0.0, None, 0.0, "gap of 10 s")
    ),
    "inventory-first": _event(8, "plc-1", Inventory("plc-1", "modbus-tcp", "Acme", "PM-5", firmware="2.1", first=True)),
    "inventory-changed": _event(
        9, "tank-1",
        Inventory(
            "tank-1", "opcua", "Acme", "Tank", "T-9", "3.0", "SN-7", "Run",
            (Endpoint("opc.tcp://192.0.2.11:4840", "Basic256Sha256", "SignAndEncrypt", ("anonymous", "username")),),
            True, True, HEAD, NOON + timedelta(days=90), (Change("firmware", "2.9", "3.0"),),
        ),
    ),
    "maintenance-start": _event(
        10, "line-1",
        Maintenance("m-1", "start", "line-1", "change of format", "M. Müller", NOON, NOON + timedelta(hours=2), NOON,
                    False),
    ),
    "maintenance-afterwards": _event(
        11, "", Maintenance("m-2", "start", "", "检修", "shift 2", NOON - timedelta(hours=1), None, NOON, True)
    ),
    "maintenance-stop": _event(
        12, "line-1",
        Maintenance("m-1", "stop", "line-1", "change of format", "M. Müller", NOON - timedelta(hours=1), NOON, NOON,
                    False),
    ),
    "downtime-open": _event(13, "plc-1", Downtime("plc-1", "open", NOON, None, "silent", "no answer in 1 s")),
    "downtime-close": _event(
        14, "plc-1", Downtime("plc-1", "close", NOON, NOON + timedelta(seconds=7), "silent", "no answer in 1 s")
    ),
}  # fmt: skip
REPLIES: dict[str, Receipt | Down] = {
    "receipt": Receipt("gw-cellar", 6, HEAD, 1234, "cd" * 32, NOON),
    "receipt-nothing-held": Receipt("gw-cellar", 0, "", 0, "", NOON),
    "resend": Down("gw-cellar", "resend", 4, NOON),
}


def _case(name: str) -> dict[str, Any]:
    case = json.loads((CASES / f"{name}.json").read_text("utf-8"))
    assert isinstance(case, dict)
    return case


def test_every_case_has_its_file_and_every_file_its_case() -> None:
    assert {path.stem for path in CASES.glob("*.json")} == {*EVENTS, *REPLIES, "keys"}


def test_keys_are_written_and_named_as_ever() -> None:
    assert _case("keys") == {
        "agent": {"key": AGENT.public.to_text(), "keyid": AGENT.keyid},
        "scorer": {"key": SCORER.public.to_text(), "keyid": SCORER.keyid},
    }


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_has_the_bytes_that_it_always_had(name: str) -> None:
    case, payload = _case(name), EVENTS[name].encode()
    assert payload.decode() == case["payload"]
    assert envelope.digest(payload) == case["head"]
    assert envelope.seal(payload, envelope.EVENT, AGENT).decode() == case["envelope"]


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_of_old_is_still_understood(name: str) -> None:
    sealed = envelope.unseal(_case(name)["envelope"].encode())
    assert decode_event(sealed.verify(AGENT.public, payload_type=envelope.EVENT)) == EVENTS[name]


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_has_the_bytes_that_it_always_had_and_is_still_understood(name: str) -> None:
    reply, case = REPLIES[name], _case(name)
    assert reply.seal(SCORER).decode() == case["envelope"]
    assert envelope.unseal(case["envelope"].encode()).payload.decode() == case["payload"]
    assert type(reply).open(case["envelope"].encode(), SCORER.public) == reply

"""Each refusal of the wire, the keys, the envelopes and the topics, with the reason it names."""

from __future__ import annotations

import base64
import json
import os
import stat
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from ullage_protocols import envelope, topics, wire
from ullage_protocols.checked import Fields
from ullage_protocols.errors import KeyFileError, ProtocolError, SealError, TopicError, WireError
from ullage_protocols.keys import PublicKey, SigningKey

KEY = SigningKey.from_seed(b"k" * 32)
OTHER = SigningKey.from_seed(b"o" * 32)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"a":1,"a":2}', "'a' stands twice"),
        (b'{"a":{"b":1,"c":2,"b":3}}', "'b' stands twice"),
        (b'{"a":NaN}', "NaN is not a number"),
        (b'{"a":-Infinity}', "-Infinity is not a number"),
        (b'{"a":1e999}', "out of range"),
        (b'{"a":9223372036854775808}', "does not fit 64 bits"),
        (b'{"a":' + b"9" * 5000 + b"}", "does not fit 64 bits"),
        (b'{"a":"\xff"}', "not UTF-8 (byte 6)"),
        (b'{"a":"\\ud800"}', "cannot be written as JSON"),
        (b'{"a":1} x', "not JSON"),
        (b"", "not JSON"),
        (b"[1]", "JSON list, not an object"),
        (b'{"a":' + b"[" * 17 + b"]" * 17 + b"}", "deeper than 16"),
        (b'{"a":"' + b"x" * wire.MAX_BYTES + b'"}', "larger than the 262144 allowed"),
    ],
)
def test_the_wire_refuses_and_says_why(raw: bytes, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        wire.decode(raw)
    assert reason in str(caught.value)


def test_brackets_inside_text_are_not_depth() -> None:
    assert wire.decode(wire.encode({"a": "[" * 1000, "b": '\\"[[' * 40}))["a"] == "[" * 1000


def test_a_repeated_key_among_many_is_found_in_linear_time() -> None:
    names = [f'"{number:x}":1' for number in range(25_000)]
    raw = ("{" + ",".join([*names, names[-1]]) + "}").encode()
    start = time.process_time()
    with pytest.raises(WireError, match="'61a7' stands twice"):
        wire.decode(raw)
    assert time.process_time() - start < 1


@pytest.mark.parametrize("value", [{"a": float("nan")}, {"a": float("inf")}, {"a": b"x"}, {"a": "\ud800"}])
def test_what_json_cannot_carry_is_not_written(value: dict[str, object]) -> None:
    with pytest.raises(WireError, match="cannot be written as JSON"):
        wire.encode(value)


def test_times_have_one_written_form_in_utc() -> None:
    moment = datetime(2026, 11, 23, 9, 30, tzinfo=timezone(timedelta(hours=1)))
    assert wire.format_time(moment) == "2026-11-23T08:30:00.000000Z"
    assert wire.format_time(datetime(7, 1, 1, tzinfo=UTC)) == "0007-01-01T00:00:00.000000Z"
    with pytest.raises(WireError, match="no time zone"):
        wire.format_time(moment.replace(tzinfo=None))


@pytest.mark.parametrize(
    "text", ["2026-11-23T08:00:00", "yesterday at noon, or so", "", 7, None, "0001-01-01T00:00:00+23:59", "x" * 41]
)
def test_a_time_without_zone_or_sense_is_refused(text: object) -> None:
    with pytest.raises(WireError):
        wire.parse_time(text)


@pytest.mark.parametrize(
    ("body", "read"),
    [
        ({}, lambda f: f.text("a")),
        ({"a": 1}, lambda f: f.text("a")),
        ({"a": "xx"}, lambda f: f.text("a", limit=1)),
        ({"a": "z"}, lambda f: f.one_of("a", ("x", "y"))),
        ({"a": True}, lambda f: f.integer("a")),
        ({"a": 1.0}, lambda f: f.integer("a")),
        ({"a": 11}, lambda f: f.integer("a", low=0, high=10)),
        ({"a": "01"}, lambda f: f.decimal_text("a")),
        ({"a": "9223372036854775808"}, lambda f: f.decimal_text("a")),
        ({"a": "0"}, lambda f: f.decimal_text("a", low=1)),
        ({"a": 1}, lambda f: f.decimal_text("a")),
        ({"a": False}, lambda f: f.number("a")),
        ({"a": float("nan")}, lambda f: f.number("a")),
        ({"a": 1.5}, lambda f: f.number("a", low=0, high=1)),
        ({"a": "A" * 64}, lambda f: f.hash_or_empty("a")),
        ({"a": "a" * 63}, lambda f: f.hash_or_empty("a")),
        ({"a": [1]}, lambda f: f.objects("a")),
        ({"a": [{}, {}]}, lambda f: f.objects("a", limit=1)),
        ({"a": [1]}, lambda f: f.texts("a")),
        ({"a": {}}, lambda f: f.texts("a")),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused_by_name(body: object, read: object) -> None:
    assert callable(read)
    with pytest.raises(WireError, match=r"'a'|a\[0\]"):
        read(Fields(body, "thing"))


def test_a_key_is_made_once_private_and_with_its_public_half_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "agent.key"
    made = SigningKey.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.load_or_create(path).public == made.public == PublicKey.from_file(tmp_path / "keys/agent.key.pub")
    assert sorted(file.name for file in path.parent.iterdir()) == ["agent.key", "agent.key.pub"]


def test_eight_threads_that_want_the_same_key_all_get_the_same(tmp_path: Path) -> None:
    path, got = tmp_path / "agent.key", list[PublicKey]()
    barrier = threading.Barrier(8)

    def want() -> None:
        barrier.wait()
        got.append(SigningKey.load_or_create(path).public)

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8
    assert set(got) == {SigningKey.from_file(path).public}


def test_a_leftover_of_a_crash_does_not_stop_the_key_from_being_made(tmp_path: Path) -> None:
    """In a container the process id is the same after every start, so a name made of it would be in the way."""
    (tmp_path / f".agent.key.{os.getpid()}").write_bytes(b"half a k")
    assert SigningKey.load_or_create(tmp_path / "agent.key").sign(b"x")


def test_key_files_that_are_open_to_others_or_no_keys_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "agent.key"
    SigningKey.load_or_create(path)
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        SigningKey.from_file(path)
    path.write_text("-----BEGIN NOTHING-----")
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="not an unencrypted PEM"):
        SigningKey.from_file(path)
    with pytest.raises(KeyFileError, match="cannot be read"):
        SigningKey.from_file(tmp_path / "absent")
    with pytest.raises(KeyFileError, match="cannot be made"):
        SigningKey.load_or_create(path / "below-a-file")
    with pytest.raises(KeyFileError, match="cannot be read"):
        PublicKey.from_file(tmp_path / "absent.pub")


@pytest.mark.parametrize(
    "text",
    ["", "ed25519:", "ed25519:é", "rsa:" + KEY.public.to_text()[8:], "ed25519:AAAA", "ed25519:" + "A" * 42 + "B="],
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(KeyFileError, match="expected 'ed25519"):
        PublicKey.from_text(text)


def test_a_signing_key_never_shows_its_secret() -> None:
    assert base64.b64encode(b"k" * 32).decode() not in repr(KEY)
    assert repr(KEY) == f"SigningKey({KEY.keyid})"


def test_an_envelope_opens_for_its_key_and_type_only() -> None:
    sealed = envelope.unseal(envelope.seal(b"{}", envelope.EVENT, KEY))
    assert sealed.verify(KEY.public, payload_type=envelope.EVENT) == b"{}"
    with pytest.raises(SealError, match="names the key"):
        sealed.verify(OTHER.public, payload_type=envelope.EVENT)
    with pytest.raises(SealError, match=r"where 'application/vnd\.ullage\.receipt"):
        sealed.verify(KEY.public, payload_type=envelope.RECEIPT)
    forged = envelope.Sealed(sealed.payload_type, sealed.payload, OTHER.keyid, sealed.signature)
    with pytest.raises(SealError, match="signature does not fit"):
        forged.verify(OTHER.public, payload_type=envelope.EVENT)


def _altered(**change: object) -> bytes:
    body = json.loads(envelope.seal(b"{}", envelope.EVENT, KEY))
    return wire.encode({**body, **change})


@pytest.mark.parametrize(
    "raw",
    [
        b" " + _altered(),
        _altered() + b"\n",
        _altered(extra=1),
        _altered(payload=7),
        _altered(payload="e30"),
        _altered(payload="e3 0="),
        _altered(payload="é"),
        _altered(payloadType=None),
        _altered(signatures=[]),
        _altered(signatures=[{}]),
        _altered(signatures=[{"keyid": 1, "sig": ""}]),
        _altered(signatures=json.loads(_altered())["signatures"] * 2),
        b'{"payload":"","payloadType":"\\ud800","signatures":[{"keyid":"","sig":""}]}',
        b"{}",
    ],
)
def test_only_one_written_form_of_an_envelope_is_accepted(raw: bytes) -> None:
    with pytest.raises(SealError):
        envelope.unseal(raw)


def test_an_envelope_that_nobody_would_accept_is_not_sealed() -> None:
    with pytest.raises(SealError, match="larger than"):
        envelope.seal(b"x" * wire.MAX_BYTES, envelope.EVENT, KEY)


def test_the_topics_of_an_agent() -> None:
    assert topics.up("gw-1") == "ullage/v1/gw-1/up"
    assert topics.receipt("gw-1") == "ullage/v1/gw-1/receipt"
    assert topics.down("gw-1") == "ullage/v1/gw-1/down"
    assert topics.agent_of("ullage/v1/gw-1/up") == "gw-1"


@pytest.mark.parametrize("name", ["", "GW", "a/b", "+", "#", "a" * 65, "gw\n", "ä", None])
def test_names_outside_the_contract_are_refused(name: object) -> None:
    for build in (topics.up, topics.receipt, topics.down):
        with pytest.raises(TopicError):
            build(name)  # type: ignore[arg-type]
    with pytest.raises(WireError):  # so that whoever refuses a bad message refuses a bad name too
        topics.check_name(name)
    with pytest.raises(ProtocolError):
        topics.agent_of(f"ullage/v1/{name}/up")


@pytest.mark.parametrize("topic", ["ullage/v1/gw/down", "ullage/v2/gw/up", "x/ullage/v1/gw/up", "ullage/v1/gw/up/"])
def test_only_up_topics_belong_to_an_agent(topic: str) -> None:
    with pytest.raises(TopicError):
        topics.agent_of(topic)

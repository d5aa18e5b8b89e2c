"""Every refusal at the door of the ledger, and what is done instead of silence."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from ullage_protocols import envelope, topics, wire
from ullage_protocols.event import Event
from ullage_protocols.mqtt import Incoming
from ullage_scorer.db.schema import ledger, quarantine, refusals
from ullage_scorer.ingest import service, store
from ullage_scorer.ledger import service as chain
from unit.scorer_kit import T0, Kit, Pen, anomaly, at, beat, key_of, made, wait_until


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    found = Kit(tmp_path)
    yield found
    found.close()


def codes(kit: Kit) -> list[tuple[str, str]]:
    """Agent and code of every quarantined message."""
    with kit.db.read() as conn:
        return [(r.agent, r.code) for r in conn.execute(select(quarantine).order_by(quarantine.c.id))]


def held(kit: Kit, agent: str = "a1") -> int:
    with kit.db.read() as conn:
        found = store.known(conn, agent)
    assert found is not None
    return found.sequence


def test_the_next_record_is_appended_and_receipted_after_the_commit(kit: Kit) -> None:
    pen = kit.enrol("a1")
    one, two = pen.write(beat(), T0), pen.write(beat(), at(1))
    kit.send(one, two)
    assert [topic for topic, _ in kit.out.log] == ["ack", "ack", topics.receipt("a1")]
    (receipt,) = kit.out.receipts(kit.key)
    assert (receipt.through, receipt.head) == (2, pen.head)
    with kit.db.read() as conn:
        tip = chain.verify_chain(conn)
        rows = conn.execute(select(ledger).where(ledger.c.agent == "a1").order_by(ledger.c.position)).all()
    assert (receipt.position, receipt.chain) == (tip.position, tip.chain)
    assert [row.body for row in rows] == pen.sealed


def test_an_oversized_message_is_refused_before_it_is_read(kit: Kit) -> None:
    kit.enrol("a1")
    kit.send(Incoming(topics.up("a1"), b"{" * (wire.MAX_BYTES + 1), None))
    assert codes(kit) == [("a1", "size")]
    with kit.db.read() as conn:
        row = conn.execute(select(quarantine)).one()
    assert len(row.first_bytes) == store.FIRST_BYTES
    assert row.size == wire.MAX_BYTES + 1


def test_an_unsigned_message_is_refused(kit: Kit) -> None:
    kit.enrol("a1")
    kit.send(Incoming(topics.up("a1"), b'{"specversion":"1.0"}', None), Incoming(topics.up("a1"), b"\xff\x00", None))
    assert codes(kit) == [("a1", "form"), ("a1", "form")]


def test_a_strangers_message_is_refused_without_naming_an_agent(kit: Kit) -> None:
    kit.send(Pen("nobody", key_of("nobody")).write(beat(), T0))
    assert codes(kit) == [("", "stranger")]


def test_a_message_signed_by_another_key_is_refused(kit: Kit) -> None:
    kit.enrol("a1")
    kit.send(Pen("a1", key_of("thief")).write(beat(), T0))
    assert codes(kit) == [("a1", "signer")]
    assert held(kit) == 0


def test_a_changed_payload_is_refused(kit: Kit) -> None:
    pen = kit.enrol("a1")
    sealed = envelope.unseal(pen.write(beat(), T0).payload)
    forged = dataclasses.replace(sealed, payload=sealed.payload.replace(b'"pending":1', b'"pending":2'))
    assert forged.payload != sealed.payload
    kit.send(Incoming(topics.up("a1"), envelope._write(forged), None))
    assert codes(kit) == [("a1", "signature")]


def test_a_revoked_agent_is_refused_from_the_next_message_on(kit: Kit) -> None:
    pen = kit.enrol("a1")
    kit.tell(pen, (beat(), T0))
    answer = kit.client("acme").post("/api/v1/agents/a1/revoke", json={"reason": "stolen"})
    assert answer.json()["state"] == "revoked"
    kit.send(pen.write(beat(), at(1)))
    assert codes(kit) == [("a1", "revoked")]
    assert held(kit) == 1


def test_the_topic_must_name_the_signer(kit: Kit) -> None:
    pen, other = kit.enrol("a1"), kit.enrol("a2")
    sent = pen.write(beat(), T0)
    kit.send(
        dataclasses.replace(sent, topic=topics.up(other.agent)), dataclasses.replace(sent, topic="ullage/v2/a1/up")
    )
    assert codes(kit) == [("a2", "signer"), ("", "topic")]


def test_an_agent_of_another_tenant_is_told_apart(kit: Kit) -> None:
    kit.enrol("a1")
    foreign = kit.enrol("b1", site="plant-b", tenant="bolt")
    kit.send(dataclasses.replace(foreign.write(beat(), T0), topic=topics.up("a1")))
    assert codes(kit) == [("a1", "tenant")]


def test_an_event_that_names_another_agent_is_refused(kit: Kit) -> None:
    pen = kit.enrol("a1")
    kit.send(pen.write_payload(Event("a2", 1, "b", 0, "", T0, "", beat()).encode()))
    assert codes(kit) == [("a1", "agent")]


def test_a_payload_that_is_no_event_is_refused(kit: Kit) -> None:
    pen = kit.enrol("a1")
    kit.send(pen.write_payload(b'{"hello":1}'))
    assert codes(kit) == [("a1", "event")]


def test_a_repeat_is_ignored_and_answered_with_a_fresh_receipt(kit: Kit) -> None:
    pen = kit.enrol("a1")
    sent = pen.write(beat(), T0)
    kit.send(sent)
    kit.send(sent, sent)
    assert [r.through for r in kit.out.receipts(kit.key)] == [1, 1]
    assert (held(kit), codes(kit), kit.out.acked) == (1, [], 3)


def test_other_bytes_at_a_held_sequence_are_a_fork(kit: Kit) -> None:
    pen = kit.enrol("a1")
    clone = Pen("a1", pen.key)
    kit.send(pen.write(beat(), T0))
    kit.send(clone.write(beat(pending=7), T0))
    told = kit.out.receipts(kit.key)[-1]
    assert (told.agent, told.through) == ("a1", kit.client("acme").get("/api/v1/agents/a1").json()["sequence"])
    assert len(kit.out.receipts(kit.key)) == 2, "the agent is told where the held chain stands"
    assert codes(kit) == [("a1", "fork")]
    assert kit.client("acme").get("/api/v1/agents/a1").json()["state"] == "forked"
    kit.send(pen.write(beat(), at(1)))
    assert held(kit) == 2, "what continues the held chain is still taken"


def test_a_next_record_that_does_not_follow_the_head_is_a_fork(kit: Kit) -> None:
    pen = kit.enrol("a1")
    clone = Pen("a1", pen.key)
    kit.send(pen.write(beat(), T0))
    clone.write(beat(pending=7), T0)
    kit.send(clone.write(beat(), at(1)))
    assert codes(kit) == [("a1", "fork")]
    assert held(kit) == 1


def test_early_records_are_held_and_asked_for_once_a_second(kit: Kit) -> None:
    pen = kit.enrol("a1")
    one, two, three = (pen.write(beat(), at(i)) for i in range(3))
    kit.send(three)
    kit.send(two)
    assert [(d.request, d.start) for d in kit.out.requests(kit.key)] == [("resend", 1)]
    assert held(kit) == 0
    kit.send(one)
    assert held(kit) == 3
    assert codes(kit) == []
    assert kit.out.receipts(kit.key)[-1].through == 3


def test_records_out_of_order_in_one_batch_are_put_in_order(kit: Kit) -> None:
    pen = kit.enrol("a1")
    sent = [pen.write(beat(), at(i)) for i in range(6)]
    kit.send(*(sent[i] for i in (5, 3, 0, 4, 2, 1)))
    assert (held(kit), kit.out.requests(kit.key)) == (6, [])


def test_what_is_held_early_is_bounded(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "HELD_EACH", 3)
    pen = kit.enrol("a1")
    sent = [pen.write(beat(), at(i)) for i in range(8)]
    kit.send(*sent[1:])
    kit.send(sent[0])
    assert held(kit) == 4
    kit.send(*sent[4:])
    assert held(kit) == 8


@pytest.mark.parametrize(
    "change",
    [
        {"type": "org.ullage.anomaly.v2"},
        {"type": "org.ullage.poem.v1"},
        {"data": {"uptime": -1}},
        {"data": 7},
        {"time": "yesterday"},
    ],
)
def test_a_chained_record_that_cannot_be_read_is_kept_opaque_and_the_stream_goes_on(
    kit: Kit, change: dict[str, object]
) -> None:
    pen = kit.enrol("a1")
    kit.send(pen.write(beat(), T0), pen.write_raw(**change), pen.write(beat(), at(2)))
    assert held(kit) == 3
    assert codes(kit) == [("a1", "message")]
    kit.worker.catch_up()
    shown = kit.client("acme").get("/api/v1/events").json()["items"]
    assert [e["readable"] for e in shown] == [True, False, True]


def test_an_unknown_field_is_kept_byte_for_byte(kit: Kit) -> None:
    pen = kit.enrol("a1")
    kit.send(pen.write_raw(colour="green"))
    (shown,) = kit.client("acme").get("/api/v1/events").json()["items"]
    assert (shown["readable"], shown["event"]["colour"]) == (True, "green")


def test_the_quarantine_is_bounded_and_its_counts_go_on(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAX_ROWS", 10)
    kit.enrol("a1")
    kit.send(*[Incoming(topics.up("a1"), b"junk %d" % i, None) for i in range(25)])
    kit.send(*[Incoming(topics.up("a1"), b"junk 24", None)] * 5)
    with kit.db.read() as conn:
        rows = conn.execute(select(quarantine)).all()
        count = conn.execute(select(refusals.c["count"])).scalar()
    assert len(rows) == 10
    assert rows[-1]._mapping["count"] == 6
    assert count == 30
    assert kit.client("acme").get("/api/v1/agents/a1").json()["quarantined"] == 30
    (first,) = kit.client("acme").get("/api/v1/quarantine?limit=1").json()["items"]
    assert bytes.fromhex(first["first_bytes"]) == b"junk 15"


def test_the_ledger_cannot_be_changed_by_sql(kit: Kit) -> None:
    kit.tell(kit.enrol("a1"), (beat(), T0))
    for statement in ("UPDATE ledger SET tenant = 'x'", "DELETE FROM ledger"):
        with pytest.raises(IntegrityError, match="append-only"), kit.db.write() as conn:
            conn.execute(text(statement))


def test_a_restart_in_the_middle_loses_and_doubles_nothing(kit: Kit) -> None:
    pen = kit.enrol("a1")
    sent = [pen.write(*made(i, i + 1, 2)) for i in range(20)]
    kit.send(*sent[:7], sent[12])
    kit.restart()
    kit.send(*sent[4:])
    assert held(kit) == 20
    with kit.db.read() as conn:
        chain.verify_chain(conn)
        rows = conn.execute(select(ledger.c.sequence).where(ledger.c.agent == "a1").order_by(ledger.c.position)).all()
    assert [r.sequence for r in rows] == list(range(1, 21))


def test_a_full_disk_acknowledges_nothing_and_the_scorer_goes_on_by_itself(kit: Kit) -> None:
    pen = kit.enrol("a1")
    with kit.db.read() as conn:
        pages = conn.execute(text("PRAGMA page_count")).scalar()
    # The writer's own connection is given no room: SQLite then answers as it does on a full disk.
    kit.db.engine.dispose()
    kit.db._pragmas = (f"max_page_count={pages}",)
    for i in range(60):
        kit.ingest.offer(pen.write(*anomaly(f"e{i}", "open", 0.5, i, i)))
    kit.ingest.start()
    try:
        wait_until(lambda: "full" in kit.ingest.fault)
        before = kit.out.acked
        kit.db._pragmas = ()
        kit.db.engine.dispose()
        wait_until(lambda: held(kit) == 60)
        wait_until(lambda: not kit.ingest.fault)
    finally:
        kit.ingest.stop()
    assert (before, kit.out.acked) == (0, 60)

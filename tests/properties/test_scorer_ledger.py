"""Whatever the broker does to the order, every record is taken once, and money is the same from every delivery."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from ullage_protocols import topics
from ullage_protocols.messages import Message
from ullage_protocols.mqtt import Incoming
from ullage_scorer.db.schema import claims, ledger, premiums
from ullage_scorer.ledger import service as chain
from ullage_scorer.rebuild import rebuild
from unit.scorer_kit import Kit, anomaly, policy, running, stopped

LIMITS = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
Found = tuple[list[int], list[str], list[tuple[str, str]], bool]
STORY: list[tuple[Message, Any]] = [
    *running(0, 120), anomaly("e1", "open", 0.7, 110, 120), *stopped(120, 220), anomaly("e1", "close", 0.9, 110, 221),
    *running(220, 250),
]  # fmt: skip


def deliver(
    plan: list[tuple[str, int]], restarts: set[int]
) -> tuple[list[int], list[str], list[tuple[str, str]], bool]:
    """Sends the story as the plan says (a record, several, or rubbish), then once in order, as an agent whose
    receipts are missing does. Gives the sequences held, the indemnities, the premiums, and whether a rebuild agrees."""
    with tempfile.TemporaryDirectory() as folder:
        kit = Kit(Path(folder))
        pen = kit.enrol("a1")
        assert kit.client("acme").post("/api/v1/policies", json=policy()).status_code == 201
        sent = [pen.write(message, when) for message, when in STORY]
        for step, (kind, index) in enumerate(plan):
            record = sent[index % len(sent)]
            if step in restarts:
                kit.restart()
            if kind == "rubbish":
                kit.send(Incoming(topics.up("a1"), record.payload[: index % 50], None))
            elif kind == "batch":
                kit.send(*sent[index % len(sent) :][:5])
            else:
                kit.send(record)
            kit.clock.forward(index % 7)
            if index % 3 == 0:
                kit.worker.catch_up()
        kit.send(*sent)
        kit.worker.catch_up()
        with kit.db.read() as conn:
            chain.verify_chain(conn)
            order = conn.execute(select(ledger.c.sequence).where(ledger.c.agent == "a1").order_by(ledger.c.position))
            held = [row.sequence for row in order]
            paid = [row.indemnity for row in conn.execute(select(claims).order_by(claims.c.id))]
            asked = [(r.indicated, r.charged) for r in conn.execute(select(premiums).order_by(premiums.c.position))]
        same = rebuild(kit.db).same
        kit.close()
        return held, paid, asked, same


@LIMITS
@given(
    plan=st.lists(st.tuples(st.sampled_from(["one", "one", "batch", "rubbish"]), st.integers(0, 60)), max_size=25),
    restarts=st.sets(st.integers(0, 25), max_size=3),
)
def test_any_delivery_ends_in_the_same_ledger_and_the_same_money(
    plan: list[tuple[str, int]], restarts: set[int]
) -> None:
    held, paid, asked, same = deliver(plan, restarts)
    assert held == list(range(1, len(STORY) + 1))
    assert paid == ["200.00"], "100 s out, 60 s excess: 40 / 3600 x 7200 x 2.50"
    assert (len(asked), {charged for _, charged in asked}) == (3, {asked[0][0]})
    assert asked == reference()[2]
    assert same


@cache
def reference() -> Found:
    return deliver([], set())

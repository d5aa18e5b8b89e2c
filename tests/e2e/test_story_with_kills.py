"""The whole story over real sockets, with agent, broker and scorer each killed once in mid-story.

The oracle is a second scorer that never saw a fault: it is given the agent's own sealed records, in one go, and
must come to the same premium and the same claim, to the cent.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ullage_plant.demo.broker import Broker
from ullage_plant.demo.processes import Children
from ullage_plant.demo.screen import Screen
from ullage_plant.demo.story import Story
from ullage_plant.demo.world import AGENT, SITE, World
from ullage_protocols import envelope, topics
from ullage_protocols.event import decode_event
from ullage_protocols.mqtt import BrokerSettings, Link


@pytest.fixture
def children() -> Iterator[Children]:
    with Children() as started:
        yield started


def sealed_records(world: World) -> list[bytes]:
    with sqlite3.connect(world.folder / "scorer.db") as db:
        rows = db.execute("SELECT body FROM ledger WHERE kind = 'envelope' AND agent = ? ORDER BY sequence", (AGENT,))
        return [bytes(body) for (body,) in rows]


def outcome(world: World, policy: str) -> dict[str, Any]:
    """Everything that is money, without the ledger positions, which may differ."""
    claims = world.api.get("/api/v1/claims", site=SITE)["items"]
    premium = world.api.get("/api/v1/premiums", policy=policy, limit=500)["items"][-1]
    score = world.api.get("/api/v1/scores", policy=policy, limit=500)["items"][-1]
    return {
        "claims": [
            {key: claim[key] for key in ("id", "indemnity", "currency", "shortage", "shortage_after_waiting", "final",
                                         "outage_start", "outage_end", "standard_rate")}
            for claim in claims
        ],
        "worksheets": [world.api.get(f"/api/v1/claims/{claim['id']}")["worksheet"] for claim in claims],
        "premium": {key: premium[key] for key in ("base", "indicated", "charged", "relativity_indicated")},
        "score": {key: score[key] for key in ("score", "relativity")},
    }  # fmt: skip


def settled(world: World, story: Story) -> None:
    """The projector has seen the whole ledger: receipts come first, figures follow."""

    def done() -> bool:
        return world.healthy() and world.api.get("/healthz")["projector_lag"] == 0

    story.await_(done, 30, "the projector at the ledger's end")


def untroubled(world: World, story: Story, records: list[bytes], folder: Path, children: Children) -> dict[str, Any]:
    """What a scorer that never saw a fault makes of the same records."""
    folder.mkdir()
    other = World(folder, children, seed=0, learn="1m")
    other.broker = Broker(folder)
    other.broker.start(children)
    (folder / "agent").mkdir()
    for name in ("agent.key", "agent.key.pub"):
        found = next((world.folder / "agent").rglob(name))
        shutil.copy2(found, folder / "agent" / name)
    shutil.copy2(world.folder / "agent.toml", folder / "agent.toml")
    other.make_database()
    other.enrol()
    other.start_scorer()
    assert other.api.post("/api/v1/policies", story.terms())["id"] == story.policy
    receipts: list[bytes] = []
    link = Link(
        BrokerSettings("127.0.0.1", other.broker.port), client_id="replayer", subscribe=[topics.receipt(AGENT)],
        on_message=lambda incoming: receipts.append(incoming.payload), on_state=lambda *_: None,
    )  # fmt: skip
    link.start()
    try:
        deadline = time.monotonic() + 60
        while not link.connected and time.monotonic() < deadline:
            time.sleep(0.05)
        for record in records:
            assert link.publish(topics.up(AGENT), record)
        while time.monotonic() < deadline:
            if other.api.get(f"/api/v1/agents/{AGENT}")["sequence"] == len(records):
                break
            time.sleep(0.1)
    finally:
        link.stop()
    assert other.api.get(f"/api/v1/agents/{AGENT}")["sequence"] == len(records)
    settled(other, story)
    return outcome(other, story.policy)


@pytest.mark.e2e
def test_agent_broker_and_scorer_killed_once_each_and_the_money_is_the_same(tmp_path: Path, children: Children) -> None:
    folder = tmp_path / "world"
    folder.mkdir()
    world = World(folder, children, seed=5, learn="40s")
    world.start()
    story = Story(world, Screen())
    story.bind()
    story.normal()

    # The broker dies with everything it kept, just before the attack.
    assert world.broker.child is not None
    shutil.rmtree(folder / "broker")
    world.restart(world.broker.child, lambda: world.broker.start(children))
    story.attack()

    # The agent dies while the line stands still, and comes back to a stretch it has not seen.
    story.await_(lambda: story.truth.records("trip"), 90, "the trip")
    story.await_(lambda: world.api.get(f"/api/v1/sites/{SITE}")["state"] == "stopped", 20, "the site stopped")
    world.agent = world.restart(world.agent, world.start_agent)
    story.trip()

    # The scorer dies with a claim open.
    world.scorer = world.restart(world.scorer, world.start_scorer)
    story.recover()
    story.evidence()

    told = outcome(world, story.policy)
    assert len(told["claims"]) == 1
    assert told["claims"][0]["final"] is True

    # Nothing that was sealed is missing, doubled or out of order.
    assert world.agent.stop() == 0
    story.await_(
        lambda: world.api.get(f"/api/v1/agents/{AGENT}")["sequence"] == len(sealed_records(world)), 10, "all receipted"
    )
    records = sealed_records(world)
    events = [decode_event(envelope.unseal(record).payload) for record in records]
    assert [event.sequence for event in events] == list(range(1, len(records) + 1))
    assert len({event.bootid for event in events}) == 2

    settled(world, story)
    assert untroubled(world, story, records, tmp_path / "oracle", children) == outcome(world, story.policy)

    # The ledger alone gives the same bytes again.
    assert world.scorer.stop() == 0
    rebuilt = world.run_json("ullage-scorer", "rebuild", "--database", world.database, "--json")
    assert rebuilt["same"] is True
    assert rebuilt["before"] == rebuilt["after"]
    assert rebuilt["rows"] > 5

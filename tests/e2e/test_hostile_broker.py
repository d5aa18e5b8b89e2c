"""What a hostile network can do to a real scorer and a real agent over a real broker: nothing that is not on record."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.brokers import Box
from ullage_plant.demo.api import Api
from ullage_plant.demo.processes import Child, Children, command, free_port, wait_for
from ullage_plant.demo.world import TENANT, World
from ullage_protocols import topics
from ullage_protocols.keys import SigningKey
from ullage_protocols.mqtt import BrokerSettings, Incoming, Link
from ullage_protocols.receipt import Down, Receipt
from unit.scorer_kit import Pen, beat

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
CONFIG = """
[agent]
id = "gw-1"
state = "agent"
heartbeat = "500ms"
[broker]
host = "127.0.0.1"
port = {broker}
[scorer]
public_key = "scorer.pub"
[[device]]
name = "plc"
protocol = "modbus-tcp"
host = "127.0.0.1"
port = {nobody}
  [[device.tag]]
  name = "count"
  address = "holding:0"
  role = "count"
  line = "line-1"
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A broker and a scorer; no plant."""
    with Children() as children:
        world = World(tmp_path, children, seed=1, learn="1m")
        world.broker.start(children)
        world.make_database()
        yield world


def enrol(world: World, agent: str, public: str) -> None:
    answer = world.run_json(
        "ullage-scorer", "enrol", "--database", world.database, "--agent", agent, "--site", "site-1",
        "--tenant", TENANT, "--public-key", public, "--json",
    )  # fmt: skip
    world.scorer_key = answer["scorer_key"]


class Wire:
    """Somebody on the broker: publishes what they like, sees what is sent to agents."""

    def __init__(self, world: World, *agents: str) -> None:
        self.seen = Box()
        self.link = Link(
            BrokerSettings("127.0.0.1", world.broker.port), client_id="somebody",
            subscribe=[topics.receipt(agent) for agent in agents],
            on_message=self._message, on_state=lambda *_: None,
        )  # fmt: skip
        self.link.start()
        wait_for(lambda: self.link.connected, 20, "a connection to the broker")

    def _message(self, incoming: Incoming) -> None:
        self.seen.put(incoming)
        self.link.ack(incoming)

    def say(self, topic: str, payload: bytes) -> None:
        assert self.link.publish(topic, payload)


@pytest.fixture
def wire(world: World) -> Iterator[Wire]:
    wire = Wire(world, "gw-1")
    yield wire
    wire.link.stop()


def held(world: World, agent: str = "gw-1") -> int:
    return int(world.api.get(f"/api/v1/agents/{agent}")["sequence"])


def refused(world: World, api: Api | None = None) -> set[str]:
    return {item["code"] for item in (api or world.api).get("/api/v1/quarantine", limit=500)["items"]}


@pytest.mark.e2e
def test_the_scorer_refuses_or_puts_in_order_and_keeps_all_on_record(world: World, wire: Wire) -> None:
    ours, theirs = SigningKey.generate(), SigningKey.generate()
    enrol(world, "gw-1", ours.public.to_text())
    enrol(world, "gw-2", theirs.public.to_text())
    world.start_scorer()
    wait_for(world.healthy, 20, "the scorer at the broker")
    pen, stranger = Pen("gw-1", ours), Pen("gw-1", SigningKey.generate())
    first = [pen.write(beat(), NOW).payload for _ in range(3)]
    for payload in first:
        wire.say(topics.up("gw-1"), payload)
    wait_for(lambda: held(world) == 3, 20, "three records in the ledger")

    wire.say(topics.up("gw-1"), b"x" * 300_000)
    wire.say(topics.up("gw-1"), b'{"payload":"e30=","payloadType":"application/cloudevents+json","signatures":[]}')
    wire.say(topics.up("gw-1"), stranger.write(beat(), NOW).payload)
    wire.say(topics.up("gw-2"), first[0])
    wire.say(topics.up("nobody"), first[0])
    wire.say(topics.up("gw-1"), first[1].replace(b"e", b"f", 1))
    twin = Pen("gw-1", ours, 1, pen.head)
    wire.say(topics.up("gw-1"), twin.write(beat(), NOW).payload)
    ours_alone = {"size", "form", "signer", "signature", "fork"}
    wait_for(lambda: ours_alone <= refused(world), 20, f"all of {ours_alone} on record")
    # What came from nobody's agent is no tenant's business; the operator of the scorer sees it.
    assert refused(world) == ours_alone
    operator = world.run_json(
        "ullage-scorer", "key", "--database", world.database, "--tenant", "*", "--role", "admin", "--json"
    )
    assert refused(world, Api(world.address, operator["token"])) == ours_alone | {"stranger"}
    assert held(world) == 3, "nothing of it entered the ledger"

    # Replayed: answered with a receipt, and nothing else happens. Out of order: put in order.
    before = len(wire.seen.items)
    wire.say(topics.up("gw-1"), first[1])
    assert wire.seen.wait(lambda seen: len(seen) > before), "a replayed record is answered with a fresh receipt"
    late = [pen.write(beat(), NOW).payload for _ in range(3)]
    for payload in (late[2], late[1], late[0]):
        wire.say(topics.up("gw-1"), payload)
    wait_for(lambda: held(world) == 6, 20, "the records that came in the wrong order")
    events = world.api.get("/api/v1/events", agent="gw-1", limit=100)["items"]
    assert [event["sequence"] for event in events] == [1, 2, 3, 4, 5, 6]
    assert world.api.get("/api/v1/agents/gw-1")["state"] == "forked", "two histories were seen, and are not forgotten"
    assert held(world, "gw-2") == 0


def start_agent(world: World) -> Child:
    child = world.children.start("agent", [*command("ullage-agent"), "run", "--config", "agent.toml"], cwd=world.folder)
    child.line(30)
    return child


def make_agent(world: World) -> None:
    (world.folder / "agent.toml").write_text(CONFIG.format(broker=world.broker.port, nobody=free_port()))
    (world.folder / "scorer.pub").touch()
    enrol(world, "gw-1", world.run_json("ullage-agent", "key", "--config", "agent.toml", "--json")["key"])
    (world.folder / "scorer.pub").write_text(world.scorer_key + "\n")


def outbox(world: World) -> list[int]:
    with sqlite3.connect(world.folder / "agent" / "outbox.db") as db:
        return [row[0] for row in db.execute("SELECT sequence FROM record ORDER BY sequence")]


def until(probe: Callable[[], bool], what: str) -> None:
    wait_for(probe, 30, what)


@pytest.mark.e2e
def test_an_agent_forgets_nothing_on_a_forged_word(world: World, wire: Wire) -> None:
    make_agent(world)
    agent = start_agent(world)
    until(lambda: len(outbox(world)) >= 3, "records waiting, for there is no scorer yet")
    forger = SigningKey.generate()
    receipt = Receipt("gw-1", 2, "0" * 64, 2, "", datetime.now(UTC))
    wire.say(topics.receipt("gw-1"), receipt.seal(forger))
    wire.say(topics.receipt("gw-1"), b"\xff" * 1000)
    wire.say(topics.down("gw-1"), Down("gw-1", "resend", 1, datetime.now(UTC)).seal(forger))
    known = len(outbox(world))
    until(lambda: len(outbox(world)) >= known + 3, "the agent going on")
    assert outbox(world)[0] == 1, "a forged receipt frees nothing"
    world.start_scorer()
    until(lambda: held(world) >= known, "everything receipted by the true scorer")
    events = world.api.get("/api/v1/events", agent="gw-1", limit=500)["items"]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    until(lambda: 1 not in outbox(world), "the true receipt freeing the outbox")
    assert "Traceback" not in agent.log.read_text()
    assert agent.stop() == 0


@pytest.mark.e2e
def test_a_gateway_restored_from_a_snapshot_is_seen_as_a_fork(world: World) -> None:
    make_agent(world)
    world.start_scorer()
    agent = start_agent(world)
    until(lambda: held(world) >= 3, "three records receipted")
    assert agent.stop() == 0
    shutil.copytree(world.folder / "agent", world.folder / "snapshot")
    agent = start_agent(world)
    before = held(world)
    until(lambda: held(world) >= before + 4, "more records receipted")
    assert agent.stop() == 0
    shutil.rmtree(world.folder / "agent")
    shutil.copytree(world.folder / "snapshot", world.folder / "agent")
    kept = held(world)
    agent = start_agent(world)  # its log goes on in the same file
    until(lambda: world.api.get("/api/v1/agents/gw-1")["state"] == "forked", "the fork on record")
    assert "fork" in refused(world)
    assert held(world) == kept, "the second history did not enter the ledger"
    said = ("restored or copied", "names another record")
    until(lambda: any(text in agent.log.read_text() for text in said), "the agent saying so")
    assert agent.stop() == 0

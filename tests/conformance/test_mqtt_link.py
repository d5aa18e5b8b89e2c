"""The link against two brokers that nobody here wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.brokers import Authority, Box, Mosquitto
from ullage_plant.demo.broker import Broker
from ullage_plant.demo.processes import Children, free_port
from ullage_protocols import topics
from ullage_protocols.mqtt import BrokerSettings, Incoming, Link


@pytest.fixture
def children() -> Iterator[Children]:
    with Children() as started:
        yield started


class Peer:
    def __init__(self, settings: BrokerSettings, name: str, subscribe: list[str], *, acks: bool = True) -> None:
        self.messages, self.states = Box(), Box()
        self.link = Link(
            settings, client_id=name, subscribe=subscribe, on_message=self._message,
            on_state=lambda up, text: self.states.put((up, text)),
        )  # fmt: skip
        self._acks = acks
        self.link.start()

    def _message(self, incoming: Incoming) -> None:
        self.messages.put(incoming)
        if self._acks:
            self.link.ack(incoming)

    def connected(self) -> bool:
        return self.states.wait(lambda s: any(up for up, _ in s))  # type: ignore[misc]

    def payloads(self) -> list[bytes]:
        return [m.payload for m in self.messages.items]  # type: ignore[attr-defined]


@pytest.mark.parametrize("broker_kind", ["nats", "mosquitto"])
def test_a_message_travels_and_the_link_survives_a_killed_broker(
    broker_kind: str, tmp_path: Path, children: Children
) -> None:
    broker = Broker(tmp_path) if broker_kind == "nats" else Mosquitto(tmp_path)
    child = broker.start(children)
    settings = BrokerSettings("127.0.0.1", broker.port)
    scorer = Peer(settings, "scorer", [topics.UP_OF_ALL])
    agent = Peer(settings, "gw", [topics.receipt("gw")])
    try:
        assert scorer.connected()
        assert agent.connected()
        for n in range(300):
            assert agent.link.publish(topics.up("gw"), b"%d" % n)
        assert scorer.messages.wait(lambda m: len(m) >= 300)
        assert scorer.payloads() == [b"%d" % n for n in range(300)]

        child.kill()
        assert agent.states.wait(lambda s: s[-1][0] is False)  # type: ignore[index]
        assert not agent.link.publish(topics.up("gw"), b"while down")
        broker.start(children)
        assert agent.states.wait(lambda s: s[-1][0] is True, 20)  # type: ignore[index]
        assert scorer.states.wait(lambda s: s[-1][0] is True, 20)  # type: ignore[index]
        assert agent.link.publish(topics.up("gw"), b"again")
        assert scorer.messages.wait(lambda m: m[-1].payload == b"again")  # type: ignore[attr-defined]
    finally:
        agent.link.stop()
        scorer.link.stop()


def test_client_certificates_and_the_access_list_keep_agents_apart(tmp_path: Path, children: Children) -> None:
    authority = Authority(tmp_path)
    broker = Mosquitto(tmp_path, tls=authority)
    broker.start(children)

    def settings(name: str) -> BrokerSettings:
        certificate, key = authority.issue(tmp_path, name)
        return BrokerSettings("127.0.0.1", broker.port, ca=authority.ca, certificate=certificate, key=key)

    scorer = Peer(settings("scorer"), "scorer", [topics.UP_OF_ALL])
    agent = Peer(settings("gw-1"), "gw-1", [topics.receipt("gw-1"), topics.down("gw-1")])
    try:
        assert scorer.connected()
        assert agent.connected()
        agent.link.publish(topics.up("gw-2"), b"as another")
        # This mosquitto also hangs up on who was denied, so the own topic is tried until it comes through.
        for _ in range(40):
            agent.link.publish(topics.up("gw-1"), b"as itself")
            if scorer.messages.wait(lambda m: bool(m), 0.25):
                break
        assert set(scorer.payloads()) == {b"as itself"}
    finally:
        agent.link.stop()
        scorer.link.stop()


def test_without_a_client_certificate_nothing_connects_and_the_reason_is_told(
    tmp_path: Path, children: Children
) -> None:
    authority = Authority(tmp_path)
    broker = Mosquitto(tmp_path, tls=authority)
    broker.start(children)
    peer = Peer(BrokerSettings("127.0.0.1", broker.port, ca=authority.ca), "gw", [])
    try:
        assert peer.states.wait(lambda s: bool(s))
        assert not peer.link.connected
        assert "broker" in peer.states.items[0][1]  # type: ignore[index]
    finally:
        peer.link.stop()


def test_an_unacknowledged_message_comes_again_on_the_next_connection(tmp_path: Path, children: Children) -> None:
    broker = Mosquitto(tmp_path)
    broker.start(children)
    settings = BrokerSettings("127.0.0.1", broker.port)
    agent = Peer(settings, "gw", [topics.receipt("gw")])
    deaf = Peer(settings, "scorer", [topics.UP_OF_ALL], acks=False)
    try:
        assert deaf.connected()
        assert agent.connected()
        agent.link.publish(topics.up("gw"), b"once")
        assert deaf.messages.wait(lambda m: bool(m))
        # Acknowledging after the connection that brought it is gone must do nothing, not raise.
        deaf.link.stop()
        deaf.link.ack(deaf.messages.items[0])  # type: ignore[arg-type]
        assert not deaf.link.connected
    finally:
        agent.link.stop()
        deaf.link.stop()


def test_an_absent_broker_is_told_in_a_sentence_and_stop_returns() -> None:
    port = free_port()
    peer = Peer(BrokerSettings("127.0.0.1", port), "gw", [])
    assert peer.states.wait(lambda s: bool(s))
    assert f"127.0.0.1:{port} cannot be reached" in peer.states.items[0][1]  # type: ignore[index]
    peer.link.stop()
    assert not peer.link.connected


def test_settings_tell_every_fault(tmp_path: Path) -> None:
    settings = BrokerSettings("h", 0, protocol="4", certificate=tmp_path / "no.pem")
    assert len(settings.faults()) == 5
    assert BrokerSettings("h", password="secret", username="u").faults() == []
    assert "secret" not in repr(BrokerSettings("h", password="secret"))

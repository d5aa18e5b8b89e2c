"""Last of all: what the referee heard our side ask during this run, and that it does hear a write when there is one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from asyncua import ua
from asyncua.client.client import Client
from peers.kit import Peers, output_of
from peers.pki import self_signed
from peers.referee import Heard, Referee, _opcua

READS = {"1", "2", "3", "4", "43/14"}
SERVICES = {
    "FindServers": 422,
    "GetEndpoints": 428,
    "CreateSession": 461,
    "ActivateSession": 467,
    "CloseSession": 473,
    "Cancel": 479,
    "Browse": 527,
    "BrowseNext": 533,
    "TranslateBrowsePathsToNodeIds": 554,
    "Read": 631,
    "CreateMonitoredItems": 751,
    "ModifyMonitoredItems": 763,
    "SetMonitoringMode": 769,
    "DeleteMonitoredItems": 781,
    "CreateSubscription": 787,
    "ModifySubscription": 793,
    "SetPublishingMode": 799,
    "Publish": 826,
    "Republish": 832,
    "DeleteSubscriptions": 847,
}
"""What neither writes nor calls, by the node id of its request's binary encoding (OPC UA Part 6, annex A)."""
CHANNEL = {"HEL", "OPN", "CLO"}
WRITE = "MSG 673"


@pytest.fixture(scope="module")
def stopped(referee: Referee, peers: Peers, tmp_path_factory: pytest.TempPathFactory) -> Referee:
    """The referee after somebody else wrote a register and a node, under its eyes."""
    if referee.refused:
        pytest.skip(referee.refused)
    modbus = referee.speaks(peers.serve("pymodbustcp", "pymodbustcp.py", "200"), "mbtcp")
    door = peers.from_others(modbus)
    output_of("mbpoll", "-m", "tcp", "-p", door, "-a", 1, "-0", "-r", 7, "-t", "4", "-q", "127.0.0.1", 55)
    folder = tmp_path_factory.mktemp("planted")
    station = referee.speaks(_station(peers, folder), "opcua")
    asyncio.run(_write(peers.from_others(station)))
    referee.stop()
    return referee


def _station(peers: Peers, folder: Path) -> int:
    self_signed(folder, "server", "urn:peers:node-opcua")
    client = self_signed(folder, "client", "urn:peers:other")
    return peers.node("node_opcua.js", str(folder), str(client.der), "small")


async def _write(port: int) -> None:
    async with asyncio.timeout(20), Client(f"opc.tcp://127.0.0.1:{port}") as theirs:
        value = ua.DataValue(ua.Variant(2.5, ua.VariantType.Double))
        await theirs.get_node("ns=1;s=double").write_value(value)


@pytest.fixture(scope="module", params=["mbtcp", "mbrtu", "opcua"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def heard(stopped: Referee, protocol: str) -> Heard:
    return stopped.heard(protocol)


def test_nothing_was_missed(stopped: Referee) -> None:
    assert stopped.dropped == 0


def test_our_side_asked_nothing_but_reads(heard: Heard, protocol: str, capsys: pytest.CaptureFixture[str]) -> None:
    """OPC UA that is encrypted is counted as such: only its two ends can read it."""
    with capsys.disabled():
        print(f"\n{protocol}: {sum(heard.ours.values())} requests of ours: {dict(heard.ours.most_common())}")
    allowed = READS
    if protocol == "opcua":
        allowed = CHANNEL | {f"MSG {number}" for number in SERVICES.values()} | {"MSG encrypted"}
    assert set(heard.ours) <= allowed


def test_every_byte_towards_a_peer_was_understood(heard: Heard, protocol: str) -> None:
    """Only OPC UA messages may span packets, whose first ones the dissector does not name."""
    assert protocol == "opcua" or not heard.foreign


def test_every_peer_was_asked_something(stopped: Referee, heard: Heard, protocol: str) -> None:
    """Of the planted peers, the last of each kind, nothing is asked by us."""
    asked = [heard.ports[port] > 0 for port in stopped.ports(protocol)]
    assert asked.count(False) == (0 if protocol == "mbrtu" else 1)


def test_somebody_elses_write_is_heard(stopped: Referee) -> None:
    assert stopped.heard("mbtcp").others["6"] == 1
    assert stopped.heard("opcua").others[WRITE] == 1


def test_chance_in_encrypted_bytes_is_no_service_and_a_clear_number_is_always_one() -> None:
    secured: set[str] = set()
    assert _opcua("OPN", "446", "7", "http://opcfoundation.org/UA/SecurityPolicy#Basic256Sha256", secured) == ["OPN"]
    assert _opcua("MSG", "49881", "7", "", secured) == ["MSG encrypted"]
    assert _opcua("MSG", "673", "7", "", secured) == ["MSG 673"], "what the standard knows is believed even there"
    assert _opcua("OPN", "446", "8", "http://opcfoundation.org/UA/SecurityPolicy#None", secured) == ["OPN"]
    assert _opcua("MSG", "49881", "8", "", secured) == ["MSG 49881"], "in the clear nothing is chance"

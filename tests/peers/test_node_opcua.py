"""node-opcua: every policy our client knows, users, limits, qualities, types."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from asyncua.client.client import Client
from asyncua.ua.uaerrors import UaStatusCodeError
from peers.kit import Peers
from peers.pki import Pair, self_signed
from peers.reading import connected, identity, read, values
from peers.referee import Referee
from ullage_protocols.field.base import FieldError
from ullage_protocols.field.opcua.spec import Mode, OpcuaDevice, OpcuaSecurity, OpcuaTag, Policy
from ullage_protocols.sample import Quality

THEN = datetime(2026, 1, 1, tzinfo=UTC)
TIMEOUT = 8.0


@dataclass
class Station:
    """The server's port, its certificate, ours that it trusts, and one that it does not."""

    port: int
    server: Pair
    client: Pair
    stranger: Pair

    def device(self, *names: str, **more: Any) -> OpcuaDevice:
        """The nodes of the server's own namespace that are called ``names``."""
        tags = tuple(OpcuaTag(name, f"ns=1;s={name}") for name in names)
        return OpcuaDevice("station", f"opc.tcp://127.0.0.1:{self.port}", timeout=TIMEOUT, tags=tags, **more)

    def security(self, policy: Policy, mode: Mode, client: Pair | None = None, server: Pair | None = None) -> Any:
        ours, theirs = client or self.client, server or self.server
        return OpcuaSecurity(policy, mode, ours.der, ours.key, theirs.der)


@pytest.fixture(scope="module")
def station(peers: Peers, referee: Referee, tmp_path_factory: pytest.TempPathFactory) -> Station:
    folder = tmp_path_factory.mktemp("node-opcua")
    server = self_signed(folder, "server", "urn:peers:node-opcua")
    client, stranger = (self_signed(folder, name, "urn:ullage:agent") for name in ("client", "stranger"))
    port = peers.node("node_opcua.js", str(folder), str(client.der))
    return Station(referee.speaks(port, "opcua"), server, client, stranger)


def refused(device: OpcuaDevice) -> str:
    """Why the connection did not come about; nothing else may happen, and soon."""

    async def scene() -> str:
        async with asyncio.timeout(TIMEOUT + 2):
            with pytest.raises(FieldError) as caught:
                async with connected(device) as client:
                    await client.read()
            return str(caught.value)

    return asyncio.run(scene())


def test_every_number_type_and_text(station: Station) -> None:
    wanted: dict[str, object] = {
        "bool": True,
        "sbyte": -100,
        "byte": 200,
        "int16": -30000,
        "uint16": 60000,
        "int32": -2_000_000_000,
        "uint32": 4_000_000_000,
        "int64": -(2**63) + 1,
        "uint64": 2**64 - 2,
        "float": 21.5,
        "double": -1234.5678,
        "string": "füller 7 ✓",
    }
    found = read(station.device(*wanted))
    assert values(found) == list(wanted.values())
    assert [type(value) for value in values(found)] == [type(value) for value in wanted.values()]
    assert {sample.quality for sample in found} == {Quality.GOOD}


def test_what_is_no_number_is_bad_with_its_reason(station: Station) -> None:
    found = read(station.device("nan", "infinite", "array", "nowhere", "double"))
    assert values(found) == [None, None, None, None, -1234.5678]
    assert all(sample.reason for sample in found[:4])
    assert "BadNodeIdUnknown" in found[3].reason


def test_bad_and_uncertain_quality_with_the_devices_own_time(station: Station) -> None:
    good, stale, uncertain, broken, unreachable = read(
        station.device("good", "stale", "uncertain", "broken", "unreachable")
    )
    assert (good.value, good.quality, good.reason, good.source_time) == (1.5, Quality.GOOD, "", THEN)
    for sample, value, status in (
        (stale, 2.5, "UncertainLastUsableValue"),
        (uncertain, 3.5, "UncertainEngineeringUnitsExceeded"),
    ):
        assert (sample.value, sample.quality, sample.source_time) == (value, Quality.UNCERTAIN, THEN)
        assert status in sample.reason
    for sample, status in ((broken, "BadSensorFailure"), (unreachable, "BadNoCommunication")):
        assert (sample.value, sample.quality) == (None, Quality.BAD)
        assert status in sample.reason


def test_a_node_that_nobody_may_read_is_bad_and_costs_only_itself(station: Station) -> None:
    secret, double = read(station.device("secret", "double"))
    assert (secret.value, secret.quality, double.value) == (None, Quality.BAD, -1234.5678)
    assert "Bad" in secret.reason


def test_more_nodes_than_the_server_takes_at_once(station: Station) -> None:
    """2,500 nodes; MaxNodesPerRead is 1,000 and 1,001 would be refused."""
    found = read(station.device(*(f"n{at}" for at in range(2500))), times=2)
    assert values(found) == [at * 0.5 for at in range(2500)]
    assert {sample.quality for sample in found} == {Quality.GOOD}


def test_the_server_does_refuse_more_than_it_says(station: Station, peers: Peers) -> None:
    """The bound of the test above is real: somebody else's client asks for 1,001 nodes and is refused."""

    async def scene() -> None:
        async with asyncio.timeout(20), Client(f"opc.tcp://127.0.0.1:{peers.from_others(station.port)}") as theirs:
            nodes = [theirs.get_node(f"ns=1;s=n{at}") for at in range(1001)]
            assert len(await theirs.read_values(nodes[:1000])) == 1000
            with pytest.raises(UaStatusCodeError, match=r"BadTooManyOperations|too many operations"):
                await theirs.read_values(nodes)

    asyncio.run(scene())


@pytest.mark.parametrize("mode", get_args(Mode))
@pytest.mark.parametrize("policy", get_args(Policy))
def test_every_policy_and_mode(station: Station, policy: Policy, mode: Mode) -> None:
    names = ("double", "string", *(f"n{at}" for at in range(1500)))
    found = read(station.device(*names, security=station.security(policy, mode)), times=2)
    assert values(found) == [-1234.5678, "füller 7 ✓", *(at * 0.5 for at in range(1500))]


@pytest.mark.parametrize("policy", [None, *get_args(Policy)])
def test_a_user_logs_in_with_the_right_password_only(station: Station, policy: Policy | None) -> None:
    security = station.security(policy, "SignAndEncrypt") if policy else None
    right = station.device("double", security=security, user="reader", password="correct horse")
    if policy:
        assert values(read(right)) == [-1234.5678]
    else:
        with_password = replace(right, password="wrong horse")
        assert refused(with_password)
        return
    for wrong in (replace(right, password="wrong horse"), replace(right, user="nobody")):
        said = refused(wrong)
        assert "horse" not in said


def test_a_client_that_the_server_does_not_trust_is_refused(station: Station) -> None:
    security = station.security("Basic256Sha256", "SignAndEncrypt", client=station.stranger)
    assert refused(station.device("double", security=security))


def test_a_server_with_another_certificate_is_refused(station: Station) -> None:
    security = station.security("Basic256Sha256", "SignAndEncrypt", server=station.stranger)
    assert refused(station.device("double", security=security))


def test_who_it_is_and_which_ways_in_it_offers(station: Station) -> None:
    who = identity(station.device("double"))
    assert (who.vendor, who.product, who.firmware) == ("Acme", "Peer 7", "7.2.1")
    offered = {(endpoint.policy.rsplit("#")[-1], endpoint.mode) for endpoint in who.endpoints}
    assert len(offered) == 7
    assert ("None", "None") in {(policy, mode.rstrip("_")) for policy, mode in offered}


def test_a_moving_value_moves(station: Station) -> None:
    async def scene() -> None:
        async with asyncio.timeout(15), connected(station.device("counter")) as client:
            seen = []
            for _ in range(5):
                (sample,) = await client.read()
                seen.append((sample.value, sample.source_time))
                await asyncio.sleep(0.35)
            counts = [count for count, _ in seen]
            assert counts == sorted(counts)
            assert all(1 <= later - earlier <= 20 for earlier, later in itertools.pairwise(counts))
            assert all(earlier < later for (_, earlier), (_, later) in itertools.pairwise(seen))

    asyncio.run(scene())

"""node-opcua: every policy our client knows, users, limits, qualities, types."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from asyncua.client.client import Client
from asyncua.ua.uaerrors import UaStatusCodeError
from peers.kit import Peers
from peers.pki import Pair, self_signed
from peers.reading import connected, identity, read, values
from peers.referee import Referee
from ullage_protocols.field.base import FieldError
from ullage_protocols.field.opcua.spec import Mode, OpcuaDevice, OpcuaSecurity, OpcuaSubscription, OpcuaTag, Policy
from ullage_protocols.sample import Quality, Sample

THEN = datetime(2026, 1, 1, tzinfo=UTC)
TIMEOUT = 8.0

FAST = OpcuaSubscription(publishing=0.2, keepalive=1.0)


@dataclass
class Station:
    """The server's port, its certificate, ours that it trusts, and one that it does not."""

    port: int
    server: Pair
    client: Pair
    stranger: Pair

    def device(self, *names: str, **more: Any) -> OpcuaDevice:
        """The nodes of the server's own namespace that are called ``names``."""
        tags = tuple(OpcuaTag(name, f"ns=1;s={name}") for name in names or ("double",))
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
    assert (who.vendor, who.product) == ("Acme", "Peer 7")
    assert who.firmware.startswith("7.2.1")
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


def test_machine_by_the_names_of_its_companion_specifications(station: Station) -> None:
    """Machinery and PackML, found by browse path: what a person can write down without knowing a node id."""
    machine = "/Objects/4:Machines/1:Filler"
    wanted = {
        f"{machine}/2:Identification/2:SerialNumber": "S-7",
        f"{machine}/2:Identification/2:SoftwareRevision": "7.2.1",
        f"{machine}/2:Identification/2:Manufacturer": "Acme",
        f"{machine}/1:PackMLObjects/5:Status/5:CurMachSpeed": 11.5,
        f"{machine}/1:PackMLObjects/5:Status/5:MachSpeed": 12.5,
        f"{machine}/1:PackMLObjects/5:Status/5:EquipmentStarved": True,
        f"{machine}/1:PackMLObjects/5:Status/5:UnitModeCurrent": 1,
        f"{machine}/1:PackMLObjects/5:BaseStateMachine/CurrentState": "Execute",
    }
    tags = tuple(OpcuaTag(path.rsplit(":")[-1], path=path) for path in wanted)
    tags += (OpcuaTag("nowhere", path=f"{machine}/1:Nothing"),)
    *found, nowhere = read(replace(station.device(), tags=tags))
    assert values(found) == list(wanted.values())
    assert (nowhere.value, nowhere.quality) == (None, Quality.BAD)
    assert "BadNoMatch" in nowhere.reason


def test_a_namespace_is_found_by_its_name(station: Station) -> None:
    tags = (OpcuaTag("level", "nsu=urn:peers:node-opcua;s=double"), OpcuaTag("gone", "nsu=urn:nobody;s=double"))
    level, gone = read(replace(station.device(), tags=tags))
    assert (level.value, gone.value, gone.quality) == (-1234.5678, None, Quality.BAD)


def subscribed(device: OpcuaDevice, act: Callable[[Any], Awaitable[Any]]) -> Any:
    async def scene() -> Any:
        async with asyncio.timeout(40), connected(replace(device, subscription=FAST)) as client:
            return await act(client)

    return asyncio.run(scene())


async def reports(client: Any, seconds: float) -> list[Sample]:
    """Everything that is reported for ``seconds``."""
    loop, found = asyncio.get_running_loop(), []
    end = loop.time() + seconds
    while loop.time() < end:
        found += list(await client.changes())
    return found


def test_the_first_report_holds_every_tag_and_the_next_only_what_changed(station: Station) -> None:
    names = ["double", "string", "good", "stale", "broken", "counter", "nowhere"]

    async def act(client: Any) -> None:
        first = {sample.tag: sample for sample in await client.changes()}
        assert set(first) == set(names)
        assert (first["double"].value, first["string"].value, first["good"].value) == (-1234.5678, "füller 7 ✓", 1.5)
        assert (first["stale"].value, first["stale"].quality) == (2.5, Quality.UNCERTAIN)
        assert [first[name].quality for name in ("broken", "nowhere")] == [Quality.BAD] * 2
        assert "BadNodeIdUnknown" in first["nowhere"].reason
        later = await reports(client, 2)
        assert {sample.tag for sample in later} == {"counter"}

    subscribed(station.device(*names), act)


def test_no_look_between_two_reports_is_lost(station: Station) -> None:
    """The counter moves every 100 ms, is looked at every 50 and reported every 200: each number comes, in order.

    The first report may hold it twice: as it was read, and as the subscription first saw it.
    """
    device = station.device()
    tags = (OpcuaTag("counter", "ns=1;s=counter", sampling=0.05, queue=20),)

    async def act(client: Any) -> list[Any]:
        return [sample.value for sample in await reports(client, 4)]

    counts = subscribed(replace(device, tags=tags), act)
    assert len(counts) >= 20
    counts = counts[1:] if counts[0] == counts[1] else counts
    assert counts == list(range(counts[0], counts[0] + len(counts)))


def test_a_change_of_quality_is_reported_though_the_value_stays(station: Station) -> None:
    async def act(client: Any) -> list[Sample]:
        return await reports(client, 4)

    found = subscribed(station.device("flipping"), act)
    qualities = [sample.quality for sample in found]
    assert {Quality.GOOD, Quality.BAD} == set(qualities)
    assert all(sample.value == (7.5 if sample.quality is Quality.GOOD else None) for sample in found)


def test_a_quiet_subscription_proves_that_it_lives(station: Station) -> None:
    """Nothing changes for three keepalives: empty reports come, and no error."""

    async def act(client: Any) -> None:
        assert {sample.value for sample in await client.changes()} == {-1234.5678}
        empty = [await client.changes() for _ in range(2)]
        assert [len(scan) for scan in empty] == [0, 0]

    subscribed(station.device("double"), act)


def test_a_subscription_under_encryption(station: Station) -> None:
    async def act(client: Any) -> list[Any]:
        return [sample.value for sample in await reports(client, 2)]

    counts = subscribed(station.device("counter", security=station.security("Basic256Sha256", "SignAndEncrypt")), act)
    assert len(set(counts)) >= 5
    assert counts == sorted(counts)


@pytest.mark.parametrize("fate", ["killed", "frozen"])
def test_a_lost_server_is_told_and_after_its_return_everything_is_reported_anew(
    peers: Peers, referee: Referee, station: Station, tmp_path: Path, fate: str
) -> None:
    self_signed(tmp_path, "server", "urn:peers:node-opcua")
    arguments = ("node_opcua.js", str(tmp_path), str(station.client.der), "small")
    port = referee.speaks(peers.node(*arguments), "opcua")
    device = replace(station.device("double", "counter"), url=f"opc.tcp://127.0.0.1:{port}", timeout=2.0)

    async def act(client: Any) -> None:
        loop = asyncio.get_running_loop()
        assert {sample.tag for sample in await client.changes()} == {"double", "counter"}
        assert await reports(client, 1)
        assert peers.last is not None
        peers.last.send_signal(signal.SIGKILL if fate == "killed" else signal.SIGSTOP)
        before = loop.time()
        with pytest.raises(FieldError, match="station"):
            await reports(client, 30)
        assert loop.time() - before < (2 if fate == "killed" else 12)
        with pytest.raises(FieldError):
            await client.connect()
        if fate == "killed":
            peers.last.wait(5)
            await asyncio.to_thread(peers.node, *arguments, port=port)
        else:
            peers.last.send_signal(signal.SIGCONT)
        await client.connect()
        assert {sample.tag for sample in await client.changes()} == {"double", "counter"}
        later = [sample.value for sample in await reports(client, 2) if sample.tag == "counter"]
        assert len(set(later)) >= 5
        assert later == sorted(later)

    subscribed(device, act)

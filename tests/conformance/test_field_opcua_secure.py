"""Certificates, logins, identity and browsing, against asyncua's server with every policy and mode."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from asyncua import Server, ua
from asyncua.crypto.permission_rules import SimpleRoleRuleset, User, UserRole
from asyncua.server.user_managers import UserManager
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from ullage_agent.config.read import read
from ullage_agent.errors import AgentError
from ullage_agent.trust import own, own_files, trust
from ullage_protocols.field.base import FieldError
from ullage_protocols.field.errors import HostileError
from ullage_protocols.field.opcua.browse import fetch_certificate, survey
from ullage_protocols.field.opcua.client import OpcuaClient
from ullage_protocols.field.opcua.spec import Mode, OpcuaDevice, OpcuaSecurity, OpcuaTag, Policy

PACKML = "http://opcfoundation.org/UA/PackML/"
URI = "urn:test:plant"


def make(folder: Path, name: str, *, bits: int = 2048, days: int = 30) -> tuple[Path, Path]:
    """A self-signed certificate (DER) and its key."""
    key = rsa.generate_private_key(65537, bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"urn:test:{name}")]), False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.der", folder / f"{name}.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.DER))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


class Users(UserManager):
    """For a login that is neither, asyncua gives the certificate of the channel in place of the user's."""

    def __init__(self) -> None:
        self.banned: set[bytes] = set()
        self.seen: list[tuple[str | None, str | None]] = []

    def get_user(
        self, iserver: Any, username: str | None = None, password: str | None = None, certificate: Any = None
    ) -> User | None:
        self.seen.append((username, password))
        good = (username, password) == ("reader", "sécret") if username is not None else certificate not in self.banned
        return User(role=UserRole.User) if good else None


@dataclass
class Plant:
    url: str
    folder: Path
    certificate: Path
    own: tuple[Path, Path]
    users: Users


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)
    folder = tmp_path_factory.mktemp("plant")
    certificate, key = make(folder, "server")
    own_pair = make(folder, "agent")
    users = Users()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def do(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    async def start() -> Server:
        server = Server(user_manager=users)
        await server.init()
        await server.set_application_uri("urn:test:server")
        server.set_endpoint("opc.tcp://127.0.0.1:0/plant")
        # Anybody may read; that nobody writes is not for the server to see to.
        strong = [kind for kind in ua.SecurityPolicyType if "Sha256" in kind.name or kind.name == "NoSecurity"]
        server.set_security_policy(strong, permission_ruleset=SimpleRoleRuleset())
        server.set_identity_tokens([ua.AnonymousIdentityToken, ua.UserNameIdentityToken, ua.X509IdentityToken])
        await server.load_certificate(str(certificate))
        await server.load_private_key(str(key))
        await server.set_build_info("urn:product", "Maker", "Filler", "4.2", "77", datetime(2026, 1, 1))  # noqa: DTZ001
        index = await server.register_namespace(URI)
        pack = await server.register_namespace(PACKML)
        machine = await server.nodes.objects.add_object(index, "Machine")
        await machine.add_variable(ua.NodeId("level", index), f"{index}:Level", 1.5)
        await machine.add_variable(ua.NodeId("odd", index), f"{index}:a/b&c", "text")
        status = await machine.add_object(ua.NodeId("status", pack), f"{pack}:Status")
        await status.add_variable(ua.NodeId("state", pack), f"{pack}:StateCurrent", 6, ua.VariantType.Int32)
        # A circle of references, as companion models have them.
        await status.add_reference(machine, ua.ObjectIds.Organizes)
        await server.start()
        return server

    server = do(start())
    port = server.bserver._server.sockets[0].getsockname()[1]
    yield Plant(f"opc.tcp://127.0.0.1:{port}/plant", folder, certificate, own_pair, users)
    do(server.stop())
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


LEVEL = OpcuaTag("level", f"nsu={URI};s=level")


def device_of(plant: Plant, *tags: OpcuaTag, **more: Any) -> OpcuaDevice:
    return OpcuaDevice("tank", plant.url, timeout=10.0, tags=tags or (LEVEL,), **more)


def security_of(plant: Plant, policy: Policy = "Basic256Sha256", mode: Mode = "SignAndEncrypt") -> OpcuaSecurity:
    return OpcuaSecurity(policy, mode, *plant.own, plant.certificate)


def using(device: OpcuaDevice, act: Callable[[OpcuaClient], Coroutine[Any, Any, Any]]) -> Any:
    async def scene() -> Any:
        client = OpcuaClient(device, lambda: datetime.now(UTC))
        await client.connect()
        try:
            return await act(client)
        finally:
            await client.close()

    return asyncio.run(scene())


async def value(client: OpcuaClient) -> object:
    return (await client.read())[0].value


def refused(device: OpcuaDevice) -> FieldError:
    with pytest.raises(FieldError) as caught:
        using(device, value)
    return caught.value


# --- policies and certificates -----------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", get_args(Policy))
@pytest.mark.parametrize("mode", get_args(Mode))
def test_every_policy_in_both_modes(plant: Plant, policy: Policy, mode: Mode) -> None:
    assert using(device_of(plant, security=security_of(plant, policy, mode)), value) == 1.5


@pytest.mark.parametrize("policy", ["Basic256Sha256", "Aes256Sha256RsaPss"])
def test_a_key_of_4096_bits_pads_otherwise(plant: Plant, tmp_path: Path, policy: Policy) -> None:
    pair = make(tmp_path, "large", bits=4096)
    security = replace(security_of(plant, policy), certificate=pair[0], key=pair[1])
    assert using(device_of(plant, security=security), value) == 1.5


def test_another_server_certificate_than_the_trusted_one_is_refused(plant: Plant, tmp_path: Path) -> None:
    other, _ = make(tmp_path, "other")
    # asyncua's server cannot open what was sealed for another, so it hangs up: nothing was said to it.
    refused(device_of(plant, security=replace(security_of(plant), server_certificate=other)))


def test_an_expired_certificate_is_refused_with_what_to_do(plant: Plant, tmp_path: Path) -> None:
    old, key = make(tmp_path, "old", days=-1)
    error = refused(device_of(plant, security=replace(security_of(plant), server_certificate=old)))
    assert "expired on" in str(error)
    assert "trust the new one" in str(error)
    error = refused(device_of(plant, security=replace(security_of(plant), certificate=old, key=key)))
    assert "the agent's own certificate expired" in str(error)


def test_files_that_do_not_do_are_told(plant: Plant, tmp_path: Path) -> None:
    good = security_of(plant)
    _, other_key = make(tmp_path, "stranger")
    weak = make(tmp_path, "weak", bits=1024)
    junk = tmp_path / "junk"
    junk.write_bytes(b"junk")
    for faulty, word in (
        (replace(good, server_certificate=tmp_path / "none.der"), "ullage-agent trust"),
        (replace(good, server_certificate=junk), "no certificate that can be read"),
        (replace(good, key=other_key), "does not belong to certificate"),
        (replace(good, key=junk), "is no private key"),
        (replace(good, certificate=weak[0], key=weak[1]), "2048"),
    ):
        assert word in str(refused(device_of(plant, security=faulty)))


# --- logins --------------------------------------------------------------------------------------------------------


def test_a_user_name_and_a_password_under_a_secured_channel(plant: Plant) -> None:
    for policy in get_args(Policy):
        device = device_of(plant, security=security_of(plant, policy), user="reader", password="sécret")
        assert using(device, value) == 1.5
        assert plant.users.seen[-1] == ("reader", "sécret")
    wrong = device_of(plant, security=security_of(plant), user="reader", password="wrong")
    assert "BadUserAccessDenied" in str(refused(wrong))


def test_a_password_never_leaves_without_a_trusted_certificate_or_leave(plant: Plant) -> None:
    before = len(plant.users.seen)
    error = str(refused(device_of(plant, user="reader", password="sécret")))
    assert "password" in error
    assert "sécret" not in error
    assert len(plant.users.seen) == before
    pinned = device_of(plant, user="reader", password="sécret", server_certificate=plant.certificate)
    allowed = device_of(plant, user="reader", password="sécret", allow_clear_password=True)
    assert using(allowed, value) == 1.5
    assert using(pinned, value) == 1.5


def test_a_certificate_login(plant: Plant, tmp_path: Path) -> None:
    person, stranger = make(tmp_path, "person"), make(tmp_path, "stranger")
    plant.users.banned = {plant.own[0].read_bytes(), stranger[0].read_bytes()}
    try:
        for policy in get_args(Policy):
            security = security_of(plant, policy)
            known = device_of(plant, security=security, user_certificate=person[0], user_key=person[1])
            assert using(known, value) == 1.5
            other = device_of(plant, security=security, user_certificate=stranger[0], user_key=stranger[1])
            assert "BadUserAccessDenied" in str(refused(other))
        forged = device_of(plant, security=security_of(plant), user_certificate=person[0], user_key=stranger[1])
        refused(forged)
    finally:
        plant.users.banned = set()


# --- addresses -----------------------------------------------------------------------------------------------------


def test_tags_by_namespace_uri_and_by_browse_path(plant: Plant) -> None:
    tags = (
        LEVEL,
        OpcuaTag("path", path="/Objects/2:Machine/2:Level"),
        OpcuaTag("odd", path="/Objects/2:Machine/2:a&/b&&c"),
        OpcuaTag("nowhere", path="/Objects/2:Machine/2:Nothing"),
        OpcuaTag("stranger", "nsu=urn:nobody;i=1"),
        OpcuaTag("plain", "ns=3;s=state"),
    )

    async def read_twice(client: OpcuaClient) -> Any:
        await client.read()
        return (await client.read()).samples()

    samples = using(device_of(plant, *tags), read_twice)
    assert [sample.value for sample in samples] == [1.5, 1.5, "text", None, None, 6]
    assert [sample.tag for sample in samples] == [tag.name for tag in tags]
    assert "the server has no /Objects/2:Machine/2:Nothing" in samples[3].reason
    assert "no namespace urn:nobody" in samples[4].reason


def test_groups_are_read_apart(plant: Plant) -> None:
    tags = (replace(LEVEL, group=1), OpcuaTag("state", "ns=3;s=state"), OpcuaTag("odd", "ns=2;s=odd", group=1))

    async def read_both(client: OpcuaClient) -> Any:
        return [[(one.tag, one.value) for one in await client.read(group)] for group in (1, 0, 1)]

    second = [("level", 1.5), ("odd", "text")]
    assert using(device_of(plant, *tags), read_both) == [second, [("state", 6)], second]


# --- what a server says of itself ------------------------------------------------------------------------------------


def test_identity_is_product_firmware_state_ways_in_and_certificate(plant: Plant) -> None:
    found = using(device_of(plant), OpcuaClient.identify)
    assert (found.vendor, found.product, found.model) == ("Maker", "Filler", "urn:product")
    assert (found.firmware, found.state) == ("4.2 build 77", "Running")
    certificate = x509.load_der_x509_certificate(plant.certificate.read_bytes())
    assert found.certificate == certificate.fingerprint(hashes.SHA256()).hex()
    assert found.certificate_expires == certificate.not_valid_after_utc
    ways = {(way.policy, way.mode): way.logins for way in found.endpoints}
    assert "anonymous" in ways["None", "None"]
    assert ("Basic256Sha256", "SignAndEncrypt") in ways


def test_the_certificate_can_be_fetched_without_trusting_it(plant: Plant) -> None:
    shown, ways = fetch_certificate(plant.url)
    assert shown == plant.certificate.read_bytes()
    assert any("user name" in way.logins for way in ways)


def test_browsing_finds_variables_with_paths_that_can_be_configured(plant: Plant) -> None:
    told, nodes, whole = survey(plant.url)
    assert told["product"] == "Filler"
    assert whole
    by_path = {node.path: node for node in nodes}
    level = by_path["/Objects/2:Machine/2:Level"]
    assert (level.node_id, level.name, level.data_type, level.value, level.meaning) == (
        "ns=2;s=level", "Level", "Double", 1.5, "",
    )  # fmt: skip
    state = by_path["/Objects/2:Machine/3:Status/3:StateCurrent"]
    assert (state.value, state.meaning) == (6, "PackML StateCurrent")
    assert by_path["/Objects/2:Machine/2:a&/b&&c"].value == "text"
    assert len(by_path) == len(nodes)
    tags = [OpcuaTag(f"t{at}", path=node.path) for at, node in enumerate(nodes)]
    samples = using(device_of(plant, *tags), OpcuaClient.read).samples()
    assert [sample.value for sample in samples if sample.value is not None]


def test_browsing_is_bounded(plant: Plant) -> None:
    _, nodes, whole = survey(plant.url, most=4)
    assert len(nodes) <= 4
    assert not whole
    _, nodes, whole = survey(plant.url, depth=1)
    assert not any("Level" in node.path for node in nodes)
    assert not whole
    assert not survey(plant.url, seconds=0.0)[2]


# --- the command -----------------------------------------------------------------------------------------------------


def configured(plant: Plant, folder: Path, more: str = "") -> Any:
    (folder / "scorer.pub").write_text("x")
    text = f"""
[agent]
id = "gw"
[broker]
host = "127.0.0.1"
[scorer]
public_key = "scorer.pub"
[[device]]
name = "tank"
protocol = "opcua"
url = "{plant.url}"
timeout = "5s"
{more}
[[device.tag]]
name = "level"
node = "ns=2;s=level"
"""
    return read(text, folder / "agent.toml", files=False)


def test_trust_shows_and_stores_only_what_was_accepted(
    plant: Plant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(plant, tmp_path, '[device.security]\npolicy = "Basic256Sha256"')
    assert trust(config, None, accept=None, as_json=True) == 1
    (shown,) = json.loads(capsys.readouterr().out)
    assert shown["state"] == "not trusted"
    assert shown["subject"] == "CN=server"
    stored = Path(shown["file"])
    assert not stored.exists()
    with pytest.raises(AgentError, match="nothing was stored"):
        trust(config, "tank", accept="00" * 32, as_json=True)
    with pytest.raises(AgentError, match="no OPC UA device other"):
        trust(config, "other", accept=None, as_json=True)
    assert not stored.exists()
    assert trust(config, "tank", accept=shown["sha256"].upper(), as_json=False) == 0
    assert "trusted" in capsys.readouterr().out
    assert stored.read_bytes() == plant.certificate.read_bytes()
    assert stored == config.devices[0].spec.trusted
    assert trust(config, None, accept=None, as_json=True) == 0
    capsys.readouterr()
    other, _ = make(tmp_path, "renewed")
    stored.write_bytes(other.read_bytes())
    assert trust(config, None, accept=None, as_json=False) == 1
    assert "another certificate is trusted" in capsys.readouterr().out


def test_the_agents_own_certificate_is_made_once_and_serves(
    plant: Plant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(plant, tmp_path, '[device.security]\npolicy = "Aes256Sha256RsaPss"')
    assert own(config, as_json=True) == 0
    first = json.loads(capsys.readouterr().out)
    assert own(config, as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == first
    certificate, key = own_files(config.state)
    assert key.stat().st_mode & 0o077 == 0
    names = x509.load_der_x509_certificate(certificate.read_bytes()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:ullage:agent:gw"]
    fingerprint = hashes.Hash(hashes.SHA256())
    fingerprint.update(plant.certificate.read_bytes())
    assert trust(config, "tank", accept=fingerprint.finalize().hex(), as_json=False) == 0
    assert using(config.devices[0].spec, value) == 1.5


def test_a_changed_certificate_at_the_server_is_hostile(plant: Plant) -> None:
    """The channel's own check, without a server that could be so made: the answer shows another certificate."""
    from ullage_protocols.field.opcua.protection import Protection

    good = security_of(plant)
    ours = Protection(good.policy, good.mode, *plant.own, plant.certificate.read_bytes(), datetime.now(UTC))
    theirs = Protection(
        good.policy, good.mode, plant.own[0], plant.own[1], plant.own[0].read_bytes(), datetime.now(UTC)
    )
    answer = theirs.seal_open(7, bytes(8) + b"body")
    with pytest.raises(HostileError, match="another certificate than the trusted one"):
        ours.open_opened(answer)

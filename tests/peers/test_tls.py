"""Modbus/TCP Security: stunnel, which asks for a client certificate, in front of pyModbusTCP."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from peers.kit import Peers, free_port
from peers.pki import Authority, Pair
from peers.reading import connected, identity, read, registers, values
from peers.referee import Referee
from ullage_protocols.field.base import FieldError
from ullage_protocols.field.modbus.spec import ModbusDevice


@dataclass
class Terminator:
    """Doors into one plain server: by name their ports."""

    plain: int
    doors: dict[str, int]
    plant: Authority
    stranger: Authority
    server: Pair
    client: Pair

    def device(self, door: str, **more: object) -> ModbusDevice:
        """The device behind ``door``, with our right certificates."""
        ours: dict[str, object] = {"ca": self.plant.pem, "certificate": self.client.pem, "key": self.client.key}
        way = {"host": "127.0.0.1", "port": self.doors[door], "protocol": "modbus-tls", "timeout": 3.0}
        return ModbusDevice("secure", tags=registers(0, 90), **{**way, **ours, **more})


@pytest.fixture(scope="module")
def terminator(peers: Peers, referee: Referee, tmp_path_factory: pytest.TempPathFactory) -> Terminator:
    folder = tmp_path_factory.mktemp("pki")
    plant, stranger = Authority(folder, "plant"), Authority(folder, "stranger")
    server = plant.vouch("server")
    plain = referee.speaks(peers.serve("pymodbustcp", "pymodbustcp.py", "200"), "mbtcp")
    shown = {
        "tls12": (server, "TLSv1.2"),
        "tls13": (server, "TLSv1.3"),
        "stranger": (stranger.vouch("server"), "TLSv1.3"),
        "expired": (plant.vouch("expired", ends=-timedelta(hours=1)), "TLSv1.3"),
        "elsewhere": (plant.vouch("elsewhere", host="filler.plant.example"), "TLSv1.3"),
    }
    doors = {name: free_port() for name in shown}
    config = ["foreground = yes", "pid =", "syslog = no", "debug = 5"]
    for name, (pair, version) in shown.items():
        config += [f"[{name}]", f"accept = 127.0.0.1:{doors[name]}", f"connect = 127.0.0.1:{plain}"]
        config += [f"cert = {pair.pem}", f"key = {pair.key}", f"CAfile = {plant.pem}", "verifyChain = yes"]
        config += ["requireCert = yes", f"sslVersion = {version}"]
    (folder / "stunnel.conf").write_text("\n".join(config) + "\n")
    peers.start("stunnel4", folder / "stunnel.conf", says="Configuration successful")
    return Terminator(plain, doors, plant, stranger, server, plant.vouch("client"))


@pytest.mark.parametrize("door", ["tls12", "tls13"])
def test_values_are_those_of_the_plain_server(terminator: Terminator, door: str) -> None:
    wanted = [at * 3 + 1 for at in range(90)]
    assert values(read(terminator.device(door), times=3)) == wanted
    plain = ModbusDevice("plain", "127.0.0.1", port=terminator.plain, tags=registers(0, 90))
    assert values(read(plain)) == wanted


def test_the_certificate_that_it_showed_is_on_record(terminator: Terminator) -> None:
    who = identity(terminator.device("tls13"))
    assert who.certificate == hashlib.sha256(terminator.server.der.read_bytes()).hexdigest()
    assert who.certificate_expires is not None
    assert (who.vendor, who.product) == ("Acme", "Filler")


def refused(device: ModbusDevice) -> str:
    """Why neither connecting nor reading came about; nothing else may happen, and soon."""

    async def scene() -> str:
        async with asyncio.timeout(10):
            with pytest.raises(FieldError) as caught:
                async with connected(device) as client:
                    await client.read()
            return str(caught.value)

    before = time.monotonic()
    said = asyncio.run(scene())
    assert time.monotonic() - before < 8
    assert "secure" in said
    return said


@pytest.mark.parametrize("door", ["stranger", "expired", "elsewhere"])
def test_a_server_that_is_not_the_one_is_refused(terminator: Terminator, door: str) -> None:
    assert "certificate" in refused(terminator.device(door)).lower()


def test_a_server_is_taken_under_the_name_that_its_certificate_bears(terminator: Terminator) -> None:
    device = terminator.device("elsewhere", server_name="filler.plant.example")
    assert values(read(device))[:3] == [1, 4, 7]


@pytest.mark.parametrize("door", ["tls12", "tls13"])
def test_a_client_certificate_of_a_stranger_reads_nothing(terminator: Terminator, door: str) -> None:
    """With TLS 1.3 the server's refusal comes after the handshake: it must show at the first read."""
    ours = terminator.stranger.vouch("client")
    refused(terminator.device(door, certificate=ours.pem, key=ours.key))


def test_tls_towards_a_plain_server_and_plain_towards_tls(peers: Peers, terminator: Terminator) -> None:
    tls = terminator.device("tls13", timeout=1.0)
    refused(replace(tls, port=peers.serve("pymodbustcp", "pymodbustcp.py", "200")))
    refused(ModbusDevice("secure", "127.0.0.1", port=tls.port, timeout=1.0, tags=registers(0, 1)))


def test_a_key_that_is_not_there_is_told_before_anything_is_sent(terminator: Terminator, tmp_path: Path) -> None:
    assert "nowhere.key" in refused(terminator.device("tls13", key=tmp_path / "nowhere.key"))

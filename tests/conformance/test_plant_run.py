"""A running plant as a process, met by independent clients over real sockets."""

from __future__ import annotations

import asyncio
import json
import math
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, ua
from pymodbus.client import ModbusTcpClient
from ullage_plant.__main__ import main
from ullage_plant.tags import ENGINEERING, FORCE_COUNT, TAGS

PLANT = [sys.executable, "-m", "ullage_plant"]
SPEED = 8.0


@dataclass
class Running:
    process: subprocess.Popen[str]
    modbus: str
    opcua: str
    truth: Path

    def records(self, kind: str) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in self.truth.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [row for row in rows if row["kind"] == kind]


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    truth = tmp_path_factory.mktemp("plant") / "truth.jsonl"
    command = [*PLANT, "run", "--modbus", "127.0.0.1:0", "--opcua", "127.0.0.1:0", "--truth", str(truth)]
    process = subprocess.Popen(
        [*command, "--seed", "7", "--speed", str(SPEED), "--count-start", "65500"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        ready = json.loads(process.stdout.readline())
        assert ready["ready"] is True
        yield Running(process, ready["modbus"], ready["opcua"], truth)
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


@pytest.fixture
def client(plant: Running) -> Iterator[ModbusTcpClient]:
    host, port = plant.modbus.split(":")
    client = ModbusTcpClient(host, port=int(port), timeout=2, retries=0)
    assert client.connect()
    yield client
    client.close()


def act(*arguments: str, status: int = 0) -> str:
    done = subprocess.run([*PLANT, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if status == 0 else done.stderr


def see(what: Callable[[], bool], within: float = 20.0) -> None:
    until = time.monotonic() + within
    while not what():
        assert time.monotonic() < until, "not seen in time"
        time.sleep(0.02)


def number(client: ModbusTcpClient, address: int) -> float:
    reply = client.read_holding_registers(address, count=2, device_id=1)
    assert not reply.isError()
    return float(struct.unpack(">f", struct.pack(">HH", *reply.registers))[0])


def word(client: ModbusTcpClient, address: int) -> int:
    reply = client.read_holding_registers(address, count=1, device_id=1)
    assert not reply.isError()
    return int(reply.registers[0])


def opcua(url: str, tags: list[str]) -> dict[str, ua.DataValue]:
    async def read() -> dict[str, ua.DataValue]:
        async with Client(url) as client:
            assert await client.get_namespace_index("urn:ullage:plant") == 2
            return {
                tag: await client.get_node(f"ns=2;s={tag}").read_data_value(raise_on_bad_status=False) for tag in tags
            }

    return asyncio.run(read())


def test_every_register_of_the_map_can_be_read_and_is_plausible(client: ModbusTcpClient) -> None:
    block = client.read_holding_registers(0, count=14, device_id=1)
    assert len(block.registers) == 14
    assert number(client, 0) == pytest.approx(600.0, rel=0.03)
    assert (number(client, 2), number(client, 10), number(client, 12)) == (600.0, 60.0, 65.0)
    assert word(client, 4) == 1
    see(lambda: number(client, 6) > 1250.0)
    assert number(client, 8) == pytest.approx(45.6, abs=3.0)
    assert client.read_coils(0, count=2, device_id=1).bits[:2] == [True, False]
    assert client.read_discrete_inputs(0, count=2, device_id=1).bits[:2] == [True, False]
    assert client.read_holding_registers(ENGINEERING.start, count=len(ENGINEERING), device_id=1).registers == [0] * 7


def test_the_counter_counts_and_rolls_over(client: ModbusTcpClient) -> None:
    first = word(client, 5)
    see(lambda: (word(client, 5) - first) % 65536 >= 40)
    see(lambda: word(client, 5) < 30000)


def test_addresses_outside_the_map_and_bad_values_are_refused(client: ModbusTcpClient) -> None:
    for address, count in ((14, 1), (13, 2), (107, 1), (5000, 10)):
        assert client.read_holding_registers(address, count=count, device_id=1).exception_code == 2
    assert client.read_coils(64, count=1, device_id=1).exception_code == 2
    for address, values in ((0, [1, 2]), (10, [0x7FC0, 0]), (10, [0x447A, 0]), (11, [0]), (10, [1]), (101, [9])):
        assert client.write_registers(address, values, device_id=1).exception_code == 3, (address, values)
    assert client.write_register(FORCE_COUNT, 1, device_id=1).isError()
    assert client.write_register(4, 1, device_id=1).exception_code == 3
    assert (number(client, 10), word(client, 4)) == (60.0, 1)


def test_the_tank_controller_reports_over_opc_ua_with_source_time(plant: Running) -> None:
    tags = [tag.name for tag in TAGS if tag.node]
    values = opcua(plant.opcua, tags)
    for tag, value in values.items():
        assert value.StatusCode.is_good(), tag
        assert value.SourceTimestamp is not None
        age = datetime.now(UTC) - value.SourceTimestamp
        assert abs(age.total_seconds()) < 3.0
    assert values["tank.level"].Value.Value == pytest.approx(60.0, abs=2.0)
    assert values["tank.temperature"].Value.Value == pytest.approx(65.0, abs=2.0)
    assert values["tank.pump_running"].Value.Value is True
    assert values["line.state"].Value.Value == 1
    assert math.isclose(values["tank.inlet_flow"].Value.Value, 6.0, abs_tol=2.0)


def test_nodes_cannot_be_written(plant: Running) -> None:
    async def write() -> None:
        async with Client(plant.opcua) as client:
            with pytest.raises(ua.UaStatusCodeError):
                await client.get_node("ns=2;s=tank.level").write_value(10.0)

    asyncio.run(write())


def test_a_raised_setpoint_trips_the_line_and_the_operator_brings_it_back(
    plant: Running, client: ModbusTcpClient
) -> None:
    told = json.loads(act("attack", "modify-parameter", "--modbus", plant.modbus))
    assert (told["technique"], told["technique_name"]) == ("T0836", "Modify Parameter")
    assert told["writes"][0]["address"] == 10
    assert number(client, 10) == 95.0
    see(lambda: word(client, 4) == 2)
    assert client.read_coils(0, count=1, device_id=1).bits[0] is False
    see(lambda: number(client, 0) == 0.0)
    assert json.loads(act("operate", "reset", "--modbus", plant.modbus))["state"] == "running"
    see(lambda: len(plant.records("outage")) == 1)
    (outage,) = plant.records("outage")
    assert outage["lost_units"] == outage["standard_units"] - outage["made_units"] > 0
    (trip,) = plant.records("trip")
    assert trip["time"] == outage["start"]
    (written,) = [row for row in plant.records("command") if row["new"] == 95.0]
    assert written["who"].startswith("modbus 127.0.0.1:")
    assert number(client, 10) == 60.0


def test_stop_line_stops_it_by_command(plant: Running, client: ModbusTcpClient) -> None:
    act("attack", "stop-line", "--modbus", plant.modbus)
    see(lambda: word(client, 4) == 0)
    act("operate", "reset", "--modbus", plant.modbus)
    see(lambda: number(client, 0) > 580)


def test_spoofed_and_frozen_values_are_reported_until_released(plant: Running, client: ModbusTcpClient) -> None:
    told = json.loads(act("attack", "spoof-reading", "--value", "33", "--modbus", plant.modbus, "--opcua", plant.opcua))
    assert told["reported"]["tank.level"] == 33.0
    act("attack", "freeze-value", "--tag", "tank.outlet_flow", "--modbus", plant.modbus)
    assert word(client, FORCE_COUNT) == 2

    def spoofed() -> bool:
        return bool(opcua(plant.opcua, ["tank.level"])["tank.level"].Value.Value == 33.0)

    def a_second_passes() -> None:
        elapsed = plant.records("total")[-1]["elapsed"]
        see(lambda: plant.records("total")[-1]["elapsed"] > elapsed)

    see(spoofed)
    a_second_passes()  # the nodes follow the registers within a tick
    flow = opcua(plant.opcua, ["tank.outlet_flow"])["tank.outlet_flow"].Value.Value
    a_second_passes()
    assert opcua(plant.opcua, ["tank.outlet_flow"])["tank.outlet_flow"].Value.Value == flow
    act("operate", "reset", "--modbus", plant.modbus)
    assert word(client, FORCE_COUNT) == 0
    see(lambda: not spoofed())
    assert {row["mode"] for row in plant.records("force")} == {"value", "freeze", "release"}


def test_a_silent_device_accepts_connections_and_answers_again_later(plant: Running) -> None:
    act("attack", "device-gone", "--value", "4", "--modbus", plant.modbus)
    host, port = plant.modbus.split(":")
    began = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=1) as line:
        line.settimeout(0.5)
        line.sendall(bytes.fromhex("000100000006010300000002"))
        with pytest.raises(TimeoutError):
            line.recv(64)
    assert "silent or gone" in act("attack", "stop-line", "--modbus", plant.modbus, status=2)

    def answers() -> bool:
        client = ModbusTcpClient(host, port=int(port), timeout=0.3, retries=0)
        try:
            return bool(client.connect() and word(client, 4) == 1)
        except Exception:  # silence shows as whatever the client library makes of it
            return False
        finally:
            client.close()

    see(answers)
    assert time.monotonic() - began > 3.0
    assert plant.records("silence")[0]["seconds"] == 4


def test_a_port_in_use_is_told_and_nothing_starts(plant: Running) -> None:
    assert "Address already in use" in act("run", "--modbus", plant.modbus, "--opcua", "127.0.0.1:0", status=2)
    used = plant.opcua.removeprefix("opc.tcp://")
    assert "Address already in use" in act("run", "--modbus", "127.0.0.1:0", "--opcua", used, status=2)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("attack", "nothing"), "no scenario is called 'nothing'"),
        (("attack", "spoof-reading", "--tag", "nope"), "no tag is called 'nope'"),
        (("attack", "modify-parameter", "--tag", "tank.level"), "cannot be written"),
        (("attack", "modify-parameter", "--value", "500"), "takes 0 to 100,"),
        (("attack", "device-gone", "--value", "0"), "from 1 to 65535"),
        (("attack", "stop-line", "--modbus", "nowhere"), "is not an address"),
        (("run", "--speed", "0"), "not above 0"),
    ],
)
def test_faults_of_usage_are_told_in_a_sentence(
    arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err


def test_an_unreachable_device_is_told_in_a_sentence(plant: Running) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        told = act("attack", "stop-line", "--modbus", f"127.0.0.1:{port}", status=2)
        assert "nobody answers" in told
        assert len(told.splitlines()) == 1
        tank = f"opc.tcp://127.0.0.1:{port}"
        assert "over OPC UA" in act("attack", "freeze-value", "--modbus", plant.modbus, "--opcua", tank, status=2)
        act("operate", "reset", "--modbus", plant.modbus)
        assert "nobody answers" in act("operate", "reset", "--modbus", f"127.0.0.1:{port}", status=2)


def test_the_scenarios_are_listed_with_their_technique(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attack", "--list", "--json"]) == 0
    assert {row["name"]: row["technique"] for row in json.loads(capsys.readouterr().out)} == {
        "modify-parameter": "T0836",
        "spoof-reading": "T0856",
        "stop-line": "T0855",
        "freeze-value": "T0835",
        "device-gone": "T0814",
    }
    assert main(["attack", "--list"]) == 0
    assert "T0836 Modify Parameter" in capsys.readouterr().out


def test_sigterm_ends_it_with_status_0_and_a_closing_record(plant: Running) -> None:
    # Last in this file: it ends the plant that the tests above share.
    plant.process.send_signal(signal.SIGTERM)
    assert plant.process.wait(10) == 0
    (stop,) = plant.records("stop")
    lost = sum(row["lost_units"] for row in plant.records("outage"))
    assert stop["open_outage"] is None
    assert stop["standard"] - stop["made"] == pytest.approx(lost, abs=1e-6)
    host, port = plant.modbus.split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=1)

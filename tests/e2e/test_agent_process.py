"""The agent as a process: what it answers on its own machine, what it tells the service manager, what SIGHUP does."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ullage_plant.demo.processes import free_port
from ullage_protocols.keys import SigningKey

CONFIG = """
[agent]
id = "gw"
heartbeat = "1s"
[broker]
host = "127.0.0.1"
port = {broker}
[scorer]
public_key = "scorer.pub"
[local]
listen = "127.0.0.1:{local}"
[log]
format = "json"
[[device]]
name = "plc"
protocol = "modbus-tcp"
host = "127.0.0.1"
port = {device}
scan = "200ms"
  [[device.tag]]
  name = "level"
  address = "holding:0"
"""
COMMAND = [sys.executable, "-m", "ullage_agent"]
Json = dict[str, Any]


class Running:
    """A running agent, its folder and ports; ``told`` gathers what it told the service manager."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.local = folder, free_port()
        self.file = folder / "agent.toml"
        (folder / "scorer.pub").write_text(SigningKey.generate().public.to_text())
        self.text = CONFIG.format(broker=free_port(), local=self.local, device=free_port())
        self.file.write_text(self.text)
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(folder / "notify"))
        self.manager.settimeout(0.2)
        self.told: list[str] = []
        self.log = (folder / "log").open("w+")
        environment = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "1000000", "PATH": ""}
        self.process = subprocess.Popen(
            [*COMMAND, "run", "--config", str(self.file)], stdout=subprocess.PIPE, stderr=self.log, env=environment
        )
        assert self.process.stdout is not None
        assert json.loads(self.process.stdout.readline())["ready"] is True

    def hear(self) -> list[str]:
        with contextlib.suppress(OSError):  # nothing more came, or it is over
            while True:
                self.told += self.manager.recv(4096).decode().split("\n")
        return self.told

    def until(self, done: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + 20
        while not done():
            assert time.monotonic() < end, what
            assert self.process.poll() is None, self.said()
            time.sleep(0.05)

    def said(self) -> list[Json]:
        return [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]

    def command(self, name: str, *more: str) -> subprocess.CompletedProcess[str]:
        given = [*COMMAND, name, "--config", str(self.file), *more]
        return subprocess.run(given, capture_output=True, text=True, timeout=30, check=False)

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.local}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(10)
        self.hear()
        self.manager.close()
        self.log.close()
        return code


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    yield running
    running.end()


def test_status_is_told_while_it_runs_and_when_it_does_not(agent: Running) -> None:
    agent.until(lambda: json.loads(agent.command("status", "--json").stdout)["devices"][0]["state"] == "lost", "loss")
    found = agent.command("status", "--json")
    status = json.loads(found.stdout)
    assert found.returncode == 1, "a device is lost"
    assert (status["agent"], status["outbox"]["pending"] > 0, status["broker"]["connected"]) == ("gw", True, False)
    shown = agent.command("status")
    assert "AWAY" in shown.stdout
    assert "plc" in shown.stdout
    assert oct((agent.folder / "state" / "agent.sock").stat().st_mode)[-3:] == "600"
    assert agent.end() == 0
    gone = agent.command("status")
    assert gone.returncode == 1
    assert "no agent runs" in gone.stdout


def test_metrics_and_health_on_loopback_and_nothing_else(agent: Running) -> None:
    agent.until(lambda: 'device_state{device="plc",state="lost"} 1' in agent.get("/metrics")[1], "the loss")
    code, body = agent.get("/metrics")
    assert code == 200
    names = [line.split()[2] for line in body.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names)) > 15
    assert "ullage_agent_broker_connected 0" in body
    assert agent.get("/healthz") == (200, '{"well": true, "reasons": []}\n')
    assert agent.get("/other")[0] == 404
    assert agent.get("/metrics", "POST")[0] == 405
    with socket.create_connection(("127.0.0.1", agent.local), timeout=5) as rude:
        rude.sendall(b"x" * 20_000)
        with contextlib.suppress(ConnectionError):
            assert rude.recv(100) == b"", "a head without end is not waited for"
    assert agent.get("/healthz")[0] == 200


def test_the_service_manager_hears_how_it_is(agent: Running) -> None:
    agent.until(lambda: "WATCHDOG=1" in agent.hear(), "the watchdog")
    assert agent.told[0] == "READY=1"
    before = agent.told.count("READY=1")
    agent.process.send_signal(signal.SIGHUP)
    agent.until(lambda: agent.hear().count("READY=1") > before, "the end of the reload")
    assert "RELOADING=1" in agent.told
    assert any(line.startswith("MONOTONIC_USEC=") for line in agent.told)
    assert agent.end() == 0
    assert "STOPPING=1" in agent.told


def test_sighup_takes_a_new_device_and_refuses_a_file_with_faults(agent: Running) -> None:
    agent.file.write_text(agent.text.replace('name = "plc"', 'name = "plc-2"').replace('"level"', '"level-2"'))
    agent.process.send_signal(signal.SIGHUP)
    agent.until(lambda: any(line["event"] == "reloaded" for line in agent.said()), "the reload")
    status = json.loads(agent.command("status", "--json").stdout)
    assert [device["name"] for device in status["devices"]] == ["plc-2"]
    agent.file.write_text(agent.text.replace("scan =", "skan ="))
    agent.process.send_signal(signal.SIGHUP)
    agent.until(lambda: any(line["event"] == "not-reloaded" for line in agent.said()), "the refusal")
    (refusal,) = [line for line in agent.said() if line["event"] == "not-reloaded"]
    assert "did you mean 'scan'" in refusal["why"]
    assert agent.process.poll() is None

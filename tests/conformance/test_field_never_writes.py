"""A hundred thousand requests, counted by a server that has no part in the house's guards: not one of them writes.

The simulator is a C program that counts whatever is no read. A write planted beside the client shows that it does.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ullage_protocols.field.modbus.client import ModbusClient
from ullage_protocols.field.modbus.spec import ModbusDevice, tag_at

SOURCE = Path(__file__).parents[1] / "bench" / "modbus_sim.c"
DEVICES, REGISTERS, REQUESTS = 4, 1000, 100_000
PLANTED = bytes.fromhex("000100000006010600000001")


class Simulator:
    """The compiled simulator; ``writes`` ends it and gives its count."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(
            [str(program), str(DEVICES), str(REGISTERS)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.ports = [int(word) for word in self._process.stdout.readline().split()]

    def writes(self) -> int:
        _, told = self._process.communicate(timeout=10)
        requests, writes = re.search(r"requests (\d+) writes (\d+)", told).groups()  # type: ignore[union-attr]
        assert int(requests) > 0
        return int(writes)

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "no C compiler: apt-get install gcc"
    program = tmp_path / "sim"
    subprocess.run([compiler, "-O2", "-o", str(program), str(SOURCE)], check=True)
    running = Simulator(program)
    yield running
    running.end()


async def read_all(ports: list[int]) -> int:
    """Scans of every table in turn until so many requests were answered; how many there were."""
    asked = 0

    async def device(port: int) -> None:
        nonlocal asked
        tags = tuple(
            tag_at(f"{table}-{at}", f"{table}:{at}") for table in ("holding", "input") for at in range(0, REGISTERS, 10)
        )
        spec = ModbusDevice("sim", "127.0.0.1", port=port, tags=tags, in_flight=8, timeout=5.0)
        client = ModbusClient(spec, lambda: datetime.now(UTC))
        await client.connect()
        while asked < REQUESTS:
            scan = await client.read()
            assert scan.bad == 0
            asked += len(client.blocks)
        await client.close()

    await asyncio.gather(*(device(port) for port in ports))
    return asked


def test_not_one_of_a_hundred_thousand_requests_writes(simulator: Simulator) -> None:
    assert asyncio.run(read_all(simulator.ports)) >= REQUESTS
    assert simulator.writes() == 0


def test_a_planted_write_is_counted(simulator: Simulator) -> None:
    with socket.create_connection(("127.0.0.1", simulator.ports[0]), timeout=5) as sock:
        sock.sendall(PLANTED)
        sock.recv(64)
    assert simulator.writes() == 1

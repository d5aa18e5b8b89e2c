"""What reading Modbus costs: CPU seconds per million tags, ours beside pymodbus and libmodbus, in the same run.

    .venv/bin/python tests/bench/modbus_read.py [--devices 20] [--registers 500] [--scans 200] [--rounds 3] [--json]

Each reader is a process of its own, and its own CPU time alone is counted, after a warm-up. A fresh simulator
(modbus_sim.c, compiled here) serves each. Readers take turns within a round; a row is the median of its rounds.
``--ports BASE`` reads from a simulator that runs already, on BASE and the ports after it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
WARM = 20
READERS = ("ullage, 1 in flight", "ullage, 4 in flight", "pymodbus async", "libmodbus (C)")
TARGETS = {"ullage, 1 in flight": 0.10, "ullage, 4 in flight": 0.05}
Scan = Callable[[], Awaitable[float]]
"""Reads one device once and gives the last register."""


async def ullage(port: int, registers: int, in_flight: int) -> Scan:
    from ullage_protocols.field.modbus.client import ModbusClient
    from ullage_protocols.field.modbus.spec import ModbusDevice, tag_at

    tags = tuple(tag_at(f"register.{at}", f"holding:{at}") for at in range(registers))
    device = ModbusDevice("unit", "127.0.0.1", port=port, timeout=5.0, tags=tags, in_flight=in_flight)
    client = ModbusClient(device, lambda: datetime.now(UTC))
    await client.connect()

    async def scan() -> float:
        found = await client.read()
        if found.reasons:
            raise SystemExit(f"a bad row: {found.reasons}")
        return float(found.values[-1])

    return scan


async def pymodbus(port: int, registers: int) -> Scan:
    from pymodbus.client import AsyncModbusTcpClient

    client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=5.0, retries=0)
    await client.connect()

    async def scan() -> float:
        values: list[int] = []
        for first in range(0, registers, 125):
            reply = await client.read_holding_registers(first, count=min(125, registers - first), device_id=1)
            if reply.isError():
                raise SystemExit(f"refused: {reply}")
            values += reply.registers
        return float(values[-1])

    return scan


async def read(reader: str, ports: list[int], registers: int, scans: int) -> float:
    """CPU seconds of ``scans`` scans of every device, all devices at once."""
    if reader.startswith("ullage"):
        found = [await ullage(port, registers, 4 if "4" in reader else 1) for port in ports]
    else:
        found = [await pymodbus(port, registers) for port in ports]

    async def go_on(scan: Scan, device: int, times: int) -> None:
        last = 0.0
        for _ in range(times):
            last = await scan()
        away = (last - device * 131 - (registers - 1) * 7) % 65536
        clocks.append(away)

    clocks: list[float] = []
    await asyncio.gather(*(go_on(scan, device, WARM) for device, scan in enumerate(found)))
    start = time.process_time()
    await asyncio.gather(*(go_on(scan, device, scans) for device, scan in enumerate(found)))
    used = time.process_time() - start
    # The devices share a clock, so what is left of each last register is nearly the same: every value is its own.
    if max(clocks[-len(ports) :]) - min(clocks[-len(ports) :]) > 600:
        raise SystemExit(f"registers of other devices or addresses: {clocks}")
    return used


@contextmanager
def simulator(program: Path, devices: int, registers: int, base: int | None) -> Iterator[list[int]]:
    if base is not None:
        yield list(range(base, base + devices))
        return
    with subprocess.Popen(
        [program, str(devices), str(registers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        yield [int(port) for port in running.stdout.readline().split()]
        _, told = running.communicate("", timeout=10)
        if "writes 0" not in told:
            raise SystemExit(f"something wrote to the simulator: {told}")


def compiled(folder: Path, source: str, *libraries: str) -> Path | None:
    program = folder / Path(source).stem
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise SystemExit("no C compiler here; install one (Debian: apt-get install gcc libc6-dev)")
    done = subprocess.run(
        [compiler, "-O2", "-o", program, HERE / source, "-I/usr/include/modbus", *libraries],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and not libraries:
        raise SystemExit(done.stderr)
    return None if done.returncode else program


def cost(reader: str, ports: list[int], args: argparse.Namespace, libmodbus: Path | None) -> float:
    """CPU seconds per million tags of one run in a process of its own."""
    if reader.startswith("libmodbus"):
        assert libmodbus is not None
        command = [str(libmodbus), str(WARM), str(args.scans), str(args.registers), *map(str, ports)]
    else:
        command = [
            sys.executable, __file__, "--reader", reader, "--scans", str(args.scans),
            "--registers", str(args.registers), "--at", *map(str, ports),
        ]  # fmt: skip
    printed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if printed.returncode:
        raise SystemExit(printed.stderr)
    return float(printed.stdout.split()[0]) / (len(ports) * args.registers * args.scans) * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--registers", type=int, default=500)
    parser.add_argument("--scans", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ports", type=int, help="first port of a simulator that runs already")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--reader", choices=READERS[:3], help=argparse.SUPPRESS)
    parser.add_argument("--at", type=int, nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.reader:
        print(asyncio.run(read(args.reader, args.at, args.registers, args.scans)))
        return 0
    with tempfile.TemporaryDirectory() as name:
        program = compiled(Path(name), "modbus_sim.c")
        libmodbus = compiled(Path(name), "modbus_libmodbus.c", "-lmodbus")
        readers = READERS if libmodbus else READERS[:3]
        found: dict[str, list[float]] = {reader: [] for reader in readers}
        for _ in range(args.rounds):
            for reader in readers:
                assert program is not None
                with simulator(program, args.devices, args.registers, args.ports) as ports:
                    found[reader].append(cost(reader, ports, args, libmodbus))
    medians = {reader: statistics.median(costs) for reader, costs in found.items()}
    if args.json:
        told = {
            "unit": "CPU seconds per million tags",
            **{word: getattr(args, word) for word in ("devices", "registers", "scans", "rounds")},
            "readers": {
                reader: {"median": round(medians[reader], 4), "rounds": [round(cost, 4) for cost in costs]}
                for reader, costs in found.items()
            },
        }
        print(json.dumps(told))
        return 0
    print(f"{args.devices} devices x {args.registers} registers, {args.scans} scans, {args.rounds} rounds")
    print(f"{'reader':<22}{'CPU-s per million tags':>24}{'target':>10}   rounds")
    for reader, costs in found.items():
        rounds = " ".join(f"{cost:.3f}" for cost in costs)
        target = f"{TARGETS[reader]:.2f}" if reader in TARGETS else ""
        print(f"{reader:<22}{medians[reader]:>24.3f}{target:>10}   {rounds}")
    if libmodbus is None:
        print("libmodbus is not here, its row is left out; Debian: apt-get install libmodbus-dev")
    return 0


if __name__ == "__main__":
    sys.exit(main())

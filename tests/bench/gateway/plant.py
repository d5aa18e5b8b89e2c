"""The load: ``plcsim``, compiled on first use, and a black-hole proxy before the broker. Both end with the harness."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from ullage_plant.demo.processes import Child, Children, free_port

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[2]
BENCH = CHECKOUT / ".bench"


def compiled() -> Path:
    """The simulator's binary, newer than its source."""
    source, binary = HERE / "plcsim.c", BENCH / "plcsim"
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        BENCH.mkdir(exist_ok=True)
        subprocess.run(["cc", "-O2", "-Wall", "-o", str(binary), str(source)], check=True, timeout=120)
    return binary


def free_ports(count: int) -> int:
    """The first of ``count`` neighbouring ports that were all free a moment ago."""
    for _ in range(200):
        base = free_port()
        if base + count > 65000:
            continue
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            for port in range(base, base + count):
                probe = held.enter_context(socket.socket())
                probe.bind(("127.0.0.1", port))
            return base
    raise OSError(f"no {count} neighbouring ports are free; end what holds them")


class Remote:
    """A line of text out, a line of JSON back."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._answers = self._socket.makefile("rb")

    def ask(self, line: str) -> dict[str, Any]:
        self._socket.sendall(line.encode() + b"\n")
        answer = json.loads(self._answers.readline())
        if not isinstance(answer, dict) or answer.get("done") is False:
            raise ValueError(f"{line!r} was not understood")
        return answer

    def close(self) -> None:
        self._answers.close()
        self._socket.close()


class Plant:
    """Devices on neighbouring ports from ``base`` on."""

    def __init__(
        self, children: Children, folder: Path, devices: int, registers: int, *, cpu: int, seed: int = 1
    ) -> None:
        self.devices, self.registers, self.base = devices, registers, free_ports(devices + 1)
        argv = [str(compiled()), str(self.base), str(devices), str(registers), str(seed)]
        self._child = children.start("plcsim", ["taskset", "-c", str(cpu), *argv], cwd=folder)
        self._child.line(10)
        self._remote = Remote(self.base + devices)

    def stats(self) -> dict[str, Any]:
        return self._remote.ask("stats")

    def ask(self, line: str) -> None:
        self._remote.ask(line)

    def stop(self) -> None:
        self._remote.close()
        self._child.stop()


class BlackHole:
    """A proxy on ``port`` before ``target`` that can swallow everything while the kernel goes on acknowledging."""

    def __init__(self, children: Children, folder: Path, target: int, *, cpu: int) -> None:
        self.port = free_ports(2)
        argv = [sys.executable, str(HERE / "blackhole.py"), str(self.port), str(target)]
        self.child: Child = children.start("blackhole", ["taskset", "-c", str(cpu), *argv], cwd=folder)
        self.child.line(10)
        self._remote = Remote(self.port + 1)

    def swallow(self, on: bool) -> None:
        self._remote.ask("on" if on else "off")

    def stop(self) -> None:
        self._remote.close()
        self.child.stop()

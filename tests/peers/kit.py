"""Starts peers: each a process of its own on a loopback port that the referee watches, ended by its pid."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SERVERS = HERE / "servers"
HOME = HERE.parents[1] / ".peers"
PORTS = range(21000, 22000)
"""Below the ephemeral ports: nothing but this run's peers listens here, so the referee captures nothing else."""
STARTING = 20.0
"""Seconds a peer may take to come up; they take one or two."""
OTHERS = "127.0.0.2"
"""Whatever comes from here was sent by somebody else's client: an oracle, or a planted write."""

_next = itertools.cycle(PORTS)
for _ in range(os.getpid() % len(PORTS)):
    next(_next)


def free_port() -> int:
    """A loopback port that nobody listens on."""
    for port in itertools.islice(_next, len(PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError(f"no free port in {PORTS}")


def installed(program: str | Path) -> str:
    """The path of a peer's program; without it the test is skipped (which in CI is a failure)."""
    found = shutil.which(str(program))
    if found is None:
        pytest.skip(f"{program} is not installed; run tools/peers.sh")
    return found


def python_of(peer: str) -> str:
    """The interpreter of a Python peer's own environment."""
    return installed(HOME / peer / "bin" / "python")


@dataclass
class Peers:
    """The processes of one test or module; ``close`` ends them all."""

    folder: Path
    last: subprocess.Popen[bytes] | None = None
    """The peer that was started last, to freeze it or to end it."""
    _ending: ExitStack = field(default_factory=ExitStack)
    _count: Iterator[int] = field(default_factory=itertools.count)

    def start(
        self, *command: str | Path, port: int = 0, says: str = "", path: Path | None = None, env: Mapping[str, str] = {}
    ) -> Path:
        """Starts a peer and waits until it listens on ``port``, has said ``says`` or made ``path``. Gives its log."""
        program, *arguments = command
        log = self.folder / f"peer-{next(self._count)}.log"
        process = self.last = self._ending.enter_context(_running([installed(program), *arguments], log, env))
        end = time.monotonic() + STARTING
        while not _up(log, port, says, path):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{command[0]} did not come up:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        return log

    def serve(self, peer: str, script: str, *arguments: str, port: int | None = None) -> int:
        """Starts ``servers/<script>`` in a Python peer's environment; gives its port."""
        port = port or free_port()
        self.start(python_of(peer), SERVERS / script, str(port), *arguments, port=port)
        return port

    def node(self, script: str, *arguments: str, says: str = "ready", port: int | None = None) -> int:
        """Starts a server written for node in the npm folder; gives its port."""
        port = port or free_port()
        modules = HOME / "npm" / "node_modules"
        if not modules.is_dir():
            pytest.skip("the npm peers are not installed; run tools/peers.sh")
        self.start(
            installed("node"), SERVERS / script, str(port), *arguments, says=says, env={"NODE_PATH": str(modules)}
        )
        return port

    def line(self, port: int) -> tuple[Path, Path]:
        """The peer's end and ours of a serial line whose middle is a TCP connection to ``port``, for the referee."""
        far = self.folder / f"tty-{next(self._count)}"
        self.start("socat", f"pty,raw,echo=0,link={far}", f"tcp-listen:{port},bind=127.0.0.1,nodelay", path=far)
        return far, self.line_to(port)

    def line_to(self, port: int) -> Path:
        """Our end of a serial line whose other end is a TCP port: every byte of the line passes the referee."""
        near = self.folder / f"tty-{next(self._count)}"
        hop = f"tcp:127.0.0.1:{port},nodelay,retry=50,interval=0.1"
        self.start("socat", f"pty,raw,echo=0,link={near}", hop, path=near)
        return near

    def from_others(self, port: int) -> int:
        """A way in for somebody else's client, outside what the referee watches; it arrives from OTHERS."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            door = int(probe.getsockname()[1])
        listen = f"tcp-listen:{door},bind=127.0.0.1,reuseaddr,fork"
        self.start("socat", "-d", "-d", listen, f"tcp:127.0.0.1:{port},bind={OTHERS}", says="listening on")
        return door

    def close(self) -> None:
        """Ends every process, the last first."""
        self._ending.close()


@contextmanager
def _running(command: Sequence[str | Path], log: Path, env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(3)


def _up(log: Path, port: int, says: str, path: Path | None) -> bool:
    if says:
        return says in log.read_text(errors="replace")
    if path is not None:
        return path.exists()
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1, source_address=(OTHERS, 0)):
        return True
    return False


def output_of(*command: str | Path, seconds: float = 20.0) -> str:
    """What a program says; raises with all of it when it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout

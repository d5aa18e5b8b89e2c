"""Child processes that never outlive the one that started them."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import PlantError

_PR_SET_PDEATHSIG = 1


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command(script: str) -> list[str]:
    """How to start one of this environment's commands: the script beside the running Python."""
    path = Path(sys.executable).with_name(script)
    if not path.exists():
        raise PlantError(f"{script} is not installed beside {sys.executable}; run `make demo` or tools/setup.sh first")
    return [str(path)]


class Child:
    """One child process; its log goes to a file, its JSON lines on stdout can be awaited."""

    def __init__(self, name: str, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.argv = list(argv)
        self.log = cwd / f"{name}.log"
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv,
                cwd=cwd,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C at the terminal reaches the parent alone, which ends us in order
                preexec_fn=_die_with_parent,
            )
        threading.Thread(target=self._collect, name=f"out-{name}", daemon=True).start()

    def _collect(self) -> None:
        stdout = self.process.stdout
        if stdout is None:
            return
        with self.log.open("ab") as log:
            for line in stdout:
                log.write(line)
                log.flush()
                with contextlib.suppress(ValueError):
                    value = json.loads(line)
                    if isinstance(value, dict):
                        self._lines.put(value)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def line(self, timeout: float, *, want: str = "ready") -> dict[str, Any]:
        """The next JSON line on stdout that holds the key ``want``; PlantError with the log's end otherwise."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                value = self._lines.get(timeout=0.1)
                if want in value:
                    return value
                continue
            if not self.alive:
                break
        state = "is silent" if self.alive else f"ended with status {self.process.returncode}"
        raise PlantError(f"{self.name} {state}; its last words:\n{self.tail()}")

    def tail(self, lines: int = 12) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])
        return ""

    def kill(self) -> None:
        """As a power cut would: SIGKILL, then wait."""
        self.process.kill()
        self.process.wait(timeout=10)

    def stop(self, timeout: float = 6.0) -> int:
        """SIGTERM, then SIGKILL; returns the exit status."""
        if self.alive:
            self.process.terminate()
            try:
                self.process.wait(timeout=timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(timeout=timeout)
        return int(self.process.returncode)


class Children:
    """All children of a run; leaving the block ends them in the reverse order of their start."""

    def __init__(self) -> None:
        self._children: list[Child] = []

    def start(self, name: str, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None) -> Child:
        child = Child(name, argv, cwd=cwd, env=env)
        self._children.append(child)
        return child

    def dead(self) -> list[Child]:
        """Children that ended with an error without being asked to."""
        return [child for child in self._children if child.process.poll() not in (None, 0, -signal.SIGTERM)]

    def forget(self, child: Child) -> None:
        self._children.remove(child)

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *exc: object) -> None:
        for child in reversed(self._children):
            with contextlib.suppress(subprocess.TimeoutExpired, OSError):
                child.stop()


def wait_for(probe: Callable[[], bool], timeout: float, what: str) -> None:
    """Polls until ``probe`` is true; PlantError saying what was not seen otherwise."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if probe():
            return
        time.sleep(0.05)
    raise PlantError(f"not seen within {timeout:.0f} s: {what}")


def _die_with_parent() -> None:
    # Linux only; elsewhere an orderly end is all there is.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

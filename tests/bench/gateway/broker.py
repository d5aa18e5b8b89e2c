"""mosquitto on loopback, and an observer of everything that passes it.

The observer's session is kept by the broker, over its own restart too: what arrives while the observer is still
finding its way back is not counted as lost by whoever sent it.
"""

from __future__ import annotations

import getpass
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from support.brokers import answers, need
from ullage_plant.demo.processes import Child, Children, _die_with_parent, free_port, wait_for

Hear = Callable[[float, str, bytes], None]
"""Called with the time (Unix seconds), the topic and the payload."""


class Broker:
    def __init__(self, children: Children, folder: Path, *, cpu: int) -> None:
        self._children, self._folder, self._cpu = children, folder, cpu
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"
            f"max_inflight_messages 0\npersistence true\npersistence_location {folder}/\nuser {getpass.getuser()}\n"
        )
        self._child: Child
        self.start()

    def start(self) -> None:
        argv = ["taskset", "-c", str(self._cpu), need("mosquitto"), "-c", str(self._config)]
        self._child = self._children.start("mosquitto", argv, cwd=self._folder)
        wait_for(lambda: answers(self.port), 10, f"mosquitto on port {self.port}: {self._child.tail()}")

    def stop(self) -> None:
        """In order: sessions and what is queued for them are written down."""
        self._child.stop()
        self._children.forget(self._child)

    def freeze(self, on: bool) -> None:
        self._child.process.send_signal(signal.SIGSTOP if on else signal.SIGCONT)


class Observer:
    """Hears every topic through ``mosquitto_sub``, whose time stamps and quality of service 1 are used."""

    def __init__(self, children: Children, folder: Path, port: int, hear: Hear, *, cpu: int) -> None:
        argv = [
            "taskset", "-c", str(cpu), need("mosquitto_sub"), "-h", "127.0.0.1", "-p", str(port), "-i", "observer",
            "-c", "-q", "1", "-k", "300", "-t", "#", "-F", "%U %t %p",
        ]  # fmt: skip
        self._hear = hear
        self._log = (folder / "observer.log").open("ab")
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        self._probed = threading.Event()
        threading.Thread(target=self._listen, name="observer", daemon=True).start()
        deadline = time.monotonic() + 10
        while not self._probed.is_set() and time.monotonic() < deadline:
            subprocess.run(
                [need("mosquitto_pub"), "-h", "127.0.0.1", "-p", str(port), "-t", "bench/probe", "-m", "1"],
                check=False, timeout=5,
            )  # fmt: skip
            self._probed.wait(0.1)

    def _listen(self) -> None:
        stdout = self.process.stdout
        assert stdout is not None
        for line in stdout:
            when, _, rest = line.rstrip(b"\n").partition(b" ")
            topic, _, payload = rest.partition(b" ")
            if topic == b"bench/probe":
                self._probed.set()
                continue
            try:
                self._hear(float(when), topic.decode(), payload)
            except (ValueError, KeyError, TypeError):
                continue  # a broken line must not end the listening

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=5)
        self._log.close()

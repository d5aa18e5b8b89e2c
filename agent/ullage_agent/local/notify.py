"""Tells systemd that the agent is ready, alive, reloading, stopping. Without systemd every call does nothing.

https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import asyncio
import os
import socket
import time


class Notifier:
    """Speaks to the socket that the service manager names in the environment, its own interface for this."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")  # the service manager's, no setting of ours
        wanted = os.environ.get("WATCHDOG_PID", "")
        micros = os.environ.get("WATCHDOG_USEC", "0")
        mine = not wanted or wanted == str(os.getpid())
        self.watchdog = int(micros) / 1e6 if mine and micros.isdigit() else 0.0

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        self._send(f"STATUS={status}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def reloading(self) -> None:
        """``ready`` says that it is over."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    async def run(self) -> None:
        """Until cancelled: says that the process lives, twice as often as the watchdog asks."""
        if not self._address or not self.watchdog:
            return
        while True:
            await asyncio.sleep(self.watchdog / 2)
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto(text.encode(), address)
        except OSError:
            # A service manager that does not listen must not stop the measuring.
            return

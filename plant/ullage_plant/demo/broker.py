"""A real MQTT broker without any installation: nats-server from its wheel, on loopback, on ports of its own."""

from __future__ import annotations

import socket
from pathlib import Path

from .processes import Child, Children, command, free_port, wait_for

_CONFIG = """\
server_name: ullage
host: 127.0.0.1
port: {client}
jetstream {{ store_dir: "{store}" }}
mqtt {{ host: 127.0.0.1, port: {mqtt}, max_ack_pending: 10000 }}
"""


class Broker:
    """One broker with a fixed port, which may be killed, wiped and started again."""

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        self.folder = folder
        self.port = port or free_port()
        self._client_port = free_port()
        self.child: Child | None = None

    def start(self, children: Children) -> Child:
        config = self.folder / "nats.conf"
        config.write_text(
            _CONFIG.format(client=self._client_port, mqtt=self.port, store=self.folder / "broker"), "utf-8"
        )
        self.child = children.start("broker", [*command("nats-server"), "-c", str(config)], cwd=self.folder)
        wait_for(self.answers, 15, f"the broker accepting connections on port {self.port}\n{self.child.tail()}")
        return self.child

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=0.5).close()
        except OSError:
            return False
        return True

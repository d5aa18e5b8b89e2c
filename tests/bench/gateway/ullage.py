"""Ullage's own agent. Raw values stay at the plant: what arrives is sealed records, so what is counted is those.

Each device has one production line, whose counter is register 0; the counts of its intervals must sum to what the
simulator counted.
"""

from __future__ import annotations

from collections.abc import Callable

from ullage_plant.demo.processes import command, wait_for
from ullage_protocols.keys import SigningKey

from .contenders import Feed, Load, device_name, device_number
from .receiver import Receiver, Record

AGENT = "bench-gw"
_FASTEST = 0.005
"""Seconds: the shortest scan interval that the configuration takes; beyond it more devices are needed."""


class Ullage:
    """``watched``: how many tags of a device detection judges; None for all of them.

    ``baseline`` is what detection judges against: learned once, live, from the same load (``measure.learn``).
    """

    paces = (0.0,)
    does = "time and quality of every value, detection, signed and chained records, receipts; store on disk, always on"

    def __init__(self, name: str, watched: int | None, *, interval: str = "1s") -> None:
        self.name, self.watched, self._interval = name, watched, interval
        self.baseline: bytes | None = None
        self.records: list[Record] = []
        self.receiver: Receiver | None = None
        self.made: dict[str, int] = {}
        self.unknown = 0
        self._keys = (SigningKey.generate(), SigningKey.generate())

    def missing(self) -> str:
        return ""

    def prepare(self, load: Load) -> tuple[list[str], dict[str, str]]:
        state = load.folder / "state"
        state.mkdir(exist_ok=True)
        self.records, self.made, self.unknown = [], {}, 0
        self._keys = (SigningKey.load_or_create(state / "agent.key"), SigningKey.generate())
        (load.folder / "scorer.pub").write_text(self._keys[1].public.to_text() + "\n")
        if self.baseline is not None:
            (load.folder / "baseline.npz").write_bytes(self.baseline)
        file = load.folder / "agent.toml"
        file.write_text(self.config(load))
        return [*command("ullage-agent"), "run", "--config", str(file)], {}

    def config(self, load: Load) -> str:
        """The configuration: what a user would write, for many devices."""
        interval = "200ms" if load.prompt else self._interval
        lines = [
            "[agent]", f'id = "{AGENT}"', "[broker]", 'host = "127.0.0.1"', f"port = {load.broker}", "[scorer]",
            'public_key = "scorer.pub"', "[baseline]", 'learn = "40s"', "[watch]", 'interval = "1s"',
            "[production]", f'interval = "{interval}"',
        ]  # fmt: skip
        scan = f"{max(1, round((load.scan or _FASTEST) * 1000))}ms"
        for number in range(load.devices):
            name = device_name(number)
            lines += [
                "[[device]]", f'name = "{name}"', 'protocol = "modbus-tcp"', 'host = "127.0.0.1"',
                f"port = {load.base + number}", f'scan = "{scan}"', "tag = [",
                f'  {{name="{name}.r0",address="holding:0",role="count",line="{name}"}},',
            ]  # fmt: skip
            for register in range(1, load.registers):
                off = "" if self.watched is None or register <= self.watched else ",watch=false"
                lines.append(f'  {{name="{name}.r{register}",address="holding:{register}"{off}}},')
            lines.append("]")
        return "\n".join(lines) + "\n"

    def hear(self, feed: Feed, when: float, topic: str, payload: bytes) -> None:
        """Nothing: records come through the receiver, verified."""

    def attend(self, feed: Feed, port: int) -> Callable[[], None]:
        """Starts the receiver; gives what stops it."""

        def record(found: Record) -> None:
            self.records.append(found)
            self._note(feed, found)

        receiver = Receiver(port, agent=AGENT, agent_key=self._keys[0].public, key=self._keys[1], on_record=record)
        self.receiver = receiver
        receiver.start()
        # What is published before anybody listens only comes again after the agent's own patience.
        wait_for(lambda: receiver.connected, 10, "the receiver at the broker")
        return receiver.stop

    def _note(self, feed: Feed, found: Record) -> None:
        if found.kind == "production":
            if feed.first is None:
                feed.first = found.arrived
            if found.data["count"] is None:
                self.unknown += 1
            else:
                self.made[found.subject] = self.made.get(found.subject, 0) + int(found.data["count"])
        elif found.kind == "heartbeat":
            for device in found.data["devices"]:
                if device["state"] == "lost":
                    feed.tell(found.arrived, device_number(device["name"]), "heartbeat: lost")
        elif found.kind not in ("hello", "anomaly", "inventory", "maintenance") and found.subject.startswith("d"):
            # A message about a device that is away; whatever its name is, its subject names the device.
            feed.tell(found.arrived, device_number(found.subject), found.kind)

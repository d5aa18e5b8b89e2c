"""The referee: tshark, which knows neither side, captures the run and says what was asked of the peers."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from asyncua.ua import ObjectIds
from peers.kit import OTHERS, PORTS, output_of

STANDARD = {str(number) for name, number in vars(ObjectIds).items() if name.endswith("_Encoding_DefaultBinary")}
"""The node id of every structure that the standard encodes, services among them (from asyncua's table)."""
LAG = 1.5
"""Seconds that a capture may lag behind the wire."""
COLUMNS = {
    "mbtcp": ("modbus.func_code", "modbus.mei"),
    "mbrtu": ("modbus.func_code", "modbus.mei"),
    "opcua": ("opcua.transport.type", "opcua.servicenodeid.numeric", "tcp.stream", "opcua.security.spu"),
}


@dataclass
class Heard:
    """Requests counted by what they ask, of our side and of others; ``ports`` counts ours by port.

    Modbus by function ("43/14" with its MEI type), OPC UA by message type and node id of the service ("MSG 631"),
    "MSG encrypted" where only the two ends can read it. ``foreign`` are packets that are not of the protocol.
    """

    ours: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    foreign: Counter[str] = field(default_factory=Counter)
    ports: Counter[int] = field(default_factory=Counter)


class Referee:
    """Captures from its creation until ``stop``. ``refused`` says why it could not."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "run.pcapng"
        self._spoken: dict[int, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self.refused = "" if shutil.which("dumpcap") and shutil.which("tshark") else "tshark is not installed"
        self._log = folder / "dumpcap.log"
        if not self.refused:
            self._start(self._log)

    @property
    def dropped(self) -> int:
        """Packets that the capture missed, as it says itself when it ends."""
        found = re.search(r"received/dropped on interface 'Loopback: lo': \d+/(\d+)", self._log.read_text())
        assert found, self._log.read_text()
        return int(found[1])

    def _start(self, log: Path) -> None:
        wanted = f"tcp portrange {PORTS.start}-{PORTS.stop - 1}"
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                ["dumpcap", "-q", "-i", "lo", "-f", wanted, "-B", "32", "-w", str(self._file)],
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        end = time.monotonic() + 10
        while not self._file.exists() or not self._file.stat().st_size:
            if self._process.poll() is not None or time.monotonic() > end:
                self.refused = f"this user may not capture on loopback: {log.read_text(errors='replace')}"
                break
            time.sleep(0.05)

    def speaks(self, port: int, protocol: str) -> int:
        """Says that ``port`` speaks ``protocol``, one of COLUMNS. Gives the port."""
        assert protocol in COLUMNS
        self._spoken[port] = protocol
        return port

    def ports(self, protocol: str) -> list[int]:
        """The ports that speak ``protocol``."""
        return sorted(port for port, spoken in self._spoken.items() if spoken == protocol)

    def stop(self) -> None:
        """Ends the capture; safe any number of times."""
        if self._process is not None and self._process.poll() is None:
            time.sleep(LAG)
            self._process.terminate()
            self._process.wait(10)

    def heard(self, protocol: str) -> Heard:
        """What was asked in ``protocol``, over all ports that speak it."""
        heard = Heard()
        ports = self.ports(protocol)
        columns = COLUMNS[protocol]
        command = ["tshark", "-r", str(self._file), "-Y", "tcp.len > 0", "-T", "fields"]
        for port in ports:
            command += ["-d", f"tcp.port=={port},{protocol}"]
        if protocol != "opcua":  # which way a packet goes is told by the port that these are set to
            command += ["-o", f"{protocol}.tcp.port:{','.join(map(str, ports))}"]
        for column in ("tcp.dstport", "ip.src", *columns):
            command += ["-e", column]
        secured: set[str] = set()
        for line in output_of(*command, seconds=120).splitlines():
            port, source, *found = line.split("\t")
            if int(port) not in ports:
                continue
            asked = _opcua(*found, secured) if protocol == "opcua" else _modbus(*found)
            (heard.others if source == OTHERS else heard.ours).update(asked)
            heard.ports[int(port)] += 0 if source == OTHERS else len(asked)
            if not asked:
                heard.foreign[f"to port {port} from {source}"] += 1
        return heard


def _modbus(functions: str, mei: str) -> list[str]:
    kinds = iter(mei.split(","))
    return [f"43/{next(kinds, '')}" if function == "43" else function for function in functions.split(",") if function]


def _opcua(kinds: str, services: str, stream: str, policy: str, secured: set[str]) -> list[str]:
    """Message and service come in step: one service a message, none where it is encrypted or has none.

    The dissector takes some encrypted bytes for a node id by chance. On a connection whose policy is not None, and only
    there, a number that the standard gives to no message at all is such a chance.
    """
    if policy and not policy.endswith("#None"):
        secured.add(stream)
    found = [service for service in services.split(",") if service]
    known = iter("encrypted" if stream in secured and service not in STANDARD else service for service in found)
    return [f"{kind} {next(known, 'encrypted')}" if kind == "MSG" else kind for kind in kinds.split(",") if kind]

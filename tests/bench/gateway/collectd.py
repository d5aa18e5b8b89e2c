"""collectd from Debian with its modbus and mqtt plugins: a register a request, a value a message."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from .contenders import Feed, Load, device_name, device_number

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class Collectd:
    name = "collectd"
    paces = (0.5, 0.3)
    does = "time of the read; no quality, no signature; no store: what finds no broker is gone"

    def missing(self) -> str:
        return "" if shutil.which("collectd", path=_PATH) else "collectd"

    def prepare(self, load: Load) -> tuple[list[str], dict[str, str]]:
        interval = max(0.001, load.scan)
        lines = [
            f'BaseDir "{load.folder}"', f'PIDFile "{load.folder}/collectd.pid"', 'Hostname "gateway"',
            "FQDNLookup false", f"Interval {interval:g}", f"ReadThreads {load.devices}", "WriteThreads 2",
            'TypesDB "/usr/share/collectd/types.db"', "LoadPlugin logfile", "<Plugin logfile>", '  LogLevel "warning"',
            f'  File "{load.folder}/collectd.log"', "</Plugin>",
            "LoadPlugin modbus", "LoadPlugin mqtt", "<Plugin mqtt>", '  <Publish "out">', '    Host "127.0.0.1"',
            f'    Port "{load.broker}"', '    ClientId "collectd"', "    QoS 1", '    Prefix "collectd"',
            "    StoreRates false",
            "  </Publish>", "</Plugin>", "<Plugin modbus>",
        ]  # fmt: skip
        for register in range(load.registers):
            lines += [
                f'<Data "r{register}">', f"  RegisterBase {register}", "  RegisterCmd ReadHolding",
                "  RegisterType Uint16", "  Type gauge", f'  Instance "r{register}"', "</Data>",
            ]  # fmt: skip
        for number in range(load.devices):
            lines += [
                f'<Host "{device_name(number)}">', '  Address "127.0.0.1"', f'  Port "{load.base + number}"',
                f"  Interval {interval:g}", "  <Slave 1>", '    Instance "unit"',
            ]  # fmt: skip
            lines += [f'    Collect "r{register}"' for register in range(load.registers)]
            lines += ["  </Slave>", "</Host>"]
        lines.append("</Plugin>")
        file = load.folder / "collectd.conf"
        file.write_text("\n".join(lines) + "\n")
        return [str(shutil.which("collectd", path=_PATH)), "-f", "-C", str(file)], {}

    def attend(self, feed: Feed, port: int) -> Callable[[], None]:
        return lambda: None

    def hear(self, feed: Feed, when: float, topic: str, payload: bytes) -> None:
        prefix, name, _, tag = topic.split("/")
        if prefix == "collectd" and name.startswith("d"):
            device = device_number(name)
            serial = int(float(payload.rstrip(b"\0").rpartition(b":")[2])) if tag == "gauge-r1" else None
            feed.sample(when, 1, device, serial)

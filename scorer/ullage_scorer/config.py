"""The scorer's configuration: a TOML file and flags over it, all faults at once with file and line."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ullage_protocols.mqtt import BrokerSettings

from .db.engine import path_of
from .errors import ConfigError, DatabaseError

SAMPLE = """\
# ullage-scorer serve --config scorer.toml     (a commented value is the default)

[scorer]
database = "sqlite:////var/lib/ullage/scorer.db"
# http = "127.0.0.1:8080"            # where the API and the page listen
# key = "/var/lib/ullage/scorer.key" # signs receipts; made when missing; default: beside the database

[broker]
address = "127.0.0.1:1883"
# protocol = "auto"                  # auto, 5 or 3.1.1
# username = ""
# password_file = ""                 # a file with the password alone
# ca = ""                            # turns TLS on
# certificate = ""
# key = ""
"""
_SCORER = ("database", "http", "key")
_BROKER = ("address", "protocol", "username", "password_file", "ca", "certificate", "key")


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """What `serve` needs. ``http`` is host and port; port 0 lets the system choose."""

    database: str
    http: tuple[str, int]
    key: Path
    broker: BrokerSettings


class _Reader:
    def __init__(self, path: Path | None) -> None:
        self.faults: list[str] = []
        self.path = path
        self.text = ""
        self.body: dict[str, Any] = {}
        if path is None:
            return
        try:
            self.text = path.read_text("utf-8")
            self.body = tomllib.loads(self.text)
        except (OSError, UnicodeDecodeError) as exc:
            self.faults.append(f"{path}: cannot be read ({exc}); check the path")
        except tomllib.TOMLDecodeError as exc:
            self.faults.append(f"{path}: not valid TOML: {exc}")

    def where(self, section: str, name: str) -> str:
        """``file:line`` of a key, or of its section, or the flag."""
        if self.path is None:
            return f"--{name}"
        inside, found = "", 0
        for number, line in enumerate(self.text.splitlines(), 1):
            if header := re.match(r"\s*\[([^\]]+)\]", line):
                inside = header[1].strip()
                found = number if inside == section and not found else found
            elif inside == section and re.match(rf"\s*\"?{re.escape(name)}\"?\s*=", line):
                return f"{self.path}:{number}"
        return f"{self.path}:{found or 1}"

    def section(self, name: str, known: tuple[str, ...]) -> dict[str, str]:
        part = self.body.get(name, {})
        if not isinstance(part, dict):
            self.faults.append(f"{self.where('', name)}: [{name}] must be a section")
            return {}
        values: dict[str, str] = {}
        for key, value in part.items():
            if key not in known:
                self.faults.append(f"{self.where(name, key)}: {name}.{key} is unknown; known are {', '.join(known)}")
            elif not isinstance(value, str):
                self.faults.append(f"{self.where(name, key)}: {name}.{key} must be text in quotes")
            else:
                values[key] = value
        return values


def load(
    path: Path | None, *, database: str | None, http: str | None, broker: str | None, key: str | None
) -> ServeConfig:
    """The configuration from file and flags; ConfigError holds every fault."""
    reader = _Reader(path)
    for name in reader.body:
        if name not in ("scorer", "broker"):
            reader.faults.append(f"{reader.where(name, name)}: section [{name}] is unknown; known are scorer, broker")
    scorer = reader.section("scorer", _SCORER)
    mqtt = reader.section("broker", _BROKER)
    where = dict.fromkeys(("database", "http", "address", "key"), "")
    for name, flag, part, section in (
        ("database", database, scorer, "scorer"), ("http", http, scorer, "scorer"), ("key", key, scorer, "scorer"),
        ("address", broker, mqtt, "broker"),
    ):  # fmt: skip
        shown = "--broker" if name == "address" else f"--{name}"
        where[name] = shown if flag is not None or path is None else reader.where(section, name)
        if flag is not None:
            part[name] = flag
    file = _database(scorer.get("database"), where["database"], reader.faults)
    listen = _address(scorer.get("http", "127.0.0.1:8080"), where["http"], reader.faults, any_port=True)
    at = _address(mqtt.get("address", "127.0.0.1:1883"), where["address"], reader.faults, any_port=False)
    settings = _broker(mqtt, at, reader)
    if reader.faults:
        raise ConfigError(reader.faults)
    key_path = Path(scorer["key"]) if "key" in scorer else file.with_suffix(".key")
    return ServeConfig(scorer["database"], listen, key_path, settings)


def _database(url: str | None, where: str, faults: list[str]) -> Path:
    if url is None:
        faults.append(f"{where}: the database is missing; give sqlite:///path/to/file.db")
        return Path()
    try:
        path = path_of(url)
    except DatabaseError as exc:
        faults.append(f"{where}: {exc}")
        return Path()
    if not path.parent.is_dir():
        faults.append(f"{where}: the folder {path.parent} does not exist; make it first")
    return path


def _address(text: str, where: str, faults: list[str], *, any_port: bool) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isascii() or not port.isdigit() or not (0 if any_port else 1) <= int(port) <= 65535:
        faults.append(f"{where}: {text[:80]!r} is not host:port, such as 127.0.0.1:8080")
        return "127.0.0.1", 1
    return host, int(port)


def _broker(part: dict[str, str], at: tuple[str, int], reader: _Reader) -> BrokerSettings:
    def file(name: str) -> Path | None:
        return Path(part[name]) if part.get(name) else None

    password = ""
    secret = file("password_file")
    if secret is not None:
        try:
            password = secret.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            reader.faults.append(f"{reader.where('broker', 'password_file')}: {secret} cannot be read ({exc})")
    settings = BrokerSettings(
        host=at[0], port=at[1], protocol=part.get("protocol", "auto"), username=part.get("username", ""),
        password=password, ca=file("ca"), certificate=file("certificate"), key=file("key"),
    )  # fmt: skip
    for fault in settings.faults():
        name = next((n for n in _BROKER if fault.startswith(n)), "address")
        reader.faults.append(f"{reader.where('broker', name)}: {fault}")
    return settings

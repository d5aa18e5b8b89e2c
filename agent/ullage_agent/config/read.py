"""Makes a ``Config`` from a TOML file, or tells every fault in it at once."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import cast

from ullage_protocols.errors import KeyFileError
from ullage_protocols.field.modbus.spec import PROTOCOLS, ModbusDevice, ModbusTag, line_faults
from ullage_protocols.field.opcua.spec import OpcuaDevice
from ullage_protocols.keys import PublicKey
from ullage_protocols.mqtt import BrokerSettings
from ullage_protocols.small_file import read_small

from ..errors import ConfigError
from . import LINE_ROLES, ROLES, Address, Config, DeviceConfig, TagConfig, modbus, opcua
from .names import NAME, NAME_SHAPE
from .table import Faults, Table, secret

_PROTOCOLS = (*PROTOCOLS, "opcua")
_MODULI = {
    "uint8": 2**8, "int8": 2**8, "uint16": 2**16, "int16": 2**16, "uint32": 2**32, "int32": 2**32,
    "bcd16": 10**4, "bcd32": 10**8,
}  # fmt: skip
_LOOPBACK = r"(127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\]|localhost):\d{1,5}"
_DEEP = re.compile(r"""(?:^|[\[{,])[ \t]*(?:[\w"'-]+[ \t]*\.[ \t]*){32}""", re.MULTILINE)
"""A key of so many parts costs the TOML reader quadratic time; none of ours has more than three."""
_LONG = re.compile(r"[0-9_]{4000}")
MAX_TEXT = 1_000_000
MAX_DEVICES = 200


def load(path: Path, *, files: bool = True, scorer: bool = True) -> Config:
    """The configuration in ``path``. Raises ConfigError with every fault.

    ``files`` False skips other files; ``scorer`` False the scorer's key alone.
    """
    try:
        raw = read_small(path, MAX_TEXT)
        text = raw.decode("utf-8")
    except OSError as exc:
        raise ConfigError(
            [f"{path}: cannot be read ({exc.strerror}); name it with --config, or see `ullage-agent sample-config`"]
        ) from exc
    except UnicodeDecodeError as exc:
        line = raw[: exc.start].count(b"\n") + 1
        raise ConfigError([f"{path}:{line}: not UTF-8 text; save the file as UTF-8"]) from exc
    return read(text, path, files=files, scorer=scorer)


def read(text: str, path: Path, *, files: bool = True, scorer: bool = True) -> Config:
    """As ``load``, from text; ``path`` names the file in faults and anchors relative paths."""
    if deep := _DEEP.search(text):
        line = text.count("\n", 0, deep.end()) + 1
        raise ConfigError([f"{path}:{line}: nested too deep; this is not an agent configuration"])
    try:
        body = tomllib.loads(text)
    except ValueError as exc:  # a TOMLDecodeError, or a decimal integer of thousands of digits
        found, long = re.search(r"line (\d+)", str(exc)), _LONG.search(text)
        line = int(found[1]) if found else text.count("\n", 0, long.start()) + 1 if long else max(1, text.count("\n"))
        why = exc if isinstance(exc, tomllib.TOMLDecodeError) else "an integer of thousands of digits"
        raise ConfigError([f"{path}:{line}: not TOML: {why}; mend the line"]) from exc
    except RecursionError as exc:
        raise ConfigError([f"{path}:1: nested too deep; this is not an agent configuration"]) from exc
    faults = Faults(path, text)
    config = _config(Table(body, (), faults, path.absolute().parent), path, files, scorer)
    if faults:
        raise ConfigError(faults.listed())
    return config


def _config(top: Table, path: Path, files: bool, keyed: bool = True) -> Config:
    agent, broker, scorer = top.table("agent"), top.table("broker"), top.table("scorer")
    baseline, watch, production = top.table("baseline"), top.table("watch"), top.table("production")
    outbox, local, log = top.table("outbox"), top.table("local"), top.table("log")
    state = agent.file("state", "state")
    if state is None:
        state = path.absolute().parent / "state"
        agent.fault("state", 'state is empty; name the folder for key, outbox and history, or leave it out for "state"')
    trust = state / "trust"
    device_tables = top.tables("device", required="at least one [[device]]")
    devices = [_device(table, files, trust) for table in device_tables[:MAX_DEVICES]]
    _unique(top, devices)
    specs = [device.spec if isinstance(device.spec, ModbusDevice) else None for device in devices]
    for index, fault in line_faults(specs):
        top.faults.add(("device", index), fault)
    shortest = min((scan for device in devices for scan in device.scans), default=1.0)
    key_file = scorer.file("public_key", required='public_key = "scorer.pub" (printed by the scorer)')
    config = Config(
        path=path.absolute(),
        agent=agent.text(
            "id",
            required='id = "a-name" (a-z, 0-9 and -)',
            form=r"[a-z0-9-]{1,64}",
            shape="1 to 64 characters of a-z, 0-9 and -",
        ),
        state=state,
        heartbeat=agent.duration("heartbeat", 15.0, 0.2, 3600),
        broker=_broker(broker, files),
        scorer=_public_key(scorer, key_file) if files and keyed else None,
        baseline=cast(Path, baseline.file("file", "baseline.npz")),
        learn=baseline.duration("learn", 600.0, 1, 30 * 86400),
        trigger=watch.text("trigger"),
        interval=watch.duration("interval", max(shortest, 0.02), 0.02, 3600),
        production=production.duration("interval", 60.0, 0.2, 86400),
        outbox=outbox.size("limit", 256_000_000, 100_000),
        listen=_listen(local),
        log=log.one_of("format", ("text", "json"), "text"),
        devices=tuple(devices),
        scorer_file=key_file,
    )
    for table in (agent, broker, scorer, baseline, watch, production, outbox, local, log, top):
        table.unknown()
    if len(device_tables) > MAX_DEVICES:
        top.fault("device", f"{len(device_tables)} devices are more than {MAX_DEVICES}; split them over several agents")
    if config.trigger and config.trigger not in {tag.name for tag in config.tags}:
        watch.fault("trigger", f"trigger {config.trigger!r} is no configured tag; name one of the device tags")
    if devices and not config.watched:
        top.fault("device", "no tag is watched; leave out watch = false for at least one")
    return config


def _broker(table: Table, files: bool) -> BrokerSettings:
    password_file = table.file("password_file")
    settings = BrokerSettings(
        host=table.text("host", required='host = "127.0.0.1"', form=r"\S{1,255}", shape="a host name or address"),
        port=table.whole("port", 1883, 1, 65535),
        protocol=table.one_of("protocol", ("auto", "5", "3.1.1"), "auto"),
        username=table.text("username"),
        password=secret(table, "password_file", password_file) if files else "",
        ca=table.file("ca"),
        certificate=table.file("certificate"),
        key=table.file("key"),
    )
    if password_file and not settings.username:
        table.fault("password_file", "password_file goes with username; add it")
    for fault in settings.faults() if files else ():
        key = fault.split(" ", 1)[0]
        table.fault(key if table.has(key) else "", f"[broker] {fault}")
    return settings


def _listen(table: Table) -> Address | None:
    text = table.text(
        "listen", form=r"(127\.\d+\.\d+\.\d+|\[::1\]|localhost):\d{1,5}", shape="a loopback address and port"
    )
    if not text:
        return None
    host, _, port = text.rpartition(":")
    if not 1 <= int(port) <= 65535:
        table.fault("listen", f"listen {text!r} has no port from 1 to 65535; change it")
        return None
    return Address(host.strip("[]"), int(port))


def _public_key(table: Table, file: Path | None) -> PublicKey | None:
    if file is None:
        return None
    try:
        return PublicKey.from_file(file)
    except KeyFileError as exc:
        table.fault("public_key", f"{exc} (the scorer prints its key; save it there)")
        return None


def _device(table: Table, files: bool, trust: Path) -> DeviceConfig:
    name = table.text("name", "?", required='name = "plc-1"', form=NAME, shape=NAME_SHAPE)
    protocol = table.one_of("protocol", _PROTOCOLS, required='protocol = "modbus-tcp" or "opcua"')
    scan = table.duration("scan", 1.0, 0.005, 3600)
    tag_tables = table.tables("tag", required=f"at least one [[device.tag]] to device {name!r}")
    spec: ModbusDevice | OpcuaDevice | None = None
    tags: list[TagConfig] = []
    identify = table.truth("identify", True)
    scans = [tag.duration("scan", scan, 0.005, 3600) for tag in tag_tables]
    groups = {seconds: group for group, seconds in enumerate(dict.fromkeys(scans))}
    if protocol in PROTOCOLS:
        points = [modbus.tag(tag) for tag in tag_tables]
        kinds = [point.type if point else "" for point in points]
        tags = [_tag(tag, kind, every) for tag, kind, every in zip(tag_tables, kinds, scans, strict=True)]
        found = [replace(p, group=groups[every]) for p, every in zip(points, scans, strict=True) if p]
        spec = modbus.device(table, name, found, protocol, files)
    elif protocol == "opcua":
        nodes = [opcua.tag(tag) for tag in tag_tables]
        tags = [_tag(tag, "", every) for tag, every in zip(tag_tables, scans, strict=True)]
        placed = [replace(n, group=groups[every]) for n, every in zip(nodes, scans, strict=True) if n]
        spec = opcua.device(table, name, placed, files, trust)
    if protocol:
        table.unknown()
        for tag in tag_tables:
            tag.unknown()
    if spec is None:
        spec = ModbusDevice(name, "?", tags=(ModbusTag("?", "holding", 0),))
    return DeviceConfig(name, scan, spec, tuple(tags), identify)


def _tag(table: Table, kind: str, scan: float) -> TagConfig:
    name = table.text("name")
    role = table.one_of("role", ROLES, "measurement")
    line = table.text("line", form=r"[A-Za-z0-9._-]{1,64}", shape="1 to 64 letters, digits, '.', '_' and '-'")
    watch = table.truth("watch", True)
    modulus: float | None = None
    if role == "count" and kind == "bit":
        table.fault("type", f"tag {name!r}: one bit cannot count; give the counter's register and type")
    if role == "count":
        modulus = float(_MODULI[kind]) if kind in _MODULI else None
        if table.has("rollover"):
            modulus = float(table.whole("rollover", 0, 2, 2**53))
        scale = abs(table.number("scale", 1.0)) if kind else 1.0
        modulus = None if not modulus else modulus * scale
    elif table.has("rollover"):
        table.whole("rollover", 0, 2, 2**53)
        table.fault("rollover", f"rollover belongs to a tag with role count, not {role}; remove it")
    if role in LINE_ROLES and not table.has("line"):
        table.fault("role", f'tag {name!r} with role {role} names no line; add line = "line-1"')
    return TagConfig(name, role, line, watch, modulus, scan)


def _unique(top: Table, devices: list[DeviceConfig]) -> None:
    names: dict[str, int] = {}
    tags: dict[str, str] = {}
    roles: dict[tuple[str, str], str] = {}
    for index, device in enumerate(devices):
        if device.name in names and device.name != "?":
            top.faults.add(("device", index, "name"), f"device name {device.name!r} is used twice; names are unique")
        names[device.name] = index
        for position, tag in enumerate(device.tags):
            place = ("device", index, "tag", position, "name")
            if tag.name in ("time", "label"):
                top.faults.add(place, f"tag name {tag.name!r} is a column of its own in histories; choose another name")
            if tag.name in tags:
                top.faults.add(place, f"tag name {tag.name!r} is used twice; names are unique over all devices")
            if tag.name:
                tags[tag.name] = device.name
            if tag.line and tag.role in LINE_ROLES:
                if (tag.line, tag.role) in roles:
                    other = roles[tag.line, tag.role]
                    both = f"{other!r} and {tag.name!r}"
                    top.faults.add(place, f"line {tag.line!r} has two tags with role {tag.role}: {both}; keep one")
                roles[tag.line, tag.role] = tag.name

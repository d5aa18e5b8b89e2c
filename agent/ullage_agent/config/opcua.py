"""The keys of an OPC UA device and its tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from ullage_protocols.field.errors import SpecError
from ullage_protocols.field.opcua.spec import OpcuaDevice, OpcuaSecurity, OpcuaTag

from .names import NAME, NAME_SHAPE
from .table import Table, secret


def device(table: Table, name: str, nodes: list[OpcuaTag], files: bool) -> OpcuaDevice | None:
    url = table.text("url", required='url = "opc.tcp://192.0.2.11:4840"')
    timeout = table.duration("timeout", 2.0, 0.01, 60)
    user = table.text("user") or None
    password_file = table.file("password_file")
    password = table.text("password") or None
    if password_file:
        password = secret(table, "password_file", password_file) if files else "?"
    security = _security(table.table("security"), files) if table.has("security") else None
    if not nodes or not url:
        return None
    try:
        return OpcuaDevice(name, url, timeout, security, user, password, tuple(nodes))
    except SpecError as exc:
        key = "url" if " url " in str(exc) else "user" if "'user'" in str(exc) else ""
        table.fault(key if table.has(key) else "", str(exc))
        return None


def _security(table: Table, files: bool) -> OpcuaSecurity | None:
    policy = table.text("policy", required='policy = "Basic256Sha256"')
    mode = table.text("mode", "SignAndEncrypt")
    paths: dict[str, Path] = {}
    for key in ("certificate", "key", "server_certificate"):
        file = table.file(key, required=f'{key} = "file.der"')
        if file is not None:
            paths[key] = file
            if files and not file.is_file():
                table.fault(key, f"{key} {file} does not exist; check the path")
    table.unknown()
    if not policy or len(paths) < 3:
        return None
    try:
        return OpcuaSecurity(cast(Any, policy), cast(Any, mode), **paths)
    except SpecError as exc:
        table.fault("", str(exc))
        return None


def tag(table: Table) -> OpcuaTag | None:
    name = table.text("name", required='name = "tank.level"', form=NAME, shape=NAME_SHAPE)
    node = table.text("node", required='node = "ns=2;s=tank.level"')
    if not name or not node:
        return None
    try:
        return OpcuaTag(name, node)
    except SpecError as exc:
        table.fault("node", str(exc))
        return None

"""The keys of an OPC UA device and its tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from ullage_protocols.field.errors import SpecError
from ullage_protocols.field.opcua.spec import OpcuaDevice, OpcuaSecurity, OpcuaSubscription, OpcuaTag

from .names import NAME, NAME_SHAPE
from .table import Table, secret


def device(table: Table, name: str, nodes: list[OpcuaTag], files: bool, trust: Path) -> OpcuaDevice | None:
    """``trust`` is the folder of trusted certificates and the agent's own."""
    url = table.text("url", required='url = "opc.tcp://192.0.2.11:4840"')
    timeout = table.duration("timeout", 2.0, 0.01, 60)
    user = table.text("user") or None
    password_file = table.file("password_file")
    password = table.text("password") or None
    if password_file:
        password = secret(table, "password_file", password_file) if files else "?"
    pinned = table.file("server_certificate")
    default = trusted_file(trust, name)
    security = _security(table.table("security"), files, pinned or default, trust) if table.has("security") else None
    more: dict[str, Any] = {
        "user_certificate": _existing(table, "user_certificate", files),
        "user_key": _existing(table, "user_key", files),
        "server_certificate": pinned or (default if user and not table.has("allow_clear_password") else None),
        "allow_clear_password": table.truth("allow_clear_password", False),
        "subscription": _subscription(table),
    }
    if not nodes or not url:
        return None
    try:
        return OpcuaDevice(name, url, timeout, security, user, password, tuple(nodes), **more)
    except SpecError as exc:
        key = "url" if " url " in str(exc) else "user" if "'user'" in str(exc) else ""
        table.fault(key if table.has(key) else "", str(exc))
        return None


def trusted_file(trust: Path, name: str) -> Path:
    """Where the certificate that is trusted for the device ``name`` lies, unless its configuration says otherwise."""
    return trust / f"{quote(name, safe=' ')}.der"


def _subscription(table: Table) -> OpcuaSubscription | None:
    mode = table.one_of("mode", ("poll", "subscribe"), "poll")
    publishing = table.duration("publishing", table.duration("scan", 1.0, 0.005, 3600), 0.01, 3600)
    keepalive = table.duration("keepalive", 5.0, 0.1, 3600)
    return OpcuaSubscription(publishing, keepalive) if mode == "subscribe" else None


def _security(table: Table, files: bool, server: Path, trust: Path) -> OpcuaSecurity | None:
    policy = table.text("policy", required='policy = "Basic256Sha256"')
    mode = table.text("mode", "SignAndEncrypt")
    own = {
        "certificate": _existing(table, "certificate", files) or trust / "agent.der",
        "key": _existing(table, "key", files) or trust / "agent.pem",
    }
    if table.has("certificate") != table.has("key"):
        table.fault("", "certificate and key go together; give both, or neither to use `ullage-agent trust --own`")
    # The server's may come later: `ullage-agent trust` stores it.
    server = table.file("server_certificate") or server
    table.unknown()
    if not policy:
        return None
    try:
        return OpcuaSecurity(cast(Any, policy), cast(Any, mode), **own, server_certificate=server)
    except SpecError as exc:
        table.fault("", str(exc))
        return None


def _existing(table: Table, key: str, files: bool) -> Path | None:
    file = table.file(key)
    if file is not None and files and not file.is_file():
        table.fault(key, f"{key} {file} does not exist; check the path")
    return file


def tag(table: Table) -> OpcuaTag | None:
    name = table.text("name", required='name = "tank.level"', form=NAME, shape=NAME_SHAPE)
    path = table.text("path")
    node = table.text("node", required="" if path else 'node = "ns=2;s=tank.level" (or path = "/Objects/2:Tank")')
    sampling = table.duration("sampling", 0.0, 0.0, 86400) if table.has("sampling") else None
    queue = table.whole("queue", 10, 1, 10_000)
    deadband, percent = table.number("deadband", 0.0), table.number("deadband_percent", 0.0)
    if deadband and percent:
        table.fault("deadband_percent", "deadband and deadband_percent are two widths; give one")
    if not name or not (node or path):
        return None
    try:
        return OpcuaTag(
            name, node, path=path, sampling=sampling, queue=queue, deadband=percent or deadband, percent=bool(percent)
        )
    except SpecError as exc:
        key = next((word for word in ("path", "sampling", "queue", "deadband") if f" {word}" in str(exc)), "node")
        table.fault(key if table.has(key) else "", str(exc))
        return None

"""Looks at an OPC UA server: what it says it is, its variables, and what part their names let expect."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ullage_protocols.field.base import FieldError
from ullage_protocols.field.opcua.browse import Node, fetch_certificate, survey

from .found import NodeFound, ServerFound

_MOST, _DEPTH = 5_000, 12
_ROLES = (
    (re.compile(r"set_?point|_sp$|^sp_|machspeed$", re.IGNORECASE), "setpoint"),
    (re.compile(r"(command|cmd)", re.IGNORECASE), "command"),
    (re.compile(r"count(er)?$|prodprocessed|produced", re.IGNORECASE), "count"),
    (re.compile(r"energy|kwh", re.IGNORECASE), "energy"),
    (re.compile(r"state|mode|status", re.IGNORECASE), "state"),
)
_RUNNING = re.compile(r"running$", re.IGNORECASE)
_PACKML = {
    "StateCurrent": "state", "UnitModeCurrent": "state", "ProdProcessedCount": "count",
    "ProdDefectiveCount": "measurement", "MachSpeed": "setpoint", "CurMachSpeed": "measurement", "CntrlCmd": "command",
    "UnitMode": "command",
}  # fmt: skip
"""PackML's tags by name (OPC 30050) and the part they play here."""
_TEXTS = frozenset({"String", "LocalizedText"})


def look(url: str, timeout: float, seconds: float) -> ServerFound:
    """Anonymous and in clear. FieldError where the server cannot be reached, or does not let anybody in: then with
    the ways in that it offers."""
    try:
        told, nodes, whole = survey(url, timeout=timeout, most=_MOST, depth=_DEPTH, seconds=seconds)
    except FieldError as exc:
        raise type(exc)(f"{exc}{_ways(url, timeout)}") from exc
    return ServerFound(url, told, [_found(node) for node in nodes], whole)


def _ways(url: str, timeout: float) -> str:
    try:
        _, ways = fetch_certificate(url, timeout)
    except FieldError:
        return "; check address, port and network"
    offers = "; ".join(f"{way.policy} {way.mode} ({', '.join(way.logins)})" for way in ways[:16])
    return (
        f"; it offers {offers or 'no way in'}: configure security and login by hand (`ullage-agent sample-config`), "
        "then `ullage-agent trust` and `ullage-agent check`"
    )


def _found(node: Node) -> NodeFound:
    number = isinstance(node.value, bool | int | float)
    role = role_of(node.name, node.path, node.meaning, node.value)
    return NodeFound(node.path, node.node_id, node.name, node.data_type, node.value, node.meaning, role, number)


def role_of(name: str, path: str, meaning: str, value: object) -> str:
    """The part that a variable may play, by its names; a guess."""
    if meaning.startswith("PackML") and name in _PACKML:
        return _PACKML[name]
    if isinstance(value, bool):
        return "running" if _RUNNING.search(name) else "state"
    if "/Command/" in path and meaning.startswith("PackML"):
        return "command"
    for pattern, role in _ROLES:
        if pattern.search(name):
            return role if role != "count" or isinstance(value, int) else "measurement"
    return "measurement"


def usable(nodes: Iterable[NodeFound]) -> list[NodeFound]:
    """Those that a tag can be made of: numbers and truths, and texts, which are not watched."""
    return [node for node in nodes if node.sure or (node.type in _TEXTS and isinstance(node.value, str))]

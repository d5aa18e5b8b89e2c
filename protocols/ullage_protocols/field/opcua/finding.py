"""Where the tags of a device are on its server: node ids whose namespace is named by URI, and browse paths."""

from __future__ import annotations

from collections.abc import Sequence

from ullage_protocols.field.errors import HostileError

from . import services
from .link import Link
from .nodeids import NodeId, parse_nodeid, parse_path, resolve
from .session import namespaces
from .statuses import told
from .task import Point

_PATHS = 100


def find(link: Link, points: Sequence[Point], limit: int) -> tuple[list[NodeId | None], dict[int, str]]:
    """The node of each point; None, and the reason by its position, where the server has no such node.

    ``limit`` paths are asked for at once (0: no limit told). Raises FieldError.
    """
    nodes: list[NodeId | None] = [parse_nodeid(point.node) if point.node else None for point in points]
    missing: dict[int, str] = {}
    if any(node and node.uri for node in nodes):
        known = namespaces(link)
        for position, node in enumerate(nodes):
            if node and node.uri:
                nodes[position] = resolve(node, known)
                if nodes[position] is None:
                    missing[position] = f"the server has no namespace {node.uri}"
    paths = [position for position, point in enumerate(points) if not point.node]
    size = min(limit or _PATHS, _PATHS)
    for start in range(0, len(paths), size):
        some = paths[start : start + size]
        found = services.translated(link.ask(services.translate([parse_path(points[at].path) for at in some])))
        if len(found) != len(some):
            raise HostileError(f"{len(found)} answers for {len(some)} browse paths")
        for position, (status, node) in zip(some, found, strict=True):
            nodes[position] = node
            if status >> 30 or node is None:
                nodes[position] = None
                missing[position] = f"the server has no {points[position].path}: {told(status)}"
    return nodes, missing

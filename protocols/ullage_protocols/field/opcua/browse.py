"""Looks at a server that is not configured yet: its certificate, what it says it is, and the variables it has.

Blocking; for commands that an engineer runs, not for the running agent. Bounded in count, depth and time, whatever the
server says. Every function raises FieldError, HostileError where the server sends what no honest one does.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from ullage_protocols.field.base import Endpoint

from . import services
from .identity import described, identify
from .link import Link
from .nodeids import NodeId, read_nodeid
from .protection import Protection
from .services import Reference, ServiceFault
from .session import Session, Who, limits, namespaces
from .variants import NAMES, Found, Other, read_datavalue
from .wire import DecodeError, Reader

_OBJECTS = NodeId(0, 85)
_SERVER = NodeId(0, 2253)
"""The server's own diagnostics: hundreds of variables about itself, which are not looked through."""
_MAX_NODES_PER_BROWSE, _MAX_NODES_PER_READ = 11710, 11705
_AT_ONCE = 50
_REFERENCES = 1000
_DATA_TYPE = 14
CLASSES = {1: "Object", 2: "Variable", 4: "Method"}
COMPANIONS = {
    "http://opcfoundation.org/UA/PackML/": "PackML",
    "http://opcfoundation.org/UA/Machinery/": "Machinery",
    "http://opcfoundation.org/UA/DI/": "Machinery",
}
"""Namespaces whose names are agreed on; Machinery takes its identification from DI."""


class Node(NamedTuple):
    """``path`` as in a configuration; ``value`` a number, truth, text, or words for what is none of these.

    ``meaning`` names what a companion specification says it is, such as ``PackML StateCurrent``; mostly empty.
    """

    path: str
    node_id: str
    name: str
    node_class: str
    data_type: str
    value: float | int | bool | str | None
    meaning: str


def fetch_certificate(url: str, timeout: float = 5.0) -> tuple[bytes, tuple[Endpoint, ...]]:
    """The certificate (DER) that the server at ``url`` shows, empty where it has none, and the ways in it offers.

    Nothing of it is trusted: that is for a person to decide.
    """
    link = Link(url, timeout)
    try:
        link.open()
        offers = services.endpoints(link.ask(services.get_endpoints(url)))
    finally:
        link.close()
    shown = next((offer.certificate for offer in offers if offer.certificate), b"")
    ways = tuple(Endpoint(place, policy, mode, tuple(logins)) for place, policy, mode, logins in described(offers))
    return shown, ways


@contextmanager
def opened(url: str, timeout: float, who: Who, protection: Protection | None) -> Iterator[Link]:
    """A link with a session; anonymous and in clear unless told otherwise."""
    link = Link(url, timeout, protection)
    try:
        link.open()
        Session(link, who, "ullage discovery")
        yield link
    finally:
        link.close()


def survey(
    url: str,
    *,
    timeout: float = 5.0,
    who: Who = Who(),  # noqa: B008 - immutable
    protection: Protection | None = None,
    most: int = 5_000,
    depth: int = 12,
    seconds: float = 30.0,
) -> tuple[dict[str, Any], list[Node], bool]:
    """What the server at ``url`` says it is, its variables, and whether these are all.

    At most ``most`` nodes are looked at, ``depth`` steps below the Objects folder, in about ``seconds``.
    """
    with opened(url, timeout, who, protection) as link:
        told = identify(link)
        shown = bytes.fromhex(told["certificate"])
        told["certificate"] = hashlib.sha256(shown).hexdigest() if shown else ""
        nodes, whole = browse(link, most=most, depth=depth, seconds=seconds)
    return told, nodes, whole


def browse(link: Link, *, most: int, depth: int, seconds: float) -> tuple[list[Node], bool]:
    """The variables below the Objects folder of an open session, and whether they are all."""
    end = time.monotonic() + seconds
    told = limits(link, [_MAX_NODES_PER_BROWSE, _MAX_NODES_PER_READ])
    at_once, reads = (min(limit or _AT_ONCE, _AT_ONCE) for limit in told)
    known = namespaces(link)
    seen = {_OBJECTS, _SERVER}
    level: list[tuple[NodeId, str]] = [(_OBJECTS, "/Objects")]
    found: list[tuple[Reference, str]] = []
    whole = True
    for _ in range(depth):
        below: list[tuple[NodeId, str]] = []
        for start in range(0, len(level), at_once):
            some = level[start : start + at_once]
            if time.monotonic() > end or len(seen) >= most:
                whole = False
                break
            for (_, path), references in zip(some, _references(link, [node for node, _ in some], most), strict=True):
                for reference in references:
                    if reference.node in seen or reference.node.uri or len(seen) >= most:
                        whole = whole and len(seen) < most
                        continue
                    seen.add(reference.node)
                    below.append((reference.node, f"{path}/{_step(reference)}"))
                    if reference.node_class == 2:
                        found.append((reference, below[-1][1]))
        level = below
    whole = whole and not level
    values = _values(link, [reference.node for reference, _ in found], reads, end)
    nodes = [
        Node(
            path, str(reference.node), reference.name, CLASSES.get(reference.node_class, ""), kind, value,
            _meaning(reference, known),
        )
        for (reference, path), (kind, value) in zip(found, values, strict=True)
    ]  # fmt: skip
    return nodes, whole


def _references(link: Link, nodes: Sequence[NodeId], most: int) -> list[list[Reference]]:
    answers = services.browsed(link.ask(services.browse(nodes, _REFERENCES)))
    if len(answers) != len(nodes):
        raise DecodeError(f"{len(answers)} answers for {len(nodes)} nodes")
    found = [list(references) for _, _, references in answers]
    points = [(at, point) for at, (_, point, _) in enumerate(answers) if point]
    while points:
        release = sum(map(len, found)) >= most
        more = services.browsed(link.ask(services.browse_next([point for _, point in points], release=release)))
        if release or len(more) != len(points):
            break
        following = []
        for (at, _), (_, point, references) in zip(points, more, strict=True):
            found[at] += references
            if point and references:
                following.append((at, point))
        points = following
    return found


def _values(
    link: Link, nodes: Sequence[NodeId], at_once: int, end: float
) -> list[tuple[str, float | int | bool | str | None]]:
    found: list[tuple[str, float | int | bool | str | None]] = []
    for start in range(0, len(nodes), at_once):
        some = nodes[start : start + at_once]
        if time.monotonic() > end:
            found += [("", None)] * len(some)
            continue
        kinds = _types(link, some)
        found += zip(kinds, [_shown(value) for value in _read(link, some)], strict=True)
    return found


def _read(link: Link, nodes: Sequence[NodeId]) -> list[Found]:
    """The values of ``nodes``; one that cannot be decoded does not spoil the others."""
    try:
        answers = services.values(link.ask(services.read(nodes)))
        if len(answers) == len(nodes):
            return [None if status >> 30 else value for value, status in answers]
    except (DecodeError, ServiceFault):
        pass
    if len(nodes) == 1:
        return [Other("what cannot be decoded")]
    middle = len(nodes) // 2
    return _read(link, nodes[:middle]) + _read(link, nodes[middle:])


def _types(link: Link, nodes: Sequence[NodeId]) -> list[str]:
    """The names of their data types: built-in ones by name, others by node id."""
    reader = link.ask(services.read(nodes, _DATA_TYPE))

    def one() -> str:
        # A data value that holds one node id, or none.
        if reader.data[reader.at : reader.at + 1] and reader.data[reader.at] & 1 and reader.data[reader.at + 1] == 17:
            tail = Reader(reader.data, reader.at + 2)
            kind = read_nodeid(tail)
            read_datavalue(reader)
            builtin = kind.namespace == 0 and isinstance(kind.key, int) and kind.key < len(NAMES)
            return NAMES[int(kind.key)] if builtin and isinstance(kind.key, int) else str(kind)
        read_datavalue(reader)
        return ""

    found = reader.array(one)
    services.end(reader)
    return found if len(found) == len(nodes) else [""] * len(nodes)


def _shown(value: Found) -> float | int | bool | str | None:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list):
        return f"an array of {len(value)} String"
    return value.words if isinstance(value, Other) else str(value)[:200]


def _step(reference: Reference) -> str:
    name = reference.name.replace("&", "&&").replace("/", "&/")
    return f"{reference.namespace}:{name}" if reference.namespace else name


def _meaning(reference: Reference, known: Sequence[str]) -> str:
    uri = known[reference.namespace] if reference.namespace < len(known) else ""
    return f"{COMPANIONS[uri]} {reference.name}" if uri in COMPANIONS else ""

"""Node ids and browse paths: as they are written in a configuration, and as they go over the wire."""

from __future__ import annotations

import re
import struct
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from ullage_protocols.field.errors import SpecError

from .wire import DecodeError, Reader, byte_string, string

_BASE64 = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)"
_GUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_NODE = re.compile(
    r"(?:ns=(?P<ns>[0-9]{1,5});|nsu=(?P<uri>[^\x00-\x20;\x7f]{1,1024});)?"
    rf"(?:i=(?P<i>[0-9]{{1,10}})|s=(?P<s>[^\x00-\x1f\x7f]{{1,4096}})|g=(?P<g>{_GUID})|b=(?P<b>{_BASE64}))"
)
_STEP = re.compile(r"(?:(?P<ns>[0-9]{1,5}):|(?![0-9]+:))(?P<name>[^\x00-\x1f\x7f]{1,512})")
SHAPE = "write ns=2;s=text, ns=2;i=number, ns=2;g=guid or ns=2;b=base64 (ns=0 may be left out; nsu=uri names it by URI)"


class NodeId(NamedTuple):
    """``key`` is a number, text, UUID or bytes. ``uri``, where given, stands for the namespace until it is known."""

    namespace: int
    key: int | str | UUID | bytes
    uri: str = ""

    def __str__(self) -> str:
        where = f"nsu={self.uri};" if self.uri else f"ns={self.namespace};" if self.namespace else ""
        if isinstance(self.key, bytes):
            return f"{where}b={b64encode(self.key).decode()}"
        letter = "i" if isinstance(self.key, int) else "s" if isinstance(self.key, str) else "g"
        return f"{where}{letter}={self.key}"


def parse_nodeid(text: str) -> NodeId:
    """From text such as ``ns=2;s=tank.level``. Raises SpecError."""
    found = _NODE.fullmatch(text)
    if not found or int(found["ns"] or 0) > 0xFFFF or int(found["i"] or 0) > 0xFFFFFFFF:
        raise SpecError(f"{text!r} is no node id; {SHAPE}")
    key: int | str | UUID | bytes
    if found["i"]:
        key = int(found["i"])
    elif found["g"]:
        key = UUID(found["g"])
    else:
        key = found["s"] or b64decode(found["b"])
    return NodeId(int(found["ns"] or 0), key, found["uri"] or "")


def parse_path(text: str) -> tuple[tuple[int, str], ...]:
    """The steps of a browse path such as ``/Objects/2:Machine/2:Level``, from the root folder on.

    ``&`` before a character takes it as it is. Raises SpecError.

    >>> parse_path("/Objects/2:Tank&/1")
    ((0, 'Objects'), (2, 'Tank/1'))
    """
    steps = []
    if text.startswith("/"):
        for part in re.findall(r"/((?:[^/&]|&.)*)", text):
            found = _STEP.fullmatch(re.sub(r"&(.)", "\\1", part))
            steps.append((int(found["ns"] or 0), found["name"]) if found else (-1, ""))
    if not 1 <= len(steps) <= 64 or any(not 0 <= namespace <= 0xFFFF for namespace, _ in steps):
        raise SpecError(f"{text!r} is no browse path; write /Objects/2:Machine/2:Level (no number: namespace 0)")
    return tuple(steps)


def pack_nodeid(node: NodeId) -> bytes:
    namespace, key = node.namespace, node.key
    if isinstance(key, int):
        if namespace == 0 and key < 256:
            return struct.pack("<BB", 0, key)
        if namespace < 256 and key < 65536:
            return struct.pack("<BBH", 1, namespace, key)
        return struct.pack("<BHI", 2, namespace, key)
    if isinstance(key, str):
        return struct.pack("<BH", 3, namespace) + string(key)
    if isinstance(key, UUID):
        return struct.pack("<BH", 4, namespace) + key.bytes_le
    return struct.pack("<BH", 5, namespace) + byte_string(key)


def read_nodeid(reader: Reader) -> NodeId:
    """A NodeId, or an ExpandedNodeId, whose server index is dropped."""
    form = reader.u8()
    match form & 0x3F:
        case 0:
            node = NodeId(0, reader.u8())
        case 1:
            node = NodeId(reader.u8(), reader.u16())
        case 2:
            node = NodeId(reader.u16(), reader.u32())
        case 3:
            node = NodeId(reader.u16(), reader.text())
        case 4:
            node = NodeId(reader.u16(), UUID(bytes_le=reader.take(16)))
        case 5:
            node = NodeId(reader.u16(), reader.bytes_(65536) or b"")
        case other:
            raise DecodeError(f"node id of form {other}")
    if form & 0x80:
        node = NodeId(node.namespace, node.key, reader.text())
    if form & 0x40:
        reader.skip(4)
    return node


def read_name(reader: Reader) -> tuple[int, str]:
    """A QualifiedName."""
    return reader.u16(), reader.text()


def resolve(node: NodeId, namespaces: Sequence[str]) -> NodeId | None:
    """``node`` with the index of its namespace URI on this server; None where the server has no such namespace."""
    if not node.uri:
        return node
    return NodeId(namespaces.index(node.uri), node.key) if node.uri in namespaces else None

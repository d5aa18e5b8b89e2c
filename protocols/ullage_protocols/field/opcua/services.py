"""The services of OPC UA that read, and no others: requests can be encoded for these and for nothing else.

``ALLOWED`` is the whole list. What goes out passes ``only_reads`` at the place where its body is framed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ullage_protocols.field.errors import FieldError, SendRefused

from .nodeids import NodeId, pack_nodeid, read_name, read_nodeid
from .statuses import told
from .variants import Found, read_datavalue
from .wire import DecodeError, Reader, array, byte_string, string

GET_ENDPOINTS, OPEN_CHANNEL, CLOSE_CHANNEL = 428, 446, 452
CREATE_SESSION, ACTIVATE_SESSION, CLOSE_SESSION = 461, 467, 473
BROWSE, BROWSE_NEXT, TRANSLATE = 527, 533, 554
READ = 631
CREATE_ITEMS, CREATE_SUBSCRIPTION, PUBLISH, REPUBLISH, DELETE_SUBSCRIPTIONS = 751, 787, 826, 832, 847
ALLOWED = frozenset(
    {
        GET_ENDPOINTS, OPEN_CHANNEL, CLOSE_CHANNEL, CREATE_SESSION, ACTIVATE_SESSION, CLOSE_SESSION, BROWSE,
        BROWSE_NEXT, TRANSLATE, READ, CREATE_ITEMS, CREATE_SUBSCRIPTION, PUBLISH, REPUBLISH, DELETE_SUBSCRIPTIONS,
    }
)  # fmt: skip
"""Numbers (binary encoding, namespace 0) of the requests that may leave. Their responses are numbered 3 on."""
FAULT = 397
VALUE = 13
"""The attribute that a tag is."""

_TYPE = struct.Struct("<BBH")
_MIDDLE = struct.Struct("<qI")
_TAIL = struct.Struct("<I4sI3s")
_RESPONSE = struct.Struct("<BBHqIIBi3s")
_PLAIN = (0, b"\x00\x00\x00")


def only_reads(body: bytes) -> None:
    """Raises SendRefused unless ``body`` begins with the number of an allowed request."""
    kind = _TYPE.unpack_from(body) if len(body) >= _TYPE.size else (0, 0, 0)
    if kind[:2] != (1, 0) or kind[2] not in ALLOWED:
        raise SendRefused(f"request {kind[2]} is no read; this connection only reads, nothing was sent")


class Request(NamedTuple):
    """A request but for its header: encoded once, sent as often as needed."""

    kind: int
    body: bytes

    def encoded(self, session: bytes, now: int, handle: int, hint: int) -> bytes:
        """The whole message. ``session`` is the encoded authentication token; ``hint`` a timeout in ms."""
        head = _TYPE.pack(1, 0, self.kind) + session + _MIDDLE.pack(now, handle)
        return head + _TAIL.pack(0, b"\xff\xff\xff\xff", hint, b"\x00\x00\x00") + self.body


class ServiceFault(FieldError):
    """The server refused a whole request; ``status`` says why."""

    def __init__(self, status: int) -> None:
        super().__init__(f"server says {told(status)}")
        self.status = status


def response(body: bytes, kind: int) -> Reader:
    """A Reader at what follows the header of the response to a request of ``kind``.

    Raises ServiceFault, and DecodeError where it is no such response.
    """
    if len(body) < _RESPONSE.size:
        raise DecodeError(f"a response of {len(body)} bytes")
    form, namespace, number, _, _, status, diagnostics, strings, extra = _RESPONSE.unpack_from(body)
    if (form, namespace) != (1, 0) or number not in (kind + 3, FAULT):
        raise DecodeError(f"a response of type {number} to a request of type {kind}")
    if status >> 30:
        raise ServiceFault(status)
    if number == FAULT:
        raise DecodeError("a service fault that says Good")
    reader = Reader(body, _RESPONSE.size)
    if (diagnostics, extra) != _PLAIN or strings > 0:
        reader.at = _TYPE.size + 16
        reader.diagnostics()
        reader.array(reader.text, 4)
        reader.extension()
    return reader


def end(reader: Reader) -> None:
    """The diagnostics that close most responses, and nothing after them."""
    reader.array(reader.diagnostics)
    reader.done()


# --- read ------------------------------------------------------------------------------------------------------


def read(nodes: Iterable[NodeId], attribute: int = VALUE) -> Request:
    """Reads one attribute of ``nodes``, with both times."""
    tail = struct.pack("<I", attribute) + b"\xff\xff\xff\xff\x00\x00\xff\xff\xff\xff"
    return Request(READ, struct.pack("<dI", 0.0, 2) + array([pack_nodeid(node) + tail for node in nodes]))


# --- finding nodes ---------------------------------------------------------------------------------------------

HIERARCHICAL = NodeId(0, 33)
ROOT = NodeId(0, 84)


def translate(paths: Sequence[Sequence[tuple[int, str]]]) -> Request:
    """Asks for the nodes at the ends of ``paths`` from the root folder on."""

    def element(step: tuple[int, str]) -> bytes:
        return pack_nodeid(HIERARCHICAL) + b"\x00\x01" + struct.pack("<H", step[0]) + string(step[1])

    return Request(TRANSLATE, array([pack_nodeid(ROOT) + array([element(step) for step in path]) for path in paths]))


def translated(reader: Reader) -> list[tuple[int, NodeId | None]]:
    """For each path its status and node."""

    def result() -> tuple[int, NodeId | None]:
        status = reader.u32()
        targets = reader.array(lambda: (read_nodeid(reader), reader.u32()), 6)
        whole = [node for node, remaining in targets if remaining == 0xFFFFFFFF]
        return status, whole[0] if whole else None

    found = reader.array(result, 8)
    end(reader)
    return found


class Reference(NamedTuple):
    node: NodeId
    namespace: int
    name: str
    node_class: int
    type: NodeId


def browse(nodes: Sequence[NodeId], most: int) -> Request:
    """Asks for the hierarchical references down from ``nodes``, at most ``most`` of each at once."""
    tail = b"\x00\x00\x00\x00" + pack_nodeid(HIERARCHICAL) + b"\x01" + struct.pack("<II", 0, 0x3F)
    view = pack_nodeid(NodeId(0, 0)) + struct.pack("<qI", 0, 0)
    return Request(BROWSE, view + struct.pack("<I", most) + array([pack_nodeid(node) + tail for node in nodes]))


def browse_next(points: Sequence[bytes], *, release: bool) -> Request:
    """Goes on at continuation points, or lets go of them."""
    return Request(BROWSE_NEXT, bytes([release]) + array([byte_string(point) for point in points]))


def browsed(reader: Reader) -> list[tuple[int, bytes, list[Reference]]]:
    """For each node its status, the point to go on at (empty: no more) and references."""

    def reference() -> Reference:
        read_nodeid(reader)
        reader.u8()
        node = read_nodeid(reader)
        namespace, name = read_name(reader)
        reader.localized()
        return Reference(node, namespace, name, reader.u32(), read_nodeid(reader))

    found = reader.array(lambda: (reader.u32(), reader.bytes_(65536) or b"", reader.array(reference, 14)), 12)
    end(reader)
    return found


# --- subscriptions ---------------------------------------------------------------------------------------------


def create_subscription(interval: float, keepalive: int, lifetime: int, most: int) -> Request:
    """``interval`` in ms; ``keepalive`` and ``lifetime`` in intervals; ``most`` notifications a report."""
    return Request(CREATE_SUBSCRIPTION, struct.pack("<dIII?B", interval, lifetime, keepalive, most, True, 0))


class Granted(NamedTuple):
    """A subscription as the server revised it."""

    id: int
    interval: float
    lifetime: int
    keepalive: int


def granted(reader: Reader) -> Granted:
    found = Granted(reader.u32(), reader.f64(), reader.u32(), reader.u32())
    reader.done()
    return found


class Item(NamedTuple):
    """What is to be monitored; ``sampling`` in ms; ``deadband`` absolute, or percent of the range."""

    handle: int
    node: NodeId
    sampling: float
    queue: int
    deadband: float = 0.0
    percent: bool = False


def create_items(subscription: int, items: Sequence[Item]) -> Request:
    def one(item: Item) -> bytes:
        node = pack_nodeid(item.node) + struct.pack("<I", VALUE) + b"\xff\xff\xff\xff\x00\x00\xff\xff\xff\xff"
        no_filter = b"\x00\x00\x00"
        if item.deadband:
            body = struct.pack("<IId", 1, 2 if item.percent else 1, item.deadband)
            no_filter = pack_nodeid(NodeId(0, 724)) + b"\x01" + byte_string(body)
        wanted = struct.pack("<Id", item.handle, item.sampling) + no_filter + struct.pack("<I?", item.queue, True)
        return node + struct.pack("<I", 2) + wanted

    return Request(CREATE_ITEMS, struct.pack("<II", subscription, 2) + array([one(item) for item in items]))


def created_items(reader: Reader) -> list[tuple[int, int]]:
    """For each item its status and revised queue size."""

    def result() -> tuple[int, int]:
        status = reader.u32()
        reader.skip(12)
        queue = reader.u32()
        reader.extension()
        return status, queue

    found = reader.array(result, 23)
    end(reader)
    return found


def publish(acknowledged: Sequence[tuple[int, int]]) -> Request:
    """Asks for a report and acknowledges reports (subscription, sequence number)."""
    return Request(PUBLISH, array([struct.pack("<II", *pair) for pair in acknowledged]))


def republish(subscription: int, sequence: int) -> Request:
    return Request(REPUBLISH, struct.pack("<II", subscription, sequence))


def delete_subscriptions(subscriptions: Sequence[int]) -> Request:
    return Request(DELETE_SUBSCRIPTIONS, array([struct.pack("<I", one) for one in subscriptions]))


class Report(NamedTuple):
    """One publish response; ``notifications`` are (type, body). Without any it is a keep-alive."""

    subscription: int
    available: tuple[int, ...]
    sequence: int
    notifications: list[tuple[int, bytes]]


def report(reader: Reader) -> Report:
    subscription = reader.u32()
    available = tuple(reader.array(reader.u32, 4))
    reader.u8()
    sequence, notifications = message(reader)
    reader.array(reader.u32, 4)
    end(reader)
    return Report(subscription, available, sequence, notifications)


def message(reader: Reader) -> tuple[int, list[tuple[int, bytes]]]:
    """A NotificationMessage, as it also stands in the response to Republish: sequence number and notifications."""
    sequence = reader.u32()
    reader.skip(8)
    return sequence, reader.array(reader.extension, 3)


# --- what a server says of itself ------------------------------------------------------------------------------


class Login(NamedTuple):
    """A kind of login that an endpoint takes: 0 anonymous, 1 user name, 2 certificate, 3 token."""

    id: str
    type: int
    policy: str


class Offer(NamedTuple):
    """An endpoint as the server describes it; ``mode`` 1 None, 2 Sign, 3 SignAndEncrypt."""

    url: str
    certificate: bytes
    mode: int
    policy: str
    logins: list[Login]


def get_endpoints(url: str) -> Request:
    return Request(GET_ENDPOINTS, string(url) + array([]) + array([]))


def endpoints(reader: Reader) -> list[Offer]:
    found = offers(reader)
    reader.done()
    return found


def offers(reader: Reader) -> list[Offer]:
    """An array of EndpointDescription."""

    def login() -> Login:
        name, kind = reader.text(), reader.u32()
        reader.text()
        reader.text()
        return Login(name, kind, reader.text())

    def offer() -> Offer:
        url = reader.text()
        reader.text()
        reader.text()
        reader.localized()
        reader.u32()
        reader.text()
        reader.text()
        reader.array(reader.text, 4)
        certificate, mode, policy = reader.bytes_(65536) or b"", reader.u32(), reader.text()
        logins = reader.array(login, 20)
        reader.text()
        reader.u8()
        return Offer(url, certificate, mode, policy, logins)

    return reader.array(offer, 40)


def values(reader: Reader) -> list[tuple[Found, int]]:
    """A read response in full, value and status of each: for the few things read once."""
    found = reader.array(lambda: read_datavalue(reader)[:2])
    end(reader)
    return found

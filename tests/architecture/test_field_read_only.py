"""The room that reaches a field bus, and the process above it, hold nothing that could write to a device.

A lint, not a proof: the guard under the Modbus client refuses at run time whatever gets past it.
"""

from __future__ import annotations

import ast
import inspect
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
import ullage_protocols.field.base
from asyncua.ua import ObjectIds
from ullage_protocols.field.base import FieldClient, FieldError, SendRefused
from ullage_protocols.field.modbus import frames, rtu
from ullage_protocols.field.modbus.addresses import Table
from ullage_protocols.field.modbus.guard import ReadOnlyTransport
from ullage_protocols.field.opcua import services
from ullage_protocols.field.opcua.channel import Channel

ROOT = Path(__file__).parents[2]
FIELD = Path(inspect.getfile(ullage_protocols.field.base)).parent
ROOMS = (FIELD, ROOT / "agent" / "ullage_agent")
WRITING = re.compile(
    r"write_(?!(text|bytes)$)\w*"  # Path.write_text and Path.write_bytes go to files, never to a device
    r"|readwrite_\w*|mask_write\w*|set_(data_)?value|set_writable|set_attr\w*|call_method\w*|history_update"
    r"|\w*(WriteSingle|WriteMultiple|MaskWrite|WriteFile|WriteParameters|WriteRequest|WriteValue|CallMethod)\w*"
    r"|(add|delete)_(nodes|references)|diag_\w*"
)
WRITE_FUNCTIONS = frozenset({5, 6, 15, 16, 22, 23})
FUNCTION_NAME = re.compile(r"func|(^|_)fc(_|$)|^read_|^_?identify$|opcode", re.IGNORECASE)
DOORS = {"pymodbus": ("modbus/ways.py",), "asyncua": ()}
"""The modules of the field room that may import a library; asyncua, which can write, by none."""
SENDING = frozenset({"write", "writelines", "sendto", "sendmsg", "call"})
SOCKET_SENDING = frozenset({"sendall", "sock_sendall"})
"""Counts in the Modbus room. Where the OPC UA room does this is listed place by place further down."""
GUARD = "ReadOnlyTransport"


def faults(source: str, *, at_the_bus: bool, sending: frozenset[str] = SENDING | SOCKET_SENDING) -> Iterator[str]:
    """What in ``source`` could write to a device. ``at_the_bus``: inside field, where even ``.write`` counts."""
    tree = ast.parse(source)
    guard = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name == GUARD
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        for name in names(node):
            if WRITING.fullmatch(name):
                yield f"line {node.lineno}: {name}"  # type: ignore[attr-defined]
        if isinstance(node, ast.Attribute) and at_the_bus and node.attr in sending and id(node) not in guard:
            yield f"line {node.lineno}: .{node.attr} outside {GUARD}"
        for name, value in named_values(node):
            codes = {inner.value for inner in ast.walk(value) if isinstance(inner, ast.Constant)}
            if FUNCTION_NAME.search(name) and codes & WRITE_FUNCTIONS:
                yield f"line {value.lineno}: {name} with function code {sorted(codes & WRITE_FUNCTIONS)}"


def names(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name) | ast.keyword(arg=str(name)):
            yield name.rpartition(".")[2]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Constant(value=str(name)):
            yield name


def named_values(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    match node:
        case ast.Assign(targets=targets, value=value):
            yield from ((ast.unparse(target).rpartition(".")[2], value) for target in targets)
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            yield ast.unparse(target).rpartition(".")[2], value
        case ast.keyword(arg=str(name), value=value):
            yield name, value
        case ast.Compare(left=left, comparators=others):
            yield from ((ast.unparse(left).rpartition(".")[2], other) for other in others)
            yield from ((ast.unparse(other).rpartition(".")[2], left) for other in others)


def sources() -> list[Path]:
    return [path for room in ROOMS for path in sorted(room.rglob("*.py"))]


def test_nothing_at_the_field_bus_or_above_it_can_write() -> None:
    assert len([path for path in sources() if FIELD in path.parents]) >= 10
    found = [
        f"{path.relative_to(ROOT)} {fault}"
        for path in sources()
        for fault in faults(
            path.read_text(encoding="utf-8"),
            at_the_bus=FIELD in path.parents,
            sending=SENDING if FIELD / "opcua" in path.parents else SENDING | SOCKET_SENDING,
        )
    ]
    assert not found, "this room reads only; take out:\n" + "\n".join(found)


@pytest.mark.parametrize(
    "planted",
    [
        "await client.write_register(0, 1)",
        "await client.write_coils(0, [True])",
        "await node.write_value(1.0)",
        "await node.set_value(1.0)",
        "node.set_data_value(value)",
        "await objects.call_method('stop')",
        "from pymodbus.pdu.register_message import WriteSingleRegisterRequest",
        "import pymodbus.pdu.WriteMultipleCoilsRequest",
        "request = pdu.MaskWriteRegisterRequest(0)",
        "await client.readwrite_registers(read_address=0)",
        "getattr(client, 'write_' 'coil')(0, True)",
        "ua.WriteParameters()",
        "async def write_tag(self): ...",
        "function = 6",
        "FUNCTION_CODES: set[int] = {3, 16}",
        "build(function_code=0x05)",
        "if function in (3, 23): pass",
        "if 22 == self.function: pass",
        "READ_REGISTERS = frozenset({3, 4, 6})",
        "client.diag_restart_communication(True)",
    ],
)
def test_the_lint_sees_a_planted_write(planted: str) -> None:
    assert list(faults(planted, at_the_bus=False))


@pytest.mark.parametrize(
    "planted",
    [
        "transport.write(b'')",
        "await uaclient.write(parameters)",
        "await session.call(methods)",
        "class Other:\n    def f(self): self._inner.write(b'')",
    ],
)
def test_at_the_bus_even_a_bare_write_is_seen(planted: str) -> None:
    assert list(faults(planted, at_the_bus=True))


@pytest.mark.parametrize(
    "harmless", ["path.write_text('x')", "limit = 16", "retries = 5", "overwrite = True", "client.read_coils(6)"]
)
def test_the_lint_lets_reading_and_files_be(harmless: str) -> None:
    assert not list(faults(harmless, at_the_bus=True))


def test_a_field_client_has_no_verb_that_writes() -> None:
    members = {name for name in vars(FieldClient) if not name.startswith("_")}
    assert members == {"name", "groups", "connect", "read", "identify", "close"}


def test_each_field_library_has_one_door() -> None:
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            roots: set[str] = set()
            if isinstance(node, ast.Import):
                roots = {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                roots = {node.module.partition(".")[0]}
            for root in roots & DOORS.keys():
                doors = [FIELD / door for door in DOORS[root]]
                assert path in doors, f"{path}: {root} is imported in {', '.join(DOORS[root]) or 'no module'} only"


READS = {1, 2, 3, 4, 43}


def test_no_encoder_knows_a_write_function() -> None:
    """Every way to a request is tried with everything it takes; what comes out asks for a read."""
    made = [frames.read_question(1, table, 0, 1) for table in get_args(Table)]
    made += [frames.identify_question(1, level, 0) for level in range(256)]
    every = [(function, size) for function in range(1, 5) for size in range(20)]
    made += [frames.mark_question(question, given_up, 125) for question in made for given_up in ((), every)]
    assert {question.pdu[0] for question in made} == READS == {*frames.READ_FUNCTIONS.values(), frames.IDENTIFY}
    makers = {"read_question", "identify_question"}
    for path in sorted((FIELD / "modbus").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for inside in ast.walk(tree):
            if isinstance(inside, ast.FunctionDef):
                for node in ast.walk(inside):
                    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Question":
                        assert inside.name in makers, f"{path.name} line {node.lineno} makes a Question of its own"


@pytest.mark.parametrize("function", range(256))
def test_both_guards_let_out_reads_only(function: int) -> None:
    for body in (bytes([function, 0, 0, 0, 1]), bytes([function, 14, 1, 0]), bytes([function]) * 9):
        wire = struct.pack(">HHHB", 7, 0, len(body) + 1, 1) + body
        crc = bytes([1]) + body + rtu.checksum(bytes([1]) + body)
        fits = (function in READS - {43} and len(body) == 5) or (function == 43 and len(body) == 4)
        for judges, data in (((frames.READS.fullmatch, frames.refuse), wire), ((rtu.is_read_frame, rtu.refuse), crc)):
            carried: list[bytes] = []
            transport = SimpleNamespace(write=carried.append)
            guard = ReadOnlyTransport(transport, *judges)  # type: ignore[arg-type]
            if fits:
                guard.ask(data)
            else:
                with pytest.raises(SendRefused, match="nothing was sent"):
                    guard.ask(data)
            assert carried == ([data] if fits else [])


def test_every_link_sends_through_the_guard_alone() -> None:
    """Each class that asyncio gives a transport wraps it before it keeps it."""
    wrapped = []
    for path in sorted((FIELD / "modbus").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name == "connection_made":
                (assignment, *_) = [inner for inner in node.body if isinstance(inner, ast.Assign)]
                assert ast.unparse(assignment).startswith(f"self.guard = {GUARD}("), path
                wrapped.append(path.name)
    assert wrapped == ["rtu_link.py", "tcp_link.py"]


def test_a_client_without_a_serial_line_never_loads_pymodbus() -> None:
    program = "import sys, ullage_protocols.field.modbus.client; sys.exit('pymodbus' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# --- OPC UA: no other request has an encoder ---------------------------------------------------------------------

OPCUA = FIELD / "opcua"
READING = {
    "GetEndpoints", "OpenSecureChannel", "CloseSecureChannel", "CreateSession", "ActivateSession", "CloseSession",
    "Browse", "BrowseNext", "TranslateBrowsePathsToNodeIds", "Read", "CreateMonitoredItems", "CreateSubscription",
    "Publish", "Republish", "DeleteSubscriptions",
}  # fmt: skip
REQUESTS = {
    number: name.removesuffix("Request_Encoding_DefaultBinary")
    for name, number in vars(ObjectIds).items()
    if name.endswith("Request_Encoding_DefaultBinary")
}
"""Every request that the standard knows, by the number of its binary encoding (from asyncua's table)."""


def requests_built(source: str) -> Iterator[str]:
    """What each ``Request(kind, ...)`` in ``source`` is of."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Request":
            yield ast.unparse(node.args[0]) if node.args else "nothing"


def unallowed(source: str) -> Iterator[str]:
    for kind in requests_built(source):
        number = getattr(services, kind.rpartition(".")[2], None)
        if number not in services.ALLOWED:
            yield f"a request of {kind}"


def test_the_allowed_requests_are_those_that_read() -> None:
    assert len(REQUESTS) > 30
    assert {REQUESTS[number] for number in services.ALLOWED} == READING


def test_only_allowed_requests_have_an_encoder() -> None:
    texts = [path.read_text("utf-8") for path in sorted(OPCUA.glob("*.py"))]
    built = [kind for text in texts for kind in requests_built(text)]
    assert len(built) >= len(services.ALLOWED)
    assert [fault for text in texts for fault in unallowed(text)] == []


@pytest.mark.parametrize("planted", ["Request(673, body)", "services.Request(WRITE, b'')", "Request(kind, body)"])
def test_an_encoder_for_another_request_is_seen(planted: str) -> None:
    assert list(unallowed(planted))


@pytest.mark.parametrize("number", sorted(REQUESTS))
def test_what_is_not_allowed_is_not_framed(number: int) -> None:
    channel = Channel("opc.tcp://h:1")
    if REQUESTS[number] in READING:
        # It passes the guard, and stops only because the channel is not open yet.
        with pytest.raises(FieldError, match="not open"):
            channel.ask(services.Request(number, b""), b"\x00\x00", 0, 0)
    else:
        with pytest.raises(SendRefused, match="is no read"):
            channel.ask(services.Request(number, b""), b"\x00\x00", 0, 0)


@pytest.mark.parametrize("body", [b"", b"\x01\x00", b"\x00\x77", b"\x02\x00\x00\x77\x02\x00\x00", b"\x01\x01\x77\x02"])
def test_the_guard_takes_a_request_number_in_one_form_only(body: bytes) -> None:
    with pytest.raises(SendRefused):
        services.only_reads(body)


def test_bytes_leave_by_the_channel_only() -> None:
    """In the room, a socket is sent to at one place that takes chunks of the channel, and at those to the agent."""
    places = {
        (path.name, ast.unparse(node.func))
        for path in OPCUA.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and re.search(r"\.(sock_)?send\w*$", ast.unparse(node.func))
    }  # fmt: skip
    assert {place for place in places if place[0] not in ("client.py", "keeper.py", "child.py")} == {
        ("link.py", "self._socket.sendall"), ("link.py", "link.sendall"),
    }  # fmt: skip

"""The process that reads one OPC UA server: ``python -m ullage_protocols.field.opcua.child``, started by the client.

It holds no more than it needs, cannot grow beyond its limit, and ends when the agent does. Whatever its server sends,
the agent sees frames (``frames.py``) on the socket that is this process's standard input, or its end.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import sys
import time
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from ullage_protocols.errors import ProtocolError
from ullage_protocols.field.errors import FieldError, HostileError, RefusedError, SendRefused, SilentError

from . import frames, services
from .finding import find
from .frames import Part
from .identity import identify
from .link import Link, readable
from .nodeids import NodeId
from .reading import Group
from .session import Session, Who, limits
from .subscribing import Subscription, handles_of, lost_block
from .task import Task
from .values import Block, told_block

MARGIN = 64_000_000
"""Bytes of address space that the process may take beyond what it needs to start."""
_MAX_NODES_PER_READ, _MAX_ITEMS_PER_CALL, _MAX_PATHS = 11705, 11714, 11712
_STATE = NodeId(0, 2259)
_DIE_WITH_PARENT = 1


class Reader:
    """One server, as the agent asked for it."""

    def __init__(self, agent: socket.socket, task: Task) -> None:
        self._agent, self._task = agent, task
        self._asked = time.monotonic()
        protection = None
        trusted = _pinned(task.trusted) if task.trusted else b""
        if task.security:
            from datetime import UTC, datetime

            from .protection import Protection

            certificate, key = Path(task.security.certificate), Path(task.security.key)
            protection = Protection(
                task.security.policy, task.security.mode, certificate, key, trusted, datetime.now(UTC)
            )
        elif task.user_certificate or task.user:
            from . import security as _  # noqa: F401 - taken in before memory is limited
        _confine()
        self.link = Link(task.url, task.timeout, protection)
        self.subscription: Subscription | None = None
        self._groups: list[Group] = []
        self._heard = 0.0

    def start(self) -> dict[str, Any]:
        """Opens everything; what the agent should know of it."""
        task, link = self._task, self.link
        link.open()
        trusted = link.protection.trusted if link.protection else _der(self._task)
        who = Who(task.user, task.password, task.user_certificate, task.user_key, trusted, task.clear)
        self._session = Session(link, who, f"ullage {os.getpid()}")
        most, items, paths = limits(link, [_MAX_NODES_PER_READ, _MAX_ITEMS_PER_CALL, _MAX_PATHS])
        nodes, missing = find(link, task.points, paths)
        if task.publishing:
            self._groups = [Group(link, nodes, missing, most)]
            self._subscribe(nodes, items)
            assert self.subscription is not None  # noqa: S101 - just made
            return {"silence": self.subscription.silence}
        for group in range(max(point.group for point in task.points) + 1):
            rows = [position for position, point in enumerate(task.points) if point.group == group]
            gone = {row: missing[position] for row, position in enumerate(rows) if position in missing}
            self._groups.append(Group(link, [nodes[position] for position in rows], gone, most))
        return {"silence": 0.0}

    def _subscribe(self, nodes: list[NodeId | None], limit: int) -> None:
        points = self._task.points
        items = [
            services.Item(at, node, points[at].sampling, points[at].queue, points[at].deadband, points[at].percent)
            for at, node in enumerate(nodes)
            if node is not None
        ]
        self.subscription = Subscription(
            self.link, items, self._task.publishing, self._task.keepalive, limit, time.monotonic()
        )
        self._prove({item.handle for item in items} - self.subscription.refused.keys())

    def _prove(self, silent: set[int]) -> None:
        """Waits until every item, or at least the subscription itself, has given a sign; then reads every node.

        So the first report holds all tags, each as new as the last sign of it.
        """
        subscription = self.subscription
        assert subscription is not None  # noqa: S101
        first: list[Block] = []
        interval = subscription.granted.interval / 1000
        deadline = time.monotonic() + interval + self._task.timeout
        alive = False
        while silent:
            now = time.monotonic()
            if now >= deadline:
                if alive:
                    break
                raise FieldError("the new subscription gives no sign of life")
            subscription.post(now)
            if readable(self.link.fileno(), wait=min(deadline - now, subscription.rest())):
                self.link.take()
            while self.link.others:
                if heard := subscription.heard(self.link.others.popleft(), now):
                    if not alive:
                        # What has no value yet may never be reported; the read behind tells of it.
                        alive, deadline = True, min(deadline, now + 2 * interval)
                    first += heard[0]
                    silent = silent.difference(*map(handles_of, heard[0])) if heard[0] else set()
        self._heard = time.monotonic()
        self._tell(first, every=True)

    def answer(self, kind: int, body: dict[str, Any]) -> None:
        """One question of the agent."""
        serial = int(body["serial"])
        self._asked = time.monotonic()
        if kind == frames.IDENTIFY:
            self._send([frames.pack_json(frames.IDENTITY, {"serial": serial, **identify(self.link)})])
        elif kind == frames.READ:
            group = self._groups[int(body["group"])]
            self._parts(frames.PART, group.read(), serial)

    def _parts(self, kind: int, blocks: Iterable[tuple[int, Block]], serial: int = 0) -> None:
        """First rows and blocks, as parts of one answer."""
        held: Part | None = None
        for first, block in blocks:
            if held:
                self._send(frames.pack_part(kind, held))
            held = Part(serial, False, first, block)
        if held:
            self._send(frames.pack_part(kind, held._replace(last=True)))

    def reports(self) -> None:
        """Passes on what the server said unasked."""
        while self.link.others:
            if self.subscription is None:
                raise HostileError("a report without a subscription")
            heard = self.subscription.heard(self.link.others.popleft(), time.monotonic())
            if heard is None:
                continue
            blocks, gap = heard
            self._heard = time.monotonic()
            if gap:
                blocks.insert(0, lost_block(len(self._task.points), gap))
            self._tell(blocks, every=bool(gap))

    def _tell(self, blocks: list[Block], *, every: bool) -> None:
        """One report to the agent. ``every``: with the present value of each node behind it.

        What the server refuses to watch has the last word of it: its value would otherwise pass for a watched one.
        """
        parts = [(0, block) for block in blocks]
        if every:
            assert self.subscription is not None  # noqa: S101 - only its reports come here
            parts += self._groups[0].read()
            if refused := self.subscription.refused:
                parts.append((0, told_block(list(refused.values()), array("I", refused))))
        self._parts(frames.CHANGE, parts or [(0, told_block([]))])

    def rest(self) -> float:
        """Seconds until something is to be done without being asked."""
        now = time.monotonic()
        due = [self.link.renewal_at(), self._asked + self._session.lifetime / 2]
        if self.subscription:
            due[1] = min(self._heard + self.subscription.silence, now + self.subscription.rest())
        return min(due) - now

    def upkeep(self) -> None:
        """Renews the token, keeps the session, and notices a subscription that has gone silent."""
        now = time.monotonic()
        self.link.upkeep()
        if self.subscription:
            if now >= self._heard + self.subscription.silence:
                raise FieldError(f"subscription lost: no report within {self.subscription.silence:g} s")
            self.subscription.post(now)
        elif now >= self._asked + self._session.lifetime / 2:
            self._asked = now
            self.link.ask(services.read([_STATE]))

    def _send(self, pieces: list[bytes | memoryview] | list[bytes]) -> None:
        try:
            self._agent.sendall(b"".join(pieces))
        except OSError:
            sys.exit(0)


def main() -> None:
    _harden()
    agent = socket.socket(fileno=os.dup(0))
    frame = frames.pack_json(
        frames.FAULT, {"kind": frames.HOSTILE, "why": f"answers that take more than {MARGIN // 1_000_000} MB of memory"}
    )
    try:
        _run(agent)
    except MemoryError:
        agent.sendall(frame)
    except ProtocolError as exc:
        _fault(agent, exc)
    except OSError as exc:
        _fault(agent, FieldError(f"connection lost: {exc.strerror or exc}"))
    except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RecursionError) as exc:
        # No input is known to lead here; if one does, it is the server's, and must not pass for mere loss.
        _fault(agent, HostileError(f"an answer that the reader stumbled over ({type(exc).__name__})"))


def _run(agent: socket.socket) -> None:
    kind, body = _ask(agent)
    if kind != frames.CONNECT:
        return
    reader = Reader(agent, Task.of(body))
    try:
        ready = frames.pack_json(frames.READY, reader.start())
        agent.sendall(ready)
        while True:
            # Reports may have come while something else was asked; no later word of the server would bring them up.
            reader.reports()
            ready_files = readable(agent.fileno(), reader.link.fileno(), wait=reader.rest())
            if reader.link.fileno() in ready_files:
                reader.link.take()
                reader.reports()
            if agent.fileno() in ready_files:
                reader.answer(*_ask(agent))
            reader.upkeep()
    finally:
        reader.link.close()


def _ask(agent: socket.socket) -> tuple[int, dict[str, Any]]:
    """The agent's next word; ends the process where there is none."""
    length, kind = frames.HEAD.unpack(_exactly(agent, frames.HEAD.size))
    return kind, frames.unpack_json(_exactly(agent, length))


def _exactly(agent: socket.socket, count: int) -> bytes:
    found = bytearray()
    while len(found) < count:
        piece = agent.recv(count - len(found))
        if not piece:
            _leave()
        found += piece
    return bytes(found)


def _leave() -> NoReturn:
    sys.exit(0)


def _fault(agent: socket.socket, exc: Exception) -> None:
    kind = (
        frames.HOSTILE if isinstance(exc, HostileError)
        else frames.REFUSED if isinstance(exc, SendRefused)
        else frames.SILENT if isinstance(exc, SilentError)
        else frames.CLOSED if isinstance(exc, RefusedError)
        else frames.LOST
    )  # fmt: skip
    with contextlib.suppress(OSError):
        agent.sendall(frames.pack_json(frames.FAULT, {"kind": kind, "why": str(exc)[:500]}))


def _pinned(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(65536)
    except OSError as exc:
        raise FieldError(
            f"no trusted server certificate at {path} ({exc.strerror}); see and trust it with `ullage-agent trust`"
        ) from exc


def _der(task: Task) -> bytes:
    """The trusted certificate where it only protects a password."""
    if not task.trusted or not task.user:
        return b""
    from .security import der, load_certificate

    return der(load_certificate(_pinned(task.trusted), task.trusted))


def _harden() -> None:
    """No core dump with a password in it; first to go when memory is short; gone when the agent is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)


def _confine() -> None:
    """Limits the address space to what is taken now and ``MARGIN`` more."""
    try:
        with open("/proc/self/statm") as file:
            taken = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (taken + MARGIN, taken + MARGIN))


if __name__ == "__main__":
    main()

"""Where a running agent answers, on its own machine only: a socket in the state folder for ``status``, and, if
configured, ``/healthz`` and ``/metrics`` on loopback. Nothing that is sent here changes anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import StateError
from ..say import say
from .metrics import exposition
from .status import snapshot, unwell

if TYPE_CHECKING:
    from ..run import Agent

NAME = "agent.sock"
_LONGEST_HEAD = 8192
_PATIENCE = 2.0
"""Seconds that a caller gets to ask and to take the answer."""
_MOST = 16
"""Callers at once; more are turned away."""
_LONGEST_PATH = 100
"""Bytes that the name of a local socket may have (the kernel's limit is 107)."""
_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_JSON = "application/json"


Answer = Callable[[asyncio.StreamReader], Awaitable[bytes]]


class LocalDoor:
    """``open`` it, and ``close`` it at the end."""

    def __init__(self, agent: Agent) -> None:
        self._agent, self._callers = agent, 0
        self._path = _reachable(agent.config.state / NAME)
        self._servers: list[asyncio.AbstractServer] = []

    async def open(self) -> None:
        """Answers from now on. A port that is taken is told and leaves the rest of the agent alone."""
        try:
            status = self._bounded(self._status)
            self._servers.append(await asyncio.start_unix_server(status, sock=_bound(self._path)))
        except OSError as exc:
            say("status", why=f"{self._path} cannot be opened ({exc.strerror}); `ullage-agent status` will not answer")
        if (where := self._agent.config.listen) is None:
            return
        try:
            http = self._bounded(self._http)
            self._servers.append(await asyncio.start_server(http, where.host, where.port, limit=_LONGEST_HEAD))
            say("listening", at=f"http://{where.host}:{where.port}/metrics")
        except OSError as exc:
            why = exc.strerror or str(exc)
            say("listening", why=f"{where.host}:{where.port} cannot be had ({why}); change [local] listen")

    def close(self) -> None:
        for server in self._servers:
            server.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _bounded(self, answer: Answer) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if self._callers >= _MOST:
                writer.close()
                return
            self._callers += 1
            try:
                async with asyncio.timeout(_PATIENCE):
                    writer.write(await answer(reader))
                    await writer.drain()
            except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                writer.transport.abort()
            finally:
                self._callers -= 1
                writer.close()

        return call

    async def _status(self, _reader: asyncio.StreamReader) -> bytes:
        return json.dumps(snapshot(self._agent), ensure_ascii=False).encode() + b"\n"

    async def _http(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            return _response(405, "Method Not Allowed", "only GET is answered here\n", _TEXT, b"GET")
        if path == b"/metrics":
            return _response(200, "OK", exposition(snapshot(self._agent)), _TEXT, method)
        if path == b"/healthz":
            reasons = unwell(self._agent)
            body = json.dumps({"well": not reasons, "reasons": reasons}) + "\n"
            return _response(503 if reasons else 200, "Service Unavailable" if reasons else "OK", body, _JSON, method)
        return _response(404, "Not Found", "answered here: /healthz and /metrics\n", _TEXT, method)


def ask(state: Path) -> dict[str, object] | None:
    """The running agent's status; None where none runs. StateError where it does not answer."""
    path = _reachable(state / NAME)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(_PATIENCE)
        try:
            sock.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except OSError as exc:
            raise StateError(f"{path} cannot be reached ({exc.strerror}); run this as the agent's user") from exc
        try:
            pieces = []
            while piece := sock.recv(65536):
                pieces.append(piece)
            found = json.loads(b"".join(pieces))
        except (OSError, ValueError) as exc:
            raise StateError(f"the agent behind {path} gives no answer ({exc}); is it stuck?") from exc
    return dict(found)


def _bound(path: Path) -> socket.socket:
    """A socket that only the agent's user can reach; what an earlier run left in its place is removed."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        sock.bind(str(path))
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(before)
    return sock


def _reachable(path: Path) -> Path:
    """A name that fits: of a long path, the part below the working folder."""
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        return path
    return Path(os.path.relpath(path))


def _response(status: int, word: str, body: str, kind: str, method: bytes) -> bytes:
    raw = body.encode()
    head = (
        f"HTTP/1.1 {status} {word}\r\nContent-Type: {kind}\r\nContent-Length: {len(raw)}\r\n"
        "Connection: close\r\nX-Content-Type-Options: nosniff\r\n\r\n"
    )
    return head.encode() + (b"" if method == b"HEAD" else raw)

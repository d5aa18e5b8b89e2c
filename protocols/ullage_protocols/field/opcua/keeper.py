"""Keeps one reading process: starts it, passes frames, and sees to its end."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys

from ullage_protocols.field.errors import FieldError, HostileError

from .frames import HEAD, MAX_FRAME, FrameError

_MODULE = "ullage_protocols.field.opcua.child"
_CRASHES = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL})
_BUFFER = 262_144
_SHORTEST = 4_096
_LOOK = 0.005


class Child:
    """A process that speaks to one server. Not one method blocks the event loop."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        for end in (self._socket, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self._socket.setblocking(False)
        try:
            self._process = subprocess.Popen(
                [sys.executable, *(["-OO"] if sys.flags.optimize > 1 else []), "-m", _MODULE],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except OSError as exc:
            self._socket.close()
            raise FieldError(f"its reader cannot be started ({exc.strerror}); free memory or processes") from exc
        finally:
            theirs.close()
        self._buffer = bytearray(_SHORTEST)
        self._have = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    async def send(self, frame: bytes) -> None:
        """Raises OSError when the process is gone."""
        await asyncio.get_running_loop().sock_sendall(self._socket, frame)

    async def frame(self) -> tuple[int, bytes]:
        """Kind and body of the next frame. Raises FrameError, and OSError when the process is gone.

        May be cancelled: what has come of a frame is kept.
        """
        await self._fill(HEAD.size)
        length, kind = HEAD.unpack_from(self._buffer)
        if length > MAX_FRAME:
            raise FrameError(f"a frame of {length} bytes")
        whole = HEAD.size + length
        await self._fill(whole)
        body = bytes(memoryview(self._buffer)[HEAD.size : whole])
        left = self._have - whole
        if left:
            self._buffer[:left] = self._buffer[whole : self._have]
        self._have = left
        return kind, body

    async def _fill(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        if len(self._buffer) < count:
            self._buffer += bytes(count - len(self._buffer))
        while self._have < count:
            got = await loop.sock_recv_into(self._socket, memoryview(self._buffer)[self._have :])
            if not got:
                raise ConnectionError
            self._have += got

    async def end(self) -> FieldError:
        """Why the process ended by itself."""
        await self._gone(1.0)
        code = self._process.returncode
        if code is not None and -code in _CRASHES:
            return HostileError(f"its reader crashed (signal {-code}) on what the server sent")
        return FieldError(f"its reader ended ({'still running' if code is None else f'status {code}'})")

    async def stop(self, farewell: float) -> None:
        """Ends the process, after at most ``farewell`` seconds to do so itself."""
        self._socket.close()
        if farewell:
            await self._gone(farewell)
        if self._process.poll() is None:
            self._process.kill()
            await self._gone(5.0)

    async def _gone(self, within: float) -> None:
        for _ in range(int(within / _LOOK)):
            if self._process.poll() is not None:
                return
            await asyncio.sleep(_LOOK)

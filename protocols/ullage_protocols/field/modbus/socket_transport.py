"""A TCP connection for requests of a few bytes: asyncio's own, less what these never need, at two thirds of its cost.

asyncio's transport buffers what the socket does not take. A device that does not take 192 bytes reads nothing at all
and is lost: nothing is ever buffered here, so nothing is sent later than it was meant to be.
"""

from __future__ import annotations

import asyncio
import socket


class SocketTransport(asyncio.Transport):
    """Gives what arrives on the connected, non-blocking ``connection`` to ``protocol``."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, connection: socket.socket, protocol: asyncio.BufferedProtocol
    ) -> None:
        super().__init__()
        self._loop, self._connection, self._protocol = loop, connection, protocol
        self._carry, self._receive = connection.send, connection.recv_into
        self._room, self._arrived = protocol.get_buffer, protocol.buffer_updated
        self._open = True
        protocol.connection_made(self)
        loop.add_reader(connection, self._readable)

    def _readable(self) -> None:
        try:
            count = self._receive(self._room(-1))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        if count:
            self._arrived(count)
        else:
            self._end(None)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends ``data`` now and whole, or loses the connection."""
        try:
            if not self._open or self._carry(data) == len(data):
                return
            error = OSError("it takes no requests")
        except OSError as refused:
            error = refused
        self._end(error)

    def abort(self) -> None:
        """Ends the connection; the protocol is told."""
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._connection)
            self._connection.close()
            # Later, not now: whoever sends is in the middle of something.
            self._loop.call_soon(self._protocol.connection_lost, error)


async def connect(loop: asyncio.AbstractEventLoop, host: str, port: int, protocol: asyncio.BufferedProtocol) -> None:
    """Connects ``protocol`` to the first address of ``host`` that answers. Raises OSError."""
    refused: OSError | None = None
    for family, kind, proto, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        connection = socket.socket(family, kind, proto)
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(connection, address)
            SocketTransport(loop, connection, protocol)
        except BaseException as error:
            connection.close()
            if not isinstance(error, OSError):
                raise
            refused = error
        else:
            return
    raise refused or OSError(f"{host} has no address")

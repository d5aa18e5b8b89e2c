"""``blackhole.py LISTEN TARGET``: a TCP proxy that can fall silent without closing anything.

Control on port LISTEN+1, a word a line: ``on`` swallows every byte, both ways, while the kernel still acknowledges it;
``off`` resets the connections of that time, as a router does that comes back, and passes bytes again.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys


class Proxy:
    def __init__(self, target: int) -> None:
        self._target = target
        self._silent = False
        self._audible = asyncio.Event()
        self._audible.set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError, ConnectionError):
            if self._silent:
                await self._pump(reader, None)
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(far_writer)
            # The proxy's own connection to the broker must not outlive the client's, nor the other way round.
            ways = [
                asyncio.create_task(self._pump(reader, far_writer)),
                asyncio.create_task(self._pump(far_reader, writer)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            await self._audible.wait()
            for way in ways:
                way.cancel()
            self._close(far_writer)
        self._close(writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None) -> None:
        with contextlib.suppress(OSError, ConnectionError):
            while data := await reader.read(65536):
                if not self._silent and writer is not None:
                    writer.write(data)
                    await writer.drain()

    def _close(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        with contextlib.suppress(OSError, RuntimeError):
            writer.close()

    def turn(self, silent: bool) -> None:
        self._silent = silent
        if silent:
            self._audible.clear()
            return
        self._audible.set()
        for writer in list(self._writers):
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        self._writers.clear()

    async def obey(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            self.turn(line.strip() == b"on")
            writer.write(b'{"done":true}\n')
            await writer.drain()
        writer.close()


async def main(listen: int, target: int) -> None:
    proxy = Proxy(target)
    await asyncio.start_server(proxy.carry, "127.0.0.1", listen)
    await asyncio.start_server(proxy.obey, "127.0.0.1", listen + 1)
    print('{"ready":true}', flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))

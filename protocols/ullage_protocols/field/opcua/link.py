"""A blocking connection to one server: socket, secure channel, and the session on top. One thread, one question at a
time; answers to other questions (reports of subscriptions) are kept for whoever asks for them."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections import deque
from typing import TYPE_CHECKING

from ullage_protocols.field.errors import FieldError, HostileError, RefusedError, SilentError

from . import services
from .channel import Channel, Message
from .services import Request, ServiceFault
from .wire import Reader, ticks

if TYPE_CHECKING:
    from .protection import Protection

_RECEIVE = 262_144
_OTHERS = 64
_NO_SESSION = b"\x00\x00"


def parts(url: str) -> tuple[str, int]:
    """Host and port of an ``opc.tcp://`` URL that has been checked."""
    place = url.partition("://")[2].partition("/")[0]
    host, _, port = place.rpartition(":")
    return host.strip("[]"), int(port)


class Link:
    """``timeout`` seconds bound the opening and each question. Every method raises FieldError or HostileError.

    ``wanted`` are the numbers of posted requests whose answers, when they come, are kept in ``others``.
    """

    def __init__(self, url: str, timeout: float, protection: Protection | None = None) -> None:
        self.url, self.timeout, self.protection = url, timeout, protection
        self.session = _NO_SESSION
        self.others: deque[Message] = deque()
        self.wanted: set[int] = set()
        self._channel = Channel(url, protection)
        self._space = memoryview(bytearray(_RECEIVE))
        self._deadline = 0.0
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Connects and opens the channel, both within the timeout."""
        self._deadline = time.monotonic() + self.timeout
        host, port = parts(self.url)
        try:
            self._socket = socket.create_connection((host, port), self.timeout)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except TimeoutError as exc:
            raise SilentError(f"no reply within {self.timeout:g} s") from exc
        except (OSError, UnicodeError) as exc:
            raise RefusedError(_cause(exc)) from exc
        self._out([self._channel.hello()])
        while not self._channel.greeted:
            self._in()
        self._out([self._channel.open(ticks(time.time()), self._hint)])
        while not self._channel.id:
            self._in()

    def close(self) -> None:
        """Ends session and channel in good manners, without waiting; safe at any time."""
        link, self._socket = self._socket, None
        if link is None:
            return
        with contextlib.suppress(OSError, FieldError):
            link.settimeout(0.2)
            if self.session != _NO_SESSION:
                link.sendall(b"".join(self._chunks(Request(services.CLOSE_SESSION, b"\x01"))[1]))
            link.sendall(b"".join(self._chunks(Request(services.CLOSE_CHANNEL, b""))[1]))
        link.close()

    def fileno(self) -> int:
        if self._socket is None:
            raise FieldError("not connected")
        return self._socket.fileno()

    def ask(self, request: Request) -> Reader:
        """The answer to ``request``, at what follows its header. Raises ServiceFault where the server refuses."""
        self._deadline = time.monotonic() + self.timeout
        handle = self.post(request)
        found: list[Message] = []
        while not found:
            for message in self._in():
                if message.request == handle:
                    found.append(message)
                else:
                    self._keep(message)
        return answer(found[0], request.kind)

    def post(self, request: Request, *, patient: bool = False) -> int:
        """Sends ``request`` without waiting; its number. ``patient``: the server may take its time to answer."""
        self._deadline = max(self._deadline, time.monotonic() + self.timeout)
        self.upkeep()
        handle, chunks = self._chunks(request, 0 if patient else self._hint)
        self._out(chunks)
        return handle

    def take(self) -> None:
        """What has come, without waiting; to be called when the socket has something to say."""
        self._deadline = time.monotonic() + self.timeout
        for message in self._in():
            self._keep(message)

    def upkeep(self) -> None:
        """Asks for a new token where it is time."""
        if self._channel.renewal_due(time.monotonic()):
            self._out([self._channel.open(ticks(time.time()), self._hint)])

    def renewal_at(self) -> float:
        """When ``upkeep`` is due, on the monotonic clock."""
        return self._channel.renewal_at()

    @property
    def _hint(self) -> int:
        return int(self.timeout * 1000)

    def _keep(self, message: Message) -> None:
        if message.request not in self.wanted:
            raise HostileError(f"an answer to request {message.request}, which was given up")
        self.wanted.discard(message.request)
        if len(self.others) >= _OTHERS:
            raise HostileError(f"more than {_OTHERS} reports at once")
        self.others.append(message)

    def _chunks(self, request: Request, hint: int = 0) -> tuple[int, list[bytes]]:
        return self._channel.ask(request, self.session, ticks(time.time()), hint)

    def _out(self, chunks: list[bytes]) -> None:
        if self._socket is None:
            raise FieldError("not connected")
        try:
            self._socket.settimeout(max(self._deadline - time.monotonic(), 0.001))
            self._socket.sendall(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        except TimeoutError as exc:
            raise SilentError(f"no reply within {self.timeout:g} s") from exc
        except OSError as exc:
            raise FieldError(f"connection lost: {_cause(exc)}") from exc

    def _in(self) -> list[Message]:
        """What the server sends next; waits until the deadline."""
        if self._socket is None:
            raise FieldError("not connected")
        try:
            self._socket.settimeout(max(self._deadline - time.monotonic(), 0.001))
            got = self._socket.recv_into(self._space)
        except TimeoutError as exc:
            raise SilentError(f"no reply within {self.timeout:g} s") from exc
        except OSError as exc:
            raise FieldError(f"connection lost: {_cause(exc)}") from exc
        if not got:
            raise FieldError("connection lost: the server closed it")
        return self._channel.feed(self._space[:got], time.monotonic())


def answer(message: Message, kind: int) -> Reader:
    """The response in ``message`` to a request of ``kind``."""
    if message.status:
        raise ServiceFault(message.status)
    return services.response(message.body, kind)


def readable(*files: int, wait: float) -> set[int]:
    """Those of ``files`` that have something to say within ``wait`` seconds."""
    poll = select.poll()
    for file in files:
        poll.register(file, select.POLLIN)
    return {file for file, _ in poll.poll(max(wait, 0.0) * 1000)}


def _cause(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__

"""A serial line, or its frames over TCP: one question at a time, each after silence and with nothing left over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

from ullage_protocols.field.errors import FieldError
from ullage_protocols.field.modbus import rtu
from ullage_protocols.field.modbus.exchange import Exchange
from ullage_protocols.field.modbus.frames import BrokenStream, Question
from ullage_protocols.field.modbus.guard import ReadOnlyTransport

_MOST = 4096
"""Bytes that may come while one reply is awaited; a reply has 256 at most."""


class RtuLink(asyncio.Protocol):
    """See the module. ``silence`` is the quiet time in seconds that parts two frames."""

    def __init__(self, loop: asyncio.AbstractEventLoop, silence: float) -> None:
        self.guard: ReadOnlyTransport | None = None
        self.broken: FieldError | None = None
        self.made = asyncio.Event()
        self.heard = 0.0
        self.on_lost: Callable[[], None] | None = None
        self._loop, self._silence = loop, silence
        self._exchange: Exchange | None = None
        self._asked = False
        self._received = b""
        self._count = 0
        self._quiet_since = 0.0
        self._timeout = self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio. Whoever asks through this link holds the guard, never the transport."""
        self.guard = ReadOnlyTransport(cast(asyncio.Transport, transport), rtu.is_read_frame, rtu.refuse)
        self.made.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio: whoever waits for a reply learns it at once, not at the timeout."""
        self.drop(FieldError(f"connection closed by the device{f' ({exc})' if exc else ''}"))

    def start(self, questions: Sequence[Question], raw: bytearray, timeout: float, window: int) -> Exchange:
        """Sends ``questions`` one after the other; each reply may take ``timeout`` seconds."""
        exchange = Exchange(questions, raw, self._loop.create_future())
        if self.broken is not None:
            exchange.done.set_exception(self.broken)
            return exchange
        self._exchange, self._timeout = exchange, timeout
        self._next(exchange)
        return exchange

    def _next(self, exchange: Exchange) -> None:
        self._asked = False
        self._deadline = self._loop.time() + self._timeout
        self._turn()

    def _turn(self) -> None:
        """Asks as soon as the line is silent; ends the wait at the deadline."""
        exchange, now = self._exchange, self._loop.time()
        self._set(None)
        if exchange is None or exchange.done.done():
            return
        if not self._asked and now - self._quiet_since >= self._silence:
            self._asked, self._received, self._count = True, b"", 0
            self._deadline = now + self._timeout
            assert self.guard is not None  # noqa: S101 - asyncio calls connection_made first
            self.guard.ask(rtu.request(exchange.questions[exchange.sent]))
            exchange.sent += 1
        elif now >= self._deadline:
            if self._asked:
                exchange.done.set_exception(TimeoutError())
            else:
                self.drop(BrokenStream("the line is never silent; something on it talks without being asked"))
            return
        self._set(self._deadline if self._asked else min(self._deadline, self._quiet_since + self._silence))

    def _set(self, when: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if when is None else self._loop.call_at(when, self._turn)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio. What comes while nothing is asked is noise, or late: it answers nothing."""
        self._quiet_since = now = self._loop.time()
        exchange = self._exchange
        if exchange is None or not self._asked or self.broken is not None or exchange.done.done():
            return
        self._count += len(data)
        if self._count > _MOST:
            self.drop(BrokenStream(f"more than {_MOST} bytes while one reply of at most 256 is awaited"))
            return
        index = exchange.sent - 1
        look = rtu.find if exchange.only_fitting else rtu.judge
        answer, self._received = look(exchange.questions[index], self._received + data)
        if answer is None:
            return
        exchange.take(index, answer)
        exchange.times[index] = self.heard = exchange.last = now
        exchange.first = exchange.first or now
        exchange.left -= 1
        if exchange.left:
            self._next(exchange)
        else:
            self.forget()
            exchange.done.set_result(None)

    def forget(self) -> None:
        """Gives up what is out."""
        self._exchange, self._asked = None, False
        self._set(None)

    def drop(self, error: FieldError) -> None:
        """Ends the connection; whoever waits is told ``error``."""
        if self.broken is None:
            self.broken = error
        exchange = self._exchange
        self.forget()
        if exchange is not None and not exchange.done.done():
            exchange.done.set_exception(self.broken)
        if self.guard is not None:
            self.guard.drop()

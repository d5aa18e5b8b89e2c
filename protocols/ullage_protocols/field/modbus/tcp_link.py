"""A Modbus/TCP connection: requests out, up to a window of them at once, and replies matched to them exactly once.

The hot path of the room. A scan costs one future; the replies themselves drive its requests on. A reply whose
bytes 2 to 9 are the expected ones is good and is copied to its place; everything else is judged by ``frames``.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import cast

from ullage_protocols.field.errors import FieldError
from ullage_protocols.field.modbus.exchange import Exchange
from ullage_protocols.field.modbus.frames import HEADER, READS, BrokenStream, Question, answer_of, refuse, whole_frame
from ullage_protocols.field.modbus.guard import ReadOnlyTransport

_BUFFER = 8192
_MOST_FORGOTTEN = 64


class TcpLink(asyncio.BufferedProtocol):
    """See the module. ``forget`` is for connections that units share: elsewhere what is given up is dropped."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.guard: ReadOnlyTransport | None = None
        self.broken: FieldError | None = None
        self.heard = 0.0
        self.on_lost: Callable[[], None] | None = None
        self._loop = loop
        self._time = loop.time
        self._ask: Callable[[bytes], None] = _unconnected
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._end = 0
        self._exchange: Exchange | None = None
        self._waiting: dict[int, int] = {}
        self._forgotten: dict[int, None] = {}
        self._ids = _unpredictable()
        self._timeout = self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio. Whoever asks through this link holds the guard, never the transport."""
        self.guard = ReadOnlyTransport(cast(asyncio.Transport, transport), READS.fullmatch, refuse)
        self._ask = self.guard.ask

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio: whoever waits for a reply learns it at once, not at the timeout."""
        call, self.on_lost = self.on_lost, None
        told = self.broken is None
        self.drop(FieldError(f"connection closed by the device{f' ({exc})' if exc else ''}"))
        if call is not None and told:
            call()

    def start(self, questions: Sequence[Question], raw: bytearray, timeout: float, window: int) -> Exchange:
        """Sends ``questions``, at most ``window`` at once; each reply within ``timeout`` seconds of the one before."""
        exchange = Exchange(questions, raw, self._loop.create_future())
        if self.broken is not None:
            exchange.done.set_exception(self.broken)
            return exchange
        self._exchange = exchange
        self._timeout = timeout
        self._deadline = self._time() + timeout
        self._send(exchange, window)
        if self._timer is None or self._timer.when() > self._deadline:
            self._tick()
        return exchange

    def _send(self, exchange: Exchange, most: int) -> None:
        """The next questions, at most ``most`` of them, in one go."""
        questions, waiting, ids = exchange.questions, self._waiting, self._ids
        first = exchange.sent
        last = exchange.sent = min(first + most, len(questions))
        data = b""
        for index in range(first, last):
            transaction = next(ids)
            while transaction in waiting or transaction in self._forgotten:
                transaction = next(ids)
            waiting[transaction] = index
            data += transaction.to_bytes(2, "big") + questions[index].tail
        self._ask(data)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Called by asyncio: where the next bytes go."""
        return self._view[self._end :] if self._end else self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Called by asyncio: ``nbytes`` more have arrived."""
        exchange, waiting, buffer = self._exchange, self._waiting, self._buffer
        if self.broken is not None:
            return
        if exchange is None and not self._forgotten:
            self.drop(BrokenStream("bytes arrived that nothing had asked for"))
            return
        at, end, answered = 0, self._end + nbytes, 0
        now = self._time()
        try:
            while at < end:
                transaction = buffer[at] << 8 | buffer[at + 1] if end - at > 8 else 0
                index = waiting.get(transaction)
                if index is None or exchange is None:
                    stop = at + self._other(buffer[at:end])
                    if stop == at:
                        break
                    at = stop
                    continue
                question = exchange.questions[index]
                stop = at + 9 + question.size
                if stop <= end and buffer[at + 2 : at + 9] == question.head:
                    exchange.raw[question.offset : question.end] = self._view[at + 9 : stop]
                else:
                    stop = at + whole_frame(buffer[at:end], waiting)
                    if stop == at:
                        break
                    frame = bytes(buffer[at:stop])
                    exchange.take(index, answer_of(question, frame[HEADER - 1], frame[HEADER:]))
                del waiting[transaction]
                exchange.times[index] = now
                answered += 1
                at = stop
        except BrokenStream as error:
            self.drop(error)
            return
        if at < end:
            buffer[: end - at] = buffer[at:end]
        self._end = end - at
        if answered and exchange is not None:
            self.heard = exchange.last = now
            exchange.first = exchange.first or now
            exchange.left -= answered
            self._deadline = now + self._timeout
            if not exchange.left:
                self._exchange = None
                if not exchange.done.done():
                    exchange.done.set_result(None)
            elif exchange.sent < len(exchange.questions):
                self._send(exchange, answered)

    def _other(self, received: bytearray) -> int:
        """The length of a whole frame that answers nothing any more, 0 while it may become one of those due."""
        known = self._waiting.keys() | self._forgotten.keys()
        length = whole_frame(received, known)
        if length:
            # An id is spent by its one late reply: a second one is of nobody's asking.
            self._forgotten.pop(int.from_bytes(received[:2], "big"), None)
        return length

    def forget(self) -> None:
        """Gives up what is out: its late replies, one each, will be passed over."""
        self._exchange = None
        self._forgotten.update(dict.fromkeys(self._waiting))
        self._waiting.clear()
        while len(self._forgotten) > _MOST_FORGOTTEN:
            del self._forgotten[next(iter(self._forgotten))]

    def drop(self, error: FieldError) -> None:
        """Ends the connection; whoever waits is told ``error``."""
        if self.broken is None:
            self.broken = error
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        exchange, self._exchange = self._exchange, None
        self._waiting.clear()
        if exchange is not None and not exchange.done.done():
            exchange.done.set_exception(self.broken)
        if self.guard is not None:
            self.guard.drop()

    def _tick(self) -> None:
        """One timer serves all requests: it looks at the deadline, which every reply moves on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        exchange = self._exchange
        if exchange is None:
            return
        if self._time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._tick)
        elif not exchange.done.done():
            exchange.done.set_exception(TimeoutError())


def _unconnected(_data: bytes) -> None:
    raise FieldError("not connected")


def _unpredictable() -> Iterator[int]:
    """Transaction ids, never 0: a stale or guessed reply does not match."""
    while True:
        yield from filter(None, memoryview(secrets.token_bytes(512)).cast("H"))

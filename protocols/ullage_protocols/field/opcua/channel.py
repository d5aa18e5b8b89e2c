"""The secure channel: bytes from a server in, whole messages out, and requests as chunks. No socket, no clock.

Limits are announced in the Hello and then held: a server that sends larger chunks, more of them, a longer message,
a sequence number out of turn, another channel's or an unknown token's chunk, or an answer to no question, is not
listened to any further (HostileError).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ullage_protocols.field.errors import FieldError, HostileError

from . import services
from .services import Request
from .statuses import told
from .wire import DecodeError, Reader, byte_string, string

if TYPE_CHECKING:
    from .protection import Protection, TokenKeys

CHUNK = 65_536
MESSAGE = 4_000_000
CHUNKS = 128
"""Largest chunk and message, in bytes, and most chunks of a message that are taken from a server."""
LIFETIME = 600_000
"""Asked lifetime of a token, in ms."""
_RENEW = 0.75
"""The share of its lifetime after which a token is renewed."""
_OVERLAP = 1.25
"""An expired token's messages are taken for a quarter of its lifetime longer (Part 4, 5.5.2)."""
_HEAD = struct.Struct("<4sI")
_CLEAR = struct.Struct("<4sIIIII")
_NO_SESSION = b"\x00\x00"
_WRAP = 0xFFFFFFFF - 1024
NONE_URI = "http://opcfoundation.org/UA/SecurityPolicy#None"


class TooLarge(FieldError):
    """A request that the server's own limits do not let through; a smaller one may pass."""


class Message(NamedTuple):
    """An answer, whole; ``status`` is not 0 where the server broke it off."""

    request: int
    body: bytes
    status: int = 0


class Token(NamedTuple):
    id: int
    born: float
    lifetime: float
    keys: TokenKeys | None


class Channel:
    """``now`` below is any monotonic clock in seconds; ``wall`` the present in OPC UA's ticks."""

    def __init__(self, url: str, protection: Protection | None = None) -> None:
        self._url, self._protection = url, protection
        self._buffer = bytearray()
        self._chunk, self._message, self._chunks = CHUNK, 0, 0
        self.greeted = False
        self.id = 0
        self._tokens: list[Token] = []
        self._sent = 0
        self._received: int | None = None
        self._nonce = b""
        self._opening: int | None = None
        self._handle = 0
        self._asked: set[int] = set()
        self._partial: dict[int, list[bytes]] = {}
        self._held = 0

    # --- out -----------------------------------------------------------------------------------------------------

    def hello(self) -> bytes:
        body = struct.pack("<5I", 0, CHUNK, CHUNK, MESSAGE, CHUNKS) + string(self._url)
        return _HEAD.pack(b"HELF", 8 + len(body)) + body

    def open(self, wall: int, hint: int) -> bytes:
        """Asks for a token: the first, or a new one before the old expires."""
        renew = bool(self._tokens)
        self._nonce = os.urandom(32) if self._protection else b""
        mode = self._protection.mode if self._protection else 1
        # Clear channels carry a null nonce.
        nonce = byte_string(self._nonce or None)
        body = struct.pack("<III", 0, renew, mode) + nonce + struct.pack("<I", LIFETIME)
        handle = self._number()
        self._opening = handle
        message = Request(services.OPEN_CHANNEL, body).encoded(_NO_SESSION, wall, handle, hint)
        services.only_reads(message)
        plain = struct.pack("<II", self._next(), handle) + message
        if self._protection:
            return self._protection.seal_open(self.id, plain)
        header = string(NONE_URI) + byte_string(None) + byte_string(None)
        return struct.pack("<4sII", b"OPNF", 12 + len(header) + len(plain), self.id) + header + plain

    def ask(self, request: Request, session: bytes, wall: int, hint: int) -> tuple[int, list[bytes]]:
        """The number of a request, and its chunks. Raises SendRefused for what does not read, and TooLarge."""
        handle = self._number()
        message = request.encoded(session, wall, handle, hint)
        services.only_reads(message)
        if not self._tokens:
            raise FieldError("the channel is not open")
        room = (self._protection.room(self._chunk) if self._protection else self._chunk - 16) - 8
        pieces = [message[at : at + room] for at in range(0, len(message), room)]
        if (self._message and len(message) > self._message) or (self._chunks and len(pieces) > self._chunks):
            raise TooLarge(f"a request of {len(message)} bytes is more than the server takes")
        kind = b"CLO" if request.kind == services.CLOSE_CHANNEL else b"MSG"
        if kind == b"MSG":
            self._asked.add(handle)
        chunks = [self._framed(kind + (b"C" if piece is not pieces[-1] else b"F"), handle, piece) for piece in pieces]
        return handle, chunks

    def renewal_due(self, now: float) -> bool:
        """Whether a new token should be asked for."""
        token = self._tokens[-1]
        return self._opening is None and now >= token.born + _RENEW * token.lifetime

    def renewal_at(self) -> float:
        return self._tokens[-1].born + _RENEW * self._tokens[-1].lifetime

    def _framed(self, kind: bytes, handle: int, piece: bytes) -> bytes:
        # A new token is used as soon as it is there; the server keeps taking the old one until then.
        token = self._tokens[-1]
        sequence = self._next()
        if self._protection and token.keys:
            plain = struct.pack("<II", sequence, handle) + piece
            return self._protection.protect(token.keys, kind, self.id, token.id, plain)
        return _CLEAR.pack(kind, 24 + len(piece), self.id, token.id, sequence, handle) + piece

    def _next(self) -> int:
        self._sent = self._sent + 1 if self._sent < _WRAP else 1
        return self._sent

    def _number(self) -> int:
        self._handle = self._handle % 0x7FFFFFFF + 1
        return self._handle

    # --- in ------------------------------------------------------------------------------------------------------

    def feed(self, data: bytes | memoryview, now: float) -> list[Message]:
        """The messages that ``data`` completes. Raises FieldError where the server ends the connection."""
        buffer = self._buffer
        buffer += data
        messages: list[Message] = []
        while len(buffer) >= 8:
            kind, size = _HEAD.unpack_from(buffer)
            if not 8 <= size <= CHUNK:
                self._foreign()
                raise HostileError(f"a chunk of {size} bytes; at most {CHUNK} were announced")
            if len(buffer) < size:
                break
            chunk = bytes(buffer[:size])
            del buffer[:size]
            if message := self._chunk_in(kind, chunk, now):
                messages.append(message)
        return messages

    def _foreign(self) -> None:
        if not self.greeted:
            raise FieldError("what answers there does not speak OPC UA; check host and port")

    def _chunk_in(self, kind: bytes, chunk: bytes, now: float) -> Message | None:
        if kind == b"ERRF":
            reader = Reader(chunk, 8)
            status = reader.u32()
            raise FieldError(f"server ended the connection: {told(status)} {reader.text(4096)[:200]}".rstrip())
        if kind == b"ACKF" and not self.greeted:
            self._greet(Reader(chunk, 8))
            return None
        if kind[:3] not in (b"MSG", b"OPN") or not self.greeted:
            self._foreign()
            raise HostileError(f"a chunk of kind {kind!r}")
        if kind[:3] == b"OPN":
            self._opened(kind, chunk, now)
            return None
        return self._message_in(kind, chunk, now)

    def _greet(self, reader: Reader) -> None:
        _, receive, _, self._message, self._chunks = (reader.u32() for _ in range(5))
        reader.done()
        if receive < 8192:
            raise HostileError(
                f"the server takes chunks of {receive} bytes; 8192 is the least that the standard allows"
            )
        self._chunk = min(CHUNK, receive)
        self.greeted = True

    def _opened(self, kind: bytes, chunk: bytes, now: float) -> None:
        if self._opening is None or kind != b"OPNF":
            raise HostileError("a channel opened that nobody asked for")
        if self._protection:
            plain = self._protection.open_opened(chunk)
        else:
            reader = Reader(chunk, 12)
            uri = reader.text()
            reader.bytes_(65536)
            reader.bytes_(65536)
            if uri != NONE_URI:
                raise HostileError(f"the server answered under policy {uri[-60:]!r} on a clear channel")
            plain = chunk[reader.at :]
        if len(plain) < 8:
            raise DecodeError("a channel opened without a word")
        sequence, handle = struct.unpack_from("<II", plain)
        self._in_turn(sequence)
        if handle != self._opening:
            raise HostileError(f"a channel opened in answer to {handle} instead of {self._opening}")
        reader = services.response(plain[8:], services.OPEN_CHANNEL)
        reader.u32()
        channel, token, _, lifetime = reader.u32(), reader.u32(), reader.i64(), reader.u32()
        nonce = reader.bytes_(1024) or b""
        reader.done()
        if channel == 0 or channel != int.from_bytes(chunk[8:12], "little") or (self.id and channel != self.id):
            raise HostileError(f"channel {channel} opened instead of {self.id or 'a new one'}")
        if any(one.id == token for one in self._tokens) or not 1_000 <= lifetime <= 86_400_000:
            raise HostileError(f"token {token} for {lifetime} ms")
        keys = self._protection.keys(self._nonce, nonce) if self._protection else None
        self.id, self._opening = channel, None
        self._tokens = [*self._tokens[-1:], Token(token, now, lifetime / 1000, keys)]

    def _in_turn(self, sequence: int) -> None:
        last = self._received
        if last is not None and sequence != last + 1 and not (last >= _WRAP and sequence < 1024):
            raise HostileError(f"sequence number {sequence} after {last}")
        self._received = sequence

    def _message_in(self, kind: bytes, chunk: bytes, now: float) -> Message | None:
        if len(chunk) < 24:
            raise DecodeError(f"a message chunk of {len(chunk)} bytes")
        channel, token = struct.unpack_from("<II", chunk, 8)
        if channel != self.id:
            raise HostileError(f"a message of channel {channel} on channel {self.id}")
        known = next((one for one in self._tokens if one.id == token), None)
        if known is None or now > known.born + _OVERLAP * known.lifetime:
            raise HostileError(f"a message under token {token}, which is {'expired' if known else 'unknown'}")
        if self._protection and known.keys:
            plain = self._protection.unprotect(known.keys, chunk)
            sequence, handle = struct.unpack_from("<II", plain)
            piece = plain[8:]
        else:
            sequence, handle = struct.unpack_from("<II", chunk, 16)
            piece = chunk[24:]
        self._in_turn(sequence)
        if handle not in self._asked:
            raise HostileError(f"an answer to request {handle}, which was not asked")
        return _ENDS.get(kind, _strange)(self, handle, piece)

    def more(self, handle: int, piece: bytes) -> None:
        """One chunk of a message that goes on."""
        pieces = self._partial.setdefault(handle, [])
        pieces.append(piece)
        self._held += len(piece)
        if self._held > MESSAGE:
            raise HostileError(f"a message of more than {MESSAGE} bytes")
        if sum(map(len, self._partial.values())) >= CHUNKS:
            raise HostileError(f"a message of more than {CHUNKS} chunks")

    def final(self, handle: int, piece: bytes) -> Message:
        """The last chunk of a message."""
        self._asked.discard(handle)
        pieces = self._partial.pop(handle, None)
        if pieces:
            self._held -= sum(map(len, pieces))
            piece = b"".join((*pieces, piece))
            if len(piece) > MESSAGE:
                raise HostileError(f"a message of more than {MESSAGE} bytes")
        return Message(handle, piece)

    def abort(self, handle: int, piece: bytes) -> Message:
        """The server breaks a message off."""
        self.final(handle, b"")
        return Message(handle, b"", Reader(piece).u32() or 0x80000000)


def _strange(_channel: Channel, _handle: int, _piece: bytes) -> Message | None:
    raise HostileError("a message chunk that is neither part nor end")


_ENDS: dict[bytes, Callable[[Channel, int, bytes], Message | None]] = {
    b"MSGF": Channel.final,
    b"MSGC": Channel.more,
    b"MSGA": Channel.abort,
}

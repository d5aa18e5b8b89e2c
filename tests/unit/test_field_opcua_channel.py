"""The secure channel without a socket: turns, tokens and limits, against a server side made of the same bytes."""

from __future__ import annotations

import struct

import pytest
from support.opcua_server import NULL, array, response
from ullage_protocols.field.errors import FieldError, HostileError, SendRefused
from ullage_protocols.field.opcua import services
from ullage_protocols.field.opcua.channel import CHUNK, CHUNKS, MESSAGE, NONE_URI, Channel, TooLarge
from ullage_protocols.field.opcua.nodeids import NodeId
from ullage_protocols.field.opcua.services import Request, ServiceFault

CHANNEL = 77
SESSION = b"\x00\x02"
QUESTION = services.read([NodeId(0, 2259)])


class Far:
    """The server's side of a clear channel."""

    def __init__(self, *, message: int = 0, chunks: int = 0, sequence: int = 0) -> None:
        self.channel = Channel("opc.tcp://h:1")
        self.sequence = sequence
        self.channel.feed(struct.pack("<4sI5I", b"ACKF", 28, 0, 65536, 65536, message, chunks), 0.0)

    def opened(self, token: int, now: float, lifetime: int = 100_000) -> None:
        asked = self.channel.open(0, 0)
        handle = struct.unpack_from("<II", asked, len(asked) - 0 - self._tail(asked))[1]
        self.sequence += 1
        body = response(446, handle, struct.pack("<IIIqI", 0, CHANNEL, token, 0, lifetime) + NULL)
        header = struct.pack("<i", len(NONE_URI)) + NONE_URI.encode() + NULL + NULL
        plain = struct.pack("<II", self.sequence, handle) + body
        size = 12 + len(header) + len(plain)
        self.channel.feed(struct.pack("<4sII", b"OPNF", size, CHANNEL) + header + plain, now)

    @staticmethod
    def _tail(asked: bytes) -> int:
        return len(asked) - (12 + 4 + len(NONE_URI) + 8)

    def ask(self) -> int:
        return self.channel.ask(QUESTION, SESSION, 0, 0)[0]

    def chunk(self, handle: int, body: bytes, kind: bytes = b"MSGF", token: int = 1) -> bytes:
        self.sequence = self.sequence + 1 if self.sequence < 0xFFFFFFFF else 0
        return struct.pack("<4sIIIII", kind, 24 + len(body), CHANNEL, token, self.sequence, handle) + body

    def token_sent(self) -> int:
        _, (chunk,) = self.channel.ask(QUESTION, SESSION, 0, 0)
        return int(struct.unpack_from("<I", chunk, 12)[0])


def far(**more: int) -> Far:
    made = Far(**more)
    made.opened(1, 0.0)
    return made


def test_a_message_in_pieces_of_bytes_is_whole_at_its_last() -> None:
    peer = far()
    handle = peer.ask()
    data = peer.chunk(handle, b"one ", b"MSGC") + peer.chunk(handle, b"two")
    found = [message for at in range(len(data)) for message in peer.channel.feed(data[at : at + 1], 0.0)]
    assert [(message.request, message.body) for message in found] == [(handle, b"one two")]


def test_two_messages_may_be_woven() -> None:
    peer = far()
    first, second = peer.ask(), peer.ask()
    data = peer.chunk(first, b"a", b"MSGC") + peer.chunk(second, b"b", b"MSGC")
    data += peer.chunk(first, b"c") + peer.chunk(second, b"d")
    assert [message.body for message in peer.channel.feed(data, 0.0)] == [b"ac", b"bd"]


def test_the_limits_are_exact() -> None:
    peer = far()
    handle = peer.ask()
    piece = bytes(CHUNK - 24)
    count = MESSAGE // len(piece)
    assert count < CHUNKS
    for _ in range(count):
        assert peer.channel.feed(peer.chunk(handle, piece, b"MSGC"), 0.0) == []
    rest = MESSAGE - count * len(piece)
    (message,) = peer.channel.feed(peer.chunk(handle, bytes(rest)), 0.0)
    assert len(message.body) == MESSAGE
    handle = peer.ask()
    for _ in range(count):
        peer.channel.feed(peer.chunk(handle, piece, b"MSGC"), 0.0)
    with pytest.raises(HostileError, match="a message of more than"):
        peer.channel.feed(peer.chunk(handle, bytes(rest + 1)), 0.0)


def test_a_message_that_grows_too_long_is_not_waited_for() -> None:
    peer = far()
    handle = peer.ask()
    piece = bytes(CHUNK - 24)
    for _ in range(MESSAGE // len(piece)):
        peer.channel.feed(peer.chunk(handle, piece, b"MSGC"), 0.0)
    with pytest.raises(HostileError, match="a message of more than"):
        peer.channel.feed(peer.chunk(handle, piece, b"MSGC"), 0.0)


def test_too_many_chunks() -> None:
    peer = far()
    handle = peer.ask()
    for _ in range(CHUNKS - 1):
        peer.channel.feed(peer.chunk(handle, b"", b"MSGC"), 0.0)
    with pytest.raises(HostileError, match="chunks"):
        peer.channel.feed(peer.chunk(handle, b"", b"MSGC"), 0.0)


def test_the_sequence_may_turn_over_as_the_standard_says_and_no_earlier() -> None:
    peer = Far(sequence=0xFFFFFFFF - 1026)
    peer.opened(1, 0.0)
    peer.sequence = 2
    with pytest.raises(HostileError, match="sequence number"):
        peer.channel.feed(peer.chunk(peer.ask(), b"x"), 0.0)
    peer = Far(sequence=0xFFFFFFFF - 1025)
    peer.opened(1, 0.0)
    peer.sequence = 2
    assert peer.channel.feed(peer.chunk(peer.ask(), b"x"), 0.0)


def test_a_token_is_renewed_in_time_and_both_are_taken_meanwhile() -> None:
    peer = far()
    assert not peer.channel.renewal_due(74.9)
    assert peer.channel.renewal_due(75.0)
    asked = peer.ask()
    peer.opened(2, 75.0)
    assert not peer.channel.renewal_due(75.0)
    assert peer.token_sent() == 2
    assert peer.channel.feed(peer.chunk(asked, b"old token", token=1), 124.0)
    assert peer.channel.feed(peer.chunk(peer.ask(), b"new token", token=2), 124.0)
    with pytest.raises(HostileError, match="token 1, which is expired"):
        peer.channel.feed(peer.chunk(peer.ask(), b"late", token=1), 126.0)


def test_a_renewal_is_asked_for_once() -> None:
    peer = far()
    peer.channel.open(0, 0)
    assert not peer.channel.renewal_due(1000.0)


def test_a_token_before_the_last_is_forgotten() -> None:
    peer = far()
    peer.opened(2, 1.0)
    peer.opened(3, 2.0)
    with pytest.raises(HostileError, match="token 1, which is unknown"):
        peer.channel.feed(peer.chunk(peer.ask(), b"x", token=1), 3.0)


@pytest.mark.parametrize("lifetime", [0, 999, 90_000_000])
def test_a_lifetime_that_nobody_can_live_with(lifetime: int) -> None:
    with pytest.raises(HostileError, match="token"):
        Far().opened(1, 0.0, lifetime)


def test_a_large_request_goes_in_chunks_the_server_takes() -> None:
    request = services.read([NodeId(2, f"tag {number}") for number in range(5000)])
    _, chunks = far().channel.ask(request, SESSION, 0, 0)
    assert all(len(chunk) <= CHUNK for chunk in chunks)
    assert [chunk[:4] for chunk in chunks] == [b"MSGC"] * (len(chunks) - 1) + [b"MSGF"]
    assert [struct.unpack_from("<I", chunk, 4)[0] for chunk in chunks] == [len(chunk) for chunk in chunks]
    assert b"".join(chunk[24:] for chunk in chunks).endswith(request.body)
    for limits in ({"message": 50_000}, {"chunks": 2}):
        with pytest.raises(TooLarge):
            far(**limits).channel.ask(request, SESSION, 0, 0)


def test_what_does_not_read_is_refused_on_an_open_channel_too() -> None:
    with pytest.raises(SendRefused, match="is no read"):
        far().channel.ask(Request(673, array()), SESSION, 0, 0)


def test_a_service_fault_is_told_by_name() -> None:
    body = response(631, 1, b"", 0x80100000)
    with pytest.raises(ServiceFault, match="BadTooManyOperations") as caught:
        services.response(body, 631)
    assert caught.value.status == 0x80100000


def test_an_error_message_ends_the_connection_with_its_reason() -> None:
    text = b"too busy"
    data = struct.pack("<4sIIi", b"ERRF", 16 + len(text), 0x80800000, len(text)) + text
    with pytest.raises(FieldError, match="BadTcpMessageTooLarge"):
        far().channel.feed(data, 0.0)

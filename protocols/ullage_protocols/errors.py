"""The one error family of this package. Each message says what happened, where, and what to do."""

from __future__ import annotations


class ProtocolError(Exception):
    """Anything that went wrong on a wire or with bytes that came from one."""


class WireError(ProtocolError):
    """Bytes that are not what they claim to be: too large, too deep, not JSON, a field missing or wrong."""


class SealError(ProtocolError):
    """An envelope whose signature, signer or form does not hold."""


class KeyFileError(ProtocolError):
    """A key file that is missing, unreadable, or open to others."""


class TopicError(WireError):
    """A topic or identifier outside the contract."""


class LinkError(ProtocolError):
    """The broker cannot be reached or refuses."""

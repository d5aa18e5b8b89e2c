"""The errors of the field room. They import nothing heavy: small processes carry them too."""

from __future__ import annotations

from ullage_protocols.errors import ProtocolError


class FieldError(ProtocolError):
    """The connection to a device is gone (or never came up). ``connect()`` may be called again.

    ``cause`` is why in one word, for who must tell a cut cable from a hung controller. A device's own words may stand
    in the message, which goes to terminals, logs and records: nothing unprintable gets into it.
    """

    cause = "closed"

    def __init__(self, message: object = "") -> None:
        super().__init__("".join(c if c.isprintable() else "\ufffd" for c in str(message)))


class RefusedError(FieldError):
    """Nobody listens there, or the way there is closed."""

    cause = "refused"


class SilentError(FieldError):
    """The peer does not answer within the timeout."""

    cause = "silent"


class HostileError(FieldError):
    """The peer sent what no honest device sends (forged, malformed, endless): an integrity event, not mere loss."""

    cause = "hostile"


class SendRefused(FieldError):
    """Something other than a read was about to leave for a device; not one byte of it did."""


class SpecError(ProtocolError):
    """A device or tag described in a way that cannot be read: a configuration fault, never a wire fault."""

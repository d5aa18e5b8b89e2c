"""The errors of the field room. They import nothing heavy: small processes carry them too."""

from __future__ import annotations

from ullage_protocols.errors import ProtocolError


class FieldError(ProtocolError):
    """The connection to a device is gone (or never came up). ``connect()`` may be called again."""


class HostileError(FieldError):
    """The peer sent what no honest device sends (forged, malformed, endless): an integrity event, not mere loss."""


class SendRefused(FieldError):
    """Something other than a read was about to leave for a device; not one byte of it did."""


class SpecError(ProtocolError):
    """A device or tag described in a way that cannot be read: a configuration fault, never a wire fault."""

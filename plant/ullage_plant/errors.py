"""The one error family of the plant: every message says what happened, where, and what to do."""

from __future__ import annotations


class PlantError(Exception):
    """A usage or configuration fault; the command line prints it as one sentence and exits with status 2."""


class RefusedWriteError(PlantError):
    """A command that the plant does not carry out: unknown tag, not writable, or out of range."""

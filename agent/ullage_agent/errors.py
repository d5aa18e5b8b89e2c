"""The error family of the agent: one base class, so that a caller can catch all of them with one name."""

from __future__ import annotations


class AgentError(Exception):
    """The agent refuses to go on; the message says what happened, where, and what to do."""


class HistoryError(AgentError):
    """A history file cannot be read at all: missing, empty, without a time column, or beyond the limits."""


class ConfigError(AgentError):
    """The configuration cannot be used; ``faults`` holds every fault, each as ``file:line: what; what to do``."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class StateError(AgentError):
    """The state folder cannot be used: held by another agent, not writable, or of another agent."""


class OutboxFull(AgentError):
    """The outbox has reached its limit, or its disk is full. Nothing was sealed; what is held stays held."""

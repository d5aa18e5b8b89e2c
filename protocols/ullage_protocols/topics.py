"""The topic contract: three topics an agent, and nothing else."""

from __future__ import annotations

import re

from .errors import TopicError

ROOT = "ullage/v1"
UP_OF_ALL = f"{ROOT}/+/up"
"""What the scorer subscribes to."""

_NAME = re.compile(r"[a-z0-9-]{1,64}")


def check_name(name: object, *, what: str = "identifier") -> str:
    """``name`` if it is 1 to 64 of a-z, 0-9 and hyphen; TopicError otherwise."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        shown = name[:80] if isinstance(name, str) else type(name).__name__
        raise TopicError(f"{what} {shown!r} must be 1 to 64 characters of a-z, 0-9 and '-'")
    return name


def up(agent: str) -> str:
    """Agent to scorer: every envelope, one ordered stream."""
    return f"{ROOT}/{check_name(agent, what='agent')}/up"


def receipt(agent: str) -> str:
    """Scorer to agent: signed receipts."""
    return f"{ROOT}/{check_name(agent, what='agent')}/receipt"


def down(agent: str) -> str:
    """Scorer to agent: signed requests such as resend; never a field command."""
    return f"{ROOT}/{check_name(agent, what='agent')}/down"


def agent_of(topic: str) -> str:
    """The agent that an ``up`` topic belongs to; TopicError on any other topic."""
    match = re.fullmatch(rf"{re.escape(ROOT)}/([a-z0-9-]{{1,64}})/up", topic)
    if match is None:
        raise TopicError(f"topic {topic[:120]!r} is not {ROOT}/{{agent}}/up")
    return match.group(1)

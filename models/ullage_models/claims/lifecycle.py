"""The life of a claim as one table: from a state, by an event, for a role, to a state.

Telemetry may make drafts and update them; every other step needs a person. A handler works the claim, a
supervisor also agrees, declines after opening and reopens, the insured may notify and withdraw. An interim
payment leaves the claim where it was reserved.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, TypeVar

from .errors import ClaimError

E = TypeVar("E", bound=enum.StrEnum)


class State(enum.StrEnum):
    DRAFT = "draft"
    NOTIFIED = "notified"
    OPEN = "open"
    RESERVED = "reserved"
    INTERIM = "interim"
    AGREED = "agreed"
    PAID = "paid"
    CLOSED = "closed"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"
    REOPENED = "reopened"


class Role(enum.StrEnum):
    TELEMETRY = "telemetry"
    INSURED = "insured"
    HANDLER = "handler"
    SUPERVISOR = "supervisor"


class Event(enum.StrEnum):
    UPDATE = "update"
    NOTIFY = "notify"
    OPEN = "open"
    RESERVE = "reserve"
    PAY_INTERIM = "pay_interim"
    AGREE = "agree"
    PAY = "pay"
    CLOSE = "close"
    DECLINE = "decline"
    WITHDRAW = "withdraw"
    REOPEN = "reopen"


class LifecycleError(ClaimError):
    """A step that the table does not allow; the message says what is possible from here, and for whom."""


_PERSON: Final = frozenset({Role.INSURED, Role.HANDLER, Role.SUPERVISOR})
_STAFF: Final = frozenset({Role.HANDLER, Role.SUPERVISOR})
_SUPERVISOR: Final = frozenset({Role.SUPERVISOR})
_MACHINE: Final = frozenset({Role.TELEMETRY, Role.HANDLER, Role.SUPERVISOR})

TABLE: Final[Mapping[State, Mapping[Event, tuple[State, frozenset[Role]]]]] = {
    State.DRAFT: {
        Event.UPDATE: (State.DRAFT, _MACHINE),
        Event.NOTIFY: (State.NOTIFIED, _PERSON),
        Event.WITHDRAW: (State.WITHDRAWN, _PERSON),
    },
    State.NOTIFIED: {
        Event.OPEN: (State.OPEN, _STAFF),
        Event.DECLINE: (State.DECLINED, _STAFF),
        Event.WITHDRAW: (State.WITHDRAWN, _PERSON),
    },
    State.OPEN: {
        Event.RESERVE: (State.RESERVED, _STAFF),
        Event.DECLINE: (State.DECLINED, _SUPERVISOR),
        Event.WITHDRAW: (State.WITHDRAWN, _PERSON),
    },
    State.RESERVED: {
        Event.RESERVE: (State.RESERVED, _STAFF),
        Event.PAY_INTERIM: (State.INTERIM, _STAFF),
        Event.AGREE: (State.AGREED, _SUPERVISOR),
        Event.DECLINE: (State.DECLINED, _SUPERVISOR),
        Event.WITHDRAW: (State.WITHDRAWN, _PERSON),
    },
    State.INTERIM: {
        Event.RESERVE: (State.INTERIM, _STAFF),
        Event.PAY_INTERIM: (State.INTERIM, _STAFF),
        Event.AGREE: (State.AGREED, _SUPERVISOR),
    },
    State.AGREED: {Event.PAY: (State.PAID, _STAFF)},
    State.PAID: {Event.CLOSE: (State.CLOSED, _STAFF)},
    State.CLOSED: {Event.REOPEN: (State.REOPENED, _SUPERVISOR)},
    State.DECLINED: {Event.CLOSE: (State.CLOSED, _STAFF), Event.REOPEN: (State.REOPENED, _SUPERVISOR)},
    State.WITHDRAWN: {Event.CLOSE: (State.CLOSED, _STAFF)},
    State.REOPENED: {
        Event.RESERVE: (State.RESERVED, _STAFF),
        Event.DECLINE: (State.DECLINED, _SUPERVISOR),
        Event.WITHDRAW: (State.WITHDRAWN, _PERSON),
    },
}


def possible(state: State | str) -> Mapping[Event, frozenset[Role]]:
    """The events possible from a state and the roles that each is open to."""
    return {event: roles for event, (_, roles) in TABLE[_member(State, state)].items()}


def advance(state: State | str, event: Event | str, role: Role | str) -> State:
    """The state after the event. Raises LifecycleError with what is possible instead."""
    state, event, role = _member(State, state), _member(Event, event), _member(Role, role)
    step = TABLE[state].get(event)
    if step is None:
        raise LifecycleError(f"a claim that is {state} cannot take the step {event!s}; {_choices(state)}")
    after, roles = step
    if role not in roles:
        named = ", ".join(sorted(roles))
        raise LifecycleError(f"the step {event!s} of a claim that is {state} is not open to {role}, only to {named}")
    return after


def _choices(state: State) -> str:
    return "possible are " + ", ".join(
        f"{event} (by {', '.join(sorted(roles))})" for event, roles in sorted(possible(state).items())
    )


def _member(kind: type[E], value: str) -> E:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(kind)
        raise LifecycleError(f"{value!r} is not a {kind.__name__.lower()} of a claim; known are {known}") from None

"""What every route shares: the caller's scope, problems as application/problem+json, paging, the house itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection
from ullage_protocols.keys import SigningKey

from .db.engine import Database
from .db.scope import Scope
from .errors import UnauthorizedError

Prepare = Callable[[Connection], tuple[str, Mapping[str, Any]] | None]
"""Checks a command inside the write transaction; gives its tenant and body, or None when nothing is to be done."""


@dataclass(slots=True)
class House:
    """What the routes work with. ``submit(name, prepare)`` appends a command and projects it, all or nothing;
    it returns the command's ledger position, or None when nothing was to be done."""

    db: Database
    key: SigningKey
    clock: Callable[[], datetime]
    submit: Callable[[str, Prepare], int | None]
    authenticate: Callable[[Database, str, str, datetime], Scope | None]
    health: Callable[[], dict[str, Any]] = field(default=dict)


SESSION_COOKIE = "ullage_session"


def house(request: Request) -> House:
    found: House = request.app.state.house
    return found


def caller(request: Request) -> Scope:
    """The scope behind ``Authorization: Bearer`` or the page's session cookie; 401 otherwise."""
    at_home = house(request)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    session = request.cookies.get(SESSION_COOKIE, "")
    scope = at_home.authenticate(at_home.db, bearer, session, at_home.clock()) if bearer or session else None
    if scope is None:
        raise UnauthorizedError
    return scope


Caller = Annotated[Scope, Depends(caller)]
Home = Annotated[House, Depends(house)]
Limit = Annotated[int, Query(ge=1, le=500, description="At most this many items (1 to 500).")]
AfterId = Annotated[int, Query(ge=0, lt=2**63, description="Only items behind this position; from `next`.")]
AfterName = Annotated[str, Query(max_length=64, description="Only items behind this name; from `next`.")]
NAME = r"^[a-z0-9-]{1,64}$"


class Strict(BaseModel):
    """A request body: no field is guessed, no unknown field is let by."""

    model_config = ConfigDict(strict=True, extra="forbid", str_max_length=2000)


class Shown(BaseModel):
    """A response body."""

    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """RFC 9457 problem details: what went wrong and what to do."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    faults: list[str] = []


_TEXTS = {
    401: "No key, or one that is unknown or revoked.",
    403: "The key's role does not allow this.",
    404: "There is no such object, or it is not yours to see.",
    409: "It contradicts what is on record.",
    422: "A field is missing, unknown or out of range.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route: 401 and 422 always, and those given."""
    return {
        status: {"model": Problem, "description": _TEXTS[status]} for status in sorted({401, 403, 404, 422, *statuses})
    }

"""HTTP of access: one-time login links for the page."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter

from ..web import Caller, Home, Shown, problems
from . import service

router = APIRouter(prefix="/api/v1", tags=["access"])


class LoginLink(Shown):
    """Open ``path`` on the scorer's address before ``expires``; it works once."""

    path: str
    expires: datetime


class Me(Shown):
    """Who the key is: its role, and whose rows it reads (null: all)."""

    key: str
    role: str
    tenant: str | None
    sites: list[str] | None


@router.post("/login-links", status_code=201, responses=problems(), summary="Make a one-time login link")
def make_link(scope: Caller, home: Home) -> LoginLink:
    """A link that opens the live page with the caller's own scope. It works once, for 15 minutes."""
    token, expires = service.make_link(home.db, scope, home.clock())
    return LoginLink(path=f"/login?token={token}", expires=expires)


@router.get("/me", responses=problems(), summary="Who am I")
def me(scope: Caller) -> Me:
    """The scope of the key that is being used."""
    sites = None if scope.sites is None else sorted(scope.sites)
    return Me(key=scope.actor, role=scope.role, tenant=scope.tenant, sites=sites)

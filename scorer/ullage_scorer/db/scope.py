"""Whose rows may be read: every store method that reads takes a Scope."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, false

from ..errors import ForbiddenError

ROLES = ("admin", "insurer", "policyholder", "auditor")


@dataclass(frozen=True, slots=True)
class Scope:
    """One caller. ``tenant`` None is every tenant; ``sites`` None is every site of the tenant.

    ``actor`` names the caller in the ledger (the key's id, never its token).
    """

    role: str
    tenant: str | None
    sites: frozenset[str] | None = None
    actor: str = "system"

    def allows(self, tenant: str, site: str | None = None) -> bool:
        if self.tenant is not None and self.tenant != tenant:
            return False
        return self.sites is None or (site is not None and site in self.sites)

    def rows(self, tenant: ColumnElement[str], site: ColumnElement[str] | None = None) -> list[ColumnElement[bool]]:
        """The conditions that keep a query inside the scope. Rows without a site are for whole-tenant scopes."""
        found: list[ColumnElement[bool]] = []
        if self.tenant is not None:
            found.append(tenant == self.tenant)
        if self.sites is not None:
            if site is None:
                # The object has no site, so a caller who is limited to sites may not see it.
                found.append(false())
            else:
                found.append(site.in_(sorted(self.sites)))
        return found

    def needs(self, *roles: str) -> None:
        if self.role not in roles:
            raise ForbiddenError(self.role, roles)


SYSTEM = Scope("admin", None)
"""The scorer itself: the projector and the command line of the machine's operator."""

"""The one error family of the scorer. Each message says what happened, where, and what to do."""

from __future__ import annotations


class ScorerError(Exception):
    """Anything that the scorer refuses or cannot do."""


class ConfigError(ScorerError):
    """Wrong configuration or usage; ``faults`` holds all of them."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class DatabaseError(ScorerError):
    """A database that is missing, damaged, in use, or of another version."""


class CommandError(ScorerError):
    """A command that cannot be carried out. ``status`` is the HTTP status that fits: 404, 409 or 422."""

    def __init__(self, message: str, status: int = 422) -> None:
        super().__init__(message)
        self.status = status


class NotFoundError(CommandError):
    """An object that does not exist, or belongs to somebody else: both read the same."""

    def __init__(self) -> None:
        super().__init__("there is no such object, or it is not yours to see", 404)


class ForbiddenError(CommandError):
    """The key's role does not allow this."""

    def __init__(self, role: str, needed: tuple[str, ...]) -> None:
        super().__init__(f"the role {role!r} may not do this; it takes {' or '.join(needed)}", 403)


class UnauthorizedError(CommandError):
    """No key, or one that is unknown or revoked."""

    def __init__(self) -> None:
        super().__init__("send a valid API key: 'Authorization: Bearer <token>' (made by `ullage-scorer key`)", 401)

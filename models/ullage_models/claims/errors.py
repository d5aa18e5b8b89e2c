"""Refusals of the claims models."""

from __future__ import annotations

from ..errors import ModelError


class ClaimError(ModelError):
    """A claim cannot be computed or moved: the message names the fact that is missing or contradictory."""


class MissingFact(ClaimError):
    """A fact that the computation needs is absent. ``facts`` lists every one of them."""

    def __init__(self, facts: tuple[str, ...]) -> None:
        self.facts = facts
        super().__init__("the indemnity cannot be computed; missing: " + "; ".join(facts))

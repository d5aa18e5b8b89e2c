"""Refusals of the rating models."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ModelError


class RatingError(ModelError):
    """A premium, score or relativity cannot be computed from what was given."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong: where (a path such as ``waiting.points[2].value``), what, and the line where known."""

    path: str
    what: str
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


class PlanError(RatingError):
    """A rating plan is refused. ``faults`` holds all of them, in the order of the file."""

    def __init__(self, name: str, faults: tuple[Fault, ...]) -> None:
        self.name = name
        self.faults = faults
        lines = [f"{name}:{f.line}: {f}" if f.line else f"{name}: {f}" for f in faults]
        super().__init__(f"rating plan {name} is refused, {len(faults)} fault(s):\n  " + "\n  ".join(lines))


class SubmissionError(RatingError):
    """A submission cannot be quoted. ``faults`` holds all of them, by field."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        self.faults = faults
        super().__init__("the submission cannot be quoted: " + "; ".join(str(f) for f in faults))

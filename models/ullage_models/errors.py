"""The error family of the models: one base class, so that a caller can catch all of them with one name."""

from __future__ import annotations


class ModelError(Exception):
    """A model refuses its input; the message says what happened, where, and what to do."""


class BaselineError(ModelError):
    """A baseline file is damaged, hostile, of an unknown format, or does not fit what it is asked to judge."""


class LearningError(ModelError):
    """A history cannot be learned from: too short, no usable tag, or roles that do not match its tags."""

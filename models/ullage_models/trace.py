"""A computation written down step by step, so that it can be redone with a pencil."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what went in (name to figure, as text), the value it gave, and the running result after it.

    ``value`` is the factor or figure of this step, ``result`` the running figure that the next step starts
    from, ``note`` the rule in words, ``source`` where the rule or figure stands.
    """

    name: str
    inputs: Mapping[str, str]
    value: str
    result: str
    note: str = ""
    source: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name, "inputs": dict(self.inputs), "value": self.value, "result": self.result,
            "note": self.note, "source": self.source,
        }  # fmt: skip

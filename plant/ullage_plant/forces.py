"""Forces of the engineering block: what is reported instead of what is measured, and silence."""

from __future__ import annotations

from collections.abc import Mapping


class Forces:
    """Reported values that are overridden, by tag name. They never act on the process, only on the reports."""

    def __init__(self) -> None:
        self._held: dict[str, float] = {}
        self.silent_until = float("-inf")

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, name: str, value: float) -> None:
        """Report ``value`` for ``name`` from now on."""
        self._held[name] = value

    def release(self, name: str) -> None:
        """Report the measured value of ``name`` again."""
        self._held.pop(name, None)

    def clear(self) -> None:
        """Release every force."""
        self._held.clear()

    def over(self, readings: Mapping[str, float]) -> dict[str, float]:
        """The readings as they are reported."""
        return {**readings, **self._held}

"""What the demo shows: a line for each thing seen, one live line while it waits, and a table at the end."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field


@dataclass
class Screen:
    """Prints to stdout; the live line is drawn only at a terminal."""

    started: float = field(default_factory=time.monotonic)
    rows: list[tuple[str, str, str]] = field(default_factory=list)
    _live: bool = False

    @property
    def at_terminal(self) -> bool:
        return sys.stdout.isatty()

    def _clock(self) -> str:
        return f"{time.monotonic() - self.started:6.1f} s"

    def say(self, text: str) -> None:
        """One finished line, with the time since the start."""
        self._wipe()
        print(f"{self._clock()}  {text}", flush=True)

    def step(self, number: int, text: str) -> None:
        self._wipe()
        print(f"\n{self._clock()}  {number}. {text}", flush=True)

    def waiting(self, text: str) -> None:
        """Redraws the live line."""
        if self.at_terminal:
            sys.stdout.write(f"\r\x1b[2K{self._clock()}     … {text[:100]}")
            sys.stdout.flush()
            self._live = True

    def _wipe(self) -> None:
        if self._live:
            sys.stdout.write("\r\x1b[2K")
            self._live = False

    def seen(self, step: str, what: str, value: object) -> None:
        """Adds a row to the final table and says it."""
        self.rows.append((step, what, str(value)))
        self.say(f"   ✓ {what}: {value}")

    def table(self) -> None:
        self._wipe()
        first = max(len(row[0]) for row in self.rows)
        second = max(len(row[1]) for row in self.rows)
        print("\nWhat happened")
        last = ""
        for step, what, value in self.rows:
            shown = "" if step == last else step
            last = step
            print(f"  {shown:<{first}}  {what:<{second}}  {value}")
        print(flush=True)

"""How far a long command has come, on stderr: one line at a terminal, a line at each tenth elsewhere."""

from __future__ import annotations

from typing import TextIO


class Progress:
    """Shows what is being done and the share (0-1) of it that is done."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._shown: tuple[str, int] | None = None

    def show(self, what: str, share: float) -> None:
        """Tell; calls that would repeat what is shown cost nothing."""
        now = (what, int(share * (100 if self._terminal else 10)))
        if now == self._shown:
            return
        self._shown = now
        if self._terminal:
            self._out.write(f"\r\x1b[K{what} {share:4.0%}")
        else:
            self._out.write(f"{what} {share:.0%}\n")
        self._out.flush()

    def end(self) -> None:
        """Leave the terminal's line."""
        if self._terminal and self._shown is not None:
            self._out.write("\r\x1b[K")
            self._out.flush()

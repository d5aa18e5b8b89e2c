"""How long a row stays before the next one, from the file's own times. Pure."""

from __future__ import annotations

from datetime import datetime

JUMP = 60.0  # a step of more than so many times the usual one is a jump of the clock, not a pause


class Pace:
    """Seconds to wait before each row; ``warning`` says what is wrong with the row's time, if anything."""

    def __init__(self, speed: float, rows_per_second: float | None) -> None:
        self._speed = speed
        self._fixed = None if rows_per_second is None else 1.0 / rows_per_second
        self._last: datetime | None = None
        self._usual: float | None = None
        self.warning: str | None = None

    @property
    def usual(self) -> float:
        """The usual wait in seconds, 0 before it is known."""
        return self._fixed if self._fixed is not None else (self._usual or 0.0) / self._speed

    def wait(self, time: datetime | None) -> float:
        """Seconds between the row before and this one."""
        self.warning = None
        last = self._last
        if time is None:
            self.warning = "its time cannot be read"
            return self.usual
        self._last = time
        if last is None:
            return 0.0
        step = (time - last).total_seconds()
        if step < 0:
            self.warning = f"the clock jumps back by {-step:g} s"
        elif self._usual is not None and step > JUMP * self._usual:
            self.warning = f"the clock jumps ahead by {step:g} s"
        else:
            if step > 0:
                self._usual = step
            return step / self._speed if self._fixed is None else self._fixed
        return self.usual

"""From two readings of a counter to what was made between them. Pure.

A counter that reads less than before has rolled over, was reset, or was set back a little. Which one is decided by
what the line can plausibly have made in the time between, from the highest rate that it has shown; what was
decided is told. Where no decision is honest, the amount is unknown, never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

_SLACK = 100.0
"""Units that are plausible in any stretch, however short."""
_SURE_AFTER = 60.0
"""Seconds of seen movement after which the highest rate is taken to be the line's."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a counter has been seen to climb.

    ``peak`` is the highest rate (units/s) over blocks of ``BLOCK`` seconds; ``steady`` how many seconds of movement
    stand behind it; ``block`` and ``made`` the block being filled.
    """

    peak: float = 0.0
    steady: float = 0.0
    block: float = 0.0
    made: float = 0.0

    BLOCK = 10.0

    def plus(self, made: float, seconds: float) -> Pace:
        block, total = self.block + seconds, self.made + made
        if block < self.BLOCK:
            return Pace(self.peak, self.steady, block, total)
        return Pace(max(self.peak, total / block), self.steady + (block if total > 0 else 0.0))

    def reach(self, seconds: float) -> float:
        """Units that the line may well have made in ``seconds``; infinite while nothing is known of it."""
        return 2 * self.peak * seconds + _SLACK if self.peak > 0 else float("inf")


def advance(
    before: float, now: float, seconds: float, *, pace: Pace, modulus: float | None, seen: bool
) -> tuple[float | None, str]:
    """Units made between two readings ``seconds`` apart, and what was resolved ("" for nothing).

    None where it cannot be known. ``seen`` is false when the stretch between was not watched.
    """
    step, reach = now - before, pace.reach(seconds)
    if modulus and pace.peak > 0 and 1.25 * pace.peak * seconds + 10 >= modulus:
        return None, f"count unknown: in {seconds:.0f} s unseen the counter may have rolled over more than once"
    if step >= 0:
        if modulus and step > reach and modulus - step <= _SLACK:
            return 0.0, f"counter went back by {modulus - step:g}: taken as a correction, not counted"
        if pace.steady >= _SURE_AFTER and step > 10 * pace.peak * seconds + 1000:
            return None, f"count unknown: counter jumped by {step:g} in {seconds:.1f} s, beyond what the line can make"
        return step, ""
    if modulus:
        wrapped = step + modulus
        if wrapped <= min(reach, 0.95 * modulus if pace.peak > 0 else modulus / 4):
            return wrapped, f"counter rolled over at {modulus:g}"
    if 0 <= now <= reach and (now < before / 2 or not seen):
        return now, f"counter was reset: counted on from 0 to {now:g}"
    return 0.0, f"counter went back by {-step:g}: taken as a correction, not counted"


def energy_used(before: float, now: float) -> tuple[float, str]:
    """kWh between two readings of a meter, which never goes back but may be reset."""
    if now >= before:
        return now - before, ""
    if 0 <= now < before / 2:
        return now, "energy meter was reset"
    return 0.0, "energy meter went back: not counted"

"""The small formulas of rating, each on its own: dampening, silence, mid-term changes, schedule, experience.

Relativities are decimals around 1; results are not rounded unless a function says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from ..money import Money, exact, plain
from ..trace import Step
from .errors import RatingError

ONE = Decimal(1)
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Charged:
    """What the policy pays after one change. ``target`` is where it is heading; ``steps`` show the way."""

    relativity: Decimal
    target: Decimal
    steps: tuple[Step, ...]


@exact
def dampen(
    current: Decimal, indicated: Decimal, *, credibility: Decimal, low: Decimal, high: Decimal, max_step: Decimal
) -> Charged:
    """One change of the charged relativity: 1 + credibility × (indicated - 1), within bounds, by one step at most."""
    if not 0 <= credibility <= 1 or max_step < 0 or not 0 < low <= high:
        raise RatingError(
            f"dampening: credibility {credibility} must lie in 0 to 1, max_step {max_step} must not be below 0, "
            f"and bounds {low} and {high} must be above 0 in this order"
        )
    if min(current, indicated) <= 0:
        raise RatingError(f"dampening: relativities must be above zero, not {current} and {indicated}")
    believed = ONE + credibility * (indicated - ONE)
    target = max(low, min(high, believed))
    after = current + max(-max_step, min(max_step, target - current))
    steps = (
        Step("credibility", {"indicated": plain(indicated), "credibility": plain(credibility)}, plain(believed),
             plain(believed), "1 + credibility × (indicated - 1)"),
        Step("bounds", {"low": plain(low), "high": plain(high)}, plain(target), plain(target),
             "held within the bounds"),
        Step("largest step", {"current": plain(current), "max_step": plain(max_step)}, plain(after - current),
             plain(after), "from the current relativity towards the target, by one step at most"),
    )  # fmt: skip
    return Charged(after, target, steps)


@exact
def after_silence(last: Decimal, hours: Decimal, *, class_mean: Decimal, half_life_hours: Decimal) -> Decimal:
    """The relativity of a silent agent: a good one decays towards the class mean, a bad one stays. Never lower."""
    if hours < 0 or half_life_hours <= 0:
        raise RatingError(f"silence: hours {hours} must not be below 0, half-life {half_life_hours} must be above 0")
    return max(last, class_mean + (last - class_mean) * halved(hours, half_life_hours))


@exact
def halved(age: Decimal, half_life: Decimal) -> Decimal:
    """2^(-age / half-life), by Decimal's own exponential."""
    return (-(Decimal(2).ln()) * age / half_life).exp()


@exact
def midterm(
    annual: Money, *, days: int, from_relativity: Decimal, to_relativity: Decimal, decided_day: int, notice_days: int
) -> Money:
    """Premium due (above zero) or refunded (below) by the day for a change from day decided + notice, rounded.

    ``annual`` is the premium of the whole period of ``days`` days at relativity 1.
    """
    if days <= 0 or decided_day < 0 or notice_days < 0:
        raise RatingError(
            f"mid-term change: days {days} above 0, day {decided_day} and notice {notice_days} not below 0"
        )
    left = max(0, days - decided_day - notice_days)
    return annual.times((to_relativity - from_relativity) * left / days).rounded()


@exact
def schedule_factor(credits_: Sequence[Decimal], cap: Decimal) -> Decimal:
    """1 + the sum of credits (below zero) and debits of one plan, held within ± cap."""
    return ONE + max(-cap, min(cap, sum(credits_, ZERO)))


@exact
def poisson_gamma(prior_mean: Decimal, shape: Decimal, *, claims: int, years: Decimal) -> tuple[Decimal, Decimal]:
    """Posterior mean of the frequency and its relativity to the prior mean."""
    if prior_mean <= 0 or shape <= 0 or claims < 0 or years < 0:
        raise RatingError("experience: prior mean and shape must be above 0, claims and years not below 0")
    posterior = (shape + claims) / (shape / prior_mean + years)
    return posterior, posterior / prior_mean

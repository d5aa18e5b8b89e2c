"""The publisher's window over a channel that loses: all arrive in the end, never too many at once, no busy loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from ullage_agent.custody.window import Pace, Window


@dataclass
class Scorer:
    """Takes records in order, like the real one: what is ahead is not taken but asked for again."""

    held: int = 0
    asks: list[int] = field(default_factory=list)

    def take(self, sequence: int) -> None:
        if sequence == self.held + 1:
            self.held = sequence
        elif sequence > self.held + 1:
            self.asks.append(self.held + 1)


@given(
    seed=st.integers(0, 2**32),
    total=st.integers(1, 200),
    size=st.integers(1, 50),
    loss=st.floats(0, 0.9),
    asking=st.booleans(),
    outages=st.lists(st.tuples(st.floats(0, 60), st.floats(0.1, 20)), max_size=4),
)
def test_every_record_arrives_whatever_is_lost(
    seed: int, total: int, size: int, loss: float, asking: bool, outages: list[tuple[float, float]]
) -> None:
    random, scorer = Random(seed), Scorer()
    pace = Pace(size=size, timeout=1.0, cap=4.0)
    window = Window(0, pace)
    now, calls, handed = 0.0, 0, 0
    while window.base < total:
        calls += 1
        assert now < 20_000, f"stuck at {window.base} of {total}"
        after, count = window.due(now, total)
        assert after >= window.base
        assert after + count <= min(total, window.base + size), "never beyond the window, never beyond the last"
        away = any(start <= now < start + length for start, length in outages)
        for sequence in range(after + 1, after + count + 1):
            if random.random() < 0.05:
                break  # the link is busy
            window.sent(sequence, now)
            handed += 1
            if not away and random.random() >= loss:
                scorer.take(sequence)
        assert window.on_the_way <= size
        progress = not away and scorer.held > window.base and random.random() >= loss
        if progress:
            assert window.receipt(scorer.held, now)
        elif asking and scorer.asks and random.random() >= loss:
            window.resend(scorer.asks.pop(), now)
        # As the publisher does: ask again at the deadline, or shortly after when the link was busy.
        wake = window.wake()
        now = now + 0.05 if wake is None or wake <= now else min(wake, now + 0.5)
    assert scorer.held == total


@given(seed=st.integers(0, 2**32), size=st.integers(1, 20))
def test_a_silent_scorer_is_asked_less_and_less_but_always_again(seed: int, size: int) -> None:
    window, now, rounds = Window(0, Pace(size=size, timeout=1.0, cap=8.0)), 0.0, []
    while now < 100:
        after, count = window.due(now, 1000)
        if count:
            assert (after, count) == (0, size), "the whole window from the first record, and no more"
            rounds.append(now)
            for sequence in range(after + 1, after + count + 1):
                window.sent(sequence, now)
        wake = window.wake()
        assert wake is not None
        assert wake > now, "no busy loop"
        now = wake
    waits = [b - a for a, b in pairwise(rounds)]
    assert waits[:4] == [1.0, 2.0, 4.0, 8.0]
    assert all(wait == 8.0 for wait in waits[4:])


def test_a_receipt_restores_the_pace() -> None:
    window = Window(0, Pace(size=2, timeout=1.0, cap=8.0))
    now = 0.0
    for _ in range(3):
        _, count = window.due(now, 9)
        for sequence in range(1, count + 1):
            window.sent(sequence, now)
        now = window.wake() or 0.0
    assert window.receipt(1, now)
    assert window.wake() == now + 1.0
    assert not window.receipt(1, now), "the same receipt again is no progress"


def test_a_resend_goes_back_once_and_not_in_a_storm() -> None:
    window = Window(0, Pace(size=10, timeout=4.0))
    assert window.due(0.0, 10) == (0, 10)
    window.sent(10, 0.0)
    assert window.due(0.0, 10) == (10, 0)
    assert window.resend(4, 0.5)
    assert window.due(0.5, 10) == (3, 7)
    window.sent(10, 0.5)
    assert not window.resend(4, 1.0), "asked again within a quarter of the timeout"
    assert window.resend(4, 1.5)
    assert not window.resend(11, 9.0), "what was never sent is not sent again"


def test_a_lost_connection_forgets_what_was_on_its_way() -> None:
    window = Window(5, Pace(size=10))
    window.sent(8, 0.0)
    window.lost()
    assert window.due(0.0, 8) == (5, 3)
    assert window.on_the_way == 0

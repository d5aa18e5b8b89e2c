"""The production meter: intervals abut, and their counts sum to what was truly made, however it was sampled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ullage_agent.production.counter import Pace, advance
from ullage_agent.production.meter import LineConfig, Meter, Reading
from ullage_protocols import wire
from ullage_protocols.messages import Production

START = datetime(2026, 1, 1, tzinfo=UTC)
ALL = frozenset({"count", "running", "energy"})


def line(roles: frozenset[str] = ALL, interval: float = 10.0, modulus: float | None = 65536) -> LineConfig:
    return LineConfig("line-1", roles, interval, patience=2.0, modulus=modulus)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class World:
    """A line at ``rate`` units/s while it runs; ``stops`` are stretches in which it does not."""

    def __init__(self, rate: float, stops: list[tuple[float, float]], count_start: int = 0) -> None:
        self.rate, self.stops, self.count_start = rate, stops, count_start

    def running(self, t: float) -> bool:
        return not any(start <= t < end for start, end in self.stops)

    def ran(self, t: float) -> float:
        """Seconds of running until ``t``; stops may overlap."""
        stopped, last = 0.0, 0.0
        for start, end in sorted(self.stops):
            start, end = max(start, last), min(end, t)
            if end > start:
                stopped += end - start
                last = end
        return t - stopped

    def made(self, t: float) -> int:
        return int(self.rate * self.ran(t) + 1e-9)

    def reading(self, t: float, roles: frozenset[str] = ALL) -> Reading:
        count = float((self.count_start + self.made(t)) % 65536)
        return Reading(
            at(t), count if "count" in roles else None, self.running(t) if "running" in roles else None,
            self.ran(t) / 100 if "energy" in roles else None,
        )  # fmt: skip


def through_json(state: wire.Json | None) -> wire.Json:
    found: wire.Json = json.loads(json.dumps(state))
    return found


def checked(intervals: list[Production]) -> list[Production]:
    """The intervals, once they are found to abut and to be whole on the wire."""
    for a, b in pairwise(intervals):
        assert a.end == b.start
    for interval in intervals:
        assert Production.from_json(interval.to_json()) == interval
        assert interval.running <= (interval.end - interval.start).total_seconds() + 1e-6
    return intervals


def spaced(random: Random, mean: float, until: float) -> Iterator[float]:
    t = 0.0
    while t < until:
        yield t
        t += random.uniform(0.2, 1.8) * mean


@given(
    seed=st.integers(0, 2**32),
    rate=st.floats(0.05, 40),
    mean=st.floats(0.05, 1.0),
    count_start=st.integers(0, 65535),
    roles=st.sampled_from([ALL, frozenset({"count"}), frozenset({"count", "running"})]),
    stops=st.lists(st.tuples(st.floats(0, 250), st.floats(0.5, 60)).map(lambda s: (s[0], s[0] + s[1])), max_size=3),
    gaps=st.lists(st.tuples(st.floats(0, 250), st.floats(1, 90)).map(lambda s: (s[0], s[0] + s[1])), max_size=3),
    kills=st.lists(st.floats(0, 250), max_size=3),
)
def test_counts_sum_to_what_was_made(
    seed: int, rate: float, mean: float, count_start: int, roles: frozenset[str],
    stops: list[tuple[float, float]], gaps: list[tuple[float, float]], kills: list[float],
) -> None:  # fmt: skip
    random, world = Random(seed), World(rate, stops, count_start)
    meter, intervals, state = Meter(line(roles)), [], None
    pending = sorted(kills)
    last = 0.0
    for t in spaced(random, mean, 300.0):
        if any(start <= t < end for start, end in gaps):
            more = meter.tick(at(t))
        else:
            if pending and t > pending[0] and state is not None:
                pending.pop(0)
                meter = Meter(line(roles), through_json(state))
            more = meter.take(world.reading(t, roles))
            last = t
        intervals += more
        if more:
            state = meter.persist()
    intervals += meter.finish()
    checked(intervals)
    if not intervals:
        return
    assert intervals[-1].end == at(last)
    assert all(interval.count is not None for interval in intervals)
    begin = (intervals[0].start - START).total_seconds()
    assert sum(interval.count or 0 for interval in intervals) == world.made(last) - world.made(begin)
    if "energy" in roles:
        used = sum(interval.energy or 0.0 for interval in intervals)
        assert used == pytest.approx((world.ran(last) - world.ran(begin)) / 100, abs=1e-6)


def polled(meter: Meter, world: World, start: float, end: float, every: float = 0.25) -> list[Production]:
    found = []
    for step in range(round((end - start) / every)):
        found += meter.take(world.reading(start + step * every, meter._config.roles))
    return found


@pytest.mark.parametrize("roles", [ALL, frozenset({"count"})])
@pytest.mark.parametrize("phase", [0.0, 0.06, 0.13, 0.21])
def test_a_stop_is_cut_so_sharply_that_the_loss_is_within_one_percent(roles: frozenset[str], phase: float) -> None:
    world = World(10.0, [(40.0 + phase, 85.0 + phase)])
    meter = Meter(line(roles, interval=60.0))
    intervals = checked([*polled(meter, world, 0.0, 150.0), *meter.finish()])
    idle = [i for i in intervals if i.count is not None and i.count < 0.5 * 10 * (i.end - i.start).total_seconds()]
    seconds = sum((i.end - i.start).total_seconds() for i in idle)
    lost = 10 * seconds - sum(i.count or 0 for i in idle)
    assert lost == pytest.approx(450, rel=0.01)


def test_a_start_and_a_stop_cut_at_once_midway_between_the_readings_that_saw_it() -> None:
    world = World(10.0, [(20.0, 30.0)])
    meter = Meter(line(interval=60.0))
    assert polled(meter, world, 0.0, 20.0) == []
    [running] = meter.take(world.reading(20.0))
    assert running.end == at(19.875)
    assert (running.count, running.running, running.observed) == (198, 19.875, 1.0)
    assert polled(meter, world, 20.25, 30.0) == []
    [stopped] = meter.take(world.reading(30.0))
    assert (stopped.end, stopped.count, stopped.running) == (at(29.875), 2, 0.0)


def test_a_blind_stretch_is_an_interval_of_its_own_exact_in_count() -> None:
    world, meter = World(10.0, []), Meter(line(interval=60.0))
    polled(meter, world, 0.0, 5.0)
    assert meter.tick(at(6.0)) == [], "one missed poll is not blindness"
    [seen] = meter.tick(at(7.0))
    assert (seen.end, seen.observed) == (at(4.75), 1.0)
    assert meter.tick(at(8.0)) == []
    [blind] = meter.take(world.reading(34.75))
    assert (blind.start, blind.count, blind.observed, blind.note) == (at(4.75), 300, 0.0, "not seen for 30.0 s")


def test_a_bad_counter_is_blindness_though_the_device_answers() -> None:
    world, meter = World(10.0, []), Meter(line(interval=60.0))
    polled(meter, world, 0.0, 5.0)
    for step in range(40):
        assert meter.take(Reading(at(5 + step / 4), None, True, 1.0)) == []
    ended = meter.take(world.reading(15.0))
    assert [i.observed for i in ended] == [1.0, 0.0]


def test_uncertain_readings_count_but_are_not_observed() -> None:
    world, meter = World(10.0, []), Meter(line(interval=4.0))
    meter.take(world.reading(0.0))
    for step in range(1, 17):
        found = meter.take(Reading(at(step / 4), float(world.made(step / 4)), True, 0.0, sure=step % 2 == 0))
    [interval] = found
    assert (interval.count, interval.observed) == (40, 0.5)


def test_a_clock_that_stands_still_gives_no_interval_that_goes_back() -> None:
    meter = Meter(line(interval=1.0))
    found = []
    for step, t in enumerate([0.0, 0.5, 0.2, 0.1, 0.5, 0.9, 1.5, 2.0, 3.0]):
        found += meter.take(Reading(at(t), float(step), True))
    checked([*found, *meter.finish()])
    assert sum(i.count or 0 for i in found) == 8


STEADY = Pace(peak=10.0, steady=600.0)


@pytest.mark.parametrize(
    ("before", "now", "seconds", "modulus", "seen", "made", "word"),
    [
        (100, 103, 0.25, 65536, True, 3, ""),
        (65530, 2, 0.25, 65536, True, 8, "rolled over"),
        (9998, 1, 0.25, 10000, True, 3, "rolled over"),
        (1000, 995, 0.25, 65536, True, 0, "went back by 5"),
        (30000, 2, 0.25, 65536, True, 2, "was reset"),
        (3, 65535, 0.25, 65536, True, 0, "went back by 4"),
        (100, 40000, 0.25, 65536, True, None, "jumped by 39900"),
        (100, 30100, 3000, 65536, False, 30000, ""),
        (60000, 24464, 3000, 65536, False, 30000, "rolled over"),
        (100, 100, 7000, 65536, False, None, "more than once"),
        (5000, 3, 0.25, None, True, 3, "was reset"),
        (5000, 4990, 0.25, None, True, 0, "went back by 10"),
        (5000, 4000, 600, None, False, 4000, "was reset"),
        (0, 6 * 10**6, 600000, None, False, 6 * 10**6, ""),
    ],
)
def test_what_a_counter_means(
    before: float, now: float, seconds: float, modulus: float | None, seen: bool, made: float | None, word: str
) -> None:
    found, note = advance(before, now, seconds, pace=STEADY, modulus=modulus, seen=seen)
    assert found == made
    assert word in note
    assert bool(note) == bool(word)


def test_a_line_that_truly_became_faster_is_unknown_once_and_counted_from_then_on() -> None:
    meter = Meter(line(interval=1.0, modulus=None))
    t, count = 0.0, 0.0
    found = []
    for rate in (*[1] * 600, *[3000] * 40):
        found += meter.take(Reading(at(t), count, True))
        t, count = t + 0.5, count + rate * 0.5
    unknown = [i for i in checked(found) if i.count is None]
    assert len(unknown) == 1
    assert "jumped" in unknown[0].note
    assert found[-1].count == 3000


@given(st.lists(st.integers(0, 65535), min_size=2, max_size=60), st.booleans())
def test_a_counter_of_rubbish_never_gives_a_negative_or_impossible_number(values: list[int], running: bool) -> None:
    meter = Meter(line(ALL if running else frozenset({"count"}), interval=1.0))
    found = []
    for step, value in enumerate(values):
        found += meter.take(Reading(at(step * 0.4), float(value), step % 7 < 5 if running else None))
    checked([*found, *meter.finish()])
    assert all(i.count is None or 0 <= i.count <= 65536 * len(values) for i in found)


def test_parts_of_a_unit_are_carried_over_not_lost() -> None:
    meter = Meter(line(interval=1.0, modulus=None))
    found = []
    for step in range(401):
        found += meter.take(Reading(at(step / 4), step * 0.3, True))
    assert sum(i.count or 0 for i in checked(found)) == 120


def test_a_line_that_flickers_does_not_fill_the_ledger_and_loses_no_unit() -> None:
    """A running tag that changes at every reading for ten minutes: bounded records, exact count, honest running."""
    meter, found = Meter(line(interval=60.0)), []
    for step in range(6001):
        found += meter.take(Reading(at(step / 10), count=float(step), running=step % 2 == 0))
    found += meter.finish()
    assert len(found) <= 11 * 21 + 1, "a full interval after each twenty cuts"
    assert all(a.end == b.start for a, b in pairwise(found))
    assert sum(one.count or 0 for one in found) == 6000
    assert 270 < sum(one.running for one in found) < 330
    assert any("too often" in one.note for one in found)


def test_a_line_that_flickers_while_the_outbox_is_tight_is_not_cut_at_all() -> None:
    meter, found = Meter(line(interval=10.0)), []
    for step in range(1001):
        found += meter.take(Reading(at(step / 10), count=float(step), running=step % 2 == 0), stretch=4.0)
    assert len(found) == 2
    assert found[0].end - found[0].start == timedelta(seconds=40)

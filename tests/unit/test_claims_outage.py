"""Outages on a simulated line with known truth, and the stated answers to holes, overlaps and blindness."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from ullage_models.claims.errors import ClaimError
from ullage_models.claims.outage import Happened, Outage, OutageEvent, OutageRule, OutageWatch, find_outages
from ullage_models.claims.production import Interval, Standard, standard_output

D = Decimal
T0 = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
TEN_A_SECOND = Standard(D(36000), "declared", D(0), D(0))
RULE = OutageRule(window=timedelta(minutes=2), min_measured=timedelta(seconds=20))


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def run(*pieces: tuple[float, float | None] | tuple[float, float | None, float], start: float = 0) -> list[Interval]:
    """Abutting intervals from (seconds, units[, observed])."""
    found = []
    for seconds, units, *observed in pieces:
        share = observed[0] if observed else 1
        found.append(Interval.of(at(start), at(start + seconds), units, None, share))
        start += seconds
    return found


def follow(watch: OutageWatch, intervals: list[Interval]) -> tuple[OutageWatch, list[OutageEvent]]:
    events: list[OutageEvent] = []
    for interval in intervals:
        watch, more = watch.step(interval)
        events.extend(more)
    return watch, events


def agent_view(trip: float, back: float, end: float, *, scan: float = 0.2, cut: float = 5.0) -> Iterator[Interval]:
    """What an agent reports of a line of 10 units a second: counts whole units, cuts where the running state turns."""

    def counter(t: float) -> int:
        return int(10 * (min(t, trip) + max(0.0, t - back)) + 1e-9)

    begin, last, was_running, k = 0.0, 0, True, 0
    while k * scan < end:
        k += 1
        now = k * scan
        running = not trip <= now < back
        if running != was_running or now - begin >= cut - 1e-9:
            yield Interval.of(at(begin), at(now), counter(now) - last, (now - begin) if was_running else 0.0)
            begin, last, was_running = now, counter(now), running


@pytest.mark.parametrize("phase", [0.0, 0.03, 0.07, 0.11, 0.13, 0.19])
@pytest.mark.parametrize("later", [0.0, 0.05, 0.1, 0.17])
def test_the_loss_after_the_waiting_period_comes_within_one_per_cent_of_the_truth(phase: float, later: float) -> None:
    trip = 60 + phase
    back = trip + 45 + later
    watch, events = follow(OutageWatch(RULE, timedelta(seconds=10)), list(agent_view(trip, back, back + 20)))
    assert watch.outage is None
    assert [e.kind for e in events if e.kind is not Happened.UPDATED] == ["started", "waiting_ended", "ended"]
    outage = events[-1].outage
    assert outage is not None
    assert outage.end is not None
    truth = D(10) * D(str(back - trip - 10))
    assert abs(outage.shortage_after_waiting - truth) / truth < D("0.01")


def test_partial_recovery_counts_until_output_is_back() -> None:
    pieces = run((60, 600), (20, 0), (10, 60), (10, 80), (30, 300))
    (outage,) = find_outages(pieces, TEN_A_SECOND, RULE)
    assert (outage.start, outage.end) == (at(60), at(100))
    assert outage.shortage == 200 + 40 + 20


def test_a_slow_line_above_the_threshold_is_no_outage() -> None:
    assert find_outages(run((60, 600), (60, 300), (60, 600)), TEN_A_SECOND, RULE) == []
    (outage,) = find_outages(run((60, 600), (60, 299), (60, 600)), TEN_A_SECOND, RULE)
    assert outage.shortage == 301


def test_recovery_must_hold_or_the_outage_goes_on() -> None:
    pieces = run((60, 600), (20, 0), (1, 10), (20, 0), (60, 600))
    (outage,) = find_outages(pieces, TEN_A_SECOND, RULE)
    assert (outage.start, outage.end, outage.shortage) == (at(60), at(101), D(400))
    at_once = OutageRule(recovery_hold=timedelta(0))
    assert [o.shortage for o in find_outages(pieces, TEN_A_SECOND, at_once)] == [200, 200]


def test_output_above_standard_inside_the_outage_makes_good_part_of_it() -> None:
    pieces = run((60, 600), (20, 0), (1, 20), (20, 0), (60, 600))
    (outage,) = find_outages(pieces, TEN_A_SECOND, RULE)
    assert outage.shortage == 390


def test_a_shortage_is_never_below_zero() -> None:
    pieces = run((60, 600), (10, 0), (30, 900, 0.1), (10, 0), (60, 600))
    (outage,) = find_outages(pieces, TEN_A_SECOND, RULE)
    assert (outage.shortage, outage.shortage_at_most) == (D(0), D(0))


def test_an_unfinished_outage_has_no_end_and_only_its_known_time() -> None:
    (outage,) = find_outages(run((60, 600), (20, 0)), TEN_A_SECOND, RULE)
    assert outage.end is None
    assert outage.through == at(80)
    assert outage.duration == timedelta(seconds=20)


def test_a_hole_is_told_and_bounded_and_never_filled() -> None:
    first, second = run((60, 600), (20, 0)), run((20, 0), (60, 600), start=90)
    watch, events = follow(OutageWatch(RULE, timedelta(seconds=5), given=TEN_A_SECOND), [*first, *second])
    assert [e.kind for e in events].count(Happened.GAP) == 1
    assert "nothing is assumed" in next(e.note for e in events if e.kind is Happened.GAP)
    outage = events[-1].outage
    assert outage is not None
    assert outage.end == at(110)
    assert outage.shortage == 400
    assert outage.shortage_at_most == 500
    assert outage.observed == D(40) / D(50)
    assert watch.last_end == at(170)


def test_blind_time_neither_starts_nor_ends_an_outage() -> None:
    assert find_outages(run((60, 600), (20, None, 0), (20, 0, 0.4), (60, 600)), TEN_A_SECOND, RULE) == []
    (outage,) = find_outages(run((60, 600), (20, 0), (30, 300, 0.1), (20, 0), (60, 600)), TEN_A_SECOND, RULE)
    assert (outage.start, outage.end, outage.shortage) == (at(60), at(130), D(400))


def test_an_interval_that_overlaps_is_refused_and_told() -> None:
    watch, _ = follow(OutageWatch(RULE, timedelta(0), given=TEN_A_SECOND), run((60, 600)))
    again, events = watch.step(Interval.of(at(30), at(90), 0))
    assert again == watch
    assert events[0].kind is Happened.REFUSED
    assert "left out" in events[0].note
    with pytest.raises(ClaimError, match="begins before"):
        find_outages([*run((60, 600)), Interval.of(at(30), at(90), 0)], TEN_A_SECOND, RULE)


def test_without_a_standard_nothing_is_judged() -> None:
    watch, events = follow(OutageWatch(RULE, timedelta(0)), run((10, 100), (20, 0), (10, 100)))
    assert watch.outage is None
    assert events == []


def test_a_second_outage_after_a_long_one_is_judged_by_the_last_standard() -> None:
    pieces = run((60, 600), (600, 0), (5, 50), (20, 0), (60, 600))
    _, events = follow(OutageWatch(RULE, timedelta(0)), pieces)
    ended = [e.outage for e in events if e.kind is Happened.ENDED]
    assert [o.shortage for o in ended if o is not None] == [6000, 200]


def test_the_state_survives_json_at_every_step() -> None:
    pieces = run((40, 400), (20, 201), (20, 0), (1, 10), (20, 3), (20, None, 0), (1, 10), (30, 310))
    plain, stored = (OutageWatch(RULE, timedelta(seconds=7), timedelta(days=90)) for _ in range(2))
    for piece in pieces:
        stored = OutageWatch.from_json(json.loads(json.dumps(stored.to_json())))
        plain, first = plain.step(piece)
        stored, second = stored.step(piece)
        assert stored == plain
        assert second == first
    with pytest.raises(ClaimError, match="rebuild it from the ledger"):
        OutageWatch.from_json({"rule": {}})


def test_the_indemnity_period_ends_the_tally_and_not_the_outage() -> None:
    pieces = run((60, 600), (100, 0), (60, 600))
    (outage,) = find_outages(
        pieces, TEN_A_SECOND, RULE, waiting=timedelta(seconds=10), indemnity_period=timedelta(seconds=40)
    )
    assert outage.end == at(160)
    assert (outage.shortage, outage.shortage_after_waiting) == (D(400), D(300))


# --- standard output ---------------------------------------------------------------------------------------


def measured(intervals: list[Interval], declared_rate: Decimal | None = None) -> Standard | None:
    return standard_output(intervals, intervals[-1].end, timedelta(minutes=10), declared_rate=declared_rate)


def test_standard_output_leaves_out_stops_ramps_and_misread_counters() -> None:
    found = measured(run((20, 0), (5, 20), (60, 600), (1, 65000), (20, None), (60, 612), (30, 0)))
    assert found is not None
    assert found.rate == D("36360")
    assert found.measured_seconds == 120
    assert "1212 units in 120 s" in found.basis


def test_a_declared_rate_caps_what_was_measured_and_stands_in_for_it() -> None:
    capped = measured(run((60, 600)), declared_rate=D(30000))
    assert capped is not None
    assert capped.rate == 30000
    assert "below the measured rate" in capped.basis
    thin = measured(run((10, 100)), declared_rate=D(30000))
    assert thin is not None
    assert "too little" in thin.basis
    assert measured(run((10, 100))) is None
    higher = measured(run((60, 600)), declared_rate=D(50000))
    assert higher is not None
    assert higher.rate == 36000


def test_only_the_window_before_the_moment_counts() -> None:
    pieces = run((600, 3000), (60, 600), (600, 0))
    found = standard_output(pieces, at(660), timedelta(seconds=60))
    assert found is not None
    assert found.rate == 36000


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"end": T0}, "must lie after"), ({"count": D(-1)}, "count -1"), ({"observed": D(2)}, "between 0 and 1"),
        ({"observed": D("NaN")}, "finite"), ({"start": T0.replace(tzinfo=None)}, "timezone-aware"),
    ],
)  # fmt: skip
def test_an_impossible_interval_is_refused(change: dict[str, object], said: str) -> None:
    fields = {"start": T0, "end": at(1), "count": D(1), "running_seconds": None, "observed": D(1)} | change
    with pytest.raises(ClaimError, match=said):
        Interval(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("terms", [{"start_below": D(0)}, {"end_at": D("0.4")}, {"window": timedelta(0)},
                                   {"declared_rate": D(0)}, {"min_observed": D(0)}])  # fmt: skip
def test_an_impossible_rule_is_refused(terms: dict[str, object]) -> None:
    with pytest.raises(ClaimError, match="outage rule"):
        OutageRule(**terms)  # type: ignore[arg-type]


def test_an_outage_survives_json() -> None:
    (outage,) = find_outages(run((60, 600), (20, 7), (60, 600)), TEN_A_SECOND, RULE)
    assert Outage.from_json(json.loads(json.dumps(outage.to_json()))) == outage

"""The claim's life: what the table allows, whom, and what a refusal says."""

from __future__ import annotations

import pytest
from ullage_models.claims.lifecycle import TABLE, Event, LifecycleError, Role, State, advance, possible


def test_a_claim_can_be_taken_from_draft_to_closed() -> None:
    state = State.DRAFT
    for event, role in (
        ("update", "telemetry"), ("notify", "insured"), ("open", "handler"), ("reserve", "handler"),
        ("pay_interim", "handler"), ("agree", "supervisor"), ("pay", "handler"), ("close", "handler"),
        ("reopen", "supervisor"), ("reserve", "handler"), ("agree", "supervisor"),
    ):  # fmt: skip
        state = advance(state, event, role)
    assert state is State.AGREED


def test_telemetry_only_updates_drafts() -> None:
    allowed = [(s, e) for s in State for e, roles in possible(s).items() if Role.TELEMETRY in roles]
    assert allowed == [(State.DRAFT, Event.UPDATE)]
    with pytest.raises(LifecycleError, match="not open to telemetry, only to handler, insured, supervisor"):
        advance("draft", "notify", "telemetry")


def test_a_refusal_says_what_is_possible_and_for_whom() -> None:
    with pytest.raises(
        LifecycleError, match=r"claim that is agreed cannot take the step close; possible are pay \(by handler"
    ):
        advance("agreed", "close", "supervisor")


@pytest.mark.parametrize(
    ("state", "event", "role"), [("lost", "pay", "handler"), ("draft", "shred", "handler"), ("draft", "notify", "cat")]
)
def test_words_that_are_not_in_the_table_are_refused(state: str, event: str, role: str) -> None:
    with pytest.raises(LifecycleError, match="known are"):
        advance(state, event, role)


def test_every_state_can_be_reached_from_a_draft_and_has_a_way_on() -> None:
    reached, todo = {State.DRAFT}, [State.DRAFT]
    while todo:
        for after, _ in TABLE[todo.pop()].values():
            if after not in reached:
                reached.add(after)
                todo.append(after)
    assert reached == set(State)
    assert all(TABLE[state] for state in State)

"""Planned stops: what an ask becomes, the drop folder between command and agent, and the command itself."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ullage_agent.__main__ import main
from ullage_agent.clock import Clock
from ullage_agent.config.sample import SAMPLE
from ullage_agent.custody.outbox import Draft, Outbox
from ullage_agent.errors import AgentError
from ullage_agent.lock import FolderLock, holder
from ullage_agent.planned import requests
from ullage_agent.planned.declarations import Declarations
from ullage_agent.planned.declared import Ask, Declared, DeclineError
from ullage_agent.planned.maintenance import moment
from ullage_protocols.errors import WireError
from ullage_protocols.keys import SigningKey
from ullage_protocols.messages import Heartbeat, Maintenance

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
KEY = SigningKey.from_seed(b"k" * 32)
HOUR = timedelta(hours=1)


def ask(phase: str = "start", line: str = "line-1", **changes: Any) -> Ask:
    return replace(Ask("m-1", phase, line, "change of format", "eve", None, None, NOON), **changes)


# --- what an ask becomes ------------------------------------------------------------------------------------


def test_a_stop_that_starts_now_is_open_until_it_is_ended() -> None:
    started, declared = Declared().declare(ask(), NOON + timedelta(seconds=1))
    assert (started.phase, started.start, started.end, started.retroactive) == (
        "start", NOON + timedelta(seconds=1), None, False
    )  # fmt: skip
    assert declared.open == (started,)
    ended, after = declared.declare(ask("stop", id="m-2", reason="", asked_at=NOON + HOUR), NOON + HOUR)
    assert (ended.id, ended.phase, ended.reason) == ("m-1", "stop", "change of format")
    assert (ended.start, ended.end, ended.retroactive) == (started.start, NOON + HOUR, False)
    assert (after.open, after.past, after.asked) == ((), (ended,), ("m-1", "m-2"))


@pytest.mark.parametrize(("ago", "late"), [(60, False), (61, True), (7200, True)])
def test_a_start_more_than_a_minute_ago_is_retroactive(ago: int, late: bool) -> None:
    assert Declared().declare(ask(start=NOON - timedelta(seconds=ago)), NOON)[0].retroactive is late


def test_an_ask_that_nobody_took_up_for_long_is_retroactive_though_it_names_no_start() -> None:
    message, _ = Declared().declare(ask(), NOON + HOUR)
    assert (message.start, message.declared_at, message.retroactive) == (NOON, NOON + HOUR, True)


def test_a_stop_whose_start_was_declared_afterwards_stays_so_to_its_end() -> None:
    _, declared = Declared().declare(ask(start=NOON - HOUR), NOON)
    ended, _ = declared.declare(ask("stop", id="m-2"), NOON)
    assert ended.retroactive


def test_what_is_over_is_declared_whole_and_never_open_even_beside_an_open_one() -> None:
    _, declared = Declared().declare(ask(), NOON)
    message, after = declared.declare(ask(id="m-2", start=NOON - 3 * HOUR, end=NOON - 2 * HOUR), NOON)
    assert message.retroactive
    assert (after.open, after.past) == (declared.open, (message,))


def test_a_planned_stop_is_called_off_by_ending_it_before_it_starts() -> None:
    started, declared = Declared().declare(ask(start=NOON + HOUR, end=NOON + 2 * HOUR), NOON)
    ended, after = declared.declare(ask("stop", id="m-2"), NOON)
    assert (ended.start, ended.end, ended.retroactive) == (started.start, started.start, False)
    assert after.open == ()


def test_a_stop_that_has_outlasted_its_planned_end_makes_room_for_the_next() -> None:
    first, declared = Declared().declare(ask(end=NOON + HOUR), NOON)
    with pytest.raises(DeclineError, match="already has a planned stop, m-1"):
        declared.declare(ask(id="m-2", asked_at=NOON + HOUR / 2), NOON + HOUR / 2)
    second, after = declared.declare(ask(id="m-2", asked_at=NOON + 2 * HOUR), NOON + 2 * HOUR)
    assert (after.open, after.past) == ((second,), (first,))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"phase": "stop"}, "has no planned stop that is open"),
        ({"end": NOON - HOUR, "start": NOON}, "'end' must lie after 'start'"),
        ({"start": NOON - timedelta(days=400)}, "more than a year away"),
        ({"end": NOON + timedelta(days=400)}, "more than a year away"),
        ({"reason": ""}, "must not be empty"),
        ({"id": ""}, "must not be empty"),
    ],
)
def test_a_declaration_that_cannot_be_is_declined(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(DeclineError, match=word):
        Declared().declare(ask(**changes), NOON)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"end": NOON + HOUR}, "still to come"),
        ({"end": NOON - HOUR}, "'end' must lie after"),
        ({"start": NOON}, "its start was declared"),
        ({"line": ""}, "the whole site has no planned stop"),
    ],
)
def test_an_end_that_cannot_be_is_declined(changes: dict[str, Any], word: str) -> None:
    _, declared = Declared().declare(ask(), NOON)
    with pytest.raises(DeclineError, match=word):
        declared.declare(ask("stop", id="m-2", **changes), NOON)


asks = st.builds(
    Ask, st.uuids().map(lambda u: u.hex), st.sampled_from(["start", "stop"]), st.sampled_from(["", "a", "b"]),
    st.sampled_from(["", "x"]), st.just("eve"),
    st.none() | st.integers(-200, 200).map(lambda m: NOON + timedelta(minutes=m)),
    st.none() | st.integers(-200, 200).map(lambda m: NOON + timedelta(minutes=m)),
    st.integers(-200, 0).map(lambda m: NOON + timedelta(minutes=m)),
)  # fmt: skip


@given(st.lists(asks, max_size=12))
def test_whatever_is_asked_one_stop_a_line_is_open_and_it_is_remembered(wanted: list[Ask]) -> None:
    declared, now = Declared(), NOON
    for each in wanted:
        now += timedelta(minutes=7)
        try:
            message, declared = declared.declare(each, now)
        except DeclineError as exc:
            assert str(exc)  # noqa: PT017 - both outcomes are right, a silent one is not
            continue
        assert Maintenance.from_json(message.to_json()) == message
        assert Ask.from_json(each.to_json()) == each
        assert len({m.line for m in declared.open}) == len(declared.open)
        assert Declared.restored(declared.persist()) == declared


@pytest.mark.parametrize(
    "kept", ["{", "[]", "{}", '{"open": 3, "past": [], "asked": []}', '{"open": [{}], "past": []}']
)
def test_a_damaged_memory_is_told(kept: str) -> None:
    with pytest.raises(WireError):
        Declared.restored(kept)


# --- the drop folder ----------------------------------------------------------------------------------------


def test_a_request_is_for_its_owner_only_whole_and_answered_once(tmp_path: Path) -> None:
    name = requests.put(tmp_path, {"request": "x"})
    file = tmp_path / "requests" / f"{name}.json"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    agent = requests.Requests(tmp_path)
    (request,) = agent.take()
    assert request == requests.Request(name, {"request": "x"})
    assert requests.answer(tmp_path, name) is None
    agent.settle(request, {"done": True})
    assert agent.take() == []
    assert requests.answer(tmp_path, name) == {"done": True}
    assert requests.answer(tmp_path, name) is None
    assert list((tmp_path / "requests").iterdir()) == []


def test_requests_come_in_the_order_in_which_they_were_put(tmp_path: Path) -> None:
    names = [requests.put(tmp_path, {"n": n}) for n in range(5)]
    assert [r.name for r in requests.Requests(tmp_path).take()] == names == [r.name for r in requests.waiting(tmp_path)]


def _big(path: Path) -> None:
    path.write_bytes(b"{" + b" " * requests.MAX_BYTES + b"}")


def _link(path: Path) -> None:
    (path.parent.parent / "secret").write_text('{"a": 1}')
    path.symlink_to(path.parent.parent / "secret")


JUNK: dict[str, Callable[[Path], object]] = {
    "not JSON": lambda path: path.write_bytes(b"\xff\xfe"),
    "a list": lambda path: path.write_bytes(b"[]"),
    "deep": lambda path: path.write_bytes(b'{"a":' + b"[" * 5000),
    "too large": _big,
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a link": _link,
}


@pytest.mark.parametrize("what", JUNK)
def test_junk_is_set_aside_with_a_note_and_holds_nothing_up(what: str, tmp_path: Path) -> None:
    requests.put(tmp_path, {"before": 1})
    JUNK[what](tmp_path / "requests" / "5-junk.json")
    requests.put(tmp_path, {"after": 1})
    agent = requests.Requests(tmp_path)
    assert [r.body for r in agent.take()] == [{"before": 1}, {"after": 1}]
    assert len(agent.notes) == 1
    assert "requests/refused/5-junk.json" in agent.notes[0]
    assert len(agent.take()) == 2
    assert len(agent.notes) == 1, "told once"


def test_a_folder_that_is_not_there_or_cannot_be_written(tmp_path: Path) -> None:
    assert requests.Requests(tmp_path).take() == []
    (tmp_path / "file").write_text("")
    with pytest.raises(AgentError, match="run this as the user"):
        requests.put(tmp_path / "file", {})


# --- the agent's side ---------------------------------------------------------------------------------------


@contextmanager
def outbox_in(folder: Path, limit: int = 10_000_000) -> Iterator[Outbox]:
    folder.mkdir(exist_ok=True)
    found = Outbox(folder, agent="filler-gw-1", key=KEY, clock=Clock(), limit=limit)
    yield found
    found.close()


def drop(folder: Path, **changes: Any) -> str:
    return requests.put(folder, ask(asked_at=datetime.now(UTC), **changes).to_json())


def test_what_was_asked_is_sealed_answered_and_remembered_over_a_restart(tmp_path: Path) -> None:
    name = drop(tmp_path)
    with outbox_in(tmp_path) as outbox:
        declarations = Declarations(tmp_path, outbox, Clock())
        (event,) = declarations.take()
        assert isinstance(event.message, Maintenance)
        assert (event.sequence, event.subject, event.message.retroactive) == (1, "line-1", False)
        told = requests.answer(tmp_path, name)
        assert told is not None
        assert (told["state"], told["sequence"], told["id"]) == ("sealed", 1, "m-1")
        assert declarations.take() == []
    drop(tmp_path, phase="stop", id="m-2")
    with outbox_in(tmp_path) as outbox:
        (event,) = Declarations(tmp_path, outbox, Clock()).take()
        assert isinstance(event.message, Maintenance)
        assert (event.sequence, event.message.phase, event.message.id) == (2, "stop", "m-1")


@pytest.mark.parametrize("what", ["start", "stop", "whole"])
def test_a_request_that_outlived_a_crash_after_its_sealing_is_not_sealed_twice(what: str, tmp_path: Path) -> None:
    name = drop(tmp_path)
    with outbox_in(tmp_path) as outbox:
        if what != "start":
            Declarations(tmp_path, outbox, Clock()).take()
            past = datetime.now(UTC) - 2 * HOUR
            name = drop(
                tmp_path, **({"phase": "stop"} if what == "stop" else {"start": past - HOUR, "end": past}), id="m-2"
            )
        (file,) = (tmp_path / "requests").glob("*.json")
        raw = file.read_bytes()
        assert len(Declarations(tmp_path, outbox, Clock()).take()) == 1
        sealed = outbox.sequence
        file.write_bytes(raw)
        assert requests.answer(tmp_path, name) is not None
        assert Declarations(tmp_path, outbox, Clock()).take() == []
        assert outbox.sequence == sealed
        told = requests.answer(tmp_path, name)
        assert told is not None
        assert told["state"] == "sealed"
        assert not file.exists()


def test_what_cannot_be_declared_is_answered_with_the_reason(tmp_path: Path) -> None:
    names = [drop(tmp_path, phase="stop"), requests.put(tmp_path, {"request": "write"}), requests.put(tmp_path, {})]
    with outbox_in(tmp_path) as outbox:
        assert Declarations(tmp_path, outbox, Clock()).take() == []
        assert outbox.sequence == 0
    told = [requests.answer(tmp_path, name) for name in names]
    assert [t and t["state"] for t in told] == ["refused"] * 3
    assert "no planned stop" in str(told[0])


def test_a_full_outbox_keeps_the_request_waiting(tmp_path: Path) -> None:
    name = drop(tmp_path)
    with outbox_in(tmp_path, limit=1500) as outbox:
        outbox.append([Draft(Heartbeat(1.0, 0, 0.0, False, ()))])
        assert Declarations(tmp_path, outbox, Clock()).take() == []
        assert requests.answer(tmp_path, name) is None
    with outbox_in(tmp_path) as outbox:
        assert len(Declarations(tmp_path, outbox, Clock()).take()) == 1


def test_an_agent_whose_memory_of_stops_is_damaged_starts_and_says_so(tmp_path: Path) -> None:
    with outbox_in(tmp_path) as outbox:
        outbox.append([], {"maintenance": "{"})
        declarations = Declarations(tmp_path, outbox, Clock())
        assert "cannot be read" in declarations.notes[0]
        drop(tmp_path)
        assert len(declarations.take()) == 1


# --- the command --------------------------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "agent.toml").write_text(SAMPLE)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "state"


@contextmanager
def running(state: Path) -> Iterator[None]:
    """What the running agent does, every few milliseconds."""
    stop = threading.Event()
    state.mkdir(exist_ok=True)
    lock = FolderLock(state)

    def tick() -> None:
        with outbox_in(state) as outbox:
            declarations = Declarations(state, outbox, Clock())
            while not stop.wait(0.02):
                declarations.take()

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
        lock.release()


def declare(*more: str) -> int:
    return main(["maintenance", *more])


def test_the_command_prints_the_record_under_which_it_was_sealed(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(state):
        assert declare("start", "--reason", "new seals", "--line", "line-1", "--by", "eve", "--end", "+2h") == 0
        assert capsys.readouterr().out.rstrip().endswith("sealed as record 1")
        assert declare("start", "--reason", "again", "--line", "line-1") == 2
        assert "already has a planned stop" in capsys.readouterr().err
        assert declare("stop", "--line", "line-1", "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["state"], told["sequence"], told["phase"], told["retroactive"]) == ("sealed", 2, "stop", False)
        early = (datetime.now(UTC) - 3 * HOUR).isoformat()
        assert declare("start", "--reason", "late", "--start", early, "--end", "+1h") == 0
        assert "sealed as record 3 - on record as declared afterwards" in capsys.readouterr().out
        assert declare("list", "--json") == 0
        shown = json.loads(capsys.readouterr().out)["stops"]
        assert [(s["reason"], s["line"], s["retroactive"], s["pending"]) for s in shown] == [
            ("late", "", True, False), ("new seals", "line-1", False, False)
        ]  # fmt: skip


def test_without_an_agent_the_declaration_waits_for_the_next_start(
    state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ullage_agent.planned.maintenance._ABSENT", 0.0)
    assert declare("list") == 0
    assert capsys.readouterr().out == "no planned stop has been declared\n"
    assert declare("start", "--reason", "x", "--json") == 0
    assert json.loads(capsys.readouterr().out)["state"] == "pending"
    assert declare("start", "--reason", "x") == 2, "what waits counts already"
    assert declare("list") == 0
    listed = capsys.readouterr().out
    assert "(site)" in listed
    assert "not sealed yet" in listed
    assert declare("stop") == 0
    assert "sealed at the next start" in capsys.readouterr().out
    with running(state):
        assert declare("start", "--reason", "y") == 0
        assert "sealed as record 3" in capsys.readouterr().out


def test_an_agent_that_does_not_seal_in_time_is_exit_1(
    state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ullage_agent.planned.maintenance._PATIENCE", 0.0)
    state.mkdir()
    lock = FolderLock(state)
    assert holder(state) == os.getpid()
    assert declare("start", "--reason", "x") == 1
    assert "has not sealed it yet" in capsys.readouterr().out
    lock.release()
    (state / "lock").write_text("0x")
    assert holder(state) is None


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (("start",), "needs a reason"),
        (("start", "--reason", "x", "--line", "line-2"), "known are line-1"),
        (("start", "--reason", "x", "--start", "yesterday"), "is not understood"),
        (("start", "--reason", "x", "--start", "25:00"), "is not understood"),
        (("start", "--reason", "x", "--start", "+2h"), "is not understood"),
        (("start", "--reason", "x" * 1001), "reason"),
        (("stop",), "no planned stop"),
    ],
)
def test_wrong_use_is_told_and_leaves_no_request(
    more: tuple[str, ...], word: str, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert declare(*more) == 2
    assert word in capsys.readouterr().err
    assert not (state / "requests").exists()


def test_times_are_read_in_several_ways() -> None:
    now = datetime(2026, 11, 23, 12, 30, 15, tzinfo=UTC)
    local = now.astimezone()
    assert moment("2026-11-23T08:00+01:00", now) == datetime(2026, 11, 23, 7, tzinfo=UTC)
    assert moment("2026-11-23T08:00Z", now) == datetime(2026, 11, 23, 8, tzinfo=UTC)
    assert moment("2026-11-23 08:00", now) == datetime(2026, 11, 23, 8, tzinfo=local.tzinfo)
    assert moment("07:05", now) == local.replace(hour=7, minute=5, second=0, microsecond=0)
    assert moment("+90m", now, after=NOON) == NOON + timedelta(minutes=90)

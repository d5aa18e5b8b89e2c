"""The outbox: sealed once, kept until receipted, whole after a kill, never back in sequence."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ullage_agent.clock import Clock
from ullage_agent.custody.marks import Mark, MarkFile
from ullage_agent.custody.outbox import Draft, Outbox
from ullage_agent.errors import OutboxFull, StateError
from ullage_agent.lock import FolderLock
from ullage_protocols import envelope
from ullage_protocols.errors import ProtocolError
from ullage_protocols.event import Event, decode_event
from ullage_protocols.keys import SigningKey
from ullage_protocols.messages import Heartbeat
from ullage_protocols.receipt import Receipt

KEY = SigningKey.from_seed(bytes(32))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def beat(number: int = 0) -> Draft:
    return Draft(Heartbeat(float(number), 0, 0.0, False, ()))


def box(folder: Path, *, limit: int = 10**7, agent: str = "gw") -> Outbox:
    return Outbox(folder, agent=agent, key=KEY, clock=Clock(), limit=limit)


def head(event: Event) -> str:
    return envelope.digest(event.encode())


def receipt(event: Event) -> Receipt:
    return Receipt("gw", event.sequence, head(event), event.sequence, "", NOW)


def chain(outbox: Outbox, after: int = 0, before: str = "") -> list[int]:
    """Sequences of what is held, each verified and chained to the one before."""
    found = []
    for sequence, raw in outbox.unreceipted(after, 10_000):
        payload = envelope.unseal(raw).verify(KEY.public, payload_type=envelope.EVENT)
        event = decode_event(payload)
        assert event.sequence == sequence
        assert event.prevhash == before
        before = envelope.digest(payload)
        found.append(sequence)
    return found


def test_records_survive_a_restart_and_the_chain_goes_on(tmp_path: Path) -> None:
    first = box(tmp_path)
    first.append([beat(1), beat(2)], {"meter": "at 7"})
    first.close()
    second = box(tmp_path)
    assert (second.sequence, second.kept("meter"), second.notes) == (2, "at 7", [])
    [third] = second.append([beat(3)])
    assert third.sequence == 3
    assert third.bootid != first.bootid
    assert chain(second) == [1, 2, 3]


@pytest.mark.parametrize("notes", [("x" * 2001,), ("\ud800",), tuple("n" * 1900 for _ in range(200))])
def test_what_a_receiver_would_refuse_gets_no_place_in_the_chain(tmp_path: Path, notes: tuple[str, ...]) -> None:
    outbox = box(tmp_path)
    outbox.append([beat(1)])
    refused = Draft(Heartbeat(1.0, 0, 0.0, False, (), notes))
    assert not outbox.writable(refused)
    assert outbox.writable(beat(2))
    with pytest.raises(ProtocolError):
        outbox.append([beat(2), refused, beat(3)])
    assert (outbox.sequence, chain(outbox)) == (1, [1])
    outbox.append([beat(2), beat(3)])
    assert chain(outbox) == [1, 2, 3]


def test_a_receipt_forgets_exactly_what_it_covers(tmp_path: Path) -> None:
    outbox = box(tmp_path)
    events = outbox.append([beat(n) for n in range(5)])
    assert outbox.receipt(receipt(events[2])) == 3
    assert (outbox.pending, outbox.through) == (2, 3)
    assert chain(outbox, before=head(events[2])) == [4, 5]
    assert outbox.receipt(receipt(events[1])) == 0, "an older receipt changes nothing"
    outbox.close()
    again = box(tmp_path)
    assert (again.pending, again.through, again.notes) == (2, 3, [])


def test_a_receipt_for_another_record_forgets_nothing(tmp_path: Path) -> None:
    outbox = box(tmp_path)
    outbox.append([beat(1), beat(2)])
    with pytest.raises(StateError, match="names another record"):
        outbox.receipt(Receipt("gw", 2, "0" * 64, 2, "", NOW))
    with pytest.raises(StateError, match="restored or copied"):
        outbox.receipt(Receipt("gw", 9, "0" * 64, 9, "", NOW))
    assert outbox.pending == 2


def test_a_full_outbox_takes_nothing_and_loses_nothing(tmp_path: Path) -> None:
    outbox = box(tmp_path, limit=4000)
    events: list[Event] = []
    while outbox.share < 0.85:
        events += outbox.append([beat()], {"count": str(len(events))})
    with pytest.raises(OutboxFull, match="takes no more"):
        outbox.append([beat(), beat()], {"count": "not sealed"})
    assert 0.5 < outbox.share <= 1.0
    assert outbox.kept("count") == str(len(events) - 1), "what is kept moves with what is sealed"
    assert chain(outbox) == [event.sequence for event in events]
    outbox.receipt(receipt(events[-1]))
    assert outbox.share == 0.0
    assert outbox.append([beat()])[0].sequence == len(events) + 1


def test_a_full_disk_seals_nothing_and_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = box(tmp_path)
    outbox.append([beat(1)])
    # SQLite's own limit on pages gives the very error of a full disk (SQLITE_FULL).
    pages = outbox._db.execute("PRAGMA page_count").fetchone()[0]
    outbox._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(OutboxFull, match="make room on its disk"):
        outbox.append([beat(n) for n in range(200)])
    assert (outbox.sequence, outbox.pending) == (1, 1)
    outbox._db.execute("PRAGMA max_page_count = 1000000")
    outbox.append([beat(n) for n in range(200)])
    assert chain(outbox) == list(range(1, 202))


KILLED = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_agent_outbox import beat, box
outbox = box(Path(sys.argv[1]))
while True:
    outbox.append([beat(1), beat(2), beat(3)], {"sealed": str(outbox.sequence + 3)})
    print(outbox.sequence, flush=True)
"""


def test_a_kill_at_any_moment_leaves_whole_batches(tmp_path: Path) -> None:
    said = 0
    for after in (1, 3, 7):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        for _ in range(after):
            said = int(child.stdout.readline())
        os.kill(child.pid, signal.SIGKILL)
        child.wait(10)
        child.stdout.close()
        outbox = box(tmp_path)
        assert outbox.notes == []
        assert outbox.sequence >= said, "what append returned is held"
        assert outbox.sequence % 3 == 0, "a batch is sealed as a whole"
        assert outbox.kept("sealed") == str(outbox.sequence)
        assert chain(outbox) == list(range(1, outbox.sequence + 1))
        outbox.close()


def damaged(folder: Path) -> list[Path]:
    return sorted(folder.glob("outbox.damaged-*.db"))


@pytest.mark.parametrize("how", ["torn", "bits", "record", "rubbish", "missing"])
def test_a_damaged_outbox_is_set_aside_and_the_sequence_never_goes_back(tmp_path: Path, how: str) -> None:
    outbox = box(tmp_path)
    last = outbox.append([beat(n) for n in range(60)])[-1]
    outbox.close()
    file = tmp_path / "outbox.db"
    raw = file.read_bytes()
    if how == "torn":
        file.write_bytes(raw[: len(raw) // 2])
    elif how == "bits":
        place = raw.rindex(b"payloadType")
        file.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
    elif how == "rubbish":
        file.write_bytes(b"no database at all" * 100)
    elif how == "missing":
        file.unlink()
    else:
        with sqlite3.connect(file) as db:
            db.execute(
                "UPDATE record SET envelope = (SELECT envelope FROM record WHERE sequence = 29) WHERE sequence = 30"
            )
        db.close()
    again = box(tmp_path)
    assert again.repaired
    assert len(again.notes) == 1
    assert "after record 60" in again.notes[0] or "set aside" in again.notes[0]
    assert len(damaged(tmp_path)) == (0 if how == "missing" else 1)
    [following] = again.append([beat()])
    assert (following.sequence, following.prevhash) == (61, head(last))
    again.close()
    third = box(tmp_path)
    assert (third.sequence, third.notes, third.repaired) == (61, [], False)


def test_an_older_copy_of_the_database_is_not_believed(tmp_path: Path) -> None:
    outbox = box(tmp_path)
    outbox.append([beat(1)])
    outbox.close()
    copy = (tmp_path / "outbox.db").read_bytes()
    outbox = box(tmp_path)
    outbox.append([beat(2)])
    outbox.close()
    (tmp_path / "outbox.db").write_bytes(copy)
    again = box(tmp_path)
    assert again.repaired
    assert again.append([beat(3)])[0].sequence == 3


def test_what_lies_beyond_the_mark_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = box(tmp_path)
    outbox.append([beat(1)])

    def refuse(_self: MarkFile, _mark: Mark) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(MarkFile, "write", refuse)
        assert outbox.append([beat(2)])[0].sequence == 2, "the commit stands"
        assert chain(outbox) == [1]
    assert chain(outbox) == [1, 2]


def test_a_torn_mark_leaves_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "mark"
    marks = MarkFile(file)
    marks.write(Mark("gw", 1, "a" * 64))
    marks.write(Mark("gw", 2, "b" * 64))
    raw = file.read_bytes()
    file.write_bytes(raw[:512] + raw[512:540] + b"\0" * 484)
    assert MarkFile(file).read() == Mark("gw", 1, "a" * 64)
    file.write_bytes(b"")
    assert MarkFile(file).read() is None


def test_a_folder_of_another_agent_is_refused(tmp_path: Path) -> None:
    outbox = box(tmp_path)
    outbox.append([beat()])
    outbox.close()
    with pytest.raises(StateError, match="belongs to agent 'gw', not 'other'"):
        box(tmp_path, agent="other")


def test_two_agents_on_one_folder_are_refused(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with pytest.raises(StateError, match=f"in use by another agent .process {os.getpid()}."):
        FolderLock(tmp_path)
    lock.release()
    FolderLock(tmp_path).release()


def test_time_goes_on_from_the_last_sealed_record(tmp_path: Path) -> None:
    late = Clock(wall=lambda: 2_000_000_000.0)
    outbox = Outbox(tmp_path, agent="gw", key=KEY, clock=late, limit=10**6)
    [before] = outbox.append([beat()])
    outbox.close()
    early = Clock(wall=lambda: 1_900_000_000.0)
    [after] = Outbox(tmp_path, agent="gw", key=KEY, clock=early, limit=10**6).append([beat()])
    assert after.time > before.time
    assert "before the last sealed record" in early.notes()[0]


def test_every_commit_is_synced(tmp_path: Path) -> None:
    outbox = box(tmp_path)
    assert outbox._db.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"
    assert outbox._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)

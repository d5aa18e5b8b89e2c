"""What the verifier says: the place of each fault, the three answers for each agent, exit codes, and limits."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ullage_protocols import envelope, wire
from ullage_protocols.errors import WireError
from ullage_protocols.event import Event
from ullage_protocols.evidence import archive
from ullage_protocols.evidence.bundle import write_bundle
from ullage_protocols.evidence.report import Fault, Report
from ullage_protocols.evidence.verify import main, verify
from ullage_protocols.keys import SigningKey
from ullage_protocols.messages import Production
from ullage_protocols.receipt import Receipt

SCORER = SigningKey.from_seed(b"s" * 32)
AGENT = SigningKey.from_seed(b"a" * 32)
STRANGER = SigningKey.from_seed(b"x" * 32)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
RECORDS, RECEIPTS = "records/gw.jsonl", "receipts/gw.jsonl"


def second(number: float) -> datetime:
    return NOON + timedelta(seconds=number)


class Case:
    """An honest bundle of agent ``gw``: records 41 to 60, one a second, receipts through 50 and 60."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        head = "11" * 32
        for sequence in range(41, 61):
            message = Production("l1", second(sequence), second(sequence + 1), sequence, 1.0, None, 1.0)
            event = Event("gw", sequence, "b", sequence, head, second(sequence), "l1", message)
            self.payloads.append(event.encode())
            head = envelope.digest(self.payloads[-1])
        self.lines = [envelope.seal(payload, envelope.EVENT, AGENT) + b"\n" for payload in self.payloads]
        self.receipts = [self.receipt(50), self.receipt(60)]
        self.scorer, self.keys = SCORER, [AGENT.public.to_text()]
        self.manifest: dict[str, Any] = {
            "claim": "c-1",
            "policy": "p-1",
            "opened_at": wire.format_time(second(61)),
            "window": {"start": wire.format_time(NOON), "end": wire.format_time(second(100))},
            "agents": {"gw": {"first": 41, "last": 60}},
        }
        self.more: dict[str, bytes] = {}

    def receipt(self, through: int) -> Receipt:
        head = envelope.digest(self.payloads[through - 41])
        return Receipt("gw", through, head, through, head, second(through + 0.5))

    def files(self) -> dict[str, bytes]:
        return {
            "README.txt": b"Run: ullage-verify BUNDLE\n",
            "claim.json": b'{"claim":"c-1"}',
            "keys.json": wire.encode({"scorer": self.scorer.public.to_text(), "agents": {"gw": self.keys}}),
            RECORDS: b"".join(self.lines),
            RECEIPTS: b"".join(receipt.seal(self.scorer) + b"\n" for receipt in self.receipts),
            **self.more,
        }

    def raw(self) -> bytes:
        return write_bundle(manifest=self.manifest, files=self.files(), key=self.scorer)

    def report(self) -> Report:
        return verify(self.raw())


@pytest.fixture
def case() -> Case:
    return Case()


def member_start(raw: bytes, name: str) -> int:
    with zipfile.ZipFile(io.BytesIO(raw)) as opened:
        return opened.getinfo(name).header_offset + 30 + len(name)


def flipped(raw: bytes, *places: int) -> bytes:
    changed = bytearray(raw)
    for place in places:
        changed[place] ^= 4
    return bytes(changed)


def only(report: Report) -> Fault:
    assert report.exit_code == 1
    assert len(report.faults) == 1, report.to_text()
    return report.faults[0]


def test_an_honest_bundle_answers_all_three_questions(case: Case) -> None:
    report = verify(case.raw(), trusted=[SCORER.public, AGENT.keyid])
    part = report.parts[0]
    assert report.exit_code == 0
    assert (part.records, part.authentic, part.complete, part.committed) == (20, 20, True, "yes")
    assert (part.committed_through, part.committed_at) == (60, wire.format_time(second(60.5)))
    assert (report.pinned, part.pinned, part.keyids) == (True, True, [AGENT.keyid])
    assert all(check.good for check in report.checks)
    assert (report.claim, report.policy, report.opened_at) == ("c-1", "p-1", wire.format_time(second(61)))


def test_equal_contents_give_equal_bytes_and_any_zip_tool_opens_them(case: Case) -> None:
    raw = case.raw()
    files = dict(reversed(case.files().items()))
    assert write_bundle(manifest=dict(reversed(case.manifest.items())), files=files, key=SCORER) == raw
    with zipfile.ZipFile(io.BytesIO(raw)) as opened:
        assert opened.testzip() is None
        assert opened.namelist() == sorted([*files, "manifest.json"])
        assert all(opened.read(name) == body for name, body in files.items())
        assert {info.date_time for info in opened.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_flipped_bit_in_a_record_is_named_by_line_sequence_and_byte(case: Case) -> None:
    at = sum(map(len, case.lines[:16])) + 300
    raw = case.raw()
    fault = only(verify(flipped(raw, member_start(raw, RECORDS) + at)))
    assert (fault.member, fault.line, fault.sequence, fault.offset) == (RECORDS, 17, 57, at)
    assert fault.place == f"{RECORDS} line 17 (sequence 57) byte {at}"


def test_two_damaged_records_are_both_named(case: Case) -> None:
    raw = case.raw()
    start, length = member_start(raw, RECORDS), len(case.lines[0])
    report = verify(flipped(raw, start + 200, start + 3 * length + 200))
    assert [(fault.line, fault.sequence) for fault in report.faults if fault.line] == [(1, 41), (4, 44)]
    assert report.parts[0].missing == "41, 44"


@pytest.mark.parametrize("name", ["claim.json", "README.txt", "keys.json", "manifest.json", RECEIPTS])
def test_a_flipped_bit_in_any_other_member_is_named_by_its_byte(case: Case, name: str) -> None:
    raw = case.raw()
    report = verify(flipped(raw, member_start(raw, name) + 12))
    assert report.faults[0].member == name
    assert report.faults[0].offset == 12
    assert "stands where" in report.faults[0].what


def test_a_flipped_bit_between_the_members_is_named_by_its_byte_in_the_file(case: Case) -> None:
    raw = case.raw()
    for place in (0, 10, member_start(raw, RECORDS) - 3, len(raw) - 100, len(raw) - 21, len(raw) - 1):
        fault = only(verify(flipped(raw, place)))
        assert fault.place == f"archive structure at byte {place}"


def test_a_checksum_changed_in_both_of_its_places_is_found(case: Case) -> None:
    raw = case.raw()
    for name in ("manifest.json", RECORDS):
        start = member_start(raw, name) - len(name) - 30 + 14
        listed = raw.rindex(name.encode()) - 46 + 16
        fault = only(verify(flipped(raw, start, listed)))
        assert fault.place == f"archive structure at byte {start}"


def test_bytes_after_the_end_are_found(case: Case) -> None:
    raw = case.raw()
    assert verify(raw + b"x").faults[0].place == f"archive structure at byte {len(raw)}"


def test_a_truncated_bundle_is_told_where_it_ends(case: Case) -> None:
    raw = case.raw()
    report = verify(raw[: member_start(raw, RECORDS) + 1000])
    assert report.exit_code == 1
    assert f"the file ends inside {RECORDS}" in report.to_text()


def reforged(case: Case) -> Report:
    """The lines as they are now, sealed into a bundle by the scorer itself: the manifest fits, the chain must tell."""
    return verify(write_bundle(manifest=case.manifest, files=case.files(), key=case.scorer))


def test_a_record_left_out_by_the_scorer_itself_is_named(case: Case) -> None:
    del case.lines[4]
    report = reforged(case)
    assert only(report).place.startswith(f"{RECORDS} line 5 (sequence 46)")
    assert (report.parts[0].complete, report.parts[0].missing) == (False, "45")


def test_records_cut_off_at_the_end_by_the_scorer_itself_are_named(case: Case) -> None:
    del case.lines[18:]
    report = reforged(case)
    assert only(report).what == "records missing: 59-60"
    assert report.parts[0].missing == "59-60"


def test_records_that_nobody_declared_are_named(case: Case) -> None:
    case.manifest["agents"]["gw"]["last"] = 58
    assert only(reforged(case)).what == "records beyond sequence 58, the last declared"
    case.manifest["agents"] = {}
    assert only(reforged(case)).what == "the manifest declares no records of this agent"


def test_records_swapped_or_doubled_are_named(case: Case) -> None:
    case.lines[7], case.lines[8] = case.lines[8], case.lines[7]
    assert reforged(case).faults[0].place.startswith(f"{RECORDS} line 8 (sequence 49)")
    doubled = Case()
    doubled.lines.insert(3, doubled.lines[2])
    fault = only(reforged(doubled))
    assert (fault.line, fault.sequence, fault.what) == (4, 43, "the record stands twice")


def test_a_record_replaced_by_its_own_agent_breaks_the_chain_and_misses_the_receipt(case: Case) -> None:
    other = case.payloads[9].replace(b'"count":50', b'"count":90')
    case.lines[9] = envelope.seal(other, envelope.EVENT, AGENT) + b"\n"
    report = reforged(case)
    assert [(fault.member, fault.line, fault.sequence) for fault in report.faults] == [
        (RECORDS, 11, 51),
        (RECEIPTS, 1, 50),
    ]


def test_a_record_by_a_stranger_or_of_another_agent_is_named(case: Case) -> None:
    case.lines[2] = envelope.seal(case.payloads[2], envelope.EVENT, STRANGER) + b"\n"
    elsewhere = case.payloads[5].replace(b"agent:gw", b"agent:hw").replace(b"gw/46", b"hw/46")
    case.lines[5] = envelope.seal(elsewhere, envelope.EVENT, AGENT) + b"\n"
    first, second_ = reforged(case).faults[:2]
    assert (first.line, first.what) == (3, f"signed by {STRANGER.keyid}, which is no key of gw")
    assert (second_.line, second_.what) == (6, "a record of hw")


def test_a_sequence_that_the_agent_itself_skips_is_named(case: Case) -> None:
    payload = case.payloads[19].replace(b'"sequence":"60"', b'"sequence":"61"').replace(b"gw/60", b"gw/61")
    case.lines[19] = envelope.seal(payload, envelope.EVENT, AGENT) + b"\n"
    assert reforged(case).faults[0].what == "sequence 61 stands where 60 belongs"


def test_a_first_record_with_a_predecessor_is_a_broken_chain(case: Case) -> None:
    case.manifest["agents"]["gw"] = {"first": 1, "last": 1}
    payload = case.payloads[0].replace(b'"sequence":"41"', b'"sequence":"1"')
    case.lines, case.receipts = [envelope.seal(payload, envelope.EVENT, AGENT) + b"\n"], []
    assert "the chain is broken" in only(reforged(case)).what


def test_a_rotated_agent_key_is_one_of_several(case: Case) -> None:
    case.keys.append(STRANGER.public.to_text())
    case.lines[19] = envelope.seal(case.payloads[19], envelope.EVENT, STRANGER) + b"\n"
    assert reforged(case).exit_code == 0


def test_a_last_line_without_its_end_is_a_fault(case: Case) -> None:
    case.lines[19] = case.lines[19].rstrip()
    assert only(reforged(case)).what == "the last line has no line end"


@pytest.mark.parametrize(
    ("opened", "committed", "through", "words"),
    [
        (60.5, "yes", 60, "yes: 41-60"),
        (60, "partly", 50, "not so from 51 on"),
        (50, "no", None, "no receipt of its records is older"),
    ],
)
def test_committed_before_notification_is_answered_by_the_receipts_times(
    case: Case, opened: float, committed: str, through: int | None, words: str
) -> None:
    case.manifest["opened_at"] = wire.format_time(second(opened))
    report = case.report()
    assert report.exit_code == 0  # an answer, not a fault: who committed late is no forger
    assert (report.parts[0].committed, report.parts[0].committed_through) == (committed, through)
    assert words in report.to_text()


def test_receipts_outside_the_records_commit_nothing_but_must_not_contradict(case: Case) -> None:
    case.receipts = [replace(case.receipt(60), through=99), replace(case.receipt(60), through=0, head="")]
    assert case.report().parts[0].committed == "no"
    case.receipts = [replace(case.receipt(60), through=40, head="22" * 32)]
    assert only(reforged(case)).sequence == 40
    case.receipts = [replace(case.receipt(60), agent="hw")]
    assert only(reforged(case)).what == "a receipt for hw"


def test_receipts_by_anyone_but_the_scorer_are_refused(case: Case) -> None:
    forged = b"".join(receipt.seal(STRANGER) + b"\n" for receipt in case.receipts)
    case.more[RECEIPTS] = forged
    report = reforged(case)
    assert [(fault.member, fault.line) for fault in report.faults] == [(RECEIPTS, 1), (RECEIPTS, 2)]
    assert report.parts[0].committed == "no"


def test_a_whole_bundle_by_a_stranger_passes_only_without_a_pinned_key(case: Case) -> None:
    case.scorer = STRANGER
    report = case.report()
    assert report.exit_code == 0
    assert f"not pinned: compare {STRANGER.keyid}" in report.to_text()
    assert verify(case.raw(), trusted=[SCORER.public]).exit_code == 1


def test_members_beside_the_manifest_or_missing_from_the_archive_are_named(case: Case) -> None:
    with zipfile.ZipFile(io.BytesIO(case.raw())) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    more = only(verify(archive.pack({**files, "note.txt": b"x"})))
    assert (more.member, more.what) == ("note.txt", "the manifest does not list this member")
    for name in files:
        fault = verify(archive.pack({key: body for key, body in files.items() if key != name})).faults[0]
        assert fault.member == name


def test_faults_are_bounded_and_counted(case: Case) -> None:
    case.lines = [b"x\n"] * 5000
    report = reforged(case)
    assert len(report.faults) == 20
    assert 20 < report.fault_count < 30  # and the rest of the lines is left alone
    assert "not checked" in report.to_text() or "left unchecked" in report.to_text()


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "a\\b", "ä", "a b", "a\n", ".", "x" * 121]
)
def test_a_name_that_could_leave_the_folder_is_neither_written_nor_read(case: Case, name: str) -> None:
    with pytest.raises(WireError, match="is not allowed"):
        archive.pack({name: b""})
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as opened:
        opened.writestr(zipfile.ZipInfo(name or "?"), b"x")
    assert verify(sink.getvalue()).exit_code == 2


def test_names_alike_but_for_case_are_neither_written_nor_read() -> None:
    with pytest.raises(WireError, match="alike but for case"):
        archive.pack({"a": b"", "A": b""})
    raw = archive.pack({"a": b"1", "b": b"2"}).replace(b"b2", b"A2").replace(b"b" + b"PK\5\6", b"A" + b"PK\5\6")
    assert "its name not allowed" in verify(raw).faults[1].what


@pytest.mark.parametrize("raw", [b"", b"PK", b"%PDF-1.7 text", b"PK\5\6" + bytes(18), b"PK\3\4" + b"\xff" * 40])
def test_what_is_no_bundle_is_unreadable(raw: bytes) -> None:
    report = verify(raw)
    assert report.exit_code == 2
    assert "not an evidence bundle" in report.to_text()


def test_compression_is_not_read_however_small_it_claims_to_be() -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("keys.json", bytes(10_000_000))
    report = verify(sink.getvalue())
    assert report.exit_code == 2
    assert "compressed" in report.unreadable


def test_limits_hold_before_anything_is_read(case: Case) -> None:
    raw = case.raw()
    assert verify(raw, limit=len(raw)).exit_code == 0
    assert "larger than the" in verify(raw, limit=len(raw) - 1).unreadable
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, 0, 0, 0)
    assert verify(end).exit_code == 2
    with pytest.raises(WireError, match="at most 10000 members"):
        archive.pack({f"f{number}": b"" for number in range(10_001)})


def test_a_lying_size_in_the_directory_reads_nothing_beyond_the_file() -> None:
    raw = bytearray(archive.pack({"a": b"1"}))
    raw[-22 - 47 + 20 : -22 - 47 + 28] = b"\xff" * 8
    assert verify(bytes(raw)).exit_code == 1


@pytest.mark.parametrize("what", ["manifest", "keys.json", "claim.json", RECORDS, RECEIPTS])
def test_a_bundle_that_lacks_or_contradicts_something_is_not_written(case: Case, what: str) -> None:
    files = case.files()
    if what == "manifest":
        for field in case.manifest:
            less = {key: value for key, value in case.manifest.items() if key != field}
            with pytest.raises(WireError):
                write_bundle(manifest=less, files=files, key=SCORER)
        with pytest.raises(WireError, match="another scorer"):
            write_bundle(manifest=case.manifest, files=files, key=STRANGER)
        with pytest.raises(WireError, match="written by the bundle itself"):
            write_bundle(manifest=case.manifest, files={**files, "manifest.json": b""}, key=SCORER)
        return
    del files[what]
    with pytest.raises(WireError, match=f"lacks {what}"):
        write_bundle(manifest=case.manifest, files=files, key=SCORER)


def test_a_changed_byte_is_located_by_its_checksum_alone() -> None:
    content = os.urandom(3000)
    crc = zlib.crc32(content)
    assert archive.locate_change(content, crc) is None
    for at in (0, 1, 1500, 2999):
        changed = content[:at] + bytes([content[at] ^ 0x5A]) + content[at + 1 :]
        assert archive.locate_change(changed, crc) == (at, content[at])


def test_the_command_answers_by_exit_code_text_and_json(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, path = case.raw(), tmp_path / "claim.zip"
    path.write_bytes(raw)
    assert main([str(path)]) == 0
    assert capsys.readouterr().out.endswith("\nauthentic\n")
    assert main([str(path), "--trust", SCORER.keyid, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["authentic"], answer["exit_code"], answer["parts"][0]["committed"]) == (True, 0, "yes")
    assert main([str(path), "--trust", STRANGER.public.to_text(), SCORER.public.to_text()]) == 0
    assert main([str(path), "--trust", STRANGER.keyid]) == 1
    assert "NOT among the trusted keys" in capsys.readouterr().out
    at = member_start(raw, RECORDS) + 90
    path.write_bytes(flipped(raw, at))
    assert main([str(path), "--json"]) == 1
    fault = json.loads(capsys.readouterr().out)["faults"][0]
    assert (fault["place"], fault["offset"]) == (f"{RECORDS} line 1 (sequence 41) byte 90", 90)


@pytest.mark.parametrize(
    "arguments", [["absent.zip"], ["."], ["b.zip", "--trust", "nonsense"], ["b.zip", "--limit", "9"]]
)
def test_what_cannot_be_read_exits_2_with_a_sentence(
    case: Case,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("b.zip").write_bytes(case.raw())
    assert main(arguments) == 2
    streams = capsys.readouterr()
    assert (streams.out, streams.err[:12]) == ("", "unreadable: ")
    assert main([*arguments, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["unreadable"]


def test_control_codes_in_a_bundle_never_reach_the_terminal(case: Case) -> None:
    case.manifest["claim"] = "\x1b[2J\x07ü\u202e"
    text = case.report().to_text()
    assert text.isascii()
    assert text.replace("\n", "").isprintable()


def test_the_verifier_runs_alone_without_network_or_database(case: Case, tmp_path: Path) -> None:
    """A fresh interpreter that refuses sockets and every third-party import but cryptography still verifies."""
    path = tmp_path / "claim.zip"
    path.write_bytes(case.raw())
    program = (
        "import sys\n"
        "for name in ('socket', 'sqlite3', 'numpy', 'paho', 'sqlalchemy', 'pymodbus', 'asyncua', 'fastapi'):\n"
        "    sys.modules[name] = None\n"
        "from ullage_protocols.evidence.verify import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("authentic\n")

"""``ullage-verify BUNDLE``: checks a bundle offline and names the place of every fault.

Nothing is trusted but the keys that the caller names. No network and no database; the input may be hostile, so
sizes are bounded before anything is read, and the work grows linearly with the file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

from .. import envelope, event, wire
from ..errors import ProtocolError
from ..keys import PublicKey
from ..receipt import Receipt
from . import archive, bundle
from .report import MAX_FAULTS, Check, Fault, Part, Report


def verify(raw: bytes, *, trusted: Sequence[PublicKey | str] = (), limit: int = archive.MAX_ARCHIVE) -> Report:
    """What holds of the bundle ``raw``. ``trusted``: keys or key ids that the scorer's must be among, if any are given.

    ``limit`` bounds the file in bytes. Never raises: what cannot be read is told in the report.
    """
    try:
        readings = archive.layouts(raw, limit=limit)
    except ProtocolError as exc:
        return Report(unreadable=str(exc))
    verifier = _Verifier(raw, readings)
    verifier.run([key if isinstance(key, str) else key.keyid for key in trusted])
    return verifier.report


class _Verifier:
    def __init__(self, raw: bytes, readings: list[archive.Layout]) -> None:
        self.raw = raw
        self.report = Report()
        # A flipped bit in a name or size makes header and directory disagree: the manifest tells who is right.
        self.layout = max(readings, key=self._matches)
        self.members = {member.name: member for member in self.layout.members}
        self.manifest = self._manifest()
        self.changed: dict[str, tuple[int, str]] = {}
        """Members not as sealed: the changed byte where one alone explains it (else -1), and what to say."""

    def run(self, trusted: Sequence[str]) -> None:
        self._hashes()
        keys = self._keys()
        fault = self._unsigned(self.content(bundle.MANIFEST_NAME), keys.scorer) if keys else ""
        if keys and fault and bundle.MANIFEST_NAME in self.members:
            scorer = keys.scorer
            self._explain(bundle.MANIFEST_NAME, lambda content: not self._unsigned(content, scorer))
        self._archive()
        self._signature(keys, fault, trusted)
        self._files()
        if keys:
            self._streams(keys, trusted)
        self._leftover(lines=True)

    def _streams(self, keys: bundle.Keys, trusted: Sequence[str]) -> None:
        spans = self.manifest.agents if self.manifest else {}
        there = {name[8:-6] for name in self.members if re.fullmatch(r"records/[a-z0-9-]{1,64}\.jsonl", name)}
        for agent in sorted({*spans, *there}):
            part = Part(agent, *spans.get(agent, (None, None)))
            own = keys.agents.get(agent, ())
            part.keyids = [key.keyid for key in own]
            part.pinned = any(keyid in trusted for keyid in part.keyids)
            self.report.parts.append(part)
            digests = self._records(part, own)
            self._receipts(part, keys.scorer, digests)

    def check(self, name: str, before: int, answer: str) -> None:
        """Notes a check: good unless faults were added since ``before``."""
        found = self.report.fault_count - before
        self.report.checks.append(Check(name, not found, f"{answer}; faults: {found}" if found else answer))

    def content(self, name: str) -> bytes:
        """A member that is read whole; empty if it is missing or larger than such a member may be."""
        member = self.members.get(name)
        return self.raw[member.start : member.end] if member and member.size <= bundle.MAX_MANIFEST else b""

    def _matches(self, layout: archive.Layout) -> int:
        self.members = {member.name: member for member in layout.members}
        manifest = self._manifest()
        return sum(1 for name in self.members if name in manifest.files) if manifest else 0

    def _manifest(self) -> bundle.Manifest | None:
        # Read before its signature is verified: even a damaged bundle should tell where it is damaged.
        try:
            sealed = envelope.unseal(self.content(bundle.MANIFEST_NAME), limit=bundle.MAX_MANIFEST)
            return bundle.read_manifest(sealed.payload)
        except ProtocolError:
            return None

    def _keys(self) -> bundle.Keys | None:
        try:
            return bundle.read_keys(self.content(bundle.KEYS_NAME))
        except ProtocolError as exc:
            what = str(exc) if bundle.KEYS_NAME in self.members else "the member is missing"
            at, how = self.changed.get(bundle.KEYS_NAME, (-1, "as it was sealed"))
            what = f"{what} ({how}); nothing can be verified without it"
            self.report.fault(Fault(what, bundle.KEYS_NAME, offset=at if at >= 0 else None))
            return None

    def _hashes(self) -> None:
        for name, (digest, size) in self.manifest.files.items() if self.manifest else ():
            member = self.members.get(name)
            if member is not None:
                view = memoryview(self.raw)[member.start : member.end]
                if member.size != size or hashlib.sha256(view).hexdigest() != digest:
                    self._explain(name, partial(_has_hash, digest))

    def _explain(self, name: str, holds: Callable[[bytes], bool]) -> None:
        """Names the one byte whose former value, told by the checksum, makes the content hold again."""
        member, before = self.members[name], None
        self.changed[name] = (-1, "the content is not the one that was sealed")
        if member.size <= archive.MAX_LOCATE and len(self.changed) <= MAX_FAULTS:
            content = self.raw[member.start : member.end]
            before = archive.locate_change(content, archive.noted_checksum(self.raw, member))
        if before is not None and holds(content[: before[0]] + bytes([before[1]]) + content[before[0] + 1 :]):
            self.changed[name] = (before[0], f"0x{content[before[0]]:02x} stands where 0x{before[1]:02x} was sealed")

    def _archive(self) -> None:
        before = self.report.fault_count
        if self.layout.broken is not None:
            self.report.fault(Fault(self.layout.why, offset=self.layout.broken))
        for offset, name, reason in archive.deviations(self.raw, self.layout.members):
            if self.report.full:
                break
            if reason == archive.CHECKSUM and name in self.changed:
                continue  # the content itself is at fault, and told below with its place
            self.report.fault(Fault(f"{name}: {reason}" if name else reason, offset=offset))
        self.check("archive", before, f"{len(self.members)} members, {len(self.raw)} bytes")

    def _signature(self, keys: bundle.Keys | None, fault: str, trusted: Sequence[str]) -> None:
        report, name = self.report, bundle.MANIFEST_NAME
        if self.manifest:
            report.claim, report.policy = self.manifest.claim, self.manifest.policy
            report.opened_at = wire.format_time(self.manifest.opened_at)
        if keys is None:
            report.checks.append(Check("manifest", False, "not verified: the scorer's key cannot be read"))
            return
        report.scorer, report.pinned = keys.scorer.keyid, keys.scorer.keyid in trusted if trusted else None
        if fault:
            offset, what = self.changed.pop(name, (-1, "the member is missing or too large"))
            report.fault(Fault(f"{fault} ({what})", name, offset=offset if offset >= 0 else None))
        answer = f"not signed by {report.scorer}: {fault}" if fault else f"signed by the scorer's key {report.scorer}"
        report.checks.append(Check("manifest", not fault, answer))
        answer = {
            True: f"{report.scorer} is among the trusted keys",
            False: f"{report.scorer} is NOT among the trusted keys",
            None: f"not pinned: compare {report.scorer} with the key id that you hold",
        }[report.pinned]
        report.checks.append(Check("scorer key", report.pinned, answer))

    @staticmethod
    def _unsigned(raw: bytes, key: PublicKey) -> str:
        """Why ``raw`` is no manifest by ``key``; empty if it is one."""
        try:
            sealed = envelope.unseal(raw, limit=bundle.MAX_MANIFEST)
            bundle.read_manifest(sealed.verify(key, payload_type=envelope.MANIFEST))
        except ProtocolError as exc:
            return str(exc)
        return ""

    def _lines(self, name: str) -> Iterator[tuple[int, int, bytes]]:
        """Number (from 1), offset and bytes of each line; a fault for a last line without its end."""
        member = self.members[name]
        number, at = 0, member.start
        while at < member.end:
            if self.report.full:
                self.report.fault(Fault(f"not checked from line {number + 1} on", name))
                return
            end = self.raw.find(b"\n", at, member.end)
            number += 1
            if end < 0:
                end = member.end
                self._line_fault("the last line has no line end", name, number, end - member.start, end, None)
            # One byte more than allowed is enough to see that a line is too large.
            yield number, at - member.start, self.raw[at : min(end, at + wire.MAX_BYTES + 1)]
            at = end + 1

    def _line_fault(self, what: str, name: str, line: int, offset: int, size: int, sequence: int | None) -> None:
        at, how = self.changed.get(name, (-1, ""))
        if offset <= at <= offset + size:
            offset, what = at, f"{what} ({how})"
        self.report.fault(Fault(what, name, line, sequence, offset))

    def _records(self, part: Part, keys: Sequence[PublicKey]) -> dict[int, str]:
        """Checks an agent's records. Returns the hash of each that holds, by sequence, and of the one before."""
        name, before = f"records/{part.agent}.jsonl", self.report.fault_count
        by_id = {key.keyid: key for key in keys}
        digests: dict[int, str] = {}
        anchor: tuple[int, str] | None = None
        expected, head = part.first, ""  # head "": unknown, because the line before was not sound
        for number, offset, line in self._lines(name) if name in self.members else ():
            part.records += 1
            try:
                sealed = envelope.unseal(line)
                if sealed.keyid not in by_id:
                    raise ProtocolError(f"signed by {sealed.keyid[:40]}, which is no key of {part.agent}")  # noqa: TRY301
                payload = sealed.verify(by_id[sealed.keyid], payload_type=envelope.EVENT)
                agent, sequence, prevhash = event.sequence_of(payload)
            except ProtocolError as exc:
                self._line_fault(str(exc), name, number, offset, len(line), expected)
                expected, head = None if expected is None else expected + 1, ""
                continue
            digest = envelope.digest(payload)
            what = ""
            if agent != part.agent:
                what = f"a record of {agent}"
            elif sequence in digests and digests[sequence] == digest:
                what = "the record stands twice"
            elif expected is not None and sequence != expected:
                what = f"sequence {sequence} stands where {expected} belongs"
            elif (prevhash == "") != (sequence == 1) or (head and prevhash != head):
                what = "the chain is broken: prevhash is not the hash of the record before"
            if what:
                self._line_fault(what, name, number, offset, len(line), sequence)
            if agent == part.agent and sequence not in digests:
                part.authentic += not what
                anchor = anchor or (sequence - 1, prevhash)
                digests[sequence] = digest
            expected, head = sequence + 1, digest
        self._completeness(part, digests, before)
        return {anchor[0]: anchor[1], **digests} if anchor else digests

    def _completeness(self, part: Part, digests: dict[int, str], before: int) -> None:
        name, report = f"records/{part.agent}.jsonl", self.report
        answer = "not known: no manifest says which records belong here"
        if part.first is not None and part.last is not None:
            edges = [part.first - 1, *sorted(n for n in digests if part.first <= n <= part.last), part.last + 1]
            gaps = [(one + 1, other - 1) for one, other in pairwise(edges) if other > one + 1]
            part.complete = not gaps
            part.missing = ", ".join(f"{one}-{other}" if other > one else str(one) for one, other in gaps[:10])
            answer = f"yes: {part.first}-{part.last}" if part.complete else f"no: {part.missing} missing or not sound"
            if gaps and report.fault_count == before:  # else the lines before and after the gap have told it
                report.fault(Fault(f"records missing: {part.missing}", name, sequence=gaps[0][0]))
            if max(digests, default=0) > part.last:
                report.fault(Fault(f"records beyond sequence {part.last}, the last declared", name))
        elif self.manifest:
            report.fault(Fault("the manifest declares no records of this agent", name))
        held = f"{part.authentic} of {part.records} authentic, agent key {', '.join(part.keyids) or 'unknown'}"
        self.check(f"records {part.agent}", before, held)
        report.checks.append(Check(f"complete {part.agent}", part.complete, answer))

    def _receipts(self, part: Part, scorer: PublicKey, digests: dict[int, str]) -> None:
        name, before, held, beyond = f"receipts/{part.agent}.jsonl", self.report.fault_count, 0, 0
        good: list[Receipt] = []
        for number, offset, line in self._lines(name) if name in self.members else ():
            held += 1
            try:
                receipt = Receipt.open(line, scorer)
            except ProtocolError as exc:
                self._line_fault(str(exc), name, number, offset, len(line), None)
                continue
            if receipt.agent != part.agent:
                self._line_fault(f"a receipt for {receipt.agent}", name, number, offset, len(line), receipt.through)
            elif receipt.through and digests.get(receipt.through, receipt.head) != receipt.head:
                what = "the receipt's head is not the hash of the record that it covers"
                self._line_fault(what, name, number, offset, len(line), receipt.through)
            elif receipt.through in digests and receipt.through:
                good.append(receipt)
            else:
                beyond += receipt.through > 0
        self.check(
            f"receipts {part.agent}", before, f"{len(good)} of {held} fit the records, {beyond} lie outside them"
        )
        first, last = part.first, part.last
        if first is None or last is None or self.manifest is None:
            return
        drafted = self.manifest.opened_at
        timely = [receipt for receipt in good if receipt.time <= drafted and receipt.through >= first]
        part.committed_through = max((receipt.through for receipt in timely), default=None)
        name = f"committed before notification {part.agent}"
        if part.committed_through is None:
            self.report.checks.append(Check(name, None, "no: no receipt of its records is older than the notification"))
            return
        earliest = min(receipt.time for receipt in timely if receipt.through == part.committed_through)
        part.committed_at = wire.format_time(earliest)
        part.committed = "yes" if part.committed_through >= last else "partly"
        rest = "" if part.committed == "yes" else f"; not so from {part.committed_through + 1} on"
        answer = f"{part.committed}: {first}-{part.committed_through}, receipt of {part.committed_at}{rest}"
        self.report.checks.append(Check(name, True if part.committed == "yes" else None, answer))

    def _files(self) -> None:
        before, listed = self.report.fault_count, self.manifest.files if self.manifest else {}
        self._leftover(lines=False)
        for name in sorted(set(listed) - set(self.members)):
            self.report.fault(Fault("the manifest lists this member, but it is not in the archive", name))
        for name in sorted(set(self.members) - set(listed) - {bundle.MANIFEST_NAME}) if self.manifest else ():
            self.report.fault(Fault("the manifest does not list this member", name))
        sound = sum(1 for name in listed if name in self.members and name not in self.changed)
        good = self.report.fault_count == before and not self.changed and self.manifest is not None
        self.report.checks.append(Check("files", good, f"{sound} of {len(listed)} as the manifest says"))

    def _leftover(self, *, lines: bool) -> None:
        """Tells the changed members that no closer fault has told: those made of ``lines``, or the others."""
        told = {fault.member for fault in self.report.faults if fault.line is not None or fault.offset is not None}
        for name, (offset, what) in self.changed.items():
            if name not in told and name.endswith(".jsonl") == lines:
                self.report.fault(Fault(what, name, offset=offset if offset >= 0 else None))


def _has_hash(digest: str, content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == digest


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns 0 authentic, 1 not authentic, 2 unreadable."""
    parser = argparse.ArgumentParser("ullage-verify", description="Checks an evidence bundle, offline.")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON")
    parser.add_argument(
        "--trust", nargs="+", action="extend", default=[], metavar="KEY_OR_KEYID",
        help="the scorer's key must be among these: ed25519:... or its 32 hex digits",
    )  # fmt: skip
    parser.add_argument("--limit", type=int, default=archive.MAX_ARCHIVE, metavar="BYTES", help="largest file to read")
    options = parser.parse_args(argv)
    if argv is None:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end quietly when `| head` has seen enough
    report = _verify_file(options.bundle, options.trust, options.limit)
    text = json.dumps(report.to_json(), indent=2) if options.json else report.to_text()
    print(text, file=sys.stderr if report.unreadable and not options.json else sys.stdout)
    return report.exit_code


def _verify_file(path: Path, trust: Sequence[str], limit: int) -> Report:
    try:
        trusted = [text if re.fullmatch("[0-9a-f]{32}", text) else PublicKey.from_text(text).keyid for text in trust]
        if not path.is_file():
            return Report(unreadable=f"{path} is not a file; give the path of an evidence bundle")
        with path.open("rb") as file:
            raw = file.read(limit + 1) if limit >= 0 else b""
    except (OSError, ValueError, ProtocolError) as exc:
        return Report(unreadable=f"{exc}; check the arguments")
    return verify(raw, trusted=trusted, limit=limit)


if __name__ == "__main__":
    sys.exit(main())

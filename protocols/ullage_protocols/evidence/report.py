"""What a verification found: one line for each check, one row for each agent, and the place of every fault."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

MAX_FAULTS = 20


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as it was sealed. ``offset`` counts bytes within ``member``, or in the file if none."""

    what: str
    member: str = ""
    line: int | None = None
    sequence: int | None = None
    offset: int | None = None

    @property
    def place(self) -> str:
        if not self.member:
            return "bundle" if self.offset is None else f"archive structure at byte {self.offset}"
        line = "" if self.line is None else f" line {self.line}"
        sequence = "" if self.sequence is None else f" (sequence {self.sequence})"
        offset = "" if self.offset is None else f" byte {self.offset}"
        return f"{self.member}{line}{sequence}{offset}"


@dataclass(frozen=True, slots=True)
class Check:
    """One question and its answer; ``good`` is None where the answer is neither good nor bad."""

    name: str
    good: bool | None
    answer: str


@dataclass(slots=True)
class Part:
    """What holds for one agent's records. ``committed``: "yes", "partly" or "no", and through which sequence."""

    agent: str
    first: int | None = None
    last: int | None = None
    records: int = 0
    authentic: int = 0
    complete: bool = False
    missing: str = ""
    committed: str = "no"
    committed_through: int | None = None
    committed_at: str = ""
    keyids: list[str] = field(default_factory=list)
    pinned: bool = False


@dataclass(slots=True)
class Report:
    """``unreadable`` says why the file is no bundle at all; empty otherwise. Only 20 faults are kept, all counted."""

    unreadable: str = ""
    claim: str = ""
    policy: str = ""
    opened_at: str = ""
    scorer: str = ""
    pinned: bool | None = None
    checks: list[Check] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    fault_count: int = 0

    @property
    def authentic(self) -> bool:
        return not self.unreadable and not self.fault_count and all(check.good is not False for check in self.checks)

    @property
    def exit_code(self) -> int:
        """0 authentic, 1 not authentic, 2 unreadable."""
        return 2 if self.unreadable else int(not self.authentic)

    def fault(self, fault: Fault) -> None:
        self.fault_count += 1
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(fault)

    @property
    def full(self) -> bool:
        return self.fault_count >= MAX_FAULTS

    def to_json(self) -> dict[str, Any]:
        faults = [{"place": fault.place, **asdict(fault)} for fault in self.faults]
        return {**asdict(self), "authentic": self.authentic, "exit_code": self.exit_code, "faults": faults}

    def to_text(self) -> str:
        """For a terminal: plain ASCII, so that a hostile bundle cannot write control codes to it."""
        if self.unreadable:
            return _plain(f"unreadable: {self.unreadable}")
        marks = {True: "ok   ", False: "FAULT", None: "note "}
        rows = [f"claim {self.claim}, policy {self.policy}, notification drafted {self.opened_at}"]
        rows += [f"{marks[check.good]}  {check.name:<34} {check.answer}" for check in self.checks]
        rows += [f"fault: {fault.place}: {fault.what}" for fault in self.faults]
        if self.fault_count > len(self.faults):
            rows.append(f"... and {self.fault_count - len(self.faults)} more faults, or parts left unchecked")
        rows.append("authentic" if self.authentic else "NOT AUTHENTIC")
        return "\n".join(map(_plain, rows))


def _plain(text: str) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in text[:600])
    return shown.encode("ascii", "backslashreplace").decode()

"""One stretch of abnormal time, whatever found it: normal -> suspect -> anomalous -> recovering -> normal.

    state       | over       over long   between     under        under long   unknown
    ------------+----------------------------------------------------------------------
    normal      | suspect    anomalous*  .           .            .            .
    suspect     | .          anomalous*  normal      normal       normal       .
    anomalous   | .          .           .           recovering   normal**     .
    recovering  | anomalous  anomalous   anomalous   .            normal**     .

``over``: the score exceeds the threshold; ``under``: it is below the release level; ``between``: neither.
"Long" means that it has been so for `persistence` / `recovery` rows running. ``unknown`` rows could not be
judged: they neither end an episode nor open one, and count for nothing. * opens, ** closes. The table does not
know who asks; time is an argument."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ullage_protocols.messages import Anomaly, TagShare

from .findings import Code, Finding
from .techniques import candidates

MOST_TAGS = 8
MOST_REASONS = 12
SEVERITY_STEP = 0.05


class State(enum.StrEnum):
    """Where the machine stands."""

    NORMAL = "normal"
    SUSPECT = "suspect"
    ANOMALOUS = "anomalous"
    RECOVERING = "recovering"


class Mark(enum.StrEnum):
    """What one row says."""

    OVER = "over"
    OVER_LONG = "over long"
    BETWEEN = "between"
    UNDER = "under"
    UNDER_LONG = "under long"
    UNKNOWN = "unknown"


TABLE: dict[tuple[State, Mark], State] = {
    (State.NORMAL, Mark.OVER): State.SUSPECT,
    (State.NORMAL, Mark.OVER_LONG): State.ANOMALOUS,
    (State.SUSPECT, Mark.OVER_LONG): State.ANOMALOUS,
    (State.SUSPECT, Mark.BETWEEN): State.NORMAL,
    (State.SUSPECT, Mark.UNDER): State.NORMAL,
    (State.SUSPECT, Mark.UNDER_LONG): State.NORMAL,
    (State.ANOMALOUS, Mark.UNDER): State.RECOVERING,
    (State.ANOMALOUS, Mark.UNDER_LONG): State.NORMAL,
    (State.RECOVERING, Mark.OVER): State.ANOMALOUS,
    (State.RECOVERING, Mark.OVER_LONG): State.ANOMALOUS,
    (State.RECOVERING, Mark.BETWEEN): State.ANOMALOUS,
    (State.RECOVERING, Mark.UNDER_LONG): State.NORMAL,
}
"""What is not in the table leaves the state as it is."""

OPEN = frozenset({State.ANOMALOUS, State.RECOVERING})

KINDS = {
    Code.SETPOINT: "integrity",
    Code.COMMAND: "integrity",
    Code.FROZEN: "integrity",
    Code.COUNTER_BACK: "integrity",
    Code.LOST: "comms",
}
"""Kind of episode by finding; any other is ``process``."""

RANK = {code: rank for rank, code in enumerate(Code)}


def severity_of(score: float, threshold: float) -> float:
    """0-1: 0 at the threshold, 0.5 at twice the threshold, 0.9 at ten times; it never falls as the score rises.

    >>> [severity_of(s, 2.0) for s in (1.0, 2.0, 4.0, 20.0)]
    [0.0, 0.0, 0.5, 0.9]
    """
    return max(0.0, 1.0 - threshold / score) if score > 0 else 0.0


def score_for(severity: float, threshold: float) -> float:
    """The score at which `severity_of` gives ``severity``: how a rule's finding enters the one score.

    >>> score_for(0.5, 2.0)
    4.0
    """
    return threshold / (1.0 - min(severity, 0.99))


@dataclass(frozen=True, slots=True)
class Part:
    """One tag's part in one row: ``weight`` (in thresholds, >= 0), what was read and expected, in its own unit."""

    tag: str
    weight: float
    value: float | None
    expected: float | None


@dataclass(frozen=True, slots=True)
class JudgedRow:
    """What the machine is told about a row. ``score`` is None where the row could not be judged; ``parts`` of
    the broken relation may be left empty while nothing is abnormal."""

    time: datetime
    score: float | None
    threshold: float
    findings: Sequence[Finding] = ()
    parts: Sequence[Part] = ()


class _Story:
    """What is known of the episode that may be opening or is open."""

    def __init__(self, time: datetime) -> None:
        self.start = time
        self.last = time
        self.told = time
        self.told_severity = 0.0
        self.told_about: frozenset[tuple[Code, str]] = frozenset()
        self.score = 0.0
        self.threshold = 1.0
        self.weights: dict[str, float] = {}
        self.relation: dict[str, float] = {}
        self.readings: dict[str, tuple[float, float | None, float | None]] = {}
        self.findings: dict[tuple[Code, str], Finding] = {}

    def add(self, row: JudgedRow, abnormal: bool) -> None:
        if row.score is None:
            return
        if abnormal:
            self.last = row.time
        if row.score / row.threshold > self.score / self.threshold:
            self.score, self.threshold = row.score, row.threshold
        for part in row.parts:
            self.weights[part.tag] = self.weights.get(part.tag, 0.0) + part.weight
            self.relation[part.tag] = self.relation.get(part.tag, 0.0) + part.weight
            self._read(part.tag, part.weight, part.value, part.expected)
        for finding in row.findings:
            if finding.severity <= 0.0:
                continue
            weight = score_for(finding.severity, 1.0) - 1.0
            self.weights[finding.tag] = self.weights.get(finding.tag, 0.0) + weight
            self._read(finding.tag, weight, finding.value, finding.expected)
            self.findings[finding.code, finding.tag] = finding

    def _read(self, tag: str, weight: float, value: float | None, expected: float | None) -> None:
        if tag not in self.readings or weight >= self.readings[tag][0]:
            self.readings[tag] = (weight, value, expected)

    @property
    def severity(self) -> float:
        return severity_of(self.score, self.threshold)

    def news(self) -> bool:
        """Whether there is something to tell that has not been told."""
        return self.severity >= self.told_severity + SEVERITY_STEP or not self.told_about.issuperset(self.findings)

    def tell(self, phase: str, name: str, time: datetime, commands: frozenset[str]) -> Anomaly:
        self.told, self.told_severity, self.told_about = time, self.severity, frozenset(self.findings)
        ranked = sorted(self.findings.values(), key=lambda f: (RANK[f.code], -f.severity, f.tag))
        kind = KINDS.get(ranked[0].code, "process") if ranked else "process"
        relation = _shares(self.relation)
        reasons = [f.reason for f in ranked] + [self._sentence(tag) for tag, _ in relation[:3]]
        return Anomaly(
            episode=name, phase=phase, kind=kind, severity=self.severity, score=self.score, threshold=self.threshold,
            start=self.start, end=self.last if phase == "close" else None, tags=self._tags(),
            techniques=candidates(ranked, relation, commands)[:20],
            reasons=tuple(reasons[:MOST_REASONS]),
        )  # fmt: skip

    def _tags(self) -> tuple[TagShare, ...]:
        said = {f.tag: f.reason for f in sorted(self.findings.values(), key=lambda f: f.severity)}
        return tuple(
            TagShare(tag, share, self.readings[tag][1], self.readings[tag][2], said.get(tag, ""))
            for tag, share in _shares(self.weights)[:MOST_TAGS]
        )

    def _sentence(self, tag: str) -> str:
        _, value, expected = self.readings[tag]
        if value is None or expected is None:
            return f"{tag} disagrees with its peers"
        return f"{tag} reads {value:g} where its peers and its past imply {expected:g}"


def _shares(weights: dict[str, float]) -> list[tuple[str, float]]:
    total = sum(weights.values())
    if total <= 0.0:
        return []
    return sorted(
        ((tag, weight / total) for tag, weight in weights.items() if weight > 0.0), key=lambda p: (-p[1], p[0])
    )


class EpisodeMachine:
    """Turns judged rows into opened, updated and closed episodes; at most one is open.

    >>> from datetime import timezone
    >>> machine = EpisodeMachine(persistence=2, recovery=2, release=0.8, update_every=timedelta(seconds=5), origin="a1")
    >>> start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    >>> for n, score in enumerate((1.0, 5.0, 6.0, None, 1.0, 1.0)):
    ...     for event in machine.update(JudgedRow(start + timedelta(seconds=n), score, 3.0)):
    ...         print(n, event.phase, round(event.severity, 2), event.end and event.end.second)
    2 open 0.5 None
    5 close 0.5 2
    """

    def __init__(
        self, persistence: int, recovery: int, release: float, update_every: timedelta, origin: str,
        commands: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        """``release``: share (0-1) of the threshold; ``update_every``: the least time between two messages
        about an open episode; ``origin``: text that makes episode names unique, e.g. of the baseline;
        ``commands``: tags that
        command the process."""
        self._persistence = persistence
        self._recovery = recovery
        self._release = release
        self._update_every = update_every
        self._origin = origin
        self._commands = commands
        self._state = State.NORMAL
        self._over = 0
        self._under = 0
        self._story: _Story | None = None
        self._name = ""

    @property
    def state(self) -> State:
        """Where the machine stands."""
        return self._state

    def update(self, row: JudgedRow) -> list[Anomaly]:
        """Take one row into account; the messages that it gives rise to, usually none."""
        mark = self._mark(row)
        before, after = self._state, TABLE.get((self._state, mark), self._state)
        self._state = after
        if after is State.NORMAL and before is State.NORMAL:
            return []
        if self._story is None:
            self._story = _Story(row.time)
        story = self._story
        story.add(row, abnormal=mark in (Mark.OVER, Mark.OVER_LONG, Mark.BETWEEN))
        if after is State.NORMAL:
            self._story, self._over, self._under = None, 0, 0
            return [story.tell("close", self._name, row.time, self._commands)] if before in OPEN else []
        if after in OPEN and before not in OPEN:
            self._name = f"{self._origin}-{story.start:%Y%m%dT%H%M%S}{story.start.microsecond:06d}"
            return [story.tell("open", self._name, row.time, self._commands)]
        if after in OPEN and story.news() and row.time - story.told >= self._update_every:
            return [story.tell("update", self._name, row.time, self._commands)]
        return []

    def _mark(self, row: JudgedRow) -> Mark:
        if row.score is None:
            return Mark.UNKNOWN
        if row.score > row.threshold:
            self._over, self._under = self._over + 1, 0
            return Mark.OVER_LONG if self._over >= self._persistence else Mark.OVER
        self._over = 0
        if row.score > row.threshold * self._release:
            self._under = 0
            return Mark.BETWEEN
        self._under += 1
        return Mark.UNDER_LONG if self._under >= self._recovery else Mark.UNDER

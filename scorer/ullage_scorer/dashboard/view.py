"""What the page shows, as values: the service fills them in, the templates only lay them out.

Rates are in units per minute, shares between 0 and 1; money is text as ``Money`` writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

RUNNING, STOPPED, SILENT, UNKNOWN = "running", "stopped", "silent", "unknown"


@dataclass(frozen=True, slots=True)
class AgentView:
    """One agent: when the scorer last heard of it, what waits in its outbox, what was refused of it."""

    id: str
    last_seen: datetime | None
    silent: bool
    revoked: bool
    forked: bool
    pending: int | None
    refused: int


@dataclass(frozen=True, slots=True)
class OutageView:
    """A stretch of output below standard. ``end`` is None while it lasts."""

    start: datetime
    end: datetime | None
    waiting_ends: datetime
    waiting_over: bool
    shortage: Decimal


@dataclass(frozen=True, slots=True)
class LineView:
    """One line: its output now, its standard, and the gap between the two over the last minutes."""

    line: str
    state: str
    rate: Decimal | None
    standard: Decimal | None
    basis: str
    short: Decimal | None
    outage: OutageView | None
    plot: dict[str, Any] = field(default_factory=dict)

    @property
    def share(self) -> Decimal | None:
        """Output as a share of standard, not above 1."""
        if self.rate is None or not self.standard:
            return None
        return min(Decimal(1), self.rate / self.standard)

    @property
    def gap(self) -> Decimal | None:
        """The ullage: units a minute that standard output has more; never below zero."""
        if self.rate is None or self.standard is None:
            return None
        return max(Decimal(0), self.standard - self.rate)


@dataclass(frozen=True, slots=True)
class SiteView:
    """One row of the sites."""

    id: str
    name: str
    state: str
    rate: Decimal | None
    standard: Decimal | None
    agents: tuple[AgentView, ...]
    open_episodes: int
    selected: bool = False

    @property
    def share(self) -> Decimal | None:
        if self.rate is None or not self.standard:
            return None
        return min(Decimal(1), self.rate / self.standard)

    @property
    def last_seen(self) -> datetime | None:
        return max((a.last_seen for a in self.agents if a.last_seen is not None), default=None)

    @property
    def pending(self) -> int | None:
        known = [a.pending for a in self.agents if a.pending is not None]
        return sum(known) if known else None

    @property
    def refused(self) -> int:
        return sum(a.refused for a in self.agents)


@dataclass(frozen=True, slots=True)
class AnomalyView:
    """One episode as last reported."""

    key: str
    agent: str
    kind: str
    open: bool
    severity: float
    score: float
    threshold: float
    start: datetime
    end: datetime | None
    tags: tuple[dict[str, Any], ...]
    techniques: tuple[dict[str, Any], ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeviceView:
    """One device: how it answers, what it is, how it is exposed. ``remarks`` are (text key, values) of its posture;
    ``changes`` (moment, field, before, after), the newest first; ``lost`` since when it cannot be read, or None."""

    agent: str
    name: str
    state: str
    product: str
    firmware: str
    protocol: str
    remarks: tuple[tuple[str, dict[str, Any]], ...]
    changes: tuple[tuple[datetime, str, str, str], ...]
    lost: datetime | None
    last_downtime: tuple[datetime, datetime] | None
    cause: str
    reason: str


@dataclass(frozen=True, slots=True)
class PlannedView:
    """A planned stop that was declared; ``retroactive``: declared afterwards."""

    id: str
    agent: str
    line: str
    reason: str
    by: str
    start: datetime
    planned_end: datetime | None
    end: datetime | None
    declared_at: datetime
    retroactive: bool
    called_off: bool


@dataclass(frozen=True, slots=True)
class PolicyView:
    """The policy in a line."""

    id: str
    insured: str
    limit: str
    waiting: Decimal | None
    waiting_kind: str
    start: datetime
    end: datetime
    plan: str


@dataclass(frozen=True, slots=True)
class PremiumView:
    """The newest premium and how the relativity came there."""

    base: str
    indicated: str
    charged: str
    relativity_indicated: Decimal
    relativity_charged: Decimal
    plot: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReasonView:
    """One reason of a score: a sentence and its points."""

    text: str
    points: Decimal


@dataclass(frozen=True, slots=True)
class ScoreView:
    score: Decimal
    reasons: tuple[ReasonView, ...]


@dataclass(frozen=True, slots=True)
class ClaimView:
    """One claim; ``steps`` is the worksheet, each step with its inputs and result."""

    id: str
    state: str
    line: str
    opened: datetime | None
    outage_start: datetime
    outage_end: datetime | None
    shortage: Decimal | None
    indemnity: str
    at_most: str
    missing: tuple[str, ...]
    steps: Sequence[dict[str, Any]]
    planned: tuple[PlannedView, ...] = ()


@dataclass(frozen=True, slots=True)
class PageView:
    """Everything on the page, read from one snapshot of the database."""

    now: datetime
    position: int
    projected: int
    head: str
    sites: tuple[SiteView, ...] = ()
    site: SiteView | None = None
    lines: tuple[LineView, ...] = ()
    policy: PolicyView | None = None
    premium: PremiumView | None = None
    score: ScoreView | None = None
    anomalies: tuple[AnomalyView, ...] = ()
    claims: tuple[ClaimView, ...] = ()
    devices: tuple[DeviceView, ...] = ()
    planned: tuple[PlannedView, ...] = ()

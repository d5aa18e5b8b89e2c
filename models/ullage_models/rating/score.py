"""What anomalies mean for the rest of the term: the indicated relativity, the score, and the reasons.

Intensity is the plan's base plus one decaying kernel an anomaly. The relativity prices the *integral* of the
intensity over the remaining term, never its value today, which would charge a whole year for one bad week:

    r = 1 + sum_i m_i × 2^(-age_i / h_i) × (1 - 2^(-T / h_i)) / (base / 365 × T)

with mass m (times severity), half-life h and T in days. An episode counts once, at the largest of its messages'
contributions, so that updates of one episode do not add up and a later, milder one never lowers it. A message
from a clock ahead of the valuation counts as new.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from ..money import exact, plain, rounded
from .errors import RatingError
from .plan import AnomalyKind, RatingPlan
from .relativity import ONE, ZERO, halved

_DAY = Decimal(86_400)
BASE_SCORE = Decimal(600)
DOUBLING = Decimal(50)
"""Points lost when the expected loss doubles."""
MAX_REASONS = 4


@dataclass(frozen=True, slots=True)
class AnomalyEvent:
    """One anomaly message as rating sees it. ``severity`` 0-1; ``episode`` empty where it stands alone."""

    at: datetime
    kind: str
    severity: Decimal
    episode: str
    tags: tuple[str, ...] = ()
    techniques: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the relativity stands above 1.

    ``share`` is the part of the indicated relativity that undoing it takes away, ``points`` its part of the score.
    """

    text: Mapping[str, str]
    share: Decimal
    points: Decimal
    kind: str
    tag: str
    technique: str
    at: datetime
    episodes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "en": self.text["en"], "zh": self.text["zh"], "share": plain(self.share), "points": plain(self.points),
            "kind": self.kind, "tag": self.tag, "technique": self.technique, "at": self.at.isoformat(),
            "episodes": list(self.episodes),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Score:
    """``points`` by name, in the order given; ``value`` is 600 plus their exact sum."""

    value: Decimal
    points: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class Telemetry:
    """``indicated`` (six decimals) and ``spot`` relativity, the score and its points (three decimals), the reasons."""

    indicated: Decimal
    spot: Decimal
    score: Decimal
    points: Mapping[str, Decimal]
    reasons: tuple[Reason, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "indicated": plain(self.indicated), "spot": plain(self.spot), "score": plain(self.score),
            "points": {name: plain(value) for name, value in self.points.items()},
            "reasons": [reason.to_json() for reason in self.reasons],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Weighed:
    event: AnomalyEvent
    terms: AnomalyKind
    share: Decimal
    spot: Decimal


@exact
def risk_score(relativities: Mapping[str, Decimal]) -> Score:
    """600 - (50 / ln 2) × sum of ln r: 50 points a doubling, so points add up. Each point half up to 3 decimals."""
    points: dict[str, Decimal] = {}
    for name, relativity in relativities.items():
        if not relativity.is_finite() or relativity <= 0:
            raise RatingError(f"score: relativity {name} is {relativity}; it must be above zero")
        points[name] = rounded(-DOUBLING / Decimal(2).ln() * relativity.ln(), 3)
    return Score(BASE_SCORE + sum(points.values(), ZERO), points)


@exact
def telemetry_relativity(
    plan: RatingPlan,
    events: Sequence[AnomalyEvent],
    at: datetime,
    period_start: datetime,
    period_end: datetime,
    *,
    relativities: Mapping[str, Decimal] | None = None,
) -> Telemetry:
    """Indicated relativity, score and reasons at ``at`` for the rest of the period of insurance.

    ``relativities`` are those of the premium that shall count in the score too. Before the period starts, its
    whole length is priced. Raises RatingError after its end, or for an event or time that cannot be priced.
    """
    if any(moment.tzinfo is None for moment in (at, period_start, period_end)):
        raise RatingError("telemetry: times must be timezone-aware")
    begin = max(at, period_start)
    if begin >= period_end:
        raise RatingError(f"telemetry: no term remains at {begin}, the period of insurance ended at {period_end}")
    term = _days(begin, period_end)
    per_day = plan.telemetry.base_intensity / 365
    weighed = _once_per_episode(_weigh(plan, event, begin, term, per_day) for event in events)
    indicated = rounded(ONE + sum((w.share for w in weighed), ZERO), 6)
    spot = rounded(ONE + sum((w.spot for w in weighed), ZERO), 6)
    score = risk_score({**(relativities or {}), "telemetry": indicated})
    reasons = _reasons(weighed, indicated, score.points["telemetry"])
    return Telemetry(indicated, spot, score.value, score.points, reasons)


def _days(start: datetime, end: datetime) -> Decimal:
    span = end - start
    return (Decimal(span.days) * 86_400 + span.seconds + Decimal(span.microseconds).scaleb(-6)) / _DAY


def _weigh(plan: RatingPlan, event: AnomalyEvent, begin: datetime, term: Decimal, per_day: Decimal) -> _Weighed:
    if event.at.tzinfo is None:
        raise RatingError(f"telemetry: anomaly of episode {event.episode!r} has a time without a timezone")
    if not event.severity.is_finite() or not 0 <= event.severity <= 1:
        raise RatingError(f"telemetry: severity {event.severity} of episode {event.episode!r} must lie between 0 and 1")
    terms = plan.telemetry.kinds.get(event.kind) or plan.telemetry.kinds["other"]
    mass = terms.mass * event.severity
    left = mass * halved(max(ZERO, _days(event.at, begin)), terms.half_life_days)
    share = left * (ONE - halved(term, terms.half_life_days)) / (per_day * term)
    spot = left * Decimal(2).ln() / terms.half_life_days / per_day
    return _Weighed(event, terms, share, spot)


def _once_per_episode(weighed: Iterable[_Weighed]) -> list[_Weighed]:
    best: dict[tuple[str, int], _Weighed] = {}
    for place, each in enumerate(weighed):
        key = (each.event.episode, 0) if each.event.episode else ("", place)
        known = best.get(key)
        if known is None or each.share > known.share:
            best[key] = each
    return list(best.values())


def _reasons(weighed: list[_Weighed], indicated: Decimal, points: Decimal) -> tuple[Reason, ...]:
    groups: dict[tuple[str, str, str], list[_Weighed]] = {}
    for each in weighed:
        event = each.event
        tag, technique = (event.tags or ("",))[0], (event.techniques or ("",))[0]
        groups.setdefault((event.kind, tag, technique), []).append(each)
    ranked = sorted(
        ((sum((w.share for w in group), ZERO), key, group) for key, group in groups.items()),
        key=lambda found: (-found[0], found[1]),
    )
    found: list[Reason] = []
    for share, (kind, tag, technique), group in ranked[:MAX_REASONS]:
        shown = rounded(share, 6)
        if not shown:
            continue
        part = rounded(points * share / (indicated - ONE), 3) if indicated > ONE else ZERO
        last = max(w.event.at for w in group)
        text = _sentences(group[0].terms, len(group), tag, technique, last, shown, part)
        episodes = tuple(sorted({w.event.episode for w in group if w.event.episode}))
        found.append(Reason(text, shown, part, kind, tag, technique, last, episodes))
    return tuple(found)


def _sentences(
    terms: AnomalyKind, count: int, tag: str, technique: str, last: datetime, share: Decimal, points: Decimal
) -> dict[str, str]:
    when, days = last.strftime("%Y-%m-%d %H:%M:%S %Z"), plain(terms.half_life_days)
    size_en = f"adds {plain(share)} to the relativity ({plain(points)} points)"
    size_zh = f"使相对费率增加 {plain(share)}（{plain(points)} 分）"
    seen_en = "" if count == 1 else f", {count} times, last"
    seen_zh = "" if count == 1 else f"，共 {count} 次，最近一次"
    like_en = f", resembling {technique}" if technique else ""
    like_zh = f"，类似攻击技术 {technique}" if technique else ""
    what = terms.title["en"][:1].upper() + terms.title["en"][1:]
    en = (
        f"{what}{f' at {tag}' if tag else ''}{seen_en} on {when}{like_en}, "
        f"{size_en}. {terms.undo['en']}; without a new one it halves every {days} days."
    )
    zh = (
        f"{f'测点 {tag} ' if tag else ''}出现{terms.title['zh']}{seen_zh}（{when}）{like_zh}，{size_zh}。"
        f"{terms.undo['zh']}；若不再发生，影响每 {days} 天减半。"
    )
    return {"en": en, "zh": zh}

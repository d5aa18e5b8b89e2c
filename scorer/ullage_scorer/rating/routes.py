"""HTTP of scores, premiums, endorsements and episodes."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field
from sqlalchemy import Row
from ullage_protocols import wire

from ..errors import NotFoundError
from ..policies.terms import Moment
from ..web import NAME, AfterId, Caller, Home, Limit, Shown, Strict, problems
from . import service, store

router = APIRouter(prefix="/api/v1", tags=["rating"])
Site = Annotated[str | None, Query(max_length=64, description="Only this site.")]
Policy = Annotated[str | None, Query(max_length=64, description="Only this policy.")]


class ScoreShown(Shown):
    """Score (600 is neutral, 50 points a doubling of the expected loss) and indicated relativity after one
    change, with its reasons in English and Chinese."""

    position: int
    policy: str
    site: str
    at: datetime
    score: str
    relativity: str
    spot: str
    points: dict[str, str]
    reasons: list[dict[str, Any]]


class ScorePage(Shown):
    """``next`` is what to pass as ``after``; null at the end."""

    items: list[ScoreShown]
    next: int | None


class PremiumShown(Shown):
    """Net premiums in the policy's currency: base (relativity 1), indicated (where the model leads after
    credibility and bounds), charged (what the policy pays until an endorsement). ``trace`` holds every step."""

    position: int
    policy: str
    site: str
    at: datetime
    reason: str
    currency: str
    base: str
    indicated: str
    charged: str
    relativity_indicated: str
    relativity_charged: str
    trace: dict[str, Any]


class PremiumPage(Shown):
    """``next`` is what to pass as ``after``; null at the end."""

    items: list[PremiumShown]
    next: int | None


class EndorsementRequest(Strict):
    """Moves the charged relativity one step towards the indicated one. The same name twice is one endorsement."""

    name: Annotated[str, Field(pattern=NAME)]
    effective: Moment
    note: Annotated[str, Field(max_length=500)] = ""


class EpisodeShown(Shown):
    """A stretch of abnormal time as last told: ``severity`` 0-1, tags with their share (0-1), techniques."""

    position: int
    agent: str
    site: str
    episode: str
    kind: str
    phase: str
    start: datetime
    end: datetime | None
    severity: str
    score: str
    threshold: float
    tags: list[dict[str, Any]]
    techniques: list[dict[str, Any]]
    reasons: list[str]


class EpisodePage(Shown):
    """``next`` is what to pass as ``after``; null at the end."""

    items: list[EpisodeShown]
    next: int | None


@router.get("/scores", responses=problems(), summary="Risk scores over time")
def scores(
    scope: Caller, home: Home, after: AfterId = 0, limit: Limit = 100, site: Site = None, policy: Policy = None
) -> ScorePage:
    """Oldest first; a row for every change."""
    with home.db.read() as conn:
        rows = store.scores_of(conn, scope, site=site, policy_name=policy, after=after, limit=limit)
    return ScorePage(items=[_score(row) for row in rows], next=rows[-1].position if len(rows) == limit else None)


@router.get("/premiums", responses=problems(), summary="Premiums over time")
def premiums(
    scope: Caller, home: Home, after: AfterId = 0, limit: Limit = 100, site: Site = None, policy: Policy = None
) -> PremiumPage:
    """Oldest first; a row at bind, for every change of the score, and for every endorsement."""
    with home.db.read() as conn:
        rows = store.premiums_of(conn, scope, site=site, policy_name=policy, after=after, limit=limit)
    return PremiumPage(items=[_premium(row) for row in rows], next=rows[-1].position if len(rows) == limit else None)


@router.get("/episodes", responses=problems(), summary="Episodes told by agents")
def episodes(scope: Caller, home: Home, after: AfterId = 0, limit: Limit = 100, site: Site = None) -> EpisodePage:
    """In the order in which they were first told, each in its latest state."""
    with home.db.read() as conn:
        rows = store.episodes_of_site(conn, scope, site, after=after, limit=limit)
    return EpisodePage(items=[_episode(row) for row in rows], next=rows[-1].opened if len(rows) == limit else None)


@router.post("/policies/{policy}/endorsements", status_code=201, responses=problems(409), summary="Endorse a policy")
def endorse(policy: str, body: EndorsementRequest, scope: Caller, home: Home, response: Response) -> PremiumShown:
    """Moves the charged relativity by one step, as the policy's law mode allows; the amount due or refunded for the
    rest of the term stands in the trace. The same endorsement again answers 200."""
    with home.db.read() as conn:
        if store.policy(conn, scope, policy) is None:
            raise NotFoundError
    scope.needs("admin", "insurer")
    at = home.submit(
        service.ENDORSE,
        lambda conn: service.prepare_endorsement(
            conn, scope, policy=policy, name=body.name, effective=body.effective, note=body.note
        ),
    )
    with home.db.read() as conn:
        rows = store.premiums_of(conn, scope, site=None, policy_name=policy, after=0, limit=100_000)
    found = [r for r in rows if json.loads(r.document)["endorsement"].get("name") == body.name]
    if at is None:
        response.status_code = 200
    return _premium(found[-1])


def _score(row: Row[Any]) -> ScoreShown:
    said = json.loads(row.document)
    return ScoreShown(
        position=row.position, policy=row.policy, site=row.site, at=wire.parse_time(row.at), score=row.score,
        relativity=row.relativity, spot=said["spot"], points=said["points"], reasons=said["reasons"],
    )  # fmt: skip


def _premium(row: Row[Any]) -> PremiumShown:
    return PremiumShown(
        position=row.position, policy=row.policy, site=row.site, at=wire.parse_time(row.at), reason=row.reason,
        currency=row.currency, base=row.base, indicated=row.indicated, charged=row.charged,
        relativity_indicated=row.relativity_indicated, relativity_charged=row.relativity_charged,
        trace=json.loads(row.document),
    )  # fmt: skip


def _episode(row: Row[Any]) -> EpisodeShown:
    said = json.loads(row.document)
    return EpisodeShown(
        position=row.opened, agent=row.agent, site=row.site, episode=row.episode, kind=row.kind, phase=row.phase,
        start=wire.parse_time(row.start), end=None if row.end is None else wire.parse_time(row.end),
        severity=row.severity, score=row.score, threshold=said["threshold"], tags=said["tags"],
        techniques=said["techniques"], reasons=said["reasons"],
    )  # fmt: skip

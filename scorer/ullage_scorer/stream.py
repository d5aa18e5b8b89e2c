"""Server-sent events: what the projector changed, as it happens, resumable by Last-Event-ID."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from sqlalchemy import Row
from starlette.concurrency import run_in_threadpool

from .db import changes
from .db.scope import Scope
from .errors import CommandError
from .web import Caller, Home, House, problems

router = APIRouter(prefix="/api/v1", tags=["stream"])
_EVERY = 0.3
_COMMENT_EVERY = 15.0
_MOST = 64


@router.get(
    "/stream",
    responses=problems(),
    response_class=StreamingResponse,
    summary="Changes as they happen (text/event-stream)",
)
async def stream(
    request: Request,
    scope: Caller,
    home: Home,
    last_event_id: Annotated[str | None, Header(description="The last id that was seen; sent by browsers.")] = None,
    after: Annotated[int | None, Query(ge=0, lt=2**63, description="Start behind this id; default: from now.")] = None,
) -> StreamingResponse:
    """Events `anomaly`, `score`, `premium`, `claim`, `site`, `agent`, `policy` and `fault`, each with an id."""
    start = after
    if last_event_id is not None and last_event_id.isascii() and last_event_id.isdigit():
        start = min(int(last_event_id[:18]), 2**62)
    if request.app.state.streams >= _MOST:
        raise CommandError(f"{_MOST} streams are open, which is the most; close one and try again", 409)
    return StreamingResponse(
        _events(request, home, scope, start), media_type="text/event-stream", headers={"cache-control": "no-store"}
    )


async def _events(request: Request, home: House, scope: Scope, start: int | None) -> AsyncIterator[bytes]:
    state = request.app.state
    state.streams += 1
    try:
        last = await run_in_threadpool(_newest, home) if start is None else start
        idle = 0.0
        yield b": welcome\n\n"
        while not state.stopping.is_set():
            rows = await run_in_threadpool(_after, home, scope, last)
            for row in rows:
                last = row.id
                yield format_sse_event(data_str=_text(row), event=row.kind, id=str(row.id))
            idle = 0.0 if rows else idle + _EVERY
            if idle >= _COMMENT_EVERY:
                idle = 0.0
                yield b": still here\n\n"
            if not rows:
                await asyncio.sleep(_EVERY)
    finally:
        state.streams -= 1


def _newest(home: House) -> int:
    with home.db.read() as conn:
        return changes.newest(conn)


def _after(home: House, scope: Scope, last: int) -> list[Row[Any]]:
    with home.db.read() as conn:
        return list(changes.after(conn, scope, last, 200))


def _text(row: Row[Any]) -> str:
    return json.dumps(
        {"position": row.position, "tenant": row.tenant, "site": row.site, "at": row.at, **json.loads(row.document)},
        ensure_ascii=False,
    )

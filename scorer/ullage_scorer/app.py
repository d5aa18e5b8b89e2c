"""The web application: routes, problems as application/problem+json, health."""

from __future__ import annotations

import logging
import threading
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy import exc as sa_exc
from starlette.exceptions import HTTPException
from ullage_models.errors import ModelError

from . import stream
from .auth import routes as auth
from .claims import routes as claims
from .dashboard import routes as dashboard
from .db.engine import explain
from .errors import CommandError, NotFoundError, ScorerError
from .ingest import routes as ingest
from .ledger import routes as ledger
from .policies import routes as policies
from .rating import routes as rating
from .web import House, Problem

_log = logging.getLogger(__name__)
_MAX_BODY = 512 * 1024
_ABOUT = """Premiums and business-interruption claims, derived from what agents measured and signed.

Every object is read through the caller's scope; what lies outside answers 404 with the same body as what does
not exist. Lists take `after` and `limit` and give `next`. Faults are problem details (RFC 9457).
"""


def create_app(house: House) -> FastAPI:
    """The application over an open, migrated database."""
    app = FastAPI(
        title="Ullage scorer", version="1", description=_ABOUT, docs_url=None, redoc_url=None,
        openapi_url="/api/v1/openapi.json", max_body_size=_MAX_BODY,
    )  # fmt: skip
    app.state.house = house
    app.state.streams = 0
    app.state.stopping = threading.Event()
    for room in (auth, ledger, ingest, policies, rating, claims, stream, dashboard):
        app.include_router(room.router)
    app.add_exception_handler(ScorerError, _scorer)
    app.add_exception_handler(ModelError, _model)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(sa_exc.DBAPIError, _database)
    app.add_exception_handler(Exception, _unexpected)

    @app.get("/healthz", tags=["health"], summary="Whether the scorer is well")
    def healthz() -> JSONResponse:
        """200 when everything works, 503 with the reasons otherwise. Needs no key and names no object."""
        found = house.health()
        return JSONResponse(found, status_code=200 if found["ok"] else 503)

    return app


def _problem(status: int, detail: str, faults: list[str] | None = None) -> JSONResponse:
    body: dict[str, Any] = Problem(
        title=HTTPStatus(status).phrase, status=status, detail=detail, faults=faults or []
    ).model_dump()
    headers = {"www-authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(body, status_code=status, media_type="application/problem+json", headers=headers)


def _scorer(_request: Request, exc: Exception) -> JSONResponse:
    if isinstance(exc, CommandError):
        return _problem(exc.status, str(exc))
    _log.error("%s", exc)
    return _problem(500, str(exc))


def _model(_request: Request, exc: Exception) -> JSONResponse:
    return _problem(422, str(exc))


def _invalid(_request: Request, exc: Exception) -> JSONResponse:
    faults = []
    if isinstance(exc, RequestValidationError):
        # The offending values are left out: they may be secrets, or too large to show.
        faults = [f"{'.'.join(str(part)[:80] for part in e['loc'])}: {e['msg']}" for e in exc.errors()[:50]]
    return _problem(422, "the request does not fit; see faults", faults)


def _http(_request: Request, exc: Exception) -> JSONResponse:
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    if status == 404:
        return _problem(404, str(NotFoundError()))
    return _problem(status, str(getattr(exc, "detail", "")) or HTTPStatus(status).phrase)


def _database(request: Request, exc: Exception) -> JSONResponse:
    sentence = explain(exc, request.app.state.house.db.path)
    _log.error("%s %s: %s", request.method, request.url.path, sentence)
    return _problem(503, "the database cannot be used at the moment; see /healthz and the scorer's log")


def _unexpected(request: Request, exc: Exception) -> JSONResponse:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=exc)
    return _problem(500, "the scorer failed on this request; its log has the details")

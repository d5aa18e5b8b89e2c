"""HTTP of the live page: login, the page, its stream of panels, and static files."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse
from fastapi.sse import format_sse_event
from starlette.concurrency import run_in_threadpool

from ..auth import service as auth
from ..db.scope import Scope
from ..errors import CommandError, NotFoundError
from ..web import SESSION_COOKIE, Caller, Home, House, house
from . import pages, service, store
from .words import CATALOGUE, Words, choose

router = APIRouter(include_in_schema=False)
LANGUAGE_COOKIE = "ullage_language"
_YEAR = 365 * 86_400
_LOOK_EVERY, _PUSH_AT_MOST, _PUSH_AT_LEAST = 0.25, 0.6, 5.0
_MOST = 64
Site = Annotated[str, Query(max_length=64)]
Lang = Annotated[str, Query(max_length=8)]
Token = Annotated[str, Query(max_length=200)]


def _words(request: Request, lang: str) -> Words:
    return choose(lang, request.cookies.get(LANGUAGE_COOKIE, ""), request.headers.get("accept-language", ""))


def _html(request: Request, body: str, lang: str = "", status: int = 200) -> HTMLResponse:
    response = HTMLResponse(body, status, headers=dict(pages.HEADERS))
    if lang in CATALOGUE:
        _cookie(request, response, LANGUAGE_COOKIE, lang, _YEAR)
    return response


def _cookie(request: Request, response: Response, name: str, value: str, seconds: int) -> None:
    # Lax, not strict: a login link is opened from a mail or a terminal, and its redirect must carry the cookie.
    response.set_cookie(
        name, value, max_age=seconds, httponly=True, samesite="lax", secure=request.url.scheme == "https", path="/"
    )


def _away(path: str) -> RedirectResponse:
    return RedirectResponse(path, 303, headers=dict(pages.HEADERS))


def _visitor(request: Request) -> Scope | None:
    at_home = house(request)
    session = request.cookies.get(SESSION_COOKIE, "")
    return at_home.authenticate(at_home.db, "", session, at_home.clock()) if session else None


@router.get("/")
def live_page(request: Request, home: Home, site: Site = "", lang: Lang = "") -> Response:
    """The page; without a session, the way to the login."""
    scope = _visitor(request)
    if scope is None:
        return _away("/login")
    words = _words(request, lang)
    with home.db.read() as conn:
        page = service.page(conn, scope, site, words.language, home.clock())
    chosen = "" if page.site is None else page.site.id
    stream = "/live?" + urlencode({"site": chosen, "lang": words.language})
    here = "/?" + (urlencode({"site": chosen}) + "&" if chosen else "")
    return _html(request, pages.render("page.html", page=page, words=words, push=False, stream=stream, here=here), lang)


@router.get("/live")
async def live(request: Request, scope: Caller, home: Home, site: Site = "", lang: Lang = "") -> Response:
    """Events ``panels``: the page's panels as HTML, whenever the projections moved, at least every few seconds."""
    if request.app.state.streams >= _MOST:
        raise CommandError(f"{_MOST} streams are open, which is the most; close one and try again", 409)
    words = _words(request, lang)
    body = _pushes(request, home, scope, site, words)
    return StreamingResponse(body, media_type="text/event-stream", headers={"cache-control": "no-store"})


async def _pushes(request: Request, home: House, scope: Scope, site: str, words: Words) -> AsyncIterator[bytes]:
    state = request.app.state
    state.streams += 1
    seen, pushed = -1, 0.0
    try:
        yield b": welcome\n\n"
        while not state.stopping.is_set():
            quiet = time.monotonic() - pushed
            moved = await run_in_threadpool(_position, home)
            if (moved != seen and quiet >= _PUSH_AT_MOST) or quiet >= _PUSH_AT_LEAST:
                # A session that was closed, or whose key was revoked, sees nothing more.
                if await run_in_threadpool(_visitor, request) != scope:
                    return
                seen, pushed = moved, time.monotonic()
                html = await run_in_threadpool(_panels, home, scope, site, words)
                yield format_sse_event(data_str=html, event="panels", id=str(seen))
            await asyncio.sleep(_LOOK_EVERY)
    finally:
        state.streams -= 1


def _position(home: House) -> int:
    with home.db.read() as conn:
        return store.projected(conn)


def _panels(home: House, scope: Scope, site: str, words: Words) -> str:
    with home.db.read() as conn:
        page = service.page(conn, scope, site, words.language, home.clock())
    return pages.render("panels.html", page=page, words=words, push=True)


@router.get("/login")
def login_page(request: Request, home: Home, token: Token = "", lang: Lang = "") -> Response:
    """The form; with ``?token=`` the one-time link is traded for a session."""
    words = _words(request, lang)
    if not token:
        return _html(request, pages.render("login.html", words=words, fault=""), lang)
    return _enter(request, auth.open_session(home.db, link=token, now=home.clock()), words, "login_bad_link")


@router.post("/login")
def login(request: Request, home: Home, key: Annotated[str, Form(max_length=200)] = "") -> Response:
    """Trades an API key for a session."""
    _same_origin(request)
    opened = auth.open_session(home.db, api_token=key.strip(), now=home.clock())
    return _enter(request, opened, _words(request, ""), "login_bad_key")


def _enter(request: Request, opened: tuple[str, Scope] | None, words: Words, fault: str) -> Response:
    if opened is None:
        return _html(request, pages.render("login.html", words=words, fault=fault), status=401)
    response = _away("/")
    _cookie(request, response, SESSION_COOKIE, opened[0], int(auth.SESSION_LIFE.total_seconds()))
    return response


@router.post("/logout")
def logout(request: Request, home: Home) -> Response:
    """Ends the session."""
    _same_origin(request)
    auth.close_session(home.db, request.cookies.get(SESSION_COOKIE, ""))
    response = _away("/login")
    response.delete_cookie(SESSION_COOKIE, path="/")
    return response


def _same_origin(request: Request) -> None:
    """A form of another site may not sign anybody in or out."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise CommandError("this form was sent from another site; open the page itself", 403)


@router.get("/static/{name:path}")
def static(name: str) -> Response:
    """Files that ship with the page; nothing else can be named."""
    found = pages.STATIC.get(name)
    if found is None:
        raise NotFoundError
    headers = {**pages.HEADERS, "cache-control": "public, max-age=31536000, immutable"}
    return Response(found.body, media_type=found.media_type, headers=headers)

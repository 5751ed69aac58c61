"""The console and the JSON API: one Starlette app, the same on both hosts. Nothing here needs JavaScript."""

import logging
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import book, chain, follow
from shared.errors import PermanentError, TemporaryError
from shared.record import EventRecord
from shared.web import api, asked, chains, console, kept, quality, rollouts, silences
from shared.web.asked import Unclear
from shared.web.desk import Desk
from shared.web.signed import Refused, SignedIn, who
from shared.web.silences import asked_for, whole_of

__all__ = ["Desk", "app"]

log: Final = logging.getLogger("switchyard")

_STATIC: Final = Path(__file__).parent / "static"
_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # stricter would make browsers post our own form with `Origin: null`
}


def app(desk: Callable[[], Desk], hosts: Sequence[str] = ()) -> Starlette:
    """`desk` is asked anew for each request: the service is built when the first one needs it.

    `hosts`: the names under which a service on somebody's own machine is asked for; empty where the platform in front
    of it sees to that.
    """

    async def health(_request: Request) -> Response:
        status, body = api.health(desk().loaded)
        return api.answer(body, 503 if status == "red" else 200)

    async def list_events(request: Request) -> Response:
        page = await api.page(desk().world.store, asked.search(request.query_params, desk().settings.bounds.page))
        events = [api.brief(one) for one in page.events]
        return api.answer({"events": events, "next": page.following("/api/events")})

    async def one_event(request: Request) -> Response:
        world, (record, intents) = desk().world, await whole_of(desk(), request)
        ack, followed = await book.acknowledged(world.shelf, record.id), await follow.accounts(world, intents)
        dead = await book.dead_letter(world.shelf, record.id)
        return api.answer(api.full(record, intents, ack, followed, dead))

    async def chain_of(request: Request) -> Response:
        found = await chain.read(desk().world, await asked_for(desk(), request))
        return api.answer(chains.told(found) if found else {"events": 1, "more": False, "chain": None})

    async def replay_event(request: Request) -> Response:
        asked.own(request, silent=False)
        record = await asked_for(desk(), request)
        await _replay(desk(), request, record)
        here = f"/api/events/{record.id}"
        return api.answer({"id": record.id, "status": "accepted", "event": here}, 202, {"Location": here})

    async def events_page(request: Request) -> Response:
        return await console.events(desk(), request)

    async def event_page(request: Request) -> Response:
        return await console.event(desk(), request, *await whole_of(desk(), request))

    async def replay_form(request: Request) -> Response:
        asked.own(request, silent=True)
        record = await asked_for(desk(), request)
        await _replay(desk(), request, record)
        return RedirectResponse(f"/events/{record.id}?replayed=1", 303)

    async def trouble(request: Request, error: Exception) -> Response:
        return _trouble(request, error)

    return Starlette(
        routes=[
            Route("/api/health", health),
            *silences.routes(desk),
            Route("/api/events", list_events),
            Route("/api/events/{id:path}/replay", replay_event, methods=["POST"]),
            Route("/api/events/{id:path}/chain", chain_of),
            Route("/api/events/{id:path}", one_event),
            Route("/", events_page),
            Route("/events/{id:path}/replay", replay_form, methods=["POST"]),
            rollouts.event_chart(desk),
            Route("/events/{id:path}", event_page),
            *kept.routes(desk),
            *quality.routes(desk),
            *rollouts.routes(desk),
            Route("/static/{name}", _static),
        ],
        middleware=[
            Middleware(_Guarded),
            *([Middleware(_Named, hosts)] if hosts else []),
            Middleware(SignedIn, desk, _trouble),
        ],
        exception_handlers=dict.fromkeys((HTTPException, Unclear, TemporaryError, Exception), trouble),
    )


@cache
def _files() -> dict[str, tuple[bytes, str]]:
    """Two small files, kept in memory: no thread and no open file is needed to answer with one."""
    kinds = {".css": "text/css", ".svg": "image/svg+xml"}
    return {path.name: (path.read_bytes(), kinds[path.suffix]) for path in _STATIC.iterdir()}


async def _static(request: Request) -> Response:
    found = _files().get(request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    return Response(found[0], headers={"Cache-Control": "max-age=86400"}, media_type=found[1])


async def _replay(desk: Desk, request: Request, record: EventRecord) -> None:
    me = who(request)
    try:
        await desk.replay(record.id)
        log.info("replayed", extra={"record": record.id, "by": me.name if me else ""})
    except PermanentError as error:
        raise HTTPException(409, str(error)) from error


def _trouble(request: Request, error: Exception) -> Response:
    """An error as its reader wants it: problem+json below /api, a page elsewhere."""
    path = request.url.path
    headers: dict[str, str] = {}
    match error:
        case HTTPException():
            status, detail = error.status_code, error.detail
            headers = dict(error.headers or {})
        case Unclear():
            status, detail = 400, str(error)
        case TemporaryError():
            status, detail = 503, "the records are out of reach for the moment: try again"
            headers = {"Retry-After": str(round(error.retry_after or 5))}
        case _:
            status, detail = 500, "the service failed to answer; its log says why"
            headers = dict(_HEADERS)  # this answer is made outside the middleware
    if status == 404 and detail == "Not Found":  # noqa: PLR2004 (HTTP)
        detail = f"nothing is at {path}"
    if status == 405 and detail == "Method Not Allowed":  # noqa: PLR2004 (HTTP)
        detail = f"{path} does not take {request.method}; it takes {' or '.join(sorted(headers['Allow'].split(', ')))}"
    if path == "/api" or path.startswith("/api/"):
        return api.problem(status, detail, error.wrong if isinstance(error, Unclear) else (), headers)
    if isinstance(error, Refused):
        detail = console.words_for(request)(error.key, **error.values)
    return console.refusal(request, status, detail, headers)


class _Guarded:
    """Puts the same protective headers on every answer that has none of its own."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = list(message.get("headers", []))
                named = {name for name, _ in own}  # an answer may be stricter than the rest
                added = [
                    (name.encode(), value.encode()) for name, value in _HEADERS.items() if name.encode() not in named
                ]
                message = {**message, "headers": [*own, *added]}
            await send(message)

        await self._inner(scope, receive, guarded)


class _Named:
    """Answers to its own names only. Any site can point a name of its own at this machine (DNS rebinding) and would then
    be the same origin to a browser: the Host header still tells.
    """

    def __init__(self, inner: ASGIApp, hosts: Sequence[str]) -> None:
        self._inner = inner
        self._hosts = sorted({host.lower() for host in hosts})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and asked.host(Headers(scope=scope)) not in self._hosts:
            known = ", ".join(self._hosts)
            detail = (
                f"this service answers to {known}: ask it by one of these, or set SWITCHYARD_PUBLIC_URL to its address"
            )
            await api.problem(400, detail)(scope, receive, send)
            return
        await self._inner(scope, receive, send)

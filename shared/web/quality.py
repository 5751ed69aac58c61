"""The doors to model quality: how every watched model stands, windows looked at on demand, and the page with its pictures.

`GET /api/quality` answers {"quality": [model…]}, `GET /api/quality/{name}` one of them with its `looks`, oldest first:

    name, model, version, endpoint, workspace
    verdict      of the newest look: healthy | degraded | not enough | unknown; null before the first
    why          in words, where there is something to say
    trouble      {since, why, told}: since when nobody knows how good it is; null while somebody does
    noticed_within  seconds in which a model that gets clearly worse is told of
    window       {id, start, end}; null before the first look
    measured     by metric: {value, low, high, n, start, end}, against the truth
    estimated    likewise, of the newest window, by the scores alone
    reference    by metric, what the training run logged
    labels       by day, how many truths came
    findings     [{metric, cohort, value, low, high, n, limit, reference, breached}] of the newest look

`POST /api/quality/{name}/run` looks at what is due (with {"at": time}: at the newest window that was due then) and answers {"looked": [look…], "standing": model}. `GET
/api/quality/{name}/windows?since=&until=` names the windows of a time that are due; `POST /api/quality/{name}/windows/{window}`
with {"tell": false} looks at one of them as it can be seen now.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared import measure, pictures
from shared.errors import PermanentError, TemporaryError
from shared.quality.judge import Look
from shared.quality.watch import Watch
from shared.quality.windows import Window, before, between, due_at, window_of
from shared.rollout.hours import seconds
from shared.web import api, asked, console
from shared.web.asked import Unclear, Wrong
from shared.web.desk import Desk
from shared.web.rollouts import chart

_ID: Final = "%Y%m%dT%H%M"
_MOST: Final = 1000
"""Windows that are named at once."""


def routes(desk: Callable[[], Desk]) -> Sequence[Route]:
    async def all_of_them(_request: Request) -> Response:
        return api.answer({"quality": [await _standing(desk(), watch) for watch in _watches(desk())]})

    async def one(request: Request) -> Response:
        watch = _watch(desk(), request)
        seen = await measure.looks(desk().world.shelf, watch, desk().world.clock())
        return api.answer(await _standing(desk(), watch) | {"looks": [_look(look) for look in seen]})

    async def run(request: Request) -> Response:
        asked.own(request, silent=False)
        watch, said = _watch(desk(), request), await asked.said(request, desk())
        if said.get("at"):
            looked = [await _measured(measure.past(desk().world, watch, _at(watch, said["at"])))]
        else:
            looked = await _measured(measure.measure(desk().world, watch))
        return api.answer({"looked": [_look(look) for look in looked], "standing": await _standing(desk(), watch)})

    async def windows(request: Request) -> Response:
        watch, now = _watch(desk(), request), desk().world.clock()
        since, until = (_when(request, name, now) for name in ("since", "until"))
        if (until - since) / watch.length > _MOST:
            raise HTTPException(400, f"more than {_MOST:,} windows: choose a shorter time")
        found = between(watch, since, min(until, now))
        return api.answer({"windows": [{"id": one.id, "start": one.start, "end": one.end} for one in found]})

    async def window(request: Request) -> Response:
        asked.own(request, silent=False)
        watch, said = _watch(desk(), request), await asked.said(request, desk())
        asked_for = request.path_params["window"]
        try:
            found = window_of(watch, datetime.strptime(asked_for, _ID).replace(tzinfo=UTC))
        except ValueError as error:
            raise HTTPException(404, f"{asked_for!r} is no window: expected one such as 20261120T1500") from error
        if found.id != asked_for:
            raise HTTPException(404, f"no window of {watch.name} begins then; the one around it is {found.id}")
        look = await _measured(measure.past(desk().world, watch, found, tell=said.get("tell") is True))
        return api.answer(_look(look))

    async def page(request: Request) -> Response:
        models = [await _shown(desk(), watch) for watch in _watches(desk())]
        return console.quality(desk(), request, models)

    async def picture(request: Request) -> Response:
        return chart(request, {"chart": await _charts(desk(), _watch(desk(), request))})

    return [
        Route("/api/quality", all_of_them),
        Route("/api/quality/{name}", one),
        Route("/api/quality/{name}/run", run, methods=["POST"]),
        Route("/api/quality/{name}/windows", windows),
        Route("/api/quality/{name}/windows/{window}", window, methods=["POST"]),
        Route("/quality", page),
        Route("/quality/{name}/chart.svg", picture),
    ]


def _watches(desk: Desk) -> Sequence[Watch]:
    return list(desk.loaded.quality.values())


def _watch(desk: Desk, request: Request) -> Watch:
    name, known = request.path_params["name"], desk.loaded.quality
    if name not in known:
        raise HTTPException(404, f"no watch {name!r} is in force; known: {', '.join(known) or 'none'}")
    return known[name]


def _when(request: Request, name: str, now: datetime) -> datetime:
    """A time, or how long ago by the service's own clock; now where nothing is said."""
    text = request.query_params.get(name)
    if not text:
        return now
    length = seconds(text)
    if length is not None:
        return now - timedelta(seconds=length)
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))  # a bare + in a query means a space
    except ValueError as error:
        said = "expected an RFC 3339 time, or how long ago, such as 30d"
        raise Unclear([Wrong(name, f"{name} is {text!r}, {said}")]) from error
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _at(watch: Watch, moment: object) -> Window:
    """The newest window that was due then."""
    try:
        at = datetime.fromisoformat(str(moment)).astimezone(UTC)
    except ValueError as error:
        raise Unclear([Wrong("at", f"at is {moment!r}, expected an RFC 3339 time")]) from error
    return next(window for window in before(watch, at) if due_at(watch, window) <= at)


async def _measured[T](work: Awaitable[T]) -> T:
    """What it gives; what can't be read is said in its own words."""
    try:
        found = await work
    except PermanentError as error:
        raise HTTPException(409, str(error)) from error
    except TemporaryError as error:
        raise HTTPException(503, str(error)) from error
    return found


async def _standing(desk: Desk, watch: Watch) -> dict[str, object]:
    shelf = desk.world.shelf
    found, trouble = await measure.standing(shelf, watch.name), await measure.trouble(shelf, watch.name)
    seen = await measure.looks(shelf, watch, desk.world.clock(), 3)
    newest = seen[-1] if seen else None
    return {
        "name": watch.name,
        "model": watch.model,
        "version": found.version if found else "",
        "endpoint": watch.endpoint,
        "workspace": watch.where.workspace,
        "verdict": newest.verdict if newest else None,
        "why": newest.why if newest else "",
        "trouble": trouble and {"since": trouble.since, "why": trouble.why, "told": trouble.told},
        "noticed_within": watch.noticed_within,
        "window": newest and {"id": newest.window, "start": newest.start, "end": newest.end},
        "measured": {name: _plain(one) for name, one in found.measured.items()} if found else {},
        "estimated": {name: _plain(one) for name, one in found.estimated.items()} if found else {},
        "reference": found.reference if found else {},
        "labels": found.labels if found else {},
        "findings": [_plain(one) for one in newest.findings] if newest else [],
    }


def _look(look: Look) -> dict[str, object]:
    return _plain(look) | {"findings": [_plain(one) for one in look.findings]}


def _plain(value: msgspec.Struct) -> dict[str, Any]:
    """With defaults written out: readers of JSON need not know them."""
    return {name: getattr(value, name) for name in value.__struct_fields__}


async def _shown(desk: Desk, watch: Watch) -> dict[str, Any]:
    """One model on the page."""
    seen = await measure.looks(desk.world.shelf, watch, desk.world.clock(), 3)
    drawn = pictures.charts({"chart": await _charts(desk, watch)})
    return await _standing(desk, watch) | {
        "newest": seen[-1] if seen else None,
        "written": measure.written(watch, seen[-1]) if seen else "",
        "charts": drawn,
    }


async def _charts(desk: Desk, watch: Watch) -> list[dict[str, object]]:
    """Of every metric with a limit; of a cohort, where it is beyond its own."""
    seen = await measure.looks(desk.world.shelf, watch, desk.world.clock())
    newest = next((look for look in reversed(seen) if look.findings), None)
    findings = newest.findings if newest else ()
    return [
        measure.chart(watch, one, seen)
        for one in findings
        if one.breached or (one.limit is not None and not one.cohort)
    ]

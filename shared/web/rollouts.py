"""The doors to rollouts and freezes: the API, the pages, what people say, and the page behind an approval link."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from shared import book, links, pictures
from shared.errors import PermanentError
from shared.pictures import svg
from shared.rollout.record import Freeze, Verb
from shared.web import api, asked, console, plot, story
from shared.web.asked import Spoken, Unclear, Wrong
from shared.web.desk import Desk
from shared.web.signed import APPROVER, OPERATOR, allow
from shared.web.silences import asked_for
from shared.web.story import Story

VERBS: Final[tuple[Verb, ...]] = ("approve", "reject", "abort", "override")
"""What people may say. (`replace` and `next` are between rollouts.)"""

_DRAWN: Final = {
    "Cache-Control": "no-store",
    # Its style sheet is within it, for whoever opens it alone; nothing else is let in.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox",
}


def routes(desk: Callable[[], Desk]) -> Sequence[Route]:
    return [*_api(desk), *_pages(desk), *_behind_links(desk)]


def _api(desk: Callable[[], Desk]) -> Sequence[Route]:
    async def list_rollouts(request: Request) -> Response:
        limit, after = asked.listing(request.query_params, desk().settings.bounds.page)
        heads, following = await api.rollouts(desk().world.shelf, limit, after, "/api/rollouts")
        return api.answer({"rollouts": [api.short(head) for head in heads], "next": following})

    async def one_rollout(request: Request) -> Response:
        return api.answer(api.told(await _story(desk(), request)))

    async def say(request: Request) -> Response:
        asked.own(request, silent=False)
        verb = _verb(request, request.path_params["verb"])
        told = await _story(desk(), request)
        said = await asked.said(request, desk())
        via = "command line" if said.get("via") == "command line" else "API"
        spoken = asked.spoken(said)
        await _say(desk(), told, verb, spoken, via)
        here = f"/api/rollouts/{told.about.id}"
        body = {"id": told.about.id, "verb": verb, "by": spoken.by, "status": "accepted", "rollout": here}
        return api.answer(body, 202, {"Location": here})

    async def list_freezes(request: Request) -> Response:
        world = desk().world
        ended = request.query_params.get("all") == "1"
        found = await (book.all_freezes(world.shelf) if ended else book.freezes(world.shelf, world.clock()))
        return api.answer({"freezes": [api.freeze(one) for one in found]})

    async def add_freeze(request: Request) -> Response:
        asked.own(request, silent=False)
        new = await _freeze(desk(), request)
        return api.answer(api.freeze(new), 201, {"Location": f"/api/freezes/{new.id}"})

    async def lift_freeze(request: Request) -> Response:
        asked.own(request, silent=False)
        return api.answer(api.freeze(await _lift(desk(), request, asked.by(request))))

    return [
        Route("/api/rollouts", list_rollouts),
        Route("/api/rollouts/{id}", one_rollout),
        Route("/api/rollouts/{id}/{verb}", say, methods=["POST"]),
        Route("/api/freezes", list_freezes, methods=["GET"]),
        Route("/api/freezes", add_freeze, methods=["POST"]),
        Route("/api/freezes/{id}", lift_freeze, methods=["DELETE"]),
    ]


def _pages(desk: Callable[[], Desk]) -> Sequence[Route]:
    async def rollouts_page(request: Request) -> Response:
        return await console.rollouts(desk(), request)

    async def rollout_page(request: Request) -> Response:
        return await console.rollout(desk(), request, await _story(desk(), request))

    async def rollout_plot(request: Request) -> Response:
        return _drawn(request, await _story(desk(), request))

    async def rollout_chart(request: Request) -> Response:
        return chart(request, (await _story(desk(), request)).scorecard)

    async def say_form(request: Request) -> Response:
        asked.own(request, silent=True)
        told = await _story(desk(), request)
        said = await asked.said(request, desk())
        await _say(desk(), told, _verb(request, said.get("verb")), asked.spoken(said), "console")
        return RedirectResponse(f"/rollouts/{told.about.id}?said=1", 303)

    async def freezes_page(request: Request) -> Response:
        return await console.freezes(desk(), request)

    async def freeze_form(request: Request) -> Response:
        asked.own(request, silent=True)
        await _freeze(desk(), request)
        return RedirectResponse("/freezes?done=added", 303)

    async def lift_form(request: Request) -> Response:
        asked.own(request, silent=True)
        await _lift(desk(), request, str((await asked.said(request, desk())).get("by") or ""))
        return RedirectResponse("/freezes?done=lifted", 303)

    return [
        Route("/rollouts", rollouts_page),
        Route("/rollouts/{id}", rollout_page),
        Route("/rollouts/{id}/plot.svg", rollout_plot),
        Route("/rollouts/{id}/chart.svg", rollout_chart),
        Route("/rollouts/{id}/say", say_form, methods=["POST"]),
        Route("/freezes", freezes_page, methods=["GET"]),
        Route("/freezes", freeze_form, methods=["POST"]),
        Route("/freezes/{id}/lift", lift_form, methods=["POST"]),
    ]


def _behind_links(desk: Callable[[], Desk]) -> Sequence[Route]:
    """No key but the link itself; and looking at the page decides nothing, for mail scanners open every link."""

    async def approve_page(request: Request) -> Response:
        found = await _linked(desk(), request)
        if found is None:
            return console.no_link(request, console.PRIVATE)
        link, told = found
        return console.approve(request, link, told, 200, console.PRIVATE)

    async def approve_form(request: Request) -> Response:
        # Whoever has the link could answer without anybody's browser, but where people sign in not in somebody else's name.
        asked.own(request, silent=False)
        found = await _linked(desk(), request)
        if found is None:
            return console.no_link(request, console.PRIVATE)
        allow(request, APPROVER)
        link, told = found
        said = await asked.said(request, desk())
        spoken = asked.spoken(said)
        verb = next((one for one in VERBS[:2] if one == said.get("answer")), None)
        if verb is None:
            raise Unclear([Wrong("answer", f"answer is {said.get('answer')!r}, expected {' or '.join(VERBS[:2])}")])
        try:
            await desk().say(link.rollout, verb, spoken.by, spoken.reason, f"link to {link.to}", ask=link.ask)
        except PermanentError:
            found = await _linked(desk(), request)
            return console.approve(request, link, found[1] if found else told, 409, console.PRIVATE)
        return RedirectResponse(f"{request.url.path}?said=1", 303, console.PRIVATE)

    async def approve_plot(request: Request) -> Response:
        found = await _linked(desk(), request)
        if found is None:
            raise HTTPException(404)
        return _drawn(request, found[1], console.PRIVATE)

    async def approve_chart(request: Request) -> Response:
        found = await _linked(desk(), request)
        if found is None:
            raise HTTPException(404)
        return chart(request, found[1].scorecard, console.PRIVATE)

    return [
        Route("/approve/{token}", approve_page, methods=["GET"]),
        Route("/approve/{token}", approve_form, methods=["POST"]),
        Route("/approve/{token}/plot.svg", approve_plot),
        Route("/approve/{token}/chart.svg", approve_chart),
    ]


def _verb(request: Request, text: object) -> Verb:
    """Deciding is for approvers; stopping is for whoever operates the service too."""
    verb = next((one for one in VERBS if one == text), None)
    if verb is None:
        raise HTTPException(404, f"{text!r} cannot be said to a rollout: {', '.join(VERBS)} can")
    allow(request, *((OPERATOR, APPROVER) if verb == "abort" else (APPROVER,)))
    return verb


async def _story(desk: Desk, request: Request) -> Story:
    id_ = request.path_params["id"]
    found = await story.read(desk.world, id_)
    if found is None:
        raise HTTPException(404, f"no rollout has the id {id_!r}")
    return found


async def _say(desk: Desk, told: Story, verb: Verb, spoken: Spoken, via: str) -> None:
    try:
        await desk.say(told.about.id, verb, spoken.by, spoken.reason, via, ask=spoken.ask)
    except PermanentError as error:
        raise HTTPException(409, str(error)) from error


async def _freeze(desk: Desk, request: Request) -> Freeze:
    said = await asked.said(request, desk)
    new = asked.freeze(said, desk.world.clock(), await console.endpoints(desk), desk.settings.bounds.silence_days)
    await book.freeze(desk.world.shelf, new)
    return new


async def _lift(desk: Desk, request: Request, by: str) -> Freeze:
    try:
        return await book.lift(desk.world.shelf, request.path_params["id"], by.strip()[:100], desk.world.clock())
    except PermanentError as error:
        raise HTTPException(404, str(error)) from error


def event_chart(desk: Callable[[], Desk]) -> Route:
    async def drawn(request: Request) -> Response:
        event = (await asked_for(desk(), request)).event
        return chart(request, event.data if event else {})

    return Route("/events/{id:path}/chart.svg", drawn)


def chart(request: Request, data: Mapping[str, object], headers: dict[str, str] | None = None) -> Response:
    """The picture `n` of what an event's data, or the scorecard of a rollout, says."""
    found, asked_for = pictures.charts(data), request.query_params.get("n", "0")
    if not (asked_for.isascii() and asked_for.isdecimal() and int(asked_for[:4]) < len(found)):
        raise HTTPException(404, "there is no such picture")
    width = plot.NARROW if "narrow" in request.query_params else plot.WIDE
    drawn = svg.draw(found[int(asked_for[:4])], console.words_for(request).language, width)
    return Response(drawn, headers={**_DRAWN, **(headers or {})}, media_type="image/svg+xml")


def _drawn(request: Request, told: Story, headers: dict[str, str] | None = None) -> Response:
    width = plot.NARROW if "narrow" in request.query_params else plot.WIDE
    picture = plot.draw(told.about, told.steps, console.words_for(request), width)
    if picture is None:
        raise HTTPException(404, "nothing was measured yet")
    return Response(picture, headers={**_DRAWN, **(headers or {})}, media_type="image/svg+xml")


async def _linked(desk: Desk, request: Request) -> tuple[links.Approval, Story] | None:
    """What the link gives leave to, if it is ours and still good."""
    try:
        link = links.read(desk.settings.signing_key, request.path_params["token"], desk.world.clock(), links.Approval)
    except PermanentError:
        return None
    told = await story.read(desk.world, link.rollout)
    return None if told is None else (link, told)

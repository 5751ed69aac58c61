"""The doors to silences and acknowledgements: the API, the pages, and the page behind the link of a message."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from shared import book, links
from shared.errors import PermanentError
from shared.record import Ack, EventRecord, Facts, IntentRecord, Resolution, Silence
from shared.web import api, asked, console
from shared.web.asked import Unclear, Wrong
from shared.web.desk import Desk
from shared.world import Search, World

if TYPE_CHECKING:
    from shared.rules.troubles import Trouble

_DAY: Final = timedelta(days=1)
_PAGE: Final = 500
_PAGES: Final = 20
"""So many pages of events are looked through for a preview."""

_EXAMPLES: Final = 5
_ANSWERS: Final = ("acknowledge", "mute")
_AGAIN: Final = 100
"""So often one event may be muted again, after its silence has ended."""


def routes(desk: Callable[[], Desk]) -> Sequence[Route]:
    return [*_api(desk), *_pages(desk), *_behind_links(desk)]


def _api(desk: Callable[[], Desk]) -> Sequence[Route]:
    async def list_silences(request: Request) -> Response:
        world = desk().world
        over = request.query_params.get("all") == "1"
        found = await (book.all_silences(world.shelf) if over else book.silences(world.shelf, world.clock()))
        return api.answer({"silences": [await _told(world, one) for one in found]})

    async def one_silence(request: Request) -> Response:
        world = desk().world
        found = await book.silence(world.shelf, request.path_params["id"])
        if found is None:
            raise HTTPException(404, f"there is no silence {request.path_params['id']!r}")
        return api.answer(await _told(world, found))

    async def add(request: Request) -> Response:
        asked.own(request, silent=False)
        world = desk().world
        new = await book.add_silence(
            world.shelf,
            asked.silence(
                await asked.said(request, desk()),
                world.clock(),
                desk().settings.bounds.silence_days,
            ),
        )
        return api.answer(await _told(world, new), 201, {"Location": f"/api/silences/{new.id}"})

    async def look_ahead(request: Request) -> Response:
        return api.answer((await _look_ahead(desk().world, await asked.said(request, desk()))).told)

    async def expire(request: Request) -> Response:
        asked.own(request, silent=False)
        ended = await _expire(desk(), request, asked.by(request))
        return api.answer(await _told(desk().world, ended))

    async def comment(request: Request) -> Response:
        asked.own(request, silent=False)
        return api.answer(await _told(desk().world, await _comment(desk(), request)), 201)

    async def acknowledge(request: Request) -> Response:
        asked.own(request, silent=False)
        record = await asked_for(desk(), request)
        said = await asked.said(request, desk())
        via = "command line" if said.get("via") == "command line" else "API"
        new, mute = asked.acknowledgement(said, desk().world.clock(), via)
        seen = await see_to(desk().world, record, new, mute=mute)
        if not (seen.first or mute):
            raise HTTPException(409, seen.by_whom)
        return api.answer(await _seen(desk().world, record, seen))

    return [
        Route("/api/events/{id:path}/acknowledge", acknowledge, methods=["POST"]),
        Route("/api/silences", list_silences, methods=["GET"]),
        Route("/api/silences", add, methods=["POST"]),
        Route("/api/silences/preview", look_ahead, methods=["POST"]),
        Route("/api/silences/{id}", one_silence, methods=["GET"]),
        Route("/api/silences/{id}", expire, methods=["DELETE"]),
        Route("/api/silences/{id}/comments", comment, methods=["POST"]),
    ]


def _pages(desk: Callable[[], Desk]) -> Sequence[Route]:
    async def page(request: Request) -> Response:
        return await console.silences(desk(), request)

    async def add_form(request: Request) -> Response:
        asked.own(request, silent=True)
        world, said = desk().world, await asked.said(request, desk())
        try:
            if said.get("what") == "preview":
                seen = await _look_ahead(world, said)
                return await console.silences(desk(), request, said, preview=seen)
            new = asked.silence(said, world.clock(), desk().settings.bounds.silence_days)
        except Unclear as error:
            return await console.silences(desk(), request, said, wrong=error.wrong)
        await book.add_silence(world.shelf, new)
        return RedirectResponse("/silences?done=added", 303)

    async def expire_form(request: Request) -> Response:
        asked.own(request, silent=True)
        await _expire(desk(), request, str((await asked.said(request, desk())).get("by") or ""))
        return RedirectResponse("/silences?done=expired", 303)

    async def comment_form(request: Request) -> Response:
        asked.own(request, silent=True)
        await _comment(desk(), request)
        return RedirectResponse("/silences?done=commented", 303)

    async def acknowledge_form(request: Request) -> Response:
        asked.own(request, silent=True)
        record = await asked_for(desk(), request)
        new, mute = _answer(await asked.said(request, desk()), desk().world.clock(), "console")
        await see_to(desk().world, record, new, mute=mute)
        return RedirectResponse(f"/events/{record.id}?seen=1#seen", 303)

    return [
        Route("/silences", page, methods=["GET"]),
        Route("/silences", add_form, methods=["POST"]),
        Route("/silences/{id}/expire", expire_form, methods=["POST"]),
        Route("/silences/{id}/comments", comment_form, methods=["POST"]),
        Route("/events/{id:path}/acknowledge", acknowledge_form, methods=["POST"]),
    ]


def _behind_links(desk: Callable[[], Desk]) -> Sequence[Route]:
    """No key but the link itself; and looking at the page says nothing, for mail scanners open every link."""

    async def page(request: Request) -> Response:
        found = await _linked(desk(), request)
        if found is None:
            return console.no_link(request, console.PRIVATE)
        return await console.acknowledge(desk(), request, *found)

    async def form(request: Request) -> Response:
        asked.own(request, silent=False)
        found = await _linked(desk(), request)
        if found is None:
            return console.no_link(request, console.PRIVATE)
        link, record = found
        via = f"link to {link.to}" if link.to else "link"
        new, mute = _answer(await asked.said(request, desk()), desk().world.clock(), via)
        await see_to(desk().world, record, new, mute=mute)
        return RedirectResponse(f"{request.url.path}?said=1", 303, console.PRIVATE)

    return [
        Route("/acknowledge/{token}", page, methods=["GET"]),
        Route("/acknowledge/{token}", form, methods=["POST"]),
    ]


async def asked_for(desk: Desk, request: Request) -> EventRecord:
    """The record of the event that the address names."""
    name = request.path_params["id"]
    record = await desk.world.store.event(name)
    if record is None:
        raise _missing(name)
    return record


async def whole_of(desk: Desk, request: Request) -> tuple[EventRecord, list[IntentRecord]]:
    """The same with its intents."""
    name = request.path_params["id"]
    found = await desk.world.store.whole(name)
    if found is None:
        raise _missing(name)
    return found


def _missing(name: str) -> HTTPException:
    return HTTPException(404, f"no event has the id {name!r}: it never arrived, or its record is past its age")


async def _linked(desk: Desk, request: Request) -> tuple[links.Acknowledgement, EventRecord] | None:
    """What the link gives leave to, if it is ours and still good."""
    key, token = desk.settings.signing_key, request.path_params["token"]
    try:
        link = links.read(key, token, desk.world.clock(), links.Acknowledgement)
    except PermanentError:
        return None
    record = await desk.world.store.event(link.record)
    return None if record is None else (link, record)


# Silences


async def _told(world: World, one: Silence) -> Mapping[str, object]:
    return api.silence(one, await book.held_back(world.shelf, one.id))


async def _expire(desk: Desk, request: Request, by: str) -> Silence:
    try:
        return await book.expire(
            desk.world.shelf, request.path_params["id"], " ".join(by.split())[:100], desk.world.clock()
        )
    except PermanentError as error:
        raise HTTPException(404, str(error)) from error


async def _comment(desk: Desk, request: Request) -> Silence:
    new = asked.comment(await asked.said(request, desk), desk.world.clock())
    try:
        return await book.comment(desk.world.shelf, request.path_params["id"], new)
    except PermanentError as error:
        raise HTTPException(404 if "there is no" in str(error) else 409, str(error)) from error


@dataclass(frozen=True)
class Preview:
    """What a silence would have held back of the last day. `complete`: all of the day was looked through."""

    notifications: int
    examples: Sequence[Mapping[str, str]]
    held_back: int
    complete: bool

    @property
    def told(self) -> dict[str, object]:
        return {
            "hours": 24,
            "notifications": self.notifications,
            "held_back": self.held_back,
            "complete": self.complete,
            "examples": self.examples,
        }


async def _look_ahead(world: World, said: Mapping[str, object]) -> Preview:
    wrong: list[Wrong] = []
    matchers = asked.matchers(said, wrong)
    if wrong:
        raise Unclear(wrong)
    return await preview(world, matchers)


async def preview(world: World, matchers: dict[str, object]) -> Preview:
    from shared.rules.silences import is_notification, silencing

    now = world.clock()
    one = Silence("", matchers, "", "", now, now + _DAY)
    asked_for_ = held = 0
    examples: list[Mapping[str, str]] = []
    search = Search(_PAGE, since=now - _DAY)
    for _ in range(_PAGES):
        records = await world.store.events(search)
        intents = await world.store.intents([record.id for record in records])
        for record in records:
            for each in intents[record.id]:
                if record.event is None or not is_notification(each.intent):
                    continue
                asked_for_ += 1
                if silencing([one], each.intent, record.event, record.facts or Facts(), now):
                    held += 1
                    terms = each.intent.terms
                    about = {"record": record.id, "type": record.event.type, "rule": each.intent.rule}
                    examples += [about | {"receiver": terms.receiver if terms else ""}][: _EXAMPLES - len(examples)]
        if len(records) < _PAGE:
            return Preview(asked_for_, examples, held, complete=True)
        search = replace(search, before=(records[-1].received, records[-1].id))
    return Preview(asked_for_, examples, held, complete=False)


# Acknowledgements


@dataclass(frozen=True)
class Seen:
    """Who saw an event. `first`: it was this word that counts; `silence`: what mutes it; `over`: what had ended the trouble
    before, so that there is nothing to mute.
    """

    ack: Ack
    first: bool
    silence: Silence | None = None
    over: EventRecord | None = None

    @property
    def by_whom(self) -> str:
        return f"acknowledged already, by {self.ack.by} at {self.ack.at:%Y-%m-%d %H:%M} UTC"


async def see_to(world: World, record: EventRecord, new: Ack, *, mute: bool) -> Seen:
    """Puts down who sees to it; the first one counts. Whoever comes later may still mute it."""
    trouble = _mutable(record) if mute else None
    kept = await book.acknowledge(world.shelf, record.id, new)
    if trouble is None:
        return Seen(kept, kept == new)
    over = await _ended(world, record, trouble)
    silence = None if over else await _mute(world, record, trouble, new)
    return Seen(kept, kept == new, silence, over)


def _answer(said: Mapping[str, object], now: datetime, via: str) -> tuple[Ack, bool]:
    """What the button of a form says."""
    answer = said.get("answer")
    if answer not in _ANSWERS:
        raise Unclear([Wrong("answer", f"answer is {answer!r}, expected {' or '.join(_ANSWERS)}")])
    return asked.acknowledgement({**said, "mute": answer == "mute"}, now, via)


def _mutable(record: EventRecord) -> "Trouble":
    from shared.rules.troubles import muted_of

    trouble = muted_of(record)
    if trouble is None:
        raise HTTPException(409, "no rule tells anybody of this event: there is nothing to mute")
    return trouble


async def _mute(world: World, record: EventRecord, trouble: "Trouble", ack: Ack) -> Silence:
    from shared.rules.troubles import MUTED

    assert record.event is not None
    now = world.clock()
    resolves = trouble.resolves and Resolution(trouble.resolves, record.event.time - trouble.since)
    reason = ack.reason or f"muted: {trouble.what_in('en')}"
    first = book.silence_id(record.received, record.id)
    for id_ in (first, *(f"{first}-{n}" for n in range(2, _AGAIN))):
        old = await book.silence(world.shelf, id_)
        if old is None or old.in_force(now):
            new = Silence(
                id_, trouble.matchers, ack.by, reason, now, now + MUTED, record=record.id, resolves=resolves or None
            )
            return await book.add_silence(world.shelf, new)
    raise HTTPException(409, "this event was muted a hundred times: add a silence of your own")


async def _ended(world: World, record: EventRecord, trouble: "Trouble") -> EventRecord | None:
    """What has ended the trouble before anybody muted it: no other end would come."""
    from shared.rules.silences import resolved_by

    if not trouble.resolves or record.event is None:
        return None
    now = world.clock()
    resolves = Resolution(trouble.resolves, record.event.time - trouble.since)
    one = Silence("", trouble.matchers, "", "", now, now, resolves=resolves)
    types = trouble.resolves["type"]
    for type_ in types if isinstance(types, list) else [str(types)]:
        for found in await world.store.events(Search(_PAGE, type=type_, since=record.received)):
            if found.event is not None and resolved_by([one], found.event):
                return found
    return None


async def _seen(world: World, record: EventRecord, seen: Seen) -> Mapping[str, object]:
    return {
        "id": record.id,
        "acknowledged": api.whole(seen.ack),
        "first": seen.first,
        "silence": seen.silence and await _told(world, seen.silence),
        "over": seen.over and seen.over.id,
    }

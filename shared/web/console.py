"""The pages, rendered on the server. Jinja2 is imported with the first page, so that intake never pays for it."""

import base64
import binascii
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from shared import book, chain, follow, pictures
from shared.events import OWN, TYPES, Event
from shared.links import Acknowledgement, Approval
from shared.messages import formats
from shared.record import Checked, EventRecord, Facts, IntentRecord, Listed, Silence, Verdict, matched
from shared.rollout import words as rollout_words
from shared.rollout.record import Head, Status
from shared.web import api, asked, chains, plot
from shared.web.about import about
from shared.web.desk import Desk
from shared.web.signed import SIGN_OUT, who
from shared.web.story import Story, deed, others, outcome
from shared.web.words import LANGUAGES, WORDS, Words, chosen
from shared.world import Shelf

if TYPE_CHECKING:
    from jinja2 import Environment

    from shared.rules.explain import Explanation
    from shared.rules.load import Loaded

_HERE: Final = Path(__file__).parent
_COOKIE: Final = "language"
_YEAR: Final = 365 * 24 * 3600
_NEAR: Final = 5
_FREEZE: Final = timedelta(hours=4)
"""How long a freeze is, if nobody says otherwise."""

_LATE: Final = 100
"""So many rollouts, newest first, are "of late"."""

_CHIPS: Final[dict[Status, str]] = {
    "waiting": "held",
    "asking": "asks",
    "frozen": "held",
    "held": "warn",
    "keeping": "done",
    "promoted": "done",
    "rolled back": "returned",
    "stuck": "failed",
}
"""How a status looks; all others are at work."""

PRIVATE: Final = {"Referrer-Policy": "same-origin", "X-Robots-Tag": "noindex, nofollow", "Cache-Control": "no-store"}
"""Of a page behind a link: its address is a key, and must not travel on. (Stricter, its form would say `Origin: null`.)"""

_LONGEST: Final = 32_768
"""Characters of what came that a page shows; the API has all of it."""


async def events(desk: Desk, request: Request) -> Response:
    page = await api.page(desk.world.store, asked.search(request.query_params, desk.settings.bounds.page))
    seen = {one.event.type for one in page.events if one.event}
    types = dict.fromkeys([*TYPES, *sorted(seen), *([page.search.type] if page.search.type else [])])
    rows = [_row(one) for one in page.events]
    return _page(
        desk,
        request,
        "events.html",
        days=_by_day(rows),
        search=page.search,
        older=page.following("/"),
        types=types,
        statuses=asked.STATUSES,
    )


async def event(desk: Desk, request: Request, record: EventRecord, intents: Sequence[IntentRecord]) -> Response:
    came, size = _came(record.bytes)
    return _page(
        desk,
        request,
        "event.html",
        record=record,
        event=record.event,
        about=about(record.event),
        run_status=_run_status(record.event),
        notice=_notice(record.event),
        rollout=_rollout(record.event),
        charts=pictures.charts(record.event.data) if record.event else (),
        chapters=_chapters(record, intents),
        earlier=_earlier(record, intents),
        counts=Counter(one.status for one in intents),
        matched=matched(record),
        near=_near(desk.loaded, record),
        came=came,
        size=size,
        replayed="replayed" in request.query_params,
        seen="seen" in request.query_params,
        dead=await book.dead_letter(desk.world.shelf, record.id),
        followed=await follow.accounts(desk.world, intents),
        chain=await _chain(desk, record, record.id),
        **await _seen(desk, record),
    )


async def _chain(desk: Desk, record: EventRecord | None, here: str) -> chains.Drawn | None:
    """What led to an event, and what came of it."""
    found = await chain.read(desk.world, record) if record else None
    return chains.drawn(found, here) if found else None


async def _seen(desk: Desk, record: EventRecord) -> dict[str, Any]:
    """Who sees to an event, and what may be muted with it."""
    from shared.rules.troubles import acknowledgeable, muted_of

    in_force = await book.silences(desk.world.shelf, desk.world.clock())
    return {
        "ack": await book.acknowledged(desk.world.shelf, record.id),
        "silence": next((one for one in in_force if one.record == record.id), None),
        "trouble": muted_of(record),
        "may": acknowledgeable(record),
    }


async def rollouts(desk: Desk, request: Request) -> Response:
    limit, after = asked.listing(request.query_params, desk.settings.bounds.page)
    heads, older = await api.rollouts(desk.world.shelf, limit, after, "/rollouts")
    days: dict[str, list[Head]] = {}
    for head in heads:
        days.setdefault(f"{head.began.astimezone(UTC):%Y-%m-%d}", []).append(head)
    return _page(desk, request, "rollouts.html", days=days, older=older, after=after)


async def rollout(desk: Desk, request: Request, told: Story) -> Response:
    return _page(
        desk,
        request,
        "rollout.html",
        **_told_of(told),
        said="said" in request.query_params,
        chain=await _chain(desk, told.event, told.about.id),
    )


_ENDED: Final = 10
"""Freezes that are over, on the page."""


def quality(desk: Desk, request: Request, models: Sequence[Mapping[str, Any]]) -> Response:
    return _page(desk, request, "quality.html", models=models)


async def freezes(desk: Desk, request: Request) -> Response:
    now = desk.world.clock()
    everything = await book.all_freezes(desk.world.shelf)
    found = book.in_force(everything, now)
    over = [one for one in everything if one not in found][:_ENDED]
    done = request.query_params.get("done")
    done = done if done in {"added", "lifted"} else None
    known = await endpoints(desk)
    return _page(
        desk, request, "freezes.html", freezes=found, over=over, done=done, soon=now + _FREEZE, endpoints=known
    )


@dataclass(frozen=True)
class Hush:
    """A silence with what it asks for in words, and how many messages it held back."""

    silence: Silence
    asks: Sequence[str]
    held_back: int

    @property
    def resolved_by(self) -> str:
        """The record of the event that ended it, where one did."""
        head, found, record = self.silence.expired_by.partition("resolved by event ")
        return record if found and not head else ""


async def silences(
    desk: Desk,
    request: Request,
    given: Mapping[str, object] | None = None,
    *,
    wrong: Sequence[asked.Wrong] = (),
    preview: object = None,
) -> Response:
    """The page; with what a form said where it is shown once more."""
    shelf, now = desk.world.shelf, desk.world.clock()
    found = await book.silences(shelf, now)
    over = [one for one in await book.all_silences(shelf, limit=_SILENCES) if one.until <= now or one.expired]
    done = request.query_params.get("done")
    return _page(
        desk,
        request,
        "silences.html",
        400 if wrong else 200,
        silences=[await _hush(shelf, one) for one in found],
        over=[await _hush(shelf, one) for one in over[:_ENDED]],
        done=done if done in {"added", "expired", "commented"} else None,
        given=given or {},
        wrong=wrong,
        preview=preview,
    )


_SILENCES: Final = 200
"""So many are looked through for those that are over."""


async def _hush(shelf: Shelf, one: Silence) -> Hush:
    from shared.rules.silences import conditions

    return Hush(one, [line.text for line in conditions(one.matchers)], await book.held_back(shelf, one.id))


async def acknowledge(desk: Desk, request: Request, link: Acknowledgement, record: EventRecord) -> Response:
    """The page behind the link of a message. It shows one event and nothing else of the service."""
    job = record.facts.job if record.facts else None
    return _page(
        None,
        request,
        "acknowledge.html",
        200,
        PRIVATE,
        link=link,
        event=record.event,
        about=about(record.event),
        run_status=_run_status(record.event),
        error=formats.short(job.error, 600) if job and job.error else "",
        reason=str(record.event.data.get("reason") or "") if record.event else "",
        said="said" in request.query_params,
        **await _seen(desk, record),
    )


async def endpoints(desk: Desk) -> list[str]:
    """Those that a freeze can be of: they have a policy, or had a rollout of late."""
    heads = await book.heads(desk.world.shelf, limit=_LATE)
    return sorted({policy.endpoint for policy in desk.loaded.policies.values()} | {head.endpoint for _, head in heads})


def approve(request: Request, link: Approval, told: Story, status: int, headers: Mapping[str, str]) -> Response:
    """The page behind an approval link. It shows one rollout and nothing else of the service."""
    return _page(
        None,
        request,
        "approve.html",
        status,
        headers,
        **_told_of(told),
        link=link,
        asked=told.asked(link.ask),
        open=told.question is not None and told.question.n == link.ask,
        answer=told.answer_to(link.ask),
        said="said" in request.query_params,
    )


def no_link(request: Request, headers: Mapping[str, str]) -> Response:
    """For a link that is forged, cut or over: which of them, its holder need not know."""
    words = words_for(request)
    return _page(
        None,
        request,
        "refusal.html",
        403,
        headers,
        heading=words("approve.no"),
        detail=words("approve.no.why"),
        home=False,
    )


def _told_of(told: Story) -> dict[str, Any]:
    drawn = len(plot.shares(told.steps, told.about.deployment)) > 0
    charts = pictures.charts(told.scorecard)
    return {"story": told, "about": told.about, "head": told.head, "drawn": drawn, "charts": charts}


def refusal(request: Request, status: int, detail: str, headers: Mapping[str, str]) -> Response:
    """A page that says no. It shows no state of the service: that may be what failed."""
    words = words_for(request)
    key = f"problem.{status}" if status in {400, 401, 403, 404, 405, 409, 413, 503} else "problem.500"
    return _page(None, request, "refusal.html", status, headers, heading=words(key), detail=detail, home=True)


# --- What the pages show, as values ---


@dataclass(frozen=True)
class Chip:
    """How one kind of action stands; `n` of them."""

    action: str
    status: str
    n: int


@dataclass(frozen=True)
class Row:
    record: Listed
    about: str
    run_status: str
    matched: Sequence[str]
    chips: Sequence[Chip]
    twice: bool


def _row(one: Listed) -> Row:
    counts = Counter((deed.action, deed.status) for deed in one.deeds)
    chips = [Chip(action, status, n) for (action, status), n in counts.items()]
    twice = any(deed.maybe_twice for deed in one.deeds)
    return Row(one, about(one.event), _run_status(one.event), one.matched, chips, twice)


@dataclass(frozen=True)
class Line:
    """One line of a rule, held against the event. `form`: the sentence that says so."""

    checked: Checked
    state: Literal["held", "failed", "waits"]

    @property
    def form(self) -> str:
        if self.checked.path in {"any", "not", "when"}:
            return "line.block"
        return "line.is" if self.checked.present else "line.unknown" if self.checked.note else "line.missing"


@dataclass(frozen=True)
class Chapter:
    """One rule's part in the story: what it says in the record, and what came of it."""

    verdict: Verdict
    deeds: Sequence[IntentRecord]

    @property
    def lines(self) -> list[Line]:
        """Nothing has failed in a rule that matched or may yet (what does not hold is not known), but where its `when` went wrong."""
        other: Literal["failed", "waits"] = "failed" if self.verdict.outcome == "error" else "waits"
        return [Line(checked, "held" if checked.held else other) for checked in self.verdict.checked]

    @property
    def sentence(self) -> str:
        return "behind" if self.verdict.outcome == "undecided" and self.verdict.by else self.verdict.outcome


def _chapters(record: EventRecord, intents: Sequence[IntentRecord]) -> list[Chapter]:
    verdicts = record.decision.verdicts if record.decision else ()
    return [Chapter(verdict, [one for one in intents if one.intent.key in verdict.intents]) for verdict in verdicts]


def _earlier(record: EventRecord, intents: Sequence[IntentRecord]) -> list[IntentRecord]:
    """What a decision asked for that a replay has since replaced."""
    current = {key for verdict in record.decision.verdicts for key in verdict.intents} if record.decision else set()
    return [one for one in intents if one.intent.key not in current]


@dataclass(frozen=True)
class Missed:
    """A rule that did not match, or (`would`) matches now although it did not then."""

    explanation: "Explanation"
    would: bool

    @property
    def lines(self) -> list[Line]:
        return [Line(line.checked, line.state) for line in self.explanation.lines]


@dataclass(frozen=True)
class Near:
    """The rules in force now that came nearest; `others` more are for the same type of event."""

    version: str
    rules: Sequence[Missed]
    others: int


def _near(loaded: "Loaded", record: EventRecord) -> Near | None:
    if record.event is None:
        return None
    from shared.rules.explain import explain

    told = explain(loaded.rules, record.event, record.facts or Facts(), changes=_NEAR)
    then = {verdict.rule for verdict in record.decision.verdicts} if record.decision else set()
    would = [Missed(one, would=True) for one in told if one.outcome == "matched" and one.rule not in then]
    missed = [Missed(one, would=False) for one in told if one.outcome == "missed"]
    if record.decision is None or record.decision.config == loaded.version:
        would = []  # the decision is still to come, and will say it
    shown = [*would, *missed][:_NEAR]
    return Near(loaded.version, shown, len(would) + len(missed) - len(shown))


def _by_day(rows: Sequence[Row]) -> dict[str, list[Row]]:
    days: dict[str, list[Row]] = {}
    for row in rows:
        days.setdefault(f"{row.record.received.astimezone(UTC):%Y-%m-%d}", []).append(row)
    return days


def _run_status(event: Event | None) -> str:
    """What an event that tells of a change of state tells."""
    return (event.run.status or "") if event and event.run and event.type == "RunStatusChanged" else ""


def _notice(event: Event | None) -> str:
    """The record of the event that one of our own notices is about."""
    own = event is not None and event.type in {"ActionCompleted", "ActionFailed", "EventRefused"}
    return str(event.data.get("record") or "") if event and own else ""


def _rollout(event: Event | None) -> str:
    """The rollout that one of our own events tells of."""
    own = event is not None and event.raw_type.startswith(OWN)
    return str(event.data.get("rollout") or "") if event and own else ""


def _came(raw: str) -> tuple[str, int]:
    """What could not be read, for eyes: as text where it is text, else in hexadecimal."""
    try:
        content = base64.b64decode(raw, validate=True)
    except binascii.Error:
        content = raw.encode()
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = content[: _LONGEST // 3].hex(" ", 1)
    with suppress(ValueError, RecursionError):  # what is no JSON is shown as it is
        text = _indented(json.loads(text))
    return (text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"), len(content)


# --- Rendering ---


def words_for(request: Request) -> Words:
    query, cookies = request.query_params.get("lang"), request.cookies.get(_COOKIE)
    return Words(chosen(query, cookies, request.headers.get("accept-language", "")))


def _page(
    desk: Desk | None,
    request: Request,
    template: str,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,
) -> Response:
    from markupsafe import Markup

    words, me = words_for(request), who(request)
    other = {**request.query_params, "lang": words("other.code")}
    html = (
        _templates()
        .get_template(template)
        .render(
            t=words,
            path=request.url.path,
            desk=desk,
            health=api.health(desk.loaded)[0] if desk else None,
            elsewhere=f"?{urlencode(other)}",
            style=_style(),
            me=me.name if me else "",
            mine=Markup(' readonly value="{}"').format(me.name) if me else "",
            sign_out=SIGN_OUT,
            **values,
        )
    )
    said = {"Vary": "Accept-Language, Cookie", "Cache-Control": "no-store", "Content-Language": words.language}
    shown = html.encode(errors="replace")  # what was refused may hold halves of characters
    response = Response(shown, status, {**said, **(headers or {})}, "text/html")
    if request.query_params.get("lang") in LANGUAGES:
        response.set_cookie(_COOKIE, words.language, max_age=_YEAR, samesite="lax", httponly=True)
    return response


@cache
def _style() -> str:
    """Names this version of the style sheet, so that a browser never pairs new pages with an old one."""
    return sha256((_HERE / "static" / "console.css").read_bytes()).hexdigest()[:8]


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from shared.rules.load import TELL

    def rich(words: Words, key: str, **values: object) -> Markup:
        """A sentence with pieces of HTML in it; whatever is not Markup is escaped."""
        return Markup(words.template(key, **values)).format(**values)  # noqa: S704 (the words are ours, and format escapes)

    pages = Environment(
        loader=FileSystemLoader(_HERE / "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.globals |= {"rich": rich, "TELL": TELL}
    pages.filters |= {
        "rfc3339": api.rfc3339,
        "clock": lambda moment: f"{moment.astimezone(UTC):%H:%M:%S}",
        "stamp": lambda moment: f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
        "shown": _shown,
        "indented": _indented,
        "told": _told,
        "number": formats.number,
        "step": lambda by: f"{by:+.10g}",
        "duration": lambda seconds, words: formats.duration(seconds, words.language),
        "tell": lambda said, words: rollout_words.tell(said, words.language),
        "reading": lambda reading, words: rollout_words.reading(reading, words.language),
        "deed": deed,
        "outcome": outcome,
        "others": others,
        "look": lambda status: _CHIPS.get(status, "running"),
        "whole": api.whole,
        "via": _via,
        "alt": lambda chart, words: pictures.alt(chart, words.language),
        "legend": lambda chart, words: pictures.legend(chart, words.language),
        "web": lambda link: link if str(link).startswith(("https://", "http://")) else None,
    }
    return pages


def _indented(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def _told(value: object, name: str, words: Words) -> str:
    """One thing that was looked up about a run, as people read it."""
    if isinstance(value, bool):
        return words("yes" if value else "no")
    if name == "duration":
        return formats.duration(value, words.language)
    if name in {"started", "ended"} and isinstance(value, str):
        with suppress(ValueError, OverflowError):
            return f"{datetime.fromisoformat(value).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return _shown(value)


def _shown(value: object) -> str:
    """A value as people read it: text bare, everything else as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 300 else f"{text[:300]}…"  # noqa: PLR2004 (about four lines)


def _via(via: str, words: Words) -> str:
    """By which way a word came: in words where it is one of ours, else as it was put down."""
    key, (link, _, to) = f"via.{via}", via.partition("link to ")
    if to and not link:
        return words("via.link", to=to)
    if via == "link":
        return words("via.link.any")
    return words(key) if key in WORDS else via

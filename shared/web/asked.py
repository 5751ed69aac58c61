"""What a request asks for, checked: the search in its query, what somebody says in its body, by which name it asks, and
whether it comes from our own page.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, get_args
from urllib.parse import parse_qsl, urlsplit

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

from shared.book import silence_id
from shared.record import Ack, Comment, EventStatus, Silence
from shared.rollout.hours import seconds
from shared.rollout.record import Freeze
from shared.web.desk import Desk
from shared.web.signed import Refused, told
from shared.world import Search

STATUSES: Final[tuple[str, ...]] = get_args(EventStatus.__value__)
_KNOWN: Final = ("limit", "type", "status", "since", "before")
_LAST: Final = "~"
"""Sorts behind every id: with it a moment alone is a place between events."""

_ID: Final = re.compile(r"[\w-]{1,64}", re.ASCII)
_NAMED: Final = re.compile(r"[\w.~-]{1,100}", re.ASCII)
_ROWS: Final = 50
"""Of a list, where nobody says how many."""

_OF_OTHERS: Final = {"code", "clientid", "lang"}  # the Functions host's keys, and the console's language


@dataclass(frozen=True)
class Wrong:
    """One parameter, and what was expected of it."""

    parameter: str
    detail: str


class Unclear(Exception):  # noqa: N818 (what it says is in `wrong`, and it never leaves this package)
    """A query that cannot be answered, with everything that is wrong in it."""

    def __init__(self, wrong: list[Wrong]) -> None:
        super().__init__("; ".join(one.detail for one in wrong))
        self.wrong = wrong


def search(query: Mapping[str, str], most: int) -> Search:
    """Raises Unclear, naming every parameter that is unknown or wrong. An empty one counts as absent. `most`: entries of a page."""
    asked, wrong = _given(query, _KNOWN)
    limit = _limit(asked, most, wrong)
    status = asked.get("status")
    if status and status not in STATUSES:
        wrong.append(Wrong("status", f"status is {status!r}, expected one of {', '.join(STATUSES)}"))
    since = _moment("since", asked["since"], wrong) if "since" in asked else None
    before = _place(asked["before"], wrong) if "before" in asked else None
    if wrong:
        raise Unclear(wrong)
    return Search(limit, asked.get("type"), status, since, before)


def listing(query: Mapping[str, str], most: int) -> tuple[int, str]:
    """How many rollouts of a list, and behind which place in it. Raises Unclear as `search` does."""
    asked, wrong = _given(query, ("limit", "after"))
    limit, after = _limit(asked, most, wrong), asked.get("after", "")
    if after and not _NAMED.fullmatch(after):
        wrong.append(Wrong("after", f"after is {after!r}, expected the place that `next` names"))
    if wrong:
        raise Unclear(wrong)
    return limit, after


def span(query: Mapping[str, str], now: datetime) -> tuple[datetime, datetime]:
    """From when until when, exclusive: the last day where nothing is said. Raises Unclear as `search` does."""
    asked, wrong = _given(query, ("since", "until"))
    until = _moment("until", asked["until"], wrong) if "until" in asked else now
    since = _moment("since", asked["since"], wrong) if "since" in asked else (until or now) - timedelta(days=1)
    if since is not None and until is not None and since > until:
        wrong.append(Wrong("since", f"since is {asked['since']!r}, which is after until"))
    if wrong or since is None or until is None:
        raise Unclear(wrong)
    return since, until


def _given(query: Mapping[str, str], known: tuple[str, ...]) -> tuple[dict[str, str], list[Wrong]]:
    asked = {name: value for name, value in query.items() if value and name.casefold() not in _OF_OTHERS}
    unknown = [name for name in asked if name not in known]
    return asked, [Wrong(name, f"there is no parameter {name!r}; known: {', '.join(known)}") for name in unknown]


def _limit(asked: Mapping[str, str], most: int, wrong: list[Wrong]) -> int:
    limit = asked.get("limit", f"{_ROWS}")
    if limit.isascii() and limit.isdecimal() and 1 <= int(limit[:9]) <= most:
        return int(limit)
    wrong.append(Wrong("limit", f"limit is {limit!r}, expected a whole number from 1 to {most}"))
    return 0


async def said(request: Request, desk: Desk) -> Mapping[str, object]:
    """What the body says: a JSON object, or the fields of a form. Who says it is whoever is signed in, where people sign in."""
    most = desk.settings.bounds.body_bytes
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise HTTPException(413, f"this says more than {most:,} bytes")
    if request.headers.get("content-type", "").partition(";")[0].strip() == "application/x-www-form-urlencoded":
        return told(request, dict(parse_qsl(body.decode(errors="replace"))))
    try:
        return told(request, msgspec.json.decode(body, type=dict[str, object]))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Unclear([Wrong("body", f"the body is not a JSON object: {error}")]) from error


def by(request: Request) -> str:
    """Who asks, where there is no body to say it."""
    return str(told(request, {"by": request.query_params.get("by", "")})["by"])


@dataclass(frozen=True)
class Spoken:
    """Who says something and why; `ask`: the number of the question that they saw, where they were shown one."""

    by: str
    reason: str
    ask: int | None


def spoken(said: Mapping[str, object]) -> Spoken:
    """Raises Unclear, naming every field that is missing or wrong."""
    wrong: list[Wrong] = []
    by = _text(said, "by", "say who you are", 100, wrong)
    reason = _text(said, "reason", "say why, for the record", 1000, wrong)
    ask = str(said.get("ask") or "")
    if ask and not (ask.isascii() and ask.isdecimal() and len(ask) < 7):  # noqa: PLR2004 (as long as steps are counted)
        wrong.append(Wrong("ask", f"ask is {ask!r}, expected the number of a question"))
    if wrong:
        raise Unclear(wrong)
    return Spoken(by, reason, int(ask) if ask else None)


def freeze(said: Mapping[str, object], now: datetime, known: Collection[str], days: int) -> Freeze:
    """A freeze from now on. Raises Unclear as `spoken` does. `known`: the endpoints that have rollouts; a freeze of any
    other would hold nothing back, and whoever mistyped its name would not know. `days`: of the longest.
    """
    wrong: list[Wrong] = []
    endpoint = _text(said, "endpoint", "name one, or * for all", 100, wrong)
    named = next((one for one in known if one.casefold() == endpoint.casefold()), None)
    if known and endpoint and endpoint != "*" and named is None:
        there = ", ".join([*known, "*"])
        wrong.append(Wrong("endpoint", f"endpoint is {endpoint!r}, which no rollout is for; known: {there}"))
    endpoint = named or endpoint
    reason = _text(said, "reason", "say why, for the record", 1000, wrong)
    owner = _text(said, "owner", "say who answers for it", 100, wrong)
    until = _end(said, now, days, wrong)
    if wrong or until is None:
        raise Unclear(wrong)
    tail = sha256(f"{owner}\n{endpoint}\n{reason}".encode(errors="replace")).hexdigest()[:8]
    return Freeze(f"{now:%Y%m%dT%H%M%S}-{tail}", reason, owner, now, until, endpoint)


def silence(said: Mapping[str, object], now: datetime, days: int) -> Silence:
    """A silence from now on. `days`: of the longest. Raises Unclear as `spoken` does."""
    wrong: list[Wrong] = []
    asked = matchers(said, wrong)
    reason = _text(said, "reason", "say why, for the record", 1000, wrong)
    owner = _text(said, "owner", "say who answers for it", 100, wrong)
    until = _end(said, now, days, wrong)
    if wrong or until is None:
        raise Unclear(wrong)
    about = f"{owner}\n{reason}\n{msgspec.json.encode(asked).decode()}"
    return Silence(silence_id(now, about), asked, owner, reason, now, until)


def matchers(said: Mapping[str, object], wrong: list[Wrong]) -> dict[str, object]:
    """A `match` block: a JSON object, or a text as a rule file has it."""
    from shared.rules.silences import read_matchers

    given = said.get("matchers")
    if given is None:
        wrong.append(Wrong("matchers", 'matchers is missing: say what is held back, as {"tags.team": "fraud"}'))
        return {}
    text = given if isinstance(given, str) else msgspec.json.encode(given).decode()
    found, problems = read_matchers(text)
    several = isinstance(given, str) and text.count("\n")
    wrong += [
        Wrong("matchers", f"matchers{f':{one.line}:{one.column}' if several else ''}: {one.message}")
        for one in problems
    ]
    return found


def comment(said: Mapping[str, object], now: datetime) -> Comment:
    """Raises Unclear as `spoken` does."""
    wrong: list[Wrong] = []
    by = _text(said, "by", "say who you are", 100, wrong)
    text = _text(said, "text", "say something", 500, wrong)
    if wrong:
        raise Unclear(wrong)
    return Comment(now, by, text)


def acknowledgement(said: Mapping[str, object], now: datetime, via: str) -> tuple[Ack, bool]:
    """Who sees to it, and whether the like of it is muted. Raises Unclear as `spoken` does."""
    wrong: list[Wrong] = []
    by = _text(said, "by", "say who you are", 100, wrong)
    reason = _text(said, "reason", "", 1000, wrong) if said.get("reason") else ""
    mute = said.get("mute", False)
    if not isinstance(mute, bool):
        wrong.append(Wrong("mute", f"mute is {mute!r}, expected true or false"))
    if wrong:
        raise Unclear(wrong)
    return Ack(by, now, reason, via), mute is True


def _text(said: Mapping[str, object], name: str, help_: str, longest: int, wrong: list[Wrong]) -> str:
    value = said.get(name)
    text = " ".join(value.split()) if isinstance(value, str) else ""
    if not text:
        wrong.append(Wrong(name, f"{name} is missing: {help_}"))
    elif len(text) > longest:
        wrong.append(Wrong(name, f"{name} has {len(text):,} characters, and {longest:,} is the limit"))
    return text


def _end(said: Mapping[str, object], now: datetime, days: int, wrong: list[Wrong]) -> datetime | None:
    """`until` is a time; `for` is a length of time, for those who do not know what time it is there."""
    if said.get("for"):
        length = seconds(str(said["for"]))
        if length and length <= days * 86_400:
            return now + timedelta(seconds=length)
        wrong.append(
            Wrong("for", f"for is {said['for']!r}, expected a length of time such as 30m, 4h or 2d, {days}d at most")
        )
        return None
    if not said.get("until"):
        wrong.append(
            Wrong("until", "until is missing: say when it ends, as 2026-11-20T18:00:00Z, or `for` how long, as 4h")
        )
        return None
    until = _moment("until", str(said["until"]), wrong)
    if until is not None and until <= now:
        wrong.append(
            Wrong("until", f"until is {said['until']!r}, which is over: it is {now:%Y-%m-%d %H:%M:%S} UTC here")
        )
    elif until is not None and until > now + timedelta(days=days):
        wrong.append(Wrong("until", f"until is {said['until']!r}, expected {days} days from now at most"))
    return until


def _moment(name: str, text: str, wrong: list[Wrong]) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))  # a bare + in a query means a space
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        wrong.append(Wrong(name, f"{name} is {text!r}, expected an RFC 3339 time such as 2026-11-20T08:30:00Z"))
        return None


def _place(text: str, wrong: list[Wrong]) -> tuple[datetime, str] | None:
    """A time, or the place of an event as the address of the next page names it: `<received>~<id>`."""
    time, tilde, id_ = text.partition("~")
    moment = _moment("before", time, wrong)
    if tilde and not _ID.fullmatch(id_):
        wrong.append(Wrong("before", f"before is {text!r}, expected a time, or the place that `next` names"))
    return (moment, id_ if tilde else _LAST) if moment else None


def own(request: Request, *, silent: bool) -> None:
    """HTTPException where another site's page makes this request in somebody's browser. `silent`: also where no header tells, as
    programs send none.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        foreign = site not in {"same-origin", "none"}
    else:
        foreign = silent if origin is None else _netloc(origin) != request.headers.get("host")
    if foreign:
        raise Refused(403, "refused.foreign")


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def host(headers: Mapping[str, str]) -> str:
    """The name in the Host header, without its port; "" where it is none."""
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""

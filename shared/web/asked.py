"""What a request asks for, checked: the search in its query, by which name, and whether it comes from our own page."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, get_args
from urllib.parse import urlsplit

from shared.record import EventStatus
from shared.world import Search

STATUSES: Final[tuple[str, ...]] = get_args(EventStatus.__value__)
MOST: Final = 500
_KNOWN: Final = ("limit", "type", "status", "since", "before")
_LAST: Final = "~"
"""Sorts behind every id: with it a moment alone is a place between events."""

_ID: Final = re.compile(r"[\w-]{1,64}", re.ASCII)
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


def search(query: Mapping[str, str]) -> Search:
    """Raises Unclear, naming every parameter that is unknown or wrong. An empty one counts as absent."""
    asked = {name: value for name, value in query.items() if value and name.casefold() not in _OF_OTHERS}
    wrong = [
        Wrong(name, f"there is no parameter {name!r}; known: {', '.join(_KNOWN)}")
        for name in asked
        if name not in _KNOWN
    ]
    limit = asked.get("limit", "50")
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit[:9]) <= MOST):
        wrong.append(Wrong("limit", f"limit is {limit!r}, expected a whole number from 1 to {MOST}"))
    status = asked.get("status")
    if status and status not in STATUSES:
        wrong.append(Wrong("status", f"status is {status!r}, expected one of {', '.join(STATUSES)}"))
    since = _moment("since", asked["since"], wrong) if "since" in asked else None
    before = _place(asked["before"], wrong) if "before" in asked else None
    if wrong:
        raise Unclear(wrong)
    return Search(int(limit), asked.get("type"), status, since, before)


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


def from_elsewhere(headers: Mapping[str, str], *, silent: bool) -> bool:
    """Whether another site's page makes this request in somebody's browser. `silent`: the answer where no header tells."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = headers.get("origin")
    return silent if origin is None else urlsplit(origin).netloc != headers.get("host")


def host(headers: Mapping[str, str]) -> str:
    """The name in the Host header, without its port; "" where it is none."""
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""

"""An HTTP answer becomes one of our errors. Nothing that is said here holds a URL, a header or a secret: a webhook's URL is one."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from shared.errors import PermanentError, TemporaryError
from shared.world import Http, Reply

BUSY: Final = frozenset({408, 425, 429})
_MAYBE_DONE: Final = frozenset({500, 502, 504})
"""Answers after which nobody knows whether the request took effect: it broke midway, or a gateway answered instead."""

_EXCERPT: Final = 300
_LONGEST: Final = 7 * 86_400.0
_URL: Final = re.compile(r"https?://\S+", re.IGNORECASE)
_SHORTEST_SECRET: Final = 6


async def deliver(
    http: Http,
    method: str,
    url: str,
    *,
    what: str,
    now: datetime,
    headers: Mapping[str, str] | None = None,
    json: object = None,
    body: bytes | None = None,
    busy: Callable[[Reply], bool] = lambda _: False,
    also: Collection[int] = (),
    secrets: Collection[str] = (),
) -> Reply:
    """Sends `json` or `body`, and answers with a 2xx, or one of `also`. `what` names the far side in errors, "the webhook" for
    example.

    `busy` recognises answers of this far side that mean "later" although their status does not say so. `secrets`: of the body,
    or in another form than they are sent, which a far side may echo.
    """
    sent = dict(headers or {})
    if json is not None:
        body = msgspec.json.encode(json)
        sent.setdefault("Content-Type", "application/json; charset=utf-8")
    try:
        reply = await http.send(method, url, headers=sent, body=body)
    except TemporaryError as error:
        raise TemporaryError(f"{what}: {error}", retry_after=error.retry_after, sent=error.sent) from None
    except PermanentError as error:
        raise PermanentError(f"{what}: {error}") from None
    if 200 <= reply.status < 300 or reply.status in also:  # noqa: PLR2004 (HTTP)
        return reply
    said = _said(reply.body, [*_parts(url), *_values(sent), *secrets])
    words = f"{what} answered HTTP {reply.status}{f': {said}' if said else ''}"
    if reply.status in BUSY or reply.status >= 500 or busy(reply):  # noqa: PLR2004 (HTTP)
        raise TemporaryError(words, retry_after=retry_after(reply, now), sent=reply.status in _MAYBE_DONE)
    raise PermanentError(words)


def retry_after(reply: Reply, now: datetime) -> float | None:
    """Seconds that the far side asks to wait, by Retry-After as seconds or as a date, or by GitHub's reset time."""
    asked = reply.headers.get("retry-after", "").strip()
    seconds: float | None = None
    if re.fullmatch(r"\d{1,9}", asked):
        seconds = float(asked)
    elif asked:
        try:
            moment = parsedate_to_datetime(asked)
        except ValueError:
            return None
        seconds = ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds()
    elif reply.headers.get("x-ratelimit-remaining") == "0":
        reset = reply.headers.get("x-ratelimit-reset", "")
        seconds = int(reset) - now.timestamp() if re.fullmatch(r"\d{1,12}", reset) else None
    return None if seconds is None else min(max(seconds, 0.0), _LONGEST)


def table(reply: Reply) -> dict[str, Any]:
    """The JSON object of an answer; an empty one where it holds none."""
    with suppress(msgspec.DecodeError, RecursionError):
        found = msgspec.json.decode(reply.body or b"{}")
        return found if isinstance(found, dict) else {}
    return {}


def _said(body: bytes, hidden: list[str]) -> str:
    """The far side's own words: the message where the body is JSON that has one, else how it begins."""
    text = body[:20_000].decode(errors="replace")
    with suppress(msgspec.DecodeError, RecursionError):
        text = _message(msgspec.json.decode(body)) or text
    # Far sides do echo what they were sent; the longest go first, for one may hold another.
    for secret in sorted({one for one in hidden if len(one) >= _SHORTEST_SECRET}, key=len, reverse=True):
        text = text.replace(secret, "…")
    line = " ".join(_URL.sub("…", re.sub(r"<[^<>]*>", " ", text)).split())
    return f"{line[:_EXCERPT]}…" if len(line) > _EXCERPT else line


def _message(answer: object) -> str:
    if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
        answer = answer["error"]
    if not isinstance(answer, dict):
        return ""
    found = (answer.get(name) for name in ("message", "error", "detail", "title"))
    return next((text for text in found if isinstance(text, str)), "")


def _parts(url: str) -> Iterator[str]:
    split = urlsplit(url)
    yield from (url, f"{split.path}?{split.query}", split.query)
    for part in [*split.path.split("/"), *(pair.partition("=")[2] for pair in split.query.split("&"))]:
        # A short word of the path is no secret, and hiding it would make the far side's words unreadable.
        if len(part) >= 16 or part in split.query:  # noqa: PLR2004 (shorter is no key)
            yield from (part, unquote(part))


def _values(headers: Mapping[str, str]) -> Iterator[str]:
    for name, value in headers.items():
        if name.casefold() not in {"content-type", "accept", "x-github-api-version"}:
            yield value
            yield value.partition(" ")[2]

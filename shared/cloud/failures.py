"""What Azure says when it does not do as asked, as one of our two errors."""

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiohttp import ClientConnectorError, ClientError

from shared import post
from shared.errors import MissingError, PermanentError, QuotaError, TemporaryError
from shared.world import Reply

LOADING: Final = threading.RLock()
"""Held while an SDK is loaded: threads that begin at different ends of its circle of modules would meet it half made."""

_CONFLICT: Final = 409
"""Another writer: it passes."""

_FULL: Final = re.compile(
    r"out ?of ?quota|quota ?exceeded|(not enough|insufficient) \w*\W?quota|OutOfCapacity", re.IGNORECASE
)
"""How Azure Machine Learning and its compute say that there is no room, beside one of _NO_ROOM."""

_NO_ROOM: Final = frozenset({400, 403, 409})
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_LONGEST: Final = 400


@dataclass(frozen=True)
class Doing:
    """What was asked, in words that end a sentence; the role without which the answer is 401 or 403."""

    what: str
    role: str


def busy(status: int) -> bool:
    """Whether the same request may succeed later."""
    return status in post.BUSY or status == _CONFLICT or status >= 500  # noqa: PLR2004 (HTTP)


def refusal(
    doing: Doing, status: int, said: str, headers: Mapping[str, str] | None = None, codes: str = ""
) -> TemporaryError | PermanentError:
    """The error for an HTTP answer that is not a success. `headers` by lower-case name; `codes`: the service's own words."""
    full = status in _NO_ROOM and _FULL.search(f"{codes} {said}")
    said = one_line(said)
    tail = f": {said}" if said else ""
    if full:
        return QuotaError(f"{doing.what}: no quota left (HTTP {status}){tail}")
    if busy(status):
        return TemporaryError(f"{doing.what}: HTTP {status}{tail}", retry_after=retry_after(headers or {}))
    if status in {401, 403}:
        return PermanentError(
            f"{doing.what}: HTTP {status}, not allowed; the identity of this app probably lacks {doing.role}{tail}"
        )
    if status == 404:  # noqa: PLR2004
        return MissingError(f"{doing.what}: not found (HTTP 404){tail}")
    return PermanentError(f"{doing.what}: refused with HTTP {status}{tail}")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the far side asks us to wait. Azure says it in milliseconds too."""
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        if headers.get(name, "").isdecimal():
            return int(headers[name]) / 1000
    return post.retry_after(Reply(0, headers, b""), datetime.fromtimestamp(time.time(), UTC))


@contextmanager
def translating(doing: Doing) -> Iterator[None]:
    """What an Azure SDK raises inside leaves as one of our errors; anything else as it is."""
    try:
        yield
    except Exception as error:
        said = translated(error, doing)
        if said is error:
            raise
        raise said from error


def translated(error: Exception, doing: Doing) -> Exception:
    """One of our errors for one that an Azure SDK raised; any other error as it is."""
    # Loaded already by whichever SDK is in use: our own import stays light.
    with LOADING:
        from azure.core.exceptions import AzureError, HttpResponseError, ServiceRequestError, ServiceResponseError

    if not isinstance(error, AzureError):
        return error
    if isinstance(error, HttpResponseError) and error.status_code is None and isinstance(error.__cause__, AzureError):
        error = error.__cause__  # azure-identity calls everything a failed authentication, a lost connection too
    if isinstance(error, HttpResponseError) and error.status_code is not None:
        found: Mapping[str, str] = getattr(error.response, "headers", {})
        return refusal(doing, error.status_code, _said(error), {name.lower(): value for name, value in found.items()})
    if not isinstance(error, ServiceRequestError | ServiceResponseError):
        return PermanentError(f"{doing.what}: {one_line(_said(error))}")
    inner = error.inner_exception
    # Over aiohttp a connection that breaks later is a ServiceRequestError too.
    reached = not isinstance(inner, ClientConnectorError) if isinstance(inner, ClientError) else None
    sent = isinstance(error, ServiceResponseError) if reached is None else reached
    return TemporaryError(f"{doing.what}: no answer ({type(inner or error).__name__})", sent=sent)


def _said(error: Exception) -> str:
    """The sentence in an SDK's error, without the code and the JSON around it."""
    inside = getattr(error, "error", None)
    text = str(getattr(inside, "message", None) or getattr(error, "message", None) or error)
    inner = getattr(inside, "innererror", None)  # where Log Analytics says what is really the matter
    if isinstance(inner, dict) and inner.get("message"):
        return f"{text}: {inner['message']}"
    try:  # what azure-ai-ml finds wrong with a job is a JSON document
        return "; ".join(f"{problem['path']}: {problem['message']}" for problem in json.loads(text)["errors"])
    except (ValueError, TypeError, KeyError):
        return text


def one_line(text: str) -> str:
    flat = " ".join(_COLOUR.sub("", text).split())
    return flat if len(flat) <= _LONGEST else f"{flat[: _LONGEST - 1]}…"

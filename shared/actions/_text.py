"""What several actions do to words and names."""

import re
from hashlib import sha256
from typing import Final

from shared.actions import Channel, Note
from shared.errors import PermanentError
from shared.events import Event
from shared.record import WorkspaceRef

TWICE: Final = "may have been sent twice"

# Control characters, but for tab and newline; and half of a pair, which no encoding knows.
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f\u0080-\u009f\ud800-\udfff]")
_ILLEGAL: Final = re.compile(r"[^A-Za-z0-9_-]+")


def plain(text: str) -> str:
    """Without what can't be shown or encoded; lines end in a newline."""
    return _UNPRINTABLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def line(text: str) -> str:
    """On one line."""
    return " ".join(plain(text).split())


def clip(text: str, length: int) -> str:
    """Cut at the end."""
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


def middle(text: str, length: int) -> str:
    """Cut in the middle: an error says what at one end and where at the other."""
    if len(text) <= length:
        return text
    head = (length - 3) // 3
    return f"{text[:head].rstrip()}\n…\n{text[-(length - 3 - head) :].lstrip()}"


def name_of(key: str, longest: int = 128) -> str:
    """The key as a name that Azure ML, a header and a log take: the key itself where that is one already."""
    name = _ILLEGAL.sub("-", key).lstrip("-_")
    if name == key and len(key) <= longest:
        return key
    tail = sha256(key.encode(errors="surrogatepass")).hexdigest()[:12]
    return f"{name[: longest - 13] or 'k'}-{tail}"


def note_of(params: Channel) -> Note:
    if params.note is None:
        raise PermanentError("there is no message to send: the action was run without its rendered note")
    return params.note


def place_of(event: Event) -> WorkspaceRef:
    """The workspace that the event came from."""
    if not (event.subscription and event.resource_group and event.workspace):
        raise PermanentError(
            f"the event's source {event.source!r} names no Azure ML workspace: give the action its `workspace`"
        )
    return WorkspaceRef(event.subscription, event.resource_group, event.workspace)

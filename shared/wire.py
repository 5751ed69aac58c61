"""Text <-> values, checked: what travels on the queue. The reader of a message may be a newer version than its writer."""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final

import msgspec

from shared.bounds import DEFAULTS
from shared.errors import PermanentError
from shared.events import DeadLetter, Event, expected, parse

LIMIT: Final = 45_000
"""Bytes of text a storage queue takes (64 KiB after base64), less a margin."""


class Arrived(msgspec.Struct, frozen=True, tag="arrived", omit_defaults=True):
    """An event that was read at the door; nothing is decided yet. `dead`: why Event Grid had given it up, where it did."""

    event: Event
    received: datetime
    dead: DeadLetter | None = None


class Unread(msgspec.Struct, frozen=True, tag="unread", omit_defaults=True):
    """Something that could not be read as an event, or may not come from where it does, with its bytes in base64. `source`: where
    that is what is wrong; a person is told of all such together.
    """

    bytes: str
    reason: str
    received: datetime
    source: str = ""


class Decide(msgspec.Struct, frozen=True, tag="decide", omit_defaults=True):
    """The rules of this record that wait for a lookup, or (`afresh`) all of them because somebody replays it."""

    record: str
    attempt: int = 0
    afresh: bool = False


class Perform(msgspec.Struct, frozen=True, tag="perform", omit_defaults=True):
    """One intent to do. `attempt` counts the tries that asked for another."""

    key: str
    attempt: int = 0


class Follow(msgspec.Struct, frozen=True, tag="follow", omit_defaults=True):
    """Look how what this intent started stands: look number `n`; another is out of date. `soon`: something was heard of it, so that
    the next look, if there has to be one, comes soon.
    """

    key: str
    n: int
    soon: bool = False


class Edited(msgspec.Struct, frozen=True, tag="edited", omit_defaults=True):
    """The configuration was another one `before`: what that means is to be looked at."""

    before: str
    after: str


class Packed(msgspec.Struct, frozen=True, tag="packed", omit_defaults=True):
    """A message too long for a queue: part `n` of `of`, compressed, in base64. `digest` names the whole."""

    digest: str
    n: int
    of: int
    body: str


class Advance(msgspec.Struct, frozen=True, tag="advance", omit_defaults=True):
    """A rollout has something to do, on the queue of rollouts. `step`: whose time has come; None where somebody spoke."""

    rollout: str
    step: int | None = None


type Message = Arrived | Unread | Decide | Perform | Follow | Edited | Packed

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Arrived | Unread | Decide | Perform | Follow | Edited | Packed)


def dump(value: object) -> str:
    """JSON of one of our values."""
    return _encoder.encode(value).decode()


def load[T](kind: type[T], text: str | bytes) -> T:
    """One of our values, checked; PermanentError, saying where it is not one."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError as error:
        raise PermanentError(f"not a {kind.__name__}: {error}") from error


def pack(message: Message) -> list[str]:
    """The texts to put on the queue: one, or several parts where the message is longer than a queue takes."""
    text = _encoder.encode(message)
    if len(text) <= LIMIT:
        return [text.decode()]
    body = base64.b64encode(zlib.compress(text, 6)).decode()
    digest, size = sha256(text).hexdigest()[:32], LIMIT - 200
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return [dump(Packed(digest, n, len(parts), part)) for n, part in enumerate(parts)]


def unpack(text: str | bytes) -> Message:
    """One message off the queue. Raises PermanentError for what none of our versions wrote."""
    try:
        message = _decoder.decode(text)
    except msgspec.MsgspecError as error:
        raise PermanentError(f"not a message of ours: {error}") from error
    return join([message.body]) if isinstance(message, Packed) and message.of == 1 else message


def join(bodies: Sequence[str]) -> Message:
    """The message whose parts these are, in order."""
    try:
        return unpack(zlib.decompress(base64.b64decode("".join(bodies))))
    except (ValueError, zlib.error) as error:
        raise PermanentError(f"parts that make no message: {error}") from error


def arrived(
    envelope: Mapping[str, object],
    received: datetime,
    dead: DeadLetter | None = None,
    *,
    sources: Sequence[str] = (),
    levels: int = DEFAULTS.payload_levels,
) -> list[str]:
    """The messages for one envelope at the door: an event, or what can't be read as one, or comes from elsewhere than `sources`
    (see `events.expected`), with its bytes. `levels`: of nesting in its data.
    """
    happened = (dead and dead.published) or received  # what may say nothing of its time was published soon after it
    try:
        try:
            event = parse(envelope, happened, levels=levels)
            if not expected(event.source, sources):
                return unread(_encoder.encode(envelope), elsewhere(event), received, event.source)
            return pack(Arrived(event, received, dead))
        except PermanentError as error:
            return unread(_encoder.encode(envelope), str(error), received)
    except (ValueError, OverflowError) as error:
        # The Functions worker reads JSON that we can't write: halves of characters, numbers that are none.
        return unread(json.dumps(envelope, default=str).encode(), f"holds what can't be kept: {error}", received)


def elsewhere(event: Event) -> str:
    """Why an event of another source is refused."""
    return f"its source {event.source!r} is not on the allow list (SWITCHYARD_SOURCES): nothing was decided"


def unread(raw: bytes, reason: str, received: datetime, source: str = "") -> list[str]:
    """The messages for something that is no event, or none of ours."""
    return pack(Unread(base64.b64encode(raw).decode(), reason, received, source))

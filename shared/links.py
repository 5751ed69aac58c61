"""Signed links: the leave to answer one question of one rollout, or to acknowledge one event, until a certain time.

Whoever has the token may do it, as with a key: it is made when a message is rendered and kept nowhere.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Final

import msgspec

from shared.errors import PermanentError

_NOT_OURS: Final = "this link is not one of ours, or was not copied whole"


class Approval(msgspec.Struct, frozen=True, array_like=True):
    """`ask`: the number of the question; `to`: the receiver that it was sent to."""

    rollout: str
    ask: int
    until: datetime
    to: str


class Acknowledgement(msgspec.Struct, frozen=True, array_like=True):
    """`record`: of the event; `to`: the receiver that it was sent to, "" where nobody knows."""

    record: str
    until: datetime
    to: str


type Link = Approval | Acknowledgement

_PURPOSES: Final[Mapping[type, bytes]] = {
    Approval: b"switchyard approval 1\n",
    Acknowledgement: b"switchyard acknowledgement 1\n",
}
"""Signed with the content, so that nothing else that is signed with the same key passes for a link of this kind."""


def token(key: str, link: Link) -> str:
    """Fit for a URL. Raises PermanentError without a key: anybody could make such a link."""
    body = _text(msgspec.json.encode(link))
    return f"{body}.{_signature(key, type(link), body)}"


def read[L: (Approval, Acknowledgement)](key: str, token: str, now: datetime, kind: type[L]) -> L:
    """What a token gives leave to. Raises PermanentError, with a reason fit to be shown, when it gives none."""
    body, _, signature = token.partition(".")
    # Compared as text: base64 has several spellings for the same bytes, and one token shall have one.
    if not hmac.compare_digest(signature.encode(errors="replace"), _signature(key, kind, body).encode()):
        raise PermanentError(_NOT_OURS)
    link = msgspec.json.decode(urlsafe_b64decode(f"{body}{'=' * (-len(body) % 4)}"), type=kind)
    if link.until <= now:
        raise PermanentError(f"this link was good until {link.until:%Y-%m-%d %H:%M} UTC")
    return link


def _signature(key: str, kind: type, body: str) -> str:
    if not key:
        raise PermanentError("links cannot be signed: set SWITCHYARD_SIGNING_KEY to a long random text")
    return _text(hmac.digest(key.encode(), _PURPOSES[kind] + body.encode(errors="replace"), sha256))


def _text(content: bytes) -> str:
    return urlsafe_b64encode(content).decode().rstrip("=")

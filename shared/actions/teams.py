"""An Adaptive Card to a Teams channel, by the webhook of a Workflows flow.

The flow answers 202 and posts later, where nobody sees it fail. So the card is kept within what it can post: version
1.4, known elements, and well under 28 KB, for the flow measures after it has expanded the request.
"""

import re
from base64 import b64encode
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from shared.actions import Action, Channel, Context, Fact, Link, Note, Picture, SecretName, Severity
from shared.actions._address import opened
from shared.actions._text import TWICE, clip, line, middle, name_of, note_of, plain
from shared.post import deliver
from shared.record import Result

LIMIT: Final = 20_000
"""Bytes of JSON."""

_BUTTONS: Final = 6
_LONGEST_URL: Final = 1000
_TITLE: Final = 150
_STYLES: Final[dict[Severity, str]] = {"good": "good", "info": "accent", "warning": "warning", "bad": "attention"}

_LINE_START: Final = re.compile(r"(?m)^([ \t]*)([#>+-]|\d+[.)])")
_MENTION: Final = re.compile(r"<(?=/?at\b)", re.IGNORECASE)
_ESCAPED: Final = re.compile(r"[*`~]|(?<!\w)_|_(?!\w)|\\(?=[!-/:-@\[-`{-~])")
_BREAK: Final = "\u200b"
"""A space without width: what it stands between is no markdown and no tag any more, and looks the same."""


class Teams(Channel):
    url: SecretName


class _Room(msgspec.Struct, frozen=True):
    """How much of each part of a note goes into a card, in characters and in numbers of them."""

    code: int
    facts: int = 20
    value: int = 300
    table: int = 12
    text: int = 3000


# Pictures give way first, the last of them before the others; then the verbatim text, then the facts; the title and the
# buttons never.
_ROOMS: Final = (
    *(_Room(code) for code in (8000, 6000, 4500, 3000, 2000, 1200, 600)),
    _Room(600, value=150, text=1500),
    _Room(400, facts=12, value=100, table=8, text=800),
    _Room(250, facts=8, value=60, table=6, text=400),
)


async def run(params: Teams, context: Context) -> Result:
    note, world = note_of(params), context.world
    key = name_of(context.key)
    headers = {"Content-Type": "application/json; charset=utf-8", "x-ms-client-tracking-id": key}
    await deliver(
        world.http,
        "POST",
        opened(params.url, world.secret, "Teams"),
        what="the Teams workflow",
        now=world.clock(),
        headers=headers,
        body=message(note, key),
    )
    twice = f"; {TWICE}" if context.again else ""
    return Result(f"queued for Teams: {clip(line(note.title), 120)}{twice}")


def message(note: Note, key: str) -> bytes:
    """The JSON for the flow, shortened as far as it must be."""
    body = b""
    fewer = [replace(note, pictures=note.pictures[:n]) for n in range(len(note.pictures), 0, -1)]
    bare = replace(note, pictures=())
    for shown, room in [*((one, _ROOMS[0]) for one in fewer), *((bare, room) for room in _ROOMS)]:
        attachment = {
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": None,
            "content": card(shown, room),
        }
        body = msgspec.json.encode({"type": "message", "key": key, "attachments": [attachment]})
        if len(body) < LIMIT:
            return body
    raise AssertionError(f"the smallest card has {len(body)} bytes")  # the last room is small enough for any note


def card(note: Note, room: _Room = _ROOMS[0]) -> dict[str, object]:
    title = clip(line(note.title), _TITLE) or "Switchyard"
    body: list[dict[str, object]] = [
        {
            "type": "Container",
            "style": _STYLES[note.severity],
            "bleed": True,
            "items": [_block(title, size="Medium", weight="Bolder", style="heading")],
        }
    ]
    if text := plain(note.text).strip():
        body.append(_block(clip(text, room.text)))
    for picture in note.pictures:
        body += _picture(picture)
    body += _table(note.table[: room.table])
    if facts := [_fact(fact, room.value) for fact in note.facts[: room.facts]]:
        body.append({"type": "FactSet", "facts": facts, "spacing": "Medium"})
    if code := plain(note.code).strip("\n"):
        block = _block(middle(code, room.code), fontType="Monospace", size="Small")
        body.append({"type": "Container", "style": "emphasis", "spacing": "Medium", "items": [block]})
    return {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "lang": note.language,
        "fallbackText": title,
        "speak": title,
        "body": body,
        "actions": _buttons(note.links),
        "msteams": {"width": "full"},
    }


def literal(text: str) -> str:
    """Text of others that shows as it is: no link, no heading, no list, no emphasis, nobody mentioned."""
    text = _MENTION.sub(f"<{_BREAK}", text.replace("](", f"]{_BREAK}("))
    text = _ESCAPED.sub(lambda found: f"\\{found[0]}", text)
    text = _LINE_START.sub(rf"\1{_BREAK}\2", text)
    # Teams takes one newline for a space, and leading spaces for nothing.
    lines = (part.lstrip(" \t") for part in text.split("\n"))
    indents = (len(part) - len(part.lstrip(" \t")) for part in text.split("\n"))
    return "\n\n".join("\u00a0" * min(indent, 8) + part for indent, part in zip(indents, lines, strict=True))


def _block(text: str, **look: object) -> dict[str, object]:
    return {"type": "TextBlock", "text": literal(text), "wrap": True, **look}


def _fact(fact: Fact, length: int) -> dict[str, object]:
    return {"title": literal(clip(line(fact.name), 40)), "value": literal(clip(line(fact.value), length))}


def _table(cells: Sequence[Fact]) -> list[dict[str, object]]:
    """Two numbers a row: what fits on a phone."""
    rows = [cells[start : start + 2] for start in range(0, len(cells), 2)]
    return [
        {"type": "ColumnSet", "spacing": "Small" if n else "Medium", "columns": [_cell(fact) for fact in row]}
        for n, row in enumerate(rows)
    ]


def _picture(picture: Picture) -> list[dict[str, object]]:
    """Within the card: Teams fetches nothing, and a link to it would be a door to the service."""
    address = f"data:image/png;base64,{b64encode(picture.png).decode()}"
    shown: list[dict[str, object]] = [
        {
            "type": "Image",
            "url": address,
            "altText": clip(line(picture.alt), 500),
            "size": "Stretch",
            "spacing": "Medium",
        }
    ]
    if legend := line(picture.legend):
        shown.append(_block(clip(legend, 500), isSubtle=True, size="Small", spacing="Small"))
    return shown


def _cell(fact: Fact) -> dict[str, object]:
    name = _block(clip(line(fact.name), 60), isSubtle=True, size="Small")
    value = _block(clip(line(fact.value), 40), weight="Bolder", size="Medium", spacing="None")
    return {"type": "Column", "width": "stretch", "items": [name, value]}


def _buttons(links: Sequence[Link]) -> list[dict[str, object]]:
    urls = [(line(link.text), line(link.url)) for link in links]
    usable = [(text, url) for text, url in urls if url.startswith(("https://", "http://")) and _fits(url)]
    return [{"type": "Action.OpenUrl", "title": clip(text, 40) or "…", "url": url} for text, url in usable[:_BUTTONS]]


def _fits(url: str) -> bool:
    return len(url.encode()) <= _LONGEST_URL


ACTION = Action(
    example=Teams(url="${TEAMS_FRAUD}", template="run-failed", language="ja"),
    run=run,
    idempotent=False,
    summary="Posts an Adaptive Card to a Teams channel, by the webhook of a Workflows flow.",
)

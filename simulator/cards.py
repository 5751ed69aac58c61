"""Adaptive Cards 1.4 as Teams takes them from a flow: what it would not show, and the words of a card."""

import json
from collections.abc import Iterator, Mapping
from typing import Final

LIMIT: Final = 28_672
"""Bytes of card that a flow can post to Teams."""

NEWEST: Final = (1, 4)

_ELEMENTS: Final = {
    "TextBlock": ("text",),
    "RichTextBlock": ("inlines",),
    "TextRun": ("text",),
    "Image": ("url",),
    "ImageSet": ("images",),
    "Media": ("sources",),
    "Container": ("items",),
    "ColumnSet": (),
    "Column": (),
    "FactSet": ("facts",),
    "ActionSet": ("actions",),
    "Input.Text": ("id",),
    "Input.Number": ("id",),
    "Input.Date": ("id",),
    "Input.Time": ("id",),
    "Input.Toggle": ("id", "title"),
    "Input.ChoiceSet": ("id",),
}
"""Element types of 1.4, with the properties that each needs."""

_ACTIONS: Final = {
    "Action.OpenUrl": ("url",),
    "Action.ShowCard": ("card",),
    "Action.ToggleVisibility": ("targetElements",),
}
_BOT: Final = {"Action.Submit", "Action.Execute"}
_LATER: Final = {"Table": "1.5", "TableRow": "1.5", "TableCell": "1.5", "Icon": "1.5", "CodeBlock": "1.5"}
_INSIDE: Final = ("body", "items", "columns", "images", "inlines", "actions", "rows", "cells", "selectAction")


def problems(card: Mapping[str, object]) -> list[str]:
    """Why Teams would not show this card, or not all of it. Empty: it would."""
    found = [] if card.get("type") == "AdaptiveCard" else [f"the card's type is {card.get('type')!r}, not AdaptiveCard"]
    size = len(json.dumps(card, ensure_ascii=False, separators=(",", ":")).encode())
    if size > LIMIT:
        found.append(f"the card has {size:,} bytes, a flow can post {LIMIT:,}")
    found += _version(card.get("version"))
    for kind, part in _parts(card):
        found += _part(kind, part)
    return list(dict.fromkeys(found))


def title(card: Mapping[str, object]) -> str:
    """The first words of a card, on one line."""
    texts = (part.get("text") for kind, part in _parts(card) if kind == "TextBlock")
    first = next((text for text in texts if isinstance(text, str) and text.strip()), "")
    return " ".join(first.replace("**", "").split())[:200] or "a card without words"


def _version(version: object) -> list[str]:
    try:
        number = tuple(int(part) for part in str(version).split("."))
    except ValueError:
        return [f"the card's version is {version!r}, expected 1.4 or older"]
    return [f"version {version} of Adaptive Cards does not show through a flow; 1.4 does"] if number > NEWEST else []


def _part(kind: str, part: Mapping[str, object]) -> list[str]:
    if kind in _BOT:
        return [f"{kind} needs a bot: a click would end in an error; OpenUrl works"]
    if kind in _LATER:
        return [f"{kind} came with Adaptive Cards {_LATER[kind]} and does not show in 1.4"]
    needs = _ELEMENTS.get(kind, _ACTIONS.get(kind))
    if needs is None:
        return [f"unknown element type {kind!r}"]
    return [f"{kind} without {name!r}" for name in needs if part.get(name) is None]


def _parts(holder: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Every typed part of a card, in reading order, with the type that it has where it stands."""
    for place in _INSIDE:
        inside = holder.get(place)
        for part in inside if isinstance(inside, list) else [inside]:
            if isinstance(part, dict):
                implied = {"columns": "Column", "inlines": "TextRun", "images": "Image"}.get(place, "")
                yield str(part.get("type") or implied), part
                yield from _parts(part)
    shown = holder.get("card")
    if isinstance(shown, dict):
        yield from _parts(shown)

"""A text message, at most three segments long. Each recipient has an own result, and each is looked at."""

import re
from collections.abc import Sequence
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from shared.actions import Action, Channel, Context
from shared.actions._address import known
from shared.actions._text import line, name_of, note_of
from shared.errors import PermanentError, TemporaryError
from shared.record import Result
from shared.world import Texted

type Number = Annotated[str, StringConstraints(pattern=r"^(\+[1-9]\d{6,14}|\$\{[A-Z][A-Z0-9_]*\})$")]
"""A phone number in E.164, or the `${NAME}` of a setting that holds one."""

_NUMBER: Final = re.compile(r"\+[1-9]\d{6,14}")

SEGMENTS: Final = 3
_GSM: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_DOUBLE: Final = frozenset("^{}\\[~]|€\f")
_SIMPLER: Final = str.maketrans(
    {
        "…": "...",
        "\u2013": "-",
        "—": "-",
        "\u2018": "'",
        "\u2019": "'",
        "“": '"',
        "”": '"',
        "\u00a0": " ",
        "→": "->",
        "·": "-",
    }
)
"""One such character would make a message of 160 characters two of 70."""


class Sms(Channel):
    to: tuple[Number, ...] = Field(min_length=1, max_length=100)


async def run(params: Sms, context: Context) -> Result:
    note, world = note_of(params), context.world
    to = tuple(dict.fromkeys(known(params.to, _NUMBER, "phone number with its country", world.secret).values()))
    sent = await world.sms.send(to, fit(note.short or note.title), name_of(context.key))
    good = [one for one in sent if one.ok]
    busy = [one for one in sent if one.busy and not one.ok]
    if busy:
        # Those who have it are not sent it again: the key gives each recipient the same repeatability id.
        reached = f"; {', '.join(masked(one.to) for one in good)} had it" if good else ""
        raise TemporaryError(f"SMS: {_all(busy)}{reached}")
    bad = [one for one in sent if not one.ok]
    if not good:
        raise PermanentError(f"SMS refused for every recipient: {_all(bad) or 'the service named none'}")
    said = f"texted {', '.join(masked(one.to) for one in good)}"
    said = f"{said}; refused for {_all(bad)}" if bad else said
    return Result(said, values={"sent": len(good), "refused": len(bad)})


def masked(number: str) -> str:
    return f"…{number[-3:]}"


def fit(text: str, segments: int = SEGMENTS) -> str:
    """The text on one line, cut to this many segments: 160 characters of GSM 7-bit, or 70 of anything else."""
    words = line(text)
    simple = words.translate(_SIMPLER)
    words = simple if _septets(simple) is not None else words
    if _segments(words) <= segments:
        return words
    end = "..." if _septets(words) is not None else "…"
    low, high = 0, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _segments(words[:middle].rstrip() + end) <= segments else (low, middle - 1)
    return words[:low].rstrip() + end


def _segments(text: str) -> int:
    septets = _septets(text)
    length, one, many = (len(text.encode("utf-16-le")) // 2, 70, 67) if septets is None else (septets, 160, 153)
    return 1 if length <= one else -(-length // many)


def _septets(text: str) -> int | None:
    """Its length in the GSM alphabet; None when that lacks a character."""
    doubles = sum(letter in _GSM_DOUBLE for letter in text)
    return len(text) + doubles if all(letter in _GSM or letter in _GSM_DOUBLE for letter in text) else None


def _all(results: Sequence[Texted]) -> str:
    return ", ".join(
        f"{masked(one.to)} ({(one.error or 'no reason given').replace(one.to, masked(one.to))})" for one in results
    )


ACTION = Action(
    example=Sms(to=("+818012345678", "${ONCALL_PHONE}"), template="drift-detected", language="ja"),
    run=run,
    idempotent=True,
    summary="Sends a text message of at most three segments.",
)

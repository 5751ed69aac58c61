"""A mail: plain text, and HTML that reads well on a phone without loading anything."""

import re
from collections.abc import Mapping
from html import escape
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from shared.actions import Action, Channel, Context, Note, Severity
from shared.actions._address import known
from shared.actions._text import TWICE, clip, line, middle, name_of, note_of, plain
from shared.errors import PermanentError, TemporaryError
from shared.record import Result
from shared.world import Letter

type Address = Annotated[str, StringConstraints(pattern=r"^([^@\s<>,;\"]+@[^@\s<>,;\"]+|\$\{[A-Z][A-Z0-9_]*\})$")]
"""A mail address, or the `${NAME}` of a setting that holds one."""

_ADDRESS: Final = re.compile(r"[^@\s<>,;\"]+@[^@\s<>,;\"]+")

_COLOURS: Final[dict[Severity, str]] = {"good": "#1b7f4b", "info": "#1f5fa8", "warning": "#8a5a00", "bad": "#b3261e"}
_FONT: Final = "font-family:-apple-system,'Segoe UI',Roboto,'Hiragino Sans','Noto Sans JP',Meiryo,sans-serif"
_MONO: Final = "font-family:Consolas,Menlo,'Noto Sans Mono CJK JP',monospace"
_CODE: Final = 8000
_FOOTERS: Final = {
    "en": "Sent by Switchyard because a rule asks for it.",
    "ja": "このメールは、通知ルールに基づいて Switchyard が自動送信しています。",
}


class Email(Channel):
    to: tuple[Address, ...] = Field(min_length=1, max_length=50)


async def run(params: Email, context: Context) -> Result:
    note, world = note_of(params), context.world
    whom = known(params.to, _ADDRESS, "mail address", world.secret)
    inline = {_named(n): picture.png for n, picture in enumerate(note.pictures, 1)}
    letter = Letter(tuple(whom.values()), clip(line(note.title), 200) or "Switchyard", text(note), html(note), inline)
    try:
        sent = await world.mail.send(letter, name_of(context.key))
    except TemporaryError as error:
        raise TemporaryError(_unsaid(str(error), whom), retry_after=error.retry_after, sent=error.sent) from None
    except PermanentError as error:
        raise PermanentError(_unsaid(str(error), whom), maybe_twice=error.maybe_twice) from None
    twice = context.again and not world.mail.idempotent
    # `params.to`, not `whom`: what stands in a setting stays there.
    said = f"mailed {', '.join(params.to)}{f'; {TWICE}' if twice else ''}"
    return Result(said, values={"id": sent}, maybe_twice=twice)


def _unsaid(said: str, whom: Mapping[str, str]) -> str:
    """Servers name whom they refuse: one that stands in a setting by its setting."""
    for written, address in whom.items():
        said = said.replace(address, written)
    return said


def text(note: Note) -> str:
    parts = [line(note.title), plain(note.text).strip()]
    parts += [
        "\n".join(f"{line(fact.name)}: {line(fact.value)}" for fact in facts) for facts in (note.table, note.facts)
    ]
    parts += [line(picture.alt) for picture in note.pictures]
    parts.append(middle(plain(note.code).strip("\n"), _CODE))
    parts += [f"{line(link.text)}:\n{line(link.url)}" for link in note.links]
    parts.append(f"-- \n{_FOOTERS[note.language]}")
    return "\n\n".join(part for part in parts if part) + "\n"


def html(note: Note) -> str:
    """Tables and inline styles: what every mail program draws the same."""
    colour = _COLOURS[note.severity]
    heading = (
        f'<tr><td style="background:{colour};color:#ffffff;padding:20px 24px;font-size:20px;line-height:1.35;'
        f'font-weight:600;overflow-wrap:anywhere">{_safe(line(note.title))}</td></tr>'
    )
    rows = [
        heading,
        _row("".join(f'<p style="margin:0 0 10px">{_safe(part)}</p>' for part in plain(note.text).split("\n") if part)),
        _row(_pictures(note)),
        _row(_metrics(note)),
        _row(_facts(note)),
        _row(_code(note)),
        _row(_buttons(note, colour)),
        f'<tr><td style="padding:20px 24px;color:#5c6670;font-size:13px">{_safe(_FOOTERS[note.language])}</td></tr>',
    ]
    return (
        f'<!doctype html><html lang="{note.language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light">'
        f"<title>{_safe(line(note.title))}</title></head>"
        f'<body style="margin:0;padding:0;background:#eef1f4;color:#1c2329;{_FONT};font-size:16px;line-height:1.5">'
        f'<div style="display:none;max-height:0;overflow:hidden">{_safe(line(note.short))}</div>'
        '<table role="presentation" width="100%" cellpadding="0" cellspacing="0"><tr><td align="center" '
        'style="padding:12px 8px"><table role="presentation" width="100%" cellpadding="0" cellspacing="0" '
        'style="max-width:600px;background:#ffffff;border-radius:10px;overflow:hidden;text-align:left">'
        f"{''.join(rows)}</table></td></tr></table></body></html>"
    )


def _row(content: str) -> str:
    return f'<tr><td style="padding:18px 24px 0">{content}</td></tr>' if content else ""


def _named(n: int) -> str:
    return f"picture{n}"


def _pictures(note: Note) -> str:
    return "".join(
        f'<p style="margin:0 0 10px"><img src="cid:{_named(n)}" alt="{_safe(line(picture.alt))}" width="552" '
        'style="display:block;width:100%;max-width:552px;height:auto;border:1px solid #dde3e8;border-radius:8px">'
        f'<span style="color:#5c6670;font-size:13px">{_safe(line(picture.legend))}</span></p>'
        for n, picture in enumerate(note.pictures, 1)
    )


def _metrics(note: Note) -> str:
    rows = "".join(
        f'<tr><td style="padding:5px 12px 5px 0;overflow-wrap:anywhere">{_safe(line(fact.name))}</td>'
        f'<td align="right" style="padding:5px 0;font-weight:600;white-space:nowrap">{_safe(line(fact.value))}</td></tr>'
        for fact in note.table
    )
    return (
        '<table width="100%" cellpadding="0" cellspacing="0" style="border-top:1px solid #dde3e8;'
        f'border-bottom:1px solid #dde3e8;font-variant-numeric:tabular-nums">{rows}</table>'
        if rows
        else ""
    )


def _facts(note: Note) -> str:
    rows = "".join(
        f'<tr><td style="padding:3px 14px 3px 0;color:#5c6670;font-size:14px;line-height:24px;vertical-align:top;white-space:nowrap">'
        f'{_safe(clip(line(fact.name), 40))}</td><td style="padding:3px 0;line-height:24px;overflow-wrap:anywhere">'
        f"{_safe(clip(line(fact.value), 500))}</td></tr>"
        for fact in note.facts
    )
    return f'<table cellpadding="0" cellspacing="0">{rows}</table>' if rows else ""


def _code(note: Note) -> str:
    code = middle(plain(note.code).strip("\n"), _CODE)
    return (
        f'<pre style="margin:0;padding:12px 14px;background:#f5f6f8;border-left:4px solid {_COLOURS[note.severity]};'
        f'{_MONO};font-size:13px;line-height:1.45;white-space:pre-wrap;overflow-wrap:anywhere">{_safe(code)}</pre>'
        if code
        else ""
    )


def _buttons(note: Note, colour: str) -> str:
    """The first is the next click."""
    looks = [f"background:{colour};color:#ffffff", *["background:#ffffff;color:#1f5fa8"] * len(note.links)]
    return "".join(
        f'<a href="{_safe(line(link.url))}" style="display:block;margin:0 0 10px;padding:12px 16px;border:1px solid '
        f'#c9d1d9;border-radius:8px;text-align:center;text-decoration:none;font-weight:600;{look}">'
        f"{_safe(line(link.text))}</a>"
        for link, look in zip(note.links, looks, strict=False)
        if link.url.startswith(("https://", "http://"))
    )


def _safe(words: str) -> str:
    return escape(words, quote=True)


ACTION = Action(
    example=Email(to=("fraud-team@contoso.com",), template="run-completed", language="en"),
    run=run,
    idempotent=True,
    summary="Sends a mail, as plain text and as HTML made for phones.",
)

"""How much the service takes on at most: of a payload, an answer, a file, a template, an expression, a request. Whoever operates it may
change each by one setting; whoever writes rules may not, since a limit guards against what they write.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Final

SETTING: Final = "SWITCHYARD_LIMITS"
"""`name=value` pairs with commas between them. In the environment and not in switchyard.yaml: half of them are needed before that file
can be read, some to read it, and `switchyard check` finds them there too.
"""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Each is far beyond what anybody needs. `RANGES` says how far it can be moved."""

    payload_levels: int = 64
    """Of nesting in what an event brings; payloads of Azure have five."""
    answer_bytes: int = 1 << 20
    answer_seconds: int = 30
    file_characters: int = 1_000_000
    """Of one file of the configuration, as its levels and its values are."""
    file_levels: int = 30
    file_values: int = 200_000
    """After aliases are written out: a page of anchors can otherwise stand for billions."""
    template_characters: int = 20_000
    """Of one template, and of what it renders."""
    template_turns: int = 1_000
    """Of one loop."""
    template_work: int = 2_500_000
    """Characters and entries that its filters and loops go through: done within a second."""
    expression_characters: int = 500
    expression_values: int = 10_000
    """Values, and below characters, in the fields that it names; a tenth where each element costs as much as all of them."""
    expression_text: int = 1_000_000
    body_bytes: int = 16_384
    """Of what somebody says to the API."""
    page: int = 500
    """Entries of a list."""
    silence_days: int = 366
    """Of the longest silence or freeze."""


DEFAULTS: Final = Bounds()

RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "payload_levels": (8, 200),
    "answer_bytes": (65_536, 16_777_216),
    "answer_seconds": (1, 120),
    "file_characters": (100_000, 3_000_000),
    "file_levels": (10, 100),
    "file_values": (10_000, 2_000_000),
    "template_characters": (5_000, 200_000),
    "template_turns": (100, 10_000),
    "template_work": (100_000, 10_000_000),
    "expression_characters": (100, 5_000),
    "expression_values": (1_000, 50_000),
    "expression_text": (100_000, 5_000_000),
    "body_bytes": (1_024, 1_048_576),
    "page": (50, 999),
    "silence_days": (1, 3_660),
}
"""The lowest and the highest value of each. Beyond the highest, one worker would be busy, or its stack used up, by one file or event; a table
answers with a thousand rows at once, and one more than a page tells of the next.
"""

_DIGITS: Final = 12


def read_bounds(text: str) -> tuple[Bounds, tuple[str, ...]]:
    """What the setting says, and a sentence for each part of it that is wrong; the default stays for that one."""
    found: dict[str, int] = {}
    wrong: list[str] = []
    for one in text.split(","):
        name, equals, value = (part.strip() for part in one.partition("="))
        if not name and not equals:
            continue
        if name not in RANGES:
            close = get_close_matches(name, RANGES, 1)
            known = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(RANGES)}"
            wrong.append(f"{SETTING}: there is no limit {name[:40]!r}; {known}")
            continue
        low, high = RANGES[name]
        number = int(value) if value.isascii() and value.isdecimal() and len(value) <= _DIGITS else None
        if number is None or not low <= number <= high:
            said = f"{name} is {value[:40]!r}, expected a whole number from {low} to {high}"
        elif name in found:
            said = f"{name} stands there twice, expected it once"
        else:
            found[name] = number
            continue
        wrong.append(f"{SETTING}: {said}; it is {found.get(name, getattr(DEFAULTS, name))} now")
    return Bounds(**found), tuple(wrong)


assert {one.name for one in fields(Bounds)} == set(RANGES)

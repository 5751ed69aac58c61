"""What an RE2 expression says about the texts in which it is found, as far as that is certain: how they begin or end, or
what stands in them. Whatever is not certain widens the answer; an expression that is not understood says nothing.
"""

import re
from dataclasses import dataclass
from itertools import chain, product
from typing import Final, Literal

type Where = Literal["is", "begins", "ends", "contains"]

_GAP: Final = "any text"
_START: Final = "start"
_END: Final = "end"
_MOST: Final = 64
"""Ways to read an expression that are followed; beyond, a part of it counts as any text."""

_DEEPEST: Final = 40

_GROUP: Final = re.compile(r"\((\?:|\?P?<\w+>|(?!\?))")
_REPEAT: Final = re.compile(r"([*+?]|\{(\d+)(,\d*)?\})\??")
_CLASS: Final = re.compile(r"\[(\^?)(\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*)\]", re.DOTALL)
_FEW: Final = re.compile(r"[\w@/ .,:;#%_-]{1,4}")
_NARROW: Final = re.compile(r"\\[dDsSwW]|\\[pP](\{\^?\w+\}|\w)")

type _Way = tuple[str, ...]
"""One way to read an expression: characters one by one, and in words what stands between them."""


@dataclass(frozen=True)
class Found:
    """One of these is in every text that matches, there."""

    where: Where
    text: str


class _UnclearError(Exception):
    """Not understood."""


def literals(pattern: str) -> tuple[Found, ...]:
    """Every text in which the expression is found has one of these; none where nothing is certain."""
    folded = pattern.startswith("(?i)")
    try:
        reader = _Reader(pattern.removeprefix("(?i)"), folded=folded)
        ways = reader.all()
    except _UnclearError:
        return ()
    found = [_longest(way) for way in ways]
    return tuple(dict.fromkeys(one for one in found if one)) if all(found) else ()


def _longest(way: _Way) -> Found | None:
    """The best that a way says: how a text begins, else how it ends, else the longest piece in it."""
    parts: list[str] = [""]
    for n, token in enumerate(way):
        if len(token) == 1:
            parts[-1] += token
        elif (token, n) != (_START, 0) and (token, n) != (_END, len(way) - 1):
            parts.append("")
    begins, ends = way[:1] == (_START,), way[-1:] == (_END,)
    if begins and ends and len(parts) == 1:
        return Found("is", parts[0]) if parts[0] else None
    if begins and parts[0]:
        return Found("begins", parts[0])
    if ends and parts[-1]:
        return Found("ends", parts[-1])
    longest = max(parts, key=len)
    return Found("contains", longest) if longest else None


class _Reader:
    def __init__(self, text: str, *, folded: bool) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._folded = folded

    def all(self) -> list[_Way]:
        ways = self._either()
        if self._at < len(self._text):
            raise _UnclearError
        return ways

    def _either(self) -> list[_Way]:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _UnclearError
        ways = self._row()
        while self._take("|"):
            ways += self._row()
        self._depth -= 1
        return ways if len(ways) <= _MOST else [(_GAP,)]

    def _row(self) -> list[_Way]:
        ways: list[_Way] = [()]
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            piece = self._repeated()
            if len(ways) * len(piece) > _MOST:
                piece = [(_GAP,)]
            ways = [tuple(chain(one, two)) for one, two in product(ways, piece)]
        return ways

    def _repeated(self) -> list[_Way]:
        piece = self._piece()
        repeat = _REPEAT.match(self._text, self._at)
        if not repeat:
            if self._text[self._at : self._at + 1] in {"*", "+", "?"}:
                raise _UnclearError
            return piece
        self._at = repeat.end()
        if any({_START, _END} & set(way) for way in piece) or _REPEAT.match(self._text, self._at):
            raise _UnclearError
        least = 1 if repeat[1] == "+" else int(repeat[2] or 0)
        return [(*way, _GAP) for way in piece] if least else [(_GAP,)]

    def _piece(self) -> list[_Way]:
        char = self._text[self._at]
        if char == "(":
            return self._group()
        if char == "[":
            return self._class()
        if char == "\\":
            return self._escape()
        if char in "{}]*+?":
            raise _UnclearError
        self._at += 1
        words = {".": _GAP, "^": _START, "$": _END}
        return [(words.get(char) or self._char(char),)]

    def _group(self) -> list[_Way]:
        opened = _GROUP.match(self._text, self._at)
        if not opened:
            raise _UnclearError  # flags
        self._at = opened.end()
        ways = self._either()
        if not self._take(")"):
            raise _UnclearError
        return ways

    def _class(self) -> list[_Way]:
        found = _CLASS.match(self._text, self._at)
        if not found:
            raise _UnclearError
        self._at = found.end()
        few = _FEW.fullmatch(found[2]) and "-" not in found[2][1:-1] and not found[1]
        return [(self._char(char),) for char in found[2]] if few else [(_GAP,)]

    def _escape(self) -> list[_Way]:
        char = self._text[self._at + 1 : self._at + 2]
        narrow = _NARROW.match(self._text, self._at)
        self._at = narrow.end() if narrow else self._at + 2
        if narrow:
            return [(_GAP,)]
        if char in {"b", "B"}:
            return [()]
        if char in {"A", "z"}:
            return [(_START if char == "A" else _END,)]
        if not char or char.isalnum() or not char.isascii():
            raise _UnclearError
        return [(self._char(char),)]

    def _char(self, char: str) -> str:
        """Without regard to case, K is the sign of Kelvin too, and s the long one: there no other comparison follows."""
        return _GAP if self._folded and (char in "kKsS" or not char.isascii()) else char

    def _take(self, char: str) -> bool:
        taken = self._text.startswith(char, self._at)
        self._at += taken
        return taken

"""Texts that an expression asks for, made from the expression itself. Whoever uses one holds it against the expression:
what is made here is likely, not certain, and for what is hard to make there is nothing.
"""

import re
from collections.abc import Sequence
from typing import Final

import re2

_MOST: Final = 12
_SET: Final = {"d": "0", "D": "a", "w": "a", "W": "-", "s": " ", "S": "a"}
_NOWHERE: Final = frozenset("bBAzZ")
_CONTROLS: Final = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}
_GROUP: Final = re.compile(r"\((?:\?(?::|P?<\w+>|(?P<flags>[a-zA-Z-]*)(?P<end>[:)])))?")
_REPEAT: Final = re.compile(r"(?:(?P<sign>[*+?])|\{(?P<least>\d{1,3})(?:,\d*)?\})[?+]?")
_RANGE: Final = re.compile(r"\[(?P<negated>\^)?(?P<members>\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*)\]", re.DOTALL)
_MEMBER: Final = re.compile(r"\[:\^?\w+:\]|\\?.-\\?.|\\?.", re.DOTALL)
_TRIED: Final = "a0-_ AzZ9.é"


def samples(pattern: str) -> Sequence[str]:
    """Texts which `pattern`, an RE2 expression, probably matches; none where it is beyond this reader."""
    reader = _Reader(pattern)
    try:
        found = reader.either()
    except _BeyondError:
        return ()
    return found if reader.at == len(pattern) else ()


class _BeyondError(Exception):
    pass


class _Reader:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self.at = 0

    def either(self) -> list[str]:
        found = self._sequence()
        while self._take("|"):
            found += self._sequence()
        return list(dict.fromkeys(found))[:_MOST]

    def _sequence(self) -> list[str]:
        made = [""]
        while self.at < len(self._pattern) and self._pattern[self.at] not in "|)":
            piece = self._repeated(self._piece())
            made = list(dict.fromkeys(left + right for left in made for right in piece))[:_MOST]
        return made

    def _take(self, sign: str) -> bool:
        found = self._pattern.startswith(sign, self.at)
        self.at += len(sign) if found else 0
        return found

    def _piece(self) -> list[str]:
        sign = self._pattern[self.at]
        if sign == "(":
            return self._group()
        if sign == "[":
            return self._members()
        self.at += 1
        if sign == "\\":
            return [self._escaped()]
        return [{"^": "", "$": "", ".": "a"}.get(sign, sign)]

    def _group(self) -> list[str]:
        opened = _GROUP.match(self._pattern, self.at)
        assert opened
        self.at = opened.end()
        if opened["end"] == ")":
            return [""]
        found = self.either()
        if not self._take(")"):
            raise _BeyondError
        return found

    def _escaped(self) -> str:
        if self.at == len(self._pattern):
            raise _BeyondError
        sign = self._pattern[self.at]
        self.at += 1
        if sign in _NOWHERE:
            return ""
        if sign in _SET or sign in _CONTROLS:
            return (_SET | _CONTROLS)[sign]
        if sign.isalnum():
            raise _BeyondError
        return sign

    def _members(self) -> list[str]:
        found = _RANGE.match(self._pattern, self.at)
        if not found:
            raise _BeyondError
        self.at = found.end()
        if found["negated"]:
            outside = re2.compile(found[0])  # type: ignore[no-untyped-call]  # the wheel carries no types
            return [sign for sign in _TRIED if outside.fullmatch(sign)][:2]
        return [_first(member) for member in _MEMBER.findall(found["members"])[:_MOST]]

    def _repeated(self, piece: list[str]) -> list[str]:
        found = _REPEAT.match(self._pattern, self.at)
        if not found:
            return piece
        self.at = found.end()
        if found["least"]:
            least = int(found["least"])
            return [text * least for text in piece] if least else ["", *piece]
        return piece if found["sign"] == "+" else ["", *piece]


def _first(member: str) -> str:
    """One sign of what stands between brackets."""
    if member.startswith("[:"):
        return {"[:digit:]": "0", "[:space:]": " ", "[:upper:]": "A", "[:punct:]": "-"}.get(member, "a")
    if member.startswith("\\"):
        return (_SET | _CONTROLS).get(member[1], member[1])
    return member[0]

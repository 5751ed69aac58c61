"""Texts that an expression may match: tries, made of its literals. Whoever uses one checks it by the compiled expression."""

import re
from dataclasses import dataclass
from itertools import islice, product
from typing import Final

_MOST: Final = 8
"""Tries of one expression."""

_CLASSES: Final = {"d": "0", "w": "a", "s": " ", "D": "a", "W": " ", "S": "a", "n": "\n", "t": "\t"}
_NOTHING: Final = frozenset("bBAz")
_COUNTS: Final = re.compile(r"\{(\d+)(?:,\d*)?\}")
_GROUP: Final = re.compile(r"\?(?:P?<\w+>|[a-zA-Z-]*:)")
_FLAGS: Final = re.compile(r"\(\?[a-zA-Z-]+\)")
_LONGEST: Final = 50
_PLAIN: Final = re.compile(r"\^((?:[\w /:@,;%&=#!<>'\"~-]|\\[^\w\s])*)")


def samples(pattern: str) -> tuple[str, ...]:
    """Some texts that the expression may match."""
    return tuple(dict.fromkeys(_Reader(pattern).either()))


def beginning(pattern: str) -> str:
    """What every text that the expression finds begins with; nothing where that cannot be told."""
    found = _PLAIN.match(pattern)
    if found is None or "|" in pattern:
        return ""
    literal = found[1]
    if pattern[found.end() : found.end() + 1] in {"*", "?", "{", "+"} and literal:
        literal = literal[: -2 if literal[-2:-1] == "\\" else -1]
    return re.sub(r"\\(.)", r"\1", literal)


@dataclass
class _Reader:
    pattern: str
    at: int = 0

    def either(self) -> list[str]:
        found = self._sequence()
        while self._peek() == "|":
            self.at += 1
            found += self._sequence()
        return found[:_MOST]

    def _peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def _sequence(self) -> list[str]:
        parts: list[list[str]] = []
        while self._peek() not in {"", "|", ")"}:
            parts.append(self._counted(self._atom()))
        return ["".join(one) for one in islice(product(*parts), _MOST)]

    def _counted(self, found: list[str]) -> list[str]:
        mark = self._peek()
        times = _COUNTS.match(self.pattern, self.at)
        if times:
            self.at = times.end()
            found = [one * min(int(times[1]), _LONGEST) for one in found]
        elif mark in {"*", "?", "+"}:
            self.at += 1
            found = found if mark == "+" else ["", *found] if mark == "*" else [*found, ""]
        if self._peek() == "?" and (times or mark in {"*", "?", "+"}):
            self.at += 1  # as few as possible: the same texts
        return found

    def _atom(self) -> list[str]:
        flags = _FLAGS.match(self.pattern, self.at)
        if flags:
            self.at = flags.end()
            return [""]
        sign = self._peek()
        self.at += 1
        match sign:
            case "(":
                kind = _GROUP.match(self.pattern, self.at)
                self.at = kind.end() if kind else self.at
                found = self.either()
                self.at += 1
                return found
            case "[":
                return self._class()
            case "\\":
                return [self._escaped()]
            case "^" | "$":
                return [""]
            case ".":
                return ["x"]
            case _:
                return [sign]

    def _escaped(self) -> str:
        sign = self._peek()
        self.at += 1
        return "" if sign in _NOTHING else _CLASSES.get(sign, sign)

    def _class(self) -> list[str]:
        negated = self._peek() == "^"
        self.at += negated
        found: list[str] = []
        while self._peek() and (self._peek() != "]" or not found):
            if self.pattern.startswith("[:", self.at):
                end = self.pattern.find(":]", self.at)
                self.at = end + 2 if end > 0 else len(self.pattern)
                found += ["a", "0", " "]
                continue
            sign = self._peek()
            self.at += 1
            found.append(self._escaped() if sign == "\\" else sign)
        self.at += 1
        return ["x", "0", " ", "-"] if negated else found[:3]

"""The text of a CEL expression as a tree that knows where its parts stand: to say what is wrong with it before it runs.

It reads the part of the language that rules use: no messages, bytes, optional fields or texts in three quotes.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

type Shape = Literal["text", "number", "truth", "null", "name", "select", "index", "call", "list", "map"]

_DEEPEST: Final = 30
_TOKEN: Final = re.compile(
    r"""
    (?P<gap>[ \t\r\n\f]+|//[^\n]*)
    |(?P<text>[rR]?(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
    |(?P<number>0[xX][0-9a-fA-F]+[uU]?|\d*\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\d+[uU]?)
    |(?P<name>[A-Za-z_]\w*)
    |(?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%!<>?:.,()\[\]{}])
    """,
    re.VERBOSE | re.ASCII,
)
_ESCAPE: Final = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.))", re.DOTALL
)
_PLAIN: Final = dict(zip("abfnrtv\\?\"'`", "\a\b\f\n\r\t\v\\?\"'`", strict=True))
_WORDS: Final = {"true": True, "false": False}
_RESERVED: Final = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)
_INSTEAD: Final = {
    "=": "'==' compares",
    "&": "'&&' is and",
    "|": "'||' is or",
    "~": 'write TEXT.matches("expression")',
    "`": 'write ["name"] behind the field',
    '"': "the text does not end: a second '\"' is missing",
    "'": 'the text does not end: a second "\'" is missing',
}
_SPELLED: Final = {"and": "&&", "or": "||", "not": "!", "True": "true", "False": "false", "None": "null"}


class ExpressionError(Exception):
    """What is wrong, and at which character."""

    def __init__(self, at: int, message: str) -> None:
        super().__init__(message)
        self.at = at


@dataclass(frozen=True, slots=True)
class Part:
    """One part. `name`: of a variable, field, function or operator; `value`: of a literal; `method`: the first of `parts` is
    what the function is called on.
    """

    shape: Shape
    at: int
    name: str = ""
    value: object = None
    parts: tuple["Part", ...] = ()
    method: bool = False
    depth: int = 1


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def parse(text: str) -> Part:
    """Raises ExpressionError."""
    reader = _Reader(text)
    found = reader.choice(0)
    reader.end()
    return found


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if not found:
            hint = _INSTEAD.get(text[at])
            raise ExpressionError(at, f"{text[at]!r} is not expected here" + (f": {hint}" if hint else ""))
        if found.lastgroup != "gap":
            yield _Token(found.lastgroup or "", found[0], at)
        at = found.end()
    yield _Token("end", "", len(text))


def _unescaped(token: _Token) -> str:
    if token.text[0] in "rR":
        return token.text[2:-1]

    def one(found: re.Match[str]) -> str:
        code = found[1] or found[2] or found[3]
        if code or found[4]:
            number = int(code, 16) if code else int(found[4], 8)
            if number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF:  # noqa: PLR2004 (the end of Unicode, and its gap)
                return chr(number)
        elif found[5] in _PLAIN:
            return _PLAIN[found[5]]
        said = "in an expression (RE2) write two '\\\\', or r\"…\""
        raise ExpressionError(token.at + 1 + found.start(), f"unknown escape {found[0]!r}: {said}")

    return _ESCAPE.sub(one, token.text[1:-1])


def _number(token: _Token) -> int | float:
    text = token.text.rstrip("uU")
    if text[:2] in {"0x", "0X"}:
        return int(text, 16)
    return int(text) if text.isdecimal() else float(text)


def _part(shape: Shape, at: int, name: str = "", parts: Sequence[Part] = (), *, method: bool = False) -> Part:
    depth = 1 + max((one.depth for one in parts), default=0)
    if depth > _DEEPEST:
        raise ExpressionError(at, f"nested deeper than {_DEEPEST} levels")
    return Part(shape, at, name, None, tuple(parts), method, depth)


_LEVELS: Final = (
    ("||",),
    ("&&",),
    ("==", "!=", "<=", ">=", "<", ">", "in"),
    ("+", "-"),
    ("*", "/", "%"),
)
"""Operators of two sides, from those that bind least."""


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._n = 0

    @property
    def _now(self) -> _Token:
        return self._tokens[self._n]

    def _is(self, *texts: str) -> bool:
        return self._now.kind in {"sign", "name"} and self._now.text in texts

    def _next(self) -> _Token:
        token = self._now
        self._n += 1
        return token

    def _take(self, text: str, why: str) -> None:
        if not self._is(text):
            raise self._wrong(f"{text!r} {why}")
        self._next()

    def _wrong(self, expected: str) -> ExpressionError:
        token = self._now
        if token.kind == "end":
            return ExpressionError(token.at, f"the expression ends where {expected} is expected")
        hint = f"; write {_SPELLED[token.text]!r}" if token.text in _SPELLED else ""
        return ExpressionError(token.at, f"found {token.text!r} where {expected} is expected{hint}")

    def end(self) -> None:
        if self._now.kind != "end":
            raise self._wrong("an operator or the end")

    def choice(self, depth: int) -> Part:
        if depth > _DEEPEST:
            raise ExpressionError(self._now.at, f"nested deeper than {_DEEPEST} levels")
        first = self._sides(0, depth)
        if not self._is("?"):
            return first
        at = self._next().at
        then = self._sides(0, depth)
        self._take(":", "between the two values of '?'")
        return _part("call", at, "?:", (first, then, self.choice(depth + 1)))

    def _sides(self, level: int, depth: int) -> Part:
        """Both sides of operators of this level. A row of the same one is one part: `a && b && c`."""
        if level == len(_LEVELS):
            return self._unary(depth)
        found = self._sides(level + 1, depth)
        while self._is(*_LEVELS[level]):
            sign = self._next()
            right = self._sides(level + 1, depth)
            row = (
                found.parts
                if found.name == sign.text and sign.text in {"&&", "||", "+"} and not found.method
                else (found,)
            )
            found = _part("call", sign.at, sign.text, (*row, right))
        return found

    def _unary(self, depth: int) -> Part:
        if not self._is("!", "-"):
            return self._member(depth)
        sign = self._next()
        if depth > _DEEPEST:
            raise ExpressionError(sign.at, f"nested deeper than {_DEEPEST} levels")
        inner = self._unary(depth + 1)
        if sign.text == "-" and inner.shape == "number" and isinstance(inner.value, int | float):
            return Part("number", sign.at, value=-inner.value)
        return _part("call", sign.at, f"{sign.text}_", (inner,))

    def _member(self, depth: int) -> Part:
        found = self._primary(depth)
        while self._is(".", "["):
            sign = self._next()
            if sign.text == "[":
                found = _part("index", sign.at, parts=(found, self.choice(depth + 1)))
                self._take("]", "behind what stands in '['")
                continue
            if self._now.kind != "name" or self._now.text == "in":
                raise self._wrong("the name of a field")
            name = self._next()
            if self._is("("):
                found = _part("call", name.at, name.text, (found, *self._row(")", depth)), method=True)
            else:
                found = _part("select", name.at, name.text, (found,))
        return found

    def _primary(self, depth: int) -> Part:
        token = self._now
        if token.kind in {"text", "number"}:
            self._next()
            value = _unescaped(token) if token.kind == "text" else _number(token)
            return Part("text" if token.kind == "text" else "number", token.at, value=value)
        if self._is("("):
            self._next()
            inner = self.choice(depth + 1)
            self._take(")", "behind what stands in '('")
            return inner
        if self._is("["):
            return _part("list", token.at, parts=self._row("]", depth))
        if self._is("{"):
            return _part("map", token.at, parts=self._pairs(depth))
        if token.kind != "name" or token.text in _RESERVED or token.text in _SPELLED:
            raise self._wrong("a value")
        self._next()
        if token.text in _WORDS:
            return Part("truth", token.at, value=_WORDS[token.text])
        if token.text == "null":
            return Part("null", token.at)
        if self._is("("):
            return _part("call", token.at, token.text, self._row(")", depth))
        return Part("name", token.at, token.text)

    def _row(self, close: str, depth: int) -> list[Part]:
        """Values with commas between them, brackets included."""
        self._next()
        found: list[Part] = []
        while not self._is(close):
            if found:
                self._take(",", f"or {close!r}")
            found.append(self.choice(depth + 1))
        self._next()
        return found

    def _pairs(self, depth: int) -> list[Part]:
        self._next()
        found: list[Part] = []
        while not self._is("}"):
            if found:
                self._take(",", "or '}'")
            key = self.choice(depth + 1)
            self._take(":", "behind a key")
            found += (key, self.choice(depth + 1))
        self._next()
        return found

"""What a line of `match` says, parsed once and compiled to closures.

A line holds, does not hold, or cannot be told: because a lookup has not been made yet (then the rule waits), or because
it was made and could not say (then the line does not hold, and neither does a `not` around it: nobody knows is not no).
"""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import re2

from shared.events import Event
from shared.record import Checked, Facts, Lookup
from shared.rules.paths import Gap, Path

type Code = int
NO: Final[Code] = 0
YES: Final[Code] = 1
UNKNOWN: Final[Code] = 2
METRICS: Final[Code] = 4
JOB: Final[Code] = 8
DRIFT: Final[Code] = 32
WAITING: Final[Code] = METRICS | JOB | DRIFT
"""Bits: what a judgement waits for. UNKNOWN stands alone; where something is waited for it is left out."""

ERROR: Final[Code] = 16
"""Of a `when` alone: it went wrong, which is no match, and goes on record."""

WAITS: Final[Mapping[Lookup, Code]] = {"metrics": METRICS, "job": JOB, "drift": DRIFT}
"""By lookup."""

type Judge = Callable[[Event, Facts], Code]
type Holds = Callable[[object], bool]
type Wants = Literal["any", "number", "text", "truth"]


@dataclass(frozen=True, slots=True)
class Test:
    """One value's test. `texts`: the exact texts, one of which is asked for and nothing else; empty where it is not so.

    What it turns on: `named` values, numbers at the `edges` of what holds, and `patterns`. `choices`: of a list of values, the
    test of each.
    """

    text: str
    holds: Holds
    wants: Wants = "any"
    texts: tuple[str, ...] = ()
    named: tuple[object, ...] = ()
    edges: tuple[float, ...] = ()
    patterns: tuple[str, ...] = ()
    choices: tuple["Test", ...] = ()

    @property
    def points(self) -> tuple[object, ...]:
        """Where its answer may change: between two of them it is the same for all values of a kind, patterns left aside."""
        return (*self.texts, *self.named, *self.edges)


class OperatorError(Exception):
    """What is wrong with a value in `match`, and what was expected."""


_NUMBER: Final = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_OPERATOR: Final = re.compile(r"(!=|>=|<=|>|<|=|~)\s*(.*)", re.DOTALL)
_EDGE: Final = re.compile(r"(starts|ends) (.+)", re.DOTALL)
_NEARLY: Final = {
    "==": "'= value'",
    "=>": "'>= number'",
    "=<": "'<= number'",
    "<>": "'!= value'",
    "=~": "'~ expression'",
    "!~": "a block 'not: {FIELD: \"~ expression\"}'",
    "≥": "'>= number'",
    "≤": "'<= number'",
    "≠": "'!= value'",
}
_COMPARE: Final = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_LONGEST_INT: Final = 300


def number(value: object) -> float | None:
    """A number, or a text that is one: user tags are always text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if isinstance(value, str) and len(value) < _LONGEST_INT and _NUMBER.fullmatch(value):
        return int(value) if value.lstrip("+-").isdecimal() else float(value)
    return None


def truth(value: object) -> bool | None:
    """True or false, or a text that says so in any case."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.casefold())
    return value if isinstance(value, bool) else None


PRESENT: Final = Test("present", lambda value: value is not None)
ABSENT: Final = Test("absent", lambda value: value is None)


def test_of(value: object, path: Path) -> Test:
    """The test that a value of `match` stands for. Raises OperatorError with what was expected."""
    if isinstance(value, str):
        found = _worded(value, path)
    elif value is None:
        raise OperatorError("nothing stands here: expected a value, an operator, 'present' or 'absent'")
    else:
        assert isinstance(value, bool | int | float)
        found = _equal(value)
    _fits(found, path)
    return found


def either(tests: Sequence[Test]) -> Test:
    """A list of values: one of them."""
    if len(tests) == 1:
        return tests[0]
    holds = tuple(test.holds for test in tests)
    texts = tuple(text for test in tests for text in test.texts) if all(test.texts for test in tests) else ()
    kinds = {test.wants for test in tests}
    if texts:
        known = frozenset(texts)
        return Test(_or(tests), lambda value: isinstance(value, str) and value in known, "text", texts, texts)
    return Test(
        _or(tests),
        lambda value: any(one(value) for one in holds),
        kinds.pop() if len(kinds) == 1 else "any",
        named=tuple(value for test in tests for value in test.named),
        edges=tuple(edge for test in tests for edge in test.edges),
        patterns=tuple(pattern for test in tests for pattern in test.patterns),
        choices=tuple(tests),
    )


def _or(tests: Sequence[Test]) -> str:
    return " or ".join(dict.fromkeys(test.text for test in tests))


def _worded(text: str, path: Path) -> Test:
    if text in {"present", "absent"}:
        return PRESENT if text == "present" else ABSENT
    wrong = next((shown for mark, shown in _NEARLY.items() if text.startswith(mark)), None)
    if wrong:
        raise OperatorError(f"unknown operator in {text!r}: write {wrong}")
    edge = _EDGE.fullmatch(text)
    if edge:
        return _edge(edge[1], edge[2].strip())
    found = _OPERATOR.fullmatch(text)
    if not found:
        return _range(text, path) if ".." in text else _equal(text)
    sign, operand = found[1], found[2].strip()
    if not operand:
        raise OperatorError(f"nothing stands behind {sign!r}")
    if sign == "~":
        return _regex(operand)
    if sign in {"=", "!="}:
        return _compared(sign, operand)
    limit = _amount(operand, path, f"a number behind {sign!r}")
    compare = _COMPARE[sign]

    def holds(value: object) -> bool:
        actual = number(value)
        return actual is not None and compare(actual, limit)

    return Test(f"{sign} {operand}", holds, "number", edges=(limit,))


def _compared(sign: str, operand: str) -> Test:
    """`= value` and `!= value`: the operand is a number, true or false, or else the exact text."""
    asked = number(operand)
    equal = _equal(operand if asked is None else asked) if truth(operand) is None else _equal(truth(operand))
    if sign == "=":
        return equal
    same = equal.holds
    return Test(f"!= {operand}", lambda value: value is not None and not same(value), named=equal.named)


def _equal(value: object) -> Test:
    if isinstance(value, bool):
        return Test(f"= {str(value).lower()}", lambda actual: truth(actual) is value, "truth", named=(value,))
    if isinstance(value, int | float):
        if not math.isfinite(value):
            raise OperatorError(f"{value} is no number to compare with")
        return Test(f"= {value}", lambda actual: number(actual) == value, "number", named=(value,))
    assert isinstance(value, str)
    return Test(f"= {value}", lambda actual: actual == value, "text", (value,), (value,))


def _edge(word: str, operand: str) -> Test:
    """`starts incoming/`, `ends .csv`: for who does not want to write an expression."""
    if not operand:
        raise OperatorError(f"nothing stands behind {word!r}")
    plain = re.escape(operand)
    if word == "starts":
        return Test(
            f"starts {operand}",
            lambda value: isinstance(value, str) and value.startswith(operand),
            "text",
            patterns=(f"^{plain}",),
        )
    return Test(
        f"ends {operand}",
        lambda value: isinstance(value, str) and value.endswith(operand),
        "text",
        patterns=(f"{plain}$",),
    )


def _regex(pattern: str) -> Test:
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)  # type: ignore[no-untyped-call]  # the wheel carries no types
    except re2.error as error:
        said = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise OperatorError(f"{pattern!r} is not an RE2 expression: {said}") from error
    search = compiled.search
    return Test(
        f"~ {pattern}", lambda value: isinstance(value, str) and search(value) is not None, "text", patterns=(pattern,)
    )


def _range(text: str, path: Path) -> Test:
    """`0.1..0.3`, both ends included. A text with dots that has a number on neither side is a plain text."""
    low, _, high = (part.strip() for part in text.partition(".."))
    sides = [side for side in (low, high) if number(side) is not None or _DURATION.fullmatch(side)]
    if not sides:
        return _equal(text)
    if len(sides) == 1:
        raise OperatorError(f"bad range {text!r}: expected a number on both sides, as in '0.1..0.3'")
    first = _amount(low, path, "a number on both sides of '..'")
    last = _amount(high, path, "a number on both sides of '..'")
    if first > last:
        raise OperatorError(f"empty range {text!r}: {low} is more than {high}; write '{high}..{low}'")

    def holds(value: object) -> bool:
        actual = number(value)
        return actual is not None and first <= actual <= last

    return Test(f"{low}..{high}", holds, "number", edges=(first, last))


def _amount(text: str, path: Path, expected: str) -> float:
    """A number; for a duration also with its unit."""
    plain = number(text)
    if plain is not None and math.isfinite(plain):
        return plain
    if path.name == "job.duration":
        length = _DURATION.fullmatch(text)
        if length:
            return float(length[1]) * _UNITS[length[2]]
        raise OperatorError(f"bad duration {text!r}: expected seconds, or a number with s, m, h or d, as in '> 90m'")
    raise OperatorError(f"{text!r} is not a number: expected {expected}")


def _fits(test: Test, path: Path) -> None:
    """Refuses what could never hold, such as a quoted number for a field that is a number."""
    if test.wants == "any":
        return
    if path.kind == "number" and test.wants != "number":
        hint = ": write it without quotes" if any(number(text) is not None for text in test.texts) else ""
        raise OperatorError(f"{path.name} is a number, and {test.text!r} compares {_SAID[test.wants]}{hint}")
    if path.kind == "truth" and test.wants != "truth":
        raise OperatorError(f"{path.name} is true or false, and {test.text!r} compares {_SAID[test.wants]}")
    for text in test.texts:
        spelled = next((word for word in path.words if word.casefold() == text.casefold()), text)
        if path.words and text != spelled:
            raise OperatorError(f"{path.name} is spelled {spelled!r}, not {text!r}: texts compare exactly")


_SAID: Final[dict[Wants, str]] = {
    "text": "text",
    "number": "numbers",
    "truth": "true or false",
    "any": "anything",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One condition: a field and its test. `settled`: where it asks for exact texts, what to say of each."""

    path: Path
    test: Test
    line: int
    column: int
    judge: Judge
    settled: Mapping[object, Checked]
    file: str

    @property
    def text(self) -> str:
        return f"{self.path.name} {self.test.text}"

    def holds(self, value: object) -> bool:
        """Of a value that is known."""
        return self.test.holds(value) if self.path.exact else _any_holds(self.test.holds, value)

    def check(self, event: Event, facts: Facts) -> Checked:
        value = self.path.get(event, facts)
        if type(value) is str and value in self.settled:
            return self.settled[value]
        if isinstance(value, Gap):
            note = f"unknown: {value.reason}" if value.asked else f"waits for the lookup of the run's {value.lookup}"
            return Checked(self.path.name, self.test.text, note=note)
        held = self.holds(value)
        note = "" if held else _why(value, self.test.wants)
        present = value is not None and value != ()
        return Checked(self.path.name, self.test.text, _short(value), present=present, held=held, note=note)


@dataclass(frozen=True, slots=True)
class Block:
    """`any:` (one of the blocks holds) or `not:` (its one block does not)."""

    kind: Literal["any", "not"]
    blocks: tuple[tuple["Condition", ...], ...]
    line: int
    column: int
    judge: Judge
    file: str

    @property
    def text(self) -> str:
        inner = " or ".join(f"({' and '.join(line.text for line in block)})" for block in self.blocks)
        return inner if self.kind == "any" else f"not {inner}"

    def check(self, event: Event, facts: Facts) -> Checked:
        code = self.judge(event, facts)
        parts = [condition.check(event, facts) for block in self.blocks for condition in block]
        said = "; ".join(dict.fromkeys(_seen(part) for part in parts))
        return Checked(self.kind, self.text, present=True, held=code == YES, note=said)


@dataclass(frozen=True, slots=True)
class When:
    """An expression in CEL (see rules/cel.py). `fields`: those it names; `hints`: what may be meant otherwise."""

    text: str
    line: int
    column: int
    judge: Judge
    checked: Callable[[Event, Facts], Checked]
    file: str
    fields: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()

    def check(self, event: Event, facts: Facts) -> Checked:
        return self.checked(event, facts)


type Condition = Line | Block | When


def line(path: Path, test: Test, at: tuple[int, int], file: str) -> Line:
    settled: dict[object, Checked] = {
        text: Checked(path.name, test.text, text, present=True, held=True) for text in test.texts
    }
    return Line(path, test, *at, _line_judge(path, test), settled if path.exact else {}, file)


def block(kind: Literal["any", "not"], blocks: Sequence[Sequence[Condition]], at: tuple[int, int], file: str) -> Block:
    judges = tuple(every(tuple(condition.judge for condition in one)) for one in blocks)
    judge = some(judges) if kind == "any" else negated(judges[0])
    return Block(kind, tuple(tuple(one) for one in blocks), *at, judge, file)


def every(judges: Sequence[Judge]) -> Judge:
    def judge(event: Event, facts: Facts) -> Code:
        open_ = 0
        for one in judges:
            code = one(event, facts)
            if code == NO:
                return NO
            if code != YES:
                open_ |= code
        return (open_ & WAITING or open_) if open_ else YES

    return judge


def some(judges: Sequence[Judge]) -> Judge:
    def judge(event: Event, facts: Facts) -> Code:
        open_ = 0
        for one in judges:
            code = one(event, facts)
            if code == YES:
                return YES
            open_ |= code
        return open_ & WAITING or open_

    return judge


def negated(inner: Judge) -> Judge:
    def judge(event: Event, facts: Facts) -> Code:
        code = inner(event, facts)
        return code ^ YES if code in {NO, YES} else code

    return judge


_MANY: Final = (tuple, list)


def _any_holds(holds: Holds, value: object) -> bool:
    """A list holds if any element does; an empty one is missing."""
    if isinstance(value, _MANY):
        return any(holds(one) for one in value) if value else holds(None)
    return holds(value)


def _line_judge(path: Path, test: Test) -> Judge:
    get, holds = path.get, test.holds
    if path.exact and len(test.texts) == 1:
        text = test.texts[0]
        return lambda event, facts: get(event, facts) == text
    if path.exact:
        return lambda event, facts: holds(get(event, facts))
    if path.lookup is None:
        return lambda event, facts: _any_holds(holds, get(event, facts))
    waits = WAITS[path.lookup]

    def judge(event: Event, facts: Facts) -> Code:
        value = get(event, facts)
        if isinstance(value, Gap):
            return UNKNOWN if value.asked else waits
        return _any_holds(holds, value)

    return judge


def _why(value: object, wants: Wants) -> str:
    """What about the value's type kept a test from holding, if that was it."""
    if value is None or isinstance(value, tuple | list):
        return ""
    if wants == "number" and number(value) is None:
        return "is not a number"
    if wants == "truth" and truth(value) is None:
        return "is neither true nor false"
    if wants == "text" and not isinstance(value, str):
        return "is not text: write the value without quotes to compare it"
    return ""


_LONGEST: Final = 300


def _short(value: object) -> object:
    """What a record keeps of a value: all of it, unless it is very long."""
    if isinstance(value, tuple):
        return list(value)
    return f"{value[:_LONGEST]}…" if isinstance(value, str) and len(value) > _LONGEST else value


def _seen(checked: Checked) -> str:
    waits = checked.note.startswith("waits") and not checked.present
    return f"{checked.path} {checked.note}" if waits else f"{checked.path} is {shown(checked)}"


def shown(checked: Checked) -> str:
    """The actual value in words."""
    if not checked.present:
        return checked.note or "missing"
    return str(checked.actual).lower() if isinstance(checked.actual, bool) else repr(checked.actual)

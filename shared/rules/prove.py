"""What can be proved of conditions without an event at hand: that none matches, that one follows from another, and an event
that shows the contrary.

"Never" is said where it is proved; "both" where an event was made and the rules' own judges have held it against them. In
between nothing is said: expressions (`~`) are tried, and what is neither line nor block may hold or not.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import islice, pairwise
from typing import Final

from shared.events import Blob, Drift, Endpoint, Event, Model, Run, blob_of
from shared.record import Facts, Job
from shared.rules.match import NO, UNKNOWN, YES, Block, Code, Condition, Line, Test, number
from shared.rules.plan import judged
from shared.rules.samples import samples
from shared.rules.shapes import Domain, Shape, shapes

type Wanted = frozenset[Code]
"""The judgements that are asked for."""

HOLDS: Final[Wanted] = frozenset({YES})
_FAILS: Final[Wanted] = frozenset({NO})
MISSES: Final[Wanted] = frozenset({NO, UNKNOWN})
_MAY: Final[Wanted] = frozenset({YES, UNKNOWN})
_INSIDE_NOT: Final[Mapping[Wanted, Wanted]] = {HOLDS: _FAILS, _FAILS: HOLDS, MISSES: _MAY, _MAY: MISSES}

type Part = Condition | tuple[Condition, ...]
type Goal = tuple[Part, Wanted]
type _Ask = tuple[Test, Wanted]

_MOST_STEPS: Final = 2000
_MOST_CHOICES: Final = 200
_TRIES: Final = 64
"""Cases that are tried for an example."""


class _TooManyError(Exception):
    """More cases than anybody waits for."""


@dataclass(frozen=True, slots=True)
class Example:
    event: Event
    facts: Facts


def all_of(conditions: Iterable[Condition]) -> Goal:
    return (tuple(conditions), HOLDS)


def not_all_of(conditions: Iterable[Condition]) -> Goal:
    return (tuple(conditions), MISSES)


# Questions


def possible(conditions: Sequence[Condition], event_type: str) -> bool:
    """False: no event of this type matches. True: it is not proved."""
    return not ruled_out([all_of(conditions)], shapes(event_type))


def implies(first: Sequence[Condition], second: Sequence[Condition], event_type: str) -> bool | None:
    """Whether what matches the first matches the second too; None where nobody can say."""
    goals = [all_of(first), not_all_of(second)]
    if ruled_out(goals, shapes(event_type, doubt=True)):
        return True
    return None if example(goals, shapes(event_type, doubt=True)) is None else False


def witness(conditions: Sequence[Condition], event_type: str) -> Example | None:
    """An event that matches; None where none was found."""
    return example([all_of(conditions)], shapes(event_type))


def ruled_out(goals: Sequence[Goal], among: Sequence[Shape]) -> bool:
    """Whether it is proved that no event of these shapes reaches all goals."""
    try:
        return next(_cases(goals, among), None) is None
    except _TooManyError:
        return False


def example(goals: Sequence[Goal], among: Sequence[Shape]) -> Example | None:
    """An event that reaches all goals, as judged by the conditions themselves."""
    try:
        for case in islice(_cases(goals, among), _TRIES):
            made = None if case.open else _event(case)
            if made is not None and all(_meets(goal, made) for goal in goals):
                return made
    except _TooManyError:
        pass
    return None


def _meets(goal: Goal, made: Example) -> bool:
    part, wanted = goal
    judges = [one.judge for one in (part if isinstance(part, tuple) else (part,))]
    code = judged(judges, made.event, made.facts)  # for all of them together, nobody knows is NO
    return (code if code in {YES, NO} else UNKNOWN) in wanted


# Cases: blocks are taken apart until only lines are left


@dataclass(frozen=True, slots=True)
class _Case:
    """Values for the fields that matter. `open`: where a text may or may not be found for some field."""

    shape: Shape
    values: Mapping[str, object]
    open: bool


type _Asked = tuple[Line, Wanted]


def _cases(goals: Sequence[Goal], among: Sequence[Shape]) -> Iterator[_Case]:
    """Every way to reach the goals that is not ruled out."""
    search = _Search(among)
    for lines in search.apart(list(goals), []):
        yield from search.fitting(lines)


@dataclass
class _Search:
    """One way after the other; one that is ruled out by some of its lines already is not followed any further."""

    among: Sequence[Shape]
    steps: int = 0

    def apart(self, goals: list[Goal], lines: list[_Asked]) -> Iterator[list[_Asked]]:
        choices: list[list[Goal]] = []
        lines = list(lines)
        while goals:
            part, wanted = goals.pop()
            inner = _inside(part, wanted)
            if isinstance(part, Line):
                lines.append((part, wanted))
            elif inner is not None and _all(part, wanted):
                goals += inner
            elif inner is not None:
                choices.append(inner)
            # Anything else may hold or not: it is no reason against.
        self.steps += 1
        if self.steps > _MOST_STEPS or len(choices) > _MOST_CHOICES:
            raise _TooManyError
        if next(self.fitting(lines), None) is None:
            return
        if not choices:
            yield lines
            return
        yield from self._each(sorted(choices, key=len), lines)

    def _each(self, choices: list[list[Goal]], lines: list[_Asked]) -> Iterator[list[_Asked]]:
        """One of each."""
        if not choices:
            yield lines
            return
        for goal in choices[0]:
            for found in self.apart([goal], lines):
                yield from self._each(choices[1:], found)

    def fitting(self, lines: Sequence[_Asked]) -> Iterator[_Case]:
        """The shapes, each with values, that these lines allow."""
        seen: set[tuple[Domain, ...]] = set()
        paths = {line.path.name: line.path for line, _ in lines}
        for shape in self.among:
            domains = tuple(shape.domain(path) for path in paths.values())
            if domains in seen:
                continue
            seen.add(domains)
            case = _case(shape, lines, dict(zip(paths, domains, strict=True)))
            if case is not None:
                yield case


def _inside(part: Part, wanted: Wanted) -> list[Goal] | None:
    """The goals that a block or a list of conditions comes down to; None where it is neither."""
    if isinstance(part, tuple):
        return [(one, wanted) for one in part]
    if isinstance(part, Block) and part.kind == "not":
        return [(part.blocks[0], _INSIDE_NOT[wanted])]
    if isinstance(part, Block):
        return [(block, wanted) for block in part.blocks]
    return None


def _all(part: Part, wanted: Wanted) -> bool:
    """Whether all of what is inside has to be reached, or one of it."""
    if isinstance(part, Block) and part.kind == "not":
        return True
    either = isinstance(part, Block)
    return either != (wanted in (HOLDS, _MAY))


def _case(shape: Shape, lines: Sequence[_Asked], domains: Mapping[str, Domain]) -> _Case | None:
    asks: dict[str, list[_Ask]] = {}
    for line, wanted in lines:
        asks.setdefault(line.path.name, []).append((line.test, wanted))
    values: dict[str, object] = {}
    unsure = False
    for name, asked in asks.items():
        found = _value(domains[name], tuple(asked))
        if found is _NONE:
            return None
        if found is _UNSURE:
            unsure = True
        else:
            values[name] = found
    return _Case(shape, values, unsure)


# One field


class _Sign:
    pass


_NONE: Final = _Sign()
_UNSURE: Final = _Sign()


@lru_cache(maxsize=4096)
def _value(domain: Domain, asked: tuple[_Ask, ...]) -> object:
    """A value that answers all tests as wanted; _NONE: there is none; _UNSURE: there may be one."""
    tests: dict[object, _Ask] = {}
    for test, wanted in asked:
        known = (test.text, test.wants, test.texts, test.points)
        both = wanted & tests[known][1] if known in tests else wanted
        if not both:
            return _NONE
        tests[known] = (test, both)
    asks = tuple(tests.values())
    if domain.unknown:
        return None if all(UNKNOWN in wanted for _, wanted in asks) else _NONE
    if domain.only is None and domain.kind in {"texts", "values"}:
        return _many(
            Domain("text" if domain.kind == "texts" else "any", missing=False), asks, plain=domain.kind == "values"
        )
    return _one(domain, asks)


def _one(domain: Domain, asks: Sequence[_Ask]) -> object:
    """A single value. Values between the points of all tests are alike, but for expressions: only texts differ there."""
    if _apart_from_the_start(asks):
        return _NONE
    searched = [ask for ask in asks if ask[0].patterns]
    others = [ask for ask in asks if not ask[0].patterns]
    points = {point for test, _ in asks for point in test.points}
    unsure = False
    for value in _candidates(domain, asks):
        if not _answers(value, others):
            continue
        if _answers(value, searched):
            return value
        unsure = unsure or (isinstance(value, str) and value not in points and domain.only is None)
    return _UNSURE if unsure else _NONE


def _apart_from_the_start(asks: Sequence[_Ask]) -> bool:
    """Whether expressions that have to be found ask for different beginnings: then no text has both."""
    begins = [
        _beginning(test.patterns[0])
        for test, wanted in asks
        if wanted == HOLDS
        and len(test.patterns) == 1
        and (test.text == f"~ {test.patterns[0]}" or test.text.startswith("starts "))
    ]
    begins.sort(key=len)
    return any(not longer.startswith(shorter) for shorter, longer in pairwise(begins)) if begins else False


_PLAIN: Final = re.compile(r"\^((?:[\w /:@,;%&=#!<>'\"~-]|\\[^\w\s])*)")


def _beginning(pattern: str) -> str:
    """What every text that the expression finds begins with; nothing where that cannot be told."""
    found = _PLAIN.match(pattern)
    if found is None or "|" in pattern:
        return ""
    literal = found[1]
    if pattern[found.end() : found.end() + 1] in {"*", "?", "{", "+"} and literal:
        literal = literal[: -2 if literal[-2:-1] == "\\" else -1]
    return re.sub(r"\\(.)", r"\1", literal)


def _answers(value: object, asks: Iterable[_Ask]) -> bool:
    return all((YES if test.holds(value) else NO) in wanted for test, wanted in asks)


def _many(element: Domain, asks: Sequence[_Ask], *, plain: bool) -> object:
    """A list, which holds if any element does. `plain`: a value alone will do as well."""
    if _answers(None, asks):
        return None
    never = tuple(ask for ask in asks if YES not in ask[1])
    needed = [ask for ask in asks if NO not in ask[1]]
    if plain:
        # A list may hold null.
        element = Domain(element.kind)
        together = _one(element, tuple(asks))
        if together is not _NONE and together is not _UNSURE and together is not None:
            return together
    found = [_one(element, (ask, *never)) for ask in needed] or [_one(element, never)]
    if any(one is _NONE for one in found):
        return _NONE
    # A payload may hold a list of it all, but hardly does: no example for a person.
    return _UNSURE if plain or any(one is _UNSURE for one in found) else tuple(found)


def _candidates(domain: Domain, asks: Sequence[_Ask]) -> Iterator[object]:
    """One value of each kind that the tests may tell apart, the natural ones first."""
    if domain.only is not None:
        yield from domain.only
    else:
        points = [point for test, _ in asks for point in test.points]
        # Sorted out by kind before doubles are: true is 1 to a set.
        numbers = sorted({point for point in points if isinstance(point, int | float) and not isinstance(point, bool)})
        texts = list(dict.fromkeys(point for point in points if isinstance(point, str)))
        patterns = list(dict.fromkeys(pattern for test, _ in asks for pattern in test.patterns))
        kind = domain.kind
        if kind in {"text", "any"}:
            yield from texts
            yield from _tried(patterns)
            yield from (text for at in _regions(numbers) if (text := _spelled(at, texts)) is not None)
            yield from _truths(texts)
            yield next(text for n in range(len(texts) + 1) if (text := f"other{n or ''}") not in texts)
        if kind in {"number", "any"}:
            yield from _regions(numbers)
        if kind == "number":
            yield math.nan
        if kind == "whole":
            yield from _whole(numbers)
        if kind in {"truth", "any"}:
            yield from (True, False)
        if kind == "any":
            yield {}
    if domain.missing:
        yield None


def _tried(patterns: Sequence[str]) -> Iterator[str]:
    each = [samples(pattern) for pattern in patterns]
    for tries in each:
        yield from tries
    for one in each:
        for other in each:
            if one is not other:
                yield from (first + second for first in one for second in other)


def _regions(points: Sequence[float]) -> list[float]:
    """The points, and one number between any two neighbours and beyond both ends."""
    if not points:
        return [1]
    between = [low / 2 + high / 2 for low, high in pairwise(points)]
    low, high = points[0], points[-1]
    return [*points, *between, high + abs(high) / 2 + 1, low - abs(low) / 2 - 1]


def _whole(points: Sequence[float]) -> list[int]:
    """Sizes: whole numbers from 0."""
    found = {0, 1, *(math.floor(point) + step for point in points for step in (-1, 0, 1, 2))}
    return sorted((one for one in found if one >= 0), key=lambda one: (one == 0, one))


def _spelled(value: float, taken: Sequence[str]) -> str | None:
    """The number as a text that is not one of these."""
    plain = str(int(value)) if math.isfinite(value) and value == int(value) else repr(value)
    sign = "-" if plain.startswith("-") else ""
    rest = plain.removeprefix("-")
    tries = (f"{sign}{'0' * n}{rest}" for n in range(len(taken) + 1))
    return next((text for text in tries if text not in taken and number(text) == value), None)


def _truths(taken: Sequence[str]) -> Iterator[str]:
    for word in ("true", "false"):
        spellings = ("".join(pair) for pair in _cased(word))
        free = next((text for text in spellings if text not in taken), None)
        if free is not None:
            yield free


def _cased(word: str) -> Iterator[str]:
    for bits in range(2 ** len(word)):
        yield "".join(sign.upper() if bits >> n & 1 else sign for n, sign in enumerate(word))


# An event


_PARTS: Final = {"run": Run, "model": Model, "endpoint": Endpoint, "drift": Drift, "blob": Blob}
_ANCHORS: Final[Mapping[str, Mapping[str, object]]] = {
    "run": {"id": "run-1"},
    "model": {"name": "model-1", "version": "1"},
    "endpoint": {"name": "endpoint-1"},
    "blob": {"url": "https://store/blob"},
    "drift": {},
}
_SOURCE: Final = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
_TIME: Final = "2026-01-05T08:00:00+00:00"


def _event(case: _Case) -> Example | None:
    """The case as an event with what was looked up; None where a value does not fit into one."""
    shape, values = case.shape, case.values
    plain: dict[str, object] = {}
    tables: dict[str, dict[str, object]] = {}
    required = {
        name: domain.only[0] if domain.only else _ANCHORS.get(name.partition(".")[0], {}).get(name.partition(".")[2])
        for name, domain in shape.fields.items()
        if not domain.missing and not domain.unknown and name not in values
    }
    for name, value in {**required, **values}.items():
        head, _, rest = name.partition(".")
        if value is None:
            continue
        if rest:
            tables.setdefault(head, {})[rest] = value
        else:
            plain[head] = value
    parts: dict[str, object] = {}
    for head, kind in _PARTS.items():
        if head in tables:
            parts[head] = kind(**{**_ANCHORS[head], **tables.pop(head)})
    if not _lies(parts.get("blob")):
        return None
    looked = {name: tables.pop(name, {}) for name in ("metrics", "job")}
    try:
        time = datetime.fromisoformat(str(plain.pop("time", _TIME)))
    except ValueError:
        return None
    top = {"id": "event-1", "source": _SOURCE, "subject": "", **plain, **parts, **tables, "time": time}
    event = Event(**{**top, "type": shape.type, "raw_type": shape.type})  # type: ignore[arg-type]  # by field name
    return Example(event, _facts(shape, looked))


def _lies(blob: object) -> bool:
    """Whether a blob's name and what is said of its parts go together, as far as both are said."""
    if not isinstance(blob, Blob) or blob.name is None:
        return True
    true = blob_of(blob.url, blob.container, blob.name)
    return blob.folder in {None, true.folder} and blob.file in {None, true.file}


def _facts(shape: Shape, looked: Mapping[str, Mapping[str, object]]) -> Facts:
    heads = {"metrics": "metrics", "job": "job", "breach": "drift"}
    unknown = {name: "no answer" for head, name in heads.items() if shape.heads.get(head) == "unknown"}
    metrics = None if "metrics" in unknown else dict(looked["metrics"])
    job = None if "job" in unknown else Job(**looked["job"])  # type: ignore[arg-type]  # by field name
    return Facts(metrics, job, unknown, None if "drift" in unknown else Drift())  # type: ignore[arg-type]  # a metric is a number

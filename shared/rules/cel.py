"""`when`: a condition in CEL over the one variable `event`, for what lines can't say.

It is read by ourselves before it is compiled: so every mistake has its place, the lookups it waits for are known, and nothing can
grow or go around in circles while it runs. The library is imported by the first rule that needs it, since that takes as long as
all our own imports together.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import re2

from shared.bounds import Bounds
from shared.events import Event
from shared.record import Checked, Facts
from shared.rules import paths
from shared.rules.expression import ExpressionError, Part, parse
from shared.rules.match import ERROR, NO, UNKNOWN, WAITING, WAITS, YES, Code, When
from shared.rules.paths import Gap, Getter
from shared.rules.report import Report
from shared.rules.tree import Node, Place, nearest

_SHARE: Final = 10
"""What goes through everything for everything may name so much less."""

_DEEPEST: Final = 60
_ALWAYS: Final = {"id", "type", "time", "source"}
_WHOLE: Final = ("run", "model", "endpoint", "drift", "blob", "job")
_LISTS: Final = {"endpoint.models", "drift.features"}
_LOOPS: Final = ("all", "exists", "exists_one", "filter", "map")
_MATCHES: Final = "matches_re2"
_SPOKEN: Final = {"text": "text", "number": "a number", "truth": "true or false", "list": "a list", "map": "a table"}
_LITERALS: Final = {"text", "number", "truth", "null"}
_RAISED: Final = (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError)
"""By the library, for whatever goes wrong in an expression."""


class _Function(NamedTuple):
    gives: str
    methods: int | None
    """How many values it takes, called on something; None: it is not called so."""
    plain: int | None


_FUNCTIONS: Final = {
    "size": _Function("number", 0, 1),
    "contains": _Function("truth", 1, None),
    "startsWith": _Function("truth", 1, None),
    "endsWith": _Function("truth", 1, None),
    "matches": _Function("truth", 1, 2),
    "int": _Function("number", None, 1),
    "double": _Function("number", None, 1),
    "string": _Function("text", None, 1),
    "timestamp": _Function("time", None, 1),
    "duration": _Function("length", None, 1),
    **{
        f"get{part}": _Function("number", 0, None)
        for part in ("FullYear", "Month", "Date", "DayOfMonth", "DayOfWeek", "DayOfYear", "Hours", "Minutes", "Seconds")
    },
}
_TEXT_METHODS: Final = {"contains", "startsWith", "endsWith", "matches"}


@dataclass(frozen=True, slots=True)
class _Field:
    """A field that the expression names, or (without `get`) a table on the way to one. `tested`: by has()."""

    name: str
    shown: str
    get: Getter | None
    inner: tuple["_Field", ...]
    tested: bool


@dataclass
class _Named:
    get: Getter
    tested: bool = False
    denied: bool = False
    """It stands where its absence turns the meaning: behind `!`, beside `!=`, before `?`."""


@dataclass
class _Scope:
    """Where a part stands. `loop`: the variable of the macro around it."""

    loop: str = ""
    denied: bool = False

    def of(self, loop: str) -> "_Scope":
        return _Scope(loop, self.denied)

    @property
    def turned(self) -> "_Scope":
        return _Scope(self.loop, denied=True)


@dataclass
class _Reader:
    """Walks over the tree once; says what is wrong, and collects what the expression needs."""

    wrong: list[tuple[int, str]] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    named: dict[tuple[str, ...], _Named] = field(default_factory=dict)
    patterns: dict[str, Any] = field(default_factory=dict)
    calls: list[int] = field(default_factory=list)
    """Where `matches` stands."""
    square: bool = False
    """Each element costs as much as all of them: the library copies what `map` and `filter` have found so far each time."""
    heavy: bool = False
    """A field that it names may hold very much."""

    def whole(self, part: Part) -> None:
        kind = self.kind(part, _Scope())
        if kind == "tag":
            self.hints.append(f'{spelled(part)} is text, if it is a tag like others: compare it, as in == "true"')
        elif kind not in {"truth", "any"}:
            self._say(part, f"the expression gives {_SPOKEN.get(kind, kind)}, expected true or false")
        for names, one in self.named.items():
            tested = any(other.tested for start, other in self.named.items() if start == names[: len(start)])
            if one.denied and not tested and names[0] not in _ALWAYS:
                said = shown(names)
                self.hints.append(
                    f"where {said} is missing, the rule does not match: write '!has({said}) || …' if it should, 'has({said}) && …' if not"
                )

    def kind(self, part: Part, scope: _Scope) -> str:
        """What the part gives, as far as that is known: a shape of literals, "tag", "list", "map", "time", "length" or "any"."""
        if part.shape in _LITERALS:
            return part.shape
        if part.shape in {"list", "map"}:
            if scope.loop and any(one.shape not in _LITERALS for one in part.parts):
                self._say(
                    part, "a list or table that is put together anew for each element: compare the elements themselves"
                )
            for one in part.parts:
                self.kind(one, scope)
            return part.shape
        if part.shape == "call":
            return self._call(part, scope)
        steps = _steps(part)
        root = steps[0]
        if root.shape == "name" and root.name == "event":
            return self._field(steps, scope)
        if part.shape == "name":
            if part.name != scope.loop:
                self._say(part, f"unknown variable {part.name!r}: 'event' is the only one, as in 'event.{part.name}'")
            return "any"
        for one in part.parts:
            self.kind(one, scope)
        return "any"

    # Fields

    def _field(self, steps: Sequence[Part], scope: _Scope, *, tested: bool = False) -> str:
        fixed = _fixed(steps)
        rest = steps[1 + len(fixed) :]
        for one in rest:
            if one.shape == "index":
                self.kind(one.parts[1], scope)
        if not fixed:
            self._say(steps[-1], "expected a field of the event, as in 'event.workspace'")
            return "any"
        names, get, kind = self._found(steps, fixed, tested=tested)
        if get is None:
            return "any"
        over = steps[1 + len(names) :]
        if over and kind in {"text", "number", "truth"}:
            self._say(over[0], f"{shown(names)} is {_SPOKEN[kind]}: it has no fields")
        if over and kind == "tag" and names[0] in {"tags", "properties", "metrics"} and over[0].shape == "select":
            dotted = ".".join([*names[1:], *(one.name for one in over)])
            self.hints.append(
                f'{spelled(steps[-1])} looks into {shown(names)}: write event.{names[0]}["{dotted}"] if that is its name'
            )
        use = self.named.setdefault(names, _Named(get))
        use.tested |= tested and not over
        use.denied |= scope.denied and not tested
        if kind not in {"text", "number", "truth"}:
            self.heavy = True
            if scope.loop:
                self.square = True
        return "any" if over else kind

    def _found(
        self, steps: Sequence[Part], fixed: Sequence[str], *, tested: bool
    ) -> tuple[tuple[str, ...], Getter | None, str]:
        """The field that the first steps name, and of which kind it is."""
        head = fixed[0]
        if head in paths.OPEN:
            return _open(fixed)
        if head in _WHOLE and len(fixed) == 1:
            if not tested:
                known = ", ".join(name.partition(".")[2] for name in paths.FIXED if name.startswith(f"{head}."))
                self._say(
                    steps[-1], f"event.{head} as a whole can be asked for by has() only: name a field of it: {known}"
                )
                return (), None, "any"
            return (head,), _part(head), "map"
        name = ".".join(fixed[:2] if head in _WHOLE else fixed[:1])
        path = paths.find(name)
        if isinstance(path, str):
            self._say(steps[min(2, len(fixed)) if head in _WHOLE else 1], path)
            return (), None, "any"
        return tuple(name.split(".")), path.get, "list" if name in _LISTS else path.kind

    # Calls

    def _call(self, part: Part, scope: _Scope) -> str:
        if part.name == "has" and not part.method:
            return self._has(part, scope)
        if part.name in _LOOPS and part.method:
            return self._loop(part, scope)
        if part.name in _OPERATORS:
            return _OPERATORS[part.name](self, part, scope)
        kinds = [self.kind(one, scope) for one in part.parts]
        function = _FUNCTIONS.get(part.name)
        if function is None:
            known = [*_FUNCTIONS, "has", *_LOOPS]
            self._say(part, f"unknown function {part.name!r}{nearest(part.name, known)}")
            return "any"
        self._fits(part, function, kinds)
        if part.name == "matches":
            self._pattern(part)
        return function.gives

    def _fits(self, part: Part, function: _Function, kinds: Sequence[str]) -> None:
        taken = len(part.parts) - part.method
        expected = function.methods if part.method else function.plain
        if expected is None:
            call = f"{part.name}(VALUE)" if part.method else f"VALUE.{part.name}({'…' if function.methods else ''})"
            self._say(part, f"{part.name!r} is written {call}")
        elif taken != expected:
            zone = ": times are in UTC" if part.name.startswith("get") else ""
            self._say(part, f"{part.name!r} takes {_count(expected)}, found {_count(taken)}{zone}")
        elif part.name in _TEXT_METHODS and (odd := next((k for k in kinds if k in {"number", "truth"}), "")):
            self._say(part, f"{part.name!r} is about text, and {_SPOKEN[odd]} is none")
        elif part.name.startswith("get") and kinds[0] in {"text", "number", "truth", "tag"}:
            said = spelled(part.parts[0])
            self._say(part, f"{said} is {_SPOKEN.get(kinds[0], 'text')}: write timestamp({said}).{part.name}()")

    def _pattern(self, part: Part) -> None:
        self.calls.append(part.at)
        pattern = part.parts[-1]
        if not isinstance(pattern.value, str):
            self._say(pattern, "the expression of 'matches' has to stand here, as a text in quotes")
            return
        options = re2.Options()
        options.log_errors = False
        try:
            compiled = re2.compile(pattern.value, options)  # type: ignore[no-untyped-call]  # the wheel carries no types
        except re2.error as error:
            said = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
            self._say(pattern, f"{pattern.value!r} is not an RE2 expression: {said}")
        else:
            self.patterns[pattern.value] = compiled.search

    def _has(self, part: Part, scope: _Scope) -> str:
        asked = part.parts[0] if len(part.parts) == 1 else part
        if asked.shape != "select":
            said = "'has' takes one field, as in has(event.run.experiment)"
            if asked.shape == "index":
                said += '; of a name in brackets ask "name" in event.tags'
            self._say(asked, said)
            return "truth"
        steps = _steps(asked)
        if steps[0].shape == "name" and steps[0].name == "event" and len(_fixed(steps)) == len(steps) - 1:
            self._field(steps, scope, tested=True)
        else:
            self.kind(asked.parts[0], scope)
        return "truth"

    def _loop(self, part: Part, scope: _Scope) -> str:
        within, *rest = part.parts
        gives = "list" if part.name in {"map", "filter"} else "truth"
        if scope.loop:
            self._say(
                part,
                f"{part.name!r} within another: there is no limit to how long that could take; name one of them in a rule of its own",
            )
            return gives
        kind = self.kind(within, scope)
        if kind in {"text", "number", "truth"}:
            self._say(part, f"{part.name!r} goes over a list or a table, and {spelled(within)} is {_SPOKEN[kind]}")
        self.heavy = True
        if gives == "list":
            self.square = True
        if len(rest) not in ({2, 3} if part.name == "map" else {2}) or rest[0].shape != "name":
            self._say(part, f"expected {part.name}(x, …), where x stands for each element")
            return gives
        if rest[0].name == "event":
            self._say(rest[0], "the name 'event' is taken: expected another, as in 'x'")
        inside = scope.of(rest[0].name)
        kinds = [self.kind(one, inside) for one in rest[1:]]
        tests = kinds if gives == "truth" or part.name == "filter" else kinds[:-1]
        for one, found in zip(rest[1:], tests, strict=False):
            self._logical(one, found)
        return gives

    def _logical(self, part: Part, kind: str) -> None:
        if kind == "tag":
            self.hints.append(f'{spelled(part)} is text, if it is a tag like others: compare it, as in == "true"')
        elif kind not in {"truth", "any"}:
            self._say(part, f"expected true or false, found {_SPOKEN.get(kind, kind)}")

    def logic(self, part: Part, scope: _Scope) -> str:
        inner = scope.turned if part.name == "!_" else scope
        for one in part.parts:
            self._logical(one, self.kind(one, inner))
        return "truth"

    def choice(self, part: Part, scope: _Scope) -> str:
        test, *values = part.parts
        self._logical(test, self.kind(test, scope.turned))
        kinds = {self.kind(one, scope) for one in values}
        return kinds.pop() if len(kinds) == 1 else "any"

    def comparison(self, part: Part, scope: _Scope) -> str:
        inner = scope.turned if part.name == "!=" else scope
        left, right = part.parts
        first, second = self.kind(left, inner), self.kind(right, inner)
        plain = {"text", "number", "truth"}
        if {first, second} <= plain and first != second:
            said = f"{spelled(left)} is {_SPOKEN[first]}, and {spelled(right)} is {_SPOKEN[second]}"
            self._say(part, f"{said}: they are never equal, and neither is more{_quoted(first, right)}")
        for one, kind, other in ((left, first, second), (right, second, first)):
            if kind == "tag" and other in {"number", "truth"}:
                convert = f"double({spelled(one)})" if other == "number" else f'{spelled(one)} == "true"'
                self.hints.append(f"{spelled(one)} is text, as tags are: write {convert}")
            if other == "null" and _steps(one)[0].name == "event" and one.shape in {"select", "index"}:
                self._say(part, f"a missing value is missing, never null: write !has({spelled(one)})")
        if part.name in {"==", "!="}:
            self._words(left, [right])
            self._words(right, [left])
        return "truth"

    def membership(self, part: Part, scope: _Scope) -> str:
        left, right = part.parts
        asked, kind = self.kind(left, scope), self.kind(right, scope)
        if kind == "map" and asked in {"number", "truth"}:
            self._say(
                left,
                f"'in' looks for a name in {spelled(right)}, and {spelled(left)} is {_SPOKEN[asked]}: names are text",
            )
        if kind in {"text", "number", "truth"}:
            self._say(right, f"'in' looks into a list or a table, and {spelled(right)} is {_SPOKEN[kind]}")
        if right.shape == "list":
            self._words(left, right.parts)
        return "truth"

    def _words(self, asked: Part, values: Iterable[Part]) -> None:
        """Texts that the field is never spelled like."""
        path = paths.FIXED.get(spelled(asked).removeprefix("event."))
        for one in values:
            if path and path.words and isinstance(one.value, str) and one.value not in path.words:
                self._say(one, f"{path.name} is never {one.value!r}{nearest(one.value, path.words)}")

    def sum(self, part: Part, scope: _Scope) -> str:
        kinds = [self.kind(one, scope) for one in part.parts]
        if part.name == "+" and scope.loop and "number" not in kinds:
            self._say(
                part,
                "texts and lists are not put together within all, exists, map or filter: they could grow without limit",
            )
        known = set(kinds)
        return kinds[0] if len(known) == 1 and known <= {"text", "number"} else "any"

    def minus(self, part: Part, scope: _Scope) -> str:
        self.kind(part.parts[0], scope)
        return "number"

    def _say(self, part: Part, message: str) -> None:
        self.wrong.append((part.at, message))


_OPERATORS: Final[Mapping[str, Callable[[_Reader, Part, _Scope], str]]] = {
    **dict.fromkeys(("&&", "||", "!_"), _Reader.logic),
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), _Reader.comparison),
    **dict.fromkeys(("+", "-", "*", "/", "%"), _Reader.sum),
    "in": _Reader.membership,
    "-_": _Reader.minus,
    "?:": _Reader.choice,
}


def _count(n: int) -> str:
    return {0: "no value", 1: "one value"}.get(n, f"{n} values")


def _quoted(kind: str, other: Part) -> str:
    return f'; write it in quotes: "{other.value}"' if kind == "text" and other.shape == "number" else ""


def shown(names: Sequence[str]) -> str:
    """A field as it is written."""
    return "event" + "".join(f".{name}" if re.fullmatch(r"[A-Za-z_]\w*", name) else f'["{name}"]' for name in names)


def spelled(part: Part) -> str:
    """A part in short, to be named in a sentence."""
    if part.shape in _LITERALS:
        return {True: "true", False: "false", None: "null"}.get(part.value) or repr(part.value)  # type: ignore[call-overload]
    steps = _steps(part)
    fixed = _fixed(steps)
    if steps[0].shape == "name" and len(fixed) == len(steps) - 1:
        return shown(fixed).replace("event", steps[0].name, 1)
    return f"what {part.name}() gives" if part.shape == "call" and part.name.isidentifier() else "this"


def _steps(part: Part) -> list[Part]:
    """The root of a.b["c"], and each step from there."""
    found = [part]
    while found[-1].shape in {"select", "index"}:
        found.append(found[-1].parts[0])
    return found[::-1]


def _fixed(steps: Sequence[Part]) -> list[str]:
    """The names of the first steps, as far as they are written down."""
    names: list[str] = []
    for one in steps[1:]:
        name = one.name if one.shape == "select" else one.parts[1].value
        if not isinstance(name, str) or not name:
            break
        names.append(name)
    return names


def _open(names: Sequence[str]) -> tuple[tuple[str, ...], Getter, str]:
    """A field under tags, properties, metrics or data, or all of them."""
    head = names[0]
    if len(names) == 1:
        return (head,), _TABLES[head], "map"
    path = paths.find(".".join(names) if head == "data" else f"{head}.{names[1]}")
    assert not isinstance(path, str)
    if head == "data":
        return tuple(names), path.get, "any"
    get = path.get
    if head == "metrics":
        return (head, names[1]), lambda event, facts: _float(get(event, facts)), "number"
    return (head, names[1]), get, "tag"


def _float(value: object) -> object:
    """Metrics are never whole numbers to CEL: `auc + 0.1` must not depend on whether the run said 1 or 1.0."""
    return float(value) if isinstance(value, int) else value


def _metrics(event: Event, facts: Facts) -> object:
    if facts.metrics is None:
        return paths.unknown("metrics", event, facts)
    return {name: float(value) for name, value in facts.metrics.items()}


_TABLES: Final[Mapping[str, Getter]] = {
    "tags": lambda event, _: event.tags,
    "properties": lambda event, _: event.properties,
    "data": lambda event, _: event.data,
    "metrics": _metrics,
}


def _part(name: str) -> Getter:
    """Whether there is a run, a model and so on."""

    def get(event: Event, facts: Facts) -> object:
        if name == "job":
            return paths.unknown("job", event, facts) if facts.job is None else {}
        return None if getattr(event, name) is None else {}

    return get


def read_when(node: Node, report: Report) -> When | None:
    if not isinstance(node.value, str) or not node.value.strip():
        report.say(
            node.at,
            f"expected an expression in CEL, as in 'event.run.experiment.startsWith(\"fraud-\")', found {node.kind}",
        )
        return None
    text = node.value
    if len(text) > (longest := report.bounds.expression_characters):
        report.say(
            node.at,
            f"the expression has {len(text)} characters: expected at most {longest}; split the rule, or use 'match'",
        )
        return None
    reader = _Reader()
    try:
        reader.whole(parse(text))
    except ExpressionError as error:
        reader.wrong.append((error.at, str(error)))
    for at, message in sorted(dict.fromkeys(reader.wrong)):
        place, where = _place(node, text, at)
        report.say(place, f"when: {message}{where}")
    if reader.wrong:
        return None
    return _compiled(node, text, reader, report)


def _place(node: Node, text: str, at: int) -> tuple[Place, str]:
    """Where a character of the expression stands in the file; in one of several lines, which of them, in words."""
    before = text[:at]
    if node.style in {"'", '"', ""}:
        doubled = {"'": "'", '"': '"\\\n\t'}.get(node.style, "")
        shift = sum(before.count(mark) for mark in doubled) + bool(node.style)
        return Place(node.at.line, node.at.column + at + shift), ""
    line = before.count("\n") + 1
    column = at - (before.rfind("\n") + 1) + 1
    return node.at, f" (line {line}, column {column} of the expression)"


def _compiled(node: Node, text: str, reader: _Reader, report: Report) -> When | None:
    import cel

    prepared = text
    for at in sorted(reader.calls, reverse=True):
        prepared = f"{prepared[:at]}{_MATCHES}{prepared[at + len('matches') :]}"
    try:
        program = cel.compile(prepared)
    except ValueError as error:
        found = re.search(r"<input>:\d+:\d+: (?:Syntax error: )?(.*)", str(error))
        report.say(node.at, f"when: not CEL: {found[1] if found else error}")
        return None
    fields = _tree(reader.named)
    answer = _answering(program, fields, reader, report.bounds)
    said = " ".join(text.split("\n")).strip()
    names = tuple(shown(names).removeprefix("event.") for names in reader.named)

    def judge(event: Event, facts: Facts) -> Code:
        return answer(event, facts).code

    def check(event: Event, facts: Facts) -> Checked:
        found = answer(event, facts)
        sure = found.code == YES or (found.code == NO and not found.note)
        note = found.note or _values(fields, event, facts)
        return Checked(
            "when", said, found.code == YES if sure else None, present=sure, held=found.code == YES, note=note
        )

    return When(said, *node.at, judge, check, report.file, names, tuple(dict.fromkeys(reader.hints)))


def _tree(named: Mapping[tuple[str, ...], _Named], start: tuple[str, ...] = ()) -> tuple[_Field, ...]:
    n = len(start)
    found = []
    for name in dict.fromkeys(names[n] for names in named if len(names) > n and names[:n] == start):
        here = (*start, name)
        one = named.get(here)
        found.append(_Field(name, shown(here), one.get if one else None, _tree(named, here), bool(one and one.tested)))
    return tuple(found)


class _Answer(NamedTuple):
    """`note`: why there is no true or false."""

    code: Code
    note: str = ""


@dataclass(slots=True)
class _Seen:
    """What was found on the way to the values."""

    gaps: list[tuple[Gap, bool]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def _answering(
    program: Any, fields: Sequence[_Field], reader: _Reader, bounds: Bounds
) -> Callable[[Event, Facts], _Answer]:
    heavy, part = reader.heavy, _SHARE if reader.square else 1
    most = (bounds.expression_values // part, bounds.expression_text // part)
    execute = _executing(program, reader.patterns)

    def answer(event: Event, facts: Facts) -> _Answer:
        seen = _Seen()
        values = _values_of(fields, event, facts, seen)
        if any(tested for _, tested in seen.gaps):
            return _unanswered(seen.gaps)
        if heavy and (said := _too_much(values, *most)):
            return _Answer(ERROR, f"an error: {said}")
        try:
            found = execute(values)
        except _RAISED as error:
            if seen.gaps:  # what is not known yet was needed
                return _unanswered(seen.gaps)
            if isinstance(error, LookupError):
                return _Answer(NO, f"without an answer: {_missing(error, seen.missing)}")
            return _Answer(ERROR, f"an error: {str(error).partition('. ')[0].strip()}")
        if found is True or found is False:
            return _Answer(YES if found else NO)
        return _Answer(ERROR, f"an error: it gives {type(found).__name__}, expected true or false")

    return answer


def _missing(error: LookupError, fields: Sequence[str]) -> str:
    if fields:
        return f"{' and '.join(fields)} {'is' if len(fields) == 1 else 'are'} missing"
    return f"there is no {error.args[0]!r}" if isinstance(error, KeyError) else str(error)


def _executing(program: Any, patterns: Mapping[str, Any]) -> Callable[[Mapping[str, object]], object]:
    if not patterns:
        return lambda values: program.execute({"event": values})

    import cel

    def matches(text: object, pattern: str) -> bool | None:
        """In place of the library's own, which compiles the expression anew for each text. What is no text gives null: no match."""
        if not isinstance(text, str):
            return None
        return patterns[pattern](text) is not None

    functions = {_MATCHES: matches}
    return lambda values: program.execute(cel.Context({"event": values}, functions))


def _unanswered(gaps: Sequence[tuple[Gap, bool]]) -> _Answer:
    waits = 0
    for gap, _ in gaps:
        waits |= 0 if gap.asked else WAITS[gap.lookup]
    if waits & WAITING:
        names = " and ".join(sorted({gap.lookup for gap, _ in gaps if not gap.asked}))
        return _Answer(waits, f"waits for the lookup of the run's {names}")
    return _Answer(UNKNOWN, f"unknown: {gaps[0][0].reason}")


def _values_of(fields: Sequence[_Field], event: Event, facts: Facts, seen: _Seen) -> dict[str, object]:
    """The event as far as the expression names it: what it does not name costs nothing, however large."""
    found: dict[str, object] = {}
    for one in fields:
        value = one.get(event, facts) if one.get else {}
        if isinstance(value, Gap):
            seen.gaps.append((value, one.tested))
            continue
        if one.inner and isinstance(value, dict):
            value = value | _values_of(one.inner, event, facts, seen)
        if value is None or value == ():
            if not one.tested:
                seen.missing.append(one.shown)
            continue
        found[one.name] = value
    return found


def _too_much(values: object, most: int, longest: int) -> str:
    """What is too much of it, having looked at no more than so many values and characters."""
    count = characters = 0
    open_: list[Any] = [iter((values,))]
    while open_:
        value = next(open_[-1], open_)
        if value is open_:
            open_.pop()
            continue
        count += 1
        if isinstance(value, str):
            characters += len(value)
        elif isinstance(value, dict):
            open_.append(one for pair in value.items() for one in pair)
        elif isinstance(value, list | tuple):
            open_.append(iter(value))
        if count > most:
            return f"more than {most} values in the fields it names"
        if characters > longest:
            return f"more than {longest} characters in the fields it names"
        if len(open_) > _DEEPEST:
            return f"values nested deeper than {_DEEPEST} levels"
    return ""


_SHOWN: Final = 3
_WIDEST: Final = 80


def _values(fields: Sequence[_Field], event: Event, facts: Facts) -> str:
    """The first fields that it names, as they were."""
    said: list[str] = []
    for one in _leaves(fields):
        value = one.get(event, facts) if one.get else None
        if isinstance(value, str | int | float):
            words = str(value).lower() if isinstance(value, bool) else repr(value)
            said.append(f"{one.shown} is {words[:_WIDEST]}{'…' if len(words) > _WIDEST else ''}")
    return ", ".join(said[:_SHOWN])


def _leaves(fields: Sequence[_Field]) -> Iterable[_Field]:
    for one in fields:
        if one.get:
            yield one
        yield from _leaves(one.inner)

"""As much of the Kusto query language as counts requests by minute and deployment, and tells rows of custom logs; anything else is an
error, as theirs.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NoReturn

type Value = str | float | bool | None
type Row = Mapping[str, Value]
"""Times are seconds since 1970."""
type Expression = Callable[[Row], Value]

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<time>datetime\(\s*[^)]*\))|(?P<span>\d+[smhd]\b)|(?P<number>\d+(?:\.\d+)?)|(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<name>[A-Za-z_]\w*)|\['(?P<quoted>[^']+)'\]|(?P<sign>==|!=|<>|<=|>=|=~|[|(),=<>*+\-/]))"
)
_MINUTE: Final = {"1m", "60s"}
CUSTOM: Final = "_CL"
"""How the names of custom logs end."""

_COMPARISONS: Final[Mapping[str, Callable[[Value, Value], bool]]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: _number(a) < _number(b),
    "<=": lambda a, b: _number(a) <= _number(b),
    ">": lambda a, b: _number(a) > _number(b),
    ">=": lambda a, b: _number(a) >= _number(b),
}
_ARITHMETIC: Final[Mapping[str, Callable[[float, float], float]]] = {
    "*": lambda a, b: a * b,
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
}


class Misunderstood(Exception):  # noqa: N818 (their answer, not our failure)
    """`code`: theirs, SYN… for what can't be parsed, SEM… for what means nothing. `line`, `at`: where, from 1 and 0."""

    def __init__(self, code: str, message: str, token: str = "", line: int = 1, at: int = 0) -> None:
        super().__init__(message)
        self.code, self.token, self.line, self.at = code, token, line, at


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    start: int


@dataclass(frozen=True)
class Aggregate:
    """`of` is None for count()."""

    name: str
    kind: str
    of: Expression | None


@dataclass
class Query:
    """`steps`: the columns that it adds, by name, and (with no name) the conditions. `since`, `until`: what it says about
    TimeGenerated. `shape`: the query without these times; "" where it uses times in another way.
    """

    table: str
    steps: list[tuple[str, Expression]] = field(default_factory=list)
    aggregates: list[Aggregate] = field(default_factory=list)
    by: list[tuple[str, str]] = field(default_factory=list)
    """Names and kinds (`minute` or `string`) of what it summarizes by."""
    shown: list[tuple[str, str]] = field(default_factory=list)
    """Names and kinds of the columns of one that does not summarize."""
    since: float | None = None
    until: float | None = None
    shape: str = ""

    def run(self, rows: Iterable[tuple[Row, int]]) -> list[list[Value]]:
        """One list for each group: the keys, then the aggregates. Each row comes with how often it is there."""
        groups: dict[tuple[Value, ...], list[float]] = {}
        for given, times in rows:
            row = self._through(dict(given))
            if row is None:
                continue
            key = tuple(_minute(row[name]) if kind == "minute" else row[name] for name, kind in self.by)
            sums = groups.setdefault(key, [0] * len(self.aggregates))
            for n, aggregate in enumerate(self.aggregates):
                sums[n] += times if aggregate.of is None else times * _number(aggregate.of(row))
        return [[*key, *sums] for key, sums in groups.items()]

    def pick(self, rows: Iterable[Row]) -> list[list[Value]]:
        """The rows of a query that does not summarize."""
        found = (self._through(dict(given)) for given in rows)
        return [[row[name] for name, _ in self.shown] for row in found if row is not None]

    def _through(self, row: dict[str, Value]) -> dict[str, Value] | None:
        for name, of in self.steps:
            value = of(row)
            if name:
                row[name] = value
            elif not value:
                return None
        return row


def parse(text: str, columns: Mapping[str, Mapping[str, str]]) -> Query:
    """`columns`: by table, the names and types that there are. Raises Misunderstood."""
    return _Parser(text, columns).query()


def _tokens(text: str) -> list[Token]:
    found, at = [], 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if not match or not match.lastgroup:
            at += len(text[at:]) - len(text[at:].lstrip())
            _fail(text, text[at], at)
        kind = "name" if match.lastgroup == "quoted" else match.lastgroup
        found.append(Token(kind, match[match.lastgroup], match.start(match.lastgroup)))
        at = match.end()
    return [*found, Token("end", "", len(text))]


def _fail(text: str, token: str, at: int) -> NoReturn:
    line, column = text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1)
    said = f"Query could not be parsed at '{token or '<EOF>'}' on line [{line},{column}]"
    raise Misunderstood("SYN0002", said, token, line, column)


class _Parser:
    def __init__(self, text: str, columns: Mapping[str, Mapping[str, str]]) -> None:
        self._text = text
        self._tables = columns
        self._tokens = _tokens(text)
        self._at = 0
        self._known: set[str] = set()
        self._bounds = 0

    # One word after the other

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self, *wanted: str, kind: str = "") -> Token:
        """The next one, which must be one of these, or of this kind."""
        token = self._next
        if (wanted and token.text not in wanted) or (kind and token.kind != kind):
            _fail(self._text, token.text, token.start)
        self._at += 1
        return token

    def _skip(self, text: str) -> bool:
        found = self._next.text == text and self._next.kind in {"name", "sign"}
        self._at += found
        return found

    def query(self) -> Query:
        table = self._take(kind="name").text
        if table not in self._tables:
            raise _unresolved("table", table)
        self._known = set(self._tables[table])
        query = Query(table)
        while self._skip("|"):
            operator = self._take("where", "extend", "summarize", "project").text
            if query.aggregates or query.shown:
                _fail(self._text, operator, self._tokens[self._at - 1].start)
            {
                "where": self._where,
                "extend": self._extend,
                "summarize": self._summarize,
                "project": self._project,
            }[operator](query)
        self._take(kind="end")
        if not query.aggregates and not table.endswith(CUSTOM):
            said = "The simulation answers queries of this table that summarize, and no others."
            raise Misunderstood("SEM0001", said)
        if not query.aggregates and not query.shown:
            query.shown = list(self._tables[table].items())
        times = [token.text for token in self._tokens if token.kind == "time"]
        if len(times) == self._bounds:
            query.shape = " ".join(token.text for token in self._tokens if token.kind != "time")
        return query

    def _where(self, query: Query) -> None:
        end = next(n for n, token in enumerate(self._tokens) if n >= self._at and token.text in {"|", ""})
        clause = self._tokens[self._at : end]
        if not any(token.text in {"or", "not", "iff", "iif"} for token in clause):
            for name, sign, value in zip(clause, clause[1:], clause[2:], strict=False):
                if name.text == "TimeGenerated" and value.kind == "time":
                    self._bound(query, sign.text, value)
        query.steps.append(("", self._either()))

    def _bound(self, query: Query, sign: str, value: Token) -> None:
        """A limit of the time that all rows keep: what lies outside need not be drawn."""
        if sign == ">=":
            query.since = self._time(value)
        elif sign == "<":
            query.until = self._time(value)
        else:
            return
        self._bounds += 1

    def _extend(self, query: Query) -> None:
        while True:
            name = self._take(kind="name").text
            self._take("=")
            query.steps.append((name, self._either()))
            self._known.add(name)
            if not self._skip(","):
                return

    def _project(self, query: Query) -> None:
        """Columns, and new ones: `name = expression`."""
        while True:
            new = self._tokens[self._at + 1].text == "="
            name = self._take(kind="name").text if new else self._column()
            kind = self._tables[query.table].get(name, "dynamic")
            if new:
                self._take("=")
                query.steps.append((name, self._either()))
            query.shown.append((name, kind))
            if not self._skip(","):
                return

    def _summarize(self, query: Query) -> None:
        while True:
            name = self._take(kind="name").text
            self._take("=")
            kind = self._take("count", "countif", "sum").text
            self._take("(")
            of = None if kind == "count" else self._either()
            self._take(")")
            query.aggregates.append(Aggregate(name, kind, of))
            if not self._skip(","):
                break
        if not self._skip("by"):
            return
        while True:
            query.by.append(self._group(query.table))
            if not self._skip(","):
                return

    def _group(self, table: str) -> tuple[str, str]:
        if not self._skip("bin"):
            name = self._column()
            return name, self._tables[table].get(name, "long")
        self._take("(")
        name = self._take("TimeGenerated").text
        self._take(",")
        self._take(*_MINUTE)
        self._take(")")
        return name, "minute"

    # Expressions, the loosest first

    def _either(self) -> Expression:
        parts = [self._both()]
        while self._skip("or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else lambda row: any(part(row) for part in parts)

    def _both(self) -> Expression:
        parts = [self._comparison()]
        while self._skip("and"):
            parts.append(self._comparison())
        return parts[0] if len(parts) == 1 else lambda row: all(part(row) for part in parts)

    def _comparison(self) -> Expression:
        left = self._sum()
        compare = _COMPARISONS.get(self._next.text)
        if not compare:
            return left
        self._at += 1
        right = self._sum()
        return lambda row: compare(left(row), right(row))

    def _sum(self) -> Expression:
        left = self._product()
        while self._next.text in {"+", "-"}:
            left = _combined(_ARITHMETIC[self._take().text], left, self._product())
        return left

    def _product(self) -> Expression:
        left = self._atom()
        while self._skip("*"):
            left = _combined(_ARITHMETIC["*"], left, self._atom())
        return left

    def _atom(self) -> Expression:
        token = self._next
        if token.kind == "name":
            return self._call() if self._tokens[self._at + 1].text == "(" else _field(self._column())
        self._at += 1
        if token.kind == "time":
            return _constant(self._time(token))
        if token.kind == "number":
            return _constant(float(token.text))
        if token.kind == "text":
            return _constant(re.sub(r"\\(.)", r"\1", token.text[1:-1]))
        if token.text == "(":
            inside = self._either()
            self._take(")")
            return inside
        return _fail(self._text, token.text, token.start)

    def _call(self) -> Expression:
        name = self._take("toint", "tolong", "toreal", "iff", "iif", "not").text
        self._take("(")
        given = [self._either()]
        while self._skip(","):
            given.append(self._either())
        self._take(")")
        if len(given) != (3 if name in {"iff", "iif"} else 1):
            raise Misunderstood("SEM0219", f"{name}(): wrong number of arguments.")
        first = given[0]
        if name == "not":
            return lambda row: not first(row)
        if name in {"iff", "iif"}:
            return lambda row: (given[1] if first(row) else given[2])(row)
        return lambda row: _read(first(row))

    def _column(self) -> str:
        token = self._take(kind="name")
        if token.text not in self._known:
            raise _unresolved("column", token.text)
        return token.text

    def _time(self, token: Token) -> float:
        said = token.text[len("datetime(") : -1].strip().strip("'\"")
        try:
            moment = datetime.fromisoformat(said)
        except ValueError:
            return _fail(self._text, token.text, token.start)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _unresolved(kind: str, name: str) -> Misunderstood:
    said = f"'where' operator: Failed to resolve {kind} expression named '{name}'"
    return Misunderstood("SEM0100", said, name)


def _constant(value: Value) -> Expression:
    return lambda _: value


def _field(name: str) -> Expression:
    return lambda row: row[name]


def _combined(what: Callable[[float, float], float], left: Expression, right: Expression) -> Expression:
    return lambda row: what(_number(left(row)), _number(right(row)))


def _number(value: Value) -> float:
    return value if isinstance(value, int | float) else float("nan")


def _read(value: Value) -> Value:
    try:
        return None if value is None else int(float(value))
    except ValueError:
        return None


def _minute(value: Value) -> float:
    return _number(value) // 60 * 60


def columns(query: Query) -> Sequence[tuple[str, str]]:
    """Names and types of what it answers."""
    if query.shown:
        return query.shown
    keys = [(name, "datetime" if kind == "minute" else kind) for name, kind in query.by]
    return [*keys, *((aggregate.name, "long") for aggregate in query.aggregates)]

"""The only importer of Jinja2, imported when the first template is used. A small language is left of it: texts, `if`,
one level of `for`, filters. No calls, no attributes of Python objects, no assignments, no repetition of strings: nothing
that could run long, grow large or look behind a value.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, lru_cache, wraps
from itertools import islice
from typing import Final

import jinja2
import msgspec
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from shared.bounds import DEFAULTS, Bounds
from shared.events import Blob, Drift, Endpoint, Event, Model, Run
from shared.messages import formats
from shared.record import Job

_TURNS: Final = "(turns)"
"""A filter that nobody can write: it is put around what a loop goes through."""


class _Account:
    """What a template may still go through, and what one of it may."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.left = bounds.template_work


_account: ContextVar[_Account | None] = ContextVar("the template that is rendered", default=None)


def _bounds() -> Bounds:
    """Of what is rendered now; a constant that the compiler works out itself has the defaults."""
    account = _account.get()
    return DEFAULTS if account is None else account.bounds


NAMES: Final = frozenset({"event", "rule", "collected", "key", "links", "now", "language"})

_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "event": (*Event.__struct_fields__, "metrics", "job"),
    "run": Run.__struct_fields__,
    "model": Model.__struct_fields__,
    "endpoint": Endpoint.__struct_fields__,
    "drift": Drift.__struct_fields__,
    "blob": Blob.__struct_fields__,
    "job": Job.__struct_fields__,
}
"""What an event has, and what its parts have; tags, properties, metrics and data have what they have."""

_ALLOWED: Final = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.CondExpr),
    *(nodes.Name, nodes.Const, nodes.Tuple, nodes.List, nodes.Dict, nodes.Pair, nodes.Keyword),
    *(nodes.Filter, nodes.Test, nodes.Call, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Concat),
    *(nodes.Compare, nodes.Operand, nodes.Not, nodes.And, nodes.Or, nodes.Neg, nodes.Pos),
    *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod),
)
_BUILTIN_FILTERS: Final = (
    *("default", "d", "upper", "lower", "title", "capitalize", "trim", "length", "count", "first", "last"),
    *("int", "float", "string", "sort", "unique", "list", "items"),
)
_SINGLE: Final = re.compile(r"\s*\{\{[-+]?(.*?)[-+]?\}\}\s*", re.DOTALL)


class _Missing(jinja2.ChainableUndefined):
    """What is missing stays missing, whatever is done with it, and reads as nothing."""

    def _same(self, *_: object) -> "_Missing":
        return self

    def _never(self, _: object) -> bool:
        return False

    # Jinja2 declares that all of these never return.
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _same  # type: ignore[assignment]
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = _same  # type: ignore[assignment]
    __mod__ = __rmod__ = __neg__ = __pos__ = _same  # type: ignore[assignment]
    __lt__ = __le__ = __gt__ = __ge__ = _never  # type: ignore[assignment]


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "%"})

    def getattr(self, obj: object, attribute: str) -> object:
        """A key first and last: a tag named `items` is a tag, and no value has methods."""
        if isinstance(obj, LoopContext) and not attribute.startswith("_"):
            return super().getattr(obj, attribute)
        return self.getitem(obj, attribute)

    def getitem(self, obj: object, argument: object) -> object:
        if isinstance(obj, Mapping):
            return obj.get(argument, self.undefined(name=str(argument)))
        if isinstance(obj, str | list | tuple) and isinstance(argument, int | slice):
            try:
                return obj[argument]
            except IndexError:
                return self.undefined(name=str(argument))
        return self.undefined(name=str(argument))

    def is_safe_callable(self, obj: object) -> bool:
        return obj is _range

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        for side in (left, right):
            if not isinstance(side, int | float | jinja2.Undefined):
                raise SecurityError(f"{operator} takes numbers only")
        return super().call_binop(context, operator, left, right)


def _range(*bounds: int) -> range:
    found = range(*bounds)
    most = _bounds().template_turns
    if len(found) > most:
        raise SecurityError(f"range() goes up to {most:,} steps")
    return found


def _finalized(value: object) -> str:
    """A value as it stands in a text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return msgspec.json.encode(value).decode()
    if isinstance(value, list | tuple):
        return ", ".join(map(_finalized, value))
    return str(value)


def _unless_missing(function: Callable[..., object]) -> Callable[..., object]:
    def filtered(value: object, *arguments: object, **named: object) -> object:
        return value if value is None or isinstance(value, jinja2.Undefined) else function(value, *arguments, **named)

    return filtered


def _in_context(function: Callable[[object, Context], object]) -> Callable[..., object]:
    @jinja2.pass_context
    def filtered(context: Context, value: object) -> object:
        return value if value is None or isinstance(value, jinja2.Undefined) else function(value, context)

    return filtered


@jinja2.pass_context
def _localtime(context: Context, value: object, zone: str = "") -> object:
    if value is None or isinstance(value, jinja2.Undefined):
        return value
    return formats.localtime(value, zone or str(context.get("time_zone") or "UTC"), context.get("language", "en"))


def _join(value: object, separator: str = ", ") -> str:
    items = value if isinstance(value, Mapping | list | tuple) else [value]
    return str(separator)[:100].join(_finalized(one) for one in islice(items, _bounds().template_turns))


def _replace(value: object, old: str, new: str) -> str:
    return str(value)[: _bounds().template_characters].replace(str(old), str(new)[:100]) if old else str(value)


def _rounded(value: object, digits: int = 0) -> object:
    return round(value, digits) if isinstance(value, int | float) and digits else round(float(str(value)))


def _spend(*values: object) -> None:
    """Raises SecurityError when a template has gone through more than any message needs."""
    account = _account.get()
    if account is not None:
        account.left -= 10 + sum(len(one) for one in values if isinstance(one, str | list | tuple | dict))
        if account.left < 0:
            raise SecurityError(f"it goes through more than {account.bounds.template_work:,} characters and entries")


def _counted(function: Callable[..., object]) -> Callable[..., object]:
    """What goes in and what comes out counts."""

    @wraps(function)  # Jinja2 marks on the function what it wants to be called with
    def counted(*arguments: object, **named: object) -> object:
        _spend(*arguments, *named.values())
        found = function(*arguments, **named)
        _spend(found)
        return found

    return counted


def _turns(value: object) -> object:
    """What a loop goes through: so many turns at the most, each of which counts."""
    for one in islice(value if isinstance(value, Iterable) else (), _bounds().template_turns):
        _spend(one)
        yield one


@cache
def _environment() -> _Environment:
    environment = _Environment(
        undefined=_Missing, finalize=_finalized, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.globals.clear()
    environment.globals["range"] = _range
    environment.filters = {name: environment.filters[name] for name in _BUILTIN_FILTERS} | {
        "abs": _unless_missing(abs),
        "duration": _in_context(lambda value, context: formats.duration(value, context.get("language", "en"))),
        "join": _unless_missing(_join),
        "localtime": _localtime,
        "number": _unless_missing(formats.number),
        "platform_cause": _in_context(
            lambda value, context: formats.platform_cause(value, context.get("language", "en"))
        ),
        "replace": _unless_missing(_replace),
        "resource": _unless_missing(formats.resource),
        "round": _unless_missing(_rounded),
        "short": _unless_missing(formats.short),
        "size": _unless_missing(formats.size),
        "tojson": _unless_missing(lambda value: msgspec.json.encode(value).decode()),
        _TURNS: _turns,
    }
    environment.filters |= {name: _counted(one) for name, one in environment.filters.items() if name != _TURNS}
    return environment


@dataclass(frozen=True)
class _Compiled:
    """`expression`: for a text that is one `{{ expression }}` and nothing else."""

    template: jinja2.Template
    expression: Callable[..., object] | None


def _compiled(source: str, bounds: Bounds) -> _Compiled:
    """Raises ValueError, with the line, for what is no template of this small language."""
    longest = bounds.template_characters
    if len(source) > longest:
        raise ValueError(f"a template has {len(source):,} characters, and {longest:,} is the limit")
    return _template(source)


@lru_cache(maxsize=1024)
def _template(source: str) -> _Compiled:
    environment = _environment()
    try:
        tree = environment.parse(source)
        for complaint in _complaints(tree):
            raise ValueError(complaint)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, _TURNS, [], [], None, None, lineno=loop.lineno, environment=environment)
        template = environment.from_string(tree)
        single = _SINGLE.fullmatch(source)
        alone = len(tree.body) == 1 and isinstance(tree.body[0], nodes.Output) and len(tree.body[0].nodes) == 1
        expression = environment.compile_expression(single[1]) if single and alone else None
    except jinja2.TemplateSyntaxError as error:
        raise ValueError(f"line {error.lineno}: {error.message}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return _Compiled(template, expression)


def _complaints(tree: nodes.Template) -> Iterator[str]:
    yield from _constructs(tree)
    filters = _environment().filters.keys() - {_TURNS}
    for one in tree.find_all(nodes.Filter):
        if one.name not in filters:
            yield f"line {one.lineno}: unknown filter {one.name!r}{_nearest(one.name, sorted(filters))}"
    for name in sorted(find_undeclared_variables(tree) - NAMES - {"range"}):
        yield f"unknown name {name!r}{_nearest(name, NAMES)}"
    for field in tree.find_all(nodes.Getattr):
        known = _fields_of(field.node)
        if known and field.attr not in known:
            yield f"line {field.lineno}: {_path(field.node)} has no {field.attr!r}{_nearest(field.attr, known)}"


def _constructs(tree: nodes.Template) -> Iterator[str]:
    for node in [tree, *tree.find_all(nodes.Node)]:
        word = type(node).__name__.lower()
        if not isinstance(node, _ALLOWED):
            yield f"line {node.lineno}: {word} is not possible in a message; texts, if, for and filters are"
        elif isinstance(node, nodes.Call) and not (isinstance(node.node, nodes.Name) and node.node.name == "range"):
            yield f"line {node.lineno}: a call is not possible in a message; a filter is, as in {{{{ x | length }}}}"
        elif isinstance(node, nodes.For) and (node.recursive or next(node.find_all(nodes.For), None)):
            yield f"line {node.lineno}: a loop within a loop is not possible in a message"


def _fields_of(node: nodes.Node) -> Sequence[str]:
    if isinstance(node, nodes.Name) and node.name == "event":
        return _FIELDS["event"]
    if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name) and node.node.name == "event":
        return _FIELDS.get(node.attr, ())
    return ()


def _path(node: nodes.Node) -> str:
    return f"event.{node.attr}" if isinstance(node, nodes.Getattr) else "event"


def _nearest(word: str, known: Sequence[str] | Mapping[str, object] | frozenset[str]) -> str:
    close = get_close_matches(word, known, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"


def check(source: str, bounds: Bounds = DEFAULTS) -> str | None:
    try:
        _compiled(source, bounds)
    except ValueError as error:
        return str(error)
    return None


def text(source: str, context: Mapping[str, object], bounds: Bounds = DEFAULTS) -> str:
    """The text, cut where it is too long. Raises ValueError when it can't be rendered."""
    template, longest = _compiled(source, bounds).template, bounds.template_characters
    parts, length = [], 0
    _account.set(_Account(bounds))
    try:
        for part in template.generate(context):
            parts.append(part)
            length += len(part)
            if length > longest:
                break
    except Exception as error:  # a template can fail in as many ways as Python, and none may stop a message
        raise ValueError(_reason(error)) from error
    return "".join(parts)[:longest]


def value(source: str, context: Mapping[str, object], bounds: Bounds = DEFAULTS) -> str | float | bool:
    """As `text`; but a number or a boolean stays one where the source is one `{{ expression }}`."""
    expression = _compiled(source, bounds).expression
    if expression is None:
        return text(source, context, bounds)
    _account.set(_Account(bounds))
    try:
        found = expression(context)
    except Exception as error:  # as above
        raise ValueError(_reason(error)) from error
    return found if isinstance(found, bool | int | float) else _finalized(found)[: bounds.template_characters]


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"

"""The nearest value of one field that all of the lines which speak of it allow."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from msgspec import to_builtins

from shared.rules.change import FILLER, Kind
from shared.rules.match import Line, number
from shared.rules.paths import Gap, Path
from shared.rules.samples import samples


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A line that has to hold, or (not `wanted`) must not."""

    line: Line
    wanted: bool

    @property
    def name(self) -> str:
        """Keys of the payload match in any case."""
        name = self.line.path.name
        return name.casefold() if name.startswith("data.") else name

    @property
    def text(self) -> str:
        return self.line.test.text if self.wanted else f"not {self.line.test.text}"

    def fits(self, value: object) -> bool:
        return not isinstance(value, Gap) and self.line.holds(value) is self.wanted

    def fits_one(self, value: object) -> bool:
        """Of one value in a list."""
        return self.line.test.holds(value)


@dataclass(frozen=True, slots=True)
class Choice:
    """A value for a field. `distance`: from 0 to 1, and 1 where numbers have no part in it; `invented`: 0 where the
    rule itself names the value.
    """

    kind: Kind
    value: object = None
    limit: float | None = None
    asks: str = ""
    invented: int = 0
    distance: float = 1.0
    changes: bool = True

    def by(self, before: object) -> float | None:
        """How far it is from here to the value, or to the limit that it has to pass."""
        if self.kind not in {"value", "above", "below"}:
            return None
        start, end = _finite(before), _finite(self.value if self.limit is None else self.limit)
        return None if start is None or end is None else float(Decimal(str(end)) - Decimal(str(start)))


_KEEP: Final = Choice("value", changes=False)
_MOST: Final = 12
_OTHERS: Final = (FILLER, "other", "another", "0", "-", "A", " ", "")
_LISTS: Final = frozenset({"endpoint.models", "drift.features"})
_NEVER_MISSING: Final = frozenset({"time", "type"})
_FILLED: Final = frozenset({"id", "source", "subject", "workspace", "resource_group", "subscription"})
"""Empty is missing here."""


def choose(asked: Sequence[Asked], value: object, types: Sequence[str], *, fixed: bool, needed: bool) -> Choice | None:
    """The choice for a field which is `value` now; None where there is none. `fixed`: it can't change; `needed`: it
    can't be missing; `types`: what the event may be.
    """
    if all(one.fits(value) for one in asked):
        return _KEEP
    if fixed:
        return None
    path = asked[0].line.path
    tried = list(_shaped(path, _raw(path, asked, value), value, types))
    if path.name in _LISTS or isinstance(value, list | tuple):
        tried = [*_listed(tried, asked, value), *([] if path.name in _LISTS else tried)]
    if not needed and path.name not in _NEVER_MISSING:
        tried.append(Choice("missing", invented=2 if path.kind == "any" else 4))
    fitting = [one for one in tried if all(line.fits(_seen(one.value, path)) for line in asked)]
    if not fitting and path.name.startswith("data."):  # no single value does, and a payload may hold lists
        fitting = [one for one in _listed(tried, asked, []) if all(line.fits(one.value) for line in asked)]
    if not fitting:
        return _without_example(asked, tried)
    best = min(fitting, key=lambda one: (min(one.distance, _distance(value, one.value)), one.invented))
    asks = " and ".join(dict.fromkeys(one.text for one in asked))
    return Choice(
        "any" if asks == "present" else best.kind,
        best.value,
        best.limit,
        asks if best.kind == "like" else "",
        best.invented,
        _distance(value, best.value),
    )


def _seen(value: object, path: Path) -> object:
    return () if value is None and path.name in _LISTS else value


def _without_example(asked: Sequence[Asked], tried: Sequence[Choice]) -> Choice | None:
    """There may be a text that fits the expressions, though none was made up: if the other lines allow other texts."""
    patterns = [one for one in asked if one.line.test.patterns]
    others = [one for one in asked if not one.line.test.patterns]
    unwanted = {pattern for one in patterns if not one.wanted for pattern in one.line.test.patterns}
    wanted = [set(one.line.test.patterns) for one in patterns if one.wanted]
    if not wanted or any(one <= unwanted for one in wanted):
        return None
    free = [one.value for one in tried if one.kind == "like" and isinstance(one.value, str)]
    if not any(all(other.fits(one) for other in others) for one in free):
        return None
    return Choice("text", asks=" and ".join(dict.fromkeys(one.text for one in asked)), invented=9)


def _raw(path: Path, asked: Sequence[Asked], value: object) -> Iterator[Choice]:
    """Values at which the answer of a line may change, whatever their type."""
    tests = [one.line.test for one in asked]
    for one in asked:
        test = one.line.test
        for named in test.named:
            yield Choice("value", named)
            if isinstance(named, int | float) and not isinstance(named, bool):
                away = 1.0 if number(value) != named or one.fits(value) else 0.0  # none is nearest to what must not be
                yield from (Choice("like", named + step, invented=3, distance=away) for step in (1, -1))
        for edge in test.edges:
            yield from _around(edge, whole=path.name == "blob.size")
    if path.kind == "truth" or any(
        test.wants == "truth" or isinstance(named, bool) for test in tests for named in test.named
    ):
        yield from (Choice("value", one) for one in (False, True))
    yield from (Choice("like", text, invented=1) for text in _patterned([p for test in tests for p in test.patterns]))
    yield from (Choice("like", text, invented=1) for text in path.words)
    yield from (Choice("like", text, invented=3) for text in _OTHERS)
    yield from (Choice("like", one, invented=3) for one in (0, 1, -1))
    if isinstance(value, str):
        yield from (Choice("like", text, invented=3) for text in (f"{value}-{FILLER}", f"{FILLER}-{value}"))


def _around(edge: float, *, whole: bool) -> Iterator[Choice]:
    if whole:
        low, high = math.floor(edge), math.ceil(edge)
        yield from (Choice("value", one) for one in (low, high, low - 1, high + 1))
        return
    yield Choice("value", edge)
    with suppress(OverflowError):  # a whole number beyond all floats
        yield Choice("above", math.nextafter(edge, math.inf), edge)
        yield Choice("below", math.nextafter(edge, -math.inf), edge)
    if isinstance(edge, int):
        yield from (Choice("like", one, invented=1) for one in (edge + 1, edge - 1))


def _patterned(patterns: Sequence[str]) -> Iterable[str]:
    """Texts for expressions; for several, also one text behind the other."""
    found = [list(samples(pattern))[:_MOST] for pattern in dict.fromkeys(patterns)]
    single = [text for texts in found for text in texts]
    both = [
        left + right for first in found for second in found if first is not second for left in first for right in second
    ]
    more = [text for one in single for text in (f"{one}-{FILLER}", f"{FILLER}-{one}", f"{one}0", f"{one}a")]
    return dict.fromkeys([*single, *more, *both])


def _shaped(path: Path, raw: Iterable[Choice], value: object, types: Sequence[str]) -> Iterator[Choice]:
    """The same values, as this field can have them."""
    if path.name == "type":
        yield from (Choice("value", one) for one in types)
        return
    for one in raw:
        for n, shape in enumerate(_shapes(path, value)):
            for shaped in shape(one.value):
                yield Choice(one.kind, shaped, one.limit, invented=one.invented + n, distance=one.distance)


type _Shape = Callable[[object], Iterable[object]]


def _shapes(path: Path, value: object) -> Sequence[_Shape]:
    """What a field can be, the likeliest first."""
    if path.name == "time":
        assert isinstance(value, str)
        return (lambda one: _times(value, _text(one)),)
    if path.name in _FILLED:
        return (lambda one: [_text(one)] if _text(one) else [],)
    match path.kind:
        case "truth":
            return (lambda one: [one] if isinstance(one, bool) else [],)
        case "number":
            whole = path.name == "blob.size"
            return (lambda one: [one] if _is_number(one) and (not whole or isinstance(one, int)) else [],)
        case "text":
            return (lambda one: [_text(one)],)
        case "any":
            plain: _Shape = lambda one: [one]  # noqa: E731 (a row of a table)
            worded: _Shape = lambda one: [_text(one)]  # noqa: E731
            wordy = isinstance(value, str) or (value is None and not path.name.startswith("data."))
            return (worded, plain) if wordy else (plain, worded)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _times(now: str, text: str) -> Iterator[str]:
    """The time as it is, with this text somewhere in it, where that is a time."""
    for at in range(len(now) if text else 0):
        made = now[:at] + text + now[at + len(text) :]
        with suppress(ValueError):
            moment = datetime.fromisoformat(made)
            if moment.tzinfo and to_builtins(moment) == made:
                yield made


def _listed(tried: Sequence[Choice], asked: Sequence[Asked], value: object) -> Iterator[Choice]:
    """The list without what must not be in it, and with what must."""
    banned = [one for one in asked if not one.wanted]
    allowed = [one for one in tried if not any(line.fits_one(one.value) for line in banned)]
    before = value if isinstance(value, list | tuple) else []
    kept = [one for one in before if not any(line.fits_one(one) for line in banned)]
    invented = 0
    for line in asked:
        if line.wanted and not any(line.fits_one(one) for one in kept):
            more = min((one for one in allowed if line.fits_one(one.value)), key=lambda one: one.invented, default=None)
            kept += [more.value] if more else []
            invented += more.invented if more else 0
    if not kept and allowed:
        fresh = min(allowed, key=lambda one: one.invented)
        kept, invented = [fresh.value], fresh.invented
    if kept:
        yield Choice("value", tuple(kept) if isinstance(value, tuple) else kept, invented=invented - 1)


def _finite(value: object) -> float | None:
    found = number(value)
    with suppress(OverflowError):
        return found if found is not None and math.isfinite(found) else None
    return None


def _distance(before: object, after: object) -> float:
    """0 for no way at all, below 1 between numbers (by the size of the first), 1 for all else."""
    start, end = _finite(before), _finite(after)
    if start is None or end is None:
        return 1.0
    far = abs(Decimal(str(end)) - Decimal(str(start)))
    return float(far / (far + (abs(Decimal(str(start))) or 1)))

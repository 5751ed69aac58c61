"""Where everything of a picture stands. What draws it (svg.py, png.py) knows shapes, and nothing of charts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil, floor, log10
from typing import Final, Literal
from unicodedata import east_asian_width

from shared.actions import Language
from shared.messages import formats
from shared.pictures import Chart, Cohorts, Line, Row, signed

type Role = Literal[
    "ink", "title", "quiet", "over", "grid", "band", "line", "dot", "ring", "hit", "limit", "reference", "join"
]
"""What a shape is, which says how it looks."""

ROWS: Final = 14
"""Cohorts in one picture; those that are worst come first where there are more."""

_LEFT: Final = 44.0
_RIGHT: Final = 12.0
_HEADING: Final = 44.0
_PLOT: Final = 150.0
_AXIS: Final = 28.0
_ROW: Final = 24.0
_FIGURE: Final = 62.0
"""Pixels: the column of the differences."""

_PER_TICK: Final = 64.0
_PER_FIGURE: Final = 38.0
_PRINT: Final = 15.0
_LETTER: Final = 6.7
_WIDE: Final = 12.0
_CROWDED: Final = 40
_DAY: Final = timedelta(days=1)

_WORDS: Final[dict[str, dict[Language, str]]] = {
    "limit": {"en": "limit {}", "ja": "許容値 {}"},
    "reference": {"en": "training {}", "ja": "学習時 {}"},
    "by cohort": {"en": "{} by cohort", "ja": "コホート別の {}"},
    "least": {"en": "at least {}", "ja": "許容差 {}"},
    "more": {"en": "and {} more", "ja": "ほか {} 件"},
}


@dataclass(frozen=True)
class Path:
    """A line through its points; `closed`: the area within."""

    points: Sequence[tuple[float, float]]
    role: Role
    closed: bool = False


@dataclass(frozen=True)
class Dot:
    x: float
    y: float
    r: float
    role: Role


@dataclass(frozen=True)
class Text:
    """`plain`: what stands in its place where not all of its letters can be drawn."""

    x: float
    y: float
    words: str
    role: Role
    anchor: Literal["start", "middle", "end"] = "start"
    plain: str = ""


type Shape = Path | Dot | Text


@dataclass
class Drawing:
    width: float
    height: float = 0.0
    shapes: list[Shape] = field(default_factory=list)


def lay_out(chart: Chart, language: Language, width: int) -> Drawing:
    return _line(chart, language, width) if isinstance(chart, Line) else _cohorts(chart, language, width)


def _say(word: str, value: object, language: Language) -> str:
    return _WORDS[word][language].format(value)


def wide(words: str) -> float:
    """About how long they are, in pixels."""
    return sum(_WIDE if east_asian_width(letter) in "WF" else _LETTER for letter in words)


def _fitting(words: str, room: float) -> str:
    if wide(words) <= room:
        return words
    while words and wide(words) + 2 * _LETTER > room:
        words = words[:-1]
    return f"{words.rstrip()}.."


def _ticks(low: float, high: float, about: float) -> list[float]:
    """Round numbers within."""
    step = 10 ** floor(log10((high - low) / about))
    step = next(one for one in (step, 2 * step, 2.5 * step, 5 * step, 10 * step) if (high - low) / one <= about)
    return [round(n * step, 12) for n in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def _around(values: Sequence[float]) -> tuple[float, float]:
    """The values, with some room; never so little that no round number lies within."""
    low, high = min(values), max(values)
    room = 0.1 * (high - low) or 0.05 * abs(high) or 1.0
    room = max(room, 1e-9, 1e-9 * abs(high), 1e-9 * abs(low))
    return low - room, high + room


# A metric over time


def _line(chart: Line, language: Language, width: int) -> Drawing:
    top, bottom, left, right = _HEADING, _HEADING + _PLOT, _LEFT, width - _RIGHT
    newest, number = chart.points[-1], formats.number
    values = [value for one in chart.points for value in (one.value, one.low, one.high) if value is not None]
    low, high = _around([*values, *(one for one in (chart.limit, chart.reference) if one is not None)])
    start, end = chart.points[0].at, newest.at

    def x(n: int) -> float:
        if end == start:
            return (left + right) / 2
        return left + 8 + (right - left - 16) * ((chart.points[n].at - start) / (end - start))

    def y(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / (high - low)

    drawn = Drawing(width, bottom + _AXIS)
    told = number(newest.value)
    if newest.low is not None and newest.high is not None:
        told += f" [{number(newest.low)}, {number(newest.high)}]"
    over = chart.breaks(newest)
    drawn.shapes += [
        Text(12, 26, _fitting(chart.metric, width - 24 - wide(told) - 12), "title"),
        Text(right, 26, told, "over" if over else "ink", "end"),
    ]
    for tick in _ticks(low, high, 4):
        drawn.shapes += [
            Path([(left, y(tick)), (right, y(tick))], "grid"),
            Text(left - 6, y(tick) + 4, number(tick), "quiet", "end"),
        ]
    bounds = [
        (x(n), one.low, one.high) for n, one in enumerate(chart.points) if one.low is not None and one.high is not None
    ]
    upper = [(at, y(one)) for at, _, one in bounds]
    lower = [(at, y(one)) for at, one, _ in bounds]
    if len(bounds) > 1:
        drawn.shapes.append(Path([*upper, *reversed(lower)], "band", closed=True))
    elif bounds:
        drawn.shapes.append(Path([*upper, *lower], "line"))
    drawn.shapes += _marks(chart, language, (left, right), y)
    where = [(x(n), y(one.value)) for n, one in enumerate(chart.points)]
    if len(where) > 1:
        drawn.shapes.append(Path(where, "line"))
    for (across, down), one in zip(where, chart.points, strict=True):
        if chart.breaks(one) or one is newest or len(where) <= _CROWDED:
            drawn.shapes.append(Dot(across, down, 4.5 if one is newest else 3, "hit" if chart.breaks(one) else "dot"))
    drawn.shapes += _times(chart, where, bottom + 18)
    return drawn


def _marks(chart: Line, language: Language, across: tuple[float, float], y: Callable[[float], float]) -> list[Shape]:
    """The limit and the training run, each with its number; one below its line where the other is near."""
    shapes: list[Shape] = []
    levels = {"limit": chart.limit, "reference": chart.reference}
    known = sorted((value, name) for name, value in levels.items() if value is not None)
    for n, (value, name) in enumerate(known):
        level = y(value)
        near = len(known) > 1 and abs(y(known[0][0]) - y(known[1][0])) < _PRINT + 5
        role: Role = "limit" if name == "limit" else "reference"
        told = formats.number(value)
        shapes += [
            Path([(across[0], level), (across[1], level)], role),
            Text(across[0] + 4, level + (14 if near and n == 0 else -5), _say(name, told, language), role, plain=told),
        ]
    return shapes


def _times(chart: Line, where: Sequence[tuple[float, float]], y: float) -> list[Shape]:
    """Below the newest point, and below as many others as have room."""
    pattern = "%m-%d" if chart.points[-1].at - chart.points[0].at >= _DAY else "%H:%M"
    shapes: list[Shape] = []
    free = float("inf")
    for (across, _), one in zip(reversed(where), reversed(chart.points), strict=True):
        if across <= free:
            end = not shapes and len(where) > 1
            shapes.append(
                Text(across + 8 if end else across, y, one.at.strftime(pattern), "quiet", "end" if end else "middle")
            )
            free = across - _PER_TICK
    return shapes


# A metric by cohort


def _cohorts(chart: Cohorts, language: Language, width: int) -> Drawing:
    rows = list(enumerate(chart.rows, 1))
    if len(rows) > ROWS:
        worst = sorted(rows, key=lambda one: _rank(chart.better(one[1])))
        rows = sorted(worst[:ROWS])
    names = min(max(wide(row.name) for _, row in rows) + 14, 0.36 * width)
    left, right = 12 + names, width - _FIGURE - 8
    number = formats.number
    seen = [
        value for _, row in rows for value in (row.candidate, row.champion, _least(chart, row)) if value is not None
    ]
    low, high = _around(seen)

    def x(value: float) -> float:
        return left + (right - left) * (value - low) / (high - low)

    top = _HEADING
    bottom = top + len(rows) * _ROW
    drawn = Drawing(width, bottom + _AXIS)
    least = "" if chart.at_least is None else _say("least", signed(chart.at_least), language)
    drawn.shapes += [
        Text(
            12,
            26,
            _fitting(_say("by cohort", chart.metric, language), width - 36 - wide(least)),
            "title",
            plain=chart.metric,
        ),
        Text(width - _RIGHT, 26, least, "quiet", "end", plain=f">= {signed(chart.at_least or 0.0)}"),
    ]
    for tick in _ticks(low, high, max(3.0, (right - left) / _PER_FIGURE)):
        drawn.shapes += [
            Path([(x(tick), top), (x(tick), bottom)], "grid"),
            Text(x(tick), bottom + 18, number(tick), "quiet", "middle"),
        ]
    for place, (n, row) in enumerate(rows):
        drawn.shapes += _row(chart, (n, row), top + (place + 0.5) * _ROW, (left, width - _RIGHT), x)
    if len(rows) < len(chart.rows):
        more = len(chart.rows) - len(rows)
        drawn.shapes.append(Text(12, bottom + 18, _say("more", more, language), "quiet", plain=f"+{more}"))
    return drawn


def _rank(better: float | None) -> float:
    return float("inf") if better is None else better


def _least(chart: Cohorts, row: Row) -> float | None:
    """What the candidate has to reach in this cohort."""
    if chart.at_least is None or row.champion is None:
        return None
    return row.champion + (chart.at_least if chart.higher_is_better else -chart.at_least)


def _row(
    chart: Cohorts, numbered: tuple[int, Row], y: float, across: tuple[float, float], x: Callable[[float], float]
) -> list[Shape]:
    n, row = numbered
    below, better, least = chart.below(row), chart.better(row), _least(chart, row)
    left, right = across
    told = formats.number(row.candidate) if better is None else signed(better)
    shapes: list[Shape] = [
        Text(12, y + 4, _fitting(row.name, left - 20), "over" if below else "ink", plain=f"#{n}"),
        Text(right, y + 4, told, "over" if below else "ink", "end"),
    ]
    if least is not None:
        shapes.append(Path([(x(least), y - 8), (x(least), y + 8)], "limit"))
    if row.champion is not None:
        shapes.append(Path([(x(row.champion), y), (x(row.candidate), y)], "join"))
        shapes.append(Dot(x(row.champion), y, 4.5, "ring"))
    shapes.append(Dot(x(row.candidate), y, 4.5, "hit" if below else "dot"))
    return shapes

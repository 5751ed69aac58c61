"""Pictures of what an event's `data.chart` says: a PNG for cards and mails, SVG for pages. Both are drawn from one layout.

    {"kind": "line", "metric", "points": [[time, value, low, high, n], …], "limit", "reference", "higher_is_better"}
        a metric over windows of time, each with the bounds of its interval and how many predictions it is of
    {"kind": "cohorts", "metric", "rows": [[name, candidate, champion or null], …], "at_least", "higher_is_better"}
        a metric of two models by cohort; `at_least` is by how much the candidate has to be better

A list of such tables is several pictures. What is none of them is left out: a picture decorates, and holds up nothing.
"""

import logging
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Struct

from shared.actions import Language, Picture
from shared.messages import formats

MOST: Final = 3
"""Pictures of one event."""

CARD: Final = 320
"""Pixels: the width of a card on a phone. A PNG is drawn twice as fine."""

_NAMED: Final = 3
"""So many cohorts are named in words."""

log: Final = logging.getLogger("switchyard.pictures")


class Point(Struct, frozen=True, array_like=True):
    """One window: the value, the bounds of its interval where they are known, and of how many predictions."""

    at: datetime
    value: float
    low: float | None = None
    high: float | None = None
    n: float = 0


class Line(Struct, frozen=True, tag="line", tag_field="kind"):
    metric: str
    points: tuple[Point, ...]
    limit: float | None = None
    reference: float | None = None
    higher_is_better: bool = True

    def breaks(self, point: Point) -> bool:
        """Whether it is on the wrong side of the limit."""
        if self.limit is None:
            return False
        return point.value < self.limit if self.higher_is_better else point.value > self.limit


class Row(Struct, frozen=True, array_like=True):
    name: str
    candidate: float
    champion: float | None = None


class Cohorts(Struct, frozen=True, tag="cohorts", tag_field="kind"):
    metric: str
    rows: tuple[Row, ...]
    at_least: float | None = None
    higher_is_better: bool = True

    def better(self, row: Row) -> float | None:
        """By how much the candidate is better; None where there is nothing to hold it against."""
        if row.champion is None:
            return None
        difference = row.candidate - row.champion
        return round(difference if self.higher_is_better else -difference, 12)

    def below(self, row: Row) -> bool:
        better = self.better(row)
        return better is not None and self.at_least is not None and better < self.at_least


type Chart = Line | Cohorts


def charts(data: Mapping[str, object]) -> tuple[Chart, ...]:
    """What is to be drawn of an event."""
    found = data.get("chart")
    tables = found if isinstance(found, list | tuple) else [found]
    return tuple(chart for table in tables if (chart := _chart(table)) is not None)[:MOST]


def _chart(table: object) -> Chart | None:
    try:
        chart: Chart = msgspec.convert(table, Line | Cohorts)
    except msgspec.ValidationError:
        return None
    if not all(math.isfinite(number) for number in _numbers(chart)):
        return None
    if isinstance(chart, Cohorts):
        return chart if chart.rows else None
    points = [msgspec.structs.replace(one, at=_aware(one.at)) for one in chart.points]
    return msgspec.structs.replace(chart, points=tuple(sorted(points, key=lambda one: one.at))) if points else None


def _numbers(chart: Chart) -> list[float]:
    if isinstance(chart, Line):
        found = [chart.limit, chart.reference]
        found += [value for point in chart.points for value in (point.value, point.low, point.high, point.n)]
    else:
        found = [chart.at_least, *(value for row in chart.rows for value in (row.candidate, row.champion))]
    return [number for number in found if number is not None]


def _aware(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def of(data: Mapping[str, object], language: Language) -> tuple[Picture, ...]:
    """The pictures for a message. The library that draws them is loaded with the first."""
    found = charts(data)
    if not found:
        return ()
    try:
        from shared.pictures import png

        return tuple(
            Picture(png.draw(one, language, CARD), alt(one, language), legend(one, language, numbered=True))
            for one in found
        )
    except Exception:  # a message without its picture is better than none
        log.exception("a picture could not be drawn")
        return ()


# In words


def alt(chart: Chart, language: Language) -> str:
    """What the picture shows, for whoever does not see it."""
    return _line(chart, language) if isinstance(chart, Line) else _cohorts(chart, language)


def _line(chart: Line, language: Language) -> str:
    newest, number = chart.points[-1], formats.number
    broken = sum(chart.breaks(point) for point in chart.points)
    n, first, last = len(chart.points), f"{chart.points[0].at:%Y-%m-%d}", f"{newest.at:%Y-%m-%d}"
    bounds = newest.low is not None and newest.high is not None
    if language == "ja":
        told = [f"{chart.metric} の推移 ({first} から {last}、{n} 期間): 最新 {number(newest.value)}"]
        told += [f"信頼区間 {number(newest.low)} から {number(newest.high)}"] if bounds else []
        told += [f"{number(newest.n)} 件"] if newest.n else []
        told += [f"許容値 {number(chart.limit)}"] if chart.limit is not None else []
        told += [f"学習時 {number(chart.reference)}"] if chart.reference is not None else []
        told += [f"基準を外れた期間 {broken}"] if broken else []
        return "、".join(told)
    told = [f"{chart.metric} over {n} window{'s' if n > 1 else ''}, {first} to {last}: newest {number(newest.value)}"]
    told += [f"interval {number(newest.low)} to {number(newest.high)}"] if bounds else []
    told += [f"n = {number(newest.n)}"] if newest.n else []
    told += [f"limit {number(chart.limit)}"] if chart.limit is not None else []
    told += [f"training run {number(chart.reference)}"] if chart.reference is not None else []
    told += [f"beyond the limit in {broken} of them"] if broken else []
    return ", ".join(told)


def _cohorts(chart: Cohorts, language: Language) -> str:
    below = sorted((row for row in chart.rows if chart.below(row)), key=lambda row: chart.better(row) or 0.0)
    named = [f"{row.name} {signed(chart.better(row) or 0.0)}" for row in below[:_NAMED]]
    of, least = len(chart.rows), "" if chart.at_least is None else signed(chart.at_least)
    if language == "ja":
        told = f"コホート別の {chart.metric} (候補と現行の比較、{of} 件)"
        if not below:
            return f"{told}: すべて基準内" if least else told
        return f"{told}: 許容差 {least} を下回るもの {len(below)} 件 ({'、'.join(named)})"
    told = f"{chart.metric} by cohort, candidate against production, {of} of them"
    if not below:
        return f"{told}: none below its limit" if least else told
    return f"{told}: {len(below)} below the limit of {least} ({', '.join(named)})"


def legend(chart: Chart, language: Language, *, numbered: bool = False) -> str:
    """How the picture is read. `numbered`: names that its letters could not write stand there as numbers."""
    japanese = language == "ja"
    if isinstance(chart, Line):
        told = ["青: 測定値 (帯は信頼区間)" if japanese else "Blue: measured, with its interval"]
        if chart.limit is not None:
            told.append("赤の破線: 許容値" if japanese else "red: the limit")
        if chart.reference is not None:
            told.append("緑の破線: 学習時" if japanese else "green: the training run")
    else:
        told = ["● 候補、○ 現行" if japanese else "● candidate, ○ in production"]
        if chart.at_least is not None:
            told.append("赤の縦線: 各コホートの許容値" if japanese else "red stroke: the least that is accepted")
        told += [f"#{n} {row.name}" for n, row in enumerate(chart.rows, 1) if numbered and not row.name.isascii()]
    return ("、" if japanese else ", ").join(told)


def signed(difference: float) -> str:
    """A difference, with its sign."""
    text = formats.number(abs(difference))
    return f"{'-' if difference < 0 else '+'}{text}"

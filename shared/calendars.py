"""Calendars and on-call schedules: what the clock on the wall says. Pure.

A calendar asks a clock and a calendar on a wall in its time zone, and nothing else: it covers a moment if they show, at
that moment, a time of one of its spans on a day that it names. Therefore, when clocks change: a time that is skipped does
not come; one that is shown twice is covered twice, and what lies between is not. `02:30` to `03:00` does not happen on the
night on which 02:00 becomes 03:00, and happens twice, an hour apart, when 03:00 becomes 02:00. A span over midnight belongs
to the day on which it begins: its morning is that of the date after, also where a zone left a date out.

A moment at which something happens once (a hand-over, the begin of a stand-in) is the first one at which that clock shows
the time, or, where it is skipped, a later one.
"""

from calendar import monthrange
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from itertools import islice
from typing import Final, Literal
from zoneinfo import ZoneInfo

type Tongue = Literal["en", "ja"]

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MIDNIGHT: Final = 24 * 60
"""Minutes of a day: the end of its last one."""

_DAY: Final = timedelta(days=1)
_AHEAD: Final = timedelta(days=3653)
"""How far ahead a change is looked for."""

_CYCLE: Final = 10_227
"""Days of 28 years: then every date falls on the same day of the week again (from 1901 to 2099)."""

_ENOUGH: Final = 4000
"""Days to look at, until what is left of them is taken for nothing."""


def within(start: int, end: int, there: datetime, on: Callable[[date], bool]) -> bool:
    """Whether this clock shows a time of the span, in minutes of the day, that begins on a day for which `on` holds."""
    minute, today = there.hour * 60 + there.minute, there.date()
    if start < end:
        return start <= minute < end and on(today)
    return (minute >= start and on(today)) or (minute < end and on(today - _DAY))


def instant(local: datetime, zone: str) -> datetime:
    """The first moment at which a clock there shows this time or, where it is skipped, a later one."""
    there = local.replace(tzinfo=ZoneInfo(zone), fold=0)
    found = there.astimezone(UTC)
    if found.astimezone(there.tzinfo).replace(tzinfo=None, fold=0) == local:
        return found
    return _jump(there.replace(fold=1).astimezone(UTC), found, ZoneInfo(zone))


def _jump(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    """The moment up to `high` at which the clock there stops going as it goes at `low`."""
    first, last, before = int(low.timestamp()), int(high.timestamp()), low.astimezone(zone).utcoffset()
    while last - first > 1:
        middle = (first + last) // 2
        same = datetime.fromtimestamp(middle, zone).utcoffset() == before
        first, last = (middle, last) if same else (first, middle)
    return datetime.fromtimestamp(last, UTC)


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the day, in minutes, the end exclusive, on these days of the week: none given, on all. Monday is 0."""

    start: int = 0
    end: int = MIDNIGHT
    days: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Dates:
    """From the first to the last day, both included. Each is (year, month, day); the year is 0 where it is every year."""

    first: tuple[int, int, int]
    last: tuple[int, int, int]

    def __contains__(self, day: date) -> bool:
        shown = (day.year if self.first[0] else 0, day.month, day.day)
        if self.first <= self.last:
            return self.first <= shown <= self.last
        return shown >= self.first or shown <= self.last  # over the end of the year


@dataclass(frozen=True, slots=True)
class Calendar:
    """Times of days, or (`any_of`) those of other calendars; less those of `without`.

    Of `month_days`, `months` and `dates` those that are given all have to hold for a day. A negative day of the month counts
    from its end: -1 is the last.
    """

    name: str
    zone: str = "UTC"
    spans: tuple[Span, ...] = (Span(),)
    month_days: tuple[int, ...] = ()
    months: tuple[int, ...] = ()
    dates: tuple[Dates, ...] = ()
    any_of: tuple["Calendar", ...] = ()
    without: tuple["Calendar", ...] = ()

    def covers(self, moment: datetime) -> bool:
        return self._shows(moment) and not any(one.covers(moment) for one in self.without)

    def next_change(self, moment: datetime) -> datetime | None:
        """The first moment after this one at which it begins or ends; None if that is more than ten years away."""
        now, at = self.covers(moment), moment.astimezone(UTC)
        last, parts = at + _AHEAD, tuple(self._parts())
        while at < last:
            at = min(one._mark(at) for one in parts)  # noqa: SLF001 (its own kind)
            if self.covers(at) != now:
                return at
        return None

    def ever(self) -> bool:
        """Whether there is any moment that it covers."""
        at, parts = datetime.min.replace(tzinfo=UTC), tuple(self._parts())
        for day in islice(self._days(), _ENOUGH):
            begin = datetime.combine(day, time(), UTC) - _DAY
            at = max(at, begin) if at < begin + 4 * _DAY else begin  # days that follow each other are looked at once
            while at < begin + 4 * _DAY:
                if self.covers(at):
                    return True
                at = min(one._mark(at) for one in parts)  # noqa: SLF001 (its own kind)
        return False

    def _shows(self, moment: datetime) -> bool:
        """Of its own times, or of those that it is made of."""
        if self.any_of:
            return any(one.covers(moment) for one in self.any_of)
        there = moment.astimezone(ZoneInfo(self.zone))
        return any(within(one.start, one.end, there, partial(self._on, one)) for one in self.spans)

    def _on(self, span: Span, day: date) -> bool:
        if span.days and day.weekday() not in span.days:
            return False
        if self.months and day.month not in self.months:
            return False
        if self.month_days:
            behind = day.day - monthrange(day.year, day.month)[1] - 1
            if day.day not in self.month_days and behind not in self.month_days:
                return False
        return not self.dates or any(day in one for one in self.dates)

    def _parts(self) -> Iterator["Calendar"]:
        """The calendars with times of their own that it is made of."""
        if not self.any_of:
            yield self
        for one in (*self.any_of, *self.without):
            yield from one._parts()  # noqa: SLF001 (its own kind)

    def _mark(self, moment: datetime) -> datetime:
        """The next moment, a day away at most, before which nothing can change: the clock shows midnight, or where one of
        the spans begins or ends, or it jumps.
        """
        zone = ZoneInfo(self.zone)
        there = moment.astimezone(zone)
        shown = timedelta(hours=there.hour, minutes=there.minute, seconds=there.second, microseconds=there.microsecond)
        ahead = moment + min((mark for mark in self._marks(there.date()) if mark > shown), default=_DAY) - shown
        return ahead if ahead.astimezone(zone).utcoffset() == there.utcoffset() else _jump(moment, ahead, zone)

    def _marks(self, day: date) -> Iterator[timedelta]:
        """When a span of that day, or of the night before, begins or ends."""
        for one in self.spans:
            if self._on(one, day) or (one.start > one.end and self._on(one, day - _DAY)):
                yield timedelta(minutes=one.start)
                yield timedelta(minutes=one.end)

    def _days(self) -> Iterator[date]:
        """Days on which it may begin: of the dates that it names, else of enough years."""
        if self.any_of:
            for one in self.any_of:
                yield from one._days()  # noqa: SLF001 (its own kind)
            return
        named = [one for one in self.dates if one.first[0]]
        known = (
            date(*one.first) + n * _DAY for one in named for n in range((date(*one.last) - date(*one.first)).days + 1)
        )
        years = () if named and len(named) == len(self.dates) else (date(2000, 1, 1) + n * _DAY for n in range(_CYCLE))
        for days in (known, years):
            yield from (day for day in days if any(self._on(one, day) for one in self.spans))

    def words(self, tongue: Tongue = "en") -> str:
        """What it covers, for people."""
        return _words(self, tongue)


@dataclass(frozen=True, slots=True)
class StandIn:
    """Somebody else for a time, by the clock of the schedule, the end exclusive."""

    start: datetime
    end: datetime
    who: str


@dataclass(frozen=True, slots=True)
class Schedule:
    """Who is on call: `people` (receivers) one after the other, each for `every` days from `handover`, a minute of the day, on.

    `during`: only then; at other times, and before `start`, `otherwise`: a receiver or another schedule. A stand-in goes
    before all of it.
    """

    name: str
    zone: str
    start: date
    people: tuple[str, ...]
    handover: int = 0
    every: int = 7
    stand_ins: tuple[StandIn, ...] = ()
    during: Calendar | None = None
    otherwise: "Schedule | str | None" = None

    def on_call(self, moment: datetime) -> str | None:
        """The name of a receiver; None when nobody is on call."""
        for one in self.stand_ins:
            if instant(one.start, self.zone) <= moment < instant(one.end, self.zone):
                return one.who
        shift = self._shift(moment)
        if shift >= 0 and (self.during is None or self.during.covers(moment)):
            return self.people[shift % len(self.people)]
        return self.otherwise.on_call(moment) if isinstance(self.otherwise, Schedule) else self.otherwise

    def anybody(self) -> tuple[str, ...]:
        """Everybody who may be on call."""
        other = self.otherwise
        others = other.anybody() if isinstance(other, Schedule) else (other,) if other else ()
        return tuple(dict.fromkeys((*self.people, *(one.who for one in self.stand_ins), *others)))

    def _shift(self, moment: datetime) -> int:
        """Hand-overs until then, less one; those before `start` count backwards."""
        today = moment.astimezone(ZoneInfo(self.zone)).date()
        clock = time(self.handover // 60, self.handover % 60)
        # Where midnight is shown twice, the date of today may have begun already.
        day = today + _DAY
        while instant(datetime.combine(day, clock), self.zone) > moment:
            day -= _DAY
        return (day - self.start).days // self.every


# In words

_SHORT: Final = {"en": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"), "ja": tuple("月火水木金土日")}
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _words(calendar: Calendar, tongue: Tongue) -> str:
    english = tongue == "en"
    comma = ", " if english else "、"
    if calendar.any_of:
        names = comma.join(one.name for one in calendar.any_of)
        said = f"any of {names}" if english else f"{names} のいずれか"
    else:
        spans = comma.join(dict.fromkeys(_span(one, tongue) for one in calendar.spans))
        parts = [*_day_words(calendar, tongue), spans, f"({calendar.zone})"]
        said = " ".join(part for part in parts if part)
    if calendar.without:
        names = comma.join(one.name for one in calendar.without)
        said += f", except {names}" if english else f"、{names} を除く"
    return said


def _day_words(calendar: Calendar, tongue: Tongue) -> list[str]:
    english = tongue == "en"
    comma = ", " if english else "、"
    parts = []
    if calendar.dates:
        parts.append(comma.join(_dates(one, tongue) for one in calendar.dates))
    if calendar.months:
        parts.append(comma.join(_MONTHS[one - 1] if english else f"{one}月" for one in calendar.months))
    if calendar.month_days:
        parts.append(comma.join(_month_day(one, tongue) for one in calendar.month_days))
    return parts


def _month_day(number: int, tongue: Tongue) -> str:
    if tongue == "ja":
        return f"{number}日" if number > 0 else "月末日" if number == -1 else f"月末から{-number}日目"
    return f"day {number}" if number > 0 else "last day" if number == -1 else f"day {-number} from the end"


def _dates(dates: Dates, tongue: Tongue) -> str:
    first, last = ("-".join(f"{part:02}" for part in one if part) for one in (dates.first, dates.last))
    said = first if first == last else f"{first} to {last}" if tongue == "en" else f"{first}〜{last}"
    return said if dates.first[0] else f"every {said}" if tongue == "en" else f"毎年 {said}"


def _span(span: Span, tongue: Tongue) -> str:
    whole = (span.start, span.end) == (0, MIDNIGHT)
    days = _weekdays(span.days, tongue) if span.days else ""
    hours = ("all day" if tongue == "en" else "終日") if whole else f"{clock(span.start)}-{clock(span.end)}"
    return f"{days} {hours}".strip()


def _weekdays(days: Sequence[int], tongue: Tongue) -> str:
    names = _SHORT[tongue]
    runs: list[list[int]] = []
    for day in sorted(days):
        if runs and runs[-1][-1] == day - 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    dash = "-" if tongue == "en" else "〜"
    said = [names[run[0]] if len(run) == 1 else f"{names[run[0]]}{dash}{names[run[-1]]}" for run in runs]
    return (", " if tongue == "en" else "、").join(said)


def clock(minute: int) -> str:
    """A minute of the day as clocks show it."""
    return f"{minute // 60:02}:{minute % 60:02}"

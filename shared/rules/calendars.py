"""`calendars` and `schedules` of switchyard.yaml: as they are written, held against what they name, as they are asked."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from itertools import combinations
from typing import Annotated, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from shared.calendars import MIDNIGHT, Calendar, Dates, Schedule, Span, StandIn
from shared.rules.report import Report
from shared.rules.tree import Node, Place, nearest
from shared.rules.written import Day, Minutes, Seconds, Text, Texts, Weekdays, Zone, listed

_DEEPEST: Final = 5
_DAY: Final = 86_400
_YEARS: Final = range(2000, 2200)
_LEAP: Final = 2024
_RANGE: Final = re.compile(r"([+-]?\d{1,2})\.\.([+-]?\d{1,2})")
_MONTH_DAYS: Final = range(-31, 32)
_MONTHS: Final = range(1, 13)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _numbers(allowed: range, example: str) -> BeforeValidator:
    def read(value: object) -> object:
        found: list[int] = []
        for one in listed(value):  # type: ignore[attr-defined]  # it is a list or a tuple then
            pair = _RANGE.fullmatch(one) if isinstance(one, str) else None
            numbers = list(range(int(pair[1]), int(pair[2]) + 1)) if pair else [one]
            if not numbers or any(type(n) is not int or n == 0 or n not in allowed for n in numbers):
                raise ValueError(f"{one!r}: expected {example}")
            found += numbers
        if not found:
            raise ValueError(f"an empty list: expected {example}")
        return tuple(sorted(set(found)))

    number = Annotated[int, Field(ge=allowed[0], le=allowed[-1], json_schema_extra={"not": {"const": 0}})]
    one = number | Annotated[str, Field(pattern=_RANGE.pattern)]
    return BeforeValidator(read, json_schema_input_type=one | list[one])


def _day(text: str, *, yearly: bool) -> tuple[int, int, int] | None:
    try:
        found = date.fromisoformat(f"{_LEAP}-{text}" if yearly else text)
    except ValueError:
        return None
    return None if found.year not in _YEARS else (0 if yearly else found.year, found.month, found.day)


def _dates(value: object) -> object:
    found = []
    for one in listed(value):  # type: ignore[attr-defined]  # it is a list or a tuple then
        text = str(one).removeprefix("every ").strip()
        yearly = text != str(one).strip()
        first, _, last = text.partition("..")
        pair = [_day(part.strip(), yearly=yearly) for part in (first, last or first)]
        if pair[0] is None or pair[1] is None:
            said = "2026-12-24, 2026-12-29..2027-01-03, 'every 01-01' or 'every 12-29..01-03'"
            raise ValueError(f"{one!r} is no day: expected one such as {said}")
        if not yearly and pair[0] > pair[1]:
            raise ValueError(f"{one!r}: the first day comes first")
        found.append(Dates(pair[0], pair[1]))
    if not found:
        raise ValueError("an empty list: expected days such as 2026-12-24")
    return tuple(found)


def _local(value: object) -> object:
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        found = None
    if found is None or found.tzinfo is not None or found.year not in _YEARS:
        raise ValueError(f"{value!r}: expected a time by the clock of the schedule, such as '2026-12-24T09:00'")
    return found.replace(microsecond=0)


_ON: Final = r"\d{4}-\d\d-\d\d"
type _Date = Annotated[str, Field(pattern=rf"^({_ON}( *\.\. *{_ON})?|every +\d\d-\d\d( *\.\. *\d\d-\d\d)?)$")]
type _Dates = Annotated[tuple[Dates, ...], BeforeValidator(_dates, json_schema_input_type=_Date | list[_Date])]
type _Local = Annotated[
    datetime,
    BeforeValidator(
        _local, json_schema_input_type=Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?)?$")]
    ),
]


def _span(days: tuple[int, ...], start: int, end: int) -> Span:
    if start == end:
        raise ValueError("it never covers anything: 'from' and 'to' are the same")
    if start == MIDNIGHT:
        raise ValueError("'from' is 24:00: write 00:00, of the day after")
    return Span(start, end, () if len(days) == 7 else days)  # noqa: PLR2004 (all of the week)


class Hours(_Strict):
    """A part of the day. Over midnight, where `to` is before `from`, it belongs to the day on which it begins."""

    days: Weekdays | None = Field(default=None, description="mon-fri, or a list; left out, those of the calendar.")
    start: Minutes = Field(default=0, alias="from")
    end: Minutes = Field(default=MIDNIGHT, alias="to", description="The first minute behind it; 24:00 ends the day.")

    @model_validator(mode="after")
    def _some(self) -> Self:
        _span((), self.start, self.end)
        return self


_OWN: Final = ("days", "from", "to", "times", "month_days", "months", "dates")
"""What a calendar has that is not made of others."""


class CalendarEntry(_Strict):
    """Times for `active` and `mute` of rules, and for schedules. Of days, month_days, months and dates all that are given have
    to hold.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": [one]} for one in (*_OWN, "any_of")],
            "dependentSchemas": {
                "any_of": {"properties": dict.fromkeys((*_OWN, "time_zone"), False)},
                "times": {"properties": {"from": False, "to": False}},
            },
        }
    )

    time_zone: Zone | None = Field(default=None, description="Left out, that of `defaults`.")
    days: Weekdays | None = Field(default=None, description="Days of the week: mon-fri, or a list.")
    start: Minutes | None = Field(default=None, alias="from", description="Left out, the day from its begin.")
    end: Minutes | None = Field(default=None, alias="to", description="The first minute behind it.")
    times: tuple[Hours, ...] | None = Field(
        default=None,
        description="Several parts of the day, instead of from and to.",
        json_schema_extra={"minItems": 1},
    )
    month_days: Annotated[tuple[int, ...], _numbers(_MONTH_DAYS, "days of the month, 1 to 31, -1 for the last")] = (
        Field(default=(), description="Days of the month; -1 is its last. Also 1..7.")
    )
    months: Annotated[tuple[int, ...], _numbers(_MONTHS, "months, 1 to 12")] = Field(default=(), description="1 to 12.")
    dates: _Dates = Field(
        default=(), description="2026-11-23, 2026-12-29..2027-01-03, 'every 01-01', 'every 12-29..01-03'."
    )
    any_of: Texts = Field(default=(), description="Other calendars, of which one covers it, instead of own times.")
    without: Texts = Field(default=(), alias="except", description="Other calendars whose times are left out.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        own = self.model_fields_set - {"without", "any_of"}
        if self.any_of and own:
            alias = {"start": "from", "end": "to"}
            said = ", ".join(sorted(alias.get(one, one) for one in own))
            raise ValueError(f"a calendar made of others has no times of its own: leave {said} out, or 'any_of'")
        if not self.any_of and not own - {"time_zone"}:
            raise ValueError("it says nothing: expected days, from and to, times, month_days, months, dates or any_of")
        if self.times == ():
            raise ValueError("times: an empty list: expected parts of the day such as {from: '09:00', to: '12:00'}")
        if self.times and (self.start is not None or self.end is not None):
            raise ValueError("'from' and 'to' beside 'times': they stand in its entries")
        self.spans()
        return self

    def spans(self) -> tuple[Span, ...]:
        days = self.days or ()
        if self.times:
            return tuple(_span(one.days or days, one.start, one.end) for one in self.times)
        return (_span(days, self.start or 0, MIDNIGHT if self.end is None else self.end),)


class StandInEntry(_Strict):
    """Somebody else for a time."""

    start: _Local = Field(alias="from")
    end: _Local = Field(alias="to")
    who: Text = Field(description="A receiver.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.start >= self.end:
            raise ValueError(f"from {self.start:%Y-%m-%dT%H:%M} to {self.end:%Y-%m-%dT%H:%M}: 'from' comes first")
        return self


class ScheduleEntry(_Strict):
    """Who is on call."""

    time_zone: Zone | None = Field(default=None, description="Left out, that of `defaults`.")
    start: Day = Field(description="The first person's first day.")
    handover: Minutes = Field(default=0, description="When one hands over to the next, by the clock there.")
    every: Seconds = Field(default=7.0 * _DAY, description="For how long each is on call, in whole days: 1d, 7d, 14d.")
    people: Texts = Field(description="Receivers, one after the other.")
    overrides: tuple[StandInEntry, ...] = Field(default=(), description="Who stands in, and when.")
    during: Text | None = Field(default=None, description="A calendar: only then. Left out, always.")
    otherwise: Text | None = Field(default=None, description="At other times: a receiver, or another schedule.")

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not self.people:
            raise ValueError("people: an empty list: expected receivers")
        if self.start.year not in _YEARS:
            raise ValueError(f"start is {self.start}: expected a day from {_YEARS[0]} to {_YEARS[-1]}")
        if self.handover == MIDNIGHT:
            raise ValueError("handover is 24:00: write 00:00, of the day after")
        if not self.every or self.every % _DAY or self.every > 366 * _DAY:
            raise ValueError(
                "every: expected whole days, 1d to 366d: the clocks of a day are not always 24 hours apart"
            )
        for one, other in combinations(sorted(self.overrides, key=lambda one: one.start), 2):
            if other.start < one.end:
                said = f"{one.who} until {one.end:%Y-%m-%dT%H:%M} and {other.who} from {other.start:%Y-%m-%dT%H:%M}"
                raise ValueError(f"overrides: {said}: two stand in at the same time")
        return self


# As they are asked


def calendars(entries: Mapping[str, CalendarEntry], zone: str) -> Mapping[str, Calendar]:
    """`zone`: of those that name none."""
    made: dict[str, Calendar] = {}

    def make(name: str) -> Calendar:
        if name not in made:
            one = entries[name]
            made[name] = Calendar(
                name,
                one.time_zone or zone,
                one.spans(),
                one.month_days,
                one.months,
                one.dates,
                tuple(make(other) for other in one.any_of),
                tuple(make(other) for other in one.without),
            )
        return made[name]

    return {name: make(name) for name in entries}


def schedules(entries: Mapping[str, ScheduleEntry], hours: Mapping[str, Calendar], zone: str) -> Mapping[str, Schedule]:
    made: dict[str, Schedule] = {}

    def make(name: str) -> Schedule:
        if name not in made:
            one = entries[name]
            made[name] = Schedule(
                name,
                one.time_zone or zone,
                one.start,
                one.people,
                one.handover,
                timedelta(seconds=one.every).days,
                tuple(StandIn(each.start, each.end, each.who) for each in one.overrides),
                None if one.during is None else hours[one.during],
                make(one.otherwise) if one.otherwise and one.otherwise in entries else one.otherwise,
            )
        return made[name]

    return {name: make(name) for name in entries}


# What they name


def sound_calendars(
    entries: Mapping[str, CalendarEntry], node: Node | None, zone: str, report: Report
) -> dict[str, CalendarEntry]:
    """Those without a mistake, and that name none with one."""
    known = _Named(node, report)
    for name, entry in entries.items():
        for key, named in (("any_of", entry.any_of), ("except", entry.without)):
            for n, other in enumerate(named):
                known.one("calendar", other, known.declared, entries, name, key, n)
    known.circles("calendars", lambda name: (*entries[name].any_of, *entries[name].without), entries)

    def others(entry: CalendarEntry) -> Iterable[str]:
        return (*entry.any_of, *entry.without)

    sound = known.sound(entries, others)
    for name, calendar in calendars(sound, zone).items():
        if not calendar.ever():
            known.say("it never covers anything: no moment is left that its days, times and 'except' allow", name)
    return known.sound(sound, others)


def sound_schedules(
    entries: Mapping[str, ScheduleEntry],
    node: Node | None,
    declared: Mapping[str, Iterable[str]],
    valid: Mapping[str, Iterable[str]],
    report: Report,
) -> dict[str, ScheduleEntry]:
    """Those without a mistake, and that name nothing with one. `declared` and `valid`: receivers and calendars by name."""
    known = _Named(node, report)
    for name, entry in entries.items():
        for n, who in enumerate(entry.people):
            known.one("receiver", who, declared["receivers"], valid["receivers"], name, "people", n)
        for n, one in enumerate(entry.overrides):
            known.one("receiver", one.who, declared["receivers"], valid["receivers"], name, "overrides", n, "who")
        if entry.during is not None:
            known.one("calendar", entry.during, declared["calendars"], valid["calendars"], name, "during")
        if entry.otherwise is not None:
            known.other(entry.otherwise, declared["receivers"], valid["receivers"], name)
    known.circles("schedules", lambda name: (entries[name].otherwise or "",), entries)
    return known.sound(entries, lambda entry: (entry.otherwise or "",))


class _Named:
    """The entries of one section: where they stand, and which have a mistake."""

    def __init__(self, node: Node | None, report: Report) -> None:
        self._node = node or Node({}, Place(1, 1))
        self._report = report
        self.declared = frozenset(self._node.items)
        self.wrong: set[str] = set()

    def say(self, message: str, name: str, *path: object) -> None:
        self.wrong.add(name)
        self._report.say(self._node.place((name, *path)), message)

    def one(
        self, what: str, other: str, declared: Iterable[str], valid: Iterable[str], name: str, *path: object
    ) -> None:
        """The entry of this name has another at `path`: one with a mistake of its own has been told of already."""
        if other not in declared:
            self.say(f"unknown {what} {other!r}{nearest(other, frozenset(declared))}", name, *path)
        elif other not in valid:
            self.wrong.add(name)

    def other(self, other: str, declared: Iterable[str], valid: Iterable[str], name: str) -> None:
        """A receiver, or another of these."""
        if other not in self.declared:
            self.one("receiver or schedule", other, declared, valid, name, "otherwise")
        elif other in declared:
            said = f"{other!r} is a receiver and a schedule: give one of them another name"
            self.say(said, name, "otherwise")

    def circles(self, what: str, names: Callable[[str], Iterable[str]], entries: Iterable[str]) -> None:
        """Says of each circle once that it is one, and of what is nested too deep."""
        known = set(entries)
        told: set[str] = set()

        def walk(chain: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
            if len(chain) > _DEEPEST:
                yield chain
                return
            for other in names(chain[-1]):
                if other in chain:
                    yield (*chain[chain.index(other) :], other)
                elif other in known and other not in told:
                    yield from walk((*chain, other))

        for name in entries:
            found = next(walk((name,)), ()) if name not in told else ()
            if not found:
                continue
            told.update(found)
            self.wrong.update(found)
            if found[0] == found[-1]:
                self.say(f"{what} that go round in a circle: {' -> '.join(found)}", found[0])
            else:
                self.say(f"{what} nested deeper than {_DEEPEST}: {' -> '.join(found)}", found[0])

    def sound[E](self, entries: Mapping[str, E], names: Callable[[E], Iterable[str]]) -> dict[str, E]:
        """What is left without those with a mistake, and without those that name one."""
        left = {name: entry for name, entry in entries.items() if name not in self.wrong}
        while bad := [
            name
            for name, entry in left.items()
            if any(one in self.declared and one not in left for one in names(entry))
        ]:
            for name in bad:
                del left[name]
        return left

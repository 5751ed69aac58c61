"""Values as people write them in the configuration: texts, days, times of day, lengths of time, time zones."""

import re
from datetime import date
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from shared.calendars import DAYS, MIDNIGHT
from shared.rollout.hours import seconds, written
from shared.rules.tree import kind_of, nearest

_CLOCK: Final = re.compile(r"([01]\d|2[0-4]):([0-5]\d)")


def listed(value: object) -> object:
    """One stands for a list of one."""
    return value if isinstance(value, list | tuple) else (value,)


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"unknown time zone {name!r}: expected a name such as 'Asia/Tokyo' or 'UTC'") from error
    return name


def _seconds(value: object) -> object:
    if value == 0 and not isinstance(value, bool):
        return 0.0
    found = seconds(value) if isinstance(value, str) else None
    if found is None:
        given = repr(value) if isinstance(value, str | int | float) else kind_of(value)
        raise ValueError(f"{given} is no length of time: expected one such as '90s', '10m', '1h30m' or '24h'")
    return found


def between(low: float, high: float) -> AfterValidator:
    """Of a length of time, both included."""

    def check(length: float) -> float:
        if not low <= length <= high:
            raise ValueError(f"{written(length)} is out of bounds: expected {written(low)} to {written(high)}")
        return length

    return AfterValidator(check)


def _weekdays(value: object) -> object:
    found: list[int] = []
    for word in value if isinstance(value, list) else [value]:
        first, dash, last = str(word).casefold().partition("-")
        for day in (first, last) if dash else (first,):
            if day not in DAYS:
                raise ValueError(f"unknown day {day!r}{nearest(day, DAYS)}")
        low, high = DAYS.index(first), DAYS.index(last or first)
        found += range(low, high + 1) if low <= high else [*range(low, len(DAYS)), *range(high + 1)]
    if not found:
        raise ValueError("an empty list: expected days such as mon-fri")
    return tuple(sorted(set(found)))


def _minutes(value: object) -> object:
    found = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    minutes = int(found[1]) * 60 + int(found[2]) if found else MIDNIGHT + 1
    if minutes > MIDNIGHT:
        raise ValueError(f"{value!r} is no time of day: expected one such as '09:00', '24:00' for the end of the day")
    return minutes


def _day(value: object) -> object:
    try:
        return date.fromisoformat(str(value))
    except ValueError as error:
        raise ValueError(f"{value!r} is no day: expected one such as 2026-12-24") from error


type Text = Annotated[str, StringConstraints(min_length=1)]
type Texts = Annotated[tuple[Text, ...], BeforeValidator(listed, json_schema_input_type=str | list[str])]
type Zone = Annotated[str, AfterValidator(_zone)]
type Seconds = Annotated[
    float,
    BeforeValidator(
        _seconds, json_schema_input_type=Annotated[str, Field(pattern=r"^(\d+d)?(\d+h)?(\d+m)?(\d+s)?$")] | Literal[0]
    ),
]
_WEEKDAY: Final = "|".join(f"[{day[0].upper()}{day[0]}]{day[1:]}" for day in DAYS)
type _Weekday = Annotated[str, Field(pattern=f"^({_WEEKDAY})(-({_WEEKDAY}))?$")]
type Weekdays = Annotated[tuple[int, ...], BeforeValidator(_weekdays, json_schema_input_type=_Weekday | list[_Weekday])]
type Minutes = Annotated[
    int, BeforeValidator(_minutes, json_schema_input_type=Annotated[str, Field(pattern=r"^\d\d:\d\d$")])
]
type Day = Annotated[
    date, BeforeValidator(_day, json_schema_input_type=Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")])
]

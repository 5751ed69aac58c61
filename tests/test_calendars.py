"""Calendars and schedules: what the clock on the wall says, held against a count of every minute."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.calendars import MIDNIGHT, Calendar, Dates, Schedule, Span, StandIn, instant

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
PLACES = [
    ("Europe/Berlin", "2026-03-28"),
    ("Europe/Berlin", "2026-10-24"),
    ("America/New_York", "2026-03-07"),
    ("America/New_York", "2026-10-31"),
    ("Australia/Lord_Howe", "2026-04-04"),  # by half an hour
    ("Australia/Lord_Howe", "2026-10-03"),
    ("Asia/Tokyo", "2026-12-30"),
    ("Africa/Casablanca", "2026-02-14"),  # for Ramadan
    ("Africa/Casablanca", "2026-03-21"),
    ("America/Sao_Paulo", "2018-02-16"),  # midnight comes twice
    ("America/Sao_Paulo", "2018-11-03"),  # midnight does not come
    ("Pacific/Apia", "2011-12-28"),  # the 30th does not come
    ("Pacific/Kwajalein", "1993-08-19"),  # nor does the 21st
    ("Antarctica/Troll", "2026-03-28"),  # by two hours
    ("Antarctica/Troll", "2026-10-24"),
    ("America/Goose_Bay", "2010-11-06"),  # at one minute past midnight: a date comes twice
    ("Asia/Kathmandu", "2026-02-27"),
]
ALL = tuple(range(7))


def at(text: str, zone: str = "UTC", fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


def wall(moment: datetime, zone: str) -> datetime:
    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0, second=0, microsecond=0)


# The count of every minute: no clock is read but zoneinfo's, and nothing of the module is used.


def shown(calendar: Calendar, first: date, days: int) -> set[datetime]:
    """Every minute that a clock on the wall would have to show."""
    found: set[datetime] = set()
    for day in (first + n * DAY for n in range(-2, days + 3)):
        last = (day.replace(day=28) + 4 * DAY).replace(day=1) - DAY
        numbers = {day.day, day.day - last.day - 1}
        named = [(one.first[1:], one.last[1:]) for one in calendar.dates if not one.first[0]]
        fixed = [(date(*one.first), date(*one.last)) for one in calendar.dates if one.first[0]]
        key = (day.month, day.day)
        yearly = any(a <= key <= b if a <= b else key >= a or key <= b for a, b in named)
        if calendar.dates and not (yearly or any(a <= day <= b for a, b in fixed)):
            continue
        if (calendar.months and day.month not in calendar.months) or (
            calendar.month_days and not numbers & set(calendar.month_days)
        ):
            continue
        for span in calendar.spans:
            if day.weekday() in (span.days or ALL):
                begin = datetime.combine(day, datetime.min.time()) + span.start * MINUTE
                length = (span.end - span.start) if span.start < span.end else MIDNIGHT - span.start + span.end
                found.update(begin + n * MINUTE for n in range(length))
    return found


def minutes(moment: datetime, days: int) -> list[datetime]:
    return [moment + n * MINUTE for n in range(days * MIDNIGHT)]


NUMBERS = st.sets(st.integers(-31, 31).filter(bool), max_size=4).map(lambda found: tuple(sorted(found)))
TIMES = st.one_of(st.integers(0, MIDNIGHT - 1), st.sampled_from([0, 1, 60, 90, 119, 120, 150, 180, 1380, 1439]))
SPANS = st.builds(
    lambda start, end, days: Span(start, end if end != start else MIDNIGHT, tuple(sorted(days))),
    TIMES,
    st.one_of(TIMES, st.just(MIDNIGHT)),
    st.sets(st.integers(0, 6), max_size=3),
)


@st.composite
def dates(draw: st.DrawFn, day: date) -> Dates:
    first = day + draw(st.integers(-2, 3)) * DAY
    last = first + draw(st.integers(0, 2)) * DAY
    yearly = draw(st.booleans())
    return Dates(
        (0 if yearly else first.year, first.month, first.day), (0 if yearly else last.year, last.month, last.day)
    )


@st.composite
def leaves(draw: st.DrawFn, zone: str, day: date) -> Calendar:
    return Calendar(
        "leaf",
        zone,
        tuple(draw(st.lists(SPANS, min_size=1, max_size=2))),
        month_days=draw(NUMBERS),
        months=draw(st.sampled_from([(), (), (day.month,), (day.month % 12 + 1,)])),
        dates=tuple(draw(st.lists(dates(day), max_size=2))),
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, date, datetime]:
    zone, text = draw(st.sampled_from(PLACES))
    day = date.fromisoformat(text)
    begin = datetime.combine(day, datetime.min.time(), UTC)
    return zone, day, begin + draw(st.integers(0, MIDNIGHT)) * MINUTE


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_calendar_covers_the_minutes_at_which_the_clock_there_shows_its_times_and_says_when_that_changes(data):
    zone, day, begin = data.draw(cases())
    calendar = data.draw(leaves(zone, day))
    wanted = shown(calendar, day, 3)
    moments = minutes(begin, 2)
    covered = [wall(moment, zone) in wanted for moment in moments]
    assert [calendar.covers(moment) for moment in moments] == covered
    changes = [moment for (_, before), (moment, now) in pairwise(zip(moments, covered, strict=True)) if before != now]
    found, moment = [], begin
    while (change := calendar.next_change(moment)) is not None and change <= moments[-1]:
        found.append(change)
        moment = change
    assert found == changes


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_calendars_made_of_others_are_the_union_less_what_is_excepted_whatever_their_zones(data):
    zone, day, begin = data.draw(cases())
    parts = [data.draw(leaves(one, day)) for one in (zone, "Asia/Tokyo", zone)]
    calendar = Calendar("whole", zone, any_of=(parts[0], parts[1]), without=(parts[2],))
    sets = [shown(one, day, 4) for one in parts]

    def covered(moment: datetime) -> bool:
        first, second, less = (wall(moment, one.zone) in wanted for one, wanted in zip(parts, sets, strict=True))
        return (first or second) and not less

    moments = minutes(begin, 2)
    expected = [covered(moment) for moment in moments]
    assert [calendar.covers(moment) for moment in moments] == expected
    first = next((moment for moment, now in zip(moments, expected, strict=True) if now != expected[0]), None)
    change = calendar.next_change(begin)
    assert change == first if first else change is None or change > moments[-1]
    if any(expected):
        assert calendar.ever()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(PLACES), TIMES, st.integers(1, 4), st.integers(-3, 3), st.booleans())
def test_the_shift_in_force_is_that_of_the_last_hand_over_that_has_passed(
    place, handover, every, offset, with_stand_in
):
    zone, text = place
    start = date.fromisoformat(text) + offset * DAY
    people = ("a", "b", "c")
    stand_in = StandIn(
        datetime.fromisoformat(f"{text}T23:30") + DAY, datetime.fromisoformat(f"{text}T02:30") + 2 * DAY, "x"
    )
    schedule = Schedule("rota", zone, start, people, handover, every, (stand_in,) if with_stand_in else ())
    moments = minutes(datetime.fromisoformat(f"{text}T00:00:00+00:00") - 5 * DAY, 9)
    coming = [(datetime.combine(start, datetime.min.time()) + handover * MINUTE) + n * every * DAY for n in range(12)]
    shifts, standing = 0, [stand_in.start, stand_in.end] if with_stand_in else []
    for moment in moments:
        there = wall(moment, zone)
        while coming and there >= coming[0]:
            coming.pop(0)
            shifts += 1
        while standing and there >= standing[0]:
            standing.pop(0)
        expected = "x" if len(standing) == 1 else people[(shifts - 1) % 3] if shifts else None
        if moment.minute % 10 == 0 or there.minute in {0, 1, handover % 60}:
            assert schedule.on_call(moment) == expected, moment


@pytest.mark.parametrize(
    ("zone", "local", "expected"),
    [
        ("Asia/Tokyo", "2026-11-24T09:00", "2026-11-24T00:00"),
        ("Europe/Berlin", "2026-03-29T02:30", "2026-03-29T01:00"),  # 02:00 becomes 03:00
        ("Europe/Berlin", "2026-03-29T02:00", "2026-03-29T01:00"),
        ("Europe/Berlin", "2026-03-29T03:30", "2026-03-29T01:30"),
        ("Europe/Berlin", "2026-10-25T02:30", "2026-10-25T00:30"),  # the first of two
        ("Australia/Lord_Howe", "2026-10-04T02:15", "2026-10-03T15:30"),
        ("America/Sao_Paulo", "2018-11-04T00:00", "2018-11-04T03:00"),
        ("Pacific/Apia", "2011-12-30T09:00", "2011-12-30T10:00"),  # with the begin of the 31st
    ],
)
def test_a_time_that_is_skipped_is_the_moment_of_the_jump_and_one_that_comes_twice_the_first(zone, local, expected):
    assert instant(datetime.fromisoformat(local), zone) == at(expected)


OFFICE = Calendar(
    "business-hours",
    "Asia/Tokyo",
    (Span(9 * 60, 18 * 60, (0, 1, 2, 3, 4)),),
    without=(
        Calendar(
            "holidays-jp", "Asia/Tokyo", dates=(Dates((2026, 11, 23), (2026, 11, 23)), Dates((0, 12, 29), (0, 1, 3)))
        ),
    ),
)


@pytest.mark.parametrize(
    ("local", "covered"),
    [
        ("2026-11-24T08:59", False),
        ("2026-11-24T09:00", True),
        ("2026-11-24T17:59", True),
        ("2026-11-24T18:00", False),
        ("2026-11-21T12:00", False),  # Saturday
        ("2026-11-23T12:00", False),  # a holiday
        ("2027-01-01T12:00", False),
        ("2027-01-04T12:00", True),
    ],
)
def test_office_hours(local, covered):
    assert OFFICE.covers(at(local, "Asia/Tokyo")) == covered


def test_a_night_belongs_to_the_day_on_which_it_begins():
    friday = Calendar("friday night", "Europe/Berlin", (Span(22 * 60, 7 * 60, (4,)),))
    begin = friday.next_change(at("2026-11-24T12:00"))
    assert begin == at("2026-11-27T22:00", "Europe/Berlin")
    assert friday.next_change(begin) == at("2026-11-28T07:00", "Europe/Berlin")
    assert not friday.covers(at("2026-11-27T06:00", "Europe/Berlin"))


def test_the_night_on_which_clocks_change_is_as_long_as_it_is():
    night = Calendar("night", "Europe/Berlin", (Span(22 * 60, 7 * 60),))
    lengths = []
    for evening in ("2026-03-28", "2026-06-01", "2026-10-24"):
        begin = at(f"{evening}T22:00", "Europe/Berlin")
        end = night.next_change(begin)
        assert end is not None
        lengths.append((end - begin) / timedelta(hours=1))
    assert lengths == [8, 9, 10]


def test_days_count_from_the_end_of_the_month_too():
    calendar = Calendar("month-end", month_days=(-1,), months=(2, 9))
    covered = [day for n in range(800) if calendar.covers(day := at("2027-01-01T12:00") + n * DAY)]
    assert [f"{day:%m-%d}" for day in covered] == ["02-28", "09-30", "02-29", "09-30", "02-28"]


@pytest.mark.parametrize(
    ("calendar", "ever"),
    [
        (Calendar("always"), True),
        (Calendar("leap day", month_days=(29,), months=(2,)), True),
        (Calendar("leap day on a Monday", spans=(Span(days=(0,)),), month_days=(29,), months=(2,)), True),
        (Calendar("30 February", month_days=(30, 31), months=(2,)), False),
        (
            Calendar(
                "a Sunday that is a Monday", spans=(Span(days=(0,)),), dates=(Dates((2026, 11, 22), (2026, 11, 22)),)
            ),
            False,
        ),
        (Calendar("nothing left", without=(Calendar("always"),)), False),
        (Calendar("the long past", dates=(Dates((2020, 5, 1), (2020, 5, 1)),)), True),
        (Calendar("next century", dates=(Dates((2140, 5, 1), (2140, 5, 1)),)), True),
        (
            Calendar(
                "an hour", zone="Asia/Tokyo", spans=(Span(0, 60),), without=(Calendar("rest", spans=(Span(0, 900),)),)
            ),
            True,
        ),
        (
            Calendar(
                "no hour", zone="Asia/Tokyo", spans=(Span(0, 60),), without=(Calendar("rest", spans=(Span(900, 960),)),)
            ),
            False,
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Calendar) else "",
)
def test_a_calendar_that_never_covers_anything_is_known(calendar, ever):
    assert calendar.ever() == ever


def test_what_never_changes_again_says_so():
    assert Calendar("always").next_change(at("2026-11-24T00:00")) is None
    past = Calendar("past", dates=(Dates((2026, 11, 24), (2026, 11, 24)),))
    assert past.next_change(at("2026-11-24T00:00")) == at("2026-11-25T00:00")
    assert past.next_change(at("2026-11-25T00:00")) is None


def test_a_calendar_is_said_in_words():
    several = Calendar("lunch", "UTC", (Span(0, 720, (0, 2)), Span(780, MIDNIGHT, (5, 6))), (1, -1, -2), (3,))
    either = Calendar("either", any_of=(OFFICE, several))
    assert [one.words() for one in (OFFICE, OFFICE.without[0], several, either)] == [
        "Mon-Fri 09:00-18:00 (Asia/Tokyo), except holidays-jp",
        "2026-11-23, every 12-29 to 01-03 all day (Asia/Tokyo)",
        "Mar day 1, last day, day 2 from the end Mon, Wed 00:00-12:00, Sat-Sun 13:00-24:00 (UTC)",
        "any of business-hours, lunch",
    ]
    assert [one.words("ja") for one in (OFFICE, OFFICE.without[0], several, either)] == [
        "月〜金 09:00-18:00 (Asia/Tokyo)、holidays-jp を除く",
        "2026-11-23、毎年 12-29〜01-03 終日 (Asia/Tokyo)",
        "3月 1日、月末日、月末から2日目 月、水 00:00-12:00、土〜日 13:00-24:00 (UTC)",
        "business-hours、lunch のいずれか",
    ]


def test_a_date_that_comes_twice_brings_one_hand_over():
    rota = Schedule("rota", "America/Goose_Bay", date(2010, 11, 6), ("a", "b"), every=1)
    before, first = at("2010-11-07T00:00", "America/Goose_Bay") - MINUTE, at("2010-11-07T00:00", "America/Goose_Bay")
    again = first + 30 * MINUTE
    assert wall(again, "America/Goose_Bay").day == 6  # clocks went back at one minute past
    assert [rota.on_call(one) for one in (before, first, again, again + 60 * MINUTE)] == ["a", "b", "b", "b"]


def test_outside_its_calendar_the_other_is_on_call_and_a_stand_in_goes_before_all():
    other = Schedule("platform", "UTC", date(2026, 1, 1), ("mori",))
    rota = Schedule(
        "rota",
        "Asia/Tokyo",
        date(2026, 11, 2),
        ("sato", "suzuki"),
        9 * 60,
        7,
        (StandIn(datetime.fromisoformat("2026-12-24T09:00"), datetime.fromisoformat("2026-12-26T09:00"), "suzuki"),),
        during=OFFICE,
        otherwise=other,
    )
    told = {
        local: rota.on_call(at(local, "Asia/Tokyo"))
        for local in (
            "2026-10-28T10:00",  # before it starts
            "2026-11-02T09:00",
            "2026-11-02T08:59",
            "2026-11-06T18:00",
            "2026-11-09T10:00",
            "2026-11-16T10:00",
            "2026-12-24T08:59",
            "2026-12-24T23:00",
            "2026-12-26T09:00",
        )
    }
    assert list(told.values()) == ["mori", "sato", "mori", "mori", "suzuki", "sato", "mori", "suzuki", "mori"]
    assert rota.anybody() == ("sato", "suzuki", "mori")
    assert Schedule("alone", "UTC", date(2027, 1, 1), ("sato",)).on_call(at("2026-12-31T23:59")) is None

"""`calendars` and `schedules` of switchyard.yaml. What is wrong with them stands in config/wrong."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.calendars import MIDNIGHT, Calendar, Dates, Span, StandIn
from shared.rules.config import Config
from shared.rules.load import load_texts

MAIN = """\
defaults: {time_zone: Asia/Tokyo}
receivers:
  sato: {sms: "+818012345678"}
  suzuki: {sms: "+818087654321"}
  platform-oncall:
    {sms: "+818011111111", escalate: [{after: 10m, on_call: fraud-rota}, {after: 1h, notify: sato}]}
calendars:
  business-hours: {days: [mon, tue, wed, thu, fri], from: "09:00", to: "18:00", except: [holidays-jp]}
  nights: {from: "22:00", to: "07:00", time_zone: Europe/Berlin}
  month-end: {month_days: [-1, 1..3], months: [3, 9]}
  holidays-jp: {dates: [2026-11-23, 2026-12-29..2027-01-03, "every 05-03..05-05", every 01-01]}
  either: {any_of: [nights, month-end], except: holidays-jp}
  shifts:
    days: mon-fri
    times: [{from: "09:00", to: "12:00"}, {from: "13:00", days: [mon, sun]}]
schedules:
  fraud-rota:
    start: 2026-11-02
    handover: "09:00"
    every: 7d
    people: [sato, suzuki]
    overrides: [{from: "2026-12-24T09:00", to: "2026-12-26 09:00", who: suzuki}]
    during: business-hours
    otherwise: platform
  platform: {start: 2026-01-01, people: platform-oncall, time_zone: Europe/Berlin}
"""


def config(text: str = MAIN) -> Config:
    loaded = load_texts({"switchyard.yaml": text})
    assert loaded.problems == ()
    return loaded.config


def test_what_is_written_is_what_is_asked():
    hours = config().hours
    holidays = Calendar(
        "holidays-jp",
        "Asia/Tokyo",
        dates=(
            Dates((2026, 11, 23), (2026, 11, 23)),
            Dates((2026, 12, 29), (2027, 1, 3)),
            Dates((0, 5, 3), (0, 5, 5)),
            Dates((0, 1, 1), (0, 1, 1)),
        ),
    )
    nights = Calendar("nights", "Europe/Berlin", (Span(22 * 60, 7 * 60),))
    month_end = Calendar("month-end", "Asia/Tokyo", month_days=(-1, 1, 2, 3), months=(3, 9))
    assert hours == {
        "business-hours": Calendar(
            "business-hours", "Asia/Tokyo", (Span(9 * 60, 18 * 60, (0, 1, 2, 3, 4)),), without=(holidays,)
        ),
        "nights": nights,
        "month-end": month_end,
        "holidays-jp": holidays,
        "either": Calendar("either", "Asia/Tokyo", any_of=(nights, month_end), without=(holidays,)),
        "shifts": Calendar(
            "shifts", "Asia/Tokyo", (Span(9 * 60, 12 * 60, (0, 1, 2, 3, 4)), Span(13 * 60, MIDNIGHT, (0, 6)))
        ),
    }


def test_a_schedule_knows_its_calendar_and_who_comes_otherwise():
    rotas = config().rotas
    rota = rotas["fraud-rota"]
    assert (rota.zone, rota.start, rota.handover, rota.every) == ("Asia/Tokyo", date(2026, 11, 2), 540, 7)
    assert rota.stand_ins == (
        StandIn(datetime.fromisoformat("2026-12-24T09:00"), datetime.fromisoformat("2026-12-26T09:00"), "suzuki"),
    )
    assert (rota.during, rota.otherwise) == (config().hours["business-hours"], rotas["platform"])
    assert rota.on_call(datetime(2026, 11, 24, 1, tzinfo=UTC)) == "suzuki"
    assert rota.on_call(datetime(2026, 11, 24, 10, tzinfo=UTC)) == "platform-oncall"


def test_one_mistake_leaves_the_others_and_is_said_once_whoever_builds_on_it():
    text = MAIN.replace('from: "22:00"', "from: 22").replace("during: business-hours", "during: either")
    loaded = load_texts({"switchyard.yaml": text})
    assert [problem.line for problem in loaded.problems] == [9]
    assert {"business-hours", "month-end", "holidays-jp", "shifts"} == loaded.config.calendars.keys()
    assert loaded.config.rotas.keys() == {"platform"}


def test_mistakes_of_several_entries_are_said_together():
    text = (
        MAIN.replace("[sato, suzuki]", "[sato, nobody]")
        .replace("mon-fri", "mon-fry")
        .replace("months: [3, 9]", "months: 0")
    )
    loaded = load_texts({"switchyard.yaml": text})
    assert [problem.line for problem in loaded.problems] == [10, 14, 21]


@pytest.mark.parametrize("days", ["mon-fri", "[mon, tue, wed, thu, fri]", "[mon-wed, thu, fri]", "[fri, mon-thu]"])
def test_days_are_written_in_several_ways(days):
    assert config(f"calendars: {{a: {{days: {days}}}}}").hours["a"].spans == (Span(0, MIDNIGHT, (0, 1, 2, 3, 4)),)


WORDS = [
    "[",
    "]",
    "{",
    "}",
    "a",
    "-",
    "..",
    "every ",
    "0",
    "-32",
    "99",
    "2026-02-30",
    "9999-12-31",
    "24:00",
    "\n",
    ": ",
    '"',
]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), st.sampled_from(WORDS)), min_size=1, max_size=4))
def test_nothing_that_people_write_makes_reading_raise_and_what_is_read_can_be_asked(edits):
    text = MAIN
    for where, cut, piece in edits:
        spot = int(where * len(text))
        text = text[:spot] + piece + text[spot + cut :]
    loaded = load_texts({"switchyard.yaml": text}).config
    now = datetime(2026, 11, 24, tzinfo=UTC)
    for calendar in loaded.hours.values():
        assert calendar.covers(now) in {True, False}
        assert calendar.words()
    for rota in loaded.rotas.values():
        assert rota.on_call(now) in {None, *rota.anybody()}

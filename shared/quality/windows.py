"""When a window begins and ends, and when it is to be looked at."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from shared.calendars import instant
from shared.quality.watch import Watch

_MONDAY: Final = date(1970, 1, 5)
_DAY: Final = 86_400
CATCH_UP: Final = 31
"""Windows that are made up for after the service was stopped, or the source out of reach; older ones are for `backfill`."""


class Window(NamedTuple):
    """The end is exclusive."""

    start: datetime
    end: datetime

    @property
    def id(self) -> str:
        """Sorts as the windows do."""
        return f"{self.start:%Y%m%dT%H%M}"


class Due(NamedTuple):
    """`look`: 0 when it is due, and more when late labels may have changed it."""

    window: Window
    look: int


def window_of(watch: Watch, moment: datetime) -> Window:
    """The window that a moment lies in: days begin at midnight in the zone of the watch, weeks on Mondays; a shorter window
    begins at a multiple of its length after midnight.
    """
    there = moment.astimezone(ZoneInfo(watch.zone)).date()
    if watch.window >= _DAY:
        days = int(watch.window // _DAY)
        first = there - timedelta(days=(there - _MONDAY).days % days)
        return Window(_midnight(first, watch.zone), _midnight(first + timedelta(days=days), watch.zone))
    begin, end = _midnight(there, watch.zone), _midnight(there + timedelta(days=1), watch.zone)
    start = begin + (moment - begin) // watch.length * watch.length
    return Window(start, min(start + watch.length, end))  # a day on which clocks are changed ends as it may


def _midnight(day: date, zone: str) -> datetime:
    return instant(datetime.combine(day, time()), zone).astimezone(UTC)


def before(watch: Watch, moment: datetime) -> Iterator[Window]:
    """The windows that have ended by then, the newest first."""
    window = window_of(watch, moment)
    while True:
        window = window_of(watch, window.start - timedelta(seconds=1))
        yield window


def between(watch: Watch, since: datetime, until: datetime) -> list[Window]:
    """The windows that begin at `since` or later, and are due by `until`; the oldest first."""
    found: list[Window] = []
    for window in before(watch, until):
        if window.start < since:
            return found[::-1]
        if due_at(watch, window) <= until:
            found.append(window)
    return found  # not reached: there is always an older window


def due_at(watch: Watch, window: Window) -> datetime:
    return window.end + timedelta(seconds=watch.lateness)


def _behind(watch: Watch) -> int:
    """How many windows back there may be something to look at."""
    return CATCH_UP + watch.looks + int(watch.lateness // watch.window)


def horizon(watch: Watch, now: datetime) -> Window:
    """A window older than any that may be due."""
    return window_of(watch, now - (_behind(watch) + 2) * watch.length)


def due(watch: Watch, now: datetime, done: Iterable[tuple[str, int]]) -> list[Due]:
    """What is to be looked at, the oldest first. `done`: windows by id, and the looks that were taken of them. Who has never looked
    begins with the newest window; of a window, the newest look alone.
    """
    looked: dict[str, int] = {}
    for id_, look in done:
        looked[id_] = max(look, looked.get(id_, 0))
    newest = max(looked, default=None)
    found: list[Due] = []
    for n, window in enumerate(before(watch, now)):
        if n >= _behind(watch):
            break
        late = now - due_at(watch, window)
        if late < timedelta():
            continue
        look = min(late // watch.length, watch.looks - 1)
        seen = looked.get(window.id)
        if seen is None and newest is not None and window.id < newest:
            continue  # from before the watch began, or left out by its own patience
        if seen is None or look > seen:
            found.append(Due(window, look))
        if newest is None:
            break
    return found[::-1]

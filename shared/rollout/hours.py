"""Time as a policy speaks of it: lengths of it, and when traffic may move forward by windows and closed days."""

import re
from collections.abc import Iterator
from datetime import MAXYEAR, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from shared.calendars import instant, within
from shared.rollout.policy import Closed, Policy, Window

_FORTNIGHT: Final = 15

_LENGTH: Final = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII)
_UNITS: Final = (86_400, 3600, 60, 1)


def open_at(policy: Policy, moment: datetime) -> bool:
    """Whether the policy lets traffic move forward then."""
    windows = policy.windows
    return closed_at(policy, moment) is None and (not windows or any(_within(one, moment) for one in windows))


def closed_at(policy: Policy, moment: datetime) -> Closed | None:
    return next(
        (one for one in policy.closed if one.first <= moment.astimezone(ZoneInfo(one.zone)).date() <= one.last), None
    )


def next_opening(policy: Policy, moment: datetime) -> datetime | None:
    """The first moment from then on at which it is open; None when there is none."""
    ends = [_local(one.last + timedelta(days=1), 0, one.zone) for one in policy.closed if one.last.year < MAXYEAR]
    starts = [moment, *(end for end in ends if end > moment)]
    # Windows come round every week: behind each of these moments the next one is near, or a closed time begins before it.
    offers = [*starts, *(begin for start in starts for one in policy.windows for begin in _begins(one, start))]
    return min((offer for offer in offers if open_at(policy, offer)), default=None)


def _within(window: Window, moment: datetime) -> bool:
    there = moment.astimezone(ZoneInfo(window.zone))
    return within(window.start, window.end, there, lambda day: day.weekday() in window.days)


def _begins(window: Window, moment: datetime) -> Iterator[datetime]:
    """When the window begins, over the fortnight behind `moment`."""
    first = moment.astimezone(ZoneInfo(window.zone)).date()
    for day in (first + timedelta(days=n) for n in range(_FORTNIGHT)):
        begin = _local(day, window.start, window.zone)
        if day.weekday() in window.days and begin > moment:
            yield begin


def _local(day: date, minute: int, zone: str) -> datetime:
    return instant(datetime.combine(day, time(minute // 60, minute % 60)), zone)


def seconds(text: str) -> float | None:
    """A length of time as people write it, `1h30m` or `2d`, in seconds; None where it is none."""
    found = _LENGTH.fullmatch(text.replace(" ", "")) if text.strip() else None
    return (
        None
        if found is None
        else float(sum(int(n or 0) * unit for n, unit in zip(found.groups(), _UNITS, strict=True)))
    )


def written(length: float) -> str:
    """Seconds as people write them."""
    parts, rest = [], round(length)
    for unit, word in zip(_UNITS, "dhms", strict=True):
        amount, rest = divmod(rest, unit)
        parts += [f"{amount}{word}"] if amount else []
    return "".join(parts) or "0s"

"""The archive of events: what came, with what was looked up about it, one JSON line an event, a file for each day.

It outlives the records, and is what an edit of the rules is rehearsed on. A line may stand twice, because whoever copies may be
killed between writing lines and noting that they are written: readers drop the second of the same id.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from typing import Final

import msgspec

from shared.bounds import DEFAULTS
from shared.errors import PermanentError
from shared.events import Event, parse
from shared.record import EventRecord, Facts
from shared.world import Search, World

LATE: Final = timedelta(minutes=15)
"""An event taken in so long after it was received is noted down: the copying may have passed its time."""

_LAG: Final = 2 * LATE
"""How far the copying stays behind. Between this and LATE is time enough for one that is just being taken in."""

_WAITS: Final = timedelta(days=2)
"""For a lookup to say something; then an event is copied without."""

_FOLDER: Final = "archive"
_CURSOR: Final = "cursor"
_LEFT: Final = "archive-left"
_PAGE: Final = 500
_SHORTEST: Final = timedelta(milliseconds=1)
_BEHIND_ALL: Final = "~"
"""Sorts behind every id: of the events of one moment, none comes after it."""


class Archived(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event of the archive. `config`: the version of the configuration that decided it; "" where nobody did."""

    id: str
    received: datetime
    event: Event
    facts: Facts | None = None
    deliveries: int = 1
    config: str = ""


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Archived)


def line(record: EventRecord) -> str | None:
    """The record as it is archived; None for one that could not be read as an event."""
    if record.event is None:
        return None
    config = record.decision.config if record.decision else ""
    told = Archived(record.id, record.received, record.event, record.facts, record.deliveries, config)
    return _encoder.encode(told).decode()


def read_line(text: str | bytes, levels: int = DEFAULTS.payload_levels) -> Archived:
    """One line of the archive, or an event collected elsewhere: an envelope in the Event Grid schema or CloudEvents 1.0, which counts
    as received when it happened. `levels`: of nesting in its data. PermanentError, with the reason, for anything else.
    """
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        ours = error
    try:
        envelope = msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise PermanentError(f"not a line of the archive, nor an event: {error}") from error
    if "event" in envelope and "received" in envelope:
        raise PermanentError(f"not a line of the archive: {ours}")
    event = parse(envelope, levels=levels)
    return Archived(event.record, event.time, event)


# Copying


async def note_late(world: World, record: EventRecord, now: datetime) -> None:
    """Of an event that is about to be taken in: the copying may have passed its time, and has to come back for it."""
    if now - record.received >= LATE:
        await _leave(world, record.id, now)


async def _leave(world: World, record: str, now: datetime) -> None:
    await world.shelf.keep(_LEFT, record, now.isoformat())


type Look = Callable[[Sequence[EventRecord]], Awaitable[None]]


async def copy(world: World, now: datetime, since: datetime, look: Look | None = None) -> int:
    """Copies what was received since the last time, and what was left then; how many events. `since`: for the first time.
    `look`: sees what is copied in its order, oldest first, and some of it twice where somebody is killed.
    """
    kept = await world.shelf.get(_FOLDER, _CURSOR)
    begin = datetime.fromisoformat(kept) if kept else since
    copied = await _copy_left(world, begin, now)
    async for records, end in _slices(world, begin, now - _LAG):
        for record in records:
            if record.status == "deciding":
                await _leave(world, record.id, now)
        settled = [record for record in records if record.status != "deciding"]
        copied += await _append(world, settled)
        if look is not None and settled:
            await look(settled)
        await world.shelf.put(_FOLDER, _CURSOR, end.isoformat())
    return copied


async def _slices(world: World, begin: datetime, end: datetime) -> AsyncIterator[tuple[list[EventRecord], datetime]]:
    """What was received, in slices of time that are small enough to hold: the oldest first, in order, and where each ends."""
    length = end - begin
    while begin < end:
        until = min(begin + length, end)
        search = Search(limit=_PAGE, since=begin, before=(until, _BEHIND_ALL))
        # The lists tell how many there are at one request, where the events themselves cost one each.
        if length > _SHORTEST and len(await world.store.listed(search)) == _PAGE:
            length = max(length / 2, _SHORTEST)
            continue
        page = list(await world.store.events(search))
        found = page
        while len(page) == _PAGE:
            last = page[-1]
            following = Search(limit=_PAGE, since=begin, before=(last.received, last.id))
            page = list(await world.store.events(following))
            found += page
        yield sorted(found, key=lambda record: (record.received, record.id)), until
        begin, length = until, 2 * length if len(found) < _PAGE // 2 else length


async def _copy_left(world: World, begin: datetime, now: datetime) -> int:
    """What the copying has to come back for. What it has not reached yet, `begin` says how far it is, needs no second copy."""
    copied = 0
    for name, text in await world.shelf.all(_LEFT):
        record = await world.store.event(name)
        ahead = record is not None and record.received >= begin
        settled = record is not None and record.status != "deciding"
        if not ahead and not settled and now - datetime.fromisoformat(text) < _WAITS:
            continue
        copied += await _append(world, [record] if record and not ahead else [])
        await world.shelf.swap(_LEFT, name, text, None)
    return copied


async def _append(world: World, records: Iterable[EventRecord]) -> int:
    days: dict[date, list[str]] = {}
    for record in records:
        days.setdefault(record.received.astimezone(UTC).date(), []).extend(_written([record]))
    for day, lines in days.items():
        await world.archive.append(day, lines)
    return sum(map(len, days.values()))


# Reading


async def between(world: World, since: datetime, until: datetime) -> AsyncIterator[str]:
    """The lines of events received in [since, until), each event once: by day, in the order in which they came but for those that
    were copied late. What is not copied yet comes from the records.
    """
    seen: set[str] = set()
    # First: what is copied while the days are read stands there twice rather than not at all.
    left = await world.shelf.all(_LEFT)
    records = [await world.store.event(name) for name, _ in left]
    late = sorted(((read_line(text), text) for text in _written(records)), key=lambda one: (one[0].received, one[0].id))
    async for text in _lines(world, since, until):
        one = read_line(text)
        waiting = [*_until(late, one), (one, text)]
        late = late[len(waiting) - 1 :]
        for each, said in waiting:
            if since <= each.received < until and each.id not in seen:
                seen.add(each.id)
                yield said
    for each, said in late:
        if since <= each.received < until and each.id not in seen:
            yield said


def _until(late: Sequence[tuple[Archived, str]], one: Archived) -> Iterator[tuple[Archived, str]]:
    """Those that come before this one."""
    return takewhile(lambda each: each[0].received < one.received, late)


async def _lines(world: World, since: datetime, until: datetime) -> AsyncIterator[str]:
    kept = await world.shelf.get(_FOLDER, _CURSOR)
    for day in await world.archive.days():
        if since.astimezone(UTC).date() <= day <= until.astimezone(UTC).date():
            async for text in world.archive.read(day):
                yield text
    begin = max(since, datetime.fromisoformat(kept)) if kept else since
    async for records, _ in _slices(world, begin, until):
        for text in _written(records):
            yield text


def _written(records: Iterable[EventRecord | None]) -> Iterator[str]:
    for record in records:
        text = line(record) if record else None
        if text is not None:
            yield text

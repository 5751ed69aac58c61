"""What Event Grid gave up comes back: each event of a dead letter arrives like any other, late, and a person is told once a batch.

A batch is noted before anything of it is read, and its files go last. So whoever is killed in between leaves it to the next one, who
tells of the same batch under the same id; and an event that came back with this very dead letter before is known again by that.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Final

import msgspec

from shared import book, notices, wire
from shared.events import DeadLetter, dead_letter
from shared.record import DEAD_LETTERS
from shared.world import World

log: Final = logging.getLogger("switchyard")

KIND: Final = "EventsDeadLettered"

_MOST: Final = 1000
"""Files of one batch."""

_PART: Final = 500_000
"""Bytes of what can't be read that one record keeps: a file that is longer has several."""

_GROUPS: Final = 10
_BATCH: Final = ("dead-letter-batch", "now")


class _Batch(msgspec.Struct, frozen=True):
    id: str
    names: tuple[str, ...]


@dataclass
class _Tally:
    """`why`: by reason, outcome and subscription, how many events; `types` of them. `unread`: parts that are none."""

    why: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    unread: int = 0
    published: list[datetime] = field(default_factory=list)


async def bring_back(world: World, now: datetime, sources: Sequence[str] = ()) -> int:
    """Everything that lies there, up to a thousand files; how many events and other things that were. Raises TemporaryError or
    PermanentError where it can't be read; the next one goes on.
    """
    batch = await _begun(world, now)
    if batch is None:
        return 0
    tally, marks = _Tally(), dict[str, str]()
    for name in batch.names:
        left = await world.dead_letters.read(name)
        if left is None:
            continue  # it went just before a kill
        for texts in _messages(name, left.content, now, tally, sources):
            await world.queue.put(texts)
        marks[name] = left.mark
    total = tally.why.total() + tally.unread
    if total:
        log.warning("Event Grid gave events up: they are back", extra={"events": total, "files": len(marks)})
        await notices.tell(world, KIND, f"dead-letters-{batch.id}", "dead-letters", _told(tally))
    for name, mark in marks.items():
        await world.dead_letters.drop(name, mark)
    await world.shelf.swap(*_BATCH, wire.dump(batch), None)
    return total


async def put_away(world: World, before: datetime) -> None:
    """Forgets why events were given up that were brought back so long ago."""

    def is_over(text: str) -> bool:
        back = wire.load(DeadLetter, text).back
        return back is None or back < before

    await book.forget(world.shelf, DEAD_LETTERS, is_over)


async def _begun(world: World, now: datetime) -> _Batch | None:
    """The batch that somebody has begun, or a new one; None where nothing lies there."""
    text = await world.shelf.get(*_BATCH)
    if text is None:
        names = await world.dead_letters.names(_MOST)
        if not names:
            return None
        digest = sha256("\n".join(names).encode()).hexdigest()[:8]
        new = wire.dump(_Batch(f"{now:%Y%m%dT%H%M%S}-{digest}", tuple(names)))
        text = await world.shelf.keep(*_BATCH, new)
    return wire.load(_Batch, text)


def _messages(name: str, raw: bytes, now: datetime, tally: _Tally, sources: Sequence[str]) -> Iterator[list[str]]:
    """For the queue, event by event. Reads more than JSON allows: one event that can't be kept must not take the others with it."""
    try:
        found = json.loads(raw.decode("utf-8-sig", errors="surrogateescape"))
    except (ValueError, RecursionError) as error:
        yield from _unread(raw, f"a dead letter that is not JSON ({name}): {error}", now, tally)
        return
    for one in found if isinstance(found, list) else [found]:
        if isinstance(one, dict):
            dead = dead_letter(one, name.partition("/")[0])
            tally.why[dead.reason, dead.outcome, dead.subscription] += 1
            tally.types[str(one.get("eventType") or one.get("type") or "")] += 1
            tally.published += [dead.published] if dead.published else []
            yield wire.arrived(one, now, dead, sources=sources)
        else:
            yield from _unread(json.dumps(one).encode(), f"not an event, in the dead letter {name}", now, tally)


def _unread(raw: bytes, reason: str, now: datetime, tally: _Tally) -> Iterator[list[str]]:
    parts = [raw[start : start + _PART] for start in range(0, len(raw) or 1, _PART)]
    tally.unread += 1
    for n, part in enumerate(parts, 1):
        yield wire.unread(part, f"{reason}; part {n} of {len(parts)}" if len(parts) > 1 else reason, now)


def _told(tally: _Tally) -> dict[str, object]:
    """What a person is told."""
    total = tally.why.total()
    why = [
        {"reason": reason, "outcome": outcome, "subscription": subscription, "count": count}
        for (reason, outcome, subscription), count in tally.why.most_common(_GROUPS)
    ]
    common = f": {why[0]['reason']}, {why[0]['outcome']}" if why else ""
    return {
        "total": total,
        "unread": tally.unread,
        "said": f"{total} events{common}",
        "why": why,
        "types": [{"type": kind, "count": count} for kind, count in tally.types.most_common(_GROUPS)],
        **({"since": min(tally.published).isoformat()} if tally.published else {}),
    }

"""What Event Grid gave up comes back: each event of a dead letter arrives like any other, late, and a person is told once a batch.

A batch is noted before anything of it is read, and again whenever some of its files are on the queue; those are deleted then. So
whoever is killed in between leaves it to the next one, who goes on from there, and tells of the same batch under the same id; and an
event that came back with this very dead letter before is known again by that.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from itertools import batched
from typing import Final

import msgspec

from shared import book, notices, wire
from shared.bounds import DEFAULTS
from shared.errors import PermanentError
from shared.events import DeadLetter, dead_letter
from shared.record import DEAD_LETTERS
from shared.world import Left, World

log: Final = logging.getLogger("switchyard")

KIND: Final = "EventsDeadLettered"

_MOST: Final = 1000
"""Files of one batch."""

_TURN: Final = 20_000
"""Events after which the rest of a batch is left to the next turn: a function has ten minutes, and needs about two for so many."""

_AT_ONCE: Final = 1000
"""Events after which it is noted how far a batch is, and messages that go to the queue together."""

_PART: Final = 500_000
"""Bytes of what can't be read that one record keeps: a file that is longer has several."""

_GROUPS: Final = 10
_KINDS: Final = 100
"""Reasons, and types, that are told apart while they are counted: the words are those of senders."""

_LONGEST: Final = 200
_BATCH: Final = ("dead-letter-batch", "now")

type _Door = tuple[Sequence[str], int]
"""Where events may come from, and how deep they may be nested."""


class _Tally(msgspec.Struct, omit_defaults=True):
    """`why`: by reason, outcome and subscription, a line each, how many of the `total`; `types` of them. `unread`: parts that are no
    events. `since`: when the first one was published.
    """

    total: int = 0
    unread: int = 0
    why: dict[str, int] = {}
    types: dict[str, int] = {}
    since: datetime | None = None

    @property
    def all(self) -> int:
        return self.total + self.unread

    def add(self, dead: DeadLetter, kind: object) -> None:
        self.total += 1
        _count(self.why, "\n".join(map(_said, (dead.reason, dead.outcome, dead.subscription))))
        _count(self.types, _said(kind if isinstance(kind, str) else ""))
        if dead.published is not None:
            self.since = min(self.since or dead.published, dead.published)


class _Batch(msgspec.Struct, frozen=True, omit_defaults=True):
    """`done`: so many of the files are on the queue, and counted in `tally`; of those, `read` may lie there still, in that state."""

    id: str
    names: tuple[str, ...]
    done: int = 0
    read: dict[str, str] = {}
    tally: _Tally = msgspec.field(default_factory=_Tally)


async def bring_back(
    world: World, now: datetime, sources: Sequence[str] = (), levels: int = DEFAULTS.payload_levels
) -> int:
    """Everything that lies there, up to a thousand files or about 20,000 events; how many events and other things that were. Raises
    TemporaryError or PermanentError where it can't be read; the next one goes on.
    """
    found, text = 0, await _begun(world, now)
    if text is None:
        return 0
    batch = wire.load(_Batch, text)
    await _drop(world, batch)  # noted just before a kill
    while batch.done < len(batch.names):
        if found >= _TURN:
            return found
        before, batch = batch.tally.all, await _on_the_queue(world, batch, now, (sources, levels))
        noted = wire.dump(batch)
        if not await world.shelf.swap(*_BATCH, text, noted):
            return found  # somebody else goes on with it
        text, found = noted, found + batch.tally.all - before
        await _drop(world, batch)
    if batch.tally.all:
        log.warning(
            "Event Grid gave events up: they are back", extra={"events": batch.tally.all, "files": len(batch.names)}
        )
        await notices.tell(world, KIND, f"dead-letters-{batch.id}", "dead-letters", _told(batch.tally))
    await world.shelf.swap(*_BATCH, text, None)
    return found


async def put_away(world: World, before: datetime) -> None:
    """Forgets why events were given up that were brought back so long ago."""

    def is_over(text: str) -> bool:
        back = wire.load(DeadLetter, text).back
        return back is None or back < before

    await book.forget(world.shelf, DEAD_LETTERS, is_over)


async def _begun(world: World, now: datetime) -> str | None:
    """The batch that somebody has begun, or a new one, as it is noted; None where nothing lies there."""
    text = await world.shelf.get(*_BATCH)
    if text is None:
        names = await world.dead_letters.names(_MOST)
        if not names:
            return None
        digest = sha256("\n".join(names).encode()).hexdigest()[:8]
        new = wire.dump(_Batch(f"{now:%Y%m%dT%H%M%S}-{digest}", tuple(names)))
        text = await world.shelf.keep(*_BATCH, new)
    return text


async def _on_the_queue(world: World, batch: _Batch, now: datetime, door: _Door) -> _Batch:
    """Puts the next files on the queue, until it is worth noting; how far the batch is then."""
    tally, read, done = wire.load(_Tally, wire.dump(batch.tally)), dict[str, str](), batch.done
    while done < len(batch.names) and tally.all < batch.tally.all + _AT_ONCE:
        name, done = batch.names[done], done + 1
        left = await _left(world, name)
        if left is not None:
            for some in batched(_messages(name, left.content, now, tally, door), _AT_ONCE, strict=False):
                await world.queue.put([text for texts in some for text in texts])
            read[name] = left.mark
    return _Batch(batch.id, batch.names, done, read, tally)


async def _left(world: World, name: str) -> Left | None:
    """None where it went just before a kill, and where it can't be read at all: then it stays, and holds up no other."""
    try:
        return await world.dead_letters.read(name)
    except PermanentError as error:
        log.error("a dead letter can't be read, and stays", extra={"file": name, "reason": str(error)})  # noqa: TRY400 (the reason says it all)
        return None


async def _drop(world: World, batch: _Batch) -> None:
    for name, mark in batch.read.items():
        await world.dead_letters.drop(name, mark)


def _messages(name: str, raw: bytes, now: datetime, tally: _Tally, door: _Door) -> Iterator[list[str]]:
    """For the queue, event by event. Reads more than JSON allows: one event that can't be kept must not take the others with it."""
    try:
        found = json.loads(raw.decode("utf-8-sig", errors="surrogateescape"))
    except (ValueError, RecursionError) as error:
        yield from _unread(raw, f"a dead letter that is not JSON ({name}): {error}", now, tally)
        return
    for one in found if isinstance(found, list) else [found]:
        if isinstance(one, dict):
            dead = dead_letter(one, name.partition("/")[0])
            tally.add(dead, one.get("eventType") or one.get("type"))
            yield wire.arrived(one, now, dead, sources=door[0], levels=door[1])
        else:
            yield from _unread(json.dumps(one).encode(), f"not an event, in the dead letter {name}", now, tally)


def _unread(raw: bytes, reason: str, now: datetime, tally: _Tally) -> Iterator[list[str]]:
    parts = [raw[start : start + _PART] for start in range(0, len(raw) or 1, _PART)]
    tally.unread += 1
    for n, part in enumerate(parts, 1):
        yield wire.unread(part, f"{reason}; part {n} of {len(parts)}" if len(parts) > 1 else reason, now)


def _said(text: str) -> str:
    """What a sender wrote, as it can be counted and told: on one line, and without halves of characters."""
    return " ".join(text.encode(errors="replace").decode()[:_LONGEST].split())


def _count(counts: dict[str, int], kind: str) -> None:
    if kind in counts or len(counts) < _KINDS:
        counts[kind] = counts.get(kind, 0) + 1


def _most(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda one: -one[1])[:_GROUPS]


def _told(tally: _Tally) -> dict[str, object]:
    """What a person is told."""
    why = [
        dict(zip(("reason", "outcome", "subscription"), text.split("\n"), strict=True)) | {"count": count}
        for text, count in _most(tally.why)
    ]
    common = f": {why[0]['reason']}, {why[0]['outcome']}" if why else ""
    return {
        "total": tally.total,
        "unread": tally.unread,
        "said": f"{tally.total} events{common}",
        "why": why,
        "types": [{"type": kind, "count": count} for kind, count in _most(tally.types)],
        **({"since": tally.since.isoformat()} if tally.since else {}),
    }

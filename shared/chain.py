"""Chains of causes: which event came of which, through what we started for it. What the console draws, and an auditor reads.

Whatever we start carries a tag with the record of the event that led to it, and events about it bring the tag back. So an event
knows its parent; the parent's children are noted on the shelf as they arrive. A chain is read from any of its events.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from shared import book
from shared.events import OWN, Event
from shared.guards.loop import CAUSE_EVENT, CAUSE_RULE, STARTS
from shared.record import EventRecord, IntentRecord
from shared.world import Shelf, World

FOLDER: Final = "chain"
"""Of the shelf: `<parent>.<child>`, both records; the text is when the child happened."""

_BY_LINEAGE: Final = "chain-up"
"""The parents of events that do not name theirs, by the record of the child: `<when it happened> <parent>`."""

_RECORD: Final = re.compile(r"[0-9a-f]{20}")
_UP: Final = 20
"""So many events back: a loop is stopped long before."""

_MOST: Final = 200
"""Events of one chain that are read. A pipeline raises some for every step, and nobody reads them all on one page."""


def parent_of(event: Event) -> str:
    """The record of the event behind this one, as it says itself; "" where it does not."""
    said = event.tags.get(CAUSE_EVENT) or event.properties.get(CAUSE_EVENT)
    if not said and event.raw_type.startswith(OWN):
        said = event.data.get("record")
    return said if isinstance(said, str) and _RECORD.fullmatch(said) and said != event.record else ""


async def note(shelf: Shelf, event: Event) -> None:
    """Puts down where an event comes from, if it says so."""
    parent = parent_of(event)
    if parent:
        await shelf.keep(FOLDER, f"{parent}.{event.record}", event.time.isoformat())


async def note_lineage(shelf: Shelf, event: Event, parent: str) -> None:
    """The same for an event that does not say it: what it is about was made by something that we started for `parent`."""
    if _RECORD.fullmatch(parent) and parent != event.record and not parent_of(event):
        at = event.time.isoformat()
        await shelf.keep(FOLDER, f"{parent}.{event.record}", at)
        await shelf.keep(_BY_LINEAGE, event.record, f"{at} {parent}")


async def put_away(shelf: Shelf, before: datetime) -> None:
    """Forgets the links of events that happened before then: of so many that are looked at in one go."""
    for folder in (FOLDER, _BY_LINEAGE):
        await book.forget(shelf, folder, lambda text: datetime.fromisoformat(text.partition(" ")[0]) < before)


@dataclass(frozen=True)
class Link:
    """One thing that happened: an event, or all that were raised about one run or one rollout, oldest first. `intents`: what
    was done about any of them; `after`: by an intent's key, what came of it. What no intent explains stands under "".
    """

    records: Sequence[EventRecord]
    intents: Sequence[IntentRecord]
    after: "Mapping[str, Sequence[Link]]"

    @property
    def events(self) -> list[Event]:
        return [record.event for record in self.records if record.event is not None]

    @property
    def newest(self) -> EventRecord:
        return self.records[-1]


@dataclass(frozen=True)
class Chain:
    """`size`: how many events it shows; `more`: it has others."""

    root: Link
    size: int
    more: bool


async def read(world: World, record: EventRecord) -> Chain | None:
    """The whole chain that a record is part of, from its first event on; None where it stands alone, as what could not be read does:
    the chain begins with the event that tells of it.
    """
    if record.event is None:
        return None
    root = await _root(world, record)
    children, size, more = await _below(world, root)
    if size == 1:
        return None
    ids = [root.id, *(one.id for siblings in children.values() for one in siblings)]
    return Chain(_link((root,), children, await world.store.intents(ids)), size, more)


async def _root(world: World, record: EventRecord) -> EventRecord:
    seen = {record.id}
    for _ in range(_UP):
        behind = await _behind(world, record)
        found = await world.store.event(behind) if behind and behind not in seen else None
        if found is None or found.event is None:
            break
        seen.add(found.id)
        record = found
    return record


async def _behind(world: World, record: EventRecord) -> str:
    if record.event is None:
        return ""
    return parent_of(record.event) or (await world.shelf.get(_BY_LINEAGE, record.id) or "").partition(" ")[2]


async def _below(world: World, root: EventRecord) -> tuple[dict[str, list[EventRecord]], int, bool]:
    """The children of each record, in the order in which they happened; how many records there are; whether there are more."""
    children: dict[str, list[EventRecord]] = {}
    seen, level = {root.id}, [root.id]
    while level:
        listed = await asyncio.gather(*(_children(world.shelf, one) for one in level))
        wanted = [(parent, child) for parent, names in zip(level, listed, strict=True) for child in names]
        fresh = [(parent, child) for parent, child in wanted if child not in seen]
        more = len(seen) + len(fresh) > _MOST
        fresh = fresh[: _MOST - len(seen)]
        records = await asyncio.gather(*(world.store.event(child) for _, child in fresh))
        level = []
        for (parent, child), record in zip(fresh, records, strict=True):
            if record is not None and record.event is not None and child not in seen:
                seen.add(child)
                level.append(child)
                children.setdefault(parent, []).append(record)
        if more:
            return children, len(seen), True
    return children, len(seen), False


async def _children(shelf: Shelf, parent: str) -> list[str]:
    rows = await shelf.all(FOLDER, after=f"{parent}.", limit=_MOST)
    mine = [(text, name.removeprefix(f"{parent}.")) for name, text in rows if name.startswith(f"{parent}.")]
    return [child for _, child in sorted(mine)]


def _link(
    records: Sequence[EventRecord],
    children: Mapping[str, Sequence[EventRecord]],
    intents: Mapping[str, Sequence[IntentRecord]],
) -> Link:
    done = [intent for record in records for intent in intents.get(record.id, ())]
    groups: dict[tuple[str, str], list[EventRecord]] = {}
    for record in records:
        for child in children.get(record.id, ()):
            groups.setdefault(_about(child), []).append(child)
    after: dict[str, list[Link]] = {}
    for group in groups.values():
        after.setdefault(_made_by(group[-1], done), []).append(_link(group, children, intents))
    return Link(records, done, after)


def _about(record: EventRecord) -> tuple[str, str]:
    """What is told together: all about one run, all about one rollout."""
    event = record.event
    assert event is not None
    if event.type in {"RunCompleted", "RunStatusChanged"} and event.run:
        return "run", event.run.id
    if event.raw_type.startswith(f"{OWN}Rollout"):
        return "rollout", str(event.data.get("rollout"))
    return "event", record.id


def _made_by(record: EventRecord, intents: Sequence[IntentRecord]) -> str:
    """The key of the intent that an event came of: the one it names, the one that started its run or rollout, else the one of
    the rule that it names which started something.
    """
    event = record.event
    assert event is not None
    told = {name: event.data.get(name) for name in ("key", "rollout")}
    runs = {event.run.id, event.run.parent} - {None} if event.run else set()
    for one in intents:
        values = one.result.values if one.result else {}
        if told["key"] == one.intent.key or (told["rollout"] and values.get("rollout") == told["rollout"]):
            return one.intent.key
        if values.get("job") in runs:
            return one.intent.key
    rule = event.tags.get(CAUSE_RULE) or event.properties.get(CAUSE_RULE) or event.data.get("rule")
    started = [one.intent.key for one in intents if one.intent.action in STARTS and one.intent.rule == rule]
    return started[-1] if started else ""

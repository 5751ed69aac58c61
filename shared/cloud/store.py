"""The store on Azure: journal, memory and record in storage tables, beside the storage queue.

An event, its intents and the claims of them are one partition. Tables and queue share no transaction: an event stays `half` until it is in
the lists and its messages are on the queue, and whoever meets it so sees to that. A message too many does no harm, because an intent is
claimed by one conditional insert: of a row whose number comes after that of the last claim.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import batched, count
from typing import Final, Literal
from uuid import uuid4

from msgspec.structs import replace

from shared import wire
from shared.cloud.account import Account
from shared.cloud.listing import SHOWN, Listing, Spot, hashed, listed_in, prefix, shown, spot_in
from shared.cloud.old_listing import OldListing
from shared.cloud.storage import BY, TOGETHER, Operation, Row, Tables, packed, quoted, unless_changed, unpacked
from shared.errors import TemporaryError
from shared.record import (
    FINAL,
    KEEP,
    Attempt,
    Decision,
    EventRecord,
    Facts,
    Intent,
    IntentRecord,
    IntentStatus,
    Listed,
    Result,
    combined,
    listed,
)
from shared.world import Claim, Clock, Queue, Search

LEASE: Final = timedelta(minutes=10)
"""How long a claim holds off another: the time limit of a function (host.json). A longer silence is a try that died."""

_REMEMBERED: Final = timedelta(days=32)
"""Counts outlive the longest window that a limit names, a month."""

_LATER: Final = timedelta(days=1)
"""What has not ended when its time comes is looked at again then."""

_BUSY: Final = 30.0
"""Seconds until a list that was busy is told again, where it does not say when."""

_PRUNED: Final = 20_000
"""Events that are looked at in one go: more are left for the next, within the time of a function."""

_ADOPTED: Final = 5_000
"""Rows of version 0.1 that are taken over in one go."""

_EVENT: Final = "event"
_INTENT: Final = "intent-"
_CLAIM: Final = "claim-"
_DAYS: Final = "d"
_GONE: Final = "gone"
"""The status of an event that version 0.1 forgot for room: its deliveries are still known as such."""

_AT_ONCE: Final = 32
_ID: Final = re.compile(r"[\w.~-]{1,200}", re.ASCII)


def _record_of(key: str) -> str:
    """Where an intent is: keys are `<record>-<rule>-<n>`."""
    return key.partition("-")[0]


def _event_row(record: EventRecord, *, half: bool) -> Row:
    keys = {"PartitionKey": record.id, "RowKey": _EVENT, "status": record.status, "half": half}
    bare = replace(record.decision, intents=()) if record.decision else None  # they have rows of their own
    return keys | {"until": record.kept_until} | packed(wire.dump(replace(record, decision=bare)))


def _event_of(row: Row | None) -> EventRecord | None:
    return None if row is None or row["status"] == _GONE else wire.load(EventRecord, unpacked(row))


def _intent_key(key: str) -> str:
    return f"{_INTENT}{hashed(key)}"


def _intent_row(record: IntentRecord, n: int, about: EventRecord) -> Row:
    """With where its event stands in the lists, as far as is known: under which status."""
    keys = {"PartitionKey": about.id, "RowKey": _intent_key(record.intent.key), "n": n, "settled": 0}
    return keys | Spot.of(about).row() | {"listed": about.status} | _intent_body(record)


def _intent_body(record: IntentRecord) -> Row:
    return {"status": record.status} | packed(wire.dump(record))


def _changed(row: Row, record: IntentRecord, **more: object) -> Row:
    """The row of an intent, as it is now."""
    stays = {name: value for name, value in row.items() if not name.startswith("body")}
    return stays | _intent_body(record) | more


def _intent_of(row: Row) -> IntentRecord:
    return wire.load(IntentRecord, unpacked(row))


def _said(rows: Sequence[Row]) -> Row:
    """What the lists say of these intents."""
    return {f"d{row['n']}": shown(row["status"], twice=_intent_of(row).maybe_twice) for row in rows if row["n"] < SHOWN}


@dataclass(frozen=True)
class _Journal:
    """What the journal says of one intent. `tries`: claims by number, each with when and by whom."""

    row: Row
    tries: Mapping[int, Row]

    @property
    def record(self) -> IntentRecord:
        """With what its claims add."""
        record = _intent_of(self.row)
        began = self.began
        return replace(record, status="running", at=began) if began and record.status not in FINAL else record

    @property
    def settled(self) -> int:
        """The number of the newest claim that somebody ended: the intent of an earlier version has none."""
        return int(self.row.get("settled", 0))

    @property
    def last(self) -> int:
        return max(self.tries, default=0)

    @property
    def began(self) -> datetime | None:
        """When the try began that nobody has ended; None where there is none."""
        if self.last > self.settled:
            at: datetime = self.tries[self.last]["at"]
            return at.astimezone(UTC)
        # Version 0.1 wrote it into the intent itself.
        return _intent_of(self.row).at if self.row["status"] == "running" and not self.last else None


def _journals(rows: Sequence[Row]) -> list[_Journal]:
    """Of the intents among the rows of one event, in the order of the decision."""
    tries: dict[str, dict[int, Row]] = {}
    for row in rows:
        if row["RowKey"].startswith(_CLAIM):
            name, _, n = row["RowKey"].removeprefix(_CLAIM).partition("-")
            tries.setdefault(name, {})[int(n)] = row
    intents = sorted((row for row in rows if row["RowKey"].startswith(_INTENT)), key=lambda row: int(row["n"]))
    return [_Journal(row, tries.get(row["RowKey"].removeprefix(_INTENT), {})) for row in intents]


def _performs(keys: Sequence[str]) -> list[str]:
    return [wire.dump(wire.Perform(key)) for key in keys]


@dataclass(frozen=True)
class _Change:
    """The event's record as it is now, and whether it was half before."""

    record: EventRecord
    half: bool


class AzureStore:
    """`world.Store`. `name`: of this process, unlike that of any other."""

    def __init__(self, account: Account, queue: Queue, clock: Clock, name: str = "") -> None:
        self._tables = Tables(account)
        self._events = self._tables.table("switchyardevents")
        listing = self._tables.table("switchyardlisting")
        self._listing = Listing(listing)
        self._old = OldListing(listing)
        self._memory = self._tables.table("switchyardmemory")
        self._queue = queue
        self._clock = clock
        self._name = name or uuid4().hex
        self._numbers = count(1)
        self._held: dict[
            str, tuple[Row, int]
        ] = {}  # intents that this process works on, and the numbers of their claims
        self._remembers = False
        self._lost: set[str] = set()  # claims of this process whose answer never came: nobody works on them

    async def close(self) -> None:
        await self._tables.close()

    async def take_in(self, record: EventRecord) -> Literal["new", "again", "half"]:
        now = self._clock()
        intents = [
            IntentRecord(intent, "waiting", now) for intent in (record.decision.intents if record.decision else ())
        ]
        rows = [_intent_row(one, n, record) for n, one in enumerate(intents)]
        await self._add(rows[TOGETHER:])  # before the event: where it is, all its intents are
        operations: list[Operation] = [("create", _event_row(record, half=True))]
        operations += [("upsert", row, {"mode": "replace"}) for row in rows[:TOGETHER]]
        if not await self._events.write(operations):
            return await self._again(record.id)
        await self._finish(record, intents)
        return "new"

    async def _add(self, rows: Sequence[Row]) -> None:
        """Those that are not there yet."""
        for some in batched(rows, _AT_ONCE, strict=False):
            await asyncio.gather(*(self._events.add(row) for row in some))

    async def _again(self, id_: str) -> Literal["again", "half"]:
        there = await self._change(id_, lambda old: replace(old, deliveries=old.deliveries + 1))
        if there is None:
            return "again"
        if there.half:
            await self._finish(there.record, (await self.intents([id_]))[id_])
        await self._mark(there.record, {"deliveries": there.record.deliveries})
        return "half" if there.half else "again"

    async def _change(
        self, id_: str, change: Callable[[EventRecord], EventRecord], *, half: bool | None = None
    ) -> _Change | None:
        def changed(row: Row | None) -> tuple[Row | None, _Change | None]:
            old = _event_of(row)
            if row is None or old is None:
                return None, None
            new = change(old)
            return _event_row(new, half=row["half"] if half is None else half), _Change(new, row["half"])

        return await self._events.swap(id_, _EVENT, changed)

    async def _finish(self, record: EventRecord, intents: Sequence[IntentRecord]) -> None:
        """What has to happen beside the event's own partition; then it is no longer half."""
        await self._listing.add(listed(record, intents), Spot.of(record))
        waiting = [one.intent.key for one in intents if one.status == "waiting"]
        later = [wire.dump(wire.Decide(record.id))] if record.status == "deciding" else []
        await self._queue.put(_performs(waiting) + later)
        await self._whole(record.id)

    async def _whole(self, id_: str) -> None:
        await self._events.mark({"PartitionKey": id_, "RowKey": _EVENT, "half": False})

    async def _mark(self, record: EventRecord, properties: Mapping[str, object]) -> None:
        """In the lists, before what they tell of is settled: who is killed in between does it once more."""
        if await self._listing.mark(Spot.of(record), record.status, properties) is None:
            await self._move_over(record)

    async def _list(self, record: EventRecord, intents: Sequence[IntentRecord]) -> None:
        now = listed(record, intents), Spot.of(record)
        if not await self._listing.move(*now):
            await self._move_over(record)  # as it is stored, which is as it was before
            await self._listing.move(*now)

    async def _move_over(self, record: EventRecord) -> None:
        """From the lists of version 0.1, if it is in them."""
        row = await self._old.row(record)
        if row is not None:
            await self._adopt(row)

    async def decide(
        self, record: str, decision: Decision, facts: Facts, new: Sequence[Intent], until: datetime | None = None
    ) -> None:
        # The decision is written last: killed before that, the same Decide comes again and finds the event undecided.
        began = await self._change(record, lambda old: replace(old, facts=facts), half=True)
        if began is None:
            return
        made = {"status": "decided", "decision": decision, "facts": facts, "refusal": ""}
        made |= {"until": until} if until else {}
        decided = replace(began.record, **made)
        there = (await self.intents([record]))[record]
        statuses = {one.intent.key: one.status for one in there}
        now = self._clock()
        fresh = [IntentRecord(intent, "waiting", now) for intent in new if intent.key not in statuses]
        await self._add([_intent_row(one, n, decided) for n, one in enumerate(fresh, len(there))])
        await self._list(decided, [*there, *fresh])
        missed = [intent.key for intent in new if began.half and statuses.get(intent.key) == "waiting"]
        await self._queue.put(_performs([*(one.intent.key for one in fresh), *missed]))
        await self._change(record, lambda old: replace(old, **made), half=False)

    async def undecidable(self, record: str, reason: str) -> None:
        found = await self.whole(record)
        if found is not None:
            await self._list(replace(found[0], status="failed", refusal=reason), found[1])
            await self._change(record, lambda old: replace(old, status="failed", refusal=reason))

    async def learn(self, record: str, facts: Facts) -> None:
        await self._change(record, lambda old: replace(old, facts=combined(old.facts, facts)))

    async def claim(self, key: str, now: datetime) -> Claim | None:
        found = await self._journal(key, event=True)
        if found is None:
            return None
        about, journal = found
        if about is None:
            return None
        if journal.row["status"] in FINAL:
            await self._show(journal.row)  # whoever ended it may have been kept from that
            return None
        began = journal.began
        interrupted = began is not None and not self._is_lost(journal)
        if began is not None and interrupted and began + LEASE > now:
            raise _held_by_another((began + LEASE - now).total_seconds())
        n = max(journal.last, journal.settled) + 1
        if not await self._claimed(key, n, now):
            raise _held_by_another(LEASE.total_seconds())
        if "listed" in journal.row:
            journal.row["listed"] = about.status  # it may have been decided since
        self._held[key] = journal.row, n
        return Claim(journal.record if interrupted else _intent_of(journal.row), about, interrupted=interrupted)

    def _is_lost(self, journal: _Journal) -> bool:
        return journal.last > journal.settled and journal.tries[journal.last][BY] in self._lost

    async def _journal(self, key: str, *, event: bool = False) -> tuple[EventRecord | None, _Journal] | None:
        """Of one intent, with the event where it is asked for: one request."""
        name = hashed(key)
        rows = [f"RowKey eq '{_INTENT}{name}'", f"(RowKey ge '{_CLAIM}{name}-' and RowKey lt '{_CLAIM}{name}.')"]
        rows += [f"RowKey eq '{_EVENT}'"] if event else []
        found = await self._events.all(f"PartitionKey eq {quoted(_record_of(key))} and ({' or '.join(rows)})")
        journals = _journals(found)
        if not journals:
            return None
        about = next((row for row in found if row["RowKey"] == _EVENT), None)
        return _event_of(about), journals[0]

    async def _claimed(self, key: str, n: int, now: datetime) -> bool:
        """One conditional insert: of all who try the same number, one does it. Whoever does not hear that it was he looks."""
        by = f"{self._name}-{next(self._numbers)}"
        row: Row = {"PartitionKey": _record_of(key), "RowKey": f"{_CLAIM}{hashed(key)}-{n:06d}", "at": now, BY: by}
        try:
            return await self._events.add(row)
        except TemporaryError as error:
            if not error.sent:
                raise
            self._lost.add(by)  # it may be there, or come to be there
            found = await self._events.get(row["PartitionKey"], row["RowKey"])
            if found is None:
                raise
            self._lost.discard(by)
            return bool(found[BY] == by)

    async def settle(
        self,
        key: str,
        status: IntentStatus,
        attempt: Attempt,
        result: Result | None = None,
        *,
        maybe_twice: bool | None = None,
    ) -> None:
        row, n = self._held.pop(key) if key in self._held else await self._found(key)
        by = f"{self._name}-{next(self._numbers)}"
        while row is not None and row.get(BY) != by:
            old = _intent_of(row)
            twice = old.maybe_twice if maybe_twice is None else maybe_twice
            new = IntentRecord(old.intent, status, attempt.at, (*old.attempts, attempt), result or old.result, twice)
            ended = _changed(row, new, settled=n)
            if await self._events.replace(row, ended, by):
                row = ended
                break
            row, n = await self._found(key)
        if row is not None:
            await self._show_later(key, row)

    async def _show_later(self, key: str, row: Row) -> None:
        """The lists, of what is on record: that they are busy must not bring it about once more. The next try of an intent tells them, and of
        one that has ended a message of its own (`claim`). Whoever is killed before that gets the message again that he was at.
        """
        try:
            await self._show(row)
        except TemporaryError as error:
            if row["status"] in FINAL:
                await self._queue.put(_performs([key]), delay=error.retry_after or _BUSY)

    async def _found(self, key: str) -> tuple[Row | None, int]:
        """The row of an intent, and the number of its newest claim."""
        found = await self._journal(key)
        return (found[1].row, max(found[1].last, found[1].settled)) if found else (None, 0)

    async def _show(self, row: Row) -> None:
        """In the lists, what became of an intent."""
        if "listed" not in row:  # of version 0.1
            about = _event_of(await self._events.get(row["PartitionKey"], _EVENT))
            if about is None:
                return
            spot, known = Spot.of(about), about.status
        else:
            spot, known = spot_in(row), row["listed"]
        if said := _said([row]):
            await self._listing.mark(spot, known, said)

    async def reopen(self, record: str, keys: Sequence[str]) -> None:
        changed = await self._change(record, lambda old: replace(old, replays=old.replays + 1), half=True)
        if changed is None:
            return

        def opened(row: Row | None) -> tuple[Row | None, Row | None]:
            old = _intent_of(row) if row else None
            if row is None or old is None or old.status == "done":
                return None, None
            if old.status == "running":  # of version 0.1: if its try is dead, the message finds out
                return None, row
            new = _changed(row, replace(old, status="waiting"))
            return new, new

        rows = [row for key in keys if (row := await self._events.swap(record, _intent_key(key), opened))]
        await self._mark(changed.record, _said(rows) | {"replays": changed.record.replays})
        await self._said_anew(changed.record, rows)
        await self._queue.put(_performs([_intent_of(row).intent.key for row in rows]))
        await self._whole(record)

    async def _said_anew(self, about: EventRecord, said: Sequence[Row]) -> None:
        """The lists, where an intent has ended since `said` was read: they may have heard of its end first."""
        before = {row["RowKey"]: row["status"] for row in said}
        where = f"PartitionKey eq {quoted(about.id)} and RowKey ge '{_INTENT}'"
        rows = await self._events.all(where) if before else []
        if other := _said([row for row in rows if before.get(row["RowKey"], row["status"]) != row["status"]]):
            await self._mark(about, other)

    async def event(self, id: str) -> EventRecord | None:  # noqa: A002 (the word of the contract)
        found = _event_of(await self._events.get(id, _EVENT)) if _ID.fullmatch(id) else None
        if found is not None:
            return found
        newest = await self._listing.newest(id)
        return _event_of(await self._events.get(newest, _EVENT)) if newest else None

    async def whole(self, id: str) -> tuple[EventRecord, list[IntentRecord]] | None:  # noqa: A002 (the word of the contract)
        found = await self._read(id) if _ID.fullmatch(id) else None
        if found is None and (newest := await self._listing.newest(id)):
            found = await self._read(newest)
        return found

    async def _read(self, record: str) -> tuple[EventRecord, list[IntentRecord]] | None:
        """One query of its partition."""
        rows = await self._events.all(f"PartitionKey eq {quoted(record)}")
        about = _event_of(next((row for row in rows if row["RowKey"] == _EVENT), None))
        return None if about is None else (about, [one.record for one in _journals(rows)])

    async def events(self, search: Search) -> Sequence[EventRecord]:
        rows = await self._rows(search, ("RowKey", "record"))
        found = [
            _event_of(row)
            for some in batched(rows, _AT_ONCE, strict=False)
            for row in await asyncio.gather(*(self._events.get(one["record"], _EVENT) for one in some))
        ]
        return [record for record in found if record is not None]

    async def listed(self, search: Search) -> Sequence[Listed]:
        rows = await self._rows(search)
        found = []
        for row in rows:
            if "body0" in row:
                found.append(listed_in(row))
            elif there := await self._read(row["record"]):
                found.append(listed(*there))
        return found

    async def _rows(self, search: Search, select: Sequence[str] = ()) -> list[Row]:
        """Newest first; while there are lists of version 0.1, with what stands in those."""
        rows, old = await asyncio.gather(self._listing.page(search, select), self._old.page(search))
        if not old:
            return rows
        keyed = {row["RowKey"]: row for row in old}
        keyed |= {row["RowKey"].removeprefix(prefix(search)): row for row in rows}
        return [keyed[key] for key in sorted(keyed)][: search.limit]

    async def intents(self, records: Sequence[str]) -> dict[str, list[IntentRecord]]:
        async def of(record: str) -> list[IntentRecord]:
            where = f"RowKey ge '{_INTENT}' or (RowKey ge '{_CLAIM}' and RowKey lt '{_CLAIM}~')"
            rows = await self._events.all(f"PartitionKey eq {quoted(record)} and ({where})")
            return [one.record for one in _journals(rows)]

        found: dict[str, list[IntentRecord]] = {}
        for some in batched(records, _AT_ONCE, strict=False):
            found |= zip(some, await asyncio.gather(*map(of, some)), strict=True)
        return found

    async def count(self, name: str, limit: int, key: str) -> bool:
        now = self._clock()
        keys: Row = {"PartitionKey": f"c-{hashed(name)}", "RowKey": "count", "name": name[:1000], "at": now}

        def taken(row: Row | None) -> tuple[Row | None, tuple[bool, bool]]:
            takers = wire.load(list[str], unpacked(row)) if row else []
            if key in takers or len(takers) >= limit:
                return None, (key in takers, False)
            return keys | packed(wire.dump([*takers, key])), (True, row is None)

        took, first = await self._memory.swap(keys["PartitionKey"], keys["RowKey"], taken)
        if first:
            await self._memory.put(_remembered(keys["PartitionKey"], now))
        return took

    async def part(self, digest: str, n: int, of: int, body: str) -> list[str] | None:
        home, now = f"p-{hashed(digest)}", self._clock()
        if await self._memory.add({"PartitionKey": home, "RowKey": f"{n:06d}", "at": now} | packed(body)):
            await self._memory.put(_remembered(home, now))
        rows = await self._memory.all(f"PartitionKey eq '{home}'")
        return [unpacked(row) for row in rows] if len(rows) == of else None

    async def prune(self, now: datetime) -> int:
        for some in batched(await self._old.first(_ADOPTED), _AT_ONCE, strict=False):
            await asyncio.gather(*map(self._adopt, some))
        gone = 0
        for some in batched(await self._listing.due(now, _PRUNED), _AT_ONCE, strict=False):
            fates = await asyncio.gather(*(self._forget(row, now) for row in some))
            if over := [row for row, fate in zip(some, fates, strict=True) if fate.over]:
                await self._listing.drop(over)
            gone += sum(fate.went for fate in fates)
        await self._forget_counts(now)
        return gone

    async def _forget(self, due: Row, now: datetime) -> "_Fate":
        """Of an event whose time has come."""
        columns = [
            "PartitionKey",
            "RowKey",
            "Timestamp",
            "status",
            "half",
            "until",
        ]  # the SDK reads the ETag off Timestamp
        rows = await self._events.all(f"PartitionKey eq {quoted(due['record'])}", columns)
        event = next((row for row in rows if row["RowKey"] == _EVENT), None)
        if event is not None:
            until = event.get("until")
            if until is not None and until > now:  # a later decision said so
                await self._listing.look_again(due, until)
                return _Fate()
            if event["status"] != _GONE and not _ended(rows):
                await self._listing.look_again(due, now + _LATER)
                return _Fate()
        operations: list[Operation] = [("delete", event, unless_changed(event))] if event is not None else []
        operations += [("delete", row) for row in rows if row is not event]
        for some in batched(operations, TOGETHER + 1, strict=False):
            if not await self._events.write(some):
                return _Fate()  # somebody is at it: the next time
        return _Fate(over=True, went=event is not None and event["status"] != _GONE)

    async def _adopt(self, row: Row) -> None:
        """One row of the lists of version 0.1 goes over into those of this one."""
        found = await self._read(row["record"])
        if found is not None:
            await self._listing.add(listed(*found), Spot.of(found[0]))
        elif row["status"] == _GONE:
            await self._listing.due_alone(self._old.spot(row), self._old.received(row) + KEEP)
        await self._old.drop(row)

    async def _forget_counts(self, now: datetime) -> None:
        """Counts that no window can ask for any more, and parts of messages that never came together, by the day of their first."""
        await self._remember_old(now)
        edge = now - _REMEMBERED
        due = await self._memory.first(
            f"PartitionKey eq '{_DAYS}' and RowKey lt '{edge.astimezone(UTC):%Y%m%d}'", _PRUNED
        )
        for some in batched(due, _AT_ONCE, strict=False):
            await asyncio.gather(*(self._forget_count(row, edge) for row in some))

    async def _forget_count(self, due: Row, edge: datetime) -> None:
        rows = await self._memory.all(f"PartitionKey eq '{due['home']}'", ["PartitionKey", "RowKey", "at"])
        for row in rows:
            if row["at"] < edge:
                await self._memory.drop(row)
            else:
                await self._memory.put(_remembered(due["home"], row["at"]))
        await self._memory.drop(due)

    async def _remember_old(self, now: datetime) -> None:
        """Once: what version 0.1 counted has no day yet. A part of it, from where the last one ended."""
        done: Row = {"PartitionKey": _DAYS, "RowKey": "~", "at": now}
        begun = None if self._remembers else await self._memory.get(_DAYS, "~")
        if self._remembers or (begun is not None and "home" not in begun):
            self._remembers = True
            return
        where = f"PartitionKey ne '{_DAYS}' and PartitionKey gt {quoted(begun['home'] if begun else '')}"
        rows = await self._memory.first(where, _ADOPTED, ["PartitionKey", "at"])
        for some in batched(rows, _AT_ONCE, strict=False):
            await asyncio.gather(*(self._memory.put(_remembered(row["PartitionKey"], row["at"])) for row in some))
        await self._memory.put(done if len(rows) < _ADOPTED else done | {"home": rows[-1]["PartitionKey"]})


@dataclass(frozen=True)
class _Fate:
    """Of an event whose time had come. `over`: nothing of it is left but in the lists; `went`: it was there until now."""

    over: bool = False
    went: bool = False


def _held_by_another(seconds: float) -> TemporaryError:
    return TemporaryError("another message for the same intent is being worked on", retry_after=seconds)


def _remembered(home: str, at: datetime) -> Row:
    """By the day, a partition of the memory."""
    return {"PartitionKey": _DAYS, "RowKey": f"{at.astimezone(UTC):%Y%m%d}-{home}", "home": home}


def _ended(rows: Sequence[Row]) -> bool:
    """Whether an event and its intents are at their end."""
    ends = {_EVENT: {"decided", "refused", "failed"}}
    known = [row for row in rows if not row["RowKey"].startswith(_CLAIM)]
    return not any(row.get("half") or row["status"] not in ends.get(row["RowKey"], FINAL) for row in known)

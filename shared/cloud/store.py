"""The store on Azure: journal, memory and record in storage tables, beside the storage queue.

An event and its intents are one partition. Tables and queue share no transaction: an event stays `half` until its
messages are on the queue, and whoever meets it so puts them there. A message too many does no harm, because an intent
is claimed by one conditional write.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import batched
from typing import Final, Literal

from msgspec.structs import replace

from shared import wire
from shared.cloud.account import Account
from shared.cloud.storage import TOGETHER, Operation, Row, Tables, packed, quoted, unless_changed, unpacked
from shared.errors import TemporaryError
from shared.record import (
    FINAL,
    Attempt,
    Decision,
    EventRecord,
    Facts,
    Intent,
    IntentRecord,
    IntentStatus,
    Result,
    combined,
)
from shared.world import Claim, Clock, Queue, Search

LEASE: Final = timedelta(minutes=10)
"""How long a claim holds off another: the time limit of a function (host.json). A longer silence is a try that died."""

_REMEMBERED: Final = timedelta(days=32)
"""Counts outlive the longest window that a limit names, a month."""

_EVENT: Final = "event"
_GONE: Final = "gone"
"""The status of an event that was forgotten for room: its deliveries are still known as such."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AT_ONCE: Final = 32
_ID: Final = re.compile(r"[\w.~-]{1,200}", re.ASCII)


def _hash(text: str) -> str:
    """Any text as part of a key; tables refuse some characters."""
    return sha256(text.encode()).hexdigest()[:32]


def _record_of(key: str) -> str:
    """Where an intent is: keys are `<record>-<rule>-<n>`."""
    return key.partition("-")[0]


def _inverted(moment: datetime) -> str:
    """Newest first, as keys are sorted."""
    return f"{10**17 - (moment - _EPOCH) // timedelta(microseconds=1):018d}"


def _day(moment: datetime) -> str:
    return f"t-{99999999 - int(f'{moment.astimezone(UTC):%Y%m%d}')}"


def _event_row(record: EventRecord, *, half: bool) -> Row:
    keys = {"PartitionKey": record.id, "RowKey": _EVENT, "status": record.status, "half": half}
    bare = replace(record.decision, intents=()) if record.decision else None  # they have rows of their own
    return keys | packed(wire.dump(replace(record, decision=bare)))


def _event_of(row: Row | None) -> EventRecord | None:
    return None if row is None or row["status"] == _GONE else wire.load(EventRecord, unpacked(row))


def _intent_row(record: IntentRecord, n: int) -> Row:
    key = record.intent.key
    keys = {"PartitionKey": _record_of(key), "RowKey": f"intent-{_hash(key)}", "n": n, "key": key}
    return keys | {"status": record.status} | packed(wire.dump(record))


def _intent_of(row: Row) -> IntentRecord:
    return wire.load(IntentRecord, unpacked(row))


def _listed(record: EventRecord) -> Row:
    """Its row in the list by time."""
    return {
        "PartitionKey": _day(record.received),
        "RowKey": f"{_inverted(record.received)}-{record.id}",
        "record": record.id,
        "status": record.status,
        "type": record.event.type if record.event else "",
        "id": _hash(record.event.id) if record.event else "",
        "until": record.kept_until,
    }


def _listed_by_id(listed: Row) -> Row:
    return {"PartitionKey": f"i-{listed['id']}", "RowKey": listed["RowKey"], "record": listed["record"]}


def _performs(keys: Sequence[str]) -> list[str]:
    return [wire.dump(wire.Perform(key)) for key in keys]


@dataclass(frozen=True)
class _Changed:
    """The event's record as it is now, and whether it was half before."""

    record: EventRecord
    half: bool


class AzureStore:
    """`world.Store`."""

    def __init__(self, account: Account, queue: Queue, clock: Clock) -> None:
        self._tables = Tables(account)
        self._events = self._tables.table("switchyardevents")
        self._listing = self._tables.table("switchyardlisting")
        self._memory = self._tables.table("switchyardmemory")
        self._queue = queue
        self._clock = clock

    async def close(self) -> None:
        await self._tables.close()

    async def take_in(self, record: EventRecord) -> Literal["new", "again", "half"]:
        now = self._clock()
        intents = record.decision.intents if record.decision else ()
        rows = [_intent_row(IntentRecord(intent, "waiting", now), n) for n, intent in enumerate(intents)]
        await self._add(rows[TOGETHER:])  # before the event: where it is, all its intents are
        operations: list[Operation] = [("create", _event_row(record, half=True))]
        operations += [("upsert", row, {"mode": "replace"}) for row in rows[:TOGETHER]]
        if not await self._events.write(operations):
            return await self._again(record.id)
        await self._finish(record, [intent.key for intent in intents])
        return "new"

    async def _add(self, rows: Sequence[Row]) -> None:
        """Those that are not there yet."""
        for some in batched(rows, _AT_ONCE, strict=False):
            await asyncio.gather(*(self._events.add(row) for row in some))

    async def _again(self, id_: str) -> Literal["again", "half"]:
        there = await self._change(id_, lambda old: replace(old, deliveries=old.deliveries + 1))
        if there is None or not there.half:
            return "again"
        intents = (await self.intents([id_]))[id_]
        await self._finish(there.record, [one.intent.key for one in intents if one.status == "waiting"])
        return "half"

    async def _change(
        self, id_: str, change: Callable[[EventRecord], EventRecord], *, half: bool | None = None
    ) -> _Changed | None:
        def changed(row: Row | None) -> tuple[Row | None, _Changed | None]:
            old = _event_of(row)
            if row is None or old is None:
                return None, None
            new = change(old)
            return _event_row(new, half=row["half"] if half is None else half), _Changed(new, row["half"])

        return await self._events.swap(id_, _EVENT, changed)

    async def _finish(self, record: EventRecord, keys: Sequence[str]) -> None:
        """What has to happen beside the event's own partition; then it is no longer half."""
        listed = _listed(record)
        rows = [listed, _listed_by_id(listed)] if record.event else [listed]
        await asyncio.gather(*(self._listing.put(row) for row in rows))
        later = [wire.dump(wire.Decide(record.id))] if record.status == "deciding" else []
        await self._queue.put(_performs(keys) + later)
        await self._events.mark({"PartitionKey": record.id, "RowKey": _EVENT, "half": False})

    async def _relist(self, changed: _Changed | None) -> None:
        """Its status as others search for it."""
        if changed is not None:
            listed = _listed(changed.record)
            await self._listing.mark({name: listed[name] for name in ("PartitionKey", "RowKey", "status", "until")})

    async def decide(
        self, record: str, decision: Decision, facts: Facts, new: Sequence[Intent], until: datetime | None = None
    ) -> None:
        # The decision is written last: killed before that, the same Decide comes again and finds the event undecided.
        began = await self._change(record, lambda old: replace(old, facts=facts), half=True)
        if began is None:
            return
        there = {one.intent.key: one.status for one in (await self.intents([record]))[record]}
        fresh = [intent for intent in new if intent.key not in there]
        now = self._clock()
        rows = [_intent_row(IntentRecord(intent, "waiting", now), n) for n, intent in enumerate(fresh, len(there))]
        await self._add(rows)
        missed = [intent.key for intent in new if began.half and there.get(intent.key) == "waiting"]
        await self._queue.put(_performs([*(intent.key for intent in fresh), *missed]))
        made = {"status": "decided", "decision": decision, "facts": facts, "refusal": ""}
        made |= {"until": until} if until else {}
        await self._relist(await self._change(record, lambda old: replace(old, **made), half=False))

    async def undecidable(self, record: str, reason: str) -> None:
        await self._relist(await self._change(record, lambda old: replace(old, status="failed", refusal=reason)))

    async def learn(self, record: str, facts: Facts) -> None:
        await self._change(record, lambda old: replace(old, facts=combined(old.facts, facts)))

    async def claim(self, key: str, now: datetime) -> Claim | None:
        def started(row: Row | None) -> tuple[Row | None, IntentRecord | None]:
            record = _intent_of(row) if row else None
            if row is None or record is None or record.status in FINAL:
                return None, None
            left = (record.at + LEASE - now).total_seconds()
            if record.status == "running" and left > 0:
                raise TemporaryError("another message for the same intent is being worked on", retry_after=left)
            return _intent_row(replace(record, status="running", at=now), row["n"]), record

        home = _record_of(key)
        about = _event_of(await self._events.get(home, _EVENT))
        if about is None:
            return None
        # Last: whoever has claimed an intent does it.
        record = await self._events.swap(home, f"intent-{_hash(key)}", started)
        return None if record is None else Claim(record, about, interrupted=record.status == "running")

    async def settle(
        self,
        key: str,
        status: IntentStatus,
        attempt: Attempt,
        result: Result | None = None,
        *,
        maybe_twice: bool | None = None,
    ) -> None:
        def ended(row: Row | None) -> tuple[Row | None, None]:
            if row is None:
                return None, None
            old = _intent_of(row)
            new = IntentRecord(
                old.intent,
                status,
                attempt.at,
                (*old.attempts, attempt),
                result or old.result,
                old.maybe_twice if maybe_twice is None else maybe_twice,
            )
            return _intent_row(new, row["n"]), None

        await self._events.swap(_record_of(key), f"intent-{_hash(key)}", ended)

    async def reopen(self, record: str, keys: Sequence[str]) -> None:
        if await self._change(record, lambda old: replace(old, replays=old.replays + 1), half=True) is None:
            return

        def opened(row: Row | None) -> tuple[Row | None, bool]:
            old = _intent_of(row) if row else None
            if row is None or old is None or old.status == "done":
                return None, False
            if old.status == "running":  # if its try is dead, the message finds out
                return None, True
            return _intent_row(replace(old, status="waiting"), row["n"]), True

        open_again = [key for key in keys if await self._events.swap(record, f"intent-{_hash(key)}", opened)]
        await self._queue.put(_performs(open_again))
        await self._events.mark({"PartitionKey": record, "RowKey": _EVENT, "half": False})

    async def event(self, id: str) -> EventRecord | None:  # noqa: A002 (the word of the contract)
        found = _event_of(await self._events.get(id, _EVENT)) if _ID.fullmatch(id) else None
        if found is not None:
            return found
        newest = await self._listing.first(f"PartitionKey eq 'i-{_hash(id)}'", 1)
        return _event_of(await self._events.get(newest[0]["record"], _EVENT)) if newest else None

    async def events(self, search: Search) -> Sequence[EventRecord]:
        where = ["PartitionKey ge 't-'", "PartitionKey lt 't.'", f"status ne '{_GONE}'"]
        if search.type is not None:
            where.append(f"type eq {quoted(search.type)}")
        if search.status is not None:
            where.append(f"status eq {quoted(search.status)}")
        if search.since is not None:
            where += [f"PartitionKey le '{_day(search.since)}'", f"RowKey lt '{_inverted(search.since)}.'"]
        if search.before is not None:
            moment, id_ = search.before
            last = f"{_inverted(moment)}-{id_}"
            where += [f"PartitionKey ge '{_day(moment)}'", f"RowKey gt {quoted(last)}"]
        rows = await self._listing.first(" and ".join(where), search.limit)
        found = [
            _event_of(row)
            for some in batched(rows, _AT_ONCE, strict=False)
            for row in await asyncio.gather(*(self._events.get(listed["record"], _EVENT) for listed in some))
        ]
        return [record for record in found if record is not None]

    async def intents(self, records: Sequence[str]) -> dict[str, list[IntentRecord]]:
        async def of(record: str) -> list[IntentRecord]:
            rows = await self._events.all(f"PartitionKey eq {quoted(record)} and RowKey ge 'intent-'")
            return [_intent_of(row) for row in sorted(rows, key=lambda row: int(row["n"]))]

        found: dict[str, list[IntentRecord]] = {}
        for some in batched(records, _AT_ONCE, strict=False):
            found |= zip(some, await asyncio.gather(*map(of, some)), strict=True)
        return found

    async def count(self, name: str, limit: int, key: str) -> bool:
        keys: Row = {"PartitionKey": f"c-{_hash(name)}", "RowKey": "count", "name": name[:1000], "at": self._clock()}

        def taken(row: Row | None) -> tuple[Row | None, bool]:
            takers = wire.load(list[str], unpacked(row)) if row else []
            if key in takers or len(takers) >= limit:
                return None, key in takers
            return keys | packed(wire.dump([*takers, key])), True

        return await self._memory.swap(keys["PartitionKey"], keys["RowKey"], taken)

    async def part(self, digest: str, n: int, of: int, body: str) -> list[str] | None:
        home = f"p-{_hash(digest)}"
        await self._memory.add({"PartitionKey": home, "RowKey": f"{n:06d}", "at": self._clock()} | packed(body))
        rows = await self._memory.all(f"PartitionKey eq '{home}'")
        return [unpacked(row) for row in rows] if len(rows) == of else None

    async def prune(self, now: datetime) -> int:
        gone, due = 0, list[Row]()
        where = f"PartitionKey ge 't-' and PartitionKey lt 't.' and until lt datetime'{now.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}'"
        async with aclosing(self._listing.rows(where)) as rows:
            async for row in rows:
                due.append(row)
                if len(due) == _AT_ONCE:
                    gone += sum(await asyncio.gather(*(self._forget(one) for one in due)))
                    due.clear()
        gone += sum(await asyncio.gather(*(self._forget(one) for one in due)))
        await self._forget_counts(now)
        return gone

    async def _forget(self, listed: Row) -> bool:
        """Whether an event went. Its row in the list goes last: killed before, the next prune goes on from there."""
        columns = ["PartitionKey", "RowKey", "Timestamp", "status", "half"]  # the SDK reads the ETag off Timestamp
        rows = await self._events.all(f"PartitionKey eq {quoted(listed['record'])}", columns)
        event = next((row for row in rows if row["RowKey"] == _EVENT), None)
        if event is not None and not _ended(rows):
            return False
        operations: list[Operation] = []
        if event is not None:
            operations.append(("delete", event, unless_changed(event)))
        operations += [("delete", row) for row in rows if row is not event]
        for some in batched(operations, TOGETHER + 1, strict=False):
            if not await self._events.write(some):
                return False
        if listed.get("id"):
            await self._listing.drop(_listed_by_id(listed))
        await self._listing.drop(listed)
        return event is not None

    async def _forget_counts(self, now: datetime) -> None:
        """Counts that no window can ask for any more, and parts of messages that never came together."""
        edge = (now - _REMEMBERED).astimezone(UTC)
        where = f"at lt datetime'{edge:%Y-%m-%dT%H:%M:%SZ}'"
        for some in batched(await self._memory.all(where, ["PartitionKey", "RowKey"]), _AT_ONCE, strict=False):
            await asyncio.gather(*(self._memory.drop(row) for row in some))


def _ended(rows: Sequence[Row]) -> bool:
    """Whether an event and its intents are at their end."""
    ends = {_EVENT: {"decided", "refused", "failed"}}
    return not any(row.get("half") or row["status"] not in ends.get(row["RowKey"], FINAL) for row in rows)

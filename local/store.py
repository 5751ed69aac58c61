"""The embedded store: journal, memory and record in one SQLite file, in the same transactions as the queue."""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from local import queue
from local.sqlite import Database
from shared import wire
from shared.errors import TemporaryError
from shared.events import Event
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
from shared.settings import WORK_QUEUE
from shared.world import Claim, Clock, Search

_UNTIL: Final = f"coalesce(until, received + {KEEP.total_seconds()})"
"""As `EventRecord.kept_until`."""

SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
  id TEXT PRIMARY KEY, event_id TEXT, type TEXT, status TEXT NOT NULL, received REAL NOT NULL,
  deliveries INTEGER NOT NULL, replays INTEGER NOT NULL DEFAULT 0, event TEXT, decision TEXT, facts TEXT,
  refusal TEXT NOT NULL DEFAULT '', bytes TEXT NOT NULL DEFAULT '', until REAL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS events_received ON events (received);
CREATE INDEX IF NOT EXISTS events_event_id ON events (event_id);
CREATE INDEX IF NOT EXISTS events_until ON events ({_UNTIL});
CREATE TABLE IF NOT EXISTS intents (
  key TEXT PRIMARY KEY, record TEXT NOT NULL, n INTEGER NOT NULL, status TEXT NOT NULL, at REAL NOT NULL,
  intent TEXT NOT NULL, attempts TEXT NOT NULL DEFAULT '[]', result TEXT, twice INTEGER NOT NULL DEFAULT 0)
  WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS intents_record ON intents (record, n);
CREATE TABLE IF NOT EXISTS counted (name TEXT, key TEXT, at REAL NOT NULL, PRIMARY KEY (name, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pieces (digest TEXT, n INTEGER, body TEXT, at REAL NOT NULL, PRIMARY KEY (digest, n));
"""

ADDED: Final = (("events", "until", "REAL"),)
"""Columns that the file of an earlier version lacks."""

KEEP_EVENTS: Final = 200_000
"""Records in one file. Beyond that, those that are to be kept the least long go first."""

_EVENT_COLUMNS: Final = "id, received, status, event, decision, facts, deliveries, refusal, bytes, replays, until"
_INTENT_COLUMNS: Final = "intent, status, at, attempts, result, twice"
_FINAL_SQL: Final = ", ".join(f"'{status}'" for status in sorted(FINAL))
_ENDED_SQL: Final = (
    "status IN ('decided', 'refused', 'failed') AND NOT EXISTS "
    f"(SELECT 1 FROM intents WHERE record = events.id AND status NOT IN ({_FINAL_SQL}))"
)

_FRESH: Final = 2000
_SMALL: Final = 20_000
"""Characters of an event that is kept in memory for its intents: a longer one is read from the file again."""
_DAY: Final = 86_400.0
_REMEMBERED: Final = 32 * _DAY
"""Counts outlive the longest window that a limit names, a month."""

_TOGETHER: Final = 2 * _DAY
"""Parts of a message are on the queue together, and wait there for each other only while this host runs."""

_event: Final = msgspec.json.Decoder(Event)
_decision: Final = msgspec.json.Decoder(Decision)
_facts: Final = msgspec.json.Decoder(Facts)
_intent: Final = msgspec.json.Decoder(Intent)
_attempts: Final = msgspec.json.Decoder(tuple[Attempt, ...])
_result: Final = msgspec.json.Decoder(Result)


def _moment(stamp: float) -> datetime:
    return datetime.fromtimestamp(stamp, UTC)


def _event_record(row: tuple[object, ...]) -> EventRecord:
    record, received, status, event, decision, facts, deliveries, refusal, raw, replays, until = row
    return EventRecord(
        id=str(record),
        received=_moment(float(received)),  # type: ignore[arg-type]  # SQLite's columns have the types of SCHEMA
        status=status,  # type: ignore[arg-type]
        event=_event.decode(str(event)) if event else None,
        decision=_decision.decode(str(decision)) if decision else None,
        facts=_facts.decode(str(facts)) if facts else None,
        deliveries=deliveries,  # type: ignore[arg-type]
        refusal=str(refusal),
        bytes=str(raw),
        replays=replays,  # type: ignore[arg-type]
        until=None if until is None else _moment(float(until)),  # type: ignore[arg-type]
    )


def _intent_record(row: tuple[object, ...]) -> IntentRecord:
    intent, status, at, attempts, result, twice = row
    return IntentRecord(
        intent=_intent.decode(str(intent)),
        status=status,  # type: ignore[arg-type]  # SQLite's columns have the types of SCHEMA
        at=_moment(float(at)),  # type: ignore[arg-type]
        attempts=_attempts.decode(str(attempts)),
        result=_result.decode(str(result)) if result else None,
        maybe_twice=bool(twice),
    )


def _add_intents(db: sqlite3.Connection, record: str, intents: Sequence[Intent], first: int, now: float) -> list[str]:
    """The Perform messages of those that were not there."""
    texts = []
    for n, intent in enumerate(intents, first):
        added = db.execute(
            "INSERT OR IGNORE INTO intents (key, record, n, status, at, intent) VALUES (?, ?, ?, 'waiting', ?, ?)",
            (intent.key, record, n, now, wire.dump(intent)),
        ).rowcount
        if added:
            texts.append(wire.dump(wire.Perform(intent.key)))
    return texts


def _bare(decision: Decision) -> str:
    """Without the intents: they have rows of their own."""
    return wire.dump(msgspec.structs.replace(decision, intents=()))


class SqliteStore:
    """`world.Store`, and the queue's messages in the same transactions."""

    def __init__(self, database: Database, queues: queue.Queues, clock: Clock, keep_events: int = KEEP_EVENTS) -> None:
        self._database = database
        self._queues = queues
        self._clock = clock
        self._keep_events = keep_events
        self._fresh: dict[str, EventRecord] = {}  # taken in lately, and not changed since
        self._running: set[str] = set()  # claimed by this process: a second message for the same intent waits

    def _now(self) -> float:
        return self._clock().timestamp()

    async def take_in(self, record: EventRecord) -> Literal["new", "again", "half"]:
        now = self._now()
        event, decision = record.event, record.decision
        row = (
            record.id,
            event.id if event else None,
            event.type if event else None,
            record.status,
            record.received.timestamp(),
            record.deliveries,
            wire.dump(event) if event else None,
            _bare(decision) if decision else None,
            wire.dump(record.facts) if record.facts else None,
            record.refusal,
            record.bytes,
            record.until and record.until.timestamp(),
        )

        def work(db: sqlite3.Connection) -> list[queue.Handed] | None:
            if not db.execute("INSERT OR IGNORE INTO seen (id, at) VALUES (?, ?)", (record.id, now)).rowcount:
                db.execute("UPDATE events SET deliveries = deliveries + 1 WHERE id = ?", (record.id,))
                return None
            db.execute(
                "INSERT OR IGNORE INTO events (id, event_id, type, status, received, deliveries, event, decision, facts,"
                " refusal, bytes, until) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            texts = _add_intents(db, record.id, decision.intents, 0, now) if decision else []
            if decision and decision.needs:
                texts.append(wire.dump(wire.Decide(record.id)))
            return queue.insert(db, WORK_QUEUE, texts, now)

        rows = await self._database.run(work)
        if rows is None:
            return "again"
        if len(row[6] or "") <= _SMALL:
            if len(self._fresh) >= _FRESH:
                self._fresh.pop(next(iter(self._fresh)))
            self._fresh[record.id] = record
        self._queues.announce(rows)
        return "new"

    async def decide(
        self, record: str, decision: Decision, facts: Facts, new: Sequence[Intent], until: datetime | None = None
    ) -> None:
        now = self._now()

        def work(db: sqlite3.Connection) -> list[queue.Handed]:
            db.execute(
                "UPDATE events SET decision = ?, facts = ?, status = 'decided', refusal = '', until = coalesce(?, until)"
                " WHERE id = ?",
                (_bare(decision), wire.dump(facts), until and until.timestamp(), record),
            )
            first = db.execute("SELECT count(*) FROM intents WHERE record = ?", (record,)).fetchone()[0]
            return queue.insert(db, WORK_QUEUE, _add_intents(db, record, new, first, now), now)

        self._fresh.pop(record, None)
        self._queues.announce(await self._database.run(work))

    async def undecidable(self, record: str, reason: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.execute("UPDATE events SET status = 'failed', refusal = ? WHERE id = ?", (reason, record))

        self._fresh.pop(record, None)
        await self._database.write(work)

    async def claim(self, key: str, now: datetime) -> Claim | None:
        if key in self._running:
            raise TemporaryError("another message for the same intent is being worked on", retry_after=30)
        self._running.add(key)
        try:
            claim = await self._database.write(lambda db: self._claim(db, key, now.timestamp(), self._fresh))
        except BaseException:
            self._running.discard(key)
            raise
        if claim is None:
            self._running.discard(key)
        return claim

    @staticmethod
    def _claim(db: sqlite3.Connection, key: str, now: float, fresh: Mapping[str, EventRecord]) -> Claim | None:
        row = db.execute(f"SELECT record, {_INTENT_COLUMNS} FROM intents WHERE key = ?", (key,)).fetchone()
        if row is None or row[2] in FINAL:
            return None
        db.execute("UPDATE intents SET status = 'running', at = ? WHERE key = ?", (now, key))
        record = _intent_record(row[1:])
        event = fresh.get(row[0])
        if event is None:
            columns = db.execute(f"SELECT {_EVENT_COLUMNS} FROM events WHERE id = ?", (row[0],)).fetchone()
            event = _event_record(columns)
        return Claim(record, event, interrupted=record.status == "running")

    async def settle(
        self,
        key: str,
        status: IntentStatus,
        attempt: Attempt,
        result: Result | None = None,
        *,
        maybe_twice: bool | None = None,
    ) -> None:
        values = (
            status,
            attempt.at.timestamp(),
            wire.dump(attempt),
            wire.dump(result) if result else None,
            maybe_twice,
        )

        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE intents SET status = ?, at = ?, attempts = json_insert(attempts, '$[#]', json(?)),"
                " result = coalesce(?, result), twice = coalesce(?, twice) WHERE key = ?",
                (*values, key),
            )

        try:
            # Nobody waits for the sync: killed before it, the intent counts as interrupted, as it would have a moment earlier.
            await self._database.run(work)
        finally:
            self._running.discard(key)  # also if that failed: whoever comes next finds an interrupted try

    async def learn(self, record: str, facts: Facts) -> None:
        def work(db: sqlite3.Connection) -> None:
            row = db.execute("SELECT facts FROM events WHERE id = ?", (record,)).fetchone()
            known = _facts.decode(row[0]) if row and row[0] else None
            db.execute("UPDATE events SET facts = ? WHERE id = ?", (wire.dump(combined(known, facts)), record))

        self._fresh.pop(record, None)
        await self._database.run(work)

    async def event(self, id: str) -> EventRecord | None:  # noqa: A002 (the word of the contract)
        def work(db: sqlite3.Connection) -> EventRecord | None:
            row = db.execute(
                f"SELECT {_EVENT_COLUMNS} FROM events WHERE id = ?1 OR event_id = ?1 ORDER BY id = ?1 DESC, received DESC"
                " LIMIT 1",
                (id,),
            ).fetchone()
            return _event_record(row) if row else None

        return await self._database.run(work)  # in the order of the writes: the event may have come a moment ago

    async def events(self, search: Search) -> Sequence[EventRecord]:
        moment, id_ = search.before or (None, "")
        values = {
            "type": search.type,
            "status": search.status,
            "since": search.since and search.since.timestamp(),
            "moment": moment and moment.timestamp(),
            "id": id_,
            "limit": search.limit,
        }
        where = {
            "type": "type = :type",
            "status": "status = :status",
            "since": "received >= :since",
            "moment": "received <= :moment AND (received < :moment OR id > :id)",
        }
        clauses = " AND ".join(clause for name, clause in where.items() if values[name] is not None)
        sql = f"SELECT {_EVENT_COLUMNS} FROM events WHERE {clauses or '1'} ORDER BY received DESC, id LIMIT :limit"
        rows = await self._database.read(lambda db: db.execute(sql, values).fetchall())
        return [_event_record(row) for row in rows]

    async def whole(self, id: str) -> tuple[EventRecord, list[IntentRecord]] | None:  # noqa: A002 (the word of the contract)
        record = await self.event(id)
        return None if record is None else (record, (await self.intents([record.id]))[record.id])

    async def listed(self, search: Search) -> Sequence[Listed]:
        records = await self.events(search)
        intents = await self.intents([record.id for record in records])
        return [listed(record, intents[record.id]) for record in records]

    async def intents(self, records: Sequence[str]) -> dict[str, list[IntentRecord]]:
        sql = f"SELECT record, {_INTENT_COLUMNS} FROM intents WHERE record = ? ORDER BY n"
        found: dict[str, list[IntentRecord]] = {record: [] for record in records}

        def work(db: sqlite3.Connection) -> None:
            for record in records:
                found[record] = [_intent_record(row[1:]) for row in db.execute(sql, (record,))]

        await self._database.run(work)
        return found

    async def reopen(self, record: str, keys: Sequence[str]) -> None:
        now = self._now()

        def work(db: sqlite3.Connection) -> list[queue.Handed]:
            db.execute("UPDATE events SET replays = replays + 1 WHERE id = ?", (record,))
            texts = []
            for key in keys:
                found = db.execute(  # of one that is running: if its try is dead, the message finds out
                    "UPDATE intents SET status = iif(status = 'running', status, 'waiting')"
                    " WHERE key = ? AND record = ? AND status <> 'done'",
                    (key, record),
                )
                if found.rowcount:
                    texts.append(wire.dump(wire.Perform(key)))
            return queue.insert(db, WORK_QUEUE, texts, now)

        self._fresh.pop(record, None)
        self._queues.announce(await self._database.write(work))

    async def count(self, name: str, limit: int, key: str) -> bool:
        now = self._now()

        def work(db: sqlite3.Connection) -> bool:
            if db.execute("SELECT 1 FROM counted WHERE name = ? AND key = ?", (name, key)).fetchone():
                return True
            if db.execute("SELECT count(*) FROM counted WHERE name = ?", (name,)).fetchone()[0] >= limit:
                return False
            db.execute("INSERT INTO counted (name, key, at) VALUES (?, ?, ?)", (name, key, now))
            return True

        return await self._database.write(work)

    async def part(self, digest: str, n: int, of: int, body: str) -> list[str] | None:
        now = self._now()

        def work(db: sqlite3.Connection) -> list[str] | None:
            db.execute("INSERT OR IGNORE INTO pieces (digest, n, body, at) VALUES (?, ?, ?, ?)", (digest, n, body, now))
            rows = db.execute("SELECT body FROM pieces WHERE digest = ? ORDER BY n", (digest,)).fetchall()
            return [row[0] for row in rows] if len(rows) == of else None

        return await self._database.write(work)

    async def prune(self, now: datetime) -> int:
        """In slices, so that the writer is never held up for long."""
        stamp, gone = now.timestamp(), 0
        beyond = f"SELECT {_UNTIL} FROM events ORDER BY {_UNTIL} DESC LIMIT 1 OFFSET ?"
        first = await self._database.read(lambda db: db.execute(beyond, (max(self._keep_events - 1, 0),)).fetchone())
        edge = max(stamp, first[0] if first else 0.0)

        def work(db: sqlite3.Connection) -> int:
            old = db.execute(
                f"SELECT id FROM events WHERE {_UNTIL} < ? AND {_ENDED_SQL} ORDER BY {_UNTIL} LIMIT 500", (edge,)
            ).fetchall()
            for table, column in (("intents", "record"), ("events", "id")):
                db.executemany(f"DELETE FROM {table} WHERE {column} = ?", old)
            return len(old)

        def memory(db: sqlite3.Connection) -> None:
            known = "DELETE FROM seen WHERE at < ? AND id NOT IN (SELECT id FROM events)"
            db.execute(known, (stamp - KEEP.total_seconds(),))
            db.execute("DELETE FROM counted WHERE at < ?", (stamp - _REMEMBERED,))
            db.execute("DELETE FROM pieces WHERE at < ?", (stamp - _TOGETHER,))

        while slice_ := await self._database.write(work):
            gone += slice_
        await self._database.write(memory)
        return gone

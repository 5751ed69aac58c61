"""The queues of the embedded host: durable in SQLite, handed out from memory, a bounded window of them at a time."""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from local.sqlite import Database
from shared.world import Clock

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS messages (
  id INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, body TEXT NOT NULL, visible REAL NOT NULL,
  dequeued INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS messages_visible ON messages (visible, id);
"""

_WINDOW: Final = 4000


class Handed(NamedTuple):
    """A message given to a function. `dequeued`: how often before."""

    id: int
    queue: str
    body: str
    dequeued: int


def insert(db: sqlite3.Connection, queue: str, bodies: Iterable[str], visible: float) -> list[Handed]:
    """Within somebody's transaction; the caller hands what is returned to `Queues.announce` after the commit."""
    rows = []
    for body in bodies:
        row = db.execute("INSERT INTO messages (queue, body, visible) VALUES (?, ?, ?)", (queue, body, visible))
        rows.append(Handed(row.lastrowid or 0, queue, body, 0))
    return rows


class Queues:
    """Messages become visible, are handed out once, and are gone when the function that got them has returned.

    `pace`: seconds of the clock in one second of waiting.
    """

    def __init__(self, database: Database, clock: Clock, pace: float = 1) -> None:
        self._database = database
        self._clock = clock
        self._pace = pace
        self._ready: deque[Handed] = deque()
        self._known: set[int] = set()
        self._behind = True  # there may be visible messages in the file that are not in memory
        self._looking = False
        self._due: float | None = None
        self._wake = asyncio.Event()

    def _now(self) -> float:
        return self._clock().timestamp()

    async def put(self, queue: str, bodies: Sequence[str], delay: float = 0) -> None:
        visible = self._now() + delay
        rows = await self._database.write(lambda db: insert(db, queue, bodies, visible))
        self.announce(rows, visible)

    def announce(self, rows: Sequence[Handed], visible: float = 0) -> None:
        """These messages are committed now."""
        if visible > self._now():
            self._due = min(self._due or visible, visible)
        elif self._behind or len(self._known) + len(rows) > _WINDOW:
            self._behind = True
        else:
            self._known.update(row.id for row in rows)
            self._ready.extend(rows)
        self._wake.set()

    async def take(self) -> Handed:
        """The next visible message; waits for one."""
        while not self._ready:
            self._wake.clear()
            now = self._now()
            if self._behind or (self._due is not None and self._due <= now):
                await self._refill(now)
                continue
            left = None if self._due is None else (self._due - now) / self._pace
            try:
                await asyncio.wait_for(self._wake.wait(), left)
            except TimeoutError:
                continue
        return self._ready.popleft()

    async def _refill(self, now: float) -> None:
        known = set(self._known)  # what is finished while we look is still in the picture, and must not come again

        def pick(db: sqlite3.Connection) -> tuple[list[Handed], float | None]:
            rows = db.execute(
                "SELECT id, queue, body, dequeued FROM messages WHERE visible <= ? ORDER BY visible, id LIMIT ?",
                (now, _WINDOW + len(known)),
            ).fetchall()
            due = db.execute("SELECT min(visible) FROM messages WHERE visible > ?", (now,)).fetchone()[0]
            return [Handed(*row) for row in rows], due

        self._behind, self._due, self._looking = False, None, True
        try:
            rows, due = await self._database.run(pick)  # by the writer, so that it sees every commit announced so far
        except BaseException:
            self._behind = True  # whoever takes next looks again
            raise
        finally:
            self._looking = False
        fresh = [row for row in rows if row.id not in known and row.id not in self._known][: _WINDOW // 2]
        self._behind = self._behind or len(rows) >= _WINDOW or len(fresh) == _WINDOW // 2
        self._due = min((moment for moment in (self._due, due) if moment is not None), default=None)
        self._known.update(row.id for row in fresh)
        self._ready.extend(fresh)

    def done(self, message: Handed) -> None:
        """The function returned. If the process dies before this is on disk the message comes again: at least once."""
        self._known.discard(message.id)
        self._database.write_soon(lambda db: _delete(db, message.id))

    async def again(self, message: Handed, delay: float) -> None:
        """The function raised: the message comes again after `delay` seconds."""
        visible = self._now() + delay
        await self._database.write(
            lambda db: (
                db.execute(
                    "UPDATE messages SET dequeued = dequeued + 1, visible = ? WHERE id = ?", (visible, message.id)
                ).rowcount
            )
        )
        self._known.discard(message.id)
        self._due = min(self._due or visible, visible)
        self._wake.set()

    async def move(self, message: Handed, queue: str) -> None:
        """To another queue, in one transaction."""
        now = self._now()

        def work(db: sqlite3.Connection) -> list[Handed]:
            _delete(db, message.id)
            return insert(db, queue, [message.body], now)

        rows = await self._database.write(work)
        self._known.discard(message.id)
        self.announce(rows)

    def ready(self) -> bool:
        """Whether a message could be handed out now, as far as is known without asking the file."""
        return (
            bool(self._ready) or self._behind or self._looking or (self._due is not None and self._due <= self._now())
        )

    async def waiting(self) -> int:
        """How many messages are left, visible or not."""
        return int(await self._database.read(lambda db: db.execute("SELECT count(*) FROM messages").fetchone()[0]))


def _delete(db: sqlite3.Connection, message: int) -> None:
    db.execute("DELETE FROM messages WHERE id = ?", (message,))


class LocalQueue:
    """One of the queues as the world sees it."""

    def __init__(self, queues: Queues, name: str) -> None:
        self._queues = queues
        self._name = name

    async def put(self, texts: Sequence[str], *, delay: float = 0) -> None:
        await self._queues.put(self._name, texts, delay)

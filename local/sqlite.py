"""One SQLite file for one event loop: units run in the loop, and many of them share one sync of the disk in a thread."""

import asyncio
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_to_disk: Final[Callable[[int], None]] = getattr(os, "fdatasync", os.fsync)
"""macOS and Windows have no fdatasync."""

type Work[T] = Callable[[sqlite3.Connection], T]
"""Statements of one unit. It may run twice (the first time rolled back), so it has no effect outside the database."""

log: Final = logging.getLogger("switchyard.state")

_CHECKPOINT: Final = 5_000
"""Units after which what stands in the write-ahead log is moved into the file."""


@dataclass(frozen=True)
class _Unit:
    """`early`: who wrote it goes on once it has run, without waiting for the sync."""

    work: Work[Any]
    done: asyncio.Future[Any] | None = None
    early: bool = False


class Database:
    """Units run in the order in which they were written, and become durable in that order: what is durable implies
    everything written before it.

    A commit only writes to the log (`synchronous=NORMAL`), which takes microseconds and so happens in the loop; what
    makes it durable is one `fdatasync` of the log in a thread, shared by everybody who waits. SQLite takes a log up to
    its last whole transaction after a power cut, and syncs by itself whenever it moves the log into the file. If a sync
    fails, nothing is written any more until the next start.
    """

    def __init__(self, path: Path, schema: str, added: Sequence[tuple[str, str, str]] = ()) -> None:
        """`added`: columns that the file of an earlier version lacks, each with its table and its type."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._db = self._open()
        for table, column, kind in added:
            there = {row[1] for row in self._db.execute(f"PRAGMA table_info({table})")}
            if there and column not in there:
                self._db.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
        self._db.executescript(schema)
        self._db.execute("PRAGMA wal_autocheckpoint=0")  # that would sync in the loop
        self._log = os.open(f"{path}-wal", os.O_RDWR)  # Windows syncs nothing that was opened for reading only
        self._reader = self._open()
        self._reading = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "sqlite-sync")
        self._waiting: list[_Unit] = []
        self._unsynced: list[tuple[asyncio.Future[Any], Any]] = []
        self._flushing = False
        self._syncing: asyncio.Task[None] | None = None
        self._checkpointing = False
        self._since_checkpoint = 0
        self._broken: Exception | None = None
        self._closed = False

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, cached_statements=256)
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=10000", "cache_size=-16000"):
            db.execute(f"PRAGMA {pragma}")
        return db

    async def write[T](self, work: Work[T]) -> T:
        """What it returns is durable: committed and synced."""
        return await self._put(work, early=False)

    async def run[T](self, work: Work[T]) -> T:
        """What it returns has been done, and is durable before anything that is written later."""
        return await self._put(work, early=True)

    def write_soon(self, work: Work[None]) -> None:
        """As `run`, and nobody waits."""
        self._add(_Unit(work))

    async def read[T](self, work: Work[T]) -> T:
        """Beside the writer, so that a long look holds nobody up; it sees everything written before it was asked."""
        await self.run(lambda _: None)
        return await asyncio.to_thread(self._read, work)

    def _read[T](self, work: Work[T]) -> T:
        with self._reading:
            return work(self._reader)

    async def _put[T](self, work: Work[T], *, early: bool) -> T:
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._add(_Unit(work, done, early))
        return await done

    def _add(self, unit: _Unit) -> None:
        if self._closed:
            raise RuntimeError("the state file is closed")
        if self._broken is not None:
            raise RuntimeError(f"the state file can't be written ({self._broken}): mend that and start again")
        self._waiting.append(unit)
        if not self._flushing and not self._checkpointing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Runs what is waiting, as one transaction."""
        self._flushing = False
        if self._checkpointing or self._closed:
            return
        units, self._waiting = self._waiting, []
        if units:
            self._commit(units)

    def _commit(self, units: Sequence[_Unit]) -> None:
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            results = [unit.work(db) for unit in units]
            db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 (each unit hears of its own failure)
            if db.in_transaction:
                db.execute("ROLLBACK")
            if len(units) == 1:
                self._failed(units[0], error)
                return
            for unit in units:  # one of them is to blame: each for itself, so that it spoils only its own
                self._commit([unit])
            return
        self._since_checkpoint += len(units)
        for unit, result in zip(units, results, strict=True):
            if unit.done is None or unit.done.done():
                continue
            if unit.early:
                unit.done.set_result(result)
            else:
                self._unsynced.append((unit.done, result))
        if (self._unsynced or self._since_checkpoint >= _CHECKPOINT) and self._syncing is None:
            self._syncing = asyncio.ensure_future(self._sync())

    def _failed(self, unit: _Unit, error: Exception) -> None:
        if unit.done is None:  # later units may rely on it
            self._broken = error
            log.critical("a write that nobody waits for failed: nothing is taken in any more", exc_info=error)
        elif not unit.done.done():
            unit.done.set_exception(error)

    async def _sync(self) -> None:
        """Makes durable what was committed, until nobody waits for it any more."""
        loop = asyncio.get_running_loop()
        while not self._closed and (self._unsynced or self._since_checkpoint >= _CHECKPOINT):
            answers, self._unsynced = self._unsynced, []
            try:
                await loop.run_in_executor(self._thread, _to_disk, self._log)
                if self._since_checkpoint >= _CHECKPOINT and not self._closed:
                    await self._checkpoint(loop)
            except (OSError, sqlite3.Error) as error:
                self._broken = error
                log.critical("the state file can't be synced: nothing is taken in any more", exc_info=error)
            self._answer(answers)
        self._syncing = None

    def _answer(self, answers: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
        for done, result in answers:
            if done.done():
                continue
            if self._broken is None:
                done.set_result(result)
            else:
                done.set_exception(self._broken)

    async def _checkpoint(self, loop: asyncio.AbstractEventLoop) -> None:
        """While nobody writes, so that the log can begin anew and stays small."""
        self._checkpointing = True
        try:
            checkpoint = "PRAGMA wal_checkpoint(RESTART)"
            await loop.run_in_executor(self._thread, lambda: self._db.execute(checkpoint).fetchall())
            self._since_checkpoint = 0
        finally:
            self._checkpointing = False
            self._flush()

    def close(self) -> None:
        """What was written is durable; further writes are not taken."""
        self._thread.shutdown()  # first: a checkpoint holds up what is waiting
        self._checkpointing = False
        self._flush()
        self._closed = True
        try:
            _to_disk(self._log)
        except OSError as error:
            self._broken = error
            log.critical("the state file can't be synced: what came last may come again", exc_info=error)
        answers, self._unsynced = self._unsynced, []
        self._answer(answers)
        os.close(self._log)
        self._reader.close()
        self._db.close()

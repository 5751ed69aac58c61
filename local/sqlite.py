"""One SQLite file, one writer thread, many writers: units that are waiting together share one transaction and one sync."""

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

type Work[T] = Callable[[sqlite3.Connection], T]
"""Statements of one unit. It may run twice (the first time rolled back), so it has no effect outside the database."""

log: Final = logging.getLogger("switchyard.state")

_MOST: Final = 512


@dataclass(frozen=True)
class _Unit:
    """`early`: who wrote it goes on once it has run, without waiting for the sync."""

    work: Work[Any]
    done: asyncio.Future[Any] | None = None
    early: bool = False


type _Answers = list[tuple[asyncio.Future[Any], Any, BaseException | None]]


class Database:
    """Units run in the order in which they were written, and become durable in that order: what is durable implies
    everything written before it. If a commit fails, nothing is written any more until the next start.
    """

    def __init__(self, path: Path, schema: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._units: SimpleQueue[_Unit | None] = SimpleQueue()
        self._writer = self._open()
        self._writer.executescript(schema)
        self._reader = self._open()
        self._reading = threading.Lock()
        self._broken: Exception | None = None
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
        self._thread.start()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, cached_statements=256)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "cache_size=-16000"):
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
        self._units.put(_Unit(work))

    async def _put[T](self, work: Work[T], *, early: bool) -> T:
        if self._closed:
            raise RuntimeError("the state file is closed")
        if self._broken is not None:
            raise RuntimeError(f"the state file can't be written ({self._broken}): mend that and start again")
        loop = asyncio.get_running_loop()
        self._loop = loop
        done: asyncio.Future[T] = loop.create_future()
        self._units.put(_Unit(work, done, early))
        return await done

    async def read[T](self, work: Work[T]) -> T:
        """Beside the writer, so that a long look holds nobody up; it sees everything written before it was asked."""
        await self.write(lambda _: None)
        return await asyncio.to_thread(self._read, work)

    def _read[T](self, work: Work[T]) -> T:
        with self._reading:
            return work(self._reader)

    def close(self) -> None:
        """Waits for what was written; further writes are not taken."""
        self._closed = True
        self._units.put(None)
        self._thread.join()
        self._reader.close()
        self._writer.close()

    def _run(self) -> None:
        while True:
            batch = [self._units.get()]
            while len(batch) < _MOST and not self._units.empty():
                batch.append(self._units.get())
            units = [unit for unit in batch if unit is not None]
            if units:
                self._commit(units)
            if len(units) < len(batch):
                return

    def _commit(self, units: Sequence[_Unit]) -> None:
        db = self._writer
        if self._broken is not None:
            self._answer([(unit.done, None, self._broken) for unit in units if unit.done])
            return
        try:
            db.execute("BEGIN IMMEDIATE")
            results = [unit.work(db) for unit in units]
        except Exception as error:  # noqa: BLE001 (each unit hears of its own failure)
            if db.in_transaction:
                db.execute("ROLLBACK")
            if len(units) > 1:  # one of them is to blame: each for itself, so that it spoils only its own
                for unit in units:
                    self._commit([unit])
            else:
                self._failed(units[0], error)
            return
        answers = [(unit, result) for unit, result in zip(units, results, strict=True) if unit.done is not None]
        self._answer([(unit.done, result, None) for unit, result in answers if unit.early and unit.done])
        try:
            db.execute("COMMIT")
        except sqlite3.Error as error:
            self._broken = error
            log.critical("the state file can't be written: nothing is taken in any more", exc_info=error)
            self._answer([(unit.done, None, error) for unit, _ in answers if unit.done])
            return
        self._answer([(unit.done, result, None) for unit, result in answers if not unit.early and unit.done])

    def _failed(self, unit: _Unit, error: Exception) -> None:
        if unit.done is not None:
            self._answer([(unit.done, None, error)])
        elif self._broken is None:  # later units may rely on it
            self._broken = error
            log.critical("a write that nobody waits for failed: nothing is taken in any more", exc_info=error)

    def _answer(self, answers: _Answers) -> None:
        if answers and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is waiting any more
                self._loop.call_soon_threadsafe(_resolve, answers)


def _resolve(answers: _Answers) -> None:
    for done, result, error in answers:
        if done.done():
            continue
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

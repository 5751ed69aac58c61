"""One SQLite file, one writer thread, many writers: works that are waiting together share one transaction and one sync."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

type Work[T] = Callable[[sqlite3.Connection], T]
"""Statements of one unit. It may run twice (the first time rolled back), so it has no effect outside the database."""

_MOST = 512


class Database:
    """What `write` returns is durable: committed and synced, together with whatever else was waiting."""

    def __init__(self, path: Path, schema: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._works: SimpleQueue[tuple[Work[Any], asyncio.Future[Any] | None] | None] = SimpleQueue()
        self._writer = self._open()
        self._writer.executescript(schema)
        self._reader = self._open()
        self._reading = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
        self._thread.start()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, cached_statements=256)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "cache_size=-16000"):
            db.execute(f"PRAGMA {pragma}")
        return db

    async def write[T](self, work: Work[T]) -> T:
        loop = asyncio.get_running_loop()
        self._loop = loop
        done: asyncio.Future[T] = loop.create_future()
        self._works.put((work, done))
        return await done

    def write_soon(self, work: Work[None]) -> None:
        """For what may be lost with the process: it rides along with the next commit, and nobody waits for it."""
        self._works.put((work, None))

    async def read[T](self, work: Work[T]) -> T:
        return await asyncio.to_thread(self._read, work)

    def _read[T](self, work: Work[T]) -> T:
        with self._reading:
            return work(self._reader)

    def close(self) -> None:
        """Waits for what was written; further writes are not taken."""
        self._works.put(None)
        self._thread.join()
        self._reader.close()
        self._writer.close()

    def _run(self) -> None:
        while True:
            batch = [self._works.get()]
            while len(batch) < _MOST and not self._works.empty():
                batch.append(self._works.get())
            works = [item for item in batch if item is not None]
            self._commit(works)
            if len(works) < len(batch):
                return

    def _commit(self, works: list[tuple[Work[Any], asyncio.Future[Any] | None]]) -> None:
        if not works:
            return
        answers: list[tuple[asyncio.Future[Any] | None, Any, BaseException | None]]
        try:
            answers = [(done, result, None) for (_, done), result in zip(works, self._together(works), strict=True)]
        except Exception as error:  # noqa: BLE001 (each work hears of its own failure)
            if len(works) > 1:  # one of them is to blame: each for itself, so that it spoils only its own
                for work in works:
                    self._commit([work])
                return
            answers = [(works[0][1], None, error)]
        if self._loop is not None and any(done for done, _, _ in answers):
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is waiting any more
                self._loop.call_soon_threadsafe(_answer, answers)

    def _together(self, works: list[tuple[Work[Any], asyncio.Future[Any] | None]]) -> list[Any]:
        db = self._writer
        db.execute("BEGIN IMMEDIATE")
        try:
            results = [work(db) for work, _ in works]
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
        return results


def _answer(answers: list[tuple[asyncio.Future[Any] | None, Any, BaseException | None]]) -> None:
    for done, result, error in answers:
        if done is None or done.done():
            continue
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

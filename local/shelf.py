"""The embedded shelf: small texts by folder and name, in the file that the queue and the record are in."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from local.sqlite import Database

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS shelf (folder TEXT, name TEXT, text TEXT NOT NULL, PRIMARY KEY (folder, name));
"""


def _get(db: sqlite3.Connection, folder: str, name: str) -> str | None:
    row = db.execute("SELECT text FROM shelf WHERE folder = ? AND name = ?", (folder, name)).fetchone()
    return None if row is None else str(row[0])


def _put(db: sqlite3.Connection, folder: str, name: str, text: str) -> None:
    db.execute("INSERT OR REPLACE INTO shelf (folder, name, text) VALUES (?, ?, ?)", (folder, name, text))


class SqliteShelf:
    """`world.Shelf`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, folder: str, name: str, text: str) -> str:
        def work(db: sqlite3.Connection) -> str:
            there = _get(db, folder, name)
            if there is None:
                _put(db, folder, name, text)
            return text if there is None else there

        # Synced even where it finds the text of somebody who still waits for the sync: what it returns is kept.
        return await self._database.write(work)

    async def put(self, folder: str, name: str, text: str) -> None:
        await self._database.write(lambda db: _put(db, folder, name, text))

    async def swap(self, folder: str, name: str, old: str | None, new: str | None) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            if _get(db, folder, name) != old:
                return False
            if new is None:
                db.execute("DELETE FROM shelf WHERE folder = ? AND name = ?", (folder, name))
            else:
                _put(db, folder, name, new)
            return True

        return await self._database.write(work)

    async def get(self, folder: str, name: str) -> str | None:
        return await self._database.run(lambda db: _get(db, folder, name))

    async def all(self, folder: str, *, after: str = "", limit: int = 10_000) -> Sequence[tuple[str, str]]:
        rows = "SELECT name, text FROM shelf WHERE folder = ? AND name > ? ORDER BY name LIMIT ?"
        return await self._database.read(lambda db: db.execute(rows, (folder, after, limit)).fetchall())

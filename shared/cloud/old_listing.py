"""The lists as version 0.1 kept them, by the day and without what they show: read until the last of their rows has gone over.

Rows of partition `t-<day>` name a record. While there are some, a page has them too, at a request for each and one more; pruning moves
them over, the newest first.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

from shared.cloud.listing import Spot, hashed, inverted
from shared.cloud.storage import Row, Table, quoted
from shared.record import EventRecord
from shared.world import Search

_ROWS: Final = ("PartitionKey ge 't-'", "PartitionKey lt 't.'")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _day(moment: datetime) -> str:
    return f"t-{99999999 - int(f'{moment.astimezone(UTC):%Y%m%d}')}"


class OldListing:
    def __init__(self, table: Table) -> None:
        self._table = table
        self._none: bool | None = None
        self._looking = asyncio.Lock()

    async def _over(self) -> bool:
        """Whether none is left."""
        async with self._looking:
            if self._none is None:
                await self.first(1)
            return bool(self._none)

    async def page(self, search: Search) -> list[Row]:
        if await self._over():
            return []
        where = [*_ROWS, "status ne 'gone'"]
        if search.type is not None:
            where.append(f"type eq {quoted(search.type)}")
        if search.status is not None:
            where.append(f"status eq {quoted(search.status)}")
        if search.since is not None:
            where += [f"PartitionKey le '{_day(search.since)}'", f"RowKey lt '{inverted(search.since)}.'"]
        if search.before is not None:
            moment, id_ = search.before
            last = f"{inverted(moment)}-{id_}"
            where += [f"PartitionKey ge '{_day(moment)}'", f"RowKey gt {quoted(last)}"]
        rows = await self._table.first(" and ".join(where), search.limit)
        if not rows and len(where) == len(_ROWS) + 1:
            self._none = True
        return rows

    async def first(self, most: int) -> list[Row]:
        """The newest. An instance of version 0.1 may still be at it while the new one begins."""
        rows = await self._table.first(" and ".join(_ROWS), most)
        self._none = not rows
        return rows

    async def row(self, record: EventRecord) -> Row | None:
        if await self._over():
            return None
        return await self._table.get(_day(record.received), f"{inverted(record.received)}-{record.id}")

    async def drop(self, row: Row) -> None:
        await self._table.drop(row)

    def received(self, row: Row) -> datetime:
        micros = 10**17 - int(row["RowKey"].partition("-")[0])
        return _EPOCH + timedelta(microseconds=micros)

    def spot(self, row: Row) -> Spot:
        return Spot(row["record"], row["RowKey"], hashed(row["type"]) if row["type"] else "", row["id"])

"""The shelf on Azure: a storage table, a folder to a partition, a name to a row."""

from collections.abc import Sequence
from typing import Final

from shared.cloud.account import Account
from shared.cloud.storage import NOTHING, Row, Tables, packed, quoted, unpacked

_TABLE: Final = "switchyardshelf"


def _row(folder: str, name: str, text: str) -> Row:
    return {"PartitionKey": folder, "RowKey": name} | packed(text)


class AzureShelf:
    """`world.Shelf`, made at its first use."""

    def __init__(self, account: Account) -> None:
        self._tables = Tables(account)
        self._table = self._tables.table(_TABLE)

    async def close(self) -> None:
        await self._tables.close()

    async def keep(self, folder: str, name: str, text: str) -> str:
        def kept(row: Row | None) -> tuple[Row | None, str]:
            return (_row(folder, name, text), text) if row is None else (None, unpacked(row))

        return await self._table.swap(folder, name, kept)

    async def put(self, folder: str, name: str, text: str) -> None:
        await self._table.put(_row(folder, name, text))

    async def swap(self, folder: str, name: str, old: str | None, new: str | None) -> bool:
        def swapped(row: Row | None) -> tuple[Row | None, bool]:
            if (None if row is None else unpacked(row)) != old:
                return None, False
            if new is None:
                return None if row is None else NOTHING, True
            return _row(folder, name, new), True

        return await self._table.swap(folder, name, swapped)

    async def get(self, folder: str, name: str) -> str | None:
        row = await self._table.get(folder, name)
        return None if row is None else unpacked(row)

    async def all(self, folder: str, *, after: str = "", limit: int = 10_000) -> Sequence[tuple[str, str]]:
        where = f"PartitionKey eq {quoted(folder)} and RowKey gt {quoted(after)}"
        return [(row["RowKey"], unpacked(row)) for row in await self._table.first(where, limit)]

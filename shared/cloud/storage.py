"""Azure Storage as this service uses it: conditional writes, texts longer than a property, errors that are ours."""

import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from shared.cloud.account import Account
from shared.cloud.failures import Doing, translating
from shared.errors import PermanentError, TemporaryError

if TYPE_CHECKING:
    from azure.data.tables.aio import TableClient, TableServiceClient

type Row = dict[str, Any]
"""An entity. It names its PartitionKey and RowKey."""

type Operation = tuple[str, Row] | tuple[str, Row, dict[str, Any]]
"""One part of a transaction, in the words of the SDK."""

NOTHING: Final[Row] = {}
"""No row."""

TOGETHER: Final = 99
"""Rows that can change together with one more, in one transaction."""

BY: Final = "by"
"""The property that names the write by which a row came to be as it is."""

_PROPERTY: Final = 64 * 1024
_ROW: Final = 15 * _PROPERTY
"""Bytes for a text: a row holds 1 MiB, names included."""

_TURNS: Final = 64
_PAGE: Final = 1000
_DOING: Final = Doing("using the storage tables", "Storage Table Data Contributor")
_BEATEN: Final = {
    "EntityAlreadyExists",
    "EntityNotFound",
    "ResourceNotFound",
    "UpdateConditionNotSatisfied",
    "ConditionNotMet",
}


def _named() -> str:
    """A name for one write, unlike any other."""
    return uuid4().hex


async def once(create: Callable[[], Awaitable[object]]) -> None:
    """Creates a table or a queue unless it is there."""
    from azure.core.exceptions import ResourceExistsError

    try:
        await create()
    except ResourceExistsError as error:
        if not code(error).endswith("AlreadyExists"):  # it is being deleted, for one
            raise


def code(error: Exception) -> str:
    """The service's own word for what is wrong."""
    code = getattr(error, "error_code", "")
    return str(getattr(code, "value", code))


def packed(text: str) -> Row:
    """The properties that hold a text. PermanentError for one that no row can hold."""
    body = zlib.compress(text.encode(), 6)
    if len(body) > _ROW:
        raise PermanentError(f"too large to keep: {len(body)} bytes when compressed, and a table row takes {_ROW}")
    return {f"body{start // _PROPERTY}": body[start : start + _PROPERTY] for start in range(0, len(body), _PROPERTY)}


def unpacked(row: Row) -> str:
    parts: list[bytes] = []
    while f"body{len(parts)}" in row:
        parts.append(row[f"body{len(parts)}"])
    return zlib.decompress(b"".join(parts)).decode()


def quoted(text: str) -> str:
    """A text within a filter."""
    return "'" + text.replace("'", "''") + "'"


def unless_changed(row: Row) -> dict[str, Any]:
    """The condition that a row is still as it was read."""
    from azure.core import MatchConditions

    return {"etag": row.metadata["etag"], "match_condition": MatchConditions.IfNotModified}  # type: ignore[attr-defined]  # the SDK reads rows as TableEntity


class Tables:
    """The tables of one account, connected to by the first use."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._lazy: TableServiceClient | None = None

    def client(self, name: str) -> "TableClient":
        self._lazy = self._lazy or self._account.tables()
        return self._lazy.get_table_client(name)

    def table(self, name: str) -> "Table":
        return Table(self, name)

    async def close(self) -> None:
        if self._lazy is not None:
            await self._lazy.close()


class Table:
    """A table, made at its first use."""

    def __init__(self, tables: Tables, name: str) -> None:
        self._tables = tables
        self._name = name
        self._lazy: TableClient | None = None
        self._there = False

    async def _client(self) -> "TableClient":
        self._lazy = self._lazy or self._tables.client(self._name)
        if not self._there:
            await once(self._lazy.create_table)
            self._there = True
        return self._lazy

    async def get(self, partition: str, row: str) -> Row | None:
        from azure.core.exceptions import ResourceNotFoundError

        with translating(_DOING):
            client = await self._client()
            try:
                return await client.get_entity(partition, row)
            except ResourceNotFoundError:
                return None

    async def add(self, row: Row) -> bool:
        """False if it was there."""
        from azure.core.exceptions import ResourceExistsError

        with translating(_DOING):
            client = await self._client()
            try:
                await client.create_entity(row)
            except ResourceExistsError:
                return False
        return True

    async def put(self, row: Row) -> None:
        """Whatever was there."""
        with translating(_DOING):
            await (await self._client()).upsert_entity(row, mode="replace")

    async def mark(self, row: Row) -> None:
        """Sets some properties of a row; one that has gone stays gone."""
        from azure.core.exceptions import ResourceNotFoundError

        with translating(_DOING):
            client = await self._client()
            try:
                await client.update_entity(row, mode="merge")
            except ResourceNotFoundError:
                return

    async def drop(self, row: Row) -> None:
        with translating(_DOING):
            await (await self._client()).delete_entity(row["PartitionKey"], row["RowKey"])

    async def swap[Answer](
        self, partition: str, row: str, step: Callable[[Row | None], tuple[Row | None, Answer]]
    ) -> Answer:
        """Changes one row by what is there: `step` says what to put there (None: leave it; NOTHING: drop it) and the answer.

        It is asked again when another writer was faster, so it has no effect of its own. That other may be ourselves: a connection that
        breaks makes aiohttp send a write once more, whose first answer is lost. So each write bears a name.
        """
        by = _named()
        answer: Answer | None = None
        for _ in range(_TURNS):
            old = await self.get(partition, row)
            if old is not None and old.get(BY) == by:
                return answer  # type: ignore[return-value]  # it was made before the write
            new, answer = step(old)
            if new is None or await (self.add(new | {BY: by}) if old is None else self.replace(old, new, by)):
                return answer
        raise TemporaryError(f"other writers were faster {_TURNS} times in a row at {partition}/{row}")

    async def replace(self, old: Row, new: Row, by: str) -> bool:
        """False if it changed since it was read: where it bears the name `by` now, it was changed by this very write. NOTHING: drops it."""
        from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError

        if not new:  # as a transaction: alone, the SDK takes a row that has gone meanwhile for dropped
            return await self.write([("delete", old, unless_changed(old))])
        with translating(_DOING):
            client = await self._client()
            try:
                await client.update_entity(new | {BY: by}, mode="replace", **unless_changed(old))
            except (ResourceModifiedError, ResourceNotFoundError):
                return False
        return True

    async def write(self, operations: Sequence[Operation]) -> bool:
        """All of them or, where a condition does not hold, none and False."""
        from azure.data.tables import TableTransactionError

        with translating(_DOING):
            client = await self._client()
            try:
                await client.submit_transaction(operations)
            except TableTransactionError as error:
                if code(error) not in _BEATEN:
                    raise
                return False
        return True

    async def rows(self, where: str, *, select: Sequence[str] = (), page: int = _PAGE) -> AsyncGenerator[Row]:
        """In the order of their keys; `page` of them in one request."""
        with translating(_DOING):
            client = await self._client()
            async for row in client.query_entities(where, select=list(select) or None, results_per_page=page):
                yield row

    async def first(self, where: str, most: int, select: Sequence[str] = ()) -> list[Row]:
        found: list[Row] = []
        async with aclosing(self.rows(where, select=select, page=min(most, _PAGE))) as rows:
            async for row in rows:
                found.append(row)
                if len(found) == most:
                    break
        return found

    async def all(self, where: str, select: Iterable[str] = ()) -> list[Row]:
        return [row async for row in self.rows(where, select=tuple(select))]

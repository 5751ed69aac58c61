"""The tables of a storage account as JSON, and back."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from azure.data.tables import EdmType, EntityProperty
from azure.data.tables.aio import TableServiceClient

type Tables = dict[str, list[dict[str, Any]]]


def _plain(value: object) -> object:
    match value:
        case bytes():
            return {"bytes": b64encode(value).decode()}
        case datetime():
            return {"time": value.isoformat()}
        case (number, EdmType.INT64):
            return {"long": str(number)}
        case _:
            return value


def _value(plain: object) -> object:
    match plain:
        case {"bytes": text}:
            return b64decode(text)
        case {"time": text}:
            return datetime.fromisoformat(text)
        case {"long": text}:
            return EntityProperty(int(text), EdmType.INT64)
        case _:
            return plain


async def dump(account: str) -> Tables:
    """By table, every row, in the order of its keys."""
    found: Tables = {}
    async with TableServiceClient.from_connection_string(account) as service:
        names = sorted([table.name async for table in service.list_tables()])
        for name in names:
            rows = [row async for row in service.get_table_client(name).list_entities()]
            found[name] = [{key: _plain(value) for key, value in row.items()} for row in rows]
    return found


async def restore(account: str, tables: Mapping[str, list[dict[str, Any]]]) -> None:
    async with TableServiceClient.from_connection_string(account) as service:
        for name, rows in tables.items():
            table = await service.create_table_if_not_exists(name)
            for row in rows:
                await table.upsert_entity({key: _value(value) for key, value in row.items()})

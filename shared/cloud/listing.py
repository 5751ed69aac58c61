"""Lists of events in a storage table, so that a page is one query of one partition, however many events there are.

Partition `t` lists all events, `y-<type>` those of a type. In each, a row `a-…` stands for an event, newest first, and a copy of it under
its status, `s-<status>-…`: two rows that change in one transaction, so that the first always says which copy there is. Each holds all that a
list shows. `x-…` in `t` says when to look whether the event may be forgotten. `i-<id>` finds an event by its own id.

A partition takes 2,000 rows a second: three of `t` as an event comes, two as an action of it ends, three as it is forgotten.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, Self

from msgspec.structs import replace

from shared import wire
from shared.cloud.storage import Operation, Row, Table, packed, quoted, unless_changed, unpacked
from shared.errors import TemporaryError
from shared.record import EventRecord, IntentStatus, Listed
from shared.world import Search

ALL: Final = "t"
SHOWN: Final = 200
"""Actions of an event whose status its row holds: a row has 252 properties. Any other is listed as it began."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TURNS: Final = 64
_DEED: Final = re.compile(r"d\d+")
_TWICE: Final = "!"
"""Behind the status of an action that may have been done twice."""


def hashed(text: str) -> str:
    """Any text as part of a key; tables refuse some characters."""
    return sha256(text.encode()).hexdigest()[:32]


def inverted(moment: datetime) -> str:
    """Newest first, as keys are sorted."""
    return f"{10**17 - _micros(moment):018d}"


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True)
class Spot:
    """Where an event stands in the lists: its key there, and hashes of its type and its own id, "" for what it has not."""

    record: str
    key: str
    type: str = ""
    own: str = ""

    @classmethod
    def of(cls, record: EventRecord) -> Self:
        event = record.event
        key = f"{inverted(record.received)}-{record.id}"
        return cls(record.id, key, hashed(event.type) if event else "", hashed(event.id) if event else "")

    @property
    def partitions(self) -> list[str]:
        return [ALL, f"y-{self.type}"] if self.type else [ALL]

    def row(self) -> Row:
        """Its properties, in a row of something else."""
        return {"record": self.record, "key": self.key, "type": self.type, "own": self.own}


def spot_in(row: Row) -> Spot:
    return Spot(row["record"], row["key"], row["type"], row["own"])


def shown(status: IntentStatus, *, twice: bool) -> str:
    return f"{status}{_TWICE if twice else ''}"


def _body(listed: Listed) -> Row:
    return {
        "record": listed.id,
        "status": listed.status,
        "deliveries": listed.deliveries,
        "replays": listed.replays,
    } | packed(wire.dump(listed))


def listed_in(row: Row) -> Listed:
    """As it is now: what changes often stands in properties of its own."""
    listed = wire.load(Listed, unpacked(row))
    deeds = []
    for n, deed in enumerate(listed.deeds):
        said = row.get(f"d{n}")
        if said is not None:
            deed = replace(deed, status=said.removesuffix(_TWICE), maybe_twice=said.endswith(_TWICE))  # noqa: PLW2901 (as it is now)
        deeds.append(deed)
    changed = {name: row[name] for name in ("status", "deliveries", "replays")}
    return replace(listed, deeds=tuple(deeds), **changed)


def prefix(search: Search) -> str:
    """Of the rows of a search."""
    return "a-" if search.status is None else f"s-{search.status}-"


def _keys(partition: str, row: str) -> Row:
    return {"PartitionKey": partition, "RowKey": row}


def _due(spot: Spot, at: datetime) -> Row:
    return _keys(ALL, f"x-{_micros(at):018d}-{spot.record}") | spot.row()


def _all_of(spot: Spot) -> str:
    return f"a-{spot.key}"


def _of_status(status: str, spot: Spot) -> str:
    return f"s-{status}-{spot.key}"


class Listing:
    def __init__(self, table: Table) -> None:
        self._table = table

    async def add(self, listed: Listed, spot: Spot) -> None:
        """Unless it is there already."""
        await asyncio.gather(
            *(self._add(partition, listed, spot) for partition in spot.partitions), self._add_own(spot)
        )

    async def _add(self, partition: str, listed: Listed, spot: Spot) -> None:
        body = _body(listed)
        names = (_all_of(spot), _of_status(listed.status, spot))
        operations: list[Operation] = [("create", _keys(partition, name) | body) for name in names]
        if partition == ALL:
            operations.append(("upsert", _due(spot, listed.until), {"mode": "replace"}))
        await self._table.write(operations)

    async def _add_own(self, spot: Spot) -> None:
        if spot.own:
            await self._table.put(_keys(f"i-{spot.own}", spot.key) | {"record": spot.record})

    async def mark(self, spot: Spot, status: str, properties: Mapping[str, object]) -> str | None:
        """Changes some properties of its rows. `status`: as far as is known; returns what it is, and None where it is not listed."""
        found = await asyncio.gather(*(self._mark(one, spot, status, properties) for one in spot.partitions))
        return found[0]

    async def _mark(self, partition: str, spot: Spot, status: str, properties: Mapping[str, object]) -> str | None:
        merge = {"mode": "merge"}
        for _ in range(_TURNS):
            names = (_all_of(spot), _of_status(status, spot))
            if await self._table.write(
                [("update", _keys(partition, name) | dict(properties), merge) for name in names]
            ):
                return status
            row = await self._table.get(partition, _all_of(spot))  # the copy stands under another status by now
            if row is None:
                return None
            status = row["status"]
        raise _beaten(spot)

    async def move(self, listed: Listed, spot: Spot) -> bool:
        """As it was decided now, under its new status; what became of its actions stays. False where it is not listed."""
        found = await asyncio.gather(*(self._move(one, listed, spot) for one in spot.partitions))
        return all(found)

    async def _move(self, partition: str, listed: Listed, spot: Spot) -> bool:
        for _ in range(_TURNS):
            row = await self._table.get(partition, _all_of(spot))
            if row is None:
                return False
            stays = {name: value for name, value in row.items() if _DEED.fullmatch(name)}
            new, place = stays | _body(listed), _keys(partition, _of_status(listed.status, spot))
            operations: list[Operation] = [
                ("update", _keys(partition, row["RowKey"]) | new, {"mode": "replace", **unless_changed(row)})
            ]
            if row["status"] == listed.status:
                operations.append(("update", place | new, {"mode": "replace"}))
            else:
                operations += [("delete", _keys(partition, _of_status(row["status"], spot))), ("create", place | new)]
            if partition == ALL:
                operations.append(("upsert", _due(spot, listed.until), {"mode": "replace"}))
            if await self._table.write(operations):
                return True
        raise _beaten(spot)

    async def page(self, search: Search, select: Sequence[str] = ()) -> list[Row]:
        """The rows of a search: one request, of rows that all belong there."""
        partition = ALL if search.type is None else f"y-{hashed(search.type)}"
        begins = prefix(search)
        low, high = begins, f"{begins}~"
        if search.since is not None:
            high = f"{begins}{inverted(search.since)}."
        if search.before is not None:
            moment, id_ = search.before
            low = f"{begins}{inverted(moment)}-{id_}"
        where = f"PartitionKey eq '{partition}' and RowKey gt {quoted(low)} and RowKey lt {quoted(high)}"
        return await self._table.first(where, search.limit, select)

    async def newest(self, own: str) -> str | None:
        """The record of the newest event of this id."""
        rows = await self._table.first(f"PartitionKey eq 'i-{hashed(own)}'", 1)
        return rows[0]["record"] if rows else None

    async def due(self, now: datetime, most: int) -> list[Row]:
        """Of those whose time has come, the longest ago first."""
        where = f"PartitionKey eq '{ALL}' and RowKey ge 'x-' and RowKey lt 'x-{_micros(now):018d}'"
        return await self._table.first(where, most)

    async def look_again(self, row: Row, at: datetime) -> None:
        """At one whose time had come."""
        later = _due(spot_in(row), at)
        if later["RowKey"] != row["RowKey"]:
            await self._table.write([("upsert", later, {"mode": "replace"}), ("delete", _keys(ALL, row["RowKey"]))])

    async def due_alone(self, spot: Spot, at: datetime) -> None:
        """Of what is not listed, and has to be forgotten all the same."""
        await self._table.put(_due(spot, at))

    async def drop(self, gone: Sequence[Row]) -> None:
        """Those whose time had come and who are gone. Those of `t` go last: killed before, the next one goes on from there."""
        spots = [spot_in(row) for row in gone]
        owns = [_keys(f"i-{spot.own}", spot.key) for spot in spots if spot.own]
        by_type: dict[str, list[str]] = {}
        rows = [row["RowKey"] for row in gone]
        for spot, status in zip(spots, await asyncio.gather(*map(self._status, spots)), strict=True):
            if status is not None:
                names = [_all_of(spot), _of_status(status, spot)]
                rows += names
                if spot.type:
                    by_type.setdefault(f"y-{spot.type}", []).extend(names)
        await asyncio.gather(*map(self._table.drop, owns), *(self._drop(*one) for one in by_type.items()))
        await self._drop(ALL, rows)

    async def _status(self, spot: Spot) -> str | None:
        row = await self._table.get(ALL, _all_of(spot))
        return row["status"] if row else None

    async def _drop(self, partition: str, rows: Iterable[str]) -> None:
        left = [_keys(partition, row) for row in dict.fromkeys(rows)]  # an event that was decided anew may be due twice
        if not await self._table.write([("delete", row) for row in left]):  # some had gone already
            await asyncio.gather(*map(self._table.drop, left))


def _beaten(spot: Spot) -> TemporaryError:
    return TemporaryError(f"other writers were faster {_TURNS} times in a row in the lists at {spot.record}")

"""The archive on Azure keeps the promises of `world.Archive`, against Azurite."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta

import pytest

from shared import archive
from shared.cloud.account import Account
from shared.cloud.archive import BlobArchive
from shared.cloud.queue import AzureQueue
from shared.cloud.shelf import AzureShelf
from shared.cloud.store import AzureStore
from shared.record import Decision, Facts
from shared.settings import WORK_QUEUE
from tests.archive_contract import ArchiveContract
from tests.store_contract import taken
from tests.world import START, Outside


class TestBlobArchive(ArchiveContract):
    @pytest.fixture
    async def archive(self, account: str) -> AsyncIterator[BlobArchive]:
        made = BlobArchive(Account(account))
        yield made
        await made.close()


async def test_events_are_copied_from_the_tables_slice_by_slice(account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_PAGE", 3)
    outside = Outside()
    async with AsyncExitStack() as closing:
        queue = AzureQueue(Account(account), WORK_QUEUE)
        store = AzureStore(Account(account), queue, outside.clock)
        shelf, blobs = AzureShelf(Account(account)), BlobArchive(Account(account))
        for one in (queue, store, shelf, blobs):
            closing.push_async_callback(one.close)
        outside.store, outside.shelf = store, shelf
        world = replace(outside.world, archive=blobs)
        # Four at one moment, then one an hour and one at midnight, when a new day begins.
        ages = [timedelta(hours=9), *[timedelta(hours=8, minutes=30)] * 4, timedelta(hours=8), timedelta(hours=1)]
        records = [taken(n, 0, age=age) for n, age in enumerate(ages)]
        waiting = taken(9, 0, age=timedelta(hours=2), needs=True)
        for record in [*records, waiting]:
            await store.take_in(record)
        assert await archive.copy(world, START, START - timedelta(days=1)) == len(records)
        await store.decide(waiting.id, Decision("v2", 1), Facts(metrics={"auc": 0.9}), ())
        assert await archive.copy(world, START, START - timedelta(days=1)) == 1
        found = [archive.read_line(text) async for text in archive.between(world, START - timedelta(days=1), START)]
    assert sorted(one.id for one in found) == sorted(one.id for one in [*records, waiting])
    assert [one.received for one in found[:-1]] == sorted(one.received for one in records)
    assert (found[-1].config, found[-1].facts) == ("v2", Facts(metrics={"auc": 0.9}))

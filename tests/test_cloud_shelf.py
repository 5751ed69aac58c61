"""The shelf on Azure keeps the promises of `world.Shelf`, against Azurite."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from shared.cloud.account import Account
from shared.cloud.shelf import AzureShelf
from tests.shelf_contract import ShelfContract, ShelfPlace


class TestAzureShelf(ShelfContract):
    @pytest.fixture
    async def place(self, account: str) -> AsyncIterator[ShelfPlace]:
        async with AsyncExitStack() as closing:

            async def started() -> AzureShelf:
                made = AzureShelf(Account(account))
                closing.push_async_callback(made.close)
                return made

            yield ShelfPlace(await started(), started)

    async def test_more_than_one_page_of_the_service_comes_whole(self, place: ShelfPlace) -> None:
        names = [f"{n:06}" for n in range(1005)]
        for start in range(0, len(names), 67):
            await asyncio.gather(*(place.shelf.put("f", name, name) for name in names[start : start + 67]))
        assert [name for name, _ in await place.shelf.all("f")] == names
        assert [name for name, _ in await place.shelf.all("f", after="001000")] == names[1001:]

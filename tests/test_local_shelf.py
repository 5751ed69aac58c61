"""The embedded shelf, and the shelf of the tests, keep the promises of `world.Shelf`."""

from contextlib import ExitStack

import pytest

from local.shelf import SqliteShelf
from tests.shelf_contract import ShelfContract, ShelfPlace
from tests.station import opened
from tests.world import DictShelf


class TestSqliteShelf(ShelfContract):
    @pytest.fixture
    def place(self, tmp_path):
        databases = ExitStack()

        def started():
            return SqliteShelf(databases.enter_context(opened(tmp_path / "state.db")))

        async def restart():  # the old one stays open beside it, unflushed as a kill would leave it
            return started()

        with databases:
            yield ShelfPlace(started(), restart)


class TestDictShelf(ShelfContract):
    @pytest.fixture
    def place(self):
        shelf = DictShelf()

        async def restart():
            return shelf

        return ShelfPlace(shelf, restart)

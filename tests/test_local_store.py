"""The embedded store keeps the promises of `world.Store`, and its own: pruning keeps memory and file flat."""

from contextlib import ExitStack

import pytest

from local import queue
from local.store import SqliteStore
from tests.station import opened
from tests.store_contract import Place, StoreContract
from tests.world import VirtualClock


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def place(self, tmp_path):
        clock, databases = VirtualClock(), ExitStack()

        def started():
            database = databases.enter_context(opened(tmp_path / "state.db"))
            queues = queue.Queues(database, clock)
            return SqliteStore(database, queues, clock), queues

        store, queues = started()

        async def fetch():
            texts = []
            while queues.ready():
                if not queues._ready:
                    await queues._refill(clock().timestamp())
                    continue
                message = await queues.take()
                texts.append(message.body)
                queues.done(message)
            return texts

        async def restart():  # the old one stays open beside it, as two hosts on one file would
            return started()[0]

        with databases:
            yield Place(store, clock, fetch, restart)

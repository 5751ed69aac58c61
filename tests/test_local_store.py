"""The embedded store keeps the promises of `world.Store`, and its own: pruning keeps memory and file flat."""

from contextlib import ExitStack
from datetime import timedelta

import pytest

from local import queue
from local.store import SqliteStore
from tests.station import opened
from tests.store_contract import Place, StoreContract, attempt, keys, taken
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

    async def test_parts_are_forgotten_and_limits_too_when_no_window_can_ask_for_them(self, place):
        await place.store.part("digest", 0, 2, "a")
        assert await place.store.count("month", 1, "a")
        place.clock.advance(33 * 86_400)
        await place.store.prune(place.clock() - timedelta(days=30), 10)
        assert await place.store.part("digest", 1, 2, "b") is None
        assert await place.store.count("month", 1, "b")

    async def test_an_intent_whose_end_could_not_be_written_is_free_again(self, place):
        record = taken(intents=1)
        await place.store.take_in(record)
        assert await place.store.claim(keys(record)[0], place.clock())
        place.store._database._broken = OSError("no space left")
        with pytest.raises(RuntimeError, match="no space left"):
            await place.store.settle(keys(record)[0], "done", attempt())
        place.store._database._broken = None
        claim = await place.store.claim(keys(record)[0], place.clock())
        assert claim.interrupted

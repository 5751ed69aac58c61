"""The embedded store keeps the promises of `world.Store`, and its own: pruning keeps memory and file flat."""

import sqlite3
from contextlib import ExitStack, closing
from datetime import timedelta

import pytest
from msgspec.structs import replace

from local import queue
from local.store import KEEP_EVENTS, SqliteStore
from shared.world import Search
from tests.station import opened
from tests.store_contract import Place, StoreContract, attempt, finish, kept, keys, taken
from tests.world import START, VirtualClock


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def keep_events(self):
        return KEEP_EVENTS

    @pytest.fixture
    def place(self, tmp_path, keep_events):
        clock, databases = VirtualClock(), ExitStack()

        def started():
            database = databases.enter_context(opened(tmp_path / "state.db"))
            queues = queue.Queues(database, clock)
            return SqliteStore(database, queues, clock, keep_events), queues

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
        await place.store.prune(place.clock())
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

    @pytest.mark.parametrize("keep_events", [2])
    async def test_beyond_the_number_to_keep_those_go_that_are_kept_the_least_long_and_stay_known(self, place):
        records = [taken(n, 1, age=timedelta(hours=n)) for n in range(4)]
        rare = replace(taken(4, 1, age=timedelta(days=9)), until=START + timedelta(days=300))
        for record in (*records, rare):
            await place.store.take_in(record)
            await finish(place.store, record)
        await place.fetch()
        assert await place.store.prune(START) == 3
        assert [one.id for one in await place.store.events(Search())] == [records[0].id, rare.id]
        assert await place.store.event(records[3].id) is None
        assert await place.store.event("event-3") is None
        assert await place.store.take_in(records[3]) == "again"
        assert await place.queued() == []
        assert await place.store.prune(START) == 0

    @pytest.mark.parametrize("keep_events", [1])
    async def test_what_was_forgotten_for_room_is_forgotten_for_good_when_it_is_old(self, place):
        record = taken(1, 1, age=timedelta(hours=1))
        await place.store.take_in(record)
        await finish(place.store, record)
        await place.store.take_in(taken(2, 0))
        assert await place.store.prune(START) == 1
        place.clock.advance(timedelta(days=31).total_seconds())
        assert await place.store.prune(place.clock()) == 1  # the other event; this one was counted
        assert await place.store.take_in(record) == "new"

    async def test_the_state_file_of_an_earlier_version_is_opened_and_its_records_last_thirty_days(
        self, tmp_path, place
    ):
        path = tmp_path / "state.db"
        await place.store.take_in(taken(1, 0))
        with closing(sqlite3.connect(path)) as old, old:
            old.execute("DROP INDEX events_until")
            old.execute("ALTER TABLE events DROP COLUMN until")
        store = await place.restart()
        assert (await kept(store, taken(1, 0))).kept_until == START + timedelta(days=30)
        assert await store.prune(START + timedelta(days=29)) == 0
        assert await store.prune(START + timedelta(days=31)) == 1

"""The embedded host's database and queues: durable before they answer, at least once, and flat in memory."""

import asyncio
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from local import queue, sqlite
from local.sqlite import Database

ROOT = Path(__file__).resolve().parents[1]


class Clock:
    def __init__(self):
        self.moment = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)

    def __call__(self):
        return self.moment

    def forward(self, seconds):
        self.moment += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.db"


@pytest.fixture
def database(path):
    database = Database(path, queue.SCHEMA)
    yield database
    database.close()


async def take_all(queues, n):
    return [(await queues.take()) for _ in range(n)]


async def test_what_write_returns_another_connection_sees(database, path):
    await database.write(lambda db: queue.insert(db, "q", ["x"], 0))
    other = sqlite3.connect(path)
    assert other.execute("SELECT body FROM messages").fetchall() == [("x",)]
    other.close()


async def test_one_bad_unit_does_not_touch_its_neighbours(database):
    def bad(db):
        db.execute("INSERT INTO messages (queue, body, visible) VALUES ('q', 'bad', 0)")
        raise ValueError("bad")

    good = [database.write(lambda db, n=n: queue.insert(db, "q", [str(n)], 0)) for n in range(5)]
    outcomes = await asyncio.gather(*good[:2], database.write(bad), *good[2:], return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [list, list, ValueError, list, list, list]
    bodies = await database.read(lambda db: [row[0] for row in db.execute("SELECT body FROM messages ORDER BY body")])
    assert bodies == ["0", "1", "2", "3", "4"]


async def test_the_log_stays_small_and_nothing_written_meanwhile_is_lost(database, path, monkeypatch):
    monkeypatch.setattr(sqlite, "_CHECKPOINT", 50)

    async def writer(n):
        for m in range(100):
            await database.write(lambda db: queue.insert(db, "q", [f"{n}-{m} {'x' * 2000}"], 0))  # noqa: B023 (awaited)

    await asyncio.gather(*(writer(n) for n in range(8)))
    assert await database.read(lambda db: db.execute("SELECT count(*) FROM messages").fetchone()[0]) == 800
    assert path.with_name("state.db-wal").stat().st_size < 1_000_000  # of 1.6 MB that were written


async def test_a_write_after_the_end_is_refused(path):
    database = Database(path, queue.SCHEMA)
    database.close()
    with pytest.raises(RuntimeError, match="closed"):
        await database.write(lambda _: None)


async def test_a_message_is_handed_out_once_and_gone_when_done(database, clock):
    queues = queue.Queues(database, clock)
    await queues.put("q", ["a", "b"])
    first, second = await take_all(queues, 2)
    assert [first.body, second.body] == ["a", "b"]
    assert not queues.ready()
    queues.done(first)
    await database.write(lambda _: None)
    assert await queues.waiting() == 1


async def test_a_new_host_on_the_same_file_gets_what_was_not_done(path, clock):
    before = Database(path, queue.SCHEMA)
    queues = queue.Queues(before, clock)
    await queues.put("q", ["a", "b", "c"])
    queues.done(await queues.take())
    before.close()
    after = Database(path, queue.SCHEMA)
    queues = queue.Queues(after, clock)
    assert [one.body for one in await take_all(queues, 2)] == ["b", "c"]
    after.close()


async def test_a_delayed_message_waits_for_its_time(database, clock):
    queues = queue.Queues(database, clock)
    await queues.put("q", ["later"], delay=60)
    await queues.put("q", ["now"])
    assert (await queues.take()).body == "now"
    assert not queues.ready()
    clock.forward(61)
    assert queues.ready()
    assert (await queues.take()).body == "later"


async def test_where_the_clock_is_fast_nobody_waits_longer_than_it_says(database):
    began = time.monotonic()
    queues = queue.Queues(
        database, lambda: datetime.fromtimestamp((time.monotonic() - began) * 60_000, UTC), pace=60_000
    )
    await queues.put("q", ["in an hour"], delay=3600)
    assert (await asyncio.wait_for(queues.take(), 5)).body == "in an hour"


async def test_a_waiting_taker_is_woken_by_a_message_that_comes_later(database, clock):
    queues = queue.Queues(database, clock)
    taker = asyncio.create_task(queues.take())
    await asyncio.sleep(0)
    await queues.put("q", ["x"])
    assert (await asyncio.wait_for(taker, 5)).body == "x"


async def test_a_failed_message_comes_again_with_its_count(database, clock):
    queues = queue.Queues(database, clock)
    await queues.put("q", ["x"])
    await queues.again(await queues.take(), 30)
    assert not queues.ready()
    clock.forward(31)
    again = await queues.take()
    assert (again.body, again.dequeued) == ("x", 1)


async def test_a_message_can_move_to_the_poison_queue(database, clock):
    queues = queue.Queues(database, clock)
    await queues.put("q", ["x"])
    await queues.move(await queues.take(), "q-poison")
    moved = await queues.take()
    assert (moved.queue, moved.body) == ("q-poison", "x")
    assert await queues.waiting() == 1


async def test_a_backlog_larger_than_the_window_is_handed_out_whole_and_in_order(database, clock, monkeypatch):
    monkeypatch.setattr(queue, "_WINDOW", 10)
    queues = queue.Queues(database, clock)
    for start in range(0, 100, 4):
        await queues.put("q", [str(n) for n in range(start, start + 4)])
    assert len(queues._ready) <= 10
    seen = []
    for _ in range(100):
        message = await asyncio.wait_for(queues.take(), 5)
        seen.append(int(message.body))
        queues.done(message)
        if len(seen) % 7 == 0:
            await database.write(lambda _: None)
        assert len(queues._ready) <= 10
    assert sorted(seen) == list(range(100))
    await queues.put("q", ["the next"])
    assert (await asyncio.wait_for(queues.take(), 5)).body == "the next"


async def test_what_is_written_in_the_last_moment_is_in_the_file(path, monkeypatch):
    monkeypatch.setattr(sqlite, "_CHECKPOINT", 1)  # one is under way at any time
    database = Database(path, queue.SCHEMA)
    queues = queue.Queues(database, Clock())
    await queues.put("q", ["a", "b"])
    first, _ = await take_all(queues, 2)
    while not database._checkpointing:  # noqa: ASYNC110 (nothing tells when it begins)
        await asyncio.sleep(0)
    queues.done(first)
    waiting = asyncio.create_task(queues.put("q", ["c"]))
    await asyncio.sleep(0)
    database.close()
    await asyncio.wait_for(waiting, 5)
    other = sqlite3.connect(path)
    assert other.execute("SELECT body FROM messages ORDER BY id").fetchall() == [("b",), ("c",)]
    other.close()


def test_a_machine_without_fdatasync_syncs_too():
    code = "import os; del os.fdatasync; import local.sqlite as s; assert s._to_disk is os.fsync"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


async def test_a_look_into_the_file_that_failed_is_made_again(database, clock):
    queues = queue.Queues(database, clock)
    await queues.put("q", ["x"], delay=60)
    clock.forward(61)
    database._broken = OSError("no space left")
    with pytest.raises(RuntimeError, match="no space left"):
        await queues.take()
    database._broken = None
    assert queues.ready()
    assert (await asyncio.wait_for(queues.take(), 5)).body == "x"

"""The archive: every event that was read is in it once for whoever reads it, whatever happened while it was copied."""

import json
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local import queue
from local.store import SqliteStore
from shared import archive, wire
from shared.errors import PermanentError, TemporaryError
from tests.station import Station, opened, run_event
from tests.store_contract import happened, refused, taken
from tests.world import START, MemoryArchive, Outside

SAMPLES = Path(__file__).parent.parent / "samples" / "events"
RULES = """
rules:
  - {name: good, event: RunCompleted, match: {tags.team: fraud, metrics.auc: ">= 0.9"}, do: [{notify: fraud}]}
"""
HOUR = 3600.0
LONG_AGO = START - timedelta(days=30)


@pytest.fixture
def outside():
    return Outside()


@pytest.fixture
def station(outside, tmp_path):
    with opened(tmp_path / "state.db") as database:
        yield Station(outside, database, RULES)


async def copied(outside):
    """The ids of the events in the archive, day by day."""
    return {
        day: [archive.read_line(text).event.id async for text in outside.archive.read(day)]
        for day in await outside.archive.days()
    }


async def exported(outside, since=LONG_AGO, until=None):
    until = until or outside.clock() + timedelta(seconds=1)
    return [archive.read_line(text) async for text in archive.between(outside.world, since, until)]


async def test_events_are_copied_once_with_what_decided_them(station, outside):
    for name in ("e1", "e2"):
        await station.send(run_event(name))
    await station.send(run_event("bad") | {"data": 7})
    await station.later(HOUR)
    assert await station.service.archive(outside.clock()) == 2
    assert await station.service.archive(outside.clock()) == 0
    await station.send(run_event("e3"))
    await station.later(HOUR)
    assert (
        await station.service.archive(outside.clock()) == 2
    )  # with the one that tells of the one that could not be read
    (ids,) = (await copied(outside)).values()
    assert [one for one in ids if one.startswith("e")] == ["e1", "e2", "e3"]
    found = await exported(outside)
    assert [one.config for one in found] == [station.service.loaded.version] * 4
    assert found[0].event == (await station.record("e1")).event


async def test_what_was_looked_up_is_copied_with_it_once_it_is_known(station, outside):
    outside.platform.failure = TemporaryError("HTTP 503")
    await station.send(run_event("slow", runTags={"team": "fraud"}), run_event("quick"))
    await station.later(20 * 60)
    outside.clock.advance(20 * 60)
    await station.service.archive(outside.clock())
    assert list((await copied(outside)).values()) == [["quick"]]
    assert {one.event.id for one in await exported(outside)} == {"quick", "slow"}
    outside.platform.failure, outside.platform.measured["run-slow"] = None, {"auc": 0.93}
    await station.later(HOUR)
    await station.service.archive(outside.clock())
    assert list((await copied(outside)).values()) == [["quick", "slow"]]
    assert [one.facts and one.facts.metrics for one in await exported(outside)] == [None, {"auc": 0.93}]
    assert await outside.shelf.all("archive-left") == []


async def test_a_lookup_that_never_ends_does_not_keep_its_event_back_for_ever(station, outside):
    await station.service.world.store.take_in(taken(1, needs=True))
    for _ in range(2):
        outside.clock.advance(HOUR)
        assert await station.service.archive(outside.clock()) == 0
    outside.clock.advance(3 * 24 * HOUR)
    assert await station.service.archive(outside.clock()) == 1


async def test_an_event_that_waited_long_on_the_queue_is_not_passed_over(station, outside):
    texts = wire.arrived(run_event("late"), outside.clock())
    outside.clock.advance(5 * HOUR)
    await station.service.archive(outside.clock())
    await station.queues.put("switchyard-work", texts)
    await station.work()
    await station.service.archive(outside.clock())
    assert list((await copied(outside)).values()) == [["late"]]


async def test_who_is_killed_before_noting_how_far_it_got_copies_twice_and_readers_see_it_once(
    station, outside, monkeypatch
):
    await station.send(run_event("e1"), run_event("e2"))
    await station.later(HOUR)

    async def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(outside.shelf), "put", killed)
        with pytest.raises(KeyboardInterrupt):
            await station.service.archive(outside.clock())
    await station.service.archive(outside.clock())
    (ids,) = (await copied(outside)).values()
    assert ids == ["e1", "e2", "e1", "e2"]
    assert [one.event.id for one in await exported(outside)] == ["e1", "e2"]


async def test_old_days_are_forgotten_and_records_need_not_be_there_any_more(station, outside):
    await station.send(run_event("e1"))
    await station.later(HOUR)
    await station.service.archive(outside.clock())
    outside.clock.advance(40 * 24 * HOUR)
    await station.service.prune(outside.clock())
    assert await station.service.world.store.event("e1") is None
    assert [one.event.id for one in await exported(outside)] == ["e1"]
    outside.clock.advance(60 * 24 * HOUR)
    await station.service.prune(outside.clock())
    assert await exported(outside) == []


MOMENTS = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from([0.0, 1e-6, 0.5, 60.0, 7 * HOUR])), min_size=1, max_size=25
)


@settings(max_examples=60)
@given(MOMENTS, st.integers(1, 6), st.randoms(use_true_random=False), st.sampled_from([2, 3, 500]))
async def test_however_events_are_spread_each_is_there_once(moments, runs, chance, page):
    """Many at one moment, long pauses, pages that end among them, and copying whenever it happens."""
    outside = Outside(archive=MemoryArchive())
    with (
        TemporaryDirectory() as folder,
        opened(Path(folder) / "state.db") as database,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(archive, "_PAGE", page)
        outside.store = SqliteStore(database, queue.Queues(database, outside.clock), outside.clock)
        at, records = START, []
        for n, (many, pause) in enumerate(moments):
            at += timedelta(seconds=pause)
            records += [taken(intents=0, age=START - at, event=happened(id=f"{n}-{k}")) for k in range(many % 7)]
        for record in [*records, refused()]:
            await outside.store.take_in(record)
        ends = sorted(chance.uniform(0, 2 * (at - START).total_seconds() + HOUR) for _ in range(runs))
        for end in ends:
            await archive.copy(outside.world, START + timedelta(seconds=end), LONG_AGO)
        assert sorted(one.id for one in await exported(outside, until=at + timedelta(days=1))) == sorted(
            one.id for one in records
        )
        await archive.copy(outside.world, at + timedelta(days=1), LONG_AGO)
        lines = [archive.read_line(text) for day in await outside.archive.days() for text in outside.archive.lines[day]]
        assert [(one.received, one.id) for one in lines] == sorted((one.received, one.id) for one in records)
        middle = START + (at - START) / 2
        halves = [*await exported(outside, until=middle), *await exported(outside, middle, at + timedelta(days=1))]
        assert [one.id for one in halves] == [one.id for one in lines]


def test_a_line_says_what_the_record_knows():
    record = taken(3)
    text = archive.line(record)
    assert text is not None
    assert "\n" not in text
    found = archive.read_line(text)
    assert (found.id, found.received, found.event, found.config) == (record.id, record.received, record.event, "v1")
    assert archive.line(refused()) is None


@pytest.mark.parametrize(
    "path", sorted(set(SAMPLES.glob("*.json")) - set(SAMPLES.glob("*malformed*"))), ids=lambda path: path.stem
)
def test_events_collected_elsewhere_are_read_as_they_are(path):
    sent = json.loads(path.read_text())
    for one in sent if isinstance(sent, list) else [sent]:
        found = archive.read_line(json.dumps(one))
        assert (found.id, found.received, found.facts) == (found.event.record, found.event.time, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a line of the archive, nor an event"),
        ("[]", "not a line of the archive, nor an event"),
        ("[" * 20_000, "not a line of the archive, nor an event"),
        ('{"id": "x"}', "topic is missing"),
        ('{"id": "x", "received": "soon", "event": {}}', "not a line of the archive: .*received"),
    ],
)
def test_what_is_no_event_says_why(text, said):
    with pytest.raises(PermanentError, match=said):
        archive.read_line(text)


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_nothing_that_a_file_may_hold_raises_anything_else(text):
    with pytest.raises(PermanentError):
        archive.read_line(text)

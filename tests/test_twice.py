"""The same seeded world, lived through twice, leaves the same record, byte for byte."""

import json
from collections.abc import Iterator
from random import Random  # noqa: TID251 (chance comes from the seed)

import msgspec
import pytest

from shared.record import Job
from shared.world import Reply, Search
from tests.station import Station, opened, run_event
from tests.test_service_terms import MAIN, RULES, deployed, registered
from tests.world import Outside

BUSY = (Reply(503, {}, b""), Reply(429, {"retry-after": "40"}, b""), Reply(404, {}, b"gone"))
TEAMS = ("once", "gathered", "crowd", "office", "wake", "learn", "nobody")


def happenings(chance: Random) -> Iterator[tuple[list[dict[str, object]], float]]:
    """Envelopes that come together, and how long until the next ones."""
    for n in range(60):
        team, pause = chance.choice(TEAMS), chance.choice((0.5, 20.0, 400.0, 4000.0))
        kind = chance.random()
        if kind < 0.35:
            envelopes = [run_event(f"e{n}", runTags={"team": team}, experimentName=chance.choice("abc"))]
        elif kind < 0.65:
            envelopes = [run_event(f"e{n}", "RunStatusChanged", runStatus="Failed", runTags={"team": team})]
        elif kind < 0.8:
            sweep = {"team": "sweep", "hyperparameters": "{}"}
            envelopes = [
                run_event(f"e{n}-{m}", runId=f"HD_s{n}_{m}", runType=None, runTags=sweep)
                for m in range(chance.randint(2, 6))
            ]
            envelopes.append(
                run_event(f"e{n}", runId=f"HD_s{n}", runType="azureml.HyperDriveRun", runTags={"team": "x"})
            )
        elif kind < 0.9:
            envelopes = [registered(f"e{n}", str(n), team="fraud")]
        else:
            envelopes = [deployed(f"e{n}", f"fraud:{n - 1},fraud:{n - 2}", "2026-11-27T09:00:00Z")]
        chance.shuffle(envelopes)
        yield [*envelopes, *(envelopes[:1] if chance.random() < 0.2 else [])], pause  # some are delivered twice


async def lived(seed: int, folder) -> list[bytes]:
    """All that is on record, and all that went out."""
    chance, outside = Random(seed), Outside()
    with opened(folder / "state.db") as database:
        station = Station(outside, database, RULES, MAIN)
        for envelopes, pause in happenings(chance):
            for envelope in envelopes:
                run = str(envelope["data"]["runId"]) if "runId" in envelope["data"] else ""  # type: ignore[index,operator]
                outside.platform.measured[run] = {"auc": round(chance.random(), 3)}
                outside.platform.jobs[run] = Job(duration=float(chance.randint(1, 999)))
            if chance.random() < 0.2:
                outside.http.script.append(chance.choice(BUSY))
            await station.send(*envelopes)
            await station.work()
            await station.later(pause)
        for _ in range(12):
            await station.later(3600)
            await station.service.archive(outside.clock())
            await station.service.digest(outside.clock())
            await station.work()
        store = station.service.world.store
        records = await store.events(Search(limit=10_000))
        intents = await store.intents([record.id for record in records])
        rows = await database.read(
            lambda db: db.execute("SELECT folder, name, text FROM shelf ORDER BY folder, name").fetchall()
        )
    sent = [(one.method, one.url, sorted(one.headers.items()), one.body.decode()) for one in outside.http.sent]
    told = [(letter.subject, letter.text, key) for letter, key in outside.mail.sent]
    return [
        *(msgspec.json.encode(record) for record in records),
        *(msgspec.json.encode(one) for record in records for one in intents[record.id]),
        *(json.dumps(row).encode() for row in (*rows, *sent, *told, *outside.sms.sent)),
        msgspec.json.encode(sorted(outside.platform.submitted)),
    ]


@pytest.mark.parametrize("seed", range(3))
async def test_the_same_world_leaves_the_same_record_twice(seed, tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    first, second = await lived(seed, tmp_path / "first"), await lived(seed, tmp_path / "second")
    assert first == second
    statuses = {
        status
        for status in ("done", "suppressed", "collected", "held", "refused")
        for row in first
        if f'"{status}"'.encode() in row
    }
    assert statuses == {"done", "suppressed", "collected", "held", "refused"}  # the world is worth the comparison


async def test_another_seed_is_another_world(tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    assert await lived(0, tmp_path / "first") != await lived(1, tmp_path / "second")

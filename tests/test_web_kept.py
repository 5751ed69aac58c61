"""Over HTTP: what the configuration is and was, and the archive of events."""

import json

import pytest

from shared.service import LOOK_EVERY
from shared.web import app
from tests.station import Station, opened, run_event
from tests.test_versions import BROKEN, OTHER, RULES, edit, folder
from tests.test_web import ask
from tests.world import Outside


@pytest.fixture
def outside():
    return Outside()


@pytest.fixture
def station(outside, tmp_path):
    with opened(tmp_path / "state.db") as database:
        yield Station(outside, database, RULES)


async def get(station, target):
    return await ask(app(lambda: station.service), "GET", target, {})


async def test_the_configuration_is_told_with_its_mistakes_and_its_history(station, outside):
    await edit(outside, station, folder())
    first = station.service.loaded.version
    await edit(outside, station, folder(BROKEN, more=OTHER))
    told = (await get(station, "/api/config")).json
    assert (told["rules"], told["files"]) == (2, ["rules/more.yaml", "rules/team.yaml", "switchyard.yaml"])
    assert told["rejected_files"] == told["kept_files"] == ["rules/team.yaml"]
    assert [(one["file"], one["line"]) for one in told["problems"]] == [("rules/team.yaml", 1)]
    assert [one["version"] for one in told["history"]] == [told["version"], first]
    assert told["history"][0]["changed"] == ["rules/more.yaml"]
    health = (await get(station, "/api/health")).json
    assert (health["status"], health["kept_files"]) == ("amber", ["rules/team.yaml"])
    assert health["config_version"] == told["version"]


async def test_a_version_that_a_record_names_can_be_read(station, outside):
    await edit(outside, station, folder())
    await station.send(run_event("e1"))
    await station.work()
    await edit(outside, station, folder(OTHER))
    version = (await get(station, "/api/events/e1")).json["decision"]["config"]
    assert (await get(station, f"/api/config/{version}")).json["texts"] == folder()
    answer = await get(station, "/api/config/0123456789ab")
    assert (answer.status, answer.json["title"]) == (404, "Not Found")
    assert "/api/config has the newest" in answer.json["detail"]


async def test_health_is_red_while_nothing_could_be_read(station):
    service = type(station.service)(station.outside.world, station.service.settings)
    answer = await ask(app(lambda: service), "GET", "/api/health", {})
    assert (answer.status, answer.json["status"], answer.json["config_version"] != "") == (503, "red", True)


async def test_the_archive_is_lines_of_json_from_copied_and_fresh_events_alike(station, outside):
    await station.send(run_event("e1"))
    await station.later(LOOK_EVERY)
    outside.clock.advance(3600)
    await station.service.archive(outside.clock())
    await station.send(run_event("e2"))
    await station.work()
    outside.clock.advance(1)
    answer = await get(station, "/api/archive")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["event"]["id"] for line in answer.text.splitlines()] == ["e1", "e2"]
    since = outside.clock().isoformat().replace("+", "%2B")
    assert (await get(station, f"/api/archive?since={since}")).text == ""


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("since=soon", "since is 'soon', expected an RFC 3339 time"),
        ("since=2026-11-21&until=2026-11-20", "since is '2026-11-21', which is after until"),
        ("limit=7", "there is no parameter 'limit'; known: since, until"),
    ],
)
async def test_a_span_that_is_none_is_refused(station, query, said):
    answer = await get(station, f"/api/archive?{query}")
    assert answer.status == 400
    assert said in answer.json["detail"]

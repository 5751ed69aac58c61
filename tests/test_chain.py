"""Chains of causes: a drift breach leads to a retraining, that to a model, that to a rollout, and each of them tells the whole."""

import re
from datetime import timedelta

import pytest

from shared import book, chain
from shared.events import AZURE_ML, parse
from shared.record import Job
from shared.web import app
from shared.world import Search
from tests.station import WORKSPACE, Station, opened, run_event
from tests.test_web import ask
from tests.world import START, DictShelf, Outside

RULES = """
rules:
  - name: drift
    event: DriftDetected
    do: [{notify: fraud}, {retrain: weekly}]
  - name: model
    event: ModelRegistered
    match: {model.name: fraud}
    do: [{dispatch: {github: contoso/fraud, workflow: try.yml}}]
"""
BREACH = {
    "azureml_modelmonitor_threshold_breached": "fraud has failed due to one or more features violating",
    "team": "a",
}


@pytest.fixture
def outside():
    return Outside()


@pytest.fixture
def station(outside, tmp_path):
    with opened(tmp_path / "state.db") as database:
        yield Station(outside, database, RULES)


def registered(name, version, tags=None):
    return {
        "id": name,
        "topic": WORKSPACE,
        "subject": f"models/fraud:{version}",
        "eventType": f"{AZURE_ML}ModelRegistered",
        "eventTime": "2026-11-20T09:44:00Z",
        "data": {"ModelName": "fraud", "ModelVersion": version, "ModelTags": tags or {}},
        "dataVersion": "1",
    }


async def drifted(station, outside):
    """A breach, the job that it started, and the tags that the job brings back."""
    await station.send(run_event("breach", "RunStatusChanged", runStatus="Failed", runTags=BREACH))
    await station.work()
    [(name, job)] = outside.platform.submitted.items()
    return name, dict(job.tags)


async def seen(station, path):
    return await ask(app(lambda: station.service), "GET", path, {})


async def told(station, record):
    return (await seen(station, f"/api/events/{record}/chain")).json


def spoken(knot, depth=0):
    """The chain as lines, one step further in for each cause."""
    yield f"{'  ' * depth}{knot['type']} {knot['about']}{''.join(f' {state}' for state in knot['states'])}"
    for one in knot["actions"]:
        yield f"{'  ' * depth}> {one['action']} by {one['rule']}: {one['status']}"
        for each in one["after"]:
            yield from spoken(each, depth + 1)
    for each in knot["after"]:
        yield from spoken(each, depth + 1)


async def test_a_breach_its_retraining_its_model_and_what_that_starts_are_one_chain_from_whichever_end(
    station, outside
):
    job, tags = await drifted(station, outside)
    for minute, status in (("01", "Running"), ("42", "Completed")):
        data = {"runId": job, "runStatus": status, "runTags": tags}
        event = run_event(f"job-{status}", "RunStatusChanged", **data)
        await station.send(event | {"eventTime": f"2026-11-20T09:{minute}:00Z"})
    ended = run_event("job-end", runId=job, runTags=tags) | {"eventTime": "2026-11-20T09:43:00Z"}
    await station.send(ended, registered("m13", "13", tags))
    await station.work()
    await station.send(run_event("stranger"))
    await station.work()
    ends = [parse(run_event("breach", "RunStatusChanged", runStatus="Failed", runTags=BREACH)).record, "job-end", "m13"]
    found = [await told(station, end) for end in ends]
    assert found[0] == found[1] == found[2]
    assert [line for line in spoken(found[0]["chain"]) if "Action" not in line] == [
        "DriftDetected fraud",
        "> retrain by drift: done",
        f"  RunCompleted fraud / {job} Running Completed",
        "  ModelRegistered fraud:13",
        "  > dispatch by model: done",
    ]
    assert found[0]["chain"]["messages"] == 1
    assert (await told(station, "stranger"))["chain"] is None


async def test_a_model_whose_tags_say_nothing_is_found_by_the_run_that_made_it(station, outside):
    job, _ = await drifted(station, outside)
    outside.serving.origins["fraud:14"] = _origin(job)
    outside.platform.jobs[job] = Job(status="Completed")
    await station.send(registered("m14", "14"))
    await station.work()
    lines = list(spoken((await told(station, "m14"))["chain"]))
    assert lines[0] == "DriftDetected fraud"
    assert "  ModelRegistered fraud:14" in lines


def _origin(job):
    from shared.world import Origin

    return Origin(run=job)


async def test_the_page_draws_the_chain_with_a_way_to_each_of_its_events(station, outside):
    _, tags = await drifted(station, outside)
    await station.send(registered("m13", "13", tags))
    await station.work()
    record = await station.record("m13")
    for language, title in (("en", "Causes and effects"), ("ja", "原因と結果")):
        page = (await seen(station, f"/events/{record.id}?lang={language}")).text
        drawing = page[page.index(title) :]
        drawing = drawing[: drawing.index("</section>")]
        links = re.findall(r'href="(/events/[0-9a-f]{20})"', drawing)
        pages = [(await seen(station, link)).text for link in links]
        assert any("DriftDetected" in one for one in pages)
        assert drawing.count('class="knot here"') == 1
    await station.send(run_event("alone"))
    await station.work()
    assert "Causes and effects" not in (await seen(station, "/events/alone?lang=en")).text


@pytest.mark.parametrize(
    ("tags", "data"),
    [
        ({"switchyard_event": "../../etc"}, {}),
        ({"switchyard_event": 7}, {}),
        ({"switchyard_event": "x" * 5000}, {}),
        ({}, {}),
    ],
)
async def test_what_anybody_may_write_into_a_tag_names_no_parent(tags, data):
    shelf = DictShelf()
    event = parse(run_event("e", runTags=tags))
    assert chain.parent_of(event) == ""
    await chain.note(shelf, event)
    assert shelf.folders == {}


async def test_events_that_name_each_other_as_their_cause_end(station):
    first, second = parse(run_event("one")).record, parse(run_event("two")).record
    await station.send(run_event("one", runTags={"switchyard_event": second}))
    await station.send(run_event("two", runTags={"switchyard_event": first}))
    await station.work()
    assert (await told(station, "one"))["events"] == 2


async def test_a_long_chain_says_that_there_is_more(station):
    root = parse(run_event("root")).record
    await station.send(run_event("root"))
    await station.send(*(run_event(f"c{n}", runTags={"switchyard_event": root}) for n in range(230)))
    await station.work()
    found = await told(station, "root")
    assert (found["events"], found["more"]) == (200, True)


async def test_the_links_of_old_events_are_forgotten():
    shelf = DictShelf()
    old, new = (parse(run_event(name, runTags={"switchyard_event": "0" * 20})) for name in ("old", "new"))
    await chain.note(shelf, old)
    await chain.note_lineage(shelf, parse(run_event("lineage")), "1" * 20)
    await chain.put_away(shelf, START - timedelta(days=30))
    assert len(shelf.folders["chain"]) == 2
    await chain.put_away(shelf, START + timedelta(days=1))
    await chain.note(shelf, new)
    assert list(shelf.folders["chain"]) == [f"{'0' * 20}.{new.record}"]
    assert shelf.folders["chain-up"] == {}


async def test_links_are_looked_through_a_part_at_a_time_and_all_of_them_in_the_end(monkeypatch):
    monkeypatch.setattr(book, "_TEXTS", 3)
    monkeypatch.setattr(book, "_PAGES", 2)
    shelf = DictShelf()
    for n in range(20):
        at = START - timedelta(days=40 if n % 2 else 1)
        await shelf.keep("chain", f"{n:020}.{n:020}", at.isoformat())
    left = []
    for _ in range(6):
        await chain.put_away(shelf, START - timedelta(days=30))
        left.append(len(shelf.folders["chain"]))
    assert left[0] == 17
    assert left[-1] == 10
    assert set(shelf.folders["chain"].values()) == {(START - timedelta(days=1)).isoformat()}


async def test_what_could_not_be_read_is_no_part_of_a_chain_and_its_page_is_shown(station, outside):
    """Who is told of it is told by an event that names its record."""
    await station.send({"id": "nonsense", "eventType": ""})
    await station.work()
    (refused,) = await station.service.world.store.events(Search(limit=9, status="refused"))
    assert await chain.read(station.service.world, refused) is None
    for page in (f"/events/{refused.id}", f"/api/events/{refused.id}/chain"):
        assert (await ask(app(lambda: station.service), "GET", page, {})).status == 200

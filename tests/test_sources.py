"""Events of sources that nobody named: on record, refused, told once; and taken when the list has grown."""

from dataclasses import replace

import azure.functions as func
import msgspec
import pytest

import function_app
from functions import host as functions_host
from local.door import Door
from local.host import discover
from shared.errors import PermanentError
from shared.settings import WORK_QUEUE, Settings
from tests.station import WORKSPACE, Station, opened, run_event
from tests.world import Outside

RULES = "rules: [{name: tell, event: RunCompleted, do: [{notify: fraud}]}]"
OTHER = WORKSPACE.replace("/prod", "/elsewhere")


@pytest.fixture
def outside():
    return Outside()


@pytest.fixture
def station(tmp_path, outside):
    with opened(tmp_path / "state.db") as database:
        made = Station(outside, database, RULES)
        listen(made, WORKSPACE)
        given = list(functions_host._given)
        functions_host.use(made.service)
        yield made
        functions_host._given[:] = given


def listen(station, *sources):
    station.service.settings = Settings.of({"SWITCHYARD_SOURCES": ", ".join(sources)})


async def push(station, *envelopes):
    """By Event Grid's own door, as a function gets it."""
    functions = discover(function_app.app)
    door = Door(functions.eventgrid, station.queues.put, station.outside.clock, station.service.settings)
    answered = []
    scope = {
        "method": "POST",
        "query_string": b"functionName=on_event",
        "headers": [(b"aeg-event-type", b"Notification")],
    }

    async def receive():
        return {"body": msgspec.json.encode(envelopes)}

    async def send(message):
        answered.append(message)

    await door(scope, receive, send)
    assert answered[0]["status"] == 202
    await station.work()


async def queue(station, *envelopes):
    """By the queue that Event Grid fills."""
    function = discover(function_app.app).queues["switchyard-events"]
    for envelope in envelopes:
        texts = await function(func.QueueMessage(body=msgspec.json.encode(envelope)))
        await station.queues.put(WORK_QUEUE, texts)
    await station.work()


def cloud(envelope):
    names = {
        "id": "id",
        "source": "topic",
        "subject": "subject",
        "type": "eventType",
        "time": "eventTime",
        "data": "data",
    }
    return {"specversion": "1.0"} | {name: envelope[spelled] for name, spelled in names.items()}


ways = pytest.mark.parametrize("way", [push, queue])


@ways
@pytest.mark.parametrize("dress", [dict, cloud, lambda one: one | {"eventTime": 7}], ids=["grid", "cloud", "odd"])
async def test_an_event_of_another_source_is_kept_and_nothing_is_done(station, outside, way, dress):
    await way(station, dress(run_event("e1") | {"topic": OTHER}))
    assert outside.http.sent == []
    [refused] = [one for one in await events(station) if one.status == "refused"]
    assert refused.bytes
    expected = f"its source {OTHER!r} is not on the allow list (SWITCHYARD_SOURCES): nothing was decided"
    assert refused.refusal == expected or dress not in {dict, cloud}


@ways
@pytest.mark.parametrize("source", [WORKSPACE, WORKSPACE.upper(), f"{WORKSPACE}/"])
async def test_an_event_of_a_source_on_the_list_is_taken_however_it_is_spelled(station, outside, way, source):
    await way(station, run_event("e1") | {"topic": source})
    assert len(outside.http.sent) == 1


async def test_a_group_of_sources_is_named_by_a_star(station, outside):
    listen(station, "/subscriptions/s1/resourceGroups/MLOps/*")
    await push(station, run_event("e1") | {"topic": OTHER})
    await push(station, run_event("e2") | {"topic": OTHER.replace("/mlops/", "/mlops-evil/")})
    assert len(outside.http.sent) == 1


async def test_without_a_list_every_source_is_taken(station, outside):
    listen(station)
    await push(station, run_event("e1") | {"topic": OTHER})
    assert len(outside.http.sent) == 1


async def test_people_are_told_once_an_hour_of_all_sources_together(station, outside):
    """Whoever sends a CloudEvent names its source: another one each time must not flood anybody."""
    for n in range(20):
        await push(station, cloud(run_event(f"e{n}") | {"topic": f"/made/up/{n}"}))
        await station.later(60)
    told = [letter.text for letter, _ in outside.mail.sent]
    assert len(told) == 1
    assert "'/made/up/0' is not on the allow list (SWITCHYARD_SOURCES)" in told[0]
    assert "told of once an hour, together with this one" in told[0]
    refused = [one.refusal for one in await events(station) if one.status == "refused"]
    assert all(any(f"'/made/up/{n}'" in one for one in refused) for n in range(20))
    await station.later(3600)
    await push(station, run_event("late") | {"topic": OTHER})
    assert len(outside.mail.sent) == 2
    assert OTHER in outside.mail.sent[1][0].text


async def test_it_can_be_replayed_when_the_list_has_grown(station, outside):
    await push(station, run_event("e1") | {"topic": OTHER})
    [refused] = [one for one in await events(station) if one.status == "refused"]
    with pytest.raises(PermanentError, match="still refused: its source"):
        await station.service.replay(refused.id)
    listen(station, WORKSPACE, OTHER)
    await station.service.replay(refused.id)
    await station.work()
    assert len(outside.http.sent) == 1


async def test_no_sender_passes_for_this_service(station, outside):
    """Our own events never come by the door; one that says it is ours comes from where it comes from."""
    await push(station, run_event("e1") | {"topic": OTHER, "eventType": "Switchyard.ActionFailed"})
    assert [one.status for one in await events(station) if one.event is None] == ["refused"]


async def events(station):
    from shared.world import Search

    return await station.service.world.store.events(replace(Search(), limit=100))


async def test_what_event_grid_gave_up_is_held_against_the_list_too(station, outside):
    """A dead letter is a way in like any other."""
    sent = [run_event("e1") | {"topic": OTHER}, run_event("e2")]
    outside.dead_letters.files["SWITCHYARD/2026/11/20/8/1.json"] = msgspec.json.encode(sent)
    await station.service.on_dead_letters(outside.clock())
    await station.work()
    assert [one.refusal for one in await events(station) if one.status == "refused"] == [
        f"its source {OTHER!r} is not on the allow list (SWITCHYARD_SOURCES): nothing was decided"
    ]
    assert len(outside.http.sent) == 1

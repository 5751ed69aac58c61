"""Anything at the door: it is answered as documented, and leaves a record. Nothing that anybody sends stops what comes behind it."""

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import azure.functions as func
import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import function_app
from functions import host as functions_host
from local.door import Door
from local.host import discover
from shared.bounds import DEFAULTS
from shared.settings import WORK_QUEUE, Settings
from shared.web import app
from shared.world import Search
from tests.station import WORKSPACE, Station, opened, run_event
from tests.test_web import ask
from tests.world import Outside

RULES = """
rules:
  - name: all
    event: [RunCompleted, BlobCreated, ModelRegistered, RunStatusChanged, DriftDetected]
    match: {tags.team: present}
    when: event.data.runType.startsWith("x") || true
    do:
      - notify: fraud
      - webhook: {url: "https://hooks.example.com/x", body: "{{ event.data | tojson }} {{ event.tags.team }}"}
"""

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary().map(repr)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=8
)
KINDS = [
    *("RunCompleted", "RunStatusChanged", "ModelRegistered", "ModelDeployed", "DatasetDriftDetected"),
    "Nothing",
]
FIELDS = (
    "id",
    "topic",
    "subject",
    "eventType",
    "eventTime",
    "data",
    "dataVersion",
    "specversion",
    "source",
    "type",
    "time",
)
DATA = (
    "runId",
    "runStatus",
    "runTags",
    "runProperties",
    "runType",
    "modelName",
    "modelTags",
    "modelIds",
    "driftCoefficient",
)
payloads = st.dictionaries(st.sampled_from(DATA) | st.text(), anything, max_size=5)


@st.composite
def envelopes(draw):
    """An envelope as Azure sends it, with some of its fields made into anything."""
    made = run_event(draw(st.text(max_size=5)) or "e", draw(st.sampled_from(KINDS)))
    made["data"] = draw(payloads) | {"runTags": {"team": draw(anything)}}
    return made | draw(st.dictionaries(st.sampled_from(FIELDS), anything, max_size=3))


@contextmanager
def station():
    with TemporaryDirectory() as folder, opened(Path(folder) / "state.db") as database:
        made = Station(Outside(), database, RULES)
        given_ = list(functions_host._given)
        functions_host.use(made.service)
        try:
            yield made
        finally:
            functions_host._given[:] = given_


async def push(at, body, kind=b"Notification"):
    """What Event Grid posts, and the status it gets."""
    answered = []
    scope = {"method": "POST", "query_string": b"functionName=on_event", "headers": [(b"aeg-event-type", kind)]}

    async def receive():
        return {"body": body}

    async def send(message):
        answered.append(message)

    await Door(discover(function_app.app).eventgrid, at.queues.put, at.outside.clock, Settings())(scope, receive, send)
    return answered[0]["status"]


async def records(at):
    return await at.service.world.store.events(Search(limit=500))


async def whole(at):
    """What is on record can be looked at: in the list, alone, and on a page of its own."""
    found = await records(at)
    site = app(lambda: at.service)
    for path in ("/api/events", "/", *(f"{way}/{one.id}" for one in found for way in ("/api/events", "/events"))):
        assert (await ask(site, "GET", path, {})).status == 200, path
    return found


few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@few
@given(st.binary(max_size=200) | anything.map(lambda value: json.dumps(value).encode()))
@example(b"")
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b"9" * 10_000)
@example(b'{"a": 1e999, "b": -0, "c": NaN}')
@example(b'"\\ud800"')
@example(b"\xff\xfe\x00{}")
async def test_any_bytes_are_answered_202_and_are_on_record(body):
    with station() as at:
        assert await push(at, body) == 202
        await at.work()
        sent = _events(body)
        assert len(await whole(at)) >= min(len(sent), 1)
        assert all(one.status in {"refused", "decided"} for one in await records(at))
        # What comes behind it is done.
        assert await push(at, msgspec.json.encode(run_event("good", runTags={"team": "fraud"}))) == 202
        await at.work()
        assert (await at.record("good")).status == "decided"


def _events(body):
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return [body]
    return found if isinstance(found, list) else [found]


@few
@given(st.lists(envelopes(), min_size=1, max_size=3))
async def test_any_envelope_is_decided_or_refused_on_record_by_either_way_in(sent):
    body = json.dumps(sent).encode()
    with station() as at:
        assert await push(at, body) == 202
        await at.work()
        by_push = await whole(at)
        function = discover(function_app.app).queues["switchyard-events"]
        await at.queues.put(WORK_QUEUE, await function(func.QueueMessage(body=body)))
        await at.work()
        found = await records(at)
        assert by_push
        assert found
        assert all(one.status in {"refused", "decided"} for one in found)
        assert all(one.bytes for one in found if one.status == "refused" and one.event is None)
        if "\\ud" not in body.decode():
            assert not [one for one in at.outside.http.sent if b"marker" in one.body]


@pytest.mark.parametrize("depth", [DEFAULTS.payload_levels - 4, DEFAULTS.payload_levels + 1, 400, 900, 990, 1100, 5000])
async def test_a_payload_deeper_than_anybody_needs_is_kept_and_refused(depth):
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    envelope = msgspec.json.encode(run_event("deep", runTags={"team": "fraud"})).replace(
        b'"runTags"', b'"x":' + deep + b',"runTags"'
    )
    with station() as at:
        assert await push(at, envelope) == 202
        await at.work()
        [found] = [one for one in await whole(at) if one.event is None or one.event.id == "deep"]
        assert found.status == ("decided" if depth < DEFAULTS.payload_levels else "refused")
        if found.status == "refused":
            assert found.bytes
            assert "nested deeper" in found.refusal or "not JSON" in found.refusal


async def test_what_is_larger_than_anything_event_grid_sends_is_refused_at_the_door():
    with station() as at:
        assert await push(at, b" " * (8 * 1024 * 1024 + 1)) == 413
        assert await records(at) == []


async def test_a_payload_of_a_megabyte_with_as_many_keys_as_fit_is_decided():
    data: Any = {f"key{n}": n for n in range(50_000)}
    with station() as at:
        assert await push(at, msgspec.json.encode(run_event("wide", runTags={"team": "fraud"}, **data))) == 202
        await at.work()
        assert (await at.record("wide")).status == "decided"


async def test_halves_of_characters_and_nul_are_kept_as_they_can_be():
    """As the Functions worker reads them: its JSON knows more than ours."""
    function = discover(function_app.app).eventgrid["on_event"]
    for n, odd in enumerate(["\ud800", "a\x00b", "\udfff x", "\u202e", 10**400, float("nan"), float("inf")]):
        with station() as at:
            data: Any = {"runId": "r", "runTags": {"team": odd, "\ud800": 1}}
            event = func.EventGridEvent(
                id=f"e{n}",
                data=data,
                topic=WORKSPACE,
                subject="experiments/x/runs/r",
                event_type="Microsoft.MachineLearningServices.RunCompleted",
                event_time=None,
                data_version="1",
            )
            await at.queues.put(WORK_QUEUE, await function(event))
            await at.work()
            assert (
                len([one for one in await whole(at) if one.event is None or not one.event.raw_type.startswith("Sw")])
                == 1
            )


async def test_what_was_nested_without_end_cannot_be_replayed_and_says_so():
    with station() as at:
        await push(at, b"[" * 100_000)
        await at.work()
        [found] = [one for one in await records(at) if one.status == "refused"]
        answer = await ask(app(lambda: at.service), "POST", f"/api/events/{found.id}/replay", {})
        assert (answer.status, "still not JSON" in answer.json["detail"]) == (409, True)


@few
@given(
    st.sampled_from(
        ["/api/silences", "/api/freezes", "/api/silences/preview", "/api/rollouts/x/approve", "/silences", "/freezes"]
    ),
    st.binary(max_size=100) | anything.map(lambda value: json.dumps(value).encode()),
    st.sampled_from(["application/json", "application/x-www-form-urlencoded", "text/plain"]),
)
@example("/api/silences", b'{"a":' + b"[" * 16_000, "application/json")
@example("/api/silences/preview", b'{"matchers":"' + b"[" * 16_000 + b'"}', "application/json")
@example("/api/silences/preview", b'{"matchers":"a: &a [1,1]\\nb: &b [*a,*a]\\nc: [*b,*b]"}', "application/json")
@example("/api/freezes", b"x" * 20_000, "application/json")
async def test_whatever_somebody_says_is_answered_with_what_is_wrong(path, body, kind):
    with station() as at:
        headers = {"content-type": kind, "sec-fetch-site": "same-origin"}
        answer = await ask(app(lambda: at.service), "POST", path, headers, body)
        assert answer.status in {200, 400, 404, 409, 413}, (path, body, answer.text)


def test_this_file_means_the_recursion_limit_that_python_ships_with():
    assert sys.getrecursionlimit() >= 1000

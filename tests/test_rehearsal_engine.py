"""The rehearsal and the service: the same events lead to the same ends."""

from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.events import AZURE_ML, parse
from shared.record import Facts
from shared.rehearsal.engine import Rehearsal
from tests.station import WORKSPACE, Station, opened, run_event
from tests.test_service_terms import MAIN, RULES
from tests.world import Outside

STEP = 30
"""Seconds. All lengths in these rules are multiples of it, so that nothing is done late."""

SAME = {"sent": "done", "started": "done", "met": "done", "missing": "done"}
TEAMS = ("once", "gathered", "crowd", "sweep", "wake", "learn", "office", "fraud")


DELIVERIES = """
  - name: parts-complete
    event: BlobCreated
    throttle: {complete_within: 10m, parts: -of-(\\d+), marker: ^_DONE}
    do: [{notify: phones}, {notify: fraud}]
  - name: parts-missing
    event: BlobCreated
    throttle: {incomplete_after: 10m, parts: -of-(\\d+)}
    do: [{notify: fraud}]
"""


def blob(folder, file):
    return lambda name: {
        "id": name,
        "topic": "/subscriptions/s1/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/lake",
        "subject": f"/blobServices/default/containers/in/blobs/{folder}/{file}",
        "eventType": "Microsoft.Storage.BlobCreated",
        "data": {"api": "PutBlob", "contentLength": 3, "url": f"https://lake/in/{folder}/{file}"},
        "dataVersion": "",
    }


def about_run(kind, team, status, experiment):
    tags = {"team": team}
    return lambda name: run_event(name, kind, runStatus=status, runTags=tags, experimentName=experiment)


def of_sweep(parent, status):
    said = {"runTags": {"team": "sweep"}, "runProperties": {"azureml.parentrunid": parent}}
    return lambda name: run_event(name, "RunStatusChanged", runStatus=status, **said)


def sweep_ended(parent):
    said = {"runId": parent, "runType": "azureml.HyperDriveRun"}
    return lambda name: run_event(name, "RunStatusChanged", runStatus="Completed", **said)


def registered(team, version):
    said = {"modelName": "m", "modelVersion": version, "modelTags": {"team": team}}
    return lambda name: run_event(name, "ModelRegistered") | {"subject": "models/m:1", "data": said}


def deployed(version):
    said = {"serviceName": "e", "modelIds": f"m:{version}"}
    return lambda name: {
        "id": name,
        "topic": WORKSPACE,
        "subject": "endpoints/e",
        "eventType": f"{AZURE_ML}ModelDeployed",
        "data": said,
        "dataVersion": "1",
    }


statuses = st.sampled_from(["Failed", "Completed"])
happenings = st.one_of(
    st.builds(
        about_run,
        st.sampled_from(["RunStatusChanged", "RunCompleted"]),
        st.sampled_from(TEAMS),
        statuses,
        st.sampled_from("ab"),
    ),
    st.builds(of_sweep, st.sampled_from(["p1", "p2"]), statuses),
    st.builds(sweep_ended, st.sampled_from(["p1", "p2"])),
    st.builds(registered, st.sampled_from(["fraud", "learn"]), st.sampled_from("12")),
    st.builds(deployed, st.sampled_from("12")),
    st.builds(blob, st.sampled_from(["d1", "d2"]), st.sampled_from(["a-of-2", "b-of-2", "_DONE"])),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("states")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, 5, 20]), happenings), min_size=8, max_size=25))
async def test_what_the_service_does_is_what_was_rehearsed(folder, moments):
    name = len(list(folder.iterdir()))
    outside = Outside()
    with opened(folder / f"{name}.db") as database:
        station = Station(outside, database, RULES + DELIVERIES, MAIN)
        rehearsal = Rehearsal(station.service.loaded, start=outside.clock())
        told = []

        async def passes(steps):
            for _ in range(steps):
                await station.later(STEP)
                told.extend(rehearsal.until(outside.clock()))

        records = []
        for n, (steps, happening) in enumerate(moments):
            await passes(steps)
            envelope: Mapping[str, object] = happening(f"e{n}") | {"eventTime": outside.clock().isoformat()}
            await station.send(envelope)
            await station.work()
            event = parse(envelope)
            records.append(event.record)
            told += rehearsal.event(event, Facts(), outside.clock())
        await passes(3 * 3600 // STEP)
        assert not [one for one in told if one.outcome == "undecided"]
        ends = {one.key: SAME.get(one.outcome, one.outcome) for one in told if one.outcome != "waits"}
        kept = await station.service.world.store.intents(sorted({*records, *(one.record for one in told)}))
        live = {
            one.intent.key: one.status
            for several in kept.values()
            for one in several
            if one.intent.action != "arrived" and one.status != "waiting"
        }
        assert ends == live

"""Data and platform: batch endpoints, pipelines of others, events for others, labels and schedules."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import replace as with_
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from msgspec.structs import replace

from shared.actions import Context, data_factory, discover, synapse
from shared.actions._job import look as look_at_job
from shared.actions._place import Place
from shared.actions.batch import Batch, BatchInput, BatchOutput
from shared.actions.batch import run as invoke
from shared.actions.batch_default import BatchDefault
from shared.actions.batch_default import run as switch
from shared.actions.forward import Forward
from shared.actions.forward import run as forward
from shared.actions.schedule import Schedule
from shared.actions.schedule import run as set_schedule
from shared.actions.tag_model import TagModel
from shared.actions.tag_model import run as tag
from shared.cloud import Doors, doors
from shared.cloud.failures import Doing
from shared.errors import MissingError, PermanentError, TemporaryError
from shared.events import Event, parse
from shared.guards import depth
from shared.record import Job, WorkspaceRef
from shared.settings import Secrets, Settings
from shared.world import EndpointRef, Invocation, Origin, Submitted, World
from simulator.app import Box
from simulator.state import Channel, Fault
from tests.test_actions import EVENT, KEY, context
from tests.world import START, FakeServing, Outside

WHERE = WorkspaceRef("6560575d-fa06-4e7d-95fb-f962e74efd7a", "rg-ml", "prod")
PLACE = Place(subscription=WHERE.subscription, resource_group=WHERE.resource_group, workspace="prod")
HERE = replace(
    EVENT, source=WHERE.path, subscription=WHERE.subscription, resource_group=WHERE.resource_group, workspace="prod"
)
FILE = BatchInput(type="uri_file", path="https://contoso.blob.core.windows.net/in/a.parquet")


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with Box(rate=0, start=START, seed=1) as box:

        async def furnish() -> None:
            here = box.azure.azureml.at(WHERE.path)
            box.azure.batch.serve(here, "churn-scores", {"blue": "churn:6", "green": "churn:7"})
            box.azure.azureml.know(here, "fraud", "7", {"stage": "dev", "team": "fraud"})
            box.azure.azureml.plan(here, "churn-monitor", f"{WHERE.path}/jobs/nightly")

        box.run(furnish())
        yield box


@pytest.fixture
async def outside(box: Box, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Doors]:
    monkeypatch.setenv("SSL_CERT_FILE", str(box.ca))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(box.ca))
    made = doors(Settings.of(box.environment), box.environment, tmp_path)
    yield made
    await made.close()
    box.sim.faults.clear()


@pytest.fixture
def world(box: Box, outside: Doors) -> World:
    """The real doors, to the simulated Azure."""
    return with_(
        Outside().world,
        clock=box.sim.clock.now,
        secret=Secrets(box.environment),
        http=outside.http,
        platform=outside.platform,
        serving=outside.serving,
        azure=outside.azure,
        topic=outside.topic,
    )


def about(world: World, key: str = KEY, *, event: Event = HERE, again: bool = False) -> Context:
    return with_(context(Outside(), event=event, key=key, again=again), world=world)


async def job_of(outside: Doors, name: str) -> dict[str, Any]:
    found = await outside.workspaces.arm("GET", WHERE, f"/jobs/{name}", Doing("reading", "a role"))
    properties: dict[str, Any] = found["properties"]
    return properties


# Batch endpoints


async def test_a_batch_endpoint_gets_data_and_values_and_its_job_says_why_it_runs(outside: Doors, world: World) -> None:
    params = Batch(
        endpoint="churn-scores",
        deployment="green",
        experiment="nightly",
        inputs={
            "data": FILE,
            "customers": "azureml:customers:12",
            "folder": "azureml://datastores/workspaceblobstore/paths/in/",
            "threshold": 0.5,
            "strict": True,
            "label": "churn",
            "site": BatchInput(value="https://contoso.com"),
        },
        outputs={"score": BatchOutput(type="uri_file", path="azureml://datastores/workspaceblobstore/paths/out/a.csv")},
    )
    result = await invoke(params, about(world, "batch-1"))
    assert result.said == "invoked batch endpoint churn-scores in workspace prod: job batch-1"
    assert result.link is not None
    job = await job_of(outside, "batch-1")
    assert {name: (one["jobInputType"], one.get("uri") or one.get("value")) for name, one in job["inputs"].items()} == {
        "data": ("uri_file", "https://contoso.blob.core.windows.net/in/a.parquet"),
        "customers": ("uri_folder", f"{WHERE.path}/data/customers/versions/12"),
        "folder": ("uri_folder", "azureml://datastores/workspaceblobstore/paths/in/"),
        "threshold": ("literal", "0.5"),
        "strict": ("literal", "true"),
        "label": ("literal", "churn"),
        "site": ("literal", "https://contoso.com"),
    }
    assert job["outputs"]["score"]["jobOutputType"] == "uri_file"
    assert (job["experimentName"], job["displayName"]) == ("nightly", "churn-scores:green")
    assert (job["properties"]["switchyard_rule"], job["properties"]["switchyard_depth"]) == ("fraud-drift", "1")


async def test_an_invocation_whose_answer_was_lost_is_not_made_twice(box: Box, outside: Doors, world: World) -> None:
    params = Batch(endpoint="churn-scores", inputs={"data": FILE}, workspace=PLACE)
    box.sim.faults.append(Fault("scoring", "lost answer"))
    with pytest.raises(TemporaryError) as caught:
        await invoke(params, about(world, "batch-2"))
    assert caught.value.sent
    again = await invoke(params, about(world, "batch-2", again=True))
    assert again.said == "batch endpoint churn-scores in workspace prod was invoked by an earlier try, as job batch-2"
    assert len([one for one in box.sim.inbox.all("job") if one.key == "batch-2"]) == 1
    assert (await job_of(outside, "batch-2"))["displayName"] == "churn-scores:blue"


async def test_a_service_that_names_the_job_itself_may_have_run_it_twice_after_a_lost_answer() -> None:
    """That it takes the name which we give it is documented, and has not been seen."""

    class Unnamed(FakeServing):
        async def invoke(self, endpoint: EndpointRef, asked: Invocation) -> Submitted:
            return Submitted("0f8fad5b", "NotStarted")

    outside = Outside(serving=Unnamed())
    first = await invoke(Batch(endpoint="churn-scores"), context(outside))
    again = await invoke(Batch(endpoint="churn-scores"), context(outside, again=True))
    assert (first.maybe_twice, again.maybe_twice) == (None, True)
    assert again.said.endswith("job 0f8fad5b; may have been sent twice")


async def test_a_batch_job_is_followed_to_its_end(box: Box, world: World) -> None:
    result = await invoke(Batch(endpoint="churn-scores", inputs={"data": FILE}), about(world, "batch-3"))
    assert result.follow == {
        "job": "batch-3",
        "subscription": WHERE.subscription,
        "resource_group": "rg-ml",
        "workspace": "prod",
        "about": "batch endpoint churn-scores in workspace prod",
    }
    found = await look_at_job(result.follow, START, world)
    assert found.state in {"queued", "running"}
    while found.state in {"queued", "running"}:
        box.sim.clock.advance(60)
        found = await look_at_job(result.follow, START, world)
    assert (found.state, found.said) == ("succeeded", "job batch-3 completed")
    with pytest.raises(MissingError):
        await look_at_job(result.follow | {"job": "nobody-s"}, START, world)


@pytest.mark.parametrize(
    ("status", "state"),
    [("Queued", "queued"), ("Preparing", "running"), ("Failed", "failed"), ("Canceled", "canceled"), (None, "running")],
)
async def test_how_a_job_stands_is_one_of_our_words(status: str | None, state: str) -> None:
    outside = Outside()
    outside.platform.jobs["j"] = Job(status=status, error="out of memory" if status == "Failed" else None)
    handle = {"job": "j", "subscription": "s", "resource_group": "g", "workspace": "w"}
    found = await look_at_job(handle, START, outside.world)
    assert found.state == state
    assert found.said.endswith("failed: out of memory") == (status == "Failed")


async def test_what_a_batch_endpoint_refuses_is_passed_on(world: World) -> None:
    params = Batch(endpoint="churn-scores", deployment="grey", inputs={"data": FILE})
    with pytest.raises(MissingError, match=r"invoking deployment grey of batch endpoint churn-scores.*'grey'"):
        await invoke(params, about(world, "batch-4"))
    with pytest.raises(ValueError, match="'/etc/passwd' is no data"):
        BatchInput.model_validate({"path": "/etc/passwd"})
    with pytest.raises(ValueError, match="either `path`"):
        BatchInput.model_validate({"type": "uri_file"})
    blob = Event("b-1", "BlobCreated", START, "/subscriptions/s/storageAccounts/a", blob=EVENT.blob)
    with pytest.raises(PermanentError, match="names no Azure ML workspace: give the action its `workspace`"):
        await invoke(Batch(endpoint="churn-scores"), about(world, event=blob))


def test_what_lies_behind_an_event_is_the_most_that_any_part_of_it_says() -> None:
    event = replace(EVENT, tags={"switchyard_depth": "1"}, data={"switchyard_depth": "3"})
    assert depth(replace(event, properties={"switchyard_depth": "2"})) == 3


async def test_a_lever_of_the_box_makes_a_batch_endpoint(box: Box, world: World) -> None:
    asked = {"name": "nightly", "model": "churn", "version": "9", "kind": "batch", "workspace": WHERE.path}
    made = await asyncio.to_thread(requests.post, f"{box.http}/control/endpoint", json=asked, timeout=5)
    assert made.json() == {"id": f"{WHERE.path}/batchEndpoints/nightly", "default": "blue"}
    state = (await asyncio.to_thread(requests.get, f"{box.http}/control/state", timeout=5)).json()
    assert state["batch"][f"{WHERE.path}/batchEndpoints/nightly"] == {"default": "blue", "state": "Succeeded"}
    assert "invoked batch endpoint nightly" in (await invoke(Batch(endpoint="nightly"), about(world, "batch-9"))).said


# Pipelines of Data Factory and Synapse

PIPELINES = pytest.mark.parametrize("kind", ["data_factory", "synapse"])


def piped(kind: str, pipeline: str = "prepare", **more: Any) -> Any:
    if kind == "synapse":
        return synapse.Synapse(workspace="contoso-lake", pipeline=pipeline, **more)
    return data_factory.DataFactory(factory="contoso-data", pipeline=pipeline, **more)


def ran(box: Box, kind: str) -> Any:
    """What was started there, newest last."""
    return getattr(box.azure, kind).runs.get("contoso-lake" if kind == "synapse" else "contoso-data", [])


@PIPELINES
async def test_a_pipeline_is_run_with_its_parameters_and_followed_to_its_end(box: Box, world: World, kind: str) -> None:
    action, before = discover()[kind], len(ran(box, kind))
    params = piped(
        kind,
        parameters={"path": "in/a.parquet", "days": 3, "simulated_seconds": 90},
        correlation_parameter="correlation",
        cause_parameter="cause",
    )
    began = box.sim.clock.now()
    result = await action.run(params, about(world, "pipe-1"))
    [run] = ran(box, kind)[before:]
    assert (run.parameters["path"], run.parameters["days"], run.parameters["correlation"]) == (
        "in/a.parquet",
        3,
        "pipe-1",
    )
    assert json.loads(run.parameters["cause"])["switchyard_rule"] == "fraud-drift"
    assert result.said.startswith("started pipeline prepare of ")
    assert (result.values["run"], result.maybe_twice) == (run.id, False)
    assert result.follow is not None
    assert action.look is not None
    seen = []
    for _ in range(4):
        seen.append(await action.look(result.follow, began, world))
        box.sim.clock.advance(40)
    assert [one.state for one in seen] == ["queued", "running", "running", "succeeded"]
    assert seen[-1].values["duration"] == 90
    assert seen[-1].ended == began + timedelta(seconds=98)
    assert seen[-1].link == result.link


async def test_the_link_leads_to_the_run_in_the_monitor(world: World) -> None:
    begun = await data_factory.run(piped("data_factory"), about(world))
    place = f"%2Fsubscriptions%2F{WHERE.subscription}%2FresourceGroups%2Frg-ml%2Fproviders%2FMicrosoft.DataFactory"
    run = begun.values["run"]
    assert (
        begun.link
        == f"https://adf.azure.com/en/monitoring/pipelineruns/{run}?factory={place}%2Ffactories%2Fcontoso-data"
    )
    params = piped("synapse", subscription="s1", resource_group="g1")
    assert "Microsoft.Synapse%2Fworkspaces%2Fcontoso-lake" in str((await synapse.run(params, about(world))).link)
    assert (await synapse.run(piped("synapse"), about(world))).link is None  # the studio asks for the whole id


@PIPELINES
async def test_after_a_lost_answer_the_run_is_found_by_its_key(box: Box, world: World, kind: str) -> None:
    action, before = discover()[kind], len(ran(box, kind))
    params = piped(kind, correlation_parameter="correlation")
    box.sim.faults.append(Fault(kind, "lost answer"))
    with pytest.raises(TemporaryError) as caught:
        await action.run(params, about(world, "pipe-2"))
    assert caught.value.sent
    # Others run the same pipeline meanwhile, more than fit on a page.
    ours = ran(box, kind)[before]
    ran(box, kind)[before:before] = [
        with_(ours, id=f"other-{n}", parameters={"correlation": f"other-{n}"}) for n in range(101)
    ]
    result = await action.run(params, about(world, "pipe-2", again=True))
    mine = [run for run in ran(box, kind) if run.parameters.get("correlation") == "pipe-2"]
    assert len(mine) == 1
    assert (result.values["run"], result.maybe_twice) == (mine[0].id, False)
    assert result.said.endswith(f"was started by an earlier try, as run {mine[0].id}")


@PIPELINES
async def test_what_never_arrived_is_started_when_it_is_not_found(box: Box, world: World, kind: str) -> None:
    action, before = discover()[kind], len(ran(box, kind))
    params = piped(kind, correlation_parameter="correlation")
    box.sim.faults.append(Fault(kind, "drop"))
    with pytest.raises(TemporaryError):
        await action.run(params, about(world, "pipe-3"))
    result = await action.run(params, about(world, "pipe-3", again=True))
    assert (len(ran(box, kind)) - before, result.maybe_twice) == (1, False)


@PIPELINES
async def test_without_a_key_nothing_is_started_blindly_a_second_time(box: Box, world: World, kind: str) -> None:
    action, before = discover()[kind], len(ran(box, kind))
    with pytest.raises(
        PermanentError, match=r"may have been started.*Look at its runs since 2026-11-20 08:30 UTC"
    ) as caught:
        await action.run(piped(kind), about(world, again=True))
    assert caught.value.maybe_twice is False
    assert len(ran(box, kind)) == before
    result = await action.run(piped(kind, repeat=True), about(world, again=True))
    assert (len(ran(box, kind)) - before, result.maybe_twice) == (1, True)
    assert result.said.endswith("may have been sent twice")


@PIPELINES
@pytest.mark.parametrize(
    ("pipeline", "ending"),
    [
        ("prepare-failed", ("failed", "is Failed: Operation on target Copy failed: ErrorCode=SqlOperationFailed")),
        ("prepare-cancelled", ("canceled", "is Cancelled")),
        ("prepare-queued", ("queued", "is Queued")),
    ],
)
async def test_how_a_run_ends_is_one_of_our_words(
    box: Box, world: World, kind: str, pipeline: str, ending: tuple[str, str]
) -> None:
    action, began = discover()[kind], box.sim.clock.now()
    result = await action.run(piped(kind, pipeline), about(world))
    box.sim.clock.advance(86_400)
    assert action.look is not None
    assert result.follow is not None
    found = await action.look(result.follow, began, world)
    assert found.state == ending[0]
    assert found.said.endswith(ending[1])


@PIPELINES
async def test_what_the_service_refuses_says_why(box: Box, world: World, kind: str) -> None:
    action = discover()[kind]
    with pytest.raises(PermanentError, match="HTTP 404: Entity 'missing' was not found"):
        await action.run(piped(kind, "missing"), about(world))
    getattr(box.azure, kind).declare("contoso-lake" if kind == "synapse" else "contoso-data", "strict", {"path": True})
    with pytest.raises(PermanentError, match="HTTP 400: ErrorCode=InvalidTemplate, The parameter 'path'"):
        await action.run(piped(kind, "strict"), about(world))
    assert action.look is not None
    begun = (await action.run(piped(kind), about(world))).follow
    assert begun is not None
    with pytest.raises(PermanentError, match="HTTP 404: Pipeline run 'nobody-s' was not found"):
        await action.look(begun | {"run": "nobody-s"}, START, world)
    box.sim.faults.append(Fault(kind, 403))
    with pytest.raises(PermanentError, match=r"HTTP 403: .*the identity of this app probably lacks the"):
        await action.run(piped(kind), about(world))
    with pytest.raises(ValueError, match="is no name of a pipeline"):
        piped(kind, "a/b")
    with pytest.raises(ValueError, match="everybody who sees a run sees its parameters"):
        piped(kind, parameters={"connection": {"password": "${DB_PASSWORD}"}})


async def test_a_factory_that_is_nowhere_is_asked_for(world: World) -> None:
    nowhere = Event("1", "Contoso.Ready", START, "/contoso")
    with pytest.raises(PermanentError, match="give the action its `subscription` and `resource_group`"):
        await data_factory.run(piped("data_factory"), about(world, event=nowhere))


async def test_in_another_cloud_the_token_is_for_that_cloud(outside: Doors, world: World) -> None:
    asked = Outside()
    asked.azure.lakes = "dev.azuresynapse.usgovcloudapi.net"
    await synapse.run(piped("synapse"), context(asked))
    assert asked.azure.scopes == ["https://dev.azuresynapse.usgovcloudapi.net/.default"]


# What is made so


async def test_the_default_of_a_batch_endpoint_is_switched_and_the_record_says_what_it_was(
    box: Box, world: World
) -> None:
    params = BatchDefault(endpoint="churn-scores", deployment="green", workspace=PLACE)
    blob = Event("b-1", "BlobCreated", START, "/subscriptions/s/storageAccounts/a", blob=EVENT.blob)
    result = await switch(params, about(world, event=blob))
    of = "batch endpoint churn-scores in workspace prod"
    assert result.said == f"switched the default of {of} to green; before, it was blue"
    with pytest.raises(TemporaryError, match="another operation is under way"):
        await switch(params, about(world, event=blob, again=True))
    box.sim.clock.advance(60)
    again = await switch(params, about(world, event=blob, again=True))
    assert again.said == f"the default of {of} is green, and was made so by an earlier try"
    assert (await switch(params, about(world))).said.endswith("and was so already")
    with pytest.raises(MissingError, match=f"{of} has no deployment grey; it has: blue, green"):
        await switch(params.model_copy(update={"deployment": "grey"}), about(world))
    with pytest.raises(MissingError, match="there is no batch endpoint nobody-s"):
        await switch(params.model_copy(update={"endpoint": "nobody-s"}), about(world))
    await switch(params.model_copy(update={"deployment": "blue"}), about(world))
    box.sim.clock.advance(60)


async def test_a_model_is_tagged_beside_the_tags_it_has(box: Box, world: World) -> None:
    result = await tag(TagModel(tags={"stage": "candidate", "checked": True}), about(world))
    assert result.said == "tagged model fraud:7 in workspace prod: stage=candidate (was dev), checked=true"
    origin = await world.serving.origin(WHERE, "fraud", "7")
    assert origin is not None
    assert origin.tags == {"stage": "candidate", "checked": "true", "team": "fraud"}
    assert (
        "were put there by an earlier try"
        in (await tag(TagModel(tags={"stage": "candidate"}), about(world, again=True))).said
    )
    other = TagModel(tags={"n": 1}, model="fraud", version="8")
    with pytest.raises(MissingError, match="there is no model fraud:8"):
        await tag(other, about(world))
    with pytest.raises(PermanentError, match="names no model version: give the action its `model` and `version`"):
        await tag(TagModel(tags={"n": 1}), about(world, event=replace(HERE, model=None)))
    with pytest.raises(ValueError, match="go together"):
        TagModel(tags={"n": 1}, model="fraud")


@dataclass
class Overwritten(FakeServing):
    """Another writer comes a moment later."""

    again: bool = True

    async def tag(self, where: WorkspaceRef, model: str, version: str, tags: Mapping[str, str]) -> None:
        before = self.origins[f"{model}:{version}"]
        await super().tag(where, model, version, tags)
        if self.again:
            self.origins[f"{model}:{version}"] = before


async def test_tags_that_another_writer_took_away_are_written_again() -> None:
    serving = Overwritten(origins={"fraud:7": Origin(tags={"team": "fraud"})})
    outside = Outside(serving=serving)
    with pytest.raises(TemporaryError, match="stage cannot be seen; somebody else wrote at the same time"):
        await tag(TagModel(tags={"stage": "candidate"}), context(outside))
    serving.again = False
    assert "stage=candidate" in (await tag(TagModel(tags={"stage": "candidate"}), context(outside))).said


async def test_a_schedule_is_disabled_and_enabled_and_nothing_else_of_it_changes(
    box: Box, outside: Doors, world: World
) -> None:
    def stored() -> Any:
        return dict(box.azure.azureml.at(WHERE.path).schedules["churn-monitor"].body)

    disable, enable = (Schedule(name="churn-monitor", enabled=enabled) for enabled in (False, True))
    before = stored()
    assert (await set_schedule(disable, about(world))).said == "disabled schedule churn-monitor in workspace prod"
    with pytest.raises(TemporaryError, match="another operation is under way, the schedule is Updating"):
        await set_schedule(disable, about(world, again=True))
    box.sim.clock.advance(10)
    assert "was disabled by an earlier try" in (await set_schedule(disable, about(world, again=True))).said
    assert (await set_schedule(disable, about(world))).said.endswith("was disabled already")
    assert stored() == before | {"isEnabled": False}
    # The SDK's own view of it.
    by_sdk = await outside.workspaces.by_sdk(
        WHERE, Doing("looking", "a role"), lambda ml: ml.schedules.get("churn-monitor")
    )
    assert by_sdk.is_enabled is False
    await set_schedule(enable, about(world))
    box.sim.clock.advance(10)
    assert stored() == before
    with pytest.raises(MissingError, match="enabling schedule nobody-s: not found"):
        await set_schedule(Schedule(name="nobody-s", enabled=True), about(world))


# Events for others


def arrived(box: Box, channel: Channel, to: str) -> list[Any]:
    return [one for one in box.sim.inbox.all(channel) if one.to == to]


@pytest.mark.parametrize("form", ["eventgrid", "cloudevents"])
@pytest.mark.parametrize("key", [True, False])
async def test_an_event_is_handed_on_to_a_topic_in_the_schema_that_it_takes(
    box: Box, world: World, form: Any, *, key: bool
) -> None:
    to = f"to-{form}-{key}"
    params = Forward(
        topic=f"{box.https}/topics/{to}/api/events", key="${EVENTGRID_TOPIC_KEY}" if key else None, format=form
    )
    event = replace(HERE, raw_type="Contoso.Drift", subject="monitors/a", data={"coefficient": 0.83})
    result = await forward(params, about(world, "on-1", event=event))
    assert result.said == "handed Contoso.Drift on to localhost"
    [received] = arrived(box, "topic", to)
    told = received.payload
    assert (told["id"], told["subject"]) == ("on-1", "monitors/a")
    assert told["data"] | {"switchyard_event": ""} == {
        "coefficient": 0.83,
        "switchyard_event": "",
        "switchyard_rule": "fraud-drift",
        "switchyard_depth": "1",
        "switchyard_forwarded": 1,
    } | ({"switchyard_source": WHERE.path} if form == "eventgrid" else {})
    assert told.get("eventType" if form == "eventgrid" else "type") == "Contoso.Drift"
    assert told.get("source") == (WHERE.path if form == "cloudevents" else None)


async def test_an_event_is_handed_on_to_an_event_hub_under_its_key(box: Box, world: World) -> None:
    params = Forward(event_hub="contoso-hubs/ml", partition_key="fraud", type="Contoso.Scored", data={"n": 3})
    result = await forward(params, about(world, "on-2"))
    assert result.said == "handed Contoso.Scored on to contoso-hubs/ml"
    [received] = arrived(box, "event_hub", "contoso-hubs/ml")
    assert (received.key, received.payload["partition_key"]) == ("on-2", "fraud")
    assert (received.payload["body"]["id"], received.payload["body"]["data"]["n"]) == ("on-2", 3)
    asked = Outside()
    await forward(Forward(event_hub="hubs-cn.servicebus.chinacloudapi.cn/ml"), context(asked, again=True))
    assert asked.http.sent[0].url.startswith("https://hubs-cn.servicebus.chinacloudapi.cn/ml/messages?")
    assert asked.azure.scopes == ["https://eventhubs.azure.net/.default"]


async def test_a_repetition_has_the_same_id_and_the_record_says_that_there_may_be_two(box: Box, world: World) -> None:
    params = Forward(topic=f"{box.https}/topics/to-twice/api/events", key="${EVENTGRID_TOPIC_KEY}")
    box.sim.faults.append(Fault("topic", "lost answer"))
    with pytest.raises(TemporaryError) as caught:
        await forward(params, about(world, "on-3"))
    assert caught.value.sent
    assert (await forward(params, about(world, "on-3", again=True))).said.endswith("; may have been sent twice")
    assert [one.payload["id"] for one in arrived(box, "topic", "to-twice")] == ["on-3", "on-3"]


async def test_a_gateway_s_answer_leaves_open_whether_it_arrived(box: Box, world: World) -> None:
    params = Forward(topic=f"{box.https}/topics/to-twice/api/events", key="${EVENTGRID_TOPIC_KEY}")
    for status, sent in ((502, True), (503, False)):
        box.sim.faults.append(Fault("topic", status))
        with pytest.raises(TemporaryError) as caught:
            await forward(params, about(world))
        assert caught.value.sent == sent


async def test_what_comes_back_again_and_again_is_handed_on_no_more(box: Box, world: World) -> None:
    """The rule listens to the topic that it sends to."""
    params = Forward(topic=f"{box.https}/topics/to-ourselves/api/events", key="${EVENTGRID_TOPIC_KEY}")
    event = replace(HERE, raw_type="Contoso.Ready", subject="s", data={"n": 1})
    for n in range(3):
        await forward(params, about(world, f"round-{n}", event=event))
        told = arrived(box, "topic", "to-ourselves")[-1].payload
        event = parse({**told, "topic": "/subscriptions/s/topics/ours"})
    with pytest.raises(
        PermanentError, match="handed on 3 times already, and comes back: the rule listens to where it sends"
    ):
        await forward(params, about(world, "round-3", event=event))


async def test_what_is_too_large_is_not_even_sent(box: Box, world: World) -> None:
    event = replace(HERE, data={"text": "x" * 1_048_576})
    for params in (Forward(topic="https://a.test/api/events"), Forward(event_hub="contoso-hubs/ml")):
        with pytest.raises(
            PermanentError, match=r"the event has 1,04\d,\d+ bytes, the .* takes 1,048,576: say by `data`"
        ):
            await forward(params, about(world, event=event))
    with pytest.raises(
        PermanentError, match="partition key has 129 characters, the event hub contoso-hubs/ml takes 128"
    ):
        await forward(Forward(event_hub="contoso-hubs/ml", partition_key="k" * 129), about(world))


async def test_what_a_topic_or_hub_refuses_is_passed_on(box: Box, world: World) -> None:
    topic = f"{box.https}/topics/to-cloudevents/api/events"
    with pytest.raises(PermanentError, match="configured to receive event in 'CloudEventV10' schema"):
        await forward(Forward(topic=topic, key="${EVENTGRID_TOPIC_KEY}"), about(world))
    wrong = with_(world, secret=lambda _: "b2xk")
    with pytest.raises(
        PermanentError, match="not allowed; the identity of this app probably lacks the key, or the role"
    ):
        await forward(Forward(topic=topic, key="${OLD_KEY}"), about(wrong))
    with pytest.raises(PermanentError, match=r"HTTP 404: .*could not be found"):
        await forward(Forward(event_hub="contoso-hubs/missing"), about(world))
    box.sim.faults.append(Fault("event_hub", 403))
    with pytest.raises(PermanentError, match="probably lacks the role 'Azure Event Hubs Data Sender'"):
        await forward(Forward(event_hub="contoso-hubs/ml"), about(world))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "give either `topic` or `event_hub`"),
        ({"topic": "https://a.test", "event_hub": "contoso-hubs/ml"}, "give either"),
        ({"topic": "https://a.test", "partition_key": "k"}, "partition_key does not go with `topic`"),
        ({"event_hub": "contoso-hubs/ml", "key": "${K}"}, "key does not go with `event_hub`"),
        ({"event_hub": "ml"}, "names no event hub: expected NAMESPACE/HUB"),
        ({"topic": "http://a.test"}, "is not https"),
    ],
)
def test_an_event_goes_one_of_two_ways(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Forward.model_validate(values)

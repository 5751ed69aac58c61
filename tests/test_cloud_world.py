"""The service as it runs on Azure: our functions, the real World, storage by Azurite, everything else simulated."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest
from azure.functions.eventgrid import EventGridEventInConverter
from azure.functions.meta import Datum
from azure.storage.blob.aio import ContainerClient
from azure.storage.queue import TextBase64DecodePolicy, TextBase64EncodePolicy
from azure.storage.queue.aio import QueueClient

import function_app
from functions import host as functions_host
from functions.web import web_app
from local.host import Functions, discover
from shared.archive import read_line
from shared.cloud.dead_letters import CONTAINER
from shared.cloud.world import AzureWorld, world
from shared.errors import PermanentError
from shared.events import AZURE_ML
from shared.service import Service
from shared.settings import INTAKE_QUEUE, WORK_QUEUE, Settings
from simulator.app import Box
from tests.station import SWITCHYARD, run_event
from tests.store_contract import noise

RULES = """
rules:
  - name: good
    event: RunCompleted
    match: {tags.team: fraud, metrics.auc: ">= 0.9"}
    do: [{notify: fraud}]
  - name: drift
    event: DriftDetected
    match: {drift.coefficient: "> 0.3"}
    do: [{retrain: weekly, inputs: {drift: "{{ event.drift.coefficient }}"}}]
"""


class FunctionsHost:
    """What the Functions host does: it calls the functions, and moves what they put out and take in through storage."""

    def __init__(self, queue: QueueClient) -> None:
        self._functions: Functions = discover(function_app.app)
        self._queue = queue

    async def deliver(self, envelope: Mapping[str, object]) -> int:
        """An event from Event Grid; how many messages came of it."""
        event = EventGridEventInConverter.decode(Datum(json.dumps(envelope), "json"), trigger_metadata={})
        return await self._put(await self._functions.eventgrid["on_event"](event))

    async def buffered(self, envelope: Mapping[str, object]) -> int:
        """The same by the queue that Event Grid fills itself."""
        message = func.QueueMessage(body=json.dumps(envelope).encode())
        return await self._put(await self._functions.queues[INTAKE_QUEUE](message))

    async def _put(self, texts: Sequence[str]) -> int:
        for text in texts:
            await self._queue.send_message(text)
        return len(texts)

    async def work(self) -> int:
        """Everything on the queue; how many messages that were. What raises stays on the queue."""
        on_message = self._functions.queues[WORK_QUEUE]
        done = 0
        while messages := [message async for message in self._queue.receive_messages(visibility_timeout=30)]:
            for message in messages:
                await on_message(func.QueueMessage(id=message.id, body=message.content.encode()))
                await self._queue.delete_message(message)
                done += 1
        return done

    async def clean_up(self) -> None:
        for on_timer in self._functions.timers.values():
            await on_timer(func.TimerRequest(past_due=False))

    async def get(self, path: str) -> func.HttpResponse:
        headers = {"Host": "switchyard.azurewebsites.net", "Accept-Language": "en"}
        request = func.HttpRequest("GET", f"https://switchyard.azurewebsites.net{path}", headers=headers, body=b"")
        answer: func.HttpResponse = await web_app(request, None)
        return answer

    async def events(self) -> dict[str, Any]:
        """The list of the API, by type; what could not be read has none."""
        found = json.loads((await self.get("/api/events")).get_body())["events"]
        by_type = {one["event"]["type"] if one["event"] else "": one for one in found}
        assert len(by_type) == len(found)
        return by_type


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with Box(rate=100_000, seed=1) as box:
        yield box


@pytest.fixture
def environ(box: Box, account: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The settings of a function app."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "switchyard.yaml").write_text(SWITCHYARD)
    (tmp_path / "rules" / "team.yaml").write_text(RULES)
    settings = box.environment | {
        "AzureWebJobsStorage": account,
        "SWITCHYARD_CONFIG": str(tmp_path),
        "TEAMS_FRAUD": box.environment["TEAMS_FRAUD_URL"],
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(functions_host, "_given", [])
    return settings


@pytest.fixture
async def host(account: str, environ: dict[str, str]) -> AsyncIterator[FunctionsHost]:
    client = QueueClient.from_connection_string(
        account,
        WORK_QUEUE,
        message_encode_policy=TextBase64EncodePolicy(),
        message_decode_policy=TextBase64DecodePolicy(),
    )
    async with client:
        await client.create_queue()
        yield FunctionsHost(client)
        for service in functions_host._given:
            assert isinstance(service.world, AzureWorld)
            await service.world.close()


def good_run(box: Box, name: str) -> Mapping[str, Any]:
    """A run of the fraud team ends in the simulated workspace with an AUC of 0.93: the event as Event Grid has it."""

    async def ends() -> None:
        azureml = box.azure.azureml
        here = azureml.workspace("s1", "mlops", "prod")
        run = azureml.begin(here, name, {"jobType": "Command", "experimentName": "fraud", "tags": {"team": "fraud"}})
        run.metrics = {"auc": [0.7, 0.93]}
        azureml.turn(here, run, "Completed")

    box.run(ends())
    return box.azure.eventgrid.recent[-1]


def drift() -> dict[str, object]:
    data = {"DataDriftName": "fraud-monitor", "RunId": "run-d1", "DriftCoefficient": 0.41}
    return run_event("d1") | {"eventType": f"{AZURE_ML}DatasetDriftDetected", "data": data}


async def test_events_become_a_card_and_a_retraining_once_and_are_all_on_record(
    box: Box, host: FunctionsHost, environ: dict[str, str]
) -> None:
    settings = Settings.of(environ)
    functions_host.use(Service.of(world(settings, environ), settings))
    before = len(box.sim.inbox.all())
    completed, malformed = good_run(box, "fraud-train-1"), run_event("m1") | {"data": "not an object"}
    for envelope in (completed, drift(), malformed):
        assert await host.deliver(envelope) == 1
    await host.work()

    inbox = box.sim.inbox.all()[before:]
    received = {one.channel: one for one in inbox}
    assert sorted(received) == ["email", "job", "teams"]
    assert len(inbox) == 3
    assert (received["teams"].to, received["teams"].problem) == ("Fraud team", None)
    assert "0.93" in json.dumps(received["teams"].payload)
    job = received["job"].payload
    assert isinstance(job, dict)
    assert (job["experimentName"], job["inputs"]["drift"]["value"]) == ("fraud-retraining", "0.41")
    assert received["email"].to == "mlops@contoso.com"

    events = await host.events()
    assert sorted(events) == ["", "DriftDetected", "EventRefused", "RunCompleted"]
    assert "data is a string, expected an object" in events[""]["refusal"]
    done = {one: [(act["rule"], act["status"]) for act in events[one]["actions"]] for one in events}
    assert done["RunCompleted"] == [("good", "done")]
    assert done["DriftDetected"] == [("drift", "done")]
    assert job["tags"]["switchyard_event"] == events["DriftDetected"]["id"]

    for envelope in (completed, drift()):
        await host.deliver(envelope)
    assert await host.work() == 2  # the deliveries, and nothing that came of them
    await host.clean_up()
    assert len(box.sim.inbox.all()) == before + 3
    again = await host.events()
    assert (again["RunCompleted"]["deliveries"], again["DriftDetected"]["deliveries"]) == (2, 2)
    assert len(again) == 4


async def test_the_service_is_built_from_the_settings_of_the_function_app(box: Box, host: FunctionsHost) -> None:
    health = json.loads((await host.get("/api/health")).get_body())
    assert (health["status"], health["rules"]) == ("ok", 2)
    completed = good_run(box, "fraud-train-2")
    await host.deliver(completed)
    await host.work()
    (record,) = (await host.events()).values()
    page = await host.get(f"/events/{record['id']}")
    assert (page.status_code, page.mimetype) == (200, "text/html; charset=utf-8")
    assert "fraud-train-2" in page.get_body().decode()
    missing = await host.get("/api/events/nothing")
    assert (missing.status_code, missing.mimetype) == (404, "application/problem+json")


async def test_the_configuration_may_lie_in_a_container_and_is_taken_up_from_there(
    box: Box, host: FunctionsHost, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.cloud.folder._YOUNG", timedelta())
    async with ContainerClient.from_connection_string(account, "config") as config:
        monkeypatch.setenv("SWITCHYARD_CONFIG", config.url)
        before = json.loads((await host.get("/api/health")).get_body())
        assert (before["status"], before["rules"]) == ("red", 0)  # there is no such container yet
        functions_host.service()._look_every = timedelta()
        await host.deliver(good_run(box, "fraud-train-3"))
        await host.work()
        assert await host.events() == {}  # it waits

        await config.create_container()
        await config.upload_blob("switchyard.yaml", SWITCHYARD.encode())
        await config.upload_blob("rules/team.yaml", RULES.encode())
        await host.deliver(good_run(box, "fraud-train-4"))
        await host.work()
        (record,) = (await host.events()).values()
        assert [(one["rule"], one["status"]) for one in record["actions"]] == [("good", "done")]

        await config.upload_blob(
            "rules/team.yaml", RULES.replace("RunCompleted", "RunComplete").encode(), overwrite=True
        )
        await host.clean_up()
        told = json.loads((await host.get("/api/config")).get_body())
        assert (told["rules"], told["rejected_files"], told["kept_files"]) == (2, *[["rules/team.yaml"]] * 2)
        assert len(told["history"]) == 2
        archived = await host.get("/api/archive")
        assert archived.mimetype == "application/x-ndjson"
        (line,) = archived.get_body().splitlines()
        assert read_line(line).id == record["id"]


async def test_what_event_grid_gave_up_is_brought_back_by_the_timer(
    box: Box, host: FunctionsHost, account: str
) -> None:
    said = {"deadLetterReason": "TimeToLiveExceeded", "deliveryAttempts": 12, "lastDeliveryOutcome": "Forbidden"}
    letters = [dict(good_run(box, f"fraud-lost-{n}")) | said for n in (1, 2)]
    async with ContainerClient.from_connection_string(account, CONTAINER) as container:
        await container.create_container()
        await container.upload_blob("SWITCHYARD/2026/11/20/8/1.json", json.dumps(letters).encode())
        await host.clean_up()
        await host.work()
        assert [blob async for blob in container.list_blob_names()] == []
    events = json.loads((await host.get("/api/events")).get_body())["events"]
    runs = [one for one in events if one["event"]["type"] == "RunCompleted"]
    assert [[act["status"] for act in one["actions"]] for one in runs] == [["done"], ["done"]]
    full = json.loads((await host.get(f"/api/events/{runs[0]['id']}")).get_body())
    assert (full["dead_letter"]["outcome"], full["dead_letter"]["subscription"]) == ("Forbidden", "SWITCHYARD")
    assert [one["event"]["type"] for one in events if one not in runs] == ["EventsDeadLettered"]


async def test_an_event_longer_than_a_queue_message_is_one_event(host: FunctionsHost) -> None:
    assert await host.deliver(run_event("long", runProperties={"notes": noise(400_000)})) > 1
    await host.work()
    (record,) = (await host.events()).values()
    assert (record["status"], record["event"]["id"]) == ("decided", "long")


async def test_a_time_that_the_worker_library_cannot_read_comes_in_by_the_buffered_way(host: FunctionsHost) -> None:
    envelope = run_event("japan") | {"eventTime": "2026-11-20T17:30:00+09:00"}
    with pytest.raises(ValueError, match="does not match format"):  # before our function is called: Event Grid retries
        await host.deliver(envelope)
    await host.buffered(envelope)
    await host.work()
    (record,) = (await host.events()).values()
    assert (record["status"], record["event"]["time"]) == ("decided", "2026-11-20T08:30:00Z")


def test_without_storage_the_settings_that_lack_are_named(box: Box) -> None:
    with pytest.raises(PermanentError, match="AzureWebJobsStorage__accountName"):
        world(Settings.of(box.environment), box.environment)


async def test_the_emulators_short_connection_string_is_understood(environ: dict[str, str]) -> None:
    made = world(Settings.of(environ | {"AzureWebJobsStorage": "UseDevelopmentStorage=true"}), environ)
    account = made.doors.account
    assert account.container("a").url == "http://127.0.0.1:10000/devstoreaccount1/a"
    assert account.queue(WORK_QUEUE).url == f"http://127.0.0.1:10001/devstoreaccount1/{WORK_QUEUE}"
    assert account.tables().url == "http://127.0.0.1:10002/devstoreaccount1"
    await made.close()

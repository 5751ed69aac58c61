"""The simulated Event Grid: how it delivers, what it gives up on, and who may publish; and the story that goes through it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from aiohttp import ClientSession, web

from simulator.app import Azure, Box, Options, running
from simulator.approver import approve
from simulator.eventgrid import Delivery, Manners
from simulator.online import Deployment
from simulator.online import Endpoint as Served
from simulator.state import Fault
from simulator.traffic import Manners as Habits

type Json = dict[str, Any]


def event(n: int = 1, **changes: object) -> Json:
    usual = {
        "id": f"event-{n}",
        "topic": "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/dev",
        "subject": f"models/fraud:{n}",
        "eventType": "Microsoft.MachineLearningServices.ModelRegistered",
        "eventTime": "2026-11-20T08:30:00.0000000Z",
        "data": {"ModelName": "fraud", "ModelVersion": n},
        "dataVersion": "1.0",
        "metadataVersion": "1",
    }
    return usual | changes


@dataclass
class Endpoint:
    """An endpoint that agrees to the handshake, keeps what it gets, and answers with `answers` first, then 200."""

    answers: list[int] = field(default_factory=list)
    agrees: bool = True
    deliveries: list[tuple[dict[str, str], list[Json]]] = field(default_factory=list)
    url: str = ""

    @property
    def ids(self) -> list[str]:
        return [event["id"] for _, events in self.deliveries for event in events]

    async def take(self, request: web.Request) -> web.Response:
        if request.method == "OPTIONS":
            origin = request.headers["WebHook-Request-Origin"]
            return web.Response(headers={"WebHook-Allowed-Origin": origin} if self.agrees else {})
        body = json.loads(await request.read())
        if request.headers["aeg-event-type"] == "SubscriptionValidation":
            code = body[0]["data"]["validationCode"]
            return web.json_response({"validationResponse": code} if self.agrees else {})
        self.deliveries.append((dict(request.headers), body if isinstance(body, list) else [body]))
        return web.Response(status=self.answers.pop(0) if self.answers else 200)


@asynccontextmanager
async def serving(endpoint: Endpoint, port: int = 0) -> AsyncIterator[Endpoint]:
    app = web.Application()
    app.router.add_route("*", "/events", endpoint.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "localhost", port)
    await site.start()
    endpoint.url = f"http://localhost:{runner.addresses[0][1]}/events"
    try:
        yield endpoint
    finally:
        await runner.cleanup()


@asynccontextmanager
async def delivering(
    *answers: int, schema: Any = "EventGridSchema", batch: int = 1, manners: Manners | None = None, seed: int = 7
) -> AsyncIterator[tuple[Azure, Endpoint]]:
    """A box at a rate at which a day goes by in less than a second, delivering to an endpoint."""
    async with running(Options(rate=100_000, seed=seed)) as box, serving(Endpoint(list(answers))) as endpoint:
        box.eventgrid.manners = manners or Manners(duplicates=0, late=0)
        subscription = await box.eventgrid.subscribe("sub", endpoint.url, schema, batch)
        assert subscription.state == "Succeeded", subscription.problem
        yield box, endpoint


async def until(question: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not question():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


def failed(delivery: Delivery, times: int) -> bool:
    return delivery.attempts == times and delivery.due is not None


async def quiet(box: Azure) -> None:
    await until(lambda: not box.eventgrid.pending)


async def test_an_event_comes_as_an_array_of_one_with_event_grids_headers():
    async with delivering() as (box, endpoint):
        assert box.eventgrid.publish(event()) == "event-1"
        await quiet(box)
        [(headers, body)] = endpoint.deliveries
        assert body == [event()]
        assert {name: headers[name] for name in headers if name.startswith("aeg-")} == {
            "aeg-event-type": "Notification",
            "aeg-subscription-name": "SUB",
            "aeg-delivery-count": "0",
            "aeg-metadata-version": "1",
            "aeg-data-version": "1.0",
        }


async def test_a_cloud_event_comes_alone_and_in_its_own_words():
    async with delivering(schema="CloudEventSchemaV1_0") as (box, endpoint):
        box.eventgrid.publish(event())
        await quiet(box)
        [(headers, [body])] = endpoint.deliveries
        assert headers["Content-Type"].startswith("application/cloudevents+json")
        assert body == {
            "specversion": "1.0",
            "id": "event-1",
            "source": event()["topic"],
            "type": event()["eventType"],
            "time": event()["eventTime"],
            "subject": "models/fraud:1",
            "data": event()["data"],
        }


async def test_batches_are_as_large_as_the_subscription_allows():
    async with delivering(batch=10) as (box, endpoint):
        for n in range(25):
            box.eventgrid.publish(event(n))
        await quiet(box)
        assert sorted(len(events) for _, events in endpoint.deliveries) == [5, 10, 10]


@pytest.mark.parametrize(
    ("answers", "waits"),
    [
        ([500], [10]),
        ([503], [30]),
        ([404], [300]),
        ([408], [120]),
        ([500] * 7, [10, 30, 60, 300, 600, 1800, 3600]),
        ([503, 500, 404, 429], [30, 30, 300, 300]),
    ],
)
async def test_a_failed_delivery_comes_again_by_the_schedule(answers, waits):
    async with delivering(*answers) as (box, endpoint):
        box.sim.clock.turn(0)
        box.eventgrid.publish(event())
        [delivery] = box.eventgrid.pending.values()
        for n, wait in enumerate(waits, 1):
            await until(partial(failed, delivery, n))
            assert delivery.due
            planned = (delivery.due - box.sim.clock.now()).total_seconds()
            assert wait <= planned <= 1.2 * wait
            box.sim.clock.advance(planned + 0.001)
        await quiet(box)
        counted = [headers["aeg-delivery-count"] for headers, _ in endpoint.deliveries]
        assert counted == [str(n) for n in range(len(answers) + 1)]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(400, "BadRequest"), (401, "Unauthorized"), (403, "Forbidden"), (413, "RequestEntityTooLarge")],
)
async def test_what_can_not_succeed_goes_to_the_dead_at_once(status, outcome):
    async with delivering(status) as (box, endpoint):
        box.eventgrid.publish(event())
        await quiet(box)
        [dead] = box.eventgrid.dead
        assert len(endpoint.deliveries) == 1
        assert dead["id"] == "event-1"
        assert dead["deadLetterReason"] == f"UndeliverableDueToHttp{outcome}"
        assert (dead["deliveryAttempts"], dead["lastDeliveryOutcome"]) == (1, outcome)
        assert dead["publishTime"] <= dead["lastDeliveryAttemptTime"]


async def test_an_event_that_nobody_takes_is_dead_after_a_day():
    async with delivering(*[500] * 99) as (box, endpoint):
        box.eventgrid.publish(event())
        await quiet(box)
        [dead] = box.eventgrid.dead
        assert dead["deadLetterReason"] == "TimeToLiveExceeded"
        assert 10 <= len(endpoint.deliveries) <= 12


async def test_a_service_that_is_down_gets_its_events_when_it_is_back():
    async with delivering() as (box, _):
        async with serving(Endpoint()) as gone:
            await box.eventgrid.subscribe("sub", gone.url)
        box.sim.clock.turn(600)
        sent = [box.eventgrid.publish(event(n)) for n in range(20)]
        await until(lambda: all(item.outcome == "SocketError" for item in box.eventgrid.pending.values()))
        port = int(gone.url.split(":")[2].split("/")[0])
        async with serving(Endpoint(), port) as back:
            box.sim.clock.turn(100_000)
            await quiet(box)
            assert sorted(back.ids) == sorted(sent)


@pytest.mark.parametrize(("how", "times"), [("lost answer", 2), ("drop", 1), (503, 1)])
async def test_a_fault_on_the_way_makes_a_repetition_and_loses_nothing(how, times):
    async with delivering() as (box, endpoint):
        box.sim.faults.append(Fault("eventgrid", how))
        box.eventgrid.publish(event())
        await quiet(box)
        assert endpoint.ids == ["event-1"] * times


async def test_chaos_repeats_and_reorders_and_a_seed_repeats_the_chaos():
    async def history(seed: int) -> tuple[list[str], int]:
        async with delivering(manners=Manners.chaos(), seed=seed) as (box, endpoint):
            box.sim.clock.turn(
                2000
            )  # on a busy machine an event could else outlive its day before it is delivered again
            sent = [box.eventgrid.publish(event(n)) for n in range(200)]
            await quiet(box)
            assert set(endpoint.ids) == set(sent)
            assert endpoint.ids[:200] != sent
            return sorted(endpoint.ids), box.eventgrid.counts.duplicates

    (first, doubled), again, other = await history(3), await history(3), await history(4)
    assert 20 < doubled < 80
    assert (first, doubled) == again
    assert first != other[0]


async def test_a_thousand_events_are_each_handed_over_once():
    async with delivering() as (box, endpoint):
        for n in range(1000):
            box.eventgrid.publish(event(n))
        await quiet(box)
        assert len(set(endpoint.ids)) == len(endpoint.ids) == 1000


@pytest.mark.parametrize("schema", ["EventGridSchema", "CloudEventSchemaV1_0"])
async def test_an_endpoint_that_does_not_agree_gets_nothing(schema):
    async with running(Options(rate=100_000)) as box, serving(Endpoint(agrees=False)) as endpoint:
        subscription = await box.eventgrid.subscribe("sub", endpoint.url, schema)
        assert subscription.state == ("Failed" if schema == "CloudEventSchemaV1_0" else "AwaitingManualAction")
        assert subscription.problem
        box.eventgrid.publish(event())
        assert not box.eventgrid.pending
        if schema == "EventGridSchema":  # a person opens the validationUrl
            url = f"{box.sim.base}/eventsubscriptions/sub/validate?id={subscription.code}"
            async with ClientSession() as http, http.get(url, ssl=trusting(box.ca)) as answer:
                assert answer.status == 200
            box.eventgrid.publish(event())
            await quiet(box)
            assert endpoint.ids == ["event-1"]


def trusting(ca: Path) -> Any:
    import ssl

    return ssl.create_default_context(cafile=ca)


async def test_nobody_at_the_endpoint_is_a_failed_subscription_with_a_reason():
    async with running(Options(rate=100_000)) as box:
        subscription = await box.eventgrid.subscribe("sub", "http://localhost:9/events")
        assert subscription.state == "Failed"
        assert "no answer" in str(subscription.problem)


async def test_the_story_is_told_from_the_sweep_to_the_malformed_event():
    async with delivering() as (box, endpoint):
        box.story.pause = 0
        await box.story.play()
        await quiet(box)
        chapters = {chapter.title: list(chapter.events) for chapter in box.story.chapters}
        assert box.story.state == "told"
        told = [each for ids in chapters.values() for each in ids]
        assert sorted(endpoint.ids) == sorted(told)

        by_id = {got["id"]: got for _, events in endpoint.deliveries for got in events}
        trials = [by_id[each]["data"] for each in chapters["Its trials run and end"]]
        assert len({data["runId"] for data in trials}) == 20
        assert all("hyperparameters" in data["runTags"] for data in trials)
        monitor = [by_id[each]["data"] for each in chapters["The model monitor reports drift"]]
        tag = "azureml_modelmonitor_threshold_breached"
        breach = [data for data in monitor if tag in data["runTags"]]
        # As Azure does: one step of the monitor's pipeline has the tag, and says it at each change of its status.
        assert [data["runStatus"] for data in breach] == ["Finalizing", "Failed"]
        assert len({data["runId"] for data in breach}) == 1
        assert "'fraud-monitor_data_drift' has failed due to" in breach[0]["runTags"][tag]
        failed = [data for data in monitor if data.get("runStatus") == "Failed"]
        assert [tag in data["runTags"] for data in failed] == [True, False, False]  # and so does what is above it
        [model] = chapters["A model is registered"]
        assert by_id[model]["subject"] == "models/fraud:13"
        assert chapters["An event is delivered again"] == [chapters["A training run ends well"][-1]]
        [malformed] = chapters["A malformed event arrives"]
        assert by_id[malformed]["data"] == "not an object"


async def test_the_story_waits_for_its_two_rollouts_to_end():
    async with delivering() as (box, _):
        box.story.pause = 0
        box.sim.clock.turn(20_000)
        here, champion = box.story.workspace, "fraud:12"
        titles = [
            "The candidate's rollout ends",
            "A model is registered that is better on paper, and fails more often",
            "Its rollout ends",
        ]

        def told(title: str) -> bool:
            return title in [chapter.title for chapter in box.story.chapters]

        def deploy(endpoint: Served, version: str) -> None:
            model = {"properties": {"model": f"azureml:fraud:{version}"}}
            endpoint.deployments[f"v{version}"] = Deployment(
                f"v{version}", model, box.sim.clock.now(), "Succeeded", up=True
            )

        playing = asyncio.create_task(box.story.play())
        await until(lambda: "13" in here.models.get("fraud", {}))
        endpoint = box.endpoints.get(here, "fraud-online")
        assert endpoint
        assert [each.model for each in endpoint.deployments.values()] == [champion]
        deploy(endpoint, "13")
        for traffic, mirror in [({"blue": 100}, {"v13": 20}), ({"blue": 90, "v13": 10}, {})]:
            box.endpoints.shift(endpoint, traffic, mirror)
            await asyncio.sleep(0.06)
            assert not told(titles[0])
        box.endpoints.shift(endpoint, {"v13": 100}, {})
        await until(lambda: told(titles[1]))
        assert told(titles[0])

        worse = here.models["fraud"]["14"].body
        assert float(worse["tags"]["simulated_error_rate"]) == 5 * Habits().error_rate
        run = here.runs[worse["jobName"]]
        assert run.metrics["auc"] > [0.93]
        assert run.metrics.keys() >= {"auc/north", "auc/south"}
        deploy(endpoint, "14")
        box.endpoints.shift(endpoint, {"v13": 100}, {"v14": 20})
        await asyncio.sleep(0.12)
        box.endpoints.shift(endpoint, {"v13": 100}, {})
        await until(lambda: told(titles[2]))
        await playing
        assert box.story.state == "told"


async def test_sato_opens_the_link_of_a_card_and_approves_once():
    asked: list[tuple[str, dict[str, str]]] = []

    async def page(request: web.Request) -> web.Response:
        asked.append((request.method, {name: str(value) for name, value in (await request.post()).items()}))
        return web.Response(status=503 if len(asked) == 1 else 200)

    app = web.Application()
    app.router.add_route("*", "/approve/{token}", page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "localhost", 0).start()
    url = f"http://localhost:{runner.addresses[0][1]}/approve/a.b"

    def card(url: str) -> dict[str, Any]:
        actions = [{"type": "Action.OpenUrl", "title": "Answer", "url": url}]
        content = {"type": "AdaptiveCard", "body": [{"type": "ActionSet", "actions": actions}]}
        return {"attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "content": content}]}

    async with running(Options(rate=100_000)) as box:
        old = box.sim.inbox.add("teams", "Fraud team", "old", card(f"{url}-old"))
        box.sim.inbox.add("teams", "Fraud team", "news", card("http://localhost/rollouts/1"))
        box.sim.inbox.add("teams", "Fraud team", "asked", card(url))
        sato = asyncio.create_task(approve(box.sim, old.n))
        await until(lambda: len(asked) == 3)
        await asyncio.sleep(0.12)
        sato.cancel()
    await runner.cleanup()
    assert [method for method, _ in asked] == ["GET", "GET", "POST"]  # the service was not up yet when he first tried
    said = asked[-1][1]
    assert (said["by"], said["answer"], bool(said["reason"])) == ("Sato", "approve", True)


# What follows is synchronous: the box in a thread, as scripts and the SDK use it.


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with Box(rate=3600, pause=0) as box:
        yield box


def test_control_turns_the_clock_sets_faults_and_shows_what_there_is(box):
    def post(path: str, body: object) -> requests.Response:
        return requests.post(f"{box.http}/control/{path}", json=body, timeout=5)

    assert post("clock", {"advance": 3600, "rate": 10}).json()["rate"] == 10
    assert post("faults", [{"where": "teams", "how": 429, "retry_after": 2}]).status_code == 200
    state = requests.get(f"{box.http}/control/state", timeout=5).json()
    [fault] = state["faults"]
    assert (fault["where"], fault["how"], fault["times"], fault["retry_after"]) == ("teams", 429, 1, 2)
    assert state["clock"]["rate"] == 10
    assert post("events", [event()]).json() == {"published": ["event-1"]}
    assert requests.get(f"{box.http}/control/eventgrid", timeout=5).json()["counts"]["published"] >= 1
    assert requests.get(f"{box.http}/control/inbox?channel=teams", timeout=5).json() == []
    assert requests.get(f"{box.http}/control/story", timeout=5).json()["state"] == "not begun"
    assert "nobody listens" in post("story", {}).json()["error"]
    assert "no answer" in post("subscribe", {"endpoint": "http://localhost:9"}).json()["problem"]
    for path, body in [("clock", {"speed": 3}), ("faults", [{"where": 1}]), ("events", "x"), ("subscribe", {})]:
        refused = post(path, body)
        assert (refused.status_code, refused.json()["error"].startswith(f"/control/{path}: ")) == (400, True)


@contextmanager
def topic(box: Box, key: str, setting: str = "EVENTGRID_TOPIC_ENDPOINT") -> Iterator[Any]:
    from azure.core.credentials import AzureKeyCredential
    from azure.eventgrid import EventGridPublisherClient

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", box.ca)  # this client takes no `connection_verify`
        with EventGridPublisherClient(box.environment[setting], AzureKeyCredential(key)) as client:
            yield client


def test_the_publisher_of_the_sdk_is_taken_in_both_schemas_with_the_right_key(box):
    from azure.core.exceptions import ClientAuthenticationError
    from azure.core.messaging import CloudEvent
    from azure.eventgrid import EventGridEvent

    name = uuid4().hex
    plain = EventGridEvent(subject="s", event_type="Contoso.Made", data={"n": 1}, data_version="1", id=f"{name}-1")
    cloud = CloudEvent(source="/contoso", type="Contoso.Made", data={"n": 2}, id=f"{name}-2")
    with topic(box, box.environment["EVENTGRID_TOPIC_KEY"]) as client:
        client.send(plain)
        client.send(plain)
        client.send([cloud])
    first, again, last = list(box.azure.eventgrid.recent)[-3:]
    assert (first["id"], last["id"], last["source"]) == (f"{name}-1", f"{name}-2", "/contoso")
    assert first["topic"].endswith("/providers/Microsoft.EventGrid/topics/switchyard")
    assert first["topic"] == again["topic"]  # so that twice the same event is known for one
    with topic(box, "d3Jvbmc=") as client, pytest.raises(ClientAuthenticationError):
        client.send(plain)


def test_what_is_published_for_others_comes_into_the_inbox_and_not_back(box):
    from azure.eventgrid import EventGridEvent

    published = box.azure.eventgrid.counts.published
    event = EventGridEvent(subject="fraud-online", event_type="RolloutCompleted", data={}, data_version="1")
    with topic(box, box.environment["SWITCHYARD_TOPIC_KEY"], "SWITCHYARD_TOPIC_ENDPOINT") as client:
        client.send(event)
    [received] = box.sim.inbox.all("topic")
    assert (received.title, received.key) == ("RolloutCompleted: fraud-online", str(event.id))
    assert box.azure.eventgrid.counts.published == published
    assert "RolloutCompleted: fraud-online" in requests.get(f"{box.http}/inbox?channel=topic", timeout=5).text


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("[{}]", 400, "id, subject, eventType, eventTime"),
        ('[{"specversion": "1.0", "id": "1"}]', 400, "source, type"),
        ("nonsense", 400, "JSON"),
        ("[1]", 400, "not an object"),
        (json.dumps([event()]), 400, "topic must be left out"),
        ("x" * 1_048_577, 413, "maximum size"),
    ],
)
def test_a_topic_refuses_what_is_no_event(box, body, status, words):
    url, key = box.environment["EVENTGRID_TOPIC_ENDPOINT"], box.environment["EVENTGRID_TOPIC_KEY"]
    with requests.Session() as http:
        http.trust_env = False
        answer = http.post(url, data=body, headers={"aeg-sas-key": key}, verify=box.ca, timeout=5)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]


def test_the_command_says_where_it_is_and_ends_with_its_parent(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    command = [sys.executable, "-m", "simulator", "--http-port", "0", "--state-dir", str(tmp_path)]
    command += ["--rate", "0", "--start", "2026-11-20T08:00:00+09:00"]
    box = subprocess.Popen([*command, "--parent", str(parent.pid)], stdout=subprocess.PIPE, text=True)
    try:
        assert box.stdout
        assert "Azure in a box" in box.stdout.readline()
        said = json.loads((tmp_path / "simulator.json").read_text())
        assert said["pid"] == box.pid
        assert said["environment"]["AZURE_RESOURCE_MANAGER_URL"] == said["https"]
        assert Path(said["ca"]).read_text().count("BEGIN CERTIFICATE") == 1
        assert requests.get(f"{said['http']}/control/state", timeout=5).json()["clock"] == {
            "now": "2026-11-19T23:00:00.0000000Z",
            "rate": 0,
        }
        # Whoever wants to live in the same time reads how from the file; the levers write it again.
        for lever, start, rate in [
            ({"advance": 3600}, "2026-11-20T00:00:00Z", 0),
            ({"rate": 600}, "2026-11-20T00:00:00Z", 600),
        ]:
            requests.post(f"{said['http']}/control/clock", json=lever, timeout=5).raise_for_status()
            clock = json.loads((tmp_path / "simulator.json").read_text())["clock"]
            assert clock["rate"] == rate
            assert datetime.fromisoformat(clock["start"]) == datetime.fromisoformat(start)
        before = time.time()
        now = requests.get(f"{said['http']}/control/state", timeout=5).json()["clock"]["now"]
        gone = (datetime.fromisoformat(now) - datetime.fromisoformat(clock["start"])).total_seconds()
        assert (before - clock["wall"]) * 600 - 0.01 <= gone <= (time.time() - clock["wall"]) * 600
        parent.communicate(b"\n", timeout=5)
        assert box.wait(5) == 0
    finally:
        for process in (parent, box):
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
        box.communicate()

"""Endpoints, deployments and the registry: azure-ai-ml and our own requests, against the simulated Azure."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from msgspec.structs import replace

from shared.cloud import Doors, doors
from shared.cloud.azureml import Workspaces
from shared.cloud.credentials import Tokens
from shared.cloud.failures import Doing, refusal
from shared.cloud.serving import Endpoints
from shared.errors import MissingError, PermanentError, QuotaError, TemporaryError
from shared.record import WorkspaceRef
from shared.rollout.policy import Load, Recipe
from shared.rollout.record import EndpointState
from shared.settings import Settings
from shared.world import Data, EndpointRef, Http, Invocation, Reply
from simulator.app import Box
from simulator.online import Endpoint
from simulator.state import Fault
from tests.world import FakeHttp

WHERE = WorkspaceRef("6560575d-fa06-4e7d-95fb-f962e74efd7a", "rg-ml", "prod")
CAUSE = {"switchyard_rollout": "fraud-7-1a2b", "team": "fraud"}
RECIPE = Recipe(instance_type="Standard_DS3_v2", instance_count=2)
REQUEST = json.dumps({"input_data": {"columns": ["a", "b"], "data": [[0.25, 0.5]]}}).encode()


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with Box(rate=0, seed=1) as box:
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
def serving(outside: Doors) -> Endpoints:
    return outside.serving


@dataclass
class Look:
    """The door, and what went through it."""

    http: Http
    sent: list[tuple[str, str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Reply:
        self.sent.append((method, url.partition("/workspaces/prod")[2].partition("?")[0], json.loads(body or "null")))
        self.headers.append(headers or {})
        return await self.http.send(method, url, headers=headers, body=body)

    def put(self) -> Any:
        """The one body that was put."""
        [body] = [body for method, _, body in self.sent if method == "PUT"]
        return body


@pytest.fixture
def look(outside: Doors) -> Look:
    outside.workspaces.http = made = Look(outside.workspaces.http)
    return made


def live(box: Box, name: str, model: str = "fraud:6", auth: str = "Key") -> Endpoint:
    """An endpoint that has been there for long, its deployment `blue` with all the traffic."""

    async def make() -> Endpoint:
        ml = box.azure.azureml
        here = ml.workspace(WHERE.subscription, WHERE.resource_group, WHERE.workspace)
        return box.azure.endpoints.serve(here, name, model, auth=auth)

    return box.run(make())


def pass_time(box: Box, seconds: float) -> None:
    box.sim.clock.advance(seconds)


async def seen(serving: Endpoints, ref: EndpointRef) -> EndpointState:
    state = await serving.endpoint(ref)
    assert state is not None
    return state


async def green(box: Box, serving: Endpoints, name: str, recipe: Recipe = RECIPE) -> EndpointRef:
    """An endpoint with blue and, ready beside it, green."""
    live(box, name)
    ref = EndpointRef(WHERE, name)
    await serving.create(ref, "green", "fraud:7", recipe, CAUSE)
    pass_time(box, 400)
    return ref


# Deployments


async def test_a_deployment_is_asked_for_seen_moved_to_and_deleted(box: Box, serving: Endpoints) -> None:
    live(box, "story")
    ref = EndpointRef(WHERE, "story")
    await serving.create(ref, "green", "fraud:7", RECIPE, CAUSE)
    made = (await seen(serving, ref)).deployment("green")
    assert made is not None
    assert (made.state, made.model, made.tags) == ("Creating", "fraud:7", CAUSE)
    pass_time(box, 400)
    made = (await seen(serving, ref)).deployment("green")
    assert made is not None
    assert made.state == "Succeeded"

    moved = await serving.move(ref, {"blue": 90, "green": 10}, {}, ({"blue": 100, "green": 0}, {}))
    assert (moved.outcome, moved.traffic) == ("accepted", {"blue": 100})
    with pytest.raises(TemporaryError, match="another operation is under way, the endpoint is Updating"):
        await serving.move(ref, {"green": 100}, {}, None)
    pass_time(box, 60)
    assert (await seen(serving, ref)).traffic == {"blue": 90, "green": 10}

    await serving.move(ref, {"blue": 100}, {}, ({"blue": 90, "green": 10}, {}))
    pass_time(box, 60)
    await serving.delete(ref, "green")
    pass_time(box, 100)
    assert [one.name for one in (await seen(serving, ref)).deployments] == ["blue"]
    await serving.delete(ref, "green")  # one that is not there is deleted already


async def test_asked_for_twice_is_made_once_and_leaves_nobody_polling(box: Box, serving: Endpoints, look: Look) -> None:
    live(box, "twice")
    ref = EndpointRef(WHERE, "twice")
    await serving.create(ref, "green", "fraud:7", RECIPE, CAUSE)
    await serving.create(ref, "green", "fraud:7", RECIPE, CAUSE)
    pass_time(box, 400)
    await serving.create(ref, "green", "fraud:7", RECIPE, CAUSE)
    look.put()  # one
    assert not [thread.name for thread in threading.enumerate() if "LROPoller" in thread.name]


async def test_somebody_elses_deployment_of_that_name_is_left_alone(box: Box, serving: Endpoints, look: Look) -> None:
    ref = await green(box, serving, "theirs")
    look.sent.clear()
    with pytest.raises(PermanentError, match=r"there is one already, and it is not ours.*Delete it"):
        await serving.create(ref, "green", "fraud:7", RECIPE, CAUSE | {"switchyard_rollout": "another"})
    assert {method for method, _, _ in look.sent} == {"GET"}


async def test_one_that_failed_is_made_anew_under_the_same_name(box: Box, serving: Endpoints, look: Look) -> None:
    live(box, "again")
    ref = EndpointRef(WHERE, "again")
    await serving.create(ref, "green", "fraud:7", RECIPE, CAUSE | {"simulated_provisioning": "failed"})
    pass_time(box, 400)
    failed = (await seen(serving, ref)).deployment("green")
    assert failed is not None
    assert failed.state == "Failed"
    look.sent.clear()
    await serving.create(ref, "green", "fraud:7", RECIPE, CAUSE)
    look.put()


async def test_a_recipe_becomes_what_the_deployment_is(box: Box, serving: Endpoints, look: Look) -> None:
    recipe = Recipe(
        instance_type="Standard_DS3_v2",
        instance_count=3,
        environment="azureml:sklearn:4",
        code="azureml:fraud-code:2",
        scoring_script="score.py",
        request_timeout_ms=5000,
        max_concurrent_requests=4,
        variables={"MODE": "prod"},
        app_insights=True,
    )
    live(box, "recipe")
    await serving.create(EndpointRef(WHERE, "recipe"), "green", "fraud:7", recipe, CAUSE)
    body = look.put()
    given = body["properties"]
    assert (body["location"], body["sku"], body["tags"]) == (
        "westeurope",
        {"name": "Default", "capacity": 3},
        CAUSE,
    )
    assert given["model"].endswith("/workspaces/prod/models/fraud/versions/7")
    assert given["environmentId"].endswith("/workspaces/prod/environments/sklearn/versions/4")
    assert given["codeConfiguration"]["codeId"].endswith("/workspaces/prod/codes/fraud-code/versions/2")
    assert given["codeConfiguration"]["scoringScript"] == "score.py"
    assert given["requestSettings"] == {"requestTimeout": "PT5S", "maxConcurrentRequestsPerInstance": 4}
    assert given["environmentVariables"] == {"MODE": "prod"}
    assert (given["appInsightsEnabled"], given["endpointComputeType"]) == (True, "Managed")
    assert given["instanceType"] == "Standard_DS3_v2"


async def test_an_mlflow_model_needs_neither_code_nor_environment(box: Box, serving: Endpoints, look: Look) -> None:
    live(box, "mlflow")
    await serving.create(EndpointRef(WHERE, "mlflow"), "green", "fraud:7", RECIPE, CAUSE)
    assert not {"environmentId", "codeConfiguration", "dataCollector"} & look.put()["properties"].keys()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"code": "./src", "scoring_script": "score.py"}, "code './src' is not registered: expected azureml:<name>:"),
        ({"code": "/etc", "scoring_script": "score.py"}, "this app uploads nothing from its own disk"),
        ({"environment": "env.yml"}, "environment 'env.yml' is not registered"),
        ({"environment": "azureml:sklearn"}, "environment 'azureml:sklearn' is not registered"),
        ({"code": "azureml:c:1"}, "scoring script"),
    ],
)
async def test_a_recipe_that_can_not_be_followed_says_why_and_sends_nothing(
    box: Box, serving: Endpoints, look: Look, change: dict[str, Any], said: str
) -> None:
    live(box, "wrong")
    with pytest.raises(PermanentError) as caught:
        await serving.create(EndpointRef(WHERE, "wrong"), "green", "fraud:7", replace(RECIPE, **change), CAUSE)
    assert said in str(caught.value)
    assert {method for method, _, _ in look.sent} == {"GET"}


async def test_no_quota_is_a_failure_of_its_own(box: Box, serving: Endpoints) -> None:
    live(box, "full")
    tags = CAUSE | {"simulated_provisioning": "quota"}
    with pytest.raises(QuotaError, match=r"no quota left \(HTTP 400\).*Not enough quota available for Standard_DS3_v2"):
        await serving.create(EndpointRef(WHERE, "full"), "green", "fraud:7", RECIPE, tags)


@pytest.mark.parametrize(
    ("status", "codes", "said", "kind"),
    [
        (400, "BadRequest OutOfQuota", "Deployment failed", QuotaError),
        (403, "QuotaExceeded", "", QuotaError),
        (409, "", "Not enough quota available for Standard_NC6 in SubscriptionId s", QuotaError),
        (400, "", "insufficient vCPU quota", QuotaError),
        (409, "Conflict", "The deployment is being updated", TemporaryError),
        (429, "QuotaExceeded", "too many requests", TemporaryError),  # of requests: it passes by itself
        (400, "UserError", "Traffic must sum to 100", PermanentError),
        (404, "ResourceNotFound", "", MissingError),
        (403, "AuthorizationFailed", "does not have authorization", PermanentError),
        (503, "", "", TemporaryError),
    ],
)
def test_what_azure_refuses_becomes_the_error_that_says_what_to_do(
    status: int, codes: str, said: str, kind: type[Exception]
) -> None:
    assert type(refusal(Doing("creating", "a role"), status, said, {}, codes)) is kind


# Traffic


async def test_a_move_changes_the_traffic_and_nothing_else(box: Box, serving: Endpoints, look: Look) -> None:
    ref = await green(box, serving, "kept")
    known = box.azure.endpoints.get(live(box, "kept-other").here, "kept")
    assert known is not None
    known.body |= {
        "tags": {"owner": "ml"},
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {"/id/a": {"principalId": "p"}}},
    }
    known.body["properties"] |= {
        "description": "fraud in payments",
        "publicNetworkAccess": "Disabled",
        "somethingNew": {"kept": True},
        "properties": {"ours": "x", "createdBy": "me", "AzureAsyncOperationUri": "https://x", "lastModifiedAt": "t"},
    }
    look.sent.clear()
    await serving.move(ref, {"blue": 100, "green": 0}, {"green": 20}, None)
    body = look.put()
    assert body == {
        "location": "westeurope",
        "kind": "Managed",
        "tags": {"owner": "ml"},
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {"/id/a": {}}},
        "properties": {
            "authMode": "Key",
            "description": "fraud in payments",
            "publicNetworkAccess": "Disabled",
            "somethingNew": {"kept": True},
            "properties": {"ours": "x"},
            "traffic": {"blue": 100},
            "mirrorTraffic": {"green": 20},
        },
    }
    pass_time(box, 60)
    state = await seen(serving, ref)
    assert (state.traffic, state.mirror, state.state) == ({"blue": 100}, {"green": 20}, "Succeeded")


async def test_traffic_that_somebody_changed_is_not_written_over(box: Box, serving: Endpoints, look: Look) -> None:
    ref = await green(box, serving, "hands")
    known = box.azure.endpoints.get(live(box, "hands-other").here, "hands")
    assert known is not None
    box.azure.endpoints.shift(known, {"blue": 70, "green": 30}, {})
    pass_time(box, 60)
    look.sent.clear()
    moved = await serving.move(ref, {"blue": 50, "green": 50}, {}, ({"blue": 90, "green": 10}, {}))
    assert (moved.outcome, moved.traffic, moved.mirror) == ("changed", {"blue": 70, "green": 30}, {})
    again = await serving.move(ref, {"blue": 70, "green": 30}, {}, ({"blue": 90, "green": 10}, {}))
    assert again.outcome == "already"
    assert {method for method, _, _ in look.sent} == {"GET"}
    forced = await serving.move(ref, {"blue": 100}, {}, None)
    assert (forced.outcome, forced.traffic) == ("accepted", {"blue": 70, "green": 30})


async def test_an_endpoint_whose_last_change_failed_is_written_again_though_it_reads_as_wanted(
    box: Box, serving: Endpoints
) -> None:
    ref = await green(box, serving, "halted")
    known = box.azure.endpoints.get(live(box, "halted-other").here, "halted")
    assert known is not None
    pass_time(box, 60)
    before = await seen(serving, ref)
    known.state = "Failed"
    moved = await serving.move(ref, before.traffic, before.mirror, None)
    assert moved.outcome == "accepted"
    pass_time(box, 60)
    assert (await seen(serving, ref)).state == "Succeeded"


async def test_on_kubernetes_nothing_is_mirrored_and_nothing_is_said_of_it(
    box: Box, serving: Endpoints, look: Look
) -> None:
    known = live(box, "cluster")
    known.body["properties"]["compute"] = "/subscriptions/s/computes/aks"
    ref = EndpointRef(WHERE, "cluster", "kubernetes")
    await serving.create(EndpointRef(WHERE, "cluster"), "green", "fraud:7", RECIPE, CAUSE)  # it is what it is
    assert look.put()["properties"]["endpointComputeType"] == "Kubernetes"
    pass_time(box, 400)
    assert (await seen(serving, ref)).kubernetes
    with pytest.raises(PermanentError, match="endpoint cluster is on Kubernetes, where no traffic can be mirrored"):
        await serving.move(ref, {"blue": 100}, {"green": 10}, None)
    look.sent.clear()
    await serving.move(ref, {"blue": 60, "green": 40}, {}, None)
    assert "mirrorTraffic" not in look.put()["properties"]


async def test_an_endpoint_that_is_not_there(serving: Endpoints) -> None:
    ref = EndpointRef(WHERE, "nowhere")
    assert await serving.endpoint(ref) is None
    with pytest.raises(MissingError, match=r"creating deployment green of endpoint nowhere: not found \(HTTP 404\)"):
        await serving.create(ref, "green", "fraud:7", RECIPE, CAUSE)
    with pytest.raises(MissingError, match="endpoint nowhere"):
        await serving.move(ref, {"green": 100}, {}, None)
    with pytest.raises(MissingError, match="endpoint nowhere"):
        await serving.score(ref, "green", REQUEST)


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        (Fault("arm", 429, retry_after=30), TemporaryError, "HTTP 429"),
        (Fault("arm", 409), TemporaryError, "HTTP 409"),
        (Fault("arm", 503), TemporaryError, "HTTP 503"),
        (Fault("arm", "drop", times=2), TemporaryError, "no answer|no connection"),
        (Fault("arm", 403), PermanentError, "lacks the role 'AzureML Data Scientist' on the workspace"),
    ],
    ids=lambda value: str(value.how) if isinstance(value, Fault) else "",
)
async def test_what_goes_wrong_is_said_once_and_tried_once(  # noqa: PLR0917 (a table)
    box: Box, serving: Endpoints, look: Look, fault: Fault, kind: type[Exception], said: str
) -> None:
    live(box, "troubled")
    ref = EndpointRef(WHERE, "troubled")
    for ask in (
        lambda: serving.endpoint(ref),
        lambda: serving.create(ref, "green", "fraud:7", RECIPE, CAUSE),
        lambda: serving.move(ref, {"blue": 100}, {}, None),
        lambda: serving.delete(ref, "green"),
        lambda: serving.score(ref, "green", REQUEST),
        lambda: serving.tag(WHERE, "fraud", "7", {"stage": "production"}),
    ):
        look.sent.clear()
        # A kept-alive connection that turns out to be closed is opened anew, once, before anything is said.
        box.sim.faults[:] = [Fault(fault.where, fault.how, fault.times, fault.retry_after)]
        with pytest.raises(kind, match=said) as caught:
            await ask()
        assert len(look.sent) == 1
        assert getattr(caught.value, "retry_after", None) == fault.retry_after


# Scoring


@pytest.mark.parametrize("auth", ["Key", "AMLToken", "AADToken"])
async def test_a_deployment_without_traffic_is_scored_in_every_way_of_signing_in(
    box: Box, serving: Endpoints, auth: str
) -> None:
    name = f"score-{auth.lower()}"
    live(box, name, auth=auth)
    ref = EndpointRef(WHERE, name)
    await serving.create(ref, "green", "fraud:7", RECIPE, CAUSE | {"simulated_error_rate": "0"})
    pass_time(box, 400)
    scored = await serving.score(ref, "green", REQUEST)
    assert (scored.status, json.loads(scored.body)) == (200, [0.75])
    assert 0 < scored.ms < 60_000


async def test_an_error_of_the_model_is_an_answer(box: Box, serving: Endpoints) -> None:
    live(box, "sick")
    ref = EndpointRef(WHERE, "sick")
    await serving.create(ref, "green", "fraud:7", RECIPE, CAUSE | {"simulated_error_rate": "1"})
    pass_time(box, 400)
    assert (await serving.score(ref, "green", REQUEST)).status == 500
    assert (await serving.score(ref, "grey", REQUEST)).status == 404


async def test_keys_are_asked_for_once_until_they_are_refused(
    box: Box, outside: Doors, serving: Endpoints, look: Look
) -> None:
    ref = await green(box, serving, "keys", RECIPE)
    look.sent.clear()
    for _ in range(3):
        await serving.score(ref, "green", REQUEST)
    assert [path for _, path, _ in look.sent] == ["/onlineEndpoints/keys", "/onlineEndpoints/keys/listKeys"]
    [way] = serving._ways.values()
    box.sim.faults.append(Fault("scoring", 401))
    with pytest.raises(TemporaryError, match="HTTP 401, the key or token is no longer good") as caught:
        await serving.score(ref, "green", REQUEST)
    assert way.key is not None
    assert way.key not in f"{caught.value} {way}"
    look.sent.clear()
    await serving.score(ref, "green", REQUEST)
    assert len(look.sent) == 2


async def test_a_load_keeps_its_beat_and_goes_to_one_deployment_alone(box: Box, serving: Endpoints) -> None:
    live(box, "pressed")
    ref = EndpointRef(WHERE, "pressed")
    fast = CAUSE | {"simulated_error_rate": "0.1", "simulated_latency_ms": "20"}
    await serving.create(ref, "green", "fraud:7", RECIPE, fast)
    pass_time(box, 400)
    found = await serving.press(ref, "green", [REQUEST, REQUEST], Load(50, 3))
    assert found.sent == 150
    assert found.missed == 0
    assert 49 < found.sent / found.seconds <= 50
    assert len(found.ms) + sum(found.failed.values()) == 150
    assert 1 <= found.failed[500] <= 40
    known = box.azure.endpoints.get(live(box, "pressed-other").here, "pressed")
    assert known is not None
    assert known.traffic.get("green", 0) == 0


async def test_a_slow_deployment_gets_no_more_at_once_than_is_said(box: Box, serving: Endpoints) -> None:
    live(box, "slow")
    ref = EndpointRef(WHERE, "slow")
    await serving.create(
        ref, "green", "fraud:7", RECIPE, CAUSE | {"simulated_error_rate": "0", "simulated_latency_ms": "600"}
    )
    pass_time(box, 400)
    found = await serving.press(ref, "green", [REQUEST], Load(50, 1, at_once=5))
    assert found.missed > 20
    assert found.sent + found.missed == 50
    assert min(found.ms) > 100


async def test_where_nothing_at_all_is_answered_a_load_has_told_nothing(box: Box, serving: Endpoints) -> None:
    ref = await green(box, serving, "dead", RECIPE)
    box.sim.faults.append(Fault("scoring", 401, times=50))
    with pytest.raises(TemporaryError, match="load on deployment green of endpoint dead: HTTP 401, the key or token"):
        await serving.press(ref, "green", [REQUEST], Load(50, 1, at_once=100))
    box.sim.faults.clear()


async def test_probes_side_by_side_each_reach_their_own_deployment(box: Box, serving: Endpoints) -> None:
    live(box, "side")
    ref = EndpointRef(WHERE, "side")
    await serving.create(ref, "green", "fraud:7", RECIPE, CAUSE | {"simulated_error_rate": "1"})
    pass_time(box, 400)
    known = box.azure.endpoints.get(live(box, "side-other").here, "side")
    assert known is not None
    known.deployments["blue"].body["tags"] = {"simulated_error_rate": "0"}
    answers = await asyncio.gather(*(serving.score(ref, name, REQUEST) for name in ("green", "blue") * 4))
    assert [one.status for one in answers] == [500, 200] * 4


# The registry


def trained(box: Box, version: str) -> str:
    """A version of the model and the run that made it; the run's name."""

    async def make() -> str:
        ml = box.azure.azureml
        here = ml.workspace(WHERE.subscription, WHERE.resource_group, WHERE.workspace)
        body = {
            "jobType": "Command",
            "experimentName": "fraud-training",
            "inputs": {
                "data": {"jobInputType": "uri_folder", "uri": "azureml:transactions:31"},
                "rate": {"jobInputType": "literal", "value": "0.02"},
            },
            "properties": {"azureml.git.commit": "9f8e7d", "azureml.git.branch": "main"},
        }
        run = ml.begin(here, f"train-{version}", body)
        ml.turn(here, run, "Completed")
        ml.register(here, "fraud", version=version, tags={"stage": "candidate"}, job=run.name)
        return run.name

    return box.run(make())


async def test_a_model_version_leads_back_to_run_data_and_commit(box: Box, serving: Endpoints) -> None:
    run = trained(box, "70")
    origin = await serving.origin(WHERE, "fraud", "70")
    assert origin is not None
    assert (origin.run, origin.experiment, origin.commit, origin.branch) == (run, "fraud-training", "9f8e7d", "main")
    assert origin.inputs == {"data": "azureml:transactions:31", "rate": "0.02"}
    assert origin.tags == {"stage": "candidate"}
    assert origin.created is not None
    assert origin.studio_url is not None
    assert run in origin.studio_url


async def test_a_model_version_whose_run_is_gone_still_has_its_tags(box: Box, serving: Endpoints) -> None:
    async def make() -> None:
        ml = box.azure.azureml
        here = ml.workspace(WHERE.subscription, WHERE.resource_group, WHERE.workspace)
        ml.register(here, "fraud", version="71", tags={"a": "b"}, job="deleted-run")
        ml.register(here, "fraud", version="72", tags={}, job=None)

    box.run(make())
    gone, uploaded = await serving.origin(WHERE, "fraud", "71"), await serving.origin(WHERE, "fraud", "72")
    assert gone is not None
    assert uploaded is not None
    assert (gone.run, gone.tags, gone.experiment, gone.inputs) == ("deleted-run", {"a": "b"}, None, {})
    assert (uploaded.run, uploaded.commit) == (None, None)
    assert await serving.origin(WHERE, "fraud", "999") is None


async def test_tags_are_put_beside_those_that_are_there_and_the_run_stays_known(
    box: Box, serving: Endpoints, look: Look
) -> None:
    run = trained(box, "73")
    await serving.tag(WHERE, "fraud", "73", {"stage": "production", "by": "switchyard"})
    await serving.tag(WHERE, "fraud", "73", {"stage": "production"})
    body = look.put()["properties"]  # one: the second found it so
    assert body["jobName"] == run
    assert "provisioningState" not in body
    origin = await serving.origin(WHERE, "fraud", "73")
    assert origin is not None
    assert (origin.tags, origin.run) == ({"stage": "production", "by": "switchyard"}, run)
    with pytest.raises(MissingError, match="tagging model fraud:999"):
        await serving.tag(WHERE, "fraud", "999", {"a": "b"})


# Batch endpoints


@pytest.fixture
async def batch(box: Box, outside: Doors, serving: Endpoints) -> EndpointRef:
    """A batch endpoint with two deployments, blue the default."""
    ref = EndpointRef(WHERE, "scores", "batch")
    recipe = Recipe(instance_count=2, compute="azureml:cpu-cluster")
    body = {"location": "westeurope", "tags": {"owner": "ml"}, "properties": {"authMode": "AADToken"}}
    path, doing = "/batchEndpoints/scores", Doing("setting up", "a role")
    await outside.workspaces.arm("PUT", WHERE, path, doing, body, version="2025-12-01")
    pass_time(box, 60)
    for name, version in (("blue", "6"), ("green", "7")):
        await serving.create(ref, name, f"fraud:{version}", recipe, CAUSE)
    pass_time(box, 400)
    await serving.move(ref, {"blue": 100}, {}, None)
    pass_time(box, 60)
    return ref


async def test_the_default_of_a_batch_endpoint_is_switched_and_switched_back(
    box: Box, serving: Endpoints, batch: EndpointRef, look: Look
) -> None:
    state = await seen(serving, batch)
    assert (state.traffic, state.mirror) == ({"blue": 100}, {})
    assert [(one.name, one.model, one.state) for one in state.deployments] == [
        ("blue", "fraud:6", "Succeeded"),
        ("green", "fraud:7", "Succeeded"),
    ]
    look.sent.clear()
    moved = await serving.move(batch, {"green": 100}, {}, ({"blue": 100}, {}))
    body = look.put()
    assert (moved.outcome, body["tags"]) == ("accepted", {"owner": "ml"})
    assert body["properties"] == {"authMode": "AADToken", "defaults": {"deploymentName": "green"}}
    pass_time(box, 60)
    assert (await serving.move(batch, {"green": 100}, {}, ({"blue": 100}, {}))).outcome == "already"
    assert (await serving.move(batch, {"grey": 100}, {}, ({"blue": 100}, {}))).traffic == {"green": 100}
    await serving.move(batch, {"blue": 100}, {}, ({"green": 100}, {}))
    pass_time(box, 60)
    assert (await seen(serving, batch)).traffic == {"blue": 100}


async def test_a_batch_endpoint_has_no_shares(serving: Endpoints, batch: EndpointRef) -> None:
    for traffic, mirror in (({"blue": 90, "green": 10}, {}), ({"blue": 100}, {"green": 10})):
        with pytest.raises(PermanentError, match="batch endpoint scores has one default deployment and no shares"):
            await serving.move(batch, traffic, mirror, None)


async def test_a_batch_deployment_is_made_on_a_cluster(box: Box, serving: Endpoints, batch: EndpointRef) -> None:
    with pytest.raises(PermanentError, match="a batch deployment needs a compute"):
        await serving.create(batch, "third", "fraud:8", Recipe(), CAUSE)


async def test_a_test_invocation_is_a_job_of_the_deployment_that_was_asked_for(
    box: Box, outside: Doors, serving: Endpoints, batch: EndpointRef
) -> None:
    asked = Invocation("smoke-1", "green", {"data": Data("uri_folder", "azureml:transactions:31")})
    assert not (await serving.invoke(batch, asked)).again
    assert (await serving.invoke(batch, asked)).again
    body = await outside.workspaces.arm("GET", WHERE, "/jobs/smoke-1", Doing("reading", "a role"))
    assert body["properties"]["displayName"] == "scores:green"
    [given] = body["properties"]["inputs"].values()
    assert given["jobInputType"] == "uri_folder"
    assert given["uri"].endswith("/workspaces/prod/data/transactions/versions/31")
    with pytest.raises(PermanentError, match="'/etc/passwd' is no data for a batch endpoint"):
        await serving.invoke(batch, Invocation("smoke-2", "green", {"data": Data("uri_folder", "/etc/passwd")}))
    with pytest.raises(MissingError, match="invoking deployment grey of batch endpoint scores"):
        await serving.invoke(batch, Invocation("smoke-3", "grey", asked.inputs))


# What the service tells only by the way


async def test_collected_data_is_registered_where_the_collector_writes_it(
    box: Box, outside: Doors, serving: Endpoints, look: Look
) -> None:
    live(box, "collect")
    recipe = replace(RECIPE, collect=("model_inputs", "request"))
    await serving.create(EndpointRef(WHERE, "collect"), "green", "fraud:7", recipe, CAUSE)
    put = {path: body for method, path, body in look.sent if method == "PUT"}
    data = put["/data/collect-green-model_inputs/versions/1"]["properties"]
    assert data["dataUri"].endswith("/paths/modelDataCollector/collect/green/model_inputs")
    collections = put["/onlineEndpoints/collect/deployments/green"]["properties"]["dataCollector"]["collections"]
    assert collections.keys() == {"model_inputs", "request"}
    assert collections["request"]["dataId"].endswith("/data/collect-green-request/versions/1")
    assert collections["request"]["dataCollectionMode"] == "enabled"


async def test_a_deployment_that_failed_says_why(box: Box, serving: Endpoints) -> None:
    live(box, "why")
    ref = EndpointRef(WHERE, "why")
    await serving.create(ref, "green", "fraud:7", RECIPE, CAUSE | {"simulated_provisioning": "failed"})
    pass_time(box, 400)
    failed = (await seen(serving, ref)).deployment("green")
    assert failed is not None
    assert failed.state == "Failed"
    assert failed.error.startswith("ResourceNotReady: User container has crashed or terminated")


class Signed:
    def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
        return AccessToken("a-token", 2**40)


@pytest.mark.parametrize(
    ("host", "ours"), [("https://management.azure.com", True), ("https://management.azure.com.evil.example", False)]
)
async def test_pages_are_followed_but_never_to_another_host(host: str, *, ours: bool) -> None:
    http = FakeHttp()
    workspaces = Workspaces(Settings(), Tokens(Signed), http)

    def page(*names: str, following: str | None = None) -> bytes:
        value = [{"name": name, "properties": {"provisioningState": "Succeeded"}} for name in names]
        return json.dumps({"value": value} | ({"nextLink": following} if following else {})).encode()

    http.answer(200, json.dumps({"properties": {"provisioningState": "Succeeded"}}).encode())
    http.answer(200, page("a", "b", following=f"{host}/next?page=2"))
    http.answer(200, page("c"))
    read = Endpoints(workspaces, http).endpoint(EndpointRef(WHERE, "paged"))
    if ours:
        state = await read
        assert state is not None
        assert [one.name for one in state.deployments] == ["a", "b", "c"]
    else:
        with pytest.raises(PermanentError, match="is elsewhere, and our token is not for there"):
            await read
        assert all(one.url.startswith("https://management.azure.com/") for one in http.sent)
    await workspaces.close()

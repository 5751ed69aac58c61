"""Endpoints of the simulated Azure: who scores, who is refused, and what is in force when; moved by hand, minute by minute."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import requests

from simulator.app import Box
from simulator.state import Fault

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:azure.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:marshmallow.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:azure.*"),
]

PATH = (
    "/subscriptions/5f3b2c1a-8d4e-4c6b-9a7f-0e1d2c3b4a59/resourceGroups/mlops"
    "/providers/Microsoft.MachineLearningServices/workspaces/dev"
)
ROWS = {"input_data": {"columns": ["amount", "hour"], "data": [[12.25, 3], [0.5, 1.25]]}}
MORNING = datetime(2026, 11, 20, 8, tzinfo=UTC)


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    """Its clock stands still: nothing happens unless a test says that time passes."""
    with Box(rate=0, start=MORNING, pause=0) as box:
        yield box


@pytest.fixture
def arm(box: Box) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.verify, session.trust_env = box.ca, False
        session.headers["Authorization"] = "Bearer anything"
        yield session


@pytest.fixture
def credential(box: Box) -> Any:
    from azure.identity import ClientSecretCredential

    named = [box.environment[f"AZURE_{name}"] for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET")]
    return ClientSecretCredential(
        *named, authority=box.https, disable_instance_discovery=True, connection_verify=box.ca
    )


@pytest.fixture
def name(box: Box) -> str:
    """A new endpoint, served by fraud:12."""
    made = f"e-{uuid4().hex[:8]}"
    box.serve(PATH, made, "fraud:12", auth="Key")
    return made


class Hand:
    """What a person at a terminal can do to one endpoint."""

    def __init__(self, box: Box, arm: requests.Session, name: str) -> None:
        self.box, self.arm, self.name = box, arm, name
        self.key = self.uri = ""
        self.url = f"{box.https}{PATH}/onlineEndpoints/{name}"

    def read(self) -> dict[str, Any]:
        answer = self.arm.get(self.url)
        answer.raise_for_status()
        properties: dict[str, Any] = answer.json()["properties"]
        return properties

    def put(self, **properties: object) -> requests.Response:
        body = {"location": "westeurope", "properties": {"authMode": "Key", **properties}}
        return self.arm.put(self.url, json=body)

    def deploy(self, deployment: str, **tags: str) -> requests.Response:
        model = f"{PATH}/models/fraud/versions/12"
        body = {
            "location": "westeurope",
            "tags": tags,
            "properties": {"model": model, "instanceType": "Standard_F4s_v2"},
        }
        return self.arm.put(f"{self.url}/deployments/{deployment}", json=body)

    def pass_(self, seconds: float) -> None:
        self.box.sim.clock.advance(seconds)

    def score(self, body: object = ROWS, pin: str = "") -> requests.Response:
        self.key = self.key or self.arm.post(f"{self.url}/listKeys").json()["primaryKey"]
        self.uri = self.uri or self.read()["scoringUri"]
        headers = {"Authorization": f"Bearer {self.key}"} | ({"azureml-model-deployment": pin} if pin else {})
        return self.arm.post(self.uri, json=body, headers=headers)


@pytest.fixture
def hand(box: Box, arm: requests.Session, name: str) -> Hand:
    return Hand(box, arm, name)


def control(box: Box, lever: str, body: object) -> requests.Response:
    return requests.post(f"{box.http}/control/{lever}", json=body, timeout=5)


def test_a_score_is_the_sum_of_the_numbers_of_a_row(hand):
    hand.deploy("calm", simulated_error_rate="0")
    hand.pass_(300)
    answer = hand.score(pin="calm")
    assert (answer.status_code, answer.json()) == (200, [0.25, 0.75])
    assert answer.headers["azureml-model-deployment"] == "calm"


@pytest.mark.parametrize(
    ("body", "model_status"),
    [
        ({"rows": [[1]]}, "400"),
        ([], "400"),
        ({"input_data": {"columns": ["a"], "data": [[1, 2]]}}, "400"),
        ({"input_data": {"columns": ["a"], "data": [1]}}, "400"),
        ({"input_data": {"columns": "a", "data": [[1]]}}, "400"),
    ],
)
def test_what_the_model_cannot_read_is_the_callers_error(hand, body, model_status):
    answer = hand.score(body)
    assert answer.status_code == 424
    assert answer.headers["ms-azureml-model-error-statuscode"] == model_status


def test_the_manners_of_a_deployment_are_its_tags(hand):
    hand.deploy("sick", simulated_error_rate="1")
    hand.deploy("script", simulated_error_rate="1", simulated_error_status="424")
    hand.deploy("slow", simulated_error_rate="0", simulated_latency_ms="150")
    hand.deploy("wrong", simulated_error_rate="0", simulated_wrong="true")
    assert hand.score(pin="sick").status_code == 503  # it is still being made
    hand.pass_(300)
    assert hand.score(pin="sick").status_code == 500
    assert hand.score(pin="script").headers["ms-azureml-model-error-statuscode"] == "500"
    assert hand.score(pin="slow").elapsed.total_seconds() > 0.03  # log-normal: three of a thousand are below 50 ms
    assert hand.score(pin="wrong").json() == [0.5, 0.0]


def test_requests_go_by_weight_and_a_pinned_one_where_it_says(hand):
    hand.deploy("green", simulated_error_rate="0")
    hand.pass_(300)
    assert {hand.score().headers["azureml-model-deployment"] for _ in range(4)} == {"blue"}
    assert hand.score(pin="green").headers["azureml-model-deployment"] == "green"
    hand.put(traffic={"blue": 40, "green": 60}).raise_for_status()
    hand.pass_(30)
    chosen = [hand.score().headers["azureml-model-deployment"] for _ in range(20)]
    assert 4 < chosen.count("green") < 20
    assert "Specified deployment could not be found" in hand.score(pin="pink").text
    hand.put(traffic={}).raise_for_status()
    hand.pass_(30)
    assert hand.score().status_code == 404


def test_only_who_has_the_key_or_a_token_for_it_may_score(box, arm, credential):
    own = f"Bearer {credential.get_token('https://ml.azure.com/.default').token}"
    wrong = f"Bearer {credential.get_token('https://management.azure.com/.default').token}"
    by_mode: dict[str, tuple[str, str]] = {
        "AADToken": (own, wrong),
        "Key": ("listKeys", own),
        "AMLToken": ("token", own),
    }
    for mode, (right, refused) in by_mode.items():
        endpoint = f"auth-{mode.lower()}"
        box.serve(PATH, endpoint, "fraud:12", auth=mode)
        url = f"{box.https}{PATH}/onlineEndpoints/{endpoint}"
        if mode == "AADToken":
            assert arm.post(f"{url}/listKeys").status_code == arm.post(f"{url}/token").status_code == 400
            bearer = right
        else:
            said = arm.post(f"{url}/{right}").json()
            bearer = f"Bearer {said.get('primaryKey') or said['accessToken']}"
        uri = arm.get(url).json()["properties"]["scoringUri"]
        statuses = [
            requests.post(uri, json=ROWS, headers={"Authorization": given}, verify=box.ca, timeout=5).status_code
            for given in (bearer, refused, "Bearer ", "Basic eHh4", "")
        ]
        assert statuses[0] in {200, 500}, mode
        assert statuses[1:] == [401] * 4, mode


def test_a_change_of_traffic_takes_a_while_and_reads_lag_behind_it(hand):
    hand.deploy("green")
    hand.pass_(300)
    assert hand.put(traffic={"blue": 90, "green": 10}).status_code == 200
    busy = hand.put(traffic={"blue": 100})
    assert (busy.status_code, busy.json()["error"]["code"]) == (409, "Conflict")
    assert hand.read()["provisioningState"] == "Updating"
    hand.pass_(30)
    assert (hand.read()["provisioningState"], hand.read()["traffic"]) == ("Succeeded", {"blue": 100})
    hand.pass_(20)
    assert hand.read()["traffic"] == {"blue": 90, "green": 10}


def test_a_deployment_that_fails_says_why(hand):
    answer = hand.deploy("bad", simulated_provisioning="failed")
    assert (answer.status_code, answer.json()["properties"]["provisioningState"]) == (201, "Creating")
    hand.pass_(300)
    operation = hand.arm.get(answer.headers["Azure-AsyncOperation"]).json()
    assert (operation["status"], operation["error"]["code"]) == ("Failed", "ResourceNotReady")
    found = hand.arm.get(f"{hand.url}/deployments/bad").json()["properties"]
    assert found["provisioningState"] == "Failed"
    assert found["properties"]["AzureAsyncOperationUri"] == answer.headers["Azure-AsyncOperation"]
    assert "lightgbm" in hand.arm.post(f"{hand.url}/deployments/bad/getLogs", json={}).json()["content"]


def test_a_deployment_without_quota_is_refused_and_a_slow_one_takes_hours(hand):
    refused = hand.deploy("big", simulated_provisioning="quota")
    assert refused.status_code == 400
    assert "Not enough quota available for Standard_F4s_v2" in refused.json()["error"]["details"][0]["message"]
    assert hand.arm.get(f"{hand.url}/deployments/big").status_code == 404
    hand.deploy("slow", simulated_provisioning="slow").raise_for_status()
    hand.pass_(7200)
    assert hand.arm.get(f"{hand.url}/deployments/slow").json()["properties"]["provisioningState"] == "Creating"
    assert hand.deploy("slow").status_code == 409


def test_the_tags_of_a_model_count_too_and_a_lever_sets_them(box, hand):
    control(
        box, "manners", {"workspace": PATH, "model": "fraud", "version": "12", "provisioning": "quota"}
    ).raise_for_status()
    try:
        assert hand.deploy("green").status_code == 400
        assert hand.deploy("green", simulated_provisioning="").status_code == 201
        model = hand.arm.get(f"{box.https}{PATH}/models/fraud/versions/12").json()["properties"]["tags"]
        assert model["simulated_provisioning"] == "quota"
    finally:
        control(box, "manners", {"workspace": PATH, "model": "fraud", "version": "12", "provisioning": ""})


def test_mirrored_and_live_deployments_cannot_be_deleted(hand):
    hand.deploy("green")
    hand.pass_(300)
    hand.put(traffic={"blue": 100}, mirrorTraffic={"green": 20}).raise_for_status()
    hand.pass_(30)
    refused = hand.arm.delete(f"{hand.url}/deployments/green")
    assert (refused.status_code, "20% of the mirrored traffic" in refused.text) == (400, True)
    hand.put(traffic={"blue": 100}).raise_for_status()
    hand.pass_(30)
    assert hand.arm.delete(f"{hand.url}/deployments/green").status_code == 202
    assert hand.arm.delete(f"{hand.url}/deployments/green").status_code == 409
    hand.pass_(60)
    assert hand.arm.get(f"{hand.url}/deployments/green").status_code == 404


def test_a_kubernetes_endpoint_takes_no_mirror(box, arm):
    hand = Hand(box, arm, "on-k8s")
    compute = {"compute": f"{PATH}/computes/aks"}
    hand.put(**compute).raise_for_status()
    hand.pass_(30)
    for deployment in ("blue", "green"):
        hand.deploy(deployment).raise_for_status()
    hand.pass_(300)
    refused = hand.put(**compute, traffic={"blue": 100}, mirrorTraffic={"green": 10})
    assert (refused.status_code, "Kubernetes" in refused.text) == (400, True)
    assert hand.put(**compute, traffic={"blue": 100}).status_code == 200
    assert arm.get(hand.url).json()["kind"] == "K8S"


def test_the_levers_of_what_is_served(box, hand):
    where = {"workspace": PATH, "endpoint": hand.name}
    hand.deploy("green")
    hand.pass_(300)
    assert control(box, "traffic", where | {"traffic": {"blue": 70, "green": 30}}).json()["traffic"]["green"] == 30
    assert control(box, "load", where | {"per_minute": 60, "incident": 0.5}).json() == {
        "per_minute": 60,
        "incident": 0.5,
    }
    hand.pass_(600)
    found = requests.get(f"{box.http}/control/endpoints?minutes=3", timeout=5).json()
    [picture] = [each for each in found if each["id"].endswith(hand.name)]
    assert picture["deployments"]["green"] == {"model": "fraud:12", "state": "Succeeded"}
    assert [each["of"] for each in picture["shares"]][-1] == {"blue": 0.7, "green": 0.3}
    last = list(picture["requests"].values())[-1]
    assert 20 < last["blue"] + last["green"] < 120
    state = requests.get(f"{box.http}/control/state", timeout=5).json()
    assert state["endpoints"][f"{PATH}/onlineEndpoints/{hand.name}"]["traffic"] == {"blue": 70, "green": 30}
    made = {"workspace": PATH, "name": "by-hand", "model": "churn", "version": "3"}
    assert control(box, "endpoint", made).json()["traffic"] == {"blue": 100}
    for lever, body, status in [
        ("traffic", where | {"traffic": {"blue": 70}}, 400),
        ("traffic", where | {"traffic": {"blue": 100}, "endpoint": "nobody"}, 404),
        ("manners", {"model": "nobody", "version": "1", "wrong": True}, 404),
        ("load", where | {"per_minute": -1}, 400),
        ("endpoint", made | {"workspace": "dev"}, 400),
    ]:
        refused = control(box, lever, body)
        assert (refused.status_code, refused.json()["error"].startswith(f"/control/{lever}: ")) == (status, True)


def test_scoring_can_be_made_to_fail_on_the_way(box, hand):
    box.sim.faults += [Fault("scoring", 502), Fault("scoring", "drop")]
    assert hand.score().status_code == 502
    with pytest.raises(requests.ConnectionError):
        hand.score()


# With the real SDK. It polls by the wall clock, so time has to pass by itself.


@pytest.fixture(scope="module")
def quick() -> Iterator[Box]:
    with Box(rate=20_000, start=MORNING) as box:
        yield box


@pytest.fixture
def ml(quick: Box) -> Iterator[Any]:
    from azure.identity import ClientSecretCredential

    named = [quick.environment[f"AZURE_{name}"] for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET")]
    credential = ClientSecretCredential(
        *named, authority=quick.https, disable_instance_discovery=True, connection_verify=quick.ca
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZUREML_CURRENT_CLOUD", "AzureCloud")  # the client writes it; given back at the end
        from azure.ai.ml import MLClient

        parts = PATH.split("/")
        yield MLClient(
            credential,
            parts[2],
            parts[4],
            parts[8],
            enable_telemetry=False,
            show_progress=False,
            polling_interval=0,
            connection_verify=quick.ca,
            cloud=f"Box{uuid4().hex}",
            cloud_metadata={
                "azure_portal": quick.https,
                "resource_manager": quick.https + "/",
                "active_directory": quick.https,
                "aml_resource_id": "https://ml.azure.com/",
                "storage_endpoint": "core.windows.net",
                "registry_discovery_endpoint": quick.https + "/",
            },
        )


def test_the_sdk_deploys_mirrors_and_learns_of_a_failure(quick, ml):
    from azure.ai.ml.entities import ManagedOnlineDeployment
    from azure.core.exceptions import HttpResponseError

    quick.serve(PATH, "by-sdk", "fraud:12")
    for name, tags in (("green", {}), ("bad", {"simulated_provisioning": "failed"})):
        deployment = ManagedOnlineDeployment(
            name=name, endpoint_name="by-sdk", model=f"{PATH}/models/fraud/versions/12",
            instance_type="Standard_DS3_v2", instance_count=1, tags=tags,
        )  # fmt: skip
        poller = ml.online_deployments.begin_create_or_update(deployment)
        if name == "bad":
            with pytest.raises(HttpResponseError, match="ResourceNotReady"):
                poller.result()
        else:
            assert poller.result().provisioning_state == "Succeeded"
    endpoint = ml.online_endpoints.get("by-sdk")
    endpoint.mirror_traffic = {"green": 20}
    ml.online_endpoints.begin_create_or_update(endpoint).result()
    eventually(lambda: ml.online_endpoints.get("by-sdk").mirror_traffic == {"green": 20})
    states = {each.name: each.provisioning_state for each in ml.online_deployments.list("by-sdk")}
    assert states == {"blue": "Succeeded", "green": "Succeeded", "bad": "Failed"}


def test_a_batch_endpoint_is_invoked_and_switched_by_the_sdk(quick, ml):
    from azure.ai.ml import Input
    from azure.ai.ml.entities import BatchEndpoint, ModelBatchDeployment

    ml.batch_endpoints.begin_create_or_update(BatchEndpoint(name="nightly")).result()
    for name in ("blue", "green"):
        made = ModelBatchDeployment(
            name=name, endpoint_name="nightly", model=f"{PATH}/models/churn/versions/3", compute="cpu-cluster"
        )
        assert ml.batch_deployments.begin_create_or_update(made).result().name == name
    endpoint = ml.batch_endpoints.get("nightly")
    for default in ("blue", "green", "blue"):
        endpoint.defaults = {"deployment_name": default}
        assert ml.batch_endpoints.begin_create_or_update(endpoint).result().defaults.deployment_name == default
    jobs = [
        ml.batch_endpoints.invoke(
            "nightly", inputs={"data": Input(type="uri_folder", path="azureml:churn:1")}, **pinned
        )
        for pinned in ({}, {"deployment_name": "green"})
    ]
    assert len({job.name for job in jobs}) == 2
    eventually(lambda: {ml.jobs.get(job.name).status for job in jobs} == {"Completed"})
    ran = [ml.jobs.get(job.name).properties["azureml.deploymentname"] for job in jobs]
    assert ran == ["blue", "green"]


def eventually(question: Callable[[], object]) -> None:
    """Asked over HTTP, so every question takes a moment."""
    assert any(question() for _ in range(400)), "it did not come to pass"

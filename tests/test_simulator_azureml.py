"""The unmodified azure-ai-ml and azure-identity against the simulated Azure."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
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

SUBSCRIPTION, GROUP, WORKSPACE = "5f3b2c1a-8d4e-4c6b-9a7f-0e1d2c3b4a59", "mlops", "dev"
PATH = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
    f"/providers/Microsoft.MachineLearningServices/workspaces/{WORKSPACE}"
)
PIPELINE = """
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
experiment_name: fraud-train
settings: {default_compute: azureml:cpu-cluster}
inputs:
  rate: 0.1
  data: {type: uri_folder, path: "azureml:transactions:31"}
jobs:
  train:
    type: command
    component: azureml:fraud-train:4
    inputs: {rate: "${{parent.inputs.rate}}", data: "${{parent.inputs.data}}"}
"""


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with Box(rate=3600, pause=0) as box:
        yield box


@pytest.fixture(scope="module")
def credential(box: Box) -> Any:
    from azure.identity import ClientSecretCredential

    return ClientSecretCredential(
        box.environment["AZURE_TENANT_ID"],
        box.environment["AZURE_CLIENT_ID"],
        box.environment["AZURE_CLIENT_SECRET"],
        authority=box.environment["AZURE_AUTHORITY_HOST"],
        disable_instance_discovery=True,
        connection_verify=box.ca,
    )


@pytest.fixture(scope="module")
def client(box: Box, credential: Any) -> Iterator[Callable[[str], Any]]:
    """The client of a workspace."""
    cloud = f"Box{uuid4().hex}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZUREML_CURRENT_CLOUD", "AzureCloud")  # the client writes it; given back at the end
        from azure.ai.ml import MLClient

        yield lambda workspace: MLClient(
            credential,
            SUBSCRIPTION,
            GROUP,
            workspace,
            enable_telemetry=False,
            show_progress=False,
            polling_interval=0,
            connection_verify=box.ca,
            cloud=cloud,
            cloud_metadata={
                "azure_portal": box.https,
                "resource_manager": box.https + "/",
                "active_directory": box.https,
                "aml_resource_id": "https://ml.azure.com/",
                "storage_endpoint": "core.windows.net",
                "registry_discovery_endpoint": box.https + "/",
            },
        )


@pytest.fixture(scope="module")
def ml(client: Callable[[str], Any]) -> Any:
    return client(WORKSPACE)


@pytest.fixture
def http(box: Box, credential: Any) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.verify, session.trust_env = box.ca, False
        session.headers["Authorization"] = (
            f"Bearer {credential.get_token('https://management.azure.com/.default').token}"
        )
        yield session


def pipeline(tmp_path: Path, name: str, **inputs: object) -> Any:
    from azure.ai.ml import load_job

    (tmp_path / "pipeline.yml").write_text(PIPELINE)
    overrides: list[dict[str, object]] = [{"name": name}, {"tags": {"team": "fraud"}}]
    return load_job(
        tmp_path / "pipeline.yml",
        params_override=overrides + [{f"inputs.{key}": value} for key, value in inputs.items()],
    )


def events(box: Box, kind: str, run: str = "") -> list[dict[str, Any]]:
    found = [dict(event) for event in box.azure.eventgrid.recent]
    return [
        event
        for event in found
        if event["eventType"].endswith(f".{kind}") and (not run or event["data"].get("runId") == run)
    ]


def job(**changes: object) -> dict[str, Any]:
    usual = {"jobType": "Command", "command": "python train.py", "environmentId": "e", "experimentName": "train"}
    return {"properties": {**usual, **changes}}


def eventually(question: Any) -> Any:
    for _ in range(3000):
        if answer := question():
            return answer
        time.sleep(0.01)  # noqa: TID251 (the box lives in a thread of its own)
    raise AssertionError("it did not come to pass in half a minute")


def test_a_pipeline_of_a_registered_component_runs_to_its_end_and_registers_a_model(box, ml, tmp_path):
    submitted = ml.jobs.create_or_update(pipeline(tmp_path, "retrain-1"))
    assert (submitted.name, submitted.experiment_name) == ("retrain-1", "fraud-train")
    assert submitted.studio_url.startswith(box.http)
    eventually(lambda: ml.jobs.get("retrain-1").status == "Completed")
    model = eventually(lambda: ml.models.get("fraud", label="latest"))
    assert (model.version, model.tags, model.job_name) == ("1", {"stage": "dev", "team": "fraud"}, "retrain-1")
    assert [received.key for received in box.sim.inbox.all("job")].count("retrain-1") == 1

    statuses = [event["data"]["runStatus"] for event in events(box, "RunStatusChanged", "retrain-1")]
    assert statuses == ["NotStarted", "Queued", "Running", "Finalizing", "Completed"]
    [completed] = events(box, "RunCompleted", "retrain-1")
    assert completed["topic"] == PATH
    assert completed["subject"].startswith("experiments/")
    assert completed["data"]["runType"] == "azureml.PipelineRun"
    assert completed["data"]["runTags"] == {"team": "fraud"}
    assert completed["data"]["runProperties"]["azureml.runsource"] == "azureml.PipelineRun"
    [step] = [event for event in events(box, "RunCompleted") if event["data"]["runType"] == "azureml.StepRun"]
    assert step["data"]["runProperties"]["azureml.pipelinerunid"] == "retrain-1"
    [registered] = [event for event in events(box, "ModelRegistered") if event["data"]["ModelName"] == "fraud"]
    assert (registered["subject"], registered["data"]["ModelVersion"]) == ("models/fraud:1", "1")


def test_the_same_job_again_is_the_same_job_and_another_under_its_name_is_refused(box, ml, tmp_path):
    from azure.core.exceptions import HttpResponseError

    ml.jobs.create_or_update(pipeline(tmp_path, "retrain-2"))
    again = ml.jobs.create_or_update(pipeline(tmp_path, "retrain-2"))
    assert again.name == "retrain-2"
    with pytest.raises(HttpResponseError, match="A job with this name already exists") as refused:
        ml.jobs.create_or_update(pipeline(tmp_path, "retrain-2", rate=0.5))
    assert refused.value.status_code == 400
    assert refused.value.response
    assert "JobPropertyImmutable" in refused.value.response.text()
    assert [received.key for received in box.sim.inbox.all("job")].count("retrain-2") == 1


def test_a_fetched_job_holds_enough_to_run_it_once_more(box, ml, http, tmp_path):
    from azure.ai.ml import command

    first = command(
        command="echo ${{inputs.rate}}",
        environment="azureml:sklearn:5",
        compute="cpu-cluster",
        inputs={"rate": 0.3},
        experiment_name="churn",
        tags={"team": "churn"},
    )
    first.name = "command-1"
    ml.jobs.create_or_update(first)
    ml.jobs.create_or_update(pipeline(tmp_path, "pipeline-1"))
    for name in ("command-1", "pipeline-1"):
        fetched = ml.jobs.get(name)
        fetched.name = f"{name}-again"
        assert ml.jobs.create_or_update(fetched).name == f"{name}-again"
        before, after = (
            http.get(f"{box.https}{PATH}/jobs/{each}").json()["properties"] for each in (name, f"{name}-again")
        )
        for key in ("jobType", "experimentName", "inputs", "command", "environmentId", "computeId", "tags"):
            assert before.get(key) == after.get(key)
        assert before.get("jobs", {}).keys() == after.get("jobs", {}).keys()


@pytest.mark.parametrize(
    ("name", "body", "status", "words"),
    [
        ("no-experiment", job(experimentName=None), 400, "experimentName"),
        ("no-type", job(jobType=None), 400, "jobType"),
        ("bad name!", job(), 400, "job name 'bad name!' is invalid"),
        ("-dash-first", job(), 400, "is invalid"),
        ("fine-name", job(), 201, "fine-name"),
        ("no-properties", {}, 400, "properties"),
    ],
)
def test_a_job_is_checked_as_the_service_checks_it(box, http, *, name, body, status, words):
    answer = http.put(f"{box.https}{PATH}/jobs/{name}", json=body)
    assert answer.status_code == status
    assert words in answer.text


def test_what_is_not_there_is_said_in_arms_words(box, http, ml):
    from azure.core.exceptions import ResourceNotFoundError

    for read in (lambda: ml.jobs.get("nobody"), lambda: ml.models.get("nobody", version="1")):
        with pytest.raises(ResourceNotFoundError, match="not found"):
            read()
    assert http.get(f"{box.https}{PATH}/models/nobody").json()["error"]["code"] == "UserError"
    answer = http.get(f"{box.https}/mlflow/v2.0{PATH}/api/2.0/mlflow/runs/get?run_id=nobody")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_nobody_gets_in_without_a_bearer(box):
    for path in (PATH, f"/history/v1.0{PATH}/runs/x", f"/mlflow/v2.0{PATH}/api/2.0/mlflow/runs/get"):
        answer = requests.get(box.https + path, verify=box.ca, timeout=5)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "AuthenticationFailed")


def test_a_wrong_secret_gets_no_token(box):
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import ClientSecretCredential

    wrong = ClientSecretCredential(
        "tenant", box.environment["AZURE_CLIENT_ID"], "guess", authority=box.https,
        disable_instance_discovery=True, connection_verify=box.ca,
    )  # fmt: skip
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        wrong.get_token("https://management.azure.com/.default")


@pytest.mark.parametrize(
    ("outcome", "code", "words"),
    [("failed", "UserError", "KeyError"), ("preempted", "ServiceError", "NodePreempted")],
)
def test_run_history_and_mlflow_tell_how_a_run_ended(box, http, outcome, code, words):
    http.put(f"{box.https}{PATH}/jobs/{outcome}", json=job(tags={"simulated_outcome": outcome})).raise_for_status()
    details = f"{box.https}/history/v1.0{PATH}/runs/{outcome}/details"
    eventually(lambda: http.get(details).json()["status"] == "Failed")
    error = http.get(details).json()["error"]["error"]
    assert error["code"] == code
    assert words in error["message"]
    info = http.get(f"{box.https}/mlflow/v2.0{PATH}/api/2.0/mlflow/runs/get?run_id={outcome}").json()["run"]["info"]
    assert info["status"] == "FAILED"
    assert events(box, "RunCompleted", outcome) == []


def test_a_completed_run_has_metrics_times_and_a_family(box, http):
    body = job(
        jobType="Pipeline",
        experimentName="scoring",
        inputs={"rate": {"jobInputType": "literal", "value": "0.3"}},
        jobs={"prepare": {"componentId": "c1"}, "score": {"componentId": "c2"}},
    )
    http.put(f"{box.https}{PATH}/jobs/family", json=body).raise_for_status()
    run = f"{box.https}/history/v1.0{PATH}/runs/family"
    told = eventually(lambda: (answer := http.get(run).json())["status"] == "Completed" and answer)
    assert (told["parentRunId"], told["rootRunId"], told["error"]) == (None, "family", None)
    assert told["startTimeUtc"] < told["endTimeUtc"]
    children = http.get(f"{run}/children").json()["value"]
    assert [child["displayName"] for child in children] == ["prepare", "score"]
    assert {(child["parentRunId"], child["rootRunId"]) for child in children} == {("family", "family")}
    data = http.get(f"{box.https}/mlflow/v2.0{PATH}/api/2.0/mlflow/runs/get?run_id=family").json()["run"]["data"]
    metrics = {metric["key"]: (metric["value"], metric["step"]) for metric in data["metrics"]}
    assert 0.9 <= metrics["auc"][0] <= 0.96
    assert metrics["loss"][1] == 4
    assert data["params"] == [{"key": "rate", "value": "0.3"}]
    studio = requests.get(f"{box.http}/studio/runs/family", timeout=5).json()
    assert studio["run"]["runId"] == "family"


def test_a_running_job_can_be_labelled_and_cancelled(ml, http, box):
    body = job(tags={"simulated_seconds": "1e9", "team": "a"})
    http.put(f"{box.https}{PATH}/jobs/long", json=body).raise_for_status()
    changed = ml.jobs.update("long", tags={"note": "slow"}, display_name="Long one")
    assert (changed.tags["team"], changed.tags["note"], changed.display_name) == ("a", "slow", "Long one")
    assert "long" in [each.name for each in ml.jobs.list()]
    ml.jobs.begin_cancel("long").result()
    assert ml.jobs.get("long").status == "Canceled"
    assert http.post(f"{box.https}{PATH}/jobs/long/cancel").status_code == 400


def test_an_endpoint_takes_a_deployment_then_traffic_and_says_so(box, ml, http):
    from azure.ai.ml.entities import ManagedOnlineDeployment, ManagedOnlineEndpoint, Model

    ml.models.create_or_update(
        Model(name="credit", version="7", path="azureml://jobs/j/outputs/artifacts/paths/model/")
    )
    endpoint = ml.online_endpoints.begin_create_or_update(
        ManagedOnlineEndpoint(name="credit", auth_mode="aad_token", tags={"team": "credit"})
    ).result()
    assert (endpoint.provisioning_state, endpoint.traffic) == ("Succeeded", {})
    blue = ManagedOnlineDeployment(
        name="blue", endpoint_name="credit", model="azureml:credit:7", instance_type="Standard_DS3_v2", instance_count=1
    )
    assert ml.online_deployments.begin_create_or_update(blue).result().provisioning_state == "Succeeded"
    assert events(box, "ModelDeployed") == []

    endpoint.traffic = {"blue": 100}
    assert ml.online_endpoints.begin_create_or_update(endpoint).result().traffic == {"blue": 100}
    [deployed] = events(box, "ModelDeployed")
    assert deployed["subject"] == "endpoints/credit"
    assert deployed["data"]["ModelIds"] == "credit:7"
    assert deployed["data"]["ServiceTags"] == {"team": "credit"}

    url = f"{box.https}{PATH}/onlineEndpoints/credit"
    refused = http.delete(f"{url}/deployments/blue")
    assert (refused.status_code, refused.json()["error"]["innerError"]["code"]) == (
        400,
        "CannotDeleteDeploymentWithTraffic",
    )
    for properties, words in [
        ({"traffic": {"blue": 60}}, "must sum to 0 or 100"),
        ({"traffic": {"green": 100}}, "do not exist: green"),
        ({"traffic": {"blue": 0}, "mirrorTraffic": {"blue": 51}}, "at most 50"),
        ({"traffic": {"blue": 100}, "mirrorTraffic": {"blue": 10}}, "live or mirror"),
    ]:
        answer = http.put(url, json={"location": "westeurope", "properties": {"authMode": "Key", **properties}})
        assert answer.status_code == 400
        assert words in answer.json()["error"]["message"]

    calm = {"location": "westeurope", "properties": {"authMode": "AADToken", "traffic": {}}}
    box.sim.clock.turn(0)
    try:
        assert http.put(url, json=calm).json()["properties"]["provisioningState"] == "Updating"
        assert http.put(url, json=calm).status_code == 409
        assert http.get(url).json()["properties"]["traffic"] == {"blue": 100}
    finally:
        box.sim.clock.turn(3600)
    eventually(lambda: http.get(url).json()["properties"]["traffic"] == {})
    ml.online_deployments.begin_delete("blue", endpoint_name="credit").result()
    assert http.get(f"{url}/deployments").json() == {"value": []}
    ml.online_endpoints.begin_delete("credit").result()
    assert http.get(url).status_code == 404


def test_faults_come_on_demand_and_a_lost_answer_leaves_its_effect(box, http):
    box.sim.faults += [Fault("arm", 503, retry_after=3), Fault("history", "drop"), Fault("arm", "lost answer")]
    answer = http.get(f"{box.https}{PATH}")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "3")
    with pytest.raises(requests.ConnectionError):
        http.get(f"{box.https}/history/v1.0{PATH}/runs/x")
    with pytest.raises(requests.ConnectionError):
        http.put(f"{box.https}{PATH}/jobs/lost", json=job())
    assert http.put(f"{box.https}{PATH}/jobs/lost", json=job()).status_code == 200


def test_a_component_is_found_by_its_label(ml):
    assert ml.components.get("anything", label="latest").version == "1"


def test_every_run_of_the_story_can_be_read_and_the_preempted_one_run_again(box, client, http):
    box.run(box.azure.story.play())
    prod = client("prod")
    read = {run.name: prod.jobs.get(run.name) for run in prod.jobs.list()}
    assert sorted(job.type for job in read.values()) == ["command"] * 5 + ["pipeline", "sweep"]
    preempted = next(job for name, job in read.items() if name.startswith("fraud-nightly-"))
    preempted.name = "again"
    assert prod.jobs.create_or_update(preempted).experiment_name == "fraud-train"
    eventually(lambda: prod.jobs.get("again").status == "Completed")

    history = f"{box.https}/history/v1.0{PATH.replace('/dev', '/prod')}/runs"
    sweep = next(name for name, job in read.items() if job.type == "sweep")
    trials = http.get(f"{history}/{sweep}/children").json()["value"]
    assert [trial["runId"] for trial in trials] == [f"{sweep}_{n}" for n in range(20)]
    errors = [http.get(f"{history}/{name}/details").json()["error"] for name in read]
    assert sorted(error["error"]["innerError"]["code"] for error in errors if error) == [
        "NodePreempted",
        "PipelineHasStepJobFailed",  # of the model monitor, whose signal found drift
        "UserExecutionFailure",
    ]

"""Jobs by the real azure-ai-ml, lookups by REST, against the simulated Azure."""

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from shared.cloud import Doors, doors
from shared.cloud.platform import AzureML
from shared.errors import PermanentError, TemporaryError
from shared.record import Job, WorkspaceRef
from shared.settings import Settings
from shared.world import Http, PipelineJob, Reply
from simulator.app import Box
from simulator.state import Fault

WHERE = WorkspaceRef("6560575d-fa06-4e7d-95fb-f962e74efd7a", "rg-ml", "prod")
CAUSE = {"switchyard_event": "0a1b", "switchyard_rule": "drift", "switchyard_depth": "1"}
PIPELINE = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
display_name: churn retraining
tags: {team: churn}
inputs:
  training_data: {type: uri_folder, path: "azureml:train-data:9"}
  rate: 0.5
  epochs: 3
  warm: true
  reason: none
settings:
  default_compute: azureml:cpu-cluster
jobs:
  train:
    type: command
    component: azureml:train:3
    inputs:
      data: ${{parent.inputs.training_data}}
      rate: ${{parent.inputs.rate}}
"""
FILED = PipelineJob(
    name="ev1-drift-0",
    source="pipelines/train.yml",
    experiment="churn",
    inputs={"training_data": "azureml:train-data:11", "rate": 0.9, "warm": False, "reason": "drift of 0.41"},
    tags=CAUSE,
)


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with Box(rate=100_000, seed=1) as box:
        yield box


@pytest.fixture
async def outside(box: Box, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Doors]:
    monkeypatch.setenv("SSL_CERT_FILE", str(box.ca))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(box.ca))
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "train.yml").write_text(PIPELINE)
    made = doors(Settings.of(box.environment), box.environment, tmp_path)
    yield made
    await made.close()
    box.sim.faults.clear()


@pytest.fixture
def platform(outside: Doors) -> AzureML:
    return outside.platform


def body(box: Box, name: str) -> dict[str, object]:
    """The job as the simulated Azure got it."""
    [job] = [one for one in box.sim.inbox.all("job") if one.key == name]
    assert isinstance(job.payload, dict)
    return job.payload


async def until(platform: AzureML, run: str, ended: Callable[[Job], bool]) -> Job:
    """The run once it has got there: each look takes long beside the simulated time."""
    for _ in range(200):
        job = await platform.job(WHERE, run)
        if ended(job):
            return job
    raise AssertionError(job)


async def test_a_pipeline_file_becomes_a_job_with_inputs_and_tags_of_the_event(box: Box, platform: AzureML) -> None:
    job = replace(FILED, compute="azureml:gpu-cluster", display_name="because of drift")
    done = await platform.submit(WHERE, job)
    sent = body(box, job.name)
    assert (done.name, done.again) == (job.name, False)
    assert done.studio_url is not None
    assert job.name in done.studio_url
    assert (sent["experimentName"], sent["displayName"]) == ("churn", "because of drift")
    assert sent["tags"] == {"team": "churn", **CAUSE}
    inputs = sent["inputs"]
    assert isinstance(inputs, dict)
    assert inputs["training_data"]["uri"].endswith("/data/train-data/versions/11")
    values = {name: given["value"] for name, given in inputs.items() if "value" in given}
    assert values == {"rate": "0.9", "epochs": "3", "warm": "False", "reason": "drift of 0.41"}
    assert str(sent["settings"]["default_compute"]).endswith("/gpu-cluster")  # type: ignore[index]
    assert "git" not in str(
        sent["properties"]
    )  # the checkout that this host runs from is not where the training code is


async def test_a_job_is_submitted_once_however_often_it_is_asked_for(box: Box, platform: AzureML) -> None:
    job = replace(FILED, name="ev2-drift-0")
    first = await platform.submit(WHERE, job)
    second = await platform.submit(WHERE, replace(job, inputs={"rate": 0.1}))
    assert (first.again, second.again) == (False, True)
    assert second.studio_url
    assert str(first.studio_url).startswith(second.studio_url)  # the SDK adds the tenant
    body(box, job.name)  # one


class Look:
    """The door, and what happens as soon as something was looked up through it."""

    def __init__(self, http: Http, then: Callable[[], Awaitable[object]]) -> None:
        self.http, self.then = http, then

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Reply:
        reply = await self.http.send(method, url, headers=headers, body=body)
        await self.then()
        return reply


async def test_a_job_whose_answer_was_lost_is_found_again(box: Box, platform: AzureML) -> None:
    async def lose() -> None:
        box.sim.faults.append(Fault("arm", "lost answer"))

    job = replace(FILED, name="ev3-drift-0")
    await platform.submit(WHERE, replace(job, name="ev3-warm-up"))
    platform._workspaces.http = Look(platform._workspaces.http, lose)
    with pytest.raises(TemporaryError, match="submitting job ev3-drift-0: no answer") as caught:
        await platform.submit(WHERE, job)
    assert caught.value.sent
    box.sim.faults.clear()
    assert (await platform.submit(WHERE, job)).again
    body(box, job.name)  # one


async def test_a_job_that_another_host_submits_between_look_and_submission_is_ours(box: Box, platform: AzureML) -> None:
    job = replace(FILED, name="ev13-drift-0")
    door = platform._workspaces.http

    async def faster() -> None:
        platform._workspaces.http = door
        assert not (await platform.submit(WHERE, replace(job, inputs={"rate": 0.1}))).again

    platform._workspaces.http = Look(door, faster)
    assert (await platform.submit(WHERE, job)).again
    body(box, job.name)  # one


async def test_a_name_that_somebody_else_has_is_not_taken_for_ours(platform: AzureML) -> None:
    job = replace(FILED, name="ev4-drift-0")
    await platform.submit(WHERE, job)
    with pytest.raises(PermanentError, match="job ev4-drift-0 is there already, and is not ours"):
        await platform.submit(WHERE, replace(job, tags=CAUSE | {"switchyard_event": "another"}))


async def component(outside: Doors, box: Box, name: str, inputs: Mapping[str, object]) -> None:
    """Registers a component, as a team's pipeline would."""
    spec = {
        "name": name,
        "version": "3",
        "type": "command",
        "command": "python train.py",
        "environment": "azureml:sklearn:1",
        "inputs": inputs,
        "outputs": {},
    }
    reply = await outside.http.send(
        "PUT",
        f"{box.environment['AZURE_RESOURCE_MANAGER_URL']}/subscriptions/{WHERE.subscription}/resourceGroups/"
        f"{WHERE.resource_group}/providers/Microsoft.MachineLearningServices/workspaces/{WHERE.workspace}"
        f"/components/{name}/versions/3?api-version=2024-01-01-preview",
        headers={"Authorization": "Bearer x", "Content-Type": "application/json"},
        body=json.dumps({"properties": {"componentSpec": spec}}).encode(),
    )
    assert reply.status < 300


async def test_a_registered_component_becomes_a_pipeline_of_one_step(box: Box, outside: Doors) -> None:
    declared = {"data": {"type": "uri_folder"}, "rate": {"type": "number"}, "label": {"type": "string"}}
    await component(outside, box, "fraud-train", declared)
    job = PipelineJob(
        name="ev5-fraud-0",
        source="azureml:fraud-train:3",
        experiment="fraud",
        inputs={"data": "azureml:fraud-data:4", "rate": 0.2, "label": "azureml:not-an-asset"},
        tags=CAUSE,
        compute="cpu-cluster",
    )
    done = await outside.platform.submit(WHERE, job)
    sent = body(box, job.name)
    [step] = sent["jobs"].values()  # type: ignore[attr-defined]
    inputs = sent["inputs"]
    assert isinstance(inputs, dict)
    assert not done.again
    assert sent["jobType"] == "Pipeline"
    assert step["componentId"].endswith("/components/fraud-train/versions/3")
    assert step["inputs"]["rate"]["value"] == "${{parent.inputs.rate}}"
    assert inputs["data"]["jobInputType"] == "uri_folder"
    assert (inputs["rate"]["value"], inputs["label"]["value"]) == ("0.2", "azureml:not-an-asset")


async def test_a_component_takes_inputs_as_text_and_runs_serverless_where_no_compute_is_named(
    box: Box, platform: AzureML
) -> None:
    inputs = {"training_data": "azureml:transactions:31", "drift": "0.41", "learning_rate": 0.02}
    await platform.submit(WHERE, replace(FILED, name="ev15-fraud-0", source="azureml:fraud_train:3", inputs=inputs))
    sent = body(box, "ev15-fraud-0")
    given = sent["inputs"]
    assert isinstance(given, dict)
    assert (given["drift"]["value"], given["learning_rate"]["value"]) == ("0.41", "0.02")
    assert "serverless" in str(sent["settings"])


async def test_an_input_that_a_component_does_not_declare_is_refused_before_anything_is_sent(
    box: Box, platform: AzureML
) -> None:
    job = replace(FILED, name="ev14-fraud-0", source="azureml:fraud_train:3", inputs={"trainin_data": 1})
    with pytest.raises(PermanentError, match=r"no input 'trainin_data'; known: .*training_data"):
        await platform.submit(WHERE, job)
    assert not [one for one in box.sim.inbox.all("job") if one.key == job.name]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source": "pipelines/none.yml"}, "there is no pipeline 'pipelines/none.yml' in the configuration folder"),
        ({"source": "../secret.yml"}, "outside of the configuration folder"),
        ({"source": "azureml:train"}, "'azureml:train' names no component, expected azureml:<name>:<version>"),
        ({"source": "pipelines/broken.yml"}, "pipeline 'pipelines/broken.yml' can't be read"),
        ({"source": "pipelines/command.yml"}, "is a command job, expected a pipeline"),
        ({"source": "pipelines/nowhere.yml", "inputs": {}}, "jobs.train.compute: Compute not set"),
        ({"inputs": {"rat": 1}}, "no input 'rat'; known: epochs, rate, reason, training_data, warm"),
        ({"inputs": {"training_data": "/etc/passwd"}}, "expected a uri_folder such as azureml:train-data:3"),
        ({"inputs": {"training_data": 3}}, "input 'training_data' is 3, expected a uri_folder"),
        ({"name": "ev 6"}, "refused with HTTP 400: The job name 'ev 6' is invalid"),
    ],
)
async def test_what_can_not_be_submitted_says_why(
    platform: AzureML, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    (tmp_path / "pipelines" / "broken.yml").write_text("type: pipeline\njobs: {train: {type: nothing}}\n")
    command = "type: command\ncommand: echo\nenvironment: azureml:sklearn:1\ncompute: azureml:cpu\n"
    (tmp_path / "pipelines" / "command.yml").write_text(command)
    homeless = "type: pipeline\njobs: {train: {type: command, component: 'azureml:train:3'}}\n"
    (tmp_path / "pipelines" / "nowhere.yml").write_text(homeless)
    with pytest.raises(PermanentError) as caught:
        await platform.submit(WHERE, replace(FILED, **({"name": "ev6-drift-0"} | change)))  # type: ignore[arg-type]
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_run_that_failed_tells_its_error_and_its_times(platform: AzureML) -> None:
    job = replace(FILED, name="ev7-drift-0", tags=CAUSE | {"simulated_outcome": "failed", "simulated_seconds": "120"})
    await platform.submit(WHERE, job)
    seen = await until(platform, job.name, lambda run: run.status == "Failed")
    assert seen.error_code == "UserError"
    assert "merchant_category" in str(seen.error)
    assert seen.started is not None
    assert seen.duration is not None
    assert seen.duration >= 120
    assert (seen.is_child, seen.parent, seen.name) == (False, None, "churn retraining")
    assert seen.studio_url is not None


async def test_metrics_are_the_last_value_of_each(platform: AzureML) -> None:
    job = replace(FILED, name="ev8-drift-0", tags=CAUSE | {"simulated_seconds": "60"})
    await platform.submit(WHERE, job)
    await until(platform, job.name, lambda run: run.status == "Completed")
    metrics = await platform.metrics(WHERE, job.name)
    assert metrics.keys() == {"auc", "accuracy", "f1_score", "loss"}
    assert 0 < metrics["auc"] < 1


async def test_what_a_monitor_found_is_read_from_its_runs(box: Box, platform: AzureML) -> None:
    here = box.azure.azureml.workspace(WHERE.subscription, WHERE.resource_group, WHERE.workspace)
    inputs = {"baseline_data": {"jobInputType": "mltable", "uri": "azureml:train:3"}}
    body = {"jobType": "Pipeline", "experimentName": "fraud-monitor", "inputs": inputs}
    said = (
        'The signal \'fraud_data_drift\' has failed due to … [\'{"group":"a","metric_value":2,"threshold_value":1}\']'
    )
    pipeline = {"azureml.runsource": "azureml.PipelineRun"}
    top = box.azure.azureml.begin(here, "monitor-1", body, extra=pipeline)
    signal = box.azure.azureml.begin(here, "signal-1", body | {"inputs": {}}, parent=top, extra=pipeline)
    tagged = body | {"tags": {"azureml_modelmonitor_threshold_breached": said}}
    step = box.azure.azureml.begin(
        here, "compare-1", tagged, parent=signal, extra={"azureml.runsource": "azureml.StepRun"}
    )
    for run in (step, signal, top):
        run.status = "Failed"
    for name in ("monitor-1", "signal-1", "compare-1"):
        drift = await platform.drift(WHERE, name)
        assert (drift.monitor, drift.signal, drift.features) == ("fraud", "data_drift", ("a",))
        assert drift.coefficient == 2
        assert drift.baseline == "azureml:train:3"


@pytest.mark.parametrize("ask", ["job", "metrics", "drift"])
async def test_a_run_that_is_not_there_is_named(platform: AzureML, ask: str) -> None:
    with pytest.raises(PermanentError, match=r"run no-such-run: not found \(HTTP 404\)"):
        await getattr(platform, ask)(WHERE, "no-such-run")


async def test_a_job_goes_once_more_as_it_was_under_a_new_name(box: Box, platform: AzureML) -> None:
    job = replace(FILED, name="ev9-drift-0", tags=CAUSE | {"simulated_outcome": "preempted"})
    await platform.submit(WHERE, job)
    await until(platform, job.name, lambda run: run.status == "Failed")
    more = {"switchyard_event": "2c3d", "switchyard_rule": "again", "switchyard_depth": "2"}
    first = await platform.resubmit(WHERE, job.name, "ev10-again-0", more)
    second = await platform.resubmit(WHERE, job.name, "ev10-again-0", more)
    assert (first.name, first.again, second.again) == ("ev10-again-0", False, True)
    old, new = body(box, job.name), body(box, "ev10-again-0")
    assert new["tags"] == {**old["tags"], **more}  # type: ignore[dict-item]
    for same in ("inputs", "jobs", "settings", "experimentName", "jobType"):
        assert new[same] == old[same]
    assert not {"status", "services"} & new.keys()


@pytest.mark.parametrize(("status", "retry_after"), [(429, 30), (503, None), (409, None)])
async def test_a_busy_azure_is_asked_once_and_later(
    box: Box, platform: AzureML, status: int, retry_after: int | None
) -> None:
    box.sim.faults.append(Fault("arm", status, retry_after=retry_after))
    with pytest.raises(TemporaryError, match=f"HTTP {status}") as caught:
        await platform.submit(WHERE, replace(FILED, name=f"ev11-{status}"))
    assert caught.value.retry_after == retry_after


@pytest.mark.parametrize("status", [401, 403])
async def test_a_missing_role_is_named(box: Box, platform: AzureML, status: int) -> None:
    box.sim.faults.append(Fault("history", status))
    with pytest.raises(PermanentError, match="probably lacks the role 'AzureML Data Scientist' on the workspace"):
        await platform.job(WHERE, "any")


async def test_the_sdks_traces_in_the_process_go_when_the_doors_close(outside: Doors) -> None:
    await outside.platform.submit(WHERE, replace(FILED, name="ev12-drift-0"))
    assert os.environ["AZUREML_CURRENT_CLOUD"].startswith("Switchyard-localhost-")  # noqa: TID251
    await outside.close()
    assert "AZUREML_CURRENT_CLOUD" not in os.environ  # noqa: TID251

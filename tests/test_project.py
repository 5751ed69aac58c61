"""The project skeleton of samples/project: that its parts fit each other and this service, by the tools that its users have.

Its own tests, of the training code, run in its own environment (`make test`).
"""

import importlib
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ruamel.yaml import YAML

from shared.cli.rules_test import read_tests
from shared.cloud import doors
from shared.record import WorkspaceRef
from shared.rehearsal.story import read_stories
from shared.rehearsal.trial import as_text, try_all
from shared.rollout.policy import Compare
from shared.rollout.record import Compared
from shared.rollout.scorecard import scorecard
from shared.rules.load import load_texts
from shared.settings import Settings, read_folder
from shared.world import PipelineJob
from simulator.app import Box
from simulator.azureml import CODE_FAILED, Run, Version, Workspace
from simulator.entra import TENANT

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:azure.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:marshmallow.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:azure.*"),
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning"
    ),  # the SDK leaves the sessions of its uploads to the collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROOT = Path(__file__).resolve().parents[1]
PROJECT = ROOT / "samples" / "project"
OPS = PROJECT / "code" / "ops"
PYTHON = ROOT / ".venv-project" / "bin" / "python"
SUBSCRIPTION = "5f3b2c1a-8d4e-4c6b-9a7f-0e1d2c3b4a59"
START = datetime(2026, 11, 24, tzinfo=UTC)
YAMLS = YAML(typ="safe")


def read(path: str) -> Any:
    return YAMLS.load((PROJECT / path).read_text(encoding="utf-8"))


def files(pattern: str) -> list[str]:
    return sorted(path.relative_to(PROJECT).as_posix() for path in PROJECT.glob(pattern))


# What is there


def test_the_folders_are_those_of_the_documented_layout():
    assert {path.name for path in PROJECT.iterdir() if path.is_dir()} - {".pytest_cache"} == {
        ".ado",
        ".cloud",
        ".github",
        "code",
        "docs",
        "notebooks",
        "pipelines",
        "tests",
    }


@pytest.mark.parametrize("file", files("pipelines/**/*.yml") + files(".cloud/compute.yml"))
def test_every_file_of_azure_machine_learning_loads_by_its_own_loader_and_is_valid(file):
    from azure.ai import ml

    schema = str(read(file)["$schema"]).rpartition("/")[2].partition(".")[0]
    load: Any = {
        "pipelineJob": ml.load_job,
        "pipelineComponent": ml.load_component,
        "commandComponent": ml.load_component,
        "environment": ml.load_environment,
        "data": ml.load_data,
        "amlCompute": ml.load_compute,
        "managedOnlineEndpoint": ml.load_online_endpoint,
        "managedOnlineDeployment": ml.load_online_deployment,
    }[schema]
    loaded: Any = load(PROJECT / file)
    if hasattr(loaded, "_validate"):
        told = loaded._validate()
        assert told is None or told.passed, told.error_messages


def test_a_deployment_collects_what_it_is_asked_and_what_it_says():
    from azure.ai.ml import load_online_deployment

    deployment: Any = load_online_deployment(PROJECT / "pipelines/deployment.yml")
    assert {name: one.enabled.lower() for name, one in deployment.data_collector.collections.items()} == {
        "model_inputs": "true",
        "model_outputs": "true",
    }


# The commands, against the simulated Azure


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with Box(rate=100_000, pause=0) as box:
        box.azure.endpoints.stale = 0
        yield box


def within(box: Box, environment: str) -> Workspace:
    where = read(".cloud/environments.yml")["environments"][environment]

    async def go() -> Workspace:
        return box.azure.azureml.workspace(SUBSCRIPTION, where["resource_group"], where["workspace"])

    return box.run(go())


@pytest.fixture(scope="module")
def ops(box: Box) -> Iterator[Any]:
    """What both CI systems call."""
    found, before = socket.getaddrinfo, dict(os.environ)  # noqa: TID251 (the SDK changes it, and other processes inherit it)

    def at_home(host: Any, *given: Any, **named: Any) -> Any:
        """Storage accounts are hosts of their own; not every resolver knows that *.localhost is this machine."""
        return found("127.0.0.1" if str(host).endswith(".blob.localhost") else host, *given, **named)

    given = {
        name: box.environment[name] for name in box.environment if name.startswith(("AZURE_", "REQUESTS_", "SSL_"))
    }
    given |= {
        "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
        "ARM_CLOUD_METADATA_URL": f"{box.https}/metadata/endpoints?api-version=2019-05-01",
        "REGISTRY_DISCOVERY_ENDPOINT_URL": f"{box.https}/",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", at_home)
        patch.delenv("AZUREML_CURRENT_CLOUD", raising=False)  # the SDK writes it, from what the metadata says
        for name, value in given.items():
            patch.setenv(name, value)
        patch.syspath_prepend(str(OPS))
        commands = importlib.import_module("commands")

        def wait(_: float) -> None:
            time.sleep(0.01)  # noqa: TID251 (the box lives in a thread of its own, and is fast)

        yield SimpleNamespace(main=lambda *argv: commands.main(argv, wait), commands=commands)
        for name in ("commands", "connect"):
            sys.modules.pop(name, None)
    os.environ.clear()  # noqa: TID251 (as above)
    os.environ.update(before)  # noqa: TID251 (as above)


def names(made: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in made.splitlines())


def test_an_environment_that_nobody_knows_is_named_with_those_that_are(ops, capsys):
    assert ops.main("check", "--environment", "test") == 1
    assert "no environment 'test', known: dev, prod" in capsys.readouterr().err


def test_nobody_signed_in_is_told_before_anything_happens(ops, monkeypatch, capsys):
    monkeypatch.delenv("AZURE_SUBSCRIPTION_ID")
    assert ops.main("check", "--environment", "dev") == 1
    assert "AZURE_SUBSCRIPTION_ID is not set" in capsys.readouterr().err


def test_a_cluster_that_is_missing_is_named_with_what_makes_it(box, ops, capsys):
    here = within(box, "dev")
    box.azure.assets.computes[here.path.casefold()] = {"gpu-cluster": {"computeType": "AmlCompute", "properties": {}}}
    assert ops.main("check", "--environment", "dev") == 1
    said = capsys.readouterr().err
    assert "has no compute 'cpu-cluster' (it has: gpu-cluster)" in said
    made = re.search(r"az ml compute create -f (\S+) -g rg-fraud-dev -w mlw-fraud-dev", said)
    assert made
    assert (PROJECT / made[1]).is_file()
    del box.azure.assets.computes[here.path.casefold()]
    assert ops.main("check", "--environment", "dev") == 0
    assert "cpu-cluster is there" in capsys.readouterr().out


COMPONENTS = ("prepare", "train", "evaluate", "register")


def command_lines(folder: Path, data: Path) -> list[list[str]]:
    """The commands of the graph, with inputs and outputs put in as a cluster does it."""
    graph = read("pipelines/components/fraud_train.yml")
    lines = []
    for step in COMPONENTS:
        component, node = read(f"pipelines/components/{step}.yml"), graph["jobs"][step]
        values = {f"inputs.{name}": str(one.get("default", "")) for name, one in component["inputs"].items()}
        for name, given in node["inputs"].items():
            of = re.fullmatch(r"\$\{\{parent\.(inputs|jobs)\.(\w+)(?:\.outputs\.(\w+))?}}", given)
            assert of, given
            declared = graph["inputs"].get(of[2], {})
            default = "30" if of[2] == "epochs" else str(declared.get("default", data))
            values[f"inputs.{name}"] = default if of[1] == "inputs" else str(folder / of[2] / of[3])
        for name in component["outputs"]:
            values[f"outputs.{name}"] = str(folder / step / name)
        filled = component["command"]
        for name, value in values.items():
            filled = filled.replace(f"${{{{{name}}}}}", value)
        assert "${{" not in filled, filled
        program, *line = shlex.split(filled)
        assert program == "python"
        lines.append(line)
    return lines


def token(box: Box) -> str:
    import jwt

    later = int(time.time()) + 3600
    return jwt.encode(
        {"aud": "https://management.azure.com", "tid": TENANT, "exp": later},
        "a key that nobody checks, and long enough all the same",
    )


def running(box: Box, here: Workspace, job: str) -> Run:
    """Its step, once it runs: what a script logs by itself goes there."""
    for _ in range(3000):
        box.sim.clock.advance(1)
        step = next((run for run in list(here.runs.values()) if run.parent and run.parent.name == job), None)
        if step:
            return step
        time.sleep(0.01)  # noqa: TID251 (as above)
    raise AssertionError("the job never ran")


async def begin(box: Box, here: Workspace) -> None:
    """The run of a trial, which somebody on a laptop logs to."""
    box.azure.azureml.begin(here, "trial-1", {"jobType": "Command", "experimentName": "fraud-trials"})


@pytest.fixture(scope="module")
def trained(box: Box, ops: Any, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The pipeline as CI submits it, and its scripts as the cluster runs them: trained for real, logged and registered by
    MLflow's own client for Azure.
    """
    assert PYTHON.exists(), "the environment of samples/project is not there: make .venv-project/.ready"
    here, folder = within(box, "dev"), tmp_path_factory.mktemp("cluster")
    data = folder / "transactions.csv"
    where = {"dataType": "uri_file", "dataUri": "azureml://datastores/workspaceblobstore/paths/transactions.csv"}
    here.data["transactions"] = {"1": Version("transactions", "1", where, box.sim.clock.now())}
    assert ops.main("publish", "--environment", "dev") == 0
    box.sim.clock.turn(0)
    submit = ("submit", "--environment", "dev", "--name", "train-1")
    assert ops.main(*submit, "--output", str(folder / "submitted")) == 0
    step = running(box, here, "train-1")
    environ = dict(os.environ) | {  # noqa: TID251 (as above)
        "MLFLOW_TRACKING_URI": f"azureml://{box.https.removeprefix('https://')}/mlflow/v1.0{here.path}",
        "MLFLOW_TRACKING_TOKEN": token(box),
        "MLFLOW_EXPERIMENT_NAME": step.experiment,
        "MLFLOW_EXPERIMENT_ID": here.experiment_id(step.experiment),
        "MLFLOW_RUN_ID": step.name,
        "AZUREML_ROOT_RUN_ID": "train-1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
    }
    box.run(begin(box, here))
    laptop = environ | {"MLFLOW_RUN_ID": "trial-1", "MLFLOW_EXPERIMENT_NAME": "fraud-trials"}
    del laptop["MLFLOW_TRACKING_URI"], laptop["AZUREML_ROOT_RUN_ID"]  # the workspace says where
    make = ["make_data.py", "--out", str(data), "--rows", "3000"]
    asked = json.dumps({"lines": [make, *command_lines(folder, data)], "notebooks": laptop})
    done = subprocess.run(
        [str(PYTHON), str(ROOT / "tests" / "project_steps.py"), asked],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    box.sim.clock.turn(100_000)
    assert ops.main(*submit, "--follow") == 0
    return SimpleNamespace(here=here, job=here.runs["train-1"], folder=folder, step=step, said=done.stdout)


def test_a_run_has_its_metrics_at_its_root_as_rules_and_gates_look_them_up(trained):
    metrics = {name: values[-1] for name, values in trained.job.metrics.items()}
    assert 0.7 < metrics["auc"] < 1
    assert metrics["rows_train"] + metrics["rows_test"] == 3000
    assert trained.step.metrics["auc"] == trained.job.metrics["auc"]
    (card,) = scorecard([Compare("auc", cohorts=True)], Compared(at=START, candidate=metrics, champion=metrics))
    assert {"north", "south", "online"} <= {row[0] for row in card["rows"]}  # type: ignore[attr-defined]


def test_the_model_is_registered_once_with_the_tags_that_the_shipped_rules_ask_for(box, trained):
    (version,) = [one for one in trained.here.models["fraud"].values() if one.body["jobName"] == "train-1"]
    tags = version.body["tags"]
    assert (tags["team"], tags["stage"], tags["responsible_ai"]) == ("fraud", "dev", "assessments/fraud.yaml")
    assert float(tags["auc"]) == pytest.approx(trained.job.metrics["auc"][-1], abs=1e-5)
    raised = [dict(event) for event in box.azure.eventgrid.recent if event["eventType"].endswith("ModelRegistered")]
    assert [event["data"]["ModelTags"] for event in raised].count(tags) == 1


def test_what_was_submitted_is_the_graph_with_its_code_on_the_cluster_that_was_checked(box, trained):
    (job,) = [one.payload for one in box.sim.inbox.all("job") if one.key == "train-1"]
    assert str(job["settings"]["default_compute"]).endswith("/computes/cpu-cluster")
    assert job["inputs"]["training_data"]["uri"].endswith("/data/transactions/versions/1")
    code = {path.rpartition("/")[2] for _, _, path in box.azure.blobs.files if path.endswith(".py")}
    assert {"prepare.py", "train.py", "evaluate.py", "register.py", "tracking.py", "columns.py"} <= code
    assert "commands.py" not in code, "what CI runs is not for the cluster: code/.amlignore"


def test_registering_finds_the_version_of_the_job_and_shares_it_once(box, ops, trained, tmp_path, capsys):
    out = tmp_path / "out"
    for _ in range(2):
        assert ops.main("register", "--environment", "dev", "--job", "train-1", "--output", str(out)) == 0
    assert names(out.read_text()) == {"model": "fraud", "version": "1"}
    assert ("mlr-contoso", "fraud", "1") in box.azure.registries.models
    assert ops.main("register", "--environment", "dev", "--job", "train-2") == 1
    assert "job train-2 registered no version" in capsys.readouterr().err


def test_a_deployment_is_made_beside_tried_and_removed_and_moves_no_traffic(box, ops, trained, capsys):
    of = ("--environment", "dev", "--model", "fraud", "--version", "1")
    assert ops.main("deploy", *of) == 0
    box.serve(trained.here.path, "fraud-online-dev", "fraud:1")  # somebody else's, in production
    assert ops.main("deploy", *of) == 0
    endpoint = box.azure.endpoints.get(trained.here, "fraud-online-dev")
    assert endpoint
    assert (set(endpoint.deployments), endpoint.traffic) == ({"blue", "fraud-try-1"}, {"blue": 100})
    body = endpoint.deployments["fraud-try-1"].body["properties"]
    assert body["codeConfiguration"]["scoringScript"] == "score.py"
    assert set(body["dataCollector"]["collections"]) == {"model_inputs", "model_outputs"}
    assert ops.main("try", *of) == 0
    assert "fraud-try-1 answers 2 known requests" in capsys.readouterr().out
    for _ in range(2):
        assert ops.main("remove", *of) == 0
    assert (set(endpoint.deployments), endpoint.traffic) == ({"blue"}, {"blue": 100})


def test_a_deployment_that_answers_nonsense_is_told_with_the_request(box, ops, trained, capsys):
    trained.here.models["fraud"]["1"].body["tags"]["simulated_error_rate"] = "1"
    assert ops.main("try", "--environment", "dev", "--model", "fraud", "--version", "1") == 1
    assert re.search(r"fraud-try-1 answers \S+\.json with HTTP", capsys.readouterr().err)


def test_a_version_that_is_not_there_is_said_before_anything_is_made(ops, capsys):
    assert ops.main("deploy", "--environment", "dev", "--model", "fraud", "--version", "77") == 1
    assert "workspace mlw-fraud-dev has no model fraud:77" in capsys.readouterr().err


def test_a_release_brings_the_shared_version_to_prod_as_a_candidate_with_its_metrics_and_files(
    box, ops, trained, capsys
):
    shared = ("mlr-contoso", "fraud", "1")
    if shared not in box.azure.registries.models:
        assert ops.main("register", "--environment", "dev", "--job", "train-1") == 0
    prod, of = within(box, "prod"), ("--environment", "prod", "--model", "fraud")
    for _ in range(2):
        assert ops.main("bring", *of, "--version", "1") == 0
    (version,) = prod.models["fraud"].values()
    tags = version.body["tags"]
    assert (tags["stage"], tags["team"]) == ("candidate", "fraud")
    assert float(tags["auc"]) > 0.7
    assert any(path.endswith("/MLmodel") for account, _, path in box.azure.blobs.files if account == "prodml")
    assert ops.main("bring", *of, "--version", "9") == 1
    assert "registry mlr-contoso has no model fraud:9" in capsys.readouterr().err


def test_a_training_that_fails_is_told_with_where_to_look(box, ops, trained, capsys):
    submit = ("submit", "--environment", "dev", "--name", "train-3")
    box.sim.clock.turn(0)
    assert ops.main(*submit) == 0
    running(box, trained.here, "train-3")

    async def fail() -> None:
        run = trained.here.runs["train-3"]
        assert run.life
        run.life.cancel()
        box.azure.azureml.turn(trained.here, run, "Failed", CODE_FAILED)

    box.run(fail())
    box.sim.clock.turn(100_000)
    assert ops.main(*submit, "--follow") == 1
    assert re.search(r"job train-3 ended as Failed: http\S+train-3", capsys.readouterr().err)


# Beside the service


def snippet() -> str:
    """What docs/README.md asks the service's switchyard.yaml to have."""
    (shown,) = re.findall(r"```yaml\n# switchyard\.yaml\n(.*?)```", (PROJECT / "docs/README.md").read_text(), re.DOTALL)
    return str(shown)


def configuration() -> dict[str, str]:
    """The snippet, and the team's folder laid over it."""
    return {"switchyard.yaml": snippet()} | read_folder(PROJECT / ".cloud/switchyard")


def test_the_teams_rules_load_with_the_snippet_of_the_document_and_their_tests_pass_and_cover_them():
    loaded = load_texts(configuration())
    assert [str(one) for one in loaded.problems] == []
    stories, wrong = read_stories(read_tests(PROJECT / ".cloud/switchyard"), loaded)
    assert [str(one) for one in wrong] == []
    trials, covered = try_all(stories, loaded)
    assert all(trial.passed for trial in trials), as_text(trials)
    assert covered.missing == ()


def test_both_documents_show_the_same_snippet():
    english, japanese = ((PROJECT / f"docs/README{of}.md").read_text(encoding="utf-8") for of in ("", ".ja"))
    blocks = [re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) for text in (english, japanese)]
    assert len(blocks[0]) == len(blocks[1])
    assert snippet() in japanese.replace("```yaml\n# switchyard.yaml\n", "")


async def test_switchyard_trains_again_by_the_graph_that_was_published(box, ops, trained, monkeypatch, tmp_path):
    pipeline = load_texts(configuration()).config.pipelines["fraud-weekly"]
    made = doors(Settings.of(box.environment), box.environment, PROJECT / ".cloud/switchyard")
    job = PipelineJob(
        name="retrain-1",
        source=pipeline.source,
        experiment=pipeline.experiment,
        inputs=dict(pipeline.inputs) | {"reason": "drift in data_drift"},
        tags={name: str(value) for name, value in pipeline.tags.items()} | {"switchyard_rule": "fraud-drift"},
    )
    where = WorkspaceRef(SUBSCRIPTION, "rg-fraud-dev", "mlw-fraud-dev")
    try:
        assert (await made.platform.submit(where, job)).name == "retrain-1"
    finally:
        await made.close()
    sent = trained.here.runs["retrain-1"].body
    published = [name for name in trained.here.components["fraud_train"] if not name.isdecimal()]
    assert sent["jobs"]["run"]["componentId"].endswith(f"/components/fraud_train/versions/{published[0]}")
    assert sent["inputs"]["reason"]["value"] == "drift in data_drift"
    spec = trained.here.components["fraud_train"][published[0]].body["componentSpec"]
    steps = {name: node["componentId"].rpartition("/components/")[2] for name, node in spec["jobs"].items()}
    assert set(steps) == set(COMPONENTS)
    assert all("/versions/" in one and "azureml_anonymous" not in one for one in steps.values()), steps
    for one in steps.values():
        name, _, version = one.partition("/versions/")
        assert version in trained.here.components[name]


def test_what_the_policy_deploys_is_what_was_published(box, trained):
    policy = load_texts(configuration()).policies["fraud-online"].deployment
    kept = box.azure.assets.kept
    for kind, named in (("environments", policy.environment), ("codes", policy.code)):
        name, _, version = str(named).removeprefix("azureml:").partition(":")
        assert version in kept[trained.here.path.casefold(), kind, name], named
    assert (PROJECT / "code" / str(policy.scoring_script)).is_file()


# What CI does

WORKFLOWS = sorted([*PROJECT.glob(".github/**/*.yml"), *PROJECT.glob(".ado/**/*.yml")])


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.relative_to(PROJECT).as_posix())
def test_a_pipeline_names_what_is_there_and_keeps_no_secret(file):
    text = file.read_text(encoding="utf-8")
    assert YAMLS.load(text)
    for path in re.findall(r"(?<![\w/.$-])((?:code|\.cloud|pipelines)/[\w./-]*\w)", text):
        assert (PROJECT / path.removesuffix("/**")).exists(), path
    for template in re.findall(r"template: (\S+\.yml)(@switchyard)?", text):
        home = ROOT if template[1] else file.parent
        assert (home / template[0]).is_file(), template
    for local in re.findall(r"uses: \./(\S+)", text):
        assert (PROJECT / local).exists(), local
    assert set(re.findall(r"secrets\.(\w+)", text)) <= {"SWITCHYARD_URL"}
    assert not re.search(r"client[-_]?secret|password|\bPAT\b|creds:", text, re.IGNORECASE)
    for action in re.findall(r"uses: ([\w-]+/[\w-]+)@(\S+)", text):
        assert re.fullmatch(r"[0-9a-f]{40}", action[1]), action


def ops_of(file: str) -> list[str]:
    return re.findall(r"code/ops (\w+) --", (PROJECT / file).read_text(encoding="utf-8"))


def test_the_compute_is_checked_before_anything_is_submitted_in_both_systems():
    for file in (".github/workflows/train.yml", ".ado/train.yml"):
        assert ops_of(file) == ["check", "publish", "submit", "register"], file
    for file in (".github/workflows/release.yml", ".ado/release.yml"):
        assert ops_of(file) == ["check", "publish", "bring"], file
    for file in (".github/workflows/deploy.yml", ".ado/steps/deploy.yml"):
        assert ops_of(file) == ["publish", "deploy", "try", "remove"], file


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.relative_to(PROJECT).as_posix())
def test_every_command_is_one_that_the_program_takes(ops, file):
    for line in re.findall(r"code/ops (\w+ --.*)", file.read_text(encoding="utf-8")):
        given = re.sub(r"\$\{\{.*?}}", "dev", line)
        ops.commands.parser().parse_args(shlex.split(given))


def test_what_signs_in_may_ask_for_a_token_and_prod_is_an_environment():
    for file in (PROJECT / ".github/workflows").glob("*.yml"):
        workflow = YAMLS.load(file.read_text(encoding="utf-8"))
        for name, job in workflow["jobs"].items():
            text = str(job)
            if "azure/login" in text or "actions/connect" in text:
                assert workflow["permissions"]["id-token"] == "write", file.name
                assert job["environment"], (file.name, name)
    assert read(".github/workflows/release.yml")["jobs"]["release"]["environment"] == "prod"
    assert read(".ado/release.yml")["jobs"][0]["environment"] == "fraud-prod"


@pytest.mark.parametrize("rules", [ROOT / "config/rules/fraud.yaml", PROJECT / ".cloud/switchyard/rules/fraud.yaml"])
def test_the_workflow_takes_what_the_rules_dispatch_and_shows_the_correlation_in_its_name(rules):
    (step,) = [
        step["dispatch"]
        for rule in YAMLS.load(rules.read_text(encoding="utf-8"))["rules"]
        for step in rule["do"]
        if "dispatch" in step
    ]
    workflow = read(f".github/workflows/{step['workflow']}")
    inputs = (workflow.get("on") or workflow[True])["workflow_dispatch"]["inputs"]
    assert {*step["inputs"], step["correlation_input"]} <= set(inputs)
    assert {name for name, one in inputs.items() if one.get("required")} <= set(step["inputs"])
    assert f"${{{{ inputs.{step['correlation_input']} }}}}" in workflow["run-name"]
    parameters = {one["name"]: one for one in read(".ado/deploy.yml")["parameters"]}
    assert {name for name, one in parameters.items() if "default" not in one} <= set(step["inputs"])
    assert "${{ parameters.correlation }}" in read(".ado/deploy.yml")["name"]


def test_the_services_own_workflow_takes_what_the_project_hands_it():
    called = YAMLS.load((ROOT / "samples/ci/github-rules.yml").read_text(encoding="utf-8"))
    takes = (called.get("on") or called[True])["workflow_call"]
    job = read(".github/workflows/rules.yml")["jobs"]["impact"]
    assert set(job["with"]) == {name for name, one in takes["inputs"].items() if one["required"]}
    assert set(job["secrets"]) == set(takes["secrets"])
    assert (PROJECT / job["with"]["folder"]).is_dir()
    steps = YAMLS.load((ROOT / "samples/ci/azure-pipelines-rules-steps.yml").read_text(encoding="utf-8"))
    (step,) = read(".ado/rules.yml")["steps"]
    assert set(step["parameters"]) == {one["name"] for one in steps["parameters"]}


# Notebooks


NOTEBOOKS = files("notebooks/*.ipynb")


@pytest.mark.parametrize("file", NOTEBOOKS)
def test_a_notebook_keeps_no_output_and_speaks_both_languages(file):
    cells = json.loads((PROJECT / file).read_text(encoding="utf-8"))["cells"]
    assert [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
    told = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    headings = re.findall(r"^#+ (.*)$", told, re.MULTILINE)
    assert headings
    assert [one for one in headings if not re.fullmatch(r"[ -~]+ · .*[ぁ-んァ-ン一-龥].*", one)] == []


def test_the_notebooks_load_a_data_product_log_a_trial_and_submit_to_the_cluster(box, trained):
    assert "Traceback" not in trained.said, trained.said
    assert "1 version(s), the newest is 1: azureml://" in trained.said
    assert re.search(r"logged \d+ metrics to run trial-1", trained.said)
    trial = {name: values[-1] for name, values in trained.here.runs["trial-1"].metrics.items()}
    assert trial["auc"] > 0.7
    assert "auc/north" in trial
    assert "compute cpu-cluster is there" in trained.said
    (sent,) = [one.payload for one in box.sim.inbox.all("job") if one.payload["experimentName"] == "fraud-trials"]
    assert (sent["inputs"]["stage"]["value"], sent["inputs"]["learning_rate"]["value"]) == ("trial", "0.1")


def git(where: Path, *argv: str) -> None:
    named = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *named, *argv], cwd=where, check=True, capture_output=True)


def laying(file: str) -> str:
    """The script of the step that lays a team's files over the service's."""
    said = YAMLS.load((ROOT / "samples/ci" / file).read_text(encoding="utf-8"))
    steps = said["jobs"]["rules"]["steps"] if "jobs" in said else said["steps"]
    (step,) = [one for one in steps if "before and after" in str(one.get("name") or one.get("displayName"))]
    return str(step.get("run") or step["bash"])


@pytest.mark.parametrize(
    ("file", "team", "target"),
    [
        ("github-rules.yml", "service/team", {"GITHUB_BASE_REF": "main"}),
        ("azure-pipelines-rules-steps.yml", "team", {"SYSTEM_PULLREQUEST_TARGETBRANCH": "refs/heads/main"}),
    ],
)
@pytest.mark.parametrize("folder", [".cloud/switchyard", ""])
def test_before_and_after_are_the_services_configuration_with_the_teams_files_over_it(
    tmp_path, file, team, target, folder
):
    """As on a runner: the pull request's branch is checked out, and the branch it is for is `origin/main`."""
    within = folder or "config"
    (tmp_path / "service/config/rules").mkdir(parents=True)
    (tmp_path / "service/config/rules/churn.yaml").write_text("churn")
    git(tmp_path / "service", "init")
    git(tmp_path / "service", "add", ".")
    git(tmp_path / "service", "commit", "-m", "one")
    source = tmp_path / "source"
    (source / within / "rules").mkdir(parents=True)
    (source / within / "rules/churn.yaml").write_text("churn")
    (source / within / "rules/fraud.yaml").write_text("old")
    git(source, "init")
    git(source, "add", ".")
    git(source, "commit", "-m", "one")
    home = tmp_path / (team if folder else "edited")
    git(tmp_path, "clone", str(source), str(home))
    (home / within / "rules/fraud.yaml").write_text("new")
    where = tmp_path / "service" if folder else home
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", laying(file)],
        cwd=where,
        env={"PATH": "/usr/bin:/bin", "FOLDER": folder, **target},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for when, said in (("before", "old"), ("after", "new")):
        laid = {path.name: path.read_text() for path in (tmp_path / when / "rules").glob("*.yaml")}
        assert laid == {"churn.yaml": "churn", "fraud.yaml": said}, when


def test_the_teams_files_fit_over_the_shipped_configuration(tmp_path):
    shipped, asked = YAMLS.load((ROOT / "config/switchyard.yaml").read_text(encoding="utf-8")), YAMLS.load(snippet())
    for section in ("workspaces", "pipelines"):
        shipped[section] |= asked[section]
    written = StringIO()
    YAMLS.dump(shipped, written)
    laid = read_folder(ROOT / "config") | read_folder(PROJECT / ".cloud/switchyard")
    loaded = load_texts(laid | {"switchyard.yaml": written.getvalue()})
    assert [str(one) for one in loaded.problems] == []
    assert {rule.name for rule in loaded.rules.rules} >= {"churn-drift", "platform-failure", "fraud-model-to-try"}

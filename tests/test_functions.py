"""The app as Azure runs it: the locked production packages, the worker library, and nothing else."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import azure.durable_functions as df
import pytest

from functions import rollouts
from shared import wire
from shared.settings import INTAKE_QUEUE, ROLLOUT_QUEUE, WORK_QUEUE

ROOT = Path(__file__).resolve().parents[1]
EVENT = {
    "id": "e1",
    "topic": "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/prod",
    "subject": "experiments/x/runs/r1",
    "eventType": "Microsoft.MachineLearningServices.RunCompleted",
    "eventTime": "2026-11-20T08:30:00.1234567Z",
    "data": {"runId": "r1", "runTags": {"team": "fraud"}},
    "dataVersion": "1",
}


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def production(tmp_path_factory):
    """A Python with what requirements.txt says, and nothing of ours beside it."""
    venv = tmp_path_factory.mktemp("production") / "venv"
    uv = Path(sys.executable).with_name("uv")
    run(uv, "venv", "-q", "-p", sys.executable, venv)
    environ = os.environ | {"VIRTUAL_ENV": str(venv)}  # noqa: TID251 (a child process needs a PATH)
    run(uv, "pip", "install", "-q", "--require-hashes", "-r", ROOT / "requirements.txt", env=environ)
    return venv / "bin" / "python"


@pytest.fixture(scope="module")
def probed(production):
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}  # noqa: TID251 (a child process needs a PATH)
    script = ROOT / "tests" / "worker_probe.py"
    return json.loads(run(production, script, input=json.dumps(EVENT), cwd=ROOT, env=environ))


def test_the_worker_library_indexes_every_function(probed):
    triggers = {
        name: next(binding for binding in bindings if binding["type"].endswith("Trigger"))
        for name, bindings in probed["functions"].items()
    }
    assert {name: trigger["type"] for name, trigger in triggers.items()} == {
        "on_event": "eventGridTrigger",
        "on_queued_event": "queueTrigger",
        "on_message": "queueTrigger",
        "on_poison": "queueTrigger",
        "on_poisoned_event": "queueTrigger",
        "on_rollout": "queueTrigger",
        "on_rollout_poison": "queueTrigger",
        "rollout": "orchestrationTrigger",
        "rollout_begin": "activityTrigger",
        "rollout_step": "activityTrigger",
        "rollout_give_up": "activityTrigger",
        "on_retention": "timerTrigger",
        "on_registry": "timerTrigger",
        "on_silences": "timerTrigger",
        "on_configuration": "timerTrigger",
        "on_archive": "timerTrigger",
        "on_dead_letters": "timerTrigger",
        "on_digest": "timerTrigger",
        "on_quality": "timerTrigger",
        "approve": "httpTrigger",
        "acknowledge": "httpTrigger",
        "static": "httpTrigger",
        "health": "httpTrigger",
        "web": "httpTrigger",
    }
    assert triggers["on_queued_event"]["queueName"] == INTAKE_QUEUE
    assert triggers["on_message"]["queueName"] == WORK_QUEUE
    assert triggers["on_poison"]["queueName"] == f"{WORK_QUEUE}-poison"
    assert triggers["on_poisoned_event"]["queueName"] == f"{INTAKE_QUEUE}-poison"
    assert triggers["on_rollout"]["queueName"] == ROLLOUT_QUEUE
    assert triggers["on_rollout_poison"]["queueName"] == f"{ROLLOUT_QUEUE}-poison"


def test_the_host_is_told_of_rollouts_as_the_durable_package_would():
    """functions/rollouts.py does not load the package for its decorators: these are them."""
    theirs = df.DFApp()

    @theirs.function_name("rollout")
    @theirs.orchestration_trigger(context_name="context")
    def _(context): ...

    for name, argument in (("rollout_begin", "id_"), ("rollout_step", "text"), ("rollout_give_up", "text")):

        @theirs.function_name(name)
        @theirs.activity_trigger(input_name=argument)
        def _(_): ...

    @theirs.function_name("on_rollout")
    @theirs.queue_trigger(arg_name="message", queue_name=ROLLOUT_QUEUE, connection="AzureWebJobsStorage")
    @theirs.durable_client_input(client_name="client")
    async def _(message, client): ...

    built = [one._function for one in rollouts.bp._function_builders]  # an app tells its functions once a process
    ours = {one.get_function_name(): one.get_raw_bindings() for one in built}
    for one in theirs.get_functions():
        assert ours[one.get_function_name()] == one.get_raw_bindings()


def test_the_worker_starts_a_rollout_and_runs_its_orchestrator(probed):
    state = json.loads(probed["orchestrator"])
    assert not state["isDone"]
    (action,) = state["actions"][0]
    (first,) = action.get("compoundActions", [action])
    assert (first["functionName"], json.loads(first["input"])) == ("rollout_begin", "r1")


def test_the_worker_hands_an_event_over_and_the_queue_gets_it(probed):
    assert probed["out"] == "out"
    (text,) = probed["texts"]
    message = wire.unpack(text)
    assert isinstance(message, wire.Arrived)
    assert (message.event.id, message.event.type, message.event.tags) == ("e1", "RunCompleted", {"team": "fraud"})
    assert message.event.time.microsecond == 123456


def test_importing_the_app_loads_nothing_heavy():
    said = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import function_app"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    ).stderr  # fmt: skip
    loaded = {line.rsplit("|", 1)[-1].strip() for line in said.splitlines()}
    heavy = (
        "azure.ai",
        "azure.durable_functions",
        "azure.identity",
        "azure.core",
        "cel",
        "jinja2",
        "aiohttp",
        "pydantic",
        "starlette",
        "ruamel",
        "numpy",
        "scipy",
        "sklearn",
    )
    assert "functions.events" in loaded
    assert [name for name in sorted(loaded) if name.split(".")[0] in heavy or name.startswith(heavy)] == []


def test_the_files_that_azure_needs_agree_with_the_code():
    host = json.loads((ROOT / "host.json").read_text())
    assert host["extensions"]["http"]["routePrefix"] == ""  # the contract's paths begin at the root
    assert host["extensions"]["queues"]["messageEncoding"] == "base64"
    assert re.fullmatch(
        r"[A-Za-z][A-Za-z0-9]{2,44}", host["extensions"]["durableTask"]["hubName"]
    )  # tables begin with it

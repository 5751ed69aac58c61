"""The app as Azure runs it: the locked production packages, the worker library, and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared import wire
from shared.settings import INTAKE_QUEUE, WORK_QUEUE

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
        "on_retention": "timerTrigger",
        "web": "httpTrigger",
    }
    assert triggers["on_queued_event"]["queueName"] == INTAKE_QUEUE
    assert triggers["on_message"]["queueName"] == WORK_QUEUE
    assert triggers["on_poison"]["queueName"] == f"{WORK_QUEUE}-poison"
    assert triggers["on_poisoned_event"]["queueName"] == f"{INTAKE_QUEUE}-poison"


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
    heavy = ("azure.ai", "azure.identity", "azure.core", "cel", "jinja2", "aiohttp", "pydantic", "starlette", "ruamel")
    assert "functions.events" in loaded
    assert [name for name in sorted(loaded) if name.split(".")[0] in heavy or name.startswith(heavy)] == []


def test_the_files_that_azure_needs_agree_with_the_code():
    host = json.loads((ROOT / "host.json").read_text())
    assert host["extensions"]["http"]["routePrefix"] == ""  # the contract's paths begin at the root
    assert host["extensions"]["queues"]["messageEncoding"] == "base64"
    ignored = (ROOT / ".funcignore").read_text().split()
    assert {"tests", "docs", ".venv", "local.settings.json", "simulator", "local"} <= set(ignored)

"""What the shipped rules do with the events of an ordinary morning."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.events import Blob, Drift, Endpoint, Event, Model, Run
from shared.record import Facts, Job
from shared.rules.load import TELL, load_texts
from shared.rules.plan import plan
from shared.settings import read_folder

RULES = load_texts(read_folder(Path(__file__).parent.parent / "config")).rules
FRAUD = {"team": "fraud"}
CHURN = {"team": "churn"}
OWN_CODE = Job(error="User process exited with status code 1", is_child=False)
PREEMPTED = Job(error="NodePreempted: the node was preempted by the platform", is_child=False)


def event(kind: str, workspace: str = "prod", **parts: object) -> Event:
    values = {"id": "e", "type": kind, "time": datetime(2026, 11, 20, tzinfo=UTC), "source": "/s"}
    return Event(**(values | {"workspace": workspace} | parts))  # type: ignore[arg-type]


FAILED = Run("r", status="Failed")


@pytest.mark.parametrize(
    ("happened", "facts", "effects"),
    [
        (
            event("RunCompleted", tags=FRAUD, run=Run("r")),
            Facts(metrics={"auc": 0.93}, job=Job(is_child=False)),
            {"fraud-run-good": ["teams", "email"]},
        ),
        (event("RunCompleted", tags=FRAUD, run=Run("HD_1_3", is_child=True)), Facts(metrics={"auc": 0.93}), {}),
        (
            event("RunCompleted", tags=FRAUD, run=Run("r")),
            Facts(metrics={"auc": 0.88}, job=Job(is_child=False)),
            {},
        ),
        (event("RunCompleted", "dev", tags=FRAUD, run=Run("r")), Facts(metrics={"auc": 0.93}, job=Job()), {}),
        (
            event("RunStatusChanged", tags=CHURN, run=FAILED),
            Facts(job=OWN_CODE),
            {"churn-run-failed": ["teams", "email"]},
        ),
        (
            event("RunStatusChanged", tags=FRAUD, run=FAILED),
            Facts(job=PREEMPTED),
            {"fraud-run-failed": ["teams", "email"], "platform-failure": ["resubmit", "teams", "email"]},
        ),
        (event("RunStatusChanged", tags=FRAUD, run=Run("r", status="Running")), Facts(), {}),
        (
            event("DriftDetected", drift=Drift(monitor="fraud-monitor", signal="data_drift")),
            Facts(),
            {"fraud-drift": ["teams", "email", "sms", "retrain"]},
        ),
        (
            event("DriftDetected", drift=Drift(monitor="churn-monitor", coefficient=0.1, features=("age", "tenure"))),
            Facts(),
            {"churn-drift": ["teams", "email", "retrain"]},
        ),
        (event("DriftDetected", drift=Drift(monitor="churn-monitor", coefficient=0.1)), Facts(), {}),
        (
            event("ModelRegistered", model=Model("fraud", "13"), tags={"stage": "candidate", "team": "fraud"}),
            Facts(),
            {"fraud-model-candidate (promote fraud-online)": ["promote"], "fraud-model-candidate": ["teams", "email"]},
        ),
        (
            event("ModelRegistered", model=Model("fraud-scorer", "2"), tags={"stage": "candidate"}),
            Facts(),
            {"fraud-model-candidate": ["teams", "email"]},
        ),
        (
            event("ModelRegistered", model=Model("fraud", "14"), tags={"stage": "dev"}),
            Facts(),
            {"fraud-model-to-try": ["dispatch"]},
        ),
        (
            event("ModelRegistered", model=Model("churn", "4"), tags={"stage": "candidate"}),
            Facts(),
            {"churn-model-candidate (promote churn-batch)": ["promote"]},
        ),
        (
            event("RolloutWaiting", data={"policy": "fraud-online", "ask_of": "ml-leads"}),
            Facts(),
            {"(rollout fraud-online asks ml-leads)": ["teams", "email"]},
        ),
        (
            event("RolloutRolledBack", data={"policy": "fraud-online"}),
            Facts(),
            {"(rollout fraud-online)": ["teams", "email"], "platform-rollout-rolled-back": ["teams", "email"]},
        ),
        (event("ModelRegistered", model=Model("fraud", "13"), tags={"stage": "test"}), Facts(), {}),
        (
            event("ModelDeployed", endpoint=Endpoint("online", models=("base:1", "fraud:13"))),
            Facts(),
            {"fraud-model-deployed": ["teams", "email"], "platform-model-deployed": ["teams", "email"]},
        ),
        (
            event("BlobCreated", blob=Blob("https://x/incoming/a.csv", "incoming", "a.csv", 10)),
            Facts(),
            {"platform-data-arrived": ["teams", "email"]},
        ),
        (event("ActionFailed"), Facts(), {TELL: ["teams", "email"]}),
    ],
)
def test_what_follows_from_it(happened, facts, effects):
    found: dict[str, list[str]] = {}
    for intent in plan(RULES, happened, facts).intents:
        found.setdefault(intent.rule, []).append(intent.action)
    assert found == effects

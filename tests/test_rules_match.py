"""What the lines of `match` mean."""

from datetime import UTC, datetime

import pytest

from shared.events import Blob, Drift, Endpoint, Event, Model, Run
from shared.record import Facts, Job
from shared.rules.load import load_texts
from shared.rules.plan import plan

EVENT = Event(
    id="e1",
    type="RunCompleted",
    time=datetime(2026, 11, 20, 8, 30, tzinfo=UTC),
    source="/subscriptions/s/resourceGroups/mlops",
    workspace="prod",
    tags={"team": "fraud", "auc": "0.93", "approved": "True", "a.b": "dots", "n": 5, "list": ["x"], "sign": ">= 3"},
    properties={"azureml.git.commit": "9c1f"},
    run=Run("run-1", status="Completed", experiment="fraud-train", is_child=False),
    model=Model("fraud", "13"),
    endpoint=Endpoint("online", models=("fraud:13", "churn:4")),
    drift=Drift(coefficient=0.3, features=("amount", "country")),
    blob=Blob("https://x/y", size=10),
    data={"ModelVersion": 13, "runProperties": {"azureml.parentRunId": "p"}, "items": [1, 7]},
)
FACTS = Facts(metrics={"auc": 0.93, "f1.macro": 0.8}, job=Job(status="Completed", duration=5400.0, error="quota hit"))


def outcome(match: str, event: Event = EVENT, facts: Facts = FACTS) -> str:
    text = f"rules:\n  - {{name: r, event: RunCompleted, match: {match}, do: [{{notify: a}}]}}\n"
    loaded = load_texts({"switchyard.yaml": "receivers: {a: {email: a@contoso.com}}", "rules/r.yaml": text})
    assert loaded.problems == ()
    verdicts = plan(loaded.rules, event, facts).verdicts
    return verdicts[0].outcome if verdicts else "missed"


@pytest.mark.parametrize(
    "line",
    [
        "workspace: prod",
        "workspace: [dev, prod]",
        'workspace: "= prod"',
        'workspace: "!= dev"',
        'run.experiment: "~ ^fraud-"',
        'run.experiment: "~ (?i)FRAUD"',
        "run.is_child: false",
        'run.is_child: "!= true"',
        "run.parent: absent",
        "run.id: present",
        "metrics.auc: 0.93",
        'metrics.auc: ">= 0.93"',
        'metrics.auc: "<= 0.93"',
        'metrics.auc: ">0.9"',
        "metrics.auc: 0.93..1",
        "metrics.auc: 0.9..0.93",
        "metrics.f1.macro: 0.8",
        'tags.auc: ">= 0.9"',  # a tag is text, and reads as a number
        "tags.auc: 0.930",
        "tags.approved: true",  # Python writes True
        "tags.a.b: dots",
        "tags.n: 5",
        'tags.sign: "= >= 3"',  # a text that looks like an operator
        "tags.missing: absent",
        "tags.missing: [x, absent]",
        "properties.azureml.git.commit: 9c1f",
        "model.version: 13",
        'model.version: "13"',
        "endpoint.models: fraud:13",
        'endpoint.models: "~ ^churn:"',
        "drift.features: [country, age]",
        "drift.coefficient: 0.1..0.3",
        "blob.size: 10",
        "data.modelversion: 13",
        "data.RunProperties.azureml.parentrunid: p",
        'data.items: "> 5"',
        "job.status: Completed",
        'job.duration: "> 1h"',
        "job.duration: 80m..2h",
        'time: "~ ^2026-11-20T08:30"',
        "not: {tags.team: churn}",
        "not: {tags.missing: x}",
        "any: [{tags.team: churn}, {tags.team: fraud, workspace: prod}]",
        "not: {any: [{tags.team: churn}, {workspace: dev}]}",
    ],
)
def test_a_line_that_holds(line):
    assert outcome(f"{{{line}}}") == "matched"


@pytest.mark.parametrize(
    "line",
    [
        "workspace: Prod",
        "workspace: dev",
        'workspace: "!= prod"',
        "workspace: absent",
        "tags.missing: x",
        'tags.missing: "!= x"',  # missing is not different, it is missing
        "tags.missing: present",
        'tags.team: "> 5"',
        'tags.n: "5"',  # quoted: the text, and the value is a number
        "tags.list: x",
        "tags.TEAM: fraud",
        'metrics.auc: "> 0.93"',
        "metrics.auc: 0.94..1",
        "metrics.loss: 0",
        "run.is_child: true",
        "endpoint.models: fraud",
        "drift.monitor: present",
        "data.modelversion: 14",
        'job.duration: "> 2h"',
        "not: {tags.team: fraud}",
        "not: {tags.team: fraud, workspace: prod}",
        "any: [{tags.team: churn}, {workspace: dev}]",
        "{workspace: prod, tags.team: churn}"[1:-1],
    ],
)
def test_a_line_that_does_not_hold(line):
    assert outcome(f"{{{line}}}") == "missed"


UNTOLD = Event(id="e", type="RunCompleted", time=EVENT.time, source="/s", workspace="prod", run=Run("run-1"))


@pytest.mark.parametrize(
    ("match", "facts", "expected"),
    [
        ("{metrics.auc: '> 0'}", Facts(), "undecided"),
        ("{metrics.auc: '> 0', workspace: dev}", Facts(), "missed"),
        ("{metrics.auc: absent}", Facts(), "undecided"),
        ("{metrics.auc: absent}", Facts(metrics={}), "matched"),
        ("{run.is_child: false}", Facts(), "undecided"),
        ("{run.is_child: false}", Facts(job=Job(is_child=False)), "matched"),
        ("{run.parent: p}", Facts(job=Job(is_child=True, parent="p")), "matched"),
        ("{any: [{workspace: prod}, {metrics.auc: 1}]}", Facts(), "matched"),
        ("{any: [{workspace: dev}, {metrics.auc: 1}]}", Facts(), "undecided"),
        ("{not: {metrics.auc: 1}}", Facts(), "undecided"),
        ("{not: {metrics.auc: 1, workspace: dev}}", Facts(), "matched"),
        # Asked, and nobody knows: that is neither yes nor no.
        ("{run.is_child: false}", Facts(unknown={"job": "HTTP 404"}), "missed"),
        ("{not: {run.is_child: true}}", Facts(unknown={"job": "HTTP 404"}), "missed"),
        ("{metrics.auc: absent}", Facts(unknown={"metrics": "HTTP 404"}), "missed"),
        ("{any: [{metrics.auc: 1}, {workspace: prod}]}", Facts(unknown={"metrics": "HTTP 404"}), "matched"),
        ("{any: [{metrics.auc: 1}, {run.is_child: false}]}", Facts(unknown={"metrics": "HTTP 404"}), "undecided"),
    ],
)
def test_what_a_lookup_must_tell(match, facts, expected):
    assert outcome(match, UNTOLD, facts) == expected


def test_an_event_without_a_run_asks_for_no_lookup():
    event = Event(id="e", type="RunCompleted", time=EVENT.time, source="/s")
    assert outcome("{metrics.auc: 1}", event, Facts()) == "missed"
    assert outcome("{run.is_child: absent, job.error: absent}", event, Facts()) == "matched"

"""What is proved of conditions: held against every event of small domains."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import combinations, product
from math import nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.breach import Crossed
from shared.events import Drift, Endpoint, Event, Model, Run, parse
from shared.record import Facts, Job
from shared.rules.load import load_texts
from shared.rules.match import YES, Condition
from shared.rules.paths import FIXED, Gap, Path, find
from shared.rules.plan import judged
from shared.rules.prove import implies, possible, witness
from shared.rules.shapes import Domain, Shape, shapes

MAIN = "receivers: {a: {email: a@contoso.com}}"


def conditions(match: str, event: str = "RunCompleted") -> tuple[Condition, ...]:
    text = f"rules:\n  - {{name: r, event: {event}, match: {match}, do: [{{notify: a}}]}}\n"
    loaded = load_texts({"switchyard.yaml": MAIN, "rules/r.yaml": text})
    assert loaded.problems == ()
    return loaded.rules.rules[0].conditions


@pytest.mark.parametrize(
    ("event", "match"),
    [
        ("RunCompleted", "{metrics.auc: '> 0.9', not: {metrics.auc: present}}"),
        ("RunCompleted", "{metrics.auc: '> 0.9', any: [{metrics.auc: '< 0.5'}, {metrics.auc: 0.6..0.7}]}"),
        ("RunCompleted", "{run.status: Failed}"),
        ("RunCompleted", "{run.is_child: false, run.parent: present}"),
        ("RunCompleted", "{run.id: absent, run.experiment: present}"),
        ("RunCompleted", "{run.id: absent, metrics.auc: present}"),
        ("RunCompleted", "{tags.team: fraud, not: {tags.team: [fraud, aml]}}"),
        ("RunCompleted", "{tags.n: 5, any: [{tags.n: '> 5'}, {tags.n: true}]}"),
        ("RunCompleted", "{run.experiment: '~ ^fraud-', not: {run.experiment: '~ ^fraud-'}}"),
        (
            "RunCompleted",
            "{run.experiment: '~ ^fraud-', any: [{run.experiment: '~ ^churn-'}, {run.experiment: fraud}]}",
        ),
        ("RunCompleted", "{model.name: present}"),
        ("RunCompleted", "{type: RunStatusChanged}"),
        ("ModelDeployed", "{metrics.auc: '> 0'}"),
        ("ModelDeployed", "{endpoint.models: 'fraud:1', not: {endpoint.models: '~ ^fraud'}}"),
        ("BlobCreated", "{workspace: prod}"),
        ("BlobCreated", "{blob.size: '< 0'}"),
        ("BlobCreated", "{blob.size: '> 3', not: {blob.size: '>= 4'}}"),
        ("DriftDetected", "{run.breached: false}"),
        ("ModelRegistered", "{run.breached: false}"),
        ("RolloutWaiting", "{run.id: present}"),
        ("com.contoso.Thing", "{run.id: present}"),
    ],
)
def test_what_no_event_matches_is_proved(event, match):
    assert not possible(conditions(match, event), event)
    assert witness(conditions(match, event), event) is None


@pytest.mark.parametrize(
    ("event", "match"),
    [
        ("RunCompleted", "{run.status: Completed}"),
        ("RunStatusChanged", "{run.status: Failed, run.is_child: true, run.parent: '~ ^sweep'}"),
        ("RunStatusChanged", "{not: {run.is_child: true}, run.parent: absent, run.id: absent}"),
        ("RunCompleted", "{metrics.auc: 0.9..0.9}"),
        ("RunCompleted", "{not: {metrics.auc: '> 0.5'}, any: [{metrics.auc: present}]}"),
        ("RunCompleted", "{tags.auc: '>= 0.9', any: [{tags.auc: '~ ^0'}]}"),
        ("RunCompleted", "{tags.n: '!= 5', any: [{tags.n: '>= 5'}, {tags.n: absent}]}"),
        ("RunCompleted", "{tags.a: '~ ^fraud[-_](weekly|daily)\\b', not: {tags.a: fraud-weekly}}"),
        ("RunCompleted", "{time: '~ ^2026-1[12]-2\\dT08:30'}"),
        ("RunCompleted", "{data.runProperties.azureml.parentRunId: x, data.items: '> 5', not: {data.items: 7}}"),
        ("ModelRegistered", "{metrics.auc: '> 0.9', job.duration: '> 1h', model.version: '> 3'}"),
        ("ModelDeployed", "{endpoint.models: 'fraud:1', any: [{endpoint.models: '~ ^churn:'}]}"),
        ("DriftDetected", "{drift.coefficient: '> 0.3'}"),
        ("DriftDetected", "{drift.coefficient: absent, tags.team: fraud}"),
        ("BlobCreated", "{blob.container: incoming, blob.name: '~ \\.csv$', blob.size: '> 0'}"),
        ("ExpectedEventMissing", "{data.rule: x, model.name: fraud}"),
        ("com.contoso.Thing", "{tags.a: b, data.c: '> 1'}"),
        ("RunCompleted", "{tags.n: '> 0.5', any: [{tags.n: '!= true', any: [{tags.n: [fraud, 1]}]}]}"),
    ],
)
def test_what_may_match_is_shown_by_an_event_that_does(event, match):
    asked = conditions(match, event)
    assert possible(asked, event)
    example = witness(asked, event)
    assert example is not None
    assert example.event.type == event
    assert judged([one.judge for one in asked], example.event, example.facts) == YES


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("{workspace: prod, tags.team: fraud}", "{workspace: prod}", True),
        ("{workspace: prod}", "{workspace: [dev, prod]}", True),
        ("{workspace: prod}", "{workspace: present}", True),
        ("{workspace: prod}", "{not: {workspace: dev}}", True),
        ("{workspace: [dev, prod]}", "{workspace: prod}", False),
        ("{metrics.auc: '>= 0.9'}", "{metrics.auc: '> 0.8'}", True),
        ("{metrics.auc: 0.85}", "{metrics.auc: 0.8..0.9}", True),
        ("{metrics.auc: '> 0.8'}", "{metrics.auc: '>= 0.9'}", False),
        ("{workspace: prod}", "{any: [{run.is_child: true}, {not: {run.is_child: true}}]}", False),  # nobody may know
        ("{workspace: prod}", "{any: [{tags.a: present}, {tags.a: absent}]}", True),
        ("{run.is_child: false}", "{run.parent: absent}", True),
        ("{run.experiment: '~ ^a.*b$'}", "{run.experiment: '~ ^a.*b$'}", True),
        ("{run.experiment: abc}", "{run.experiment: '~ ^ab'}", True),
        ("{any: [{tags.a: x}, {tags.b: y, tags.a: z}]}", "{tags.a: [x, z]}", True),
    ],
)
def test_one_follows_from_the_other(first, second, expected):
    assert implies(conditions(first), conditions(second), "RunCompleted") is expected


def test_expressions_that_begin_differently_have_nothing_in_common():
    fraud, churn = conditions("{run.experiment: '~ ^fraud[-_]'}"), conditions("{run.experiment: '~ ^churn'}")
    either = conditions("{run.experiment: '~ ^(churn|fraud)'}")
    assert not possible((*fraud, *churn), "RunCompleted")
    assert possible((*fraud, *either), "RunCompleted")


def test_an_expression_that_nobody_can_try_is_neither_proved_nor_shown():
    asked = conditions("{run.experiment: '~ ^a{3}[^a-y]{2}\\d{7}$', any: [{run.experiment: '!= x'}]}")
    assert possible(asked, "RunCompleted")
    hard = conditions("{run.experiment: '~ ^\\pN{3}$'}")
    assert possible(hard, "RunCompleted")
    assert witness(hard, "RunCompleted") is None


def test_a_hard_riddle_is_left_unproved_rather_than_waited_for():
    """Eight tags, seven values, no two the same: nothing matches, and showing it takes too many cases."""
    texts = [f"{{tags.p{n}: [h1, h2, h3, h4, h5, h6, h7]}}" for n in range(8)]
    texts += [
        f"{{not: {{tags.p{a}: h{h}, tags.p{b}: h{h}}}}}" for a, b in combinations(range(8), 2) for h in range(1, 8)
    ]
    riddle = tuple(one for text in texts for one in conditions(text))
    assert possible(riddle, "RunCompleted")
    assert witness(riddle, "RunCompleted") is None


# The door, and what the shapes say comes through it

NAMES = {
    "RunCompleted": ("runId", "runType", "runStatus", "experimentName"),
    "RunStatusChanged": ("runId", "runType", "runStatus", "experimentName"),
    "ModelRegistered": ("modelName", "modelVersion"),
    "ModelDeployed": ("ServiceName", "ServiceComputeType", "ModelIds"),
    "DatasetDriftDetected": (
        "DataDriftId",
        "DataDriftName",
        "RunId",
        "BaseDatasetId",
        "TargetDatasetId",
        "DriftCoefficient",
        "StartTime",
        "EndTime",
    ),
    "Storage": ("url", "contentLength"),
    "Other": ("modelName", "runId"),
}
TABLES = {
    "Run": ("runTags", "runProperties"),
    "ModelR": ("modelTags", "modelProperties"),
    "ModelD": ("ServiceTags", "ServiceProperties"),
    "Other": ("tags", "properties"),
}
RAW = {name: f"Microsoft.MachineLearningServices.{name}" for name in NAMES} | {
    "Storage": "Microsoft.Storage.BlobCreated",
    "Other": "com.contoso.Thing",
}
SUBJECTS = (
    "",
    "experiments/e/runs/HD_1_2",
    "models/fraud:3",
    "endpoints/x",
    "/blobServices/default/containers/c/blobs/a/b",
)
VALUES = st.sampled_from(["", "x", "Failed", "HD_1_3", "a:1,b:2", 0.4, 7, None, "AutoML_9"])
USER = st.dictionaries(
    st.sampled_from(
        ["team", "azureml_modelmonitor_threshold_breached", "azureml.parentRunId", "runTemplate", "hyperparameters"]
    ),
    st.sampled_from(["x", "automl_child", "fraud_signal has failed due to drift"]),
)


@st.composite
def arrivals(draw: st.DrawFn) -> Event:
    name = draw(st.sampled_from(sorted(NAMES)))
    if name in {"RunCompleted", "DatasetDriftDetected"}:
        names = [one for one in NAMES[name] if one != "runStatus"]  # no such event says one
    else:
        names = list(NAMES[name])
    data: dict[str, object] = draw(st.fixed_dictionaries({}, optional=dict.fromkeys(names, VALUES)))
    for table in next((tables for begin, tables in TABLES.items() if name.startswith(begin)), ()):
        data[table] = draw(USER)
    storage = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a"
    return parse(
        {
            "id": "1",
            "topic": storage
            if name == "Storage"
            else "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w",
            "eventType": RAW[name],
            "eventTime": "2026-01-05T08:00:00Z",
            "subject": draw(st.sampled_from(SUBJECTS)),
            "data": data,
        }
    )


def fits(shape: Shape, event: Event, facts: Facts) -> bool:
    names = [*FIXED, "tags.team", "properties.runTemplate", "metrics.auc", "data.x"]
    paths = [path for name in names if isinstance(path := find(name), Path)]
    return all(admits(shape.domain(path), path.get(event, facts)) for path in paths)


def admits(domain: Domain, value: object) -> bool:
    if isinstance(value, Gap):
        return domain.unknown
    if value is None or value == ():
        return domain.missing and not domain.unknown
    if domain.only is not None:
        return value in domain.only
    kinds = {"text": str, "number": int | float, "whole": int, "truth": bool, "texts": tuple}
    return not domain.unknown and isinstance(value, kinds.get(domain.kind, object))


@settings(max_examples=150, deadline=None)
@given(
    arrivals(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, True, False]),
    st.sampled_from([None, Drift(), Drift(signal="s"), Drift(crossed=(Crossed("f"),), features=("f",), start="t")]),
)
def test_whatever_comes_through_the_door_has_one_of_the_shapes_of_its_type(event, metrics, job, is_child, drift):
    asked = (("metrics", metrics), ("job", job), ("drift", drift is not None))
    unknown = {name: "no answer" for name, known in asked if not known}
    looked_up = Job(status="Completed", duration=3.0, is_child=is_child, parent="p" if is_child else None)
    facts = Facts(
        {"auc": 0.9} if metrics and event.run else {} if metrics else None, looked_up if job else None, unknown, drift
    )
    if event.run is None and (event.model is None or event.type != "ModelRegistered"):
        facts = Facts(metrics={})  # there is nobody to ask about
    among = shapes(event.type, doubt=True)
    assert any(fits(shape, event, facts) for shape in among)


# Small domains, all of them

TEXTS = ("fraud", "aml", "other", "0.1", "0.5", "0.7", "0.9", "true", "false")
TEAMS: tuple[object, ...] = (None, *TEXTS, 0.1, 0.5, 0.7, 0.9, 1, True, False, {})
AUCS = (None, 0.4, 0.5, 0.55, 0.65, 0.8, nan)
FAMILIES = ((None, None), (False, None), (True, None), (True, "sweep"), (True, "other"))
LISTS = tuple(chosen for size in range(5) for chosen in combinations(("a:1", "b:1", "c:1", "other"), size))

LINES = {
    "RunCompleted": [
        *(f"tags.team: {value}" for value in ("fraud", "aml", "[fraud, 1]", "present", "absent", "0.5", "true")),
        *(f"tags.team: '{value}'" for value in ("!= fraud", "> 0.5", "0.2..0.8", "!= true", "0.5")),
        *(
            f"metrics.auc: '{value}'"
            for value in (">= 0.5", "< 0.5", "> 0.6", "0.5..0.7", "!= 0.5", "present", "absent")
        ),
        "metrics.auc: [0.5, absent]",
        *(f"run.is_child: {value}" for value in ("true", "false", "absent", "'!= true'")),
        *(f"run.parent: {value}" for value in ("sweep", "present", "absent", "'!= sweep'")),
        "run.status: Completed",
        "run.status: Failed",
        "model.name: absent",
        "model.name: present",
    ],
    "ModelDeployed": [
        *(f"endpoint.models: {value}" for value in ("'a:1'", "['a:1', 'c:1']", "present", "absent", "'!= a:1'")),
        "metrics.auc: absent",
        "model.name: a",
        "endpoint.name: present",
    ],
}


def blocks(lines: list[str], depth: int) -> st.SearchStrategy[str]:
    """A block as YAML. Lines of the same field, and blocks of the same kind, can't stand twice in one mapping."""
    line = st.sampled_from(lines)
    if depth == 0:
        inner = line
    else:
        below = blocks(lines, depth - 1)
        inner = st.one_of(
            line,
            below.map(lambda one: f"not: {one}"),
            st.lists(below, min_size=1, max_size=2).map(lambda many: f"any: [{', '.join(many)}]"),
        )
    return st.lists(inner, min_size=1, max_size=3, unique_by=lambda one: one.partition(":")[0]).map(
        lambda parts: "{" + ", ".join(parts) + "}"
    )


def event_of(type_: str, **parts: object) -> Event:
    return Event("e", type_, datetime(2026, 1, 5, 8, tzinfo=UTC), "/s", **parts)  # type: ignore[arg-type]


def every_event(type_: str) -> Iterator[tuple[Event, Facts]]:
    """All of them, and those of which nobody knows the metrics or the job."""
    if type_ == "ModelDeployed":
        endpoints = [None, *(Endpoint("x", models=models) for models in LISTS)]
        for endpoint, model in product(endpoints, (None, "a", "b")):
            event = event_of(type_, endpoint=endpoint, model=model and Model(model, "1"))
            yield event, Facts(metrics={}, job=Job())
        return
    for team, auc, family in product(TEAMS, (*AUCS, "unknown"), (*FAMILIES, "unknown", "no run")):
        tags = {} if team is None else {"team": team}
        unknown = {name: "no answer" for name, value in (("metrics", auc), ("job", family)) if value == "unknown"}
        metrics = None if auc == "unknown" else {} if auc is None or family == "no run" else {"auc": auc}
        job = None if family == "unknown" else Job()
        is_child, parent = family if isinstance(family, tuple) else (None, None)
        run = None if family == "no run" else Run("r", status="Completed", is_child=is_child, parent=parent)
        yield event_of(type_, tags=tags, run=run), Facts(metrics, job, unknown)  # type: ignore[arg-type]


ALL = {type_: list(every_event(type_)) for type_ in LINES}


def holds(asked: tuple[Condition, ...], event: Event, facts: Facts) -> bool:
    return judged([one.judge for one in asked], event, facts) == YES


@pytest.mark.parametrize("type_", sorted(LINES))
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_the_proofs_agree_with_every_event_of_a_small_domain(type_, data):
    """Without expressions the proofs are complete: what the domain does not show is never, and it holds an event for each
    case that these lines can tell apart.
    """
    first, second = (conditions(data.draw(blocks(LINES[type_], 2)), type_) for _ in range(2))
    one = [(event, facts) for event, facts in ALL[type_] if holds(first, event, facts)]
    both = [(event, facts) for event, facts in one if holds(second, event, facts)]
    assert possible(first, type_) == bool(one) == (witness(first, type_) is not None)
    assert possible((*first, *second), type_) == bool(both)
    assert implies(first, second, type_) == (len(one) == len(both))


SEARCHED = [
    *LINES["RunCompleted"],
    *(
        f"tags.team: '~ {pattern}'"
        for pattern in ("^fr", "^fraud$", "^aml", "(?i)AML|^o", "ud$", "^0\\.[1-5]", "^[^f]")
    ),
    "tags.team: ['~ ^f', 0.5, absent]",
]


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_with_expressions_nothing_is_proved_that_an_event_contradicts(data):
    first, second = (conditions(data.draw(blocks(SEARCHED, 2))) for _ in range(2))
    one = [(event, facts) for event, facts in ALL["RunCompleted"] if holds(first, event, facts)]
    both = [(event, facts) for event, facts in one if holds(second, event, facts)]
    assert possible(first, "RunCompleted") or not one
    assert not both or possible((*first, *second), "RunCompleted")
    assert len(one) == len(both) or implies(first, second, "RunCompleted") is not True
    shown = witness((*first, *second), "RunCompleted")
    assert shown is None or holds((*first, *second), shown.event, shown.facts)

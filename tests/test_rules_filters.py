"""Subscription filters: narrow, within Event Grid's limits, and never in the way of an event that a rule wants."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.cli.filters import filter_of
from shared.events import parse
from shared.guards.needs import needs
from shared.record import Facts, Job
from shared.rules.filters import Clause, Filters, Need, Subscription, filters
from shared.rules.load import Loaded, load_texts
from shared.rules.plan import plan
from shared.settings import read_folder
from tests.grid import passes, within_limits

FIXTURES = Path(__file__).resolve().parents[2] / "shared" / "fixtures"
CONFIG = Path(__file__).parent.parent / "config"
SAMPLES = Path(__file__).parent.parent / "samples" / "events"
ML = "Microsoft.MachineLearningServices."
BREACH = "azureml_modelmonitor_threshold_breached"
PLACE = {"subscription": "5f3b2c1a-8d4e-4c6b-9a7f-0e1d2c3b4a59", "resource_group": "mlops"}
MAIN = {
    "receivers": {"a": {"email": "a@contoso.com"}},
    "workspaces": {name: {**PLACE, "workspace": name} for name in ("prod", "dev")},
    "pipelines": {"weekly": {"source": "azureml:train:3", "experiment": "weekly"}},
}


def rule(event: Any = "RunCompleted", match: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"event": event, "do": [{"notify": "a"}], **({"match": match} if match else {}), **more}


def load(*rules: dict[str, Any], main: dict[str, Any] = MAIN) -> Loaded:
    named = [{"name": f"r{n}", **one} for n, one in enumerate(rules)]
    loaded = load_texts({"switchyard.yaml": json.dumps(main), "rules/a.yaml": json.dumps({"rules": named})})
    assert loaded.problems == ()
    return loaded


def found(*rules: dict[str, Any], **options: Any) -> Filters:
    loaded = load(*rules)
    return filters(loaded.rules, loaded.config.workspaces.values(), **options)


def subscriptions(*rules: dict[str, Any], topic: str = "prod", **options: Any) -> tuple[Subscription, ...]:
    return next((one.subscriptions for one in found(*rules, **options).topics if one.name == topic), ())


def clauses(*rules: dict[str, Any], **options: Any) -> dict[str, list[tuple[str, str, set[str]]]]:
    """By types, the advanced filters."""
    return {
        " ".join(kind.removeprefix(ML) for kind in sub.types): [
            (one.key, one.operator, set(one.values)) for one in sub.clauses
        ]
        for sub in subscriptions(*rules, **options)
    }


# --- What is narrow ---


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({"tags.team": "fraud"}, [("data.runTags.team", "StringIn", {"fraud"})]),
        ({"tags.team": ["fraud", "aml"]}, [("data.runTags.team", "StringIn", {"fraud", "aml"})]),
        ({"tags.team": "~ ^fr"}, [("data.runTags.team", "StringBeginsWith", {"fr"})]),
        ({"tags.team": ["~ ^fr", "aml"]}, [("data.runTags.team", "StringBeginsWith", {"fr", "aml"})]),
        ({"tags.team": ["~ ud$", "~ ^fr"]}, [("data.runTags.team", "StringContains", {"ud", "fr"})]),
        ({"tags.auc": ">= 0.9"}, [("data.runTags.auc", "IsNotNull", set())]),  # a number, or a text that is one
        ({"tags.auc": ["fraud", "> 1"]}, [("data.runTags.auc", "IsNotNull", set())]),
        ({"tags.final": True}, [("data.runTags.final", "IsNotNull", set())]),
        ({"tags.team": "!= fraud"}, [("data.runTags.team", "IsNotNull", set())]),
        ({"tags.team": "present"}, [("data.runTags.team", "IsNotNull", set())]),
        ({"not": {"tags.team": "absent"}}, [("data.runTags.team", "IsNotNull", set())]),
        ({"tags.team": "absent"}, []),
        ({"not": {"tags.team": "fraud"}}, []),  # "Fraud" is another team here, and the same to Event Grid
        ({"tags.azureml.pipelineid": "x"}, []),
        ({"metrics.auc": ">= 0.9"}, []),
        ({"run.experiment": "weekly"}, [("data.experimentName", "StringIn", {"weekly"})]),
        ({"properties.stage": "x"}, [("data.runProperties.stage", "StringIn", {"x"})]),
        ({"data.EXPERIMENTNAME": "x"}, [("data.experimentName", "StringIn", {"x"})]),
        ({"data.invented": "x"}, []),
        ({"data.runTags.team": "x"}, []),  # might be a key with a dot in it
        (
            {"run.is_child": False},
            [
                ("data.runProperties.runTemplate", "StringNotIn", {"automl_child"}),
                ("data.runType", "StringNotIn", {"azureml.StepRun"}),
            ],
        ),
        (
            {"any": [{"tags.team": "fraud", "tags.x": "1"}, {"tags.team": "aml"}]},
            [("data.runTags.team", "StringIn", {"fraud", "aml"})],
        ),
        ({"any": [{"tags.team": "fraud"}, {"tags.area": "aml"}]}, []),
        (
            {"not": {"any": [{"tags.team": "absent"}, {"tags.area": "absent"}]}},
            [("data.runTags.area", "IsNotNull", set()), ("data.runTags.team", "IsNotNull", set())],
        ),
        ({"tags.team": "x" * 600}, [("data.runTags.team", "StringBeginsWith", {"x" * 512})]),
    ],
)
def test_what_a_rule_asks_becomes_a_filter_where_that_is_certain(match, expected):
    assert clauses(rule(match=match)) == {"RunCompleted": expected}


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({"run.status": ["Failed", "Canceled"]}, [("data.runStatus", "StringIn", {"Failed", "Canceled"})]),
        (
            {"not": {"run.status": ["Running", "Queued"]}},
            [("data.runStatus", "StringNotIn", {"Running", "Queued"})],
        ),
        (
            {"run.status": "!= Running"},
            [("data.runStatus", "IsNotNull", set()), ("data.runStatus", "StringNotIn", {"Running"})],
        ),
        ({"not": {"run.status": "strange"}}, []),  # what nobody knows may come as "Strange" too
        ({"run.status": "!= running"}, [("data.runStatus", "IsNotNull", set())]),  # no status is spelled like that
    ],
)
def test_a_status_is_known_in_any_case_so_it_can_be_excluded(match, expected):
    assert clauses(rule("RunStatusChanged", match)) == {"RunStatusChanged": expected}


def test_rules_share_what_all_of_them_ask():
    both = clauses(rule(match={"tags.team": "fraud", "tags.x": "1"}), rule(match={"tags.team": "churn"}))
    assert both == {"RunCompleted": [("data.runTags.team", "StringIn", {"fraud", "churn"})]}
    assert clauses(rule(match={"tags.team": "fraud"}), rule()) == {"RunCompleted": []}
    some, none = {"run.status": ["Failed", "Queued"]}, {"not": {"run.status": ["Running", "Queued"]}}
    apart = clauses(rule("RunStatusChanged", some), rule("RunStatusChanged", none))
    assert apart == {"RunStatusChanged": [("data.runStatus", "StringNotIn", {"Running"})]}


def test_each_type_has_its_own_subscription_unless_one_is_asked_for():
    rules = rule(match={"tags.team": "fraud"}), rule("ModelRegistered", {"model.name": "~ ^fraud"})
    assert clauses(*rules) == {
        "RunCompleted": [("data.runTags.team", "StringIn", {"fraud"})],
        "ModelRegistered": [("data.ModelName", "StringBeginsWith", {"fraud"})],
    }
    assert clauses(*rules, one=True) == {"RunCompleted ModelRegistered": []}


def test_types_with_the_same_filter_share_a_subscription_and_what_is_covered_has_none():
    same = rule(["RunCompleted", "RunStatusChanged"], {"tags.team": "fraud"})
    assert list(clauses(same)) == ["RunCompleted RunStatusChanged"]
    assert clauses(rule("RunStatusChanged"), rule("DriftDetected")) == {"RunStatusChanged DatasetDriftDetected": []}


def test_drift_comes_with_the_tag_of_a_monitor_or_from_a_dataset_monitor():
    assert clauses(rule("DriftDetected", {"drift.signal": "~ ^fraud"}))["RunStatusChanged"] == [
        (f"data.runTags.{BREACH}", "StringContains", {"fraud"})
    ]
    # The monitor's name may stand elsewhere.
    assert clauses(rule("DriftDetected", {"drift.monitor": "~ ^fraud"})) == {
        "RunStatusChanged": [(f"data.runTags.{BREACH}", "IsNotNull", set())],
        "DatasetDriftDetected": [],
    }
    # How strong a drift is a model monitor says in a sentence, or its run when it is asked.
    assert clauses(rule("DriftDetected", {"drift.coefficient": "> 0.3"})) == {
        "RunStatusChanged": [(f"data.runTags.{BREACH}", "IsNotNull", set())],
        "DatasetDriftDetected": [],
    }


def test_a_field_that_is_the_same_in_all_events_of_a_type_is_judged_at_once():
    match = {"any": [{"type": "RunCompleted"}, {"run.status": "Failed"}]}
    assert clauses(rule(["RunCompleted", "RunStatusChanged"], match)) == {
        "RunCompleted": [],
        "RunStatusChanged": [("data.runStatus", "StringIn", {"Failed"})],
    }
    assert list(clauses(rule(["RunCompleted", "RunStatusChanged"], {"run.status": "Failed"}))) == ["RunStatusChanged"]


def test_a_field_that_events_of_a_type_never_have_takes_the_type_out():
    assert list(clauses(rule(["RunCompleted", "ModelRegistered"], {"model.name": "fraud"}))) == ["ModelRegistered"]


def test_workspaces_get_what_their_own_rules_need():
    rules = rule(match={"workspace": "prod"}), rule("ModelDeployed", {"workspace": ["dev", "Prod"]})
    assert [one.types for one in subscriptions(*rules)] == [(f"{ML}RunCompleted", f"{ML}ModelDeployed")]
    assert [one.types for one in subscriptions(*rules, topic="dev")] == [(f"{ML}ModelDeployed",)]
    said = found(rule(match={"workspace": "test"}), rule(match={"workspace": "prod"}))
    assert "rule 'r0' asks for workspace 'test', which is none of switchyard.yaml" in said.notes[0]
    everywhere = load(rule(match={"workspace": "prod"}), main={"receivers": MAIN["receivers"]})
    assert [topic.name for topic in filters(everywhere.rules, ()).topics] == ["any workspace"]


def test_what_the_service_raises_itself_needs_no_subscription():
    assert found(rule(["RolloutRolledBack", "ModelQualityDegraded", "ExpectedEventMissing"])).topics == ()


@pytest.mark.parametrize(
    ("match", "clause"),
    [
        ({"blob.name": "starts nov/"}, Clause("subject", "StringContains", ("/blobs/nov/",))),
        ({"blob.file": "ends .csv"}, Clause("subject", "StringEndsWith", (".csv",))),
        ({"blob.file": "_SUCCESS"}, Clause("subject", "StringEndsWith", ("/_SUCCESS",))),
        ({"blob.folder": "nov/a"}, Clause("subject", "StringContains", ("/blobs/nov/a/",))),
        ({"blob.folder": "starts nov"}, Clause("subject", "StringContains", ("/blobs/nov",))),
        ({"blob.folder_url": "starts https://lake"}, Clause("data.url", "StringContains", ("https://lake",))),
    ],
)
def test_folders_files_prefixes_and_suffixes_are_asked_of_the_subject(match, clause):
    (sub,) = subscriptions(rule("BlobCreated", match), topic="Microsoft.Storage")
    asked = (*sub.clauses, *([Clause("subject", "StringEndsWith", (sub.ends,))] if sub.ends else ()))
    assert asked == (clause,)


def test_blobs_are_chosen_by_the_subject_of_their_storage_account():
    match = {"blob.container": "incoming", "blob.name": ["~ \\.csv$", "~ \\.parquet$"]}
    (sub,) = subscriptions(rule("BlobCreated", match), topic="Microsoft.Storage")
    assert (sub.begins, sub.clauses) == (
        "/blobServices/default/containers/incoming/blobs/",
        (Clause("subject", "StringEndsWith", (".csv", ".parquet")),),
    )
    (cloud,) = subscriptions(rule("BlobCreated", match), topic="Microsoft.Storage", cloudevents=True)
    assert (cloud.begins, cloud.ends, cloud.clauses) == (sub.begins, "", ())  # no key of a filter in CloudEvents


def test_events_of_others_come_from_topics_of_their_own():
    rules = rule(["Contoso.Labels.Delivered", "Microsoft.DataFactory.Done"], {"subject": "labels/week"})
    topics = {topic.name: topic.subscriptions[0] for topic in found(*[rules]).topics}
    assert {name: (sub.types, sub.begins) for name, sub in topics.items()} == {
        "your own topic": (("Contoso.Labels.Delivered",), "labels/week"),
        "Microsoft.DataFactory": (("Microsoft.DataFactory.Done",), "labels/week"),
    }


def test_many_values_are_spread_over_subscriptions_and_very_many_become_coarser():
    teams = [f"team-{n}" for n in range(60)]
    spread = subscriptions(rule(match={"tags.team": teams, "run.experiment": ["a", "b"]}))
    assert [len(sub.clauses[1].values) for sub in spread] == [23, 23, 14]
    assert {value for sub in spread for value in sub.clauses[1].values} == set(teams)
    assert len({sub.name for sub in spread}) == 3
    (coarse,) = subscriptions(rule(match={"tags.team": [f"{n % 20:02}-{n}" for n in range(400)]}))
    assert coarse.clauses[0].operator == "StringBeginsWith"
    assert len(coarse.clauses[0].values) == 20
    assert coarse.passes[-1].what == ("data.runTags.team",)
    wide = {f"tags.t{n:02}": ["a", "b", f"c{n}"] for n in range(30)}
    (many,) = subscriptions(rule(match=wide))
    assert within_limits(filter_of(many))
    assert len(many.clauses) == 25


def test_what_the_service_needs_itself_comes_too_in_its_own_subscription_where_it_is_not_covered():
    starts = rule("DriftDetected", do=[{"retrain": "weekly"}])
    loaded = load(starts, rule(match={"tags.team": "fraud"}))
    topics = filters(loaded.rules, loaded.config.workspaces.values(), needs(loaded.rules)).topics
    own = [sub for sub in topics[0].subscriptions if sub.rules[0].startswith("(")]
    assert {sub.name for sub in own} == {"switchyard-started-run-completed", "switchyard-started-run-status-changed"}
    assert all(Clause("data.runTags.switchyard_event", "IsNotNull") in sub.clauses for sub in own)
    assert needs(load(rule()).rules) == ()
    scores = load(rule("BlobCreated", do=[{"batch": {"endpoint": "nightly"}}]), starts)
    topics = filters(scores.rules, scores.config.workspaces.values(), needs(scores.rules)).topics
    both = [sub for sub in topics[0].subscriptions if sub.rules[0].startswith("(")]
    assert {clause.key for sub in both for clause in sub.clauses if clause.operator == "IsNotNull"} == {
        "data.runTags.switchyard_event",
        "data.runProperties.switchyard_event",
    }
    assert len({sub.name for sub in both}) == len(both)
    need = Need("x", "why", f"{ML}RunCompleted", (Clause("data.runId", "IsNotNull"),))
    (sub,) = subscriptions(rule(), own=[need])
    assert sub.rules == ("r0", "(x)")


def test_what_no_rule_wants_and_is_let_through_is_said():
    rules = (
        rule(match={"tags.team": "fraud", "metrics.auc": "> 0.9", "tags.a.b": "x", "tags.n": "> 1"}),
        rule(match={"tags.team": "~ ^churn", "tags.n": "> 2", "run.experiment": r"~ v\d-x$"}),
    )
    (sub,) = subscriptions(*rules)
    assert {one.why: one.what for one in sub.passes} == {
        "looked up, not in the event": ("metrics.auc > 0.9 (r0)",),
        "a name with a dot or a sign can't be addressed": ("tags.a.b = x (r0)",),
        "only whether it is there is a filter": ("tags.n > 1 (r0)", "tags.n > 2 (r1)"),
        "not every rule here asks for it": (r"run.experiment ~ v\d-x$ (r1)",),
    }


def test_an_event_that_two_subscriptions_take_is_told_of():
    notes = found(rule("RunStatusChanged", {"run.status": "Failed"}), rule("DriftDetected")).notes
    assert any("several subscriptions take RunStatusChanged" in note for note in notes)


# --- Nothing is lost ---


WORDS = ("fraud", "Fraud", "churn", "fraud-scorer", "1", "x.csv")
REGEXES = (
    "~ ^fraud",
    "~ (?i)^FRAUD",
    "~ r",
    r"~ \.csv$",
    r"~ ^(fraud|churn)\b",
    "~ ^fraud$",
    "~ [sd]-",
    "~ .",
    r"~ x\d?",
)
KEYS = ("team", "a.b")
STATES = ("Failed", "Completed", "Running")
TEXTS = st.sampled_from(["fraud", "churn", "fraud-scorer", "x.csv", "!= fraud", "present", "absent", *REGEXES])
TESTS = st.one_of(TEXTS, st.sampled_from(["= 1", "> 0", "0..3", "!= 1", 1, True, "true"]))
STATUSES = st.sampled_from([*STATES, "!= Failed", "!= failed", "present", "absent", "~ (?i)fail", "~ ^Comp", "failed?"])
TRUTHS = st.sampled_from([True, False, "present", "absent", "!= true", "!= false"])
USER = tuple((f"{table}.{key}", TESTS) for table in ("tags", "properties") for key in KEYS)
OFTEN = (("tags.team", TESTS),) * 3

RUNS = (
    *OFTEN,
    *USER,
    *(
        (path, TEXTS)
        for path in ("run.id", "run.type", "run.experiment", "run.parent", "subject", "data.experimentname")
    ),
    *((path, TEXTS) for path in ("drift.monitor", "drift.monitor", "drift.signal", "drift.baseline", "model.name")),
    *(("run.status", STATUSES),) * 3,
    ("data.runstatus", STATUSES),
    *(("run.is_child", TRUTHS),) * 2,
    ("workspace", st.sampled_from(["prod", "dev", "Prod"])),
    ("type", st.sampled_from(["RunCompleted", "DriftDetected", "!= RunStatusChanged", "~ ^Run"])),
    ("metrics.auc", st.just("> 0.5")),
    ("job.error", st.just("~ x")),
    ("drift.coefficient", st.sampled_from(["> 0.3", "absent", "present"])),
)
MODELS = (
    *OFTEN,
    *USER,
    *((path, TEXTS) for path in ("model.name", "model.name", "model.version", "endpoint.name", "endpoint.compute")),
    *(
        (path, TEXTS)
        for path in ("endpoint.models", "endpoint.models", "data.modelName", "data.ModelIDs", "subject", "run.id")
    ),
)
OTHERS = (
    *(
        (path, TEXTS)
        for path in (
            *("blob.container", "blob.name", "blob.name", "blob.url", "blob.folder", "blob.file", "blob.folder_url"),
            *("data.url", "subject", "workspace"),
        )
    ),
    ("blob.size", st.sampled_from(["> 0", "absent"])),
    ("tags.team", TESTS),
    ("data.experimentname", TEXTS),
)


def matches(fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    line = st.sampled_from(fields).flatmap(
        lambda field: st.tuples(st.just(field[0]), st.one_of(field[1], st.lists(field[1], min_size=1, max_size=3)))
    )
    flat = st.lists(line, min_size=1, max_size=2).map(dict)

    def blocks(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
        some = st.lists(inner, min_size=1, max_size=3).map(lambda found: {"any": found})
        negated = inner.map(lambda found: {"not": found})
        return st.tuples(st.one_of(st.just({}), flat), st.one_of(some, negated)).map(lambda both: both[0] | both[1])

    return st.one_of(flat, st.recursive(flat, blocks, max_leaves=3))


WORD = st.sampled_from(WORDS)
VALUE = st.one_of(WORD, WORD, st.sampled_from(["", 1, True, None, 2.5, ["fraud"], {"x": 1}]))
TABLE = st.fixed_dictionaries({}, optional={"team": VALUE, "a.b": VALUE, "Stage": VALUE})
SPELLED = st.one_of(TABLE, TABLE, st.fixed_dictionaries({"Team": VALUE}))
"""Of tags that differ in case alone, nobody knows which Event Grid sees."""

type Happened = tuple[str, str, dict[str, Any]]
"""A raw type, a subject and a payload, as Azure documents them."""


@st.composite
def runs(draw: Any) -> Happened:
    kind = draw(st.sampled_from(["RunCompleted", "RunStatusChanged", "RunStatusChanged", "DatasetDriftDetected"]))
    if kind == "DatasetDriftDetected":
        strong = draw(st.sampled_from([0.1, 0.9]))
        data = {"DataDriftName": draw(WORD), "RunId": "r", "BaseDatasetId": draw(WORD), "DriftCoefficient": strong}
        return ML + kind, "datadrifts/x/runs/r", data
    tags, properties = draw(SPELLED), draw(SPELLED)
    if draw(st.booleans()):
        properties["runTemplate"] = draw(st.sampled_from(["automl_child", "AutoML_Child", "automl", ""]))
    if draw(st.booleans()):
        tags[BREACH] = draw(
            st.sampled_from(["fraud_x has failed due to x", "  fraud-scorer_x.csv has failed due to y", "churn", ""])
        )
        tags |= draw(
            st.sampled_from(
                [{}, {"azureml_modelmonitor_name": "fraud"}, {"azureml_modelmonitor_name": "  fraud-scorer"}]
            )
        )
    data = {
        "experimentId": "0fa9",
        "experimentName": draw(WORD),
        "runId": draw(st.sampled_from(["fraud", "HD_1_2", "AutoML_9_1", "x.csv"])),
        "runType": draw(st.sampled_from([None, "azureml.StepRun", "azureml.PipelineRun", "fraud"])),
        "runTags": tags,
        "runProperties": properties,
    }
    if kind == "RunStatusChanged":
        data["runStatus"] = draw(st.sampled_from([*STATES, "failed", "COMPLETED", "Failed?"]))
    return ML + kind, f"experiments/0fa9/runs/{data['runId']}", data


@st.composite
def models(draw: Any) -> Happened:
    name, tags, properties = draw(WORD), draw(SPELLED), draw(SPELLED)
    if draw(st.booleans()):
        version = draw(st.sampled_from([1, "1"]))
        data = {"ModelName": name, "ModelVersion": version, "ModelTags": tags, "ModelProperties": properties}
        return f"{ML}ModelRegistered", f"models/{name}:{version}", data
    ids = ", ".join(f"{one}:1" for one in draw(st.lists(WORD, max_size=3)))
    data = {"ServiceName": name, "ServiceComputeType": draw(WORD), "ModelIds": ids}
    return f"{ML}ModelDeployed", f"endpoints/{name}", {**data, "ServiceTags": tags, "ServiceProperties": properties}


@st.composite
def others(draw: Any) -> Happened:
    name = draw(WORD)
    if draw(st.booleans()):
        return "Contoso.X.Y", name, {"tags": draw(SPELLED), "experimentName": name}
    name = "/".join([*draw(st.lists(WORD, max_size=2)), name])
    subject = f"/blobServices/default/containers/{draw(WORD)}/blobs/{name}"
    return (
        "Microsoft.Storage.BlobCreated",
        subject,
        {"url": f"https://x/{name}", "contentLength": draw(st.integers(0, 1))},
    )


def enveloped(happened: tuple[str, str, dict[str, Any]], where: str, *, cloud: bool) -> dict[str, Any]:
    kind, subject, data = happened
    ws = f"/subscriptions/{PLACE['subscription']}/resourceGroups/MLOps/providers/Microsoft.MachineLearningServices/workspaces"
    source = f"{ws}/{where}" if kind.startswith(ML) else "/subscriptions/s/resourceGroups/g/providers/X/y/z"
    time = "2026-11-20T08:30:00.9584103Z"
    if cloud:
        return {
            "specversion": "1.0",
            "id": "e",
            "source": source,
            "type": kind,
            "time": time,
            "subject": subject,
            "data": data,
        }
    return {
        "id": "e",
        "topic": source,
        "eventType": kind,
        "eventTime": time,
        "subject": subject,
        "data": data,
        "dataVersion": "",
    }


def delivered(told: Filters, envelope: dict[str, Any], *, minds_case: bool) -> int:
    """By how many subscriptions of its topic."""
    event = parse(envelope)
    names = {ML: event.workspace, "Microsoft.": "Microsoft.Storage"}
    name = next((one for prefix, one in names.items() if event.raw_type.startswith(prefix)), "your own topic")
    subs = [sub for topic in told.topics if topic.name in {name, "any workspace"} for sub in topic.subscriptions]
    return sum(passes(filter_of(sub), envelope, minds_case=minds_case) for sub in subs)


FACTS = st.sampled_from(
    [Facts(), *(Facts(metrics={"auc": 0.9}, job=Job(is_child=child)) for child in (True, False, None))]
)
MIXED, EACH = 60, 30


WORLDS = {
    "runs": (RUNS, runs(), ["RunCompleted", "RunStatusChanged", "RunStatusChanged", "DriftDetected"]),
    "models": (MODELS, models(), ["ModelRegistered", "ModelDeployed"]),
    "others": (OTHERS, others(), ["BlobCreated", "Contoso.X.Y"]),
}


def kept(
    rules: list[dict[str, Any]], events: list[tuple[Happened, str]], facts: Facts, options: dict[str, Any]
) -> None:
    minds_case, cloud = options.pop("minds_case"), options["cloudevents"]
    loaded = load(*rules)
    told = filters(loaded.rules, loaded.config.workspaces.values(), needs(loaded.rules), **options)
    assert all(within_limits(filter_of(sub)) for topic in told.topics for sub in topic.subscriptions)
    for happened, where in events:
        envelope = enveloped(happened, where, cloud=cloud)
        decision = plan(loaded.rules, parse(envelope), facts)
        if decision.verdicts:
            names = [verdict.rule for verdict in decision.verdicts]
            assert delivered(told, envelope, minds_case=minds_case), f"{names} of {rules} match {envelope}"


OPTIONS = st.fixed_dictionaries({name: st.booleans() for name in ("one", "cloudevents", "minds_case")})


def check(rules: Any, events: Any, examples: int) -> None:
    happened = st.lists(st.tuples(events, st.sampled_from(["prod", "prod", "dev"])), min_size=10, max_size=10)
    settings(max_examples=examples, deadline=None)(given(rules, happened, FACTS, OPTIONS)(kept))()


@pytest.mark.parametrize("world", WORLDS)
def test_no_event_that_a_rule_matches_is_dropped(world):
    fields, events, kinds = WORLDS[world]
    types = st.lists(st.sampled_from(kinds), min_size=1, max_size=2, unique=True)
    check(st.lists(st.builds(rule, types, matches(fields)), min_size=1, max_size=2), events, MIXED)


ALONE = [(world, path) for world, (fields, _, _) in WORLDS.items() for path in dict(fields)]


@pytest.mark.parametrize(("world", "path"), ALONE)
def test_nor_where_a_rule_is_about_one_field(world, path):
    """Each field has its turn, said and denied."""
    fields, events, kinds = WORLDS[world]
    tests = dict(fields)[path]
    line = st.one_of(tests, st.lists(tests, min_size=1, max_size=2)).map(lambda value: {path: value})
    match = st.one_of(
        line, line.map(lambda one: {"not": one}), st.lists(line, min_size=2, max_size=2).map(lambda two: {"any": two})
    )
    check(match.map(lambda one: [rule(sorted(set(kinds)), one)]), events, EACH)


TEAMS = st.lists(st.text(alphabet="abC-é", min_size=1, max_size=6), min_size=20, max_size=400, unique=True)


@settings(max_examples=25, deadline=None)
@given(TEAMS, st.sampled_from(["{}", "~ ^{}", "~ {}$", "~ {}"]), st.booleans())
def test_nor_where_there_are_more_values_than_a_subscription_may_have(teams, form, one):
    loaded = load(rule("ModelRegistered", {"tags.team": [form.format(team) for team in teams]}))
    told = filters(loaded.rules, loaded.config.workspaces.values(), one=one)
    assert all(within_limits(filter_of(sub)) for topic in told.topics for sub in topic.subscriptions)
    for team in teams:
        data = {"ModelName": "m", "ModelVersion": 1, "ModelTags": {"team": team}, "ModelProperties": {}}
        envelope = enveloped((f"{ML}ModelRegistered", "models/m:1", data), "prod", cloud=False)
        assert delivered(told, envelope, minds_case=True)


def events_of(folder: Path) -> list[dict[str, Any]]:
    found = []
    for file in sorted(folder.glob("*.json")):
        content = json.loads(file.read_text())
        found += [one for one in (content if isinstance(content, list) else [content]) if "malformed" not in file.name]
    return found


@pytest.mark.parametrize("folder", [SAMPLES, FIXTURES], ids=["samples", "documented"])
def test_nor_by_the_shipped_rules(folder):
    if not folder.is_dir():
        pytest.skip("the documented payloads are not here")
    envelopes = events_of(folder)
    assert envelopes
    loaded = load_texts(read_folder(CONFIG))
    told = filters(loaded.rules, loaded.config.workspaces.values(), needs(loaded.rules))
    for envelope in envelopes:
        if "specversion" not in envelope and "eventType" not in envelope:
            continue
        for key in ("topic", "source"):  # the documented ones have no name for their workspace
            if "{workspace-name}" in envelope.get(key, ""):
                envelope[key] = envelope[key].replace("{workspace-name}", "prod")
        wanted = plan(loaded.rules, parse(envelope)).verdicts
        assert delivered(told, envelope, minds_case=True) or not wanted, envelope


def test_and_much_that_no_rule_wants_is_held_back():
    child = {"experimentId": "e", "experimentName": "x", "runId": "HD_1_2", "runType": "azureml.StepRun"}
    running: dict[str, Any] = {
        **child,
        "runType": "azureml.PipelineRun",
        "runStatus": "Running",
        "runTags": {"team": "fraud"},
        "runProperties": {},
    }
    told = found(
        rule(match={"tags.team": "fraud", "metrics.auc": "> 0.9", "run.is_child": False}),
        rule("RunStatusChanged", {"tags.team": "fraud", "run.status": "Failed"}),
        rule("ModelRegistered", {"model.name": "~ ^fraud", "tags.stage": "candidate"}),
    )
    unwanted = [
        ("RunCompleted", {**child, "runTags": {"team": "fraud"}, "runProperties": {}}),
        ("RunCompleted", {**running, "runTags": {"team": "search"}}),
        ("ModelRegistered", {"ModelName": "fraud", "ModelVersion": 3, "ModelTags": {}, "ModelProperties": {}}),
    ]
    for kind, data in unwanted:
        envelope = enveloped((ML + kind, "x", data), "prod", cloud=False)
        assert delivered(told, envelope, minds_case=True) == 0
    assert (
        delivered(told, enveloped((f"{ML}RunStatusChanged", "x", running), "prod", cloud=False), minds_case=True) == 0
    )
    failed = running | {"runStatus": "failed"}
    assert delivered(told, enveloped((f"{ML}RunStatusChanged", "x", failed), "prod", cloud=False), minds_case=True) == 1

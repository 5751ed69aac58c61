"""The door: what comes in every documented shape, and in shapes nobody documented."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.breach import Crossed
from shared.errors import PermanentError
from shared.events import AZURE_ML, BREACH, Blob, Endpoint, Model, breach_of, parse
from shared.record import Facts, Job, run_of, view

FIXTURES = Path(__file__).resolve().parents[2] / "shared" / "fixtures"
WORKSPACE = "/subscriptions/s1/resourceGroups/g1/providers/Microsoft.MachineLearningServices/workspaces/prod"


def envelope(kind, data, *, cloud=False, subject="", **changes):
    time, kind = "2026-11-20T08:30:00.1234567Z", kind if "." in kind else AZURE_ML + kind
    if cloud:
        sent = {"specversion": "1.0", "id": "e1", "source": WORKSPACE, "type": kind, "time": time}
    else:
        sent = {"id": "e1", "topic": WORKSPACE, "eventType": kind, "eventTime": time, "dataVersion": "1"}
    return sent | {"subject": subject, "data": data} | changes


@pytest.mark.parametrize("cloud", [False, True])
def test_both_schemas_give_the_same_event(cloud):
    event = parse(
        envelope("RunCompleted", {"runId": "r1", "experimentName": "x", "runTags": {"Team": "a"}}, cloud=cloud)
    )
    assert (event.type, event.workspace, event.resource_group, event.subscription) == (
        "RunCompleted",
        "prod",
        "g1",
        "s1",
    )
    assert event.run
    assert (event.run.id, event.run.status, event.run.experiment) == ("r1", "Completed", "x")
    assert event.tags == {"Team": "a"}
    assert event.record == parse(envelope("RunCompleted", {}, cloud=not cloud)).record


def test_seven_digits_of_a_second_are_a_time():
    assert parse(envelope("RunCompleted", {})).time == datetime(2026, 11, 20, 8, 30, 0, 123456, tzinfo=UTC)


def test_a_cloudevent_may_leave_its_time_to_its_arrival():
    sent = envelope("RunCompleted", {}, cloud=True)
    del sent["time"]
    arrival = datetime(2026, 11, 20, 9, tzinfo=UTC)
    assert parse(sent, arrival).time == arrival
    with pytest.raises(PermanentError, match="time is missing"):
        parse(sent)


def test_a_sample_that_reuses_an_id_for_another_subject_is_another_event():
    one, other = (parse(envelope("RunCompleted", {}, subject=f"experiments/x/runs/{run}")) for run in ("a", "b"))
    assert one.record != other.record


@pytest.mark.parametrize("spelling", ["RunTags", "runTags", "RUNTAGS", "runtags"])
def test_payload_keys_match_in_any_case_and_user_keys_stay_as_they_are(spelling):
    event = parse(envelope("RunCompleted", {spelling: {"My.Dotted.Key": "v", "my.dotted.key": "w"}}))
    assert event.tags == {"My.Dotted.Key": "v", "my.dotted.key": "w"}


@pytest.mark.parametrize(("version", "expected"), [(20, "20"), ("20", "20"), (None, "")])
def test_a_model_version_may_be_a_number_or_a_string(version, expected):
    event = parse(envelope("ModelRegistered", {"ModelName": "fraud", "ModelVersion": version}))
    assert event.model == Model("fraud", expected)


def test_a_model_is_read_from_the_subject_where_the_payload_is_silent():
    assert parse(envelope("ModelRegistered", {}, subject="models/fraud:3")).model == Model("fraud", "3")


def test_the_models_of_an_endpoint_come_as_one_string():
    event = parse(envelope("ModelDeployed", {"ServiceName": "s", "ModelIds": "a:1, b:2,", "ServiceComputeType": "AKS"}))
    assert event.endpoint == Endpoint("s", "AKS", ("a:1", "b:2"))
    assert event.model == Model("a", "1")


def test_absent_tags_are_no_tags_and_null_is_absent():
    event = parse(envelope("RunCompleted", {"runId": "r1", "runTags": None, "runType": None}))
    assert event.tags == {}
    assert event.run
    assert event.run.type is None


@pytest.mark.parametrize("status", ["failed", "Failed", "FAILED"])
def test_a_run_status_comes_in_any_case(status):
    event = parse(envelope("RunStatusChanged", {"runId": "r1", "runStatus": status}))
    assert event.run
    assert event.run.status == "Failed"


@pytest.mark.parametrize(
    ("run_id", "kind", "tags", "properties", "family"),
    [
        ("AutoML_9f_5", None, {}, {"runTemplate": "automl_child"}, (True, "AutoML_9f")),
        ("x", "azureml.StepRun", {}, {"azureml.parentRunId": "p"}, (True, "p")),
        ("x", "azureml.StepRun", {}, {}, (True, None)),
        ("HD_1a-2b_17", None, {}, {}, (True, "HD_1a-2b")),
        ("brave_ant_3", None, {"hyperparameters": '{"lr": 0.1}'}, {}, (True, "brave_ant")),
        ("p", "azureml.PipelineRun", {}, {"azureml.pipelineid": "g"}, (False, None)),
        ("brave_ant_3", None, {}, {}, (None, None)),  # a name with a number says nothing
        ("x", "azureml.scriptrun", {}, {}, (None, None)),
    ],
)
def test_a_child_is_recognised_and_unknown_is_not_no(run_id, kind, tags, properties, family):
    data = {"runId": run_id, "runType": kind, "runTags": tags, "runProperties": properties}
    run = parse(envelope("RunCompleted", data)).run
    assert run
    assert (run.is_child, run.parent) == family


def test_a_lookup_settles_what_the_payload_leaves_open():
    event = parse(envelope("RunCompleted", {"runId": "x"}))
    run = run_of(event, Facts(job=Job(is_child=True, parent="p")))
    assert run
    assert (run.is_child, run.parent) == (True, "p")


def test_both_kinds_of_drift_are_one_event():
    v1 = parse(envelope("DatasetDriftDetected", {"DataDriftName": "m", "DriftCoefficient": 0.8, "RunId": "r"}))
    sentence = "m_data_drift has failed due to one or more features violating metric thresholds"
    v2 = parse(envelope("RunStatusChanged", {"runId": "r", "runStatus": "Failed", "runTags": {BREACH: sentence}}))
    assert v1.type == v2.type == "DriftDetected"
    assert v1.drift
    assert v2.drift
    assert (v1.drift.monitor, v1.drift.coefficient) == ("m", 0.8)
    assert (v2.drift.monitor, v2.drift.signal) == ("m", "data_drift")
    assert v2.run
    assert v2.run.breached


ROWS = (
    '[\'{"group":"amount","metric_value":0.37,"metric_name":"NormalizedWassersteinDistance","threshold_value":0.1}\', '
    '\'{"group":"it\\\'s","metric_value":0.2,"metric_name":"JensenShannonDistance","threshold_value":0.1}\', '
    '\'{"group":"age","metric_value":0.05,"metric_name":"NormalizedWassersteinDistance","threshold_value":0.1}\', '
    '\'{"group":"city","metric_value":0.01,"metric_name":"PearsonsChiSquaredTest","threshold_value":0.05}\']'
)
SAID = (
    "The signal 'fraud-monitor_data_drift' has failed due to one or more features violating metric thresholds.\n"
    f"The feature names and their corresponding computed metric values violating the threshold are \n{ROWS}\n"
)


def breached(text, **tags):
    drift = parse(envelope("RunStatusChanged", {"runId": "r", "runTags": {BREACH: text, **tags}})).drift
    assert drift
    return drift


def test_a_breach_names_its_features_with_value_and_threshold_and_leaves_out_what_kept_its_own():
    drift = breached(SAID)
    assert (drift.monitor, drift.signal, drift.coefficient) == ("fraud-monitor", "data_drift", 0.37)
    assert drift.features == ("amount", "it's", "city")  # of a p-value little is the breach
    assert drift.crossed[0] == Crossed("amount", "NormalizedWassersteinDistance", 0.37, 0.1)


@pytest.mark.parametrize(
    ("text", "monitor", "signal", "features"),
    [
        (SAID[:-80], "fraud-monitor", "data_drift", ("amount", "it's")),  # cut
        ("fraud_m_data-drift has failed due to x", "fraud_m", "data-drift", ()),
        ("The signal 'prediction_drift' has failed due to x", None, "prediction_drift", ()),
        ("The signal 'own' has failed due to x", "own", "own", ()),
        (
            "m_data_quality has failed due to: {'feature_name': 'a', 'value': '0.5', 'threshold': 0.1}",
            "m",
            "data_quality",
            ("a",),
        ),
        ("has failed due to {{}} {'group': {1}} {\"group\": NaN}", None, None, ()),
        ("", None, None, ()),
    ],
)
def test_other_wordings_are_read_as_far_as_they_go(text, monitor, signal, features):
    drift = breach_of(text, {})
    assert (drift.monitor, drift.signal, drift.features) == (monitor, signal, features)


@given(st.text() | st.text("{}[]'\",:\\ abc0.", max_size=200))
def test_no_wording_of_a_breach_raises(text):
    drift = breach_of(f"x has failed due to {text}", {})
    assert all(one.feature or one.metric for one in drift.crossed)


@pytest.mark.parametrize(
    ("data", "known"),
    [
        ({"runStatus": "Failed", "runType": "azureml.PipelineRun"}, None),  # what is below it has to be looked at
        ({"runStatus": "Failed", "runTags": {"azureml.modelmonitor.threshold.breached.data_drift": "…"}}, True),
        ({"runStatus": "Failed", "runTags": {"azureml.modelmonitor.error": "no data in the window"}}, False),
        ({"runStatus": "Failed", "runType": "azureml.HyperDriveRun"}, False),
        ({"runStatus": "Failed", "runProperties": {"azureml.runsource": "experiments"}}, False),
        ({"runStatus": "Running", "runType": "azureml.PipelineRun"}, False),
    ],
)
def test_whether_a_run_ended_by_a_breach_is_known_where_the_payload_tells(data, known):
    run = parse(envelope("RunStatusChanged", {"runId": "r", **data})).run
    assert run
    assert run.breached is known


def test_the_signal_is_told_from_the_monitor_where_its_name_is_stamped():
    tags = {BREACH: "fraud_m_data_drift has failed due to x", "azureml_modelmonitor_name": "fraud_m"}
    drift = parse(envelope("RunStatusChanged", {"runId": "r", "runTags": tags})).drift
    assert drift
    assert (drift.monitor, drift.signal) == ("fraud_m", "data_drift")


def test_a_blob_says_where_it_lies():
    url = "https://acc.blob.core.windows.net/in/2026/a.csv"
    data = {"url": url, "contentLength": 12}
    subject = "/blobServices/default/containers/in/blobs/2026/a.csv"
    event = parse(envelope("Microsoft.Storage.BlobCreated", data, subject=subject))
    assert event.type == "BlobCreated"
    assert event.blob == Blob(url, "in", "2026/a.csv", 12, "2026", "a.csv", "https://acc.blob.core.windows.net/in/2026")


@pytest.mark.parametrize(
    ("name", "folder", "file"),
    [
        ("a.csv", None, "a.csv"),  # at the top of its container
        ("day=1/part-0.parquet", "day=1", "part-0.parquet"),
        ("a/b/_SUCCESS", "a/b", "_SUCCESS"),
        ("a/b/", "a/b", None),  # a folder that is a blob of its own
    ],
)
def test_a_blob_is_a_file_in_a_folder(name, folder, file):
    data = {"url": f"https://acc.dfs.core.windows.net/in/{name}?x=a/b"}
    event = parse(
        envelope("Microsoft.Storage.BlobCreated", data, subject=f"/blobServices/default/containers/in/blobs/{name}")
    )
    above = f"https://acc.dfs.core.windows.net/in{f'/{folder}' if folder else ''}"
    assert event.blob
    assert (event.blob.folder, event.blob.file, event.blob.folder_url) == (folder, file, above)


def test_any_other_type_passes_under_its_full_name():
    event = parse(envelope("Contoso.Labels.Arrived", {"n": 3}))
    assert (event.type, event.data) == ("Contoso.Labels.Arrived", {"n": 3})
    assert parse(envelope("Contoso.Labels.Arrived", None)).data == {}


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (
            {},
            [
                "an Event Grid event",
                "id is missing",
                "topic is missing",
                "eventType is missing",
                "eventTime is missing",
            ],
        ),
        ({"specversion": "1.0"}, ["a CloudEvent", "source is missing", "time is missing"]),
        (envelope("RunCompleted", {}, id=7), ["id is a number, expected a string"]),
        (envelope("RunCompleted", [1]), ["data is a list, expected an object"]),
        (envelope("RunCompleted", {}, eventTime="yesterday"), ["eventTime is 'yesterday'", "2026-11-20T08:30:00Z"]),
        (envelope("RunCompleted", {}, subject=["x"]), ["subject is a list"]),
    ],
)
def test_what_is_no_event_is_refused_with_every_reason(sent, words):
    with pytest.raises(PermanentError) as refused:
        parse(sent)
    assert [word for word in words if word not in str(refused.value)] == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
payload_keys = st.sampled_from(
    [
        "runId",
        "runTags",
        "RunProperties",
        "runType",
        "runStatus",
        "ModelName",
        "ModelIds",
        "DriftCoefficient",
        "url",
        "x",
    ]
)


@given(
    kind=st.sampled_from(
        [AZURE_ML + name for name in ("RunCompleted", "RunStatusChanged", "ModelRegistered", "ModelDeployed")]
        + [AZURE_ML + "DatasetDriftDetected", "Microsoft.Storage.BlobCreated", "Any.Other"]
    ),
    data=st.dictionaries(payload_keys, json_values, max_size=6),
    subject=st.text(max_size=40),
)
def test_whatever_the_payload_holds_is_an_event_that_people_can_see(kind, data, subject):
    event = parse(envelope(kind, data, subject=subject))
    assert event.data == data
    assert view(event, Facts())["type"] == event.type


@given(sent=st.dictionaries(st.sampled_from(["id", "topic", "eventType", "eventTime", "specversion"]), json_values))
def test_nothing_but_a_refusal_comes_of_a_broken_envelope(sent):
    try:
        parse(sent)
    except PermanentError as refused:
        assert str(refused)  # noqa: PT017 (either way is right)


DOCUMENTED = {
    "dataset_drift_detected": "DriftDetected",
    "dead_letter": "RunCompleted",
    "model_deployed": "ModelDeployed",
    "model_registered": "ModelRegistered",
    "run_completed": "RunCompleted",
    "run_status_changed": "RunStatusChanged",
    "subscription_validation": "Microsoft.EventGrid.SubscriptionValidationEvent",
    "synthetic_monitor_threshold_breached": "DriftDetected",
}


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the documented payloads are not beside this checkout")
def test_every_documented_payload_is_read():
    for path in sorted(FIXTURES.glob("*.json")):
        for sent in json.loads(path.read_text()):
            assert parse(sent).type == DOCUMENTED[path.name.split(".")[0]], path.name

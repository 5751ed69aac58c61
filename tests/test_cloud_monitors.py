"""What the runs of a model monitor say, in the shapes in which its published components leave them."""

import asyncio

import pytest

from shared import breach
from shared.breach import Crossed
from shared.cloud import monitors
from shared.errors import MissingError
from shared.events import Drift

SENTENCE = "The signal 'fraud_data_drift' has failed due to one or more features violating metric thresholds.\n"
ROW = '{"group":"amount","metric_value":0.37,"metric_name":"NormalizedWassersteinDistance","threshold_value":0.1}'
SAID = f"{SENTENCE}The feature names and their … are \n['{ROW}']\n"
AMOUNT = Crossed("amount", "NormalizedWassersteinDistance", 0.37, 0.1)


def pipeline(run, parent=None, status="Failed", **tags):
    properties = {"azureml.runsource": "azureml.PipelineRun"}
    return {"runId": run, "parentRunId": parent, "status": status, "tags": tags, "properties": properties}


def step(run, parent, status="Failed", **tags):
    return pipeline(run, parent, status, **tags) | {"properties": {"azureml.runsource": "azureml.StepRun"}}


def found(run, *runs, metrics=None):
    """What a monitor's run found, and what was asked for that."""
    asked = []

    async def ask(name, what):
        asked.append(f"{name} {what}")
        if what == "children":
            return {"value": [one for one in runs if one["parentRunId"] == name]}
        known = next((one for one in runs if one["runId"] == name), None)
        if known is None:
            raise MissingError(f"no run {name}")
        return known

    async def measured(_):
        asked.append("metrics")
        return metrics or {}

    return asyncio.run(monitors.found(run, ask, measured)), asked


def monitor(compared, *others):
    """As a schedule starts it: a pipeline for the monitor, one below it for each signal, and the steps of that."""
    top = pipeline("m") | {
        "inputs": {
            "monitor_name": {"value": "fraud"},
            "baseline_data": {"uri": "azureml:train:3"},
            "data_window_start": "2026-11-01",
        }
    }
    return (top, pipeline("signal", "m"), step("metrics", "signal", "Completed"), compared, *others)


TAGGED = step("compare", "signal", **{breach.TAG: SAID})


@pytest.mark.parametrize("run", ["m", "signal", "compare"])
def test_from_whichever_of_its_runs_a_breach_is_the_same(run):
    drift, _ = found(run, *monitor(TAGGED))
    assert (drift.monitor, drift.signal, drift.coefficient, drift.features) == (
        "fraud",
        "data_drift",
        0.37,
        ("amount",),
    )
    assert drift.crossed == (AMOUNT,)
    if run != "signal":
        assert (drift.baseline, drift.start) == ("azureml:train:3", "2026-11-01")


def test_a_run_that_says_it_itself_costs_no_look_below():
    _, asked = found("compare", *monitor(TAGGED))
    assert asked == ["compare details", "signal details", "m details"]
    mailed = pipeline("m", **{f"{breach.ROOT_TAG}fraud_data_drift": SAID})
    assert found("m", mailed)[0].features == ("amount",)


@pytest.mark.parametrize(
    "others",
    [
        (step("spark", "signal"),),  # its session died
        (step("window", "signal", "Completed", **{breach.ERROR_TAG: "no data"}),),
        (pipeline("quality", "m"), step("spark", "quality")),  # of another signal
    ],
)
def test_a_monitor_that_failed_for_another_reason_too_is_a_failure(others):
    assert found("m", *monitor(TAGGED, *others))[0] == Drift()
    assert found("compare", *monitor(TAGGED, *others))[0].features == ("amount",)  # and the breach is one


def test_a_run_that_is_no_monitors_found_nothing():
    train: dict[str, object] = {"runId": "train", "parentRunId": None, "status": "Failed", "tags": {}, "properties": {}}
    assert found("train", train) == (Drift(), ["train details"])
    assert found("p", pipeline("p"), step("prepare", "p"))[0] == Drift()


def test_the_features_of_several_signals_are_all_told():
    other = SAID.replace("fraud_data_drift", "fraud_prediction_drift").replace("amount", "score")
    drift, _ = found("m", *monitor(TAGGED, pipeline("two", "m"), step("b", "two", **{breach.TAG: other})))
    assert drift.features == ("amount", "score")


def test_a_sentence_without_features_is_filled_from_the_metrics_of_the_step():
    bare = step("compare", "signal", **{breach.TAG: SENTENCE})
    metrics = {
        "amount.normalized_wasserstein_distance": 0.37,
        "amount.normalized_wasserstein_distance.threshold": 0.1,
        "age.normalized_wasserstein_distance": 0.02,
        "age.normalized_wasserstein_distance.threshold": 0.1,
        "city.psi": 0.9,  # without a threshold nobody knows
    }
    drift, _ = found("compare", *monitor(bare), metrics=metrics)
    assert drift.crossed == (Crossed("amount", "normalized_wasserstein_distance", 0.37, 0.1),)
    silent, _ = found("compare", *monitor(bare))
    assert (silent.signal, silent.crossed) == ("data_drift", ())


def test_a_parent_that_is_gone_takes_nothing_away():
    assert found("compare", TAGGED)[0].features == ("amount",)

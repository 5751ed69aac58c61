"""A model monitor's morning, from the door to the messages: one breach, told once, and no failure that is none."""

import json

import pytest

from shared.breach import TAG, Crossed
from shared.errors import PermanentError
from shared.events import Drift
from tests.station import Station, opened, run_event
from tests.world import Outside

RULES = """
rules:
  - name: drift
    event: DriftDetected
    match:
      drift.monitor: starts fraud
      drift.features: [transaction_amount]
      drift.coefficient: "> 0.3"
    do: [{notify: fraud}, {retrain: weekly}]
  - name: failed
    event: RunStatusChanged
    match: {run.status: Failed, run.breached: false}
    do: [{notify: platform}]
"""
SENTENCE = "The signal 'fraud-monitor_data_drift' has failed due to one or more features violating metric thresholds."
ROW = {"group": "transaction_amount", "metric_value": 0.37, "metric_name": "psi", "threshold_value": 0.1}
SAID = f"{SENTENCE}\nThe … are \n['{json.dumps(ROW)}']\n"
STEP = {"runType": "azureml.StepRun", "runProperties": {"azureml.pipelinerunid": "run-monitor"}}
FOUND = Drift("fraud-monitor", "data_drift", 0.37, ("transaction_amount",))


@pytest.fixture
def outside():
    return Outside()


@pytest.fixture
def station(tmp_path, outside):
    with opened(tmp_path / "state.db") as database:
        yield Station(outside, database, RULES)


def compared(name, status, text=SAID):
    data = {**STEP, "runId": "run-compare", "runStatus": status, "runTags": {TAG: text}}
    return run_event(name, "RunStatusChanged", **data)


async def outcomes(station, name):
    return {(one.intent.rule, one.intent.action): one.status for one in await station.intents(name)}


async def test_one_breach_is_told_once_and_trains_once_whatever_its_run_goes_through(station, outside):
    await station.send(compared("e1", "Finalizing"), compared("e2", "Failed"), compared("e3", "Completed"))
    await station.work()
    assert await outcomes(station, "e1") == {("drift", "teams"): "done", ("drift", "retrain"): "done"}
    for again in ("e2", "e3"):
        assert await outcomes(station, again) == {("drift", "teams"): "suppressed", ("drift", "retrain"): "suppressed"}
    assert len(outside.platform.submitted) == len(outside.http.sent) == 1
    assert b"transaction_amount 0.37" in outside.http.sent[0].body
    assert set(outside.platform.names) == set(outside.platform.submitted) | {"run-compare"}  # metrics, for the card


async def test_the_monitors_own_run_is_looked_into_and_no_failure(station, outside):
    outside.platform.drifts["run-monitor"] = FOUND
    await station.send(run_event("monitor", "RunStatusChanged", runStatus="Failed", runTags={}, runProperties={}))
    await station.work()
    assert await station.intents("monitor") == []
    assert (await station.record("monitor")).facts.drift == FOUND


@pytest.mark.parametrize("failure", [None, PermanentError("HTTP 404: no such run")])
async def test_a_monitor_that_failed_for_real_or_that_nobody_can_explain_is_a_failure(station, outside, failure):
    outside.platform.failure = failure
    await station.send(run_event("monitor", "RunStatusChanged", runStatus="Failed"))
    await station.work()
    assert await outcomes(station, "monitor") == {("failed", "email"): "done"}


async def test_features_that_the_sentence_does_not_name_are_looked_up(station, outside):
    outside.platform.drifts["run-compare"] = FOUND
    await station.send(compared("e1", "Failed", SENTENCE))
    await station.work()
    # Which features it was, the run does not say either: what nobody knows matches nothing.
    assert await station.intents("e1") == []
    crossed = (Crossed("transaction_amount", "psi", 0.37, 0.1),)
    outside.platform.drifts["run-other"] = Drift(None, None, 0.37, ("transaction_amount",), crossed=crossed)
    await station.send(
        run_event("e2", "RunStatusChanged", **STEP, runId="run-other", runStatus="Failed", runTags={TAG: SENTENCE})
    )
    await station.work()
    assert (await outcomes(station, "e2"))["drift", "retrain"] == "done"


async def test_a_run_that_is_no_pipeline_costs_no_look(station):
    await station.send(run_event("sweep", "RunStatusChanged", runStatus="Failed", runType="azureml.HyperDriveRun"))
    await station.work()
    assert await outcomes(station, "sweep") == {("failed", "email"): "done"}
    assert (await station.record("sweep")).facts.drift is None

"""On which terms rules act, in the running service: how often, when, to whom next, with what budget; and what did not come."""

import json
from datetime import timedelta

import pytest

from shared.errors import TemporaryError
from shared.guards.throttle import name_of
from shared.record import Job
from shared.world import Origin
from tests.station import SWITCHYARD, WORKSPACE, Station, opened, run_event
from tests.world import START, Outside

MAIN = (
    SWITCHYARD.replace("  phones:", "  sato: {sms: '+819011111111'}\n  suzuki: {sms: '+819022222222'}\n  phones:")
    .replace(
        "  platform:",
        "  oncall: {teams: '${TEAMS_FRAUD}', escalate: [{after: 10m, on_call: rota, by: sms}, {after: 30m, notify: platform}]}\n"
        "  platform:",
        1,
    )
    .replace("fraud-retraining}", "fraud-retraining, cooldown: 1h, budget: {day: {runs: 2}}}")
    + """
schedules:
  rota: {start: 2026-11-16, handover: "09:00", every: 7d, people: [sato, suzuki]}
calendars:
  nights: {from: "22:00", to: "07:00"}
  office: {days: mon-fri, from: "08:00", to: "18:00"}
"""
)
RULES = """
rules:
  - name: once
    event: RunCompleted
    match: {tags.team: once}
    throttle: {once_within: 10m, by: [run.experiment]}
    do: [{notify: fraud}, {notify: phones}]
  - name: gathered
    event: RunStatusChanged
    match: {tags.team: gathered, run.status: Failed}
    throttle: {once_after: 10m}
    do: [{notify: fraud}]
  - name: crowd
    event: RunStatusChanged
    match: {tags.team: crowd, run.status: Failed}
    throttle: {accumulate_within: 10m, threshold: 3}
    do: [{notify: fraud}]
  - name: trials
    event: [RunCompleted, RunStatusChanged]
    match: {tags.team: sweep, run.status: [Completed, Failed]}
    do: [{notify: fraud}]
  - name: drift
    event: DriftDetected
    match: {tags.team: monitor}
    do: [{notify: fraud}]
  - name: office-hours
    event: RunCompleted
    match: {tags.team: office}
    active: office
    mute: nights
    do: [{notify: fraud}]
  - name: wake
    event: RunStatusChanged
    match: {tags.team: wake, run.status: Failed}
    do: [{notify: oncall}]
  - name: wake-once
    event: RunStatusChanged
    match: {tags.team: wake-once, run.status: Failed}
    throttle: {once_within: 30m}
    do: [{notify: oncall}]
  - name: wake-together
    event: RunStatusChanged
    match: {tags.team: wake-together, run.status: Failed}
    throttle: {once_after: 15m}
    do: [{notify: oncall}]
  - name: learn
    event: [RunStatusChanged, ModelRegistered]
    match: {tags.team: learn}
    do: [{retrain: weekly}]
  - name: not-deployed
    expect: ModelDeployed
    after: ModelRegistered
    within: 2h
    by: [model.name, model.version]
    match: {tags.team: fraud}
    do: [{notify: fraud}]
"""


@pytest.fixture
def outside():
    return Outside()


@pytest.fixture
def station(outside, tmp_path):
    with opened(tmp_path / "state.db") as database:
        yield Station(outside, database, RULES, MAIN)


def cards(outside):
    return [json.loads(sent.body)["attachments"][0]["content"] for sent in outside.http.sent]


def said(card):
    return json.dumps(card, ensure_ascii=False)


async def states(station, name):
    return [(one.intent.action, one.status) for one in await station.intents(name)]


def failed(name, team, **data):
    return run_event(name, "RunStatusChanged", runStatus="Failed", runTags={"team": team}, **data)


async def test_once_within_and_the_next_message_says_how_many_were_held_back(station, outside):
    for minute in range(3):
        await station.send(run_event(f"e{minute}", runTags={"team": "once"}))
        await station.work()
        await station.later(60)
    await station.send(run_event("other", runTags={"team": "once"}, experimentName="churn"))
    await station.later(420)
    await station.send(run_event("e9", runTags={"team": "once"}))
    await station.work()
    assert await states(station, "e0") == [("teams", "done"), ("sms", "done")]
    assert await states(station, "e1") == [("teams", "suppressed"), ("sms", "suppressed")]
    assert await states(station, "other") == [("teams", "done"), ("sms", "done")]
    assert (
        (await station.intents("e2"))[0]
        .attempts[-1]
        .note.startswith(
            "throttle: once within 10m of run.experiment fraud: the last one went out at 2026-11-20 08:30:00 UTC"
        )
    )
    assert len(outside.http.sent) == 3
    assert "2 more of this kind" in said(cards(outside)[-1])


async def test_what_is_collected_goes_out_in_one_message_and_each_record_says_in_which(station, outside):
    for n in range(4):
        await station.send(failed(f"e{n}", "gathered"))
        await station.later(100)
    assert outside.http.sent == []
    assert await states(station, "e0") == [("teams", "waiting")]
    await station.later(300)
    assert await states(station, "e0") == [("teams", "done")]
    assert await states(station, "e3") == [("teams", "collected")]
    (card,) = cards(outside)
    assert card["speak"] == "4 events: 4 RunStatusChanged Failed"
    assert "run-e3" in said(card)
    opener = await station.record("e0")
    assert opener.id in (await station.intents("e3"))[0].attempts[-1].note


async def test_a_crowd_is_told_of_when_it_is_one(station, outside):
    for n in range(5):
        await station.send(failed(f"e{n}", "crowd"))
        await station.later(60)
    assert [await states(station, f"e{n}") for n in range(5)] == [
        [("teams", status)] for status in ("suppressed", "suppressed", "done", "suppressed", "suppressed")
    ]
    (card,) = cards(outside)
    assert card["speak"].startswith("3 events")


async def test_the_trials_of_a_sweep_make_one_message_with_the_best_and_the_worst_though_no_rule_says_so(
    station, outside
):
    for n in range(20):
        name = f"HD_ab_{n}"
        outside.platform.measured[name] = {"auc": 0.7 + n / 100}
        await station.send(
            run_event(f"t{n}", runId=name, runType=None, runTags={"team": "sweep", "hyperparameters": "{}"})
        )
    await station.later(1800)
    assert outside.http.sent == []
    await station.send(run_event("sweep", runId="HD_ab", runType="azureml.HyperDriveRun", runTags={"team": "sweep"}))
    await station.work()
    await station.later(130)
    titles = [card["speak"] for card in cards(outside)]
    assert titles == ["Run completed: HD_ab", "20 events of fraud: 20 RunCompleted"]
    whole = said(cards(outside)[1])
    assert "#19: auc 0.89" in whole
    assert "#0: auc 0.7" in whole
    assert await states(station, "t0") == [("teams", "done")]
    assert await states(station, "t19") == [("teams", "collected")]


async def test_drift_that_a_step_of_a_monitor_finds_is_told_at_once(station, outside):
    """It comes as a run with a parent, and is no trial of anything."""
    tags = {"team": "monitor", "azureml_modelmonitor_threshold_breached": "m_s has failed due to one or more features"}
    parent = {"azureml.parentRunId": "pipeline"}
    await station.send(
        run_event(
            "d", "RunStatusChanged", runStatus="Failed", runTags=tags, runProperties=parent, runType="azureml.StepRun"
        )
    )
    await station.work()
    assert await states(station, "d") == [("teams", "done")]


@pytest.mark.parametrize(
    ("hours", "status", "why"),
    [
        (0, "done", ""),
        (10, "suppressed", "calendar: not within office, until 2026-11-23 08:00 UTC"),  # Friday evening
        (24, "suppressed", "calendar: not within office, until 2026-11-23 08:00 UTC"),
    ],
)
async def test_out_of_hours_it_does_not_fire_and_the_record_says_until_when(station, hours, status, why):
    await station.later(hours * 3600)
    await station.send(run_event("e", runTags={"team": "office"}))
    await station.work()
    assert await states(station, "e") == [("teams", status)]
    assert (await station.intents("e"))[0].attempts[-1].note == why


async def test_nobody_takes_care_so_whoever_is_on_call_is_told_and_then_the_next(station, outside):
    await station.send(failed("e", "wake"))
    await station.work()
    assert (len(outside.http.sent), len(outside.sms.sent)) == (1, 0)
    await station.later(601)
    ((to, _, _),) = outside.sms.sent
    assert list(to) == ["+819011111111"]  # the week of 16 November is Sato's
    await station.later(1200)
    assert [letter.to for letter, _ in outside.mail.sent] == [("mlops@contoso.com",)]
    assert await states(station, "e") == [("teams", "done"), ("sms", "done"), ("email", "done")]


async def test_after_the_handover_the_next_person_is_on_call(station, outside):
    await station.later(3 * 86_400)  # Monday morning, half past eight: still Sato
    await station.send(failed("e", "wake"))
    await station.later(1801)
    ((to, _, _),) = outside.sms.sent
    assert list(to) == ["+819022222222"]


async def test_somebody_took_care_so_nobody_else_is_woken(station, outside):
    await station.send(failed("e", "wake"))
    await station.work()
    record = await station.record("e")
    ack = {"by": "Mika", "at": "2026-11-20T08:35:00Z", "reason": ""}
    await outside.world.shelf.put("acks", record.id, json.dumps(ack))
    await station.later(3600)
    assert (outside.sms.sent, outside.mail.sent) == ([], [])
    sms, mail = (await station.intents("e"))[1:]
    assert (sms.status, mail.status) == ("suppressed", "suppressed")
    assert "Mika took care of it" in sms.attempts[-1].note


async def test_what_nobody_was_told_of_wakes_nobody_later(station, outside):
    await station.send(failed("e1", "wake-once"))
    await station.later(300)
    await station.send(failed("e2", "wake-once"))
    await station.work()
    await station.later(3600)
    assert (len(outside.http.sent), len(outside.sms.sent), len(outside.mail.sent)) == (1, 1, 1)  # of the first one only
    assert await states(station, "e2") == [("teams", "suppressed"), ("sms", "suppressed"), ("email", "suppressed")]
    assert (await station.intents("e2"))[1].attempts[-1].note.startswith("escalation: its first message did not go out")


async def test_several_failures_that_are_told_together_wake_people_once(station, outside):
    for n in range(3):
        await station.send(failed(f"e{n}", "wake-together"))
        await station.later(60)
    for _ in range(6):
        await station.later(700)
    assert (len(outside.http.sent), len(outside.sms.sent), len(outside.mail.sent)) == (1, 1, 1)
    assert "3 events" in outside.sms.sent[0][1]
    assert await states(station, "e2") == [("teams", "collected"), ("sms", "suppressed"), ("email", "suppressed")]


async def test_a_pipeline_cools_down_and_its_budget_is_told_of_once(station, outside):
    for hour in range(5):
        await station.send(failed(f"e{hour}", "learn"))
        await station.work()
        await station.later(1900)
    found = [(await station.intents(f"e{n}"))[0] for n in range(5)]
    assert [one.status for one in found] == ["done", "suppressed", "done", "suppressed", "held"]
    assert "cools down for 1h" in found[1].attempts[-1].note
    assert "used up: 2 of 2 runs" in found[4].attempts[-1].note
    await station.send(failed("e9", "learn"))
    await station.work()
    assert (await states(station, "e9")) == [("retrain", "held")]
    assert len(outside.mail.sent) == 1  # once for the day, not once for each
    await station.later(86_400)
    await station.send(failed("next", "learn"))
    await station.work()
    assert (await states(station, "next")) == [("retrain", "done")]


async def test_what_the_far_side_refuses_is_not_spent(station, outside):
    from shared.errors import PermanentError

    outside.platform.failure = PermanentError("no such component")
    await station.send(failed("e1", "learn"))
    await station.work()
    outside.platform.failure = None
    await station.send(failed("e2", "learn"))
    await station.work()
    assert [await states(station, name) for name in ("e1", "e2")] == [[("retrain", "refused")], [("retrain", "done")]]


def registered(name, version, **tags):
    return {
        "id": name,
        "topic": WORKSPACE,
        "subject": f"models/fraud:{version}",
        "eventType": "Microsoft.MachineLearningServices.ModelRegistered",
        "eventTime": "2026-11-20T08:29:00Z",
        "data": {"modelName": "fraud", "modelVersion": version, "modelTags": tags},
        "dataVersion": "1",
    }


def deployed(name, models, time):
    return {
        "id": name,
        "topic": WORKSPACE,
        "subject": "endpoints/fraud-online",
        "eventType": "Microsoft.MachineLearningServices.ModelDeployed",
        "eventTime": time,
        "data": {"serviceName": "fraud-online", "modelIds": models},
        "dataVersion": "1",
    }


async def test_a_model_that_a_job_of_ours_made_is_known_to_be_ours_and_a_loop_of_them_stops(station, outside):
    """Its own tags say nothing: the run that made it does."""
    job, started = "", []
    for turn in range(5):
        outside.serving.origins[f"fraud:{turn}"] = Origin(run=f"{job}-child" if job else "by-hand")
        outside.platform.jobs[f"{job}-child"] = Job(parent=job or None)
        await station.send(registered(f"m{turn}", str(turn), team="learn"))
        await station.work()
        (intent,) = [one for one in await station.intents(f"m{turn}") if one.intent.action == "retrain"]
        started.append(intent.status)
        job = intent.intent.key
        await station.later(86_400)
    assert started == ["done", "done", "done", "held", "done"]  # the one in between was started by nobody of ours
    depths = [one.tags["switchyard_depth"] for one in outside.platform.submitted.values()]
    assert depths == ["1", "2", "3", "1"]
    assert any("This looks like a loop" in letter.text for letter, _ in outside.mail.sent)


async def test_what_did_not_come_is_told_of_and_what_came_is_not(station, outside):
    await station.send(registered("m1", "1", team="fraud"), registered("m2", "2", team="fraud"))
    await station.work()
    await station.later(3600)
    await station.send(deployed("d", "base:7,fraud:2", "2026-11-20T09:00:00Z"))
    await station.work()
    assert await states(station, "m1") == [("expect", "waiting")]
    await station.later(3600)
    (card,) = cards(outside)
    assert "ModelDeployed" in card["speak"]
    assert '"fraud:1"' in said(card)
    first, second = (await station.intents("m1"))[0], (await station.intents("m2"))[0]
    assert first.result.said == "ModelDeployed did not come within 2h: raised ExpectedEventMissing"
    assert second.result.said == "ModelDeployed came in time, at 2026-11-20T09:00:00+00:00"
    missing = await station.record(f"{first.intent.key}-missing")
    assert [verdict.rule for verdict in missing.decision.verdicts] == ["not-deployed (missing)"]


async def test_events_are_in_no_order_what_came_before_its_time_has_come(station, outside):
    await station.send(deployed("d", "fraud:1", "2026-11-20T08:29:30Z"))
    await station.work()
    await station.send(registered("m1", "1", team="fraud"))
    await station.later(7300)
    assert cards(outside) == []


async def test_an_older_deployment_of_the_same_version_is_not_the_one_that_is_waited_for(station, outside):
    await station.send(deployed("d", "fraud:1", "2026-11-20T08:00:00Z"))
    await station.work()
    await station.send(registered("m1", "1", team="fraud"))
    await station.later(7300)
    assert len(cards(outside)) == 1


async def test_a_host_that_starts_again_goes_on_waiting(outside, tmp_path):
    with opened(tmp_path / "state.db") as database:
        before = Station(outside, database, RULES, MAIN)
        await before.send(registered("m1", "1", team="fraud"), failed("e0", "gathered"))
        await before.work()
    with opened(tmp_path / "state.db") as database:
        after = Station(outside, database, RULES, MAIN)
        await after.send(failed("e1", "gathered"))
        await after.work()
        await after.later(601)
        assert [card["speak"] for card in cards(outside)] == ["2 events: 2 RunStatusChanged Failed"]
        await after.later(7200)
        assert len(cards(outside)) == 2
    assert outside.clock() == START + timedelta(seconds=7801)


async def test_a_guard_that_could_not_be_asked_is_asked_again_and_has_not_been_passed(station, outside):
    outside.serving.failure = TemporaryError("out of reach")
    await station.send(registered("m", "1", team="learn"))
    await station.work()
    (intent,) = [one for one in await station.intents("m") if one.intent.action == "retrain"]
    assert (intent.status, intent.attempts[-1].outcome) == ("retrying", "waits")
    outside.serving.failure = None
    await station.service.world.shelf.put("ledgers", name_of("weekly"), json.dumps({"starts": [LATELY]}))
    await station.later(30)
    (intent,) = [one for one in await station.intents("m") if one.intent.action == "retrain"]
    assert intent.status == "suppressed"
    assert "cools down" in intent.attempts[-1].note


LATELY = {"key": "other", "at": "2026-11-20T08:20:00Z", "job": "other"}

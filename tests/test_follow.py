"""What was started is followed to its end: by event, by polling, through kills, and told once."""

import json

import pytest

from shared.record import Job
from tests.station import Station, opened, run_event
from tests.world import Outside

RULES = """
rules:
  - name: train-again
    event: DriftDetected
    do: [{retrain: weekly, tell: fraud}]
  - name: try-it
    event: Contoso.Ready
    do:
      - dispatch: {github: contoso/fraud, workflow: train.yml, correlation_input: correlation}
"""
MINUTE = 60.0
DAY = 86_400.0


@pytest.fixture
def outside():
    return Outside()


@pytest.fixture
def station(outside, tmp_path):
    with opened(tmp_path / "state.db") as database:
        yield Station(outside, database, RULES)


def drift(name="d1"):
    return run_event(name, "DatasetDriftDetected", DataDriftName="fraud-monitor", DriftCoefficient=0.4)


def ready(name="r1"):
    return {
        "id": name,
        "topic": "/contoso",
        "subject": "models/fraud",
        "eventType": "Contoso.Ready",
        "eventTime": "2026-11-20T08:29:00Z",
        "data": {"tags": {"team": "fraud"}},
        "dataVersion": "1",
    }


def started(status=200, number=17):
    body = {"workflow_run_id": number, "html_url": f"https://github.test/runs/{number}"}
    return status, json.dumps(body).encode()


def stands(status, conclusion=None, **more):
    body = {"id": 17, "status": status, "conclusion": conclusion, "html_url": "https://github.test/runs/17"}
    return 200, json.dumps(body | more).encode()


async def events(station, kind):
    found = await station.service.world.store.events(_all(kind))
    return [record.event for record in reversed(found)]


def _all(kind):
    from shared.world import Search

    return Search(limit=100, type=kind)


def cards(outside):
    """What went to a Teams webhook."""
    return [
        json.loads(one.body)["attachments"][0]["content"]
        for one in outside.http.sent
        if one.url.startswith("https://flows.test")
    ]


def said(outside):
    return [json.dumps(card, ensure_ascii=False) for card in cards(outside)]


async def job_of(outside):
    (name,) = outside.platform.submitted
    return name


async def test_a_retraining_ends_by_its_event_and_one_card_tells_the_whole_story(station, outside):
    await station.send(drift())
    await station.work()
    job = await job_of(outside)
    assert cards(outside) == []  # nothing at the start
    outside.clock.advance(20 * MINUTE)
    outside.platform.jobs[job] = Job("Completed", ended=outside.clock().isoformat(), studio_url="https://ml.test/j")
    outside.platform.measured[job] = {"auc": 0.953}
    await station.send(run_event("done", runId=job, runTags={"switchyard_rule": "train-again"}))
    await station.work()
    (card,) = said(outside)
    for word in (
        "Data drift: fraud-monitor",
        "train-again",
        "fraud-retraining",
        "20 min",
        "auc",
        "0.953",
        "https://ml.test/j",
    ):
        assert word in card, word
    (ended,) = await events(station, "ActionCompleted")
    assert ended.run is not None
    assert (ended.run.id, ended.workspace, ended.data["took"]) == (job, "prod", 1200.0)
    await station.later(DAY)
    assert len(cards(outside)) == 1


async def test_without_events_it_is_asked_patiently_and_ends_all_the_same(station, outside):
    await station.send(drift())
    await station.work()
    job = await job_of(outside)
    outside.platform.jobs[job] = Job("Running")
    before = len(outside.platform.names)
    for _ in range(6 * 60):
        await station.later(MINUTE)
    looks = len(outside.platform.names) - before
    assert 30 < looks < 60  # six hours, in the end every ten minutes
    outside.platform.jobs[job] = Job("Failed", error="KeyError: amount", ended=outside.clock().isoformat())
    for _ in range(11):
        await station.later(MINUTE)
    (failed,) = await events(station, "ActionFailed")
    assert failed.data["state"] == "failed"
    assert "KeyError: amount" in str(failed.data["reason"])
    (card,) = said(outside)
    assert "KeyError: amount" in card
    assert outside.mail.sent == []  # the receiver that asked, and nobody else

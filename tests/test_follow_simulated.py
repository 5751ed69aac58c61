"""Following against the simulated GitHub and Azure ML, through the doors of the real world."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from shared import follow
from shared.cloud import Doors, doors
from shared.record import Followed
from shared.settings import Settings
from simulator.app import Box
from simulator.state import Fault
from tests.station import WORKSPACE, Station, opened
from tests.world import START, Outside

SWITCHYARD = """
defaults: {language: en, tell: platform}
receivers:
  fraud: {email: fraud@contoso.com}
  platform: {email: mlops@contoso.com}
pipelines:
  weekly: {source: "azureml:fraud_train:3", experiment: fraud-retraining}
"""
RULES = """
rules:
  - name: train-again
    event: Contoso.Drifted
    do:
      - retrain: weekly
        tags: {simulated_outcome: "{{ event.data.outcome }}", simulated_seconds: 600}
        workspace: prod
        tell: fraud
  - name: try-it
    event: Contoso.Ready
    do:
      - dispatch: {github: contoso/fraud, workflow: train.yml, correlation_input: correlation}
  - name: copy-it
    event: Contoso.Landed
    do:
      - data_factory: {factory: contoso-data, pipeline: "copy-{{ event.data.outcome }}", correlation_parameter: correlation}
        tell: fraud
  - name: lake-it
    event: Contoso.Lake
    do:
      - synapse: {workspace: contoso-lake, pipeline: "copy-{{ event.data.outcome }}"}
        tell: fraud
  - name: score-it
    event: Contoso.Scores
    do:
      - batch: {endpoint: churn-scores, workspace: prod, inputs: {data: "azureml:customers:12"}}
        tell: fraud
"""
PLACES = """
workspaces:
  prod: {subscription: s1, resource_group: mlops, workspace: prod}
"""


@dataclass
class BoxClock:
    box: Box

    def __call__(self) -> Any:
        return self.box.sim.clock.now()

    def advance(self, seconds: float) -> None:
        self.box.sim.clock.advance(seconds)


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with Box(rate=0, start=START, seed=1) as box:
        yield box


@pytest.fixture
async def far(box: Box, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Doors]:
    monkeypatch.setenv("SSL_CERT_FILE", str(box.ca))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(box.ca))
    made = doors(Settings.of(box.environment), box.environment, tmp_path)
    yield made
    await made.close()
    box.sim.faults.clear()


@pytest.fixture
def station(box: Box, far: Doors, tmp_path: Path) -> Iterator[Station]:
    outside = Outside(clock=BoxClock(box))  # type: ignore[arg-type]  # the simulated world's own
    with opened(tmp_path / "state.db") as database:
        station = Station(outside, database, RULES, SWITCHYARD + PLACES)
        world = station.service.world
        station.service.world = replace(
            world, http=far.http, platform=far.platform, github=far.github, serving=far.serving, azure=far.azure
        )
        yield station


def happens(station: Station, name: str, kind: str, **data: object) -> dict[str, object]:
    return {
        "id": name,
        "topic": WORKSPACE,
        "subject": name,
        "eventType": f"Contoso.{kind}",
        "eventTime": station.outside.clock().isoformat(),
        "data": data,
        "dataVersion": "1",
    }


async def starts(station: Station, name: str, kind: str, **data: object) -> str:
    """The key of what the event starts."""
    await station.send(happens(station, name, kind, **data))
    await station.work()
    (intent,) = await station.intents(name)
    return intent.intent.key


async def ends(station: Station, key: str, hours: float = 3) -> Followed:
    """Its account at its end; or as it is after some hours."""
    for _ in range(int(hours * 60)):
        await station.later(60)
        account = await follow.account_of(station.service.world, key)
        if account is None or account.ended is not None:
            break
    assert account is not None
    return account


async def test_a_workflow_is_followed_to_its_end(station: Station) -> None:
    account = await ends(station, await starts(station, "g1", "Ready"))
    assert account.progress is not None
    assert (account.progress.state, account.progress.said) == (
        "succeeded",
        "train.yml in contoso/fraud ended as success",
    )
    assert account.took == pytest.approx(100, abs=2)  # as GitHub says, not when we looked
    assert [one.state for one in account.history] == ["running", "succeeded"]
    assert station.outside.mail.sent == []


async def test_a_workflow_that_fails_names_its_job_and_step(station: Station, box: Box) -> None:
    box.sim.faults.append(Fault("github run", 500))
    await ends(station, await starts(station, "g2", "Ready"))
    ((letter, _),) = station.outside.mail.sent
    assert tuple(letter.to) == ("mlops@contoso.com",)
    assert "ended as failure in job 'test', step 'Run tests'" in letter.text


async def test_a_workflow_that_no_runner_takes_is_noticed(station: Station, box: Box) -> None:
    box.sim.faults.append(Fault("github runner", 500))
    account = await ends(station, await starts(station, "g3", "Ready"), hours=2)
    assert account.progress is not None
    assert (account.ended, account.progress.state) == (None, "queued")
    ((letter, _),) = station.outside.mail.sent
    assert letter.subject == "Not started: train.yml in contoso/fraud"


async def test_a_workflow_whose_start_was_not_answered_is_found_by_its_name_and_followed(
    station: Station, box: Box
) -> None:
    box.sim.faults.append(Fault("github", "lost answer", method="POST"))
    key = await starts(station, "g4", "Ready")
    await station.later(60)
    account = await ends(station, key)
    assert account.progress is not None
    assert account.progress.state == "succeeded"
    (run,) = [one for one in box.sim.inbox.all("github") if one.key == key]
    assert str(account.handle["run"]) in str(account.progress.link)
    assert run.problem is None


async def test_a_busy_and_a_broken_github_cost_time_only(station: Station, box: Box) -> None:
    key = await starts(station, "g5", "Ready")
    box.sim.faults.append(Fault("github", 403, retry_after=300, method="GET"))
    box.sim.faults.append(Fault("github", "drop", method="GET"))
    account = await ends(station, key)
    assert account.progress is not None
    assert account.progress.state == "succeeded"
    assert station.outside.mail.sent == []


@pytest.mark.parametrize(("outcome", "state"), [("completed", "succeeded"), ("failed", "failed")])
async def test_a_retraining_is_followed_to_its_end_and_told_on_one_card(
    station: Station, outcome: str, state: str
) -> None:
    key = await starts(station, f"a-{outcome}", "Drifted", outcome=outcome)
    account = await ends(station, key)
    assert account.progress is not None
    assert account.progress.state == state
    ((letter, _),) = station.outside.mail.sent
    assert tuple(letter.to) == ("fraud@contoso.com",)
    for word in ("train-again", "fraud-retraining", "Contoso.Drifted"):
        assert word in letter.text, word
    if state == "succeeded":
        assert set(account.progress.values["metrics"]) >= {"auc", "f1_score"}  # type: ignore[call-overload]
        assert "auc" in letter.text
    else:
        assert "KeyError" in letter.text
    assert str(account.progress.link).startswith("http")


@pytest.mark.parametrize("kind", ["Landed", "Lake"])
@pytest.mark.parametrize(
    ("outcome", "state", "subject"),
    [
        ("all", "succeeded", "Completed"),
        ("failed", "failed", "Failed"),
        ("cancelled", "canceled", "Canceled"),
        ("queued", "queued", "Not started"),
    ],
)
async def test_a_pipeline_of_data_factory_or_synapse_is_followed_and_told_on_one_card(
    station: Station, kind: str, outcome: str, state: str, subject: str
) -> None:
    account = await ends(station, await starts(station, f"{kind}-{outcome}", kind, outcome=outcome), hours=1)
    assert account.progress is not None
    assert account.progress.state == state
    ((letter, _),) = station.outside.mail.sent
    assert letter.subject.startswith(subject), letter.subject
    assert f"pipeline copy-{outcome} of " in letter.text
    if outcome == "failed":
        assert "ErrorCode=SqlOperationFailed" in letter.text


async def test_a_batch_job_is_followed_to_its_end_and_told_on_one_card(station: Station, box: Box) -> None:
    async def furnish() -> None:
        box.azure.batch.serve(box.azure.azureml.at(WORKSPACE), "churn-scores", {"blue": "churn:6"})

    box.run(furnish())
    account = await ends(station, await starts(station, "s1", "Scores"))
    assert account.progress is not None
    assert account.progress.state == "succeeded"
    assert account.handle["job"] == account.key
    ((letter, _),) = station.outside.mail.sent
    assert "batch endpoint churn-scores in workspace prod" in letter.text


async def test_no_secret_is_in_an_account(station: Station, box: Box) -> None:
    await ends(station, await starts(station, "g6", "Ready"))
    kept = json.dumps(
        [row for folder in ("followed", "followed-jobs") for row in await station.outside.shelf.all(folder)]
    )
    secrets = [value for name, value in box.environment.items() if "TOKEN" in name or "SECRET" in name or "KEY" in name]
    assert secrets
    assert [one for one in secrets if one in kept] == []

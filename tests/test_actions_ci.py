"""CI systems and orchestrators: Azure Pipelines and Jenkins, Airflow and Kubeflow by the webhook, with what comes of what is started."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.actions import Context
from shared.actions.azure_pipelines import AzurePipelines
from shared.actions.azure_pipelines import look as look_at_run
from shared.actions.azure_pipelines import run as start
from shared.actions.jenkins import Jenkins
from shared.actions.jenkins import look as look_at_build
from shared.actions.jenkins import run as build
from shared.actions.webhook import Follow, Webhook
from shared.actions.webhook import look as look_at_call
from shared.actions.webhook import run as call
from shared.cloud import doors
from shared.errors import MissingError, PermanentError
from shared.record import Progress, Result
from shared.settings import Secrets, Settings
from shared.world import World
from simulator.app import Box
from simulator.state import Fault
from tests.test_actions import KEY, context
from tests.world import START, FakeAzure, Outside

PIPELINE = AzurePipelines(
    project="contoso/fraud",
    pipeline=12,
    ref="main",
    parameters={"model": "fraud", "dry": True},
    variables={"password": "${DEPLOY_PASSWORD}", "rate": 0.5},
    stages_to_skip=("test",),
    correlation_parameter="correlation",
    cause_variable="cause",
)
PLAIN = AzurePipelines(project="contoso/fraud", pipeline=12)
JOB = Jenkins(
    url="${JENKINS_URL}",
    job="team/fraud/train",
    user="${JENKINS_USER}",
    token="${JENKINS_TOKEN}",
    parameters={"MODEL": "fraud", "FAST": True},
    correlation_parameter="SWITCHYARD_KEY",
    cause_parameter="CAUSE",
)


@pytest.fixture
def box() -> Iterator[Box]:
    with Box(rate=0, start=START, seed=1) as box:
        yield box


@pytest.fixture
async def world(box: Box, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[World]:
    """The doors to the box are real ones."""
    monkeypatch.setenv("SSL_CERT_FILE", str(box.ca))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(box.ca))
    environ = {**box.environment, "DEPLOY_PASSWORD": "marker-password"}
    made = doors(Settings.of(environ), environ, tmp_path)
    yield replace(Outside().world, http=made.http, azure=made.azure, secret=Secrets(environ), clock=box.sim.clock.now)
    await made.close()


def of(world: World, *, again: bool = False, key: str = KEY) -> Context:
    return replace(context(Outside(), again=again, key=key), world=world)


async def asked(look: Any, result: Result, world: World) -> Progress:
    assert result.follow is not None
    assert "marker" not in json.dumps(result.follow)
    assert "simulated" not in json.dumps(result.follow)
    found: Progress = await look(result.follow, START, world)
    return found


async def test_a_pipeline_gets_what_the_rule_says_and_is_followed_to_its_end(box: Box, world: World) -> None:
    result = await start(PIPELINE, of(world))
    assert result.said == "started pipeline 12 in contoso/fraud on main: run 20261120.1"
    assert result.link == "https://dev.azure.com/contoso/fraud/_build/results?buildId=1"
    [came] = box.sim.inbox.all("devops")
    cause = json.dumps({"switchyard_event": "e-1", "switchyard_rule": "fraud-drift", "switchyard_depth": "1"})
    assert isinstance(came.payload, dict)
    variables = came.payload.pop("variables")
    assert came.payload == {
        "templateParameters": {"model": "fraud", "dry": "true", "correlation": KEY},
        "resources": {"repositories": {"self": {"refName": "refs/heads/main"}}},
        "stagesToSkip": ["test"],
    }
    assert variables["password"] == {"isSecret": True}
    assert variables["rate"] == {"value": "0.5", "isSecret": False}
    assert json.loads(variables["cause"]["value"]).keys() == json.loads(cause).keys()
    states = []
    for _ in range(3):
        seen = await asked(look_at_run, result, world)
        states.append((seen.state, seen.said.rpartition(": ")[2]))
        box.sim.clock.advance(60)
    assert seen.ended == START + timedelta(seconds=100)
    assert states == [("queued", "notStarted"), ("running", "inProgress"), ("succeeded", "succeeded")]
    assert seen.link == result.link


async def test_a_pipeline_that_fails_has_failed(box: Box, world: World) -> None:
    box.sim.faults.append(Fault("devops run", 500))
    result = await start(PLAIN, of(world))
    box.sim.clock.advance(600)
    assert (await asked(look_at_run, result, world)).state == "failed"


@pytest.mark.parametrize("carried", [{"correlation_parameter": "correlation"}, {"correlation_variable": "correlation"}])
async def test_a_pipeline_s_run_is_found_again_by_our_key(box: Box, world: World, carried: dict[str, str]) -> None:
    params = PLAIN.model_copy(update=carried)
    await start(params, of(world, key="another"))
    first = await start(params, of(world))
    again = await start(params, of(world, again=True))
    assert again.said == "pipeline 12 in contoso/fraud was started by an earlier try: run 20261120.2"
    assert (again.values, again.follow, again.maybe_twice) == (first.values, first.follow, False)
    assert len(box.sim.inbox.all("devops")) == 2
    await start(params, of(world))
    assert (await start(params, of(world, again=True))).maybe_twice is True


async def test_a_pipeline_that_does_not_get_our_key_may_be_started_twice(world: World) -> None:
    await start(PLAIN, of(world))
    assert (await start(PLAIN, of(world, again=True))).said.endswith("run 20261120.2; may have been sent twice")


async def test_a_page_to_sign_in_by_is_a_refusal_of_the_token(world: World) -> None:
    with pytest.raises(
        PermanentError, match=r"HTTP 203 with its page to sign in: it does not take our token\. Add this app's"
    ):
        await start(PLAIN, of(replace(world, azure=FakeAzure(devops=world.azure.devops))))


async def test_what_a_pipeline_does_not_take_is_said_in_its_own_words(box: Box, world: World) -> None:
    box.azure.devops.define("contoso/fraud", 12, parameters=("model",), settable=("rate",))
    locked = PLAIN.model_copy(update={"variables": {"password": "${DEPLOY_PASSWORD}"}})
    with pytest.raises(
        PermanentError, match=r"HTTP 400: See … - You can't set the following variables \(password\)"
    ) as caught:
        await start(locked, of(world))
    assert "marker" not in str(caught.value)
    with pytest.raises(PermanentError, match="Unexpected parameter 'other'"):
        await start(PLAIN.model_copy(update={"parameters": {"other": 1}}), of(world))


async def test_a_secret_that_a_far_side_echoes_is_not_repeated() -> None:
    outside = Outside()
    outside.secret.values |= {name: f"marker-{name}" for name in ("DEPLOY_PASSWORD", "MODEL", "JENKINS_TOKEN")}
    outside.secret.values["JENKINS_URL"] = "https://ci.contoso.com"
    outside.http.answer(400, b'{"message": "marker-DEPLOY_PASSWORD is no value for password"}')
    with pytest.raises(PermanentError, match="HTTP 400: … is no value for password"):
        await start(PIPELINE, context(outside))
    outside.http.answer(400, b"<html>MODEL marker-MODEL, token marker-JENKINS_TOKEN</html>")
    with pytest.raises(PermanentError, match=r"Jenkins \(\$\{JENKINS_URL\}, team/fraud/train\) .* MODEL …, token …"):
        await build(JOB.model_copy(update={"parameters": {"MODEL": "${MODEL}"}}), context(outside))


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        (AzurePipelines, {"project": "fraud"}, "pattern"),
        (
            AzurePipelines,
            {"parameters": {"word": "a ${SECRET}"}},
            "'word' holds a secret, and a run shows its parameters",
        ),
        (AzurePipelines, {"variables": {"word": "a ${SECRET}"}}, "'word' holds a secret and more"),
        (
            AzurePipelines,
            {"cause_parameter": "a", "cause_variable": "b"},
            "give either cause_parameter or cause_variable",
        ),
        (Jenkins, {"url": "http://ci.contoso.com"}, "is not https"),
        (Jenkins, {"job": "team//train"}, "pattern"),
        (Jenkins, {"token": "in clear"}, "pattern"),
        (Jenkins, {"parameters": {"A": "${B}c"}}, "'A' holds a secret and more"),
    ],
)
def test_mistakes_of_a_rule_are_named(kind: Any, values: dict[str, object], words: str) -> None:
    given = (PLAIN if kind is AzurePipelines else JOB).model_dump(exclude_defaults=True)
    with pytest.raises(ValueError, match=words):
        kind.model_validate(given | values)


def test_a_jenkins_job_without_parameters_is_another_request() -> None:
    with pytest.raises(ValueError, match="give at least one parameter"):
        Jenkins(url="https://ci.contoso.com", job="train", user="u", token="${T}")


async def test_a_job_of_jenkins_is_followed_from_the_queue_to_the_end_of_its_build(box: Box, world: World) -> None:
    result = await build(JOB, of(world))
    assert result.said == "queued team/fraud/train in Jenkins as item 1"
    [came] = box.sim.inbox.all("jenkins")
    assert isinstance(came.payload, dict)
    assert {**came.payload, "CAUSE": ""} == {"MODEL": "fraud", "FAST": "true", "SWITCHYARD_KEY": KEY, "CAUSE": ""}
    seen = await asked(look_at_build, result, world)
    assert (seen.state, seen.said) == (
        "queued",
        "Jenkins job team/fraud/train waits in the queue: In the quiet period. Expires in 4.9 sec",
    )
    box.sim.clock.advance(60)
    seen = await asked(look_at_build, result, world)
    assert (seen.state, seen.said) == ("running", "build 1 of Jenkins job team/fraud/train: building")
    assert seen.link == f"{box.https}/jenkins/job/team/job/fraud/job/train/1/"
    box.sim.clock.advance(60)
    ended = await look_at_build(seen.follow or {}, START, world)
    assert (ended.state, ended.said) == ("succeeded", "build 1 of Jenkins job team/fraud/train: SUCCESS")
    assert ended.values == {"job": "team/fraud/train", "build": 1, "result": "SUCCESS", "duration": 90.0}


@pytest.mark.parametrize(
    ("result", "state"),
    [("SUCCESS", "succeeded"), ("UNSTABLE", "failed"), ("FAILURE", "failed"), ("ABORTED", "canceled")],
)
async def test_a_build_whose_item_is_forgotten_is_found_all_the_same(
    box: Box, world: World, result: str, state: str
) -> None:
    box.azure.jenkins.ends["team/fraud/train"] = result
    await build(JOB, of(world, key="another"))
    queued = await build(JOB.model_copy(update={"correlation_parameter": None}), of(world))
    box.sim.clock.advance(3600)
    seen = await asked(look_at_build, queued, world)
    assert (seen.state, seen.values["build"], seen.values["result"]) == (state, 2, result)


async def test_what_never_leaves_the_queue_says_why_and_what_is_taken_from_it_has_ended(box: Box, world: World) -> None:
    box.azure.jenkins.stuck.add("team/fraud/train")
    result = await build(JOB, of(world))
    box.sim.clock.advance(7200)
    seen = await asked(look_at_build, result, world)
    assert (seen.state, seen.said.rpartition(": ")[2]) == ("queued", "Waiting for next available executor")
    box.azure.jenkins.items[0].canceled = True
    box.azure.jenkins.stuck.clear()
    box.sim.clock.advance(-7190)
    assert (await asked(look_at_build, result, world)).state == "canceled"
    box.sim.clock.advance(7190)
    with pytest.raises(MissingError, match="no item of the queue, and none of the last 100 builds, is this one"):
        await asked(look_at_build, result, world)


async def test_requests_that_are_alike_become_one_build_unless_they_carry_our_key(box: Box, world: World) -> None:
    plain = JOB.model_copy(update={"correlation_parameter": None, "cause_parameter": None})
    said = [(await build(params, of(world, key=key))).said for params in (plain, JOB) for key in ("k1", "k2")]
    assert [one.rpartition(" ")[2] for one in said] == ["1", "1", "2", "3"]


@pytest.mark.parametrize("later", [1, 60])
async def test_a_job_of_jenkins_is_found_again_while_it_waits_and_when_it_builds(
    box: Box, world: World, later: float
) -> None:
    await build(JOB, of(world, key="another"))
    await build(JOB, of(world))
    box.sim.clock.advance(later)
    again = await build(JOB, of(world, again=True))
    assert (again.said, again.maybe_twice) == ("team/fraud/train in Jenkins was queued by an earlier try", False)
    assert len(box.sim.inbox.all("jenkins")) == 2
    box.sim.clock.advance(3600)
    assert (await asked(look_at_build, again, world)).values["build"] == 2


async def test_a_job_that_does_not_declare_the_parameter_may_be_built_twice(box: Box, world: World) -> None:
    box.azure.jenkins.defined["team/fraud/train"] = frozenset({"MODEL"})
    await build(JOB, of(world))
    box.sim.clock.advance(60)
    again = await build(JOB, of(world, again=True))
    assert again.said == "queued team/fraud/train in Jenkins as item 2; may have been sent twice"


@pytest.mark.parametrize(
    ("token", "words"), [("password", "HTTP 403: .*No valid crumb"), ("wrong", "HTTP 401: .*Invalid password/token")]
)
async def test_jenkins_says_what_it_does_not_take(world: World, token: str, words: str) -> None:
    settings = {name: world.secret(name) for name in ("JENKINS_URL", "JENKINS_USER")} | {"JENKINS_TOKEN": token}
    with pytest.raises(PermanentError, match=words):
        await build(JOB, of(replace(world, secret=Secrets(settings))))


async def test_an_old_jenkins_that_names_no_item_is_followed_by_our_key() -> None:
    outside = Outside()
    outside.secret.values["JENKINS_URL"] = "https://ci.contoso.com/jenkins/"
    outside.http.answer(201)
    result = await build(JOB, context(outside))
    assert outside.http.sent[0].url == "https://ci.contoso.com/jenkins/job/team/job/fraud/job/train/buildWithParameters"
    given = {"name": "SWITCHYARD_KEY", "value": KEY}
    found = {"number": 7, "building": True, "actions": [{}, {"parameters": [given]}]}
    outside.http.answer(200, json.dumps({"builds": [{"number": 8, "actions": []}, found]}).encode())
    assert result.follow is not None
    assert (await look_at_build(result.follow, START, outside.world)).values["build"] == 7
    assert (await build(JOB.model_copy(update={"correlation_parameter": None}), context(outside))).follow is None


FOLLOW = Follow(
    url="${AIRFLOW_URL}/api/v2/dags/score/dagRuns/" + KEY, queued=("queued",), good=("SUCCESS",), bad=("failed",)
)
DAG = Webhook(
    url="${AIRFLOW_URL}/api/v2/dags/score/dagRuns",
    headers={"Authorization": "Bearer ${AIRFLOW_TOKEN}"},
    body={"dag_run_id": KEY, "logical_date": None},
    already=(409,),
    follow=FOLLOW,
)
RUN = Webhook(
    url="${KUBEFLOW_URL}/apis/v2beta1/runs",
    headers={"Authorization": "Bearer ${KUBEFLOW_TOKEN}"},
    body={"display_name": KEY, "pipeline_version_reference": {"pipeline_id": "churn"}},
    follow=Follow(
        id="run_id",
        url="${KUBEFLOW_URL}/apis/v2beta1/runs/{id}",
        queued=("PENDING",),
        good=("SUCCEEDED",),
        bad=("FAILED",),
    ),
)


@pytest.mark.parametrize(
    ("params", "fault", "words"),
    [
        (DAG, "", ["queued queued", "running running", "succeeded success"]),
        (DAG, "airflow run", ["queued queued", "running running", "failed failed"]),
        (RUN, "", ["queued PENDING", "running RUNNING", "succeeded SUCCEEDED"]),
        (RUN, "kubeflow run", ["queued PENDING", "running RUNNING", "failed FAILED"]),
    ],
)
async def test_what_a_webhook_started_is_followed_to_its_end(
    box: Box, world: World, params: Webhook, fault: str, words: list[str]
) -> None:
    box.sim.faults += [Fault(fault, 500)] if fault else []
    result = await call(params, of(world))
    said = []
    for _ in range(3):
        seen = await asked(look_at_call, result, world)
        said.append(f"{seen.state} {seen.values['state']}")
        box.sim.clock.advance(60)
    assert said == words
    assert seen.said.startswith("${")  # the setting, not what it holds


async def test_airflow_says_that_it_has_this_run_already(box: Box, world: World) -> None:
    first, again = await call(DAG, of(world)), await call(DAG, of(world, again=True))
    assert again.said == "${AIRFLOW_URL} answered HTTP 409: it was done by an earlier try"
    assert (first.follow, first.maybe_twice, again.maybe_twice) == (again.follow, False, False)
    assert len(box.sim.inbox.all("airflow")) == 1
    with pytest.raises(PermanentError, match="HTTP 409"):
        await call(DAG.model_copy(update={"already": ()}), of(world))


async def test_what_airflow_3_wants_is_wanted(world: World) -> None:
    with pytest.raises(PermanentError, match="HTTP 422"):
        await call(DAG.model_copy(update={"body": {"dag_run_id": KEY}}), of(world))
    older = DAG.model_copy(update={"url": "${AIRFLOW_URL}/api/v1/dags/score/dagRuns", "body": {"dag_run_id": KEY}})
    assert (await call(older, of(world))).values == {"status": 200}


async def test_an_answer_that_does_not_say_what_is_awaited_is_said_to_be_so(world: World) -> None:
    assert RUN.follow is not None
    other = RUN.model_copy(update={"follow": RUN.follow.model_copy(update={"id": "metadata.name"})})
    result = await call(other, of(world))
    assert (result.said, result.follow) == (
        "${KUBEFLOW_URL} answered HTTP 200; it can't be followed: the answer has no metadata.name",
        None,
    )
    other = RUN.model_copy(update={"follow": RUN.follow.model_copy(update={"state": "status.phase"})})
    with pytest.raises(PermanentError, match=r"says nothing under status\.phase"):
        await asked(look_at_call, await call(other, of(world)), world)


@pytest.mark.parametrize(
    "url", ["${A}", "${A}/x/{id}?y=1", "https://a.test/{{ key }}", "${A}/{{ event.model.name }}/x"]
)
def test_an_address_may_stand_behind_a_setting(url: str) -> None:
    assert Webhook(url=url).url == url


@pytest.mark.parametrize("url", ["${A}.evil.test/", "${A}@evil.test", "https://{{ event.data.host }}@evil.test/"])
def test_what_a_setting_holds_is_the_whole_of_the_host(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected an https URL|has a user"):
        Webhook(url=url)

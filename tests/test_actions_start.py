"""Starting things elsewhere: jobs, workflows, webhooks."""

import hashlib
import hmac
import json
from datetime import timedelta

import pytest

from shared.actions._place import Place
from shared.actions.dispatch import Dispatch
from shared.actions.dispatch import run as dispatch
from shared.actions.resubmit import Resubmit
from shared.actions.resubmit import run as resubmit
from shared.actions.retrain import Retrain
from shared.actions.retrain import run as retrain
from shared.actions.webhook import Webhook
from shared.actions.webhook import run as call
from shared.errors import PermanentError, TemporaryError
from shared.events import Event, Run
from tests.test_actions import EVENT, KEY, context
from tests.world import START, Outside

TRAIN = Retrain(
    source="azureml:fraud_train:3", experiment="fraud-weekly", inputs={"rate": 0.5, "fast": True}, tags={"n": 3}
)
START_FLOW = Dispatch(github="contoso/fraud", workflow="deploy.yml", inputs={"model": "fraud", "dry": True, "n": 2})
RAISE = Dispatch(github="contoso/fraud", event_type="model-ready", payload={"model": "fraud"})


async def test_retraining_carries_key_inputs_and_dot_free_cause():
    outside = Outside()
    result = await retrain(TRAIN, context(outside))
    job = outside.platform.submitted[KEY]
    assert job.inputs == {"rate": 0.5, "fast": True}
    assert job.tags["n"] == "3"
    assert job.tags["switchyard_rule"] == "fraud-drift"
    assert not [name for name in job.tags if "." in name]
    assert outside.platform.places[0].workspace == "prod"
    assert result.said == f"submitted job {KEY} in workspace prod"
    assert result.link == f"https://ml.azure.com/runs/{KEY}"
    assert (
        await retrain(TRAIN, context(outside))
    ).said == f"job {KEY} in workspace prod was submitted by an earlier try"


async def test_retraining_can_run_elsewhere():
    outside = Outside()
    place = Place(subscription="s2", resource_group="g2", workspace="train")
    nowhere = Event("1", "Contoso.Ready", START, "/contoso")
    await retrain(TRAIN.model_copy(update={"workspace": place}), context(outside, event=nowhere))
    assert outside.platform.places[0].subscription == "s2"
    with pytest.raises(PermanentError, match="names no Azure ML workspace"):
        await retrain(TRAIN, context(outside, event=nowhere))


def failed(run: str, root: str | None = None) -> Event:
    tags: dict[str, object] = {"switchyard_resubmits": root} if root else {}
    return Event(
        *(f"e-{run}", "RunStatusChanged", START, EVENT.source),
        workspace="prod",
        resource_group="g1",
        subscription="s1",
        tags=tags,
        run=Run(run, status="Failed"),
    )


async def test_resubmissions_of_resubmissions_count_together():
    outside, params = Outside(), Resubmit(limit=2)
    first = await resubmit(params, context(outside, event=failed("train"), key="k1"))
    assert first.said == "run train was resubmitted as k1"
    run, tags = outside.platform.resubmitted["k1"]
    assert (run, tags["switchyard_resubmits"]) == ("train", "train")
    # The same try once more takes nothing from the limit.
    assert "earlier try" in (await resubmit(params, context(outside, event=failed("train"), key="k1"))).said
    await resubmit(params, context(outside, event=failed("k1", "train"), key="k2"))
    with pytest.raises(PermanentError, match="run train was resubmitted 2 times already"):
        await resubmit(params, context(outside, event=failed("k2", "train"), key="k3"))
    assert list(outside.platform.resubmitted) == ["k1", "k2"]
    assert (await resubmit(params, context(outside, event=failed("other"), key="k4"))).values["root"] == "other"


async def test_without_a_run_there_is_nothing_to_resubmit():
    with pytest.raises(PermanentError, match="BlobCreated event has no run"):
        await resubmit(Resubmit(), context(Outside(), event=Event("1", "BlobCreated", START, "/x")))


async def test_a_workflow_is_started_and_its_run_is_known():
    outside = Outside()
    outside.http.answer(200, b'{"workflow_run_id": 42, "html_url": "https://github.test/runs/42"}')
    result = await dispatch(START_FLOW, context(outside))
    sent = outside.http.sent[0]
    assert sent.url == "https://api.github.test/repos/contoso/fraud/actions/workflows/deploy.yml/dispatches"
    assert json.loads(sent.body) == {
        "ref": "main",
        "inputs": {"model": "fraud", "dry": "true", "n": "2"},
        "return_run_details": True,
    }
    assert sent.headers["X-GitHub-Api-Version"] == "2022-11-28"
    assert sent.headers["Authorization"] == f"Bearer {outside.github.secret}"
    assert (result.said, result.link) == ("started deploy.yml in contoso/fraud on main", "https://github.test/runs/42")
    assert result.values == {"run": 42}


async def test_a_run_that_an_earlier_try_started_is_found_again():
    outside = Outside()
    found = {"id": 42, "html_url": "https://github.test/runs/42", "display_title": f"Deploy {KEY}"}
    outside.http.answer(200, json.dumps({"workflow_runs": [{"id": 1, "name": "Deploy"}, found]}).encode())
    params = START_FLOW.model_copy(update={"correlation_input": "correlation"})
    result = await dispatch(params, context(outside, again=True))
    assert result.said == "deploy.yml in contoso/fraud was started by an earlier try"
    assert result.link == "https://github.test/runs/42"
    assert [sent.method for sent in outside.http.sent] == ["GET"]
    assert "created=%3E%3D2026-11-20T08%3A30%3A00Z" in outside.http.sent[0].url
    assert result.maybe_twice is False


async def test_where_earlier_tries_started_two_runs_the_record_says_so():
    outside = Outside()
    found = [{"id": number, "display_title": f"Deploy {KEY}"} for number in (43, 42)]
    outside.http.answer(200, json.dumps({"workflow_runs": found}).encode())
    result = await dispatch(START_FLOW, context(outside, again=True))
    assert result.said == "deploy.yml in contoso/fraud was started by an earlier try 2 times"
    assert result.maybe_twice is True


async def test_a_run_that_can_t_be_found_again_may_be_started_twice():
    outside = Outside()
    outside.http.answer(200, b'{"workflow_runs": []}')
    outside.http.answer(204)
    result = await dispatch(START_FLOW, context(outside, again=True))
    assert result.said == "started deploy.yml in contoso/fraud on main; may have been sent twice"


@pytest.mark.parametrize(
    ("payload", "keys"),
    [
        ({}, {"switchyard"}),
        ({f"k{n}": n for n in range(9)}, {"switchyard", *(f"k{n}" for n in range(9))}),
        ({f"k{n}": n for n in range(10)}, {"switchyard", "payload"}),
        ({"switchyard": "mine"}, {"switchyard", "payload"}),
    ],
)
async def test_a_repository_dispatch_stays_within_ten_keys(payload: dict[str, object], keys: set[str]):
    outside = Outside()
    await dispatch(RAISE.model_copy(update={"payload": payload}), context(outside))
    body = json.loads(outside.http.sent[0].body)
    assert body["event_type"] == "model-ready"
    assert set(body["client_payload"]) == keys
    assert body["client_payload"]["switchyard"]["key"] == KEY


async def test_a_repository_dispatch_is_found_again_by_a_run_name_that_shows_our_key():
    outside = Outside()
    found = [{"id": number, "display_title": f"{name} {KEY}"} for number, name in ((43, "train"), (42, "deploy"))]
    outside.http.answer(200, json.dumps({"workflow_runs": found}).encode())
    result = await dispatch(RAISE, context(outside, again=True))
    assert (result.said, result.maybe_twice) == ("model-ready in contoso/fraud was raised by an earlier try", False)
    outside.http.answer(200, b'{"workflow_runs": [{"id": 1, "display_title": "deploy"}]}')
    assert (await dispatch(RAISE, context(outside, again=True))).said.endswith("may have been sent twice")


async def test_more_than_github_takes_is_not_even_sent():
    outside = Outside()
    with pytest.raises(PermanentError, match=r"client_payload has 7\d,\d+ characters, GitHub takes 65,535"):
        await dispatch(RAISE.model_copy(update={"payload": {"x": "y" * 70_000}}), context(outside))
    assert outside.http.sent == []


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"retry_after": "60"}, b"{}"),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": str(int(START.timestamp()) + 60)}, b"{}"),
        ({}, b'{"message": "You have exceeded a secondary rate limit."}'),
    ],
)
async def test_a_rate_limit_of_github_means_later(headers: dict[str, str], body: bytes):
    outside = Outside()
    outside.http.answer(403, body, **headers)
    with pytest.raises(TemporaryError) as caught:
        await dispatch(RAISE, context(outside))
    assert caught.value.retry_after == (60 if headers else None)


async def test_github_s_own_reason_is_passed_on():
    outside = Outside()
    outside.http.answer(422, b'{"message": "Workflow does not have \'workflow_dispatch\' trigger"}')
    with pytest.raises(
        PermanentError, match=r"GitHub \(contoso/fraud, deploy.yml\) answered HTTP 422: Workflow does not"
    ):
        await dispatch(START_FLOW, context(outside))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"github": "contoso/fraud"}, "give either"),
        ({"github": "contoso/fraud", "workflow": "a", "event_type": "b"}, "give either"),
        ({"github": "contoso/fraud", "workflow": "a", "payload": {}}, "payload does not go with `workflow`"),
        ({"github": "contoso/fraud", "event_type": "b", "inputs": {}}, "inputs does not go with `event_type`"),
        ({"github": "contoso/../x", "workflow": "a"}, "pattern"),
        ({"github": "contoso/fraud", "workflow": "a", "inputs": {str(n): n for n in range(26)}}, "at most 25"),
    ],
)
def test_a_dispatch_is_one_of_two_kinds(values: dict[str, object], words: str):
    with pytest.raises(ValueError, match=words):
        Dispatch.model_validate(values)


async def test_a_signature_is_what_the_document_tells_receivers_to_check():
    outside = Outside()
    params = Webhook(url="${HOOK}", body={"text": "ドリフト"}, sign="${HOOK_SECRET}")
    await call(params, context(outside))
    outside.clock.now += timedelta(minutes=1)
    await call(params, context(outside))
    for sent in outside.http.sent:
        stamp, _, digest = sent.headers["X-Switchyard-Signature"].removeprefix("t=").partition(",v1=")
        signed = f"{stamp}.".encode() + sent.body
        assert digest == hmac.new(b"marker-value-of-HOOK_SECRET", signed, hashlib.sha256).hexdigest()
        assert sent.headers["X-Switchyard-Key"] == sent.headers["Idempotency-Key"] == KEY
    assert json.loads(outside.http.sent[0].body) == {"text": "ドリフト"}


async def test_without_a_body_a_webhook_gets_the_event_as_rules_see_it():
    outside = Outside()
    result = await call(Webhook(url="https://airflow.contoso.com/api"), context(outside))
    body = json.loads(outside.http.sent[0].body)
    assert body["event"]["drift"]["monitor"] == "transactions"
    assert body["cause"]["switchyard_rule"] == "fraud-drift"
    assert result.said == "airflow.contoso.com answered HTTP 202"


async def test_a_webhook_s_headers_may_hold_settings():
    outside = Outside()
    await call(Webhook(url="https://a.test", headers={"Authorization": "Bearer ${A_TOKEN}"}), context(outside))
    assert outside.http.sent[0].headers["Authorization"] == "Bearer marker-value-of-A_TOKEN"
    outside.secret.values["A_TOKEN"] = "broken\nvalue"
    with pytest.raises(PermanentError, match="header 'Authorization' has characters") as caught:
        await call(Webhook(url="https://a.test", headers={"Authorization": "Bearer ${A_TOKEN}"}), context(outside))
    assert "broken" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://airflow.contoso.com", "is not https"),
        ("https://me:pw@airflow.contoso.com", "has a user or a password"),
        ("airflow", "expected an https URL"),
        ("ftp://x", "is not https"),
    ],
)
async def test_an_unsafe_address_is_refused_also_when_a_setting_holds_it(url: str, words: str):
    with pytest.raises(ValueError, match=words):
        Webhook(url=url)
    outside = Outside()
    outside.secret.values["HOOK"] = url
    with pytest.raises(PermanentError, match=words) as caught:
        await call(Webhook(url="${HOOK}"), context(outside))
    assert url not in str(caught.value)


@pytest.mark.parametrize("name", ["X-Switchyard-Key", "idempotency-key", "Bad Name", "Host"])
def test_our_own_headers_can_t_be_set(name: str):
    with pytest.raises(ValueError, match="can't be set"):
        Webhook(url="https://a.test", headers={name: "x"})

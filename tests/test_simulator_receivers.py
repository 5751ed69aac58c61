"""The receiving side of the simulated Azure: what it takes, what it refuses, and what people see of it."""

import re
import smtplib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
import trustme
import uvicorn
from azure.communication.email import EmailClient
from azure.communication.sms import SmsClient
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from simulator import communication, github, inbox, smtp, teams, webhooks
from simulator.state import Clock, Fault, Inbox, Received, Simulated

START = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
BEARER = {"Authorization": "Bearer token"}
NUMBER = "+818012345678"
UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
FIRST_SENT = "Fri, 20 Nov 2026 08:30:00 GMT"


class Door:
    """One TLS server for all tests; each test hangs its own app behind it."""

    app: ASGIApp
    port: int
    ca: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder: Path = tmp_path_factory.mktemp("tls")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    door = Door()
    door.ca = str(folder / "ca.pem")
    config = uvicorn.Config(door, log_level="critical", lifespan="off", ws="none", ssl_certfile=folder / "server.pem")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        door.port = listening.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield door
        server.should_exit = True
        thread.join()


@dataclass
class World:
    """The simulated world, and a person or program that calls it."""

    sim: Simulated
    session: requests.Session

    def call(self, method: str, path: str, **more: Any) -> requests.Response:
        return self.session.request(method, f"{self.sim.base}{path}", timeout=10, **more)

    def post(self, path: str, **more: Any) -> requests.Response:
        return self.call("POST", path, **more)

    def card(self, card: object, workflow: str = "fraud-team") -> Received:
        message = {"type": "message", "attachments": [{"contentType": teams.CARD, "content": card}]}
        assert self.post(f"/workflows/{workflow}/triggers/manual/paths/invoke?sig=s", json=message).status_code == 202
        return self.sim.inbox.all("teams")[-1]


@pytest.fixture
def world(door: Door) -> Iterator[World]:
    base = f"https://localhost:{door.port}"
    clock = Clock(rate=0, start=START)
    sim = Simulated(base, base, clock, Inbox(clock.now))
    parts = (teams, communication, github, webhooks, inbox)
    door.app = Starlette(routes=[route for part in parts for route in part.routes(sim)])
    with requests.Session() as session:
        session.verify, session.trust_env = door.ca, False
        yield World(sim, session)


class Credential:
    def get_token(self, *_scopes: str, **_: object) -> AccessToken:
        return AccessToken("token", 4_000_000_000)


# Teams


def card(*body: object, version: str = "1.4", **more: object) -> dict[str, object]:
    return {"type": "AdaptiveCard", "version": version, "body": list(body), **more}


def words(text: str = "hello", **more: object) -> dict[str, object]:
    return {"type": "TextBlock", "text": text, **more}


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        (card(words()), None),
        (card(words(), version="1.2"), None),
        (card({"type": "FactSet", "facts": [{"title": "a", "value": "b"}]}), None),
        (card({"type": "ColumnSet", "columns": [{"width": "auto", "items": [words()]}]}), None),
        (card({"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": "a"}, "b"]}), None),
        (card(words(), actions=[{"type": "Action.OpenUrl", "title": "go", "url": "https://a.example"}]), None),
        (card(words("x" * 28_000)), None),
        (card(words("x" * 29_000)), "a flow can post 28,672"),
        (card(words("あ" * 10_000)), "a flow can post 28,672"),  # bytes count, not letters
        (card(words(), version="1.5"), "version 1.5 of Adaptive Cards does not show through a flow; 1.4 does"),
        (card(words(), version="new"), "expected 1.4 or older"),
        ({"type": "AdaptiveCard", "body": []}, "version is None"),
        ({"type": "message", "version": "1.4", "body": []}, "not AdaptiveCard"),
        (card({"type": "Table", "rows": []}), "Table came with Adaptive Cards 1.5"),
        (card({"type": "Container", "items": [{"type": "Badge"}]}), "unknown element type 'Badge'"),
        (card({"type": "TextBlock"}), "TextBlock without 'text'"),
        (card(words(), actions=[{"type": "Action.Submit", "title": "yes"}]), "Action.Submit needs a bot"),
        (card({"type": "ActionSet", "actions": [{"type": "Action.Execute"}]}), "Action.Execute needs a bot"),
        (card(actions=[{"type": "Action.ShowCard", "card": card({"type": "Chart.Pie"})}]), "unknown element type"),
    ],
)
def test_what_fails_inside_the_flow_is_answered_202_and_told_in_the_inbox(world, sent, problem):
    received = world.card(sent)
    assert (received.problem is None) if problem is None else (problem in (received.problem or ""))


@pytest.mark.parametrize("message", [{"type": "message"}, {"attachments": []}, {"text": "hello"}])
def test_a_message_without_attachments_fails_in_the_loop_of_the_flow(world, message):
    assert world.post("/workflows/a/triggers/manual/paths/invoke?sig=s", json=message).status_code == 202
    assert "no attachments" in (world.sim.inbox.all()[-1].problem or "")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/powerautomate/automations/direct/workflows/a/triggers/manual/paths/invoke?api-version=1&sig=s", "{}", 202),
        ("/workflows/a/triggers/manual/paths/invoke?sig=s", "{}", 202),
        ("/workflows/a/triggers/manual/paths/invoke", "{}", 401),
        ("/workflows/a/triggers/manual/paths/invoke?sig=wrong", "{}", 401),
        ("/workflows/a/triggers/manual/paths/invoke?sig=s", "not json", 400),
    ],
)
def test_a_flow_is_open_to_whoever_has_its_signature(world, path, body, status):
    answer = world.post(path, data=body)
    assert answer.status_code == status
    assert len(world.sim.inbox.all()) == (status == 202)
    assert status == 202 or answer.json()["error"]["code"]


def test_a_card_is_known_by_its_channel_its_first_words_and_the_callers_id(world):
    message = {"attachments": [{"contentType": teams.CARD, "content": card(words("**Run** done"), words("more"))}]}
    headers = {"x-ms-client-tracking-id": "event-rule-1"}
    world.post("/workflows/fraud-team/triggers/manual/paths/invoke?sig=s", json=message, headers=headers)
    received = world.sim.inbox.all("teams")[0]
    assert (received.to, received.title, received.key) == ("Fraud team", "Run done", "event-rule-1")
    assert received.at == START


# Faults, the same for every receiver


@pytest.mark.parametrize(
    ("where", "path"),
    [
        ("teams", "/workflows/a/triggers/manual/paths/invoke?sig=s"),
        ("sms", "/sms?api-version=2021-03-07"),
        ("email", "/emails:send?api-version=2025-09-01"),
        ("github", "/repos/o/r/dispatches"),
        ("webhook", "/hooks/a"),
    ],
)
def test_a_fault_is_taken_once(world, where, path):
    body = {
        "from": "12345",
        "message": "m",
        "smsRecipients": [{"to": NUMBER}],
        "event_type": "e",
        **mail(),
    }
    world.sim.faults += [Fault(where, 429, retry_after=7), Fault(where, "drop"), Fault(where, "lost answer")]
    busy = world.post(path, json=body, headers=BEARER)
    assert (busy.status_code, busy.headers["Retry-After"]) == (429, "7")
    with pytest.raises(requests.ConnectionError):
        world.post(path, json=body, headers=BEARER)
    assert world.sim.inbox.all() == []  # dropped before anything happened
    with pytest.raises(requests.ConnectionError):
        world.post(path, json=body, headers=BEARER)
    assert len(world.sim.inbox.all()) == 1  # it happened; the answer got lost
    assert world.post(path, json=body, headers=BEARER).ok


def test_a_fault_may_mean_one_request_and_hold_its_answer_back_until_it_is_taken_back(world):
    world.sim.faults.append(Fault("github", "hang", method="POST", path="/contoso/fraud/"))
    raised = {"json": {"event_type": "e"}, "headers": BEARER}
    assert world.post("/repos/contoso/other/dispatches", **raised).ok
    assert world.call("GET", "/repos/contoso/fraud/actions/runs", headers=BEARER).ok
    with ThreadPoolExecutor(1) as threads:
        held = threads.submit(world.post, "/repos/contoso/fraud/dispatches", **raised)
        deadline = time.monotonic() + 10
        while len(world.sim.inbox.all("github")) < 2:
            assert time.monotonic() < deadline, "it did not happen"
        assert not held.done()
        world.sim.faults.clear()
        with pytest.raises(requests.ConnectionError):
            held.result(10)


# SMS


def sms(*recipients: object, **more: object) -> dict[str, object]:
    return {"from": "+15550100200", "message": "drift", "smsRecipients": list(recipients), **more}


def text(world: World, *recipients: object) -> list[dict[str, Any]]:
    answer = world.post("/sms?api-version=2021-03-07", json=sms(*recipients), headers=BEARER)
    assert answer.status_code == 202
    items: list[dict[str, Any]] = answer.json()["value"]
    return items


def test_the_sms_client_gets_a_result_for_each_number(world, door):
    client: Any = SmsClient(world.sim.base, Credential(), connection_verify=door.ca)  # its type comments are wrong
    results = client.send("+15550100200", [NUMBER, "08012345678", "+815550429"], "drift 0.42")
    assert [(result.http_status_code, result.successful) for result in results] == [
        (202, True),
        (400, False),
        (429, False),
    ]
    assert [(one.to, bool(one.problem)) for one in world.sim.inbox.all("sms")] == [
        (NUMBER, False),
        ("08012345678", True),
    ]


def test_an_sms_sent_again_under_its_id_is_one_sms_with_one_result(world):
    recipient = {"to": NUMBER, "repeatabilityRequestId": UUID, "repeatabilityFirstSent": FIRST_SENT}
    first, again = text(world, recipient), text(world, recipient)
    assert first == again
    assert first[0]["repeatabilityResult"] == "accepted"
    assert [one.key for one in world.sim.inbox.all("sms")] == [UUID]


def test_without_an_id_an_sms_sent_again_is_a_second_sms(world):
    assert text(world, {"to": NUMBER}) != text(world, {"to": NUMBER})
    assert len(world.sim.inbox.all("sms")) == 2


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"repeatabilityRequestId": UUID}, "go together"),
        ({"repeatabilityFirstSent": FIRST_SENT}, "go together"),
        ({"repeatabilityRequestId": "event-rule-1", "repeatabilityFirstSent": FIRST_SENT}, "not a UUID"),
        ({"repeatabilityRequestId": UUID, "repeatabilityFirstSent": "2026-11-20T08:30:00Z"}, "not a date"),
    ],
)
def test_half_a_repeatability_id_is_refused_for_that_recipient(world, fields, says):
    bad, good = text(world, {"to": NUMBER, **fields}, {"to": NUMBER})
    assert (bad["httpStatusCode"], bad["repeatabilityResult"]) == (400, "rejected")
    assert says in bad["errorMessage"]
    assert good["successful"]


@pytest.mark.parametrize(
    ("body", "headers", "version", "status"),
    [
        (sms({"to": NUMBER}), {}, "2021-03-07", 401),
        (sms({"to": NUMBER}), BEARER, "2020-01-01", 400),
        (sms(), BEARER, "2021-03-07", 400),
        (sms(*[{"to": NUMBER}] * 101), BEARER, "2021-03-07", 400),
        (sms({"to": NUMBER}, message="x" * 2049), BEARER, "2021-03-07", 400),
        (sms({"to": NUMBER}, **{"from": "not a number!"}), BEARER, "2021-03-07", 400),
        ([], BEARER, "2021-03-07", 400),
    ],
)
def test_an_sms_request_that_azure_would_refuse_is_refused(world, body, headers, version, status):
    assert world.post(f"/sms?api-version={version}", json=body, headers=headers).status_code == status
    assert world.sim.inbox.all() == []


# Mail


def mail(**changes: object) -> dict[str, Any]:
    return {
        "senderAddress": "mlops@contoso.com",
        "recipients": {"to": [{"address": "fraud-team@contoso.com"}]},
        "content": {"subject": "Run done", "plainText": "AUC 0.93", "html": "<b>AUC 0.93</b>"},
    } | changes


def test_the_email_client_sends_once_under_one_operation_id(world, door):
    client = EmailClient(world.sim.base, Credential(), connection_verify=door.ca)
    for _ in range(2):
        result = client.begin_send(mail(), operation_id=UUID, polling_interval=0).result()
        assert (result["id"], result["status"]) == (UUID, "Succeeded")
    (received,) = world.sim.inbox.all("email")
    assert (received.to, received.title, received.key) == ("fraud-team@contoso.com", "Run done", UUID)


def test_the_email_client_hears_how_long_to_wait(world, door):
    world.sim.faults.append(Fault("email", 429, retry_after=1800))
    client = EmailClient(world.sim.base, Credential(), connection_verify=door.ca, retry_total=0)
    with pytest.raises(HttpResponseError) as error:
        client.begin_send(mail(), polling=False)
    assert (error.value.status_code, error.value.response.headers["Retry-After"]) == (429, "1800")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("body", "headers", "says"),
    [
        (mail(), {}, "Denied"),
        (mail(), BEARER | {"Operation-Id": "event-rule-1"}, "not a UUID"),
        (mail(senderAddress="mlops"), BEARER, "senderAddress"),
        (mail(recipients={}), BEARER, "recipients.to is empty"),
        (mail(recipients={"to": [{"address": f"a{n}@b.co"} for n in range(51)]}), BEARER, "at most 50"),
        (mail(recipients={"to": [{"address": "nobody"}]}), BEARER, "'nobody'"),
        (mail(content={"plainText": "a"}), BEARER, "content.subject"),
        (mail(content={"subject": "a"}), BEARER, "neither plainText nor html"),
        ([], BEARER, "senderAddress"),
    ],
)
def test_a_mail_that_azure_would_refuse_is_refused_with_the_reason(world, body, headers, says):
    answer = world.post("/emails:send?api-version=2025-09-01", json=body, headers=headers)
    assert answer.status_code in {400, 401}
    assert says in answer.text
    assert all(one.problem for one in world.sim.inbox.all())


def test_an_unknown_mail_operation_is_not_found(world):
    path = f"/emails/operations/{UUID}?api-version=2025-09-01"
    assert world.call("GET", path, headers=BEARER).status_code == 404


def letter() -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"] = "mlops@contoso.com", "fraud-team@contoso.com"
    message["Subject"], message["Message-ID"] = "ドリフト検知", "<event-rule-1@switchyard>"
    message.set_content("係数 0.42")
    message.add_alternative("<b>係数 0.42</b>", subtype="html")
    return message


def test_a_mail_by_smtp_arrives_with_both_its_bodies(world):
    server = smtp.start(world.sim)
    try:
        world.sim.faults.append(Fault("smtp", 451))
        with smtplib.SMTP("127.0.0.1", server.port, timeout=10) as client:
            client.login("any", "password")
            with pytest.raises(smtplib.SMTPDataError, match="451"):
                client.send_message(letter())
            assert world.sim.inbox.all() == []
            client.send_message(letter())
    finally:
        server.stop()
    (received,) = world.sim.inbox.all("email")
    assert (received.to, received.title) == ("fraud-team@contoso.com", "ドリフト検知")
    assert received.key == "event-rule-1@switchyard"
    assert isinstance(received.payload, dict)
    assert (received.payload["text"].strip(), received.payload["html"].strip()) == ("係数 0.42", "<b>係数 0.42</b>")


# GitHub


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"event_type": "model-registered"}, 204),
        ({"event_type": "e" * 100, "client_payload": {str(n): n for n in range(10)}}, 204),
        ({"event_type": "e", "client_payload": {str(n): n for n in range(11)}}, 422),
        ({"event_type": "e" * 101}, 422),
        ({"event_type": "e", "client_payload": {"text": "x" * 65_535}}, 422),
        ({"event_type": "e", "client_payload": [1]}, 422),
        ({"client_payload": {}}, 422),
    ],
)
def test_a_repository_dispatch_within_githubs_limits_goes(world, body, status):
    answer = world.post("/repos/contoso/fraud/dispatches", json=body, headers=BEARER)
    assert answer.status_code == status
    (received,) = world.sim.inbox.all("github")
    assert (received.problem is None) == (status == 204)


@pytest.mark.parametrize(
    ("workflow", "body", "status"),
    [
        ("deploy.yml", {"ref": "main"}, 204),
        ("12345", {"ref": "main", "inputs": {str(n): "v" for n in range(25)}}, 204),
        ("deploy.yml", {"ref": "main", "return_run_details": True}, 200),
        ("deploy.yml", {"ref": "main", "inputs": {str(n): "v" for n in range(26)}}, 422),
        ("deploy.yml", {"ref": "main", "inputs": {"text": "x" * 65_535}}, 422),
        ("deploy.yml", {"inputs": {}}, 422),
        ("deploy.yml", {"ref": "0" * 40}, 422),  # a commit is no ref
        ("missing.yml", {"ref": "main"}, 404),
        ("deploy", {"ref": "main"}, 404),
    ],
)
def test_a_workflow_dispatch_within_githubs_limits_goes(world, workflow, body, status):
    path = f"/repos/contoso/fraud/actions/workflows/{workflow}/dispatches"
    assert world.post(path, json=body, headers=BEARER).status_code == status


def test_a_started_run_can_be_followed_to_its_end_and_found_again_by_its_name(world):
    path = "/repos/contoso/fraud/actions/workflows/deploy.yml"
    body = {"ref": "main", "inputs": {"correlation": "event-rule-1"}, "return_run_details": True}
    started = world.post(f"{path}/dispatches", json=body, headers=BEARER).json()
    seen = []
    for seconds in (0, 30, 300):
        world.sim.clock.advance(seconds)
        run = world.session.get(started["run_url"], headers=BEARER, timeout=10).json()
        seen.append((run["status"], run["conclusion"]))
    assert seen == [("queued", None), ("in_progress", None), ("completed", "success")]
    query = "event=workflow_dispatch&created=>=2026-11-20T08:30:00Z&per_page=100"
    listed = world.call("GET", f"{path}/runs?{query}", headers=BEARER).json()["workflow_runs"]
    assert [run["id"] for run in listed if "event-rule-1" in run["display_title"]] == [started["workflow_run_id"]]
    for nothing in ("event=push", "created=>=2026-11-20T09:00:00Z", "status=queued", "branch=dev"):
        found = world.call("GET", f"/repos/contoso/fraud/actions/runs?{nothing}", headers=BEARER).json()
        assert found == {"total_count": 0, "workflow_runs": []}


def test_a_run_can_be_made_to_fail(world):
    world.sim.faults.append(Fault("github run", 500))
    world.post("/repos/contoso/fraud/dispatches", json={"event_type": "e"}, headers=BEARER)
    world.sim.clock.advance(600)
    (run,) = world.call("GET", "/repos/contoso/fraud/actions/runs", headers=BEARER).json()["workflow_runs"]
    assert (run["event"], run["conclusion"]) == ("repository_dispatch", "failure")


def test_the_secondary_limit_of_github_is_a_403_that_says_how_long(world):
    world.sim.faults.append(Fault("github", 403, retry_after=60))
    answer = world.post("/repos/contoso/fraud/dispatches", json={"event_type": "e"}, headers=BEARER)
    assert (answer.status_code, answer.headers["Retry-After"]) == (403, "60")
    assert "secondary rate limit" in answer.json()["message"]


KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NOW = int(START.timestamp())


def app_token(key: Any = KEY, algorithm: str = "RS256", **changes: object) -> str:
    claims = {"iat": NOW - 60, "exp": NOW + 600, "iss": "12345"} | changes
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, algorithm)


def test_a_github_app_gets_a_token_that_may_dispatch(world):
    headers = {"Authorization": f"Bearer {app_token()}"}
    installed = world.call("GET", "/repos/contoso/fraud/installation", headers=headers).json()
    answer = world.post(f"/app/installations/{installed['id']}/access_tokens", headers=headers)
    assert answer.status_code == 201
    assert answer.json()["expires_at"] == "2026-11-20T09:30:00Z"
    token = {"Authorization": f"Bearer {answer.json()['token']}"}
    assert world.post("/repos/contoso/fraud/dispatches", json={"event_type": "e"}, headers=token).status_code == 204


@pytest.mark.parametrize(
    "token",
    [
        lambda: "",
        lambda: "not a token",
        lambda: app_token("s" * 32, "HS256"),
        lambda: app_token(exp=NOW + 3600),
        lambda: app_token(iss=None),
        lambda: app_token(exp=None),
    ],
)
def test_a_github_app_that_signs_wrongly_gets_no_token(world, token: Callable[[], str]):
    headers = {"Authorization": f"Bearer {token()}"}
    assert world.call("GET", "/repos/contoso/fraud/installation", headers=headers).status_code == 401
    assert world.post("/app/installations/1/access_tokens", headers=headers).status_code == 401


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer ghs_made_up"}])
def test_github_dispatches_for_nobody_it_does_not_know(world, headers):
    assert world.post("/repos/o/r/dispatches", json={"event_type": "e"}, headers=headers).status_code == 401
    assert world.sim.inbox.all() == []


# Webhooks


def test_a_webhook_is_kept_as_it_came_with_its_signature_and_without_secrets(world):
    raw = '{"b": 1,  "a": "あ"}'
    headers = {"X-Switchyard-Signature": "t=1,v1=ab", "Idempotency-Key": "event-rule-1", "Authorization": "Bearer s"}
    assert world.post("/hooks/airflow/dags", data=raw.encode(), headers=headers).ok
    (received,) = world.sim.inbox.all("webhook")
    assert (received.to, received.key) == ("airflow/dags", "event-rule-1")
    assert isinstance(received.payload, dict)
    assert received.payload["text"] == raw
    assert received.payload["body"] == {"b": 1, "a": "あ"}
    assert received.payload["signature"] == "t=1,v1=ab"
    assert received.payload["headers"]["authorization"] == "…"


# The inbox, for people


def page(world: World, path: str = "/inbox", **headers: str) -> str:
    answer = world.call("GET", path, headers={"Accept-Language": "en", **headers})
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    return answer.text


def test_a_card_is_drawn_as_teams_would(world):
    sent = card(
        words("**AUC** is *good*, see [the run](https://ml.example/a_b_c) <at>Aiko</at>", size="Large", color="Good"),
        {"type": "Container", "style": "attention", "items": [words("- one\n- two\n\nthree\nfour snake_case_name")]},
        {"type": "ColumnSet", "columns": [{"width": "auto"}, {"width": 2}, {"width": "50px"}, {"width": "1}*{"}]},
        words("seen later", id="more", isVisible=False),
        actions=[
            {"type": "Action.OpenUrl", "title": "Open", "url": "https://ml.example/?a=1&b=2"},
            {"type": "Action.ToggleVisibility", "title": "More", "targetElements": [{"elementId": "more"}]},
            {"type": "Action.ShowCard", "title": "Why", "card": card(words("because"))},
        ],
    )
    received = world.card(sent)
    shown = page(world, f"/inbox/{received.n}")
    for html in (
        '<strong>AUC</strong> is <em>good</em>, see <a href="https://ml.example/a_b_c" rel="noreferrer">the run</a>',
        '<span class="at">Aiko</span>',
        "s-large",
        "c-good",
        "st-attention",
        "• one<br>• two<br>three\nfour snake_case_name",
        'style="flex: 0 1 auto"',
        'style="flex: 2 2 0"',
        'style="flex: 0 0 50px"',
        'style="flex: 1 1 0"',
        'href="https://ml.example/?a=1&amp;b=2"',
        f'for="v{received.n}-1-more"',
        "because",
    ):
        assert html in shown


def test_nothing_of_a_card_or_mail_is_markup_of_the_page(world):
    evil = '"><script>alert(1)</script>'
    world.card(
        card(
            words(evil, id=evil, color=evil),
            words('[a](javascript:alert(1)) [b](https://x.example/"onclick=) \\<script> \\*\\*plain\\*\\*'),
            {"type": "Image", "url": "javascript:alert(1)", "altText": evil},
            {"type": evil},
            actions=[{"type": "Action.OpenUrl", "title": evil, "url": "javascript:alert(1)"}],
        ),
        workflow="%22%3E%3Cscript%3E",
    )
    content = {"subject": evil, "html": evil, "plainText": evil}
    world.post("/emails:send?api-version=2025-09-01", json=mail(content=content), headers=BEARER)
    world.post("/hooks/a", json={evil: evil}, headers={"Idempotency-Key": evil})
    shown = page(world)
    assert "<script" not in shown
    assert 'href="javascript' not in shown
    assert 'src="javascript' not in shown
    assert "**plain**" in shown
    (frame,) = re.findall(r"<iframe ([^>]+)>", shown)
    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in frame  # no script, no form, no origin
    assert 'srcdoc="&#34;&gt;&lt;script&gt;' in frame


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=8) | st.just("<script>") | st.just("Extra\ue000"),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from(["items", "text", "type"]), inside),
    max_leaves=5,
)
TYPES = ["TextBlock", "RichTextBlock", "FactSet", "Container", "ColumnSet", "Image", "ImageSet", "ActionSet"]
NAMES = ["text", "items", "columns", "inlines", "facts", "url", "images", "actions", "width", "size", "style", "id"]
CARDS = st.recursive(
    JUNK,
    lambda inside: st.builds(
        lambda kind, rest: {**rest, "type": kind},
        st.sampled_from([*TYPES, "Action.OpenUrl", "Action.ShowCard", "Action.ToggleVisibility"]),
        st.dictionaries(st.sampled_from([*NAMES, "card", "targetElements", "title"]), inside | st.lists(inside)),
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.lists(CARDS, max_size=3), actions=CARDS | st.lists(CARDS, max_size=3))
def test_whatever_is_sent_as_a_card_the_inbox_can_be_read(world, body, actions):
    received = world.card(card(*body, actions=actions, msteams=body))
    assert "<script" not in page(world, f"/inbox/{received.n}")


@pytest.mark.parametrize(
    "sent", [card({"type": "Table", "rows": []}, version="1.5"), card(words("x" * 29_000)), card({"type": "Badge"})]
)
def test_a_card_that_teams_would_drop_says_so_in_red(world, sent):
    received = world.card(sent)
    shown = page(world)
    assert 'class="problem"' in shown
    assert "Teams answers 202, then does not show this" in shown
    assert (received.problem or "").split(";")[0].replace("'", "&#39;") in shown


def test_the_inbox_shows_the_newest_first_and_one_channel_where_asked(world):
    for n in range(60):
        world.sim.inbox.add("job", "prod", f"job-{n}", {"tags": {"rule": "drift"}}, key=f"key-{n}")
    world.card(card(words("only this")))
    shown = page(world)
    assert shown.index("only this") < shown.index("job-59") < shown.index("job-58")
    assert "job-0<" not in shown
    assert 'href="/inbox?before=12"' in shown
    assert "job-0<" in page(world, "/inbox?before=12")
    only = page(world, "/inbox?channel=teams")
    assert "only this" in only
    assert "job-59" not in only


def test_each_channel_looks_like_itself(world):
    text(world, {"to": NUMBER}, {"to": "080"})
    world.post("/emails:send?api-version=2025-09-01", json=mail(), headers=BEARER)
    world.post(
        "/repos/contoso/fraud/dispatches", json={"event_type": "e", "client_payload": {"a": {"b": 1}}}, headers=BEARER
    )
    shown = page(world)
    assert '<p class="bubble">drift</p>' in shown
    assert "Refused" in shown
    assert 'srcdoc="&lt;b&gt;AUC 0.93&lt;/b&gt;"' in shown
    assert '<th scope="row">client_payload.a.b</th><td>1</td>' in shown


@pytest.mark.parametrize(
    ("path", "accepts", "says"),
    [
        ("/inbox", "ja,en;q=0.8", "まだ何も届いていません"),
        ("/inbox", "de,en;q=0.8", "Nothing has arrived yet"),
        ("/inbox", "fr", "Nothing has arrived yet"),
        ("/inbox?lang=ja", "en", "まだ何も届いていません"),
        ("/inbox?lang=en", "ja", "Nothing has arrived yet"),
    ],
)
def test_the_inbox_speaks_the_language_of_its_reader(world, path, accepts, says):
    assert says in page(world, path, **{"Accept-Language": accepts})


def test_an_entry_that_is_not_there_is_a_404_page(world):
    answer = world.call("GET", "/inbox/99")
    assert answer.status_code == 404
    assert "no such entry" in answer.text


def test_the_inbox_as_json_has_what_the_page_has(world):
    world.card(card(words("first"), version="1.5"))
    text(world, {"to": NUMBER})
    received = world.call("GET", "/inbox.json").json()["received"]
    assert [(one["n"], one["channel"], one["to"]) for one in received] == [
        (2, "sms", NUMBER),
        (1, "teams", "Fraud team"),
    ]
    assert received[0]["at"] == "2026-11-20T08:30:00+00:00"
    assert "1.5" in received[1]["problem"]
    assert [one["n"] for one in world.call("GET", "/inbox.json?channel=teams").json()["received"]] == [1]

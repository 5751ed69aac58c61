"""A thousand events while the host is killed five times: nothing that was answered 202 is lost, and nothing is doubled in
silence. And a rollout, during each of whose phases it is killed. The host is a process of its own; everything else is the
simulated Azure.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from itertools import groupby
from pathlib import Path

import pytest
import requests

from simulator.app import Box
from tests.station import WORKSPACE, run_event

EVENTS, KILLS = 1000, 5
RULES = """
rules:
  - name: every-run
    event: RunCompleted
    match: {workspace: prod}
    do: [{webhook: {url: "${SINK_URL}", body: {run: "{{ event.run.id }}"}}}, {notify: phones}]
"""
SWITCHYARD = 'receivers: {phones: {sms: "+819012345678"}}\n'

WORKSPACES = "workspaces: {prod: {subscription: s1, resource_group: mlops, workspace: prod}}\n"
POLICY = """
name: fraud-online
endpoint: fraud-online
candidate: {model: fraud, tags.stage: candidate}
deployment: {instance_type: Standard_DS3_v2, within: 8h}
patience: 4h
stages:
  - {mirror: 20, for: 5m}
  - {traffic: 50, for: 5m, approve: {by: phones, within: 24h, else: rollback}}
gates: [{bad: http_5xx, alpha: 0.05}]
keep_old: 30m
notify: phones
"""
PROMOTES = "rules: [{name: candidate, event: ModelRegistered, match: {workspace: prod}, do: [{promote: fraud-online}]}]"
PHASES = ["deploying", "mirroring", "baking", "asking", "keeping"]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Hosted:
    """`switchyard serve`, or another program that takes the same, on a port and a state file; killed and started again at
    will.
    """

    def __init__(self, folder, environment, *, config=None, program=("switchyard", "serve")):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "host.log"
        first, *more = program
        given = ["--config", config or folder / "config", "--state", folder / "state.db", "--port", self.port]
        self._command = [str(part) for part in (Path(sys.executable).with_name(first), *more, *given)]
        self._environment = os.environ | environment  # noqa: TID251 (a child process needs a PATH)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *flags):
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([*self._command, *flags], env=self._environment, stdout=log, stderr=log)
        until(self.answers, 30, "the host did not start")

    def answers(self):
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(f"{self.url}/api/health", timeout=5).ok
        return False

    def kill(self, number=signal.SIGKILL):
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(30)

    def get(self, path):
        return requests.get(f"{self.url}{path}", timeout=30).json()

    def records(self):
        """Every record, page by page."""
        path, found = "/api/events?limit=200", []
        while path:
            page = self.get(path)
            found += page["events"]
            path = page.get("next")
        return found


def until(done, seconds, sentence):
    """Waits for another process."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, sentence
        time.sleep(0.02)  # noqa: TID251 (another process is at work)


@pytest.fixture
def hosted():
    """Makes hosts, none of which outlives its test."""
    made = []

    def make(*arguments, **more):
        made.append(Hosted(*arguments, **more))
        return made[-1]

    yield make
    for one in made:
        one.kill()


def test_a_thousand_events_survive_five_kills(tmp_path, monkeypatch, hosted):
    (tmp_path / "config" / "rules").mkdir(parents=True)
    (tmp_path / "config" / "switchyard.yaml").write_text(SWITCHYARD)
    (tmp_path / "config" / "rules" / "all.yaml").write_text(RULES)
    with Box(rate=60) as box:
        for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.setenv(name, box.environment[name])
        host = hosted(tmp_path, box.environment | {"SINK_URL": f"{box.https}/hooks/sink"})
        host.start()
        endpoint = f"{host.url}/runtime/webhooks/eventgrid?functionName=on_event"
        box.run(box.azure.eventgrid.subscribe("host", endpoint))
        share = EVENTS // (KILLS + 1) + 1
        names = [f"e{n}" for n in range(EVENTS)]
        for start in range(0, EVENTS, share):
            before = len(box.sim.inbox.all())
            box.publish(*(run_event(name) for name in names[start : start + share]))
            if start + share < EVENTS:  # in the middle of its work: some are taken in, some done, some neither
                until(lambda mark=before: len(box.sim.inbox.all()) > mark + share // 2, 60, "the host does no work")
                host.kill()
                host.start()
        runs = {f"run-{name}" for name in names}
        until(lambda: len(_webhooks(box)) >= EVENTS and len(_texts(box)) >= EVENTS, 120, "something never came")
        until(lambda: _settled(host), 60, "the host never came to rest")
        webhooks, records = _webhooks(box), host.records()
        host.kill(signal.SIGTERM)
    assert host.log.read_text().rstrip().endswith("Nothing is left over.")
    assert set(webhooks) == runs
    assert {name: n for name, n in _texts(box).items() if n > 1} == {}  # the SMS service knows our keys
    confessed = {
        f"run-{record['event']['id']}"
        for record in records
        for action in record["actions"]
        if action["action"] == "webhook" and action["maybe_twice"]
    }
    assert {run for run, count in webhooks.items() if count > 1} <= confessed
    assert len(records) == EVENTS
    assert len(confessed) <= KILLS * 128  # no more than what was under way at a kill: not a blanket excuse


def test_a_rollout_survives_a_kill_in_each_of_its_phases(tmp_path, monkeypatch, hosted):
    for folder in ("rules", "rollouts"):
        (tmp_path / "config" / folder).mkdir(parents=True)
    (tmp_path / "config" / "switchyard.yaml").write_text(SWITCHYARD + WORKSPACES)
    (tmp_path / "config" / "rules" / "all.yaml").write_text(PROMOTES)
    (tmp_path / "config" / "rollouts" / "fraud-online.yaml").write_text(POLICY)
    with Box(rate=300) as box:
        for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.setenv(name, box.environment[name])
        clock = {"SIMULATED_CLOCK": json.dumps(box.sim.clock.describe())}
        host = hosted(tmp_path, box.environment | clock, program=("python", "-m", "tests.fast_host"))
        host.start()
        endpoint = f"{host.url}/runtime/webhooks/eventgrid?functionName=on_event"
        box.run(box.azure.eventgrid.subscribe("host", endpoint))
        box.serve(WORKSPACE, "fraud-online", "fraud:12")
        good = {"stage": "candidate", "simulated_error_rate": "0"}
        box.run(_registered(box, good))
        for phase in PHASES:
            until(lambda now=phase: _head(host).get("status") == now, 60, f"it is never {phase}")
            host.kill()
            host.start()
            if phase == "asking":
                asked = _head(host)
                answer = {"by": "erin", "reason": "as agreed", "ask": asked["question"]["n"]}
                url = f"{host.url}/api/rollouts/{asked['id']}/approve"
                requests.post(url, json=answer, timeout=30).raise_for_status()
        until(lambda: _head(host)["ended"], 60, "it has no end")
        until(lambda: _settled(host), 60, "the host never came to rest")
        head, records = _head(host), host.records()
        host.kill()
        [served] = box.azure.endpoints.all()
        until(lambda: len(served.deployments) == 1, 30, "the old deployment is never deleted")
        shares = [shares for shares, _ in groupby(shares for _, shares in served.requests.shares(0))]
    assert head["status"] == "promoted"
    [canary] = served.deployments
    assert served.traffic == {canary: 100}
    assert shares == [{"blue": 1.0}, {"blue": 1.0, canary: 0.2}, {"blue": 0.5, canary: 0.5}, {canary: 1.0}]
    told = Counter(record["event"]["type"] for record in records)
    once = ("RolloutStarted", "RolloutWaiting", "RolloutCompleted", "ModelDeployed")
    assert {kind: told[kind] for kind in once} == dict.fromkeys(once, 1)
    assert {key for key, count in _texts(box).items() if count > 1} == set()


async def _registered(box, tags):
    box.azure.azureml.register(box.azure.azureml.at(WORKSPACE), "fraud", version="13", tags=tags)


def _head(host):
    heads = host.get("/api/rollouts")["rollouts"]
    return heads[0] if heads else {}


def _webhooks(box):
    return Counter(received.payload["body"]["run"] for received in box.sim.inbox.all("webhook"))


def _texts(box):
    return Counter(received.key for received in box.sim.inbox.all("sms"))


def _settled(host):
    waiting = [a for record in host.records() for a in record["actions"] if a["status"] not in {"done", "failed"}]
    return not waiting

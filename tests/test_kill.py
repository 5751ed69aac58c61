"""A thousand events while the host is killed five times: nothing that was answered 202 is lost, and nothing is doubled in
silence. The host is a process of its own; Event Grid, Teams and the SMS service are the simulated Azure.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import requests

from simulator.app import Box
from tests.station import run_event

EVENTS, KILLS = 1000, 5
RULES = """
rules:
  - name: every-run
    event: RunCompleted
    match: {workspace: prod}
    do: [{webhook: {url: "${SINK_URL}", body: {run: "{{ event.run.id }}"}}}, {notify: phones}]
"""
SWITCHYARD = 'receivers: {phones: {sms: "+819012345678"}}\n'


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Hosted:
    """`switchyard serve` on a port and a state file; killed and started again at will."""

    def __init__(self, folder, environment):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._environment = os.environ | environment  # noqa: TID251 (a child process needs a PATH)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self):
        switchyard = Path(sys.executable).with_name("switchyard")
        command = [switchyard, "serve", "--config", self._folder / "config", "--state", self._folder / "state.db"]
        log = (self._folder / "host.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [*map(str, command), "--port", str(self.port)], env=self._environment, stdout=log, stderr=log
            )
        until(self.answers, 30, "the host did not start")

    def answers(self):
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(f"{self.url}/api/health", timeout=5).ok
        return False

    def kill(self, number=signal.SIGKILL):
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(30)

    def records(self):
        """Every record, page by page."""
        path, found = "/api/events?limit=200", []
        while path:
            page = requests.get(f"{self.url}{path}", timeout=10).json()
            found += page["events"]
            path = page.get("next")
        return found


def until(done, seconds, sentence):
    """Waits for another process."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, sentence
        time.sleep(0.02)  # noqa: TID251 (another process is at work)


def test_a_thousand_events_survive_five_kills(tmp_path, monkeypatch):
    (tmp_path / "config" / "rules").mkdir(parents=True)
    (tmp_path / "config" / "switchyard.yaml").write_text(SWITCHYARD)
    (tmp_path / "config" / "rules" / "all.yaml").write_text(RULES)
    with Box(rate=60) as box:
        for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.setenv(name, box.environment[name])
        host = Hosted(tmp_path, box.environment | {"SINK_URL": f"{box.https}/hooks/sink"})
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
    assert (tmp_path / "host.log").read_text().rstrip().endswith("Nothing is left over.")
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


def _webhooks(box):
    return Counter(received.payload["body"]["run"] for received in box.sim.inbox.all("webhook"))


def _texts(box):
    return Counter(received.key for received in box.sim.inbox.all("sms"))


def _settled(host):
    waiting = [a for record in host.records() for a in record["actions"] if a["status"] not in {"done", "failed"}]
    return not waiting

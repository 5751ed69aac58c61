"""The embedded host over real HTTP: the Event Grid door, what it promises by a 202, and the record it leaves."""

import asyncio
import io
import json
import re
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import aiohttp
import azure.functions as func
import pytest
from msgspec.structs import replace as changed

from local.host import Host, listening
from local.serve import _alone, serve
from shared import book
from shared.archive import read_line
from shared.cli import main as cli
from shared.settings import INTAKE_QUEUE, ROLLOUT_QUEUE
from shared.world import Search
from tests.fleet import CANARY, Fate, Fleet
from tests.station import SWITCHYARD, run_event
from tests.test_rollouts import POLICY
from tests.world import START, VirtualClock

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT.parent / "shared" / "fixtures"
DOOR = "/runtime/webhooks/eventgrid?functionName=on_event"
NOTIFICATION = {"aeg-event-type": "Notification"}
RULES = "rules: [{name: nobody, event: Nothing.Ever, do: [{notify: platform}]}]"


class Served:
    """A host, and a client to it."""

    def __init__(self, host, base, http):
        self.host, self.base, self.http = host, base, http

    async def post(self, body, path=DOOR, headers=NOTIFICATION):
        data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        async with self.http.post(f"{self.base}{path}", data=data, headers=headers) as answer:
            return answer.status, await answer.text()

    async def get(self, path):
        async with self.http.get(f"{self.base}{path}") as answer:
            return await answer.json()

    async def records(self):
        """What came from outside; the events that the service raises itself are left out."""
        await asyncio.wait_for(self.host.idle(), 10)
        found = (await self.get("/api/events?limit=200"))["events"]
        return [one for one in found if not one["event"] or one["event"]["type"] != "EventRefused"]


@pytest.fixture
def config(tmp_path):
    folder = tmp_path / "config"
    (folder / "rules").mkdir(parents=True)
    (folder / "switchyard.yaml").write_text(SWITCHYARD.replace("tell: platform", "time_zone: Asia/Tokyo"))
    (folder / "rules" / "team.yaml").write_text(RULES)
    return folder


@pytest.fixture
async def served(config, tmp_path):
    host = Host(config, tmp_path / "state.db", {})
    async with listening(host) as port, aiohttp.ClientSession() as http:
        yield Served(host, f"http://127.0.0.1:{port}", http)
    await host.stop()


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (DOOR, NOTIFICATION, 202),
        (DOOR.replace("on_event", "ON_EVENT"), NOTIFICATION, 202),  # names match in any case
        (DOOR, {}, 400),
        (DOOR, {"aeg-event-type": "Unsubscribe"}, 202),
        (DOOR.replace("on_event", "on_nothing"), NOTIFICATION, 404),
        (DOOR.split("?", maxsplit=1)[0], NOTIFICATION, 404),
    ],
)
async def test_the_door_answers_as_the_functions_host_does(served, path, headers, status):
    assert (await served.post([run_event("e1")], path, headers))[0] == status


async def test_the_handshake_of_the_event_grid_schema(served):
    sent = [
        {"id": "v", "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "data": {"validationCode": "c0de"}}
    ]
    status, text = await served.post(sent, headers={"aeg-event-type": "SubscriptionValidation"})
    assert (status, json.loads(text)) == (200, {"validationResponse": "c0de"})
    assert (await served.post({}, headers={"aeg-event-type": "SubscriptionValidation"}))[0] == 400


@pytest.mark.parametrize(("origin", "allowed"), [("eventgrid.azure.net", "eventgrid.azure.net"), ("evil.test", None)])
async def test_the_handshake_of_cloudevents(served, origin, allowed):
    headers = {"WebHook-Request-Origin": origin}
    async with served.http.options(f"{served.base}{DOOR}", headers=headers) as answer:
        assert (answer.status, answer.headers.get("WebHook-Allowed-Origin")) == (200, allowed)


async def test_one_bad_event_in_a_batch_does_not_touch_its_neighbours(served):
    bad = [7, {"id": "x"}, run_event("t") | {"eventTime": "soon"}, run_event("d") | {"data": "text"}]
    status, _ = await served.post([run_event("a"), *bad, run_event("b")])
    assert status == 202
    records = await served.records()
    assert sorted(one["event"]["id"] for one in records if one["status"] == "decided") == ["a", "b"]
    refused = [record for record in records if record["status"] == "refused"]
    assert len(refused) == 4
    reasons = [(await served.get(f"/api/events/{one['id']}"))["refusal"] for one in refused]
    assert any("eventTime is 'soon'" in str(reason) for reason in reasons)


async def test_dead_letters_that_lie_beside_the_state_file_come_back(served, tmp_path):
    letters = tmp_path / "dead-letters" / "SWITCHYARD"
    letters.mkdir(parents=True)
    (letters / "1.json").write_text(json.dumps([run_event("a") | {"deadLetterReason": "TimeToLiveExceeded"}]))
    (letters / "2.json.tmp").write_text("[")  # still being written
    (on_timer,) = [one for one in served.host.functions.timers.values() if one.name == "on_dead_letters"]
    await on_timer(func.TimerRequest(past_due=False))
    (record,) = [one for one in await served.records() if one["event"]["type"] == "RunCompleted"]
    assert (await served.get(f"/api/events/{record['id']}"))["dead_letter"]["reason"] == "TimeToLiveExceeded"
    assert [path.name for path in letters.iterdir()] == ["2.json.tmp"]


async def test_what_is_not_json_is_kept_with_its_bytes(served):
    assert (await served.post(b"\xff not json"))[0] == 202
    (record,) = await served.records()
    assert record["status"] == "refused"


async def test_a_page_under_a_foreign_name_is_refused(served):
    """A name that somebody points at this machine must not lend a browser's tab the console."""
    async with served.http.get(f"{served.base}/api/events", headers={"Host": "evil.test"}) as answer:
        assert answer.status == 400


async def test_a_cloudevent_may_come_alone(served):
    sent = run_event("c1")
    cloud = {"specversion": "1.0", "id": "c1", "source": sent["topic"], "type": sent["eventType"]}
    cloud |= {"time": sent["eventTime"], "data": sent["data"]}
    assert (await served.post(cloud))[0] == 202
    (record,) = await served.records()
    assert (record["status"], record["event"]["type"]) == ("decided", "RunCompleted")


async def test_the_keyless_way_in_takes_the_same_events(served):
    bodies = [json.dumps(run_event("q1")), json.dumps([run_event("q2")]), "not json", "[" * 20_000]
    await served.host.queues.put(INTAKE_QUEUE, bodies)
    await asyncio.wait_for(served.host.idle(), 10)
    assert sorted(record["status"] for record in await served.records()) == [*["decided"] * 2, *["refused"] * 2]


async def test_a_body_beyond_what_event_grid_sends_is_refused(served):
    assert (await served.post(b"x" * (9 * 1024 * 1024)))[0] == 413


async def test_what_could_not_be_kept_is_answered_500_so_that_event_grid_sends_it_again(served):
    served.host.database._broken = OSError("no space left")
    assert (await served.post([run_event("e1")]))[0] == 500
    served.host.database._broken = None
    assert (await served.post([run_event("e1")]))[0] == 202
    assert len(await served.records()) == 1


async def test_a_poisoned_message_ends_on_record_and_the_host_lives(served, monkeypatch):
    monkeypatch.setattr("local.host._AGAIN", 0.0)
    await served.host.queues.put("switchyard-work", ['{"type":"nobody"}'])
    await asyncio.wait_for(served.host.idle(), 10)
    (record,) = await served.records()
    assert record["status"] == "refused"
    assert (await served.post([run_event("after")]))[0] == 202


async def test_a_second_host_goes_on_where_the_first_stopped(config, tmp_path):
    first = Host(config, tmp_path / "state.db", {})
    await first.queues.put("switchyard-work", [])
    await first.queues.put(INTAKE_QUEUE, [json.dumps(run_event(f"e{n}")) for n in range(20)])
    assert await first.stop() == 20
    second = Host(config, tmp_path / "state.db", {})
    second.start()
    await asyncio.wait_for(second.idle(), 10)
    assert await second.stop() == 0


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the documented payloads are not beside this checkout")
async def test_every_documented_payload_goes_through_and_leaves_its_record(served):
    expected = {}
    for path in sorted(FIXTURES.glob("*.json")):
        for event in json.loads(path.read_text()):
            assert (await served.post([event]))[0] == 202
            expected[path.name] = (event.get("eventType") or event["type"]).rpartition(".")[2]
    records = await served.records()
    assert {record["status"] for record in records} == {"decided"}
    known = {"DatasetDriftDetected": "DriftDetected"}  # and a breach comes as a RunStatusChanged
    wanted = {known.get(kind, kind) for kind in expected.values()} | {"DriftDetected"}
    assert {record["event"]["type"].rpartition(".")[2] for record in records} == wanted
    # Both schemas and the dead letter show the same five events; the breach and the handshake's event are their own.
    assert len(records) == len(wanted) + 1


ROW = re.compile(r"^\| `([a-z-]+\.json)` \| (\w+) \| (?:`([\w.]+)`|—) \|", re.MULTILINE)


@pytest.mark.parametrize("readme", ["README.md", "README.ja.md"])
async def test_every_sample_leaves_the_record_that_the_readme_shows(served, readme):
    rows = ROW.findall((ROOT / readme).read_text())
    samples = ROOT / "samples" / "events"
    assert sorted(name for name, _, _ in rows) == sorted(path.name for path in samples.glob("*.json"))
    for name, status, kind in rows:
        sent = json.loads((samples / name).read_text())
        before = {record["id"] for record in await served.records()}
        assert (await served.post(sent if isinstance(sent, list) else [sent]))[0] == 202
        (record,) = [one for one in await served.records() if one["id"] not in before]
        assert (record["status"], record["event"]["type"] if record["event"] else "") == (status, kind), name


async def test_an_event_of_the_keyless_way_that_cannot_be_taken_ends_on_record(served, monkeypatch):
    monkeypatch.setattr("local.host._AGAIN", 0.0)
    monkeypatch.setattr("functions.events.arrived", lambda *_: 1 / 0)
    await served.host.queues.put(INTAKE_QUEUE, [json.dumps(run_event("q1"))])
    (record,) = await served.records()
    assert record["status"] == "refused"
    assert await served.host.queues.waiting() == 0


async def test_the_end_does_not_wait_for_a_request_that_never_comes_whole(config, tmp_path, monkeypatch):
    monkeypatch.setattr("local.host._LAST_CALL", 0)
    host = Host(config, tmp_path / "state.db", {})
    async with asyncio.timeout(10):
        async with listening(host) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"POST {DOOR} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n".encode())
            await writer.drain()
            await asyncio.sleep(0.05)  # until it is at the door
        writer.close()
        await host.stop()


async def test_work_that_outlasts_the_patience_is_left_for_the_next_start(config, tmp_path, monkeypatch, caplog):
    begun = asyncio.Event()

    async def never(_):
        begun.set()
        await asyncio.Event().wait()

    host = Host(config, tmp_path / "state.db", {})
    await host.queues.put(INTAKE_QUEUE, [json.dumps(run_event("e1"))])
    with monkeypatch.context() as patch:
        patch.setattr(host.service, "on_message", never)
        host.start()
        await asyncio.wait_for(begun.wait(), 10)
        working = set(host._working)
        assert await host.stop(patience=0.01) == 1
    assert all(task.done() for task in working)  # nobody is left to find the file closed
    assert caplog.records == []
    second = Host(config, tmp_path / "state.db", {})
    second.start()
    await asyncio.wait_for(second.idle(), 10)
    found = await second.service.world.store.event("e1")
    assert found is not None
    assert found.status == "decided"
    assert await second.stop() == 0


async def test_an_edit_is_in_force_without_a_restart_and_a_broken_one_changes_nothing(config, tmp_path, monkeypatch):
    monkeypatch.setattr("local.host.WATCH", 0.0)
    heard, edits = [], asyncio.Event()

    async def hear(old, new):
        heard.append((old.version, new.version, new.rejected_files, new.kept))
        edits.set()

    host = Host(config, tmp_path / "state.db", {}, on_change=hear)
    rules, wanted = config / "rules" / "team.yaml", RULES.replace("Nothing.Ever", "RunCompleted")

    async def edited(text):
        edits.clear()
        rules.write_text(text)
        await asyncio.wait_for(edits.wait(), 10)

    async with listening(host) as port, aiohttp.ClientSession() as http:
        served = Served(host, f"http://127.0.0.1:{port}", http)
        before = (await served.get("/api/health"))["config_version"]
        await served.post([run_event("e1")])
        await served.records()
        await edited(wanted)
        await served.post([run_event("e2")])
        await served.records()
        after = (await served.get("/api/config"))["version"]
        await edited(wanted.replace("RunCompleted", "RunComplete"))
        health = await served.get("/api/health")
        decided = {name: (await served.get(f"/api/events/{name}"))["decision"] for name in ("e1", "e2")}
        with pytest.MonkeyPatch.context() as patch:
            out = io.StringIO()
            patch.setattr("sys.stdout", out)
            assert await asyncio.to_thread(cli, ["events", "export", "--url", served.base, "--since", "1h"]) == 0
    await host.stop()
    assert heard == [(before, after, (), ()), (after, after, ("rules/team.yaml",), ("rules/team.yaml",))]
    assert (health["status"], health["rules"], health["kept_files"]) == ("amber", 1, ["rules/team.yaml"])
    assert (decided["e1"]["config"], len(decided["e1"]["verdicts"])) == (before, 0)
    assert (decided["e2"]["config"], len(decided["e2"]["verdicts"])) == (after, 1)
    lines = [read_line(line) for line in out.getvalue().splitlines()]
    assert [(one.event.id, one.config) for one in lines if one.event.type == "RunCompleted"] == [
        ("e1", before),
        ("e2", after),
    ]
    again = Host(config, tmp_path / "state.db", {})
    assert await again.service.refresh()
    assert (again.service.loaded.version, again.service.loaded.kept) == (after, ("rules/team.yaml",))
    await again.stop()


class FastClock(VirtualClock):
    """A quarter of an hour in a tenth of a second; calls take no time of their own."""

    RATE = 9000.0

    def __init__(self):
        self._began = time.monotonic()

    def __call__(self):
        return START + timedelta(seconds=(time.monotonic() - self._began) * self.RATE)

    now = property(__call__)

    def advance(self, seconds):
        pass


async def test_a_rollout_runs_to_its_end_and_its_events_go_through_the_rules(config, tmp_path):
    clock = FastClock()
    host = Host(config, tmp_path / "state.db", {}, clock=clock, pace=clock.RATE)
    world = host.service.world
    # A machine that is held up for a tenth of a second must not have used up the policy's patience.
    policy = changed(POLICY, patience=86_400.0, deployment=changed(POLICY.deployment, within=86_400.0))
    fleet = Fleet(1, policy=policy, fate=Fate(), shelf=world.shelf, rollouts=world.rollouts, clock=clock)
    conductor = host.service.conductor
    conductor.world = replace(world, serving=fleet, counts=fleet, topic=fleet, platform=fleet.world.platform)
    await conductor.start(fleet.rollout)
    host.start()
    async with asyncio.timeout(20):
        while not (found := await world.store.events(Search(type="RolloutCompleted"))):  # noqa: ASYNC110 (another task)
            await asyncio.sleep(0.02)
    assert fleet.weights == {CANARY: 100}
    assert found[0].event is not None
    assert found[0].event.subject == f"rollouts/{fleet.rollout.id}"
    assert found[0].decision is not None
    await host.stop()


async def test_a_rollout_that_cannot_go_on_ends_stuck_and_a_person_is_told(served, monkeypatch):
    monkeypatch.setattr("local.host._AGAIN", 0.0)
    conductor = served.host.service.conductor
    fleet = Fleet(1, policy=POLICY, fate=Fate())
    monkeypatch.setattr(conductor, "step", lambda *_: 1 / 0)
    await conductor.start(fleet.rollout)
    await served.host.queues.put(ROLLOUT_QUEUE, ["not json"])
    await asyncio.wait_for(served.host.idle(), 10)
    head = await book.head(conductor.world.shelf, fleet.rollout)
    assert head.status == "stuck"
    assert [one["event"]["type"] for one in await served.records()] == ["RolloutStuck"]
    assert await served.host.queues.waiting() == 0


def test_the_key_of_approval_links_is_made_once_and_for_its_owner_alone(config, tmp_path):
    state = tmp_path / "state.db"

    async def key(environ):
        host = Host(config, state, environ)
        await host.stop()
        return host.service.settings.signing_key

    made = asyncio.run(key({}))
    assert len(made) >= 32
    assert asyncio.run(key({})) == made
    assert asyncio.run(key({"SWITCHYARD_SIGNING_KEY": "of the environment"})) == "of the environment"
    (kept,) = (path for path in tmp_path.iterdir() if path.is_file() and path.read_bytes() == made.encode())
    assert kept.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda state: state.mkdir(), "state file"),
        (lambda state: state.parent.joinpath("state.db.lock").mkdir(), "state file"),
    ],
)
def test_a_state_file_that_cannot_be_used_is_named(config, tmp_path, capsys, prepare, words):
    prepare(tmp_path / "state.db")
    assert serve(config, 0, tmp_path / "state.db", simulate=False, story=False) == 1
    said = capsys.readouterr().out
    assert words in said
    assert "--state" in said


def test_a_second_host_on_the_same_state_is_refused(config, tmp_path, capsys):
    held = _alone(tmp_path / "state.db")
    assert serve(config, 0, tmp_path / "state.db", simulate=False, story=False) == 1
    assert "another host is at work on it" in capsys.readouterr().out
    held.close()
    _alone(tmp_path / "state.db").close()

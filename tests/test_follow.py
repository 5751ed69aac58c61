"""What was started is followed to its end: by event, by polling, through kills, and told once."""

import io
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from local.account import Account
from shared import follow, wire
from shared.actions import discover
from shared.actions.dispatch import look as look_at_run
from shared.cli import main as command_line
from shared.errors import PermanentError, TemporaryError
from shared.events import Event
from shared.record import ENDS, FOLLOWED, Facts, Followed, Job, Progress
from shared.rules.load import load_texts
from shared.rules.match import YES
from shared.rules.silences import conditions
from shared.rules.troubles import trouble_of
from shared.web import app as site
from shared.world import Reply, Search
from tests.station import SWITCHYARD, Station, opened, run_event
from tests.test_web import ask
from tests.world import START, Outside

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
    return 200, {}, json.dumps(body | more).encode()


async def events(station, kind):
    found = await station.service.world.store.events(Search(limit=100, type=kind))
    return [record.event for record in reversed(found)]


async def account_of(station, name):
    """Of the only thing that this event has started."""
    (intent,) = [one for one in await station.intents(name) if one.result and one.result.follow]
    account = await follow.account_of(station.outside.world, intent.intent.key)
    assert account is not None
    assert account.progress is not None
    return account


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


# GitHub


async def dispatched(station, outside, number=17):
    outside.http.answer(*started(number=number))
    await station.send(ready())
    await station.work()


async def minutes(station, n):
    for _ in range(n):
        await station.later(MINUTE)


async def test_a_workflow_that_ends_well_bothers_nobody_and_is_on_record(station, outside):
    await dispatched(station, outside)
    outside.http.otherwise = Reply(*stands("in_progress"))
    await minutes(station, 5)
    ended = f"{outside.clock():%Y-%m-%dT%H:%M:%SZ}"
    outside.http.otherwise = Reply(*stands("completed", "success", updated_at=ended))
    await minutes(station, 10)
    (ended,) = await events(station, "ActionCompleted")
    assert (ended.data["about"], ended.data["took"], ended.data["values"]["run"]) == (
        "train.yml in contoso/fraud",
        300.0,
        17,
    )
    assert outside.mail.sent == []
    account = await account_of(station, "r1")
    assert [one.state for one in account.history] == ["running", "succeeded"]
    asked = len(outside.http.sent)
    await minutes(station, 60)
    assert len(outside.http.sent) == asked  # it is over


async def test_a_workflow_that_fails_is_told_with_the_job_and_the_step_to_whoever_hears_of_the_rest(station, outside):
    await dispatched(station, outside)
    jobs = {
        "jobs": [{"name": "train", "conclusion": "failure", "steps": [{"name": "pytest", "conclusion": "failure"}]}]
    }
    outside.http.script.append(Reply(*stands("completed", "failure")))
    outside.http.answer(200, json.dumps(jobs).encode())
    await minutes(station, 2)
    ((letter, _),) = outside.mail.sent
    assert letter.subject == "Failed: train.yml in contoso/fraud"
    assert "job 'train', step 'pytest'" in letter.text
    assert "https://github.test/runs/17" in letter.text


async def test_a_run_that_never_starts_is_noticed_once_and_its_end_is_told_all_the_same(station, outside):
    await dispatched(station, outside)
    outside.http.otherwise = Reply(*stands("queued"))
    await minutes(station, 29)
    assert outside.mail.sent == []
    await minutes(station, 2)
    ((letter, _),) = outside.mail.sent
    assert letter.subject == "Not started: train.yml in contoso/fraud"
    assert "has not started within 30m" in letter.text
    await minutes(station, 120)
    outside.http.otherwise = Reply(*stands("in_progress"))
    await minutes(station, 30)
    outside.http.otherwise = Reply(*stands("completed", "cancelled"))
    await minutes(station, 30)
    assert [letter.subject for letter, _ in outside.mail.sent[1:]] == ["Canceled: train.yml in contoso/fraud"]


async def test_a_run_that_has_begun_and_waits_again_is_not_taken_for_one_that_never_starts(station, outside):
    await dispatched(station, outside)
    outside.http.script.append(Reply(*stands("in_progress")))
    outside.http.otherwise = Reply(*stands("queued"))
    await minutes(station, 120)
    assert outside.mail.sent == []


@pytest.mark.parametrize(
    ("status", "conclusion", "state"),
    [
        ("requested", None, "queued"),
        ("pending", None, "queued"),
        ("waiting", None, "running"),
        ("completed", "neutral", "succeeded"),
        ("completed", "skipped", "succeeded"),
        ("completed", "timed_out", "failed"),
        ("completed", "startup_failure", "failed"),
        ("completed", "action_required", "failed"),
        ("completed", None, "running"),
    ],
)
async def test_what_github_says_of_a_run_is_one_of_our_words(outside, status, conclusion, state):
    outside.http.script.append(Reply(*stands(status, conclusion)))
    outside.http.otherwise = Reply(404, {}, b"")
    seen = await look_at_run({"github": "o/r", "run": 17, "about": "x"}, START, outside.world)
    assert seen.state == state


async def test_a_run_whose_number_nobody_said_is_found_by_our_key_in_its_name(station, outside):
    outside.http.answer(204)  # an older GitHub
    await station.send(ready())
    await station.work()
    (intent,) = await station.intents("r1")
    others = [{"id": 3, "display_title": "train.yml other", "status": "completed", "conclusion": "failure"}]
    outside.http.otherwise = Reply(200, {}, json.dumps({"workflow_runs": others}).encode())
    await minutes(station, 5)
    ours = {"id": 9, "display_title": f"train.yml {intent.intent.key}", "status": "in_progress"}
    outside.http.otherwise = Reply(200, {}, json.dumps({"workflow_runs": [*others, ours]}).encode())
    await minutes(station, 5)
    account = await account_of(station, "r1")
    assert (account.handle["run"], account.progress.state) == (9, "running")
    assert "/actions/runs/9" not in "".join(one.url for one in outside.http.sent)
    await minutes(station, 5)
    assert outside.http.sent[-1].url.endswith("/repos/contoso/fraud/actions/runs/9")  # from now on by its number


RAISING = """
rules:
  - name: raise-it
    event: Contoso.Ready
    do:
      - dispatch: {github: contoso/fraud, event_type: model-ready}
  - name: raise-and-hear
    event: Contoso.Important
    do:
      - dispatch: {github: contoso/fraud, event_type: model-ready}
        tell: fraud
"""


async def test_a_repository_dispatch_that_cannot_be_told_from_others_is_unknown_and_only_who_asked_hears(
    outside, tmp_path
):
    with opened(tmp_path / "state.db") as database:
        station = Station(outside, database, RAISING)
        outside.http.otherwise = Reply(200, {}, b'{"workflow_runs": [{"id": 1, "display_title": "model-ready"}]}')
        await station.send(ready(), ready("r2") | {"eventType": "Contoso.Important"})
        await station.work()
        await minutes(station, 20)
        for name in ("r1", "r2"):
            account = await account_of(station, name)
            assert account.progress.state == "unknown"
            assert "client_payload.switchyard.key" in account.progress.said
        assert outside.mail.sent == []
        (card,) = said(outside)
        assert "Unknown outcome: model-ready in contoso/fraud" in card


# When the far side does not answer as it should


async def test_what_is_not_there_yet_may_appear_and_what_stays_away_is_unknown(station, outside):
    await dispatched(station, outside)
    outside.http.otherwise = Reply(404, {}, b'{"message": "Not Found"}')
    await minutes(station, 5)
    outside.http.otherwise = Reply(*stands("in_progress"))
    await minutes(station, 10)
    assert outside.mail.sent == []
    outside.http.otherwise = Reply(404, {}, b'{"message": "Not Found"}')
    await minutes(station, 9)
    assert outside.mail.sent == []
    await minutes(station, 20)
    ((letter, _),) = outside.mail.sent
    assert letter.subject == "Unknown outcome: train.yml in contoso/fraud"
    assert "Not Found" in letter.text


async def test_a_busy_far_side_is_asked_again_when_it_wants_to_be_and_loses_nothing(station, outside):
    await dispatched(station, outside)
    outside.http.answer(503, retry_after="3600")
    outside.http.otherwise = Reply(*stands("completed", "success"))
    await minutes(station, 59)
    assert len(outside.http.sent) == 2
    assert await events(station, "ActionCompleted") == []
    await minutes(station, 3)
    assert len(await events(station, "ActionCompleted")) == 1


async def test_what_does_not_end_is_let_go_after_the_limit(outside, tmp_path):
    with opened(tmp_path / "state.db") as database:
        station = Station(outside, database, RULES, f"{SWITCHYARD}limits: {{follow: 2h}}\n")
        await dispatched(station, outside)
        outside.http.otherwise = Reply(*stands("in_progress"))
        await minutes(station, 119)
        assert outside.mail.sent == []
        await minutes(station, 2)
        ((letter, _),) = outside.mail.sent
        assert "has not ended within 2h" in letter.text
        asked = len(outside.http.sent)
        await minutes(station, 60)
        assert len(outside.http.sent) == asked


async def test_a_bug_in_a_look_ends_as_unknown_and_tells_no_values(station, outside, monkeypatch):
    async def broken(*_):
        raise ValueError("marker-value")

    await dispatched(station, outside)
    action = discover()["dispatch"]
    monkeypatch.setattr("shared.follow.discover", lambda: {"dispatch": replace(action, look=broken)})
    await minutes(station, 30)
    ((letter, _),) = outside.mail.sent
    assert "our own fault (ValueError)" in letter.text
    assert "marker-value" not in letter.text


# One chain of looks, whatever comes twice or not at all


async def test_looks_that_are_asked_for_twice_become_one_chain(station, outside):
    await dispatched(station, outside)
    outside.http.otherwise = Reply(*stands("in_progress"))
    await minutes(station, 10)
    account = await account_of(station, "r1")
    messages = [wire.dump(wire.Follow(account.key, n)) for n in range(account.n + 1) for _ in range(3)]
    await outside.queue.put(messages)
    before = len(outside.http.sent)
    await station.work()
    assert len(outside.http.sent) == before + 1  # the one whose number is the next
    await minutes(station, 60)
    assert len(outside.http.sent) - before < 10


async def test_a_look_whose_message_was_lost_is_asked_for_again(station, outside, monkeypatch):
    await dispatched(station, outside)
    outside.http.otherwise = Reply(*stands("completed", "success"))
    await station.queues.put("x", [])
    database = station.database
    await database.write(lambda db: db.execute("DELETE FROM messages"))
    await minutes(station, 60)
    assert await events(station, "ActionCompleted") == []
    outside.clock.advance(3600)
    await station.service.prune(outside.clock())
    await station.work()
    assert len(await events(station, "ActionCompleted")) == 1


async def test_a_message_that_the_host_gave_up_comes_again(station, outside):
    await dispatched(station, outside)
    (intent,) = await station.intents("r1")
    await station.queues.put("x", [])
    await station.database.write(lambda db: db.execute("DELETE FROM messages"))
    await station.service.on_poison(wire.dump(wire.Follow(intent.intent.key, 0)))
    outside.http.otherwise = Reply(*stands("completed", "success"))
    await minutes(station, 61)
    assert len(await events(station, "ActionCompleted")) == 1


async def test_accounts_of_what_ended_go_after_a_month_and_the_others_stay(station, outside):
    await dispatched(station, outside)
    await station.send(drift())
    await station.work()
    outside.http.otherwise = Reply(*stands("completed", "success"))
    await minutes(station, 2)
    outside.clock.advance(31 * DAY)
    await station.service.prune(outside.clock())
    (left,) = await outside.shelf.all(FOLLOWED)
    assert "train-again" in left[0]


# Killed


class Killed(BaseException):
    pass


class Mortal:
    """A door whose writes count; the process dies at one of them."""

    WRITES = frozenset({"put", "swap", "keep", "settle", "take_in", "claim"})

    def __init__(self, inner, life):
        self._inner, self._life = inner, life

    def __getattr__(self, name):
        found = getattr(self._inner, name)
        if name not in self.WRITES:
            return found

        async def write(*given, **named):
            if self._life[0] == 0:
                raise Killed
            self._life[0] -= 1
            return await found(*given, **named)

        return write


TOLD_BY_MAIL = RULES.replace("tell: fraud", "tell: platform")


def opened_station(outside, database, life):
    station = Station(outside, database, TOLD_BY_MAIL)
    world = station.service.world
    shelf, queue, store = (Mortal(door, life) for door in (world.shelf, world.queue, world.store))
    station.service.world = replace(world, shelf=shelf, queue=queue, store=store)
    return station


class Told:
    """A story in steps, whose process dies at write number `at` and is started again."""

    def __init__(self, path, at):
        self.path = path
        self.outside = Outside()
        self.life = [at]
        self.died = False

    async def go(self, step):
        try:
            with opened(self.path) as database:
                await step(opened_station(self.outside, database, self.life), self.outside)
        except Killed:
            self.died, self.life = True, [-1]
            self.outside.clock.advance(MINUTE)
            with opened(self.path) as database:
                await opened_station(self.outside, database, self.life).work()


async def begins(station, _):
    await station.send(drift())
    await station.work()


async def goes_on(station, _):
    await station.later(2 * MINUTE)


async def is_heard_to_complete(station, outside):
    (job,) = outside.platform.submitted
    outside.platform.jobs[job] = Job("Completed", ended=outside.clock().isoformat())
    await station.send(run_event("done", runId=job))
    await station.work()


async def is_over(station, outside):
    for _ in range(3):
        await station.later(10 * MINUTE)
    (ended,) = await events(station, "ActionCompleted")
    assert ended.data["state"] == "succeeded"
    assert len(outside.platform.submitted) == 1
    assert len({key for _, key in outside.mail.sent}) == 1  # the same letter, if twice
    ((_, text),) = await outside.shelf.all(FOLLOWED)
    assert wire.load(Followed, text).ended is not None


async def test_killed_at_any_write_nothing_is_lost_and_nothing_is_told_twice(tmp_path):
    at = 0
    while True:
        told = Told(tmp_path / f"{at}.db", at)
        for step in (begins, goes_on, is_heard_to_complete, is_over):
            await told.go(step)
        if not told.died:
            break
        at += 1
    assert at > 15  # each write of the story was the last one once


# Who hears of it


TELLING = """
rules:
  - name: train-again
    event: DriftDetected
    do: [{retrain: weekly, tell: fraud}]
  - name: next-link
    event: ActionCompleted
    match: {data.rule: train-again, tags.team: fraud, "data.values.metrics.auc": "> 0.9"}
    do:
      - dispatch: {github: contoso/fraud, workflow: try.yml, inputs: {job: "{{ event.data.values.job }}"}}
"""


async def trained(station, outside, status="Completed", auc=0.95):
    (job,) = outside.platform.submitted
    outside.platform.jobs[job] = Job(status, ended=outside.clock().isoformat())
    outside.platform.measured[job] = {"auc": auc}
    await minutes(station, 2)


def breach(name="b1"):
    tags = {"azureml_modelmonitor_threshold_breached": "fraud-monitor_drift has failed due to x", "team": "fraud"}
    return run_event(name, "RunStatusChanged", runStatus="Failed", runTags=tags)


async def test_what_cannot_be_started_is_told_to_who_asked_and_to_nobody_else(station, outside):
    outside.platform.failure = PermanentError("HTTP 404: no such component")
    await station.send(drift())
    await station.work()
    (card,) = said(outside)
    assert "Action failed: retrain" in card
    assert "no such component" in card
    assert outside.mail.sent == []


async def test_where_who_asked_cannot_be_reached_those_hear_who_hear_of_the_rest(station, outside):
    await station.send(drift())
    await station.work()
    outside.http.otherwise = Reply(404, {}, b"")
    await trained(station, outside, "Failed")
    ((letter, _),) = outside.mail.sent
    assert letter.subject.startswith("Action failed: teams")


@pytest.mark.parametrize("status", ["Completed", "Failed"])
async def test_where_who_asked_is_gone_from_the_configuration_the_end_is_told_all_the_same(station, outside, status):
    await station.send(drift())
    await station.work()
    station.service.loaded = load_texts({"switchyard.yaml": SWITCHYARD, "rules/team.yaml": LOOPING})
    await trained(station, outside, status)
    ((letter, _),) = outside.mail.sent
    assert "fraud-retraining" in letter.subject


async def test_an_end_leads_on_and_keeps_the_chain_of_causes(outside, tmp_path):
    with opened(tmp_path / "state.db") as database:
        station = Station(outside, database, TELLING)
        outside.http.otherwise = Reply(*stands("in_progress"))
        await station.send(breach())
        await station.work()
        await trained(station, outside)
        (ended,) = await events(station, "ActionCompleted")
        first = await station.record("b1")
        assert ended.data["record"] == ended.tags["switchyard_event"] == first.id
        assert (ended.tags["team"], ended.tags["switchyard_depth"]) == ("fraud", "1")
        started = [one for one in outside.http.sent if one.url.endswith("/try.yml/dispatches")]
        assert json.loads(started[0].body)["inputs"] == {"job": next(iter(outside.platform.submitted))}
        account = await account_of(station, ended.id)
        assert (account.cause["switchyard_depth"], account.cause["switchyard_event"]) == ("2", ended.record)


LOOPING = """
rules:
  - name: again-and-again
    event: [DriftDetected, ActionCompleted]
    do: [{retrain: weekly}]
"""


async def test_a_circle_through_ends_is_a_loop_and_stops(outside, tmp_path):
    with opened(tmp_path / "state.db") as database:
        station = Station(outside, database, LOOPING)
        await station.send(drift())
        await station.work()
        for _ in range(10):
            for job in outside.platform.submitted:
                outside.platform.jobs[job] = Job("Completed", ended=outside.clock().isoformat())
            await minutes(station, 2)
        assert len(outside.platform.submitted) == 3
        assert ["looks like a loop" in letter.text for letter, _ in outside.mail.sent] == [True]


async def test_a_failed_start_that_is_muted_is_heard_of_again_once_one_ends_well(station, outside):
    await dispatched(station, outside)
    outside.http.script.append(Reply(*stands("completed", "failure")))
    await minutes(station, 2)
    (failed,) = await events(station, "ActionFailed")
    trouble = trouble_of(await station.record(failed.id))
    assert trouble is not None
    assert trouble.resolves is not None
    matches, resolves = conditions(trouble.matchers), conditions(trouble.resolves)
    await dispatched_again(station, outside)
    (completed,) = await events(station, "ActionCompleted")
    assert holds(matches, failed)
    assert holds(resolves, completed)
    assert not holds(resolves, failed)


async def dispatched_again(station, outside):
    outside.http.answer(*started(number=17))
    await station.send(ready("r2"))
    await station.work()
    outside.http.otherwise = Reply(*stands("completed", "success"))
    await minutes(station, 2)


def holds(lines, event):
    return all(line.judge(event, Facts()) == YES for line in lines)


# The account by itself


ANSWERS = st.one_of(
    st.builds(Progress, st.sampled_from(["queued", "running", *sorted(ENDS)]), st.just("so it is")),
    st.integers(0, 4000).map(lambda wait: TemporaryError("busy", retry_after=wait)),
    st.just(PermanentError("HTTP 404")),
)


@given(st.lists(st.tuples(ANSWERS, st.integers(0, 900)), max_size=40), st.sampled_from([3600.0, 7200.0, 86_400.0]))
def test_whatever_the_far_side_answers_it_ends_once_and_in_time(answers, limit):
    behind = Event("e", "Contoso.Ready", START, "/s", raw_type="Contoso.Ready")
    account = Followed("k", "r", "rule", "dispatch", "it", START, {"run": 1}, {}, behind, start_within=1800.0)
    now = START
    raised: list[Event] = []
    for n, (answer, late) in enumerate([*answers, *[(Progress("running", "on"), 0)] * 200], 1):
        step = follow.advanced(account, answer, now, limit)
        raised += step.raised
        account = step.account
        assert account.n == n
        if step.wait is None:
            break
        assert 1 <= step.wait <= 4000
        now += timedelta(seconds=step.wait + late)
    assert account.ended is not None
    assert account.progress is not None
    assert account.progress.state in ENDS
    assert now <= START + timedelta(seconds=limit + 4000 + 900)
    assert [one.id for one in raised if one.id.endswith("-ended")] == ["k-ended"]
    assert len({one.id for one in raised}) == len(raised) <= 2
    assert [one.at for one in account.history] == sorted(one.at for one in account.history)


# Where it is to be seen


async def seen(station, path):
    return await ask(site(lambda: station.service), "GET", path, {"Accept-Language": "en"})


async def test_the_record_the_json_and_the_command_line_say_how_it_stands_and_how_it_ended(
    station, outside, monkeypatch, capsys
):
    def said_by_the_command_line():
        assert command_line(["events", "show", "r1"]) == 0
        return capsys.readouterr().out

    await dispatched(station, outside)
    outside.http.otherwise = Reply(*stands("queued"))
    await minutes(station, 31)
    record = await station.record("r1")
    page, answer = await seen(station, f"/events/{record.id}"), await seen(station, f"/api/events/{record.id}")
    assert "has not begun; noticed at 2026-11-20 09:00" in page.words
    (action,) = answer.json["actions"]
    assert (action["followed"]["state"], action["followed"]["ended"]) == ("queued", None)
    monkeypatch.setattr("shared.cli.events.ask", lambda *_: answer.json)
    assert "queued: train.yml in contoso/fraud is queued\n    has not begun" in said_by_the_command_line()

    outside.http.otherwise = Reply(*stands("completed", "success"))
    await minutes(station, 15)
    page, answer = await seen(station, f"/events/{record.id}"), await seen(station, f"/api/events/{record.id}")
    assert "What it started ended at 2026-11-20" in page.words
    assert "https://github.test/runs/17" in page.text
    (action,) = answer.json["actions"]
    assert [one["state"] for one in action["followed"]["history"]] == ["queued", "succeeded"]
    assert action["followed"]["took"] > 1800
    assert "succeeded at" in said_by_the_command_line()
    japanese = await ask(site(lambda: station.service), "GET", f"/events/{record.id}?lang=ja", {})
    assert "に終了しました" in japanese.words


async def test_the_live_account_prints_the_end(station, outside):
    text = io.StringIO()
    station.service._listener = Account(Console(file=text, width=200), "http://localhost:7071", outside.clock)
    await dispatched(station, outside)
    outside.http.otherwise = Reply(*stands("completed", "success"))
    await minutes(station, 2)
    assert "ActionCompleted train.yml in contoso/fraud ended as success" in text.getvalue()

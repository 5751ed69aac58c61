"""The life of an event behind the door: decided once, done once, on record, whatever fails on the way."""

import contextlib
import re
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlencode

import pytest

from shared import book, chain, wire
from shared.actions import discover
from shared.errors import PermanentError, TemporaryError
from shared.guards.loop import CAUSE_EVENT
from shared.record import Job, Silence
from shared.rules.load import load_texts
from shared.service import LOOK_EVERY, Service
from shared.settings import Settings
from shared.web import app
from shared.world import Reply, Search
from tests.station import SWITCHYARD, Station, opened, run_event
from tests.test_web import ask
from tests.world import Outside

RULES = """
rules:
  - name: good
    event: RunCompleted
    match: {tags.team: fraud, metrics.auc: ">= 0.9"}
    do: [{notify: fraud}]
  - name: plain
    event: RunCompleted
    match: {tags.team: plain}
    do: [{notify: fraud}, {notify: phones}]
  - name: failed
    event: RunStatusChanged
    match: {run.status: Failed}
    do: [{retrain: weekly}]
"""


@pytest.fixture
def outside():
    return Outside()


@pytest.fixture
def station(outside, tmp_path):
    with opened(tmp_path / "state.db") as database:
        yield Station(outside, database, RULES)


def statuses(intents):
    return [(one.intent.action, one.status) for one in intents]


async def test_a_rule_without_lookups_acts_at_once_and_the_record_tells_it(station, outside):
    await station.send(run_event("e1", runTags={"team": "plain"}))
    await station.work()
    assert statuses(await station.intents("e1")) == [("teams", "done"), ("sms", "done")]
    record = await station.record("e1")
    assert (record.status, [verdict.rule for verdict in record.decision.verdicts]) == ("decided", ["plain"])
    assert len(outside.http.sent) == 1
    assert outside.platform.names.count("run-e1") <= 2  # the card's own lookups; the rule asked for none


async def test_an_event_that_no_rule_wants_is_on_record_all_the_same(station, outside):
    await station.send(run_event("e1", runTags={"team": "nobody"}))
    await station.work()
    record = await station.record("e1")
    assert (record.status, record.decision.verdicts, record.decision.considered) == ("decided", (), 3)
    assert outside.http.sent == []


@pytest.mark.parametrize(("auc", "cards"), [(0.93, 1), (0.89, 0)])
async def test_a_rule_that_reads_metrics_is_decided_after_the_lookup(station, outside, auc, cards):
    outside.platform.measured["run-e1"] = {"auc": auc}
    await station.send(run_event("e1", runTags={"team": "fraud"}))
    await station.work()
    record = await station.record("e1")
    assert record.facts.metrics == {"auc": auc}
    assert len(outside.http.sent) == cards


KEEPING = """
rules:
  - {name: audited, event: RunCompleted, match: {tags.team: audited}, keep: 400d, do: [{notify: fraud}]}
  - {name: brief, event: RunCompleted, match: {tags.team: [brief, both]}, keep: 9d, do: [{notify: fraud}]}
  - {name: usual, event: RunCompleted, match: {tags.team: both}, do: [{notify: fraud}]}
  - {name: measured, event: RunCompleted, match: {tags.team: measured, metrics.auc: ">= 0.9"}, keep: 60d, do: [{notify: fraud}]}
"""


@pytest.mark.parametrize(
    ("team", "days"),
    [("audited", 400), ("brief", 9), ("both", 30), ("nobody", 7), ("measured", 60), ("measured-ill", 7)],
)
async def test_a_record_is_kept_for_the_longest_of_the_rules_that_matched(tmp_path, outside, team, days):
    team, _, ill = team.partition("-")
    outside.platform.measured["run-e1"] = {"auc": 0.1 if ill else 0.95}
    with opened(tmp_path / "kept.db") as database:
        station = Station(outside, database, KEEPING, f"{SWITCHYARD}retention: {{unmatched: 7d}}\n")
        await station.send(run_event("e1", runTags={"team": team}))
        await station.work()
        record = await station.record("e1")
        assert record.kept_until - record.received == timedelta(days=days)
        await station.later((days - 0.1) * 86_400)
        assert await station.service.prune(outside.clock()) == 0
        await station.later(0.2 * 86_400)
        assert await station.service.prune(outside.clock()) == 1


async def test_links_of_chains_are_kept_as_long_as_what_no_rule_matched(tmp_path, outside):
    with opened(tmp_path / "kept.db") as database:
        station = Station(outside, database, RULES, f"{SWITCHYARD}retention: {{unmatched: 400d}}\n")
        await station.send(run_event("e1"))
        await station.work()
        parent = (await station.record("e1")).id
        await station.send(run_event("e2", runTags={CAUSE_EVENT: parent}))
        await station.work()
        for days, links in ((100, 1), (301, 0)):
            await station.later(days * 86_400)
            await station.service.prune(outside.clock())
            assert len(await outside.shelf.all(chain.FOLDER)) == links


@pytest.mark.parametrize("error", [TemporaryError("HTTP 503"), PermanentError("HTTP 403")])
async def test_nothing_is_forgotten_while_nobody_can_say_how_long_it_is_to_be_kept(outside, station, error):
    await station.send(run_event("e1"))
    await station.work()
    old = outside.clock().date()
    outside.archive.lines[old] = ["e1"]
    outside.clock.advance(200 * 86_400)
    fresh = Service(outside.world, Settings())
    outside.documents.failure = error
    assert await fresh.prune(outside.clock()) == 0
    assert (await station.record("e1")).status == "decided"
    assert list(outside.archive.lines) == [old]
    outside.documents.failure = None
    outside.documents.edited = {"switchyard.yaml": f"{SWITCHYARD}retention: {{archive: 3660d}}\n"}
    outside.clock.advance(LOOK_EVERY)
    assert await fresh.prune(outside.clock()) == 1
    assert list(outside.archive.lines) == [old]


async def test_what_could_not_be_read_is_kept_as_usual(station):
    await station.send({"id": "e1", "subject": "no type"})
    await station.work()
    (record,) = [one for one in await station.service.world.store.events(Search()) if one.status == "refused"]
    assert record.kept_until - record.received == timedelta(days=30)


async def test_a_redelivered_event_is_taken_in_once_also_after_seven_days(station, outside):
    sent = run_event("e1", runTags={"team": "plain"})
    await station.send(sent, sent)
    await station.work()
    await station.later(6.9 * 86_400)
    await station.service.prune(outside.clock())
    await station.send(sent)
    await station.work()
    assert len(outside.http.sent) == 1
    assert (await station.record("e1")).deliveries == 3
    assert [told.what for told in station.told].count("again") == 2


async def test_a_busy_far_side_is_tried_again_when_it_asked_to_be(station, outside):
    outside.http.answer(429, b"", retry_after="120")
    await station.send(run_event("e1", runTags={"team": "plain"}))
    await station.work()
    assert statuses(await station.intents("e1"))[0] == ("teams", "retrying")
    await station.later(119)
    assert len(outside.http.sent) == 1
    await station.later(2)
    teams = (await station.intents("e1"))[0]
    assert (teams.status, [attempt.outcome for attempt in teams.attempts]) == ("done", ["later", "done"])
    assert not teams.maybe_twice  # 429 says that nothing was done


async def test_an_answer_that_never_came_is_on_record_as_perhaps_twice(station, outside):
    outside.http.script.append(TemporaryError("no answer within 30 s", sent=True))
    await station.send(run_event("e1", runTags={"team": "plain"}))
    await station.work()
    await station.later(11)
    teams = (await station.intents("e1"))[0]
    assert (teams.status, teams.maybe_twice) == ("done", True)


async def test_a_refusal_is_recorded_with_its_reason_and_a_person_is_told(station, outside):
    outside.http.answer(404, b"no such flow")
    await station.send(run_event("e1", runTags={"team": "plain"}))
    await station.work()
    teams, sms = await station.intents("e1")
    assert (teams.status, sms.status) == ("refused", "done")
    assert "404" in teams.attempts[-1].note
    assert len(outside.http.sent) == 1
    ((letter, _),) = outside.mail.sent
    assert letter.to == ("mlops@contoso.com",)
    assert "plain" in letter.text


async def test_when_every_try_is_used_up_it_has_failed_and_a_person_is_told_once(station, outside):
    outside.fail(503)
    outside.mail.failure = None
    await station.send(run_event("e1", runTags={"team": "plain"}))
    for _ in range(12):
        await station.later(4000)
    teams, sms = await station.intents("e1")
    assert (teams.status, len(teams.attempts)) == ("failed", 8)
    assert sms.status == "failed"
    assert len({key for _, key in outside.mail.sent}) == 2  # one letter for each of the two


async def test_telling_about_a_failure_that_fails_itself_comes_to_an_end(station, outside):
    outside.fail(404)
    await station.send(run_event("e1", runTags={"team": "plain"}))
    for _ in range(5):
        await station.later(4000)
    events = [told.record.event.type for told in station.told if told.what == "taken in"]
    assert events == ["RunCompleted", "ActionFailed", "ActionFailed"]


async def test_a_lookup_that_is_busy_delays_only_the_rules_that_need_it(station, outside):
    outside.platform.failure = TemporaryError("HTTP 503")
    await station.send(run_event("e1", runTags={"team": "fraud"}), run_event("e2", runTags={"team": "plain"}))
    await station.work()
    assert (await station.record("e1")).status == "deciding"
    assert statuses(await station.intents("e2"))[1] == ("sms", "retrying")  # its decoration is worth a little patience
    outside.platform.failure, outside.platform.measured = None, {"run-e1": {"auc": 0.95}}
    await station.later(11)
    assert (await station.record("e1")).status == "decided"
    assert len(outside.http.sent) == 2


async def test_a_card_goes_out_without_its_decoration_rather_than_not_at_all(station, outside):
    outside.platform.failure = TemporaryError("HTTP 503")
    await station.send(run_event("e1", runTags={"team": "plain"}))
    for _ in range(4):
        await station.later(100)
    assert statuses(await station.intents("e1")) == [("teams", "done"), ("sms", "done")]


async def test_a_lookup_that_never_comes_back_leaves_a_record_that_can_be_replayed(station, outside):
    outside.platform.failure = TemporaryError("HTTP 503")
    await station.send(run_event("e1", runTags={"team": "fraud"}))
    for _ in range(12):
        await station.later(4000)
    record = await station.record("e1")
    assert record.status == "failed"
    assert "lookup" in record.refusal
    assert len(outside.mail.sent) == 1
    outside.platform.failure, outside.platform.measured = None, {"run-e1": {"auc": 0.95}}
    await station.service.replay(record.id)
    await station.work()
    assert statuses(await station.intents("e1")) == [("teams", "done")]
    assert (await station.record("e1")).replays == 1


async def test_a_replay_does_what_failed_and_leaves_alone_what_is_done(station, outside):
    outside.http.answer(404)
    await station.send(run_event("e1", runTags={"team": "plain"}))
    await station.work()
    await station.service.replay((await station.record("e1")).id)
    await station.work()
    assert statuses(await station.intents("e1")) == [("teams", "done"), ("sms", "done")]
    assert len(outside.sms.sent) == 1
    assert len(outside.http.sent) == 2


async def test_a_killed_worker_leaves_work_that_is_done_under_the_same_key(outside, tmp_path):
    path = tmp_path / "state.db"
    with opened(path) as database:
        before = Station(outside, database, RULES)
        await before.send(run_event("e1", runTags={"team": "plain"}))
        message = await before.queues.take()
        await before.service.on_message(message.body)
        before.queues.done(message)
        (first, _) = await before.intents("e1")
        assert await before.service.world.store.claim(first.intent.key, outside.clock())  # and here it was killed
    with opened(path) as database:
        after = Station(outside, database, RULES)
        await after.work()
        teams, sms = await after.intents("e1")
        assert (teams.status, teams.maybe_twice) == ("done", True)
        assert (sms.status, sms.maybe_twice) == ("done", False)


async def test_what_is_unreadable_is_kept_with_its_bytes_and_told_once_an_hour(station, outside):
    await station.send({"id": "bad1"}, {"id": "bad2"})
    await station.work()
    refused = [told.record for told in station.told if told.what == "refused"]
    assert [record.status for record in refused] == ["refused", "refused"]
    assert "eventType is missing" in refused[0].refusal
    assert len(outside.mail.sent) == 1
    await station.later(3600)
    await station.send({"id": "bad3"})
    await station.work()
    assert len(outside.mail.sent) == 2


async def test_a_long_event_comes_in_parts_and_is_one_event(station):
    noise = {f"k{n}": str(hash(("x", n)) ** 5) for n in range(6000)}
    envelope = run_event("e1", runTags={"team": "plain"}, runProperties=noise)
    texts = wire.arrived(envelope, station.outside.clock())
    assert len(texts) > 1
    for text in reversed(texts):
        await station.service.on_message(text)
    await station.work()
    assert statuses(await station.intents("e1")) == [("teams", "done"), ("sms", "done")]


async def test_what_we_start_says_why_and_a_loop_ends(station, outside):
    await station.send(run_event("e0", kind="RunStatusChanged", runStatus="Failed"))
    await station.work()
    started = []
    for n in range(1, 6):
        new = [job for name, job in outside.platform.submitted.items() if name not in started]
        if not new:
            break
        started.append(new[0].name)
        tags = new[0].tags
        assert "." not in "".join(tags)
        await station.send(run_event(f"e{n}", kind="RunStatusChanged", runStatus="Failed", runTags=tags))
        await station.work()
    assert len(started) == 3
    (held,) = await station.intents("e3")
    assert held.status == "held"
    assert "loop" in held.attempts[-1].note
    assert len(outside.mail.sent) == 1


async def test_a_job_is_submitted_under_the_key_however_often_it_is_tried(station, outside):
    outside.platform.failure = TemporaryError("lost", sent=True)
    await station.send(run_event("e1", kind="RunStatusChanged", runStatus="Failed"))
    await station.work()
    outside.platform.failure = None
    await station.later(11)
    (retrain,) = await station.intents("e1")
    assert (retrain.status, retrain.maybe_twice) == ("done", False)
    assert len(set(outside.platform.names)) == 1


async def test_a_message_that_is_none_of_ours_is_kept_when_the_host_gives_it_up(station, outside):
    await station.service.on_poison('{"type":"nobody"}')
    await station.work()
    (told, _) = station.told[:2]
    assert told.what == "refused"
    assert len(outside.mail.sent) == 1


async def test_no_secret_reaches_a_record(station, outside):
    outside.http.otherwise = Reply(500, {}, b"")
    outside.http.echoes = True
    outside.platform.jobs["run-e1"] = Job(error="boom")
    await station.send(run_event("e1", runTags={"team": "plain"}))
    for _ in range(10):
        await station.later(4000)
    rows = await station.database.read(
        lambda db: [*db.execute("SELECT * FROM intents"), *db.execute("SELECT * FROM events")]
    )
    assert "marker" not in str(rows)


# What is our own fault


@pytest.fixture
def broken(monkeypatch):
    """The Teams action has a bug, until the returned switch is turned."""
    teams = discover()["teams"]
    on = [True]

    async def run(params, context):
        if on[0]:
            raise ZeroDivisionError("https://flows.test/?sig=secret")
        return await teams.run(params, context)

    monkeypatch.setattr("shared.perform.discover", lambda: {**discover(), "teams": replace(teams, run=run)})
    return on


async def host_gives_up(station):
    """What the host does with messages that raise: some times again, then the poison queue."""
    while station.queues.ready():
        if not station.queues._ready:
            await station.queues._refill(station.outside.clock().timestamp())
            continue
        message = await station.queues.take()
        for last in (False, False, True):
            try:
                await station.service.on_message(message.body)
                break
            except Exception:  # noqa: BLE001 (a host does not ask what it is)
                if last:
                    await station.service.on_poison(message.body)
        station.queues.done(message)


async def test_a_bug_in_an_action_ends_as_a_failed_intent_that_a_person_hears_of(station, outside, broken):
    await station.send(run_event("e1", runTags={"team": "plain"}))
    await host_gives_up(station)
    teams, sms = await station.intents("e1")
    assert (teams.status, sms.status) == ("failed", "done")
    assert [attempt.outcome for attempt in teams.attempts] == ["later", "later", "later", "failed"]
    assert "ZeroDivisionError" in teams.attempts[0].note
    assert "secret" not in str(teams)
    assert teams.maybe_twice  # it may have been sent before the bug
    assert len(outside.mail.sent) == 1


async def test_what_a_bug_prevented_is_done_by_a_replay_once_it_is_mended(station, outside, broken):
    await station.send(run_event("e1", runTags={"team": "plain"}))
    await host_gives_up(station)
    broken[0] = False
    await station.service.replay((await station.record("e1")).id)
    await station.work()
    assert statuses(await station.intents("e1")) == [("teams", "done"), ("sms", "done")]


async def test_a_bug_in_a_lookup_leaves_an_event_that_says_so_and_can_be_replayed(station, outside):
    outside.platform.failure = ZeroDivisionError()
    await station.send(run_event("e1", runTags={"team": "fraud"}))
    await host_gives_up(station)
    record = await station.record("e1")
    assert (record.status, "log" in record.refusal) == ("failed", True)
    assert len(outside.mail.sent) == 1
    outside.platform.failure, outside.platform.measured = None, {"run-e1": {"auc": 0.95}}
    await station.service.replay(record.id)
    await station.work()
    assert statuses(await station.intents("e1")) == [("teams", "done")]


async def test_a_bug_in_deciding_leaves_the_event_on_record_and_a_replay_decides_it(station, outside, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("shared.service.plan", lambda *_: 1 / 0)
        noise = {f"k{n}": str(hash(("x", n)) ** 5) for n in range(6000)}  # in parts, of which the last is given up
        await station.send(run_event("e1", runTags={"team": "plain"}, runProperties=noise))
        with contextlib.suppress(ZeroDivisionError):  # to tell a person has to be decided too
            await host_gives_up(station)
    record = await station.record("e1")
    assert (record.status, record.event.run.id) == ("failed", "run-e1")
    await station.service.replay(record.id)
    await station.work()
    assert (await station.record("e1")).status == "decided"
    assert statuses(await station.intents("e1")) == [("teams", "done"), ("sms", "done")]


async def test_a_message_given_up_while_nothing_can_be_kept_comes_again(station, outside, monkeypatch):
    async def refuse(*_):
        raise PermanentError("HTTP 403")

    text = wire.arrived(run_event("e1", runTags={"team": "plain"}), outside.clock())[0]
    with monkeypatch.context() as patch:
        patch.setattr(station.service.world.store, "take_in", refuse)
        await station.service.on_poison(text)
    await station.later(3601)
    assert (await station.record("e1")).status == "decided"


async def test_a_store_out_of_reach_costs_time_and_nothing_else(station, outside, monkeypatch):
    async def refuse(*_):
        raise TemporaryError("HTTP 503")

    await station.send(run_event("e1", runTags={"team": "plain"}))
    with monkeypatch.context() as patch:
        patch.setattr(station.service.world.store, "take_in", refuse)
        for _ in range(20):  # far longer than a host would give a failing message
            await station.later(10)
    await station.later(10)
    assert statuses(await station.intents("e1")) == [("teams", "done"), ("sms", "done")]


async def test_rules_that_changed_while_an_event_waited_are_looked_up_for_anew(station, outside):
    outside.platform.failure = TemporaryError("HTTP 503")
    await station.send(run_event("e1", runTags={"team": "fraud"}))
    await station.work()
    outside.platform.failure = None
    outside.platform.jobs["run-e1"] = Job(compute="gpu")
    changed = RULES.replace('metrics.auc: ">= 0.9"', "job.compute: gpu")
    station.service.loaded = load_texts({"switchyard.yaml": SWITCHYARD, "rules/team.yaml": changed})
    await station.later(11)
    assert statuses(await station.intents("e1")) == [("teams", "done")]


async def test_an_event_whose_waiting_rule_is_gone_is_decided_all_the_same(station, outside):
    outside.platform.failure = TemporaryError("HTTP 503")
    await station.send(run_event("e1", runTags={"team": "fraud"}))
    await station.work()
    gone = RULES.replace("name: good", "name: renamed")
    station.service.loaded = load_texts({"switchyard.yaml": SWITCHYARD, "rules/team.yaml": gone})
    await station.later(11)
    record = await station.record("e1")
    assert (record.status, record.decision.verdicts) == ("decided", ())


async def test_what_fails_again_after_a_replay_is_told_again(station, outside):
    await station.send(run_event("e1", runTags={"team": "plain"}))
    outside.http.otherwise = Reply(404, {}, b"")
    await station.work()
    record = (await station.record("e1")).id
    for letters in (2, 3):
        await station.service.replay(record)
        await station.work()
        assert len(outside.mail.sent) == letters


async def test_a_replay_takes_up_an_intent_whose_message_was_lost(station, outside):
    await station.send(run_event("e1", runTags={"team": "plain"}))
    message = await station.queues.take()
    await station.service.on_message(message.body)
    await station.database.write(lambda db: db.execute("DELETE FROM messages") and None)
    station.queues._ready.clear()
    teams, sms = await station.intents("e1")
    await station.service.world.store.claim(teams.intent.key, outside.clock())
    station.service.world.store._running.clear()  # as after a kill
    await station.service.replay(teams.intent.event)
    await station.work()
    teams, sms = await station.intents("e1")
    assert (teams.status, teams.maybe_twice) == ("done", True)
    assert (sms.status, sms.maybe_twice) == ("done", False)


async def test_a_sender_gone_wrong_is_told_of_once_an_hour_whatever_its_values(station, outside):
    await station.send(*(run_event(f"e{n}") | {"eventTime": f"{n} o'clock"} for n in range(20)))
    await station.work()
    assert len(outside.mail.sent) == 1


async def test_a_message_given_up_whose_event_was_taken_in_all_the_same_changes_nothing(station, outside):
    await station.send(run_event("e1", runTags={"team": "plain"}))
    await station.work()
    await station.service.on_poison(wire.arrived(run_event("e1"), outside.clock())[0])
    await station.work()
    assert (await station.record("e1")).status == "decided"
    assert outside.mail.sent == []


# Silences and acknowledgements

TELLING = """
rules:
  - name: failed
    event: RunStatusChanged
    match: {run.status: Failed}
    do: [{notify: fraud}, {retrain: weekly}]
"""


@pytest.fixture
def telling(outside, tmp_path):
    with opened(tmp_path / "state.db") as database:
        station = Station(outside, database, TELLING)
        station.service.settings = replace(station.service.settings, signing_key="a long random text")
        yield station


def failing(name, at="2026-11-20T08:29:00Z", status="Failed"):
    return run_event(name, "RunStatusChanged", runStatus=status) | {"eventTime": at}


async def silenced(station, matchers, hours, **more):
    now = station.outside.clock()
    one = Silence(book.silence_id(now, "x"), matchers, "Naoko", "migration", now, now + timedelta(hours=hours), **more)
    return await book.add_silence(station.outside.shelf, one)


async def test_a_silence_holds_back_messages_and_nothing_else_and_says_so_on_record(telling, outside):
    one = await silenced(telling, {"run.experiment": "fraud"}, 4)
    await telling.send(failing("e1"))
    await telling.work()
    assert statuses(await telling.intents("e1")) == [("teams", "suppressed"), ("retrain", "done")]
    (told, _) = await telling.intents("e1")
    assert told.attempts[-1].note == (f"silence: until 2026-11-20 12:30 UTC by Naoko: migration (silence {one.id})")
    assert outside.http.sent == []
    assert await book.held_back(outside.shelf, one.id) == 1
    await telling.later(4 * 3600)
    await telling.send(failing("e2"))
    await telling.work()
    assert statuses(await telling.intents("e2"))[0] == ("teams", "done")


async def test_a_failure_is_muted_from_its_card_until_a_run_completes(telling, outside):
    await telling.send(failing("e1"))
    await telling.work()
    (card,) = outside.http.sent
    link = re.search(rb"http://localhost:7071(/acknowledge/[\w.-]+)", card.body)
    assert link is not None
    said = urlencode({"answer": "mute", "by": "Mika"}).encode()
    form = {"content_type": "application/x-www-form-urlencoded"}
    answer = await ask(app(lambda: telling.service), "POST", link[1].decode(), form, said)
    assert answer.status == 303
    await telling.send(failing("e2"))
    await telling.work()
    assert statuses(await telling.intents("e2"))[0] == ("teams", "suppressed")
    await telling.later(60)
    await telling.send(run_event("old") | {"eventTime": "2026-11-20T08:00:00Z"})  # late: it was before the failure
    await telling.work()
    assert len(await book.silences(outside.shelf, outside.clock())) == 1
    await telling.later(60)
    await telling.send(run_event("good") | {"eventTime": "2026-11-20T08:31:30Z"})
    await telling.work()
    (one,) = await book.all_silences(outside.shelf)
    assert one.expired_by == f"resolved by event {(await telling.record('good')).id}"
    await telling.send(failing("e3", "2026-11-20T08:33:00Z"))
    await telling.work()
    assert statuses(await telling.intents("e3"))[0] == ("teams", "done")
    ack = await book.acknowledged(outside.shelf, (await telling.record("e1")).id)
    assert ack is not None
    assert (ack.by, ack.via) == ("Mika", "link to fraud")


async def test_the_owner_of_a_silence_hears_of_its_end_once_and_of_its_length_every_week(telling, outside):
    one = await silenced(telling, {"rule": "~ .*"}, 12 * 24)
    for _ in range(2 * 13 * 24):
        await telling.service.on_silences()
        await telling.later(1800)
    told = [letter for letter, _ in outside.mail.sent]
    subjects = [letter.subject for letter in told]
    assert [subject.partition(":")[0] for subject in subjects] == [
        "Still silenced",
        "Still silenced",
        "Silence ends soon",
    ]
    assert "rule ~ .*" in subjects[0]
    assert "http://localhost:7071/silences" in told[0].text
    assert await book.silences(outside.shelf, outside.clock()) == []
    kept = await book.silence(outside.shelf, one.id)
    assert kept is not None
    assert (kept.warned, kept.reminded) == (True, 2)


async def test_killed_between_telling_and_noting_it_is_told_once(telling, outside):
    await silenced(telling, {"rule": "~ .*"}, 1)
    outside.clock.advance(55 * 60)
    folders = outside.shelf
    telling.service.world = replace(telling.service.world, shelf=Torn(folders))
    with pytest.raises(TemporaryError):
        await telling.service.on_silences()
    telling.service.world = replace(telling.service.world, shelf=folders)
    await telling.service.on_silences()
    await telling.work()
    assert len(outside.mail.sent) == 1


class Torn:
    """A shelf that can be read and not be written."""

    def __init__(self, shelf):
        self._shelf = shelf

    def __getattr__(self, name):
        return getattr(self._shelf, name)

    async def swap(self, *_):
        raise TemporaryError("out of reach")

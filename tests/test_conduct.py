"""Doing what a script asks for: once, on record, with every way to fail answered. The far sides are fakes, the rest is real."""

import json
from datetime import timedelta

import pytest
from msgspec.structs import replace

from shared import book, wire
from shared.conduct import LAG, Conductor
from shared.errors import ConflictError, MissingError, PermanentError, QuotaError, TemporaryError
from shared.record import Job, WorkspaceRef
from shared.rollout.outputs import differs
from shared.rollout.policy import BinaryGate, Compare, Labels, Load, Policy, Sample, Smoke
from shared.rollout.record import (
    SCRIPT,
    Announce,
    Ask,
    Assess,
    Assessed,
    Bake,
    Busy,
    Changed,
    Clear,
    CompareModels,
    Create,
    Delete,
    DeploymentState,
    Done,
    Elapsed,
    EndpointState,
    Finish,
    Freeze,
    Frozen,
    Heard,
    Look,
    Measure,
    Measured,
    Minute,
    Occupied,
    Pair,
    Probe,
    Probed,
    Promote,
    Refused,
    Restore,
    Rollout,
    Said,
    Seen,
    Shift,
    Step,
    Tag,
    TakeTurn,
    Word,
)
from shared.world import Data, Invocation, Origin, Pressed, Scored
from tests.world import START, Outside

WHERE = WorkspaceRef("s1", "g1", "prod")
POLICY = Policy("fraud-online", "fraud-online", gates=(BinaryGate("http_5xx"),), notify=("team",))


def about(name="r1", *, version="13", at=START, policy=POLICY, restores=""):
    return Rollout(
        name, policy, WHERE, "fraud-online", "fraud", version, f"fraud-{version}", at, "c1", "e1", restores=restores
    )


@pytest.fixture
def outside():
    out = Outside()
    blue = DeploymentState("blue", "Succeeded", "fraud:12")
    out.serving.endpoints["fraud-online"] = EndpointState("fraud-online", "Succeeded", {"blue": 100}, {}, (blue,))
    out.serving.origins["fraud:12"] = Origin({"stage": "production"}, run="run-12")
    out.serving.origins["fraud:13"] = Origin({"stage": "candidate"}, run="run-13", commit="9c1f7e2d")
    out.platform.measured = {"run-12": {"auc": 0.92}, "run-13": {"auc": 0.93}}
    return out


class Desk:
    """A conductor and the rollout it conducts."""

    def __init__(self, outside, rollout=None):
        self.outside, self.rollout = outside, rollout or about()
        self.conductor = Conductor(outside.world)
        self.n = 0

    async def begin(self):
        await self.conductor.start(self.rollout)
        return self

    async def ask(self, command, n=None):
        self.n = self.n + 1 if n is None else n
        return await self.conductor.step(self.rollout.id, self.n, self.outside.clock(), command)

    async def head(self):
        return await book.head(self.outside.shelf, self.rollout)


@pytest.fixture
async def desk(outside):
    return await Desk(outside).begin()


def events(outside):
    return [wire.load(wire.Arrived, text).event for text, _ in outside.queue.put_texts]


async def test_a_step_on_record_is_answered_from_there_and_nothing_is_done_again(desk, outside):
    first = await desk.ask(Create(status="deploying"), n=1)
    asked = len(outside.serving.asked)
    outside.serving.failure = PermanentError("nobody may ask again")
    fresh = Conductor(outside.world)
    assert await fresh.step("r1", 1, START, Create(status="deploying")) == first == Done(at=START)
    assert len(outside.serving.asked) == asked


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (TemporaryError("HTTP 409", retry_after=7), Busy(at=START, reason="HTTP 409", after=7)),
        (QuotaError("no room for 2 of DS3_v2"), Refused(at=START, reason="no room for 2 of DS3_v2", code="quota")),
        (ConflictError("not ours"), Refused(at=START, reason="not ours", code="conflict")),
        (MissingError("no endpoint"), Refused(at=START, reason="no endpoint", code="missing")),
        (PermanentError("HTTP 400"), Refused(at=START, reason="HTTP 400")),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        Look(status="checking"),
        Create(status="deploying"),
        Shift(status="baking", traffic={"blue": 90, "fraud-13": 10}),
        Tag(status="promoting", model="fraud", version="13", tags={"stage": "production"}),
        Delete(status="keeping", deployment="blue"),
    ],
)
async def test_whatever_the_far_side_says_is_an_answer(desk, outside, command, failure, expected):
    outside.serving.failure = failure
    assert await desk.ask(command) == expected


async def test_our_own_fault_is_an_answer_too_and_does_not_say_what_it_may_hold(desk, outside, caplog):
    outside.serving.failure = KeyError("https://flows.test/?sig=marker")
    answer = await desk.ask(Create(status="deploying"))
    assert answer == Refused(at=START, reason="our own fault (KeyError), the log says where", code="fault")
    assert "a command of a rollout failed" in caplog.text


async def test_a_bake_ends_by_time(desk, outside):
    bake = Bake(status="baking", until=START + timedelta(minutes=5))
    assert await desk.ask(bake, n=3) is None
    outside.clock.advance(300)
    assert await desk.ask(bake, n=3) == Elapsed(at=outside.clock())


async def test_a_word_ends_a_bake_and_is_heard_once(desk, outside):
    await desk.conductor.say("r1", "abort", "Sato", "wrong data", "command line")
    bake = Bake(status="baking", until=START + timedelta(minutes=5))
    heard = await desk.ask(bake, n=3)
    assert isinstance(heard, Heard)
    assert (heard.word.verb, heard.word.by, heard.word.reason) == ("abort", "Sato", "wrong data")
    assert await Conductor(outside.world).step("r1", 4, START, bake) is None


async def test_an_answer_is_for_its_question_and_the_first_one_counts(desk, outside):
    question = Ask(status="asking", question=Said("approve?"), until=START + timedelta(hours=1), of="ml-leads")
    with pytest.raises(PermanentError, match="asks nothing"):
        await desk.conductor.say("r1", "approve", "Sato", "", "console")
    await desk.ask(question, n=5)
    with pytest.raises(PermanentError, match="question is closed"):
        await desk.conductor.say("r1", "approve", "Sato", "", "link", ask=2)
    await desk.conductor.say("r1", "approve", "Sato", "looks good", "link", ask=5)
    with pytest.raises(PermanentError, match="answered already, by Sato at 2026-11-20 08:30 UTC: approve"):
        await desk.conductor.say("r1", "reject", "Suzuki", "", "link", ask=5)
    other = Bake(status="asking", until=START + timedelta(hours=1), ask=9)
    assert await desk.ask(other, n=6) is None
    heard = await desk.ask(Bake(status="asking", until=START + timedelta(hours=1), ask=5), n=7)
    assert isinstance(heard, Heard)
    assert heard.word.by == "Sato"


async def test_an_answer_at_the_last_moment_is_heard_and_a_later_one_is_told_so(desk, outside):
    until = START + timedelta(hours=1)
    bake = Bake(status="asking", until=until, ask=5)
    late = Word("approve", "Sato", until, "", 5)
    for moment, heard in ((-1, True), (0, False)):
        fresh = await Desk(outside, about(f"late{moment}")).begin()
        await fresh.ask(Ask(status="asking", question=Said("approve?"), until=until), n=5)
        outside.clock.now = until + timedelta(seconds=moment)
        if heard:
            await fresh.conductor.say(fresh.rollout.id, "approve", "Sato", "", "link", ask=5)
        else:
            with pytest.raises(PermanentError, match="could be answered until 2026-11-20 09:30 UTC"):
                await fresh.conductor.say(fresh.rollout.id, "approve", "Sato", "", "link", ask=5)
        outside.clock.now = until
        assert isinstance(await fresh.ask(bake, n=6), Heard if heard else Elapsed)
        with pytest.raises(PermanentError, match="answered already" if heard else "nobody answered it in time"):
            await book.say(outside.shelf, fresh.rollout.id, late)
        assert [word.by for word in await book.words(outside.shelf, fresh.rollout.id)] == ["Sato"] * heard
        outside.clock.now = START


async def test_a_question_stays_open_while_something_else_is_seen_to(desk, outside):
    until = START + timedelta(hours=1)
    await desk.ask(Ask(status="asking", question=Said("approve?"), until=until, of="ml-leads"), n=5)
    await desk.ask(Look(status="baking"), n=6)  # an old read, and it is looked at again
    assert await desk.ask(Bake(status="asking", until=START + timedelta(minutes=5), ask=5), n=7) is None
    assert (await desk.head()).question.of == "ml-leads"
    await desk.conductor.say("r1", "approve", "Sato", "", "link", ask=5)
    assert isinstance(await desk.ask(Bake(status="asking", until=until, ask=5), n=7), Heard)


async def test_a_try_that_comes_too_late_changes_nothing(desk, outside):
    old = await desk.head()
    await desk.conductor.give_up("r1", "the state was lost")
    assert not await book.change_head(outside.shelf, desk.rollout, old, replace(old, status="baking"))
    assert (await desk.head()).status == "stuck"


async def test_a_long_account_is_read_to_its_end(outside):
    answer, command = Elapsed(at=START), Bake(status="baking", until=START)
    for n in range(10_010):
        outside.shelf.folders.setdefault("rollout-r1-steps", {})[f"{n:06d}"] = wire.dump(
            Step(n, START, command, answer)
        )
    assert [step.n for step in await book.steps(outside.shelf, "r1")] == list(range(10_010))


async def test_the_end_is_not_taken_for_reached_where_it_could_not_be_written_down(desk, outside, monkeypatch):
    await desk.ask(TakeTurn(status="waiting"))
    finish = Finish(status="keeping", verdict="promoted")
    for failure in (TemporaryError("HTTP 503"), PermanentError("HTTP 403")):

        async def barred(*_, failure=failure):
            raise failure

        with monkeypatch.context() as patched:
            patched.setattr(book, "leave", barred)
            with pytest.raises(type(failure)):
                await desk.ask(finish, n=9)
    second = await Desk(outside, about("r2", version="14", at=START + timedelta(minutes=1))).begin()
    assert isinstance(await second.ask(TakeTurn(status="waiting")), Occupied)
    assert await second.ask(TakeTurn(status="waiting")) == Done(at=START), "it has ended: nobody has to give it back"
    assert await desk.ask(finish, n=9) == Done(at=START)


async def test_two_that_wait_and_would_both_replace_the_first_do_not_stand_in_each_others_way(outside, monkeypatch):
    await (first := await Desk(outside).begin()).ask(TakeTurn(status="waiting"))
    policy = Policy("fraud-online", "fraud-online", second="replace")
    others = [
        await Desk(outside, about(f"r{n}", version=f"{n}", at=START + timedelta(minutes=n), policy=policy)).begin()
        for n in (2, 3)
    ]
    await others[0].ask(TakeTurn(status="waiting"))

    async def nothing_yet(*_):
        return []

    with monkeypatch.context() as patched:
        patched.setattr(book, "words", nothing_yet)
        assert await others[1].ask(TakeTurn(status="waiting")) == Occupied(at=START, holder="r1")
    heard = await first.ask(Bake(status="deploying", until=START + timedelta(hours=1)))
    assert (heard.word.verb, heard.word.by) == ("replace", "r2")


async def test_the_head_shows_what_is_asked_and_of_whom_until_it_is_not(desk):
    question = Ask(
        status="asking", percent=10, question=Said("approve?"), until=START + timedelta(hours=1), of="ml-leads"
    )
    await desk.ask(question, n=5)
    await desk.ask(Bake(status="asking", percent=10, until=START + timedelta(hours=1), ask=5), n=6)
    await desk.ask(Measure(status="baking", percent=10, since=START, canary="fraud-13", others=("blue",)), n=7)
    head = await desk.head()
    assert (head.status, head.percent, head.question.n, head.question.of) == ("asking", 10, 5, "ml-leads")
    await desk.ask(Look(status="baking", percent=10), n=8)
    assert (await desk.head()).question is None


async def test_weights_are_compared_before_they_are_written(desk, outside):
    outside.serving.endpoints["fraud-online"] = EndpointState("fraud-online", "Succeeded", {"blue": 70, "mine": 30})
    shift = Shift(status="baking", traffic={"blue": 90, "fraud-13": 10}, expected={"blue": 100}, expected_mirror={})
    assert await desk.ask(shift) == Changed(at=START, traffic={"blue": 70, "mine": 30})
    assert await desk.ask(Restore(status="rolling back", traffic={"blue": 100})) == Done(at=START)
    assert await desk.ask(Promote(status="promoting", traffic={"blue": 100})) == Done(at=START, again=True)


async def test_a_version_that_a_person_rejected_keeps_that_label(desk, outside):
    outside.serving.origins["fraud:12"] = Origin({"stage": "rejected"})
    tags = {"stage": "archived", "switchyard_rollout": "r1"}
    for version in ("12", "13"):
        await desk.ask(Tag(status="promoting", model="fraud", version=version, tags=tags))
    assert outside.serving.origins["fraud:12"].tags == {"stage": "rejected", "switchyard_rollout": "r1"}
    assert outside.serving.origins["fraud:13"].tags["stage"] == "archived"


async def test_counts_end_three_minutes_ago(desk, outside):
    minutes = [START.replace(second=0) + timedelta(minutes=n) for n in range(10)]
    outside.counts.pairs = [Pair(at, Minute(60), Minute(540)) for at in minutes]
    outside.clock.advance(600 + 59)
    answer = await desk.ask(Measure(status="baking", since=minutes[2], canary="fraud-13", others=("blue",)))
    assert isinstance(answer, Measured)
    assert answer.until == minutes[0] + timedelta(minutes=10) - LAG
    assert [pair.at for pair in answer.pairs] == minutes[2:7]
    assert answer.endpoint is not None
    assert answer.tags == {"stage": "candidate"}


async def test_counts_that_cannot_be_had_are_unknown_and_the_endpoint_is_seen_all_the_same(desk, outside):
    outside.counts.failure = TemporaryError("HTTP 503")
    outside.clock.advance(600)
    answer = await desk.ask(Measure(status="baking", since=START, canary="fraud-13", others=("blue",)))
    assert isinstance(answer, Measured)
    assert (answer.unknown, answer.until, answer.pairs) == ("HTTP 503", START, ())
    assert answer.endpoint is not None


async def test_metrics_come_from_the_runs_and_numeric_tags_stand_in(desk, outside):
    outside.serving.origins["fraud:13"] = Origin({"auc": "0.91", "f1": "0.8", "team": "fraud"}, run="run-13")
    answer = await desk.ask(CompareModels(status="checking", champion="fraud:12"))
    assert (answer.candidate, answer.champion, answer.unknown) == ({"auc": 0.93, "f1": 0.8}, {"auc": 0.92}, "")
    outside.serving.origins["fraud:12"] = Origin()
    answer = await desk.ask(CompareModels(status="checking", champion="fraud:12"))
    assert answer.champion is None
    assert "model fraud:12 names no run" in answer.unknown


@pytest.mark.parametrize(
    ("file", "text", "open_questions"),
    [
        ("", None, 0),
        ("assessments/fraud.yaml", "fallback: the rules of 2019", 6),
    ],
)
async def test_an_assessment_is_the_file_that_the_model_names(desk, outside, file, text, open_questions):
    outside.serving.origins["fraud:13"] = Origin({"responsible_ai": file} if file else {})
    outside.documents.texts = {"assessments/fraud.yaml": text} if text else {}
    answer = await desk.ask(Assess(status="checking"))
    assert isinstance(answer, Assessed)
    assert (answer.file, len(answer.missing)) == (file, open_questions)


async def test_an_assessment_that_is_not_there_is_refused_by_its_name(desk, outside):
    outside.serving.origins["fraud:13"] = Origin({"responsible_ai": "assessments/fraud.yaml"})
    answer = await desk.ask(Assess(status="checking"))
    assert answer == Refused(
        at=START, reason="there is no assessment assessments/fraud.yaml in the configuration folder"
    )


async def test_known_inputs_give_their_expected_outputs(outside):
    samples = (Sample("a.json", '{"x": 1}', "[0.5]"), Sample("b.json", '{"x": 2}'))
    desk = await Desk(outside, about(policy=Policy("p", "fraud-online", smoke=Smoke(samples, repeat=2)))).begin()
    outside.serving.scores["fraud-13"] = Scored(200, b"[0.7]", 31.0)
    answer = await desk.ask(Probe(status="checking"))
    assert (answer.sent, answer.errors, answer.p50, answer.p95) == (4, 0, 31.0, 31.0)
    assert answer.wrong == ("a.json: expected 0.5 at [0], found 0.7",)
    outside.serving.scores["fraud-13"] = Scored(500, b"", 31.0)
    answer = await desk.ask(Probe(status="checking"))
    assert (answer.errors, answer.wrong, answer.failed) == (4, (), ("a.json: HTTP 500", "b.json: HTTP 500"))


async def test_a_load_is_brought_to_the_new_deployment_alone_and_only_where_its_answers_are_right(outside):
    load = Load(20, 30)
    policy = Policy("p", "fraud-online", smoke=Smoke((Sample("a.json", '{"x": 1}', "{}"),), load=load))
    desk = await Desk(outside, about(policy=policy)).begin()
    outside.serving.pressed = Pressed(580, 30.0, [float(ms) for ms in range(1, 101)], {503: 12, 0: 3}, missed=20)
    answer = await desk.ask(Probe(status="checking"))
    assert ("press", "fraud-online", "fraud-13", (b'{"x": 1}',), load) in outside.serving.asked
    found = answer.load
    assert (found.sent, round(found.rate, 2), found.missed) == (580, 19.33, 20)
    assert found.failed == {"no answer": 3, "503": 12}
    assert (round(found.p50), round(found.p95), round(found.p99)) == (50, 95, 99)
    outside.serving.scores["fraud-13"] = Scored(200, b"[0.7]", 31.0)
    outside.serving.asked.clear()
    assert (await desk.ask(Probe(status="checking"))).load is None
    assert [name for name, *_ in outside.serving.asked] == ["score"]


def test_a_step_from_before_there_was_a_load_is_read_as_ever():
    kept = wire.dump(Probed(at=START, sent=3, errors=0, p50=20.0, p95=40.0))
    assert "load" not in kept
    assert wire.load(Probed, kept).load is None


async def test_a_batch_deployment_is_tried_by_one_test_job_followed_to_its_end(outside):
    policy = Policy("p", "fraud-online", kind="batch", smoke=Smoke(data="azureml:sample:1"))
    desk = await Desk(outside, about(policy=policy)).begin()
    job = f"{about().id}-smoke"
    outside.platform.jobs[job] = Job(status="Running")
    assert (await desk.ask(Probe(status="checking"))).reason == f"the test job {job} is Running"
    outside.platform.jobs[job] = Job(status="Failed")
    answer = await desk.ask(Probe(status="checking"))
    assert (answer.errors, answer.failed) == (1, (f"the test job {job} ended as Failed",))
    assert [call for call in outside.serving.asked if call[0] == "invoke"] == [
        ("invoke", "fraud-online", Invocation(job, "fraud-13", {"data": Data("uri_folder", "azureml:sample:1")}))
    ]


@pytest.mark.parametrize(
    ("expected", "found", "said"),
    [
        ("[0.5, 1]", "[0.5000001, 1]", None),
        ("[0.5]", "[0.6]", "expected 0.5 at [0], found 0.6"),
        ("[1, 2]", "[1]", "expected 2 values, found 1"),
        ('{"a": {"b": 1}}', '{"a": {"b": 1, "c": 2}}', None),
        ('{"a": {"b": 1}}', '{"a": {}}', "'b' is missing at a"),
        ("true", "1", "expected true, found 1"),
        ('"fraud"', '"ok"', 'expected "fraud", found "ok"'),
        ("[1]", '"[1]"', None),  # JSON in a string
        ("[1]", "<html>", "the answer is not JSON"),
    ],
)
def test_where_an_answer_differs_is_said(expected, found, said):
    assert differs(expected, found.encode(), 1e-6) == said


async def test_the_endpoint_is_for_one_rollout_at_a_time_in_the_order_of_their_beginning(outside):
    first = await Desk(outside).begin()
    second = await Desk(outside, about("r2", version="14", at=START + timedelta(minutes=1))).begin()
    third = await Desk(outside, about("r3", version="15", at=START + timedelta(minutes=2))).begin()
    turn = TakeTurn(status="waiting")
    assert await first.ask(turn) == Done(at=START)
    assert await third.ask(turn) == await second.ask(turn) == Occupied(at=START, holder="r1")
    assert await Desk(outside).ask(turn, n=9) == Done(at=START)  # after a kill it is still its own
    outside.rollouts.put_texts.clear()
    await first.ask(Finish(status="keeping", verdict="promoted"))
    assert [wire.load(wire.Advance, text).rollout for text, _ in outside.rollouts.put_texts] == ["r2"]
    assert await third.ask(turn) == Occupied(at=START, holder="r2")
    assert await second.ask(turn) == Done(at=START)


async def test_a_rollout_that_only_keeps_the_old_is_told_of_the_next(outside):
    first = await Desk(outside).begin()
    await first.ask(TakeTurn(status="waiting"))
    second = await Desk(outside, about("r2", version="14", at=START + timedelta(minutes=1))).begin()
    await second.ask(TakeTurn(status="waiting"))
    bake = Bake(status="keeping", percent=100, until=START + timedelta(hours=1))
    assert await first.ask(bake, n=9) is None
    await second.ask(TakeTurn(status="waiting"))
    heard = await first.ask(bake, n=9)
    assert (heard.word.verb, heard.word.by, heard.word.reason) == ("next", "r2", "fraud:14 waits")


async def test_a_newer_candidate_replaces_the_first_where_its_policy_says_so(outside):
    first = await Desk(outside).begin()
    await first.ask(TakeTurn(status="waiting"))
    policy = Policy("fraud-online", "fraud-online", second="replace")
    second = await Desk(outside, about("r2", version="14", at=START + timedelta(minutes=1), policy=policy)).begin()
    await second.ask(TakeTurn(status="waiting"))
    heard = await first.ask(Bake(status="deploying", until=START + timedelta(hours=1)))
    assert heard.word.verb == "replace"


async def test_a_freeze_holds_its_endpoint_until_it_ends_or_is_lifted(desk, outside):
    clear = Clear(status="baking")
    await book.freeze(outside.shelf, Freeze("f1", "fairness audit", "Ito", START, START + timedelta(days=1), "other"))
    assert await desk.ask(clear) == Done(at=START)
    until = START + timedelta(hours=2)
    await book.freeze(outside.shelf, Freeze("f2", "year-end closing", "Ito", START, until, "*"))
    assert await desk.ask(clear) == Frozen(at=START, reason="year-end closing", owner="Ito", until=until)
    assert (await book.lift(outside.shelf, "f2", "Sato", START)).lifted_by == "Sato"
    assert await desk.ask(clear) == Done(at=START)
    with pytest.raises(PermanentError, match="the freeze 'f2' is over already"):
        await book.lift(outside.shelf, "f2", "Ito", START)
    with pytest.raises(PermanentError, match="no freeze 'f3'"):
        await book.lift(outside.shelf, "f3", "Ito", START)


async def test_an_announcement_goes_through_the_rules_and_to_the_topic(desk, outside):
    await desk.ask(CompareModels(status="checking", champion="fraud:12"))
    why = Said("something", {"value": 3})
    await desk.ask(Announce(status="promoting", percent=100, why=why, kind="RolloutCompleted"))
    (event,) = events(outside)
    assert (event.type, event.raw_type) == ("RolloutCompleted", "Switchyard.RolloutCompleted")
    assert (event.model.version, event.endpoint.name, event.workspace) == ("13", "fraud-online", "prod")
    assert event.data["previous"] == "fraud:12"
    assert event.data["reason"]
    assert event.data["reason_ja"]
    (published,) = outside.topic.published
    assert (published["eventType"], published["data"]["rollout"]) == ("Switchyard.RolloutCompleted", "r1")
    json.dumps(published)


async def test_a_topic_out_of_order_holds_nothing_up(desk, outside):
    outside.topic.failure = TemporaryError("HTTP 503")
    answer = await desk.ask(Announce(status="promoting", kind="RolloutStarted"))
    assert answer == Done(at=START, said="the topic did not take it: HTTP 503")
    assert len(events(outside)) == 1


async def test_a_question_is_an_event_for_whoever_is_asked_without_any_link(desk, outside):
    until = START + timedelta(hours=1)
    await desk.ask(Ask(status="asking", question=Said("approve?"), until=until, of="ml-leads"), n=4)
    (event,) = events(outside)
    assert (event.type, event.data["ask"], event.data["ask_of"]) == ("RolloutWaiting", 4, "ml-leads")
    assert event.data["until"] == until.isoformat()
    assert "approve/" not in wire.dump(event)


async def test_a_question_carries_the_scorecard_by_cohort(outside):
    policy = replace(POLICY, compare=(Compare("auc", cohorts=True),))
    desk = await Desk(outside, about(policy=policy)).begin()
    outside.platform.measured = {"run-12": {"auc/night": 0.92}, "run-13": {"auc/night": 0.9}}
    await desk.ask(CompareModels(status="checking", champion="fraud:12"))
    await desk.ask(Ask(status="asking", question=Said("approve?"), until=START + timedelta(hours=1)))
    assert events(outside)[-1].data["chart"] == [
        {"kind": "cohorts", "metric": "auc", "rows": [["night", 0.9, 0.92]], "at_least": 0.0, "higher_is_better": True}
    ]


async def ended(outside, name, version, at, verdict="promoted"):
    desk = await Desk(outside, about(name, version=version, at=at)).begin()
    await desk.ask(Finish(status="keeping", verdict=verdict))
    return desk


def serves(outside, version):
    live = DeploymentState(f"fraud-{version}", "Succeeded", f"fraud:{version}")
    outside.serving.endpoints["fraud-online"] = EndpointState(
        "fraud-online", "Succeeded", {live.name: 100}, {}, (live,)
    )


async def test_a_version_rejected_in_the_registry_gives_way_to_the_last_approved_one(outside):
    await ended(outside, "r1", "11", START)
    await ended(outside, "r2", "12", START + timedelta(hours=1))
    await ended(outside, "r3", "13", START + timedelta(hours=2))
    await ended(outside, "r4", "14", START + timedelta(hours=3), "rolled back")
    serves(outside, "13")
    conductor = Conductor(outside.world)
    outside.clock.advance(4 * 3600)
    assert await conductor.watch() == []
    outside.serving.origins["fraud:11"] = Origin({"stage": "archived"})
    for version in ("12", "13"):
        outside.serving.origins[f"fraud:{version}"] = Origin({"stage": "rejected"})
    (id_,) = await conductor.watch()
    back = await conductor.about(id_)
    assert (back.model, back.version, back.restores) == ("fraud", "11", "r3")
    assert (about().script, back.script) == (1, SCRIPT), "whatever script the first one began with"
    assert back.deployment != "fraud-11"
    outside.rollouts.put_texts.clear()
    assert await conductor.watch() == []  # it is under way
    assert [wire.load(wire.Advance, text).rollout for text, _ in outside.rollouts.put_texts] == [id_], "or never began"
    restoring = Desk(outside, back)
    await restoring.ask(TakeTurn(status="waiting"), n=0)
    outside.rollouts.put_texts.clear()
    assert await conductor.watch() == []
    assert outside.rollouts.put_texts == []
    await restoring.ask(Finish(status="rolling back", verdict="rolled back"))
    assert await conductor.watch() == []  # it was tried
    assert outside.rollouts.put_texts == []


@pytest.mark.parametrize(
    "change",
    [
        lambda outside: serves(outside, "12"),
        lambda outside: setattr(outside.serving, "failure", TemporaryError("HTTP 503")),
        lambda outside: outside.serving.endpoints.clear(),
    ],
)
async def test_what_somebody_has_seen_to_by_hand_or_nobody_can_see_is_not_brought_back(outside, change):
    await ended(outside, "r2", "12", START)
    await ended(outside, "r3", "13", START + timedelta(hours=1))
    serves(outside, "13")
    outside.serving.origins["fraud:13"] = Origin({"stage": "rejected"})
    outside.queue.put_texts.clear()
    change(outside)
    assert await Conductor(outside.world).watch() == []
    assert outside.queue.put_texts == []


async def test_a_policy_that_names_no_label_for_rejected_rejects_nothing(outside):
    policy = Policy("fraud-online", "fraud-online", labels=Labels(rejected={}))
    desk = await Desk(outside, about(policy=policy)).begin()
    await desk.ask(Finish(status="keeping", verdict="promoted"))
    serves(outside, "13")
    assert await desk.conductor.watch() == []
    assert [event.type for event in events(outside)] == []


async def test_what_the_first_rollout_found_in_production_is_approved_too(outside):
    desk = await Desk(outside, about("r3")).begin()
    await desk.ask(Tag(status="promoting", model="fraud", version="12", tags={"stage": "archived"}))
    await desk.ask(Finish(status="keeping", verdict="promoted"))
    serves(outside, "13")
    outside.serving.origins["fraud:13"] = Origin({"stage": "rejected"})
    conductor = Conductor(outside.world)
    (id_,) = await conductor.watch()
    back = await conductor.about(id_)
    assert (back.model, back.version, back.restores) == ("fraud", "12", "r3")


async def test_where_nothing_else_was_approved_a_person_is_told_once(outside):
    await ended(outside, "r3", "13", START)
    serves(outside, "13")
    outside.serving.origins["fraud:13"] = Origin({"stage": "rejected"})
    conductor = Conductor(outside.world)
    outside.queue.put_texts.clear()
    assert await conductor.watch() == await conductor.watch() == []
    (event,) = events(outside)
    assert event.type == "RolloutStuck"
    assert "fraud:13" in str(event.data["reason"])


async def test_what_cannot_go_on_by_our_own_fault_is_stuck_and_gives_the_endpoint_back(desk, outside):
    await desk.ask(TakeTurn(status="waiting"))
    await desk.conductor.give_up("r1", "a newer version can't replay it")
    await desk.conductor.give_up("r1", "again")
    head = await desk.head()
    assert head.status == "stuck"
    assert head.ended == START
    assert [event.type for event in events(outside)] == ["RolloutStuck"]
    second = await Desk(outside, about("r2", version="14", at=START + timedelta(minutes=1))).begin()
    assert await second.ask(TakeTurn(status="waiting")) == Done(at=START)


async def test_what_was_given_up_touches_nothing_any_more(desk, outside):
    await desk.conductor.give_up("r1", "the state was lost")
    outside.serving.asked.clear()
    answer = await desk.ask(Promote(status="promoting", traffic={"fraud-13": 100}))
    assert answer == Refused(at=START, reason="it was given up", code="fault")
    assert await desk.ask(Finish(status="rolling back", verdict="rolled back")) == Done(at=START)
    assert outside.serving.asked == []
    assert (await desk.head()).status == "stuck"


async def test_the_lineage_is_kept_at_the_first_look(desk, outside):
    assert isinstance(await desk.ask(Look(status="checking")), Seen)
    outside.serving.origins["fraud:13"] = Origin({}, run="another")
    await desk.ask(Look(status="checking"))
    origin = await book.origin(outside.shelf, "r1")
    assert origin is not None
    assert (origin.run, origin.commit) == ("run-13", "9c1f7e2d")


async def test_an_override_is_of_what_holds_it_now_and_each_person_says_it_once(desk, outside):
    with pytest.raises(PermanentError, match="nothing holds rollout r1 back"):
        await desk.conductor.say("r1", "override", "Sato", "hotfix", "console")
    frozen = Said("frozen", {"until": "-", "reason": "year end", "owner": "Ito"})
    await desk.ask(Bake(status="frozen", until=START + timedelta(hours=1), why=frozen))
    await desk.conductor.say("r1", "override", "Sato", "hotfix", "console")
    outside.clock.advance(60)
    await desk.conductor.say("r1", "override", "Ito", "agreed", "console")
    with pytest.raises(PermanentError, match="'override' was said already, by Sato"):
        await desk.conductor.say("r1", "override", " sato ", "again", "console")
    assert [word.by for word in await book.words(outside.shelf, "r1")] == ["Sato", "Ito"]
    another = Said("frozen", {"until": "-", "reason": "audit", "owner": "Ito"})
    await desk.ask(Bake(status="frozen", until=START + timedelta(hours=1), why=another))
    await desk.conductor.say("r1", "override", "Sato", "still a hotfix", "console")
    assert all(isinstance(word, Word) for word in await book.words(outside.shelf, "r1"))

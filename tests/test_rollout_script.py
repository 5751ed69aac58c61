"""The script of a rollout, driven by small worlds in memory: any answers keep the invariants, and each story ends as it should."""

import random  # noqa: TID251 (replayed from the seed that each case names)
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.record import WorkspaceRef
from shared.rollout import words
from shared.rollout.hours import next_opening, open_at
from shared.rollout.policy import (
    Approval,
    BinaryGate,
    CeilingGate,
    Closed,
    Compare,
    Labels,
    Load,
    MeanGate,
    Policy,
    Recipe,
    Sample,
    Smoke,
    Stage,
    Window,
)
from shared.rollout.record import (
    OLDEST,
    SCRIPT,
    Announce,
    Ask,
    Assess,
    Assessed,
    Bake,
    Busy,
    Changed,
    Clear,
    Command,
    Compared,
    CompareModels,
    Create,
    Delete,
    DeploymentState,
    Done,
    Elapsed,
    EndpointState,
    Finish,
    Frozen,
    Heard,
    Look,
    Measure,
    Measured,
    Minute,
    Mirror,
    Move,
    Occupied,
    Pair,
    Probe,
    Probed,
    Promote,
    Refused,
    Restore,
    Rollout,
    Seen,
    Shift,
    Tag,
    TakeTurn,
    UnderLoad,
    Word,
)
from shared.rollout.script import STALE, UnplayableError, script, shares
from shared.rollout.smoke import passed
from shared.rollout.times import times
from shared.rollout.words import tell

AT = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)  # a Saturday
NEW = "fraud-8"
START = {"blue": 90, "red": 10}
MINUTE = timedelta(minutes=1)
LAG = timedelta(minutes=3)

POLICY = Policy(
    name="fraud-online",
    endpoint="fraud",
    stages=(Stage(20, 600, mirror=True), Stage(10, 600, min_requests=50), Stage(50, 600)),
    gates=(BinaryGate("http_5xx"), CeilingGate("error_rate", 0.2)),
    smoke=Smoke(samples=(Sample("one", "{}"),), p95_ms=300),
    keep_old=3600,
)


def policy_with(**more):
    return replace(POLICY, **more)


def rollout(policy=POLICY, **more):
    more = {"script": SCRIPT} | more
    return Rollout("r1", policy, WorkspaceRef("s", "rg", "ws"), "fraud", "fraud", "8", NEW, AT, **more)


def minute(requests=600, errors=0):
    return Minute(requests, {"http_5xx": errors}, total=50.0 * requests, squares=2600.0 * requests)


class World:
    """An endpoint as it would be, simplified: writes are seen after 20 s, deployments stand after five minutes."""

    def __init__(self, traffic=None, **more):
        self.now = AT
        self.traffic: dict[str, int] = dict(START if traffic is None else traffic)
        self.mirror: dict[str, int] = {}
        self.seen = [(AT - MINUTE, self.traffic, self.mirror)]
        self.deployments = {name: DeploymentState(name, "Succeeded", "fraud:7") for name in self.traffic}
        self.ready: dict[str, datetime] = {}
        self.tags = {"team": "fraud"}
        self.labels: dict[str, dict[str, str]] = {}
        self.words: list[Word] = []
        self.canary: Callable[[datetime], Minute | None] = lambda at: minute()
        self.baseline: Callable[[datetime], Minute | None] = lambda at: minute()
        self.answers: dict[type[Command], list[Any]] = {}
        self.on: dict[type[Command], Callable[[Any], Any]] = {}
        self.before: Callable[[int, Any], object] = lambda n, command: None
        self.steps: list[tuple[Any, Any]] = []
        self.fails = ""
        self.hand = -1
        """The last step before which somebody changed the traffic by hand."""
        self.kubernetes = False
        self.verdict: str | None = None
        vars(self).update(more)

    def play(self, about):
        steps = script(about)
        command = next(steps)
        while len(self.steps) < 20_000:
            answer = self.answer(command)
            self.steps.append((command, answer))
            try:
                command = steps.send(answer)
            except StopIteration as end:
                self.verdict = end.value
                return self
        raise AssertionError(f"does not end: {[one for one, _ in self.steps[-5:]]}")

    def answer(self, command):
        self.now += timedelta(seconds=1)
        self.before(len(self.steps), command)
        for name, at in list(self.ready.items()):
            if at <= self.now:
                state, error = ("Failed", self.fails) if self.fails else ("Succeeded", "")
                self.deployments[name] = DeploymentState(name, state, "fraud:8", error=error)
                del self.ready[name]
        prepared = self.answers.get(type(command))
        if prepared:
            made = prepared.pop(0)
            return made(self) if callable(made) else made
        on = getattr(self, f"on_{type(command).__name__.lower()}", self.done)
        return self.on.get(type(command), on)(command)

    def done(self, command):
        return Done(at=self.now)

    def endpoint(self):
        written = [one for one in self.seen if one[0] <= self.now][-1]
        return EndpointState(
            "fraud", "Succeeded", dict(written[1]), dict(written[2]), tuple(self.deployments.values()), self.kubernetes
        )

    def change(self, traffic, mirror, after=0.0):
        self.traffic, self.mirror = dict(traffic), dict(mirror)
        self.seen.append((self.now + timedelta(seconds=after), self.traffic, self.mirror))

    def on_look(self, command):
        return Seen(at=self.now, endpoint=self.endpoint(), tags=self.tags)

    def on_comparemodels(self, command):
        return Compared(at=self.now, candidate={"auc": 0.95}, champion={"auc": 0.94} if command.champion else None)

    def on_assess(self, command):
        return Assessed(at=self.now, file="rai.yaml")

    def on_create(self, command):
        self.deployments.setdefault(NEW, DeploymentState(NEW, "Creating", "fraud:8"))
        self.ready[NEW] = self.now + timedelta(minutes=5)
        return Done(at=self.now)

    def on_probe(self, command):
        return Probed(at=self.now, sent=1, errors=0, p50=20, p95=40)

    def moved(self, command):
        asked = (command.traffic, command.mirror)
        if command.expected is not None and (self.traffic, self.mirror) not in [
            asked,
            (command.expected, command.expected_mirror),
        ]:
            return Changed(at=self.now, traffic=self.traffic, mirror=self.mirror)
        self.change(*asked, after=20)
        return Done(at=self.now)

    on_mirror = on_shift = on_promote = on_restore = moved

    def on_bake(self, command):
        for word in self.words:
            if word.at <= self.now and word.ask in {None, command.ask}:
                self.words.remove(word)
                return Heard(at=self.now, word=word)
        later = [word for word in self.words if word.at <= command.until and word.ask in {None, command.ask}]
        if later:
            self.now = max(self.now, later[0].at)
            return self.on_bake(command)
        self.now = max(self.now, command.until)
        return Elapsed(at=self.now)

    def on_measure(self, command):
        until = max((self.now - LAG).replace(second=0, microsecond=0), command.since)
        minutes = int((until - command.since) / MINUTE)
        moments = [command.since + n * MINUTE for n in range(minutes)]
        pairs = tuple(Pair(at, self.canary(at), self.baseline(at)) for at in moments)
        return Measured(at=self.now, until=until, pairs=pairs, endpoint=self.endpoint(), tags=self.tags)

    def on_tag(self, command):
        self.labels.setdefault(f"{command.model}:{command.version}", {}).update(command.tags)
        return Done(at=self.now)

    def on_delete(self, command):
        assert not self.traffic.get(command.deployment), "deleted with traffic"
        assert not self.mirror.get(command.deployment), "deleted with copies"
        self.deployments.pop(command.deployment, None)
        return Done(at=self.now)

    def of(self, kind):
        return [command for command, _ in self.steps if isinstance(command, kind)]

    @property
    def reason(self):
        return self.steps[-1][0].why.code

    def say(self, verb, by="mori", ask=None, after=0.0, reason="so"):
        self.words.append(Word(verb, by, self.now + timedelta(seconds=after), reason, ask))


def ends_once(world):
    """With one Finish, which is asked again only where it was not taken."""
    first = next(n for n, (one, _) in enumerate(world.steps) if isinstance(one, Finish))
    rest = [(type(one), type(answer)) for one, answer in world.steps[first:]]
    assert all(kind is Bake or (kind, answer) == (Finish, Busy) for kind, answer in rest[:-1])
    assert rest[-1][0] is Finish
    assert world.verdict == world.steps[-1][0].verdict == world.steps[-1][0].status


def in_words(command):
    """Everything that is said has a sentence, and the values that it needs."""
    for said in (command.why, *([command.question] if isinstance(command, Ask) else [])):
        for language in ("en", "ja"):
            told = words.tell(said, language)
            assert not told.startswith(f"{said.code} ("), said
            assert told != said.code
            assert "{" not in told
            assert all(words.reading(one, language) for one in command.readings)


def check(world, about):
    """What holds for every rollout, however it went."""
    commands = [command for command, _ in world.steps]
    ends_once(world)
    most = max([stage.percent for stage in about.policy.stages if not stage.mirror], default=0)
    copies = max([stage.percent for stage in about.policy.stages if stage.mirror], default=0)
    allowed = 0
    promoted = False
    seen = [a.endpoint for c, a in world.steps if isinstance(a, Seen) and c.why.code == "begins"]
    start: Any = seen[-1] if seen else None
    for command, answer in world.steps:
        in_words(command)
        if isinstance(command, Move):
            assert sum(command.traffic.values()) in {0, 100}
            assert all(weight > 0 for weight in (*command.traffic.values(), *command.mirror.values()))
            accepted = isinstance(answer, Done)
            if isinstance(command, Shift | Mirror) and not promoted:
                allowed = most if isinstance(command, Shift) else 0
                assert command.traffic.get(about.deployment, 0) <= max(allowed, start.traffic.get(about.deployment, 0))
                assert command.mirror.get(about.deployment, 0) <= copies
                assert (
                    max(command.traffic.get(about.deployment, 0), command.mirror.get(about.deployment, 0))
                    <= command.percent
                )
            if isinstance(command, Mirror):
                assert command.traffic.get(about.deployment, 0) == 0
            if isinstance(command, Promote) and accepted:
                assert not promoted, "promoted twice"
                promoted = True
        if isinstance(command, Delete) and command.deployment != about.deployment:
            assert promoted
            assert world.verdict == "promoted"
            assert start.traffic.get(command.deployment)
        if isinstance(command, Delete) and command.deployment == about.deployment:
            assert world.verdict == "rolled back"
            assert about.deployment not in {one.name for one in start.deployments}
    moves = [n for n, one in enumerate(commands) if isinstance(one, Move)]
    if world.verdict == "rolled back" and moves:
        assert isinstance(commands[moves[-1]], Restore)
        assert (commands[moves[-1]].traffic, commands[moves[-1]].mirror) == (start.traffic, start.mirror)
        if world.hand < moves[-1]:
            assert (world.traffic, world.mirror) == (start.traffic, start.mirror)
    return world


def play(policy=POLICY, world=None, **more):
    world = world or World()
    about = rollout(policy, **more)
    return check(world.play(about), about)


def statuses(world):
    found = [command.status for command, _ in world.steps]
    return [one for n, one in enumerate(found) if not n or found[n - 1] != one]


# Stories


def test_a_good_candidate_is_promoted_stage_by_stage_and_the_old_ones_are_deleted_when_they_are_not_needed():
    world = play()
    assert world.verdict == "promoted"
    assert world.traffic == {NEW: 100}
    assert set(world.deployments) == {NEW}
    assert [(type(one).__name__, one.traffic, one.mirror) for one in world.of(Move)] == [
        ("Mirror", START, {NEW: 20}),
        ("Shift", {"blue": 81, "red": 9, NEW: 10}, {}),
        ("Shift", {"blue": 45, "red": 5, NEW: 50}, {}),
        ("Promote", {NEW: 100}, {}),
    ]
    assert statuses(world) == [
        "checking",
        "deploying",
        "checking",
        "mirroring",
        "baking",
        "promoting",
        "keeping",
        "promoted",
    ]
    assert world.labels == {
        "fraud:8": {"stage": "production", "switchyard_rollout": "r1"},
        "fraud:7": {"stage": "archived", "switchyard_rollout": "r1"},
    }
    kinds = [one.kind for one in world.of(Announce)]
    assert kinds == ["RolloutStarted", *["RolloutAdvanced"] * 3, "RolloutCompleted"]
    assert all(one.readings for one in world.of(Announce)[1:4])
    assert [bool(one.readings) for one in world.of(Move)] == [False, True, True, True], "what each step forward goes by"


def test_the_time_of_a_stage_is_counted_by_whole_minutes_of_its_own():
    world = play()
    advanced = [
        n for n, (one, _) in enumerate(world.steps) if isinstance(one, Announce) and one.kind == "RolloutAdvanced"
    ]
    begins = 0
    for end, stage in zip(advanced, POLICY.stages, strict=True):
        moved = next(n for n in range(begins, end) if isinstance(world.steps[n][0], Move))
        at = world.steps[moved][1].at
        measured = [(one, answer) for one, answer in world.steps[moved:end] if isinstance(one, Measure)]
        assert all(one.since >= at and one.since.second == 0 for one, _ in measured)
        assert sum(len(answer.pairs) for _, answer in measured) == stage.seconds / 60
        begins = end


def sick(at):
    return minute(600, 200)


def test_a_breach_rolls_back_to_what_was_found_and_says_what_was_measured():
    world = play(world=World(canary=sick))
    assert (world.verdict, world.reason) == ("rolled back", "breach")
    assert world.traffic == START
    assert world.mirror == {}
    assert NEW not in world.deployments
    assert world.labels["fraud:8"]["stage"] == "rolled-back"
    told = words.tell(world.of(Finish)[0].why, "en")
    assert "33.33 % (200/600)" in told
    assert world.of(Restore)[0].expected is None
    assert world.of(Announce)[-1].readings[0].state == "breach"


@pytest.mark.parametrize(
    ("verb", "verdict", "reason"),
    [("approve", "promoted", "promoted"), ("reject", "rolled back", "rejected"), (None, "rolled back", "breach")],
)
def test_a_breach_may_hold_and_ask_instead(verb, verdict, reason):
    policy = policy_with(on_breach="hold", stages=(Stage(10, 600),), undecided="ask")
    world = play(policy, answering(verb, canary=sick) if verb else World(canary=sick))
    assert (world.verdict, world.reason) == (verdict, reason)
    asked = [one.question.code for one in world.of(Ask)]
    assert asked[0] == "go on sick"
    assert asked.count("go on sick") <= len(policy.gates), "each breach is asked about once"


def test_the_time_that_a_breach_waits_for_an_answer_does_not_count_for_the_stage():
    world = World(canary=sick)
    world.before = lambda n, command: isinstance(command, Ask) and world.say("approve", ask=n, after=3600)
    play(policy_with(on_breach="hold", stages=(Stage(10, 1800),), gates=(CeilingGate("error_rate", 0.2),)), world)
    answered = next(answer.at for _, answer in world.steps if isinstance(answer, Heard))
    promoted = next(answer.at for one, answer in world.steps if isinstance(one, Promote))
    assert promoted >= answered + timedelta(minutes=20)


def answering(verb, by="mori", **more):
    """A world in which somebody answers every question at once."""
    world = World(**more)

    def before(n, command):
        if isinstance(command, Ask):
            world.say(verb, by, ask=n, after=30)

    world.before = before
    return world


def test_an_incident_in_both_arms_holds_the_clock_of_the_stage_and_blames_nobody():
    trouble = (AT + timedelta(minutes=10), AT + timedelta(minutes=18))
    arm = lambda at: minute(600, 200 if trouble[0] <= at < trouble[1] else 0)  # noqa: E731
    policy = policy_with(stages=(Stage(10, 1200),), gates=(CeilingGate("error_rate", 0.2),))
    world = play(policy, World(canary=arm, baseline=arm))
    assert world.verdict == "promoted"
    assert "held" in statuses(world)
    counted = [answer for one, answer in world.steps if isinstance(one, Measure)]
    assert sum(len(one.pairs) for one in counted) > 20, "the minutes of the incident do not count"


@pytest.mark.parametrize(("verb", "reason"), [("approve", None), ("reject", "rejected"), (None, "both bad too long")])
def test_an_incident_that_lasts_is_put_to_a_person(verb, reason):
    arm = lambda at: minute(600, 200 if at < AT + timedelta(hours=1 if verb else 48) else 0)  # noqa: E731
    policy = policy_with(stages=(Stage(10, 600),), gates=(CeilingGate("error_rate", 0.2),))
    world = answering(verb, canary=arm, baseline=arm) if verb else World(canary=arm, baseline=arm)
    play(policy, world)
    assert world.of(Ask)[0].question.code == "go on both bad"
    assert world.verdict == ("promoted" if reason is None else "rolled back")
    assert reason is None or world.reason == reason


def test_an_incident_that_passes_needs_no_answer_any_more():
    arm = lambda at: minute(600, 200 if at < AT + timedelta(hours=1) else 0)  # noqa: E731
    policy = policy_with(stages=(Stage(10, 600),), gates=(CeilingGate("error_rate", 0.2),))
    world = play(policy, World(canary=arm, baseline=arm))
    assert world.verdict == "promoted"
    assert [one.question.code for one in world.of(Ask)] == ["go on both bad"]
    assert world.now < AT + timedelta(hours=4)


def test_a_canary_that_turns_out_sick_while_an_incident_is_put_to_a_person_goes_back():
    def arm(canary):
        def at_(at):
            over = at > AT + timedelta(hours=1)
            return minute(600, 300 if canary or not over else 0)

        return at_

    policy = policy_with(stages=(Stage(10, 600),), gates=(CeilingGate("error_rate", 0.2),))
    world = play(policy, World(canary=arm(True), baseline=arm(False)))
    assert (world.verdict, world.reason) == ("rolled back", "breach")
    assert world.now < AT + timedelta(hours=2)


def test_counts_that_nobody_can_read_are_not_healthy():
    world = play(world=World(canary=lambda at: None if at > AT + timedelta(minutes=12) else minute()))
    assert (world.verdict, world.reason) == ("rolled back", "blind")
    assert world.now < AT + timedelta(minutes=12 + 15 + 20), "after the patience of the policy"


@pytest.mark.parametrize(
    "make",
    [
        lambda world: Busy(at=world.now, reason="HTTP 503"),
        lambda world: Refused(at=world.now, reason="no such table"),
        lambda world: Measured(at=world.now, until=AT, unknown="the workspace keeps no logs"),
    ],
)
def test_a_source_of_counts_that_stays_away_is_not_healthy_either(make):
    world = World()
    world.on[Measure] = lambda command: make(world)
    play(world=world)
    assert (world.verdict, world.reason) == ("rolled back", "blind")


def test_a_source_of_counts_that_comes_back_is_read_from_where_it_left():
    world = World()
    world.answers[Measure] = [lambda world: Busy(at=world.now, reason="HTTP 503")] * 8
    play(world=world)
    assert world.verdict == "promoted"
    assert "held" in statuses(world)


def test_one_look_that_fails_is_no_reason_to_go_back_however_rare_looks_are():
    world = World(answers={Measure: [lambda world: Busy(at=world.now, reason="HTTP 503")]})
    play(policy_with(every=3600, patience=60), world)
    assert world.verdict == "promoted"


@pytest.mark.parametrize(
    ("verb", "verdict", "traffic"),
    [
        ("approve", "promoted", {NEW: 100}),
        ("reject", "rolled back", START),
        ("abort", "rolled back", START),
        (None, "stuck", {"red": 100}),
    ],
)
def test_traffic_that_somebody_changes_by_hand_stops_it_until_a_person_has_said_what_to_do(verb, verdict, traffic):
    world = World()
    state = {"changed": False}

    def before(n, command):
        if command.status == "baking" and isinstance(command, Bake) and not state["changed"]:
            state["changed"] = True
            world.change({"red": 100}, {})
        if isinstance(command, Ask) and verb:
            world.say(verb, ask=None if verb == "abort" else n, after=30)

    world.before = before
    play(world=world)
    assert (world.verdict, world.traffic) == (verdict, traffic)
    assert [one.question.code for one in world.of(Ask)] == ["put it back"]
    if verb is None:
        assert NEW in world.deployments, "nothing is touched"


def test_who_resets_the_traffic_to_what_it_was_before_is_noticed_too():
    world = World()

    def before(n, command):
        if any(one.status == "baking" for one in world.of(Measure)):
            world.change(START, {NEW: 20})

    world.before = before
    play(world=world)
    assert (world.verdict, world.reason) == ("stuck", "changed and no answer")
    assert world.traffic == START


def test_what_is_put_back_waits_for_a_freeze_like_any_other_step_forward():
    world = World()
    held = {"until": AT}
    world.on[Clear] = lambda command: (
        Frozen(at=world.now, reason="x", owner="y", until=held["until"])
        if world.now < held["until"]
        else Done(at=world.now)
    )

    def before(n, command):
        if command.status == "baking" and isinstance(command, Measure) and held["until"] == AT:
            held["until"] = world.now + timedelta(hours=3)
            world.change({"red": 100}, {})
        if isinstance(command, Ask):
            world.say("approve", ask=n)

    world.before = before
    play(policy_with(stages=(Stage(10, 600),)), world)
    moves = [(one, answer.at) for one, answer in world.steps if isinstance(one, Move)]
    again = next(at for one, at in moves if one.expected == {"red": 100})
    assert again >= held["until"]
    assert moves[-1][1] >= again + timedelta(minutes=10), "and the stage goes on where it was"
    assert world.verdict == "promoted"


def test_a_change_by_hand_just_before_we_write_is_not_overwritten():
    world = World()
    world.before = lambda n, command: (
        isinstance(command, Mirror) and not world.of(Mirror) and world.change({"red": 100}, {})
    )
    play(world=world)
    assert (world.verdict, world.traffic) == ("stuck", {"red": 100})


def test_old_reads_after_a_write_are_waited_out():
    world = World()
    slow = World.change
    vars(world)["change"] = lambda traffic, mirror, after=0.0: slow(world, traffic, mirror, after and 300)
    play(world=world)
    assert world.verdict == "promoted"
    assert world.of(Ask) == []


def test_a_freeze_holds_every_movement_forward_until_it_ends():
    end = AT + timedelta(hours=2)

    def frozen(world):
        return (
            Frozen(at=world.now, reason="Black Friday", owner="sato", until=end)
            if world.now < end
            else Done(at=world.now)
        )

    world = World()
    world.on[Clear] = lambda command: frozen(world)
    play(world=world)
    assert world.verdict == "promoted"
    assert "frozen" in statuses(world)
    first = next(answer.at for one, answer in world.steps if isinstance(one, Move))
    assert first >= end


@pytest.mark.parametrize(
    ("people", "through"), [(["mori"], False), (["mori", " Mori"], False), (["mori", "sato"], True)]
)
def test_it_takes_two_persons_to_break_the_glass_and_both_are_named(people, through):
    until = AT + timedelta(days=2)
    world = World()
    world.on[Clear] = lambda command: (
        Frozen(at=world.now, reason="year end", owner="ops", until=until) if world.now < until else Done(at=world.now)
    )
    for n, by in enumerate(people):
        world.words.append(Word("override", by, AT + timedelta(hours=1, minutes=n), "urgent"))
    play(world=world)
    assert world.verdict == "promoted"
    n = next(n for n, (one, _) in enumerate(world.steps) if isinstance(one, Move))
    first, answer = world.steps[n]
    assert (answer.at < until) == through
    assert ("mori, sato override" in words.tell(first.why, "en")) == through


SHUT = policy_with(closed=(Closed(date(2026, 11, 20), date(2026, 11, 23), "holidays", "ops", "Asia/Tokyo"),))
NIGHTLY = policy_with(windows=(Window((0, 1, 2, 3, 4), 22 * 60, 2 * 60, "Asia/Tokyo"),))


@pytest.mark.parametrize(
    ("policy", "opening"),
    [(SHUT, datetime(2026, 11, 23, 15, 0, tzinfo=UTC)), (NIGHTLY, datetime(2026, 11, 23, 13, 0, tzinfo=UTC))],
)
def test_closed_days_and_windows_hold_it_too(policy, opening):
    world = play(policy)
    assert world.verdict == "promoted"
    for (_, before), (one, _) in pairwise(world.steps):
        assert not isinstance(one, Mirror | Shift | Promote) or open_at(policy, before.at)
    assert next(answer.at for one, answer in world.steps if isinstance(one, Move)) >= opening


@pytest.mark.parametrize("how", ["frozen", "window"])
def test_a_freeze_that_begins_or_a_window_that_ends_while_the_endpoint_is_busy_holds_it(how):
    world = World()
    world.now = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
    world.seen = [(AT - MINUTE, world.traffic, world.mirror)]
    end = world.now + timedelta(days=1)
    busy = lambda world: Busy(at=world.now, reason="HTTP 409")  # noqa: E731
    world.answers[Mirror] = [busy] * 4
    if how == "frozen":
        world.on[Clear] = lambda command: (
            Frozen(at=world.now, reason="audit", owner="ops", until=end)
            if world.of(Mirror) and world.now < end
            else Done(at=world.now)
        )
        policy = POLICY
    else:  # it ends half a minute after the first try
        closing = datetime(2026, 11, 23, 9, 59, 30, tzinfo=UTC)
        world.before = lambda n, command: isinstance(command, Clear) and vars(world).update(now=max(world.now, closing))
        policy = policy_with(windows=(Window(start=8 * 60, end=10 * 60),))
        end = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
    play(policy, world)
    first = next(answer.at for one, answer in world.steps if isinstance(one, Move) and isinstance(answer, Done))
    assert first >= end
    assert world.verdict == "promoted"


def test_a_canary_that_gets_worse_while_a_freeze_holds_it_is_rolled_back():
    world = World(canary=lambda at: minute(600, 200 if at > AT + timedelta(hours=1) else 0))
    held = AT + timedelta(minutes=30)
    world.on[Clear] = lambda command: (
        Frozen(at=world.now, reason="x", owner="y", until=AT + timedelta(days=3))
        if world.now > held
        else Done(at=world.now)
    )
    play(world=world)
    assert (world.verdict, world.reason) == ("rolled back", "breach")
    assert world.now < AT + timedelta(hours=2)


def test_an_abort_at_any_step_is_heard_and_leaves_everything_as_it_was():
    whole = play().steps
    promoted = next(n for n, (one, _) in enumerate(whole) if isinstance(one, Promote))
    cleared = next(n for n, (one, _) in enumerate(whole) if one.why.code == "clears up")
    for step in range(cleared):
        world = World()

        def before(n, command, step=step, world=world):
            if n == step:
                world.say("abort", "sato")

        world.before = before
        play(world=world)
        last = max(n for n, (one, _) in enumerate(whole[:cleared]) if isinstance(one, Bake))
        if step > last:
            assert world.verdict == "promoted"
            continue
        assert (world.verdict, world.reason) == ("rolled back", "aborted" if step < promoted else world.reason)
        assert world.reason in {"aborted", "taken back"}
        assert (world.traffic, world.mirror) == (START, {})
        assert set(world.deployments) == {"blue", "red"}
        assert len(world.steps) <= step + 40, "at once"
        moved = any(isinstance(one, Move) for one, _ in world.steps)
        assert (world.labels.get("fraud:8", {}).get("stage") == "rolled-back") == moved
        assert world.labels.get("fraud:7", {}).get("stage") in {None, "production"}


@pytest.mark.parametrize(
    ("otherwise", "verb", "verdict", "reason"),
    [
        ("rollback", "approve", "promoted", "promoted"),
        ("rollback", "reject", "rolled back", "rejected"),
        ("rollback", None, "rolled back", "silence goes back"),
        ("promote", None, "promoted", "promoted"),
        ("promote", "reject", "rolled back", "rejected"),
        ("hold", "approve", "promoted", "promoted"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_person_approves_rejects_or_says_nothing(otherwise, verb, verdict, reason, first):
    approval = Approval("ml-leads", 7200, otherwise)
    policy = (
        policy_with(approve=approval)
        if first
        else policy_with(stages=(Stage(10, 600, approve=approval), Stage(50, 600)))
    )
    world = World()
    asks = []

    def before(n, command):
        if isinstance(command, Ask):
            asks.append(n)
            if verb and (otherwise != "hold" or len(asks) == 3):
                world.say("approve", "nobody", ask=n - 1)  # an answer to another question
                world.say(verb, ask=n, after=3600)

    world.before = before
    play(policy, world)
    assert (world.verdict, world.reason) == (verdict, reason)
    assert len(asks) == (3 if otherwise == "hold" else 1)
    assert world.of(Ask)[0].of == "ml-leads"
    moves = [n for n, (one, _) in enumerate(world.steps) if isinstance(one, Move)]
    assert not moves or (moves[0] > asks[0]) == first


def test_a_canary_that_gets_worse_while_a_person_is_asked_is_rolled_back():
    policy = policy_with(stages=(Stage(10, 600, approve=Approval("ml-leads", 86_400)),))
    world = play(policy, World(canary=lambda at: minute(600, 200 if at > AT + timedelta(hours=1) else 0)))
    assert (world.verdict, world.reason) == ("rolled back", "breach")
    assert world.now < AT + timedelta(hours=2)


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_an_answer_that_comes_while_the_canary_is_looked_at_for_the_last_time_is_heard(verb):
    policy = policy_with(stages=(Stage(10, 600, approve=Approval("ml-leads", 1000, "rollback")),))
    world = World()
    asked: list[tuple[int, datetime]] = []
    said: list[datetime] = []

    def before(n, command):
        if isinstance(command, Ask):
            asked.append((n, command.until))
        if asked and not said and isinstance(command, Measure) and world.now + 6 * MINUTE > asked[0][1]:
            number, until = asked[0]
            world.now = until - timedelta(seconds=1)
            world.say(verb, ask=number)
            said.append(world.now)
            world.now = until

    world.before = before
    play(policy, world)
    assert said
    assert world.verdict == ("promoted" if verb == "approve" else "rolled back")
    assert len(world.of(Ask)) == 1


def test_who_can_not_be_asked_has_not_consented():
    world = World(answers={Ask: [Refused(at=AT, reason="no such receiver")]})
    play(policy_with(approve=Approval("ml-leads", 60, "promote")), world)
    assert (world.verdict, world.reason) == ("rolled back", "nobody could be asked")


def test_a_question_that_another_one_came_before_is_put_again():
    """While the approval is open somebody changes the traffic by hand: that is asked first, then the approval once more."""
    policy = policy_with(stages=(Stage(10, 600, approve=Approval("ml-leads", 7200)),))
    world = World()
    asked = []

    def before(n, command):
        if isinstance(command, Ask):
            asked.append(command.question.code)
            if len(asked) == 1:
                world.change({"red": 100}, {})
            else:
                world.say("approve", ask=n, after=6000)

    world.before = before
    play(policy, world)
    assert asked == ["may it go on", "put it back", "may it go on"]
    assert world.verdict == "promoted"


@pytest.mark.parametrize(
    ("undecided", "verb", "verdict"),
    [
        ("rollback", None, "rolled back"),
        ("ask", "approve", "promoted"),
        ("ask", "reject", "rolled back"),
        ("ask", None, "rolled back"),
    ],
)
def test_a_stage_without_enough_requests_is_extended_and_then_undecided(undecided, verb, verdict):
    policy = policy_with(stages=(Stage(10, 600, min_requests=100_000),), extend=1200, undecided=undecided)
    world = play(policy, answering(verb) if verb else World())
    assert world.verdict == verdict
    bakes = [answer for one, answer in world.steps if isinstance(one, Measure)]
    assert sum(len(one.pairs) for one in bakes) >= 30


def test_a_second_candidate_waits_for_its_turn():
    world = World(answers={TakeTurn: [lambda world: Occupied(at=world.now, holder="r0")] * 30})
    play(world=world)
    assert world.verdict == "promoted"
    assert [one.status for one in world.of(TakeTurn)] == ["checking", *["waiting"] * 30]


def test_one_that_a_newer_candidate_replaces_goes_away_only_before_its_first_traffic():
    early, late = World(), World()
    early.before = lambda n, command: isinstance(command, Probe) and early.say("replace", "r2")
    late.before = lambda n, command: isinstance(command, Mirror) and late.say("replace", "r2")
    play(world=early)
    play(world=late)
    assert (early.verdict, early.reason, early.of(Move)) == ("rolled back", "replaced", [])
    assert NEW not in early.deployments
    assert early.labels == {}, "the candidate was not found wanting"
    assert late.verdict == "promoted"


def test_a_candidate_that_waits_ends_the_keeping_of_the_old_deployment():
    world = World()
    world.before = lambda n, command: (
        command.status == "keeping" and isinstance(command, Bake) and world.say("next", "r2")
    )
    play(policy_with(keep_old=864_000), world)
    assert world.verdict == "promoted"
    assert world.now < AT + timedelta(hours=3)
    assert set(world.deployments) == {NEW}


PRESSED = replace(POLICY, smoke=Smoke((Sample("one", "{}"),), load=Load(20, 30, p95_ms=300, p99_ms=600)))


def pressed(**found):
    base = {"sent": 600, "rate": 20.0, "p50": 40.0, "p95": 120.0, "p99": 300.0}
    return Probed(at=AT, sent=1, errors=0, p50=20, p95=40, load=UnderLoad(**(base | found)))


@pytest.mark.parametrize(
    ("found", "reason", "words"),
    [
        (pressed(failed={"503": 7}), "load errors", "7 of 600 failed (1.17 %, at most 1 %). HTTP 503: 7."),
        (pressed(sent=400, missed=200, rate=13.3), "load errors", "more than 50 at once: 200"),
        (pressed(failed={"no answer": 5, "500": 2}), "load errors", "no answer: 5, HTTP 500: 2"),
        (pressed(p95=301), "load slow", "p95 301 ms is over 300 ms"),
        (pressed(p99=601), "load slow", "p99 601 ms is over 600 ms (600 requests in 30 s, 20 a second, 0 failed"),
        (pressed(rate=12.0), "load not brought", "20 requests a second were to go to fraud-8, and 12 went"),
        (Probed(at=AT, sent=1, errors=0, p95=40), "load not brought", "nobody knows"),
    ],
)
def test_a_load_that_is_not_borne_ends_it_before_any_traffic(found, reason, words):
    world = play(PRESSED, World(answers={Probe: [found]}))
    assert (world.verdict, world.reason) == ("rolled back", reason)
    assert world.of(Move) == []
    back = next(one for one, _ in reversed(world.steps) if one.why and one.why.code == reason)
    assert words in tell(back.why, "en")
    assert bool(world.labels) == (reason != "load not brought"), "what nobody knows is no fault of the candidate's"


def asked_for(seconds, *, script=SCRIPT, windows=(), after=None):
    """A rollout whose approval comes so late; the second smoke test finds what is given."""
    world: World = World(
        on={Ask: lambda one: world.say("approve", ask=len(world.steps), after=seconds) or world.done(one)}
    )
    good = Probed(at=AT, sent=1, errors=0, p50=20, p95=40)
    world.answers[Probe] = [good, after or good]
    policy = policy_with(approve=Approval("ml-leads", within=3 * 86_400), windows=windows)
    return play(policy, world, script=script)


WRONG = Probed(at=AT, sent=1, errors=0, wrong=("one: expected 1, found 2",), p95=40)


def test_a_smoke_test_that_has_become_old_is_done_once_more_before_the_first_traffic():
    world = asked_for(50 * 3600, after=WRONG)
    assert (world.verdict, world.reason, len(world.of(Probe))) == ("rolled back", "probe wrong", 2)
    assert world.of(Move) == []
    assert "more than 1 h old" in tell(world.of(Probe)[1].why, "en")
    assert "1 時間を超える" in tell(world.of(Probe)[1].why, "ja")


@pytest.mark.parametrize(
    ("more", "probes"),
    [
        ({"seconds": STALE - 600}, 1),
        ({"seconds": STALE + 600}, 2),
        ({"seconds": 60, "windows": (Window((0,), 540, 600, "Europe/Berlin"),)}, 2),
        ({"seconds": STALE + 600, "script": 1}, 1),
    ],
)
def test_a_smoke_test_is_done_again_only_where_the_wait_was_long_and_never_while_traffic_flows(more, probes):
    world = asked_for(**more)
    assert world.verdict == "promoted"
    assert len(world.of(Probe)) == probes
    kinds = [type(one) for one, _ in world.steps]
    assert Probe not in kinds[kinds.index(Mirror) :]


def test_a_freeze_that_begins_while_the_smoke_test_is_done_again_holds_the_first_traffic():
    frozen = Frozen(at=AT, reason="year end", owner="dora", until=AT + timedelta(hours=9))
    world: World = World(
        on={Ask: lambda one: world.say("approve", ask=len(world.steps), after=7200) or world.done(one)}
    )
    world.on[Clear] = lambda _: (
        replace(frozen, at=world.now) if len(world.of(Probe)) == 2 and world.now < frozen.until else Done(at=world.now)
    )
    play(policy_with(approve=Approval("ml-leads")), world)
    first = next(answer.at for one, answer in world.steps if isinstance(one, Move))
    assert world.verdict == "promoted"
    assert first >= frozen.until


@pytest.mark.parametrize(("version", "word"), [(OLDEST - 1, "an older"), (SCRIPT + 1, "a newer")])
def test_a_rollout_of_a_script_that_is_not_ours_is_refused_before_anything_is_asked_for(version, word):
    with pytest.raises(UnplayableError, match=f"{word} version .* by version {version} of the script"):
        next(script(rollout(script=version)))


def test_a_load_that_is_borne_is_told_with_its_figures_and_a_few_errors_are_allowed():
    found = pressed(failed={"500": 6})
    assert play(PRESSED, World(answers={Probe: [found]})).verdict == "promoted"
    assert PRESSED.smoke is not None
    why = passed(NEW, PRESSED.smoke, found)
    assert (
        "Under load (600 requests in 30 s, 20 a second): 6 failed (1 %, at most 1 %), p50 40, p95 120, p99 300 ms"
        in tell(why, "en")
    )
    assert "負荷時 (30 秒で 600 件、毎秒 20 件)" in tell(why, "ja")


def test_a_load_takes_its_time():
    (shortest, longest), (before, after) = times(PRESSED).promotion, times(POLICY).promotion
    assert (shortest - before, longest - after) == (30, 30)


@pytest.mark.parametrize(
    ("setup", "reason"),
    [
        ({"fails": "ResourceNotReady: the container crashed"}, "not created"),
        ({"answers": {Create: [Refused(at=AT, reason="not enough quota", code="quota")]}}, "refused quota"),
        ({"answers": {Create: [Refused(at=AT, reason="409", code="conflict")]}}, "refused conflict"),
        ({"answers": {Create: [Refused(at=AT, reason="no environment", code="missing")]}}, "refused missing"),
        ({"answers": {Create: [Refused(at=AT, reason="TypeError", code="fault")]}}, "refused fault"),
        ({"answers": {Look: [Seen(at=AT, endpoint=None, tags={})]}}, "no endpoint"),
        ({"answers": {Look: [Refused(at=AT, reason="forbidden")]}}, "refused"),
        ({"tags": None}, "no model"),
        ({"tags": {"stage": "rejected"}}, "rejected in registry"),
        ({"kubernetes": True}, "no mirror"),
        ({"answers": {Probe: [Probed(at=AT, sent=3, errors=1, wrong=("one: HTTP 500",))]}}, "probe errors"),
        ({"answers": {Probe: [Probed(at=AT, sent=3, errors=0, wrong=("one: expected 1",))]}}, "probe wrong"),
        ({"answers": {Probe: [Probed(at=AT, sent=3, errors=0, p95=301)]}}, "probe slow"),
        ({"answers": {Probe: [Probed(at=AT, sent=0, errors=0)]}}, "probe sent nothing"),
    ],
)
def test_what_is_wrong_before_the_first_traffic_ends_it_with_a_clear_word_and_touches_nothing(setup, reason):
    world = play(world=World(**setup))
    assert (world.verdict, world.reason) == ("rolled back", reason)
    assert world.of(Move) == []
    assert world.traffic == START
    assert NEW not in world.deployments
    if reason != "rejected in registry":
        assert bool(world.labels) == reason.startswith("probe"), "labelled only when the model was found wanting"


def test_a_deployment_that_is_not_ready_in_time_is_given_up():
    world = World()
    world.on[Create] = lambda command: (
        world.deployments.setdefault(NEW, DeploymentState(NEW, "Creating", "fraud:8")) and world.done(command)
    )
    play(policy_with(deployment=Recipe(within=1800)), world)
    assert (world.verdict, world.reason) == ("rolled back", "creation too long")
    assert NEW not in world.deployments


def test_a_deployment_of_an_earlier_try_is_taken_and_never_deleted():
    world = World(canary=sick)
    world.deployments[NEW] = DeploymentState(NEW, "Succeeded", "fraud:8")
    play(world=world)
    assert world.verdict == "rolled back"
    assert NEW in world.deployments


def test_a_deployment_of_this_name_with_another_model_is_left_alone():
    world = World()
    world.deployments[NEW] = DeploymentState(NEW, "Succeeded", "other:1")
    play(world=world)
    assert (world.verdict, world.reason, world.of(Create)) == ("rolled back", "name taken", [])


@pytest.mark.parametrize(("state", "error"), [("Failed", "deployment failed"), (None, "deployment gone")])
def test_a_canary_that_fails_or_vanishes_is_rolled_back(state, error):
    world = World()

    def before(n, command):
        if isinstance(command, Measure) and command.status == "baking":
            world.deployments.pop(NEW, None)
            if state:
                world.deployments[NEW] = DeploymentState(NEW, state, "fraud:8", error="out of memory")

    world.before = before
    play(world=world)
    assert (world.verdict, world.reason, world.traffic) == ("rolled back", error, START)


@pytest.mark.parametrize(
    ("compare", "candidate", "champion", "reason"),
    [
        (Compare("auc", at_least=-0.002), {"auc": 0.928}, {"auc": 0.93}, None),
        (Compare("auc", at_least=-0.002), {"auc": 0.927}, {"auc": 0.93}, "worse"),
        (Compare("loss", lower_is_better=True), {"loss": 0.2}, {"loss": 0.3}, None),
        (Compare("loss", lower_is_better=True), {"loss": 0.4}, {"loss": 0.3}, "worse"),
        (Compare("auc", against=0.9), {"auc": 0.91}, None, None),
        (Compare("auc"), {}, {"auc": 0.9}, "not comparable"),
        (Compare("auc"), {"auc": 0.9}, None, "not comparable"),
        (Compare("auc"), {"auc": float("nan")}, {"auc": 0.9}, "worse"),
        (
            Compare("auc", cohorts=True),
            {"auc": 1, "auc/old": 1, "auc/new": 0.5},
            {"auc": 1, "auc/old": 1, "auc/new": 0.9},
            "worse",
        ),
        (Compare("auc", cohorts=True, cohort_at_least=-0.5), {"auc": 1, "auc/a": 0.5}, {"auc": 1, "auc/a": 0.9}, None),
        (Compare("auc", cohorts=True), {"auc": 1}, {"auc": 1, "auc/a": 0.9}, "not comparable"),
        (Compare("auc", cohorts=True), {"auc": 1}, {"auc": 1}, "not comparable"),
    ],
)
def test_the_candidate_is_held_against_the_champion_and_unknown_is_not_good(compare, candidate, champion, reason):
    world = World()
    world.on[CompareModels] = lambda command: Compared(
        at=world.now, candidate=candidate, champion=champion, unknown="x"
    )
    play(policy_with(compare=(compare,)), world)
    assert world.of(CompareModels)[0].champion == "fraud:7"
    assert world.verdict == ("promoted" if reason is None else "rolled back")
    assert reason is None or world.reason == reason


def test_a_comparison_that_fails_names_value_threshold_and_difference():
    world = World()
    world.on[CompareModels] = lambda command: Compared(at=world.now, candidate={"auc": 0.91}, champion={"auc": 0.93})
    play(policy_with(compare=(Compare("auc", at_least=-0.002),)), world)
    assert "auc 0.91 - 0.93 = -0.02 < -0.002" in words.tell(world.of(Finish)[0].why, "en")


@pytest.mark.parametrize(
    ("assessed", "reason"),
    [(Assessed(at=AT), "no assessment"), (Assessed(at=AT, file="a.yaml", missing=("fallback", "PII")), "unanswered")],
)
def test_an_assessment_that_is_not_there_or_not_filled_in_blocks(assessed, reason):
    world = play(policy_with(responsible_ai=True), World(answers={Assess: [assessed]}))
    assert (world.verdict, world.reason) == ("rolled back", reason)
    assert all(name in words.tell(world.of(Finish)[0].why, "en") for name in assessed.missing)


@pytest.mark.parametrize("verb", ["reject", "abort", "tag"])
def test_a_model_that_is_rejected_after_its_promotion_goes_back_at_once(verb):
    world = World()

    def before(n, command):
        if command.status == "keeping" and isinstance(command, Bake):
            if verb == "tag":
                world.tags = {"stage": "rejected"}
            elif not world.words:
                world.say(verb, "sato")

    world.before = before
    play(world=world)
    assert world.verdict == "rolled back"
    assert world.traffic == START
    assert set(world.deployments) == {"blue", "red"}
    assert world.labels["fraud:7"]["stage"] == "production", "the one before is in production again"
    # A person's label is not written over.
    assert world.labels["fraud:8"]["stage"] == ("production" if verb == "tag" else "rolled-back")


def test_traffic_that_is_changed_by_hand_after_the_promotion_is_left_alone():
    world = World()
    world.before = lambda n, command: (
        command.status == "keeping" and isinstance(command, Bake) and world.change({"blue": 50, NEW: 50}, {})
    )
    play(world=world)
    assert (world.verdict, world.reason) == ("promoted", "old ones stay")
    assert set(world.deployments) == {"blue", "red", NEW}


def test_a_batch_endpoint_has_its_default_deployment_switched_after_a_test_invocation():
    policy = policy_with(kind="batch", smoke=Smoke(data="azureml:sample:1"))
    busy = [lambda world: Busy(at=world.now, reason="the test job is Running", after=30)] * 40
    world = World({"blue": 100}, answers={Probe: busy})
    play(policy, world)
    assert (world.verdict, world.traffic) == ("promoted", {NEW: 100})
    assert [type(one).__name__ for one in world.of(Move)] == ["Promote"]
    assert world.of(Measure) == []


def test_the_first_model_of_an_endpoint_has_no_stages_and_says_why():
    world = play(policy_with(compare=(Compare("auc"),)), World({}))
    assert (world.verdict, world.traffic) == ("promoted", {NEW: 100})
    codes = [command.why.code for command, _ in world.steps]
    assert "nothing to compare with" in codes
    assert "no stages without traffic" in codes


def test_bringing_the_last_approved_version_back_is_quick_and_no_freeze_holds_it():
    policy = policy_with(compare=(Compare("auc"),), responsible_ai=True, approve=Approval("ml-leads"))
    world = World()
    world.on[Clear] = lambda command: Frozen(at=world.now, reason="x", owner="y", until=AT + timedelta(days=9))
    about = rollout(policy, restores="r0")
    check(world.play(about), about)
    assert (world.verdict, world.traffic) == ("promoted", {NEW: 100})
    for kind in (CompareModels, Assess, Ask, Clear, Measure):
        assert world.of(kind) == []
    assert "fraud:7" not in world.labels, "the rejected one keeps the label of whoever rejected it"


def test_a_candidate_that_is_live_already_has_nothing_to_do():
    world = World({"blue": 100})
    world.deployments["blue"] = DeploymentState("blue", "Succeeded", "fraud:8")
    play(world=world)
    assert (world.verdict, world.reason, world.of(Create)) == ("promoted", "live already", [])


def test_a_far_side_that_is_busy_for_a_while_is_asked_again_and_nothing_is_done_twice():
    world = World()
    for kind in (TakeTurn, Look, Create, Probe, Mirror, Shift, Promote, Tag, Delete, Announce):
        world.answers[kind] = [lambda world: Busy(at=world.now, reason="HTTP 429", after=20)] * 3
    play(world=world)
    assert world.verdict == "promoted"


@pytest.mark.parametrize("kind", [TakeTurn, Look, Create, Probe, Mirror, Shift, Promote, Clear])
@pytest.mark.parametrize("broken", ["busy", "refused"])
def test_what_stays_out_of_reach_or_is_refused_leads_back_to_the_start(kind, broken):
    world = World()
    make = Busy if broken == "busy" else Refused

    def answer(command):
        return make(at=world.now, reason="out of order")

    world.on[kind] = answer
    play(world=world)
    assert world.verdict == "rolled back"
    assert (world.traffic, world.mirror) == (START, {})


@pytest.mark.parametrize("make", [Busy, Refused])
def test_a_way_back_that_is_barred_is_stuck_and_a_person_is_told(make):
    world = World(canary=sick)
    world.on[Restore] = lambda command: make(at=world.now, reason="out of order")
    play(world=world)
    assert (world.verdict, world.reason) == ("stuck", "can not go back")
    assert world.of(Announce)[-1].kind == "RolloutStuck"
    assert NEW in world.deployments, "it has traffic"


@pytest.mark.parametrize("stale", [5, 200])
def test_where_nothing_may_be_written_nothing_has_to_be_put_back(stale):
    """Every write is refused; the second time the first one had an effect all the same, which is seen only later."""
    world = World()

    def refuse(command):
        if isinstance(command, Mirror) and stale > 5:
            world.change(command.traffic, command.mirror, after=stale)
        return Refused(at=world.now, reason="HTTP 403")

    world.on[Mirror] = world.on[Restore] = refuse
    play(world=world)
    assert (world.verdict, world.reason) == (("rolled back", "refused") if stale == 5 else ("stuck", "can not go back"))
    assert (NEW in world.deployments) == (world.verdict == "stuck")


def test_the_same_answers_give_the_same_commands():
    world = play(policy_with(approve=Approval("ml-leads", 600, "promote")))
    steps = script(rollout(policy_with(approve=Approval("ml-leads", 600, "promote"))))
    again = [next(steps)]
    for _, answer in world.steps[:-1]:
        again.append(steps.send(answer))
    assert again == [command for command, _ in world.steps]


def test_an_endpoint_that_is_being_changed_is_waited_for_before_it_is_remembered():
    half = {"blue": 50, "red": 50}
    updating = EndpointState("fraud", "Updating", half)
    world = World(answers={Look: [lambda world: Seen(at=world.now, endpoint=updating, tags={})] * 3}, canary=sick)
    play(world=world)
    assert world.of(Restore)[0].traffic == START


def test_an_endpoint_that_does_not_come_to_rest_ends_it():
    world = World()
    world.on[Look] = lambda command: Seen(at=world.now, endpoint=EndpointState("fraud", "Updating", START), tags={})
    play(world=world)
    assert (world.verdict, world.reason) == ("rolled back", "endpoint busy")


def test_the_answer_to_another_question_is_none():
    world = World()

    def before(n, command):
        if isinstance(command, Ask):
            other = Word("approve", "nobody", world.now, "", n - 1)
            world.answers[Bake] = [lambda world: Heard(at=world.now, word=other)]

    world.before = before
    play(policy_with(approve=Approval("ml-leads", 600)), world)
    assert (world.verdict, world.reason) == ("rolled back", "silence goes back")


def test_a_canary_that_somebody_gave_traffic_is_not_deleted_when_a_check_fails():
    world = World(answers={Probe: [Probed(at=AT, sent=1, errors=1)]})
    world.before = lambda n, command: isinstance(command, Probe) and world.change({"blue": 50, NEW: 50}, {})
    play(world=world)
    assert (world.verdict, world.reason) == ("rolled back", "probe errors")
    assert NEW in world.deployments


def test_old_deployments_that_got_traffic_again_at_the_last_moment_are_not_deleted():
    world = World()
    world.before = lambda n, command: (
        command.status == "keeping" and isinstance(command, Look) and world.change({"blue": 50, NEW: 50}, {})
    )
    play(policy_with(keep_old=0), world)
    assert (world.verdict, world.reason) == ("promoted", "old ones stay")


def test_the_time_that_a_question_takes_does_not_count_for_the_stage():
    world = World()
    asked: dict[str, datetime] = {}

    def before(n, command):
        if command.status == "baking" and isinstance(command, Measure) and not asked:
            asked["at"] = world.now
            world.change({"red": 100}, {})
        if isinstance(command, Ask):
            world.say("approve", ask=n, after=3600)

    world.before = before
    play(policy_with(stages=(Stage(10, 600),)), world)
    moved = [n for n, (one, _) in enumerate(world.steps) if isinstance(one, Move)]
    back, promoted = (world.steps[n][1].at for n in moved[-2:])
    assert back >= asked["at"] + timedelta(hours=1)
    assert promoted >= back + timedelta(minutes=10)


def test_a_deployment_that_is_still_being_made_is_deleted_when_that_has_ended():
    world = World()
    world.before = lambda n, command: command.status == "deploying" and isinstance(command, Look) and world.say("abort")

    def delete(command):
        making = world.deployments[NEW].state == "Creating"
        return Busy(at=world.now, reason="HTTP 409") if making else world.on_delete(command)

    world.on[Delete] = delete
    play(policy_with(patience=60), world)
    assert (world.verdict, world.reason) == ("rolled back", "aborted")
    assert NEW not in world.deployments


def test_the_endpoint_is_given_free_even_where_that_takes_a_second_try():
    world = World(answers={Finish: [lambda world: Busy(at=world.now, reason="HTTP 503")] * 2})
    play(world=world)
    assert [type(answer) for one, answer in world.steps if isinstance(one, Finish)] == [Busy, Busy, Done]


@pytest.mark.parametrize("unseen", [30, 120, 280])
def test_a_write_that_is_seen_late_is_not_taken_for_one_that_never_was(unseen):
    """Aborted right behind the write: whoever reads the endpoint still finds the traffic of the start, and so does the way back."""
    world = World()
    written = World.change

    def change(traffic, mirror, after=0.0):
        written(world, traffic, mirror, unseen if NEW in traffic else after)

    def restore(command):
        if _traffic(world.endpoint()) == (command.traffic, command.mirror):
            return Done(at=world.now, again=True)
        return world.moved(command)

    vars(world)["change"] = change
    world.on[Restore] = restore
    world.before = lambda n, command: isinstance(command, Shift) and world.say("abort", after=2)
    play(policy_with(stages=(Stage(10, 600),)), world)
    assert (world.verdict, world.reason, world.traffic) == ("rolled back", "aborted", START)
    assert NEW not in world.deployments


def _traffic(endpoint):
    return endpoint.traffic, endpoint.mirror


def test_an_old_read_before_a_write_is_no_change_by_hand():
    world = World()
    world.answers[Shift] = [lambda world: Changed(at=world.now, traffic=START, mirror={})]
    play(world=world)
    assert world.verdict == "promoted"
    assert world.of(Ask) == []


def test_who_has_taken_a_rejected_model_out_of_the_traffic_is_not_overruled():
    world = World()

    def before(n, command):
        if command.status == "keeping" and isinstance(command, Look):
            world.tags = {"stage": "rejected"}
            world.change({"red": 100}, {})

    world.before = before
    play(world=world)
    assert (world.verdict, world.traffic) == ("promoted", {"red": 100})
    assert world.of(Delete) == []


@pytest.mark.parametrize(("late", "verdict"), [(3, "promoted"), (8, "promoted"), (30, "rolled back")])
def test_logs_that_come_late_are_asked_for_again_and_counted_once(late, verdict):
    world = World()
    come = lambda at: minute() if world.now >= at + late * MINUTE else None  # noqa: E731
    world.canary = world.baseline = come
    policy = policy_with(stages=(Stage(10, 600),), patience=1200)
    play(policy, world)
    assert world.verdict == verdict
    if verdict == "promoted":
        (advanced,) = [one for one in world.of(Announce) if one.kind == "RolloutAdvanced"]
        assert [one.canary_total for one in advanced.readings] == [6000, 600], "ten minutes, each of them once"


def test_a_model_that_is_rejected_while_it_waits_for_its_first_traffic_gets_none():
    world = World()

    def before(n, command):
        if isinstance(command, Ask):
            world.tags = {"stage": "rejected"}
            world.say("approve", ask=n, after=600)

    world.before = before
    play(policy_with(approve=Approval("ml-leads", 6000)), world)
    assert (world.verdict, world.reason, world.of(Move)) == ("rolled back", "rejected in registry", [])


# Hours and shares

ZONES = ["UTC", "Asia/Tokyo", "Europe/Berlin", "America/New_York"]
WINDOWS = st.builds(
    Window,
    st.sets(st.integers(0, 6), min_size=1).map(tuple),
    st.integers(0, 47).map(lambda n: 30 * n),
    st.integers(0, 48).map(lambda n: 30 * n),
    st.sampled_from(ZONES),
)
CLOSED = st.builds(
    lambda first, days, zone: Closed(first, first + timedelta(days=days), "x", zone=zone),
    st.dates(date(2026, 3, 1), date(2026, 4, 30)),
    st.integers(0, 20),
    st.sampled_from(ZONES),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(WINDOWS, max_size=3),
    st.lists(CLOSED, max_size=3),
    st.integers(0, 60 * 24 * 60),
)
def test_the_next_opening_is_open_and_nothing_before_it_is(windows, closed, moment):
    policy = policy_with(windows=tuple(windows), closed=tuple(closed))
    moment = datetime(2026, 3, 1, tzinfo=UTC) + moment * MINUTE
    opening = next_opening(policy, moment)
    assert opening is not None
    assert opening >= moment
    assert open_at(policy, opening)
    # By the quarter of an hour, and not in the hour that clocks leave out.
    between = (moment + n * timedelta(minutes=15) for n in range(int((opening - moment) / timedelta(minutes=15))))
    early = [at for at in between if open_at(policy, at) and at < opening - timedelta(hours=1)]
    assert early == []


def test_what_is_closed_for_good_never_opens():
    policy = policy_with(closed=(Closed(date(2026, 1, 1), date.max, "the end"),))
    assert next_opening(policy, AT) is None
    world = World()
    world.words = [Word("abort", "sato", AT + timedelta(days=9))]
    play(policy, world)
    assert (world.verdict, world.reason) == ("rolled back", "aborted")


@given(
    st.dictionaries(st.sampled_from(["a", "b", "c", "d", NEW]), st.integers(0, 100), max_size=5), st.integers(0, 100)
)
def test_shares_are_whole_sum_to_a_hundred_and_keep_the_proportions(start, percent):
    found = shares(start, NEW, percent)
    others = {name: weight for name, weight in start.items() if name != NEW and weight}
    assert sum(found.values()) == 100
    assert found.get(NEW, 0) == (percent if others else 100)
    for name, weight in others.items():
        assert abs(found.get(name, 0) - weight * (100 - percent) / sum(others.values())) < 1


# Properties


def chance(seed):
    return random.Random(seed)


def a_policy(dice):
    def approval():
        return Approval("ml-leads", dice.choice([60.0, 7200.0]), dice.choice(["rollback", "promote", "hold"]))

    def stage():
        return Stage(
            dice.choice([1, 5, 10, 33, 50]),
            dice.choice([0.0, 60.0, 300.0]),
            mirror=dice.random() < 0.3,
            min_requests=dice.choice([0, 10, 5000]),
            approve=approval() if dice.random() < 0.2 else None,
        )

    some = [BinaryGate("http_5xx"), CeilingGate("error_rate", 0.2, 60), MeanGate("latency_ms")]
    return policy_with(
        kind=dice.choice(["managed", "managed", "kubernetes", "batch"]),
        deployment=Recipe(within=600),
        compare=(Compare("auc"),) if dice.random() < 0.3 else (),
        responsible_ai=dice.random() < 0.2,
        smoke=dice.choice([None, Smoke(p95_ms=300)]),
        approve=approval() if dice.random() < 0.2 else None,
        stages=tuple(stage() for _ in range(dice.randrange(4))),
        gates=tuple(dice.sample(some, dice.randrange(4))),
        on_breach=dice.choice(["rollback", "hold"]),
        undecided=dice.choice(["ask", "rollback"]),
        extend=dice.choice([0.0, 300.0]),
        patience=dice.choice([0.0, 60.0, 300.0]),
        every=dice.choice([30.0, 60.0, 300.0]),
        windows=(Window((0, 2, 4), 540, 1020, "Europe/Berlin"),) if dice.random() < 0.2 else (),
        closed=(Closed(date(2026, 11, 21), date(2026, 11, 22), "x"),) if dice.random() < 0.1 else (),
        keep_old=dice.choice([0.0, 3600.0]),
        labels=Labels(rejected={} if dice.random() < 0.1 else {"stage": "rejected"}),
    )


class Chaos(World):
    """A world that behaves, more or less: busy, refusing, slow, changed by hand, full of words."""

    def __init__(self, dice):
        super().__init__(dice.choice([{}, {"blue": 100}, START, {"blue": 33, "red": 33, "white": 34}]))
        self.dice, self.trouble = dice, dice.choice([0.0, 0.02, 0.1, 0.3])
        self.health = dice.choice([0, 0, 6, 200])
        self.canary = lambda at: self.arm(self.health)
        self.baseline = lambda at: self.arm(self.health if self.dice.random() < 0.3 else 0)
        self.fails = "no memory" if dice.random() < 0.1 else ""
        self.kubernetes = dice.random() < 0.1
        self.restless = 400
        """Steps until it lets the script come to an end."""

    def arm(self, errors):
        return (
            None
            if self.dice.random() < self.trouble / 2
            else minute(*self.dice.choice([(0, 0), (30, errors // 20), (600, errors)]))
        )

    def answer(self, command):
        dice, calm = self.dice, len(self.steps) > self.restless
        self.trouble = 0.0 if calm else self.trouble
        if dice.random() < self.trouble and not isinstance(command, Bake):
            effect = dice.random() < 0.5
            if effect:
                super().answer(command)  # it came to pass, and we never heard
            after = dice.choice([None, 10.0, 10_000.0])
            return dice.choice(
                [
                    Busy(at=self.now, reason="HTTP 503", after=after),
                    Refused(at=self.now, reason="no", code=dice.choice(["", "quota", "fault"])),
                ]
            )
        if dice.random() < self.trouble / 10 and not isinstance(command, Delete):
            self.hand = len(self.steps)
            self.change(dice.choice([{"blue": 100}, START]), {})
        if dice.random() < self.trouble / 20:
            self.tags = {"stage": "rejected"}
        if dice.random() < self.trouble / 2 or (isinstance(command, Ask) and (calm or dice.random() < 0.5)):
            verb = dice.choice(["approve", "reject", "approve", "abort", "override", "replace", "next"])
            self.say(verb, dice.choice("abc"), dice.choice([None, len(self.steps)]), dice.choice([0, 60, 9000]))
        return super().answer(command)

    def on_clear(self, command):
        until = self.now + timedelta(hours=2)
        frozen = self.dice.random() < self.trouble
        return Frozen(at=self.now, reason="x", owner="y", until=until) if frozen else Done(at=self.now)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_whatever_happens_the_invariants_hold(seed, restores):
    dice = chance(seed)
    version = dice.randint(OLDEST, SCRIPT)
    about = rollout(a_policy(dice), restores="r0" if restores else "", script=version)
    world = Chaos(dice)
    check(world.play(about), about)


class Anything(World):
    """A world that answers whatever the types allow, true or not."""

    def __init__(self, dice):
        super().__init__()
        self.dice = dice

    def weights(self):
        return self.dice.choice(
            [{}, {"blue": 100}, START, {NEW: 100}, {"blue": 90, NEW: 10}, {"blue": 50, NEW: 50}, {"x": 7}]
        )

    def seen_endpoint(self):
        dice = self.dice
        states = ["Succeeded"] * 8 + ["Creating", "Updating", "Deleting", "Failed", "Canceled"]
        made = tuple(
            DeploymentState(
                name, dice.choice(states), dice.choice(["fraud:7", "fraud:8", ""]), error=dice.choice(["", "no memory"])
            )
            for name in ("blue", "red", NEW)
            if dice.random() < 0.8
        )
        mirror = dice.choice([{}, {}, {NEW: 20}])
        return (
            EndpointState("fraud", dice.choice(states), self.weights(), mirror, made) if dice.random() < 0.95 else None
        )

    def tagged(self):
        return self.dice.choice([{}] * 9 + [{"stage": "rejected"}, None])

    def some_minute(self):
        dice = self.dice
        some = [None, Minute(0), minute(600, 1), minute(600, 300), Minute(5, {"http_5xx": 5}), Minute(9)]
        return dice.choice(some)

    def answer(self, command):
        dice = self.dice
        self.now += timedelta(seconds=dice.choice([0, 1, 60]))
        at = self.now
        if dice.random() < 0.05:
            return dice.choice(
                [Busy(at=at, reason="b", after=dice.choice([None, 1e6])), Refused(at=at, reason="r", code="missing")]
            )
        match command:
            case TakeTurn():
                return dice.choice([Done(at=at), Occupied(at=at, holder="r0")])
            case Look():
                return Seen(at=at, endpoint=self.seen_endpoint(), tags=self.tagged())
            case CompareModels():
                some = [None, {}, {"auc": 0.9, "auc/a": 1.0}]
                return Compared(
                    at=at, candidate=dice.choice(some), champion=dice.choice(some), unknown=dice.choice(["", "x"])
                )
            case Assess():
                return Assessed(at=at, file=dice.choice(["", "a", "a"]), missing=dice.choice([(), ("PII",)]))
            case Probe():
                return Probed(
                    at=at,
                    sent=dice.randrange(3),
                    errors=dice.randrange(2),
                    wrong=dice.choice([(), ("w",)]),
                    p95=299 + dice.random() * 2,
                )
            case Move():
                return dice.choice([Done(at=at, again=True), Done(at=at), Changed(at=at, traffic=self.weights())])
            case Bake() if dice.random() < 0.3:
                verb = dice.choice(["approve", "approve", "approve", "reject", "abort", "override", "replace", "next"])
                return Heard(at=at, word=Word(verb, dice.choice("ab"), at, "", dice.choice([None, command.ask])))
            case Bake():
                self.now = max(at, command.until)
                return Elapsed(at=self.now)
            case Measure():
                pairs = tuple(
                    Pair(command.since + n * MINUTE, self.some_minute(), self.some_minute())
                    for n in range(-2, dice.randrange(9))
                )
                until = command.since + dice.randrange(9) * MINUTE
                end, tags = self.seen_endpoint(), self.tagged()
                return Measured(
                    at=at, until=until, pairs=pairs, endpoint=end, tags=tags, unknown=dice.choice(["", "", "x"])
                )
            case Clear():
                return dice.choice([Done(at=at), Frozen(at=at, reason="x", owner="y", until=at - MINUTE)])
            case _:
                return Done(at=at)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_even_lies_end_with_one_finish_and_never_more_traffic_than_the_stages_say(seed, restores):
    dice = chance(seed)
    about = rollout(a_policy(dice), restores="r0" if restores else "")
    world = Anything(dice).play(about)
    commands = [one for one, _ in world.steps]
    ends_once(world)
    stages = about.policy.stages
    for command, _ in world.steps:
        in_words(command)
        if isinstance(command, Move) and not isinstance(command, Restore):
            assert sum(command.traffic.values()) in {0, 100}
            put_back = command.expected not in [one.traffic for one in commands if isinstance(one, Move)]
            assert (
                isinstance(command, Promote)
                or put_back
                or command.traffic.get(NEW, 0)
                <= max([stage.percent for stage in stages if not stage.mirror], default=0)
            )
    assert sum(isinstance(one, Promote) and isinstance(answer, Done) for one, answer in world.steps) <= 1


# Times


def first_seen(steps, traffic):
    return next(
        answer.at
        for one, answer in steps
        if isinstance(one, Look) and getattr(getattr(answer, "endpoint", None), "traffic", None) == traffic
    )


class Slow(World):
    """A healthy world that is busy whenever it can be, for as long as patience lasts now and then; people answer late."""

    def __init__(self, dice, policy):
        super().__init__(START)
        self.dice, self.policy, self.busy = dice, policy, dice.choice([0.0, 0.1, 0.4])
        self.waits: datetime | None = None
        self.refused: set[type] = set()
        """What has had its wait, and is asked for again."""

    def answer(self, command):
        patient = self.waits is None and not isinstance(command, Bake | Measure) and type(command) not in self.refused
        if patient and self.dice.random() < self.busy:
            self.waits = self.now + timedelta(seconds=self.dice.random() * self.policy.patience * 0.9)
        if self.waits is not None and not isinstance(command, Bake):
            if self.now < self.waits:
                self.refused.add(type(command))
                return Busy(at=self.now, reason="HTTP 429")
            self.waits = None
        self.refused.discard(type(command))
        if isinstance(command, Ask):
            within = (command.until - self.now).total_seconds()
            self.say("approve", ask=len(self.steps), after=self.dice.random() * within * 0.9)
        return super().answer(command)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_a_promotion_takes_no_less_and_no_more_than_its_policy_says(seed):
    dice = chance(seed)
    policy = policy_with(
        stages=tuple(
            Stage(
                percent,
                dice.choice([0.0, 600.0]),
                min_requests=dice.choice([0, 10**9]),
                approve=dice.choice([None, Approval("x", 3600)]),
            )
            for percent in (10, 50)[: dice.randrange(3)]
        ),
        patience=dice.choice([60.0, 900.0]),
        every=dice.choice([60.0, 600.0]),
        extend=dice.choice([0.0, 1200.0]),
        windows=dice.choice([(), (Window((0, 3), 540, 600, "Europe/Berlin"),)]),
        closed=dice.choice([(), (Closed(date(2026, 11, 20), date(2026, 11, 26), "x"),)]),
        approve=dice.choice([None, Approval("x", 7200)]),
    )
    world = play(policy, Slow(dice, policy))
    assert world.verdict == "promoted"
    promoted = next(n for n, (one, _) in enumerate(world.steps) if isinstance(one, Promote))
    seen = first_seen(world.steps[promoted:], {NEW: 100})
    shortest, longest = times(policy).promotion
    assert shortest <= (seen - AT).total_seconds() <= longest


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_a_rollback_takes_no_less_and_no_more_than_its_policy_says(seed):
    dice = chance(seed)
    policy = policy_with(patience=dice.choice([60.0, 900.0]))
    world = Slow(dice, policy)
    world.canary = sick
    play(policy, world)
    assert world.verdict == "rolled back"
    first = next(n for n, (one, _) in enumerate(world.steps) if isinstance(one, Restore))
    seen = first_seen(world.steps[first + 1 :], START)
    shortest, longest = times(policy).rollback
    assert shortest <= (seen - world.steps[first - 1][1].at).total_seconds() <= longest


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({}, "freezes"),
        ({"approve": Approval("ml-leads", 60, "hold")}, "ml-leads"),
        ({"on_breach": "hold"}, "on_breach"),
        ({"windows": (Window(()),)}, "never open"),
    ],
)
def test_what_has_no_bound_is_said(more, word):
    told = " ".join(times(policy_with(**more)).besides)
    assert word in told
    assert word == "freezes" or word not in " ".join(times(POLICY).besides)


def test_an_answer_that_took_long_is_not_taken_for_what_is_so_when_it_comes():
    """A stall between the reading and its answer is no proof that nothing has changed since."""
    world = World()
    slow: list[Look] = []

    def look(command):
        seen = world.on_look(command)
        moved = bool(slow) or world.traffic == {"blue": 100}
        if not moved and world.endpoint().traffic != world.traffic:
            slow.append(command)
            world.now += timedelta(hours=2)
        return Seen(at=world.now, endpoint=seen.endpoint, tags=seen.tags)

    world.on[Look] = look
    play(policy_with(stages=(Stage(10, 600),)), world)
    assert slow
    assert (world.verdict, world.reason) == ("promoted", "promoted")

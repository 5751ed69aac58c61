"""Rollouts on the embedded host: stories from the start to the end, and the host killed at every moment of them."""

import asyncio
import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace as changed

from local import queue
from local.rollouts import Rollouts
from local.shelf import SqliteShelf
from shared import book, wire
from shared.conduct import Conductor
from shared.rollout.policy import Approval, BinaryGate, Compare, Policy, Sample, Smoke, Stage
from shared.rollout.record import Asked, Clear, Create, Head, Shift
from shared.rollout.script import script
from shared.settings import ROLLOUT_QUEUE
from tests.fleet import BLUE, CANARY, ENDPOINT, Fate, Fleet, When
from tests.station import opened
from tests.world import DictShelf, VirtualClock

STAGE = Stage(10, 120, min_requests=100)
POLICY = Policy(
    name="fraud-online",
    endpoint=ENDPOINT,
    compare=(Compare("auc", at_least=-0.002),),
    smoke=Smoke((Sample("one", '{"x": 1}', "[1]"),), p95_ms=300),
    stages=(STAGE,),
    gates=(BinaryGate("http_5xx"),),
    every=120,
    keep_old=60,
    notify=("platform",),
)
APPROVED = changed(POLICY, stages=(changed(STAGE, approve=Approval("leads", within=1800)),))
STORIES = {
    "promotion": (POLICY, Fate()),
    "rollback": (changed(POLICY, stages=(changed(STAGE, percent=50, seconds=900),)), Fate(canary="5x")),
    "approval": (APPROVED, Fate(reply_after=60)),
    "refusal": (APPROVED, Fate(reply="reject", reply_after=60)),
}


class Killed(BaseException):
    """The process is gone: nothing catches it."""


@dataclass
class Killer:
    """Ends the process at the moment number `at`, counted from 1: before and after each call and each write."""

    at: int = 0
    moments: int = 0
    dead: bool = False

    def __call__(self, _: When) -> None:
        self.moments += 1
        self.dead = self.dead or self.moments == self.at
        if self.dead:
            raise Killed


@dataclass
class Watched:
    """A shelf whose writes can be killed."""

    inner: DictShelf
    hook: Killer

    async def keep(self, folder: str, name: str, text: str) -> str:
        self.hook("before")
        kept = await self.inner.keep(folder, name, text)
        self.hook("after")
        return kept

    async def put(self, folder: str, name: str, text: str) -> None:
        self.hook("before")
        await self.inner.put(folder, name, text)
        self.hook("after")

    async def swap(self, folder: str, name: str, old: str | None, new: str | None) -> bool:
        self.hook("before")
        swapped = await self.inner.swap(folder, name, old, new)
        self.hook("after")
        return swapped

    async def get(self, folder: str, name: str) -> str | None:
        return await self.inner.get(folder, name)

    async def all(self, folder: str, *, after: str = "", limit: int = 10_000) -> Sequence[tuple[str, str]]:
        return await self.inner.all(folder, after=after, limit=limit)


@dataclass
class Timers:
    """A queue that gives a message again until it is taken off."""

    clock: VirtualClock | None = None
    waiting: list[tuple[datetime, int, str]] = field(default_factory=list)
    count: int = 0

    async def put(self, texts: Sequence[str], *, delay: float = 0) -> None:
        assert self.clock is not None
        for text in texts:
            self.count += 1
            heapq.heappush(self.waiting, (self.clock.now + timedelta(seconds=delay), self.count, text))


class Machine:
    """The embedded driver beside a fleet: what is in memory can be dropped at any time, shelf, queue and world stay."""

    def __init__(self, policy: Policy | None, fate: Fate | None, *, seed: int = 1, killed_at: int = 0) -> None:
        self.killer, self.kills = Killer(killed_at), 0
        self.timers = Timers()
        self.fleet = Fleet(seed, policy=policy, fate=fate, rollouts=self.timers, hook=self.killer)
        self.timers.clock = self.fleet.clock
        assert isinstance(self.fleet.shelf, DictShelf)
        self.world = replace(self.fleet.world, shelf=Watched(self.fleet.shelf, self.killer))
        self.driver = self.started()

    def started(self) -> Rollouts:
        return Rollouts(Conductor(self.world))

    async def begin(self) -> None:
        await self.fleet.open()
        while True:
            try:
                await Conductor(self.world).start(self.fleet.rollout)
            except Killed:  # as the intent that starts it would be done again
                await self.restart()
            else:
                return

    async def restart(self) -> None:
        for _ in range(10):  # whatever was under way dies too
            await asyncio.sleep(0)
        self.killer.dead = False
        self.kills += 1
        self.driver = self.started()

    async def run(self, *, forgetful: bool = False, twice: bool = False) -> Head:
        await self.begin()
        while self.timers.waiting:
            visible, n, text = self.timers.waiting[0]
            if visible > self.fleet.clock():
                await self.fleet.rest(visible)
                continue
            message = wire.load(wire.Advance, text)
            try:
                await asyncio.gather(*(self.driver.advance(message) for _ in range(1 + twice)))
            except Killed:
                await self.restart()
                continue
            self.timers.waiting.remove((visible, n, text))
            heapq.heapify(self.timers.waiting)
            if forgetful:
                self.driver = self.started()
        return await self.head()

    async def head(self) -> Head:
        return await book.head(self.fleet.shelf, self.fleet.rollout)

    async def asked(self) -> list[Asked]:
        return [step.command for step in await book.steps(self.fleet.shelf, self.fleet.rollout.id)]

    async def ending(self) -> tuple[object, ...]:
        fleet = self.fleet
        return (
            (await self.head()).status,
            fleet.weights,
            fleet.mirrored,
            fleet.deployments,
            len(fleet.promotions),
            fleet.tags,
            await book.take_turn(fleet.shelf, changed(fleet.rollout, id="next")),  # the endpoint is free
        )


# Stories


async def test_a_healthy_candidate_gets_all_of_the_traffic_and_the_old_deployment_goes_when_its_time_is_over():
    machine = Machine(*STORIES["promotion"])
    head = await machine.run()
    assert (head.status, head.percent, head.replaced) == ("promoted", 100, "fraud:6")
    assert (machine.fleet.weights, machine.fleet.deployments) == ({CANARY: 100}, [CANARY])
    assert machine.fleet.tags["fraud:7"]["stage"] == "production"
    assert len(machine.fleet.promotions) == 1
    shares = [command.traffic.get(CANARY) for command in await machine.asked() if isinstance(command, Shift)]
    assert shares == [10]


async def test_a_candidate_that_fails_more_often_is_taken_back_and_the_readings_say_why():
    machine = Machine(*STORIES["rollback"])
    head = await machine.run()
    assert head.status == "rolled back"
    assert (machine.fleet.weights, machine.fleet.promotions) == ({BLUE: 100}, [])
    (breach, *_) = [one for command in await machine.asked() for one in command.readings if one.state == "breach"]
    assert breach.e is not None
    assert breach.threshold is not None
    assert breach.e >= breach.threshold


@pytest.mark.parametrize(("story", "verdict"), [("approval", "promoted"), ("refusal", "rolled back")])
async def test_the_word_of_a_person_decides(story, verdict):
    machine = Machine(*STORIES[story])
    assert (await machine.run()).status == verdict
    words = await book.words(machine.fleet.shelf, machine.fleet.rollout.id)
    assert [(word.by, word.via) for word in words] == [("erin", "test")]


async def test_nobody_answers_and_what_the_policy_says_happens():
    machine = Machine(APPROVED, Fate(reply=""))
    assert (await machine.run()).status == "rolled back"
    assert machine.fleet.weights == {BLUE: 100}


async def test_an_abort_takes_effect_while_it_waits():
    machine = Machine(changed(POLICY, stages=(changed(STAGE, seconds=7200),)), Fate(abort=1500))
    assert (await machine.run()).status == "rolled back"
    assert machine.fleet.weights == {BLUE: 100}
    assert machine.fleet.clock() < machine.fleet.rollout.at + timedelta(seconds=7200)


async def test_a_freeze_holds_it_and_two_people_can_break_the_glass():
    for overridden in (False, True):
        machine = Machine(POLICY, Fate(frozen=(0, 7200), overridden=overridden))
        assert (await machine.run()).status == "promoted"
        steps = await book.steps(machine.fleet.shelf, machine.fleet.rollout.id)
        first = next(step for step in steps if isinstance(step.command, Shift))
        assert overridden is (first.asked < machine.fleet.rollout.at + timedelta(seconds=7200))


# The machine


@pytest.mark.parametrize("story", ["promotion", "rollback", "approval"])
async def test_killed_at_any_moment_it_ends_as_without_the_kill(story):
    undisturbed = Machine(*STORIES[story])
    await undisturbed.run()
    wanted = await undisturbed.ending()
    assert undisturbed.killer.moments > 100
    for moment in range(1, undisturbed.killer.moments + 1):
        machine = Machine(*STORIES[story], killed_at=moment)
        await machine.run()
        assert machine.kills == 1
        assert await machine.ending() == wanted, f"killed at moment {moment}"


@pytest.mark.parametrize("seed", range(60))
async def test_whatever_the_world_has_in_store_it_ends_with_all_of_the_traffic_or_none(seed):
    machine = Machine(None, None, seed=seed)
    head = await machine.run()
    assert head.status in {"promoted", "rolled back", "stuck"}
    assert head.ended is not None
    assert sum(machine.fleet.weights.values()) in {0, 100}
    assert len(machine.fleet.promotions) <= 1
    assert await book.take_turn(machine.fleet.shelf, changed(machine.fleet.rollout, id="next")) == "next"


@pytest.mark.parametrize("seed", range(0, 60, 4))
async def test_what_is_in_memory_makes_no_difference(seed):
    remembering, forgetting = Machine(None, None, seed=seed), Machine(None, None, seed=seed)
    await remembering.run()
    await forgetting.run(forgetful=True)
    assert forgetting.fleet.calls == remembering.fleet.calls
    assert await forgetting.asked() == await remembering.asked()


async def test_two_messages_at_the_same_time_do_nothing_twice():
    once, twice = Machine(*STORIES["promotion"]), Machine(*STORIES["promotion"])
    await once.run()
    await twice.run(twice=True)
    assert twice.fleet.calls == once.fleet.calls


async def test_a_record_that_the_script_cannot_replay_ends_stuck_and_the_endpoint_is_free(caplog):
    machine = Machine(*STORIES["approval"])
    await machine.begin()
    await machine.driver.advance(wire.Advance(machine.fleet.rollout.id))
    steps = await book.steps(machine.fleet.shelf, machine.fleet.rollout.id)
    create = next(step for step in steps if isinstance(step.command, Create))
    other = changed(create, command=Clear(status="baking"))
    await machine.fleet.shelf.put(f"rollout-{machine.fleet.rollout.id}-steps", f"{create.n:06d}", wire.dump(other))
    machine.driver = machine.started()
    await machine.driver.advance(wire.Advance(machine.fleet.rollout.id))
    head = await machine.head()
    assert head.status == "stuck"
    assert f"at step {create.n} Clear is on record, and the script asks for Create" in str(head.why)
    assert ("event", "RolloutStuck") in machine.fleet.calls
    calls = len(machine.fleet.calls)
    while machine.timers.waiting:  # what was on its way comes too late
        await machine.driver.advance(wire.load(wire.Advance, heapq.heappop(machine.timers.waiting)[2]))
    assert len(machine.fleet.calls) == calls
    assert await book.take_turn(machine.fleet.shelf, changed(machine.fleet.rollout, id="next")) == "next"


@pytest.mark.parametrize("begun", [False, True])
async def test_a_script_that_fails_is_given_up_at_once_and_a_person_is_told_whose_fault_it_is(monkeypatch, begun):
    machine = Machine(*STORIES["approval"])
    await machine.begin()

    def failing(rollout):
        steps = script(rollout)
        if begun:
            yield next(steps)
        raise KeyError("missing")

    monkeypatch.setattr("local.rollouts.script", failing)
    await machine.driver.advance(wire.Advance(machine.fleet.rollout.id))
    head = await machine.head()
    assert head.status == "stuck"
    assert "our own fault (KeyError behind step 0), the log says where" in str(head.why)
    assert ("event", "RolloutStuck") in machine.fleet.calls


async def test_one_timer_is_set_however_often_somebody_speaks_and_again_if_it_rings_too_early():
    machine = Machine(*STORIES["promotion"])
    await machine.begin()
    for _ in range(3):
        await machine.driver.advance(wire.Advance(machine.fleet.rollout.id))
    machine.timers.waiting.sort()
    _, (due, _, text) = machine.timers.waiting  # the first is that of the start
    assert due > machine.fleet.clock()
    await machine.driver.advance(wire.load(wire.Advance, text))
    assert sorted(machine.timers.waiting)[1:] == [(due, 2, text), (due, 3, text)]


async def test_a_rollout_that_was_given_up_stays_so_whatever_message_comes():
    machine = Machine(*STORIES["promotion"])
    await machine.begin()
    await machine.driver.advance(wire.Advance(machine.fleet.rollout.id))
    await machine.driver.give_up(wire.dump(wire.Advance(machine.fleet.rollout.id)))
    assert (await machine.run()).status == "stuck"
    assert machine.fleet.weights == {BLUE: 100}
    assert await book.take_turn(machine.fleet.shelf, changed(machine.fleet.rollout, id="next")) == "next"


@pytest.mark.parametrize("moments", range(0, 40, 3))
async def test_what_is_given_up_while_it_is_at_work_is_given_up_behind_the_step(moments):
    machine = Machine(*STORIES["promotion"])
    await machine.begin()
    message = wire.Advance(machine.fleet.rollout.id)
    work = asyncio.create_task(machine.driver.advance(message))
    for _ in range(moments):
        await asyncio.sleep(0)
    await asyncio.gather(work, machine.driver.give_up(wire.dump(message)))
    head = await machine.head()
    assert (head.status, head.ended is not None) == ("stuck", True)
    assert machine.fleet.calls[-2:] == [("event", "RolloutStuck"), ("publish", "Switchyard.RolloutStuck")]


async def test_killed_while_it_gives_up_it_is_given_up_all_the_same():
    async def given_up(killed_at: int) -> Machine:
        machine = Machine(*STORIES["promotion"])
        await machine.begin()
        text = wire.dump(wire.Advance(machine.fleet.rollout.id))
        await machine.driver.advance(wire.load(wire.Advance, text))
        machine.killer.at = machine.killer.moments + killed_at
        try:
            await machine.driver.give_up(text)
        except Killed:
            await machine.restart()
            await machine.driver.give_up(text)
        return machine

    undisturbed = await given_up(0)
    wanted, moments = await undisturbed.ending(), undisturbed.killer.moments - undisturbed.killer.at
    assert moments > 10
    for moment in range(1, moments + 1):
        machine = await given_up(moment)
        assert machine.kills == 1
        assert await machine.ending() == wanted, f"killed at moment {moment}"


async def test_messages_about_nothing_are_dropped():
    machine = Machine(*STORIES["promotion"])
    await machine.driver.advance(wire.Advance("nobody"))
    await machine.driver.give_up("not json")
    await machine.driver.give_up(wire.dump(wire.Advance("nobody")))
    assert machine.fleet.calls == []


# On the real file


async def worked(fleet: Fleet, queues: queue.Queues, driver: Rollouts, until: str) -> str:
    """Works on the queue, and lets the time pass, until it stands so; how it stands."""
    while (head := await book.head(fleet.shelf, fleet.rollout)).status != until:
        while not queues._ready and queues.ready():
            await queues._refill(fleet.clock().timestamp())
        if not queues._ready:
            assert queues._due is not None
            await fleet.rest(datetime.fromtimestamp(queues._due, UTC) + timedelta(milliseconds=1))
            continue
        message = await queues.take()
        await driver.advance(wire.load(wire.Advance, message.body))
        queues.done(message)
    return head.status


@pytest.mark.parametrize("pause", ["deploying", "baking", "asking", "keeping"])
async def test_a_host_that_starts_again_goes_on_where_the_other_was(tmp_path, pause):
    with opened(tmp_path / "state.db") as database:
        fleet = Fleet(1, policy=APPROVED, fate=Fate(reply_after=60), shelf=SqliteShelf(database))
        queues = queue.Queues(database, fleet.clock)
        world = replace(fleet.world, rollouts=queue.LocalQueue(queues, ROLLOUT_QUEUE))
        fleet.world = world
        await Conductor(world).start(fleet.rollout)
        assert await worked(fleet, queues, Rollouts(Conductor(world)), pause) == pause
    with opened(tmp_path / "state.db") as database:
        fleet.shelf = SqliteShelf(database)
        queues = queue.Queues(database, fleet.clock)
        world = replace(world, shelf=fleet.shelf, rollouts=queue.LocalQueue(queues, ROLLOUT_QUEUE))
        fleet.world = world
        assert await worked(fleet, queues, Rollouts(Conductor(world)), "promoted") == "promoted"
    assert fleet.weights == {CANARY: 100}
    assert len(fleet.promotions) == 1
    assert [call for call in fleet.calls if call[0] == "create"] == [("create", ENDPOINT, CANARY, "fraud:7")]

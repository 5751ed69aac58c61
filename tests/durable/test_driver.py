"""functions/rollouts.py on the next Durable Functions, unchanged: the stories, and the same as the embedded driver does."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from types import SimpleNamespace
from typing import cast

import pytest
from durabletask.client import OrchestrationStatus
from msgspec.structs import replace as changed

from functions import host, rollouts
from shared.rollout.policy import Approval, BinaryGate, Policy, Stage
from shared.rollout.record import Asked, Bake, Weights
from shared.service import Service
from tests.durable import engine as engines
from tests.durable.drivers import Quick, Resting, embedded, nowhere, world
from tests.durable.engine import Engine
from tests.durable.record import answered, requests
from tests.fleet import CANARY, ENDPOINT, Fate, Fleet
from tests.histories import FOLDER, name, read

# The file is in the style of 1.7, which this version still speaks, under protest; and the codec names its own coming defaults.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.* is deprecated; use:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:azure.functions (df_loads|Durable JSON):DeprecationWarning"),
]

WORLDS = range(200)
PATIENCE = engines.PATIENCE

POLICY = Policy(
    name="fraud-online",
    endpoint=ENDPOINT,
    stages=(Stage(10, 300, min_requests=100), Stage(50, 300, approve=Approval("leads", within=3600))),
    gates=(BinaryGate("http_5xx"),),
    every=300,
    keep_old=600,
    notify=("platform",),
)


def started(conductor: Resting, engine: Engine) -> None:
    """As a message off the queue starts it."""
    host.use(cast("Service", SimpleNamespace(conductor=conductor)))
    engine.holds = lambda: conductor.held
    engine.call(conductor.begin())
    engine.nudge(conductor.fleet.rollout.id)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with engines.running() as engine:
        yield engine


@pytest.fixture
def begun(engine: Engine) -> Callable[..., Resting]:
    def begin(fleet: Fleet, here: Callable[[Asked], bool] = nowhere, *, unreachable: int = 0) -> Resting:
        conductor = Resting(fleet, here=here)
        conductor.unreachable = unreachable
        started(conductor, engine)
        return conductor

    return begin


seeds = iter(range(1000, 2000))


def story(fate: Fate | None = None) -> Fleet:
    return Quick(next(seeds), policy=POLICY, fate=fate or Fate())


def percents(fleet: Fleet) -> list[int]:
    return [cast("Weights", call[2]).get(CANARY, 0) for call in fleet.calls if call[0] == "move"]


def asking(command: Asked) -> bool:
    return isinstance(command, Bake) and command.ask is not None


def baking(command: Asked) -> bool:
    return isinstance(command, Bake) and command.status == "baking"


def test_a_healthy_candidate_is_promoted(engine, begun):
    conductor = begun(story())
    assert engine.end(conductor.fleet.rollout.id) == "promoted"
    assert conductor.fleet.weights == {CANARY: 100}
    assert percents(conductor.fleet) == [10, 50, 100]


def test_a_sick_candidate_is_rolled_back(engine, begun):
    conductor = begun(story(Fate(canary="5x")))
    assert engine.end(conductor.fleet.rollout.id) == "rolled back"
    assert conductor.fleet.weights == {"fraud-6": 100}


def test_a_question_that_nobody_answers_times_out(engine, begun):
    conductor = begun(story(Fate(reply="")))
    assert engine.end(conductor.fleet.rollout.id) == "rolled back"


@pytest.mark.parametrize(
    ("here", "verb", "verdict"),
    [(asking, "approve", "promoted"), (asking, "reject", "rolled back"), (baking, "abort", "rolled back")],
)
def test_a_word_ends_a_long_wait_at_once(engine, begun, here, verb, verdict):
    conductor = begun(story(Fate(reply="")), here)
    assert conductor.waits.wait(PATIENCE)
    conductor.here = nowhere
    id_ = conductor.fleet.rollout.id
    engine.call(conductor.say(id_, verb, "erin", "as agreed", "test"))
    engine.nudge(id_)
    assert engine.end(id_) == verdict
    heard = [step.answer.word for step in engine.call(conductor.steps()) if hasattr(step.answer, "word")]
    assert [(word.verb, word.by) for word in heard] == [(verb, "erin")]


def test_a_running_rollout_keeps_its_policy_when_the_file_is_edited(engine, begun):
    conductor = begun(story(Fate(reply="")), asking)
    assert conductor.waits.wait(PATIENCE)
    conductor.here = nowhere
    rollout = conductor.fleet.rollout
    edited = changed(rollout, policy=changed(POLICY, name="edited", stages=(Stage(77, 60),)))
    engine.call(conductor.start(edited))
    engine.call(conductor.say(rollout.id, "approve", "erin", "", "test"))
    engine.nudge(rollout.id)
    assert engine.end(rollout.id) == "promoted"
    assert percents(conductor.fleet) == [10, 50, 100]


def test_a_nudge_with_nothing_to_say_is_not_answered_without_end(engine, begun):
    conductor = begun(story(Fate(reply="")), asking)
    assert conductor.waits.wait(PATIENCE)
    id_, performed = conductor.fleet.rollout.id, engine.performed
    conductor.waits.clear()
    for _ in range(5):
        engine.nudge(id_)
    assert conductor.waits.wait(PATIENCE)
    assert engine.performed == performed + 1


def test_a_nudge_after_the_end_changes_nothing(engine, begun):
    conductor = begun(story())
    id_ = conductor.fleet.rollout.id
    verdict, calls = engine.end(id_), [*conductor.fleet.calls]
    engine.nudge(id_)
    assert engine.end(id_) == verdict
    assert conductor.fleet.calls == calls


def test_one_that_was_stopped_by_hand_goes_on_where_it_was(engine, begun):
    conductor = begun(story(), asking)
    assert conductor.waits.wait(PATIENCE)
    conductor.here, id_ = nowhere, conductor.fleet.rollout.id
    engine.client.terminate_orchestration(id_)
    stopped = engine.client.wait_for_orchestration_completion(id_, timeout=PATIENCE)
    assert stopped is not None
    assert stopped.runtime_status == OrchestrationStatus.TERMINATED
    engine.nudge(id_)
    assert engine.end(id_) == "promoted"
    assert percents(conductor.fleet) == [10, 50, 100]


def test_storage_that_does_not_answer_is_asked_again(engine, begun):
    conductor = begun(story(), unreachable=3)
    assert engine.end(conductor.fleet.rollout.id) == "promoted"
    assert percents(conductor.fleet) == [10, 50, 100]


def test_a_script_that_fails_is_given_up_and_a_person_is_told(engine, begun, monkeypatch):
    def broken(_: object) -> Iterator[Asked]:
        raise ZeroDivisionError("nobody thought of this")
        yield

    monkeypatch.setattr("shared.rollout.script.script", broken)
    conductor = begun(story())
    assert engine.end(conductor.fleet.rollout.id) == "stuck"
    head = engine.call(conductor.head())
    assert head.status == "stuck"
    assert "nobody thought of this" in str(head.why)
    assert ("event", "RolloutStuck") in conductor.fleet.calls


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*/engine/*.json")), ids=name)
def test_what_a_version_before_was_asked_for_by_the_engine_is_replayed_at_every_turn(path):
    """The package itself compares it with the history: what differs is a non-deterministic orchestration, and fails."""
    turns = list(requests(read(path)))
    assert len(turns) > 10
    for n, (request, actions) in enumerate(turns):
        assert answered(request) == actions, f"turn {n}"


def compared(seeds: range) -> list[str]:
    """Runs these worlds with both drivers, in a process of its own; how each ended."""
    rollouts.EPISODE = 6  # type: ignore[misc] # the history begins anew again and again
    verdicts = []
    with engines.running() as engine:
        for seed in seeds:
            one, other = world(seed), world(seed)
            steps = asyncio.run(embedded(one))
            conductor = Resting(other)
            started(conductor, engine)
            verdicts.append(engine.end(other.rollout.id))
            assert other.calls == one.calls, f"world {seed}"
            assert other.weights == one.weights, f"world {seed}"
            assert engine.call(conductor.steps()) == steps, f"world {seed}"
    return verdicts


def test_both_drivers_ask_the_same_of_the_outside_in_200_worlds():
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as processes:
        parts = [range(first, len(WORLDS), 8) for first in range(8)]
        verdicts = [verdict for part in processes.map(compared, parts) for verdict in part]
    assert len(verdicts) == 200
    assert min(verdicts.count("promoted"), verdicts.count("rolled back")) >= 40

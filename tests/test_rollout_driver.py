"""functions/rollouts.py on the Durable Functions of production, behind a stand-in for the host's extension.

The extension runs the orchestrator from the start at every event, then goes through what it asked for: in order, each to its
end before the next is begun. What is never reached is never done, so the stand-in is as strict.
"""

import json
from collections import deque
from datetime import UTC, datetime, timedelta
from random import Random  # noqa: TID251 (chance comes from the seed)
from types import SimpleNamespace
from typing import Any, cast

import azure.functions as func
import pytest
from azure.durable_functions.models.actions.ActionType import ActionType
from azure.durable_functions.models.history.HistoryEventType import HistoryEventType as Happened
from msgspec.structs import replace

from functions import host, rollouts
from shared import book, wire
from shared.rollout.record import SCRIPT, Look, Seen, Step
from shared.service import Service
from tests.durable.drivers import Resting, embedded, world
from tests.fleet import Fate, Fleet
from tests.world import FakeQueue

pytestmark = [
    pytest.mark.filterwarnings("ignore:azure.functions (df_loads|Durable JSON):DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Potential duplicate Task completion"),
]

FUNCTIONS = {
    one._function.get_function_name(): one._function.get_user_function() for one in rollouts.bp._function_builders
}
START = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


class Extension:
    """One orchestration instance. Timers fire when there is nothing else to do; `words` says before which event, counted
    from 0, somebody speaks.
    """

    def __init__(self, id_: str, words: frozenset[int] = frozenset()) -> None:
        self.id = id_
        self.words = words
        self.now = START
        self.performed: list[str] = []
        self.fired = 0
        self._anew()

    def _anew(self) -> None:
        self.history: list[dict[str, Any]] = []
        self._due: deque[dict[str, Any]] = deque()
        self._asked: dict[tuple[int, int], dict[str, Any]] = {}
        self._listening: list[dict[str, Any]] = []
        self._unheard = 0
        self._happens({"EventType": Happened.EXECUTION_STARTED, "Name": "rollout", "Version": None})

    def _happens(self, event: dict[str, Any]) -> None:
        self.now += timedelta(seconds=1)
        for one in ({"EventType": Happened.ORCHESTRATOR_STARTED}, event):
            self.history.append({"EventId": -1, "IsPlayed": False, "Timestamp": self.now.isoformat(), **one})

    async def run(self, most: int = 5000) -> object:
        for n in range(most):
            body = json.dumps({
                "history": self.history, "instanceId": self.id, "isReplaying": False, "parentInstanceId": None,
                "input": None, "upperSchemaVersion": 2,
            })  # fmt: skip
            state = json.loads(FUNCTIONS["rollout"](func.OrchestrationContext(body)))
            if await self._go_through(state["actions"][0]):
                self._anew()
                continue
            if state["isDone"]:
                return state["output"]
            if n in self.words:
                self._speak()
            elif self._due:
                event = self._due.popleft()
                self.fired += event["EventType"] == Happened.TIMER_FIRED
                self._happens(event)
            else:
                raise AssertionError(f"it waits for ever, at event {n}")
        raise TimeoutError(f"no end after {most} events")

    async def _go_through(self, actions: list[dict[str, Any]]) -> bool:
        """Whether the history begins anew."""
        for n, action in enumerate(actions):
            if action["actionType"] == ActionType.CONTINUE_AS_NEW:
                return True
            for m, one in enumerate(_single(action)):
                await self._begin((n, m), one)
            if not any(self._asked[n, m]["over"] for m in range(len(_single(action)))):
                return False
        return False

    async def _begin(self, place: tuple[int, int], action: dict[str, Any]) -> None:
        task = self._asked.get(place)
        if task is None:
            ids = sum("id" in one for one in self._asked.values())
            task = self._asked[place] = {"over": False}
            kind = action["actionType"]
            if kind == ActionType.WAIT_FOR_EXTERNAL_EVENT:
                self._listening.append(task)
                if self._unheard:
                    self._unheard -= 1
                    self._listening.pop()["over"] = True
            else:
                task["id"] = ids
                timer = kind == ActionType.CREATE_TIMER
                event = (
                    {"EventType": Happened.TIMER_FIRED, "TimerId": ids} if timer else await self._perform(ids, action)
                )
                task["event"] = event
                self._due.append(event)
        if action.get("isCanceled"):
            task["over"] = True
            if task["event"] in self._due:
                self._due.remove(task["event"])
        elif "event" in task and task["event"] not in self._due:
            task["over"] = True

    async def _perform(self, id_: int, action: dict[str, Any]) -> dict[str, Any]:
        name = action["functionName"]
        self.performed.append(name)
        result = await FUNCTIONS[name](json.loads(action["input"]))
        return {"EventType": Happened.TASK_COMPLETED, "TaskScheduledId": id_, "Result": json.dumps(result)}

    def _speak(self) -> None:
        self._happens({"EventType": Happened.EVENT_RAISED, "Name": "word", "Input": "null"})
        if self._listening:
            self._listening.pop()["over"] = True
        else:
            self._unheard += 1


def _single(action: dict[str, Any]) -> list[dict[str, Any]]:
    return (
        [one for inner in action["compoundActions"] for one in _single(inner)]
        if "compoundActions" in action
        else [action]
    )


async def begun(conductor: Resting, words: frozenset[int] = frozenset()) -> Extension:
    host.use(cast("Service", SimpleNamespace(conductor=conductor)))
    await conductor.begin()
    return Extension(conductor.fleet.rollout.id, words)


@pytest.fixture(autouse=True)
def _unbuilt():
    yield
    host._given.clear()


@pytest.mark.parametrize("seed", range(8))
async def test_production_asks_the_same_of_the_outside_whenever_somebody_speaks(seed):
    steps = await embedded(one := world(seed))
    words = frozenset(Random(seed).sample(range(400), 60))
    conductor = Resting(world(seed))
    extension = await begun(conductor, words)
    verdict = await extension.run()
    assert verdict in {"promoted", "rolled back"}
    assert conductor.fleet.calls == one.calls
    assert await conductor.steps() == steps
    assert extension.performed.count("rollout_begin") >= 1 + (len(steps) - 1) // rollouts.EPISODE


async def test_a_word_that_came_while_nobody_listened_is_not_answered_without_end():
    fleet = Fleet(1, fate=Fate(occupied=86_400))
    conductor = Resting(fleet, here=lambda _: True)  # it waits for its turn, and no time passes
    extension = await begun(conductor, frozenset({1, 2, 3}))
    with pytest.raises(TimeoutError):
        await extension.run(120)
    asked = extension.performed.count("rollout_step")
    assert asked <= 2 * extension.fired + 5, "it turns, and no time passes"


@pytest.mark.parametrize("begun_before", [True, False])
async def test_a_message_that_the_engine_could_not_take_gives_up_only_what_has_not_begun(begun_before):
    conductor = Resting(fleet := Fleet(3, fate=Fate()))
    extension = await begun(conductor)
    if begun_before:
        with pytest.raises(TimeoutError):
            await extension.run(5)
    messages = cast("FakeQueue", fleet.world.rollouts).put_texts
    before = len(messages)
    text = wire.dump(wire.Advance(fleet.rollout.id))
    await FUNCTIONS["on_rollout_poison"](func.QueueMessage(body=text.encode()))
    assert ((await conductor.head()).status == "stuck") is not begun_before
    assert len(messages) - before == begun_before


async def test_a_record_that_the_script_would_not_ask_for_like_that_is_given_up_and_a_person_is_told():
    conductor = Resting(fleet := Fleet(3, fate=Fate()))
    await begun(conductor)
    other = Step(0, START, Look(status="checking"), Seen(at=START, endpoint=None))  # it begins with its turn
    await book.keep_step(fleet.world.shelf, fleet.rollout.id, other)
    assert await Extension(fleet.rollout.id).run() == "stuck"
    assert "can't be replayed by this version" in str((await conductor.head()).why)


async def test_a_rollout_that_a_newer_version_began_touches_nothing_and_a_person_is_told():
    conductor = Resting(fleet := Fleet(3, fate=Fate()))
    fleet.rollout = replace(fleet.rollout, script=SCRIPT + 1)
    extension = await begun(conductor)
    assert await extension.run() == "stuck"
    assert f"a newer version of Switchyard: by version {SCRIPT + 1} of the script" in str((await conductor.head()).why)
    assert [call[0] for call in fleet.calls] == ["event", "publish"]

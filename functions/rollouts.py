"""The Durable Functions driver of a rollout: it replays the script, and knows only how to wait.

In the v1 style, for azure-functions-durable 1.7; the same file runs on 2.0.0rc3. The package is loaded by the first rollout,
not with the app: it brings an HTTP client that taking in events must not wait for. Its decorators say no more to the host
than the bindings below, and a test holds the two together.

What travels through the history is text of our own: the package's JSON codec makes objects of tables that look like one.
"""

from collections.abc import Callable, Generator
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

import azure.functions as func
import msgspec

from functions import host
from shared import wire
from shared.rollout.record import Answered, Asked, Bake, Rollout
from shared.settings import ROLLOUT_QUEUE

LONGEST: Final = timedelta(hours=1)
"""Without asking the step again, should a word have been lost. (Older storage providers know no timer beyond six days.)"""

BREATH: Final = timedelta(seconds=30)

EPISODE: Final = 25
"""Steps after which the history begins anew: all of it is read again whenever a step has been done."""

_FIRST_AGAIN: Final = 5_000
_TRIES: Final = 720
"""In ms, and how often: for an hour. Only storage out of reach rises from an activity; all else is an answer."""

_LATER: Final = 600.0
_WORD: Final = "word"

bp = func.Blueprint()


class Begun(msgspec.Struct, frozen=True):
    """What a rollout is about, and what was asked and answered so far."""

    rollout: Rollout
    asked: tuple[str, ...]
    answers: tuple[Answered, ...]


class Turn(msgspec.Struct, frozen=True):
    """Step `n` of a rollout. `asked`: when the step before was answered."""

    id: str
    n: int
    asked: datetime
    command: Asked


@cache
def _durable() -> Any:
    import azure.durable_functions

    return azure.durable_functions


@bp.function_name("on_rollout")
@bp.queue_trigger(arg_name="message", queue_name=ROLLOUT_QUEUE, connection="AzureWebJobsStorage")
@bp.generic_input_binding(arg_name="client", type="durableClient")
async def on_rollout(message: func.QueueMessage, client: str) -> None:
    """A rollout begins, or somebody spoke. One that broke off, or was stopped by hand, goes on where it was."""
    df = _durable()
    id_ = wire.load(wire.Advance, message.get_body()).rollout
    instances, known = df.DurableOrchestrationClient(client), df.OrchestrationRuntimeStatus
    found = await instances.get_status(id_)
    if not found:
        await instances.start_new("rollout", id_)
    elif found.runtime_status in {known.Failed, known.Terminated, known.Canceled}:
        await instances.purge_instance_history(id_)
        await instances.start_new("rollout", id_)
    elif found.runtime_status != known.Completed:
        await instances.raise_event(id_, _WORD)


@bp.function_name("on_rollout_poison")
@bp.queue_trigger(arg_name="message", queue_name=f"{ROLLOUT_QUEUE}-poison", connection="AzureWebJobsStorage")
async def on_rollout_poison(message: func.QueueMessage) -> None:
    """The engine was out of reach. What has not begun is given up; what is under way must not be: the word comes again."""
    from shared import book

    conductor, advance = host.service().conductor, wire.load(wire.Advance, message.get_body())
    if await book.step(conductor.world.shelf, advance.rollout, 0):
        await conductor.world.rollouts.put([wire.dump(advance)], delay=_LATER)
    else:
        await conductor.give_up(advance.rollout, "it could not be set going: the log says why")


@bp.function_name("rollout")
@bp.generic_trigger(arg_name="context", type="orchestrationTrigger")
def rollout(context: func.OrchestrationContext) -> str:
    return _orchestrator()(context)


@cache
def _orchestrator() -> Callable[[func.OrchestrationContext], str]:
    handle: Callable[[func.OrchestrationContext], str] = _durable().Orchestrator.create(conduct)
    return handle


def conduct(context: Any) -> Generator[Any, Any, str | None]:
    """The orchestrator, run from the start at every event: no clock, log, environment or I/O.

    It replays the histories of the deployment before too (tests/histories): what is asked of the host, and in which order, is
    part of the version of the script.
    """
    from shared.rollout.script import UnplayableError

    waiting = _Waiting(context)
    try:
        return (yield from _replay(context, waiting))
    except UnplayableError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 (whatever it is, a person is told)
        reason = f"our own fault: {error}"
    yield from waiting.do("rollout_give_up", wire.dump([context.instance_id, reason]))
    return "stuck"


def _replay(context: Any, waiting: "_Waiting") -> Generator[Any, Any, str | None]:
    from shared.rollout.script import expect, script

    begun = wire.load(Begun, (yield from waiting.do("rollout_begin", context.instance_id)))
    steps, at = script(begun.rollout), begun.rollout.at
    command, n = next(steps), 0
    try:
        while True:
            if n < len(begun.answers):
                expect(n, begun.asked[n], command)
                answer = begun.answers[n]
            elif n < len(begun.answers) + EPISODE:
                answer = yield from waiting.answer(Turn(begun.rollout.id, n, at, command))
            else:
                context.continue_as_new(None)
                return None
            command, n, at = steps.send(answer), n + 1, answer.at
    except StopIteration as end:
        verdict: str = end.value
        return verdict


class _Waiting:
    """For an activity, and for time to pass.

    The host goes through what was asked for in order, each to its end, so that nothing may be asked for and left open while
    something else goes on: a timer that a word cuts short is cancelled, and one ear for words lasts until a word comes.
    """

    def __init__(self, context: Any) -> None:
        df = _durable()
        self._context = context
        self._again = df.RetryOptions(_FIRST_AGAIN, _TRIES)
        self._word: Any = None

    def do(self, activity: str, text: str) -> Generator[Any, Any, Any]:
        return (yield self._context.call_activity_with_retry(activity, self._again, text))

    def answer(self, turn: Turn) -> Generator[Any, Any, Answered]:
        deaf = False
        while not (text := (yield from self.do("rollout_step", wire.dump(turn)))):
            assert isinstance(turn.command, Bake), f"{turn.command} without an answer"
            deaf = yield from self._rest(turn.command.until, deaf=deaf)
        answer: Answered = msgspec.json.decode(text, type=Answered)
        return answer

    def _rest(self, until: datetime, *, deaf: bool) -> Generator[Any, Any, bool]:
        """Until then, or a word: whether it was one. `deaf`: the last word told the step nothing. 1.7 gives one that came
        while nobody listened to every later listener, so that a rollout would turn without end.
        """
        longest = BREATH if deaf else LONGEST
        timer = self._context.create_timer(min(until, self._context.current_utc_datetime + longest))
        if deaf:
            yield timer
            return False
        self._word = self._word or self._context.wait_for_external_event(_WORD)
        if (yield self._context.task_any([timer, self._word])) is not self._word:
            return False
        timer.cancel()
        self._word = None
        return True


@bp.function_name("rollout_begin")
@bp.generic_trigger(arg_name="id_", type="activityTrigger")
async def rollout_begin(id_: str) -> str:
    from shared import book

    conductor = host.service().conductor
    steps = await book.steps(conductor.world.shelf, id_)
    asked = tuple(type(step.command).__name__ for step in steps)
    return wire.dump(Begun(await conductor.about(id_), asked, tuple(step.answer for step in steps)))


@bp.function_name("rollout_step")
@bp.generic_trigger(arg_name="text", type="activityTrigger")
async def rollout_step(text: str) -> str:
    """The answer; nothing while a Bake is not over."""
    turn = wire.load(Turn, text)
    answer = await host.service().conductor.step(turn.id, turn.n, turn.asked, turn.command)
    return "" if answer is None else wire.dump(answer)


@bp.function_name("rollout_give_up")
@bp.generic_trigger(arg_name="text", type="activityTrigger")
async def rollout_give_up(text: str) -> None:
    id_, reason = wire.load(list[str], text)
    await host.service().conductor.give_up(id_, reason)

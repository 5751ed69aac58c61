"""The embedded driver of rollouts: replays the script over what is on record, goes on from there, and waits by the queue."""

import asyncio
import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from weakref import WeakValueDictionary

from shared import book, wire
from shared.conduct import Conductor
from shared.errors import PermanentError
from shared.rollout.record import Answered, Asked, Bake, Rollout, Verdict
from shared.rollout.script import UnplayableError, expect, script

log: Final = logging.getLogger("switchyard.rollouts")

_BREATH: Final = 50
"""Steps that are replayed before others have their turn."""

_GIVEN_UP: Final = "given-up"


@dataclass
class _Play:
    """A script under way: it asks for `command`, step number `n`, since `asked`. None: it has ended."""

    steps: Generator[Asked, Answered, Verdict]
    command: Asked | None
    n: int
    asked: datetime

    @classmethod
    def begin(cls, rollout: Rollout) -> "_Play":
        with _at_fault(0):
            steps = script(rollout)
            return cls(steps, next(steps), 0, rollout.at)

    def go_on(self, answer: Answered) -> None:
        with _at_fault(self.n):
            try:
                self.command = self.steps.send(answer)
            except StopIteration:
                self.command = None
        self.n += 1
        self.asked = answer.at


class _ScriptError(Exception):
    """The script failed, by our own fault."""


class Rollouts:
    """Works on the messages of the queue of rollouts. What is in memory can go at any time: it is replayed."""

    def __init__(self, conductor: Conductor) -> None:
        self._conductor = conductor
        self._shelf = conductor.world.shelf
        self._plays: dict[str, _Play] = {}
        self._locks = WeakValueDictionary[str, asyncio.Lock]()

    async def advance(self, message: wire.Advance) -> None:
        """Does what can be done now. Which step a message was for does not matter: the record says what comes next."""
        id_ = message.rollout
        about = await book.rollout(self._shelf, id_)
        if about is None:
            log.warning("a message for a rollout that is not on record", extra={"rollout": id_})
            return
        async with self._lock(id_):
            play = self._plays.pop(id_, None)  # if anything is raised, the next message replays it
            if await book.noted(self._shelf, id_, _GIVEN_UP) is not None:
                return
            try:
                play = play or await self._replayed(about)
                waiting = await self._go_on(id_, play, message.step)
            except (UnplayableError, _ScriptError) as error:
                log.exception("the script of a rollout failed", extra={"rollout": id_})
                await self._give_up(id_, str(error))
                return
            if waiting:
                self._plays[id_] = play

    async def give_up(self, text: str) -> None:
        """A message that failed every time it was tried."""
        try:
            message = wire.load(wire.Advance, text)
            async with self._lock(message.rollout):
                await self._give_up(message.rollout, "our own fault: every try failed, and the log says how")
        except PermanentError as error:
            log.error("a message of no rollout", extra={"reason": str(error)})  # noqa: TRY400 (the reason says it all)

    def _lock(self, id_: str) -> asyncio.Lock:
        return self._locks.setdefault(id_, asyncio.Lock())

    async def _give_up(self, id_: str, reason: str) -> None:
        await self._conductor.give_up(id_, reason)
        await book.note(self._shelf, id_, _GIVEN_UP, reason)  # messages that are still on their way find it at its end

    async def _replayed(self, about: Rollout) -> _Play:
        play = _Play.begin(about)
        for step in await book.steps(self._shelf, about.id):
            expect(step.n, type(step.command).__name__, play.command)
            play.go_on(step.answer)
            if step.n % _BREATH == 0:
                await asyncio.sleep(0)
        return play

    async def _go_on(self, id_: str, play: _Play, due: int | None) -> bool:
        """Until it has to wait, which is said, or ends. `due`: the step whose timer brought us here."""
        while play.command is not None:
            answer = await self._conductor.step(id_, play.n, play.asked, play.command)
            if answer is None:
                await self._wait(id_, play, due)
                return True
            play.go_on(answer)
        return False

    async def _wait(self, id_: str, play: _Play, due: int | None) -> None:
        """Sets the timer of this step: once, and again where it rang too early."""
        if not isinstance(play.command, Bake):
            raise TypeError(f"step {play.n} of rollout {id_} has no answer and nothing to wait for: {play.command}")
        timer = f"timer-{play.n:06d}"
        if due != play.n and await book.noted(self._shelf, id_, timer) is not None:
            return
        delay = (play.command.until - self._conductor.world.clock()).total_seconds()
        # The message first: one too many does no harm, and without one it would sleep for ever.
        await self._conductor.world.rollouts.put([wire.dump(wire.Advance(id_, play.n))], delay=max(0.0, delay))
        await book.note(self._shelf, id_, timer, play.command.until.isoformat())


@contextmanager
def _at_fault(n: int) -> Iterator[None]:
    """What goes wrong in the script behind step `n` is our own fault, unless the script itself says why it can't go on."""
    try:
        yield
    except UnplayableError:
        raise
    except Exception as error:
        raise _ScriptError(f"our own fault ({type(error).__name__} behind step {n}), the log says where") from error

"""Does what a rollout's script asks for: each command once, answered and on record. Both drivers call `step`.

Every effect is one that the far side makes the same twice (a deployment by its name, weights that are compared before they
are written, tags, an event under a fixed id), so that a kill between the effect and its record repeats harmlessly.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from hashlib import sha256
from statistics import quantiles
from typing import Final

from msgspec.structs import replace

from shared import book, wire
from shared.errors import ConflictError, MissingError, PermanentError, QuotaError, TemporaryError
from shared.events import OWN, Endpoint, Event, Model
from shared.record import WorkspaceRef
from shared.rollout import words
from shared.rollout.names import deployment_name, rollout_id
from shared.rollout.outputs import differs
from shared.rollout.policy import Smoke
from shared.rollout.record import (
    ENDED,
    SCRIPT,
    Announce,
    Answered,
    Ask,
    Asked,
    Assess,
    Assessed,
    Bake,
    Busy,
    Changed,
    Clear,
    Compared,
    CompareModels,
    Create,
    Delete,
    Done,
    Elapsed,
    EndpointState,
    Finish,
    Frozen,
    Head,
    Heard,
    Look,
    Measure,
    Measured,
    Mirror,
    Move,
    Occupied,
    Probe,
    Probed,
    Promote,
    Question,
    Reading,
    Refused,
    Restore,
    Rollout,
    Said,
    Seen,
    Shift,
    Step,
    Tag,
    TakeTurn,
    UnderLoad,
    Verb,
    Word,
)
from shared.rollout.scorecard import scorecard
from shared.rules.assessments import assessment
from shared.world import Data, EndpointRef, Invocation, Origin, World

log: Final = logging.getLogger("switchyard.rollouts")

LAG: Final = timedelta(minutes=3)
"""Counts of the last minutes are incomplete or missing: a window ends this long ago."""

NOTIFY: Final = "(notify)"
"""Who is asked when it is nobody in particular: the receivers that hear how it ends."""

_LONGEST: Final = timedelta(hours=6)
"""Of one look at the counts; after a longer silence the next look goes on from there."""

_WATCHED: Final = 500
"""Rollouts, newest first, among which the last promotion of an endpoint is looked for."""

_WRONG: Final = 10
_RUNNING: Final = {"NotStarted", "Starting", "Provisioning", "Preparing", "Queued", "Running", "Finalizing"}

type OnStep = Callable[[Rollout, Step], None]
"""For whoever wants to watch a rollout as it happens."""


class Conductor:
    def __init__(self, world: World, on_step: OnStep | None = None) -> None:
        self.world = world
        self._on_step = on_step
        self._about: dict[str, Rollout] = {}

    # What drivers and people call

    async def start(self, rollout: Rollout) -> Rollout:
        """Opens its account and sets it going; the same again is harmless."""
        kept = await book.begin(self.world.shelf, rollout)
        await self.nudge(kept.id)
        return kept

    async def nudge(self, id_: str) -> None:
        await self.world.rollouts.put([wire.dump(wire.Advance(id_))])

    async def about(self, id_: str) -> Rollout:
        """What it is about, which never changes. Raises PermanentError when there is no such rollout."""
        if id_ not in self._about:
            found = await book.rollout(self.world.shelf, id_)
            if found is None:
                raise PermanentError(f"there is no rollout {id_!r}")
            self._about[id_] = found
        return self._about[id_]

    async def say(self, id_: str, verb: Verb, by: str, reason: str, via: str, ask: int | None = None) -> None:  # noqa: PLR0917 (a sentence: who says what of what, why and by which way)
        """A person's word. Raises PermanentError, with the reason, when it can't be heard any more or nobody asked."""
        about = await self.about(id_)
        head = await book.head(self.world.shelf, about)
        if head.status in ENDED:
            raise PermanentError(f"rollout {id_} has ended already: {head.status}")
        if not by.strip():
            raise PermanentError("a word without a name: say who you are")
        keeping = verb == "reject" and head.status == "keeping"
        if verb in {"approve", "reject"} and not keeping:
            question = head.question
            if question is None or (ask is not None and ask != question.n):
                raise PermanentError(f"rollout {id_} asks nothing" if ask is None else "this question is closed")
            if question.until <= self.world.clock():
                raise PermanentError(f"this question could be answered until {question.until:%Y-%m-%d %H:%M} UTC")
            ask = question.n
        if verb == "override" and head.status != "frozen":
            raise PermanentError(f"nothing holds rollout {id_} back: there is nothing to override")
        word = Word(verb, by.strip(), self.world.clock(), reason.strip(), ask, via)
        await book.say(self.world.shelf, id_, word, of=wire.dump(head.why) if verb == "override" else "")
        await self.nudge(id_)

    async def give_up(self, id_: str, reason: str) -> None:
        """The end of a rollout that can't go on by our own fault: a person has to look."""
        about = await self.about(id_)
        head = await book.head(self.world.shelf, about)
        if head.status in ENDED:
            await self._end(about, head)  # killed before the endpoint was free
            return
        why = Said("gave up", {"reason": reason})
        await self._raise(about, replace(head, status="stuck"), "RolloutStuck", "gave-up", why, ())
        await self._end(about, replace(head, status="stuck", why=why, question=None, ended=self.world.clock()))

    async def step(self, id_: str, n: int, asked: datetime, command: Asked) -> Answered | None:
        """Command number `n` and its answer, on record; None while a Bake is not over. Done before is not done again."""
        about = await self.about(id_)
        kept = await book.step(self.world.shelf, id_, n)
        if kept is not None:
            return kept.answer
        head = await book.head(self.world.shelf, about)
        if head.ended is not None and not isinstance(command, Finish):
            return Refused(at=self.world.clock(), reason="it was given up", code="fault")
        head = await self._show(about, head, n, command)
        bake = command if isinstance(command, Bake) else None
        answer = await (self._hear(about, head, n, bake) if bake else self._do(about, head, n, command))
        if answer is None:
            return None
        step = await book.keep_step(self.world.shelf, id_, Step(n, asked, command, answer))
        if self._on_step:
            self._on_step(about, step)
        return step.answer

    async def watch(self) -> list[str]:
        """Starts a rollout of the last approved version wherever a person has rejected the one that is live in the registry.

        Returns the ids of what was started. A rollout that is under way watches its own candidate.
        """
        by_endpoint: dict[tuple[str, ...], list[Head]] = {}
        for _, head in await book.heads(self.world.shelf, limit=_WATCHED):
            place = (head.subscription, head.resource_group, head.workspace, head.endpoint)
            by_endpoint.setdefault(tuple(part.casefold() for part in place), []).append(head)
        started = [await self._watch_one(heads) for heads in by_endpoint.values()]
        return [id_ for id_ in started if id_ is not None]

    async def _watch_one(self, heads: Sequence[Head]) -> str | None:
        """`heads`: the rollouts of one endpoint, newest first."""
        running = [head for head in heads if head.status not in ENDED]
        for head in running:
            if head.restores and await book.step(self.world.shelf, head.id, 0) is None:
                await self.nudge(head.id)  # killed before it was set going
        promoted = [head for head in heads if head.status == "promoted"]
        if not promoted or running:
            return None
        live = await self.about(promoted[0].id)
        if any(head.restores == live.id for head in heads):
            return None  # it was tried, and how that ended was told
        if not await self._rejected(live) or not await self._serves(live):
            return None
        for earlier in await self._earlier(promoted):
            same = (earlier.model, earlier.version) == (live.model, live.version)
            if not same and await self._rejected(earlier) is False:
                id_ = rollout_id("restore", earlier.model, earlier.version, live.id)
                again = deployment_name(earlier.model, earlier.version, id_)
                now = self.world.clock()
                new = replace(earlier, id=id_, deployment=again, at=now, restores=live.id, script=SCRIPT)
                await self.start(new)
                return id_
        if await book.noted(self.world.shelf, live.id, "rejected") is None:
            why = Said("nothing approved", {"model": f"{live.model}:{live.version}", "endpoint": live.endpoint})
            await self._raise(live, promoted[0], "RolloutStuck", "rejected", why, ())
            await book.note(self.world.shelf, live.id, "rejected", "told")
        return None

    async def _earlier(self, promoted: Sequence[Head]) -> list[Rollout]:
        """What was live before, newest first: by a rollout of ours, or found by one. In the words of a rollout."""
        found: list[Rollout] = []
        for head in promoted:
            about = await self.about(head.id)
            name, _, version = head.replaced.rpartition(":")
            found += [about, replace(about, model=name, version=version)] if name else [about]
        return found

    async def _rejected(self, about: Rollout) -> bool | None:
        """Whether a person has rejected this version; None when it is not there any more, or nobody knows."""
        try:
            origin = await self.world.serving.origin(about.where, about.model, about.version)
        except (TemporaryError, PermanentError) as error:
            log.warning("the registry can't be asked", extra={"rollout": about.id, "reason": str(error)})
            return None
        return None if origin is None else _labelled(about, origin)

    async def _serves(self, about: Rollout) -> bool:
        """Whether its model still has traffic: if not, somebody has seen to it by hand."""
        try:
            state = await self.world.serving.endpoint(_endpoint(about))
        except (TemporaryError, PermanentError):
            return False  # the next look will tell
        found = [state.deployment(name) for name in state.traffic] if state else []
        return any(one is not None and one.model == f"{about.model}:{about.version}" for one in found)

    # How it stands

    async def _show(self, about: Rollout, old: Head, n: int, command: Asked) -> Head:
        """The head, as it is while this command is done."""
        question = old.question
        if old.ended is not None or (question is not None and isinstance(command, Measure)):
            return old  # the canary is watched while a person thinks: it is still they who are waited for
        if isinstance(command, Ask):
            question = Question(n, command.question, command.until, command.of or NOTIFY)
        elif not isinstance(command, Bake) or command.ask is None:
            question = None
        elif question is None or question.n != command.ask:  # something else was seen to in between
            question = await self._question(about, command.ask)
        new = replace(
            old,
            status=command.status,
            percent=command.percent,
            why=command.why or old.why,
            question=question,
            replaced=_replaced(about, command) or old.replaced,
        )
        if new != old and not await book.change_head(self.world.shelf, about, old, new):
            raise TemporaryError(f"another try of step {n} of rollout {about.id} was faster")
        return new

    async def _question(self, about: Rollout, n: int) -> Question | None:
        asked = await book.step(self.world.shelf, about.id, n)
        if asked is None or not isinstance(asked.command, Ask):
            return None
        return Question(n, asked.command.question, asked.command.until, asked.command.of or NOTIFY)

    # People

    async def _hear(self, about: Rollout, head: Head, n: int, command: Bake) -> Elapsed | Heard | None:
        shelf, now = self.world.shelf, self.world.clock()
        over, question = now >= command.until, head.question
        if over and question is not None and question.n == command.ask and question.until <= command.until:
            await book.close(shelf, about.id, question.n)  # then listen: who is not heard now is told so
        for word in await book.words(shelf, about.id):
            if word.ask is not None and word.ask != command.ask:
                continue
            who = sha256(f"{word.verb} {word.by} {word.ask} {word.at.isoformat()}".encode()).hexdigest()[:16]
            if await book.note(shelf, about.id, f"heard-{who}", str(n)) == str(n):
                return Heard(at=now, word=word)
        return Elapsed(at=now) if over else None

    # The far side

    async def _do(self, about: Rollout, head: Head, n: int, command: Asked) -> Answered:
        clock = self.world.clock
        if isinstance(command, Finish):  # needs nothing but our own store, and nothing comes after it: what fails rises
            return await self._act(about, head, n, command)
        try:
            return await self._act(about, head, n, command)
        except TemporaryError as error:
            return Busy(at=clock(), reason=str(error), after=error.retry_after)
        except QuotaError as error:
            return Refused(at=clock(), reason=str(error), code="quota")
        except ConflictError as error:
            return Refused(at=clock(), reason=str(error), code="conflict")
        except MissingError as error:
            return Refused(at=clock(), reason=str(error), code="missing")
        except PermanentError as error:
            return Refused(at=clock(), reason=str(error))
        except Exception as error:
            log.exception("a command of a rollout failed", extra={"rollout": about.id, "step": n})
            return Refused(
                at=clock(), reason=f"our own fault ({type(error).__name__}), the log says where", code="fault"
            )

    async def _act(self, about: Rollout, head: Head, n: int, command: Asked) -> Answered:  # noqa: C901, PLR0912 (one case for each command: the type checker wants them all)
        world, endpoint = self.world, _endpoint(about)
        match command:
            case TakeTurn():
                return await self._take_turn(about)
            case Look():
                state, origin = await asyncio.gather(world.serving.endpoint(endpoint), self._origin(about))
                return Seen(at=world.clock(), endpoint=state, tags=None if origin is None else dict(origin.tags))
            case CompareModels():
                return await self._compare(about, command.champion)
            case Assess():
                return await self._assess(about)
            case Create():
                model = f"{about.model}:{about.version}"
                tags = {**about.tags, "switchyard_rollout": about.id}
                await world.serving.create(endpoint, about.deployment, model, about.policy.deployment, tags)
                return Done(at=world.clock())
            case Probe():
                return await self._probe(about, endpoint)
            case Mirror() | Shift() | Promote() | Restore():
                return await self._move(endpoint, command)
            case Measure():
                return await self._measure(about, endpoint, command)
            case Clear():
                return await self._clear(about)
            case Ask():
                return await self._ask(about, head, n, command)
            case Tag():
                return await self._tag(about, command)
            case Delete():
                await world.serving.delete(endpoint, command.deployment)
                return Done(at=world.clock())
            case Announce():
                said = await self._raise(about, head, command.kind, str(n), command.why, command.readings)
                return Done(at=world.clock(), said=said)
            case Finish():
                ended = replace(head, status=command.verdict, question=None, ended=world.clock())
                await self._end(about, head if head.ended else ended)
                return Done(at=world.clock())
            case Bake():
                raise AssertionError("time passes in _hear")

    async def _take_turn(self, about: Rollout) -> Done | Occupied:
        shelf, now = self.world.shelf, self.world.clock()
        holder = await book.take_turn(shelf, about)
        if holder == about.id:
            return Done(at=now)
        first = await self.about(holder)
        head = await book.head(shelf, first)
        if head.ended is not None:  # and could not give the endpoint back
            await book.leave(shelf, first)
        status = head.status
        verbs: list[Verb] = ["replace"] if about.policy.second == "replace" else []
        verbs += ["next"] if status == "keeping" else []
        said = {word.verb for word in await book.words(shelf, holder)}
        for verb in verbs:
            if verb not in said:
                with suppress(PermanentError):  # another that waits was faster
                    await book.say(shelf, holder, Word(verb, about.id, now, f"{about.model}:{about.version} waits"))
                await self.nudge(holder)
        return Occupied(at=now, holder=holder)

    async def _origin(self, about: Rollout) -> Origin | None:
        """Of the candidate; the first look at it goes into the book, for the lineage."""
        origin = await self.world.serving.origin(about.where, about.model, about.version)
        if origin is not None and await book.origin(self.world.shelf, about.id) is None:
            await book.keep_origin(self.world.shelf, about.id, origin)
        return origin

    async def _compare(self, about: Rollout, champion: str) -> Compared:
        wanted = [f"{about.model}:{about.version}", *([champion] if champion else [])]
        found = await asyncio.gather(*(self._metrics(about.where, name) for name in wanted))
        unknown = "; ".join(reason for _, reason in found if reason)
        return Compared(
            at=self.world.clock(),
            candidate=found[0][0],
            champion=found[1][0] if champion else None,
            unknown=unknown,
        )

    async def _metrics(self, where: WorkspaceRef, model: str) -> tuple[dict[str, float] | None, str]:
        """What the model's run logged; a numeric tag of the model stands in for a metric that it did not."""
        name, _, version = model.rpartition(":")
        origin = await self.world.serving.origin(where, name, version)
        if origin is None:
            return None, f"there is no model {model}"
        tagged = {tag: number for tag, text in origin.tags.items() if (number := _number(text)) is not None}
        if origin.run is None:
            return (tagged, "") if tagged else (None, f"model {model} names no run and has no metric among its tags")
        try:
            return tagged | await self.world.platform.metrics(where, origin.run), ""
        except PermanentError as error:
            return (tagged, "") if tagged else (None, f"the metrics of model {model}: {error}")

    async def _assess(self, about: Rollout) -> Assessed:
        origin = await self._origin(about)
        file = origin.tags.get("responsible_ai", "") if origin else ""
        text = await self.world.documents.read(file) if file else None
        return Assessed(at=self.world.clock(), file=file, missing=assessment(file, text) if file else ())

    async def _probe(self, about: Rollout, endpoint: EndpointRef) -> Probed | Busy:
        smoke = about.policy.smoke or Smoke()
        if endpoint.kind == "batch":
            return await self._try_batch(about, endpoint, smoke)
        times: list[float] = []
        wrong: list[str] = []
        failed: list[str] = []
        for sample in smoke.samples * smoke.repeat:
            scored = await self.world.serving.score(endpoint, about.deployment, sample.body.encode())
            times.append(scored.ms)
            if not 200 <= scored.status < 300:  # noqa: PLR2004 (HTTP)
                failed.append(f"{sample.name}: HTTP {scored.status}")
            elif sample.expected is not None:
                problem = differs(sample.expected, scored.body, smoke.tolerance)
                wrong += [f"{sample.name}: {problem}"] if problem else []
        good = bool(times) and len(failed) <= smoke.max_errors and not wrong
        load = await self._press(about, endpoint, smoke) if good and smoke.load else None
        cuts = _cuts(times)
        return Probed(
            at=self.world.clock(),
            sent=len(times),
            errors=len(failed),
            wrong=tuple(dict.fromkeys(wrong))[:_WRONG],
            failed=tuple(dict.fromkeys(failed))[:_WRONG],
            p50=cuts[49],
            p95=cuts[94],
            load=load,
        )

    async def _press(self, about: Rollout, endpoint: EndpointRef, smoke: Smoke) -> UnderLoad:
        """Killed in the middle it is brought once more, which harms nobody: no traffic goes there yet."""
        assert smoke.load is not None
        bodies = [sample.body.encode() for sample in smoke.samples]
        found = await self.world.serving.press(endpoint, about.deployment, bodies, smoke.load)
        cuts = _cuts(found.ms)
        return UnderLoad(
            sent=found.sent,
            rate=found.sent / found.seconds if found.seconds else 0.0,
            missed=found.missed,
            failed={str(status or "no answer"): n for status, n in sorted(found.failed.items())},
            p50=cuts[49],
            p95=cuts[94],
            p99=cuts[98],
        )

    async def _try_batch(self, about: Rollout, endpoint: EndpointRef, smoke: Smoke) -> Probed | Busy:
        """A test invocation, followed to its end."""
        world = self.world
        job = await book.noted(world.shelf, about.id, "invoked")
        if job is None:
            data = {"data": Data("uri_folder", smoke.data)}
            asked = Invocation(f"{about.id}-smoke", deployment=about.deployment, inputs=data)
            started = await world.serving.invoke(endpoint, asked)
            job = await book.note(world.shelf, about.id, "invoked", started.name)
        status = (await world.platform.job(about.where, job)).status or "Unknown"
        if status in _RUNNING:
            return Busy(at=world.clock(), reason=f"the test job {job} is {status}", after=30)
        failed = () if status == "Completed" else (f"the test job {job} ended as {status}",)
        return Probed(at=world.clock(), sent=1, errors=len(failed), failed=failed)

    async def _move(self, endpoint: EndpointRef, command: Move) -> Done | Changed:
        expected = None if command.expected is None else (command.expected, command.expected_mirror or {})
        moved = await self.world.serving.move(endpoint, command.traffic, command.mirror, expected)
        if moved.outcome == "changed":
            return Changed(at=self.world.clock(), traffic=moved.traffic, mirror=moved.mirror)
        return Done(at=self.world.clock(), again=moved.outcome == "already")

    async def _tag(self, about: Rollout, command: Tag) -> Done:
        """A version that a person has rejected keeps the label that says so, whatever else it is given."""
        origin = await self.world.serving.origin(about.where, command.model, command.version)
        rejected = about.policy.labels.rejected if origin is not None and _labelled(about, origin) else {}
        tags = {name: value for name, value in command.tags.items() if name not in rejected}
        await self.world.serving.tag(about.where, command.model, command.version, tags)
        return Done(at=self.world.clock())

    async def _measure(self, about: Rollout, endpoint: EndpointRef, command: Measure) -> Measured:
        """Counts that can't be had are "unknown", and no reason to stop looking at the rest."""
        world = self.world
        end = (world.clock() - LAG).replace(second=0, microsecond=0)
        end = min(end, command.since + _LONGEST)
        state, origin = await asyncio.gather(world.serving.endpoint(endpoint), self._origin(about))
        seen: tuple[EndpointState | None, dict[str, str] | None] = (state, dict(origin.tags) if origin else None)
        if end <= command.since:
            return Measured(at=world.clock(), until=command.since, endpoint=seen[0], tags=seen[1])
        span, arms = (command.since, end), (command.canary, command.others)
        try:
            pairs = await world.counts.minutes(endpoint, about.policy.counts, arms, span, about.policy.gates)
        except (TemporaryError, PermanentError) as error:
            return Measured(at=world.clock(), until=command.since, endpoint=seen[0], tags=seen[1], unknown=str(error))
        return Measured(at=world.clock(), until=end, pairs=tuple(pairs), endpoint=seen[0], tags=seen[1])

    async def _clear(self, about: Rollout) -> Done | Frozen:
        now = self.world.clock()
        for freeze in await book.freezes(self.world.shelf, now):
            if freeze.endpoint in {"*", about.endpoint}:
                return Frozen(at=now, reason=freeze.reason, owner=freeze.owner, until=freeze.until)
        return Done(at=now)

    async def _ask(self, about: Rollout, head: Head, n: int, command: Ask) -> Done:
        extra: dict[str, object] = {
            "ask": n,
            "ask_of": command.of or NOTIFY,
            "until": command.until.isoformat(),
            "question": words.tell(command.question, "en"),
            "question_ja": words.tell(command.question, "ja"),
        }
        if chart := await self._scorecard(about):
            extra["chart"] = chart
        said = await self._raise(about, head, "RolloutWaiting", str(n), command.why, command.readings, extra)
        return Done(at=self.world.clock(), said=said)

    async def _scorecard(self, about: Rollout) -> list[dict[str, object]]:
        """By cohort, where the policy compares cohorts: who decides sees whom the candidate is worse for."""
        if not any(one.cohorts for one in about.policy.compare):
            return []
        answers = [step.answer for step in await book.steps(self.world.shelf, about.id)]
        compared = next((answer for answer in reversed(answers) if isinstance(answer, Compared)), None)
        return [] if compared is None else scorecard(about.policy.compare, compared)

    async def _end(self, about: Rollout, head: Head) -> None:
        await book.put_head(self.world.shelf, about, head)
        waiting = await book.leave(self.world.shelf, about)
        if waiting:
            await self.nudge(waiting)

    async def _approval(self, about: Rollout, word: Word) -> bool:
        """Whether it answers an approval of the policy, and no question that came up on the way."""
        if word.verb != "approve" or word.ask is None:
            return False
        step = await book.step(self.world.shelf, about.id, word.ask)
        return step is not None and isinstance(step.command, Ask) and bool(step.command.of)

    async def _raise(  # noqa: PLR0917 (what happened to which rollout, and on what grounds)
        self,
        about: Rollout,
        head: Head,
        kind: str,
        name: str,
        why: Said | None,
        readings: Sequence[Reading],
        extra: Mapping[str, object] | None = None,
    ) -> str:
        """An event of our own: through the rules like any other, and to the topic. The same name is the same event.

        Returns what did not go well: a topic that is out of order must not hold up a rollout.
        """
        now, reason = self.world.clock(), why or head.why
        people = [word.by for word in await book.words(self.world.shelf, about.id) if await self._approval(about, word)]
        data: dict[str, object] = {
            "rollout": about.id,
            "policy": about.policy.name,
            "endpoint": about.endpoint,
            "workspace": about.where.workspace,
            "model": about.model,
            "version": about.version,
            "deployment": about.deployment,
            "status": head.status,
            "percent": head.percent,
            "duration": round((now - about.at).total_seconds()),
            "record": about.event,
            "rule": about.rule,
            "readings": [
                {"gate": one.gate, "said": words.reading(one, "en"), "said_ja": words.reading(one, "ja")}
                for one in readings
            ],
        }
        if reason is not None:
            data |= {"reason": words.tell(reason, "en"), "reason_ja": words.tell(reason, "ja")}
        if people:
            data["approved_by"] = ", ".join(dict.fromkeys(people))
        if head.replaced:
            data["previous"] = head.replaced
        where = about.where
        event = Event(
            id=f"{about.id}-{name}",
            type=kind,
            raw_type=f"{OWN}{kind}",
            time=now,
            source=where.path,
            subject=f"rollouts/{about.id}",
            workspace=where.workspace,
            resource_group=where.resource_group,
            subscription=where.subscription,
            tags={**about.tags},
            model=Model(about.model, about.version),
            endpoint=Endpoint(about.endpoint, models=(f"{about.model}:{about.version}",)),
            data=data | dict(extra or {}),
        )
        await self.world.queue.put(wire.pack(wire.Arrived(event, now)))
        envelope = {
            "id": event.id,
            "topic": event.source,
            "subject": event.subject,
            "eventType": event.raw_type,
            "eventTime": now.isoformat(),
            "data": event.data,
            "dataVersion": "1",
        }
        try:
            await self.world.topic.publish(envelope)
        except (TemporaryError, PermanentError) as error:
            log.warning("the topic did not take an event", extra={"rollout": about.id, "reason": str(error)})
            return f"the topic did not take it: {error}"
        return ""


def _cuts(times: Sequence[float]) -> list[float]:
    """The quantiles of one to 99 per cent."""
    return quantiles(times, n=100, method="inclusive") if len(times) > 1 else [*times, *times] * 50 or [0.0] * 99


def _labelled(about: Rollout, origin: Origin) -> bool:
    """Whether a person has rejected this model version in the registry."""
    label = about.policy.labels.rejected
    return bool(label) and label.items() <= dict(origin.tags).items()


def _replaced(about: Rollout, command: Asked) -> str:
    """The model that served before, where this command tells."""
    match command:
        case CompareModels(champion=champion):
            return champion
        case Tag(model=model, version=version) if (model, version) != (about.model, about.version):
            return f"{model}:{version}"
        case _:
            return ""


def _endpoint(about: Rollout) -> EndpointRef:
    return EndpointRef(about.where, about.endpoint, about.policy.kind)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None

"""Do one intent, once: guard, claim in the journal, run, record."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace
from pydantic import ValidationError

from shared import book, follow, guards, messages, pictures, wire
from shared import links as signed
from shared.actions import Action, Channel, Context, Link, Params, discover
from shared.actions._text import name_of
from shared.answers import Caused, answered, caused
from shared.answers import behind as lineage
from shared.errors import PermanentError, TemporaryError
from shared.events import OWN, Event
from shared.guards.ask import Collected, Go, Held, Suppressed, Wait
from shared.messages.together import Together, plain, together
from shared.record import Attempt, EventRecord, Facts, Intent, IntentStatus, Lookup, WorkspaceRef
from shared.rules.load import Loaded
from shared.rules.steps import address_of
from shared.rules.troubles import acknowledgeable
from shared.settings import Settings
from shared.world import Claim, World

type Outcome = Literal["done", "later", "waits", "refused", "failed", "held", "suppressed", "collected", "ended before"]

_WAITS: Final = (10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0)
_ROLLOUTS: Final = 50
"""Of the newest: among them a deployment may be our own."""

_ECHO: Final = timedelta(hours=1)
"""How long after a rollout's end its deployment may still be announced."""

_LOOKED_UP: Final = 100
"""Events of one message whose metrics are looked up."""

HELD_BACK: Final = "held-back"
_JOBS: Final = frozenset({"retrain", "resubmit", "batch"})

_PATIENCE: Final = 2
"""Tries that wait for a lookup which only decorates a message; then it goes out without."""


@dataclass(frozen=True)
class Performed:
    """How it went. `wait`: seconds until the next try, for `later` and `waits`."""

    outcome: Outcome
    claim: Claim | None = None
    note: str = ""
    wait: float = 0.0


def wait(attempt: int, asked: float | None) -> float:
    """Seconds until try `attempt + 1`: ours, or what the far side asked for if that is longer (a day at most)."""
    return min(max(_WAITS[min(attempt, len(_WAITS) - 1)], asked or 0.0), 86_400.0)


async def look_up(world: World, event: Event, facts: Facts, wanted: Sequence[Lookup]) -> Facts:
    """The facts, with those that are wanted and not there yet. What the far side can't say is `unknown`, with its reason.

    Raises TemporaryError when asking again may help.
    """
    missing = [name for name in wanted if name not in facts.unknown and getattr(facts, name) is None]
    if not missing:
        return facts
    unknown = dict(facts.unknown)
    if not (event.workspace and event.resource_group and event.subscription):
        reason = "the event's source names no workspace"
        return replace(facts, unknown=unknown | dict.fromkeys(missing, reason))
    where = WorkspaceRef(event.subscription, event.resource_group, event.workspace)
    try:
        run = await _run(world, where, event)
    except PermanentError as error:
        return replace(facts, unknown=unknown | dict.fromkeys(missing, str(error)))
    ask = {"metrics": world.platform.metrics, "job": world.platform.job, "drift": world.platform.drift}
    known: dict[str, object] = {}
    answers = await asyncio.gather(*(ask[name](where, run) for name in missing), return_exceptions=True)
    for name, answer in zip(missing, answers, strict=True):
        if isinstance(answer, PermanentError):
            unknown[name] = str(answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            known[name] = answer
    return replace(facts, unknown=unknown, **known)


async def _run(world: World, where: WorkspaceRef, event: Event) -> str:
    """The event's run; of an event about a model, the run that made it. PermanentError when there is none."""
    if event.run is not None:
        return event.run.id
    if event.model is None:
        raise PermanentError("the event names no run")
    origin = await world.serving.origin(where, event.model.name, event.model.version)
    if origin is None or origin.run is None:
        raise PermanentError(f"model {event.model.name}:{event.model.version} names no run that made it")
    return origin.run


def links(settings: Settings, record: EventRecord, facts: Facts, to: str = "") -> list[Link]:
    """The next clicks: the run in the studio, the record in the console; of a notice about another event, that event. And
    where the receiver `to` may say that somebody sees to it.
    """
    *first, last = _looks(settings, record, facts)
    # The last one is what a text message has room for.
    return [*first, *_acknowledgement(settings, record, to), last]


_ABOUT: Final = frozenset({"ActionCompleted", "ActionFailed", "EventRefused"})
"""Notices about another event, which their links lead to."""


def _looks(settings: Settings, record: EventRecord, facts: Facts) -> list[Link]:
    event = record.event
    about = event.data.get("record") if event and event.type in _ABOUT else None
    found = [Link("console", f"{settings.public_url}/events/{about or record.id}")]
    if event and event.data.get("state") and event.type in _ABOUT:
        return found  # what was started has a link of its own
    if event and event.raw_type.startswith(f"{OWN}Rollout"):
        return [
            *_approval(settings, event),
            Link("rollout", f"{settings.public_url}/rollouts/{event.data.get('rollout')}"),
        ]
    if event and event.type in {"SilenceEnding", "SilenceLong"}:
        return [Link("silence", f"{settings.public_url}/silences")]
    if facts.job and facts.job.studio_url:
        return [Link("studio", facts.job.studio_url), *found]
    if event and event.workspace and event.subscription and event.resource_group:
        where = WorkspaceRef(event.subscription, event.resource_group, event.workspace)
        page = _studio_page(event)
        if page:
            found.insert(0, Link("studio", f"{settings.studio}{page}?wsid={where.path}"))
    return found


def _approval(settings: Settings, event: Event) -> list[Link]:
    """Where a question is answered. Whoever has this link may answer, once: it is made for the message and kept nowhere."""
    ask, rollout, until = event.data.get("ask"), event.data.get("rollout"), event.data.get("until")
    if not (settings.signing_key and isinstance(ask, int) and isinstance(rollout, str) and isinstance(until, str)):
        return []
    ends, to = datetime.fromisoformat(until), str(event.data.get("ask_of"))
    token = signed.token(settings.signing_key, signed.Approval(rollout, ask, ends, to))
    return [Link("approve", f"{settings.public_url}/approve/{token}")]


_ACKNOWLEDGED: Final = timedelta(days=7)
"""How long after the event it can be acknowledged by the link of its message."""


def _acknowledgement(settings: Settings, record: EventRecord, to: str) -> list[Link]:
    if not settings.signing_key or not acknowledgeable(record):
        return []
    link = signed.Acknowledgement(record.id, record.received + _ACKNOWLEDGED, to)
    return [Link("acknowledge", f"{settings.public_url}/acknowledge/{signed.token(settings.signing_key, link)}")]


def _studio_page(event: Event) -> str | None:
    if event.run:
        return f"/runs/{event.run.id}"
    if event.endpoint:
        return f"/endpoints/realtime/{event.endpoint.name}/detail"
    return f"/model/{event.model.name}:{event.model.version}/details" if event.model else None


def _idempotent(intent: Intent) -> bool:
    action = discover().get(intent.action)
    return action is not None and action.idempotent


def _compared(records: Sequence[EventRecord], rule: str) -> tuple[str, bool | None]:
    """The metric that a rule asks for, as it was decided; and whether it asks for little of it."""
    for record in records:
        for verdict in record.decision.verdicts if record.decision else ():
            for line in verdict.checked if verdict.rule == rule else ():
                if line.path.startswith("metrics."):
                    return line.path.removeprefix("metrics."), True if line.expected.startswith("<") else None
    return "", None


class HeldBack(Struct, frozen=True):
    """What was suppressed, in short, until the digest has told of it."""

    at: datetime
    rule: str
    action: str
    receiver: str
    guard: str
    note: str
    record: str
    type: str


type Tell = Callable[[Claim, str, str, str], Awaitable[None]]
"""Tells a person that an intent ended badly: the claim, the outcome, the reason, and a name under which it is told once where
that is not once for each intent. Told twice is told once.
"""


@dataclass(frozen=True)
class Performer:
    """What doing needs: the outside, the configuration in force, the settings, and whom to tell."""

    world: World
    loaded: Loaded
    settings: Settings
    tell: Tell

    async def perform(self, key: str, attempt: int) -> Performed:
        """One try. Its end is on record when this returns; raises TemporaryError when the store is out of reach or
        another worker is at it, and what is a bug.
        """
        began = self.world.clock()
        claim = await self.world.store.claim(key, began)
        if claim is None or claim.event.event is None:
            return Performed("ended before")
        try:
            return await self._try(claim, claim.event.event, attempt, began)
        except TemporaryError:
            raise
        except Exception as error:
            # A bug: the host gives the message again and, after some times, gives it up. The claim must not outlive this.
            # Its type only: its words may hold anything.
            note = f"our own fault ({type(error).__name__}), the log says where"
            tried = Attempt(began, "later", note, uncertain=True)
            await self.world.store.settle(
                key, "retrying", tried, maybe_twice=not _idempotent(claim.record.intent) or None
            )
            raise

    async def give_up(self, key: str, reason: str) -> Performed:
        """The end of an intent whose message the host gave up."""
        began = self.world.clock()
        claim = await self.world.store.claim(key, began)
        if claim is None:
            return Performed("ended before")
        twice = claim.interrupted and not _idempotent(claim.record.intent)
        return await self._end(claim, "failed", began, reason, twice=twice or None)

    async def _try(self, claim: Claim, event: Event, attempt: int, began: datetime) -> Performed:
        world, intent = self.world, claim.record.intent
        action = discover().get(intent.action)
        if action is None:
            note = f"this version has no action {intent.action!r}: replay the event to decide it anew"
            return await self._end(claim, "refused", began, note)
        tried = claim.interrupted or any(earlier.outcome == "later" for earlier in claim.record.attempts)
        facts = claim.event.facts or Facts()
        case = guards.Case(intent, event, facts, began, claim.event.received, tried=tried)
        try:
            # First: what is held for this must not have been taken from a budget.
            echo = await self._own(intent, event)
            ruling = (
                Held("own", echo) if echo else await answered(guards.rule_on(case, self.loaded.config), world, event)
            )
        except TemporaryError as error:
            return await self._later(claim, attempt, began, error, twice=False, tried=False)
        if not isinstance(ruling, Go):
            return await self._not_now(claim, began, ruling)
        twice = not action.idempotent and (claim.interrupted or claim.record.maybe_twice)
        try:
            behind = await self._behind(intent, event)
            intent = self._addressed(intent, began)
            params, facts = await self._params(intent, claim.event, action, attempt, ruling)
            again = claim.interrupted or any(earlier.uncertain for earlier in claim.record.attempts)
            context = Context(
                intent.key,
                world,
                guards.cause(intent, behind) | ({guards.CAUSE_REASON: ruling.note} if ruling.note else {}),
                event,
                facts,
                again,
                intent.terms.keys if intent.terms else (),
                self.loaded.policies,
                self.loaded.version,
            )
            result = await action.run(params, context)
        except TemporaryError as error:
            twice = twice or (error.sent and not action.idempotent)
            return await self._later(claim, attempt, began, error, twice=twice)
        except PermanentError as error:
            if intent.terms and intent.terms.pipeline:
                await answered(guards.refund(intent.terms.pipeline, intent.key), world)
            doubt = (twice or None) if error.maybe_twice is None else error.maybe_twice
            return await self._end(claim, "refused", began, str(error), twice=doubt)
        doubt = (twice or None) if result.maybe_twice is None else result.maybe_twice
        if result.follow is not None and action.look is not None:
            await follow.begin(intent, context, result, self.loaded.config.limits.follow)
        if ruling.note:
            result = replace(result, said=f"{result.said}; {ruling.note}")
        await world.store.settle(intent.key, "done", Attempt(began, "done", ruling.note), result, maybe_twice=doubt)
        return Performed("done", claim, result.said)

    async def _not_now(self, claim: Claim, at: datetime, ruling: Wait | Suppressed | Collected | Held) -> Performed:
        key = claim.record.intent.key
        match ruling:
            case Wait():
                await self.world.store.settle(key, "waiting", Attempt(at, "waits", ruling.note))
                return Performed("waits", claim, ruling.note, max((ruling.until - at).total_seconds(), 1.0))
            case Held():
                return await self._end(claim, "held", at, ruling.note, once=ruling.once)
            case Collected():
                await self.world.store.settle(key, "collected", Attempt(at, "collected", ruling.note))
                return Performed("collected", claim, ruling.note)
            case Suppressed():
                note = f"{ruling.guard}: {ruling.note}"
                await self._count(claim, at, ruling)  # before it is on record: killed in between, it is counted again
                await self.world.store.settle(key, "suppressed", Attempt(at, "suppressed", note))
                return Performed("suppressed", claim, note)

    async def _count(self, claim: Claim, at: datetime, ruling: Suppressed) -> None:
        """For the digest."""
        intent, event = claim.record.intent, claim.event.event
        receiver = intent.terms.receiver if intent.terms else ""
        about = event.type if event else ""
        kept = HeldBack(at, intent.rule, intent.action, receiver, ruling.guard, ruling.note, claim.event.id, about)
        await self.world.shelf.keep(f"{HELD_BACK}-{at:%Y%m%d}", name_of(intent.key, 100), wire.dump(kept))

    async def _behind(self, intent: Intent, event: Event) -> int:
        """How many of our own actions lie behind what is started now; put down for those that tags will not reach."""
        if intent.action not in guards.STARTS:
            return guards.depth(event)
        found = guards.depth(event) or await lineage(self.world, event)
        if intent.action in _JOBS:
            await caused(
                self.world, name_of(intent.key, 100), Caused(found + 1, intent.event, intent.rule, self.world.clock())
            )
        return found

    async def _own(self, intent: Intent, event: Event) -> str | None:
        """Why nothing is started because of a deployment that is a rollout of ours: that has its own way on."""
        if event.type != "ModelDeployed" or event.endpoint is None or intent.action not in guards.STARTS:
            return None
        for _, head in await book.heads(self.world.shelf, limit=_ROLLOUTS):
            ours = head.endpoint == event.endpoint.name and f"{head.model}:{head.version}" in event.endpoint.models
            if ours and head.began <= event.time <= (head.ended or event.time) + _ECHO:
                return f"held: this deployment is our own rollout {head.id}, which starts nothing by itself"
        return None

    async def _params(
        self, intent: Intent, record: EventRecord, action: Action[Params], attempt: int, go: Go
    ) -> tuple[Params, Facts]:
        """The parameters rendered with the event, and what was looked up for them."""
        event = record.event
        assert event is not None
        facts = record.facts or Facts()
        kind = type(action.example)
        note = None
        collected = await self._together(intent, go, attempt) if go.collected else None
        if issubclass(kind, Channel):
            template = self._template(intent, event, collected)
            facts = await self._decorate(record, event, facts, sorted(messages.needs(template)), attempt)
            note = messages.render(
                template,
                event,
                facts,
                language=intent.params.get("language", "en"),  # type: ignore[arg-type]  # checked when the rules were loaded
                links=links(self.settings, record, facts, intent.terms.receiver if intent.terms else ""),
                rule=intent.rule,
                now=self.world.clock(),
                time_zone=self.loaded.config.defaults.time_zone,
                collected=collected,
                held_back=go.held_back,
                bounds=self.settings.bounds,
            )
            if collected is None and (drawn := pictures.of(event.data, note.language)):
                note = replace(note, pictures=drawn)
        extra = {"rule": intent.rule, "key": intent.key, "collected": plain(collected)}
        filled = messages.fill(intent.params, event, facts, extra, self.settings.bounds)
        assert isinstance(filled, dict)
        try:
            return kind.model_validate(filled | ({"note": note} if note else {})), facts
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise PermanentError(f"rule {intent.rule!r}, action {intent.action!r}: {wrong}") from error

    def _addressed(self, intent: Intent, now: datetime) -> Intent:
        """To whoever is on call now, where a schedule says who that is."""
        if intent.terms is None or not intent.terms.schedule:
            return intent
        found = address_of(self.loaded.config, intent.terms.schedule, intent.action, now)
        if found is None:
            raise PermanentError(
                f"nobody who can be reached by {intent.action} is on call by {intent.terms.schedule!r}"
            )
        return replace(intent, params=intent.params | found[1])

    async def _together(self, intent: Intent, go: Go, attempt: int) -> Together:
        """The events that a message is about, with what the rule compares of them; where that was not looked up when the
        rules decided, it is now.
        """
        records = [record for id_ in go.collected if (record := await self.world.store.event(id_)) and record.event]
        metric, lower = _compared(records, intent.rule)
        members: list[tuple[Event, Facts]] = []
        for record in records:
            event, facts = record.event, record.facts or Facts()
            assert event is not None
            if event.run is not None and len(members) < _LOOKED_UP:
                facts = await self._decorate(record, event, facts, ["metrics"], attempt)
            members.append((event, facts))
        return together(members, go.total, metric, lower=lower, wanted=go.wanted)

    def _template(self, intent: Intent, event: Event, collected: Together | None) -> messages.Template:
        name = str(intent.params.get("template") or "") or messages.default_for(event)
        own = self.loaded.templates.get(name)
        found = own if isinstance(own, messages.Template) else messages.builtin(name)
        # One that knows only of a single event would tell of the first.
        return messages.builtin("collected") if collected and not messages.of_several(found) else found

    async def _decorate(
        self, record: EventRecord, event: Event, facts: Facts, wanted: Sequence[Lookup], attempt: int
    ) -> Facts:
        """Lookups for a message: worth a little patience, not worth losing the message."""
        if event.type != "DriftDetected" or event.run is None or (event.drift and event.drift.crossed):
            wanted = [name for name in wanted if name != "drift"]
        try:
            found = await look_up(self.world, event, facts, wanted)
        except TemporaryError as error:
            if attempt < _PATIENCE:
                raise
            return replace(facts, unknown=facts.unknown | dict.fromkeys(wanted, str(error)))
        if found is not facts:
            await self.world.store.learn(record.id, found)
        return found

    async def _end(
        self, claim: Claim, status: IntentStatus, at: datetime, note: str, *, twice: bool | None = None, once: str = ""
    ) -> Performed:
        outcome: Literal["refused", "failed", "held"] = (
            "held" if status == "held" else "failed" if status == "failed" else "refused"
        )
        attempt = Attempt(at, outcome, note)
        await self.tell(claim, outcome, note, once)  # before the end is on record: killed in between, it is told again
        await self.world.store.settle(claim.record.intent.key, status, attempt, maybe_twice=twice)
        return Performed(outcome, claim, note)

    async def _later(
        self, claim: Claim, attempt: int, at: datetime, error: TemporaryError, *, twice: bool, tried: bool = True
    ) -> Performed:
        """`tried`: what it asks for was begun; else the guards could not be asked, and will be."""
        limit = self.loaded.config.limits.attempts
        if attempt + 1 >= limit:
            note = f"{error}; this was try {attempt + 1} of {limit}, and the last"
            return await self._end(claim, "failed", at, note, twice=twice or None)
        pause = wait(attempt, error.retry_after)
        note = f"{error}; again in {pause:.0f} s"
        told = Attempt(at, "later" if tried else "waits", note, uncertain=tried and error.sent)
        await self.world.store.settle(claim.record.intent.key, "retrying", told, maybe_twice=twice or None)
        return Performed("later", claim, str(error), pause)

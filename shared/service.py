"""The service: what arrives on the queue is decided or done. The one object that both hosts build and drive."""

import base64
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from shared import wire
from shared.conduct import Conductor, OnStep
from shared.errors import PermanentError, TemporaryError
from shared.events import OWN, Event, parse
from shared.perform import Performed, Performer, look_up, wait
from shared.record import Decision, EventRecord, EventStatus, Facts
from shared.rollout.record import Verb
from shared.rules.load import Loaded, load_texts
from shared.rules.plan import plan
from shared.settings import Settings, read_folder
from shared.world import Claim, World

log: Final = logging.getLogger("switchyard")

KEEP_DAYS: Final = 30
KEEP_EVENTS: Final = 200_000
_SOURCE: Final = "/switchyard"
_TELLING: Final = frozenset(
    {"ActionFailed", "EventRefused", "Digest", "RuleSilent", "RulesChanged", "SilenceEnding", "SilenceLong"}
)
_HOUR: Final = 3600.0
_FAULT: Final = "our own fault: it failed every time it was tried, and the log says how"
_VALUES: Final = re.compile(r"""'[^']*'|"[^"]*"|\d+""")
"""What differs from event to event in the reasons of one and the same mistake."""


@dataclass(frozen=True)
class Told:
    """Something a person may want to watch as it happens: for the live account of the embedded host."""

    what: str
    record: EventRecord
    performed: Performed | None = None


type Listener = Callable[[Told], None]


def _silent(_: Told) -> None:
    return None


class Service:
    def __init__(
        self,
        world: World,
        settings: Settings,
        loaded: Loaded,
        *,
        listener: Listener = _silent,
        on_step: OnStep | None = None,
    ) -> None:
        self.world = world
        self.settings = settings
        self.loaded = loaded
        self.inbox = False
        self._listener = listener
        self.conductor = Conductor(world, on_step)

    @classmethod
    def of(
        cls, world: World, settings: Settings, *, listener: Listener = _silent, on_step: OnStep | None = None
    ) -> "Service":
        return cls(world, settings, load_texts(read_folder(Path(settings.config))), listener=listener, on_step=on_step)

    async def on_message(self, text: str | bytes) -> None:
        """One message off the queue. When this returns it is dealt with for good, or on the queue again for later; raises
        only what is a bug, or storage that refuses: then the host gives the message again.
        """
        try:
            message = await self._whole(text)
            if message is not None:
                await self._deal_with(message)
        except TemporaryError as error:
            # Another worker is at it, or the store is out of reach: the host would give up within minutes.
            await self._again(text, wait(0, error.retry_after))

    async def _again(self, text: str | bytes, delay: float) -> None:
        await self.world.queue.put([text if isinstance(text, str) else text.decode(errors="replace")], delay=delay)

    async def _whole(self, text: str | bytes) -> wire.Message | None:
        """The message; None while parts of it are missing."""
        message = wire.unpack(text)
        if not isinstance(message, wire.Packed):
            return message
        parts = await self.world.store.part(message.digest, message.n, message.of, message.body)
        return None if parts is None else wire.join(parts)

    async def _deal_with(self, message: wire.Message) -> None:
        match message:
            case wire.Perform():
                await self._perform(message)
            case wire.Arrived():
                await self._take_in(message)
            case wire.Decide():
                await self._decide(message)
            case wire.Unread():
                await self._refuse(message)
            case wire.Packed():
                raise PermanentError("a long message within a long message: none of our versions writes that")

    async def _take_in(self, message: wire.Arrived) -> None:
        event = message.event
        decision = plan(self.loaded.rules, event)
        status: EventStatus = "deciding" if decision.needs else "decided"
        record = EventRecord(event.record, message.received, status, event, decision)
        taken = await self.world.store.take_in(record)
        self._listener(Told("taken in" if taken == "new" else "again", record))

    async def _decide(self, message: wire.Decide) -> None:
        """The rules that waited for a lookup; all rules where somebody replays the event."""
        store = self.world.store
        record = await store.event(message.record)
        if record is None or record.event is None:
            return
        event, rules = record.event, self.loaded.rules
        facts = Facts() if message.afresh else record.facts or Facts()
        fresh = plan(rules, event) if message.afresh or record.decision is None else record.decision
        undecided = frozenset(verdict.rule for verdict in fresh.verdicts if verdict.outcome == "undecided")
        if undecided:
            # The rules may be others than when they had to wait.
            needs = plan(rules, event, facts, only=undecided).needs
            try:
                facts = await look_up(self.world, event, facts, needs)
            except TemporaryError as error:
                await self._decide_later(message, record, error)
                return
            fresh = self._merged(fresh, plan(rules, event, facts, only=undecided), undecided)
        await store.decide(record.id, fresh, facts, fresh.intents)
        told = msgspec.structs.replace(record, decision=fresh, facts=facts, status="decided")
        self._listener(Told("decided", told))

    def _merged(self, old: Decision, new: Decision, undecided: frozenset[str]) -> Decision:
        """The first decision, with the verdicts of the rules that had to wait, in the order of the rules."""
        places = {rule.name: n for n, rule in enumerate(self.loaded.rules.rules)}
        kept = [verdict for verdict in old.verdicts if verdict.rule not in undecided]
        verdicts = sorted([*kept, *new.verdicts], key=lambda verdict: places.get(verdict.rule, -1))
        return Decision(new.config, new.considered, tuple(verdicts), old.intents + new.intents, new.needs)

    async def _decide_later(self, message: wire.Decide, record: EventRecord, error: TemporaryError) -> None:
        limit = self.loaded.config.limits.attempts
        if message.attempt + 1 < limit:
            again = msgspec.structs.replace(message, attempt=message.attempt + 1)
            pause = wait(message.attempt, error.retry_after)
            await self.world.queue.put([wire.dump(again)], delay=pause)
            return
        await self._undecidable(record, f"a lookup that its rules need failed {limit} times: {error}")

    async def _undecidable(self, record: EventRecord, reason: str) -> None:
        await self._tell(record, f"{record.id}-decide", {"action": "decide", "rule": "", "reason": reason})
        await self.world.store.undecidable(record.id, reason)

    @property
    def _performer(self) -> Performer:
        return Performer(self.world, self.loaded, self.settings, self._tell_about)

    async def _perform(self, message: wire.Perform) -> None:
        performed = await self._performer.perform(message.key, message.attempt)
        if performed.outcome == "later":
            again = wire.Perform(message.key, message.attempt + 1)
            await self.world.queue.put([wire.dump(again)], delay=performed.wait)
        self._show(performed)

    def _show(self, performed: Performed) -> None:
        if performed.claim is not None:
            self._listener(Told(performed.outcome, performed.claim.event, performed))

    async def _tell_about(self, claim: Claim, outcome: str, reason: str) -> None:
        intent = claim.record.intent
        said = {"action": intent.action, "rule": intent.rule, "reason": reason}
        await self._tell(claim.event, f"{intent.key}-{outcome}", said)

    async def _refuse(self, message: wire.Unread) -> None:
        name = sha256(f"{message.bytes}{message.reason}".encode()).hexdigest()[:20]
        record = EventRecord(name, message.received, "refused", refusal=message.reason, bytes=message.bytes)
        if await self.world.store.take_in(record) == "new":
            self._listener(Told("refused", record))
        # Once an hour and reason: a sender gone wrong must not flood the people who can mend it.
        hour = message.received.strftime("%Y%m%d%H")
        about = sha256(_VALUES.sub("", message.reason).encode()).hexdigest()[:12]
        await self._tell(record, f"refused-{about}-{hour}", {"reason": message.reason}, kind="EventRefused")

    async def _tell(
        self, record: EventRecord, name: str, said: Mapping[str, object], *, kind: str = "ActionFailed"
    ) -> None:
        """Raises an event of our own, for the rules to tell a person. One about telling would never end: none is raised."""
        about = record.event
        if about is not None and about.type in _TELLING:
            log.error("could not tell anybody", extra={"record": record.id, "reason": said.get("reason")})
            return
        if record.replays:
            name = f"{name}-{record.replays}"  # what fails again after a replay is news
        data: dict[str, object] = {**said, "record": record.id, "event_type": about.type if about else ""}
        event = Event(
            id=name,
            type=kind,
            raw_type=f"{OWN}{kind}",
            time=self.world.clock(),
            source=about.source if about else _SOURCE,
            subject=about.subject if about else "",
            workspace=about.workspace if about else None,
            resource_group=about.resource_group if about else None,
            subscription=about.subscription if about else None,
            tags=about.tags if about else {},
            run=about.run if about else None,
            model=about.model if about else None,
            data=data,
        )
        await self.world.queue.put(wire.pack(wire.Arrived(event, self.world.clock())))

    async def on_poison(self, text: str | bytes) -> None:
        """A message that the host gave up on: our own fault, so it ends on record and a person is told."""
        log.error("a message could not be worked on")
        try:
            await self._give_up(text)
        except Exception:  # the last line: behind it a message of Azure's would be lost
            log.exception("nothing can be put on record: the message comes again in an hour")
            await self._again(text, _HOUR)

    async def _give_up(self, text: str | bytes) -> None:
        """What the message is about has failed, and can be replayed. One that is about nothing is kept with its bytes."""
        try:
            message = await self._whole(text)
        except PermanentError:
            message = None
        match message:
            case wire.Perform():
                self._show(await self._performer.give_up(message.key, _FAULT))
            case wire.Decide():
                record = await self.world.store.event(message.record)
                if record is not None:
                    await self._undecidable(record, _FAULT)
            case wire.Arrived():
                event = message.event
                record = EventRecord(event.record, message.received, "failed", event, refusal=_FAULT)
                await self.world.store.take_in(record)
                kept = await self.world.store.event(record.id)
                if kept is not None and kept.status == "failed":  # else it had been taken in before
                    said = {"action": "take in", "rule": "", "reason": _FAULT}
                    await self._tell(record, f"{record.id}-take-in", said)
            case _:
                raw = text.encode() if isinstance(text, str) else text
                await self._refuse(wire.Unread(base64.b64encode(raw).decode(), _FAULT, self.world.clock()))

    async def replay(self, record: str) -> None:
        """Decides the event anew by the rules in force, and does what is new or is not done; what is done stays done.

        Raises PermanentError when there is no such event, or it still can't be read.
        """
        found = await self.world.store.event(record)
        if found is None:
            raise PermanentError(f"there is no event {record!r} on record")
        if found.event is None:
            arrived = wire.Arrived(readable(base64.b64decode(found.bytes)), self.world.clock())
            await self.world.queue.put(wire.pack(arrived))
            return
        intents = (await self.world.store.intents([found.id]))[found.id]
        await self.world.store.reopen(found.id, [one.intent.key for one in intents if one.status != "done"])
        await self.world.queue.put([wire.dump(wire.Decide(found.id, afresh=True))])

    async def say(self, rollout: str, verb: Verb, by: str, reason: str, via: str, ask: int | None = None) -> None:  # noqa: PLR0917 (as Conductor.say)
        """A person's word to a rollout. Raises PermanentError when it can't be heard."""
        await self.conductor.say(rollout, verb, by, reason, via, ask)

    async def prune(self, now: datetime) -> int:
        return await self.world.store.prune(now - timedelta(days=KEEP_DAYS), KEEP_EVENTS)


def readable(raw: bytes) -> Event:
    """An event out of bytes that were refused once."""
    try:
        envelope = msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise PermanentError(f"still not JSON: {error}") from error
    if not isinstance(envelope, dict):
        raise PermanentError("still not an event: expected a JSON object")
    return parse(envelope)

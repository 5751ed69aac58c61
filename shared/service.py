"""The service: what arrives on the queue is decided or done. The one object that both hosts build and drive."""

import asyncio
import base64
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from shared import archive, book, chain, dead_letters, follow, guards, measure, notices, versions, wire
from shared.answers import answered, put_away
from shared.conduct import Conductor, OnStep
from shared.errors import PermanentError, Problem, TemporaryError
from shared.events import OWN, DeadLetter, Event, expected, parse
from shared.perform import Performed, Performer, look_up, wait
from shared.record import KEEP, Decision, EventRecord, EventStatus, Facts, Silence
from shared.rollout.record import Verb
from shared.rules.load import TOLD, Loaded, load_texts
from shared.rules.plan import Rules, plan
from shared.rules.silences import Notice, due_notices, in_words, resolved_by
from shared.settings import Settings, read_folder
from shared.versions import Version
from shared.world import Claim, World

log: Final = logging.getLogger("switchyard")

LOOK_EVERY: Final = 15.0
"""Seconds after which a process looks again whether the configuration has changed."""

UNREAD: Final = replace(
    load_texts({}),
    problems=(Problem("switchyard.yaml", 1, 1, "the configuration could not be read yet: the log says why"),),
)

_HOUR: Final = 3600.0
_LONGEST_DELAY: Final = 6 * 86_400.0
_FRESH: Final = timedelta(seconds=5)
"""How long it is known which troubles are muted, before it is looked up again."""

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

type OnChange = Callable[[Loaded, Loaded], Awaitable[None]]
"""Hears what was in force before, and what is now. After a restart that is what was edited meanwhile; it may be told twice of the
same edit, by two processes.
"""


def _silent(_: Told) -> None:
    return None


class Service:
    def __init__(
        self,
        world: World,
        settings: Settings,
        loaded: Loaded | None = None,
        *,
        listener: Listener = _silent,
        on_step: OnStep | None = None,
        look_every: float = LOOK_EVERY,
    ) -> None:
        """Without `loaded` it begins with its first look at the configuration."""
        self.world = world
        self.settings = settings
        self.loaded = UNREAD if loaded is None else loaded
        self.inbox = False
        self.on_change: list[OnChange] = []
        self._listener = listener
        self.conductor = Conductor(world, on_step)
        self._look_every = timedelta(seconds=look_every)
        self._looked: datetime | None = None
        self._looking = asyncio.Lock()
        self._settled = False
        self._texts: Mapping[str, str] | None = None  # read, and not taken up yet
        self._version: Version | None = None
        self._muted: tuple[datetime, Sequence[Silence]] | None = None

    @classmethod
    def of(
        cls,
        world: World,
        settings: Settings,
        *,
        listener: Listener = _silent,
        on_step: OnStep | None = None,
        look_every: float = LOOK_EVERY,
    ) -> "Service":
        loaded = None if settings.container else load_texts(read_folder(Path(settings.config)), bounds=settings.bounds)
        return cls(world, settings, loaded, listener=listener, on_step=on_step, look_every=look_every)

    async def refresh(self) -> bool:
        """Takes up what changed in the configuration, looked for every `look_every` seconds at most: all of it in one moment. Whether
        there is a configuration to work by.
        """
        # All wait for the first look; from then on, who comes while one looks goes on by what is in force.
        if not self._settled or (self._due() and not self._looking.locked()):
            async with self._looking:
                if self._due():
                    self._looked = self.world.clock()
                    await self._look()
        # Before the first look a broken file has no last good version.
        return self.loaded is not UNREAD and (self._settled or not self.loaded.rejected_files)

    def _due(self) -> bool:
        return self._looked is None or abs(self.world.clock() - self._looked) >= self._look_every

    async def _look(self) -> None:
        try:
            texts = await self.world.documents.changed()
            self._texts = self._texts if texts is None else texts
            if self._texts is not None:
                await self._take_up(self._texts)
                self._texts = None
            self._settled = True
        except (TemporaryError, PermanentError) as error:
            log.warning("the configuration can't be read: what is in force stays", extra={"reason": str(error)})
        except Exception:  # our own fault must not take the messages with it
            log.exception("the configuration can't be taken up: what is in force stays")

    async def _take_up(self, texts: Mapping[str, str]) -> None:
        shelf, old, bounds = self.world.shelf, self.loaded, self.settings.bounds
        before, good = self._version, old.good
        if before is None and (before := await versions.newest(shelf)) is not None:
            good = await versions.texts(shelf, before)  # of the last process: what was edited since is news
            if good != old.good:
                old = await asyncio.to_thread(load_texts, good, bounds=bounds)
        new = old if texts == old.good else await asyncio.to_thread(load_texts, texts, good, bounds)
        now = versions.of(new, self.world.clock())
        if not now.same(before):
            now = await versions.keep(shelf, now, new.good, before)
        if new.former and (self._version is None or new.former != old.former):
            log.warning("the configuration has former spellings", extra={"former": [str(one) for one in new.former]})
        self.loaded, self._version = new, now
        if before is not None and not now.same(before):
            await self._tell_change(old, new)

    async def _tell_change(self, old: Loaded, new: Loaded) -> None:
        said = {"config": new.version, "before": old.version, "rejected": new.rejected_files, "kept": new.kept}
        log.info("the configuration has changed", extra=said)
        if new.version != old.version:
            await self.world.queue.put([wire.dump(wire.Edited(old.version, new.version))])
        for hear in self.on_change:
            try:
                await hear(old, new)
            except Exception:  # it is in force whoever can't be told
                log.exception("nobody could be told that the configuration has changed")

    async def on_message(self, text: str | bytes) -> None:
        """One message off the queue. When this returns it is dealt with for good, or on the queue again for later; raises
        only what is a bug, or storage that refuses: then the host gives the message again.
        """
        try:
            if not await self.refresh():
                await self._again(text, wait(0, None))
                return
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
            case wire.Follow():
                await follow.look(self.world, message, self.loaded.config.limits.follow)
            case wire.Edited():
                await notices.look_at_edit(self.world, message, self.settings.bounds)
            case wire.Packed():
                raise PermanentError("a long message within a long message: none of our versions writes that")

    async def _take_in(self, message: wire.Arrived) -> None:
        event, shelf = message.event, self.world.shelf
        if message.dead and await self._came_back(event, message.dead):
            return  # whoever brought it back was killed before it could be put away
        decision = plan(self.loaded.rules, event)
        status: EventStatus = "deciding" if decision.needs else "decided"
        until = self._until(message.received, decision)
        record = EventRecord(event.record, message.received, status, event, decision, until=until)
        await archive.note_late(self.world, record, self.world.clock())
        # Before it is taken in: killed in between, the next delivery finds it noted.
        await chain.note(shelf, event)
        taken = await self.world.store.take_in(record)
        self._listener(Told("taken in" if taken == "new" else "again", record))
        if taken != "again":
            await self._bring_forward(event)
            await follow.hear(self.world, event)
        await self._resolve(event)
        if message.dead:
            await book.note_dead_letter(
                shelf, event.record, msgspec.structs.replace(message.dead, back=message.received)
            )

    async def _came_back(self, event: Event, dead: DeadLetter) -> bool:
        """Whether the event has arrived with this very dead letter before."""
        there = await book.dead_letter(self.world.shelf, event.record)
        return there is not None and msgspec.structs.replace(there, back=None) == dead

    def _until(self, received: datetime, decision: Decision | None = None) -> datetime:
        """When the record may be forgotten: what is not decided, or was decided otherwise, is kept as usual."""
        usual = self.loaded.config.retention.records
        if decision is None:
            kept = usual
        elif decision.needs:
            kept = max(usual, decision.keep)
        else:
            kept = decision.keep or self.loaded.config.retention.unmatched or usual
        return received + timedelta(seconds=kept)

    async def _bring_forward(self, event: Event) -> None:
        """Intents whose time comes sooner because of this event."""
        now = self.world.clock()
        for key, at in await answered(guards.ended(event, now), self.world):
            await self.world.queue.put([wire.dump(wire.Perform(key))], delay=(at - now).total_seconds())

    async def _resolve(self, event: Event) -> None:
        """Ends the silences of a trouble that is over. Killed in between, the next delivery does it."""
        now = self.world.clock()
        if self._muted is None or not now - self._muted[0] < _FRESH:
            in_force = await book.silences(self.world.shelf, now)
            self._muted = now, [one for one in in_force if one.resolves]
        for one in resolved_by(self._muted[1], event):
            with suppress(PermanentError):  # it is over already
                await book.expire(self.world.shelf, one.id, f"resolved by event {event.record}", now)

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
            fresh = _merged(rules, fresh, plan(rules, event, facts, only=undecided), undecided)
        until = self._until(record.received, msgspec.structs.replace(fresh, needs=()))
        await store.decide(record.id, fresh, facts, fresh.intents, until)
        told = msgspec.structs.replace(record, decision=fresh, facts=facts, status="decided", until=until)
        self._listener(Told("decided", told))

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
        if performed.outcome in {"later", "waits"}:
            tries = message.attempt + (performed.outcome == "later")
            # A storage queue hides a message for a week at the most: it comes early, and waits again.
            delay = min(performed.wait, _LONGEST_DELAY)
            await self.world.queue.put([wire.dump(wire.Perform(message.key, tries))], delay=delay)
        self._show(performed)

    def _show(self, performed: Performed) -> None:
        if performed.claim is not None:
            self._listener(Told(performed.outcome, performed.claim.event, performed))

    async def _tell_about(self, claim: Claim, outcome: str, reason: str, once: str) -> None:
        intent = claim.record.intent
        said = {"action": intent.action, "rule": intent.rule, "reason": reason}
        if intent.terms and intent.terms.tell:
            said["tell"] = intent.terms.tell
        await self._tell(claim.event, once or f"{intent.key}-{outcome}", said, alone=not once)

    async def _refuse(self, message: wire.Unread) -> None:
        name = sha256(f"{message.bytes}{message.reason}".encode()).hexdigest()[:20]
        record = EventRecord(
            name,
            message.received,
            "refused",
            refusal=message.reason,
            bytes=message.bytes,
            until=self._until(message.received),
        )
        if await self.world.store.take_in(record) == "new":
            self._listener(Told("refused", record))
        # Once an hour and reason: a sender gone wrong must not flood the people who can mend it. Of all sources that nobody named
        # together: whoever sends may call theirs as they like.
        hour, said = f"{message.received:%Y%m%d%H}", {"reason": message.reason}
        about = "source" if message.source else sha256(_VALUES.sub("", message.reason).encode()).hexdigest()[:12]
        if message.source:
            said["source"] = message.source
        await self._tell(record, f"refused-{about}-{hour}", said, kind="EventRefused")

    async def _tell(
        self,
        record: EventRecord,
        name: str,
        said: Mapping[str, object],
        *,
        kind: str = "ActionFailed",
        alone: bool = True,
    ) -> None:
        """Raises an event of our own, for the rules to tell a person. One about telling would never end: none is raised.
        `alone`: it is about this record, and not one for all that come under this name.
        """
        about = record.event
        # Whom a rule named may be out of reach: then those hear of it who hear of the rest.
        if about is not None and about.type in TOLD and not about.data.get("tell"):
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
            source=about.source if about else notices.SOURCE,
            subject=about.subject if about and alone else "",
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
            case wire.Follow():
                await self._again(text, _HOUR)
            case wire.Arrived():
                event = message.event
                until = self._until(message.received)
                record = EventRecord(event.record, message.received, "failed", event, refusal=_FAULT, until=until)
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
            event = readable(base64.b64decode(found.bytes), self.settings.bounds.payload_levels)
            if not expected(event.source, self.settings.sources):
                raise PermanentError(f"still refused: {wire.elsewhere(event)}")
            arrived = wire.Arrived(event, self.world.clock())
            await self.world.queue.put(wire.pack(arrived))
            return
        intents = (await self.world.store.intents([found.id]))[found.id]
        await self.world.store.reopen(found.id, [one.intent.key for one in intents if one.status != "done"])
        await self.world.queue.put([wire.dump(wire.Decide(found.id, afresh=True))])

    async def say(self, rollout: str, verb: Verb, by: str, reason: str, via: str, ask: int | None = None) -> None:  # noqa: PLR0917 (as Conductor.say)
        """A person's word to a rollout. Raises PermanentError when it can't be heard."""
        await self.conductor.say(rollout, verb, by, reason, via, ask)

    async def archive(self, now: datetime) -> int:
        """Copies what came since the last time to the archive; how many events. And looks who does not come any more."""
        await self.refresh()
        rules = self.loaded.rules
        copied = await archive.copy(
            self.world, now, now - KEEP, lambda records: notices.watch(self.world, rules, records)
        )
        await notices.tell_silent(self.world, rules, now)
        return copied

    async def on_dead_letters(self, now: datetime) -> int:
        """Brings back what Event Grid gave up; how many events."""
        return await dead_letters.bring_back(
            self.world, now, self.settings.sources, self.settings.bounds.payload_levels
        )

    async def digest(self, now: datetime) -> int:
        """Tells how much was held back, once a day; how much it was."""
        await self.refresh()
        return await notices.digest(self.world, self.loaded.config, now)

    async def on_quality(self) -> None:
        """Looks at every window of predictions that is due. What can't be read of one model holds up no other."""
        await self.refresh()
        for watch in self.loaded.quality.values():
            try:
                for look in await measure.measure(self.world, watch):
                    log.info(
                        "quality measured", extra={"watch": watch.name, "window": look.window, "said": look.verdict}
                    )
            except (TemporaryError, PermanentError) as error:
                log.warning("quality can't be measured", extra={"watch": watch.name, "reason": str(error)})
            except Exception:  # our own fault must not take the other models with it
                log.exception("quality can't be measured", extra={"watch": watch.name})

    async def on_silences(self) -> None:
        """Tells of silences that end soon or stay long, once each, and puts away those that are over."""
        now, shelf = self.world.clock(), self.world.shelf
        for notice in due_notices(await book.silences(shelf, now), now):
            await self._tell_of(notice)  # before it is marked: told twice under the same id is told once
            ending = notice.kind == "SilenceEnding"
            await book.told_of_silence(shelf, notice.silence.id, warned=ending, reminded=0 if ending else notice.n)
        await book.put_away(shelf, now)

    async def _tell_of(self, notice: Notice) -> None:
        one = notice.silence
        data: dict[str, object] = {
            "silence": one.id,
            "owner": one.owner,
            "reason": one.reason,
            "began": one.began.isoformat(),
            "until": one.until.isoformat(),
            "matchers": in_words(one.matchers),
            "held_back": await book.held_back(self.world.shelf, one.id),
        }
        await notices.tell(self.world, notice.kind, f"{one.id}-{notice.kind}-{notice.n}", f"silences/{one.id}", data)

    async def prune(self, now: datetime) -> int:
        """Forgets what has been kept long enough; how many events. Nothing, where nobody can say how long that is."""
        if not await self.refresh():
            return 0
        retention, rules = self.loaded.config.retention, self.loaded.rules.rules
        terms = [retention.records, retention.unmatched or 0.0, *(rule.keep for rule in rules)]
        longest = timedelta(seconds=max(terms))
        await self.world.archive.prune((now - self.loaded.config.archived).date())
        await put_away(self.world, now - KEEP)
        await chain.put_away(self.world.shelf, now - longest)
        await dead_letters.put_away(self.world, now - longest)
        await follow.remind(self.world)
        return await self.world.store.prune(now)


def _merged(rules: Rules, old: Decision, new: Decision, undecided: frozenset[str]) -> Decision:
    """The first decision, with the verdicts of the rules that had to wait, in the order of the rules."""
    places = {rule.name: n for n, rule in enumerate(rules.rules)}
    kept = [verdict for verdict in old.verdicts if verdict.rule not in undecided]
    verdicts = sorted([*kept, *new.verdicts], key=lambda verdict: places.get(verdict.rule, -1))
    keep = max(old.keep, new.keep)
    return Decision(new.config, new.considered, tuple(verdicts), old.intents + new.intents, new.needs, keep)


def readable(raw: bytes, levels: int) -> Event:
    """An event out of bytes that were refused once. `levels`: of nesting in its data."""
    try:
        envelope = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise PermanentError(f"still not JSON: {error}") from error
    if not isinstance(envelope, dict):
        raise PermanentError("still not an event: expected a JSON object")
    return parse(envelope, levels=levels)

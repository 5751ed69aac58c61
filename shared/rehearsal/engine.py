"""The service, rehearsed: what the rules would have done, over time, without doing it.

It plans as the service does and asks the same guards, with time and state in its own hands. Nothing is sent and nothing is started,
so nothing comes of it either: no rollout advances, no job of ours ends badly, nobody acknowledges unless a test says so.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from heapq import heappop, heappush
from typing import Final

import msgspec
from msgspec import Struct

from shared import guards
from shared.actions import expect
from shared.actions._text import name_of
from shared.actions.arrived import Arrived, mark
from shared.events import Event
from shared.guards.ask import Ask, Collected, Ended, Go, Guarding, Held, Memory, Suppressed, Wait
from shared.record import SILENCES, Decision, EventRecord, Facts, Intent, Silence
from shared.rules.load import Loaded
from shared.rules.plan import plan
from shared.rules.silences import resolved_by
from shared.rules.steps import address_of

ACTED: Final = {
    "teams": "sent",
    "email": "sent",
    "sms": "sent",
    "retrain": "started",
    "resubmit": "started",
    "promote": "promoted",
    "dispatch": "dispatched",
    "azure_pipelines": "started",
    "jenkins": "queued",
    "webhook": "called",
    "batch": "started",
    "data_factory": "started",
    "synapse": "started",
    "forward": "forwarded",
    "batch_default": "switched",
    "tag_model": "tagged",
    "schedule": "scheduled",
}
"""What is said of an action that is done."""

INTERNAL: Final = frozenset({"expect", "arrived"})
"""Actions that nobody sees: an absence rule is made of them."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LENGTH: Final = timedelta(hours=1)
"""How long a run of ours takes, where no event says when it ended."""

_TERMINAL: Final = frozenset({"Completed", "Failed", "Canceled"})
_JOBS: Final = frozenset({"retrain", "resubmit", "batch"})
_SOON: Final = timedelta(seconds=1)


class Outcome(Struct, frozen=True, omit_defaults=True):
    """What became of one intent, or of a rule that could not be decided.

    `outcome`: a word of ACTED, `waits`, `suppressed`, `held`, `collected`, `refused`, or `undecided`; of an absence rule `met` or
    `missing`. `guard` and `note`: why. `receiver`: who is told; `target`: the address, pipeline, policy or repository. `together`: how
    many events one message is about. `says`: stands for the parameters.
    """

    at: datetime
    record: str
    event: str
    rule: str
    action: str
    outcome: str
    target: str = ""
    receiver: str = ""
    guard: str = ""
    note: str = ""
    together: int = 0
    says: str = ""
    key: str = ""
    until: datetime | None = None
    who: str = ""
    """The one on call, where a schedule says who is told; of what is started, the receiver that hears how it ended."""

    @property
    def acted(self) -> bool:
        return is_done(self.outcome)


_DONE: Final = frozenset({*ACTED.values(), "done"})


def is_done(outcome: str) -> bool:
    """Whether it is a word for what has had its effect."""
    return outcome in _DONE


def written(rule: str) -> str:
    """Of one part of a rule, the rule that people wrote."""
    return rule if rule.startswith("(") else rule.partition(" (")[0]


class Recalled(Memory):
    """State, and the ends of jobs: as events told, and where none did, after a time that is assumed."""

    def __init__(self, length: timedelta = LENGTH) -> None:
        super().__init__()
        self.now = EPOCH
        self.length = length

    def answer(self, ask: Ask, behind: int = 0) -> object:
        if not isinstance(ask, Ended):
            return super().answer(ask, behind)
        told = self.ended.get(ask.job)
        end = ask.began + self.length if told is None else told
        return end if end <= self.now else None


class Rehearsal:
    """`memory`: what the guards find; `start`: when it begins. Time only goes forward: what comes late comes now."""

    def __init__(
        self,
        loaded: Loaded,
        memory: Recalled | None = None,
        start: datetime = EPOCH,
        *,
        keep: bool = False,
    ) -> None:
        self.loaded: Final = loaded
        self.records: Final[dict[str, EventRecord]] = {}
        """What arrived, where it is to be kept."""
        self.memory: Final = memory or Recalled()
        self.matched: Final[set[str]] = set()
        """Names of rules, parts by themselves, that have matched."""
        self.says: Final[dict[str, dict[str, object]]] = {}
        """Parameters by what stands for them in outcomes."""
        self.open: int = 0
        """Absence rules that were still waiting when the rehearsal was over."""
        self._keep: Final = keep
        self._due: Final[list[tuple[datetime, str]]] = []
        self._waiting: Final[dict[str, guards.Case]] = {}
        self._seen: Final[set[str]] = set()
        self._causes: Final[dict[str, int]] = {}
        self._digests: Final[dict[int, str]] = {}
        self._outcomes: list[Outcome] = []
        self.memory.now = max(self.memory.now, start)

    @property
    def now(self) -> datetime:
        return self.memory.now

    def event(self, event: Event, facts: Facts, at: datetime) -> list[Outcome]:
        """What has happened until then, and because of this event. The same event once more is none."""
        self._pass(at)
        self._take_in(event, facts)
        return self._told()

    def until(self, moment: datetime) -> list[Outcome]:
        """What happens as time goes by."""
        self._pass(moment)
        return self._told()

    def close(self) -> list[Outcome]:
        """What is still to come when nothing arrives any more. Of what an absence rule waits for nobody knows whether it would have come."""
        for key, case in list(self._waiting.items()):
            if case.intent.action == "expect":
                del self._waiting[key]
                self.open += 1
        while self._due:
            self._next()
        return self._told()

    def waits(self) -> int:
        """How many intents wait for their time."""
        return len(self._waiting)

    def run[T](self, script: Guarding[T]) -> T:
        """A script of guards, on the state of this rehearsal."""
        return self.memory.run(script)

    def _told(self) -> list[Outcome]:
        told, self._outcomes = self._outcomes, []
        return told

    def _pass(self, moment: datetime) -> None:
        due = self._due
        while due and due[0][0] <= moment:
            self._next()
        self.memory.now = max(self.memory.now, moment)

    def _next(self) -> None:
        at, key = heappop(self._due)
        self.memory.now = max(self.memory.now, at)
        case = self._waiting.pop(key, None)
        if case is not None:
            self._ask(case)

    def _take_in(self, event: Event, facts: Facts) -> None:
        record = event.record
        if record in self._seen:
            return
        self._seen.add(record)
        now = self.memory.now
        intents = self._decided(event, facts, record, now)
        self._learn(event)
        for key, at in self.memory.run(guards.ended(event, now)):
            if key in self._waiting:
                heappush(self._due, (at, key))
        if self.memory.folders.get(SILENCES):
            self._resolve(event)
        for intent in intents:
            self._ask(guards.Case(intent, event, facts, now, now))

    def _resolve(self, event: Event) -> None:
        """Ends the silences of a trouble that is over."""
        now, kept = self.memory.now, self.memory.folders[SILENCES]
        silences = [msgspec.json.decode(text, type=Silence) for text in kept.values()]
        for one in resolved_by([one for one in silences if one.in_force(now)], event):
            over = msgspec.structs.replace(one, expired=now, expired_by=f"resolved by event {event.record}")
            kept[one.id] = msgspec.json.encode(over).decode()

    def _decided(self, event: Event, facts: Facts, record: str, now: datetime) -> tuple[Intent, ...]:
        """In the order of the service: what can be decided at once, then what needs a lookup."""
        decision = plan(self.loaded.rules, event)
        intents = decision.intents
        if self._keep:
            self.records[record] = EventRecord(record, now, "decided", event, decision, facts)
        for verdict in decision.verdicts:
            if verdict.outcome == "matched":
                self.matched.add(verdict.rule)
        if not decision.needs:
            return intents
        undecided = frozenset([one.rule for one in decision.verdicts if one.outcome == "undecided"])
        second = plan(self.loaded.rules, event, facts, only=undecided)
        needs = " and ".join(second.needs)
        if self._keep:
            whole = Decision(
                decision.config, decision.considered, decision.verdicts + second.verdicts, intents + second.intents
            )
            self.records[record] = msgspec.structs.replace(self.records[record], decision=whole)
        for verdict in second.verdicts:
            if verdict.outcome == "matched":
                self.matched.add(verdict.rule)
            elif verdict.outcome == "undecided":
                waits = (
                    f"needs the lookup of {needs}" if not verdict.by else f"waits for {verdict.by!r}, which may stop it"
                )
                self._outcomes.append(
                    Outcome(now, record, event.type, verdict.rule, "", "undecided", note=waits, guard=needs)
                )
        return intents + second.intents

    def _learn(self, event: Event) -> None:
        """The ends of runs, among which may be those of ours."""
        run = event.run
        if run is not None and (event.type == "RunCompleted" or run.status in _TERMINAL):
            self.memory.ended.setdefault(run.id, event.time)

    def _behind(self, event: Event) -> int:
        """As the service knows it: by the event's tags, or by what we started its run for."""
        found = guards.depth(event)
        if found or event.run is None:
            return found
        names = (event.run.id, event.run.parent)
        return next((self._causes[name] for name in names if name in self._causes), 0)

    def _ask(self, case: guards.Case) -> None:
        now, intent = self.memory.now, case.intent
        if case.now != now:
            case = guards.Case(intent, case.event, case.facts, now, case.arrived)
        behind = self._behind(case.event) if self._causes else 0
        ruling = self.memory.run(guards.rule_on(case, self.loaded.config), behind)
        match ruling:
            case Go():
                self._go(case, ruling)
            case Wait(until=until, note=note):
                self._waiting[intent.key] = case
                heappush(self._due, (max(until, now + _SOON), intent.key))
                if intent.action not in INTERNAL and case.now == case.arrived:
                    self._tell(case, "waits", note=note, until=until)
            case Suppressed(guard=guard, note=note):
                self._tell(case, "suppressed", guard, note)
            case Held(guard=guard, note=note):
                self._tell(case, "held", guard, note)
            case Collected(note=note):
                self._tell(case, "collected", note=note)

    def _go(self, case: guards.Case, go: Go) -> None:
        intent = case.intent
        if intent.action == "expect":
            self._expected(case)
        elif intent.action == "arrived":
            self._arrived(case)
        else:
            if intent.action in _JOBS:
                self._causes.setdefault(name_of(intent.key, 100), self._behind(case.event) + 1)
            self._tell(case, ACTED.get(intent.action, "done"), note=go.note, together=go.total if go.collected else 0)

    def _expected(self, case: guards.Case) -> None:
        intent, event = case.intent, case.event
        params = expect.Expect.model_validate(intent.params)
        for key in (intent.terms.keys if intent.terms else ()) or ("[]",):
            folder, name = mark(params.rule, key)
            text = self.memory.folders.get(folder, {}).get(name)
            if text is not None and expect.met(params, event, text):
                self._tell(case, "met")
                return
        self._tell(case, "missing")
        self._take_in(expect.missing(params, intent.key, event, self.memory.now), Facts())

    def _arrived(self, case: guards.Case) -> None:
        intent, at = case.intent, case.event.time.isoformat()
        rule = Arrived.model_validate(intent.params).rule
        for key in (intent.terms.keys if intent.terms else ()) or ("[]",):
            folder, name = mark(rule, key)
            kept = self.memory.folders.setdefault(folder, {})
            kept[name] = max(kept.get(name, at), at)

    def _tell(
        self,
        case: guards.Case,
        outcome: str,
        guard: str = "",
        note: str = "",
        *,
        together: int = 0,
        until: datetime | None = None,
    ) -> None:
        intent, terms = case.intent, case.intent.terms
        target, receiver, who = "", "", ""
        if terms is not None:
            target, receiver, who = terms.pipeline, terms.receiver, terms.tell
            if terms.schedule:
                found = address_of(self.loaded.config, terms.schedule, intent.action, self.memory.now)
                target = who = found[0] if found else ""
                if found is None and outcome in _DONE:
                    outcome, note = (
                        "refused",
                        f"nobody who can be reached by {intent.action} is on call by {terms.schedule!r}",
                    )
        told = Outcome(
            self.memory.now,
            intent.event,
            case.event.type,
            intent.rule,
            intent.action,
            outcome,
            target or target_of(intent),
            receiver,
            guard,
            note,
            together,
            self._digest(intent.params),
            intent.key,
            until,
            who,
        )
        self._outcomes.append(told)

    def _digest(self, params: dict[str, object]) -> str:
        """Parameters are shared by all intents of a step."""
        known = self._digests.get(id(params))
        if known is None:
            text = msgspec.json.encode(params, order="sorted")
            known = self._digests[id(params)] = sha256(text).hexdigest()[:8]
            self.says[known] = params
        return known


_TARGETS: Final = (
    "policy",
    "job",
    "url",
    "to",
    "github",
    "source",
    "workflow",
    "event_type",
    "limit",
    "endpoint",
    "project",
    "pipeline",
    "topic",
    "event_hub",
    "name",
    "tags",
)


def target_of(intent: Intent) -> str:
    """What tells one effect from another, in a few words: addresses as they are written, secrets by their names."""
    for name in _TARGETS:
        value = intent.params.get(name)
        if name == "project" and value is not None:
            return f"{value}/{intent.params.get('pipeline')}"
        if value is not None:
            return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return ""


def rehearse(loaded: Loaded, events: Iterable[tuple[Event, Facts, datetime]]) -> list[Outcome]:
    """All of it at once."""
    rehearsal = Rehearsal(loaded)
    told = [outcome for event, facts, at in events for outcome in rehearsal.event(event, facts, at)]
    return told + rehearsal.close()

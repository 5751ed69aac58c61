"""Plays the stories of rule tests, and says in how far what happened is what was expected."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from shared.events import Event
from shared.guards.retraining import LEDGERS, Ledger, Start
from shared.guards.throttle import name_of
from shared.record import (
    ACKS,
    QUALITY,
    SILENCES,
    Ack,
    Checked,
    Estimate,
    EventRecord,
    Facts,
    Resolution,
    Silence,
    Standing,
)
from shared.rehearsal.engine import INTERNAL, LENGTH, Outcome, Rehearsal, written
from shared.rehearsal.story import Acknowledged, Expected, Happens, Move, Passes, Silenced, Stands, Started, Step, Story
from shared.rollout.hours import written as length
from shared.rules.explain import Explanation, explain, in_words
from shared.rules.load import ARRIVED, MISSING, Loaded
from shared.rules.match import shown
from shared.rules.near import nearest_change
from shared.rules.plan import Rule
from shared.rules.troubles import MUTED, muted_of

_LOOK: Final = timedelta(days=1)
_SEEN: Final = 1_000
"""Of a look at a model's quality: over which time, and over how many predictions."""

type Mark = Literal["+", "-", "~"]


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """`+` happened and was not expected, `-` was expected and did not happen, `~` happened otherwise. `line`: of what was expected."""

    mark: Mark
    said: str
    because: tuple[str, ...] = ()
    line: int = 0


class Tried(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step that went otherwise than expected: where it stands, what it is, when it was."""

    line: int
    column: int
    step: int
    words: str
    at: datetime
    clock: str
    differences: tuple[Difference, ...]


class Trial(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one story went. `steps`: those that went wrong."""

    file: str
    line: int
    name: str
    passed: bool
    steps: tuple[Tried, ...] = ()


class Covered(msgspec.Struct, frozen=True, omit_defaults=True):
    """Rules that no test fires, each with its place and what is missing."""

    rules: int
    missing: tuple[tuple[str, str, int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Happened:
    """What the channels of one receiver have in common."""

    rule: str
    verb: str
    target: str
    outcome: str = ""
    guard: str = ""
    to: str = ""
    together: int = 0
    wait: float | None = None
    note: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.rule}: {', '.join(one for one in (_doing(self.verb, self.target, self.to), _fate(self)) if one)}"


def try_all(stories: Sequence[Story], loaded: Loaded) -> tuple[list[Trial], Covered]:
    """Every story by itself, and which rules they fire."""
    fired: set[str] = set()
    trials = []
    for story in stories:
        play = _Play(story, loaded)
        trials.append(play.trial())
        fired |= play.fired
    return trials, coverage(loaded, fired)


def coverage(loaded: Loaded, fired: set[str]) -> Covered:
    """Of the rules that somebody wrote. One about what did not happen is covered when a test shows it both ways."""
    ours = [rule for rule in loaded.rules.rules if not rule.implicit]
    missing = []
    for rule in ours:
        if rule.name not in fired:
            said = _uncovered(rule)
            if said:
                missing.append((written(rule.name), rule.file, rule.line, said))
    return Covered(len({written(rule.name) for rule in ours}), tuple(sorted(missing, key=lambda one: one[1:3])))


def _uncovered(rule: Rule) -> str:
    if any(step.action == "expect" for step in rule.steps):
        return ""  # without it, neither of its other parts
    if rule.name.endswith(ARRIVED):
        return "no test shows that what it expects comes in time"
    if rule.name.endswith(MISSING):
        return "no test shows that what it expects does not come"
    part = rule.name.partition(" (")[2].rstrip(")")
    return f"no test fires its step '{part}'" if part else "no test fires it"


class _Play:
    def __init__(self, story: Story, loaded: Loaded) -> None:
        self.fired: set[str] = set()
        self._story = story
        self._loaded = loaded
        first = max((one.ago for one in story.given), default=0.0)
        self._stage = Rehearsal(loaded, start=story.now - timedelta(seconds=first), keep=True)
        self._sent: list[tuple[Event, Facts]] = []
        self._last = ""
        """The record that somebody would acknowledge."""

    def trial(self) -> Trial:
        story, stage = self._story, self._stage
        for n, before in enumerate(story.given, 1):
            at = story.now - timedelta(seconds=before.ago)
            self._heard(stage.until(at))
            self._moved(before.move, f"given-{n}", at)
        self._heard(stage.until(story.now))
        wrong = []
        for n, step in enumerate(story.steps, 1):
            self._sent = []
            outcomes = self._moved(step.move, str(n), stage.now)
            self._fires(outcomes)
            found = self._compared(step, outcomes)
            if found:
                clock = f"{_local(stage.now, story.zone):%Y-%m-%d %H:%M}"
                place = step.at
                wrong.append(Tried(place.line, place.column, n, step.words, stage.now, clock, tuple(found)))
        return Trial(story.file, story.at.line, story.name, not wrong, tuple(wrong))

    def _fires(self, outcomes: Iterable[Outcome]) -> None:
        for one in outcomes:
            if one.outcome == "met":
                self.fired.add(f"{one.rule}{ARRIVED}")
            elif one.acted:
                self.fired.add(one.rule)
        self.fired |= {
            rule.name for rule in self._loaded.rules.rules if not rule.steps and rule.name in self._stage.matched
        }

    # What happens

    def _moved(self, move: Move, number: str, at: datetime) -> list[Outcome]:
        stage = self._stage
        match move:
            case Happens():
                self._sent = move.events(number, at, self._loaded)
                told = [one for event, facts in self._sent for one in stage.event(event, facts, at)]
                self._last = self._sent[-1][0].record
            case Passes():
                told = stage.until(move.reaches(stage.now, self._story.zone))
            case Acknowledged():
                told = []
                self._acknowledge(move, at)
            case Silenced():
                told = []
                self._silence(
                    Silence(
                        f"silence-{number}",
                        move.matchers,
                        move.owner,
                        move.reason,
                        at,
                        at + timedelta(seconds=move.length),
                    )
                )
            case Started():
                told = []
                self._start(move, number, at)
            case Stands():
                told = []
                self._stand(move, at)
        self._heard(told)
        return told

    def _heard(self, outcomes: Iterable[Outcome]) -> None:
        told = [one.record for one in outcomes if one.acted and one.receiver]
        self._last = told[-1] if told else self._last

    def _acknowledge(self, move: Acknowledged, at: datetime) -> None:
        records = self._stage.records
        named = [id_ for id_, one in records.items() if one.event is not None and one.event.id == move.of]
        record = named[-1] if named else self._last
        ack = msgspec.json.encode(Ack(move.by, at)).decode()
        self._stage.memory.folders.setdefault(ACKS, {}).setdefault(record, ack)
        if move.mute and record in records:
            self._mute(records[record], move, at)

    def _mute(self, record: EventRecord, move: Acknowledged, at: datetime) -> None:
        trouble = muted_of(record)
        if trouble is None or record.event is None:
            return
        resolves = Resolution(trouble.resolves, record.event.time - trouble.since) if trouble.resolves else None
        name = f"mute-{record.id}"
        self._silence(Silence(name, trouble.matchers, move.by, "muted", at, at + MUTED, resolves=resolves))

    def _silence(self, one: Silence) -> None:
        self._stage.memory.folders.setdefault(SILENCES, {})[one.id] = msgspec.json.encode(one).decode()

    def _start(self, move: Started, number: str, at: datetime) -> None:
        """Into the pipeline's ledger."""
        pipeline = self._loaded.config.pipelines[move.pipeline]
        kept = self._stage.memory.folders.setdefault(LEDGERS, {})
        name = name_of(move.pipeline)
        before = msgspec.json.decode(kept[name], type=Ledger).starts if name in kept else ()
        ended = None if move.running else at + LENGTH
        if move.running:
            self._stage.memory.ended[number] = datetime.max.replace(tzinfo=at.tzinfo)
        start = Start(number, at, number, None, pipeline.cost or 0.0, ended)
        kept[name] = msgspec.json.encode(Ledger((*before, start))).decode()

    def _stand(self, move: Stands, at: datetime) -> None:
        """On the shelf, as the looks at a model's quality leave it: what a test says is known for sure."""

        def known(values: Mapping[str, float]) -> dict[str, Estimate]:
            return {name: Estimate(value, value, value, _SEEN, at - _LOOK, at) for name, value in values.items()}

        labels = {f"{at:%Y-%m-%d}": move.labels} if move.labels else {}
        model, reference = self._loaded.quality[move.quality].model, dict(move.reference)
        made = Standing(at, model, "", known(move.measured), known(move.estimated), reference, labels)
        self._stage.memory.folders.setdefault(QUALITY, {})[move.quality] = msgspec.json.encode(made).decode()

    # What was expected

    def _compared(self, step: Step, outcomes: Sequence[Outcome]) -> list[Difference]:
        """Lines that fit first, then those about the same effect, then what is left on either side."""
        happened = Counter(happenings(outcomes))
        left: list[tuple[Expected, int]] = []
        for line in step.expect:
            missing = line.times
            for one in list(happened):
                if missing and _fits(line, one):
                    taken = min(missing, happened[one])
                    missing -= taken
                    happened[one] -= taken
            if missing:
                left.append((line, missing))
        happened = +happened
        found = []
        for line, missing in left:
            found += self._unmet(line, missing, happened)
        if step.exact:
            extra = [(one, n) for one, n in (+happened).items() if one.wait is None]
            found += [Difference("+", f"{one}{_times(n)}", _why(one)) for one, n in extra]
        return found

    def _unmet(self, line: Expected, missing: int, happened: Counter[Happened]) -> list[Difference]:
        found = []
        for one in list(+happened):
            if missing and _about_the_same(line, one):
                taken = min(missing, happened[one])
                missing -= taken
                happened[one] -= taken
                told = f"{_expected(line)}; found: {_found(one, line)}{_times(taken)}"
                found.append(Difference("~", told, _why(one), line.at.line))
        if missing:
            said = f"{_expected(line)}{_times(missing)}"
            found.append(Difference("-", said, tuple(self._because(line)), line.at.line))
        return found

    def _because(self, line: Expected) -> list[str]:
        """Why the rule does nothing about the event of this step."""
        if not self._sent:
            return ["nothing of this rule was due then"]
        event, facts = self._sent[-1]
        rules = {rule.name: rule for rule in self._loaded.rules.rules if written(rule.name) == line.rule}
        told = [one for one in explain(self._loaded.rules, event, facts, changes=0) if one.rule in rules]
        told = [one for one in told if not one.rule.endswith((ARRIVED, MISSING))] or told
        reasons = [text for one in told for text in _reasons(one, event)]
        changes = [nearest_change(rules[one.rule], event, facts) for one in told if one.outcome == "missed"]
        return list(dict.fromkeys([*reasons, *(f"it {in_words(change)}" for change in changes)]))


def happenings(outcomes: Iterable[Outcome]) -> list[Happened]:
    """What people would say has happened: one for all channels of a receiver, one for each event."""
    found: dict[tuple[str, Happened], Happened] = {}
    for one in outcomes:
        if one.action not in INTERNAL:
            happened = Happened(
                written(one.rule),
                "notify" if one.receiver else one.action,
                one.receiver or one.target,
                "" if one.acted else one.outcome,
                one.guard,
                one.who,
                one.together,
                (one.until - one.at).total_seconds() if one.until else None,
                one.note,
            )
            found.setdefault((one.record, happened), happened)
    return list(found.values())


def _fits(line: Expected, one: Happened) -> bool:
    return _about_the_same(line, one) and (
        line.outcome == one.outcome
        and line.guard in {"", one.guard, *one.guard.split(" and ")}
        and line.to in {"", one.to}
        and line.together in {None, one.together}
        and line.until in {None, one.wait}
    )


def _about_the_same(line: Expected, one: Happened) -> bool:
    if line.rule != one.rule:
        return False
    return not line.verb or not one.verb or (line.verb == one.verb and line.target in {"", one.target})


# In words


_TELLS: Final = frozenset({"notify", "teams", "email", "sms"})


def _doing(verb: str, target: str, to: str = "") -> str:
    said = f"{verb} {target}".strip()
    return f"{said} ({'to' if verb in _TELLS else 'tell:'} {to})" if to else said


def _fate(one: Happened) -> str:
    """Nothing for what is simply done."""
    if one.wait is not None:
        return f"waits: {length(one.wait)}"
    if one.outcome:
        return f"{one.outcome}: {one.guard or 'true'}"
    return f"together: {one.together}" if one.together else ""


def _asked(line: Expected) -> str:
    if line.until is not None:
        return f"waits: {length(line.until)}"
    if line.outcome:
        return f"{line.outcome}: {line.guard or 'true'}"
    return f"together: {line.together}" if line.together is not None else ""


def _expected(line: Expected) -> str:
    parts = [part for part in (_doing(line.verb, line.target, line.to), _asked(line)) if part]
    return f"{line.rule}: {', '.join(parts)}"


def _found(one: Happened, line: Expected) -> str:
    """What differs from the line."""
    to = f"to: {one.to or 'an address of its own'}" if line.to not in {"", one.to} else ""
    return ", ".join(part for part in (_fate(one) or ("" if to else "it was done"), to) if part)


def _times(n: int) -> str:
    return f" ({n} times)" if n > 1 else ""


def _why(one: Happened) -> tuple[str, ...]:
    if one.outcome == "undecided":
        lookups = " and ".join(f"'{name}.NAME: …'" for name in one.guard.split(" and "))
        return (f"{one.note}: say {lookups} in the step, or 'unknown: {one.guard.partition(' ')[0]}'",)
    return (one.note,) if one.note else ()


def _reasons(one: Explanation, event: Event) -> list[str]:
    """Why this rule does not do what was expected of it."""
    place = f"{one.file}:{one.line}"
    match one.outcome:
        case "other event":
            return [f"{one.rule} is for {' or '.join(one.events)}, and this is {event.type} ({place})"]
        case "stopped":
            return [f"{one.rule} matches, and {one.by!r} before it says stop"]
        case "undecided":
            return [
                f"{one.rule} needs the lookup of {' and '.join(one.needs)}" if one.needs else f"it waits for {one.by!r}"
            ]
        case "matched":
            return [f"{one.rule} matches, and does something else ({place})"]
        case "missed":
            failed = [line for line in one.lines if line.state == "failed"]
            return [f"{_line(line.checked)} ({line.file}:{line.line})" for line in failed]


def _line(checked: Checked) -> str:
    """A line with its value; a block says in its note what its lines saw."""
    if checked.path in {"any", "not"}:
        return f"{checked.expected}: {checked.note}"
    return f"{checked.path} {checked.expected}, is {shown(checked)}"


def _local(moment: datetime, zone: str) -> datetime:
    return moment.astimezone(ZoneInfo(zone))


# The account of all of it


def as_text(trials: Sequence[Trial], folder: str = "") -> str:
    """What went wrong, each step with its place; then one line that sums up."""
    rows = []
    for trial in trials:
        for step in trial.steps:
            rows.append(
                f"{folder}{trial.file}:{step.line}:{step.column}: {trial.name!r}, step {step.step} ({step.words}) at {step.clock}"
            )
            before: tuple[str, ...] = ()
            for one in step.differences:
                rows.append(f"  {one.mark} {one.said}")
                rows += [f"      {reason}" for reason in one.because] if one.because != before else []
                before = one.because
            rows.append("")
    failed = sum(not trial.passed for trial in trials)
    tests = f"{len(trials)} {'test' if len(trials) == 1 else 'tests'}"
    rows.append(f"{tests}, {failed} failed" if failed else f"{tests}, all passed")
    return "\n".join(rows) + "\n"


def covered_text(covered: Covered, folder: str = "") -> str:
    """Each rule that no test fires, in a line that an editor can follow."""
    rows = [f"{folder}{file}:{line}: rule {name!r}: {said}" for name, file, line, said in covered.missing]
    names = {name for name, *_ in covered.missing}
    rows.append(f"{covered.rules - len(names)} of {covered.rules} rules are covered by tests")
    return "\n".join(rows) + "\n"

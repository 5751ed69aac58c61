"""Planning: what the rules say to do about one event. Pure; the same event gives the same intents, keys included.

Rules are found by an index: for each event type, rules that ask for exact texts of the same fields share one table
whose key is those texts. One event costs one look into each table, however many rules stand in it; what a rule asks
beyond that is judged by its closures.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations, product
from operator import attrgetter
from typing import Any, Final

import msgspec
import re2
from msgspec.structs import replace

from shared.events import Event, Model, Run
from shared.record import (
    KEEP,
    LOOKUPS,
    Checked,
    Decision,
    Facts,
    Intent,
    Kind,
    Lookup,
    Terms,
    Throttle,
    Verdict,
    Worth,
    run_of,
)
from shared.rules.match import ERROR, NO, UNKNOWN, WAITING, WAITS, YES, Code, Condition, Judge, Line
from shared.rules.paths import Gap, Getter, Path

_WIDEST: Final = 256
"""Index keys one rule may take; a rule with longer lists is indexed by its other fields."""

_UNFIT: Final = re.compile("[^A-Za-z0-9-]")


@dataclass(frozen=True, slots=True)
class Step:
    """One effect of a rule: an action by name and its parameters, which are shared and must not be changed.

    `tells`: a person; `receiver`: which. `after`: seconds later, unless somebody has acknowledged it by then, it tells the next: with
    `schedule`, whoever is on call then. `pipeline`: what it starts, whose guards hold. `tell`: the receiver that hears how what it
    started has ended; `start_within`: seconds in which that should begin, 0 for the usual time. `worth`: what makes it worth a
    training.
    """

    action: str
    params: dict[str, object]
    tells: bool = False
    receiver: str = ""
    after: float = 0.0
    schedule: str = ""
    pipeline: str = ""
    tell: str = ""
    start_within: float = 0.0
    worth: Worth | None = None


@dataclass(frozen=True, slots=True)
class Throttling:
    """A rule's `throttle`: of events with the same values of `by`. `says`, `marker`: of a delivery, the expressions by which a
    part's name says how many there are, and by which the marker is known.
    """

    kind: Kind
    seconds: float
    by: tuple[Path, ...] = ()
    threshold: int = 0
    says: str = ""
    marker: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule in force. `line` and `column`: where it stands. Its conditions all have to hold. `numbers`: of
    its steps, where it is one part of a written rule; else they are counted.
    """

    name: str
    file: str
    line: int
    column: int
    events: tuple[str, ...]
    conditions: tuple[Condition, ...]
    steps: tuple[Step, ...]
    stop: bool = False
    numbers: tuple[int, ...] = ()
    throttle: Throttling | None = None
    active: tuple[str, ...] = ()
    mute: tuple[str, ...] = ()
    together: bool = True
    """Whether the children of one run make one message, where it has no `throttle`."""
    keys: tuple[Path, ...] = ()
    """Of an absence rule: by which values it knows what it waits for."""
    keep: float = KEEP.total_seconds()
    """Seconds for which it wants the record of what it matches kept."""

    @property
    def implicit(self) -> bool:
        """Nobody wrote it: its name stands in brackets."""
        return self.name.startswith("(")

    @property
    def accounts(self) -> tuple[Path, ...]:
        """The fields whose values tell its events apart."""
        return (*(self.throttle.by if self.throttle else ()), *self.keys)

    @property
    def slug(self) -> str:
        """Its part of an intent's key, which has to fit into a job name: of a part, the name of the rule as written."""
        return f"_{_UNFIT.sub('-', self.name[1:-1])}" if self.implicit else self.name.partition(" ")[0]


@dataclass(frozen=True, slots=True)
class _Entry:
    order: int
    rule: Rule
    judges: tuple[Judge, ...]
    """What the index has not settled already."""
    effects: tuple[tuple[str, Step, Terms], ...]
    """Its steps, each with the end of its key and what is said of it whatever the event."""


@dataclass(slots=True)
class _Table:
    """Rules of one event type that ask for exact texts of the same fields."""

    getters: tuple[Getter, ...]
    rules: dict[tuple[object, ...], list[_Entry]] = field(default_factory=dict)


type _Index = dict[str, list[_Table]]


class Rules:
    """The rules in force, in order, compiled. `version` names the configuration they come from."""

    def __init__(self, rules: Iterable[Rule] = (), version: str = "") -> None:
        self.rules: Final = tuple(rules)
        self.version: Final = version
        self._index: Final = _indexed(self.rules)
        self._written: Final = len({(rule.file, rule.line, rule.column) for rule in self.rules if not rule.implicit})

    def __len__(self) -> int:
        """How many somebody wrote: no implicit ones, and one that is decided in parts once."""
        return self._written

    def candidates(self, event: Event) -> list[_Entry]:
        """In order, the rules for this type whose exact texts are there."""
        found: list[_Entry] = []
        for table in self._index.get(event.type, ()):
            key = tuple([_text(get(event, _NOTHING)) for get in table.getters])
            rules = table.rules.get(key)
            if rules:
                found = found + rules if found else rules
        return sorted(found, key=_order)


_order: Final = attrgetter("order")
_NOTHING: Final = Facts()


def _text(value: object) -> object:
    """A user tag may be any JSON; only texts are in the index."""
    return value if type(value) is str else None


def _indexed(rules: Sequence[Rule]) -> _Index:
    tables: dict[str, dict[tuple[str, ...], _Table]] = {}
    for order, rule in enumerate(rules):
        lines = _indexable(rule.conditions)
        judges = tuple(one.judge for one in rule.conditions if one not in lines)
        judges += tuple(_known(path) for path in rule.accounts if path.lookup)
        numbers = rule.numbers or range(1, len(rule.steps) + 1)
        effects = tuple(
            (f"-{rule.slug}-{n}", step, _standing(rule, step)) for n, step in zip(numbers, rule.steps, strict=True)
        )
        entry = _Entry(order, rule, judges, effects)
        names = tuple(one.path.name for one in lines)
        for event in rule.events:
            table = tables.setdefault(event, {}).setdefault(names, _Table(tuple(one.path.get for one in lines)))
            for key in product(*(dict.fromkeys(one.test.texts) for one in lines)):
                table.rules.setdefault(key, []).append(entry)
    return {event: list(by_names.values()) for event, by_names in tables.items()}


def _indexable(conditions: Sequence[Condition]) -> list[Line]:
    """The lines that ask for exact texts, by field name, as many as keep the number of keys small."""
    exact = [one for one in conditions if isinstance(one, Line) and one.path.exact and one.test.texts]
    chosen: list[Line] = []
    size = 1
    for one in sorted(exact, key=lambda one: len(one.test.texts)):
        size *= len(one.test.texts)
        if size > _WIDEST:
            break
        chosen.append(one)
    return sorted(chosen, key=lambda one: one.path.name)


def _known(path: Path) -> Judge:
    """A value that an account is kept by has to be looked up first; that nobody knows it is a value too."""
    waits = WAITS[path.lookup] if path.lookup else 0

    def judge(event: Event, facts: Facts) -> Code:
        value = path.get(event, facts)
        return waits if isinstance(value, Gap) and not value.asked else YES

    return judge


def _standing(rule: Rule, step: Step) -> Terms:
    return Terms(
        active=rule.active,
        mute=rule.mute,
        after=step.after,
        unless_acknowledged=step.tells and step.after > 0,
        leads=step.tells and step.after == 0 and any(one.tells and one.after > 0 for one in rule.steps),
        receiver=step.receiver,
        schedule=step.schedule,
        pipeline=step.pipeline,
        tell=step.tell,
        start_within=step.start_within,
        worth=step.worth,
    )


OF_RUNS: Final = frozenset({"RunCompleted", "RunStatusChanged"})
"""Types of which a sweep raises many. Drift that a step of a monitor finds is not one of many."""

CHILDREN: Final = 6 * 3600.0
"""Seconds after which the children of one run are told of at the latest, also if it has not ended."""


def _terms(rule: Rule, step: Step, standing: Terms, event: Event, facts: Facts) -> Terms | None:
    throttle = _throttle(rule, step, event, facts)
    keys = _keys(rule.keys, event, facts) if rule.keys else ()
    if throttle is None and not keys:
        return None if standing == _FREE else standing
    return replace(standing, throttle=throttle, keys=keys)


def _throttle(rule: Rule, step: Step, event: Event, facts: Facts) -> Throttle | None:
    asked = rule.throttle
    if asked is not None:
        values = [_said(path.get(event, facts)) for path in asked.by]
        shown = ", ".join(f"{path.name} {value}" for path, value in zip(asked.by, values, strict=True))
        throttle = Throttle(asked.kind, asked.seconds, _account(rule, values), shown, asked.threshold)
        return _delivery(asked, throttle, event) if asked.kind in DELIVERIES else throttle
    run = run_of(event, facts)
    if event.type == "DriftDetected" and run is not None and rule.together:
        return _breach(rule, event, run)
    if not (step.tells and rule.together and step.after == 0 and event.type in OF_RUNS):
        return None
    if run is None or not run.is_child or run.parent is None:
        return None
    account = _account(rule, [event.source, run.parent])
    return Throttle("once_after", CHILDREN, account, f"run.parent {run.parent}", parent=run.parent)


BREACH: Final = 86_400.0
"""Seconds in which a monitor's run tells of one breach once: it raises an event at each change of its status."""


def _breach(rule: Rule, event: Event, run: Run) -> Throttle | None:
    if not run.breached or not event.raw_type.endswith("RunStatusChanged"):
        return None
    signal = event.drift.signal if event.drift else None
    account = _account(rule, ["breach", event.source, run.parent or run.id, signal])
    return Throttle("once_within", BREACH, account, f"what monitor run {run.parent or run.id} found")


DELIVERIES: Final = frozenset({"complete_within", "incomplete_after"})
"""Kinds of throttles that are about the parts of a delivery."""


def _delivery(asked: Throttling, throttle: Throttle, event: Event) -> Throttle:
    """With what this event is of its delivery: the marker, or a part by this name; and how many it says there are."""
    blob = event.blob
    file = (blob.file if blob else None) or ""
    marker = expression(asked.marker).search(file) if asked.marker else None
    said = marker if marker or not asked.says else expression(asked.says).search(file)
    number = (said[1] if said and said.re.groups else None) or ""
    wanted = int(number) if number.isdecimal() and len(number) < _DIGITS else asked.threshold
    name = f"{blob.container}/{blob.name}" if blob and blob.name else (blob.url if blob else event.subject) or event.id
    return replace(throttle, threshold=wanted, part="" if marker else name, marker=bool(asked.marker))


_DIGITS: Final = 9


@cache
def expression(pattern: str) -> Any:
    """An RE2 expression, compiled once. Raises re2.error."""
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)  # type: ignore[no-untyped-call]  # the wheel carries no types


def _account(rule: Rule, values: Sequence[object]) -> str:
    return _json.encode([rule.name, *values]).decode()


def _said(value: object) -> object:
    """A value that events are told apart by."""
    return "unknown" if isinstance(value, Gap) else value


def _keys(by: Sequence[Path], event: Event, facts: Facts) -> tuple[str, ...]:
    """What an absence rule may know this event by: an endpoint has several models, and each of them has arrived."""
    models = event.endpoint.models if event.endpoint else ()
    events = [event]
    if models and any(path.name.startswith("model.") for path in by):
        parts = [one.rpartition(":") for one in models]
        events = [replace(event, model=Model(name, version)) for name, _, version in parts]
    return tuple(dict.fromkeys(_json.encode([_said(path.get(one, facts)) for path in by]).decode() for one in events))


_json: Final = msgspec.json.Encoder()
_FREE: Final = Terms()

_FAILS: Final = frozenset({NO, UNKNOWN})


def judged(judges: Sequence[Judge], event: Event, facts: Facts) -> Code:
    """All judgements together: YES, NO (also where one cannot be known), the lookups that are waited for, or an error."""
    waits = 0
    for judge in judges:
        code = judge(event, facts)
        if code in _FAILS:
            return NO
        if code == ERROR:
            return ERROR
        if code != YES:
            waits |= code
    return waits or YES


def plan(rules: Rules, event: Event, facts: Facts = _NOTHING, *, only: frozenset[str] | None = None) -> Decision:
    """What the rules say to do about this event; with `only`, what these rules say, once a lookup has been made.

    The rules behind an undecided one with `stop` wait with it.
    """
    verdicts: list[Verdict] = []
    intents: list[Intent] = []
    waits, keep = 0, 0.0
    stopped = waiting = ""
    record = ""
    for entry in rules.candidates(event):
        rule = entry.rule
        if only is not None and rule.name not in only:
            continue
        code = judged(entry.judges, event, facts)
        if code == NO:
            continue
        checked = check(rule, event, facts)
        if code == ERROR:
            verdicts.append(Verdict(rule.name, rule.file, "error", checked))
            continue
        if stopped:
            verdicts.append(Verdict(rule.name, rule.file, "stopped", checked, by=stopped))
            continue
        if code != YES or waiting:
            verdicts.append(Verdict(rule.name, rule.file, "undecided", checked, by=waiting))
            waits |= code & WAITING
            waiting = waiting or (rule.name if rule.stop else "")
            continue
        record = record or event.record
        asked = [
            Intent(
                f"{record}{end}",
                record,
                rule.name,
                step.action,
                step.params,
                _terms(rule, step, standing, event, facts),
            )
            for end, step, standing in entry.effects
        ]
        intents += asked
        verdicts.append(Verdict(rule.name, rule.file, "matched", checked, tuple([one.key for one in asked])))
        keep = max(keep, rule.keep)
        if rule.stop:
            stopped = rule.name
    return Decision(rules.version, len(rules), tuple(verdicts), tuple(intents), NEEDS[waits], keep)


NEEDS: Final[Mapping[Code, tuple[Lookup, ...]]] = {
    sum(WAITS[name] for name in names): names for n in range(len(LOOKUPS) + 1) for names in combinations(LOOKUPS, n)
}
"""The lookups that a judgement waits for."""


def check(rule: Rule, event: Event, facts: Facts) -> tuple[Checked, ...]:
    return tuple([condition.check(event, facts) for condition in rule.conditions])

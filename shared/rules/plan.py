"""Planning: what the rules say to do about one event. Pure; the same event gives the same intents, keys included.

Rules are found by an index: for each event type, rules that ask for exact texts of the same fields share one table
whose key is those texts. One event costs one look into each table, however many rules stand in it; what a rule asks
beyond that is judged by its closures.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from operator import attrgetter
from typing import Final

from shared.events import Event
from shared.record import Checked, Decision, Facts, Intent, Lookup, Verdict
from shared.rules.match import JOB, METRICS, NO, UNKNOWN, YES, Code, Condition, Judge, Line
from shared.rules.paths import Getter

_WIDEST: Final = 256
"""Index keys one rule may take; a rule with longer lists is indexed by its other fields."""

_UNFIT: Final = re.compile("[^A-Za-z0-9-]")


@dataclass(frozen=True, slots=True)
class Step:
    """One effect of a rule: an action by name and its parameters, which are shared and must not be changed."""

    action: str
    params: dict[str, object]


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

    @property
    def implicit(self) -> bool:
        """Nobody wrote it: its name stands in brackets."""
        return self.name.startswith("(")

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
    effects: tuple[tuple[str, Step], ...]
    """Its steps, each with the end of its key."""


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
        numbers = rule.numbers or range(1, len(rule.steps) + 1)
        effects = tuple((f"-{rule.slug}-{n}", step) for n, step in zip(numbers, rule.steps, strict=True))
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


_FAILS: Final = frozenset({NO, UNKNOWN})


def judged(judges: Sequence[Judge], event: Event, facts: Facts) -> Code:
    """All judgements together: YES, NO (also where one cannot be known), or the lookups that are waited for."""
    waits = 0
    for judge in judges:
        code = judge(event, facts)
        if code in _FAILS:
            return NO
        if code != YES:
            waits |= code
    return waits or YES


def plan(rules: Rules, event: Event, facts: Facts = _NOTHING, *, only: frozenset[str] | None = None) -> Decision:
    """What the rules say to do about this event; with `only`, what these rules say, once a lookup has been made.

    The rules behind an undecided one with `stop` wait with it.
    """
    verdicts: list[Verdict] = []
    intents: list[Intent] = []
    waits = 0
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
        if stopped:
            verdicts.append(Verdict(rule.name, rule.file, "stopped", checked, by=stopped))
            continue
        if code != YES or waiting:
            verdicts.append(Verdict(rule.name, rule.file, "undecided", checked, by=waiting))
            waits |= code & (METRICS | JOB)
            waiting = waiting or (rule.name if rule.stop else "")
            continue
        record = record or event.record
        asked = [Intent(f"{record}{end}", record, rule.name, step.action, step.params) for end, step in entry.effects]
        intents += asked
        verdicts.append(Verdict(rule.name, rule.file, "matched", checked, tuple([one.key for one in asked])))
        if rule.stop:
            stopped = rule.name
    return Decision(rules.version, len(rules), tuple(verdicts), tuple(intents), NEEDS[waits])


NEEDS: Final[Mapping[Code, tuple[Lookup, ...]]] = {
    0: (),
    METRICS: ("metrics",),
    JOB: ("job",),
    METRICS | JOB: ("metrics", "job"),
}


def check(rule: Rule, event: Event, facts: Facts) -> tuple[Checked, ...]:
    return tuple([condition.check(event, facts) for condition in rule.conditions])

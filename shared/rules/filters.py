"""Event Grid subscription filters for the rules in force: the narrowest that lose nothing.

A rule gives necessary conditions on keys of the event; what several rules have in common becomes a filter. Event Grid
joins its filters by AND, so each type of event gets a subscription of its own where that lets less through.

What is relied on: keys are spelled, and always present, as Azure documents them; texts compare without regard to case
there, so a filter lets through more than the rule that it stands for; a key with a dot in its name can't be addressed.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from shared.actions._place import Place as Workspace
from shared.events import OWN, STATUSES, TYPES
from shared.rules.literals import literals
from shared.rules.match import Block, Condition, Line, Test
from shared.rules.paths import FIXED
from shared.rules.payloads import (
    PAYLOADS,
    RUN_TAGS,
    RUN_TEMPLATE,
    RUN_TYPE,
    Kind,
    Payload,
    Place,
    other,
)
from shared.rules.plan import Rule, Rules

FILTERS: Final = 25
VALUES: Final = 25
LONGEST: Final = 512
"""What one subscription may have: advanced filters, values of all of them together, characters of a value."""

_PIECES: Final = 10
"""Subscriptions that a list of values may be spread over before it is made coarser."""

type Operator = Literal["StringIn", "StringBeginsWith", "StringEndsWith", "StringContains", "StringNotIn", "IsNotNull"]


class Clause(Struct, frozen=True):
    """One advanced filter."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()


class Need(Struct, frozen=True):
    """Events that the service needs though no rule asks for them."""

    name: str
    why: str
    type: str
    clauses: tuple[Clause, ...] = ()


class Passes(Struct, frozen=True):
    """What a subscription lets through although no rule wants it: conditions that are no filter there, and why."""

    why: str
    what: tuple[str, ...]


class Subscription(Struct, frozen=True):
    """`rules`: for whom it is; needs of the service by their name in brackets."""

    name: str
    types: tuple[str, ...]
    begins: str = ""
    ends: str = ""
    clauses: tuple[Clause, ...] = ()
    rules: tuple[str, ...] = ()
    passes: tuple[Passes, ...] = ()


class Topic(Struct, frozen=True):
    """Where events come from, and what to subscribe to there. `name`: of the workspace, else the publisher."""

    kind: Kind
    name: str
    workspace: Workspace | None
    subscriptions: tuple[Subscription, ...]


class Filters(Struct, frozen=True):
    version: str
    topics: tuple[Topic, ...]
    notes: tuple[str, ...]


type _Slots = Mapping[str, Clause]
"""Clauses that all have to hold, by what they are about: the name of a field, with `!` behind it for what it is not."""


def filters(
    rules: Rules,
    workspaces: Iterable[Workspace],
    own: Sequence[Need] = (),
    *,
    one: bool = False,
    cloudevents: bool = False,
) -> Filters:
    """Per topic, its subscriptions. `own`: what the service needs besides.
    `one`: a single subscription a topic. `cloudevents`: for delivery in that schema, whose subject is no key of an
    advanced filter.
    """
    payloads, places = _payloads(rules), _distinct(workspaces)
    finish = partial(_finished, one=one, cloudevents=cloudevents)
    topics: list[Topic] = []
    anywhere: Sequence[Workspace | None] = places or [None]
    for place in anywhere:
        units = _units(payloads["workspace"], place, rules, own)
        topics.append(Topic("workspace", place.workspace if place else "any workspace", place, finish(units)))
    for kind in _OTHER_KINDS:
        by_name: dict[str, list[Payload]] = {}
        for payload in payloads[kind]:
            by_name.setdefault(_publisher(payload), []).append(payload)
        topics += [Topic(kind, name, None, finish(_units(found, None, rules))) for name, found in by_name.items()]
    told = tuple(topic for topic in topics if topic.subscriptions)
    return Filters(rules.version, told, (*_elsewhere(rules, places), *_notes(told, cloudevents=cloudevents)))


_OTHER_KINDS: Final[tuple[Kind, ...]] = ("storage account", "other")


def _distinct(workspaces: Iterable[Workspace]) -> list[Workspace]:
    return list({tuple(str(part).casefold() for _, part in place): place for place in workspaces}.values())


def _payloads(rules: Rules) -> Mapping[str, list[Payload]]:
    """Those that some rule is for, by the kind of their topic. What the service raises itself comes from no topic."""
    asked = list(dict.fromkeys(event for rule in rules.rules for event in rule.events))
    found: dict[str, list[Payload]] = {"workspace": [], "storage account": [], "other": []}
    known = [payload for payload in PAYLOADS if payload.type in asked]
    for payload in [*known, *(other(name) for name in asked if name not in TYPES and not name.startswith(OWN))]:
        found[payload.kind].append(payload)
    return found


def _publisher(payload: Payload) -> str:
    """Of a full type: `Microsoft.Storage`; all that are not Microsoft's may share one topic of yours."""
    parts = payload.raw.split(".")
    return ".".join(parts[:2]) if parts[0].casefold() == "microsoft" else "your own topic"


# --- What a rule says of an event ---


class _Reading:
    """Conditions held against one kind of payload from one place. What they say: clauses that hold of every event that
    they match; None where they match none.
    """

    def __init__(self, payload: Payload, place: Workspace | None) -> None:
        self._payload = payload
        self._place = place

    def rule(self, rule: Rule) -> _Slots | None:
        return self.all(rule.conditions)

    def all(self, conditions: Sequence[Condition]) -> _Slots | None:
        return _meet([self.says(one) for one in conditions])

    def says(self, condition: Condition) -> _Slots | None:
        if isinstance(condition, Line):
            return self._line(condition)
        if not isinstance(condition, Block):
            return {}  # an expression: nothing is read from it
        if condition.kind == "any":
            return _join([self.all(block) for block in condition.blocks])
        return _join([self._denies(one) for one in condition.blocks[0]])

    def _denies(self, condition: Condition) -> _Slots | None:
        """What is certain where the condition is judged not to hold."""
        if isinstance(condition, Line):
            return self._no_line(condition)
        if not isinstance(condition, Block):
            return {}
        if condition.kind == "not":
            return self.all(condition.blocks[0])
        return _meet([_join([self._denies(one) for one in block]) for block in condition.blocks])

    def _line(self, line: Line) -> _Slots | None:
        name, test = line.path.name, line.test
        if name in {"workspace", "resource_group", "subscription"}:
            return self._here(name, test)
        settled = self._settled(name)
        if settled is not None:
            return {} if test.holds(settled[0]) else None
        if name == "run.is_child":
            return {} if test.holds(True) else self._no_child()
        place = self.where(name)
        if place is None:
            return {}
        clause = _shaped(place, _asked(test))
        found = {name: clause} if clause else {}
        other = test.text.removeprefix("!= ")
        if place.shape == "status" and other != test.text and other in STATUSES:
            found[f"{name}!"] = Clause(place.key, "StringNotIn", (other,))
        return found

    def _no_line(self, line: Line) -> _Slots | None:
        name, test = line.path.name, line.test
        settled = self._settled(name)
        if settled is not None:
            return None if test.holds(settled[0]) else {}
        if name == "run.is_child":
            return self._no_child() if test.holds(True) else {}
        place = self.where(name)
        if place is None:
            return {}
        if test.holds(None):
            clause = _shaped(place, Clause("", "IsNotNull"))
            return {name: clause} if clause else {}
        known = tuple(text for text in test.texts if text in STATUSES)
        if (
            place.shape == "status" and known
        ):  # elsewhere a text may differ in case alone, which Event Grid does not see
            return {f"{name}!": Clause(place.key, "StringNotIn", known)}
        return {}

    def _here(self, name: str, test: Test) -> _Slots | None:
        """The topic tells these: ids in any case, so only another name is a no."""
        if self._place is None or self._payload.kind != "workspace" or not test.texts:
            return {}
        here = str(getattr(self._place, name)).casefold()
        return {} if any(text.casefold() == here for text in test.texts) else None

    def _settled(self, name: str) -> tuple[str | None] | None:
        """The value that the field has in every event of this payload, or that none has it."""
        payload = self._payload
        if name == "type" or name in payload.always:
            return (payload.always.get(name, payload.type),)
        head = name.partition(".")[0]
        own = head in {"run", "model", "endpoint", "drift", "blob"} and head not in payload.parts
        return (None,) if name in payload.missing or (own and name in FIXED) else None

    def settles(self, line: Line) -> bool:
        """The payload alone tells whether it holds."""
        return self._settled(line.path.name) is not None

    def _no_child(self) -> _Slots:
        """Not what the payload itself calls a child, as far as a filter can see it."""
        if not self._payload.tags.startswith(RUN_TAGS):
            return {}
        return {
            "run.is_child!": Clause(RUN_TYPE, "StringNotIn", ("azureml.StepRun",)),
            "run.is_child by template!": Clause(RUN_TEMPLATE, "StringNotIn", ("automl_child",)),
        }

    def where(self, name: str) -> Place | None:
        """The key to filter by."""
        payload = self._payload
        if name in payload.fields:
            return payload.fields[name]
        if name == "subject":
            return Place("subject")
        head, _, rest = name.partition(".")
        if head == "data":
            return next((Place(f"data.{key}") for key in payload.keys if key.casefold() == rest.casefold()), None)
        table = {"tags": payload.tags, "properties": payload.properties}.get(head)
        return Place(f"{table}.{rest}") if table and _addressable(rest) else None


def _addressable(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_-]+", name) is not None


def _asked(test: Test) -> Clause | None:
    """What is certain of a text for which the test holds. The key is not known here."""
    if test.texts:
        return _clause("", "StringIn", test.texts)
    if test.choices:
        return _either([_asked(one) for one in test.choices])
    known = literals(test.patterns[0]) if test.patterns else ()
    if known:
        return _either([_clause("", _WHERE[one.where], (one.text,)) for one in known])
    return None if test.holds(None) else Clause("", "IsNotNull")


_WHERE: Final[Mapping[str, Operator]] = {
    "is": "StringIn",
    "begins": "StringBeginsWith",
    "ends": "StringEndsWith",
    "contains": "StringContains",
}
_CONTAINER: Final = "/blobServices/default/containers/"
_AROUND: Final[Mapping[tuple[str, Operator], tuple[Operator, str, str]]] = {
    ("container", "StringIn"): ("StringBeginsWith", _CONTAINER, "/blobs/"),
    ("container", "StringBeginsWith"): ("StringBeginsWith", _CONTAINER, ""),
    ("container", "StringEndsWith"): ("StringContains", "", "/blobs/"),
    ("blob", "StringIn"): ("StringEndsWith", "/blobs/", ""),
    ("blob", "StringBeginsWith"): ("StringContains", "/blobs/", ""),
    ("blob", "StringEndsWith"): ("StringEndsWith", "", ""),
    ("folder", "StringIn"): ("StringContains", "/blobs/", "/"),
    ("folder", "StringBeginsWith"): ("StringContains", "/blobs/", ""),
    ("folder", "StringEndsWith"): ("StringContains", "", "/"),
    ("file", "StringIn"): ("StringEndsWith", "/", ""),
    ("file", "StringBeginsWith"): ("StringContains", "/", ""),
    ("file", "StringEndsWith"): ("StringEndsWith", "", ""),
}
"""What is asked of the name of a container or blob, asked of the subject: the operator, and what stands around it."""


def _shaped(place: Place, asked: Clause | None) -> Clause | None:
    """The same, of the value of the key."""
    if asked is None:
        return None
    if place.shape in {"container", "blob", "folder", "file"}:
        if asked.operator == "IsNotNull":
            return None
        operator, before, behind = _AROUND.get((place.shape, asked.operator), ("StringContains", "", ""))
        return _clause(place.key, operator, tuple(f"{before}{value}{behind}" for value in asked.values))
    if place.shape == "inside" and asked.operator != "IsNotNull":
        return _clause(place.key, "StringContains", asked.values)
    if place.key == "subject" and asked.operator == "IsNotNull":
        return None
    return replace(asked, key=place.key)


def _clause(key: str, operator: Operator, values: Sequence[str]) -> Clause:
    """With values that Event Grid takes: of a longer one a part is asked for, of an empty one nothing but that it is there."""
    if "" in values:
        return Clause(key, "IsNotNull")
    if any(len(value) > LONGEST for value in values):
        operator = "StringBeginsWith" if operator == "StringIn" else operator
        ends = operator == "StringEndsWith"
        values = [value[-LONGEST:] if ends else value[:LONGEST] for value in values]
    return Clause(key, operator, _tidy(operator, values))


def _folded(text: str) -> str:
    """As Event Grid surely compares: ASCII without regard to case."""
    return text.lower() if text.isascii() else text


def _tidy(operator: Operator, values: Sequence[str]) -> tuple[str, ...]:
    """Each once, and none that another one implies already."""
    once = list({_folded(value): value for value in reversed(values)}.values())[::-1]
    if operator in {"StringIn", "StringNotIn"} or len(once) > 10 * VALUES:
        return tuple(once)
    kept = [
        value for value in once if not any(other is not value and _within(operator, value, other) for other in once)
    ]
    return tuple(kept)


def _within(operator: Operator, value: str, wider: str) -> bool:
    """Every text that this operator finds by `value` it finds by `wider` too."""
    value, wider = _folded(value), _folded(wider)
    match operator:
        case "StringBeginsWith":
            return value.startswith(wider)
        case "StringEndsWith":
            return value.endswith(wider)
        case "StringContains":
            return wider in value
        case _:
            return value == wider


# --- AND and OR of what rules say ---


_RANK: Final[Mapping[Operator, int]] = {
    "StringIn": 0,
    "StringBeginsWith": 1,
    "StringEndsWith": 1,
    "StringContains": 2,
    "IsNotNull": 3,
    "StringNotIn": 3,
}


def _meet(parts: Iterable[_Slots | None]) -> _Slots | None:
    """All of them hold. Of two clauses about one thing the narrower is kept."""
    found: dict[str, Clause] = {}
    for part in parts:
        if part is None:
            return None
        for slot, clause in part.items():
            old = found.get(slot)
            if old is None:
                found[slot] = clause
            elif clause.operator == old.operator == "StringNotIn":
                found[slot] = replace(old, values=_tidy("StringNotIn", (*old.values, *clause.values)))
            else:
                found[slot] = min(old, clause, key=lambda one: (_RANK[one.operator], len(one.values)))
    return found


def _join(parts: Sequence[_Slots | None]) -> _Slots | None:
    """One of them holds: what they have in common."""
    possible = [part for part in parts if part is not None]
    if not possible:
        return None
    found: dict[str, Clause] = {}
    for slot in dict.fromkeys(chain.from_iterable(possible)):
        common = _without(slot, possible) if slot.endswith("!") else _either([part.get(slot) for part in possible])
        if common:
            found[slot] = common
    return found


def _either(clauses: Sequence[Clause | None]) -> Clause | None:
    """The narrowest clause that each of them implies."""
    known = [clause for clause in clauses if clause is not None]
    if len(known) < len(clauses) or len({clause.key for clause in known}) > 1:
        return None
    operators = {clause.operator for clause in known}
    if "IsNotNull" in operators:
        return Clause(known[0].key, "IsNotNull")
    ends = operators - {"StringIn"}
    operator: Operator = "StringIn" if not ends else ends.pop() if len(ends) == 1 else "StringContains"
    return _clause(known[0].key, operator, tuple(chain.from_iterable(clause.values for clause in known)))


def _without(slot: str, parts: Sequence[_Slots]) -> Clause | None:
    """What none of them may be."""
    first = next(part[slot] for part in parts if slot in part)
    kept = [value for value in first.values if all(_excludes(slot, part, first.key, value) for part in parts)]
    return Clause(first.key, "StringNotIn", tuple(kept)) if kept else None


def _excludes(slot: str, part: _Slots, key: str, value: str) -> bool:
    no, yes = part.get(slot), part.get(slot[:-1])
    if no:
        return no.key == key and _folded(value) in map(_folded, no.values)
    return (
        yes is not None
        and yes.key == key
        and yes.operator == "StringIn"
        and _folded(value) not in map(_folded, yes.values)
    )


# --- Subscriptions ---


class _Unit(Struct, frozen=True):
    """A subscription in the making. `readings`: of each rule in it."""

    types: tuple[str, ...]
    slots: _Slots
    rules: tuple[tuple[Rule, _Reading], ...] = ()
    needs: tuple[str, ...] = ()


def _units(payloads: Sequence[Payload], place: Workspace | None, rules: Rules, own: Sequence[Need] = ()) -> list[_Unit]:
    found = [unit for payload in payloads if (unit := _unit(payload, place, rules))]
    return found + [
        _Unit((need.type,), {clause.key: clause for clause in need.clauses}, (), (need.name,)) for need in own
    ]


def _finished(units: Sequence[_Unit], *, one: bool, cloudevents: bool) -> tuple[Subscription, ...]:
    if one and units:
        units = [_together(units, _join([unit.slots for unit in units]) or {})]
    apart = _uncovered(_alike(units))
    return tuple(_named([sub for unit in apart for sub in _subscriptions(unit, cloudevents=cloudevents)]))


def _unit(payload: Payload, place: Workspace | None, rules: Rules) -> _Unit | None:
    """What all the rules for this payload have in common; None where none can match here."""
    reading = _Reading(payload, place)
    found = [
        (rule, slots)
        for rule in rules.rules
        if payload.type in rule.events
        if (slots := reading.rule(rule)) is not None
    ]
    common = _join([slots for _, slots in found])
    if common is None:
        return None
    if payload.has:
        common = {"it": Clause(payload.has, "IsNotNull"), **common}
    return _Unit((payload.raw,), common, tuple((rule, reading) for rule, _ in found))


def _together(units: Sequence[_Unit], slots: _Slots) -> _Unit:
    return _Unit(
        tuple(dict.fromkeys(chain.from_iterable(unit.types for unit in units))),
        slots,
        tuple(chain.from_iterable(unit.rules for unit in units)),
        tuple(chain.from_iterable(unit.needs for unit in units)),
    )


def _alike(units: Sequence[_Unit]) -> list[_Unit]:
    """Those with the same filters are one."""
    groups: dict[frozenset[Clause], list[_Unit]] = {}
    for unit in units:
        groups.setdefault(frozenset(unit.slots.values()), []).append(unit)
    return [_together(group, group[0].slots) for group in groups.values()]


def _uncovered(units: Sequence[_Unit]) -> list[_Unit]:
    """Without those whose events another one lets through anyway: they would only be delivered twice."""
    kept = list(units)
    for unit in units:
        wider = next((one for one in kept if one is not unit and unit in kept and _covers(one, unit)), None)
        if wider:
            kept.remove(unit)
            at = kept.index(wider)
            kept[at] = replace(wider, rules=wider.rules + unit.rules, needs=wider.needs + unit.needs)
    return kept


def _covers(wide: _Unit, narrow: _Unit) -> bool:
    return set(narrow.types) <= set(wide.types) and all(
        any(_implies(mine, theirs) for mine in narrow.slots.values()) for theirs in wide.slots.values()
    )


def _implies(narrow: Clause, wide: Clause) -> bool:
    if narrow.key != wide.key:
        return False
    if wide.operator == "StringNotIn":
        mine, theirs = ({_folded(value) for value in clause.values} for clause in (narrow, wide))
        return (
            theirs <= mine if narrow.operator == "StringNotIn" else narrow.operator == "StringIn" and not theirs & mine
        )
    if wide.operator == "IsNotNull":
        return narrow.operator != "StringNotIn"
    loose = narrow.operator in {"StringIn", wide.operator} or wide.operator == "StringContains"
    return (
        loose
        and bool(narrow.values)
        and narrow.operator != "StringNotIn"
        and all(any(_within(wide.operator, value, one) for one in wide.values) for value in narrow.values)
    )


def _subscriptions(unit: _Unit, *, cloudevents: bool) -> list[Subscription]:
    useful = {slot: clause for slot, clause in unit.slots.items() if not _idle(clause, unit.slots.values())}
    begins, ends, slots = _subject(useful, cloudevents=cloudevents)
    rows = _fitting(tuple(dict.fromkeys(slots.values())))
    names = tuple(dict.fromkeys((*(_written(rule) for rule, _ in unit.rules), *(f"({need})" for need in unit.needs))))
    passes = _passes(unit, slots, subject=bool(begins or ends), rows=rows)
    return [Subscription("", unit.types, begins, ends, row, names, passes) for row in rows]


def _written(rule: Rule) -> str:
    return rule.name if rule.implicit else rule.name.partition(" ")[0]


def _idle(clause: Clause, among: Iterable[Clause]) -> bool:
    """Says nothing beside another one about the same key."""
    return any(one != clause and _implies(one, clause) for one in among)


def _subject(slots: _Slots, *, cloudevents: bool) -> tuple[str, str, _Slots]:
    """How the subject begins and ends has a place of its own, for one value. `cloudevents`: and no other."""
    rest, begins, ends = dict(slots), "", ""
    for slot, clause in slots.items():
        if clause.key != "subject":
            continue
        one = len(clause.values) == 1 or cloudevents
        if clause.operator in {"StringBeginsWith", "StringIn"} and not begins and one:
            begins = _common(clause.values)
        elif clause.operator == "StringEndsWith" and not ends and one:
            ends = _common([value[::-1] for value in clause.values])[::-1]
        elif not cloudevents:
            continue
        if clause.operator != "StringIn" or cloudevents:
            del rest[slot]
    return begins, ends, rest


def _common(values: Sequence[str]) -> str:
    """How all of them begin."""
    first, last = min(values), max(values)
    return next((first[:n] for n, char in enumerate(first) if last[n : n + 1] != char), first)


def _fitting(clauses: Sequence[Clause]) -> list[tuple[Clause, ...]]:
    """Within the limits: those with few values first. One long list of texts is spread over several subscriptions, which
    share no event; any other that is too long becomes coarser.
    """
    chosen: list[Clause] = []
    spread: list[Clause] = []
    for clause in sorted(clauses, key=lambda one: (len(one.values), one.operator == "IsNotNull"))[:FILTERS]:
        room = VALUES - sum(len(one.values) for one in chosen)
        if len(clause.values) <= room:
            chosen.append(clause)
        elif (
            clause.operator == "StringIn" and room > VALUES // 2 and len(clause.values) <= room * _PIECES and not spread
        ):
            spread = [
                replace(clause, values=clause.values[at : at + room]) for at in range(0, len(clause.values), room)
            ]
        elif clause.operator != "StringNotIn":
            coarse = _coarser(clause, 0 if spread else room)
            chosen += [coarse] if coarse else []
    rows = [(*chosen, one) for one in spread] or [tuple(chosen)]
    return [tuple(sorted(row, key=lambda one: (one.key, one.operator))) for row in rows]


def _coarser(clause: Clause, room: int) -> Clause | None:
    """With at most so many values: by how they begin or end, else only that the key is there."""
    ends = clause.operator == "StringEndsWith"
    if room and clause.operator != "StringContains":
        for length in range(max(map(len, clause.values)) - 1, 0, -1):
            values = {value[-length:] if ends else value[:length] for value in clause.values}
            if len(values) <= room:
                return Clause(clause.key, "StringEndsWith" if ends else "StringBeginsWith", tuple(sorted(values)))
    return None if clause.key == "subject" else Clause(clause.key, "IsNotNull")


def _named(subscriptions: Sequence[Subscription]) -> list[Subscription]:
    found: list[Subscription] = []
    taken: set[str] = set()
    for sub in subscriptions:
        short = sub.types[0].rpartition(".")[2] if len(sub.types) == 1 else "Events"
        drift = any("modelmonitor" in clause.key for clause in sub.clauses)
        words = "Drift" if drift else short
        if sub.rules and all(name.startswith("(started") for name in sub.rules):
            words = f"Started{short}"
        stem = "switchyard" + re.sub(r"(?<![A-Z])([A-Z])", r"-\1", re.sub(r"[^A-Za-z0-9]", "", words)).lower()
        name = next(
            one
            for n in range(1, len(subscriptions) + 1)
            if (one := f"{stem[:58]}{f'-{n}' if n > 1 else ''}") not in taken
        )
        taken.add(name)
        found.append(replace(sub, name=name))
    return found


# --- In words ---


_LOOKED_UP: Final = "looked up, not in the event"
_UNADDRESSED: Final = "a name with a dot or a sign can't be addressed"
_NO_FILTER: Final = "no filter says it without losing something"
_UNDOCUMENTED: Final = "the spelling of this payload is not documented"
_OTHERS: Final = "not every rule here asks for it"
_PIECE: Final = "only pieces of the expression are a filter"
_THERE: Final = "only whether it is there is a filter"
_CHILDREN: Final = "only what calls itself a child in the event is held back"
_LIMITS: Final = "coarser than the rules, to keep the limits of a subscription"
_MIXED: Final = "texts in another case, and the values of one rule with those of another"


def _passes(unit: _Unit, slots: _Slots, *, subject: bool, rows: Sequence[Sequence[Clause]]) -> tuple[Passes, ...]:
    found: dict[str, dict[str, None]] = {}
    for rule, reading in unit.rules:
        for condition in rule.conditions:
            why = _why(reading, condition, slots, subject=subject)
            if why:
                found.setdefault(why, {})[f"{condition.text} ({_written(rule)})"] = None
    kept = {clause.key: clause.operator for row in rows for clause in row}
    coarse = {one.key: None for one in slots.values() if kept.get(one.key) not in {one.operator, "StringIn"}}
    if coarse:
        found[_LIMITS] = coarse
    return tuple(Passes(why, tuple(what)) for why, what in found.items())


def _why(reading: _Reading, condition: Condition, slots: _Slots, *, subject: bool) -> str:
    """Why this subscription lets through what the condition does not; empty where it does not."""
    said = reading.says(condition)
    if isinstance(condition, Line) and condition.path.name in {"workspace", "resource_group", "subscription"}:
        return "" if condition.test.texts else _NO_FILTER
    if said is None or (isinstance(condition, Line) and reading.settles(condition)):
        return ""
    if not said:
        return _unsaid(reading, condition)
    if any(slot not in slots and not (subject and clause.key == "subject") for slot, clause in said.items()):
        return _OTHERS
    if not isinstance(condition, Line):
        return "" if all(slot.startswith("run.") for slot in said) else _NO_FILTER
    if condition.path.name == "run.is_child":
        return _CHILDREN
    if any(clause.operator == "IsNotNull" for clause in said.values()) and condition.test.text != "present":
        return _THERE
    tests = condition.test.choices or (condition.test,)
    return "" if all(_plain(pattern) for test in tests for pattern in test.patterns) else _PIECE


def _plain(pattern: str) -> bool:
    """An expression that is one piece of text, at the beginning, at the end or anywhere."""
    found = literals(pattern)
    return len(found) == 1 and re.sub(r"[\\^$]", "", pattern) == found[0].text


def _unsaid(reading: _Reading, condition: Condition) -> str:
    if not isinstance(condition, Line):
        return _NO_FILTER
    head, _, rest = condition.path.name.partition(".")
    if condition.path.lookup:
        return _LOOKED_UP
    if head in {"tags", "properties", "data"} and not reading.where(condition.path.name):
        return _UNADDRESSED if head != "data" and not _addressable(rest) else _UNDOCUMENTED
    return _NO_FILTER


def _elsewhere(rules: Rules, workspaces: Sequence[Workspace]) -> list[str]:
    """Workspaces that rules ask for and switchyard.yaml does not know: nothing is printed for them."""
    known = {place.workspace.casefold() for place in workspaces}
    asked = {
        text: _written(rule)
        for rule in rules.rules
        for line in rule.conditions
        if isinstance(line, Line) and line.path.name == "workspace"
        for text in line.test.texts
        if text.casefold() not in known
    }
    if not workspaces:
        return ["switchyard.yaml names no workspaces: these filters are for any, whichever a rule asks for"]
    return [
        f"rule {rule!r} asks for workspace {text!r}, which is none of switchyard.yaml: nothing is printed for it"
        for text, rule in asked.items()
    ]


_CASE: Final = (
    "whether Event Grid minds the case of a key is not documented, and of tags whose names differ in case alone it may see "
    "either"
)


def _notes(topics: Sequence[Topic], *, cloudevents: bool) -> list[str]:
    notes = [
        f"keys are spelled, and always there, as Azure documents them; {_CASE}",
        f"any of them lets through {_MIXED}: the rules decide",
    ]
    if cloudevents:
        notes.append("with CloudEvents only how a subject begins and ends is a filter")
    for topic in topics:
        types = [kind for sub in topic.subscriptions for kind in sub.types]
        twice = sorted({kind for kind in types if types.count(kind) > 1})
        if twice:
            shown = ", ".join(kind.rpartition(".")[2] for kind in twice)
            notes.append(
                f"{topic.name}: several subscriptions take {shown}; an event that two of them take is delivered twice: it "
                "is done once all the same, and costs a delivery more"
            )
        if any("DatasetDriftDetected" in kind for kind in types):
            notes.append(
                f"{topic.name}: DatasetDriftDetected comes of v1 dataset monitors alone, which Azure has retired"
            )
    return notes

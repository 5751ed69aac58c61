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
from math import ceil
from os.path import commonprefix
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from shared.actions.retrain import Place as Workspace
from shared.events import OWN, TYPES
from shared.guards import CAUSE_EVENT
from shared.rules.literals import literals
from shared.rules.match import Block, Condition, Line, Test
from shared.rules.paths import FIXED
from shared.rules.payloads import (
    PAYLOADS,
    RUN_COMPLETED,
    RUN_STATUS_CHANGED,
    RUN_TAGS,
    RUN_TEMPLATE,
    RUN_TYPE,
    STATUS,
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

type Operator = Literal[
    "StringIn", "StringBeginsWith", "StringEndsWith", "StringContains", "StringNotIn", "IsNotNull"
]


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


def needs(rules: Rules) -> tuple[Need, ...]:
    """The ends of the runs that this service starts: with them it knows how many still run."""
    if not any(step.action in {"retrain", "resubmit"} for rule in rules.rules for step in rule.steps):
        return ()
    started = Clause(f"{RUN_TAGS}.{CAUSE_EVENT}", "IsNotNull")
    ended = Clause(STATUS, "StringIn", ("Completed", "Failed", "Canceled"))
    why = "the ends of runs that this service started"
    return (
        Need("started runs completed", why, RUN_COMPLETED, (started,)),
        Need("started runs ended", why, RUN_STATUS_CHANGED, (started, ended)),
    )


def filters(
    rules: Rules,
    workspaces: Iterable[Workspace],
    own: Sequence[Need] | None = None,
    *,
    one: bool = False,
    cloudevents: bool = False,
) -> Filters:
    """Per topic, its subscriptions. `own`: what the service needs besides, `needs` of these rules where it is not given.
    `one`: a single subscription a topic. `cloudevents`: for delivery in that schema, whose subject is no key of an
    advanced filter.
    """
    own = needs(rules) if own is None else own
    payloads = _payloads(rules)
    finish = partial(_topic, one=one, cloudevents=cloudevents)
    topics = [
        finish("workspace", place.workspace if place else "any workspace", place, rules, payloads["workspace"], own)
        for place in _distinct(workspaces) or [None]
    ]
    for kind in ("storage account", "other"):
        by_name: dict[str, list[Payload]] = {}
        for payload in payloads[kind]:
            by_name.setdefault(_publisher(payload), []).append(payload)
        topics += [finish(kind, name, None, rules, found, ()) for name, found in by_name.items()]
    found = tuple(topic for topic in topics if topic.subscriptions)
    return Filters(rules.version, found, (*_elsewhere(rules, _distinct(workspaces)), *_notes(found)))


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
        if self._misses(name):
            return {} if test.holds(None) else None
        if name == "run.is_child":
            return {} if test.holds(True) else self._no_child()
        place = self.where(name)
        if place is None:
            return {}
        found = {name: clause for clause in (_shaped(place, _asked(test)),) if clause}
        if place.shape == "status" and test.text.startswith("!= "):
            found[f"{name}!"] = Clause(place.key, "StringNotIn", (test.text.removeprefix("!= "),))
        return found

    def _no_line(self, line: Line) -> _Slots | None:
        name, test = line.path.name, line.test
        if self._misses(name):
            return None if test.holds(None) else {}
        if name == "run.is_child":
            return self._no_child() if test.holds(True) else {}
        place = self.where(name)
        if place is None:
            return {}
        if test.holds(None):
            clause = _shaped(place, Clause("", "IsNotNull"))
            return {name: clause} if clause else {}
        if place.shape == "status" and test.texts:  # other texts may differ in case alone, which Event Grid does not see
            return {f"{name}!": Clause(place.key, "StringNotIn", test.texts)}
        return {}

    def _here(self, name: str, test: Test) -> _Slots | None:
        """The topic tells these: ids in any case, so only another name is a no."""
        if self._place is None or self._payload.kind != "workspace" or not test.texts:
            return {}
        here = str(getattr(self._place, name)).casefold()
        return {} if any(text.casefold() == here for text in test.texts) else None

    def _misses(self, name: str) -> bool:
        """No event of this payload has the field."""
        head = name.partition(".")[0]
        own = head in {"run", "model", "endpoint", "drift", "blob"} and head not in self._payload.parts
        return name in self._payload.missing or (own and name in FIXED)

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
    known = literals(test.pattern) if test.pattern else ()
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
}
"""What is asked of the name of a container or blob, asked of the subject: the operator, and what stands around it."""


def _shaped(place: Place, asked: Clause | None) -> Clause | None:
    """The same, of the value of the key."""
    if asked is None:
        return None
    if place.shape in {"container", "blob"}:
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
    return yes is not None and yes.key == key and yes.operator == "StringIn" and _folded(value) not in map(_folded, yes.values)

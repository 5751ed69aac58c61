"""The smallest change that would have made a rule match.

Size is the number of fields that change. Of changes of one size the first is: one that can be shown with values, one that
also satisfies what cannot be looked into (`when`), the one whose numbers move least (of its own size; a change that is
no number's counts as a whole move), the one that leaves alone what names the event, the one that invents least.

A rule is taken apart into ways to hold, each a set of lines that must hold or must not. Fields do not depend on each
other, except that a part of an event (its run, its model) is there or not, and a lookup has answered or not: that is
settled first, each way in turn, and then each field by itself takes the nearest value that all of its lines allow.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Final, Literal, assert_never

from msgspec import Struct

from shared.events import Event
from shared.record import Facts
from shared.rules.change import FILLER, NECESSARY, NEEDED, Change, apply, put
from shared.rules.match import YES, Block, Condition, Line, When
from shared.rules.paths import Gap, Path, find
from shared.rules.plan import Rule, judged
from shared.rules.values import Asked, Choice, choose

type Outcome = Literal["enough", "no example", "necessary", "impossible", "too many ways"]
"""Applied, the change makes the rule match; or it would, with a text that nobody could make up here; or the rule asks
for more than can be looked into; no change helps, because its lines contradict each other; or nobody looked at all ways.
"""


class Nearest(Struct, frozen=True, omit_defaults=True):
    outcome: Outcome
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Either:
    """One of these sets has to be satisfied."""

    options: tuple[tuple["_Need", ...], ...]


type _Need = Asked | _Either
type _Token = tuple[str, object]
"""A field set to make or unmake what stands around it: a part, or the answer of a lookup."""

_STEPS: Final = 20_000
"""How much is looked through before giving up: a second or two."""

_LEAF: Final = 20
"""Steps that it takes to hold a change against the rule."""

_IDENTITY: Final = frozenset(
    {"id", "type", "time", "source", "subject", "workspace", "resource_group", "subscription", "run.id", "run.parent"}
)


def nearest_change(rule: Rule, event: Event, facts: Facts) -> Nearest:
    """For a rule that is for this type of event and does not match it."""
    needs = [need for condition in rule.conditions for need in _needs(condition, wanted=True)]
    needs.sort(key=lambda need: isinstance(need, _Either))
    search = _Search(rule, event, facts, tuple(needs))
    fields = sorted({asked.name for asked in _asked(needs)})
    for tokens in _surroundings(event, facts, fields):
        search.look(tokens)
    if search.steps > _STEPS:
        return Nearest("too many ways")
    best = search.best
    if best is None:
        return Nearest("impossible")
    if best.no_example:
        return Nearest("no example", best.changes)
    return Nearest("enough" if best.matches else "necessary", best.changes)


def _needs(condition: Condition, *, wanted: bool) -> list[_Need]:
    """What makes this condition hold, or (not `wanted`) not hold. Of what cannot be looked into: nothing."""
    match condition:
        case Line():
            return [Asked(condition, wanted)]
        case Block(kind="any") if wanted:
            return [_Either(tuple(_every(block, wanted=True) for block in condition.blocks))]
        case Block(kind="any"):
            return [_none_of(block) for block in condition.blocks]
        case Block(kind="not") if wanted:
            return [_none_of(condition.blocks[0])]
        case Block():
            return list(_every(condition.blocks[0], wanted=True))
        case When():
            return []
        case _:
            assert_never(condition)


def _every(block: Sequence[Condition], *, wanted: bool) -> tuple[_Need, ...]:
    return tuple(need for condition in block for need in _needs(condition, wanted=wanted))


def _none_of(block: Sequence[Condition]) -> _Either:
    """Lines of a block that must not hold together: one does not."""
    return _Either(tuple(tuple(_needs(condition, wanted=False)) for condition in block))


def _asked(needs: Sequence[_Need]) -> Iterator[Asked]:
    for need in needs:
        if isinstance(need, Asked):
            yield need
        else:
            for option in need.options:
                yield from _asked(option)


def _surroundings(event: Event, facts: Facts, fields: Sequence[str]) -> list[tuple[_Token, ...]]:
    """What may be made or unmade around the fields, fewest first."""
    family = [name for name in fields if name in {"run.is_child", "run.parent"}]
    job = [name for name in fields if name.startswith("job.")] or family
    metrics = [name for name in fields if name.startswith("metrics.")]
    tokens: list[list[_Token]] = []
    for part, needed in NEEDED.items():
        there = getattr(event, part) is not None
        named = any(name.startswith(f"{part}.") for name in fields)
        asks = there and part in {"run", "model"} and (job or metrics)  # without it there is nothing to look up
        if named or asks:
            name = next((name for name in needed if name in fields), needed[0])
            tokens.append([(name, None if there else FILLER)])
            if part == "run" and not there:  # a word about its family makes the run, and the job that says it
                tokens[-1] += [(name, value) for name, value in _FAMILY if name in family]
    if "run.is_child" in fields and event.run is not None and event.run.is_child is not None:
        tokens.append([("run.is_child", None)])
    tokens += [[(metrics[0], None)]] if metrics and facts.metrics is None else []
    tokens += [[(job[0], None)]] if job and facts.job is None else []
    chosen = product(*([None, *options] for options in tokens))
    return sorted((tuple(token for token in row if token) for row in chosen), key=len)


_FAMILY: Final[tuple[_Token, ...]] = (("run.is_child", False), ("run.is_child", True), ("run.parent", FILLER))


@dataclass(frozen=True, slots=True)
class _Found:
    changes: tuple[Change, ...]
    matches: bool
    no_example: bool
    rank: tuple[float, ...]


@dataclass(slots=True)
class _Ground:
    """The event as it is once its surroundings are settled, and what was chosen for its fields."""

    tokens: tuple[_Token, ...]
    event: Event
    facts: Facts
    chosen: dict[tuple[Asked, ...], Choice | None] = field(default_factory=dict)

    @property
    def least(self) -> int:
        """Changes that no field's own makes needless."""
        return sum(value is None and name in NECESSARY for name, value in self.tokens)


def _rank(size: int, names: Iterable[str], choices: dict[str, Choice], *, matches: bool) -> tuple[float, ...]:
    """Less is better; see above."""
    return (
        size,
        any(choice.kind == "text" for choice in choices.values()),
        not matches,
        sum(choices[name].distance if name in choices else 1 for name in names),
        sum(name in _IDENTITY for name in names),
        sum(choice.invented for choice in choices.values()),
    )


@dataclass(slots=True)
class _Search:
    rule: Rule
    event: Event
    facts: Facts
    needs: tuple[_Need, ...]
    best: _Found | None = None
    steps: int = 0

    def look(self, tokens: tuple[_Token, ...]) -> None:
        event, facts = self.event, self.facts
        for name, value in tokens:
            event, facts = put(name, value, event, facts)
        ground = _Ground(tokens, event, facts)
        if self._worth(ground.least):
            self._walk(ground, self.needs, {})

    def _worth(self, size: int) -> bool:
        return self.steps <= _STEPS and (self.best is None or size <= self.best.rank[0])

    def _walk(self, ground: _Ground, needs: tuple[_Need, ...], asked: dict[str, tuple[Asked, ...]]) -> None:
        self.steps += 1
        if not needs:
            self._arrive(ground, asked)
            return
        first, rest = needs[0], needs[1:]
        if isinstance(first, _Either):
            for option in first.options:
                if self._worth(0):
                    self._walk(ground, option + rest, asked)
            return
        more = asked | {first.name: (*asked.get(first.name, ()), first)}
        if self._choice(ground, more[first.name]) is None:
            return
        changing = [one for together in more.values() if (one := ground.chosen[together]) and one.changes]
        if self._worth(ground.least + len(changing)):
            self._walk(ground, rest, more)

    def _choice(self, ground: _Ground, asked: tuple[Asked, ...]) -> Choice | None:
        if asked not in ground.chosen:
            ground.chosen[asked] = self._chosen(ground, asked)
        return ground.chosen[asked]

    def _chosen(self, ground: _Ground, asked: tuple[Asked, ...]) -> Choice | None:
        path = asked[0].line.path
        value = path.get(ground.event, ground.facts)
        if isinstance(value, Gap):
            return None  # until the lookup has answered
        part = path.name.partition(".")[0]
        fixed = part in NEEDED and getattr(ground.event, part) is None
        return choose(asked, value, self.rule.events, fixed=fixed, needed=path.name in NECESSARY)

    def _arrive(self, ground: _Ground, asked: dict[str, tuple[Asked, ...]]) -> None:
        """Everything is settled: what has to change for it, and is that less than what was found before?"""
        chosen = {name: ground.chosen[together] for name, together in asked.items()}
        choices = {name: one for name, one in chosen.items() if one and one.changes}
        if self.best and _rank(ground.least + len(choices), choices, choices, matches=True) >= self.best.rank:
            return
        self.steps += _LEAF
        lines = [one for together in asked.values() for one in together]
        changes = self._changes(ground.tokens, choices)
        no_example = any(one.kind == "text" for one in changes.values())
        for name in [name for name, _ in ground.tokens if name not in choices]:
            fewer = {key: one for key, one in changes.items() if key != name}
            if self._made_by_another(name, fewer) if no_example else self._holds(lines, fewer):
                changes = fewer
        if not no_example and not self._holds(lines, changes):
            return
        matches = not no_example and self._matches(changes)
        rank = _rank(len(changes), changes, choices, matches=matches)
        if self.best is None or rank < self.best.rank:
            ordered = sorted(changes.values(), key=lambda one: self._order(one.field))
            self.best = _Found(tuple(ordered), matches, no_example, rank)

    def _changes(self, tokens: tuple[_Token, ...], choices: dict[str, Choice]) -> dict[str, Change]:
        made = {
            name: Choice("missing" if value is None else "any" if value == FILLER else "value", value, invented=9)
            for name, value in tokens
        }
        return {name: self._change(name, choice) for name, choice in (made | choices).items()}

    def _change(self, name: str, choice: Choice) -> Change:
        path = next((one.line.path for one in _asked(self.needs) if one.name == name), None) or find(name)
        assert isinstance(path, Path)
        before = path.get(self.event, self.facts)
        unknown = (before.reason or "nobody has looked") if isinstance(before, Gap) else ""
        known = None if isinstance(before, Gap) or before == () else before
        return Change(path.name, choice.kind, known, choice.value, unknown, choice.by(known), choice.limit, choice.asks)

    def _made_by_another(self, name: str, others: dict[str, Change]) -> bool:
        return any(self._group(name) == self._group(other) for other in others)

    def _group(self, name: str) -> str:
        """What comes into being with this field."""
        run = self.event.run
        if name in {"run.is_child", "run.parent"} and (run is None or run.is_child is None):
            return "job"
        return name.partition(".")[0]

    def _holds(self, lines: Sequence[Asked], changes: dict[str, Change]) -> bool:
        event, facts = apply(changes.values(), self.event, self.facts)
        return all(one.fits(one.line.path.get(event, facts)) for one in lines)

    def _matches(self, changes: dict[str, Change]) -> bool:
        event, facts = apply(changes.values(), self.event, self.facts)
        return judged(tuple(condition.judge for condition in self.rule.conditions), event, facts) == YES

    def _order(self, name: str) -> int:
        """Where the rule first speaks of it."""
        names = list(dict.fromkeys(asked.line.path.name for asked in _asked(self.needs)))
        return names.index(name) if name in names else -1

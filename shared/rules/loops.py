"""Which rules can feed each other: what an action starts raises events, and those can make a rule act again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from shared.actions import discover
from shared.events import TYPES
from shared.rollout.policy import Policy
from shared.rules.match import Line
from shared.rules.plan import Rule, Step
from shared.rules.prove import Goal, all_of, ruled_out
from shared.rules.report import has_template
from shared.rules.shapes import FROM_AZURE, SOME_TEXT, Domain, Shape, shapes

_LONGEST: Final = 3
"""Rules in one circle."""

_CAUSE: Final = ("switchyard_event", "switchyard_rule", "switchyard_depth")
"""The tags that everything we start carries."""

_ROOT: Final = "switchyard_resubmits"
_PLACE: Final = ("workspace", "resource_group", "subscription")
_ROLLOUT: Final = tuple(name for name in TYPES if name.startswith("Rollout"))
_OURS: Final = frozenset(TYPES) - frozenset(FROM_AZURE)
"""What only the service itself raises."""


ENDED: Final = ("ActionCompleted", "ActionFailed")
"""How what is followed ends."""

_ALL: Final[Goal] = all_of(())


@dataclass(frozen=True)
class Caused:
    """Events of one type that an action leads to. `kept`: conditions of its rule that hold for them too; `carried`: where
    they say that they are of what we start, if they do; `sure`: whether they follow from the action alone.
    """

    type: str
    shapes: tuple[Shape, ...]
    kept: Goal = _ALL
    carried: Literal["", "tags", "properties"] = ""
    sure: bool = True


@dataclass(frozen=True)
class Arrow:
    """What a step of one rule leads to makes another rule act."""

    rule: Rule
    step: Step
    caused: Caused
    then: Rule


@dataclass(frozen=True)
class _Graph:
    rules: Sequence[Rule]
    policies: Mapping[str, Policy]
    types: frozenset[str]
    _from: dict[int, list[Arrow]] = field(default_factory=dict)

    def arrows(self, at: int) -> list[Arrow]:
        if at not in self._from:
            self._from[at] = list(self._found(self.rules[at]))
        return self._from[at]

    def _found(self, rule: Rule) -> Iterator[Arrow]:
        for step in rule.steps:
            for caused in self._caused(rule, step):
                for then in self.rules:
                    if caused.type in then.events and not ruled_out(
                        [caused.kept, all_of(then.conditions)], caused.shapes
                    ):
                        yield Arrow(rule, step, caused, then)

    def _caused(self, rule: Rule, step: Step) -> Iterator[Caused]:
        if step.action in _OUTSIDE:
            yield from (Caused(one, shapes(one), sure=False) for one in sorted(self.types - _OURS))
        elif step.action in _LEADS:
            yield from _LEADS[step.action](rule, step, self.policies)
        if _goes_on(step.action):
            yield from _followed(rule, step)


def _leads(action: str) -> bool:
    return action in _LEADS or action in _OUTSIDE or _goes_on(action)


def _goes_on(action: str) -> bool:
    """Whether its end is an event."""
    known = discover().get(action)
    return known is not None and known.look is not None


def circles(rules: Sequence[Rule], policies: Mapping[str, Policy]) -> list[tuple[Arrow, ...]]:
    """The ways in which rules come back to themselves, the surest of each. One that has a shorter one within it is left out."""
    acting = [rule for rule in rules if any(_leads(step.action) for step in rule.steps)]
    graph = _Graph(acting, policies, frozenset(event for rule in acting for event in rule.events))
    number = {id(rule): n for n, rule in enumerate(acting)}
    found: dict[tuple[int, ...], tuple[Arrow, ...]] = {}
    for length in range(1, _LONGEST + 1):
        for path in (path for start in range(len(acting)) for path in _paths(graph, number, start, length)):
            if all(arrow.step.action == "resubmit" for arrow in path):
                continue  # its limit ends it
            key = tuple(number[id(arrow.rule)] for arrow in path)
            if any(len(other) < length and set(other) <= set(key) for other in found):
                continue
            if key not in found or _doubt(path) < _doubt(found[key]):
                found[key] = path
    return list(found.values())


def _doubt(path: Sequence[Arrow]) -> int:
    return sum(not arrow.caused.sure for arrow in path)


def _paths(graph: _Graph, number: Mapping[int, int], start: int, length: int) -> Iterator[tuple[Arrow, ...]]:
    """The circles of this length whose first rule is `start`, and no other before it."""

    def go(path: tuple[Arrow, ...], at: int) -> Iterator[tuple[Arrow, ...]]:
        for arrow in graph.arrows(at):
            to = number[id(arrow.then)]
            if len(path) + 1 == length:
                if to == start:
                    yield (*path, arrow)
            elif to > start and all(arrow.then is not one.rule for one in path):
                yield from go((*path, arrow), to)

    yield from go((), start)


# What follows from an action


def _retrain(rule: Rule, step: Step, _: Mapping[str, Policy]) -> Iterator[Caused]:
    """Its run, with the tags we give it; and the model that its job registers, with tags of the job's own."""
    place = step.params.get("workspace")
    fields = {name: _given(value) for name, value in place.items()} if isinstance(place, dict) else {}
    kept = _kept(rule, () if fields else _PLACE)
    tags = step.params.get("tags")
    run = {
        **fields,
        **_tags(rule, tags if isinstance(tags, dict) else {}),
        "run.experiment": _given(step.params.get("experiment")),
    }
    for type_ in ("RunStatusChanged", "RunCompleted"):
        yield Caused(type_, _closed(_runs(type_), run), kept, carried="tags")
    models = tuple(shape.with_fields(fields) for shape in shapes("ModelRegistered"))
    yield Caused("ModelRegistered", models, kept)


def _batch(rule: Rule, step: Step, _: Mapping[str, Policy]) -> Iterator[Caused]:
    """Its run, whose properties say what led here; its tags are those of the deployment."""
    place = step.params.get("workspace")
    fields = {name: _given(value) for name, value in place.items()} if isinstance(place, dict) else {}
    run = {
        **fields,
        **_tags(rule, {}, "properties"),
        "run.experiment": _given(step.params.get("experiment") or step.params.get("endpoint")),
    }
    for type_ in ("RunStatusChanged", "RunCompleted"):
        found = tuple(shape.with_fields(run) for shape in _runs(type_))
        yield Caused(type_, found, _kept(rule, () if fields else _PLACE), carried="properties")


def _resubmit(rule: Rule, step: Step, _: Mapping[str, Policy]) -> Iterator[Caused]:
    """The same run again."""
    del step
    kept = _kept(rule, (*_PLACE, "run.experiment", "run.type"), "tags.")
    tags = {f"tags.{name}": SOME_TEXT for name in (*_CAUSE, _ROOT)}
    for type_ in ("RunStatusChanged", "RunCompleted"):
        found = tuple(shape.with_fields(tags) for shape in _runs(type_))
        yield Caused(type_, found, kept, carried="tags")


def _promote(rule: Rule, step: Step, policies: Mapping[str, Policy]) -> Iterator[Caused]:
    """How the rollout goes, with the tags of what we start and no others; and the deployment, as Azure reports it."""
    policy = policies.get(str(step.params.get("policy")))
    where = policy.workspace if policy else None
    fields = {
        "endpoint.name": _given(step.params.get("endpoint")),
        "model.name": _given(step.params.get("model")),
        "model.version": _given(step.params.get("version")),
    }
    if where is not None:
        fields |= {name: _given(getattr(where, name)) for name in _PLACE}
    handed = ("model.name", "model.version") if has_template(step.params.get("model")) else ()
    kept = _kept(rule, (*(() if where else _PLACE), *handed))
    for type_ in _ROLLOUT:
        told = fields | _tags(rule, {}) | {"data.policy": _given(step.params.get("policy"))}
        yield Caused(type_, _closed(shapes(type_), told), kept, carried="tags")
    deployed = tuple(shape.with_fields(fields) for shape in shapes("ModelDeployed") if "model.name" in shape.fields)
    yield Caused("ModelDeployed", deployed, kept)


def _followed(rule: Rule, step: Step) -> Iterator[Caused]:
    """Its end, with what the event behind it had, and the tags of what we start."""
    fields = {f"tags.{name}": SOME_TEXT for name in _CAUSE}
    fields |= {"data.rule": _given(rule.name), "data.action": _given(step.action)}
    kept = _kept(rule, (*(() if step.params.get("workspace") else _PLACE), "model.name", "model.version"), "tags.")
    for type_ in ENDED:
        yield Caused(type_, tuple(shape.with_fields(fields) for shape in shapes(type_)), kept, carried="tags")


def _expect(rule: Rule, step: Step, _: Mapping[str, Policy]) -> Iterator[Caused]:
    del step
    fields = {"data.rule": _given(rule.name)}
    yield Caused("ExpectedEventMissing", tuple(one.with_fields(fields) for one in shapes("ExpectedEventMissing")))


_LEADS: Final = {
    "retrain": _retrain,
    "batch": _batch,
    "resubmit": _resubmit,
    "promote": _promote,
    "expect": _expect,
}
_OUTSIDE: Final = frozenset({"dispatch", "azure_pipelines", "jenkins", "webhook", "data_factory", "synapse"})
"""Whoever is called may do anything."""


def _kept(rule: Rule, names: Sequence[str], head: str = " ") -> Goal:
    """The lines of the rule about what its action hands on."""
    lost = {f"tags.{name}" for name in (*_CAUSE, _ROOT)}
    return all_of(
        one
        for one in rule.conditions
        if isinstance(one, Line)
        and (one.path.name in names or one.path.name.startswith(head))
        and one.path.name not in lost
    )


def _given(value: object) -> Domain:
    """A value that the configuration gives; where a template makes it, nobody knows which."""
    if value is None or has_template(value):
        return SOME_TEXT
    return Domain("text", missing=False, only=(str(value),))


def _tags(rule: Rule, given: Mapping[object, object], head: str = "tags") -> dict[str, Domain]:
    found = {f"{head}.{name}": _given(value) for name, value in given.items()}
    event, named, depth = _CAUSE
    return found | {f"{head}.{event}": SOME_TEXT, f"{head}.{named}": _given(rule.name), f"{head}.{depth}": SOME_TEXT}


def _runs(type_: str) -> tuple[Shape, ...]:
    """Its shapes that have a run which is nobody's child."""
    return tuple(
        shape for shape in shapes(type_) if "run.id" in shape.fields and shape.fields["run.is_child"].only == (False,)
    )


def _closed(among: Sequence[Shape], fields: Mapping[str, Domain]) -> tuple[Shape, ...]:
    """With these tags and no others."""
    return tuple(
        Shape(one.type, {**one.fields, **fields}, {head: state for head, state in one.heads.items() if head != "tags"})
        for one in among
    )

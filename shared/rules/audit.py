"""What is no mistake in the rules, and hardly what anybody means: warnings, each with its place and what to do."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from shared import messages
from shared.rules.load import ARRIVED, MISSING, ORPHANS, TELL, UNTOLD, Loaded
from shared.rules.loops import ENDED, Arrow, circles
from shared.rules.match import PRESENT, Block, Condition, Line, When, line
from shared.rules.paths import Path, find
from shared.rules.plan import Rule, Step
from shared.rules.prove import Example, all_of, example, implies, not_all_of, possible, ruled_out
from shared.rules.shapes import FROM_AZURE, NOTHING, shapes


@dataclass(frozen=True, order=True)
class Finding:
    """`code` names its kind. `also`: places of what else it is about. A `note` is worth a look, and no warning."""

    file: str
    line: int
    column: int
    message: str
    code: str
    also: tuple[str, ...] = ()
    note: bool = False


def audit(loaded: Loaded) -> tuple[Finding, ...]:
    """All findings about the rules in force, and what is written in the spelling of the last minor version, in order of their places."""
    rules = loaded.rules.rules
    found = [finding for rule in rules if _asks(rule) for finding in _matching(rule)]
    found += _shadowed(rules)
    found += _overlaps(rules)
    found += _circles(loaded)
    found += [Finding(one.file, one.line, one.column, one.message, "former") for one in loaded.former]
    if not loaded.rejected_files:
        found += _unused(loaded)
    return tuple(sorted(dict.fromkeys(found)))


def _place(rule: Rule) -> tuple[str, int, int]:
    return rule.file, rule.line, rule.column


def _asks(rule: Rule) -> bool:
    """Whether somebody wrote its lines: an implicit rule, and the second and third part of an absence rule, has our own."""
    return not (rule.implicit or rule.name.endswith((ARRIVED, MISSING)))


def _at(rule: Rule) -> str:
    return f"{rule.file}:{rule.line}:{rule.column}"


def _said(rule: Rule) -> str:
    return f"{rule.name!r} ({rule.file}:{rule.line})" if not rule.implicit else f"{rule.name!r} ({rule.file})"


def _rule(rule: Rule, code: str, message: str, also: Iterable[str] = (), *, note: bool = False) -> Finding:
    return Finding(*_place(rule), message, code, tuple(also), note=note)


def _line(one: Condition, code: str, message: str, also: Iterable[str] = ()) -> Finding:
    return Finding(one.file, one.line, one.column, message, code, tuple(also))


def _or(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def _a(types: Sequence[str]) -> str:
    """One event of these types."""
    return f"{'an' if types[0][0] in 'AEIO' else 'a'} {_or(types)}"


def _and(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


# What never matches


def _matching(rule: Rule) -> Iterator[Finding]:
    lines = list(_lines(rule.conditions))
    lacks = {id(one): tuple(type_ for type_ in rule.events if _lacks(one.path, type_)) for one in lines}
    blamed: set[tuple[str, int]] = set()
    for one in lines:
        without, empty = lacks[id(one)], one.test.holds(None)
        if len(without) == len(rule.events):
            has = [type_ for type_ in FROM_AZURE if not _lacks(one.path, type_)]
            instead = f"; {_or(has)} has it" if has and len(has) <= _FEW else ""
            held = "always" if empty else "never"
            message = (
                f"rule {rule.name!r}: no {_or(without)} has {one.path.name}, so that this line {held} holds{instead}"
            )
            yield _line(one, "field", message, [_at(rule)])
        elif without and not empty and one in rule.conditions:
            message = f"rule {_named(rule, [one])!r} never matches {_a(without)}, which has no {one.path.name}"
            said = f"{message}: leave that type out of 'event', or write a rule of its own for it"
            yield _line(one, "field", said, [_at(rule)])
        if not empty and one in rule.conditions:
            blamed |= {(type_, id(one)) for type_ in without}
    yield from _expressions(rule)
    unexplained = [type_ for type_ in rule.events if not any(type_ == known for known, _ in blamed)]
    yield from _impossible(rule, [type_ for type_ in unexplained if not possible(rule.conditions, type_)])


_FEW: Final = 3
"""Types that are named where another one has a field."""


def _lines(conditions: Iterable[Condition]) -> Iterator[Line]:
    for one in conditions:
        if isinstance(one, Line):
            yield one
        elif isinstance(one, Block):
            for block in one.blocks:
                yield from _lines(block)


def _lacks(path: Path, type_: str) -> bool:
    return all(shape.domain(path) == NOTHING for shape in shapes(type_))


def _expressions(rule: Rule) -> Iterator[Finding]:
    """What `when` names, and no event of the rule's types has; and where it may be meant otherwise."""
    for when in (one for one in rule.conditions if isinstance(one, When)):
        for hint in when.hints:
            yield _line(when, "when", f"rule {_named(rule, [when])!r}: {hint}", [_at(rule)])
        for name in when.fields:
            path = find(name)
            if isinstance(path, Path) and all(_lacks(path, type_) for type_ in rule.events):
                message = f"rule {_named(rule, [when])!r}: no {_or(rule.events)} has {name}, which 'when' names"
                yield _line(when, "field", message, [_at(rule)])


def _impossible(rule: Rule, types: Sequence[str]) -> Iterator[Finding]:
    """The lines that cannot hold together, for each type; types with the same ones in one sentence."""
    cores: dict[tuple[int, ...], list[str]] = {}
    for type_ in types:
        cores.setdefault(_core(rule.conditions, type_), []).append(type_)
    for core, of in cores.items():
        chosen = [rule.conditions[n] for n in core]
        last = max(chosen, key=lambda one: (one.file, one.line, one.column))
        others = [one for one in chosen if one is not last]
        what = "never matches" if len(of) == len(rule.events) else f"never matches {_a(of)}"
        message = f"rule {_named(rule, chosen)!r} {what}: {_why(chosen, last, of)}"
        also = [_at(rule), *(f"{one.file}:{one.line}:{one.column}" for one in others)]
        yield _line(last, "never", message, also)


def _named(rule: Rule, lines: Sequence[Condition]) -> str:
    """The rule as written; a part of it by its own name, where a line of another file matters."""
    return rule.name if any(one.file != rule.file for one in lines) else rule.name.partition(" (")[0]


def _core(conditions: Sequence[Condition], type_: str) -> tuple[int, ...]:
    """The fewest conditions, as far as leaving out one by one shows it, that no event of the type matches."""
    chosen = list(range(len(conditions)))
    for n in range(len(conditions)):
        rest = [m for m in chosen if m != n]
        if not possible([conditions[m] for m in rest], type_):
            chosen = rest
    return tuple(chosen)


def _why(chosen: Sequence[Condition], last: Condition, types: Sequence[str]) -> str:
    if len(chosen) == 1:
        only = _only(last, types)
        return f"no {_or(types)} has {last.text}{only}"
    fields = {one.path.name: one for one in _lines(chosen)}
    alone = [line(one.path, PRESENT, (one.line, one.column), one.file) for one in fields.values()]
    plain = all(isinstance(one, Line) and not one.test.holds(None) for one in chosen)
    if plain and not any(possible(alone, type_) for type_ in types):
        return f"no {_or(types)} has {_and(fields)} at once: ask for one of them only"
    others = [f"{one.text} ({_beside(one, last)})" for one in chosen if one is not last]
    return f"{_and([*others, last.text])} exclude each other"


def _beside(one: Condition, other: Condition) -> str:
    return f"line {one.line}" if one.file == other.file else f"{one.file}:{one.line}"


def _only(one: Condition, types: Sequence[str]) -> str:
    """What the field of a line says instead, where it always says the same."""
    if not isinstance(one, Line):
        return ""
    known = {shape.domain(one.path).only for type_ in types for shape in shapes(type_)} - {()}
    if len(known) != 1 or None in known:
        return ""
    return f": its {one.path.name} is {_or(str(value) for value in known.pop() or ())}"


# What is never reached


def _shadowed(rules: Sequence[Rule]) -> Iterator[Finding]:
    """Rules all of whose events an earlier `stop` ends, or several of them together."""
    for n, rule in enumerate(rules):
        if not _asks(rule):
            continue
        before = [one for one in rules[:n] if one.stop and _place(one) != _place(rule)]
        lost: dict[tuple[int, ...], list[str]] = {}
        for type_ in rule.events:
            stops = [one for one in before if type_ in one.events]
            if stops and possible(rule.conditions, type_) and _covered(rule, stops, type_):
                lost.setdefault(_needed(rule, stops, type_, before), []).append(type_)
        for blockers, types in lost.items():
            by = [before[m] for m in blockers]
            reached = "is never reached" if len(types) == len(rule.events) else f"is never reached by {_a(types)}"
            who = "stops" if len(by) == 1 else "together stop"
            message = (
                f"rule {rule.name!r} {reached}: {_and(map(_said, by))} {who} all that it matches; "
                "put it before, or narrow what is stopped"
            )
            yield _rule(rule, "shadowed", message, map(_at, by))


def _covered(rule: Rule, stops: Sequence[Rule], type_: str) -> bool:
    goals = [all_of(rule.conditions), *(not_all_of(one.conditions) for one in stops)]
    return ruled_out(goals, shapes(type_, doubt=True))


def _needed(rule: Rule, stops: Sequence[Rule], type_: str, before: Sequence[Rule]) -> tuple[int, ...]:
    chosen = list(stops)
    for one in reversed(stops):
        rest = [other for other in chosen if other is not one]
        if rest and _covered(rule, rest, type_):
            chosen = rest
    return tuple(n for n, one in enumerate(before) if any(one is other for other in chosen))


# Who is told twice


@dataclass(frozen=True)
class _Told:
    """One step that tells somebody: at which address."""

    rule: Rule
    step: Step
    address: tuple[str, str]
    order: int


def _overlaps(rules: Sequence[Rule]) -> Iterator[Finding]:
    """Two rules, or two steps of one, that send the same to the same address about one event."""
    by_address: dict[tuple[str, str], list[_Told]] = {}
    for order, rule in enumerate(rules):
        for step in rule.steps if rule.name not in {ORPHANS, TELL, UNTOLD} else ():
            for address in _addresses(step):
                by_address.setdefault(address, []).append(_Told(rule, step, address, order))
    pairs: dict[tuple[int, int], list[tuple[_Told, _Told]]] = {}
    for told in by_address.values():
        for one, other in combinations(told, 2):
            if one.step is not other.step:
                pairs.setdefault((one.order, other.order), []).append((one, other))
    for (first, second), both in pairs.items():
        if rules[first].implicit and rules[second].implicit:
            continue
        yield from _twice(rules, first, second, both)


def _addresses(step: Step) -> Iterator[tuple[str, str]]:
    """Where its first word goes: a later one of an escalation is sent only if nobody has taken care."""
    if step.tells and not step.after:
        for name in ("url", "to"):
            value = step.params.get(name, ())
            for one in [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else []:
                yield step.action, str(one)


def _twice(rules: Sequence[Rule], first: int, second: int, both: Sequence[tuple[_Told, _Told]]) -> Iterator[Finding]:
    one, other = rules[first], rules[second]
    if (
        (one.active, one.mute) != (other.active, other.mute)
        and (one.active or one.mute)
        and (other.active or other.mute)
    ):
        return  # at different times
    found: dict[tuple[str, str, bool], list[str]] = {}
    for type_ in one.events:
        if type_ not in other.events:
            continue
        goals = [all_of((*one.conditions, *other.conditions))]
        goals += [not_all_of(stop.conditions) for stop in rules[:second] if stop.stop and type_ in stop.events]
        shown = example(goals, shapes(type_))
        if shown is None:
            continue
        for same in (True, False):
            who = _who([pair for pair in both if _alike(pair, shown) is same])
            if who:
                found.setdefault((who, _common((*one.conditions, *other.conditions), type_), same), []).append(type_)
    for (who, common, same), types in found.items():
        of = f"{_a(types)}{common}"
        if one is other:
            message = f"rule {one.name!r} tells {who} of {of} twice: by two steps with one address; leave one out"
        elif same:
            message = (
                f"rules {_said(one)} and {_said(other)} both tell {who} of {of}, in the same words: "
                "let one of them leave out what the other matches"
            )
        else:
            message = f"rules {_said(one)} and {_said(other)} both tell {who} of {of}, each in its own words"
        at, away = (one, other) if other.implicit else (other, one)
        yield _rule(at, "twice", message, [_at(away)], note=not same)


def _alike(pair: tuple[_Told, _Told], shown: Example) -> bool:
    first, second = (told.step.params.get("template") or messages.default_for(shown.event) for told in pair)
    return first == second


def _who(pairs: Sequence[tuple[_Told, _Told]]) -> str:
    """Receivers by name; where a rule names none, the channel."""
    found: dict[tuple[str, ...], list[str]] = {}
    for one, other in pairs:
        names = sorted({told.step.receiver or told.step.action for told in (one, other)})
        channels = found.setdefault(tuple(names), [])
        if one.step.action not in channels:
            channels.append(one.step.action)
    alone = {(names[0], channel) for names, channels in found.items() if len(names) == 1 for channel in channels}
    said = [
        _reached(names, channels)
        for names, channels in found.items()
        if len(names) == 1 or not all((name, channel) in alone for name in names for channel in channels)
    ]
    return _and(said) if said else ""


def _reached(names: Sequence[str], channels: Sequence[str]) -> str:
    if len(names) > 1:
        return f"{_and(names)}, who share an address ({', '.join(channels)}),"
    return names[0] if channels == [names[0]] else f"{names[0]} ({', '.join(channels)})"


def _common(conditions: Sequence[Condition], type_: str) -> str:
    """The events that both match, in words: without what follows from the rest."""
    chosen = list({one.text: one for one in conditions}.values())
    for one in list(chosen):
        rest = [other for other in chosen if other is not one]
        if implies(rest, [one], type_):
            chosen = rest
    return f" with {_and(one.text for one in chosen)}" if chosen else ""


# What nobody uses


_NAMED: Final[Mapping[str, str]] = {
    "receivers": "receiver",
    "pipelines": "pipeline",
    "calendars": "calendar",
    "schedules": "schedule",
    "templates": "template",
}


def _unused(loaded: Loaded) -> Iterator[Finding]:
    sections = loaded.config.model_dump().values()
    used = {word for section in sections if isinstance(section, dict) for word in _words(list(section.values()))}
    for rule in (*loaded.rules.rules, *loaded.idle):
        used |= {*rule.active, *rule.mute}
        for step in rule.steps:
            used |= {step.receiver, step.schedule, step.pipeline, str(step.params.get("template", ""))}
    builtin = messages.builtin_names()
    for section, word in _NAMED.items():
        for name, place in loaded.declared.get(section, {}).items():
            if name in used or (section == "templates" and name in builtin):
                continue
            file, at, column = place.rsplit(":", 2)
            message = f"{word} {name!r} is used by no rule: leave it out, or name it in one"
            yield Finding(file, int(at), int(column), message, "unused")


def _words(value: object) -> Iterator[str]:
    """Every text in a tree of values, its keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from _words(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _words(inner)


# What feeds itself


def _circles(loaded: Loaded) -> Iterator[Finding]:
    rules = [rule for rule in loaded.rules.rules if not rule.implicit]
    for path in circles(rules, loaded.policies):
        sure = all(arrow.caused.sure for arrow in path)
        told = list(dict.fromkeys(_said(arrow.rule) for arrow in path))
        can = "can" if sure else "may"
        who = f"rules {_and(told)} {can} feed each other" if len(told) > 1 else f"rule {told[0]} {can} feed itself"
        message = f"{who}: {'; '.join(map(_arrow, path))}. No line rules that out{_remedy(path)}"
        yield _rule(path[0].rule, "loop", message, [_at(arrow.rule) for arrow in path[1:]], note=not sure)


def _arrow(arrow: Arrow) -> str:
    step = arrow.step
    match step.action:
        case "retrain":
            does = f"retrains {step.pipeline or step.params.get('source')}"
        case "resubmit":
            does = "submits a run again"
        case "batch":
            does = f"invokes {step.params.get('endpoint')}"
        case "promote":
            does = f"promotes by {step.params.get('policy')}"
        case "expect":
            does = "expects an event in vain"
        case other:
            does = f"calls out by {other}"
    by = " that its job registers" if (step.action, arrow.caused.type) == ("retrain", "ModelRegistered") else ""
    may = "may make" if not arrow.caused.sure else "makes"
    return f"{arrow.rule.name!r} {does}, and {_a([arrow.caused.type])}{by} {may} {arrow.then.name!r} act"


def _remedy(path: Sequence[Arrow]) -> str:
    told = next((arrow for arrow in path if arrow.caused.carried and arrow.caused.type not in ENDED), None)
    ended = next((arrow for arrow in path if arrow.caused.type in ENDED), None)
    if told is None and ended is not None:
        return f": the end of what {_said(ended.rule)} starts always carries our tags, and `limits.depth` ends the circle; ask for more in {_said(ended.then)}"
    if told is not None:
        field = f"{told.caused.carried}.switchyard_rule"
        return f": ask for '{field}: absent' in {told.then.name!r}, which what we start carries"
    return ", and nothing in it carries our tags, so that the causal depth does not end it: ask for what only outside events have"

"""Why, and why not: every rule held against one event, line by line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

import msgspec

from shared.calendars import Calendar
from shared.events import Event
from shared.record import Checked, Facts, Intent, Lookup, Terms
from shared.rollout.hours import written
from shared.rules.change import Change
from shared.rules.match import WAITING, YES, shown
from shared.rules.near import Nearest, nearest_change
from shared.rules.plan import DELIVERIES, NEEDS, Rule, Rules, plan
from shared.rules.worth import in_words as asked_of

type Outcome = Literal["matched", "undecided", "stopped", "missed", "other event"]

_ORDER: Final[dict[Outcome, int]] = {"matched": 0, "undecided": 1, "stopped": 2, "missed": 3, "other event": 4}


@dataclass(frozen=True)
class Explained:
    """One line of a rule, with its place: in its own file, or in that of the policy which it promotes with. `state`: it
    held, failed, or waits for a lookup.
    """

    checked: Checked
    line: int
    column: int
    state: Literal["held", "failed", "waits"]
    file: str


@dataclass(frozen=True)
class Explanation:
    """One rule. `by`: the rule that stopped it, or that it waits for; `events`: the types it is for; `change`: of one that
    was missed, the smallest that would have matched. `terms`: how often and when it fires, in words.
    """

    rule: str
    file: str
    line: int
    outcome: Outcome
    events: tuple[str, ...]
    lines: tuple[Explained, ...] = ()
    intents: tuple[Intent, ...] = ()
    by: str = ""
    needs: tuple[Lookup, ...] = ()
    change: Nearest | None = None
    terms: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        return sum(line.state == "failed" for line in self.lines)


_NOTHING: Final = Facts()
_NO_HOURS: Final[Mapping[str, Calendar]] = {}


def explain(
    rules: Rules,
    event: Event,
    facts: Facts = _NOTHING,
    *,
    changes: int | None = None,
    hours: Mapping[str, Calendar] = _NO_HOURS,
) -> list[Explanation]:
    """Matched rules first, then those nearest to matching (fewest failed lines), then those for other events. `changes`:
    for how many of those that were missed the smallest change is looked for, if not for all. `hours`: calendars, asked about
    the time of the event.
    """
    decision = plan(rules, event, facts)
    verdicts = {verdict.rule: verdict for verdict in decision.verdicts}
    found = []
    for rule in rules.rules:
        if event.type not in rule.events:
            found.append((rule, Explanation(rule.name, rule.file, rule.line, "other event", rule.events)))
            continue
        verdict = verdicts.get(rule.name)
        intents = tuple(one for one in decision.intents if one.rule == rule.name)
        outcome: Outcome = verdict.outcome if verdict and verdict.outcome != "error" else "missed"
        by = verdict.by if verdict else ""
        lines, needs = _lines(rule, event, facts)
        told = Explanation(rule.name, rule.file, rule.line, outcome, rule.events, lines, intents, by, needs)
        found.append((rule, replace(told, terms=_terms(rule, hours, event.time)) if intents else told))
    found.sort(key=lambda pair: (_ORDER[pair[1].outcome], pair[1].failed))
    missed = [rule for rule, one in found if one.outcome == "missed"][:changes]
    nearest = {rule.name: nearest_change(rule, event, facts) for rule in missed}
    return [replace(one, change=nearest.get(one.rule)) for _, one in found]


def _terms(rule: Rule, hours: Mapping[str, Calendar], at: datetime) -> tuple[str, ...]:
    """How often it fires, and whether it may then."""
    found = []
    if rule.throttle is not None:
        by = f" by {', '.join(path.name for path in rule.throttle.by)}" if rule.throttle.by else ""
        wanted = rule.throttle.says or rule.throttle.threshold
        counted = f", {wanted} parts" if rule.throttle.kind in DELIVERIES and wanted else ""
        marker = f", marker {rule.throttle.marker}" if rule.throttle.marker else ""
        threshold = counted + marker or (f", {wanted} of them" if wanted else "")
        found.append(f"{rule.throttle.kind} {written(rule.throttle.seconds)}{threshold}{by}")
    for word, names in (("active", rule.active), ("mute", rule.mute)):
        known = [hours[name] for name in names if name in hours]
        covered = any(one.covers(at) for one in known)
        now = "" if not known else "then" if covered else "not then"
        found += [f"{word} {', '.join(names)}{f': {now}' if now else ''}"] if names else []
    return tuple(found)


def _lines(rule: Rule, event: Event, facts: Facts) -> tuple[tuple[Explained, ...], tuple[Lookup, ...]]:
    """Its lines, and the lookups that they wait for."""
    lines, waits = [], 0
    for condition in rule.conditions:
        code = condition.judge(event, facts)
        waits |= code & WAITING
        state: Literal["held", "failed", "waits"] = "held" if code == YES else "waits" if code & WAITING else "failed"
        lines.append(Explained(condition.check(event, facts), condition.line, condition.column, state, condition.file))
    return tuple(lines), NEEDS[waits]


def as_json(explanations: Sequence[Explanation]) -> str:
    return msgspec.json.format(msgspec.json.encode(explanations), indent=2).decode()


_MARKS: Final = {"held": "✓", "failed": "✗", "waits": "?"}


def as_text(explanations: Sequence[Explanation]) -> str:
    """For a terminal: one paragraph a rule, the rules for other events in one line."""
    told = [_paragraph(one) for one in explanations if one.outcome != "other event"]
    others = [one.rule for one in explanations if one.outcome == "other event"]
    if others:
        word = "rule is" if len(others) == 1 else "rules are"
        told.append(f"{len(others)} {word} for other events: {', '.join(others)}")
    return "\n\n".join(told or ["There are no rules."]) + "\n"


def _paragraph(one: Explanation) -> str:
    rows = [f"{_headline(one)}  ({one.file}:{one.line})"]
    width = max((len(_expected(line.checked)) for line in one.lines), default=0)
    width = min(width, 48)
    for line in one.lines:
        place = f"line {line.line}" if line.file == one.file else f"{line.file}:{line.line}"
        place = f"  {place}" if line.state != "held" else ""
        rows.append(f"  {_MARKS[line.state]} {_expected(line.checked):<{width}}  {_actual(line)}{place}".rstrip())
    if not one.lines:
        rows.append("  ✓ every event of its type: it has no conditions")
    rows += [f"  → {intent.action} {_target(intent)}".rstrip() for intent in one.intents]
    rows += [f"  · {said}" for said in one.terms]
    rows += [f"  → {in_words(one.change)}"] if one.change else []
    return "\n".join(rows)


def _headline(one: Explanation) -> str:
    match one.outcome:
        case "matched":
            return f"MATCHED  {one.rule}"
        case "undecided":
            stop = f"rule {one.by!r}, which may stop it" if one.by else ""
            lookup = f"the lookup of {' and '.join(one.needs)}" if one.needs else ""
            return f"WAITS    {one.rule}: for {' and '.join(part for part in (lookup, stop) if part)}"
        case "stopped":
            return f"STOPPED  {one.rule}: it matches, and {one.by!r} before it says stop"
        case "missed" | "other event":
            return f"missed   {one.rule}: {one.failed} of {len(one.lines)} lines failed"


def _expected(checked: Checked) -> str:
    return checked.expected if checked.path in {"any", "not"} else f"{checked.path} {checked.expected}"


def _actual(line: Explained) -> str:
    """A line's value; a block says in its note what its lines saw."""
    checked = line.checked
    if checked.note and (line.state == "waits" or checked.path in {"any", "not"}):
        return checked.note
    return f"is {shown(checked)}" + (f" ({checked.note})" if checked.present and checked.note else "")


def _target(intent: Intent) -> str:
    """What tells one effect from another, in a few words."""
    terms = intent.terms or Terms()
    later = f", after {written(terms.after)}" if terms.after else ""
    later += f", if it is worth it: {asked_of(terms.worth)}" if terms.worth else ""
    if terms.after and terms.unless_acknowledged:
        later = f"{later} unless somebody acknowledges it"
    if terms.tell:
        later = f"{later}; tells {terms.tell} how it ended"
    if terms.schedule:
        return f"whoever is on call by {terms.schedule}{later}"
    names = ("policy", "url", "to", "github", "source", "workflow", "event_type", "limit")
    said = [intent.params[name] for name in names if name in intent.params]
    return ", ".join(", ".join(map(str, one)) if isinstance(one, list) else str(one) for one in said) + later


def in_words(nearest: Nearest) -> str:
    """The smallest change in words."""
    changes = " and ".join(f"{_wanted(one)} ({_now(one)})" for one in nearest.changes)
    match nearest.outcome:
        case "enough" | "no example":
            return f"would match with {changes}"
        case "necessary" if changes:
            return f"needs at least {changes}; for the rest no change can be suggested"
        case "necessary":
            return "no change can be suggested"
        case "impossible":
            return "no change would help: its lines contradict each other"
        case "too many ways":
            return "has too many ways to match to name the smallest change"


def _wanted(change: Change) -> str:
    match change.kind:
        case "value" | "like":
            return f"{change.field} {_value(change.after)}"
        case "missing":
            return f"{change.field} missing"
        case "above" | "below":
            return f"{change.field} just {change.kind} {change.limit}"
        case "any":
            return f"{change.field} of any value"
        case "text":
            return f"{change.field} as a text that fits {change.asks}"


def _now(change: Change) -> str:
    """What it is, and how far from what it has to be."""
    known = "missing" if change.before is None else _value(change.before)
    now = f"is unknown: {change.unknown}" if change.unknown else f"is {known}"
    if change.kind == "like":
        return f"{now}; whatever fits {change.asks} would do"
    if not change.by:
        return now
    return f"{now}: needs {'' if change.kind == 'value' else 'a little beyond '}{change.by:+.10g}"


_WIDEST: Final = 80


def _value(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= _WIDEST else f"{text[:_WIDEST]}…"

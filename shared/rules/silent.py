"""Rules that used to fire and do not any more: because a key was renamed, a subscription was lost, or a sender stopped.

Nobody sees an event that does not come, so the rule's own past is the measure: a rule is quiet for too long when that is well
beyond the longest pause that it ever made. How far beyond follows from how many pauses are known; docs/rules.md says how often
that is wrong, and how long it takes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from hashlib import sha256
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from shared.events import Event
from shared.record import EventRecord, Facts
from shared.rules.load import ARRIVED, MISSING
from shared.rules.match import Block, Condition, Line
from shared.rules.plan import Rule, Rules

FEWEST: Final = 8
"""Hours in which a rule fired, before anything is said of it: the trials of a sweep all fire in one."""

_SHORTEST: Final = 6 * 3600.0
"""Seconds of silence that are never worth a word."""

_BEFORE: Final = timedelta(hours=1)
_KEYS: Final = 400
"""Names of tags and properties that are remembered."""


class History(Struct, frozen=True, omit_defaults=True):
    """A rule's past: how often it fired, and in how many different hours; when last; its longest pause in seconds. `text`: what
    it asked for; one that was edited begins anew. `told`: of this silence, a person was.
    """

    text: str
    fired: int
    hours: int
    last: datetime
    longest: float = 0.0
    told: bool = False


class Watched(Struct, frozen=True, omit_defaults=True):
    """What is remembered: by rule; and when each type, field (`type path`) and key (`type tags.name`) came last."""

    rules: dict[str, History] = field(default_factory=dict)
    types: dict[str, datetime] = field(default_factory=dict)
    fields: dict[str, datetime] = field(default_factory=dict)
    keys: dict[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True)
class Silent:
    """A rule that is quiet. `quiet`, `longest`: in seconds."""

    rule: Rule
    history: History
    quiet: float
    cause: str
    cause_ja: str


def watched(old: Watched, records: Iterable[EventRecord], rules: Rules) -> Watched:
    """With these decided events, oldest first, in the picture. What is not in force any more is forgotten."""
    return _Watch(old, rules).saw(records)


def silent(seen: Watched, rules: Rules, now: datetime) -> list[Silent]:
    """Rules that are quiet for too long, and that nobody was told of."""
    found = []
    for rule in _written(rules):
        history = seen.rules.get(rule.name)
        if history is None or history.told or history.hours < FEWEST:
            continue
        quiet = (now - history.last).total_seconds()
        if quiet > limit(history):
            found.append(Silent(rule, history, quiet, *_cause(rule, history, seen)))
    return found


def limit(history: History) -> float:
    """Seconds of silence beyond which a rule is called silent.

    Of `n` pauses of a process without memory the longest is about ln n + 0.58 times the mean; twice that, and more while few
    are known, is passed by one pause in a thousand.
    """
    return max(history.longest * (2.0 + 8.0 / history.hours), _SHORTEST)


def told(seen: Watched, names: Iterable[str]) -> Watched:
    """A person was told of these."""
    marked = {name: replace(seen.rules[name], told=True) for name in names if name in seen.rules}
    return replace(seen, rules=seen.rules | marked)


def _written(rules: Rules) -> list[Rule]:
    """Those that people expect to fire: that nothing is missing any more is good news."""
    return [rule for rule in rules.rules if not (rule.implicit or rule.name.endswith((ARRIVED, MISSING)))]


def _text(rule: Rule) -> str:
    said = f"{rule.events} {[condition.text for condition in rule.conditions]}"
    return sha256(said.encode(errors="surrogatepass")).hexdigest()[:12]


class _Watch:
    def __init__(self, old: Watched, rules: Rules) -> None:
        self._texts = {rule.name: _text(rule) for rule in _written(rules)}
        self._rules = {name: one for name, one in old.rules.items() if self._texts.get(name) == one.text}
        self._types, self._fields, self._keys = dict(old.types), dict(old.fields), dict(old.keys)
        self._lines: dict[str, dict[str, Line]] = {}
        for rule in _written(rules):
            for kind in rule.events:
                self._lines.setdefault(kind, {}).update((line.path.name, line) for line in _lines(rule.conditions))

    def saw(self, records: Iterable[EventRecord]) -> Watched:
        for record in records:
            if record.event is not None:
                self._event(record.event, record.facts or Facts(), record.received)
                for verdict in record.decision.verdicts if record.decision else ():
                    if verdict.outcome == "matched":
                        self._fired(verdict.rule, record.received)
        keys = dict(sorted(self._keys.items(), key=lambda key: key[1], reverse=True)[:_KEYS])
        return Watched(self._rules, self._types, self._fields, keys)

    def _event(self, event: Event, facts: Facts, at: datetime) -> None:
        self._types[event.type] = at
        for name, line in self._lines.get(event.type, {}).items():
            value = line.path.get(event, facts)
            if value is not None and value != ():
                self._fields[f"{event.type} {name}"] = at
        for table, keys in (("tags", event.tags), ("properties", event.properties)):
            for key in keys:
                self._keys[f"{event.type} {table}.{key}"] = at

    def _fired(self, name: str, at: datetime) -> None:
        text = self._texts.get(name)
        if text is None:
            return
        old = self._rules.get(name)
        if old is None:
            self._rules[name] = History(text, 1, 1, at)
            return
        pause = (at - old.last).total_seconds()
        if old.told:
            # It came back. That may have been its way, or somebody mended it: it is learned, within bounds.
            pause = min(pause, 2 * old.longest)
        hours = old.hours + (_hour(at) != _hour(old.last))
        self._rules[name] = History(text, old.fired + 1, hours, max(at, old.last), max(old.longest, pause))


def _hour(at: datetime) -> int:
    return int(at.timestamp()) // 3600


def _lines(conditions: Sequence[Condition]) -> list[Line]:
    found: list[Line] = []
    for condition in conditions:
        if isinstance(condition, Line):
            found.append(condition)
        elif isinstance(condition, Block):
            found += [line for block in condition.blocks for line in _lines(block)]
    return found


def _cause(rule: Rule, history: History, seen: Watched) -> tuple[str, str]:
    """What is likely behind it, in English and Japanese."""
    since = history.last + _BEFORE
    types = [kind for kind in rule.events if seen.types.get(kind, history.last) > since]
    if not types:
        named = " or ".join(rule.events)
        return (
            f"No {named} has come since: is the event subscription still there, and does the sender still run?",
            f"以後 {'・'.join(rule.events)} が届いていません。イベント サブスクリプションと送信元を確認してください。",
        )
    gone = _gone(rule, types, history, seen.fields)
    if gone:
        kind, name = gone
        near = _renamed(kind, name, history.last, seen.keys)
        hint, hint_ja = (
            (f"; {near} does: was it renamed?", f"代わりに {near} が届いています。改名されていませんか。")
            if near
            else (".", "")
        )
        return (
            f"{kind} still comes, but without {name}, which the rule asks for{hint}",
            f"{kind} は届いていますが、ルールの条件にある {name} がありません。{hint_ja}",
        )
    named = " and ".join(types)
    return (
        f"{named} still comes with all that the rule asks for, and no event matches: `switchyard explain` says by which line.",
        f"{'・'.join(types)} は必要な項目つきで届いていますが、条件に一致しません。switchyard explain で条件を確認してください。",
    )


def _gone(rule: Rule, types: Sequence[str], history: History, fields: Mapping[str, datetime]) -> tuple[str, str] | None:
    """A field that came until then, and does not any more."""
    for line in _lines(rule.conditions):
        for kind in types:
            came = fields.get(f"{kind} {line.path.name}")
            if came is not None and came <= history.last + _BEFORE:
                return kind, line.path.name
    return None


def _renamed(kind: str, name: str, last: datetime, keys: Mapping[str, datetime]) -> str | None:
    """A key like it that comes now."""
    table = name.partition(".")[0]
    prefix = f"{kind} {table}."
    lately = {
        key.removeprefix(f"{kind} ") for key, at in keys.items() if key.startswith(prefix) and at > last + _BEFORE
    }
    folded = {key.casefold(): key for key in sorted(lately) if key != name}
    close = get_close_matches(name.casefold(), folded, n=1, cutoff=0.7)
    return folded[close[0]] if close else None

"""Which silence holds a notification back, what its owner is told of it, and what ends it before its time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from shared.actions import Channel, discover
from shared.errors import Problem
from shared.events import Event, Model
from shared.record import Facts, Intent, Silence
from shared.rules.block import read_block
from shared.rules.match import YES, Condition
from shared.rules.paths import Path
from shared.rules.plan import judged
from shared.rules.report import Report
from shared.rules.tree import Plain, read

_WARNED_BEFORE: Final = timedelta(hours=1)
_SHARE: Final = 0.1
_FIRST_REMINDER: Final = timedelta(days=3)
_REMINDERS: Final = timedelta(days=7)
_FILE: Final = "matchers"
_NOBODY_ELSE: Final = frozenset({"SilenceEnding", "SilenceLong", "RolloutWaiting"})
"""Told all the same: that a silence ends must not be silenced by it, and a question has to reach whom it asks."""


class Sent(Facts, frozen=True):
    """What is known of an event, and of the notification about it."""

    rule: str = ""
    receiver: str = ""


def _rule(_: Event, facts: Facts) -> object:
    return (facts.rule or None) if isinstance(facts, Sent) else None


def _receiver(_: Event, facts: Facts) -> object:
    return (facts.receiver or None) if isinstance(facts, Sent) else None


_MORE: Final = {
    "rule": Path("rule", _rule, "text", exact=True),
    "receiver": Path("receiver", _receiver, "text", exact=True),
}


def read_matchers(text: str) -> tuple[dict[str, object], tuple[Problem, ...]]:
    """The block that a text says, in YAML or JSON, and everything that is wrong with it."""
    node, problems = read(_FILE, text)
    if node is None:
        return {}, tuple(problems) or (Problem(_FILE, 1, 1, _EMPTY),)
    report = Report(_FILE, list(problems))
    if node.value in (None, "") or (isinstance(node.value, dict) and not node.items):
        report.say(node.at, _EMPTY)
    else:
        read_block(node, report, more=_MORE)
    plain: Plain = node.plain()
    return dict(plain) if isinstance(plain, dict) else {}, tuple(sorted(report.problems))


_EMPTY: Final = (
    "nothing is asked for: expected at least one line such as 'tags.team: fraud'; to hold back everything, say so with "
    "'rule: \"~ .*\"'"
)


def conditions(matchers: Mapping[str, object]) -> tuple[Condition, ...]:
    """What the block asks for; nothing for one that this version cannot read, and nothing holds no message back."""
    return _compiled(msgspec.json.encode(matchers).decode())


@lru_cache(maxsize=1024)
def _compiled(text: str) -> tuple[Condition, ...]:
    node, problems = read(_FILE, text)
    report = Report(_FILE, list(problems))
    found = read_block(node, report, more=_MORE) if node is not None else ()
    return () if report.problems else found


def in_words(matchers: Mapping[str, object]) -> str:
    return ", ".join(one.text for one in conditions(matchers))


def _fits(matchers: Mapping[str, object], event: Event, facts: Facts) -> bool:
    asked = conditions(matchers)
    return bool(asked) and judged([one.judge for one in asked], event, facts) == YES


def is_notification(intent: Intent) -> bool:
    action = discover().get(intent.action)
    return action is not None and isinstance(action.example, Channel)


def silencing(silences: Iterable[Silence], intent: Intent, event: Event, facts: Facts, now: datetime) -> Silence | None:
    """The silence that holds this intent back: of several, the one that ends last. What is not known fits nothing, and
    only what people are told is ever held back.
    """
    if event.type in _NOBODY_ELSE or not is_notification(intent):
        return None
    sent = Sent(facts.metrics, facts.job, facts.unknown, facts.drift, _as_written(intent.rule), _receiver_of(intent))
    fitting = (one for one in silences if one.in_force(now) and _fits(one.matchers, event, sent))
    return max(fitting, key=lambda one: (one.until, one.id), default=None)


def _as_written(rule: str) -> str:
    """Of one part of a rule, the rule that people wrote."""
    return rule if rule.startswith("(") else rule.partition(" (")[0]


def _receiver_of(intent: Intent) -> str:
    return intent.terms.receiver if intent.terms else ""


# What its owner is told


@dataclass(frozen=True)
class Notice:
    """What the owner of a silence has to be told now. `n`: the how manieth of its kind."""

    silence: Silence
    kind: Literal["SilenceEnding", "SilenceLong"]
    n: int = 1


def due_notices(silences: Iterable[Silence], now: datetime) -> list[Notice]:
    """A warning before it ends, once, and a reminder every week while it stays. Of reminders that nobody came to send,
    the last one does for all.
    """
    found = []
    for one in silences:
        if not one.in_force(now):
            continue
        if not one.warned and now >= one.until - min(_WARNED_BEFORE, (one.until - one.began) * _SHARE):
            found.append(Notice(one, "SilenceEnding"))
        passed = 1 + (now - one.began - _FIRST_REMINDER) // _REMINDERS
        if passed > one.reminded:
            found.append(Notice(one, "SilenceLong", passed))
    return found


# What ends it


def resolved_by(silences: Iterable[Silence], event: Event) -> list[Silence]:
    """Those whose trouble this event ends. A child's success is none of its parent's."""
    return [one for one in silences if one.resolves and event.time > one.resolves.since and _ends(one, event)]


def _ends(silence: Silence, event: Event) -> bool:
    assert silence.resolves is not None
    asked = silence.resolves.match
    child = event.run is not None and event.run.is_child is True and "run.id" not in asked
    return not child and any(_fits(asked, one, Facts()) for one in arrivals(event))


def arrivals(event: Event) -> list[Event]:
    """An endpoint has several models, and each of them has arrived with it."""
    models = event.endpoint.models if event.endpoint else ()
    parts = [one.rpartition(":") for one in models]
    return [event, *(replace(event, model=Model(name, version)) for name, _, version in parts)]

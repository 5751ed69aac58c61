"""May this intent run now? Pure: a guard gets what it needs to know, and answers with a reason.

The order is that of Alertmanager: what can be told from the intent alone, then calendars and silences, then how often, and
last what is spent, so that nothing is counted that does not happen.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import msgspec

from shared.actions._text import name_of
from shared.events import Event
from shared.guards.ask import Behind, Get, Go, Guarding, Held, Ruling, Suppressed, Wait
from shared.guards.escalation import after_the_first, first_was
from shared.guards.loop import CAUSE_REASON, STARTS, cause, depth, hold, starts
from shared.guards.retraining import Start, may_start, refund
from shared.guards.silence import silenced
from shared.guards.throttle import family_ended, throttled
from shared.guards.worth import worth
from shared.record import ACKS, Facts, Intent, Terms, WorkspaceRef
from shared.rules.config import Config, Pipeline

__all__ = ["CAUSE_REASON", "STARTS", "Case", "cause", "depth", "ended", "refund", "rule_on"]

_TERMINAL: Final = frozenset({"Completed", "Failed", "Canceled"})
_FREE: Final = Terms()


@dataclass(frozen=True, slots=True)
class Case:
    """One intent, now. `arrived`: when its event did; `tried`: what it asks for was begun before, and only what it carries is
    asked again.
    """

    intent: Intent
    event: Event
    facts: Facts
    now: datetime
    arrived: datetime
    tried: bool = False


def rule_on(case: Case, config: Config) -> Guarding[Ruling]:
    """How it stands. The same intent asked twice is ruled on alike wherever state is kept."""
    intent, terms = case.intent, case.intent.terms or _FREE
    due = case.arrived + timedelta(seconds=terms.after)
    if case.now < due:
        return Wait(due, f"due at {due:%Y-%m-%d %H:%M:%S} UTC")
    if starts(intent):
        behind = depth(case.event) or (yield Behind())
        looped = hold(intent, behind, config.limits.depth)
        if looped:
            return Held("loop", looped)
    no = None if case.tried else (yield from _not_now(case, terms, config))
    if terms.unless_acknowledged:
        return no or (yield from after_the_first(case, terms, due))
    ruling: Ruling = no or Go()
    if no is None and terms.throttle is not None:
        ruling = yield from throttled(terms.throttle, intent.event, intent.key, case.event.source, case.now)
    if terms.leads and not isinstance(ruling, Wait):
        yield from first_was(intent, case.now, went=isinstance(ruling, Go))
    pipeline = config.pipelines.get(terms.pipeline)
    if pipeline is None or not isinstance(ruling, Go):
        return ruling
    return (yield from _starts(case, terms, pipeline, config, ruling))


def _starts(case: Case, terms: Terms, pipeline: Pipeline, config: Config, go: Go) -> Guarding[Ruling]:
    """Of a training: whether it is worth it, then what it costs."""
    key = case.intent.key
    if terms.worth is not None:
        worthy = yield from worth(terms.worth, terms.pipeline, key, case.now)
        if isinstance(worthy, Go):
            go = replace(go, note=worthy.note)
        elif not case.tried:  # what was begun is brought to its end
            return worthy
    start = Start(key, case.now, name_of(key), _where(case.event, pipeline, config), pipeline.cost or 0.0)
    allowed = yield from may_start(terms.pipeline, pipeline, start, config.defaults.time_zone)
    return go if isinstance(allowed, Go) else allowed


def _where(event: Event, pipeline: Pipeline, config: Config) -> WorkspaceRef | None:
    if pipeline.workspace:
        place = config.workspaces[pipeline.workspace]
        return WorkspaceRef(place.subscription, place.resource_group, place.workspace)
    if not (event.subscription and event.resource_group and event.workspace):
        return None
    return WorkspaceRef(event.subscription, event.resource_group, event.workspace)


def _not_now(case: Case, terms: Terms, config: Config) -> Guarding[Suppressed | None]:
    if terms.unless_acknowledged:
        text = yield Get(ACKS, case.intent.event)
        if text is not None:
            ack = msgspec.json.decode(text)
            return Suppressed("acknowledged", f"{ack['by']} took care of it at {ack['at']}")
    muted = _by_calendar(case.now, terms, config)
    return muted or (yield from silenced(case.intent, case.event, case.facts, case.now))


def _by_calendar(now: datetime, terms: Terms, config: Config) -> Suppressed | None:
    """`active`: in one of these; `mute`: in none of those. A calendar that is not there any more stops nothing."""
    active = [name for name in terms.active if name in config.hours]
    if active and not any(config.hours[name].covers(now) for name in active):
        return Suppressed("calendar", f"not within {' or '.join(active)}{_until(now, active, config)}")
    muted = [name for name in terms.mute if name in config.hours and config.hours[name].covers(now)]
    if muted:
        return Suppressed("calendar", f"muted by {' and '.join(muted)}{_until(now, muted, config)}")
    return None


def _until(now: datetime, names: list[str], config: Config) -> str:
    changes = [change for name in names if (change := config.hours[name].next_change(now)) is not None]
    return f", until {min(changes):%Y-%m-%d %H:%M} UTC" if changes else ""


def ended(event: Event, now: datetime) -> Guarding[list[tuple[str, datetime]]]:
    """Intents that an event brings forward, and when to ask them again: those that collect the children of a run which has
    ended.
    """
    run = event.run
    if run is None or run.is_child or (event.type != "RunCompleted" and run.status not in _TERMINAL):
        return []
    return list((yield from family_ended(event.source, run.id, now, parent=run.is_child is False)))

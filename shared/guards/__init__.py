"""May this intent run now? Pure: a guard gets what it needs to know, and answers with a reason."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.events import Event
from shared.guards.ask import Go, Guarding, Held, Ruling, Wait
from shared.guards.loop import STARTS, cause, depth, hold
from shared.record import Facts, Intent, Terms
from shared.rules.config import Config

__all__ = ["STARTS", "Case", "cause", "depth", "hold", "rule_on"]


@dataclass(frozen=True, slots=True)
class Case:
    """One intent, now. `arrived`: when its event did; `tried`: what it asks for was begun before."""

    intent: Intent
    event: Event
    facts: Facts
    now: datetime
    arrived: datetime
    tried: bool = False


def rule_on(case: Case, config: Config) -> Guarding[Ruling]:
    """How it stands. The same intent asked twice is ruled on alike wherever state is kept."""
    terms = case.intent.terms or Terms()
    due = case.arrived + timedelta(seconds=terms.after)
    if case.now < due:
        return Wait(due, f"due at {due:%Y-%m-%d %H:%M:%S} UTC")
    looped = hold(case.intent, case.event)
    if looped:
        return Held("loop", looped)
    yield from ()
    return Go()

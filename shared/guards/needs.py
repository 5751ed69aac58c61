"""Which events the service needs though no rule asks for them, so that no filter in front of it holds them back."""

from typing import Final

from shared.guards.loop import CAUSE_EVENT
from shared.rules.filters import Clause, Need
from shared.rules.payloads import RUN_COMPLETED, RUN_PROPERTIES, RUN_STATUS_CHANGED, RUN_TAGS, STATUS
from shared.rules.plan import Rules

_CARRIED: Final = {RUN_TAGS: frozenset({"retrain", "resubmit"}), RUN_PROPERTIES: frozenset({"batch"})}
"""Where a run says that we started it, by the actions that start it."""


def needs(rules: Rules) -> tuple[Need, ...]:
    """The ends of the runs that it starts: only by them it knows how many still run."""
    asked = {step.action for rule in rules.rules for step in rule.steps}
    return tuple(need for place, starts in _CARRIED.items() if asked & starts for need in _ends(place))


def _ends(place: str) -> tuple[Need, ...]:
    started = Clause(f"{place}.{CAUSE_EVENT}", "IsNotNull")
    ended = Clause(STATUS, "StringIn", ("Completed", "Failed", "Canceled"))
    what = "runs" if place == RUN_TAGS else "batch jobs"
    why = f"the ends of {what} that this service started"
    return (
        Need(f"started {what} that completed", why, RUN_COMPLETED, (started,)),
        Need(f"started {what} that ended", why, RUN_STATUS_CHANGED, (started, ended)),
    )

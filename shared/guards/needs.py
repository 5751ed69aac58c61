"""Which events the service needs though no rule asks for them, so that no filter in front of it holds them back."""

from typing import Final

from shared.guards.loop import CAUSE_EVENT
from shared.rules.filters import Clause, Need
from shared.rules.payloads import RUN_COMPLETED, RUN_STATUS_CHANGED, RUN_TAGS, STATUS
from shared.rules.plan import Rules

_STARTS_RUNS: Final = frozenset({"retrain", "resubmit", "batch"})


def needs(rules: Rules) -> tuple[Need, ...]:
    """The ends of the runs that it starts: only by them it knows how many still run."""
    if not any(step.action in _STARTS_RUNS for rule in rules.rules for step in rule.steps):
        return ()
    started = Clause(f"{RUN_TAGS}.{CAUSE_EVENT}", "IsNotNull")
    ended = Clause(STATUS, "StringIn", ("Completed", "Failed", "Canceled"))
    why = "the ends of runs that this service started"
    return (
        Need("started runs that completed", why, RUN_COMPLETED, (started,)),
        Need("started runs that ended", why, RUN_STATUS_CHANGED, (started, ended)),
    )

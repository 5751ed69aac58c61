"""How long a rollout can take, by its policy alone."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from shared.rollout.hours import next_opening, open_at
from shared.rollout.policy import Approval, Policy, Stage
from shared.rollout.script import DAY, FOLLOW, INSIST, LAG, MINUTE, SETTLE, STALE

CREATED: Final = 300.0
"""Assumed of Azure: a deployment does not stand sooner. No later than the policy's `within`, or it is given up."""
COUNTED: Final = 180.0
"""Assumed of Azure: the counts of a minute are complete no sooner. Later than LAG, they count as unknown."""

HOUR: Final = 3600.0

_WEEK: Final = datetime(2024, 1, 1, tzinfo=UTC)
"""Any week: windows come round."""


class Times(Struct, frozen=True):
    """Shortest and longest, in seconds. `promotion`: from the beginning until the candidate is seen to have all traffic;
    `rollback`: from the decision until the weights of the start are seen again, after which it would be stuck. `besides`: what
    may come on top of the longest promotion and has no bound, in words.
    """

    promotion: tuple[float, float]
    rollback: tuple[float, float]
    besides: tuple[str, ...] = ()


def times(policy: Policy) -> Times:
    stages = () if policy.kind == "batch" else policy.stages
    shortest = CREATED + FOLLOW + _load(policy) + sum(_shortest(stage) for stage in stages)
    longest = _checks(policy) + _move(policy) + sum(_longest(policy, stage) for stage in stages)
    # Each movement may have to wait for a window, and for the next where that ends while the endpoint is busy; and behind
    # each closed time one has to open.
    longest += (2 * (len(stages) + 1) + len(policy.closed)) * _shut(policy) + _closed(policy)
    longest += _smoke_again(policy)
    settle = max(policy.patience, SETTLE)
    # The last write may be refused at the very end, and is then looked at twice more.
    return Times((shortest, longest), (FOLLOW, INSIST * settle + SETTLE + 2 * FOLLOW), tuple(_besides(policy, stages)))


def _shortest(stage: Stage) -> float:
    return FOLLOW + stage.seconds + COUNTED


def _checks(policy: Policy) -> float:
    """Everything before the first movement, each command busy for as long as the patience lasts."""
    patience, within = policy.patience, policy.deployment.within
    commands = 4 + bool(policy.compare) + policy.responsible_ai  # turn, look, announce, create
    total = commands * patience + (patience + FOLLOW) + (within + patience + FOLLOW)
    if policy.smoke:
        total += within if policy.kind == "batch" else patience + _load(policy)
    return total + _answer(policy, policy.approve)


def _smoke_again(policy: Policy) -> float:
    """Once more before the first movement, where that may have had to wait; and then a look, the question for freezes, and maybe
    another window.
    """
    waits = policy.approve or policy.windows or policy.closed or 2 * policy.patience > STALE
    if policy.smoke is None or policy.kind == "batch" or not waits:
        return 0.0
    return 3 * policy.patience + _load(policy) + _shut(policy)


def _load(policy: Policy) -> float:
    load = policy.smoke.load if policy.smoke else None
    return float(load.seconds) if load else 0.0


def _answer(policy: Policy, approval: Approval | None) -> float:
    """Until a question is put, and answered in time."""
    return policy.patience + approval.within if approval else 0.0


def _move(policy: Policy) -> float:
    """A look, the question for freezes, the write, both of them again where that was busy, and until it is seen."""
    return 5 * policy.patience + (max(policy.patience, SETTLE) + policy.patience + FOLLOW)


def _longest(policy: Policy, stage: Stage) -> float:
    baked = MINUTE + stage.seconds + policy.extend + LAG + policy.every
    undecided = policy.patience + DAY if policy.undecided == "ask" else 0.0
    return _move(policy) + baked + undecided + policy.patience + _answer(policy, stage.approve)


def _shut(policy: Policy) -> float:
    """The longest time between two windows, which every movement may have to wait."""
    weekly = replace(policy, closed=())
    hours = [_WEEK + timedelta(hours=n) for n in range(9 * 24)]
    ends = [hour for before, hour in pairwise(hours) if open_at(weekly, before) and not open_at(weekly, hour)]
    openings = [(end, next_opening(weekly, end)) for end in [_WEEK, *ends]]
    longest = max((opening - end for end, opening in openings if opening), default=timedelta())
    return (
        longest.total_seconds() + 2 * HOUR if policy.windows else 0.0
    )  # looked at by the hour; clocks are put forward


def _closed(policy: Policy) -> float:
    """Closed days, which come once, on the day that clocks are put back too."""
    return sum(((one.last - one.first).days + 1) * DAY + HOUR for one in policy.closed)


def _besides(policy: Policy, stages: tuple[Stage, ...]) -> list[str]:
    found = ["another rollout that has the endpoint", "freezes"]
    if stages:
        found += [
            "minutes in which both deployments are bad, or that nobody can read",
            "traffic that is changed by hand",
        ]
    approvals = [one for one in (policy.approve, *(stage.approve for stage in stages)) if one]
    found += [f"{one.by} who take their time: 'else: hold'" for one in approvals if one.otherwise == "hold"]
    if stages and policy.on_breach == "hold":
        found.append("the question after a breach: 'on_breach: hold'")
    if next_opening(replace(policy, closed=()), _WEEK) is None:
        found.append("windows that never open")
    return list(dict.fromkeys(found))

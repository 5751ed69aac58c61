"""One look at a window: what was measured, what it may be, and whether that is worse than allowed. Pure; the same rows give the
same look.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

from msgspec import Struct, field

from shared.quality import metrics
from shared.quality.metrics import Number
from shared.quality.rows import Joined, Pair
from shared.quality.watch import Ask, Bound, Metric, Watch
from shared.quality.windows import Window
from shared.record import Estimate

type Verdict = Literal["healthy", "degraded", "not enough", "unknown"]
"""`not enough`: too few predictions with a truth; `unknown`: rows that can't be read, or a limit that nothing can be held against, while
no other is broken. Neither is healthy."""

COHORTS: Final = 50
"""The largest ones that are looked at."""

_UNREAD: Final = 0.05
"""The share of rows that may be unreadable before nothing is said of the rest."""


class Finding(Struct, frozen=True, omit_defaults=True):
    """A metric held against its limit. `cohort`: as column=value; empty: the whole. `limit`: None where there is none."""

    metric: Metric
    value: float
    low: float
    high: float
    n: int
    cohort: str = ""
    limit: float | None = None
    reference: float | None = None
    breached: bool = False


class Look(Struct, frozen=True, omit_defaults=True):
    """`number`: which look at this window it is, from 0. `labels`: truths of this window, by the day (UTC) they came.
    `level`: the probability of a false alarm that each comparison of the whole was given.
    """

    window: str
    start: datetime
    end: datetime
    number: int
    at: datetime
    verdict: Verdict
    why: str = ""
    version: str = ""
    predictions: int = 0
    labelled: int = 0
    digest: str = ""
    level: float = 0.0
    findings: tuple[Finding, ...] = ()
    reference: dict[str, float] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)

    @property
    def breached(self) -> list[Finding]:
        return [one for one in self.findings if one.breached]

    @property
    def measured(self) -> dict[str, Estimate]:
        """Of the whole, by metric."""
        return {
            one.metric: Estimate(one.value, one.low, one.high, one.n, self.start, self.end)
            for one in self.findings
            if not one.cohort
        }


def look_at(
    watch: Watch,
    window: Window,
    number: int,
    found: Joined,
    *,
    at: datetime,
    version: str = "",
    reference: Mapping[str, float] | None = None,
    before: "Look | None" = None,
) -> Look:
    """`reference`: what the training run logged, None where it could not be told; `before`: the look before this one."""
    labelled = found.labelled
    unread = sum(found.unread.values())
    look = Look(
        window=window.id,
        start=window.start,
        end=window.end,
        number=number,
        at=at,
        verdict="unknown",
        version=version,
        predictions=len(found.pairs),
        labelled=len(labelled),
        digest=found.digest,
        level=watch.level(),
        reference=logged(watch, reference or {}),
        labels=_labels(labelled, at, before),
    )
    if unread > _UNREAD * max(1, found.predictions):
        said = "; ".join(f"{what} ({times} times)" for what, times in found.unread.items())
        return _told(look, "unknown", f"{unread} rows can't be read: {said}")
    if len(labelled) < watch.minimum:
        return _told(look, "not enough", _few(watch, found, labelled))
    findings = [*_whole(watch, labelled, reference or {}), *_parts(watch, labelled, reference or {})]
    left = _left(watch, findings)
    verdict: Verdict = "degraded" if any(one.breached for one in findings) else "unknown" if left else "healthy"
    return _told(look, verdict, "; ".join(left), findings)


def _told(look: Look, verdict: Verdict, why: str, findings: Sequence[Finding] = ()) -> Look:
    values = {name: getattr(look, name) for name in look.__struct_fields__}
    return Look(**values | {"verdict": verdict, "why": why, "findings": tuple(findings)})


def _few(watch: Watch, found: Joined, labelled: Sequence[Pair]) -> str:
    total = len(found.pairs)
    others = f", and {found.others:,} predictions are of other versions" if found.others else ""
    return f"{len(labelled):,} of {total:,} predictions have a truth, expected at least {watch.minimum:,}{others}"


def _left(watch: Watch, findings: Sequence[Finding]) -> list[str]:
    """What was to be judged and is not, each with the reason."""
    shown = {one.metric for one in findings if not one.cohort}
    judged = {one.metric for one in findings if not one.cohort and one.limit is not None}
    left = [ask for ask in watch.asks if ask.bound.there and ask.metric not in judged]
    untold = [ask.metric for ask in left if ask.metric not in shown]
    unlogged = [ask.logged_as or ask.metric for ask in left if ask.metric in shown]
    said = [f"{', '.join(untold)} can't be told: one of the classes is hardly there"] if untold else []
    why = "the training run of the version in production is not known, or logged no"
    return [*said, *([f"{why} {' and no '.join(unlogged)}"] if unlogged else [])]


def logged(watch: Watch, reference: Mapping[str, float]) -> dict[str, float]:
    """Of what a training run logged, the metrics that the watch asks for, by their own names."""
    return {
        ask.metric: reference[ask.logged_as or ask.metric]
        for ask in watch.asks
        if (ask.logged_as or ask.metric) in reference
    }


def _labels(labelled: Sequence[Pair], at: datetime, before: Look | None) -> dict[str, int]:
    """Where truths do not say when they came, they came when somebody looked."""
    if any(pair.known for pair in labelled):
        return dict(sorted(Counter(f"{pair.known:%Y-%m-%d}" for pair in labelled if pair.known).items()))
    old = before.labels if before else {}
    new = len(labelled) - sum(old.values())
    day = f"{at:%Y-%m-%d}"
    return {**old, day: old.get(day, 0) + new} if new > 0 else dict(old)


def _whole(watch: Watch, pairs: Sequence[Pair], reference: Mapping[str, float]) -> list[Finding]:
    level = watch.level()
    numbers = metrics.measured(watch, pairs, {ask.metric: level for ask in watch.asks})
    return [_finding(ask, ask.bound, numbers[ask.metric], reference) for ask in watch.asks if ask.metric in numbers]


def _parts(watch: Watch, pairs: Sequence[Pair], reference: Mapping[str, float]) -> list[Finding]:
    groups: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        for column, value in zip(watch.cohorts, pair.cohorts, strict=True):
            if value:
                groups.setdefault((column, value), []).append(pair)
    enough = sorted(
        ((name, group) for name, group in groups.items() if len(group) >= watch.minimum),
        key=lambda one: (-len(one[1]), one[0]),
    )[:COHORTS]
    level = watch.level(len(enough))
    asks = [ask for ask in watch.asks if ask.bound.there or ask.cohorts.there]
    found = []
    for (column, value), group in enough:
        numbers = metrics.measured(watch, group, {ask.metric: level for ask in asks})
        for ask in asks:
            if ask.metric in numbers:
                name = f"{ask.logged_as or ask.metric}/{value}"
                of = {ask.logged_as or ask.metric: reference[name]} if name in reference else {}
                found.append(_finding(ask, ask.cohorts, numbers[ask.metric], of, f"{column}={value}"))
    return found


def _finding(ask: Ask, bound: Bound, number: Number, reference: Mapping[str, float], cohort: str = "") -> Finding:
    known = reference.get(ask.logged_as or ask.metric)
    limit = _limit(ask, bound, known)
    breached = limit is not None and (number.high < limit if ask.higher_is_better else number.low > limit)
    return Finding(ask.metric, *number, cohort, limit, known, breached)


def _limit(ask: Ask, bound: Bound, reference: float | None) -> float | None:
    """The stricter one of both kinds."""
    sign = -1 if ask.higher_is_better else 1
    relative = None if bound.drop is None or reference is None else reference + sign * bound.drop
    limits = [one for one in (bound.limit, relative) if one is not None]
    return (max if ask.higher_is_better else min)(limits) if limits else None

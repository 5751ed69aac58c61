"""Several events in one message: how many, of which kinds, the best and the worst."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct, to_builtins

from shared.events import Event
from shared.messages import formats
from shared.record import Facts

_SHOWN: Final = 10
_LOWER: Final = ("loss", "error", "rmse", "mse", "mae", "mape", "perplexity", "latency", "deviance")
"""In the names of metrics of which less is better."""


class One(Struct, frozen=True):
    """`value`: of the metric that they are compared by."""

    about: str
    kind: str
    status: str
    time: datetime
    value: float | None = None


class Together(Struct, frozen=True):
    """`count`: of all of them, more than are shown. `groups`: how many of which kind and status, the most first. `items`: the best
    first, or in the order in which they happened. `metric`: by which `best` and `worst` are told; "" where none is known of them.
    """

    count: int
    parent: str
    groups: tuple[tuple[str, int], ...]
    items: tuple[One, ...]
    first: datetime
    last: datetime
    metric: str = ""
    best: One | None = None
    worst: One | None = None
    troubled: bool = False
    """Whether any of them failed."""
    wanted: int = 0
    """Of a delivery: how many parts there shall be."""


_BAD: Final = frozenset({"Failed", "Canceled", "NotResponding"})


def together(
    members: Sequence[tuple[Event, Facts]], total: int, metric: str, *, lower: bool | None = None, wanted: int = 0
) -> Together:
    """`members`: at least one. `metric`: what the rule compares; "" lets the metrics that are known decide. `lower`: whether
    less of it is better; None lets its name decide. `wanted`: parts of a delivery, of which there are `total`.
    """
    metric = metric or _common(members)
    less = lower if lower is not None else any(word in metric.casefold() for word in _LOWER)
    ones = sorted((_one(event, facts, metric) for event, facts in members), key=lambda one: (one.time, one.about))
    ranked = sorted((one for one in ones if one.value is not None), key=lambda one: one.value or 0.0, reverse=not less)
    groups = Counter(f"{one.kind} {one.status}".strip() for one in ones)
    parents = {event.run.parent for event, _ in members if event.run and event.run.parent}
    return Together(
        count=total if wanted else max(total, len(ones)),
        parent=parents.pop() if len(parents) == 1 else "",
        groups=tuple(sorted(groups.items(), key=lambda group: (-group[1], group[0]))),
        items=tuple([*ranked, *(one for one in ones if one.value is None)][:_SHOWN]),
        first=ones[0].time,
        last=ones[-1].time,
        metric=metric if ranked else "",
        best=ranked[0] if ranked else None,
        worst=ranked[-1] if len(ranked) > 1 else None,
        troubled=any(one.status in _BAD for one in ones) or total < wanted,
        wanted=wanted,
    )


def _one(event: Event, facts: Facts, metric: str) -> One:
    """A run that ended well says so by its type already."""
    status = (event.run.status or "") if event.run and event.type != "RunCompleted" else ""
    value = (facts.metrics or {}).get(metric) if metric else None
    return One(_about(event, facts), event.type, status, event.time, value)


def _about(event: Event, facts: Facts) -> str:
    if event.run:
        name = (facts.job.name if facts.job else None) or event.run.id
        # The trials of a sweep are called as it is, with a number: on a phone the number is what can be read.
        parent = f"{event.run.parent}_"
        return f"#{event.run.id.removeprefix(parent)}" if event.run.id.startswith(parent) else name
    if event.drift:
        return " ".join(part for part in (event.drift.monitor, event.drift.signal) if part) or event.subject
    if event.model:
        return f"{event.model.name}:{event.model.version}"
    return event.blob.name or event.subject if event.blob else formats.resource(event.subject) or event.id


def _common(members: Sequence[tuple[Event, Facts]]) -> str:
    """What the runs call their primary metric, or the metric that most of them have."""
    for event, _ in members:
        said = {key.casefold(): value for key, value in (event.tags | event.properties).items()}
        primary = said.get("primary_metric") or said.get("primarymetric")
        if isinstance(primary, str) and primary:
            return primary
    names = Counter(name for _, facts in members for name in facts.metrics or ())
    return min(names, key=lambda name: (-names[name], name)) if names else ""


def plain(together: Together | None) -> Mapping[str, object] | None:
    """For a template."""
    if together is None:
        return None
    seen: dict[str, object] = to_builtins(together)
    seen["groups"] = [{"what": what, "count": count} for what, count in together.groups]
    return seen

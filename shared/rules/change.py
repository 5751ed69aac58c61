"""A change of what an event or its facts say, field by field, and the event and facts after it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal

from msgspec import Struct, convert
from msgspec.structs import replace

from shared.events import Blob, Drift, Endpoint, Event, Model, Run
from shared.record import Facts, Job
from shared.rules.paths import OF_MONITORS, dig

type Kind = Literal["value", "missing", "above", "below", "like", "any", "text"]
"""To this value; to nothing; to a number just beyond `limit`; to this or another one that fits `asks`; to any. For `text`,
one that fits `asks`, there is no example: all others can be applied.
"""


class Change(Struct, frozen=True, omit_defaults=True, rename={"before": "from", "after": "to"}):
    """One field, from what it is to what would do. None is missing. `unknown`: nobody knows what it is, and this says
    why, or that nobody has asked. `by`: how far a number has to go.
    """

    field: str
    kind: Kind
    before: object = None
    after: object = None
    unknown: str = ""
    by: float | None = None
    limit: float | None = None
    asks: str = ""


FILLER: Final = "some"
"""Stands in fields that a part of an event must have and nobody asked about."""

_PARTS: Final[dict[str, Callable[[], Struct]]] = {
    "run": lambda: Run(FILLER),
    "model": lambda: Model(FILLER, FILLER),
    "endpoint": lambda: Endpoint(FILLER),
    "drift": Drift,
    "blob": lambda: Blob(FILLER),
}
NEEDED: Final = {
    "run": ("run.id",),
    "model": ("model.name", "model.version"),
    "endpoint": ("endpoint.name",),
    "blob": ("blob.url",),
}
"""Without one of these there is no such part."""

NECESSARY: Final = frozenset(name for names in NEEDED.values() for name in names)

_LISTS: Final = {"endpoint.models", "drift.features"}
_ALWAYS: Final = {"id", "type", "source", "subject"}


def apply(changes: Iterable[Change], event: Event, facts: Facts) -> tuple[Event, Facts]:
    """The event and the facts with these changes: a field of a part that is not there makes the part, one that a lookup
    has to tell makes the lookup's answer. The payload as it came stays, but for `data.` fields.
    """
    # A part stands before what is told of it, and what is told before what is not.
    for one in sorted(changes, key=lambda one: (one.field not in NECESSARY, one.after is None)):
        assert one.kind != "text", f"{one.field}: there is no example of a text that fits {one.asks}"
        event, facts = put(one.field, one.after, event, facts)
    return event, facts


def put(name: str, value: object, event: Event, facts: Facts) -> tuple[Event, Facts]:
    """With this field changed; None is missing."""
    head, _, rest = name.partition(".")
    if name in {"run.is_child", "run.parent"}:
        return _family(rest, value, event, facts)
    match head:
        case "metrics":
            metrics = _with(facts.metrics or {}, rest, value)
            return event, replace(facts, metrics=metrics, unknown=_with(facts.unknown, "metrics", None))
        case "job":
            return event, _told(facts, replace(facts.job or Job(), **{rest: value}))
        case "tags" | "properties":
            return replace(event, **{head: _with(getattr(event, head), rest, value)}), facts
        case "data":
            return replace(event, data=_payload(event.data, rest, value)), facts
        case _ if name in OF_MONITORS and value is None:
            return replace(event, **{head: _part(event, head, rest, value)}), _untold(facts, name, rest)
        case _ if head in _PARTS:
            return replace(event, **{head: _part(event, head, rest, value)}), facts
        case _:
            plain = "" if value is None and name in _ALWAYS else value
            return replace(event, **{name: convert(value, type(event.time)) if name == "time" else plain}), facts


def _with(table: Mapping[str, object], name: str, value: object) -> dict[str, object]:
    kept = {key: one for key, one in table.items() if key != name}
    return kept if value is None else kept | {name: value}


def _told(facts: Facts, job: Job) -> Facts:
    return replace(facts, job=job, unknown=_with(facts.unknown, "job", None))


def _untold(facts: Facts, name: str, field: str) -> Facts:
    """As a lookup that was made and found none of it."""
    drift = replace(facts.drift or Drift(), **{field: () if name in _LISTS else None})
    return replace(facts, drift=drift, unknown=_with(facts.unknown, "drift", None))


def _part(event: Event, head: str, field: str, value: object) -> Struct | None:
    name = f"{head}.{field}"
    there: Struct | None = getattr(event, head)
    if value is None and (there is None or name in NEEDED.get(head, ())):
        return None
    part = there or _PARTS[head]()
    return replace(part, **{field: value or () if name in _LISTS else value})


def _family(field: str, value: object, event: Event, facts: Facts) -> tuple[Event, Facts]:
    """As `run_of` has it: where the payload says whether it is a child it says all, else the job does."""
    if event.run is None and value is None:
        return event, facts
    run, job = event.run or Run(FILLER), facts.job or Job()
    silent = field == "is_child" and value is None
    if run.is_child is not None and not silent:
        return replace(event, run=replace(run, **{field: value})), facts
    if run.is_child is not None:
        job = replace(job, parent=run.parent)
        run = replace(run, is_child=None, parent=None)
    return replace(event, run=run), _told(facts, replace(job, **{field: value}))


def _payload(data: dict[str, object], path: str, value: object) -> dict[str, object]:
    """With the value at this path, in the deepest table that is there; keys in any case, and they may hold dots."""
    path = path.casefold()
    bare = _without(data, path)
    return bare if value is None else _placed(bare, path, value)


def _without(data: dict[str, object], path: str) -> dict[str, object]:
    if dig(data, path) is None:
        return data
    kept: dict[str, object] = {}
    for name, value in data.items():
        key = name.casefold()
        if key == path:
            continue
        inner = isinstance(value, dict) and path.startswith(f"{key}.")
        kept[name] = _without(value, path[len(key) + 1 :]) if isinstance(value, dict) and inner else value
    return kept


def _placed(data: dict[str, object], path: str, value: object) -> dict[str, object]:
    for name, inner in data.items():
        key = name.casefold()
        if isinstance(inner, dict) and path.startswith(f"{key}."):
            return data | {name: _placed(inner, path[len(key) + 1 :], value)}
    return data | {path: value}

"""The fields of an event by the paths that rules write, and how each is read."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from msgspec import to_builtins

from shared.events import STATUSES, Blob, Drift, Endpoint, Event, Model, Run
from shared.record import Facts, Job, Lookup
from shared.rules.tree import nearest

type Kind = Literal["text", "number", "truth", "any"]
type Getter = Callable[[Event, Facts], object]
"""The value; None when it is missing; a Gap when a lookup must tell."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Nobody knows the value. `asked`: the lookup was made and could not tell, and `reason` says why."""

    lookup: Lookup
    asked: bool = False
    reason: str = ""


_ASK: Final[Mapping[Lookup, Gap]] = {"metrics": Gap("metrics"), "job": Gap("job"), "drift": Gap("drift")}


@dataclass(frozen=True, slots=True)
class Path:
    """`exact`: always known without a lookup, and one value: fit for an index. `words`: the known values, as spelled."""

    name: str
    get: Getter
    kind: Kind = "any"
    lookup: Lookup | None = None
    exact: bool = False
    words: tuple[str, ...] = ()


_PLAIN: Final = ("id", "type", "subject", "source", "workspace", "resource_group", "subscription")
_PARTS: Final = {"run": Run, "model": Model, "endpoint": Endpoint, "drift": Drift, "blob": Blob}
_NUMBERS: Final = {"drift.coefficient", "blob.size", "job.duration"}
_TRUTHS: Final = {"run.is_child", "run.breached"}
_LISTS: Final = {"endpoint.models", "drift.features"}
_FAMILY: Final = {"run.is_child", "run.parent"}
OF_MONITORS: Final = frozenset(
    f"drift.{name}" for name in ("coefficient", "features", "baseline", "target", "start", "end")
)
"""What a v2 monitor may not say in its event, and its run may tell."""

_UNTOLD: Final = "the monitor's run does not say which features crossed their thresholds"
_JOB: Final = tuple(name for name in Job.__struct_fields__ if name not in {"is_child", "parent"})

OPEN: Final = {
    "tags": "the tag's own name",
    "properties": "the property's own name",
    "metrics": "the metric's own name",
    "data": "a key of the payload",
}
"""Paths that go on with a name of the user's."""


def _kind(name: str) -> Kind:
    if name in _NUMBERS:
        return "number"
    return "truth" if name in _TRUTHS else "text"


def _top(field: str) -> Getter:
    def get(event: Event, _: Facts) -> object:
        return getattr(event, field) or None

    return get


def _inner(part: str, field: str) -> Getter:
    def get(event: Event, _: Facts) -> object:
        inner = getattr(event, part)
        return None if inner is None else getattr(inner, field)

    return get


def _time(event: Event, _: Facts) -> object:
    return to_builtins(event.time)


def unknown(lookup: Lookup, event: Event, facts: Facts) -> Gap | None:
    """What to say of a lookup that has no answer: ask, or why it has none. None: there is nothing to look up.

    Of a registered model, the run that made it is asked about.
    """
    if event.run is None and (event.model is None or event.type != "ModelRegistered"):
        return None
    return Gap(lookup, asked=True, reason=facts.unknown[lookup]) if lookup in facts.unknown else _ASK[lookup]


def _job(field: str) -> Getter:
    def get(event: Event, facts: Facts) -> object:
        return unknown("job", event, facts) if facts.job is None else getattr(facts.job, field)

    return get


def _family(field: str) -> Getter:
    """As `record.run_of` has it: the payload's word, and the job's where the payload does not say."""

    def get(event: Event, facts: Facts) -> object:
        run = event.run
        if run is None or run.is_child is not None:
            return None if run is None else getattr(run, field)
        return unknown("job", event, facts) if facts.job is None else getattr(facts.job, field)

    return get


def _breached(event: Event, facts: Facts) -> object:
    """As `record.run_of` has it. Where the lookup cannot tell it is no: a failure that nobody can explain is a failure."""
    run = event.run
    if run is None or run.breached is not None:
        return None if run is None else run.breached
    if facts.drift is None:
        return False if "drift" in facts.unknown else unknown("drift", event, facts)
    return facts.drift != _NO_DRIFT


_NO_DRIFT: Final = Drift()


def _drift(field: str) -> Getter:
    """As `record.drift_of` has it; only a v2 monitor's run can be asked."""

    def get(event: Event, facts: Facts) -> object:
        drift, found = event.drift, facts.drift
        if drift is None:
            return None
        said = getattr(drift, field)
        monitor = event.raw_type.casefold().endswith(".runstatuschanged")
        if not monitor or (said is not None and said != ()):
            return said
        if found is None:
            return said if drift.crossed and field not in _WINDOW else unknown("drift", event, facts)
        told = getattr(found, field)
        untold = field not in _WINDOW and found != _NO_DRIFT and not (found.crossed or drift.crossed)
        return Gap("drift", asked=True, reason=_UNTOLD) if untold else told

    return get


_WINDOW: Final = frozenset({"baseline", "target", "start", "end"})


def _metric(name: str) -> Getter:
    def get(event: Event, facts: Facts) -> object:
        return unknown("metrics", event, facts) if facts.metrics is None else facts.metrics.get(name)

    return get


def _user(table: Literal["tags", "properties"], key: str) -> Getter:
    if table == "tags":
        return lambda event, _: event.tags.get(key)
    return lambda event, _: event.properties.get(key)


def _payload(path: str) -> Getter:
    wanted = path.casefold()
    return lambda event, _: dig(event.data, wanted)


def dig(data: object, path: str) -> object:
    """The value at a dotted path, keys in any case; a key may itself hold dots."""
    if not isinstance(data, dict):
        return None
    for name, value in data.items():
        key = str(name).casefold()
        if key == path and value is not None:
            return value
        if path.startswith(f"{key}.") and (found := dig(value, path[len(key) + 1 :])) is not None:
            return found
    return None


def _fixed() -> dict[str, Path]:
    found = {name: Path(name, _top(name), "text", exact=True) for name in _PLAIN}
    found["time"] = Path("time", _time, "text")
    for part, kind in _PARTS.items():
        for field in kind.__struct_fields__:
            name = f"{part}.{field}"
            words = STATUSES if field == "status" else ()
            if name == "drift.crossed":
                continue  # for messages: its parts are lists of their own
            if name in _FAMILY:
                found[name] = Path(name, _family(field), _kind(name), "job")
            elif name == "run.breached":
                found[name] = Path(name, _breached, "truth", "drift")
            elif name in OF_MONITORS:
                found[name] = Path(name, _drift(field), _kind(name), "drift")
            else:
                exact = name not in _LISTS and name not in _NUMBERS
                found[name] = Path(name, _inner(part, field), _kind(name), exact=exact, words=words)
    for field in _JOB:
        name = f"job.{field}"
        found[name] = Path(name, _job(field), _kind(name), "job", words=STATUSES if field == "status" else ())
    return found


FIXED: Final[Mapping[str, Path]] = _fixed()


def find(name: str, also: Iterable[str] = ()) -> Path | str:
    """The path of this name, or why there is none, with the nearest known one. `also`: what else may be written here."""
    if name in FIXED:
        return FIXED[name]
    head, _, rest = name.partition(".")
    if head in OPEN and rest:
        if head == "metrics":
            return Path(name, _metric(rest), "number", "metrics")
        if head == "data":
            return Path(name, _payload(rest))
        return Path(name, _user("tags" if head == "tags" else "properties", rest), exact=True)
    if head == "event" and rest:
        return f"unknown field {name!r}: fields are written without 'event.' here: {rest!r}"
    if head in OPEN:
        return f"unknown field {name!r}: expected {head}.NAME, with {OPEN[head]}"
    if head in _PARTS or head == "job":
        return f"unknown field {name!r}{nearest(name, [one for one in FIXED if one.startswith(f'{head}.')])}"
    return f"unknown field {name!r}{nearest(name, [*FIXED, *also, *(f'{one}.NAME' for one in OPEN)])}"

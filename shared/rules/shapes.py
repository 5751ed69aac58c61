"""What events of each type carry: which fields they can have, and with which values.

A type comes in several shapes. A drift event of a v1 monitor has a coefficient and no tags, that of a v2 monitor has tags
and may name features: what asks for features of a data set's monitor matches nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from typing import Final, Literal

from shared.events import TYPES
from shared.rules.paths import FIXED, Path

type Kind = Literal["text", "number", "whole", "truth", "any", "texts", "values"]


@dataclass(frozen=True, slots=True)
class Domain:
    """The values of one field. `texts` and `values`: lists of them. `only`: none but these. `unknown`: nobody can tell it."""

    kind: Kind
    missing: bool = True
    only: tuple[object, ...] | None = None
    unknown: bool = False


NOTHING: Final = Domain("any", only=())
UNKNOWN: Final = Domain("any", missing=False, unknown=True)
TEXT: Final = Domain("text")
SOME_TEXT: Final = Domain("text", missing=False)

type Head = Literal["open", "unknown"]


@dataclass(frozen=True)
class Shape:
    """`fields` by name; `heads`: of tags, properties, metrics, job and data, those that hold anything at all."""

    type: str
    fields: Mapping[str, Domain]
    heads: Mapping[str, Head] = field(default_factory=dict)

    def domain(self, path: Path) -> Domain:
        found = self.fields.get(path.name)
        if found is not None:
            return found
        head = path.name.partition(".")[0]
        state = self.heads.get(head)
        if state is None:
            return NOTHING
        if state == "unknown":
            return UNKNOWN
        if head == "data":
            return Domain("values")
        return Domain("any") if head in {"tags", "properties"} else Domain(path.kind)

    def with_fields(self, fields: Mapping[str, Domain]) -> "Shape":
        return replace(self, fields={**self.fields, **fields})


type _Part = Mapping[str, Domain]

_BREACH: Final = "breach"
"""Among the heads: whether the lookup of a monitor's run gave an answer."""

_BREACHED: Final[_Part] = {"run.breached": Domain("truth", missing=False)}

_PLACE: Final[_Part] = {"workspace": TEXT, "resource_group": TEXT, "subscription": TEXT}
_MODEL: Final[_Part] = {"model.name": SOME_TEXT, "model.version": SOME_TEXT}
_ENDPOINT: Final[_Part] = {
    "endpoint.name": SOME_TEXT,
    "endpoint.compute": TEXT,
    "endpoint.models": Domain("texts"),
}
_BLOB: Final[_Part] = {
    "blob.url": SOME_TEXT,
    "blob.container": TEXT,
    "blob.name": TEXT,
    "blob.size": Domain("whole"),
    "blob.folder": TEXT,
    "blob.file": TEXT,
    "blob.folder_url": TEXT,
}
_RUN: Final[_Part] = {"run.id": SOME_TEXT, "run.type": TEXT, "run.status": TEXT, "run.experiment": TEXT}
_DRIFT: Final[_Part] = {"drift.monitor": TEXT}
_WINDOW: Final[_Part] = dict.fromkeys(("drift.baseline", "drift.target", "drift.start", "drift.end"), TEXT)
_DRIFT_V2: Final[_Part] = {
    **_DRIFT,
    **_WINDOW,
    "drift.signal": TEXT,
    "drift.coefficient": Domain("number"),
    "drift.features": Domain("texts"),
}
_DRIFT_V1: Final[_Part] = {
    **_DRIFT,
    "drift.signal": Domain("text", missing=False, only=("data_drift",)),
    "drift.coefficient": Domain("number"),
    **_WINDOW,
}
_COMPLETED: Final[_Part] = {"run.status": Domain("text", missing=False, only=("Completed",))}
_IS_BREACHED: Final[_Part] = {"run.breached": Domain("truth", missing=False, only=(True,))}
_ONLY_ID: Final[_Part] = {"run.type": NOTHING, "run.status": NOTHING, "run.experiment": NOTHING, **_IS_BREACHED}

_TAGGED: Final = frozenset({"tags", "properties"})
_TAGS: Final = frozenset({"tags"})
_NONE: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True)
class _Way:
    """One way in which a type comes: `run`, where it has one, with what is special about it."""

    parts: tuple[_Part, ...] = ()
    heads: frozenset[str] = _NONE
    run: _Part | None = None
    lookups: bool = False
    """Of an event without a run: whether there is one to ask about all the same."""


FROM_AZURE: Final = (
    "RunCompleted",
    "RunStatusChanged",
    "DriftDetected",
    "ModelRegistered",
    "ModelDeployed",
    "BlobCreated",
)
_ROLLOUT: Final = _Way((_PLACE, _MODEL, _ENDPOINT), _TAGS)
_WAYS: Final[Mapping[str, tuple[_Way, ...]]] = {
    "RunCompleted": (_Way((_PLACE,), _TAGGED, _COMPLETED), _Way((_PLACE,), _TAGGED)),
    "RunStatusChanged": (_Way((_PLACE,), _TAGGED, {}), _Way((_PLACE,), _TAGGED)),
    "ModelRegistered": (_Way((_PLACE, _MODEL), _TAGGED, lookups=True), _Way((_PLACE,), _TAGGED)),
    "ModelDeployed": tuple(
        _Way((_PLACE, *parts), _TAGGED) for parts in ((_ENDPOINT, _MODEL), (_ENDPOINT,), (_MODEL,), ())
    ),
    "DriftDetected": (
        _Way((_PLACE, _DRIFT_V2), _TAGGED, _IS_BREACHED),
        _Way((_PLACE, _DRIFT_V2), _TAGGED),
        _Way((_PLACE, _DRIFT_V1), _NONE, _ONLY_ID),
        _Way((_PLACE, _DRIFT_V1), _NONE),
    ),
    # Storage says where the blob is, never which workspace it belongs to.
    "BlobCreated": (_Way(({"resource_group": TEXT, "subscription": TEXT}, _BLOB)),),
    **dict.fromkeys(
        (
            "RolloutStarted",
            "RolloutAdvanced",
            "RolloutWaiting",
            "RolloutCompleted",
            "RolloutRolledBack",
            "RolloutStuck",
        ),
        (_ROLLOUT,),
    ),
    **dict.fromkeys(
        ("ActionCompleted", "ActionFailed"),
        (
            _Way((_PLACE, _MODEL), _TAGS, {}),
            _Way((_PLACE,), _TAGS, {}),
            _Way((_PLACE, _MODEL), _TAGS),
            _Way((_PLACE,), _TAGS),
        ),
    ),
    **dict.fromkeys(("EventRefused", "EventsDeadLettered"), (_Way(),)),
}
"""What is not named here, and no short name, carries tags and a payload; other events of our own may carry anything."""

_ANYTHING: Final = {
    name: Domain("texts" if name in {"endpoint.models", "drift.features"} else path.kind)
    for name, path in FIXED.items()
    if not name.startswith("job.")
}

_OPEN: Final[Mapping[str, Head]] = {"tags": "open", "properties": "open", "data": "open"}
_NOBODY_KNOWS: Final[_Part] = {"run.is_child": UNKNOWN, "run.parent": UNKNOWN}


@cache
def shapes(event_type: str, *, doubt: bool = False) -> tuple[Shape, ...]:
    """The shapes that a type comes in, the usual ones first. `doubt`: also those of which a lookup could not tell."""
    if event_type in TYPES and event_type not in _WAYS:
        return tuple(
            Shape(event_type, {**_ANYTHING, **_always(event_type), **family}, {**_OPEN, **heads})
            for heads in _lookups(doubt=doubt)
            for family in ({}, *([_NOBODY_KNOWS] if heads["job"] == "unknown" else []))
        )
    ways = _WAYS.get(event_type, (_Way((_PLACE,), _TAGGED),))
    return tuple(shape for way in ways for shape in _shapes(event_type, way, doubt=doubt))


def _always(event_type: str) -> _Part:
    return {
        "id": SOME_TEXT,
        "type": Domain("text", missing=False, only=(event_type,)),
        "time": SOME_TEXT,
        "subject": TEXT,
        "source": SOME_TEXT,
    }


def _lookups(*, doubt: bool) -> Iterator[Mapping[str, Head]]:
    states: tuple[Head, ...] = ("open", "unknown") if doubt else ("open",)
    for metrics, job in product(states, states):
        yield {"metrics": metrics, "job": job}


def _shapes(event_type: str, way: _Way, *, doubt: bool) -> Iterator[Shape]:
    fields: dict[str, Domain] = dict(_always(event_type))
    for part in way.parts:
        fields |= part
    heads: dict[str, Head] = {"data": "open", **dict.fromkeys(way.heads, "open")}
    if way.run is None:
        found = _lookups(doubt=doubt) if way.lookups else iter(({},))
        for lookups in found:
            yield Shape(event_type, fields, {**heads, **lookups})
        return
    for lookups in _lookups(doubt=doubt):
        for family in _families(known=lookups["job"] == "open"):
            known = {**fields, **_RUN, **_BREACHED, **way.run, **family}
            yield Shape(event_type, known, {**heads, **lookups})
            for untold in _untold(known) if doubt else ():
                yield Shape(event_type, {**known, **untold}, {**heads, **lookups, _BREACH: "unknown"})


def _untold(known: _Part) -> Iterator[_Part]:
    """What nobody can tell of a monitor's run: all of it, or only which features it was, or only of which time."""
    if "drift.features" not in known:
        return
    which = {"drift.coefficient": UNKNOWN, "drift.features": UNKNOWN}
    yield from (which, dict.fromkeys(_WINDOW, UNKNOWN), {**which, **dict.fromkeys(_WINDOW, UNKNOWN)})


def _families(*, known: bool) -> Iterator[_Part]:
    """No child; a child, whose parent may be known; and where the payload does not say it, what the job said."""
    yield {"run.is_child": Domain("truth", missing=False, only=(False,)), "run.parent": NOTHING}
    yield {"run.is_child": Domain("truth", missing=False, only=(True,)), "run.parent": TEXT}
    if known:
        yield {"run.is_child": NOTHING, "run.parent": NOTHING}
    else:
        yield _NOBODY_KNOWS

"""The door: an envelope becomes an Event, or a PermanentError that says what is wrong with it."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from shared import breach
from shared.bounds import DEFAULTS
from shared.breach import Crossed
from shared.errors import PermanentError

AZURE_ML: Final = "Microsoft.MachineLearningServices."
BREACH: Final = breach.TAG
"""The tag that a v2 model monitor puts on its run when a threshold is breached."""

_ARM: Final = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)(?:/resourceGroups/(?P<group>[^/]+))?"
    r"(?:/providers/[^/]+/(?P<kind>[^/]+)/(?P<name>[^/]+))?",
    re.IGNORECASE,
)
_RUN_SUBJECT: Final = re.compile(r"(?:^|/)runs/(?P<run>[^/]+)$")
_BLOB_SUBJECT: Final = re.compile(r"/containers/(?P<container>[^/]+)/blobs/(?P<name>.+)$")
_COUNT: Final = re.compile(r"\d{1,9}", re.ASCII)
_CHILD_ID: Final = re.compile(r"^(?P<parent>.+)_(?P<n>\d+)$")

STATUSES: Final = (
    "NotStarted",
    "Starting",
    "Provisioning",
    "Preparing",
    "Queued",
    "Running",
    "Finalizing",
    "CancelRequested",
    "Completed",
    "Failed",
    "Canceled",
    "NotResponding",
    "Paused",
    "Unknown",
)
"""Of runs and jobs, as Azure ML spells them; events come in any case and are brought to this spelling."""

_SPELLED: Final = {status.casefold(): status for status in STATUSES}
_PARENT_TYPES: Final = {"azureml.pipelinerun", "pipeline", "azureml.hyperdriverun", "hyperdrive", "sweep", "automl"}
_CHILD_TYPES: Final = {"azureml.steprun"}
_PARENT_KEYS: Final = ("azureml.parentrunid", "parentrunid", "parent_run_id", "azureml.pipelinerunid")


class Run(Struct, frozen=True, omit_defaults=True):
    """A run. `is_child` is None where the payload does not tell: nobody knows yet, which is not "no". So is `breached`: whether it
    is a model monitor's, and ended as it did because a threshold was breached.
    """

    id: str
    type: str | None = None
    status: str | None = None
    experiment: str | None = None
    is_child: bool | None = None
    parent: str | None = None
    breached: bool | None = None


class Model(Struct, frozen=True, omit_defaults=True):
    name: str
    version: str


class Endpoint(Struct, frozen=True, omit_defaults=True):
    """`models` are `name:version`."""

    name: str
    compute: str | None = None
    models: tuple[str, ...] = ()


class Drift(Struct, frozen=True, omit_defaults=True):
    """Drift as a v1 dataset monitor or a v2 model monitor says it. What the source does not say is None or empty. `crossed`:
    the features with their values; `coefficient`: of a v2 monitor, the largest of them.
    """

    monitor: str | None = None
    signal: str | None = None
    coefficient: float | None = None
    features: tuple[str, ...] = ()
    baseline: str | None = None
    target: str | None = None
    start: str | None = None
    end: str | None = None
    crossed: tuple[Crossed, ...] = ()


class Blob(Struct, frozen=True, omit_defaults=True):
    """A blob. `folder` and `file`: its name before and behind the last slash; `folder` is None at the top of the container.
    `folder_url`: the address of what it lies in, without a slash at the end.
    """

    url: str
    container: str | None = None
    name: str | None = None
    size: int | None = None
    folder: str | None = None
    file: str | None = None
    folder_url: str | None = None


class DeadLetter(Struct, frozen=True, omit_defaults=True):
    """Why Event Grid gave up an event, in its own words. `attempts`: how often it tried; `outcome` and `status`: of the last time, at
    `tried`, `status` being that of HTTP. `subscription`: which of them gave up. `back`: when it was brought back.
    """

    reason: str = ""
    attempts: int = 0
    outcome: str = ""
    status: int | None = None
    published: datetime | None = None
    tried: datetime | None = None
    subscription: str = ""
    back: datetime | None = None


class Event(Struct, frozen=True, omit_defaults=True):
    """One event, normalised. Field names are those that rules, templates and records use.

    `raw_type` is the type as it came; `type` is the word rules know it by. `data` is the payload as it came.
    """

    id: str
    type: str
    time: datetime
    source: str
    subject: str = ""
    raw_type: str = ""
    workspace: str | None = None
    resource_group: str | None = None
    subscription: str | None = None
    tags: dict[str, object] = field(default_factory=dict)
    properties: dict[str, object] = field(default_factory=dict)
    run: Run | None = None
    model: Model | None = None
    endpoint: Endpoint | None = None
    drift: Drift | None = None
    blob: Blob | None = None
    data: dict[str, object] = field(default_factory=dict)

    @property
    def record(self) -> str:
        """The id of its record: safe in a URL and in a job name; the same for every delivery of the same event.

        Ids are unique per source by both schemas. Type and subject stand in it because relays and samples do reuse ids,
        and one event too many is better than one that is taken for another.
        """
        name = f"{self.source.casefold()}\n{self.id}\n{self.raw_type.casefold()}\n{self.subject}"
        return sha256(name.encode()).hexdigest()[:20]


TYPES: Final = (
    "RunCompleted",
    "ModelRegistered",
    "ModelDeployed",
    "DriftDetected",
    "RunStatusChanged",
    "BlobCreated",
    "ModelQualityDegraded",
    "ModelQualityRecovered",
    "ModelQualityUnknown",
    "RolloutStarted",
    "RolloutAdvanced",
    "RolloutWaiting",
    "RolloutCompleted",
    "RolloutRolledBack",
    "RolloutStuck",
    "ExpectedEventMissing",
    "ActionCompleted",
    "ActionFailed",
    "EventRefused",
    "EventsDeadLettered",
    "Digest",
    "RuleSilent",
    "RulesChanged",
    "SilenceEnding",
    "SilenceLong",
)
"""The short names. Any other event is known by its full type."""

OWN: Final = "Switchyard."
"""Prefix of the raw type of events that this service raises itself."""


def parse(
    envelope: Mapping[str, object], received: datetime | None = None, *, levels: int = DEFAULTS.payload_levels
) -> Event:
    """An envelope in the Event Grid schema or CloudEvents 1.0, whose `time` may be absent: then it is `received`.
    `levels`: of nesting in its data.

    Raises PermanentError, naming every field that is missing or wrong, for what can't be an event in either schema.
    """
    keys = {name.casefold(): value for name, value in envelope.items()}
    cloud = "specversion" in keys
    if cloud and received is not None and keys.get("time") is None:
        keys["time"] = received.isoformat()
    wanted = ("id", "source", "type", "time") if cloud else ("id", "topic", "eventtype", "eventtime")
    spelled = ("id", "source", "type", "time") if cloud else ("id", "topic", "eventType", "eventTime")
    wrong = [
        f"{shown} is missing" if not keys.get(key) else f"{shown} is {_kind(keys[key])}, expected a string"
        for key, shown in zip(wanted, spelled, strict=True)
        if not isinstance(keys.get(key), str) or not keys[key]
    ]
    data = keys.get("data")
    if _too_deep(data, levels):
        wrong.append(f"data is nested deeper than {levels} levels")
    if not isinstance(data, dict | None):
        wrong.append(f"data is {_kind(data)}, expected an object")
    subject = keys.get("subject")
    if not isinstance(subject, str | None):
        wrong.append(f"subject is {_kind(subject)}, expected a string")
    if wrong:
        schema = "a CloudEvent" if cloud else "an Event Grid event"
        raise PermanentError(f"not {schema}: {'; '.join(wrong)}")
    event_id, source, raw_type, time = (str(keys[key]) for key in wanted)
    assert isinstance(data, dict | None)
    moment = _moment(time, spelled[3])
    return _normal(Event(event_id, raw_type, moment, source, str(subject or ""), raw_type, data=data or {}))


def expected(source: str, sources: Sequence[str]) -> bool:
    """Whether events may come from there: no list allows all. `sources` are ARM ids in lower case; `…/*` are all below one."""
    name = source.lower().rstrip("/")
    return not sources or any(
        name == one or (one.endswith("/*") and name.startswith(one.removesuffix("*"))) for one in sources
    )


def _too_deep(data: object, levels: int) -> bool:
    """Level by level: whoever nests without end must not reach the end of our stack either."""
    level = [data] if isinstance(data, dict | list) else []
    for _ in range(levels):
        if not level:
            return False
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
    return bool(level)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _moment(text: str, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)  # more than six digits of a second are cut, as Event Grid's seven
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise PermanentError(f"{name} is {text!r}, expected an RFC 3339 time such as 2026-11-20T08:30:00Z") from error


def dead_letter(envelope: Mapping[str, object], subscription: str = "") -> DeadLetter:
    """What Event Grid wrote beside an event that it gave up. The names are in lower case where the event is a CloudEvent."""
    said = _Payload(envelope)
    return DeadLetter(
        reason=said.text("deadletterreason") or "",
        attempts=said.whole("deliveryattempts") or 0,
        outcome=said.text("lastdeliveryoutcome") or "",
        status=said.whole("lasthttpstatuscode"),
        published=said.moment("publishtime"),
        tried=said.moment("lastdeliveryattempttime"),
        subscription=subscription,
    )


class _Payload:
    """A payload whose keys match without regard to case; user tags inside it stay verbatim."""

    def __init__(self, data: Mapping[str, object]) -> None:
        self._data = {name.casefold(): value for name, value in data.items()}

    def text(self, name: str) -> str | None:
        value = self._data.get(name)
        if isinstance(value, bool) or value is None or isinstance(value, dict | list):
            return None
        return str(value) or None

    def number(self, name: str) -> float | None:
        value = self._data.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def whole(self, name: str) -> int | None:
        text = self.text(name) or ""
        return int(text) if _COUNT.fullmatch(text) else None

    def moment(self, name: str) -> datetime | None:
        try:
            return _moment(self.text(name) or "", name)
        except PermanentError:
            return None

    def table(self, name: str) -> dict[str, object]:
        value = self._data.get(name)
        return {str(key): item for key, item in value.items()} if isinstance(value, dict) else {}


def _normal(plain: Event) -> Event:
    payload = _Payload(plain.data)
    place = _ARM.search(plain.source)
    if place and not place["group"] and _ARM.match(plain.subject):
        # A subscription raises it, for one of its resources: Azure Policy, the health of resources.
        place = _ARM.match(plain.subject)
    kind = (place["kind"] or "").casefold() if place else ""
    event = _with(
        plain,
        subscription=place["subscription"] if place else None,
        resource_group=place["group"] if place else None,
        workspace=place["name"] if place and kind == "workspaces" else payload.text("workspace"),
    )
    reader = _READERS.get(event.raw_type.casefold())
    return reader(event, payload) if reader else _other(event, payload)


def _with(event: Event, **changes: object) -> Event:
    values = {name: getattr(event, name) for name in event.__struct_fields__}
    return Event(**(values | changes))


def _other(event: Event, payload: _Payload) -> Event:
    own = event.raw_type.removeprefix(OWN)
    tags, properties = payload.table("tags"), payload.table("properties")
    return _with(event, type=own if own in TYPES else event.raw_type, tags=tags, properties=properties)


def _run_event(event: Event, payload: _Payload) -> Event:
    tags, properties = payload.table("runtags"), payload.table("runproperties")
    status = payload.text("runstatus")
    run_id = payload.text("runid") or _from_subject(event.subject)
    completed = event.raw_type.casefold().endswith("runcompleted")
    run = None
    if run_id:
        is_child, parent = _family(run_id, payload.text("runtype"), tags, properties)
        run = Run(
            id=run_id,
            type=payload.text("runtype"),
            status="Completed" if completed and not status else _SPELLED.get((status or "").casefold(), status),
            experiment=payload.text("experimentname"),
            is_child=is_child,
            parent=parent,
        )
        run = replace(run, breached=_breached(run, tags, properties))
    told = next((text for key, text in tags.items() if key.casefold() == BREACH), None)
    if not completed and told:
        drift = breach_of(str(told), tags | properties)
        if drift.monitor is None and run is not None:  # a signal that is not named after its monitor, as Azure asks to
            drift = replace(drift, monitor=run.experiment)
        return _with(event, type="DriftDetected", run=run, tags=tags, properties=properties, drift=drift)
    name = "RunCompleted" if completed else "RunStatusChanged"
    return _with(event, type=name, run=run, tags=tags, properties=properties)


def _from_subject(subject: str) -> str | None:
    found = _RUN_SUBJECT.search(subject)
    return found["run"] if found else None


def _family(
    run_id: str, run_type: str | None, tags: Mapping[str, object], properties: Mapping[str, object]
) -> tuple[bool | None, str | None]:
    """Is it a child, and of whom, by what the payload says; (None, None) where it does not say."""
    known = {key.casefold(): value for key, value in properties.items()}
    parent = next((str(known[key]) for key in _PARENT_KEYS if known.get(key) and str(known[key]) != run_id), None)
    numbered = _CHILD_ID.match(run_id)
    if parent:
        return True, parent
    template = str(known.get("runtemplate") or known.get("run_template") or "").casefold()
    trial = any(key.casefold() == "hyperparameters" for key in tags)  # sweeps stamp each trial with its parameters
    if template == "automl_child" or (numbered and (trial or run_id.startswith(("HD_", "AutoML_")))):
        return True, numbered["parent"] if numbered else None
    kind = (run_type or "").casefold()
    if kind in _CHILD_TYPES:
        return True, None
    return (False, None) if kind in _PARENT_TYPES or template == "automl" else (None, None)


_OVER: Final = frozenset({None, "Completed", "Failed", "Canceled", "Finalizing", "NotResponding", "Unknown"})
_MONITOR_TYPES: Final = frozenset({"azureml.pipelinerun", "pipeline", "azureml.steprun"})


def _breached(run: Run, tags: Mapping[str, object], properties: Mapping[str, object]) -> bool | None:
    """A monitor is a pipeline. The tag is on the step that compared; the runs above it have it only where Azure sends mail, and
    what is below them has to be looked at.
    """
    named = {key.casefold() for key in tags}
    if BREACH in named or any(key.startswith(breach.ROOT_TAG) for key in named):
        return True
    source = next((str(value) for key, value in properties.items() if key.casefold() == "azureml.runsource"), run.type)
    other = source is not None and source.casefold() not in _MONITOR_TYPES
    return False if other or run.status not in _OVER or breach.ERROR_TAG in named else None


def breach_of(text: str, said: Mapping[str, object]) -> Drift:
    """What a v2 monitor says by its sentence, and what the tags and properties beside that say."""
    monitor, signal = breach.names(text, said)
    crossed = breach.crossed(text)
    features = tuple(dict.fromkeys(one.feature for one in crossed if one.feature))
    return Drift(
        monitor=monitor, signal=signal, coefficient=breach.coefficient(crossed), features=features, crossed=crossed
    )


def _model_registered(event: Event, payload: _Payload) -> Event:
    name, version = payload.text("modelname"), payload.text("modelversion")
    if not name and event.subject.startswith("models/"):
        name, _, version = event.subject.removeprefix("models/").rpartition(":")
    model = Model(name, version or "") if name else None
    return _with(
        event,
        type="ModelRegistered",
        model=model,
        tags=payload.table("modeltags"),
        properties=payload.table("modelproperties"),
    )


def _model_deployed(event: Event, payload: _Payload) -> Event:
    models = tuple(part.strip() for part in (payload.text("modelids") or "").split(",") if part.strip())
    name = payload.text("servicename") or event.subject.removeprefix("endpoints/")
    first = models[0].rpartition(":") if models else ("", "", "")
    return _with(
        event,
        type="ModelDeployed",
        endpoint=Endpoint(name, payload.text("servicecomputetype"), models) if name else None,
        model=Model(first[0], first[2]) if first[0] else None,
        tags=payload.table("servicetags"),
        properties=payload.table("serviceproperties"),
    )


def _drift_v1(event: Event, payload: _Payload) -> Event:
    run_id = payload.text("runid") or _from_subject(event.subject)
    drift = Drift(
        monitor=payload.text("datadriftname") or payload.text("datadriftid"),
        signal="data_drift",
        coefficient=payload.number("driftcoefficient"),
        baseline=payload.text("basedatasetid"),
        target=payload.text("targetdatasetid"),
        start=payload.text("starttime"),
        end=payload.text("endtime"),
    )
    return _with(event, type="DriftDetected", drift=drift, run=Run(run_id, breached=True) if run_id else None)


def _blob_created(event: Event, payload: _Payload) -> Event:
    where = _BLOB_SUBJECT.search(event.subject)
    size = payload.number("contentlength")
    return _with(
        event,
        type="BlobCreated",
        blob=blob_of(
            payload.text("url") or "",
            where["container"] if where else None,
            where["name"] if where else None,
            int(size) if size is not None else None,
        ),
    )


def blob_of(url: str, container: str | None, name: str | None, size: int | None = None) -> Blob:
    """With what its name and its address say about where it lies."""
    folder, _, file = (name or "").rpartition("/")
    above = url.partition("?")[0].rpartition("/")[0]
    return Blob(url, container, name, size, folder or None, file or None, above or None)


_READERS: Final = {
    f"{AZURE_ML}RunCompleted".casefold(): _run_event,
    f"{AZURE_ML}RunStatusChanged".casefold(): _run_event,
    f"{AZURE_ML}ModelRegistered".casefold(): _model_registered,
    f"{AZURE_ML}ModelDeployed".casefold(): _model_deployed,
    f"{AZURE_ML}DatasetDriftDetected".casefold(): _drift_v1,
    "microsoft.storage.blobcreated": _blob_created,
}

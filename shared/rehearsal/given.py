"""An event in a few lines, with the fields by the names that `match` knows them by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from shared.events import AZURE_ML, OWN, Blob, Drift, Endpoint, Event, Model, Run, blob_of
from shared.record import LOOKUPS, Facts, Job, WorkspaceRef
from shared.rules import paths
from shared.rules.config import Config
from shared.rules.report import Report
from shared.rules.tree import Node, Plain, nearest

_PARTS: Final[Mapping[str, type[Any]]] = {
    "run": Run,
    "model": Model,
    "endpoint": Endpoint,
    "drift": Drift,
    "blob": Blob,
}
_RUNS: Final = frozenset({"RunCompleted", "RunStatusChanged"})
_AZURE: Final = _RUNS | {"ModelRegistered", "ModelDeployed"}
_RAW: Final = {
    "DriftDetected": f"{AZURE_ML}DatasetDriftDetected",
    "BlobCreated": "Microsoft.Storage.BlobCreated",
    **{name: f"{AZURE_ML}{name}" for name in _AZURE},
}
_LISTS: Final = frozenset({"endpoint.models", "drift.features"})
_NOWHERE: Final = {
    "time": "the clock of the test says the time: 'now', 'after' and 'at' move it",
    "type": "the type stands behind 'event'",
}


@dataclass(frozen=True, slots=True)
class Fields:
    """What is said of an event. `unknown`: lookups that cannot answer, and why."""

    values: Mapping[str, Plain] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)


def read_fields(nodes: Mapping[str, tuple[Node, Any]], report: Report) -> Fields:
    """Of these keys, each a value and the place of the key: the fields. What is wrong with them is said."""
    values: dict[str, Plain] = {}
    unknown: dict[str, str] = {}
    for name, (node, at) in nodes.items():
        if name == "unknown":
            unknown = _unknown(node, report)
            continue
        path = paths.find(name, ["unknown"])
        if name in _NOWHERE:
            report.say(at, f"{name!r} is no field to set: {_NOWHERE[name]}")
        elif isinstance(path, str):
            report.say(at, path)
        else:
            value = _value(path, node, report)
            if value is not None:
                values[path.name] = value
    return Fields(values, unknown)


def _unknown(node: Node, report: Report) -> dict[str, str]:
    """Lookups that give no answer."""
    entries = node.list if isinstance(node.value, list) else [node]
    found = {}
    for entry in entries:
        if entry.value not in LOOKUPS:
            report.say(entry.at, f"unknown: expected metrics, job or drift, found {entry.value!r}")
        else:
            found[str(entry.value)] = "nobody could say"
    return found


def _value(path: paths.Path, node: Node, report: Report) -> Plain:
    if path.name in _LISTS:
        entries = node.list if isinstance(node.value, list) else [node]
        return [str(entry.value) for entry in entries]
    value = node.value
    if path.name.startswith("data.") and isinstance(value, dict | list):
        return node.plain()
    if isinstance(value, dict | list) or value is None:
        report.say(node.at, f"{path.name}: expected a value, found {node.kind}")
        return None
    if path.kind == "number":
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        report.say(node.at, f"{path.name}: expected a number, found {node.kind} {value!r}")
        return None
    if path.kind == "truth":
        if isinstance(value, bool):
            return value
        report.say(node.at, f"{path.name}: expected true or false, found {node.kind} {value!r}")
        return None
    if path.words and value not in path.words:
        report.say(node.at, f"{path.name}: unknown value {value!r}{nearest(str(value), path.words)}")
    if path.name.startswith(("tags.", "properties.", "data.")):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def event_of(kind: str, fields: Fields, number: str, at: datetime, config: Config) -> tuple[Event, Facts]:
    """The event. What it needs and nobody said is made up: the id of a run, the place of its workspace."""
    values = dict(fields.values)
    parts = {part: of for part in _PARTS if (of := _below(part, values)) or (part == "run" and kind in _RUNS)}
    where = _place(values, config)
    event = Event(
        id=str(values.get("id", f"test-{number}")),
        type=kind,
        time=at,
        source=str(values.get("source") or (where.path if where else "/test")),
        subject=str(values.get("subject", "")),
        raw_type=_raw(kind, monitor="run" in parts or "drift" in fields.unknown),
        workspace=where.workspace if where else None,
        resource_group=where.resource_group if where else _plain(values.get("resource_group")),
        subscription=where.subscription if where else _plain(values.get("subscription")),
    )
    built = {part: _part(part, of, kind, number) for part, of in parts.items()}
    if "endpoint" in built and "model" not in built and built["endpoint"].models:
        name, _, version = built["endpoint"].models[0].rpartition(":")
        built["model"] = Model(name, version)
    return _opened(replace(event, **built), values), _facts(fields, values)


def _raw(kind: str, *, monitor: bool) -> str:
    """`monitor`: drift that a run tells of is a v2 monitor's."""
    if kind == "DriftDetected" and monitor:
        return f"{AZURE_ML}RunStatusChanged"
    return _RAW.get(kind, kind if "." in kind else f"{OWN}{kind}")


def overlaid(event: Event, facts: Facts, fields: Fields) -> tuple[Event, Facts]:
    """An event out of a file, with what is said beside it."""
    values = dict(fields.values)
    plain = {name: str(value) for name, value in values.items() if "." not in name}
    changed = replace(event, **plain)
    for part, kind in _PARTS.items():
        said = _below(part, values)
        if said:
            before = getattr(event, part)
            known = {} if before is None else {name: getattr(before, name) for name in before.__struct_fields__}
            changed = replace(changed, **{part: msgspec.convert(_required(part, known | said), kind)})
    given = _facts(fields, values)
    drift = None if "drift" in given.unknown else facts.drift or given.drift
    return _opened(changed, values), Facts(given.metrics or facts.metrics, given.job or facts.job, given.unknown, drift)


def _plain(value: Plain) -> str | None:
    return None if value is None else str(value)


def _below(head: str, values: Mapping[str, Plain]) -> dict[str, Plain]:
    return {name.removeprefix(f"{head}."): value for name, value in values.items() if name.startswith(f"{head}.")}


def _opened(event: Event, values: Mapping[str, Plain]) -> Event:
    """With its tags, its properties and its payload."""
    data: dict[str, Any] = dict(event.data)
    for name, value in _below("data", values).items():
        *heads, last = name.split(".")
        inner = data
        for head in heads:
            inner = inner.setdefault(head, {})
        inner[last] = value
    tags = event.tags | _below("tags", values)
    return replace(event, tags=tags, properties=event.properties | _below("properties", values), data=data)


def _part(part: str, said: dict[str, Any], kind: str, number: str) -> Any:
    if part == "run":
        made = {"id": f"run-{number}"} | ({"status": "Completed"} if kind == "RunCompleted" else {})
        said = made | ({"breached": True} if kind == "DriftDetected" else {}) | said
    return msgspec.convert(_required(part, said), _PARTS[part])


def _required(part: str, said: dict[str, Any]) -> dict[str, Any]:
    """What a part cannot be without."""
    needed: dict[str, dict[str, Any]] = {
        "run": {"id": "run"},
        "model": {"name": "model", "version": "1"},
        "endpoint": {"name": "endpoint"},
    }
    if part == "blob":
        where = f"{said.get('container') or 'container'}/{said.get('name') or 'blob'}"
        said = {"url": f"https://test.blob.core.windows.net/{where}"} | said
        lies = blob_of(said["url"], said.get("container"), said.get("name"))
        said = {"folder": lies.folder, "file": lies.file, "folder_url": lies.folder_url} | said
    if "size" in said:
        said = said | {"size": int(said["size"])}
    return needed.get(part, {}) | said


def _place(values: Mapping[str, Plain], config: Config) -> WorkspaceRef | None:
    name = values.get("workspace")
    if name is None:
        return None
    known = config.workspaces.get(str(name))
    return WorkspaceRef(
        str(values.get("subscription") or (known.subscription if known else "test")),
        str(values.get("resource_group") or (known.resource_group if known else "test")),
        known.workspace if known else str(name),
    )


def _facts(fields: Fields, values: Mapping[str, Plain]) -> Facts:
    metrics: dict[str, Any] = _below("metrics", values)
    job = _below("job", values)
    # Most runs are no monitor's: nobody has to say so each time.
    drift = None if "drift" in fields.unknown else Drift()
    return Facts(metrics or None, msgspec.convert(job, Job) if job else None, dict(fields.unknown), drift)

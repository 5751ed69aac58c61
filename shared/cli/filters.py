"""`switchyard filters`: the Event Grid subscriptions that the rules in force need, as Bicep or JSON. Asks nothing outside
this machine.
"""

import json
import re
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from shared.cli.given import FailedError, bounds
from shared.cloud.dead_letters import CONTAINER as DEAD_LETTERS
from shared.errors import printable
from shared.guards.needs import needs
from shared.record import WorkspaceRef
from shared.rules.filters import Filters, Subscription, Topic, filters
from shared.rules.load import load_texts
from shared.rules.tree import nearest
from shared.settings import INTAKE_QUEUE, read_folder

_SHOWN: Final = 6
"""Rules, or conditions, that a comment names one by one."""


def run(arguments: Namespace) -> int:
    if not arguments.config.is_dir():
        raise FailedError(f"there is no configuration folder {arguments.config}: name one with --config")
    loaded = load_texts(read_folder(arguments.config), bounds=bounds())
    if loaded.problems:
        refused = ", ".join(loaded.rejected_files)
        raise FailedError(
            f"{refused} cannot be read, and a filter without their rules would lose events: "
            f"`switchyard check {arguments.config}` names the mistakes"
        )
    found = filters(
        loaded.rules,
        loaded.config.workspaces.values(),
        needs(loaded.rules),
        one=arguments.one,
        cloudevents=arguments.cloudevents,
    )
    if arguments.topic is not None:
        found = _only(found, arguments.topic)
    if arguments.json or arguments.format == "json":
        print(as_json(found))
    else:
        queue = arguments.deliver == "queue"
        print(as_bicep(found, cloudevents=arguments.cloudevents, queue=queue), end="")
    return 0


def _only(found: Filters, name: str) -> Filters:
    """By the name of a workspace or publisher, or the resource id of a workspace."""
    topics = tuple(
        topic for topic in found.topics if topic.name == name or (_source(topic) or "").casefold() == name.casefold()
    )
    if not topics:
        raise FailedError(f"no topic {name!r} is needed{nearest(name, [topic.name for topic in found.topics])}")
    return msgspec.structs.replace(found, topics=topics)


def filter_of(sub: Subscription) -> dict[str, object]:
    """As Azure Resource Manager knows it."""
    found: dict[str, object] = {"includedEventTypes": list(sub.types), "isSubjectCaseSensitive": False}
    if sub.begins:
        found["subjectBeginsWith"] = sub.begins
    if sub.ends:
        found["subjectEndsWith"] = sub.ends
    if sub.clauses:
        found["enableAdvancedFilteringOnArrays"] = True
        found["advancedFilters"] = [
            {"operatorType": clause.operator, "key": clause.key}
            | ({"values": list(clause.values)} if clause.values else {})
            for clause in sub.clauses
        ]
    return found


def as_json(found: Filters) -> str:
    topics = [
        {
            "kind": topic.kind,
            "name": topic.name,
            "source": _source(topic),
            "topic_type": _topic_type(topic),
            "subscriptions": [
                {
                    "name": sub.name,
                    "filter": filter_of(sub),
                    "rules": list(sub.rules),
                    "lets_through": [{"why": one.why, "what": list(one.what)} for one in sub.passes],
                }
                for sub in topic.subscriptions
            ],
        }
        for topic in found.topics
    ]
    return json.dumps(
        {"version": found.version, "topics": topics, "notes": list(found.notes)}, ensure_ascii=False, indent=2
    )


def _source(topic: Topic) -> str | None:
    place = topic.workspace
    return WorkspaceRef(place.subscription, place.resource_group, place.workspace).path if place else None


_SYSTEM: Final = {
    "workspace": "Microsoft.MachineLearningServices.Workspaces",
    "storage account": "Microsoft.Storage.StorageAccounts",
}


def _topic_type(topic: Topic) -> str | None:
    """None for what has its own, and for a custom topic."""
    return _SYSTEM.get(topic.kind)


def as_bicep(found: Filters, *, cloudevents: bool = False, queue: bool = False) -> str:
    """`queue`: delivered to the storage queue by the identity of the topic, with dead letters; else to the function, by its key."""
    names = _Names()
    schema = "CloudEventSchemaV1_0" if cloudevents else "EventGridSchema"
    way = _by_identity(schema) if queue else _by_key(schema)
    rows = [
        f"// Event Grid subscriptions for the rules of configuration {found.version}. What each lets through that no rule wants",
        "// stands above it. They go into the resource group of their topic; `switchyard filters --topic NAME` prints one topic.",
        *(f"// {printable(note)}" for note in found.notes),
        "",
        *way.parameters,
    ]
    for topic in found.topics:
        rows += ["", *_topic_rows(topic, names, way)]
    return "\n".join(rows) + "\n"


class _Way(msgspec.Struct, frozen=True):
    """How events are delivered: the parameters of the file, what a subscription says of it, and how its name begins."""

    parameters: Sequence[str]
    properties: Mapping[str, object]
    stem: str


_SYSTEM_ASSIGNED: Final = {"type": "SystemAssigned"}
_FOREVER: Final = -1
_TRIES: Final = {"maxDeliveryAttempts": 30, "eventTimeToLiveInMinutes": 1440}
"""The most that Event Grid offers: a day."""

_STEM: Final = "switchyard"


def _by_key(schema: str) -> _Way:
    """Event Grid calls the function. It takes the key itself."""
    parameters = (
        "@description('Resource id of the function that takes events: .../sites/APP/functions/on_event')",
        "param functionId string",
    )
    called = {"endpointType": "AzureFunction", "properties": {"resourceId": _Symbol("functionId")}}
    return _Way(parameters, {"destination": called, "eventDeliverySchema": schema}, _STEM)


def _by_identity(schema: str) -> _Way:
    """Event Grid fills the queue. What it can't put there within a day is a dead letter, and comes back into the record."""
    parameters = (
        "@description('Resource id of the storage account of the app, in whose queue and container the topics may write')",
        "param storageId string",
        "",
        "@description('How the names of the subscriptions begin: another for each app that listens to the same topic')",
        "@maxLength(16)",
        f"param names string = '{_STEM}'",
    )
    account = {"resourceId": _Symbol("storageId")}
    queue = account | {"queueName": INTAKE_QUEUE, "queueMessageTimeToLiveInSeconds": _FOREVER}
    letters = account | {"blobContainerName": DEAD_LETTERS}
    properties = {
        "deliveryWithResourceIdentity": {
            "identity": _SYSTEM_ASSIGNED,
            "destination": {"endpointType": "StorageQueue", "properties": queue},
        },
        "deadLetterWithResourceIdentity": {
            "identity": _SYSTEM_ASSIGNED,
            "deadLetterDestination": {"endpointType": "StorageBlob", "properties": letters},
        },
        "eventDeliverySchema": schema,
        "retryPolicy": _TRIES,
    }
    return _Way(parameters, properties, "${names}")


class _Names:
    """Symbols of the file: each once."""

    def __init__(self) -> None:
        self._taken = {"functionId", "storageId", "names"}

    def new(self, *words: str) -> str:
        parts = re.findall(r"[A-Za-z0-9]+", " ".join(words)) or ["topic"]
        stem = parts[0][:1].lower() + parts[0][1:] + "".join(part[:1].upper() + part[1:] for part in parts[1:])
        stem = stem if stem[0].isalpha() else f"topic{stem}"
        name, n = stem, 1
        while name in self._taken:
            n += 1
            name = f"{stem}{n}"
        self._taken.add(name)
        return name


def _topic_rows(topic: Topic, names: _Names, way: _Way) -> Iterator[str]:
    kind = "topics" if topic.name == "your own topic" else "systemTopics"
    source = _source(topic)
    where = f" of {source}" if source else f" with the events of {topic.name}"
    symbol = names.new(topic.name)
    parameter = names.new(topic.name, "topic")
    yield f"@description({_text(f'Name of the topic{where}')})"
    yield f"param {parameter} string"
    yield ""
    yield f"resource {symbol} 'Microsoft.EventGrid/{kind}@2025-02-15' existing = {{"
    yield f"  name: {parameter}"
    yield "}"
    for sub in topic.subscriptions:
        yield ""
        yield f"// For {_few(sub.rules)}."
        for one in sub.passes:
            yield f"// Lets through what fails these ({printable(one.why)}): {_few(one.what)}"
        own = names.new(topic.name, sub.name.removeprefix("switchyard-"))
        yield f"resource {own} 'Microsoft.EventGrid/{kind}/eventSubscriptions@2025-02-15' = {{"
        yield f"  parent: {symbol}"
        yield f"  name: '{way.stem}{sub.name.removeprefix(_STEM)}'"  # letters and dashes
        yield from _value("properties", {**way.properties, "filter": filter_of(sub)}, 1)
        yield "}"


def _few(words: Sequence[str]) -> str:
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return printable(", ".join(words[:_SHOWN])) + more


class _Symbol(str):
    """A name in the Bicep file, not a text."""

    __slots__ = ()


def _value(name: str, value: object, depth: int) -> Iterator[str]:
    """`name: value`, indented; an element of a list has no name."""
    pad, head = "  " * depth, f"{name}: " if name else ""
    if isinstance(value, dict | list):
        inner: Iterable[tuple[str, object]] = value.items() if isinstance(value, dict) else (("", one) for one in value)
        start, end = "{}" if isinstance(value, dict) else "[]"
        yield f"{pad}{head}{start}"
        for key, one in inner:
            yield from _value(key, one, depth + 1)
        yield f"{pad}{end}"
    else:
        yield f"{pad}{head}{_scalar(value)}"


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    return value if isinstance(value, _Symbol) else _text(str(value))


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\${")
    return "'" + "".join(char if char.isprintable() else f"\\u{{{ord(char):x}}}" for char in escaped) + "'"

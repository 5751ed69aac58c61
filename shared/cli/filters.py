"""`switchyard filters`: the Event Grid subscriptions that the rules in force need, as Bicep or JSON. Asks nothing outside
this machine.
"""

import json
import re
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from shared.cli.given import FailedError, printable
from shared.guards.needs import needs
from shared.record import WorkspaceRef
from shared.rules.filters import Filters, Subscription, Topic, filters
from shared.rules.load import load_texts
from shared.rules.tree import nearest
from shared.settings import read_folder

_SHOWN: Final = 6
"""Rules, or conditions, that a comment names one by one."""


def run(arguments: Namespace) -> int:
    if not arguments.config.is_dir():
        raise FailedError(f"there is no configuration folder {arguments.config}: name one with --config")
    loaded = load_texts(read_folder(arguments.config))
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
        print(as_bicep(found, cloudevents=arguments.cloudevents), end="")
    return 0


def _only(found: Filters, name: str) -> Filters:
    topics = tuple(topic for topic in found.topics if topic.name == name)
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


def as_bicep(found: Filters, *, cloudevents: bool = False) -> str:
    names = _Names()
    rows = [
        f"// Event Grid subscriptions for the rules of configuration {found.version}. What each lets through that no rule wants",
        "// stands above it. They go into the resource group of their topic; `switchyard filters --topic NAME` prints one topic.",
        *(f"// {printable(note)}" for note in found.notes),
        "",
        "@description('Resource id of the function that takes events: .../sites/APP/functions/on_event')",
        "param functionId string",
    ]
    for topic in found.topics:
        rows += ["", *_topic_rows(topic, names, "CloudEventSchemaV1_0" if cloudevents else "EventGridSchema")]
    return "\n".join(rows) + "\n"


class _Names:
    """Symbols of the file: each once."""

    def __init__(self) -> None:
        self._taken = {"functionId"}

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


def _topic_rows(topic: Topic, names: _Names, schema: str) -> Iterator[str]:
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
        yield f"  name: {_text(sub.name)}"
        properties = {
            "destination": {"endpointType": "AzureFunction", "properties": {"resourceId": _Symbol("functionId")}},
            "eventDeliverySchema": schema,
            "filter": filter_of(sub),
        }
        yield from _value("properties", properties, 1)
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
    return value if isinstance(value, _Symbol) else _text(str(value))


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\${")
    return "'" + "".join(char if char.isprintable() else f"\\u{{{ord(char):x}}}" for char in escaped) + "'"

"""Hand the event on: to a topic of Event Grid, or to an event hub. Its id is our key, so that a receiver can drop a repetition.

What is handed on may come back, if the topic is one that this service listens to. Each time it was handed on is counted in its data, and
after some times it is not handed on again.
"""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from shared.actions import Action, Context, Params, SecretName
from shared.actions._address import Address, opened, shown
from shared.actions._text import TWICE, name_of
from shared.errors import PermanentError
from shared.post import deliver
from shared.record import Result

LARGEST: Final = 1_048_576
"""Bytes that a topic takes of one event, and an event hub in every tier but Basic."""

COUNT: Final = "switchyard_forwarded"
"""How often an event was handed on, in its data."""

_TIMES: Final = 3
_SCOPE: Final = "https://eventhubs.azure.net/.default"
_API: Final = "2014-01"
_PARTITION_KEY: Final = 128
_NAMESPACE: Final = re.compile(
    r"[A-Za-z][A-Za-z0-9-]{4,48}[A-Za-z0-9](\.servicebus\.(windows\.net|usgovcloudapi\.net|chinacloudapi\.cn))?"
)
"""With its cloud or without: no other host may see a token of ours."""

_HUB: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,255}")


def _hub(text: str) -> str:
    if "{{" not in text and not _is_hub(text):
        raise ValueError(f"{text!r} names no event hub: expected NAMESPACE/HUB")
    return text


def _is_hub(text: str) -> bool:
    namespace, _, hub = text.partition("/")
    return bool(_NAMESPACE.fullmatch(namespace) and _HUB.fullmatch(hub))


class Forward(Params):
    """Either `topic`, with `key` or by the identity of this app, or `event_hub`."""

    topic: Address | None = Field(
        default=None, description="Where a topic takes events: https://NAME.REGION-1.eventgrid.azure.net/api/events."
    )
    key: SecretName | None = Field(
        default=None, description="Of the topic; left out, the identity of this app is used."
    )
    event_hub: Annotated[str, AfterValidator(_hub)] | None = Field(default=None, description="NAMESPACE/HUB")
    partition_key: str | None = Field(default=None, description="Events with the same one stay in order.")
    format: Literal["eventgrid", "cloudevents"] = Field(
        default="eventgrid", description="A topic takes one of them only."
    )
    type: str | None = Field(default=None, min_length=1, description="Left out, that of the event as it came.")
    data: dict[str, object] | None = Field(default=None, description="Left out, that of the event as it came.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.topic is None) == (self.event_hub is None):
            raise ValueError("give either `topic` or `event_hub`")
        foreign = ("partition_key",) if self.topic else ("key",)
        wrong = sorted(self.model_fields_set.intersection(foreign))
        if wrong:
            raise ValueError(f"{wrong[0]} does not go with `{'topic' if self.topic else 'event_hub'}`")
        return self


async def run(params: Forward, context: Context) -> Result:
    told = _told(params, context)
    if params.topic is not None:
        to = shown(params.topic)
        _check_size(json.dumps([told]), f"the topic {to}")  # as the SDK writes it
        world = context.world
        key = world.secret(params.key[2:-1]) if params.key else None
        await world.topic.send(opened(params.topic, world.secret, "the topic"), key, told)
    else:
        assert params.event_hub is not None
        to = params.event_hub
        await _to_hub(params, told, context)
    twice = f"; {TWICE}" if context.again else ""
    kind = told.get("type") or told.get("eventType")
    return Result(f"handed {kind} on to {to}{twice}", values={"id": told["id"], "to": to})


def _told(params: Forward, context: Context) -> dict[str, Any]:
    """The event as it goes out. Its source stands in the data where the schema leaves it to the topic."""
    event, key = context.event, name_of(context.key)
    times = event.data.get(COUNT)
    times = times if isinstance(times, int) else 0
    if times >= _TIMES:
        raise PermanentError(
            f"this event was handed on {times} times already, and comes back: the rule listens to where it sends. Let its "
            f"`match` leave out what has `data.{COUNT}`"
        )
    kind = params.type or event.raw_type or event.type
    data: Mapping[str, object] = event.data if params.data is None else params.data
    ours: dict[str, object] = {**context.cause, COUNT: times + 1}
    if params.format == "cloudevents":
        subject = {"subject": event.subject} if event.subject else {}
        return {
            "specversion": "1.0",
            "id": key,
            "source": event.source,
            "type": kind,
            "time": event.time.isoformat(),
            **subject,
            "datacontenttype": "application/json",
            "data": {**data, **ours},
        }
    return {
        "id": key,
        "subject": event.subject or "/",
        "eventType": kind,
        "eventTime": event.time.isoformat(),
        "dataVersion": "1",
        "data": {**data, **ours, "switchyard_source": event.source},
    }


async def _to_hub(params: Forward, told: Mapping[str, object], context: Context) -> None:
    world = context.world
    if not _is_hub(str(params.event_hub)):  # a value of the event may hold {{ itself
        raise PermanentError(f"{params.event_hub!r} names no event hub: expected NAMESPACE/HUB")
    namespace, _, hub = str(params.event_hub).partition("/")
    what = f"the event hub {params.event_hub}"
    headers = {
        "Authorization": f"Bearer {await world.azure.token(_SCOPE)}",
        "Content-Type": "application/atom+xml;type=entry;charset=utf-8",  # whatever the body is: theirs
        "switchyard-key": str(told["id"]),
    }
    if params.partition_key:
        if len(params.partition_key) > _PARTITION_KEY:
            raise PermanentError(
                f"the partition key has {len(params.partition_key)} characters, {what} takes {_PARTITION_KEY}"
            )
        headers["BrokerProperties"] = json.dumps({"PartitionKey": params.partition_key})
    text = json.dumps(told)
    _check_size(text + "".join(headers), what)
    base = f"https://{namespace}" if "." in namespace else world.azure.event_hubs(namespace)
    try:
        await deliver(
            world.http,
            "POST",
            f"{base}/{hub}/messages?timeout=60&api-version={_API}",
            what=what,
            now=world.clock(),
            headers=headers,
            body=text.encode(),
        )
    except PermanentError as error:
        if re.search(r" HTTP 40[13]\b", str(error)):
            role = "the role 'Azure Event Hubs Data Sender'"
            raise PermanentError(f"{error}; the identity of this app probably lacks {role}") from None
        raise


def _check_size(text: str, what: str) -> None:
    if len(text) > LARGEST:
        raise PermanentError(
            f"the event has {len(text):,} bytes, {what} takes {LARGEST:,}: say by `data` what is to be handed on"
        )


ACTION = Action(
    example=Forward(
        topic="https://contoso-ml.westeurope-1.eventgrid.azure.net/api/events",
        key="${CONTOSO_ML_KEY}",
        format="cloudevents",
    ),
    run=run,
    idempotent=False,
    summary="Hands the event on to an Event Grid topic or an event hub.",
)

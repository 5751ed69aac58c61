"""`switchyard send`: to a host as Event Grid delivers, one request an event; to a topic by the client of Azure."""

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

from shared.cli.given import FailedError, envelopes
from shared.errors import PermanentError, printable
from shared.events import parse

_PATH: Final = "/runtime/webhooks/eventgrid?functionName=on_event"
_TAKEN: Final = {200, 201, 202, 203, 204}
_SCHEMAS: Final = {True: ("id", "time"), False: ("id", "eventTime")}
_TO_CLOUD: Final = {
    "topic": "source",
    "eventtype": "type",
    "eventtime": "time",
    "id": "id",
    "subject": "subject",
    "data": "data",
}

type Envelope = dict[str, object]


def run(arguments: Namespace) -> int:
    sent = [
        (name, _ready(envelope, fresh=arguments.fresh, cloud=arguments.cloudevents))
        for name in arguments.files
        for envelope in envelopes(name)
    ]
    target = urlsplit(arguments.to)
    if target.scheme not in {"http", "https"} or not target.hostname:
        raise FailedError(f"--to {arguments.to} is not an address: expected a URL such as http://localhost:7071")
    if target.hostname.endswith(".eventgrid.azure.net") or target.path.rstrip("/").endswith("/api/events"):
        _check_sources(sent)
        _publish([envelope for _, envelope in sent], arguments.to, os.environ.get(arguments.key))
        for name, envelope in sent:
            print(f"sent {name}: {_said({'topic': arguments.to, **envelope})} to {arguments.to}")
        return 0
    bare = target.path in {"", "/"} and not target.query
    address = arguments.to.rstrip("/") + _PATH if bare else arguments.to
    return _deliver(sent, address, arguments.to.rstrip("/") if bare else None)


def _ready(envelope: Envelope, *, fresh: bool, cloud: bool) -> Envelope:
    """With an id and a time where they are missing, and in CloudEvents where that is asked for."""
    is_cloud = _is_cloud(envelope)
    there = {name.casefold(): name for name in envelope}
    id_, time = _SCHEMAS[is_cloud]
    ready = dict(envelope)
    for name, new in ((id_, str(uuid4())), (time, datetime.now(UTC).isoformat().replace("+00:00", "Z"))):
        spelled = there.get(name.casefold(), name)
        if fresh or spelled not in ready:
            ready[spelled] = new
    if is_cloud or not cloud:
        return ready
    known = {_TO_CLOUD[name.casefold()]: value for name, value in ready.items() if name.casefold() in _TO_CLOUD}
    return {"specversion": "1.0", **known}


def _is_cloud(envelope: Envelope) -> bool:
    return any(name.casefold() == "specversion" for name in envelope)


def _check_sources(sent: Sequence[tuple[str, Envelope]]) -> None:
    """A topic puts its own name on an event that has none, but a CloudEvent has to say itself where it is from."""
    bare = [name for name, envelope in sent if _is_cloud(envelope) and not _has_source(envelope)]
    if bare:
        raise FailedError(
            f"{bare[0]} says no source, which a CloudEvent needs: write `source`, or `topic`, into the event"
        )


def _has_source(envelope: Envelope) -> bool:
    return any(name.casefold() == "source" and value for name, value in envelope.items())


def _said(envelope: Envelope) -> str:
    try:
        event = parse(envelope)
    except PermanentError as error:
        return printable(str(error))
    return printable(f"{event.type} {event.id}")


def _deliver(sent: Sequence[tuple[str, Envelope]], address: str, console: str | None) -> int:
    """Says for each event what became of it. A refused one does not keep the others."""
    import requests

    failed = 0
    with requests.Session() as session:
        for name, envelope in sent:
            kind = "application/cloudevents+json" if _is_cloud(envelope) else "application/json"
            headers = {
                "aeg-event-type": "Notification",
                "aeg-subscription-name": "SWITCHYARD-SEND",
                "aeg-delivery-count": "0",
                "Content-Type": f"{kind}; charset=utf-8",
            }
            body = envelope if _is_cloud(envelope) else [envelope]
            try:
                answer = session.post(address, json=body, headers=headers, timeout=35)
            except requests.ConnectionError as error:
                raise FailedError(
                    f"no service answers at {console or address}: start one with `switchyard serve`"
                ) from error
            except requests.RequestException as error:
                raise FailedError(f"{name} could not be sent: {error}") from error
            if answer.status_code in _TAKEN:
                print(f"sent {name}: {_said(envelope)}{_link(envelope, console)}")
            else:
                failed += 1
                print(f"switchyard: {name} was not taken in: {_why(answer.status_code, address)}", file=sys.stderr)
    return 1 if failed else 0


def _link(envelope: Envelope, console: str | None) -> str:
    try:
        return f"  {console}/events/{parse(envelope).record}" if console else ""
    except PermanentError:
        return f"  {console}/?status=refused"


def _why(status: int, address: str) -> str:
    """`address` may carry a function key: only its host and path are said."""
    where = urlsplit(address)
    at = f"{where.scheme}://{where.netloc}{where.path}"
    match status:
        case 401 | 403:
            return f"HTTP {status}: {at} asks for a key: add code=KEY to the address"
        case 404:
            return f"HTTP 404: there is no function on_event at {at}: is this a Switchyard host?"
        case 400:
            return f"HTTP 400: {at} does not take this as an Event Grid delivery"
        case _:
            return f"HTTP {status} from {at}: send it again"


def _publish(events: list[Envelope], topic: str, key: str | None) -> None:
    from azure.core.credentials import AzureKeyCredential
    from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError, ServiceRequestError
    from azure.eventgrid import EventGridPublisherClient
    from azure.identity import DefaultAzureCredential

    credential = AzureKeyCredential(key) if key else DefaultAzureCredential()
    try:
        with EventGridPublisherClient(topic, credential) as client:
            for cloud in (False, True):  # one request holds one schema
                if batch := [event for event in events if _is_cloud(event) is cloud]:
                    client.send(batch)
    except ClientAuthenticationError as error:
        raise FailedError(f"{topic} does not let us in: set EVENTGRID_KEY, or sign in with `az login`") from error
    except HttpResponseError as error:
        hint = ": a topic takes one schema, and no event that names another topic; try --cloudevents"
        said = f"HTTP {error.status_code}{hint if error.status_code == 400 else ''}"  # noqa: PLR2004 (HTTP)
        raise FailedError(f"{topic} refused the events with {said}") from error
    except ServiceRequestError as error:
        raise FailedError(f"no topic answers at {topic}: is the address right, and its host within reach?") from error
    except AzureError as error:
        raise FailedError(f"the events could not be published to {topic}: {error.message}") from error

"""Event Grid: takes events in and hands them over at least once, out of order, by its retry schedule, or to the dead."""

import asyncio
import hmac
import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from typing import Any, Final, Literal, cast

import aiohttp
import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.arm import Json, Refused, Spawn, guid, stamp
from simulator.faults import faulty
from simulator.state import Simulated

type Schema = Literal["EventGridSchema", "CloudEventSchemaV1_0"]
type State = Literal["Creating", "AwaitingManualAction", "Succeeded", "Failed"]

TOPIC_KEY: Final = "c2ltdWxhdGVkLXRvcGljLWtleQ=="
LISTENING: Final = "rollouts"
"""A topic to which nobody in the box is subscribed: what is published to it goes into the inbox, for people."""
OUTSIDE: Final = "to-"
"""How the names of such topics of others begin. They take one schema only: CloudEvents where `cloudevents` is in the name."""
SCHEDULE: Final = (10, 30, 60, 300, 600, 1800, 3600, 10_800, 21_600, 43_200)
"""Seconds before the next attempt, by the number of those that failed; the last one from there on."""
AT_LEAST: Final = {404: 300, 408: 120, 503: 30}
"""Seconds before the next attempt after these answers."""
FINAL: Final = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 413: "RequestEntityTooLarge"}
"""Answers after which there is no next attempt."""
ATTEMPTS: Final = 30
LIFE: Final = timedelta(hours=24)
LARGEST: Final = 1024 * 1024
ANSWER_WITHIN: Final = 30.0
"""Seconds of the wall clock: the endpoint works in real time."""

_DELIVERED: Final = {200, 201, 202, 203, 204}
_OUTCOMES: Final = {404: "NotFound", 408: "TimedOut", 429: "Busy", 503: "Busy"}
_AT_ONCE: Final = 64
_ORIGIN: Final = "eventgrid.azure.net"
_TOPIC: Final = (
    "/subscriptions/00000000-0000-4000-8000-000000000000/resourceGroups/box/providers/Microsoft.EventGrid/topics/"
)
"""Always the same: an event that is published twice has to be the same event."""


@dataclass
class Manners:
    """How unkind the network is: shares of deliveries from 0 to 1, and the longest delay in simulated seconds."""

    duplicates: float = 0.02
    late: float = 0.05
    latest: float = 20

    @classmethod
    def chaos(cls) -> "Manners":
        return cls(duplicates=0.25, late=0.5, latest=90)


@dataclass(eq=False)
class Subscription:
    name: str
    endpoint: str
    schema: Schema = "EventGridSchema"
    batch: int = 1
    state: State = "Creating"
    code: str = ""
    problem: str | None = None
    delivered: int = 0
    failed: int = 0


@dataclass(eq=False, slots=True)
class Delivery:
    """One event on its way to one subscription. `luck`: 0 to 1, drawn once, so that a seed repeats a whole history."""

    n: int
    event: Mapping[str, Any]
    to: Subscription
    published: datetime
    luck: float
    again: bool
    attempts: int = 0
    outcome: str = ""
    tried: datetime | None = None
    due: datetime | None = None


@dataclass
class Counts:
    published: int = 0
    delivered: int = 0
    duplicates: int = 0
    attempts: int = 0


@dataclass
class EventGrid:
    """Every subscription gets the events of every topic: the box is the world of one team. `container`: the folder that stands for the
    container of dead letters, where there is one.
    """

    sim: Simulated
    spawn: Spawn
    manners: Manners = field(default_factory=Manners)
    container: Path | None = None
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    dead: deque[Json] = field(default_factory=lambda: deque(maxlen=1000))
    counts: Counts = field(default_factory=Counts)
    pending: dict[int, Delivery] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._number = count(1)
        self._ready: asyncio.Queue[Delivery] = asyncio.Queue()
        self._later: list[tuple[datetime, int, Delivery]] = []
        self._sooner = asyncio.Event()
        self.recent: deque[Mapping[str, Any]] = deque(maxlen=1000)
        self._http: aiohttp.ClientSession

    async def start(self) -> None:
        limits = aiohttp.TCPConnector(limit=_AT_ONCE + 4)
        self._http = aiohttp.ClientSession(connector=limits, timeout=aiohttp.ClientTimeout(ANSWER_WITHIN))
        self.spawn(self._wake())
        for _ in range(_AT_ONCE):
            self.spawn(self._work())

    async def stop(self) -> None:
        await self._http.close()

    # In

    def publish(self, event: Mapping[str, Any]) -> str:
        """Takes an event as it is, well-formed or not, and returns its id. Without a subscription it is gone."""
        self.counts.published += 1
        self.recent.append(event)
        chance, now = self.sim.chance, self.sim.clock.now()
        for subscription in self.subscriptions.values():
            if subscription.state != "Succeeded":
                continue
            late, again, luck = chance.random(), chance.random(), chance.random()
            delivery = Delivery(
                next(self._number), event, subscription, now, luck, again=again < self.manners.duplicates
            )
            self.pending[delivery.n] = delivery
            if late < self.manners.late:
                self._put_off(delivery, luck * self.manners.latest)
            else:
                self._ready.put_nowait(delivery)
        return str(event.get("id", ""))

    def repeat(self, event_id: str) -> str:
        """The event once more, as when an acknowledgement got lost."""
        return self.publish(next(event for event in reversed(self.recent) if event.get("id") == event_id))

    def routes(self) -> list[BaseRoute]:
        def error(status: int) -> Json:
            return {"error": {"code": "ServiceUnavailable", "message": f"Answered {status} on request.", "details": []}}

        return [
            Route("/topics/{topic}/api/events", faulty(self.sim, "topic", error, self._take), methods=["POST"]),
            Route("/eventsubscriptions/{name}/validate", self._confirm),
        ]

    async def _take(self, request: Request) -> Response:
        try:
            name = request.path_params["topic"]
            events = _events(_admitted(request, await request.body()), _TOPIC + name)
            if name.startswith(OUTSIDE):
                _in_schema(events, cloud="cloudevents" in name)
        except Refused as refused:
            return refused.response()
        for event in events:
            if name == LISTENING or name.startswith(OUTSIDE):
                kind, subject = (str(event.get(key) or "") for key in ("eventType", "subject"))
                self.sim.inbox.add(
                    "topic", name, f"{kind or event.get('type')}: {subject}", event, key=str(event["id"])
                )
            else:
                self.publish(event if "specversion" in event else event | {"topic": _TOPIC + name})
        return Response()

    # Subscriptions

    async def subscribe(
        self, name: str, endpoint: str, schema: Schema = "EventGridSchema", batch: int = 1
    ) -> Subscription:
        """Creates or replaces it: the endpoint must agree in the handshake of its schema before it gets an event."""
        subscription = Subscription(name, endpoint, schema, batch, code=guid().upper())
        self.subscriptions[name] = subscription
        for wait in (5, 0):  # the real one tries the handshake a second time, after five seconds
            await self._handshake(subscription)
            if subscription.state != "Failed" or not wait:
                break
            await self.sim.clock.until(self.sim.clock.now() + timedelta(seconds=wait))
        return subscription

    async def _handshake(self, subscription: Subscription) -> None:
        try:
            if subscription.schema == "CloudEventSchemaV1_0":
                await self._ask_origin(subscription)
            else:
                await self._ask_code(subscription)
        except (aiohttp.ClientError, TimeoutError) as error:
            subscription.state, subscription.problem = "Failed", f"no answer from the endpoint: {error or 'timed out'}"

    async def _ask_origin(self, subscription: Subscription) -> None:
        headers = {"WebHook-Request-Origin": _ORIGIN}
        async with self._http.options(subscription.endpoint, headers=headers) as response:
            allowed = response.headers.get("WebHook-Allowed-Origin", "")
            good = response.status == 200 and allowed in {"*", _ORIGIN}  # noqa: PLR2004 (HTTP)
        subscription.state = "Succeeded" if good else "Failed"
        if not good:
            subscription.problem = (
                f"OPTIONS was answered {response.status} with WebHook-Allowed-Origin {allowed!r}; expected 200 with "
                f"{_ORIGIN} or *"
            )

    async def _ask_code(self, subscription: Subscription) -> None:
        path = f"/eventsubscriptions/{subscription.name}/validate?id={subscription.code}"
        event = {
            "id": guid(),
            "topic": "/subscriptions/00000000-0000-0000-0000-000000000000",
            "subject": "",
            "data": {"validationCode": subscription.code, "validationUrl": self.sim.base + path},
            "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
            "eventTime": stamp(self.sim.clock.now()),
            "metadataVersion": "1",
            "dataVersion": "2",
        }
        headers = {"aeg-event-type": "SubscriptionValidation", "aeg-subscription-name": subscription.name.upper()}
        async with self._http.post(subscription.endpoint, json=[event], headers=headers) as response:
            text = await response.text()
        try:
            said = json.loads(text or "{}")
        except ValueError:
            said = {}
        echoed = said.get("validationResponse") if isinstance(said, dict) else None
        if response.status != 200:  # noqa: PLR2004 (HTTP; 202 is not accepted here)
            subscription.state = "Failed"
            subscription.problem = f"the validation event was answered {response.status}; expected 200"
        elif echoed == subscription.code:
            subscription.state = "Succeeded"
        else:
            subscription.state = "AwaitingManualAction"
            subscription.problem = "no validationResponse with the code came back: open the validationUrl instead"

    async def _confirm(self, request: Request) -> Response:
        subscription = self.subscriptions.get(request.path_params["name"])
        if not subscription or request.query_params.get("id") != subscription.code:
            return PlainTextResponse("There is no such validation.", 404)
        subscription.state, subscription.problem = "Succeeded", None
        return PlainTextResponse(f"Webhook of {subscription.name} successfully validated as a subscription endpoint.")

    # Out

    def _put_off(self, delivery: Delivery, seconds: float) -> None:
        delivery.due = self.sim.clock.now() + timedelta(seconds=seconds)
        heappush(self._later, (delivery.due, delivery.n, delivery))
        self._sooner.set()

    async def _wake(self) -> None:
        """Moves deliveries whose time has come to the workers."""
        while True:
            self._sooner.clear()
            now = self.sim.clock.now()
            while self._later and self._later[0][0] <= now:
                self._ready.put_nowait(heappop(self._later)[2])
            next_due = asyncio.create_task(self.sim.clock.until(self._later[0][0])) if self._later else None
            changed = asyncio.create_task(self._sooner.wait())
            waits = [task for task in (next_due, changed) if task]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waits:
                    task.cancel()

    async def _work(self) -> None:
        while True:
            batch = [await self._ready.get()]
            while len(batch) < batch[0].to.batch and not self._ready.empty():
                following = self._ready.get_nowait()
                if following.to is not batch[0].to:
                    self._ready.put_nowait(following)
                    break
                batch.append(following)
            now = self.sim.clock.now()
            alive = [delivery for delivery in batch if not delivery.attempts or now - delivery.published <= LIFE]
            for delivery in batch:
                if delivery not in alive:
                    self._bury(delivery, "TimeToLiveExceeded")
            if alive:
                self._settle(alive, *await self._attempt(alive))

    async def _attempt(self, batch: Sequence[Delivery]) -> tuple[int, str]:
        """Posts it; the status (0: no answer) and the outcome in Event Grid's words."""
        first, to = batch[0], batch[0].to
        self.counts.attempts += 1
        fault = self.sim.fault("eventgrid")
        if fault and fault.how != "lost answer":
            return (fault.how, _outcome(fault.how)) if isinstance(fault.how, int) else (0, "SocketError")
        shaped = [_shape(delivery.event, to.schema) for delivery in batch]
        single = len(shaped) == 1 and to.schema == "CloudEventSchemaV1_0"
        version = first.event.get("dataVersion")
        kind = "application/cloudevents" + ("" if single else "-batch") + "+json"
        headers = {
            "Content-Type": (kind if to.schema == "CloudEventSchemaV1_0" else "application/json") + "; charset=utf-8",
            "aeg-event-type": "Notification",
            "aeg-subscription-name": to.name.upper(),
            "aeg-delivery-count": str(first.attempts),
            "aeg-metadata-version": "1",
            "aeg-data-version": version if isinstance(version, str) and version.isprintable() else "",
        }
        body = msgspec.json.encode(shaped[0] if single else shaped)
        try:
            async with self._http.post(to.endpoint, data=body, headers=headers) as response:
                await response.read()
                status = 0 if fault else response.status
        except TimeoutError:
            return 0, "TimedOut"
        except aiohttp.ClientConnectorDNSError:
            return 0, "ResolutionError"
        except aiohttp.ClientError:
            return 0, "SocketError"
        return status, _outcome(status)

    def _settle(self, batch: Sequence[Delivery], status: int, outcome: str) -> None:
        now = self.sim.clock.now()
        for delivery in batch:
            delivery.attempts += 1
            delivery.outcome, delivery.tried, delivery.due = outcome, now, None
            if status in _DELIVERED:
                self._delivered(delivery)
                continue
            delivery.to.failed += 1
            if status in FINAL:
                self._bury(delivery, f"UndeliverableDueToHttp{FINAL[status]}")
            elif delivery.attempts >= ATTEMPTS:
                self._bury(delivery, "MaxDeliveryAttemptsExceeded")
            else:
                planned = SCHEDULE[min(delivery.attempts, len(SCHEDULE)) - 1]
                jitter = 1 + 0.2 * (delivery.luck * (delivery.attempts + 1) % 1)
                self._put_off(delivery, max(planned, AT_LEAST.get(status, 0)) * jitter)

    def _delivered(self, delivery: Delivery) -> None:
        self.counts.delivered += 1
        delivery.to.delivered += 1
        if delivery.again:  # as if the acknowledgement had come too late
            delivery.again = False
            self.counts.duplicates += 1
            self._put_off(delivery, delivery.luck * self.manners.latest)
        else:
            self.pending.pop(delivery.n, None)

    def _bury(self, delivery: Delivery, reason: str) -> None:
        self.pending.pop(delivery.n, None)
        said = {
            "deadLetterReason": reason,
            "deliveryAttempts": delivery.attempts,
            "lastDeliveryOutcome": delivery.outcome,
            "publishTime": stamp(delivery.published),
            "lastDeliveryAttemptTime": stamp(delivery.tried),
        }
        cloud = delivery.to.schema == "CloudEventSchemaV1_0"
        letter = dict(_shape(delivery.event, delivery.to.schema)) | {
            (name.lower() if cloud else name): value for name, value in said.items()
        }
        self.dead.append(letter)
        if self.container is not None:
            self._write(self.container, delivery.to.name, letter)

    def _write(self, container: Path, subscription: str, letter: Json) -> None:
        """By subscription and hour, as the real one names its blobs: without zeros in front."""
        now = self.sim.clock.now()
        folder = container / subscription.upper() / f"{now.year}/{now.month}/{now.day}/{now.hour}"
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f"{guid()}.tmp"
        unfinished.write_bytes(msgspec.json.encode([letter]))
        unfinished.rename(unfinished.with_suffix(".json"))

    def describe(self) -> Json:
        """For people and tests."""
        return {
            "counts": vars(self.counts) | {"pending": len(self.pending), "dead": len(self.dead)},
            "manners": vars(self.manners),
            "subscriptions": [{k: v for k, v in vars(to).items() if k != "code"} for to in self.subscriptions.values()],
            "pending": [
                {
                    "id": item.event.get("id"),
                    "subscription": item.to.name,
                    "attempts": item.attempts,
                    "last_outcome": item.outcome,
                    "due": stamp(item.due),
                }
                for item in list(self.pending.values())[:200]
            ],
            "dead_letters": list(self.dead),
        }


def _outcome(status: int) -> str:
    if status in _DELIVERED:
        return "Delivered"
    return FINAL.get(status) or _OUTCOMES.get(status) or ("SocketError" if not status else "GenericError")


def _admitted(request: Request, body: bytes) -> bytes:
    bearer = request.headers.get("authorization", "").startswith(("Bearer ", "SharedAccessSignature "))
    if not bearer and not hmac.compare_digest(request.headers.get("aeg-sas-key", "").encode(), TOPIC_KEY.encode()):
        raise Refused(401, "Unauthorized", "Request must contain one of: aeg-sas-token, aeg-sas-key, a bearer.")
    if len(body) > LARGEST:
        raise Refused(413, "PayloadTooLarge", "The maximum size (1048576) has been exceeded.")
    return body


def _events(body: bytes, topic: str) -> list[Json]:
    """The events of a publication, checked as the topic does; or a refusal. `topic`: its own id."""
    try:
        given = json.loads(body)
    except ValueError as error:
        raise Refused(400, "BadRequest", "This resource is configured to receive JSON.") from error
    events = cast("list[object]", given if isinstance(given, list) else [given])
    found: list[Json] = []
    for n, event in enumerate(events):
        if not isinstance(event, dict):
            raise Refused(400, "BadRequest", f"Event {n} of the publication is not an object.")
        wanted = ("id", "source", "type") if "specversion" in event else ("id", "subject", "eventType", "eventTime")
        missing = [name for name in wanted if not event.get(name)]
        if missing:
            raise Refused(400, "BadRequest", f"Event {n}: required properties are missing: {', '.join(missing)}.")
        # Of CloudEvents the source is the publisher's own; in Event Grid's schema a publisher speaks for this topic only.
        if "specversion" not in event and event.get("topic") not in {None, "", topic}:
            raise Refused(400, "BadRequest", f"Event {n}: topic must be left out, or be {topic}.")
        found.append(event)
    return found


def _in_schema(events: Sequence[Json], *, cloud: bool) -> None:
    for event in events:
        if ("specversion" in event) != cloud:
            schema = "CloudEventV10" if cloud else "EventGridEvent"
            raise Refused(
                400,
                "BadRequest",
                f"This resource is configured to receive event in '{schema}' schema. The JSON received does not conform to the "
                "expected schema.",
            )


def _shape(event: Mapping[str, Any], schema: Schema) -> Mapping[str, Any]:
    """The event in the subscription's schema. CloudEvents, and what is no event at all, go as they are."""
    if schema == "EventGridSchema" or "eventType" not in event:
        return event
    names = {
        "id": "id",
        "source": "topic",
        "type": "eventType",
        "time": "eventTime",
        "subject": "subject",
        "data": "data",
    }
    return {"specversion": "1.0"} | {name: event[old] for name, old in names.items() if old in event}

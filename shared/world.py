"""The outside as this service sees it: every door is a field of World, and every door can be a fake in a test."""

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final, Literal, Protocol

from shared.events import Drift
from shared.record import (
    Attempt,
    Decision,
    EventRecord,
    Facts,
    Intent,
    IntentRecord,
    IntentStatus,
    Job,
    Listed,
    Result,
    WorkspaceRef,
)
from shared.rollout.policy import Gate, Kind, Load, Recipe
from shared.rollout.record import EndpointState, Pair, Weights

type Clock = Callable[[], datetime]
"""Now, in UTC."""

type Secret = Callable[[str], str]
"""The value behind a name. Raises PermanentError, naming the name only, when there is none."""


@dataclass(frozen=True)
class Reply:
    """An HTTP answer. Header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Http(Protocol):
    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Reply:
        """One request. TemporaryError when no answer came: `sent` if the request may have arrived."""


@dataclass(frozen=True)
class PipelineJob:
    """A pipeline to submit. `source` is a path of a YAML file in the configuration folder or `azureml:<component>:<version>`.

    `inputs` by name: a number, a boolean, a string, or an asset such as `azureml:train-data:3`.
    """

    name: str
    source: str
    experiment: str
    inputs: Mapping[str, object] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    display_name: str | None = None
    compute: str | None = None


@dataclass(frozen=True)
class Submitted:
    """`again`: the job was there already under this name, from an earlier try."""

    name: str
    status: str
    studio_url: str | None = None
    again: bool = False


class Platform(Protocol):
    """The ML platform. Every method raises TemporaryError or PermanentError and nothing else of its own."""

    async def submit(self, where: WorkspaceRef, job: PipelineJob) -> Submitted: ...

    async def resubmit(self, where: WorkspaceRef, run: str, name: str, tags: Mapping[str, str]) -> Submitted:
        """The job `run` once more, as it was, under a new name."""

    async def job(self, where: WorkspaceRef, run: str) -> Job: ...

    async def metrics(self, where: WorkspaceRef, run: str) -> dict[str, float]:
        """The last value of each metric that the run logged."""

    async def schedule(self, where: WorkspaceRef, name: str, *, enabled: bool) -> bool:
        """Enables or disables a schedule. Returns whether it was enabled before."""

    async def drift(self, where: WorkspaceRef, run: str) -> Drift:
        """What the run of a model monitor found, or one of its steps: features beyond their thresholds. Nothing at all where
        no threshold was breached, where it failed for another reason too, and of a run that is no monitor's.
        """


@dataclass(frozen=True)
class Letter:
    """`pictures`: PNGs by the name under which the HTML shows them, as `cid:<name>`."""

    to: Sequence[str]
    subject: str
    text: str
    html: str
    pictures: Mapping[str, bytes] = field(default_factory=dict)


class Mail(Protocol):
    async def send(self, letter: Letter, key: str) -> str:
        """Hands the letter over under a key that makes a repetition the same letter where the transport knows it.
        Returns the transport's id.
        """

    @property
    def idempotent(self) -> bool:
        """Whether the transport knows the key."""


@dataclass(frozen=True)
class Texted:
    """What became of one recipient. `busy`: refused for now, try again."""

    to: str
    ok: bool
    id: str | None = None
    error: str | None = None
    busy: bool = False


class Sms(Protocol):
    async def send(self, to: Sequence[str], text: str, key: str) -> Sequence[Texted]:
        """One result for each recipient. The key fixes each recipient's repeatability id."""


class GitHub(Protocol):
    async def token(self, repository: str) -> str:
        """A token that may dispatch in `owner/name`: of the GitHub App where one is set, else the configured one."""

    @property
    def api(self) -> str:
        """Where the REST API is, without a slash at the end."""


class Azure(Protocol):
    """Azure's own REST interfaces, where no SDK is worth its weight: who signs in to them, and where they are. Addresses have
    no slash at the end.
    """

    async def token(self, scope: str) -> str:
        """For a scope such as https://dev.azuresynapse.net/.default. Raises TemporaryError or PermanentError."""

    @property
    def manager(self) -> str:
        """The resource manager; its scope is this address and /.default."""

    @property
    def devops(self) -> str:
        """Azure DevOps, without the organisation."""

    def synapse(self, workspace: str) -> str:
        """The development endpoint of a Synapse workspace."""

    def event_hubs(self, namespace: str) -> str:
        """Of a namespace of Event Hubs."""


class Queue(Protocol):
    async def put(self, texts: Sequence[str], *, delay: float = 0) -> None:
        """Messages for on_message, visible after `delay` seconds."""


@dataclass(frozen=True)
class Search:
    """Which events: newest first, those of one moment by id. `before`: `received` and id of the last one seen, for the
    next page.
    """

    limit: int = 50
    type: str | None = None
    status: str | None = None
    since: datetime | None = None
    before: tuple[datetime, str] | None = None


@dataclass(frozen=True)
class Claim:
    """Leave to do an intent. `interrupted`: an earlier try began and never said how it ended."""

    record: IntentRecord
    event: EventRecord
    interrupted: bool = False


class Store(Protocol):
    """Journal, memory and record. What a method says is done survives a kill whenever anything that was done after it
    does; a claim is durable when it returns, because an effect follows that nobody can take back.
    """

    async def take_in(self, record: EventRecord) -> Literal["new", "again", "half"]:
        """Keeps a new event with its decision and queues a Perform for each intent, and a Decide if rules need lookups.

        `again`: it was here before, its deliveries are counted, nothing else happens. `half`: it was here, but an
        earlier try did not get to the end; its messages are queued once more.
        """

    async def decide(
        self, record: str, decision: Decision, facts: Facts, new: Sequence[Intent], until: datetime | None = None
    ) -> None:
        """Replaces the decision after a lookup or a replay and queues the intents that are new. `until`: how long the record is now
        kept; None leaves that as it is.
        """

    async def undecidable(self, record: str, reason: str) -> None:
        """The lookups failed for good: the event waits for a replay."""

    async def claim(self, key: str, now: datetime) -> Claim | None:
        """Leave to do this intent, or None when it has ended. TemporaryError while another worker holds it."""

    async def settle(
        self,
        key: str,
        status: IntentStatus,
        attempt: Attempt,
        result: Result | None = None,
        *,
        maybe_twice: bool | None = None,
    ) -> None:
        """How a try ended. `maybe_twice`: a doubt, which stays until somebody knows better and says False; None: nothing new."""

    async def learn(self, record: str, facts: Facts) -> None:
        """Adds what was looked up for a message, so that the next one need not ask."""

    async def event(self, id: str) -> EventRecord | None:  # noqa: A002 (the word of the contract)
        """By the record's id or by the event's own; the newest where several share it."""

    async def whole(self, id: str) -> tuple[EventRecord, list[IntentRecord]] | None:  # noqa: A002 (as above)
        """An event as `event` finds it, with its intents as `intents` has them."""

    async def events(self, search: Search) -> Sequence[EventRecord]: ...

    async def listed(self, search: Search) -> Sequence[Listed]:
        """The same as lists show it, intents included. An intent that is worked on, or ended a moment ago, may still stand as before."""

    async def intents(self, records: Sequence[str]) -> dict[str, list[IntentRecord]]:
        """The intents of each of these records, in the order of the decision."""

    async def reopen(self, record: str, keys: Sequence[str]) -> None:
        """For a replay: these intents may be claimed again, under the same keys."""

    async def count(self, name: str, limit: int, key: str) -> bool:
        """Takes one of `limit` under `name` for `key`; False when they are used up. The same key takes once only."""

    async def part(self, digest: str, n: int, of: int, body: str) -> list[str] | None:
        """Keeps one part of a long message; all of them, in order, once they are together."""

    async def prune(self, now: datetime) -> int:
        """Forgets ended events that are kept until then; how many went. It may leave some for the next time."""


@dataclass(frozen=True)
class Moved:
    """What became of a change of traffic: `accepted` is seen later, and was as below before; `already`: it was so; `changed`: it is as
    below, which is not as expected, and nothing was written.
    """

    outcome: Literal["accepted", "already", "changed"]
    traffic: Weights = field(default_factory=dict)
    mirror: Weights = field(default_factory=dict)


@dataclass(frozen=True)
class Scored:
    """The answer of a model to one request. `ms`: how long it took, as seen from here."""

    status: int
    body: bytes
    ms: float


@dataclass(frozen=True)
class Pressed:
    """What came of a load. `ms`: of each answer with success, from when its request was due. `failed`: how many by HTTP status, 0
    for those without an answer. `missed`: not begun, because too many were under way; `seconds`: in which the others began.
    """

    sent: int
    seconds: float
    ms: Sequence[float]
    failed: Mapping[int, int]
    missed: int = 0


@dataclass(frozen=True)
class Origin:
    """Where a model version comes from. What is not known is None or empty. `run`: the job that made it; `inputs`: by name,
    the data it read; `commit`, `branch`: of the code, as the run says.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    created: datetime | None = None
    created_by: str | None = None
    run: str | None = None
    experiment: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    commit: str | None = None
    branch: str | None = None
    studio_url: str | None = None


@dataclass(frozen=True)
class EndpointRef:
    """Which endpoint."""

    where: WorkspaceRef
    name: str
    kind: Kind = "managed"


DATA: Final = re.compile(r"(azureml:|https?://|wasbs?://|abfss?://)\S+")
"""What the path of data looks like: registered, on a datastore, or at an address. Never on a disk of ours."""


@dataclass(frozen=True)
class Data:
    """What a job reads or writes, at a path as DATA has it."""

    kind: Literal["uri_folder", "uri_file", "mltable"]
    path: str


@dataclass(frozen=True)
class Invocation:
    """What a batch endpoint is asked for. `name`: of its job; `deployment`: None for the default; `properties`: of the job."""

    name: str
    deployment: str | None = None
    inputs: Mapping[str, Data | str | bool | float] = field(default_factory=dict)
    outputs: Mapping[str, Data] = field(default_factory=dict)
    experiment: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)


class Serving(Protocol):
    """Endpoints, their deployments, and the registry. Every method raises TemporaryError or PermanentError and nothing else
    of its own; a PermanentError for want of quota is a QuotaError, one for something that is not there a MissingError.
    """

    async def endpoint(self, endpoint: EndpointRef) -> EndpointState | None:
        """As it is now, or was a moment ago: reads may be stale. None when there is none."""

    async def create(
        self, endpoint: EndpointRef, name: str, model: str, recipe: Recipe, tags: Mapping[str, str]
    ) -> None:
        """Asks for a deployment of `name:version`; returns when that is accepted. The same again is harmless."""

    async def move(
        self, endpoint: EndpointRef, traffic: Weights, mirror: Weights, expected: tuple[Weights, Weights] | None
    ) -> Moved:
        """Reads, compares, changes and writes the traffic (of a batch endpoint: the default deployment). `expected`: what is
        to be found, live and mirrored; None where it does not matter.
        """

    async def delete(self, endpoint: EndpointRef, name: str) -> None:
        """Asks for the end of a deployment; one that is not there is deleted already."""

    async def score(self, endpoint: EndpointRef, deployment: str, body: bytes) -> Scored:
        """One request to this deployment, by the scoring address. An error status is an answer."""

    async def invoke(self, endpoint: EndpointRef, asked: Invocation) -> Submitted:
        """A job of a batch endpoint; the same name is the same job."""

    async def press(self, endpoint: EndpointRef, deployment: str, bodies: Sequence[bytes], load: Load) -> Pressed:
        """The load, to this deployment alone; made of these requests in turn. An error status is an answer, and so is none;
        TemporaryError where nothing at all was answered.
        """

    async def origin(self, where: WorkspaceRef, model: str, version: str) -> Origin | None:
        """Of a model version; None when there is none."""

    async def tag(self, where: WorkspaceRef, model: str, version: str, tags: Mapping[str, str]) -> None:
        """Puts tags on a model version, beside those it has."""


class Counts(Protocol):
    """What the deployments of an endpoint did, minute by minute. Raises as Serving does."""

    async def minutes(
        self,
        endpoint: EndpointRef,
        source: Literal["logs", "metrics"],
        arms: tuple[str, Sequence[str]],
        span: tuple[datetime, datetime],
        gates: Sequence[Gate],
    ) -> Sequence[Pair]:
        """One pair for every whole minute of the span, oldest first. `arms`: the canary, and the deployments that together
        are the baseline.
        """


class Topic(Protocol):
    async def publish(self, event: Mapping[str, object]) -> None:
        """One event in the Event Grid schema to the topic that is set; nothing where none is."""

    async def send(self, endpoint: str, key: str | None, event: Mapping[str, object]) -> None:
        """One event, in the Event Grid schema or as a CloudEvent, to the topic at this address, by its key or by the identity of this
        app. Raises TemporaryError or PermanentError.
        """


class Documents(Protocol):
    async def read(self, name: str) -> str | None:
        """A text of the configuration folder as it is now, by its name in it; None when there is none."""

    async def changed(self) -> Mapping[str, str] | None:
        """All texts that make up the configuration, by name, as they were together at one moment; None while they are as they were
        when they were last asked for, or somebody is just writing them.
        """


class Shelf(Protocol):
    """Small texts by folder and name, kept for good. What a method has written is durable when it returns.

    Names are at most 100 of letters, digits, `-`, `_`, `.` and `~`, and sort by their characters.
    """

    async def keep(self, folder: str, name: str, text: str) -> str:
        """Keeps it, unless something is there: the first writer wins. Returns what is kept."""

    async def put(self, folder: str, name: str, text: str) -> None: ...

    async def swap(self, folder: str, name: str, old: str | None, new: str | None) -> bool:
        """Replaces `old` by `new`, None standing for nothing there; False when something else is there."""

    async def get(self, folder: str, name: str) -> str | None: ...

    async def all(self, folder: str, *, after: str = "", limit: int = 10_000) -> Sequence[tuple[str, str]]:
        """Names and texts in the order of the names, those behind `after`."""


class Archive(Protocol):
    """Lines of text by day, in the order in which they were appended. Raises TemporaryError or PermanentError and nothing else of its
    own.
    """

    async def append(self, day: date, lines: Sequence[str]) -> None:
        """Durable when it returns; where it does not return, the first of them may be there."""

    async def days(self) -> Sequence[date]:
        """Those that have lines, the oldest first."""

    def read(self, day: date) -> AsyncIterator[str]:
        """The lines of a day, whole ones only; none where there are none."""

    async def prune(self, before: date) -> int:
        """Forgets older days; how many went."""


@dataclass(frozen=True)
class Left:
    """Something that Event Grid could not deliver: a JSON array of events, or one. `mark`: of this state of it."""

    content: bytes
    mark: str


class DeadLetters(Protocol):
    """What Event Grid gave up, as files. Raises TemporaryError or PermanentError and nothing else of its own."""

    async def names(self, limit: int) -> Sequence[str]:
        """Some of them, `limit` at most; none where there is nothing, nor a place for it."""

    async def read(self, name: str) -> Left | None:
        """None where it has gone."""

    async def drop(self, name: str, mark: str) -> None:
        """Deletes it, unless it has changed since it was read, or is gone."""


class Logs(Protocol):
    """Log Analytics. Raises TemporaryError or PermanentError and nothing else of its own."""

    async def rows(self, workspace: str, query: str, span: tuple[datetime, datetime]) -> Sequence[Mapping[str, object]]:
        """Every row of a query in KQL, by column, whose TimeGenerated lies in the span. `workspace`: its id, or the ARM id of a resource
        that has logs. What is cut off by a limit of the service is an error, and no answer.
        """


@dataclass(frozen=True)
class Stored:
    """A blob, and how many bytes it has."""

    name: str
    size: int


class Blobs(Protocol):
    """Files in storage accounts, to read. Containers go by their addresses. Raises as Logs does."""

    def container(self, account: str, name: str) -> str:
        """The address of a container."""

    async def datastore(self, where: WorkspaceRef, name: str) -> str:
        """The address of the container behind a datastore of a workspace."""

    async def asset(self, where: WorkspaceRef, name: str, version: str) -> tuple[str, str]:
        """Where a Data asset lies: a container, and a path in it. `version` may be @latest."""

    async def folders(self, container: str, prefix: str) -> Sequence[str]:
        """What is directly below a prefix that ends in a slash, with it, each with a slash at its end."""

    async def names(self, container: str, prefix: str) -> Sequence[Stored]:
        """In the order of the names; none where there is nothing, nor a container."""

    async def read(self, container: str, name: str) -> bytes: ...


@dataclass(frozen=True)
class World:
    clock: Clock
    http: Http
    secret: Secret
    platform: Platform
    mail: Mail
    sms: Sms
    github: GitHub
    queue: Queue
    store: Store
    serving: Serving
    counts: Counts
    topic: Topic
    documents: Documents
    shelf: Shelf
    rollouts: Queue
    """Of the rollouts that have something to do: `wire.Advance`."""
    archive: Archive
    azure: Azure
    logs: Logs
    blobs: Blobs
    dead_letters: DeadLetters

"""The outside as this service sees it: every door is a field of World, and every door can be a fake in a test."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from shared.record import Attempt, Decision, EventRecord, Facts, Intent, IntentRecord, IntentStatus, Job, Result

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


@dataclass(frozen=True)
class WorkspaceRef:
    """Where a workspace is."""

    subscription: str
    resource_group: str
    workspace: str


class Platform(Protocol):
    """The ML platform. Every method raises TemporaryError or PermanentError and nothing else of its own."""

    async def submit(self, where: WorkspaceRef, job: PipelineJob) -> Submitted: ...

    async def resubmit(self, where: WorkspaceRef, run: str, name: str, tags: Mapping[str, str]) -> Submitted:
        """The job `run` once more, as it was, under a new name."""

    async def job(self, where: WorkspaceRef, run: str) -> Job: ...

    async def metrics(self, where: WorkspaceRef, run: str) -> dict[str, float]:
        """The last value of each metric that the run logged."""


@dataclass(frozen=True)
class Letter:
    to: Sequence[str]
    subject: str
    text: str
    html: str


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

    async def decide(self, record: str, decision: Decision, facts: Facts, new: Sequence[Intent]) -> None:
        """Replaces the decision after a lookup or a replay and queues the intents that are new."""

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
        maybe_twice: bool = False,
    ) -> None:
        """How a try ended."""

    async def learn(self, record: str, facts: Facts) -> None:
        """Adds what was looked up for a message, so that the next one need not ask."""

    async def event(self, id: str) -> EventRecord | None:  # noqa: A002 (the word of the contract)
        """By the record's id or by the event's own; the newest where several share it."""

    async def events(self, search: Search) -> Sequence[EventRecord]: ...

    async def intents(self, records: Sequence[str]) -> dict[str, list[IntentRecord]]:
        """The intents of each of these records, in the order of the decision."""

    async def reopen(self, record: str, keys: Sequence[str]) -> None:
        """For a replay: these intents may be claimed again, under the same keys."""

    async def count(self, name: str, limit: int, key: str) -> bool:
        """Takes one of `limit` under `name` for `key`; False when they are used up. The same key takes once only."""

    async def part(self, digest: str, n: int, of: int, body: str) -> list[str] | None:
        """Keeps one part of a long message; all of them, in order, once they are together."""

    async def prune(self, before: datetime, keep: int) -> int:
        """Forgets ended events older than `before`, and the oldest ended ones beyond `keep`; how many went."""


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

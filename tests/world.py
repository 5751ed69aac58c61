"""A World whose every door is kept in memory: tests say how the far sides answer, and look at what they were given."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as dataclass_replace
from datetime import UTC, date, datetime, timedelta
from typing import Literal, cast

from msgspec.structs import replace

from shared.errors import PermanentError, TemporaryError
from shared.events import Drift
from shared.record import Job, WorkspaceRef
from shared.rollout.policy import Gate, Load, Recipe
from shared.rollout.record import DeploymentState, EndpointState, Pair, Weights
from shared.world import (
    EndpointRef,
    Invocation,
    Left,
    Letter,
    Moved,
    Origin,
    PipelineJob,
    Pressed,
    Queue,
    Reply,
    Scored,
    Shelf,
    Store,
    Stored,
    Submitted,
    Texted,
    World,
)

START = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)


class VirtualClock:
    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Sent:
    """One request that was made."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


type Failure = TemporaryError | PermanentError


class FakeHttp:
    """Answers with what was scripted, in order, then with `otherwise`; keeps every request."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.script: deque[Reply | Failure] = deque()
        self.otherwise: Reply = Reply(202, {}, b'{"runId": "run-1"}')
        self.echoes = False
        """Whether `otherwise` repeats the request's address and headers, as error pages do."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.script.append(Reply(status, {name.replace("_", "-"): text for name, text in headers.items()}, body))

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Reply:
        self.sent.append(Sent(method, url, dict(headers or {}), body or b""))
        answer = self.script.popleft() if self.script else self.otherwise
        if self.echoes and isinstance(answer, Reply):
            answer = Reply(answer.status, answer.headers, f"{url} {dict(headers or {})}".encode())
        if isinstance(answer, Reply):
            return answer
        raise answer


@dataclass
class FakePlatform:
    """Jobs by name: the same name twice is the same job."""

    submitted: dict[str, PipelineJob] = field(default_factory=dict)
    resubmitted: dict[str, tuple[str, Mapping[str, str]]] = field(default_factory=dict)
    places: list[WorkspaceRef] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    """The name of every request, those that were made before included."""
    jobs: dict[str, Job] = field(default_factory=dict)
    measured: dict[str, dict[str, float]] = field(default_factory=dict)
    schedules: dict[str, bool] = field(default_factory=dict)
    drifts: dict[str, Drift] = field(default_factory=dict)
    failure: Failure | None = None

    def _asked(self, where: WorkspaceRef, name: str) -> None:
        self.places.append(where)
        self.names.append(name)
        if self.failure:
            raise self.failure

    async def submit(self, where: WorkspaceRef, job: PipelineJob) -> Submitted:
        self._asked(where, job.name)
        again = job.name in self.submitted
        self.submitted.setdefault(job.name, job)
        return Submitted(job.name, "NotStarted", f"https://ml.azure.com/runs/{job.name}", again)

    async def resubmit(self, where: WorkspaceRef, run: str, name: str, tags: Mapping[str, str]) -> Submitted:
        self._asked(where, name)
        again = name in self.resubmitted
        self.resubmitted.setdefault(name, (run, dict(tags)))
        return Submitted(name, "NotStarted", f"https://ml.azure.com/runs/{name}", again)

    async def job(self, where: WorkspaceRef, run: str) -> Job:
        self._asked(where, run)
        return self.jobs.get(run, Job())

    async def metrics(self, where: WorkspaceRef, run: str) -> dict[str, float]:
        self._asked(where, run)
        return self.measured.get(run, {})

    async def schedule(self, where: WorkspaceRef, name: str, *, enabled: bool) -> bool:
        self.places.append(where)
        if self.failure:
            raise self.failure
        before = self.schedules.get(name, True)
        self.schedules[name] = enabled
        return before

    async def drift(self, where: WorkspaceRef, run: str) -> Drift:
        self._asked(where, run)
        return self.drifts.get(run, Drift())


@dataclass
class FakeMail:
    idempotent: bool = True
    sent: list[tuple[Letter, str]] = field(default_factory=list)
    failure: Failure | None = None

    async def send(self, letter: Letter, key: str) -> str:
        self.sent.append((letter, key))
        if self.failure:
            raise self.failure
        return f"operation-{key}"


@dataclass
class FakeSms:
    """`results` by number says what becomes of a recipient; whoever is not in it gets the message."""

    sent: list[tuple[tuple[str, ...], str, str]] = field(default_factory=list)
    results: dict[str, Texted] = field(default_factory=dict)
    failure: Failure | None = None

    async def send(self, to: Sequence[str], text: str, key: str) -> Sequence[Texted]:
        self.sent.append((tuple(to), text, key))
        if self.failure:
            raise self.failure
        return [self.results.get(one, Texted(one, ok=True, id="m1")) for one in to]


@dataclass
class FakeGitHub:
    secret: str = "marker-github-token"
    api: str = "https://api.github.test"

    async def token(self, repository: str) -> str:
        return self.secret


@dataclass
class FakeAzure:
    secret: str = "marker-azure-token"
    manager: str = "https://management.test"
    devops: str = "https://devops.test"
    lakes: str = "synapse.test"
    scopes: list[str] = field(default_factory=list)

    async def token(self, scope: str) -> str:
        self.scopes.append(scope)
        return self.secret

    def synapse(self, workspace: str) -> str:
        return f"https://{workspace}.{self.lakes}"

    def event_hubs(self, namespace: str) -> str:
        return f"https://{namespace}.hubs.test"


@dataclass
class FakeLogs:
    """`answers`: by query, what makes its rows of the span."""

    answers: dict[str, Callable[[datetime, datetime], Sequence[Mapping[str, object]]]] = field(default_factory=dict)
    asked: list[tuple[str, datetime, datetime]] = field(default_factory=list)
    failure: Failure | None = None

    async def rows(self, workspace: str, query: str, span: tuple[datetime, datetime]) -> Sequence[Mapping[str, object]]:
        self.asked.append((query, *span))
        if self.failure:
            raise self.failure
        return self.answers[query](*span)


@dataclass
class FakeBlobs:
    """Files by container and name; Data assets by `name:version`, each a container and a path."""

    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    assets: dict[str, tuple[str, str]] = field(default_factory=dict)
    failure: Failure | None = None

    def container(self, account: str, name: str) -> str:
        return f"https://{account}.blob.test/{name}"

    async def datastore(self, where: WorkspaceRef, name: str) -> str:
        return self.container("datastores", name)

    async def asset(self, where: WorkspaceRef, name: str, version: str) -> tuple[str, str]:
        return self.assets[f"{name}:{version}"]

    async def folders(self, container: str, prefix: str) -> Sequence[str]:
        below = [name.removeprefix(prefix) for at, name in self.files if at == container and name.startswith(prefix)]
        return sorted({f"{prefix}{name.partition('/')[0]}/" for name in below if "/" in name})

    async def names(self, container: str, prefix: str) -> Sequence[Stored]:
        if self.failure:
            raise self.failure
        found = [(name, raw) for (at, name), raw in self.files.items() if at == container and name.startswith(prefix)]
        return [Stored(name, len(raw)) for name, raw in sorted(found)]

    async def read(self, container: str, name: str) -> bytes:
        return self.files[container, name]


@dataclass
class FakeQueue:
    put_texts: list[tuple[str, float]] = field(default_factory=list)

    async def put(self, texts: Sequence[str], *, delay: float = 0) -> None:
        self.put_texts.extend((text, delay) for text in texts)


@dataclass
class FakeServing:
    """Endpoints by name, each as it was left: what is asked for is there at once. Models by `name:version`."""

    endpoints: dict[str, EndpointState] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    scores: dict[str, Scored] = field(default_factory=dict)
    """What a deployment answers, where it is not 200 and {}."""
    pressed: Pressed | None = None
    asked: list[tuple[object, ...]] = field(default_factory=list)
    invoked: dict[str, tuple[WorkspaceRef, Invocation]] = field(default_factory=dict)
    """Batch jobs by name: the same name twice is the same job."""
    names: list[str] = field(default_factory=list)
    """Of the job of every invocation, those that were made before included."""
    failure: Failure | None = None

    def _asked(self, *call: object) -> None:
        self.asked.append(call)
        if self.failure:
            raise self.failure

    async def endpoint(self, endpoint: EndpointRef) -> EndpointState | None:
        self._asked("endpoint", endpoint.name)
        return self.endpoints.get(endpoint.name)

    async def create(
        self, endpoint: EndpointRef, name: str, model: str, recipe: Recipe, tags: Mapping[str, str]
    ) -> None:
        self._asked("create", endpoint.name, name, model)
        old = self.endpoints[endpoint.name]
        others = [one for one in old.deployments if one.name != name]
        new = DeploymentState(name, "Succeeded", model, dict(tags))
        self.endpoints[endpoint.name] = replace(old, deployments=(*others, new))

    async def move(
        self, endpoint: EndpointRef, traffic: Weights, mirror: Weights, expected: tuple[Weights, Weights] | None
    ) -> Moved:
        self._asked("move", endpoint.name, traffic, mirror)
        old = self.endpoints[endpoint.name]
        if (old.traffic, old.mirror) == (traffic, mirror):
            return Moved("already", traffic, mirror)
        if expected is not None and (old.traffic, old.mirror) != expected:
            return Moved("changed", old.traffic, old.mirror)
        self.endpoints[endpoint.name] = replace(old, traffic=traffic, mirror=mirror)
        return Moved("accepted", old.traffic, old.mirror)

    async def delete(self, endpoint: EndpointRef, name: str) -> None:
        self._asked("delete", endpoint.name, name)
        old = self.endpoints[endpoint.name]
        left = tuple(one for one in old.deployments if one.name != name)
        self.endpoints[endpoint.name] = replace(old, deployments=left)

    async def score(self, endpoint: EndpointRef, deployment: str, body: bytes) -> Scored:
        self._asked("score", endpoint.name, deployment, body)
        return self.scores.get(deployment, Scored(200, b"{}", 20.0))

    async def press(self, endpoint: EndpointRef, deployment: str, bodies: Sequence[bytes], load: Load) -> Pressed:
        self._asked("press", endpoint.name, deployment, tuple(bodies), load)
        n = load.rps * load.seconds
        return self.pressed or Pressed(n, float(load.seconds), [20.0] * n, {})

    async def invoke(self, endpoint: EndpointRef, asked: Invocation) -> Submitted:
        self.names.append(asked.name)
        self._asked("invoke", endpoint.name, asked)
        again = asked.name in self.invoked
        self.invoked.setdefault(asked.name, (endpoint.where, asked))
        return Submitted(asked.name, "NotStarted", f"https://ml.azure.com/runs/{asked.name}", again)

    async def origin(self, where: WorkspaceRef, model: str, version: str) -> Origin | None:
        self._asked("origin", model, version)
        return self.origins.get(f"{model}:{version}")

    async def tag(self, where: WorkspaceRef, model: str, version: str, tags: Mapping[str, str]) -> None:
        self._asked("tag", model, version, dict(tags))
        old = self.origins[f"{model}:{version}"]
        self.origins[f"{model}:{version}"] = dataclass_replace(old, tags={**old.tags, **tags})


@dataclass
class FakeCounts:
    """Those of `pairs` that are in the span."""

    pairs: list[Pair] = field(default_factory=list)
    failure: Failure | None = None

    async def minutes(
        self,
        endpoint: EndpointRef,
        source: Literal["logs", "metrics"],
        arms: tuple[str, Sequence[str]],
        span: tuple[datetime, datetime],
        gates: Sequence[Gate],
    ) -> Sequence[Pair]:
        if self.failure:
            raise self.failure
        return [pair for pair in self.pairs if span[0] <= pair.at < span[1]]


@dataclass
class FakeTopic:
    published: list[Mapping[str, object]] = field(default_factory=list)
    failure: Failure | None = None

    sent: list[tuple[str, str | None, Mapping[str, object]]] = field(default_factory=list)

    async def publish(self, event: Mapping[str, object]) -> None:
        self.published.append(event)
        if self.failure:
            raise self.failure

    async def send(self, endpoint: str, key: str | None, event: Mapping[str, object]) -> None:
        self.sent.append((endpoint, key, event))
        if self.failure:
            raise self.failure


@dataclass
class FakeDocuments:
    """`edited`: the whole configuration, once somebody has changed it."""

    texts: dict[str, str] = field(default_factory=dict)
    edited: dict[str, str] | None = None
    failure: Failure | None = None

    async def read(self, name: str) -> str | None:
        return self.texts.get(name)

    async def changed(self) -> Mapping[str, str] | None:
        if self.failure:
            raise self.failure
        edited, self.edited = self.edited, None
        return edited


@dataclass
class DictShelf:
    folders: dict[str, dict[str, str]] = field(default_factory=dict)

    async def keep(self, folder: str, name: str, text: str) -> str:
        return self.folders.setdefault(folder, {}).setdefault(name, text)

    async def put(self, folder: str, name: str, text: str) -> None:
        self.folders.setdefault(folder, {})[name] = text

    async def swap(self, folder: str, name: str, old: str | None, new: str | None) -> bool:
        texts = self.folders.setdefault(folder, {})
        if texts.get(name) != old:
            return False
        if new is None:
            texts.pop(name, None)
        else:
            texts[name] = new
        return True

    async def get(self, folder: str, name: str) -> str | None:
        return self.folders.get(folder, {}).get(name)

    async def all(self, folder: str, *, after: str = "", limit: int = 10_000) -> Sequence[tuple[str, str]]:
        return sorted(row for row in self.folders.get(folder, {}).items() if row[0] > after)[:limit]


@dataclass
class MemoryArchive:
    lines: dict[date, list[str]] = field(default_factory=dict)

    async def append(self, day: date, lines: Sequence[str]) -> None:
        if lines:
            self.lines.setdefault(day, []).extend(lines)

    async def days(self) -> Sequence[date]:
        return sorted(self.lines)

    async def read(self, day: date) -> AsyncIterator[str]:
        for line in self.lines.get(day, ()):
            yield line

    async def prune(self, before: date) -> int:
        old = [day for day in self.lines if day < before]
        for day in old:
            del self.lines[day]
        return len(old)


@dataclass
class MemoryDeadLetters:
    files: dict[str, bytes] = field(default_factory=dict)

    async def names(self, limit: int) -> Sequence[str]:
        return sorted(self.files)[:limit]

    async def read(self, name: str) -> Left | None:
        content = self.files.get(name)
        return None if content is None else Left(content, str(hash(content)))

    async def drop(self, name: str, mark: str) -> None:
        if name in self.files and str(hash(self.files[name])) == mark:
            del self.files[name]


@dataclass
class Counter:
    """Of a store, what actions use: `count`."""

    taken: dict[str, set[str]] = field(default_factory=dict)

    async def count(self, name: str, limit: int, key: str) -> bool:
        keys = self.taken.setdefault(name, set())
        if key not in keys and len(keys) < limit:
            keys.add(key)
        return key in keys


class FakeSecrets:
    """Any name has a value that a test can look for where it must not be."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        if name.startswith("MISSING"):
            raise PermanentError(f"the setting {name} is not there")
        return self.values.setdefault(name, _marker(name))

    def __repr__(self) -> str:
        return "FakeSecrets(…)"


def _marker(name: str) -> str:
    if "PHONE" in name:
        return "+819098765432"
    if "MAIL" in name:
        return f"marker-value-of-{name}@flows.test"
    # URLs are the rule for webhooks; what goes into a header or a signature is a plain word.
    if "TOKEN" in name or "SECRET" in name:
        return f"marker-value-of-{name}"
    return f"https://flows.test/workflows/marker-id-of-{name}/invoke?sp=run&sig=marker-sig-of-{name}"


@dataclass
class Outside:
    """All the fakes, and the World made of them."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    http: FakeHttp = field(default_factory=FakeHttp)
    secret: FakeSecrets = field(default_factory=FakeSecrets)
    platform: FakePlatform = field(default_factory=FakePlatform)
    mail: FakeMail = field(default_factory=FakeMail)
    sms: FakeSms = field(default_factory=FakeSms)
    github: FakeGitHub = field(default_factory=FakeGitHub)
    queue: FakeQueue = field(default_factory=FakeQueue)
    store: Store = field(default_factory=lambda: cast("Store", Counter()))
    serving: FakeServing = field(default_factory=FakeServing)
    counts: FakeCounts = field(default_factory=FakeCounts)
    topic: FakeTopic = field(default_factory=FakeTopic)
    documents: FakeDocuments = field(default_factory=FakeDocuments)
    shelf: Shelf = field(default_factory=DictShelf)
    rollouts: Queue = field(default_factory=FakeQueue)
    archive: MemoryArchive = field(default_factory=MemoryArchive)
    azure: FakeAzure = field(default_factory=FakeAzure)
    logs: FakeLogs = field(default_factory=FakeLogs)
    blobs: FakeBlobs = field(default_factory=FakeBlobs)
    dead_letters: MemoryDeadLetters = field(default_factory=MemoryDeadLetters)

    @property
    def world(self) -> World:
        return World(
            self.clock,
            self.http,
            self.secret,
            self.platform,
            self.mail,
            self.sms,
            self.github,
            self.queue,
            self.store,
            self.serving,
            self.counts,
            self.topic,
            self.documents,
            self.shelf,
            self.rollouts,
            self.archive,
            self.azure,
            self.logs,
            self.blobs,
            self.dead_letters,
        )

    def fail(self, status: int, retry_after: int | None = None) -> None:
        """Every far side answers so from now on: busy for 408, 429 and 5xx, else a refusal. HTTP ones echo what they got."""
        headers = {} if retry_after is None else {"retry-after": str(retry_after)}
        self.http.otherwise, self.http.echoes = Reply(status, headers, b""), True
        busy = status in {408, 429} or status >= 500
        for door in (self.platform, self.mail, self.sms, self.serving, self.counts, self.topic, self.logs, self.blobs):
            words = f"HTTP {status}"
            door.failure = TemporaryError(words, retry_after=retry_after) if busy else PermanentError(words)

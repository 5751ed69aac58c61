"""What an event costs on Azure: counted at the access log of the storage emulator and at the host's calls, then priced.

    python -m bench.cost [--prices FILE] [--events 20] [--kept] [--write]

The functions of the app run on the real World, as the Functions host calls them, with Azurite for storage and the simulated Azure for
everything else; a rollout is driven by the orchestrator itself, in a simulated fleet. Storage transactions are those that Azurite logs, by
class, and the executions are the calls. What the host does by itself (polling, leases, telemetry, Durable Functions' own storage) is not seen
here: bench/prices.toml says what is assumed of it. `--write` keeps the counts in bench/cost.json and renews the tables of docs/azure.md.
"""

import argparse
import asyncio
import heapq
import json
import logging
import os
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import aiohttp
import azure.functions as func
from azure.data.tables.aio import TableServiceClient
from azure.storage.blob.aio import ContainerClient
from azure.storage.queue import TextBase64DecodePolicy, TextBase64EncodePolicy
from azure.storage.queue.aio import QueueClient
from croniter import croniter
from msgspec.structs import replace as changed

import function_app
from bench.bill import COUNTED, DOCS, PRICES, READMES, Counted, Measured, prices, summarised, summary, tables, written
from functions import host as functions_host
from functions import rollouts
from functions.web import web_app
from local.door import Function
from local.host import Functions, discover
from shared.cloud.account import Account
from shared.cloud.folder import Container
from shared.cloud.shelf import AzureShelf
from shared.cloud.world import AzureWorld, world
from shared.conduct import Conductor
from shared.events import AZURE_ML
from shared.rollout.policy import Sample, Smoke
from shared.rules.load import load_texts
from shared.service import Service
from shared.settings import INTAKE_QUEUE, WORK_QUEUE, Settings, read_folder
from shared.world import Search
from simulator.app import Box
from tests import azurite_server
from tests.durable.drivers import Quick
from tests.fleet import Fate
from tests.station import WORKSPACE

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = 50
"""Events that the console shows at once."""

WARM: Final = 2
"""Events before the counting begins: they make the tables."""

CONFIG: Final = """
defaults: {language: en, tell: platform}
receivers:
  fraud: {teams: "${TEAMS_FRAUD_URL}"}
  platform: {email: mlops@contoso.com}
pipelines:
  weekly: {workspace: prod, source: "azureml:fraud_train:3", experiment: fraud-retraining}
workspaces:
  prod: {subscription: s1, resource_group: mlops, workspace: prod}
"""
RULES: Final = """
rules:
  - name: card
    event: RunCompleted
    match: {tags.case: card}
    do: [{notify: fraud}]
  - name: looked-up
    event: RunCompleted
    match: {tags.case: lookup, metrics.auc: ">= 0.9"}
    do: [{notify: fraud}]
  - name: often
    event: RunCompleted
    match: {tags.case: often}
    throttle: {once_within: 1d}
    do: [{notify: fraud}]
  - name: trials
    event: RunCompleted
    match: {tags.case: trial}
    do: [{notify: fraud}]
  - name: drift
    event: DriftDetected
    do: [{retrain: weekly, tags: {simulated_seconds: 1800}, tell: fraud}]
"""
_LINE: Final = re.compile(r'"(?P<method>[A-Z]+) /(?P<account>[^/?]+)/(?P<path>[^? ]*)\??(?P<query>\S*) HTTP')


# What Azurite saw


def operation(method: str, path: str, query: str) -> str:
    """The service and the class of a transaction, in the words of bench/prices.toml."""
    if "/messages" in path:
        return "queue read" if method == "GET" else "queue write"
    if path == "$batch":
        return "table batch"
    if path.endswith(")"):
        kinds = {"GET": "scan" if path.endswith("()") else "read", "DELETE": "delete"}
        return f"table {kinds.get(method, 'write')}"
    if method == "POST":
        return "table write"
    if method == "GET":
        return "blob list" if "comp=list" in query else "blob read"
    return "blob delete" if method == "DELETE" else "blob write"


class Meter:
    """Counts what the access log says, by account."""

    def __init__(self) -> None:
        self._seen = defaultdict[str, Counter[str]](Counter)
        self._marks = set[str]()
        self._n = 0

    def hear(self, line: str) -> None:
        found = _LINE.search(line)
        if found is None:
            return
        if found["path"].startswith("mark"):
            self._marks.add(found["path"])
        else:
            self._seen[found["account"]][operation(found["method"], found["path"], found["query"])] += 1

    async def read(self, account: str) -> Counter[str]:
        """All of it so far: each service logs in order, so a request of ours at its end says that the rest is in."""
        parts = dict(part.split("=", 1) for part in account.split(";"))
        async with aiohttp.ClientSession() as http:
            for service in ("Blob", "Queue", "Table"):
                self._n += 1
                mark = f"mark{self._n}"
                async with http.get(f"{parts[f'{service}Endpoint']}/{mark}"):
                    pass
                while mark not in self._marks:  # noqa: ASYNC110 (heard by another thread)
                    await asyncio.sleep(0.002)
        return Counter(self._seen[parts["AccountName"]])


# The host


class Logged(logging.Handler):
    """How many bytes our own log has, with its fields, at the level that the host takes by default."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.bytes = 0
        self._usual = set(vars(logging.makeLogRecord({})))

    def emit(self, record: logging.LogRecord) -> None:
        fields = {name: value for name, value in vars(record).items() if name not in self._usual}
        self.bytes += len(json.dumps({"message": record.getMessage(), **fields}, default=str).encode())


@dataclass
class Later:
    """`world.Queue`: what is to wait is put on the queue when its time has come, by the clock of the simulated Azure."""

    inner: Any
    box: Box
    waiting: list[tuple[datetime, int, str]] = field(default_factory=list)
    count: int = 0

    async def put(self, texts: Sequence[str], *, delay: float = 0) -> None:
        if delay <= 0:
            await self.inner.put(texts)
            return
        for text in texts:
            self.count += 1
            due = self.box.sim.clock.now() + timedelta(seconds=delay)
            heapq.heappush(self.waiting, (due, self.count, text))

    async def next(self) -> bool:
        """Lets time pass until something is due; whether anything was waiting."""
        if not self.waiting:
            return False
        due, _, text = heapq.heappop(self.waiting)
        self.box.sim.clock.advance(max(0.0, (due - self.box.sim.clock.now()).total_seconds()) + 0.001)
        await asyncio.sleep(0.02)  # the simulated Azure does what is due in a thread of its own
        await self.inner.put([text])
        return True

    async def close(self) -> None:
        await self.inner.close()


class Hosted:
    """An account and the app on it: what the Functions host does, and how often it was called."""

    def __init__(self, box: Box, meter: Meter, account: str, config: Path) -> None:
        environ = box.environment | {"AzureWebJobsStorage": account, "SWITCHYARD_CONFIG": str(config)}
        environ |= {"TEAMS_FRAUD": box.environment["TEAMS_FRAUD_URL"]}
        self.box, self.account, self.meter = box, account, meter
        self.functions: Functions = discover(function_app.app)
        self.calls = Counter[str]()
        self.logged = Logged()
        self._queues = {name: _client(account, name) for name in (INTAKE_QUEUE, WORK_QUEUE)}
        made, settings = world(Settings.of(environ), environ), Settings.of(environ)
        self.later = Later(made.queue, box)
        made.store._clock, made.store._queue = box.sim.clock.now, self.later  # noqa: SLF001 (its time is the simulated one)
        self.world: AzureWorld = replace(made, clock=box.sim.clock.now, queue=cast("Any", self.later))
        functions_host.use(Service.of(self.world, settings))

    async def open(self) -> None:
        for queue in self._queues.values():
            await queue.create_queue()
        log = logging.getLogger("switchyard")
        log.addHandler(self.logged)
        log.setLevel(logging.INFO)

    async def close(self) -> None:
        logging.getLogger("switchyard").removeHandler(self.logged)
        for queue in self._queues.values():
            await queue.close()
        await self.world.close()

    async def event(self, envelope: Mapping[str, object]) -> None:
        """Event Grid puts it on its queue, and all that comes of it is worked on."""
        await self._queues[INTAKE_QUEUE].send_message(json.dumps(envelope))
        await self.work()

    async def work(self) -> None:
        while await self._drain(INTAKE_QUEUE) + await self._drain(WORK_QUEUE):
            pass

    async def _drain(self, name: str) -> int:
        function, done = self.functions.queues[name], 0
        while messages := [message async for message in self._queues[name].receive_messages(visibility_timeout=30)]:
            for message in messages:
                texts = await self.call(function, func.QueueMessage(id=message.id, body=message.content.encode()))
                for text in texts:
                    await self._queues[str(function.queue)].send_message(text)
                await self._queues[name].delete_message(message)
                done += 1
        return done

    async def call(self, function: Function, given: object) -> list[str]:
        self.calls[function.name] += 1
        return await function(given)

    async def get(self, path: str) -> None:
        self.calls["web"] += 1
        answer = await web_app(func.HttpRequest("GET", f"https://switchyard.test{path}", body=b""), None)
        assert answer.status_code == 200, (path, answer.status_code)

    @asynccontextmanager
    async def counted(self, times: float, into: list[Counted]) -> AsyncGenerator[None]:
        """What happens within, divided by `times`. A message is read once: looking at an empty queue is polling, which the bill has."""
        rows = await _stored(self.account)
        before, calls, logged = await self.meter.read(self.account), Counter(self.calls), self.logged.bytes
        yield
        spent, called = await self.meter.read(self.account), Counter(self.calls) - calls
        spent.subtract(before)
        spent["queue read"] = sum(called[name] for name in ("on_queued_event", "on_message"))
        into.append(
            Counted(
                _each(spent, times),
                _each(called, times),
                log_bytes=round((self.logged.bytes - logged) / times, 1),
                table_bytes=round(max(0, await _stored(self.account) - rows) / times, 1),
            )
        )


def _slope(small: Counted, large: Counted, n: int, more: int) -> tuple[Counted, Counted]:
    """Of `n` and of `more` events besides: what one of them takes, and what the run takes whatever they are."""
    names = small.operations.keys() | large.operations.keys()
    each = {
        name: round((large.operations.get(name, 0) - small.operations.get(name, 0)) / more, 3) for name in sorted(names)
    }
    run = {name: round(max(0.0, small.operations.get(name, 0) - n * each[name]), 3) for name in sorted(names)}
    size = round((large.blob_bytes - small.blob_bytes) / more, 1)
    return Counted({name: k for name, k in each.items() if k > 0}, blob_bytes=size), Counted(run)


def _each(counts: Mapping[str, int], times: float) -> dict[str, float]:
    return {name: round(n / times, 3) for name, n in sorted(counts.items()) if n > 0}


def _client(account: str, name: str) -> QueueClient:
    return QueueClient.from_connection_string(
        account, name, message_encode_policy=TextBase64EncodePolicy(), message_decode_policy=TextBase64DecodePolicy()
    )


async def _stored(account: str) -> int:
    """Bytes in all tables, as Azure reckons them: 4 a row, 2 for each character of the keys and the names, 8 a property, and the value."""
    size = 0
    async with TableServiceClient.from_connection_string(account) as service:
        async for table in service.list_tables():
            async for row in service.get_table_client(table.name).list_entities():
                size += 4 + sum(
                    _value(value) + (0 if name in _KEYS else 8 + 2 * len(name)) for name, value in row.items()
                )
    return size


_KEYS: Final = {"PartitionKey", "RowKey"}


def _value(value: object) -> int:
    match value:
        case bytes():
            return 4 + len(value)
        case str():
            return 4 + 2 * len(value)
        case bool():
            return 1
        case _:
            return 8


# The events


class Events:
    """Envelopes as the simulated Azure ML raises them, about runs that are there to be looked up."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.n = 0

    def run(self, case: str) -> Mapping[str, Any]:
        self.n += 1
        name = f"run-{self.n}"

        async def ends() -> None:
            azureml = self.box.azure.azureml
            here = azureml.workspace("s1", "mlops", "prod")
            tags = {
                "team": "fraud",
                "case": case,
                "mlflow.user": "Sato",
                "git_commit": "3f1c6a528d044f0e9a536b1f7e0d2c11",
            }
            run = azureml.begin(here, name, {"jobType": "Command", "experimentName": "fraud", "tags": tags})
            run.metrics = {"auc": [0.7, 0.93]}
            azureml.turn(here, run, "Completed")

        self.box.run(ends())
        return self.box.azure.eventgrid.recent[-1]

    def trial(self, sweep: int) -> Mapping[str, Any]:
        self.n += 1
        data = {
            "runId": f"HD_{sweep}_{self.n}",
            "experimentName": "fraud",
            "runTags": {"case": "trial", "hyperparameters": "{}"},
        }
        return self.about(f"{AZURE_ML}RunCompleted", data)

    def drift(self) -> Mapping[str, Any]:
        return self.about(
            f"{AZURE_ML}DatasetDriftDetected", {"DataDriftName": "fraud-monitor", "DriftCoefficient": 0.41}
        )

    def about(self, kind: str, data: Mapping[str, object]) -> Mapping[str, Any]:
        self.n += 1
        now = self.box.sim.clock.now().isoformat()
        common = {"topic": WORKSPACE, "subject": f"experiments/fraud/runs/{self.n}", "dataVersion": "1"}
        return {"id": f"event-{self.n}", "eventType": kind, "eventTime": now, "data": data, **common}


type Happen = Callable[[Hosted, Events, int], Awaitable[None]]


async def _once(hosted: Hosted, envelope: Mapping[str, Any]) -> None:
    """A minute after the one before: what a process remembers for seconds has to be looked up again, as at a thousand a day."""
    hosted.box.sim.clock.advance(60)
    await hosted.event(envelope)
    while await hosted.later.next():
        await hosted.work()


def _runs(case: str) -> Happen:
    async def happen(hosted: Hosted, events: Events, n: int) -> None:
        for _ in range(n):
            await _once(hosted, events.run(case))

    return happen


async def _sweep(hosted: Hosted, events: Events, n: int) -> None:
    """All trials of one sweep; then the time passes in which they come together."""
    hosted.box.sim.clock.advance(3600)
    sweep = events.n
    for _ in range(n):
        await hosted.event(events.trial(sweep))
    while await hosted.later.next():
        await hosted.work()


async def _drift(hosted: Hosted, events: Events, n: int) -> None:
    for _ in range(n):
        await _once(hosted, events.drift())


async def _again(hosted: Hosted, events: Events, n: int) -> None:
    first = events.box.azure.eventgrid.recent[-1]
    for _ in range(n):
        await _once(hosted, first)


KINDS: Final[Mapping[str, Happen]] = {
    "no rule wants it": _runs("nobody"),
    "a card": _runs("card"),
    "a card after a lookup": _runs("lookup"),
    "held back": _runs("often"),
    "a trial of a sweep": _sweep,
    "a retraining": _drift,
    "delivered again": _again,
}


# The measurement


class Bench:
    def __init__(self, folder: Path, azurite: azurite_server.Azurite, meter: Meter, box: Box, events: int) -> None:
        self.folder, self.azurite, self.meter, self.box, self.n = folder, azurite, meter, box, events
        self.events = Events(box)

    @asynccontextmanager
    async def hosted(self) -> AsyncGenerator[Hosted]:
        hosted = Hosted(self.box, self.meter, self.azurite.account(), self.folder)
        await hosted.open()
        try:
            yield hosted
        finally:
            await hosted.close()

    async def kind(self, name: str) -> Counted:
        found: list[Counted] = []
        async with self.hosted() as hosted:
            if name == "delivered again":
                await _runs("nobody")(hosted, self.events, 1)
            await KINDS[name](hosted, self.events, WARM)
            async with hosted.counted(self.n, found):
                await KINDS[name](hosted, self.events, self.n)
        return found[0]

    async def rest(self) -> dict[str, Any]:
        """The timers with nothing to do; one event archived and forgotten, and one run of the timer that does it; a page that is looked at."""
        few, many = await self._kept(self.n), await self._kept(self.n + PAGE)
        async with self.hosted() as hosted:
            await _runs("card")(hosted, self.events, WARM)
            timers: dict[str, Counted] = {}
            for function in hosted.functions.timers.values():
                found: list[Counted] = []
                await self._fire(hosted, function.name)
                self.box.sim.clock.advance(60)
                async with hosted.counted(1, found):
                    await self._fire(hosted, function.name)
                timers[function.name] = replace(found[0], table_bytes=0.0)
            fires = {function.name: _fires(schedule) for schedule, function in hosted.functions.timers.items()}
        archived, forgotten = (
            _slope(small, large, self.n, PAGE) for small, large in zip(few[:2], many[:2], strict=True)
        )
        return {
            "timers": timers,
            "fires": fires,
            "archived": archived[0],
            "archiving": archived[1],
            "forgotten": forgotten[0],
            "forgetting": forgotten[1],
            "page": replace(many[2], table_bytes=0.0),
        }

    async def _kept(self, n: int) -> tuple[Counted, Counted, Counted]:
        """So many events archived, forgotten, and the pages of the console over them."""
        archived: list[Counted] = []
        forgotten: list[Counted] = []
        page: list[Counted] = []
        async with self.hosted() as hosted:
            await self._fire(hosted, "on_archive")
            await self._fire(hosted, "on_retention")
            await _runs("card")(hosted, self.events, n)
            async with hosted.counted(2, page):
                await hosted.get("/")
                await hosted.get(f"/events/{await self._newest(hosted)}")
            self.box.sim.clock.advance(7200)
            async with hosted.counted(1, archived):
                await self._fire(hosted, "on_archive")
            archived[0] = replace(archived[0], table_bytes=0.0, blob_bytes=await _archive(hosted.account))
            self.box.sim.clock.advance(40 * 86_400)
            async with hosted.counted(1, forgotten):
                await self._fire(hosted, "on_retention")
        return archived[0], forgotten[0], page[0]

    async def _newest(self, hosted: Hosted) -> str:
        (record, *_) = await hosted.world.store.events(Search(limit=1))
        return record.id

    async def _fire(self, hosted: Hosted, name: str) -> None:
        function = next(one for one in hosted.functions.timers.values() if one.name == name)
        await hosted.call(function, func.TimerRequest(past_due=False))

    async def container(self) -> Counted:
        """One look at a configuration that is as it was."""
        account, times = self.azurite.account(), 5
        async with ContainerClient.from_connection_string(account, "switchyard-config") as container:
            await container.create_container()
            for name, text in read_folder(ROOT / "config").items():
                await container.upload_blob(name, text.encode())
            documents = Container(container.url, Account(account), lambda: datetime(2100, 1, 1, tzinfo=UTC))
            await documents.changed()
            before = await self.meter.read(account)
            for _ in range(times):
                assert await documents.changed() is None
            spent = await self.meter.read(account)
            spent.subtract(before)
            await documents.close()
        return Counted(_each(spent, times))

    async def naive(self) -> Counted:
        """A queue, and one row for each message."""
        account = self.azurite.account()
        async with _client(account, "naive") as queue, TableServiceClient.from_connection_string(account) as service:
            await queue.create_queue()
            table = await service.create_table("naive")
            before = await self.meter.read(account)
            for n in range(self.n):
                await queue.send_message("an event")
                (message,) = [one async for one in queue.receive_messages(max_messages=1)]
                await table.create_entity({"PartitionKey": "events", "RowKey": f"{n}"})
                await queue.delete_message(message)
            spent = await self.meter.read(account)
            spent.subtract(before)
        return Counted(_each(spent, self.n), {"naive": 1.0})

    async def rollout(self) -> Counted:
        """The shipped policy, from the first check to the end of the old deployment, on Durable Functions' own orchestrator."""
        account, calls = self.azurite.account(), Counter[str]()
        shelf = AzureShelf(Account(account))
        shipped = load_texts(read_folder(ROOT / "config")).policies["fraud-online"]
        smoke = Smoke((Sample("one", '{"x": 1}', "[1]"),), p95_ms=1000)
        policy = changed(shipped, responsible_ai=False, smoke=smoke)  # what the simulated fleet has and answers
        fleet = Quick(7, policy=policy, fate=Fate(reply="approve", reply_after=1800), shelf=shelf)
        conductor = Conductor(fleet.world)
        functions_host.use(cast("Service", SimpleNamespace(conductor=conductor, world=fleet.world)))
        await fleet.open()
        await conductor.start(fleet.rollout)
        before = await self.meter.read(account)
        verdict = await orchestrated(fleet, calls)
        spent = await self.meter.read(account)
        spent.subtract(before)
        await shelf.close()
        assert verdict == "promoted", verdict
        return Counted(_each(spent, 1), _each(calls, 1))


def _fires(schedule: str) -> int:
    """Times a day."""
    begin = datetime(2026, 11, 24, tzinfo=UTC) - timedelta(seconds=1)
    due, n = croniter(schedule, begin, second_at_beginning=True), 0
    while due.get_next(datetime) < begin + timedelta(days=1):
        n += 1
    return n


async def _archive(account: str) -> int:
    async with ContainerClient.from_connection_string(account, "switchyard-archive") as container:
        return sum([blob.size async for blob in container.list_blobs()])


def _polling() -> float:
    """Seconds between two looks at an empty queue, by host.json."""
    text = json.loads((ROOT / "host.json").read_text())["extensions"]["queues"]["maxPollingInterval"]
    hours, minutes, seconds = map(float, text.split(":"))
    return hours * 3600 + minutes * 60 + seconds


# A rollout, as Durable Functions runs it


@dataclass
class Timer:
    at: datetime

    def cancel(self) -> None:
        """Nobody waits for it any more."""


class Context:
    """What the orchestrator asks of the engine. A word is never said before it is listened for."""

    EAR: Final = "ear"

    def __init__(self, fleet: Quick) -> None:
        self._fleet = fleet
        self.instance_id = fleet.rollout.id
        self.again = False

    @property
    def current_utc_datetime(self) -> datetime:
        return self._fleet.clock.now

    def call_activity_with_retry(self, name: str, _: object, text: str) -> tuple[str, str]:
        return name, text

    def create_timer(self, at: datetime) -> Timer:
        return Timer(at)

    def wait_for_external_event(self, _: str) -> str:
        return self.EAR

    def task_any(self, tasks: list[Any]) -> list[Any]:
        return tasks

    def continue_as_new(self, _: object) -> None:
        self.again = True


async def orchestrated(fleet: Quick, calls: Counter[str]) -> str | None:
    """Its verdict. Each time that something has happened the orchestrator is called again."""
    built = [one._function for one in rollouts.bp._function_builders]  # noqa: SLF001 (an app tells its functions once a process)
    activities = {one.get_function_name(): one.get_user_function() for one in built}
    context = Context(fleet)
    while True:
        answer: object = None
        context.again, steps = False, rollouts.conduct(context)
        try:
            while True:
                calls["rollout"] += 1
                match steps.send(answer):
                    case (str(name), str(text)):
                        calls[name] += 1
                        answer = await activities[name](text)
                    case Timer(at=at):
                        await fleet.rest(at)
                        answer = None
                    case [Timer() as timer, ear]:
                        await fleet.rest(timer.at)
                        answer = timer if fleet.clock.now >= timer.at else ear
        except StopIteration as end:
            if not context.again:
                verdict: str | None = end.value
                return verdict


async def measure(folder: Path, azurite: azurite_server.Azurite, meter: Meter, box: Box, events: int) -> Measured:
    bench = Bench(folder, azurite, meter, box, events)
    kinds = {name: await bench.kind(name) for name in KINDS}
    rest = await bench.rest()
    return Measured(
        kinds=kinds,
        container=await bench.container(),
        naive=await bench.naive(),
        rollout=await bench.rollout(),
        poll_seconds=_polling(),
        queues=len(discover(function_app.app).queues),
        **rest,
    )


def counted(events: int) -> Measured:
    """Starts what it takes, and counts."""
    meter = Meter()
    with tempfile.TemporaryDirectory() as temporary, Box(rate=0, seed=1) as box:
        folder = Path(temporary) / "config"
        (folder / "rules").mkdir(parents=True)
        (folder / "switchyard.yaml").write_text(CONFIG)
        (folder / "rules" / "team.yaml").write_text(RULES)
        os.environ.update(box.environment)
        with azurite_server.running(Path(temporary), print, hear=meter.hear) as azurite:
            return asyncio.run(measure(folder, azurite, meter, box, events))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.cost", description=__doc__.partition("\n")[0])
    parser.add_argument("--prices", type=Path, default=PRICES, help="a file like bench/prices.toml")
    parser.add_argument("--events", type=int, default=20, help="of each kind")
    parser.add_argument("--write", action="store_true", help="keep the counts, and renew the tables of docs/azure.md")
    parser.add_argument("--kept", action="store_true", help="count nothing: take what bench/cost.json keeps")
    given = parser.parse_args()
    measured = Measured.load(COUNTED.read_text(encoding="utf-8")) if given.kept else counted(given.events)
    price = prices(given.prices)
    print(tables(measured, price))
    if given.write:
        COUNTED.write_text(json.dumps(asdict(measured), indent=1, sort_keys=True) + "\n")
        for document in DOCS:
            document.write_text(written(document.read_text(encoding="utf-8"), measured, price), encoding="utf-8")
        for language, readme in READMES.items():
            line = summary(measured, price, language)
            readme.write_text(summarised(readme.read_text(encoding="utf-8"), line), encoding="utf-8")


if __name__ == "__main__":
    main()

"""A service in the middle of everything: what a release keeps, on either store, for the next one to read and go on with."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, Final

from msgspec.structs import replace

from local.rollouts import Rollouts
from local.sqlite import Database
from shared import book, wire
from shared.cloud.account import Account
from shared.cloud.shelf import AzureShelf
from shared.cloud.store import AzureStore
from shared.record import Ack, Comment, EventRecord, IntentRecord, Job, Silence
from shared.rollout.record import Freeze
from shared.rules.load import load_texts
from shared.service import Service
from shared.settings import Settings
from shared.world import Queue, Search
from tests.durable.drivers import Resting
from tests.histories.stories import STORIES
from tests.station import SWITCHYARD, WORKSPACE, Station, run_event
from tests.world import Outside

RULES: Final = """
rules:
  - name: good-run
    event: RunCompleted
    match: {metrics.auc: ">= 0.9"}
    do: [{notify: fraud}]
  - name: failed-run
    event: RunStatusChanged
    match: {run.status: Failed}
    do: [{notify: incident}]
  - name: sweep
    event: RunCompleted
    match: {run.experiment: sweep}
    throttle: {accumulate_within: 1h, threshold: 3, by: [run.experiment]}
    do: [{notify: fraud}]
  - name: once
    event: Contoso.Noise
    throttle: {once_within: 30m}
    do: [{notify: fraud}]
  - name: busy
    event: Contoso.Busy
    do: [{notify: fraud}]
  - name: train-again
    event: DriftDetected
    do: [{retrain: weekly, tell: fraud}]
  - name: model-not-deployed
    expect: ModelDeployed
    after: ModelRegistered
    within: 2h
    by: [model.name, model.version]
    do: [{notify: fraud}]
"""
MAIN: Final = SWITCHYARD.replace(
    "receivers:\n", 'receivers:\n  incident: {teams: "${TEAMS_INCIDENT}", escalate: [{after: 30m, notify: phones}]}\n'
)
FILES: Final = {"switchyard.yaml": MAIN, "rules/team.yaml": RULES}
KEY: Final = "a key that signs links, and no secret"
ROLLOUT: Final = "promoted"
"""The story of the rollout that waits for an answer when the state is kept."""


def well(outside: Outside) -> None:
    """Every far side answers again."""
    outside.http.otherwise, outside.http.echoes = Outside().http.otherwise, False
    for door in (outside.platform, outside.mail, outside.sms):
        door.failure = None


def contoso(name: str, kind: str, **data: object) -> dict[str, object]:
    return {
        "id": name,
        "topic": WORKSPACE,
        "subject": "models/fraud",
        "eventType": kind,
        "eventTime": "2026-11-20T08:29:00Z",
        "data": data,
        "dataVersion": "1",
    }


def failed(name: str) -> dict[str, object]:
    return run_event(name, "RunStatusChanged", runStatus="Failed")


class OnAzure:
    """As a Station, on the storage of Azure; its queue is kept in memory, with the time at which each message may be seen."""

    def __init__(self, outside: Outside, account: str) -> None:
        self.outside = outside
        self.waiting: list[tuple[datetime, str]] = []
        self.store = AzureStore(Account(account), self, outside.clock)
        self.shelf = AzureShelf(Account(account))
        outside.store, outside.queue, outside.shelf = self.store, self, self.shelf  # type: ignore[assignment]  # not the fakes
        self.service = Service(outside.world, Settings(), load_texts(FILES))

    async def close(self) -> None:
        await self.store.close()
        await self.shelf.close()

    async def put(self, texts: Sequence[str], *, delay: float = 0) -> None:
        self.waiting += [(self.outside.clock() + timedelta(seconds=delay), text) for text in texts]

    async def send(self, *envelopes: Mapping[str, object]) -> None:
        for envelope in envelopes:
            await self.put(wire.arrived(envelope, self.outside.clock()))

    async def work(self) -> None:
        while due := [one for one in self.waiting if one[0] <= self.outside.clock()]:
            first = min(due, key=itemgetter(0))
            self.waiting.remove(first)
            await self.service.on_message(first[1])

    async def later(self, seconds: float) -> None:
        self.outside.clock.advance(seconds)
        await self.work()

    async def record(self, name: str) -> EventRecord:
        found = await self.store.event(name)
        assert found is not None
        return found

    async def intents(self, name: str) -> list[IntentRecord]:
        record = await self.record(name)
        return (await self.store.intents([record.id]))[record.id]


def hear(database: Database) -> list[tuple[str, str]]:
    """All the messages that there are from now on, with their queues."""
    heard: list[tuple[str, str]] = []
    database._db.create_function("heard", 2, lambda queue, body: heard.append((queue, body)))
    database._db.execute(
        "CREATE TEMP TRIGGER heard AFTER INSERT ON messages BEGIN SELECT heard(new.queue, new.body); END"
    )
    return heard


async def live(station: Station | OnAzure, rollouts: Queue) -> None:
    """Everything up to the moment at which the host is stopped."""
    outside = station.outside
    shelf, platform = outside.shelf, outside.platform
    platform.measured |= {"run-good": {"auc": 0.93}, "run-poor": {"auc": 0.7}}
    await station.send(run_event("good"), run_event("good"), run_event("poor"), failed("broken"))
    await station.send(contoso("noise-1", "Contoso.Noise"), contoso("noise-2", "Contoso.Noise"))
    await station.send({"id": "nonsense", "eventType": ""})
    await station.send(contoso("long", "Contoso.Noise", text=[f"{n * n:x}" for n in range(8_000)]))
    await station.work()
    outside.fail(404)
    await station.send(failed("refused"))
    await station.work()
    well(outside)
    # What goes on after the stop: a collection of three with two in it, a step that waits for half an hour, a run that is followed,
    # an event that is waited for, a message that will be tried again, and a rollout that waits for an answer.
    await station.send(run_event("drift", "DatasetDriftDetected", DataDriftName="fraud-monitor", DriftCoefficient=0.4))
    await station.send(run_event("model", "ModelRegistered", modelName="fraud", modelVersion="7"))
    await station.work()
    (job,) = platform.submitted
    platform.jobs[job] = Job("Running")
    await station.later(600)
    await talk(station)
    await station.send(failed("late"), *(run_event(f"sweep-{n}", experimentName="sweep") for n in range(2)))
    await station.work()
    outside.fail(503)
    await station.send(contoso("busy", "Contoso.Busy"))
    await station.work()
    well(outside)
    fleet = STORIES[ROLLOUT].fleet(clock=outside.clock, shelf=shelf, rollouts=rollouts)
    fleet.rollout = replace(fleet.rollout, at=outside.clock())
    conductor = Resting(fleet)
    await conductor.begin()
    while (await conductor.head()).question is None:
        conductor.here = lambda command: getattr(command, "ask", None) is not None
        await Rollouts(conductor).advance(wire.Advance(fleet.rollout.id))


async def talk(station: Station | OnAzure) -> None:
    """What people say."""
    outside = station.outside
    shelf, now = outside.shelf, outside.clock()
    hour = timedelta(hours=1)
    record = await station.record("broken")
    silence = Silence("20261120T080000-0badcafe", {"rule": "once"}, "ann", "a noisy week", now, now + 200 * hour)
    await book.add_silence(shelf, replace(silence, comments=(Comment(now, "bob", "still needed"),)))
    over = replace(silence, id="20261120T080000-0badf00d", expired=now, expired_by="ann")
    await book.add_silence(shelf, over)
    await shelf.keep("acks", record.id, wire.dump(Ack("erin", now, "I am on it", "console")))
    await book.freeze(shelf, Freeze("f1", "year end", "dora", now, now + 100 * hour, "other-online"))
    await book.freeze(shelf, Freeze("f2", "a mistake", "dora", now, now + 100 * hour, lifted=now, lifted_by="dora"))
    await station.send(contoso("noise-3", "Contoso.Noise"))
    await station.later(3600)


async def kept(station: Station | OnAzure) -> dict[str, Any]:
    """What is on record, as whoever looks reads it."""
    store, shelf = station.service.world.store, station.outside.shelf
    records = await store.events(Search(limit=100))
    intents = await store.intents([one.id for one in records])
    heads = [head for _, head in await book.heads(shelf)]
    return {
        "at": station.outside.clock().isoformat(),
        "records": [plain(one) for one in sorted(records, key=lambda one: one.id)],
        "intents": [plain(one) for record in sorted(intents) for one in intents[record]],
        "silences": [plain(one) for one in await book.all_silences(shelf)],
        "freezes": [plain(one) for one in await book.all_freezes(shelf)],
        "rollouts": [plain(one) for one in heads],
        "steps": [plain(one) for head in heads for one in await book.steps(shelf, head.id)],
    }


def plain(value: object) -> Any:
    return json.loads(wire.dump(value))

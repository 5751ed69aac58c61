"""A whole service on the embedded store, with fakes only where the machine ends: for stories about one event's life."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from local import queue, shelf
from local.rollouts import Rollouts
from local.shelf import SqliteShelf
from local.sqlite import Database
from local.store import ADDED, SCHEMA, SqliteStore
from shared import wire
from shared.events import AZURE_ML
from shared.record import EventRecord, IntentRecord
from shared.rules.load import load_texts
from shared.service import Service, Told
from shared.settings import ROLLOUT_QUEUE, WORK_QUEUE, Settings
from tests.world import Outside

WORKSPACE = "/subscriptions/s1/resourceGroups/mlops/providers/Microsoft.MachineLearningServices/workspaces/prod"

SWITCHYARD = """
defaults: {language: en, tell: platform}
receivers:
  fraud: {teams: "${TEAMS_FRAUD}"}
  platform: {email: mlops@contoso.com}
  phones: {sms: "+819012345678"}
pipelines:
  weekly: {workspace: prod, source: "azureml:fraud_train:3", experiment: fraud-retraining}
workspaces:
  prod: {subscription: s1, resource_group: mlops, workspace: prod}
"""


class Station:
    def __init__(
        self, outside: Outside, database: Database, rules: str, switchyard: str = SWITCHYARD, **more: str
    ) -> None:
        self.outside = outside
        self.database = database
        self.queues = queue.Queues(database, outside.clock)
        outside.store = SqliteStore(database, self.queues, outside.clock)
        outside.queue = queue.LocalQueue(self.queues, WORK_QUEUE)  # type: ignore[assignment]  # the real one, not the fake
        outside.shelf = SqliteShelf(database)
        outside.rollouts = queue.LocalQueue(self.queues, ROLLOUT_QUEUE)
        self.told: list[Told] = []
        loaded = load_texts({"switchyard.yaml": switchyard, "rules/team.yaml": rules, **more})
        assert not loaded.problems, loaded.problems
        self.service = Service(outside.world, Settings(), loaded, listener=self.told.append)
        self.rollouts = Rollouts(self.service.conductor)

    async def send(self, *envelopes: Mapping[str, object]) -> None:
        """What the door does with them."""
        for envelope in envelopes:
            await self.queues.put(WORK_QUEUE, wire.arrived(envelope, self.outside.clock()))

    async def work(self) -> None:
        """Everything that can be done now."""
        while self.queues.ready():
            if not self.queues._ready:
                await self.queues._refill(self.outside.clock().timestamp())
                continue
            message = await self.queues.take()
            if message.queue == ROLLOUT_QUEUE:
                await self.rollouts.advance(wire.load(wire.Advance, message.body))
            else:
                await self.service.on_message(message.body)
            self.queues.done(message)

    async def later(self, seconds: float) -> None:
        self.outside.clock.advance(seconds)
        await self.work()

    async def record(self, name: str) -> EventRecord:
        found = await self.service.world.store.event(name)
        assert found is not None
        return found

    async def intents(self, name: str) -> list[IntentRecord]:
        record = await self.record(name)
        return (await self.service.world.store.intents([record.id]))[record.id]


@contextmanager
def opened(path: Path) -> Iterator[Database]:
    database = Database(path, SCHEMA + queue.SCHEMA + shelf.SCHEMA, ADDED)
    try:
        yield database
    finally:
        database.close()


def run_event(name: str, kind: str = "RunCompleted", **data: object) -> dict[str, object]:
    """An envelope about a run in the workspace prod."""
    return {
        "id": name,
        "topic": WORKSPACE,
        "subject": f"experiments/x/runs/run-{name}",
        "eventType": AZURE_ML + kind,
        "eventTime": "2026-11-20T08:29:00.1234567Z",
        "data": {"runId": f"run-{name}", "experimentName": "fraud", "runType": "azureml.PipelineRun"} | data,
        "dataVersion": "1",
    }

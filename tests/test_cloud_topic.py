"""Our own events to an Event Grid topic, by the real azure-eventgrid."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shared.cloud import Doors, doors
from shared.errors import PermanentError, TemporaryError
from shared.settings import Settings
from simulator.app import Box
from simulator.state import Fault

EVENT = {
    "id": "fraud-7-1a2b-12",
    "topic": "/subscriptions/s/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/prod",
    "subject": "rollouts/fraud-7-1a2b",
    "eventType": "Switchyard.RolloutCompleted",
    "eventTime": "2026-11-20T08:30:00+00:00",
    "data": {"rollout": "fraud-7-1a2b", "percent": 100},
    "dataVersion": "1",
}


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with Box(rate=0, seed=1) as box:
        yield box


@pytest.fixture(autouse=True)
def _trusted(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(box.ca))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(box.ca))


@pytest.fixture
async def outside(box: Box, tmp_path: Path) -> AsyncIterator[Doors]:
    made = doors(Settings.of(box.environment), box.environment, tmp_path)
    yield made
    await made.close()
    box.sim.faults.clear()


async def test_an_event_arrives_at_the_topic_as_it_was_raised(box: Box, outside: Doors) -> None:
    await outside.topic.publish(EVENT)
    [received] = box.sim.inbox.all("topic")
    assert isinstance(received.payload, dict)
    assert {name: received.payload[name] for name in ("id", "subject", "eventType", "data")} == {
        name: EVENT[name] for name in ("id", "subject", "eventType", "data")
    }


async def test_without_a_key_it_is_the_identity_of_the_app_that_publishes(box: Box, tmp_path: Path) -> None:
    environ = {name: value for name, value in box.environment.items() if name != "SWITCHYARD_TOPIC_KEY"}
    outside = doors(Settings.of(environ), environ, tmp_path)
    before = len(box.sim.inbox.all("topic"))
    await outside.topic.publish(EVENT)
    await outside.close()
    assert len(box.sim.inbox.all("topic")) == before + 1


async def test_where_no_topic_is_set_nothing_is_sent(box: Box, tmp_path: Path) -> None:
    environ = {name: value for name, value in box.environment.items() if name != "SWITCHYARD_TOPIC_ENDPOINT"}
    outside = doors(Settings.of(environ), environ, tmp_path)
    before = len(box.sim.inbox.all("topic"))
    await outside.topic.publish(EVENT)
    await outside.close()
    assert len(box.sim.inbox.all("topic")) == before


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (503, TemporaryError, "publishing to the Event Grid topic: HTTP 503"),
        (403, PermanentError, "probably lacks the role 'EventGrid Data Sender' on the topic"),
    ],
)
async def test_a_topic_that_does_not_take_it_says_so(
    box: Box, outside: Doors, status: int, kind: type[Exception], said: str
) -> None:
    box.sim.faults.append(Fault("topic", status))
    with pytest.raises(kind, match=said) as caught:
        await outside.topic.publish(EVENT)
    assert box.environment["SWITCHYARD_TOPIC_KEY"] not in str(caught.value)

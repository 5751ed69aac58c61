"""The store and the queue on Azure, against Azurite."""

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from azure.data.tables.aio import TableServiceClient
from azure.storage.queue.aio import QueueClient
from msgspec.structs import replace

from shared import wire
from shared.cloud.account import Account
from shared.cloud.queue import AzureQueue
from shared.cloud.store import LEASE, AzureStore
from shared.errors import PermanentError, TemporaryError
from shared.record import Decision, Facts
from shared.settings import WORK_QUEUE
from shared.world import Queue, Search
from tests import azurite_server
from tests.azurite_server import Azurite
from tests.store_contract import Place, StoreContract, attempt, happened, intent, kept, keys, noise, taken
from tests.world import START, VirtualClock

ROOT = Path(__file__).parents[1]


@pytest.fixture
async def closing() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def client(account: str, closing: AsyncExitStack) -> QueueClient:
    return await closing.enter_async_context(QueueClient.from_connection_string(account, WORK_QUEUE))


@pytest.fixture
async def queue(account: str, closing: AsyncExitStack) -> AzureQueue:
    made = AzureQueue(Account(account), WORK_QUEUE)
    closing.push_async_callback(made.close)
    return made


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


type Open = Callable[[Queue], Awaitable[AzureStore]]


@pytest.fixture
def store_on(account: str, clock: VirtualClock, closing: AsyncExitStack) -> Open:
    async def store_on(queue: Queue) -> AzureStore:
        made = AzureStore(Account(account), queue, clock)
        closing.push_async_callback(made.close)
        return made

    return store_on


async def bodies(client: QueueClient) -> list[str]:
    """What is on the queue, in the encoding of the Functions host; taken off."""
    found = [message async for message in client.receive_messages(messages_per_page=32)]
    await asyncio.gather(*(client.delete_message(message) for message in found))
    return [base64.b64decode(message.content).decode() for message in found]


@pytest.fixture
async def place(store_on: Open, queue: AzureQueue, client: QueueClient, clock: VirtualClock) -> Place:
    await queue.put([])  # makes it
    return Place(await store_on(queue), clock, lambda: bodies(client), lambda: store_on(queue))


class TestAzureStore(StoreContract):
    """Everything that the port promises."""


class Broken:
    """A queue that is out of reach after so many messages."""

    def __init__(self, queue: AzureQueue, left: int = 0) -> None:
        self._queue = queue
        self._left = left

    async def put(self, texts: Sequence[str], *, delay: float = 0) -> None:
        await self._queue.put(texts[: self._left], delay=delay)
        raise TemporaryError("the queue is out of reach")


@pytest.mark.parametrize("left", [0, 1])
async def test_an_event_whose_messages_did_not_all_get_queued_is_half_until_a_redelivery(
    place: Place, store_on: Open, queue: AzureQueue, left: int
) -> None:
    record = taken(intents=2, needs=True)
    broken = await store_on(Broken(queue, left))
    with pytest.raises(TemporaryError, match="out of reach"):
        await broken.take_in(record)
    await place.fetch()
    assert await place.store.take_in(record) == "half"
    messages = await place.queued()
    assert wire.Decide(record.id) in messages
    assert {message.key for message in messages if isinstance(message, wire.Perform)} == set(keys(record))
    assert await place.store.take_in(record) == "again"
    assert (await kept(place.store, record)).deliveries == 3
    assert await place.queued() == []


async def test_a_redelivery_of_a_half_event_queues_nothing_that_was_done(
    place: Place, store_on: Open, queue: AzureQueue
) -> None:
    record = taken(intents=2)
    done, left = keys(record)
    broken = await store_on(Broken(queue, 1))
    with pytest.raises(TemporaryError):
        await broken.take_in(record)
    await place.fetch()
    await place.store.claim(done, START)
    assert await place.store.take_in(record) == "half"
    assert await place.performs() == [left]


async def test_a_half_event_is_never_forgotten(place: Place, store_on: Open, queue: AzureQueue) -> None:
    record = taken(intents=0, age=timedelta(days=99))
    broken = await store_on(Broken(queue))
    with pytest.raises(TemporaryError):
        await broken.take_in(record)
    assert await place.store.prune(START) == 0
    assert await place.store.take_in(record) == "half"
    assert await place.store.prune(START + timedelta(days=2)) == 1


async def test_a_decision_whose_messages_did_not_get_queued_is_made_once_more(
    place: Place, store_on: Open, queue: AzureQueue
) -> None:
    record = taken(intents=0, needs=True)
    await place.store.take_in(record)
    await place.fetch()
    new = [intent(record.id, 1), intent(record.id, 2)]
    decision = Decision("v1", 7, (), tuple(new))
    broken = await store_on(Broken(queue))
    with pytest.raises(TemporaryError):
        await broken.decide(record.id, decision, Facts(), new)
    assert (await kept(place.store, record)).status == "deciding"
    await place.store.decide(record.id, decision, Facts(), new)
    assert await place.performs() == [one.key for one in new]
    assert (await kept(place.store, record)).status == "decided"


async def test_a_replay_whose_messages_did_not_get_queued_goes_on_with_the_decision_that_follows(
    place: Place, store_on: Open, queue: AzureQueue
) -> None:
    record = taken(intents=1)
    (key,) = keys(record)
    assert record.decision is not None
    await place.store.take_in(record)
    await place.store.claim(key, START)
    await place.store.settle(key, "failed", attempt("failed"))
    await place.fetch()
    broken = await store_on(Broken(queue))
    with pytest.raises(TemporaryError):
        await broken.reopen(record.id, [key])
    await place.store.decide(record.id, record.decision, Facts(), record.decision.intents)
    assert await place.performs() == [key]


async def test_a_claim_lasts_as_long_as_a_function_may_run(place: Place) -> None:
    limit = json.loads((ROOT / "host.json").read_text())["functionTimeout"]
    hours, minutes, seconds = map(int, limit.split(":"))
    assert timedelta(hours=hours, minutes=minutes, seconds=seconds) == LEASE
    record = taken(intents=1)
    (key,) = keys(record)
    await place.store.take_in(record)
    await place.store.claim(key, START)
    with pytest.raises(TemporaryError) as caught:
        await place.store.claim(key, START + LEASE - timedelta(seconds=5))
    assert caught.value.retry_after == 5
    claim = await place.store.claim(key, START + LEASE)
    assert claim is not None
    assert claim.interrupted


async def test_a_long_page_of_events_is_in_order(place: Place) -> None:
    records = [taken(n, 0, age=timedelta(seconds=n)) for n in range(40)]
    await asyncio.gather(*map(place.store.take_in, records))
    found = await place.store.events(Search(limit=33))
    assert [one.id for one in found] == [one.id for one in records[:33]]


async def test_an_event_too_large_for_a_row_is_refused_with_its_size(place: Place) -> None:
    event = replace(happened(), data={"noise": noise(2_200_000)})
    with pytest.raises(PermanentError, match=r"too large to keep: 1\d{6} bytes"):
        await place.store.take_in(taken(event=event))


async def test_what_is_forgotten_leaves_nothing_behind(
    place: Place, account: str, clock: VirtualClock, closing: AsyncExitStack
) -> None:
    records = [taken(n, intents, age=timedelta(hours=n)) for n, intents in enumerate((101, 1))]
    for record in records:
        await place.store.take_in(record)
        await asyncio.gather(*(place.store.settle(key, "done", attempt()) for key in keys(record)))
    await place.store.count("budget", 1, "a")
    clock.advance(timedelta(days=33).total_seconds())
    await place.store.prune(clock())
    service = await closing.enter_async_context(TableServiceClient.from_connection_string(account))
    names = [table.name async for table in service.list_tables()]
    assert sorted(names) == ["switchyardevents", "switchyardlisting", "switchyardmemory"]
    left = []
    for name in names:
        left += [row["RowKey"] async for row in service.get_table_client(name).list_entities()]
    assert left == ["~"]  # that nothing of version 0.1 is left to look for


async def test_parts_that_never_came_together_are_forgotten(place: Place, clock: VirtualClock) -> None:
    await place.store.part("digest", 0, 2, "a")
    clock.advance(timedelta(days=40).total_seconds())
    await place.store.prune(clock())
    assert await place.store.part("digest", 1, 2, "b") is None


async def test_a_message_is_hidden_for_its_delay(queue: AzureQueue, client: QueueClient) -> None:
    await queue.put(["now", "日本"])
    await queue.put(["later"], delay=0.2)
    assert sorted(await bodies(client)) == ["now", "日本"]
    assert (await client.get_queue_properties()).approximate_message_count == 1
    await queue.put(["much later"], delay=1e9)


async def test_messages_do_not_go_out_of_date(queue: AzureQueue, client: QueueClient) -> None:
    await queue.put(["work"])
    (message,) = [message async for message in client.receive_messages()]
    assert message.expires_on is not None
    assert message.expires_on.year > 9000


async def test_more_messages_than_fit_one_round_all_arrive(queue: AzureQueue, client: QueueClient) -> None:
    texts = [f"{n:03}" for n in range(70)]
    await queue.put(texts)
    assert sorted([*await bodies(client), *await bodies(client)]) == texts


NOWHERE = "AccountName=a;AccountKey=YWJj;QueueEndpoint=http://127.0.0.1:9/a;TableEndpoint=http://127.0.0.1:9/a"


async def test_storage_that_is_out_of_reach_is_a_temporary_error(closing: AsyncExitStack, clock: VirtualClock) -> None:
    queue = AzureQueue(Account(NOWHERE), WORK_QUEUE)
    store = AzureStore(Account(NOWHERE), queue, clock)
    closing.push_async_callback(queue.close)
    closing.push_async_callback(store.close)
    with pytest.raises(TemporaryError, match="storage queue: no answer"):
        await queue.put(["x"])
    with pytest.raises(TemporaryError, match="storage tables: no answer"):
        await store.event("x")
    with pytest.raises(TemporaryError, match="storage tables: no answer"):
        await store.take_in(taken())


@pytest.mark.filterwarnings("ignore:Testing an element:DeprecationWarning")  # the SDK's, where Azurite answers in XML
async def test_a_key_that_is_wrong_is_said_with_the_role_that_lacks(
    azurite: Azurite, closing: AsyncExitStack, clock: VirtualClock, queue: AzureQueue
) -> None:
    wrong = Account(azurite.account().replace("AccountKey=YSBr", "AccountKey=YWJj"))
    store = AzureStore(wrong, queue, clock)
    closing.push_async_callback(store.close)
    with pytest.raises(PermanentError, match="Storage Table Data Contributor"):
        await store.event("x")


def test_importing_the_store_and_the_queue_loads_no_sdk() -> None:
    code = (
        "import sys, shared.cloud.store, shared.cloud.queue;"
        "print([name for name in sys.modules if name.partition('.')[0] == 'azure'])"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_the_lock_of_azurite_names_no_package_host() -> None:
    lock = json.loads(azurite_server.LOCK.read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    assert [name for name, entry in packages.items() if "resolved" in entry or "integrity" not in entry] == []

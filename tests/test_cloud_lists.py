"""Ten million records a month stay one request for a page of the console: counted at Azurite, and the same pages as the embedded store."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Literal

import msgspec
import pytest
from azure.data.tables.aio import TableServiceClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local import queue
from local.store import SqliteStore
from shared import archive, book, wire
from shared.cloud.account import Account
from shared.cloud.listing import hashed
from shared.cloud.queue import AzureQueue
from shared.cloud.shelf import AzureShelf
from shared.cloud.storage import packed
from shared.cloud.store import LEASE, AzureStore
from shared.errors import TemporaryError
from shared.record import Decision, EventRecord, Facts, Intent, IntentRecord, Silence
from shared.rollout.record import Freeze, Head
from shared.rules.load import load_texts
from shared.service import Service
from shared.settings import WORK_QUEUE, Settings
from shared.web import app
from shared.world import Search, Store
from tests.azurite_server import Azurite
from tests.station import SWITCHYARD, opened
from tests.storage_proxy import Fault, Proxy, proxied
from tests.store_contract import attempt, finish, happened, intent, keys, taken
from tests.test_web import ask
from tests.world import START, Outside, VirtualClock

TYPES = ("RunCompleted", "ModelRegistered", "Contoso.Shipped")


@dataclass
class Deployed:
    """A store and a shelf on Azure, through a proxy that counts, below the web app."""

    proxy: Proxy
    store: AzureStore
    shelf: AzureShelf
    service: Service
    clock: VirtualClock

    async def get(self, path: str) -> Counter[str]:
        """The requests that a page costs, by table."""
        self.proxy.counted()
        answer = await ask(app(lambda: self.service), "GET", path, {})
        assert answer.status == 200, (path, answer.text)
        asked = self.proxy.counted()
        assert {one.method for one in asked} <= {"GET"}
        return Counter(one.what.split("?")[0].split("(")[0].strip("/").removeprefix("switchyard") for one in asked)


@pytest.fixture
async def deployed(account: str) -> AsyncIterator[Deployed]:
    async with AsyncExitStack() as closing:
        proxy = await closing.enter_async_context(proxied(account))
        outside, through = Outside(), Account(proxy.account)
        queue = AzureQueue(through, WORK_QUEUE)
        store, shelf = AzureStore(through, queue, outside.clock), AzureShelf(through)
        for one in (queue, store, shelf):
            closing.push_async_callback(one.close)
        outside.store, outside.shelf = store, shelf
        loaded = load_texts({"switchyard.yaml": SWITCHYARD})
        yield Deployed(proxy, store, shelf, Service(outside.world, Settings(), loaded), outside.clock)


def record(n: int) -> EventRecord:
    """The n-th: three types, statuses of all kinds, some a day apart."""
    event = happened(n, type=TYPES[n % 3 if n % 7 else 0])
    return taken(n, n % 3, age=timedelta(hours=3 * n), event=event, needs=n % 5 == 0)


async def fill(store: Store, start: int, end: int) -> None:
    for some in range(start, end, 20):
        await asyncio.gather(*(store.take_in(record(n)) for n in range(some, min(some + 20, end))))


async def fill_shelf(shelf: AzureShelf, start: int, end: int) -> None:
    for n in range(start, end):
        head = Head(f"r{n}", "p", "e", "w", "m", "1", START, "promoted")
        await shelf.put(book.HEADS, f"{n:010d}-r{n}", msgspec.json.encode(head).decode())
        silence = Silence(f"s{n}", {"run.experiment": "a"}, "ann", "why", START, START + timedelta(days=1))
        await book.add_silence(shelf, silence)
        await book.freeze(shelf, Freeze(f"f{n}", "e", "why", START, START + timedelta(days=1), "ann"))


async def test_a_page_of_the_console_costs_as_many_requests_however_many_records_there_are(deployed: Deployed) -> None:
    before = f"{START - timedelta(hours=30):%Y-%m-%dT%H:%M:%SZ}~x".replace("~x", f"~{'f' * 20}")
    since = f"{START - timedelta(days=2):%Y-%m-%dT%H:%M:%SZ}"
    alone = record(4)
    one = {"listing": 1}
    pages = {
        "/": one,
        "/?type=RunCompleted": one,
        "/?status=decided": one,
        "/?status=deciding": one,
        "/?status=failed": one,
        "/?status=deciding&type=ModelRegistered": one,
        "/?type=Nothing.Comes": one,
        f"/?before={before}": one,
        f"/?before={before}&type=RunCompleted&status=decided": one,
        f"/api/events?since={since}&limit=500": one,
        # Its partition; who acknowledged it, the silences in force, why it was a dead letter, and of the chain what it came from and
        # what came of it.
        f"/events/{alone.id}": {"events": 1, "shelf": 5},
        f"/api/events/{alone.id}": {"events": 1, "shelf": 2},
        f"/api/events/{alone.id}/chain": {"events": 1, "shelf": 2},
        f"/api/events/{alone.event.id if alone.event else ''}": {"events": 2, "listing": 1, "shelf": 2},
        "/rollouts": {"shelf": 1},
        "/freezes": {"shelf": 2},
        "/quality": {},
        "/api/health": {},
    }
    await deployed.store.events(
        Search(limit=1)
    )  # the first look of a process makes the tables, and asks for rows of version 0.1
    await fill(deployed.store, 0, 25)
    await fill_shelf(deployed.shelf, 0, 3)
    few = {path: await deployed.get(path) for path in pages}
    await fill(deployed.store, 25, 80)
    await fill_shelf(deployed.shelf, 3, 20)
    many = {path: await deployed.get(path) for path in pages}
    assert few == many
    # The lists, and of each that is in force how many messages it held back.
    assert await deployed.get("/silences") == {"shelf": 3 + 20}
    assert await deployed.get("/api/silences") == {"shelf": 1 + 20}
    assert {path: dict(counted) for path, counted in many.items()} == pages


# The same pages as the embedded store


type Deed = tuple[str, int]


@dataclass
class Pair:
    """What happens, in both stores."""

    azure: AzureStore
    embedded: SqliteStore
    clock: VirtualClock

    async def both(self, name: str, *given: object, **named: object) -> None:
        one, other = [await getattr(store, name)(*given, **named) for store in (self.azure, self.embedded)]
        if name == "take_in":
            assert one == other

    async def do(self, kind: str, n: int) -> None:
        made = record(n)
        there = await self.embedded.event(made.id)
        names = [one.intent.key for one in (await self.embedded.intents([made.id]))[made.id]]
        match kind:
            case "take in":
                await self.both("take_in", made)
            case "end" if names:
                await self.both("claim", names[0], self.clock())
                status: Literal["done", "failed"] = "failed" if n % 3 else "done"
                await self.both("settle", names[0], status, attempt(status), maybe_twice=n % 2 == 0 or None)
            case "decide" if there:
                new = [intent(made.id, 1, "late")]
                until = made.received + timedelta(days=7 + 10 * (n % 4))
                await self.both("decide", made.id, Decision("v2", 7, (), tuple(new)), Facts(), new, until)
            case "fail" if there:
                await self.both("undecidable", made.id, "the workspace is gone")
            case "replay" if there:
                await self.both("reopen", made.id, names[:1])
            case "wait":
                for days in (n, 2):  # what had not ended in its time goes within a day of its end
                    self.clock.advance(days * 86_400.0)
                    await self.both("prune", self.clock())
            case _:
                return

    async def same(self, search: Search) -> None:
        shown = await self.azure.listed(search)
        assert shown == await self.embedded.listed(search)
        assert [one.id for one in await self.azure.events(search)] == [one.id for one in shown]


_KINDS = st.sampled_from(["take in", "take in", "take in", "end", "end", "decide", "fail", "replay", "wait"])
_SEARCHES = st.builds(
    Search,
    limit=st.sampled_from([1, 3, 50]),
    type=st.sampled_from([None, *TYPES]),
    status=st.sampled_from([None, "decided", "deciding", "failed", "refused"]),
    since=st.none() | st.integers(0, 60).map(lambda hours: START - timedelta(hours=hours)),
    before=st.none() | st.integers(0, 12).map(lambda n: (record(n).received, record(n).id)),
)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    happens=st.lists(st.tuples(_KINDS, st.integers(0, 12)), min_size=6, max_size=24),
    searches=st.lists(_SEARCHES, min_size=4, max_size=6),
)
def test_pages_are_those_of_the_embedded_store_whatever_happened(
    azurite: Azurite, tmp_path_factory: pytest.TempPathFactory, happens: list[Deed], searches: list[Search]
) -> None:
    async def go() -> None:
        account, clock = Account(azurite.account()), VirtualClock()
        through = AzureQueue(account, WORK_QUEUE)
        azure = AzureStore(account, through, clock)
        with opened(tmp_path_factory.mktemp("same") / "state.db") as database:
            pair = Pair(azure, SqliteStore(database, queue.Queues(database, clock), clock), clock)
            try:
                for kind, n in happens:
                    await pair.do(kind, n)
                for search in (Search(), *searches):
                    await pair.same(search)
                # Page after page, none is lost and none is twice.
                seen, before = list[str](), None
                while page := await azure.listed(Search(limit=2, before=before)):
                    seen += [one.id for one in page]
                    before = page[-1].received, page[-1].id
                assert seen == [one.id for one in await azure.listed(Search(limit=500))]
            finally:
                await azure.close()
                await through.close()

    asyncio.run(go())


# Forgetting


async def test_pruning_looks_at_what_is_due_and_at_nothing_else(deployed: Deployed) -> None:
    store = deployed.store
    long = [replace_until(taken(n, 0, age=timedelta(days=40)), START + timedelta(days=300)) for n in range(20)]
    due = [taken(n, 1, age=timedelta(days=31)) for n in range(100, 120)]
    for some in (long, due):
        await asyncio.gather(*map(store.take_in, some))
    for one in due:
        await finish(store, one)
    await store.prune(START - timedelta(days=100))  # makes the tables
    deployed.proxy.counted()
    assert await store.prune(START) == len(due)
    asked = Counter(one.method for one in deployed.proxy.counted())
    # A look at each and at its list, its end, and its own id; its rows in the lists go together with those of many.
    assert asked["GET"] <= 2 * len(due) + 4
    assert asked["POST"] <= len(due) + 8
    assert asked["DELETE"] == len(due)
    assert [one.id for one in await store.listed(Search(limit=500))] == [
        one.id for one in await store.events(Search(limit=500))
    ]
    deployed.proxy.counted()
    assert await store.prune(START) == 0
    assert len(deployed.proxy.counted()) <= 4


def replace_until(record: EventRecord, until: datetime) -> EventRecord:
    return msgspec.structs.replace(record, until=until)


async def test_pruning_is_bounded_and_goes_on_the_next_time(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.cloud.store._PRUNED", 5)
    await asyncio.gather(*(deployed.store.take_in(taken(n, 0, age=timedelta(days=31))) for n in range(12)))
    assert [await deployed.store.prune(START) for _ in range(4)] == [5, 5, 2, 0]


async def test_what_is_forgotten_is_in_no_list_though_the_lists_were_told_more_than_the_record(
    deployed: Deployed, account: str
) -> None:
    one = taken(1, 0, age=timedelta(days=31))
    await deployed.store.take_in(one)
    deployed.proxy.rule = lambda asked: (
        Fault("reset") if asked.method == "PUT" and "switchyardevents" in asked.what else None
    )
    with pytest.raises(TemporaryError):
        await deployed.store.undecidable(one.id, "gone")
    deployed.proxy.rule = lambda _: None
    assert [found.id for found in await deployed.store.listed(Search(status="failed"))] == [one.id]
    assert await deployed.store.prune(START) == 1
    assert await rows_of(account, "switchyardlisting") == []


async def test_an_event_that_is_due_twice_is_forgotten_though_pruning_broke_off(
    deployed: Deployed, account: str
) -> None:
    one = taken(1, 0, age=timedelta(days=60))
    await deployed.store.take_in(one)
    await deployed.store.decide(one.id, Decision("v2", 7), Facts(), [], START - timedelta(days=1))
    deployed.proxy.rule = lambda asked: Fault("reset") if asked.method == "DELETE" else None
    with pytest.raises(TemporaryError):
        await deployed.store.prune(START)
    deployed.proxy.rule = lambda _: None
    await deployed.store.prune(START)
    assert await rows_of(account, "switchyardlisting") == []


async def rows_of(account: str, table: str) -> list[str]:
    async with TableServiceClient.from_connection_string(account) as service:
        return [row["RowKey"] async for row in service.get_table_client(table).list_entities()]


# What version 0.1 left


@pytest.mark.parametrize("status", ["decided", "failed"])
async def test_what_version_0_1_left_undecided_is_listed_as_it_is_decided(
    deployed: Deployed, account: str, status: Literal["decided", "failed"]
) -> None:
    store, one = deployed.store, taken(1, 0, needs=True)
    async with TableServiceClient.from_connection_string(account) as service:
        for table, rows in of_0_1(one, []).items():
            client = await service.create_table(table)
            for row in rows:
                await client.upsert_entity(row)
    if status == "decided":
        new = [intent(one.id, 1)]
        await store.decide(one.id, Decision("v2", 7, (), tuple(new)), Facts(), new)
        await store.settle(new[0].key, "done", attempt())
    else:
        await store.undecidable(one.id, "the workspace is gone")
    for search in (Search(status=status), Search(status=status, type="RunCompleted"), Search()):
        assert [(found.id, found.status) for found in await store.listed(search)] == [(one.id, status)]
    assert await store.listed(Search(status="deciding")) == []
    assert await store.prune(START + timedelta(days=31)) == 1
    assert await rows_of(account, "switchyardlisting") == []


def of_0_1(record: EventRecord, intents: list[IntentRecord], status: str = "") -> dict[str, list[dict[str, object]]]:
    """The rows of an event, as version 0.1 wrote them."""
    bare = msgspec.structs.replace(record.decision, intents=()) if record.decision else None
    kept = msgspec.structs.replace(record, decision=bare)
    inverted = f"{10**17 - (record.received - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1):018d}"
    day, key = f"t-{99999999 - int(f'{record.received:%Y%m%d}')}", f"{inverted}-{record.id}"
    own = hashed(record.event.id) if record.event else ""
    stub: dict[str, object] = {
        "PartitionKey": record.id,
        "RowKey": "event",
        "status": status or record.status,
        "half": False,
    }
    rows: list[dict[str, object]] = [stub if status else stub | packed(wire.dump(kept))]
    for n, one in enumerate(() if status else intents):
        name: dict[str, object] = {
            "PartitionKey": record.id,
            "RowKey": f"intent-{hashed(one.intent.key)}",
            "n": n,
            "key": one.intent.key,
        }
        rows.append(name | {"status": one.status} | packed(wire.dump(one)))
    listed: dict[str, object] = {"PartitionKey": day, "RowKey": key, "record": record.id}
    listed |= {"status": status or record.status, "id": own}
    lists: list[dict[str, object]] = [listed | {"type": record.event.type if record.event else ""}]
    if not status:
        by_own: dict[str, object] = {"PartitionKey": f"i-{own}", "RowKey": key, "record": record.id}
        lists.append(by_own)
    return {"switchyardevents": rows, "switchyardlisting": lists}


async def test_what_version_0_1_kept_is_found_at_once_goes_over_and_is_forgotten_in_its_time(
    deployed: Deployed, account: str
) -> None:
    store, now = deployed.store, START
    old = [taken(n, 2, age=timedelta(days=n)) for n in range(5)]
    intents = {
        one.id: [IntentRecord(each, "done" if one is not old[1] else "waiting", now) for each in asked(one)]
        for one in old
    }
    running = msgspec.structs.replace(intents[old[1].id][0], status="running", at=now - timedelta(minutes=1))
    intents[old[1].id][0] = running
    gone = taken(9, 0, age=timedelta(days=20))
    async with TableServiceClient.from_connection_string(account) as service:
        for table in ("switchyardevents", "switchyardlisting"):
            client = await service.create_table(table)
            for one in old:
                for row in of_0_1(one, intents[one.id])[table]:
                    await client.upsert_entity(row)
            for row in of_0_1(gone, [], "gone")[table]:
                await client.upsert_entity(row)
    new = taken(50, 0, age=timedelta(hours=30))
    await store.take_in(new)
    expected = [old[0].id, old[1].id, new.id, *(one.id for one in old[2:])]

    async def found() -> list[str]:
        return [one.id for one in await store.listed(Search())]

    assert await found() == [one.id for one in await store.events(Search())] == expected
    assert [one.id for one in await store.listed(Search(status="decided", limit=3))] == expected[:3]
    # One that is being worked on is left to whoever does; what ends shows, in the old lists and in the new ones.
    with pytest.raises(TemporaryError, match="being worked on"):
        await store.claim(running.intent.key, now)
    for key in keys(old[1]):
        assert await store.claim(key, now + timedelta(hours=1))
        await store.settle(key, "failed", attempt("failed"))
    assert [deed.status for deed in (await store.listed(Search()))[1].deeds] == ["failed", "failed"]
    assert await store.take_in(old[2]) == "again"
    assert await store.take_in(gone) == "again"
    assert await found() == expected
    assert await store.prune(now) == 0
    deployed.proxy.counted()
    assert await found() == expected
    again = AzureStore(Account(deployed.proxy.account), AzureQueue(Account(account), WORK_QUEUE), deployed.clock)
    assert [one.id for one in await again.listed(Search())] == expected
    await again.close()
    deployed.proxy.counted()
    await found()
    assert len(deployed.proxy.counted()) == 1
    assert [one.deliveries for one in await store.listed(Search()) if one.id == old[2].id] == [2]
    assert (
        await store.prune(now + timedelta(days=27, hours=1)) == 2
    )  # of 30 days, and the one that was a stub is not counted
    assert await store.prune(now + timedelta(days=60)) == len(old) + 1 - 2
    assert await found() == []
    assert await store.take_in(gone) == "new"


async def test_what_version_0_1_counted_is_forgotten_in_its_time(deployed: Deployed, account: str) -> None:
    async with TableServiceClient.from_connection_string(account) as service:
        client = await service.create_table("switchyardmemory")
        for n, age in enumerate((40, 1)):
            at = START - timedelta(days=age)
            await client.upsert_entity({"PartitionKey": f"c-{n}", "RowKey": "count", "at": at} | packed('["a"]'))
        await deployed.store.prune(START)
        assert [row["PartitionKey"] async for row in client.query_entities("RowKey eq 'count'")] == ["c-1"]
        await deployed.store.prune(START + timedelta(days=40))
        assert [row async for row in client.query_entities("RowKey eq 'count'")] == []


async def test_many_counts_of_version_0_1_are_gone_through_a_part_at_a_time(
    deployed: Deployed, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.cloud.store._ADOPTED", 2)
    at, days = START - timedelta(days=1), list[int]()
    async with TableServiceClient.from_connection_string(account) as service:
        client = await service.create_table("switchyardmemory")
        for n in range(5):
            await client.upsert_entity({"PartitionKey": f"c-{n}", "RowKey": "count", "at": at} | packed('["a"]'))
        for _ in range(4):  # each in a process of its own: nobody has to begin anew
            through = Account(deployed.proxy.account)
            store = AzureStore(through, AzureQueue(through, WORK_QUEUE), deployed.clock)
            await store.prune(START)
            await store.close()
            days.append(sum([row["RowKey"] != "~" async for row in client.query_entities("PartitionKey eq 'd'")]))
        assert days == [2, 4, 5, 5]
        await deployed.store.prune(START + timedelta(days=40))
        assert [row async for row in client.query_entities("RowKey eq 'count'")] == []


def asked(record: EventRecord) -> tuple[Intent, ...]:
    assert record.decision is not None
    return record.decision.intents


# Claims


async def test_of_many_workers_exactly_one_has_a_claim_and_the_next_only_when_it_ended_or_died(
    account: str, azurite: Azurite
) -> None:
    async with AsyncExitStack() as closing:
        through, clock = AzureQueue(Account(account), WORK_QUEUE), VirtualClock()
        closing.push_async_callback(through.close)
        workers = [AzureStore(Account(account), through, clock) for _ in range(8)]
        for worker in workers:
            closing.push_async_callback(worker.close)
        one = taken(1, 1)
        (key,) = keys(one)
        await workers[0].take_in(one)
        now, ended, numbers = START, 0, count()
        for outcome in ("retrying", None, "waiting", "retrying", None, "done"):
            claims = await asyncio.gather(*(worker.claim(key, now) for worker in workers), return_exceptions=True)
            won = [(n, claim) for n, claim in enumerate(claims) if not isinstance(claim, BaseException)]
            assert all(isinstance(claim, TemporaryError) for claim in claims if isinstance(claim, BaseException))
            ((n, claim),) = won
            assert claim is not None
            assert len(claim.record.attempts) == ended
            with pytest.raises(TemporaryError) as caught:
                await workers[next(numbers) % 8].claim(key, now + timedelta(minutes=1))
            assert caught.value.retry_after == LEASE.total_seconds() - 60
            if outcome is None:  # it died: after its time the next is told so
                now += LEASE
                continue
            await workers[n].settle(key, outcome, attempt("later" if outcome != "done" else "done"))
            ended += 1
        assert await asyncio.gather(*(worker.claim(key, now) for worker in workers)) == [None] * 8


async def test_an_event_with_one_action_costs_eleven_requests_from_its_arrival_to_its_end(deployed: Deployed) -> None:
    store, one = deployed.store, taken(1, 1)
    await store.take_in(taken(2, 1))  # the first makes the tables and the queue
    cost: dict[str, Counter[tuple[str, str]]] = {}

    async def counted(name: str, *given: object) -> None:
        deployed.proxy.counted()
        await getattr(store, name)(*given)
        cost[name] = Counter((each.service, each.method) for each in deployed.proxy.counted())

    await counted("take_in", one)
    await counted("claim", keys(one)[0], START)
    await counted("settle", keys(one)[0], "done", attempt())
    assert cost == {
        # The event with its intents; all events and those of its type, each with a copy by status; its own id; no longer half.
        "take_in": {("Table", "POST"): 3, ("Table", "PUT"): 1, ("Table", "PATCH"): 1, ("Queue", "POST"): 1},
        "claim": {("Table", "GET"): 1, ("Table", "POST"): 1},
        "settle": {("Table", "POST"): 2, ("Table", "PUT"): 1},
    }


async def test_an_action_costs_as_many_where_its_event_was_decided_meanwhile(deployed: Deployed) -> None:
    store, one = deployed.store, taken(1, 1, needs=True)
    await store.take_in(one)
    await store.decide(one.id, Decision("v2", 7, (), asked(one)), Facts(), [])
    (key,) = keys(one)
    for status in ("retrying", "done"):
        await store.claim(key, START)
        deployed.proxy.counted()
        await store.settle(key, status, attempt())
        assert Counter(each.method for each in deployed.proxy.counted()) == {"PUT": 1, "POST": 2}


async def test_copying_to_the_archive_costs_one_request_an_event_and_little_more(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "_PAGE", 10)
    ages = [timedelta(minutes=31 + 2 * n) for n in range(30)]
    await asyncio.gather(*(deployed.store.take_in(taken(n, 0, age=age)) for n, age in enumerate(ages)))
    await deployed.shelf.get("a", "b")
    await deployed.store.events(Search(limit=1))
    deployed.proxy.counted()
    since = START - timedelta(minutes=92)
    assert await archive.copy(deployed.service.world, START, since) == len(ages)
    asked = Counter(one.what.split("(")[0].strip("/") for one in deployed.proxy.counted())
    assert asked["switchyardevents"] == len(ages)
    assert asked["switchyardlisting"] <= 16  # to find slices that are small enough, and to list each
    assert asked["switchyardshelf"] <= 12

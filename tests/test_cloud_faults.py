"""Storage breaks off, is busy, or somebody else is faster: nothing is lost, and nothing is done twice without saying so.

A proxy between the service and Azurite breaks what passes: before it is done, or after it, which is the answer that nobody hears.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Literal

import pytest
from azure.storage.queue.aio import QueueClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import wire
from shared.cloud.account import Account
from shared.cloud.archive import BlobArchive
from shared.cloud.listing import Listing
from shared.cloud.queue import AzureQueue
from shared.cloud.shelf import AzureShelf
from shared.cloud.store import LEASE, AzureStore
from shared.errors import TemporaryError
from shared.record import Decision, EventRecord, Facts, IntentRecord
from shared.rules.load import load_texts
from shared.service import Service
from shared.settings import WORK_QUEUE, Settings
from shared.wire import arrived
from shared.world import Search
from tests.azurite_server import Azurite
from tests.station import run_event
from tests.storage_proxy import Asked, Fault, Proxy, Rule, proxied
from tests.store_contract import attempt, intent, keys, taken
from tests.world import START, Outside, VirtualClock

type Kind = Literal["lost", "reset", "busy"]
BREAKS: tuple[Kind, ...] = ("lost", "reset")
KINDS: tuple[Kind, ...] = (*BREAKS, "busy")
FAULTS = {"lost": Fault("lost"), "reset": Fault("reset"), "busy": Fault("answer", 503, 7)}


def at(place: int, kind: Kind) -> tuple[Rule, list[Asked]]:
    """The request at this place fails; which it was."""
    seen, hit = [0], list[Asked]()

    def rule(asked: Asked) -> Fault | None:
        seen[0] += 1
        if seen[0] - 1 != place:
            return None
        hit.append(asked)
        return FAULTS[kind]

    return rule, hit


class AtOnce(AzureQueue):
    """The clock is virtual: every delay is over."""

    async def put(self, texts: Sequence[str], *, delay: float = 0) -> None:
        await super().put(texts)


@dataclass
class Broken:
    """Everything of ours that is in storage, through the proxy; `clean`: beside it."""

    proxy: Proxy
    store: AzureStore
    clean: AzureStore
    shelf: AzureShelf
    archive: BlobArchive
    queue: AzureQueue
    messages: QueueClient
    numbers: Iterator[int]

    async def fails(
        self, place: int, kind: Kind, act: Callable[[], Awaitable[object]]
    ) -> tuple[bool, TemporaryError | None]:
        """Whether the request at this place was reached, and what came of its fault."""
        self.proxy.rule, hit = at(place, kind)
        failure: TemporaryError | None = None
        try:
            await act()
        except TemporaryError as error:
            failure = error
        self.proxy.rule = lambda _: None
        if failure is not None:  # of what broke off nobody knows whether it was done
            assert (failure.retry_after, failure.sent) == ((7, False) if kind == "busy" else (None, True))
        return bool(hit), failure

    async def queued(self) -> list[str]:
        found = [message async for message in self.messages.receive_messages(messages_per_page=32)]
        await asyncio.gather(*(self.messages.delete_message(message) for message in found))
        texts = [wire.unpack(base64.b64decode(message.content).decode()) for message in found]
        return [text.key for text in texts if isinstance(text, wire.Perform)]

    async def consistent(self, record: EventRecord) -> tuple[EventRecord, list[IntentRecord]]:
        """The record, which every list that it belongs to shows once, as it is."""
        found = await self.clean.whole(record.id)
        assert found is not None
        about, intents = found
        assert about.event is not None
        for search in (
            Search(limit=500),
            Search(limit=500, status=about.status),
            Search(limit=500, type=about.event.type),
            Search(limit=500, type=about.event.type, status=about.status),
        ):
            (shown,) = [one for one in await self.clean.listed(search) if one.id == record.id]
            assert [deed.status for deed in shown.deeds] == [one.status for one in intents]
            assert (shown.status, shown.replays) == (about.status, about.replays)
        for other in {"deciding", "decided"} - {about.status}:
            assert record.id not in [one.id for one in await self.clean.listed(Search(limit=500, status=other))]
        return about, intents


@pytest.fixture
async def broken(account: str) -> AsyncIterator[Broken]:
    async with AsyncExitStack() as closing:
        proxy = await closing.enter_async_context(proxied(account))
        clock, through, beside = VirtualClock(), Account(proxy.account), Account(account)
        queue, again = AtOnce(through, WORK_QUEUE), AtOnce(beside, WORK_QUEUE)
        await queue.put([])
        made = Broken(
            proxy,
            AzureStore(through, queue, clock),
            AzureStore(beside, again, clock),
            AzureShelf(through),
            BlobArchive(through),
            queue,
            await closing.enter_async_context(QueueClient.from_connection_string(account, WORK_QUEUE)),
            iter(range(10**6)),
        )
        for one in (made.store, made.clean, made.shelf, made.archive, queue, again):
            closing.push_async_callback(one.close)
        await made.store.prune(START - timedelta(days=999))  # makes the tables
        await made.store.events(Search(limit=1))
        await made.store.event("x")
        yield made


async def everywhere(broken: Broken, kind: Kind, story: Callable[[int], Awaitable[bool]]) -> None:
    """The story, with the fault at its first request, its second, and so on as long as there are any."""
    place = 0
    while await story(place):
        place += 1
    assert place >= 1
    broken.proxy.counted()


@pytest.mark.parametrize("kind", BREAKS)
async def test_an_event_whose_taking_in_breaks_off_anywhere_is_taken_in_when_it_comes_again(
    broken: Broken, kind: Kind
) -> None:
    async def story(place: int) -> bool:
        record = taken(next(broken.numbers), 2)
        reached, error = await broken.fails(place, kind, lambda: broken.store.take_in(record))
        if error is not None:
            assert await broken.store.take_in(record) in {"new", "half", "again"}
        about, intents = await broken.consistent(record)
        assert [one.status for one in intents] == ["waiting", "waiting"]
        assert about.deliveries <= 2
        assert set(await broken.queued()) == set(keys(record))
        assert await broken.store.take_in(record) == "again"
        return reached

    await everywhere(broken, kind, story)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_claim_that_breaks_off_anywhere_is_ours_when_we_come_again(broken: Broken, kind: Kind) -> None:
    async def story(place: int) -> bool:
        record = taken(next(broken.numbers), 1)
        (key,) = keys(record)
        await broken.clean.take_in(record)
        reached, error = await broken.fails(place, kind, lambda: broken.store.claim(key, START))
        if error is not None:
            claim = await broken.store.claim(key, START)
            assert claim is not None
            assert not claim.interrupted, "nothing was begun"
        with pytest.raises(TemporaryError, match="being worked on"):
            await broken.clean.claim(key, START)
        await broken.store.settle(key, "done", attempt())
        assert (await broken.consistent(record))[1][0].status == "done"
        return reached

    await everywhere(broken, kind, story)


async def test_a_claim_whose_answer_is_lost_is_found_to_be_ours_by_its_name(broken: Broken) -> None:
    record = taken(next(broken.numbers), 1)
    (key,) = keys(record)
    await broken.store.take_in(record)
    broken.proxy.rule = lambda asked: Fault("lost") if asked.method == "POST" and "events" in asked.what else None
    claim = await broken.store.claim(key, START)
    assert claim is not None
    assert not claim.interrupted


@pytest.mark.parametrize("again", [True, False])
async def test_a_claim_of_which_nothing_is_heard_is_taken_up_by_its_process_or_is_a_doubt(
    broken: Broken, *, again: bool
) -> None:
    record = taken(next(broken.numbers), 1)
    (key,) = keys(record)
    await broken.store.take_in(record)
    inserted = list[Asked]()

    def rule(asked: Asked) -> Fault | None:
        if inserted:
            return Fault("reset")
        inserted.extend([asked] if asked.method == "POST" else [])
        return Fault("lost") if inserted else None

    broken.proxy.rule = rule
    with pytest.raises(TemporaryError):
        await broken.store.claim(key, START)
    broken.proxy.rule = lambda _: None
    with pytest.raises(TemporaryError, match="being worked on"):
        await broken.clean.claim(key, START)
    if again:
        claim = await broken.store.claim(key, START + timedelta(seconds=30))
        assert claim is not None
        assert not claim.interrupted, "whoever claimed it knows that nothing was begun"
        with pytest.raises(TemporaryError, match="being worked on"):  # for as long as from now on
            await broken.clean.claim(key, START + LEASE)
    else:
        claim = await broken.clean.claim(key, START + LEASE)
        assert claim is not None
        assert claim.interrupted, "nobody else can tell"


@pytest.mark.parametrize("kind", KINDS)
async def test_an_end_that_breaks_off_anywhere_is_on_record_or_a_doubt(broken: Broken, kind: Kind) -> None:
    async def story(place: int) -> bool:
        record = taken(next(broken.numbers), 2)
        key, _ = keys(record)
        await broken.clean.take_in(record)
        await broken.queued()
        assert await broken.store.claim(key, START)
        reached, error = await broken.fails(place, kind, lambda: broken.store.settle(key, "done", attempt()))
        for again in await broken.queued():  # the lists were busy, and are told once more
            assert await broken.store.claim(again, START) is None
        if error is not None:
            claim = await broken.store.claim(key, START + LEASE)
            if claim is not None:  # it is not known that it was done: whoever does it once more says so
                assert claim.interrupted
                await broken.store.settle(key, "done", attempt("done", 10), maybe_twice=True)
        _, intents = await broken.consistent(record)
        assert [one.status for one in intents] == ["done", "waiting"]
        assert len(intents[0].attempts) == 1
        assert intents[0].maybe_twice == (intents[0].attempts[0] != attempt())
        return reached

    await everywhere(broken, kind, story)


@pytest.mark.parametrize(("status", "outcome"), [("done", "done"), ("refused", "refused"), ("failed", "failed")])
async def test_lists_that_are_busy_do_not_bring_about_what_was_done_once_more(
    broken: Broken, status: Literal["done", "refused", "failed"], outcome: Literal["done", "refused", "failed"]
) -> None:
    record = taken(next(broken.numbers), 1)
    (key,) = keys(record)
    await broken.clean.take_in(record)
    await broken.queued()
    assert await broken.store.claim(key, START)
    broken.proxy.rule = lambda asked: FAULTS["busy"] if "$batch" in asked.what else None
    await broken.store.settle(key, status, attempt(outcome))
    found = (await broken.clean.intents([record.id]))[record.id][0]
    assert (found.status, found.maybe_twice) == (status, False)
    (again,) = await broken.queued()
    with pytest.raises(TemporaryError, match="HTTP 503"):  # still busy: the message comes again
        await broken.store.claim(again, START + LEASE)
    broken.proxy.rule = lambda _: None
    assert await broken.store.claim(again, START + LEASE) is None
    await broken.consistent(record)


async def test_a_try_that_comes_again_by_itself_is_not_hurried_by_lists_that_are_busy(broken: Broken) -> None:
    record = taken(next(broken.numbers), 1)
    (key,) = keys(record)
    await broken.clean.take_in(record)
    await broken.queued()
    assert await broken.store.claim(key, START)
    broken.proxy.rule = lambda asked: FAULTS["busy"] if "$batch" in asked.what else None
    await broken.store.settle(key, "retrying", attempt("later"))
    broken.proxy.rule = lambda _: None
    assert await broken.queued() == []
    claim = await broken.store.claim(key, START + timedelta(seconds=30))
    assert claim is not None
    assert not claim.interrupted
    await broken.store.settle(key, "done", attempt("done", 1))
    await broken.consistent(record)


async def test_who_is_killed_before_the_lists_hear_of_an_end_is_not_followed_by_a_second_try(
    broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    async def killed(*_: object) -> None:
        raise Killed

    record = taken(next(broken.numbers), 1)
    (key,) = keys(record)
    await broken.clean.take_in(record)
    assert await broken.store.claim(key, START)
    with monkeypatch.context() as patch:
        patch.setattr(Listing, "mark", killed)
        with pytest.raises(Killed):
            await broken.store.settle(key, "done", attempt())
    # His message comes again.
    assert await broken.clean.claim(key, START + LEASE) is None
    assert (await broken.consistent(record))[1][0].status == "done"


async def test_an_action_that_ends_beside_a_replay_is_listed_as_it_ended(broken: Broken) -> None:
    record = taken(next(broken.numbers), 2)
    key, other = keys(record)
    await broken.clean.take_in(record)
    for one in (key, other):
        assert await broken.clean.claim(one, START)
    await broken.clean.settle(other, "failed", attempt("failed"))
    ended = [False]

    async def ends() -> None:
        await broken.clean.settle(key, "done", attempt())

    def rule(asked: Asked) -> Fault | None:
        if ended[0] or "$batch" not in asked.what:
            return None
        ended[0] = True
        return Fault("meanwhile", meanwhile=ends)

    broken.proxy.rule = rule
    await broken.store.reopen(record.id, [key, other])
    assert ended == [True]
    assert [one.status for one in (await broken.consistent(record))[1]] == ["done", "waiting"]


@pytest.mark.parametrize("kind", BREAKS)
async def test_a_decision_that_breaks_off_anywhere_is_made_when_its_message_comes_again(
    broken: Broken, kind: Kind
) -> None:
    async def story(place: int) -> bool:
        record = taken(next(broken.numbers), 1, needs=True)
        await broken.clean.take_in(record)
        await broken.queued()
        assert record.decision is not None
        new = [*record.decision.intents, intent(record.id, 1, "late")]
        decision = Decision("v2", 7, (), tuple(new))

        async def decide() -> None:
            await broken.store.decide(record.id, decision, Facts(), new, START + timedelta(days=90))

        reached, error = await broken.fails(place, kind, decide)
        if error is not None:
            await decide()
        about, intents = await broken.consistent(record)
        assert (about.status, about.until, len(intents)) == ("decided", START + timedelta(days=90), 2)
        assert new[1].key in await broken.queued()
        return reached

    await everywhere(broken, kind, story)


@pytest.mark.parametrize("kind", BREAKS)
async def test_a_replay_that_breaks_off_anywhere_goes_on_with_the_next(broken: Broken, kind: Kind) -> None:
    async def story(place: int) -> bool:
        record = taken(next(broken.numbers), 1)
        (key,) = keys(record)
        await broken.clean.take_in(record)
        await broken.store.claim(key, START)
        await broken.store.settle(key, "failed", attempt("failed"))
        await broken.queued()
        reached, error = await broken.fails(place, kind, lambda: broken.store.reopen(record.id, [key]))
        if error is not None:
            await broken.store.reopen(record.id, [key])
        _, intents = await broken.consistent(record)
        assert intents[0].status == "waiting"
        assert key in await broken.queued()
        return reached

    await everywhere(broken, kind, story)


@pytest.mark.parametrize("kind", BREAKS)
async def test_pruning_that_breaks_off_anywhere_is_ended_by_the_next(broken: Broken, kind: Kind) -> None:
    async def story(place: int) -> bool:
        record = taken(next(broken.numbers), 1, age=timedelta(days=40))
        await broken.clean.take_in(record)
        await broken.store.claim(keys(record)[0], START)
        await broken.store.settle(keys(record)[0], "done", attempt())
        reached, _ = await broken.fails(place, kind, lambda: broken.store.prune(START))
        await broken.store.prune(START)
        assert await broken.clean.whole(record.id) is None
        assert record.event is not None
        assert await broken.clean.event(record.event.id) is None
        for search in (Search(), Search(status="decided"), Search(type="RunCompleted")):
            assert record.id not in [one.id for one in await broken.clean.listed(search)]
        return reached

    await everywhere(broken, kind, story)


@pytest.mark.parametrize("kind", BREAKS)
async def test_what_is_put_down_breaks_off_anywhere_and_is_there_when_it_is_put_down_again(
    broken: Broken, kind: Kind
) -> None:
    async def story(place: int) -> bool:
        n = next(broken.numbers)
        home, day = f"f{n}", START.date() + timedelta(days=n)
        await broken.shelf.put(home, "b", "1")

        async def put_down() -> None:
            assert await broken.shelf.keep(home, "a", "first") == "first"
            if await broken.shelf.get(home, "b") != "2":
                assert await broken.shelf.swap(home, "b", "1", "2")
            assert await broken.store.count(home, 1, "mine")
            await broken.archive.append(day, [f"line {n}"])
            await broken.queue.put([f"text {n}"])

        reached, error = await broken.fails(place, kind, put_down)
        if error is not None:
            await put_down()
        assert await broken.shelf.all(home) == [("a", "first"), ("b", "2")]
        assert not await broken.store.count(home, 1, "another's")
        assert {line async for line in broken.archive.read(day)} == {f"line {n}"}
        found = [base64.b64decode(one.content).decode() async for one in broken.messages.receive_messages()]
        assert f"text {n}" in found
        return reached

    await everywhere(broken, kind, story)


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_somebody_who_is_faster_between_reading_and_writing_is_not_written_over(
    broken: Broken, method: str
) -> None:
    record = taken(next(broken.numbers), 2)
    first, second = keys(record)
    await broken.store.take_in(record)
    assert await broken.store.claim(first, START)
    assert await broken.clean.claim(second, START)
    done = [False]

    async def faster() -> None:
        await broken.clean.settle(second, "failed", attempt("failed"))
        await broken.clean.decide(record.id, Decision("v2", 7), Facts(), [])
        await broken.clean.undecidable(record.id, "gone")

    def rule(asked: Asked) -> Fault | None:
        if done[0] or asked.method != method:
            return None
        done[0] = True
        return Fault("meanwhile", meanwhile=faster)

    broken.proxy.rule = rule
    await broken.store.settle(first, "done", attempt())
    about, intents = await broken.consistent(record)
    assert (about.status, about.refusal) == ("failed", "gone")
    assert [one.status for one in intents] == ["done", "failed"]


@pytest.mark.parametrize(("status", "retry_after"), [(429, 3), (500, None), (503, 11), (409, None)])
async def test_storage_that_is_busy_says_when_to_come_again(
    broken: Broken, status: int, retry_after: int | None
) -> None:
    broken.proxy.rule = lambda _: Fault("answer", status, retry_after)
    for act in (
        broken.store.take_in(taken(1)),
        broken.store.listed(Search()),
        broken.shelf.get("a", "b"),
        broken.queue.put(["x"]),
        broken.archive.days(),
    ):
        with pytest.raises(TemporaryError, match=f"HTTP {status}") as caught:
            await act
        assert (caught.value.retry_after, caught.value.sent) == (retry_after, False)


# A whole service, whatever befalls its storage

RULES = """
rules:
  - {name: card, event: RunCompleted, do: [{notify: one}, {notify: two}]}
"""
TWO = 'receivers: {one: {teams: "${TEAMS_ONE}"}, two: {teams: "${TEAMS_TWO}"}}'


@dataclass
class Host:
    """What the Functions host does with a queue: what could not be worked on comes again."""

    messages: QueueClient
    service: Service
    failed: list[str] = field(default_factory=list)

    async def turn(self) -> int:
        """One time through what is there; how many messages that were."""
        found = [one async for one in self.messages.receive_messages(messages_per_page=32)]
        await asyncio.gather(*(self.messages.delete_message(one) for one in found))
        texts, self.failed = [*self.failed, *(base64.b64decode(one.content).decode() for one in found)], []
        for text in texts:
            try:
                await self.service.on_message(text)
            except TemporaryError:
                self.failed.append(text)
        return len(texts)


@settings(max_examples=5, suppress_health_check=[HealthCheck.too_slow])
@given(faults=st.lists(st.sampled_from([None, None, "lost", "reset", "busy"]), min_size=20, max_size=60))
def test_whatever_breaks_off_every_event_is_on_record_once_and_done_once_or_in_doubt(
    azurite: Azurite, faults: list[Kind | None]
) -> None:
    async def go() -> None:
        async with AsyncExitStack() as closing:
            account = azurite.account()
            proxy = await closing.enter_async_context(proxied(account))
            outside, through = Outside(), Account(proxy.account)
            queue, shelf = AtOnce(through, WORK_QUEUE), AzureShelf(through)
            store = AzureStore(through, queue, outside.clock)
            for door in (queue, shelf, store):
                closing.push_async_callback(door.close)
            await queue.put([])
            outside.store, outside.shelf = store, shelf
            loaded = load_texts({"switchyard.yaml": TWO, "rules/a.yaml": RULES})
            assert loaded.problems == ()
            messages = await closing.enter_async_context(QueueClient.from_connection_string(account, WORK_QUEUE))
            host = Host(messages, Service(replace(outside.world, queue=queue), Settings(), loaded))
            for name in ("e1", "e2", "e3"):  # the door puts them on the queue, and has answered
                host.failed += arrived(run_event(name), outside.clock())
            coming = iter(faults)

            def rule(_: Asked) -> Fault | None:
                kind = next(coming, None)
                return FAULTS[kind] if kind else None

            proxy.rule = rule
            for _ in range(40):
                outside.clock.advance(LEASE.total_seconds())
                if not await host.turn():
                    break
            else:
                raise AssertionError("it never comes to rest")
            listed = await store.listed(Search())
            assert sorted(one.event.id for one in listed if one.event) == ["e1", "e2", "e3"]
            intents = await store.intents([one.id for one in listed])
            for one in listed:
                assert one.event is not None
                told = intents[one.id]
                assert [each.status for each in told] == ["done", "done"]
                assert [deed.status for deed in one.deeds] == ["done", "done"]
                assert [deed.maybe_twice for deed in one.deeds] == [each.maybe_twice for each in told]
                for each in told:
                    url = outside.secret(str(each.intent.params["url"]).strip("${}"))
                    about = f"run-{one.event.id}".encode()
                    cards = [sent for sent in outside.http.sent if sent.url == url and about in sent.body]
                    assert len(cards) == 1 or (cards and each.maybe_twice), (len(cards), each)

    asyncio.run(go())

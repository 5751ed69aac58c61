"""What the docstrings of `world.Store` promise, as tests that any store runs.

A module that tests a store subclasses `StoreContract` under a name that begins with Test and defines the fixture `place`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Literal

import pytest
from msgspec.structs import replace

from shared import wire
from shared.errors import TemporaryError
from shared.events import Event, Run
from shared.record import Attempt, Checked, Decision, EventRecord, Facts, Intent, Job, Result, Verdict, listed
from shared.world import Search, Store
from tests.world import START, VirtualClock


@dataclass(frozen=True)
class Place:
    """A store to try, empty, which reads this clock."""

    store: Store
    clock: VirtualClock
    fetch: Callable[[], Awaitable[list[str]]]
    """Takes every message off the work queue: the texts."""
    restart: Callable[[], Awaitable[Store]]
    """The same store as a new process finds it after the old one was killed."""

    async def queued(self) -> list[wire.Message]:
        return [wire.unpack(text) for text in await self.fetch()]

    async def performs(self) -> list[str]:
        """The keys that were queued, sorted: a queue promises no order."""
        return sorted(message.key for message in await self.queued() if isinstance(message, wire.Perform))


def happened(n: int = 0, *, id: str | None = None, type: str = "RunCompleted") -> Event:  # noqa: A002 (as in the envelope)
    return Event(
        id=id or f"event-{n}",
        type=type,
        time=START,
        source=f"/subscriptions/s/resourceGroups/g/{n}",
        raw_type=f"Microsoft.MachineLearningServices.{type}",
        tags={"team": "不正検知", "a.b": 'quo"ted'},
        run=Run("run-1", status="Completed", is_child=False),
        data={"runId": "run-1", "deep": [1, {"x": None}]},
    )


def intent(record: str, n: int, rule: str = "good-run") -> Intent:
    return Intent(
        f"{record}-{rule}-{n}", record, rule, "teams", {"channel": "${TEAMS_FRAUD}", "text": "{{ event.id }}"}
    )


def taken(
    n: int = 0, intents: int = 2, *, age: timedelta = timedelta(), event: Event | None = None, needs: bool = False
) -> EventRecord:
    """A record as the service hands it over: received `age` before the clock starts."""
    event = event or happened(n)
    id_ = event.record
    asked = tuple(intent(id_, n) for n in range(1, intents + 1))
    checked = (Checked("run.status", "Completed", "Completed", present=True, held=True),)
    verdict = Verdict("good-run", "rules/fraud.yaml", "matched", checked, tuple(one.key for one in asked))
    decision = Decision("v1", 7, (verdict,), asked, ("metrics",) if needs else ())
    return EventRecord(id_, START - age, "deciding" if needs else "decided", event, decision)


def refused(name: str = "0123456789abcdef0123") -> EventRecord:
    return EventRecord(name, START, "refused", refusal="data is a list, expected an object", bytes="eyJhIjo=")


def attempt(outcome: Literal["done", "later", "refused", "failed", "held"] = "done", minutes: int = 0) -> Attempt:
    return Attempt(START + timedelta(minutes=minutes), outcome, f"note {minutes}", uncertain=outcome == "later")


def keys(record: EventRecord) -> list[str]:
    assert record.decision is not None
    return [one.key for one in record.decision.intents]


def noise(characters: int) -> str:
    """Text that does not compress below half."""
    return "".join(sha256(str(n).encode()).hexdigest() for n in range(characters // 64))


async def kept(store: Store, record: EventRecord) -> EventRecord:
    found = await store.event(record.id)
    assert found is not None
    return found


async def finish(store: Store, record: EventRecord) -> None:
    for key in keys(record):
        await store.claim(key, START)
        await store.settle(key, "done", attempt())


class StoreContract:
    # Taking in

    async def test_an_event_is_kept_as_it_was_decided(self, place: Place) -> None:
        record = taken()
        assert await place.store.take_in(record) == "new"
        found = await kept(place.store, record)
        assert found.decision is not None
        assert record.decision is not None
        assert found.decision.verdicts == record.decision.verdicts
        assert (found.decision.config, found.decision.considered) == ("v1", 7)
        assert replace(found, decision=None) == replace(record, decision=None)

    async def test_an_event_that_could_not_be_read_is_kept_with_its_bytes(self, place: Place) -> None:
        assert await place.store.take_in(refused()) == "new"
        assert await place.store.event(refused().id) == refused()
        assert await place.queued() == []
        assert await place.store.intents([refused().id]) == {refused().id: []}

    async def test_each_intent_is_queued_exactly_once(self, place: Place) -> None:
        record = taken(intents=3)
        await place.store.take_in(record)
        messages = await place.queued()
        assert sorted(messages, key=str) == [wire.Perform(key) for key in keys(record)]

    async def test_rules_that_need_a_lookup_are_queued_as_one_decide(self, place: Place) -> None:
        record = taken(intents=1, needs=True)
        await place.store.take_in(record)
        assert sorted(await place.queued(), key=str) == [wire.Decide(record.id), wire.Perform(keys(record)[0])]

    async def test_a_redelivered_event_is_counted_and_nothing_else(self, place: Place) -> None:
        record = taken()
        await place.store.take_in(record)
        await place.fetch()
        other = replace(record, received=START + timedelta(hours=1), decision=Decision("v2", 9))
        assert [await place.store.take_in(other) for _ in range(2)] == ["again", "again"]
        assert await place.queued() == []
        found = await kept(place.store, record)
        assert (found.deliveries, found.received) == (3, START)
        assert found.decision is not None
        assert found.decision.config == "v1"

    async def test_a_redelivered_event_is_known_after_it_ended_and_after_a_restart(self, place: Place) -> None:
        record = taken()
        await place.store.take_in(record)
        await finish(place.store, record)
        place.clock.advance(7 * 24 * 3600)
        await place.fetch()
        store = await place.restart()
        assert await store.take_in(record) == "again"
        assert await place.queued() == []
        assert [one.status for one in (await store.intents([record.id]))[record.id]] == ["done", "done"]

    async def test_of_deliveries_that_race_one_is_new(self, place: Place) -> None:
        record = taken(intents=1)
        said = await asyncio.gather(*(place.store.take_in(record) for _ in range(5)))
        assert sorted(said).count("new") == 1
        assert (await kept(place.store, record)).deliveries == 5
        assert set(await place.performs()) == set(keys(record))

    async def test_an_event_of_a_megabyte_with_many_intents_is_kept(self, place: Place) -> None:
        event = replace(happened(), data={"noise": noise(1_000_000)})
        record = taken(intents=150, event=event)
        assert await place.store.take_in(record) == "new"
        assert (await kept(place.store, record)).event == event
        assert await place.performs() == sorted(keys(record))
        found = (await place.store.intents([record.id]))[record.id]
        assert [one.intent.key for one in found] == keys(record)

    # Deciding later

    async def test_a_decision_after_a_lookup_replaces_the_first_and_queues_what_is_new(self, place: Place) -> None:
        record = taken(intents=1, needs=True)
        await place.store.take_in(record)
        await place.fetch()
        late = intent(record.id, 1, "late")
        facts = Facts(metrics={"auc": 0.93}, unknown={"job": "gone"})
        decision = Decision("v2", 8, (Verdict("late", "rules/a.yaml", "matched", (), (late.key,)),), (late,))
        assert record.decision is not None
        await place.store.decide(record.id, decision, facts, [*record.decision.intents, late])
        assert await place.queued() == [wire.Perform(late.key)]
        found = await kept(place.store, record)
        assert (found.status, found.facts) == ("decided", facts)
        assert found.decision is not None
        assert (found.decision.config, found.decision.verdicts) == ("v2", decision.verdicts)
        ordered = (await place.store.intents([record.id]))[record.id]
        assert [one.intent.key for one in ordered] == [*keys(record), late.key]

    async def test_deciding_twice_makes_no_second_intent(self, place: Place) -> None:
        record = taken(intents=0, needs=True)
        await place.store.take_in(record)
        new = [intent(record.id, 1)]
        for _ in range(2):
            await place.store.decide(record.id, Decision("v1", 7, (), tuple(new)), Facts(), new)
        assert set(await place.performs()) == {new[0].key}
        assert len((await place.store.intents([record.id]))[record.id]) == 1

    async def test_an_intent_that_ended_is_not_queued_by_a_second_decision(self, place: Place) -> None:
        record = taken(intents=1)
        await place.store.take_in(record)
        await finish(place.store, record)
        await place.fetch()
        assert record.decision is not None
        await place.store.decide(record.id, record.decision, Facts(), record.decision.intents)
        assert await place.queued() == []
        assert [one.status for one in (await place.store.intents([record.id]))[record.id]] == ["done"]

    async def test_an_event_that_cannot_be_decided_waits_with_the_reason(self, place: Place) -> None:
        record = taken(intents=0, needs=True)
        await place.store.take_in(record)
        await place.store.undecidable(record.id, "the workspace is gone")
        found = await kept(place.store, record)
        assert (found.status, found.refusal) == ("failed", "the workspace is gone")
        assert [one.id for one in await place.store.events(Search(status="failed"))] == [record.id]
        await place.store.decide(record.id, Decision("v2", 7), Facts(), [])
        found = await kept(place.store, record)
        assert (found.status, found.refusal) == ("decided", "")
        assert await place.store.events(Search(status="failed")) == []

    async def test_what_is_learned_adds_up(self, place: Place) -> None:
        record = taken()
        await place.store.take_in(record)
        await place.store.learn(record.id, Facts(unknown={"metrics": "no run"}))
        await place.store.learn(record.id, Facts(job=Job("Completed", duration=61.5)))
        await place.store.learn(record.id, Facts(metrics={"auc": 0.9}))
        expected = Facts(metrics={"auc": 0.9}, job=Job("Completed", duration=61.5))
        assert (await kept(place.store, record)).facts == expected

    # Doing

    async def test_a_claim_tells_the_intent_and_its_event(self, place: Place) -> None:
        record = taken()
        await place.store.take_in(record)
        claim = await place.store.claim(keys(record)[1], START)
        assert claim is not None
        assert record.decision is not None
        assert claim.record.intent == record.decision.intents[1]
        assert (claim.event.id, claim.event.event, claim.interrupted) == (record.id, record.event, False)
        assert [one.status for one in (await place.store.intents([record.id]))[record.id]] == ["waiting", "running"]

    async def test_nobody_may_do_an_intent_that_is_not_there(self, place: Place) -> None:
        assert await place.store.claim("0123456789abcdef0123-nothing-1", START) is None

    @pytest.mark.parametrize("status", ["done", "refused", "failed", "held"])
    async def test_an_intent_that_has_ended_is_not_done_again(
        self, place: Place, status: Literal["done", "refused", "failed", "held"]
    ) -> None:
        record = taken(intents=1)
        await place.store.take_in(record)
        await place.store.claim(keys(record)[0], START)
        await place.store.settle(keys(record)[0], status, attempt(status), Result("said", "https://x", {"n": 1}))
        assert await place.store.claim(keys(record)[0], START + timedelta(days=1)) is None
        (found,) = (await place.store.intents([record.id]))[record.id]
        assert (found.status, found.attempts) == (status, (attempt(status),))
        assert found.result == Result("said", "https://x", {"n": 1})

    async def test_while_one_worker_is_at_it_another_is_sent_away_for_later(self, place: Place) -> None:
        record = taken(intents=1)
        await place.store.take_in(record)
        claims = await asyncio.gather(
            *(place.store.claim(keys(record)[0], START) for _ in range(4)), return_exceptions=True
        )
        assert sum(isinstance(claim, TemporaryError) for claim in claims) == 3

    async def test_an_intent_whose_worker_died_is_claimed_as_interrupted(self, place: Place) -> None:
        record = taken(intents=1)
        await place.store.take_in(record)
        await place.store.claim(keys(record)[0], START)
        store = await place.restart()
        claim = await store.claim(keys(record)[0], START + timedelta(hours=1))
        assert claim is not None
        assert claim.interrupted
        await store.settle(keys(record)[0], "done", attempt(), maybe_twice=True)
        assert await store.claim(keys(record)[0], START + timedelta(hours=2)) is None

    async def test_attempts_are_kept_in_order_and_a_doubt_stays_as_does_a_result(self, place: Place) -> None:
        record = taken(intents=1)
        (key,) = keys(record)
        await place.store.take_in(record)
        for minute in range(3):
            claim = await place.store.claim(key, START + timedelta(minutes=minute))
            assert claim is not None
            assert not claim.interrupted
            assert len(claim.record.attempts) == minute
            result = Result("posted") if minute == 1 else None
            await place.store.settle(key, "retrying", attempt("later", minute), result, maybe_twice=minute == 1 or None)
        claim = await place.store.claim(key, START + timedelta(minutes=3))
        assert claim is not None
        assert claim.record.maybe_twice
        await place.store.settle(key, "done", attempt("done", 3))
        (found,) = (await place.store.intents([record.id]))[record.id]
        assert found.attempts == (*(attempt("later", minute) for minute in range(3)), attempt("done", 3))
        assert (found.status, found.maybe_twice, found.result) == ("done", True, Result("posted"))

    async def test_a_doubt_goes_when_somebody_knows_better(self, place: Place) -> None:
        record = taken(intents=1)
        (key,) = keys(record)
        await place.store.take_in(record)
        await place.store.claim(key, START)
        await place.store.settle(key, "retrying", attempt("later"), maybe_twice=True)
        await place.store.claim(key, START + timedelta(minutes=1))
        await place.store.settle(key, "done", attempt("done", 1), Result("found again"), maybe_twice=False)
        (found,) = (await place.store.intents([record.id]))[record.id]
        assert not found.maybe_twice

    async def test_for_a_replay_what_did_not_succeed_is_open_again(self, place: Place) -> None:
        record = taken(intents=3)
        good, bad, held = keys(record)
        await place.store.take_in(record)
        for key, status in ((good, "done"), (bad, "failed"), (held, "held")):
            await place.store.claim(key, START)
            await place.store.settle(key, status, attempt(status))  # type: ignore[arg-type]
        await place.fetch()
        await place.store.reopen(record.id, [good, bad, held])
        assert await place.performs() == [bad, held]
        assert (await kept(place.store, record)).replays == 1
        assert await place.store.claim(good, START) is None
        claim = await place.store.claim(bad, START)
        assert claim is not None
        assert (claim.record.attempts, claim.interrupted) == ((attempt("failed"),), False)

    # Reading

    async def test_an_event_is_found_by_its_own_id_the_newest_first(self, place: Place) -> None:
        id_ = "an id/with #odd? \\ 'characters' 日本"
        old, new = (taken(n, 0, event=happened(n, id=id_), age=timedelta(hours=5 - n)) for n in (1, 2))
        await place.store.take_in(new)
        await place.store.take_in(old)
        found = await place.store.event(id_)
        assert found is not None
        assert found.id == new.id
        assert (await kept(place.store, old)).event == old.event

    @pytest.mark.parametrize("name", ["", "nothing", "'", "a/b", "x" * 3000, "0123456789abcdef0123"])
    async def test_an_event_that_is_not_there_is_none(self, place: Place, name: str) -> None:
        assert await place.store.event(name) is None
        assert await place.store.intents([name]) == {name: []}

    @pytest.mark.parametrize(
        ("search", "expected"),
        [
            (Search(), [0, 1, 2, 3, 4, 5]),
            (Search(limit=2), [0, 1]),
            (Search(type="Failed's"), [1, 3]),
            (Search(type="nothing"), []),
            (Search(status="deciding"), [2]),
            (Search(status="decided", type="Failed's", limit=1), [1]),
            (Search(since=START - timedelta(hours=40)), [0, 1, 2]),
            (Search(before=(START - timedelta(hours=40), "~")), [3, 4, 5]),
            (Search(since=START - timedelta(hours=60), before=(START - timedelta(hours=20), "~")), [2, 3]),
            (Search(before=(START - timedelta(hours=40), "")), [2, 3, 4, 5]),
            (Search(before=(START - timedelta(hours=60), "~"), limit=1), [4]),
        ],
    )
    async def test_events_are_found_newest_first(self, place: Place, search: Search, expected: list[int]) -> None:
        records = [
            taken(
                n,
                0,
                event=happened(n, type="Failed's" if n in {1, 3} else "RunCompleted"),
                age=timedelta(hours=20 * n),
                needs=n == 2,
            )
            for n in range(6)
        ]
        await asyncio.gather(*map(place.store.take_in, records))
        found = await place.store.events(search)
        assert [one.id for one in found] == [records[n].id for n in expected]

    async def test_a_page_goes_on_where_the_last_ended(self, place: Place) -> None:
        # A batch arrives within one microsecond: no edge of a page may lose one of them.
        records = [taken(n, 0, age=timedelta(microseconds=n // 5)) for n in range(10)]
        for record in records:
            await place.store.take_in(record)
        seen, before = list[str](), None
        while page := await place.store.events(Search(limit=2, before=before)):
            seen += [one.id for one in page]
            before = page[-1].received, page[-1].id
        assert seen == [one.id for one in sorted(records, key=lambda one: (START - one.received, one.id))]

    async def test_a_search_by_status_follows_the_event(self, place: Place) -> None:
        record = taken(needs=True)
        await place.store.take_in(record)
        assert [one.id for one in await place.store.events(Search(status="deciding"))] == [record.id]
        await place.store.decide(record.id, Decision("v1", 7), Facts(), [])
        assert await place.store.events(Search(status="deciding")) == []
        assert [one.id for one in await place.store.events(Search(status="decided"))] == [record.id]

    async def test_intents_come_per_record_in_the_order_of_the_decision(self, place: Place) -> None:
        some, none = taken(1, intents=12), taken(2, intents=0)
        await place.store.take_in(some)
        await place.store.take_in(none)
        found = await place.store.intents([none.id, some.id])
        assert [one.intent.key for one in found[some.id]] == keys(some)
        assert {one.status for one in found[some.id]} == {"waiting"}
        assert found[none.id] == []

    async def test_a_list_shows_what_the_records_say(self, place: Place) -> None:
        done, failing, idle = taken(1, 3), taken(2, 2, age=timedelta(hours=1)), taken(3, 0, age=timedelta(days=2))
        waiting, odd = taken(4, 1, age=timedelta(days=1), needs=True), refused()
        for record in (done, failing, idle, waiting, odd):
            await place.store.take_in(record)
        await finish(place.store, done)
        await place.store.claim(keys(failing)[0], START)
        await place.store.settle(keys(failing)[0], "failed", attempt("failed"), maybe_twice=True)
        await place.store.take_in(idle)
        await place.store.decide(waiting.id, Decision("v2", 7), Facts(), [intent(waiting.id, 1, "late")])
        await place.store.reopen(failing.id, keys(failing)[:1])
        for search in (
            Search(),
            Search(status="decided"),
            Search(type="RunCompleted", limit=2),
            Search(status="refused"),
        ):
            records = await place.store.events(search)
            intents = await place.store.intents([record.id for record in records])
            assert await place.store.listed(search) == [listed(record, intents[record.id]) for record in records]
            assert records
        assert await place.store.listed(Search(status="deciding")) == []
        assert await place.store.listed(Search(type="Other")) == []

    async def test_an_event_comes_whole(self, place: Place) -> None:
        record = taken(intents=12)
        await place.store.take_in(record)
        await place.store.claim(keys(record)[3], START)
        assert record.event is not None
        for name in (record.id, record.event.id):
            found = await place.store.whole(name)
            assert found is not None
            assert found == (await kept(place.store, record), (await place.store.intents([record.id]))[record.id])
            assert found[1][3].status == "running"
        for name in ("", "nothing", "a/b", "'"):
            assert await place.store.whole(name) is None

    # Memory

    async def test_a_limit_counts_each_key_once(self, place: Place) -> None:
        count = place.store.count
        assert [await count("sms/2026-11-20", 2, key) for key in ("a", "b", "a", "c", "b")] == [
            True,
            True,
            True,
            False,
            True,
        ]
        assert await count("sms/2026-11-21", 2, "c")
        assert await count("sms/2026-11-20", 3, "c")
        assert not await count("none at all?", 0, "a")

    async def test_of_keys_that_race_for_the_last_places_so_many_win(self, place: Place) -> None:
        other = await place.restart()
        stores = (place.store, other)
        won = await asyncio.gather(*(stores[n % 2].count("budget", 5, f"key-{n}") for n in range(12)))
        assert sum(won) == 5

    async def test_the_parts_of_a_message_come_together_in_order(self, place: Place) -> None:
        bodies = [f"{n}".ljust(44_800, "x") for n in range(4)]
        put = place.store.part
        assert await put("digest", 2, 4, bodies[2]) is None
        assert await put("digest", 0, 4, bodies[0]) is None
        assert await put("digest", 0, 4, bodies[0]) is None
        assert await put("other", 1, 4, "y") is None
        assert await put("digest", 3, 4, bodies[3]) is None
        assert await put("digest", 1, 4, bodies[1]) == bodies
        assert await put("digest", 1, 4, bodies[1]) == bodies  # delivered again because its worker died
        assert await put("alone", 0, 1, "z") == ["z"]

    # Forgetting

    async def test_ended_events_that_are_old_are_forgotten(self, place: Place) -> None:
        old, young = taken(1, 3, age=timedelta(days=31)), taken(2, 3)
        odd = replace(refused(), received=START - timedelta(days=40))
        for record in (old, young):
            await place.store.take_in(record)
            await finish(place.store, record)
        await place.store.take_in(odd)
        assert await place.store.prune(START) == 2
        assert await place.store.event(old.id) is None
        assert await place.store.event("event-1") is None
        assert await place.store.event(odd.id) is None
        assert (await place.store.intents([old.id, young.id]))[old.id] == []
        assert await place.store.claim(keys(old)[0], START) is None
        assert [one.id for one in await place.store.events(Search())] == [young.id]
        assert len((await place.store.intents([young.id]))[young.id]) == 3
        assert await place.store.prune(START) == 0

    async def test_unfinished_work_is_never_forgotten(self, place: Place) -> None:
        age = timedelta(days=99)
        waiting, running, retrying = (taken(n, 1, age=age) for n in range(3))
        deciding = taken(3, 0, age=age, needs=True)
        for record in (waiting, running, retrying, deciding):
            await place.store.take_in(record)
        for record in (running, retrying):
            await place.store.claim(keys(record)[0], START)
        await place.store.settle(keys(retrying)[0], "retrying", attempt("later"))
        assert await place.store.prune(START) == 0
        assert len(await place.store.events(Search())) == 4
        await finish(place.store, waiting)
        assert await place.store.prune(START + timedelta(days=2)) == 1
        assert await place.store.event(waiting.id) is None

    @pytest.mark.parametrize(("kept_for", "left"), [(timedelta(days=7), 0), (timedelta(days=400), 1)])
    async def test_a_record_is_kept_for_as_long_as_it_says(self, place: Place, kept_for: timedelta, left: int) -> None:
        record = replace(taken(1, 1, age=timedelta(days=8)), until=START - timedelta(days=8) + kept_for)
        await place.store.take_in(record)
        await finish(place.store, record)
        assert (await kept(place.store, record)).kept_until == record.until
        assert await place.store.prune(START) == 1 - left
        assert len(await place.store.events(Search())) == left

    @pytest.mark.parametrize(("days", "gone"), [(None, 1), (10, 0), (3, 1)])
    async def test_a_later_decision_says_anew_how_long_a_record_is_kept(
        self, place: Place, days: int | None, gone: int
    ) -> None:
        received = START - timedelta(days=5)
        record = replace(taken(1, 0, age=timedelta(days=5), needs=True), until=received + timedelta(days=4))
        await place.store.take_in(record)
        until = None if days is None else received + timedelta(days=days)
        await place.store.decide(record.id, Decision("v2", 7), Facts(), [], until)
        assert (await kept(place.store, record)).until == (until or record.until)
        assert await place.store.prune(START) == gone
        if not gone:
            assert await place.store.prune(START + timedelta(days=5, seconds=1)) == 1

    async def test_what_has_not_ended_in_time_is_forgotten_once_it_has(self, place: Place) -> None:
        record = taken(1, 1, age=timedelta(days=31))
        await place.store.take_in(record)
        assert await place.store.prune(START) == 0
        await finish(place.store, record)
        assert await place.store.prune(START + timedelta(days=2)) == 1

    async def test_a_limit_of_this_month_outlives_forgotten_events(self, place: Place) -> None:
        assert await place.store.count("month", 1, "a")
        place.clock.advance(timedelta(days=30).total_seconds())
        await place.store.prune(place.clock())
        assert not await place.store.count("month", 1, "b")

    async def test_times_are_exact_and_in_utc(self, place: Place) -> None:
        moment = datetime(2026, 11, 20, 8, 30, 0, 123457, UTC)
        await place.store.take_in(replace(taken(), received=moment))
        assert (await kept(place.store, taken())).received == moment

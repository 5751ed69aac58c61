"""How often: each kind by its story, and by properties under every interleaving of workers."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.guards.ask import Collected, Go, Memory, Suppressed, Wait
from shared.guards.throttle import GRACE, family_ended, throttled
from shared.record import Throttle

T0 = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SOURCE = "/subscriptions/s/workspaces/prod"


def rule(memory, throttle, record, minute, key=None):
    script = throttled(throttle, record, key or f"{record}-r-1", SOURCE, T0 + minute * MINUTE)
    return memory.run(script)


WITHIN = Throttle("once_within", 600, "a", "model.name fraud")
AFTER = Throttle("once_after", 600, "a")
ACCUMULATE = Throttle("accumulate_within", 600, "a", threshold=3)
CHILDREN = Throttle("once_after", 6 * 3600, "a", "run.parent HD_1", parent="HD_1")


def test_once_within_lets_the_first_through_and_tells_the_next_how_many_were_held_back():
    memory = Memory()
    assert rule(memory, WITHIN, "e1", 0) == Go()
    held = rule(memory, WITHIN, "e2", 1)
    assert held == Suppressed(
        "throttle",
        "once within 10m of model.name fraud: the last one went out at 2026-11-24 09:00:00 UTC, "
        "the next one can at 2026-11-24 09:10:00 UTC",
    )
    assert isinstance(rule(memory, WITHIN, "e3", 9), Suppressed)
    assert rule(memory, WITHIN, "e4", 10) == Go(held_back=2)
    assert rule(memory, WITHIN, "e4", 15) == Go(held_back=2)  # its other steps, and a try that was killed
    assert isinstance(rule(memory, WITHIN, "e2", 9), Suppressed)


def test_another_value_has_an_account_of_its_own():
    memory = Memory()
    other = Throttle("once_within", 600, "b")
    assert (rule(memory, WITHIN, "e1", 0), rule(memory, other, "e2", 0)) == (Go(), Go())


def test_once_after_collects_and_the_first_one_carries_all():
    memory = Memory()
    wait = rule(memory, AFTER, "e1", 0)
    assert isinstance(wait, Wait)
    assert wait.until == T0 + 10 * MINUTE
    assert rule(memory, AFTER, "e1", 0, "e1-r-2") == wait  # the second step of the same rule
    collected = rule(memory, AFTER, "e2", 4)
    assert isinstance(collected, Collected)
    assert collected.into == "e1"
    assert rule(memory, AFTER, "e1", 10) == Go(("e1", "e2"), 2)
    assert isinstance(rule(memory, AFTER, "e3", 11), Wait)  # a new collection
    assert rule(memory, AFTER, "e1", 12) == Go(("e1", "e2"), 2)  # killed before it was on record: the same again


def test_one_alone_is_no_collection():
    memory = Memory()
    rule(memory, AFTER, "e1", 0)
    assert rule(memory, AFTER, "e1", 10) == Go((), 1)


def test_the_next_event_closes_a_collection_whose_carrier_is_late():
    memory = Memory()
    rule(memory, AFTER, "e1", 0)
    rule(memory, AFTER, "e2", 5)
    assert isinstance(rule(memory, AFTER, "e3", 30), Wait)
    assert rule(memory, AFTER, "e1", 31) == Go(("e1", "e2"), 2)
    assert rule(memory, AFTER, "e3", 40) == Go((), 1)


def test_accumulate_within_fires_with_all_that_made_it_fire():
    memory = Memory()
    assert rule(memory, ACCUMULATE, "e1", 0) == Suppressed("throttle", "1 of 3 within 10m")
    assert rule(memory, ACCUMULATE, "e2", 6) == Suppressed("throttle", "2 of 3 within 10m")
    assert rule(memory, ACCUMULATE, "e3", 11) == Suppressed("throttle", "2 of 3 within 10m")  # e1 is over
    assert rule(memory, ACCUMULATE, "e4", 12) == Go(("e2", "e3", "e4"), 3)
    assert rule(memory, ACCUMULATE, "e4", 12) == Go(("e2", "e3", "e4"), 3)
    assert rule(memory, ACCUMULATE, "e5", 13) == Suppressed("throttle", "1 of 3 within 10m")


def test_children_come_together_soon_after_their_parent_has_ended():
    memory = Memory()
    assert rule(memory, CHILDREN, "c1", 0).until == T0 + 360 * MINUTE
    rule(memory, CHILDREN, "c2", 20)
    end = T0 + 30 * MINUTE
    assert memory.run(family_ended(SOURCE, "HD_1", end, parent=True)) == [("c1-r-1", end + GRACE)]
    assert rule(memory, CHILDREN, "c3", 31).into == "c1"  # events are in no order
    assert rule(memory, CHILDREN, "c1", 32) == Go(("c1", "c2", "c3"), 3)
    late = rule(memory, CHILDREN, "c4", 50)
    assert late.until == T0 + 52 * MINUTE


def test_the_end_of_a_run_that_nobody_waits_for_changes_nothing():
    memory = Memory()
    assert not memory.run(family_ended(SOURCE, "job", T0, parent=False))
    assert memory.folders == {}


def test_children_whose_parent_had_ended_before_are_not_waited_for_long():
    memory = Memory()
    memory.run(family_ended(SOURCE, "HD_1", T0, parent=True))
    assert rule(memory, CHILDREN, "c1", 1).until == T0 + MINUTE + GRACE


def race(memory, scripts, order):
    """Runs them all, a question at a time, in this order; then what is left, one after the other."""
    answers, results = [None] * len(scripts), {}

    def turn(n):
        try:
            answers[n] = memory.answer(scripts[n].send(answers[n]))
        except StopIteration as end:
            results[n] = end.value

    for n in order:
        if n < len(scripts) and n not in results:
            turn(n)
    for n in range(len(scripts)):
        while n not in results:
            turn(n)
    return [results[n] for n in range(len(scripts))]


ORDERS = st.lists(st.integers(0, 20), max_size=60)


@given(ORDERS, st.integers(2, 6))
def test_of_workers_that_race_one_lets_the_message_through(order, workers):
    memory = Memory()
    scripts = [throttled(WITHIN, f"e{n}", f"e{n}-r-1", SOURCE, T0) for n in range(workers)]
    rulings = race(memory, scripts, order)
    assert [type(one) for one in rulings].count(Go) == 1
    assert rule(memory, WITHIN, "next", 10) == Go(held_back=workers - 1)


@example([0, 0, 0, 2, 2], [0, 0, 10])  # one adds itself while another seals what it has read
@given(ORDERS, st.lists(st.integers(0, 40), min_size=2, max_size=6))
def test_whatever_the_order_each_event_is_told_of_once(order, minutes):
    memory = Memory()
    names = [f"e{n}" for n in range(len(minutes))]
    for throttle in (AFTER, CHILDREN):
        fresh = Memory()
        scripts = [
            throttled(throttle, name, f"{name}-r-1", SOURCE, T0 + minute * MINUTE)
            for name, minute in zip(names, minutes, strict=True)
        ]
        rulings = race(fresh, scripts, order)
        carriers = [name for name, one in zip(names, rulings, strict=True) if isinstance(one, Wait | Go)]
        told: list[str] = []
        for name in carriers:
            went = rule(fresh, throttle, name, 24 * 60)
            assert isinstance(went, Go)
            told += went.collected or (name,)
        assert sorted(told) == names
    assert memory.folders == {}


@given(ORDERS, st.integers(3, 8))
def test_accumulation_counts_every_event_once(order, workers):
    memory = Memory()
    scripts = [throttled(ACCUMULATE, f"e{n}", f"e{n}-r-1", SOURCE, T0) for n in range(workers)]
    rulings = race(memory, scripts, order)
    fired = [one for one in rulings if isinstance(one, Go)]
    assert len(fired) == workers // 3
    told = [record for one in fired for record in one.collected]
    assert len(told) == len(set(told)) == 3 * len(fired)


@pytest.mark.parametrize("throttle", [WITHIN, AFTER, ACCUMULATE])
def test_thousands_of_one_kind_make_no_account_without_end(throttle):
    memory = Memory()
    for n in range(2000):
        rule(memory, throttle, f"{n:020d}", n / 400)
    size = max(len(text) for folder in memory.folders.values() for text in folder.values())
    assert size < 64_000

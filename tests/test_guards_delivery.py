"""Deliveries in many parts: told once when all are there, in whatever order they come, and told of where some never do."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.guards import delivery
from shared.guards.ask import Collected, Go, Held, Memory, Suppressed, Wait
from shared.guards.throttle import expired, throttled
from shared.record import PARTS, Throttle
from tests.test_guards_throttle import ORDERS, race

T0 = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
MARKER = ""


def part(name, wanted=3, *, kind="complete_within", marker=False):
    return Throttle(kind, 3600, "a", "blob.folder day", wanted, part=name, marker=marker)


def ask(memory, throttle, record, minute=0):
    return memory.run(throttled(throttle, record, f"{record}-r-1", "/s", T0 + minute * MINUTE))


def test_the_last_part_completes_the_delivery_and_nothing_does_twice():
    memory = Memory()
    assert ask(memory, part("a"), "e1") == Collected("1 of 3 parts of blob.folder day, within 1h", "e1")
    assert isinstance(ask(memory, part("b"), "e2", 1), Collected)
    assert ask(memory, part("c"), "e3", 2) == Go(("e1", "e2", "e3"), 3, wanted=3)
    assert ask(memory, part("c"), "e3", 2) == Go(("e1", "e2", "e3"), 3, wanted=3)  # its other steps, or a killed try
    assert ask(memory, part("b"), "e4", 5) == Suppressed(
        "throttle",
        "all 3 parts were there at 2026-11-24 09:02:00 UTC of blob.folder day; the next delivery begins at "
        "2026-11-24 10:00:00 UTC",
    )
    assert ask(memory, part("c"), "e3", 500) == Go(("e1", "e2", "e3"), 3, wanted=3)


def test_a_part_that_is_written_over_or_announced_twice_counts_once():
    memory = Memory()
    for n in range(5):
        assert isinstance(ask(memory, part("a"), f"e{n}"), Collected)
    ask(memory, part("b"), "e6")
    assert ask(memory, part("b"), "e7") == Collected("2 of 3 parts of blob.folder day, within 1h", "e0")
    assert isinstance(ask(memory, part("c"), "e8"), Go)


def test_the_next_delivery_into_the_same_folder_begins_when_the_first_one_is_over():
    memory = Memory()
    for n, name in enumerate("abc"):
        ask(memory, part(name), f"e{n}")
    assert isinstance(ask(memory, part("a"), "f1", 60), Collected)
    ask(memory, part("b"), "f2", 61)
    assert ask(memory, part("c"), "f3", 62) == Go(("f1", "f2", "f3"), 3, wanted=3)


def test_the_marker_says_how_many_there_are_and_may_come_before_them():
    memory = Memory()
    assert ask(memory, part("a", 0, marker=True), "e1") == Collected(
        "1 part of blob.folder day, and nobody has said of how many, without the marker, within 1h", "e1"
    )
    assert isinstance(ask(memory, part(MARKER, 2, marker=True), "e2"), Collected)
    assert ask(memory, part("b", 0, marker=True), "e3") == Go(("e1", "e2", "e3"), 2, wanted=2)


def test_all_parts_without_their_marker_are_not_all():
    memory = Memory()
    for n, name in enumerate("abc"):
        assert isinstance(ask(memory, part(name, marker=True), f"e{n}"), Collected)
    assert isinstance(ask(memory, part(MARKER, marker=True), "m"), Go)


def test_who_came_first_tells_that_the_rest_did_not_come():
    memory = Memory()
    wait = ask(memory, part("a", kind="incomplete_after"), "e1")
    assert wait == Wait(T0 + 60 * MINUTE, "tells if they are not all there by 2026-11-24 10:00:00 UTC")
    assert ask(memory, part("b", kind="incomplete_after"), "e2", 30).into == "e1"
    assert ask(memory, part("a", kind="incomplete_after"), "e1", 60) == Go(("e1", "e2"), 2, wanted=3)
    assert ask(memory, part("a", kind="incomplete_after"), "e1", 61) == Go(("e1", "e2"), 2, wanted=3)


def test_nothing_is_told_of_a_delivery_that_came_whole():
    memory = Memory()
    for n, name in enumerate("abc"):
        ask(memory, part(name, kind="incomplete_after"), f"e{n}", n)
    assert ask(memory, part("a", kind="incomplete_after"), "e0", 60) == Suppressed(
        "throttle", "all 3 parts were there of blob.folder day"
    )


@pytest.mark.parametrize(("names", "told"), [("ab", Go), ("abc", Suppressed)])
def test_the_next_delivery_does_not_hide_how_the_last_one_ended(names, told):
    memory = Memory()
    for n, name in enumerate(names):
        ask(memory, part(name, kind="incomplete_after"), f"e{n}", n)
    assert isinstance(ask(memory, part("a", kind="incomplete_after"), "f", 61), Wait)  # before the first one asks
    assert isinstance(ask(memory, part("a", kind="incomplete_after"), "e0", 62), told)
    assert ask(memory, part("a", kind="incomplete_after"), "f", 121) == Go(("f",), 1, wanted=3)


def test_more_parts_than_are_counted_are_told_to_a_person_once():
    held = ask(Memory(), part("a", PARTS + 1), "e1")
    assert isinstance(held, Held)
    assert (held.guard, held.once) == ("parts", "a")


@given(
    ORDERS,
    st.integers(1, 5).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n - 1), max_size=4), st.randoms())
    ),
)
def test_whatever_the_order_a_delivery_fires_once_and_only_when_it_is_whole(order, drawn):
    """Every part once, some again, shuffled, and workers that interleave question by question."""
    wanted, again, chance = drawn
    names = [*range(wanted), *again]
    chance.shuffle(names)
    memory = Memory()
    scripts = [throttled(part(f"p{name}", wanted), f"e{n}", f"e{n}-r-1", "/s", T0) for n, name in enumerate(names)]
    rulings = race(memory, scripts, order)
    fired = [one for one in rulings if isinstance(one, Go)]
    assert len(fired) == 1
    assert (fired[0].total, fired[0].wanted) == (wanted, wanted)
    told = {names[int(record[1:])] for record in fired[0].collected}
    assert told == set(range(wanted))


@given(ORDERS, st.integers(2, 6), st.integers(0, 5))
def test_a_delivery_that_lacks_a_part_never_fires(order, wanted, lost):
    lost %= wanted
    memory = Memory()
    names = [name for name in range(wanted) if name != lost]
    scripts = [throttled(part(f"p{name}", wanted), f"e{name}", f"e{name}-r-1", "/s", T0) for name in names]
    assert all(isinstance(one, Collected) for one in race(memory, scripts, order))


@given(ORDERS, st.permutations(["a", "b", MARKER]))
def test_the_marker_may_come_at_any_time(order, names):
    memory = Memory()
    scripts = [
        throttled(part(name, 0 if name else 2, marker=True), f"e{n}", f"e{n}-r-1", "/s", T0)
        for n, name in enumerate(names)
    ]
    assert [type(one) for one in race(memory, scripts, order)].count(Go) == 1


@given(ORDERS, st.integers(1, 5), st.integers(1, 5))
def test_whoever_came_first_is_the_only_one_to_tell(order, came, wanted):
    memory = Memory()
    throttles = [part(f"p{n}", wanted, kind="incomplete_after") for n in range(came)]
    scripts = [throttled(one, f"e{n}", f"e{n}-r-1", "/s", T0) for n, one in enumerate(throttles)]
    waits = [n for n, one in enumerate(race(memory, scripts, order)) if isinstance(one, Wait)]
    assert len(waits) == 1
    ruling = ask(memory, throttles[waits[0]], f"e{waits[0]}", 60)
    assert isinstance(ruling, Go if came < wanted else Suppressed)


def test_a_delivery_of_very_many_parts_makes_no_account_without_end():
    memory = Memory()
    for n in range(2000):
        ask(memory, part(f"part-{n}", PARTS), f"{n:020d}", n * 0.1)
    size = max(len(text) for folder in memory.folders.values() for text in folder.values())
    assert size < 32_000


def test_accounts_are_put_away_when_they_are_over():
    memory = Memory()
    ask(memory, part("a"), "e1")
    (text,) = memory.folders[delivery.DELIVERIES].values()
    assert not expired(delivery.DELIVERIES, text, before=T0 + 59 * MINUTE)
    assert expired(delivery.DELIVERIES, text, before=T0 + 61 * MINUTE)

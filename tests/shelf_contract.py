"""What the docstrings of `world.Shelf` promise, as tests that any shelf runs.

A module that tests a shelf subclasses `ShelfContract` under a name that begins with Test and defines the fixture `place`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from shared.answers import answered
from shared.guards.ask import Go
from shared.guards.retraining import LEDGERS, Start, may_start, read
from shared.guards.throttle import throttled
from shared.record import Throttle
from shared.rules.config import Budget, Pipeline, Spend
from shared.world import Shelf
from tests.store_contract import noise
from tests.world import Outside

NAMES = ["0000000001-a.b~c", "000123", "A", "Z", "_holder", "a", "b-1", "b_1", "x" * 100]


@dataclass(frozen=True)
class ShelfPlace:
    """A shelf to try, empty. `restart`: as a new process finds it after the old one was killed."""

    shelf: Shelf
    restart: Callable[[], Awaitable[Shelf]]


class ShelfContract:
    async def test_the_first_writer_wins_and_everybody_is_told_what_is_kept(self, place: ShelfPlace) -> None:
        kept = await asyncio.gather(*(place.shelf.keep("f", "n", f"text {n}") for n in range(8)))
        assert len(set(kept)) == 1
        assert await place.shelf.get("f", "n") == kept[0]
        assert await place.shelf.keep("f", "n", "later") == kept[0]

    async def test_what_is_put_replaces_what_was_there(self, place: ShelfPlace) -> None:
        await place.shelf.put("f", "n", "old")
        await place.shelf.put("f", "n", "new")
        assert await place.shelf.get("f", "n") == "new"

    async def test_a_name_in_one_folder_is_not_there_in_another(self, place: ShelfPlace) -> None:
        await place.shelf.put("f", "n", "text")
        assert await place.shelf.get("g", "n") is None
        assert await place.shelf.get("f", "m") is None
        assert list(await place.shelf.all("g")) == []

    @pytest.mark.parametrize(
        ("there", "old", "new", "swapped"),
        [
            ("a", "a", "b", True),
            ("a", "x", "b", False),
            ("a", None, "b", False),
            (None, None, "b", True),
            (None, "a", "b", False),
            ("a", "a", None, True),
            ("a", "x", None, False),
            (None, "a", None, False),
            (None, None, None, True),
        ],
    )
    async def test_a_swap_takes_place_only_over_what_is_expected(
        self, place: ShelfPlace, there: str | None, old: str | None, new: str | None, *, swapped: bool
    ) -> None:
        if there is not None:
            await place.shelf.put("f", "n", there)
        assert await place.shelf.swap("f", "n", old, new) is swapped
        assert await place.shelf.get("f", "n") == (new if swapped else there)

    async def test_of_many_who_swap_at_once_one_wins(self, place: ShelfPlace) -> None:
        for old, news in ((None, "abcd"), ("!", "efgh")):
            if old:
                await place.shelf.put("f", "n", old)
            won = await asyncio.gather(*(place.shelf.swap("f", "n", old, new) for new in news))
            assert sum(won) == 1
            assert await place.shelf.get("f", "n") == news[won.index(True)]
        taken = await asyncio.gather(*(place.shelf.swap("f", "n", news[won.index(True)], None) for _ in range(4)))
        assert sum(taken) == 1

    async def test_all_are_in_the_order_of_their_names_page_by_page(self, place: ShelfPlace) -> None:
        for name in reversed(NAMES):
            await place.shelf.put("f", name, f"text of {name}")
        wanted = [(name, f"text of {name}") for name in NAMES]
        assert list(await place.shelf.all("f")) == wanted
        found: list[tuple[str, str]] = []
        after = ""
        while page := await place.shelf.all("f", after=after, limit=4):
            found += page
            after = page[-1][0]
        assert found == wanted

    async def test_texts_may_be_long_empty_and_in_any_script(self, place: ShelfPlace) -> None:
        for text in ("", "不正検知 🚦 'quoted' \"twice\"\n", noise(300_000)):
            await place.shelf.put("f", "n", text)
            assert await place.shelf.get("f", "n") == text
            assert list(await place.shelf.all("f")) == [("n", text)]

    async def test_what_a_method_has_written_a_new_process_finds(self, place: ShelfPlace) -> None:
        await place.shelf.keep("f", "kept", "1")
        await place.shelf.put("f", "put", "2")
        await place.shelf.swap("f", "swapped", None, "3")
        await place.shelf.put("f", "taken", "4")
        await place.shelf.swap("f", "taken", "4", None)
        again = await place.restart()
        assert list(await again.all("f")) == [("kept", "1"), ("put", "2"), ("swapped", "3")]

    async def test_workers_that_race_for_a_budget_take_what_there_is_and_no_more(self, place: ShelfPlace) -> None:
        outside = Outside()
        outside.shelf = place.shelf
        limits = Pipeline(source="azureml:a:1", experiment="e", budget=Budget(day=Spend(runs=3)))
        starts = [Start(f"k{n}", outside.clock(), f"k{n}") for n in range(8)]
        rulings = await asyncio.gather(
            *(answered(may_start("p", limits, start, "UTC"), outside.world) for start in starts)
        )
        assert [type(one) for one in rulings].count(Go) == 3
        (kept,) = [text for _, text in await place.shelf.all(LEDGERS)]
        assert len(read(kept).starts) == 3

    async def test_workers_that_race_with_a_message_send_it_once(self, place: ShelfPlace) -> None:
        outside = Outside()
        outside.shelf = place.shelf
        throttle, now = Throttle("once_within", 600, "a"), outside.clock()
        rulings = await asyncio.gather(
            *(answered(throttled(throttle, f"e{n}", f"k{n}", "/s", now), outside.world) for n in range(6))
        )
        assert [type(one) for one in rulings].count(Go) == 1

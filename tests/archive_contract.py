"""What the docstrings of `world.Archive` promise, as tests that any archive runs.

A module that tests one subclasses `ArchiveContract` under a name that begins with Test and defines the fixture `archive`.
"""

import asyncio
from datetime import date

from shared.world import Archive
from tests.store_contract import noise

MONDAY, TUESDAY, SUNDAY = date(2026, 11, 23), date(2026, 11, 24), date(2026, 11, 22)


async def lines(archive: Archive, day: date) -> list[str]:
    return [line async for line in archive.read(day)]


class ArchiveContract:
    async def test_lines_come_back_by_day_in_their_order(self, archive: Archive) -> None:
        await archive.append(TUESDAY, ["b1", "b2"])
        await archive.append(MONDAY, ["a1"])
        await archive.append(TUESDAY, [])
        await archive.append(TUESDAY, ['{"x": "不正検知 🚦\\n"}'])
        assert list(await archive.days()) == [MONDAY, TUESDAY]
        assert await lines(archive, MONDAY) == ["a1"]
        assert await lines(archive, TUESDAY) == ["b1", "b2", '{"x": "不正検知 🚦\\n"}']

    async def test_a_day_without_lines_is_empty(self, archive: Archive) -> None:
        assert list(await archive.days()) == []
        assert await lines(archive, MONDAY) == []
        await archive.append(MONDAY, [])
        assert list(await archive.days()) == []

    async def test_old_days_are_forgotten(self, archive: Archive) -> None:
        for day in (TUESDAY, SUNDAY, MONDAY):
            await archive.append(day, ["x"])
        assert await archive.prune(TUESDAY) == 2
        assert list(await archive.days()) == [TUESDAY]
        assert await archive.prune(TUESDAY) == 0

    async def test_many_and_long_lines(self, archive: Archive) -> None:
        wanted = [f"{n} {noise(64 * (n % 20))}" for n in range(3000)] + [noise(1_500_000), "", noise(3_000_000)]
        for start in range(0, len(wanted), 1100):
            await archive.append(MONDAY, wanted[start : start + 1100])
        assert await lines(archive, MONDAY) == wanted

    async def test_a_day_can_be_read_while_it_grows(self, archive: Archive) -> None:
        wanted = [noise(1_000_000) for _ in range(10)]
        await archive.append(MONDAY, wanted)
        reading = archive.read(MONDAY)
        found = [await anext(reading)]
        await archive.append(MONDAY, ["later"])
        found += [line async for line in reading]
        assert found[:10] == wanted
        assert found[10:] in ([], ["later"])

    async def test_what_several_append_at_once_is_all_there(self, archive: Archive) -> None:
        await asyncio.gather(*(archive.append(MONDAY, [f"{n} first", f"{n} second"]) for n in range(6)))
        assert sorted(await lines(archive, MONDAY)) == sorted(
            f"{n} {word}" for n in range(6) for word in ("first", "second")
        )

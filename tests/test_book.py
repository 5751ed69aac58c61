"""Silences and acknowledgements as they are kept."""

from datetime import UTC, datetime, timedelta

import pytest

from shared import book
from shared.errors import PermanentError
from shared.record import Ack, Comment, Silence, held_by
from tests.world import DictShelf

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def silence(n=1, began=NOW, length=4 * HOUR):
    return Silence(
        book.silence_id(began, str(n)), {"tags.team": "fraud"}, "Naoko", f"reason {n}", began, began + length
    )


class Busy(DictShelf):
    """Somebody else always writes in between, once."""

    def __init__(self, meanwhile):
        super().__init__()
        self.meanwhile = meanwhile

    async def swap(self, folder, name, old, new):
        if self.meanwhile:
            between, self.meanwhile = self.meanwhile, None
            await between(self)
        return await super().swap(folder, name, old, new)


async def test_those_in_force_are_listed_and_those_that_are_over_stay_on_record():
    shelf = DictShelf()
    short, long, old = silence(1, length=HOUR), silence(2), silence(3, began=NOW - 9 * HOUR)
    for one in (long, short, old):
        await book.add_silence(shelf, one)
    assert list(await book.silences(shelf, NOW)) == [short, long]
    expired = await book.expire(shelf, long.id, "Ito", NOW + HOUR / 2)
    await book.put_away(shelf, NOW + 2 * HOUR)
    assert await book.silences(shelf, NOW + 2 * HOUR) == []
    assert {one.id for one in await book.all_silences(shelf)} == {short.id, long.id, old.id}
    assert list(await book.all_silences(shelf))[-1] == old
    assert await book.silence(shelf, long.id) == expired
    assert (expired.expired, expired.expired_by) == (NOW + HOUR / 2, "Ito")
    assert shelf.folders["silences"] == {}


async def test_the_first_account_of_a_silence_holds_also_when_it_is_over():
    shelf = DictShelf()
    first = await book.add_silence(shelf, silence())
    await book.put_away(shelf, NOW + 9 * HOUR)
    again = Silence(first.id, {"rule": "x"}, "Ito", "other", NOW, NOW + HOUR)
    assert await book.add_silence(shelf, again) == first


@pytest.mark.parametrize("at", [NOW + 4 * HOUR, NOW + 9 * HOUR])
async def test_what_is_over_cannot_be_ended(at):
    shelf = DictShelf()
    one = await book.add_silence(shelf, silence())
    with pytest.raises(PermanentError, match="is over already"):
        await book.expire(shelf, one.id, "Ito", at)
    await book.expire(shelf, one.id, "Ito", NOW)
    with pytest.raises(PermanentError, match="is over already"):
        await book.expire(shelf, one.id, "Mika", NOW)


@pytest.mark.parametrize(
    "id_", ["nothing", "", "../x", "20261124T120000-ffffffff", "99999999T999999-ffffffff", "x" * 200]
)
async def test_what_never_was_is_not_found(id_):
    shelf = DictShelf()
    await book.add_silence(shelf, silence())
    assert await book.silence(shelf, id_) is None
    with pytest.raises(PermanentError, match="there is no silence"):
        await book.comment(shelf, id_, Comment(NOW, "Ito", "x"))


async def test_no_comment_is_lost_when_two_people_write_at_once():
    async def other(shelf):
        await book.comment(shelf, silence().id, Comment(NOW, "Ito", "second"))

    shelf = Busy(other)
    await book.add_silence(shelf, silence())
    told = await book.comment(shelf, silence().id, Comment(NOW, "Mika", "first"))
    assert [word.text for word in told.comments] == ["second", "first"]


async def test_what_is_over_can_be_commented_and_there_is_a_limit():
    shelf = DictShelf()
    one = await book.add_silence(shelf, silence())
    await book.put_away(shelf, NOW + 9 * HOUR)
    for n in range(20):
        await book.comment(shelf, one.id, Comment(NOW, "Mika", str(n)))
    with pytest.raises(PermanentError, match="20 comments, and that is the limit"):
        await book.comment(shelf, one.id, Comment(NOW, "Mika", "20"))
    found = await book.silence(shelf, one.id)
    assert found is not None
    assert len(found.comments) == 20


async def test_what_its_owner_was_told_is_never_forgotten():
    shelf = DictShelf()
    one = await book.add_silence(shelf, silence())
    await book.told_of_silence(shelf, one.id, reminded=2)
    await book.told_of_silence(shelf, one.id, warned=True)
    told = await book.told_of_silence(shelf, one.id, reminded=1)
    assert (told.warned, told.reminded) == (True, 2)


async def test_a_silence_counts_what_it_held_back():
    shelf = DictShelf()
    for key in ("e1-r-1", "e1-r-1", "e2-r-1"):
        await shelf.keep(held_by("s"), key, "at")
    assert (await book.held_back(shelf, "s"), await book.held_back(shelf, "t")) == (2, 0)


async def test_the_first_who_acknowledges_counts():
    shelf = DictShelf()
    assert await book.acknowledged(shelf, "r") is None
    first = Ack("Mika", NOW, "on it", "console")
    assert await book.acknowledge(shelf, "r", first) == first
    assert await book.acknowledge(shelf, "r", Ack("Ito", NOW)) == first
    assert await book.acknowledged(shelf, "r") == first

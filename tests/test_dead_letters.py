"""What Event Grid gave up comes back: decided like any other arrival, told of once a batch, and its file goes last."""

import base64
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob.aio import ContainerClient

from local.dead_letters import FolderDeadLetters
from shared import book, dead_letters
from shared.cloud.account import Account
from shared.cloud.dead_letters import CONTAINER, BlobDeadLetters
from shared.errors import PermanentError
from shared.record import EventRecord
from shared.web import app
from shared.world import DeadLetters, Left, Search
from tests.station import Station, opened, run_event
from tests.test_simulator_eventgrid import delivering, quiet
from tests.test_web import ask
from tests.world import MemoryDeadLetters, Outside

RULES = """
rules:
  - name: plain
    event: RunCompleted
    match: {tags.team: plain}
    do: [{notify: fraud}]
"""
GAVE_UP = {
    "deadLetterReason": "MaxDeliveryAttemptsExceeded",
    "deliveryAttempts": 30,
    "lastDeliveryOutcome": "NotFound",
    "lastHttpStatusCode": 404,
    "publishTime": "2026-11-19T08:29:01.0265758Z",
    "lastDeliveryAttemptTime": "2026-11-20T08:20:00.0465788Z",
}
FILE = "SWITCHYARD/2026/11/20/8/6f9c.json"


def lost(name: str, team: str = "plain", **said: object) -> dict[str, object]:
    return run_event(name, runTags={"team": team}) | GAVE_UP | said


def cloud_event(name: str) -> dict[str, object]:
    """As a subscription with CloudEvents leaves it: without a time, and everything of Event Grid's in lower case."""
    one = run_event(name, runTags={"team": "plain"})
    names = {"id": "id", "source": "topic", "type": "eventType", "subject": "subject", "data": "data"}
    said = {key.lower(): value for key, value in GAVE_UP.items()}
    return {"specversion": "1.0"} | {new: one[old] for new, old in names.items()} | said


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
def station(outside: Outside, tmp_path: Path) -> Iterator[Station]:
    with opened(tmp_path / "state.db") as database:
        yield Station(outside, database, RULES)


async def back(station: Station, *files: object, **named: object) -> int:
    """The files lie there, and the timer comes."""
    given = {f"SWITCHYARD/2026/11/20/8/{n}.json": file for n, file in enumerate(files)} | named
    put = {name: file if isinstance(file, bytes) else json.dumps(file).encode() for name, file in given.items()}
    station.outside.dead_letters.files.update(put)
    found = await station.service.on_dead_letters(station.outside.clock())
    await station.work()
    return found


async def records(station: Station, kind: str | None = None, status: str | None = None) -> Sequence[EventRecord]:
    return await station.service.world.store.events(Search(type=kind, status=status))


def mails(outside: Outside) -> list[str]:
    return [letter.subject for letter, _ in outside.mail.sent]


@pytest.mark.parametrize("one", [lost("e1"), cloud_event("e1")], ids=["Event Grid schema", "CloudEvents"])
@pytest.mark.parametrize("alone", [False, True], ids=["an array", "a single one"])
async def test_it_is_decided_and_done_and_says_why_it_is_late(
    station: Station, outside: Outside, one: Mapping[str, object], *, alone: bool
) -> None:
    assert await back(station, one if alone else [one]) == 1
    assert [(intent.intent.rule, intent.status) for intent in await station.intents("e1")] == [("plain", "done")]
    assert len(outside.http.sent) == 1
    assert outside.dead_letters.files == {}
    record = await station.record("e1")
    assert (record.status, record.deliveries, record.event and record.event.data["runId"]) == ("decided", 1, "run-e1")
    assert record.event is not None
    assert record.event.time.isoformat()[:16] == ("2026-11-19T08:29" if "specversion" in one else "2026-11-20T08:29")

    here = app(lambda: station.service)
    told = (await ask(here, "GET", f"/api/events/{record.id}", {})).json["dead_letter"]
    assert told == {
        "reason": "MaxDeliveryAttemptsExceeded",
        "attempts": 30,
        "outcome": "NotFound",
        "status": 404,
        "published": "2026-11-19T08:29:01.026575Z",
        "tried": "2026-11-20T08:20:00.046578Z",
        "subscription": "SWITCHYARD",
        "back": "2026-11-20T08:30:00Z",
    }
    for language, words in {"en": "gave this event up after 30 attempts", "ja": "30 回の配信後"}.items():
        page = (await ask(here, "GET", f"/events/{record.id}", {"accept_language": language})).text
        assert words in page
        assert "MaxDeliveryAttemptsExceeded" in page
        assert "2026-11-19 08:29:01" in page


async def test_one_that_was_processed_after_all_is_another_delivery_and_nothing_else(
    station: Station, outside: Outside
) -> None:
    await station.send(run_event("e1", runTags={"team": "plain"}))
    await station.work()
    await back(station, [lost("e1")])
    assert len(outside.http.sent) == 1
    assert (await station.record("e1")).deliveries == 2
    await back(
        station, [lost("e1", deliveryAttempts=3)], [lost("e1")]
    )  # another subscription's; and the first once more
    assert len(outside.http.sent) == 1


async def test_a_person_is_told_once_a_batch_how_many_and_why(station: Station, outside: Outside) -> None:
    busy = [lost(f"b{n}", lastDeliveryOutcome="Busy") for n in range(3)]
    files = {"OTHER/2026/11/20/8/x.json": [lost("o1")]}
    assert await back(station, busy, [lost("e1"), lost("e2")], **files) == 6
    assert mails(outside) == ["Events that Event Grid gave up: 6"]
    (letter, _) = outside.mail.sent[0]
    for words in ("3 by SWITCHYARD: MaxDeliveryAttemptsExceeded", "ended as Busy", "1 by OTHER", "RunCompleted (6)"):
        assert words in letter.text
    assert await back(station) == 0
    assert len(mails(outside)) == 1
    await station.later(300)
    await back(station, [lost("e3")])
    assert mails(outside)[1:] == ["Events that Event Grid gave up: 1"]
    (first, second) = reversed(await records(station, "EventsDeadLettered"))
    assert first.event is not None
    assert second.event is not None
    assert (first.event.data["total"], second.event.data["total"]) == (6, 1)


WRONG: Mapping[str, tuple[bytes, str]] = {
    "no JSON": (b"<html>Busy</html>", "not JSON (SWITCHYARD"),
    "cut off": (json.dumps([lost("cut")]).encode()[:-9], "not JSON (SWITCHYARD"),
    "too deep": (b"[" * 200_000, "not JSON (SWITCHYARD"),
    "nothing": (b"", "not JSON (SWITCHYARD"),
    "a word": (b'["word"]', "not an event"),
    "no event": (json.dumps([{"id": "x"} | GAVE_UP]).encode(), "topic is missing"),
    "half a character": (json.dumps([lost("half", subject="\ud800")]).encode(), "can't be kept"),
    "not UTF-8": (json.dumps([lost("bytes")]).encode().replace(b"experiments", b"\xff"), "can't be kept"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_cannot_be_read_is_refused_with_its_bytes_and_holds_up_nothing(
    station: Station, outside: Outside, name: str
) -> None:
    raw, reason = WRONG[name]
    beside = raw[:-1] + b"," + json.dumps([lost("e1")]).encode()[1:] if raw.endswith(b"]") else raw
    await back(station, beside, [lost("e2")])
    (refused,) = await records(station, status="refused")
    assert reason in refused.refusal
    kept = base64.b64decode(refused.bytes)
    if name == "no event":
        assert json.loads(kept)["deadLetterReason"] == "MaxDeliveryAttemptsExceeded"
    elif beside == raw:
        assert kept == raw
    assert {one.event.id for one in await records(station, "RunCompleted") if one.event} == (
        {"e2"} if beside == raw else {"e1", "e2"}
    )
    assert outside.dead_letters.files == {}
    assert min(mails(outside)) == "An event could not be read"


@pytest.mark.parametrize("name", ["eventType", "deadLetterReason", "lastDeliveryOutcome"])
@pytest.mark.parametrize(
    "value", ["\ud800", "x\n" * 100_000, [[[]]], {"a": "\ud800"}], ids=["half", "long", "list", "map"]
)
async def test_nothing_that_a_sender_wrote_keeps_a_batch_from_ending(
    station: Station, outside: Outside, name: str, value: object
) -> None:
    assert await back(station, [lost("odd") | {name: value}, lost("e1")]) == 2
    assert outside.dead_letters.files == {}
    assert mails(outside).count("Events that Event Grid gave up: 2") == 1
    assert len(outside.http.sent) >= 1
    assert await back(station, [lost("e2")]) == 1
    assert (await station.record("e2")).status == "decided"


@pytest.mark.parametrize("depth", [60, 70, 900, 3_000, 9_000, 40_000])
async def test_no_depth_keeps_a_batch_from_ending(station: Station, outside: Outside, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    odd = json.dumps(lost("odd", eventType="DEEP", more="DEEP")).replace('"DEEP"', deep)
    await back(station, f"[{odd}, {deep}]".encode(), [lost("e2")])
    assert outside.dead_letters.files == {}
    assert (await station.record("e2")).status == "decided"
    assert len(await records(station, status="refused")) in {1, 2}


async def test_one_file_that_cannot_be_read_stays_and_holds_up_no_other(station: Station, outside: Outside) -> None:
    files = outside.dead_letters.files

    class Shut(MemoryDeadLetters):
        async def read(self, name: str) -> Left | None:
            if name.endswith("0.json"):
                raise PermanentError("permission denied")
            return await super().read(name)

    station.service.world = type(station.service.world)(**vars(station.service.world) | {"dead_letters": Shut(files)})
    assert await back(station, [lost("e1")], [lost("e2")]) == 1
    assert [name[-6:] for name in files] == ["0.json"]
    assert await back(station) == 0
    station.service.world = outside.world
    assert await back(station) == 1
    assert ((await station.record("e1")).status, files) == ("decided", {})


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn ends after four events, and how far it is, is noted after two."""
    monkeypatch.setattr(dead_letters, "_TURN", 4)
    monkeypatch.setattr(dead_letters, "_AT_ONCE", 2)


@pytest.mark.usefixtures("small")
async def test_a_large_return_takes_several_turns_and_is_told_of_once(station: Station, outside: Outside) -> None:
    files = [[lost(f"e{n}a"), lost(f"e{n}b")] for n in range(5)]
    left = []
    found = [await back(station, *files)]
    while outside.dead_letters.files:
        left.append(len(outside.dead_letters.files))
        assert mails(outside) == []
        found.append(await back(station))
    assert (found, left) == ([4, 4, 2], [3, 1])
    assert mails(outside) == ["Events that Event Grid gave up: 10"]
    assert "RunCompleted (10)" in outside.mail.sent[0][0].text
    assert {(await station.record(f"e{n}{half}")).deliveries for n in range(5) for half in "ab"} == {1}


async def test_a_batch_that_the_last_version_began_is_brought_to_its_end(station: Station, outside: Outside) -> None:
    began = {"id": "20261120T082500-0a1b2c3d", "names": [FILE, "SWITCHYARD/gone.json"]}
    await outside.shelf.keep("dead-letter-batch", "now", json.dumps(began, separators=(",", ":")))
    assert await back(station, **{FILE: [lost("e1")]}) == 1
    assert (mails(outside), outside.dead_letters.files) == (["Events that Event Grid gave up: 1"], {})
    assert await back(station, [lost("e2")]) == 1


async def test_what_is_no_event_is_told_as_what_it_is(station: Station, outside: Outside) -> None:
    await back(station, b"<html>Busy</html>", b"")
    assert "Dead letters that could not be read: 2" in mails(outside)
    assert not [one for one in mails(outside) if one.startswith("Events that Event Grid")]
    (letter,) = [one for one, _ in outside.mail.sent if one.subject.startswith("Dead letters")]
    assert "late" not in letter.text


async def test_a_file_that_is_longer_than_a_record_is_kept_in_parts(station: Station) -> None:
    raw = b"".join(f"{n:x}\n".encode() for n in range(200_000))
    await back(station, raw)
    parts = {
        int(one.refusal.rpartition("part ")[2][0]): base64.b64decode(one.bytes)
        for one in await records(station, status="refused")
    }
    assert b"".join(parts[n] for n in sorted(parts)) == raw
    assert len(parts) == 3


async def test_nothing_that_came_meanwhile_is_deleted(station: Station, outside: Outside) -> None:
    files = outside.dead_letters.files
    files[FILE] = json.dumps([lost("e1")]).encode()

    class Growing(MemoryDeadLetters):
        async def read(self, name: str) -> Left | None:
            found = await super().read(name)
            self.files[name] = json.dumps([lost("e1"), lost("e2")]).encode()
            return found

    station.service.world = type(station.service.world)(
        **vars(station.service.world) | {"dead_letters": Growing(files)}
    )
    assert await station.service.on_dead_letters(outside.clock()) == 1
    assert list(files) == [FILE]
    station.service.world = outside.world
    assert await back(station) == 2
    assert len(outside.http.sent) == 2
    assert ((await station.record("e1")).deliveries, files) == (1, {})


@pytest.mark.parametrize(("keep", "kept"), [("", False), ("    keep: 60d\n", True)])
async def test_why_it_was_given_up_is_known_for_as_long_as_a_record_may_be(
    outside: Outside, tmp_path: Path, keep: str, *, kept: bool
) -> None:
    with opened(tmp_path / "state.db") as database:
        station = Station(outside, database, RULES + keep)
        await back(station, [lost("e1")])
        record = await station.record("e1")
        await station.later(40 * 86_400)
        await station.service.prune(outside.clock())
        assert (await book.dead_letter(outside.shelf, record.id) is not None) == kept
        assert (await station.service.world.store.event(record.id) is not None) == kept


class Killed(BaseException):
    """As if the process had ended here."""


@dataclass
class Deadly:
    """Parts of the world whose call number `at` is the last one: it happens, or does not, and nobody hears of it."""

    at: int
    before: bool
    calls: int = 0

    def of(self, part: Any) -> Any:
        deadly = self

        class Part:
            def __getattr__(self, name: str) -> Any:
                inner = getattr(part, name)
                if name.startswith("_"):
                    return inner

                async def call(*given: Any, **named: Any) -> Any:
                    deadly.calls += 1
                    if deadly.before and deadly.calls == deadly.at:
                        raise Killed
                    answer = await inner(*given, **named)
                    if deadly.calls == deadly.at:
                        raise Killed
                    return answer

                return call

        return Part()


async def lived(folder: Path, killed: Deadly) -> tuple[int, list[Any]]:
    """Two files, a kill, and the next runs of the timer: how many calls there were, and what a person sees of it."""
    outside = Outside()
    with opened(folder / f"{killed.at}{killed.before}.db") as database:
        station = Station(outside, database, RULES)
        world = station.service.world
        for n, more in enumerate(([lost("e0b"), "x"], [])):
            outside.dead_letters.files[f"SWITCHYARD/{n}.json"] = json.dumps([lost(f"e{n}a"), *more]).encode()
        doors = {name: killed.of(getattr(world, name)) for name in ("dead_letters", "queue", "shelf")}
        with suppress(Killed):
            await dead_letters.bring_back(type(world)(**vars(world) | doors), outside.clock())
        await station.work()  # what it had put on the queue is worked on, before the next one
        for _ in range(3):
            await station.later(300)
            await station.service.on_dead_letters(outside.clock())
            await station.work()
        seen = [
            outside.dead_letters.files,
            len(outside.http.sent),
            mails(outside).count("Events that Event Grid gave up: 3"),
            sum(subject.startswith("Events that") for subject in mails(outside)),
            sorted(
                (one.event.id, one.deliveries)
                for one in await records(station, "RunCompleted")
                if one.event is not None
            ),
            len(await records(station, status="refused")),
        ]
    return killed.calls, seen


@pytest.mark.parametrize("turns", [1, 2])
async def test_killed_anywhere_nothing_is_lost_and_nothing_is_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    if turns > 1:
        monkeypatch.setattr(dead_letters, "_TURN", 1)
        monkeypatch.setattr(dead_letters, "_AT_ONCE", 1)
    calls, unharmed = await lived(tmp_path, Deadly(0, before=False))
    assert unharmed == [{}, 3, 1, 1, [("e0a", 1), ("e0b", 1), ("e1a", 1)], 1]
    assert calls > 8
    for at in range(1, calls + 1):
        for before in (False, True):
            _, seen = await lived(tmp_path, Deadly(at, before))
            assert seen[:5] == unharmed[:5], (at, before)


async def test_what_the_simulated_event_grid_gives_up_comes_back(
    station: Station, outside: Outside, tmp_path: Path
) -> None:
    async with delivering(*[403, 403]) as (box, _):
        box.eventgrid.container = tmp_path / "dead"
        for name in ("e1", "e2"):
            box.eventgrid.publish(run_event(name, runTags={"team": "plain"}))
        await quiet(box)
    outside.dead_letters = FolderDeadLetters(tmp_path / "dead")  # type: ignore[assignment]  # the embedded host's
    station.service.world = outside.world
    assert await station.service.on_dead_letters(outside.clock()) == 2
    await station.work()
    assert len(outside.http.sent) == 2
    letter = await book.dead_letter(outside.shelf, (await station.record("e2")).id)
    assert letter is not None
    assert (letter.reason, letter.attempts, letter.subscription) == ("UndeliverableDueToHttpForbidden", 1, "SUB")
    assert [path for path in (tmp_path / "dead").rglob("*") if path.is_file()] == []


# Where they lie


type Put = Callable[[str, bytes], Any]


@dataclass
class Place:
    letters: DeadLetters
    put: Put
    extra: list[Any] = field(default_factory=list)


@pytest.fixture(params=["azurite", "folder", "memory"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    if request.param == "azurite":
        account = request.getfixturevalue("account")
        letters = BlobDeadLetters(Account(account))
        assert await letters.names(9) == []  # there is no container yet
        async with ContainerClient.from_connection_string(account, CONTAINER) as container:
            await container.create_container()

            async def upload(name: str, content: bytes) -> None:
                await container.upload_blob(name, content, overwrite=True)

            yield Place(letters, upload)
        await letters.close()
    elif request.param == "folder":

        async def write(name: str, content: bytes) -> None:
            (tmp_path / "dead" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "dead" / name).write_bytes(content)

        yield Place(FolderDeadLetters(tmp_path / "dead"), write)
    else:
        memory = MemoryDeadLetters()

        async def keep(name: str, content: bytes) -> None:
            memory.files[name] = content

        yield Place(memory, keep)


async def test_every_place_keeps_its_promises(place: Place) -> None:
    letters = place.letters
    if isinstance(letters, FolderDeadLetters):  # where a name can lead to something that is no file
        await place.put("S/0.json/inside", b"")
        with pytest.raises(PermanentError, match=r"S/0\.json"):
            await letters.read("S/0.json")
        await place.put(os.fsdecode(b"S/\xff.json"), b"[]")
    assert (await letters.names(9), await letters.read("S/1.json")) == ([], None)
    await letters.drop("S/1.json", "x")
    for n in (1, 2, 3):
        await place.put(f"S/2026/11/{n}.json", b"%d" % n)
    assert sorted(await letters.names(9)) == [f"S/2026/11/{n}.json" for n in (1, 2, 3)]
    assert len(await letters.names(2)) == 2
    found = await letters.read("S/2026/11/1.json")
    assert found is not None
    assert found.content == b"1"
    await place.put("S/2026/11/1.json", b"changed")
    await letters.drop("S/2026/11/1.json", found.mark)
    again = await letters.read("S/2026/11/1.json")
    assert again is not None
    assert again.content == b"changed"
    await letters.drop("S/2026/11/1.json", again.mark)
    assert await letters.read("S/2026/11/1.json") is None
    assert sorted(await letters.names(9)) == ["S/2026/11/2.json", "S/2026/11/3.json"]

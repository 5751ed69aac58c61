"""Upgrades: what the version before has written is read as it was meant, and what it left undone is done."""

import copy
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from local.host import Host
from local.queue import LocalQueue
from local.rollouts import Rollouts
from shared import VERSION, book, links, wire
from shared.errors import PermanentError
from shared.links import Acknowledgement, Approval
from shared.record import Job
from shared.rollout.record import ENDED
from shared.settings import ROLLOUT_QUEUE
from shared.world import Search
from tests.durable.drivers import Resting
from tests.histories import FOLDER, read
from tests.histories.life import FILES, KEY, MAIN, ROLLOUT, RULES, OnAzure, kept
from tests.histories.shapes import Readers, shapes
from tests.histories.stories import STORIES
from tests.histories.tables import restore
from tests.station import Station, opened, run_event
from tests.test_follow import said
from tests.test_web import ask
from tests.world import START, DictShelf, Outside, VirtualClock

VERSIONS = sorted(
    path.parent.name for path in FOLDER.glob("*/state.sql") if not VERSION.startswith(f"{path.parent.name}.")
)
"""Before this one."""


def includes(new: Any, old: Any) -> bool:
    """Everything that was said is still said; more may be."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(name in new and includes(new[name], value) for name, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return len(new) == len(old) and all(includes(*pair) for pair in zip(new, old, strict=True))
    return bool(new == old)


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def state(version: str, tmp_path: Path) -> Path:
    """The file as the version before left it."""
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as database:
        database.executescript((FOLDER / version / "state.sql").read_text())
    database.close()
    return path


@pytest.fixture
def outside(version: str) -> Outside:
    return Outside(clock=VirtualClock(datetime.fromisoformat(read(FOLDER / version / "state.json")["at"])))


class Elsewhere(Rollouts):
    async def advance(self, message: wire.Advance) -> None:
        """Its world is another one."""


@pytest.fixture
def station(state: Path, outside: Outside) -> Iterator[Station]:
    with opened(state) as database:
        yield Station(outside, database, RULES, MAIN)


async def test_a_state_file_is_read_as_it_was_written(version, station):
    found, expected = await kept(station), read(FOLDER / version / "state.json")
    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        assert len(found[name]) == len(rows), name
        for new, old in zip(found[name], rows, strict=True):
            assert includes(new, old), f"{name}: {old}\n{new}"


async def test_what_was_left_undone_is_done(station, outside):
    station.rollouts = Elsewhere(station.service.conductor)
    await goes_on(station, outside)


async def goes_on(station: Station | OnAzure, outside: Outside) -> None:
    """A message that was told to come again, a step of an escalation, a collection, an absence, and a run that is followed."""
    ((job, _),) = await outside.shelf.all("caused")
    outside.platform.jobs[job] = Job("Running")
    await station.later(60)
    (busy,) = await station.intents("busy")
    assert [one.outcome for one in busy.attempts] == ["later", "done"]
    await station.send(run_event("sweep-2", experimentName="sweep"))
    await station.later(1800)
    assert len(outside.sms.sent) == 1, "nobody took care of it, so it is told by SMS"
    outside.platform.jobs[job] = Job("Completed", ended=outside.clock().isoformat())
    await station.later(3600)
    assert [json.loads(card)["fallbackText"] for card in said(outside)] == [
        "Contoso.Busy: models/fraud",
        "3 events: 3 RunCompleted",
        "Completed: fraud-retraining in workspace prod",
        "Did not happen: ModelDeployed",
    ]
    before = (await station.record("good")).deliveries
    await station.send(run_event("good"))
    await station.work()
    assert (await station.record("good")).deliveries == before + 1, "a delivery of before is known as such"


async def test_a_rollout_that_waits_for_an_answer_gets_it_and_goes_on(version, station, outside):
    about = await book.rollout(outside.shelf, "rollout-1")
    assert about is not None
    left = await book.steps(outside.shelf, about.id)
    fleet = STORIES[ROLLOUT].fleet(clock=VirtualClock(about.at))
    fleet.rollout = about
    past = Resting(fleet)
    await past.begin()
    for step in left:  # the world as it was when the host was stopped
        while await past.step(about.id, step.n, step.asked, step.command) is None:
            pass
    assert await past.steps() == left
    assert isinstance(fleet.shelf, DictShelf)
    fleet.shelf = outside.shelf
    fleet.world = replace(fleet.world, shelf=outside.shelf, rollouts=LocalQueue(station.queues, ROLLOUT_QUEUE))
    conductor = Resting(fleet)
    while (await conductor.head()).status not in ENDED:
        await Rollouts(conductor).advance(wire.Advance(about.id))
    assert (await conductor.head()).status == "promoted"
    (word,) = await book.words(outside.shelf, about.id)
    assert (word.verb, word.by) == ("approve", "erin")


async def test_the_host_opens_it_and_shows_everything(version, state, tmp_path):
    for name, text in FILES.items():
        path = tmp_path / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    expected = read(FOLDER / version / "state.json")
    clock = VirtualClock(datetime.fromisoformat(expected["at"]))
    host = Host(tmp_path / "config", state, {}, clock=clock)
    try:
        health = (await ask(host, "GET", "/api/health", {})).json
        assert (health["status"], health["version"]) == ("ok", VERSION)
        listed = (await ask(host, "GET", "/api/events?limit=200", {})).json["events"]
        assert {one["id"] for one in listed} == {one["id"] for one in expected["records"]}
        pages = ["/", "/rollouts", "/silences", "/rollouts/rollout-1"]
        pages += [f"/events/{one['id']}" for one in expected["records"]]
        pages += [f"/api{page}" for page in pages[1:]]
        for page in pages:
            assert (await ask(host, "GET", page, {})).status == 200, page
    finally:
        await host.stop()


# On Azure


@pytest.fixture
async def on_azure(version: str, account: str, outside: Outside) -> AsyncIterator[OnAzure]:
    """The tables as the version before left them, and the messages that waited."""
    found = read(FOLDER / version / "tables.json")
    waiting = found.pop("waiting")
    await restore(account, found)
    station = OnAzure(outside, account)
    station.waiting = [(datetime.fromisoformat(due), text) for due, text in waiting]
    yield station
    await station.close()


async def test_the_tables_are_read_as_they_were_written(version, on_azure):
    assert includes(await kept(on_azure), read(FOLDER / version / "state.json"))


async def test_what_was_left_undone_on_azure_is_done(on_azure, outside):
    await goes_on(on_azure, outside)


async def test_what_an_earlier_version_wrote_is_forgotten_in_its_time(on_azure, outside):
    await on_azure.later(7200)
    await on_azure.work()
    outside.clock.advance(50 * 86_400)
    while await on_azure.service.prune(outside.clock()):
        pass
    left = await on_azure.store.events(Search(limit=100))
    assert left == []


# Messages


def messages(version: str) -> list[list[str]]:
    found: list[list[str]] = read(FOLDER / version / "messages.json")
    return found


def test_messages_of_every_kind_are_understood(version):
    kinds = set()
    for queue, body in messages(version):
        message = wire.load(wire.Advance, body) if queue == ROLLOUT_QUEUE else wire.unpack(body)
        kinds.add(json.loads(body)["type"])
        if json.loads(body)["type"] != "packed":
            assert includes(json.loads(wire.dump(message)), json.loads(body))
    assert kinds == {"arrived", "unread", "decide", "perform", "follow", "edited", "packed", "advance"}


def test_a_message_of_no_version_is_refused_with_the_reason():
    with pytest.raises(PermanentError, match="not a message of ours"):
        wire.unpack('{"type":"praise"}')


@pytest.mark.parametrize("kind", [Approval, Acknowledgement])
def test_a_link_that_was_sent_before_the_deployment_is_good_until_its_time_is_up(version, kind):
    found = read(FOLDER / version / "links.json")[kind.__name__]
    assert json.loads(wire.dump(links.read(KEY, found["token"], START, kind))) == found["says"]
    with pytest.raises(PermanentError, match="this link was good until"):
        links.read(KEY, found["token"], START + timedelta(days=2), kind)


# Shapes


@cache
def now() -> dict[str, Any]:
    return shapes()


def test_what_is_kept_and_what_travels_only_grows(version):
    """A field that is new has a default; none goes, none changes its type or its default; a choice loses no member. Otherwise what
    the version before has written is not read as it was meant: give the new meaning a new name.
    """
    assert Readers(read(FOLDER / version / "shapes.json"), now()).wrong() == []


@pytest.mark.parametrize(
    ("where", "change", "said"),
    [
        ("#Advance", lambda one: one["properties"].pop("step"), "shared.wire.Advance.step: gone"),
        ("#Advance", lambda one: one["properties"]["step"].update(default=0), "another default"),
        ("#Advance", lambda one: one["required"].append("step"), "shared.wire.Advance.step: has no default any more"),
        ("#Perform", lambda one: one["properties"]["attempt"].update(type="string"), "was integer, and is string"),
        ("#Perform", lambda one: one["properties"].update(by={"type": "string"}), ""),
        (
            "#Perform",
            lambda one: (one["properties"].update(by={"type": "string"}), one["required"].append("by")),
            "shared.wire.Perform.by: new, and has no default",
        ),
        (
            "#IntentRecord",
            lambda one: one["properties"]["status"]["enum"].remove("held"),
            "'held' is not read any more",
        ),
        ("#IntentRecord", lambda one: one["properties"]["status"]["enum"].append("bored"), ""),
        ("#Heard", lambda one: one["properties"]["type"].update(enum=["Listened"]), "is not read any more"),
        ("#Head", lambda one: one["properties"]["question"]["anyOf"].pop(), "was null, and is object"),
        ("#shared.links.Approval", lambda one: one["prefixItems"].pop(), "has fewer places"),
        ("#BinaryGate", lambda one: one["properties"].pop("margin"), "margin: gone"),
        ("#Said", lambda one: one["properties"]["code"].update(type="integer"), "was string, and is integer"),
    ],
)
def test_what_does_not_only_grow_is_named(where, change, said):
    old, new = now(), copy.deepcopy(now())
    change(new[where])
    wrong = Readers(old, new).wrong()
    assert bool(wrong) == bool(said)
    assert not said or any(said in one for one in wrong), wrong

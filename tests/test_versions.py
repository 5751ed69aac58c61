"""An edit of the configuration while the service runs: taken up whole, kept with its version, and never worse than before."""

import asyncio

import pytest

from shared import versions
from shared.errors import PermanentError, TemporaryError
from shared.rules.load import load_texts
from shared.service import LOOK_EVERY, Service
from shared.settings import Settings
from tests.station import SWITCHYARD, Station, opened, run_event
from tests.world import Outside

RULES = "rules: [{name: one, event: RunCompleted, do: [{notify: phones}]}]\n"
OTHER = RULES.replace("name: one", "name: other")
BROKEN = RULES.replace("RunCompleted", "RunComplete")


def folder(rules=RULES, **more):
    return {"switchyard.yaml": SWITCHYARD, "rules/team.yaml": rules} | {
        f"rules/{name}.yaml": text for name, text in more.items()
    }


@pytest.fixture
def outside():
    return Outside()


@pytest.fixture
def station(outside, tmp_path):
    with opened(tmp_path / "state.db") as database:
        yield Station(outside, database, RULES)


async def edit(outside, station, files):
    outside.documents.edited = files
    outside.clock.advance(LOOK_EVERY)
    assert await station.service.refresh()
    return station.service.loaded


def names(loaded):
    return [rule.name for rule in loaded.rules.rules if not rule.implicit]


def restarted(outside):
    """As a new process begins on Azure: with nothing."""
    return Service(outside.world, Settings())


async def history(outside):
    return await versions.history(outside.shelf)


async def test_an_edit_is_in_force_for_the_next_message_and_the_record_names_its_version(station, outside):
    await station.send(run_event("e1"))
    await station.work()
    before = station.service.loaded.version
    outside.documents.edited = folder(OTHER)
    outside.clock.advance(LOOK_EVERY)
    await station.send(run_event("e2"))
    await station.work()
    first, second = [await station.record(name) for name in ("e1", "e2")]
    assert (first.decision.config, [one.rule for one in first.decision.verdicts]) == (before, ["one"])
    assert [one.rule for one in second.decision.verdicts] == ["other"]
    (newest, *_) = await history(outside)
    assert second.decision.config == newest.version != before
    assert (await versions.texts(outside.shelf, newest))["rules/team.yaml"] == OTHER


async def test_former_spellings_are_logged_once_by_each_process_and_when_they_change(station, outside, caplog):
    old = folder(OTHER)
    old["switchyard.yaml"] += "limits: {archive_days: 30}\n"
    await edit(outside, station, old)
    await edit(outside, station, old | {"rules/team.yaml": RULES})
    (one,) = [record for record in caplog.records if record.message == "the configuration has former spellings"]
    assert "'archive_days: 30' is the spelling of 0.1: write 'archive: 30d'" in one.former[0]
    caplog.clear()
    outside.documents.edited = old
    await restarted(outside).refresh()
    warned = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warned == ["the configuration has former spellings"]


async def test_a_look_is_taken_so_often_and_no_more(station, outside):
    assert await station.service.refresh()
    outside.documents.edited = folder(OTHER)
    outside.clock.advance(LOOK_EVERY - 1)
    assert await station.service.refresh()
    assert names(station.service.loaded) == ["one"]
    outside.clock.advance(1)
    assert await station.service.refresh()
    assert names(station.service.loaded) == ["other"]


async def test_a_broken_edit_leaves_the_rule_in_force_after_a_restart_too(station, outside):
    await edit(outside, station, folder())
    kept = await edit(outside, station, folder(BROKEN, more=OTHER))
    assert (names(kept), kept.rejected_files, kept.kept) == (
        ["other", "one"],
        ("rules/team.yaml",),
        ("rules/team.yaml",),
    )
    again = restarted(outside)
    outside.documents.edited = folder(BROKEN, more=OTHER)
    assert await again.refresh()
    assert (again.loaded.version, names(again.loaded), again.loaded.kept) == (kept.version, names(kept), kept.kept)
    mended = await edit(outside, station, folder(RULES.replace("phones", "fraud"), more=OTHER))
    assert (mended.rejected_files, mended.kept) == ((), ())


async def test_no_message_is_worked_on_before_the_last_good_version_is_there(station, outside, monkeypatch):
    await edit(outside, station, folder())
    broken = load_texts(folder(BROKEN, more=OTHER))
    again = Service(outside.world, Settings(), broken)  # as the embedded host begins: with what lies in its folder
    let = asyncio.Event()

    async def changed():
        await let.wait()
        return folder(BROKEN, more=OTHER)

    monkeypatch.setattr(outside.documents, "changed", changed)
    waiting = [asyncio.create_task(again.refresh()) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not any(one.done() for one in waiting)
    let.set()
    assert await asyncio.gather(*waiting) == [True] * 3
    assert names(again.loaded) == ["other", "one"]


async def test_an_edit_that_makes_us_stumble_changes_nothing(station, outside, monkeypatch, caplog):
    await edit(outside, station, folder())
    with monkeypatch.context() as patch:
        patch.setattr("shared.service.load_texts", lambda *_: 1 / 0)
        assert names(await edit(outside, station, folder(OTHER))) == ["one"]
    assert "the configuration can't be taken up" in caplog.text
    assert names(await edit(outside, station, None)) == ["other"]


async def test_what_is_broken_at_the_very_first_start_leaves_the_others_to_work(outside):
    outside.documents.edited = folder(BROKEN, more=OTHER)
    service = restarted(outside)
    assert await service.refresh()
    assert (names(service.loaded), service.loaded.rejected_files) == (["other"], ("rules/team.yaml",))


async def test_messages_wait_while_there_is_no_configuration_to_work_by(outside, tmp_path):
    with opened(tmp_path / "state.db") as database:
        station = Station(outside, database, RULES)
        station.service = Service(outside.world, Settings())
        outside.documents.failure = PermanentError("the container is not there")
        await station.send(run_event("e1"))
        await station.work()
        assert await station.service.world.store.event("e1") is None
        outside.documents.failure = None
        outside.documents.edited = folder()
        await station.later(LOOK_EVERY)
        decision = (await station.record("e1")).decision
        assert decision is not None
        assert [one.rule for one in decision.verdicts] == ["one"]


@pytest.mark.parametrize("error", [TemporaryError("HTTP 503"), PermanentError("HTTP 403")])
async def test_a_configuration_out_of_reach_changes_nothing(station, outside, error):
    await edit(outside, station, folder())
    outside.documents.failure = error
    after = await edit(outside, station, None)
    assert (names(after), after.problems) == (["one"], ())


async def test_an_edit_that_cannot_be_kept_yet_is_taken_up_later(station, outside, monkeypatch):
    await edit(outside, station, folder())

    async def refuse(*_):
        raise TemporaryError("HTTP 503")

    with monkeypatch.context() as patch:
        patch.setattr(type(outside.shelf), "put", refuse)
        assert names(await edit(outside, station, folder(OTHER))) == ["one"]
    assert names(await edit(outside, station, None)) == ["other"]  # nothing has changed since


async def test_whoever_listens_hears_of_each_edit_once_and_of_those_made_while_nothing_ran(station, outside):
    heard = []

    async def hear(old, new):
        heard.append((names(old), names(new), new.rejected_files))

    station.service.on_change.append(hear)
    await edit(outside, station, folder())
    await edit(outside, station, folder())
    assert heard == []  # as it was at the start
    await edit(outside, station, folder(OTHER))
    await edit(outside, station, folder(BROKEN))
    again = restarted(outside)
    again.on_change.append(hear)
    outside.documents.edited = folder(RULES, more=OTHER)
    await again.refresh()
    assert heard == [
        (["one"], ["other"], ()),
        (["other"], ["other"], ("rules/team.yaml",)),
        (["other"], ["other", "one"], ()),
    ]


async def test_a_listener_that_fails_holds_nothing_up(station, outside):
    async def fail(_old, _new):
        raise ZeroDivisionError

    station.service.on_change.append(fail)
    await edit(outside, station, folder())
    assert names(await edit(outside, station, folder(OTHER))) == ["other"]


async def test_the_history_says_what_changed_and_forgets_what_is_old_with_its_texts(station, outside):
    await edit(outside, station, folder(more=OTHER))
    await edit(outside, station, folder(RULES.replace("phones", "fraud")))
    newest, first = await history(outside)
    assert (newest.changed, newest.removed, newest.rules) == (("rules/team.yaml",), ("rules/more.yaml",), 1)
    assert (first.changed, first.removed) == ((), ())
    for n in range(versions.KEPT + 5):
        await edit(outside, station, folder(f"# {n}\n{RULES}"))
    kept = await history(outside)
    assert len(kept) == versions.KEPT == len(await outside.shelf.all(versions.VERSIONS))
    assert len({one.at for one in kept}) == versions.KEPT
    texts = {name for name, _ in await outside.shelf.all(versions.TEXTS)}
    assert texts == {one for version in kept for one in version.files.values()}
    for version in kept:
        assert load_texts(await versions.texts(outside.shelf, version)).version == version.version


async def test_a_history_that_only_a_newer_version_can_read_is_no_obstacle(station, outside):
    await outside.shelf.put(versions.VERSIONS, "0", '{"later": true}')
    assert names(await edit(outside, station, folder(OTHER))) == ["other"]


async def test_of_many_messages_at_once_one_looks_and_the_others_go_on(station, outside, monkeypatch):
    await edit(outside, station, folder())
    looks, let = [], asyncio.Event()

    async def changed():
        looks.append(1)
        await let.wait()

    monkeypatch.setattr(outside.documents, "changed", changed)
    outside.clock.advance(LOOK_EVERY)
    looking = asyncio.create_task(station.service.refresh())
    await asyncio.sleep(0)
    assert await asyncio.gather(*(station.service.refresh() for _ in range(10))) == [True] * 10
    let.set()
    assert await looking
    assert len(looks) == 1

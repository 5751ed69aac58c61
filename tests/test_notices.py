"""What the service notices by itself: how much it held back, and which rules went quiet."""

import json
from datetime import timedelta

import pytest

from tests.station import SWITCHYARD, Station, opened, run_event
from tests.world import START, Outside

RULES = """
rules:
  - name: once
    event: RunCompleted
    match: {tags.team: fraud}
    throttle: {once_within: 30m}
    do: [{notify: fraud}]
"""
MAIN = SWITCHYARD.replace("language: en,", "language: en, time_zone: Asia/Tokyo, digest: '09:00',")
HOUR = timedelta(hours=1)


@pytest.fixture
def outside():
    return Outside()


@pytest.fixture
def station(outside, tmp_path):
    with opened(tmp_path / "state.db") as database:
        yield Station(outside, database, RULES, MAIN)


def mails(outside):
    return [letter.text for letter, _ in outside.mail.sent]


async def digest(station):
    n = await station.service.digest(station.outside.clock())
    await station.work()
    return n


async def test_the_digest_says_once_a_day_how_much_was_held_back_and_why(station, outside):
    """It is half past five in the afternoon in Tokyo."""
    for n in range(4):
        await station.send(run_event(f"e{n}", runTags={"team": "fraud"}))
        await station.work()
    assert await digest(station) == 3
    (text,) = mails(outside)
    assert "Held back: 3" in text
    assert "once: 3 (throttle, to fraud)" in text
    await station.later(3600)
    assert await digest(station) == 0
    await station.send(run_event("e9", runTags={"team": "fraud"}), run_event("e10", runTags={"team": "fraud"}))
    await station.later(14 * 3600)  # half past eight the next morning
    assert await digest(station) == 0
    await station.later(1800)
    assert await digest(station) == 1
    assert "Held back: 1" in mails(outside)[1]
    await station.later(86_400)
    assert await digest(station) == 0  # nothing was: nobody is bothered
    assert len(mails(outside)) == 2


async def test_a_digest_that_was_killed_before_it_was_noted_is_told_once(station, outside):
    for n in range(2):
        await station.send(run_event(f"e{n}", runTags={"team": "fraud"}))
        await station.work()
    await digest(station)
    shelf = station.service.world.shelf
    await shelf.swap("digest", "last", await shelf.get("digest", "last"), None)
    await digest(station)
    assert len(mails(outside)) == 1


async def test_a_rule_that_went_quiet_is_told_of_once_with_its_likely_cause(station, outside):
    for n in range(60):
        await station.send(run_event(f"e{n}", runTags={"team": "fraud"}))
        await station.later(3600)
        await station.service.archive(outside.clock())
    for n in range(30):
        await station.send(run_event(f"x{n}", runTags={"Team": "fraud"}))
        await station.later(3600)
        await station.service.archive(outside.clock())
        await station.work()
    quiet = [text for text in mails(outside) if "Rule gone quiet: once" in text]
    assert len(quiet) == 1
    assert "without tags.team, which the rule asks for; tags.Team does: was it renamed?" in quiet[0]
    assert outside.clock() == START + 90 * HOUR


async def test_what_nobody_will_ask_for_again_is_put_away(station, outside):
    await station.send(run_event("e", runTags={"team": "fraud"}))
    await station.work()
    shelf = station.service.world.shelf
    assert len(await shelf.all("throttles")) == 1
    await station.later(29 * 86_400)
    await station.service.prune(outside.clock())
    assert len(await shelf.all("throttles")) == 1
    await station.later(2 * 86_400)
    await station.service.prune(outside.clock())
    assert await shelf.all("throttles") == []


async def test_state_of_another_version_is_begun_anew(station, outside):
    await station.service.world.shelf.put("watch", "state", json.dumps({"rules": 7}))
    await station.send(run_event("e", runTags={"team": "fraud"}))
    await station.later(3600)
    assert await station.service.archive(outside.clock()) == 1


EDITED = {
    "removes the last rule of a receiver": (
        RULES.replace("notify: fraud", "notify: platform"),
        "receiver fraud: no rule tells it anything any more; it got 7 messages about these events",
    ),
    "multiplies what it sends": (
        RULES.replace("throttle: {once_within: 30m}", "children: each"),
        "receiver fraud: 30 messages instead of 7, 4.3 times as many",
    ),
}


@pytest.mark.parametrize(("rules", "said"), EDITED.values(), ids=EDITED)
async def test_an_edit_that_somebody_should_look_at_is_told_of(station, outside, rules, said):
    """By what it would have done with the events of the last seven days."""
    files = {"switchyard.yaml": MAIN, "rules/team.yaml": RULES}
    outside.documents.edited = files
    await station.service.refresh()
    for n in range(30):
        await station.send(run_event(f"e{n}", runTags={"team": "fraud"}))
        await station.work()
        await station.later(60 if n % 5 else 1900)
    outside.documents.edited = files | {"rules/team.yaml": rules}
    await station.later(60)
    await station.service.refresh()
    await station.work()
    (text,) = [text for text in mails(outside) if "Rules changed" in text]
    assert said in text
    assert "rules/team.yaml" in text


async def test_an_edit_that_changes_nothing_much_bothers_nobody(station, outside):
    files = {"switchyard.yaml": MAIN, "rules/team.yaml": RULES}
    outside.documents.edited = files
    await station.service.refresh()
    for n in range(30):
        await station.send(run_event(f"e{n}", runTags={"team": "fraud"}))
        await station.later(60)
    outside.documents.edited = files | {"rules/team.yaml": RULES.replace("30m", "20m")}
    await station.later(60)
    await station.service.refresh()
    await station.work()
    assert mails(outside) == []

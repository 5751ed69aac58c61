"""Rollouts and freezes as their readers and deciders meet them: the API, the pages, the picture, the link in a message."""

import json
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from random import Random  # noqa: TID251 (with a seed)
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shared import book, links
from shared.conduct import Conductor
from shared.events import Event, Model
from shared.record import EventRecord, Intent, IntentRecord, Result, WorkspaceRef
from shared.rollout.judge import Judge
from shared.rollout.policy import Approval, BinaryGate, CeilingGate, Compare, Policy, Stage
from shared.rollout.record import (
    Announce,
    Ask,
    Bake,
    Busy,
    Clear,
    Compared,
    CompareModels,
    Create,
    Done,
    Elapsed,
    EndpointState,
    Finish,
    Freeze,
    Frozen,
    Head,
    Heard,
    Look,
    Measure,
    Measured,
    Minute,
    Mirror,
    Pair,
    Probe,
    Probed,
    Promote,
    Question,
    Restore,
    Rollout,
    Said,
    Seen,
    Shift,
    Step,
    TakeTurn,
    Trigger,
    Word,
)
from shared.rules.load import load_texts
from shared.settings import Settings
from shared.web import app, plot
from shared.web.words import WORDS, Words
from shared.world import Origin
from tests.test_web import Answer, ask
from tests.world import DictShelf, FakeQueue

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
BEGAN = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
KEY = "a long random text"
WHERE = WorkspaceRef("7c1f6b9e", "mlops", "prod")
ID = "fraud-online-fraud-7-1a2b3c4d"
MINUTE = timedelta(minutes=1)
LOADED = load_texts({"switchyard.yaml": "receivers: {ml-leads: {teams: '${LEADS}'}}\n"})
POLICY = Policy(
    "fraud-online",
    "fraud-online",
    WHERE,
    approve=None,
    stages=(
        Stage(20, 900, mirror=True),
        Stage(10, 1800, min_requests=500),
        Stage(50, 3600, approve=Approval("ml-leads")),
    ),
    gates=(
        BinaryGate("http_5xx"),
        BinaryGate("latency_over", slo_ms=400),
        CeilingGate("error_rate", 0.2),
    ),
    notify=("ml-leads",),
)


@dataclass
class Desk:
    """The web app's desk over a shelf, with the conductor to whom people speak."""

    shelf: DictShelf = field(default_factory=DictShelf)
    now: datetime = NOW
    settings: Settings = field(default_factory=lambda: Settings(signing_key=KEY))
    events: dict[str, tuple[EventRecord, list[IntentRecord]]] = field(default_factory=dict)
    loaded: Any = LOADED
    inbox: bool = False

    @property
    def world(self) -> Any:
        return SimpleNamespace(shelf=self.shelf, clock=lambda: self.now, store=self, rollouts=FakeQueue())

    async def event(self, id_: str) -> EventRecord | None:
        return self.events[id_][0] if id_ in self.events else None

    async def whole(self, id_: str) -> tuple[EventRecord, list[IntentRecord]] | None:
        return self.events.get(id_)

    async def intents(self, ids: list[str]) -> dict[str, list[IntentRecord]]:
        return {id_: self.events[id_][1] for id_ in ids}

    async def replay(self, record: str) -> None:
        raise AssertionError(record)

    async def say(self, rollout: str, verb: Any, by: str, reason: str, via: str, ask: int | None = None) -> None:  # noqa: PLR0917 (as the desk has it)
        await Conductor(self.world).say(rollout, verb, by, reason, via, ask)

    @property
    def words(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.shelf.folders.get(f"rollout-{ID}-words", {}).values()]

    async def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> Answer:
        return await ask(app(lambda: self), method, target, headers, body)

    async def get(self, target: str, **headers: str) -> Answer:
        return await self.ask("GET", target, b"", **headers)

    async def api(self, method: str, target: str, said: object = None, **headers: str) -> Answer:
        return await self.ask(method, target, b"" if said is None else json.dumps(said).encode(), **headers)

    async def form(self, target: str, site: str = "same-origin", **said: str) -> Answer:
        kind = "application/x-www-form-urlencoded"
        return await self.ask("POST", target, urlencode(said).encode(), content_type=kind, sec_fetch_site=site)


# --- A rollout on record ---


class Recording:
    """Writes steps as a rollout takes them, one after the other, at its own clock."""

    def __init__(self, about: Rollout, seed: int = 1) -> None:
        self.about, self.now, self.steps = about, about.at, list[Step]()
        self.judge, self.chance = Judge(about.policy.gates), Random(seed)

    def step(self, command: Any, answer: Any = None, minutes: float = 0.1) -> int:
        asked = self.now
        self.now += timedelta(minutes=minutes)
        self.steps.append(Step(len(self.steps), asked, command, answer or Done(at=self.now)))
        return len(self.steps) - 1

    def measure(self, minutes: int, percent: int, requests: int, bad: float) -> None:
        """So many minutes of traffic. `bad`: the share of the canary's requests that fail; 1% of the baseline's do."""
        canary = self.about.deployment
        for _ in range(minutes):
            self.step(
                Bake(status="baking", percent=percent, until=self.now + MINUTE, readings=self.judge.readings()),
                Elapsed(at=self.now + MINUTE),
                1,
            )
            mine, theirs = requests * percent // 100, requests * (100 - percent) // 100
            at = self.now - MINUTE
            pair = Pair(
                at.replace(second=0, microsecond=0),
                self._minute(mine, bad),
                self._minute(theirs, 0.01),
            )
            self.judge.add((pair,))
            state = EndpointState("fraud-online", "Succeeded", {canary: percent, "fraud-6": 100 - percent})
            measured = Measured(at=self.now, until=at + MINUTE, pairs=(pair,), endpoint=state)
            self.step(
                Measure(status="baking", percent=percent, since=at, canary=canary, others=("fraud-6",)), measured, 0
            )

    def _minute(self, requests: int, bad: float) -> Minute:
        def drawn(share: float) -> int:
            return sum(self.chance.random() < share for _ in range(requests))

        return Minute(
            requests, {"http_5xx": drawn(bad), "latency_over_400": drawn(0.03)}, requests * 80.0, requests * 9e3
        )


ABOUT = Rollout(
    ID,
    POLICY,
    WHERE,
    "fraud-online",
    "fraud",
    "7",
    "fraud-7-1a2b3c",
    BEGAN,
    config="5f3a9c1",
    event="317c8b92dbd28a4232f2",
    rule="fraud-candidate",
    trigger=Trigger("e-1", "ModelRegistered", BEGAN, "models/fraud:7", "/subscriptions/7c1f6b9e"),
)
MAY_IT = Said(
    "may it go on",
    {"n": 2, "of": 3, "percent": 10, "seconds": 1800.0, "deployment": ABOUT.deployment, "silence": "rollback"},
)
STAGE: dict[str, str | int | float] = {
    "n": 2,
    "of": 3,
    "percent": 10,
    "seconds": 1800.0,
    "deployment": ABOUT.deployment,
}


def begun(about: Rollout = ABOUT) -> Recording:
    tape = Recording(about)
    live = EndpointState("fraud-online", "Succeeded", {"fraud-6": 100})
    why = Said("begins", {"model": "fraud:7", "endpoint": "fraud-online"})
    tape.step(TakeTurn(status="checking", why=why))
    tape.step(Look(status="checking", why=why), Seen(at=tape.now, endpoint=live, tags={"stage": "candidate"}))
    compared = Compared(at=tape.now, candidate={"auc": 0.934}, champion={"auc": 0.931})
    tape.step(CompareModels(status="checking", champion="fraud:6", why=why), compared)
    tape.step(Announce(status="checking", kind="RolloutStarted", why=why))
    tape.step(Create(status="deploying", why=Said("creates", {"deployment": about.deployment, "model": "fraud:7"})))
    tape.step(Look(status="deploying"), Busy(at=tape.now, reason="HTTP 429 <busy>"), 6)
    tape.step(Probe(status="checking"), Probed(at=tape.now, sent=20, errors=0, p50=40, p95=83.4))
    stage = Said("stage mirrors", {**STAGE, "n": 1, "percent": 20})
    tape.step(
        Mirror(status="mirroring", percent=20, traffic={"fraud-6": 100}, mirror={about.deployment: 20}, why=stage)
    )
    return tape


def shifted(tape: Recording, percent: int) -> None:
    traffic = {"fraud-6": 100 - percent, tape.about.deployment: percent}
    why = Said("stage shifts", STAGE | {"percent": percent})
    readings = tape.judge.readings()
    tape.step(Shift(status="baking", percent=percent, traffic=traffic, why=why, readings=readings), minutes=0.5)


async def kept(desk: Desk, tape: Recording, people: tuple[Word, ...] = (), **changes: Any) -> Head:
    """Puts the recording into the book."""
    about = tape.about
    await book.begin(desk.shelf, about)
    for step in tape.steps:
        await book.keep_step(desk.shelf, about.id, step)
    for word in people:
        await book.say(desk.shelf, about.id, word)
    origin = Origin(
        {"stage": "candidate"},
        BEGAN - timedelta(hours=1),
        "mika@contoso.com",
        "frosty_sun_1",
        "fraud-weekly",
        {"train": "azureml:transactions:41"},
        "9d41c7e0b1",
        "main",
        "https://ml.azure.com/runs/frosty_sun_1",
    )
    await book.keep_origin(desk.shelf, about.id, origin)
    last = tape.steps[-1].command
    values: dict[str, Any] = {"status": last.status, "percent": last.percent, "why": last.why, "replaced": "fraud:6"}
    head = replace(await book.head(desk.shelf, about), **values | changes)
    await book.put_head(desk.shelf, about, head)
    event = Event(
        "e-1",
        "ModelRegistered",
        BEGAN,
        "/subscriptions/7c1f6b9e",
        "models/fraud:7",
        "Microsoft.MachineLearningServices.ModelRegistered",
        workspace="prod",
        model=Model("fraud", "7"),
    )
    started = IntentRecord(
        Intent("k", about.event, "fraud-candidate", "promote", {"policy": "fraud-online"}),
        "done",
        BEGAN,
        result=Result("started the rollout", values={"rollout": about.id}),
    )
    desk.events[about.event] = (EventRecord(about.event, BEGAN, "decided", event), [started])
    return head


async def asking(desk: Desk) -> int:
    """After an hour on live traffic a person is asked; the number of the question."""
    tape = begun()
    tape.measure(20, 20, 600, 0.01)
    shifted(tape, 10)
    tape.measure(40, 10, 600, 0.01)
    readings = tape.judge.readings()
    why = Said("stage passed", STAGE | {"requests": 2400})
    n = tape.step(
        Ask(
            status="asking",
            percent=10,
            question=MAY_IT,
            until=NOW + timedelta(days=1),
            of="ml-leads",
            why=why,
            readings=readings,
        )
    )
    await kept(desk, tape, question=Question(n, MAY_IT, NOW + timedelta(days=1), "ml-leads"))
    return n


async def rolled_back(desk: Desk) -> Head:
    """The new version fails five times as often, which its gate finds out."""
    tape = begun()
    tape.measure(20, 20, 600, 0.01)
    shifted(tape, 10)
    for _ in range(60):
        tape.measure(1, 10, 600, 0.05)
        if tape.judge.health == "sick":
            break
    readings = tape.judge.readings()
    why = Said("breach", {"gate": "http_5xx", "canary": "5.1 %", "baseline": "1.0 %", "figure": "e 43.6"})
    tape.step(Restore(status="rolling back", traffic={"fraud-6": 100}, why=why, readings=readings), minutes=0.5)
    tape.step(Finish(status="rolling back", verdict="rolled back", why=why))
    return await kept(desk, tape, status="rolled back", percent=0, ended=tape.now)


async def promoted(desk: Desk) -> Head:
    tape = begun()
    tape.measure(20, 20, 600, 0.01)
    shifted(tape, 10)
    tape.measure(40, 10, 600, 0.01)
    n = tape.step(Ask(status="asking", percent=10, question=MAY_IT, until=NOW + timedelta(days=1), of="ml-leads"))
    tape.now += timedelta(hours=14)
    word = Word("approve", "Mika", tape.now, "looks good", n, "link to ml-leads")
    tape.step(Bake(status="asking", percent=10, until=NOW + timedelta(days=1), ask=n), Heard(at=tape.now, word=word))
    shifted(tape, 50)
    tape.measure(30, 50, 600, 0.01)
    why = Said("stage passed", STAGE | {"requests": 9000})
    tape.step(Promote(status="promoting", percent=100, traffic={ABOUT.deployment: 100}, why=why), minutes=0.5)
    tape.step(Finish(status="promoting", percent=100, verdict="promoted", why=why))
    return await kept(desk, tape, (word,), status="promoted", ended=tape.now)


@pytest.fixture
def desk() -> Desk:
    return Desk()


# --- The API ---


async def test_rollouts_are_listed_newest_first_in_pages(desk):
    for n in range(5):
        about = Rollout(f"r{n}", POLICY, WHERE, "fraud-online", "fraud", str(n), f"d{n}", BEGAN + n * MINUTE)
        await book.begin(desk.shelf, about)
    first = (await desk.get("/api/rollouts?limit=2")).json
    second = (await desk.get(first["next"])).json
    last = (await desk.get(second["next"])).json
    listed = [one["id"] for one in first["rollouts"] + second["rollouts"] + last["rollouts"]]
    assert (listed, last["next"]) == (["r4", "r3", "r2", "r1", "r0"], None)
    assert first["rollouts"][0]["began"] == "2026-11-20T08:34:00Z"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("limit=0", "limit is '0', expected a whole number from 1 to 500"),
        ("after=%2F", "after is '/', expected the place that `next` names"),
        ("status=stuck", "there is no parameter 'status'; known: limit, after"),
    ],
)
async def test_a_wrong_parameter_is_named(desk, query, expected):
    answer = await desk.get(f"/api/rollouts?{query}")
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
    assert [error["detail"] for error in answer.json["errors"]] == [expected]
    assert (await desk.get(f"/rollouts?{query}")).status == 400


async def test_one_rollout_answers_what_led_to_it(desk):
    await promoted(desk)
    told = (await desk.get(f"/api/rollouts/{ID}")).json
    assert (told["status"], told["verdict"], told["percent"], told["replaced"]) == (
        "promoted",
        "promoted",
        100,
        "fraud:6",
    )
    lineage = told["lineage"]
    assert lineage["origin"]["run"] == "frosty_sun_1"
    assert lineage["origin"]["inputs"] == {"train": "azureml:transactions:41"}
    assert (lineage["origin"]["commit"], lineage["origin"]["branch"]) == ("9d41c7e0b1", "main")
    assert (lineage["event"]["type"], lineage["event"]["link"]) == ("ModelRegistered", f"/events/{ABOUT.event}")
    assert (lineage["rule"], lineage["config"], lineage["approved_by"]) == ("fraud-candidate", "5f3a9c1", ["Mika"])
    policy = told["policy_in_full"]
    assert [gate["type"] for gate in policy["gates"]] == ["bad", "bad", "ceiling"]
    assert policy["keep_old"] == 86_400  # a default, and in force all the same
    assert policy["stages"][2]["approve"] == {"by": "ml-leads", "within": 86_400, "otherwise": "rollback"}
    (word,) = told["people"]
    assert (word["verb"], word["by"], word["reason"], word["via"]) == (
        "approve",
        "Mika",
        "looks good",
        "link to ml-leads",
    )
    assert word["at"] == told["steps"][word["ask"] + 1]["answered"]


async def test_every_decision_has_its_grounds_in_words(desk):
    await rolled_back(desk)
    told = (await desk.get(f"/api/rollouts/{ID}")).json
    restored = next(step for step in told["steps"] if step["command"]["type"] == "Restore")
    assert restored["said"] == "Set the traffic back: fraud-6 100%"
    assert restored["why"].startswith("HTTP 5xx is over its limit: canary 5.1 %, baseline 1.0 %")
    reading = restored["readings"][0]
    assert (reading["gate"], reading["state"], reading["threshold"]) == ("http_5xx", "breach", 40.0)
    assert f"({reading['canary_bad']:.0f} of {reading['canary_total']:.0f})" in reading["said"]
    assert "(limit 40): over the limit" in reading["said"]
    assert restored["command"]["traffic"] == {"fraud-6": 100}
    assert told["readings"] == restored["readings"]
    compared = next(step for step in told["steps"] if step["command"]["type"] == "CompareModels")
    assert compared["answer"]["said"] == "auc 0.934; in production auc 0.931"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/rollouts/nothing"),
        ("POST", "/api/rollouts/nothing/approve"),
        ("POST", f"/api/rollouts/{ID}/applaud"),
        ("POST", f"/api/rollouts/{ID}/replace"),  # between rollouts
        ("DELETE", "/api/freezes/nothing"),
    ],
)
async def test_what_is_not_there_is_a_problem(desk, method, path):
    await asking(desk)
    answer = await desk.api(method, path, {"by": "Mika", "reason": "x"})
    assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")
    assert desk.words == []


# --- What people say ---

SAID = {"by": " Mika  Abe", "reason": "looks good"}


async def test_a_word_is_taken_and_put_on_record(desk):
    n = await asking(desk)
    answer = await desk.api("POST", f"/api/rollouts/{ID}/approve", SAID)
    assert (answer.status, answer.headers["location"]) == (202, f"/api/rollouts/{ID}")
    assert answer.json["status"] == "accepted"
    (word,) = desk.words
    assert (word["verb"], word["by"], word["reason"], word["via"]) == ("approve", "Mika Abe", "looks good", "API")
    assert word["ask"] == n
    by_command = await desk.api("POST", f"/api/rollouts/{ID}/abort", SAID | {"via": "command line"})
    assert (by_command.status, desk.words[1]["via"]) == (202, "command line")


@pytest.mark.parametrize(
    ("said", "missing"),
    [
        ({}, {"by", "reason"}),
        ({"by": "Mika", "reason": " "}, {"reason"}),
        ({"by": 7, "reason": "x"}, {"by"}),
        ({"by": "x" * 101, "reason": "x"}, {"by"}),
        ({"by": "x", "reason": "x", "ask": "first"}, {"ask"}),
        ([], {"body"}),
    ],
)
async def test_what_is_missing_from_a_word_is_named_all_at_once(desk, said, missing):
    await asking(desk)
    answer = await desk.api("POST", f"/api/rollouts/{ID}/approve", said)
    assert answer.status == 400
    assert {error["parameter"] for error in answer.json["errors"]} == missing
    assert desk.words == []


async def test_the_first_answer_counts_and_the_second_hears_whose_it_was(desk):
    await asking(desk)
    assert (await desk.api("POST", f"/api/rollouts/{ID}/approve", SAID)).status == 202
    answer = await desk.api("POST", f"/api/rollouts/{ID}/reject", {"by": "Naoko", "reason": "no"})
    assert (answer.status, len(desk.words)) == (409, 1)
    assert "answered already, by Mika Abe at 2026-11-20 12:00 UTC: approve" in answer.json["detail"]


async def test_an_answer_to_another_question_than_the_open_one_is_refused(desk):
    n = await asking(desk)
    answer = await desk.api("POST", f"/api/rollouts/{ID}/approve", SAID | {"ask": n - 1})
    assert (answer.status, answer.json["detail"]) == (409, "this question is closed")


async def test_nothing_can_be_said_to_what_has_ended(desk):
    await rolled_back(desk)
    answer = await desk.api("POST", f"/api/rollouts/{ID}/abort", SAID)
    assert (answer.status, "has ended already: rolled back" in answer.json["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"sec_fetch_site": "cross-site"}, 403), ({"origin": "https://evil.example"}, 403), ({}, 202)],
)
async def test_another_sites_page_cannot_decide(desk, headers, status):
    await asking(desk)
    assert (await desk.api("POST", f"/api/rollouts/{ID}/approve", SAID, **headers)).status == status
    freeze = {"endpoint": "*", "reason": "x", "owner": "y", "for": "4h"}
    assert (await desk.api("POST", "/api/freezes", freeze, **headers)).status == (201 if status == 202 else 403)
    if status == 403:
        assert (await desk.form(f"/rollouts/{ID}/say", site="cross-site", verb="approve", **SAID)).status == 403
        assert (await desk.form("/freezes", site="cross-site", **freeze)).status == 403
        assert (desk.words, await book.freezes(desk.shelf, NOW)) == ([], [])


async def test_a_body_without_end_is_not_read(desk):
    await asking(desk)
    answer = await desk.api("POST", f"/api/rollouts/{ID}/approve", SAID | {"reason": "x" * 20_000})
    assert answer.status == 413


# --- Freezes ---


async def test_a_freeze_is_added_listed_and_lifted(desk):
    said = {"endpoint": "fraud-online", "reason": "quarter end", "owner": "Naoko", "until": "2026-11-21T18:00:00+09:00"}
    added = await desk.api("POST", "/api/freezes", said)
    assert (added.status, added.headers["location"]) == (201, f"/api/freezes/{added.json['id']}")
    (listed,) = (await desk.get("/api/freezes")).json["freezes"]
    assert listed == added.json
    assert (listed["endpoint"], listed["began"]) == ("fraud-online", "2026-11-20T12:00:00Z")
    assert datetime.fromisoformat(listed["until"]) == datetime(2026, 11, 21, 9, tzinfo=UTC)
    lifted = await desk.api("DELETE", f"/api/freezes/{listed['id']}?by=Ito")
    assert (lifted.status, lifted.json["reason"], lifted.json["lifted_by"]) == (200, "quarter end", "Ito")
    assert (await desk.get("/api/freezes")).json["freezes"] == []
    (kept,) = (await desk.get("/api/freezes?all=1")).json["freezes"]
    assert (kept["lifted"], kept["lifted_by"], kept["owner"]) == ("2026-11-20T12:00:00Z", "Ito", "Naoko")
    again = await desk.api("DELETE", f"/api/freezes/{listed['id']}")
    assert (again.status, "is over already" in again.json["detail"]) == (404, True)


@pytest.mark.parametrize(("length", "hours"), [("4h", 4), ("30m", 0.5), ("2d", 48)])
async def test_a_freeze_may_say_how_long_by_the_clock_of_the_service(desk, length, hours):
    said = {"endpoint": "*", "reason": "x", "owner": "y", "for": length}
    until = (await desk.api("POST", "/api/freezes", said)).json["until"]
    assert datetime.fromisoformat(until) == NOW + timedelta(hours=hours)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, "endpoint is missing: name one, or * for all"),
        (
            {"until": "2026-11-20T11:00:00Z"},
            "until is '2026-11-20T11:00:00Z', which is over: it is 2026-11-20 12:00:00 UTC here",
        ),
        ({"until": "tomorrow"}, "until is 'tomorrow', expected an RFC 3339 time"),
        ({"for": "a while"}, "for is 'a while', expected a length of time such as 30m, 4h or 2d"),
    ],
)
async def test_a_wrong_freeze_says_what_was_expected(desk, said, expected):
    answer = await desk.api("POST", "/api/freezes", said)
    assert answer.status == 400
    assert expected in answer.json["detail"]


async def test_a_freeze_of_an_endpoint_without_rollouts_holds_nothing_back_and_is_refused(desk):
    await asking(desk)
    said = {"endpoint": "fraud-onlin", "reason": "x", "owner": "y", "for": "4h"}
    answer = await desk.api("POST", "/api/freezes", said)
    assert answer.status == 400
    assert "which no rollout is for; known: fraud-online, *" in answer.json["detail"]
    added = await desk.api("POST", "/api/freezes", said | {"endpoint": "Fraud-Online"})
    assert added.json["endpoint"] == "fraud-online"
    assert "<option>fraud-online</option>" in (await desk.get("/freezes")).text


# --- The pages ---


async def test_the_list_shows_how_each_stands_and_why(desk):
    await asking(desk)
    page = await desk.get("/rollouts")
    assert "fraud:7 → fraud-online" in page.words
    assert "asks for approval 10% Stage 2 of 3 has passed: 10 % for 30 min" in page.words
    assert f'href="/rollouts/{ID}"' in page.text
    assert "承認待ち" in (await desk.get("/rollouts?lang=ja")).words


async def test_an_empty_list_says_how_one_begins(desk):
    assert "No rollouts yet" in (await desk.get("/rollouts")).words


async def test_the_story_has_what_is_asked_the_readings_and_where_it_comes_from(desk):
    n = await asking(desk)
    page = await desk.get(f"/rollouts/{ID}")
    said = page.words
    assert "A decision is asked for Stage 2 of 3 has passed" in said
    assert "Asked of ml-leads, until 2026-11-21 12:00:00 UTC" in said
    assert f'name="ask" value="{n}"' in page.text
    assert "HTTP 5xx: canary" in said
    assert "(limit 40): holds" in said
    assert "frosty_sun_1" in said
    assert "train azureml:transactions:41" in said
    assert f'href="/events/{ABOUT.event}"' in page.text
    assert "Compared it with fraud:6 — auc 0.934; in production auc 0.931" in said
    assert re.search(r"(\d+) steps of waiting and looking, until", said)
    assert "Abort and roll back" in said
    assert f'src="/rollouts/{ID}/plot.svg?lang=en"' in page.text


async def test_a_promotion_says_why_it_is_live(desk):
    await promoted(desk)
    said = (await desk.get(f"/rollouts/{ID}")).words
    grounds = said[said.index("Why it is live") : said.index("The traffic, and what its gates say")]
    assert "Smoke test of fraud-7-1a2b3c passed: 20 requests, 0 errors (at most 0), p95 83.4 ms." in grounds
    assert "Stage 2 of 3 has passed: 10 % for 30 min, 9000 requests to fraud-7-1a2b3c." in grounds
    assert "Mika: approved — looks good" in grounds
    told = (await desk.get(f"/api/rollouts/{ID}")).json
    assert [text.split(":")[0] for text in told["passed"]] == [
        "Smoke test of fraud-7-1a2b3c passed",
        "Stage 2 of 3 has passed",
    ]


async def test_a_smoke_test_that_led_nowhere_was_not_passed(desk):
    tape = begun()
    del tape.steps[-1]  # the first copies
    await kept(desk, tape, status="rolled back", ended=tape.now)
    assert "Smoke test" not in (await desk.get(f"/rollouts/{ID}")).words


async def test_only_compared_metrics_stand_in_the_steps_and_the_others_below(desk):
    policy = replace(POLICY, compare=(Compare("auc", cohorts=True), Compare("loss", lower_is_better=True)))
    tape = begun(replace(ABOUT, policy=policy))
    read = {"auc": 0.934, "auc/north": 0.9, "auc_pr": 0.7, "simulated_error_rate": 0.01}
    tape.step(
        CompareModels(status="checking", champion="fraud:6"),
        Compared(at=tape.now, candidate=read, champion={"auc": 0.931, "auc_pr": 0.71}),
    )
    await kept(desk, tape)
    said = (await desk.get(f"/rollouts/{ID}")).words
    assert "— auc 0.934, auc/north 0.9; in production auc 0.931 2 other metrics, not compared" in said
    assert "auc_pr 0.7 0.71 simulated_error_rate 0.01 -" in said


async def test_what_a_rollout_waits_for_is_never_folded_away(desk):
    tape = begun()
    values: dict[str, str | int | float] = {
        "gate": "http_5xx",
        "canary": "9 %",
        "baseline": "9 %",
        "figure": "e 1",
        "patience": 900.0,
    }
    for _ in range(6):
        tape.step(Bake(status="held", until=tape.now, why=Said("both bad", values)), Elapsed(at=tape.now))
    blind = Measured(at=tape.now, until=tape.now, unknown="HTTP 503 of the logs")
    tape.step(Measure(status="held", since=tape.now, canary="c", others=()), blind)
    tape.now += timedelta(days=1)
    tape.step(Clear(status="frozen"), Frozen(at=tape.now, reason="year end", owner="dora", until=NOW))
    await kept(desk, tape)
    page = await desk.get(f"/rollouts/{ID}")
    said = page.words
    assert "6 steps of waiting and looking" in said
    assert "Both arms are bad, which is not the canary's fault" in said
    assert "nobody knows: HTTP 503 of the logs" in said
    assert "frozen by dora until 2026-11-20 12:00:00: year end" in said
    assert re.findall(r'<li class="day"><time datetime="([^"]+)"', page.text) == ["2026-11-20", "2026-11-21"]


async def test_a_rollout_that_waits_is_not_among_the_people(desk):
    tape = begun()
    word = Word("next", "fraud-online-fraud-8-9f", tape.now, "fraud:8 waits")
    tape.step(Bake(status="keeping", until=NOW), Heard(at=tape.now, word=word))
    await kept(desk, tape, (word,), status="keeping")
    said = (await desk.get(f"/rollouts/{ID}")).words
    assert "Nobody has said anything." in said
    assert "fraud-online-fraud-8-9f waits for the endpoint" in said


async def test_the_way_by_which_a_word_came_is_in_the_language_of_the_page(desk):
    await promoted(desk)
    assert "ml-leads 宛てのリンク" in (await desk.get(f"/rollouts/{ID}?lang=ja")).words


async def test_the_story_is_told_in_japanese(desk):
    await rolled_back(desk)
    said = (await desk.get(f"/rollouts/{ID}?lang=ja")).words
    assert "HTTP 5xx が基準を超えました" in said
    assert "ロールバック済み" in said
    assert "トラフィックを復元: fraud-6 100%" in said


@pytest.mark.parametrize(
    ("status", "there", "not_there"),
    [
        ("asking", {"Approve", "Reject", "Abort and roll back"}, {"Break the glass", "Bring the old version back"}),
        ("frozen", {"Break the glass", "Abort and roll back"}, {"Approve", "Bring the old version back"}),
        ("keeping", {"Bring the old version back"}, {"Approve", "Abort and roll back"}),
        ("baking", {"Abort and roll back"}, {"Approve", "Break the glass"}),
        ("stuck", set(), {"Approve", "Abort and roll back", "Break the glass", "Bring the old version back"}),
    ],
)
async def test_only_what_can_be_said_now_is_offered(desk, status, there, not_there):
    tape = begun()
    n = tape.step(Ask(status="asking", question=MAY_IT, until=NOW + MINUTE, of="ml-leads"))
    question = Question(n, MAY_IT, NOW + MINUTE, "ml-leads") if status == "asking" else None
    await kept(desk, tape, status=status, question=question)
    buttons = set(re.findall(r"<button[^>]*>([^<]+)<", (await desk.get(f"/rollouts/{ID}")).text))
    assert there <= buttons
    assert not not_there & buttons


async def test_a_form_says_what_its_button_says_and_comes_back_to_the_page(desk):
    n = await asking(desk)
    answer = await desk.form(f"/rollouts/{ID}/say", verb="reject", ask=str(n), by="Mika", reason="too slow")
    assert (answer.status, answer.headers["location"]) == (303, f"/rollouts/{ID}?said=1")
    assert (desk.words[0]["verb"], desk.words[0]["via"]) == ("reject", "console")
    page = await desk.get(answer.headers["location"])
    assert "It is on record." in page.words
    assert "Mika: rejected — too slow" in page.words
    assert "<button" in page.text  # to abort it, while what was said is not heard yet
    assert "Approve" not in re.findall(r"<button[^>]*>([^<]+)<", page.text)
    assert (await desk.form(f"/rollouts/{ID}/say", verb="approve", by="", reason="")).status == 400


async def test_freezes_are_added_and_lifted_by_forms(desk):
    said = {"endpoint": "fraud-online", "reason": "quarter end", "owner": "Naoko", "until": "2026-11-20T16:00"}
    assert (await desk.form("/freezes", **said)).headers["location"] == "/freezes?done=added"
    page = await desk.get("/freezes?done=added")
    assert "The freeze is in force." in page.words
    assert "fraud-online until 2026-11-20 16:00:00 UTC quarter end" in page.words
    (address,) = re.findall(r'action="(/freezes/[^"]+/lift)"', page.text)
    assert (await desk.form(address, by="Ito")).headers["location"] == "/freezes?done=lifted"
    page = await desk.get("/freezes")
    assert "Nothing is frozen." in page.words
    assert "fraud-online lifted by Ito, 2026-11-20 12:00:00 UTC quarter end" in page.words


async def test_an_event_leads_to_the_rollout_that_it_started(desk):
    await asking(desk)
    page = await desk.get(f"/events/{ABOUT.event}")
    assert f'<a href="/rollouts/{ID}">The rollout, step by step</a>' in page.text
    own = Event("e-2", "RolloutAdvanced", NOW, "/x", raw_type="Switchyard.RolloutAdvanced", data={"rollout": ID})
    desk.events["own"] = (EventRecord("own", NOW, "decided", own), [])
    assert f'href="/rollouts/{ID}"' in (await desk.get("/events/own")).text


# --- The picture ---

SVG = "{http://www.w3.org/2000/svg}"


def drawn(text: str) -> list[str]:
    """The words of a picture, which is well-formed."""
    return [element.text or "" for element in ET.fromstring(text).iter(f"{SVG}text")]


async def test_the_picture_has_the_traffic_and_each_statistical_gate_with_its_threshold(desk):
    await rolled_back(desk)
    answer = await desk.get(f"/rollouts/{ID}/plot.svg?lang=en")
    assert answer.headers["content-type"] == "image/svg+xml"
    words = drawn(answer.text)
    assert {"20% mirrored", "10%", "Traffic to the new version", "HTTP 5xx", "Answers over 400 ms"} <= set(words)
    assert words.count("rolls back at 40") == 2  # the ceiling has no evidence
    assert answer.text.count('class="hit"') == 1
    assert "prefers-color-scheme:dark" in answer.text
    assert "新しいバージョンへのトラフィック" in drawn((await desk.get(f"/rollouts/{ID}/plot.svg?lang=ja")).text)


async def test_the_evidence_drawn_is_the_evidence_decided_on(desk):
    head = await rolled_back(desk)
    steps = await book.steps(desk.shelf, ID)
    found = {one.gate.key: one.points[-1][1] for one in plot.evidence(ABOUT, steps)}
    decided = {one.gate: one.e for one in steps[-2].command.readings if one.e is not None}
    assert head.status == "rolled back"
    assert found == pytest.approx(decided)


async def test_a_long_wait_is_pressed_together_and_said(desk):
    await promoted(desk)
    text = (await desk.get(f"/rollouts/{ID}/plot.svg?narrow=1")).text
    assert "14 h" in drawn(text)
    assert 'class="gap"' in text
    assert f'width="{plot.NARROW}"' in text


async def test_where_nothing_was_moved_there_is_no_picture(desk):
    tape = Recording(ABOUT)
    tape.step(TakeTurn(status="waiting", why=Said("waits", {"holder": "r0", "endpoint": "fraud-online"})))
    await kept(desk, tape)
    assert "plot.svg" not in (await desk.get(f"/rollouts/{ID}")).text
    assert (await desk.get(f"/rollouts/{ID}/plot.svg")).status == 404


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 100), st.booleans()), min_size=2, max_size=12))
@settings(max_examples=40)
def test_any_traffic_makes_a_picture_within_its_frame(moves):
    tape = Recording(ABOUT)
    for minutes, percent, mirror in moves:
        traffic = {ABOUT.deployment: percent}
        kind = (
            Mirror(status="mirroring", traffic={"a": 100}, mirror=traffic)
            if mirror
            else Shift(status="baking", traffic=traffic)
        )
        tape.step(kind, minutes=minutes)
    for width in (plot.WIDE, plot.NARROW):
        text = plot.draw(ABOUT, tape.steps, Words("en"), width)
        if text is not None:
            numbers = [float(x) for x in re.findall(r'\bx\d?="([-\d.]+)"', text)]
            assert all(math.isfinite(x) and -1 <= x <= width for x in numbers)
            assert drawn(text)


# --- Behind an approval link ---


def link(ask_: int, *, until: datetime = NOW + timedelta(hours=4), rollout: str = ID, key: str = KEY) -> str:
    return f"/approve/{links.token(key, links.Approval(rollout, ask_, until, 'ml-leads'))}"


async def test_who_decides_sees_each_cohort_and_whom_the_candidate_is_worse_for(desk):
    policy = replace(POLICY, compare=(Compare("auc", cohorts=True, cohort_at_least=-0.01),))
    tape = begun(replace(ABOUT, policy=policy))
    compared = Compared(
        at=tape.now, candidate={"auc/cards": 0.94, "auc/夜間": 0.9}, champion={"auc/cards": 0.93, "auc/夜間": 0.93}
    )
    tape.step(CompareModels(status="checking", champion="fraud:6"), compared)
    n = tape.step(Ask(status="asking", question=MAY_IT, until=NOW + timedelta(days=1), of="ml-leads"))
    await kept(desk, tape, question=Question(n, MAY_IT, NOW + timedelta(days=1), "ml-leads"))
    for page, picture in ((link(n), f"{link(n)}/chart.svg"), (f"/rollouts/{ID}", f"/rollouts/{ID}/chart.svg")):
        shown = await desk.get(page)
        assert "1 below the limit of -0.01 (夜間 -0.03)" in shown.words
        assert f'src="{picture}?n=0' in shown.text
        drawn = await desk.get(f"{picture}?lang=ja&narrow=1")
        assert drawn.headers["content-type"] == "image/svg+xml"
        assert "コホート別の auc" in drawn.text
        assert (await desk.get(f"{picture}?n=1")).status == 404
    assert (await desk.get("/approve/forged/chart.svg")).status == 404
    assert (await desk.get(f"/api/rollouts/{ID}")).json["scorecard"][0]["rows"] == [
        ["cards", 0.94, 0.93],
        ["夜間", 0.9, 0.93],
    ]


async def test_looking_at_a_link_shows_the_question_and_decides_nothing(desk):
    n = await asking(desk)
    for method in ("GET", "HEAD", "GET"):
        page = await desk.ask(method, link(n))
        assert page.status == 200
    assert "May it go on?" in page.words
    assert "fraud:7 → fraud-online" in page.words
    assert "HTTP 5xx: canary" in page.words
    assert "Approve" in page.text
    assert desk.words == []
    assert page.headers["referrer-policy"] == "same-origin"
    assert page.headers["cache-control"] == "no-store"
    assert "noindex" in page.headers["x-robots-tag"]
    assert 'href="/events' not in page.text
    assert (await desk.get(f"{link(n)}/plot.svg")).headers["content-type"] == "image/svg+xml"
    assert "承認する" in (await desk.get(f"{link(n)}?lang=ja")).text


async def test_an_answer_by_link_is_on_record_and_counts_once(desk):
    n = await asking(desk)
    address = link(n)
    first = await desk.form(address, site="same-origin", answer="approve", by="Mika", reason="looks good")
    assert (first.status, first.headers["location"]) == (303, f"{address}?said=1")
    assert first.headers["referrer-policy"] == "same-origin"
    thanks = (await desk.get(first.headers["location"])).words
    assert "On record: Mika approved it on 2026-11-20 12:00:00 UTC: looks good" in thanks
    again = await desk.form(address, site="none", answer="reject", by="Naoko", reason="no")
    assert again.status == 409
    assert "This question is answered. Mika approved it on 2026-11-20 12:00:00 UTC: looks good" in again.words
    assert "<button" not in again.text
    (word,) = desk.words
    assert (word["verb"], word["via"], word["ask"]) == ("approve", "link to ml-leads", n)
    assert "Mika が 2026-11-20 12:00:00 UTC に承認" in (await desk.get(f"{address}?lang=ja")).words


@pytest.mark.parametrize(
    "said", [{"by": "Mika", "reason": "x"}, {"answer": "abort", "by": "Mika", "reason": "x"}, {"answer": "approve"}]
)
async def test_an_unclear_answer_by_link_decides_nothing(desk, said):
    n = await asking(desk)
    assert (await desk.form(link(n), **said)).status == 400
    assert desk.words == []


async def test_a_link_that_is_over_forged_or_cut_says_no_and_nothing_else(desk):
    n = await asking(desk)
    good = link(n)
    bad = [
        link(n, until=NOW),
        link(n, key="another key"),
        link(n, rollout="nothing"),
        good[:-1],
        "/approve/x",
    ]
    for address in bad:
        for page in (await desk.get(address), await desk.form(address, answer="approve", by="Mika", reason="x")):
            assert page.status == 403
            assert "This link cannot be used" in page.words
            assert "fraud" not in page.text.replace(address, "")
        assert (await desk.get(f"{address}/plot.svg")).status == 404
    assert desk.words == []


async def test_without_a_signing_key_no_link_is_good(desk):
    n = await asking(desk)
    desk.settings = Settings()
    assert (await desk.get(link(n))).status == 403


async def test_a_question_that_closed_itself_is_not_asked_any_more(desk):
    n = await asking(desk)
    head = await book.head(desk.shelf, ABOUT)
    await book.put_head(desk.shelf, ABOUT, replace(head, status="baking", question=None))
    page = await desk.get(link(n))
    assert "This is not asked any more. The rollout stands at: baking." in page.words
    assert "May it go on?" in page.words
    assert (await desk.form(link(n), answer="approve", by="Mika", reason="x")).status == 409
    assert desk.words == []


# --- Hostile text ---

hostile = st.sampled_from(
    ["<script>alert(1)</script>", "\"'><img src=x onerror=y>", "{{ 7 * 7 }}", "javascript:alert(1)", "</title><b>"]
) | st.text(st.sampled_from("<>\"'&{}%/ a語\n"), max_size=12)
OURS = re.compile(
    "html|head|meta|title|link|body|header|img|picture|source|nav|aside|main|footer|section|article|div|h[1-4]|p|a|b|strong|code"
    "|pre|span|time|ul|ol|li|dl|dt|dd|details|summary|form|label|select|option|button|input|table|caption|thead|tbody|tr|t[hd]"
)


class Reader(HTMLParser):
    """Reads a page as a browser would, and keeps every tag, attribute and address that our pages never have."""

    def __init__(self) -> None:
        super().__init__()
        self.strange: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if not OURS.fullmatch(tag):
            self.strange.append(tag)
        for name, value in attrs:
            address = name in {"href", "src", "action", "srcset"} and not re.match(
                r"/(?!/)|https?://|[#?]", value or ""
            )
            if address or name == "style" or name.startswith("on"):
                self.strange.append(f"{tag} {name}={value}")


@settings(max_examples=20)
@given(st.data(), st.sampled_from(["en", "ja"]))
async def test_hostile_text_is_never_markup(data, language):
    def said() -> str:
        text: str = data.draw(hostile)
        return text

    desk = Desk()
    policy = Policy(said(), said(), WHERE, gates=POLICY.gates)
    about = Rollout(
        ID, policy, WorkspaceRef(said(), said(), said()), said(), said(), said(), said(), BEGAN, said(), "e", said()
    )
    tape = Recording(about)
    why = Said("refused", {"what": said(), "detail": said()})
    tape.step(Look(status="checking", why=why), Busy(at=tape.now, reason=said()))
    tape.step(
        Probe(status="checking", why=Said(said(), {said(): said()})),
        Probed(at=tape.now, sent=1, errors=1, wrong=(said(),)),
    )
    tape.step(Shift(status="baking", traffic={about.deployment: 10, said(): 90}, why=why))
    tape.step(Shift(status="baking", traffic={about.deployment: 50, said(): 50}, why=why))
    n = tape.step(Ask(status="asking", question=why, until=NOW + MINUTE, of=said()))
    await kept(
        desk, tape, (Word("abort", said(), NOW, said(), via=said()),), question=Question(n, why, NOW + MINUTE, said())
    )
    await book.keep_origin(
        desk.shelf, ID, Origin(run=said(), inputs={said(): said()}, commit=said(), studio_url=said())
    )
    await book.freeze(desk.shelf, Freeze("f", said(), said(), NOW, NOW + MINUTE, said()))
    for target in ("/rollouts", f"/rollouts/{ID}", "/freezes", link(n), f"/rollouts/{said()}", f"/approve/{said()}"):
        page = await desk.get(f"{target.split('?')[0].split('#')[0]}?lang={language}")
        seen = Reader()
        seen.feed(page.text)
        assert not seen.strange
    assert drawn((await desk.get(f"/rollouts/{ID}/plot.svg?lang={language}")).text)


@pytest.mark.parametrize("path", ["/rollouts", f"/rollouts/{ID}", "/freezes", f"/rollouts/{ID}/plot.svg"])
async def test_every_answer_forbids_scripts_and_framing(desk, path):
    await asking(desk)
    policy = (await desk.get(path)).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy


def test_every_status_verb_and_step_has_its_words():
    from typing import get_args

    from shared.rollout.record import Asked, Status, Verb

    for status in get_args(Status.__value__):
        assert f"rollout.{status}" in WORDS
    for verb in get_args(Verb.__value__):
        assert f"verb.{verb}" in WORDS
    for command in get_args(Asked.__value__):
        assert f"step.{command.__name__}" in WORDS

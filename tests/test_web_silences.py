"""Silences and acknowledgements as people meet them: the API, the pages, the link in a message."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import book, links
from shared.events import Event, Run
from shared.record import Ack, EventRecord, Facts, Intent, IntentRecord, Job, Silence, Terms, held_by
from shared.rules.load import load_texts
from shared.settings import Settings
from shared.web import app
from tests.test_web import Answer, Book, ask
from tests.world import DictShelf

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
KEY = "a long random text"
LOADED = load_texts({"switchyard.yaml": "receivers: {fraud-team: {teams: '${FRAUD}'}}\n"})


@dataclass
class Desk:
    shelf: DictShelf = field(default_factory=DictShelf)
    store: Book = field(default_factory=Book)
    now: datetime = NOW
    settings: Settings = field(default_factory=lambda: Settings(signing_key=KEY))
    loaded: Any = LOADED
    inbox: bool = False

    @property
    def world(self) -> Any:
        return SimpleNamespace(shelf=self.shelf, store=self.store, clock=lambda: self.now)

    async def replay(self, record: str) -> None:
        raise AssertionError(record)

    async def say(self, *said: Any, **more: Any) -> None:
        raise AssertionError(said)

    def event(
        self, id_: str = "rec", kind: str = "RunStatusChanged", ago: timedelta = HOUR, **parts: Any
    ) -> EventRecord:
        at = self.now - ago
        run = Run(f"run-{id_}", status="Failed", experiment="fraud")
        about = Event(id_, kind, at, "/s", f"runs/{id_}", kind, **({"workspace": "prod", "run": run} | parts))  # type: ignore[arg-type]  # the parts of an event
        facts = Facts(job=Job(error="CUDA out of memory <b>"))
        return self.store.add(EventRecord(id_, at, "decided", about, None, facts), self.intents(id_))

    def intents(self, id_: str) -> list[IntentRecord]:
        told = Intent(f"{id_}-fraud-failed-1", id_, "fraud-failed", "teams", {}, Terms(receiver="fraud-team"))
        started = Intent(f"{id_}-fraud-failed-2", id_, "fraud-failed", "retrain", {})
        return [IntentRecord(one, "done", NOW) for one in (told, started)]

    async def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> Answer:
        return await ask(app(lambda: self), method, target, headers, body)

    async def get(self, target: str, **headers: str) -> Answer:
        return await self.ask("GET", target, b"", **headers)

    async def api(self, method: str, target: str, said: object = None, **headers: str) -> Answer:
        return await self.ask(method, target, b"" if said is None else json.dumps(said).encode(), **headers)

    async def form(self, target: str, site: str = "same-origin", **said: str) -> Answer:
        kind = "application/x-www-form-urlencoded"
        return await self.ask("POST", target, urlencode(said).encode(), content_type=kind, sec_fetch_site=site)

    async def in_force(self) -> list[Silence]:
        return list(await book.silences(self.shelf, self.now))


@pytest.fixture
def desk() -> Desk:
    return Desk()


GIVEN = {"matchers": {"run.experiment": "fraud"}, "reason": "migration", "owner": "Naoko", "for": "4h"}


# --- The API ---


async def test_a_silence_is_added_shown_commented_and_ended(desk):
    added = await desk.api("POST", "/api/silences", GIVEN)
    assert added.status == 201
    id_ = added.json["id"]
    assert added.headers["location"] == f"/api/silences/{id_}"
    assert (added.json["asks"], added.json["until"]) == ("run.experiment = fraud", "2026-11-24T16:00:00Z")
    await desk.shelf.keep(held_by(id_), "e1-r-1", "at")
    commented = await desk.api("POST", f"/api/silences/{id_}/comments", {"by": "Mika", "text": "done by noon"})
    assert commented.status == 201
    shown = (await desk.get(f"/api/silences/{id_}")).json
    assert shown["comments"] == [{"at": "2026-11-24T12:00:00Z", "by": "Mika", "text": "done by noon"}]
    assert (shown["held_back"], shown["matchers"]) == (1, {"run.experiment": "fraud"})
    assert [one["id"] for one in (await desk.get("/api/silences")).json["silences"]] == [id_]
    ended = await desk.api("DELETE", f"/api/silences/{id_}?by=Ito")
    assert (ended.json["expired"], ended.json["expired_by"]) == ("2026-11-24T12:00:00Z", "Ito")
    assert (await desk.get("/api/silences")).json["silences"] == []
    assert [one["id"] for one in (await desk.get("/api/silences?all=1")).json["silences"]] == [id_]


@pytest.mark.parametrize(
    ("change", "parameter", "expected"),
    [
        ({"matchers": {}}, "matchers", "to hold back everything, say so with 'rule: \"~ .*\"'"),
        ({"matchers": None}, "matchers", "matchers is missing"),
        ({"matchers": 7}, "matchers", "expected lines such as"),
        ({"matchers": {"tag.team": "x"}}, "matchers", "unknown field 'tag.team'; did you mean 'tags.NAME'?"),
        ({"matchers": "tags.team: x\nrun.status: failed"}, "matchers", "matchers:2:13: run.status is spelled 'Failed'"),
        ({"matchers": {"rule": "~ ["}}, "matchers", "is not an RE2 expression"),
        ({"reason": " "}, "reason", "reason is missing: say why, for the record"),
        ({"owner": ""}, "owner", "owner is missing: say who answers for it"),
        ({"for": "soon"}, "for", "expected a length of time such as 30m, 4h or 2d"),
        ({"for": "400d"}, "for", "expected a length of time"),
        ({"for": None}, "until", "until is missing"),
        ({"for": None, "until": "2028-01-01T00:00:00Z"}, "until", "expected 366 days from now at most"),
        ({"for": None, "until": "2026-11-24T11:00:00Z"}, "until", "which is over"),
    ],
)
async def test_every_wrong_input_is_named(desk, change, parameter, expected):
    answer = await desk.api("POST", "/api/silences", GIVEN | change)
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    (error,) = answer.json["errors"]
    assert error["parameter"] == parameter
    assert expected in error["detail"]
    assert desk.shelf.folders == {}


async def test_all_mistakes_are_named_at_once(desk):
    answer = await desk.api("POST", "/api/silences", {"matchers": {"a": 1, "b": 2}})
    assert [one["parameter"] for one in answer.json["errors"]] == ["matchers", "matchers", "reason", "owner", "until"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda of: st.lists(of) | st.dictionaries(st.text(), of),
        max_leaves=8,
    )
)
async def test_no_matchers_make_it_fail(matchers):
    answer = await Desk().api("POST", "/api/silences", GIVEN | {"matchers": matchers})
    assert answer.status in {201, 400}


@pytest.mark.parametrize(
    ("method", "target", "said", "status"),
    [
        ("GET", "/api/silences/nothing", None, 404),
        ("DELETE", "/api/silences/nothing", None, 404),
        ("POST", "/api/silences/nothing/comments", {"by": "x", "text": "y"}, 404),
        ("PUT", "/api/silences", None, 405),
        ("POST", "/api/events/nothing/acknowledge", {"by": "x"}, 404),
        ("POST", "/api/silences", "no object", 400),
    ],
)
async def test_what_cannot_be_done_is_a_problem(desk, method, target, said, status):
    answer = await desk.api(method, target, said)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_look_ahead_counts_the_messages_of_the_last_day_and_changes_nothing(desk):
    for n in range(3):
        desk.event(f"e{n}")
    desk.event("other", run=Run("r", status="Failed", experiment="churn"))
    desk.event("old", ago=2 * DAY)
    answer = await desk.api("POST", "/api/silences/preview", {"matchers": GIVEN["matchers"]})
    seen = answer.json
    assert (seen["hours"], seen["notifications"], seen["held_back"], seen["complete"]) == (24, 4, 3, True)
    assert seen["examples"][0] == {
        "record": "e0", "type": "RunStatusChanged", "rule": "fraud-failed", "receiver": "fraud-team",
    }  # fmt: skip
    assert (await desk.api("POST", "/api/silences/preview", {"matchers": {"receiver": "x"}})).json["held_back"] == 0
    assert (await desk.api("POST", "/api/silences/preview", {"matchers": {}})).status == 400
    assert desk.shelf.folders == {}


CROSS = {"sec_fetch_site": "cross-site"}
FOREIGN = (CROSS, {"sec_fetch_site": "same-site"}, {"origin": "https://evil.example.com"}, {"origin": "null"})
FORM = {"content_type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/api/silences"),
        ("DELETE", "/api/silences/x"),
        ("POST", "/api/silences/x/comments"),
        ("POST", "/api/events/rec/acknowledge"),
        ("POST", "/silences"),
        ("POST", "/silences/x/expire"),
        ("POST", "/silences/x/comments"),
        ("POST", "/events/rec/acknowledge"),
    ],
)
async def test_another_sites_page_can_do_nothing(desk, method, target):
    desk.event()
    assert (await desk.api(method, target, GIVEN | {"by": "x"}, **CROSS)).status == 403
    assert desk.shelf.folders == {}


# --- Acknowledgements by the API ---


async def test_the_first_acknowledgement_counts_and_the_second_is_told_whose(desk):
    desk.event()
    first = await desk.api("POST", "/api/events/rec/acknowledge", {"by": "Mika", "reason": "on it"})
    assert first.status == 200
    assert first.json["acknowledged"] == {"by": "Mika", "at": "2026-11-24T12:00:00Z", "reason": "on it", "via": "API"}
    assert (first.json["first"], first.json["silence"]) == (True, None)
    desk.now += HOUR
    second = await desk.api("POST", "/api/events/rec/acknowledge", {"by": "Ito"})
    assert second.status == 409
    assert second.json["detail"] == "acknowledged already, by Mika at 2026-11-24 12:00 UTC"
    assert (await desk.get("/api/events/rec")).json["acknowledged"]["by"] == "Mika"


async def test_muting_holds_the_like_back_until_it_is_over(desk):
    record = desk.event()
    seen = (await desk.api("POST", "/api/events/rec/acknowledge", {"by": "Mika", "mute": True})).json
    (one,) = await desk.in_force()
    assert seen["silence"]["id"] == one.id
    assert one.matchers["run.experiment"] == "fraud"
    assert (one.record, one.owner, one.until) == ("rec", "Mika", NOW + 7 * DAY)
    assert one.resolves is not None
    assert one.resolves.since == record.event.time
    assert one.reason == "muted: failed runs of the experiment fraud in prod"
    again = (await desk.api("POST", "/api/events/rec/acknowledge", {"by": "Ito", "mute": True})).json
    assert (again["first"], again["acknowledged"]["by"], again["silence"]["id"]) == (False, "Mika", one.id)
    assert await desk.in_force() == [one]


async def test_it_can_be_muted_again_when_the_silence_is_over(desk):
    desk.event()
    first = (await desk.api("POST", "/api/events/rec/acknowledge", {"by": "Mika", "mute": True})).json["silence"]["id"]
    await book.expire(desk.shelf, first, "Mika", desk.now)
    await book.put_away(desk.shelf, desk.now)
    second = (await desk.api("POST", "/api/events/rec/acknowledge", {"by": "Mika", "mute": True})).json["silence"]["id"]
    assert second == f"{first}-2"
    assert [one.id for one in await desk.in_force()] == [second]


async def test_what_is_over_already_is_not_muted(desk):
    desk.event()
    done = Run("r9", status="Completed", experiment="fraud")
    desk.event("done", "RunCompleted", HOUR / 2, run=done)
    seen = (await desk.api("POST", "/api/events/rec/acknowledge", {"by": "Mika", "mute": True})).json
    assert (seen["silence"], seen["over"], seen["acknowledged"]["by"]) == (None, "done", "Mika")
    assert await desk.in_force() == []


@pytest.mark.parametrize("mute", ["yes", 1, [], {}])
async def test_mute_is_true_or_false(desk, mute):
    desk.event()
    answer = await desk.api("POST", "/api/events/rec/acknowledge", {"by": "Mika", "mute": mute})
    assert answer.status == 400
    assert answer.json["errors"][0]["parameter"] == "mute"


async def test_what_nobody_is_told_of_cannot_be_muted(desk):
    desk.event(kind="ModelRegistered", run=None)
    answer = await desk.api("POST", "/api/events/rec/acknowledge", {"by": "Mika", "mute": True})
    assert answer.status == 409
    assert "there is nothing to mute" in answer.json["detail"]
    assert desk.shelf.folders.get("acks", {}) == {}


# --- The console ---


async def test_the_page_adds_looks_ahead_comments_and_ends(desk):
    desk.event()
    said = {"matchers": "run.experiment: fraud", "for": "4h", "owner": "Naoko", "reason": "migration"}
    looked = await desk.form("/silences", what="preview", **said)
    assert looked.status == 200
    assert "Messages of the last 24 hours: 1. It would have held back 1 of them." in looked.words
    assert 'value="migration"' in looked.text
    assert ">run.experiment: fraud</textarea>" in looked.text
    assert desk.shelf.folders == {}
    added = await desk.form("/silences", what="add", **said)
    assert (added.status, added.headers["location"]) == (303, "/silences?done=added")
    (one,) = await desk.in_force()
    page = await desk.get("/silences?done=added")
    for words in ("The silence is in force.", "run.experiment = fraud", "migration", "0 messages held back"):
        assert words in page.words
    await desk.form(f"/silences/{one.id}/comments", by="Mika", text="<b>done by noon</b>")
    ended = await desk.form(f"/silences/{one.id}/expire", by="Ito")
    assert ended.headers["location"] == "/silences?done=expired"
    page = await desk.get("/silences")
    assert "ended by Ito, 2026-11-24 12:00:00 UTC" in page.words
    assert "<b>done by noon</b>" in page.words
    assert "<b>" not in page.text
    assert "Nothing is silenced." in page.words


async def test_a_look_ahead_needs_no_owner_and_names_the_mistakes(desk):
    assert (await desk.form("/silences", what="preview", matchers="rule: x", owner="", reason="")).status == 200
    wrong = await desk.form("/silences", what="preview", matchers="rules: x")
    assert wrong.status == 400
    assert "did you mean 'rule'?" in wrong.words


async def test_a_form_with_a_mistake_comes_back_with_what_was_written(desk):
    answer = await desk.form(
        "/silences", what="add", matchers="tag.team: <fraud>", **{"for": "4h"}, owner="N", reason=""
    )
    assert answer.status == 400
    assert "unknown field 'tag.team'" in answer.words
    assert "reason is missing" in answer.words
    assert ">tag.team: &lt;fraud&gt;</textarea>" in answer.text


async def test_the_page_speaks_japanese(desk):
    await desk.api("POST", "/api/silences", GIVEN)
    page = await desk.get("/silences?lang=ja")
    for words in ("サイレンス", "抑制した通知 0 件", "コメントを追加", "終了する"):
        assert words in page.words


async def test_a_silence_that_an_event_ended_leads_to_it(desk):
    one = await book.add_silence(
        desk.shelf, Silence(book.silence_id(NOW, "x"), {"rule": "x"}, "N", "r", NOW, NOW + DAY)
    )
    await book.expire(desk.shelf, one.id, "resolved by event abc", NOW + HOUR)
    desk.now = NOW + 2 * HOUR
    page = await desk.get("/silences")
    assert 'href="/events/abc"' in page.text
    assert "the trouble was over at 2026-11-24 13:00:00 UTC" in page.words


async def test_an_event_is_acknowledged_and_muted_on_its_page(desk):
    desk.event()
    page = await desk.get("/events/rec")
    assert "Mute until resolved" in page.words
    assert (
        "failed runs of the experiment fraud in prod until one of its runs completes, for 7 days at most" in page.words
    )
    done = await desk.form("/events/rec/acknowledge", answer="acknowledge", by="Mika", reason="")
    assert (done.status, done.headers["location"]) == (303, "/events/rec?seen=1#seen")
    page = await desk.get("/events/rec?seen=1")
    assert "Acknowledged by Mika, 2026-11-24 12:00:00 UTC (the console)" in page.words
    assert 'value="acknowledge"' not in page.text
    await desk.form("/events/rec/acknowledge", answer="mute", by="Ito", reason="known")
    page = await desk.get("/events/rec")
    assert "Muted by Ito until it is resolved, 2026-12-01 12:00:00 UTC at the latest" in page.words
    assert 'value="mute"' not in page.text


async def test_good_news_offer_nothing(desk):
    desk.event(kind="RunCompleted", run=Run("r", status="Completed"))
    assert "Mute until resolved" not in (await desk.get("/events/rec")).words


# --- The link in a message ---


def link(key: str = KEY, record: str = "rec", until: datetime = NOW + DAY, to: str = "fraud-team") -> str:
    return f"/acknowledge/{links.token(key, links.Acknowledgement(record, until, to))}"


async def test_the_link_shows_the_event_and_looking_says_nothing(desk):
    desk.event()
    page = await desk.get(link())
    assert page.status == 200
    for words in ("fraud / run-rec", "CUDA out of memory <b>", "workspace prod", "Acknowledge", "Mute until resolved"):
        assert words in page.words
    assert page.headers["referrer-policy"] == "same-origin"
    assert page.headers["cache-control"] == "no-store"
    assert 'href="/silences"' not in page.text  # nothing else of the service
    assert desk.shelf.folders == {}


@pytest.mark.parametrize(
    ("answer", "muted", "said"),
    [
        ("acknowledge", 0, "More messages of its kind are still sent."),
        ("mute", 1, "Muted by Mika until it is resolved"),
    ],
)
async def test_the_link_acknowledges_or_mutes(desk, answer, muted, said):
    desk.event()
    done = await desk.form(link(), answer=answer, by="Mika", reason="on it")
    assert (done.status, done.headers["location"]) == (303, f"{link()}?said=1")
    assert await book.acknowledged(desk.shelf, "rec") == Ack("Mika", NOW, "on it", "link to fraud-team")
    assert len(await desk.in_force()) == muted
    page = await desk.get(f"{link()}?said=1")
    assert "Acknowledged by Mika, 2026-11-24 12:00:00 UTC — on it (the link to fraud-team)" in page.words
    assert said in page.words


async def test_who_comes_second_sees_who_was_first_and_may_still_mute(desk):
    desk.event()
    await desk.form(link(), answer="acknowledge", by="Mika")
    await desk.form(link(to=""), answer="acknowledge", by="Ito")
    page = await desk.get(link())
    assert "Acknowledged by Mika" in page.words
    assert 'value="acknowledge"' not in page.text
    await desk.form(link(to=""), answer="mute", by="Ito")
    (one,) = await desk.in_force()
    assert one.owner == "Ito"


@pytest.mark.parametrize(
    "target",
    [
        link(key="another key"),
        link(until=NOW),
        link(record="gone"),
        link()[:-1],
        "/acknowledge/nonsense",
        f"/acknowledge/{links.token(KEY, links.Approval('rec', 1, NOW + DAY, 'x'))}",
    ],
)
async def test_a_link_that_is_stale_forged_or_of_another_kind_opens_nothing(desk, target):
    desk.event()
    for answer in (await desk.get(target), await desk.form(target, answer="acknowledge", by="Mika")):
        assert answer.status == 403
        assert "This link cannot be used" in answer.words
        assert "run-rec" not in answer.text
    assert desk.shelf.folders == {}


@pytest.mark.parametrize("said", [{"answer": "approve", "by": "Mika"}, {"by": "Mika"}, {"answer": "mute"}])
async def test_an_answer_that_is_none_is_refused(desk, said):
    desk.event()
    assert (await desk.form(link(), **said)).status == 400
    assert desk.shelf.folders == {}


async def test_a_form_of_another_site_is_refused_even_with_the_link(desk):
    desk.event()
    for foreign in FOREIGN:
        assert (await desk.ask("POST", link(), b"answer=acknowledge&by=Mika", **FORM, **foreign)).status == 403
    assert desk.shelf.folders == {}
    own = await desk.ask("POST", link(), b"answer=acknowledge&by=Mika", **FORM, origin="http://localhost:7071")
    assert own.status == 303


async def test_the_link_speaks_japanese(desk):
    desk.event()
    page = await desk.get(f"{link()}?lang=ja")
    for words in ("対応状況", "解消までミュート", "prod の実験 fraud のジョブの失敗", "この実験のジョブが完了するまで"):
        assert words in page.words

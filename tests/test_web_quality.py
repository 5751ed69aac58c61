"""Model quality by the API, on its page and by `switchyard quality`: against the real web app."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from shared.cli import main
from shared.errors import PermanentError, TemporaryError
from tests.feed import MIDNIGHT, Feed, outside
from tests.served import Served, serving
from tests.test_measure import LOADED, WATCH, events
from tests.test_web_silences import Desk as Silenced
from tests.world import Outside

DAY = timedelta(days=1)
NOW = MIDNIGHT + 6 * DAY + timedelta(hours=3)


def far(drifts: Any = None) -> Outside:
    return outside(Feed(4, drifts=drifts), WATCH, NOW)


@dataclass
class Desk(Silenced):
    loaded: Any = LOADED
    out: Outside = field(default_factory=far)

    @property
    def world(self) -> Any:
        return self.out.world


@pytest.fixture
def service() -> Iterator[Served[Desk]]:
    with serving(Desk()) as served:
        yield served


async def test_what_is_due_is_looked_at_and_how_the_model_stands_is_told() -> None:
    desk = Desk()
    before = json.loads((await desk.get("/api/quality")).text)["quality"][0]
    assert (before["name"], before["verdict"], before["measured"]) == ("fraud", None, {})
    ran = json.loads((await desk.api("POST", "/api/quality/fraud/run", {})).text)
    assert [one["verdict"] for one in ran["looked"]] == ["healthy"]
    one = json.loads((await desk.get("/api/quality/fraud")).text)
    assert one["verdict"] == "healthy"
    assert one["measured"]["auc"]["low"] < one["measured"]["auc"]["value"] < one["measured"]["auc"]["high"]
    assert one["reference"] == {"auc": 0.925}
    assert one["estimated"].keys() == {"auc", "log_loss", "recall"}
    assert [look["window"] for look in one["looks"]] == [ran["looked"][0]["window"]]
    again = json.loads((await desk.api("POST", "/api/quality/fraud/run", {})).text)
    assert again["looked"] == []  # each window once


async def test_the_past_is_looked_at_window_by_window_and_nobody_is_told() -> None:
    desk = Desk(out=far(drifts=MIDNIGHT))
    named = json.loads((await desk.get("/api/quality/fraud/windows?since=5d")).text)["windows"]
    assert len(named) == 3
    look = json.loads((await desk.api("POST", f"/api/quality/fraud/windows/{named[0]['id']}", {})).text)
    assert (look["verdict"], look["window"], look["number"]) == ("degraded", named[0]["id"], 2)
    assert events(desk.out) == []
    told = await desk.api("POST", f"/api/quality/fraud/windows/{named[1]['id']}", {"tell": True})
    assert told.status == 200
    assert [event.type for event in events(desk.out)] == ["ModelQualityDegraded"]


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/api/quality/frod", 404, "no watch 'frod' is in force; known: fraud"),
        ("POST", "/api/quality/fraud/windows/yesterday", 404, "'yesterday' is no window: expected one such as"),
        ("POST", "/api/quality/fraud/windows/20261003T1600", 404, "the one around it is 20261003T1500"),
        (
            "POST",
            "/api/quality/fraud/windows/20261006T1500",
            409,
            "is due at 2026-10-08T15:00Z: until then truth is missing",
        ),
        (
            "GET",
            "/api/quality/fraud/windows?since=soon",
            400,
            "since is 'soon', expected an RFC 3339 time, or how long ago",
        ),
        ("GET", "/api/quality/fraud/windows?since=2000-01-01", 400, "more than 1,000 windows: choose a shorter time"),
    ],
)
async def test_what_cannot_be_is_said(method: str, path: str, status: int, said: str) -> None:
    answer = await Desk().api(method, path, {} if method == "POST" else None)
    assert (answer.status, said in json.loads(answer.text)["detail"]) == (status, True), answer.text


@pytest.mark.parametrize(
    ("failure", "status"), [(PermanentError("HTTP 403, not allowed"), 409), (TemporaryError("HTTP 503"), 503)]
)
async def test_a_source_that_says_no_is_told_in_its_own_words(failure: Any, status: int) -> None:
    desk = Desk()
    desk.out.logs.failure = failure
    answer = await desk.api("POST", "/api/quality/fraud/run", {})
    assert (answer.status, json.loads(answer.text)["detail"]) == (status, str(failure))
    one = json.loads((await desk.get("/api/quality/fraud")).text)
    assert one["trouble"]["why"] == str(failure)
    assert str(failure) in (await desk.get("/quality")).text


async def test_another_sites_page_starts_nothing() -> None:
    answer = await Desk().api("POST", "/api/quality/fraud/run", {}, sec_fetch_site="cross-site")
    assert answer.status == 403


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ["Model quality", "degraded", "Expected from scores", "all predictions", "fraud:12"]),
        ("ja", ["モデル品質", "低下", "スコアからの推定", "全体", "fraud:12"]),
    ],
)
async def test_the_page_shows_numbers_intervals_limits_and_the_line(language: str, words: list[str]) -> None:
    desk = Desk(out=far(drifts=MIDNIGHT))
    empty = await desk.get(f"/quality?lang={language}")
    assert empty.status == 200
    await desk.api("POST", "/api/quality/fraud/run", {})
    page = (await desk.get(f"/quality?lang={language}")).text
    assert [word for word in words if word not in page] == []
    assert 'class="beyond"' in page
    drawn = await desk.get("/quality/fraud/chart.svg?n=0")
    assert (drawn.status, drawn.text[:4]) == (200, "<svg")
    assert (await desk.get("/quality/fraud/chart.svg?n=9")).status == 404


def test_the_command_line_runs_lists_and_fills_the_past(
    service: Served[Desk], capsys: pytest.CaptureFixture[str]
) -> None:
    assert service.run("quality", "run") == 0
    said = capsys.readouterr().out
    assert "fraud: 1 window looked at\n" in said
    assert "fraud: fraud:12 on fraud-online is healthy, window 2026-10-04T15:00:00Z" in said
    assert "METRIC" in said
    assert " 0.925 " in said
    assert service.run("quality", "run", "fraud") == 0
    assert "fraud: nothing is due" in capsys.readouterr().out
    assert service.run("quality", "backfill", "fraud", "--since", "6d", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["looked"]) == 4
    assert service.run("quality", "backfill", "fraud", "--since", "6d") == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split()[:4] == ["WINDOW", "VERDICT", "KNOWN", "AUC"]
    assert len(rows) == 5
    assert service.run("quality", "run", "fraud", "--at", "2026-10-05T00:00:00Z") == 0
    assert "2026-10-02T15:00:00Z  healthy" in capsys.readouterr().out
    assert service.run("quality", "list") == 0
    assert "Segment=north" in capsys.readouterr().out
    assert events(service.desk.out) == []


def test_a_name_that_is_none_is_told(service: Served[Desk], capsys: pytest.CaptureFixture[str]) -> None:
    assert service.run("quality", "run", "frod") == 1
    assert "no watch 'frod' is in force; known: fraud" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["quality", "quality run", "quality backfill", "quality list"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([*command.split(), "--help"])
    assert left.value.code == 0
    assert "%(" not in capsys.readouterr().out

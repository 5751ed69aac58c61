"""Quality on schedule: each window once, late truth opens it again, and what got worse is told within the stated time."""

import asyncio
import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from shared import measure, wire
from shared.errors import PermanentError, TemporaryError
from shared.pictures import Line, charts
from shared.quality.watch import Asset, Blob, Collector, Predictions, Truth
from shared.quality.windows import window_of
from shared.record import QUALITY
from shared.rules.load import load_texts
from shared.service import Service
from shared.settings import Settings, read_folder
from shared.world import Origin
from tests.feed import MIDNIGHT, Feed, outside
from tests.world import DictShelf, Outside

CONFIG = Path(__file__).parent.parent / "config"
LOADED = load_texts(read_folder(CONFIG))
WATCH = LOADED.quality["fraud"]
DAY = timedelta(days=1)
FIRST = MIDNIGHT + 2 * DAY  # windows are days in Tokyo


def events(out: Outside):
    messages = [wire.unpack(text) for text, _ in out.queue.put_texts]
    return [message.event for message in messages if isinstance(message, wire.Arrived)]


def told(out: Outside):
    return [(event.type, event.id) for event in events(out)]


async def live(out: Outside, service: Service, until: datetime, hours: float = 1.0):
    """As the timer does it; what was raised by then, with its time."""
    seen = len(out.queue.put_texts)
    while out.clock.now < until:
        out.clock.advance(3600 * hours)
        await service.on_quality()
        if len(out.queue.put_texts) > seen:
            return
    return


def kept_of(out: Outside, folder: str = "quality-fraud"):
    assert isinstance(out.shelf, DictShelf)
    return out.shelf.folders[folder]


def service_of(out: Outside, watch=WATCH) -> Service:
    return Service(out.world, Settings(), replace(LOADED, quality={watch.name: watch}))


# The acceptance


@pytest.mark.parametrize("seed", [1])  # bench/quality.py lives through many
async def test_a_model_that_turns_bad_is_told_within_the_stated_time_and_never_in_30_days_before(seed):
    turns = FIRST + timedelta(days=31, hours=5 * seed)
    watch = replace(WATCH, minimum=150, reopen=86_400.0)
    out = outside(Feed(seed, daily=800, drifts=turns, by=0.9), watch, FIRST)
    service = service_of(out, watch)
    await live(out, service, turns, hours=4)
    assert told(out) == []
    standing = await measure.standing(out.shelf, "fraud")
    assert standing is not None
    assert standing.measured["auc"].n > 700
    assert len(standing.labels) > 28
    await live(out, service, turns + timedelta(days=9))
    (event,) = events(out)
    assert event.type == "ModelQualityDegraded"
    assert out.clock.now - turns <= timedelta(seconds=watch.noticed_within)
    assert event.data["high"] < event.data["limit"] == event.data["threshold"]
    assert (event.model.name, event.model.version, event.endpoint.name) == ("fraud", "12", "fraud-online")
    assert (event.workspace, event.tags) == ("prod", {"team": "fraud"})
    assert {one["name"] for one in event.data["cohorts"]} == {"Segment=north", "Segment=south", "Segment=online"}
    (chart,) = charts(event.data)
    assert isinstance(chart, Line)
    assert (chart.limit, chart.higher_is_better) == (event.data["limit"], event.data["metric"] != "log_loss")
    assert len(chart.points) > 25


async def test_a_feed_of_truth_that_stops_is_told_as_unknown_once():
    stops = FIRST + 4 * DAY
    out = outside(Feed(3, stops=stops), WATCH, FIRST)
    service = service_of(out)
    await live(out, service, stops + 9 * DAY, hours=3)
    assert out.clock.now - stops <= timedelta(seconds=WATCH.noticed_within + WATCH.patience)
    (event,) = events(out)
    assert event.type == "ModelQualityUnknown"
    assert "predictions have a truth, expected at least 300" in event.data["reason"]
    await live(out, service, stops + 9 * DAY, hours=3)
    assert len(events(out)) == 1  # once


async def test_logs_that_cannot_be_read_are_unknown_and_nobody_is_bothered_at_once():
    out = outside(Feed(3), WATCH, FIRST + 2 * DAY)
    service = service_of(out)
    out.logs.failure = PermanentError("HTTP 403, not allowed")
    await live(out, service, FIRST + 2 * DAY + timedelta(hours=40))
    assert told(out) == []
    await live(out, service, FIRST + 6 * DAY)
    assert [(event.type, event.data["reason"]) for event in events(out)] == [
        ("ModelQualityUnknown", "HTTP 403, not allowed")
    ]
    out.logs.failure = None
    out.clock.advance(600)
    await service.on_quality()
    standing = await measure.standing(out.shelf, "fraud")
    assert standing is not None
    assert standing.measured  # what was missed is made up for


async def test_one_model_that_cannot_be_read_holds_up_no_other():
    out = outside(Feed(3), WATCH, FIRST + 3 * DAY)
    broken = replace(WATCH, name="broken", truth=replace(WATCH.truth, source=Asset("labels", "1")))
    service = Service(out.world, Settings(), replace(LOADED, quality={"broken": broken, "fraud": WATCH}))
    await service.on_quality()
    assert list(kept_of(out, QUALITY)) == ["fraud"]


# Windows, once


async def test_a_window_is_looked_at_once_and_again_as_late_truth_may_change_it():
    out = outside(Feed(5, late=timedelta(hours=18)), WATCH, FIRST)
    service = service_of(out)
    for _ in range(8 * 6):
        out.clock.advance(3 * 3600)
        await service.on_quality()
    names = sorted(kept_of(out))
    first = names[0].rpartition("-")[0]
    assert names[:3] == [f"{first}-00", f"{first}-01", f"{first}-02"]
    looks = [json.loads(kept_of(out)[name]) for name in names[:3]]
    assert looks[0]["labelled"] < looks[1]["labelled"] < looks[2]["labelled"] <= looks[0]["predictions"]
    assert looks[0]["digest"] != looks[1]["digest"]
    asked = len(out.logs.asked)
    await service.on_quality()
    assert len(out.logs.asked) == asked  # nothing is due


async def test_truth_that_comes_late_changes_what_was_found_and_tells_it():
    """When the window is due, too few truths are there; the next look finds it bad."""
    feed = Feed(6, daily=3000, drifts=MIDNIGHT, late=timedelta(hours=30))
    watch = replace(WATCH, lateness=6 * 3600.0)
    out = outside(feed, watch, FIRST)
    await live(out, service_of(out, watch), FIRST + 6 * DAY)
    kept = kept_of(out)
    first = min(kept)[:-3]
    assert [json.loads(kept[f"{first}-0{n}"])["verdict"] for n in (0, 1)] == ["not enough", "degraded"]
    assert told(out) == [("ModelQualityDegraded", f"fraud-{first}-1")]


async def test_two_workers_at_once_tell_the_same_once():
    watch = WATCH
    out = outside(Feed(7, drifts=MIDNIGHT), watch, FIRST + 3 * DAY)
    services = [service_of(out), service_of(out)]
    await asyncio.gather(*(one.on_quality() for one in services))
    found = events(out)
    assert len({event.record for event in found}) == 1
    assert len(kept_of(out)) == 1


async def test_killed_between_keeping_and_telling_it_tells_the_next_time():
    out = outside(Feed(7, drifts=MIDNIGHT), WATCH, FIRST + 3 * DAY)
    put = out.queue.put

    async def killed(texts, *, delay=0):
        raise TemporaryError("killed")

    out.queue.put = killed  # type: ignore[method-assign]
    service = service_of(out)
    await service.on_quality()
    out.queue.put = put  # type: ignore[method-assign]
    assert (told(out), len(kept_of(out))) == ([], 1)
    asked = len(out.logs.asked)
    await service.on_quality()
    assert [kind for kind, _ in told(out)] == ["ModelQualityDegraded"]
    assert len([query for query, *_ in out.logs.asked[asked:] if "Labels" in query]) == 0  # nothing is measured twice


async def test_a_model_that_is_good_again_is_told_too():
    class Mended(Feed):
        def day(self, n):
            self.drifts = MIDNIGHT if n < 4 else None
            return super().day(n)

    out = outside(Mended(8, daily=1500, by=0.9), WATCH, FIRST)
    service = service_of(out)
    for _ in range(4 * 6):
        out.clock.advance(6 * 3600)
        await service.on_quality()
    kinds = [kind for kind, _ in told(out)]
    assert kinds[0] == "ModelQualityDegraded"
    assert kinds[-1] == "ModelQualityRecovered"
    assert kinds.count("ModelQualityRecovered") == 1


async def test_scores_alone_let_expect_something_before_the_truth_is_there():
    watch = replace(WATCH, lateness=4 * 86_400.0)  # no window is due yet
    out = outside(Feed(9), watch, FIRST + timedelta(hours=16))
    await service_of(out, watch).on_quality()
    standing = await measure.standing(out.shelf, "fraud")
    assert standing is not None
    assert (standing.measured, standing.version) == ({}, "12")
    hoped = standing.estimated["auc"]
    assert 0.85 < hoped.low < 0.91 < hoped.value < 0.94 < hoped.high < 1
    assert set(standing.estimated) == {"auc", "log_loss", "recall"}


async def test_the_standing_names_the_training_run_and_the_labels_by_day():
    out = outside(Feed(10), WATCH, FIRST + 4 * DAY)
    await service_of(out).on_quality()
    standing = await measure.standing(out.shelf, "fraud")
    assert standing is not None
    assert (standing.model, standing.version, standing.reference) == ("fraud", "12", {"auc": 0.925})
    assert sum(standing.labels.values()) == standing.measured["auc"].n


async def test_what_an_older_version_did_says_nothing_of_the_one_that_serves():
    class Promoted(Feed):
        def day(self, n):
            predictions, truth = super().day(n)
            for row in predictions:
                row["ModelVersion"] = "12" if n < 5 else "13"
            return predictions, truth

    out = outside(Promoted(11), WATCH, FIRST + 3 * DAY)
    out.serving.origins["fraud:13"] = Origin({}, run="run-13")
    out.platform.measured["run-13"] = {"auc": 0.93}
    service = service_of(out)
    await service.on_quality()
    old = await measure.standing(out.shelf, "fraud")
    assert old is not None
    assert (old.version, bool(old.measured)) == ("12", True)
    out.clock.now = MIDNIGHT + 5 * DAY + timedelta(hours=16)
    await service.on_quality()
    new = await measure.standing(out.shelf, "fraud")
    assert new is not None
    assert (new.version, new.measured, new.reference) == ("13", {}, {"auc": 0.93})
    assert new.estimated["auc"].value > 0.9


# Where rows are

PLACES = {
    "labels/2026/10/04/a.jsonl": b'{"id": "d0-1", "fraud": 1}\n',
    "labels/2026/10/05/b.jsonl": b'{"id": "d0-2", "fraud": 0}\n',
    "labels/2026/11/01/later.jsonl": b"not read: it is not of the span",
    "one.csv": b"id,fraud\nd0-1,1\nd0-2,0\n",
}


@pytest.mark.parametrize(
    ("source", "files"),
    [
        (Blob("frauddata", "truth", "labels/{yyyy}/{MM}/{dd}/"), PLACES),
        (Blob("frauddata", "truth", "one.csv"), PLACES),
        (Asset("labels", "3"), PLACES),
    ],
)
async def test_truth_is_read_from_files_of_the_days_it_may_be_in(source, files):
    watch = replace(
        WATCH,
        minimum=1,
        predictions=replace(WATCH.predictions, key="id"),
        truth=Truth(source, "id", "fraud"),
    )
    out = outside(Feed(1), watch=WATCH, begin=MIDNIGHT + 5 * DAY)
    at = MIDNIGHT + timedelta(days=3, hours=1)
    rows = [{"id": f"d0-{n}", "TimeGenerated": at, "Score": 0.4, "Segment": "north"} for n in (1, 2, 3)]
    out.logs.answers = dict.fromkeys(out.logs.answers, lambda *_: rows)
    out.blobs.files = {("https://frauddata.blob.test/truth", name): raw for name, raw in files.items()}
    out.blobs.assets = {"labels:3": ("https://frauddata.blob.test/truth", "labels/{yyyy}/{MM}/{dd}/")}
    found = await measure.look(out.world, watch, window_of(watch, at), 0)
    assert (found.predictions, found.labelled) == (3, 2)


async def test_the_collectors_lines_of_every_deployment_are_predictions():
    def line(n, deployment):
        rows = [{"id": f"{deployment}{n}", "score": 0.2}, {"id": f"{deployment}{n}b", "score": 0.7}]
        return json.dumps(
            {"specversion": "1.0", "time": "2026-10-04T01:00:00Z", "modelversion": "12", "data": rows}
        ).encode()

    store = "https://datastores.blob.test/workspaceblobstore"
    home = "modelDataCollector/fraud-online"
    out = outside(Feed(1), WATCH, MIDNIGHT + 5 * DAY)
    out.blobs.files = {
        (store, f"{home}/blue/model_outputs/2026/10/04/01/i1.jsonl"): line(1, "b") + b"\n" + line(2, "b"),
        (store, f"{home}/green/model_outputs/2026/10/04/01/i1.jsonl"): line(1, "g"),
        (store, f"{home}/green/model_inputs/2026/10/04/01/i1.jsonl"): b"not asked for",
        (store, f"{home}/blue/model_outputs/2026/10/09/01/i1.jsonl"): b"of another window",
    }
    predictions = Predictions(Collector("model_outputs"), "id", "time", score="score", version="modelversion")
    watch = replace(WATCH, predictions=predictions, cohorts=())
    found = await measure.look(out.world, watch, window_of(watch, MIDNIGHT + timedelta(days=3, hours=1)), 0)
    assert (found.predictions, found.version, found.verdict) == (6, "12", "not enough")


async def test_a_file_that_is_none_is_told_with_its_place():
    watch = replace(WATCH, truth=Truth(Blob("frauddata", "truth", "labels/"), "id", "fraud"))
    out = outside(Feed(1), WATCH, MIDNIGHT + 5 * DAY)
    out.blobs.files = {("https://frauddata.blob.test/truth", "labels/a.jsonl"): b'{"id": 1}\n{"id'}
    with pytest.raises(PermanentError, match=r"https://frauddata.blob.test/truth: labels/a.jsonl, line 2 is not JSON"):
        await measure.look(out.world, watch, window_of(watch, MIDNIGHT + 3 * DAY), 0)


async def test_more_rows_than_fit_are_refused_with_what_to_do(monkeypatch):
    monkeypatch.setattr(measure, "ROWS", 100)
    out = outside(Feed(1), WATCH, MIDNIGHT + 5 * DAY)
    with pytest.raises(PermanentError, match="rows for one window, at most 100: take a sample, or a shorter window"):
        await measure.look(out.world, WATCH, window_of(WATCH, MIDNIGHT + 3 * DAY), 0)

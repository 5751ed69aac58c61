"""Predictions and truth by the real SDKs, from the simulated Log Analytics and Blob Storage, and what is made of them."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from shared import measure
from shared.cloud import Doors, doors
from shared.errors import MissingError, PermanentError, TemporaryError
from shared.quality.watch import Asset, Collector, Predictions, Truth
from shared.quality.windows import window_of
from shared.rules.load import load_texts
from shared.settings import Settings, read_folder
from shared.world import World
from simulator.app import Box
from simulator.azureml import Version
from simulator.blobs import ACCOUNT, CONTAINER
from simulator.state import Fault
from tests.world import Outside

START = datetime(2026, 11, 20, 18, tzinfo=UTC)
DAY = timedelta(days=1)
LOADED = load_texts(read_folder(Path(__file__).parent.parent / "config"))
WATCH = LOADED.quality["fraud"]
LOGS = "7c1f0a52-3b6d-4e8f-9a21-5d4c3b2a1f00"


@pytest.fixture
def box() -> Iterator[Box]:
    with Box(rate=0, start=START, seed=3) as made:
        made.run(opened(made))
        yield made


async def opened(box: Box) -> None:
    """The endpoint as it is before the story begins, with the model's training run."""
    box.azure.story._open()


@pytest.fixture
async def far(box: Box, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Doors]:
    monkeypatch.setenv("SSL_CERT_FILE", box.ca)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", box.ca)
    made = doors(Settings.of(box.environment), box.environment, Path("config"))
    yield made
    await made.close()


def turn(box: Box, **lever: object) -> None:
    requests.post(f"{box.http}/control/truth", json=lever, timeout=10).raise_for_status()


def world(box: Box, far: Doors, outside: Outside) -> World:
    """Everything that a watch asks is Azure's; what is kept, and what is raised, stays here."""
    return replace(
        outside.world,
        clock=box.sim.clock.now,
        logs=far.logs,
        blobs=far.blobs,
        serving=far.serving,
        platform=far.platform,
    )


async def test_rows_are_those_of_the_span_by_column(box: Box, far: Doors) -> None:
    query = "FraudPredictions_CL | where Segment == 'online' | project TransactionId, Score, When = TimeGenerated"
    rows = await far.logs.rows(LOGS, query, (START - timedelta(hours=2), START))
    assert 20 < len(rows) < 80
    assert set(rows[0]) == {"TransactionId", "Score", "When"}
    assert all(0 < float(str(row["Score"])) < 1 for row in rows)
    both = "FraudLabels_CL | where IsFraud == 1"
    of_workspace = await far.logs.rows(WATCH.where.path, both, (START - timedelta(hours=9), START))
    assert {row["IsFraud"] for row in of_workspace} == {1}


async def test_logs_that_say_no_and_logs_that_are_busy(box: Box, far: Doors) -> None:
    span = (START - DAY, START)
    with pytest.raises(PermanentError, match=r"asking Log Analytics .*Failed to resolve table.*NoSuchTable_CL"):
        await far.logs.rows(LOGS, "NoSuchTable_CL | project A", span)
    box.sim.faults.append(Fault("logs", 503))
    with pytest.raises(TemporaryError, match="HTTP 503"):
        await far.logs.rows(LOGS, "FraudLabels_CL", span)


async def test_files_are_found_by_the_datastore_and_by_the_data_asset(box: Box, far: Doors) -> None:
    store = await far.blobs.datastore(WATCH.where, "workspaceblobstore")
    assert store == f"{box.https}/blobs/{ACCOUNT}/{CONTAINER}"
    home = "modelDataCollector/fraud-online/"
    assert list(await far.blobs.folders(store, home)) == [f"{home}blue/"]
    stored = await far.blobs.names(store, f"{home}blue/model_outputs/2026/11/20/")
    assert [one.name[-20:-18] for one in stored[:3]] == ["00", "01", "02"]
    raw = await far.blobs.read(store, stored[0].name)
    line = json.loads(raw.splitlines()[0])
    assert len(raw) == stored[0].size
    assert (line["type"], len(line["data"])) == ("azureml.inference.model_outputs", 3)
    for version in ("1", "@latest"):
        assert await far.blobs.asset(WATCH.where, "fraud-labels", version) == (store, "fraud-labels/{yyyy}/{MM}/{dd}/")


async def test_what_is_not_there_and_who_is_busy(box: Box, far: Doors) -> None:
    store = await far.blobs.datastore(WATCH.where, "workspaceblobstore")
    elsewhere = far.blobs.container("nobody", "nothing")
    assert (list(await far.blobs.names(elsewhere, "")), list(await far.blobs.folders(elsewhere, "a/"))) == ([], [])
    with pytest.raises(MissingError, match=r"reading none\.jsonl"):
        await far.blobs.read(store, "none.jsonl")
    with pytest.raises(MissingError, match="finding Data asset none:1"):
        await far.blobs.asset(WATCH.where, "none", "1")
    with pytest.raises(MissingError, match="finding datastore other"):
        await far.blobs.datastore(WATCH.where, "other")
    faults = [
        Fault("blob", 503),
        Fault("blob", 429),
        Fault("blob", "drop", times=2),
    ]  # aiohttp asks once more by itself
    for fault in faults:
        box.sim.faults.append(fault)
        with pytest.raises(TemporaryError):
            await far.blobs.names(store, "fraud-labels/")
    assert far.blobs.container("frauddata", "x") == f"{box.https}/blobs/frauddata/x"


def test_an_account_is_a_host_where_the_suffix_is_one() -> None:
    here = doors(Settings(), {}, Path("config")).blobs
    assert here.container("frauddata", "labels") == "https://frauddata.blob.core.windows.net/labels"


@pytest.mark.parametrize(
    ("properties", "found"),
    [
        (
            {"dataUri": "https://acc.blob.core.windows.net/box/a/b.csv"},
            ("https://acc.blob.core.windows.net/box", "a/b.csv"),
        ),
        ({"dataUri": "wasbs://box@acc.blob.core.windows.net/a/"}, ("{base}/blobs/acc/box", "a/")),
        ({"dataUri": "azureml://datastores/workspaceblobstore/paths/a/"}, ("{base}/blobs/prodml/" + CONTAINER, "a/")),
    ],
)
async def test_a_data_asset_may_name_its_place_in_each_way(box: Box, far: Doors, properties, found) -> None:
    here = box.azure.story.workspace
    here.data["other"] = {"7": Version("other", "7", properties, START)}
    container, path = found
    assert await far.blobs.asset(WATCH.where, "other", "7") == (container.replace("{base}", box.https), path)


async def test_logs_and_the_data_collector_with_a_data_asset_tell_the_same(box: Box, far: Doors) -> None:
    outside = Outside()
    there = world(box, far, outside)
    window = window_of(WATCH, START - 2 * DAY)
    by_logs = await measure.look(there, WATCH, window, 0, tell=False)
    files = replace(
        WATCH,
        name="fraud-files",
        predictions=Predictions(
            Collector("model_outputs"), "transaction_id", "scored_at", score="score", version="modelversion"
        ),
        truth=Truth(Asset("fraud-labels", "1"), "transaction_id", "is_fraud", at="decided_at"),
        cohorts=("segment",),
    )
    by_files = await measure.look(there, files, window, 0, tell=False)
    assert by_logs.verdict == by_files.verdict == "healthy"
    assert 0.9 < by_logs.measured["auc"].value < 0.95
    assert by_logs.reference["auc"] == 0.921  # of the run that made version 12
    ours, theirs = by_logs.measured["auc"], by_files.measured["auc"]
    assert ours.value == pytest.approx(theirs.value, abs=1e-3)
    assert abs(ours.n - theirs.n) <= 2


async def test_truth_that_no_longer_comes_is_no_health(box: Box, far: Doors) -> None:
    outside = Outside()
    await asyncio.to_thread(turn, box, stops=True)
    there = world(box, far, outside)
    box.sim.clock.advance(3 * 86_400)
    found = await measure.look(there, WATCH, window_of(WATCH, START + DAY), 0)
    assert (found.verdict, found.labelled) == ("not enough", 0)

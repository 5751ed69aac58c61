"""A delivery in many files, from the door to the batch endpoint: scored once, when all of it is there."""

import pytest

from tests.station import Station, opened
from tests.world import Outside

RULES = r"""
rules:
  - name: score
    event: BlobCreated
    match: {blob.container: incoming, blob.file: ends .parquet, blob.size: "> 0", not: {data.api: CreateFile}}
    throttle: {complete_within: 6h, parts: -of-(\d+)}
    do:
      - batch: {endpoint: scores, workspace: prod, inputs: {data: "{{ event.blob.folder_url }}"}}
      - notify: fraud
  - name: gaps
    event: BlobCreated
    match: {blob.container: incoming, blob.file: ends .parquet, blob.size: "> 0", not: {data.api: CreateFile}}
    throttle: {incomplete_after: 6h, parts: -of-(\d+)}
    do: [{notify: platform}]
"""
LAKE = "/subscriptions/s1/resourceGroups/mlops/providers/Microsoft.Storage/storageAccounts/lake"


@pytest.fixture
def outside():
    return Outside()


@pytest.fixture
def station(tmp_path, outside):
    with opened(tmp_path / "state.db") as database:
        yield Station(outside, database, RULES)


def blob(name, file, size=10, api="FlushWithClose"):
    path = f"incoming/customers/nov/{file}"
    return {
        "id": name,
        "topic": LAKE,
        "subject": f"/blobServices/default/containers/incoming/blobs/customers/nov/{file}",
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": "2026-11-20T08:29:00Z",
        "data": {"api": api, "contentLength": size, "url": f"https://lake.dfs.core.windows.net/{path}"},
        "dataVersion": "3",
    }


def part(n, of=3):
    return f"part-{n:05d}-of-{of:05d}.parquet"


async def test_all_of_it_starts_the_endpoint_once_with_the_folder(station, outside):
    await station.send(
        blob("e1", part(3)),
        blob("e2", part(1), 0, "CreateFile"),  # made, and not written yet
        blob("e3", part(1)),
        blob("e1", part(3)),  # delivered again
        blob("e4", part(3)),  # written over
    )
    await station.work()
    assert outside.serving.invoked == {}
    await station.send(blob("e5", part(2)), blob("e6", part(2)))
    await station.work()
    [(_, invocation)] = outside.serving.invoked.values()
    assert len(outside.serving.names) == 1
    assert invocation.inputs["data"].path == "https://lake.dfs.core.windows.net/incoming/customers/nov"
    [card] = outside.http.sent
    assert b"3 of 3 parts in incoming/customers/nov" in card.body
    await station.later(6 * 3600)
    assert outside.mail.sent == []


async def test_a_sender_who_forgot_one_is_told_of(station, outside):
    await station.send(blob("e1", part(1)), blob("e2", part(3)))
    await station.work()
    await station.later(6 * 3600)
    [(letter, _)] = outside.mail.sent
    assert "2 of 3 parts in incoming/customers/nov" in letter.subject
    assert (outside.serving.invoked, outside.http.sent) == ({}, [])

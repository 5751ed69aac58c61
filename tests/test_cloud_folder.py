"""The configuration in a blob container keeps the promises of `world.Documents`, against Azurite."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from azure.storage.blob.aio import BlobServiceClient, ContainerClient

from shared.cloud.account import Account
from shared.cloud.folder import Container
from shared.errors import MissingError, PermanentError
from tests.documents_contract import DocumentsContract, DocumentsPlace


@dataclass
class Later:
    """The wall's clock, as Azurite reads it, a while later."""

    by: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.by  # noqa: TID251 (Azurite stamps what is written by the wall's)


@dataclass
class Blobs:
    """A container, and who reads it."""

    client: ContainerClient
    storage: str
    clock: Later = field(default_factory=Later)
    made: list[Container] = field(default_factory=list)

    def container(self, *, url: str | None = None) -> Container:
        self.made.append(Container(url or self.client.url, Account(self.storage), self.clock))
        return self.made[-1]

    async def write(self, name: str, raw: bytes) -> None:
        self.clock.by = timedelta()
        await self.client.upload_blob(name, raw, overwrite=True)

    async def settle(self) -> None:
        self.clock.by = timedelta(minutes=1)


@pytest.fixture
async def blobs(account: str) -> AsyncIterator[Blobs]:
    async with AsyncExitStack() as closing:
        service = await closing.enter_async_context(BlobServiceClient.from_connection_string(account))
        made = Blobs(await service.create_container("config"), account)
        yield made
        for one in made.made:
            await one.close()


class TestContainer(DocumentsContract):
    @pytest.fixture
    def place(self, blobs: Blobs) -> DocumentsPlace:
        return DocumentsPlace(blobs.container(), blobs.write, blobs.client.delete_blob, blobs.settle)


async def test_nothing_new_costs_one_request_and_a_change_costs_what_changed(
    blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(10):
        await blobs.write(f"rules/{n}.yaml", b"rules: []\n")
    container = blobs.container()
    asked: list[str] = []
    before = aiohttp.ClientSession.request

    def request(self: aiohttp.ClientSession, method: str, url: Any, **options: Any) -> Any:
        asked.append("list" if "comp=list" in str(url) else f"{method} {str(url).rpartition('/')[2]}")
        return before(self, method, url, **options)

    monkeypatch.setattr(aiohttp.ClientSession, "request", request)
    assert await container.changed() is not None
    asked.clear()
    assert await container.changed() is None
    assert asked == ["list"]
    await blobs.write("rules/3.yaml", b"rules: [] # edited\n")
    await blobs.settle()
    asked.clear()
    assert await container.changed() is not None
    assert asked == ["list", "GET 3.yaml", "list"]


async def test_what_changes_while_it_is_read_is_read_again(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    await blobs.write("rules/a.yaml", b"a1")
    await blobs.write("rules/b.yaml", b"b1")
    container = blobs.container()
    before = container._read

    async def read(listed: Any) -> Any:
        monkeypatch.setattr(container, "_read", before)
        await blobs.write("rules/a.yaml", b"a2")  # one that is in the list has another tag
        assert await before(listed) is None
        await blobs.write("rules/c.yaml", b"c2")  # and one is new
        return await before(listed)

    monkeypatch.setattr(container, "_read", read)
    assert await container.changed() == {"rules/a.yaml": "a2", "rules/b.yaml": "b1", "rules/c.yaml": "c2"}


async def test_pipelines_lie_in_a_folder_for_the_sdk_that_reads_files(blobs: Blobs) -> None:
    container = blobs.container()
    for name in ("pipelines/train.yml", "pipelines/deep/er.yaml", "rules/a.yaml"):
        await blobs.write(name, name.encode())
    assert await container.changed() is not None
    found = {path.relative_to(container.copy).as_posix() for path in container.copy.rglob("*.y*ml")}
    assert found == {"pipelines/train.yml", "pipelines/deep/er.yaml"}
    await blobs.client.delete_blob("pipelines/deep/er.yaml")
    await blobs.settle()
    assert await container.changed() is not None
    assert [path.name for path in container.copy.rglob("*.y*ml")] == ["train.yml"]


async def test_a_container_that_is_not_there_is_no_empty_configuration(blobs: Blobs) -> None:
    container = blobs.container(url=f"{blobs.client.url}2")
    with pytest.raises(MissingError, match="reading the configuration from its blob container: not found"):
        await container.changed()
    with pytest.raises(MissingError):
        await container.read("assessments/fraud.yaml")


async def test_a_signature_in_the_address_is_refused_and_not_repeated(blobs: Blobs) -> None:
    container = blobs.container(url=f"{blobs.client.url}?sv=2026&sig=c2VjcmV0")
    with pytest.raises(PermanentError, match="leave out what follows the '\\?'") as refused:
        await container.changed()
    assert "c2VjcmV0" not in str(refused.value)

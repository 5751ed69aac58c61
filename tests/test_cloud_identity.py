"""Storage by the identity of the app: the same promises with tokens, over HTTPS, against Azurite. Entra is simulated, its client is not."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from shared.cloud import reach
from shared.cloud.account import Account
from shared.cloud.archive import BlobArchive
from shared.cloud.credentials import Tokens, credential
from shared.cloud.folder import Container
from shared.cloud.http import AioHttp
from shared.cloud.queue import AzureQueue
from shared.cloud.shelf import AzureShelf
from shared.cloud.store import AzureStore
from shared.cloud.world import world
from shared.errors import PermanentError
from shared.settings import WORK_QUEUE, Settings
from simulator.app import Box
from tests import azurite_server
from tests.archive_contract import ArchiveContract
from tests.azurite_server import Azurite
from tests.shelf_contract import ShelfContract, ShelfPlace
from tests.store_contract import Place, StoreContract
from tests.test_cloud_store import bodies
from tests.world import VirtualClock

SERVICES = ("blob", "queue", "table")


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with Box(rate=1, seed=1) as box:
        yield box


@pytest.fixture(scope="module")
def secure(box: Box, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Azurite, Path]]:
    """Azurite that takes tokens, and a file of those whom a client of it has to trust."""
    folder = tmp_path_factory.mktemp("secure")
    authority = trustme.CA()
    certificate, key, trusted = (folder / name for name in ("cert.pem", "key.pem", "trusted.pem"))
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(str(key))
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    trusted.write_bytes(Path(box.ca).read_bytes() + authority.cert_pem.bytes())
    with azurite_server.running(folder, lambda _: None, (certificate, key)) as server:
        yield server, trusted


@pytest.fixture
def environ(box: Box, secure: tuple[Azurite, Path], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """As a function app is told of its storage."""
    server, trusted = secure
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trusted))
    addresses = {kind.lower(): url for kind, url in server.addresses().items()}
    assert all(url.startswith("https://") for url in addresses.values())
    return box.environment | {f"AzureWebJobsStorage__{kind}ServiceUri": f"{addresses[kind]}/" for kind in SERVICES}


@dataclass
class Signed:
    account: Account
    http: AioHttp
    closing: AsyncExitStack


@pytest.fixture
async def signed(environ: dict[str, str]) -> AsyncIterator[Signed]:
    settings = Settings.of(environ)
    async with AsyncExitStack() as closing:
        http = AioHttp(reach.of(settings, rules=False))
        closing.push_async_callback(http.close)
        yield Signed(Account.of(settings, Tokens(lambda: credential(settings, environ)), http), http, closing)


class TestStoreByIdentity(StoreContract):
    @pytest.fixture
    async def place(self, signed: Signed) -> Place:
        clock, queue = VirtualClock(), AzureQueue(signed.account, WORK_QUEUE)
        await queue.put([])
        client = await signed.closing.enter_async_context(signed.account.queue(WORK_QUEUE))

        async def restart() -> AzureStore:
            return AzureStore(signed.account, queue, clock)

        return Place(await restart(), clock, lambda: bodies(client), restart)


class TestShelfByIdentity(ShelfContract):
    @pytest.fixture
    def place(self, signed: Signed) -> ShelfPlace:
        async def restart() -> AzureShelf:
            return AzureShelf(signed.account)

        return ShelfPlace(AzureShelf(signed.account), restart)


class TestArchiveByIdentity(ArchiveContract):
    @pytest.fixture
    def archive(self, signed: Signed) -> BlobArchive:
        return BlobArchive(signed.account)


async def test_the_configuration_comes_from_its_container(signed: Signed) -> None:
    client = await signed.closing.enter_async_context(signed.account.container("switchyard-config"))
    await client.create_container()
    await client.upload_blob("switchyard.yaml", b"receivers: {}\n")
    made = Container(f"{client.url}/", signed.account, lambda: datetime(2100, 1, 1, tzinfo=UTC))
    signed.closing.push_async_callback(made.close)
    assert await made.changed() == {"switchyard.yaml": "receivers: {}\n"}


@pytest.mark.filterwarnings("ignore:Testing an element:DeprecationWarning")  # the SDK's, where Azurite answers in XML
async def test_a_token_for_something_else_is_refused_with_the_role_that_lacks(
    signed: Signed, environ: dict[str, str]
) -> None:
    settings = Settings.of(environ)
    tokens = Tokens(lambda: credential(settings, environ))

    async def other(*_scopes: str, **_options: object) -> object:
        return await Tokens.get_token(tokens, "https://vault.azure.net/.default")

    tokens.get_token = other  # type: ignore[method-assign, assignment]  # whoever signs in asks for the wrong thing
    store = AzureStore(
        Account.of(settings, tokens, signed.http), AzureQueue(signed.account, WORK_QUEUE), VirtualClock()
    )
    with pytest.raises(PermanentError, match=r"HTTP 40[13], not allowed.*Storage Table Data Contributor"):
        await store.event("x")


async def test_the_world_of_a_function_app_needs_no_key(environ: dict[str, str]) -> None:
    assert not any("AccountKey" in value for value in environ.values())
    made = world(Settings.of(environ), environ)
    try:
        await made.queue.put(["x"])
        assert await made.store.event("x") is None
        assert await made.shelf.get("a", "b") is None
        assert await made.archive.days() == []
        assert await made.dead_letters.names(1) == []
    finally:
        await made.close()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"accountName": "acme"}, "https://acme.{}.core.windows.net"),
        ({"blobServiceUri": "https://acme.blob.core.usgovcloudapi.net/"}, ""),
        (
            {f"{kind}ServiceUri": f"https://acme.{kind}.core.usgovcloudapi.net/" for kind in SERVICES},
            "https://acme.{}.core.usgovcloudapi.net",
        ),
    ],
)
def test_where_storage_is_is_said_as_the_functions_host_has_it(given: dict[str, str], expected: str) -> None:
    settings = Settings.of({f"AzureWebJobsStorage__{name}": value for name, value in given.items()})
    if not expected:
        with pytest.raises(
            PermanentError, match=r"missing: AzureWebJobsStorage__queueServiceUri, AzureWebJobsStorage__tableServiceUri"
        ):
            world(settings, {})
        return
    found = (settings.storage_blobs, settings.storage_queues, settings.storage_tables)
    assert found == tuple(expected.format(kind) for kind in SERVICES)


def test_a_name_is_looked_for_in_the_cloud_of_its_blobs() -> None:
    settings = Settings.of(
        {"AzureWebJobsStorage__accountName": "acme", "AZURE_BLOB_SUFFIX": "blob.core.chinacloudapi.cn"}
    )
    assert settings.storage_tables == "https://acme.table.core.chinacloudapi.cn"


def test_the_identity_that_the_host_is_told_of_is_ours_unless_another_is_named() -> None:
    told = {"AzureWebJobsStorage__clientId": "host"}
    assert Settings.of(told).client_id == "host"
    assert Settings.of(told | {"AZURE_CLIENT_ID": "ours"}).client_id == "ours"

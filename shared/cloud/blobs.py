"""Files in storage accounts, and the datastores and Data assets of a workspace that name them."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from shared.cloud.azureml import ROLE, Workspaces, part, table, text
from shared.cloud.credentials import Tokens
from shared.cloud.failures import LOADING, Doing, translating
from shared.cloud.http import AioHttp
from shared.cloud.storage import code
from shared.errors import PermanentError
from shared.record import WorkspaceRef
from shared.world import Stored

if TYPE_CHECKING:
    from azure.storage.blob.aio import ContainerClient

_API: Final = "2024-10-01"
_ROLE: Final = "the role 'Storage Blob Data Reader' on the container"
_IN_STORE: Final = re.compile(r"azureml://(?:\S*?/)?datastores/(?P<store>[^/]+)/paths/(?P<path>.*)", re.IGNORECASE)
_ADDRESS: Final = re.compile(r"https://[^/]+/(?P<container>[^/]+)/(?P<path>.*)")
_BY_DRIVER: Final = re.compile(r"(?:wasbs|abfss)://(?P<container>[^@/]+)@(?P<account>[^./]+)\.[^/]+/(?P<path>.*)")


class StoredBlobs:
    """Implements `world.Blobs`. `suffix`: of the accounts' hosts; one that is an address itself has the accounts as its folders."""

    def __init__(self, workspaces: Workspaces, suffix: str, tokens: Tokens, http: AioHttp) -> None:
        self._workspaces = workspaces
        self._suffix = suffix
        self._tokens = tokens
        self._http = http
        self._made: dict[str, ContainerClient] = {}

    def container(self, account: str, name: str) -> str:
        if self._suffix.startswith("https://"):
            return f"{self._suffix}/{account}/{name}"
        return f"https://{account}.{self._suffix}/{name}"

    async def datastore(self, where: WorkspaceRef, name: str) -> str:
        doing = Doing(f"finding datastore {name} of workspace {where.workspace}", ROLE)
        said = table((await self._arm(where, f"/datastores/{part(name)}", doing)).get("properties"))
        account, container = text(said.get("accountName")), text(said.get("containerName") or said.get("filesystem"))
        if account is None or container is None:
            kind = text(said.get("datastoreType")) or "unknown"
            raise PermanentError(f"{doing.what}: it is of the kind {kind}, and no container of blobs")
        return self.container(account, container)

    async def asset(self, where: WorkspaceRef, name: str, version: str) -> tuple[str, str]:
        doing = Doing(f"finding Data asset {name}:{version} of workspace {where.workspace}", ROLE)
        if version.startswith("@"):
            of_all = table((await self._arm(where, f"/data/{part(name)}", doing)).get("properties"))
            version = text(of_all.get("latestVersion")) or ""
        said = table((await self._arm(where, f"/data/{part(name)}/versions/{part(version)}", doing)).get("properties"))
        address = text(said.get("dataUri")) or ""
        if (text(said.get("dataType")) or "").casefold() == "mltable":
            raise PermanentError(f"{doing.what}: it is an MLTable, expected a uri_folder or a uri_file")
        if found := _IN_STORE.fullmatch(address):
            return await self.datastore(where, found["store"]), found["path"]
        if found := _BY_DRIVER.fullmatch(address):
            return self.container(found["account"], found["container"]), found["path"]
        if found := _ADDRESS.fullmatch(address):
            return address[: found.end("container")], found["path"]
        raise PermanentError(
            f"{doing.what}: its data is in no storage account: expected a datastore, or an address of blobs"
        )

    async def _arm(self, where: WorkspaceRef, path: str, doing: Doing) -> dict[str, Any]:
        return await self._workspaces.arm("GET", where, path, doing, version=_API)

    def _client(self, container: str) -> "ContainerClient":
        if container not in self._made:
            host = urlsplit(container).hostname or ""
            if not self._http.reach.trusted(host):
                # Whoever registers a Data asset says where it lies: a token of our identity is not for everybody's host.
                raise PermanentError(f"{host} is no storage account: expected a host below {self._suffix}")
            with LOADING:
                from azure.storage.blob.aio import ContainerClient

            self._made[container] = ContainerClient.from_container_url(
                container,
                credential=self._tokens,
                transport=self._http.transport(),
                retry_total=0,  # who asks is the one owner of retries
            )
        return self._made[container]

    async def folders(self, container: str, prefix: str) -> Sequence[str]:
        with translating(_doing(container)):
            try:
                walked = self._client(container).walk_blobs(prefix, delimiter="/")
                return [one.name async for one in walked if one.name.endswith("/")]
            except Exception as error:
                if code(error) != "ContainerNotFound":
                    raise
                return []

    async def names(self, container: str, prefix: str) -> Sequence[Stored]:
        with translating(_doing(container)):
            try:
                listed = self._client(container).list_blobs(name_starts_with=prefix)
                return [Stored(one.name, one.size or 0) async for one in listed]
            except Exception as error:
                if code(error) != "ContainerNotFound":
                    raise
                return []

    async def read(self, container: str, name: str) -> bytes:
        with translating(Doing(f"reading {name} in {container}", _ROLE)):
            return await (await self._client(container).download_blob(name)).readall()


def _doing(container: str) -> Doing:
    return Doing(f"listing {container}", _ROLE)

"""Dead letters on Azure: the blobs that Event Grid writes, by its own identity, to a container of the app's storage account."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from shared.cloud.account import Account
from shared.cloud.failures import Doing, translating
from shared.cloud.storage import code
from shared.world import Left

if TYPE_CHECKING:
    from azure.storage.blob.aio import ContainerClient

log: Final = logging.getLogger("switchyard")

CONTAINER: Final = "switchyard-deadletter"

_LARGEST: Final = 64 * 1024 * 1024
"""Bytes that are read at once. Event Grid writes nothing like it."""

_GONE: Final = {"BlobNotFound", "ContainerNotFound", "ContainerBeingDeleted"}
_CHANGED: Final = {"ConditionNotMet"}
_DOING: Final = Doing("reading what Event Grid could not deliver", "Storage Blob Data Contributor")


class BlobDeadLetters:
    """`world.DeadLetters`."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._lazy: ContainerClient | None = None

    def _client(self) -> "ContainerClient":
        self._lazy = self._lazy or self._account.container(CONTAINER)
        return self._lazy

    async def close(self) -> None:
        if self._lazy is not None:
            await self._lazy.close()

    async def names(self, limit: int) -> Sequence[str]:
        found: list[str] = []
        with translating(_DOING):
            try:
                async for blob in self._client().list_blobs(results_per_page=limit):
                    if (blob.size or 0) > _LARGEST:
                        log.error("not a dead letter: too large", extra={"blob": blob.name, "bytes": blob.size})
                        continue
                    found.append(blob.name)
                    if len(found) == limit:
                        break
            except Exception as error:
                if code(error) not in _GONE:
                    raise
        return found

    async def read(self, name: str) -> Left | None:
        with translating(_DOING):
            try:
                blob = await self._client().download_blob(name)
                return Left(await blob.readall(), str(blob.properties.etag))
            except Exception as error:
                if code(error) not in _GONE:
                    raise
                return None

    async def drop(self, name: str, mark: str) -> None:
        from azure.core import MatchConditions

        with translating(_DOING):
            try:
                await self._client().delete_blob(name, etag=mark, match_condition=MatchConditions.IfNotModified)
            except Exception as error:
                if code(error) not in _GONE | _CHANGED:
                    raise

"""The archive on Azure: an append blob for each day, in the storage account of the app."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from datetime import date
from io import BytesIO
from typing import TYPE_CHECKING, Final

from shared.cloud.account import Account
from shared.cloud.failures import Doing, translating
from shared.cloud.storage import code, once

if TYPE_CHECKING:
    from azure.storage.blob.aio import ContainerClient

_CONTAINER: Final = "switchyard-archive"
_TAIL: Final = ".jsonl"
_BLOCK: Final = 4_000_000
"""Bytes that are appended together: all of them, or none."""

_DOING: Final = Doing("using the archive of events", "Storage Blob Data Contributor")


class BlobArchive:
    """`world.Archive`, made at its first use."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._lazy: ContainerClient | None = None
        self._there = False

    async def _client(self) -> "ContainerClient":
        self._lazy = self._lazy or self._account.container(_CONTAINER)
        if not self._there:
            await once(self._lazy.create_container)
            self._there = True
        return self._lazy

    async def close(self) -> None:
        if self._lazy is not None:
            await self._lazy.close()

    async def append(self, day: date, lines: Sequence[str]) -> None:
        from azure.core import MatchConditions
        from azure.core.exceptions import ResourceExistsError, ResourceModifiedError

        with translating(_DOING):
            blob = (await self._client()).get_blob_client(f"{day}{_TAIL}")
            for block in _blocks(lines):
                try:
                    await blob.append_block(BytesIO(block))
                except Exception as error:
                    if code(error) != "BlobNotFound":
                        raise
                    with suppress(ResourceExistsError, ResourceModifiedError):  # another worker was faster
                        await blob.create_append_blob(match_condition=MatchConditions.IfMissing)
                    await blob.append_block(BytesIO(block))

    async def days(self) -> Sequence[date]:
        with translating(_DOING):
            return sorted([day async for day in self._days()])

    async def _days(self) -> AsyncIterator[date]:
        async for name in (await self._client()).list_blob_names():
            try:
                yield date.fromisoformat(name.removesuffix(_TAIL))
            except ValueError:
                continue  # not one of ours

    async def read(self, day: date) -> AsyncIterator[str]:
        """In parts of our own: the SDK would not go on reading a blob that is being appended to."""
        at, rest = 0, b""
        while part := await self._part(day, at):
            at += len(part)
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                yield line.decode()

    async def _part(self, day: date, at: int) -> bytes:
        from azure.core.exceptions import ResourceNotFoundError

        with translating(_DOING):
            try:
                blob = await (await self._client()).download_blob(f"{day}{_TAIL}", offset=at, length=_BLOCK)
                return await blob.readall()
            except ResourceNotFoundError:
                return b""
            except Exception as error:
                if code(error) != "InvalidRange":
                    raise
                return b""  # behind its end

    async def prune(self, before: date) -> int:
        old = [day for day in await self.days() if day < before]
        with translating(_DOING):
            client = await self._client()
            for day in old:
                await client.delete_blob(f"{day}{_TAIL}")
        return len(old)


def _blocks(lines: Sequence[str]) -> Iterator[bytes]:
    """The lines in blocks that are not too large."""
    block = bytearray()
    for line in lines:
        raw = f"{line}\n".encode()
        if block and len(block) + len(raw) > _BLOCK:
            yield bytes(block)
            block.clear()
        block += raw
    if block:
        yield bytes(block)

"""The configuration in a blob container: asked for by its list of ETags, read where one changed."""

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from itertools import batched
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shared.cloud.account import Account
from shared.cloud.failures import Doing, translating
from shared.cloud.storage import code
from shared.errors import PermanentError, TemporaryError
from shared.settings import as_text, is_configuration

if TYPE_CHECKING:
    from azure.storage.blob.aio import ContainerClient

type _Listed = dict[str, tuple[str, datetime]]
"""Of each blob the ETag, and when it was written."""

_DOING: Final = Doing("reading the configuration from its blob container", "Storage Blob Data Reader")
_YOUNG: Final = timedelta(seconds=5)
"""Somebody is probably still at it: an upload of several files takes its time."""

_TURNS: Final = 5
_AT_ONCE: Final = 8
_PIPELINES: Final = "pipelines/"


class Container:
    """Implements `world.Documents`. `account`: that of the app, which signs in to the container."""

    def __init__(self, url: str, account: Account, clock: Callable[[], datetime]) -> None:
        self._url = url
        self._account = account
        self._clock = clock
        self._lazy: ContainerClient | None = None
        self._taken: dict[str, str] | None = None
        self._texts: dict[str, str] = {}
        self.copy: Final = Path(tempfile.mkdtemp(prefix="switchyard-"))
        """Where the files under pipelines/ lie, for an SDK that reads files only."""

    def _client(self) -> "ContainerClient":
        if self._lazy is None:
            self._lazy = self._account.container_at(self._url)
        return self._lazy

    async def close(self) -> None:
        if self._lazy is not None:
            await self._lazy.close()

    async def read(self, name: str) -> str | None:
        with translating(_DOING):
            raw = await self._download(name)
        try:
            return None if raw is None else raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise PermanentError(f"{name!r} in the configuration container can't be read: {error}") from error

    async def changed(self) -> Mapping[str, str] | None:
        with translating(_DOING):
            listed = await self._list()
            if _tags(listed) == self._taken or (self._taken is not None and self._young(listed)):
                return None
            for _ in range(_TURNS):
                texts = await self._read(listed)
                again = await self._list()
                if texts is not None and _tags(again) == _tags(listed):
                    break
                listed = again
            else:
                raise TemporaryError("the configuration changes all the time while it is being read")
        await asyncio.to_thread(self._write, texts)
        self._taken, self._texts = _tags(listed), texts
        return texts

    def _young(self, listed: _Listed) -> bool:
        taken, now = self._taken or {}, self._clock()
        return any(tag != taken.get(name) and abs(now - written) < _YOUNG for name, (tag, written) in listed.items())

    async def _list(self) -> _Listed:
        blobs = self._client().list_blobs()
        return {blob.name: (blob.etag, blob.last_modified) async for blob in blobs if is_configuration(blob.name)}

    async def _read(self, listed: _Listed) -> dict[str, str] | None:
        """The texts of this list; None when it is no longer so."""
        taken = self._taken or {}
        texts = {name: self._texts[name] for name, (tag, _) in listed.items() if taken.get(name) == tag}
        for some in batched([name for name in listed if name not in texts], _AT_ONCE, strict=False):
            for name, raw in zip(
                some, await asyncio.gather(*(self._download(name, listed[name][0]) for name in some)), strict=True
            ):
                if raw is None:
                    return None
                texts[name] = as_text(raw)
        return texts

    async def _download(self, name: str, tag: str | None = None) -> bytes | None:
        """None when there is no such blob, or it has another tag."""
        from azure.core import MatchConditions
        from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError

        try:
            if tag is None:  # the SDK takes a condition of None for one
                blob = await self._client().download_blob(name)
            else:
                blob = await self._client().download_blob(name, etag=tag, match_condition=MatchConditions.IfNotModified)
            return await blob.readall()
        except ResourceModifiedError:
            return None
        except ResourceNotFoundError as error:
            if code(error) == "ContainerNotFound":
                raise
            return None

    def _write(self, texts: Mapping[str, str]) -> None:
        pipelines = {name: text for name, text in texts.items() if name.startswith(_PIPELINES)}
        for path in [*self.copy.rglob("*.y*ml")]:
            if path.relative_to(self.copy).as_posix() not in pipelines:
                path.unlink()
        for name, text in pipelines.items():
            path = (self.copy / name).resolve()
            if path.is_relative_to(self.copy.resolve()):  # a blob may be called anything
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, "utf-8", errors="surrogateescape")


def _tags(listed: _Listed) -> dict[str, str]:
    return {name: tag for name, (tag, _) in listed.items()}

"""The queue on Azure: a storage queue, written as the Functions host reads it."""

import asyncio
import math
from collections.abc import Sequence
from itertools import batched
from typing import TYPE_CHECKING, Final

from shared.cloud.account import Account
from shared.cloud.failures import Doing, translating
from shared.cloud.storage import once

if TYPE_CHECKING:
    from azure.storage.queue.aio import QueueClient

_DOING: Final = Doing("putting messages on the storage queue", "Storage Queue Data Contributor")
_AT_ONCE: Final = 16
_WEEK: Final = 7 * 24 * 3600
"""The longest that a storage queue hides a message."""

_FOREVER: Final = -1
"""Work does not go out of date: a message stays until it is done."""


class AzureQueue:
    """`world.Queue`, made at its first use."""

    def __init__(self, account: Account, name: str) -> None:
        self._account = account
        self._name = name
        self._lazy: QueueClient | None = None
        self._there = False

    async def _client(self) -> "QueueClient":
        self._lazy = self._lazy or self._account.queue(self._name)
        if not self._there:
            await once(self._lazy.create_queue)
            self._there = True
        return self._lazy

    async def put(self, texts: Sequence[str], *, delay: float = 0) -> None:
        hidden = min(math.ceil(delay), _WEEK)
        with translating(_DOING):
            send = (await self._client()).send_message
            for some in batched(texts, _AT_ONCE, strict=False):
                await asyncio.gather(*(send(text, visibility_timeout=hidden, time_to_live=_FOREVER) for text in some))

    async def close(self) -> None:
        if self._lazy is not None:
            await self._lazy.close()

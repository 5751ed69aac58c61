"""The queue on Azure: a storage queue, written as the Functions host reads it."""

import asyncio
import math
from collections.abc import Sequence
from itertools import batched
from typing import Final

from shared.cloud.credentials import Tokens
from shared.cloud.failures import Doing, translating
from shared.cloud.storage import once

_DOING: Final = Doing("putting messages on the storage queue", "Storage Queue Data Contributor")
_AT_ONCE: Final = 16
_WEEK: Final = 7 * 24 * 3600
"""The longest that a storage queue hides a message."""

_FOREVER: Final = -1
"""Work does not go out of date: a message stays until it is done."""


class AzureQueue:
    """`world.Queue`, made at its first use. `storage`: a connection string, or an account that `tokens` may use."""

    def __init__(self, storage: str, name: str, tokens: Tokens) -> None:
        from azure.storage.queue import TextBase64EncodePolicy
        from azure.storage.queue.aio import QueueClient

        encode = TextBase64EncodePolicy()
        # The host owns retries: the SDK makes none.
        self._client = (
            QueueClient.from_connection_string(storage, name, message_encode_policy=encode, retry_total=0)
            if "=" in storage
            else QueueClient(
                f"https://{storage}.queue.core.windows.net",
                name,
                credential=tokens,
                message_encode_policy=encode,
                retry_total=0,
            )
        )
        self._there = False

    async def put(self, texts: Sequence[str], *, delay: float = 0) -> None:
        hidden = min(math.ceil(delay), _WEEK)
        send = self._client.send_message
        with translating(_DOING):
            if not self._there:
                await once(self._client.create_queue)
                self._there = True
            for some in batched(texts, _AT_ONCE, strict=False):
                await asyncio.gather(*(send(text, visibility_timeout=hidden, time_to_live=_FOREVER) for text in some))

    async def close(self) -> None:
        await self._client.close()

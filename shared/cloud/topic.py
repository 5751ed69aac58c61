"""Our own events for others: to an Event Grid topic, where one is set."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from shared.cloud.credentials import Tokens
from shared.cloud.failures import LOADING, Doing, translating
from shared.cloud.http import AioHttp
from shared.errors import PermanentError, TemporaryError

if TYPE_CHECKING:
    from azure.eventgrid.aio import EventGridPublisherClient

KEY: Final = "SWITCHYARD_TOPIC_KEY"
"""The secret with a key of the topic; without it the identity of this app is used."""

_MOST: Final = 50
_DOING: Final = Doing("publishing to the Event Grid topic", "the role 'EventGrid Data Sender' on the topic")
_MAYBE_DONE: Final = re.compile(r" HTTP 50[024]\b")


class EventGridTopic:
    """Implements `world.Topic`."""

    def __init__(self, endpoint: str, key: str | None, tokens: Tokens, http: AioHttp) -> None:
        self._endpoint = endpoint
        self._key = key
        self._tokens = tokens
        self._http = http
        self._made: dict[tuple[str, str | None], EventGridPublisherClient] = {}

    def _client(self, endpoint: str, key: str | None) -> "EventGridPublisherClient":
        if (endpoint, key) not in self._made:
            with LOADING:
                from azure.core.credentials import AzureKeyCredential
                from azure.eventgrid.aio import EventGridPublisherClient

            if len(self._made) == _MOST:  # keys are renewed, and addresses may come from events
                self._made.clear()
            self._made[endpoint, key] = EventGridPublisherClient(
                endpoint,
                AzureKeyCredential(key) if key else self._tokens,
                transport=self._http.transport(),
                retry_total=0,  # who asks is the one owner of retries
            )
        return self._made[endpoint, key]

    async def publish(self, event: Mapping[str, object]) -> None:
        if self._endpoint:
            await self._send(self._endpoint, self._key, event, _DOING)

    async def send(self, endpoint: str, key: str | None, event: Mapping[str, object]) -> None:
        host = urlsplit(endpoint).hostname or ""
        if not key and not self._http.reach.trusted(host):
            # A token of our identity opens every topic that the identity may write to, and whoever gets it may keep it.
            raise PermanentError(
                f"the topic {host} is none of Azure's, and would get a token of this app's identity: give it a `key`"
            )
        by = "the key, or the role 'EventGrid Data Sender' on the topic" if key else _DOING.role
        await self._send(endpoint, key, event, Doing(_DOING.what, by))

    async def _send(self, endpoint: str, key: str | None, event: Mapping[str, object], doing: Doing) -> None:
        # A topic puts its own name on what it takes, and refuses what has another.
        body: dict[str, Any] = {name: value for name, value in event.items() if name != "topic"}
        try:
            with translating(doing):
                await self._client(endpoint, key).send(body)
        except TemporaryError as error:
            if error.sent or not _MAYBE_DONE.search(str(error)):
                raise
            raise TemporaryError(str(error), retry_after=error.retry_after, sent=True) from error

"""Our own events for others: to an Event Grid topic, where one is set."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from shared.cloud.credentials import Tokens
from shared.cloud.failures import LOADING, Doing, translating
from shared.cloud.http import AioHttp

if TYPE_CHECKING:
    from azure.eventgrid.aio import EventGridPublisherClient

KEY: Final = "SWITCHYARD_TOPIC_KEY"
"""The secret with a key of the topic; without it the identity of this app is used."""

_DOING: Final = Doing("publishing to the Event Grid topic", "the role 'EventGrid Data Sender' on the topic")


class EventGridTopic:
    """Implements `world.Topic`."""

    def __init__(self, endpoint: str, key: str | None, tokens: Tokens, http: AioHttp) -> None:
        self._endpoint = endpoint
        self._key = key
        self._tokens = tokens
        self._http = http
        self._made: EventGridPublisherClient | None = None

    @property
    def _client(self) -> "EventGridPublisherClient":
        if self._made is None:
            with LOADING:
                from azure.core.credentials import AzureKeyCredential
                from azure.eventgrid.aio import EventGridPublisherClient

            self._made = EventGridPublisherClient(
                self._endpoint,
                AzureKeyCredential(self._key) if self._key else self._tokens,
                transport=self._http.transport(),
                retry_total=0,  # who asks is the one owner of retries
            )
        return self._made

    async def publish(self, event: Mapping[str, object]) -> None:
        if not self._endpoint:
            return
        # A topic puts its own name on what it takes, and refuses what has another.
        body: dict[str, Any] = {name: value for name, value in event.items() if name != "topic"}
        with translating(_DOING):
            await self._client.send(body)

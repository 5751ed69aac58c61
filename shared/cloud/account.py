"""The storage account of the app: where its tables, queues and blobs are, and who signs in. The one place that makes their clients."""

from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from shared.cloud.credentials import Tokens
from shared.cloud.failures import LOADING
from shared.cloud.http import AioHttp
from shared.errors import PermanentError
from shared.settings import Settings

if TYPE_CHECKING:
    from azure.data.tables.aio import TableServiceClient
    from azure.storage.blob.aio import ContainerClient
    from azure.storage.queue.aio import QueueClient


class Account:
    """`connection`: a connection string. Without one, `tables`, `queues` and `blobs` are addresses of the services, and `tokens` signs in.

    Clients share the connections of `http`, where it is given, and its certificates. They make no retries: the queue and the timers own
    those. Making one loads its SDK.
    """

    def __init__(
        self,
        connection: str = "",
        *,
        tables: str = "",
        queues: str = "",
        blobs: str = "",
        tokens: Tokens | None = None,
        http: AioHttp | None = None,
    ) -> None:
        self._connection = connection
        self._tables = tables
        self._queues = queues
        self._blobs = blobs
        self._tokens = tokens
        self._http = http

    @classmethod
    def of(cls, settings: Settings, tokens: Tokens, http: AioHttp) -> Self:
        return cls(
            settings.storage,
            tables=settings.storage_tables,
            queues=settings.storage_queues,
            blobs=settings.storage_blobs,
            tokens=tokens,
            # Whoever has the key of an account may reach it where he says: it is a machine of his own, most of the time.
            http=None if settings.storage else http,
        )

    def check(self) -> None:
        """Raises PermanentError, naming the settings, where an address is missing."""
        given = {"blob": self._blobs, "queue": self._queues, "table": self._tables}
        missing = [f"AzureWebJobsStorage__{name}ServiceUri" for name, address in given.items() if not address]
        if not self._connection and missing:
            raise PermanentError(
                "there is no storage: set AzureWebJobsStorage, or AzureWebJobsStorage__accountName, or all three of "
                f"AzureWebJobsStorage__blobServiceUri, __queueServiceUri and __tableServiceUri (missing: {', '.join(missing)})"
            )

    def _options(self) -> dict[str, Any]:
        return {"retry_total": 0} | ({"transport": self._http.transport()} if self._http else {})

    def tables(self) -> "TableServiceClient":
        with LOADING:
            from azure.data.tables.aio import TableServiceClient

        if self._connection:
            return TableServiceClient.from_connection_string(self._connection, **self._options())
        return TableServiceClient(self._tables, credential=self._signed_in(), **self._options())

    def queue(self, name: str) -> "QueueClient":
        """Written as the Functions host reads it."""
        with LOADING:
            from azure.storage.queue import TextBase64EncodePolicy
            from azure.storage.queue.aio import QueueClient

        options = self._options() | {"message_encode_policy": TextBase64EncodePolicy()}
        if self._connection:
            return QueueClient.from_connection_string(self._connection, name, **options)
        return QueueClient(self._queues, name, credential=self._signed_in(), **options)

    def container(self, name: str) -> "ContainerClient":
        with LOADING:
            from azure.storage.blob.aio import ContainerClient

        if self._connection:
            return ContainerClient.from_connection_string(self._connection, name, **self._options())
        return self._container_at(f"{self._blobs}/{name}")

    def container_at(self, url: str) -> "ContainerClient":
        """At an address. Where it is in this account and a connection string says its key, by that. PermanentError for a signature."""
        if urlsplit(url).query:  # a signature is a secret: it is not said
            raise PermanentError("SWITCHYARD_CONFIG: leave out what follows the '?': the app signs in by its identity")
        url = url.rstrip("/")
        if self._connection:
            ours = self.container(url.rpartition("/")[2])
            if ours.url == url:
                return ours
        return self._container_at(url)

    def _container_at(self, url: str) -> "ContainerClient":
        with LOADING:
            from azure.storage.blob.aio import ContainerClient

        return ContainerClient.from_container_url(url, credential=self._signed_in(), **self._options())

    def _signed_in(self) -> Tokens:
        assert self._tokens is not None, "an account without a connection string comes with tokens"
        return self._tokens

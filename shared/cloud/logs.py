"""Rows of queries in Log Analytics."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from shared.cloud.credentials import Tokens
from shared.cloud.failures import LOADING, Doing, one_line, translating
from shared.cloud.http import AioHttp
from shared.errors import PermanentError

if TYPE_CHECKING:
    from azure.monitor.query.aio import LogsQueryClient

_ROLE: Final = "the role 'Log Analytics Data Reader' on the workspace"
_SECONDS: Final = 180
"""How long a query may take: their own limit is ten minutes, and a function's is not much longer."""


def client(address: str, tokens: Tokens, http: AioHttp) -> "LogsQueryClient":
    """Of Log Analytics, over our own connections. Who asks is the one owner of retries."""
    with LOADING:
        from azure.monitor.query.aio import LogsQueryClient

    return LogsQueryClient(tokens, endpoint=address, transport=http.transport(), retry_total=0)


class LogAnalytics:
    """Implements `world.Logs`."""

    def __init__(self, address: str, tokens: Tokens, http: AioHttp) -> None:
        self._address = address
        self._tokens = tokens
        self._http = http
        self._made: LogsQueryClient | None = None

    @property
    def _client(self) -> "LogsQueryClient":
        if self._made is None:
            self._made = client(self._address, self._tokens, self._http)
        return self._made

    async def rows(self, workspace: str, query: str, span: tuple[datetime, datetime]) -> Sequence[Mapping[str, object]]:
        with LOADING:
            from azure.monitor.query import LogsQueryPartialResult

        doing = Doing(f"asking Log Analytics ({one_line(query)})", _ROLE)
        with translating(doing):
            client = self._client
            ask = client.query_resource if workspace.startswith("/") else client.query_workspace
            result = await ask(workspace, query, timespan=span, server_timeout=_SECONDS)
        if isinstance(result, LogsQueryPartialResult):  # a part of the truth would be taken for all of it
            raise PermanentError(
                f"{doing.what}: only a part came, so ask for fewer rows or a shorter window: {one_line(str(result.partial_error))}"
            )
        if not result.tables:
            return []
        table = result.tables[0]
        return [dict(zip(table.columns, row, strict=True)) for row in table.rows]

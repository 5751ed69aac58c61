"""Workspaces of Azure Machine Learning, as everybody here reaches them: one client of the SDK each, and their REST
endpoints beside it.
"""

import asyncio
import json
import logging
import os
import threading
import warnings
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import quote, urlsplit

from shared.cloud.credentials import Tokens
from shared.cloud.failures import LOADING, Doing, refusal, translating
from shared.errors import PermanentError
from shared.record import WorkspaceRef
from shared.settings import Settings
from shared.world import Http, Reply, Submitted

type Json = dict[str, Any]
"""A JSON object of theirs."""

ROLE: Final = "the role 'AzureML Data Scientist' on the workspace"

JOBS_API: Final = "2024-01-01-preview"
"""The version by which the SDK reads jobs, and writes pipelines."""

_WORKSPACE_API: Final = "2024-10-01-preview"
_THREADS: Final = 4
_CLOUD_VARIABLE: Final = "AZUREML_CURRENT_CLOUD"
_CLOUDS: Final = {
    "https://management.azure.com": ("AzureCloud", "https://ml.azure.com"),
    "https://management.usgovcloudapi.net": ("AzureUSGovernment", "https://ml.azure.us"),
    "https://management.chinacloudapi.cn": ("AzureChinaCloud", "https://ml.azure.cn"),
}
"""The clouds that the SDK knows, by resource manager: their names, and for whom tokens are that jobs run with."""


_PUBLIC: Final = "https://ml.azure.com"
"""For whom tokens are that endpoints take, in a cloud that is none of these: the SDK knows no other either."""


class Workspaces:
    """Every workspace that is asked for. Whoever uses an SDK call blocks one of a few threads, never the loop."""

    def __init__(self, settings: Settings, tokens: Tokens, http: Http) -> None:
        self.http = http
        self._tokens = tokens
        self._manager = settings.resource_manager
        known = _CLOUDS.get(self._manager)
        self._cloud, self._audience = known or (_cloud_name(self._manager), settings.studio)
        self._data = known[1] if known else _PUBLIC
        self._told: dict[str, Any] = {} if known else {"cloud_metadata": _cloud_metadata(settings)}
        self._clients: dict[WorkspaceRef, Any] = {}
        self._making = threading.Lock()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="azure-ml")
        self._hosts: dict[WorkspaceRef, str] = {}

    async def by_sdk[T](self, where: WorkspaceRef, doing: Doing, call: Callable[[Any], T]) -> T:
        """What `call` makes of the workspace's MLClient, in a thread."""

        def work() -> T:
            with translating(doing):
                return call(self._client(where))

        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def arm(
        self,
        method: str,
        where: WorkspaceRef,
        path: str,
        doing: Doing,
        body: Json | None = None,
        *,
        version: str = JOBS_API,
        on_behalf: bool = False,
    ) -> Json:
        """One request to the resource manager. `path`: below the workspace, with a query of its own where it has one.
        `on_behalf`: what is made runs with the rights of who asks for it.
        """
        headers = {}
        if on_behalf:
            headers["x-azureml-token"] = await self._tokens.token(f"{self._audience}/.default")
        joint = "&" if "?" in path else "?"
        url = f"{self._manager}{resource(where)}{path}{joint}api-version={version}"
        return await self._send(method, url, doing, body, headers)

    async def at(self, url: str, doing: Doing) -> Json:
        """What the resource manager itself named the address of: a next page, an operation."""
        if not url.startswith(f"{self._manager}/"):
            raise PermanentError(f"{doing.what}: what was named is elsewhere, and our token is not for there")
        return await self._send("GET", url, doing)

    async def all(self, where: WorkspaceRef, path: str, doing: Doing, *, version: str) -> AsyncGenerator[Json]:
        """The members of a collection, page after page."""
        page = await self.arm("GET", where, path, doing, version=version)
        while True:
            for one in page.get("value") or ():
                yield table(one)
            following = text(page.get("nextLink"))
            if following is None:
                return
            page = await self.at(following, doing)

    async def history(self, where: WorkspaceRef, path: str, doing: Doing) -> Json:
        """From the run history, or MLflow, of a workspace."""
        return await self._send("GET", f"{await self._host(where)}/{path}", doing)

    async def token(self) -> str:
        """For who asks an endpoint itself."""
        return await self._tokens.token(f"{self._data}/.default")

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        if os.environ.get(_CLOUD_VARIABLE) == self._cloud:  # noqa: TID251 (see _client)
            del os.environ[_CLOUD_VARIABLE]  # noqa: TID251

    async def _send(
        self, method: str, url: str, doing: Doing, body: Json | None = None, more: Mapping[str, str] | None = None
    ) -> Json:
        token = await self._tokens.token(f"{self._manager}/.default")
        headers = {"Authorization": f"Bearer {token}", **(more or {})}
        if body is not None:
            headers["Content-Type"] = "application/json"
        content = None if body is None else json.dumps(body).encode()
        return answer(await self.http.send(method, url, headers=headers, body=content), doing)

    async def _host(self, where: WorkspaceRef) -> str:
        """Where the run history and MLflow of a workspace are; it never moves."""
        if where not in self._hosts:
            doing = Doing(f"finding the endpoints of workspace {where.workspace}", ROLE)
            found = table((await self.arm("GET", where, "", doing, version=_WORKSPACE_API)).get("properties"))
            urls = answer(await self.http.send("GET", str(found.get("discoveryUrl"))), doing)
            self._hosts[where] = str(urls.get("api")).rstrip("/")
        return self._hosts[where]

    def _client(self, where: WorkspaceRef) -> Any:
        """The workspace's client. The SDK keeps its cloud in an environment variable and reads it again at every call."""
        _quiet()
        with self._making:
            if where not in self._clients:
                with LOADING:
                    from azure.ai.ml import MLClient

                _stay_out_of_git()
                self._clients[where] = MLClient(
                    self._tokens.credential,
                    where.subscription,
                    where.resource_group,
                    where.workspace,
                    enable_telemetry=False,
                    show_progress=False,
                    retry_total=0,  # the queue is the one owner of retries
                    cloud=self._cloud,
                    **self._told,
                )
            os.environ[_CLOUD_VARIABLE] = self._cloud  # noqa: TID251 (another client may have set its own)
            return self._clients[where]


def answer(reply: Reply, doing: Doing) -> Json:
    """The JSON object of a success; of anything else one of our errors."""
    try:
        said = json.loads(reply.body)
    except ValueError:
        said = {}
    if 200 <= reply.status < 300:  # noqa: PLR2004 (HTTP)
        return table(said)
    error = table(table(said).get("error") or said)
    # What is really the matter often stands in the details only.
    parts = [error, table(error.get("innerError")), *map(table, error.get("details") or ())]
    codes, messages = (list(filter(None, (text(one.get(key)) for one in parts))) for key in ("code", "message"))
    raise refusal(doing, reply.status, "; ".join(dict.fromkeys(messages)), reply.headers, " ".join(codes))


def submitted(name: str, body: Json, *, again: bool = False) -> Submitted:
    """From a job as the resource manager tells it."""
    properties = table(body.get("properties"))
    studio = table(table(properties.get("services")).get("Studio"))
    return Submitted(name, text(properties.get("status")) or "NotStarted", text(studio.get("endpoint")), again)


def resource(where: WorkspaceRef) -> str:
    """The ARM id of a workspace."""
    return (
        f"/subscriptions/{part(where.subscription)}/resourceGroups/{part(where.resource_group)}"
        f"/providers/Microsoft.MachineLearningServices/workspaces/{part(where.workspace)}"
    )


def part(name: str) -> str:
    """A name within a path."""
    return quote(name, safe="")


def table(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def text(value: object) -> str | None:
    """What there is, as text; the SDK's enumerations by their value."""
    plain = getattr(value, "value", value)
    return str(plain) if plain not in (None, "") else None


def _cloud_name(resource_manager: str) -> str:
    # The SDK never forgets a cloud that it was told, so the name carries the port.
    parts = urlsplit(resource_manager)
    return f"Switchyard-{parts.hostname}-{parts.port or 443}"


def _cloud_metadata(settings: Settings) -> Mapping[str, str]:
    return {
        "azure_portal": settings.resource_manager,
        "resource_manager": f"{settings.resource_manager}/",
        "active_directory": f"{settings.authority}/",
        "aml_resource_id": settings.studio,
        "storage_endpoint": "core.windows.net",
        "registry_discovery_endpoint": f"{settings.resource_manager}/",
    }


def _quiet() -> None:
    """The SDK's remarks about itself are nothing that our users could act on."""
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(marshmallow|azure\.ai\.ml)\b")
    for name in ("_telemetry", "_utils._experimental"):
        logging.getLogger(f"azure.ai.ml.{name}").setLevel(logging.CRITICAL)


def _stay_out_of_git() -> None:
    """The SDK stamps each job with the repository of the working folder, which is ours and not that of the training code:
    a false lineage, for five processes a job. It offers no way to decline.
    """
    from azure.ai.ml.operations import _job_operations

    _job_operations.get_git_properties = dict  # type: ignore[attr-defined]  # nothing public does it

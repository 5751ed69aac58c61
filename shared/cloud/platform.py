"""Azure Machine Learning: jobs by azure-ai-ml, what it cannot say by the workspace's own REST endpoints."""

import asyncio
import json
import logging
import math
import os
import re
import threading
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from shared.cloud.credentials import Tokens
from shared.cloud.failures import Doing, NotFoundError, one_line, refusal, translating
from shared.errors import PermanentError, TemporaryError
from shared.record import Job
from shared.settings import Settings
from shared.world import Http, PipelineJob, Reply, Submitted, WorkspaceRef

type Json = dict[str, Any]
"""A JSON object of theirs."""

_ROLE: Final = "the role 'AzureML Data Scientist' on the workspace"
_OURS: Final = "switchyard"
"""How the names of the tags begin by which we know our own jobs."""

_JOBS_API: Final = "2024-01-01-preview"
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

_COMPONENT: Final = re.compile(r"azureml:(?P<name>[^:@/]+):(?P<version>[^:@/]+)")
_ASSET: Final = re.compile(r"(azureml:|https?://|wasbs?://|abfss?://|adl://)\S+")
"""What an asset input may be: registered, or at an address. Never a local path: the SDK would upload the file."""

_LITERALS: Final = {"number", "integer", "boolean", "string"}
_SYSTEM: Final = re.compile(
    r"_?azureml\.|mlflow\.|(runsource|runtemplate|pipelinetype|processinfofile|contentsnapshotid)$", re.IGNORECASE
)
"""Properties of a job that the service writes itself."""

_TAKEN: Final = ("JobPropertyImmutable", "already exists")


class AzureML:
    """Implements `world.Platform`. `folder`: the configuration, in which pipelines are."""

    def __init__(self, settings: Settings, tokens: Tokens, http: Http, folder: Path) -> None:
        self._settings = settings
        self._tokens = tokens
        self._http = http
        self._folder = folder
        self._scope = f"{settings.resource_manager}/.default"
        known = _CLOUDS.get(settings.resource_manager)
        self._cloud, self._audience = known or (_cloud_name(settings.resource_manager), settings.studio)
        self._told: dict[str, Any] = {} if known else {"cloud_metadata": _cloud_metadata(settings)}
        self._clients: dict[WorkspaceRef, Any] = {}
        self._making = threading.Lock()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="azure-ml")
        self._hosts: dict[WorkspaceRef, str] = {}

    async def submit(self, where: WorkspaceRef, job: PipelineJob) -> Submitted:
        earlier = await self._earlier(where, job.name, job.tags)
        if earlier is not None:
            return earlier
        try:
            return await self._by_sdk(
                where, Doing(f"submitting job {job.name}", _ROLE), lambda ml: self._submit(ml, job)
            )
        except (PermanentError, TemporaryError) as error:
            # Somebody was faster than our look.
            if not any(sign in str(error) for sign in _TAKEN):
                raise
            taken = await self._earlier(where, job.name, job.tags)
            if taken is None:
                raise
            return taken

    async def resubmit(self, where: WorkspaceRef, run: str, name: str, tags: Mapping[str, str]) -> Submitted:
        earlier = await self._earlier(where, name, tags)
        if earlier is not None:
            return earlier
        # By the resource itself: what the SDK reads it cannot submit again, it would only patch the job that is there.
        doing = Doing(f"reading job {run}", _ROLE)
        properties = (await self._arm("GET", where, f"/jobs/{_part(run)}", doing)).get("properties")
        if not isinstance(properties, dict):
            raise PermanentError(f"run {run} is a step of a pipeline: resubmit the pipeline's own run")
        body = {"properties": _once_more(properties, run, tags)}
        doing = Doing(f"submitting job {run} once more as {name}", _ROLE)
        made = await self._arm("PUT", where, f"/jobs/{_part(name)}", doing, body)
        return _submitted(name, made)

    async def job(self, where: WorkspaceRef, run: str) -> Job:
        doing = Doing(f"looking up run {run}", _ROLE)
        details = await self._history(where, f"history/v1.0{_path(where)}/runs/{_part(run)}/details", doing)
        try:
            entity = await self._by_sdk(where, doing, lambda ml: ml.jobs.get(run))
        except NotFoundError:
            entity = None  # the run history knows runs that are no jobs: those of the first SDK, trials of a sweep
        error = _table(_table(details.get("error")).get("error"))
        started, ended = _text(details.get("startTimeUtc")), _text(details.get("endTimeUtc"))
        parent = _text(details.get("parentRunId"))
        compute = _text(getattr(entity, "compute", None)) or _text(details.get("target"))
        return Job(
            status=_text(getattr(entity, "status", None)) or _text(details.get("status")),
            name=_text(getattr(entity, "display_name", None)) or run,
            error=_text(error.get("message")),
            error_code=_text(error.get("code")),
            started=started,
            ended=ended,
            duration=_seconds(started, ended),
            compute=compute.rpartition("/")[2] if compute else None,
            studio_url=_text(getattr(entity, "studio_url", None)),
            is_child=parent is not None and parent != run,
            parent=parent if parent != run else None,
        )

    async def metrics(self, where: WorkspaceRef, run: str) -> dict[str, float]:
        doing = Doing(f"looking up the metrics of run {run}", _ROLE)
        place = f"mlflow/v2.0{_path(where)}/api/2.0/mlflow/runs/get?run_id={_part(run)}"
        logged = _table(_table((await self._history(where, place, doing)).get("run")).get("data")).get("metrics")
        rows = [row for row in logged if isinstance(row, dict)] if isinstance(logged, list) else []
        rows.sort(key=lambda row: (int(row.get("step") or 0), int(row.get("timestamp") or 0)))
        # Not a number is nothing that a rule could compare, nor JSON could keep.
        return {str(row["key"]): float(row["value"]) for row in rows if "key" in row and _finite(row.get("value"))}

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        if os.environ.get(_CLOUD_VARIABLE) == self._cloud:  # noqa: TID251 (see _client)
            del os.environ[_CLOUD_VARIABLE]  # noqa: TID251

    async def _earlier(self, where: WorkspaceRef, name: str, tags: Mapping[str, str]) -> Submitted | None:
        """The job of this name: ours from an earlier try, or None. PermanentError when somebody else's has it."""
        doing = Doing(f"looking for job {name}", _ROLE)
        try:
            found = await self._arm("GET", where, f"/jobs/{_part(name)}", doing)
        except NotFoundError:
            return None
        theirs = _table(_table(found.get("properties")).get("tags"))
        ours = {tag: value for tag, value in tags.items() if tag.startswith(_OURS)} or tags
        if any(theirs.get(tag) != value for tag, value in ours.items()):
            raise PermanentError(f"job {name} is there already, and is not ours: its tags do not name this cause")
        return _submitted(name, found, again=True)

    def _submit(self, ml: Any, job: PipelineJob) -> Submitted:
        entity = self._from_component(ml, job) if job.source.startswith("azureml:") else self._from_file(job)
        entity.name, entity.experiment_name = job.name, job.experiment
        entity.display_name = job.display_name or entity.display_name or job.name
        entity.tags = {**(entity.tags or {}), **job.tags}
        if job.compute:
            entity.settings.default_compute = job.compute.removeprefix("azureml:")
        made = ml.jobs.create_or_update(entity)
        return Submitted(job.name, _text(made.status) or "NotStarted", made.studio_url)

    def _from_file(self, job: PipelineJob) -> Any:
        from azure.ai.ml import load_job

        path = (self._folder / job.source).resolve()
        if not path.is_relative_to(self._folder.resolve()):
            raise PermanentError(f"pipeline {job.source!r} is outside of the configuration folder")
        if not path.is_file():
            raise PermanentError(f"there is no pipeline {job.source!r} in the configuration folder")
        try:
            entity: Any = load_job(path)
        except Exception as error:
            raise PermanentError(f"pipeline {job.source!r} can't be read: {one_line(str(error))}") from error
        if entity.type != "pipeline":
            raise PermanentError(f"{job.source!r} is a {entity.type} job, expected a pipeline")
        known = {name: getattr(given._data, "type", "literal") for name, given in entity.inputs.items()}  # noqa: SLF001 (no public way to the type)
        for name, value in _inputs(job, known).items():
            setattr(entity.inputs, name, value)  # by item the SDK can't
        return entity

    def _from_component(self, ml: Any, job: PipelineJob) -> Any:
        from azure.ai.ml import entities

        named = _COMPONENT.fullmatch(job.source)
        if named is None:
            raise PermanentError(f"{job.source!r} names no component, expected azureml:<name>:<version>")
        component = ml.components.get(named["name"], named["version"])
        known = {name: str(given.type) for name, given in component.inputs.items()}
        inputs = _inputs(job, known)
        node = component(**{name: f"${{{{parent.inputs.{name}}}}}" for name in inputs})
        # Serverless compute needs nothing set up; a job that names its own gets that.
        settings = entities.PipelineJobSettings(default_compute="serverless")
        return entities.PipelineJob(jobs={"run": node}, inputs=inputs, settings=settings)

    async def _by_sdk[T](self, where: WorkspaceRef, doing: Doing, call: Callable[[Any], T]) -> T:
        def work() -> T:
            with translating(doing):
                return call(self._client(where))

        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _client(self, where: WorkspaceRef) -> Any:
        """The workspace's client. The SDK keeps its cloud in an environment variable and reads it again at every call."""
        _quiet()
        with self._making:
            if where not in self._clients:
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

    async def _arm(self, method: str, where: WorkspaceRef, path: str, doing: Doing, body: Json | None = None) -> Json:
        version = _JOBS_API if path else _WORKSPACE_API
        url = f"{self._settings.resource_manager}{_path(where)}{path}?api-version={version}"
        headers = {"Authorization": f"Bearer {await self._tokens.token(self._scope)}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
            # Pipelines run on behalf of who submits them.
            headers["x-azureml-token"] = await self._tokens.token(f"{self._audience}/.default")
        content = None if body is None else json.dumps(body).encode()
        return _answer(await self._http.send(method, url, headers=headers, body=content), doing)

    async def _history(self, where: WorkspaceRef, path: str, doing: Doing) -> Json:
        host = await self._host(where)
        headers = {"Authorization": f"Bearer {await self._tokens.token(self._scope)}"}
        return _answer(await self._http.send("GET", f"{host}/{path}", headers=headers), doing)

    async def _host(self, where: WorkspaceRef) -> str:
        """Where the run history and MLflow of a workspace are; it never moves."""
        if where not in self._hosts:
            doing = Doing(f"finding the endpoints of workspace {where.workspace}", _ROLE)
            found = _table((await self._arm("GET", where, "", doing)).get("properties"))
            urls = _answer(await self._http.send("GET", str(found.get("discoveryUrl"))), doing)
            self._hosts[where] = str(urls.get("api")).rstrip("/")
        return self._hosts[where]


def _answer(reply: Reply, doing: Doing) -> Json:
    try:
        answer = json.loads(reply.body)
    except ValueError:
        answer = {}
    if 200 <= reply.status < 300 and isinstance(answer, dict):  # noqa: PLR2004 (HTTP)
        return answer
    said = _text(_table(_table(answer).get("error") or answer).get("message")) or ""
    raise refusal(doing, reply.status, said, reply.headers)


def _path(where: WorkspaceRef) -> str:
    return (
        f"/subscriptions/{_part(where.subscription)}/resourceGroups/{_part(where.resource_group)}"
        f"/providers/Microsoft.MachineLearningServices/workspaces/{_part(where.workspace)}"
    )


def _part(name: str) -> str:
    return quote(name, safe="")


def _submitted(name: str, body: Json, *, again: bool = False) -> Submitted:
    properties = _table(body.get("properties"))
    studio = _table(_table(properties.get("services")).get("Studio"))
    return Submitted(name, _text(properties.get("status")) or "NotStarted", _text(studio.get("endpoint")), again)


def _once_more(properties: Json, run: str, tags: Mapping[str, str]) -> Json:
    """A job as it was submitted, without what the service added."""
    again = {key: value for key, value in properties.items() if key not in {"status", "services", "parentJobName"}}
    again["properties"] = {
        key: value for key, value in _table(properties.get("properties")).items() if not _SYSTEM.match(key)
    }
    # An output that the service placed under the first run's name would be written over.
    again["outputs"] = {
        key: {part: at for part, at in output.items() if not (part == "uri" and run in str(at))}
        for key, output in _table(properties.get("outputs")).items()
        if isinstance(output, dict)
    }
    again["tags"] = {**_table(properties.get("tags")), **tags}
    return again


def _inputs(job: PipelineJob, known: Mapping[str, str]) -> dict[str, Any]:
    """The inputs as the SDK takes them, by the types that the pipeline declares."""
    from azure.ai.ml import Input

    problems: list[str] = []
    made: dict[str, Any] = {}
    for name, value in job.inputs.items():
        kind = known.get(name)
        if kind is None:
            problems.append(f"no input {name!r}; known: {', '.join(sorted(known)) or 'none'}")
        elif kind == "literal" or kind in _LITERALS:
            made[name] = value
        elif isinstance(value, str) and _ASSET.fullmatch(value):
            made[name] = Input(type=kind, path=value)
        else:
            problems.append(f"input {name!r} is {value!r}, expected a {kind} such as azureml:train-data:3")
    if problems:
        raise PermanentError(f"pipeline {job.source!r}: {'; '.join(problems)}")
    return made


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


def _table(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    """What there is, as text; the SDK's enumerations by their value."""
    plain = getattr(value, "value", value)
    return str(plain) if plain not in (None, "") else None


def _finite(value: object) -> bool:
    try:
        return math.isfinite(float(value))  # type: ignore[arg-type]  # whatever it is, the answer is no
    except (TypeError, ValueError):
        return False


def _seconds(started: str | None, ended: str | None) -> float | None:
    try:
        return (datetime.fromisoformat(ended or "") - datetime.fromisoformat(started or "")).total_seconds()
    except (ValueError, TypeError):
        return None

"""Azure Machine Learning: jobs by azure-ai-ml, what it cannot say by the workspace's own REST endpoints."""

import math
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from shared.cloud import monitors
from shared.cloud.azureml import ROLE, Json, Workspaces, part, resource, submitted, table, text
from shared.cloud.failures import Doing, one_line
from shared.errors import MissingError, PermanentError, TemporaryError
from shared.events import Drift
from shared.record import Job, WorkspaceRef
from shared.world import PipelineJob, Submitted

_SCHEDULES_API: Final = "2025-12-01"
"""Stable; an older one would drop what it does not know of a schedule."""

_OURS: Final = "switchyard"
"""How the names of the tags begin by which we know our own jobs."""

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

    def __init__(self, workspaces: Workspaces, folder: Path) -> None:
        self._workspaces = workspaces
        self._folder = folder

    async def submit(self, where: WorkspaceRef, job: PipelineJob) -> Submitted:
        earlier = await self._earlier(where, job.name, job.tags)
        if earlier is not None:
            return earlier
        try:
            return await self._workspaces.by_sdk(
                where, Doing(f"submitting job {job.name}", ROLE), lambda ml: self._submit(ml, job)
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
        doing = Doing(f"reading job {run}", ROLE)
        properties = (await self._workspaces.arm("GET", where, f"/jobs/{part(run)}", doing)).get("properties")
        if not isinstance(properties, dict):
            raise PermanentError(f"run {run} is a step of a pipeline: resubmit the pipeline's own run")
        body = {"properties": _once_more(properties, run, tags)}
        doing = Doing(f"submitting job {run} once more as {name}", ROLE)
        made = await self._workspaces.arm("PUT", where, f"/jobs/{part(name)}", doing, body, on_behalf=True)
        return submitted(name, made)

    async def job(self, where: WorkspaceRef, run: str) -> Job:
        doing = Doing(f"looking up run {run}", ROLE)
        try:
            entity = await self._workspaces.by_sdk(where, doing, lambda ml: ml.jobs.get(run))
        except MissingError:
            entity = None  # the run history knows runs that are no jobs: those of the first SDK, trials of a sweep
        # Afterwards: a run that has just ended would have no error and no end to it.
        details = await self._workspaces.history(
            where, f"history/v1.0{resource(where)}/runs/{part(run)}/details", doing
        )
        error = table(table(details.get("error")).get("error"))
        started, ended = text(details.get("startTimeUtc")), text(details.get("endTimeUtc"))
        parent = text(details.get("parentRunId"))
        compute = text(getattr(entity, "compute", None)) or text(details.get("target"))
        return Job(
            status=text(getattr(entity, "status", None)) or text(details.get("status")),
            name=text(getattr(entity, "display_name", None)) or run,
            error=text(error.get("message")),
            error_code=text(error.get("code")),
            started=started,
            ended=ended,
            duration=_seconds(started, ended),
            compute=compute.rpartition("/")[2] if compute else None,
            studio_url=text(getattr(entity, "studio_url", None)),
            is_child=parent is not None and parent != run,
            parent=parent if parent != run else None,
        )

    async def metrics(self, where: WorkspaceRef, run: str) -> dict[str, float]:
        doing = Doing(f"looking up the metrics of run {run}", ROLE)
        place = f"mlflow/v2.0{resource(where)}/api/2.0/mlflow/runs/get?run_id={part(run)}"
        logged = table(table((await self._workspaces.history(where, place, doing)).get("run")).get("data")).get(
            "metrics"
        )
        rows = [row for row in logged if isinstance(row, dict)] if isinstance(logged, list) else []
        rows.sort(key=lambda row: (int(row.get("step") or 0), int(row.get("timestamp") or 0)))
        # Not a number is nothing that a rule could compare, nor JSON could keep.
        return {str(row["key"]): float(row["value"]) for row in rows if "key" in row and _finite(row.get("value"))}

    async def schedule(self, where: WorkspaceRef, name: str, *, enabled: bool) -> bool:
        # By the resource itself: the SDK makes its own object of a schedule, and writes back what it knows of it.
        doing = Doing(f"{'enabling' if enabled else 'disabling'} schedule {name}", ROLE)
        path = f"/schedules/{part(name)}"
        found = await self._workspaces.arm("GET", where, path, doing, version=_SCHEDULES_API)
        properties = dict(table(found.get("properties")))
        state = properties.pop("provisioningState", None)
        before = bool(properties.get("isEnabled"))
        if state in {"Creating", "Updating"}:
            raise TemporaryError(f"{doing.what}: another operation is under way, the schedule is {state}")
        if before != enabled:
            body = {"properties": properties | {"isEnabled": enabled}}
            await self._workspaces.arm("PUT", where, path, doing, body, version=_SCHEDULES_API)
        return before

    async def drift(self, where: WorkspaceRef, run: str) -> Drift:
        doing = Doing(f"looking up the drift of run {run}", ROLE)

        async def ask(name: str, what: str) -> Json:
            return await self._workspaces.history(
                where, f"history/v1.0{resource(where)}/runs/{part(name)}/{what}", doing
            )

        async def metrics(name: str) -> dict[str, float]:
            return await self.metrics(where, name)

        return await monitors.found(run, ask, metrics)

    async def _earlier(self, where: WorkspaceRef, name: str, tags: Mapping[str, str]) -> Submitted | None:
        """The job of this name: ours from an earlier try, or None. PermanentError when somebody else's has it."""
        doing = Doing(f"looking for job {name}", ROLE)
        try:
            found = await self._workspaces.arm("GET", where, f"/jobs/{part(name)}", doing)
        except MissingError:
            return None
        theirs = table(table(found.get("properties")).get("tags"))
        ours = {tag: value for tag, value in tags.items() if tag.startswith(_OURS)} or tags
        if any(theirs.get(tag) != value for tag, value in ours.items()):
            raise PermanentError(f"job {name} is there already, and is not ours: its tags do not name this cause")
        return submitted(name, found, again=True)

    def _submit(self, ml: Any, job: PipelineJob) -> Submitted:
        entity = self._from_component(ml, job) if job.source.startswith("azureml:") else self._from_file(job)
        entity.name, entity.experiment_name = job.name, job.experiment
        entity.display_name = job.display_name or entity.display_name or job.name
        entity.tags = {**(entity.tags or {}), **job.tags}
        if job.compute:
            entity.settings.default_compute = job.compute.removeprefix("azureml:")
        made = ml.jobs.create_or_update(entity)
        return Submitted(job.name, text(made.status) or "NotStarted", made.studio_url)

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


def _once_more(properties: Json, run: str, tags: Mapping[str, str]) -> Json:
    """A job as it was submitted, without what the service added."""
    again = {key: value for key, value in properties.items() if key not in {"status", "services", "parentJobName"}}
    again["properties"] = {
        key: value for key, value in table(properties.get("properties")).items() if not _SYSTEM.match(key)
    }
    # An output that the service placed under the first run's name would be written over.
    again["outputs"] = {
        key: {name: at for name, at in output.items() if not (name == "uri" and run in str(at))}
        for key, output in table(properties.get("outputs")).items()
        if isinstance(output, dict)
    }
    again["tags"] = {**table(properties.get("tags")), **tags}
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

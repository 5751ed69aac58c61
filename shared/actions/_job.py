"""Jobs of Azure Machine Learning that were started: how they are found again, and how they stand."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from shared.actions._text import middle, plain
from shared.errors import PermanentError
from shared.record import Job, Progress, State, WorkspaceRef
from shared.world import World

_STATES: Final[Mapping[str | None, State]] = {
    "NotStarted": "queued",
    "Queued": "queued",
    "Starting": "queued",
    "Provisioning": "queued",
    "Completed": "succeeded",
    "Failed": "failed",
    "Canceled": "canceled",
}
"""What is not named here goes on; also where nobody knows its state, which is no end."""

_WORDS: Final[Mapping[State, str]] = {"succeeded": "completed", "canceled": "was canceled", "failed": "failed"}


def followed(where: WorkspaceRef, job: str, experiment: str = "", about: str = "") -> dict[str, object]:
    """By which the job is found again, and an event about it finds us."""
    place = {
        "subscription": where.subscription,
        "resource_group": where.resource_group,
        "workspace": where.workspace,
    }
    return {"job": job, **place, **({"experiment": experiment} if experiment else {}), "about": about or f"job {job}"}


async def look(handle: Mapping[str, object], began: datetime, world: World) -> Progress:
    """How the job stands; once it has completed, with its metrics."""
    del began
    where = WorkspaceRef(*(str(handle[name]) for name in ("subscription", "resource_group", "workspace")))
    name = str(handle["job"])
    job = await world.platform.job(where, name)
    state = _STATES.get(job.status, "running")
    values: dict[str, object] = {"job": name, "workspace": where.workspace}
    values |= {key: value for key, value in _details(job).items() if value is not None}
    if state == "succeeded" and (metrics := await _metrics(world, where, name)):
        values["metrics"] = metrics
    said = f"job {name} {_WORDS.get(state) or f'is {job.status or "in a state that nobody knows"}'}"
    if state == "failed" and job.error:
        said = f"{said}: {middle(plain(job.error), 700)}"
    ended = datetime.fromisoformat(job.ended) if job.ended and state in _WORDS else None
    return Progress(state, said, job.studio_url, values, ended=ended)


def _details(job: Job) -> dict[str, object]:
    return {
        "status": job.status,
        "duration": job.duration,
        "compute": job.compute,
        "error": middle(plain(job.error), 1500) if job.error else None,
        "error_code": job.error_code,
    }


async def _metrics(world: World, where: WorkspaceRef, name: str) -> dict[str, float]:
    try:
        return await world.platform.metrics(where, name)
    except PermanentError:
        return {}  # its end is told all the same

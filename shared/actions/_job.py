"""Jobs of Azure Machine Learning that were started: how they are found again, and how they stand."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from shared.record import Progress, State, WorkspaceRef
from shared.world import World

_STATES: Final[Mapping[str, State]] = {
    "NotStarted": "queued",
    "Queued": "queued",
    "Completed": "succeeded",
    "Failed": "failed",
    "NotResponding": "failed",
    "Canceled": "canceled",
}
"""Whatever else a status is, the job is at it."""


def followed(where: WorkspaceRef, job: str) -> dict[str, object]:
    """The handle of a job; the events of its run end it at once."""
    return {
        "job": job,
        "subscription": where.subscription,
        "resource_group": where.resource_group,
        "workspace": where.workspace,
    }


async def look(handle: Mapping[str, object], started: datetime, world: World) -> Progress:
    """How a job stands. Raises MissingError where there is none."""
    del started
    name, workspace = str(handle["job"]), str(handle["workspace"])
    where = WorkspaceRef(str(handle["subscription"]), str(handle["resource_group"]), workspace)
    job = await world.platform.job(where, name)
    status = job.status or "unknown"
    why = f": {job.error}" if job.error else ""
    values: dict[str, object] = {"job": name, "workspace": workspace, "status": status}
    values |= {} if job.duration is None else {"duration": job.duration}
    said = f"job {name} in workspace {workspace} is {status}{why}"
    return Progress(_STATES.get(status, "running"), said, job.studio_url, values)

"""Run a pipeline of Synapse. A run has no key of ours, so that none is started blindly a second time."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final
from urllib.parse import quote, urlsplit

from pydantic import Field

from shared.actions import Action, Context
from shared.actions import _pipelines as pipelines
from shared.errors import PermanentError
from shared.record import Progress, Result
from shared.world import World

_NAME: Final = re.compile(r"[a-z0-9-]{1,50}")
_VERSION: Final = "2020-12-01"
_PUBLIC: Final = "https://dev.azuresynapse.net"
_STUDIO: Final = "https://web.azuresynapse.net"


class Synapse(pipelines.Pipeline):
    workspace: str = Field(pattern=r"^([a-z0-9-]{1,50}|.*\{\{.*)$", description="A Synapse workspace.")
    resource_group: str | None = Field(default=None, min_length=1, description="With `subscription`, for the link.")
    subscription: str | None = Field(default=None, min_length=1)


async def run(params: Synapse, context: Context) -> Result:
    handle: dict[str, object] = {"synapse": params.workspace}
    if params.subscription and params.resource_group:
        handle |= {"subscription": params.subscription, "resource_group": params.resource_group}
    door = _door(handle, context.world)
    begun = await pipelines.start(door, params, context)
    handle |= {"run": begun[0], "about": f"pipeline {params.pipeline} of {door.what}"}
    done = pipelines.result(door, params, context, begun, _link(handle))
    return Result(done.said, done.link, done.values, done.maybe_twice, handle)


async def look(handle: Mapping[str, object], started: datetime, world: World) -> Progress:
    del started
    return await pipelines.look(_door(handle, world), str(handle["run"]), world, _link(handle))


def _door(handle: Mapping[str, object], world: World) -> pipelines.Door:
    name = str(handle["synapse"])
    if not _NAME.fullmatch(name):  # a value of the event may hold {{ itself
        raise PermanentError(f"{name!r} is no name of a Synapse workspace: expected small letters, digits and -")
    base = world.azure.synapse(name)
    host = urlsplit(base).hostname or ""
    return pipelines.Door(
        base=base,
        version=_VERSION,
        # In a sovereign cloud the token is for the suffix of that cloud.
        scope=f"{f'https://{host[len(name) + 1 :]}' if host.startswith(f'{name}.dev.') else _PUBLIC}/.default",
        what=f"Synapse workspace {name}",
        role="the Synapse RBAC role 'Synapse Credential User' and 'Synapse Compute Operator' in the workspace",
    )


def _link(handle: Mapping[str, object]) -> str | None:
    """The studio asks for the whole id of the workspace."""
    if "subscription" not in handle:
        return None
    path = (
        f"/subscriptions/{handle['subscription']}/resourceGroups/{handle['resource_group']}"
        f"/providers/Microsoft.Synapse/workspaces/{handle['synapse']}"
    )
    return f"{_STUDIO}/en/monitoring/pipelineruns/{handle['run']}?workspace={quote(path, safe='')}"


ACTION = Action(
    example=Synapse(
        workspace="contoso-lake",
        pipeline="prepare-churn",
        parameters={"path": "{{ event.blob.url }}"},
        correlation_parameter="correlation",
    ),
    run=run,
    idempotent=False,
    summary="Runs a pipeline of Synapse, and follows it.",
    look=look,
)

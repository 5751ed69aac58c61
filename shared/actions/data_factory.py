"""Run a pipeline of Data Factory. A run has no key of ours, so that none is started blindly a second time."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from urllib.parse import quote

from pydantic import Field

from shared.actions import Action, Context
from shared.actions import _pipelines as pipelines
from shared.errors import PermanentError
from shared.record import Progress, Result
from shared.world import World

_VERSION: Final = "2018-06-01"
_STUDIOS: Final = {
    "https://management.usgovcloudapi.net": "https://adf.azure.us",
    "https://management.chinacloudapi.cn": "https://adf.azure.cn",
}
_STUDIO: Final = "https://adf.azure.com"


class DataFactory(pipelines.Pipeline):
    factory: str = Field(min_length=1)
    resource_group: str | None = Field(default=None, min_length=1, description="Left out, the event's own.")
    subscription: str | None = Field(default=None, min_length=1, description="Left out, the event's own.")


async def run(params: DataFactory, context: Context) -> Result:
    subscription = params.subscription or context.event.subscription
    group = params.resource_group or context.event.resource_group
    if not (subscription and group):
        raise PermanentError(
            f"where factory {params.factory} is nobody says: the event's source {context.event.source!r} names no "
            "subscription and resource group, so give the action its `subscription` and `resource_group`"
        )
    handle: dict[str, object] = {"subscription": subscription, "resource_group": group, "factory": params.factory}
    door = _door(handle, context.world)
    begun = await pipelines.start(door, params, context)
    handle |= {"run": begun[0], "about": f"pipeline {params.pipeline} of {door.what}"}
    done = pipelines.result(door, params, context, begun, _link(handle, context.world))
    return Result(done.said, done.link, done.values, done.maybe_twice, handle)


async def look(handle: Mapping[str, object], started: datetime, world: World) -> Progress:
    del started
    return await pipelines.look(_door(handle, world), str(handle["run"]), world, _link(handle, world))


def _path(handle: Mapping[str, object]) -> str:
    subscription, group, factory = (
        quote(str(handle[name]), safe="") for name in ("subscription", "resource_group", "factory")
    )
    return f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.DataFactory/factories/{factory}"


def _door(handle: Mapping[str, object], world: World) -> pipelines.Door:
    return pipelines.Door(
        base=f"{world.azure.manager}{_path(handle)}",
        version=_VERSION,
        scope=f"{world.azure.manager}/.default",
        what=f"Data Factory {handle['factory']}",
        role="the role 'Data Factory Contributor' on the factory",
    )


def _link(handle: Mapping[str, object], world: World) -> str:
    studio = _STUDIOS.get(world.azure.manager, _STUDIO)
    return f"{studio}/en/monitoring/pipelineruns/{handle['run']}?factory={quote(_path(handle), safe='')}"


ACTION = Action(
    example=DataFactory(
        factory="contoso-data",
        pipeline="prepare-churn",
        parameters={"path": "{{ event.blob.url }}"},
        correlation_parameter="correlation",
    ),
    run=run,
    idempotent=False,
    summary="Runs a pipeline of Data Factory, and follows it.",
    look=look,
)

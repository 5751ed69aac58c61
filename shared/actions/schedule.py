"""Enable or disable a schedule of Azure Machine Learning. Enabled already is enabled."""

from pydantic import Field

from shared.actions import Action, Context, Params
from shared.actions._place import Place, where
from shared.record import Result


class Schedule(Params):
    name: str = Field(min_length=1)
    enabled: bool
    workspace: Place | None = Field(default=None, description="Where it is; left out, where the event came from.")


async def run(params: Schedule, context: Context) -> Result:
    place, word = where(params.workspace, context.event), "enabled" if params.enabled else "disabled"
    before = await context.world.platform.schedule(place, params.name, enabled=params.enabled)
    of = f"schedule {params.name} in workspace {place.workspace}"
    values: dict[str, object] = {"schedule": params.name, "enabled": params.enabled, "before": before}
    if before != params.enabled:
        return Result(f"{word} {of}", values=values)
    return Result(f"{of} was {word} {'by an earlier try' if context.again else 'already'}", values=values)


ACTION = Action(
    example=Schedule(name="churn-monitor", enabled=False),
    run=run,
    idempotent=True,
    summary="Enables or disables a schedule of Azure Machine Learning.",
)

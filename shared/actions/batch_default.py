"""Switch the default deployment of a batch endpoint. Switched already is switched."""

from pydantic import Field

from shared.actions import Action, Context, Params
from shared.actions._place import Place, where
from shared.errors import MissingError
from shared.record import Result
from shared.world import EndpointRef


class BatchDefault(Params):
    endpoint: str = Field(min_length=1)
    deployment: str = Field(min_length=1, description="The one that answers from now on where none is asked for.")
    workspace: Place | None = Field(default=None, description="Where it is; left out, where the event came from.")


async def run(params: BatchDefault, context: Context) -> Result:
    place, serving = where(params.workspace, context.event), context.world.serving
    endpoint = EndpointRef(place, params.endpoint, "batch")
    of = f"batch endpoint {params.endpoint} in workspace {place.workspace}"
    state = await serving.endpoint(endpoint)
    if state is None:
        raise MissingError(f"there is no {of}")
    if state.deployment(params.deployment) is None:
        known = ", ".join(one.name for one in state.deployments) or "none"
        raise MissingError(f"{of} has no deployment {params.deployment}; it has: {known}")
    moved = await serving.move(endpoint, {params.deployment: 100}, {}, None)
    values: dict[str, object] = {"endpoint": params.endpoint, "deployment": params.deployment}
    if moved.outcome == "already":
        said = "was made so by an earlier try" if context.again else "was so already"
        return Result(f"the default of {of} is {params.deployment}, and {said}", values=values)
    before = next(iter(moved.traffic), None)
    values |= {"before": before}
    return Result(
        f"switched the default of {of} to {params.deployment}; before, it was {before or 'none'}", values=values
    )


ACTION = Action(
    example=BatchDefault(endpoint="churn-scores", deployment="green"),
    run=run,
    idempotent=True,
    summary="Switches the default deployment of a batch endpoint.",
)

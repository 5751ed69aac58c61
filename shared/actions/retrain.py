"""Submit a pipeline job. Its name is made from the key, so that submitting twice is submitting once."""

from pydantic import Field

from shared.actions import Action, Context, Params, _job
from shared.actions._place import Place, where
from shared.actions._text import clip, name_of
from shared.record import Result
from shared.world import PipelineJob

type Input = str | bool | int | float


class Retrain(Params):
    source: str = Field(
        min_length=1, description="A pipeline YAML in the configuration folder, or azureml:<component>:<version>."
    )
    experiment: str = Field(min_length=1)
    workspace: Place | None = Field(default=None, description="Where to run; left out, where the event came from.")
    inputs: dict[str, Input] = Field(default={})
    tags: dict[str, Input] = Field(default={})
    compute: str | None = None
    display_name: str | None = None


async def run(params: Retrain, context: Context) -> Result:
    place = where(params.workspace, context.event)
    # Event Grid can't filter by a name with a dot in it, and a loop is broken by filtering on these.
    tags = {name: str(value) for name, value in params.tags.items()}
    cause = {name.replace(".", "_"): clip(value, 256) for name, value in context.cause.items()}
    job = PipelineJob(
        name=name_of(context.key),
        source=params.source,
        experiment=params.experiment,
        inputs=params.inputs,
        tags=tags | cause,
        display_name=params.display_name,
        compute=params.compute,
    )
    done = await context.world.platform.submit(place, job)
    said = f"job {done.name} in workspace {place.workspace}"
    said = f"{said} was submitted by an earlier try" if done.again else f"submitted {said}"
    values: dict[str, object] = {"job": done.name, "workspace": place.workspace, "status": done.status}
    about = params.display_name or f"{params.experiment} in workspace {place.workspace}"
    return Result(said, done.studio_url, values, follow=_job.followed(place, done.name, params.experiment, about))


ACTION = Action(
    example=Retrain(
        source="azureml:fraud_train:3",
        experiment="fraud-weekly",
        inputs={"training_data": "azureml:transactions:12", "drift": "{{ event.drift.coefficient }}"},
        tags={"team": "fraud"},
        display_name="Retraining after drift of {{ event.drift.monitor }}",
    ),
    run=run,
    idempotent=True,
    summary="Submits an Azure ML pipeline job, with inputs and tags taken from the event.",
    look=_job.look,
)

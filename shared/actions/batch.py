"""Invoke a batch endpoint. Its job is named by the key, so that invoking twice is invoking once."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from shared.actions import Action, Context, Params
from shared.actions._job import followed, look
from shared.actions._place import Place, where
from shared.actions._text import TWICE, clip, name_of
from shared.record import Result
from shared.world import DATA, Data, EndpointRef, Invocation


def _address(path: str) -> str:
    if "{{" not in path and not DATA.fullmatch(path):
        raise ValueError(
            f"{path!r} is no data: expected azureml:NAME:VERSION, a path on a datastore such as "
            "azureml://datastores/NAME/paths/PATH, or the https address of a blob or folder"
        )
    return path


_Address = Annotated[str, AfterValidator(_address)]
_Kind = Literal["uri_folder", "uri_file", "mltable"]


class BatchInput(Params):
    """An input: `path` of data, or `value`, a number, a boolean or a text."""

    type: _Kind = "uri_folder"
    path: _Address | None = Field(default=None, description="azureml:NAME:VERSION, or an address.")
    value: str | bool | int | float | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.path is None) == (self.value is None):
            raise ValueError("give either `path` (with its `type`) or `value`")
        return self


def _told(given: object) -> object:
    """Most inputs need no more than what they are."""
    if isinstance(given, str) and DATA.fullmatch(given):
        return {"path": given}
    return {"value": given} if isinstance(given, str | int | float) else given


_Input = Annotated[BatchInput, BeforeValidator(_told, json_schema_input_type=str | bool | int | float | BatchInput)]


class BatchOutput(Params):
    """Where an output goes."""

    type: _Kind = "uri_folder"
    path: _Address = Field(description="A path on a datastore: azureml://datastores/NAME/paths/PATH.")


class Batch(Params):
    endpoint: str = Field(min_length=1)
    inputs: dict[str, _Input] = Field(
        default={},
        description="A registered asset (azureml:NAME:VERSION) or an address is a folder with data, another text, a "
        "number or a boolean is itself; {type: uri_file, path: …} is a file, {value: …} what it says.",
    )
    outputs: dict[str, BatchOutput] = Field(default={}, description="Left out, where the deployment puts them.")
    deployment: str | None = Field(default=None, min_length=1, description="Left out, the endpoint's default.")
    experiment: str | None = Field(default=None, min_length=1, description="Left out, named as the endpoint is.")
    workspace: Place | None = Field(default=None, description="Where it is; left out, where the event came from.")


async def run(params: Batch, context: Context) -> Result:
    place = where(params.workspace, context.event)
    invocation = Invocation(
        name=name_of(context.key),
        deployment=params.deployment,
        inputs={name: _input(value) for name, value in params.inputs.items()},
        outputs={name: Data(one.type, one.path) for name, one in params.outputs.items()},
        experiment=params.experiment,
        properties={name: clip(value, 256) for name, value in context.cause.items()},
    )
    done = await context.world.serving.invoke(EndpointRef(place, params.endpoint, "batch"), invocation)
    of = f"batch endpoint {params.endpoint} in workspace {place.workspace}"
    said = f"{of} was invoked by an earlier try, as job {done.name}" if done.again else f"invoked {of}: job {done.name}"
    values: dict[str, object] = {"job": done.name, "workspace": place.workspace, "endpoint": params.endpoint}
    # A service that names the job itself did not take our key: an earlier try's job can't be found.
    doubt = True if context.again and done.name != invocation.name else None
    said = f"{said}; {TWICE}" if doubt else said
    return Result(said, done.studio_url, values, doubt, followed(place, done.name, params.experiment or "", of))


def _input(given: BatchInput) -> Data | str | bool | float:
    if given.path is not None:
        return Data(given.type, given.path)
    assert given.value is not None
    return given.value


ACTION = Action(
    example=Batch(
        endpoint="churn-scores",
        inputs={"data": BatchInput(type="uri_file", path="{{ event.blob.url }}")},
    ),
    run=run,
    idempotent=True,
    summary="Invokes a batch endpoint with data or values, and follows its job.",
    look=look,
)

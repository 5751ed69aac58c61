"""Put tags on a model version. Azure ML has no way to change some tags only, so what was written is read back."""

from typing import Self

from pydantic import Field, model_validator

from shared.actions import Action, Context, Params
from shared.actions._place import Place, where
from shared.errors import MissingError, PermanentError, TemporaryError
from shared.record import Result


class TagModel(Params):
    tags: dict[str, str | bool | int | float] = Field(min_length=1)
    model: str | None = Field(default=None, min_length=1, description="With `version`; left out, the event's own.")
    version: str | None = Field(default=None, min_length=1)
    workspace: Place | None = Field(default=None, description="Where it is; left out, where the event came from.")

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.model is None) != (self.version is None):
            raise ValueError("`model` and `version` go together")
        return self


async def run(params: TagModel, context: Context) -> Result:
    place, serving, event = where(params.workspace, context.event), context.world.serving, context.event
    model, version = params.model, params.version
    if model is None or version is None:
        if event.model is None or not event.model.version:
            raise PermanentError(
                f"the {event.type} event names no model version: give the action its `model` and `version`"
            )
        model, version = event.model.name, event.model.version
    tags = {name: _text(value) for name, value in params.tags.items()}
    of = f"model {model}:{version} in workspace {place.workspace}"
    before = await serving.origin(place, model, version)
    if before is None:
        raise MissingError(f"there is no {of}")
    changed = {name: value for name, value in tags.items() if before.tags.get(name) != value}
    values: dict[str, object] = {"model": f"{model}:{version}", "tags": tags}
    if not changed:
        said = "were put there by an earlier try" if context.again else "were there already"
        return Result(f"the tags of {of} {said}", values=values)
    await serving.tag(place, model, version, tags)
    after = await serving.origin(place, model, version)
    lost = sorted(name for name, value in tags.items() if after is None or after.tags.get(name) != value)
    if lost:  # the whole version was written, by us and by somebody else
        raise TemporaryError(f"tagging {of}: {', '.join(lost)} cannot be seen; somebody else wrote at the same time")
    told = ", ".join(
        f"{name}={value}{f' (was {before.tags[name]})' if name in before.tags else ''}"
        for name, value in changed.items()
    )
    return Result(f"tagged {of}: {told}", values=values)


def _text(value: str | bool | float) -> str:  # noqa: FBT001 (a tag's value, not a switch)
    return str(value).lower() if isinstance(value, bool) else str(value)


ACTION = Action(
    example=TagModel(tags={"stage": "candidate", "drift": "{{ event.drift.coefficient }}"}),
    run=run,
    idempotent=True,
    summary="Puts tags on a model version.",
)

"""Submit a failed run once more, as it was. For failures that are the platform's: a preempted node, a quota."""

from typing import Final

from pydantic import Field

from shared.actions import Action, Context, Params, _job
from shared.actions._text import name_of, place_of
from shared.errors import PermanentError
from shared.record import Result

ROOT_TAG: Final = "switchyard_resubmits"
"""On every resubmission: the run that it all began with, so that all of its resubmissions count together."""


class Resubmit(Params):
    limit: int = Field(
        default=2, ge=1, le=10, description="Resubmissions of one run, those of its resubmissions included."
    )


async def run(params: Resubmit, context: Context) -> Result:
    event = context.event
    if event.run is None:
        raise PermanentError(f"a {event.type} event has no run to submit again")
    where, failed = place_of(event), event.run.id
    root = str(event.tags.get(ROOT_TAG) or failed)
    count = f"resubmit/{where.subscription}/{where.workspace}/{root}".casefold()
    if not await context.world.store.count(count, params.limit, context.key):
        times = "once" if params.limit == 1 else f"{params.limit} times"
        raise PermanentError(
            f"held: run {root} was resubmitted {times} already, which is the limit; a person should look"
        )
    tags = {name.replace(".", "_"): value for name, value in context.cause.items()} | {ROOT_TAG: root}
    done = await context.world.platform.resubmit(where, failed, name_of(context.key), tags)
    said = f"run {failed} was resubmitted as {done.name}{' by an earlier try' if done.again else ''}"
    follow = _job.followed(where, done.name, event.run.experiment or "", f"resubmission of {failed}")
    return Result(said, done.studio_url, {"job": done.name, "root": root, "status": done.status}, follow=follow)


ACTION = Action(
    example=Resubmit(limit=2),
    run=run,
    idempotent=True,
    summary="Submits the event's failed run again as it was, up to a limit.",
    look=_job.look,
)

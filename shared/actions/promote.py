"""Begin a rollout of a model by a policy. Its id is made from the key, so that beginning twice is beginning once."""

from pydantic import Field

from shared import book, wire
from shared.actions import Action, Context, Params
from shared.actions._text import clip, place_of
from shared.errors import PermanentError
from shared.record import Result
from shared.rollout.names import deployment_name, rollout_id
from shared.rollout.record import SCRIPT, Rollout, Trigger


class Promote(Params):
    policy: str = Field(min_length=1, description="A file of rollouts/, without .yaml.")
    model: str = Field(default="", description="Left out, the event's.")
    version: str = Field(default="", description="Left out, the event's.")
    endpoint: str = Field(default="", description="Left out, the policy's.")


async def run(params: Promote, context: Context) -> Result:
    policy = context.policies.get(params.policy)
    if policy is None:
        known = ", ".join(sorted(context.policies)) or "none"
        raise PermanentError(f"there is no rollout policy {params.policy!r} in force; known: {known}")
    event = context.event
    model = params.model or (event.model.name if event.model else "")
    version = params.version or (event.model.version if event.model else "")
    if not (model and version):
        raise PermanentError(f"the event {event.type} names no model version: give the step its `model` and `version`")
    where = policy.workspace or place_of(event)
    rollout = Rollout(
        id=rollout_id(policy.name, model, version, context.key),
        policy=policy,
        where=where,
        endpoint=params.endpoint or policy.endpoint,
        model=model,
        version=version,
        deployment=deployment_name(model, version, context.key),
        at=context.world.clock(),
        config=context.config,
        event=event.record,
        trigger=Trigger(event.id, event.type, event.time, event.subject, event.source),
        rule=context.cause["switchyard_rule"],
        tags={name: clip(value, 256) for name, value in context.cause.items()},
        script=SCRIPT,
    )
    kept = await book.begin(context.world.shelf, rollout)
    await context.world.rollouts.put([wire.dump(wire.Advance(kept.id))])
    said = f"rollout of {kept.model}:{kept.version} to {kept.endpoint} by policy {policy.name}"
    values: dict[str, object] = {"rollout": kept.id, "endpoint": kept.endpoint, "workspace": where.workspace}
    return Result(f"began the {said}" if kept == rollout else f"the {said} was begun by an earlier try", None, values)


ACTION = Action(
    example=Promote(policy="fraud-online"),
    run=run,
    idempotent=True,
    summary="Begins a controlled rollout of a registered model, by a policy of `rollouts/`.",
)

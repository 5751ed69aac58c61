"""The end of waiting for an event that should have come: an absence rule's own action, when its time is over.

Nobody writes it: `expect` in a rule is made of it. The event that it raises has an id made from the key, so that raising it
twice is raising it once.
"""

from datetime import datetime
from typing import Final

import msgspec
from pydantic import Field

from shared import wire
from shared.actions import Action, Context, Params
from shared.actions.arrived import mark
from shared.events import OWN, Event
from shared.record import Result
from shared.rollout.hours import written

KIND: Final = "ExpectedEventMissing"


class Expect(Params):
    rule: str
    expected: list[str] = Field(default=[])
    within: float = 0.0
    by: list[str] = Field(default=[])


async def run(params: Expect, context: Context) -> Result:
    world, event = context.world, context.event
    awaited = " or ".join(params.expected)
    for key in context.keys or ("[]",):
        text = await world.shelf.get(*mark(params.rule, key))
        if text is not None and met(params, event, text):
            return Result(f"{awaited} came in time, at {text}", None, {"arrived": text})
    missed = missing(params, context.key, event, world.clock())
    await world.queue.put(wire.pack(wire.Arrived(missed, world.clock())))
    return Result(f"{awaited} did not come within {written(params.within)}: raised {KIND}", None, {"missing": True})


def met(params: Expect, event: Event, newest: str) -> bool:
    """Whether the newest of what was expected, by its time, came after the event; one that is itself expected does not
    meet its own expectation.
    """
    since = event.time.isoformat()
    return newest > since if event.type in params.expected else newest >= since


def missing(params: Expect, key: str, event: Event, now: datetime) -> Event:
    """What is raised: an event about the one that it was to follow."""
    data: dict[str, object] = {
        "rule": params.rule,
        "expected": " or ".join(params.expected),
        "after": event.type,
        "within": written(params.within),
        "by": params.by,
        "record": event.record,
        "subject": event.subject,
    }
    return msgspec.structs.replace(
        event,
        id=f"{key}-missing",
        type=KIND,
        raw_type=f"{OWN}{KIND}",
        time=now,
        data=data,
        endpoint=None,
        drift=None,
        blob=None,
    )


ACTION = Action(
    example=Expect(rule="model-not-deployed", expected=["ModelDeployed"], within=7200.0, by=["model.name"]),
    run=run,
    idempotent=True,
    summary="Raises ExpectedEventMissing, unless what was expected has come.",
    internal=True,
)

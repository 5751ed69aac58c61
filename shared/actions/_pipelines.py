"""Pipeline runs of Data Factory and of Synapse: both speak the same words, and neither knows a key of ours."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import quote

from pydantic import AfterValidator, Field

from shared.actions import Context, Params
from shared.actions._text import TWICE, clip, name_of
from shared.errors import PermanentError
from shared.post import deliver
from shared.record import ENDS, Progress, Result, State
from shared.world import World

_NAME: Final = re.compile(r"[A-Za-z0-9_][^<>*#.%&:\\+?/]{0,259}")
_SECRET: Final = re.compile(r"\$\{[A-Z][A-Z0-9_]*\}")
_STATES: Final[Mapping[str, State]] = {
    "Queued": "queued",
    "InProgress": "running",
    "Canceling": "running",
    "Succeeded": "succeeded",
    "Failed": "failed",
    "Cancelled": "canceled",
}
_BEHIND: Final = timedelta(hours=1)
_AHEAD: Final = timedelta(days=1)
"""Their clock need not be ours, nor that of whoever sent the event."""


def _pipeline(name: str) -> str:
    if "{{" not in name and not _NAME.fullmatch(name):
        raise ValueError(
            rf"{name!r} is no name of a pipeline: expected a letter, digit or _, then none of <>*#.%&:\+?/"
        )
    return name


def _open(values: dict[str, object]) -> dict[str, object]:
    if _SECRET.search(json.dumps(values)):
        raise ValueError(
            "holds ${NAME} of a setting: everybody who sees a run sees its parameters, so let the pipeline take the secret from "
            "Key Vault itself"
        )
    return values


class Pipeline(Params):
    pipeline: Annotated[str, AfterValidator(_pipeline)]
    parameters: Annotated[dict[str, object], AfterValidator(_open)] = Field(
        default={}, description="By name; what is left out has the pipeline's default."
    )
    correlation_parameter: str | None = Field(
        default=None,
        min_length=1,
        description="A text parameter of the pipeline that takes our key: by it a run is found again after a lost answer.",
    )
    cause_parameter: str | None = Field(
        default=None,
        min_length=1,
        description="A text parameter of the pipeline that takes what led here, as JSON: give it on as tags to what the "
        "pipeline starts, and a loop through it is recognised.",
    )
    repeat: bool = Field(
        default=False, description="A second run is harmless: after a lost answer it is started once more."
    )


@dataclass(frozen=True)
class Door:
    """Where the pipelines are: an address, the version of the interface, for whom the token is, how it is called, and the
    role without which the answer is 401 or 403.
    """

    base: str
    version: str
    scope: str
    what: str
    role: str


async def start(door: Door, params: Pipeline, context: Context) -> tuple[str, bool]:
    """The id of the run, and whether an earlier try began it. A second one is begun only where that is said to be harmless."""
    key, world = name_of(context.key), context.world
    if context.again and params.correlation_parameter:
        async for one in _runs(door, params.pipeline, context.event.time, world):
            if str((one.get("parameters") or {}).get(params.correlation_parameter)) == key:
                return str(one.get("runId")), True
    elif context.again and not params.repeat:
        raise PermanentError(
            f"pipeline {params.pipeline} of {door.what} may have been started: an earlier try ended without an answer, and "
            f"nothing tells its run from others. Look at its runs since {context.event.time:%Y-%m-%d %H:%M} UTC; if it is "
            "not among them, start it by hand. With a `correlation_parameter` it is found again, with `repeat: true` started "
            "once more",
            maybe_twice=False,
        )
    given = dict(params.parameters)
    if params.correlation_parameter:
        given[params.correlation_parameter] = key
    if params.cause_parameter:
        given[params.cause_parameter] = json.dumps(dict(context.cause))
    made = await _ask(door, world, "POST", f"pipelines/{quote(params.pipeline, safe='')}/createRun", given)
    run = made.get("runId")
    if not isinstance(run, str) or not run:
        raise PermanentError(f"{door.what} took pipeline {params.pipeline}, but the answer names no run")
    return run, False


def result(door: Door, params: Pipeline, context: Context, begun: tuple[str, bool], link: str | None) -> Result:
    run, earlier = begun
    of = f"pipeline {params.pipeline} of {door.what}"
    again = context.again and not earlier and params.repeat and not params.correlation_parameter
    said = f"{of} was started by an earlier try, as run {run}" if earlier else f"started {of}: run {run}"
    values: dict[str, object] = {"run": run, "pipeline": params.pipeline}
    return Result(f"{said}; {TWICE}" if again else said, link, values, maybe_twice=again)


async def look(door: Door, run: str, world: World, link: str | None) -> Progress:
    found = await _ask(door, world, "GET", f"pipelineruns/{quote(run, safe='')}")
    status, message = str(found.get("status") or "unknown"), " ".join(str(found.get("message") or "").split())
    took = found.get("durationInMs")
    values: dict[str, object] = {"run": run, "pipeline": found.get("pipelineName"), "status": status}
    values |= {"duration": took / 1000} if isinstance(took, int | float) else {}
    said = f"run {run} of pipeline {found.get('pipelineName')} in {door.what} is {status}"
    state, ended = _STATES.get(status, "running"), found.get("runEnd")
    return Progress(
        state,
        f"{said}: {clip(message, 500)}" if message else said,
        link,
        values,
        ended=datetime.fromisoformat(ended) if isinstance(ended, str) and state in ENDS else None,
    )


async def _runs(door: Door, pipeline: str, since: datetime, world: World) -> AsyncIterator[dict[str, Any]]:
    """Those of a pipeline that were at work since then."""
    asked: dict[str, object] = {
        "lastUpdatedAfter": (since - _BEHIND).isoformat(),
        "lastUpdatedBefore": (world.clock() + _AHEAD).isoformat(),
        "filters": [{"operand": "PipelineName", "operator": "Equals", "values": [pipeline]}],
    }
    while True:
        page = await _ask(door, world, "POST", "queryPipelineRuns", asked)
        for run in page.get("value") or ():
            if isinstance(run, dict):
                yield run
        if not page.get("continuationToken"):
            return
        asked["continuationToken"] = page["continuationToken"]


async def _ask(door: Door, world: World, method: str, path: str, body: object = None) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {await world.azure.token(door.scope)}"}
    url = f"{door.base}/{path}?api-version={door.version}"
    try:
        reply = await deliver(world.http, method, url, what=door.what, now=world.clock(), headers=headers, json=body)
    except PermanentError as error:
        if re.search(r" HTTP 40[13]\b", str(error)):
            raise PermanentError(f"{error}; the identity of this app probably lacks {door.role}") from None
        raise
    try:
        answer = json.loads(reply.body or b"{}")
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}

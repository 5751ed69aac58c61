"""Run an Azure pipeline. Azure DevOps knows no key: the pipeline is given ours, and a run of an earlier try is found by it."""

import json
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Final, Self
from urllib.parse import quote, urlencode

from pydantic import AfterValidator, Field, model_validator

from shared.actions import Action, Context, Params
from shared.actions._address import SECRET, Values, plain, resolved
from shared.actions._text import TWICE, name_of
from shared.errors import PermanentError
from shared.post import deliver, table
from shared.record import Progress, Result, State
from shared.world import World

_SCOPE: Final = "499b84ac-1321-427f-aa17-267ca6975798/.default"
"""Azure DevOps itself, in every organisation."""

_API: Final = "api-version=7.1"
_CLOCKS: Final = timedelta(minutes=5)
"""By which that of the event's sender may be ahead."""

_NEWEST: Final = 50
"""Runs that are looked through for one of an earlier try."""

_STATES: Final[Mapping[str, State]] = {"succeeded": "succeeded", "failed": "failed", "canceled": "canceled"}


def _open(parameters: dict[str, str | bool | int | float]) -> dict[str, str | bool | int | float]:
    for name, value in parameters.items():
        if isinstance(value, str) and SECRET.search(value):
            raise ValueError(f"{name!r} holds a secret, and a run shows its parameters: put it in `variables`")
    return parameters


class AzurePipelines(Params):
    project: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*/[^/\\\\?#\x00-\x1f]+$", description="organisation/project")
    pipeline: int = Field(ge=1, description="Its id: the definitionId in its address.")
    ref: str | None = Field(
        default=None, min_length=1, description="A branch, or refs/tags/…; left out, the pipeline's default branch."
    )
    parameters: Annotated[dict[str, str | bool | int | float], AfterValidator(_open)] = Field(
        default={}, description="Runtime parameters of the YAML. Everybody who sees the run sees them."
    )
    variables: Values = Field(
        default={}, description="Those that are settable at queue time. A value that is ${NAME} is set as a secret."
    )
    stages_to_skip: tuple[str, ...] = ()
    correlation_parameter: str | None = Field(
        default=None,
        description="The runtime parameter that takes our key, by which a run is found again after a lost answer.",
    )
    correlation_variable: str | None = Field(default=None, description="The same as a variable.")
    cause_parameter: str | None = Field(
        default=None,
        description="The runtime parameter that takes what led here, as JSON: give it on as tags to what the pipeline "
        "starts, and a loop through it is recognised.",
    )
    cause_variable: str | None = Field(default=None, description="The same as a variable.")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        for kind in ("correlation", "cause"):
            if getattr(self, f"{kind}_parameter") and getattr(self, f"{kind}_variable"):
                raise ValueError(f"give either {kind}_parameter or {kind}_variable")
        return self


async def run(params: AzurePipelines, context: Context) -> Result:
    key, name = name_of(context.key), f"pipeline {params.pipeline} in {params.project}"
    handle: dict[str, object] = {"project": params.project, "pipeline": params.pipeline, "about": name}
    if context.again and (found := await _earlier(params, context, key)):
        often = f" {len(found)} times" if len(found) > 1 else ""
        number = found[0].get("id")
        said = f"{name} was started by an earlier try{often}: run {found[0].get('buildNumber') or number}"
        return Result(said, _web(found[0]), {"run": number}, bool(often), {**handle, "run": number})
    path = f"pipelines/{params.pipeline}/runs"
    body, secrets = _asked(params, context, key)
    made = await _ask(context.world, params.project, "POST", path, name, body=body, secrets=secrets)
    number = made.get("id")
    twice = f"; {TWICE}" if context.again else ""
    on = f" on {params.ref}" if params.ref else ""
    if number is None:
        return Result(f"started {name}{on}; it can't be followed: the answer names no run{twice}", _web(made))
    said = f"started {name}{on}: run {made.get('name') or number}{twice}"
    return Result(said, _web(made), {"run": number}, follow={**handle, "run": number})


def _asked(params: AzurePipelines, context: Context, key: str) -> tuple[dict[str, object], list[str]]:
    """The body of the request, and the secrets that are in it."""
    cause = json.dumps(dict(context.cause))
    parameters = {name: plain(value) for name, value in params.parameters.items()}
    variables: dict[str, dict[str, object]] = {}
    secrets: list[str] = []
    for name, value in params.variables.items():
        text = plain(value)
        hidden = SECRET.fullmatch(text) is not None
        text = resolved(text, context.world.secret)
        secrets += [text] if hidden else []
        variables[name] = {"value": text, "isSecret": hidden}
    for value, parameter, variable in (
        (key, params.correlation_parameter, params.correlation_variable),
        (cause, params.cause_parameter, params.cause_variable),
    ):
        parameters |= {parameter: value} if parameter else {}
        variables |= {variable: {"value": value, "isSecret": False}} if variable else {}
    body: dict[str, object] = {"templateParameters": parameters, "variables": variables}
    if params.ref:
        ref = params.ref if params.ref.startswith("refs/") else f"refs/heads/{params.ref}"
        body["resources"] = {"repositories": {"self": {"refName": ref}}}
    if params.stages_to_skip:
        body["stagesToSkip"] = list(params.stages_to_skip)
    return body, secrets


async def _earlier(params: AzurePipelines, context: Context, key: str) -> list[dict[str, object]]:
    """The runs that earlier tries started, the newest first: those that were given our key. A run is a build, and only builds can be
    asked for by their time.
    """
    since = context.event.time - _CLOCKS
    asked = {
        "definitions": params.pipeline,
        "minTime": f"{since:%Y-%m-%dT%H:%M:%SZ}",
        "queryOrder": "queueTimeDescending",
        "$top": _NEWEST,
    }
    what = f"pipeline {params.pipeline} in {params.project}"
    builds = (await _ask(context.world, params.project, "GET", f"build/builds?{urlencode(asked)}", what)).get("value")
    return [one for one in (builds if isinstance(builds, list) else []) if isinstance(one, dict) and _carries(one, key)]


def _carries(build: Mapping[str, object], key: str) -> bool:
    """Whether a parameter or a variable of it is the key."""
    given = build.get("templateParameters")
    values = list(given.values()) if isinstance(given, dict) else []
    try:
        variables = json.loads(str(build.get("parameters") or "{}"))
    except ValueError:
        variables = {}
    return key in (*values, *(variables.values() if isinstance(variables, dict) else ()))


async def look(handle: Mapping[str, object], started: datetime, world: World) -> Progress:
    """By the build that the run is: that one tells what waits for an agent from what runs."""
    del started
    number, what = handle["run"], f"{handle['about']}, run {handle['run']}"
    build = await _ask(world, str(handle["project"]), "GET", f"build/builds/{number}?", what)
    status, result = str(build.get("status")), str(build.get("result"))
    state: State = "queued" if status in {"notStarted", "postponed"} else "running"
    if status == "completed":
        state = _STATES.get(result, "failed")  # partiallySucceeded is not as asked
    said = (
        f"run {build.get('buildNumber') or number} of {handle['about']}: {result if status == 'completed' else status}"
    )
    values = {"run": number, "status": status, "result": build.get("result")}
    return Progress(state, said, _web(build), values, ended=_moment(build.get("finishTime")))


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


async def _ask(
    world: World,
    project: str,
    method: str,
    path: str,
    what: str,
    *,
    body: object = None,
    secrets: Collection[str] = (),
) -> dict[str, object]:
    headers = {"Authorization": f"Bearer {await world.azure.token(_SCOPE)}", "Accept": "application/json"}
    joint = "" if path.endswith("?") else "&" if "?" in path else "?"
    url = f"{world.azure.devops}/{quote(project)}/_apis/{path}{joint}{_API}"
    who = f"Azure DevOps ({what})"
    reply = await deliver(
        world.http, method, url, what=who, now=world.clock(), headers=headers, json=body, secrets=secrets
    )
    # Who is not known is sent a page to sign in by, which is a success to HTTP.
    if reply.status == 203 or "text/html" in reply.headers.get("content-type", ""):  # noqa: PLR2004 (HTTP)
        raise PermanentError(
            f"{who} answered HTTP {reply.status} with its page to sign in: it does not take our token. Add this app's identity "
            "to the organisation's users, with leave to queue builds of the project"
        )
    return table(reply)


def _web(answer: Mapping[str, object]) -> str | None:
    """Its page for people."""
    place: object = answer
    for name in ("_links", "web", "href"):
        place = place.get(name) if isinstance(place, dict) else None
    return place if isinstance(place, str) and place.startswith("https://") else None


ACTION = Action(
    example=AzurePipelines(
        project="contoso/fraud",
        pipeline=12,
        ref="main",
        parameters={"model": "{{ event.model.name }}", "version": "{{ event.model.version }}"},
        variables={"deploy_token": "${DEPLOY_TOKEN}"},
        correlation_parameter="correlation",
    ),
    run=run,
    idempotent=False,
    summary="Runs an Azure pipeline, and follows it to its end.",
    look=look,
)
